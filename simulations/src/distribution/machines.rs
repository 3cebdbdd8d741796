//! The production machine in each node: events go in, effects come out and are carried out, and the
//! observer looks at what changed.

use std::sync::Arc;

use protocol::crypto::Signer;
use protocol::distribution::{
    Ack, Context, Document, Effect, Event as Input, HeadSet, Message, PullId,
};
use protocol::id::{NodeId, SignerId};
use protocol::trust::TrustError;

use super::adversary;
use super::authority::issued;
use super::grounds::Grounds;
use super::host::Host;
use super::links::MS;
use super::scenario::Sabotage;
use super::world::{Event, World};

/// In meshes up to this size every message is encoded, decoded and compared.
const MAX_DECODED: usize = 200;

/// Of how many connections one is refused by the sabotage of that name.
const REFUSED_EVERY: usize = 40;

/// How long after its clock was set right a node may lack timestamps it could not take before, in
/// virtual milliseconds: some rounds of asking, and of newer timestamps.
const SOON_MS: u64 = 20_000;

/// Honest messages garbled by the sabotage of that name, of a thousand.
const GARBLED: u64 = 5;

impl World<'_> {
    /// Tells a node's machine of a peer.
    pub(crate) fn tell(
        &mut self,
        node: usize,
        peer: usize,
        what: impl FnOnce(NodeId) -> Input<'static>,
    ) {
        if let Some(id) = self.hosts.get(peer).map(|h| h.id) {
            self.drive(node, what(id));
        }
    }

    pub(crate) fn tick(&mut self, node: usize, process: u32) {
        let now = self.queue.now;
        let due = self.hosts.get_mut(node).filter(|h| h.process == process);
        if let Some(host) = due.filter(|h| h.tick_at == Some(now)) {
            host.tick_at = None;
            self.drive(node, Input::Tick);
        }
    }

    pub(crate) fn arrive(&mut self, number: usize, epoch: u32, to: usize, message: &Arc<Message>) {
        let Some(link) = self.links.link(number) else {
            return;
        };
        let from = link.other(to);
        let delivered = link.epoch == epoch
            && link.is_open(to)
            && self.hosts.get(to).is_some_and(|h| h.up)
            && !self.is_split(from, to);
        if !delivered {
            return;
        }
        let adversary = self.hosts.get_mut(to).and_then(|h| h.adversary.as_mut());
        if let Some(adversary) = adversary {
            adversary.hear(message);
        }
        if let Some(from) = self.hosts.get(from).map(|h| h.id) {
            self.drive(to, Input::Message(from, message));
        }
    }

    pub(crate) fn written(&mut self, node: usize, process: u32, id: u64) {
        let now = self.queue.now;
        let Some(host) = self.hosts.get_mut(node).filter(|h| h.process == process) else {
            return;
        };
        let before = host.durable.clone();
        if !host.written(id) {
            return;
        }
        let (since, closed) = (host.reachable_since, host.closed_at);
        let after = host.durable.clone();
        for (number, entry) in self.entries_between(&before, &after) {
            let took = now.max(closed).saturating_sub(entry.max(since));
            if let Some(of) = self.effective.get_mut(node) {
                of.entry(number).or_insert(took);
            }
        }
        self.drive(node, Input::Persisted(id));
    }

    /// The revocations that `after` has and `before` has not: their numbers, and when each was
    /// published.
    fn entries_between(&self, before: &HeadSet, after: &HeadSet) -> Vec<(usize, u64)> {
        let mut out = Vec::new();
        for (admin, id) in self.authority.admin_ids.iter().enumerate() {
            for index in before.log_length(id)..after.log_length(id) {
                if let Some((number, entry)) = self.authority.revocation(admin, index) {
                    out.push((number, entry.at));
                }
            }
        }
        out
    }

    /// Lets a node's machine handle `input`, and does what it says.
    pub(crate) fn drive(&mut self, node: usize, input: Input<'_>) {
        let now = self.queue.now;
        let Some(host) = self.hosts.get_mut(node) else {
            return;
        };
        let clock = host.clock(now);
        let Host { machine, keys, .. } = host;
        let Some(machine) = machine else {
            return;
        };
        let (verified, signed) = (self.crypto.verified(), keys.signed());
        let kind = kind(&input);
        let cx = Context {
            crypto: &self.crypto,
            signer: keys as &dyn Signer,
            members: &self.everyone,
            now: clock,
        };
        let mut effects = core::mem::take(&mut self.effects);
        machine.handle(&cx, input, &mut effects);
        let verified = self.crypto.verified() - verified;
        let signed = keys.signed() - signed;
        let speed = &self.scenario.host;
        let cost = speed.handle_us + verified * speed.verify_us + signed * speed.sign_us;
        let done = host.compute(now, cost);
        self.counts.verified += verified;
        self.trace
            .note(&[now, node as u64, kind, effects.len() as u64, done]);
        self.observe(node, done);
        for effect in effects.drain(..) {
            self.carry_out(node, done, effect);
        }
        self.effects = effects;
        self.plan_tick(node);
    }

    fn plan_tick(&mut self, node: usize) {
        let now = self.queue.now;
        let Some(host) = self.hosts.get_mut(node) else {
            return;
        };
        let Some(next) = host.machine.as_ref().map(|m| m.next_tick()) else {
            return;
        };
        // A machine that asks for a time that has passed gets the next millisecond.
        let at = host.when(next).max(now + MS);
        if host.tick_at.is_none_or(|planned| at < planned) {
            host.tick_at = Some(at);
            let process = host.process;
            self.queue.at(at, Event::Tick { node, process });
        }
    }

    /// Looks at what changed in a node, and closes the connections of whoever it now knows as
    /// revoked.
    fn observe(&mut self, node: usize, done: u64) {
        let at = self.at_ms();
        let Some(host) = self.hosts.get_mut(node) else {
            return;
        };
        let Some(machine) = host.machine.as_ref() else {
            return;
        };
        if *machine.heads() == host.known {
            return;
        }
        let mut new = machine.heads().clone();
        if self.scenario.sabotage == Sabotage::KeepOldEpoch && new.epoch > 1 && new.bundle.is_none()
        {
            new.bundle = host.known.bundle;
        }
        let old = core::mem::replace(&mut host.known, new.clone());
        host.closed_at = done + self.scenario.host.close_ms * MS;
        self.trace.note(&[new.root.version, new.logs.len() as u64]);
        if !host.is_honest() {
            return;
        }
        self.invariants.changed(at, node, &old, &new);
        let cut = self.cut_revoked(node);
        self.report.closed += cut;
        if (old.root, &old.logs) != (new.root, &new.logs) {
            for target in self.targets.clone() {
                self.judge_revocation(node, target, &new);
            }
        }
    }

    /// Closes a node's connections with everybody it knows as revoked, as a node does whenever
    /// something new is in force; how many.
    fn cut_revoked(&mut self, node: usize) -> u64 {
        if self.scenario.sabotage == Sabotage::AcceptRevoked {
            return 0;
        }
        let mut cut = 0;
        for number in self.links.of(node).to_vec() {
            let link = self.links.link(number).filter(|l| l.is_open(node));
            if link.is_some_and(|link| self.knows_as_revoked(node, link.other(node))) {
                let peer = self.links.link(number).map(|l| l.other(node));
                let peer = peer.and_then(|peer| self.hosts.get(peer));
                self.cut(number, node, peer.is_none_or(|h| h.revoked));
                cut += 1;
            }
        }
        cut
    }

    /// Whether `peer` is revoked in the eyes of a node's trust state.
    pub(crate) fn knows_as_revoked(&self, node: usize, peer: usize) -> bool {
        let (Some(host), Some(target)) = (self.hosts.get(node), self.hosts.get(peer)) else {
            return false;
        };
        let Some(machine) = &host.machine else {
            return false;
        };
        let (odd, authority) = (node % 2 == 1, &self.authority);
        let mut against = authority
            .deeds()
            .filter(|e| e.hits(peer, target.membership));
        match self.scenario.sabotage {
            Sabotage::IgnoreRevocations if odd => return false,
            Sabotage::RefuseHonest if (node + peer).is_multiple_of(REFUSED_EVERY) => return true,
            Sabotage::LiftAlone if odd && against.any(|e| authority.lifts(&host.known, e) > 0) => {
                return false;
            }
            Sabotage::KeepCut if against.next().is_some() => return true,
            Sabotage::LoneIssuer if odd && against.any(|e| authority.counts(&host.known, e)) => {
                return true;
            }
            _ => {}
        }
        let revoked = machine.state().revoked();
        let (issuer, sequence) = target.membership;
        let issued = |issuer: &SignerId| revoked.issued(*issuer, issued(), sequence);
        let issuer = self.authority.issuer_ids.get(issuer);
        revoked.node(&target.id).is_some() || issuer.and_then(issued).is_some()
    }

    /// Something new is in force in a node, which holds `heads`: whether it takes `target` for
    /// revoked exactly if it has grounds to, and is not connected with it then.
    fn judge_revocation(&mut self, node: usize, target: usize, heads: &HeadSet) {
        let at = self.at_ms();
        let known = self.knows_as_revoked(node, target);
        let grounds = self.grounds(node, target, heads);
        if grounds.must && !known {
            self.invariants.ignored(at, node, target);
        }
        if known && !grounds.may {
            self.invariants.refused(at, node, target);
        }
        if let Some(host) = self.hosts.get_mut(node) {
            let knew = if known {
                !host.refusing.insert(target)
            } else {
                host.refusing.remove(&target)
            };
            if knew && !known && grounds.may {
                self.invariants.taken_back(at, node, target);
            }
        }
        let link = self.links.between(node, target);
        let open = link
            .and_then(|l| self.links.link(l))
            .is_some_and(|l| l.is_open(node));
        if known && open {
            self.invariants.accepted(at, node, target);
        }
    }

    /// What `node`, holding `heads`, has against `target`. Of whom an admin with two histories
    /// revokes in one of them nothing is said here, but that anybody may refuse it.
    pub(crate) fn grounds(&self, node: usize, target: usize, heads: &HeadSet) -> Grounds {
        let Some(host) = self.hosts.get(target) else {
            return Grounds::default();
        };
        let mut grounds = self.authority.grounds(heads, target, host.membership);
        grounds.may |= host.disputed;
        // What does not follow the protocol keeps to no invariant.
        grounds.must &= self.hosts.get(node).is_some_and(Host::is_honest);
        grounds
    }

    fn carry_out(&mut self, node: usize, done: u64, effect: Effect) {
        match effect {
            Effect::Send(to, message) => self.send(node, done, to, message),
            Effect::Persist { id, documents } => self.persist(node, done, id, documents),
            Effect::Misbehaved(peer, error) => self.misbehaved(node, peer, &error),
            Effect::Synced(peer) => self.synced(node, peer),
            Effect::Alarm(fork) => {
                let shown = format!("{fork:?}");
                let name: String = shown.chars().take_while(|c| c.is_alphanumeric()).collect();
                *self.report.alarms.entry(name.to_lowercase()).or_default() += 1;
            }
            // Nobody takes what a rogue publishes.
            Effect::Published(Err(_)) if self.rogue => {}
            Effect::Published(Err(error)) => {
                let what = format!("node {node} does not publish: {error}");
                self.invariants.unexpected(self.queue.now / MS, what);
            }
            Effect::Acked { id, ack } => self.acked(id, &ack),
            Effect::Changed(_) | Effect::Published(Ok(_)) | Effect::PullRefused { .. } => {}
        }
    }

    fn send(&mut self, node: usize, done: u64, to: NodeId, message: Arc<Message>) {
        let Some(peer) = self.numbers.get(&to).copied() else {
            return;
        };
        let Some(message) = self.leaving(node, message) else {
            return;
        };
        self.transmit(node, done, peer, message);
    }

    /// What becomes of a message before it leaves its node.
    fn leaving(&mut self, node: usize, message: Arc<Message>) -> Option<Arc<Message>> {
        let honest = self.hosts.get(node).is_some_and(|h| h.adversary.is_none());
        let garble = match self.scenario.sabotage {
            _ if !honest => self.rng.chance(500),
            Sabotage::GarbleHonest => self.rng.chance(GARBLED),
            Sabotage::KeepToYourself => return None,
            _ => false,
        };
        let garbled = garble.then(|| adversary::tamper(&mut self.rng, &message));
        Some(garbled.flatten().map_or(message, Arc::new))
    }

    /// Puts a message on the link to `peer`, if there is one.
    pub(crate) fn transmit(&mut self, node: usize, at: u64, peer: usize, message: Arc<Message>) {
        let link = self.links.between(node, peer);
        let Some((number, link)) = link.and_then(|l| Some((l, self.links.link(l)?))) else {
            return;
        };
        if !link.is_open(node) {
            return;
        }
        let epoch = link.epoch;
        let bytes = self.size(node, &message);
        let uplink = self.scenario.links.uplink_mbit;
        let Some(host) = self.hosts.get_mut(node) else {
            return;
        };
        if host.adversary.is_none() && self.published_at.is_some() {
            self.counts.messages += 1;
            self.counts.bytes += bytes;
        }
        let out = host.send(at, bytes, uplink);
        let arrivals = self.links.arrivals(&mut self.rng, number, node, out);
        for at in arrivals.into_iter().flatten() {
            let arrive = Event::Arrive {
                link: number,
                epoch,
                to: peer,
                message: Arc::clone(&message),
            };
            self.queue.at(at, arrive);
        }
    }

    /// The size of a message on the wire.
    fn size(&mut self, node: usize, message: &Arc<Message>) -> u64 {
        let same = self.sized.as_ref().filter(|(m, _)| Arc::ptr_eq(m, message));
        if let Some((_, size)) = same {
            return *size;
        }
        let mut bytes = message.encode();
        if self.scenario.sabotage == Sabotage::CutMessages {
            bytes.pop();
        }
        if self.hosts.len() <= MAX_DECODED && Message::decode(&bytes).as_ref() != Ok(&**message) {
            let at = self.at_ms();
            self.invariants.garbled(at, node);
        }
        let size = bytes.len() as u64;
        self.sized = Some((Arc::clone(message), size));
        size
    }

    fn persist(&mut self, node: usize, done: u64, id: u64, documents: Vec<Document>) {
        let speed = &self.scenario.host;
        let (low, high) = (speed.persist_min_ms * MS, speed.persist_max_ms * MS);
        let takes = self.rng.between(low, high);
        let Some(host) = self.hosts.get_mut(node) else {
            return;
        };
        if host.disk_full {
            let process = host.process;
            let event = match self.scenario.sabotage {
                Sabotage::IgnoreFullDisk => Event::Pretend { node, process, id },
                _ => Event::Unwritten { node, process },
            };
            return self.queue.at(done + takes, event);
        }
        let at = match self.scenario.sabotage {
            Sabotage::PersistNothing => host.write(done, 0, id, Vec::new()),
            _ => host.write(done, takes, id, documents),
        };
        let process = host.process;
        self.queue.at(at, Event::Written { node, process, id });
        if self.scenario.sabotage == Sabotage::AcknowledgeEarly {
            self.queue.after(0, Event::Pretend { node, process, id });
        }
    }

    pub(crate) fn pretend(&mut self, node: usize, process: u32, id: u64) {
        if self.hosts.get(node).is_some_and(|h| h.process == process) {
            self.drive(node, Input::Persisted(id));
        }
    }

    /// An acknowledgement came back to who asked.
    fn acked(&mut self, id: PullId, ack: &Ack) {
        let at = self.at_ms();
        let Some(&node) = self.numbers.get(&ack.node) else {
            return;
        };
        let durable = self
            .hosts
            .get(node)
            .map(|h| h.durable.log_length(&ack.log.admin));
        let durable = durable.unwrap_or(0);
        if ack.log.length > durable {
            self.invariants
                .acknowledged(at, node, ack.log.length, durable);
        }
        self.acknowledged.entry(id).or_default().insert(node);
        self.report.acknowledged += 1;
    }

    fn misbehaved(&mut self, node: usize, peer: NodeId, error: &TrustError) {
        let Some(peer) = self.numbers.get(&peer).copied() else {
            return;
        };
        let count = self.report.refused.entry(error.reason().to_owned());
        *count.or_default() += 1;
        let honest = |n: usize| self.hosts.get(n).is_some_and(|h| h.adversary.is_none());
        if honest(node) && honest(peer) {
            self.invariants
                .accused(self.queue.now / MS, node, peer, error.reason());
        }
        if let Some(link) = self.links.between(node, peer) {
            self.cut(link, node, true);
        }
    }

    /// Calls flow from now on between a node and a peer.
    pub(crate) fn synced(&mut self, node: usize, peer: NodeId) {
        if self.scenario.sabotage == Sabotage::NeverCall {
            return;
        }
        let peer = self.numbers.get(&peer).copied();
        let Some(link) = peer.and_then(|peer| self.links.between(node, peer)) else {
            return;
        };
        let promised = self.promised.remove(&(link, node));
        let own = self.hosts.get(node).filter(|h| h.is_honest());
        let wrong_clock = self.wrong_clocks.iter().any(|(_, wrong)| *wrong == node);
        let righted = self.righted.get(&node);
        let righted = righted.is_some_and(|at| self.queue.now.saturating_sub(*at) < SOON_MS * MS);
        if let Some(((_, mut promised), own)) = promised.zip(own) {
            // Timestamps ahead of its clock a node cannot take. It goes on without them, closed as
            // stale or behind verified time, which is looked at elsewhere. Those it could not take
            // then are newer ones soon after its clock is right.
            if wrong_clock || righted {
                promised.timestamps.clear();
            }
            self.invariants
                .synced(self.queue.now / MS, node, &own.known, &promised);
        }
    }
}

/// A number for each kind of event, for the trace.
const fn kind(input: &Input<'_>) -> u64 {
    match input {
        Input::PeerUp(_) => 1,
        Input::PeerDown(_) => 2,
        Input::Message(..) => 3,
        Input::Tick => 4,
        Input::Publish(_) => 5,
        Input::Persisted(_) => 6,
        Input::Pull { .. } => 7,
        Input::Compare => 8,
        Input::Ask(_) => 9,
        Input::EndPull(_) => 10,
    }
}
