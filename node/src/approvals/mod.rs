//! Calls that wait here until somebody approves them.
//!
//! The node of the server holds a call that policy wants approved. Each has a number drawn here,
//! the digest of what it asks for, who may answer and until when. Its caller waits on its stream for
//! as long as it likes; one that leaves loses nothing, because an approval is remembered: within its
//! time it lets the same call (same agent of the same node, same tool in the same definition, same
//! arguments) pass exactly once, whether that is the call that waits or a repetition.
//!
//! Everything is on disk before it counts: a held call before anybody is told of it, an answer
//! before the call goes on, and that an approval is used before the call it lets pass acts on
//! anything. So an approval lets pass at most one call, also across a restart.
//!
//! # Invariants
//! - Changes are made one after another, and in memory only once they are on disk.
//! - Unsettled calls are at most [`MAX_PENDING`], and [`MAX_PENDING_PER_AGENT`] of one agent; settled
//!   ones are remembered up to [`MAX_SETTLED`] for [`SETTLED_LIFE_S`].
//! - An answer is verified like a message: signed by a member that is not revoked, of this mesh and
//!   this node's held call, over its very arguments, and by somebody whom a policy names.
//!
//! It does not decide what must be approved, and does not judge the call when it goes on: `enforce`
//! does both.

mod answer;
mod book;
mod error;
mod kept;
pub(crate) mod remote;
#[cfg(test)]
mod tests;
mod view;

pub use book::{Answered, Approvals, Asked, Granted, Parts, Taken, Waiting};
pub use error::ApprovalError;
pub use remote::RemoteError;
pub use view::chosen;
pub(crate) use view::printable;

/// Most calls held at once, approved ones that were not made yet included. A person answers a
/// handful; more is a flood.
pub const MAX_PENDING: usize = 256;

/// Of those, most of one agent.
pub const MAX_PENDING_PER_AGENT: usize = 16;

/// Most settled ones remembered, so that an answer given twice is refused by its own name.
pub const MAX_SETTLED: usize = 256;

/// For how long a settled one is remembered, in seconds: a day.
pub const SETTLED_LIFE_S: u64 = 86_400;

/// For how long an approval lets its call pass once it was given, in seconds. Long enough for a
/// client that gave up after its usual minute to be told, or to try again by itself.
pub const APPROVED_LIFE_S: u64 = 300;

/// Most bytes of a call's parameters that are kept to be shown.
pub const MAX_SHOWN_BYTES: usize = 16 * 1024;

/// Most policies that may hold one call.
pub const MAX_PARTS: usize = 16;

/// Most answers to one call.
pub const MAX_ANSWERS: usize = MAX_PARTS;

/// The reason for a call that is not held because too many are.
pub const APPROVALS_FULL: &str = "approvals_full";

/// The reason for a held call that nobody approved in time.
pub const APPROVAL_TIMED_OUT: &str = "approval_timed_out";

/// The reason for a held call whose place the same call took, made in another session.
pub const APPROVAL_TAKEN_OVER: &str = "approval_taken_over";

/// The reason for a held call that somebody denied.
pub const APPROVAL_DENIED: &str = "approval_denied";
