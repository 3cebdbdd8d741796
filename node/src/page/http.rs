//! The requests of the page: `Host` and `Origin`, then the method, then the session, then the path.
//!
//! Every answer, refusals included, carries the same headers: a content security policy without
//! anything inline, no sniffing, no referrer, no storing. What is no request, or one whose head is
//! too large, hyper itself answers with 400 or 431: nothing but a status and no body.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Query as QueryOf, Request, State};
use axum::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, REFERRER_POLICY,
    SET_COOKIE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use maud::Markup;
use protocol::control::{DecisionQuery, Failure, Secret};
use protocol::inert::inert;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use super::access::{AccessError, SESSION_LIFE, Visit};
use super::feed::{self, Ended, Feed};
use super::filter::Query;
use super::limits::{MAX_COOKIES, RENDER_WAIT, STREAM_QUEUE};
use super::refusal::Refusal;
use super::{Page, Source, assets, render};
use crate::loopback::{self, Foreign};

/// The name of the session's cookie.
const SESSION: &str = "hedgerow_page";

/// Nothing inline, nothing from elsewhere, no frames, no forms to elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

const HARDENED: [(HeaderName, &str); 7] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-store"),
    (X_FRAME_OPTIONS, "DENY"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
];

/// Cancelled, it ends the connection a request came over.
#[derive(Clone)]
pub(super) struct Cut(pub(super) CancellationToken);

/// A request without its body.
type Asked = axum::http::Request<()>;

/// What requests are answered from.
#[derive(Clone)]
pub(super) struct Edge {
    pub(super) page: Arc<Page>,
    pub(super) source: Arc<dyn Source>,
    pub(super) feed: Arc<Feed>,
    /// Room for event streams.
    pub(super) streams: Arc<Semaphore>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
}

/// The HTTP service of the page.
pub(super) fn router(edge: Edge) -> axum::Router {
    axum::Router::new().fallback(entry).with_state(edge)
}

async fn entry(State(edge): State<Edge>, request: Request) -> Response {
    // No request has a body that is of use.
    let request = request.map(|_| ());
    let answer = tokio::time::timeout(RENDER_WAIT, edge.answer(&request));
    let answer = answer.await.unwrap_or(Err(Refusal::Timeout));
    let mut response = answer.unwrap_or_else(|refusal| {
        let reason = refusal.reason();
        tracing::debug!(reason, "the status page refused a request");
        edge.source.refused(reason);
        let mut response = html(refusal.status(), render::refused(&refusal));
        if let Some(allowed) = refusal.allowed() {
            let allowed = HeaderValue::from_static(allowed);
            response.headers_mut().insert(ALLOW, allowed);
        }
        response
    });
    for (name, value) in HARDENED {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}

/// A document. Whatever stands in it, no control or bidirectional character leaves this function.
fn html(status: StatusCode, document: Markup) -> Response {
    let mut response = Response::new(Body::from(inert(&document.into_string())));
    *response.status_mut() = status;
    let media_type = HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    response
}

fn unavailable(failure: Failure) -> Refusal {
    Refusal::Unavailable(failure.message)
}

/// The query of a login.
#[derive(serde::Deserialize)]
struct Login {
    code: Secret,
}

impl Edge {
    async fn answer(&self, request: &Asked) -> Result<Response, Refusal> {
        let port = self.page.address().port();
        loopback::check(request, port).map_err(|foreign| match foreign {
            Foreign::Host => Refusal::Host,
            Foreign::Origin => Refusal::Origin,
        })?;
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Err(Refusal::Method);
        }
        let path = request.uri().path();
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        match parts.as_slice() {
            [""] => Err(AccessError::NoSession.into()),
            ["login"] => self.login(request),
            ["assets", name] => asset(name),
            [door, rest @ ..] if !rest.is_empty() => {
                let visit = self.visit(request.headers(), door)?;
                self.inside(rest, visit, request).await
            }
            _ => Err(Refusal::Path),
        }
    }

    /// Exchanges a code for a session. The answer is a page, not a redirect: a browser that came
    /// from another site would not send a strict cookie along on one.
    fn login(&self, request: &Asked) -> Result<Response, Refusal> {
        if *request.method() != Method::GET {
            return Err(Refusal::LoginMethod);
        }
        let login: QueryOf<Login> =
            QueryOf::try_from_uri(request.uri()).map_err(|_| AccessError::UnknownCode)?;
        let session = self
            .page
            .access
            .exchange(login.code.expose(), Instant::now())
            .inspect_err(
                // Whoever reaches the port can have as many as they like; they are counted.
                |error| tracing::debug!(%error, "a login to the status page was refused"),
            )?;
        tracing::info!("a browser signed in to the status page");
        let mut response = html(StatusCode::OK, render::welcome(&session.door));
        let cookie = Zeroizing::new(format!(
            "{SESSION}={}; Path=/{}/; Max-Age={}; HttpOnly; SameSite=Strict",
            session.token.as_str(),
            session.door,
            SESSION_LIFE.as_secs(),
        ));
        let cookie = HeaderValue::from_str(&cookie).map_err(|_| Refusal::Path)?;
        response.headers_mut().insert(SET_COOKIE, cookie);
        Ok(response)
    }

    fn visit(&self, headers: &HeaderMap, door: &str) -> Result<Visit, Refusal> {
        let visit = self
            .page
            .access
            .visit(sessions_of(headers), door, Instant::now());
        Ok(visit?)
    }

    /// What a session sees.
    async fn inside(
        &self,
        path: &[&str],
        visit: Visit,
        request: &Asked,
    ) -> Result<Response, Refusal> {
        match path {
            [""] => self.front(request).await,
            ["events"] => self.events(visit, request),
            ["decisions", sequence] => self.decision(sequence).await,
            ["policies", name] => {
                let name = render::unescaped(name).ok_or(Refusal::Path)?;
                let policy = self.source.policy_text(&name).ok_or(Refusal::Path)?;
                Ok(html(StatusCode::OK, render::policy_document(&policy)))
            }
            _ => Err(Refusal::Path),
        }
    }

    async fn front(&self, request: &Asked) -> Result<Response, Refusal> {
        let query: QueryOf<Query> = QueryOf::try_from_uri(request.uri())
            .map_err(|_| Refusal::Filter("the query is not understood"))?;
        let filter = query.0.filter()?;
        let source = &*self.source;
        let status = source.status().await.map_err(unavailable)?;
        let peers = source.peers().await.map_err(unavailable)?;
        let found = filter.search(source).await.map_err(unavailable)?;
        let (servers, bundle) = (source.servers(), source.bundle());
        let front = render::Front {
            status: &status,
            glance: render::glance(&status, &peers, &servers),
            state: render::state(&status),
            peers: render::peers(&peers, &status),
            tools: render::tools(&servers),
            alerts: render::alerts(&self.page.tail.alerts(), source),
            policy: render::policy(bundle.as_ref()),
            found: &found,
            filter: &filter,
        };
        Ok(html(StatusCode::OK, front.document()))
    }

    async fn decision(&self, sequence: &str) -> Result<Response, Refusal> {
        let sequence: u64 = sequence.parse().map_err(|_| Refusal::Path)?;
        let query = DecisionQuery {
            before: sequence.checked_add(1),
            limit: Some(1),
        };
        let found = self.source.decisions(query).await.map_err(unavailable)?;
        let found = found.first().filter(|decision| decision.seq == sequence);
        let decision = found.ok_or(Refusal::Path)?;
        Ok(html(StatusCode::OK, render::decision(decision)))
    }

    /// The event stream of one browser.
    fn events(&self, visit: Visit, request: &Asked) -> Result<Response, Refusal> {
        let room = Arc::clone(&self.streams).try_acquire_owned();
        let room = room.map_err(|_| Refusal::TooManyStreams)?;
        let media_type = HeaderValue::from_static("text/event-stream");
        // An `EventSource` is not told why there is no stream: the page asks so.
        if *request.method() == Method::HEAD {
            let mut response = Response::new(Body::empty());
            response.headers_mut().insert(CONTENT_TYPE, media_type);
            return Ok(response);
        }
        let cut = request.extensions().get::<Cut>().cloned();
        let (to, events) = mpsc::channel::<Bytes>(STREAM_QUEUE);
        let carrying = feed::carry(self.feed.watch(), to, visit, self.stop.clone());
        let source = Arc::clone(&self.source);
        self.tasks.spawn(async move {
            if carrying.await == Ended::Slow {
                source.refused("page_reader_slow");
                // What is queued in the connection will not be read either.
                if let Some(Cut(connection)) = cut {
                    connection.cancel();
                }
            }
            drop(room);
        });
        let body = futures::stream::unfold(events, async |mut events| {
            let event = events.recv().await?;
            Some((Ok::<_, std::convert::Infallible>(event), events))
        });
        let mut response = Response::new(Body::from_stream(body));
        response.headers_mut().insert(CONTENT_TYPE, media_type);
        Ok(response)
    }
}

fn asset(name: &str) -> Result<Response, Refusal> {
    let asset = assets::find(name).ok_or(Refusal::Path)?;
    let mut response = Response::new(Body::from(Bytes::from_static(asset.bytes)));
    let media_type = HeaderValue::from_static(asset.media_type);
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    Ok(response)
}

/// The values of cookies by the session's name, of which at most [`MAX_COOKIES`] are looked at.
///
/// Cookies know no ports: what else listens on this host can set some of that name, and any bytes.
fn sessions_of(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(COOKIE).iter();
    let pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    let ours = pairs.filter_map(|pair| {
        let pair = core::str::from_utf8(pair).ok()?;
        let (name, value) = pair.trim().split_once('=')?;
        (name == SESSION).then_some(value)
    });
    ours.take(MAX_COOKIES)
}
