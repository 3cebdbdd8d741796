//! [`TlsIdentity`]: the secret behind a node's TLS raw public key and its NodeId.

use core::fmt;

use ed25519_dalek::Signer as _;
use protocol::crypto::{Crypto, CryptoError, TLS_PUBLIC_LEN};
use protocol::id::NodeId;
use zeroize::Zeroizing;

use super::ffi::MlDsa65;
use super::{CompositeError, LABEL, SIGNATURE_LEN, representative};
use crate::seeds::Seeds;
use crate::{SEED_LEN, SEEDS_LEN};

/// A composite key pair, id-MLDSA65-Ed25519-SHA512, from two independent seeds. It signs TLS
/// handshakes only; both halves are expanded once.
pub struct TlsIdentity {
    seeds: Seeds,
    ml_dsa_65: MlDsa65,
    // Boxed, so that moving the identity leaves no copy of the secret scalar behind.
    ed25519: Box<ed25519_dalek::SigningKey>,
    public_key: Box<[u8; TLS_PUBLIC_LEN]>,
}

impl TlsIdentity {
    /// A new identity from `crypto`'s randomness.
    ///
    /// # Errors
    /// [`CryptoError::NoRandomness`]; [`CryptoError::SigningFailed`] if the library refuses.
    pub fn generate(crypto: &dyn Crypto) -> Result<Self, CryptoError> {
        Self::expand(Seeds::generate(crypto)?)
    }

    /// The identity with these seeds, as they stand in a key file.
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
        let ml_dsa_65 = MlDsa65::from_seed(&seeds.ml_dsa_65()).ok_or(CryptoError::SigningFailed)?;
        let ed25519 = Box::new(ed25519_dalek::SigningKey::from_bytes(&seeds.ed25519()));
        let mut public_key = ml_dsa_65.public().ok_or(CryptoError::SigningFailed)?;
        public_key.extend_from_slice(ed25519.verifying_key().as_bytes());
        let public_key = public_key
            .into_boxed_slice()
            .try_into()
            .map_err(|_| CryptoError::SigningFailed)?;
        Ok(Self {
            seeds,
            ml_dsa_65,
            ed25519,
            public_key,
        })
    }

    /// Both seeds for the key file: ML-DSA-65, then Ed25519.
    #[must_use]
    pub fn seeds(&self) -> Zeroizing<[u8; SEEDS_LEN]> {
        self.seeds.to_bytes()
    }

    /// The raw public key: ML-DSA-65 (1952 bytes), then Ed25519 (32).
    #[must_use]
    pub fn public_key(&self) -> &[u8; TLS_PUBLIC_LEN] {
        &self.public_key
    }

    /// The public key as DER SubjectPublicKeyInfo, as it goes into a TLS Certificate message
    /// (RFC 7250).
    #[must_use]
    pub fn spki(&self) -> Vec<u8> {
        super::spki::spki(&self.public_key)
    }

    /// The node this identity makes.
    #[must_use]
    pub fn node_id(&self, crypto: &dyn Crypto) -> NodeId {
        NodeId::of_tls_key(crypto, self.public_key.as_slice())
    }

    /// A signature over `message` with the empty context, as TLS uses it: [`SIGNATURE_LEN`]
    /// bytes.
    ///
    /// # Errors
    /// [`CompositeError::SigningFailed`].
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CompositeError> {
        self.sign_with_context(message, &[])
    }

    /// A signature over `message` with an application context of at most 255 bytes (draft §3.2).
    ///
    /// # Errors
    /// [`CompositeError::ContextTooLong`], [`CompositeError::SigningFailed`].
    pub fn sign_with_context(
        &self,
        message: &[u8],
        context: &[u8],
    ) -> Result<Vec<u8>, CompositeError> {
        let representative = representative(message, context)?;
        let mut signature = self
            .ml_dsa_65
            .sign(LABEL, &representative)
            .ok_or(CompositeError::SigningFailed)?;
        signature.extend_from_slice(&self.ed25519.sign(&representative).to_bytes());
        debug_assert_eq!(signature.len(), SIGNATURE_LEN, "fixed by both algorithms");
        Ok(signature)
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.ed25519.verifying_key();
        write!(f, "TlsIdentity(ed25519 ")?;
        for byte in key.as_bytes() {
            write!(f, "{byte:02x}")?;
        }
        f.write_str(", secrets redacted)")
    }
}
