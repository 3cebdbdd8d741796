//! What the network and the adversary do to a message on its way.

use std::collections::{BTreeMap, VecDeque};

use super::scenario::Network as Behaviour;
use crate::rng::Rng;

/// How many captured envelopes the adversary keeps for a restart.
const CAPTURED: usize = 256;

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
