//! One server within an aggregate session.

use std::sync::Arc;

use bytes::Bytes;
use protocol::mcp::{Edit, ListKind, View, notification};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Aggregate, locked, unusable};
use crate::gateway::message::{self, Kind};
use crate::session::{ErrorKind, McpCall, McpSession, ServerRef, SessionError};

/// An open session with one server.
pub(super) struct Upstream {
    server: ServerRef,
    session: Arc<dyn McpSession>,
    /// `result.capabilities` of its answer to `initialize`.
    capabilities: Value,
    gone: CancellationToken,
}

impl Upstream {
    /// Opens the session, finishes its initialization and passes its events on.
    pub(super) async fn open(
        aggregate: &Aggregate,
        server: &ServerRef,
    ) -> Result<Arc<Self>, SessionError> {
        let at = |e: SessionError| e.at(server.node.as_str(), server.server.as_str());
        let opening =
            aggregate
                .fabric
                .open(&aggregate.principal, server, aggregate.initialize.clone());
        let opened = tokio::time::timeout(aggregate.limits.open_wait, opening)
            .await
            .unwrap_or_else(|_| {
                let (node, server) = (server.node.as_str(), server.server.as_str());
                Err(crate::gateway::open_timed_out(node, server))
            })?;
        let answer: Value = serde_json::from_slice(&opened.response).unwrap_or_default();
        let Some(result) = answer.get("result") else {
            opened.session.close().await;
            return Err(at(refused("initialize_refused", &answer)));
        };
        let upstream = Arc::new(Self {
            server: server.clone(),
            session: opened.session,
            capabilities: result.get("capabilities").cloned().unwrap_or_default(),
            gone: CancellationToken::new(),
        });
        let ready = notification("notifications/initialized", None).map_err(unusable)?;
        upstream.session.send(Bytes::from(ready)).await?;
        let level = locked(&aggregate.level).clone();
        if let Some(level) = level {
            upstream.set_level(aggregate.draw_id(), &level).await;
        }
        let Some(me) = aggregate.me.upgrade() else {
            return Err(at(SessionError::new(
                ErrorKind::Unreachable,
                "session_ended",
                "the session has ended",
            )));
        };
        let events = pump(me, Arc::clone(&upstream), opened.events);
        aggregate.tasks.spawn(events);
        Ok(upstream)
    }

    pub(super) fn server(&self) -> &ServerRef {
        &self.server
    }

    pub(super) fn session(&self) -> &dyn McpSession {
        &*self.session
    }

    /// Whether its session has ended.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.is_cancelled()
    }

    /// Whether it declared what `kind` lists.
    pub(super) fn offers(&self, kind: ListKind) -> bool {
        let name = match kind {
            ListKind::Tools => "tools",
            ListKind::Prompts => "prompts",
            ListKind::Resources | ListKind::ResourceTemplates => "resources",
        };
        self.capabilities.get(name).is_some()
    }

    /// Sends what needs no answer.
    pub(super) async fn tell(&self, message: Bytes) {
        if let Err(failure) = self.session.send(message).await {
            tracing::debug!(server = %self.server, reason = %failure.reason, "not delivered");
        }
    }

    /// Passes the client's `logging/setLevel` on under an id of ours, if the server logs.
    pub(super) async fn set_level(&self, id: String, message: &[u8]) {
        if self.capabilities.get("logging").is_none() {
            return;
        }
        let Ok(spliced) = protocol::mcp::splice_id(message, &id) else {
            return;
        };
        if let Err(failure) = self.ask(Bytes::from(spliced)).await {
            tracing::debug!(server = %self.server, reason = %failure.reason, "level not set");
        }
    }

    /// Sends a request of the gateway's own and returns the response.
    pub(super) async fn ask(&self, request: Bytes) -> Result<Bytes, SessionError> {
        let mut call = self.session.request(request).await?;
        while let Some(item) = call.inbound.recv().await {
            let bytes = item?;
            let view = View::parse(&bytes).map_err(unusable)?;
            let head = message::head(&view);
            match head.kind {
                Kind::Response => return Ok(bytes),
                Kind::Notification => {}
                Kind::Request => decline(&call, &head.id).await,
            }
        }
        Err(SessionError::new(
            ErrorKind::BrokenStream,
            "ended_early",
            "the call ended without an answer",
        ))
    }

    pub(super) async fn close(&self) {
        self.gone.cancel();
        self.session.close().await;
    }
}

/// What the client never asked for is not put to the client.
async fn decline(call: &McpCall, id: &str) {
    let failure = SessionError::new(
        ErrorKind::Deny,
        "unsolicited",
        "requests are not taken while the gateway itself asks",
    );
    // A call that takes nothing just goes on to its end.
    let _ = call
        .outbound
        .send(crate::gateway::refusal::failed(id, &failure))
        .await;
}

/// The failure of a server that answered with an error.
pub(super) fn refused(reason: &str, answer: &Value) -> SessionError {
    let text = answer.pointer("/error/message").and_then(Value::as_str);
    let text = crate::gateway::names::printable(text.unwrap_or("no reason given"));
    let message = format!("the server refused: {text}");
    SessionError::new(ErrorKind::Upstream, reason, message)
}

/// Passes the server's events to the client until either session ends.
async fn pump(
    aggregate: Arc<Aggregate>,
    upstream: Arc<Upstream>,
    mut events: mpsc::Receiver<Bytes>,
) {
    loop {
        let event = tokio::select! {
            biased;
            () = aggregate.ended.cancelled() => None,
            () = upstream.gone.cancelled() => None,
            event = events.recv() => event,
        };
        let Some(event) = event else { break };
        let Some(event) = aggregate.event(&upstream, event).await else {
            continue;
        };
        tokio::select! {
            biased;
            () = aggregate.ended.cancelled() => break,
            sent = aggregate.events.send(event) => if sent.is_err() { break },
        }
    }
    aggregate.forget(&upstream);
    upstream.close().await;
}

/// The message under another id.
pub(super) fn renumbered(view: &View<'_>, edits: &[Edit<'_>]) -> Option<Bytes> {
    view.splice(edits).ok().map(Bytes::from)
}
