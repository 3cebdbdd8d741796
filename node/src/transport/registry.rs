//! Which of several connections with one peer is the link: one per pair of nodes, and the same
//! one on both sides.
//!
//! Both sides see the same facts: who dialed, and which process of the peer (its
//! [`Instance`]) is at the other end. A connection with another process of the peer supersedes.
//! Otherwise, of two dialed from opposite ends the one dialed by the lower [`NodeId`] stays;
//! of two dialed from the same end the dialer has decided before it finished hello, so the
//! later one the acceptor sees stays. A superseded link drains for
//! [`limits::SUPERSEDED_GRACE`], its streams untouched.

use std::collections::HashMap;
use std::sync::Arc;

use protocol::id::NodeId;
use protocol::time::UnixMillis;

use super::admission::Instance;
use super::limits;
use super::link::Link;

/// The links of a node, by peer.
pub(super) struct Registry {
    own: NodeId,
    peers: HashMap<NodeId, Peer>,
    /// When a peer whose link went down was heard last.
    heard: HashMap<NodeId, UnixMillis>,
}

struct Peer {
    current: Option<Arc<Link>>,
    draining: Vec<Arc<Link>>,
}

/// What became of an admitted connection.
pub(super) enum Outcome {
    /// It is the link; the one before drains.
    Current {
        /// The link before.
        superseded: Option<Arc<Link>>,
    },
    /// Another one is the link; it drains.
    Superseded,
    /// No room: for more links, or for more of this peer's draining ones.
    Refused,
}

/// What decides between two connections with one peer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim {
    pub(super) instance: Instance,
    pub(super) dialed: bool,
}

impl Registry {
    pub(super) fn new(own: NodeId) -> Self {
        Self {
            own,
            peers: HashMap::new(),
            heard: HashMap::new(),
        }
    }

    /// Notes when a peer was heard last, whose link went down. Of too many the one heard longest ago
    /// is forgotten.
    pub(super) fn note_heard(&mut self, peer: NodeId, at: UnixMillis) {
        if self.heard.len() >= limits::HEARD && !self.heard.contains_key(&peer) {
            let oldest = self.heard.iter().min_by_key(|(_, at)| **at);
            if let Some(oldest) = oldest.map(|(id, _)| *id) {
                self.heard.remove(&oldest);
            }
        }
        self.heard.insert(peer, at);
    }

    /// When a peer was heard last on a link that is down since.
    pub(super) fn heard(&self, peer: NodeId) -> Option<UnixMillis> {
        self.heard.get(&peer).copied()
    }

    pub(super) fn current(&self, peer: NodeId) -> Option<Arc<Link>> {
        self.peers.get(&peer)?.current.clone()
    }

    /// Whether a connection with these facts would become the link.
    pub(super) fn would_win(&self, peer: NodeId, claim: Claim) -> bool {
        let current = self.current(peer).filter(|link| !link.is_closed());
        current.is_none_or(|link| {
            let held = Claim {
                instance: link.facts.instance,
                dialed: link.facts.dialed,
            };
            wins(self.own, peer, held, claim)
        })
    }

    pub(super) fn admit(&mut self, link: &Arc<Link>) -> Outcome {
        let peer = link.facts.peer;
        let claim = Claim {
            instance: link.facts.instance,
            dialed: link.facts.dialed,
        };
        let wins = self.would_win(peer, claim);
        let room = self.peers.len() < limits::LINKS;
        if !room && !self.peers.contains_key(&peer) {
            return Outcome::Refused;
        }
        let entry = self.peers.entry(peer).or_insert_with(|| Peer {
            current: None,
            draining: Vec::new(),
        });
        if wins {
            let superseded = entry.current.replace(Arc::clone(link));
            entry.draining.extend(superseded.clone());
            Outcome::Current { superseded }
        } else if entry.draining.len() >= limits::SUPERSEDED {
            Outcome::Refused
        } else {
            entry.draining.push(Arc::clone(link));
            Outcome::Superseded
        }
    }

    /// Forgets a connection that ended; true if it was the link.
    pub(super) fn remove(&mut self, link: &Arc<Link>) -> bool {
        let peer = link.facts.peer;
        let Some(entry) = self.peers.get_mut(&peer) else {
            return false;
        };
        entry.draining.retain(|other| !Arc::ptr_eq(other, link));
        let was_current = entry
            .current
            .take_if(|current| Arc::ptr_eq(current, link))
            .is_some();
        if entry.current.is_none() && entry.draining.is_empty() {
            self.peers.remove(&peer);
        }
        was_current
    }

    /// Takes out every connection with this peer: the link first, where there is one.
    pub(super) fn take(&mut self, peer: NodeId) -> (Option<Arc<Link>>, Vec<Arc<Link>>) {
        self.peers
            .remove(&peer)
            .map_or((None, Vec::new()), |peer| (peer.current, peer.draining))
    }

    /// The current links.
    pub(super) fn links(&self) -> impl Iterator<Item = &Arc<Link>> {
        self.peers.values().filter_map(|peer| peer.current.as_ref())
    }

    /// The peers with any connection.
    pub(super) fn peers(&self) -> Vec<NodeId> {
        self.peers.keys().copied().collect()
    }
}

/// Whether `new` takes the place of `held`.
fn wins(own: NodeId, peer: NodeId, held: Claim, new: Claim) -> bool {
    if held.instance != new.instance {
        return true;
    }
    match (held.dialed, new.dialed) {
        (true, true) => false,
        (false, false) => true,
        (_, new_dialed) => new_dialed == (own < peer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_choose_the_same_connection() {
        let (low, high) = (NodeId::from_bytes([1; 32]), NodeId::from_bytes([2; 32]));
        let claim = |dialed| Claim {
            instance: Instance([0; 8]),
            dialed,
        };
        // The connection `low` dialed, then the one `high` dialed, in either order of arrival.
        for (own, peer, by_low) in [(low, high, true), (high, low, false)] {
            assert!(!wins(own, peer, claim(by_low), claim(!by_low)));
            assert!(wins(own, peer, claim(!by_low), claim(by_low)));
        }
    }

    #[test]
    fn when_peers_were_heard_is_remembered_within_a_bound() {
        let mut registry = Registry::new(NodeId::from_bytes([0; 32]));
        let node = |number: usize| {
            let mut bytes = [1; 32];
            bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
            NodeId::from_bytes(bytes)
        };
        for number in 0..=limits::HEARD {
            registry.note_heard(node(number), UnixMillis(number as u64));
        }
        assert_eq!(registry.heard(node(0)), None, "the oldest is forgotten");
        assert_eq!(registry.heard(node(1)), Some(UnixMillis(1)));
        registry.note_heard(node(1), UnixMillis(7));
        assert_eq!(registry.heard(node(1)), Some(UnixMillis(7)));
        assert_eq!(registry.heard.len(), limits::HEARD);
    }

    #[test]
    fn another_process_of_the_peer_supersedes() {
        let (own, peer) = (NodeId::from_bytes([1; 32]), NodeId::from_bytes([2; 32]));
        let claim = |instance, dialed| Claim {
            instance: Instance([instance; 8]),
            dialed,
        };
        for held in [true, false] {
            for new in [true, false] {
                assert!(wins(own, peer, claim(1, held), claim(2, new)));
            }
        }
        assert!(!wins(own, peer, claim(1, true), claim(1, true)));
        assert!(wins(own, peer, claim(1, false), claim(1, false)));
    }
}
