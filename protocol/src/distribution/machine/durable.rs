//! What is on disk, since when: the only thing a node acknowledges.

use std::collections::{BTreeMap, VecDeque};

use crate::distribution::head::HeadSet;
use crate::id::SignerId;
use crate::time::UnixMillis;

/// Lengths of one log of which it is remembered since when they are on disk. Of earlier ones a
/// node only says that they are.
const MAX_KEPT: usize = 64;

/// Writes under way of which it is remembered what each makes durable; more are taken together.
const MAX_WAITING: usize = 256;

/// The durable lengths of the logs.
#[derive(Debug)]
pub(super) struct Durable {
    next: u64,
    waiting: VecDeque<(u64, BTreeMap<SignerId, u64>)>,
    logs: BTreeMap<SignerId, Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// On disk since an unknown time.
    floor: u64,
    /// Longer ones, with the time.
    since: VecDeque<(u64, UnixMillis)>,
}

impl Durable {
    /// All of `heads` is on disk already.
    pub(super) fn restored(heads: &HeadSet) -> Self {
        let kept = |length| Kept {
            floor: length,
            since: VecDeque::new(),
        };
        let admins = heads.logs.iter().map(|row| row.admin);
        Self {
            next: 0,
            waiting: VecDeque::new(),
            logs: admins
                .map(|admin| (admin, kept(heads.log_length(&admin))))
                .collect(),
        }
    }

    /// The number of a write that makes these lengths durable.
    pub(super) fn begin(&mut self, lengths: impl Iterator<Item = (SignerId, u64)>) -> u64 {
        let id = self.next;
        self.next = self.next.saturating_add(1);
        let full = self.waiting.len() >= MAX_WAITING;
        match self.waiting.back_mut() {
            Some((last, together)) if full => {
                *last = id;
                together.extend(lengths);
            }
            _ => self.waiting.push_back((id, lengths.collect())),
        }
        id
    }

    /// Every write up to `id` is on disk.
    pub(super) fn persisted(&mut self, id: u64, now: UnixMillis) {
        while self.waiting.front().is_some_and(|(first, _)| *first <= id) {
            let (_, lengths) = self.waiting.pop_front().unwrap_or_default();
            for (admin, length) in lengths {
                self.logs.entry(admin).or_default().extend(length, now);
            }
        }
    }

    /// The shortest known durable state of the log that holds `length` entries, and since when.
    pub(super) fn holding(
        &self,
        admin: &SignerId,
        length: u64,
    ) -> Option<(u64, Option<UnixMillis>)> {
        let kept = self.logs.get(admin)?;
        if length <= kept.floor {
            return Some((kept.floor, None));
        }
        let mark = kept.since.iter().find(|(l, _)| *l >= length);
        mark.map(|&(l, since)| (l, Some(since)))
    }
}

impl Kept {
    fn extend(&mut self, length: u64, now: UnixMillis) {
        let longest = self.since.back().map_or(self.floor, |(l, _)| *l);
        if length <= longest {
            return;
        }
        self.since.push_back((length, now));
        if self.since.len() > MAX_KEPT
            && let Some((length, _)) = self.since.pop_front()
        {
            self.floor = length;
        }
    }
}
