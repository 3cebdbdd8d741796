//! Admitting a node with static files: a request from the new host, an admission back.

use super::FileBytes;
use crate::id::{MeshId, NodeId};
use crate::name::Name;
use crate::time::UnixSeconds;

/// Longest life of a membership issued by command, days.
pub const MAX_MEMBERSHIP_DAYS: u32 = 366;

/// Asks what a membership request says, once its signatures are checked.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InspectRequest {
    /// The request file.
    pub request: FileBytes,
}

/// What a membership request says.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct MembershipRequestInfo {
    /// The node that asks, to be compared with what `hedgerow id` shows on that host.
    pub node: NodeId,
    /// The name it asks for, where it does.
    #[serde(default)]
    pub name: Option<Name>,
    /// When it was made, by that host's clock.
    pub created: UnixSeconds,
}

/// Asks the founding node to admit another.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssueMembership {
    /// The request file of the new host.
    pub request: FileBytes,
    /// The name the node gets.
    pub name: Name,
    /// The groups it is put in.
    #[serde(default)]
    pub groups: Vec<Name>,
    /// The site it stands at.
    #[serde(default)]
    pub site: Option<Name>,
    /// How many days the membership lasts, at most [`MAX_MEMBERSHIP_DAYS`].
    pub days: u32,
}

/// An admission: the root, the new membership and how to reach this node, for the new host to
/// start with. It holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Admission {
    /// The node admitted.
    pub node: NodeId,
    /// Its name.
    pub name: Name,
    /// The mesh.
    pub mesh: MeshId,
    /// When the membership ends.
    pub expires: UnixSeconds,
    /// The admission file.
    pub file: FileBytes,
}
