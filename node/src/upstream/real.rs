//! Any real server, by hand: ignored unless asked for.
//!
//! ```text
//! HEDGEROW_TEST_SPEC='{"command":{"argv":["mcp-server-git"]}}' \
//! HEDGEROW_TEST_CALLS='[["tools/list",{}],["tools/call",{"name":"x","arguments":{}}]]' \
//! cargo test -p node upstream::real -- --ignored --nocapture
//! ```

use std::io::Write;
use std::time::Instant;

use bytes::Bytes;
use serde_json::{Value, json};

use super::tests::{name, upstreams, within};
use super::{Limits, ServerSpec};

fn show(line: &str) {
    writeln!(std::io::stderr(), "{line:.1000}").unwrap();
}

/// Answers the server as a client with sampling, elicitation and roots would.
fn answer(request: &Value) -> Option<Bytes> {
    let result = match request["method"].as_str()? {
        "sampling/createMessage" => json!({"role": "assistant", "model": "none",
            "content": {"type": "text", "text": "sampled"}}),
        "elicitation/create" => json!({"action": "decline"}),
        "roots/list" => json!({"roots": [{"uri": "file:///tmp", "name": "tmp"}]}),
        "ping" => json!({}),
        _ => return None,
    };
    let id = request.get("id")?;
    let response = json!({"jsonrpc": "2.0", "id": id, "result": result});
    Some(Bytes::from(response.to_string()))
}

#[tokio::test]
#[ignore = "needs HEDGEROW_TEST_SPEC, a server to attach"]
async fn speak_with_a_real_server() {
    let Ok(spec) = std::env::var("HEDGEROW_TEST_SPEC") else {
        return show("skipped: HEDGEROW_TEST_SPEC is not set");
    };
    let calls = std::env::var("HEDGEROW_TEST_CALLS").unwrap_or_else(|_| "[]".into());
    let spec: ServerSpec = serde_json::from_str(&spec).unwrap();
    let calls: Vec<(String, Value)> = serde_json::from_str(&calls).unwrap();
    let upstreams = upstreams(Limits::default(), spec);
    let mut changes = upstreams.changes();
    within(changes.wait_for(|_| upstreams.inventory(&name()).is_some()))
        .await
        .unwrap();
    show(&format!("inventory: {:#?}", upstreams.inventory(&name())));
    let initialize = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {"sampling": {}, "elicitation": {}, "roots": {"listChanged": true}},
        "clientInfo": {"name": "hand", "version": "1"}}});
    let server = name();
    let opened = upstreams.open(&server, Bytes::from(initialize.to_string()));
    let mut open = within(opened).await.unwrap();
    show(&format!(
        "initialize: {}",
        String::from_utf8_lossy(&open.response)
    ));
    let initialized = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    open.session.send(Bytes::from(initialized)).await.unwrap();
    for (n, (method, params)) in calls.iter().enumerate() {
        let mut params = params.clone();
        params["_meta"] = json!({"progressToken": n});
        let request = json!({"jsonrpc": "2.0", "id": n + 1, "method": method, "params": params});
        let began = Instant::now();
        let started = open.session.request(Bytes::from(request.to_string())).await;
        let mut call = started.unwrap();
        loop {
            tokio::select! {
                Some(event) = open.events.recv() => {
                    let text = String::from_utf8_lossy(&event).into_owned();
                    show(&format!("  event: {text}"));
                    if let Some(reply) = answer(&serde_json::from_str(&text).unwrap()) {
                        open.session.send(reply).await.unwrap();
                    }
                }
                item = call.inbound.recv() => match item {
                    Some(Ok(message)) => {
                        let text = String::from_utf8_lossy(&message).into_owned();
                        show(&format!("  {:?} {method}: {text}", began.elapsed()));
                        if let Some(reply) = answer(&serde_json::from_str(&text).unwrap()) {
                            call.outbound.send(reply).await.unwrap();
                        }
                    }
                    Some(Err(error)) => show(&format!("  {method}: {error:?}")),
                    None => break,
                }
            }
        }
    }
    show(&format!("{:#?}", upstreams.list()));
    within(open.session.close()).await;
    within(upstreams.shutdown()).await;
}
