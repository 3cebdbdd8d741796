//! The two seeds every key set is made of, kept on the heap and wiped when dropped.
//!
//! Both key kinds are rebuilt from seeds at every start; the expanded forms are never stored.

use protocol::crypto::{Crypto, CryptoError};
use zeroize::Zeroizing;

use crate::{SEED_LEN, SEEDS_LEN};

/// ML-DSA-65 seed, then Ed25519 seed. Boxed, so that moving the owner leaves no copy behind.
pub(crate) struct Seeds(Box<Zeroizing<[u8; SEEDS_LEN]>>);

impl Seeds {
    pub(crate) fn generate(crypto: &dyn Crypto) -> Result<Self, CryptoError> {
        let mut seeds = Self::empty();
        crypto.fill_random(seeds.0.as_mut_slice())?;
        Ok(seeds)
    }

    pub(crate) fn new(ml_dsa_65: &[u8; SEED_LEN], ed25519: &[u8; SEED_LEN]) -> Self {
        let mut seeds = Self::empty();
        let (first, second) = seeds.0.split_at_mut(SEED_LEN);
        first.copy_from_slice(ml_dsa_65);
        second.copy_from_slice(ed25519);
        seeds
    }

    fn empty() -> Self {
        Self(Box::new(Zeroizing::new([0; SEEDS_LEN])))
    }

    /// Both seeds, in the order of the key file.
    pub(crate) fn to_bytes(&self) -> Zeroizing<[u8; SEEDS_LEN]> {
        Zeroizing::clone(&self.0)
    }

    pub(crate) fn ml_dsa_65(&self) -> Zeroizing<[u8; SEED_LEN]> {
        self.half(0)
    }

    pub(crate) fn ed25519(&self) -> Zeroizing<[u8; SEED_LEN]> {
        self.half(SEED_LEN)
    }

    fn half(&self, at: usize) -> Zeroizing<[u8; SEED_LEN]> {
        let mut out = Zeroizing::new([0; SEED_LEN]);
        for (to, from) in out.iter_mut().zip(self.0.iter().skip(at)) {
            *to = *from;
        }
        out
    }
}
