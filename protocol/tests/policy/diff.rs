//! What changes between two sets of policies, and the calls that show it.

use protocol::policy::diff::{About, Change, Compared, compare, to_json};
use protocol::policy::testing;

use crate::world::{bundle, p};

fn between(before: &[(&str, &str)], after: &[(&str, &str)]) -> Compared {
    let (before, after) = (bundle(before, &[]), bundle(after, &[]));
    let compared = compare(&before, &after);
    // Whatever is shown is real, and the same every time.
    for change in compared.changes.iter().filter(|c| c.about == About::Call) {
        let old = testing::decide(&before, &change.example);
        let new = testing::decide(&after, &change.example);
        assert_eq!(old.verdict.name(), change.from, "{change:#?}");
        assert_eq!(new.verdict.name(), change.to, "{change:#?}");
    }
    assert_eq!(compare(&before, &after), compared);
    compared
}

fn line(change: &Change) -> String {
    let policy = change.policy.as_deref().unwrap_or("-");
    let rule = change.rule.as_deref().unwrap_or("-");
    let example = to_json(&change.example);
    format!("{} {} {policy} {rule} {example}", change.from, change.to)
}

/// The calls decided otherwise where the document `p` goes from these members to those, beside one
/// that permits everything.
fn changes(before: &str, after: &str) -> Vec<String> {
    let all = r#"{"policy_name": "all", "allowed_tools": ["*/*"]}"#;
    let (before, after) = (p(before), p(after));
    let compared = between(
        &[("all", all), ("p", &before)],
        &[("all", all), ("p", &after)],
    );
    let calls = compared.changes.iter().filter(|c| c.about == About::Call);
    calls.map(line).collect()
}

#[test]
fn the_same_is_no_difference() {
    let text = p(r#""restricted_intents": ["x"]"#);
    let other = text.replace(", ", ",\n  ");
    let compared = between(&[("p", &text)], &[("p", &other)]);
    assert_eq!((compared.documents.len(), compared.changes.len()), (0, 0));
    assert_eq!(compared.tried, 0);
}

/// A star in a pointer is tried with an entry of a list.
#[test]
fn a_bound_on_every_entry() {
    let (before, after) = (
        r#""arguments": {"/items/*/price": {"max": 100, "optional": true}}"#,
        r#""arguments": {"/items/*/price": {"max": 5000, "optional": true}}"#,
    );
    let changed = changes(before, after);
    let example = r#""arguments": {"items":[{"price":"#;
    assert!(
        changed
            .iter()
            .any(|line| line.starts_with("deny allow") && line.contains(example)),
        "{changed:#?}"
    );
}

#[test]
fn a_word_more_or_less() {
    let (without, with) = (
        r#""restricted_intents": ["a"]"#,
        r#""restricted_intents": ["a", "update_price"]"#,
    );
    assert_eq!(
        changes(without, with),
        [r#"allow deny p /restricted_intents {"tool": "update_price"}"#]
    );
    assert_eq!(
        changes(with, without),
        [r#"deny allow p /restricted_intents {"tool": "update_price"}"#]
    );
}

#[test]
fn a_tool_permitted_no_more() {
    let (both, one) = (
        p(r#""servers": ["shop"], "allowed_tools": ["shop/get_it", "shop/list_it"]"#),
        p(r#""servers": ["shop"], "allowed_tools": ["shop/get_it"]"#),
    );
    let compared = between(&[("p", &both)], &[("p", &one)]);
    let lines: Vec<String> = compared.changes.iter().map(line).collect();
    assert_eq!(
        lines,
        [r#"allow deny p /allowed_tools {"server": "shop", "tool": "list_it"}"#]
    );
    // Taken away whole, nothing permits it.
    let compared = between(&[("p", &one)], &[]);
    let lines: Vec<String> = compared.changes.iter().map(line).collect();
    assert_eq!(
        lines,
        [r#"allow deny p - {"server": "shop", "tool": "get_it"}"#]
    );
    assert!(!compared.changes[0].after && compared.changes[0].why.starts_with("no policy permits"));
}

#[test]
fn to_and_from_holding_and_severing() {
    let rule = r#""restricted_intents": ["drop_table"], "action_on_violation": "#;
    let with = |action: &str| format!("{rule}\"{action}\"");
    for (before, after, expected) in [
        ("alert", "require_approval", "allow hold"),
        ("require_approval", "sever", "hold sever"),
        ("sever", "block", "sever deny"),
        ("block", "alert", "deny allow"),
    ] {
        let found = changes(&with(before), &with(after));
        let expected = format!("{expected} p /restricted_intents {{\"tool\": \"drop_table\"}}");
        assert!(found.contains(&expected), "{found:#?}");
        // What nothing permits can be held.
        let holds = before == "require_approval" || after == "require_approval";
        assert_eq!(found.len(), 1 + usize::from(holds), "{found:#?}");
    }
    // Decided alike, but operators are told.
    assert_eq!(
        told(&with("block"), &with("block_and_alert")),
        [
            "alert deny deny /restricted_intents: operators are told: policy `p` restricts what tool \
             `drop_table` intends: `delete`, `drop_table`"
        ]
    );
}

/// Each requirement is tried just within its bound and just beyond it.
#[test]
fn bounds() {
    for (before, after, expected) in [
        (
            r#""arguments": {"/n": {"max": 10, "optional": true}}"#,
            r#""arguments": {"/n": {"max": 9, "optional": true}}"#,
            r#"allow deny p /arguments/~1n {"tool": "delete_it", "arguments": {"n":10}}"#,
        ),
        (
            r#""device": {"max_age_s": 60}"#,
            r#""device": {"max_age_s": 61}"#,
            r#"deny allow p /device {"tool": "delete_it", "posture": {"os": "linux", "kernel": "6.1.0", "age_s": 61}}"#,
        ),
        (
            r#""time": {"days": ["mon"], "from": "09:00", "to": "17:00"}"#,
            r#""time": {"days": ["mon"], "from": "09:00", "to": "16:00"}"#,
            r#"allow deny p /time {"tool": "delete_it", "time": "2026-01-05T16:59:00Z"}"#,
        ),
        (
            r#""location": {"sites": ["berlin", "oslo"]}"#,
            r#""location": {"sites": ["berlin"]}"#,
            r#"allow deny p /location/sites {"site": "oslo", "tool": "delete_it"}"#,
        ),
        (
            r#""labels": {"restricted": ["phi"]}"#,
            r#""labels": {"restricted": ["phi", "pci"]}"#,
            r#"allow deny p /labels {"tool": "delete_it", "labels": ["pci"]}"#,
        ),
        (
            r#""intents": {"pinned": true}"#,
            r#""description": "nothing""#,
            r#"deny allow p /intents/pinned {"tool": "delete_it", "pinned": false}"#,
        ),
        (
            r#""via": "group:gateways""#,
            r#""description": "nothing""#,
            r#"deny allow p /via {"tool": "delete_it"}"#,
        ),
        (
            r#""subjects": {"groups": ["guests"]}, "restricted_intents": ["drop_it"]"#,
            r#""subjects": {"groups": ["guests", "staff"]}, "restricted_intents": ["drop_it"]"#,
            r#"allow deny p /restricted_intents {"groups": ["staff"], "tool": "drop_it"}"#,
        ),
    ] {
        let found = changes(before, after);
        assert_eq!(found, [expected], "{before} → {after}");
    }
}

#[test]
fn a_network_made_smaller() {
    let found = changes(
        r#""location": {"networks": ["10.0.0.0/8", "192.0.2.0/24"]}"#,
        r#""location": {"networks": ["10.0.0.0/8"]}"#,
    );
    let expected =
        r#"allow deny p /location/networks {"tool": "delete_it", "address": "192.0.2.0"}"#;
    assert_eq!(found, [expected]);
}

/// What others permit, a document that is put beside them may take away.
#[test]
fn what_the_other_documents_name_is_tried_too() {
    let shop = r#"{"policy_name": "shop", "servers": ["shop"], "allowed_tools": ["shop/*"],
        "subjects": {"groups": ["staff"]}}"#;
    let less = p(r#""allowed_tools": ["shop/get_it"]"#);
    let compared = between(&[("shop", shop)], &[("shop", shop), ("p", &less)]);
    let lines: Vec<String> = compared.changes.iter().map(line).collect();
    let taken = "allow deny p /allowed_tools {";
    let found = lines.iter().find(|line| line.starts_with(taken));
    let found = found.unwrap_or_else(|| panic!("{lines:#?}"));
    assert!(
        found.contains(r#""server": "shop""#) && found.contains("staff"),
        "{found}"
    );
}

fn told(before: &str, after: &str) -> Vec<String> {
    let all = r#"{"policy_name": "all", "allowed_tools": ["*/*"]}"#;
    let (before, after) = (p(before), p(after));
    let compared = between(
        &[("all", all), ("p", &before)],
        &[("all", all), ("p", &after)],
    );
    let told = compared.changes.iter().map(|change| {
        let rule = change.rule.as_deref().unwrap_or("-");
        let (about, from, to) = (change.about.name(), change.from, change.to);
        format!("{about} {from} {to} {rule}: {}", change.why)
    });
    told.collect()
}

/// Calls that pass either way may pass on other terms.
#[test]
fn limits_are_compared() {
    let limit = |rest: &str| format!(r#""tools": ["*/get_it"], "limits": {{"calls": 5{rest}}}"#);
    assert_eq!(
        told(&limit(""), &limit(r#", "window_s": 10, "per": "node""#)),
        [
            "limits allow allow /limits: at most 5 calls in 10 s for each node, else `block`; before: \
          at most 5 calls in 60 s for each agent, else `block`"
        ]
    );
    let none = r#""tools": ["*/get_it"], "description": "nothing""#;
    let gone = told(&limit(""), none);
    assert_eq!(gone.len(), 1, "{gone:#?}");
    assert!(
        gone[0].starts_with("limits allow allow /limits: no limit; before: "),
        "{gone:#?}"
    );
}

#[test]
fn what_happens_to_results_is_compared() {
    let of = |said: &str| format!(r#""tools": ["*/get_it"], "on_result": {{{said}}}"#);
    assert_eq!(
        told(
            &of(r#""redact": ["/a", "/b"]"#),
            &of(r#""redact": ["/b"], "tag": ["pci"]"#)
        ),
        [
            "result allow allow /on_result/redact: no more: `/a` is hidden",
            "result allow allow /on_result/tag: labelled `pci`",
        ]
    );
    let found = told(
        &of(r#""deny": ["hunter1"]"#),
        &of(r#""deny": ["hunter2|x+y"]"#),
    );
    assert_eq!(
        found,
        [
            "result allow deny /on_result/deny: policy `p` does not allow this result: it says hunter2",
            "result deny allow /on_result/deny: policy `p` does not allow this result: it says hunter1",
        ]
    );
}

/// Calls that are held either way may wait for others, and for another time.
#[test]
fn who_may_approve_is_compared() {
    let of = |approval: &str| {
        format!(
            r#""tools": ["*/get_it"], "allowed_tools": [], "action_on_violation": "require_approval",
               "approval": {{{approval}}}"#
        )
    };
    let (security, ada) = (
        of(r#""by": {"groups": ["security"]}"#),
        of(r#""by": {"groups": ["security"], "humans": ["ada@*"]}, "within_s": 60"#),
    );
    assert_eq!(
        told(&security, &ada),
        [
            "approval hold hold /approval: group security or human ada@* may approve; before: \
             group security may approve; within 60 s; before: 300 s"
        ]
    );
    let shorter = of(r#""by": {"groups": ["security"]}, "within_s": 60"#);
    assert_eq!(
        told(&shorter, &security),
        ["approval hold hold /approval: within 300 s; before: 60 s"]
    );
    let operator = of(r#""within_s": 300"#);
    assert_eq!(
        told(&operator, &security),
        [
            "approval hold hold /approval: group security may approve; before: the operator of the \
             server's node may approve"
        ]
    );
}

/// What only observes decides nothing, and is compared all the same.
#[test]
fn what_is_only_observed_is_compared() {
    let of = |mode: &str, word: &str| {
        format!(
            r#""restricted_intents": ["{word}"], "mode": "{mode}", "action_on_violation": "sever""#
        )
    };
    let drops = "policy `p` restricts what tool `drop_table` intends: `delete`, `drop_table`";
    let more =
        format!("observed allow allow /restricted_intents: observed, it would be `sever`: {drops}");
    let less =
        |what: &str| format!("observed allow allow /restricted_intents: observed no more: {what}");
    assert_eq!(
        told(&of("observe", "x"), &of("observe", "drop_table")),
        [
            less("policy `p` restricts what tool `x` intends: `unclassified`, `x`"),
            more,
        ]
    );
    // What was observed is enforced now: the call is decided otherwise, and observed no more.
    assert_eq!(
        told(&of("observe", "drop_table"), &of("enforce", "drop_table")),
        [
            format!("call allow sever /restricted_intents: {drops}"),
            "call deny sever /restricted_intents: policy `p` restricts what resource `file:///x` \
             intends: `drop_table`, `read`"
                .to_owned(),
            less(drops),
        ]
    );
}

#[test]
fn a_pattern_without_a_known_text_is_told() {
    let of = |said: &str| p(&format!(r#""on_result": {{"deny": ["{said}"]}}"#));
    let compared = between(&[], &[("p", &of("[0-9]{65}"))]);
    let untold = "results that the pattern [0-9]{65} of `p` denies";
    assert!(
        compared.not_covered.iter().any(|line| line == untold),
        "{compared:#?}"
    );
}

/// What only arguments decide, a relay lets pass; what is otherwise there alone is told with its place.
#[test]
fn relays_are_asked_too() {
    let found = changes(
        r#""tools": ["*/get_it"], "restricted_intents": ["get_it"]"#,
        r#""tools": ["*/get_it"], "arguments": {"/n": {"equals": 1, "max": 0}}"#,
    );
    let there = r#"deny allow p /restricted_intents {"tool": "get_it", "at": "relay"}"#;
    assert_eq!(found, [there]);
}

/// Arguments are made from a schema: what it allows, and each thing otherwise.
#[test]
fn schemas_are_tried() {
    let of =
        |schema: &str| format!(r#""tools": ["*/get_it"], "arguments": {{"schema": {schema}}}"#);
    let order = r#"{"type": "object", "required": ["sku", "lines"], "additionalProperties": false,
        "properties": {"sku": {"type": "string", "maxLength": 4}, "note": {"type": "string"},
            "lines": {"type": "array", "minItems": 1, "items": {"type": "object", "required": ["n"],
                "properties": {"n": {"type": "integer", "maximum": 10}}}}}}"#;
    for (from, to, expected) in [
        (r#""maximum": 10"#, r#""maximum": 9"#, r#"{"n":10}"#),
        (r#""maxLength": 4"#, r#""maxLength": 3"#, r#""sku":"xxxx""#),
        (
            r#""additionalProperties": false"#,
            r#""additionalProperties": true"#,
            r#""other":"#,
        ),
        (r#""minItems": 1"#, r#""minItems": 2"#, r#""lines":["#),
        (r#"["sku", "lines"]"#, r#"["sku"]"#, r#"{"#),
    ] {
        let changed = order.replace(from, to);
        assert_ne!(changed, order, "{from}");
        let found = changes(&of(order), &of(&changed));
        assert_eq!(found.len(), 1, "{from} → {to}: {found:#?}");
        assert!(
            found[0].contains("/arguments/schema") && found[0].contains(expected),
            "{found:#?}"
        );
    }
}

/// Schemas that nest, repeat themselves and ask for much cost no more than their size.
/// Bounds behind a pattern, fractions, and patterns themselves.
#[test]
fn what_patterns_and_numbers_allow_is_tried() {
    let of = |value: &str| {
        format!(
            r#""tools": ["*/get_it"], "arguments": {{"schema": {{"properties": {{"v": {value}}}}}}}"#
        )
    };
    let list = |most: u8| {
        format!(
            r#"{{"type": "array", "maxItems": {most}, "items": {{"type": "string", "pattern": "^q"}}}}"#
        )
    };
    let pattern = |pattern: &str| format!(r#"{{"type": "string", "pattern": "{pattern}"}}"#);
    for (from, to) in [
        (list(3), list(4)),
        (
            r#"{"type": "integer"}"#.to_owned(),
            r#"{"type": "number"}"#.to_owned(),
        ),
        (pattern("^a+$"), pattern("^ab*$")),
    ] {
        let found = changes(&of(&from), &of(&to));
        assert!(!found.is_empty(), "{from} → {to}");
    }
}

#[test]
fn schemas_are_tried_in_bounded_work() {
    let mut schema = r#"{"type": "string", "minLength": 400}"#.to_owned();
    for level in 0..7 {
        let names: Vec<String> = (0..30).map(|n| format!("\"k{level}_{n}\"")).collect();
        let names = names.join(",");
        schema = format!(
            r#"{{"type": "object", "required": [{names}], "additionalProperties": {schema}}}"#
        );
    }
    let of = |schema: &str| p(&format!(r#""arguments": {{"schema": {schema}}}"#));
    let compared = between(&[], &[("p", &of(&schema))]);
    let none = "arguments that `/arguments/schema` of `p` allows: none were found";
    assert!(
        compared.not_covered.iter().any(|line| line == none),
        "{:#?}",
        compared.not_covered
    );
}

/// What is Cedar is tried with the texts in it, and that is said.
#[test]
fn cedar() {
    let of = |agent: &str| {
        format!("permit(principal, action, resource) when {{ context.agent == \"{agent}\" }};")
    };
    let compared = between(&[("c", &of("ada"))], &[("c", &of("grace"))]);
    let mut lines: Vec<String> = compared.changes.iter().map(line).collect();
    lines.sort();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(
        lines[0].starts_with(r#"allow deny c - {"agent": "ada""#),
        "{lines:#?}"
    );
    assert!(
        lines[1].starts_with(r#"deny allow c - {"agent": "grace""#),
        "{lines:#?}"
    );
    assert!(
        compared
            .not_covered
            .iter()
            .any(|line| line.contains("`c` is Cedar"))
    );
}

/// A document with everything at its bound is compared in bounded work.
#[test]
fn work_is_bounded() {
    let words: Vec<String> = (0..1000).map(|n| format!("\"word_{n}\"")).collect();
    let many = p(&format!(r#""restricted_intents": [{}]"#, words.join(",")));
    let compared = between(&[], &[("p", &many)]);
    assert!(compared.tried <= protocol::policy::diff::MAX_TRIED);
}

/// Whose word counts decides what humans may do, whichever document changes.
#[test]
fn who_vouches_for_humans() {
    let ada = r#"{"policy_name": "ada", "subjects": {"humans": ["ada@example.org"]}, "servers": ["shop"],
        "allowed_tools": ["shop/get_price"]}"#;
    let vouches = r#"{"policy_name": "vouches", "subjects": {"groups": ["desk"]},
        "vouches_for_humans": true}"#;
    let example = r#"{"server": "shop", "groups": ["desk"], "human": "ada@example.org", "tool": "get_price"}"#;
    let lines = |before: &[(&str, &str)], after: &[(&str, &str)]| -> Vec<String> {
        between(before, after).changes.iter().map(line).collect()
    };
    let (alone, both) = (
        &[("ada", ada)][..],
        &[("ada", ada), ("vouches", vouches)][..],
    );
    assert_eq!(lines(alone, both), [format!("deny allow ada - {example}")]);
    assert_eq!(lines(both, alone), [format!("allow deny ada - {example}")]);
    let none = r#"{"policy_name": "none", "restricted_intents": ["x"]}"#;
    let of_ada = |lines: Vec<String>| lines.iter().any(|l| l.ends_with(example));
    assert!(of_ada(lines(
        &[("none", none)],
        &[&[("none", none)], both].concat()
    )));
}
