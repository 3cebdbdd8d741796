//! Real QUIC on loopback, port 0, every outcome awaited and none timed.

mod gossip;
mod hostile;
mod links;
mod streams;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hedgerow_crypto::{Primitives, TlsIdentity};
use protocol::id::NodeId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{broadcast, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;

/// Longest any step may take before the test fails; no test relies on its length.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("should not hang")
}

/// Admits who says its word.
pub(super) struct Word {
    pub(super) says: Vec<u8>,
    pub(super) wants: Vec<u8>,
    pub(super) heard: Mutex<HashSet<NodeId>>,
}

impl Word {
    pub(super) fn new(says: &str, wants: &str) -> Arc<Self> {
        Arc::new(Self {
            says: says.into(),
            wants: wants.into(),
            heard: Mutex::default(),
        })
    }
}

impl Admission for Word {
    fn hello(&self) -> Vec<u8> {
        self.says.clone()
    }

    fn admit(&self, peer: &PeerIdentity, hello: &[u8]) -> Result<(), Refusal> {
        assert_eq!(
            peer.node,
            NodeId::of_tls_key(&Primitives, peer.tls_key.as_ref())
        );
        self.heard.lock().unwrap().insert(peer.node);
        if hello == self.wants {
            Ok(())
        } else {
            Err(Refusal::new("foreign_mesh", "the peer is of another mesh"))
        }
    }
}

/// Sends back what it reads; sync streams are told of when they start and when their link ends.
pub(super) struct Echo {
    pub(super) seen: mpsc::UnboundedSender<(NodeId, StreamKind)>,
}

#[async_trait::async_trait]
impl StreamHandler for Echo {
    async fn handle(&self, mut stream: IncomingStream) {
        let _ = self.seen.send((stream.peer, stream.kind));
        if stream.kind == StreamKind::Sync {
            // Waits for nothing but the end of the link.
            stream.down.cancelled().await;
            let _ = self.seen.send((stream.peer, StreamKind::Sync));
            return;
        }
        let mut bytes = Vec::new();
        if stream.recv.read_to_end(&mut bytes).await.is_ok() {
            let _ = stream.send.write_all(&bytes).await;
            stream.send.finish();
        }
    }
}

pub(super) struct TestNode {
    pub(super) links: Links,
    pub(super) echo: Arc<Echo>,
    pub(super) seen: mpsc::UnboundedReceiver<(NodeId, StreamKind)>,
    pub(super) events: broadcast::Receiver<LinkEvent>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
}

pub(super) fn identity() -> Arc<TlsIdentity> {
    Arc::new(TlsIdentity::generate(&Primitives).unwrap())
}

pub(super) fn config() -> Config {
    let mut config = Config::new("127.0.0.1:0".parse().unwrap());
    config.source_rate.burst = 10_000;
    config
}

impl TestNode {
    pub(super) fn start() -> Self {
        Self::with(config(), Word::new("hi", "hi"), identity())
    }

    pub(super) fn with(
        config: Config,
        admission: Arc<dyn Admission>,
        identity: Arc<TlsIdentity>,
    ) -> Self {
        let node = Self::bind(config, admission, identity);
        node.links.serve(Arc::clone(&node.echo) as Arc<_>);
        node
    }

    pub(super) fn bind(
        config: Config,
        admission: Arc<dyn Admission>,
        identity: Arc<TlsIdentity>,
    ) -> Self {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let links = Links::bind(
            config,
            identity,
            Arc::new(Primitives),
            admission,
            tasks.clone(),
            stop.clone(),
        )
        .unwrap();
        let (sender, seen) = mpsc::unbounded_channel();
        Self {
            events: links.events(),
            links,
            echo: Arc::new(Echo { seen: sender }),
            seen,
            tasks,
            stop,
        }
    }

    pub(super) fn node(&self) -> NodeId {
        self.links.node()
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.links.local_addr().unwrap()
    }

    pub(super) async fn dial(&self, other: &Self) -> Result<LinkInfo, LinkError> {
        soon(self.links.dial(other.address(), Some(other.node()))).await
    }

    pub(super) async fn event(&mut self) -> LinkEvent {
        soon(self.events.recv()).await.unwrap()
    }

    /// Waits for a counter: refusals are counted by tasks of their own.
    pub(super) async fn counted(&self, reason: Reason) {
        soon(async {
            while self.links.counters().of(reason) == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    pub(super) async fn echo(&self, peer: NodeId, message: &[u8]) -> std::io::Result<Vec<u8>> {
        let opened = soon(self.links.open(peer, StreamKind::Call)).await;
        let (mut send, mut recv) = opened.map_err(std::io::Error::other)?;
        send.write_all(message).await?;
        send.finish();
        let mut answer = Vec::new();
        soon(recv.read_to_end(&mut answer)).await?;
        Ok(answer)
    }

    pub(super) async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        soon(self.tasks.wait()).await;
    }
}

/// Two nodes with a link, dialed by the first, both having seen it come up.
pub(super) async fn pair() -> (TestNode, TestNode) {
    let (mut a, mut b) = (TestNode::start(), TestNode::start());
    a.dial(&b).await.unwrap();
    let up = |peer, dialed| LinkEvent::Up { peer, dialed };
    assert_eq!(a.event().await, up(b.node(), true));
    assert_eq!(b.event().await, up(a.node(), false));
    (a, b)
}
