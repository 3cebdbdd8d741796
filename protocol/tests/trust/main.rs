//! The state of trust documents against everybody who would turn it back, freeze it, split it or
//! take it over. Signatures are fakes that cost nothing; `tests/wire` has the real ones.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

mod bundles;
mod clock;
mod fake;
mod large;
mod logs;
mod lone_admin;
mod pending;
mod properties;
mod restart;
mod retired;
mod roots;
mod timestamps;
mod world;
