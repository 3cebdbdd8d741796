//! The protected header of an envelope: what every hop may read and nobody may change.

use super::sealing::Sealed;
use crate::crypto::{Suite, domain::content_type};
use crate::id::{Cti, Digest, EnvelopeId, MeshId, NodeId, RequestId, SessionId};
use crate::limits;
use crate::name::Name;
use crate::time::UnixSeconds;

/// What a signed object is; inside the header, so that no signature serves two purposes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum DocumentType {
    /// One MCP message.
    #[n(1)]
    Envelope,
}

/// What kind of JSON-RPC message the body is.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    minicbor::Encode,
    minicbor::Decode,
    serde::Serialize,
    serde::Deserialize,
)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Has a method and an id.
    #[n(1)]
    Request,
    /// Has a method and no id.
    #[n(2)]
    Notification,
    /// Has a result or an error.
    #[n(3)]
    Response,
}

/// Which way along the route.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    minicbor::Encode,
    minicbor::Decode,
    serde::Serialize,
    serde::Deserialize,
)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the client's node to the server's.
    #[n(1)]
    ToServer,
    /// From the server's node to the client's.
    #[n(2)]
    ToClient,
}

/// The CWT claims (RFC 9597 header 15, RFC 8392 keys).
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct CwtClaims {
    /// `iss`: the node that signed, as text.
    #[cbor(n(1), with = "crate::codec::node_text")]
    pub iss: NodeId,
    /// `sub`: the agent on whose behalf. (Node, agent) is the principal.
    #[n(2)]
    pub sub: Name,
    /// `aud`: the node it is for, as text.
    #[cbor(n(3), with = "crate::codec::node_text")]
    pub aud: NodeId,
    /// `exp`: refused at and after this second.
    #[n(4)]
    pub exp: UnixSeconds,
    /// `iat`: when it was signed.
    #[n(6)]
    pub iat: UnixSeconds,
    /// `cti`: sixteen random bytes.
    #[n(7)]
    pub cti: Cti,
}

/// Hedgerow's own claims, one map under one private-use header label.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Claims {
    /// The mesh's suite byte ([`Suite::byte`]).
    #[n(1)]
    pub suite: u8,
    /// Always [`DocumentType::Envelope`].
    #[n(2)]
    pub document: DocumentType,
    /// The mesh, so that a foreign envelope is named as such before any signature is checked.
    #[n(3)]
    pub mesh: MeshId,
    /// Request, notification or response.
    #[n(4)]
    pub kind: Kind,
    /// To the server or to the client.
    #[n(5)]
    pub direction: Direction,
    /// Drawn by ingress for the call this message belongs to; kept by copies and by everything
    /// that answers it.
    #[n(6)]
    pub request_id: RequestId,
    /// Drawn by ingress for the MCP session this message belongs to.
    #[n(7)]
    pub session: SessionId,
    /// Position among the messages of this call in this direction, from 0.
    #[n(8)]
    pub sequence: u64,
    /// For everything but a call's first message: the envelope that began the call. For a copy
    /// of a first message: the first envelope it copies.
    #[n(9)]
    pub parent: Option<EnvelopeId>,
    /// The server's name on the node that has it.
    #[n(10)]
    pub server: Name,
    /// The JSON-RPC method; of a response, that of the request it answers.
    #[n(11)]
    pub method: String,
    /// Tool or prompt name or resource URI, where the method has one; of a response, that of the
    /// request it answers.
    #[n(12)]
    pub name: Option<String>,
    /// Digest of the tool's definition as the caller's node knows it.
    #[n(13)]
    pub tool_digest: Option<Digest>,
    /// SHA-256 over salt and body ([`super::body_digest`]).
    #[n(14)]
    pub body_digest: Digest,
    /// What the call intends, derived by its signer; sorted, without repeats.
    #[n(15)]
    pub intents: Vec<String>,
    /// Labels of the data it touches; sorted, without repeats.
    #[n(16)]
    pub labels: Vec<String>,
    /// Digest of the signer's posture, once there is one.
    #[n(17)]
    pub posture: Option<Digest>,
    /// The signer's site, from its membership.
    #[n(18)]
    pub site: Option<Name>,
    /// Version of the policy bundle the signer decided under; 0 while there is none.
    #[n(19)]
    pub bundle_version: u64,
    /// Every node on the way, both ends included, in this message's direction.
    #[n(20)]
    pub route: Vec<NodeId>,
    /// Of a call's final response: how many messages came before it in its direction.
    #[n(21)]
    pub last_sequence: Option<u64>,
    /// Of a call's final response: the running hash over them ([`super::stream`]).
    #[n(22)]
    pub stream_hash: Option<Digest>,
    /// The human the agent acts for, as asserted by the signer; can only tighten.
    #[n(23)]
    pub human: Option<String>,
    /// Of a message carried from one protocol era to another.
    #[n(24)]
    pub bridged: Option<Bridged>,
    /// Of a copy of a call's first message (which has `parent`): when the first was issued.
    #[n(25)]
    pub first_issued: Option<UnixSeconds>,
    /// Of a message that begins a call over relays: to which key its payload is sealed.
    #[n(26)]
    pub sealed: Option<Sealed>,
    /// Of a request or notification: the version of the rules by which the signer derived `intents`
    /// ([`crate::mcp::INTENT_RULES`]).
    #[n(27)]
    pub intent_rules: Option<u32>,
}

/// What a bridge between protocol eras says of the message it made.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Bridged {
    /// The node that bridged.
    #[n(1)]
    pub by: NodeId,
    /// The protocol version the original was in.
    #[n(2)]
    pub from_era: String,
    /// SHA-256 over the original's bytes.
    #[n(3)]
    pub original: Digest,
}

/// The protected header, as it is signed: content type (3), CWT claims (15), ours (−65537).
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Header {
    /// [`content_type::ENVELOPE`], or [`content_type::SEALED_ENVELOPE`] where the route has a relay.
    #[n(3)]
    pub content_type: String,
    /// Who, for whom, when.
    #[n(15)]
    pub cwt: CwtClaims,
    /// What.
    #[n(-65537)]
    pub claims: Claims,
}

/// What is wrong inside a header that is well-formed CBOR.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Another content type than an envelope's.
    #[error("not an envelope but another kind of signed object")]
    ContentType,
    /// A suite this mesh does not have.
    #[error("suite {0} is unknown")]
    Suite(u8),
    /// The route does not lead from issuer to audience, repeats a node, or is too long.
    #[error(
        "the route does not lead from issuer to audience without repeats in at most {} hops",
        limits::MAX_ROUTE_HOPS
    )]
    Route,
    /// The route has a relay, which could read the payload.
    #[error("the route has a relay and the payload is not sealed")]
    NotSealed,
    /// The payload is sealed though nobody is between the ends.
    #[error("the payload is sealed on a route without a relay")]
    SealedDirect,
    /// `exp` is not after `iat`, or too long after it.
    #[error("it lives {0} s, allowed are 1 to {max}", max = limits::MAX_ENVELOPE_LIFE_S)]
    Lifetime(u64),
    /// A text or list is over its bound, empty where it must not be, or not sorted.
    #[error("header field `{0}` is empty, too long or not in order")]
    Field(&'static str),
    /// Last sequence and stream hash stand where they may not, or are missing.
    #[error("the final response, and only it, states last sequence and stream hash")]
    StreamEnd,
}

impl HeaderError {
    /// The stable name of the refusal.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::ContentType => "wrong_content_type",
            Self::Suite(_) => "unknown_suite",
            Self::Route => "bad_route",
            Self::NotSealed => "payload_not_sealed",
            Self::SealedDirect => "payload_sealed_without_relay",
            Self::Lifetime(_) => "bad_lifetime",
            Self::Field(_) => "bad_header_field",
            Self::StreamEnd => "bad_stream_end",
        }
    }
}

impl Header {
    /// Checks what can be checked of a header by itself: bounds, order, and that its parts agree.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn validate(&self) -> Result<(), HeaderError> {
        if self.content_type != content_type::ENVELOPE && !self.is_sealed() {
            return Err(HeaderError::ContentType);
        }
        if Suite::from_byte(self.claims.suite).is_none() {
            return Err(HeaderError::Suite(self.claims.suite));
        }
        self.validate_times()?;
        self.validate_route()?;
        self.validate_sealing()?;
        self.validate_stream_end()?;
        self.validate_copy()?;
        self.claims.validate_fields()
    }

    fn validate_times(&self) -> Result<(), HeaderError> {
        let life = self.cwt.exp.0.saturating_sub(self.cwt.iat.0);
        if life == 0 || life > limits::MAX_ENVELOPE_LIFE_S {
            return Err(HeaderError::Lifetime(life));
        }
        Ok(())
    }

    fn validate_route(&self) -> Result<(), HeaderError> {
        let route = &self.claims.route;
        let ends = route.first() == Some(&self.cwt.iss) && route.last() == Some(&self.cwt.aud);
        let repeats = route
            .iter()
            .enumerate()
            .any(|(i, node)| route.iter().skip(i + 1).any(|other| other == node));
        if !ends || repeats || route.len() > limits::MAX_ROUTE_HOPS {
            return Err(HeaderError::Route);
        }
        Ok(())
    }

    /// Sealed exactly when somebody is between the ends; a call is sealed to a key where it begins.
    fn validate_sealing(&self) -> Result<(), HeaderError> {
        match (self.is_relayed(), self.is_sealed()) {
            (true, false) => return Err(HeaderError::NotSealed),
            (false, true) => return Err(HeaderError::SealedDirect),
            _ => {}
        }
        let expected = self.is_relayed() && self.begins_call();
        match &self.claims.sealed {
            None if !expected => Ok(()),
            Some(sealed) if expected && sealed.is_well_formed() => Ok(()),
            _ => Err(HeaderError::Field("sealed")),
        }
    }

    /// Whether the route has a relay.
    #[must_use]
    pub const fn is_relayed(&self) -> bool {
        self.claims.route.len() > 2
    }

    /// Whether the payload is sealed for the audience.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.content_type == content_type::SEALED_ENVELOPE
    }

    /// Only a copy of a call's first message says when the first was issued, and not in its future.
    fn validate_copy(&self) -> Result<(), HeaderError> {
        let is_copy = self.begins_call() && self.claims.parent.is_some();
        match self.claims.first_issued {
            None if !is_copy => Ok(()),
            Some(first) if is_copy && first <= self.cwt.iat => Ok(()),
            _ => Err(HeaderError::Field("first_issued")),
        }
    }

    fn validate_stream_end(&self) -> Result<(), HeaderError> {
        let ends = self.is_final_response();
        let claims = &self.claims;
        if claims.last_sequence.is_some() != ends || claims.stream_hash.is_some() != ends {
            return Err(HeaderError::StreamEnd);
        }
        Ok(())
    }

    /// Whether this is the response that ends a call (a response towards the client; one towards
    /// the server answers a request of the server's within the call).
    #[must_use]
    pub fn is_final_response(&self) -> bool {
        self.claims.kind == Kind::Response && self.claims.direction == Direction::ToClient
    }

    /// Whether this begins a call: the first message towards the server.
    #[must_use]
    pub fn begins_call(&self) -> bool {
        self.claims.kind == Kind::Request
            && self.claims.direction == Direction::ToServer
            && self.claims.sequence == 0
    }
}

impl Claims {
    fn validate_fields(&self) -> Result<(), HeaderError> {
        let text = |field, s: &str, max| bounded(field, s, max);
        text("method", &self.method, limits::MAX_METHOD_BYTES)?;
        if let Some(name) = &self.name {
            text("name", name, limits::MAX_TARGET_BYTES)?;
        }
        if let Some(human) = &self.human {
            text("human", human, limits::MAX_WORD_BYTES)?;
        }
        if let Some(bridged) = &self.bridged {
            text("bridged", &bridged.from_era, limits::MAX_WORD_BYTES)?;
        }
        if self.sequence > limits::MAX_STREAM_MESSAGES {
            return Err(HeaderError::Field("sequence"));
        }
        words("intents", &self.intents)?;
        words("labels", &self.labels)
    }
}

fn bounded(field: &'static str, text: &str, max: usize) -> Result<(), HeaderError> {
    if text.is_empty() || text.len() > max {
        return Err(HeaderError::Field(field));
    }
    Ok(())
}

fn words(field: &'static str, words: &[String]) -> Result<(), HeaderError> {
    let sorted = words.windows(2).all(|w| matches!(w, [a, b] if a < b));
    if words.len() > limits::MAX_INTENTS || !sorted {
        return Err(HeaderError::Field(field));
    }
    words
        .iter()
        .try_for_each(|w| bounded(field, w, limits::MAX_WORD_BYTES))
}
