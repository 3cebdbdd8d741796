//! The root: which keys may speak for a mesh, in which role, with which limits.

use std::collections::HashSet;

use super::{Bytes, TrustError, document_hash, parse_document, sign_document, unique};
use crate::cose::Quorum;
use crate::crypto::{
    Crypto, CryptoError, Signer, SigningSet, Suite, domain, domain::content_type, join_digest,
};
use crate::id::{Digest, MeshId, NodeId, SignerId};
use crate::limits::{MAX_LOG_ENTRIES, MAX_RETIRED, MAX_ROLE_KEYS};
use crate::name::Name;
use crate::time::UnixSeconds;

/// Longest membership any root may allow, in seconds: 400 days.
pub const MAX_MEMBERSHIP_LIFE_S: u64 = 400 * 24 * 3600;

/// Most nodes named as hosts of a role: each issuer and each timestamper once.
const MAX_ROLE_HOSTS: usize = 2 * MAX_ROLE_KEYS;

/// Most names in one of an issuer's limits.
const MAX_ISSUER_NAMES: usize = 64;

/// An issuer and what it may grant.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Issuer {
    /// Its signing set.
    #[n(1)]
    pub keys: SigningSet,
    /// The groups it may grant; absent means any.
    #[n(2)]
    pub groups: Option<Vec<Name>>,
    /// The sites it may grant; absent means any.
    #[n(3)]
    pub sites: Option<Vec<Name>>,
    /// Longest membership it may issue, in seconds.
    #[n(4)]
    pub max_life_s: u64,
    /// Most memberships it may issue in an hour.
    #[n(5)]
    pub max_per_hour: u64,
}

/// The content of a root document.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Root {
    /// Rises by one with every root; the genesis has 1.
    #[n(1)]
    pub version: u64,
    /// Rises when versions and times start anew; the genesis has 1.
    #[n(2)]
    pub epoch: u64,
    /// The mesh; absent in the genesis, whose content the identifier is the hash of.
    #[n(3)]
    pub mesh: Option<MeshId>,
    /// The mesh's name, for people.
    #[n(4)]
    pub name: Name,
    /// The crypto suite ([`Suite::byte`]).
    #[n(5)]
    pub suite: u8,
    /// When it was made.
    #[n(6)]
    pub created: UnixSeconds,
    /// The admins' signing sets.
    #[n(7)]
    pub admins: Vec<SigningSet>,
    /// How many of them must sign.
    #[n(8)]
    pub threshold: u64,
    /// Who may issue memberships.
    #[n(9)]
    pub issuers: Vec<Issuer>,
    /// Who may sign timestamps, any one of them.
    #[n(10)]
    pub timestampers: Vec<SigningSet>,
    /// Oldest timestamp under which write and egress tools still run, in seconds.
    #[n(11)]
    pub lease_s: u64,
    /// For how much longer read-only tools run, in seconds.
    #[n(12)]
    pub read_grace_s: u64,
    /// Sixteen random bytes, so that two meshes of one name and second differ.
    #[cbor(n(13), with = "minicbor::bytes")]
    pub nonce: Vec<u8>,
    /// Hash of the root before ([`VerifiedRoot::hash`]); absent in the genesis only.
    #[n(14)]
    pub previous: Option<Digest>,
    /// Every admin that ever left `admins`; absent while there is none.
    #[n(15)]
    pub retired: Option<Vec<Retired>>,
    /// The nodes that issuers and timestampers run on, sorted; absent while none is named. One admin
    /// alone revokes none of them.
    #[n(16)]
    pub hosts: Option<Vec<RoleHost>>,
}

/// Where a key of a role is: revoking that node would take the role's holder away.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, minicbor::Encode, minicbor::Decode,
)]
#[cbor(map)]
pub struct RoleHost {
    /// The issuer or timestamper. Of a key that holds no role an entry says nothing.
    #[n(1)]
    pub signer: SignerId,
    /// The node it runs on.
    #[n(2)]
    pub node: NodeId,
}

/// An admin who is one no more, and how much of its revocation log goes on counting.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Retired {
    /// Its signing set; it never holds a role again.
    #[n(1)]
    pub admin: SigningSet,
    /// How many entries of its log count.
    #[n(2)]
    pub length: u64,
    /// The link of its log at that length, which binds them.
    #[n(3)]
    pub link: Digest,
}

impl Root {
    /// Signs this root by `admins`.
    ///
    /// # Errors
    /// [`CryptoError`] if a signature could not be made.
    pub fn sign(
        &self,
        crypto: &dyn Crypto,
        admins: &[&dyn Signer],
    ) -> Result<Vec<u8>, CryptoError> {
        let aad = self.external_aad();
        sign_document(crypto, admins, content_type::ROOT, self, &aad)
    }

    /// The genesis is signed with empty `external_aad` (its mesh has no identifier yet), every
    /// later root with the mesh's.
    fn external_aad(&self) -> Vec<u8> {
        self.mesh
            .map(|mesh| mesh.as_bytes().to_vec())
            .unwrap_or_default()
    }

    pub(super) fn validate(&self) -> Result<(), TrustError> {
        if Suite::from_byte(self.suite).is_none() {
            return Err(TrustError::Suite(self.suite));
        }
        if self.version == 0 || self.epoch == 0 {
            return Err(TrustError::Field("version"));
        }
        roles("admins", &self.admins)?;
        roles("timestampers", &self.timestampers)?;
        let issuer_keys: Vec<SigningSet> = self.issuers.iter().map(|i| i.keys.clone()).collect();
        roles("issuers", &issuer_keys)?;
        self.validate_retired()?;
        self.validate_hosts()?;
        self.refuse_shared_keys(&issuer_keys)?;
        if self.threshold == 0 || self.threshold > self.admins.len() as u64 {
            return Err(TrustError::Field("threshold"));
        }
        if self.lease_s == 0 {
            return Err(TrustError::Field("lease_s"));
        }
        if self.nonce.len() != 16 {
            return Err(TrustError::Field("nonce"));
        }
        self.issuers.iter().try_for_each(Issuer::validate)
    }

    fn validate_retired(&self) -> Result<(), TrustError> {
        let holds = |list: &Vec<Retired>| {
            !list.is_empty()
                && list.len() <= MAX_RETIRED
                && list
                    .iter()
                    .all(|r| r.admin.is_well_formed() && r.length <= MAX_LOG_ENTRIES)
        };
        if self.retired.as_ref().is_none_or(holds) {
            Ok(())
        } else {
            Err(TrustError::Field("retired"))
        }
    }

    fn validate_hosts(&self) -> Result<(), TrustError> {
        let holds = |list: &Vec<RoleHost>| {
            let ascending = list.windows(2).all(|w| matches!(w, [a, b] if a < b));
            !list.is_empty() && list.len() <= MAX_ROLE_HOSTS && ascending
        };
        if self.hosts.as_ref().is_none_or(holds) {
            Ok(())
        } else {
            Err(TrustError::Field("hosts"))
        }
    }

    /// The nodes that role keys run on, none if the field is absent.
    #[must_use]
    pub fn hosts(&self) -> &[RoleHost] {
        self.hosts.as_deref().unwrap_or_default()
    }

    /// Names these hosts: sorted, each once, the field absent if there is none.
    pub fn name_hosts(&mut self, mut hosts: Vec<RoleHost>) {
        hosts.sort_unstable();
        hosts.dedup();
        self.hosts = (!hosts.is_empty()).then_some(hosts);
    }

    /// The retired admins, none if the field is absent.
    #[must_use]
    pub fn retired(&self) -> &[Retired] {
        self.retired.as_deref().unwrap_or_default()
    }

    /// The threshold as a count.
    #[must_use]
    pub fn needed(&self) -> usize {
        usize::try_from(self.threshold).unwrap_or(usize::MAX)
    }

    /// The quorum of admins that signs documents.
    #[must_use]
    pub fn quorum(&self) -> Quorum<'_> {
        Quorum {
            sets: &self.admins,
            needed: self.needed(),
        }
    }

    /// Signing sets are independent: no half of one stands in another, in whichever role, nor in
    /// one that was retired.
    fn refuse_shared_keys(&self, issuers: &[SigningSet]) -> Result<(), TrustError> {
        let retired = self.retired().iter().map(|r| &r.admin);
        let sets = self.admins.iter().chain(issuers).chain(&self.timestampers);
        let mut halves: Vec<&[u8]> = sets
            .chain(retired)
            .flat_map(|set| Suite::Hybrid.algorithms().iter().map(|&a| set.key(a)))
            .collect();
        halves.sort_unstable();
        if halves.windows(2).any(|w| matches!(w, [a, b] if a == b)) {
            return Err(TrustError::Field("signing sets"));
        }
        Ok(())
    }

    /// Whether everybody who left since `before` is listed as retired, and those listed before are
    /// listed unchanged.
    fn retires_all_of(&self, before: &Self) -> bool {
        let (old, new) = (before.retired(), self.retired());
        let kept = old.iter().all(|r| new.contains(r));
        let gone = |admin: &&SigningSet| !self.admins.contains(admin);
        let listed = |admin: &SigningSet| new.iter().any(|r| r.admin == *admin);
        kept && before.admins.iter().filter(gone).all(listed)
            && new
                .iter()
                .all(|r| old.contains(r) || before.admins.contains(&r.admin))
    }
}

impl Issuer {
    fn validate(&self) -> Result<(), TrustError> {
        let names = |list: &Option<Vec<Name>>| {
            list.as_ref()
                .is_none_or(|l| l.len() <= MAX_ISSUER_NAMES && unique(l))
        };
        if !names(&self.groups) || !names(&self.sites) {
            return Err(TrustError::Field("issuer limits"));
        }
        if self.max_life_s == 0 || self.max_life_s > MAX_MEMBERSHIP_LIFE_S {
            return Err(TrustError::Field("issuer max_life_s"));
        }
        Ok(())
    }
}

fn roles(field: &'static str, keys: &[SigningSet]) -> Result<(), TrustError> {
    let bounded = !keys.is_empty() && keys.len() <= MAX_ROLE_KEYS;
    if !bounded || !unique(keys) || !keys.iter().all(SigningSet::is_well_formed) {
        return Err(TrustError::Field(field));
    }
    Ok(())
}

/// A root whose admins' threshold holds, and that of the root before. Only
/// [`VerifiedRoot::genesis`] and [`VerifiedRoot::successor`] make one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedRoot {
    root: Root,
    mesh: MeshId,
    hash: Digest,
    admins: Vec<SignerId>,
    issuers: Vec<SignerId>,
    timestampers: Vec<SignerId>,
    retired: Vec<SignerId>,
    role_hosts: HashSet<NodeId>,
    /// The greatest rate any root before this one gave each of its issuers.
    earlier_rates: Vec<(SignerId, u64)>,
    bytes: Bytes,
}

impl VerifiedRoot {
    /// Verifies a genesis root: version and epoch 1, nothing before it, and signed by its own
    /// threshold. Whether it is *the* root one means is decided by comparing
    /// [`VerifiedRoot::mesh`] with a MeshId that came another way.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn genesis(crypto: &dyn Crypto, bytes: &[u8]) -> Result<Self, TrustError> {
        let (cose, root) = parse_document::<Root>(bytes, content_type::ROOT)?;
        root.validate()?;
        if root.version != 1 || root.epoch != 1 || root.mesh.is_some() {
            return Err(TrustError::Field("version"));
        }
        if root.previous.is_some() || root.retired.is_some() {
            return Err(TrustError::Field("previous"));
        }
        cose.verify_quorums(crypto, &[root.quorum()], &root.external_aad())?;
        let mesh = mesh_id(crypto, cose.payload);
        Ok(Self::of(crypto, root, mesh, cose.payload, bytes.into()))
    }

    /// Verifies the root that follows this one: the next version, chained to this root's content,
    /// signed by this root's threshold of its admins *and* by its own threshold of its own.
    ///
    /// # Errors
    /// [`TrustError`]: [`TrustError::NotNextRoot`] for any other version than the next,
    /// [`TrustError::Unchained`] if it does not name this root as the one before,
    /// [`TrustError::WrongEpoch`] if the epoch is neither the same nor the next.
    pub fn successor(&self, crypto: &dyn Crypto, bytes: &Bytes) -> Result<Self, TrustError> {
        let (cose, root) = parse_document::<Root>(bytes, content_type::ROOT)?;
        root.validate()?;
        if root.mesh != Some(self.mesh) {
            return Err(TrustError::ForeignMesh);
        }
        let (own, expected) = (&self.root, self.root.version.saturating_add(1));
        if root.version != expected {
            let found = root.version;
            return Err(TrustError::NotNextRoot { expected, found });
        }
        if root.epoch != own.epoch && Some(root.epoch) != own.epoch.checked_add(1) {
            let (expected, found) = (own.epoch, root.epoch);
            return Err(TrustError::WrongEpoch { expected, found });
        }
        if root.previous != Some(self.hash) {
            return Err(TrustError::Unchained);
        }
        if root.suite != own.suite {
            return Err(TrustError::Suite(root.suite));
        }
        if !root.retires_all_of(own) {
            return Err(TrustError::Field("retired"));
        }
        let aad = root.external_aad();
        cose.verify_quorums(crypto, &[own.quorum(), root.quorum()], &aad)?;
        let bytes = Bytes::clone(bytes);
        let mut next = Self::of(crypto, root, self.mesh, cose.payload, bytes);
        next.earlier_rates = next.issuers.iter().filter_map(|id| self.most(id)).collect();
        Ok(next)
    }

    fn of(crypto: &dyn Crypto, root: Root, mesh: MeshId, payload: &[u8], bytes: Bytes) -> Self {
        let ids =
            |sets: &[SigningSet]| -> Vec<SignerId> { sets.iter().map(|s| s.id(crypto)).collect() };
        let issuers: Vec<SignerId> = root.issuers.iter().map(|i| i.keys.id(crypto)).collect();
        let timestampers = ids(&root.timestampers);
        let in_office = |host: &&RoleHost| {
            issuers.contains(&host.signer) || timestampers.contains(&host.signer)
        };
        let hosts = root.hosts().iter().filter(in_office);
        Self {
            mesh,
            hash: document_hash(crypto, content_type::ROOT, payload),
            admins: ids(&root.admins),
            role_hosts: hosts.map(|host| host.node).collect(),
            issuers,
            timestampers,
            retired: root.retired().iter().map(|r| r.admin.id(crypto)).collect(),
            earlier_rates: Vec::new(),
            bytes,
            root,
        }
    }

    /// The greatest rate of an issuer up to this root.
    fn most(&self, id: &SignerId) -> Option<(SignerId, u64)> {
        let earlier = self.earlier_rates.iter().find(|(known, _)| known == id);
        let own = self.issuer(id).map(|issuer| issuer.max_per_hour);
        let most = own.max(earlier.map(|(_, rate)| *rate));
        most.map(|rate| (*id, rate))
    }

    /// How many memberships of an issuer may begin in the hour around `begins`: what this root
    /// says, and for what begins before this root was made, the greatest that was ever allowed.
    #[must_use]
    pub fn issuer_rate(&self, id: &SignerId, begins: UnixSeconds) -> Option<u64> {
        let rate = self.issuer(id)?.max_per_hour;
        if begins >= self.root.created {
            return Some(rate);
        }
        self.most(id).map(|(_, most)| most)
    }

    /// Reads the content of a root; verifies nothing.
    ///
    /// # Errors
    /// [`TrustError`] if it is none.
    pub fn peek(bytes: &[u8]) -> Result<Root, TrustError> {
        let (_, root) = parse_document::<Root>(bytes, content_type::ROOT)?;
        root.validate()?;
        Ok(root)
    }

    /// The content.
    #[must_use]
    pub const fn root(&self) -> &Root {
        &self.root
    }

    /// The mesh: that of the genesis.
    #[must_use]
    pub const fn mesh(&self) -> MeshId {
        self.mesh
    }

    /// The hash of the content, which the next root and timestamps name.
    #[must_use]
    pub const fn hash(&self) -> Digest {
        self.hash
    }

    /// The exact bytes that were verified.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The exact bytes, shared.
    #[must_use]
    pub fn shared(&self) -> Bytes {
        Bytes::clone(&self.bytes)
    }

    /// The admin with this identifier.
    #[must_use]
    pub fn admin(&self, id: &SignerId) -> Option<&SigningSet> {
        by_id(&self.admins, &self.root.admins, id)
    }

    /// The issuer with this identifier.
    #[must_use]
    pub fn issuer(&self, id: &SignerId) -> Option<&Issuer> {
        by_id(&self.issuers, &self.root.issuers, id)
    }

    /// The timestamper with this identifier.
    #[must_use]
    pub fn timestamper(&self, id: &SignerId) -> Option<&SigningSet> {
        by_id(&self.timestampers, &self.root.timestampers, id)
    }

    /// The retired admin with this identifier.
    #[must_use]
    pub fn retired(&self, id: &SignerId) -> Option<&Retired> {
        by_id(&self.retired, self.root.retired(), id)
    }

    /// The admins' identifiers, in the order of [`Root::admins`].
    #[must_use]
    pub fn admin_ids(&self) -> &[SignerId] {
        &self.admins
    }

    /// The issuers' identifiers, in the order of [`Root::issuers`].
    #[must_use]
    pub fn issuer_ids(&self) -> &[SignerId] {
        &self.issuers
    }

    /// The timestampers' identifiers, in the order of [`Root::timestampers`].
    #[must_use]
    pub fn timestamper_ids(&self) -> &[SignerId] {
        &self.timestampers
    }

    /// The nodes that the issuers and timestampers run on, as far as the root names them.
    #[must_use]
    pub const fn role_hosts(&self) -> &HashSet<NodeId> {
        &self.role_hosts
    }

    /// The retired admins' identifiers, in the order of [`Root::retired`].
    #[must_use]
    pub fn retired_ids(&self) -> &[SignerId] {
        &self.retired
    }
}

fn by_id<'a, T>(ids: &[SignerId], items: &'a [T], id: &SignerId) -> Option<&'a T> {
    let at = ids.iter().position(|known| known == id)?;
    items.get(at)
}

/// SHA-256 over label and the content of a genesis root.
fn mesh_id(crypto: &dyn Crypto, content: &[u8]) -> MeshId {
    MeshId::from_bytes(join_digest(crypto, domain::MESH_ID, &[content]))
}
