//! Virtual time: the queue of events, and what the network does to a message on its way.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use crate::rng::Rng;
use crate::scenario::Network as Behaviour;

/// How many captured envelopes the adversary keeps for a restart.
const CAPTURED: usize = 256;

/// Events in order of time, those of one instant in the order in which they were scheduled.
#[derive(Debug)]
pub(crate) struct Queue<E> {
    heap: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, E>,
    next: u64,
    pub(crate) now: u64,
}

impl<E> Queue<E> {
    pub(crate) const fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            events: BTreeMap::new(),
            next: 0,
            now: 0,
        }
    }

    /// Schedules `event` in `after` milliseconds.
    pub(crate) fn after(&mut self, after: u64, event: E) {
        self.heap.push(Reverse((self.now + after, self.next)));
        self.events.insert(self.next, event);
        self.next += 1;
    }

    /// Advances to the next event.
    pub(crate) fn pop(&mut self) -> Option<E> {
        let Reverse((at, number)) = self.heap.pop()?;
        self.now = at;
        self.events.remove(&number)
    }
}

/// An envelope the adversary may play again.
#[derive(Debug, Clone)]
pub(crate) struct Captured {
    pub(crate) sender: usize,
    pub(crate) bytes: Vec<u8>,
}

/// The network between senders and receiver.
#[derive(Debug)]
pub(crate) struct Network {
    behaviour: Behaviour,
    /// For each direction of each link, when its last message arrives.
    last: BTreeMap<(usize, bool), u64>,
    captured: VecDeque<Captured>,
}

impl Network {
    pub(crate) const fn new(behaviour: Behaviour) -> Self {
        Self {
            behaviour,
            last: BTreeMap::new(),
            captured: VecDeque::new(),
        }
    }

    /// After how many milliseconds each copy of a message arrives that is sent at `now` between
    /// `sender` and the receiver; none if it is lost.
    pub(crate) fn deliveries(
        &mut self,
        rng: &mut Rng,
        now: u64,
        sender: usize,
        to_receiver: bool,
    ) -> Vec<u64> {
        if rng.chance(self.behaviour.loss) {
            return Vec::new();
        }
        let copies = 1 + usize::from(rng.chance(self.behaviour.duplicate));
        let (low, high) = (self.behaviour.latency_min_ms, self.behaviour.latency_max_ms);
        let mut out: Vec<u64> = (0..copies).map(|_| rng.between(low, high)).collect();
        if self.behaviour.ordered {
            let last = self.last.entry((sender, to_receiver)).or_default();
            for after in &mut out {
                *last = (now + *after).max(*last);
                *after = *last - now;
            }
        }
        out
    }

    /// Lets the adversary see an envelope; `Some` if and when it is played again.
    pub(crate) fn capture(&mut self, rng: &mut Rng, seen: Captured) -> Option<u64> {
        if self.behaviour.replay_after_restart > 0 {
            self.captured.push_back(seen);
            if self.captured.len() > CAPTURED {
                self.captured.pop_front();
            }
        }
        rng.chance(self.behaviour.replay)
            .then(|| rng.between(0, self.behaviour.replay_within_ms))
    }

    /// What the adversary plays when the receiver comes back, the latest first.
    pub(crate) fn after_restart(&self) -> Vec<Captured> {
        let most = self.behaviour.replay_after_restart;
        self.captured.iter().rev().take(most).cloned().collect()
    }
}
