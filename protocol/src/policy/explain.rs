//! Why a call is decided as it is: at each hop, by which rules, on which facts.

use super::CompiledBundle;
use super::compile::CompiledPolicy;
use super::document::TrialCall;
use super::testing;
use super::verdict::{Decision, Verdict};
use crate::record::Point;

/// What one hop would say.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Where.
    pub point: Point,
    /// What it decides.
    pub decision: Decision,
    /// Whether it lets the call on only because the server's node will hold it.
    pub passes_on: bool,
}

/// What every hop would say of a call, in the order in which it meets them.
#[derive(Debug, Clone, PartialEq)]
pub struct Explained {
    /// The caller's node, a relay if there is one, the server's node.
    pub steps: Vec<Step>,
}

impl Explained {
    /// The hop that decides: the first that does not let the call pass, else the last.
    #[must_use]
    pub fn deciding(&self) -> Option<&Step> {
        let stops = |s: &&Step| !matches!(s.decision.verdict, Verdict::Allow(_));
        self.steps.iter().find(stops).or_else(|| self.steps.last())
    }
}

/// Asks a bundle about a call at each hop of its way; a relay is one of them if the call names a
/// waypoint or says that it is decided on at a relay.
#[must_use]
pub fn explain(bundle: &CompiledBundle, call: &TrialCall) -> Explained {
    let relayed = call.via.is_some() || call.point == Point::Relay;
    let points = [Point::Ingress, Point::Relay, Point::Egress];
    let steps = points
        .into_iter()
        .filter(|point| relayed || *point != Point::Relay)
        .map(|point| {
            let mut call = call.clone();
            call.point = point;
            if point == Point::Ingress {
                // Nobody has seen it yet.
                call.address = None;
            }
            let mut decision = testing::decide(bundle, &call);
            // Only the server's node holds calls; the others decide as if it were approved.
            let passes_on = point != Point::Egress && matches!(decision.verdict, Verdict::Hold(_));
            if passes_on {
                call.approved = true;
                decision = testing::decide(bundle, &call);
            }
            Step {
                point,
                decision,
                passes_on,
            }
        });
    Explained {
        steps: steps.collect(),
    }
}

/// The Cedar of the rules at one place of a policy.
#[must_use]
pub fn rule_cedar(policy: &CompiledPolicy, place: &str) -> Option<String> {
    let rules = policy.rules().filter(|rule| rule.place == place);
    let texts: Vec<&str> = rules.map(|rule| rule.cedar.as_str()).collect();
    (!texts.is_empty()).then(|| texts.join("\n\n"))
}
