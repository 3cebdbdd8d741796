//! The end of a run: when it is over, whether everybody has everything, and the report.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use protocol::distribution::HeadSet;
use protocol::trust::Freshness;

use super::grounds::Cut;
use super::invariants;
use super::links::MS;
use super::report::{Effective, Report};
use super::scenario::Sabotage;
use super::world::World;

/// After how many milliseconds calls flow over a connection at the latest.
const PATIENCE_MS: u64 = 20_000;

/// By how many seconds a clock may be behind a verified timestamp.
const MAX_BEHIND_S: u64 = 300;

impl World<'_> {
    /// Whether everything planned has happened and nothing is missing, for long enough.
    pub(crate) fn is_over(&self) -> bool {
        let linger = self.scenario.linger_ms * MS;
        self.settled_at
            .is_some_and(|at| self.queue.now >= at + linger)
    }

    /// Whether every honest node that is up has everything, in force and on disk, and calls flow
    /// over every connection between two of them.
    pub(crate) fn settled(&self) -> bool {
        let all = self.authority.heads();
        let honest = self.hosts.iter().filter(|h| h.is_honest() && h.up);
        let has = |heads| invariants::behind(heads, &all).is_none();
        honest.into_iter().all(|h| has(&h.known) && has(&h.durable)) && self.unsynced(0).is_empty()
    }

    /// The ends of connections between honest nodes that have stood for `since_us` and over which
    /// calls do not flow yet: the node, and its peer.
    ///
    /// None where messages are lost for good: who never got an answer asks ever more rarely, and
    /// that is right, because streams lose nothing.
    fn unsynced(&self, since_us: u64) -> Vec<(usize, usize)> {
        if self.scenario.links.loss > 0 && self.scenario.links.resend_ms == 0 {
            return Vec::new();
        }
        let honest = |node: usize| self.hosts.get(node).is_some_and(|h| h.is_honest() && h.up);
        let mut out = Vec::new();
        for ((number, end), (at, _)) in &self.promised {
            let Some(link) = self.links.link(*number) else {
                continue;
            };
            let peer = link.other(*end);
            let stands = link.is_up() && !self.is_split(*end, peer);
            let judged = honest(*end) && honest(peer) && at + since_us <= self.queue.now;
            if stands && judged {
                out.push((*end, peer));
            }
        }
        out
    }

    /// Counts the nodes whose lease is over, and checks that they say so.
    pub(crate) fn look_at_leases(&mut self) {
        let (now, at) = (self.queue.now, self.at_ms());
        let lease = self.scenario.mesh.lease_s;
        let (mut stale, mut behind) = (0, 0);
        for (node, host) in self.hosts.iter().enumerate() {
            let machine = host.machine.as_ref().filter(|_| host.is_honest());
            let Some(state) = machine.map(|m| m.state()) else {
                continue;
            };
            let clock = host.clock(now).seconds();
            let newest = state.newest_timestamp().map_or(0, |t| t.time().0);
            let age = clock.0.saturating_sub(newest);
            let says = state.freshness(clock);
            let closed = matches!(says, Freshness::ClockBehind { .. });
            let fresh = match self.scenario.sabotage {
                Sabotage::NeverStale => true,
                Sabotage::IgnoreClock if closed => true,
                _ => matches!(says, Freshness::Fresh { .. }),
            };
            stale += u64::from(!fresh);
            behind += u64::from(closed);
            let ahead = newest.saturating_sub(clock.0);
            if fresh && ahead > MAX_BEHIND_S {
                self.invariants.clock_behind(at, node, ahead);
            }
            if fresh && age > lease {
                self.invariants.freshness(at, node, age, lease);
            }
        }
        self.report.stale = self.report.stale.max(stale);
        self.report.clocks_behind = self.report.clocks_behind.max(behind);
    }

    /// For each node that is honest and up, the least node of those it is connected with by others
    /// that are.
    fn groups(&self) -> Vec<Option<usize>> {
        let mut groups: Vec<Option<usize>> = vec![None; self.hosts.len()];
        for first in 0..self.hosts.len() {
            let mut next = VecDeque::from([first]);
            while let Some(node) = next.pop_front() {
                let counts = self.hosts.get(node).is_some_and(|h| h.is_honest() && h.up);
                let group = groups.get_mut(node).filter(|g| counts && g.is_none());
                let Some(group) = group else {
                    continue;
                };
                *group = Some(first);
                for link in self
                    .links
                    .of(node)
                    .iter()
                    .filter_map(|&l| self.links.link(l))
                {
                    let peer = link.other(node);
                    if link.is_up() && !self.is_split(node, peer) {
                        next.push_back(peer);
                    }
                }
            }
        }
        groups
    }

    /// Judges the end and makes the report.
    pub(crate) fn finish(mut self) -> Report {
        let groups = self.groups();
        self.judge_convergence(&groups);
        let revoked = self.judge_agreement(&groups);
        let at = self.at_ms();
        for (node, peer) in self.unsynced(PATIENCE_MS * MS) {
            self.invariants.never_synced(at, node, peer);
        }
        let first = groups.first().copied().flatten();
        let connected: Vec<bool> = groups.iter().map(|g| g.is_some() && *g == first).collect();
        let samples = self.samples(&groups);
        let expect = &self.scenario.expect;
        let (effective, curve) = Effective::of(&samples.taken, samples.due);
        let mut unmet = effective.broken(expect);
        let senders = self.hosts.iter().filter(|h| h.adversary.is_none());
        let senders = (senders.count() as u64).max(1);
        let messages = self.counts.messages.div_ceil(senders);
        if expect.messages_per_node.is_some_and(|most| messages > most) {
            unmet.push(format!("{messages} messages per node"));
        }
        for reason in &expect.refusals {
            if !self.report.refused.contains_key(reason) {
                unmet.push(format!("no refusal `{reason}`"));
            }
        }
        if expect.acknowledged {
            let lacking = |acks: &BTreeSet<usize>| {
                let nodes = connected.iter().enumerate();
                nodes.filter(|(n, c)| **c && !acks.contains(n)).count()
            };
            for missing in self.acknowledged.values().map(lacking).filter(|m| *m > 0) {
                unmet.push(format!("{missing} nodes did not acknowledge"));
            }
        }
        if expect.revoked_nodes.is_some_and(|wanted| wanted != revoked) {
            unmet.push(format!("{revoked} nodes are revoked"));
        }
        for name in &expect.alarms {
            if !self.report.alarms.contains_key(name) {
                unmet.push(format!("no alarm `{name}`"));
            }
        }
        for (expected, seen, what) in [
            (expect.stale, self.report.stale, "was ever stale"),
            (expect.full_disks, self.report.full_disks, "had a full disk"),
            (
                expect.clocks_behind,
                self.report.clocks_behind,
                "saw its clock behind",
            ),
        ] {
            if expected && seen == 0 {
                unmet.push(format!("no node {what}"));
            }
        }
        for what in unmet {
            self.invariants.unexpected(at, what);
        }
        let violations = self.invariants.violations;
        let honest = self.hosts.iter().filter(|h| h.is_honest() && h.up).count();
        Report {
            ok: violations.count == 0,
            honest: honest as u64,
            isolated: honest.saturating_sub(connected.iter().filter(|c| **c).count()) as u64,
            effective_ms: effective,
            messages_per_node: messages,
            bytes_per_node: self.counts.bytes.div_ceil(senders),
            verifications_per_node: self.counts.verified.div_ceil(senders),
            invariant_violations: violations.count,
            violations: violations.first,
            virtual_ms: at,
            revocations: self.authority.revocations.len() as u64,
            effective: samples.taken.len() as u64,
            missing: (samples.due - samples.taken.len()) as u64,
            curve_ms: curve,
            trace: self.trace.hex(),
            ..self.report
        }
    }

    /// Whoever is connected with one who has something has it too.
    fn judge_convergence(&mut self, groups: &[Option<usize>]) {
        let mut all: BTreeMap<usize, HeadSet> = BTreeMap::new();
        for (host, group) in self.hosts.iter().zip(groups) {
            if let Some(group) = group {
                let all = all.entry(*group).or_insert_with(|| host.known.clone());
                for item in host.known.beyond(&all.clone()) {
                    all.adopt(&host.known, item);
                }
            }
        }
        let at = self.at_ms();
        for (node, (host, group)) in self.hosts.iter().zip(groups).enumerate() {
            if let Some(all) = group.and_then(|g| all.get(&g)) {
                self.invariants.unconverged(at, node, &host.known, all);
            }
        }
    }

    /// Nodes that have the same take the same nodes for revoked; how many the first does.
    fn judge_agreement(&mut self, groups: &[Option<usize>]) -> usize {
        let at = self.at_ms();
        let targets: Vec<usize> = self.targets.iter().copied().collect();
        let mut of_group: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (node, group) in groups.iter().enumerate() {
            let Some(group) = group else { continue };
            let known = targets.iter().filter(|&&t| self.knows_as_revoked(node, t));
            let known: Vec<usize> = known.copied().collect();
            let all = of_group.entry(*group).or_insert_with(|| known.clone());
            if *all != known {
                self.invariants.disagree(at, node, known.len(), all.len());
            }
        }
        of_group.values().next().map_or(0, Vec::len)
    }

    /// How long each revocation took for each node connected with its publisher, sorted, in
    /// milliseconds.
    fn samples(&self, groups: &[Option<usize>]) -> Samples {
        let mut samples = Samples::default();
        for (group, of) in groups.iter().zip(&self.effective) {
            for (number, entry) in self.authority.revocations.iter().enumerate() {
                // What a root has cut off reaches nobody who was away.
                let cut = |cut: &Cut| cut.admin == entry.admin && entry.index >= cut.length;
                if self.authority.cuts.iter().any(cut) {
                    continue;
                }
                if group.is_some() && groups.get(entry.admin) == Some(group) {
                    samples.due += 1;
                    samples
                        .taken
                        .extend(of.get(&number).map(|us| us.div_ceil(MS)));
                }
            }
        }
        samples.taken.sort_unstable();
        samples
    }
}

/// The spread of all revocations.
#[derive(Default)]
struct Samples {
    /// Of each pair for which it came to be, how long it took.
    taken: Vec<u64>,
    /// How many pairs there are.
    due: usize,
}
