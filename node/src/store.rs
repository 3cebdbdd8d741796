//! What a node keeps: one redb file, one writer, typed reads.
//!
//! One thread owns every write and commits in groups: all requests that wait when a commit
//! begins share its fsync. [`Store::durable`] returns when the data is on disk, [`Store::lazy`]
//! when it is queued; queued data is on disk at most [`LAZY_COMMIT_MS`] (and one commit) later,
//! which with [`QUEUE_BYTES`] is the bound on what a crash can lose of it. Readers see
//! the last committed state and never wait for the writer.
//!
//! # Invariants
//! - What was acknowledged survives the process, however it ends.
//! - Decision records have consecutive sequences from 0 and each names the hash of the one
//!   before. Only the oldest are ever forgotten, and of those the last one's sequence and hash
//!   stay ([`PrunePoint`]), so that what is kept is verified from there. The first and the last
//!   [`CHAIN_CHECK`] records are verified when the store is opened.
//! - The writes of one request are made together or not at all; a request that breaks a bound
//!   is refused by name and disturbs no other in its group.
//! - After one failed commit nothing more is written: the fault is final until the store is
//!   opened again, by a new process if the disk failed (a page cache can hide a lost write).
//! - Queue, request, value and table sizes are all bounded; a full queue makes callers wait.
//!
//! Commits use redb's one-phase protocol: one fsync, a torn commit found by its checksum. Its
//! two-phase protocol would double the cost of each durable write to stop someone who controls
//! the order of page writes and the moment of the crash, that is, the host's kernel, which is
//! outside our threat model.
//!
//! The store imports no other part of the node but the checks on private files. It interprets
//! neither records nor documents: callers give bytes, and a way to read a record's links.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use redb::{Database, ReadableDatabase};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};

mod apply;
mod approvals;
mod books;
mod copy;
mod error;
mod history;
mod open;
mod snapshot;
mod tables;
#[cfg(test)]
pub(crate) mod tests;
mod trust;
mod writer;

pub use approvals::{MAX_APPROVAL_BYTES, MAX_APPROVALS};
pub use books::{
    Books, BooksWork, Grant, KeptTicket, MAX_PENDING, MAX_REDEMPTIONS, MAX_TICKETS, PendingJoin,
    Redemption,
};
pub use error::{OpenError, StorageFault, StoreError};
pub use history::{MAX_PAST_BUNDLES, MAX_PAST_BYTES};
pub use open::{CHAIN_CHECK, CHECK_ON_OPEN_BYTES, Link, Options, ReadLink};
pub use snapshot::{Decision, PrunePoint, READ_AT_ONCE, Snapshot};
pub use tables::{
    Agent, FORMAT, IsExpired, MAX_AGENTS, MAX_DECISION_BYTES, MAX_NODES, MAX_SERVER_BYTES,
    MAX_SERVERS, MakeDecision, Outcome, PRUNE_AT_ONCE, Prune, Write,
};
pub use trust::TrustRow;

use writer::{Job, Request};

/// Longest time a lazy write waits for company before its group is committed.
pub const LAZY_COMMIT_MS: u64 = 50;

/// Requests queued before callers wait.
pub const QUEUE_REQUESTS: usize = 1024;

/// Bytes queued before callers wait; a larger request waits until it is alone.
pub const QUEUE_BYTES: usize = 4 * 1024 * 1024;

/// Most writes of one request.
pub const MAX_WRITES_AT_ONCE: usize = 1024;

/// Most writes in one commit. More make the next one; bounds how long the first waits.
pub const MAX_GROUP_WRITES: usize = 4096;

/// Cache of redb unless configured. The hot pages of an idle node are well under 1 MiB; an idle
/// node must stay under 40 MiB in total.
pub const DEFAULT_CACHE_BYTES: usize = 4 * 1024 * 1024;

/// What the writer has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Commits made, each with one fsync.
    pub commits: u64,
    /// Writes in them.
    pub writes: u64,
    /// Writes queued lazily that broke a bound and were dropped, each with a warning.
    pub dropped: u64,
    /// Why nothing more is written, if so.
    pub fault: Option<Arc<StorageFault>>,
}

/// The store. Clones share one writer; the last one dropped ends it after what is queued, and
/// [`Store::close`] waits for that.
#[derive(Clone)]
pub struct Store {
    requests: mpsc::Sender<Request>,
    bytes: Arc<Semaphore>,
    shared: Arc<Shared>,
    progress: watch::Receiver<Progress>,
}

/// What handles and writer share.
struct Shared {
    /// `None` once closed. Held for reading to begin a transaction, for writing to close.
    database: RwLock<Option<Database>>,
    /// Set when `close` was asked for, so that later requests are refused by that name.
    closed: AtomicBool,
    /// Calls the writer before its group is due. Lazy writes do not, while there is room: they
    /// are on the path of every call, and a thread woken for each would cost more than they do.
    call: Notify,
}

impl core::fmt::Debug for Store {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Store")
            .field("progress", &*self.progress.borrow())
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Makes `writes` in one transaction and returns when they are on disk, with what each came
    /// to. Dropping the future after it was polled does not take the writes back.
    ///
    /// # Errors
    /// [`StoreError`]; none of the writes was made, except that after [`StoreError::Failed`] they
    /// may turn out to be there when the store is opened again.
    pub async fn durable(&self, writes: Vec<Write>) -> Result<Vec<Outcome>, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.queue(writes, Some(reply)).await?;
        answer.await.unwrap_or_else(|_| Err(self.why_ended()))
    }

    /// Queues one write; it is on disk with the next commit, at most [`LAZY_COMMIT_MS`] and one
    /// commit later. Waits while the queue is full.
    ///
    /// # Errors
    /// [`StoreError`] but `TableFull`, which is found later, warned of and counted.
    pub async fn lazy(&self, write: Write) -> Result<(), StoreError> {
        self.queue(vec![write], None).await
    }

    /// Returns when everything queued before is on disk.
    ///
    /// # Errors
    /// [`StoreError::Failed`], [`StoreError::Closed`].
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.durable(Vec::new()).await.map(|_| ())
    }

    /// Commits what is queued, ends the writer and releases the file. Snapshots still held keep
    /// the file locked until they are dropped.
    ///
    /// # Errors
    /// [`StoreError::Failed`] when something queued did not reach the disk;
    /// [`StoreError::Closed`] when it was closed before.
    pub async fn close(&self) -> Result<(), StoreError> {
        if self.shared.closed.swap(true, Ordering::AcqRel) {
            return Err(StoreError::Closed);
        }
        let (reply, answer) = oneshot::channel();
        let sent = self.send(Request::Close(reply), true).await;
        sent?;
        answer.await.unwrap_or_else(|_| Err(self.why_ended()))
    }

    /// The last committed state. Reading it blocks for disk reads: a lookup is short, whole
    /// tables belong on a blocking thread.
    ///
    /// # Errors
    /// [`StoreError::Closed`], [`StoreError::Read`].
    pub fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let guard = self
            .shared
            .database
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let database = guard.as_ref().ok_or(StoreError::Closed)?;
        let transaction = database
            .begin_read()
            .map_err(|e| StoreError::Read(e.into()))?;
        Ok(Snapshot::new(transaction))
    }

    /// What the writer has done so far.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress.borrow().clone()
    }

    /// Changes with every commit and with the fault.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Returns when the store has failed; pending for ever while it has not. Whoever runs the node
    /// stops it then.
    pub async fn failed(&self) -> Arc<StorageFault> {
        let mut progress = self.progress.clone();
        let found = progress.wait_for(|p| p.fault.is_some()).await;
        match found.map(|p| p.fault.clone()) {
            Ok(Some(fault)) => fault,
            // The writer ended in good order: it can no longer fail.
            _ => core::future::pending().await,
        }
    }

    async fn queue(
        &self,
        writes: Vec<Write>,
        reply: Option<writer::Reply>,
    ) -> Result<(), StoreError> {
        if self.shared.closed.load(Ordering::Acquire) || self.progress.borrow().fault.is_some() {
            return Err(self.why_ended());
        }
        let cost = apply::cost(&writes)?.min(QUEUE_BYTES);
        let permits = u32::try_from(cost).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.bytes)
            .acquire_many_owned(permits)
            .await
            .map_err(|_| self.why_ended())?;
        let urgent = reply.is_some();
        let job = Job {
            writes,
            reply,
            permit,
        };
        self.send(Request::Write(job), urgent).await
    }

    async fn send(&self, request: Request, urgent: bool) -> Result<(), StoreError> {
        // Before it waits for room, which only the writer makes.
        if self.requests.capacity() < QUEUE_REQUESTS / 2 {
            self.shared.call.notify_one();
        }
        let sent = self.requests.send(request).await;
        if urgent {
            self.shared.call.notify_one();
        }
        sent.map_err(|_| self.why_ended())
    }

    /// Why the writer no longer answers.
    fn why_ended(&self) -> StoreError {
        match &self.progress.borrow().fault {
            Some(fault) => StoreError::Failed(Arc::clone(fault)),
            None => StoreError::Closed,
        }
    }
}
