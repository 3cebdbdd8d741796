//! Documents nobody should have written: each refused by name, with document, place and mend.

use protocol::policy::document::{Document, MAX_POLICY_LIST};
use protocol::policy::{CompiledBundle, PolicyError};

use crate::seed::{NAME, SEED};
use crate::world::{body, listed, p};

/// The refusal of a document named `p` in a bundle whose other document is good.
fn refused(text: &str) -> Vec<PolicyError> {
    let body = body(&[("p", text), (NAME, SEED)], &[]);
    let errors = CompiledBundle::compile(1, &body).expect_err("refused whole");
    for error in &errors {
        assert_eq!(error.document, "p", "{}", listed(&errors));
        assert!(!error.hint().is_empty());
        let line = format!("{error} {}", error.hint());
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
    errors
}

/// One error of this reason at this place.
#[track_caller]
fn is(text: &str, reason: &str, path: &str) -> PolicyError {
    let errors = refused(text);
    let found = errors
        .iter()
        .find(|e| e.reason() == reason && e.path == path);
    found
        .unwrap_or_else(|| panic!("no {reason} at `{path}` in:\n{}", listed(&errors)))
        .clone()
}

#[test]
fn not_json() {
    let error = is("{\"policy_name\": \"p\",}", "policy_not_json", "");
    assert!(error.to_string().contains("line 1, column 21"), "{error}");
    is("{", "policy_not_json", "");
    is("{} {}", "policy_not_json", "");
    is(
        "{\"policy_name\": \"p\"} // no comments",
        "policy_not_json",
        "",
    );
}

#[test]
fn not_utf8() {
    let errors = Document::parse("file", b"{\"policy_name\": \"\xff\"}").unwrap_err();
    assert_eq!(errors[0].reason(), "policy_not_utf8");
    let errors = Document::parse("file", b"\xef\xbb\xbf{}").unwrap_err();
    assert_eq!(errors[0].reason(), "policy_byte_order_mark");
    assert!(errors[0].hint().contains("without"), "{}", errors[0].hint());
    let errors = Document::parse("file", b"[]").unwrap_err();
    assert_eq!(
        errors[0].to_string(),
        "policy `file`: expected an object, found a list"
    );
}

#[test]
fn an_unknown_key_with_the_nearest_known() {
    let error = is(
        &p(r#""alowed_tools": ["a"]"#),
        "policy_unknown_key",
        "/alowed_tools",
    );
    assert_eq!(error.hint(), "did you mean `allowed_tools`?");
    let error = is(
        &p(r#""time": {"day": ["mon"]}"#),
        "policy_unknown_key",
        "/time/day",
    );
    assert_eq!(error.hint(), "did you mean `days`?");
}

#[test]
fn a_wrong_type() {
    is(
        &p(r#""allowed_tools": "a""#),
        "policy_wrong_type",
        "/allowed_tools",
    );
    is(
        &p(r#""allowed_tools": [1]"#),
        "policy_wrong_type",
        "/allowed_tools/0",
    );
    is(
        &p(r#""limits": {"calls": "5"}"#),
        "policy_wrong_type",
        "/limits/calls",
    );
    is(
        &p(r#""limits": {"calls": 1.5}"#),
        "policy_out_of_range",
        "/limits/calls",
    );
    let fraction = is(
        &p(r#""limits": {"calls": 1.5}"#),
        "policy_out_of_range",
        "/limits/calls",
    );
    assert!(
        fraction.to_string().contains("a whole number"),
        "{fraction}"
    );
    is(&p(r#""mode": null"#), "policy_wrong_type", "/mode");
}

#[test]
fn a_duplicate_key_or_entry() {
    is(
        &p(r#""mode": "enforce", "mode": "observe""#),
        "policy_duplicate_key",
        "/mode",
    );
    is(
        &p(r#""mode": "enforce", "mo\u0064e": "observe""#),
        "policy_duplicate_key",
        "/mode",
    );
    is(
        &p(r#""allowed_tools": ["a", "a"]"#),
        "policy_duplicate_entry",
        "/allowed_tools/1",
    );
    is(
        &p(r#""arguments": {"/a": {"equals": 1}, "/a": {"equals": 2}}"#),
        "policy_duplicate_key",
        "/arguments/~1a",
    );
}

/// Values of predicates and schemas are objects of their author's own; what they name twice could
/// mean either.
#[test]
fn a_duplicate_key_within_a_value() {
    let twice = r#"{"a": [{"q": 1, "q": 2}]}"#;
    for (members, path) in [
        (r#""/v": {"equals": TWICE}"#, "/arguments/~1v/equals/a/0/q"),
        (
            r#""/v": {"one_of": [1, TWICE]}"#,
            "/arguments/~1v/one_of/1/a/0/q",
        ),
        (
            r#""schema": {"const": TWICE}"#,
            "/arguments/schema/const/a/0/q",
        ),
        (
            r#""schema": {"properties": {"v": {"enum": [TWICE]}}}"#,
            "/arguments/schema/properties/v/enum/0/a/0/q",
        ),
    ] {
        let members = members.replace("TWICE", twice);
        let text = format!(r#"{{"policy_name": "p", "arguments": {{{members}}}}}"#);
        let errors = Document::parse("p", text.as_bytes()).unwrap_err();
        assert_eq!(errors.len(), 1, "{text}: {errors:?}");
        assert_eq!(errors[0].reason(), "policy_duplicate_key", "{text}");
        assert_eq!(errors[0].path, path);
    }
}

#[test]
fn a_duplicate_name() {
    let mut body = body(&[("p", &p(r#""allowed_tools": []"#))], &[]);
    body.policies.push(body.policies[0].clone());
    let errors = CompiledBundle::compile(1, &body).unwrap_err();
    assert_eq!(errors[0].reason(), "policy_duplicate_name");
}

#[test]
fn a_name_that_is_not_its_own() {
    let other = r#"{"policy_name": "q", "allowed_tools": []}"#;
    let error = is(other, "policy_name_differs", "");
    assert!(error.to_string().contains("`q`"));
}

#[test]
fn ten_megabytes() {
    let text = p(&format!(r#""description": "{}""#, "x".repeat(10_000_000)));
    is(&text, "policy_too_large", "");
}

#[test]
fn a_hundred_thousand_rules() {
    let many = |count: usize| {
        let tools: Vec<String> = (0..count).map(|i| format!("\"{i}\"")).collect();
        p(&format!(r#""allowed_tools": [{}]"#, tools.join(",")))
    };
    is(&many(100_000), "policy_too_large", "");
    is(
        &many(MAX_POLICY_LIST + 1),
        "policy_too_many",
        "/allowed_tools",
    );
    let most = body(&[("p", &many(MAX_POLICY_LIST))], &[]);
    CompiledBundle::compile(1, &most).unwrap();
    let cedar = "forbid(principal, action, resource);".repeat(5000);
    is(&cedar, "policy_too_many", "");
}

#[test]
fn a_glob_bomb() {
    let bomb = p(&format!(r#""tools": ["{}"]"#, "*a".repeat(200)));
    is(&bomb, "policy_bad_glob", "/tools/0");
    is(&p(r#""tools": [""]"#), "policy_bad_glob", "/tools/0");
}

/// A keyword that is not understood is refused wherever it stands, never ignored.
#[test]
fn keywords_beyond_the_subset() {
    for (keyword, value) in [
        ("$defs", "{}"),
        ("anyOf", "[]"),
        ("allOf", "[]"),
        ("oneOf", "[]"),
        ("not", "{}"),
        ("format", "\"email\""),
        ("exclusiveMinimum", "1"),
        ("multipleOf", "2"),
        ("patternProperties", "{}"),
        ("uniqueItems", "true"),
    ] {
        let schema = format!(
            r#""arguments": {{"schema": {{"properties": {{"a": {{"{keyword}": {value}}}}}}}}}"#
        );
        let path = format!("/arguments/schema/properties/a/{keyword}");
        let error = is(&p(&schema), "policy_schema_keyword", &path);
        assert!(
            error.hint().contains("additionalProperties"),
            "{}",
            error.hint()
        );
    }
}

#[test]
fn a_remote_reference() {
    for reference in ["$ref", "$dynamicRef"] {
        let schema = format!(
            r#""arguments": {{"schema": {{"properties": {{"a": {{"{reference}": "https://evil.example/s"}}}}}}}}"#
        );
        let path = format!("/arguments/schema/properties/a/{reference}");
        is(&p(&schema), "policy_schema_reference", &path);
    }
    is(
        &p(r#""arguments": {"schema": {"anyOf": []}}"#),
        "policy_schema_keyword",
        "/arguments/schema/anyOf",
    );
}

#[test]
fn a_pattern_that_backtracks() {
    let path = "/arguments/~1a/regex";
    is(
        &p(r#""arguments": {"/a": {"regex": "(a+)\\1"}}"#),
        "policy_bad_pattern",
        path,
    );
    is(
        &p(r#""arguments": {"/a": {"regex": "(?=a)"}}"#),
        "policy_bad_pattern",
        path,
    );
    is(
        &p(r#""arguments": {"/a": {"regex": "((a{99}){99}){99}"}}"#),
        "policy_bad_pattern",
        path,
    );
    is(
        &p(r#""on_result": {"deny": ["(?<=x)y"]}"#),
        "policy_bad_pattern",
        "/on_result/deny/0",
    );
}

#[test]
fn deep_nesting() {
    for depth in [40, 127, 10_000, 100_000] {
        let text = p(&format!(
            r#""arguments": {{"/a": {{"equals": {}{}}}}}"#,
            "[".repeat(depth),
            "]".repeat(depth)
        ));
        is(&text, "policy_nested_too_deep", "");
    }
}

/// Cedar recurses: what could exhaust its stack never reaches it, and the deepest allowed does.
#[test]
fn deep_cedar() {
    let nested = |depth: usize| {
        let (open, close) = ("(".repeat(depth), ")".repeat(depth));
        format!("permit(principal, action, resource) when {{ {open}true{close} }};")
    };
    is(&nested(20_000), "policy_nested_too_deep", "");
    is(&nested(16), "policy_nested_too_deep", "");
    let chained = |operator: &str, count: usize| {
        let chain = vec!["context.full"; count].join(operator);
        format!("permit(principal, action, resource) when {{ {chain} }};")
    };
    for operator in [" || ", " && ", " == "] {
        is(&chained(operator, 10_000), "policy_too_many", "");
    }
    let bangs = "!".repeat(50_000);
    is(
        &format!("permit(principal, action, resource) when {{ {bangs}true }};"),
        "policy_too_many",
        "",
    );
    let most = [nested(15), chained(" || ", 64)].join("\n");
    CompiledBundle::compile(1, &body(&[("p", &most)], &[])).unwrap();
    // What stands in strings and comments is no nesting.
    let text = format!(
        "// {}\npermit(principal, action, resource) when {{ context.agent == \"{}\" }};",
        "(".repeat(100),
        "(\\\"".repeat(100)
    );
    CompiledBundle::compile(1, &body(&[("p", &text)], &[])).unwrap();
}

#[test]
fn characters_nobody_sees() {
    for (hidden, code) in [
        ("\\u001b", "U+001B"),
        ("\\u202e", "U+202E"),
        ("\\u200b", "U+200B"),
    ] {
        let text = p(&format!(r#""allowed_tools": ["get{hidden}it"]"#));
        let error = is(&text, "policy_invisible_characters", "/allowed_tools/0");
        assert!(error.to_string().contains(code), "{error}");
        let text = p(&format!(r#""x{hidden}": 1"#));
        assert!(
            refused(&text)
                .iter()
                .any(|e| e.reason() == "policy_invisible_characters")
        );
    }
    let name = "{\"policy_name\": \"p\\u202e\"}";
    is(name, "policy_invisible_characters", "/policy_name");
    let cedar = "permit(principal, action, resource) when { context.agent == \"a\u{202e}b\" };";
    is(cedar, "policy_invisible_characters", "");
}

#[test]
fn what_says_nothing_or_contradicts_itself() {
    is(&p(r#""subjects": {}"#), "policy_empty", "/subjects");
    is(&p(r#""servers": []"#), "policy_empty", "/servers");
    let error = is(
        &p(r#""device": {"secure_boot": false}"#),
        "policy_conflict",
        "/device/secure_boot",
    );
    assert_eq!(error.hint(), "leave the key out, or write `true`");
    is(
        &p(r#""time": {"from": "09:00", "to": "09:00"}"#),
        "policy_conflict",
        "/time",
    );
    is(
        &p(r#""limits": {"window_s": 5}"#),
        "policy_key_missing",
        "/limits",
    );
    is(r#"{"allowed_tools": []}"#, "policy_key_missing", "");
    is(
        &p(r#""location": {"networks": ["10.0.0.1/8"]}"#),
        "policy_bad_text",
        "/location/networks/0",
    );
    is(&p(r#""via": "gateways""#), "policy_bad_text", "/via");
    let error = is(
        &p(r#""action_on_violation": "blok""#),
        "policy_unknown_word",
        "/action_on_violation",
    );
    assert_eq!(error.hint(), "did you mean `block`?");
}

/// A document that vouches for humans says whose word counts, and nothing else.
#[test]
fn vouching_with_anything_beside_it() {
    let vouches = r#""vouches_for_humans": true, "subjects": {"groups": ["desk"]}"#;
    for (key, value) in [
        ("allowed_tools", r#"["x"]"#),
        ("restricted_intents", r#"["x"]"#),
        ("servers", r#"["x"]"#),
        ("device", r#"{"secure_boot": true}"#),
        ("limits", r#"{"calls": 5}"#),
        ("action_on_violation", r#""alert""#),
        ("approval", r#"{"required": true}"#),
    ] {
        let text = p(&format!(r#"{vouches}, "{key}": {value}"#));
        let error = is(&text, "policy_vouches_beside", &format!("/{key}"));
        assert!(error.to_string().contains(&format!("`{key}`")), "{error}");
        assert!(error.hint().contains("document of its own"));
    }
    for (key, value) in [("humans", "ada@example.org"), ("agents", "robot")] {
        let subjects = format!(r#""subjects": {{"groups": ["desk"], "{key}": ["{value}"]}}"#);
        let text = p(&format!(r#""vouches_for_humans": true, {subjects}"#));
        let path = format!("/subjects/{key}");
        let error = is(&text, "policy_vouches_beside", &path);
        assert!(error.to_string().contains(&format!("`{key}`")), "{error}");
    }
    let everybody = p(r#""vouches_for_humans": true"#);
    let path = "/vouches_for_humans";
    let error = is(&everybody, "policy_vouches_for_nobody", path);
    assert!(error.hint().contains("`subjects`"));
    let text = p(r#""vouches_for_humans": "yes", "subjects": {"groups": ["desk"]}"#);
    is(&text, "policy_wrong_type", path);
}

#[test]
fn cedar_that_does_not_fit() {
    is("permit(principal, action", "policy_not_cedar", "");
    is("", "policy_empty", "");
    is(
        "permit(principal, action, resource) when { context.nothing };",
        "policy_cedar_schema",
        "/policy0",
    );
    is(
        "permit(principal, action, resource) when { context.agent == 1 };",
        "policy_cedar_schema",
        "/policy0",
    );
    for never in [
        "forbid (principal, action, resource) when { resource has name && resource.name == \"x\" };",
        "forbid (principal, action, resource) when { false };",
        "permit (principal, action, resource) when { context.agent == \"a\" && principal has x };",
        "forbid (principal, action, resource is Agent);",
    ] {
        is(never, "policy_cedar_never_applies", "/policy0");
    }
    is(
        "permit(principal == ?principal, action, resource);",
        "policy_cedar_template",
        "",
    );
    is(
        "@acton(\"sever\") forbid(principal, action, resource);",
        "policy_cedar_annotation",
        "/policy0",
    );
    is(
        "@action(\"kill\") forbid(principal, action, resource);",
        "policy_unknown_word",
        "/policy0",
    );
    is(
        "@policy_name(\"q\") forbid(principal, action, resource);",
        "policy_name_differs",
        "/policy0",
    );
}

#[test]
fn another_media_type() {
    let mut body = body(&[("p", "{}")], &[]);
    body.policies[0].media_type = "text/html".to_owned();
    let errors = CompiledBundle::compile(1, &body).unwrap_err();
    assert_eq!(errors[0].reason(), "policy_media_type");
}

/// All of it is listed at once, but no more than anybody reads.
#[test]
fn every_error_is_listed() {
    let errors = refused(&p(r#""mode": 1, "via": 2, "time": 3"#));
    assert_eq!(errors.len(), 3, "{}", listed(&errors));
    let keys: Vec<String> = (0..500).map(|i| format!("\"k{i}\": 1")).collect();
    let errors = refused(&p(&keys.join(",")));
    assert_eq!(errors.len(), protocol::policy::MAX_POLICY_ERRORS);
}
