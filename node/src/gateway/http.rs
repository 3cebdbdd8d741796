//! Streamable HTTP (MCP 2025-03-26 to 2025-11-25, "Transports") on loopback.
//!
//! Order of checks: `Host`, `Origin`, path, token, method, headers, then the body; nothing of a
//! body is read for a client without a token. No cross-origin allowance is ever given. The
//! decision is always on the body, never on a header that repeats it.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawPathParams, Request, State};
use axum::http::header::{
    ACCEPT, ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE,
    EXPECT, WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::Response;
use axum::routing::any;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use protocol::limits::MAX_MESSAGE_BYTES;
use tokio::time::Instant;

use crate::gateway::client::{ClientSession, Delivery, Sink};
use crate::gateway::message::{self, Head, Kind};
use crate::gateway::refusal::{self, Refusal};
use crate::gateway::streams::{Feed, HttpSession};
use crate::gateway::{Gateway, Scope, version};
use crate::loopback::{self, Foreign, single};
use crate::session::{Principal, SessionError};

const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Bytes of a body that are read to be thrown away: many times what anybody sends by mistake, and soon
/// read from this host.
const MAX_DISCARDED_BYTES: usize = 16 * MAX_MESSAGE_BYTES;
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");

#[derive(Clone)]
struct Edge {
    gateway: Arc<Gateway>,
    port: u16,
}

/// The HTTP service of a gateway listening on `address`.
pub(super) fn router(gateway: Arc<Gateway>, address: SocketAddr) -> axum::Router {
    let edge = Edge {
        gateway,
        port: address.port(),
    };
    axum::Router::new()
        .route("/mcp", any(entry))
        .route("/mcp/{node}/{server}", any(entry))
        .fallback(nowhere)
        .with_state(edge)
}

async fn nowhere(State(edge): State<Edge>, request: Request) -> Response {
    let refusal = match local(&request, edge.port) {
        Ok(()) => Refusal::Path,
        Err(refusal) => refusal,
    };
    edge.gateway.refused(&refusal);
    refuse(&refusal, "")
}

async fn entry(State(edge): State<Edge>, path: RawPathParams, request: Request) -> Response {
    let mut parts = path.iter().map(|(_, value)| value.to_owned());
    let scope = match (parts.next(), parts.next()) {
        (Some(node), Some(server)) => Scope::Server { node, server },
        _ => Scope::Every,
    };
    match edge.answer(scope, request).await {
        Ok(response) => response,
        Err(Refused { refusal, id }) => {
            tracing::debug!(reason = refusal.reason(), "request refused");
            edge.gateway.refused(&refusal);
            refuse(&refusal, &id)
        }
    }
}

/// A refusal with the raw id of the request it refuses, where that is known.
struct Refused {
    refusal: Refusal,
    id: Box<str>,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            id: Box::default(),
        }
    }
}

impl Refusal {
    fn of(self, head: &Head) -> Refused {
        let id = if head.kind == Kind::Request {
            head.id.clone()
        } else {
            Box::default()
        };
        Refused { refusal: self, id }
    }
}

fn refuse(refusal: &Refusal, id: &str) -> Response {
    let mut response = json(refusal.status(), refusal.body(id));
    let headers = response.headers_mut();
    match refusal {
        Refusal::Unauthenticated => {
            let challenge = HeaderValue::from_static("Bearer realm=\"hedgerow\"");
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        Refusal::Method => {
            headers.insert(ALLOW, HeaderValue::from_static("GET, POST, DELETE"));
        }
        _ => {}
    }
    response
}

fn json(status: StatusCode, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn events(feed: Feed) -> Response {
    let mut response = Response::new(feed.body());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, EVENT_STREAM);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Refuses what a page of another site, or a name that was rebound to loopback, would send.
fn local(request: &Request, port: u16) -> Result<(), Refusal> {
    loopback::check(request, port).map_err(|foreign| match foreign {
        Foreign::Host => Refusal::Host,
        Foreign::Origin => Refusal::Origin,
    })
}

impl Edge {
    async fn answer(&self, scope: Scope, request: Request) -> Result<Response, Refused> {
        local(&request, self.port)?;
        let principal = self.authenticate(request.headers())?;
        match *request.method() {
            Method::POST => self.post(&principal, scope, request).await,
            Method::GET => self
                .get(&principal, &scope, request.headers())
                .map_err(Refused::from),
            Method::DELETE => self.delete(&principal, &scope, request.headers()).await,
            _ => Err(Refusal::Method.into()),
        }
    }

    fn authenticate(&self, headers: &HeaderMap) -> Result<Principal, Refusal> {
        let value = single(headers, &AUTHORIZATION).map_err(|()| Refusal::Unauthenticated)?;
        let (scheme, token) = value
            .and_then(|v| v.split_once(' '))
            .ok_or(Refusal::Unauthenticated)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Refusal::Unauthenticated);
        }
        self.gateway
            .agents
            .agent(token.trim())
            .ok_or(Refusal::Unauthenticated)
    }

    async fn post(
        &self,
        principal: &Principal,
        scope: Scope,
        request: Request,
    ) -> Result<Response, Refused> {
        let (parts, body) = request.into_parts();
        let headers = parts.headers;
        is_json(&headers)?;
        accepts(&headers, &["application/json", "text/event-stream"])?;
        let message = self.read(&headers, body).await?;
        let head = message::read(&message).map_err(Refusal::from)?;
        if &*head.method == version::DISCOVER {
            return Err(discovered(&headers).of(&head));
        }
        // What a client asks for here stands in the message, not in a header.
        if head.kind == Kind::Request && &*head.method == "initialize" {
            return self
                .initialize(principal, scope, &headers, head, message)
                .await;
        }
        check_version(&headers).map_err(|r| r.of(&head))?;
        let session = self
            .session(principal, &scope, &headers)
            .map_err(|r| r.of(&head))?;
        if head.kind == Kind::Request {
            let primer = version::takes_primer(version_of(&headers));
            return self.call(&session, head, message, primer).await;
        }
        deliver(&session, &head, message).await
    }

    /// The whole body, bounded in size and time.
    async fn read(&self, headers: &HeaderMap, body: Body) -> Result<Bytes, Refusal> {
        let declared = headers
            .get(CONTENT_LENGTH)
            .and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        let too_large = declared.is_some_and(|n| n > MAX_MESSAGE_BYTES as u64);
        if too_large && headers.contains_key(EXPECT) {
            // It waits to be asked for the body.
            return Err(Refusal::TooLarge);
        }
        let reading = read(body, too_large);
        let read = tokio::time::timeout(self.gateway.limits.body_wait, reading).await;
        read.unwrap_or(Err(Refusal::SlowBody))
    }

    async fn initialize(
        &self,
        principal: &Principal,
        scope: Scope,
        headers: &HeaderMap,
        head: Head,
        message: Bytes,
    ) -> Result<Response, Refused> {
        if self.session(principal, &scope, headers).is_ok() {
            return Err(Refusal::AlreadyInitialized.of(&head));
        }
        let gateway = &self.gateway;
        let id = gateway.draw_session_id().map_err(|r| r.of(&head))?;
        let permit = gateway
            .make_room(&principal.agent)
            .await
            .map_err(|r| r.of(&head))?;
        let opened = match gateway.open(principal, &scope, &head, message).await {
            Ok(opened) => opened,
            Err(failure) => {
                return Ok(json(StatusCode::OK, refusal::failed(&head.id, &failure)));
            }
        };
        let limits = Arc::clone(&gateway.limits);
        let core = Arc::new(ClientSession::new(
            principal.clone(),
            opened.session,
            &opened.response,
            limits,
            permit,
        ));
        let mut response = json(StatusCode::OK, opened.response.clone());
        if message::read(&opened.response).is_ok_and(|answer| answer.is_error) {
            core.close().await;
            return Ok(response);
        }
        let header = HeaderValue::from_str(&id).map_err(|_| Refusal::NoRandomness.of(&head))?;
        response.headers_mut().insert(SESSION_ID, header);
        let session = HttpSession::new(core, scope);
        gateway.sessions().insert(id, Arc::clone(&session));
        // The agent may have been removed, and its sessions ended, while the server was asked.
        if let Err(refusal) = self.authenticate(headers) {
            session.core().close().await;
            return Err(refusal.of(&head));
        }
        let changes = gateway.changes.subscribe();
        gateway.tasks.spawn(session.pump(opened.events, changes));
        Ok(response)
    }

    /// The session a request names, if it may use it.
    fn session(
        &self,
        principal: &Principal,
        scope: &Scope,
        headers: &HeaderMap,
    ) -> Result<Arc<HttpSession>, Refusal> {
        let id = single(headers, &SESSION_ID).map_err(|()| Refusal::UnknownSession)?;
        let id = id.ok_or(Refusal::NoSession)?;
        let session = self.gateway.sessions().get(id).cloned();
        let gone = |why: Option<SessionError>| {
            why.map_or(Refusal::UnknownSession, |why| Refusal::Severed(why.into()))
        };
        let session = session.ok_or_else(|| {
            let farewells = &self.gateway.farewells;
            gone(farewells.find(id, principal, Instant::now()))
        })?;
        let core = session.core();
        if core.principal() != principal {
            tracing::warn!(agent = %principal.agent, "session of another agent refused");
            return Err(Refusal::UnknownSession);
        }
        if session.scope() != scope {
            return Err(Refusal::UnknownSession);
        }
        if core.ended().is_cancelled() {
            return Err(gone(core.cut_off()));
        }
        core.touch();
        Ok(session)
    }

    /// Starts a call and answers with plain JSON if the response is the first message and comes
    /// soon, with an event stream otherwise.
    async fn call(
        &self,
        session: &Arc<HttpSession>,
        head: Head,
        message: Bytes,
        primer: bool,
    ) -> Result<Response, Refused> {
        let core = session.core();
        let agent = &core.principal().agent;
        let permit = self.gateway.call_permit(agent);
        let permit = permit
            .ok_or(Refusal::TooManyCalls)
            .map_err(|r| r.of(&head))?;
        let from_client = core.begin(&head).map_err(|r| r.of(&head))?;
        let (stream, outbox) = session.open_stream(permit);
        let reader = outbox.attach(None).ok_or(Refusal::NoSuchStream)?;
        let running = Arc::clone(core).run(head.id, message, from_client, Sink::Stream(outbox));
        let ending = Arc::clone(session);
        let gateway = &self.gateway;
        gateway.lane.spawn_call(&gateway.tasks, async move {
            running.await;
            ending.trim();
        });
        let wait = self.gateway.limits.plain_answer_wait;
        let first = match tokio::time::timeout(wait, reader.next()).await {
            Ok(Some(event)) if event.last => {
                session.close_stream(stream);
                return Ok(json(StatusCode::OK, event.message));
            }
            Ok(first) => first,
            Err(_) => None,
        };
        let feed = Feed {
            stream,
            reader,
            first,
            primer,
        };
        Ok(events(feed))
    }

    fn get(
        &self,
        principal: &Principal,
        scope: &Scope,
        headers: &HeaderMap,
    ) -> Result<Response, Refusal> {
        accepts(headers, &["text/event-stream"]).map_err(|_| Refusal::AcceptEvents)?;
        check_version(headers)?;
        let session = self.session(principal, scope, headers)?;
        let last = single(headers, &LAST_EVENT_ID).map_err(|()| Refusal::NoSuchStream)?;
        let (stream, reader) = match last {
            Some(last) => session.resume(last),
            None => session.listen(),
        }
        .ok_or(Refusal::NoSuchStream)?;
        Ok(events(Feed {
            stream,
            reader,
            first: None,
            primer: version::takes_primer(version_of(headers)),
        }))
    }

    async fn delete(
        &self,
        principal: &Principal,
        scope: &Scope,
        headers: &HeaderMap,
    ) -> Result<Response, Refused> {
        check_version(headers)?;
        let session = self.session(principal, scope, headers)?;
        self.gateway
            .sessions()
            .retain(|_, s| !Arc::ptr_eq(s, &session));
        session.core().close().await;
        Ok(empty(StatusCode::NO_CONTENT))
    }
}

async fn deliver(session: &HttpSession, head: &Head, message: Bytes) -> Result<Response, Refused> {
    match session.core().deliver(head, message).await {
        Ok(()) => Ok(empty(StatusCode::ACCEPTED)),
        Err(Delivery::Refused(refusal)) => Err(refusal.into()),
        Err(Delivery::Failed(failure)) => Ok(json(
            StatusCode::SERVICE_UNAVAILABLE,
            refusal::failed("", &failure),
        )),
    }
}

impl Gateway {
    fn draw_session_id(&self) -> Result<String, Refusal> {
        let mut random = [0_u8; 16];
        self.crypto
            .fill_random(&mut random)
            .map_err(|_| Refusal::NoRandomness)?;
        Ok(hex::encode(random))
    }
}

/// Reads a body of at most [`MAX_MESSAGE_BYTES`]. Of a larger one the rest, up to
/// [`MAX_DISCARDED_BYTES`], is read and thrown away: most clients read no answer before they have sent
/// everything, and an answer on a connection that is closed on them is lost.
async fn read(mut body: Body, mut too_large: bool) -> Result<Bytes, Refusal> {
    let mut message = BytesMut::new();
    let mut discarded = 0_usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::SlowBody)?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        too_large |= message.len().saturating_add(data.len()) > MAX_MESSAGE_BYTES;
        if !too_large {
            message.extend_from_slice(&data);
            continue;
        }
        discarded = discarded
            .saturating_add(message.len())
            .saturating_add(data.len());
        message = BytesMut::new();
        if discarded > MAX_DISCARDED_BYTES {
            break;
        }
    }
    if too_large {
        return Err(Refusal::TooLarge);
    }
    Ok(message.freeze())
}

fn is_json(headers: &HeaderMap) -> Result<(), Refusal> {
    let declared = single(headers, &CONTENT_TYPE).map_err(|()| Refusal::ContentType)?;
    let essence = declared
        .and_then(|v| v.split(';').next())
        .unwrap_or_default();
    let plain = headers
        .get(CONTENT_ENCODING)
        .is_none_or(|v| v == "identity");
    if plain && essence.trim().eq_ignore_ascii_case("application/json") {
        Ok(())
    } else {
        Err(Refusal::ContentType)
    }
}

/// Whether `Accept` allows every one of `types`; an absent header allows everything.
fn accepts(headers: &HeaderMap, types: &[&str]) -> Result<(), Refusal> {
    let mut ranges = Vec::new();
    for value in headers.get_all(ACCEPT) {
        let value = value.to_str().map_err(|_| Refusal::Accept)?;
        ranges.extend(value.split(','));
    }
    let allows = |wanted: &str| {
        ranges.iter().any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let group = wanted.split('/').next().unwrap_or_default();
            let weightless = parts.any(|p| matches!(p, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"));
            let matches = name.eq_ignore_ascii_case(wanted)
                || name == "*/*"
                || name
                    .strip_suffix("/*")
                    .is_some_and(|g| g.eq_ignore_ascii_case(group));
            matches && !weightless
        })
    };
    if ranges.is_empty() || types.iter().all(|wanted| allows(wanted)) {
        Ok(())
    } else {
        Err(Refusal::Accept)
    }
}

fn version_of(headers: &HeaderMap) -> Option<&str> {
    headers.get(PROTOCOL_VERSION)?.to_str().ok()
}

/// An absent version header means 2025-03-26 (MCP 2025-11-25, "Protocol Version Header").
fn check_version(headers: &HeaderMap) -> Result<(), Refusal> {
    match single(headers, &PROTOCOL_VERSION) {
        Ok(None) => Ok(()),
        Ok(Some(version)) => version::check(version),
        Err(()) => Err(Refusal::Version("unreadable".to_owned())),
    }
}

/// What a client that opens with `server/discover` is told.
fn discovered(headers: &HeaderMap) -> Refusal {
    match check_version(headers) {
        Err(refusal) => refusal,
        Ok(()) => Refusal::Version(version::NEXT.to_owned()),
    }
}
