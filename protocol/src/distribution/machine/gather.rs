//! Fetching: roots between two versions, bodies and entries that a verified head promises.

use super::Machine;
use super::take::is_senders_fault;
use crate::distribution::fetch::{Goal, Got, Key, Progress};
use crate::distribution::head::Item;
use crate::distribution::message::{Bytes, Message, Part, Want};
use crate::distribution::{Context, Document, Effect, Missing, Offer};
use crate::id::NodeId;
use std::sync::Arc;

impl Machine {
    /// Asks a peer for the roots after the one in force. Each peer is asked by itself: nobody can
    /// hold up the roots that another has.
    pub(super) fn ask_for_roots(&mut self, peer: NodeId, out: &mut Vec<Effect>) {
        let from = self.ours.root.version.saturating_add(1);
        let until = self.now().saturating_add(self.config.fetch_timeout_ms);
        let Some(known) = self.peers.get_mut(&peer) else {
            return;
        };
        if known.roots.is_some_and(|(_, asked)| asked == from) {
            return;
        }
        known.roots = Some((until, from));
        send(peer, Want::Roots { from }, out);
    }

    /// Sets out for what a verified head promises; `peer` has shown the head.
    pub(super) fn fetch(&mut self, peer: NodeId, missing: &Missing, out: &mut Vec<Effect>) {
        let goal = match *missing {
            Missing::Body { digest, length } => Goal::Body {
                digest,
                total: length,
            },
            Missing::Entries { admin, from, to } => Goal::Entries { admin, from, to },
            Missing::Roots { .. } => return,
        };
        self.fetches.set_out(goal, peer);
        if self.fetches.is_idle(goal.key()) {
            self.assign(goal.key(), out);
        }
    }

    /// Finds a peer to ask for a fetch that has none: one that showed the head, or says it holds
    /// as much.
    pub(super) fn assign(&mut self, key: Key, out: &mut Vec<Effect>) {
        let Some(goal) = self.fetches.goal(key) else {
            return;
        };
        if !self.fetches.is_idle(key) {
            return;
        }
        let holds = |id: &NodeId| {
            let known = self.peers.get(id).map(|peer| &peer.known);
            known.is_some_and(|known| match goal {
                Goal::Body { .. } => known.exceeds(&self.ours, Item::Bundle),
                Goal::Entries { admin, to, .. } => known.log_length(&admin) >= to,
            })
        };
        let candidate = |id: &&NodeId| {
            !self.fetches.tried(key, id) && (self.fetches.showed(key, id) || holds(id))
        };
        let (now, timeout) = (self.now(), self.config.fetch_timeout_ms);
        let Some(&peer) = self.peers.keys().find(candidate) else {
            self.fetches
                .rest(key, now.saturating_add(self.config.ask_again_ms));
            return;
        };
        if let Some(want) = self.fetches.ask(key, peer, now, timeout) {
            send(peer, want, out);
        }
    }

    /// Takes an answer to a request for a part.
    pub(super) fn take_part(
        &mut self,
        cx: &Context<'_>,
        from: NodeId,
        part: &Part,
        out: &mut Vec<Effect>,
    ) {
        if let Part::Roots { from: first, roots } = part {
            self.take_roots(cx, from, *first, roots, out);
            return;
        }
        let (now, timeout) = (self.now(), self.config.fetch_timeout_ms);
        let (key, progress) = self.fetches.take(&from, part, now, timeout);
        let Some(key) = key else {
            return;
        };
        match progress {
            Progress::Unasked => {}
            Progress::More(want) => send(from, want, out),
            Progress::Useless => {
                self.fetches.leave(key);
                self.assign(key, out);
            }
            Progress::Done(got) => self.finish(cx, from, key, got, out),
        }
    }

    /// Offers what has been fetched in full.
    fn finish(
        &mut self,
        cx: &Context<'_>,
        from: NodeId,
        key: Key,
        got: Got,
        out: &mut Vec<Effect>,
    ) {
        let Some(goal) = self.fetches.goal(key) else {
            return;
        };
        let showed = self.fetches.showed(key, &from);
        let (document, item) = match (got, goal) {
            (Got::Body(bytes), _) => (Document::BundleBody(bytes), Item::Bundle),
            (Got::Entries(entries), Goal::Entries { admin, from, .. }) => {
                let document = Document::LogEntries {
                    admin,
                    from,
                    entries,
                };
                (document, Item::Log(admin))
            }
            (Got::Entries(_), Goal::Body { .. }) => return,
        };
        match self.judge(cx, Some(from), &document, out) {
            Ok(Offer::Wanted(missing)) => self.fetch(from, &missing, out),
            Ok(_) => {
                for peer in self.fetches.reached(key) {
                    self.adopt(peer, item);
                }
            }
            Err(error) => {
                // Who only said to hold as many entries may hold those of a forked log; who
                // showed this very head has no such excuse.
                if showed && is_senders_fault(&error) {
                    out.push(Effect::Misbehaved(from, error));
                }
                self.fetches.leave(key);
                self.assign(key, out);
            }
        }
    }

    fn take_roots(
        &mut self,
        cx: &Context<'_>,
        from: NodeId,
        first: u64,
        roots: &[Bytes],
        out: &mut Vec<Effect>,
    ) {
        let Some(peer) = self.peers.get_mut(&from) else {
            return;
        };
        if peer.roots.is_none_or(|(_, asked)| asked != first) {
            return;
        }
        peer.roots = None;
        let before = self.ours.root.version;
        for root in roots {
            let offer = self.judge(cx, Some(from), &Document::Root(root.clone()), out);
            match offer {
                Ok(Offer::New(_) | Offer::Known | Offer::Stale) => {}
                // The peer's chain is another, or none: nothing after this one holds either.
                offer => {
                    self.settle(from, Item::Root, offer, out);
                    return;
                }
            }
        }
        let now = self.now();
        let ours = &self.ours;
        let Some(peer) = self.peers.get_mut(&from) else {
            return;
        };
        if ours.root.version > before {
            peer.asks = 0;
        }
        if peer.known.root.version > ours.root.version && ours.root.version > before {
            self.ask_for_roots(from, out);
        } else {
            // All it had. It is shown the heads anew, so that it sends what needed these roots.
            peer.known.adopt(ours, Item::Root);
            peer.ask_at = Some(now);
        }
    }
}

fn send(peer: NodeId, want: Want, out: &mut Vec<Effect>) {
    out.push(Effect::Send(peer, Arc::new(Message::Fetch(want))));
}
