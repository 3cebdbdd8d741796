//! A call that waits for approval, at the node of its server.
//!
//! The caller's stream stays open and is told every [`PROGRESS_EVERY`] that the call waits, if it
//! gave a progress token. A waiting call is not in flight: the node that stops does not wait for
//! it, and what it waits for stays. The wait has its own end, which policy sets within a bound; the
//! life of its envelope ended when it was accepted, like that of any call that runs long.

use std::sync::Arc;
use std::time::Duration;

use protocol::envelope::VerifiedEnvelope;
use protocol::mcp::{View, notification};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::super::conversation::{Broken, Speaker, Topic};
use super::{Acceptor, Hosted};
use crate::approvals::{Answered, Approvals, Asked, Granted, Taken, Waiting};
use crate::enforcement::{APPROVAL_REQUIRED, Hold, Open, Stopped, other_definition};

/// How often a caller is told that its call waits: well under the minute after which clients
/// commonly give up on one that shows no progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// How long a call of a tool that the caller's node did not know by its definition waits for its server
/// to list it, before it is held without: a node that has just started is still asking its servers.
/// Who approves is to see what is called, and what is approved must be what runs.
const LISTING_WAIT: Duration = Duration::from_secs(2);

/// How often it is looked whether it has.
const LISTING_LOOK: Duration = Duration::from_millis(20);

/// What a client says that no longer wants an answer.
const CANCELLED: &str = "notifications/cancelled";

impl Acceptor {
    /// Waits until a held call may go on, and judges it anew. What it counts as open against is
    /// returned. `said` is what the client says meanwhile. Cancel safe: dropped, the call is left.
    pub(super) async fn approval(
        &self,
        topic: &Topic,
        hosted: &Hosted,
        (envelope, hold): (&VerifiedEnvelope, &Hold),
        speaker: &mut Speaker,
        said: &mut mpsc::Receiver<Vec<u8>>,
    ) -> Result<Option<Open>, Broken> {
        let Some(approvals) = self.approvals.get() else {
            let stopped = Stopped::refuse(APPROVAL_REQUIRED, "no call can wait here");
            let stopped = self.enforcer.refuse_hold(hold, stopped).await;
            return Err(Broken::Stopped(stopped));
        };
        self.listed(envelope, hold).await?;
        let asked = Asked { envelope, hold };
        let granted = match approvals.hold(asked).await.map_err(Broken::Stopped)? {
            Taken::Granted(granted) => granted,
            Taken::Waits(waiting) => {
                let waited = self.wait(topic, envelope, hold, waiting, speaker, said);
                let waited = waited.await?;
                // What cannot pass must not cost the approval.
                self.is_as_signed(envelope, hold).await?;
                if let Some(error) = self.as_defined(topic, hosted, envelope).await? {
                    return Err(self
                        .stop(topic.occasion(), &error.reason, &error.message)
                        .await);
                }
                self.granted(topic, approvals, waited).await?
            }
        };
        let covers = |part: &protocol::policy::ApprovalPart| approvals.covers(&granted, part);
        let note = granted.note.clone();
        let resumed = self.enforcer.resume(envelope, hold, note, &covers).await;
        resumed.map_err(Broken::Stopped)
    }

    /// Waits for the definition of the tool that a call names without one. Once it is there the call is
    /// refused, and its caller's node makes it again with it.
    async fn listed(&self, envelope: &VerifiedEnvelope, hold: &Hold) -> Result<(), Broken> {
        let claims = &envelope.header().claims;
        if claims.method != "tools/call" || claims.tool_digest.is_some() {
            return Ok(());
        }
        let appears = async {
            while self.enforcer.is_as_defined(claims) {
                tokio::time::sleep(LISTING_LOOK).await;
            }
        };
        // A tool that its server does not list has none.
        drop(tokio::time::timeout(LISTING_WAIT, appears).await);
        self.is_as_signed(envelope, hold).await
    }

    /// Refuses a call of a tool whose definition is another than the one signed.
    async fn is_as_signed(&self, envelope: &VerifiedEnvelope, hold: &Hold) -> Result<(), Broken> {
        if self.enforcer.is_as_defined(&envelope.header().claims) {
            return Ok(());
        }
        let stopped = self.enforcer.refuse_hold(hold, other_definition()).await;
        Err(Broken::Stopped(stopped))
    }

    /// Uses the approval that ended a wait.
    async fn granted(
        &self,
        topic: &Topic,
        approvals: &Arc<Approvals>,
        waited: Waiting,
    ) -> Result<Granted, Broken> {
        match approvals.use_up(&waited.id).await {
            Ok(granted) => Ok(granted),
            Err(stopped) => Err(Broken::refused(&self.enforcer, topic.occasion(), stopped).await),
        }
    }

    /// Waits for the answer. The wait comes back when it was a yes.
    async fn wait(
        &self,
        topic: &Topic,
        envelope: &VerifiedEnvelope,
        hold: &Hold,
        mut waiting: Waiting,
        speaker: &mut Speaker,
        said: &mut mpsc::Receiver<Vec<u8>>,
    ) -> Result<Waiting, Broken> {
        let view = View::parse(envelope.body()).ok();
        let token = view.and_then(|view| view.progress_token());
        let mut ticks = tokio::time::interval(PROGRESS_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stopping = self.in_flight.stopping();
        loop {
            tokio::select! {
                biased;
                answered = waiting.answered() => match answered {
                    Answered::Approved => return Ok(waiting),
                    // It was counted and recorded when it was decided.
                    Answered::Stopped(stopped) => return Err(Broken::Stopped(stopped)),
                },
                () = stopping.cancelled() => {
                    let message = "the node is stopping; the call can be made again once approved";
                    return Err(self.stop(topic.occasion(), "node_stopping", message).await);
                }
                Some(message) = said.recv() => {
                    if is_cancelled(&message) {
                        return Err(Broken::Transport("the caller cancelled".to_owned()));
                    }
                }
                _ = ticks.tick() => {
                    let progress = token.and_then(|token| progress(token, hold, &waiting));
                    if let Some(progress) = progress {
                        speaker.say(&progress, None).await?;
                    }
                }
            }
        }
    }
}

fn is_cancelled(message: &[u8]) -> bool {
    View::parse(message).is_ok_and(|view| view.method() == Some(CANCELLED))
}

/// Tells that a call waits, and for how long still. Progress must rise, and the server's own, which
/// may follow under the same token, usually begins at 0: so what is told here is the seconds left,
/// negative.
fn progress(token: &str, hold: &Hold, waiting: &Waiting) -> Option<Vec<u8>> {
    let left = waiting.left_ms().div_ceil(1000);
    let (id, why) = (waiting.id.short(), &hold.why.message);
    let message = format!("waits for approval {id}, {left} s left: {why}");
    let message = protocol::mcp::quote(&message);
    let params = format!(r#"{{"progressToken":{token},"progress":-{left},"message":{message}}}"#);
    notification("notifications/progress", Some(&params)).ok()
}
