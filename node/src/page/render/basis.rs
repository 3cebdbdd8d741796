//! On what a decision rests: the rule that decided, and the facts policy was asked with.
//!
//! The facts are behind a `details`, which opens without a script; the summary is the rule. All of it
//! is bounded where it is recorded.

use maud::{Markup, html};
use protocol::control::{Decision, DecisionBasis, Hop};

use super::name::name;
use super::{counted, escaped};

/// A row below that of the decision: the rule in one line, with the facts behind it where they were
/// recorded; nothing where no policy was asked.
pub(super) fn under(decision: &Decision, columns: usize) -> Markup {
    let below = html! {
        @match &decision.basis {
            Some(basis) => {
                // Its id is how the script opens it again after an update.
                details.basis id={ "f" (decision.seq) } {
                    summary { (rule(decision)) }
                    dl.facts { (facts(decision, basis, "")) }
                }
            }
            None => { p.basis { (rule(decision)) } }
        }
    };
    html! {
        @if decision.basis.is_some() || decision.policy.is_some() {
            tr.under { td {} td colspan=(columns.saturating_sub(1)) { (below) } }
        }
    }
}

/// What decided, in short.
fn rule(decision: &Decision) -> Markup {
    let basis = decision.basis.as_deref();
    let pointer = basis.and_then(|b| b.rule.as_deref());
    let granted = basis.map_or(&[][..], |b| &b.granted_by);
    html! {
        @match (&decision.policy, granted) {
            (Some(policy), _) => {
                code { (name(policy)) }
                @if let Some(pointer) = pointer { " " code { (name(pointer)) } }
            }
            (None, [first, more @ ..]) if decision.verdict == "allow" => {
                "permitted by " code { (name(first)) }
                @if !more.is_empty() { " and " (counted(more.len() as u64, "other", "others")) }
            }
            (None, _) => { "facts" }
        }
    }
}

/// Every fact, as entries of a list of descriptions. The page of policies is at `up`.
pub(super) fn facts(decision: &Decision, basis: &DecisionBasis, up: &str) -> Markup {
    html! {
        @if let Some(policy) = &decision.policy {
            dt { "policy" }
            dd { a href={ (up) "policies/" (escaped(policy)) } { (policy) } }
        }
        (one("rule", basis.rule.as_deref()))
        (all("permitted by", &basis.granted_by))
        dt { "bundle" } dd { (decision.bundle) }
        dt { "judged on" }
        dd { @if basis.full { "the whole message" } @else { "the signed header alone" } }
        (one("for node", decision.audience.as_deref()))
        (all("groups", &basis.groups))
        (one("site", basis.site.as_deref()))
        (one("address", basis.address.as_deref()))
        (all("intents", &basis.intents))
        (all("labels", &basis.labels))
        (one("human", basis.human.as_deref()))
        @if let Some(claims) = &basis.posture { (all("posture", claims)) }
        @if let Some(digest) = &basis.tool_digest {
            dt { "definition" } dd { code { (digest) } }
        }
        (all("alerts", &decision.alerts))
        (all("observed", &decision.observed))
        @for hop in &basis.hops { dt { "relay" } dd { (relay(hop)) } }
    }
}

fn relay(hop: &Hop) -> Markup {
    let kept = hop.sent_ms.saturating_sub(hop.received_ms);
    html! {
        (hop.place) ": " (hop.node) span.of {
            " from " (hop.from) ", " (hop.verdict) " under bundle " (hop.bundle_version)
            ", had it " (kept) " ms"
        }
    }
}

fn one(key: &str, value: Option<&str>) -> Markup {
    html! { @if let Some(value) = value { dt { (key) } dd { (value) } } }
}

fn all(key: &str, values: &[String]) -> Markup {
    html! {
        @if !values.is_empty() {
            dt { (key) }
            dd.names { @for value in values { code { (value) } } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(policy: Option<&str>, granted_by: &[&str], rule: Option<&str>) -> Decision {
        Decision {
            verdict: if policy.is_some() { "deny" } else { "allow" }.to_owned(),
            policy: policy.map(str::to_owned),
            basis: Some(Box::new(DecisionBasis {
                rule: rule.map(str::to_owned),
                granted_by: granted_by.iter().map(|&p| p.to_owned()).collect(),
                ..DecisionBasis::default()
            })),
            ..Decision::default()
        }
    }

    #[test]
    fn the_summary_is_what_decided() {
        let summary = |d: &Decision| rule(d).into_string();
        assert_eq!(
            summary(&decision(Some("trip"), &["all"], Some("/labels"))),
            "<code>trip</code> <code>/labels</code>"
        );
        assert_eq!(
            summary(&decision(None, &["all", "b", "c"], None)),
            "permitted by <code>all</code> and 2 others"
        );
        assert_eq!(summary(&decision(None, &[], None)), "facts");
    }

    #[test]
    fn a_policy_without_facts_is_named_and_nothing_else() {
        let mut bare = decision(Some("trip"), &[], None);
        bare.basis = None;
        assert_eq!(
            under(&bare, 7).into_string(),
            "<tr class=\"under\"><td></td><td colspan=\"6\">\
             <p class=\"basis\"><code>trip</code></p></td></tr>"
        );
        bare.policy = None;
        assert_eq!(under(&bare, 7).into_string(), "");
    }

    #[test]
    fn relays_are_told_with_their_times() {
        let mut over = decision(None, &[], None);
        over.basis.as_mut().unwrap().hops.push(Hop {
            place: 1,
            node: "gate".to_owned(),
            verdict: "allow".to_owned(),
            bundle_version: 3,
            from: "desk".to_owned(),
            received_ms: 10,
            sent_ms: 14,
        });
        let shown = under(&over, 7).into_string();
        assert!(shown.contains("1: gate"), "{shown}");
        assert!(
            shown.contains("from desk, allow under bundle 3, had it 4 ms"),
            "{shown}"
        );
    }
}
