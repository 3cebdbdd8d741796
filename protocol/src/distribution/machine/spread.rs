//! Documents out: what has come into force is sent on, then persisted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Machine;
use super::take::log_entries;
use crate::distribution::fetch::Key;
use crate::distribution::head::{HeadSet, Item, LogRow};
use crate::distribution::message::{BundlePush, Bytes, Head, LogPush, Message, TimestampPush};
use crate::distribution::{Change, Document, Effect};
use crate::id::NodeId;
use crate::trust::Bundle;

/// Most bytes of a body or of entries that travel with their head unasked. A usual bundle and
/// hundreds of revocations fit.
const PUSH_TAIL_BYTES: usize = 64 * 1024;

/// Most entries that travel with their head unasked.
const PUSH_ENTRIES: usize = 1024;

impl Machine {
    /// The trust state may have changed: says so, sends it on, has it persisted, in this order.
    /// `change` is absent for a fork, of which only a log's brings something into force.
    pub(super) fn in_force(
        &mut self,
        from: Option<NodeId>,
        change: Option<Change>,
        out: &mut Vec<Effect>,
    ) {
        let before = core::mem::replace(&mut self.ours, self.state.heads());
        let items = self.ours.beyond(&before);
        let logs = items.iter().filter_map(|item| match item {
            Item::Log(admin) => Some(Change::Log {
                admin: *admin,
                from: before.log_length(admin),
                length: self.ours.log_length(admin),
            }),
            _ => None,
        });
        match change {
            Some(change) => out.push(Effect::Changed(change)),
            None => out.extend(logs.map(Effect::Changed)),
        }
        for &item in &items {
            for peer in self.reached(item).into_iter().chain(from) {
                self.keep_up(peer, item);
            }
            self.spread(item, &before, out);
        }
        self.persist(&items, &before, out);
        if items.contains(&Item::Root) {
            self.compare_again(out);
        }
        if let Some(peer) = from.and_then(|from| self.peers.get_mut(&from)) {
            peer.asks = 0;
        }
        self.recheck_now();
    }

    /// Compares heads again with those of whom something could not be judged, once nothing is
    /// being fetched that may change that.
    fn recheck_now(&mut self) {
        if self.fetches.busy() {
            return;
        }
        let now = self.clock.now();
        for peer in self.peers.values_mut() {
            if peer.recheck && peer.roots.is_none() {
                peer.ask_at = Some(now);
            }
        }
    }

    /// Ends the fetch of what has come into force; who showed its head holds it.
    fn reached(&mut self, item: Item) -> BTreeSet<NodeId> {
        match item {
            Item::Bundle => self.fetches.reached(Key::Bundle),
            Item::Log(admin) => self.fetches.reached(Key::Log(admin)),
            Item::Root | Item::Timestamp(_) => BTreeSet::new(),
        }
    }

    fn persist(&mut self, items: &[Item], before: &HeadSet, out: &mut Vec<Effect>) {
        let documents = items.iter().flat_map(|&item| self.documents(item, before));
        let documents: Vec<Document> = documents.collect();
        if documents.is_empty() {
            return;
        }
        let rows = items.iter().flat_map(|item| match item {
            Item::Log(admin) => self.ours.rows(admin),
            _ => &[],
        });
        let id = self.durable.begin(rows.copied(), self.clock.local());
        out.push(Effect::Persist { id, documents });
    }

    /// Under a new root: what could not be judged before may hold now, a bundle's head that was
    /// verified before is to be shown again, and logs of admins who have left are to be completed.
    fn compare_again(&mut self, out: &mut Vec<Effect>) {
        for peer in self.fetches.reached(Key::Bundle) {
            self.mark_recheck(peer);
        }
        self.fetch_missing(out);
    }

    /// Sets out for what the trust state waits for and needs no further head for, as the entries of
    /// a log that the root binds.
    pub(super) fn fetch_missing(&mut self, out: &mut Vec<Effect>) {
        for missing in self.state.missing() {
            self.fetch(None, &missing, None, out);
        }
    }

    /// Sends `item` to every peer not known to hold it.
    fn spread(&mut self, item: Item, before: &HeadSet, out: &mut Vec<Effect>) {
        let mut made: BTreeMap<u64, Vec<Arc<Message>>> = BTreeMap::new();
        let peers = self.peers.iter();
        let lacking = peers.filter(|(_, peer)| self.ours.exceeds(&peer.known, item));
        let mut sent = Vec::new();
        for (&id, peer) in lacking {
            // Of who has not said what it holds it is supposed that it keeps up.
            let known = if peer.compared { &peer.known } else { before };
            let from = tail_start(item, known);
            let messages = made.entry(from).or_insert_with(|| self.push(item, from));
            if messages.is_empty() {
                // What has no head, as the log of an admin who has left, is asked for by who lacks
                // it, once it knows who holds it.
                self.send_heads(id, false, out);
            }
            let sends = messages.iter().map(|m| Effect::Send(id, Arc::clone(m)));
            out.extend(sends);
            sent.push(id);
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
        for item in self.ours.beyond(&peer.known) {
            let Some(peer) = self.peers.get_mut(&to) else {
                return;
            };
            if !peer.may_have_more(now) {
                return;
            }
            let from = tail_start(item, &peer.known);
            let messages = self.push(item, from);
            if let Some(peer) = self.peers.get_mut(&to) {
                peer.given(messages.iter().map(|message| message.weight()).sum());
                peer.known.adopt(&self.ours, item);
            }
            out.extend(messages.into_iter().map(|m| Effect::Send(to, m)));
        }
    }

    /// The message that pushes `item`, with a log's entries from `from`; two of a forked log.
    pub(super) fn push(&self, item: Item, from: u64) -> Vec<Arc<Message>> {
        let heads = match item {
            Item::Root => {
                let root = self.state.root_of(self.ours.root.version);
                root.map(|root| Head::Root(root.shared()))
                    .into_iter()
                    .collect()
            }
            Item::Bundle => self.state.bundle().map(bundle_push).into_iter().collect(),
            Item::Log(admin) => {
                let rows = self.ours.rows(&admin).iter();
                rows.filter_map(|row| self.log_push(row, from)).collect()
            }
            Item::Timestamp(timestamper) => {
                let timestamp = self.state.timestamp(&timestamper);
                let push = timestamp.map(|timestamp| TimestampPush {
                    timestamper,
                    document: timestamp.shared(),
                });
                push.map(Head::Timestamp).into_iter().collect::<Vec<Head>>()
            }
        };
        let message = |head| Arc::new(Message::Head(head));
        heads.into_iter().map(message).collect()
    }

    fn log_push(&self, row: &LogRow, from: u64) -> Option<Head> {
        let (from, entries) = self.tail(row, from);
        Some(Head::Log(LogPush {
            admin: row.admin,
            head: self.head_of(row)?,
            from,
            entries,
        }))
    }

    /// The signed head of a state; none of an admin who has left, whose log the root binds.
    fn head_of(&self, row: &LogRow) -> Option<Bytes> {
        let mut branches = self.state.log(&row.admin)?.branches();
        let branch = branches.find(|branch| branch.log().link() == row.link);
        branch.and_then(|branch| branch.head())
    }

    /// The entries that lead to `row` from `from`, if they are few and of its only history; else
    /// none.
    fn tail(&self, row: &LogRow, from: u64) -> (u64, Vec<Bytes>) {
        let few = row.length.saturating_sub(from) <= PUSH_ENTRIES as u64;
        let whole = self.ours.rows(&row.admin).len() == 1;
        let entries = (few && whole).then(|| self.state.entries(row, from, PUSH_ENTRIES));
        let entries = entries.flatten().unwrap_or_default();
        let bytes: usize = entries.iter().map(|entry| entry.len()).sum();
        if bytes <= PUSH_TAIL_BYTES && !entries.is_empty() {
            (from, entries)
        } else {
            (row.length, Vec::new())
        }
    }

    /// What is to be on disk for `item` to be as it is now, after it was as `before`.
    fn documents(&self, item: Item, before: &HeadSet) -> Vec<Document> {
        match item {
            Item::Root => {
                let versions = before.root.version.saturating_add(1)..=self.ours.root.version;
                let roots = versions.filter_map(|version| self.state.root_of(version));
                roots.map(|root| Document::Root(root.shared())).collect()
            }
            Item::Bundle => match self.state.bundle() {
                Some(bundle) => vec![
                    Document::BundleHead(bundle.head().shared()),
                    Document::BundleBody(bundle.body_bytes()),
                ],
                None => Vec::new(),
            },
            Item::Log(admin) => {
                let rows = self.ours.rows(&admin).iter();
                rows.flat_map(|row| self.log_documents(row, before))
                    .collect()
            }
            Item::Timestamp(timestamper) => {
                let timestamp = self.state.timestamp(&timestamper);
                let document = timestamp.map(|timestamp| timestamp.shared());
                document.map(Document::Timestamp).into_iter().collect()
            }
        }
    }

    /// A log's head, and its entries as far as they were not there before.
    fn log_documents(&self, row: &LogRow, before: &HeadSet) -> Vec<Document> {
        // Of another history all entries: where it leaves the first is not said here.
        let only = self.ours.rows(&row.admin).len() == 1;
        let continued = |known: &LogRow| only && self.state.entries(known, 0, 0).is_some();
        let first = match before.rows(&row.admin) {
            [known] if continued(known) => known.length,
            known if known.contains(row) => return Vec::new(),
            _ => 0,
        };
        let head = self.head_of(row);
        let entries = self.state.entries(row, first, usize::MAX);
        let entries = entries.unwrap_or_default();
        let head = head.map(Document::LogHead).into_iter();
        head.chain(log_entries(row.admin, first, &entries))
            .collect()
    }
}

/// A bundle as it is pushed.
fn bundle_push(bundle: &Bundle) -> Head {
    let body = bundle.body_bytes();
    Head::Bundle(BundlePush {
        head: bundle.head().shared(),
        body: Some(body).filter(|body| body.len() <= PUSH_TAIL_BYTES),
    })
}

/// The index of the first entry that one who holds `known` lacks; 0 for what is no log.
fn tail_start(item: Item, known: &HeadSet) -> u64 {
    match item {
        Item::Log(admin) => known.log_length(&admin),
        _ => 0,
    }
}
