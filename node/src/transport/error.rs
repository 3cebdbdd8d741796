//! What callers of the transport can meet.

use std::net::SocketAddr;

use protocol::id::NodeId;

use super::refusal::{Reason, Refusal};
use super::tls::TlsError;

/// Why the endpoint could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process has the port.
    #[error("`{address}` is in use\nhint: stop the other process or set another `listen` address")]
    InUse {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The address cannot be bound.
    #[error(
        "`{address}` cannot be bound: {source}\nhint: `listen` must be an address of this host"
    )]
    Unusable {
        /// The address asked for.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The TLS library refuses its configuration.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No randomness for the instance of this process.
    #[error("no randomness available")]
    NoRandomness,
}

/// Why there is no link, or no longer one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// This node refuses the peer.
    #[error("{reason}")]
    Refused {
        /// Why.
        reason: Reason,
    },
    /// The peer refuses this node.
    #[error("the peer refuses this node ({}): {reason}", .reason.name())]
    RefusedByPeer {
        /// Why.
        reason: Reason,
    },
    /// This node's [`Admission`](super::Admission) refuses the peer.
    #[error("this node does not admit the peer: {0}")]
    NotAdmitted(Refusal),
    /// The peer's admission refuses this node.
    #[error("the peer does not admit this node: {0}")]
    NotAdmittedByPeer(Refusal),
    /// Nothing answers there.
    #[error("`{remote}` does not answer\nhint: check the address and that UDP reaches it")]
    Unreachable {
        /// Where.
        remote: SocketAddr,
    },
    /// The address cannot be dialed at all.
    #[error("`{remote}` cannot be dialed")]
    Undialable {
        /// Where.
        remote: SocketAddr,
    },
    /// No link to this node now.
    #[error("no link to {}", .peer.short())]
    NoLink {
        /// To whom.
        peer: NodeId,
    },
    /// The link went down.
    #[error("the link to {} is down: {reason}", .peer.short())]
    Down {
        /// With whom.
        peer: NodeId,
        /// Why.
        reason: Reason,
    },
    /// The node is stopping, or does not serve yet.
    #[error("the node takes no links now")]
    NotServing,
}

impl LinkError {
    /// The stable name, snake_case.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Refused { reason }
            | Self::RefusedByPeer { reason }
            | Self::Down { reason, .. } => reason.name(),
            Self::NotAdmitted(refusal) | Self::NotAdmittedByPeer(refusal) => &refusal.reason,
            Self::Unreachable { .. } => "unreachable",
            Self::Undialable { .. } => "undialable",
            Self::NoLink { .. } => "no_link",
            Self::NotServing => "not_serving",
        }
    }
}
