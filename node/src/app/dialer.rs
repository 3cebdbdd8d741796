//! Streams to nodes: over the link to a peer, or through memory to this node itself.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use protocol::id::NodeId;
use tokio_util::task::TaskTracker;

use crate::call::{Acceptor, BoxRead, BoxWrite, Dialer};
use crate::enforcement::Origin;
use crate::session::{ErrorKind, SessionError};
use crate::transport::{Links, StreamKind};

/// Bytes in flight on an in-memory stream before the writer waits, as a QUIC stream's window
/// would make it.
const LOCAL_WINDOW: usize = 64 * 1024;

/// Opens streams over [`Links`].
pub(super) struct MeshDialer {
    links: Links,
    acceptor: OnceLock<Arc<Acceptor>>,
    tasks: TaskTracker,
}

impl MeshDialer {
    pub(super) fn new(links: Links, tasks: TaskTracker) -> Self {
        Self {
            links,
            acceptor: OnceLock::new(),
            tasks,
        }
    }

    /// Gives it this node's own acceptor; called once.
    pub(super) fn serve_self(&self, acceptor: Arc<Acceptor>) {
        // A second acceptor would be a bug of the composition root; the first stays.
        drop(self.acceptor.set(acceptor));
    }

    fn open_local(&self, kind: StreamKind) -> Result<(Origin, BoxRead, BoxWrite), SessionError> {
        let me = Origin {
            peer: self.links.node(),
            address: None,
        };
        let Some(acceptor) = self.acceptor.get().cloned() else {
            let text = "this node is not ready yet";
            return Err(SessionError::new(ErrorKind::Unreachable, "not_ready", text));
        };
        let (here, there) = tokio::io::duplex(LOCAL_WINDOW);
        let (read, write) = tokio::io::split(here);
        let (peer_read, peer_write) = tokio::io::split(there);
        let origin = me.clone();
        self.tasks.spawn(async move {
            acceptor
                .serve(origin, kind, Box::new(peer_read), Box::new(peer_write))
                .await;
        });
        Ok((me, Box::new(read), Box::new(write)))
    }
}

#[async_trait]
impl Dialer for MeshDialer {
    async fn open(
        &self,
        node: NodeId,
        kind: StreamKind,
    ) -> Result<(Origin, BoxRead, BoxWrite), SessionError> {
        if node == self.links.node() {
            return self.open_local(kind);
        }
        let address = self.links.get(node).map(|link| link.remote.to_string());
        match self.links.open(node, kind).await {
            Ok((send, recv)) => Ok((
                Origin {
                    peer: node,
                    address,
                },
                Box::new(recv),
                Box::new(send),
            )),
            Err(error) => {
                let text = format!("no link to node {}: {error}", node.short());
                Err(SessionError::new(ErrorKind::Unreachable, "no_link", text)
                    .with_hint("see `hedgerow peers`"))
            }
        }
    }

    fn reachable(&self, node: &NodeId) -> bool {
        *node == self.links.node() || self.links.get(*node).is_some()
    }
}
