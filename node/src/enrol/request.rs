//! Membership requests: made by who asks, verified by who issues.

use hedgerow_crypto::{SigningKeys, TlsIdentity, verify_composite};
use protocol::crypto::{Crypto, CryptoError, Signer as _, TLS_PUBLIC_LEN};
use protocol::name::Name;
use protocol::time::UnixSeconds;
use protocol::trust::MembershipRequest;

/// Why no request was made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The signing set cannot sign.
    #[error(transparent)]
    Signing(#[from] CryptoError),
    /// The TLS identity cannot sign.
    #[error("the TLS identity cannot sign: {0}")]
    Tls(String),
}

/// A request for these keys, without what joins, renews or rotates.
pub(super) fn plain(
    crypto: &dyn Crypto,
    tls: &TlsIdentity,
    signing: &SigningKeys,
    name: Option<Name>,
    now: UnixSeconds,
) -> Result<MembershipRequest, RequestError> {
    let message = MembershipRequest::proof_message(crypto, signing.public());
    let proof = tls.sign(message.as_bytes());
    Ok(MembershipRequest {
        tls_key: tls.public_key().to_vec(),
        signing: signing.public().clone(),
        name,
        created: now,
        tls_proof: proof.map_err(|e| RequestError::Tls(e.to_string()))?,
        mesh: None,
        ticket: None,
        challenge: None,
        mac: None,
        replaces: None,
    })
}

/// Checks the TLS identity's signature in a request.
#[must_use]
pub fn verify_tls(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let key = key.first_chunk::<TLS_PUBLIC_LEN>();
    key.is_some_and(|key| verify_composite(key, message, &[], signature).is_ok())
}
