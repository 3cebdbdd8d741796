//! The machine: one node's part in distribution.
//!
//! Every event is handled to its end at once; what takes time is remembered in bounded tables and
//! taken up by a later event or by the tick that [`Machine::next_tick`] asks for. The same events
//! in the same order give the same effects.

mod acks;
mod announce;
mod clock;
mod durable;
mod gather;
mod serve;
mod spread;
mod take;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::fetch::Fetches;
use super::head::{HeadSet, Item, LogRow};
use super::message::{Heads, Message};
use super::peer::Peer;
use super::pull::Pulls;
use super::{Config, Context, Document, Effect, Event, ForkOf, Offer, TrustState};
use crate::id::NodeId;
use crate::time::UnixMillis;
use crate::trust::revocation::VerifiedLogHead;
pub use announce::{ANNOUNCED_ENTRIES, ANNOUNCED_TAIL_BYTES};
use clock::Clock;
use durable::Durable;

/// Most peers with live links. Beyond it a peer is not served and never synced.
pub const MAX_PEERS: usize = 1024;

/// How often a peer is asked for what it says it holds beyond this node. Whoever has not sent it by
/// then is asked no more, and is not synced with: it talks idly, or withholds.
const MAX_ASKS: u8 = 3;

/// Shortest time between two comparisons with one peer for which [`Event::Ask`] asks, in
/// milliseconds: half of what a decision waits for a newer bundle.
pub const ASK_PAUSE_MS: u64 = 250;

/// One node's part in distribution. Owns the trust state.
#[derive(Debug)]
pub struct Machine {
    node: NodeId,
    config: Config,
    state: TrustState,
    /// What `state` holds, kept beside it because every comparison needs it.
    ours: HeadSet,
    peers: BTreeMap<NodeId, Peer>,
    fetches: Fetches,
    pulls: Pulls,
    durable: Durable,
    clock: Clock,
    probe_at: u64,
    /// Forks that have been told of.
    alarmed: Vec<ForkOf>,
}

impl Machine {
    /// The machine of `node`, with `state` as restored: everything in it is on disk. What that
    /// state waits for is fetched from whoever says it holds it: a newcomer begins with a chain of
    /// roots, and no head will ever tell it of the log of an admin who has left.
    #[must_use]
    pub fn new(node: NodeId, config: Config, state: TrustState, now: UnixMillis) -> Self {
        let ours = state.heads();
        let mut machine = Self {
            node,
            durable: Durable::restored(&ours),
            ours,
            state,
            peers: BTreeMap::new(),
            fetches: Fetches::default(),
            pulls: Pulls::default(),
            clock: Clock::starting(now),
            probe_at: config.anti_entropy_ms,
            alarmed: Vec::new(),
            config,
        };
        // Nobody is linked yet, so nobody is asked yet.
        machine.fetch_missing(&mut Vec::new());
        machine
    }

    /// What is in force.
    #[must_use]
    pub const fn state(&self) -> &TrustState {
        &self.state
    }

    /// What this node holds.
    #[must_use]
    pub const fn heads(&self) -> &HeadSet {
        &self.ours
    }

    /// What `peer` is known to hold; none before it said so.
    #[must_use]
    pub fn peer_heads(&self, peer: &NodeId) -> Option<&HeadSet> {
        let peer = self.peers.get(peer).filter(|peer| peer.compared);
        peer.map(|peer| &peer.known)
    }

    /// Whether all that `peer` holds is in force here, as far as it said.
    #[must_use]
    pub fn is_synced(&self, peer: &NodeId) -> bool {
        self.peers.get(peer).is_some_and(|peer| peer.synced)
    }

    /// Bytes of unfinished fetches held in memory.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.fetches.held()
    }

    /// When the machine wants [`Event::Tick`], by the clock of the last event's context. To be
    /// waited for as the time from then: a clock set back meanwhile must not make the wait longer.
    #[must_use]
    pub fn next_tick(&self) -> UnixMillis {
        self.clock.wall(self.next_due())
    }

    /// Handles one event. What is to be done is appended to `out`, in order.
    pub fn handle(&mut self, cx: &Context<'_>, event: Event<'_>, out: &mut Vec<Effect>) {
        self.clock.advance(cx.now);
        match event {
            Event::PeerUp(peer) => self.peer_up(peer, out),
            Event::PeerDown(peer) => self.peer_down(&peer, out),
            Event::Message(from, message) => self.take(cx, from, message, out),
            Event::Ask(peer) => self.ask(peer, out),
            Event::Tick => {}
            Event::Publish(document) => {
                let offer = match self.closed_to(&document) {
                    Some(fork) => Ok(Offer::Fork(fork)),
                    None => self.judge(cx, None, &document, out),
                };
                out.push(Effect::Published(offer));
            }
            Event::Persisted(id) => {
                self.durable.persisted(id, cx.now);
                self.answer_pulls(cx, out);
            }
            Event::Compare => {
                for &peer in self.peers.keys() {
                    self.send_heads(peer, true, out);
                }
            }
            Event::Pull { id, log, life_ms } => self.pull(cx, id, log, life_ms, out),
            Event::EndPull(id) => self.end_pull(id, None, out),
        }
        if self.next_due() <= self.now() {
            self.due(cx, out);
        }
        self.conclude(out);
    }

    /// The fork because of which a document of local origin is not taken: under a log with two
    /// histories nothing more is published from here, though what others took is followed.
    fn closed_to(&self, document: &Document) -> Option<ForkOf> {
        let Document::LogHead(bytes) = document else {
            return None;
        };
        let admin = VerifiedLogHead::peek(bytes).ok()?.admin;
        let log = self.state.log(&admin)?;
        log.is_forked().then_some(ForkOf::Log(admin))
    }

    /// The machine's own time, in milliseconds since it was made.
    const fn now(&self) -> u64 {
        self.clock.now()
    }

    fn peer_up(&mut self, peer: NodeId, out: &mut Vec<Effect>) {
        if self.peers.len() >= MAX_PEERS && !self.peers.contains_key(&peer) {
            return;
        }
        let ask_at = self.now().saturating_add(self.config.ask_again_ms);
        let fresh = Peer::new(self.now(), ask_at);
        self.peers.insert(peer, fresh);
        self.send_heads(peer, false, out);
        self.pass_pulls_to(peer, out);
    }

    /// Compares heads with a peer out of its turn.
    fn ask(&mut self, peer: NodeId, out: &mut Vec<Effect>) {
        let now = self.now();
        let Some(asked) = self.peers.get_mut(&peer) else {
            return;
        };
        if now < asked.not_asked_before {
            return;
        }
        asked.not_asked_before = now.saturating_add(ASK_PAUSE_MS);
        self.send_heads(peer, true, out);
    }

    fn peer_down(&mut self, peer: &NodeId, out: &mut Vec<Effect>) {
        self.peers.remove(peer);
        self.pulls.lose(peer);
        for key in self.fetches.forsake(peer) {
            self.assign(key, out);
        }
    }

    pub(super) fn send_heads(&self, to: NodeId, answer: bool, out: &mut Vec<Effect>) {
        let heads = self.ours.clone();
        let message = Message::Heads(Heads { heads, answer });
        out.push(Effect::Send(to, Arc::new(message)));
    }

    fn next_due(&self) -> u64 {
        let peers = self.peers.values();
        let waits = peers.flat_map(|peer| [peer.ask_at, peer.roots.map(|(until, _)| until)]);
        let waits = waits.flatten().min();
        let others = [waits, self.fetches.next(), self.pulls.next()];
        let next = others.into_iter().flatten().min();
        next.map_or(self.probe_at, |next| next.min(self.probe_at))
    }

    /// Does what is due by now.
    fn due(&mut self, cx: &Context<'_>, out: &mut Vec<Effect>) {
        for key in self.fetches.overdue(self.now()) {
            self.fetches.leave(key);
            self.assign(key, out);
        }
        for key in self.fetches.rested(self.now()) {
            self.assign(key, out);
        }
        self.ask_again(out);
        self.flush_pulls(out);
        self.pulls.expire(self.now());
        if self.probe_at <= self.now() {
            self.probe(cx, out);
        }
    }

    /// Compares heads with a random peer and sets the time of the next comparison.
    fn probe(&mut self, cx: &Context<'_>, out: &mut Vec<Effect>) {
        let mut random = [0; 16];
        // Without randomness all is done as well, only in step with others.
        let drawn = cx.crypto.fill_random(&mut random).is_ok();
        let [a, b] = [&random[..8], &random[8..]].map(|half| {
            half.iter()
                .fold(0_u64, |sum, &byte| sum << 8 | u64::from(byte))
        });
        let base = self.config.anti_entropy_ms.max(1);
        let spread = base.saturating_mul(self.config.jitter_percent.min(100)) / 100;
        let offset = if drawn { a % (2 * spread + 1) } else { spread };
        let pause = (base - spread).saturating_add(offset).max(1);
        self.probe_at = self.now().saturating_add(pause);
        let count = self.peers.len().max(1) as u64;
        let chosen = usize::try_from(b % count).unwrap_or(0);
        if let Some(&peer) = self.peers.keys().nth(chosen) {
            self.send_heads(peer, true, out);
        }
    }

    /// Asks those again who have said nothing yet, or have not sent what they say they hold.
    fn ask_again(&mut self, out: &mut Vec<Effect>) {
        let now = self.now();
        let again = self.config.ask_again_ms.max(1);
        let fetching = self.fetches.busy();
        let due = |peer: &Peer| {
            let roots = peer.roots.map(|(until, _)| until);
            [peer.ask_at, roots]
                .into_iter()
                .flatten()
                .any(|at| at <= now)
        };
        let due = self.peers.iter().filter(|(_, peer)| due(peer));
        let due: Vec<(NodeId, bool)> = due
            .map(|(id, peer)| (*id, self.is_behind(&peer.known)))
            .collect();
        let mut asked = Vec::new();
        for (id, behind) in due {
            let Some(peer) = self.peers.get_mut(&id) else {
                continue;
            };
            peer.ask_at = None;
            if peer.roots.is_some_and(|(until, _)| until <= now) {
                peer.roots = None;
            }
            if peer.compared && !peer.recheck && !behind {
                peer.asks = 0;
                continue;
            }
            if peer.compared && fetching {
                peer.ask_at = Some(now.saturating_add(again));
                continue;
            }
            if peer.compared && peer.asks >= MAX_ASKS {
                peer.give_up(&self.ours);
                continue;
            }
            peer.asks = peer.asks.saturating_add(1);
            // Until it answers nothing is known of what could not be judged.
            peer.compared &= !peer.recheck;
            peer.recheck = false;
            // A peer that never answers is asked ever more rarely.
            let pause = again.saturating_mul(1 << peer.asks.min(5));
            peer.ask_at = Some(now.saturating_add(pause));
            asked.push(id);
        }
        for peer in asked {
            self.send_heads(peer, true, out);
        }
    }

    /// Says which peers have become synced.
    fn conclude(&mut self, out: &mut Vec<Effect>) {
        let candidates = self.peers.iter().filter(|(_, peer)| {
            peer.compared && !peer.synced && !peer.recheck && peer.roots.is_none()
        });
        let owes = |peer: &Peer| peer.owed.as_ref().is_some_and(|owed| self.is_behind(owed));
        let candidates = candidates.filter(|(_, peer)| !self.is_behind(&peer.known) && !owes(peer));
        let synced: Vec<NodeId> = candidates.map(|(id, _)| *id).collect();
        for id in synced {
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.synced = true;
                peer.asks = 0;
                peer.owed = None;
            }
            out.push(Effect::Synced(id));
        }
    }

    /// Whether who holds `known` holds something that is to be in force here and is not.
    fn is_behind(&self, known: &HeadSet) -> bool {
        let beyond = |item: Item| known.exceeds(&self.ours, item);
        known.items().any(|item| match item {
            // What an admin who has left signed beyond what the root binds counts for nobody.
            Item::Log(admin) if self.state.root().retired(&admin).is_some() => {
                beyond(item) && self.entries_missing(&admin).is_some()
            }
            // Another history of a log may be the shorter one.
            Item::Log(admin) => {
                let held = |row: &LogRow| self.state.entries(row, 0, 0).is_some();
                !known.rows(&admin).iter().all(held)
            }
            item => beyond(item),
        })
    }
}
