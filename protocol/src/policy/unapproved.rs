//! What is told of a call that is stopped because its tool's definition is not an approved one.
//!
//! A document that allows a tool by its name alone, or asks for an approved definition, has nothing
//! against the tool: what is missing is that an admin looks at the definition and approves it. The
//! reason keeps its name; the message and the hint say what to do.

use super::case::Case;
use super::compile::{CompiledBundle, Requirement};
use super::document::Document;
use super::error::shown;
use super::facts::CallKind;
use super::verdict::{Decision, Denial, Verdict, Violation};

impl CompiledBundle {
    /// Says of what is violated for the want of an approved definition that it is.
    pub(super) fn say_unapproved(&self, case: &Case<'_>, decision: &mut Decision) {
        if case.pinned || case.kind != CallKind::Tool {
            return;
        }
        for violation in decision.violations.iter_mut().chain(&mut decision.observed) {
            if self.wants_approved(case, &violation.policy, violation.reason) {
                violation.message = self.message(case, violation);
            }
        }
    }

    /// Adds to a refusal, or what a call waits for, how the definition is approved.
    pub(super) fn hint_at_approving(&self, case: &Case<'_>, verdict: &mut Verdict) {
        if case.pinned || case.kind != CallKind::Tool {
            return;
        }
        let (Verdict::Deny(denial) | Verdict::Sever(denial) | Verdict::Hold(denial)) = verdict
        else {
            return;
        };
        let Denial { policy, reason, .. } = &denial;
        let policy = policy.as_deref().unwrap_or_default();
        if self.wants_approved(case, policy, reason) {
            let place = format!("{}/{}/{}", case.host.name, case.server, shown(case.target));
            denial.hint = Some(format!(
                "an administrator approves it, once it was looked at: `hedgerow policy pin {place}`"
            ));
        }
    }

    fn wants_approved(&self, case: &Case<'_>, policy: &str, reason: &str) -> bool {
        let allows = |document: &Document| {
            let tools = document.requirements.tools.iter().flatten();
            let mut bare = tools.filter(|glob| glob.is_bare());
            bare.any(|glob| glob.item.matches(case.target))
        };
        reason == Requirement::Pinned.reason()
            || reason == Requirement::Tools.reason()
                && self
                    .policy(policy)
                    .and_then(|p| p.document())
                    .is_some_and(allows)
    }

    fn message(&self, case: &Case<'_>, violation: &Violation) -> String {
        let (policy, tool) = (&violation.policy, shown(case.target));
        let approved = self.approved_definition(case.server, case.target);
        match (approved, case.facts.tool_digest) {
            (Some(_), Some(digest)) => format!(
                "the definition of tool `{tool}` ({}) is another than the approved one, which \
                 policy `{policy}` wants",
                digest.short()
            ),
            (None, Some(digest)) => format!(
                "no definition of tool `{tool}` is approved ({} is announced), which policy \
                 `{policy}` wants",
                digest.short()
            ),
            (_, None) => {
                format!("policy `{policy}` wants an approved definition of tool `{tool}`")
            }
        }
    }
}
