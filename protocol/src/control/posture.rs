//! What nodes say of their own state: this one as it measured itself, and the others by their records.

use crate::id::{Digest, NodeId};
use crate::name::Name;
use crate::time::UnixSeconds;

/// Most other nodes in one answer; a node can be asked for by name.
pub const MAX_POSTURES: usize = 1000;

/// What a node says of its state ([`crate::trust::Posture`]).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PostureInfo {
    /// Whose word it is: [`crate::trust::posture::SELF_ASSERTED`].
    pub word: String,
    /// When it was measured.
    pub measured: UnixSeconds,
    /// Seconds since.
    pub age_s: u64,
    /// The operating system; empty if unknown.
    pub os: String,
    /// The kernel's version, `6.1.38`.
    pub kernel: String,
    /// Whether it booted with secure boot.
    pub secure_boot: bool,
    /// Whether the state directory lies on an encrypted disk.
    pub disk_encryption: bool,
    /// Seconds since it booted, when measured.
    pub uptime_s: u64,
    /// SHA-256 of the binary that runs.
    pub binary: Option<Digest>,
    /// Hardening in force.
    pub hardening: Vec<String>,
    /// By which headers and decision records name it.
    pub digest: Digest,
}

/// Whose posture is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostureQuery {
    /// Of the other nodes this one alone, by name or id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// Postures as this node knows them. Nobody but each node vouches for its own.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PostureReport {
    /// This node's, as it last measured it.
    pub measured: PostureInfo,
    /// This node's, as it last told the others, which is what policies decide on; absent while it
    /// has told them nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub announced: Option<PostureInfo>,
    /// Whether both claim the same, whenever either was measured.
    pub told: bool,
    /// What other nodes say of themselves, sorted by name, then id; at most [`MAX_POSTURES`].
    pub others: Vec<NodePosture>,
    /// How many more there are.
    #[serde(default)]
    pub left_out: u64,
}

/// What another node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NodePosture {
    /// The node's name.
    pub node: Name,
    /// Its id.
    pub id: NodeId,
    /// What its record says; absent where no record that counts says anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub posture: Option<PostureInfo>,
}
