//! What the nodes of servers announce of them and of themselves, and waiting for it.

use std::time::Duration;

use protocol::id::{Digest, NodeId};

use super::Core;
use crate::enforcement::Described;
use crate::session::ServerRef;

/// How long a call that was refused because its tool has, at its own node, another digest than this
/// node signed waits for the record that announces the tool as it now is. Records are pushed over
/// the same link as soon as an inventory changes, so the one that explains the refusal is under way;
/// the call is decided on and signed once more, and only if this node then knows another digest. It
/// was refused before anything acted on it.
///
/// As long waits a call of a tool that is approved by its definition, while its node has announced
/// none here: the server has just started, or the record was lost and is asked for. What is asked
/// for comes within a round trip; a server that takes longer to say what it offers is called again.
pub const RECORD_WAIT: Duration = Duration::from_secs(2);

impl Core {
    /// Waits for a record after which `known` holds; false if none came in time.
    pub(super) async fn announced(&self, known: impl Fn() -> bool) -> bool {
        let mut changes = self.enforcer.members().changes();
        let changed = async {
            while !known() {
                if changes.changed().await.is_err() {
                    return false;
                }
            }
            true
        };
        let waited = tokio::time::timeout(RECORD_WAIT, changed).await;
        waited.unwrap_or(false)
    }

    /// Finds out how a tool is defined that is approved by its definition, before policy is asked
    /// without. What comes of it is for policy to judge.
    pub(super) async fn learn_definition(&self, server: &ServerRef, described: &Described) {
        let known = || self.known_digest(server, described).is_some();
        if known() || !self.enforcer.wants_definition(&server.server, described) {
            return;
        }
        self.dialer.ask_record(server.node_id);
        self.announced(known).await;
    }

    /// Waits for the record that announces another sealing key than the one used.
    pub(super) async fn key_changed(&self, server: &ServerRef, used: Option<Digest>) -> bool {
        let crypto = &*self.enforcer.identity().crypto;
        let digest = |key: Vec<u8>| protocol::envelope::sealing::key_digest(crypto, &key);
        self.announced(|| self.sealing_key(&server.node_id).map(digest) != used)
            .await
    }

    /// The key that what goes to a node over relays is sealed to.
    pub(super) fn sealing_key(&self, node: &NodeId) -> Option<Vec<u8>> {
        let member = self.enforcer.members().member(node)?;
        let key = member.record.as_ref()?.sealing_key.as_deref();
        key.map(<[u8]>::to_vec)
    }

    /// The digest of the tool a message calls, as its node last announced it.
    pub(super) fn known_digest(&self, server: &ServerRef, described: &Described) -> Option<Digest> {
        if described.method.as_deref() != Some("tools/call") {
            return None;
        }
        let tool = described.target.as_deref()?;
        if server.node_id == self.enforcer.identity().node() {
            return self.enforcer.own_tool_digest(&server.server, tool);
        }
        self.enforcer
            .members()
            .member(&server.node_id)?
            .tool_digest(&server.server, tool)
    }
}
