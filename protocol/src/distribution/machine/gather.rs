//! Fetching: roots between two versions, bodies and entries that a verified head promises.

use super::Machine;
use crate::distribution::fetch::{Goal, Got, Key, Progress};
use crate::distribution::head::{HeadSet, Item, LogRow};
use crate::distribution::message::{Bytes, Message, Part, Want};
use crate::distribution::peer::Peer;
use crate::distribution::{Context, Document, Effect, Missing, Offer};
use crate::id::NodeId;
use crate::trust::TrustError;
use crate::trust::bundle::BundleBody;
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

    /// Sets out for what is missing before something can be in force: that whose `head` a `peer` has
    /// shown.
    pub(super) fn fetch(
        &mut self,
        peer: Option<NodeId>,
        missing: &Missing,
        head: Option<Bytes>,
        out: &mut Vec<Effect>,
    ) {
        let goal = match (*missing, peer) {
            (Missing::BundleBody { body, length, .. }, _) => Goal::Body {
                digest: body,
                total: length,
            },
            (
                Missing::Entries {
                    admin,
                    from,
                    to,
                    link,
                },
                _,
            ) => {
                let length = to;
                let row = LogRow {
                    admin,
                    length,
                    link,
                };
                Goal::Entries { row, from }
            }
            (Missing::Roots { .. }, Some(peer)) => {
                self.mark_recheck(peer);
                self.ask_for_roots(peer, out);
                return;
            }
            // A head of which only the version is known: comparing heads brings it.
            (_, Some(peer)) => {
                self.mark_recheck(peer);
                return;
            }
            (_, None) => return,
        };
        self.fetches.set_out(goal, head, peer);
        self.assign(goal.key(), out);
    }

    /// Finds a peer to ask for a fetch that has none: one that showed the head, or says it holds
    /// as much.
    pub(super) fn assign(&mut self, key: Key, out: &mut Vec<Effect>) {
        if !self.fetches.is_idle(key) {
            return;
        }
        let (now, timeout) = (self.now(), self.config.fetch_timeout_ms);
        let Some(peer) = self.candidate(key) else {
            self.fetches
                .rest(key, now.saturating_add(self.config.ask_again_ms));
            return;
        };
        if let Some(want) = self.fetches.ask(key, peer, now, timeout) {
            send(peer, want, out);
        }
    }

    /// A peer that has not been asked yet and should have it.
    fn candidate(&self, key: Key) -> Option<NodeId> {
        let goal = self.fetches.goal(key)?;
        let holds = |known: &HeadSet| match goal {
            Goal::Body { .. } => known.exceeds(&self.ours, Item::Bundle),
            Goal::Entries { row, .. } => {
                let rows = known.rows(&row.admin);
                rows.iter().any(|theirs| theirs.length >= row.length)
            }
        };
        let candidate = |(id, peer): &(&NodeId, &Peer)| {
            let has = self.fetches.showed(key, id) || holds(&peer.known);
            has && !self.fetches.tried(key, id)
        };
        self.peers.iter().find(candidate).map(|(id, _)| *id)
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
        let (offer, item) = match (got, self.fetches.goal(key)) {
            (Got::Body(bytes), Some(Goal::Body { digest, .. })) => {
                if BundleBody::digest(cx.crypto, &bytes) != digest {
                    self.reject(from, key, TrustError::WrongBody, out);
                    return;
                }
                let document = Document::BundleBody(bytes);
                let offer = self.judge(cx, Some(from), &document, out);
                (offer, Item::Bundle)
            }
            (Got::Entries(entries), Some(Goal::Entries { row, from: first })) => {
                match self.leads_to(cx, &row, first, &entries) {
                    Some(false) if first == 0 => {
                        self.reject(from, key, TrustError::BrokenChain, out);
                        return;
                    }
                    Some(false) => {
                        self.doubt(key, out);
                        return;
                    }
                    _ => {}
                }
                // Meanwhile an older head may have taken the place of the one that promised them.
                let wanted = self.entries_missing(&row.admin);
                let one = self
                    .state
                    .log(&row.admin)
                    .is_some_and(|log| !log.is_forked());
                let awaited = matches!(wanted, Some(Missing::Entries { to, link, .. })
                    if (one && to >= row.length) || (to, link) == (row.length, row.link));
                if let Some(head) = self.fetches.head(key).filter(|_| !awaited) {
                    let _ = self.judge(cx, Some(from), &Document::LogHead(head), out);
                }
                let at = (row.admin, first);
                let offer = self.judge_entries(cx, from, at, &entries, out);
                (offer, Item::Log(row.admin))
            }
            _ => return,
        };
        let showed = self.fetches.reached(key);
        if let Ok(Offer::Wanted(missing)) = offer {
            self.fetch(Some(from), &missing, None, out);
        }
        for peer in showed {
            match offer {
                Ok(_) => self.keep_up(peer, item),
                // Whoever signed for it is at fault, and nobody will ever have more of it.
                Err(_) => self.adopt(peer, item),
            }
        }
    }

    /// What a peer gave is not what was asked for, provably: its fault, and another's turn.
    fn reject(&mut self, from: NodeId, key: Key, error: TrustError, out: &mut Vec<Effect>) {
        out.push(Effect::Misbehaved(from, error));
        self.fetches.leave(key);
        self.assign(key, out);
    }

    /// Entries behind those held do not lead to the signed link: they are wrong, or what is held is
    /// another history. Once every peer has given such, the whole log is fetched, which will tell.
    fn doubt(&mut self, key: Key, out: &mut Vec<Effect>) {
        self.fetches.leave(key);
        if self.candidate(key).is_none() {
            self.fetches.begin_anew(key);
        }
        self.assign(key, out);
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
                    self.settle(from, Item::Root, None, offer, out);
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
