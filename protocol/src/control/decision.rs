//! Decision records, as the control API lists them.

use crate::id::{ApprovalId, Digest, EnvelopeId};

/// Most decisions in one answer.
pub const MAX_DECISIONS: u32 = 1000;

/// Which decisions to list: the newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecisionQuery {
    /// Only those with a smaller sequence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// How many, at most [`MAX_DECISIONS`]; 100 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// One decision record in short.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Decision {
    /// Its place in the chain.
    pub seq: u64,
    /// When it was taken.
    pub time_ms: u64,
    /// `allow`, `hold`, `deny` or `sever`.
    pub verdict: String,
    /// The name of the reason, where there is one.
    #[serde(default)]
    pub reason: Option<String>,
    /// Where on the path: `ingress`, `relay`, `egress`, or `link` for what never was a message.
    pub role: String,
    /// The envelope decided on, where there was one.
    #[serde(default)]
    pub envelope: Option<EnvelopeId>,
    /// The node that signed it, by name or id.
    #[serde(default)]
    pub issuer: Option<String>,
    /// The agent on that node.
    #[serde(default)]
    pub agent: Option<String>,
    /// The server addressed.
    #[serde(default)]
    pub server: Option<String>,
    /// The MCP method.
    #[serde(default)]
    pub method: Option<String>,
    /// The tool, prompt or resource.
    #[serde(default)]
    pub name: Option<String>,
    /// The policy that decided, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The version of the bundle decided under; 0 while there was none.
    #[serde(default)]
    pub bundle: u64,
    /// The policies that ask for an alert, whatever was decided.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alerts: Vec<String>,
    /// The policies that only observe and would have objected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub observed: Vec<String>,
    /// Of a call that somebody had to approve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<DecisionApproval>,
    /// The record's own hash, hexadecimal.
    #[serde(default)]
    pub hash: Option<String>,
    /// Of a record that sums up: how many refusals it stands for.
    #[serde(default)]
    pub stands_for: Option<u64>,
}

/// What a decision record says of an approval.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DecisionApproval {
    /// Which.
    pub id: ApprovalId,
    /// The digest of what the call asks for.
    pub arguments: Digest,
    /// The node whose operator answered, by name or id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// What the operator said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
}
