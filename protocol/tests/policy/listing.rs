//! What a list shows and what a call of it is told are one decision.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use protocol::envelope::{Direction, Kind};
use protocol::mcp::ListKind;
use protocol::policy::{CompiledBundle, Decision, Listed, Policy as _, Verdict, listing};

use crate::property::{call, compiled, documents};
use crate::world::{Call, bundle, node, p};

/// The list of this kind, as it comes back to who makes the call.
fn list(call: &Call, kind: ListKind) -> Call {
    let mut list = call.clone();
    list.kind = Kind::Response;
    list.direction = Direction::ToClient;
    list.method = kind.method().to_owned();
    list.target = None;
    list.digest = None;
    list.intents.clear();
    list
}

fn is_shown(call: &Call, kind: ListKind, bundle: &CompiledBundle) -> bool {
    let item = Listed {
        kind,
        name: call.target.as_deref().unwrap(),
        tool_digest: call.digest,
        intents: &call.intents,
        labels: &call.labels,
    };
    list(call, kind).facts(|facts| item.is_shown(bundle, facts))
}

fn passes(call: &Call, bundle: &CompiledBundle) -> bool {
    passed(&call.decide(bundle))
}

fn passed(decision: &Decision) -> bool {
    matches!(decision.verdict, Verdict::Allow(_) | Verdict::Hold(_))
}

/// As the gate is asked where nobody knows the arguments.
fn without_arguments(call: &Call) -> Call {
    let mut call = call.clone();
    call.body = None;
    call.approved = false;
    call
}

const GLOBS: &[&str] = &["file:///a/*", "https://*", "db://*/rows", "*"];
const PROMPTS: &[&str] = &["greet", "shop/*", "store/shop/part", "*"];

fn words(of: &'static [&'static str]) -> impl Strategy<Value = Option<String>> {
    let some = subsequence(of, 1..=of.len()).prop_map(|words| {
        let quoted: Vec<String> = words.iter().map(|w| format!("\"{w}\"")).collect();
        format!("[{}]", quoted.join(","))
    });
    proptest::option::weighted(0.5, some)
}

/// Documents about resources and prompts.
fn others() -> impl Strategy<Value = Vec<(String, String)>> {
    let lists = (
        words(GLOBS),
        words(PROMPTS),
        words(GLOBS),
        words(PROMPTS),
        words(&["read", "egress"]),
    );
    let document = (
        lists,
        select(&["block", "require_approval", "sever", "alert"][..]),
    );
    let document = document.prop_map(|(lists, action)| {
        let (resources, prompts, of_resources, of_prompts, intents) = lists;
        let keys = [
            ("allowed_resources", resources),
            ("allowed_prompts", prompts),
            ("resources", of_resources),
            ("prompts", of_prompts),
            ("restricted_intents", intents),
        ];
        let keys = keys
            .into_iter()
            .filter_map(|(key, value)| Some(format!("\"{key}\": {}", value?)));
        let mut members = vec![format!(r#""action_on_violation": "{action}""#)];
        members.extend(keys);
        members.join(",")
    });
    proptest::collection::vec(document, 0..6).prop_map(|all| {
        let named = all.into_iter().enumerate().map(|(i, members)| {
            let name = format!("d{i}");
            let text = format!(r#"{{"policy_name": "{name}", {members}}}"#);
            (name, text)
        });
        named.collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_tool_is_listed_if_a_call_of_it_passes(
        documents in documents(),
        calls in proptest::collection::vec(call(), 1..6),
    ) {
        let bundle = compiled(&documents);
        for call in calls {
            let shown = is_shown(&call, ListKind::Tools, &bundle);
            prop_assert_eq!(shown, passes(&without_arguments(&call), &bundle));
            // What arguments decide takes away, or has somebody asked; it lets nothing pass.
            let asked = Call { approved: false, ..call };
            let verdict = asked.decide(&bundle).verdict;
            prop_assert!(shown || !matches!(verdict, Verdict::Allow(_)));
        }
    }

    #[test]
    fn resources_templates_and_prompts_are_listed_alike(
        documents in others(),
        uri in select(&["file:///a/b", "file:///c", "https://x/y", "db://{t}/rows"][..]),
        prompt in select(&["greet", "part", "other"][..]),
    ) {
        let bundle = compiled(&documents);
        for kind in [ListKind::Resources, ListKind::ResourceTemplates, ListKind::Prompts] {
            let name = if kind == ListKind::Prompts { prompt } else { uri };
            let call = without_arguments(&Call::of(listing::method(kind), Some(name)));
            // A template is judged by its text, and is no URI.
            let shown = match kind {
                ListKind::ResourceTemplates => passed(&call.facts(|f| bundle.evaluate_template(f))),
                _ => passes(&call, &bundle),
            };
            prop_assert_eq!(is_shown(&call, kind, &bundle), shown);
        }
    }
}

/// What cannot be read is not listed; a template of URIs is none.
#[test]
fn a_resource_whose_uri_has_several_readings_is_not_listed() {
    let public = p(r#""allowed_resources": ["file:///public/*"]"#);
    let all = p(r#""allowed_resources": ["*"]"#);
    let [public, all] = [public, all].map(|document| bundle(&[("p", &document)], &[]));
    for (uri, by_public) in [
        ("file:///public/a", true),
        ("file:///public/../records/a", false),
        ("file:///public/%61", false),
        ("file:///public/{+path}", false),
    ] {
        let call = Call::resource(uri);
        assert_eq!(is_shown(&call, ListKind::Resources, &public), by_public);
        assert!(is_shown(&call, ListKind::Resources, &all), "{uri}");
        assert!(is_shown(&call, ListKind::ResourceTemplates, &public));
    }
}

#[test]
fn what_only_needs_approval_is_listed() {
    let ask = p(r#""allowed_tools": ["*/*"], "approval": {"required": true}"#);
    let bundle = bundle(&[("p", &ask)], &[]);
    let call = Call::tool("update_price");
    assert_eq!(call.says(&bundle), "hold approval_required");
    assert!(is_shown(&call, ListKind::Tools, &bundle));
}

/// A call takes a route of its own, which the list need not have come over.
#[test]
fn the_route_of_a_list_hides_nothing() {
    let via = p(r#""allowed_tools": ["*/*"], "via": "group:gateways""#);
    let mut call = Call::tool("update_price");
    let alone = bundle(&[("p", &via)], &[]);
    assert_eq!(call.says(&alone), "deny waypoint_missing");
    assert!(is_shown(&call, ListKind::Tools, &alone));
    call.route = vec![
        call.caller.clone(),
        node("gate", &["gateways"]),
        call.host.clone(),
    ];
    assert_eq!(call.says(&alone), "allow");
    // What is denied over any route is not listed.
    let no = r#"{"policy_name": "no", "restricted_intents": ["write"]}"#;
    let both = bundle(&[("no", no), ("p", &via)], &[]);
    call.route.clear();
    assert!(!is_shown(&call, ListKind::Tools, &both));
}
