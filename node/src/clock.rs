//! The wall clock, as an argument, and the guard that notices when it has been set back.
//!
//! Expiry, replay and freshness rest on the clock. An attacker, or a flat battery, that sets it
//! back would make expired things valid; so the greatest verified time is kept (the caller
//! persists it), and a clock behind it fails closed. Durations are measured with tokio's
//! monotonic clock, not with this one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use protocol::limits::MAX_CLOCK_AHEAD_S;
use protocol::time::UnixMillis;

/// How far the clock may be behind the greatest verified time. An envelope accepted from a peer
/// whose clock is ahead moves that time ahead of ours by as much as such clocks may differ; no
/// member may stop our node by being early.
pub const BEHIND_TOLERANCE_MS: u64 = MAX_CLOCK_AHEAD_S * 1000;

/// How far ahead of the local clock a time is believed (DESIGN: verified timestamps).
pub const MAX_VERIFIED_AHEAD_MS: u64 = 5 * 60 * 1000;

/// The greatest time is to be persisted when it has moved by this much: one small write a
/// second at most, and at most a second of it lost in a crash.
pub const PERSIST_STEP_MS: u64 = 1000;

/// Where the time comes from.
pub trait Clock: Send + Sync {
    /// The time now; it can be wrong, and go backwards.
    fn now(&self) -> UnixMillis;
}

/// The operating system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    /// A clock before 1970 reads as 1970, which the guard refuses on any node that ever ran.
    fn now(&self) -> UnixMillis {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let millis = since.map_or(0, |d| d.as_millis());
        UnixMillis(u64::try_from(millis).unwrap_or(u64::MAX))
    }
}

/// A clock that stands where it is set, for tests.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// A clock standing at `now`.
    #[must_use]
    pub const fn at(now: UnixMillis) -> Self {
        Self(AtomicU64::new(now.0))
    }

    /// Sets it, backwards too.
    pub fn set(&self, now: UnixMillis) {
        self.0.store(now.0, Ordering::SeqCst);
    }

    /// Moves it on by milliseconds.
    pub fn advance(&self, by_ms: u64) {
        self.0.fetch_add(by_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.0.load(Ordering::SeqCst))
    }
}

/// Why the time cannot be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClockError {
    /// The clock is behind a time that was verified before.
    #[error("the clock is {behind_ms} ms behind the latest verified time")]
    Behind {
        /// By how much, in milliseconds.
        behind_ms: u64,
    },
    /// A verified time is so far ahead that it, or the clock, must be wrong; it is not believed.
    #[error("a signed time is {ahead_ms} ms ahead of the clock, at most {max_ms} are believed")]
    Ahead {
        /// By how much, in milliseconds.
        ahead_ms: u64,
        /// [`MAX_VERIFIED_AHEAD_MS`].
        max_ms: u64,
    },
}

impl ClockError {
    /// The stable name of the reason, for counters and error data.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Behind { .. } => "clock_behind",
            Self::Ahead { .. } => "time_ahead",
        }
    }

    /// What the operator can do about it.
    #[must_use]
    pub const fn hint(self) -> &'static str {
        match self {
            Self::Behind { .. } => {
                "set the clock of this host; calls are refused until it is right"
            }
            Self::Ahead { .. } => "check the clock of this host and of the signer",
        }
    }
}

/// A clock together with the greatest verified time. Shared by reference; every method is
/// lock-free.
pub struct GuardedClock {
    clock: Box<dyn Clock>,
    greatest: AtomicU64,
    persisted: AtomicU64,
}

impl core::fmt::Debug for GuardedClock {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("GuardedClock")
            .field("greatest", &self.greatest())
            .finish_non_exhaustive()
    }
}

impl GuardedClock {
    /// Guards `clock` with the greatest time that was persisted (zero for a new node).
    #[must_use]
    pub fn new(clock: Box<dyn Clock>, persisted: UnixMillis) -> Self {
        Self {
            clock,
            greatest: AtomicU64::new(persisted.0),
            persisted: AtomicU64::new(persisted.0),
        }
    }

    /// The time now, for every decision.
    ///
    /// # Errors
    /// [`ClockError::Behind`]: the caller refuses what depends on the time.
    pub fn now(&self) -> Result<UnixMillis, ClockError> {
        let now = self.clock.now();
        let behind_ms = self.greatest().since(now);
        if behind_ms > BEHIND_TOLERANCE_MS {
            return Err(ClockError::Behind { behind_ms });
        }
        Ok(now)
    }

    /// The clock as it stands, for logs and for saying how wrong it is.
    #[must_use]
    pub fn unguarded(&self) -> UnixMillis {
        self.clock.now()
    }

    /// The greatest verified time so far.
    #[must_use]
    pub fn greatest(&self) -> UnixMillis {
        UnixMillis(self.greatest.load(Ordering::Acquire))
    }

    /// Takes note of a time whose signature was verified. Returns the time to persist when it has
    /// moved by [`PERSIST_STEP_MS`] since the last one returned.
    ///
    /// # Errors
    /// [`ClockError::Ahead`]; nothing is changed.
    pub fn observe(&self, verified: UnixMillis) -> Result<Option<UnixMillis>, ClockError> {
        let ahead_ms = verified.since(self.clock.now());
        if ahead_ms > MAX_VERIFIED_AHEAD_MS {
            return Err(ClockError::Ahead {
                ahead_ms,
                max_ms: MAX_VERIFIED_AHEAD_MS,
            });
        }
        self.greatest.fetch_max(verified.0, Ordering::AcqRel);
        let due = |last: u64| {
            let step = verified.0.saturating_sub(last);
            (step >= PERSIST_STEP_MS).then_some(verified.0)
        };
        let moved = self
            .persisted
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, due);
        Ok(moved.is_ok().then_some(verified))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    struct Shared(Arc<ManualClock>);

    impl Clock for Shared {
        fn now(&self) -> UnixMillis {
            self.0.now()
        }
    }

    fn guarded(now: u64, persisted: u64) -> (Arc<ManualClock>, GuardedClock) {
        let manual = Arc::new(ManualClock::at(UnixMillis(now)));
        let clock = Box::new(Shared(Arc::clone(&manual)));
        (manual, GuardedClock::new(clock, UnixMillis(persisted)))
    }

    #[test]
    fn a_clock_set_back_fails_closed_until_it_is_right() {
        let (manual, clock) = guarded(100_000, 50_000);
        assert_eq!(clock.now(), Ok(UnixMillis(100_000)));
        clock.observe(UnixMillis(100_000)).unwrap();
        manual.set(UnixMillis(100_000 - BEHIND_TOLERANCE_MS));
        assert!(clock.now().is_ok());
        manual.set(UnixMillis(100_000 - BEHIND_TOLERANCE_MS - 1));
        let behind_ms = BEHIND_TOLERANCE_MS + 1;
        assert_eq!(clock.now(), Err(ClockError::Behind { behind_ms }));
        manual.advance(1);
        assert!(clock.now().is_ok());
    }

    #[test]
    fn the_persisted_time_holds_after_a_restart() {
        let (_, clock) = guarded(10_000, 1_000_000);
        let error = clock.now().unwrap_err();
        assert_eq!(error.reason(), "clock_behind");
    }

    #[test]
    fn a_time_far_ahead_is_not_believed() {
        let (_, clock) = guarded(1000, 0);
        let far = 1000 + MAX_VERIFIED_AHEAD_MS + 1;
        assert!(matches!(
            clock.observe(UnixMillis(far)),
            Err(ClockError::Ahead { .. })
        ));
        assert_eq!(clock.greatest(), UnixMillis(0));
        clock.observe(UnixMillis(far - 1)).unwrap();
        assert_eq!(clock.greatest(), UnixMillis(far - 1));
    }

    #[test]
    fn the_greatest_never_falls_and_is_persisted_in_steps() {
        let (_, clock) = guarded(1_000_000, 500_000);
        let seen = |at| clock.observe(UnixMillis(at)).unwrap();
        assert_eq!(seen(500_999), None);
        assert_eq!(seen(501_000), Some(UnixMillis(501_000)));
        assert_eq!(seen(500_000), None);
        assert_eq!(seen(501_500), None);
        assert_eq!(clock.greatest(), UnixMillis(501_500));
        assert_eq!(seen(502_100), Some(UnixMillis(502_100)));
    }

    #[test]
    fn the_system_clock_is_after_this_was_written() {
        assert!(SystemClock.now() > UnixMillis(1_700_000_000_000));
    }
}
