//! The trust documents of a running node, as the operations ask for them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use protocol::distribution::LogRow;
use protocol::id::NodeId;
use protocol::trust::{Document, Offer, TrustState};
use tokio::sync::mpsc;

use super::{Answer, Driver, DriverError};
use crate::overlay::trust::{PublishError, PullError, Pulled, Trust};
use crate::standing::Standing;

/// Acknowledgements waiting to be read; the next wait behind them.
const UNREAD: usize = 256;

/// The task that owns the documents, and what it last put in force.
pub struct Running {
    node: NodeId,
    trust: Trust,
    standing: Arc<Standing>,
}

impl Running {
    /// Of this node.
    #[must_use]
    pub const fn new(node: NodeId, trust: Trust, standing: Arc<Standing>) -> Self {
        Self {
            node,
            trust,
            standing,
        }
    }
}

#[async_trait]
impl Driver for Running {
    fn node(&self) -> NodeId {
        self.node
    }

    fn in_force(&self) -> TrustState {
        TrustState::clone(&self.standing.now())
    }

    async fn publish(&self, document: Document) -> Result<Offer, DriverError> {
        self.trust.publish(document).await.map_err(not_published)
    }

    async fn pull(
        &self,
        log: LogRow,
        life: Duration,
    ) -> Result<mpsc::Receiver<Answer>, DriverError> {
        let pulled = self.trust.pull(log, life).await;
        let mut pulled = pulled.map_err(not_asked)?;
        let (told, answers) = mpsc::channel(UNREAD);
        tokio::spawn(async move {
            let until = tokio::time::sleep(life);
            tokio::pin!(until);
            loop {
                let answer = tokio::select! {
                    biased;
                    () = &mut until => return,
                    () = told.closed() => return,
                    answer = pulled.recv() => answer,
                };
                let answer = match answer {
                    Some(Pulled::Ack(ack)) => Answer::Acknowledged {
                        node: ack.node,
                        since: ack.since,
                    },
                    Some(Pulled::Busy) => Answer::Busy,
                    None => return,
                };
                if told.send(answer).await.is_err() {
                    return;
                }
            }
        });
        Ok(answers)
    }
}

fn not_asked(error: PullError) -> DriverError {
    match error {
        PullError::TooMany => DriverError::Busy,
        PullError::Stopping => DriverError::Stopping,
    }
}

fn not_published(error: PublishError) -> DriverError {
    match error {
        PublishError::Refused(error) => DriverError::Trust(error),
        PublishError::NotKept(why) => DriverError::Store(why),
        PublishError::Stopping => DriverError::Stopping,
    }
}
