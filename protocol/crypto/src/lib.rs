//! The production [`protocol::crypto::Crypto`]: hashing, randomness, ML-DSA-65 and Ed25519 over
//! aws-lc-rs and ed25519-dalek, and the three kinds of keys a node owns.
//!
//! - [`Primitives`] is the `Crypto` that everything outside the simulations uses.
//! - [`SigningKeys`] is a secret signing set (node, admin, issuer or timestamper); it signs COSE
//!   and nothing else.
//! - [`SealingKey`] is a secret sealing key (X-Wing); it opens what was sealed to it and nothing
//!   else.
//! - [`TlsIdentity`] is the composite key behind a node's RFC 7250 raw public key; it signs TLS
//!   handshakes and nothing else.
//!
//! The kinds come from independent seeds and share no type, so that neither can be passed
//! where the other is meant. Secrets are wiped when dropped and `Debug` shows public halves only.
//!
//! This crate exists because it needs a few lines of FFI, which `protocol` forbids: aws-lc-rs has
//! no way to set ML-DSA's context string, which composite signatures require, and no ML-KEM keys
//! from a seed, which X-Wing requires. They stand in `composite/ffi.rs` and `sealing/ffi.rs` and
//! nowhere else. It reads no files and speaks no TLS.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "a test that cannot go on should say where"
    )
)]

pub mod composite;
mod primitives;
mod sealing;
mod seeds;
mod signing;

pub use composite::identity::TlsIdentity;
pub use composite::spki::{SpkiError, parse_spki, spki};
pub use composite::{CompositeError, verify_composite};
pub use primitives::Primitives;
pub use sealing::SealingKey;
pub use signing::SigningKeys;

/// Bytes of the seed of one ML-DSA-65 (FIPS 204 ξ) or Ed25519 (RFC 8032 §5.1.5) key.
pub const SEED_LEN: usize = 32;

/// Bytes of a key set in a key file: the ML-DSA-65 seed, then the Ed25519 seed.
pub const SEEDS_LEN: usize = 2 * SEED_LEN;

#[cfg(test)]
mod vectors;
