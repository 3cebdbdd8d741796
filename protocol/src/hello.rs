//! What two nodes say to each other before anything else: the first stream of a connection.
//!
//! Canonical CBOR, unsigned: TLS has proven the peer's key, and the membership in it is signed.

use crate::codec;
use crate::crypto::{Crypto, Suite};
use crate::id::{MeshId, NodeId};
use crate::limits::MAX_HELLO_BYTES;
use crate::trust::admission::bounded_addresses;
use crate::trust::{TrustError, VerifiedMembership, VerifiedRoot};

/// The protocol versions this code speaks, first and last.
pub const VERSIONS: (u64, u64) = (1, 1);

/// The versions of the trust documents a node holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Heads {
    /// Its root.
    #[n(1)]
    pub root: u64,
    /// Its policy bundle; 0 while there is none.
    #[n(2)]
    pub bundle: u64,
    /// Its revocations; 0 while there are none.
    #[n(3)]
    pub revocations: u64,
}

/// One side's hello.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Hello {
    /// Lowest protocol version it speaks.
    #[n(1)]
    pub lowest: u64,
    /// Highest.
    #[n(2)]
    pub highest: u64,
    /// Its suite ([`Suite::byte`]).
    #[n(3)]
    pub suite: u8,
    /// Its mesh.
    #[n(4)]
    pub mesh: MeshId,
    /// Its membership, as signed.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub membership: Vec<u8>,
    /// Where it can be reached, `host:port`.
    #[n(6)]
    pub addresses: Vec<String>,
    /// The documents it holds.
    #[n(7)]
    pub heads: Heads,
}

/// Why a hello is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// Not the one encoding of a hello within bounds.
    #[error("the hello is malformed: {0}")]
    Malformed(TrustError),
    /// No protocol version in common.
    #[error("no common protocol version: the peer speaks {0} to {1}, this node {first} to {last}", first = VERSIONS.0, last = VERSIONS.1)]
    Version(u64, u64),
    /// Another suite.
    #[error("the peer's mesh uses crypto suite {0}, this one another")]
    Suite(u8),
    /// Another mesh.
    #[error("the peer belongs to another mesh")]
    ForeignMesh,
    /// The membership does not hold.
    #[error("the peer's membership is not valid here: {0}")]
    Membership(TrustError),
    /// The membership is of another node than TLS proved.
    #[error("the peer showed the membership of another node")]
    NotItsMembership,
}

impl HelloError {
    /// The stable name of the refusal.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed_hello",
            Self::Version(..) => "no_common_version",
            Self::Suite(_) => "other_suite",
            Self::ForeignMesh => "foreign_mesh",
            Self::Membership(e) => e.reason(),
            Self::NotItsMembership => "not_its_membership",
        }
    }
}

impl Hello {
    /// Its one encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Checks a peer's hello: versions, suite, mesh, and that the membership holds under `root`
    /// and is of the node TLS proved. Whether it is valid *now* is the caller's to ask.
    ///
    /// # Errors
    /// [`HelloError`].
    pub fn verify(
        crypto: &dyn Crypto,
        root: &VerifiedRoot,
        peer: NodeId,
        bytes: &[u8],
    ) -> Result<(Self, VerifiedMembership), HelloError> {
        let hello: Self =
            codec::decode(bytes, MAX_HELLO_BYTES).map_err(|e| HelloError::Malformed(e.into()))?;
        if !bounded_addresses(&hello.addresses) {
            return Err(HelloError::Malformed(TrustError::Field("addresses")));
        }
        let (first, last) = VERSIONS;
        if hello.lowest > last || hello.highest < first || hello.lowest > hello.highest {
            return Err(HelloError::Version(hello.lowest, hello.highest));
        }
        if Suite::from_byte(hello.suite).map(Suite::byte) != Some(root.root().suite) {
            return Err(HelloError::Suite(hello.suite));
        }
        if hello.mesh != root.mesh() {
            return Err(HelloError::ForeignMesh);
        }
        let membership = VerifiedMembership::verify(crypto, root, &hello.membership)
            .map_err(HelloError::Membership)?;
        if membership.node() != peer {
            return Err(HelloError::NotItsMembership);
        }
        Ok((hello, membership))
    }
}
