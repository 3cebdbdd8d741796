//! The harness of the integration tests: whole nodes in this process over real QUIC on loopback,
//! and members that misbehave.
//!
//! - [`mesh`]: founds a mesh in a temporary directory, admits hosts, runs their nodes here.
//! - [`admin`]: the admin of such a mesh, who signs revocations and roots.
//! - [`process`]: the same nodes as child processes, for what only `kill -9` and an exit code show.
//! - [`hostile`]: a member with valid keys that writes whatever it likes; [`forge`] makes its
//!   envelopes, [`stranger`] is a peer that is not even a member.
//! - [`mod@line`]: three nodes of which the ends reach each other through the middle only.
//! - [`stage`]: two honest nodes, one hostile member, and a call in flight that must not notice.
//! - [`rogue`]: a relay with valid keys that does what no honest relay would.
//! - [`lawless`]: nodes composed without their own check.
//! - [`disk`]: file systems that are full or read-only, for a test that runs as root.
//! - [`client`]: an MCP client of a gateway; [`fixture`]: the MCP server the tests script.
//!
//! Nothing waits for time to pass: [`wait::until`] looks at a condition until it holds, within a
//! bound generous enough that only a defect reaches it. Every port is 0.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a test that cannot go on should say where"
)]

pub mod admin;
pub mod client;
pub mod disk;
pub mod fixture;
pub mod forge;
pub mod hostile;
pub mod lawless;
pub mod line;
pub mod mesh;
pub mod process;
pub mod rogue;
pub mod stage;
pub mod stranger;
pub mod wait;
