//! What operators ask about tickets and newcomers, and its routes.

use async_trait::async_trait;
use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use protocol::control::{
    DecidedPeer, Failure, Invite, NewTicket, PeerChoice, PendingPeer, TicketChoice, TicketInfo,
    route,
};
use serde::Serialize;

use super::Caller;
use super::router::{Answer, Context, Json, within};

/// The part of [`Operations`](super::Operations) that an issuer answers; another node refuses with
/// `not_an_issuer`.
#[async_trait]
pub trait Enrolling: Send + Sync {
    /// Makes a ticket.
    ///
    /// # Errors
    /// Beyond what the root lets this issuer grant, or out of bounds.
    async fn invite(&self, caller: Caller, invite: Invite) -> Result<NewTicket, Failure>;

    /// Every ticket, the newest first.
    ///
    /// # Errors
    /// Why they cannot be listed.
    async fn tickets(&self) -> Result<Vec<TicketInfo>, Failure>;

    /// Has a ticket redeemed no more, durably.
    ///
    /// # Errors
    /// There is none of that id.
    async fn revoke_ticket(
        &self,
        caller: Caller,
        choice: TicketChoice,
    ) -> Result<TicketInfo, Failure>;

    /// Who waits for a person, the longest first.
    ///
    /// # Errors
    /// Why they cannot be listed.
    async fn pending(&self) -> Result<Vec<PendingPeer>, Failure>;

    /// Lets a node in that waits.
    ///
    /// # Errors
    /// There is none, or the limits forbid it.
    async fn approve(&self, caller: Caller, choice: PeerChoice) -> Result<DecidedPeer, Failure>;

    /// Refuses a node that waits.
    ///
    /// # Errors
    /// There is none.
    async fn deny(&self, caller: Caller, choice: PeerChoice) -> Result<DecidedPeer, Failure>;
}

pub(super) fn routes() -> Router<Context> {
    Router::new()
        .route(route::TICKETS, get(tickets).post(invite))
        .route(route::REVOKE_TICKET, post(revoke))
        .route(route::PENDING, get(pending))
        .route(route::APPROVE, post(approve))
        .route(route::DENY, post(deny))
}

async fn tickets(State(context): State<Context>) -> Answer<impl Serialize> {
    within(context.operations.tickets()).await
}

async fn invite(
    State(context): State<Context>,
    Json(invite): Json<Invite>,
) -> Answer<impl Serialize> {
    within(context.operations.invite(context.caller, invite)).await
}

async fn revoke(
    State(context): State<Context>,
    Json(choice): Json<TicketChoice>,
) -> Answer<impl Serialize> {
    within(context.operations.revoke_ticket(context.caller, choice)).await
}

async fn pending(State(context): State<Context>) -> Answer<impl Serialize> {
    within(context.operations.pending()).await
}

async fn approve(
    State(context): State<Context>,
    Json(choice): Json<PeerChoice>,
) -> Answer<impl Serialize> {
    within(context.operations.approve(context.caller, choice)).await
}

async fn deny(
    State(context): State<Context>,
    Json(choice): Json<PeerChoice>,
) -> Answer<impl Serialize> {
    within(context.operations.deny(context.caller, choice)).await
}
