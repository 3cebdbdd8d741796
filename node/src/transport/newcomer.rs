//! Connections for a join stream only: the peers are proven by TLS and admitted by nobody.
//!
//! Such a connection is in no registry, carries one stream and nothing of libp2p, and ends with it.
//! It keeps the bounds of a connection before hello: one stream, a small window.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use protocol::id::NodeId;
use quinn::Connection;
use tokio::time::timeout;

use super::LinkError;
use super::endpoint::Proven;
use super::links::{Inner, Links, by_peer};
use super::refusal::Reason;
use super::stream::{Newcomer, RecvStream, SendStream, StreamKind};

/// How long the last answer on a join stream may take to arrive.
const LAST_ANSWER: Duration = Duration::from_secs(2);

/// A join stream this node opened to a node that need not admit it. Dropped, the connection is
/// closed.
#[derive(Debug)]
pub struct Approach {
    /// The node at the other end, as TLS proved.
    pub peer: NodeId,
    /// Towards it.
    pub send: SendStream,
    /// From it.
    pub recv: RecvStream,
    connection: Connection,
}

impl Approach {
    /// Why the connection ended, if it did.
    #[must_use]
    pub fn ended(&self) -> Option<LinkError> {
        let error = self.connection.close_reason()?;
        Some(by_peer(self.peer, &error))
    }
}

impl Drop for Approach {
    fn drop(&mut self) {
        let reason = Reason::Closed;
        self.connection
            .close(reason.code(), reason.name().as_bytes());
    }
}

impl Links {
    /// Dials `remote`, who must be `expected` where that is given, for a join stream instead of
    /// hello. Works before [`Links::serve`].
    ///
    /// # Errors
    /// See [`LinkError`].
    pub async fn approach(
        &self,
        remote: SocketAddr,
        expected: Option<NodeId>,
    ) -> Result<Approach, LinkError> {
        let opened = Box::pin(self.0.approach(remote, expected));
        tokio::select! {
            biased;
            () = self.0.stop.cancelled() => Err(LinkError::NotServing),
            opened = opened => opened,
        }
    }
}

impl Inner {
    async fn approach(
        &self,
        remote: SocketAddr,
        expected: Option<NodeId>,
    ) -> Result<Approach, LinkError> {
        let proven = self.endpoint.dial(remote, expected).await?;
        let (connection, peer) = (proven.connection, proven.peer.node);
        let ended = |error| by_peer(peer, &error);
        let opened = timeout(self.config.hello_timeout, connection.open_bi()).await;
        let opened = opened.map_err(|_| LinkError::Unreachable { remote })?;
        let (mut send, recv) = opened.map_err(ended)?;
        let kind = [StreamKind::OURS, StreamKind::Join.byte()];
        let written = send.write_all(&kind).await;
        written.map_err(|_| LinkError::Unreachable { remote })?;
        Ok(Approach {
            peer,
            send: SendStream::accepted(send),
            recv: RecvStream::accepted(recv, bytes::Bytes::new()),
            connection,
        })
    }

    /// Serves a newcomer's join stream to its end and closes the connection.
    pub(super) async fn enrol(
        self: Arc<Self>,
        proven: Proven,
        send: quinn::SendStream,
        recv: quinn::RecvStream,
    ) {
        let connection = proven.connection;
        if let Some(handler) = self.handler.get() {
            let newcomer = Newcomer {
                peer: proven.peer,
                send: SendStream::accepted(send),
                recv: RecvStream::accepted(recv, bytes::Bytes::new()),
            };
            tokio::select! {
                biased;
                () = self.stop.cancelled() => {}
                _ = connection.closed() => {}
                () = handler.newcomer(newcomer) => {
                    // The asking side closes once it has its answer; one that does not is closed.
                    let _ = timeout(LAST_ANSWER, connection.closed()).await;
                }
            }
        }
        let reason = Reason::Closed;
        connection.close(reason.code(), reason.name().as_bytes());
    }
}
