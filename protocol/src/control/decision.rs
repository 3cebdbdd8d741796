//! Decision records, as the control API lists them.

use super::Hop;
use crate::id::{ApprovalId, Digest, EnvelopeId, RequestId};
use crate::name::Name;

/// Most decisions in one answer.
pub const MAX_DECISIONS: u32 = 1000;

/// Most records one search looks at; it then says where to go on.
pub const MAX_SEARCHED: u64 = 20_000;

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

/// Which decisions to find: the newest first, those that meet everything that is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DecisionSearch {
    /// Only those with a smaller sequence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// Only those with a greater sequence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// How many, at most [`MAX_DECISIONS`]; 100 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Only those taken then or later, milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<u64>,
    /// Only those on behalf of this agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<Name>,
    /// Only those about messages from or for this node, by name or id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Only those about this server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<Name>,
    /// Only those about this tool, prompt or resource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// Only those with this verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// Only those with this reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Only those this policy decided, asks an alert for, or would have objected to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Only those about this call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestId>,
    /// Only those that name this approval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalId>,
}

/// What a search found.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DecisionPage {
    /// They, the newest first.
    pub decisions: Vec<Decision>,
    /// Where older ones may be: the `before` to go on with; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub older: Option<u64>,
    /// The sequence of the newest record there is, whether it was found or not: what comes later
    /// is after it. Absent while there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<u64>,
}

/// One decision record in short.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
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
    /// The call it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestId>,
    /// The node that signed it, by name or id.
    #[serde(default)]
    pub issuer: Option<String>,
    /// The agent on that node.
    #[serde(default)]
    pub agent: Option<String>,
    /// The node it is for, by name or id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// The server addressed.
    #[serde(default)]
    pub server: Option<String>,
    /// `request`, `notification` or `response`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
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
    /// The salted digest of the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_digest: Option<Digest>,
    /// Of a record that sums up: how many refusals it stands for.
    #[serde(default)]
    pub stands_for: Option<u64>,
    /// On what it rests, where policy was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basis: Option<Box<DecisionBasis>>,
}

/// On what a decision rests: [`crate::record::Basis`], with names for nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DecisionBasis {
    /// The rule that decided: a JSON pointer into the policy, or the number of a Cedar policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The policies that permit the call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub granted_by: Vec<String>,
    /// Whether the body was known, not the signed header alone.
    pub full: bool,
    /// The groups of the caller's node.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Its site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// Its address as seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// What its posture claims, as `key=value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub posture: Option<Vec<String>>,
    /// The human it asserts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub human: Option<String>,
    /// Where there is one: whether a document lets the caller's node vouch for humans.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub human_vouched: Option<bool>,
    /// The version of the rules by which the deciding node derives intents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent_rules: Option<u32>,
    /// The version by which the signer derived those it claims, where it is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_rules: Option<u32>,
    /// Derived intents.
    #[serde(default)]
    pub intents: Vec<String>,
    /// Labels of the data touched.
    #[serde(default)]
    pub labels: Vec<String>,
    /// The digest of the tool's definition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_digest: Option<Digest>,
    /// The relays it came over so far.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hops: Vec<Hop>,
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
    /// The human who answered, as that node says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub human: Option<String>,
}
