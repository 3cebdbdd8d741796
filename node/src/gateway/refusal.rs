//! Every way the gateway refuses a client, each with its HTTP status, JSON-RPC code and name,
//! and the JSON-RPC form of every error.

use axum::http::StatusCode;
use bytes::Bytes;
use protocol::mcp::{McpError, error_response};
use serde_json::{Value, json};

use crate::enforcement::SEVERED;
use crate::gateway::version;
use crate::session::{ErrorKind, SessionError};

/// JSON-RPC: the message is not JSON.
const PARSE_ERROR: i64 = -32700;

/// JSON-RPC: the parameters name nothing there is.
pub(crate) const INVALID_PARAMS: i64 = -32602;

/// JSON-RPC: no such method.
pub(crate) const METHOD_NOT_FOUND: i64 = -32601;

/// Why a client's request is refused before it reaches a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `Host` is missing, doubled, or none of this gateway's own names.
    #[error("the `Host` header does not name this gateway")]
    Host,
    /// `Origin` is present and not this gateway's own.
    #[error("requests from this `Origin` are not allowed")]
    Origin,
    /// No bearer token, or one that no agent has.
    #[error("a valid agent token is required")]
    Unauthenticated,
    /// No such path.
    #[error("no such endpoint")]
    Path,
    /// Another method than POST, GET and DELETE.
    #[error("this endpoint takes POST, GET and DELETE")]
    Method,
    /// The body is not declared as plain `application/json`.
    #[error("the body must be `application/json`, not compressed")]
    ContentType,
    /// The client does not take the media types the transport needs.
    #[error("the client must accept both `application/json` and `text/event-stream`")]
    Accept,
    /// The client does not take the media type of event streams, which it asks for.
    #[error("the client must accept `text/event-stream`")]
    AcceptEvents,
    /// The body or line is larger than [`protocol::limits::MAX_MESSAGE_BYTES`].
    #[error("a message has at most {} bytes", protocol::limits::MAX_MESSAGE_BYTES)]
    TooLarge,
    /// The body did not arrive in time or broke off.
    #[error("the body did not arrive whole and in time")]
    SlowBody,
    /// The message is not one strict JSON-RPC message.
    #[error(transparent)]
    Message(#[from] McpError),
    /// A message before or without `initialize`.
    #[error("the `Mcp-Session-Id` header is required")]
    NoSession,
    /// The session is unknown, ended, expired, of another agent or of another endpoint; which
    /// of these is not said.
    #[error("no such session")]
    UnknownSession,
    /// The session was one of an agent that a policy cut off since, which says so.
    #[error("{0}")]
    Severed(Box<SessionError>),
    /// A request before `initialize`, over lines.
    #[error("`initialize` comes first")]
    NotInitialized,
    /// `initialize` within a session.
    #[error("this session is already initialized")]
    AlreadyInitialized,
    /// Another protocol version than the supported ones.
    #[error("protocol version `{0}` is not supported")]
    Version(String),
    /// The agent, or all agents together, have too many sessions, all of them busy.
    #[error("too many sessions")]
    TooManySessions,
    /// The agent, or all agents together, have too many calls in flight.
    #[error("too many calls in flight")]
    TooManyCalls,
    /// A request's id is that of a call in flight.
    #[error("a call with this id is in flight")]
    DuplicateId,
    /// A call did not take what the client sent within it.
    #[error("the call does not take further messages now")]
    Stalled,
    /// `Last-Event-ID` names no stream that can be resumed.
    #[error("this stream cannot be resumed")]
    NoSuchStream,
    /// The operating system gave no randomness for a session id.
    #[error("no randomness available")]
    NoRandomness,
}

impl Refusal {
    /// The HTTP status.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Host | Self::Origin => StatusCode::FORBIDDEN,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Path | Self::UnknownSession | Self::Severed(_) | Self::NoSuchStream => {
                StatusCode::NOT_FOUND
            }
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Accept | Self::AcceptEvents => StatusCode::NOT_ACCEPTABLE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::SlowBody => StatusCode::REQUEST_TIMEOUT,
            Self::Message(McpError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Message(_)
            | Self::NoSession
            | Self::NotInitialized
            | Self::AlreadyInitialized
            | Self::Version(_)
            | Self::DuplicateId => StatusCode::BAD_REQUEST,
            Self::TooManySessions | Self::TooManyCalls => StatusCode::TOO_MANY_REQUESTS,
            Self::Stalled | Self::NoRandomness => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The JSON-RPC code.
    #[must_use]
    pub fn code(&self) -> i64 {
        match self {
            Self::Message(
                McpError::Syntax { .. }
                | McpError::NotUtf8 { .. }
                | McpError::ByteOrderMark
                | McpError::Trailing { .. },
            ) => PARSE_ERROR,
            Self::Severed(why) => why.kind.code(),
            Self::Host | Self::Origin | Self::Unauthenticated => ErrorKind::Deny.code(),
            Self::TooManySessions | Self::TooManyCalls | Self::Stalled | Self::NoRandomness => {
                ErrorKind::Overload.code()
            }
            Self::Version(_) => version::UNSUPPORTED_CODE,
            _ => ErrorKind::InvalidMessage.code(),
        }
    }

    /// The stable name.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Origin => "origin",
            Self::Unauthenticated => "unauthenticated",
            Self::Path => "path",
            Self::Method => "method",
            Self::ContentType => "content_type",
            Self::Accept | Self::AcceptEvents => "accept",
            Self::TooLarge => "too_large",
            Self::SlowBody => "slow_body",
            Self::Message(error) => error.reason(),
            Self::NoSession => "no_session",
            Self::NotInitialized => "not_initialized",
            Self::UnknownSession => "unknown_session",
            Self::Severed(_) => SEVERED,
            Self::AlreadyInitialized => "already_initialized",
            Self::Version(_) => "unsupported_version",
            Self::TooManySessions => "too_many_sessions",
            Self::TooManyCalls => "too_many_calls",
            Self::DuplicateId => "duplicate_id",
            Self::Stalled => "stalled",
            Self::NoSuchStream => "no_such_stream",
            Self::NoRandomness => "no_randomness",
        }
    }

    /// What the client or operator can do, where there is something.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Host | Self::Origin => {
                Some("connect to `127.0.0.1` or `localhost` with the gateway's port")
            }
            Self::Unauthenticated => {
                Some("send `Authorization: Bearer <token>`; `hedgerow agent add` makes a token")
            }
            Self::Path => Some("use `/mcp` or `/mcp/NODE/SERVER`"),
            Self::Message(McpError::Batch) => Some("send one message per POST"),
            Self::NoSession | Self::UnknownSession => Some("start over with `initialize`"),
            Self::NotInitialized => Some("send `initialize` first"),
            Self::AlreadyInitialized => Some("go on with this session, or open another one"),
            Self::Version(_) => Some("ask for one of the versions in `supported`"),
            Self::TooLarge | Self::Message(McpError::TooLarge { .. }) => {
                Some("send less in one message")
            }
            Self::DuplicateId => Some("give each request an id of its own"),
            Self::Stalled | Self::NoRandomness => Some("try again"),
            Self::NoSuchStream => Some("open a new stream, without `Last-Event-ID`"),
            Self::TooManySessions => Some("end sessions that are no longer needed with DELETE"),
            Self::TooManyCalls => Some("wait for calls to end"),
            _ => None,
        }
    }

    /// This refusal as a JSON-RPC error response; `id` is raw JSON.
    #[must_use]
    pub fn body(&self, id: &str) -> Bytes {
        if let Self::Severed(why) = self {
            return failed(id, why);
        }
        let mut data = json!({ "reason": self.reason() });
        if let Some(hint) = self.hint() {
            insert(&mut data, "hint", hint.into());
        }
        if let Self::Version(requested) = self {
            insert(&mut data, "supported", version::SUPPORTED.into());
            insert(&mut data, "requested", requested.as_str().into());
        }
        error(id, self.code(), &self.to_string(), &data)
    }
}

/// `failure` as the JSON-RPC error response to the request with this raw id.
#[must_use]
pub(crate) fn failed(id: &str, failure: &SessionError) -> Bytes {
    error(id, failure.kind.code(), &failure.message, &details(failure))
}

/// `{reason, node, server, hint}` of a failure, without what is not known.
pub(crate) fn details(failure: &SessionError) -> Value {
    let mut data = json!({ "reason": failure.reason });
    for (key, value) in [
        ("node", &failure.node),
        ("server", &failure.server),
        ("hint", &failure.hint),
    ] {
        if let Some(value) = value {
            insert(&mut data, key, value.as_str().into());
        }
    }
    data
}

/// A JSON-RPC error response; `id` is raw JSON, empty for none.
#[must_use]
pub(crate) fn error(id: &str, code: i64, message: &str, data: &Value) -> Bytes {
    let data = data.to_string();
    let id = Some(id).filter(|id| !id.is_empty());
    Bytes::from(error_response(id, code, message, Some(&data)))
}

fn insert(object: &mut Value, key: &str, value: Value) {
    if let Value::Object(map) = object {
        map.insert(key.to_owned(), value);
    }
}
