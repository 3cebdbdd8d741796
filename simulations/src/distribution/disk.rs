//! What survives a process: the documents a machine asked to have persisted, in the form from which
//! the trust state is restored, and nothing else.

use anyhow::Context;
use protocol::distribution::{Bytes, Document, TrustState};
use protocol::id::SignerId;
use protocol::trust::VerifiedTimestamp;
use protocol::trust::revocation::VerifiedLogHead;
use protocol::trust::state::{Kept, KeptLog, Memory};

use super::crypto::SeededCrypto;

/// Timestamps kept of one timestamper: the newest may name what is not there yet.
const MAX_TIMESTAMPS: usize = 8;

/// The disk of one node.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    roots: Vec<Bytes>,
    bundle: Option<(Bytes, Bytes)>,
    logs: Vec<KeptLog>,
    /// Of each timestamper the newest, the oldest of them first.
    timestamps: Vec<(SignerId, Bytes)>,
    memory: Memory,
    /// The last head of the write under way, for the body or entries behind it.
    head: Option<Bytes>,
}

impl Disk {
    /// A disk with everything in `state`.
    pub(crate) fn of(state: &TrustState) -> Self {
        let Kept {
            roots,
            bundle,
            logs,
            timestamps,
            memory,
        } = state.kept();
        let mut disk = Self {
            roots,
            bundle,
            logs,
            timestamps: Vec::new(),
            memory,
            head: None,
        };
        timestamps.into_iter().for_each(|t| disk.stamp(t));
        disk
    }

    /// One write: documents in order, and what the state remembered beside them.
    pub(crate) fn write(&mut self, documents: Vec<Document>, memory: Memory) {
        self.head = None;
        for document in documents {
            match document {
                Document::Root(root) => self.roots.push(root),
                Document::BundleHead(head) | Document::LogHead(head) => self.head = Some(head),
                Document::BundleBody(body) => self.bundle = self.head.take().map(|h| (h, body)),
                Document::LogEntries {
                    admin,
                    from,
                    entries,
                } => self.append(admin, from, entries),
                Document::Timestamp(timestamp) => self.stamp(timestamp),
            }
        }
        self.memory = memory;
    }

    fn append(&mut self, admin: SignerId, from: u64, entries: Vec<Bytes>) {
        // One head may stand before several pieces of its log, and none before a retired admin's.
        let of_admin = |head: &Bytes| VerifiedLogHead::peek(head).is_ok_and(|h| h.admin == admin);
        let head = self.head.clone().filter(of_admin);
        let follows = |log: &&mut KeptLog| log.admin == admin && log.entries.len() as u64 == from;
        if let Some(log) = self.logs.iter_mut().rev().find(follows) {
            log.head = head;
            log.entries.extend(entries);
        } else {
            // The first entries, or another branch of a forked log from its beginning.
            self.logs.push(KeptLog {
                admin,
                head,
                entries,
            });
        }
    }

    fn stamp(&mut self, timestamp: Bytes) {
        let Ok(content) = VerifiedTimestamp::peek(&timestamp) else {
            return;
        };
        let by = content.timestamper;
        self.timestamps.push((by, timestamp));
        let of = self.timestamps.iter().filter(|(id, _)| *id == by).count();
        if of > MAX_TIMESTAMPS
            && let Some(oldest) = self.timestamps.iter().position(|(id, _)| *id == by)
        {
            self.timestamps.remove(oldest);
        }
    }

    /// The trust state that the production code makes of it.
    pub(crate) fn restore(&self, crypto: &SeededCrypto) -> anyhow::Result<TrustState> {
        let kept = Kept {
            roots: self.roots.clone(),
            bundle: self.bundle.clone(),
            logs: self.logs.clone(),
            timestamps: self.timestamps.iter().map(|(_, t)| t.clone()).collect(),
            memory: self.memory.clone(),
        };
        TrustState::restore(crypto, kept).context("a disk from which nothing can be restored")
    }
}
