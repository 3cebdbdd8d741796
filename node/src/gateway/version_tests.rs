//! What clients and servers of other protocol versions meet, at both endpoints alike.

use std::sync::atomic::Ordering;

use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use super::fake::{FakeServer, INITIALIZED};
use super::http_tests::{Bench, INITIALIZE, PATH, echo, refused};
use super::*;

/// The endpoint of one server, and the merged one.
const ENDPOINTS: [&str; 2] = [PATH, "/mcp"];
const NEWEST: &str = version::SUPPORTED[0];
const PING: &str = r#"{"jsonrpc":"2.0","id":9,"method":"ping"}"#;

fn initialize(version: &str) -> String {
    INITIALIZE.replace("2025-11-25", version)
}

/// A server that speaks this version only.
fn speaking(version: &str) -> FakeServer {
    let mut server = echo();
    server.initialize = Ok(INITIALIZED.replace("2025-11-25", version));
    server
}

async fn body(response: Response) -> Value {
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

fn within(request: RequestBuilder, session: &str, version: Option<&str>) -> RequestBuilder {
    let request = request.header("mcp-session-id", session);
    match version {
        Some(version) => request.header("mcp-protocol-version", version),
        None => request,
    }
}

#[tokio::test]
async fn a_client_of_any_version_gets_one_it_can_go_on_with() {
    let server = echo();
    let bench = Bench::with(&[("tools", "echo", server.clone())], Limits::default()).await;
    for path in ENDPOINTS {
        for asked in ["2099-01-01", "1999-01-01", "2026-07-28", "DRAFT-1", ""] {
            // Some clients name what they ask for in the header already.
            let request = bench.post(path, initialize(asked));
            let request = request.header("mcp-protocol-version", asked);
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), StatusCode::OK, "{path} {asked}");
            let session = response.headers()["mcp-session-id"].to_str().unwrap();
            let session = session.to_owned();
            let answer = body(response).await;
            let given = answer["result"]["protocolVersion"].as_str().unwrap();
            assert_eq!(given, NEWEST, "{path} {asked}");
            let ping = within(bench.post(path, PING), &session, Some(given));
            let response = ping.send().await.unwrap();
            assert_eq!(response.status(), StatusCode::OK, "{path} {asked}");
        }
    }
    for asked in server.received() {
        let asked: Value = serde_json::from_slice(&asked).unwrap();
        assert_eq!(asked["params"]["protocolVersion"], NEWEST);
        assert_eq!(asked["params"]["clientInfo"]["name"], "t");
    }
}

/// Which of the supported versions a later message names is not held against a client: MCP wants
/// only unsupported ones refused, and some clients name the newest they know.
#[tokio::test]
async fn later_messages_name_a_supported_version_or_none() {
    let servers = [("tools", "echo", speaking("2025-06-18"))];
    let bench = Bench::with(&servers, Limits::default()).await;
    for path in ENDPOINTS {
        let asked = bench.post(path, initialize("2025-06-18"));
        let response = asked.send().await.unwrap();
        let session = response.headers()["mcp-session-id"].to_str().unwrap();
        let session = session.to_owned();
        let unsupported = within(bench.post(path, PING), &session, Some("2099-01-01"));
        let expected = (400, -32022, "unsupported_version".to_owned());
        assert_eq!(refused(unsupported.send().await.unwrap()).await, expected);
        for version in [Some("2025-11-25"), Some("2025-06-18"), None] {
            let ping = within(bench.post(path, PING), &session, version);
            let response = ping.send().await.unwrap();
            assert_eq!(response.status(), StatusCode::OK, "{path} {version:?}");
        }
    }
}

#[tokio::test]
async fn a_server_of_an_unknown_version_is_named_and_left() {
    let server = speaking("2099-01-01\\u001b[1m");
    let bench = Bench::with(&[("tools", "echo", server.clone())], Limits::default()).await;
    let response = bench.post(PATH, INITIALIZE).send().await.unwrap();
    assert!(response.headers().get("mcp-session-id").is_none());
    let error = body(response).await["error"].take();
    assert_eq!(error["code"], -32053);
    assert_eq!(error["data"]["reason"], "server_version");
    assert_eq!(error["data"]["server"], "echo");
    let message =
        "the server answers with protocol version `2099-01-01[1m`, which is not supported";
    assert_eq!(error["message"], json!(message));
    assert!(error["data"]["hint"].as_str().unwrap().contains(NEWEST));
    assert_eq!(server.closed.load(Ordering::SeqCst), 1);
}
