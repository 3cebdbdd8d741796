//! Cutting off a peer that broke a chain, and keeping it off for a while; and ending the sessions of
//! an agent that a policy cuts off.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use protocol::id::NodeId;
use protocol::name::Name;

use crate::enforcement::{Sever, Stopped};
use crate::gateway::Gateway;
use crate::overlay::Dialing;
use crate::transport::{Links, Reason};

/// How long a severed peer is neither dialed nor admitted: long enough that calls go another way
/// and an operator sees it, short enough that a repaired one is back within a minute.
pub(super) const COOL_DOWN: Duration = Duration::from_secs(30);

/// Most peers remembered. Each was a member with a link.
const MAX_SEVERED: usize = 1024;

/// The peers that are kept off now.
#[derive(Default)]
pub(super) struct Severed(Mutex<HashMap<NodeId, Instant>>);

impl Severed {
    /// Whether the peer is kept off still.
    #[must_use]
    pub(super) fn is(&self, peer: &NodeId) -> bool {
        let severed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        severed
            .get(peer)
            .is_some_and(|until| Instant::now() < *until)
    }

    fn add(&self, peer: NodeId) {
        let mut severed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if severed.len() >= MAX_SEVERED {
            severed.retain(|_, until| now < *until);
        }
        if severed.len() < MAX_SEVERED {
            severed.insert(peer, now + COOL_DOWN);
        }
    }
}

/// Closes links for `enforce`.
pub(super) struct Severing {
    pub(super) links: Links,
    pub(super) dialing: Arc<Dialing>,
    pub(super) severed: Arc<Severed>,
    pub(super) gateway: Arc<Gateway>,
}

impl Sever for Severing {
    fn sever(&self, peer: NodeId, reason: &str) {
        if peer == self.links.node() {
            return;
        }
        tracing::warn!(peer = %peer.short(), reason, "severed: it delivered what no honest relay would");
        self.severed.add(peer);
        self.dialing.pause(peer, COOL_DOWN);
        self.links.close(peer, Reason::Severed);
    }

    fn sever_agent(&self, agent: &Name, why: &Stopped) {
        tracing::warn!(%agent, reason = why.reason(), "severed: a policy cuts this agent off");
        let (gateway, agent) = (Arc::clone(&self.gateway), agent.clone());
        let why = why.clone().into_error();
        // The call that is answered now is of one of these sessions.
        tokio::spawn(async move { gateway.close_agent_because(&agent, &why).await });
    }
}
