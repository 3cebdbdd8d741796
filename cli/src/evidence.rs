//! Saved envelopes, read and verified without a node: what `hedgerow envelope` prints.
//!
//! The checks are `protocol`'s; this file lays the result out.

use hedgerow_crypto::Primitives;
use protocol::codec::{self, CodecError};
use protocol::cose::{CoseError, CoseSign};
use protocol::crypto::{Algorithm, Suite};
use protocol::envelope::{Direction, Header, Kind, UnverifiedEnvelope};
use protocol::evidence::{Evidence, MAX_EVIDENCE_BYTES};
use protocol::id::{EnvelopeId, Kid, MeshId, NodeId, RequestId};
use protocol::limits::{MAX_DOCUMENT_BYTES, MAX_ENVELOPE_BYTES};
use protocol::name::Name;
use protocol::time::UnixSeconds;
use protocol::trust::Membership;

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
    /// The human it acts for, as the caller's node says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) human: Option<String>,
    /// The node it is for.
    pub(crate) audience: NodeId,
    /// When it was signed.
    pub(crate) issued: UnixSeconds,
    /// From when on it is refused.
    pub(crate) expires: UnixSeconds,
    /// Request, notification or response.
    pub(crate) kind: Kind,
    /// To the server or to the client.
    pub(crate) direction: Direction,
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
    /// Every node on the way.
    pub(crate) route: Vec<NodeId>,
    /// What the call intends, as its signer derived it.
    pub(crate) intents: Vec<String>,
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

impl Refused {
    fn new(reason: &str, message: impl Into<String>) -> Self {
        Self {
            reason: reason.to_owned(),
            message: message.into(),
        }
    }
}

/// Verifies a file; `mesh` is the one it must belong to.
pub(crate) fn verify(bytes: &[u8], mesh: Option<&MeshId>) -> Result<EnvelopeReport, Refused> {
    let crypto = &Primitives;
    let verified = Evidence::verify(crypto, bytes)
        .map_err(|error| Refused::new(error.reason(), error.to_string()))?;
    let found = verified.root.mesh();
    if mesh.is_some_and(|wanted| *wanted != found) {
        let message = format!("it belongs to another mesh, {found}");
        return Err(Refused::new("foreign_mesh", message));
    }
    let set = &verified.membership.content().signing;
    let signers = Suite::Hybrid
        .algorithms()
        .iter()
        .map(|&algorithm| Signature {
            algorithm: algorithm_name(algorithm).to_owned(),
            kid: set.kid(crypto, algorithm),
        })
        .collect();
    let envelope = &verified.envelope;
    Ok(EnvelopeReport {
        verified: true,
        ..EnvelopeReport::of(
            envelope.id(),
            envelope.header(),
            verified.membership.content().name.clone(),
            signers,
            envelope.body(),
        )
    })
}

/// Reads a file without checking signatures: nothing in the report is proven.
pub(crate) fn read(bytes: &[u8]) -> Result<EnvelopeReport, Refused> {
    let crypto = &Primitives;
    let malformed = |error: CodecError| Refused::new(error.reason(), error.to_string());
    let in_cose = |error: CoseError| Refused::new(error.reason(), error.to_string());
    let evidence: Evidence = codec::decode(bytes, MAX_EVIDENCE_BYTES).map_err(malformed)?;
    let membership = CoseSign::parse(&evidence.membership, MAX_DOCUMENT_BYTES).map_err(in_cose)?;
    let membership: Membership =
        codec::decode(membership.payload, MAX_DOCUMENT_BYTES).map_err(malformed)?;
    let envelope = UnverifiedEnvelope::parse(&evidence.envelope)
        .map_err(|error| Refused::new(error.reason(), error.to_string()))?;
    let cose = CoseSign::parse(&evidence.envelope, MAX_ENVELOPE_BYTES).map_err(in_cose)?;
    let payload = evidence
        .payload(envelope.header(), cose.payload)
        .map_err(|error| Refused::new(error.reason(), error.to_string()))?;
    let signers = cose
        .signatures
        .iter()
        .map(|signature| Signature {
            algorithm: algorithm_name(signature.algorithm).to_owned(),
            kid: signature.kid,
        })
        .collect();
    Ok(EnvelopeReport::of(
        envelope.id(crypto),
        envelope.header(),
        membership.name,
        signers,
        &payload.body,
    ))
}

impl EnvelopeReport {
    /// Lays out a header; `verified` is left to whoever verified.
    fn of(
        id: EnvelopeId,
        header: &Header,
        node: Name,
        signers: Vec<Signature>,
        body: &[u8],
    ) -> Self {
        let (cwt, claims) = (&header.cwt, &header.claims);
        Self {
            verified: false,
            id,
            mesh: claims.mesh,
            issuer: cwt.iss,
            node,
            agent: cwt.sub.clone(),
            human: claims.human.clone(),
            audience: cwt.aud,
            issued: cwt.iat,
            expires: cwt.exp,
            kind: claims.kind,
            direction: claims.direction,
            server: claims.server.clone(),
            method: claims.method.clone(),
            name: claims.name.clone(),
            request_id: claims.request_id,
            sequence: claims.sequence,
            parent: claims.parent,
            route: claims.route.clone(),
            intents: claims.intents.clone(),
            signers,
            body: String::from_utf8_lossy(body).into_owned(),
        }
    }

    /// The kind of message as one word.
    pub(crate) const fn kind_word(&self) -> &'static str {
        match self.kind {
            Kind::Request => "request",
            Kind::Notification => "notification",
            Kind::Response => "response",
        }
    }
}

const fn algorithm_name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::MlDsa65 => "ML-DSA-65",
        Algorithm::Ed25519 => "Ed25519",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_evidence_is_refused_by_name() {
        for bytes in [&b""[..], b"\xa0", b"{}", &[0xff; 64]] {
            assert!(!verify(bytes, None).unwrap_err().reason.is_empty());
            assert_eq!(
                read(bytes).unwrap_err().reason,
                verify(bytes, None).unwrap_err().reason
            );
        }
    }
}
