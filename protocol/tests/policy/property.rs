//! What must hold of any documents and any call.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use protocol::policy::{Action, CompiledBundle, Decision, Verdict};

use crate::world::{Call, body, name, node};

const GROUPS: &[&str] = &["staff", "prod-eu", "prod-us"];
const AGENTS: &[&str] = &["robot", "desk/robot", "assist*", "*"];
const SERVERS: &[&str] = &["shop", "store/shop", "mall", "s*"];
const TOOLS: &[&str] = &[
    "get_it",
    "set_it",
    "shop/get_*",
    "store/shop/delete",
    "*/*",
    "*",
];
const INTENTS: &[&str] = &["read", "write", "delete", "set_it"];
const ACTIONS: &[&str] = &[
    "alert",
    "require_approval",
    "block",
    "block_and_alert",
    "sever",
];

fn list(of: &'static [&'static str]) -> impl Strategy<Value = Option<String>> {
    let some = subsequence(of, 1..of.len()).prop_map(|words| {
        let quoted: Vec<String> = words.iter().map(|w| format!("\"{w}\"")).collect();
        format!("[{}]", quoted.join(","))
    });
    proptest::option::weighted(0.4, some)
}

/// The members of a document.
fn document() -> impl Strategy<Value = String> {
    let subjects = (
        list(&["staff", "prod-*", "prod-us"]),
        list(AGENTS),
        list(&["desk", "lap*"]),
    );
    let scope = (subjects, list(SERVERS), list(TOOLS));
    let needs = (list(TOOLS), list(INTENTS), list(INTENTS), any::<bool>());
    let rest = (select(ACTIONS), any::<bool>(), any::<bool>(), any::<bool>());
    (scope, needs, rest).prop_map(|(scope, needs, rest)| {
        let ((groups, agents, nodes), servers, tools) = scope;
        let (allowed, restricted, intents, pinned) = needs;
        let (action, observe, approval, arguments) = rest;
        let mut out = vec![format!(r#""action_on_violation": "{action}""#)];
        let key = |key: &str, value: Option<String>| value.map(|v| format!("\"{key}\": {v}"));
        let who: Vec<String> = [
            key("groups", groups),
            key("agents", agents),
            key("nodes", nodes),
        ]
        .into_iter()
        .flatten()
        .collect();
        if !who.is_empty() {
            out.push(format!(r#""subjects": {{{}}}"#, who.join(",")));
        }
        out.extend(key("servers", servers));
        out.extend(key("tools", tools));
        out.extend(key("allowed_tools", allowed));
        out.extend(key("restricted_intents", restricted));
        if let Some(intents) = intents {
            out.push(format!(
                r#""intents": {{"allowed": {intents}, "pinned": {pinned}}}"#
            ));
        }
        if observe && pinned {
            out.push(r#""mode": "observe""#.to_owned());
        }
        if approval && arguments {
            out.push(r#""approval": {"required": true}"#.to_owned());
        }
        if arguments {
            out.push(r#""arguments": {"/n": {"max": 5, "optional": true}}"#.to_owned());
        }
        out.join(",")
    })
}

pub(crate) fn documents() -> impl Strategy<Value = Vec<(String, String)>> {
    proptest::collection::vec(document(), 0..8).prop_map(|all| {
        let named = all.into_iter().enumerate().map(|(i, members)| {
            let name = format!("d{i}");
            let text = format!(r#"{{"policy_name": "{name}", {members}}}"#);
            (name, text)
        });
        named.collect()
    })
}

pub(crate) fn call() -> impl Strategy<Value = Call> {
    let who = (
        subsequence(GROUPS, 0..=3),
        select(&["desk", "laptop", "other"][..]),
    );
    let what = (
        select(&["get_it", "set_it", "delete", "frobnicate"][..]),
        select(&["shop", "mall", "barn"][..]),
    );
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), 0..9_u8);
    (who, what, select(&["robot", "assistant"][..]), flags).prop_map(
        |((groups, caller), (tool, server), agent, (approved, pinned, relayed, n))| {
            let mut call = Call::tool(tool);
            call.caller = node(caller, &groups);
            call.server = name(server);
            call.agent = name(agent);
            call.approved = approved;
            call.arguments(&format!("{{\"n\": {n}}}"));
            if !pinned {
                call.digest = None;
            }
            if relayed {
                call.relayed();
            }
            call
        },
    )
}

pub(crate) fn compiled(documents: &[(String, String)]) -> CompiledBundle {
    let documents: Vec<(&str, &str)> = documents
        .iter()
        .map(|(n, t)| (n.as_str(), t.as_str()))
        .collect();
    CompiledBundle::compile(1, &body(&documents, &["get_it", "set_it", "delete"])).unwrap()
}

fn unsliced(call: &Call, bundle: &CompiledBundle) -> Decision {
    call.facts(|facts| bundle.evaluate_unsliced(facts))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// A slice says what all documents say.
    #[test]
    fn sliced_is_full(documents in documents(), calls in proptest::collection::vec(call(), 1..6)) {
        let bundle = compiled(&documents);
        for call in calls {
            prop_assert_eq!(call.decide(&bundle), unsliced(&call, &bundle));
        }
    }

    /// The order in which documents come does not matter.
    #[test]
    fn order_does_not_matter(documents in documents(), call in call()) {
        let forward = compiled(&documents);
        let all: Vec<_> = documents.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect();
        let mut turned = body(&all, &["get_it", "set_it", "delete"]);
        turned.policies.reverse();
        let turned = CompiledBundle::compile(1, &turned).unwrap();
        prop_assert_eq!(call.decide(&forward), call.decide(&turned));
    }

    /// The verdict is that of the strictest violation, and nothing passes that nothing permits.
    #[test]
    fn the_strictest_wins(documents in documents(), call in call()) {
        let decision = call.decide(&compiled(&documents));
        let strictest = decision.violations.iter().map(|v| v.action).max();
        let expected = match strictest {
            Some(Action::Sever) => "sever",
            Some(Action::Block | Action::BlockAndAlert) => "deny",
            Some(Action::RequireApproval) => "hold",
            Some(Action::Alert) | None if decision.granted_by.is_empty() => "deny",
            Some(Action::Alert) | None => "allow",
        };
        prop_assert_eq!(decision.verdict.name(), expected);
    }

    /// Another document can only add violations, and only one with an `allowed_*` key or approval
    /// can let more pass: a restriction never widens.
    #[test]
    fn a_restriction_never_widens(documents in documents(), call in call(), words in list(INTENTS)) {
        let before = call.decide(&compiled(&documents));
        let mut more = documents;
        let words = words.unwrap_or_else(|| "[\"read\"]".to_owned());
        more.push(("zz".to_owned(), format!(r#"{{"policy_name": "zz", "restricted_intents": {words}}}"#)));
        let after = call.decide(&compiled(&more));
        let passed = |d: &Decision| matches!(d.verdict, Verdict::Allow(_));
        prop_assert!(passed(&before) || !passed(&after));
        prop_assert!(after.violations.len() >= before.violations.len());
    }

    /// What an edge lets pass no relay stops.
    #[test]
    fn a_relay_stops_nothing_that_an_edge_allows(documents in documents(), mut call in call()) {
        let bundle = compiled(&documents);
        if call.body.is_some() && call.says(&bundle) == "allow" {
            call.relayed();
            prop_assert_eq!(call.says(&bundle), "allow");
        }
    }
}
