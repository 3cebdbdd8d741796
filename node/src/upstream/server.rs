//! One attached server as all its sessions share it: what it is, how it is doing, and how often
//! it may be started.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use protocol::crypto::Crypto;
use protocol::name::Name;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::backoff::{Backoff, StartRate};
use super::error::Failure;
use super::inventory::Inventory;
use super::limits::{Limits, STDERR_LINE_BYTES, STDERR_LINES};
use super::router::lock;
use super::spec::{ServerSpec, printable};

/// What happened to a server since it was attached; all only grow.
#[derive(Debug, Default)]
pub(super) struct Counters {
    restarts: AtomicU64,
    skipped_lines: AtomicU64,
    stray_responses: AtomicU64,
    dropped_events: AtomicU64,
    list_changed: Notify,
    last_failure: Mutex<Option<String>>,
}

impl Counters {
    pub(super) fn count_restart(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    /// A line that is no message, or a message nobody can read.
    pub(super) fn count_skipped(&self) {
        self.skipped_lines.fetch_add(1, Ordering::Relaxed);
    }

    /// A response to nothing in flight.
    pub(super) fn count_stray(&self) {
        self.stray_responses.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_dropped_event(&self) {
        self.dropped_events.fetch_add(1, Ordering::Relaxed);
    }

    /// A session lost its process or did not reach the server.
    pub(super) fn keep_failure(&self, failure: &Failure) {
        *lock(&self.last_failure) = Some(failure.message());
    }

    /// The server said that one of its lists changed.
    pub(super) fn list_changed(&self) {
        self.list_changed.notify_one();
    }

    /// Waits for the next such word; one said meanwhile counts.
    pub(super) async fn lists_to_change(&self) {
        self.list_changed.notified().await;
    }
}

/// How a server is doing.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ServerState {
    /// It was attached and has neither answered nor failed yet.
    Starting,
    /// Its last start succeeded.
    Ready,
    /// Its last start failed, and it is not tried again yet.
    BackingOff {
        /// Whole seconds until it is, rounded up.
        retry_in_s: u64,
        /// What went wrong.
        last_error: String,
    },
    /// Its last start failed; the next session tries again.
    Down {
        /// What went wrong.
        last_error: String,
    },
}

/// One server in a list: nothing secret.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ServerStatus {
    /// Its name on this node.
    pub name: Name,
    /// The program or the URL ([`ServerSpec::summary`]).
    pub summary: String,
    /// How it is doing.
    #[serde(flatten)]
    pub state: ServerState,
    /// Tools in its inventory; none before it was first read.
    pub tools: Option<usize>,
    /// Tools it listed that its inventory leaves out.
    pub tools_left_out: usize,
    /// Why its lists could not be read when last tried, if they could not.
    pub unread: Option<String>,
    /// Sessions of clients open with it.
    pub sessions: usize,
    /// Starts after a crash or a lost session.
    pub restarts: u64,
    /// The last failure of any session, however long ago.
    pub last_failure: Option<String>,
    /// Lines on standard output and messages that were no MCP messages.
    pub skipped_lines: u64,
    /// Responses to nothing in flight, late ones included.
    pub stray_responses: u64,
    /// Events dropped because nobody read them.
    pub dropped_events: u64,
    /// Last lines of standard error, oldest first, without control characters.
    pub stderr: Vec<String>,
}

pub(super) struct Server {
    pub(super) name: Name,
    pub(super) spec: ServerSpec,
    pub(super) crypto: Arc<dyn Crypto>,
    pub(super) limits: Arc<Limits>,
    pub(super) counters: Arc<Counters>,
    pub(super) sessions: Arc<Semaphore>,
    /// Cancelled when the server is removed or the node stops.
    pub(super) removed: CancellationToken,
    pub(super) tracker: TaskTracker,
    /// For servers attached by URL.
    pub(super) client: Option<reqwest::Client>,
    health: Mutex<Health>,
    stderr: Mutex<VecDeque<String>>,
    inventory: Mutex<Option<Arc<Inventory>>>,
    unread: Mutex<Option<String>>,
}

struct Health {
    backoff: Backoff,
    rate: StartRate,
    last_error: Option<Failure>,
    answered: bool,
}

impl Server {
    pub(super) fn new(
        name: Name,
        spec: ServerSpec,
        crypto: Arc<dyn Crypto>,
        limits: Arc<Limits>,
        removed: CancellationToken,
        tracker: TaskTracker,
        client: Option<reqwest::Client>,
    ) -> Self {
        let health = Health {
            backoff: Backoff::default(),
            rate: StartRate::new(Instant::now()),
            last_error: None,
            answered: false,
        };
        Self {
            name,
            spec,
            crypto,
            sessions: Arc::new(Semaphore::new(limits.sessions_per_server)),
            limits,
            counters: Arc::default(),
            removed,
            tracker,
            client,
            health: Mutex::new(health),
            stderr: Mutex::default(),
            inventory: Mutex::default(),
            unread: Mutex::default(),
        }
    }

    /// Whether it may be started now.
    pub(super) fn admit_start(&self) -> Result<(), Failure> {
        if self.removed.is_cancelled() {
            return Err(Failure::Closed);
        }
        let mut health = lock(&self.health);
        let now = Instant::now();
        if let Some(wait) = health.backoff.wait(now) {
            let last = health.last_error.as_ref().map(Failure::message);
            return Err(Failure::BackingOff {
                wait,
                last: last.unwrap_or_default(),
            });
        }
        let max = self.limits.starts_per_minute;
        if health.rate.admit(now, max) {
            Ok(())
        } else {
            Err(Failure::TooManyStarts { max })
        }
    }

    /// A start succeeded.
    pub(super) fn start_succeeded(&self) {
        let mut health = lock(&self.health);
        health.backoff.recovered(Instant::now());
        health.last_error = None;
        health.answered = true;
    }

    /// A start failed: nobody starts it again before the delay is over.
    pub(super) fn start_failed(&self, failure: &Failure) {
        let mut health = lock(&self.health);
        health.backoff.failed(Instant::now(), &self.limits);
        health.last_error = Some(failure.clone());
        health.answered = false;
        tracing::info!(server = %self.name, reason = failure.reason(), "upstream failed to start");
    }

    /// A start for a client failed. If the server has answered before, the client may be the
    /// cause, and one client must not keep the others out: this node tries for itself by
    /// reading the inventory, and only its own failure delays everybody.
    pub(super) fn start_failed_for_client(&self, failure: &Failure) {
        let judged = lock(&self.health).answered && !matches!(failure, Failure::Unreachable { .. });
        if judged {
            self.counters.keep_failure(failure);
            self.counters.list_changed();
        } else {
            self.start_failed(failure);
        }
    }

    /// Keeps one line of standard error.
    pub(super) fn keep_stderr(&self, line: &[u8]) {
        let cut = line.get(..STDERR_LINE_BYTES).unwrap_or(line);
        let text = printable(&String::from_utf8_lossy(cut));
        tracing::debug!(server = %self.name, line = %text, "stderr of upstream");
        let mut lines = lock(&self.stderr);
        if lines.len() >= STDERR_LINES {
            lines.pop_front();
        }
        lines.push_back(text);
    }

    pub(super) fn inventory(&self) -> Option<Arc<Inventory>> {
        lock(&self.inventory).clone()
    }

    /// Its lists could not be read: said once, and shown until they can.
    pub(super) fn inventory_unread(&self, reason: String) {
        let mut unread = lock(&self.unread);
        if unread.as_ref() != Some(&reason) {
            tracing::warn!(server = %self.name, reason, "cannot read what a server offers");
            *unread = Some(reason);
        }
    }

    /// Puts a new inventory in place; true if it differs from the one before.
    pub(super) fn replace_inventory(&self, new: Inventory) -> bool {
        *lock(&self.unread) = None;
        let mut slot = lock(&self.inventory);
        if slot.as_deref() == Some(&new) {
            return false;
        }
        *slot = Some(Arc::new(new));
        true
    }

    pub(super) fn status(&self) -> ServerStatus {
        let free = self.sessions.available_permits();
        let counters = &self.counters;
        ServerStatus {
            name: self.name.clone(),
            summary: self.spec.summary(),
            state: self.state(),
            tools: self.inventory().map(|inventory| inventory.tools.len()),
            tools_left_out: self.inventory().map_or(0, |i| i.tools_left_out),
            unread: lock(&self.unread).clone(),
            sessions: self.limits.sessions_per_server.saturating_sub(free),
            restarts: counters.restarts.load(Ordering::Relaxed),
            last_failure: lock(&counters.last_failure).clone(),
            skipped_lines: counters.skipped_lines.load(Ordering::Relaxed),
            stray_responses: counters.stray_responses.load(Ordering::Relaxed),
            dropped_events: counters.dropped_events.load(Ordering::Relaxed),
            stderr: lock(&self.stderr).iter().cloned().collect(),
        }
    }

    fn state(&self) -> ServerState {
        let health = lock(&self.health);
        let Some(last) = &health.last_error else {
            return if health.answered {
                ServerState::Ready
            } else {
                ServerState::Starting
            };
        };
        let last_error = last.message();
        match health.backoff.wait(Instant::now()) {
            Some(wait) => ServerState::BackingOff {
                retry_in_s: wait.as_secs().saturating_add(1),
                last_error,
            },
            None => ServerState::Down { last_error },
        }
    }
}
