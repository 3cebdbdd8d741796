//! Honest calls from one node's gateway to another node's server: nothing lost, nothing changed,
//! nothing held for ever, and errors that say where and why.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use node::control::Operations as _;
use protocol::control::{CallRequest, FailureKind};
use protocol::limits::MAX_MESSAGE_BYTES;
use reqwest::StatusCode;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tests::client::McpClient;
use tests::mesh::{INITIALIZE, LOCAL, TestMesh, TestNode, last, next, tool_call};
use tests::stage::holds;
use tests::wait::{soon, until};

const BENCH: &str = "/mcp/tools/bench";

/// Two nodes: `tools` with the fixture as `bench`, and `agent`, which knows it.
async fn two(arguments: &[&str]) -> (TestMesh, TestNode, TestNode) {
    let (mesh, tools) = TestMesh::found("tools").await;
    tools.attach_fixture("bench", arguments).await;
    let agent = mesh.join(&tools, "agent").await;
    agent.sees("tools", "bench").await;
    (mesh, tools, agent)
}

async fn client(agent: &TestNode) -> McpClient {
    let token = agent.token("someone").await;
    McpClient::open(agent, BENCH, &token).await
}

/// A name typed wrong is told apart from a node that cannot be reached now.
#[tokio::test]
async fn a_call_of_a_server_that_nobody_knows_is_of_nothing() {
    let (_mesh, _tools, agent) = two(&[]).await;
    let call = CallRequest {
        node: "tools".parse().unwrap(),
        server: "bunch".parse().unwrap(),
        tool: "echo".to_owned(),
        arguments: RawValue::from_string("{}".to_owned()).unwrap(),
        agent: None,
        capture: false,
        timeout_ms: 60_000,
    };
    let (notifications, _none) = tokio::sync::mpsc::channel(1);
    let refused = agent.node.call(LOCAL, call, notifications).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.reason, "unknown_server");
    assert_eq!(refused.kind, FailureKind::NotFound);
}

#[tokio::test]
async fn requests_arrive_byte_for_byte() {
    let (_mesh, _tools, agent) = two(&[]).await;
    let client = client(&agent).await;
    let request = concat!(
        r#"{ "params":{"arguments" : {"x":1.0,"y":1E2,"big":123456789012345678901234567890,"#,
        r#""u":"\u00e9\/\ud83d\ude00 é","nested":[ 1,  {"a":null} ]},"#,
        "\t",
        r#""x-unknown":[true ],"name":"verbatim"} ,"x":0,"id": 7 ,"method":"tools/call","jsonrpc" :"2.0"}"#
    );
    let answer = client.post(request).await.response();
    let line = answer["result"]["line"].as_str().unwrap();
    let id = serde_json::from_str::<Value>(line).unwrap()["id"].to_string();
    let expected = request.replace(r#""id": 7"#, &format!(r#""id": {id}"#));
    assert_eq!(line, expected, "only the id may differ");
    assert_eq!(answer["id"], 7);
}

#[tokio::test]
async fn responses_arrive_byte_for_byte() {
    let (_mesh, _tools, agent) = two(&[]).await;
    let client = client(&agent).await;
    for id in ["7", r#""\u00e9 x""#, "-3"] {
        let request = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"odd"}}}}"#
        );
        let answer = client.post(request).await;
        let expected = format!(
            "{{ \"result\" :\t{{\"n\":1.0,\"e\":1E2 , \"u\":\"\\u00e9\\/\", \"x-unknown\":[ 1,  2 ] }},\"id\":{id} ,  \"jsonrpc\":\"2.0\",\"x\":null}}"
        );
        assert_eq!(answer.messages, [expected]);
    }
}

#[tokio::test]
async fn progress_arrives_in_order() {
    const COUNT: u64 = 100;
    let (_mesh, _tools, agent) = two(&[]).await;
    let client = client(&agent).await;
    let token = r#""pr\u00f6gress""#;
    let request = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"progress","arguments":{{"count":{COUNT}}},"_meta":{{"progressToken":{token}}}}}}}"#
    );
    let answer = client.post(request).await;
    assert_eq!(answer.messages.len() as u64, COUNT + 1);
    for (n, message) in (1..=COUNT).zip(&answer.messages) {
        let message: Value = serde_json::from_str(message).unwrap();
        assert_eq!(message["method"], "notifications/progress");
        assert_eq!(message["params"]["progress"], n);
        assert_eq!(message["params"]["progressToken"], "prögress");
    }
    assert_eq!(answer.response()["id"], 1);
}

#[tokio::test]
async fn a_server_asks_within_a_call() {
    let (_mesh, _tools, agent) = two(&[]).await;
    let client = client(&agent).await;
    let mut response = client.send(tool_call(1, "ask", "{}")).await;
    let mut seen = String::new();
    let asked = loop {
        let chunk = soon(response.chunk()).await.unwrap().unwrap();
        seen.push_str(std::str::from_utf8(&chunk).unwrap());
        let event = seen
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .filter(|_| seen.ends_with("\n\n"))
            .find(|data| data.contains("sampling/createMessage"));
        if let Some(event) = event {
            break serde_json::from_str::<Value>(event).unwrap();
        }
    };
    assert_eq!(asked["params"], json!({"messages": [], "maxTokens": 1}));
    let reply = json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"said": "yes"}});
    let accepted = client.post(reply.to_string()).await;
    assert_eq!(accepted.status, StatusCode::ACCEPTED, "{accepted:?}");
    while let Some(chunk) = soon(response.chunk()).await.unwrap() {
        seen.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    let mut data = seen.lines().filter_map(|line| line.strip_prefix("data: "));
    let answer: Value = serde_json::from_str(data.next_back().unwrap()).unwrap();
    assert_eq!(answer["id"], 1);
    let heard = &answer["result"]["client_said"];
    assert_eq!(heard["result"], json!({"said": "yes"}));
    assert_eq!(heard["id"], "ask-1", "the server's own id comes back to it");
}

#[tokio::test]
async fn a_call_that_is_dropped_is_cancelled_at_the_server() {
    let (_mesh, _tools, agent) = two(&[]).await;
    let session = agent.open("someone", "tools", "bench").await.unwrap();
    let call = session.begin(1, "hold", "{}").await.unwrap();
    holds(&session, 1).await;
    drop(call);
    cancelled(&session, 1).await;
}

/// Waits until the server was told that its held calls are cancelled.
async fn cancelled(session: &tests::mesh::Session, calls: usize) {
    let id = std::sync::atomic::AtomicU64::new(2000);
    let told = || async {
        let id = id.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let state = session.call(id, "state", "{}").await.unwrap();
        let (held, cancelled) = (&state["result"]["held"], &state["result"]["cancelled"]);
        held == cancelled && cancelled.as_array().map(Vec::len) == Some(calls)
    };
    until("the server is told", told).await;
}

#[tokio::test]
async fn a_client_cancels_by_notification() {
    let (_mesh, _tools, agent) = two(&[]).await;
    let client = client(&agent).await;
    let held = client.post(tool_call(1, "hold", "{}"));
    let state = |id: u64| {
        let asked = client.post(tool_call(id, "state", "{}"));
        async move { asked.await.response()["result"].clone() }
    };
    let ids = std::sync::atomic::AtomicU64::new(10);
    let next_id = || ids.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let cancelling = async {
        let is_held = || async { state(next_id()).await["held"] != json!([]) };
        until("the call is held", is_held).await;
        let cancel =
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
        assert_eq!(client.post(cancel).await.status, StatusCode::ACCEPTED);
        let told = || async {
            let state = state(next_id()).await;
            state["cancelled"] != json!([]) && state["cancelled"] == state["held"]
        };
        until("the server is told which of its calls", told).await;
    };
    // Either way the server knows; whether an answer still comes is its own matter.
    tokio::select! {
        biased;
        () = cancelling => {}
        answer = async { let _ = held.await; std::future::pending::<()>().await } => answer,
    }
    assert_eq!(
        client.post(tool_call(2, "echo", "{}")).await.response()["id"],
        2
    );
}

/// The answer to a question whose call is over arrives late, as it does whenever both ends act at
/// once. It answers nothing; it must not cost the session.
#[tokio::test]
async fn a_late_answer_to_the_server_is_no_offence() {
    let (_mesh, _tools, agent) = two(&[]).await;
    let session = agent.open("someone", "tools", "bench").await.unwrap();
    let mut call = session.begin(1, "ask", "{}").await.unwrap();
    let asked = next(&mut call).await.unwrap();
    drop(call);
    let late = json!({"jsonrpc": "2.0", "id": asked["id"], "result": {}});
    // Refusing it is fine, as is swallowing it.
    drop(session.send(&late.to_string()).await);
    for n in 2..20 {
        let answer = session.call(n, "echo", "{}").await;
        assert_eq!(answer.unwrap()["id"], n);
    }
}

#[tokio::test]
async fn messages_up_to_the_bound_pass_and_one_byte_more_is_refused() {
    let (_mesh, tools, agent) = two(&[]).await;
    let client = client(&agent).await;
    let sized = |bytes: usize| {
        let empty = tool_call(1, "echo", r#"{"x":""}"#).len();
        let filler = "x".repeat(bytes - empty);
        tool_call(1, "echo", &format!(r#"{{"x":"{filler}"}}"#))
    };
    // The answer repeats the filler inside a slightly shorter message.
    let request = sized(MAX_MESSAGE_BYTES);
    assert_eq!(request.len(), MAX_MESSAGE_BYTES);
    let answer = client.post(request).await.response();
    assert_eq!(
        answer["result"]["echo"]["x"].as_str().map(str::len),
        Some(MAX_MESSAGE_BYTES - tool_call(1, "echo", r#"{"x":""}"#).len())
    );

    let refused = client.post(sized(MAX_MESSAGE_BYTES + 1)).await;
    assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(refused.reason(), "too_large");
    // The same, past the gateway.
    let session = agent.open("someone", "tools", "bench").await.unwrap();
    let filler = "x".repeat(MAX_MESSAGE_BYTES);
    let refused = session.begin(1, "echo", &format!(r#""{filler}""#)).await;
    assert_eq!(refused.err().unwrap().reason, "message_too_large");

    let size = |bytes: usize| tool_call(1, "size", &format!(r#"{{"bytes":{bytes}}}"#));
    let answer = client.post(size(MAX_MESSAGE_BYTES)).await;
    assert!(answer.messages[0].len() > MAX_MESSAGE_BYTES - 32);
    assert_eq!(answer.response()["id"], 1);
    let refused = client.post(size(MAX_MESSAGE_BYTES + 1)).await;
    assert_eq!(refused.reason(), "upstream_message_too_large");
    // Nobody lost a session over it.
    assert_eq!(
        client.post(tool_call(2, "echo", "{}")).await.response()["id"],
        2
    );
    assert!(tools.status().await.ready);
}

#[tokio::test]
async fn sixty_four_calls_at_once_are_all_answered() {
    const CALLS: u64 = 64;
    let (_mesh, tools, agent) = two(&[]).await;
    let client = client(&agent).await;
    let calls = (1..=CALLS).map(|n| {
        let request = tool_call(n, "echo", &format!(r#"{{"n":{n}}}"#));
        client.post(request)
    });
    let answers = futures::future::join_all(calls).await;
    for (n, answer) in (1..=CALLS).zip(answers) {
        let response = answer.response();
        assert_eq!(response["id"], n, "{response}");
        assert_eq!(response["result"]["echo"]["n"], n);
    }
    assert_eq!(tools.refusals().await, std::collections::BTreeMap::new());
    assert_eq!(agent.refusals().await, std::collections::BTreeMap::new());
    let (out, came) = (agent.status().await, tools.status().await);
    assert!(out.counters.calls_out >= CALLS, "{:?}", out.counters);
    assert!(came.counters.calls_in >= CALLS, "{:?}", came.counters);
}

#[tokio::test]
async fn a_dead_server_is_named_and_started_again() {
    let (_mesh, tools, agent) = two(&[]).await;
    let client = client(&agent).await;
    let before = client.post(tool_call(1, "state", "{}")).await.response();
    let crashed = client.post(tool_call(2, "crash", "{}")).await.response();
    assert_eq!(crashed["id"], 2);
    assert_eq!(crashed["error"]["code"], -32053, "{crashed}");
    let data = &crashed["error"]["data"];
    assert_eq!(data["reason"], "upstream_exited");
    assert_eq!(
        (&data["node"], &data["server"]),
        (&json!("tools"), &json!("bench"))
    );
    let id = std::sync::atomic::AtomicU64::new(3);
    let alive = || async {
        let id = id.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let response = client.post(tool_call(id, "state", "{}")).await.response();
        if let Some(error) = response.get("error") {
            // Until it is back every caller is told where and what.
            let data = &error["data"];
            assert_eq!(data["node"], "tools", "{error}");
            assert_eq!(data["server"], "bench", "{error}");
            return false;
        }
        assert_ne!(response["result"]["pid"], before["result"]["pid"]);
        true
    };
    until("the server is started again", alive).await;
    let servers = tools.node.servers().await.unwrap();
    assert!(servers[0].restarts >= 1, "{servers:?}");
}

#[tokio::test]
async fn a_server_that_does_not_start_is_tried_again() {
    let home = tempfile::tempdir().unwrap();
    let table = home.path().join("table");
    let (_mesh, _tools, agent) = two(&["--table", table.to_str().unwrap()]).await;
    std::fs::write(&table, "down").unwrap();
    let token = agent.token("someone").await;
    let client = McpClient::new(&agent, BENCH, &token);
    let refused = client.post(INITIALIZE).await.response();
    assert_eq!(refused["error"]["code"], -32053, "{refused}");
    let data = &refused["error"]["data"];
    assert_eq!(
        (&data["node"], &data["server"]),
        (&json!("tools"), &json!("bench"))
    );
    std::fs::write(&table, "up").unwrap();
    let opens = || async { client.post(INITIALIZE).await.response()["result"].is_object() };
    until("the server starts", opens).await;
}

#[tokio::test]
async fn the_session_of_another_agent_is_no_session() {
    let (_mesh, _tools, agent) = two(&[]).await;
    let mine = client(&agent).await;
    let mut theirs = McpClient::new(&agent, BENCH, &agent.token("other").await);
    theirs.session.clone_from(&mine.session);
    let stolen = theirs.post(tool_call(1, "echo", "{}")).await;
    theirs.session = Some("0123456789abcdef0123456789abcdef".to_owned());
    let invented = theirs.post(tool_call(1, "echo", "{}")).await;
    for refused in [stolen, invented] {
        assert_eq!(refused.status, StatusCode::NOT_FOUND);
        assert_eq!(refused.reason(), "unknown_session");
    }
    assert_eq!(
        mine.post(tool_call(1, "echo", "{}")).await.response()["id"],
        1
    );
}

#[tokio::test]
async fn sessions_end_with_the_node() {
    let (_mesh, _tools, agent) = two(&[]).await;
    let token = agent.token("someone").await;
    let before = McpClient::open(&agent, BENCH, &token).await;
    let session = before.session.clone();
    let state = agent.stop().await;
    let agent = TestNode::start(&state).await;
    agent.sees("tools", "bench").await;
    let mut after = McpClient::new(&agent, BENCH, &token);
    after.session = session;
    let refused = after.post(tool_call(1, "echo", "{}")).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND);
    assert_eq!(refused.reason(), "unknown_session");
    // The token survived, and a new session works.
    let again = McpClient::open(&agent, BENCH, &token).await;
    assert_eq!(
        again.post(tool_call(1, "echo", "{}")).await.response()["id"],
        1
    );
}

/// Whoever calls before a node that has just started has its links waits for them, and is not told
/// that there is none.
#[tokio::test]
async fn the_first_call_after_a_start_waits_for_the_link() {
    let (_mesh, tools, agent) = two(&[]).await;
    let bench = agent.sees("tools", "bench").await;
    let agent = TestNode::start(&agent.stop().await).await;
    let session = agent.open_at("someone", None, &bench).await.unwrap();
    assert_eq!(session.call(1, "echo", "{}").await.unwrap()["id"], 1);
    // Of a node that does not answer it is told.
    tools.stop().await;
    let told = || async {
        let refused = agent.open_at("someone", None, &bench).await.err();
        refused.is_some_and(|error| error.reason == "no_link")
    };
    until("a node that is down is told of", told).await;
}

/// The calls of a caller go on when the node of the server comes back.
#[tokio::test]
async fn a_restarted_server_node_is_found_again() {
    let (_mesh, tools, agent) = two(&[]).await;
    let before = agent.open("someone", "tools", "bench").await.unwrap();
    let state = tools.stop().await;
    let error = before.call(1, "echo", "{}").await.unwrap_err();
    assert_eq!(error.node.as_deref(), Some("tools"), "{error:?}");
    let tools = TestNode::start(&state).await;
    tools.linked(agent.id()).await;
    let after = agent.open("someone", "tools", "bench").await.unwrap();
    assert_eq!(after.call(1, "echo", "{}").await.unwrap()["id"], 1);
}

/// A client that does not read holds up its own call only, the node takes no more than a bound
/// from the server meanwhile, and nothing is lost once the client reads.
#[tokio::test]
async fn a_slow_client_is_waited_for() {
    /// Twice what all queues and windows between the two ends may hold.
    const BOUND: u64 = 512;
    let home = tempfile::tempdir().unwrap();
    let log = home.path().join("log");
    let (_mesh, _tools, agent) = two(&["--log", log.to_str().unwrap()]).await;
    let slow = agent.open("slow", "tools", "bench").await.unwrap();
    let mut call = slow.begin(1, "flood", "{}").await.unwrap();
    let written = || {
        let log = std::fs::read_to_string(&log).unwrap_or_default();
        log.lines().count() as u64
    };
    until("the flood has begun", || async { written() > 0 }).await;
    let other = agent.open("other", "tools", "bench").await.unwrap();
    for n in 0..200 {
        assert_eq!(other.call(n, "echo", "{}").await.unwrap()["id"], n);
    }
    let held = written();
    assert!(
        held < BOUND,
        "{held} messages of 64 KiB were taken from the server"
    );
    for n in 1..=BOUND {
        let message = next(&mut call).await.unwrap();
        assert_eq!(message["params"]["progress"], n);
    }
    drop(call);
    assert!(
        last(&mut other.begin(1, "echo", "{}").await.unwrap())
            .await
            .is_ok()
    );
}
