//! Decision records: who asked for what, under which rule, and what was answered.
//!
//! Canonical CBOR, numbered without gaps and chained by hash from the first one, so that later
//! they become the leaves of the audit log as they are. `hash(n) = SHA-256(label ‖ record(n))`;
//! record n carries hash(n−1), the first 32 zero bytes.

mod basis;

pub use basis::{Basis, HopNote, MAX_BASIS_CLAIM, MAX_BASIS_CLAIMS, MAX_BASIS_TEXT, cut};

use crate::codec::{self, CodecError};
use crate::crypto::{Crypto, domain};
use crate::envelope::{Direction, Kind};
use crate::id::{ApprovalId, Digest, EnvelopeId, NodeId, RequestId};
use crate::name::Name;
use crate::time::UnixMillis;

/// Largest encoded record. Names, method, target, reason and the lists of a basis are bounded; the
/// rest is fixed.
pub const MAX_RECORD_BYTES: usize = 16 * 1024;

/// The `previous` of the first record.
pub const GENESIS: Digest = Digest::from_bytes([0; 32]);

/// Where a decision was made.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    minicbor::Encode,
    minicbor::Decode,
    serde::Serialize,
    serde::Deserialize,
)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
pub enum Point {
    /// The node of the caller.
    #[n(1)]
    Ingress,
    /// A node on the way.
    #[n(2)]
    Relay,
    /// The node of the server.
    #[n(3)]
    Egress,
    /// On the link itself, where no message was read: hello, admission, streams, records.
    #[n(4)]
    Link,
}

/// Most policies named in one list of a record; more than that say the same.
pub const MAX_RECORDED_POLICIES: usize = 16;

/// One decision.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct DecisionRecord {
    /// Its number, from 0.
    #[n(1)]
    pub sequence: u64,
    /// Hash of the record before it.
    #[n(2)]
    pub previous: Digest,
    /// When, by the deciding node's clock.
    #[n(3)]
    pub time: UnixMillis,
    /// The deciding node.
    #[n(4)]
    pub node: NodeId,
    /// In which place it decided.
    #[n(5)]
    pub point: Point,
    /// The envelope decided on, once it has an identifier.
    #[n(6)]
    pub envelope: Option<EnvelopeId>,
    /// The call it belongs to.
    #[n(7)]
    pub request: Option<RequestId>,
    /// The node that issued the message, or from whose connection it came.
    #[n(8)]
    pub issuer: NodeId,
    /// On whose behalf.
    #[n(9)]
    pub agent: Option<Name>,
    /// For which node.
    #[n(10)]
    pub audience: Option<NodeId>,
    /// For which server.
    #[n(11)]
    pub server: Option<Name>,
    /// Request, notification or response.
    #[n(12)]
    pub kind: Option<Kind>,
    /// Which way.
    #[n(13)]
    pub direction: Option<Direction>,
    /// The JSON-RPC method.
    #[n(14)]
    pub method: Option<String>,
    /// Tool, prompt or resource.
    #[n(15)]
    pub target: Option<String>,
    /// The verdict by its stable name.
    #[n(16)]
    pub verdict: String,
    /// The reason by its stable name, unless allowed.
    #[n(17)]
    pub reason: Option<String>,
    /// The policy that decided.
    #[n(18)]
    pub policy: Option<String>,
    /// The bundle version it decided under.
    #[n(19)]
    pub bundle_version: u64,
    /// The salted body digest.
    #[n(20)]
    pub body_digest: Option<Digest>,
    /// Of a record that sums up: how many further refusals it stands for. They were counted by
    /// name, and not recorded one by one because there were too many.
    #[n(21)]
    pub stands_for: Option<u64>,
    /// The policies that ask for an alert, whatever was decided; at most
    /// [`MAX_RECORDED_POLICIES`].
    #[n(22)]
    pub alerts: Option<Vec<String>>,
    /// The policies that only observe and would have objected; at most [`MAX_RECORDED_POLICIES`].
    #[n(23)]
    pub observed: Option<Vec<String>>,
    /// Of a call that somebody had to approve.
    #[n(24)]
    pub approval: Option<ApprovalNote>,
    /// On what it rests, where policy was asked.
    #[n(25)]
    pub basis: Option<Box<Basis>>,
}

/// What a record says of an approval: that it was asked for, how it was answered and by whom, or
/// that a call went on by it.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct ApprovalNote {
    /// Which.
    #[n(1)]
    pub id: ApprovalId,
    /// The digest of what the call asks for.
    #[n(2)]
    pub arguments: Digest,
    /// The node whose operator answered.
    #[n(3)]
    pub by: Option<NodeId>,
    /// What the operator said.
    #[n(4)]
    pub words: Option<String>,
    /// The human who answered, as that node says.
    #[n(5)]
    pub human: Option<String>,
}

impl DecisionRecord {
    /// The record's one encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads a record.
    ///
    /// # Errors
    /// [`CodecError`] for anything but its one encoding.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        codec::decode(bytes, MAX_RECORD_BYTES)
    }
}

/// The chain hash of an encoded record.
#[must_use]
pub fn chain_hash(crypto: &dyn Crypto, encoded: &[u8]) -> Digest {
    Digest::over(crypto, domain::DECISION_RECORD, &[encoded])
}
