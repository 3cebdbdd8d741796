//! What is on disk, since when: the only thing a node acknowledges.

use std::collections::{BTreeMap, VecDeque};

use crate::distribution::ack::Since;
use crate::distribution::head::{HeadSet, LogRow};
use crate::id::SignerId;
use crate::time::UnixMillis;

/// States of one log of which it is remembered since when they are on disk. Of earlier ones a
/// node only says that they are.
const MAX_KEPT: usize = 64;

/// Writes under way of which it is remembered what each makes durable; more are taken together.
const MAX_WAITING: usize = 256;

/// The durable states of the logs.
#[derive(Debug)]
pub(super) struct Durable {
    next: u64,
    waiting: VecDeque<Waiting>,
    logs: BTreeMap<SignerId, VecDeque<Kept>>,
}

/// States on their way to the disk.
#[derive(Debug)]
struct Waiting {
    id: u64,
    rows: Vec<(LogRow, UnixMillis)>,
}

/// A state on disk.
#[derive(Debug)]
struct Kept {
    row: LogRow,
    /// Absent where it is not known.
    since: Option<Since>,
}

impl Durable {
    /// All of `heads` is on disk already.
    pub(super) fn restored(heads: &HeadSet) -> Self {
        let mut logs: BTreeMap<SignerId, VecDeque<Kept>> = BTreeMap::new();
        for &row in &heads.logs {
            let kept = Kept { row, since: None };
            logs.entry(row.admin).or_default().push_back(kept);
        }
        Self {
            next: 0,
            waiting: VecDeque::new(),
            logs,
        }
    }

    /// The number of a write that makes these states durable, which came into force at `now`: of
    /// each log in it all there are, two of a forked one.
    pub(super) fn begin(&mut self, rows: impl Iterator<Item = LogRow>, now: UnixMillis) -> u64 {
        let id = self.next;
        self.next = self.next.saturating_add(1);
        let rows: Vec<(LogRow, UnixMillis)> = rows.map(|row| (row, now)).collect();
        let full = self.waiting.len() >= MAX_WAITING;
        match self.waiting.back_mut() {
            Some(last) if full => {
                last.id = id;
                // They answer for the earlier states of the same logs.
                let anew = |known: &LogRow| rows.iter().any(|(row, _)| row.admin == known.admin);
                last.rows.retain(|(known, _)| !anew(known));
                last.rows.extend(rows);
            }
            _ => self.waiting.push_back(Waiting { id, rows }),
        }
        id
    }

    /// Every write up to `id` is on disk.
    pub(super) fn persisted(&mut self, id: u64, now: UnixMillis) {
        while self.waiting.front().is_some_and(|first| first.id <= id) {
            let rows = self.waiting.pop_front().map(|done| done.rows);
            for (row, in_force) in rows.unwrap_or_default() {
                self.keep(
                    row,
                    Since {
                        in_force,
                        on_disk: now,
                    },
                );
            }
        }
    }

    fn keep(&mut self, row: LogRow, since: Since) {
        let kept = self.logs.entry(row.admin).or_default();
        if kept.iter().any(|known| known.row == row) {
            return;
        }
        let since = Some(since);
        kept.push_back(Kept { row, since });
        if kept.len() > MAX_KEPT {
            kept.pop_front();
            // It answers for what was forgotten too, and that was there before.
            if let Some(first) = kept.front_mut() {
                first.since = None;
            }
        }
    }

    /// Since when the first durable state of the log is there that `leads` to the one asked about;
    /// none if no such state is on disk.
    pub(super) fn holding(
        &self,
        admin: &SignerId,
        leads: impl Fn(&LogRow) -> bool,
    ) -> Option<Option<Since>> {
        let mut kept = self.logs.get(admin)?.iter();
        let first = kept.find(|kept| leads(&kept.row));
        first.map(|kept| kept.since)
    }
}
