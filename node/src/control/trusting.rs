//! The routes about trust: what is in force, proposals, revocations and how far one has spread.
//!
//! Bounds what is asked for and maps it to [`TrustOperations`]. Nothing here gives a local caller
//! any authority over the mesh: documents are verified behind the trait like those of a peer.

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use protocol::control::{
    BundleFile, Failure, FailureKind, MAX_LISTED_REVOCATIONS, MAX_PUBLISHED, MAX_SPREAD_WAIT_MS,
    PastBundleQuery, Preview, Propose, Proposed, Publication, Publish, RevocationQuery,
    Revocations, Spread, SpreadEvent, SpreadQuery, Trust, route,
};
use protocol::id::Digest;
use serde::Serialize;
use tokio::sync::mpsc;

use super::Caller;
use super::lines::event_line;
use super::router::{Answer, Context, Json, Refusal, invalid, query, within};

/// Reports of a spread that wait for a slow reader.
const SPREAD_QUEUE: usize = 4;

/// What the node does about trust for local operators. As [`super::Operations`]: called many
/// times at once, futures dropped at any point.
#[async_trait]
pub trait TrustOperations: Send + Sync {
    /// What is in force.
    ///
    /// # Errors
    /// Why it cannot be told.
    async fn in_force(&self) -> Result<Trust, Failure>;

    /// The bundle in force.
    ///
    /// # Errors
    /// Why it cannot be told.
    async fn bundle(&self) -> Result<BundleFile, Failure>;

    /// Takes complete documents, in order, and returns when they are on disk. Their number was
    /// checked.
    ///
    /// # Errors
    /// Why the first that was refused was refused; those before it are in force.
    async fn publish(&self, caller: Caller, publish: Publish) -> Result<Publication, Failure>;

    /// Takes a proposal, joins its signatures to those it has, and puts it in force if they are
    /// enough.
    ///
    /// # Errors
    /// It is none, or of another root than the one in force.
    async fn propose(&self, caller: Caller, propose: Propose) -> Result<Proposed, Failure>;

    /// What a proposal would do to the revocations held here; keeps nothing.
    ///
    /// # Errors
    /// It is none, or of another root than the one in force.
    async fn preview(&self, propose: Propose) -> Result<Preview, Failure>;

    /// Forgets a proposal.
    ///
    /// # Errors
    /// There is none with this id.
    async fn discard(&self, caller: Caller, id: Digest) -> Result<(), Failure>;

    /// Entries of all revocation logs; the limit was checked.
    ///
    /// # Errors
    /// Why they cannot be listed.
    async fn revocations(&self, query: RevocationQuery) -> Result<Revocations, Failure>;

    /// Asks every node for its acknowledgement of an entry, for at most the time the query gives,
    /// which was checked. What is known so far goes to `progress`; a full queue is skipped.
    ///
    /// # Errors
    /// There is no such entry, or nobody can be asked.
    async fn spread(
        &self,
        query: SpreadQuery,
        progress: mpsc::Sender<Spread>,
    ) -> Result<Spread, Failure>;
}

/// The routes, to be merged with the others.
pub(super) fn routes() -> Router<Context> {
    Router::new()
        .route(route::TRUST, get(in_force))
        .route(route::BUNDLE, get(bundle))
        .route(route::PAST_BUNDLES, get(past_bundles))
        .route(route::PAST_BUNDLE, get(past_bundle))
        .route(route::PUBLISH, post(publish))
        .route(route::PROPOSALS, post(propose))
        .route(route::PREVIEW, post(preview))
        .route(&format!("{}/{{id}}", route::PROPOSALS), delete(discard))
        .route(route::REVOCATIONS, get(revocations))
        .route(route::SPREAD, post(spread))
}

fn trust(context: &Context) -> Result<&dyn TrustOperations, Refusal> {
    context.operations.trust().ok_or_else(|| {
        Refusal(Failure::new(
            FailureKind::Unavailable,
            "trust_unavailable",
            "this node keeps no trust documents",
        ))
    })
}

async fn in_force(State(context): State<Context>) -> Answer<impl Serialize> {
    within(trust(&context)?.in_force()).await
}

async fn bundle(State(context): State<Context>) -> Answer<impl Serialize> {
    within(trust(&context)?.bundle()).await
}

async fn past_bundles(State(context): State<Context>) -> Answer<impl Serialize> {
    within(context.operations.past_bundles()).await
}

async fn past_bundle(State(context): State<Context>, request: Request) -> Answer<impl Serialize> {
    let asked: PastBundleQuery = query(&request)?;
    within(context.operations.past_bundle(asked.version)).await
}

async fn publish(
    State(context): State<Context>,
    Json(publish): Json<Publish>,
) -> Answer<impl Serialize> {
    let count = publish.documents.len();
    if !(1..=MAX_PUBLISHED).contains(&count) {
        let message = format!("1 to {MAX_PUBLISHED} documents are published at once, not {count}");
        return Err(invalid("published_documents_out_of_range", message));
    }
    within(trust(&context)?.publish(context.caller, publish)).await
}

async fn propose(
    State(context): State<Context>,
    Json(propose): Json<Propose>,
) -> Answer<impl Serialize> {
    within(trust(&context)?.propose(context.caller, propose)).await
}

async fn preview(
    State(context): State<Context>,
    Json(propose): Json<Propose>,
) -> Answer<impl Serialize> {
    within(trust(&context)?.preview(propose)).await
}

async fn discard(
    State(context): State<Context>,
    Path(id): Path<String>,
) -> Result<StatusCode, Refusal> {
    let id = id
        .parse()
        .map_err(|error: protocol::id::IdError| invalid("invalid_id", error.to_string()))?;
    within(trust(&context)?.discard(context.caller, id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn revocations(State(context): State<Context>, request: Request) -> Answer<impl Serialize> {
    let query: RevocationQuery = query(&request)?;
    if query
        .limit
        .is_some_and(|limit| limit > MAX_LISTED_REVOCATIONS)
    {
        let message = format!("at most {MAX_LISTED_REVOCATIONS} revocations are listed at once");
        return Err(invalid("too_many_revocations", message));
    }
    within(trust(&context)?.revocations(query)).await
}

async fn spread(
    State(context): State<Context>,
    Json(query): Json<SpreadQuery>,
) -> Result<Response, Refusal> {
    if query.wait_ms == 0 || query.wait_ms > MAX_SPREAD_WAIT_MS {
        let message = format!("acknowledgements are gathered for 1 to {MAX_SPREAD_WAIT_MS} ms");
        return Err(invalid("spread_wait_out_of_range", message));
    }
    trust(&context)?;
    let body = Body::from_stream(spread_events(context, query));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

/// The lines of a spread's answer. The work runs inside the stream: when the client goes away it
/// is dropped with it.
fn spread_events(
    context: Context,
    query: SpreadQuery,
) -> impl futures::Stream<Item = Result<Bytes, serde_json::Error>> + Send {
    let (sender, reports) = mpsc::channel::<Spread>(SPREAD_QUEUE);
    let outcome = Box::pin(async move {
        let Some(trust) = context.operations.trust() else {
            // Refused before the stream began; the node does not stop keeping trust.
            return Err(Failure::new(
                FailureKind::Unavailable,
                "trust_unavailable",
                "this node keeps no trust documents",
            ));
        };
        trust.spread(query, sender).await
    });
    futures::stream::unfold(Some((outcome, reports)), next_event)
}

/// A spread being gathered: what it will come to, and what is known meanwhile.
type Gathering<F> = (core::pin::Pin<Box<F>>, mpsc::Receiver<Spread>);

async fn next_event<F>(
    gathering: Option<Gathering<F>>,
) -> Option<(Result<Bytes, serde_json::Error>, Option<Gathering<F>>)>
where
    F: Future<Output = Result<Spread, Failure>> + Send,
{
    let (mut outcome, mut reports) = gathering?;
    tokio::select! {
        biased;
        outcome = outcome.as_mut() => {
            let event = match outcome {
                Ok(spread) => SpreadEvent::Done(spread),
                Err(failure) => SpreadEvent::Failure(failure),
            };
            Some((event_line(&event), None))
        }
        Some(report) = reports.recv() => {
            let line = event_line(&SpreadEvent::Progress(report));
            Some((line, Some((outcome, reports))))
        }
    }
}
