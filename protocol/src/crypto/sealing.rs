//! Sealing to a node's key: what only that node opens, whoever carries it.
//!
//! HPKE (RFC 9180) in base mode with X-Wing (draft-connolly-cfrg-xwing-kem), HKDF-SHA256 and
//! AES-256-GCM, as a trait: production implements it over aws-lc-rs (`hedgerow-crypto`). One
//! encapsulation makes one [`SealedChannel`] between two nodes, with a key for each way: the
//! HPKE context itself towards the key's owner, and a key from its exporter back.
//!
//! The channel numbers nothing by itself: whoever seals says the sequence, and answers for it that
//! no sequence of one way is used twice ([`crate::envelope::sealing`] does).

use super::CryptoError;

/// Bytes of an X-Wing public key: ML-KEM-768 (1184) then X25519 (32).
pub const SEALING_PUBLIC_LEN: usize = 1216;

/// Bytes of an X-Wing ciphertext, HPKE's `enc`: ML-KEM-768 (1088) then X25519 (32).
pub const SEALING_ENC_LEN: usize = 1120;

/// What AES-256-GCM adds to what it seals.
pub const SEALING_TAG_LEN: usize = 16;

/// Which way a sealed message travels, seen from who encapsulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Towards the owner of the sealing key.
    Forward,
    /// Back.
    Back,
}

/// Seals to public keys.
pub trait Sealer: Send + Sync {
    /// Encapsulates to `public` under `info`. Returns `enc` and the channel that its owner has too
    /// once it has opened it.
    ///
    /// # Errors
    /// [`CryptoError::BadKey`] for a malformed key, [`CryptoError::NoRandomness`].
    fn seal_to(
        &self,
        public: &[u8],
        info: &[u8],
    ) -> Result<(Vec<u8>, Box<dyn SealedChannel>), CryptoError>;
}

/// A secret sealing key.
pub trait Opener: Send + Sync {
    /// Its public half, [`SEALING_PUBLIC_LEN`] bytes.
    fn public(&self) -> &[u8];

    /// The channel of who encapsulated `enc` to this key under `info`. One made for another key or
    /// info is a channel too, on which nothing opens.
    ///
    /// # Errors
    /// [`CryptoError::BadSealed`] if `enc` is no encapsulation.
    fn open_from(&self, enc: &[u8], info: &[u8]) -> Result<Box<dyn SealedChannel>, CryptoError>;
}

/// Both ways between who encapsulated and who opened.
pub trait SealedChannel: Send + Sync {
    /// Seals the message of this sequence. A sequence is used once for each way.
    ///
    /// # Errors
    /// [`CryptoError::BadSealed`] if the library refuses.
    fn seal(
        &self,
        way: Way,
        sequence: u64,
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, CryptoError>;

    /// Opens the message of this sequence.
    ///
    /// # Errors
    /// [`CryptoError::BadSealed`] for everything that was not sealed so.
    fn open(
        &self,
        way: Way,
        sequence: u64,
        aad: &[u8],
        ciphertext: &[u8],
    ) -> Result<Vec<u8>, CryptoError>;
}
