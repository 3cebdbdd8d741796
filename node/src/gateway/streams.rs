//! An HTTP session: a client session with its event streams and their resumption.
//!
//! Stream 0 carries what belongs to no call (GET); each call has a stream of its own. Event ids
//! are `STREAM-NUMBER`, unique in the session; `Last-Event-ID` resumes the stream it names.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use bytes::{BufMut, Bytes, BytesMut};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::gateway::Scope;
use crate::gateway::budget::Permit;
use crate::gateway::client::ClientSession;
use crate::gateway::limits::{KEEP_ALIVE, MAX_ENDED_STREAMS};
use crate::gateway::outbox::{Event, Outbox, Reader};

/// The stream of what belongs to no call.
const EVENTS: u64 = 0;

struct Calls {
    next: u64,
    streams: BTreeMap<u64, Arc<Outbox>>,
}

/// The session.
pub(crate) struct HttpSession {
    core: Arc<ClientSession>,
    scope: Scope,
    events: Arc<Outbox>,
    calls: Mutex<Calls>,
}

impl HttpSession {
    pub(crate) fn new(core: Arc<ClientSession>, scope: Scope) -> Arc<Self> {
        Arc::new(Self {
            core,
            scope,
            events: Outbox::new(None),
            calls: Mutex::new(Calls {
                next: EVENTS + 1,
                streams: BTreeMap::new(),
            }),
        })
    }

    pub(crate) fn core(&self) -> &Arc<ClientSession> {
        &self.core
    }

    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether calls are in flight or a client listens.
    pub(crate) fn is_busy(&self) -> bool {
        self.core.is_calling() || self.events.detached_since().is_none()
    }

    /// Moves events from the server to stream 0, and says there when what is listed may have changed,
    /// until the session ends on either side. While nobody listens, what exceeds the buffer is dropped:
    /// it must not hold up the server.
    pub(crate) async fn pump(
        self: Arc<Self>,
        mut events: mpsc::Receiver<Bytes>,
        mut changes: watch::Receiver<u64>,
    ) {
        loop {
            let event = tokio::select! {
                biased;
                () = self.core.ended().cancelled() => None,
                () = self.core.relisted(&mut changes) => {
                    for message in self.core.lists_changed() {
                        self.forward(message).await;
                    }
                    continue;
                }
                event = events.recv() => event,
            };
            let Some(event) = event else { break };
            match self.core.event(&event) {
                Ok(()) => self.forward(event).await,
                Err(Some(answer)) => self.core.answer(answer).await,
                Err(None) => tracing::debug!("unusable event dropped"),
            }
        }
        if let Some(farewell) = self.core.farewell() {
            // A client that does not read is told when it comes back.
            self.events.push_now(&farewell, false);
        }
        // Whoever ended it closes it.
        if !self.core.ended().is_cancelled() {
            self.core.close().await;
        }
        self.events.end();
    }

    async fn forward(&self, event: Bytes) {
        while !self.events.push_now(&event, false) {
            let changed = self.events.changed();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.events.detached_since().is_some() {
                tracing::debug!("nobody listens; event dropped");
                return;
            }
            if self.events.push_now(&event, false) {
                return;
            }
            tokio::select! {
                biased;
                () = self.core.ended().cancelled() => return,
                () = changed => {}
            }
        }
    }

    /// A stream for one more call.
    pub(crate) fn open_stream(&self, permit: Permit) -> (u64, Arc<Outbox>) {
        let outbox = Outbox::new(Some(permit));
        let mut calls = self.calls();
        let number = calls.next;
        calls.next = number.saturating_add(1);
        calls.streams.insert(number, Arc::clone(&outbox));
        (number, outbox)
    }

    /// Forgets a call's stream: its answer went out as plain JSON.
    pub(crate) fn close_stream(&self, number: u64) {
        self.calls().streams.remove(&number);
    }

    /// The session's events, from the first not taken.
    pub(crate) fn listen(&self) -> Option<(u64, Reader)> {
        Some((EVENTS, self.events.attach(None)?))
    }

    /// The stream and place that `last_event_id` names.
    pub(crate) fn resume(&self, last_event_id: &str) -> Option<(u64, Reader)> {
        let (stream, after) = last_event_id.split_once('-')?;
        let (stream, after): (u64, u64) = (stream.parse().ok()?, after.parse().ok()?);
        let outbox = if stream == EVENTS {
            Arc::clone(&self.events)
        } else {
            Arc::clone(self.calls().streams.get(&stream)?)
        };
        Some((stream, outbox.attach(Some(after))?))
    }

    /// Forgets ended streams that nobody came back for, and the oldest of too many.
    pub(crate) fn sweep(&self, now: Instant, detached: Duration) {
        let mut calls = self.calls();
        calls.streams.retain(|_, outbox| {
            let stale = outbox
                .detached_since()
                .is_some_and(|since| now.saturating_duration_since(since) >= detached);
            !(outbox.is_ended() && stale)
        });
        drop(calls);
        self.trim();
    }

    /// Keeps at most [`MAX_ENDED_STREAMS`] ended streams.
    pub(crate) fn trim(&self) {
        let mut calls = self.calls();
        let ended: Vec<u64> = calls
            .streams
            .iter()
            .filter(|(_, outbox)| outbox.is_ended())
            .map(|(number, _)| *number)
            .collect();
        let surplus = ended.len().saturating_sub(MAX_ENDED_STREAMS);
        for number in ended.iter().take(surplus) {
            calls.streams.remove(number);
        }
    }
}

/// What an event-stream body is made from.
pub(crate) struct Feed {
    pub(crate) stream: u64,
    pub(crate) reader: Reader,
    /// A message already taken from the reader.
    pub(crate) first: Option<Event>,
    /// Whether to open with an event that carries only an id.
    pub(crate) primer: bool,
}

impl Feed {
    /// The body: events, and comments in silence.
    pub(crate) fn body(self) -> Body {
        let stream = futures::stream::unfold(self, |mut feed| async move {
            let chunk = feed.next().await?;
            Some((Ok::<_, Infallible>(chunk), feed))
        });
        Body::from_stream(stream)
    }

    async fn next(&mut self) -> Option<Bytes> {
        if std::mem::take(&mut self.primer) {
            let before = self.first.as_ref().map_or_else(
                || self.reader.position(),
                |event| event.number.saturating_sub(1),
            );
            return Some(Bytes::from(format!(
                "id: {}-{before}\ndata: \n\n",
                self.stream
            )));
        }
        if let Some(event) = self.first.take() {
            return Some(encode(self.stream, &event));
        }
        match tokio::time::timeout(KEEP_ALIVE, self.reader.next()).await {
            Ok(event) => event.map(|event| encode(self.stream, &event)),
            Err(_) => Some(Bytes::from_static(b": keep-alive\n\n")),
        }
    }
}

/// One server-sent event. A message with line breaks (JSON allows them between tokens only)
/// takes one `data` line each, which the client joins with LF again.
fn encode(stream: u64, event: &Event) -> Bytes {
    let mut out = BytesMut::with_capacity(event.message.len().saturating_add(64));
    out.put_slice(format!("id: {stream}-{}\nevent: message\n", event.number).as_bytes());
    let mut rest: &[u8] = &event.message;
    while let Some(at) = rest.iter().position(|b| matches!(b, b'\n' | b'\r')) {
        let (line, after) = rest.split_at(at);
        data(&mut out, line);
        rest = after
            .strip_prefix(b"\r\n")
            .or_else(|| after.get(1..))
            .unwrap_or_default();
    }
    data(&mut out, rest);
    out.put_u8(b'\n');
    out.freeze()
}

fn data(out: &mut BytesMut, line: &[u8]) {
    out.put_slice(b"data: ");
    out.put_slice(line);
    out.put_u8(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_breaks_in_a_message_become_data_lines() {
        let event = Event {
            number: 2,
            message: Bytes::from_static(b"{\n \"a\":1,\r\n\"b\" : 1.0\r}"),
            last: false,
        };
        assert_eq!(
            &encode(3, &event)[..],
            b"id: 3-2\nevent: message\ndata: {\ndata:  \"a\":1,\ndata: \"b\" : 1.0\ndata: }\n\n"
        );
    }
}
