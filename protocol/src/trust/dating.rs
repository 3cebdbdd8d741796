//! When a revocation was made, as far as signed documents say.
//!
//! An admin's own word on the time of an entry counts only within what timestamps say of its log:
//! an entry absent from a timestamped state was made after it, one present in it before. An entry
//! that no timestamp has seen yet is at most an hour younger than the last that has not, so that
//! nobody buys more than a second quota by dating entries ahead. Dates never fall along a log.
//!
//! Everybody who knows the same marks gives the same dates. A timestamp repeats exactly those
//! earlier marks on which a date or a quota hangs ([`Dated::needed`]); a log whose admin has a
//! working clock needs none.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::revocation::KeptEntry;
use crate::limits::LONE_ADMIN_WINDOW_S;
use crate::time::UnixSeconds;

/// A log had this many entries at that time, and the mesh that many nodes, as a timestamp said.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode, minicbor::Decode,
)]
#[cbor(map)]
pub struct Mark {
    /// Entries in the log.
    #[n(1)]
    pub length: u64,
    /// When.
    #[n(2)]
    pub time: UnixSeconds,
    /// Nodes in the mesh.
    #[n(3)]
    pub nodes: u64,
}

/// Most marks kept of one log; beyond it those nothing hangs on are forgotten, then the oldest.
pub const MAX_KEPT_MARKS: usize = 256;

/// Of those nothing hangs on, how many of the newest are kept.
const SPARE_MARKS: usize = 64;

/// The dates of a log's entries.
#[derive(Debug, Clone, Default)]
pub struct Dated {
    dates: Vec<UnixSeconds>,
    needed: BTreeSet<Mark>,
}

impl Dated {
    /// Dates `entries` by `marks`, which are sorted.
    #[must_use]
    pub fn of(entries: &[Arc<KeptEntry>], marks: &[Mark]) -> Self {
        let earliest_after = earliest_from(marks);
        let mut dated = Self::default();
        let (mut known, mut latest, mut last) = (0, None::<Mark>, UnixSeconds(0));
        for entry in entries {
            while let Some(mark) = marks.get(known).filter(|m| m.length <= entry.index) {
                latest = latest.filter(|l| l.time >= mark.time).or(Some(*mark));
                known += 1;
            }
            let lower = latest.map_or(UnixSeconds(0), |m| m.time);
            let inclusion = earliest_after.get(known).copied().flatten();
            let upper = inclusion.map_or(lower.plus(LONE_ADMIN_WINDOW_S), |m| m.time);
            let stated = entry.cause.at;
            let date = stated.min(upper).max(lower);
            if date > last {
                // What makes it another date than the stated one is needed to see it so.
                let by = if date > stated { latest } else { inclusion };
                dated.needed.extend(by.filter(|_| date != stated));
            }
            last = last.max(date);
            dated.dates.push(last);
        }
        dated
    }

    /// The date of the entry at `index`.
    #[must_use]
    pub fn date(&self, index: usize) -> UnixSeconds {
        self.dates.get(index).copied().unwrap_or_default()
    }

    /// Notes that the node count of `mark` decided on an entry.
    pub fn need(&mut self, mark: Mark) {
        self.needed.insert(mark);
    }

    /// The marks without which a date or a quota would be another.
    #[must_use]
    pub const fn needed(&self) -> &BTreeSet<Mark> {
        &self.needed
    }
}

/// For each place in `marks` the earliest mark from there on.
fn earliest_from(marks: &[Mark]) -> Vec<Option<Mark>> {
    let mut earliest = None::<Mark>;
    let mut all: Vec<Option<Mark>> = marks
        .iter()
        .rev()
        .map(|mark| {
            earliest = earliest.filter(|e| e.time <= mark.time).or(Some(*mark));
            earliest
        })
        .collect();
    all.reverse();
    all
}

/// The latest mark not after `date`: its node count is what a quota at that date goes by.
#[must_use]
pub fn governing(marks: &[Mark], date: UnixSeconds) -> Option<Mark> {
    let before = marks.iter().filter(|m| m.time <= date);
    before.max_by_key(|m| (m.time, m.length, m.nodes)).copied()
}

/// Adds a mark to those of a log, keeping them sorted and without repeats. Of marks that differ in
/// time alone the first and the last say everything.
pub fn insert(marks: &mut Vec<Mark>, mark: Mark) {
    let alike = |m: &Mark| m.length == mark.length && m.nodes == mark.nodes;
    let times = || marks.iter().filter(|m| alike(m)).map(|m| m.time);
    if let (Some(first), Some(last)) = (times().min(), times().max()) {
        if (first..=last).contains(&mark.time) {
            return;
        }
        let (first, last) = (first.min(mark.time), last.max(mark.time));
        marks.retain(|m| !alike(m) || m.time == first || m.time == last);
    }
    let at = marks.partition_point(|m| *m < mark);
    marks.insert(at, mark);
}

/// Keeps the newest `most` marks.
pub fn newest(marks: &mut Vec<Mark>, most: usize) {
    if marks.len() > most {
        marks.sort_by_key(|m| (m.time, m.length, m.nodes));
        marks.drain(..marks.len() - most);
        marks.sort_unstable();
    }
}

/// Brings the marks of a log within [`MAX_KEPT_MARKS`].
pub fn prune(marks: &mut Vec<Mark>, needed: &[Mark]) {
    if marks.len() <= MAX_KEPT_MARKS {
        return;
    }
    let mut spare = marks.clone();
    newest(&mut spare, SPARE_MARKS);
    marks.retain(|m| needed.binary_search(m).is_ok() || spare.binary_search(m).is_ok());
    newest(marks, MAX_KEPT_MARKS);
}
