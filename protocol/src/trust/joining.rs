//! What is said on a join stream: by a host that wants to become a member, and by a member that
//! renews its membership or changes its keys.
//!
//! The asking side speaks first and every message of it has exactly one answer, so a node in
//! between can carry the conversation without understanding it. Framed `kind (u8) ‖ length (u32) ‖
//! message`, strictly encoded, bounded by kind. Nothing here is signed but what is inside; TLS
//! proves the neighbour, the request and the membership prove the rest.

use super::admission::{IssuerNode, PeerAddress, bounded_addresses};
use super::ticket::MAX_BOOTSTRAPS;
use crate::codec::{self, CodecError};
use crate::id::{Challenge, MeshId, NodeId, SignerId};
use crate::limits::{MAX_DOCUMENT_BYTES, MAX_ROLE_KEYS};

/// Largest message of the asking side: a request signed by two sets and a membership are 26 kB.
pub const MAX_ASKED_BYTES: usize = 64 * 1024;

/// Largest answer: roots, a few of the largest.
pub const MAX_ANSWER_BYTES: usize = 4 * MAX_DOCUMENT_BYTES;

/// Most roots in one answer; whoever needs more asks again.
pub const MAX_ROOTS: usize = 64;

/// Longest text of a refusal, bytes.
pub const MAX_REFUSAL_TEXT: usize = 512;

/// Why a message of a join stream is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinMessageError {
    /// No such kind.
    #[error("unknown kind of join message {0}")]
    UnknownKind(u8),
    /// Not the one encoding, or larger than its kind may be.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A list or text is longer than it may be.
    #[error("the {0} of a join message are out of bounds")]
    Field(&'static str),
}

/// Asks for a challenge.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Ask {
    /// The mesh.
    #[n(1)]
    pub mesh: MeshId,
    /// The node whose issuer is meant; any issuer's when absent.
    #[n(2)]
    pub issuer_node: Option<NodeId>,
}

/// Asks to be enrolled.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Enrol {
    /// The membership request, as signed.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub request: Vec<u8>,
    /// The membership it renews or replaces, as signed; it may have ended.
    #[n(2)]
    pub membership: Option<minicbor::bytes::ByteVec>,
}

/// Asks for the roots from a version on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct RootsFrom {
    /// The first version wanted; the genesis is 1.
    #[n(1)]
    pub version: u64,
}

/// A challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Challenged {
    /// To be answered on this stream.
    #[n(1)]
    pub challenge: Challenge,
    /// The issuer that drew it.
    #[n(2)]
    pub issuer: SignerId,
    /// Its node.
    #[n(3)]
    pub node: NodeId,
}

/// A membership.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Granted {
    /// As signed.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub membership: Vec<u8>,
    /// Whom to dial first.
    #[n(2)]
    pub peers: Vec<PeerAddress>,
    /// Where to renew it.
    #[n(3)]
    pub issuers: Vec<IssuerNode>,
}

/// The request waits for a person. It may be sent again, on another stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Waiting {
    /// The node that waits.
    #[n(1)]
    pub node: NodeId,
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct JoinRefusal {
    /// The stable name.
    #[n(1)]
    pub reason: String,
    /// One line for people.
    #[n(2)]
    pub message: String,
    /// What can be done about it.
    #[n(3)]
    pub hint: Option<String>,
}

/// Roots, each the successor of the one before.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Roots {
    /// As signed; none when the version asked for does not exist.
    #[n(1)]
    pub roots: Vec<minicbor::bytes::ByteVec>,
    /// The newest version there is.
    #[n(2)]
    pub newest: u64,
}

/// A message of a join stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinMessage {
    /// From the asking side.
    Ask(Ask),
    /// From the asking side.
    Enrol(Enrol),
    /// From the asking side.
    RootsFrom(RootsFrom),
    /// Answers [`Ask`].
    Challenged(Challenged),
    /// Answers [`Enrol`].
    Granted(Granted),
    /// Answers [`Enrol`].
    Waiting(Waiting),
    /// Answers anything, and ends the stream.
    Refused(JoinRefusal),
    /// Answers [`RootsFrom`].
    Roots(Roots),
}

impl JoinMessage {
    /// The byte that says which kind it is.
    #[must_use]
    pub const fn kind(&self) -> u8 {
        match self {
            Self::Ask(_) => 1,
            Self::Enrol(_) => 2,
            Self::RootsFrom(_) => 3,
            Self::Challenged(_) => 17,
            Self::Granted(_) => 18,
            Self::Waiting(_) => 19,
            Self::Refused(_) => 20,
            Self::Roots(_) => 21,
        }
    }

    /// The most bytes a message of this kind has.
    ///
    /// # Errors
    /// [`JoinMessageError::UnknownKind`].
    pub const fn max_len(kind: u8) -> Result<usize, JoinMessageError> {
        match kind {
            1..=3 => Ok(MAX_ASKED_BYTES),
            17..=21 => Ok(MAX_ANSWER_BYTES),
            _ => Err(JoinMessageError::UnknownKind(kind)),
        }
    }

    /// Its one encoding, without kind and length.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Ask(m) => codec::encode(m),
            Self::Enrol(m) => codec::encode(m),
            Self::RootsFrom(m) => codec::encode(m),
            Self::Challenged(m) => codec::encode(m),
            Self::Granted(m) => codec::encode(m),
            Self::Waiting(m) => codec::encode(m),
            Self::Refused(m) => codec::encode(m),
            Self::Roots(m) => codec::encode(m),
        }
    }

    /// Reads a message of this kind.
    ///
    /// # Errors
    /// [`JoinMessageError`].
    pub fn decode(kind: u8, bytes: &[u8]) -> Result<Self, JoinMessageError> {
        let max = Self::max_len(kind)?;
        let message = match kind {
            1 => Self::Ask(codec::decode(bytes, max)?),
            2 => Self::Enrol(codec::decode(bytes, max)?),
            3 => Self::RootsFrom(codec::decode(bytes, max)?),
            17 => Self::Challenged(codec::decode(bytes, max)?),
            18 => Self::Granted(codec::decode(bytes, max)?),
            19 => Self::Waiting(codec::decode(bytes, max)?),
            20 => Self::Refused(codec::decode(bytes, max)?),
            21 => Self::Roots(codec::decode(bytes, max)?),
            _ => return Err(JoinMessageError::UnknownKind(kind)),
        };
        message.bounded()?;
        Ok(message)
    }

    fn bounded(&self) -> Result<(), JoinMessageError> {
        let fits = match self {
            Self::Granted(granted) => {
                granted.peers.len() <= MAX_BOOTSTRAPS
                    && granted
                        .peers
                        .iter()
                        .all(|p| bounded_addresses(&p.addresses))
                    && granted.issuers.len() <= MAX_ROLE_KEYS
            }
            Self::Refused(refusal) => [
                Some(&refusal.reason),
                Some(&refusal.message),
                refusal.hint.as_ref(),
            ]
            .into_iter()
            .flatten()
            .all(|text| text.len() <= MAX_REFUSAL_TEXT),
            Self::Roots(roots) => roots.roots.len() <= MAX_ROOTS,
            _ => true,
        };
        if fits {
            Ok(())
        } else {
            Err(JoinMessageError::Field("lists or texts"))
        }
    }
}
