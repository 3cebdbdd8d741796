//! A server as a child process that speaks MCP on its standard input and output, one message
//! per line.
//!
//! The process is executed without a shell, in a process group of its own and with an
//! environment of [`super::spec::INHERITED`] and the configured variables only. Its end is
//! ordered: standard input closes, then SIGTERM to the group, then SIGKILL. The process is
//! watched through a pidfd and reaped last, so that its group's number cannot have passed to a
//! stranger when the signals go out. Whatever the server started and left in its group is killed
//! with it.
//!
//! If the node itself is killed, its servers see the end of their input; one that ignores that
//! outlives the node.

mod lines;
mod process;

#[cfg(test)]
pub(super) use process::watched;

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::error::Failure;
use super::link::LinkError;
use super::router::Router;
use super::server::Server;
use crate::session::MESSAGE_QUEUE;

/// The session's side of a process.
pub(super) struct ProcessLink {
    number: u64,
    input: mpsc::Sender<Bytes>,
    /// Asks the process to end.
    stop: CancellationToken,
    /// Nothing can be sent any more.
    down: CancellationToken,
    /// The process and its group are gone.
    gone: CancellationToken,
}

/// What the tasks of one process share.
#[derive(Clone)]
struct Shared {
    number: u64,
    server: Arc<Server>,
    router: Arc<Router>,
    stop: CancellationToken,
    down: CancellationToken,
    gone: CancellationToken,
}

impl ProcessLink {
    /// Starts the process and the tasks around it.
    pub(super) fn start(
        server: &Arc<Server>,
        router: &Arc<Router>,
        number: u64,
    ) -> Result<Arc<Self>, Failure> {
        let (input, queue) = mpsc::channel(MESSAGE_QUEUE);
        let shared = Shared {
            number,
            server: Arc::clone(server),
            router: Arc::clone(router),
            stop: server.removed.child_token(),
            down: CancellationToken::new(),
            gone: CancellationToken::new(),
        };
        process::start(&shared, queue, input.downgrade())?;
        Ok(Arc::new(Self {
            number,
            input,
            stop: shared.stop,
            down: shared.down,
            gone: shared.gone,
        }))
    }

    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    pub(super) const fn down(&self) -> &CancellationToken {
        &self.down
    }

    /// Queues one message; waits while the queue is full.
    pub(super) async fn send(&self, message: Bytes) -> Result<(), LinkError> {
        tokio::select! {
            biased;
            () = self.down.cancelled() => Err(LinkError::NotSent),
            sent = self.input.send(message) => sent.map_err(|_| LinkError::NotSent),
        }
    }

    pub(super) async fn close(&self) {
        self.stop.cancel();
        self.gone.cancelled().await;
    }
}

impl Drop for ProcessLink {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
