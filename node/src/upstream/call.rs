//! One call in flight, driven by one task from its first byte to its end.
//!
//! The task ends the call exactly once: when the response is in the caller's queue, when the
//! call failed (the error is the last item of the queue), or when the caller is gone (the server
//! is told with `notifications/cancelled`). It owns the call's stream where the link has one, so
//! its end closes that.

use core::future::Future;
use core::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use protocol::mcp::{Edit, View};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use super::error::Failure;
use super::link::{Link, LinkError};
use super::router::{Activity, CallId, Claim, End, lock};
use super::session::{Inner, tell_cancelled};
use crate::session::SessionError;

/// Links one request is tried on: the one at hand, and one more if that turned out to be gone.
const LINKS_TRIED: u32 = 2;

pub(super) struct Call {
    pub(super) inner: Arc<Inner>,
    pub(super) id: CallId,
    pub(super) to_caller: mpsc::Sender<Result<Bytes, SessionError>>,
    pub(super) ended: oneshot::Receiver<End>,
    pub(super) activity: Activity,
    pub(super) outbound: mpsc::Receiver<Bytes>,
    /// When the client cancelled.
    pub(super) cancelled_at: Option<Instant>,
    pub(super) _claim: Claim,
}

/// What sends the request and, where it has a stream of its own, reads that.
type Driving = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

impl Call {
    pub(super) async fn run(mut self, mut driving: Driving) {
        let mut driven = false;
        let inner = Arc::clone(&self.inner);
        loop {
            let deadline = self.deadline();
            tokio::select! {
                biased;
                end = &mut self.ended => return self.end(end).await,
                () = self.to_caller.closed() => return self.abandoned().await,
                () = inner.closed.cancelled() => inner.router.fail(self.id, Failure::Closed),
                Some(message) = self.outbound.recv() => self.say(message).await,
                result = &mut driving, if !driven => {
                    driven = true;
                    self.driven(result);
                }
                () = sleep_until(deadline) => self.silent().await,
            }
        }
    }

    fn deadline(&self) -> Instant {
        let limits = &self.inner.server.limits;
        let last = *lock(&self.activity);
        let silence = last.checked_add(limits.call_silence).unwrap_or(last);
        let cancelled = self
            .cancelled_at
            .and_then(|at| at.checked_add(limits.cancel_grace));
        cancelled.map_or(silence, |at| at.min(silence))
    }

    async fn end(&mut self, end: Result<End, oneshot::error::RecvError>) {
        let failure = match end {
            Ok(End::Answered) => return,
            Ok(End::Failed(failure)) => failure,
            Err(_) => Failure::Closed,
        };
        let error = failure.at(&self.inner.server.name);
        if matches!(failure, Failure::CallerStalled | Failure::TooLarge) {
            tell_cancelled(&self.inner, self.id).await;
        }
        // The queue may be full. A caller that takes nothing for so long, not even this, is
        // treated as gone.
        let patience = self.inner.server.limits.call_silence;
        let _ = timeout(patience, self.to_caller.send(Err(error))).await;
    }

    async fn abandoned(&self) {
        if self.inner.router.abandon(self.id) && self.cancelled_at.is_none() {
            tell_cancelled(&self.inner, self.id).await;
        }
    }

    /// The deadline passed; it may have moved meanwhile.
    async fn silent(&mut self) {
        if Instant::now() < self.deadline() {
            return;
        }
        if self.cancelled_at.is_some() {
            self.inner.router.fail(self.id, Failure::Cancelled);
            return;
        }
        let after = self.inner.server.limits.call_silence;
        let bound = self.inner.router.is_bound(self.id);
        self.inner.router.fail(self.id, Failure::Timeout { after });
        if bound {
            tell_cancelled(&self.inner, self.id).await;
        }
    }

    fn driven(&self, result: Result<(), Failure>) {
        let failure = match result {
            // Without effect if the response came, as it should have.
            Ok(()) => Failure::StreamEnded {
                detail: "the stream was closed".into(),
            },
            Err(failure) => failure,
        };
        self.inner.router.fail(self.id, failure);
    }

    /// Something the client says within the call. What is refused here has no way back to the
    /// client, so it is only logged; the session's own `send` does answer.
    async fn say(&mut self, message: Bytes) {
        *lock(&self.activity) = Instant::now();
        if let Err(failure) = self.try_say(message).await {
            let server = &self.inner.server.name;
            tracing::debug!(%server, reason = failure.reason(), "refused a message within a call");
        }
    }

    async fn try_say(&mut self, message: Bytes) -> Result<(), Failure> {
        let view = View::parse(&message)?;
        self.inner.admit_answer(&view)?;
        let Some(raw) = view.cancelled_id() else {
            return self.inner.send_within(message.clone()).await;
        };
        match self.inner.router.cancelled(raw) {
            Some((id, _)) if id == self.id => {
                let spliced = view.splice(&[Edit::CancelledId(&id.to_string())])?;
                self.cancel(spliced.into()).await
            }
            Some((_, outbound)) => {
                // Another call's: never wait for its task, which may wait for this one.
                let _ = outbound.try_send(message.clone());
                Ok(())
            }
            None => Ok(()),
        }
    }

    async fn cancel(&mut self, message: Bytes) -> Result<(), Failure> {
        if !self.inner.router.is_bound(self.id) {
            self.inner.router.fail(self.id, Failure::Cancelled);
            return Ok(());
        }
        self.cancelled_at = Some(Instant::now());
        self.inner.send_within(message).await
    }
}

/// Sends the request, on a new link where there is none, and sees it through.
pub(super) async fn drive(
    inner: Arc<Inner>,
    id: CallId,
    message: Bytes,
    begun: Option<Link>,
) -> Result<(), Failure> {
    let mut begun = begun;
    for _ in 0..LINKS_TRIED {
        let link = match begun.take() {
            Some(link) => link,
            None => {
                let link = inner.live().await?;
                inner.router.bind(id, link.number());
                match link.begin(&message).await {
                    Ok(()) => link,
                    Err(LinkError::NotSent) => continue,
                    Err(LinkError::Failed(failure)) => return Err(failure),
                }
            }
        };
        match link.finish(id, &message).await {
            Ok(()) => return Ok(()),
            Err(LinkError::NotSent) => {}
            Err(LinkError::Failed(failure)) => return Err(failure),
        }
    }
    Err(Failure::SessionLost)
}
