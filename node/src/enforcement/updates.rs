//! What a server tells of a resource, judged as subscribing to that resource now would be.
//!
//! A subscription is asked about when it is made and lasts as long as its session; what is in force
//! may change meanwhile. So every `notifications/resources/updated` is asked about again, at both
//! ends, through the function that gates calls; there is no other rule of what may be told. One that
//! is denied is left out, whatever the documents say is to follow from a call: no agent did
//! anything. The server is not told, and its subscription stays.

use protocol::envelope::{Direction, Kind};
use protocol::limits::MAX_TARGET_BYTES;
use protocol::mcp::{ListKind, View};
use protocol::policy::listing::against;
use protocol::policy::{Denial, Facts, Listed, Policy, Verdict};
use protocol::record::DecisionRecord;

use super::intents::Meant;
use super::{Enforcer, Stopped, by_policy, labels};

/// The notification.
const UPDATED: &str = "notifications/resources/updated";

/// The request that asks for it.
const SUBSCRIBE: &str = "resources/subscribe";

/// The refusal of one that names no resource anybody could have subscribed to.
pub const UPDATE_UNNAMED: &str = "update_unnamed";

/// Whether a record is of what a server tells of a resource. It may do so at any rate without anybody
/// having asked, so of what is denied no more is recorded than of what is no message.
pub(super) fn is_of_update(record: &DecisionRecord) -> bool {
    record.kind == Some(Kind::Notification) && record.method.as_deref() == Some(UPDATED)
}

impl Enforcer {
    /// Asks whether the client may be told that a resource has changed; of every other message
    /// nothing is asked.
    ///
    /// # Errors
    /// [`Stopped`] with what policy says of a subscription, [`UPDATE_UNNAMED`].
    pub(super) fn check_update(
        &self,
        policy: &dyn Policy,
        facts: &Facts<'_>,
        record: &mut DecisionRecord,
    ) -> Result<(), Stopped> {
        let to_client = facts.direction == Direction::ToClient;
        let tells = facts.kind == Kind::Notification && facts.method == UPDATED && to_client;
        // A relay sees no body; both ends do.
        let Some(body) = facts.body.filter(|_| tells) else {
            return Ok(());
        };
        let view = View::parse(body).ok();
        let uri = view.as_ref().and_then(View::updated_resource);
        let Some(uri) = uri.filter(|uri| uri.len() <= MAX_TARGET_BYTES) else {
            return Err(unnamed());
        };
        let intents = self.intents(&Meant {
            host: facts.host().node,
            server: facts.server,
            method: SUBSCRIBE,
            name: Some(&uri),
            tool_digest: None,
        });
        let listed = Listed {
            kind: ListKind::Resources,
            name: &uri,
            tool_digest: None,
            intents: &intents,
            labels: &self.labels_of_listed(facts),
        };
        let subscribing = Facts {
            method: SUBSCRIBE,
            ..listed.call(facts)
        };
        let Some(denial) = against(policy, &subscribing) else {
            return Ok(());
        };
        record.target = Some(uri.clone().into_owned());
        let verdict = labels::explained(Verdict::Deny(denial), &subscribing, policy);
        Err(by_policy(verdict))
    }
}

fn unnamed() -> Stopped {
    by_policy(Verdict::Deny(Denial {
        reason: UPDATE_UNNAMED.to_owned(),
        message: format!("a `{UPDATED}` that names no resource"),
        policy: None,
        hint: None,
    }))
}
