//! What nodes say to each other on sync streams, byte for byte.
//!
//! A message is `[kind, content]` in deterministic CBOR of at most [`MAX_SYNC_FRAME`] bytes.
//! Reading one checks shape and bounds and nothing else: the documents inside are bytes until the
//! trust state judges them.

use minicbor::{Decode, Encode};

use super::head::{HeadSet, LogRow};
use super::pull::PullId;
use crate::codec;
use crate::id::{Digest, SignerId};
use crate::trust::TrustError;

/// Largest message. A chunk of a body and its head fit, and so do three roots of the largest kind.
pub const MAX_SYNC_FRAME: usize = 1 << 20;

/// Most byte strings in one list: entries of a log, roots, acknowledgements. It bounds what a
/// megabyte of empty strings would cost in memory.
pub const MAX_LIST: usize = 16_384;

pub use crate::trust::Bytes;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum Message {
    /// What the sender holds.
    #[n(1)]
    Heads(#[n(0)] Heads),
    /// A document that the receiver is not known to hold.
    #[n(2)]
    Head(#[n(0)] Head),
    /// A request for a part of something large. Answered by one [`Message::Body`].
    #[n(3)]
    Fetch(#[n(0)] Want),
    /// The answer to a [`Message::Fetch`].
    #[n(4)]
    Body(#[n(0)] Part),
    /// A request for acknowledgements, passed on to everyone.
    #[n(5)]
    PullAcks(#[n(0)] PullAcks),
    /// Acknowledgements, on their way back to who pulled.
    #[n(6)]
    Acks(#[n(0)] Acks),
    /// A node record, as signed: carried for the directory, not looked at here.
    #[n(7)]
    NodeRecord(#[cbor(n(0), with = "shared")] Bytes),
    /// Who asked for acknowledgements wants no more; passed on to everyone who was asked.
    #[n(8)]
    EndPull(#[n(0)] PullId),
    /// A node had no room for a request for acknowledgements; on its way back to who pulled.
    #[n(9)]
    PullRefused(#[n(0)] PullId),
}

/// What the sender holds, and whether it asks the same of the receiver.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Heads {
    /// What it holds.
    #[n(1)]
    pub heads: HeadSet,
    /// Whether the receiver is to answer with its own.
    #[n(2)]
    pub answer: bool,
}

/// A signed head, with what belongs to it where that is small.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum Head {
    /// A root, as signed.
    #[n(1)]
    Root(#[cbor(n(0), with = "shared")] Bytes),
    /// A bundle.
    #[n(2)]
    Bundle(#[n(0)] BundlePush),
    /// A revocation log.
    #[n(3)]
    Log(#[n(0)] LogPush),
    /// A timestamp.
    #[n(4)]
    Timestamp(#[n(0)] TimestampPush),
}

/// A bundle's head, with its body unless that is to be fetched.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct BundlePush {
    /// The head, as signed.
    #[cbor(n(1), with = "shared")]
    pub head: Bytes,
    /// The body.
    #[cbor(n(2), with = "optional", has_nil)]
    pub body: Option<Bytes>,
}

/// A log's head, with the entries the receiver is thought to lack unless they are to be fetched.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LogPush {
    /// Whose log.
    #[n(1)]
    pub admin: SignerId,
    /// The head, as signed.
    #[cbor(n(2), with = "shared")]
    pub head: Bytes,
    /// The index of the first entry that follows.
    #[n(3)]
    pub from: u64,
    /// Entries, each encoded.
    #[cbor(n(4), with = "list")]
    pub entries: Vec<Bytes>,
}

/// A timestamp.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct TimestampPush {
    /// Whose; what counts is the signature.
    #[n(1)]
    pub timestamper: SignerId,
    /// The timestamp, as signed.
    #[cbor(n(2), with = "shared")]
    pub document: Bytes,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum Want {
    /// The roots after a version, in order.
    #[n(1)]
    Roots {
        /// The version of the first.
        #[n(0)]
        from: u64,
    },
    /// A bundle's body from an offset.
    #[n(2)]
    Body {
        /// Its digest.
        #[n(0)]
        digest: Digest,
        /// The offset in bytes.
        #[n(1)]
        offset: u64,
    },
    /// The entries of a log from an index, up to a state of it.
    #[n(3)]
    Entries {
        /// The state they lead to.
        #[n(0)]
        row: LogRow,
        /// The index of the first.
        #[n(1)]
        from: u64,
    },
}

/// A part of what was asked for; an empty one says that the sender has none or is giving none now.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum Part {
    /// Roots of consecutive versions.
    #[n(1)]
    Roots {
        /// The version of the first.
        #[n(0)]
        from: u64,
        /// The roots, as signed.
        #[cbor(n(1), with = "list")]
        roots: Vec<Bytes>,
    },
    /// Bytes of a bundle's body.
    #[n(2)]
    Body {
        /// The body's digest.
        #[n(0)]
        digest: Digest,
        /// Where they begin.
        #[n(1)]
        offset: u64,
        /// The bytes.
        #[cbor(n(2), with = "shared")]
        bytes: Bytes,
    },
    /// Consecutive entries of a log.
    #[n(3)]
    Entries {
        /// The state they lead to.
        #[n(0)]
        row: LogRow,
        /// The index of the first.
        #[n(1)]
        from: u64,
        /// The entries, each encoded.
        #[cbor(n(2), with = "list")]
        entries: Vec<Bytes>,
    },
}

/// A request for acknowledgements that a log is in force up to a state of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PullAcks {
    /// Random; copies of the request have the same.
    #[n(1)]
    pub id: PullId,
    /// The state that is asked about.
    #[n(2)]
    pub log: LogRow,
    /// How many links further it may travel.
    #[n(3)]
    pub hops: u8,
    /// For how much longer answers are wanted, in milliseconds.
    #[n(4)]
    pub life_ms: u64,
}

/// Acknowledgements on their way back.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Acks {
    /// The request they answer.
    #[n(1)]
    pub id: PullId,
    /// The acknowledgements, as signed.
    #[cbor(n(2), with = "list")]
    pub acks: Vec<Bytes>,
}

impl Message {
    /// Reads one message, strictly.
    ///
    /// # Errors
    /// [`TrustError::Codec`] if `bytes` are not the one encoding of a message of at most
    /// [`MAX_SYNC_FRAME`] bytes, [`TrustError::Field`] if its heads are over their bounds or
    /// unsorted.
    pub fn decode(bytes: &[u8]) -> Result<Self, TrustError> {
        let message: Self = codec::decode(bytes, MAX_SYNC_FRAME)?;
        if let Self::Heads(heads) = &message
            && !heads.heads.is_well_formed()
        {
            return Err(TrustError::Field("heads"));
        }
        Ok(message)
    }

    /// Its one encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// The bytes of the documents, entries and pieces in it: what it takes up in memory and,
    /// within a few dozen bytes per item, on the wire.
    #[must_use]
    pub fn weight(&self) -> usize {
        let all = |list: &[Bytes]| list.iter().map(|item| item.len()).sum::<usize>();
        match self {
            Self::Heads(_)
            | Self::Fetch(_)
            | Self::PullAcks(_)
            | Self::EndPull(_)
            | Self::PullRefused(_) => 0,
            Self::Head(Head::Root(bytes)) | Self::NodeRecord(bytes) => bytes.len(),
            Self::Head(Head::Bundle(push)) => {
                push.head.len() + push.body.as_ref().map_or(0, |body| body.len())
            }
            Self::Head(Head::Log(push)) => push.head.len() + all(&push.entries),
            Self::Head(Head::Timestamp(push)) => push.document.len(),
            Self::Body(Part::Roots { roots, .. }) => all(roots),
            Self::Body(Part::Body { bytes, .. }) => bytes.len(),
            Self::Body(Part::Entries { entries, .. }) => all(entries),
            Self::Acks(acks) => all(&acks.acks),
        }
    }
}

/// [`Bytes`] as a CBOR byte string; for minicbor's `with`.
mod shared {
    use super::Bytes;
    use minicbor::decode::Error as Unread;
    use minicbor::encode::{Error as Unwritten, Write};
    use minicbor::{Decoder, Encoder};

    pub(super) fn encode<C, W: Write>(
        bytes: &Bytes,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), Unwritten<W::Error>> {
        e.bytes(bytes)?.ok()
    }

    pub(super) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Bytes, Unread> {
        d.bytes().map(Bytes::from)
    }
}

/// Optional [`Bytes`]; for minicbor's `with`.
mod optional {
    use super::Bytes;
    use minicbor::decode::Error as Unread;
    use minicbor::encode::{Error as Unwritten, Write};
    use minicbor::{Decoder, Encoder};

    pub(super) fn encode<C, W: Write>(
        bytes: &Option<Bytes>,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), Unwritten<W::Error>> {
        match bytes {
            Some(bytes) => e.bytes(bytes)?.ok(),
            None => e.null()?.ok(),
        }
    }

    pub(super) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Option<Bytes>, Unread> {
        d.bytes().map(|bytes| Some(Bytes::from(bytes)))
    }

    #[expect(clippy::ref_option, reason = "the signature minicbor asks for")]
    pub(super) fn is_nil(bytes: &Option<Bytes>) -> bool {
        bytes.is_none()
    }

    #[expect(clippy::unnecessary_wraps, reason = "the signature minicbor asks for")]
    pub(super) fn nil() -> Option<Option<Bytes>> {
        Some(None)
    }
}

/// A bounded list of [`Bytes`]; for minicbor's `with`.
mod list {
    use super::{Bytes, MAX_LIST};
    use minicbor::decode::Error as Unread;
    use minicbor::encode::{Error as Unwritten, Write};
    use minicbor::{Decoder, Encoder};

    pub(super) fn encode<C, W: Write>(
        list: &[Bytes],
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), Unwritten<W::Error>> {
        e.array(list.len() as u64)?;
        for item in list {
            e.bytes(item)?;
        }
        Ok(())
    }

    pub(super) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Vec<Bytes>, Unread> {
        let at = d.position();
        let length = d.array()?.and_then(|length| usize::try_from(length).ok());
        let length = length
            .filter(|&length| length <= MAX_LIST)
            .ok_or_else(|| Unread::message("a list of too many items").at(at))?;
        (0..length).map(|_| d.bytes().map(Bytes::from)).collect()
    }
}
