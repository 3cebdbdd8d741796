//! What is revoked: the union of all logs, as far as one admin alone may go.
//!
//! A pure function of the root's threshold, the logs, the marks that date them and what was
//! effective here before; the order in which documents came does not matter. Rules, in order:
//!
//! 1. An entry that the threshold's number of admins lift is void.
//! 2. Where one admin suffices for everything, every other entry is effective.
//! 3. An act that stands in the logs of that many admins is *confirmed*: effective at once.
//! 4. One admin alone voids no issuer and bars no node that the root names as the host of a role,
//!    and makes at most [`LONE_ADMIN_REVOCATIONS`] others, or a
//!    tenth of the nodes, effective within an hour of dates ([`super::dating`]). The rest is kept
//!    and listed, and ineffective until confirmed.
//! 5. What was effective here stays so until it is lifted or its admin's log is cut by the root.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::dating::{Dated, Mark, governing};
pub use super::revocation::Cause;
use super::revocation::{Act, KeptEntry, Log};
use super::{MemberFacts, VerifiedMembership};
use crate::id::{Digest, EntryId, NodeId, SignerId, TicketId};
use crate::limits::{LONE_ADMIN_REVOCATIONS, LONE_ADMIN_WINDOW_S};
use crate::name::Name;
use crate::time::UnixSeconds;

/// What share of the nodes one admin alone may revoke within the window: one in ten.
const LONE_ADMIN_SHARE: u64 = 10;

/// What has become of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Effective on one admin's word.
    Effective,
    /// Effective on the word of as many admins as the threshold.
    Confirmed,
    /// Effective because it once was.
    Held,
    /// Beyond what one admin may do within an hour; ineffective until confirmed.
    Excess,
    /// Of a kind that one admin alone may not do; ineffective until confirmed.
    Unconfirmed,
    /// Taken back by as many admins as the threshold.
    Lifted,
    /// A lift itself.
    Lift,
}

impl Standing {
    /// Whether what the entry names is refused.
    #[must_use]
    pub const fn is_effective(self) -> bool {
        matches!(self, Self::Effective | Self::Confirmed | Self::Held)
    }

    /// Whether it is kept without effect because one admin alone may not do so much.
    #[must_use]
    pub const fn is_beyond(self) -> bool {
        matches!(self, Self::Excess | Self::Unconfirmed)
    }

    /// Its stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Effective => "effective",
            Self::Confirmed => "confirmed",
            Self::Held => "held",
            Self::Excess => "excess",
            Self::Unconfirmed => "unconfirmed",
            Self::Lifted => "lifted",
            Self::Lift => "lift",
        }
    }
}

/// One log as it counts: the entries in force and the marks that date them, sorted.
#[derive(Debug, Clone, Copy)]
pub struct Ruled<'a> {
    /// The entries.
    pub log: &'a Log,
    /// The marks.
    pub marks: &'a [Mark],
}

/// The judgement on one log, beside its entries.
#[derive(Debug, Clone, Default)]
pub struct Judged {
    /// What has become of each entry.
    pub standings: Vec<Standing>,
    /// The dates of its entries and the marks they hang on.
    pub dated: Dated,
}

/// A cut in what an issuer has issued.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cut {
    since: UnixSeconds,
    since_sequence: Option<u64>,
    cause: Arc<Cause>,
}

/// Everything that is revoked, for look-ups in constant time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revoked {
    nodes: HashMap<NodeId, Arc<Cause>>,
    agents: HashMap<Name, Arc<Cause>>,
    agents_of: HashMap<NodeId, HashMap<Name, Arc<Cause>>>,
    tickets: HashMap<TicketId, Arc<Cause>>,
    tools: HashMap<Digest, Arc<Cause>>,
    issuers: HashMap<SignerId, Vec<Cut>>,
    effective: usize,
    ineffective: usize,
}

impl Revoked {
    /// Why this node is revoked.
    #[must_use]
    pub fn node(&self, node: &NodeId) -> Option<&Cause> {
        self.nodes.get(node).map(Arc::as_ref)
    }

    /// Every node that is revoked, in no order.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeId> {
        self.nodes.keys()
    }

    /// Why this agent is revoked on this node, by itself or with every agent of that name. That its
    /// node is revoked is another question.
    #[must_use]
    pub fn agent(&self, node: &NodeId, agent: &Name) -> Option<&Cause> {
        let own = self.agents_of.get(node).and_then(|of| of.get(agent));
        own.or_else(|| self.agents.get(agent)).map(Arc::as_ref)
    }

    /// Why this ticket is revoked.
    #[must_use]
    pub fn ticket(&self, ticket: &TicketId) -> Option<&Cause> {
        self.tickets.get(ticket).map(Arc::as_ref)
    }

    /// Why the tool with this definition is revoked.
    #[must_use]
    pub fn tool(&self, definition: &Digest) -> Option<&Cause> {
        self.tools.get(definition).map(Arc::as_ref)
    }

    /// The definition of every tool that is revoked, in no order.
    pub fn tools(&self) -> impl Iterator<Item = &Digest> {
        self.tools.keys()
    }

    /// Why this membership is void: its node is revoked, or what its issuer issued then.
    #[must_use]
    pub fn membership(&self, membership: &VerifiedMembership) -> Option<&Cause> {
        self.member(membership.facts())
    }

    /// Why the membership with these facts is void ([`Revoked::membership`]).
    #[must_use]
    pub fn member(&self, member: &MemberFacts) -> Option<&Cause> {
        self.node(&member.node())
            .or_else(|| self.issued(member.issuer(), member.not_before, member.issuer_sequence))
    }

    /// Why a membership of this issuer, beginning then and with that sequence, is void.
    #[must_use]
    pub fn issued(
        &self,
        issuer: SignerId,
        not_before: UnixSeconds,
        sequence: u64,
    ) -> Option<&Cause> {
        let void = |cut: &&Cut| {
            not_before >= cut.since || cut.since_sequence.is_some_and(|since| sequence >= since)
        };
        let cuts = self.issuers.get(&issuer)?;
        cuts.iter().find(void).map(|cut| cut.cause.as_ref())
    }

    /// How many entries are effective.
    #[must_use]
    pub const fn effective(&self) -> usize {
        self.effective
    }

    /// How many revocations are kept without effect because one admin alone may not do so much.
    #[must_use]
    pub const fn ineffective(&self) -> usize {
        self.ineffective
    }

    /// Everything that is effective by these judgements.
    #[must_use]
    pub fn of(logs: &[Ruled<'_>], judged: &[Judged]) -> Self {
        let mut revoked = Self::default();
        revoked.extend(logs, judged, core::iter::repeat(&[][..]));
        revoked
    }

    /// Adds what is effective now and was not before; everything effective before must be so now.
    pub(super) fn extend<'b>(
        &mut self,
        logs: &[Ruled<'_>],
        judged: &[Judged],
        before: impl Iterator<Item = &'b [Standing]>,
    ) {
        (self.effective, self.ineffective) = (0, 0);
        for ((ruled, judged), before) in logs.iter().zip(judged).zip(before) {
            let before = before.iter().map(|s| s.is_effective());
            let before = before.chain(core::iter::repeat(false));
            let standings = judged.standings.iter().zip(before);
            for (kept, (standing, before)) in ruled.log.entries().iter().zip(standings) {
                self.effective += usize::from(standing.is_effective());
                self.ineffective += usize::from(standing.is_beyond());
                if standing.is_effective() && !before {
                    self.add(kept);
                }
            }
        }
    }

    fn add(&mut self, kept: &KeptEntry) {
        let cause = Arc::clone(&kept.cause);
        match &kept.act {
            Act::Node(node) => note(self.nodes.entry(*node), cause),
            Act::Agent { node: None, name } => note(self.agents.entry(name.clone()), cause),
            Act::Agent {
                node: Some(node),
                name,
            } => {
                let of = self.agents_of.entry(*node).or_default();
                note(of.entry(name.clone()), cause);
            }
            Act::Ticket(ticket) => note(self.tickets.entry(*ticket), cause),
            Act::Tool(tool) => note(self.tools.entry(*tool), cause),
            Act::Issuer {
                issuer,
                since,
                since_sequence,
            } => {
                let cuts = self.issuers.entry(*issuer).or_default();
                cuts.push(Cut {
                    since: *since,
                    since_sequence: *since_sequence,
                    cause,
                });
                cuts.sort_by_key(|cut| (cut.cause.at, cut.cause.entry));
            }
            Act::Lift(_) => {}
        }
    }
}

/// Of several causes for one thing the earliest counts, so that everybody names the same.
fn note<K>(place: Entry<'_, K, Arc<Cause>>, cause: Arc<Cause>) {
    let earlier = |known: &Cause| (cause.at, cause.entry) < (known.at, known.entry);
    match place {
        Entry::Vacant(place) => drop(place.insert(cause)),
        Entry::Occupied(mut known) if earlier(known.get()) => drop(known.insert(cause)),
        Entry::Occupied(_) => {}
    }
}

/// Judges all logs together. `needed` is the root's threshold and `role_hosts` the nodes its issuers
/// and timestampers run on; `held` says which entries were effective before.
#[must_use]
pub fn judge(
    needed: usize,
    role_hosts: &HashSet<NodeId>,
    logs: &[Ruled<'_>],
    held: &HashSet<EntryId>,
) -> Vec<Judged> {
    let lifted = agreed(logs, needed, |kept| match &kept.act {
        Act::Lift(entry) => Some(*entry),
        _ => None,
    });
    let confirmed = if needed > 1 {
        agreed(logs, needed, |kept| match &kept.act {
            Act::Lift(_) => None,
            _ if lifted.contains(&kept.cause.entry) => None,
            act => Some(act),
        })
    } else {
        HashSet::new()
    };
    let one = |ruled: &Ruled<'_>| {
        let mut one = judge_one(ruled, needed, role_hosts, &lifted, &confirmed);
        if !held.is_empty() {
            hold(ruled.log, &mut one.standings, held);
        }
        one
    };
    logs.iter().map(one).collect()
}

/// What was effective stays so where the rules alone would not have it.
fn hold(log: &Log, standings: &mut [Standing], held: &HashSet<EntryId>) {
    for (kept, standing) in log.entries().iter().zip(standings) {
        if standing.is_beyond() && held.contains(&kept.cause.entry) {
            *standing = Standing::Held;
        }
    }
}

/// What the logs of at least `needed` different admins say. Both branches of a forked log are one
/// admin.
fn agreed<'a, T: Eq + std::hash::Hash>(
    logs: &[Ruled<'a>],
    needed: usize,
    said: impl Fn(&'a KeptEntry) -> Option<T>,
) -> HashSet<T> {
    // What so many say, one of all but the longest says: the others need no memory of their own.
    let mut by_length: Vec<&Log> = logs.iter().map(|ruled| ruled.log).collect();
    by_length.sort_by_key(|log| (log.length(), log.admin(), log.link()));
    let admins: HashSet<SignerId> = by_length.iter().map(|log| log.admin()).collect();
    let Some(others) = needed.checked_sub(1).filter(|n| *n < admins.len()) else {
        return HashSet::new();
    };
    let mut longest: Vec<SignerId> = Vec::new();
    for log in by_length.iter().rev() {
        if longest.len() < others && !longest.contains(&log.admin()) {
            longest.push(log.admin());
        }
    }
    let mut sayers: HashMap<T, Vec<SignerId>> = HashMap::new();
    let (last, first): (Vec<&Log>, Vec<&Log>) = by_length
        .into_iter()
        .partition(|log| longest.contains(&log.admin()));
    for log in first {
        for what in log.entries().iter().filter_map(|kept| said(kept)) {
            let by = sayers.entry(what).or_default();
            if !by.contains(&log.admin()) {
                by.push(log.admin());
            }
        }
    }
    if !sayers.is_empty() {
        for log in last {
            for what in log.entries().iter().filter_map(|kept| said(kept)) {
                let by = sayers.get_mut(&what);
                if let Some(by) = by.filter(|by| !by.contains(&log.admin())) {
                    by.push(log.admin());
                }
            }
        }
    }
    let enough = |(what, by): (T, Vec<SignerId>)| (by.len() >= needed).then_some(what);
    sayers.into_iter().filter_map(enough).collect()
}

fn judge_one(
    ruled: &Ruled<'_>,
    needed: usize,
    role_hosts: &HashSet<NodeId>,
    lifted: &HashSet<EntryId>,
    confirmed: &HashSet<&Act>,
) -> Judged {
    let entries = ruled.log.entries();
    let mut dated = Dated::of(entries, ruled.marks);
    let mut quota = Quota::new(ruled.marks);
    let standings = entries
        .iter()
        .enumerate()
        .map(|(i, kept)| match &kept.act {
            Act::Lift(_) => Standing::Lift,
            _ if lifted.contains(&kept.cause.entry) => Standing::Lifted,
            _ if needed <= 1 => Standing::Effective,
            act if confirmed.contains(act) => Standing::Confirmed,
            Act::Issuer { .. } => Standing::Unconfirmed,
            Act::Node(node) if role_hosts.contains(node) => Standing::Unconfirmed,
            _ if quota.take(dated.date(i), &mut dated) => Standing::Effective,
            _ => Standing::Excess,
        })
        .collect();
    Judged { standings, dated }
}

/// How much one admin alone has done within the last hour of dates.
struct Quota<'a> {
    marks: &'a [Mark],
    recent: VecDeque<UnixSeconds>,
}

impl<'a> Quota<'a> {
    const fn new(marks: &'a [Mark]) -> Self {
        Self {
            marks,
            recent: VecDeque::new(),
        }
    }

    /// Whether one more entry of this date is within bounds; if so it is counted.
    fn take(&mut self, date: UnixSeconds, dated: &mut Dated) -> bool {
        let recent = |d: &&UnixSeconds| d.plus(LONE_ADMIN_WINDOW_S) <= date;
        while self.recent.front().filter(recent).is_some() {
            self.recent.pop_front();
        }
        let taken = self.recent.len() as u64;
        let within = taken < LONE_ADMIN_REVOCATIONS || {
            let mark = governing(self.marks, date);
            if let Some(mark) = mark {
                dated.need(mark);
            }
            taken < mark.map_or(0, |m| m.nodes) / LONE_ADMIN_SHARE
        };
        if within {
            self.recent.push_back(date);
        }
        within
    }
}
