//! What a decision is made on, and what it can be.
//!
//! [`Policy`] is the seam where compiled documents will sit. Until then the only one is
//! [`AllowMembers`]: whoever holds a valid membership may call everything; what is checked for
//! real before it (signatures, membership, audience, time, replay, header against body) is in
//! `enforce`, and cannot be switched off here.

use crate::envelope::{Direction, Kind};
use crate::id::{Digest, NodeId};
use crate::name::Name;
use crate::record::Point;
use crate::time::UnixMillis;

/// Everything a rule may look at, honestly obtained: nothing here is what the asked-for party
/// says of itself unless its signed header says so.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Where the decision is made.
    pub point: Point,
    /// When, by the deciding node's clock.
    pub now: UnixMillis,
    /// The node that issued the message.
    pub issuer: Party<'a>,
    /// The node it is for.
    pub audience: Party<'a>,
    /// The agent on whose behalf.
    pub agent: &'a Name,
    /// The human the issuer asserts; can only tighten.
    pub human: Option<&'a str>,
    /// The address the message came from, as this node sees it (`ip:port`); absent at ingress.
    pub observed_address: Option<&'a str>,
    /// Digest of the issuer's posture.
    pub posture: Option<Digest>,
    /// Request, notification or response.
    pub kind: Kind,
    /// Which way.
    pub direction: Direction,
    /// The server on its node.
    pub server: &'a Name,
    /// The JSON-RPC method.
    pub method: &'a str,
    /// Tool, prompt or resource.
    pub target: Option<&'a str>,
    /// The digest of the tool's definition.
    pub tool_digest: Option<Digest>,
    /// Derived intents.
    pub intents: &'a [String],
    /// Labels of the data touched.
    pub labels: &'a [String],
    /// The message itself; absent where only the header may be seen.
    pub body: Option<&'a [u8]>,
}

/// A node as its membership describes it.
#[derive(Debug, Clone, Copy)]
pub struct Party<'a> {
    /// Its identity.
    pub node: NodeId,
    /// Its name.
    pub name: &'a Name,
    /// Its groups.
    pub groups: &'a [Name],
    /// Its site.
    pub site: Option<&'a Name>,
}

/// What must be done with a message that may pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obligation {
    /// Raise an alert with this text.
    Alert(String),
    /// Replace what stands at this JSON pointer of the result.
    Redact(String),
    /// Add this label to what it returns.
    Tag(String),
}

/// Why a message may not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// The stable name of the reason.
    pub reason: String,
    /// One line for people.
    pub message: String,
    /// The policy document that decided, where one did.
    pub policy: Option<String>,
    /// What the caller or operator can do.
    pub hint: Option<String>,
}

/// What a decision says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Let it pass, under these obligations.
    Allow(Vec<Obligation>),
    /// Keep it until a human has approved it.
    Hold(Denial),
    /// Refuse it.
    Deny(Denial),
    /// Refuse it and cut the session or link it came on.
    Sever(Denial),
}

impl Verdict {
    /// The stable name of a refusal.
    pub const DENY: &'static str = "deny";

    /// The stable name, as it stands in records.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Allow(_) => "allow",
            Self::Hold(_) => "hold",
            Self::Deny(_) => Self::DENY,
            Self::Sever(_) => "sever",
        }
    }

    /// Why it does not pass, if it does not.
    #[must_use]
    pub const fn denial(&self) -> Option<&Denial> {
        match self {
            Self::Allow(_) => None,
            Self::Hold(denial) | Self::Deny(denial) | Self::Sever(denial) => Some(denial),
        }
    }
}

/// A compiled set of policies.
pub trait Policy: Send + Sync {
    /// The version of the bundle it was compiled from; 0 while there is none.
    fn bundle_version(&self) -> u64;

    /// Decides. Pure: the same facts always give the same verdict.
    fn evaluate(&self, facts: &Facts<'_>) -> Verdict;
}

/// Members may call everything: the policy of a mesh before it has a bundle.
#[derive(Debug, Clone, Copy, Default)]
pub struct AllowMembers;

impl Policy for AllowMembers {
    fn bundle_version(&self) -> u64 {
        0
    }

    fn evaluate(&self, _: &Facts<'_>) -> Verdict {
        // That issuer and audience are members is what made `Facts` at all.
        Verdict::Allow(Vec::new())
    }
}
