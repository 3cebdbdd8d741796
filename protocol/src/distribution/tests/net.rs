//! A handful of machines wired by queues that lose, repeat and reorder, all from one seed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::fake::{Fake, Keys};
use super::world::{NOW_MS, World};
use crate::crypto::{Signer, SigningSet};
use crate::distribution::{
    Ack, Change, Config, Context, Document, Effect, Event, ForkOf, HeadSet, Machine, Members,
    Message, Offer, PullId, TrustState,
};
use crate::id::NodeId;
use crate::time::UnixMillis;
use crate::trust::TrustError;

/// How a net treats its messages; in percent.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Weather {
    pub(super) loss: u64,
    pub(super) repeat: u64,
    pub(super) reorder: u64,
}

/// The node with this number.
pub(super) fn node(number: usize) -> NodeId {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&(number as u64 + 1).to_be_bytes());
    NodeId::from_bytes(bytes)
}

/// Everybody's signing sets.
#[derive(Debug, Default)]
pub(super) struct Directory(pub(super) BTreeMap<NodeId, SigningSet>);

impl Members for Directory {
    fn signing_set(&self, node: &NodeId) -> Option<SigningSet> {
        self.0.get(node).cloned()
    }
}

/// What one machine has said to the world.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) changed: Vec<Change>,
    pub(super) misbehaved: Vec<(NodeId, TrustError)>,
    pub(super) alarms: Vec<ForkOf>,
    pub(super) synced: BTreeSet<NodeId>,
    pub(super) published: Vec<Result<Offer, TrustError>>,
    pub(super) acks: Vec<(PullId, Ack)>,
    pub(super) refused: Vec<(PullId, Option<NodeId>)>,
    /// Documents handed over to be written, in order, with their numbers.
    pub(super) writes: Vec<(u64, Vec<Document>)>,
    /// Messages and their weight sent.
    pub(super) sent: u64,
    pub(super) weight: u64,
    /// What went to peers that run no machine here.
    pub(super) outside: Vec<(NodeId, Arc<Message>)>,
}

/// One machine and its surroundings.
pub(super) struct Host {
    pub(super) machine: Machine,
    pub(super) keys: Keys,
    pub(super) told: Told,
    /// Whether writes are confirmed at once.
    pub(super) disk: bool,
}

/// The machines and what is on the way between them.
pub(super) struct Net {
    pub(super) fake: Fake,
    pub(super) hosts: Vec<Host>,
    pub(super) directory: Directory,
    pub(super) weather: Weather,
    pub(super) now: u64,
    queue: VecDeque<(usize, usize, Arc<Message>)>,
    links: BTreeSet<(usize, usize)>,
    seed: u64,
}

impl Net {
    /// `count` unlinked machines that know the genesis of `world`.
    pub(super) fn new(world: &World, count: usize, seed: u64) -> Self {
        let mut net = Self {
            fake: Fake::default(),
            hosts: Vec::new(),
            directory: Directory::default(),
            weather: Weather::default(),
            now: NOW_MS,
            queue: VecDeque::new(),
            links: BTreeSet::new(),
            seed: seed.wrapping_mul(2).wrapping_add(1),
        };
        for _ in 0..count {
            net.join(world.state());
        }
        net
    }

    /// One machine more.
    pub(super) fn join(&mut self, state: TrustState) -> usize {
        let number = self.hosts.len();
        let keys = Keys::of(&format!("node-{number}"));
        let id = node(number);
        self.directory.0.insert(id, keys.public().clone());
        let machine = Machine::new(id, Config::default(), state, UnixMillis(self.now));
        self.hosts.push(Host {
            machine,
            keys,
            told: Told::default(),
            disk: true,
        });
        number
    }

    pub(super) fn random(&mut self, below: u64) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed % below.max(1)
    }

    /// Hands an event to a machine and carries out what it asks for.
    pub(super) fn event(&mut self, at: usize, event: Event<'_>) {
        let mut out = Vec::new();
        self.raw(at, event, &mut out);
        self.perform(at, out);
    }

    /// Hands an event to a machine; what it asks for goes to `out`.
    pub(super) fn raw(&mut self, at: usize, event: Event<'_>, out: &mut Vec<Effect>) {
        let host = &mut self.hosts[at];
        let cx = Context {
            crypto: &self.fake,
            signer: &host.keys,
            members: &self.directory,
            now: UnixMillis(self.now),
        };
        host.machine.handle(&cx, event, out);
    }

    pub(super) fn perform(&mut self, at: usize, effects: Vec<Effect>) {
        for effect in effects {
            let told = &mut self.hosts[at].told;
            match effect {
                Effect::Changed(change) => told.changed.push(change),
                Effect::Misbehaved(peer, error) => told.misbehaved.push((peer, error)),
                Effect::Alarm(of) => told.alarms.push(of),
                Effect::Synced(peer) => {
                    told.synced.insert(peer);
                }
                Effect::Published(result) => told.published.push(result),
                Effect::Acked { id, ack } => told.acks.push((id, ack)),
                Effect::PullRefused { id, by } => told.refused.push((id, by)),
                Effect::Persist { id, documents } => {
                    told.writes.push((id, documents));
                    if self.hosts[at].disk {
                        self.event(at, Event::Persisted(id));
                    }
                }
                Effect::Send(to, message) => {
                    let number = self.number(&to);
                    let told = &mut self.hosts[at].told;
                    told.sent += 1;
                    told.weight += message.encode().len() as u64;
                    // What goes to somebody who runs no machine is the test's to look at.
                    if let Some(to) = number {
                        self.queue.push_back((at, to, message));
                    } else {
                        told.outside.push((to, message));
                    }
                }
            }
        }
    }

    fn number(&self, id: &NodeId) -> Option<usize> {
        (0..self.hosts.len()).find(|&number| node(number) == *id)
    }

    /// Links two machines.
    pub(super) fn link(&mut self, a: usize, b: usize) {
        if self.links.insert((a.min(b), a.max(b))) {
            self.event(a, Event::PeerUp(node(b)));
            self.event(b, Event::PeerUp(node(a)));
        }
    }

    /// Takes a link down, with what is on it.
    pub(super) fn unlink(&mut self, a: usize, b: usize) {
        if self.links.remove(&(a.min(b), a.max(b))) {
            self.queue
                .retain(|&(from, to, _)| (from.min(to), from.max(to)) != (a.min(b), a.max(b)));
            self.event(a, Event::PeerDown(node(b)));
            self.event(b, Event::PeerDown(node(a)));
        }
    }

    /// A ring with `chords` random links across.
    pub(super) fn ring(&mut self, chords: usize) {
        let count = self.hosts.len();
        for at in 0..count {
            self.link(at, (at + 1) % count);
        }
        for _ in 0..chords {
            let a = usize::try_from(self.random(count as u64)).unwrap();
            let b = usize::try_from(self.random(count as u64)).unwrap();
            if a != b {
                self.link(a, b);
            }
        }
    }

    /// Delivers until nothing is on the way.
    pub(super) fn settle(&mut self) {
        for _ in 0..2_000_000 {
            if !self.step() {
                return;
            }
        }
        panic!("messages without end");
    }

    /// Delivers one message, if any is on the way.
    pub(super) fn step(&mut self) -> bool {
        let reorder = self.random(100) < self.weather.reorder;
        let at = if reorder {
            usize::try_from(self.random(self.queue.len() as u64)).unwrap()
        } else {
            0
        };
        let Some((from, to, message)) = self.queue.remove(at) else {
            return false;
        };
        let linked = self.links.contains(&(from.min(to), from.max(to)));
        if !linked || self.random(100) < self.weather.loss {
            return true;
        }
        if self.random(100) < self.weather.repeat {
            self.queue.push_back((from, to, Arc::clone(&message)));
        }
        // What travels is bytes.
        let message = Message::decode(&message.encode()).unwrap();
        self.event(to, Event::Message(node(from), &message));
        true
    }

    /// Lets time pass in steps of 100 ms, delivering all the while.
    pub(super) fn pass(&mut self, ms: u64) {
        let until = self.now + ms;
        self.settle();
        while self.now < until {
            self.now += 100;
            for at in 0..self.hosts.len() {
                if self.hosts[at].machine.next_tick().0 <= self.now {
                    self.event(at, Event::Tick);
                }
            }
            self.settle();
        }
    }

    /// Publishes documents at a machine, each of which must be taken.
    pub(super) fn publish(&mut self, at: usize, documents: Vec<Document>) {
        for document in documents {
            self.event(at, Event::Publish(document));
            let result = self.hosts[at].told.published.pop().unwrap();
            assert!(
                matches!(result, Ok(Offer::New(_) | Offer::Wanted(_) | Offer::Known)),
                "{result:?}"
            );
        }
    }

    pub(super) fn heads(&self, at: usize) -> &HeadSet {
        self.hosts[at].machine.heads()
    }

    /// Whether all machines hold the same.
    pub(super) fn agree(&self) -> bool {
        let first = self.heads(0);
        (1..self.hosts.len()).all(|at| self.heads(at) == first)
    }

    pub(super) fn nobody_misbehaved(&self) {
        for host in &self.hosts {
            assert_eq!(host.told.misbehaved, []);
        }
    }
}
