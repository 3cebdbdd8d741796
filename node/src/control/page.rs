//! The routes about the status page: a way in, and the end of every session.

use async_trait::async_trait;
use axum::Router;
use axum::extract::State;
use axum::routing::post;
use protocol::control::{Failure, FailureKind, PageLogin, PageSessionsEnded, route};
use serde::Serialize;

use super::Caller;
use super::router::{Answer, Context, Refusal, within};

/// What the node does about its status page for local operators.
#[async_trait]
pub trait PageOperations: Send + Sync {
    /// Makes a one-time code.
    ///
    /// # Errors
    /// There is no randomness for one.
    async fn login(&self, caller: Caller) -> Result<PageLogin, Failure>;

    /// Ends every browser session and voids every code.
    ///
    /// # Errors
    /// Why they cannot be ended.
    async fn end_sessions(&self, caller: Caller) -> Result<PageSessionsEnded, Failure>;
}

/// The routes, to be merged with the others.
pub(super) fn routes() -> Router<Context> {
    Router::new()
        .route(route::PAGE_CODES, post(login))
        .route(route::REVOKE_PAGE_SESSIONS, post(end_sessions))
}

fn page(context: &Context) -> Result<&dyn PageOperations, Refusal> {
    context.operations.page().ok_or_else(|| {
        let failure = Failure::new(
            FailureKind::Unavailable,
            "no_status_page",
            "this node serves no status page",
        );
        Refusal(failure.with_hint(
            "`page.enabled` is false, or the port of `page.listen` was taken when the node started",
        ))
    })
}

async fn login(State(context): State<Context>) -> Answer<impl Serialize> {
    within(page(&context)?.login(context.caller)).await
}

async fn end_sessions(State(context): State<Context>) -> Answer<impl Serialize> {
    within(page(&context)?.end_sessions(context.caller)).await
}
