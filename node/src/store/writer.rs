//! The one writer: collects requests into groups, commits each group, answers.
//!
//! It runs on a thread of its own with a runtime of its own, so that an fsync never holds up a
//! task and the last group is committed even while the node's runtime is being torn down.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use protocol::id::Digest;
use redb::Database;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use super::apply::{Batch, Head};
use super::error::panic_text;
use super::tables::{Outcome, Write};
use super::{LAZY_COMMIT_MS, MAX_GROUP_WRITES, Progress, Shared, StorageFault, StoreError};

pub(super) type Reply = oneshot::Sender<Result<Vec<Outcome>, StoreError>>;

/// What the writer is asked for.
pub(super) enum Request {
    /// Writes to commit.
    Write(Job),
    /// The end.
    Close(oneshot::Sender<Result<(), StoreError>>),
}

/// One request for writes. Without `reply` it is lazy.
pub(super) struct Job {
    pub(super) writes: Vec<Write>,
    pub(super) reply: Option<Reply>,
    /// Its share of the queue's bytes, given back when it is done.
    pub(super) permit: OwnedSemaphorePermit,
}

pub(super) struct Writer {
    requests: mpsc::Receiver<Request>,
    shared: Arc<Shared>,
    progress: watch::Sender<Progress>,
    head: Head,
}

/// The group being collected.
#[derive(Default)]
struct Group {
    jobs: Vec<Job>,
    writes: usize,
    /// Somebody waits for it.
    urgent: bool,
    /// When it is committed even if nobody waits.
    due: Option<Instant>,
}

impl Group {
    fn push(&mut self, job: Job) {
        self.writes = self.writes.saturating_add(job.writes.len());
        self.urgent |= job.reply.is_some();
        if self.due.is_none() {
            self.due = Some(Instant::now() + Duration::from_millis(LAZY_COMMIT_MS));
        }
        self.jobs.push(job);
    }

    fn is_full(&self) -> bool {
        self.writes >= MAX_GROUP_WRITES
    }
}

/// What ended the collecting of a group.
enum Next {
    Commit,
    Close(Option<oneshot::Sender<Result<(), StoreError>>>),
}

impl Writer {
    pub(super) fn new(
        requests: mpsc::Receiver<Request>,
        shared: Arc<Shared>,
        progress: watch::Sender<Progress>,
        head: Head,
    ) -> Self {
        Self {
            requests,
            shared,
            progress,
            head,
        }
    }

    /// Runs until closed or until every handle is dropped.
    pub(super) async fn run(mut self) {
        loop {
            let mut group = Group::default();
            let next = self.collect(&mut group).await;
            self.commit(group);
            if let Next::Close(reply) = next {
                self.close(reply).await;
                return;
            }
        }
    }

    /// Collects until somebody waits and nothing more is queued, the group is full or due, or the
    /// end is asked for. Once a group has begun, the queue is looked at when called or due, not
    /// for every write.
    async fn collect(&mut self, group: &mut Group) -> Next {
        let mut due_now = false;
        loop {
            while !group.is_full() {
                match self.requests.try_recv() {
                    Ok(Request::Write(job)) => group.push(job),
                    Ok(Request::Close(reply)) => return Next::Close(Some(reply)),
                    Err(_) => break,
                }
            }
            if group.urgent || group.is_full() || due_now {
                return Next::Commit;
            }
            let Some(due) = group.due else {
                match self.requests.recv().await {
                    Some(Request::Write(job)) => group.push(job),
                    Some(Request::Close(reply)) => return Next::Close(Some(reply)),
                    None => return Next::Close(None),
                }
                continue;
            };
            due_now = timeout_at(due, self.shared.call.notified()).await.is_err();
        }
    }

    /// Commits a group and answers those who wait.
    fn commit(&mut self, group: Group) {
        if let Some(fault) = self.fault() {
            answer_all(group.jobs, &StoreError::Failed(fault));
            return;
        }
        if group.writes == 0 {
            for job in group.jobs {
                answer(job.reply, Ok(Vec::new()));
            }
            return;
        }
        let (writes, replies): (Vec<_>, Vec<_>) = group
            .jobs
            .into_iter()
            .map(|job| (job.writes, (job.reply, job.permit)))
            .unzip();
        let head = self.head;
        let shared = Arc::clone(&self.shared);
        // redb checks much by assertion: a damaged page must not end the writer unheard. The
        // transaction it unwinds through keeps the file locked until the process ends.
        let done = catch_unwind(AssertUnwindSafe(|| make_group(&shared, head, writes)))
            .unwrap_or_else(|panic| Err(StorageFault::Corrupt(panic_text(&*panic))));
        match done {
            Ok((head, results)) => {
                self.head = head;
                self.count(&results, &replies);
                for (result, (reply, _permit)) in results.into_iter().zip(replies) {
                    answer(reply, result);
                }
            }
            Err(fault) => {
                let fault = self.fail(fault);
                for (reply, _permit) in replies {
                    answer(reply, Err(StoreError::Failed(Arc::clone(&fault))));
                }
            }
        }
    }

    fn count(
        &self,
        results: &[Result<Vec<Outcome>, StoreError>],
        replies: &[(Option<Reply>, OwnedSemaphorePermit)],
    ) {
        let made = results.iter().flatten().map(Vec::len).sum::<usize>();
        let mut dropped = 0_u64;
        for (result, (reply, _)) in results.iter().zip(replies) {
            if let (Err(error), None) = (result, reply) {
                dropped = dropped.saturating_add(1);
                tracing::warn!(
                    reason = error.reason(),
                    "a queued write was dropped: {error}"
                );
            }
        }
        self.progress.send_modify(|p| {
            p.commits = p.commits.saturating_add(1);
            p.writes = p
                .writes
                .saturating_add(u64::try_from(made).unwrap_or(u64::MAX));
            p.dropped = p.dropped.saturating_add(dropped);
        });
    }

    fn fault(&self) -> Option<Arc<StorageFault>> {
        self.progress.borrow().fault.clone()
    }

    /// Records the fault after which nothing is written.
    fn fail(&self, fault: StorageFault) -> Arc<StorageFault> {
        tracing::error!(
            hint = fault.hint(),
            "the store failed and takes no more writes: {fault}"
        );
        let fault = Arc::new(fault);
        self.progress
            .send_modify(|p| p.fault = Some(Arc::clone(&fault)));
        fault
    }

    /// Refuses what came too late, releases the file and answers.
    async fn close(mut self, reply: Option<oneshot::Sender<Result<(), StoreError>>>) {
        self.requests.close();
        while let Some(request) = self.requests.recv().await {
            match request {
                Request::Write(job) => answer(job.reply, Err(StoreError::Closed)),
                Request::Close(late) => drop(late.send(Err(StoreError::Closed))),
            }
        }
        let database = self
            .shared
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let fault = match self.fault() {
            Some(fault) => Some(fault),
            None => release(database).map(|fault| self.fail(fault)),
        };
        let result = fault.map_or(Ok(()), |fault| Err(StoreError::Failed(fault)));
        if let Some(reply) = reply {
            // The asker may have stopped waiting.
            let _ = reply.send(result);
        }
    }
}

/// Closes the file in good order, so that the next start needs no repair.
fn release(database: Option<Database>) -> Option<StorageFault> {
    // Dropping writes the clean state; every acknowledged commit is on disk before it.
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(database)));
    dropped
        .err()
        .map(|panic| StorageFault::Corrupt(panic_text(&*panic)))
}

type Made = (Head, Vec<Result<Vec<Outcome>, StoreError>>);

/// Makes one transaction of a group.
fn make_group(
    shared: &Shared,
    head: Head,
    requests: Vec<Vec<Write>>,
) -> Result<Made, StorageFault> {
    let guard = shared
        .database
        .read()
        .unwrap_or_else(PoisonError::into_inner);
    // Only `close` empties it, and only this thread closes.
    let database = guard
        .as_ref()
        .ok_or_else(|| StorageFault::Io("the file is closed".to_owned()))?;
    let transaction = database.begin_write()?;
    let mut results = Vec::with_capacity(requests.len());
    let mut batch = Batch::new(&transaction, head)?;
    for writes in requests {
        results.push(batch.request(writes)?);
    }
    let head = batch.finish()?;
    transaction.commit()?;
    Ok((head, results))
}

fn answer(reply: Option<Reply>, result: Result<Vec<Outcome>, StoreError>) {
    if let Some(reply) = reply {
        // The asker may have stopped waiting; the write stands.
        let _ = reply.send(result);
    }
}

fn answer_all(jobs: Vec<Job>, error: &StoreError) {
    for job in jobs {
        answer(job.reply, Err(error.clone()));
    }
}

/// The hash that the first record names as the one before it.
pub(super) const NO_RECORD: Digest = Digest::from_bytes([0; Digest::LEN]);
