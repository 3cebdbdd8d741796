//! A server attached by URL: streamable HTTP as of 2025-03-26 to 2025-11-25, client side.
//!
//! Every message is a POST; a request's answer is a JSON body or an event stream of its own,
//! which binds what comes on it to the call. A stream that breaks before the response is resumed
//! with `Last-Event-ID` if the server numbered its events. A GET stream, where the server offers
//! one, carries what belongs to no call. 404 for the session ends this link; the session makes a
//! new one and sends again what the server thereby refused. DELETE ends the remote session.
//!
//! Redirects are answers like any other status, i.e. failures: credentials go where the
//! operator sent them and nowhere else.

mod client;
mod sse;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub(super) use client::client;

use super::error::Failure;
use super::limits::{DELETE_TIMEOUT, POST_TIMEOUT};
use super::link::LinkError;
use super::router::{CallId, Router};
use super::server::Server;
use wire::{Answer, Wire};

/// The session's side of a remote server.
pub(super) struct HttpLink {
    number: u64,
    wire: Arc<Wire>,
    listening: AtomicBool,
    server: Arc<Server>,
    /// Ends the GET stream.
    stop: CancellationToken,
}

impl HttpLink {
    /// No connection is made before the first message.
    pub(super) fn new(
        server: &Arc<Server>,
        router: &Arc<Router>,
        number: u64,
    ) -> Result<Arc<Self>, Failure> {
        Ok(Arc::new(Self {
            number,
            wire: Arc::new(Wire::new(server, router)?),
            listening: AtomicBool::new(false),
            server: Arc::clone(server),
            stop: server.removed.child_token(),
        }))
    }

    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn down(&self) -> &CancellationToken {
        &self.wire.down
    }

    /// Every later request names the version agreed on.
    pub(super) fn negotiated(&self, version: &str) {
        self.wire.set_version(version);
    }

    /// Posts a notification or a response and waits until it is accepted.
    pub(super) async fn send(&self, message: Bytes) -> Result<(), LinkError> {
        let posted = timeout(POST_TIMEOUT, self.wire.notify(message)).await;
        posted.unwrap_or(Err(LinkError::Failed(Failure::ServerStalled)))
    }

    /// Posts a request and delivers what comes for it, the response last.
    pub(super) async fn call(&self, id: CallId, message: Bytes) -> Result<(), LinkError> {
        match self.wire.request(id, message).await? {
            Answer::Delivered => Ok(()),
            Answer::Events(stream) => self.wire.follow(id, stream).await,
        }
    }

    /// Opens the stream for what belongs to no call, once.
    pub(super) fn listen(&self) {
        if self.listening.swap(true, Ordering::Relaxed) {
            return;
        }
        let (wire, stop) = (Arc::clone(&self.wire), self.stop.clone());
        self.server.tracker.spawn(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = wire.down.cancelled() => {}
                () = wire.listen() => {}
            }
        });
    }

    pub(super) async fn close(&self) {
        self.stop.cancel();
        self.wire.down.cancel();
        // A server that does not answer forgets the session by itself.
        let _ = timeout(DELETE_TIMEOUT, self.wire.delete()).await;
    }
}

impl Drop for HttpLink {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
