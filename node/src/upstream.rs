//! The egress side: the real MCP servers attached to this node, and sessions with them.
//!
//! [`Upstreams`] holds them by name. A session ([`UpstreamSession`]) has a process or a remote
//! session of its own, made from the client's own `initialize`, so that nothing a server
//! remembers of one client reaches another. Messages pass as the bytes they are: towards the
//! server only a request's id (and the id a cancellation names) is replaced by one of ours, and
//! restored on the way back; on stdio, line ends between tokens become spaces besides.
//!
//! | part | |
//! |---|---|
//! | `spec` | what may be attached, checked |
//! | `server` | one attached server as its sessions share it: health, counters, status |
//! | `session`, `call` | one client session over successive links; one call in flight |
//! | `router` | which message belongs to which call |
//! | `link`, `stdio`, `http` | one live connection: a process, or streamable HTTP |
//! | `inventory` | tools and their digests, read by this node itself |
//! | `backoff`, `limits`, `error` | delays, bounds, every refusal |
//!
//! Servers come from local configuration only. Nothing here decides who may call what.

mod backoff;
mod call;
mod defined;
mod error;
mod http;
mod inventory;
pub mod limits;
mod link;
mod messages;
mod router;
mod server;
mod session;
mod spec;
mod stdio;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod real;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use protocol::crypto::Crypto;
use protocol::limits::MAX_SERVERS;
use protocol::name::Name;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use error::UpstreamError;
pub use inventory::Inventory;
pub use limits::Limits;
pub use server::{ServerState, ServerStatus};
pub use session::UpstreamSession;
pub use spec::{
    INHERITED, MAX_ARGUMENTS, MAX_PAIRS, MAX_VALUE_BYTES, Secret, ServerSpec, SpecError,
};

use crate::lane::Lane;
use crate::session::{OpenSession, SessionError};
use error::Failure;
use router::lock;
use server::Server;

/// Every server attached to this node.
pub struct Upstreams {
    servers: Mutex<BTreeMap<Name, Arc<Server>>>,
    crypto: Arc<dyn Crypto>,
    limits: Arc<Limits>,
    cancel: CancellationToken,
    tracker: TaskTracker,
    lane: Lane,
    changes: watch::Sender<u64>,
}

impl Upstreams {
    /// No servers yet. Everything ends when `cancel` is cancelled; [`Upstreams::shutdown`] waits
    /// for it. Must be called within a tokio runtime, whose tasks the servers' are.
    #[must_use]
    pub fn new(
        crypto: Arc<dyn Crypto>,
        cancel: &CancellationToken,
        limits: Limits,
        lane: Lane,
    ) -> Arc<Self> {
        Arc::new(Self {
            servers: Mutex::default(),
            crypto,
            limits: Arc::new(limits),
            cancel: cancel.child_token(),
            tracker: TaskTracker::new(),
            lane,
            changes: watch::Sender::new(0),
        })
    }

    /// Attaches a server and begins to read its inventory; does not wait for either.
    ///
    /// # Errors
    /// A spec that is not usable, a name that is taken, too many servers, or no TLS.
    pub fn add(&self, name: Name, spec: ServerSpec) -> Result<(), UpstreamError> {
        spec.validate()?;
        let client = http::client(&spec)?;
        if self.cancel.is_cancelled() {
            return Err(UpstreamError::ShuttingDown);
        }
        let server = {
            let mut servers = lock(&self.servers);
            if servers.contains_key(&name) {
                return Err(UpstreamError::NameTaken(name));
            }
            if servers.len() >= MAX_SERVERS {
                return Err(UpstreamError::TooManyServers { max: MAX_SERVERS });
            }
            let server = Arc::new(Server::new(
                name.clone(),
                spec,
                Arc::clone(&self.crypto),
                Arc::clone(&self.limits),
                self.cancel.child_token(),
                self.tracker.clone(),
                client,
            ));
            servers.insert(name, Arc::clone(&server));
            server
        };
        self.bump();
        let kept = inventory::keep_current(server, self.changes.clone());
        self.lane.spawn(&self.tracker, kept);
        Ok(())
    }

    /// Detaches a server: its sessions end and its processes with them. True if there was one.
    pub fn remove(&self, name: &Name) -> bool {
        let removed = lock(&self.servers).remove(name);
        if let Some(server) = &removed {
            server.removed.cancel();
            self.bump();
        }
        removed.is_some()
    }

    /// Every server with how it is doing, by name.
    #[must_use]
    pub fn list(&self) -> Vec<ServerStatus> {
        lock(&self.servers).values().map(|s| s.status()).collect()
    }

    /// Opens a session with the client's `initialize` request and waits for the response.
    ///
    /// # Errors
    /// Why there is no session; the node's name is left for the caller to fill.
    pub async fn open(
        &self,
        server: &Name,
        initialize: Bytes,
    ) -> Result<OpenSession, SessionError> {
        let opened = self.try_open(server, initialize).await;
        opened.map_err(|failure| failure.at(server))
    }

    async fn try_open(&self, name: &Name, initialize: Bytes) -> Result<OpenSession, Failure> {
        let server = lock(&self.servers).get(name).cloned();
        let server = server.ok_or(Failure::Unknown)?;
        let permit = Arc::clone(&server.sessions)
            .try_acquire_owned()
            .map_err(|_| Failure::TooManySessions {
                max: server.limits.sessions_per_server,
            })?;
        let counters = Arc::clone(&server.counters);
        UpstreamSession::open(server, counters, initialize, Some(permit)).await
    }

    /// What a server offers, once it was read.
    #[must_use]
    pub fn inventory(&self, server: &Name) -> Option<Arc<Inventory>> {
        lock(&self.servers).get(server)?.inventory()
    }

    /// A number that grows when the set of servers or an inventory changes.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Ends every session and process and waits until they are gone.
    pub async fn shutdown(&self) {
        self.cancel.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }

    fn bump(&self) {
        self.changes.send_modify(|n| *n = n.saturating_add(1));
    }
}
