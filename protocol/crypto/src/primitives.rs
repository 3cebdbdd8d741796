//! [`Primitives`]: hashing, randomness and verification.
//!
//! Every size is checked before a library sees the bytes. That is not only for good errors:
//! aws-lc-rs also takes ML-DSA keys as DER, and a key with two encodings would have two kids.

use aws_lc_rs::{digest, rand, signature};
use ed25519_dalek::VerifyingKey;
use protocol::crypto::{Algorithm, Crypto, CryptoError};

/// The primitives of production. It has no state; copies are free.
#[derive(Debug, Clone, Copy, Default)]
pub struct Primitives;

impl Crypto for Primitives {
    fn sha256(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in parts {
            context.update(part);
        }
        let mut out = [0; 32];
        out.copy_from_slice(context.finish().as_ref());
        out
    }

    fn verify(
        &self,
        algorithm: Algorithm,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        if public_key.len() != algorithm.public_len() {
            return Err(CryptoError::BadKey);
        }
        if signature.len() != algorithm.signature_len() {
            return Err(CryptoError::BadSignature);
        }
        match algorithm {
            Algorithm::MlDsa65 => verify_ml_dsa_65(public_key, message, signature),
            Algorithm::Ed25519 => verify_ed25519(public_key, message, signature),
        }
    }

    fn fill_random(&self, out: &mut [u8]) -> Result<(), CryptoError> {
        rand::fill(out).map_err(|_| CryptoError::NoRandomness)
    }
}

/// ML-DSA-65 with the empty context (FIPS 204 algorithm 3).
fn verify_ml_dsa_65(
    public_key: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), CryptoError> {
    let key = signature::ParsedPublicKey::new(&signature::ML_DSA_65, public_key)
        .map_err(|_| CryptoError::BadKey)?;
    key.verify_sig(message, signature)
        .map_err(|_| CryptoError::BadSignature)
}

/// Ed25519 (RFC 8032 §5.1.7), strictly: canonical encodings only and no key or commitment of
/// small order, so that a signature commits to one key and one message.
pub(crate) fn verify_ed25519(
    public_key: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), CryptoError> {
    let public_key = public_key.try_into().map_err(|_| CryptoError::BadKey)?;
    let key = VerifyingKey::from_bytes(public_key).map_err(|_| CryptoError::BadKey)?;
    let signature =
        ed25519_dalek::Signature::from_slice(signature).map_err(|_| CryptoError::BadSignature)?;
    key.verify_strict(message, &signature)
        .map_err(|_| CryptoError::BadSignature)
}

#[cfg(test)]
mod tests;
