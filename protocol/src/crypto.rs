//! The primitives the protocol needs, as a trait: production implements it over aws-lc-rs
//! and ed25519-dalek (`hedgerow-crypto`), the simulations with a fast fake.
//!
//! Nothing here draws randomness or reads a clock by itself, and nothing here can be asked
//! for one signature where the suite has two: [`Signer::sign`] names one [`Algorithm`], and
//! [`crate::cose`] always asks for all of the suite's, in order.

use crate::id::{Kid, SignerId};

pub mod domain;
pub mod sealing;

/// The crypto suite of a mesh, one byte in its genesis root; never negotiated, never mixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Suite {
    /// X25519MLKEM768; ML-DSA-65 with Ed25519; SHA-256 identifiers.
    Hybrid,
}

impl Suite {
    /// The byte on the wire.
    #[must_use]
    pub const fn byte(self) -> u8 {
        match self {
            Self::Hybrid => 1,
        }
    }

    /// The suite with this byte.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Hybrid),
            _ => None,
        }
    }

    /// The signatures every signer makes, in the order in which they stand.
    #[must_use]
    pub const fn algorithms(self) -> &'static [Algorithm] {
        match self {
            Self::Hybrid => &[Algorithm::MlDsa65, Algorithm::Ed25519],
        }
    }
}

/// A COSE signature algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// ML-DSA-65 (FIPS 204), empty context; COSE −49 (RFC 9964).
    MlDsa65,
    /// Ed25519 (RFC 8032), verified strictly; COSE −19 (RFC 9864).
    Ed25519,
}

impl Algorithm {
    /// The COSE algorithm number.
    #[must_use]
    pub const fn cose(self) -> i64 {
        match self {
            Self::MlDsa65 => -49,
            Self::Ed25519 => -19,
        }
    }

    /// Bytes of a public key.
    #[must_use]
    pub const fn public_len(self) -> usize {
        match self {
            Self::MlDsa65 => 1952,
            Self::Ed25519 => 32,
        }
    }

    /// Bytes of a signature.
    #[must_use]
    pub const fn signature_len(self) -> usize {
        match self {
            Self::MlDsa65 => 3309,
            Self::Ed25519 => 64,
        }
    }
}

/// Bytes of a composite TLS identity public key: ML-DSA-65 (1952) then Ed25519 (32).
pub const TLS_PUBLIC_LEN: usize = 1984;

/// Why a primitive did not do its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CryptoError {
    /// A signature does not verify under this key and message.
    #[error("the signature does not verify")]
    BadSignature,
    /// A public key has the wrong size or is no point or polynomial vector.
    #[error("the public key is malformed")]
    BadKey,
    /// The library refused to sign; the key is unusable.
    #[error("signing failed")]
    SigningFailed,
    /// What was sealed does not open with this key, or cannot be sealed with it.
    #[error("it does not open with this sealing key")]
    BadSealed,
    /// The operating system gave no randomness.
    #[error("no randomness available")]
    NoRandomness,
}

/// Hashing, verification and randomness.
pub trait Crypto: Send + Sync {
    /// SHA-256 (FIPS 180-4) over the concatenation of `parts`.
    fn sha256(&self, parts: &[&[u8]]) -> [u8; 32];

    /// Verifies one signature.
    ///
    /// # Errors
    /// [`CryptoError::BadKey`] for a malformed key, [`CryptoError::BadSignature`] for everything
    /// else, wrong sizes included.
    fn verify(
        &self,
        algorithm: Algorithm,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError>;

    /// Fills `out` from the operating system's generator (or the simulation's seed).
    ///
    /// # Errors
    /// [`CryptoError::NoRandomness`]; the caller stops what it was doing.
    fn fill_random(&self, out: &mut [u8]) -> Result<(), CryptoError>;
}

/// A secret signing set: one key for each algorithm of the suite, used for COSE only.
pub trait Signer: Send + Sync {
    /// Its public half.
    fn public(&self) -> &SigningSet;

    /// One signature over `message`.
    ///
    /// # Errors
    /// [`CryptoError::SigningFailed`].
    fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>, CryptoError>;
}

/// The public half of a signing set. Encoded as a CBOR map; the kids are not transmitted but
/// derived ([`SigningSet::kid`]).
#[derive(Clone, PartialEq, Eq, Hash, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct SigningSet {
    /// ML-DSA-65 public key, 1952 bytes (FIPS 204 encoding).
    #[cbor(n(1), with = "minicbor::bytes")]
    pub ml_dsa_65: Vec<u8>,
    /// Ed25519 public key, 32 bytes (RFC 8032).
    #[cbor(n(2), with = "minicbor::bytes")]
    pub ed25519: Vec<u8>,
}

impl SigningSet {
    /// The public key for `algorithm`.
    #[must_use]
    pub fn key(&self, algorithm: Algorithm) -> &[u8] {
        match algorithm {
            Algorithm::MlDsa65 => &self.ml_dsa_65,
            Algorithm::Ed25519 => &self.ed25519,
        }
    }

    /// Whether every key has its algorithm's size.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        Suite::Hybrid
            .algorithms()
            .iter()
            .all(|&a| self.key(a).len() == a.public_len())
    }

    /// SHA-256 of the key's public COSE_Key in deterministic encoding: `{1: 7, 3: -49, -1: pub}`
    /// for ML-DSA-65 (RFC 9964), `{1: 1, 3: -19, -1: 6, -2: x}` for Ed25519 (RFC 9864).
    #[must_use]
    pub fn kid(&self, crypto: &dyn Crypto, algorithm: Algorithm) -> Kid {
        Kid::from_bytes(crypto.sha256(&[&cose_key(algorithm, self.key(algorithm))]))
    }

    /// What names this set where it holds a role: admin, issuer or timestamper.
    #[must_use]
    pub fn id(&self, crypto: &dyn Crypto) -> SignerId {
        let encoded = crate::codec::encode(self);
        SignerId::from_bytes(join_digest(crypto, domain::ROLE_KEY, &[&encoded]))
    }
}

impl core::fmt::Debug for SigningSet {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "SigningSet(ed25519 {})", hex::encode(&self.ed25519))
    }
}

/// The public COSE_Key of `key` in deterministic encoding.
#[must_use]
pub fn cose_key(algorithm: Algorithm, key: &[u8]) -> Vec<u8> {
    // Hand-written because two shapes share one function; the byte strings below are the
    // deterministic encodings of the maps in the docs of `SigningSet::kid`.
    let (head, tail): (&[u8], &[u8]) = match algorithm {
        Algorithm::MlDsa65 => (
            &[0xa3, 0x01, 0x07, 0x03, 0x38, 0x30, 0x20],
            &[0x59, 0x07, 0xa0],
        ),
        Algorithm::Ed25519 => (
            &[0xa4, 0x01, 0x01, 0x03, 0x32, 0x20, 0x06, 0x21],
            &[0x58, 0x20],
        ),
    };
    let mut out = Vec::with_capacity(head.len() + tail.len() + key.len());
    out.extend_from_slice(head);
    out.extend_from_slice(tail);
    out.extend_from_slice(key);
    out
}

/// SHA-256 over `label` and then each part, every one preceded by its length as a 32-bit
/// big-endian integer. The join is injective, so no two part lists share a digest by shifting
/// a boundary.
#[must_use]
pub fn join_digest(crypto: &dyn Crypto, label: domain::Label, parts: &[&[u8]]) -> [u8; 32] {
    let strings = core::iter::once(label.as_bytes()).chain(parts.iter().copied());
    let lengths: Vec<[u8; 4]> = strings
        .clone()
        .map(|s| u32::try_from(s.len()).unwrap_or(u32::MAX).to_be_bytes())
        .collect();
    let joined: Vec<&[u8]> = lengths
        .iter()
        .zip(strings)
        .flat_map(|(length, string)| [length.as_slice(), string])
        .collect();
    crypto.sha256(&joined)
}
