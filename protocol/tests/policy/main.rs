//! Policy documents: what they decide, and what is refused.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

mod diff;
mod diff_texts;
mod docs;
mod explain;
mod hostile;
mod humans;
mod keys;
mod lint;
mod listing;
mod numbers;
mod property;
mod raw_cedar;
mod results;
mod seed;
mod world;
