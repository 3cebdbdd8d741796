//! What a node says of itself.

use std::collections::BTreeMap;

use super::PostureInfo;
use crate::id::{MeshId, NodeId, SignerId};
use crate::name::Name;
use crate::time::UnixSeconds;

/// The state of a node.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Status {
    /// The version of the running daemon.
    pub version: String,
    /// The process id of the running daemon.
    pub pid: u32,
    /// The mesh it belongs to.
    pub mesh: MeshInfo,
    /// The node itself, from its membership.
    pub node: NodeInfo,
    /// The UDP address it listens on (`0.0.0.0:7443`), the port it really got.
    pub listen: String,
    /// The addresses it announces to peers.
    pub addresses: Vec<String>,
    /// Where MCP clients of this host connect (`http://127.0.0.1:7480/mcp`); absent while the
    /// gateway is down.
    #[serde(default)]
    pub gateway_url: Option<String>,
    /// Whether every condition is met.
    pub ready: bool,
    /// What readiness consists of.
    pub conditions: Vec<Condition>,
    /// Seconds since the daemon started.
    pub uptime_s: u64,
    /// Admitted links up now.
    pub links: u64,
    /// MCP servers attached to this node.
    pub servers: u64,
    /// MCP sessions of clients open now.
    pub sessions: u64,
    /// What happened since the start.
    pub counters: Counters,
    /// The store.
    pub store: StoreInfo,
    /// The clock.
    pub time: TimeHealth,
    /// The trust documents in force; absent from a node that does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<TrustStatus>,
    /// What this node says of its own state to the others; absent while it has said nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub posture: Option<PostureInfo>,
}

/// The trust documents in force, and how long they may be relied on.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TrustStatus {
    /// Their versions.
    pub versions: DocumentVersions,
    /// Admins of the root.
    pub admins: u64,
    /// Admins who must sign together.
    pub threshold: u64,
    /// Issuers of memberships.
    pub issuers: u64,
    /// Timestampers.
    pub timestampers: u64,
    /// The freshness lease; absent where no timestamps are taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freshness: Option<Freshness>,
    /// The renewal of this node's membership; absent where it does not renew by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewal: Option<Renewal>,
    /// Why this node is revoked, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<String>,
    /// Why what this node knows may not be the present (it has synced with nobody), if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
    /// Issuers that signed what they should not have, as far as this node has seen since its start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub issuer_alarms: Vec<IssuerAlarm>,
    /// The policies that decide here; absent from a node that does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policies: Option<PolicyStatus>,
}

/// The policies that decide on a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PolicyStatus {
    /// The version of their bundle; 0 while there is none and members may call everything.
    pub version: u64,
    /// How many there are.
    pub policies: u64,
    /// Calls that this node holds until somebody approves them.
    #[serde(default)]
    pub held: u64,
    /// The bundle in force, where this node cannot use it and goes on with the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<RefusedBundle>,
}

/// A bundle that a node cannot use.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RefusedBundle {
    /// Its version.
    pub version: u64,
    /// The first thing that is wrong with it.
    pub why: String,
}

/// What an issuer of memberships should not have done. Such memberships are refused.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct IssuerAlarm {
    /// Its key's id.
    pub issuer: SignerId,
    /// The stable name of the refusal: `issuer_too_fast` or `issuer_equivocates`.
    pub reason: String,
    /// The same, for people.
    pub message: String,
    /// Refusals since the start.
    pub refused: u64,
    /// The node of the last membership refused.
    pub node: NodeId,
}

/// Versions of the documents that a node holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DocumentVersions {
    /// The root.
    pub root: u64,
    /// The bundle, where there is one.
    #[serde(default)]
    pub bundle: Option<u64>,
    /// Entries of all revocation logs.
    #[serde(default)]
    pub revocations: Option<u64>,
}

/// The freshness lease: for how long without a new timestamp write and egress tools may run.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Freshness {
    /// Whether it runs.
    pub state: FreshnessState,
    /// Seconds since the newest timestamp, where there is one.
    #[serde(default)]
    pub age_s: Option<u64>,
    /// How old it may get.
    pub lease_s: u64,
}

/// Whether the freshness lease runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FreshnessState {
    /// The newest timestamp is young enough.
    Fresh,
    /// It is too old: writes are refused.
    Stale,
    /// There has been none yet.
    Never,
    /// The local clock is behind verified time: everything is refused.
    ClockBehind,
}

/// The renewal of a membership.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Renewal {
    /// From when on it is tried: half of the membership's life.
    pub due: UnixSeconds,
    /// Failed tries in a row.
    pub failures: u64,
    /// Why the last one failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// A mesh.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct MeshInfo {
    /// Hash of its genesis root.
    pub id: MeshId,
    /// The name its root gives it.
    pub name: Name,
}

/// A node, as its membership says.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NodeInfo {
    /// Its id.
    pub id: NodeId,
    /// Its name.
    pub name: Name,
    /// Its groups.
    pub groups: Vec<Name>,
    /// Its site, where it has one.
    #[serde(default)]
    pub site: Option<Name>,
    /// When its membership ends.
    pub membership_expires: UnixSeconds,
}

/// One part of readiness.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Condition {
    /// Its stable name, snake_case (`transport`, `gateway`, `membership`, …).
    pub name: String,
    /// Whether it is met.
    pub met: bool,
    /// Why not, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Counts since the daemon started.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counters {
    /// Calls of this node's agents that were sent.
    pub calls_out: u64,
    /// Calls from the mesh that were handed to a server here.
    pub calls_in: u64,
    /// Calls carried between other nodes.
    #[serde(default)]
    pub calls_relayed: u64,
    /// Refusals by the name of their reason; a reason never met is absent.
    pub refusals: BTreeMap<String, u64>,
}

/// The store's size.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StoreInfo {
    /// Decision records kept.
    pub decisions: u64,
    /// Bytes of the store's file.
    pub bytes: u64,
}

/// Whether the node can tell the time.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TimeHealth {
    /// Whether the local clock is usable; while it is not, everything is refused.
    pub healthy: bool,
    /// The local clock.
    pub now_ms: u64,
    /// The greatest time verified so far; a clock behind it is not healthy.
    pub greatest_ms: u64,
    /// What is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}
