//! When a failed server may be started again: exponential delays with jitter, and a bound on
//! starts per minute. Time is an argument; nothing here sleeps.

use core::time::Duration;
use std::hash::{BuildHasher, Hasher};

use tokio::time::Instant;

use super::limits::Limits;

/// Doublings after which the delay no longer grows; keeps the shift in range.
const MAX_DOUBLINGS: u32 = 16;

/// Failures in a row and the time before which nothing is tried.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    until: Option<Instant>,
    last_start: Option<Instant>,
}

impl Backoff {
    /// How long to wait still, if at all.
    pub(super) fn wait(&self, now: Instant) -> Option<Duration> {
        let left = self.until?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    /// A start succeeded.
    pub(super) fn started(&mut self, now: Instant) {
        self.last_start = Some(now);
        self.until = None;
    }

    /// A start succeeded and nothing that failed before counts any more.
    pub(super) fn recovered(&mut self, now: Instant) {
        self.failures = 0;
        self.started(now);
    }

    /// A start failed, or what was started died.
    pub(super) fn failed(&mut self, now: Instant, limits: &Limits) {
        let stable = self
            .last_start
            .take()
            .is_some_and(|at| now.saturating_duration_since(at) >= limits.backoff_reset);
        if stable {
            self.failures = 0;
        }
        let factor = 1_u32 << self.failures.min(MAX_DOUBLINGS);
        self.failures = self.failures.saturating_add(1);
        let full = limits
            .backoff_first
            .saturating_mul(factor)
            .min(limits.backoff_max);
        self.until = now.checked_add(jittered(full));
    }
}

/// Between half of `full` and all of it, so that sessions that died together do not come back
/// together. Not a secret: the standard library's randomly keyed hasher is enough.
pub(super) fn jittered(full: Duration) -> Duration {
    let random = std::hash::RandomState::new().build_hasher().finish() % 1024;
    let half = full / 2;
    let part = u32::try_from(random).unwrap_or(0);
    half.saturating_add(half.saturating_mul(part) / 1024)
}

/// Starts in the running minute.
#[derive(Debug)]
pub(super) struct StartRate {
    since: Instant,
    count: u32,
}

impl StartRate {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: now,
            count: 0,
        }
    }

    /// Counts one start; false when the minute is full.
    pub(super) fn admit(&mut self, now: Instant, per_minute: u32) -> bool {
        if now.saturating_duration_since(self.since) >= Duration::from_secs(60) {
            *self = Self::new(now);
        }
        if self.count >= per_minute {
            return false;
        }
        self.count = self.count.saturating_add(1);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_bound_and_start_anew_after_a_stable_life() {
        let limits = Limits::default();
        let mut backoff = Backoff::default();
        let now = Instant::now();
        assert_eq!(backoff.wait(now), None);
        for n in 0..40_u32 {
            backoff.failed(now, &limits);
            let full = limits
                .backoff_first
                .saturating_mul(1 << n.min(16))
                .min(limits.backoff_max);
            let wait = backoff.wait(now).unwrap();
            assert!(wait >= full / 2 && wait <= full, "{n}: {wait:?}");
        }
        let later = now + limits.backoff_max;
        assert_eq!(backoff.wait(later), None);
        backoff.started(later);
        backoff.failed(later + limits.backoff_reset, &limits);
        let wait = backoff.wait(later + limits.backoff_reset).unwrap();
        assert!(wait <= limits.backoff_first);
    }

    #[test]
    fn the_minute_fills_and_empties() {
        let now = Instant::now();
        let mut rate = StartRate::new(now);
        assert!(rate.admit(now, 2) && rate.admit(now, 2));
        assert!(!rate.admit(now, 2));
        assert!(rate.admit(now + Duration::from_secs(60), 2));
    }
}
