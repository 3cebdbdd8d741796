//! What is in force in a mesh, and what changes it: root, roles, proposals, revocations.
//!
//! The node verifies whatever it is handed here as if a peer had sent it; being a local operator
//! gives no authority over the mesh. Admin keys are opened by commands and never sent.

use super::{FileBytes, Freshness};
use crate::id::{Digest, EntryId, MeshId, NodeId, SignerId, TicketId};
use crate::name::Name;
use crate::time::{UnixMillis, UnixSeconds};

/// Most documents one [`Publish`] carries.
pub const MAX_PUBLISHED: usize = 16;

/// Most entries one [`Revocations`] lists.
pub const MAX_LISTED_REVOCATIONS: u64 = 1000;

/// Most nodes one [`Spread`] names as missing.
pub const MAX_LISTED_MISSING: usize = 1000;

/// Longest time [`SpreadQuery::wait_ms`] may ask for.
pub const MAX_SPREAD_WAIT_MS: u64 = 60_000;

/// Most proposals a node keeps.
pub const MAX_PROPOSALS: usize = 32;

/// Most effects of a proposal that are told one by one; further ones are counted in one sentence
/// more.
pub const MAX_EFFECTS: usize = 50;

/// What is in force.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Trust {
    /// The mesh.
    pub mesh: MeshId,
    /// The epoch of versions and times.
    pub epoch: u64,
    /// The root.
    pub root: RootInfo,
    /// Who signs, and how far each one's revocation log has come.
    pub admins: Vec<AdminInfo>,
    /// How many admins must sign a root or a bundle.
    pub threshold: u64,
    /// Who admits nodes, and within which limits.
    pub issuers: Vec<IssuerInfo>,
    /// Who states what is newest.
    pub timestampers: Vec<TimestamperInfo>,
    /// The policy bundle, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<BundleInfo>,
    /// How recently a timestamper confirmed all this.
    pub freshness: Freshness,
    /// What waits for signatures, oldest first.
    pub proposals: Vec<Proposal>,
}

/// The root in force.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RootInfo {
    /// Its version.
    pub version: u64,
    /// The hash of its content.
    pub hash: Digest,
    /// The mesh's name.
    pub name: Name,
    /// When it was made, by its author's clock.
    pub created: UnixSeconds,
    /// For how much longer read-only tools run, seconds.
    pub read_grace_s: u64,
    /// The document as signed.
    pub file: FileBytes,
}

/// An admin, present or past.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AdminInfo {
    /// Its key's id.
    pub id: SignerId,
    /// Entries in its revocation log, as known here.
    pub entries: u64,
    /// The link of its log at that length.
    pub link: Digest,
    /// Whether it is one no more; only that many of its entries count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired_at: Option<u64>,
    /// Whether its log was signed twice with different content and is frozen.
    #[serde(default)]
    pub forked: bool,
}

/// An issuer.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct IssuerInfo {
    /// Its key's id.
    pub id: SignerId,
    /// The groups it may grant; absent means any.
    pub groups: Option<Vec<Name>>,
    /// The sites it may grant; absent means any.
    pub sites: Option<Vec<Name>>,
    /// Longest membership it may issue, seconds.
    pub max_life_s: u64,
    /// Most memberships it may issue in an hour.
    pub max_per_hour: u64,
}

/// A timestamper.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TimestamperInfo {
    /// Its key's id.
    pub id: SignerId,
    /// The version of its newest timestamp known here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// The time that one states.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<UnixSeconds>,
}

/// The policy bundle in force.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BundleInfo {
    /// Its version.
    pub version: u64,
    /// The hash of its head's content.
    pub hash: Digest,
    /// Policies in it.
    pub policies: u64,
}

/// A bundle that was in force on a node, or is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PastBundle {
    /// Its version.
    pub version: u64,
    /// The hash of its head's content.
    pub hash: Digest,
    /// When it was made, by its author's clock.
    pub created: UnixSeconds,
    /// Policies in it.
    pub policies: u64,
    /// Definitions of tools it approves.
    pub pins: u64,
    /// Whether it is in force.
    pub in_force: bool,
}

/// Which past bundle.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PastBundleQuery {
    /// Its version.
    pub version: u64,
}

/// The policy bundle in force, as signed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BundleFile {
    /// Its version; 0 where there is none yet.
    pub version: u64,
    /// The hash of its head's content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<Digest>,
    /// When it was made, by its author's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<UnixSeconds>,
    /// Its head, as signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<FileBytes>,
    /// Its body, as encoded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<FileBytes>,
}

/// What a proposal would bring into force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProposalKind {
    /// The next root.
    Root,
    /// A policy bundle.
    Bundle,
}

impl ProposalKind {
    /// The word for people.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Bundle => "bundle",
        }
    }
}

/// A change that waits for signatures.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Proposal {
    /// The hash of its content, which no signature changes.
    pub id: Digest,
    /// What it would be.
    pub kind: ProposalKind,
    /// The version it would be.
    pub version: u64,
    /// When it was made, by its author's clock.
    pub created: UnixSeconds,
    /// Admins who signed it.
    pub signed: Vec<SignerId>,
    /// Admins who may sign it and have not.
    pub unsigned: Vec<SignerId>,
    /// Signatures still needed: of the admins there are, and of those there would be.
    pub missing: u64,
    /// What would change, a sentence each.
    pub changes: Vec<String>,
    /// Against what this node holds: which revocations a root would put in force, or out of force;
    /// what a bundle would add, change and remove, or that it can no longer take effect. A sentence
    /// each; at most [`MAX_EFFECTS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub effects: Vec<String>,
    /// Why it can no longer take effect, whoever signs it; absent while it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overtaken: Option<String>,
    /// The file to carry to other admins.
    pub file: FileBytes,
}

/// Hands a node a proposal with signatures.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Propose {
    /// A proposal file, with the signatures of whoever signed that copy.
    pub file: FileBytes,
}

/// What a proposal would do to the revocations that a node holds, before anybody signs it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Preview {
    /// As [`Proposal::effects`].
    pub effects: Vec<String>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Proposed {
    /// The proposal with every signature gathered so far.
    pub proposal: Proposal,
    /// Whether it is in force now; it is then no proposal any more.
    pub in_force: bool,
}

/// A signed document for everybody.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PublishedDocument {
    /// A root with every signature it needs.
    Root(FileBytes),
    /// The head of a bundle.
    BundleHead(FileBytes),
    /// The body of a bundle.
    BundleBody(FileBytes),
    /// The head of a revocation log.
    LogHead(FileBytes),
    /// Entries of a revocation log.
    LogEntries {
        /// Whose log.
        admin: SignerId,
        /// The index of the first.
        from: u64,
        /// The entries, encoded.
        entries: Vec<FileBytes>,
    },
}

/// Hands a node documents that are complete, at most [`MAX_PUBLISHED`], in order.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    /// The documents.
    pub documents: Vec<PublishedDocument>,
}

/// What the node made of published documents.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Publication {
    /// Whether anything was new; if not, the node knew it all.
    pub new: bool,
}

/// Selects revocations.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevocationQuery {
    /// At most so many, newest first; at most and by default [`MAX_LISTED_REVOCATIONS`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Only the entry, the log position (`ADMIN/INDEX` or `INDEX`) or the id it begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<String>,
}

/// The revocations a query selects.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Revocations {
    /// Entries in all logs.
    pub total: u64,
    /// The entries selected, newest first.
    pub entries: Vec<Revocation>,
}

/// One entry of a revocation log.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Revocation {
    /// Its id.
    pub id: EntryId,
    /// Who wrote it.
    pub admin: SignerId,
    /// Its place in that admin's log, from 0.
    pub index: u64,
    /// When, by that admin's clock.
    pub at: UnixSeconds,
    /// Why.
    pub reason: String,
    /// What it cuts off, or lifts.
    pub target: Target,
    /// What it does now.
    pub state: RevocationState,
    /// The link of that log with this entry as the last.
    pub link: Digest,
}

/// What an entry is about.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// A node.
    Node {
        /// Its id.
        id: NodeId,
        /// Its name, where it is known here.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<Name>,
    },
    /// An agent.
    Agent {
        /// The node it is of; absent means on any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        node: Option<NodeId>,
        /// Its name.
        name: Name,
    },
    /// A ticket.
    Ticket {
        /// Its id.
        id: TicketId,
    },
    /// A tool, by the digest of its definition.
    Tool {
        /// The digest.
        digest: Digest,
    },
    /// What an issuer issued from a time on.
    Issuer {
        /// The issuer.
        id: SignerId,
        /// From when.
        since: UnixSeconds,
        /// And from which of its memberships.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since_sequence: Option<u64>,
    },
    /// Another entry, which it helps to lift.
    Lift {
        /// The entry.
        entry: EntryId,
    },
}

/// What an entry does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RevocationState {
    /// It cuts off.
    Effective,
    /// It cuts off here, because it once did; nodes that join later wait for another admin.
    Held,
    /// It is more than one admin may do within an hour, and waits for others to do the same.
    Excess,
    /// One admin alone may not do such a thing; it waits for others to do the same.
    Unconfirmed,
    /// It was lifted.
    Lifted,
    /// It lifts, together with enough others, or is one of too few to.
    Lift,
}

/// Asks how far an entry has spread.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpreadQuery {
    /// The entry.
    pub entry: EntryId,
    /// For how long to gather acknowledgements, at most [`MAX_SPREAD_WAIT_MS`].
    pub wait_ms: u64,
}

/// A line of the answer to a [`SpreadQuery`].
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpreadEvent {
    /// What is known so far; more may come.
    Progress(Spread),
    /// All that came within the time, or from every node.
    Done(Spread),
    /// Nothing could be asked.
    Failure(super::Failure),
}

/// How far an entry has spread, by the signed acknowledgements of the nodes.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Spread {
    /// The entry.
    pub entry: EntryId,
    /// Nodes with a valid membership, as known here; this one is one of them.
    pub nodes: u64,
    /// Nodes that have the entry in force and on disk.
    pub have: u64,
    /// When it came into force on this node, from which on the others are measured.
    pub since: UnixMillis,
    /// How long until it was in force on those that know; none if none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_force: Option<Took>,
    /// How long until it was effective there: in force, on disk, and the connections it bars
    /// closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective: Option<Took>,
    /// Nodes that did not say they have it, at most [`MAX_LISTED_MISSING`], by name.
    pub missing: Vec<MissingNode>,
    /// Whether some of the missing may not have been asked, because a node on the way had too many
    /// such questions open.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub partly_asked: bool,
}

/// How long something took on several nodes, in milliseconds, by their clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Took {
    /// On half of them at most so long.
    pub p50_ms: u64,
    /// On 99 of 100.
    pub p99_ms: u64,
    /// On all.
    pub max_ms: u64,
}

/// A node that did not acknowledge.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct MissingNode {
    /// The node.
    pub id: NodeId,
    /// Its name.
    pub name: Name,
    /// Whether this node has a link to it now.
    pub linked: bool,
}
