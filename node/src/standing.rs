//! What is in force now, for whoever decides: who is revoked, how fresh this node's knowledge is,
//! whether its clock can be trusted.
//!
//! One snapshot of the trust state, replaced whole by the part that verified the newer documents
//! ([`crate::overlay::trust`]) and read by admission, enrolment and every decision. It takes no
//! document itself. Everything fails closed: without a timestamp nothing that writes may pass.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use protocol::id::{Digest, NodeId, TicketId};
use protocol::name::Name;
use protocol::time::UnixSeconds;
use protocol::trust::revoked::Cause;
use protocol::trust::state::{Freshness, TrustState};
use protocol::trust::{MemberFacts, TrustError};
use tokio::sync::watch;

use crate::enrol::Bar;
use crate::identity::Identity;

/// Why somebody or something may not pass now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Barred {
    /// The node is revoked.
    #[error("node {} is revoked: {cause}", .node.short())]
    Node {
        /// Which.
        node: NodeId,
        /// Why.
        cause: String,
    },
    /// The issuer of the node's membership is revoked.
    #[error("the issuer of node {}'s membership is revoked: {cause}", .node.short())]
    Issuer {
        /// The node.
        node: NodeId,
        /// Why.
        cause: String,
    },
    /// The agent is revoked.
    #[error("agent `{agent}` is revoked: {cause}")]
    Agent {
        /// Which.
        agent: Name,
        /// Why.
        cause: String,
    },
    /// The tool's definition is revoked.
    #[error("this definition of the tool is revoked: {cause}")]
    Tool {
        /// Why.
        cause: String,
    },
    /// The clock is behind a verified timestamp.
    #[error("the clock of this host is {by_s} s behind verified time")]
    ClockBehind {
        /// By how much.
        by_s: u64,
    },
    /// The newest timestamp is older than the root allows.
    #[error("the newest timestamp of the mesh is {age_s} s old, allowed are {lease_s}")]
    Lease {
        /// Its age.
        age_s: u64,
        /// The lease.
        lease_s: u64,
    },
    /// This node was restored from a backup and has not heard of the present since.
    #[error("this node was restored from a backup and has not synced with a peer since")]
    Restored,
    /// No timestamp was ever seen here.
    #[error("this node has not seen a timestamp of its mesh yet")]
    NoTimestamp,
}

impl Barred {
    /// The stable name.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Node { .. } => "node_revoked",
            Self::Issuer { .. } => "issuer_revoked",
            Self::Agent { .. } => "agent_revoked",
            Self::Tool { .. } => "tool_revoked",
            Self::ClockBehind { .. } => "clock_behind",
            Self::Lease { .. } => "lease_expired",
            Self::Restored => "restored_not_synced",
            Self::NoTimestamp => "no_timestamp",
        }
    }

    /// What whoever reads the refusal can do.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Node { .. } | Self::Issuer { .. } | Self::Agent { .. } | Self::Tool { .. } => {
                "see `hedgerow revocations list`"
            }
            Self::ClockBehind { .. } => {
                "set the clock of this host; calls are refused until it is right"
            }
            Self::Lease { .. } | Self::NoTimestamp | Self::Restored => {
                "this node must reach a peer that hears a timestamper: see `hedgerow doctor`"
            }
        }
    }
}

/// What is in force.
pub struct Standing {
    state: RwLock<Arc<TrustState>>,
    /// Restored from a backup, and not synced since.
    held: AtomicBool,
    changes: watch::Sender<u64>,
}

impl Standing {
    /// Starts from what was kept.
    #[must_use]
    pub fn new(state: Arc<TrustState>) -> Self {
        Self {
            state: RwLock::new(state),
            held: AtomicBool::new(false),
            changes: watch::Sender::new(0),
        }
    }

    /// Of a mesh of which only the genesis root is known.
    ///
    /// # Errors
    /// [`TrustError`] if the identity's genesis root does not hold.
    pub fn genesis(identity: &Identity) -> Result<Self, TrustError> {
        let state = TrustState::genesis(&*identity.crypto, identity.genesis())?;
        Ok(Self::new(Arc::new(state)))
    }

    /// Lets no call pass until [`Standing::release`]: what this node knows may be of long ago.
    pub fn hold(&self) {
        self.held.store(true, Ordering::Release);
    }

    /// This node has heard of the present; whether it was held until now.
    pub fn release(&self) -> bool {
        self.held.swap(false, Ordering::AcqRel)
    }

    /// Whether no call passes.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.held.load(Ordering::Acquire)
    }

    /// The snapshot to decide by.
    #[must_use]
    pub fn now(&self) -> Arc<TrustState> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The roots after the genesis, as documents carry them.
    #[must_use]
    pub fn later_roots(&self) -> Option<Vec<minicbor::bytes::ByteVec>> {
        let state = self.now();
        let later = state.roots().iter().skip(1);
        let later: Vec<_> = later.map(|root| root.bytes().to_vec().into()).collect();
        (!later.is_empty()).then_some(later)
    }

    /// Puts a newer state in force, and wakes everyone who watches.
    pub fn replace(&self, state: Arc<TrustState>) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
        self.changes.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// Wakes everyone who watches, though nothing else is in force: something beside it bars
    /// somebody.
    pub fn look_again(&self) {
        self.changes.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// Ticks whenever something else is in force.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Whether a node is revoked, or its membership's issuer is.
    ///
    /// # Errors
    /// [`Barred::Node`], [`Barred::Issuer`].
    pub fn member(&self, membership: &MemberFacts) -> Result<(), Barred> {
        self.node(&membership.node())?;
        let state = self.now();
        match state.revoked().member(membership) {
            Some(cause) => Err(Barred::Issuer {
                node: membership.node(),
                cause: told(cause),
            }),
            None => Ok(()),
        }
    }

    /// Whether a node is revoked by its id.
    ///
    /// # Errors
    /// [`Barred::Node`].
    pub fn node(&self, node: &NodeId) -> Result<(), Barred> {
        match self.now().revoked().node(node) {
            Some(cause) => Err(Barred::Node {
                node: *node,
                cause: told(cause),
            }),
            None => Ok(()),
        }
    }

    /// Whether an agent of a node is revoked.
    ///
    /// # Errors
    /// [`Barred::Agent`].
    pub fn agent(&self, node: &NodeId, agent: &Name) -> Result<(), Barred> {
        match self.now().revoked().agent(node, agent) {
            Some(cause) => Err(Barred::Agent {
                agent: agent.clone(),
                cause: told(cause),
            }),
            None => Ok(()),
        }
    }

    /// Whether this definition of a tool is revoked.
    ///
    /// # Errors
    /// [`Barred::Tool`].
    pub fn tool(&self, definition: &Digest) -> Result<(), Barred> {
        match self.now().revoked().tool(definition) {
            Some(cause) => Err(Barred::Tool { cause: told(cause) }),
            None => Ok(()),
        }
    }

    /// Whether this host's clock may be relied on.
    ///
    /// # Errors
    /// [`Barred::ClockBehind`], [`Barred::Restored`].
    pub fn clock(&self, now: UnixSeconds) -> Result<(), Barred> {
        if self.is_held() {
            return Err(Barred::Restored);
        }
        match self.now().freshness(now) {
            Freshness::ClockBehind { by_s } => Err(Barred::ClockBehind { by_s }),
            _ => Ok(()),
        }
    }

    /// Whether what this node knows is fresh enough for a call that may write.
    ///
    /// # Errors
    /// [`Barred::Lease`], [`Barred::NoTimestamp`], [`Barred::ClockBehind`].
    pub fn fresh(&self, now: UnixSeconds) -> Result<(), Barred> {
        self.clock(now)?;
        let state = self.now();
        match state.freshness(now) {
            Freshness::Fresh { .. } => Ok(()),
            Freshness::Stale { age_s } => Err(Barred::Lease {
                age_s,
                lease_s: state.root().root().lease_s,
            }),
            Freshness::None => Err(Barred::NoTimestamp),
            Freshness::ClockBehind { by_s } => Err(Barred::ClockBehind { by_s }),
        }
    }
}

/// The reason an admin gave, for people; bounded and free of control characters by its decoder.
fn told(cause: &Cause) -> String {
    cause.reason.to_string()
}

impl crate::enrol::Barred for Standing {
    fn node(&self, node: &NodeId) -> Option<Bar> {
        Self::node(self, node).err().map(Bar::from)
    }

    fn ticket(&self, ticket: &TicketId) -> Option<Bar> {
        let state = self.now();
        let cause = state.revoked().ticket(ticket)?;
        Some(Bar { why: told(cause) })
    }

    fn membership(&self, membership: &MemberFacts) -> Option<Bar> {
        self.member(membership).err().map(Bar::from)
    }
}

impl From<Barred> for Bar {
    fn from(barred: Barred) -> Self {
        Self {
            why: barred.to_string(),
        }
    }
}

impl crate::enrol::RootChain for Standing {
    fn newest(&self) -> u64 {
        self.now().root().root().version
    }

    fn from(&self, version: u64) -> Vec<Vec<u8>> {
        let state = self.now();
        let asked = state.roots().iter().filter(|r| r.root().version >= version);
        asked.map(|root| root.bytes().to_vec()).collect()
    }
}
