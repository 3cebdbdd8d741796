//! Every refusal by its name, every token where it should be found, and the properties that
//! splicing and the canonical form promise, against serde_json as the other reader.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::limits;

fn parse(text: &str) -> Result<View<'_>, McpError> {
    View::parse(text.as_bytes())
}

fn reason(text: &str) -> &'static str {
    parse(text).err().map_or("accepted", |e| e.reason())
}

/// A request whose params are `params`.
fn call(params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"x/y","params":{params}}}"#)
}

#[test]
fn every_refusal_has_its_reason() {
    let deep = |n: usize| call(&format!("{{\"a\":{}1{}}}", "[".repeat(n), "]".repeat(n)));
    let with_id = |id: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
    let with_method = |m: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":{m}}}"#);
    let long = |n: usize| format!("\"{}\"", "a".repeat(n));
    let many: String = (0..40).map(|i| format!("\"k{i}\":0,")).collect();
    let uri = long(limits::MAX_TARGET_BYTES + 1);
    for (text, expected) in [
        ("", "message_not_json"),
        ("  ", "message_not_json"),
        ("nul", "message_not_json"),
        ("\u{feff}{}", "message_not_utf8"),
        ("[]", "batch_refused"),
        (r#"[{"jsonrpc":"2.0","method":"a"}]"#, "batch_refused"),
        ("7", "message_not_object"),
        ("\"{}\"", "message_not_object"),
        (r#"{"jsonrpc":"2.0","method":"a"} x"#, "trailing_bytes"),
        (r#"{"jsonrpc":"2.0","method":"a"}{}"#, "trailing_bytes"),
        (r#"{"jsonrpc":"2.0","method":"a""#, "message_not_json"),
        (r#"{"jsonrpc":"2.0","method":"a",}"#, "message_not_json"),
        (r#"{"jsonrpc":"2.0",'method':"a"}"#, "message_not_json"),
        (&call("{\"a\":01}"), "message_not_json"),
        (&call("{\"a\":1.}"), "message_not_json"),
        (&call("{\"a\":.5}"), "message_not_json"),
        (&call("{\"a\":+1}"), "message_not_json"),
        (&call("{\"a\":1e}"), "message_not_json"),
        (&call("{\"a\":-}"), "message_not_json"),
        (&call("{\"a\":NaN}"), "message_not_json"),
        (&call("{\"a\":[1,]}"), "message_not_json"),
        (&call("{\"a\":[1 2]}"), "message_not_json"),
        (&call("{\"a\":\"\n\"}"), "message_not_json"),
        (&call("{\"a\":\"\0\"}"), "message_not_json"),
        (&call(r#"{"a":"\x"}"#), "message_not_json"),
        (&call(r#"{"a":"\u12g4"}"#), "message_not_json"),
        (&call(r#"{"a":"\ud800"}"#), "lone_surrogate"),
        (&call(r#"{"a":"\ude00"}"#), "lone_surrogate"),
        (&call(r#"{"a":"\ud83d\u0041"}"#), "lone_surrogate"),
        (&call(r#"{"\ud83dx":1}"#), "lone_surrogate"),
        (&deep(127), "nested_too_deep"),
        (&deep(10_000), "nested_too_deep"),
        (&call(r#"{"a":1,"a":1}"#), "duplicate_key"),
        (&call(r#"{"a":1,"\u0061":1}"#), "duplicate_key"),
        (
            &call(r#"{"x":[{"y":{"a":1,"b":2,"a":3}}]}"#),
            "duplicate_key",
        ),
        (&call(&format!("{{{many}\"k7\":0}}")), "duplicate_key"),
        (&call(&format!("{{{many}\"\\u006b7\":0}}")), "duplicate_key"),
        (
            r#"{"jsonrpc":"2.0","method":"a","\u006dethod":"b"}"#,
            "duplicate_key",
        ),
        (r#"{"method":"a"}"#, "jsonrpc_version"),
        (r#"{"jsonrpc":"1.0","method":"a"}"#, "jsonrpc_version"),
        (r#"{"jsonrpc":2.0,"method":"a"}"#, "jsonrpc_version"),
        (&with_method("7"), "method_not_string"),
        (&with_method("null"), "method_not_string"),
        (&with_method("\"\""), "method_characters"),
        (&with_method("\"a b\""), "method_characters"),
        (&with_method("\"a\\u0000\""), "method_characters"),
        (
            &with_method(&long(limits::MAX_METHOD_BYTES + 1)),
            "method_too_long",
        ),
        (&with_id("null"), "id_null"),
        (&with_id("1.0"), "id_float"),
        (&with_id("1e3"), "id_float"),
        (&with_id("true"), "id_kind"),
        (&with_id("[1]"), "id_kind"),
        (&with_id("{}"), "id_kind"),
        (&with_id(&long(MAX_ID_BYTES)), "id_too_long"),
        (&with_id(&"9".repeat(MAX_ID_BYTES + 1)), "id_too_long"),
        (r#"{"jsonrpc":"2.0","id":1}"#, "message_without_kind"),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"a","result":{}}"#,
            "message_ambiguous",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"error":{},"result":{}}"#,
            "message_ambiguous",
        ),
        (r#"{"jsonrpc":"2.0","result":{}}"#, "response_without_id"),
        (&call("[]"), "params_not_object"),
        (&call("\"a\""), "params_not_object"),
        (
            r#"{"jsonrpc":"2.0","id":1,"error":"no"}"#,
            "error_not_object",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#,
            "target_missing",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":7}}"#,
            "target_missing",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"x":{"name":"a"}}}"#,
            "target_missing",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"type":"x","name":"a"}}}"#,
            "target_missing",
        ),
        (
            r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"a"}}"#,
            "target_without_id",
        ),
        (
            &format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{{"uri":{uri}}}}}"#
            ),
            "target_too_long",
        ),
        (&call(r#"{"_meta":{"progressToken":1.5}}"#), "id_float"),
        (&call(r#"{"_meta":{"progressToken":[]}}"#), "id_kind"),
        (
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":null}}"#,
            "id_null",
        ),
        (
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":{}}}"#,
            "id_kind",
        ),
    ] {
        assert_eq!(
            reason(text),
            expected,
            "{}",
            text.chars().take(200).collect::<String>()
        );
    }
}

#[test]
fn sizes_and_encodings_are_bounded() {
    let pad = |n: usize| {
        let empty = call("{\"a\":\"\"}").len();
        call(&format!("{{\"a\":\"{}\"}}", "x".repeat(n - empty)))
    };
    assert_eq!(reason(&pad(limits::MAX_MESSAGE_BYTES)), "accepted");
    assert_eq!(
        reason(&pad(limits::MAX_MESSAGE_BYTES + 1)),
        "message_too_large"
    );
    let bad = b"{\"jsonrpc\":\"2.0\",\"method\":\"a\xff\"}";
    assert_eq!(View::parse(bad).err(), Some(McpError::NotUtf8 { at: 28 }));
    let marked = "\u{feff}{}".as_bytes();
    assert_eq!(View::parse(marked).err(), Some(McpError::ByteOrderMark));
    // An overlong encoding of `"` and a surrogate in UTF-8 are no UTF-8.
    for bad in [&b"{\"a\xc0\xa2:1}"[..], &b"{\"\xed\xa0\x80\":1}"[..]] {
        assert!(matches!(View::parse(bad), Err(McpError::NotUtf8 { .. })));
    }
}

#[test]
fn what_json_allows_is_accepted() {
    for text in [
        " \t\r\n{ \"jsonrpc\" : \"2.0\" , \"method\" : \"a\" } \n",
        r#"{"jsonrpc":"\u0032.0","\u0069d":-0,"method":"pi\u006eg","params":null}"#,
        &call(r#"{"a":"\u0000\ud83d\ude00\/\b","b":[1E+9,-0.5e-3,1e999,{}],"":{"a":{"a":1}}}"#),
        &call(&format!("{{\"a\":{}{}}}", "[".repeat(125), "]".repeat(125))),
        r#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"x"}}"#,
        r#"{"jsonrpc":"2.0","id":"","result":null}"#,
        &call(r#"{"_meta":{"progressToken":null},"requestId":[],"progressToken":1.5,"name":7}"#),
    ] {
        assert_eq!(reason(text), "accepted", "{text}");
    }
}

#[test]
fn tokens_are_found() {
    let text = r#"{"params":{"_meta":{"progressToken":"p\u0031","io.modelcontextprotocol/protocolVersion":"2026-07-28"},"arguments":{"name":"no","_meta":{"progressToken":9}},"name":"a\u005fb"},"method":"tools/call","id":"i","jsonrpc":"2.0","vendor":1}"#;
    let view = parse(text).unwrap();
    assert_eq!(view.kind(), MessageKind::Request);
    assert_eq!(
        (view.id(), view.method()),
        (Some("\"i\""), Some("tools/call"))
    );
    assert_eq!(view.progress_token(), Some(r#""p\u0031""#));
    assert_eq!(view.meta_protocol_version().as_deref(), Some("2026-07-28"));
    let target = view.target().unwrap();
    assert_eq!((target.what, &*target.name), (TargetKind::Tool, "a_b"));
    assert!(view.params().unwrap().starts_with("{\"_meta\""));
    assert_eq!(
        (view.result(), view.error(), view.cancelled_id()),
        (None, None, None)
    );

    let text = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":12}}"#;
    let view = parse(text).unwrap();
    assert_eq!(
        (view.kind(), view.cancelled_id()),
        (MessageKind::Notification, Some("12"))
    );
    let text =
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t"}}"#;
    assert_eq!(parse(text).unwrap().progress_of(), Some("\"t\""));
    let view = parse(r#"{"jsonrpc":"2.0","id":3,"result":{"a":1}}"#).unwrap();
    assert_eq!(
        (view.kind(), view.result()),
        (MessageKind::Response, Some("{\"a\":1}"))
    );
    let view = parse(r#"{"jsonrpc":"2.0","id":3,"error":{"code":1}}"#).unwrap();
    assert_eq!(
        (view.kind(), view.error()),
        (MessageKind::ErrorResponse, Some("{\"code\":1}"))
    );
}

#[test]
fn every_target_is_found_where_mcp_has_it() {
    for (method, params, what, name) in [
        ("prompts/get", r#"{"name":"p"}"#, TargetKind::Prompt, "p"),
        (
            "resources/read",
            r#"{"uri":"u:1"}"#,
            TargetKind::Resource,
            "u:1",
        ),
        (
            "resources/subscribe",
            r#"{"uri":"u:1"}"#,
            TargetKind::Resource,
            "u:1",
        ),
        (
            "resources/unsubscribe",
            r#"{"uri":"u:1"}"#,
            TargetKind::Resource,
            "u:1",
        ),
        (
            "completion/complete",
            r#"{"ref":{"type":"ref/prompt","name":"p"}}"#,
            TargetKind::RefPrompt,
            "p",
        ),
        (
            "completion/complete",
            r#"{"ref":{"type":"ref/resource","uri":"u:{x}"}}"#,
            TargetKind::RefResource,
            "u:{x}",
        ),
    ] {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        let view = parse(&text).unwrap();
        let target = view.target().unwrap();
        assert_eq!((target.what, &*target.name), (what, name), "{method}");
        let spliced = view.splice(&[Edit::Target("\"new\"")]).unwrap();
        assert_eq!(View::parse(&spliced).unwrap().target().unwrap().name, "new");
    }
}

#[test]
fn edits_are_of_the_kind_that_stands_there() {
    let text = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}"#;
    let view = parse(text).unwrap();
    let refused = |edit| view.splice(&[edit]).unwrap_err().reason();
    for raw in [
        "",
        " 2",
        "2 ",
        "2,\"x\":3",
        "1,",
        "{",
        "\"a",
        "\"\\ud800\"",
        "tru",
    ] {
        assert_eq!(refused(Edit::Id(raw)), "bad_replacement", "{raw}");
    }
    assert_eq!(refused(Edit::Id("null")), "id_null");
    assert_eq!(refused(Edit::Id("1.0")), "id_float");
    assert_eq!(refused(Edit::Target("7")), "bad_replacement");
    assert_eq!(refused(Edit::ProgressToken("7")), "nothing_to_replace");
    assert_eq!(refused(Edit::ProgressOf("7")), "nothing_to_replace");
    assert_eq!(refused(Edit::CancelledId("7")), "nothing_to_replace");
    let both = view
        .splice(&[Edit::Target("\"b\""), Edit::Id("\"z\""), Edit::Id("22")])
        .unwrap();
    let expected = r#"{"jsonrpc":"2.0","id":22,"method":"tools/call","params":{"name":"b"}}"#;
    assert_eq!(String::from_utf8(both).unwrap(), expected);
}

#[test]
fn single_splices_replace_their_token_only() {
    let call = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","_meta":{"progressToken":1}}}"#;
    let text = |bytes: Result<Vec<u8>, McpError>| String::from_utf8(bytes.unwrap()).unwrap();
    let original = text(Ok(call.to_vec()));
    assert_eq!(
        text(splice_id(call, "7")),
        original.replace("\"id\":1", "\"id\":7")
    );
    assert_eq!(
        text(splice_target(call, "\"b\"")),
        original.replace("\"a\"", "\"b\"")
    );
    let token = text(splice_progress_token(call, "\"t\""));
    assert_eq!(token, original.replace("Token\":1", "Token\":\"t\""));
    let progress =
        br#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1}}"#;
    assert!(text(splice_progress_of(progress, "5")).ends_with("\"progressToken\":5}}"));
    let cancel =
        br#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    assert!(text(splice_cancelled_id(cancel, "5")).ends_with("\"requestId\":5}}"));
}

#[test]
fn ids_are_compared_by_value() {
    assert!(same_id("\"a\"", "\"\\u0061\""));
    assert!(same_id("1", "1"));
    assert!(!same_id("1", "\"1\""));
    assert!(!same_id("1", "2"));
    assert!(!same_id("\"a\"", "\"a\"x"));
}

#[test]
fn built_messages_are_safe_json() {
    let message = request("7", "tools/list", Some(r#"{"cursor":"x"}"#)).unwrap();
    assert_eq!(
        message,
        br#"{"jsonrpc":"2.0","id":7,"method":"tools/list","params":{"cursor":"x"}}"#
    );
    assert_eq!(
        notification("notifications/initialized", None).unwrap(),
        br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#
    );
    assert_eq!(
        response("\"a\"", "{}").unwrap(),
        br#"{"jsonrpc":"2.0","id":"a","result":{}}"#
    );
    assert!(request("1,\"x\":2", "ping", None).is_err());
    assert!(request("1", "ping", Some("{},\"x\":2")).is_err());
    assert!(request("1", "ping", Some("[]")).is_err());
    assert!(
        request("1", "a\",\"b", None)
            .is_ok_and(|m| { View::parse(&m).unwrap().method() == Some("a\",\"b") })
    );
    assert!(response("1", "{},\"x\":2").is_err());
    assert!(response("null", "{}").is_err());
}

#[test]
fn an_error_response_never_fails() {
    let read = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
    let full = error_response(
        Some("\"a\""),
        -32050,
        "no \"way\"\n\u{1}",
        Some("{\"hint\":1}"),
    );
    assert_eq!(
        read(&full),
        json!({"jsonrpc":"2.0","id":"a","error":{"code":-32050,"message":"no \"way\"\n\u{1}","data":{"hint":1}}})
    );
    let deep = format!("{}{}", "[".repeat(126), "]".repeat(126));
    for (id, data) in [
        (Some("null"), Some("1,\"x\":2")),
        (Some("1,\"x\":2"), Some("{\"a\":1,\"a\":2}")),
        (Some(""), Some("]")),
        (Some("1.5"), Some("1],[2")),
        (None, Some("")),
        (None, Some(&*format!("[{deep}]"))),
        (Some("1"), Some(&*deep)),
    ] {
        let built = error_response(id, 1, "m", data);
        assert_eq!(
            View::parse(&built).unwrap().kind(),
            MessageKind::ErrorResponse
        );
    }
}

#[test]
fn one_line_changes_white_space_only() {
    let text = "\n{\"jsonrpc\":\"2.0\",\r\n \"method\":\"a\",\"params\":{\"x\":\"\\n\"}}\r\n";
    let view = parse(text).unwrap();
    let line = one_line(&view);
    assert!(!line.iter().any(|b| matches!(b, b'\r' | b'\n')));
    let value = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
    assert_eq!(value(&line), value(text.as_bytes()));
}

const LIST: &str = "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{ \"tools\" : [ {\"x\":1.0,\"name\":\"a\"} , {\"name\":\"b\\u0021\", \"inputSchema\":{\"name\":\"no\"}} ],\"nextCursor\":\"c\",\"_meta\":{}}}";

#[test]
fn list_items_are_read() {
    let view = parse(LIST).unwrap();
    let list = list_items(&view, ListKind::Tools).unwrap();
    let names: Vec<&str> = list.items.iter().map(|i| &*i.name).collect();
    assert_eq!(names, ["a", "b!"]);
    assert_eq!(list.items[0].raw, "{\"x\":1.0,\"name\":\"a\"}");
    assert_eq!(list.next_cursor, Some("\"c\""));
    assert_eq!(
        list_items(&view, ListKind::Prompts).unwrap_err().reason(),
        "not_a_list"
    );
    for (item, expected) in [
        ("7", "nameless_item"),
        ("{}", "nameless_item"),
        ("{\"name\":null}", "nameless_item"),
        (
            &format!(
                "{{\"name\":\"{}\"}}",
                "a".repeat(limits::MAX_TARGET_BYTES + 1)
            ),
            "target_too_long",
        ),
    ] {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":[{item}]}}}}"#);
        let view = parse(&text).unwrap();
        assert_eq!(
            list_items(&view, ListKind::Tools).unwrap_err().reason(),
            expected
        );
    }
    for kind in [
        ListKind::Tools,
        ListKind::Prompts,
        ListKind::Resources,
        ListKind::ResourceTemplates,
    ] {
        assert_eq!(ListKind::of_method(kind.method()), Some(kind));
        let (field, name) = (kind.field(), kind.name_field());
        let text =
            format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"{field}":[{{"{name}":"n"}}]}}}}"#);
        let renamed = rename_items(text.as_bytes(), kind, |n| format!("x__{n}")).unwrap();
        assert_eq!(
            String::from_utf8(renamed).unwrap(),
            text.replace("\"n\"", "\"x__n\"")
        );
    }
}

#[test]
fn renaming_leaves_all_other_bytes() {
    let renamed = rename_items(LIST.as_bytes(), ListKind::Tools, |n| format!("n__s__{n}")).unwrap();
    let expected = LIST
        .replace("\"a\"", "\"n__s__a\"")
        .replace("\"b\\u0021\"", "\"n__s__b!\"");
    assert_eq!(String::from_utf8(renamed).unwrap(), expected);
    let without = rewrite_items(LIST.as_bytes(), ListKind::Tools, |item| match &*item.name {
        "a" => ItemChange::Remove,
        _ => ItemChange::Rename("z\"".to_owned()),
    });
    let without = String::from_utf8(without.unwrap()).unwrap();
    assert!(
        without.contains("\"tools\" : [{\"name\":\"z\\\"\", \"inputSchema\""),
        "{without}"
    );
    let huge = "x".repeat(limits::MAX_MESSAGE_BYTES);
    let refused = rename_items(LIST.as_bytes(), ListKind::Tools, |_| huge.clone());
    assert_eq!(refused.unwrap_err().reason(), "message_too_large");
}

#[test]
fn lists_are_merged_in_order() {
    let other = r#"{"jsonrpc":"2.0","id":9,"result":{"tools":[{"name":"c"}]}}"#;
    let none = r#"{"jsonrpc":"2.0","id":9,"result":{"tools":[]}}"#;
    let parts = [none.as_bytes(), LIST.as_bytes(), other.as_bytes()];
    let merged = merge_lists(ListKind::Tools, "\"m\"", &parts).unwrap();
    let view = View::parse(&merged).unwrap();
    assert_eq!(view.id(), Some("\"m\""));
    let list = list_items(&view, ListKind::Tools).unwrap();
    let names: Vec<&str> = list.items.iter().map(|i| &*i.name).collect();
    assert_eq!((names, list.next_cursor), (vec!["a", "b!", "c"], None));
    assert!(merge_lists(ListKind::Tools, "1,2", &parts).is_err());
    assert!(merge_lists(ListKind::Prompts, "1", &parts).is_err());
    let big = format!(
        r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":[{{"name":"a","d":"{}"}}]}}}}"#,
        "x".repeat(3 << 20)
    );
    let refused = merge_lists(ListKind::Tools, "1", &[big.as_bytes(), big.as_bytes()]);
    assert_eq!(refused.unwrap_err().reason(), "message_too_large");
}

#[test]
fn the_canonical_form_is_fixed() {
    for (raw, expected) in [
        (" { \"b\" : 1 , \"a\" : [ ] } ", r#"{"a":[],"b":1}"#),
        (
            r#"{"b":{"z":1.0,"y":-0e1},"a":[true,null,"\u0061\/\u001F\u007f\t"]}"#,
            "{\"a\":[true,null,\"a/\\u001f\u{7f}\\t\"],\"b\":{\"y\":-0e1,\"z\":1.0}}",
        ),
        // Bytewise by UTF-8: U+FF5E sorts before U+1F600, unlike in UTF-16.
        (
            "{\"\u{1f600}\":1,\"\u{ff5e}\":2,\"\":3}",
            "{\"\":3,\"\u{ff5e}\":2,\"\u{1f600}\":1}",
        ),
        ("{}", "{}"),
        ("\"\\ud83d\\ude00\"", "\"\u{1f600}\""),
    ] {
        assert_eq!(
            String::from_utf8(canonical(raw).unwrap()).unwrap(),
            expected
        );
    }
    let refused = |raw: &str| canonical(raw).unwrap_err().reason();
    assert_eq!(refused(r#"{"a":1,"\u0061":2}"#), "duplicate_key");
    assert_eq!(refused(r#"{"b":1,"a":1,"b":2}"#), "duplicate_key");
    assert_eq!(refused("1 2"), "trailing_bytes");
    assert_eq!(refused(""), "message_not_json");
    assert_eq!(refused(&"[".repeat(200)), "nested_too_deep");
    assert_eq!(
        refused(&" ".repeat(MAX_CANONICAL_BYTES + 1)),
        "message_too_large"
    );
}

/// Keeps what is hashed, so that the bytes under a digest can be looked at.
#[derive(Default)]
struct Recorder(std::sync::Mutex<Vec<u8>>);

impl crate::crypto::Crypto for Recorder {
    fn sha256(&self, parts: &[&[u8]]) -> [u8; 32] {
        *self.0.lock().unwrap() = parts.concat();
        [7; 32]
    }

    fn verify(
        &self,
        _: crate::crypto::Algorithm,
        _: &[u8],
        _: &[u8],
        _: &[u8],
    ) -> Result<(), crate::crypto::CryptoError> {
        Err(crate::crypto::CryptoError::BadSignature)
    }

    fn fill_random(&self, _: &mut [u8]) -> Result<(), crate::crypto::CryptoError> {
        Err(crate::crypto::CryptoError::NoRandomness)
    }
}

#[test]
fn a_tool_digest_is_over_label_and_canonical_form() {
    // Its SHA-256 stands with the sample server's tests, which have real primitives.
    let raw = r#" {"name":"add", "inputSchema":{"type":"object","properties":{"a":{"type":"number","minimum":1.0}}},"description":"Adds a\/b \u00e9"}"#;
    let recorder = Recorder::default();
    let digest = tool_digest(&recorder, raw).unwrap();
    assert_eq!(digest.as_bytes(), &[7; 32]);
    let form = "{\"description\":\"Adds a/b \u{e9}\",\"inputSchema\":{\"properties\":{\"a\":{\"minimum\":1.0,\"type\":\"number\"}},\"type\":\"object\"},\"name\":\"add\"}";
    let mut expected = b"\0\0\0\x17hedgerow/v1/tool-digest\0\0\0\x7d".to_vec();
    expected.extend_from_slice(form.as_bytes());
    assert_eq!(*recorder.0.lock().unwrap(), expected);
    assert!(tool_digest(&recorder, "{\"a\":1,\"a\":1}").is_err());
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i32>().prop_map(|n| Value::from(f64::from(n) / 8.0)),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 48, 20, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::btree_map(any::<String>(), inner, 0..20)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

/// JSON text of `value` with every choice that JSON leaves made by `seed`: member order, white
/// space, escapes.
fn write_freely(value: &Value, seed: &mut u64, out: &mut String) {
    let mut choice = |n: u64| {
        *seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (*seed >> 33) % n
    };
    out.push_str([" ", "", "\n\t", "\r"][choice(4) as usize]);
    match value {
        Value::String(text) => {
            out.push('"');
            for c in text.chars() {
                let mut units = [0_u16; 2];
                if choice(3) == 0 || c < ' ' || c == '"' || c == '\\' {
                    for unit in c.encode_utf16(&mut units) {
                        out.push_str(&format!("\\u{unit:04X}"));
                    }
                } else {
                    out.push(c);
                }
            }
            out.push('"');
        }
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i == 0 { "" } else { "," });
                write_freely(item, seed, out);
                out.push(' ');
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            let turn = choice(members.len().max(1) as u64) as usize;
            members.rotate_left(turn);
            out.push('{');
            for (i, (key, member)) in members.into_iter().enumerate() {
                out.push_str(if i == 0 { "" } else { "," });
                write_freely(&Value::from(key.as_str()), seed, out);
                out.push_str(" :");
                write_freely(member, seed, out);
            }
            out.push('}');
        }
        other => out.push_str(&other.to_string()),
    }
}

fn raw_id() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        "[a-z\"\\\\é]{0,12}".prop_map(|s| quote(&s)),
    ]
}

proptest! {
    #[test]
    fn splicing_is_exact_and_reversible(
        params in json_value(), extra in json_value(), name in any::<String>(),
        id in raw_id(), token in raw_id(), new_id in raw_id(), new_token in raw_id(),
        new_name in any::<String>(), mut seed in any::<u64>(),
    ) {
        let value = |raw: &str| serde_json::from_str::<Value>(raw).unwrap();
        let message = json!({
            "jsonrpc": "2.0", "id": value(&id), "method": "tools/call", "zz": extra,
            "params": {"name": name, "arguments": params, "_meta": {"progressToken": value(&token)}},
        });
        let mut text = String::new();
        write_freely(&message, &mut seed, &mut text);
        let view = View::parse(text.as_bytes()).unwrap();
        let (old_id, old_token) = (view.id().unwrap(), view.progress_token().unwrap());
        let at = view.target_slot.unwrap();
        let old_name = &text[at.start..at.end];

        let quoted = quote(&new_name);
        let edits = [Edit::Target(&quoted), Edit::Id(&new_id), Edit::ProgressToken(&new_token)];
        let spliced = view.splice(&edits).unwrap();
        let after = View::parse(&spliced).unwrap();
        prop_assert_eq!(after.id(), Some(&*new_id));
        prop_assert_eq!(after.progress_token(), Some(&*new_token));
        prop_assert_eq!(&after.target().unwrap().name, &new_name);
        let mut expected = message;
        expected["id"] = value(&new_id);
        expected["params"]["name"] = Value::from(new_name);
        expected["params"]["_meta"]["progressToken"] = value(&new_token);
        prop_assert_eq!(value(after.text()), expected);

        let undo = [Edit::Id(old_id), Edit::ProgressToken(old_token), Edit::Target(old_name)];
        prop_assert_eq!(after.splice(&undo).unwrap(), text.as_bytes());
    }

    #[test]
    fn the_canonical_form_depends_on_the_value_only(
        value in json_value(), mut one in any::<u64>(), mut two in any::<u64>(),
    ) {
        let (mut a, mut b) = (String::new(), String::new());
        write_freely(&value, &mut one, &mut a);
        write_freely(&value, &mut two, &mut b);
        let form = canonical(&a).unwrap();
        prop_assert_eq!(&form, &canonical(&b).unwrap());
        // serde_json sorts members bytewise too and writes no white space.
        prop_assert_eq!(core::str::from_utf8(&form).unwrap(), value.to_string());
        prop_assert_eq!(canonical(core::str::from_utf8(&form).unwrap()).unwrap(), form);
    }

    #[test]
    fn what_is_accepted_other_readers_read_alike(mut text in "[{}\\[\\]\",:0-9a-f\\\\u \u{e9}.eE+-]{0,40}", at in 0..60_usize, mut seed in any::<u64>(), value in json_value()) {
        // Nearly valid: a valid text with a small cut replaced by noise.
        let mut valid = String::new();
        write_freely(&value, &mut seed, &mut valid);
        let cut: String = valid.chars().take(at).collect();
        let rest: String = valid.chars().skip(at + 1).collect();
        text.truncate(text.char_indices().nth(2).map_or(text.len(), |(i, _)| i));
        for candidate in [format!("{cut}{text}{rest}"), text, cut, valid] {
            if let Ok(form) = canonical(&candidate) {
                let read: Result<Value, _> = serde_json::from_str(&candidate);
                match read {
                    Ok(read) => prop_assert_eq!(read, serde_json::from_slice::<Value>(&form).unwrap()),
                    // serde_json refuses numbers no f64 holds.
                    Err(e) => prop_assert!(e.to_string().contains("out of range"), "{}", e),
                }
            }
        }
    }

    #[test]
    fn no_bytes_break_the_parser(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = View::parse(&bytes);
        let _ = canonical(&String::from_utf8_lossy(&bytes));
    }
}
