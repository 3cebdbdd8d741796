//! Broken invariants, as both simulations record and report them.

use serde::Serialize;

/// Violations of one invariant kept in full; further ones are only counted.
const MAX_SHOWN: usize = 3;

/// One broken invariant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Violation {
    /// Milliseconds since the beginning.
    pub(crate) at_ms: u64,
    /// Which invariant.
    pub(crate) invariant: &'static str,
    /// What happened.
    pub(crate) what: String,
}

/// The first violations of each invariant, and how many there were of all.
#[derive(Debug, Default)]
pub(crate) struct Violations {
    pub(crate) first: Vec<Violation>,
    pub(crate) count: u64,
}

impl Violations {
    /// Records that `invariant` was broken at `at_ms`.
    pub(crate) fn add(&mut self, at_ms: u64, invariant: &'static str, what: String) {
        self.count += 1;
        let shown = self.first.iter().filter(|v| v.invariant == invariant);
        if shown.count() < MAX_SHOWN {
            self.first.push(Violation {
                at_ms,
                invariant,
                what,
            });
        }
    }
}
