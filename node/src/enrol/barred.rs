//! What keeps somebody from being let in although everything else holds.

use protocol::id::{NodeId, TicketId};
use protocol::trust::MemberFacts;

/// Why somebody or something is barred.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bar {
    /// One line for people: who barred it and why.
    pub why: String,
}

/// Asked before anything is issued, and again inside the transaction that issues it. It answers
/// from memory: it runs on the store's thread.
pub trait Barred: Send + Sync {
    /// Whether this node may not be a member.
    fn node(&self, node: &NodeId) -> Option<Bar>;

    /// Whether this ticket may not be used.
    fn ticket(&self, ticket: &TicketId) -> Option<Bar>;

    /// Whether this membership is void, by its issuer or by its node.
    fn membership(&self, membership: &MemberFacts) -> Option<Bar>;
}

/// Bars nobody: for as long as nothing can be revoked, and for tests.
#[derive(Debug, Clone, Copy, Default)]
pub struct NobodyBarred;

impl Barred for NobodyBarred {
    fn node(&self, _: &NodeId) -> Option<Bar> {
        None
    }

    fn ticket(&self, _: &TicketId) -> Option<Bar> {
        None
    }

    fn membership(&self, _: &MemberFacts) -> Option<Bar> {
        None
    }
}
