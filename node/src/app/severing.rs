//! Cutting off a peer that broke a chain or that a policy severs, and keeping it off for a while; and
//! ending the sessions of those of this node that a policy cuts off.
//!
//! Links are cut through here only; who is kept off stands in one table, which admission asks. A peer
//! that a policy severs is told so by the answers to its calls first: only then does its link go, and
//! meanwhile nothing of it passes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use protocol::id::NodeId;
use protocol::name::Name;

use crate::call::Acceptor;
use crate::enforcement::{Sever, Stopped};
use crate::gateway::Gateway;
use crate::overlay::{COOL_DOWN, Dialing};
use crate::transport::{Links, Reason, Refusal};

/// Most peers remembered. Each was a member with a link.
const MAX_SEVERED: usize = 1024;

/// How long the link of a peer that a policy severs stays for the answers that tell it why.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long what was said last may be on its way, beside a round trip.
const LAST_WORDS: Duration = Duration::from_millis(50);

#[derive(Debug, Clone)]
struct KeptOff {
    until: Instant,
    reason: Reason,
}

/// The peers that are kept off now.
#[derive(Default)]
pub(super) struct Severed(Mutex<HashMap<NodeId, KeptOff>>);

impl Severed {
    /// Why the peer is kept off still, if it is.
    #[must_use]
    pub(super) fn why(&self, peer: &NodeId) -> Option<Refusal> {
        let severed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = severed.get(peer)?;
        let left = kept.until.checked_duration_since(Instant::now())?;
        let message = format!("{}; {} s of that are left", kept.reason, left.as_secs() + 1);
        Some(Refusal::new(kept.reason.name(), message))
    }

    fn add(&self, peer: NodeId, reason: Reason, cool_down: Duration) {
        let mut severed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let until = now + cool_down;
        if severed.len() >= MAX_SEVERED {
            severed.retain(|_, kept| now < kept.until);
        }
        let longer = severed.get(&peer).is_some_and(|kept| until < kept.until);
        if severed.len() < MAX_SEVERED && !longer {
            severed.insert(peer, KeptOff { until, reason });
        }
    }
}

/// Closes links for `enforce`.
pub(super) struct Severing {
    pub(super) links: Links,
    pub(super) dialing: Arc<Dialing>,
    pub(super) severed: Arc<Severed>,
    pub(super) gateway: Arc<Gateway>,
    pub(super) acceptor: Arc<Acceptor>,
    /// How long a node that a policy severs is kept off.
    pub(super) cool_down: Duration,
}

impl Severing {
    fn keep_off(&self, peer: NodeId, reason: Reason, cool_down: Duration) {
        self.severed.add(peer, reason, cool_down);
        let refused = format!("this node keeps it off: {reason}");
        self.dialing
            .keep_off(peer, cool_down, reason.name(), refused);
    }
}

impl Sever for Severing {
    fn sever(&self, peer: NodeId, reason: &str) {
        if peer == self.links.node() {
            return;
        }
        tracing::warn!(peer = %peer.short(), reason, "severed: it delivered what no honest relay would");
        self.keep_off(peer, Reason::Severed, COOL_DOWN);
        self.links.close(peer, Reason::Severed);
    }

    fn sever_agent(&self, agent: &Name, why: &Stopped) {
        tracing::warn!(%agent, reason = why.reason(), "severed: a policy cuts this agent off");
        let (gateway, agent) = (Arc::clone(&self.gateway), agent.clone());
        let why = why.clone().into_error();
        // The call that is answered now is of one of these sessions.
        tokio::spawn(async move { gateway.close_agent_because(&agent, &why).await });
    }

    fn sever_node(&self, node: NodeId, why: &Stopped) {
        let reason = why.reason();
        if node == self.links.node() {
            tracing::warn!(reason, "severed: a policy cuts the agents of this node off");
            let (gateway, why) = (Arc::clone(&self.gateway), why.clone().into_error());
            tokio::spawn(async move { gateway.close_all_because(&why).await });
            return;
        }
        tracing::warn!(peer = %node.short(), reason, "severed: a policy cuts this node off");
        self.keep_off(node, Reason::NodeSevered, self.cool_down);
        let (links, acceptor) = (self.links.clone(), Arc::clone(&self.acceptor));
        tokio::spawn(async move {
            let round_trip = links.get(node).map_or(0.0, |link| link.rtt_ms);
            let last_words = Duration::from_secs_f64(round_trip / 1000.0) + LAST_WORDS;
            let told = async {
                acceptor.serves_nothing_of(node).await;
                tokio::time::sleep(last_words).await;
            };
            // Who does not listen is not waited for.
            drop(tokio::time::timeout(FAREWELL, told).await);
            links.close(node, Reason::NodeSevered);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_kept_off_for_as_long_as_the_longest_reason_says() {
        let severed = Severed::default();
        let (a, b) = (NodeId::from_bytes([1; 32]), NodeId::from_bytes([2; 32]));
        severed.add(a, Reason::NodeSevered, Duration::from_secs(60));
        severed.add(a, Reason::Severed, COOL_DOWN);
        let refusal = severed.why(&a).unwrap();
        assert_eq!(refusal.reason, "node_severed");
        assert!(refusal.message.contains("60 s"), "{}", refusal.message);
        assert!(severed.why(&b).is_none());
        severed.add(b, Reason::Severed, Duration::ZERO);
        assert!(severed.why(&b).is_none(), "its time is over");
    }
}
