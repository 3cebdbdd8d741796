//! A `Crypto` that costs nothing and protects nothing: a 256-bit non-cryptographic hash, and
//! signatures that are hashes of public key and message.
//!
//! The adversary of a simulation replays, delays and drops; it does not forge, so this is enough
//! to run the production state machines on the very envelopes they see in production.

use protocol::crypto::{Algorithm, Crypto, CryptoError, Signer, SigningSet};
use protocol::id::NodeId;

use crate::rng::Rng;

const PRIMES: [u64; 4] = [
    0x9e37_79b1_85eb_ca87,
    0xc2b2_ae3d_27d4_eb4f,
    0x1656_67b1_9e37_79f9,
    0x27d4_eb2f_1656_67c5,
];

/// The fake primitives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FakeCrypto;

impl Crypto for FakeCrypto {
    fn sha256(&self, parts: &[&[u8]]) -> [u8; 32] {
        // Eight bytes at a time: simulations are run unoptimised, and this is most of their work.
        let joined = parts.concat();
        let length = joined.len() as u64;
        let [mut a, mut b, mut c, mut d] = PRIMES;
        let [p, q, r, t] = PRIMES;
        for chunk in joined.chunks(8) {
            let mut word = [0; 8];
            if let Some(word) = word.get_mut(..chunk.len()) {
                word.copy_from_slice(chunk);
            }
            let word = u64::from_le_bytes(word);
            a = (a ^ word).wrapping_mul(p).rotate_left(23);
            b = (b ^ word).wrapping_mul(q).rotate_left(29);
            c = (c ^ word).wrapping_mul(r).rotate_left(31);
            d = (d ^ word).wrapping_mul(t).rotate_left(37);
        }
        let lanes = [a, b, c, d];
        let mut out = [0; 32];
        for ((chunk, lane), prime) in out.chunks_mut(8).zip(lanes).zip(PRIMES) {
            let mixed = (lane ^ length ^ (lane >> 29)).wrapping_mul(prime);
            chunk.copy_from_slice(&(mixed ^ (mixed >> 32)).to_be_bytes());
        }
        out
    }

    fn verify(
        &self,
        _: Algorithm,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        if signature == self.sha256(&[public_key, message]) {
            Ok(())
        } else {
            Err(CryptoError::BadSignature)
        }
    }

    fn fill_random(&self, _: &mut [u8]) -> Result<(), CryptoError> {
        // Every random byte of a simulation comes from its seed, so nothing may ask here.
        Err(CryptoError::NoRandomness)
    }
}

/// A node of the simulation: an identity and a signing set.
#[derive(Debug)]
pub(crate) struct FakeNode {
    pub(crate) id: NodeId,
    set: SigningSet,
}

impl FakeNode {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        Self {
            id: NodeId::from_bytes(rng.bytes()),
            set: SigningSet {
                ml_dsa_65: rng.bytes::<32>().to_vec(),
                ed25519: rng.bytes::<32>().to_vec(),
            },
        }
    }
}

impl Signer for FakeNode {
    fn public(&self) -> &SigningSet {
        &self.set
    }

    fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let key = self.set.key(algorithm);
        Ok(FakeCrypto.sha256(&[key, message]).to_vec())
    }
}
