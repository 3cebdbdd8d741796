//! What a newer trust document changes beyond links and directory: the file of roots, sessions of
//! revoked agents, records of revoked nodes.

use std::sync::{Arc, OnceLock, Weak};

use protocol::trust::state::{Change, TrustState};

use super::node::Node;
use crate::overlay::trust::Effected;
use crate::roots;
use crate::state_dir::StateDir;
use crate::store::{Store, Write};

/// Carries it out, once there is a node.
pub(super) struct Effects {
    dir: StateDir,
    store: Store,
    node: OnceLock<Weak<Node>>,
}

impl Effects {
    pub(super) fn new(dir: StateDir, store: Store) -> Self {
        Self {
            dir,
            store,
            node: OnceLock::new(),
        }
    }

    /// Names the node whose sessions are ended; called once, before the first change.
    pub(super) fn attend(&self, node: &Arc<Node>) {
        drop(self.node.set(Arc::downgrade(node)));
    }

    /// On disk before the root is acknowledged: what this writes decides which membership holds at
    /// the next start.
    fn keep_roots(&self, state: &TrustState) {
        if let Err(error) = roots::write(&self.dir, state.roots().iter().skip(1).map(|r| r.bytes()))
        {
            tracing::error!(%error, "the roots were not kept");
        }
    }

    /// Ends the sessions of this host's revoked agents, and forgets the records of revoked nodes
    /// on disk. Calls in flight end by themselves: every stream watches what is in force.
    fn cut(&self, node: &Arc<Node>) {
        let me = node.identity.node();
        for entry in node.agents.list() {
            if node.standing.agent(&me, &entry.agent).is_err() {
                let (node, agent) = (Arc::clone(node), entry.agent);
                tokio::spawn(async move { node.gateway.close_agent(&agent).await });
            }
        }
        let kept = self.store.snapshot().and_then(|s| s.node_records());
        let revoked = kept.unwrap_or_default().into_iter().map(|(id, _)| id);
        for id in revoked.filter(|id| node.standing.node(id).is_err()) {
            let store = self.store.clone();
            tokio::spawn(async move { store.lazy(Write::RemoveNodeRecord(id)).await });
        }
    }
}

impl Effected for Effects {
    fn changed(&self, change: &Change, state: &TrustState) {
        if matches!(change, Change::Root { .. }) {
            self.keep_roots(state);
        }
        if matches!(change, Change::Timestamp { .. }) {
            return;
        }
        if let Some(node) = self.node.get().and_then(Weak::upgrade) {
            self.cut(&node);
        }
    }
}
