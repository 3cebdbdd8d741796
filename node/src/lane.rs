//! Where calls run: one after another on a thread of their own, beside it once that is busy.
//!
//! A lone call is a chain of small tasks: the socket's, the connection's, the stream's, the next
//! connection's. A runtime of several threads wakes a second one for most links of that chain,
//! which finds nothing left to do and sleeps again; those wake-ups are a seventh of what a relayed
//! call costs, and a tenth of its time (`cargo bench -p tests --bench relay`). So whatever a call
//! passes through, the links' socket, the gateway's connections, servers and the call itself, is
//! run by one thread, the *lane*. When the lane has had little time to spare, calls begin beside
//! it, on the node's other threads, and a busy node uses all of its cores.
//!
//! Everything else of the node (trust documents, gossip, the page, the control API) runs on those
//! other threads, and holds up no call.

use core::future::Future;
use core::pin::Pin;
use core::time::Duration;
use std::fmt;
use std::io;
use std::net::UdpSocket;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use quinn::{AsyncTimer, AsyncUdpSocket, TokioRuntime};
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::{EnterGuard, Handle, Runtime};
use tokio_util::task::TaskTracker;

/// How often it is looked at whether the lane is busy. The runtime counts its time in steps of some
/// ten milliseconds while it never sleeps; a window of several steps cannot miss them all.
const WINDOW: Duration = Duration::from_millis(50);

/// Share of a window, in percent, from which the lane is busy. Calls one at a time come to half of
/// it at the most, as their answers must be waited for.
const BUSY_PERCENT: u128 = 70;

/// The thread calls run on, or none of their own. Cheap to clone.
#[derive(Clone, Default)]
pub struct Lane(Option<Arc<Own>>);

struct Own {
    /// Of one thread; only dropping takes it.
    runtime: Option<Runtime>,
    lane: Handle,
    others: Handle,
    /// Absent where the lane counts as busy at all times.
    load: Option<Mutex<Load>>,
}

impl Lane {
    /// A lane beside the runtime this is called in; it ends when the last clone is dropped.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn start() -> io::Result<Self> {
        Self::with(Some(Mutex::new(Load::from(Instant::now()))))
    }

    /// The same, but every call runs beside it, as on a node that is never idle. For tests.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn always_busy() -> io::Result<Self> {
        Self::with(None)
    }

    fn with(load: Option<Mutex<Load>>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("calls")
            .enable_all()
            .build()?;
        let lane = runtime.handle().clone();
        Ok(Self(Some(Arc::new(Own {
            load,
            others: Handle::current(),
            runtime: Some(runtime),
            lane,
        }))))
    }

    /// No thread of its own: calls run on the runtime they come up in.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    /// Whether calls have no thread of their own.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// Spawns what calls pass through on the lane.
    pub(crate) fn spawn(
        &self,
        tasks: &TaskTracker,
        future: impl Future<Output = ()> + Send + 'static,
    ) {
        match &self.0 {
            Some(own) => drop(tasks.spawn_on(future, &own.lane)),
            None => drop(tasks.spawn(future)),
        }
    }

    /// Spawns a call: on the lane, or beside it while that is busy.
    pub(crate) fn spawn_call(
        &self,
        tasks: &TaskTracker,
        future: impl Future<Output = ()> + Send + 'static,
    ) {
        match &self.0 {
            Some(own) if own.is_busy() => drop(tasks.spawn_on(future, &own.others)),
            Some(own) => drop(tasks.spawn_on(future, &own.lane)),
            None => drop(tasks.spawn(future)),
        }
    }

    /// Runs what is not a call off the lane, to its end.
    pub(crate) async fn beside(
        &self,
        tasks: &TaskTracker,
        future: impl Future<Output = ()> + Send + 'static,
    ) {
        match &self.0 {
            // Fails when it panicked, which has been told.
            Some(own) => drop(tasks.spawn_on(future, &own.others).await),
            None => future.await,
        }
    }

    /// What is spawned and opened while the guard lives is the lane's.
    pub(crate) fn enter(&self) -> Option<EnterGuard<'_>> {
        self.0.as_ref().map(|own| own.lane.enter())
    }

    /// Moves a listener to the lane, so that its connections are the lane's.
    pub(crate) fn adopt_tcp(&self, listener: TcpListener) -> io::Result<TcpListener> {
        let _here = self.enter();
        TcpListener::from_std(listener.into_std()?)
    }

    /// The same of a Unix socket.
    pub(crate) fn adopt_unix(&self, listener: UnixListener) -> io::Result<UnixListener> {
        let _here = self.enter();
        UnixListener::from_std(listener.into_std()?)
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = self.0.as_ref();
        f.write_str(own.map_or("Lane(none)", |_| "Lane(own)"))
    }
}

/// Connections and their timers are the lane's, whoever dials.
impl quinn::Runtime for Lane {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        let _here = self.enter();
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        let _here = self.enter();
        TokioRuntime.spawn(future);
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let _here = self.enter();
        TokioRuntime.wrap_udp_socket(socket)
    }

    fn now(&self) -> Instant {
        TokioRuntime.now()
    }
}

impl Own {
    fn is_busy(&self) -> bool {
        let Some(load) = &self.load else {
            return true;
        };
        let mut load = load.lock().unwrap_or_else(PoisonError::into_inner);
        load.at(Instant::now(), || {
            self.lane.metrics().worker_total_busy_duration(0)
        })
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // May be dropped by a task, which must not wait.
            runtime.shutdown_background();
        }
    }
}

/// How busy the lane was in the last full window.
struct Load {
    since: Instant,
    spent: Duration,
    busy: bool,
}

impl Load {
    const fn from(now: Instant) -> Self {
        Self {
            since: now,
            spent: Duration::ZERO,
            busy: false,
        }
    }

    /// Whether the lane is busy `now`; `spent` tells the time it has worked since it began.
    fn at(&mut self, now: Instant, spent: impl FnOnce() -> Duration) -> bool {
        let window = now.saturating_duration_since(self.since);
        if window >= WINDOW {
            let spent = spent();
            let worked = spent.saturating_sub(self.spent);
            self.busy = worked.as_nanos() * 100 >= window.as_nanos() * BUSY_PERCENT;
            (self.since, self.spent) = (now, spent);
        }
        self.busy
    }
}

#[cfg(test)]
mod tests;
