//! Becoming a member and staying one: tickets, join streams, renewal, rotation of keys.
//!
//! ```text
//! operator ── Issuer (invite, approve, revoke) ──▶ the issuer's books in the store
//!                ▲ judges requests
//! join stream ── Desk ──┬─ this node's issuer
//!  (newcomer or member) └─ carries the stream on to another issuer's node
//!
//! join    a host without a mesh asks the bootstraps of its ticket
//! renew   a member asks any issuer it reaches, long before its membership ends or long after
//! rotate  a member changes its keys under its name
//! ```
//!
//! # Invariants
//! - Nothing a stranger says is stored but what a ticket's holder may store once per use.
//! - One write transaction redeems a ticket: use, bindings, sequence and membership, or none.
//! - A node in between is trusted with nothing: what it alters does not verify, what it withholds
//!   is asked for elsewhere.
//! - Renewal needs no admission, so a node whose membership has ended finds its way back.
//!
//! What it does not do: decide who is admitted to a link (`overlay`), or what is revoked
//! ([`Barred`] asks whoever knows).

mod asking;
mod barred;
mod desk;
mod issuer;
mod issuers;
mod join;
mod limits;
mod office;
mod operator;
mod redeem;
mod refused;
mod renew;
mod request;
mod roots;
mod rotate;
mod throttle;
mod wire;

#[cfg(test)]
mod tests;

pub use asking::{Answer, AskError, Asking};
pub use barred::{Bar, Barred, NobodyBarred};
pub use desk::{Desk, Parts, Source};
pub use issuer::Issuer;
pub use issuers::IssuerNodes;
pub use join::{JoinError, Joined, Progress, Tried, join};
pub use limits::*;
pub use office::Office;
pub use operator::{Invitation, Invited, Listed, Redeemed};
pub use redeem::Decided;
pub use refused::Refused;
pub use renew::{Renewal, keep_renewed};
pub use request::{RequestError, verify_tls};
pub use roots::RootChain;
pub use rotate::{RotateError, Rotated, rotate};
