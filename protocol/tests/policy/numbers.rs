//! Numbers in documents, arguments and results: compared by the value that was written, however
//! large or fine, and searched as they were written.

use protocol::envelope::{Direction, Kind};
use protocol::policy::CompiledBundle;
use protocol::policy::diff::compare;

use crate::world::{Call, body, bundle, listed, one, p};

/// What a document with these `arguments` says of a call with this value at `/n`.
fn says(arguments: &str, value: &str) -> String {
    let members = format!(r#""allowed_tools": ["shop/pay"], "arguments": {arguments}"#);
    let mut call = Call::tool("pay");
    call.arguments(&format!("{{\"n\": {value}}}"));
    call.says(&one(&members, &[]))
}

#[track_caller]
fn tells(arguments: &str, good: &[&str], bad: &[&str]) {
    for value in good {
        assert_eq!(says(arguments, value), "allow", "{arguments} {value}");
    }
    for value in bad {
        let said = says(arguments, value);
        assert_eq!(said, "deny argument_not_allowed", "{arguments} {value}");
    }
}

#[test]
fn predicates_compare_what_was_written() {
    tells(
        r#"{"/n": {"one_of": [9007199254740993, 123456789012345678901234567890]}}"#,
        &[
            "9007199254740993",
            "9007199254740993.0",
            "9.007199254740993e15",
            "123456789012345678901234567890",
            "12345678901234567890123456789e1",
        ],
        &[
            "9007199254740992",
            "9007199254740992.0",
            "123456789012345678901234567891",
            "1.2345678901234568e29",
            "\"9007199254740993\"",
        ],
    );
    tells(
        r#"{"/n": {"equals": {"a": [0.1]}}}"#,
        &[r#"{"a": [0.10]}"#, r#"{"a": [1e-1]}"#],
        &[r#"{"a": [0.1000000000000000055511151231257827]}"#],
    );
    tells(
        r#"{"/n": {"min": 0.1, "max": 100}}"#,
        &[
            "0.1",
            "100",
            "100.0",
            "1e2",
            "99.99999999999999999999999999",
        ],
        &[
            "100.0000000000000000000000001",
            "0.09999999999999999999999999",
            "1e400",
            "-1e400",
            "18446744073709551616",
        ],
    );
}

#[test]
fn schemas_compare_what_was_written() {
    let of = |schema: &str| format!(r#"{{"schema": {{"properties": {{"n": {schema}}}}}}}"#);
    tells(
        &of(r#"{"type": "integer"}"#),
        &["5", "5.0", "0.5e1", "-0", "1e30"],
        &[
            "5.0000000000000000001",
            "9007199254740993.5",
            "1e-400",
            "1e99999",
        ],
    );
    tells(
        &of(r#"{"enum": [9007199254740993, "x"]}"#),
        &["9007199254740993", "\"x\""],
        &["9007199254740992", "9007199254740992.0"],
    );
    tells(
        &of(r#"{"const": 123456789012345678901234567890}"#),
        &["123456789012345678901234567890"],
        &["123456789012345678901234567891"],
    );
    tells(
        &of(r#"{"type": "number", "minimum": -1e400, "maximum": 100}"#),
        &["100", "-1e400", "-1e399"],
        &[
            "100.0000000000000000000000001",
            "-1.1e400",
            "1e99999",
            "-1e99999",
        ],
    );
}

/// A number beyond the bounds meets nothing, and leaves the rest of the arguments as they are.
#[test]
fn a_number_without_a_value_meets_nothing() {
    let long = format!("1{}", "0".repeat(256));
    tells(r#"{"/n": {"min": 0}}"#, &["1e9999"], &["1e10000", &long]);
    tells(
        r#"{"/m": {"max": 1, "optional": true}}"#,
        &["1e10000", &long],
        &[],
    );
}

#[test]
fn a_document_with_a_number_without_a_value_is_refused() {
    let long = "9".repeat(257);
    for (arguments, path) in [
        (r#"{"/n": {"max": 1e10000}}"#, "/arguments/~1n/max"),
        (
            r#"{"/n": {"equals": [1, {"a": 1e-10000}]}}"#,
            "/arguments/~1n/equals/1/a",
        ),
        (
            &format!(r#"{{"/n": {{"one_of": [{long}]}}}}"#),
            "/arguments/~1n/one_of/0",
        ),
        (
            r#"{"schema": {"minimum": 1e10000}}"#,
            "/arguments/schema/minimum",
        ),
        (
            r#"{"schema": {"enum": [2, 1e10000]}}"#,
            "/arguments/schema/enum/1",
        ),
    ] {
        let text = p(&format!(
            r#""allowed_tools": ["pay"], "arguments": {arguments}"#
        ));
        let errors = CompiledBundle::compile(1, &body(&[("p", &text)], &[])).unwrap_err();
        let found = errors.iter().find(|e| e.path == path);
        let error = found.unwrap_or_else(|| panic!("{path} in:\n{}", listed(&errors)));
        assert_eq!(error.reason(), "policy_number_beyond");
        assert!(error.hint().contains("shorter"), "{}", error.hint());
        assert!(error.to_string().len() < 256, "{error}");
    }
}

#[test]
fn a_difference_beyond_a_double_is_found() {
    let of = |value: &str| {
        let members =
            format!(r#""allowed_tools": ["pay"], "arguments": {{"/n": {{"equals": {value}}}}}"#);
        bundle(&[("p", &p(&members))], &["pay"])
    };
    let (old, new) = (
        of("123456789012345678901234567890"),
        of("123456789012345678901234567899"),
    );
    let found = compare(&old, &new);
    assert!(!found.changes.is_empty(), "{found:?}");
}

#[test]
fn numbers_in_results_are_searched_as_they_are_written() {
    let members =
        r#""allowed_tools": ["shop/get_*"], "on_result": {"deny": ["4[0-9]{19}", "^1e400$"]}"#;
    let documents = one(members, &[]);
    let mut answer = Call::tool("get_it");
    answer.kind = Kind::Response;
    answer.direction = Direction::ToClient;
    let mut says = |number: &str| {
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":1,"result":{{"structuredContent":{{"card":{number}}}}}}}"#
        );
        answer.body = Some(text.into_bytes());
        answer.says(&documents)
    };
    assert_eq!(says("41111111111111112222"), "deny result_denied");
    assert_eq!(says("1e400"), "deny result_denied");
    assert_eq!(says("1e401"), "allow");
    assert_eq!(says("4111"), "allow");
}
