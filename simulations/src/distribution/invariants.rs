//! What must hold after every step, judged from outside: from what the admins published, what the
//! disks hold and who is connected with whom. Of a machine only what it says is in force is looked
//! at, because that is what is judged.

use std::collections::HashSet;

use protocol::distribution::{HeadSet, Item};
use protocol::id::Digest;

use super::grounds::Cut;
use crate::violations::Violations;

/// The observer.
#[derive(Debug, Default)]
pub(crate) struct Invariants {
    /// Everything that was published: the epoch of what begins anew with each, kind, version (of a
    /// log: its length), and content.
    published: HashSet<Published>,
    /// Which logs end where, under which root.
    pub(crate) cuts: Vec<Cut>,
    pub(crate) violations: Violations,
}

impl Invariants {
    /// The admins or a timestamper published, and `heads` is what there is now.
    pub(crate) fn published(&mut self, heads: &HeadSet) {
        self.published.extend(versions(heads));
    }

    /// What is in force in `node` changed from `old` to `new` within one process.
    pub(crate) fn changed(&mut self, at_ms: u64, node: usize, old: &HeadSet, new: &HeadSet) {
        if let Some(what) = behind(new, &self.cut(old, new)) {
            let what = format!("node {node} went back: {what}");
            self.violations.add(at_ms, "never_back", what);
        }
        for published in versions(new) {
            let (_, item, version, _) = published;
            if !self.published.contains(&published) {
                let what = format!("node {node} has {item:?} version {version} that nobody made");
                self.violations.add(at_ms, "nothing_forged", what);
            }
        }
    }

    /// `heads` without the entries that the root in `by` has cut off.
    fn cut(&self, heads: &HeadSet, by: &HeadSet) -> HeadSet {
        let mut heads = heads.clone();
        for cut in self.cuts.iter().filter(|c| by.root.version >= c.root) {
            let rows = heads.logs.iter_mut().filter(|row| row.admin == cut.id);
            rows.for_each(|row| row.length = row.length.min(cut.length));
        }
        heads
    }

    /// `node` started anew with `new` in force, and had persisted `durable`.
    pub(crate) fn restarted(&mut self, at_ms: u64, node: usize, durable: &HeadSet, new: &HeadSet) {
        if let Some(what) = behind(new, &self.cut(durable, new)) {
            let what = format!("node {node} lost what it had persisted: {what}");
            self.violations.add(at_ms, "persisted_kept", what);
        }
    }

    /// Calls between `node`, which has `own`, and a peer that had `promised` when they connected,
    /// flow from now on.
    pub(crate) fn synced(&mut self, at_ms: u64, node: usize, own: &HeadSet, promised: &HeadSet) {
        if let Some(what) = behind(own, &self.cut(promised, own)) {
            let what = format!("calls flow to node {node} before it has what its peer has: {what}");
            self.violations.add(at_ms, "synced_first", what);
        }
    }

    /// Calls between `node` and `peer`, both honest and connected for long, still do not flow.
    pub(crate) fn never_synced(&mut self, at_ms: u64, node: usize, peer: usize) {
        let what = format!("calls between nodes {node} and {peer} do not flow");
        self.violations.add(at_ms, "synced_at_last", what);
    }

    /// `node` says that `peer`, which follows the protocol, does not.
    pub(crate) fn accused(&mut self, at_ms: u64, node: usize, peer: usize, reason: &str) {
        let what = format!("node {node} accuses node {peer} of `{reason}`");
        self.violations.add(at_ms, "honest_accused", what);
    }

    /// `node`, which has the revocation of `target`, is connected with it.
    pub(crate) fn accepted(&mut self, at_ms: u64, node: usize, target: usize) {
        let what = format!("node {node} has the revocation of node {target} and is connected");
        self.violations.add(at_ms, "revoked_refused", what);
    }

    /// `node` has the entry that revokes `target` and does not go by it.
    pub(crate) fn ignored(&mut self, at_ms: u64, node: usize, target: usize) {
        let what = format!("node {node} has the entry and does not know node {target} as revoked");
        self.violations.add(at_ms, "revocation_effective", what);
    }

    /// `node` took `target` for revoked and does not any more, though what says so is in force.
    pub(crate) fn taken_back(&mut self, at_ms: u64, node: usize, target: usize) {
        let what = format!("node {node} lets node {target} in again, and too few say so");
        self.violations.add(at_ms, "taken_back", what);
    }

    /// `node` says that it is fresh with a clock that is behind a timestamp it has verified.
    pub(crate) fn clock_behind(&mut self, at_ms: u64, node: usize, by_s: u64) {
        let what = format!("node {node} is fresh with a clock {by_s} s behind verified time");
        self.violations.add(at_ms, "clock_closed", what);
    }

    /// `node` refuses `peer`, whom nobody revoked.
    pub(crate) fn refused(&mut self, at_ms: u64, node: usize, peer: usize) {
        let what = format!("node {node} takes node {peer} for revoked, and nobody revoked it");
        self.violations.add(at_ms, "nobody_else_revoked", what);
    }

    /// `node` acknowledged more entries than it had persisted.
    pub(crate) fn acknowledged(&mut self, at_ms: u64, node: usize, length: u64, durable: u64) {
        let what = format!("node {node} acknowledged {length} entries with {durable} on disk");
        self.violations.add(at_ms, "acknowledged_durable", what);
    }

    /// `node` says that it is fresh, and its newest timestamp is older than the lease.
    pub(crate) fn freshness(&mut self, at_ms: u64, node: usize, age_s: u64, lease_s: u64) {
        let what = format!(
            "node {node} is fresh with a timestamp {age_s} s old, the lease is {lease_s} s"
        );
        self.violations.add(at_ms, "lease_kept", what);
    }

    /// `node` is connected with the others and does not have what was published.
    pub(crate) fn unconverged(&mut self, at_ms: u64, node: usize, own: &HeadSet, all: &HeadSet) {
        if let Some(what) = behind(own, all) {
            let what = format!("node {node} is behind at the end: {what}");
            self.violations.add(at_ms, "converges", what);
        }
    }

    /// `node` has everything that `other` has, and takes others for revoked.
    pub(crate) fn disagree(&mut self, at_ms: u64, node: usize, own: usize, others: usize) {
        let what = format!("node {node} knows {own} revoked nodes, others {others} or other ones");
        self.violations.add(at_ms, "nodes_agree", what);
    }

    /// Something the scenario expects did not come to be.
    pub(crate) fn unexpected(&mut self, at_ms: u64, what: String) {
        self.violations.add(at_ms, "expected", what);
    }

    /// A message that is not what it was after encoding and decoding.
    pub(crate) fn garbled(&mut self, at_ms: u64, node: usize) {
        let what = format!("node {node} sent a message that does not decode to itself");
        self.violations.add(at_ms, "wire_round_trip", what);
    }
}

/// One state of a document: the epoch of what begins anew with each, and 0 of all else.
type Published = (u64, Item, u64, Option<Digest>);

/// Every kind of document in `heads` with its version and content. Timestamps are compared by
/// version alone: their content is not part of a head.
fn versions(heads: &HeadSet) -> impl Iterator<Item = Published> {
    let epoch = heads.epoch;
    let root = (0, Item::Root, heads.root.version, Some(heads.root.hash));
    let bundle = heads
        .bundle
        .map(|b| (epoch, Item::Bundle, b.version, Some(b.hash)));
    let logs = heads.logs.iter().filter(|l| l.length > 0);
    let logs = logs.map(|l| (0, Item::Log(l.admin), l.length, Some(l.link)));
    let stamps = heads.timestamps.iter();
    let stamps = stamps.map(move |t| (epoch, Item::Timestamp(t.timestamper), t.version, None));
    core::iter::once(root)
        .chain(bundle)
        .chain(logs)
        .chain(stamps)
}

/// What `other` has that `own` has not, the first of it.
pub(crate) fn behind(own: &HeadSet, other: &HeadSet) -> Option<String> {
    if (own.epoch, own.root.version) < (other.epoch, other.root.version) {
        let (own, other) = (own.root.version, other.root.version);
        return Some(format!("root {own} of {other}"));
    }
    for log in &other.logs {
        let length = own.log_length(&log.admin);
        if length < log.length {
            return Some(format!("{length} of {} entries of a log", log.length));
        }
        if own.rows(&log.admin).len() < other.rows(&log.admin).len() {
            return Some("one of two histories of a log".to_owned());
        }
    }
    if own.epoch > other.epoch {
        return None; // versions of bundles and timestamps begin anew with an epoch
    }
    let version = |heads: &HeadSet| heads.bundle.map_or(0, |b| b.version);
    if version(own) < version(other) {
        return Some(format!("bundle {} of {}", version(own), version(other)));
    }
    for mark in &other.timestamps {
        let version = own.timestamp_version(&mark.timestamper);
        if version < mark.version {
            return Some(format!("timestamp {version} of {}", mark.version));
        }
    }
    None
}
