//! What is kept across a restart, and taking it up again: everything signed is verified anew.

use std::collections::HashSet;
use std::sync::Arc;

use super::super::bundle::{Bundle, VerifiedBundleHead};
use super::super::dating::Mark;
use super::super::revocation::{Log, VerifiedLogHead};
use super::super::{Bytes, TrustError, VerifiedRoot, VerifiedTimestamp};
use super::logs::{Branch, row_of};
use super::{AdminLog, TrustState};
use crate::codec::{self, CodecError};
use crate::crypto::Crypto;
use crate::id::{EntryId, SignerId};
use crate::time::UnixSeconds;

/// Largest encoded [`Memory`]: every entry of two full logs held, and marks of all logs.
pub const MAX_MEMORY_BYTES: usize = 16 * 1024 * 1024;

/// Everything to be kept across a restart.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    /// Every root, the genesis first.
    pub roots: Vec<Bytes>,
    /// Head and body of the bundle in force.
    pub bundle: Option<(Bytes, Bytes)>,
    /// The logs.
    pub logs: Vec<KeptLog>,
    /// The newest timestamp of each timestamper, and the newest complete one.
    pub timestamps: Vec<Bytes>,
    /// What no document says.
    pub memory: Memory,
}

/// One branch of a log. A forked log is kept as two; of one that is only contested the second has a
/// head and no entries.
#[derive(Debug, Clone)]
pub struct KeptLog {
    /// Whose.
    pub admin: SignerId,
    /// The signed head; none of a retired admin's log.
    pub head: Option<Bytes>,
    /// The encoded entries.
    pub entries: Vec<Bytes>,
}

/// The marks known of a log.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct LogMarks {
    /// Whose log.
    #[n(1)]
    pub admin: SignerId,
    /// The marks, sorted.
    #[n(2)]
    pub marks: Vec<Mark>,
}

/// What a node remembers that no document it holds says: it follows from documents it once held.
/// Local and not signed; of another epoch than the root's it is ignored.
#[derive(Debug, Clone, PartialEq, Eq, Default, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Memory {
    /// The epoch.
    #[n(1)]
    pub epoch: u64,
    /// The greatest verified time.
    #[n(2)]
    pub greatest: UnixSeconds,
    /// Marks by which entries are dated.
    #[n(3)]
    pub marks: Vec<LogMarks>,
    /// Entries that stay effective because they once were.
    #[n(4)]
    pub held: Vec<EntryId>,
}

impl Memory {
    /// Its one encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads a memory.
    ///
    /// # Errors
    /// [`CodecError`] for anything but its one encoding.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        codec::decode(bytes, MAX_MEMORY_BYTES)
    }
}

impl TrustState {
    /// What is to be kept of this state.
    #[must_use]
    pub fn kept(&self) -> Kept {
        let branches = self.logs.values().flat_map(|log| log.branches());
        let logs = branches.filter(|b| b.log().length() > 0).map(|b| KeptLog {
            admin: b.log().admin(),
            head: b.head(),
            entries: b.log().encoded(0, usize::MAX),
        });
        let contested = self.logs.values().filter_map(|log| {
            let head = Some(log.contested()?);
            Some(KeptLog {
                admin: log.admin(),
                head,
                entries: Vec::new(),
            })
        });
        let complete = self.complete.iter().filter(|c| {
            let newest = self.timestamps.get(&c.content().timestamper);
            newest.is_none_or(|n| n.hash() != c.hash())
        });
        Kept {
            roots: self.roots.iter().map(|r| r.shared()).collect(),
            bundle: self
                .bundle
                .as_ref()
                .map(|b| (b.head().shared(), b.body_bytes())),
            logs: logs.chain(contested).collect(),
            timestamps: complete
                .chain(self.timestamps.values())
                .map(|t| t.shared())
                .collect(),
            memory: self.memory(),
        }
    }

    /// What no document says; small, and to be kept whenever it has changed.
    #[must_use]
    pub fn memory(&self) -> Memory {
        let mut held: Vec<EntryId> = self.held.iter().copied().collect();
        held.sort_unstable();
        let marked = self.logs.values().filter(|log| !log.marks().is_empty());
        Memory {
            epoch: self.root.root().epoch,
            greatest: self.greatest,
            marks: marked
                .map(|log| LogMarks {
                    admin: log.admin(),
                    marks: log.marks().to_vec(),
                })
                .collect(),
            held,
        }
    }

    /// The state that was kept, everything signed verified again.
    ///
    /// # Errors
    /// [`TrustError`] of the first document that does not hold; nothing is usable then.
    pub fn restore(crypto: &dyn Crypto, kept: Kept) -> Result<Self, TrustError> {
        let mut roots = kept.roots.iter();
        let genesis = roots.next().ok_or(TrustError::Unchained)?;
        let mut state = Self::genesis(crypto, genesis)?;
        for bytes in roots {
            let root = state.root.successor(crypto, bytes)?;
            state.take_root(Arc::new(root));
        }
        state.restore_bundle(crypto, kept.bundle)?;
        for log in kept.logs {
            state.restore_log(crypto, log)?;
        }
        state.recall(&kept.memory);
        state.restore_timestamps(crypto, &kept.timestamps)?;
        state.rejudge();
        state.recomplete();
        Ok(state)
    }

    /// A bundle that was in force counts by the root it was made under.
    fn restore_bundle(
        &mut self,
        crypto: &dyn Crypto,
        bundle: Option<(Bytes, Bytes)>,
    ) -> Result<(), TrustError> {
        let Some((head, body)) = bundle else {
            return Ok(());
        };
        let content = VerifiedBundleHead::peek(&head)?;
        let root = self.root_of(content.root_version);
        let root = root.ok_or(TrustError::Unchained)?;
        let head = VerifiedBundleHead::verify(crypto, &[root], &head)?;
        let (expected, found) = (self.root.root().epoch, content.epoch);
        if found == expected {
            self.bundle = Some(Arc::new(Bundle::join(crypto, head, body)?));
        }
        Ok(())
    }

    fn restore_log(&mut self, crypto: &dyn Crypto, kept: KeptLog) -> Result<(), TrustError> {
        if let (Some(head), []) = (&kept.head, kept.entries.as_slice())
            && self.root.retired(&kept.admin).is_none()
        {
            return self.restore_contested(crypto, kept.admin, head);
        }
        let mut log = Log::new(self.mesh(), kept.admin);
        for entry in &kept.entries {
            log.append(crypto, entry)?;
        }
        let Some(branch) = self.restored_branch(crypto, log, kept.head)? else {
            return Ok(());
        };
        let mesh = self.mesh();
        let Some(held) = self.logs.get_mut(&kept.admin) else {
            return Err(TrustError::Field("admin"));
        };
        let restored = if held.log().length() == 0 {
            (branch, None)
        } else {
            (
                held.branches()
                    .next()
                    .cloned()
                    .ok_or(TrustError::BrokenChain)?,
                Some(branch),
            )
        };
        *held = Arc::new(AdminLog::restored(mesh, restored));
        if let Some(cut) = self.root.retired(&kept.admin) {
            Arc::make_mut(held).cut(cut);
        }
        Ok(())
    }

    /// A second head of which no entries had come: the log stays contested.
    fn restore_contested(
        &mut self,
        crypto: &dyn Crypto,
        admin: SignerId,
        head: &Bytes,
    ) -> Result<(), TrustError> {
        let head = VerifiedLogHead::verify(crypto, &self.root, head)?;
        if head.content().admin != admin {
            return Err(TrustError::BrokenChain);
        }
        let log = self.logs.get_mut(&admin);
        let log = log.ok_or(TrustError::Field("admin"))?;
        Arc::make_mut(log).contest(row_of(head.content()), head.shared());
        Ok(())
    }

    /// The branch if its head holds, or if the root binds it; none if it was waiting for what the
    /// root binds, because then nothing signed vouches for its entries any more.
    fn restored_branch(
        &self,
        crypto: &dyn Crypto,
        log: Log,
        head: Option<Bytes>,
    ) -> Result<Option<Branch>, TrustError> {
        if let Some(head) = &head {
            let head = VerifiedLogHead::verify(crypto, &self.root, head)?;
            let content = head.content();
            let own = content.admin == log.admin()
                && content.length == log.length()
                && content.link == log.link();
            if !own {
                return Err(TrustError::BrokenChain);
            }
        } else {
            let cut = self.root.retired(&log.admin());
            let cut = cut.ok_or(TrustError::BrokenChain)?;
            if log.link_at(cut.length) != Some(cut.link) {
                return Ok(None);
            }
        }
        Ok(Some(AdminLog::branch(log, head)))
    }

    fn recall(&mut self, memory: &Memory) {
        self.held = Arc::new(memory.held.iter().copied().collect::<HashSet<_>>());
        if memory.epoch != self.root.root().epoch {
            return;
        }
        self.greatest = memory.greatest;
        for known in &memory.marks {
            if let Some(log) = self.logs.get_mut(&known.admin) {
                Arc::make_mut(log).mark(known.marks.iter().copied());
            }
        }
    }

    /// Of two timestamps of one timestamper the newer is its newest; the other was complete.
    fn restore_timestamps(
        &mut self,
        crypto: &dyn Crypto,
        timestamps: &[Bytes],
    ) -> Result<(), TrustError> {
        for bytes in timestamps {
            let timestamper = VerifiedTimestamp::peek(bytes)?.timestamper;
            if self.root.timestamper(&timestamper).is_none() {
                // Removed by a root that was kept just before.
                continue;
            }
            let timestamp = Arc::new(VerifiedTimestamp::verify(crypto, &self.root, bytes)?);
            let content = timestamp.content();
            if content.epoch != self.root.root().epoch {
                continue;
            }
            self.mark(content);
            self.greatest = self.greatest.max(content.time);
            let id = content.timestamper;
            let newer = |held: &Arc<VerifiedTimestamp>| held.content().version < content.version;
            if self.timestamps.get(&id).is_none_or(newer) {
                self.timestamps.insert(id, Arc::clone(&timestamp));
            }
            if self.named_beyond(content).is_empty() {
                let older = self.complete.take().filter(|c| c.time() >= content.time);
                self.complete = older.or(Some(timestamp));
            }
        }
        Ok(())
    }

    /// The root of this mesh that a node was configured with, as far as its chain is known here.
    #[must_use]
    pub fn holds_root(&self, root: &VerifiedRoot) -> bool {
        let held = self.root_of(root.root().version);
        held.is_some_and(|held| held.hash() == root.hash())
    }
}
