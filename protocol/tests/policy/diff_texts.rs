//! Of globs and patterns that change, `diff` tries texts at the edge of what they match.

use protocol::policy::diff::{Compared, compare};

use crate::world::bundle;

/// A document that lets humans be who they are.
const VOUCHES: &str = r#"{"policy_name": "vouches", "subjects": {"groups": ["desk"]},
    "vouches_for_humans": true}"#;

/// Documents with a glob in the place of `GLOB`, behind a scheme in that of `URI`: each key that has
/// globs, and each part of them.
const KEYS: &[&str] = &[
    r#""subjects": {"nodes": [GLOB]}, "allowed_tools": ["*/*"]"#,
    r#""subjects": {"groups": [GLOB]}, "allowed_tools": ["*/*"]"#,
    r#""subjects": {"agents": [GLOB]}, "allowed_tools": ["*/*"]"#,
    r#""subjects": {"agents": [NODE/bot]}, "allowed_tools": ["*/*"]"#,
    r#""subjects": {"agents": ["other", GLOB]}, "allowed_tools": ["pay/get_it"]"#,
    r#""subjects": {"humans": [GLOB]}, "allowed_tools": ["*/*"]"#,
    r#""subjects": {"groups": [GLOB]}, "servers": ["pay"], "limits": {"calls": 1},
        "intents": {"allowed": ["read"]}"#,
    r#""servers": [GLOB], "allowed_tools": ["get_it"]"#,
    r#""servers": [GLOB], "allowed_resources": ["*"]"#,
    r#""servers": [GLOB], "intents": {"allowed": ["read"]}"#,
    r#""servers": [NODE/pay], "allowed_tools": ["*/*"]"#,
    r#""location": {"sites": [GLOB]}, "allowed_tools": ["*/*"]"#,
    r#""location": {"sites": ["oslo", GLOB]}, "allowed_tools": ["*/*"]"#,
    r#""tools": [GLOB], "intents": {"allowed": ["unclassified", "read"]}"#,
    r#""tools": [NODE/get_it], "intents": {"allowed": ["read"]}"#,
    r#""tools": [NODE/pay/get_it], "intents": {"allowed": ["read"]}"#,
    r#""allowed_tools": [GLOB]"#,
    r#""allowed_tools": [NODE/get_it]"#,
    r#""allowed_tools": [NODE/pay/get_it]"#,
    r#""prompts": [GLOB], "allowed_prompts": ["*"]"#,
    r#""allowed_prompts": [GLOB]"#,
    r#""resources": [URI], "allowed_resources": ["*"]"#,
    r#""allowed_resources": [URI]"#,
    r#""device": {"os": ["other-os", GLOB]}, "allowed_tools": ["*/*"]"#,
    r#""arguments": {"/v": {"glob": GLOB}}, "allowed_tools": ["*/*"]"#,
];

fn with(template: &str, glob: &str) -> String {
    let text = template
        .replace("GLOB", &format!("\"{glob}\""))
        .replace("URI", &format!("\"memo:{glob}\""))
        .replace("NODE/", &format!("NODE{glob}/"));
    // `[NODEglob/rest]` is a text.
    let text = match text.split_once("[NODE") {
        Some((before, after)) => {
            let (name, rest) = after.split_once(']').unwrap();
            format!("{before}[\"{name}\"]{rest}")
        }
        None => text,
    };
    format!("{{\"policy_name\": \"p\", {text}}}")
}

fn between(before: &str, after: &str) -> Compared {
    let of = |text: &str| bundle(&[("vouches", VOUCHES), ("p", text)], &[]);
    compare(&of(before), &of(after))
}

#[test]
fn a_star_more_or_less_is_found_in_every_glob() {
    for template in KEYS {
        for (plain, starred) in [
            ("claude", "*claude"),
            ("claude", "cla*ude"),
            ("claude", "claude*"),
            ("cl*ude", "*cl*ude"),
            ("claude-*", "claude*"),
        ] {
            let (plain, starred) = (with(template, plain), with(template, starred));
            for (before, after) in [(&plain, &starred), (&starred, &plain)] {
                let compared = between(before, after);
                assert!(!compared.changes.is_empty(), "{before} → {after}");
            }
        }
    }
}

#[test]
fn what_lets_nodes_vouch_is_tried_at_its_edge() {
    let ada = r#"{"policy_name": "ada", "subjects": {"humans": ["ada@example.org"]},
        "allowed_tools": ["*/*"]}"#;
    let of = |glob: &str| {
        let vouches = VOUCHES.replace("desk", glob);
        bundle(&[("ada", ada), ("vouches", &vouches)], &[])
    };
    for glob in ["*desk", "de*sk", "desk*"] {
        let (plain, starred) = (of("desk"), of(glob));
        assert!(!compare(&plain, &starred).changes.is_empty(), "{glob}");
        assert!(!compare(&starred, &plain).changes.is_empty(), "{glob}");
    }
}

/// Of long lists what changed comes first, and what is left out is said.
#[test]
fn the_entry_of_a_long_list_that_changed_is_tried() {
    let many: Vec<String> = (0..40).map(|n| format!("\"name-{n}\"")).collect();
    let many = many.join(", ");
    for key in [
        r#""subjects": {"agents": [LIST, GLOB]}, "allowed_tools": ["*/*"]"#,
        r#""allowed_resources": [LIST, URI]"#,
    ] {
        let template = key.replace("LIST", &many);
        let (plain, starred) = (with(&template, "claude"), with(&template, "claude*"));
        let compared = between(&plain, &starred);
        assert!(!compared.changes.is_empty(), "{plain}");
    }
    let none = with(
        r#""subjects": {"agents": [GLOB]}, "limits": {"calls": 1}"#,
        "x",
    );
    let long = none.replace("\"x\"", &many);
    let compared = between(&none, &long);
    let said = "all of what documents name: of long lists the first, and first what changed";
    assert!(compared.not_covered.iter().any(|line| line == said));
}

#[test]
fn patterns_with_classes_groups_and_repetitions_are_tried() {
    let value = |pattern: &str| {
        format!(
            r#"{{"policy_name": "p", "allowed_tools": ["*/*"], "arguments": {{"/v": {{"regex": "{pattern}"}}}}}}"#
        )
    };
    let schema = |pattern: &str| {
        format!(
            r#"{{"policy_name": "p", "allowed_tools": ["*/*"], "arguments": {{"schema":
                {{"properties": {{"v": {{"type": "string", "pattern": "^({pattern})$"}}}}}}}}}}"#
        )
    };
    let result = |pattern: &str| {
        format!(
            r#"{{"policy_name": "p", "allowed_tools": ["*/*"], "on_result": {{"deny": ["^v:({pattern})$"]}}}}"#
        )
    };
    for (one, other) in [
        ("abc", "(?i)abc"),
        ("[A-Z]{2}[0-9]{2,4}", "[A-Z]{2}[0-9]{2,5}"),
        (r"\\p{L}+", "[a-z]+"),
        ("(ab|cd)+", "(ab|cd|ef)+"),
        ("(ab|cd){1,2}", "ab|cd"),
        ("[a-y]", "[a-z]"),
        ("a.c", "a[^x]c"),
        ("x?y", "y"),
        ("a{100}", "abc"),
    ] {
        for document in [&value as &dyn Fn(&str) -> String, &schema, &result] {
            for (before, after) in [(one, other), (other, one)] {
                let (before, after) = (document(before), document(after));
                let compared = between(&before, &after);
                let found = !compared.changes.is_empty();
                assert!(found, "{before} → {after}: {:?}", compared.not_covered);
            }
        }
    }
}

#[test]
fn what_is_not_tried_of_patterns_is_said() {
    let of = |pattern: &str| {
        format!(
            r#"{{"policy_name": "p", "allowed_tools": ["*/*"], "arguments": {{"/v": {{"regex": "{pattern}"}}}}}}"#
        )
    };
    let compared = between(&of("a{100}"), &of("[a-z]{101}"));
    let none = "arguments that `/arguments/~1v` of `p` allows: none were found";
    assert!(compared.not_covered.iter().any(|line| line == none));
    let compared = between(&of("a[0-9]{1,40}"), &of("a[0-9]{1,50}"));
    let some = "arguments that the pattern at `/arguments/~1v` of `p` is about, but for up to 16 \
                texts made from it, and some one character away";
    assert!(compared.not_covered.iter().any(|line| line == some));
}
