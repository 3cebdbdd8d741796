//! Primitives that cost nothing, so that hundreds of machines run in a unit test. A signature is
//! a hash over public key and message: whoever alters either fails, and that is all that is asked.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::crypto::{Algorithm, Crypto, CryptoError, Signer, SigningSet};

/// The primitives, with a counter in place of randomness and one of verifications.
#[derive(Debug, Default)]
pub(super) struct Fake {
    drawn: AtomicU64,
    /// Signatures verified so far.
    pub(super) verified: AtomicU64,
}

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut lanes = [
        0x9e37_79b1_85eb_ca87_u64,
        0xc2b2_ae3d_27d4_eb4f,
        0x1656_67b1_9e37_79f9,
        0x27d4_eb2f_1656_67c5,
    ];
    let primes = lanes;
    // Eight bytes at a time: unoptimised, this is most of the work of these tests.
    let joined = parts.concat();
    let length = joined.len() as u64;
    for chunk in joined.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        let word = u64::from_le_bytes(word);
        for (lane, prime) in lanes.iter_mut().zip(primes) {
            *lane = (*lane ^ word).wrapping_mul(prime).rotate_left(23);
        }
    }
    let mut out = [0; 32];
    for (chunk, lane) in out.chunks_mut(8).zip(lanes) {
        let mixed = (lane ^ length ^ (lane >> 29)).wrapping_mul(0x2545_f491_4f6c_dd1d);
        chunk.copy_from_slice(&(mixed ^ (mixed >> 32)).to_be_bytes());
    }
    out
}

fn signature(algorithm: Algorithm, key: &[u8], message: &[u8]) -> Vec<u8> {
    let sum = hash(&[key, message]);
    let repeated = sum.iter().copied().cycle();
    repeated.take(algorithm.signature_len()).collect()
}

impl Crypto for Fake {
    fn sha256(&self, parts: &[&[u8]]) -> [u8; 32] {
        hash(parts)
    }

    fn verify(
        &self,
        algorithm: Algorithm,
        public_key: &[u8],
        message: &[u8],
        sig: &[u8],
    ) -> Result<(), CryptoError> {
        self.verified.fetch_add(1, Ordering::Relaxed);
        if signature(algorithm, public_key, message) == sig {
            Ok(())
        } else {
            Err(CryptoError::BadSignature)
        }
    }

    fn fill_random(&self, out: &mut [u8]) -> Result<(), CryptoError> {
        for chunk in out.chunks_mut(32) {
            let count = self.drawn.fetch_add(1, Ordering::Relaxed);
            let drawn = hash(&[b"random", &count.to_be_bytes()]);
            chunk.copy_from_slice(&drawn[..chunk.len()]);
        }
        Ok(())
    }
}

/// A fake key set.
#[derive(Debug)]
pub(super) struct Keys(SigningSet);

impl Keys {
    /// The one named `name`.
    pub(super) fn of(name: &str) -> Self {
        let key = |half: &str, length| {
            let sum = hash(&[half.as_bytes(), name.as_bytes()]);
            sum.iter().copied().cycle().take(length).collect()
        };
        Self(SigningSet {
            ml_dsa_65: key("ml-dsa", Algorithm::MlDsa65.public_len()),
            ed25519: key("ed25519", Algorithm::Ed25519.public_len()),
        })
    }
}

impl Signer for Keys {
    fn public(&self) -> &SigningSet {
        &self.0
    }

    fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        Ok(signature(algorithm, self.0.key(algorithm), message))
    }
}
