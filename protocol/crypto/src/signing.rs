//! [`SigningKeys`]: a secret signing set, used for COSE only.
//!
//! Both keys are expanded once, so that a signature costs the signature alone. ML-DSA-65 is
//! signed hedged (FIPS 204 §3.4), by aws-lc's own generator, with the empty context. Ed25519 is
//! signed by aws-lc too, which takes half as long as ed25519-dalek for the same bytes (RFC 8032
//! leaves the signer no choice); only its strict verification is ed25519-dalek's.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair, ML_DSA_65_SIGNING, PqdsaKeyPair};
use protocol::crypto::{Algorithm, Crypto, CryptoError, Signer, SigningSet};
use zeroize::Zeroizing;

use crate::seeds::Seeds;
use crate::{SEED_LEN, SEEDS_LEN};

/// A secret signing set: ML-DSA-65 and Ed25519 from two independent seeds.
pub struct SigningKeys {
    seeds: Seeds,
    ml_dsa_65: PqdsaKeyPair,
    ed25519: Ed25519KeyPair,
    public: SigningSet,
}

impl SigningKeys {
    /// A new set from `crypto`'s randomness.
    ///
    /// # Errors
    /// [`CryptoError::NoRandomness`]; [`CryptoError::SigningFailed`] if the library refuses.
    pub fn generate(crypto: &dyn Crypto) -> Result<Self, CryptoError> {
        Self::expand(Seeds::generate(crypto)?)
    }

    /// The set with these seeds, as they stand in a key file.
    ///
    /// # Errors
    /// [`CryptoError::SigningFailed`] if the library refuses.
    pub fn from_seeds(
        ml_dsa_65: &[u8; SEED_LEN],
        ed25519: &[u8; SEED_LEN],
    ) -> Result<Self, CryptoError> {
        Self::expand(Seeds::new(ml_dsa_65, ed25519))
    }

    fn expand(seeds: Seeds) -> Result<Self, CryptoError> {
        let ml_dsa_65 = PqdsaKeyPair::from_seed(&ML_DSA_65_SIGNING, &*seeds.ml_dsa_65())
            .map_err(|_| CryptoError::SigningFailed)?;
        // aws-lc owns both expanded keys, on its own heap, and wipes what it frees.
        let ed25519 = Ed25519KeyPair::from_seed_unchecked(&*seeds.ed25519())
            .map_err(|_| CryptoError::SigningFailed)?;
        let public = SigningSet {
            ml_dsa_65: ml_dsa_65.public_key().as_ref().to_vec(),
            ed25519: ed25519.public_key().as_ref().to_vec(),
        };
        Ok(Self {
            seeds,
            ml_dsa_65,
            ed25519,
            public,
        })
    }

    /// Both seeds for the key file: ML-DSA-65, then Ed25519.
    #[must_use]
    pub fn seeds(&self) -> Zeroizing<[u8; SEEDS_LEN]> {
        self.seeds.to_bytes()
    }
}

impl Signer for SigningKeys {
    fn public(&self) -> &SigningSet {
        &self.public
    }

    fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        match algorithm {
            Algorithm::MlDsa65 => {
                let mut signature = vec![0; algorithm.signature_len()];
                let written = self
                    .ml_dsa_65
                    .sign(message, &mut signature)
                    .map_err(|_| CryptoError::SigningFailed)?;
                if written == signature.len() {
                    Ok(signature)
                } else {
                    Err(CryptoError::SigningFailed)
                }
            }
            Algorithm::Ed25519 => self
                .ed25519
                .try_sign(message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| CryptoError::SigningFailed),
        }
    }
}

impl core::fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "SigningKeys({:?}, secrets redacted)", self.public)
    }
}

#[cfg(test)]
mod tests;
