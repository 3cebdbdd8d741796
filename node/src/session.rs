//! The shape in which MCP sessions are spoken inside the node.
//!
//! Two parts implement it: `call` (a session with a server somewhere in the mesh, every message
//! a signed envelope) and `upstream` (a session with a server attached to this node). Two parts
//! use it: the gateway (towards `call`) and `call` (towards `upstream`). Messages are the exact
//! bytes of one JSON-RPC message; nobody on this path holds a typed model of them.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use protocol::human::Human;
use protocol::id::{Digest, NodeId};
use protocol::name::Name;
use tokio::sync::mpsc;

/// Messages buffered between two parts of the node for one call or one session before the
/// sender waits. Back-pressure reaches the peer through QUIC's own flow control.
pub const MESSAGE_QUEUE: usize = 32;

/// What is said where nobody can know whether the server acted. Not even of a call that was said to
/// wait for approval: it may have gone on since. But an approval lets a call pass once, so whoever
/// makes that call again does not have it run twice.
pub(crate) const EFFECT_UNKNOWN: &str = "whether the call took effect is not known; check before calling again. One that \
    waited for approval can simply be made again: it waits on, or passes if it was approved meanwhile; \
    an approval that was used lets nothing pass twice";

/// Who calls, as its own node knows it: the agent a local token or a local user was mapped to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Principal {
    /// The agent's name on this node.
    pub agent: Name,
    /// The human it acts for, as the operator of this node bound it: never what a client says.
    pub human: Option<Human>,
}

/// One MCP server on one node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerRef {
    /// The node it is attached to.
    pub node_id: NodeId,
    /// That node's name in its membership.
    pub node: Name,
    /// The server's name on that node.
    pub server: Name,
}

impl core::fmt::Display for ServerRef {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}/{}", self.node, self.server)
    }
}

/// Why a session or a call failed. The gateway turns it into a JSON-RPC error whose `data` has
/// `reason`, `node`, `server` and `hint`; the caller never sees a bare transport error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SessionError {
    /// What kind of failure, with its JSON-RPC code.
    pub kind: ErrorKind,
    /// The stable name of the reason, snake_case (`upstream_down`, `replayed`, …).
    pub reason: String,
    /// One line for people: lowercase, no final period.
    pub message: String,
    /// What the caller or operator can do, where there is something.
    pub hint: Option<String>,
    /// The node it concerns, by name.
    pub node: Option<String>,
    /// The server it concerns, by name.
    pub server: Option<String>,
}

/// The kinds of failure a caller can meet, each with its JSON-RPC code in the range JSON-RPC 2.0
/// leaves to implementations and MCP does not use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// A decision of policy or of a bound, at whichever hop.
    Deny,
    /// No live path to the node, or no such node or server.
    Unreachable,
    /// The other node refused the envelope (its `reason` says why).
    Refuse,
    /// The MCP server is down, failed or spoke nonsense.
    Upstream,
    /// The stream ended early, or its sequence or running hash did not hold.
    BrokenStream,
    /// Too much at once, here or there; later may work.
    Overload,
    /// The message itself is not usable: not JSON, duplicate keys, too large.
    InvalidMessage,
}

impl ErrorKind {
    /// The JSON-RPC error code.
    #[must_use]
    pub const fn code(self) -> i64 {
        match self {
            Self::Deny => -32050,
            Self::Unreachable => -32051,
            Self::Refuse => -32052,
            Self::Upstream => -32053,
            Self::BrokenStream => -32054,
            Self::Overload => -32055,
            Self::InvalidMessage => -32600,
        }
    }
}

impl SessionError {
    /// An error with neither hint nor place; see the `with_` methods.
    #[must_use]
    pub fn new(kind: ErrorKind, reason: &str, message: impl Into<String>) -> Self {
        Self {
            kind,
            reason: reason.to_owned(),
            message: message.into(),
            hint: None,
            node: None,
            server: None,
        }
    }

    /// With what the caller can do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// As the JSON-RPC error response to the request with this id (raw JSON; `None` is null).
    #[must_use]
    pub fn to_json_rpc(&self, id: Option<&str>) -> Vec<u8> {
        let data = serde_json::json!({
            "reason": self.reason,
            "node": self.node,
            "server": self.server,
            "hint": self.hint,
        });
        protocol::mcp::error_response(id, self.kind.code(), &self.message, Some(&data.to_string()))
    }

    /// With the place it concerns.
    #[must_use]
    pub fn at(mut self, node: impl Into<String>, server: impl Into<String>) -> Self {
        self.node = Some(node.into());
        self.server = Some(server.into());
        self
    }
}

/// A session just opened.
pub struct OpenSession {
    /// The JSON-RPC response to `initialize`, an error response included.
    pub response: Bytes,
    /// The session itself.
    pub session: Arc<dyn McpSession>,
    /// Notifications and requests of the server that belong to no call. It ends when the session
    /// does.
    pub events: mpsc::Receiver<Bytes>,
}

/// One MCP session with one server.
#[async_trait]
pub trait McpSession: Send + Sync {
    /// Sends one JSON-RPC request and returns the call it started. Ids are unique among the calls
    /// in flight of a session; a duplicate is refused.
    ///
    /// # Errors
    /// What kept the call from starting.
    async fn request(&self, message: Bytes) -> Result<McpCall, SessionError>;

    /// Sends one message that belongs to no call in flight here: a notification, or the response to
    /// a server's request that came through [`OpenSession::events`].
    ///
    /// # Errors
    /// What kept it from being sent.
    async fn send(&self, message: Bytes) -> Result<(), SessionError>;

    /// Whether the server, as this session has it now, defines a tool as this digest says, or does not
    /// list it. Another process may run another version than the one whose list this node has read.
    ///
    /// # Errors
    /// Why its list could not be read.
    async fn defines_as(&self, _tool: &str, _digest: &Digest) -> Result<bool, SessionError> {
        Ok(true)
    }

    /// Ends the session; calls in flight fail. Idempotent.
    async fn close(&self);

    /// Why it has ended, where somebody was refused: whoever still uses it is told this.
    fn ended_because(&self) -> Option<SessionError> {
        None
    }
}

/// One call in flight. Dropping it before its response abandons it: the stream is reset and the
/// upstream server is told with `notifications/cancelled`.
pub struct McpCall {
    /// The server's messages for this call in order: notifications, requests of its own, and last
    /// the JSON-RPC response with the caller's id. An `Err` is always the last item; a channel that
    /// ends with neither is a bug of the sender and treated as a broken stream.
    pub inbound: mpsc::Receiver<Result<Bytes, SessionError>>,
    /// What the client says within this call: `notifications/cancelled`, further notifications
    /// and its responses to the server's requests of this call.
    pub outbound: mpsc::Sender<Bytes>,
}

/// Every MCP server a principal of this node can name, and the way to open a session with one.
#[async_trait]
pub trait Fabric: Send + Sync {
    /// The servers known now, this node's own included; sorted by node and server name.
    fn servers(&self) -> Vec<KnownServer>;

    /// Opens a session: `initialize` is the client's JSON-RPC request, forwarded byte for byte.
    ///
    /// # Errors
    /// Why the server could not be reached or refused.
    async fn open(
        &self,
        principal: &Principal,
        server: &ServerRef,
        initialize: Bytes,
    ) -> Result<OpenSession, SessionError>;
}

/// A server as this node knows it from signed node records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownServer {
    /// Which one.
    pub server: ServerRef,
    /// Whether a link to its node is up now (always so for this node's own).
    pub reachable: bool,
    /// How many tools its node last announced for it.
    pub tools: usize,
}
