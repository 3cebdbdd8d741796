//! Who at this node waits for acknowledgements, and what has come so far.
//!
//! Whoever asks the same while it is being asked joins: it is told what has come and what comes,
//! and the mesh is asked once. What is asked is over when nobody waits any more.

use std::collections::HashMap;

use protocol::distribution::pull::{MAX_ACKS_PER_PULL, PullId};
use protocol::distribution::{Ack, LogRow};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Pulled;

/// Most who wait for the same answers: each has a channel that may hold all of them.
const MAX_WAITING: usize = 32;

/// Answers a channel holds: one of each node, and one that somebody was busy.
const UNREAD: usize = MAX_ACKS_PER_PULL + 1;

/// One question.
#[derive(Debug)]
struct Question {
    log: LogRow,
    /// Until when the mesh answers.
    ends: Instant,
    said: Vec<Pulled>,
    waiting: Vec<mpsc::Sender<Pulled>>,
}

impl Question {
    fn say(&mut self, pulled: Pulled) {
        self.said.push(pulled);
        for answers in &self.waiting {
            // Full only beyond the bound on answers, closed when nobody waits.
            let _ = answers.try_send(pulled);
        }
    }

    fn join(&mut self) -> mpsc::Receiver<Pulled> {
        let (answers, pulled) = mpsc::channel(UNREAD);
        for said in &self.said {
            let _ = answers.try_send(*said);
        }
        self.waiting.push(answers);
        pulled
    }
}

/// The questions that are open.
#[derive(Debug, Default)]
pub(super) struct Asking {
    open: HashMap<PullId, Question>,
}

impl Asking {
    /// Joins who asks about this state already, if it will be answered until `until` at least.
    pub(super) fn join(
        &mut self,
        log: &LogRow,
        until: Instant,
    ) -> Option<(PullId, mpsc::Receiver<Pulled>)> {
        let open = self.open.iter_mut();
        let mut alike = open.filter(|(_, q)| q.log == *log && q.ends >= until);
        let (id, question) = alike.find(|(_, q)| q.waiting.len() < MAX_WAITING)?;
        Some((*id, question.join()))
    }

    /// Opens a question.
    pub(super) fn open(
        &mut self,
        id: PullId,
        log: LogRow,
        ends: Instant,
    ) -> mpsc::Receiver<Pulled> {
        let question = Question {
            log,
            ends,
            said: Vec::new(),
            waiting: Vec::new(),
        };
        let question = self.open.entry(id).or_insert(question);
        question.join()
    }

    pub(super) fn is_open(&self, id: &PullId) -> bool {
        self.open.contains_key(id)
    }

    /// Where the answers go of who has asked last.
    pub(super) fn newest(&self, id: &PullId) -> Option<mpsc::Sender<Pulled>> {
        self.open.get(id)?.waiting.last().cloned()
    }

    pub(super) fn acked(&mut self, id: &PullId, ack: Ack) {
        if let Some(question) = self.open.get_mut(id) {
            question.say(Pulled::Ack(ack));
        }
    }

    pub(super) fn busy(&mut self, id: &PullId) {
        if let Some(question) = self.open.get_mut(id) {
            question.say(Pulled::Busy);
        }
    }

    /// Forgets a question that was not asked.
    pub(super) fn forget(&mut self, id: &PullId) {
        self.open.remove(id);
    }

    /// Forgets who waits no more. True if that was the last of them.
    pub(super) fn is_over(&mut self, id: &PullId) -> bool {
        let Some(question) = self.open.get_mut(id) else {
            return false;
        };
        question.waiting.retain(|answers| !answers.is_closed());
        let over = question.waiting.is_empty();
        if over {
            self.open.remove(id);
        }
        over
    }
}
