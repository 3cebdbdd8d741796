//! A server attached by URL.

use std::sync::Arc;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::error::Failure;
use super::link::LinkError;
use super::router::{CallId, Router};
use super::server::Server;

/// The session's side of a remote server.
pub(super) struct HttpLink {
    number: u64,
    down: CancellationToken,
}

impl HttpLink {
    pub(super) fn new(
        _server: &Arc<Server>,
        _router: &Arc<Router>,
        number: u64,
    ) -> Result<Arc<Self>, Failure> {
        Ok(Arc::new(Self {
            number,
            down: CancellationToken::new(),
        }))
    }

    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    pub(super) const fn down(&self) -> &CancellationToken {
        &self.down
    }

    pub(super) async fn send(&self, _message: Bytes) -> Result<(), LinkError> {
        Err(LinkError::NotSent)
    }

    pub(super) async fn call(&self, _id: CallId, _message: Bytes) -> Result<(), LinkError> {
        Err(LinkError::NotSent)
    }

    pub(super) fn negotiated(&self, _version: &str) {}

    pub(super) fn listen(&self) {}

    pub(super) async fn close(&self) {
        self.down.cancel();
    }
}

/// The client for `spec`, if it is attached by URL.
pub(super) fn client(
    _spec: &super::spec::ServerSpec,
) -> Result<Option<reqwest::Client>, super::error::UpstreamError> {
    Ok(None)
}
