//! Questions about held calls that relays carry: along a signed route, sealed both ways.
//!
//! A node that is reached over relays only is asked over them. The asker signs a question with its
//! route and seals what it asks to the holder's key; what comes back is sealed by the secret that
//! only those two have, so that it opens proves the holder. Relays see who asks whom, when and how
//! much. A copy of a question gets its sender nothing: what comes back opens for the asker alone,
//! and an answer to a held call counts once.
//!
//! Every part of it is bounded by [`MAX_RELAYED_QUESTION_BYTES`].

use crate::codec::{self, CodecError};
use crate::cose::{CoseError, CoseSign};
use crate::crypto::sealing::{Opener, SealedChannel, Sealer, Way};
use crate::crypto::{Crypto, CryptoError, Signer, SigningSet, domain, domain::content_type};
use crate::envelope::sealing::{self, Sealed, key_digest};
use crate::id::{MeshId, NodeId};
use crate::limits::{MAX_CLOCK_AHEAD_S, MAX_ENVELOPE_LIFE_S, MAX_ROUTE_HOPS};
use crate::time::UnixMillis;
use crate::trust::{TrustError, parse_document, sign_document};

/// Largest relayed question: the longest answer, an encapsulation (1.1 kB) and one pair of
/// signatures (3.5 kB).
pub const MAX_RELAYED_QUESTION_BYTES: usize = super::MAX_ANSWER_BYTES + 8 * 1024;

/// How long after it was signed a question is carried and taken, in seconds: as an envelope.
pub const MAX_QUESTION_LIFE_S: u64 = MAX_ENVELOPE_LIFE_S;

/// The one sequence of each way.
const SEQUENCE: u64 = 0;

/// The content of a relayed question.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct RelayedQuestion {
    /// The mesh.
    #[n(1)]
    pub mesh: MeshId,
    /// From the node that asks, and signs, to the one asked: three nodes or four, each once.
    #[n(2)]
    pub route: Vec<NodeId>,
    /// When it was signed, by the asker's clock.
    #[n(3)]
    pub at: UnixMillis,
    /// To which key it is sealed.
    #[n(4)]
    pub sealed: Sealed,
    /// What is asked, sealed.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub question: Vec<u8>,
}

/// What is authenticated beside what is sealed, each way.
#[derive(minicbor::Encode)]
#[cbor(map)]
struct Beside<'a> {
    #[n(1)]
    mesh: &'a MeshId,
    #[n(2)]
    route: &'a [NodeId],
    #[n(3)]
    at: UnixMillis,
}

/// Why a relayed question is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RelayedError {
    /// It is none, or its signatures do not hold.
    #[error(transparent)]
    Document(#[from] TrustError),
    /// Its route has too few nodes or too many, or one of them twice.
    #[error("a route of {0} nodes, or one that repeats a node")]
    Route(usize),
    /// The receiver is not on its route, or begins it.
    #[error("this node is not on the route")]
    NotOnRoute,
    /// The node before the receiver is not who delivered it.
    #[error("node {} delivered it, which the route does not name before this one", .0.short())]
    PreviousHop(NodeId),
    /// Signed too long ago.
    #[error("signed more than {MAX_QUESTION_LIFE_S} s ago; check the clocks")]
    Expired,
    /// Signed later than an honest clock says.
    #[error("signed ahead of this node's clock; check the clocks")]
    Future,
    /// Sealed to a key that the node asked does not have (any more).
    #[error("sealed to a key that is not kept any more; ask again")]
    KeyUnknown,
    /// What is sealed does not open.
    #[error("what is sealed does not open")]
    Sealed,
}

impl RelayedError {
    /// The stable name of the refusal.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Document(e) => e.reason(),
            Self::Route(_) => "bad_route",
            Self::NotOnRoute => "not_on_route",
            Self::PreviousHop(_) => "wrong_previous_hop",
            Self::Expired => "expired",
            Self::Future => "issued_in_future",
            Self::KeyUnknown => "sealing_key_unknown",
            Self::Sealed => "sealed_payload_invalid",
        }
    }
}

impl From<CodecError> for RelayedError {
    fn from(error: CodecError) -> Self {
        Self::Document(error.into())
    }
}

impl From<CoseError> for RelayedError {
    fn from(error: CoseError) -> Self {
        Self::Document(error.into())
    }
}

impl RelayedQuestion {
    /// Reads a question and checks its mesh and its route, and nothing else.
    ///
    /// # Errors
    /// [`RelayedError`].
    pub fn parse(mesh: MeshId, bytes: &[u8]) -> Result<Self, RelayedError> {
        Self::read(mesh, bytes).map(|(_, question)| question)
    }

    fn read(mesh: MeshId, bytes: &[u8]) -> Result<(CoseSign<'_>, Self), RelayedError> {
        if bytes.len() > MAX_RELAYED_QUESTION_BYTES {
            let (max, found) = (MAX_RELAYED_QUESTION_BYTES, bytes.len());
            return Err(CodecError::Oversized { max, found }.into());
        }
        let (cose, question) = parse_document::<Self>(bytes, content_type::RELAYED_QUESTION)?;
        if question.mesh != mesh {
            return Err(TrustError::ForeignMesh.into());
        }
        let nodes = question.route.len();
        let mut seen = question.route.iter().enumerate();
        let repeats = seen.any(|(i, node)| question.route.iter().skip(i + 1).any(|n| n == node));
        if !(3..=MAX_ROUTE_HOPS).contains(&nodes) || repeats {
            return Err(RelayedError::Route(nodes));
        }
        if !question.sealed.is_well_formed() {
            return Err(RelayedError::Sealed);
        }
        Ok((cose, question))
    }

    /// Verifies the signatures under `question` by `set`, the signing set of who asks.
    ///
    /// # Errors
    /// [`RelayedError`].
    pub fn verify(
        crypto: &dyn Crypto,
        mesh: MeshId,
        set: &SigningSet,
        bytes: &[u8],
    ) -> Result<(), RelayedError> {
        let (cose, _) = Self::read(mesh, bytes)?;
        Ok(cose.verify_one(crypto, set, mesh.as_bytes())?)
    }

    /// Who asks.
    ///
    /// # Errors
    /// [`RelayedError::Route`] without a route.
    pub fn asker(&self) -> Result<NodeId, RelayedError> {
        self.route.first().copied().ok_or(RelayedError::Route(0))
    }

    /// The node after `me`, which `peer` delivered it to; `None` where `me` is who is asked.
    ///
    /// # Errors
    /// [`RelayedError::NotOnRoute`], [`RelayedError::PreviousHop`].
    pub fn next_after(&self, me: NodeId, peer: NodeId) -> Result<Option<NodeId>, RelayedError> {
        let place = self.route.iter().position(|node| *node == me);
        let before = place.and_then(|place| Some((place, place.checked_sub(1)?)));
        let (place, before) = before.ok_or(RelayedError::NotOnRoute)?;
        if self.route.get(before) != Some(&peer) {
            return Err(RelayedError::PreviousHop(peer));
        }
        Ok(self.route.get(place + 1).copied())
    }

    /// Whether it was signed lately, by the clock of who takes it.
    ///
    /// # Errors
    /// [`RelayedError::Expired`], [`RelayedError::Future`].
    pub fn check_time(&self, now: UnixMillis) -> Result<(), RelayedError> {
        let (at, now) = (self.at.seconds(), now.seconds());
        if at > now.plus(MAX_CLOCK_AHEAD_S) {
            return Err(RelayedError::Future);
        }
        if now > at.plus(MAX_QUESTION_LIFE_S) {
            return Err(RelayedError::Expired);
        }
        Ok(())
    }

    fn beside(&self) -> Vec<u8> {
        beside(&self.mesh, &self.route, self.at)
    }
}

fn beside(mesh: &MeshId, route: &[NodeId], at: UnixMillis) -> Vec<u8> {
    codec::encode(&Beside { mesh, route, at })
}

/// The asker's end: opens what comes back.
pub struct Asking {
    channel: Box<dyn SealedChannel>,
    beside: Vec<u8>,
}

impl Asking {
    /// Seals `question` to `key`, the sealing key of the node at the end of `route`, and signs it.
    /// Returns what opens the reply, and what to send.
    ///
    /// # Errors
    /// [`CryptoError`] for a malformed key, without randomness, or if a signature was not made.
    pub fn begin(
        primitives: (&dyn Sealer, &dyn Crypto),
        signer: &dyn Signer,
        (mesh, route, at): (MeshId, Vec<NodeId>, UnixMillis),
        key: &[u8],
        question: &[u8],
    ) -> Result<(Self, Vec<u8>), CryptoError> {
        let (sealer, crypto) = primitives;
        let (enc, channel) = sealer.seal_to(key, &info(&mesh))?;
        let beside = beside(&mesh, &route, at);
        let question = channel.seal(Way::Forward, SEQUENCE, &beside, question)?;
        let sealed = Sealed {
            key: key_digest(crypto, key),
            enc,
        };
        let content = RelayedQuestion {
            mesh,
            route,
            at,
            sealed,
            question,
        };
        let aad = mesh.as_bytes();
        let kind = content_type::RELAYED_QUESTION;
        let signed = sign_document(crypto, &[signer], kind, &content, aad)?;
        Ok((Self { channel, beside }, signed))
    }

    /// What was replied.
    ///
    /// # Errors
    /// [`RelayedError::Sealed`] for everything that the node asked did not seal for this question.
    pub fn open(&self, reply: &[u8]) -> Result<Vec<u8>, RelayedError> {
        self.channel
            .open(Way::Back, SEQUENCE, &self.beside, reply)
            .map_err(|_| RelayedError::Sealed)
    }
}

/// The end of who is asked: seals one reply.
pub struct Replying {
    channel: Box<dyn SealedChannel>,
    beside: Vec<u8>,
}

impl Replying {
    /// Opens what is asked by the key it was sealed to.
    ///
    /// # Errors
    /// [`RelayedError::Sealed`] if it does not open.
    pub fn take_up(
        key: &dyn Opener,
        question: &RelayedQuestion,
    ) -> Result<(Self, Vec<u8>), RelayedError> {
        let opened = || {
            let channel = key.open_from(&question.sealed.enc, &info(&question.mesh))?;
            let beside = question.beside();
            let asked = channel.open(Way::Forward, SEQUENCE, &beside, &question.question)?;
            Ok((Self { channel, beside }, asked))
        };
        opened().map_err(|_: CryptoError| RelayedError::Sealed)
    }

    /// Seals the one reply.
    ///
    /// # Errors
    /// [`CryptoError`] if the library refuses.
    pub fn seal(self, reply: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.channel.seal(Way::Back, SEQUENCE, &self.beside, reply)
    }
}

/// HPKE's `info` of a sealed question.
fn info(mesh: &MeshId) -> Vec<u8> {
    sealing::labelled(domain::SEALED_QUESTION, mesh)
}
