//! From received bytes to a verified envelope, in the order that costs a forger most and us least.

use super::{CallSeal, Direction, Header, HeaderError, Payload, body_digest, envelope_id};
use crate::codec::{self, CodecError};
use crate::cose::{CoseError, CoseSign};
use crate::crypto::{Crypto, SigningSet};
use crate::id::{EnvelopeId, MeshId, NodeId, Salt};
use crate::limits;
use crate::time::{UnixMillis, UnixSeconds};

/// Why an envelope is refused before anything acts on it. Each has its own stable name
/// ([`Refusal::reason`]), which is what peers are told and what is counted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not the one encoding of an envelope, or wrongly, half or doubly signed.
    #[error(transparent)]
    Cose(#[from] CoseError),
    /// The header is not the one encoding of a header.
    #[error("header: {0}")]
    HeaderCodec(CodecError),
    /// The payload is not the one encoding of salt and body.
    #[error("payload: {0}")]
    PayloadCodec(CodecError),
    /// The header contradicts itself or exceeds a bound.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// Of another mesh.
    #[error("it belongs to another mesh, {0}")]
    ForeignMesh(MeshId),
    /// For another node.
    #[error("it is addressed to another node, {0}")]
    WrongAudience(NodeId),
    /// Its issuer is not the peer that must have issued it here.
    #[error("it was issued by {0}, not by the peer it came from")]
    WrongIssuer(NodeId),
    /// It travels the wrong way for this end of the stream.
    #[error("it travels in the wrong direction")]
    WrongDirection,
    /// Its issuer has no valid membership known here.
    #[error("its issuer {0} has no valid membership here")]
    UnknownIssuer(NodeId),
    /// Expired.
    #[error("it expired at {exp}, now is {now}", exp = exp.0, now = now.0)]
    Expired {
        /// Its expiry.
        exp: UnixSeconds,
        /// The local time.
        now: UnixSeconds,
    },
    /// Issued in the future.
    #[error("it was issued at {iat}, {ahead} s ahead of the local clock", iat = iat.0)]
    Future {
        /// When it says it was issued.
        iat: UnixSeconds,
        /// How far ahead of the local clock.
        ahead: u64,
    },
    /// The body does not have the digest the header says.
    #[error("the body does not match the digest in the header")]
    BodyDigest,
    /// It came from another node than the one before the receiver on its route.
    #[error("it came from {0}, which is not the node before this one on its route")]
    WrongPreviousHop(NodeId),
    /// The receiver is no relay of its route.
    #[error("this node is no relay on its route")]
    NotOnRoute,
    /// It takes another route than the call it belongs to.
    #[error("it takes another route than its call")]
    OtherRoute,
    /// It is sealed to a key this node has not, or has no more.
    #[error("it is sealed to a key this node does not have")]
    SealingKeyUnknown,
    /// Its payload does not open.
    #[error("its sealed payload does not open")]
    SealedPayload,
    /// Seen before, or issued before this node could know what it has seen.
    #[error(transparent)]
    Replay(#[from] super::replay::ReplayError),
    /// Out of order, missing, or of another call.
    #[error(transparent)]
    Stream(#[from] super::stream::StreamError),
}

impl Refusal {
    /// The stable name of the refusal.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Cose(e) => e.reason(),
            Self::HeaderCodec(e) | Self::PayloadCodec(e) => e.reason(),
            Self::Header(e) => e.reason(),
            Self::ForeignMesh(_) => "foreign_mesh",
            Self::WrongAudience(_) => "wrong_audience",
            Self::WrongIssuer(_) => "wrong_issuer",
            Self::WrongDirection => "wrong_direction",
            Self::UnknownIssuer(_) => "unknown_issuer",
            Self::Expired { .. } => "expired",
            Self::Future { .. } => "issued_in_future",
            Self::BodyDigest => "body_digest_mismatch",
            Self::WrongPreviousHop(_) => "wrong_previous_hop",
            Self::NotOnRoute => "not_on_route",
            Self::OtherRoute => "other_route",
            Self::SealingKeyUnknown => "sealing_key_unknown",
            Self::SealedPayload => "sealed_payload_invalid",
            Self::Replay(e) => e.reason(),
            Self::Stream(e) => e.reason(),
        }
    }
}

/// What the receiver expects of the next envelope on a stream.
#[derive(Debug, Clone, Copy)]
pub struct Expectation {
    /// The receiver's mesh.
    pub mesh: MeshId,
    /// The receiver.
    pub audience: NodeId,
    /// The peer that must have issued it: on a direct link the peer itself.
    pub issuer: NodeId,
    /// The way it must travel.
    pub direction: Direction,
    /// The local time.
    pub now: UnixMillis,
}

/// What a relay expects of the next envelope on a stream.
#[derive(Debug, Clone, Copy)]
pub struct Crossing {
    /// The relay's mesh.
    pub mesh: MeshId,
    /// The relay.
    pub relay: NodeId,
    /// The peer it came from.
    pub peer: NodeId,
    /// The way it must travel.
    pub direction: Direction,
    /// The local time.
    pub now: UnixMillis,
}

/// A parsed envelope nobody has verified: only its header may be looked at, to decide whether a
/// signature is worth checking.
#[derive(Debug, Clone)]
pub struct UnverifiedEnvelope<'a> {
    cose: CoseSign<'a>,
    header: Header,
}

impl<'a> UnverifiedEnvelope<'a> {
    /// Parses the shape: COSE, header and bounds, nothing else.
    ///
    /// # Errors
    /// Everything that is not exactly one well-formed envelope with one full pair of signatures.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Refusal> {
        let cose = CoseSign::parse(bytes, limits::MAX_ENVELOPE_BYTES)?;
        cose.single_signer()?;
        let header: Header = codec::decode(cose.protected, limits::MAX_HEADER_BYTES)
            .map_err(Refusal::HeaderCodec)?;
        header.validate()?;
        Ok(Self { cose, header })
    }

    /// The header, unverified.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The identifier these bytes have, verified or not.
    #[must_use]
    pub fn id(&self, crypto: &dyn Crypto) -> EnvelopeId {
        let mesh = self.header.claims.mesh;
        envelope_id(crypto, &mesh, self.cose.protected, self.cose.payload)
    }

    /// The checks that need no signature: mesh, audience, issuer, direction, time.
    ///
    /// # Errors
    /// The first that fails.
    pub fn check(&self, expected: &Expectation) -> Result<(), Refusal> {
        let (cwt, claims) = (&self.header.cwt, &self.header.claims);
        if claims.mesh != expected.mesh {
            return Err(Refusal::ForeignMesh(claims.mesh));
        }
        if cwt.aud != expected.audience {
            return Err(Refusal::WrongAudience(cwt.aud));
        }
        if cwt.iss != expected.issuer {
            return Err(Refusal::WrongIssuer(cwt.iss));
        }
        if claims.direction != expected.direction {
            return Err(Refusal::WrongDirection);
        }
        self.check_time(expected.now)
    }

    /// As [`UnverifiedEnvelope::check`], at a relay: mesh, the relay's place between its
    /// neighbours on the route, direction, time. Returns that place, counted from 0 at the issuer.
    ///
    /// # Errors
    /// The first that fails.
    pub fn check_crossing(&self, expected: &Crossing) -> Result<usize, Refusal> {
        let claims = &self.header.claims;
        if claims.mesh != expected.mesh {
            return Err(Refusal::ForeignMesh(claims.mesh));
        }
        let place = self.place_after(expected.relay, expected.peer)?;
        // Its ends are no relays, whoever delivers it.
        if place == 0 || place + 1 >= claims.route.len() {
            return Err(Refusal::NotOnRoute);
        }
        if claims.direction != expected.direction {
            return Err(Refusal::WrongDirection);
        }
        self.check_time(expected.now)?;
        Ok(place)
    }

    /// The receiver's place on the route, if the node before it is `peer`.
    ///
    /// # Errors
    /// [`Refusal::NotOnRoute`], [`Refusal::WrongPreviousHop`].
    pub fn place_after(&self, receiver: NodeId, peer: NodeId) -> Result<usize, Refusal> {
        let route = &self.header.claims.route;
        let place = route.iter().position(|node| *node == receiver);
        let place = place.ok_or(Refusal::NotOnRoute)?;
        let previous = place.checked_sub(1).and_then(|before| route.get(before));
        // What a node sends to itself has nobody before it.
        if *previous.unwrap_or(&receiver) != peer {
            return Err(Refusal::WrongPreviousHop(peer));
        }
        Ok(place)
    }

    fn check_time(&self, now: UnixMillis) -> Result<(), Refusal> {
        let cwt = &self.header.cwt;
        let now = now.seconds();
        if cwt.iat > now.plus(limits::MAX_CLOCK_AHEAD_S) {
            return Err(Refusal::Future {
                iat: cwt.iat,
                ahead: cwt.iat.0 - now.0,
            });
        }
        if now >= cwt.exp {
            return Err(Refusal::Expired { exp: cwt.exp, now });
        }
        Ok(())
    }

    /// Verifies both signatures under `signer`, the signing set that the issuer's membership
    /// binds. What it holds stays closed: [`SignedEnvelope::open`].
    ///
    /// # Errors
    /// A key id of another set, a signature that does not verify.
    pub fn verify_signatures(
        self,
        crypto: &dyn Crypto,
        signer: &SigningSet,
    ) -> Result<SignedEnvelope<'a>, Refusal> {
        let mesh = self.header.claims.mesh;
        self.cose.verify_one(crypto, signer, mesh.as_bytes())?;
        let id = self.id(crypto);
        Ok(SignedEnvelope {
            id,
            header: self.header,
            payload: self.cose.payload,
        })
    }

    /// Verifies both signatures under `signer`, the signing set that the issuer's membership
    /// binds, and the body digest. For envelopes that are not sealed.
    ///
    /// # Errors
    /// A key id of another set, a signature that does not verify, a payload that is sealed, or is
    /// not salt and body, or does not match the header.
    pub fn verify(
        self,
        crypto: &dyn Crypto,
        signer: &SigningSet,
    ) -> Result<VerifiedEnvelope, Refusal> {
        self.verify_signatures(crypto, signer)?.open(crypto, None)
    }
}

/// An envelope whose two signatures and key binding hold, and whose payload nobody has looked at:
/// what a relay has. Only [`UnverifiedEnvelope::verify_signatures`] makes one.
#[derive(Debug, Clone)]
pub struct SignedEnvelope<'a> {
    id: EnvelopeId,
    header: Header,
    payload: &'a [u8],
}

impl SignedEnvelope<'_> {
    /// Its identifier.
    #[must_use]
    pub const fn id(&self) -> EnvelopeId {
        self.id
    }

    /// Its header.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The header alone, which is all that outlives the bytes.
    #[must_use]
    pub fn into_header(self) -> Header {
        self.header
    }

    /// Opens the payload, with `call` where it is sealed, and checks the body digest.
    ///
    /// # Errors
    /// A payload that is sealed and does not open with `call`, is not salt and body, or does not
    /// match the header.
    pub fn open(
        self,
        crypto: &dyn Crypto,
        call: Option<&CallSeal>,
    ) -> Result<VerifiedEnvelope, Refusal> {
        let opened = if self.header.is_sealed() {
            let call = call.ok_or(Refusal::SealingKeyUnknown)?;
            let opened = call.open(&self.header, self.payload);
            Some(opened.map_err(|_| Refusal::SealedPayload)?)
        } else {
            None
        };
        let payload = opened.as_deref().unwrap_or(self.payload);
        Self::verified(self.id, self.header, crypto, payload)
    }

    /// Takes for the sealed payload what one of its ends kept when it opened it: the header binds
    /// salt and body by their digest.
    ///
    /// # Errors
    /// A payload that is not salt and body, or does not match the header.
    pub fn disclosed(
        self,
        crypto: &dyn Crypto,
        payload: &[u8],
    ) -> Result<VerifiedEnvelope, Refusal> {
        Self::verified(self.id, self.header, crypto, payload)
    }

    fn verified(
        id: EnvelopeId,
        header: Header,
        crypto: &dyn Crypto,
        payload: &[u8],
    ) -> Result<VerifiedEnvelope, Refusal> {
        let payload: Payload =
            codec::decode(payload, limits::MAX_ENVELOPE_BYTES).map_err(Refusal::PayloadCodec)?;
        if payload.body.len() > limits::MAX_MESSAGE_BYTES {
            let (max, found) = (limits::MAX_MESSAGE_BYTES, payload.body.len());
            return Err(Refusal::PayloadCodec(CodecError::Oversized { max, found }));
        }
        if body_digest(crypto, &payload.salt, &payload.body) != header.claims.body_digest {
            return Err(Refusal::BodyDigest);
        }
        Ok(VerifiedEnvelope {
            id,
            header,
            salt: payload.salt,
            body: payload.body,
        })
    }
}

/// An envelope whose two signatures, key binding and body digest hold. Only
/// [`SignedEnvelope::open`] and [`SignedEnvelope::disclosed`] make one.
#[derive(Debug, Clone)]
pub struct VerifiedEnvelope {
    id: EnvelopeId,
    header: Header,
    salt: Salt,
    body: Vec<u8>,
}

impl VerifiedEnvelope {
    /// Its identifier.
    #[must_use]
    pub const fn id(&self) -> EnvelopeId {
        self.id
    }

    /// Its header.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The salt of its body, which whoever shows the body of a sealed one shows too.
    #[must_use]
    pub const fn salt(&self) -> &Salt {
        &self.salt
    }

    /// The exact bytes of the JSON-RPC message.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The message, by value.
    #[must_use]
    pub fn into_body(self) -> Vec<u8> {
        self.body
    }
}
