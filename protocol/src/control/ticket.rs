//! Tickets, and newcomers who wait for a person.

use super::Secret;
use crate::id::{NodeId, TicketId};
use crate::name::Name;
use crate::time::UnixSeconds;

/// Asks the issuer on this node for a ticket.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invite {
    /// The groups its redeemers get.
    #[serde(default)]
    pub groups: Vec<Name>,
    /// The site they stand at.
    #[serde(default)]
    pub site: Option<Name>,
    /// The name its redeemer gets; only for a ticket of one use.
    #[serde(default)]
    pub name: Option<Name>,
    /// How long it may be redeemed.
    pub ttl_s: u64,
    /// How often.
    pub uses: u64,
    /// Whether each redeemer waits until a person approves it.
    #[serde(default)]
    pub pending: bool,
    /// Life of the memberships; the node's default when absent.
    #[serde(default)]
    pub life_s: Option<u64>,
}

/// A new ticket. Its text is shown this once; the node does not keep it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NewTicket {
    /// What names it.
    pub id: TicketId,
    /// The line to hand over: whoever has it may join.
    pub ticket: Secret,
    /// From when on it is of no use.
    pub expires: UnixSeconds,
    /// How often it may be redeemed.
    pub uses: u64,
    /// Whether redeemers wait for approval.
    pub pending: bool,
    /// The addresses that a joiner tries, in order.
    pub bootstraps: Vec<String>,
}

/// A ticket as its issuer remembers it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TicketInfo {
    /// What names it.
    pub id: TicketId,
    /// Whether it may still be redeemed.
    pub state: TicketState,
    /// The groups its redeemers get.
    pub groups: Vec<Name>,
    /// Their site.
    #[serde(default)]
    pub site: Option<Name>,
    /// The name its redeemer gets.
    #[serde(default)]
    pub name: Option<Name>,
    /// Whether redeemers wait for approval.
    pub pending: bool,
    /// When it was made.
    pub created: UnixSeconds,
    /// From when on it is of no use.
    pub expires: UnixSeconds,
    /// How often it may be redeemed in all.
    pub uses: u64,
    /// How often it was.
    pub used: u64,
    /// By whom.
    pub redeemed: Vec<Redeemer>,
}

/// Whether a ticket may still be redeemed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TicketState {
    /// It may.
    Open,
    /// No use is left.
    UsedUp,
    /// Its end is over.
    Expired,
    /// It was revoked.
    Revoked,
}

/// A node that redeemed a ticket.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Redeemer {
    /// The node.
    pub node: NodeId,
    /// The name it got.
    pub name: Name,
    /// When.
    pub at: UnixSeconds,
    /// Whether a person denied it: the use is not given back.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub denied: bool,
}

/// Names a ticket.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TicketChoice {
    /// Its id, or at least the first eight digits of it.
    pub ticket: String,
}

/// A node that waits for a person, or that a person refused.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PendingPeer {
    /// The node, to be compared with what `hedgerow id` shows there.
    pub id: NodeId,
    /// The name kept for it.
    pub name: Name,
    /// The groups it gets.
    pub groups: Vec<Name>,
    /// Its site.
    #[serde(default)]
    pub site: Option<Name>,
    /// The ticket it came with.
    pub ticket: TicketId,
    /// Since when it waits.
    pub since: UnixSeconds,
    /// When it was refused.
    #[serde(default)]
    pub denied: Option<UnixSeconds>,
}

/// Names a node that waits.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerChoice {
    /// Its id, short id or name.
    pub peer: String,
}

/// A node about which was decided.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DecidedPeer {
    /// The node.
    pub id: NodeId,
    /// Its name.
    pub name: Name,
}
