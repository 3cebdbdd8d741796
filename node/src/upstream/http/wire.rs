//! The exchanges of one remote session: POST, its answers, resumption, the GET stream, DELETE.

use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use protocol::limits::MAX_MESSAGE_BYTES;
use protocol::mcp::View;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::client::configured_headers;
use super::sse::{Event, Parser};
use crate::upstream::error::Failure;
use crate::upstream::limits::{MAX_RESUMPTIONS, MAX_TOKEN_BYTES, POST_TIMEOUT, RESUME_DELAY_MAX};
use crate::upstream::link::LinkError;
use crate::upstream::router::{CallId, Delivered, Router, Stream, lock};
use crate::upstream::server::Server;
use crate::upstream::spec::{ServerSpec, printable};

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");
const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

/// What a POST of a request led to.
pub(super) enum Answer {
    /// The response is delivered.
    Delivered,
    /// It will come on this stream.
    Events(Box<EventStream>),
}

pub(super) struct Wire {
    client: reqwest::Client,
    url: Url,
    headers: HeaderMap,
    server: Arc<Server>,
    router: Arc<Router>,
    session: Mutex<Option<HeaderValue>>,
    version: Mutex<Option<HeaderValue>>,
    /// The remote session is gone, or closed.
    pub(super) down: CancellationToken,
}

/// How an event stream ended.
enum Ended {
    /// With the response of its call.
    Answered,
    /// Without.
    Early,
}

/// Where a stream can be taken up again.
#[derive(Default)]
struct Place {
    last: Option<String>,
    retry: Option<core::time::Duration>,
}

impl Wire {
    pub(super) fn new(server: &Arc<Server>, router: &Arc<Router>) -> Result<Self, Failure> {
        let failed = || Failure::Start {
            detail: "it is not attached by URL".into(),
        };
        let ServerSpec::Url { url, .. } = &server.spec else {
            return Err(failed());
        };
        Ok(Self {
            client: server.client.clone().ok_or_else(failed)?,
            url: Url::parse(url).map_err(|_| failed())?,
            headers: configured_headers(&server.spec),
            server: Arc::clone(server),
            router: Arc::clone(router),
            session: Mutex::default(),
            version: Mutex::default(),
            down: CancellationToken::new(),
        })
    }

    pub(super) fn set_version(&self, version: &str) {
        *lock(&self.version) = HeaderValue::from_str(version).ok();
    }

    /// Posts a notification or a response.
    pub(super) async fn notify(&self, message: Bytes) -> Result<(), LinkError> {
        let response = self.send(self.post(message)).await?;
        match response.status() {
            status if status.is_success() => Ok(()),
            status => Err(LinkError::Failed(refused(status))),
        }
    }

    /// Posts a request.
    pub(super) async fn request(&self, id: CallId, message: Bytes) -> Result<Answer, LinkError> {
        let response = self.send(self.post(message)).await?;
        let status = response.status();
        if !status.is_success() {
            return self.deliver_refusal(id, response).await;
        }
        self.keep_session(&response);
        match content_type(&response).as_str() {
            JSON => {
                let body = read_body(response).await.map_err(LinkError::Failed)?;
                self.deliver_body(id, body)
                    .await
                    .map_err(LinkError::Failed)?;
                Ok(Answer::Delivered)
            }
            EVENTS => Ok(Answer::Events(Box::new(EventStream::new(response)))),
            found => Err(LinkError::Failed(Failure::ContentType {
                found: printable(found),
            })),
        }
    }

    /// Delivers the messages of a call's stream, taking it up again where that is possible.
    pub(super) async fn follow(
        &self,
        id: CallId,
        first: Box<EventStream>,
    ) -> Result<(), LinkError> {
        let ended_early = |detail: &str| {
            LinkError::Failed(Failure::StreamEnded {
                detail: detail.to_owned(),
            })
        };
        let mut place = Place::default();
        let mut stream = Some(*first);
        let mut attempts = 0;
        loop {
            if let Some(stream) = stream.take() {
                let (ended, seen) = self.drain(Stream::Own(id), stream, &mut place).await?;
                if matches!(ended, Ended::Answered) {
                    return Ok(());
                }
                if seen {
                    attempts = 0;
                }
            }
            if place.last.is_none() {
                return Err(ended_early("the server gave no event id to resume from"));
            }
            if attempts >= MAX_RESUMPTIONS {
                return Err(ended_early("it could not be resumed"));
            }
            attempts += 1;
            sleep(place.retry.unwrap_or(self.server.limits.resume_delay)).await;
            let response = match self.exchange(self.get(place.last.as_deref())).await {
                Ok(response) => response,
                // Not reached this time.
                Err(_) => continue,
            };
            match response.status() {
                StatusCode::OK if content_type(&response) == EVENTS => {
                    stream = Some(EventStream::new(response));
                }
                // The server acted on the request already: it must not go out again.
                StatusCode::NOT_FOUND => {
                    self.lose_session();
                    return Err(LinkError::Failed(Failure::SessionLost));
                }
                status if status.is_server_error() => {}
                status => {
                    let code = status.as_u16();
                    return Err(ended_early(&format!("resuming it got HTTP status {code}")));
                }
            }
        }
    }

    /// Keeps a GET stream open while the server offers one.
    pub(super) async fn listen(&self) {
        let mut place = Place::default();
        let mut attempts: u32 = 0;
        while attempts <= MAX_RESUMPTIONS {
            let began = Instant::now();
            match self.exchange(self.get(place.last.as_deref())).await {
                Ok(response) => match response.status() {
                    StatusCode::OK if content_type(&response) == EVENTS => {
                        let stream = EventStream::new(response);
                        match self.drain(Stream::Events, stream, &mut place).await {
                            Ok((_, true)) => attempts = 0,
                            Ok((_, false)) => {}
                            Err(_) => return,
                        }
                    }
                    StatusCode::NOT_FOUND if self.has_session() => return self.lose_session(),
                    status if status.is_server_error() => {}
                    // 405 says that there is no such stream; anything else comes to the same.
                    _ => return,
                },
                Err(failure) => {
                    tracing::debug!(server = %self.server.name, %failure, "no event stream");
                }
            }
            if began.elapsed() >= RESUME_DELAY_MAX {
                attempts = 0;
            }
            let pause = place.retry.unwrap_or(self.server.limits.resume_delay);
            sleep(
                pause
                    .saturating_mul(1 << attempts.min(6))
                    .min(RESUME_DELAY_MAX),
            )
            .await;
            attempts += 1;
        }
    }

    /// Ends the remote session, if there is one.
    pub(super) async fn delete(&self) {
        if self.has_session() {
            let request = self.with_headers(self.client.request(Method::DELETE, self.url.clone()));
            lock(&self.session).take();
            // 405 means that the server ends sessions by itself; nothing else is to be done.
            let _ = request.send().await;
        }
    }

    /// Delivers events until the stream ends; whether any came.
    async fn drain(
        &self,
        kind: Stream,
        mut stream: EventStream,
        place: &mut Place,
    ) -> Result<(Ended, bool), LinkError> {
        let mut seen = false;
        while let Some(event) = stream.next().await.map_err(LinkError::Failed)? {
            seen = true;
            place.last = event.id.or_else(|| place.last.take());
            place.retry = event.retry.or(place.retry);
            if let Some(data) = event.data {
                self.deliver(kind, data.into()).await;
            }
            if let Stream::Own(id) = kind
                && !self.router.is_in_flight(id)
            {
                return Ok((Ended::Answered, seen));
            }
        }
        Ok((Ended::Early, seen))
    }

    async fn deliver(&self, kind: Stream, message: Bytes) {
        match self.router.deliver(kind, message).await {
            Delivered::Done => {}
            Delivered::Invalid => self.server.counters.count_skipped(),
            Delivered::Reply(reply) => {
                // The server's own affair if it does not take it.
                let _ = timeout(POST_TIMEOUT, self.notify(reply)).await;
            }
        }
    }

    async fn deliver_body(&self, id: CallId, body: Bytes) -> Result<(), Failure> {
        View::parse(&body)?;
        self.deliver(Stream::Own(id), body).await;
        if self.router.is_in_flight(id) {
            return Err(Failure::StreamEnded {
                detail: "the answer is not the response to the request".into(),
            });
        }
        Ok(())
    }

    /// An error status whose body is the JSON-RPC error for this very call is its response;
    /// any other is a failure.
    async fn deliver_refusal(&self, id: CallId, response: Response) -> Result<Answer, LinkError> {
        let status = response.status();
        let failure = LinkError::Failed(refused(status));
        if content_type(&response) != JSON {
            return Err(failure);
        }
        let Ok(body) = read_body(response).await else {
            return Err(failure);
        };
        let forgotten = status == StatusCode::BAD_REQUEST && says_session(&body);
        match self.deliver_body(id, body).await {
            Ok(()) => Ok(Answer::Delivered),
            Err(_) if forgotten && self.has_session() => {
                self.lose_session();
                Err(LinkError::NotSent)
            }
            Err(_) => Err(failure),
        }
    }

    fn post(&self, message: Bytes) -> RequestBuilder {
        let request = self.client.request(Method::POST, self.url.clone());
        self.with_headers(request)
            .header(CONTENT_TYPE, JSON)
            .header(ACCEPT, "application/json, text/event-stream")
            .body(message)
    }

    fn get(&self, last: Option<&str>) -> RequestBuilder {
        let request = self.client.request(Method::GET, self.url.clone());
        let request = self.with_headers(request).header(ACCEPT, EVENTS);
        match last {
            Some(last) => request.header(LAST_EVENT, last),
            None => request,
        }
    }

    fn with_headers(&self, request: RequestBuilder) -> RequestBuilder {
        let mut request = request.headers(self.headers.clone());
        if let Some(session) = lock(&self.session).clone() {
            request = request.header(SESSION, session);
        }
        if let Some(version) = lock(&self.version).clone() {
            request = request.header(VERSION, version);
        }
        request
    }

    /// Sends, and takes 404 for what it means within a session.
    async fn send(&self, request: RequestBuilder) -> Result<Response, LinkError> {
        if self.down.is_cancelled() {
            return Err(LinkError::NotSent);
        }
        let response = match self.exchange(request).await {
            Ok(response) => response,
            Err(failure) => {
                self.router.delay(&failure);
                return Err(LinkError::Failed(failure));
            }
        };
        self.router.reached();
        if response.status() == StatusCode::NOT_FOUND && self.has_session() {
            self.lose_session();
            return Err(LinkError::NotSent);
        }
        Ok(response)
    }

    async fn exchange(&self, request: RequestBuilder) -> Result<Response, Failure> {
        request.send().await.map_err(|error| Failure::Unreachable {
            detail: describe(&error),
        })
    }

    fn keep_session(&self, response: &Response) {
        let mut session = lock(&self.session);
        if session.is_some() {
            return;
        }
        *session = response.headers().get(SESSION).cloned().filter(|value| {
            let visible = value.as_bytes().iter().all(|b| (0x21..0x7f).contains(b));
            visible && !value.is_empty() && value.len() <= MAX_TOKEN_BYTES
        });
    }

    fn has_session(&self) -> bool {
        lock(&self.session).is_some()
    }

    fn lose_session(&self) {
        lock(&self.session).take();
        self.down.cancel();
    }
}

/// The events of one response.
pub(super) struct EventStream {
    response: Response,
    parser: Parser,
    ready: std::collections::VecDeque<Event>,
}

impl EventStream {
    fn new(response: Response) -> Self {
        Self {
            response,
            parser: Parser::new(MAX_MESSAGE_BYTES),
            ready: std::collections::VecDeque::new(),
        }
    }

    /// The next event; none at the end, whether orderly or not.
    async fn next(&mut self) -> Result<Option<Event>, Failure> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            let Ok(Some(piece)) = self.response.chunk().await else {
                return Ok(None);
            };
            let mut events = Vec::new();
            let pushed = self.parser.push(&piece, &mut events);
            pushed.map_err(|_| Failure::TooLarge)?;
            self.ready.extend(events);
        }
    }
}

fn refused(status: StatusCode) -> Failure {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Failure::Unauthorized {
            status: status.as_u16(),
        },
        _ => Failure::Status {
            status: status.as_u16(),
        },
    }
}

/// Widely used server libraries answer a session they do not know with 400 instead of 404, and
/// an error that answers no request but speaks of the session. It was not acted on either way.
fn says_session(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body.get(..MAX_TOKEN_BYTES).unwrap_or(body));
    text.to_ascii_lowercase().contains("session")
}

/// The media type without parameters, lowercase.
fn content_type(response: &Response) -> String {
    let value = response.headers().get(CONTENT_TYPE);
    let text = value.and_then(|v| v.to_str().ok()).unwrap_or_default();
    let media = text.split(';').next().unwrap_or_default();
    media.trim().to_ascii_lowercase()
}

async fn read_body(mut response: Response) -> Result<Bytes, Failure> {
    let mut body = BytesMut::new();
    loop {
        match response.chunk().await {
            Ok(Some(piece)) => {
                if body.len().saturating_add(piece.len()) > MAX_MESSAGE_BYTES {
                    return Err(Failure::TooLarge);
                }
                body.extend_from_slice(&piece);
            }
            Ok(None) => return Ok(body.freeze()),
            Err(error) => {
                return Err(Failure::StreamEnded {
                    detail: describe(&error),
                });
            }
        }
    }
}

/// What went wrong, in words without the URL: its query may be secret.
fn describe(error: &reqwest::Error) -> String {
    let mut source: &dyn std::error::Error = error;
    while let Some(inner) = source.source() {
        source = inner;
    }
    if core::ptr::addr_eq(source, error) {
        return if error.is_timeout() {
            "timed out".into()
        } else {
            "the exchange failed".into()
        };
    }
    printable(&source.to_string())
}
