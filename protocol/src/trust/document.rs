//! Documents and summaries of them, as they travel.

use super::Bytes;
use crate::codec::{self, CodecError};
use crate::id::{Digest, SignerId};
use crate::limits::{
    MAX_BUNDLE_BYTES, MAX_DOCUMENT_BYTES, MAX_ENTRY_BYTES, MAX_LOGS, MAX_ROLE_KEYS,
};

/// Most entries in one [`Document::LogEntries`].
pub const MAX_ENTRIES_AT_ONCE: usize = 1024;

/// Largest encoded [`Document`]: a bundle's body.
pub const MAX_ENCODED_DOCUMENT: usize = MAX_BUNDLE_BYTES + 64;

/// A document as it is offered to a [`super::TrustState`]: exact bytes, nothing verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// A root after the genesis.
    Root(Bytes),
    /// The head of a bundle.
    BundleHead(Bytes),
    /// The body of a bundle.
    BundleBody(Bytes),
    /// The head of a revocation log.
    LogHead(Bytes),
    /// Entries of a revocation log, in order.
    LogEntries {
        /// Whose log.
        admin: SignerId,
        /// The index of the first.
        from: u64,
        /// The encoded entries.
        entries: Vec<Bytes>,
    },
    /// A timestamp.
    Timestamp(Bytes),
}

/// [`Document`] on the wire.
#[derive(Default, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
struct DocumentMap {
    #[n(1)]
    kind: u8,
    #[n(2)]
    bytes: Option<minicbor::bytes::ByteVec>,
    #[n(3)]
    admin: Option<SignerId>,
    #[n(4)]
    from: Option<u64>,
    #[n(5)]
    entries: Option<Vec<minicbor::bytes::ByteVec>>,
}

impl Document {
    /// The number of its kind on the wire.
    #[must_use]
    pub const fn kind(&self) -> u8 {
        match self {
            Self::Root(_) => 1,
            Self::BundleHead(_) => 2,
            Self::BundleBody(_) => 3,
            Self::LogHead(_) => 4,
            Self::LogEntries { .. } => 5,
            Self::Timestamp(_) => 6,
        }
    }

    /// What it takes in memory and, but for a few bytes, on the wire.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Root(b)
            | Self::BundleHead(b)
            | Self::BundleBody(b)
            | Self::LogHead(b)
            | Self::Timestamp(b) => b.len(),
            Self::LogEntries { entries, .. } => entries.iter().map(|e| e.len() + 3).sum(),
        }
    }

    fn to_map(&self) -> DocumentMap {
        let mut map = DocumentMap {
            kind: self.kind(),
            ..DocumentMap::default()
        };
        match self {
            Self::Root(b)
            | Self::BundleHead(b)
            | Self::BundleBody(b)
            | Self::LogHead(b)
            | Self::Timestamp(b) => map.bytes = Some(b.to_vec().into()),
            Self::LogEntries {
                admin,
                from,
                entries,
            } => {
                map.admin = Some(*admin);
                map.from = Some(*from);
                map.entries = Some(entries.iter().map(|e| e.to_vec().into()).collect());
            }
        }
        map
    }

    fn of_map(map: DocumentMap) -> Option<Self> {
        let most = match map.kind {
            3 => MAX_BUNDLE_BYTES,
            _ => MAX_DOCUMENT_BYTES,
        };
        let bytes = map
            .bytes
            .filter(|b| b.len() <= most)
            .map(|b| Bytes::from(Vec::from(b)));
        Some(match map.kind {
            1 => Self::Root(bytes?),
            2 => Self::BundleHead(bytes?),
            3 => Self::BundleBody(bytes?),
            4 => Self::LogHead(bytes?),
            5 => Self::LogEntries {
                admin: map.admin?,
                from: map.from?,
                entries: entries(map.entries?)?,
            },
            6 => Self::Timestamp(bytes?),
            _ => return None,
        })
    }

    /// Its one encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads a document; looks into none.
    ///
    /// # Errors
    /// [`CodecError`] for anything but the one encoding of a document within bounds.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        codec::decode(bytes, MAX_ENCODED_DOCUMENT)
    }
}

fn entries(encoded: Vec<minicbor::bytes::ByteVec>) -> Option<Vec<Bytes>> {
    let bounded = (1..=MAX_ENTRIES_AT_ONCE).contains(&encoded.len())
        && encoded.iter().all(|e| e.len() <= MAX_ENTRY_BYTES);
    let shared = |e: minicbor::bytes::ByteVec| Bytes::from(Vec::from(e));
    bounded.then(|| encoded.into_iter().map(shared).collect())
}

impl<C> minicbor::Encode<C> for Document {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        self.to_map().encode(e, ctx)
    }
}

impl<'b, C> minicbor::Decode<'b, C> for Document {
    fn decode(d: &mut minicbor::Decoder<'b>, ctx: &mut C) -> Result<Self, minicbor::decode::Error> {
        let at = d.position();
        Self::of_map(DocumentMap::decode(d, ctx)?)
            .ok_or_else(|| minicbor::decode::Error::message("not a document within bounds").at(at))
    }
}

/// The state of one log in a summary. A forked log has two rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, minicbor::Encode, minicbor::Decode)]
pub struct LogRow {
    /// Whose log.
    #[n(0)]
    pub admin: SignerId,
    /// How many entries.
    #[n(1)]
    pub length: u64,
    /// The link over them.
    #[n(2)]
    pub link: Digest,
}

/// A version and the hash of what has it, in a summary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, minicbor::Encode, minicbor::Decode)]
pub struct VersionRow {
    /// The version.
    #[n(0)]
    pub version: u64,
    /// The hash of the content.
    #[n(1)]
    pub hash: Digest,
}

/// A timestamper's newest version, in a summary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, minicbor::Encode, minicbor::Decode)]
pub struct TimestampRow {
    /// Who signed.
    #[n(0)]
    pub timestamper: SignerId,
    /// Its version.
    #[n(1)]
    pub version: u64,
}

/// What a node holds, in a few hundred bytes: two nodes compare these to see who lacks what.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct HeadSet {
    /// The epoch of the root.
    #[n(1)]
    pub epoch: u64,
    /// The root.
    #[n(2)]
    pub root: VersionRow,
    /// The bundle in force.
    #[n(3)]
    pub bundle: Option<VersionRow>,
    /// The logs that are not empty, by admin.
    #[n(4)]
    pub logs: Vec<LogRow>,
    /// The newest timestamps, by timestamper.
    #[n(5)]
    pub timestamps: Vec<TimestampRow>,
}

impl HeadSet {
    /// Whether its lists are within bounds; decoding alone does not ask.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        self.logs.len() <= 2 * MAX_LOGS && self.timestamps.len() <= MAX_ROLE_KEYS
    }
}
