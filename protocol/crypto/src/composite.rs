//! Composite signatures: id-MLDSA65-Ed25519-SHA512 of draft-ietf-lamps-pq-composite-sigs.
//!
//! A key is the ML-DSA-65 key and then the Ed25519 key, a signature likewise; both halves sign
//! `prefix ‖ label ‖ len(ctx) ‖ ctx ‖ SHA-512(M)`, the ML-DSA half with the label as its own
//! context, so that neither half of a signature is of use outside the composite. A signature
//! holds only if both halves do. The Ed25519 half is verified strictly.
//!
//! Used for TLS identities only; COSE uses two separate signatures of separate keys.

use aws_lc_rs::digest;
use protocol::crypto::{Algorithm, TLS_PUBLIC_LEN};

pub(crate) mod ffi;
pub mod identity;
pub mod spki;

/// Bytes of a composite signature: ML-DSA-65 (3309) then Ed25519 (64).
pub const SIGNATURE_LEN: usize = 3373;

/// Longest application context (one length byte).
pub const MAX_CONTEXT_LEN: usize = 255;

/// First string of every composite message representative (draft §2.2).
const PREFIX: &[u8] = b"CompositeAlgorithmSignatures2025";

/// The signature label of this algorithm (draft §6), also the context of its ML-DSA half.
const LABEL: &[u8] = b"COMPSIG-MLDSA65-Ed25519-SHA512";

/// Why a composite key or signature was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CompositeError {
    /// A half of the signature does not verify, or the signature has the wrong size.
    #[error("the composite signature does not verify")]
    BadSignature,
    /// A half of the public key is no key.
    #[error("the composite public key is malformed")]
    BadKey,
    /// The library refused to sign; the key is unusable.
    #[error("composite signing failed")]
    SigningFailed,
    /// The application context does not fit its length byte.
    #[error("a composite signature context has at most {max} bytes, this one has {found}", max = MAX_CONTEXT_LEN)]
    ContextTooLong {
        /// Bytes found.
        found: usize,
    },
}

/// Verifies a composite signature (draft §3.3): both halves must hold. TLS uses the empty
/// `context`.
///
/// # Errors
/// [`CompositeError`]; it does not say which half failed.
pub fn verify_composite(
    public_key: &[u8; TLS_PUBLIC_LEN],
    message: &[u8],
    context: &[u8],
    signature: &[u8],
) -> Result<(), CompositeError> {
    let representative = representative(message, context)?;
    let (ml_dsa_key, ed25519_key) = public_key
        .split_at_checked(Algorithm::MlDsa65.public_len())
        .ok_or(CompositeError::BadKey)?;
    if signature.len() != SIGNATURE_LEN {
        return Err(CompositeError::BadSignature);
    }
    let (ml_dsa_signature, ed25519_signature) = signature
        .split_at_checked(Algorithm::MlDsa65.signature_len())
        .ok_or(CompositeError::BadSignature)?;
    // The cheaper half first: a forger should cost us as little as possible.
    crate::primitives::verify_ed25519(ed25519_key, &representative, ed25519_signature)?;
    let key = ffi::MlDsa65::from_public(ml_dsa_key).ok_or(CompositeError::BadKey)?;
    if key.verify(LABEL, &representative, ml_dsa_signature) {
        Ok(())
    } else {
        Err(CompositeError::BadSignature)
    }
}

impl From<protocol::crypto::CryptoError> for CompositeError {
    fn from(error: protocol::crypto::CryptoError) -> Self {
        use protocol::crypto::CryptoError;
        match error {
            CryptoError::BadSignature => Self::BadSignature,
            CryptoError::BadKey => Self::BadKey,
            CryptoError::SigningFailed | CryptoError::NoRandomness | CryptoError::BadSealed => {
                Self::SigningFailed
            }
        }
    }
}

/// What both halves sign: `prefix ‖ label ‖ len(ctx) ‖ ctx ‖ SHA-512(message)` (draft §2.2).
fn representative(message: &[u8], context: &[u8]) -> Result<Vec<u8>, CompositeError> {
    let length = u8::try_from(context.len()).map_err(|_| CompositeError::ContextTooLong {
        found: context.len(),
    })?;
    let hash = digest::digest(&digest::SHA512, message);
    Ok([PREFIX, LABEL, &[length], context, hash.as_ref()].concat())
}

#[cfg(test)]
mod tests;
