//! What the scenario plans: publications, deaths, absences, partitions and mischief.

use std::collections::BTreeSet;

use protocol::distribution::{Config, Document, Event as Input, Machine, PullId};
use protocol::id::NodeId;
use protocol::time::UnixSeconds;

use super::adversary::Knowledge;
use super::authority::start;
use super::host::Host;
use super::invariants;
use super::links::MS;
use super::scenario::{Sabotage, Span, What};
use super::topology::shuffled;
use super::world::{Event, World};

/// How often the observer looks at all nodes, in milliseconds.
const LOOK_MS: u64 = 100;

impl World<'_> {
    /// Schedules everything the scenario plans.
    pub(crate) fn plan(&mut self) {
        let scenario = self.scenario;
        for (number, publish) in scenario.publish.iter().enumerate() {
            self.plan_at(publish.at_ms, Event::Publish(number));
        }
        for (number, pull) in scenario.pull.iter().enumerate() {
            self.plan_at(pull.at_ms, Event::Pull(number));
        }
        for (number, span) in scenario.partition.iter().enumerate() {
            self.plan_at(span.from_ms, Event::Split(number));
            self.plan_at(span.to_ms, Event::Heal(number));
        }
        for (number, span) in scenario.offline.iter().enumerate() {
            self.plan_at(span.from_ms, Event::SwitchOff(number));
            self.plan_at(span.to_ms, Event::SwitchOn(number));
        }
        for (number, span) in scenario.clock.iter().enumerate() {
            self.plan_at(span.from_ms, Event::ClockWrong(number));
            self.plan_at(span.to_ms, Event::ClockRight(number));
        }
        for (number, span) in scenario.full_disk.iter().enumerate() {
            self.plan_at(span.from_ms, Event::DiskFull(number));
            self.plan_at(span.to_ms, Event::DiskRoom(number));
        }
        if scenario.dead.share > 0 {
            self.plan_at(scenario.dead.at_ms, Event::Die);
        }
        if scenario.churn.every_ms > 0 {
            self.plan_at(scenario.churn.from_ms, Event::Leave);
        }
        if scenario.sabotage == Sabotage::GoBack {
            let last = scenario.publish.iter().map(|p| p.at_ms).max();
            self.plan_at(last.unwrap_or(0) + 1_000, Event::GoBack);
        }
        if scenario.timestamps.every_ms > 0 {
            for number in 0..scenario.mesh.timestampers {
                self.plan_timestamp(number);
            }
        }
        for node in 0..self.hosts.len() {
            if self.hosts.get(node).is_some_and(|h| h.adversary.is_some()) {
                self.plan_mischief(node);
            }
        }
        self.queue.after(LOOK_MS * MS, Event::Look);
    }

    fn plan_at(&mut self, at_ms: u64, event: Event) {
        self.planned += 1;
        self.queue.at(at_ms * MS, event);
    }

    /// True time.
    pub(crate) fn time(&self) -> UnixSeconds {
        start().plus(self.queue.now / MS / 1000)
    }

    pub(crate) fn publish(&mut self, number: usize) -> anyhow::Result<()> {
        self.planned = self.planned.saturating_sub(1);
        let Some(publish) = self.scenario.publish.get(number) else {
            return Ok(());
        };
        let (now, time, admin) = (self.queue.now, self.time(), publish.admin);
        self.published_at.get_or_insert(now);
        let documents = match publish.what {
            What::RevokeNode => {
                let targets = self.draw_targets(publish.count);
                let authority = &mut self.authority;
                authority.revoke_nodes(&self.crypto, now, time, admin, &targets)?
            }
            What::Confirm => {
                let ids: Vec<NodeId> = self.hosts.iter().map(|h| h.id).collect();
                let authority = &mut self.authority;
                authority.confirm(&self.crypto, now, time, admin, &ids)?
            }
            What::Fork => return self.fork(admin),
            What::Rogue => return self.go_rogue(admin),
            What::RevokeIssuer => {
                let sequence = self.sequence_hitting(publish.count);
                let authority = &mut self.authority;
                authority.revoke_issuer(&self.crypto, now, time, admin, sequence)?
            }
            What::Lift => self.authority.lift(&self.crypto, now, time, admin)?,
            What::Retire => {
                let authority = &mut self.authority;
                let documents = authority.retire(&self.crypto, time, admin, publish.count)?;
                self.invariants.cuts.clone_from(&self.authority.cuts);
                documents
            }
            What::Epoch => self.authority.epoch(&self.crypto, time)?,
            What::RevokeAgent => {
                let authority = &mut self.authority;
                authority.revoke_agents(&self.crypto, now, time, admin, publish.count)?
            }
            What::Bundle => self
                .authority
                .bundle(&self.crypto, time, publish.policies)?,
            What::Root => self.authority.root(&self.crypto, time)?,
        };
        self.mark_revoked();
        // A root that retires an admin is handed out by another.
        let by = if publish.what == What::Retire {
            0
        } else {
            admin
        };
        self.hand_out(by, documents);
        Ok(())
    }

    /// Notes who is revoked by all that was published so far. Who is not any more may come back.
    fn mark_revoked(&mut self) {
        let heads = self.authority.heads();
        for node in 0..self.hosts.len() {
            let Some(host) = self.hosts.get_mut(node).filter(|h| !h.disputed) else {
                continue;
            };
            let authority = &self.authority;
            if authority.deeds().any(|e| e.hits(node, host.membership)) {
                self.targets.insert(node);
            }
            let may = authority.grounds(&heads, node, host.membership).may;
            let was = core::mem::replace(&mut host.revoked, may);
            if !was || may {
                continue;
            }
            host.reachable_since = self.queue.now;
            for link in self.links.of(node).to_vec() {
                if let Some(known) = self.links.link_mut(link) {
                    known.given_up = false;
                }
                self.dial_anew(link, 0);
            }
        }
    }

    /// From which sequence on the second issuer is to be revoked so that `count` nodes are hit.
    fn sequence_hitting(&self, count: u64) -> u64 {
        let issued = self.hosts.iter().map(|h| h.membership);
        let mut sequences: Vec<u64> = issued.filter(|m| m.0 == 1).map(|m| m.1).collect();
        sequences.sort_unstable();
        let last = sequences
            .len()
            .saturating_sub(usize::try_from(count).unwrap_or(usize::MAX));
        sequences.get(last).copied().unwrap_or_default()
    }

    /// One who is no admin any more signs on, and hands it to every node that publishes, and as
    /// many others.
    fn go_rogue(&mut self, admin: usize) -> anyhow::Result<()> {
        let time = self.time();
        let drawn = self.draw(1000);
        let Some(target) = drawn.first().and_then(|&n| self.hosts.get(n)).map(|h| h.id) else {
            return Ok(());
        };
        let documents = self.authority.rogue(&self.crypto, time, admin, target)?;
        self.rogue = true;
        let stable = self.stable();
        for node in (0..stable).chain(drawn.into_iter().take(stable)) {
            for document in documents.clone() {
                self.drive(node, Input::Publish(document));
            }
        }
        self.rogue = false;
        Ok(())
    }

    /// An admin signs two histories, and gives each to another node.
    fn fork(&mut self, admin: usize) -> anyhow::Result<()> {
        let (now, time) = (self.queue.now, self.time());
        let targets = self.draw_targets(2);
        let [one, other] = targets.as_slice() else {
            anyhow::bail!("no two nodes to revoke");
        };
        let targets = [*one, *other];
        for (node, _) in targets {
            if let Some(host) = self.hosts.get_mut(node) {
                host.disputed = true;
            }
        }
        self.targets.extend(targets.map(|(node, _)| node));
        let authority = &mut self.authority;
        let [first, second] = authority.fork(&self.crypto, now, time, admin, targets)?;
        self.hand_out(admin, first);
        self.hand_out((admin + 1) % self.stable(), second);
        Ok(())
    }

    /// Draws who is revoked, among those that are up, follow the protocol and hold no role.
    fn draw_targets(&mut self, count: u64) -> Vec<(usize, NodeId)> {
        let order = shuffled(&mut self.rng, self.hosts.len());
        let stable = self.stable();
        let mut targets = Vec::new();
        for node in order.into_iter().filter(|&node| node >= stable) {
            if targets.len() as u64 == count {
                break;
            }
            let host = self.hosts.get_mut(node);
            if let Some(host) = host.filter(|h| h.is_honest() && h.up) {
                host.revoked = true;
                targets.push((node, host.id));
            }
        }
        targets
    }

    /// Gives documents to the node at which their signer sits.
    fn hand_out(&mut self, node: usize, documents: Vec<Document>) {
        if self.scenario.sabotage != Sabotage::PublishUnseen {
            self.invariants.published(&self.authority.heads());
        }
        for document in documents {
            self.drive(node, Input::Publish(document));
        }
    }

    /// An operator asks which nodes have everything in an admin's log.
    pub(crate) fn pull(&mut self, number: usize) {
        self.planned = self.planned.saturating_sub(1);
        let Some(pull) = self.scenario.pull.get(number) else {
            return;
        };
        let Some(&admin) = self.authority.admin_ids.get(pull.admin) else {
            return;
        };
        let heads = self.authority.heads();
        let Some(&log) = heads.rows(&admin).last() else {
            return;
        };
        let id = PullId(self.rng.bytes());
        self.acknowledged.insert(id, BTreeSet::new());
        let input = Input::Pull {
            id,
            log,
            life_ms: pull.life_ms,
        };
        self.drive(pull.admin, input);
    }

    fn plan_timestamp(&mut self, number: usize) {
        let every = self.scenario.timestamps.every_ms * MS;
        let after = self.rng.between(every * 9 / 10, every * 11 / 10);
        self.queue.after(after, Event::Timestamp(number));
    }

    pub(crate) fn timestamp(&mut self, number: usize) -> anyhow::Result<()> {
        if self.planned == 0 {
            return Ok(()); // what is not settled by now would never be
        }
        let (time, nodes) = (self.time(), self.hosts.len() as u64);
        let machine = self.hosts.get(number).and_then(|h| h.machine.as_ref());
        // A timestamper that has not heard of the new epoch yet waits for it.
        let epoch = self.authority.heads().epoch;
        if let Some(machine) = machine.filter(|m| m.heads().epoch == epoch) {
            let (authority, state) = (&mut self.authority, machine.state());
            let documents = authority.timestamp(&self.crypto, number, state, time, nodes)?;
            self.hand_out(number, documents);
        }
        self.plan_timestamp(number);
        Ok(())
    }

    /// Honest nodes without a role that are up, `share` of a thousand of them, in random order.
    fn draw(&mut self, share: u64) -> Vec<usize> {
        let stable = self.stable();
        let mut order = shuffled(&mut self.rng, self.hosts.len());
        order.retain(|&node| {
            let host = self.hosts.get(node);
            node >= stable && host.is_some_and(|h| h.up && h.is_honest())
        });
        let count = order.len() as u64 * share / 1000;
        order.truncate(usize::try_from(count).unwrap_or(usize::MAX));
        order
    }

    pub(crate) fn die(&mut self) {
        self.planned = self.planned.saturating_sub(1);
        for node in self.draw(self.scenario.dead.share) {
            if let Some(host) = self.hosts.get_mut(node) {
                host.dead = true;
            }
            self.shut_down(node, true);
        }
    }

    pub(crate) fn leave(&mut self) {
        let churn = &self.scenario.churn;
        if self.at_ms() >= churn.to_ms {
            self.planned = self.planned.saturating_sub(1);
            return;
        }
        let all = self.draw(1000);
        if let Some(&node) = all.first() {
            let crash = self.rng.chance(500);
            self.shut_down(node, crash);
            let down = self
                .rng
                .between(churn.down_min_ms * MS, churn.down_max_ms * MS);
            self.planned += 1;
            self.queue.after(down, Event::Return(node));
        }
        let every = churn.every_ms * MS;
        let after = self.rng.between(every / 2, every * 3 / 2);
        self.queue.after(after, Event::Leave);
    }

    /// Stops a node, in silence or with a goodbye.
    fn shut_down(&mut self, node: usize, silent: bool) {
        for link in self.links.of(node).to_vec() {
            let Some(known) = self.links.link(link) else {
                continue;
            };
            let peer = known.other(node);
            self.promised.remove(&(link, node));
            if silent {
                self.probe_later(link, peer);
                if let Some(known) = self.links.link_mut(link) {
                    known.close(node);
                }
            } else {
                self.cut(link, node, false);
            }
        }
        if let Some(host) = self.hosts.get_mut(node) {
            host.stop();
        }
    }

    pub(crate) fn come_back(&mut self, node: usize) -> anyhow::Result<()> {
        self.planned = self.planned.saturating_sub(1);
        if self.hosts.get(node).is_none_or(|h| h.up || h.dead) {
            return Ok(());
        }
        self.report.returns += 1;
        self.boot(node)?;
        let (at, host) = (self.at_ms(), self.hosts.get(node));
        if let Some(host) = host.filter(|h| h.is_honest()) {
            self.invariants
                .restarted(at, node, &host.durable, &host.known);
        }
        let redial = self.scenario.links.redial_ms * MS;
        for link in self.links.of(node).to_vec() {
            let after = self.rng.between(0, redial);
            self.dial_anew(link, after);
        }
        Ok(())
    }

    /// Starts a node's machine from what is on its disk.
    pub(crate) fn boot(&mut self, node: usize) -> anyhow::Result<()> {
        let now = self.queue.now;
        let Some(host) = self.hosts.get_mut(node) else {
            return Ok(());
        };
        if host.adversary.as_ref().is_some_and(|a| !a.runs_machine()) {
            host.up = true;
            return Ok(());
        }
        let fresh = host.process == 0 || self.scenario.sabotage == Sabotage::ForgetDisk;
        let state = if fresh {
            self.genesis.clone()
        } else {
            host.disk.restore(&self.crypto)?
        };
        let config = Config::default();
        let machine = Machine::new(host.id, config, state, host.clock(now));
        host.start(now, machine);
        Ok(())
    }

    /// A node's machine is replaced by one that knows nothing, and nobody tells the observer.
    pub(crate) fn go_back(&mut self) {
        self.planned = self.planned.saturating_sub(1);
        let Some(&node) = self.draw(1000).first() else {
            return;
        };
        let now = self.queue.now;
        if let Some(host) = self.hosts.get_mut(node) {
            let config = Config::default();
            let machine = Machine::new(host.id, config, self.genesis.clone(), host.clock(now));
            host.machine = Some(machine);
        }
        self.drive(node, Input::Tick);
    }

    pub(crate) fn split(&mut self, number: usize) {
        self.planned = self.planned.saturating_sub(1);
        let Some(Span { share, .. }) = self.scenario.partition.get(number) else {
            return;
        };
        let stable = self.stable();
        let sides: Vec<bool> = (0..self.hosts.len())
            .map(|node| {
                let drawn = self.rng.chance(*share);
                // Of those that publish, every second is on the smaller side.
                if node < stable { node % 2 == 1 } else { drawn }
            })
            .collect();
        self.sides = Some(sides);
        for link in 0..self.links.len() {
            let ends = self.links.link(link).map(|l| l.ends);
            if let Some([a, b]) = ends.filter(|[a, b]| self.is_split(*a, *b)) {
                self.probe_later(link, a);
                self.probe_later(link, b);
            }
        }
    }

    pub(crate) fn heal(&mut self, _: usize) {
        self.planned = self.planned.saturating_sub(1);
        self.sides = None;
        let (now, all) = (self.queue.now, self.authority.heads());
        for host in &mut self.hosts {
            if invariants::behind(&host.known, &all).is_some() {
                host.reachable_since = now;
            }
        }
    }

    pub(crate) fn clock_wrong(&mut self, number: usize) {
        self.planned = self.planned.saturating_sub(1);
        let Some(span) = self.scenario.clock.get(number) else {
            return;
        };
        let by_ms = span.by_ms;
        for node in self.draw(span.share) {
            self.wrong_clocks.push((number, node));
            self.set_clock(node, by_ms);
        }
    }

    pub(crate) fn clock_right(&mut self, number: usize) {
        self.planned = self.planned.saturating_sub(1);
        let by_ms = self.scenario.clock.get(number).map_or(0, |s| s.by_ms);
        let wrong = core::mem::take(&mut self.wrong_clocks);
        let (right, still): (Vec<_>, Vec<_>) = wrong.into_iter().partition(|(n, _)| *n == number);
        self.wrong_clocks = still;
        for (_, node) in right {
            self.righted.insert(node, self.queue.now);
            self.set_clock(node, -by_ms);
        }
    }

    fn set_clock(&mut self, node: usize, by_ms: i64) {
        if let Some(host) = self.hosts.get_mut(node) {
            host.set_clock(by_ms);
        }
        self.drive(node, Input::Tick);
    }

    pub(crate) fn disk_full(&mut self, number: usize) {
        self.planned = self.planned.saturating_sub(1);
        let Some(span) = self.scenario.full_disk.get(number) else {
            return;
        };
        for node in self.draw(span.share) {
            self.full_disks.push((number, node));
            if let Some(host) = self.hosts.get_mut(node) {
                host.disk_full = true;
            }
        }
    }

    /// A write has failed. The node stops at once, as the production one does: what it cannot keep
    /// it does not go on with.
    pub(crate) fn unwritten(&mut self, node: usize, process: u32) {
        let same = |h: &&Host| h.process == process && h.up;
        if self.hosts.get(node).filter(same).is_some() {
            self.report.full_disks += 1;
            self.shut_down(node, true);
        }
    }

    pub(crate) fn disk_room(&mut self, number: usize) -> anyhow::Result<()> {
        let full = core::mem::take(&mut self.full_disks);
        let (freed, still): (Vec<_>, Vec<_>) = full.into_iter().partition(|(n, _)| *n == number);
        self.full_disks = still;
        self.planned += freed.len() as u64;
        self.planned = self.planned.saturating_sub(1);
        for (_, node) in freed {
            if let Some(host) = self.hosts.get_mut(node) {
                host.disk_full = false;
            }
            self.come_back(node)?;
        }
        Ok(())
    }

    pub(crate) fn switch_off(&mut self, number: usize) {
        self.planned = self.planned.saturating_sub(1);
        let Some(span) = self.scenario.offline.get(number) else {
            return;
        };
        for node in self.draw(span.share) {
            let crash = self.rng.chance(500);
            self.shut_down(node, crash);
            self.absent.push((number, node));
        }
    }

    pub(crate) fn switch_on(&mut self, number: usize) -> anyhow::Result<()> {
        let absent = core::mem::take(&mut self.absent);
        let (back, still): (Vec<_>, Vec<_>) = absent.into_iter().partition(|(n, _)| *n == number);
        self.absent = still;
        self.planned += back.len() as u64;
        self.planned = self.planned.saturating_sub(1);
        for (_, node) in back {
            self.come_back(node)?;
        }
        Ok(())
    }

    fn plan_mischief(&mut self, node: usize) {
        let every = self.scenario.byzantine.every_ms * MS;
        let after = self.rng.between(every / 2, every * 3 / 2);
        self.queue.after(after, Event::Mischief(node));
    }

    pub(crate) fn mischief(&mut self, node: usize) {
        let time = self.time();
        let open = |link: &&usize| self.links.link(**link).is_some_and(|l| l.is_open(node));
        let links: Vec<usize> = self.links.of(node).iter().filter(open).copied().collect();
        let which = self.rng.between(0, (links.len() as u64).saturating_sub(1));
        let link = usize::try_from(which).ok().and_then(|w| links.get(w));
        let peer = link
            .and_then(|&l| self.links.link(l))
            .map(|l| l.other(node));
        let host = self.hosts.get(node);
        let adversary = host.and_then(|h| Some((h, h.adversary.as_ref()?)));
        if let Some((peer, (host, adversary))) = peer.zip(adversary) {
            let know = Knowledge {
                crypto: &self.crypto,
                state: self.authority.state(),
                now: time,
                keys: &host.keys,
            };
            if let Some(message) = adversary.say(&mut self.rng, &know) {
                self.transmit(node, self.queue.now, peer, message);
            }
        }
        self.plan_mischief(node);
    }

    /// Looks at all nodes: how many are stale, and whether anything is missing.
    pub(crate) fn look(&mut self) {
        self.look_at_leases();
        let settled = self.planned == 0 && self.settled();
        if settled {
            self.settled_at.get_or_insert(self.queue.now);
        } else {
            self.settled_at = None;
        }
        self.queue.after(LOOK_MS * MS, Event::Look);
    }
}
