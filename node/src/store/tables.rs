//! The tables, their keys and values, and the bounds on each.
//!
//! Keys and values are bytes of fixed layout or canonical CBOR; nothing here depends on how Rust
//! lays a type out. Adding a table is no new format; changing one is.

use protocol::id::{ApprovalId, Digest, NodeId};
use protocol::limits;
use protocol::name::Name;
use protocol::time::{UnixMillis, UnixSeconds};
use redb::TableDefinition;

use super::TrustRow;

/// The format this program writes. A file with a greater number is refused.
pub const FORMAT: u64 = 1;

/// Most issuers with a replay floor, most node records, most memberships: the directory holds up
/// to about 10,000 nodes, and floors of nodes that left are kept.
pub const MAX_NODES: u64 = 20_000;

/// Most agents of one node.
pub const MAX_AGENTS: u64 = 1024;

/// Most servers attached to one node: as many as a node record can announce.
pub const MAX_SERVERS: u64 = limits::MAX_SERVERS as u64;

/// Largest specification of a server, in bytes of JSON: argv, environment names, a URL.
pub const MAX_SERVER_BYTES: usize = 64 * 1024;

/// Largest decision record, in bytes.
pub const MAX_DECISION_BYTES: usize = 64 * 1024;

/// Most decision records forgotten by one write: what holds up the others in its group for some
/// ten milliseconds.
pub const PRUNE_AT_ONCE: usize = 1024;

/// Numbers of the node itself, by name ([`meta`]).
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// Issuer → seconds until which an envelope of it may have been accepted.
pub(super) const FLOORS: TableDefinition<'_, &[u8; 32], u64> = TableDefinition::new("floors");
/// Sequence → hash (32 bytes) ‖ canonical record.
pub(super) const DECISIONS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("decisions");
/// The last decision record that was pruned: its sequence → its hash. At most one entry; what is
/// kept begins with the record after it, which names this hash.
pub(super) const PRUNED: TableDefinition<'_, u64, &[u8; 32]> =
    TableDefinition::new("pruned_decisions");
/// Agent name → [`Agent`] in CBOR.
pub(super) const AGENTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("agents");
/// Server name → specification in JSON.
pub(super) const SERVERS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("servers");
/// Node → its signed record, the bytes received.
pub(super) const RECORDS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("records");
/// Node → its membership, the bytes received.
pub(super) const MEMBERSHIPS: TableDefinition<'_, &[u8; 32], &[u8]> =
    TableDefinition::new("memberships");
/// [`TrustRow::key`] → the document, as received.
pub(super) const TRUST: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("trust");

/// Names in [`META`].
pub(super) mod meta {
    /// [`super::FORMAT`].
    pub(crate) const FORMAT: &str = "format";
    /// Greatest verified time, milliseconds.
    pub(crate) const GREATEST_TIME: &str = "greatest_time_ms";
    /// When the last process on this store started, milliseconds.
    pub(crate) const PROCESS_START: &str = "process_start_ms";
    /// Bytes of all values of [`super::DECISIONS`].
    pub(crate) const DECISION_BYTES: &str = "decision_bytes";
}

/// What is kept of an agent: never its token.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Agent {
    /// The labelled hash of its token (`domain::AGENT_TOKEN`).
    #[n(1)]
    pub token_hash: Digest,
    /// When it was added.
    #[n(2)]
    pub created: UnixMillis,
    /// The human it acts for.
    #[n(3)]
    pub human: Option<String>,
}

/// A decision record just before it is written: the writer gives its sequence and the hash of
/// the record before it (zeros for the first), and gets the canonical bytes and their hash.
///
/// It runs on the writer's thread, after every check: it should encode and hash, nothing else.
pub type MakeDecision = Box<dyn FnOnce(u64, Digest) -> (Vec<u8>, Digest) + Send>;

/// Which decision records may be forgotten, oldest first: those that `expired` says so of, read
/// from their canonical bytes, and as many as it takes for the rest to have `keep_bytes`. The newest
/// is always kept.
///
/// `expired` runs on the writer's thread: it should decode and compare, nothing else.
pub struct Prune {
    /// Most bytes of the records kept, hashes included.
    pub keep_bytes: u64,
    /// Whether a record is too old to be kept.
    pub expired: IsExpired,
}

/// Whether the record with these canonical bytes is too old to be kept.
pub type IsExpired = Box<dyn Fn(&[u8]) -> bool + Send>;

/// One change. Several in one request are made together or not at all.
pub enum Write {
    /// The greatest verified time; a smaller one than is stored changes nothing.
    GreatestTime(UnixMillis),
    /// When this process started.
    ProcessStart(UnixMillis),
    /// Envelopes of `issuer` with `iat` up to `until` may be accepted by this process; after a
    /// restart they are refused. A smaller one than is stored changes nothing.
    ReplayFloor {
        /// The node whose envelopes they are.
        issuer: NodeId,
        /// The last second.
        until: UnixSeconds,
    },
    /// Forgets the floors that end before this second; [`Outcome::Pruned`] says how many. Safe once
    /// every envelope as old has expired.
    PruneFloors(UnixSeconds),
    /// Appends a decision record.
    Decision(MakeDecision),
    /// Forgets the oldest decision records, at most [`PRUNE_AT_ONCE`]; [`Outcome::Pruned`] says how
    /// many, and as many as that mean that there may be more.
    PruneDecisions(Prune),
    /// Adds or replaces an agent.
    PutAgent(Name, Agent),
    /// Removes an agent.
    RemoveAgent(Name),
    /// Adds or replaces a server's JSON specification.
    PutServer(Name, Vec<u8>),
    /// Removes a server.
    RemoveServer(Name),
    /// Keeps a node's signed record, the exact bytes received.
    PutNodeRecord(NodeId, Vec<u8>),
    /// Forgets a node's record.
    RemoveNodeRecord(NodeId),
    /// Keeps a node's membership, the exact bytes received.
    PutMembership(NodeId, Vec<u8>),
    /// Forgets a node's membership.
    RemoveMembership(NodeId),
    /// Works on the issuer's books; see [`Store::books`](super::Store::books).
    Books(super::books::BooksWork),
    /// Keeps a trust document or a part of one, as received.
    PutTrust(TrustRow, Vec<u8>),
    /// Forgets one.
    RemoveTrust(TrustRow),
    /// Keeps what is to be known of a held call after a restart.
    PutApproval(ApprovalId, Vec<u8>),
    /// Forgets a held call.
    RemoveApproval(ApprovalId),
    /// Keeps a bundle of this version that is in force now; see
    /// [`MAX_PAST_BUNDLES`](super::MAX_PAST_BUNDLES).
    PastBundle(u64, Vec<u8>),
}

impl core::fmt::Debug for Write {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::GreatestTime(_) => "GreatestTime",
            Self::ProcessStart(_) => "ProcessStart",
            Self::ReplayFloor { .. } => "ReplayFloor",
            Self::PruneFloors(_) => "PruneFloors",
            Self::Decision(_) => "Decision",
            Self::PruneDecisions(_) => "PruneDecisions",
            Self::PutAgent(..) => "PutAgent",
            Self::RemoveAgent(_) => "RemoveAgent",
            Self::PutServer(..) => "PutServer",
            Self::RemoveServer(_) => "RemoveServer",
            Self::PutNodeRecord(..) => "PutNodeRecord",
            Self::RemoveNodeRecord(_) => "RemoveNodeRecord",
            Self::PutMembership(..) => "PutMembership",
            Self::RemoveMembership(_) => "RemoveMembership",
            Self::Books(_) => "Books",
            Self::PutTrust(..) => "PutTrust",
            Self::RemoveTrust(_) => "RemoveTrust",
            Self::PutApproval(..) => "PutApproval",
            Self::RemoveApproval(_) => "RemoveApproval",
            Self::PastBundle(..) => "PastBundle",
        })
    }
}

/// What one write of a committed request came to, in the order of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is stored.
    Stored,
    /// The entry was there and is removed, or was not there (`false`).
    Removed(bool),
    /// So many were forgotten.
    Pruned(usize),
    /// The record has this sequence and hash.
    Decided {
        /// Its sequence, from 0, without gaps.
        sequence: u64,
        /// The hash that the next record names.
        hash: Digest,
    },
}

/// The bound on a value: table name, its bytes, and the most it may have.
pub(super) fn value_bound(write: &Write) -> Option<(&'static str, usize, usize)> {
    match write {
        Write::PutServer(_, bytes) => Some(("server", bytes.len(), MAX_SERVER_BYTES)),
        Write::PutNodeRecord(_, bytes) => {
            Some(("node record", bytes.len(), limits::MAX_DOCUMENT_BYTES))
        }
        Write::PutMembership(_, bytes) => {
            Some(("membership", bytes.len(), limits::MAX_DOCUMENT_BYTES))
        }
        Write::PutTrust(_, bytes) => {
            Some(("trust document", bytes.len(), super::trust::MAX_ROW_BYTES))
        }
        Write::PutApproval(_, bytes) => Some(("approval", bytes.len(), super::MAX_APPROVAL_BYTES)),
        Write::PastBundle(_, bytes) => {
            Some(("past bundle", bytes.len(), super::trust::MAX_ROW_BYTES))
        }
        _ => None,
    }
}
