//! The routes of the control API, their bounds, and how failures become HTTP.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use protocol::control::{
    AddAgent, AddServer, CallEvent, CallReply, CallRequest, DecisionQuery, DecisionSearch, Dial,
    Failure, FailureKind, InspectRequest, IssueMembership, MAX_CALL_TIMEOUT_MS, MAX_DECISIONS,
    MAX_MEMBERSHIP_DAYS, MAX_REQUEST_BYTES, ServerFilter, route,
};
use protocol::name::Name;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use super::lines::event_line;
use super::{Caller, Operations, trusting};
use crate::session::MESSAGE_QUEUE;

/// Refusal of a local user who is neither the node's own nor root.
pub(super) const PEER_NOT_ALLOWED: &str = "control_peer_not_allowed";
/// Refusal of a connection whose user the kernel does not tell.
pub(super) const PEER_UNKNOWN: &str = "control_peer_unknown";

/// Time a client has to send a request's body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Time every operation but a call has. Listing tools asks servers that may just be starting.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(60);

/// What handlers work with.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) operations: Arc<dyn Operations>,
    pub(super) caller: Caller,
}

/// All routes, for one admitted caller.
pub(super) fn routes(operations: Arc<dyn Operations>, caller: Caller) -> Router {
    let named = |path: &str| format!("{path}/{{name}}");
    Router::new()
        .route(route::STATUS, get(status))
        .route(route::DOCTOR, get(doctor))
        .route(route::STORE_COPY, post(copy_store))
        .route(route::PEERS, get(peers))
        .route(route::POSTURES, get(postures))
        .route(route::DIAL, post(dial))
        .route(route::SERVERS, get(servers).post(add_server))
        .route(&named(route::SERVERS), delete(remove_server))
        .route(route::AGENTS, get(agents).post(add_agent))
        .route(&named(route::AGENTS), delete(remove_agent))
        .route(route::TOOLS, get(tools))
        .route(route::CALL, post(call))
        .route(route::INSPECT_REQUEST, post(inspect_request))
        .route(route::MEMBERSHIPS, post(issue_membership))
        .route(route::DECISIONS, get(decisions))
        .route(route::FIND_DECISIONS, post(find_decisions))
        .merge(super::enrolling::routes())
        .merge(trusting::routes())
        .merge(super::approving::routes())
        .merge(super::page::routes())
        .fallback(async || Refusal(unknown_route()))
        .method_not_allowed_fallback(async || Refusal(unknown_route()))
        .with_state(Context { operations, caller })
}

/// Answers everything with a refusal that names the user.
pub(super) fn refuse_user(uid: u32) -> Router {
    refuse_all(
        Failure::new(
            FailureKind::Denied,
            PEER_NOT_ALLOWED,
            format!("user {uid} may not control this node"),
        )
        .with_hint("run the command as the user the node runs as, or as root"),
    )
}

/// Answers everything with a refusal: nobody knows who asks.
pub(super) fn refuse_unknown() -> Router {
    refuse_all(Failure::new(
        FailureKind::Denied,
        PEER_UNKNOWN,
        "the kernel does not say which user is asking",
    ))
}

fn refuse_all(failure: Failure) -> Router {
    Router::new().fallback(async move || Refusal(failure))
}

fn unknown_route() -> Failure {
    Failure::new(
        FailureKind::NotFound,
        "unknown_route",
        "the node does not know this request",
    )
    .with_hint("use the `hedgerow` command of the version the node runs (`hedgerow status`)")
}

pub(super) type Answer<T> = Result<Json<T>, Refusal>;

async fn status(State(context): State<Context>) -> Answer<impl Serialize> {
    within(context.operations.status()).await
}

async fn doctor(State(context): State<Context>) -> Answer<impl Serialize> {
    within(context.operations.doctor()).await
}

async fn copy_store(State(context): State<Context>) -> Answer<impl Serialize> {
    within(context.operations.copy_store(context.caller)).await
}

async fn peers(State(context): State<Context>) -> Answer<impl Serialize> {
    within(context.operations.peers()).await
}

async fn postures(State(context): State<Context>, request: Request) -> Answer<impl Serialize> {
    within(context.operations.postures(query(&request)?)).await
}

async fn dial(State(context): State<Context>, Json(dial): Json<Dial>) -> Answer<impl Serialize> {
    within(context.operations.dial(context.caller, dial)).await
}

async fn servers(State(context): State<Context>) -> Answer<impl Serialize> {
    within(context.operations.servers()).await
}

async fn add_server(
    State(context): State<Context>,
    Json(server): Json<AddServer>,
) -> Answer<impl Serialize> {
    if let Err(error) = server.spec.check() {
        return Err(invalid("unusable_server", error.to_string()));
    }
    within(context.operations.add_server(context.caller, server)).await
}

async fn remove_server(
    State(context): State<Context>,
    Path(name): Path<String>,
) -> Result<StatusCode, Refusal> {
    let removal = context
        .operations
        .remove_server(context.caller, parse(&name)?);
    within(removal).await.map(|_| StatusCode::NO_CONTENT)
}

async fn agents(State(context): State<Context>) -> Answer<impl Serialize> {
    within(context.operations.agents()).await
}

async fn add_agent(
    State(context): State<Context>,
    Json(agent): Json<AddAgent>,
) -> Answer<impl Serialize> {
    within(context.operations.add_agent(context.caller, agent)).await
}

async fn remove_agent(
    State(context): State<Context>,
    Path(name): Path<String>,
) -> Result<StatusCode, Refusal> {
    let removal = context
        .operations
        .remove_agent(context.caller, parse(&name)?);
    within(removal).await.map(|_| StatusCode::NO_CONTENT)
}

async fn tools(State(context): State<Context>, request: Request) -> Answer<impl Serialize> {
    let filter: ServerFilter = query(&request)?;
    within(context.operations.tools(context.caller, filter)).await
}

async fn inspect_request(
    State(context): State<Context>,
    Json(inspect): Json<InspectRequest>,
) -> Answer<impl Serialize> {
    within(context.operations.inspect_request(inspect.request)).await
}

async fn issue_membership(
    State(context): State<Context>,
    Json(issue): Json<IssueMembership>,
) -> Answer<impl Serialize> {
    if !(1..=MAX_MEMBERSHIP_DAYS).contains(&issue.days) {
        let message = format!(
            "a membership lasts 1 to {MAX_MEMBERSHIP_DAYS} days, not {}",
            issue.days
        );
        return Err(invalid("membership_days_out_of_range", message));
    }
    if issue.groups.len() > protocol::limits::MAX_GROUPS {
        let message = format!(
            "a membership names at most {} groups, not {}",
            protocol::limits::MAX_GROUPS,
            issue.groups.len()
        );
        return Err(invalid("too_many_groups", message));
    }
    within(context.operations.issue_membership(context.caller, issue)).await
}

async fn decisions(State(context): State<Context>, request: Request) -> Answer<impl Serialize> {
    let query: DecisionQuery = query(&request)?;
    bounded(query.limit)?;
    within(context.operations.decisions(query)).await
}

async fn find_decisions(
    State(context): State<Context>,
    Json(search): Json<DecisionSearch>,
) -> Answer<impl Serialize> {
    bounded(search.limit)?;
    within(context.operations.find_decisions(search)).await
}

fn bounded(limit: Option<u32>) -> Result<(), Refusal> {
    if limit.is_some_and(|limit| limit > MAX_DECISIONS) {
        let message = format!("at most {MAX_DECISIONS} decisions are listed at once");
        return Err(invalid("too_many_decisions", message));
    }
    Ok(())
}

async fn call(
    State(context): State<Context>,
    Json(call): Json<CallRequest>,
) -> Result<Response, Refusal> {
    if call.timeout_ms == 0 || call.timeout_ms > MAX_CALL_TIMEOUT_MS {
        let message = format!("a call's deadline is 1 to {MAX_CALL_TIMEOUT_MS} ms");
        return Err(invalid("call_timeout_out_of_range", message));
    }
    if !call.arguments.get().trim_start().starts_with('{') {
        let message = "the arguments of a call are a JSON object";
        return Err(invalid("arguments_not_an_object", message));
    }
    let body = Body::from_stream(call_events(context, call));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

/// The lines of a call's answer. The call runs inside the stream: when the client goes away
/// hyper drops the stream, and the call with it.
fn call_events(
    context: Context,
    call: CallRequest,
) -> impl futures::Stream<Item = Result<Bytes, serde_json::Error>> + Send {
    let (sender, notifications) = mpsc::channel::<Box<RawValue>>(MESSAGE_QUEUE);
    let deadline = Duration::from_millis(call.timeout_ms);
    let outcome = Box::pin(async move {
        let work = context.operations.call(context.caller, call, sender);
        match tokio::time::timeout(deadline, work).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failure::new(
                FailureKind::Timeout,
                "call_timeout",
                format!(
                    "no response within {} ms; the call was abandoned",
                    deadline.as_millis()
                ),
            )
            .with_hint("give it longer with `--timeout`")),
        }
    });
    futures::stream::unfold(Some((outcome, notifications)), next_event)
}

/// A call in progress: what it will come to, and what the server says meanwhile.
type Running<F> = (core::pin::Pin<Box<F>>, mpsc::Receiver<Box<RawValue>>);

async fn next_event<F>(
    running: Option<Running<F>>,
) -> Option<(Result<Bytes, serde_json::Error>, Option<Running<F>>)>
where
    F: Future<Output = Result<CallReply, Failure>> + Send,
{
    let (mut outcome, mut notifications) = running?;
    tokio::select! {
        biased;
        Some(notification) = notifications.recv() => {
            let line = event_line(&CallEvent::Notification(notification));
            Some((line, Some((outcome, notifications))))
        }
        outcome = outcome.as_mut() => Some((last_lines(outcome, &mut notifications), None)),
    }
}

/// What was still queued when the call ended, and the end itself.
fn last_lines(
    outcome: Result<CallReply, Failure>,
    notifications: &mut mpsc::Receiver<Box<RawValue>>,
) -> Result<Bytes, serde_json::Error> {
    let mut lines = Vec::new();
    while let Ok(notification) = notifications.try_recv() {
        lines.extend(event_line(&CallEvent::Notification(notification))?);
    }
    let end = match outcome {
        Ok(reply) => CallEvent::Reply(reply),
        Err(failure) => CallEvent::Failure(failure),
    };
    lines.extend(event_line(&end)?);
    Ok(lines.into())
}

pub(super) async fn within<T: Serialize>(
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<Json<T>, Refusal> {
    match tokio::time::timeout(OPERATION_TIMEOUT, work).await {
        Ok(Ok(value)) => Ok(Json(value)),
        Ok(Err(failure)) => Err(Refusal(failure)),
        Err(_) => Err(Refusal(Failure::new(
            FailureKind::Timeout,
            "operation_timeout",
            format!("not done within {} s", OPERATION_TIMEOUT.as_secs()),
        ))),
    }
}

pub(super) fn invalid(reason: &'static str, message: impl Into<String>) -> Refusal {
    Refusal(Failure::new(FailureKind::Invalid, reason, message))
}

fn parse(name: &str) -> Result<Name, Refusal> {
    name.parse()
        .map_err(|error: protocol::name::NameError| invalid("invalid_name", error.to_string()))
}

pub(super) fn query<T: DeserializeOwned>(request: &Request) -> Result<T, Refusal> {
    Query::try_from_uri(request.uri())
        .map(|Query(value)| value)
        .map_err(|error| invalid("malformed_query", error.to_string()))
}

/// A failure on its way to the client.
pub(super) struct Refusal(pub(super) Failure);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.kind.http_status())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(self.0)).into_response()
    }
}

/// A JSON body, bounded in size and time on the way in.
pub(super) struct Json<T>(pub(super) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
}

impl<T: DeserializeOwned> FromRequest<Context> for Json<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &Context) -> Result<Self, Refusal> {
        let body = Limited::new(request.into_body(), MAX_REQUEST_BYTES).collect();
        let bytes = match tokio::time::timeout(BODY_TIMEOUT, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                return Err(Refusal(Failure::new(
                    FailureKind::TooLarge,
                    "request_too_large",
                    format!("a control request has at most {MAX_REQUEST_BYTES} bytes"),
                )));
            }
            Ok(Err(_)) => return Err(invalid("broken_request", "the request's body broke off")),
            Err(_) => {
                return Err(Refusal(Failure::new(
                    FailureKind::Timeout,
                    "request_timeout",
                    format!("no whole request within {} s", BODY_TIMEOUT.as_secs()),
                )));
            }
        };
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|error| invalid("malformed_request", format!("malformed request: {error}")))
    }
}
