//! The smallest MCP client that is fair to both sides of a comparison: one kept-alive HTTP/1.1
//! connection, one request at a time, no model of the messages.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// The protocol version it speaks.
pub(crate) const VERSION: &str = "2025-06-18";

/// A session with one MCP endpoint.
pub(crate) struct Client {
    sender: SendRequest<Full<Bytes>>,
    authority: String,
    path: String,
    token: Option<String>,
    session: Option<String>,
    last_id: u64,
}

impl Client {
    /// Connects to `url` and opens a session.
    pub(crate) async fn open(url: &str, token: Option<&str>) -> Self {
        let uri: Uri = url.parse().expect("a URL");
        let authority = uri.authority().expect("a host").to_string();
        let stream = TcpStream::connect(&authority).await.expect("a listener");
        stream.set_nodelay(true).expect("a TCP socket");
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .expect("HTTP/1.1");
        tokio::spawn(connection);
        let mut client = Self {
            sender,
            authority,
            path: uri.path().to_owned(),
            token: token.map(str::to_owned),
            session: None,
            last_id: 0,
        };
        let parameters = format!(
            r#"{{"protocolVersion":"{VERSION}","capabilities":{{}},"clientInfo":{{"name":"bench","version":"1"}}}}"#
        );
        let answer = client.request("initialize", &parameters).await;
        assert!(answer.contains("protocolVersion"), "{answer}");
        let (status, _) = client
            .post(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.to_owned())
            .await;
        assert_eq!(status, StatusCode::ACCEPTED);
        client
    }

    /// Calls a tool and checks that the answer is its own and holds `expected`.
    pub(crate) async fn call(&mut self, tool: &str, arguments: &str, expected: &str) {
        let parameters = format!(r#"{{"name":"{tool}","arguments":{arguments}}}"#);
        let answer = self.request("tools/call", &parameters).await;
        let id = format!(r#""id":{}"#, self.last_id);
        assert!(
            answer.contains(&id) && answer.contains(expected),
            "{answer}"
        );
    }

    /// Sends a call of a tool that does not answer and waits until the gateway has taken it; the
    /// future within ends with everything the gateway wrote.
    pub(crate) async fn hold(&mut self, tool: &str) -> impl Future<Output = String> + use<> {
        self.last_id += 1;
        let id = self.last_id;
        let message = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{{}}}}}}"#
        );
        let response = self.respond(message).await;
        assert_eq!(response.status(), StatusCode::OK);
        async move {
            let body = response.into_body().collect().await.expect("a body");
            String::from_utf8_lossy(&body.to_bytes()).into_owned()
        }
    }

    async fn request(&mut self, method: &str, parameters: &str) -> String {
        self.last_id += 1;
        let id = self.last_id;
        let message =
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{parameters}}}"#);
        let (status, body) = self.post(message).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        body
    }

    async fn post(&mut self, message: String) -> (StatusCode, String) {
        let response = self.respond(message).await;
        let status = response.status();
        if let Some(session) = response.headers().get("mcp-session-id") {
            self.session = session.to_str().ok().map(str::to_owned);
        }
        let body = response.into_body().collect().await.expect("a body");
        let body = body.to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    async fn respond(&mut self, message: String) -> Response<Incoming> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(&self.path)
            .header(HOST, &self.authority)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, text/event-stream");
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some(session) = &self.session {
            request = request
                .header("mcp-session-id", session)
                .header("mcp-protocol-version", VERSION);
        }
        let request = request.body(Full::new(message.into())).expect("a request");
        self.sender.send_request(request).await.expect("an answer")
    }
}
