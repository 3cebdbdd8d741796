//! Whether others find this node's clock ahead of theirs: they refuse what it sends as coming from the
//! future. It cannot see that itself, because verified time only shows a clock that is behind.
//!
//! For `doctor` alone: nothing is decided by what a peer says.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The refusal of an envelope whose time is ahead of the receiver's clock.
const FROM_THE_FUTURE: &str = "issued_in_future";

/// For how long such a refusal is worth a word, if nothing shows before that the clocks agree.
pub const CLOCK_DOUBT: Duration = Duration::from_secs(300);

/// When another node last said so.
#[derive(Debug, Default)]
pub(super) struct Doubt(Mutex<Option<Instant>>);

impl Doubt {
    /// Another node refused a message of this one for this reason.
    pub(super) fn told(&self, reason: &str, now: Instant) {
        if reason == FROM_THE_FUTURE {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        }
    }

    /// A message of another node was accepted by this clock: the two agree.
    pub(super) fn settled(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether one said within [`CLOCK_DOUBT`] that this clock is ahead.
    pub(super) fn stands(&self, now: Instant) -> bool {
        let told = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.is_some_and(|at| now.saturating_duration_since(at) < CLOCK_DOUBT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_message_from_the_future_is_a_doubt_and_not_for_ever() {
        let (doubt, now) = (Doubt::default(), Instant::now());
        doubt.told("replayed", now);
        assert!(!doubt.stands(now));
        doubt.told(FROM_THE_FUTURE, now);
        assert!(doubt.stands(now) && !doubt.stands(now + CLOCK_DOUBT));
        doubt.settled();
        assert!(!doubt.stands(now));
    }
}
