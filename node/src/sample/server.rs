//! One message in, at most one out.

use protocol::mcp::{MessageKind, View, error_response, response};
use serde_json::{Value, json};

use super::table::Table;
use super::tools;

/// Versions spoken, newest first; a client that asks for another is offered the newest.
const VERSIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

/// JSON-RPC 2.0's own error codes.
const PARSE_ERROR: i64 = -32700;
const INVALID_REQUEST: i64 = -32600;
const METHOD_NOT_FOUND: i64 = -32601;
const INVALID_PARAMS: i64 = -32602;

/// A request that cannot be answered with a result.
pub(super) struct RpcError {
    code: i64,
    message: String,
}

impl RpcError {
    /// The params are not what the method or the tool takes.
    pub(super) fn invalid_params(message: impl Into<String>) -> Self {
        Self {
            code: INVALID_PARAMS,
            message: message.into(),
        }
    }
}

/// The answer to one message; none to notifications and responses.
pub(super) fn answer(line: &[u8], table: &mut Table) -> Option<Vec<u8>> {
    let view = match View::parse(line) {
        Ok(view) => view,
        Err(e) => {
            let json = matches!(e.reason(), "message_not_json" | "message_not_utf8");
            let code = if json { PARSE_ERROR } else { INVALID_REQUEST };
            return Some(error_response(None, code, &e.to_string(), None));
        }
    };
    if view.kind() != MessageKind::Request {
        return None;
    }
    let id = view.id()?;
    let answered = result(&view, table).and_then(|result| {
        response(id, &result.to_string()).map_err(|e| RpcError {
            code: INVALID_REQUEST,
            message: e.to_string(),
        })
    });
    Some(answered.unwrap_or_else(|e| error_response(Some(id), e.code, &e.message, None)))
}

fn result(view: &View<'_>, table: &mut Table) -> Result<Value, RpcError> {
    match view.method().unwrap_or_default() {
        "initialize" => Ok(initialize(&params(view)?)),
        "ping" => Ok(json!({})),
        "tools/list" => Ok(json!({ "tools": tools::definitions() })),
        "tools/call" => {
            let params = params(view)?;
            let name = params
                .get("name")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let arguments = params
                .get("arguments")
                .cloned()
                .unwrap_or_else(|| json!({}));
            tools::call(name, arguments, table)
        }
        other => Err(RpcError {
            code: METHOD_NOT_FOUND,
            message: format!("method `{other}` not found"),
        }),
    }
}

fn params(view: &View<'_>) -> Result<Value, RpcError> {
    serde_json::from_str(view.params().unwrap_or("{}"))
        .map_err(|e| RpcError::invalid_params(format!("unreadable params: {e}")))
}

fn initialize(params: &Value) -> Value {
    let [newest, ..] = VERSIONS;
    let wanted = params.get("protocolVersion").and_then(Value::as_str);
    let version = VERSIONS
        .into_iter()
        .find(|v| Some(*v) == wanted)
        .unwrap_or(newest);
    json!({
        "protocolVersion": version,
        "capabilities": { "tools": {} },
        "serverInfo": {
            "name": "hedgerow-sample",
            "title": "Hedgerow sample: a garden shop's products",
            "version": env!("CARGO_PKG_VERSION"),
        },
        "instructions": "A small product table. `get_product_info` and `check_inventory` read it, \
                         `update_price` and `delete_record` change it.",
    })
}
