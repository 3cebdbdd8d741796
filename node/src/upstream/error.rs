//! Why attaching a server, or talking to one, failed.
//!
//! [`UpstreamError`] is for whoever attaches servers. What a caller meets is a
//! [`SessionError`]; [`Failure`] names every one that arises here, so that reasons, messages
//! and hints stand in one place.

use core::time::Duration;

use protocol::mcp::McpError;
use protocol::name::Name;

use super::spec::SpecError;
use crate::session::{ErrorKind, SessionError};

/// Why a server was not attached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// What to attach is not usable.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A server of this name is attached already.
    #[error(
        "a server named `{0}` is attached already\nhint: remove it first, or choose another name"
    )]
    NameTaken(Name),
    /// As many servers as a node announces.
    #[error("{max} servers are attached, which is as many as a node announces")]
    TooManyServers {
        /// The bound ([`protocol::limits::MAX_SERVERS`]).
        max: usize,
    },
    /// TLS could not be set up, usually because the host has no root certificates.
    #[error("cannot set up TLS: {detail}\nhint: install the system's ca-certificates")]
    Tls {
        /// What the library said.
        detail: String,
    },
    /// The node is shutting down.
    #[error("the node is shutting down")]
    ShuttingDown,
}

/// Every way in which a session or call fails here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// No server of that name.
    Unknown,
    /// The process could not be started, or the connection not be made.
    Start { detail: String },
    /// The process ended.
    Exited { detail: String },
    /// The remote server could not be reached.
    Unreachable { detail: String },
    /// Too early after a failure.
    BackingOff { wait: Duration, last: String },
    /// No answer to `initialize`.
    InitializeTimeout { after: Duration },
    /// The answer to `initialize` is none.
    BadInitialize { detail: String },
    /// The restarted server is not the one the session was negotiated with.
    Changed { detail: String },
    /// The tools of the session could not be listed.
    ToolsUnread { detail: String },
    /// No sign of life within a call.
    Timeout { after: Duration },
    /// A message over the bound.
    TooLarge,
    /// A line that never ends.
    EndlessLine,
    /// The event stream of a call ended without response and could not be resumed.
    StreamEnded { detail: String },
    /// An HTTP status that is no answer.
    Status { status: u16 },
    /// 401 or 403.
    Unauthorized { status: u16 },
    /// Neither JSON nor an event stream.
    ContentType { found: String },
    /// The remote server forgot the session and did so again when it was set up anew.
    SessionLost,
    /// The caller did not take its messages.
    CallerStalled,
    /// The server does not take what is sent to it.
    ServerStalled,
    /// The client cancelled.
    Cancelled,
    /// The id is in flight already.
    DuplicateId,
    /// The progress token is in flight already.
    DuplicateToken,
    /// Too many calls in flight.
    TooManyCalls { max: usize },
    /// Too many sessions.
    TooManySessions { max: usize },
    /// Too many starts in a minute.
    TooManyStarts { max: u32 },
    /// A response to no request of the server.
    UnknownServerRequest,
    /// The session is over.
    Closed,
    /// A response or notification where a request belongs, or the reverse.
    WrongKind { expected: &'static str },
    /// An answer of the server that is no message.
    Unreadable(McpError),
    /// Not a message at all.
    Message(McpError),
}

/// What is said of a call that the server may have begun.
const UNDER_WAY: &str = "the call may have taken effect, check before calling again";

impl From<McpError> for Failure {
    fn from(error: McpError) -> Self {
        Self::Message(error)
    }
}

impl Failure {
    /// The error the caller meets. The node's name is added by whoever knows it.
    pub(super) fn at(&self, server: &Name) -> SessionError {
        let mut error = SessionError::new(self.kind(), self.reason(), self.message());
        error.hint = self.hint();
        error.server = Some(server.to_string());
        error
    }

    const fn kind(&self) -> ErrorKind {
        match self {
            Self::Unknown => ErrorKind::Unreachable,
            Self::TooManyCalls { .. }
            | Self::TooManySessions { .. }
            | Self::TooManyStarts { .. }
            | Self::CallerStalled => ErrorKind::Overload,
            Self::DuplicateId
            | Self::DuplicateToken
            | Self::UnknownServerRequest
            | Self::WrongKind { .. }
            | Self::Message(_) => ErrorKind::InvalidMessage,
            _ => ErrorKind::Upstream,
        }
    }

    /// The stable name.
    pub(super) const fn reason(&self) -> &'static str {
        match self {
            Self::Unknown => "upstream_unknown",
            Self::Start { .. } => "upstream_start_failed",
            Self::Exited { .. } => "upstream_exited",
            Self::Unreachable { .. } => "upstream_unreachable",
            Self::BackingOff { .. } => "upstream_backing_off",
            Self::InitializeTimeout { .. } => "upstream_initialize_timeout",
            Self::BadInitialize { .. } => "upstream_bad_initialize",
            Self::Changed { .. } => "upstream_changed",
            Self::ToolsUnread { .. } => "upstream_tools_unread",
            Self::Timeout { .. } => "upstream_timeout",
            Self::TooLarge => "upstream_message_too_large",
            Self::Unreadable(_) => "upstream_unreadable",
            Self::EndlessLine => "upstream_endless_line",
            Self::StreamEnded { .. } => "upstream_stream_ended",
            Self::Status { .. } => "upstream_http_status",
            Self::Unauthorized { .. } => "upstream_unauthorized",
            Self::ContentType { .. } => "upstream_content_type",
            Self::SessionLost => "upstream_session_lost",
            Self::CallerStalled => "caller_stalled",
            Self::ServerStalled => "upstream_stalled",
            Self::Cancelled => "call_cancelled",
            Self::DuplicateId => "duplicate_request_id",
            Self::DuplicateToken => "duplicate_progress_token",
            Self::TooManyCalls { .. } => "too_many_calls",
            Self::TooManySessions { .. } => "too_many_sessions",
            Self::TooManyStarts { .. } => "too_many_starts",
            Self::UnknownServerRequest => "unknown_server_request",
            Self::Closed => "session_closed",
            Self::WrongKind { .. } => "wrong_message_kind",
            Self::Message(error) => error.reason(),
        }
    }

    pub(super) fn message(&self) -> String {
        match self {
            Self::Unknown => "no such server is attached to this node".into(),
            Self::Start { detail } => format!("the server could not be started: {detail}"),
            Self::Exited { detail } => format!("the server ended during the session: {detail}"),
            Self::Unreachable { detail } => format!("the server cannot be reached: {detail}"),
            Self::BackingOff { last, .. } => {
                format!("the server failed and is not tried again yet; it failed with: {last}")
            }
            Self::InitializeTimeout { after } => {
                format!("no answer to `initialize` within {} s", after.as_secs())
            }
            Self::BadInitialize { detail } => format!("no usable answer to `initialize`: {detail}"),
            Self::Changed { detail } => {
                format!("the restarted server is another than before: {detail}")
            }
            Self::ToolsUnread { detail } => {
                format!("what the server offers in this session could not be read: {detail}")
            }
            Self::Timeout { after } => format!(
                "neither a response nor progress from the server for {} s",
                after.as_secs()
            ),
            Self::TooLarge => format!(
                "the server sent a message of more than {} bytes",
                protocol::limits::MAX_MESSAGE_BYTES
            ),
            Self::Unreadable(error) => format!("the server's answer is no usable message: {error}"),
            Self::EndlessLine => "the server sent a line without end and was stopped".into(),
            Self::StreamEnded { detail } => {
                format!("the server's event stream ended before the response: {detail}")
            }
            Self::Status { status } => format!("the server answered with HTTP status {status}"),
            Self::Unauthorized { status } => {
                format!("the server refused this node with HTTP status {status}")
            }
            Self::ContentType { found } => format!(
                "the server answered with content type `{found}`, neither JSON nor an event stream"
            ),
            Self::SessionLost => "the server no longer knows the session".into(),
            Self::CallerStalled => "the caller did not take the messages of its call".into(),
            Self::ServerStalled => "the server does not read what is sent to it".into(),
            Self::Cancelled => "the call was cancelled".into(),
            Self::DuplicateId => "a call with this id is in flight already".into(),
            Self::DuplicateToken => "a call with this progress token is in flight already".into(),
            Self::TooManyCalls { max } => format!("{max} calls are in flight in this session"),
            Self::TooManySessions { max } => format!("{max} sessions with this server are open"),
            Self::TooManyStarts { max } => {
                format!("the server was started {max} times within a minute")
            }
            Self::UnknownServerRequest => {
                "the response answers no request of the server that is waiting".into()
            }
            Self::Closed => "the session is over".into(),
            Self::WrongKind { expected } => format!("{expected} is expected here"),
            Self::Message(error) => error.to_string(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::BackingOff { wait, .. } => {
                // Rounded up: a caller that waits that long finds the server being tried.
                let seconds = wait.as_secs().saturating_add(1);
                Some(format!("try again in {seconds} s"))
            }
            Self::Exited { .. } => Some(format!("a later call starts it again; {UNDER_WAY}")),
            Self::TooLarge => Some(format!("ask it for less at once; {UNDER_WAY}")),
            Self::Unreadable(_) | Self::StreamEnded { .. } | Self::Timeout { .. } => {
                Some(UNDER_WAY.into())
            }
            Self::Closed => Some(format!(
                "its node stopped or the session was ended: open a new one; {UNDER_WAY}"
            )),
            Self::Start { .. } | Self::InitializeTimeout { .. } => {
                Some("`hedgerow server list` shows its last lines of standard error".into())
            }
            Self::Unauthorized { .. } => {
                Some("check the credentials in the server's configured headers".into())
            }
            Self::Changed { .. } => Some("open a new session".into()),
            Self::ToolsUnread { .. } => Some(
                "the call was not made: a tool is called only as it is defined; see `hedgerow \
                 server list`"
                    .into(),
            ),
            Self::TooManyCalls { .. } => Some("wait for one of them to end".into()),
            Self::TooManySessions { .. } => Some("close one of them".into()),
            Self::TooManyStarts { .. } => Some("try again in a minute".into()),
            _ => None,
        }
    }
}

impl core::fmt::Display for Failure {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.message())
    }
}
