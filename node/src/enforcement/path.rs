//! The way of a call: every node on it, and what seals it where others carry it.

use std::sync::Arc;

use protocol::envelope::{CallSeal, Sealed};
use protocol::id::NodeId;

/// From this node to the far end of a call.
#[derive(Debug, Clone)]
pub struct Path {
    far: NodeId,
    route: Vec<NodeId>,
    seal: Option<Arc<CallSeal>>,
    sealed: Option<Sealed>,
}

impl Path {
    /// Over the link with `far`, or within this node.
    #[must_use]
    pub fn direct(me: NodeId, far: NodeId) -> Self {
        let route = if me == far { vec![me] } else { vec![me, far] };
        Self {
            far,
            route,
            seal: None,
            sealed: None,
        }
    }

    /// Along `route`, which ends at `far`, sealed for it.
    #[must_use]
    pub fn relayed(far: NodeId, route: Vec<NodeId>, seal: CallSeal, sealed: Sealed) -> Self {
        Self {
            far,
            route,
            seal: Some(Arc::new(seal)),
            sealed: Some(sealed),
        }
    }

    /// Back along the route of a message from `far`.
    #[must_use]
    pub fn back(far: NodeId, route: &[NodeId], seal: Option<Arc<CallSeal>>) -> Self {
        Self {
            far,
            route: route.iter().rev().copied().collect(),
            seal,
            sealed: None,
        }
    }

    /// The node at the other end.
    #[must_use]
    pub const fn far(&self) -> NodeId {
        self.far
    }

    /// Every node on it, this one first.
    #[must_use]
    pub fn route(&self) -> &[NodeId] {
        &self.route
    }

    /// Whether there is a node between the ends.
    #[must_use]
    pub const fn is_relayed(&self) -> bool {
        self.route.len() > 2
    }

    /// What seals this side's messages and opens the other's.
    #[must_use]
    pub fn seal(&self) -> Option<&CallSeal> {
        self.seal.as_deref()
    }

    /// What the call's first message says of how it is sealed.
    #[must_use]
    pub const fn sealed(&self) -> Option<&Sealed> {
        self.sealed.as_ref()
    }

    /// Whether a message of the other side came along it.
    #[must_use]
    pub fn is_way_of(&self, route: &[NodeId]) -> bool {
        self.route.iter().rev().eq(route)
    }
}
