//! Listening: accepts connections, bounds them in number and in time, and drains at the end.

use std::sync::Arc;

use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::gateway::limits::MAX_HEAD_BYTES;
use crate::gateway::{Gateway, http};

/// Pause after a failed accept (out of file descriptors, mostly), so as not to spin.
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

/// How many times a session's idle time is looked at before it is over.
const SWEEPS_PER_IDLE: u32 = 60;

impl Gateway {
    /// Serves MCP over HTTP on `listener`, which must be bound to loopback, until `shutdown`;
    /// then ends all sessions and waits at most [`crate::gateway::Limits::drain`] for
    /// connections.
    ///
    /// # Errors
    /// When the listener is not on loopback or has no address.
    pub async fn serve_http(
        self: Arc<Self>,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> std::io::Result<()> {
        let address = listener.local_addr()?;
        if !address.ip().is_loopback() {
            let message = format!(
                "the gateway listens on loopback only, not on {}",
                address.ip()
            );
            return Err(std::io::Error::new(
                std::io::ErrorKind::InvalidInput,
                message,
            ));
        }
        let service = TowerToHyperService::new(http::router(Arc::clone(&self), address));
        let room = Arc::new(Semaphore::new(self.limits.connections));
        // An interval of zero is a panic.
        let every = (self.limits.session_idle / SWEEPS_PER_IDLE).max(ACCEPT_PAUSE);
        let mut sweep = tokio::time::interval(every);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                _ = sweep.tick() => self.sweep(Instant::now()).await,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => self.admit(stream, &service, &room, &shutdown),
                    Err(error) => {
                        tracing::warn!(%error, "accept failed");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(listener);
        self.close_all().await;
        self.tasks.close();
        if tokio::time::timeout(self.limits.drain, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("connections still open at the end of the drain");
        }
        Ok(())
    }

    /// Serves one connection if there is room, else closes it.
    fn admit(
        &self,
        stream: TcpStream,
        service: &TowerToHyperService<axum::Router>,
        room: &Arc<Semaphore>,
        shutdown: &CancellationToken,
    ) {
        let Ok(permit) = Arc::clone(room).try_acquire_owned() else {
            tracing::warn!("too many connections; one was closed");
            return;
        };
        // Without it, Nagle and delayed acknowledgements add 40 ms to small answers.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "no TCP_NODELAY");
        }
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(self.limits.head_wait)
            .max_buf_size(MAX_HEAD_BYTES);
        let connection = http.serve_connection(TokioIo::new(stream), service.clone());
        self.tasks
            .spawn(drive(connection, permit, shutdown.clone()));
    }
}

type Connection =
    hyper::server::conn::http1::Connection<TokioIo<TcpStream>, TowerToHyperService<axum::Router>>;

async fn drive(connection: Connection, permit: OwnedSemaphorePermit, shutdown: CancellationToken) {
    tokio::pin!(connection);
    let ended = tokio::select! {
        biased;
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        ended = connection.as_mut() => ended,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
    drop(permit);
}
