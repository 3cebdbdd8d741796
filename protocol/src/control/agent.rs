//! Agents of this host: who may use the gateway, each with a token of its own.

use super::Secret;
use crate::human::Human;
use crate::name::Name;
use crate::time::UnixSeconds;

/// Asks for a new agent.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddAgent {
    /// Its name on this node.
    pub name: Name,
    /// The human it acts for, whom this node then asserts in every call of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub human: Option<Human>,
}

/// A new agent's token. It is shown this once; the node keeps only a digest.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AgentToken {
    /// The agent.
    pub name: Name,
    /// The human it acts for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub human: Option<Human>,
    /// What its MCP client sends as `Authorization: Bearer …`.
    pub token: Secret,
    /// Where it connects; absent while the gateway is down.
    #[serde(default)]
    pub gateway_url: Option<String>,
}

/// An agent of this node.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Agent {
    /// Its name.
    pub name: Name,
    /// When it was added.
    pub created: UnixSeconds,
    /// When its token was last used; `null` for never.
    #[serde(default)]
    pub last_used: Option<UnixSeconds>,
    /// Whether it has a token (local users of `hedgerow mcp` are agents without one).
    pub has_token: bool,
    /// The human it acts for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub human: Option<Human>,
}
