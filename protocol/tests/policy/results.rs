//! What `on_result.deny` looks at: what a message says, and not how JSON-RPC carries it.

use protocol::envelope::{Direction, Kind};

use crate::world::{Call, one};

/// What a document with these patterns says of a message of the server within a call.
fn says(patterns: &str, message: &str) -> String {
    let members =
        format!(r#""allowed_tools": ["shop/get_*"], "on_result": {{"deny": {patterns}}}"#);
    let mut answer = Call::tool("get_it");
    answer.kind = Kind::Response;
    answer.direction = Direction::ToClient;
    answer.body = Some(message.as_bytes().to_vec());
    answer.says(&one(&members, &[]))
}

#[test]
fn what_json_rpc_itself_needs_is_not_searched() {
    for message in [
        r#"{"jsonrpc":"2.0","id":1000,"result":{"a":"fine"}}"#,
        r#"{"jsonrpc":"2.0","id":"1000","result":{"a":"fine"}}"#,
        r#"{"jsonrpc":"2.0","id":1000,"error":{"code":1000,"message":"fine","data":"fine"}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"fine"}}"#,
        r#"{"jsonrpc":"2.0","id":1000,"method":"sampling/createMessage","params":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"roots/list","params":{"_meta":{"progressToken":1000}}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1000,"progress":1}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"1000"}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1000}}"#,
    ] {
        let patterns = r#"["^1000$", "^2\\.0$", "^(progressToken|requestId|jsonrpc|id|method|result|params|error|code|message|data)$", "^(notifications|sampling)/"]"#;
        assert_eq!(says(patterns, message), "allow", "{message}");
    }
}

#[test]
fn what_a_message_says_is_searched_wherever_it_stands() {
    for message in [
        r#"{"jsonrpc":"2.0","id":1,"result":{"a":"1000"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"a":[1000]}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"1000":null}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"id":"1000","error":{"code":1}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"error":{"code":1000}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"1000"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"m","data":{"x":1000}}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"1000"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{"message":"1000"}}"#,
        // Only where MCP relates messages by it is it no content.
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1000}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":["1000"]}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"requestId":1000}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"progressToken":1000}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"reason":"1000"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"roots/list","params":{"_meta":{"x":1000}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"roots/list","params":{"a":{"_meta":{"progressToken":1000}}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"_meta":{"progressToken":1000}}}"#,
        // Members that JSON-RPC does not know could carry anything.
        r#"{"jsonrpc":"2.0","id":1,"result":{},"more":"1000"}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{},"1000":1}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"m","id":1000}}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"m","1000":1}}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"error":{"code":1000}}}"#,
        // What cannot be read could say anything.
        r#"{"jsonrpc":"2.0","id":1,"result":{"#,
        "",
    ] {
        let patterns = r#"["^1000$"]"#;
        assert_eq!(says(patterns, message), "deny result_denied", "{message}");
    }
}

/// As docs/policy.md says: each text is searched by itself and as it stands.
#[test]
fn what_is_divided_encoded_or_alike_passes() {
    let patterns = r#"["secret", "\"pin\":"]"#;
    let of =
        |texts: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"content":[{texts}]}}}}"#);
    for texts in [
        r#""the secret is""#,
        r#""s\u0065cret""#,
        r#""{\"pin\": 1}""#,
    ] {
        assert_eq!(says(patterns, &of(texts)), "deny result_denied", "{texts}");
    }
    for texts in [
        r#""sec","ret""#,
        r#""s\\u0065cret""#,
        r#""c2VjcmV0""#,
        "\"s\u{435}cret\"",
        r#"{"pin": 1}"#,
    ] {
        assert_eq!(says(patterns, &of(texts)), "allow", "{texts}");
    }
}
