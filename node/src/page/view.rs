//! What the page shows beyond the control API's types.

use protocol::id::Digest;
use protocol::name::Name;

/// A server and its tools, as its node announced them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolServer {
    /// The node.
    pub node: Name,
    /// The server.
    pub server: Name,
    /// Whether it is attached to this node.
    pub here: bool,
    /// Whether a call can reach it now.
    pub reachable: bool,
    /// The names of its first tools.
    pub tools: Vec<String>,
    /// How many tools it has.
    pub total: usize,
}

/// The policy bundle in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleView {
    /// Its version.
    pub version: u64,
    /// The hash of its head's content.
    pub hash: Digest,
    /// Its policies.
    pub policies: Vec<PolicyView>,
    /// Tool definitions it approves.
    pub pins: usize,
}

/// A policy as the bundle lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyView {
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub length: usize,
}

/// A policy document, not looked into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyText {
    /// Its name.
    pub name: String,
    /// What its bytes are.
    pub media_type: String,
    /// Its size in bytes.
    pub length: usize,
    /// Its first [`super::limits::MAX_POLICY_SHOWN`] bytes as text.
    pub text: String,
}
