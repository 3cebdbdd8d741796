//! Decisions for people.

use protocol::control::{Decision, DecisionApproval, DecisionBasis, Hop};

use super::definition::Definition;
use crate::output::{Text, instant, or_dash};

/// The columns of a list.
pub(crate) const HEADERS: &[&str] = &[
    "NUMBER", "TIME", "VERDICT", "REASON", "WHERE", "AGENT", "FROM", "WHAT", "POLICY",
];

/// Longest cell of a list, in characters; `decisions show` has the whole.
const MAX_CELL: usize = 48;

/// One row of a list.
pub(crate) fn row(decision: &Decision) -> Vec<String> {
    let cut = |text: String| crate::output::cut(&text, MAX_CELL);
    let reason = match (&decision.reason, decision.stands_for) {
        (Some(reason), Some(times)) => format!("{reason} ×{times}"),
        (reason, _) => or_dash(reason.clone()),
    };
    vec![
        decision.seq.to_string(),
        instant(decision.time_ms / 1000),
        decision.verdict.clone(),
        cut(reason),
        decision.role.clone(),
        cut(or_dash(decision.agent.clone())),
        cut(or_dash(decision.issuer.clone())),
        cut(what(decision)),
        cut(or_dash(decision.policy.clone())),
    ]
}

/// One line, for what goes on.
pub(crate) fn line(decision: &Decision) -> String {
    let cells = row(decision);
    let mut parts: Vec<&str> = cells.iter().map(String::as_str).collect();
    while parts.last() == Some(&"-") {
        parts.pop();
    }
    parts.join("  ")
}

/// What a message acts on; a response or notification says that it is one.
fn what(decision: &Decision) -> String {
    let method = decision.method.as_deref().unwrap_or("-");
    let name = decision.name.as_deref().unwrap_or(method);
    let at = match &decision.server {
        Some(server) => format!("{server}/{name}"),
        None => name.to_owned(),
    };
    match decision.kind.as_deref() {
        Some(kind @ ("response" | "notification")) => format!("{kind} {at}"),
        _ => at,
    }
}

/// All of it.
pub(crate) fn whole(decision: &Decision, definition: Option<Definition>, text: &mut Text) {
    text.heading(format!("Decision {}", decision.seq));
    let ms = decision.time_ms % 1000;
    let mut fields: Vec<(&str, String)> = vec![
        (
            "time",
            format!("{} +{ms} ms", instant(decision.time_ms / 1000)),
        ),
        ("verdict", decision.verdict.clone()),
    ];
    let mut some = |label, value: Option<String>| fields.extend(value.map(|v| (label, v)));
    some("reason", decision.reason.clone());
    some("stands for", decision.stands_for.map(|n| n.to_string()));
    some("where", Some(decision.role.clone()));
    some("agent", decision.agent.clone());
    some("signed by", decision.issuer.clone());
    some("for", decision.audience.clone());
    some("server", decision.server.clone());
    some("message", decision.kind.clone());
    some("method", decision.method.clone());
    some("name", decision.name.clone());
    some("policy", decision.policy.clone());
    let basis = decision.basis.as_deref();
    some("rule", basis.and_then(|b| b.rule.clone()));
    some("bundle", Some(decision.bundle.to_string()));
    some("alerts", joined(&decision.alerts));
    some("observed", joined(&decision.observed));
    some("call", decision.request.map(|r| r.to_string()));
    some("envelope", decision.envelope.map(|e| e.to_string()));
    some("body digest", decision.body_digest.map(|d| d.to_string()));
    some("record", decision.hash.clone());
    for (label, value) in fields {
        text.field(label, value);
    }
    if let Some(approval) = &decision.approval {
        approved(approval, text);
    }
    if let Some(basis) = basis {
        facts(basis, definition, text);
    }
}

/// What it says of an approval.
fn approved(approval: &DecisionApproval, text: &mut Text) {
    text.heading("Of which approval");
    text.field("id", approval.id.to_string());
    text.field("arguments", approval.arguments.to_string());
    if let Some(by) = &approval.by {
        text.field("answered by", by);
    }
    if let Some(human) = &approval.human {
        text.field("human", format!("{human} (as that node says)"));
    }
    if let Some(words) = &approval.words {
        text.field("words", words);
    }
}

/// The facts it rests on.
fn facts(basis: &DecisionBasis, definition: Option<Definition>, text: &mut Text) {
    text.heading("On which facts");
    text.field(
        "decided on",
        if basis.full {
            "the header and the body"
        } else {
            "the signed header alone"
        },
    );
    let mut field = |label, value: Option<String>| {
        if let Some(value) = value {
            text.field(label, value);
        }
    };
    field("permitted by", joined(&basis.granted_by));
    field("groups", Some(joined(&basis.groups).unwrap_or_else(none)));
    field("site", basis.site.clone());
    field("address", basis.address.clone());
    let posture = basis.posture.as_ref().map(|claims| claims.join(", "));
    field("posture", Some(posture.unwrap_or_else(|| "unknown".into())));
    let vouched = match basis.human_vouched {
        Some(true) => "vouched for",
        Some(false) => "not vouched for: can only restrict",
        None => "as that node says",
    };
    let human = basis.human.as_ref();
    field("human", human.map(|human| format!("{human} ({vouched})")));
    field("intents", Some(joined(&basis.intents).unwrap_or_else(none)));
    let rules = basis.intent_rules.map(|own| match basis.claimed_rules {
        None => format!("version {own}"),
        Some(other) => format!("version {own}; who signed goes by {other}"),
    });
    field("by rules of", rules);
    field("labels", Some(joined(&basis.labels).unwrap_or_else(none)));
    let known = |d: Definition| match basis.tool_digest {
        Some(digest) => format!("{digest} ({})", d.told()),
        None => d.told().to_owned(),
    };
    let digest = || basis.tool_digest.map(|d| d.to_string());
    field("definition", definition.map(known).or_else(digest));
    if !basis.hops.is_empty() {
        text.heading("Over which hops");
        hops(&basis.hops, text);
    }
}

/// A chain of hop records.
pub(crate) fn hops(hops: &[Hop], text: &mut Text) {
    let rows: Vec<Vec<String>> = hops
        .iter()
        .map(|hop| {
            vec![
                hop.place.to_string(),
                hop.node.clone(),
                hop.from.clone(),
                hop.verdict.clone(),
                hop.bundle_version.to_string(),
                format!("{} ms", hop.sent_ms.saturating_sub(hop.received_ms)),
            ]
        })
        .collect();
    text.table(
        &["PLACE", "NODE", "FROM", "VERDICT", "BUNDLE", "KEPT"],
        &rows,
    );
}

fn joined(words: &[String]) -> Option<String> {
    (!words.is_empty()).then(|| words.join(", "))
}

fn none() -> String {
    "none".to_owned()
}
