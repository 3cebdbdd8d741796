//! The wire format against real signatures: everything well-formed is accepted and reads back,
//! everything else is refused by the name SPEC.md gives it.
//!
//! One binary, so that one link serves all. Keys come from fixed seeds ([`world`]); ML-DSA-65
//! signs hedged, so signatures differ from run to run and nothing here depends on their bytes.
//! The tables of hostile input ([`case::Case`]) are also what the golden vectors are made of.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

mod approval;
mod case;
mod envelope;
mod evidence;
mod header;
mod hop;
mod key_order;
mod malformed;
mod membership;
mod node_record;
mod proposal;
mod raw;
mod record;
mod relayed_question;
mod root;
mod round_trip;
mod sealing;
mod signatures;
mod signer_card;
mod spec;
mod stream;
mod sync;
mod ticket;
mod trust;
mod vectors;
mod world;
