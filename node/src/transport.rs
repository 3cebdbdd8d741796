//! Links with other nodes: QUIC with a hybrid handshake, admission, streams, gossip.
//!
//! One UDP port carries everything. A connection passes four gates, each with its own named,
//! counted refusals: the source throttle and the bound on handshakes (`endpoint`), TLS 1.3 with
//! X25519MLKEM768 and composite raw public keys both ways (`tls`), hello and [`Admission`]
//! (`admission`), and the registry that keeps one link per pair of nodes (`registry`). Only then
//! do streams count: ours go to the [`StreamHandler`], libp2p's to the swarm.
//!
//! ```text
//! UDP ── endpoint ── tls ── admission ── registry ── link ─┬─ StreamHandler (call, session, …)
//!  (flights count)  (observe reads)                        └─ swarm (gossipsub, ping)
//! ```
//!
//! It knows no membership, envelope or policy: who is admitted and what streams mean is decided
//! by whoever implements [`Admission`] and [`StreamHandler`].

mod admission;
mod carrier;
mod copies;
mod endpoint;
mod error;
mod flights;
pub mod frame;
pub mod limits;
mod link;
mod links;
mod newcomer;
mod observe;
mod raw_key;
mod refusal;
mod registry;
mod stream;
mod swarm;
mod throttle;
mod tls;

pub use admission::{Admission, PeerIdentity};
pub use copies::{COPY_SIGNS, COPY_WINDOW};
pub use endpoint::Config;
pub use error::{BindError, LinkError};
pub use link::{LinkInfo, Path};
pub use links::{LinkEvent, Links};
pub use newcomer::Approach;
pub use raw_key::{SCHEME, SCHEME_NAME};
pub use refusal::{Counters, Reason, Refusal};
pub use stream::{IncomingStream, Newcomer, RecvStream, SendStream, StreamHandler, StreamKind};
pub use swarm::{Gossip, GossipError, GossipMessage, PendingVerdict, Verdict};
pub use throttle::SourceRate;
pub use tls::TlsError;

#[cfg(test)]
mod tests;
