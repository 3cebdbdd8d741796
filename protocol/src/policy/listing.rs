//! Which items of a list a client is shown: those it may call.
//!
//! An item is judged by asking the policies about the call of it, as the hop at hand would be asked,
//! without arguments: nobody knows them yet, so what only they decide counts as met. The same
//! function gates calls; there is no other rule of what is listed. What nothing permits and only
//! some arguments would bring before an approver is therefore not shown.

use super::facts::Facts;
use super::verdict::{Action, Decision, Denial, Policy, Verdict};
use crate::envelope::{Direction, Kind};
use crate::id::Digest;
use crate::mcp::ListKind;

/// The reason of a violation that says something of the route alone; a test sees that the engine
/// names it so.
const WAYPOINT_MISSING: &str = "waypoint_missing";

/// One item of a list, as far as a call of it would say.
#[derive(Debug, Clone, Copy)]
pub struct Listed<'a> {
    /// Of which list.
    pub kind: ListKind,
    /// Its name, URI or URI template. A template is judged by its text, as completing it is.
    pub name: &'a str,
    /// Of a tool: the digest of its definition, as a call of it would name.
    pub tool_digest: Option<Digest>,
    /// The intents of a call of it.
    pub intents: &'a [String],
    /// The labels a call of it would carry, as far as they are known where the list is judged.
    pub labels: &'a [String],
}

/// The method by which items of such a list are called.
#[must_use]
pub const fn method(kind: ListKind) -> &'static str {
    match kind {
        ListKind::Tools => "tools/call",
        ListKind::Prompts => "prompts/get",
        ListKind::Resources | ListKind::ResourceTemplates => "resources/read",
    }
}

impl<'a> Listed<'a> {
    /// The facts of a call of this item by whom `of`, the facts of the list or of its response, is
    /// for.
    #[must_use]
    pub fn call<'f>(&self, of: &Facts<'f>) -> Facts<'f>
    where
        'a: 'f,
    {
        Facts {
            issuer: of.caller(),
            audience: of.host(),
            kind: Kind::Request,
            direction: Direction::ToServer,
            method: method(self.kind),
            target: Some(self.name),
            tool_digest: self.tool_digest,
            intents: self.intents,
            labels: self.labels,
            approved: false,
            body: None,
            ..*of
        }
    }

    /// Whether the item is shown: a call of it may pass, or wait for approval. A call is planned
    /// over a route of its own, so that the list came over another than it must take hides nothing.
    #[must_use]
    pub fn is_shown<'f>(&self, policy: &dyn Policy, of: &Facts<'f>) -> bool
    where
        'a: 'f,
    {
        let call = self.call(of);
        let decision = match self.kind {
            ListKind::ResourceTemplates => policy.evaluate_template(&call),
            ListKind::Tools | ListKind::Prompts | ListKind::Resources => policy.evaluate(&call),
        };
        stands_against(decision).is_none()
    }
}

/// What stands against a call that is not made now: nothing if it may pass, or wait for approval. It
/// would be planned over a route of its own, so that a waypoint is missing on this one does not
/// count.
#[must_use]
pub fn against(policy: &dyn Policy, call: &Facts<'_>) -> Option<Denial> {
    stands_against(policy.evaluate(call))
}

fn stands_against(decision: Decision) -> Option<Denial> {
    if only_the_route(&decision) {
        return None;
    }
    match decision.verdict {
        Verdict::Allow(_) | Verdict::Hold(_) => None,
        Verdict::Deny(denial) | Verdict::Sever(denial) => Some(denial),
    }
}

fn only_the_route(decision: &Decision) -> bool {
    let mut blocking = decision
        .violations
        .iter()
        .filter(|v| v.action >= Action::Block);
    let first = blocking.next();
    first.is_some_and(|v| v.reason == WAYPOINT_MISSING)
        && blocking.all(|v| v.reason == WAYPOINT_MISSING)
}
