//! The envelopes that senders and the receiver of a simulation exchange: built and sealed by the
//! production code.

use protocol::crypto::Suite;
use protocol::crypto::domain::content_type;
use protocol::envelope::stream::StreamState;
use protocol::envelope::{
    Claims, CwtClaims, Direction, DocumentType, Header, Kind, SealedEnvelope, seal,
};
use protocol::id::{Cti, Digest, EnvelopeId, MeshId, NodeId, RequestId, Salt, SessionId};
use protocol::name::Name;
use protocol::time::UnixSeconds;

use crate::fake::{FakeCrypto, FakeNode};
use crate::rng::Rng;

/// What all envelopes of a run share.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) mesh: MeshId,
    pub(crate) session: SessionId,
    pub(crate) name: Name,
    pub(crate) life_s: u64,
}

/// What one message says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message {
    pub(crate) kind: Kind,
    pub(crate) direction: Direction,
    pub(crate) request: RequestId,
    pub(crate) sequence: u64,
    pub(crate) parent: Option<EnvelopeId>,
    /// Of a copy of a call's first message: when the first was issued.
    pub(crate) first_issued: Option<UnixSeconds>,
    /// Of a final response: what came before it.
    pub(crate) end: Option<(u64, Digest)>,
}

impl Message {
    /// The next message of `stream`.
    pub(crate) fn next(stream: &StreamState, kind: Kind, direction: Direction) -> Self {
        let last = kind == Kind::Response && direction == Direction::ToClient;
        Self {
            kind,
            direction,
            request: stream.call().request_id,
            sequence: stream.next_sequence(),
            parent: Some(stream.call().first),
            first_issued: None,
            end: last.then(|| (stream.next_sequence(), stream.running_hash())),
        }
    }
}

/// Seals one message from `from` to `to` at the sender's second `iat`.
pub(crate) fn envelope(
    rng: &mut Rng,
    common: &Common,
    from: &FakeNode,
    to: NodeId,
    iat: UnixSeconds,
    message: &Message,
) -> anyhow::Result<SealedEnvelope> {
    let header = Header {
        content_type: content_type::ENVELOPE.to_owned(),
        cwt: CwtClaims {
            iss: from.id,
            sub: common.name.clone(),
            aud: to,
            exp: iat.plus(common.life_s),
            iat,
            cti: Cti::from_bytes(rng.bytes()),
        },
        claims: Claims {
            suite: Suite::Hybrid.byte(),
            document: DocumentType::Envelope,
            mesh: common.mesh,
            kind: message.kind,
            direction: message.direction,
            request_id: message.request,
            session: common.session,
            sequence: message.sequence,
            parent: message.parent,
            server: common.name.clone(),
            method: "tools/call".to_owned(),
            name: None,
            tool_digest: None,
            body_digest: Digest::from_bytes([0; 32]),
            intents: Vec::new(),
            labels: Vec::new(),
            posture: None,
            site: None,
            bundle_version: 0,
            route: vec![from.id, to],
            last_sequence: message.end.map(|(last, _)| last),
            stream_hash: message.end.map(|(_, hash)| hash),
            human: None,
            bridged: None,
            first_issued: message.first_issued,
            sealed: None,
            intent_rules: None,
        },
    };
    let salt = Salt::from_bytes(rng.bytes());
    Ok(seal(&FakeCrypto, from, header, salt, b"{}")?)
}
