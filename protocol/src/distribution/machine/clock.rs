//! A clock that only goes forward, fed by one that may not.

use crate::time::UnixMillis;

/// Milliseconds since the machine was made, whatever the local clock did meanwhile.
#[derive(Debug)]
pub(super) struct Clock {
    elapsed: u64,
    last: UnixMillis,
}

impl Clock {
    pub(super) const fn starting(now: UnixMillis) -> Self {
        Self {
            elapsed: 0,
            last: now,
        }
    }

    /// A local clock set back costs no time and gives none.
    pub(super) fn advance(&mut self, now: UnixMillis) {
        self.elapsed = self.elapsed.saturating_add(now.since(self.last));
        self.last = now;
    }

    pub(super) const fn now(&self) -> u64 {
        self.elapsed
    }

    /// The local clock, as last heard.
    pub(super) const fn local(&self) -> UnixMillis {
        self.last
    }

    /// The local time at which the machine's time will be `at`.
    pub(super) fn wall(&self, at: u64) -> UnixMillis {
        let ahead = at.saturating_sub(self.elapsed);
        UnixMillis(self.last.0.saturating_add(ahead))
    }
}
