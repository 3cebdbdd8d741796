//! Calls that wait until somebody approves them.

use crate::human::Human;
use crate::id::{ApprovalId, Digest, NodeId};
use crate::name::Name;
use crate::time::UnixSeconds;

/// Which held calls to list.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalQuery {
    /// Those that another node holds, and that this node's operator may answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Name>,
    /// Those that are settled too, as far as they are remembered.
    #[serde(default)]
    pub all: bool,
}

/// A call that is, or was, held.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Approval {
    /// What names it.
    pub id: ApprovalId,
    /// Where it stands.
    pub state: ApprovalState,
    /// Whether the caller waits for the answer now.
    pub waiting: bool,
    /// The node that holds it, by name or id.
    pub holder: String,
    /// The node of the caller, by name or id.
    pub node: String,
    /// That node.
    pub node_id: NodeId,
    /// The agent on it.
    pub agent: Name,
    /// The human the caller's node asserts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub human: Option<String>,
    /// The server.
    pub server: Name,
    /// The MCP method.
    pub method: String,
    /// The tool, prompt or resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The digest of what it asks for: an answer is bound to it.
    pub arguments: Digest,
    /// What it asks for: the request's parameters as the client wrote them, or the first part.
    pub params: String,
    /// Whether more follows than is shown.
    pub shortened: bool,
    /// The policies that hold it, and who may approve for each.
    pub policies: Vec<ApprovalPolicy>,
    /// Since when it is held.
    pub asked: UnixSeconds,
    /// Until when it can be answered, or, once approved, made again.
    pub until: UnixSeconds,
    /// Who answered, and what.
    pub answers: Vec<ApprovalAnswer>,
}

/// Where a held call stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalState {
    /// Nobody has answered yet, or not all who must.
    Pending,
    /// It is approved, and lets the call pass once.
    Approved,
    /// It has let the call pass.
    Used,
    /// It was denied.
    Denied,
    /// Nobody answered in time, or it was approved and not used in time.
    TimedOut,
    /// The agent, its node or the tool's definition was revoked before it passed.
    Revoked,
}

impl ApprovalState {
    /// For people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Used => "used",
            Self::Denied => "denied",
            Self::TimedOut => "timed out",
            Self::Revoked => "revoked",
        }
    }
}

/// A policy that holds a call.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ApprovalPolicy {
    /// Its name.
    pub policy: String,
    /// Who may approve, each as `group NAME` or the like; absent: the operator of the node that
    /// holds the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Vec<String>>,
    /// Whether somebody has approved for it.
    pub approved: bool,
}

/// One operator's answer.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ApprovalAnswer {
    /// The node whose operator answered, by name or id.
    pub node: String,
    /// That node, which signed.
    pub node_id: NodeId,
    /// Whether it was a yes.
    pub approves: bool,
    /// When, by that node's clock.
    pub at: UnixSeconds,
    /// What was said with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
    /// The human whose answer that node says it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub human: Option<String>,
}

/// An answer to a held call, to be signed by this node.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnswerApproval {
    /// Its id, or at least the first eight digits of it.
    pub approval: String,
    /// Where another node holds it: that node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Name>,
    /// What to say with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
    /// The human who answers; counts where policy lets this node vouch for humans.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub human: Option<Human>,
}
