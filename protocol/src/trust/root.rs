//! The root: which keys may speak for a mesh, in which role, with which limits.

use super::{TrustError, parse_document, sign_document, unique};
use crate::crypto::{
    Crypto, CryptoError, Signer, SigningSet, Suite, domain, domain::content_type, join_digest,
};
use crate::id::MeshId;
use crate::limits::MAX_ROLE_KEYS;
use crate::name::Name;
use crate::time::UnixSeconds;

/// Longest membership any root may allow, in seconds: 400 days.
pub const MAX_MEMBERSHIP_LIFE_S: u64 = 400 * 24 * 3600;

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

    fn validate(&self) -> Result<(), TrustError> {
        if Suite::from_byte(self.suite).is_none() {
            return Err(TrustError::Suite(self.suite));
        }
        roles("admins", &self.admins)?;
        roles("timestampers", &self.timestampers)?;
        let issuer_keys: Vec<SigningSet> = self.issuers.iter().map(|i| i.keys.clone()).collect();
        roles("issuers", &issuer_keys)?;
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
}

impl Root {
    /// Signing sets are independent: no half of one stands in another, in whichever role.
    fn refuse_shared_keys(&self, issuers: &[SigningSet]) -> Result<(), TrustError> {
        let sets = self.admins.iter().chain(issuers).chain(&self.timestampers);
        let mut halves: Vec<&[u8]> = sets
            .flat_map(|set| Suite::Hybrid.algorithms().iter().map(|&a| set.key(a)))
            .collect();
        halves.sort_unstable();
        if halves.windows(2).any(|w| matches!(w, [a, b] if a == b)) {
            return Err(TrustError::Field("signing sets"));
        }
        Ok(())
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

/// A genesis root whose admin threshold holds. Only [`VerifiedRoot::genesis`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedRoot {
    root: Root,
    mesh: MeshId,
    bytes: Vec<u8>,
}

impl VerifiedRoot {
    /// Verifies a genesis root: version and epoch 1, and signed by its own threshold. Whether it
    /// is *the* root one means is decided by comparing [`VerifiedRoot::mesh`] with a MeshId that
    /// came another way.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn genesis(crypto: &dyn Crypto, bytes: &[u8]) -> Result<Self, TrustError> {
        let (cose, root) = parse_document::<Root>(bytes, content_type::ROOT)?;
        root.validate()?;
        if root.version != 1 || root.epoch != 1 || root.mesh.is_some() {
            return Err(TrustError::Field("version"));
        }
        let needed = usize::try_from(root.threshold).unwrap_or(usize::MAX);
        cose.verify_threshold(crypto, &root.admins, needed, &root.external_aad())?;
        let mesh = mesh_id(crypto, cose.payload);
        Ok(Self {
            root,
            mesh,
            bytes: bytes.to_vec(),
        })
    }

    /// The content.
    #[must_use]
    pub const fn root(&self) -> &Root {
        &self.root
    }

    /// The mesh it founds.
    #[must_use]
    pub const fn mesh(&self) -> MeshId {
        self.mesh
    }

    /// The exact bytes that were verified.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// SHA-256 over label and the content of a genesis root.
fn mesh_id(crypto: &dyn Crypto, content: &[u8]) -> MeshId {
    MeshId::from_bytes(join_digest(crypto, domain::MESH_ID, &[content]))
}
