//! The Hedgerow daemon: transport, overlay, enforcement, MCP gateway, store, control API.
//!
//! `node/ARCHITECTURE.md` has the tasks, ports, trust boundaries and the order of shutdown.
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

pub mod app;
pub mod approvals;
pub mod backup;
pub mod call;
pub mod clock;
pub mod config;
pub mod control;
mod crash;
pub mod doctor;
pub mod enforcement;
pub mod enrol;
pub mod gateway;
mod heavy;
pub mod identity;
pub mod keys;
pub mod lane;
mod loopback;
pub mod members;
pub mod overlay;
pub mod page;
pub mod posture;
pub mod roots;
pub mod sample;
pub mod sd_notify;
pub mod sealing;
pub mod session;
pub mod setup;
pub mod standing;
pub mod state_dir;
pub mod store;
pub mod supervisor;
pub mod telemetry;
pub mod transport;
pub mod upstream;
