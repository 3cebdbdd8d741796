//! What verified memberships and node records say, without the bytes that said it: what a
//! directory of many thousands keeps in memory.
//!
//! A membership is over 9 kB and a record over 13 kB, nearly all of it signatures and keys that
//! were checked once and are not needed again. Facts are only ever taken from a verified document.
//! They cannot be verified again, and need not be: see [`MemberFacts::holds_under`].

use std::collections::HashSet;
use std::sync::Arc;

use super::{
    Issuer, Membership, NodeRecord, Posture, ServerRecord, ToolRecord, TrustError, VerifiedRoot,
};
use crate::crypto::{Crypto, SigningSet};
use crate::id::{Digest, NodeId, SignerId};
use crate::limits::MAX_CLOCK_AHEAD_S;
use crate::mcp::Hints;
use crate::name::Name;
use crate::policy;
use crate::time::UnixSeconds;

/// What a verified membership says; [`super::VerifiedMembership::facts`] is where they come from.
/// The fields are those of [`Membership`]; mesh and TLS key are left out, the NodeId stands for the
/// latter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberFacts {
    node: NodeId,
    issuer: SignerId,
    digest: Digest,
    /// The node's signing set.
    pub signing: SigningSet,
    /// The node's name.
    pub name: Name,
    /// Its groups; sorted, without repeats.
    pub groups: Vec<Name>,
    /// Its site.
    pub site: Option<Name>,
    /// Valid from this second.
    pub not_before: UnixSeconds,
    /// Valid before this second.
    pub not_after: UnixSeconds,
    /// The issuer's sequence.
    pub issuer_sequence: u64,
    /// Nodes this one has taken the place of.
    pub replaces: Option<Vec<NodeId>>,
}

impl MemberFacts {
    /// Of a membership that was just verified.
    pub(super) fn of(
        crypto: &dyn Crypto,
        content: &Membership,
        node: NodeId,
        issuer: SignerId,
        bytes: &[u8],
    ) -> Self {
        Self {
            node,
            issuer,
            digest: digest(crypto, bytes),
            signing: content.signing.clone(),
            name: content.name.clone(),
            groups: content.groups.clone(),
            site: content.site.clone(),
            not_before: content.not_before,
            not_after: content.not_after,
            issuer_sequence: content.issuer_sequence,
            replaces: content.replaces.clone(),
        }
    }

    /// The node.
    #[must_use]
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// Who issued the membership.
    #[must_use]
    pub const fn issuer(&self) -> SignerId {
        self.issuer
    }

    /// SHA-256 of the exact bytes that were verified, by which they are known again.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Whether these are the facts of the membership with exactly these bytes.
    #[must_use]
    pub fn are_of(&self, crypto: &dyn Crypto, bytes: &[u8]) -> bool {
        digest(crypto, bytes) == self.digest
    }

    /// Whether the membership is valid at `now`, with the tolerated clock difference at its start.
    ///
    /// # Errors
    /// [`TrustError::NotYetValid`] or [`TrustError::Expired`].
    pub fn valid_at(&self, now: UnixSeconds) -> Result<(), TrustError> {
        if now.plus(MAX_CLOCK_AHEAD_S) < self.not_before {
            return Err(TrustError::NotYetValid(self.not_before));
        }
        if now >= self.not_after {
            return Err(TrustError::Expired(self.not_after));
        }
        Ok(())
    }

    /// The second from which it is to be renewed: half of its life.
    #[must_use]
    pub const fn half_life(&self) -> UnixSeconds {
        let life = self.not_after.0 - self.not_before.0;
        self.not_before.plus(life / 2)
    }

    /// Whether the membership, verified under an earlier root of the same mesh, holds under `root`.
    ///
    /// The answer is the one verifying its bytes again would give. A root decides two things about
    /// a membership: whether its issuer still is one, and what that issuer may grant. The issuer is
    /// known by the hash of both its keys, so an issuer of that identifier has the very keys the
    /// signature was verified with; signature, mesh and content are what they were.
    ///
    /// # Errors
    /// [`TrustError::UnknownIssuer`], [`TrustError::BeyondIssuer`].
    pub fn holds_under(&self, root: &VerifiedRoot) -> Result<(), TrustError> {
        let issuer = root.issuer(&self.issuer).ok_or(TrustError::UnknownIssuer)?;
        let (groups, site) = (&self.groups, self.site.as_ref());
        within(issuer, groups, site, self.not_before, self.not_after)
    }
}

/// Whether an issuer may grant this.
pub(super) fn within(
    issuer: &Issuer,
    groups: &[Name],
    site: Option<&Name>,
    not_before: UnixSeconds,
    not_after: UnixSeconds,
) -> Result<(), TrustError> {
    let allows = |limit: &Option<Vec<Name>>, name: &Name| {
        limit.as_ref().is_none_or(|allowed| allowed.contains(name))
    };
    if !groups.iter().all(|g| allows(&issuer.groups, g)) {
        return Err(TrustError::BeyondIssuer("group"));
    }
    if site.is_some_and(|s| !allows(&issuer.sites, s)) {
        return Err(TrustError::BeyondIssuer("site"));
    }
    if not_after.0.saturating_sub(not_before.0) > issuer.max_life_s {
        return Err(TrustError::BeyondIssuer("lifetime"));
    }
    Ok(())
}

/// What a verified node record says; [`super::node_record::VerifiedRecord::facts`] is where they come from.
/// The fields are those of [`NodeRecord`]; the membership is known by its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordFacts {
    digest: Digest,
    membership: Digest,
    /// Where the node can be reached, `host:port`.
    pub addresses: Vec<String>,
    /// Nodes that relay to it.
    pub relays: Vec<NodeId>,
    /// What bodies are sealed to that reach it over relays.
    pub sealing_key: Option<Box<[u8]>>,
    /// Its MCP servers, sorted by name.
    pub servers: Box<[ServerFacts]>,
    /// What it says of its state.
    pub posture: Option<PostureFacts>,
    /// Rises with every record of the node.
    pub sequence: u64,
    /// When it was signed.
    pub issued: UnixSeconds,
    /// Refused at and after this second.
    pub expires: UnixSeconds,
}

impl RecordFacts {
    /// Of a record that was just verified. It copies, because what decoding made has room to grow.
    pub(super) fn of(
        crypto: &dyn Crypto,
        record: &NodeRecord,
        membership: Digest,
        bytes: &[u8],
    ) -> Self {
        Self {
            digest: digest(crypto, bytes),
            membership,
            addresses: record.addresses.clone(),
            relays: record.relays.clone(),
            sealing_key: record
                .sealing_key
                .as_ref()
                .map(|key| Box::from(key.as_slice())),
            servers: record.servers.iter().map(ServerFacts::of).collect(),
            posture: record.posture.as_deref().and_then(|p| PostureFacts::of(p)),
            sequence: record.sequence,
            issued: record.issued,
            expires: record.expires,
        }
    }

    /// SHA-256 of the exact bytes that were verified, by which they are known again.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Holds what the posture has in common with others once for all of them: `shared` knows up to
    /// [`MAX_SHARED_POSTURES`], and forgets those that no record has any more when it is full.
    pub fn share_posture(&mut self, shared: &mut HashSet<Arc<Posture>>) {
        let Some(posture) = &mut self.posture else {
            return;
        };
        if let Some(known) = shared.get(&posture.lasting) {
            posture.lasting = Arc::clone(known);
            return;
        }
        if shared.len() >= MAX_SHARED_POSTURES {
            shared.retain(|lasting| Arc::strong_count(lasting) > 1);
        }
        if shared.len() < MAX_SHARED_POSTURES {
            shared.insert(Arc::clone(&posture.lasting));
        }
    }

    /// Digest of the membership the record carries ([`MemberFacts::digest`]).
    #[must_use]
    pub const fn membership(&self) -> Digest {
        self.membership
    }

    /// Whether these are the facts of the record with exactly these bytes.
    #[must_use]
    pub fn are_of(&self, crypto: &dyn Crypto, bytes: &[u8]) -> bool {
        digest(crypto, bytes) == self.digest
    }
}

/// Most different postures that are held once for all records that have them: kinds of hosts, of
/// which a mesh has a handful. Of further ones each record holds its own.
pub const MAX_SHARED_POSTURES: usize = 1024;

/// What a node says of its state, as it is held: when it was measured, and what lasts. Hosts of one
/// kind have the latter in common. Read once, since every decision on a call of the node looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostureFacts {
    measured: UnixSeconds,
    uptime_s: u64,
    /// The posture with zeros for the two above.
    lasting: Arc<Posture>,
}

impl PostureFacts {
    fn of(bytes: &[u8]) -> Option<Self> {
        let posture = Posture::decode(bytes).ok()?;
        let (measured, uptime_s) = (posture.measured, posture.uptime_s);
        let lasting = Posture {
            measured: UnixSeconds(0),
            uptime_s: 0,
            ..posture
        };
        Some(Self {
            measured,
            uptime_s,
            lasting: Arc::new(lasting),
        })
    }

    /// The posture, as it was announced.
    #[must_use]
    pub fn posture(&self) -> Posture {
        Posture {
            measured: self.measured,
            uptime_s: self.uptime_s,
            ..Posture::clone(&self.lasting)
        }
    }

    /// As policies look at it at `now`.
    #[must_use]
    pub fn facts(&self, now: UnixSeconds) -> policy::Posture {
        let age_s = now.0.saturating_sub(self.measured.0);
        policy::Posture {
            uptime_s: self.uptime_s.saturating_add(age_s),
            age_s,
            ..self.lasting.facts(UnixSeconds(0))
        }
    }

    /// The digest by which headers and records name it ([`Posture::digest`]).
    #[must_use]
    pub fn digest(&self, crypto: &dyn Crypto) -> Digest {
        Posture::digest(crypto, &self.posture().encode())
    }
}

/// An MCP server as a record announces it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFacts {
    /// Its name on the node.
    pub name: Name,
    /// Its tools.
    pub tools: ToolFacts,
}

impl ServerFacts {
    fn of(server: &ServerRecord) -> Self {
        Self {
            name: server.name.clone(),
            tools: ToolFacts::of(&server.tools),
        }
    }
}

/// Tools and the digests of their definitions, packed: there may be a million of them in a
/// directory, and a name by itself takes more than its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolFacts {
    /// The names, one after another.
    names: Box<str>,
    /// Of each tool where its name ends, its digest, and what its annotations add. The first is in
    /// bytes so that three in forty are not lost to alignment.
    tools: Box<[([u8; 4], Digest, Hints)]>,
}

impl ToolFacts {
    fn of(tools: &[ToolRecord]) -> Self {
        let names: String = tools.iter().map(|tool| tool.name.as_str()).collect();
        let mut end: u32 = 0;
        let packed = tools.iter().map(|tool| {
            // A document's size bounds the sum far below.
            let length = u32::try_from(tool.name.len()).unwrap_or(u32::MAX);
            end = end.saturating_add(length);
            (
                end.to_le_bytes(),
                tool.digest,
                tool.hints.unwrap_or_default(),
            )
        });
        Self {
            tools: packed.collect(),
            names: names.into_boxed_str(),
        }
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.tools.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.tools.is_empty()
    }

    /// Each tool's own name and the digest of its definition, in the order of the record.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Digest)> {
        self.all().map(|(name, digest, _)| (name, digest))
    }

    /// The digest of a tool's definition, and what its annotations add.
    #[must_use]
    pub fn find(&self, tool: &str) -> Option<(Digest, Hints)> {
        let mut all = self.all();
        let found = all.find(|(name, ..)| *name == tool);
        found.map(|(_, digest, hints)| (digest, hints))
    }

    /// The same, with what the annotations of each add.
    pub fn all(&self) -> impl Iterator<Item = (&str, Digest, Hints)> {
        let mut from = 0;
        self.tools.iter().filter_map(move |(end, digest, hints)| {
            let end = u32::from_le_bytes(*end) as usize;
            let name = self.names.get(from..end)?;
            from = end;
            Some((name, *digest, *hints))
        })
    }
}

fn digest(crypto: &dyn Crypto, bytes: &[u8]) -> Digest {
    Digest::from_bytes(crypto.sha256(&[bytes]))
}
