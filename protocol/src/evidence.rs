//! An envelope in a file, with everything a stranger needs to verify it: the root, the issuer's
//! membership, and the envelope, each exactly as signed.
//!
//! Proves who signed what for whom and when; it proves the mesh only to someone who has the
//! MeshId from elsewhere. It contains the body in the clear: of an envelope that was sealed for its
//! way over relays, beside it, with the salt over which the signed header has its digest.

use crate::codec::{self, CodecError};
use crate::crypto::Crypto;
use crate::envelope::{Header, Payload, Refusal, UnverifiedEnvelope, VerifiedEnvelope};
use crate::limits::{MAX_DOCUMENT_BYTES, MAX_ENVELOPE_BYTES};
use crate::trust::{TrustError, VerifiedMembership, VerifiedRoot};

/// Largest evidence file.
pub const MAX_EVIDENCE_BYTES: usize = 2 * MAX_ENVELOPE_BYTES + 8 * MAX_DOCUMENT_BYTES;

/// The content of an evidence file.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Evidence {
    /// The genesis root.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub root: Vec<u8>,
    /// The membership of the envelope's issuer.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub membership: Vec<u8>,
    /// The envelope.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub envelope: Vec<u8>,
    /// The roots after the genesis up to the one in force, in order; absent where there are none.
    #[n(4)]
    pub roots: Option<Vec<minicbor::bytes::ByteVec>>,
    /// The encoded [`Payload`] of an envelope that is sealed, and only of that.
    #[n(5)]
    pub opened: Option<minicbor::bytes::ByteVec>,
}

/// Why evidence does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// The file is not the one encoding of an evidence file.
    #[error("file: {0}")]
    Codec(#[from] CodecError),
    /// The root does not hold.
    #[error("root: {0}")]
    Root(TrustError),
    /// The membership does not hold under the root, or was not valid when the envelope was signed.
    #[error("membership: {0}")]
    Membership(TrustError),
    /// The envelope does not hold.
    #[error("envelope: {0}")]
    Envelope(#[from] Refusal),
    /// What was sealed is not there in the clear, or something is there that was not sealed.
    #[error("an opened payload must stand beside a sealed envelope, and only there")]
    Opened,
}

impl EvidenceError {
    /// The stable name of the refusal.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Codec(e) => e.reason(),
            Self::Root(e) | Self::Membership(e) => e.reason(),
            Self::Envelope(e) => e.reason(),
            Self::Opened => "opened_payload_mismatch",
        }
    }
}

/// Evidence that holds.
#[derive(Debug, Clone)]
pub struct VerifiedEvidence {
    /// The root in force when it was written.
    pub root: VerifiedRoot,
    /// The issuer's membership.
    pub membership: VerifiedMembership,
    /// The envelope.
    pub envelope: VerifiedEnvelope,
}

impl Evidence {
    /// Its one encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// What stands in the clear of its envelope, which nothing has been verified of: salt and body.
    ///
    /// # Errors
    /// [`EvidenceError`].
    pub fn payload(&self, header: &Header, payload: &[u8]) -> Result<Payload, EvidenceError> {
        let opened = self.opened.as_deref().map(Vec::as_slice);
        let payload = match (header.is_sealed(), opened) {
            (false, None) => payload,
            (true, Some(opened)) => opened,
            (false, Some(_)) | (true, None) => return Err(EvidenceError::Opened),
        };
        Ok(codec::decode(payload, MAX_ENVELOPE_BYTES)?)
    }

    /// Reads and verifies an evidence file. Expiry is judged at the time the envelope states,
    /// because evidence is kept longer than envelopes live.
    ///
    /// # Errors
    /// [`EvidenceError`]: which part does not hold, and why.
    pub fn verify(crypto: &dyn Crypto, bytes: &[u8]) -> Result<VerifiedEvidence, EvidenceError> {
        let evidence: Self = codec::decode(bytes, MAX_EVIDENCE_BYTES)?;
        let later = evidence.roots.unwrap_or_default();
        let genesis = VerifiedRoot::genesis(crypto, &evidence.root);
        let root = later
            .iter()
            .try_fold(genesis.map_err(EvidenceError::Root)?, |root, next| {
                root.successor(crypto, &next.to_vec().into())
                    .map_err(EvidenceError::Root)
            })?;
        let membership = VerifiedMembership::verify(crypto, &root, &evidence.membership)
            .map_err(EvidenceError::Membership)?;
        let unverified = UnverifiedEnvelope::parse(&evidence.envelope)?;
        let (cwt, claims) = (&unverified.header().cwt, &unverified.header().claims);
        if claims.mesh != root.mesh() {
            return Err(Refusal::ForeignMesh(claims.mesh).into());
        }
        if cwt.iss != membership.node() {
            return Err(Refusal::UnknownIssuer(cwt.iss).into());
        }
        membership
            .valid_at(cwt.iat)
            .map_err(EvidenceError::Membership)?;
        let opened = evidence.opened.as_deref().map(Vec::as_slice);
        let signing = &membership.content().signing;
        let envelope = match (unverified.header().is_sealed(), opened) {
            (false, None) => unverified.verify(crypto, signing)?,
            (true, Some(payload)) => unverified
                .verify_signatures(crypto, signing)?
                .disclosed(crypto, payload)?,
            (false, Some(_)) | (true, None) => return Err(EvidenceError::Opened),
        };
        Ok(VerifiedEvidence {
            root,
            membership,
            envelope,
        })
    }
}
