//! Documents out: what has come into force is sent on, then persisted.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Machine;
use crate::distribution::head::{HeadSet, Item};
use crate::distribution::message::{BundlePush, Bytes, Head, LogPush, Message, TimestampPush};
use crate::distribution::{Change, Document, Effect};
use crate::id::{NodeId, SignerId};

/// Most bytes of a body or of entries that travel with their head unasked. A usual bundle and
/// hundreds of revocations fit.
pub(super) const PUSH_TAIL_BYTES: usize = 64 * 1024;

impl Machine {
    /// The trust state has changed: says so, sends it on, has it persisted, in this order.
    pub(super) fn in_force(&mut self, from: Option<NodeId>, change: Change, out: &mut Vec<Effect>) {
        let before = core::mem::replace(&mut self.ours, self.state.heads());
        out.push(Effect::Changed(change));
        let items = self.ours.beyond(&before);
        for &item in &items {
            if let Some(from) = from {
                self.adopt(from, item);
            }
            self.spread(item, &before, out);
        }
        let documents: Vec<Document> = items
            .iter()
            .flat_map(|&item| self.documents(item, &before))
            .collect();
        if !documents.is_empty() {
            let lengths = items.iter().filter_map(|item| match item {
                Item::Log(admin) => Some((*admin, self.ours.log_length(admin))),
                _ => None,
            });
            let id = self.durable.begin(lengths);
            out.push(Effect::Persist { id, documents });
        }
        if items.contains(&Item::Root) {
            self.compare_again();
        }
    }

    /// What could not be judged under the root before may hold under this one.
    fn compare_again(&mut self) {
        let now = self.now();
        for peer in self.peers.values_mut() {
            if peer.recheck && peer.roots.is_none() {
                peer.ask_at = Some(now);
            }
        }
    }

    /// Sends `item` to every peer not known to hold it.
    fn spread(&mut self, item: Item, before: &HeadSet, out: &mut Vec<Effect>) {
        let mut made: BTreeMap<u64, Option<Arc<Message>>> = BTreeMap::new();
        let lacking = self
            .peers
            .iter()
            .filter(|(_, peer)| self.ours.exceeds(&peer.known, item));
        let mut sent = Vec::new();
        for (&id, peer) in lacking {
            // Of who has not said what it holds it is supposed that it keeps up.
            let known = if peer.compared { &peer.known } else { before };
            let from = tail_start(item, known);
            let message = made.entry(from).or_insert_with(|| self.push(item, from));
            if let Some(message) = message {
                out.push(Effect::Send(id, Arc::clone(message)));
                sent.push(id);
            }
        }
        for peer in sent {
            self.adopt(peer, item);
        }
    }

    /// Sends a peer everything it is not known to hold, within what it may be given.
    pub(super) fn show_what_it_lacks(&mut self, to: NodeId, out: &mut Vec<Effect>) {
        let now = self.now();
        let Some(peer) = self.peers.get(&to) else {
            return;
        };
        // More than one root behind: it asks for the roots first, and nothing else would hold.
        if peer.known.root.version.saturating_add(1) < self.ours.root.version {
            return;
        }
        for item in self.ours.beyond(&peer.known.clone()) {
            let Some(peer) = self.peers.get_mut(&to) else {
                return;
            };
            if !peer.may_have_more(now) {
                return;
            }
            let from = tail_start(item, &peer.known);
            let Some(message) = self.push(item, from) else {
                continue;
            };
            if let Some(peer) = self.peers.get_mut(&to) {
                peer.given(message.weight());
                peer.known.adopt(&self.ours, item);
            }
            out.push(Effect::Send(to, message));
        }
    }

    /// The message that pushes `item`, with a log's entries from `from`.
    fn push(&self, item: Item, from: u64) -> Option<Arc<Message>> {
        let head = match item {
            Item::Root => Head::Root(self.state.root_bytes(self.ours.root.version)?),
            Item::Bundle => {
                let body = self.state.bundle_body()?;
                Head::Bundle(BundlePush {
                    head: self.state.bundle_head()?,
                    body: Some(body).filter(|body| body.len() <= PUSH_TAIL_BYTES),
                })
            }
            Item::Log(admin) => {
                let (from, entries) = self.entries_after(&admin, from);
                Head::Log(LogPush {
                    admin,
                    head: self.state.log_head(&admin)?,
                    from,
                    entries,
                })
            }
            Item::Timestamp(timestamper) => Head::Timestamp(TimestampPush {
                timestamper,
                document: self.state.timestamp_bytes(&timestamper)?,
            }),
        };
        Some(Arc::new(Message::Head(head)))
    }

    /// The entries of a log from `from`, if they are few; else none.
    fn entries_after(&self, admin: &SignerId, from: u64) -> (u64, Vec<Bytes>) {
        let entries = self.state.log_entries(admin, from);
        let bytes: usize = entries.iter().map(|entry| entry.len()).sum();
        if bytes <= PUSH_TAIL_BYTES {
            (from, entries.to_vec())
        } else {
            (self.ours.log_length(admin), Vec::new())
        }
    }

    /// What is to be on disk for `item` to be as it is now, after it was as `before`.
    fn documents(&self, item: Item, before: &HeadSet) -> Vec<Document> {
        match item {
            Item::Root => {
                let versions = before.root.version.saturating_add(1)..=self.ours.root.version;
                let roots = versions.filter_map(|version| self.state.root_bytes(version));
                roots.map(Document::Root).collect()
            }
            Item::Bundle => {
                let head = self.state.bundle_head().map(Document::BundleHead);
                let body = self.state.bundle_body().map(Document::BundleBody);
                head.into_iter().chain(body).collect()
            }
            Item::Log(admin) => {
                let from = before.log_length(&admin);
                let entries = self.state.log_entries(&admin, from).to_vec();
                let head = self.state.log_head(&admin).map(Document::LogHead);
                let entries = Document::LogEntries {
                    admin,
                    from,
                    entries,
                };
                head.into_iter().chain([entries]).collect()
            }
            Item::Timestamp(timestamper) => {
                let bytes = self.state.timestamp_bytes(&timestamper);
                bytes.map(Document::Timestamp).into_iter().collect()
            }
        }
    }
}

/// The index of the first entry that one who holds `known` lacks; 0 for what is no log.
fn tail_start(item: Item, known: &HeadSet) -> u64 {
    match item {
        Item::Log(admin) => known.log_length(&admin),
        _ => 0,
    }
}
