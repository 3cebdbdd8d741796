//! When messages of nodes without a link were last verified.
//!
//! A node that is reached over others is heard of by what it signs: its link would say so itself.
//! Lost with the process.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use protocol::id::NodeId;
use protocol::time::UnixMillis;

use crate::members::MAX_MEMBERS;

/// The last verified message of each, of so many nodes as there can be members.
#[derive(Debug, Default)]
pub(super) struct Heard(Mutex<HashMap<NodeId, UnixMillis>>);

impl Heard {
    /// A message of a member was verified now.
    pub(super) fn note(&self, node: NodeId, now: UnixMillis) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that have left since make no room: their places come back with the next start.
        if heard.len() < MAX_MEMBERS || heard.contains_key(&node) {
            heard.insert(node, now);
        }
    }

    /// When that was last.
    pub(super) fn last(&self, node: &NodeId) -> Option<UnixMillis> {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.get(node).copied()
    }
}
