//! What `enforce` is asked about: a message this node wants to send, or bytes that came.

use protocol::envelope::stream::StreamState;
use protocol::envelope::{Direction, Kind};
use protocol::id::{Digest, EnvelopeId, NodeId, RequestId, Salt, SessionId};
use protocol::mcp::{McpError, MessageKind, View};
use protocol::name::Name;
use protocol::time::UnixSeconds;

use super::path::Path;
use super::relayed::Relayed;

/// One message, in either direction.
pub enum Subject<'a> {
    /// This node wants to send it.
    Outgoing(Draft<'a>),
    /// It came over a link, for this node.
    Incoming(Incoming<'a>),
    /// It came over a link, for another node.
    Relayed(Relayed<'a>),
}

/// A message this node wants to sign and send.
pub struct Draft<'a> {
    /// On whose behalf.
    pub agent: &'a Name,
    /// The human it acts for, as the caller's node says; the same in every message of a call.
    pub human: Option<&'a str>,
    /// For which node, over which others.
    pub path: &'a Path,
    /// Of a copy of a call's first message: what it copies.
    pub copies: Option<&'a Copied>,
    /// Which way.
    pub direction: Direction,
    /// The call.
    pub request_id: RequestId,
    /// The session.
    pub session: SessionId,
    /// The call's first envelope; absent for that envelope itself.
    pub parent: Option<EnvelopeId>,
    /// Its place in the stream, and for a final response what it closes.
    pub sequence: u64,
    /// The running hash so far; goes into a final response.
    pub stream_hash: Option<Digest>,
    /// The server.
    pub server: &'a Name,
    /// The request its call began with; absent for that request itself.
    pub within: Option<&'a Answered>,
    /// Of a response: what it answers.
    pub answers: Option<&'a Answered>,
    /// The digest of the tool called, as this node knows it.
    pub tool_digest: Option<Digest>,
    /// Of what goes to the client: the address of its node, as the next hop saw it when the call
    /// began.
    pub address: Option<&'a str>,
    /// Whether it is this node's own answer in place of a message within the call that policies
    /// denied: they are not asked about it again.
    pub refuses: bool,
    /// The exact message.
    pub message: &'a Message<'a>,
}

/// A call's first message, as far as a copy of it over another route must agree with it.
#[derive(Debug, Clone)]
pub struct Copied {
    /// Its envelope.
    pub first: EnvelopeId,
    /// When that was issued.
    pub issued: UnixSeconds,
    /// The salt of its body.
    pub salt: Salt,
}

/// A message with what it says of itself, read once. The two cannot come apart.
pub struct Message<'a> {
    body: &'a [u8],
    described: Described,
}

impl<'a> Message<'a> {
    /// Reads it.
    ///
    /// # Errors
    /// As [`describe`].
    pub fn read(body: &'a [u8]) -> Result<Self, McpError> {
        let described = describe(body)?;
        Ok(Self { body, described })
    }

    /// Its bytes.
    #[must_use]
    pub const fn body(&self) -> &'a [u8] {
        self.body
    }

    /// What it says of itself.
    #[must_use]
    pub const fn described(&self) -> &Described {
        &self.described
    }
}

/// Bytes that came over a link.
pub struct Incoming<'a> {
    /// The envelope.
    pub bytes: &'a [u8],
    /// The hop records beside it.
    pub records: &'a [&'a [u8]],
    /// Whence.
    pub origin: &'a Origin,
    /// The way it must travel.
    pub direction: Direction,
    /// The way messages of this side take on the stream it continues.
    pub path: Option<&'a Path>,
    /// The stream it continues; absent where it must begin a call.
    pub stream: Option<&'a StreamState>,
    /// The request that stream began with.
    pub within: Option<&'a Answered>,
    /// The requests this side still waits for answers to.
    pub awaited: &'a (dyn Fn(&str) -> Option<Answered> + Sync),
}

/// The other end of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The peer, as TLS proved it.
    pub peer: NodeId,
    /// Its address as seen; absent for this node itself.
    pub address: Option<String>,
}

/// A request, as far as its response must agree with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// Its method.
    pub method: String,
    /// Its target.
    pub target: Option<String>,
    /// The digest of the tool it called.
    pub tool_digest: Option<Digest>,
}

/// What a message says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Request, notification or response.
    pub kind: Kind,
    /// The raw JSON of its id.
    pub id: Option<String>,
    /// Its method, unless it is a response.
    pub method: Option<String>,
    /// Its tool, prompt or resource.
    pub target: Option<String>,
    /// What to hand on in its place, where a policy hides part of it.
    pub instead: Option<Vec<u8>>,
}

/// Reads what a header states from the message itself.
///
/// # Errors
/// [`McpError`] if it is not one JSON-RPC message.
pub fn describe(body: &[u8]) -> Result<Described, McpError> {
    let view = View::parse(body)?;
    let kind = match view.kind() {
        MessageKind::Request => Kind::Request,
        MessageKind::Notification => Kind::Notification,
        MessageKind::Response | MessageKind::ErrorResponse => Kind::Response,
    };
    Ok(Described {
        kind,
        id: view.id().map(str::to_owned),
        method: view.method().map(str::to_owned),
        target: view.target().map(|t| t.name.clone().into_owned()),
        instead: None,
    })
}
