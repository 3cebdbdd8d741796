//! The line edge over in-memory streams.

use std::sync::Arc;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::task::JoinHandle;

use super::fake::{FakeServer, INITIALIZED, ServerCall};
use super::http_tests::{Bench, INITIALIZE, echo};
use super::*;

struct Line {
    stream: BufReader<DuplexStream>,
    served: JoinHandle<Result<(), LineError>>,
}

impl Line {
    fn to(bench: &Bench, target: bool) -> Self {
        let known = || bench.gateway.fabric.servers()[0].server.clone();
        let target = target.then(known);
        Self::at(
            bench,
            target.map(|s| (s.node.to_string(), s.server.to_string())),
        )
    }

    fn at(bench: &Bench, target: Option<(String, String)>) -> Self {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let (reader, writer) = tokio::io::split(theirs);
        let gateway = Arc::clone(&bench.gateway);
        let principal = Principal {
            agent: "one".parse().unwrap(),
            human: None,
        };
        let served = tokio::spawn(gateway.serve_lines(reader, writer, principal, target));
        Self {
            stream: BufReader::new(ours),
            served,
        }
    }

    async fn say(&mut self, line: &str) {
        self.stream.write_all(line.as_bytes()).await.unwrap();
        self.stream.write_all(b"\n").await.unwrap();
    }

    async fn hear(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).await.unwrap();
        line
    }

    async fn value(&mut self) -> Value {
        serde_json::from_str(&self.hear().await).unwrap()
    }

    async fn reason(&mut self) -> String {
        self.value().await["error"]["data"]["reason"]
            .as_str()
            .unwrap()
            .to_owned()
    }
}

#[tokio::test]
async fn a_line_session_passes_messages_as_single_lines() {
    let server = FakeServer::new(|mut call: ServerCall| async move {
        call.say(
            "{\"jsonrpc\":\"2.0\",\n \"method\":\"notifications/message\",\r\n \"params\":{}}",
        )
        .await;
        call.say(r#"{"jsonrpc":"2.0","id":"q","method":"elicitation/create"}"#)
            .await;
        let answer = call.heard().await;
        call.result(&answer["result"].to_string()).await;
    });
    let bench = Bench::with(&[("tools", "echo", server.clone())], Limits::default()).await;
    let mut line = Line::to(&bench, true);
    line.say(INITIALIZE).await;
    assert_eq!(line.hear().await, INITIALIZED.replace("ID", "0") + "\n");
    line.say("").await;
    line.say(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#)
        .await;
    line.say(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t"}}"#)
        .await;
    assert_eq!(
        line.hear().await,
        "{\"jsonrpc\":\"2.0\",  \"method\":\"notifications/message\",   \"params\":{}}\n"
    );
    assert_eq!(line.value().await["id"], "q");
    line.say(r#"{"jsonrpc":"2.0","id":"q","result":{"a":1}}"#)
        .await;
    assert_eq!(line.value().await["result"]["a"], 1);
    server
        .event(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#)
        .await;
    assert_eq!(
        line.value().await["method"],
        "notifications/tools/list_changed"
    );
    assert_eq!(
        bench.gateway.counts(),
        Counts {
            sessions: 1,
            calls: 0
        }
    );
}

#[tokio::test]
async fn the_end_of_input_ends_the_session_after_its_calls() {
    let server = echo();
    let bench = Bench::with(&[("tools", "echo", server.clone())], Limits::default()).await;
    let mut line = Line::to(&bench, true);
    line.say(INITIALIZE).await;
    // The last line lacks its end.
    let call =
        br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","last":true}}"#;
    line.stream.write_all(call).await.unwrap();
    line.stream.shutdown().await.unwrap();
    let mut all = String::new();
    line.stream.read_to_string(&mut all).await.unwrap();
    assert!(all.ends_with('\n'), "{all}");
    // The order of an object's keys is the fixture's own affair.
    let last: Value = serde_json::from_str(all.lines().last().unwrap()).unwrap();
    let said = serde_json::json!({"last": true, "name": "t"});
    assert_eq!(last["result"], said, "{all}");
    line.served.await.unwrap().unwrap();
    assert_eq!(bench.gateway.counts().sessions, 0);
    assert!(server.closed.load(std::sync::atomic::Ordering::SeqCst) > 0);
}

#[tokio::test]
async fn a_server_that_is_not_known_is_refused_when_the_client_initializes() {
    let bench = Bench::with(&[("tools", "echo", echo())], Limits::default()).await;
    let mut line = Line::at(&bench, Some(("tools".to_owned(), "other".to_owned())));
    line.say(INITIALIZE).await;
    assert_eq!(line.reason().await, "unknown_server");
}

#[tokio::test]
async fn lines_are_refused_by_name() {
    let bench = Bench::with(&[("tools", "echo", echo())], Limits::default()).await;
    let mut line = Line::to(&bench, false);
    for (text, reason) in [
        ("{", "message_not_json"),
        ("[]", "batch_refused"),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
            "not_initialized",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"server/discover"}"#,
            "unsupported_version",
        ),
    ] {
        line.say(text).await;
        assert_eq!(line.reason().await, reason, "{text}");
    }
    line.say(INITIALIZE).await;
    assert_eq!(
        line.value().await["result"]["serverInfo"]["name"],
        "hedgerow"
    );
    line.say(INITIALIZE).await;
    assert_eq!(line.reason().await, "already_initialized");
    let (mut reader, mut writer) = tokio::io::split(line.stream);
    let flood = tokio::spawn(async move {
        let chunk = vec![b' '; 64 * 1024];
        while writer.write_all(&chunk).await.is_ok() {}
    });
    let mut said = String::new();
    reader.read_to_string(&mut said).await.unwrap();
    assert!(said.contains("too_large"), "{said}");
    assert!(matches!(
        line.served.await.unwrap(),
        Err(LineError::TooLong)
    ));
    drop(reader);
    flood.abort();
}

#[tokio::test]
async fn a_client_that_goes_away_or_loses_its_agent_ends_its_session() {
    let bench = Bench::with(&[("tools", "echo", echo())], Limits::default()).await;
    let mut line = Line::to(&bench, true);
    line.say(INITIALIZE).await;
    line.hear().await;
    bench.gateway.close_agent(&"one".parse().unwrap()).await;
    assert_eq!(line.hear().await, "", "closed");
    line.served.await.unwrap().unwrap();
    assert_eq!(bench.gateway.counts().sessions, 0);
    let mut line = Line::to(&bench, true);
    line.say(INITIALIZE).await;
    line.hear().await;
    drop(line.stream);
    // Either way of noticing it is an end.
    let _ = line.served.await.unwrap();
    assert_eq!(bench.gateway.counts().sessions, 0);
}

#[tokio::test]
async fn a_line_client_is_told_when_lists_may_be_others() {
    let bench = Bench::with(&[("tools", "echo", echo())], Limits::default()).await;
    let mut line = Line::to(&bench, true);
    line.say(INITIALIZE).await;
    line.hear().await;
    line.say(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#)
        .await;
    assert_eq!(line.value().await["id"], 1);
    bench.gateway.lists_changed();
    let told = line.value().await;
    assert_eq!(told["method"], "notifications/tools/list_changed");
}
