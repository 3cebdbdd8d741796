//! Heads: which documents a node holds, in a few dozen bytes per document.
//!
//! Two nodes that compare heads know exactly what one lacks of the other; nothing else is ever
//! asked for. Heads are claims, not proofs: they steer what is sent and asked for, and only the
//! signed documents themselves change what is in force.

use minicbor::{Decode, Encode};

use crate::id::{Digest, SignerId};
use crate::limits::{MAX_LOGS, MAX_ROLE_KEYS};

/// Most timestamps in one set of heads: one for each timestamper.
pub const MAX_HEAD_TIMESTAMPS: usize = MAX_ROLE_KEYS;

/// A version and the hash of the content that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(map)]
pub struct Versioned {
    /// The version.
    #[n(1)]
    pub version: u64,
    /// The content hash.
    #[n(2)]
    pub hash: Digest,
}

/// How far one admin's revocation log goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(map)]
pub struct LogMark {
    /// The admin.
    #[n(1)]
    pub admin: SignerId,
    /// Entries in the log.
    #[n(2)]
    pub length: u64,
    /// The chain over them.
    #[n(3)]
    pub link: Digest,
}

/// The newest timestamp of one timestamper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(map)]
pub struct TimestampMark {
    /// The timestamper.
    #[n(1)]
    pub timestamper: SignerId,
    /// Its version.
    #[n(2)]
    pub version: u64,
}

/// What a node holds of every kind of document.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct HeadSet {
    /// The root's epoch; versions of bundles and timestamps compare within one epoch only.
    #[n(1)]
    pub epoch: u64,
    /// The root in force.
    #[n(2)]
    pub root: Versioned,
    /// The bundle in force.
    #[n(3)]
    pub bundle: Option<Versioned>,
    /// The logs, sorted by admin, without repeats.
    #[n(4)]
    pub logs: Vec<LogMark>,
    /// The timestamps, sorted by timestamper, without repeats.
    #[n(5)]
    pub timestamps: Vec<TimestampMark>,
}

/// Names one document among those that heads compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Item {
    /// The root.
    Root,
    /// The bundle.
    Bundle,
    /// One admin's log.
    Log(SignerId),
    /// One timestamper's newest timestamp.
    Timestamp(SignerId),
}

impl HeadSet {
    /// Whether its lists are within their bounds, sorted and without repeats.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        let logs = self.logs.windows(2);
        let timestamps = self.timestamps.windows(2);
        self.logs.len() <= MAX_LOGS
            && self.timestamps.len() <= MAX_HEAD_TIMESTAMPS
            && logs
                .into_iter()
                .all(|w| matches!(w, [a, b] if a.admin < b.admin))
            && timestamps
                .into_iter()
                .all(|w| matches!(w, [a, b] if a.timestamper < b.timestamper))
    }

    /// The log of `admin`.
    #[must_use]
    pub fn log(&self, admin: &SignerId) -> Option<&LogMark> {
        let at = self.logs.binary_search_by(|log| log.admin.cmp(admin)).ok();
        at.and_then(|at| self.logs.get(at))
    }

    /// Entries in the log of `admin`; 0 when there is none.
    #[must_use]
    pub fn log_length(&self, admin: &SignerId) -> u64 {
        self.log(admin).map_or(0, |log| log.length)
    }

    /// The version of the newest timestamp of `timestamper`; 0 when there is none.
    #[must_use]
    pub fn timestamp_version(&self, timestamper: &SignerId) -> u64 {
        let by = |mark: &TimestampMark| mark.timestamper.cmp(timestamper);
        let at = self.timestamps.binary_search_by(by).ok();
        at.and_then(|at| self.timestamps.get(at))
            .map_or(0, |mark| mark.version)
    }

    /// What `other` lacks of this, roots first: newer here, or of the same version with other
    /// content, which both sides should know of.
    #[must_use]
    pub fn beyond(&self, other: &Self) -> Vec<Item> {
        self.items()
            .filter(|&item| self.exceeds(other, item))
            .collect()
    }

    /// Whether `other` lacks nothing of this.
    #[must_use]
    pub fn within(&self, other: &Self) -> bool {
        !self.items().any(|item| self.exceeds(other, item))
    }

    /// Whether `other` lacks this `item`.
    #[must_use]
    pub fn exceeds(&self, other: &Self, item: Item) -> bool {
        // Versions of an older epoch say nothing to a node in a newer one, which begins anew.
        let (outdated, same) = (self.epoch < other.epoch, self.epoch == other.epoch);
        match item {
            Item::Root => newer(self.root, other.root),
            Item::Bundle => self.bundle.is_some_and(|own| {
                let theirs = other.bundle.filter(|_| same);
                !outdated && theirs.is_none_or(|theirs| newer(own, theirs))
            }),
            Item::Log(admin) => self.log(&admin).is_some_and(|own| {
                let length = other.log_length(&admin);
                let differs = || other.log(&admin).is_some_and(|log| log.link != own.link);
                own.length > length || (own.length == length && own.length > 0 && differs())
            }),
            Item::Timestamp(signer) => {
                let theirs = if same {
                    other.timestamp_version(&signer)
                } else {
                    0
                };
                !outdated && self.timestamp_version(&signer) > theirs
            }
        }
    }

    /// Every item there is here, roots first and timestamps last: what comes later may need what
    /// comes before.
    pub fn items(&self) -> impl Iterator<Item = Item> {
        let bundle = self.bundle.map(|_| Item::Bundle);
        let logs = self.logs.iter().map(|log| Item::Log(log.admin));
        let marks = self.timestamps.iter();
        let timestamps = marks.map(|mark| Item::Timestamp(mark.timestamper));
        let first = core::iter::once(Item::Root).chain(logs);
        first.chain(bundle).chain(timestamps)
    }

    /// Takes what `from` says of `item`, so that the two no longer differ in it.
    pub fn adopt(&mut self, from: &Self, item: Item) {
        match item {
            Item::Root => {
                self.root = from.root;
                if self.epoch != from.epoch {
                    self.epoch = from.epoch;
                    self.bundle = None;
                    self.timestamps.clear();
                }
            }
            Item::Bundle => self.bundle = from.bundle,
            Item::Log(admin) => {
                let mark = from.log(&admin).copied();
                let at = self.logs.binary_search_by(|log| log.admin.cmp(&admin));
                place(&mut self.logs, at, mark);
            }
            Item::Timestamp(signer) => {
                let by = |mark: &TimestampMark| mark.timestamper.cmp(&signer);
                let at = from.timestamps.binary_search_by(by).ok();
                let mark = at.and_then(|at| from.timestamps.get(at)).copied();
                let at = self.timestamps.binary_search_by(by);
                place(&mut self.timestamps, at, mark);
            }
        }
    }
}

/// Whether one who holds `other` should be shown `own`.
fn newer(own: Versioned, other: Versioned) -> bool {
    own.version > other.version || (own.version == other.version && own.hash != other.hash)
}

/// Puts `mark` where a binary search found its place in a sorted list, or removes it.
fn place<T>(list: &mut Vec<T>, at: Result<usize, usize>, mark: Option<T>) {
    match (at, mark) {
        (Ok(at), Some(mark)) => {
            if let Some(slot) = list.get_mut(at) {
                *slot = mark;
            }
        }
        (Ok(at), None) => {
            list.remove(at);
        }
        (Err(at), Some(mark)) => list.insert(at, mark),
        (Err(_), None) => {}
    }
}
