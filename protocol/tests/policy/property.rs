//! What must hold of any documents and any call.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use protocol::envelope::{Direction, Kind};
use protocol::policy::{Action, CompiledBundle, Decision, Posture, Verdict};
use protocol::record::Point;
use protocol::time::UnixMillis;

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

/// Further members: every other key that decides, more than one way.
const MORE: &[&str] = &[
    r#""labels": {"restricted": ["phi"]}"#,
    r#""labels": {"allowed": ["pci", "phi"]}"#,
    r#""labels": {"allowed": []}"#,
    r#""time": {"days": ["sun"], "from": "09:00", "to": "17:00"}"#,
    r#""time": {"days": ["mon"], "utc_offset": "+14:00"}"#,
    r#""location": {"networks": ["10.0.0.0/8"]}"#,
    r#""location": {"sites": ["ber*"], "networks": ["::/0"]}"#,
    r#""device": {"min_kernel": "6.1", "hardening": ["seccomp"], "max_age_s": 60}"#,
    r#""device": {"os": ["debian"], "secure_boot": true}"#,
    r#""limits": {"calls": 5}"#,
    r#""on_result": {"tag": ["pci"], "deny": ["sk-[a-z]+"]}"#,
    r#""on_result": {"redact": ["/a"]}"#,
    r#""via": "group:prod-us""#,
    r#""via": "node:laptop""#,
    r#""allowed_resources": ["file:*"], "allowed_prompts": ["*"]"#,
    r#""resources": ["file:*"]"#,
    r#""prompts": ["get_it", "mall/*"]"#,
];

/// Raw Cedar, some of which Cedar cannot evaluate.
const CEDAR: &[&str] = &[
    r#"permit (principal, action == Action::"call", resource) when { context.groups.contains("staff") };"#,
    r#"@mode("observe") permit (principal, action, resource);"#,
    r#"permit (principal, action, resource) when { context.week_minute + 9223372036854775807 > 0 };"#,
    r#"@action("alert") forbid (principal == Agent::"desk/robot", action, resource);"#,
    r#"@action("sever") forbid (principal, action, resource == Target::"store/shop/delete");"#,
    r#"@mode("observe") forbid (principal, action, resource) when { context.target like "set_*" };"#,
    r#"forbid (principal, action, resource) when { context.week_minute + 9223372036854775807 > 0 };"#,
    r#"@mode("observe") forbid (principal, action, resource) when { context.week_minute + 9223372036854775807 > 0 };"#,
    r#"forbid (principal, action, resource) when { context.target == "set_it" && context.week_minute * 9223372036854775807 > 0 };"#,
    r#"@action("require_approval") forbid (principal, action, resource) unless { context has posture && context.posture.attested };"#,
];

/// Documents of every sort, raw Cedar among them.
fn mixed() -> impl Strategy<Value = Vec<(String, String)>> {
    let humans = list(&["ada", "grace*"]);
    let json = (document(), subsequence(MORE, 0..5), humans).prop_map(|(members, more, humans)| {
        // A key stands in a document once.
        let key = |member: &str| member.split(':').next().map(str::to_owned);
        let mut members = vec![members];
        let mut keys: Vec<Option<String>> = Vec::new();
        for member in more {
            if !keys.contains(&key(member)) {
                keys.push(key(member));
                members.push(member.to_owned());
            }
        }
        let mut members = members.join(",");
        if let Some(humans) = humans {
            members = if members.contains("\"subjects\": {") {
                let with = format!("\"subjects\": {{\"humans\": {humans},");
                members.replace("\"subjects\": {", &with)
            } else {
                format!("{members},\"subjects\": {{\"humans\": {humans}}}")
            };
        }
        format!("{{MEMBERS {members}}}")
    });
    let cedar = subsequence(CEDAR, 1..4).prop_map(|policies| policies.join("\n"));
    let one = prop_oneof![4 => json, 1 => cedar];
    proptest::collection::vec(one, 0..10).prop_map(|all| {
        let named = all.into_iter().enumerate().map(|(i, text)| {
            let name = format!("d{i}");
            let text = text.replace("MEMBERS", &format!("\"policy_name\": \"{name}\","));
            (name, text)
        });
        named.collect()
    })
}

/// Calls of every sort, and answers to them.
fn anything() -> impl Strategy<Value = Call> {
    let sort = select(&["tool", "tool", "resource", "prompt", "method", "answer"][..]);
    let who = (
        proptest::option::of(select(&["ada", "grace", "eve"][..])),
        any::<bool>(),
        select(&[None, Some("berlin"), Some("oslo")][..]),
        select(
            &[
                None,
                Some("10.1.2.3:4444"),
                Some("fd00::1"),
                Some("nonsense"),
            ][..],
        ),
    );
    let what = (
        subsequence(&["pci", "phi", "own"][..], 0..=2),
        subsequence(&["desk", "laptop", "gate"][..], 0..=3),
        any::<bool>(),
        0..3_u8,
        0..7_u64,
    );
    (call(), sort, who, what).prop_map(|(mut call, sort, who, what)| {
        let (human, vouched, site, address) = who;
        let (labels, route, posture, point, day) = what;
        let named = |text: &str| text.to_owned();
        match sort {
            "resource" => {
                call.method = named("resources/read");
                call.target = Some(named("file:///a"));
            }
            "prompt" => call.method = named("prompts/get"),
            "method" => {
                call.method = named("sampling/createMessage");
                call.direction = Direction::ToClient;
                call.target = None;
            }
            "answer" => {
                call.kind = Kind::Response;
                call.direction = Direction::ToClient;
                let body = br#"{"jsonrpc":"2.0","id":1,"result":{"a":"sk-abc"}}"#;
                call.body = call.body.map(|_| body.to_vec());
            }
            _ => {}
        }
        call.human = human.map(named);
        call.human_vouched = vouched;
        call.caller.site = site.map(name);
        call.address = address.map(named);
        call.labels = labels.into_iter().map(named).collect();
        call.route = route.into_iter().map(|n| node(n, &["prod-us"])).collect();
        call.posture = posture.then(|| Posture {
            os: named("debian"),
            kernel: (6, 1, u16::from(point)),
            secure_boot: vouched,
            hardening: vec![named("seccomp")],
            attested: vouched,
            ..Posture::default()
        });
        if point == 0 && call.point == Point::Egress {
            call.point = Point::Ingress;
        }
        call.now = UnixMillis(call.now.0 + day * 86_400_000);
        call
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

    /// And so it does of documents and calls of every sort, also of those that Cedar fails on, and
    /// again when the slice was met before.
    #[test]
    fn conditions_are_whole_rules(documents in mixed(), calls in proptest::collection::vec(anything(), 1..8)) {
        let bundle = compiled(&documents);
        for call in calls.iter().chain(&calls) {
            prop_assert_eq!(call.decide(&bundle), unsliced(call, &bundle), "{:?} {:?}", documents, call);
        }
    }

    /// What a slice takes for a match of a glob is one for Cedar, whatever characters there are.
    #[test]
    fn scopes_match_alike(
        globs in proptest::collection::btree_set("[ab*é\"\\\\\u{1f600}]{1,6}", 1..4),
        prompt in "[ab*é\"\\\\/\u{1f600}]{0,8}",
    ) {
        let globs = serde_json::to_string(&globs).unwrap();
        let members = format!(r#""prompts": {globs}, "allowed_prompts": ["*"], "limits": {{"calls": 5}}"#);
        let text = format!(r#"{{"policy_name": "p", {members}}}"#);
        let bundle = compiled(&[("p".to_owned(), text)]);
        let call = Call::prompt(&prompt);
        prop_assert_eq!(call.decide(&bundle), unsliced(&call, &bundle));
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
