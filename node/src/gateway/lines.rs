//! Newline-delimited JSON-RPC (MCP "stdio") over any local stream, for `hedgerow mcp`.
//!
//! The same session core as HTTP; the stream itself is the session, and whoever accepted it has
//! already established the principal. One message per line both ways; a line is bounded.

use std::sync::Arc;

use bytes::Bytes;
use protocol::limits::MAX_MESSAGE_BYTES;
use protocol::mcp::{View, one_line};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::gateway::client::{ClientSession, Delivery, Sink};
use crate::gateway::message::{self, Head, Kind};
use crate::gateway::refusal::{self, Refusal};
use crate::gateway::{Gateway, Scope, version};
use crate::session::{MESSAGE_QUEUE, Principal};

/// Why a line session ended before its client was done.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The stream failed.
    #[error("the client's stream failed")]
    Stream(#[from] std::io::Error),
    /// A line had more than [`MAX_MESSAGE_BYTES`]; the client was told and the session ended,
    /// since what follows the bound may be anything.
    #[error("a line has at most {MAX_MESSAGE_BYTES} bytes")]
    TooLong,
    /// The client did not take what was sent to it, or went away.
    #[error("the client stopped reading")]
    Unread,
}

impl Gateway {
    /// Serves one client over lines until it closes its side; calls still in flight then have
    /// [`crate::gateway::Limits::drain`] to end, so that a script may write and close. `target`
    /// is one server by its node's name and its own, transparently, or all of them; one that is
    /// not known is refused like one of HTTP, when the client initializes.
    ///
    /// # Errors
    /// See [`LineError`]; the session has ended in every case.
    pub async fn serve_lines(
        self: Arc<Self>,
        reader: impl AsyncRead + Send + Unpin,
        writer: impl AsyncWrite + Send + Unpin + 'static,
        principal: Principal,
        target: Option<(String, String)>,
    ) -> Result<(), LineError> {
        let scope = target.map_or(Scope::Every, |(node, server)| Scope::Server {
            node,
            server,
        });
        let (lines, queue) = mpsc::channel(MESSAGE_QUEUE);
        let writing = self.tasks.spawn(write(writer, queue));
        let drain = self.limits.drain;
        let mut edge = LineEdge {
            gateway: self,
            principal,
            scope,
            lines,
            session: None,
        };
        let read = edge.read(&mut BufReader::new(reader)).await;
        edge.close(read.is_ok()).await;
        drop(edge);
        // No sender is left but those of calls just ended.
        match tokio::time::timeout(drain, writing).await {
            Ok(Ok(Err(error))) => read.and(Err(error.into())),
            Ok(_) => read,
            Err(_) => read.and(Err(LineError::Unread)),
        }
    }
}

struct LineEdge {
    gateway: Arc<Gateway>,
    principal: Principal,
    scope: Scope,
    lines: mpsc::Sender<Bytes>,
    session: Option<Arc<ClientSession>>,
}

impl LineEdge {
    /// Takes lines until the client closes its side or the session ends.
    async fn read(&mut self, reader: &mut (impl AsyncBufRead + Unpin)) -> Result<(), LineError> {
        let mut line = Vec::new();
        loop {
            let ended = self.session.as_ref().map(|s| s.ended().clone());
            let more = tokio::select! {
                biased;
                () = self.lines.closed() => return Err(LineError::Unread),
                () = cancelled(ended) => return Ok(()),
                more = next_line(reader, &mut line) => more,
            };
            match more {
                Ok(true) => self.take(Bytes::from(std::mem::take(&mut line))).await,
                Ok(false) => return Ok(()),
                Err(error) => {
                    if matches!(error, LineError::TooLong) {
                        self.gateway.refused(&Refusal::TooLarge);
                        self.say(Refusal::TooLarge.body("")).await;
                    }
                    return Err(error);
                }
            }
        }
    }

    /// Sends a line; a writer that is gone is noticed by [`Self::read`].
    async fn say(&self, message: Bytes) {
        let _ = self.lines.send(message).await;
    }

    async fn take(&mut self, line: Bytes) {
        if line.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        let (id, taken) = match message::read(&line) {
            Ok(head) => {
                let is_request = head.kind == Kind::Request;
                let id = if is_request {
                    head.id.clone()
                } else {
                    Box::default()
                };
                let taken = if is_request {
                    self.request(head, line).await
                } else {
                    self.deliver(&head, line).await
                };
                (id, taken)
            }
            Err(error) => (Box::default(), Err(error.into())),
        };
        if let Err(refusal) = taken {
            tracing::debug!(reason = refusal.reason(), "line refused");
            self.gateway.refused(&refusal);
            self.say(refusal.body(&id)).await;
        }
    }

    async fn request(&mut self, head: Head, line: Bytes) -> Result<(), Refusal> {
        if &*head.method == version::DISCOVER {
            return Err(Refusal::Version(version::NEXT.to_owned()));
        }
        let Some(session) = &self.session else {
            return if &*head.method == "initialize" {
                self.initialize(&head, line).await
            } else {
                Err(Refusal::NotInitialized)
            };
        };
        if &*head.method == "initialize" {
            return Err(Refusal::AlreadyInitialized);
        }
        let permit = self.gateway.call_permit(&self.principal.agent);
        let permit = permit.ok_or(Refusal::TooManyCalls)?;
        let from_client = session.begin(&head)?;
        let sink = Sink::Lines(self.lines.clone());
        let running = Arc::clone(session).run(head.id, line, from_client, sink);
        let gateway = &self.gateway;
        gateway.lane.spawn_call(&gateway.tasks, async move {
            running.await;
            drop(permit);
        });
        Ok(())
    }

    async fn deliver(&self, head: &Head, line: Bytes) -> Result<(), Refusal> {
        let Some(session) = &self.session else {
            // A notification has no answer; a response before any request is nobody's.
            return Ok(());
        };
        match session.deliver(head, line).await {
            Err(Delivery::Refused(refusal)) => {
                tracing::debug!(reason = refusal.reason(), "message not delivered");
            }
            Err(Delivery::Failed(failure)) => {
                tracing::debug!(reason = %failure.reason, "message not delivered");
            }
            Ok(()) => {}
        }
        Ok(())
    }

    async fn initialize(&mut self, head: &Head, line: Bytes) -> Result<(), Refusal> {
        let gateway = &self.gateway;
        let permit = gateway.make_room(&self.principal.agent).await?;
        let opened = match gateway.open(&self.principal, &self.scope, head, line).await {
            Ok(opened) => opened,
            Err(failure) => {
                self.say(refusal::failed(&head.id, &failure)).await;
                return Ok(());
            }
        };
        let limits = Arc::clone(&gateway.limits);
        let principal = self.principal.clone();
        let session = Arc::new(ClientSession::new(
            principal,
            opened.session,
            &opened.response,
            limits,
            permit,
        ));
        let failed = message::read(&opened.response).is_ok_and(|answer| answer.is_error);
        self.say(opened.response).await;
        if failed {
            session.close().await;
            return Ok(());
        }
        gateway.lines().push(Arc::downgrade(&session));
        let events = Events {
            session: Arc::clone(&session),
            of_server: opened.events,
            changes: gateway.changes.subscribe(),
        };
        let events = events.pump(self.lines.clone());
        gateway.tasks.spawn(events);
        self.session = Some(session);
        Ok(())
    }

    /// Ends the session; after an orderly end of input, calls in flight may finish first.
    async fn close(&self, orderly: bool) {
        let Some(session) = &self.session else {
            return;
        };
        if orderly {
            let idle = session.idle(self.lines.closed());
            let _ = tokio::time::timeout(self.gateway.limits.drain, idle).await;
        }
        session.close().await;
    }
}

async fn cancelled(token: Option<CancellationToken>) {
    match token {
        Some(token) => token.cancelled().await,
        None => std::future::pending().await,
    }
}

/// What reaches a client outside of its calls.
struct Events {
    session: Arc<ClientSession>,
    of_server: mpsc::Receiver<Bytes>,
    /// Of what is listed.
    changes: watch::Receiver<u64>,
}

impl Events {
    /// Passes them on until the session ends.
    async fn pump(mut self, lines: mpsc::Sender<Bytes>) {
        let session = self.session;
        'session: loop {
            let event = tokio::select! {
                biased;
                () = session.ended().cancelled() => None,
                () = session.relisted(&mut self.changes) => {
                    for message in session.lists_changed() {
                        if !pass(&session, &lines, message).await {
                            break 'session;
                        }
                    }
                    continue;
                }
                event = self.of_server.recv() => event,
            };
            let Some(event) = event else { break };
            match session.event(&event) {
                Ok(()) if pass(&session, &lines, event).await => {}
                Ok(()) => break,
                Err(Some(answer)) => session.answer(answer).await,
                Err(None) => tracing::debug!("unusable event dropped"),
            }
        }
        if let Some(farewell) = session.farewell() {
            // A client that does not read is told by its next call.
            drop(lines.try_send(farewell));
        }
        // Whoever ended it closes it.
        if !session.ended().is_cancelled() {
            session.close().await;
        }
    }
}

/// Hands a message to the writer; false when the session or the connection is over.
async fn pass(session: &ClientSession, lines: &mpsc::Sender<Bytes>, message: Bytes) -> bool {
    tokio::select! {
        biased;
        () = session.ended().cancelled() => false,
        sent = lines.send(message) => sent.is_ok(),
    }
}

/// Writes messages, one line each, until every sender is gone.
async fn write(
    mut writer: impl AsyncWrite + Unpin,
    mut queue: mpsc::Receiver<Bytes>,
) -> std::io::Result<()> {
    while let Some(message) = queue.recv().await {
        if message.iter().any(|b| matches!(b, b'\n' | b'\r')) {
            // Only messages that were read before come here, so this parses.
            let Ok(view) = View::parse(&message) else {
                continue;
            };
            writer.write_all(&one_line(&view)).await?;
        } else {
            writer.write_all(&message).await?;
        }
        writer.write_all(b"\n").await?;
        if queue.is_empty() {
            writer.flush().await?;
        }
    }
    writer.shutdown().await
}

/// Reads up to the next line end into `line`, without it; `false` at the end of input. Cancel
/// safe: what was read stays in `line`.
async fn next_line(
    reader: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
) -> Result<bool, LineError> {
    loop {
        let available = reader.fill_buf().await?;
        if available.is_empty() {
            // A last line may lack its end.
            return Ok(!line.is_empty());
        }
        let end = available.iter().position(|b| *b == b'\n');
        let part = available
            .get(..end.unwrap_or(available.len()))
            .unwrap_or_default();
        if line.len().saturating_add(part.len()) > MAX_MESSAGE_BYTES {
            return Err(LineError::TooLong);
        }
        line.extend_from_slice(part);
        let taken = part.len().saturating_add(usize::from(end.is_some()));
        reader.consume(taken);
        if end.is_some() {
            return Ok(true);
        }
    }
}
