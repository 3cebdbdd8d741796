//! Acknowledgements: a node's signed word that a revocation log is in force and on disk there.
//!
//! Two times, because two things are asked: since when nobody whom the log bars passes there, and
//! since when that outlives a loss of power. The second comes after the first and after the
//! connections of whoever is barred were closed, so it is the time from which the log is
//! *effective*.
//!
//! It says nothing that stops being true: a log only grows, and a forked one keeps both histories.
//! So it names no request, one signature serves every request about the same state, and showing it
//! again harms nobody. It names the state by its link: of a forked log one history is not the
//! other.

use crate::codec::CodecError;
use crate::cose::CoseSign;
use crate::crypto::{Crypto, CryptoError, Signer, SigningSet, domain::content_type};
use crate::id::{MeshId, NodeId};
use crate::time::UnixMillis;
use crate::trust::document::LogRow;
use crate::trust::{TrustError, parse_document, sign_document};

/// Largest acknowledgement: one pair of signatures (3.5 kB) and under 200 bytes of content.
pub const MAX_ACK_BYTES: usize = 8 * 1024;

/// The content of an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Ack {
    /// The mesh.
    #[n(1)]
    pub mesh: MeshId,
    /// The node that says so.
    #[n(2)]
    pub node: NodeId,
    /// The state of a log that is in force and on disk, all entries up to it.
    #[n(3)]
    pub log: LogRow,
    /// Since when; absent if the node has started anew since and does not know.
    #[n(4)]
    pub since: Option<Since>,
}

/// Since when a state of a log is there, by the node's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(array)]
pub struct Since {
    /// When it came into force: the message that completed it was at hand, and its verification
    /// began.
    #[n(0)]
    pub in_force: UnixMillis,
    /// When it was on disk, and the connections of whoever it bars were closed.
    #[n(1)]
    pub on_disk: UnixMillis,
}

impl Ack {
    /// Signs this acknowledgement by the node's signing set.
    ///
    /// # Errors
    /// [`CryptoError`] if a signature could not be made.
    pub fn sign(&self, crypto: &dyn Crypto, signer: &dyn Signer) -> Result<Vec<u8>, CryptoError> {
        let aad = self.mesh.as_bytes();
        sign_document(crypto, &[signer], content_type::REVOCATION_ACK, self, aad)
    }

    /// Reads an acknowledgement and verifies nothing but its mesh.
    ///
    /// # Errors
    /// [`TrustError`] if it is not the one encoding of one, or of another mesh.
    pub fn parse(mesh: MeshId, bytes: &[u8]) -> Result<Self, TrustError> {
        Self::read(mesh, bytes).map(|(_, ack)| ack)
    }

    fn read(mesh: MeshId, bytes: &[u8]) -> Result<(CoseSign<'_>, Self), TrustError> {
        if bytes.len() > MAX_ACK_BYTES {
            let (max, found) = (MAX_ACK_BYTES, bytes.len());
            return Err(CodecError::Oversized { max, found }.into());
        }
        let (cose, ack) = parse_document::<Self>(bytes, content_type::REVOCATION_ACK)?;
        if ack.mesh != mesh {
            return Err(TrustError::ForeignMesh);
        }
        Ok((cose, ack))
    }

    /// Reads and verifies an acknowledgement by `set`, the signing set of the node that it names.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn verify(
        crypto: &dyn Crypto,
        mesh: MeshId,
        set: &SigningSet,
        bytes: &[u8],
    ) -> Result<Self, TrustError> {
        let (cose, ack) = Self::read(mesh, bytes)?;
        cose.verify_one(crypto, set, mesh.as_bytes())?;
        Ok(ack)
    }
}
