//! Primitives of which only the hash is real: a signature is the hash of public key and message.

use hedgerow_crypto::Primitives;
use protocol::crypto::{Algorithm, Crypto, CryptoError, Signer, SigningSet};

/// The primitives.
pub(crate) struct Fake;

fn signature(algorithm: Algorithm, key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut signature = Primitives.sha256(&[key, message]).to_vec();
    signature.resize(algorithm.signature_len(), 0);
    signature
}

impl Crypto for Fake {
    fn sha256(&self, parts: &[&[u8]]) -> [u8; 32] {
        Primitives.sha256(parts)
    }

    fn verify(
        &self,
        algorithm: Algorithm,
        public_key: &[u8],
        message: &[u8],
        found: &[u8],
    ) -> Result<(), CryptoError> {
        let holds = signature(algorithm, public_key, message) == found;
        holds.then_some(()).ok_or(CryptoError::BadSignature)
    }

    fn fill_random(&self, _: &mut [u8]) -> Result<(), CryptoError> {
        Err(CryptoError::NoRandomness)
    }
}

/// The owner of a key set.
#[derive(Clone)]
pub(crate) struct Keys(SigningSet);

impl Keys {
    /// The keys named `label`.
    pub(crate) fn of(label: &str) -> Self {
        let key = |algorithm: Algorithm| {
            let seed = Primitives.sha256(&[label.as_bytes(), &algorithm.cose().to_be_bytes()]);
            let repeated = seed.iter().copied().cycle();
            repeated.take(algorithm.public_len()).collect()
        };
        Self(SigningSet {
            ml_dsa_65: key(Algorithm::MlDsa65),
            ed25519: key(Algorithm::Ed25519),
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
