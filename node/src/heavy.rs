//! Work that takes a thread long without ever waiting: hashing, signing and searching a large message.
//!
//! A message of 4 MiB takes some tens of milliseconds at each node it passes (two signatures over all
//! of it, one verified; `cargo bench -p tests --bench relay` shows what calls beside it wait). On a
//! thread that runs many calls, the others would wait for it. So that thread hands them to another
//! before, and is alone with the work.

use core::future::{Future, poll_fn};
use core::pin::pin;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Semaphore;
use tokio::task::block_in_place;

/// Bytes from which a message is heavy: they take about as long as everything else of a small call,
/// and a hundred times what handing over takes.
pub(crate) const HEAVY_BYTES: usize = 64 * 1024;

/// Threads that are alone with such work at once, so that large messages start no more of them. What
/// comes beyond is done like any other.
pub(crate) const HEAVY_AT_ONCE: usize = 4;

/// Does heavy work, some of it on threads of its own.
#[derive(Debug)]
pub(crate) struct Heavy(Semaphore);

impl Default for Heavy {
    fn default() -> Self {
        Self(Semaphore::new(HEAVY_AT_ONCE))
    }
}

impl Heavy {
    /// Runs `work` over `bytes` bytes to its end.
    pub(crate) async fn run<F: Future>(&self, bytes: usize, work: F) -> F::Output {
        let mut work = pin!(work);
        poll_fn(|context| {
            let place = (bytes >= HEAVY_BYTES)
                .then(|| self.0.try_acquire().ok())
                .flatten();
            match place {
                Some(_place) if has_other_threads() => {
                    block_in_place(|| work.as_mut().poll(context))
                }
                _ => work.as_mut().poll(context),
            }
        })
        .await
    }
}

/// Whether the runtime this runs on can hand over; one of a single thread cannot.
fn has_other_threads() -> bool {
    Handle::try_current().is_ok_and(|h| h.runtime_flavor() == RuntimeFlavor::MultiThread)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, mpsc};
    use std::time::Duration;

    use super::*;
    use crate::lane::Lane;
    use tokio_util::task::TaskTracker;

    /// Longer than any thread needs to start; nothing waits for it unless the test fails.
    const LONG: Duration = Duration::from_secs(30);

    /// Whether another call of the lane ran while work over `bytes` bytes did not let go.
    async fn another_ran(heavy: Arc<Heavy>, bytes: usize, within: Duration) -> bool {
        let (lane, tasks) = (Lane::start().unwrap(), TaskTracker::new());
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let (tell, told) = mpsc::channel();
        let told = Mutex::new(told);
        let (result, seen) = tokio::sync::oneshot::channel();
        lane.spawn(&tasks, async move {
            let work = async {
                begun.send(()).unwrap();
                told.lock().unwrap().recv_timeout(within).is_ok()
            };
            result.send(heavy.run(bytes, work).await).unwrap();
        });
        has_begun.await.unwrap();
        lane.spawn(&tasks, async move {
            // Nobody listens when the work did not wait for it.
            let _ = tell.send(());
        });
        seen.await.unwrap()
    }

    #[tokio::test]
    async fn other_calls_go_on_beside_a_heavy_message() {
        assert!(another_ran(Arc::default(), HEAVY_BYTES, LONG).await);
    }

    #[tokio::test]
    async fn a_small_message_hands_nothing_over() {
        let briefly = Duration::from_millis(1);
        assert!(!another_ran(Arc::default(), HEAVY_BYTES - 1, briefly).await);
    }

    #[tokio::test]
    async fn beyond_the_bound_no_thread_is_started() {
        let heavy = Arc::new(Heavy::default());
        let all = u32::try_from(HEAVY_AT_ONCE).unwrap();
        let taken = heavy.0.try_acquire_many(all).unwrap();
        let briefly = Duration::from_millis(1);
        assert!(!another_ran(Arc::clone(&heavy), HEAVY_BYTES, briefly).await);
        drop(taken);
        assert_eq!(heavy.0.available_permits(), HEAVY_AT_ONCE);
        assert!(another_ran(heavy, HEAVY_BYTES, LONG).await);
    }

    #[tokio::test]
    async fn a_runtime_of_one_thread_does_it_itself() {
        assert_eq!(Heavy::default().run(HEAVY_BYTES, async { 7 }).await, 7);
    }

    /// What waits within holds no place meanwhile.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn waiting_takes_no_place() {
        let heavy = Arc::new(Heavy::default());
        let (go, gone) = tokio::sync::oneshot::channel::<()>();
        let (at_work, waits) = tokio::sync::oneshot::channel();
        let of_task = Arc::clone(&heavy);
        let task = tokio::spawn(async move {
            let work = async {
                at_work.send(()).unwrap();
                gone.await.is_ok()
            };
            of_task.run(HEAVY_BYTES, work).await
        });
        waits.await.unwrap();
        while heavy.0.available_permits() < HEAVY_AT_ONCE {
            tokio::task::yield_now().await;
        }
        go.send(()).unwrap();
        assert!(task.await.unwrap());
    }
}
