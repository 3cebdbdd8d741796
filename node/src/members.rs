//! The directory: what the verified membership of every member this node knows says, and the latest
//! node record it signed.
//!
//! It keeps facts, not documents: 10,000 members take less than 64 MiB. Their bytes are on disk,
//! and known again by the digest among the facts. Only verified documents get in. A member is known by its [`NodeId`]; two members of one name
//! are both kept and the name then resolves to neither, so that nobody is shadowed. A node whose
//! place another took by rotating its keys is refused from then on. A membership that its issuer
//! should not have signed, beyond its rate or with a sequence used before, gets in nowhere and does
//! nothing; [`alarms`] keeps that for the operator.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use protocol::crypto::Crypto;
use protocol::id::{Digest, NodeId, SignerId};
use protocol::mcp::Hints;
use protocol::name::Name;
use protocol::time::UnixSeconds;
use protocol::trust::{
    IssuerRates, MemberFacts, NodeRecord, Posture, RecordFacts, TrustError, VerifiedMembership,
    VerifiedRoot,
};

use crate::standing::Standing;

pub mod alarms;

use alarms::{Alarms, IssuerAlarm};

/// Most members known at once: what DESIGN says a mesh may have, and then some.
pub const MAX_MEMBERS: usize = 12_000;

/// A member as this node knows it.
#[derive(Debug, Clone)]
pub struct Member {
    /// What its membership says.
    pub membership: Arc<MemberFacts>,
    /// What the latest record it signed says, if one came.
    pub record: Option<Arc<RecordFacts>>,
}

/// Who took the place of a node.
#[derive(Debug, Clone)]
struct Replaced {
    by: NodeId,
    /// Of the membership that says so; one of another issuer is kept in its stead.
    issuer: SignerId,
    /// That membership, until it is on disk.
    unkept: Option<Arc<[u8]>>,
}

/// Why a document did not change the directory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// It does not hold.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// One at least as new is known.
    #[error("a record at least as new is known")]
    Stale,
    /// The root changed while it was verified; it comes again.
    #[error("the root changed while the document was verified")]
    RootChanged,
    /// Another node has taken its place by rotating its keys.
    #[error("node {} has taken its place: its keys were rotated", .0.short())]
    Superseded(NodeId),
    /// The directory is full.
    #[error("more than {MAX_MEMBERS} members")]
    Full,
}

impl DirectoryError {
    /// Whether the document holds but is of no use any more; its sender did nothing wrong.
    #[must_use]
    pub const fn is_stale(&self) -> bool {
        matches!(
            self,
            Self::Stale
                | Self::RootChanged
                | Self::Superseded(_)
                | Self::Trust(
                    TrustError::RecordExpired(_)
                        | TrustError::Expired(_)
                        // Its sender may have heard of others before, and be right to hold it.
                        | TrustError::IssuerTooFast(_)
                        | TrustError::IssuerEquivocates(_)
                )
        )
    }
}

/// How a name resolves.
#[derive(Debug, Clone)]
pub enum Resolved {
    /// To one member.
    One(Arc<Member>),
    /// To none.
    Nobody,
    /// To several, which is an error naming them.
    Several(Vec<NodeId>),
}

/// The directory of one node.
pub struct Members {
    crypto: Arc<dyn Crypto>,
    root: RwLock<Arc<VerifiedRoot>>,
    standing: OnceLock<Arc<Standing>>,
    map: RwLock<BTreeMap<NodeId, Arc<Member>>>,
    /// Nodes that were replaced, and by whom; locked after `map`.
    replaced: RwLock<BTreeMap<NodeId, Replaced>>,
    /// What is known of each issuer's work; locked after `map`.
    rates: RwLock<IssuerRates>,
    alarms: Alarms,
    /// Names of revoked nodes that are on disk.
    names: RwLock<BTreeMap<NodeId, Name>>,
    /// What many nodes say of their state in the same words.
    postures: Mutex<HashSet<Arc<Posture>>>,
    changes: tokio::sync::watch::Sender<u64>,
}

impl Members {
    /// An empty directory under `root`.
    #[must_use]
    pub fn new(crypto: Arc<dyn Crypto>, root: Arc<VerifiedRoot>) -> Self {
        let changes = tokio::sync::watch::Sender::new(0);
        Self {
            crypto,
            root: RwLock::new(root),
            standing: OnceLock::new(),
            map: RwLock::new(BTreeMap::new()),
            replaced: RwLock::default(),
            rates: RwLock::default(),
            postures: Mutex::default(),
            alarms: Alarms::default(),
            names: RwLock::default(),
            changes,
        }
    }

    /// Ticks whenever the directory changes.
    #[must_use]
    pub fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Puts another root in force: members whose membership does not hold under it, because its
    /// issuer is gone or may grant less, are forgotten until they show a new one. Returns who.
    pub fn replace_root(&self, root: Arc<VerifiedRoot>) -> Vec<NodeId> {
        *self.root.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&root);
        // Whatever was verified under the root before and is not in the map yet is refused by
        // `insert`, so this look at the map misses nobody.
        // It goes by the facts: the bytes of a membership heard in a hello may not be on disk, and
        // ten thousand signatures would hold up whatever revoked the issuer for a second.
        let holds = |m: &Member| m.membership.holds_under(&root).is_ok();
        let gone: Vec<NodeId> = self
            .all()
            .iter()
            .filter(|m| !holds(m))
            .map(|m| m.membership.node())
            .collect();
        self.forget(&gone);
        gone
    }

    /// Forgets members: revoked ones, or such as no root in force vouches for.
    pub fn forget(&self, nodes: &[NodeId]) {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        let before = map.len();
        map.retain(|node, _| !nodes.contains(node));
        let changed = map.len() != before;
        drop(map);
        if changed {
            self.changes.send_modify(|n| *n = n.wrapping_add(1));
        }
    }

    fn root(&self) -> Arc<VerifiedRoot> {
        Arc::clone(&self.root.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Verifies a membership and takes it in, unless a longer-lasting one of the node is known.
    ///
    /// # Errors
    /// [`DirectoryError::Trust`] if it does not hold at `now`.
    pub fn learn_membership(
        &self,
        bytes: &[u8],
        now: UnixSeconds,
    ) -> Result<Arc<Member>, DirectoryError> {
        let digest = Digest::from_bytes(self.crypto.sha256(&[bytes]));
        let known = {
            let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
            map.values()
                .find(|m| m.membership.digest() == digest)
                .cloned()
        };
        if let Some(member) = known {
            member.membership.valid_at(now)?;
            return Ok(member);
        }
        let root = self.root();
        let membership = VerifiedMembership::verify(&*self.crypto, &root, bytes)?;
        membership.valid_at(now)?;
        self.insert(&root, &membership, None)
    }

    /// Whether its issuer may have signed this membership beside all others known of it; does not
    /// take note of it.
    ///
    /// # Errors
    /// [`TrustError::IssuerTooFast`], [`TrustError::IssuerEquivocates`],
    /// [`TrustError::UnknownIssuer`].
    pub fn judge_issuer(&self, membership: &VerifiedMembership) -> Result<(), TrustError> {
        let root = self.root();
        let rates = self.rates.read().unwrap_or_else(PoisonError::into_inner);
        rates.judge(&*self.crypto, &root, membership)
    }

    /// Takes note of a membership that is acted on without getting into the directory: one that is
    /// shown to be renewed.
    ///
    /// # Errors
    /// As [`Members::judge_issuer`]; the operator is told.
    pub fn note_issued(&self, membership: &VerifiedMembership) -> Result<(), TrustError> {
        self.note_under(&self.root(), membership)
    }

    fn note_under(
        &self,
        root: &VerifiedRoot,
        membership: &VerifiedMembership,
    ) -> Result<(), TrustError> {
        let mut rates = self.rates.write().unwrap_or_else(PoisonError::into_inner);
        let noted = rates.note(&*self.crypto, root, membership);
        drop(rates);
        if let Err(error) = &noted {
            self.alarms.raise(membership, error);
        }
        noted
    }

    /// Issuers that signed what they should not have, as far as this node has seen.
    #[must_use]
    pub fn issuer_alarms(&self) -> Vec<IssuerAlarm> {
        self.alarms.list()
    }

    /// Verifies a node record and takes it in if it is newer than the one known.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub fn learn_record(
        &self,
        bytes: &[u8],
        now: UnixSeconds,
    ) -> Result<Arc<Member>, DirectoryError> {
        let root = self.root();
        let record = NodeRecord::verify(&*self.crypto, &root, bytes, now)?;
        let node = record.membership.node();
        if let Some(known) = self.member(&node).and_then(|m| m.record.clone())
            && known.sequence >= record.content.sequence
        {
            return Err(DirectoryError::Stale);
        }
        let mut facts = record.facts(&*self.crypto);
        facts.share_posture(&mut self.postures.lock().unwrap_or_else(PoisonError::into_inner));
        self.insert(&root, &record.membership, Some(Arc::new(facts)))
    }

    fn insert(
        &self,
        under: &VerifiedRoot,
        membership: &VerifiedMembership,
        record: Option<Arc<RecordFacts>>,
    ) -> Result<Arc<Member>, DirectoryError> {
        let node = membership.node();
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        if self.root().root().version != under.root().version {
            return Err(DirectoryError::RootChanged);
        }
        if let Some(by) = self.replaced_by(&node) {
            return Err(DirectoryError::Superseded(by));
        }
        self.note_under(under, membership)?;
        self.replace_nodes(&mut map, membership, false);
        let known = map.get(&node).cloned();
        if known.is_none() && map.len() >= MAX_MEMBERS {
            return Err(DirectoryError::Full);
        }
        let known_record = known.as_ref().and_then(|m| m.record.clone());
        // Again, under the lock: two records may have been verified at the same time, and the older
        // one must not undo the newer.
        if let (Some(known), Some(new)) = (&known_record, &record)
            && known.sequence >= new.sequence
        {
            return Err(DirectoryError::Stale);
        }
        let newest = |m: &Arc<Member>| m.membership.not_after > membership.content().not_after;
        let membership = match &known {
            Some(m) if newest(m) => Arc::clone(&m.membership),
            _ => Arc::clone(membership.facts()),
        };
        let member = Arc::new(Member {
            membership,
            record: record.or(known_record),
        });
        map.insert(node, Arc::clone(&member));
        drop(map);
        self.changes.send_modify(|n| *n = n.wrapping_add(1));
        Ok(member)
    }

    /// Takes note of the nodes whose place `membership` takes, unless the one known under that id
    /// has another name: an issuer must not end whom it likes.
    fn replace_nodes(
        &self,
        map: &mut BTreeMap<NodeId, Arc<Member>>,
        membership: &VerifiedMembership,
        kept: bool,
    ) {
        for old in membership.content().replaces.iter().flatten() {
            let other = map
                .get(old)
                .is_some_and(|m| m.membership.name != membership.content().name);
            let mut replaced = self
                .replaced
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            if other || (replaced.len() >= MAX_MEMBERS && !replaced.contains_key(old)) {
                tracing::warn!(
                    node = %old.short(),
                    by = %membership.node().short(),
                    "a membership that claims the place of another node is not heeded"
                );
                continue;
            }
            let (by, issuer) = (membership.node(), membership.issuer());
            let same = |known: &Replaced| known.by == by && known.issuer == issuer;
            if !replaced.get(old).is_some_and(same) {
                let unkept = (!kept).then(|| Arc::from(membership.bytes()));
                replaced.insert(*old, Replaced { by, issuer, unkept });
            }
            map.remove(old);
        }
    }

    /// Restores what was learnt before: `membership` took the place of others.
    ///
    /// # Errors
    /// [`DirectoryError::Trust`] if it does not hold; that it has ended does not matter.
    pub fn restore_replaced(&self, membership: &[u8]) -> Result<(), DirectoryError> {
        let root = self.root();
        let membership = VerifiedMembership::verify(&*self.crypto, &root, membership)?;
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        // It was judged when it was learnt; that of all others little may be known yet changes
        // nothing.
        drop(self.note_under(&root, &membership));
        self.replace_nodes(&mut map, &membership, true);
        Ok(())
    }

    /// The node that took the place of this one, if one did.
    #[must_use]
    pub fn replaced_by(&self, node: &NodeId) -> Option<NodeId> {
        let replaced = self.replaced.read().unwrap_or_else(PoisonError::into_inner);
        replaced.get(node).map(|known| known.by)
    }

    /// Every node that was replaced and is not on disk as such, with the membership that says so.
    #[must_use]
    pub fn unkept_replaced(&self) -> Vec<(NodeId, Arc<[u8]>)> {
        let replaced = self.replaced.read().unwrap_or_else(PoisonError::into_inner);
        let unkept = replaced.iter();
        unkept
            .filter_map(|(old, by)| Some((*old, Arc::clone(by.unkept.as_ref()?))))
            .collect()
    }

    /// Lets go of what [`Members::unkept_replaced`] returned and is on disk now.
    pub fn replaced_kept(&self, kept: &[(NodeId, Arc<[u8]>)]) {
        let mut replaced = self
            .replaced
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        for (old, bytes) in kept {
            if let Some(known) = replaced.get_mut(old) {
                // Another one may have come in its stead meanwhile.
                known.unkept.take_if(|unkept| Arc::ptr_eq(unkept, bytes));
            }
        }
    }

    /// The member, if known; its membership may have expired since.
    #[must_use]
    pub fn member(&self, node: &NodeId) -> Option<Arc<Member>> {
        self.map
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(node)
            .cloned()
    }

    /// The member, if known and valid at `now`.
    #[must_use]
    pub fn valid(&self, node: &NodeId, now: UnixSeconds) -> Option<Arc<Member>> {
        self.member(node)
            .filter(|m| m.membership.valid_at(now).is_ok())
    }

    /// Every member, by id.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Member>> {
        self.map
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    /// Takes notice of who is barred, for names: called once, by whoever builds the node.
    pub fn attend(&self, standing: Arc<Standing>) {
        drop(self.standing.set(standing));
    }

    /// The name of a node, of a revoked one also where only its name was kept.
    #[must_use]
    pub fn name(&self, node: &NodeId) -> Option<Name> {
        let kept = || {
            let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
            names.get(node).cloned()
        };
        let member = self.member(node);
        member.map(|m| m.membership.name.clone()).or_else(kept)
    }

    /// Names of these nodes that are known and not kept yet.
    #[must_use]
    pub fn unkept_names<'a>(
        &self,
        revoked: impl Iterator<Item = &'a NodeId>,
    ) -> Vec<(NodeId, Name)> {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        revoked
            .filter(|node| !names.contains_key(node))
            .filter_map(|node| Some((*node, map.get(node)?.membership.name.clone())))
            .take(MAX_MEMBERS.saturating_sub(names.len()))
            .collect()
    }

    /// These names are on disk.
    pub fn names_kept(&self, kept: impl IntoIterator<Item = (NodeId, Name)>) {
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        names.extend(kept);
    }

    /// Revoked nodes of which nothing is known but their names.
    #[must_use]
    pub fn names_only(&self) -> Vec<(NodeId, Name)> {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        let gone = names.iter().filter(|(node, _)| !map.contains_key(node));
        gone.map(|(node, name)| (*node, name.clone())).collect()
    }

    /// Whether the node, or the issuer of its membership, is revoked.
    #[must_use]
    pub fn is_barred(&self, member: &Member) -> bool {
        let standing = self.standing.get();
        standing.is_some_and(|standing| standing.member(&member.membership).is_err())
    }

    /// The member of that name, valid at `now`. A barred one is meant only where nobody else has the
    /// name, which is free again.
    #[must_use]
    pub fn resolve(&self, name: &Name, now: UnixSeconds) -> Resolved {
        let mut found: Vec<Arc<Member>> = self
            .all()
            .into_iter()
            .filter(|m| m.membership.name == *name)
            .filter(|m| m.membership.valid_at(now).is_ok())
            .collect();
        if found.iter().any(|m| !self.is_barred(m)) {
            found.retain(|m| !self.is_barred(m));
        }
        match (found.len(), found.pop()) {
            (1, Some(member)) => Resolved::One(member),
            (_, None) => Resolved::Nobody,
            (_, Some(last)) => Resolved::Several(
                found
                    .iter()
                    .chain([&last])
                    .map(|m| m.membership.node())
                    .collect(),
            ),
        }
    }
}

impl Member {
    /// The digest this node last announced for a tool of one of its servers.
    #[must_use]
    pub fn tool_digest(&self, server: &Name, tool: &str) -> Option<Digest> {
        self.tool(server, tool).map(|(digest, _)| digest)
    }

    /// The same, with what the definition's annotations add to the intents of a call.
    #[must_use]
    pub fn tool(&self, server: &Name, tool: &str) -> Option<(Digest, Hints)> {
        let servers = &self.record.as_ref()?.servers;
        let server = servers.iter().find(|s| s.name == *server)?;
        server.tools.find(tool)
    }
}

#[cfg(test)]
mod tests;
