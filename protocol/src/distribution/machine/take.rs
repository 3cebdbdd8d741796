//! Messages in: comparing heads, judging documents, and whose fault a bad one is.

use super::Machine;
use crate::cose::CoseError;
use crate::distribution::head::Item;
use crate::distribution::message::{Head, Heads, LogPush, Message};
use crate::distribution::{Context, Document, Effect, ForkOf, Missing, Offer};
use crate::id::NodeId;
use crate::trust::TrustError;

/// Forks remembered so that each is told of once. Only admins and timestampers can make one.
const MAX_ALARMED: usize = 64;

impl Machine {
    /// Takes a message of a peer. One from somebody who is no peer, or beyond what a peer may
    /// send, is dropped unread.
    pub(super) fn take(
        &mut self,
        cx: &Context<'_>,
        from: NodeId,
        message: &Message,
        out: &mut Vec<Effect>,
    ) {
        let now = self.now();
        let peer = self.peers.get_mut(&from);
        if !peer.is_some_and(|peer| peer.may_send(now)) {
            return;
        }
        match message {
            Message::Heads(heads) => self.take_heads(from, heads, out),
            Message::Head(head) => self.take_head(cx, from, head, out),
            Message::Fetch(want) => self.serve(from, *want, out),
            Message::Body(part) => self.take_part(cx, from, part, out),
            Message::PullAcks(pull) => self.take_pull(cx, from, *pull, out),
            Message::Acks(acks) => self.take_acks(cx, from, acks, out),
            Message::NodeRecord(_) => {}
        }
    }

    fn take_heads(&mut self, from: NodeId, heads: &Heads, out: &mut Vec<Effect>) {
        let now = self.now();
        let soon = now.saturating_add(self.config.ask_again_ms);
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.known = heads.heads.clone();
            peer.compared = true;
            let waits = peer.recheck || !peer.known.within(&self.ours);
            peer.ask_at = waits.then(|| peer.ask_at.map_or(soon, |at| at.min(soon)));
        }
        self.show_what_it_lacks(from, out);
        if heads.answer {
            self.send_heads(from, false, out);
        }
        if heads.heads.root.version > self.ours.root.version {
            // What else it holds may not hold under the older root: compared again afterwards.
            self.mark_recheck(from);
            self.ask_for_roots(from, out);
        }
        for key in self.fetches.idle() {
            self.assign(key, out);
        }
    }

    /// Takes a pushed head with what belongs to it.
    fn take_head(&mut self, cx: &Context<'_>, from: NodeId, head: &Head, out: &mut Vec<Effect>) {
        let (item, document) = match head {
            Head::Root(bytes) => (Item::Root, Document::Root(bytes.clone())),
            Head::Bundle(push) => (Item::Bundle, Document::BundleHead(push.head.clone())),
            Head::Log(push) => (Item::Log(push.admin), Document::LogHead(push.head.clone())),
            Head::Timestamp(push) => (
                Item::Timestamp(push.timestamper),
                Document::Timestamp(push.document.clone()),
            ),
        };
        let offer = self.judge(cx, Some(from), &document, out);
        let offer = match (offer, head) {
            (Ok(Offer::Wanted(missing)), head) => match tail(&missing, head) {
                Some(rest) => match self.judge(cx, Some(from), &rest, out) {
                    // A tail that does not fit its head is the fault of who joined them.
                    Err(error) => Err(error),
                    Ok(Offer::Wanted(still)) => Ok(Offer::Wanted(still)),
                    Ok(done) => Ok(done),
                },
                None => Ok(Offer::Wanted(missing)),
            },
            (offer, _) => offer,
        };
        self.settle(from, item, offer, out);
    }

    /// Offers a document to the trust state and does what follows from its being new.
    pub(super) fn judge(
        &mut self,
        cx: &Context<'_>,
        from: Option<NodeId>,
        document: &Document,
        out: &mut Vec<Effect>,
    ) -> Result<Offer, TrustError> {
        let offer = self.state.offer(cx.crypto, cx.now.seconds(), document)?;
        match &offer {
            Offer::New(change) => self.in_force(from, change.clone(), out),
            Offer::Fork(of) => self.alarm(of, out),
            Offer::Known | Offer::Stale | Offer::Wanted(_) => {}
        }
        Ok(offer)
    }

    /// Tells of a fork, once.
    fn alarm(&mut self, of: &ForkOf, out: &mut Vec<Effect>) {
        if self.alarmed.contains(of) {
            return;
        }
        if self.alarmed.len() < MAX_ALARMED {
            self.alarmed.push(of.clone());
        }
        out.push(Effect::Alarm(of.clone()));
    }

    /// Draws the conclusions about a peer from what became of a document it sent.
    pub(super) fn settle(
        &mut self,
        from: NodeId,
        item: Item,
        offer: Result<Offer, TrustError>,
        out: &mut Vec<Effect>,
    ) {
        match offer {
            Ok(Offer::Stale) => {}
            Ok(Offer::New(_) | Offer::Known | Offer::Fork(_)) => self.adopt(from, item),
            Ok(Offer::Wanted(Missing::Roots { .. })) => {
                self.mark_recheck(from);
                self.ask_for_roots(from, out);
            }
            Ok(Offer::Wanted(missing)) => self.fetch(from, &missing, out),
            Err(error) => {
                self.adopt(from, item);
                if is_senders_fault(&error) {
                    out.push(Effect::Misbehaved(from, error));
                } else {
                    self.mark_recheck(from);
                }
            }
        }
    }

    /// Takes it that the peer no longer differs from this node in `item`.
    pub(super) fn adopt(&mut self, peer: NodeId, item: Item) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.known.adopt(&self.ours, item);
        }
    }

    /// Has heads compared again with a peer, of which something could not be judged.
    pub(super) fn mark_recheck(&mut self, peer: NodeId) {
        let soon = self.now().saturating_add(self.config.ask_again_ms);
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.recheck = true;
            peer.ask_at = Some(peer.ask_at.map_or(soon, |at| at.min(soon)));
        }
    }
}

/// What came along with a head, as far as it is what is missing.
fn tail(missing: &Missing, head: &Head) -> Option<Document> {
    match (missing, head) {
        (Missing::Body { .. }, Head::Bundle(push)) => push.body.clone().map(Document::BundleBody),
        (Missing::Entries { admin, from, to }, Head::Log(push)) if push.admin == *admin => {
            slice(push, *from, *to)
        }
        _ => None,
    }
}

/// The entries from `from` to before `to`, if all of them came.
fn slice(push: &LogPush, from: u64, to: u64) -> Option<Document> {
    let first = usize::try_from(from.checked_sub(push.from)?).ok()?;
    let count = usize::try_from(to.checked_sub(from)?).ok()?;
    let entries = push.entries.get(first..first.checked_add(count)?)?;
    Some(Document::LogEntries {
        admin: push.admin,
        from,
        entries: entries.to_vec(),
    })
}

/// Whether no honest node could have sent what was refused so. A refusal that depends on this
/// node's root, versions or clock is nobody's fault: the sender's may be newer, or older.
pub(super) const fn is_senders_fault(error: &TrustError) -> bool {
    match error {
        TrustError::Codec(_)
        | TrustError::ContentType
        | TrustError::Field(_)
        | TrustError::ForeignMesh => true,
        TrustError::Cose(error) => !matches!(
            error,
            CoseError::UnknownKey | CoseError::UnderThreshold { .. }
        ),
        _ => false,
    }
}
