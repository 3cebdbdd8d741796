//! What is held of one admin's log: its entries, where it is going, and where it forked.
//!
//! A verified head beyond the entries held is *pending*: entries are staged behind what is held
//! until they lead to the head's link. A chain that does not follow from what is held is fetched
//! from its beginning; if it then leads to the signed link, the admin has signed two histories, and
//! the union of both branches is in force. A signed head that contradicts what is held is proof
//! enough of that: the log is *contested* from then on, whether or not the entries under it ever
//! come.
//!
//! A forked log is frozen: nothing of it is ever dropped, no third history counts, and no node
//! publishes more under it for its operator (the distribution machine sees to that). Either
//! branch is still followed as far as its admin signed it: what another node took of it before it
//! heard of the fork cannot be told from what was signed since, and all nodes must end with the
//! same in force. It only ever bars more.

use std::sync::Arc;

use super::super::dating::{self, Mark};
use super::super::document::LogRow;
use super::super::revocation::{EMPTY, KeptEntry, Log, LogHead, VerifiedLogHead};
use super::super::revoked::{Judged, Ruled, Standing};
use super::super::root::Retired;
use super::super::timestamp::LogState;
use super::super::{Bytes, TrustError};
use super::{Change, ForkOf, Missing, Offer};
use crate::crypto::Crypto;
use crate::id::{Digest, MeshId, SignerId};

/// What is held of one admin's log.
#[derive(Debug, Clone)]
pub struct AdminLog {
    mesh: MeshId,
    main: Branch,
    other: Option<Branch>,
    /// The signed head of the other branch, while its entries are on their way.
    contested: Option<Bytes>,
    /// The last state of a third history.
    refused: Option<LogRow>,
    marks: Vec<Mark>,
    needed: Vec<Mark>,
    pending: Option<Pending>,
    /// Whether entries that were judged are gone.
    replaced: bool,
}

/// One history of a log, complete up to its head.
#[derive(Debug, Clone)]
pub struct Branch {
    log: Arc<Log>,
    head: Option<Bytes>,
    standings: Arc<[Standing]>,
}

impl Branch {
    fn of(log: Arc<Log>, head: Option<Bytes>) -> Self {
        Self {
            log,
            head,
            standings: Arc::default(),
        }
    }

    /// The entries.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The signed head, as received; none while the log is empty, and of a retired admin's log,
    /// which the root binds.
    #[must_use]
    pub fn head(&self) -> Option<Bytes> {
        self.head.clone()
    }

    /// What has become of each entry.
    #[must_use]
    pub fn standings(&self) -> &[Standing] {
        &self.standings
    }

    fn row(&self) -> LogRow {
        LogRow {
            admin: self.log.admin(),
            length: self.log.length(),
            link: self.log.link(),
        }
    }

    fn leads_to(&self, row: &LogRow) -> bool {
        self.log.link_at(row.length) == Some(row.link)
    }
}

/// Where a log is going.
#[derive(Debug, Clone)]
struct Pending {
    target: LogRow,
    head: Option<Bytes>,
    /// How many entries stand before the staged ones: all that are held, or none.
    base: u64,
    /// The link over base and staged entries.
    link: Digest,
    staged: Vec<Arc<KeptEntry>>,
}

impl Pending {
    fn behind(log: &Log, target: LogRow, head: Option<Bytes>) -> Self {
        Self {
            target,
            head,
            base: log.length(),
            link: log.link(),
            staged: Vec::new(),
        }
    }

    const fn from_start(target: LogRow, head: Option<Bytes>) -> Self {
        Self {
            target,
            head,
            base: 0,
            link: EMPTY,
            staged: Vec::new(),
        }
    }

    fn length(&self) -> u64 {
        self.base + self.staged.len() as u64
    }

    fn missing(&self) -> Missing {
        Missing::Entries {
            admin: self.target.admin,
            from: self.length(),
            to: self.target.length,
            link: self.target.link,
        }
    }

    /// Stages one more entry.
    fn stage(
        &mut self,
        crypto: &dyn Crypto,
        mesh: &MeshId,
        bytes: &[u8],
    ) -> Result<(), TrustError> {
        let owner = (mesh, &self.target.admin);
        let kept = KeptEntry::read(crypto, owner, (self.length(), &self.link), bytes)?;
        self.link = kept.link;
        self.staged.push(Arc::new(kept));
        Ok(())
    }

    /// Forgets what was staged and was wrong, and begins where it can be found wrong soonest.
    fn renew(&mut self, held: &Log) {
        let (base, link) = if self.target.length > held.length() {
            (held.length(), held.link())
        } else {
            (0, EMPTY)
        };
        (self.base, self.link, self.staged) = (base, link, Vec::new());
    }

    /// Forgets what was staged and begins anew, from the log's first entry.
    fn restart(&mut self) {
        self.base = 0;
        self.link = EMPTY;
        self.staged = Vec::new();
    }
}

pub(super) const fn row_of(head: &LogHead) -> LogRow {
    LogRow {
        admin: head.admin,
        length: head.length,
        link: head.link,
    }
}

impl AdminLog {
    pub(super) fn new(mesh: MeshId, admin: SignerId) -> Self {
        Self {
            mesh,
            main: Branch::of(Arc::new(Log::new(mesh, admin)), None),
            other: None,
            contested: None,
            refused: None,
            marks: Vec::new(),
            needed: Vec::new(),
            pending: None,
            replaced: false,
        }
    }

    pub(super) fn restored(mesh: MeshId, branches: (Branch, Option<Branch>)) -> Self {
        let admin = branches.0.log.admin();
        Self {
            main: branches.0,
            other: branches.1,
            ..Self::new(mesh, admin)
        }
    }

    /// Notes a verified head that contradicts what is held, of which no entries are here.
    pub(super) fn contest(&mut self, row: LogRow, head: Bytes) {
        if self.other.is_none() && !self.main.leads_to(&row) {
            self.pending = Some(Pending::from_start(row, Some(head.clone())));
            self.contested = Some(head);
        }
    }

    /// The signed head that contradicts the only branch that is here.
    #[must_use]
    pub fn contested(&self) -> Option<Bytes> {
        self.contested.clone()
    }

    pub(super) fn branch(log: Log, head: Option<Bytes>) -> Branch {
        Branch::of(Arc::new(log), head)
    }

    /// Whose log.
    #[must_use]
    pub fn admin(&self) -> SignerId {
        self.main.log.admin()
    }

    /// The entries in force; of a forked log those of the branch that came first.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.main.log
    }

    /// The branches in force: one, or two of a forked log.
    pub fn branches(&self) -> impl Iterator<Item = &Branch> {
        core::iter::once(&self.main).chain(&self.other)
    }

    /// Whether its admin has signed two histories, of which both may be here or one.
    #[must_use]
    pub const fn is_forked(&self) -> bool {
        self.other.is_some() || self.contested.is_some()
    }

    /// The marks known of it.
    #[must_use]
    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// The marks without which it would be judged otherwise.
    #[must_use]
    pub fn needed(&self) -> &[Mark] {
        &self.needed
    }

    /// What stands in a summary.
    pub(super) fn rows(&self) -> impl Iterator<Item = LogRow> {
        self.branches()
            .map(Branch::row)
            .filter(|row| row.length > 0)
    }

    /// What stands in a timestamp.
    pub(super) fn state(&self) -> Option<LogState> {
        let row = self.main.row();
        (row.length > 0).then_some(LogState {
            admin: row.admin,
            length: row.length,
            link: row.link,
            marks: None,
        })
    }

    /// The branch that has this link at this length.
    pub(super) fn branch_with(&self, row: &LogRow) -> Option<&Log> {
        let branch = self.branches().find(|b| b.leads_to(row))?;
        Some(&branch.log)
    }

    /// Whether a named state is not held: beyond what is, or of the other branch of a forked log.
    pub(super) fn lacks(&self, row: &LogRow) -> bool {
        let length = self.main.log.length();
        let elsewhere = self.other.is_some() && !self.branches().any(|b| b.leads_to(row));
        row.length > length && (self.other.is_none() || elsewhere)
    }

    /// Whether a branch with the state `later` has the state `earlier` behind it.
    #[must_use]
    pub fn continues(&self, later: &LogRow, earlier: &LogRow) -> bool {
        later.length >= earlier.length
            && self
                .branches()
                .any(|b| b.leads_to(later) && b.leads_to(earlier))
    }

    pub(super) fn missing(&self) -> Option<Missing> {
        self.pending.as_ref().map(Pending::missing)
    }

    /// Whether a state that somebody else signed contradicts every branch held.
    pub(super) fn contradicts(&self, row: &LogRow) -> bool {
        row.length <= self.main.log.length() && !self.branches().any(|b| b.leads_to(row))
    }

    /// What can be said of a head before its signature is looked at.
    pub(super) fn recognise(&self, head: &LogHead) -> Option<Offer> {
        let row = row_of(head);
        if self.branches().any(|b| b.row() == row) {
            return Some(Offer::Known);
        }
        if self.branches().any(|b| b.leads_to(&row)) {
            return Some(Offer::Stale);
        }
        if self.refused == Some(row) {
            return Some(Offer::Fork(ForkOf::Log(row.admin)));
        }
        let pending = self.pending.as_ref().filter(|p| p.target == row);
        pending.map(|p| Offer::Wanted(p.missing()))
    }

    /// Takes a verified head that is not recognised.
    pub(super) fn take_head(&mut self, head: &VerifiedLogHead) -> Offer {
        let (target, bytes) = (row_of(head.content()), Some(head.shared()));
        // Which branch it continues, or that it is a third history, only its entries tell.
        let either = self.other.is_some();
        if either || target.length <= self.main.log.length() {
            let pending = Pending::from_start(target, bytes);
            let missing = pending.missing();
            self.pending = Some(pending);
            if either || self.contested.is_some() {
                return Offer::Wanted(missing);
            }
            self.contested = Some(head.shared());
            return Offer::Fork(ForkOf::Log(target.admin));
        }
        // What contradicts what is held never keeps out what continues it.
        let grows = |pending: &Pending| pending.target.length > self.main.log.length();
        self.pending = self.pending.take().filter(grows);
        let pending = self
            .pending
            .get_or_insert_with(|| Pending::behind(&self.main.log, target, bytes.clone()));
        // What is staged leads to a longer head too; a shorter one waits for nothing.
        if target.length > pending.target.length || pending.staged.is_empty() {
            pending.target = target;
            pending.head = bytes;
        }
        Offer::Wanted(pending.missing())
    }

    /// Takes entries towards the pending head.
    pub(super) fn take_entries(
        &mut self,
        crypto: &dyn Crypto,
        from: u64,
        entries: &[Bytes],
    ) -> Result<Offer, TrustError> {
        if let Some(offer) = self.extend_branch(crypto, from, entries)? {
            return Ok(offer);
        }
        let Some(pending) = &mut self.pending else {
            return Ok(Offer::Stale);
        };
        let Some(known) = pending.length().checked_sub(from) else {
            return Ok(Offer::Wanted(pending.missing()));
        };
        let known = usize::try_from(known).unwrap_or(usize::MAX);
        for bytes in entries.iter().skip(known) {
            if pending.length() == pending.target.length {
                break;
            }
            if let Err(error) = pending.stage(crypto, &self.mesh, bytes) {
                pending.renew(&self.main.log);
                return Err(error);
            }
        }
        if pending.length() < pending.target.length {
            return Ok(Offer::Wanted(pending.missing()));
        }
        if pending.link == pending.target.link {
            return Ok(self.complete());
        }
        if pending.base == 0 {
            pending.renew(&self.main.log);
            return Err(TrustError::BrokenChain);
        }
        // Either these are wrong, or what is held is another history: the whole will tell.
        pending.restart();
        Ok(Offer::Wanted(pending.missing()))
    }

    /// Takes entries that continue either branch of a forked log all the way to the pending head.
    fn extend_branch(
        &mut self,
        crypto: &dyn Crypto,
        from: u64,
        entries: &[Bytes],
    ) -> Result<Option<Offer>, TrustError> {
        let (Some(pending), Some(other)) = (&self.pending, &mut self.other) else {
            return Ok(None);
        };
        let LogRow {
            admin,
            length,
            link,
        } = pending.target;
        if from.saturating_add(entries.len() as u64) != length {
            return Ok(None);
        }
        let ends_there = |branch: &&mut Branch| branch.log.length() == from;
        for branch in [&mut self.main, other].into_iter().filter(ends_there) {
            let mut staged = Vec::with_capacity(entries.len());
            let mut last = branch.log.link();
            for (index, bytes) in (from..).zip(entries) {
                let owner = (&self.mesh, &admin);
                let kept = KeptEntry::read(crypto, owner, (index, &last), bytes)?;
                last = kept.link;
                staged.push(Arc::new(kept));
            }
            if last == link {
                Arc::make_mut(&mut branch.log).extend(staged);
                branch.head = pending.head.clone();
                self.pending = None;
                let change = Change::Log {
                    admin,
                    from,
                    length,
                };
                return Ok(Some(Offer::New(change)));
            }
        }
        Ok(None)
    }

    /// Everything staged leads to the signed link.
    fn complete(&mut self) -> Offer {
        let Some(pending) = self.pending.take() else {
            return Offer::Stale;
        };
        let (admin, from) = (pending.target.admin, self.main.log.length());
        let changed = Offer::New(Change::Log {
            admin,
            from,
            length: pending.target.length,
        });
        if pending.base == from {
            Arc::make_mut(&mut self.main.log).extend(pending.staged);
            self.main.head = pending.head;
            return changed;
        }
        let mut log = Log::new(self.mesh, admin);
        log.extend(pending.staged);
        let bound_by_root = pending.head.is_none();
        let target = pending.target;
        let mut branch = Branch::of(Arc::new(log), pending.head);
        let continued = |held: &Branch| branch.leads_to(&held.row());
        if continued(&self.main) {
            branch.standings = Arc::clone(&self.main.standings);
            self.main = branch;
            changed
        } else if let Some(other) = self.other.as_mut().filter(|other| continued(other)) {
            branch.standings = Arc::clone(&other.standings);
            *other = branch;
            changed
        } else if bound_by_root {
            self.main = branch;
            self.replaced = true;
            changed
        } else if self.branches().any(|held| held.leads_to(&target)) {
            // Meanwhile a branch has grown over it.
            Offer::Stale
        } else if self.other.is_some() {
            self.refused = Some(target);
            Offer::Fork(ForkOf::Log(admin))
        } else {
            self.contested = None;
            self.other = Some(branch);
            Offer::Fork(ForkOf::Log(admin))
        }
    }

    /// Its admin is retired: what the root binds counts and nothing else. Says whether anything
    /// changed.
    pub(super) fn cut(&mut self, retired: &Retired) {
        let target = LogRow {
            admin: self.admin(),
            length: retired.length,
            link: retired.link,
        };
        let other = self.other.take();
        self.contested = None;
        self.refused = None;
        self.pending = None;
        self.replaced = true;
        let chosen = other.filter(|o| o.leads_to(&target));
        if let Some(other) = chosen.filter(|_| !self.main.leads_to(&target)) {
            self.main = other;
        }
        if self.main.log.length() > target.length {
            self.main.log = Arc::new(self.main.log.prefix(target.length));
            self.main.standings = self
                .main
                .standings
                .iter()
                .take(self.main.log.entries().len())
                .copied()
                .collect();
        }
        self.main.head = None;
        if !self.main.leads_to(&target) {
            // Until the entries that count are here, those at hand do.
            self.pending = Some(if self.main.log.length() < target.length {
                Pending::behind(&self.main.log, target, None)
            } else {
                Pending::from_start(target, None)
            });
        }
    }

    /// Notes that the log was seen in these states.
    pub(super) fn mark(&mut self, marks: impl Iterator<Item = Mark>) {
        for mark in marks {
            dating::insert(&mut self.marks, mark);
        }
        dating::prune(&mut self.marks, &self.needed);
    }

    /// Forgets when the log was seen: times begin anew.
    pub(super) fn forget_marks(&mut self) {
        self.marks = Vec::new();
        self.needed = Vec::new();
    }

    pub(super) fn ruled(&self) -> impl Iterator<Item = Ruled<'_>> {
        self.branches().map(|branch| Ruled {
            log: &branch.log,
            marks: &self.marks,
        })
    }

    /// What has become of the entries, for each branch.
    pub fn standings(&self) -> impl Iterator<Item = &[Standing]> {
        self.branches().map(Branch::standings)
    }

    /// Whether entries that were judged are gone since.
    pub(super) const fn is_replaced(&self) -> bool {
        self.replaced
    }

    pub(super) fn is_judged_otherwise(&self, judged: &[Judged]) -> bool {
        let same = self
            .standings()
            .eq(judged.iter().map(|j| j.standings.as_slice()));
        !same || self.replaced || needed_by(judged) != self.needed
    }

    pub(super) fn judge(&mut self, judged: Vec<Judged>) {
        self.needed = needed_by(&judged);
        self.replaced = false;
        let branches = core::iter::once(&mut self.main).chain(&mut self.other);
        for (branch, one) in branches.zip(judged) {
            branch.standings = one.standings.into();
        }
    }
}

fn needed_by(judged: &[Judged]) -> Vec<Mark> {
    let mut all: Vec<Mark> = judged
        .iter()
        .flat_map(|j| j.dated.needed().iter().copied())
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}
