//! An MCP server on standard input and output with something in every list: tools of the names
//! policies are written about, resources, templates and prompts, two to a page.
//!
//! With `--log FILE` it appends a line for every tool that is called.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a fixture that cannot go on should say where"
)]

use std::io::{self, BufRead as _, Write as _};

use serde_json::{Value, json};

/// Items of one page.
const PAGE: usize = 2;

/// Tools, and what their annotations say.
fn tools() -> Vec<Value> {
    let reads = json!({"readOnlyHint": true});
    let changes = json!({"readOnlyHint": false, "destructiveHint": true});
    let named = [
        ("get_product_info", &reads),
        ("check_inventory", &reads),
        ("update_price", &changes),
        ("delete_record", &changes),
        // Its name says one thing, its annotations another.
        ("get_archive", &changes),
        // And one whose annotations are too good to be true.
        ("delete_all", &reads),
    ];
    let tool = |(name, annotations): (&str, &Value)| json!({"name": name, "annotations": annotations, "inputSchema": {"type": "object"}});
    named.into_iter().map(tool).collect()
}

fn items(method: &str) -> Option<(&'static str, Vec<Value>)> {
    let resource = |uri: &str| json!({"uri": uri, "name": uri});
    let template = |uri: &str| json!({"uriTemplate": uri, "name": uri});
    let prompt = |name: &str| json!({ "name": name });
    match method {
        "tools/list" => Some(("tools", tools())),
        "resources/list" => {
            let uris = [
                "file:///shop/products",
                "file:///shop/orders",
                "https://mirror/products",
                // Another way to write that of the orders.
                "file:///shop/p/../orders",
            ];
            Some(("resources", uris.into_iter().map(resource).collect()))
        }
        "resources/templates/list" => {
            let uris = ["file:///shop/{sku}", "db://{table}/rows"];
            Some((
                "resourceTemplates",
                uris.into_iter().map(template).collect(),
            ))
        }
        "prompts/list" => {
            let names = ["greet", "discount", "complain"];
            Some(("prompts", names.into_iter().map(prompt).collect()))
        }
        _ => None,
    }
}

fn result(method: &str, params: &Value, log: Option<&str>) -> Option<Value> {
    if let Some((field, all)) = items(method) {
        let from: usize = params["cursor"].as_str().map_or(0, |c| c.parse().unwrap());
        let page: Vec<&Value> = all.iter().skip(from).take(PAGE).collect();
        let mut result = json!({ field: page });
        if from + PAGE < all.len() {
            result["nextCursor"] = json!((from + PAGE).to_string());
        }
        return Some(result);
    }
    match method {
        "initialize" => Some(json!({
            "protocolVersion": params["protocolVersion"],
            "capabilities": {"tools": {}, "resources": {}, "prompts": {}},
            "serverInfo": {"name": "shop", "version": "1"},
        })),
        "ping" => Some(json!({})),
        "tools/call" => {
            if let Some(log) = log {
                let mut options = std::fs::OpenOptions::new();
                let mut log = options.create(true).append(true).open(log).unwrap();
                writeln!(log, "{}", params["name"].as_str().unwrap()).unwrap();
            }
            Some(json!({"content": [], "called": params["name"]}))
        }
        "resources/read" => Some(json!({"contents": [{"uri": params["uri"], "text": ""}]})),
        "prompts/get" => Some(json!({"messages": []})),
        _ => None,
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let at = arguments.iter().position(|a| a == "--log");
    let log = at.and_then(|at| arguments.get(at + 1)).map(String::as_str);
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        let Ok(message) = serde_json::from_str::<Value>(&line) else {
            continue;
        };
        let (Some(method), id) = (message["method"].as_str(), &message["id"]) else {
            continue;
        };
        if id.is_null() {
            continue;
        }
        let answer = match result(method, &message["params"], log) {
            Some(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
            None => json!({"jsonrpc": "2.0", "id": id,
                "error": {"code": -32601, "message": "no such method"}}),
        };
        let mut out = io::stdout().lock();
        if writeln!(out, "{answer}")
            .and_then(|()| out.flush())
            .is_err()
        {
            break;
        }
    }
}
