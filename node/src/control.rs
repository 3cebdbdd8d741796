//! The control API: what local operators ask of this node, over a Unix socket.
//!
//! The socket is 0600 and every connection's peer credentials are checked: only the user the
//! node runs as, and root, are served. The types and paths are [`protocol::control`]; what the
//! operations do is behind [`Operations`], which the composition root implements. This module
//! bounds (connections, bodies, time), checks what can be checked without state, and maps
//! failures to HTTP; it keeps no state and takes no decision about the mesh.

use async_trait::async_trait;
use protocol::control::{
    AddAgent, AddServer, Admission, Agent, AgentToken, BundleFile, CallReply, CallRequest, Check,
    Decision, DecisionPage, DecisionQuery, DecisionSearch, Dial, Failure, FailureKind, FileBytes,
    IssueMembership, MembershipRequestInfo, PastBundle, Peer, PostureQuery, PostureReport, Server,
    ServerFilter, Status, StoreCopy, Tool,
};
use protocol::name::Name;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

mod approving;
mod enrolling;
mod lines;
mod page;
mod router;
mod serve;
#[cfg(test)]
mod tests;
mod trusting;

pub use approving::ApprovalOperations;
pub use enrolling::Enrolling;
pub use page::PageOperations;
pub use serve::{Admit, BindError, bind, serve};
pub use trusting::TrustOperations;

/// The local process on the other end of a connection, as the kernel tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// Its effective user.
    pub uid: u32,
    /// Its process, where the kernel tells.
    pub pid: Option<i32>,
}

/// What the node does for local operators. Every method may be called many times at once, and
/// its future may be dropped at any await point: a change is either made durable or not made.
#[async_trait]
pub trait Operations: Enrolling {
    /// The state of this node.
    ///
    /// # Errors
    /// Why it cannot be told.
    async fn status(&self) -> Result<Status, Failure>;

    /// What is wrong with this node, why, and how to mend it.
    ///
    /// # Errors
    /// Why it cannot be told.
    async fn doctor(&self) -> Result<Vec<Check>, Failure>;

    /// Copies the store beside itself, for a backup; whoever asked removes the copy.
    ///
    /// # Errors
    /// Why there is no copy.
    async fn copy_store(&self, caller: Caller) -> Result<StoreCopy, Failure>;

    /// Every known peer, sorted by name, then id.
    ///
    /// # Errors
    /// Why they cannot be listed.
    async fn peers(&self) -> Result<Vec<Peer>, Failure>;

    /// What this node finds of its own state, and what others say of theirs.
    ///
    /// # Errors
    /// `unknown_node`.
    async fn postures(&self, query: PostureQuery) -> Result<PostureReport, Failure>;

    /// Opens a link, and returns the peer once it is admitted.
    ///
    /// # Errors
    /// Why there is no link: the peer's or the transport's own reason.
    async fn dial(&self, caller: Caller, dial: Dial) -> Result<Peer, Failure>;

    /// The servers attached here, sorted by name.
    ///
    /// # Errors
    /// Why they cannot be listed.
    async fn servers(&self) -> Result<Vec<Server>, Failure>;

    /// Attaches a server, durably; its spec was checked ([`protocol::control::ServerSpec::check`]).
    /// Returns without waiting for the server to answer.
    ///
    /// # Errors
    /// The name is taken, or what else kept it from being attached.
    async fn add_server(&self, caller: Caller, server: AddServer) -> Result<Server, Failure>;

    /// Detaches a server, durably; its sessions end.
    ///
    /// # Errors
    /// There is none of that name.
    async fn remove_server(&self, caller: Caller, name: Name) -> Result<(), Failure>;

    /// The agents of this node, sorted by name.
    ///
    /// # Errors
    /// Why they cannot be listed.
    async fn agents(&self) -> Result<Vec<Agent>, Failure>;

    /// Adds an agent and draws its token, which is returned this once.
    ///
    /// # Errors
    /// The name is taken, or the store failed.
    async fn add_agent(&self, caller: Caller, agent: AddAgent) -> Result<AgentToken, Failure>;

    /// Removes an agent, durably; its sessions end.
    ///
    /// # Errors
    /// There is none of that name.
    async fn remove_agent(&self, caller: Caller, name: Name) -> Result<(), Failure>;

    /// The tools of the servers that `filter` selects, asked of the servers now.
    ///
    /// # Errors
    /// No such node or server, or why one named by the filter cannot be asked.
    async fn tools(&self, caller: Caller, filter: ServerFilter) -> Result<Vec<Tool>, Failure>;

    /// Calls a tool. The server's notifications go to `notifications` in order, before the
    /// return. The deadline is kept by dropping the future, which abandons the call.
    ///
    /// # Errors
    /// What kept the call from being made; a JSON-RPC error is a reply, not an error here.
    async fn call(
        &self,
        caller: Caller,
        call: CallRequest,
        notifications: mpsc::Sender<Box<RawValue>>,
    ) -> Result<CallReply, Failure>;

    /// What a membership request says, once its signatures are checked.
    ///
    /// # Errors
    /// Why it is no request.
    async fn inspect_request(&self, request: FileBytes) -> Result<MembershipRequestInfo, Failure>;

    /// Issues a membership.
    ///
    /// # Errors
    /// This node is no issuer, or the request or the limits forbid it.
    async fn issue_membership(
        &self,
        caller: Caller,
        issue: IssueMembership,
    ) -> Result<Admission, Failure>;

    /// Decision records, newest first; `limit` was checked.
    ///
    /// # Errors
    /// Why they cannot be read.
    async fn decisions(&self, query: DecisionQuery) -> Result<Vec<Decision>, Failure>;

    /// Decision records that meet what is asked, newest first; `limit` was checked.
    ///
    /// # Errors
    /// Why they cannot be read.
    async fn find_decisions(&self, search: DecisionSearch) -> Result<DecisionPage, Failure>;

    /// The bundles kept that were in force here, the oldest first; none where none are kept.
    ///
    /// # Errors
    /// Why they cannot be read.
    async fn past_bundles(&self) -> Result<Vec<PastBundle>, Failure> {
        Ok(Vec::new())
    }

    /// One of them.
    ///
    /// # Errors
    /// It is not kept, or why it cannot be read.
    async fn past_bundle(&self, version: u64) -> Result<BundleFile, Failure> {
        let message = format!("no bundle {version} is kept here");
        Err(
            Failure::new(FailureKind::NotFound, "unknown_bundle", message)
                .with_hint("see `hedgerow policy history`"),
        )
    }

    /// What is in force in the mesh, and what changes it; absent where nothing keeps it.
    fn trust(&self) -> Option<&dyn TrustOperations> {
        None
    }

    /// Calls that wait for approval; absent where none can.
    fn approvals(&self) -> Option<&dyn ApprovalOperations> {
        None
    }

    /// The way into the status page; absent where there is none.
    fn page(&self) -> Option<&dyn PageOperations> {
        None
    }

    /// Counts a refusal that the control API made itself, by the name of its reason.
    fn refused(&self, reason: &'static str);
}
