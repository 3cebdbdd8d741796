//! Streams to nodes: over the link to a peer, or through memory to this node itself.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use protocol::id::NodeId;
use tokio_util::task::TaskTracker;

use crate::call::{Acceptor, BoxRead, BoxWrite, Dialer};
use crate::enforcement::Origin;
use crate::members::Members;
use crate::overlay::STANDING_LINKS;
use crate::overlay::trust::Trust;
use crate::session::{ErrorKind, SessionError};
use crate::transport::{Links, StreamKind};

/// Bytes in flight on an in-memory stream before the writer waits, as a QUIC stream's window
/// would make it.
const LOCAL_WINDOW: usize = 64 * 1024;

/// How long a call waits for a link to a node that has none yet.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens streams over [`Links`].
pub(super) struct MeshDialer {
    links: Links,
    members: Arc<Members>,
    trust: Trust,
    acceptor: OnceLock<Arc<Acceptor>>,
    tasks: TaskTracker,
}

impl MeshDialer {
    pub(super) fn new(
        links: Links,
        members: Arc<Members>,
        trust: Trust,
        tasks: TaskTracker,
    ) -> Self {
        Self {
            links,
            members,
            trust,
            acceptor: OnceLock::new(),
            tasks,
        }
    }

    /// Gives it this node's own acceptor; called once.
    pub(super) fn serve_self(&self, acceptor: Arc<Acceptor>) {
        // A second acceptor would be a bug of the composition root; the first stays.
        drop(self.acceptor.set(acceptor));
    }

    /// Dials a member this node keeps no standing link to, as happens in a mesh with more members
    /// than standing links. Failing is found when the stream is opened.
    async fn dial(&self, node: NodeId) {
        if self.links.get(node).is_some() || self.links.all().len() < STANDING_LINKS {
            return;
        }
        let member = self.members.member(&node);
        let addresses = member
            .as_ref()
            .and_then(|m| m.record.as_ref())
            .map(|record| record.addresses.clone())
            .unwrap_or_default();
        let dialed = async {
            for address in addresses {
                for remote in tokio::net::lookup_host(address).await.into_iter().flatten() {
                    if self.links.dial(remote, Some(node)).await.is_ok() {
                        return;
                    }
                }
            }
        };
        // What is not there by then is unreachable for this call.
        drop(tokio::time::timeout(DIAL_TIMEOUT, dialed).await);
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
            let serve = acceptor.serve(origin, kind, Box::new(peer_read), Box::new(peer_write));
            Box::pin(serve).await;
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
        self.dial(node).await;
        self.trust.synced(&node).await;
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

    fn linked(&self, node: &NodeId) -> bool {
        self.links.get(*node).is_some()
    }

    fn reachable(&self, node: &NodeId) -> bool {
        // In a large mesh a member without a link is dialed when it is called.
        let dialable = || {
            let member = self.members.member(node);
            let record = member.as_ref().and_then(|m| m.record.as_ref());
            self.links.all().len() >= STANDING_LINKS && record.is_some()
        };
        *node == self.links.node() || self.links.get(*node).is_some() || dialable()
    }
}
