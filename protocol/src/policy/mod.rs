//! What a decision is made on, what it can be, and the engine that makes it.
//!
//! A signed bundle carries policy documents as the bytes their authors wrote. [`CompiledBundle`]
//! reads them strictly ([`document`]), compiles each into Cedar rules ([`compile`]), and decides on
//! [`Facts`] through the trait [`Policy`]. Of the rules only those of documents whose scope holds
//! the call are evaluated; that this gives what evaluating all would give is a property test.
//!
//! A rule is decidable on the signed header alone, or only at the edges, where the body is. Without
//! a body nothing that needs one may deny: such a decision is of [`Scope::HeaderOnly`].
//!
//! Fail closed: what nothing permits is denied, and so is what Cedar cannot evaluate. Nothing here
//! reads a clock, draws randomness, or does I/O; charging limits, collecting approvals and changing
//! results are the enforcer's, which is told of them as data.
//!
//! [`Scope::HeaderOnly`]: crate::envelope::hop::Scope::HeaderOnly

mod case;
pub mod compile;
mod context;
pub mod diff;
pub mod document;
mod error;
mod evaluate;
mod examples;
pub mod explain;
mod facts;
pub mod glob;
pub mod lint;
pub mod listing;
pub mod pattern;
pub mod schema;
mod sets;
mod severing;
mod slice;
mod starter;
pub mod testing;
mod unapproved;
pub mod uri;
mod verdict;

pub use compile::CompiledBundle;
pub use error::{Checked, MAX_POLICY_ERRORS, PolicyError, Problem, shown};
pub use evaluate::{AMBIGUOUS_URI, NOT_PERMITTED, POLICY_ERROR, RESULT_DENIED};
pub use facts::{CallKind, Facts, Party, Posture};
pub use listing::Listed;
pub use severing::{Severed, Severs};
pub use starter::{STARTER, starter_bundle};
pub use verdict::{
    Action, AllowMembers, ApprovalPart, ApprovalTerms, Decision, Denial, LimitUse, Obligation, Per,
    Policy, Verdict, Violation, Waypoint,
};

/// The media type of a JSON policy document.
pub const JSON_MEDIA_TYPE: &str = "application/vnd.hedgerow.policy+json";

/// The media type of a document of raw Cedar policies.
pub const CEDAR_MEDIA_TYPE: &str = "application/vnd.cedar";
