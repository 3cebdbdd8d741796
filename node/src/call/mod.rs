//! Calls across the mesh: an MCP message in, a signed envelope out, and back.
//!
//! One stream carries one call (kind *call*) or one session (kind *session*: `initialize`, its
//! response, and then what belongs to no call). [`outgoing`] is the caller's side and implements
//! [`crate::session::Fabric`]; [`incoming`] is the server's side and speaks to the node's own
//! upstreams through the same traits. `conversation` is what both have in common: the two
//! numbered directions of a stream, each message through `enforce`. [`route`] plans the way of a
//! call, [`relay`] is its middle: what this node carries between others, by the header alone. Servers of this node take the
//! same path over an in-memory stream, so nothing is exempt.

mod conversation;
pub mod drain;
pub mod incoming;
pub mod outgoing;
mod refusing;
pub mod relay;
pub mod route;
mod serving;
mod trace;
pub mod wire;

pub use drain::InFlight;
pub use incoming::Acceptor;
pub use outgoing::{Dialer, MeshFabric, RECORD_WAIT, RemoteSession};
pub use relay::Relay;
pub use route::Router;
pub use trace::{Trace, TracedEnvelope};

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, WriteHalf};

use crate::transport::SendStream;

/// The reading half of a stream, from QUIC or from memory.
pub type BoxRead = Box<dyn AsyncRead + Send + Unpin>;
/// The writing half of a stream.
pub type BoxWrite = Box<dyn Outbound>;

/// What is written to the other end of a stream.
#[async_trait]
pub trait Outbound: AsyncWrite + Send + Unpin {
    /// Resolves when the other end has all that was written before this one ended, or hears no more:
    /// a link that is closed before takes what is still on its way with it. Cancel safe.
    async fn delivered(&mut self);
}

#[async_trait]
impl Outbound for SendStream {
    async fn delivered(&mut self) {
        self.stopped().await;
    }
}

#[async_trait]
impl Outbound for WriteHalf<DuplexStream> {
    /// Memory keeps what was written.
    async fn delivered(&mut self) {}
}
