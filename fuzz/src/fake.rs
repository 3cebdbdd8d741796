//! Primitives for fuzzing: fast, deterministic, and every signature verifies, so that the fuzzer
//! reaches what lies behind verification. Nothing here is secure, nothing here leaves this crate.

use protocol::crypto::sealing::{
    Opener, SEALING_ENC_LEN, SEALING_PUBLIC_LEN, SEALING_TAG_LEN, SealedChannel, Sealer, Way,
};
use protocol::crypto::{Algorithm, Crypto, CryptoError, Signer, SigningSet};

/// The fake primitives.
pub struct Fake;

impl Crypto for Fake {
    /// Four FNV-1a sums with different starts.
    fn sha256(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut out = [0; 32];
        for (lane, chunk) in (0_u64..).zip(out.chunks_exact_mut(8)) {
            let start = 0xcbf2_9ce4_8422_2325 ^ lane.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let sum = parts
                .iter()
                .flat_map(|p| p.iter())
                .fold(start, |sum, &byte| {
                    (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
                });
            chunk.copy_from_slice(&sum.to_be_bytes());
        }
        out
    }

    fn verify(
        &self,
        algorithm: Algorithm,
        public_key: &[u8],
        _: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        if public_key.len() != algorithm.public_len() {
            return Err(CryptoError::BadKey);
        }
        if signature.len() == algorithm.signature_len() {
            Ok(())
        } else {
            Err(CryptoError::BadSignature)
        }
    }

    fn fill_random(&self, out: &mut [u8]) -> Result<(), CryptoError> {
        out.fill(7);
        Ok(())
    }
}

/// The owner of a fake key set.
pub struct FakeSigner(SigningSet);

impl FakeSigner {
    /// The signer whose keys consist of `byte`.
    pub fn new(byte: u8) -> Self {
        Self(SigningSet {
            ml_dsa_65: vec![byte; Algorithm::MlDsa65.public_len()],
            ed25519: vec![byte; Algorithm::Ed25519.public_len()],
        })
    }
}

impl Signer for FakeSigner {
    fn public(&self) -> &SigningSet {
        &self.0
    }

    fn sign(&self, algorithm: Algorithm, _: &[u8]) -> Result<Vec<u8>, CryptoError> {
        Ok(vec![0x5a; algorithm.signature_len()])
    }
}

/// A sealing key to which everything is sealed by adding an empty tag.
pub struct FakeOpener;

struct FakeChannel;

impl Sealer for Fake {
    fn seal_to(
        &self,
        _: &[u8],
        _: &[u8],
    ) -> Result<(Vec<u8>, Box<dyn SealedChannel>), CryptoError> {
        Ok((vec![9; SEALING_ENC_LEN], Box::new(FakeChannel)))
    }
}

impl Opener for FakeOpener {
    fn public(&self) -> &[u8] {
        &[8; SEALING_PUBLIC_LEN]
    }

    fn open_from(&self, enc: &[u8], _: &[u8]) -> Result<Box<dyn SealedChannel>, CryptoError> {
        if enc.len() == SEALING_ENC_LEN {
            Ok(Box::new(FakeChannel))
        } else {
            Err(CryptoError::BadSealed)
        }
    }
}

impl SealedChannel for FakeChannel {
    fn seal(&self, _: Way, _: u64, _: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, CryptoError> {
        Ok([plaintext, &[0; SEALING_TAG_LEN]].concat())
    }

    fn open(&self, _: Way, _: u64, _: &[u8], ciphertext: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let length = ciphertext.len().checked_sub(SEALING_TAG_LEN);
        let plaintext = length.and_then(|length| ciphertext.get(..length));
        plaintext.map(<[u8]>::to_vec).ok_or(CryptoError::BadSealed)
    }
}
