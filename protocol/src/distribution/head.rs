//! Comparing heads: which documents one node lacks of another.
//!
//! Heads are claims, not proofs: they steer what is sent and asked for, and only the signed
//! documents themselves change what is in force.

pub use crate::trust::document::{HeadSet, LogRow, TimestampRow, VersionRow};

use crate::id::SignerId;

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
    /// Whether its lists are within their bounds and sorted, logs by admin with at most two rows
    /// for each, timestamps by timestamper without repeats.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        let mut timestamps = self.timestamps.windows(2);
        let mut logs = self.logs.windows(2);
        let mut branches = self.logs.windows(3);
        self.is_bounded()
            && logs.all(|w| matches!(w, [a, b] if a.admin <= b.admin && a != b))
            && branches.all(|w| matches!(w, [a, _, c] if a.admin < c.admin))
            && timestamps.all(|w| matches!(w, [a, b] if a.timestamper < b.timestamper))
    }

    /// The rows of an admin's log: none, one, or two of a forked one.
    #[must_use]
    pub fn rows(&self, admin: &SignerId) -> &[LogRow] {
        let from = self.logs.partition_point(|row| row.admin < *admin);
        let to = self.logs.partition_point(|row| row.admin <= *admin);
        self.logs.get(from..to).unwrap_or(&[])
    }

    /// Entries in the log of `admin`, the longer branch of a forked one; 0 when there is none.
    #[must_use]
    pub fn log_length(&self, admin: &SignerId) -> u64 {
        let lengths = self.rows(admin).iter().map(|row| row.length);
        lengths.max().unwrap_or(0)
    }

    /// The version of the newest timestamp of `timestamper`; 0 when there is none.
    #[must_use]
    pub fn timestamp_version(&self, timestamper: &SignerId) -> u64 {
        let by = |row: &TimestampRow| row.timestamper.cmp(timestamper);
        let at = self.timestamps.binary_search_by(by).ok();
        let row = at.and_then(|at| self.timestamps.get(at));
        row.map_or(0, |row| row.version)
    }

    /// What `other` lacks of this, roots first: newer here, or of the same version with other
    /// content, which both sides should know of.
    #[must_use]
    pub fn beyond(&self, other: &Self) -> Vec<Item> {
        let lacking = |item: &Item| self.exceeds(other, *item);
        self.items().filter(lacking).collect()
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
            Item::Log(admin) => log_exceeds(self.rows(&admin), other.rows(&admin)),
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

    /// Every item there is here, in the order in which they are sent: what comes later may need
    /// what comes before, as a bundle signed under an older root needs a timestamp that names it.
    pub fn items(&self) -> impl Iterator<Item = Item> {
        let mut last = None;
        let logs = self.logs.iter().filter_map(move |row| {
            let again = last.replace(row.admin) == Some(row.admin);
            (!again).then_some(Item::Log(row.admin))
        });
        let bundle = self.bundle.map(|_| Item::Bundle);
        let rows = self.timestamps.iter();
        let timestamps = rows.map(|row| Item::Timestamp(row.timestamper));
        let first = core::iter::once(Item::Root).chain(logs);
        first.chain(timestamps).chain(bundle)
    }

    /// Notes that an unforked log goes as far as `row`, if that is further than was known.
    pub fn extend_log(&mut self, row: LogRow) {
        if self.rows(&row.admin).len() > 1 {
            // Which of the two it continues is not known here; it said what it holds of both.
            return;
        }
        let start = self.logs.partition_point(|known| known.admin < row.admin);
        match self.logs.get_mut(start) {
            Some(known) if known.admin == row.admin => {
                if known.length < row.length {
                    *known = row;
                }
            }
            _ => self.logs.insert(start, row),
        }
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
                let start = self.logs.partition_point(|row| row.admin < admin);
                let end = self.logs.partition_point(|row| row.admin <= admin);
                let rows = from.rows(&admin).iter().copied();
                self.logs.splice(start..end, rows);
            }
            Item::Timestamp(signer) => {
                let version = from.timestamp_version(&signer);
                let start = self
                    .timestamps
                    .partition_point(|row| row.timestamper < signer);
                let end = self
                    .timestamps
                    .partition_point(|row| row.timestamper <= signer);
                let row = (version > 0).then_some(TimestampRow {
                    timestamper: signer,
                    version,
                });
                self.timestamps.splice(start..end, row);
            }
        }
    }
}

/// Whether one who holds `theirs` of a log should be shown `own`. Links alone do not tell which row
/// continues which, so of forked logs more is shown than may be needed, never less.
fn log_exceeds(own: &[LogRow], theirs: &[LogRow]) -> bool {
    match (own, theirs) {
        ([], _) => false,
        (_, []) => true,
        ([own], [theirs]) => {
            let differs = own.link != theirs.link;
            own.length > theirs.length || (own.length == theirs.length && differs)
        }
        ([own], both) => !both.contains(own) && both.iter().any(|row| own.length > row.length),
        // A fork is to be known of everywhere.
        (_, [_]) => true,
        (both, theirs) => {
            let alone = |of: &[LogRow], other: &[LogRow]| {
                let alone = of.iter().filter(|row| !other.contains(row));
                alone.map(|row| row.length).collect::<Vec<_>>()
            };
            match (&*alone(both, theirs), &*alone(theirs, both)) {
                ([own], [theirs]) => own > theirs,
                (own, _) => !own.is_empty(),
            }
        }
    }
}

/// Whether one who holds `other` should be shown `own`.
fn newer(own: VersionRow, other: VersionRow) -> bool {
    own.version > other.version || (own.version == other.version && own.hash != other.hash)
}
