//! Which node each issuer runs on, as far as this node was told or found out.
//!
//! A hint, never a proof: whoever is asked must issue something that verifies.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use protocol::id::{NodeId, SignerId};
use protocol::limits::MAX_ROLE_KEYS;
use protocol::trust::IssuerNode;

use crate::store::{Books, Store, StoreError, Write};

/// What is known of issuers' nodes; kept in the store.
pub struct IssuerNodes {
    known: Mutex<BTreeMap<SignerId, NodeId>>,
    store: Store,
}

impl IssuerNodes {
    /// What the store knows.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn restore(store: Store) -> Result<Self, StoreError> {
        let known = store.snapshot()?.issuer_nodes()?.into_iter().collect();
        Ok(Self {
            known: Mutex::new(known),
            store,
        })
    }

    /// Learns where an issuer runs.
    pub async fn learn(&self, issuer: SignerId, node: NodeId) {
        let new = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let room = known.len() < 2 * MAX_ROLE_KEYS || known.contains_key(&issuer);
            room && known.insert(issuer, node) != Some(node)
        };
        if new {
            let work = move |books: &mut Books<'_, '_>| books.put_issuer_node(&issuer, &node);
            // Found out again when it is lost.
            if let Err(error) = self.store.lazy(Write::Books(Box::new(work))).await {
                tracing::debug!(%error, "an issuer's node was not kept");
            }
        }
    }

    /// All of them, as they are told to others.
    #[must_use]
    pub fn list(&self) -> Vec<IssuerNode> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let all = known
            .iter()
            .map(|(&issuer, &node)| IssuerNode { issuer, node });
        all.take(MAX_ROLE_KEYS).collect()
    }

    /// The nodes, each once.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeId> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut nodes: Vec<NodeId> = known.values().copied().collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }
}
