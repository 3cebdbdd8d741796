//! What a newer trust document changes beyond links and directory: the file of roots, the policies
//! that decide, sessions of revoked agents, what clients know of lists, the mark of a restored state.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use protocol::id::{Digest, NodeId};
use protocol::trust::state::{Change, TrustState};

use super::node::Node;
use super::policing::Policing;
use crate::backup::Restored;
use crate::enforcement::{Ask, Stopped};
use crate::overlay::trust::{Effected, Trust};
use crate::roots;
use crate::state_dir::StateDir;

/// Carries it out, once there is a node.
pub(super) struct Effects {
    dir: StateDir,
    policing: Arc<Policing>,
    node: OnceLock<Weak<Node>>,
    filters: Mutex<Filters>,
}

/// What lists are filtered by, of what trust documents say.
#[derive(Debug, Default, PartialEq, Eq)]
struct Filters {
    /// The body of the bundle whose policies decide.
    bundle: Option<Digest>,
    /// Definitions of tools.
    revoked: BTreeSet<Digest>,
}

impl Effects {
    pub(super) fn new(dir: StateDir, policing: Arc<Policing>) -> Self {
        Self {
            dir,
            policing,
            node: OnceLock::new(),
            filters: Mutex::default(),
        }
    }

    /// Names the node whose sessions are ended; called once, before the first change.
    pub(super) fn attend(&self, node: &Arc<Node>) {
        self.filters_changed(&node.standing.now(), true);
        drop(self.node.set(Arc::downgrade(node)));
    }

    /// Whether lists may be others than they were; `decides` says whether the bundle's policies do.
    fn filters_changed(&self, state: &TrustState, decides: bool) -> bool {
        let mut filters = self.filters.lock().unwrap_or_else(PoisonError::into_inner);
        let bundle = state.bundle().map(|b| b.head().content().body);
        let now = Filters {
            bundle: if decides { bundle } else { filters.bundle },
            revoked: state.revoked().tools().copied().collect(),
        };
        let changed = *filters != now;
        *filters = now;
        changed
    }

    /// On disk before the root is acknowledged: what this writes decides which membership holds at
    /// the next start.
    fn keep_roots(&self, state: &TrustState) {
        if let Err(error) = roots::write(&self.dir, state.roots().iter().skip(1).map(|r| r.bytes()))
        {
            tracing::error!(%error, "the roots were not kept");
        }
    }

    /// Ends the sessions of this host's revoked agents. Calls in flight end by themselves: every
    /// stream watches what is in force.
    fn cut(&self, node: &Arc<Node>) {
        let me = node.identity.node();
        for entry in node.agents.list() {
            if let Err(barred) = node.standing.agent(&me, &entry.agent) {
                let why = Stopped::barred(&barred).into_error();
                let (node, agent) = (Arc::clone(node), entry.agent);
                tokio::spawn(async move { node.gateway.close_agent_because(&agent, &why).await });
            }
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
            let mut decides = false;
            if let Change::Bundle { version } = change {
                if let Some(policy) = self.policing.take(state) {
                    node.enforcer.replace_policy(policy);
                    decides = true;
                }
                node.enforcer.judged(*version);
            }
            if self.filters_changed(state, decides) {
                node.gateway.lists_changed();
            }
            self.cut(&node);
        }
    }

    fn caught_up(&self) {
        if let Err(error) = Restored::done(&self.dir) {
            tracing::warn!(%error, "the mark of the restore stays; the next start waits again");
        }
    }
}

impl Ask for Trust {
    fn ask(&self, peer: NodeId) {
        Self::ask(self, peer);
    }
}
