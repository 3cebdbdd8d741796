//! What a decision says, and the seam through which it is asked for.

use super::document::{Subjects, Via};
use super::facts::{Facts, Party};
use super::severing::Severs;
use crate::envelope::hop::Scope;
use crate::id::Digest;
use crate::name::PolicyName;

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

/// The short answer of a decision.
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

/// What a document says shall happen when a call violates it, mildest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Let through what another document permits, and raise an alert.
    Alert,
    /// Keep it until somebody approves it.
    RequireApproval,
    /// Refuse it.
    Block,
    /// Refuse it and raise an alert.
    BlockAndAlert,
    /// Refuse it, raise an alert, and cut off the agent or, where that is what the document judges,
    /// the node ([`super::Severed`]).
    Sever,
}

impl Action {
    /// All, mildest first.
    pub const ALL: [Self; 5] = [
        Self::Alert,
        Self::RequireApproval,
        Self::Block,
        Self::BlockAndAlert,
        Self::Sever,
    ];

    /// Its name in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::RequireApproval => "require_approval",
            Self::Block => "block",
            Self::BlockAndAlert => "block_and_alert",
            Self::Sever => "sever",
        }
    }

    /// Whether operators are told.
    #[must_use]
    pub const fn alerts(self) -> bool {
        matches!(self, Self::Alert | Self::BlockAndAlert | Self::Sever)
    }
}

/// A rule that a call does not meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The document.
    pub policy: String,
    /// The rule: a JSON pointer into the document, or the number of a Cedar policy.
    pub rule: String,
    /// What the document asks for.
    pub action: Action,
    /// The stable name of the reason.
    pub reason: &'static str,
    /// One line for people.
    pub message: String,
}

/// For whom a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Per {
    /// Each agent of each node on its own.
    Agent,
    /// All agents of a node together.
    Node,
    /// Everybody in the document's scope together, as far as the deciding node sees them.
    Mesh,
}

impl Per {
    /// Its name in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Node => "node",
            Self::Mesh => "mesh",
        }
    }
}

/// A limit that a call counts against, for the enforcer to charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitUse {
    /// The document that sets it: the bucket is of this document, for whom `per` says.
    pub policy: String,
    /// For whom it counts.
    pub per: Per,
    /// Most calls in the window.
    pub calls: Option<u64>,
    /// Most bytes of requests and results in the window.
    pub bytes: Option<u64>,
    /// The window in seconds.
    pub window_s: u64,
    /// Most calls at once.
    pub concurrent: Option<u64>,
    /// What the document asks for when it is exceeded.
    pub action: Action,
}

/// Who may approve what one document holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalPart {
    /// The document.
    pub policy: String,
    /// Who; `None` leaves it to the operator of the holding node.
    pub by: Option<Subjects>,
}

/// What it takes to approve a call that is held.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApprovalTerms {
    /// Every document that holds it; an approval counts for those whose `by` holds the approver,
    /// and the call goes on when all are covered.
    pub parts: Vec<ApprovalPart>,
    /// Within how many seconds; the shortest of them.
    pub within_s: u64,
}

/// A decision with what explains it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What to do.
    pub verdict: Verdict,
    /// On what it was decided.
    pub scope: Scope,
    /// Every rule violated, strictest first, then by document and rule.
    pub violations: Vec<Violation>,
    /// The documents that permit it, sorted.
    pub granted_by: Vec<String>,
    /// What documents that only observe would have said.
    pub observed: Vec<Violation>,
    /// What to charge before it goes on: a call that begins, and the bytes of a result.
    pub limits: Vec<LimitUse>,
    /// What it takes to approve it, where it is held.
    pub approval: Option<ApprovalTerms>,
}

impl Decision {
    /// A bare verdict, decided in full.
    #[must_use]
    pub const fn of(verdict: Verdict) -> Self {
        Self {
            verdict,
            scope: Scope::Full,
            violations: Vec::new(),
            granted_by: Vec::new(),
            observed: Vec::new(),
            limits: Vec::new(),
            approval: None,
        }
    }

    /// Let it pass, without obligations.
    #[must_use]
    pub const fn allow() -> Self {
        Self::of(Verdict::Allow(Vec::new()))
    }

    /// What operators are to be told, whether it passes or not.
    pub fn alerts(&self) -> impl Iterator<Item = &Violation> {
        self.violations.iter().filter(|v| v.action.alerts())
    }
}

/// Whom a document wants the route of a call to pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waypoint {
    /// The document.
    pub policy: PolicyName,
    /// Whom.
    pub via: Via,
    /// What it asks for where the route does not.
    pub action: Action,
}

/// A compiled set of policies.
pub trait Policy: Severs + Send + Sync {
    /// The version of the bundle it was compiled from; 0 while there is none.
    fn bundle_version(&self) -> u64;

    /// Decides. Pure: the same facts always give the same decision.
    fn evaluate(&self, facts: &Facts<'_>) -> Decision;

    /// As [`Policy::evaluate`], of a template of URIs that is listed: it is no URI, and judged by its
    /// text.
    fn evaluate_template(&self, facts: &Facts<'_>) -> Decision {
        self.evaluate(facts)
    }

    /// Whom the route of a call must pass, whatever route the facts name. Whoever plans routes asks
    /// this; whether a route holds them is decided by [`Policy::evaluate`].
    fn waypoints(&self, _: &Facts<'_>) -> Vec<Waypoint> {
        Vec::new()
    }

    /// Whether this node's word on which human an agent of it acts for is good: what
    /// [`Facts::human_vouched`] says of a call that such a node began.
    fn vouches_for_humans(&self, _: Party<'_>) -> bool {
        false
    }

    /// The labels that the bundle gives what lies on a server of a node, by their names.
    fn labelled(&self, _node: &str, _server: &str, _target: &str) -> Vec<String> {
        Vec::new()
    }

    /// A definition that is approved of a tool of a server of this name, if any is. Whoever does not
    /// know yet how the tool is defined asks this: only then does it matter to find out.
    fn approved(&self, _server: &str, _tool: &str) -> Option<Digest> {
        None
    }
}

/// Members may call everything: the policy of a mesh before it has a bundle.
#[derive(Debug, Clone, Copy, Default)]
pub struct AllowMembers;

impl Policy for AllowMembers {
    fn bundle_version(&self) -> u64 {
        0
    }

    fn evaluate(&self, _: &Facts<'_>) -> Decision {
        // That issuer and audience are members is what made `Facts` at all.
        Decision::allow()
    }
}
