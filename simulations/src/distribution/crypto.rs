//! The fake primitives with what the distribution needs beyond: keys and signatures of the real
//! sizes, so that bytes are counted as they are on the wire; randomness from the run's seed; and
//! counters, from which the world charges a node for what it computed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use protocol::crypto::{Algorithm, Crypto, CryptoError, Signer, SigningSet};

use crate::fake::FakeCrypto;
use crate::rng::Rng;

/// The primitives of one run.
#[derive(Debug)]
pub(crate) struct SeededCrypto {
    rng: Mutex<Rng>,
    verified: AtomicU64,
}

impl SeededCrypto {
    /// Primitives whose randomness is this generator's.
    pub(crate) const fn new(rng: Rng) -> Self {
        Self {
            rng: Mutex::new(rng),
            verified: AtomicU64::new(0),
        }
    }

    /// How many signatures were verified so far.
    pub(crate) fn verified(&self) -> u64 {
        self.verified.load(Ordering::Relaxed)
    }
}

impl Crypto for SeededCrypto {
    fn sha256(&self, parts: &[&[u8]]) -> [u8; 32] {
        FakeCrypto.sha256(parts)
    }

    fn verify(
        &self,
        algorithm: Algorithm,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        self.verified.fetch_add(1, Ordering::Relaxed);
        if public_key.len() != algorithm.public_len() {
            return Err(CryptoError::BadKey);
        }
        if signature == signature_of(algorithm, public_key, message) {
            Ok(())
        } else {
            Err(CryptoError::BadSignature)
        }
    }

    fn fill_random(&self, out: &mut [u8]) -> Result<(), CryptoError> {
        self.rng
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .fill(out);
        Ok(())
    }
}

/// The one signature of `key` over `message`: their hash, filled up to the algorithm's size.
fn signature_of(algorithm: Algorithm, key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut out = FakeCrypto.sha256(&[key, message]).to_vec();
    out.resize(algorithm.signature_len(), 0);
    out
}

/// A signing set of the simulation; whoever knows the public keys could sign with it, and nobody
/// here does who should not.
#[derive(Debug)]
pub(crate) struct KeySet {
    public: SigningSet,
    signed: AtomicU64,
}

impl KeySet {
    /// The next signing set of `rng`.
    pub(crate) fn new(rng: &mut Rng) -> Self {
        // Only the beginning differs: enough to tell keys apart, and quick to make for thousands.
        let mut key = |algorithm: Algorithm| {
            let mut key = rng.bytes::<32>().to_vec();
            key.resize(algorithm.public_len(), 0);
            key
        };
        let public = SigningSet {
            ml_dsa_65: key(Algorithm::MlDsa65),
            ed25519: key(Algorithm::Ed25519),
        };
        Self {
            public,
            signed: AtomicU64::new(0),
        }
    }

    /// How many signatures it made so far.
    pub(crate) fn signed(&self) -> u64 {
        self.signed.load(Ordering::Relaxed)
    }
}

impl Signer for KeySet {
    fn public(&self) -> &SigningSet {
        &self.public
    }

    fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.signed.fetch_add(1, Ordering::Relaxed);
        Ok(signature_of(algorithm, self.public.key(algorithm), message))
    }
}
