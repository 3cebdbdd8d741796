//! Signed envelopes: one MCP message from one node to another, with everything a hop needs to
//! decide on it in the signed header.
//!
//! The path of one: [`Header`] and body → [`seal`] → bytes → [`UnverifiedEnvelope::parse`] →
//! checks on the header alone ([`UnverifiedEnvelope::check`]) → [`UnverifiedEnvelope::verify`] →
//! [`VerifiedEnvelope`], which only that function can make. What acts on an envelope takes the
//! verified type, so a forgotten check does not compile. A relay has a [`SignedEnvelope`], of which
//! it can read the header and nothing else.
//!
//! Replay ([`replay`]), the order and completeness of a stream ([`stream`]) and the records of
//! relays ([`hop`]) are state machines of their own, beside the envelope. The payload of a route
//! with relays is sealed ([`sealing`]).

pub mod header;
pub mod hop;
pub mod replay;
pub mod sealing;
pub mod stream;
mod unverified;

pub use header::{Claims, CwtClaims, Direction, DocumentType, Header, HeaderError, Kind};
pub use sealing::{CallSeal, Sealed};
pub use unverified::{
    Crossing, Expectation, Refusal, SignedEnvelope, UnverifiedEnvelope, VerifiedEnvelope,
};

use crate::codec;
use crate::cose;
use crate::crypto::{Crypto, CryptoError, Signer, domain, join_digest};
use crate::id::{Digest, EnvelopeId, MeshId, Salt};

/// The payload in the clear: salt and the exact bytes of one JSON-RPC message.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct Payload {
    /// Random, so that the digest in the header says nothing of a guessable body.
    #[n(0)]
    pub salt: Salt,
    /// The message.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub body: Vec<u8>,
}

/// The digest that stands in the header for the body: SHA-256 over label, salt and body, each
/// length-prefixed.
#[must_use]
pub fn body_digest(crypto: &dyn Crypto, salt: &Salt, body: &[u8]) -> Digest {
    Digest::over(crypto, domain::BODY_DIGEST, &[salt.as_bytes(), body])
}

/// The identifier of an envelope: SHA-256 over label, mesh, encoded protected header and payload
/// as transmitted, each length-prefixed. No signature goes in, so re-encoding one changes nothing.
#[must_use]
pub fn envelope_id(
    crypto: &dyn Crypto,
    mesh: &MeshId,
    protected: &[u8],
    payload: &[u8],
) -> EnvelopeId {
    let parts: [&[u8]; 3] = [mesh.as_bytes(), protected, payload];
    EnvelopeId::from_bytes(join_digest(crypto, domain::ENVELOPE_ID, &parts))
}

/// A signed envelope and its identifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedEnvelope {
    /// The identifier.
    pub id: EnvelopeId,
    /// The COSE_Sign.
    pub bytes: Vec<u8>,
}

/// Signs `body` under `header` with both algorithms of the suite. The header's body digest is
/// set here, from `salt` and `body`; everything else is the caller's.
///
/// # Errors
/// [`CryptoError`] if a signature could not be made.
pub fn seal(
    crypto: &dyn Crypto,
    signer: &dyn Signer,
    mut header: Header,
    salt: Salt,
    body: &[u8],
) -> Result<SealedEnvelope, CryptoError> {
    header.claims.body_digest = body_digest(crypto, &salt, body);
    let payload = encode_payload(salt, body);
    sign(crypto, signer, &header, &payload)
}

/// As [`seal`], with the payload sealed by `call` for the far end of a route with relays. The
/// content type is set here too.
///
/// # Errors
/// [`CryptoError`] if a signature could not be made, or the sequence was used before.
pub fn seal_relayed(
    crypto: &dyn Crypto,
    signer: &dyn Signer,
    mut header: Header,
    salt: Salt,
    body: &[u8],
    call: &CallSeal,
) -> Result<SealedEnvelope, CryptoError> {
    sealing::prepare(crypto, &mut header, &salt, body);
    let payload = call.seal(&header, &encode_payload(salt, body))?;
    sign(crypto, signer, &header, &payload)
}

fn encode_payload(salt: Salt, body: &[u8]) -> Vec<u8> {
    codec::encode(&Payload {
        salt,
        body: body.to_vec(),
    })
}

fn sign(
    crypto: &dyn Crypto,
    signer: &dyn Signer,
    header: &Header,
    payload: &[u8],
) -> Result<SealedEnvelope, CryptoError> {
    let mesh = header.claims.mesh;
    let protected = codec::encode(header);
    let bytes = cose::sign(crypto, &[signer], &protected, payload, mesh.as_bytes())?;
    Ok(SealedEnvelope {
        id: envelope_id(crypto, &mesh, &protected, payload),
        bytes,
    })
}
