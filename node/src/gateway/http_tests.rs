//! The HTTP edge against scripted servers, through real sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::fake::{FakeCrypto, FakeFabric, FakeServer, INITIALIZED, ServerCall};
use super::*;

/// A gateway on a port of its own, with the agents `one` and `two`.
pub(crate) struct Bench {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) table: Arc<TokenTable>,
    pub(crate) address: SocketAddr,
    pub(crate) one: String,
    pub(crate) two: String,
    pub(crate) http: Client,
    _stop: DropGuard,
}

pub(crate) const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;
const BOTH: &str = "application/json, text/event-stream";

impl Bench {
    pub(crate) async fn with(servers: &[(&str, &str, FakeServer)], limits: Limits) -> Self {
        Self::over(FakeFabric::with(servers), limits).await
    }

    pub(crate) async fn over(fabric: Arc<FakeFabric>, mut limits: Limits) -> Self {
        // What is plain JSON must not depend on how busy the machine is.
        limits.plain_answer_wait = Duration::from_secs(60);
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let crypto = Arc::new(FakeCrypto::default());
        let table = Arc::new(TokenTable::new(crypto.clone()));
        let token = |name: &str| {
            let made = table.add(name.parse().unwrap(), None, protocol::time::UnixMillis(0));
            made.unwrap().0.reveal().to_owned()
        };
        let (one, two) = (token("one"), token("two"));
        let gateway = Gateway::new(fabric, table.clone(), crypto, limits, Lane::none());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(Arc::clone(&gateway).serve_http(listener, stop.clone()));
        Self {
            gateway,
            table,
            address,
            one,
            two,
            http: Client::builder().no_proxy().build().unwrap(),
            _stop: stop.drop_guard(),
        }
    }

    pub(crate) fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
        self.http
            .post(format!("http://{}{path}", self.address))
            .header("authorization", format!("Bearer {}", self.one))
            .header("content-type", "application/json")
            .header("accept", BOTH)
            .body(body)
    }

    /// Opens a session and returns its id.
    pub(crate) async fn open(&self, path: &str) -> String {
        let response = self.post(path, INITIALIZE).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        response.headers()["mcp-session-id"]
            .to_str()
            .unwrap()
            .to_owned()
    }

    pub(crate) async fn send(&self, path: &str, session: &str, body: &str) -> Response {
        let request = self
            .post(path, body.to_owned())
            .header("mcp-session-id", session);
        request
            .header("mcp-protocol-version", "2025-11-25")
            .send()
            .await
            .unwrap()
    }

    pub(crate) async fn listen(&self, path: &str, session: &str, last: Option<&str>) -> Events {
        let mut request = self
            .http
            .get(format!("http://{}{path}", self.address))
            .header("authorization", format!("Bearer {}", self.one))
            .header("accept", "text/event-stream")
            .header("mcp-protocol-version", "2025-11-25")
            .header("mcp-session-id", session);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        Events::of(request.send().await.unwrap())
    }
}

/// A minimal reader of server-sent events.
pub(crate) struct Events {
    response: Response,
    buffer: String,
}

impl Events {
    pub(crate) fn of(response: Response) -> Self {
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            response,
            buffer: String::new(),
        }
    }

    /// The next event with data, as (id, data).
    pub(crate) async fn next(&mut self) -> Option<(String, String)> {
        loop {
            while let Some(end) = self.buffer.find("\n\n") {
                let block: String = self.buffer.drain(..end + 2).collect();
                let field = |name: &str| {
                    let values = block.lines().filter_map(|l| l.strip_prefix(name));
                    values.collect::<Vec<_>>().join("\n")
                };
                let data = field("data: ");
                if !data.is_empty() {
                    return Some((field("id: "), data));
                }
            }
            let chunk = self.response.chunk().await.ok()??;
            self.buffer.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    pub(crate) async fn value(&mut self) -> Value {
        serde_json::from_str(&self.next().await.unwrap().1).unwrap()
    }
}

pub(crate) fn echo() -> FakeServer {
    FakeServer::new(|call| async move {
        let params = call.view()["params"].to_string();
        call.result(&params).await;
    })
}

pub(crate) async fn refused(response: Response) -> (u16, i64, String) {
    let status = response.status().as_u16();
    let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    let reason = body["error"]["data"]["reason"].as_str().unwrap().to_owned();
    (status, body["error"]["code"].as_i64().unwrap(), reason)
}

pub(crate) fn is(status: u16, code: i64, reason: &str) -> (u16, i64, String) {
    (status, code, reason.to_owned())
}

pub(crate) const PATH: &str = "/mcp/tools/echo";

#[tokio::test]
async fn a_transparent_session_passes_bytes_both_ways() {
    let odd = "{ \"jsonrpc\" : \"2.0\",\n\t\"result\":{\"n\":1.0, \"big\":12345678901234567890123, \"e\":1E+2, \"esc\":\"\\u0041\\/\"} ,\"x-vendor\":null, \"id\":\"\\u0061\" }";
    let server = FakeServer::new(move |call| async move { call.say(odd).await });
    let seen = server.clone();
    let bench = Bench::with(&[("tools", "echo", server)], Limits::default()).await;
    let initialize = INITIALIZE.replace("\"params\"", " \"x\" : 1.0 , \"params\"");
    let response = bench.post(PATH, initialize.clone()).send().await.unwrap();
    let session = response.headers()["mcp-session-id"]
        .to_str()
        .unwrap()
        .to_owned();
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(
        response.text().await.unwrap(),
        INITIALIZED.replace("ID", "0")
    );
    let initialized = "{\"jsonrpc\":\"2.0\", \"method\":\"notifications/initialized\" , \"y\":1e0}";
    let response = bench.send(PATH, &session, initialized).await;
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    assert!(response.bytes().await.unwrap().is_empty());
    let request = r#"{"jsonrpc":"2.0","id":"\u0061","method":"tools/call","params":{"name":"t"}}"#;
    let response = bench.send(PATH, &session, request).await;
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.text().await.unwrap(), odd);
    assert_eq!(
        seen.received(),
        [Bytes::from(initialize), Bytes::from(initialized)]
    );
}

#[tokio::test]
async fn what_precedes_the_answer_makes_it_an_event_stream() {
    let server = FakeServer::new(|call| async move {
        call.say(r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#).await;
        call.result("{}").await;
    });
    let bench = Bench::with(&[("tools", "echo", server)], Limits::default()).await;
    let session = bench.open(PATH).await;
    let call = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"t"}}"#;
    let mut events = Events::of(bench.send(PATH, &session, call).await);
    assert_eq!(events.value().await["method"], "notifications/progress");
    assert_eq!(events.value().await["id"], 7);
    assert!(
        events.next().await.is_none(),
        "the stream ends with the answer"
    );
    assert_eq!(bench.gateway.counts().calls, 0);
}

#[tokio::test]
async fn a_servers_request_rides_its_call_and_the_answer_returns_to_it() {
    let server = FakeServer::new(|mut call: ServerCall| async move {
        let ask = |id: &str| {
            format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"elicitation/create","params":{{"_meta":{{"progressToken":"p"}}}}}}"#
            )
        };
        call.say(ask("\"s1\"")).await;
        let progress = call.heard().await;
        let answer = call.heard().await;
        call.result(&json!([progress["method"], answer["result"]]).to_string())
            .await;
    });
    let seen = server.clone();
    let bench = Bench::with(&[("tools", "echo", server)], Limits::default()).await;
    let session = bench.open(PATH).await;
    let call = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"t"}}"#;
    let mut events = Events::of(bench.send(PATH, &session, call).await);
    assert_eq!(events.value().await["id"], "s1");
    for message in [
        r#"{"jsonrpc":"2.0","id":"other","result":{"stray":true}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"p","progress":1}}"#,
        r#"{"jsonrpc":"2.0","id":"s1","result":{"action":"accept"}}"#,
        r#"{"jsonrpc":"2.0","id":"s1","result":{"action":"twice"}}"#,
    ] {
        assert_eq!(
            bench.send(PATH, &session, message).await.status(),
            StatusCode::ACCEPTED
        );
    }
    let answer = events.value().await;
    assert_eq!(
        answer["result"],
        json!(["notifications/progress", {"action": "accept"}])
    );
    assert_eq!(seen.received().len(), 1, "strays reach no server");
}

#[tokio::test]
async fn cancelling_reaches_the_call() {
    let server = FakeServer::new(|mut call: ServerCall| async move {
        call.say(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#)
            .await;
        let heard = call.heard().await;
        assert_eq!(heard["method"], "notifications/cancelled");
    });
    let bench = Bench::with(&[("tools", "echo", server)], Limits::default()).await;
    let session = bench.open(PATH).await;
    let call = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"t"}}"#;
    let mut events = Events::of(bench.send(PATH, &session, call).await);
    events.next().await.unwrap();
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}"#;
    assert_eq!(
        bench.send(PATH, &session, cancel).await.status(),
        StatusCode::ACCEPTED
    );
    assert!(
        events.next().await.is_none(),
        "a cancelled call may end without an answer"
    );
}

#[tokio::test]
async fn events_outside_of_calls_ride_the_get_stream_and_resume() {
    let server = echo();
    let seen = server.clone();
    let bench = Bench::with(&[("tools", "echo", server)], Limits::default()).await;
    let session = bench.open(PATH).await;
    let changed =
        |n: u32| format!(r#"{{"jsonrpc":"2.0","method":"notifications/x","params":{{"n":{n}}}}}"#);
    seen.event(changed(1)).await;
    seen.event(r#"{"jsonrpc":"2.0","id":5,"method":"roots/list"}"#)
        .await;
    let mut events = bench.listen(PATH, &session, None).await;
    let (first, data) = events.next().await.unwrap();
    assert_eq!(data, changed(1));
    assert_eq!(events.value().await["method"], "roots/list");
    let roots = r#"{"jsonrpc":"2.0","id":5,"result":{"roots":[]}}"#;
    assert_eq!(
        bench.send(PATH, &session, roots).await.status(),
        StatusCode::ACCEPTED
    );
    assert_eq!(seen.received().last().unwrap(), roots);
    let mut again = bench.listen(PATH, &session, Some(&first)).await;
    assert_eq!(again.value().await["method"], "roots/list");
    assert!(events.next().await.is_none(), "the newer stream took over");
    seen.event(changed(2)).await;
    assert_eq!(again.value().await["params"]["n"], 2);
}

#[tokio::test]
async fn a_lost_call_stream_is_resumed_with_its_answer() {
    let (go, wait) = watch::channel(false);
    let server = FakeServer::new(move |call| {
        let mut wait = wait.clone();
        async move {
            call.say(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#)
                .await;
            wait.wait_for(|go| *go).await.unwrap();
            call.result("{\"late\":true}").await;
        }
    });
    let bench = Bench::with(&[("tools", "echo", server)], Limits::default()).await;
    let session = bench.open(PATH).await;
    let call = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"t"}}"#;
    let mut events = Events::of(bench.send(PATH, &session, call).await);
    let (id, _) = events.next().await.unwrap();
    drop(events);
    go.send(true).unwrap();
    let mut events = bench.listen(PATH, &session, Some(&id)).await;
    assert_eq!(events.value().await["result"]["late"], true);
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn a_call_whose_client_stays_away_is_dropped() {
    let (gone, mut is_gone) = watch::channel(false);
    let server = FakeServer::new(move |mut call: ServerCall| {
        let gone = gone.clone();
        async move {
            call.say(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#)
                .await;
            assert!(call.from_client.recv().await.is_none());
            gone.send(true).unwrap();
        }
    });
    let limits = Limits {
        detached: Duration::from_millis(20),
        ..Limits::default()
    };
    let bench = Bench::with(&[("tools", "echo", server)], limits).await;
    let session = bench.open(PATH).await;
    let call = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"t"}}"#;
    let mut events = Events::of(bench.send(PATH, &session, call).await);
    events.next().await.unwrap();
    drop(events);
    is_gone.wait_for(|gone| *gone).await.unwrap();
}

#[tokio::test]
async fn host_and_origin_are_checked_before_anything_else() {
    let bench = Bench::with(&[("tools", "echo", echo())], Limits::default()).await;
    let port = bench.address.port();
    for host in [
        "evil.example",
        "127.0.0.1",
        "127.0.0.1:1",
        "evil.example:80",
        "127.0.0.1.evil.example",
    ] {
        let request = bench.post(PATH, INITIALIZE).header("host", host);
        let request = request.header("authorization", "");
        assert_eq!(
            refused(request.send().await.unwrap()).await,
            is(403, -32050, "host"),
            "{host}"
        );
    }
    let name = format!("localhost:{port}");
    let response = bench
        .post(PATH, INITIALIZE)
        .header("host", name)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    for origin in [
        "null",
        "https://evil.example",
        "http://127.0.0.1",
        "http://localhost:1",
        "https://127.0.0.1",
    ] {
        let response = bench
            .post(PATH, INITIALIZE)
            .header("origin", origin)
            .send()
            .await
            .unwrap();
        assert!(
            response
                .headers()
                .get("access-control-allow-origin")
                .is_none()
        );
        assert_eq!(
            refused(response).await,
            is(403, -32050, "origin"),
            "{origin}"
        );
    }
    let own = format!("http://127.0.0.1:{port}");
    let response = bench
        .post(PATH, INITIALIZE)
        .header("origin", own)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_token_is_needed_even_on_loopback() {
    let bench = Bench::with(&[("tools", "echo", echo())], Limits::default()).await;
    let url = format!("http://{}{PATH}", bench.address);
    let forged = format!("Bearer hgr_{}", "0".repeat(64));
    for value in [
        None,
        Some("Basic x"),
        Some("Bearer"),
        Some("Bearer "),
        Some(forged.as_str()),
    ] {
        for method in [
            reqwest::Method::POST,
            reqwest::Method::GET,
            reqwest::Method::DELETE,
        ] {
            let mut request = bench.http.request(method, &url);
            if let Some(value) = value {
                request = request.header("authorization", value);
            }
            let response = request.send().await.unwrap();
            assert_eq!(
                response.headers()["www-authenticate"],
                "Bearer realm=\"hedgerow\""
            );
            assert_eq!(
                refused(response).await,
                is(401, -32050, "unauthenticated"),
                "{value:?}"
            );
        }
    }
    let session = bench.open(PATH).await;
    bench.table.remove(&"one".parse().unwrap()).unwrap();
    let response = bench
        .send(
            PATH,
            &session,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
        )
        .await;
    assert_eq!(refused(response).await, is(401, -32050, "unauthenticated"));
}

#[tokio::test]
async fn agents_cannot_use_each_others_sessions_nor_other_endpoints() {
    let bench = Bench::with(
        &[("tools", "echo", echo()), ("tools", "other", echo())],
        Limits::default(),
    )
    .await;
    let session = bench.open(PATH).await;
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let theirs = bench.http.post(format!("http://{}{PATH}", bench.address));
    let theirs = theirs
        .header("authorization", format!("Bearer {}", bench.two))
        .header("content-type", "application/json")
        .header("accept", BOTH)
        .header("mcp-session-id", &session)
        .body(ping);
    let unknown = is(404, -32600, "unknown_session");
    assert_eq!(refused(theirs.send().await.unwrap()).await, unknown);
    for method in [reqwest::Method::GET, reqwest::Method::DELETE] {
        let request = bench
            .http
            .request(method, format!("http://{}{PATH}", bench.address));
        let request = request
            .header("authorization", format!("Bearer {}", bench.two))
            .header("mcp-session-id", &session);
        assert_eq!(refused(request.send().await.unwrap()).await, unknown);
    }
    for path in ["/mcp", "/mcp/tools/other"] {
        assert_eq!(
            refused(bench.send(path, &session, ping).await).await,
            unknown
        );
    }
    assert_eq!(
        bench.send(PATH, &session, ping).await.status(),
        StatusCode::OK
    );
}

#[tokio::test]
async fn malformed_posts_are_refused_by_name() {
    let bench = Bench::with(&[("tools", "echo", echo())], Limits::default()).await;
    let session = bench.open(PATH).await;
    for (body, status, code, reason) in [
        ("", 400, -32700, "message_not_json"),
        ("{", 400, -32700, "message_not_json"),
        ("{} {}", 400, -32700, "trailing_bytes"),
        ("1", 400, -32600, "message_not_object"),
        (
            r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
            400,
            -32600,
            "jsonrpc_version",
        ),
        (
            r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
            400,
            -32600,
            "id_null",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":1}"#,
            400,
            -32600,
            "method_not_string",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#,
            400,
            -32600,
            "duplicate_key",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":{"b":1,"b":2}}}"#,
            400,
            -32600,
            "duplicate_key",
        ),
        (
            r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#,
            400,
            -32600,
            "batch_refused",
        ),
    ] {
        let got = refused(bench.send(PATH, &session, body).await).await;
        assert_eq!(got, is(status, code, reason), "{body}");
    }
    let invalid = bench
        .post(PATH, Bytes::from_static(b"\"\xff\""))
        .send()
        .await
        .unwrap();
    assert_eq!(refused(invalid).await, is(400, -32700, "message_not_utf8"));
    let large = vec![b' '; protocol::limits::MAX_MESSAGE_BYTES + 1];
    let large = bench.post(PATH, large).send().await.unwrap();
    assert_eq!(refused(large).await, is(413, -32600, "too_large"));
    // Most clients read nothing before they have sent everything.
    let all = async {
        let mut client = tokio::net::TcpStream::connect(bench.address).await?;
        let size = 2 * protocol::limits::MAX_MESSAGE_BYTES;
        let (host, token) = (bench.address, &bench.one);
        let head = format!(
            "POST {PATH} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\naccept: {BOTH}\r\ncontent-length: {size}\r\n\r\n"
        );
        client.write_all(head.as_bytes()).await?;
        client.write_all(&vec![b' '; size]).await?;
        let mut answer = [0; 12];
        client.read_exact(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    assert_eq!(&all.await.unwrap(), b"HTTP/1.1 413");
    let stream =
        futures::stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from(vec![b' '; 65536])));
    let endless = bench.post(PATH, reqwest::Body::wrap_stream(stream));
    // The gateway answers and closes while the client still sends: either is seen.
    if let Ok(response) = endless.send().await {
        assert_eq!(refused(response).await, is(413, -32600, "too_large"));
    }
}

#[tokio::test]
async fn headers_are_refused_by_name() {
    let bench = Bench::with(&[("tools", "echo", echo())], Limits::default()).await;
    let session = bench.open(PATH).await;
    let ping = r#"{"jsonrpc":"2.0","id":9,"method":"ping"}"#;
    for (name, value, expected) in [
        (
            "content-type",
            "text/plain",
            is(415, -32600, "content_type"),
        ),
        (
            "content-type",
            "application/jsonx",
            is(415, -32600, "content_type"),
        ),
        ("content-encoding", "gzip", is(415, -32600, "content_type")),
        ("accept", "application/json", is(406, -32600, "accept")),
        ("accept", "text/event-stream", is(406, -32600, "accept")),
        ("accept", "*/*;q=0", is(406, -32600, "accept")),
        (
            "mcp-protocol-version",
            "1999-01-01",
            is(400, -32022, "unsupported_version"),
        ),
        (
            "mcp-protocol-version",
            "2026-07-28",
            is(400, -32022, "unsupported_version"),
        ),
        ("mcp-session-id", "0123", is(404, -32600, "unknown_session")),
    ] {
        let mut request = bench.post(PATH, ping).build().unwrap();
        request
            .headers_mut()
            .insert("mcp-session-id", session.parse().unwrap());
        request.headers_mut().insert(name, value.parse().unwrap());
        let response = bench.http.execute(request).await.unwrap();
        assert_eq!(refused(response).await, expected, "{name}: {value}");
    }
    let response = bench.post(PATH, ping).send().await.unwrap();
    assert_eq!(refused(response).await, is(400, -32600, "no_session"));
    let response = bench.send(PATH, &session, INITIALIZE).await;
    assert_eq!(
        refused(response).await,
        is(400, -32600, "already_initialized")
    );
    let put = bench.http.put(format!("http://{}{PATH}", bench.address));
    let put = put
        .header("authorization", format!("Bearer {}", bench.one))
        .send()
        .await
        .unwrap();
    assert_eq!(put.headers()["allow"], "GET, POST, DELETE");
    assert_eq!(refused(put).await, is(405, -32600, "method"));
    let path = bench
        .post("/.well-known/oauth-protected-resource", "")
        .send()
        .await
        .unwrap();
    assert_eq!(refused(path).await, is(404, -32600, "path"));
}

#[tokio::test]
async fn the_next_era_is_told_which_versions_there_are() {
    let bench = Bench::with(&[("tools", "echo", echo())], Limits::default()).await;
    let discover = r#"{"jsonrpc":"2.0","id":"d","method":"server/discover","params":{}}"#;
    for version in [Some("2026-07-28"), None] {
        let mut request = bench.post(PATH, discover);
        if let Some(version) = version {
            request = request.header("mcp-protocol-version", version);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        assert_eq!(body["id"], "d");
        assert_eq!(body["error"]["code"], -32022);
        assert_eq!(body["error"]["data"]["requested"], "2026-07-28");
        assert_eq!(
            body["error"]["data"]["supported"],
            json!(version::SUPPORTED)
        );
    }
}

#[tokio::test]
async fn failures_are_json_rpc_errors_with_their_place() {
    let mut denied = echo();
    denied.initialize = Err(
        SessionError::new(ErrorKind::Deny, "policy", "denied by `p`")
            .with_hint("ask an admin")
            .at("tools", "denied"),
    );
    let failing = FakeServer::new(|call| async move {
        let failure = SessionError::new(ErrorKind::Upstream, "upstream_down", "it is down");
        let _ = call
            .to_client
            .send(Err(failure.at("tools", "failing")))
            .await;
    });
    let silent = FakeServer::new(|call| async move { drop(call) });
    let servers = [
        ("tools", "denied", denied),
        ("tools", "failing", failing),
        ("tools", "silent", silent),
    ];
    let bench = Bench::with(&servers, Limits::default()).await;
    let response = bench
        .post("/mcp/tools/denied", INITIALIZE)
        .send()
        .await
        .unwrap();
    assert!(response.headers().get("mcp-session-id").is_none());
    let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    assert_eq!(
        body,
        json!({"jsonrpc": "2.0", "id": 0, "error": {"code": -32050, "message": "denied by `p`",
            "data": {"reason": "policy", "node": "tools", "server": "denied", "hint": "ask an admin"}}})
    );
    for (path, code, reason) in [
        ("/mcp/tools/failing", -32053, "upstream_down"),
        ("/mcp/tools/silent", -32054, "ended_early"),
    ] {
        let session = bench.open(path).await;
        let call = r#"{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{"name":"t"}}"#;
        let response = bench.send(path, &session, call).await;
        let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        assert_eq!(
            (&body["id"], &body["error"]["code"]),
            (&json!("x"), &json!(code))
        );
        assert_eq!(body["error"]["data"]["reason"], reason);
    }
    let response = bench
        .post("/mcp/tools/fialing", INITIALIZE)
        .send()
        .await
        .unwrap();
    let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    assert_eq!(body["error"]["data"]["reason"], "unknown_server");
    assert_eq!(
        body["error"]["data"]["hint"],
        "did you mean `tools/failing`?"
    );
}

#[tokio::test]
async fn who_was_given_a_list_is_told_when_it_may_be_another() {
    let server = echo();
    let bench = Bench::with(&[("tools", "echo", server.clone())], Limits::default()).await;
    let (asked, never) = (bench.open(PATH).await, bench.open(PATH).await);
    for (id, method) in [(1, "tools/list"), (2, "prompts/list")] {
        let ask = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}"}}"#);
        bench.send(PATH, &asked, &ask).await;
    }
    bench.gateway.lists_changed();
    let mut events = bench.listen(PATH, &asked, None).await;
    let told = events.value().await;
    assert_eq!(told["method"], "notifications/tools/list_changed");
    // The server did not declare that its prompts change, and one change is told once.
    let marker =
        |n: u32| format!(r#"{{"jsonrpc":"2.0","method":"notifications/x","params":{{"n":{n}}}}}"#);
    let sessions = server.sessions.lock().unwrap().clone();
    for session in sessions.into_iter().flatten() {
        session.send(marker(1).into()).await.unwrap();
    }
    assert_eq!(events.value().await["params"]["n"], 1);
    // Another change is told again, whether the client has asked meanwhile or not.
    bench.gateway.lists_changed();
    let told = events.value().await;
    assert_eq!(told["method"], "notifications/tools/list_changed");
    // Who asked for nothing hears of nothing.
    let mut silent = bench.listen(PATH, &never, None).await;
    assert_eq!(silent.value().await["params"]["n"], 1);
}
