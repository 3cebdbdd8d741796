//! The few messages this node says itself to a server, apart from passing on what clients say.

use bytes::Bytes;
use protocol::mcp::{error_response, notification, request, response};

use super::router::CallId;

/// Towards a server whose request is refused: the code JSON-RPC 2.0 leaves for server errors.
const REFUSED: i64 = -32000;

/// JSON-RPC's "method not found".
const METHOD_NOT_FOUND: i64 = -32601;

/// The version the inventory is read with. Servers answer with the newest they know up to it.
const PROBE_VERSION: &str = "2025-11-25";

/// The refusal of a server's request.
pub(super) fn refusal(raw_id: &str, why: &str) -> Bytes {
    error_response(Some(raw_id), REFUSED, why, None).into()
}

/// The answer to a server that asks the inventory's reader for something.
pub(super) fn not_offered(raw_id: &str) -> Bytes {
    error_response(
        Some(raw_id),
        METHOD_NOT_FOUND,
        "this client only reads lists",
        None,
    )
    .into()
}

/// An empty list of roots.
pub(super) fn no_roots(raw_id: &str) -> Option<Bytes> {
    response(raw_id, r#"{"roots":[]}"#).ok().map(Bytes::from)
}

/// An empty result, as `ping` wants it.
pub(super) fn empty(raw_id: &str) -> Option<Bytes> {
    response(raw_id, "{}").ok().map(Bytes::from)
}

/// `notifications/initialized`.
pub(super) fn initialized() -> Option<Bytes> {
    notification("notifications/initialized", None)
        .ok()
        .map(Bytes::from)
}

/// `notifications/cancelled` for a call whose caller is gone.
pub(super) fn cancelled(id: CallId) -> Option<Bytes> {
    let params = format!(r#"{{"requestId":{id},"reason":"the caller is gone"}}"#);
    notification("notifications/cancelled", Some(&params))
        .ok()
        .map(Bytes::from)
}

/// `initialize` of the inventory's reader. It declares what clients commonly can, because
/// servers show some tools only to clients that can serve them; it serves none of it.
pub(super) fn probe_initialize() -> Option<Bytes> {
    let params = format!(
        r#"{{"protocolVersion":"{PROBE_VERSION}","capabilities":{{"sampling":{{}},"elicitation":{{}},"roots":{{"listChanged":true}}}},"clientInfo":{{"name":"hedgerow","version":"{}"}}}}"#,
        env!("CARGO_PKG_VERSION")
    );
    request("0", "initialize", Some(&params))
        .ok()
        .map(Bytes::from)
}

/// One page of a list.
pub(super) fn list_page(id: u64, method: &str, cursor_raw: Option<&str>) -> Option<Bytes> {
    let params = cursor_raw.map(|cursor| format!(r#"{{"cursor":{cursor}}}"#));
    request(&id.to_string(), method, params.as_deref())
        .ok()
        .map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::mcp::View;

    #[test]
    fn every_message_is_one() {
        let all = [
            Some(refusal("7", "a \"quoted\" why")),
            Some(not_offered("\"x\"")),
            no_roots("1"),
            empty("1"),
            initialized(),
            cancelled(3),
            probe_initialize(),
            list_page(4, "tools/list", None),
            list_page(4, "tools/list", Some("\"next\"")),
        ];
        for message in all {
            View::parse(&message.unwrap()).unwrap();
        }
    }
}
