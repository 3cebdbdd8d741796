//! Sessions with a remote server: an axum fixture on loopback that behaves as told.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router as Routes;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use axum::routing::any;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::upstream::tests::{
    ask, bytes, finish, initialize, name, open, quick, reason, tool, upstreams, within,
};
use crate::upstream::{Limits, Secret, ServerSpec, ServerState, Upstreams};

/// What the fixture saw and how it behaves.
#[derive(Default)]
struct Seen {
    /// Method of each exchange, the JSON-RPC method of its body, and its headers.
    log: Vec<(String, String, HeaderMap)>,
    /// Sessions given out; only the last is known.
    sessions: u32,
    /// Answers with 400 instead of 404 for an unknown session.
    lax: bool,
    forgotten: bool,
    /// Offers a GET stream.
    get: bool,
    /// Streams that stay open.
    open: Vec<mpsc::UnboundedSender<String>>,
    waiting: Option<Value>,
}

type Shared = Arc<Mutex<Seen>>;

async fn fixture(seen: Seen) -> (Shared, ServerSpec) {
    let shared = Arc::new(Mutex::new(seen));
    let routes = Routes::new()
        .route("/mcp", any(serve))
        .with_state(Arc::clone(&shared));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let spec = ServerSpec::Url {
        url,
        headers: BTreeMap::from([("Authorization".into(), Secret::from("Bearer hunter2"))]),
        allow_plaintext: false,
    };
    (shared, spec)
}

async fn serve(
    State(seen): State<Shared>,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let message: Value = serde_json::from_slice(&body).unwrap_or_default();
    let rpc = message["method"].as_str().unwrap_or_default().to_owned();
    let mut seen = seen.lock().unwrap();
    seen.log
        .push((method.to_string(), rpc.clone(), headers.clone()));
    let known = format!("s{}", seen.sessions);
    let session = headers.get("mcp-session-id").and_then(|v| v.to_str().ok());
    if rpc != "initialize" && (session != Some(&known) || seen.forgotten) {
        let body = r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: No valid session ID provided"},"id":null}"#;
        return match seen.lax {
            true => reply(400, "application/json", body.into()),
            false => reply(404, "text/plain", "gone".into()),
        };
    }
    match method {
        Method::GET => seen.get(&headers),
        Method::DELETE => reply(200, "text/plain", "".into()),
        _ => seen.post(&rpc, &message),
    }
}

fn reply(status: u16, kind: &str, body: Body) -> Response {
    Response::builder()
        .status(StatusCode::from_u16(status).unwrap())
        .header("content-type", kind)
        .body(body)
        .unwrap()
}

fn json_reply(id: &Value, result: &Value) -> Response {
    let body = json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string();
    reply(200, "application/json; charset=utf-8", body.into())
}

fn event(message: &Value) -> String {
    format!("event: message\ndata: {message}\n\n")
}

fn events(text: String) -> Response {
    reply(200, "text/event-stream", text.into())
}

/// A stream that stays open as long as its sender.
fn stream() -> (mpsc::UnboundedSender<String>, Response) {
    let (sender, receiver) = mpsc::unbounded_channel::<String>();
    let pieces = futures::stream::unfold(receiver, |mut receiver| async move {
        let piece = receiver.recv().await?;
        Some((Ok::<_, Infallible>(piece), receiver))
    });
    (
        sender,
        reply(200, "text/event-stream", Body::from_stream(pieces)),
    )
}

impl Seen {
    fn get(&mut self, headers: &HeaderMap) -> Response {
        if let Some(last) = headers.get("last-event-id") {
            let id = last.to_str().unwrap().strip_prefix("after-").unwrap();
            let id: u64 = id.parse().unwrap();
            return events(event(
                &json!({"jsonrpc": "2.0", "id": id, "result": {"resumed": true}}),
            ));
        }
        if !self.get {
            return reply(405, "text/plain", "".into());
        }
        let (sender, response) = stream();
        let message = json!({"jsonrpc": "2.0", "method": "notifications/resources/updated",
            "params": {"uri": "test://x"}});
        sender.send(event(&message)).unwrap();
        self.open.push(sender);
        response
    }

    fn post(&mut self, rpc: &str, message: &Value) -> Response {
        let id = &message["id"];
        match rpc {
            "initialize" => {
                self.sessions += 1;
                self.forgotten = false;
                let mut response = json_reply(
                    id,
                    &json!({"protocolVersion": "2025-06-18", "capabilities": {},
                        "serverInfo": {"name": "remote", "version": "1"}}),
                );
                let session = format!("s{}", self.sessions).parse().unwrap();
                response.headers_mut().insert("mcp-session-id", session);
                response
            }
            "tools/call" => self.call(id, message["params"]["name"].as_str().unwrap()),
            "" => {
                if let (Some(call), Some(stream)) = (self.waiting.take(), self.open.pop()) {
                    let response = json!({"jsonrpc": "2.0", "id": call,
                        "result": {"client_said": message}});
                    stream.send(event(&response)).unwrap();
                }
                reply(202, "text/plain", "".into())
            }
            _ => reply(202, "text/plain", "".into()),
        }
    }

    fn call(&mut self, id: &Value, name: &str) -> Response {
        let response = json!({"jsonrpc": "2.0", "id": id, "result": {}});
        match name {
            "json" => json_reply(id, &json!({})),
            "sse" => {
                let note = json!({"jsonrpc": "2.0", "method": "notifications/message",
                    "params": {"level": "info", "data": "x"}});
                events(format!("{}{}", event(&note), event(&response)))
            }
            "sample" => {
                let (sender, stream) = stream();
                let request = json!({"jsonrpc": "2.0", "id": 1, "method": "sampling/createMessage",
                    "params": {}});
                sender.send(event(&request)).unwrap();
                self.open.push(sender);
                self.waiting = Some(id.clone());
                stream
            }
            "hold" => {
                let (sender, stream) = stream();
                self.open.push(sender);
                stream
            }
            "resume" => events(format!("id: after-{id}\nretry: 0\ndata:\n\n")),
            "cut" => events(": nothing\n\n".into()),
            "forget" => {
                self.forgotten = true;
                json_reply(id, &json!({}))
            }
            "large" => events(format!("data: {}\n\n", "x".repeat(5 << 20))),
            "refused" => {
                let error = json!({"jsonrpc": "2.0", "id": id,
                    "error": {"code": -32602, "message": "no"}});
                reply(400, "application/json", error.to_string().into())
            }
            "html" => reply(200, "text/html", "<p>".into()),
            "moved" => {
                let mut response = reply(307, "text/plain", "".into());
                let elsewhere = "http://127.0.0.1:1/".parse().unwrap();
                response.headers_mut().insert("location", elsewhere);
                response
            }
            "other" => json_reply(&json!(999), &json!({})),
            "nonsense" => reply(200, "application/json", "[]".into()),
            status => reply(status.parse().unwrap(), "text/plain", "".into()),
        }
    }
}

/// The fixture without anybody but the test: its inventory was read.
async fn bed(seen: Seen, limits: Limits) -> (Shared, Arc<Upstreams>) {
    let (shared, spec) = fixture(seen).await;
    let upstreams = upstreams(limits, spec);
    let mut changes = upstreams.changes();
    let read = |_: &u64| upstreams.inventory(&name()).is_some();
    within(changes.wait_for(read)).await.unwrap();
    // The reader's DELETE is the last it says.
    within(until(&shared, |s| {
        s.log.iter().any(|(m, ..)| m == "DELETE")
    }))
    .await;
    shared.lock().unwrap().log.clear();
    (shared, upstreams)
}

/// Lets other tasks run until the fixture has seen something.
async fn until(seen: &Shared, what: impl Fn(&Seen) -> bool) {
    while !what(&seen.lock().unwrap()) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn json_and_event_streams_carry_responses() {
    let (seen, upstreams) = bed(Seen::default(), quick()).await;
    let open = open(&upstreams).await;
    assert_eq!(
        ask(&*open.session, &json!("a"), "json").await.unwrap()["id"],
        "a"
    );
    let mut call = open.session.request(tool(&json!(2), "sse")).await.unwrap();
    let note = within(call.inbound.recv()).await.unwrap().unwrap();
    assert!(
        std::str::from_utf8(&note)
            .unwrap()
            .contains("notifications/message")
    );
    assert_eq!(finish(call).await.unwrap()["id"], 2);
    assert_eq!(
        ask(&*open.session, &json!(3), "refused").await.unwrap()["error"]["code"],
        -32602
    );
    open.session.close().await;
    let seen = seen.lock().unwrap();
    for (method, rpc, headers) in &seen.log {
        assert_eq!(headers["authorization"], "Bearer hunter2");
        let first = rpc == "initialize";
        assert_eq!(
            headers.contains_key("mcp-session-id"),
            !first,
            "{method} {rpc}"
        );
        assert_eq!(
            headers.contains_key("mcp-protocol-version"),
            !first,
            "{method} {rpc}"
        );
        if !first {
            assert_eq!(headers["mcp-protocol-version"], "2025-06-18");
        }
    }
    assert_eq!(seen.log.last().unwrap().0, "DELETE");
}

#[tokio::test]
async fn a_request_of_the_server_belongs_to_the_call_on_whose_stream_it_came() {
    let (_, upstreams) = bed(Seen::default(), quick()).await;
    let open = open(&upstreams).await;
    let _held = open.session.request(tool(&json!(1), "hold")).await.unwrap();
    let mut call = open
        .session
        .request(tool(&json!(2), "sample"))
        .await
        .unwrap();
    let request: Value =
        serde_json::from_slice(&within(call.inbound.recv()).await.unwrap().unwrap()).unwrap();
    let answer = json!({"jsonrpc": "2.0", "id": request["id"], "result": {"text": "hi"}});
    call.outbound.send(bytes(&answer)).await.unwrap();
    assert_eq!(finish(call).await.unwrap()["result"]["client_said"], answer);
    let error = open.session.send(bytes(&answer)).await;
    assert_eq!(reason(error), "unknown_server_request");
    upstreams.shutdown().await;
}

#[tokio::test]
async fn events_come_on_the_get_stream_where_there_is_one() {
    let seen = Seen {
        get: true,
        ..Seen::default()
    };
    let (_, upstreams) = bed(seen, quick()).await;
    let mut open = open(&upstreams).await;
    let event: Value = serde_json::from_slice(&within(open.events.recv()).await.unwrap()).unwrap();
    assert_eq!(event["method"], "notifications/resources/updated");
    upstreams.shutdown().await;
}

#[tokio::test]
async fn a_lost_session_is_set_up_again_and_the_refused_request_sent_again() {
    for lax in [false, true] {
        let seen = Seen {
            lax,
            ..Seen::default()
        };
        let (seen, upstreams) = bed(seen, quick()).await;
        let open = open(&upstreams).await;
        ask(&*open.session, &json!(1), "forget").await.unwrap();
        ask(&*open.session, &json!(2), "json").await.unwrap();
        let methods: Vec<String> = {
            let seen = seen.lock().unwrap();
            let posts = seen.log.iter().filter(|(method, ..)| method == "POST");
            posts.map(|(_, rpc, _)| rpc.clone()).collect()
        };
        assert_eq!(
            methods,
            [
                "initialize",
                "notifications/initialized",
                "tools/call",
                "tools/call",
                "initialize",
                "notifications/initialized",
                "tools/call",
            ]
        );
        assert_eq!(upstreams.list()[0].restarts, 1);
        upstreams.shutdown().await;
    }
}

#[tokio::test]
async fn a_cut_stream_is_resumed_where_it_was_numbered() {
    let (_, upstreams) = bed(Seen::default(), quick()).await;
    let open = open(&upstreams).await;
    let response = ask(&*open.session, &json!(1), "resume").await.unwrap();
    assert_eq!(
        response,
        json!({"jsonrpc": "2.0", "id": 1, "result": {"resumed": true}})
    );
    let error = ask(&*open.session, &json!(2), "cut").await;
    assert_eq!(reason(error), "upstream_stream_ended");
    upstreams.shutdown().await;
}

#[tokio::test]
async fn what_is_no_answer_has_its_own_name() {
    let (_, upstreams) = bed(Seen::default(), quick()).await;
    let open = open(&upstreams).await;
    for (tool, expected) in [
        ("500", "upstream_http_status"),
        ("401", "upstream_unauthorized"),
        ("403", "upstream_unauthorized"),
        ("202", "upstream_content_type"),
        ("moved", "upstream_http_status"),
        ("html", "upstream_content_type"),
        ("large", "upstream_message_too_large"),
        ("other", "upstream_stream_ended"),
        ("nonsense", "batch_refused"),
    ] {
        let error = ask(&*open.session, &json!(tool), tool).await;
        assert_eq!(reason(error), expected, "{tool}");
    }
    ask(&*open.session, &json!(1), "json").await.unwrap();
    upstreams.shutdown().await;
}

#[tokio::test]
async fn dropping_a_call_cancels_it_and_closes_its_stream() {
    let (seen, upstreams) = bed(Seen::default(), quick()).await;
    let open = open(&upstreams).await;
    let call = open.session.request(tool(&json!(1), "hold")).await.unwrap();
    within(until(&seen, |s| s.open.len() == 1)).await;
    drop(call);
    let cancelled = |s: &Seen| {
        s.log
            .iter()
            .any(|(_, rpc, _)| rpc == "notifications/cancelled")
    };
    within(until(&seen, cancelled)).await;
    within(until(&seen, |s| s.open[0].is_closed())).await;
    upstreams.shutdown().await;
}

#[tokio::test]
async fn an_unreachable_server_is_named_and_not_hammered() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp?key=hunter2", listener.local_addr().unwrap());
    drop(listener);
    let limits = Limits {
        backoff_first: Duration::from_secs(3600),
        backoff_max: Duration::from_secs(3600),
        ..quick()
    };
    let spec = ServerSpec::Url {
        url,
        headers: BTreeMap::new(),
        allow_plaintext: false,
    };
    let upstreams = upstreams(limits, spec);
    let mut errors = Vec::new();
    for _ in 0..2 {
        errors.push(
            within(upstreams.open(&name(), initialize()))
                .await
                .err()
                .unwrap(),
        );
    }
    assert_eq!(errors[1].reason, "upstream_backing_off");
    assert!(
        errors[1].message.contains("cannot be reached"),
        "{}",
        errors[1].message
    );
    assert!(errors.iter().all(|e| !e.message.contains("hunter2")));
    let status = &upstreams.list()[0];
    assert!(
        matches!(status.state, ServerState::BackingOff { .. }),
        "{status:?}"
    );
    upstreams.shutdown().await;
}

#[test]
fn plain_http_needs_no_root_certificates() {
    let spec = ServerSpec::Url {
        url: "http://127.0.0.1/".into(),
        headers: BTreeMap::new(),
        allow_plaintext: false,
    };
    assert!(super::client(&spec).unwrap().is_some());
}
