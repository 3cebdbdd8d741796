//! Memberships: an issuer's signed admission of a node, and the request that asks for one.

use super::{TrustError, VerifiedRoot, parse_document, sign_document, unique};
use crate::crypto::{
    Crypto, CryptoError, Signer, SigningSet, TLS_PUBLIC_LEN, domain::content_type,
};
use crate::id::{Digest, MeshId, NodeId};
use crate::limits::{MAX_CLOCK_AHEAD_S, MAX_GROUPS};
use crate::name::Name;
use crate::time::UnixSeconds;

/// The content of a membership: it binds a node's key sets to a name, groups and a site.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Membership {
    /// The mesh.
    #[n(1)]
    pub mesh: MeshId,
    /// The node's composite TLS identity key, 1984 bytes; the NodeId is its SHA-256.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub tls_key: Vec<u8>,
    /// The node's signing set, used for COSE only.
    #[n(3)]
    pub signing: SigningSet,
    /// The node's name, unique in the mesh.
    #[n(4)]
    pub name: Name,
    /// Its groups; sorted, without repeats.
    #[n(5)]
    pub groups: Vec<Name>,
    /// Its site.
    #[n(6)]
    pub site: Option<Name>,
    /// Valid from this second.
    #[n(7)]
    pub not_before: UnixSeconds,
    /// Valid before this second.
    #[n(8)]
    pub not_after: UnixSeconds,
    /// Rises by one with every membership this issuer signs; limits count by it.
    #[n(9)]
    pub issuer_sequence: u64,
}

impl Membership {
    /// Signs this membership by an issuer.
    ///
    /// # Errors
    /// [`CryptoError`] if a signature could not be made.
    pub fn sign(&self, crypto: &dyn Crypto, issuer: &dyn Signer) -> Result<Vec<u8>, CryptoError> {
        let aad = self.mesh.as_bytes();
        sign_document(crypto, &[issuer], content_type::MEMBERSHIP, self, aad)
    }

    fn validate(&self) -> Result<(), TrustError> {
        if self.tls_key.len() != TLS_PUBLIC_LEN {
            return Err(TrustError::Field("tls_key"));
        }
        if !self.signing.is_well_formed() {
            return Err(TrustError::Field("signing"));
        }
        let sorted = self.groups.windows(2).all(|w| matches!(w, [a, b] if a < b));
        if self.groups.len() > MAX_GROUPS || !sorted {
            return Err(TrustError::Field("groups"));
        }
        if self.not_after <= self.not_before {
            return Err(TrustError::Field("not_after"));
        }
        Ok(())
    }
}

/// A membership signed by an issuer the root names, within that issuer's limits. Only
/// [`VerifiedMembership::verify`] makes one. Validity in time is asked for separately, because it
/// changes: [`VerifiedMembership::valid_at`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedMembership {
    content: Membership,
    node: NodeId,
    bytes: Vec<u8>,
}

impl VerifiedMembership {
    /// Verifies `bytes` under `root`.
    ///
    /// # Errors
    /// [`TrustError`], time excepted.
    pub fn verify(
        crypto: &dyn Crypto,
        root: &VerifiedRoot,
        bytes: &[u8],
    ) -> Result<Self, TrustError> {
        let (cose, content) = parse_document::<Membership>(bytes, content_type::MEMBERSHIP)?;
        content.validate()?;
        if content.mesh != root.mesh() {
            return Err(TrustError::ForeignMesh);
        }
        let kids = cose.single_signer()?;
        let issuer = root
            .root()
            .issuers
            .iter()
            .find(|issuer| {
                crate::crypto::Suite::Hybrid
                    .algorithms()
                    .iter()
                    .zip(&kids)
                    .all(|(&algorithm, kid)| issuer.keys.kid(crypto, algorithm) == *kid)
            })
            .ok_or(TrustError::UnknownIssuer)?;
        let within = |limit: &Option<Vec<Name>>, name: &Name| {
            limit.as_ref().is_none_or(|allowed| allowed.contains(name))
        };
        if !content.groups.iter().all(|g| within(&issuer.groups, g)) {
            return Err(TrustError::BeyondIssuer("group"));
        }
        if !content.site.iter().all(|s| within(&issuer.sites, s)) {
            return Err(TrustError::BeyondIssuer("site"));
        }
        if content.not_after.0 - content.not_before.0 > issuer.max_life_s {
            return Err(TrustError::BeyondIssuer("lifetime"));
        }
        cose.verify_one(crypto, &issuer.keys, root.mesh().as_bytes())?;
        let node = NodeId::of_tls_key(crypto, &content.tls_key);
        Ok(Self {
            content,
            node,
            bytes: bytes.to_vec(),
        })
    }

    /// Whether it is valid at `now`, with the tolerated clock difference at its start.
    ///
    /// # Errors
    /// [`TrustError::NotYetValid`] or [`TrustError::Expired`].
    pub fn valid_at(&self, now: UnixSeconds) -> Result<(), TrustError> {
        if now.plus(MAX_CLOCK_AHEAD_S) < self.content.not_before {
            return Err(TrustError::NotYetValid(self.content.not_before));
        }
        if now >= self.content.not_after {
            return Err(TrustError::Expired(self.content.not_after));
        }
        Ok(())
    }

    /// The node.
    #[must_use]
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// The content.
    #[must_use]
    pub const fn content(&self) -> &Membership {
        &self.content
    }

    /// The exact bytes that were verified.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The content of a request for a membership: the key sets to enrol, signed by the signing set
/// among them, so that nobody enrols keys of others.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct MembershipRequest {
    /// The composite TLS identity key, 1984 bytes.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub tls_key: Vec<u8>,
    /// The signing set.
    #[n(2)]
    pub signing: SigningSet,
    /// The name the node would like.
    #[n(3)]
    pub name: Option<Name>,
    /// When it was made.
    #[n(4)]
    pub created: UnixSeconds,
    /// Composite signature by the TLS identity (context empty) over the SHA-256 of the encoded
    /// signing set: the TLS key agrees to this pairing.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub tls_proof: Vec<u8>,
}

/// A membership request whose signing set signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedRequest {
    /// The content.
    pub content: MembershipRequest,
    /// The node it would enrol.
    pub node: NodeId,
}

impl MembershipRequest {
    /// What the TLS identity signs in `tls_proof`: the digest of the encoded signing set.
    #[must_use]
    pub fn proof_message(crypto: &dyn Crypto, signing: &SigningSet) -> Digest {
        let set = crate::codec::encode(signing);
        Digest::over(
            crypto,
            crate::crypto::domain::DOCUMENT,
            &[b"tls-proof", &set],
        )
    }

    /// Signs this request by the signing set it enrols.
    ///
    /// # Errors
    /// [`CryptoError`] if a signature could not be made.
    pub fn sign(&self, crypto: &dyn Crypto, signer: &dyn Signer) -> Result<Vec<u8>, CryptoError> {
        sign_document(
            crypto,
            &[signer],
            content_type::MEMBERSHIP_REQUEST,
            self,
            &[],
        )
    }

    /// Verifies a request. `verify_tls` checks a composite signature: (key, message, signature).
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn verify(
        crypto: &dyn Crypto,
        bytes: &[u8],
        verify_tls: impl FnOnce(&[u8], &[u8], &[u8]) -> bool,
    ) -> Result<VerifiedRequest, TrustError> {
        let (cose, content) = parse_document::<Self>(bytes, content_type::MEMBERSHIP_REQUEST)?;
        if content.tls_key.len() != TLS_PUBLIC_LEN {
            return Err(TrustError::Field("tls_key"));
        }
        if !content.signing.is_well_formed() {
            return Err(TrustError::Field("signing"));
        }
        cose.verify_one(crypto, &content.signing, &[])?;
        let message = Self::proof_message(crypto, &content.signing);
        if !verify_tls(&content.tls_key, message.as_bytes(), &content.tls_proof) {
            return Err(TrustError::KeyMismatch);
        }
        let node = NodeId::of_tls_key(crypto, &content.tls_key);
        Ok(VerifiedRequest { content, node })
    }
}

/// Sorted and without repeats, as [`Membership::groups`] must be.
#[must_use]
pub fn sorted_names(mut names: Vec<Name>) -> Vec<Name> {
    names.sort();
    names.dedup();
    debug_assert!(unique(&names));
    names
}
