//! The control socket: binding it, who may connect, and the accept loop.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Caller, Operations, router};

/// Connections served at once; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 64;
/// Time a client has to send the head of a request, idle connections included.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Time that requests in progress have to finish once the node stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause after the system refused to accept (out of file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Permissions of the socket.
const SOCKET_MODE: u32 = 0o600;

/// Why the control socket could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another node answers there.
    #[error("a node is already running on `{}`", .0.display())]
    InUse(PathBuf),
    /// Something that is no socket has its name.
    #[error("`{}` exists and is not a socket", .0.display())]
    NotASocket(PathBuf),
    /// The system refused.
    #[error("cannot listen on `{}`: {source}", path.display())]
    Io {
        /// The socket's path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Listens on `path`, 0600. A socket that nobody answers on, left by a node that was killed, is
/// replaced; the state directory's own lock keeps two nodes from doing so at once.
///
/// # Errors
/// [`BindError`]: a node answers there, the path is something else, or the system refused.
pub async fn bind(path: &Path) -> Result<UnixListener, BindError> {
    let failed = |source| BindError::Io {
        path: path.to_owned(),
        source,
    };
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(BindError::NotASocket(path.to_owned()));
        }
        Ok(_) if UnixStream::connect(path).await.is_ok() => {
            return Err(BindError::InUse(path.to_owned()));
        }
        Ok(_) => std::fs::remove_file(path).map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    // Until this line only the 0700 directory guards the socket; the credentials check does too.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE)).map_err(failed)?;
    Ok(listener)
}

/// Which local users are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admit {
    uid: u32,
    root: bool,
}

impl Admit {
    /// The user this process runs as, and root.
    #[must_use]
    pub fn own_user_and_root() -> Self {
        Self {
            uid: rustix::process::geteuid().as_raw(),
            root: true,
        }
    }

    #[cfg(test)]
    pub(super) fn only(uid: u32) -> Self {
        Self { uid, root: false }
    }

    fn admits(self, uid: u32) -> bool {
        uid == self.uid || (self.root && uid == 0)
    }
}

/// Serves the control API on `listener` until `stop`, then lets requests in progress finish for
/// a short while. Dropping the future ends everything at once.
pub async fn serve(
    listener: UnixListener,
    admit: Admit,
    operations: Arc<dyn Operations>,
    stop: CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &slots) => accepted,
        };
        let Some((stream, slot)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let service = router_for(&stream, admit, &operations);
        let stop = stop.clone();
        connections.spawn(async move {
            serve_connection(stream, service, stop).await;
            drop(slot);
        });
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_TIMEOUT, drained).await.is_err() {
        tracing::debug!("control requests still running at the end of the drain were cut off");
    }
}

async fn accept(
    listener: &UnixListener,
    slots: &Arc<Semaphore>,
) -> Option<(UnixStream, tokio::sync::OwnedSemaphorePermit)> {
    // The slot first: a connection that cannot be served stays in the kernel's bounded queue.
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, slot)),
        Err(error) => {
            tracing::warn!(%error, "the control socket cannot accept");
            None
        }
    }
}

/// The routes for an admitted peer, a refusal of everything for any other.
fn router_for(stream: &UnixStream, admit: Admit, operations: &Arc<dyn Operations>) -> axum::Router {
    match stream.peer_cred() {
        Ok(peer) if admit.admits(peer.uid()) => router::routes(
            Arc::clone(operations),
            Caller {
                uid: peer.uid(),
                pid: peer.pid(),
            },
        ),
        Ok(peer) => {
            operations.refused(router::PEER_NOT_ALLOWED);
            router::refuse_user(peer.uid())
        }
        Err(error) => {
            tracing::warn!(%error, "the control socket has a peer without credentials");
            operations.refused(router::PEER_UNKNOWN);
            router::refuse_unknown()
        }
    }
}

async fn serve_connection(stream: UnixStream, service: axum::Router, stop: CancellationToken) {
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        biased;
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        ended = connection.as_mut() => ended,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a control connection ended early");
    }
}
