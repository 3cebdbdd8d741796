//! Why the page does not answer, and the page that says so.

use axum::http::StatusCode;

use super::AccessError;
use super::limits::{MAX_FIND_BYTES, MAX_STREAMS};

/// What to do to get in.
const SIGN_IN: &str = "run `hedgerow dashboard` on this host, as the user the node runs as";

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// `Host` is missing, doubled, or none of this listener's own names.
    #[error("the `Host` header does not name this page")]
    Host,
    /// `Origin` is present and not this listener's own.
    #[error("requests from this `Origin` are not allowed")]
    Origin,
    /// Another method than GET and HEAD.
    #[error("this page is read-only: it takes GET and HEAD")]
    Method,
    /// Another method than GET for a login.
    #[error("a login takes GET alone: a link that is only looked at must not use up its code")]
    LoginMethod,
    /// No such path.
    #[error("there is no such page")]
    Path,
    /// No code, no session, or not a valid one.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The query has a key that does not exist, or a value that cannot be used.
    #[error("the filter cannot be used: {0}")]
    Filter(&'static str),
    /// [`MAX_STREAMS`] browsers watch already.
    #[error("{MAX_STREAMS} pages are open with live updates; this one has none")]
    TooManyStreams,
    /// What is to be shown cannot be read.
    #[error("the node cannot tell its state: {0}")]
    Unavailable(String),
    /// It took too long.
    #[error("the page could not be made in time")]
    Timeout,
}

impl Refusal {
    /// Its stable name, under which it is counted.
    pub(super) const fn reason(&self) -> &'static str {
        match self {
            Self::Host => "page_host",
            Self::Origin => "page_origin",
            Self::Method | Self::LoginMethod => "page_method",
            Self::Path => "page_path",
            Self::Access(AccessError::UnknownCode) => "page_code_unknown",
            Self::Access(AccessError::UsedCode) => "page_code_used",
            Self::Access(AccessError::ExpiredCode) => "page_code_expired",
            Self::Access(AccessError::NoSession) => "page_no_session",
            Self::Access(AccessError::Crypto(_)) => "page_no_randomness",
            Self::Filter(_) => "page_filter",
            Self::TooManyStreams => "page_too_many_streams",
            Self::Unavailable(_) => "page_unavailable",
            Self::Timeout => "page_timeout",
        }
    }

    /// The HTTP status it travels with.
    pub(super) const fn status(&self) -> StatusCode {
        match self {
            Self::Host | Self::Origin => StatusCode::FORBIDDEN,
            Self::Method | Self::LoginMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::Path => StatusCode::NOT_FOUND,
            Self::Access(AccessError::NoSession) => StatusCode::UNAUTHORIZED,
            Self::Access(AccessError::Crypto(_)) | Self::Unavailable(_) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            Self::Access(_) => StatusCode::FORBIDDEN,
            Self::Filter(_) => StatusCode::BAD_REQUEST,
            Self::TooManyStreams | Self::Timeout => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// What the resource takes instead, where the method is what is wrong.
    pub(super) const fn allowed(&self) -> Option<&'static str> {
        match self {
            Self::Method => Some("GET, HEAD"),
            Self::LoginMethod => Some("GET"),
            _ => None,
        }
    }

    /// What the operator can do.
    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::Host | Self::Origin => Some(
                "open the page as `127.0.0.1` or `localhost` with its port, from the address bar"
                    .to_owned(),
            ),
            Self::Access(AccessError::UsedCode) => Some(format!(
                "{SIGN_IN}; if it was not you who used the code, end all sessions first: \
                 `hedgerow dashboard --revoke`"
            )),
            Self::Access(AccessError::Crypto(_)) | Self::Method | Self::LoginMethod => None,
            Self::Access(_) => Some(SIGN_IN.to_owned()),
            Self::Filter(_) => Some(format!(
                "a verdict is `allow`, `hold`, `deny` or `sever`; a text has at most \
                 {MAX_FIND_BYTES} bytes"
            )),
            Self::TooManyStreams => {
                Some("close pages that watch, in any browser on this host, then reload".to_owned())
            }
            Self::Path => None,
            Self::Unavailable(_) | Self::Timeout => {
                Some("`hedgerow doctor` says what is wrong".to_owned())
            }
        }
    }
}
