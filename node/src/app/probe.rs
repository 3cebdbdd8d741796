//! This node as an MCP client, for `hedgerow tools` and `hedgerow call`: one short session a
//! command, over the same fabric as everyone else's.

use std::sync::Arc;

use bytes::Bytes;
use protocol::mcp::{self, ListKind, MessageKind, View};
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use crate::call::{MeshFabric, RemoteSession, Trace};
use crate::session::{ErrorKind, McpCall, McpSession as _, Principal, ServerRef, SessionError};

/// The version it offers; servers answer with their own.
const PROTOCOL_VERSION: &str = "2025-11-25";

/// Pages of one list read at most.
const MAX_PAGES: usize = 64;

/// A session with one server, closed when dropped.
pub(super) struct Probe {
    session: Arc<RemoteSession>,
    _events: mpsc::Receiver<Bytes>,
}

impl Probe {
    /// Opens a session and says `initialized`.
    pub(super) async fn open(
        fabric: &MeshFabric,
        principal: &Principal,
        server: &ServerRef,
    ) -> Result<Self, SessionError> {
        let params = serde_json::json!({
            "protocolVersion": PROTOCOL_VERSION,
            "capabilities": {},
            "clientInfo": { "name": "hedgerow", "version": env!("CARGO_PKG_VERSION") },
        });
        let message = mcp::request("0", "initialize", Some(&params.to_string()))
            .map_err(|e| unusable(&e.to_string()))?;
        let opened = fabric
            .open_remote(principal, server, message.into())
            .await?;
        let probe = Self {
            session: opened.session,
            _events: opened.events,
        };
        if let Some(error) = read(&opened.response)?.error {
            return Err(failed(server, error.get()));
        }
        let initialized = mcp::notification("notifications/initialized", None)
            .map_err(|e| unusable(&e.to_string()))?;
        probe.session.send(initialized.into()).await?;
        Ok(probe)
    }

    /// Every tool of the server, as the raw JSON of its definition.
    pub(super) async fn tools(&self, server: &ServerRef) -> Result<Vec<String>, SessionError> {
        let mut tools = Vec::new();
        let mut cursor: Option<String> = None;
        for page in 1..=MAX_PAGES {
            let params = cursor.as_ref().map(|raw| format!("{{\"cursor\":{raw}}}"));
            let message = mcp::request(&page.to_string(), "tools/list", params.as_deref())
                .map_err(|e| unusable(&e.to_string()))?;
            let (nobody, _) = mpsc::channel(1);
            let response = self
                .request(message, Arc::new(Trace::new(false)), nobody)
                .await?;
            if let Some(error) = read(&response)?.error {
                return Err(failed(server, error.get()));
            }
            let view = View::parse(&response).map_err(|e| unusable(&e.to_string()))?;
            let list =
                mcp::list_items(&view, ListKind::Tools).map_err(|e| unusable(&e.to_string()))?;
            tools.extend(list.items.iter().map(|item| item.raw.to_owned()));
            cursor = list.next_cursor.map(str::to_owned);
            if cursor.is_none() {
                break;
            }
        }
        Ok(tools)
    }

    /// Calls a tool and returns the whole response; notifications go to `notifications`.
    pub(super) async fn call(
        &self,
        tool: &str,
        arguments: &str,
        trace: Arc<Trace>,
        notifications: mpsc::Sender<Box<RawValue>>,
    ) -> Result<Vec<u8>, SessionError> {
        let params = format!(
            "{{\"name\":{},\"arguments\":{arguments},\"_meta\":{{\"progressToken\":1}}}}",
            mcp::quote(tool)
        );
        let message =
            mcp::request("1", "tools/call", Some(&params)).map_err(|e| unusable(&e.to_string()))?;
        self.request(message, trace, notifications).await
    }

    async fn request(
        &self,
        message: Vec<u8>,
        trace: Arc<Trace>,
        notifications: mpsc::Sender<Box<RawValue>>,
    ) -> Result<Vec<u8>, SessionError> {
        let McpCall {
            mut inbound,
            outbound,
        } = self.session.request_traced(message.into(), trace).await?;
        while let Some(message) = inbound.recv().await {
            let message = message?;
            let view = View::parse(&message).map_err(|e| unusable(&e.to_string()))?;
            match view.kind() {
                MessageKind::Response | MessageKind::ErrorResponse => return Ok(message.to_vec()),
                MessageKind::Notification => {
                    let text = String::from_utf8_lossy(&message).into_owned();
                    if let Ok(raw) = RawValue::from_string(text) {
                        // Nobody may be listening; the call goes on.
                        drop(notifications.send(raw).await);
                    }
                }
                MessageKind::Request => {
                    let text = "this client offers no such method";
                    let answer = mcp::error_response(view.id(), -32601, text, None);
                    drop(outbound.send(answer.into()).await);
                }
            }
        }
        let text = "the call ended without a response";
        Err(SessionError::new(
            ErrorKind::BrokenStream,
            "ended_early",
            text,
        ))
    }
}

/// Result and error of a response, as raw JSON.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Response {
    #[serde(default)]
    pub(super) result: Option<Box<RawValue>>,
    #[serde(default)]
    pub(super) error: Option<Box<RawValue>>,
}

/// Reads a response.
pub(super) fn read(message: &[u8]) -> Result<Response, SessionError> {
    serde_json::from_slice(message).map_err(|e| unusable(&e.to_string()))
}

fn unusable(detail: &str) -> SessionError {
    let text = format!("a message could not be used: {detail}");
    SessionError::new(ErrorKind::InvalidMessage, "invalid_message", text)
}

/// What a JSON-RPC error of a server says, with the reason in its data where it is one of ours.
fn failed(server: &ServerRef, error: &str) -> SessionError {
    #[derive(serde::Deserialize)]
    struct Data {
        reason: Option<String>,
        hint: Option<String>,
    }
    #[derive(serde::Deserialize)]
    struct Error {
        message: Option<String>,
        data: Option<Data>,
    }
    let error: Error = serde_json::from_str(error).unwrap_or(Error {
        message: None,
        data: None,
    });
    let message = error
        .message
        .unwrap_or_else(|| "the server answered with an error".to_owned());
    let (reason, hint) = error.data.map(|d| (d.reason, d.hint)).unwrap_or_default();
    let reason = reason.unwrap_or_else(|| "server_error".to_owned());
    let mut failed = SessionError::new(ErrorKind::Upstream, &reason, message)
        .at(server.node.to_string(), server.server.to_string());
    failed.hint = hint;
    failed
}
