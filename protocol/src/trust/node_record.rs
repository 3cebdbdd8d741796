//! Node records: what a node says of itself, signed with its own signing set.

use super::admission::bounded_addresses;
use super::{
    Posture, RecordFacts, TrustError, VerifiedMembership, VerifiedRoot, parse_document,
    sign_document, unique,
};
use crate::crypto::sealing::SEALING_PUBLIC_LEN;
use crate::crypto::{Crypto, CryptoError, Signer, domain::content_type};
use crate::id::{Digest, MeshId, NodeId};
use crate::limits::{MAX_CLOCK_AHEAD_S, MAX_SERVERS, MAX_TARGET_BYTES, MAX_TOOLS};
use crate::mcp::Hints;
use crate::name::Name;
use crate::time::UnixSeconds;

/// Longest life of a node record, in seconds; it is renewed long before.
pub const MAX_RECORD_LIFE_S: u64 = 2 * 3600;

/// A tool and the digest of its definition.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct ToolRecord {
    /// The tool's own name.
    #[n(1)]
    pub name: String,
    /// The digest of its definition.
    #[n(2)]
    pub digest: Digest,
    /// What the definition's annotations add to the intents of its calls; absent if nothing.
    #[n(3)]
    pub hints: Option<Hints>,
}

impl ToolRecord {
    /// Whether a record may name a tool so: not empty, and at most [`MAX_TARGET_BYTES`], which is
    /// also the longest name that a call can carry.
    #[must_use]
    pub const fn may_be_named(name: &str) -> bool {
        !name.is_empty() && name.len() <= MAX_TARGET_BYTES
    }
}

/// An MCP server attached to a node.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct ServerRecord {
    /// Its name on the node.
    #[n(1)]
    pub name: Name,
    /// Its tools, as last listed.
    #[n(2)]
    pub tools: Vec<ToolRecord>,
}

/// The content of a node record.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct NodeRecord {
    /// The mesh.
    #[n(1)]
    pub mesh: MeshId,
    /// The node's membership, as signed.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub membership: Vec<u8>,
    /// Where it can be reached, `host:port`.
    #[n(3)]
    pub addresses: Vec<String>,
    /// Nodes that relay to it.
    #[n(4)]
    pub relays: Vec<NodeId>,
    /// Its sealing key, [`SEALING_PUBLIC_LEN`] bytes. Without one nothing reaches it over relays.
    #[n(5)]
    pub sealing_key: Option<minicbor::bytes::ByteVec>,
    /// Its MCP servers, sorted by name.
    #[n(6)]
    pub servers: Vec<ServerRecord>,
    /// Its [`Posture`], encoded.
    #[n(7)]
    pub posture: Option<minicbor::bytes::ByteVec>,
    /// Rises with every record of this node, across restarts too.
    #[n(8)]
    pub sequence: u64,
    /// When it was signed.
    #[n(9)]
    pub issued: UnixSeconds,
    /// Refused at and after this second.
    #[n(10)]
    pub expires: UnixSeconds,
}

/// A node record signed by the node its membership binds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedRecord {
    /// The content.
    pub content: NodeRecord,
    /// The node's verified membership.
    pub membership: VerifiedMembership,
    /// The exact bytes that were verified.
    pub bytes: Vec<u8>,
}

impl VerifiedRecord {
    /// What it says, to keep without its bytes.
    #[must_use]
    pub fn facts(&self, crypto: &dyn Crypto) -> RecordFacts {
        let membership = self.membership.facts().digest();
        RecordFacts::of(crypto, &self.content, membership, &self.bytes)
    }
}

impl NodeRecord {
    /// What a record says, nothing of it verified: to find the membership in one that is kept.
    ///
    /// # Errors
    /// [`TrustError`] if it is not the one encoding of a record.
    pub fn peek(bytes: &[u8]) -> Result<Self, TrustError> {
        parse_document(bytes, content_type::NODE_RECORD).map(|(_, content)| content)
    }

    /// Signs this record by the node's signing set.
    ///
    /// # Errors
    /// [`CryptoError`] if a signature could not be made.
    pub fn sign(&self, crypto: &dyn Crypto, signer: &dyn Signer) -> Result<Vec<u8>, CryptoError> {
        let aad = self.mesh.as_bytes();
        sign_document(crypto, &[signer], content_type::NODE_RECORD, self, aad)
    }

    /// Verifies a record and the membership in it, at `now`.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn verify(
        crypto: &dyn Crypto,
        root: &VerifiedRoot,
        bytes: &[u8],
        now: UnixSeconds,
    ) -> Result<VerifiedRecord, TrustError> {
        let (cose, content) = parse_document::<Self>(bytes, content_type::NODE_RECORD)?;
        content.validate()?;
        if content.mesh != root.mesh() {
            return Err(TrustError::ForeignMesh);
        }
        if content.issued > now.plus(MAX_CLOCK_AHEAD_S) {
            return Err(TrustError::RecordFuture(content.issued));
        }
        if now >= content.expires {
            return Err(TrustError::RecordExpired(content.expires));
        }
        let membership = VerifiedMembership::verify(crypto, root, &content.membership)?;
        membership.valid_at(now)?;
        cose.verify_one(
            crypto,
            &membership.content().signing,
            root.mesh().as_bytes(),
        )?;
        Ok(VerifiedRecord {
            content,
            membership,
            bytes: bytes.to_vec(),
        })
    }

    fn validate(&self) -> Result<(), TrustError> {
        if !bounded_addresses(&self.addresses) {
            return Err(TrustError::Field("addresses"));
        }
        if self.relays.len() > crate::limits::MAX_ADDRESSES || !unique(&self.relays) {
            return Err(TrustError::Field("relays"));
        }
        let key = self.sealing_key.as_ref();
        if key.is_some_and(|key| key.len() != SEALING_PUBLIC_LEN) {
            return Err(TrustError::Field("sealing_key"));
        }
        let sorted = self
            .servers
            .windows(2)
            .all(|w| matches!(w, [a, b] if a.name < b.name));
        let tools = |s: &ServerRecord| {
            s.tools.len() <= MAX_TOOLS
                && s.tools.iter().all(|t| {
                    ToolRecord::may_be_named(&t.name) && t.hints.is_none_or(Hints::is_announced)
                })
        };
        if let Some(posture) = &self.posture
            && Posture::decode(posture)?.measured > self.issued
        {
            return Err(TrustError::Field("posture"));
        }
        if self.servers.len() > MAX_SERVERS || !sorted || !self.servers.iter().all(tools) {
            return Err(TrustError::Field("servers"));
        }
        let life = self.expires.0.saturating_sub(self.issued.0);
        if life == 0 || life > MAX_RECORD_LIFE_S {
            return Err(TrustError::Field("expires"));
        }
        Ok(())
    }
}
