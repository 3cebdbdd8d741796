//! A small MCP client over streamable HTTP: exact bytes in, exact bytes out.

use reqwest::{Client, Response, StatusCode};
use serde_json::Value;

use crate::mesh::{INITIALIZE, TestNode};
use crate::wait::soon;

const BOTH: &str = "application/json, text/event-stream";
const SESSION: &str = "mcp-session-id";

/// A client of one endpoint with one agent's token.
pub struct McpClient {
    http: Client,
    url: String,
    token: String,
    /// Its session, once it has one; a test may set another's.
    pub session: Option<String>,
}

/// What the gateway answered.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The messages in order, however they came: as plain JSON or as events.
    pub messages: Vec<String>,
}

/// What a client hears while it listens.
pub struct Heard {
    response: Response,
    lines: String,
}

impl Heard {
    /// The next message.
    pub async fn next(&mut self) -> Value {
        loop {
            while let Some(end) = self.lines.find('\n') {
                let line: String = self.lines.drain(..=end).collect();
                let data = line.trim_end().strip_prefix("data: ").unwrap_or_default();
                if !data.is_empty() {
                    return serde_json::from_str(data).unwrap();
                }
            }
            let chunk = soon(self.response.chunk()).await.unwrap();
            let chunk = chunk.expect("the node says more");
            self.lines.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

impl Answer {
    /// The last message, which is the response.
    #[must_use]
    pub fn response(&self) -> Value {
        let last = self.messages.last().expect("an answer has a message");
        serde_json::from_str(last).unwrap()
    }

    /// The name of the reason in the error it must be.
    #[must_use]
    pub fn reason(&self) -> String {
        let response = self.response();
        let reason = response["error"]["data"]["reason"].as_str();
        reason.map_or_else(|| format!("no error but {response}"), str::to_owned)
    }
}

impl McpClient {
    /// A client of a node's gateway at `path`, without a session.
    #[must_use]
    pub fn new(node: &TestNode, path: &str, token: &str) -> Self {
        let address = node.node.gateway_address();
        Self::at(&format!("http://{address}{path}"), token)
    }

    /// A client of an endpoint, without a session.
    #[must_use]
    pub fn at(url: &str, token: &str) -> Self {
        // A second installation keeps the first, which is the same.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        Self {
            http: Client::builder().no_proxy().build().unwrap(),
            url: url.to_owned(),
            token: token.to_owned(),
            session: None,
        }
    }

    /// A client with a session of its own.
    pub async fn open(node: &TestNode, path: &str, token: &str) -> Self {
        let address = node.node.gateway_address();
        Self::open_at(&format!("http://{address}{path}"), token).await
    }

    /// A client of an endpoint with a session of its own.
    pub async fn open_at(url: &str, token: &str) -> Self {
        let mut client = Self::at(url, token);
        let response = client.send(INITIALIZE.to_owned()).await;
        let session = response.headers().get(SESSION).cloned();
        let answer = read(response).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        client.session = Some(session.unwrap().to_str().unwrap().to_owned());
        client
    }

    /// Posts a message and returns as soon as the head of the response is there.
    pub async fn send(&self, body: String) -> Response {
        let mut request = self
            .http
            .post(&self.url)
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json")
            .header("accept", BOTH)
            .header("mcp-protocol-version", "2025-11-25");
        if let Some(session) = &self.session {
            request = request.header(SESSION, session);
        }
        soon(request.body(body).send()).await.unwrap()
    }

    /// Listens for what belongs to no call of its session.
    pub async fn listen(&self) -> Heard {
        let session = self.session.as_ref().expect("a session is listened to");
        let request = self
            .http
            .get(&self.url)
            .header("authorization", format!("Bearer {}", self.token))
            .header("accept", "text/event-stream")
            .header("mcp-protocol-version", "2025-11-25")
            .header(SESSION, session);
        let response = soon(request.send()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        Heard {
            response,
            lines: String::new(),
        }
    }

    /// Posts a message and reads the whole answer.
    pub async fn post(&self, body: impl Into<String>) -> Answer {
        read(self.send(body.into()).await).await
    }
}

async fn read(response: Response) -> Answer {
    let status = response.status();
    let kind = response.headers().get("content-type").cloned();
    let text = soon(response.text()).await.unwrap();
    let events = kind.is_some_and(|k| k.as_bytes().starts_with(b"text/event-stream"));
    let messages = if events {
        let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
        data.filter(|d| !d.is_empty()).map(str::to_owned).collect()
    } else if text.is_empty() {
        Vec::new()
    } else {
        vec![text]
    };
    Answer { status, messages }
}
