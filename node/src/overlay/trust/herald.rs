//! What this node says by gossip of what it has taken, and what it passes on of what it hears.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use protocol::distribution::{Change, Machine};
use protocol::id::NodeId;
use tokio::sync::broadcast;
use tokio::time::Instant;

use crate::overlay::heads::MAX_ANNOUNCEMENT;
use crate::transport::{PendingVerdict, Verdict};

/// Announcements waiting to be published; the oldest makes way.
pub(super) const ANNOUNCEMENTS: usize = 64;

/// For how long what this node announced is passed on when it comes by gossip as well: as long as
/// gossipsub keeps a message to be judged. Later it is old news, however often it is sent again.
const PASSED_ON_FOR: Duration = Duration::from_secs(5);

/// A gossiped head with the bytes that it came as.
#[derive(Debug)]
pub struct Gossiped {
    /// As they came.
    pub data: Bytes,
    /// To be said.
    pub verdict: PendingVerdict,
}

/// Announces and judges.
#[derive(Debug)]
pub(super) struct Herald {
    out: broadcast::Sender<Bytes>,
    recent: VecDeque<(Instant, Bytes)>,
    /// Who delivered what is being judged now, and whether it was found forged.
    hearing: Option<(NodeId, bool)>,
}

impl Herald {
    pub(super) const fn new(out: broadcast::Sender<Bytes>) -> Self {
        Self {
            out,
            recent: VecDeque::new(),
            hearing: None,
        }
    }

    /// Says what has come into force.
    pub(super) fn announce(&mut self, machine: &Machine, change: &Change) {
        for message in machine.announcements(change) {
            let bytes = Bytes::from(message.encode());
            if bytes.len() > MAX_ANNOUNCEMENT {
                continue;
            }
            if self.recent.len() >= ANNOUNCEMENTS {
                self.recent.pop_front();
            }
            self.recent.push_back((Instant::now(), bytes.clone()));
            // Nobody publishes before gossip has started, nor needs to.
            let _ = self.out.send(bytes);
        }
    }

    /// What `from` delivered is about to be judged.
    pub(super) const fn hear(&mut self, from: NodeId) {
        self.hearing = Some((from, false));
    }

    /// Notes that `peer` sent what no honest node sends; whether that was by gossip.
    pub(super) fn forged(&mut self, peer: NodeId) -> bool {
        match &mut self.hearing {
            Some((from, forged)) if *from == peer => {
                *forged = true;
                true
            }
            _ => false,
        }
    }

    /// It has been judged.
    pub(super) fn verdict(&mut self, data: &Bytes) -> Verdict {
        let forged = self.hearing.take().is_some_and(|(_, forged)| forged);
        let fresh = |at: &Instant| at.elapsed() < PASSED_ON_FOR;
        let mut recent = self.recent.iter();
        if forged {
            Verdict::Reject
        } else if recent.any(|(at, own)| fresh(at) && own == data) {
            Verdict::Accept
        } else {
            Verdict::Ignore
        }
    }
}
