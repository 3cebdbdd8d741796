//! Envelopes made by hand: right ones to start from, and every way to make them wrong.

use std::sync::Arc;

use hedgerow_crypto::SigningKeys;
use minicbor::{Decoder, Encoder};
use node::clock::{Clock as _, SystemClock};
use node::enforcement::{Described, describe};
use node::identity::Identity;
use protocol::crypto::domain::content_type;
use protocol::crypto::{Crypto as _, Signer};
use protocol::envelope::{
    Claims, CwtClaims, Direction, DocumentType, Header, Payload, SealedEnvelope, body_digest,
    envelope_id,
};
use protocol::id::{Cti, Digest, NodeId, RequestId, Salt, SessionId};
use protocol::mcp::{Derivation, DeriveIntents as _, Hints, INTENT_RULES};
use protocol::time::UnixSeconds;
use protocol::{codec, cose};

use crate::mesh::name;

/// Random bytes of any length.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    hedgerow_crypto::Primitives.fill_random(&mut bytes).unwrap();
    bytes
}

/// The local time.
#[must_use]
pub fn now() -> UnixSeconds {
    SystemClock.now().seconds()
}

/// A header and a body that are not signed yet; tests change either.
#[derive(Debug, Clone)]
pub struct Draft {
    /// What will be signed beside the body.
    pub header: Header,
    /// The message.
    pub body: Vec<u8>,
    /// Whether the header's body digest is made to fit; otherwise it stays as it is.
    pub digest: bool,
}

/// Signs in the name of one member.
#[derive(Clone)]
pub struct Forge {
    /// Whose keys.
    pub identity: Arc<Identity>,
}

/// The intents an honest node would claim for a message, of a tool without annotations.
#[must_use]
pub fn intents(described: &Described) -> Vec<String> {
    let derive = |method: &String| {
        let name = described.target.as_deref();
        Derivation.derive(method, name, Hints::NONE)
    };
    described.method.as_ref().map_or_else(Vec::new, derive)
}

impl Forge {
    /// The first message of a call or session on `server` of `to`.
    #[must_use]
    pub fn first(&self, to: NodeId, server: &str, session: SessionId, body: &str) -> Draft {
        let described = describe(body.as_bytes()).unwrap();
        let iat = now();
        let me = self.identity.node();
        let claims = Claims {
            suite: 1,
            document: DocumentType::Envelope,
            mesh: self.identity.mesh(),
            intents: intents(&described),
            kind: described.kind,
            direction: Direction::ToServer,
            request_id: RequestId::from_bytes(random()),
            session,
            sequence: 0,
            parent: None,
            server: name(server),
            method: described.method.unwrap_or_default(),
            name: described.target,
            tool_digest: None,
            body_digest: Digest::from_bytes([0; 32]),
            labels: Vec::new(),
            posture: None,
            site: None,
            bundle_version: 0,
            route: vec![me, to],
            last_sequence: None,
            stream_hash: None,
            human: None,
            bridged: None,
            first_issued: None,
            sealed: None,
            intent_rules: Some(INTENT_RULES),
        };
        let cwt = CwtClaims {
            iss: me,
            sub: name("puppet"),
            aud: to,
            exp: iat.plus(30),
            iat,
            cti: Cti::from_bytes(random()),
        };
        let header = Header {
            content_type: content_type::ENVELOPE.to_owned(),
            cwt,
            claims,
        };
        Draft {
            header,
            body: body.into(),
            digest: true,
        }
    }

    /// Signs a draft as its issuer would.
    #[must_use]
    pub fn seal(&self, draft: &Draft) -> SealedEnvelope {
        self.seal_with(draft, &[&*self.identity.signing])
    }

    /// Signs a draft with whatever sets.
    #[must_use]
    pub fn seal_with(&self, draft: &Draft, signers: &[&dyn Signer]) -> SealedEnvelope {
        let crypto = &*self.identity.crypto;
        let mut header = draft.header.clone();
        let salt = Salt::from_bytes(random());
        if draft.digest {
            header.claims.body_digest = body_digest(crypto, &salt, &draft.body);
        }
        let protected = codec::encode(&header);
        let payload = codec::encode(&Payload {
            salt,
            body: draft.body.clone(),
        });
        self.sign(&header, &protected, &payload, signers)
    }

    /// Signs any protected header and payload.
    #[must_use]
    pub fn sign(
        &self,
        header: &Header,
        protected: &[u8],
        payload: &[u8],
        signers: &[&dyn Signer],
    ) -> SealedEnvelope {
        let crypto = &*self.identity.crypto;
        let mesh = header.claims.mesh;
        let bytes = cose::sign(crypto, signers, protected, payload, mesh.as_bytes()).unwrap();
        SealedEnvelope {
            id: envelope_id(crypto, &mesh, protected, payload),
            bytes,
        }
    }
}

/// A signing set of nobody.
#[must_use]
pub fn strange_keys() -> SigningKeys {
    SigningKeys::generate(&hedgerow_crypto::Primitives).unwrap()
}

/// A COSE_Sign taken apart, to be put together otherwise.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The encoded protected header.
    pub protected: Vec<u8>,
    /// The payload.
    pub payload: Vec<u8>,
    /// Each signature's encoded protected header, and the signature.
    pub signatures: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Parts {
    /// Takes a well-formed one apart.
    #[must_use]
    pub fn of(envelope: &[u8]) -> Self {
        let mut d = Decoder::new(envelope);
        d.tag().unwrap();
        d.array().unwrap();
        let protected = d.bytes().unwrap().to_vec();
        d.map().unwrap();
        let payload = d.bytes().unwrap().to_vec();
        let count = d.array().unwrap().unwrap();
        let signatures = (0..count).map(|_| {
            d.array().unwrap();
            let head = d.bytes().unwrap().to_vec();
            d.map().unwrap();
            (head, d.bytes().unwrap().to_vec())
        });
        let signatures = signatures.collect();
        Self {
            protected,
            payload,
            signatures,
        }
    }

    /// Puts it together.
    #[must_use]
    pub fn join(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut e = Encoder::new(&mut out);
        e.tag(minicbor::data::Tag::new(98)).unwrap();
        e.array(4).unwrap().bytes(&self.protected).unwrap();
        e.map(0).unwrap().bytes(&self.payload).unwrap();
        e.array(self.signatures.len() as u64).unwrap();
        for (head, signature) in &self.signatures {
            e.array(3).unwrap().bytes(head).unwrap();
            e.map(0).unwrap().bytes(signature).unwrap();
        }
        out
    }
}
