//! What is being fetched: bodies and log entries that a verified, signed head has promised.
//!
//! One fetch for each, from one peer at a time, one request outstanding. A peer that does not
//! answer in time, has nothing, gives a little at a time or something else makes way for another;
//! what it gave is thrown away, so that it is always clear whose fault a wrong body is. Only signed
//! heads start a fetch, and they say how much there is: memory is bounded by what admins signed.

use std::collections::{BTreeMap, BTreeSet};

use super::head::LogRow;
use super::message::{Bytes, Part, Want};
use crate::id::{Digest, NodeId, SignerId};
use crate::limits::MAX_ENTRY_BYTES;

/// Bytes of content in one [`Part`], so that its message stays below
/// [`super::message::MAX_SYNC_FRAME`].
pub const CHUNK_BYTES: usize = 768 * 1024;

/// Most entries in one [`Part`].
pub const CHUNK_ENTRIES: usize = 8192;

/// Which fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    /// The body of the newest bundle head.
    Bundle,
    /// The entries of an admin's log.
    Log(SignerId),
}

/// What a fetch is after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    /// A body.
    Body {
        /// Its digest.
        digest: Digest,
        /// Its size in bytes.
        total: u64,
    },
    /// Entries.
    Entries {
        /// The state of the log they lead to.
        row: LogRow,
        /// The index of the first.
        from: u64,
    },
}

/// What has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Got {
    /// A whole body.
    Body(Bytes),
    /// All entries.
    Entries(Vec<Bytes>),
}

/// What a part did.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It belongs to no request outstanding here.
    Unasked,
    /// It helped; the next request goes to the same peer.
    More(Want),
    /// The peer gave nothing, or what cannot be.
    Useless,
    /// All is there.
    Done(Got),
}

#[derive(Debug)]
struct Fetch {
    goal: Goal,
    /// The head that promises it, where there is one.
    head: Option<Bytes>,
    body: Vec<u8>,
    entries: Vec<Bytes>,
    source: Option<Source>,
    /// Peers that showed the signed head.
    showed: BTreeSet<NodeId>,
    /// Peers asked in vain since the last rest.
    tried: BTreeSet<NodeId>,
    /// Until when nobody is asked, after everybody was.
    rests: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Source {
    peer: NodeId,
    /// When the outstanding request has taken too long.
    deadline: u64,
}

/// All fetches of one node.
#[derive(Debug, Default)]
pub(super) struct Fetches {
    table: BTreeMap<Key, Fetch>,
}

impl Goal {
    /// Which fetch it is a goal of.
    pub(super) const fn key(&self) -> Key {
        match self {
            Self::Body { .. } => Key::Bundle,
            Self::Entries { row, .. } => Key::Log(row.admin),
        }
    }

    /// Whether who reaches this has reached `other` too, or the first part of it. `busy` says
    /// that this is under way: a log that grows meanwhile is fetched in steps, not over and over.
    fn covers(&self, other: &Self, busy: bool) -> bool {
        match (self, other) {
            (Self::Entries { row, from }, Self::Entries { row: r, from: f }) => {
                from <= f && (row == r || (busy && row.length <= r.length))
            }
            _ => self == other,
        }
    }
}

impl Fetches {
    /// Sets out for `goal`, of which `peer` has shown the signed `head`. Another goal of the same
    /// key is given up unless it leads there.
    pub(super) fn set_out(&mut self, goal: Goal, head: Option<Bytes>, peer: Option<NodeId>) {
        let key = goal.key();
        let leads_there = |f: &Fetch| f.goal.covers(&goal, f.source.is_some());
        if !self.table.get(&key).is_some_and(leads_there) {
            let fetch = Fetch {
                goal,
                head,
                body: Vec::new(),
                entries: Vec::new(),
                source: None,
                showed: BTreeSet::new(),
                tried: BTreeSet::new(),
                rests: None,
            };
            self.table.insert(key, fetch);
        }
        if let Some(fetch) = self.table.get_mut(&key) {
            fetch.showed.extend(peer);
        }
    }

    /// Fetches a log from its first entry instead, from whoever has it.
    pub(super) fn begin_anew(&mut self, key: Key) {
        if let Some(fetch) = self.table.get_mut(&key)
            && let Goal::Entries { from, .. } = &mut fetch.goal
        {
            *from = 0;
            fetch.tried.clear();
        }
    }

    /// Ends a fetch that has reached its goal; who showed the head.
    pub(super) fn reached(&mut self, key: Key) -> BTreeSet<NodeId> {
        let fetch = self.table.remove(&key);
        fetch.map(|fetch| fetch.showed).unwrap_or_default()
    }

    pub(super) fn goal(&self, key: Key) -> Option<Goal> {
        self.table.get(&key).map(|fetch| fetch.goal)
    }

    /// The head that promises what a fetch is after.
    pub(super) fn head(&self, key: Key) -> Option<Bytes> {
        self.table.get(&key).and_then(|fetch| fetch.head.clone())
    }

    /// The fetches that wait for a peer to ask.
    pub(super) fn idle(&self) -> Vec<Key> {
        let idle = |(key, fetch): (&Key, &Fetch)| fetch.source.is_none().then_some(*key);
        self.table.iter().filter_map(idle).collect()
    }

    /// Whether a fetch is there and waits for a peer to ask.
    pub(super) fn is_idle(&self, key: Key) -> bool {
        let fetch = self.table.get(&key);
        fetch.is_some_and(|fetch| fetch.source.is_none())
    }

    /// Whether any peer is being asked.
    pub(super) fn busy(&self) -> bool {
        self.table.values().any(|fetch| fetch.source.is_some())
    }

    /// Whether `peer` has been tried in vain.
    pub(super) fn tried(&self, key: Key, peer: &NodeId) -> bool {
        let fetch = self.table.get(&key);
        fetch.is_some_and(|fetch| fetch.tried.contains(peer))
    }

    /// Whether `peer` has shown the head that promises what this fetch is after.
    pub(super) fn showed(&self, key: Key, peer: &NodeId) -> bool {
        let fetch = self.table.get(&key);
        fetch.is_some_and(|fetch| fetch.showed.contains(peer))
    }

    /// Asks nobody until `until`, and then everybody anew.
    pub(super) fn rest(&mut self, key: Key, until: u64) {
        if let Some(fetch) = self.table.get_mut(&key) {
            fetch.tried.clear();
            fetch.rests = Some(until);
        }
    }

    /// The fetches that have rested.
    pub(super) fn rested(&self, now: u64) -> Vec<Key> {
        let up = |fetch: &Fetch| fetch.source.is_none() && fetch.rests.is_some_and(|at| at <= now);
        let keys = self.table.iter().filter(|(_, fetch)| up(fetch));
        keys.map(|(key, _)| *key).collect()
    }

    /// Asks `peer` from now on; what to ask first.
    pub(super) fn ask(&mut self, key: Key, peer: NodeId, now: u64, timeout: u64) -> Option<Want> {
        let fetch = self.table.get_mut(&key)?;
        fetch.rests = None;
        fetch.source = Some(Source {
            peer,
            deadline: now.saturating_add(timeout),
        });
        Some(fetch.want())
    }

    /// Stops asking the present peer of a fetch, and forgets what it gave.
    pub(super) fn leave(&mut self, key: Key) {
        if let Some(fetch) = self.table.get_mut(&key) {
            if let Some(source) = fetch.source.take() {
                fetch.tried.insert(source.peer);
            }
            fetch.body = Vec::new();
            fetch.entries = Vec::new();
        }
    }

    /// Forgets a peer; the fetches it was being asked for.
    pub(super) fn forsake(&mut self, peer: &NodeId) -> Vec<Key> {
        let asked = |fetch: &Fetch| fetch.source.is_some_and(|s| s.peer == *peer);
        let keys = self.table.iter().filter(|(_, fetch)| asked(fetch));
        let keys: Vec<Key> = keys.map(|(key, _)| *key).collect();
        for &key in &keys {
            self.leave(key);
        }
        for fetch in self.table.values_mut() {
            fetch.showed.remove(peer);
            fetch.tried.remove(peer);
        }
        keys
    }

    /// The fetches whose present peer has taken too long.
    pub(super) fn overdue(&self, now: u64) -> Vec<Key> {
        let late = |fetch: &Fetch| fetch.source.is_some_and(|s| s.deadline <= now);
        let keys = self.table.iter().filter(|(_, fetch)| late(fetch));
        keys.map(|(key, _)| *key).collect()
    }

    /// When the next one will have.
    pub(super) fn next(&self) -> Option<u64> {
        let due = |fetch: &Fetch| fetch.source.map(|s| s.deadline).or(fetch.rests);
        self.table.values().filter_map(due).min()
    }

    /// Takes a part that came from `peer`.
    pub(super) fn take(
        &mut self,
        peer: &NodeId,
        part: &Part,
        now: u64,
        timeout: u64,
    ) -> (Option<Key>, Progress) {
        let key = match part {
            Part::Roots { .. } => return (None, Progress::Unasked),
            Part::Body { .. } => Key::Bundle,
            Part::Entries { row, .. } => Key::Log(row.admin),
        };
        let fetch = self.table.get_mut(&key);
        let Some(fetch) = fetch.filter(|f| f.source.is_some_and(|s| s.peer == *peer)) else {
            return (None, Progress::Unasked);
        };
        let progress = fetch.take(part);
        if let (Progress::More(_), Some(source)) = (&progress, &mut fetch.source) {
            source.deadline = now.saturating_add(timeout);
        }
        (Some(key), progress)
    }

    /// Bytes held of unfinished fetches.
    pub(super) fn held(&self) -> usize {
        let entries = |fetch: &Fetch| fetch.entries.iter().map(|e| e.len()).sum::<usize>();
        let held = |fetch: &Fetch| fetch.body.len() + entries(fetch);
        self.table.values().map(held).sum()
    }
}

impl Fetch {
    fn want(&self) -> Want {
        match self.goal {
            Goal::Body { digest, .. } => Want::Body {
                digest,
                offset: self.body.len() as u64,
            },
            Goal::Entries { row, from } => Want::Entries {
                row,
                from: from + self.entries.len() as u64,
            },
        }
    }

    fn take(&mut self, part: &Part) -> Progress {
        // An answer to another request than the one outstanding is late, not wrong: the request
        // before may have timed out here.
        match (self.want(), part) {
            (
                Want::Body { digest, offset },
                Part::Body {
                    digest: d,
                    offset: o,
                    bytes,
                },
            ) if digest == *d && offset == *o => self.take_bytes(bytes),
            (
                Want::Entries { row, from },
                Part::Entries {
                    row: r,
                    from: f,
                    entries,
                },
            ) if row == *r && from == *f => self.take_entries(entries),
            _ => Progress::Unasked,
        }
    }

    fn take_bytes(&mut self, bytes: &[u8]) -> Progress {
        let Goal::Body { total, .. } = self.goal else {
            return Progress::Unasked;
        };
        let after = (self.body.len() + bytes.len()) as u64;
        let fair = after == total || bytes.len() >= CHUNK_BYTES / 2;
        if !fair || after > total {
            return Progress::Useless;
        }
        self.body.extend_from_slice(bytes);
        if after < total {
            return Progress::More(self.want());
        }
        Progress::Done(Got::Body(Bytes::from(core::mem::take(&mut self.body))))
    }

    fn take_entries(&mut self, entries: &[Bytes]) -> Progress {
        let Goal::Entries { row, from } = self.goal else {
            return Progress::Unasked;
        };
        let all = row.length.saturating_sub(from);
        let needed = all.saturating_sub(self.entries.len() as u64);
        let needed = usize::try_from(needed).unwrap_or(usize::MAX);
        let useful = entries.get(..needed.min(entries.len())).unwrap_or(&[]);
        let bytes: usize = useful.iter().map(|entry| entry.len()).sum();
        let much = bytes >= CHUNK_BYTES / 2 || useful.len() >= CHUNK_ENTRIES / 2;
        let fair = useful.len() == needed || much;
        if !fair || useful.iter().any(|entry| entry.len() > MAX_ENTRY_BYTES) {
            return Progress::Useless;
        }
        self.entries.extend_from_slice(useful);
        if useful.len() < needed {
            return Progress::More(self.want());
        }
        Progress::Done(Got::Entries(core::mem::take(&mut self.entries)))
    }
}
