//! Memberships: an issuer's signed admission of a node, and the request that asks for one.

use std::sync::Arc;

use super::facts::within;
use super::{MemberFacts, TrustError, VerifiedRoot, parse_document, sign_document, unique};
use crate::crypto::{
    Crypto, CryptoError, Signer, SigningSet, Suite, TLS_PUBLIC_LEN, domain::content_type,
};
use crate::id::{Challenge, Digest, MeshId, NodeId, SignerId, TicketId};
use crate::limits::MAX_GROUPS;
use crate::name::Name;
use crate::time::UnixSeconds;

/// Most nodes one membership replaces. An issuer leaves out those whose own membership is over, so
/// it takes as many rotations within one life of a membership.
pub const MAX_REPLACED: usize = 16;

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
    /// Nodes this one has taken the place of by rotating its keys, the latest last: whoever learns
    /// this membership refuses them from then on.
    #[n(10)]
    pub replaces: Option<Vec<NodeId>>,
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
        let listed =
            |nodes: &Vec<NodeId>| !nodes.is_empty() && nodes.len() <= MAX_REPLACED && unique(nodes);
        if !self.replaces.as_ref().is_none_or(listed) {
            return Err(TrustError::Field("replaces"));
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
    facts: Arc<MemberFacts>,
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
                Suite::Hybrid
                    .algorithms()
                    .iter()
                    .zip(&kids)
                    .all(|(&algorithm, kid)| issuer.keys.kid(crypto, algorithm) == *kid)
            })
            .ok_or(TrustError::UnknownIssuer)?;
        let site = content.site.as_ref();
        let (from, until) = (content.not_before, content.not_after);
        within(issuer, &content.groups, site, from, until)?;
        cose.verify_one(crypto, &issuer.keys, root.mesh().as_bytes())?;
        let node = NodeId::of_tls_key(crypto, &content.tls_key);
        if content.replaces.iter().flatten().any(|old| *old == node) {
            return Err(TrustError::Field("replaces"));
        }
        let issuer = issuer.keys.id(crypto);
        Ok(Self {
            facts: Arc::new(MemberFacts::of(crypto, &content, node, issuer, bytes)),
            content,
            bytes: bytes.to_vec(),
        })
    }

    /// Whether it is valid at `now`, with the tolerated clock difference at its start.
    ///
    /// # Errors
    /// [`TrustError::NotYetValid`] or [`TrustError::Expired`].
    pub fn valid_at(&self, now: UnixSeconds) -> Result<(), TrustError> {
        self.facts.valid_at(now)
    }

    /// The second from which it is to be renewed: half of its life.
    #[must_use]
    pub fn half_life(&self) -> UnixSeconds {
        self.facts.half_life()
    }

    /// Who issued it.
    #[must_use]
    pub fn issuer(&self) -> SignerId {
        self.facts.issuer()
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.facts.node()
    }

    /// What it says, to keep without its bytes.
    #[must_use]
    pub const fn facts(&self) -> &Arc<MemberFacts> {
        &self.facts
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
    /// The mesh it is meant for; absent in a request carried as a file.
    #[n(6)]
    pub mesh: Option<MeshId>,
    /// The ticket it joins with.
    #[n(7)]
    pub ticket: Option<TicketId>,
    /// What the issuer drew for the stream it is sent on.
    #[n(8)]
    pub challenge: Option<Challenge>,
    /// Shows that the sender has the ticket ([`super::MacKey::mac`]).
    #[n(9)]
    pub mac: Option<Digest>,
    /// The node whose place this one takes; then that node's signing set signs as well.
    #[n(10)]
    pub replaces: Option<NodeId>,
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

    /// Signs this request by the set it enrols and by the one of the node it replaces.
    ///
    /// # Errors
    /// [`CryptoError`] if a signature could not be made.
    pub fn sign_rotation(
        &self,
        crypto: &dyn Crypto,
        new: &dyn Signer,
        old: &dyn Signer,
    ) -> Result<Vec<u8>, CryptoError> {
        let signers = [new, old];
        let content_type = content_type::MEMBERSHIP_REQUEST;
        sign_document(crypto, &signers, content_type, self, &[])
    }

    /// What a request says, nothing of it verified: to learn whose keys to verify it with.
    ///
    /// # Errors
    /// [`TrustError`] if it is not the one encoding of a request.
    pub fn peek(bytes: &[u8]) -> Result<Self, TrustError> {
        parse_document(bytes, content_type::MEMBERSHIP_REQUEST).map(|(_, content)| content)
    }

    /// Verifies a request that replaces no node. `verify_tls` checks a composite signature: (key,
    /// message, signature).
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn verify(
        crypto: &dyn Crypto,
        bytes: &[u8],
        verify_tls: impl FnOnce(&[u8], &[u8], &[u8]) -> bool,
    ) -> Result<VerifiedRequest, TrustError> {
        let (cose, content) = parse_document::<Self>(bytes, content_type::MEMBERSHIP_REQUEST)?;
        content.validate()?;
        if content.replaces.is_some() {
            return Err(TrustError::Field("replaces"));
        }
        cose.verify_one(crypto, &content.signing, &[])?;
        content.proven(crypto, verify_tls)
    }

    /// Verifies a request to take the place of a node whose signing set is `old`: both sets signed.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn verify_rotation(
        crypto: &dyn Crypto,
        bytes: &[u8],
        old: &SigningSet,
        verify_tls: impl FnOnce(&[u8], &[u8], &[u8]) -> bool,
    ) -> Result<VerifiedRequest, TrustError> {
        let (cose, content) = parse_document::<Self>(bytes, content_type::MEMBERSHIP_REQUEST)?;
        content.validate()?;
        if content.replaces.is_none() {
            return Err(TrustError::Field("replaces"));
        }
        let shares = |a| old.key(a) == content.signing.key(a);
        if Suite::Hybrid.algorithms().iter().any(|&a| shares(a)) {
            return Err(TrustError::Field("signing"));
        }
        let sets = [content.signing.clone(), old.clone()];
        cose.verify_threshold(crypto, &sets, sets.len(), &[])?;
        content.proven(crypto, verify_tls)
    }

    fn validate(&self) -> Result<(), TrustError> {
        if self.tls_key.len() != TLS_PUBLIC_LEN {
            return Err(TrustError::Field("tls_key"));
        }
        if !self.signing.is_well_formed() {
            return Err(TrustError::Field("signing"));
        }
        Ok(())
    }

    fn proven(
        self,
        crypto: &dyn Crypto,
        verify_tls: impl FnOnce(&[u8], &[u8], &[u8]) -> bool,
    ) -> Result<VerifiedRequest, TrustError> {
        let message = Self::proof_message(crypto, &self.signing);
        if !verify_tls(&self.tls_key, message.as_bytes(), &self.tls_proof) {
            return Err(TrustError::KeyMismatch);
        }
        let node = NodeId::of_tls_key(crypto, &self.tls_key);
        Ok(VerifiedRequest {
            content: self,
            node,
        })
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
