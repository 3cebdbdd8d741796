//! What operators ask about calls that wait for approval, and its routes.

use async_trait::async_trait;
use axum::Router;
use axum::extract::{Request, State};
use axum::routing::{get, post};
use protocol::approval::Choice;
use protocol::control::{AnswerApproval, Approval, ApprovalQuery, Failure, FailureKind, route};
use serde::Serialize;

use super::Caller;
use super::router::{Answer, Context, Json, Refusal, query, within};

/// What the node does about held calls for local operators.
#[async_trait]
pub trait ApprovalOperations: Send + Sync {
    /// The held calls, those that wait longest first.
    ///
    /// # Errors
    /// Why they cannot be listed: of another node, why it cannot be asked.
    async fn held(&self, query: ApprovalQuery) -> Result<Vec<Approval>, Failure>;

    /// Signs the operator's answer to a held call and has its holder take it.
    ///
    /// # Errors
    /// There is none, or why the answer does not count.
    async fn answer_held(
        &self,
        caller: Caller,
        answer: AnswerApproval,
        choice: Choice,
    ) -> Result<Approval, Failure>;
}

/// The routes, to be merged with the others.
pub(super) fn routes() -> Router<Context> {
    Router::new()
        .route(route::APPROVALS, get(held))
        .route(route::APPROVE_CALL, post(approve))
        .route(route::DENY_CALL, post(deny))
}

fn approvals(context: &Context) -> Result<&dyn ApprovalOperations, Refusal> {
    context.operations.approvals().ok_or_else(|| {
        Refusal(Failure::new(
            FailureKind::Unavailable,
            "approvals_unavailable",
            "this node holds no calls",
        ))
    })
}

async fn held(State(context): State<Context>, request: Request) -> Answer<impl Serialize> {
    let query: ApprovalQuery = query(&request)?;
    within(approvals(&context)?.held(query)).await
}

async fn approve(
    State(context): State<Context>,
    Json(answer): Json<AnswerApproval>,
) -> Answer<impl Serialize> {
    let held = approvals(&context)?;
    within(held.answer_held(context.caller, answer, Choice::Approve)).await
}

async fn deny(
    State(context): State<Context>,
    Json(answer): Json<AnswerApproval>,
) -> Answer<impl Serialize> {
    let held = approvals(&context)?;
    within(held.answer_held(context.caller, answer, Choice::Deny)).await
}
