//! The status page: what this node does, for the operators of its host, in a browser.
//!
//! Read-only, on loopback, on a port of its own. A browser gets in with a one-time code that only
//! the control API gives out ([`Access`]); `Host` and `Origin` are checked on every request. What
//! is shown are the snapshots that the control API serves, through [`Source`], and the decisions
//! that the ledger writes, through [`Tail`], which never waits for a reader.
//!
//! Everything on the page was chosen by others: names, tools, reasons, policies. It is escaped
//! where HTML is made, and every finished document and event passes `inert` besides, so that no
//! control or bidirectional character reaches a browser. There is no inline script or style, and
//! the content security policy allows none.
//!
//! The page changes nothing: what is not `GET` or `HEAD` is refused, and the one `GET` that has an
//! effect uses up a login code.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use protocol::control::{
    Decision, DecisionQuery, Failure, FailureKind, PageLogin, PageSessionsEnded, Peer, Secret,
    Status,
};
use protocol::crypto::Crypto;
use protocol::id::NodeId;
use protocol::record::DecisionRecord;
use tokio::time::Instant;

mod access;
mod assets;
mod feed;
mod filter;
mod http;
pub mod limits;
mod refusal;
mod render;
mod serve;
mod tail;
#[cfg(test)]
mod tests;
mod view;

pub use access::{Access, AccessError, CODE_LIFE, SESSION_LIFE};
pub use serve::serve;
pub use tail::{Alert, Severity, Tail};
pub use view::{BundleView, PolicyText, PolicyView, ToolServer};

use crate::control::{Caller, PageOperations};

/// What the page shows. Reads only; each may be called many times at once.
#[async_trait]
pub trait Source: Send + Sync {
    /// The state of this node.
    ///
    /// # Errors
    /// Why it cannot be told.
    async fn status(&self) -> Result<Status, Failure>;

    /// Every known peer, sorted by name, then id.
    ///
    /// # Errors
    /// Why they cannot be listed.
    async fn peers(&self) -> Result<Vec<Peer>, Failure>;

    /// Decision records, newest first.
    ///
    /// # Errors
    /// Why they cannot be read.
    async fn decisions(&self, query: DecisionQuery) -> Result<Vec<Decision>, Failure>;

    /// The servers that can be named here and their tools, as their nodes announced them; sorted
    /// by node and server.
    fn servers(&self) -> Vec<ToolServer>;

    /// The bundle in force, where there is one.
    fn bundle(&self) -> Option<BundleView>;

    /// A policy document of that bundle.
    fn policy_text(&self, name: &str) -> Option<PolicyText>;

    /// A record just written, as it is listed.
    fn listed(&self, record: &DecisionRecord) -> Decision;

    /// A node's name, or its id where nobody is known by it.
    fn name_of(&self, node: &NodeId) -> String;

    /// Counts a refusal of the page by the name of its reason.
    fn refused(&self, reason: &'static str);
}

/// The parts of the page that outlive a request: who may see it, and what was decided lately.
pub struct Page {
    address: SocketAddr,
    access: Access,
    tail: Arc<Tail>,
}

impl Page {
    /// A page that listens on `address` and shows what `tail` is told.
    #[must_use]
    pub fn new(address: SocketAddr, crypto: Arc<dyn Crypto>, tail: Arc<Tail>) -> Self {
        Self {
            address,
            access: Access::new(crypto),
            tail,
        }
    }

    /// The address it listens on.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

#[async_trait]
impl PageOperations for Page {
    async fn login(&self, _: Caller) -> Result<PageLogin, Failure> {
        let code = self.access.issue(Instant::now()).map_err(|error| {
            Failure::new(FailureKind::Internal, "no_randomness", error.to_string())
        })?;
        Ok(PageLogin {
            url: Secret::new(format!(
                "http://{}/login?code={}",
                self.address,
                code.as_str()
            )),
            listen: self.address.to_string(),
            expires_s: CODE_LIFE.as_secs(),
        })
    }

    async fn end_sessions(&self, caller: Caller) -> Result<PageSessionsEnded, Failure> {
        let ended = self.access.revoke(Instant::now());
        tracing::info!(uid = caller.uid, ended, "sessions of the status page ended");
        Ok(PageSessionsEnded {
            ended: u64::try_from(ended).unwrap_or(u64::MAX),
        })
    }
}
