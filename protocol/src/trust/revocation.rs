//! Revocation logs: one per admin, append-only, under a head that this admin alone signs.
//!
//! The head binds the entries by a chain of hashes, so entries may come from anybody and in
//! pieces. What of a log is *effective* is decided from all logs together
//! ([`super::revoked`]); here is only what one admin has said.

use std::sync::Arc;

use super::{Bytes, TrustError, VerifiedRoot, parse_document, sign_document};
use crate::codec;
use crate::crypto::{Crypto, CryptoError, Signer, domain, domain::content_type};
use crate::id::{Digest, EntryId, MeshId, NodeId, SignerId, TicketId};
use crate::limits::{MAX_ENTRY_BYTES, MAX_LOG_ENTRIES, MAX_REASON_BYTES};
use crate::name::Name;
use crate::time::UnixSeconds;

/// The link of an empty log.
pub const EMPTY: Digest = Digest::from_bytes([0; 32]);

/// What an entry does.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Act {
    /// Revokes a node: its TLS identity, under whichever membership.
    Node(NodeId),
    /// Revokes an agent, on one node or (without one) wherever it has that name.
    Agent {
        /// The node; none for all.
        node: Option<NodeId>,
        /// The agent.
        name: Name,
    },
    /// Revokes a ticket.
    Ticket(TicketId),
    /// Revokes a tool by the digest of its definition.
    Tool(Digest),
    /// Voids what an issuer has issued from a time or a sequence on.
    Issuer {
        /// The issuer.
        issuer: SignerId,
        /// Memberships that begin then or later are void.
        since: UnixSeconds,
        /// Memberships with this sequence or a higher one are void too.
        since_sequence: Option<u64>,
    },
    /// Takes back a revocation, together with the other admins who say so.
    Lift(EntryId),
}

/// [`Act`] on the wire: one map, of which each kind uses its own keys.
#[derive(Default, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
struct ActMap {
    #[n(1)]
    kind: u8,
    #[n(2)]
    node: Option<NodeId>,
    #[n(3)]
    agent: Option<Name>,
    #[n(4)]
    ticket: Option<TicketId>,
    #[n(5)]
    tool: Option<Digest>,
    #[n(6)]
    issuer: Option<SignerId>,
    #[n(7)]
    since: Option<UnixSeconds>,
    #[n(8)]
    since_sequence: Option<u64>,
    #[n(9)]
    entry: Option<EntryId>,
}

impl Act {
    /// The number of its kind on the wire.
    #[must_use]
    pub const fn kind(&self) -> u8 {
        match self {
            Self::Node(_) => 1,
            Self::Agent { .. } => 2,
            Self::Ticket(_) => 3,
            Self::Tool(_) => 4,
            Self::Issuer { .. } => 5,
            Self::Lift(_) => 6,
        }
    }

    fn to_map(&self) -> ActMap {
        let kind = self.kind();
        let map = ActMap {
            kind,
            ..ActMap::default()
        };
        match self {
            Self::Node(node) => ActMap {
                node: Some(*node),
                ..map
            },
            Self::Agent { node, name } => ActMap {
                node: *node,
                agent: Some(name.clone()),
                ..map
            },
            Self::Ticket(ticket) => ActMap {
                ticket: Some(*ticket),
                ..map
            },
            Self::Tool(tool) => ActMap {
                tool: Some(*tool),
                ..map
            },
            Self::Issuer {
                issuer,
                since,
                since_sequence,
            } => ActMap {
                issuer: Some(*issuer),
                since: Some(*since),
                since_sequence: *since_sequence,
                ..map
            },
            Self::Lift(entry) => ActMap {
                entry: Some(*entry),
                ..map
            },
        }
    }

    /// Reads the keys of the kind; keys of other kinds are found by the strict codec, which
    /// encodes again without them.
    fn of_map(map: ActMap) -> Option<Self> {
        Some(match map.kind {
            1 => Self::Node(map.node?),
            2 => Self::Agent {
                node: map.node,
                name: map.agent?,
            },
            3 => Self::Ticket(map.ticket?),
            4 => Self::Tool(map.tool?),
            5 => Self::Issuer {
                issuer: map.issuer?,
                since: map.since?,
                since_sequence: map.since_sequence,
            },
            6 => Self::Lift(map.entry?),
            _ => return None,
        })
    }
}

impl<C> minicbor::Encode<C> for Act {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        self.to_map().encode(e, ctx)
    }
}

impl<'b, C> minicbor::Decode<'b, C> for Act {
    fn decode(d: &mut minicbor::Decoder<'b>, ctx: &mut C) -> Result<Self, minicbor::decode::Error> {
        let at = d.position();
        Self::of_map(ActMap::decode(d, ctx)?)
            .ok_or_else(|| minicbor::decode::Error::message("not an act of a known kind").at(at))
    }
}

/// One entry of a log.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Entry {
    /// Its place in the log, from 0.
    #[n(1)]
    pub index: u64,
    /// When, by the admin's clock. It counts within what timestamps say ([`super::dating`]).
    #[n(2)]
    pub at: UnixSeconds,
    /// What it does.
    #[n(3)]
    pub act: Act,
    /// Why, for people: at most [`MAX_REASON_BYTES`], no control characters.
    #[n(4)]
    pub reason: String,
}

impl Entry {
    /// Its one encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads an entry.
    ///
    /// # Errors
    /// [`TrustError`] for anything but the one encoding of an entry within bounds.
    pub fn decode(bytes: &[u8]) -> Result<Self, TrustError> {
        let entry: Self = codec::decode(bytes, MAX_ENTRY_BYTES)?;
        entry.validate()?;
        Ok(entry)
    }

    /// Checks the bounds of an entry that is about to be signed.
    ///
    /// # Errors
    /// [`TrustError::Field`].
    pub fn validate(&self) -> Result<(), TrustError> {
        if self.reason.len() > MAX_REASON_BYTES || self.reason.chars().any(char::is_control) {
            return Err(TrustError::Field("reason"));
        }
        if self.index >= MAX_LOG_ENTRIES {
            return Err(TrustError::Field("index"));
        }
        Ok(())
    }
}

/// The link of a log with one entry more: hash of the link before and the encoded entry.
#[must_use]
pub fn next_link(crypto: &dyn Crypto, link: &Digest, entry: &[u8]) -> Digest {
    Digest::over(crypto, domain::REVOCATION_CHAIN, &[link.as_bytes(), entry])
}

/// What names an entry wherever it is lifted or reported.
#[must_use]
pub fn entry_id(crypto: &dyn Crypto, mesh: &MeshId, admin: &SignerId, entry: &[u8]) -> EntryId {
    let parts: [&[u8]; 3] = [mesh.as_bytes(), admin.as_bytes(), entry];
    EntryId::from_bytes(crate::crypto::join_digest(
        crypto,
        domain::REVOCATION_ENTRY,
        &parts,
    ))
}

/// The content of a log's head.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct LogHead {
    /// The mesh.
    #[n(1)]
    pub mesh: MeshId,
    /// Whose log.
    #[n(2)]
    pub admin: SignerId,
    /// How many entries it has.
    #[n(3)]
    pub length: u64,
    /// The link over all of them; [`EMPTY`] for none.
    #[n(4)]
    pub link: Digest,
    /// When it was signed.
    #[n(5)]
    pub issued: UnixSeconds,
}

impl LogHead {
    /// Signs this head by its admin.
    ///
    /// # Errors
    /// [`CryptoError`] if a signature could not be made.
    pub fn sign(&self, crypto: &dyn Crypto, admin: &dyn Signer) -> Result<Vec<u8>, CryptoError> {
        let aad = self.mesh.as_bytes();
        sign_document(crypto, &[admin], content_type::REVOCATION_LOG, self, aad)
    }

    fn validate(&self) -> Result<(), TrustError> {
        if self.length > MAX_LOG_ENTRIES {
            return Err(TrustError::Field("length"));
        }
        if (self.length == 0) != (self.link == EMPTY) {
            return Err(TrustError::Field("link"));
        }
        Ok(())
    }
}

/// A log's head signed by its admin, present or retired. Only [`VerifiedLogHead::verify`] makes
/// one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedLogHead {
    content: LogHead,
    bytes: Bytes,
}

impl VerifiedLogHead {
    /// Verifies `bytes` as the head of the log of an admin that `root` names, in office or
    /// retired.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn verify(
        crypto: &dyn Crypto,
        root: &VerifiedRoot,
        bytes: &Bytes,
    ) -> Result<Self, TrustError> {
        let (cose, content) = parse_document::<LogHead>(bytes, content_type::REVOCATION_LOG)?;
        content.validate()?;
        if content.mesh != root.mesh() {
            return Err(TrustError::ForeignMesh);
        }
        let retired = || root.retired(&content.admin).map(|r| &r.admin);
        let signer = root
            .admin(&content.admin)
            .or_else(retired)
            .ok_or(crate::cose::CoseError::UnknownKey)?;
        cose.verify_one(crypto, signer, root.mesh().as_bytes())?;
        Ok(Self {
            content,
            bytes: Bytes::clone(bytes),
        })
    }

    /// Reads the content of a head; verifies nothing.
    ///
    /// # Errors
    /// [`TrustError`] if it is none.
    pub fn peek(bytes: &[u8]) -> Result<LogHead, TrustError> {
        let (_, content) = parse_document::<LogHead>(bytes, content_type::REVOCATION_LOG)?;
        content.validate()?;
        Ok(content)
    }

    /// The content.
    #[must_use]
    pub const fn content(&self) -> &LogHead {
        &self.content
    }

    /// The exact bytes.
    #[must_use]
    pub fn shared(&self) -> Bytes {
        Bytes::clone(&self.bytes)
    }
}

/// Why something is revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// The entry that says so.
    pub entry: EntryId,
    /// Whose log it stands in.
    pub admin: SignerId,
    /// When, by the admin's clock.
    pub at: UnixSeconds,
    /// The admin's reason, for people.
    pub reason: String,
}

/// An entry as it is kept: decoded once and shared. Its bytes are its one encoding, made again
/// when somebody asks for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptEntry {
    /// Its place in the log.
    pub index: u64,
    /// What it does.
    pub act: Act,
    /// The log's link with this entry as the last.
    pub link: Digest,
    /// The rest of it, which everything it revokes refers to.
    pub cause: Arc<Cause>,
}

impl KeptEntry {
    /// Reads the entry that stands at `index` behind `link`.
    ///
    /// # Errors
    /// [`TrustError`] if it is not an entry within bounds, or is one for another place.
    pub fn read(
        crypto: &dyn Crypto,
        (mesh, admin): (&MeshId, &SignerId),
        (index, link): (u64, &Digest),
        bytes: &[u8],
    ) -> Result<Self, TrustError> {
        let entry = Entry::decode(bytes)?;
        if entry.index != index {
            return Err(TrustError::BrokenChain);
        }
        let cause = Cause {
            entry: entry_id(crypto, mesh, admin, bytes),
            admin: *admin,
            at: entry.at,
            reason: entry.reason,
        };
        Ok(Self {
            index,
            act: entry.act,
            link: next_link(crypto, link, bytes),
            cause: Arc::new(cause),
        })
    }

    /// The entry as it was signed.
    #[must_use]
    pub fn entry(&self) -> Entry {
        Entry {
            index: self.index,
            at: self.cause.at,
            act: self.act.clone(),
            reason: self.cause.reason.clone(),
        }
    }
}

/// The entries of one admin's log, chained from the first. Grows at its end only; whether its end
/// is what the admin signed is decided by comparing [`Log::link`] with a verified head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    mesh: MeshId,
    admin: SignerId,
    entries: Vec<Arc<KeptEntry>>,
}

impl Log {
    /// The empty log of an admin.
    #[must_use]
    pub const fn new(mesh: MeshId, admin: SignerId) -> Self {
        Self {
            mesh,
            admin,
            entries: Vec::new(),
        }
    }

    /// Whose log.
    #[must_use]
    pub const fn admin(&self) -> SignerId {
        self.admin
    }

    /// Number of entries.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.entries.len() as u64
    }

    /// The link over all entries.
    #[must_use]
    pub fn link(&self) -> Digest {
        self.entries.last().map_or(EMPTY, |last| last.link)
    }

    /// The link over the first `length` entries, none if there are fewer.
    #[must_use]
    pub fn link_at(&self, length: u64) -> Option<Digest> {
        let Some(last) = length.checked_sub(1) else {
            return Some(EMPTY);
        };
        let last = usize::try_from(last).ok()?;
        self.entries.get(last).map(|entry| entry.link)
    }

    /// The entries, oldest first.
    #[must_use]
    pub fn entries(&self) -> &[Arc<KeptEntry>] {
        &self.entries
    }

    /// The encoded entries from index `from` on, at most `most`.
    #[must_use]
    pub fn encoded(&self, from: u64, most: usize) -> Vec<Bytes> {
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        let tail = self.entries.iter().skip(from).take(most);
        tail.map(|kept| kept.entry().encode().into()).collect()
    }

    /// Appends an encoded entry.
    ///
    /// # Errors
    /// [`TrustError`] if it is not an entry, or not the one for this place.
    pub fn append(&mut self, crypto: &dyn Crypto, bytes: &[u8]) -> Result<(), TrustError> {
        let (owner, place) = ((&self.mesh, &self.admin), (self.length(), &self.link()));
        let kept = KeptEntry::read(crypto, owner, place, bytes)?;
        self.entries.push(Arc::new(kept));
        Ok(())
    }

    /// Appends entries that were read for this very end.
    pub(super) fn extend(&mut self, entries: Vec<Arc<KeptEntry>>) {
        self.entries.extend(entries);
    }

    /// Appends what this log's admin wants to say next and returns it encoded. The head is to be
    /// signed afterwards ([`Log::head`]).
    ///
    /// # Errors
    /// [`TrustError::Field`] if the reason is out of bounds or the log is full.
    pub fn write(
        &mut self,
        crypto: &dyn Crypto,
        at: UnixSeconds,
        act: Act,
        reason: &str,
    ) -> Result<Bytes, TrustError> {
        let entry = Entry {
            index: self.length(),
            at,
            act,
            reason: reason.to_owned(),
        };
        entry.validate()?;
        let bytes: Bytes = entry.encode().into();
        self.append(crypto, &bytes)?;
        Ok(bytes)
    }

    /// The first `length` entries as a log of their own.
    #[must_use]
    pub fn prefix(&self, length: u64) -> Self {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        Self {
            entries: self.entries.iter().take(length).cloned().collect(),
            ..*self
        }
    }

    /// The head of this log, to be signed.
    #[must_use]
    pub fn head(&self, issued: UnixSeconds) -> LogHead {
        LogHead {
            mesh: self.mesh,
            admin: self.admin,
            length: self.length(),
            link: self.link(),
            issued,
        }
    }
}
