//! Listening: accepts connections, bounds them in number and in time, and ends with the node.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::feed::Feed;
use super::http::{self, Cut, Edge};
use super::limits::{DRAIN, HEAD_WAIT, MAX_CONNECTIONS, MAX_HEAD_BYTES, MAX_STREAMS};
use super::{Page, Source};

/// Pause after a failed accept (out of file descriptors, mostly), so as not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the page on `listener`, which is bound to the page's own loopback address, until `stop`.
pub async fn serve(
    listener: TcpListener,
    page: Arc<Page>,
    source: Arc<dyn Source>,
    stop: CancellationToken,
) {
    let feed = Feed::new(Arc::clone(&source), Arc::clone(&page.tail));
    let edge = Edge {
        page,
        source,
        feed: Arc::clone(&feed),
        streams: Arc::new(Semaphore::new(MAX_STREAMS)),
        tasks: TaskTracker::new(),
        stop: stop.clone(),
    };
    tokio::join!(feed.run(stop), accept(listener, edge));
}

async fn accept(listener: TcpListener, edge: Edge) {
    let (tasks, stop) = (edge.tasks.clone(), edge.stop.clone());
    let router = http::router(edge);
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the status page cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            tracing::debug!("too many connections to the status page; one was closed");
            continue;
        };
        tasks.spawn(drive(stream, router.clone(), permit, stop.clone()));
    }
    drop(listener);
    tasks.close();
    if tokio::time::timeout(DRAIN, tasks.wait()).await.is_err() {
        tracing::debug!("connections of the status page were cut off at the end");
    }
}

/// Serves one connection until it ends, the node stops, or its reader turns out not to read.
async fn drive(
    stream: TcpStream,
    router: axum::Router,
    permit: OwnedSemaphorePermit,
    stop: CancellationToken,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
    let cut = CancellationToken::new();
    let service = TowerToHyperService::new(router.layer(Extension(Cut(cut.clone()))));
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT)
        .max_buf_size(MAX_HEAD_BYTES);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        biased;
        () = cut.cancelled() => Ok(()),
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        ended = connection.as_mut() => ended,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the status page ended");
    }
    drop(permit);
}
