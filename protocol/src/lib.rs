//! Everything in Hedgerow that is true without I/O: identifiers, the strict codec, signed
//! envelopes, identity and membership, and the rules by which they are accepted or refused.
//!
//! No sockets, files, clocks, environment or operating-system randomness: time and randomness
//! are arguments, primitives come through [`crypto::Crypto`]. The byte-level specification is
//! `protocol/SPEC.md`.
#![forbid(unsafe_code)]
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

pub mod approval;
pub mod codec;
pub mod control;
pub mod cose;
pub mod crypto;
pub mod distribution;
pub mod envelope;
pub mod evidence;
pub mod hello;
pub mod human;
pub mod id;
pub mod inert;
pub mod limits;
pub mod mcp;
pub mod name;
pub mod policy;
pub mod record;
pub mod time;
pub mod trust;
