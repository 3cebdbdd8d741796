//! One live connection to a server: a process, or a session over HTTP. A session has one at a
//! time and makes a new one when it is gone.

use std::sync::Arc;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::error::Failure;
use super::http::HttpLink;
use super::router::CallId;
use super::stdio::ProcessLink;

/// The connection, of either kind. Dropping the last clone ends it.
#[derive(Clone)]
pub(super) enum Link {
    Process(Arc<ProcessLink>),
    Http(Arc<HttpLink>),
}

/// Why a request did not get its response through a link.
#[derive(Debug)]
pub(super) enum LinkError {
    /// The link is gone and the request was certainly not acted on: it may go out again on a
    /// new one.
    NotSent,
    /// Anything else: the server may have acted on it.
    Failed(Failure),
}

impl Link {
    /// Which of the session's links this is; counts from 1.
    pub(super) fn number(&self) -> u64 {
        match self {
            Self::Process(link) => link.number(),
            Self::Http(link) => link.number(),
        }
    }

    /// Cancelled as soon as nothing can be sent any more.
    pub(super) fn down(&self) -> &CancellationToken {
        match self {
            Self::Process(link) => link.down(),
            Self::Http(link) => link.down(),
        }
    }

    /// Sends a notification or a response.
    pub(super) async fn send(&self, message: Bytes) -> Result<(), LinkError> {
        match self {
            Self::Process(link) => link.send(message).await,
            Self::Http(link) => link.send(message).await,
        }
    }

    /// Sends a request as far as that keeps its place in order; cancel safe.
    pub(super) async fn begin(&self, message: &Bytes) -> Result<(), LinkError> {
        match self {
            Self::Process(link) => link.send(message.clone()).await,
            // Every request is a POST of its own, made by `finish`.
            Self::Http(_) => Ok(()),
        }
    }

    /// Sees a begun request through: returns once nothing more will come for it. Where all
    /// messages share a stream that is never. Dropping it closes the call's own stream.
    pub(super) async fn finish(&self, id: CallId, message: &Bytes) -> Result<(), LinkError> {
        match self {
            Self::Process(_) => core::future::pending().await,
            Self::Http(link) => link.call(id, message.clone()).await,
        }
    }

    /// What the answer to `initialize` fixed for this connection.
    pub(super) fn negotiated(&self, version: &str) {
        if let Self::Http(link) = self {
            link.negotiated(version);
        }
    }

    /// `notifications/initialized` has gone out.
    pub(super) fn initialized(&self) {
        if let Self::Http(link) = self {
            link.listen();
        }
    }

    /// Ends it and returns once everything of it is gone. Idempotent.
    pub(super) async fn close(&self) {
        match self {
            Self::Process(link) => link.close().await,
            Self::Http(link) => link.close().await,
        }
    }
}
