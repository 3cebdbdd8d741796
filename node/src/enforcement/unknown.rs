//! Calls of tools that are approved by their definition, which this node has not heard yet.
//!
//! A node that has just started a server tells everyone how its tools are defined within a moment.
//! Until then no call of one presents the definition that was approved, and a policy that asks for it
//! refuses. That is right, but neither the agent's fault nor the tool's: it is refused by a name of
//! its own, and cuts nobody off. Only where the definition approved would have let the call on.

use protocol::envelope::{Direction, Kind};
use protocol::id::Digest;
use protocol::name::Name;
use protocol::policy::{Denial, Facts, Policy, Verdict};
use protocol::record::Point;

use super::subject::Described;
use super::{Enforcer, Stopped, by_policy};

/// The refusal of a call whose tool is approved by a definition, and announced here with none.
pub const TOOL_UNKNOWN_HERE: &str = "tool_unknown_here";

/// The one method that calls a tool.
const CALL: &str = "tools/call";

impl Enforcer {
    /// Whether policy knows an approved definition of the tool that a message calls: whoever does not
    /// know how the tool is defined should find out before policy is asked.
    #[must_use]
    pub fn wants_definition(&self, server: &Name, described: &Described) -> bool {
        let tool = described.target.as_deref().unwrap_or_default();
        described.method.as_deref() == Some(CALL) && self.has_approved(server, tool)
    }

    /// Whether policy knows an approved definition of a tool.
    #[must_use]
    pub fn has_approved(&self, server: &Name, tool: &str) -> bool {
        self.policy().approved(server.as_str(), tool).is_some()
    }
}

/// What is told instead, where policy refuses a call of one of this node's agents only because it
/// is not known here how the tool is defined.
pub(super) fn unknown_here(
    policy: &dyn Policy,
    facts: &Facts<'_>,
    refused: &Verdict,
) -> Option<Stopped> {
    let (Verdict::Deny(why) | Verdict::Sever(why)) = refused else {
        return None;
    };
    let approved = approved(policy, facts)?;
    let known = Facts {
        tool_digest: Some(approved),
        ..*facts
    };
    if matches!(
        policy.evaluate(&known).verdict,
        Verdict::Deny(_) | Verdict::Sever(_)
    ) {
        return None;
    }
    let (node, server) = (facts.audience.name, facts.server);
    let tool = facts.target.unwrap_or_default();
    let message = format!(
        "node `{node}` has not told this one how `{server}/{tool}` is defined, and policies ask for \
         the definition that was approved"
    );
    let hint = format!(
        "call again in a moment; if it goes on, the server may not start, or not offer the tool: see \
         `hedgerow server list` on `{node}`, and `hedgerow peers` here"
    );
    Some(by_policy(Verdict::Deny(Denial {
        reason: TOOL_UNKNOWN_HERE.to_owned(),
        message,
        policy: why.policy.clone(),
        hint: Some(hint),
    })))
}

/// A definition approved of the tool called, where none is known here.
fn approved(policy: &dyn Policy, facts: &Facts<'_>) -> Option<Digest> {
    let calls = facts.kind == Kind::Request
        && facts.direction == Direction::ToServer
        && facts.method == CALL;
    if facts.point != Point::Ingress || !calls || facts.tool_digest.is_some() {
        return None;
    }
    policy.approved(facts.server.as_str(), facts.target?)
}
