//! Sealing: HPKE (RFC 9180) base mode with X-Wing, HKDF-SHA256 and AES-256-GCM.
//!
//! [`SealingKey`] is a node's secret sealing key, [`Primitives`] seals to the
//! public ones. `xwing` is the KEM, `hpke` the key schedule; both are checked against vectors made
//! by others. A sealing key is drawn, used for a day and dropped: it has no stored form.

mod channel;
mod ffi;
mod hpke;
mod xwing;

#[cfg(test)]
mod tests;

use protocol::crypto::sealing::{Opener, SealedChannel, Sealer};
use protocol::crypto::{Crypto, CryptoError};

use crate::Primitives;
use channel::Channel;

/// A secret sealing key.
pub struct SealingKey(xwing::Secret);

impl SealingKey {
    /// A new one from `crypto`'s randomness.
    ///
    /// # Errors
    /// [`CryptoError::NoRandomness`]; [`CryptoError::BadKey`] if the library refuses.
    pub fn generate(crypto: &dyn Crypto) -> Result<Self, CryptoError> {
        xwing::Secret::generate(crypto).map(Self)
    }

    /// The key of this seed. For vectors; a node's keys are never stored.
    ///
    /// # Errors
    /// [`CryptoError::BadKey`] if the library refuses.
    pub fn from_seed(seed: &[u8; crate::SEED_LEN]) -> Result<Self, CryptoError> {
        xwing::Secret::from_seed(seed).map(Self)
    }
}

impl Opener for SealingKey {
    fn public(&self) -> &[u8] {
        self.0.public()
    }

    fn open_from(&self, enc: &[u8], info: &[u8]) -> Result<Box<dyn SealedChannel>, CryptoError> {
        let shared = self.0.decapsulate(enc)?;
        Ok(Box::new(Channel::new(&hpke::SUITE, &*shared, info)?))
    }
}

impl core::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("SealingKey(secret redacted)")
    }
}

impl Sealer for Primitives {
    fn seal_to(
        &self,
        public: &[u8],
        info: &[u8],
    ) -> Result<(Vec<u8>, Box<dyn SealedChannel>), CryptoError> {
        let (enc, shared) = xwing::encapsulate(self, public)?;
        let channel = Channel::new(&hpke::SUITE, &*shared, info)?;
        Ok((enc, Box::new(channel)))
    }
}
