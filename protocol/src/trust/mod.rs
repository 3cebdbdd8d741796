//! Trust documents: who may say what in a mesh.
//!
//! Each is a COSE_Sign over deterministic CBOR with a content type of its own. The exact bytes
//! received are what is verified, stored and forwarded; hashes cover content, never signatures,
//! so documents signed by different subsets of admins are one document.
//!
//! [`TrustState`] holds what is in force and is the only code that takes a newer document.

pub mod admission;
pub mod bundle;
pub mod card;
pub mod changes;
pub mod dating;
pub mod document;
pub mod facts;
pub mod issuer_rate;
pub mod joining;
pub mod membership;
pub mod node_record;
pub mod posture;
pub mod proposal;
pub mod revocation;
pub mod revoked;
pub mod root;
pub mod state;
pub mod threshold;
pub mod ticket;
pub mod timestamp;

pub use admission::{Admission, IssuerNode, PeerAddress};
pub use bundle::{Bundle, BundleBody, BundleHead};
pub use card::{Role, SignerCard};
pub use document::{Document, HeadSet};
pub use facts::{MemberFacts, PostureFacts, RecordFacts, ServerFacts, ToolFacts};
pub use issuer_rate::IssuerRates;
pub use membership::{Membership, MembershipRequest, VerifiedMembership, VerifiedRequest};
pub use node_record::{NodeRecord, ServerRecord, ToolRecord};
pub use posture::Posture;
pub use proposal::{Proposal, ProposalError, Proposed, Signatures};
pub use revocation::{Act, Entry, LogHead};
pub use revoked::{Cause, Revoked};
pub use root::{Issuer, Retired, RoleHost, Root, VerifiedRoot};
pub use state::{Change, ForkOf, Freshness, Kept, Missing, Offer, TrustState};
pub use threshold::Pending;
pub use ticket::{MacKey, Ticket, TicketError, TicketSecret};
pub use timestamp::{Timestamp, VerifiedTimestamp};

/// The exact bytes of a document as received, kept once and shared.
pub type Bytes = std::sync::Arc<[u8]>;

use crate::codec::{self, CodecError};
use crate::cose::{self, CoseError, CoseSign};
use crate::crypto::{Crypto, CryptoError, Signer, domain};
use crate::id::Digest;
use crate::limits::MAX_DOCUMENT_BYTES;
use crate::time::UnixSeconds;

/// Why a trust document is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// Not the one encoding of a signed document, or its signatures do not hold.
    #[error(transparent)]
    Cose(#[from] CoseError),
    /// The header or the content is not the one encoding of this kind of document.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// Another kind of document.
    #[error("another kind of document than expected")]
    ContentType,
    /// A suite that is not known here.
    #[error("suite {0} is unknown")]
    Suite(u8),
    /// A field is empty, over its bound, repeated or contradicts another.
    #[error("field `{0}` is empty, out of bounds, repeated or contradictory")]
    Field(&'static str),
    /// Of another mesh.
    #[error("it belongs to another mesh")]
    ForeignMesh,
    /// The node id is not the hash of the TLS key in the document.
    #[error("the node id does not belong to the key")]
    KeyMismatch,
    /// Its issuer is not one the root names.
    #[error("its issuer is not named by the root")]
    UnknownIssuer,
    /// It grants what its issuer may not grant.
    #[error("its issuer may not grant this: {0}")]
    BeyondIssuer(&'static str),
    /// Its issuer has signed another content with the same sequence.
    #[error("its issuer has signed two memberships with sequence {0}")]
    IssuerEquivocates(u64),
    /// Its issuer has signed more than it may within an hour.
    #[error("its issuer signs more than {0} memberships an hour")]
    IssuerTooFast(u64),
    /// Not valid yet.
    #[error("not valid before {since}", since = .0.0)]
    NotYetValid(UnixSeconds),
    /// Not valid any more.
    #[error("expired at {at}", at = .0.0)]
    Expired(UnixSeconds),
    /// A node record that is not valid any more.
    #[error("the record expired at {at}", at = .0.0)]
    RecordExpired(UnixSeconds),
    /// A node record issued later than any honest clock says: it could outlive every bound on its
    /// life.
    #[error("the record was issued at {at}, ahead of the local clock", at = .0.0)]
    RecordFuture(UnixSeconds),
    /// A root that is not the next after the one it is offered to.
    #[error("root version {found} where {expected} is next")]
    NotNextRoot {
        /// The version that would follow.
        expected: u64,
        /// The version found.
        found: u64,
    },
    /// A root that does not name the root before it by its hash.
    #[error("the root does not follow from the one before it")]
    Unchained,
    /// Of another epoch than the root in force.
    #[error("of epoch {found}, in force is {expected}")]
    WrongEpoch {
        /// The epoch in force.
        expected: u64,
        /// The epoch found.
        found: u64,
    },
    /// A version so far ahead that taking it would use up the versions.
    #[error("version {found} is too far ahead of {held}")]
    VersionJump {
        /// The version in force.
        held: u64,
        /// The version found.
        found: u64,
    },
    /// A timestamp further ahead of the local clock than clocks may differ.
    #[error("the timestamp is of {at}, ahead of the local clock\nhint: check the clock of this host", at = .0.0)]
    TimestampAhead(UnixSeconds),
    /// Entries that do not lead to the signed head of their log.
    #[error("the entries do not lead to the signed head of the log")]
    BrokenChain,
    /// A body that is not the one the signed head of a bundle names.
    #[error("the body is not the one the head of the bundle names")]
    WrongBody,
    /// A signature by somebody who has signed this document already.
    #[error("this key has signed it already")]
    AlreadySigned,
}

impl TrustError {
    /// The stable name of the refusal.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Cose(e) => e.reason(),
            Self::Codec(e) => e.reason(),
            Self::ContentType => "wrong_content_type",
            Self::Suite(_) => "unknown_suite",
            Self::Field(_) => "bad_document_field",
            Self::ForeignMesh => "foreign_mesh",
            Self::KeyMismatch => "key_mismatch",
            Self::UnknownIssuer => "unknown_membership_issuer",
            Self::BeyondIssuer(_) => "beyond_issuer_limits",
            Self::IssuerEquivocates(_) => "issuer_equivocates",
            Self::IssuerTooFast(_) => "issuer_too_fast",
            Self::NotYetValid(_) => "membership_not_yet_valid",
            Self::Expired(_) => "membership_expired",
            Self::RecordExpired(_) => "record_expired",
            Self::RecordFuture(_) => "record_issued_in_future",
            Self::NotNextRoot { .. } => "not_next_root",
            Self::Unchained => "root_unchained",
            Self::WrongEpoch { .. } => "wrong_epoch",
            Self::VersionJump { .. } => "version_jump",
            Self::TimestampAhead(_) => "timestamp_ahead",
            Self::BrokenChain => "revocation_chain_broken",
            Self::WrongBody => "bundle_body_mismatch",
            Self::AlreadySigned => "already_signed",
        }
    }
}

/// The protected header of a trust document.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
struct DocumentHeader {
    #[n(3)]
    content_type: String,
}

/// The protected header of a document of this content type, encoded.
fn document_header(content_type: &str) -> Vec<u8> {
    codec::encode(&DocumentHeader {
        content_type: content_type.to_owned(),
    })
}

/// The hash by which documents name one another: over content type and content, never over
/// signatures.
pub(crate) fn document_hash(crypto: &dyn Crypto, content_type: &str, payload: &[u8]) -> Digest {
    Digest::over(
        crypto,
        domain::DOCUMENT,
        &[content_type.as_bytes(), payload],
    )
}

/// Signs `content` under the header of its content type by every one of `signers`.
pub(crate) fn sign_document<T: minicbor::Encode<()>>(
    crypto: &dyn Crypto,
    signers: &[&dyn Signer],
    content_type: &str,
    content: &T,
    external_aad: &[u8],
) -> Result<Vec<u8>, CryptoError> {
    let header = document_header(content_type);
    cose::sign(
        crypto,
        signers,
        &header,
        &codec::encode(content),
        external_aad,
    )
}

/// Parses shape, content type and content; verifies nothing.
pub(crate) fn parse_document<'a, T>(
    bytes: &'a [u8],
    content_type: &str,
) -> Result<(CoseSign<'a>, T), TrustError>
where
    T: minicbor::Decode<'a, ()> + minicbor::Encode<()>,
{
    let cose = CoseSign::parse(bytes, MAX_DOCUMENT_BYTES)?;
    let header: DocumentHeader = codec::decode(cose.protected, MAX_DOCUMENT_BYTES)?;
    if header.content_type != content_type {
        return Err(TrustError::ContentType);
    }
    let content = codec::decode(cose.payload, MAX_DOCUMENT_BYTES)?;
    Ok((cose, content))
}

fn unique<T: PartialEq>(items: &[T]) -> bool {
    items
        .iter()
        .enumerate()
        .all(|(i, a)| items.iter().skip(i + 1).all(|b| a != b))
}
