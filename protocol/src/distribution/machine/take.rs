//! Messages in: comparing heads, judging documents, and whose fault a bad one is.

use super::Machine;
use crate::cose::CoseError;
use crate::distribution::head::{Item, LogRow};
use crate::distribution::message::{Bytes, Head, Heads, LogPush, Message};
use crate::distribution::{Context, Document, Effect, ForkOf, Missing, Offer};
use crate::id::{NodeId, SignerId};
use crate::trust::TrustError;
use crate::trust::bundle::BundleBody;
use crate::trust::document::MAX_ENTRIES_AT_ONCE;
use crate::trust::revocation::next_link;

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
            Message::EndPull(id) => self.end_pull(*id, Some(from), out),
            Message::PullRefused(id) => self.take_pull_refused(from, *id, out),
            Message::Acks(acks) => self.take_acks(cx, from, acks, out),
            Message::NodeRecord(_) => {}
        }
    }

    fn take_heads(&mut self, from: NodeId, heads: &Heads, out: &mut Vec<Effect>) {
        let now = self.now();
        let soon = now.saturating_add(self.config.ask_again_ms);
        let behind = self.is_behind(&heads.heads);
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.known = heads.heads.clone();
            peer.compared = true;
            // What it says now counts, more or less than before.
            peer.owed = None;
            let waits = peer.recheck || behind;
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
        let missing = match &offer {
            Ok(Offer::Wanted(missing)) => Some(*missing),
            // The second history of a log is wanted as well, a third is not.
            Ok(Offer::Fork(ForkOf::Log(admin))) if self.is_contested(admin) => {
                self.entries_missing(admin)
            }
            _ => None,
        };
        let offer = match missing {
            Some(missing) => self.take_tail(cx, from, head, missing, out),
            None => offer,
        };
        let shown = match &document {
            Document::LogHead(bytes) => Some(bytes.clone()),
            _ => None,
        };
        self.settle(from, item, shown, offer, out);
    }

    /// Offers what came along with a head, as far as it is what is missing.
    fn take_tail(
        &mut self,
        cx: &Context<'_>,
        from: NodeId,
        head: &Head,
        missing: Missing,
        out: &mut Vec<Effect>,
    ) -> Result<Offer, TrustError> {
        match (missing, head) {
            (Missing::BundleBody { body, .. }, Head::Bundle(push)) => match &push.body {
                Some(bytes) if BundleBody::digest(cx.crypto, bytes) != body => {
                    Err(TrustError::WrongBody)
                }
                Some(bytes) => {
                    let document = Document::BundleBody(bytes.clone());
                    self.judge(cx, Some(from), &document, out)
                }
                None => Ok(Offer::Wanted(missing)),
            },
            (
                Missing::Entries {
                    admin,
                    from: first,
                    to,
                    link,
                },
                Head::Log(push),
            ) if push.admin == admin => {
                let Some(entries) = slice(push, first, to) else {
                    return Ok(Offer::Wanted(missing));
                };
                let row = LogRow {
                    admin,
                    length: to,
                    link,
                };
                match self.leads_to(cx, &row, first, entries) {
                    Some(false) if first == 0 => Err(TrustError::BrokenChain),
                    // What is held here may be another history than the sender's.
                    Some(false) => Ok(Offer::Wanted(missing)),
                    _ => self.judge_entries(cx, from, (admin, first), entries, out),
                }
            }
            _ => Ok(Offer::Wanted(missing)),
        }
    }

    /// Whether entries lead from what is held of a log to a state of it; none if that cannot be
    /// said before they are offered.
    pub(super) fn leads_to(
        &self,
        cx: &Context<'_>,
        row: &LogRow,
        first: u64,
        entries: &[Bytes],
    ) -> Option<bool> {
        let log = self.state.log(&row.admin)?;
        let start = log.log().link_at(first)?;
        let chain = |link, entry: &Bytes| next_link(cx.crypto, &link, entry);
        Some(entries.iter().fold(start, chain) == row.link)
    }

    /// The entries of a log that the trust state waits for.
    pub(super) fn entries_missing(&self, of: &SignerId) -> Option<Missing> {
        let missing = self.state.missing().into_iter();
        let mut entries = missing
            .filter(|missing| matches!(missing, Missing::Entries { admin, .. } if admin == of));
        entries.next()
    }

    /// Offers entries that lead to a verified head.
    pub(super) fn judge_entries(
        &mut self,
        cx: &Context<'_>,
        from: NodeId,
        (admin, first): (SignerId, u64),
        entries: &[Bytes],
        out: &mut Vec<Effect>,
    ) -> Result<Offer, TrustError> {
        let document = Document::LogEntries {
            admin,
            from: first,
            entries: entries.to_vec(),
        };
        let offer = match self.judge(cx, Some(from), &document, out) {
            // They are another history than the one held, and wanted from where they begin.
            Ok(Offer::Wanted(Missing::Entries { from: next, .. })) if next == first => {
                self.judge(cx, Some(from), &document, out)
            }
            offer => offer,
        };
        match offer {
            // What else was staged does not fit; these entries do, or nobody can say.
            Err(TrustError::BrokenChain) => Ok(Offer::Stale),
            offer => offer,
        }
    }

    /// Offers a document to the trust state and does what follows from its being new.
    pub(super) fn judge(
        &mut self,
        cx: &Context<'_>,
        from: Option<NodeId>,
        document: &Document,
        out: &mut Vec<Effect>,
    ) -> Result<Offer, TrustError> {
        let contested = self.contested();
        let offer = self.state.offer(cx.crypto, cx.now.seconds(), document)?;
        match offer {
            Offer::New(change) => self.in_force(from, Some(change), out),
            Offer::Fork(of) => {
                self.alarm(of, out);
                self.in_force(from, None, out);
                if self.contested() > contested {
                    self.keep_proof(document, out);
                }
            }
            Offer::Known | Offer::Stale | Offer::Wanted(_) => {}
        }
        Ok(offer)
    }

    /// Logs of which a second head is here and not what stands under it.
    fn contested(&self) -> usize {
        let logs = self.state.logs();
        logs.filter(|log| log.contested().is_some()).count()
    }

    fn is_contested(&self, admin: &SignerId) -> bool {
        let log = self.state.log(admin);
        log.is_some_and(|log| log.contested().is_some())
    }

    /// Has the head that contradicts a log persisted, so that the log is contested after a restart
    /// too.
    fn keep_proof(&mut self, head: &Document, out: &mut Vec<Effect>) {
        let id = self.durable.begin(core::iter::empty(), self.clock.local());
        let documents = vec![head.clone()];
        out.push(Effect::Persist { id, documents });
    }

    /// Tells of a fork, once.
    fn alarm(&mut self, of: ForkOf, out: &mut Vec<Effect>) {
        if self.alarmed.contains(&of) {
            return;
        }
        if self.alarmed.len() < MAX_ALARMED {
            self.alarmed.push(of);
        }
        out.push(Effect::Alarm(of));
    }

    /// Draws the conclusions about a peer from what became of a document it sent.
    pub(super) fn settle(
        &mut self,
        from: NodeId,
        item: Item,
        shown: Option<Bytes>,
        offer: Result<Offer, TrustError>,
        out: &mut Vec<Effect>,
    ) {
        match offer {
            Ok(Offer::Stale) => {}
            Ok(Offer::New(_) | Offer::Known) => self.keep_up(from, item),
            Ok(Offer::Fork(of)) => {
                self.adopt(from, item);
                // A timestamp over the other history of a log holds once that is here too.
                if matches!((of, item), (ForkOf::Log(_), Item::Timestamp(_))) {
                    self.mark_recheck(from);
                }
            }
            Ok(Offer::Wanted(missing)) => {
                self.note_claim(from, &missing);
                self.fetch(Some(from), &missing, shown, out);
            }
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

    /// A peer that shows a verified head of a log says that it holds as much.
    fn note_claim(&mut self, from: NodeId, missing: &Missing) {
        let soon = self.now().saturating_add(self.config.ask_again_ms);
        let (
            Missing::Entries {
                admin, to, link, ..
            },
            Some(peer),
        ) = (missing, self.peers.get_mut(&from))
        else {
            return;
        };
        let row = LogRow {
            admin: *admin,
            length: *to,
            link: *link,
        };
        peer.known.extend_log(row);
        peer.ask_at = Some(peer.ask_at.map_or(soon, |at| at.min(soon)));
    }

    /// Takes it that the peer no longer differs from this node in `item`.
    pub(super) fn adopt(&mut self, peer: NodeId, item: Item) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.known.adopt(&self.ours, item);
        }
    }

    /// Takes it that the peer holds at least what this node does of `item`; what it said it holds
    /// beyond that is still to come, as a second history of a log.
    pub(super) fn keep_up(&mut self, peer: NodeId, item: Item) {
        if let Some(peer) = self.peers.get_mut(&peer)
            && !peer.known.exceeds(&self.ours, item)
        {
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

/// The entries from `first` to before `to`, if all of them came.
fn slice(push: &LogPush, first: u64, to: u64) -> Option<&[Bytes]> {
    let start = usize::try_from(first.checked_sub(push.from)?).ok()?;
    let count = usize::try_from(to.checked_sub(first)?).ok()?;
    push.entries.get(start..start.checked_add(count)?)
}

/// Entries as documents of the size that documents may have.
pub(super) fn log_entries(
    admin: SignerId,
    first: u64,
    entries: &[Bytes],
) -> impl Iterator<Item = Document> {
    let starts = (first..).step_by(MAX_ENTRIES_AT_ONCE);
    let chunks = entries.chunks(MAX_ENTRIES_AT_ONCE).zip(starts);
    chunks.map(move |(entries, from)| Document::LogEntries {
        admin,
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
        | TrustError::ForeignMesh
        | TrustError::BrokenChain
        | TrustError::WrongBody => true,
        TrustError::Cose(error) => !matches!(
            error,
            CoseError::UnknownKey | CoseError::UnderThreshold { .. }
        ),
        _ => false,
    }
}
