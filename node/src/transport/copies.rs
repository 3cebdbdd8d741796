//! Whether a node runs twice: two processes with one key at the same time, as when a backup was
//! restored beside the node that it is of, or keys were stolen.
//!
//! Every process draws an [`Instance`] when it starts, and says it in hello. A node that restarts has
//! another one from then on; that one which another had taken the place of *comes back* is a sign of
//! two processes at once. A process that shares its key sees the other end of it: a peer closes the
//! link as superseded, though this process has no other with that peer. [`COPY_SIGNS`] of them within
//! [`COPY_WINDOW`] of one another are an alarm, until there was none for that long.
//!
//! Decides nothing and refuses nobody: which of the two is the right one cannot be told here. A member
//! that says what it likes as its instance accuses itself alone.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use protocol::id::NodeId;

use super::admission::Instance;
use super::limits;

/// Signs before they are an alarm. One alone may be a connection that was lost at the wrong moment.
pub const COPY_SIGNS: u32 = 3;

/// Longest pause between two signs that belong together, and how long an alarm lasts after the last.
/// Two copies take the link from one another every [`limits::SUPERSEDED_GRACE`].
pub const COPY_WINDOW: Duration = Duration::from_secs(120);

/// How often one alarm is told in the log.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Instances remembered of one peer: so many processes are told apart.
const INSTANCES: usize = 4;

/// Peers remembered, linked or not. Beyond it the one heard longest ago is forgotten.
const PEERS: usize = limits::LINKS;

/// Signs that one key is used by two processes.
#[derive(Debug, Default)]
struct Signs {
    count: u32,
    last: Option<Instant>,
    told: Option<Instant>,
}

impl Signs {
    /// Notes one more; whether the alarm is to be told now.
    fn note(&mut self, now: Instant) -> bool {
        if !within(self.last, now, COPY_WINDOW) {
            self.count = 0;
        }
        self.count = self.count.saturating_add(1);
        self.last = Some(now);
        let tell = self.is_alarm(now) && !within(self.told, now, TOLD_EVERY);
        if tell {
            self.told = Some(now);
        }
        tell
    }

    fn is_alarm(&self, now: Instant) -> bool {
        self.count >= COPY_SIGNS && within(self.last, now, COPY_WINDOW)
    }
}

fn within(at: Option<Instant>, now: Instant, window: Duration) -> bool {
    at.is_some_and(|at| now.saturating_duration_since(at) < window)
}

/// The processes of one peer.
#[derive(Debug)]
struct Seen {
    /// The one met last at the back.
    instances: VecDeque<Instance>,
    signs: Signs,
    at: Instant,
}

/// What was seen of processes that share a key, this node's own included.
#[derive(Debug, Default)]
pub(super) struct Copies {
    peers: HashMap<NodeId, Seen>,
    own: Signs,
}

impl Copies {
    /// A process of `peer` was admitted; whether it is to be told now that the peer runs twice.
    pub(super) fn met(&mut self, peer: NodeId, instance: Instance, now: Instant) -> bool {
        if self.peers.len() >= PEERS && !self.peers.contains_key(&peer) {
            let oldest = self.peers.iter().min_by_key(|(_, seen)| seen.at);
            if let Some(oldest) = oldest.map(|(id, _)| *id) {
                self.peers.remove(&oldest);
            }
        }
        let seen = self.peers.entry(peer).or_insert_with(|| Seen {
            instances: VecDeque::new(),
            signs: Signs::default(),
            at: now,
        });
        seen.at = now;
        if seen.instances.back() == Some(&instance) {
            return false;
        }
        let back = seen.instances.iter().position(|known| *known == instance);
        if let Some(back) = back {
            seen.instances.remove(back);
        } else if seen.instances.len() >= INSTANCES {
            seen.instances.pop_front();
        }
        seen.instances.push_back(instance);
        back.is_some() && seen.signs.note(now)
    }

    /// A peer closed the only link with this node as superseded; whether it is to be told now that
    /// this node runs twice.
    pub(super) fn ousted(&mut self, now: Instant) -> bool {
        self.own.note(now)
    }

    /// The peers that run twice now, sorted.
    pub(super) fn of_peers(&self, now: Instant) -> Vec<NodeId> {
        let twice = self
            .peers
            .iter()
            .filter(|(_, seen)| seen.signs.is_alarm(now));
        let mut twice: Vec<NodeId> = twice.map(|(peer, _)| *peer).collect();
        twice.sort_unstable();
        twice
    }

    /// Whether another process uses the key of this one.
    pub(super) fn of_own(&self, now: Instant) -> bool {
        self.own.is_alarm(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: usize) -> NodeId {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
        NodeId::from_bytes(bytes)
    }

    fn process(number: u8) -> Instance {
        Instance([number; 8])
    }

    #[test]
    fn two_processes_that_take_turns_are_an_alarm_and_restarts_are_none() {
        let (mut copies, now) = (Copies::default(), Instant::now());
        // A node that crashes in a loop never comes back as who it was.
        for number in 0..200 {
            assert!(!copies.met(node(1), process(number), now));
            assert!(!copies.met(node(1), process(number), now), "dialed twice");
        }
        assert_eq!(copies.of_peers(now), []);
        let turns = (0..10).map(|turn| copies.met(node(2), process(turn % 2), now));
        let told: Vec<bool> = turns.collect();
        let at = usize::try_from(COPY_SIGNS).unwrap() + 1;
        assert_eq!(told.iter().position(|told| *told), Some(at), "{told:?}");
        assert_eq!(told.iter().filter(|told| **told).count(), 1, "told once");
        assert_eq!(copies.of_peers(now), [node(2)]);
        assert!(!copies.of_own(now));
    }

    #[test]
    fn an_alarm_is_told_again_and_ends_when_the_copy_has() {
        let (mut copies, mut now) = (Copies::default(), Instant::now());
        for number in 0..=COPY_SIGNS {
            copies.met(node(2), process(u8::try_from(number % 2).unwrap()), now);
        }
        assert!(copies.met(node(2), process(0), now));
        now += TOLD_EVERY;
        assert!(copies.met(node(2), process(1), now));
        let over = now + COPY_WINDOW;
        assert_eq!(copies.of_peers(over), []);
        assert!(!copies.met(node(2), process(0), over), "counted anew");
        assert_eq!(copies.of_peers(over), []);
    }

    #[test]
    fn who_is_ousted_again_and_again_is_copied() {
        let (mut copies, now) = (Copies::default(), Instant::now());
        assert!(!copies.ousted(now) && !copies.ousted(now));
        assert!(!copies.of_own(now));
        assert!(copies.ousted(now));
        assert!(copies.of_own(now) && !copies.of_own(now + COPY_WINDOW));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut copies, now) = (Copies::default(), Instant::now());
        for number in 0..=PEERS {
            for instance in 0..=INSTANCES {
                let instance = process(u8::try_from(instance).unwrap());
                let later = now + Duration::from_millis(number as u64);
                copies.met(node(number), instance, later);
            }
        }
        assert_eq!(copies.peers.len(), PEERS);
        assert!(!copies.peers.contains_key(&node(0)), "the oldest is gone");
        let most = copies.peers.values().map(|seen| seen.instances.len()).max();
        assert_eq!(most, Some(INSTANCES));
    }
}
