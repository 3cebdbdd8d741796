//! The file a founder hands to a second host: root, membership, and where to find peers.
//!
//! Not signed as a whole: root and membership are, and an address is only a place to try; the
//! peer there must prove the node id that stands beside it.

use super::TrustError;
use crate::codec;
use crate::id::{NodeId, SignerId};
use crate::limits::{MAX_ADDRESSES, MAX_DOCUMENT_BYTES, MAX_ROLE_KEYS};

/// Most peers one admission names.
const MAX_ADMISSION_PEERS: usize = 16;

/// Longest address text (`host:port`).
pub const MAX_ADDRESS_BYTES: usize = 262;

/// A peer and where it may be reached.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct PeerAddress {
    /// The node.
    #[n(1)]
    pub node: NodeId,
    /// `host:port`, tried in order.
    #[n(2)]
    pub addresses: Vec<String>,
}

/// The node an issuer runs on, as somebody said; what that node issues shows whether it is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct IssuerNode {
    /// The issuer.
    #[n(1)]
    pub issuer: SignerId,
    /// Its node.
    #[n(2)]
    pub node: NodeId,
}

/// An admission file.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Admission {
    /// The genesis root, as signed.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub root: Vec<u8>,
    /// The membership, as signed.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub membership: Vec<u8>,
    /// Peers to dial first.
    #[n(3)]
    pub peers: Vec<PeerAddress>,
    /// Where to renew the membership.
    #[n(4)]
    pub issuers: Option<Vec<IssuerNode>>,
    /// The roots after the genesis, as signed, in order; absent where there are none.
    #[n(5)]
    pub roots: Option<Vec<minicbor::bytes::ByteVec>>,
}

/// Largest admission file: the root and membership, and more roots than most meshes ever have.
pub const MAX_ADMISSION_BYTES: usize = 8 * MAX_DOCUMENT_BYTES;

impl Admission {
    /// Reads an admission file; verifies neither root nor membership.
    ///
    /// # Errors
    /// [`TrustError`] if it is not the one encoding of an admission within bounds.
    pub fn decode(bytes: &[u8]) -> Result<Self, TrustError> {
        let admission: Self = codec::decode(bytes, MAX_ADMISSION_BYTES)?;
        let issuers = admission.issuers.as_ref().map_or(0, Vec::len);
        let bounded = admission.peers.len() <= MAX_ADMISSION_PEERS
            && issuers <= MAX_ROLE_KEYS
            && admission
                .peers
                .iter()
                .all(|p| bounded_addresses(&p.addresses));
        if bounded {
            Ok(admission)
        } else {
            Err(TrustError::Field("peers"))
        }
    }

    /// Its one encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }
}

/// Whether a list of addresses is within its bounds.
#[must_use]
pub fn bounded_addresses(addresses: &[String]) -> bool {
    addresses.len() <= MAX_ADDRESSES
        && addresses
            .iter()
            .all(|a| !a.is_empty() && a.len() <= MAX_ADDRESS_BYTES)
}
