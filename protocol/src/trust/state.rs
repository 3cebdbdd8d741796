//! Everything in force, and the only code that takes a newer document.
//!
//! Versions rise only, per role and across restarts; of two documents with one version the first
//! stays and the other is reported. A head is verified and remembered at once, and in force as
//! soon as its body or entries are here. What is shared between clones of a state is shared by
//! reference, so a clone costs little.
//!
//! No I/O: whoever drives this keeps what it was given ([`Kept`]) and gives it back after a
//! restart, when all of it is verified again.

mod logs;
mod offer;
mod preview;
mod restore;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

pub use logs::{AdminLog, Branch};
pub use preview::Shift;
pub use restore::{Kept, KeptLog, LogMarks, MAX_MEMORY_BYTES, Memory};

use super::bundle::{Bundle, VerifiedBundleHead};
use super::dating::{self, Mark};
use super::document::{HeadSet, LogRow, TimestampRow, VersionRow};
use super::revoked::{Judged, Revoked, Ruled, Standing, judge};
use super::timestamp::{LogState, Timestamp, VersionHash};
use super::{Bytes, TrustError, VerifiedRoot, VerifiedTimestamp};
use crate::crypto::Crypto;
use crate::id::{Digest, EntryId, MeshId, NodeId, SignerId};
use crate::limits::{MAX_MARKS, MAX_TIME_AHEAD_S};
use crate::time::UnixSeconds;

/// What became of an offered document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// It is new and in force.
    New(Change),
    /// It is held already.
    Known,
    /// It is older than what is in force, or nobody asked for it.
    Stale,
    /// It holds, or may, and something is missing before it can be in force.
    Wanted(Missing),
    /// It holds and contradicts what is in force, which stays. Somebody has signed twice.
    Fork(ForkOf),
}

/// What has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// A root.
    Root {
        /// Its version.
        version: u64,
    },
    /// A bundle, head and body.
    Bundle {
        /// Its version.
        version: u64,
    },
    /// A revocation log, up to its new head.
    Log {
        /// Whose.
        admin: SignerId,
        /// How many entries it had.
        from: u64,
        /// How many it has.
        length: u64,
    },
    /// A timestamp.
    Timestamp {
        /// By whom.
        timestamper: SignerId,
        /// Its version.
        version: u64,
    },
}

/// What is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Missing {
    /// Roots from this version on.
    Roots {
        /// The next version.
        from: u64,
    },
    /// The head of the bundle that a timestamp names.
    Bundle {
        /// Its version.
        version: u64,
        /// The hash of its head.
        hash: Digest,
    },
    /// The body of a bundle whose head is verified.
    BundleBody {
        /// The bundle's version.
        version: u64,
        /// The body's digest.
        body: Digest,
        /// The body's size in bytes.
        length: u64,
    },
    /// Entries of a log.
    Entries {
        /// Whose.
        admin: SignerId,
        /// The first index.
        from: u64,
        /// The length they lead to.
        to: u64,
        /// The link they lead to.
        link: Digest,
    },
    /// The head of a log of which a timestamp names a longer state.
    Log {
        /// Whose.
        admin: SignerId,
        /// The length named.
        length: u64,
    },
    /// A timestamp of the root in force: a bundle signed under an older root counts once one names
    /// it.
    Timestamp,
}

/// What was signed twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ForkOf {
    /// A root of this version.
    Root(u64),
    /// A bundle of this version.
    Bundle(u64),
    /// An admin's log.
    Log(SignerId),
    /// A timestamp.
    Timestamp(SignerId),
}

/// How recent the newest complete timestamp is: one of which everything it names is in force here,
/// so that nobody feigns freshness by withholding the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Within the lease.
    Fresh {
        /// Its age in seconds.
        age_s: u64,
    },
    /// The lease is over.
    Stale {
        /// Its age in seconds.
        age_s: u64,
    },
    /// There is none.
    None,
    /// The local clock is further behind the greatest verified time than clocks may differ: nothing
    /// that depends on time can be decided.
    ClockBehind {
        /// By how many seconds.
        by_s: u64,
    },
}

/// Everything in force.
#[derive(Debug, Clone)]
pub struct TrustState {
    /// From the genesis to the one in force; never empty.
    roots: Arc<Vec<Arc<VerifiedRoot>>>,
    root: Arc<VerifiedRoot>,
    bundle: Option<Arc<Bundle>>,
    bundle_head: Option<Arc<VerifiedBundleHead>>,
    logs: BTreeMap<SignerId, Arc<AdminLog>>,
    timestamps: BTreeMap<SignerId, Arc<VerifiedTimestamp>>,
    complete: Option<Arc<VerifiedTimestamp>>,
    greatest: UnixSeconds,
    held: Arc<HashSet<EntryId>>,
    revoked: Arc<Revoked>,
}

impl TrustState {
    /// The state of a mesh of which only the genesis root is known.
    ///
    /// # Errors
    /// [`TrustError`] if `bytes` are no genesis root.
    pub fn genesis(crypto: &dyn Crypto, bytes: &[u8]) -> Result<Self, TrustError> {
        Ok(Self::founded(Arc::new(VerifiedRoot::genesis(
            crypto, bytes,
        )?)))
    }

    fn founded(root: Arc<VerifiedRoot>) -> Self {
        let mesh = root.mesh();
        let empty = |admin: &SignerId| (*admin, Arc::new(AdminLog::new(mesh, *admin)));
        Self {
            roots: Arc::new(vec![Arc::clone(&root)]),
            bundle: None,
            bundle_head: None,
            logs: root.admin_ids().iter().map(empty).collect(),
            timestamps: BTreeMap::new(),
            complete: None,
            greatest: UnixSeconds(0),
            held: Arc::default(),
            revoked: Arc::default(),
            root,
        }
    }

    /// The root in force.
    #[must_use]
    pub const fn root(&self) -> &Arc<VerifiedRoot> {
        &self.root
    }

    /// Every root, the genesis first.
    #[must_use]
    pub fn roots(&self) -> &[Arc<VerifiedRoot>] {
        &self.roots
    }

    /// The root of this version.
    #[must_use]
    pub fn root_of(&self, version: u64) -> Option<&Arc<VerifiedRoot>> {
        let index = usize::try_from(version.checked_sub(1)?).ok()?;
        self.roots.get(index)
    }

    /// The mesh.
    #[must_use]
    pub fn mesh(&self) -> MeshId {
        self.root.mesh()
    }

    /// What is revoked.
    #[must_use]
    pub const fn revoked(&self) -> &Arc<Revoked> {
        &self.revoked
    }

    /// The bundle in force.
    #[must_use]
    pub fn bundle(&self) -> Option<&Bundle> {
        self.bundle.as_deref()
    }

    /// The bundle in force, shared.
    #[must_use]
    pub fn shared_bundle(&self) -> Option<Arc<Bundle>> {
        self.bundle.clone()
    }

    /// What is held of an admin's log.
    #[must_use]
    pub fn log(&self, admin: &SignerId) -> Option<&AdminLog> {
        self.logs.get(admin).map(Arc::as_ref)
    }

    /// What is held of every log, by admin.
    pub fn logs(&self) -> impl Iterator<Item = &AdminLog> {
        self.logs.values().map(Arc::as_ref)
    }

    /// The newest timestamp of a timestamper.
    #[must_use]
    pub fn timestamp(&self, timestamper: &SignerId) -> Option<&VerifiedTimestamp> {
        self.timestamps.get(timestamper).map(Arc::as_ref)
    }

    /// The newest timestamp of every timestamper.
    pub fn timestamps(&self) -> impl Iterator<Item = &VerifiedTimestamp> {
        self.timestamps.values().map(Arc::as_ref)
    }

    /// The timestamp with the latest time.
    #[must_use]
    pub fn newest_timestamp(&self) -> Option<&VerifiedTimestamp> {
        let newest = self.timestamps.values().max_by_key(|t| t.time());
        newest.map(Arc::as_ref)
    }

    /// The timestamp with the latest time of which everything is in force here.
    #[must_use]
    pub fn complete_timestamp(&self) -> Option<&VerifiedTimestamp> {
        self.complete.as_deref()
    }

    /// The greatest verified time of this epoch; 0 before the first timestamp.
    #[must_use]
    pub const fn greatest_time(&self) -> UnixSeconds {
        self.greatest
    }

    /// What is held, for comparing with others.
    #[must_use]
    pub fn heads(&self) -> HeadSet {
        let bundle = self.bundle.as_ref().map(|b| VersionRow {
            version: b.version(),
            hash: b.hash(),
        });
        let timestamps = self.timestamps.iter().map(|(id, t)| TimestampRow {
            timestamper: *id,
            version: t.content().version,
        });
        HeadSet {
            epoch: self.root.root().epoch,
            root: VersionRow {
                version: self.root.root().version,
                hash: self.root.hash(),
            },
            bundle,
            logs: self.logs.values().flat_map(|log| log.rows()).collect(),
            timestamps: timestamps.collect(),
        }
    }

    /// Encoded entries of a log that lead to `link` at length `to`, at most `most` of them from
    /// index `from` on: of whichever branch has that link.
    #[must_use]
    pub fn entries(&self, row: &LogRow, from: u64, most: usize) -> Option<Vec<Bytes>> {
        let log = self.logs.get(&row.admin)?.branch_with(row)?;
        let left = usize::try_from(row.length.saturating_sub(from)).unwrap_or(usize::MAX);
        Some(log.encoded(from, most.min(left)))
    }

    /// How recent what is in force is at `now`, by the lease of the root.
    #[must_use]
    pub fn freshness(&self, now: UnixSeconds) -> Freshness {
        let by_s = self.greatest.0.saturating_sub(now.0);
        if by_s > MAX_TIME_AHEAD_S {
            return Freshness::ClockBehind { by_s };
        }
        let Some(timestamp) = &self.complete else {
            return Freshness::None;
        };
        let age_s = now.0.saturating_sub(timestamp.time().0);
        if age_s <= self.root.root().lease_s {
            Freshness::Fresh { age_s }
        } else {
            Freshness::Stale { age_s }
        }
    }

    /// Everything that is known to be missing: bodies and entries of verified heads, and what
    /// timestamps name beyond what is held.
    #[must_use]
    pub fn missing(&self) -> Vec<Missing> {
        let body = self.bundle_head.as_ref().map(|head| body_of(head));
        let entries = self.logs.values().filter_map(|log| log.missing());
        let mut all: Vec<Missing> = body.into_iter().chain(entries).collect();
        for timestamp in self.timestamps.values() {
            let named = self.named_beyond(timestamp.content());
            all.extend(
                named
                    .into_iter()
                    .filter(|m| !all.contains(m))
                    .collect::<Vec<_>>(),
            );
        }
        all
    }

    /// What a timestamp names beyond what is held.
    fn named_beyond(&self, named: &Timestamp) -> Vec<Missing> {
        let held = self.bundle.as_ref().map_or(0, |b| b.version());
        let newer = named.bundle.filter(|b| b.version > held);
        let bundle = newer.map(|b| Missing::Bundle {
            version: b.version,
            hash: b.hash,
        });
        let logs = named.logs.iter().filter_map(|state| {
            let counted = self.counted_length(state)?;
            let row = LogRow {
                admin: state.admin,
                length: counted,
                link: state.link,
            };
            let lacks = self.logs.get(&state.admin).is_none_or(|l| l.lacks(&row));
            (lacks && counted > 0).then_some(Missing::Log {
                admin: state.admin,
                length: counted,
            })
        });
        bundle.into_iter().chain(logs).collect()
    }

    /// How much of a named state counts: of a retired admin's log not more than the root lets, of
    /// an unknown admin's nothing.
    fn counted_length(&self, state: &LogState) -> Option<u64> {
        let cut = self.root.retired(&state.admin).map(|r| r.length);
        let known = cut.is_some() || self.root.admin(&state.admin).is_some();
        known.then(|| cut.map_or(state.length, |cut| cut.min(state.length)))
    }

    /// The timestamp that `timestamper` would sign now: its next version over what is in force.
    /// `nodes` is the number of nodes of the mesh, as far as the timestamper knows.
    #[must_use]
    pub fn draft_timestamp(
        &self,
        timestamper: SignerId,
        time: UnixSeconds,
        nodes: u64,
    ) -> Timestamp {
        let root = self.root.root();
        let version = self.timestamps.get(&timestamper);
        let mut draft = Timestamp {
            mesh: self.mesh(),
            epoch: root.epoch,
            root_version: root.version,
            root: self.root.hash(),
            timestamper,
            version: version.map_or(0, |t| t.content().version) + 1,
            time,
            bundle: self.bundle.as_ref().map(|b| VersionHash {
                version: b.version(),
                hash: b.hash(),
            }),
            logs: self.logs.values().filter_map(|l| l.state()).collect(),
            nodes,
        };
        // Which marks are needed is decided as everybody will who takes this timestamp.
        let mut after = self.clone();
        after.mark(&draft);
        after.rejudge();
        for state in &mut draft.logs {
            let log = after.logs.get(&state.admin);
            let own = |m: &&Mark| m.length < state.length || m.time < time;
            let needed = log.into_iter().flat_map(|l| l.needed()).filter(own);
            let mut marks: Vec<Mark> = needed
                .filter(|m| m.length <= state.length)
                .copied()
                .collect();
            dating::newest(&mut marks, MAX_MARKS);
            state.marks = (!marks.is_empty()).then_some(marks);
        }
        draft
    }

    /// Notes what a timestamp says of every log, of those too that had no entries then.
    fn mark(&mut self, stated: &Timestamp) {
        for (admin, log) in &mut self.logs {
            let state = stated.log(admin);
            let now = Mark {
                length: state.map_or(0, |s| s.length),
                time: stated.time,
                nodes: stated.nodes,
            };
            let earlier = state.and_then(|s| s.marks.as_deref()).unwrap_or_default();
            Arc::make_mut(log).mark(earlier.iter().copied().chain([now]));
        }
    }

    /// Judges all logs anew by the root in force.
    fn rejudge(&mut self) {
        let root = Arc::clone(&self.root);
        self.rejudge_by(root.root().needed(), root.role_hosts());
    }

    /// Judges all logs anew. What was effective so far stays so, unless it is lifted or cut.
    fn rejudge_by(&mut self, needed: usize, hosts: &HashSet<NodeId>) {
        let ruled: Vec<Ruled<'_>> = self.logs.values().flat_map(|log| log.ruled()).collect();
        let mut judged = judge(needed, hosts, &ruled, &self.held);
        let fallen = fallen(&self.logs, &judged);
        if !fallen.is_empty() {
            Arc::make_mut(&mut self.held).extend(fallen);
            judged = judge(needed, hosts, &ruled, &self.held);
        }
        if !self.held.is_empty() {
            let still = still_held(&ruled, &judged);
            if still.len() != self.held.len() {
                self.held = Arc::new(still);
            }
        }
        if self.only_adds(&judged) {
            let before = self.logs.values().flat_map(|log| log.standings());
            Arc::make_mut(&mut self.revoked).extend(&ruled, &judged, before);
        } else {
            self.revoked = Arc::new(Revoked::of(&ruled, &judged));
        }
        let mut judged = judged.into_iter();
        for log in self.logs.values_mut() {
            let own: Vec<Judged> = judged.by_ref().take(log.branches().count()).collect();
            if log.is_judged_otherwise(&own) {
                Arc::make_mut(log).judge(own);
            }
        }
    }

    /// Whether everything effective before is there and effective still.
    fn only_adds(&self, judged: &[Judged]) -> bool {
        let stays =
            |(before, now): (&Standing, &Standing)| !before.is_effective() || now.is_effective();
        let mut before = self
            .logs
            .values()
            .flat_map(|log| log.standings())
            .zip(judged);
        !self.logs.values().any(|log| log.is_replaced())
            && before.all(|(before, now)| before.iter().zip(&now.standings).all(stays))
    }

    /// Finds the newest timestamp of which everything is in force.
    fn recomplete(&mut self) {
        let holds = |t: &&Arc<VerifiedTimestamp>| self.named_beyond(t.content()).is_empty();
        let complete = self.timestamps.values().filter(holds);
        let newest = complete.max_by_key(|t| t.time()).map(Arc::clone);
        let held = self.complete.take();
        let held = held.filter(|t| self.root.timestamper(&t.content().timestamper).is_some());
        self.complete = [held, newest]
            .into_iter()
            .flatten()
            .max_by_key(|t| t.time());
    }
}

/// What is missing of a bundle of which only the head is here.
fn body_of(head: &VerifiedBundleHead) -> Missing {
    let content = head.content();
    Missing::BundleBody {
        version: content.version,
        body: content.body,
        length: content.body_length,
    }
}

/// Entries that were effective and by the rules alone no longer are.
fn fallen(logs: &BTreeMap<SignerId, Arc<AdminLog>>, judged: &[Judged]) -> Vec<EntryId> {
    let before = logs
        .values()
        .flat_map(|log| log.ruled().zip(log.standings()));
    let mut all = Vec::new();
    for ((ruled, before), now) in before.zip(judged) {
        let pairs = before.iter().zip(&now.standings);
        for (kept, (before, now)) in ruled.log.entries().iter().zip(pairs) {
            if before.is_effective() && now.is_beyond() {
                all.push(kept.cause.entry);
            }
        }
    }
    all
}

fn still_held(ruled: &[Ruled<'_>], judged: &[Judged]) -> HashSet<EntryId> {
    let entries = ruled.iter().zip(judged).flat_map(|(ruled, judged)| {
        let standings = judged.standings.iter();
        ruled.log.entries().iter().zip(standings)
    });
    entries
        .filter(|(_, standing)| **standing == Standing::Held)
        .map(|(kept, _)| kept.cause.entry)
        .collect()
}
