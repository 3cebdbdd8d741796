//! Every task of the node: spawned here, named, watched, and ended in order.
//!
//! A *service* runs as long as the node; one that ends, by return or by panic, stops the node and
//! is named as the reason. A *job* (one connection, one call) may end; its panic stops the node
//! too, for a state that panicked half-way is not to be relied on.
//!
//! Ending has three steps. The [`Stopping`] token is cancelled: services stop accepting and return
//! when what they serve has ended, jobs finish. At the deadline every task still running is
//! aborted at its next await. A task that then blocks without awaiting is reported by name and
//! left to the end of the process. A second signal skips the waiting.
//!
//! The supervisor restarts nothing: what restarts within a node (an upstream server) does so with
//! its own back-off, and the node as a whole by the service manager.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

mod readiness;
#[cfg(test)]
mod tests;

pub use readiness::{Condition, Readiness};

/// How long aborted tasks have to reach an await before they are given up, in milliseconds.
pub const ABORT_WAIT_MS: u64 = 1000;

/// Told to every task: cancelled when the node stops accepting.
pub type Stopping = CancellationToken;

/// Why the node stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// SIGTERM or SIGINT, by name.
    Signal(&'static str),
    /// Asked for, with what to say (`the control API asked`).
    Asked(String),
    /// A part the node cannot be without failed.
    Failed {
        /// Which and why, on one line.
        what: String,
        /// What the operator can do about it.
        hint: &'static str,
    },
    /// A service returned although the node was not stopping.
    Ended {
        /// Its name.
        task: &'static str,
    },
    /// A task panicked.
    Panicked {
        /// Its name.
        task: &'static str,
        /// What it said, on one line.
        what: String,
    },
}

impl Reason {
    /// Whether the node stopped because it was told to.
    #[must_use]
    pub const fn is_orderly(&self) -> bool {
        matches!(self, Self::Signal(_) | Self::Asked(_))
    }
}

impl core::fmt::Display for Reason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Signal(name) => write!(f, "{name}"),
            Self::Asked(what) | Self::Failed { what, .. } => f.write_str(what),
            Self::Ended { task } => write!(f, "task `{task}` ended unexpectedly"),
            Self::Panicked { task, what } => write!(f, "task `{task}` panicked: {what}"),
        }
    }
}

/// How the node stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// Why; the first reason of several.
    pub reason: Reason,
    /// Tasks that had to be aborted at the deadline: name and how many.
    pub aborted: BTreeMap<&'static str, usize>,
    /// Of those, the ones that did not even abort.
    pub stuck: BTreeMap<&'static str, usize>,
}

/// Spawns tasks. Cloned into whatever starts jobs.
#[derive(Clone, Debug)]
pub struct Tasks {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    tracker: TaskTracker,
    stopping: CancellationToken,
    abort: CancellationToken,
    /// The first reason to stop.
    reason: watch::Sender<Option<Reason>>,
    /// How many of each name run.
    running: Mutex<BTreeMap<&'static str, usize>>,
}

impl Tasks {
    /// Runs `future` as long as the node does. It should return soon after [`Tasks::stopping`] is
    /// cancelled; returning earlier stops the node.
    pub fn service(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        let shared = Arc::clone(&self.shared);
        self.spawn(name, async move {
            future.await;
            if !shared.stopping.is_cancelled() {
                shared.stop(Reason::Ended { task: name });
            }
        });
    }

    /// Runs `future` to its end. Whoever spawns bounds how many; once the node stops accepting, a
    /// new job still runs, until the deadline.
    pub fn job(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        self.spawn(name, future);
    }

    /// Cancelled when the node stops accepting.
    #[must_use]
    pub fn stopping(&self) -> Stopping {
        self.shared.stopping.clone()
    }

    /// Stops the node in order, unless it is stopping already.
    pub fn stop(&self, why: impl Into<String>) {
        self.shared.stop(Reason::Asked(why.into()));
    }

    /// Stops the node, unless it is stopping already, because a part of it failed.
    pub fn fail(&self, what: impl Into<String>, hint: &'static str) {
        let what = what.into();
        self.shared.stop(Reason::Failed { what, hint });
    }

    /// How many tasks of each name run.
    #[must_use]
    pub fn running(&self) -> BTreeMap<&'static str, usize> {
        self.shared.running().clone()
    }

    fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        let shared = Arc::clone(&self.shared);
        let entry = Entry::new(Arc::clone(&shared), name);
        let task = async move {
            // Dropped last, however the task ends, its being dropped unpolled included.
            let _entry = entry;
            let abort = shared.abort.clone();
            let guarded = AssertUnwindSafe(future).catch_unwind();
            let ended = tokio::select! {
                biased;
                () = abort.cancelled() => return,
                ended = guarded => ended,
            };
            if let Err(panic) = ended {
                let what = panic_text(&*panic);
                shared.stop(Reason::Panicked { task: name, what });
            }
        };
        // Not awaited: the tracker knows when it ends, and panics are caught above.
        drop(self.shared.tracker.spawn(task));
    }
}

impl Shared {
    /// Keeps the first reason and stops accepting.
    fn stop(&self, reason: Reason) {
        self.reason.send_if_modified(|first| {
            let is_first = first.is_none();
            if is_first {
                *first = Some(reason);
            }
            is_first
        });
        self.stopping.cancel();
    }

    fn running(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, usize>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One running task in the list of those.
struct Entry {
    shared: Arc<Shared>,
    name: &'static str,
}

impl Entry {
    fn new(shared: Arc<Shared>, name: &'static str) -> Self {
        let mut running = shared.running();
        let count = running.entry(name).or_default();
        *count = count.saturating_add(1);
        drop(running);
        Self { shared, name }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut running = self.shared.running();
        if let Some(count) = running.get_mut(self.name) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                running.remove(self.name);
            }
        }
    }
}

/// The supervisor: one for each node, used up by [`Supervisor::run`].
#[derive(Debug)]
pub struct Supervisor {
    tasks: Tasks,
    readiness: Readiness,
}

impl Default for Supervisor {
    fn default() -> Self {
        Self::new()
    }
}

impl Supervisor {
    /// With no task yet, and ready as soon as it is run unless conditions are added.
    #[must_use]
    pub fn new() -> Self {
        let (reason, _) = watch::channel(None);
        let shared = Shared {
            tracker: TaskTracker::new(),
            stopping: CancellationToken::new(),
            abort: CancellationToken::new(),
            reason,
            running: Mutex::new(BTreeMap::new()),
        };
        Self {
            tasks: Tasks {
                shared: Arc::new(shared),
            },
            readiness: Readiness::new(),
        }
    }

    /// The spawner.
    #[must_use]
    pub fn tasks(&self) -> Tasks {
        self.tasks.clone()
    }

    /// What is still to come before the node is ready.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// Waits for a reason to stop, then ends every task: in order until `drain`, then by abort.
    /// `signals` yields a name for every signal received; after the first one, the next aborts at
    /// once.
    pub async fn run(self, mut signals: Signals, drain: Duration) -> Stopped {
        let shared = &self.tasks.shared;
        let mut reasons = shared.reason.subscribe();
        tokio::select! {
            biased;
            _ = reasons.wait_for(Option::is_some) => {}
            name = signals.next() => shared.stop(Reason::Signal(name)),
        }
        self.readiness.stop();
        let first = shared.reason.borrow().clone();
        let reason = first.unwrap_or_else(|| Reason::Asked("stopped".to_owned()));
        if reason.is_orderly() {
            tracing::info!("stopping: {reason}");
        } else {
            tracing::error!("stopping: {reason}");
        }
        shared.tracker.close();
        let drained = tokio::select! {
            biased;
            () = shared.tracker.wait() => true,
            _ = signals.next() => false,
            () = tokio::time::sleep(drain) => false,
        };
        let aborted = if drained {
            BTreeMap::new()
        } else {
            self.tasks.running()
        };
        shared.abort.cancel();
        let wait = Duration::from_millis(ABORT_WAIT_MS);
        // The error only says that some are left; their names are below.
        let _ = tokio::time::timeout(wait, shared.tracker.wait()).await;
        Stopped {
            reason,
            aborted,
            stuck: self.tasks.running(),
        }
    }
}

/// The signals that stop the node.
#[derive(Debug)]
pub struct Signals {
    received: tokio::sync::mpsc::Receiver<&'static str>,
}

impl Signals {
    /// SIGTERM and SIGINT of this process. From here on they no longer end it by themselves.
    ///
    /// # Errors
    /// The operating system's, when handlers cannot be set.
    pub fn of_process() -> io::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (send, received) = tokio::sync::mpsc::channel(1);
        // Its own task, for a signal must be seen whatever the rest is doing. It ends with the
        // receiver.
        tokio::spawn(async move {
            loop {
                let name = tokio::select! {
                    biased;
                    () = send.closed() => return,
                    Some(()) = terminate.recv() => "SIGTERM",
                    Some(()) = interrupt.recv() => "SIGINT",
                    else => return,
                };
                if send.send(name).await.is_err() {
                    return;
                }
            }
        });
        Ok(Self { received })
    }

    /// Signals by hand, for tests and for nodes inside another process. Dropping the sender means
    /// that none comes any more.
    #[must_use]
    pub fn by_hand() -> (tokio::sync::mpsc::Sender<&'static str>, Self) {
        let (send, received) = tokio::sync::mpsc::channel(2);
        (send, Self { received })
    }

    /// The next one; pending for ever when none can come. Cancel safe.
    async fn next(&mut self) -> &'static str {
        match self.received.recv().await {
            Some(name) => name,
            None => core::future::pending().await,
        }
    }
}

/// The text of a panic, on one line of bounded length.
fn panic_text(panic: &(dyn core::any::Any + Send)) -> String {
    const MAX: usize = 200;
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message");
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX)
        .collect()
}
