//! Streams to nodes: over the link to a peer, or through memory to this node itself.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use protocol::id::NodeId;
use tokio_util::task::TaskTracker;

use crate::call::{Acceptor, BoxRead, BoxWrite, Dialer, RECORD_WAIT};
use crate::enforcement::Origin;
use crate::members::Members;
use crate::overlay::trust::Trust;
use crate::overlay::{Dialing, Records, STANDING_LINKS};
use crate::session::{ErrorKind, SessionError};
use crate::transport::{LinkError, Links, StreamKind};

/// Bytes in flight on an in-memory stream before the writer waits, as a QUIC stream's window
/// would make it.
const LOCAL_WINDOW: usize = 64 * 1024;

/// How long a call waits for a link to a node that has none yet.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a call that waits for the first dial of a node looks for its end.
const DIAL_LOOK: Duration = Duration::from_millis(20);

/// Most relays of a node that are asked for its record: more would know no more.
const MAX_ASKED: usize = 2;

fn locked(asking: &Mutex<HashSet<NodeId>>) -> std::sync::MutexGuard<'_, HashSet<NodeId>> {
    asking.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens streams over [`Links`].
pub(super) struct MeshDialer {
    links: Links,
    dialing: Arc<Dialing>,
    members: Arc<Members>,
    trust: Trust,
    acceptor: OnceLock<Arc<Acceptor>>,
    records: OnceLock<Arc<Records>>,
    /// The nodes whose records are being asked for.
    asking: Arc<Mutex<HashSet<NodeId>>>,
    tasks: TaskTracker,
    started: Instant,
}

impl MeshDialer {
    pub(super) fn new(
        links: Links,
        dialing: Arc<Dialing>,
        members: Arc<Members>,
        trust: Trust,
        tasks: TaskTracker,
    ) -> Self {
        Self {
            links,
            dialing,
            members,
            trust,
            acceptor: OnceLock::new(),
            records: OnceLock::new(),
            asking: Arc::default(),
            tasks,
            started: Instant::now(),
        }
    }

    /// Gives it this node's own acceptor; called once.
    pub(super) fn serve_self(&self, acceptor: Arc<Acceptor>) {
        // A second acceptor would be a bug of the composition root; the first stays.
        drop(self.acceptor.set(acceptor));
    }

    /// Gives it what takes in records that it asks for; called once.
    pub(super) fn learn_by(&self, records: Arc<Records>) {
        drop(self.records.set(records));
    }

    /// Who may know a node's record best: itself, else the relays it names, who have a link with it.
    fn knowing(&self, of: NodeId) -> Vec<NodeId> {
        if self.linked(&of) {
            return vec![of];
        }
        let member = self.members.member(&of);
        let record = member.as_ref().and_then(|m| m.record.as_ref());
        let relays = record.map(|r| r.relays.clone()).unwrap_or_default();
        let linked = relays.into_iter().filter(|relay| self.linked(relay));
        linked.take(MAX_ASKED).collect()
    }

    /// Waits while a node is dialed for the first time since there was a link with it, or since the
    /// start: whoever calls just then would be told that there is no link, and a moment later there
    /// is one. Where a dial has failed nothing is waited for.
    async fn first_dial(&self, node: NodeId) {
        let dialed = async {
            while self.links.get(node).is_none() && self.is_first_dialed(&node) {
                tokio::time::sleep(DIAL_LOOK).await;
            }
        };
        drop(tokio::time::timeout(DIAL_TIMEOUT, dialed).await);
    }

    fn is_first_dialed(&self, node: &NodeId) -> bool {
        match self.dialing.attempt(node) {
            Some(attempt) => attempt.is_first(),
            // At the start nobody is dialed for a moment.
            None => {
                let member = self.members.member(node);
                let record = member.as_ref().and_then(|m| m.record.as_ref());
                let dialable = record.is_some_and(|record| !record.addresses.is_empty());
                dialable && self.started.elapsed() < DIAL_TIMEOUT
            }
        }
    }

    /// Dials a member this node keeps no standing link to, as happens in a mesh with more members
    /// than standing links. Failing is found when the stream is opened.
    async fn dial(&self, node: NodeId) {
        let kept_off = self.dialing.kept_off(&node).is_some();
        if kept_off || self.links.get(node).is_some() || self.links.all().len() < STANDING_LINKS {
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
        self.first_dial(node).await;
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
                if let Some((reason, why)) = self.dialing.kept_off(&node) {
                    let text = format!("no link to node {}: {why}", node.short());
                    return Err(SessionError::new(ErrorKind::Unreachable, &reason, text)
                        .with_hint("it comes back by itself; see `hedgerow peers`"));
                }
                let text = match error {
                    LinkError::NoLink { .. } => format!("no link to node {}", node.short()),
                    other => format!("no link to node {}: {other}", node.short()),
                };
                Err(SessionError::new(ErrorKind::Unreachable, "no_link", text)
                    .with_hint("see `hedgerow peers`"))
            }
        }
    }

    fn ask_record(&self, of: NodeId) {
        let (Some(records), false) = (self.records.get().cloned(), of == self.links.node()) else {
            return;
        };
        let asked = self.knowing(of);
        if asked.is_empty() || !locked(&self.asking).insert(of) {
            return;
        }
        let (links, asking) = (self.links.clone(), Arc::clone(&self.asking));
        self.tasks.spawn(async move {
            for peer in asked {
                let asking = async {
                    let opened = links.open(peer, StreamKind::Record).await;
                    let (send, recv) = opened.map_err(|e| e.to_string())?;
                    let asked = records.ask(&of, send, recv).await;
                    asked.map_err(|e| e.to_string())
                };
                match tokio::time::timeout(RECORD_WAIT, asking).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => {
                        tracing::debug!(peer = %peer.short(), error, "a record was not given");
                    }
                    Err(_) => {
                        tracing::debug!(peer = %peer.short(), "a record was not given in time")
                    }
                }
            }
            locked(&asking).remove(&of);
        });
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
