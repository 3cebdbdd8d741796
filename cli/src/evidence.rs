//! Saved envelopes, read and verified without a node: what `hedgerow envelope` prints.
//!
//! The checks are `protocol`'s; this file lays the result out.

use protocol::id::{EnvelopeId, Kid, MeshId, NodeId, RequestId};
use protocol::name::Name;
use protocol::time::UnixSeconds;

/// Largest evidence file.
pub(crate) const MAX_EVIDENCE_BYTES: usize =
    protocol::limits::MAX_ENVELOPE_BYTES + 3 * protocol::limits::MAX_DOCUMENT_BYTES;

/// What an envelope says.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct EnvelopeReport {
    /// Whether its signatures were checked and hold.
    pub(crate) verified: bool,
    /// The envelope.
    pub(crate) id: EnvelopeId,
    /// The mesh.
    pub(crate) mesh: MeshId,
    /// The node that signed.
    pub(crate) issuer: NodeId,
    /// That node's name in its membership.
    pub(crate) node: Name,
    /// The agent on whose behalf.
    pub(crate) agent: Name,
    /// The node it is for.
    pub(crate) audience: NodeId,
    /// When it was signed.
    pub(crate) issued: UnixSeconds,
    /// From when on it is refused.
    pub(crate) expires: UnixSeconds,
    /// `request`, `notification` or `response`.
    pub(crate) kind: String,
    /// `to_server` or `to_client`.
    pub(crate) direction: String,
    /// The server's name on its node.
    pub(crate) server: Name,
    /// The JSON-RPC method.
    pub(crate) method: String,
    /// The tool, prompt or resource.
    pub(crate) name: Option<String>,
    /// The call it belongs to.
    pub(crate) request_id: RequestId,
    /// Its place among the call's messages in its direction.
    pub(crate) sequence: u64,
    /// The envelope that began the call.
    pub(crate) parent: Option<EnvelopeId>,
    /// Its signatures.
    pub(crate) signers: Vec<Signature>,
    /// The JSON-RPC message, exactly.
    pub(crate) body: String,
}

/// One signature.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Signature {
    /// Its algorithm.
    pub(crate) algorithm: String,
    /// Its key.
    pub(crate) kid: Kid,
}

/// Why a file is no evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The stable name of the reason.
    pub(crate) reason: String,
    /// One line for people.
    pub(crate) message: String,
}

/// Verifies a file; `mesh` is the one it must belong to.
pub(crate) fn verify(_bytes: &[u8], _mesh: Option<&MeshId>) -> Result<EnvelopeReport, Refused> {
    Err(unsupported())
}

/// Reads a file without checking signatures.
pub(crate) fn read(_bytes: &[u8]) -> Result<EnvelopeReport, Refused> {
    Err(unsupported())
}

// SEAM: replaced by `protocol::evidence` once it is there.
fn unsupported() -> Refused {
    Refused {
        reason: "unsupported_evidence".to_owned(),
        message: "this build cannot read envelopes".to_owned(),
    }
}
