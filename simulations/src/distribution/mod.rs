//! How roots, bundles, revocations and timestamps spread: the production machine of
//! `protocol::distribution` in every node of a mesh of up to a hundred thousand, over links with
//! latency, loss, duplication and partitions, with nodes that die, come and go, and lie.
//!
//! What is modelled: links, processors, disks and clocks ([`links`], [`host`]), in microseconds of
//! virtual time; connections are made and refused as a node does it, by asking the trust state
//! whether the peer is revoked. What is not: TLS and congestion, and retransmission unless the
//! scenario says `links.resend_ms`; without it a lost message is lost, which is worse than QUIC. The
//! invariants ([`invariants`]) are checked after every step, of
//! the node that took it.

mod adversary;
mod authority;
mod connections;
mod crypto;
mod disk;
mod grounds;
mod host;
mod invariants;
mod links;
mod machines;
mod plan;
mod report;
pub(crate) mod scenario;
pub(crate) mod svg;
#[cfg(test)]
mod tests;
mod topology;
mod trace;
mod verdict;
pub(crate) mod world;
