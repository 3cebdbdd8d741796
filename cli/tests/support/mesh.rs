//! A mesh of two nodes with real keys, root and memberships, and envelopes signed with them.

use hedgerow_crypto::{Primitives, SigningKeys};
use protocol::control::{EnvelopeSignature, EnvelopeSigner};
use protocol::crypto::domain::content_type;
use protocol::crypto::{Algorithm, Crypto, Signer, Suite, TLS_PUBLIC_LEN};
use protocol::envelope::{Claims, CwtClaims, Direction, DocumentType, Header, Kind, seal};
use protocol::evidence::Evidence;
use protocol::id::{Cti, Digest, EnvelopeId, MeshId, NodeId, RequestId, Salt, SessionId};
use protocol::time::UnixSeconds;
use protocol::trust::{Issuer, Membership, Root, VerifiedRoot};

use super::name;

pub(crate) const AGENT_HOST: &str = "agent-host";
pub(crate) const TOOL_HOST: &str = "tool-host";
const NOW: u64 = 1_795_351_203;

pub(crate) struct Mesh {
    pub(crate) id: MeshId,
    root: Vec<u8>,
    issuer: SigningKeys,
    agent_host: SigningKeys,
    tool_host: SigningKeys,
}

pub(crate) struct Signed {
    pub(crate) id: EnvelopeId,
    pub(crate) evidence: Vec<u8>,
    pub(crate) signer: EnvelopeSigner,
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    Primitives.fill_random(&mut bytes).unwrap();
    bytes
}

fn keys() -> SigningKeys {
    SigningKeys::generate(&Primitives).unwrap()
}

impl Mesh {
    pub(crate) fn new() -> Self {
        let (admin, issuer) = (keys(), keys());
        let root = Root {
            version: 1,
            epoch: 1,
            mesh: None,
            name: name("demo"),
            suite: Suite::Hybrid.byte(),
            created: UnixSeconds(NOW),
            admins: vec![admin.public().clone()],
            threshold: 1,
            issuers: vec![Issuer {
                keys: issuer.public().clone(),
                groups: None,
                sites: None,
                max_life_s: 24 * 3600,
                max_per_hour: 100,
            }],
            timestampers: vec![keys().public().clone()],
            lease_s: 3600,
            read_grace_s: 3600,
            nonce: random::<16>().to_vec(),
            previous: None,
            retired: None,
            hosts: None,
        };
        let root = root.sign(&Primitives, &[&admin]).unwrap();
        Self {
            id: VerifiedRoot::genesis(&Primitives, &root).unwrap().mesh(),
            root,
            issuer,
            agent_host: keys(),
            tool_host: keys(),
        }
    }

    fn tls_key(node: &str) -> Vec<u8> {
        vec![u8::try_from(node.len()).unwrap(); TLS_PUBLIC_LEN]
    }

    pub(crate) fn node(&self, node: &str) -> NodeId {
        NodeId::of_tls_key(&Primitives, &Self::tls_key(node))
    }

    fn membership(&self, node: &str, signing: &SigningKeys) -> Vec<u8> {
        let membership = Membership {
            mesh: self.id,
            tls_key: Self::tls_key(node),
            signing: signing.public().clone(),
            name: name(node),
            groups: vec![],
            site: None,
            not_before: UnixSeconds(NOW),
            not_after: UnixSeconds(NOW + 3600),
            issuer_sequence: 1,
            replaces: None,
        };
        membership.sign(&Primitives, &self.issuer).unwrap()
    }

    /// A message signed by `from` to the other node.
    pub(crate) fn envelope(&self, from: &str, tool: &str, body: &str) -> Signed {
        let (signing, to) = if from == AGENT_HOST {
            (&self.agent_host, TOOL_HOST)
        } else {
            (&self.tool_host, AGENT_HOST)
        };
        let (iss, aud) = (self.node(from), self.node(to));
        let header = Header {
            content_type: content_type::ENVELOPE.to_owned(),
            cwt: CwtClaims {
                iss,
                sub: name("demo"),
                aud,
                exp: UnixSeconds(NOW + 30),
                iat: UnixSeconds(NOW),
                cti: Cti::from_bytes(random()),
            },
            claims: Claims {
                suite: Suite::Hybrid.byte(),
                document: DocumentType::Envelope,
                mesh: self.id,
                kind: Kind::Request,
                direction: Direction::ToServer,
                request_id: RequestId::from_bytes(random()),
                session: SessionId::from_bytes(random()),
                sequence: 0,
                parent: None,
                server: name("shop"),
                method: "tools/call".to_owned(),
                name: Some(tool.to_owned()),
                tool_digest: None,
                body_digest: Digest::from_bytes([0; 32]),
                intents: vec![],
                labels: vec![],
                posture: None,
                site: None,
                bundle_version: 0,
                route: vec![iss, aud],
                last_sequence: None,
                stream_hash: None,
                human: None,
                bridged: None,
                first_issued: None,
                sealed: None,
                intent_rules: None,
            },
        };
        let salt = Salt::from_bytes(random());
        let sealed = seal(&Primitives, signing, header, salt, body.as_bytes()).unwrap();
        let evidence = Evidence {
            roots: None,
            opened: None,
            root: self.root.clone(),
            membership: self.membership(from, signing),
            envelope: sealed.bytes,
        };
        let signature = |(algorithm, shown): (Algorithm, &str)| EnvelopeSignature {
            algorithm: shown.to_owned(),
            kid: signing.public().kid(&Primitives, algorithm),
        };
        let pair = [
            (Algorithm::MlDsa65, "ML-DSA-65"),
            (Algorithm::Ed25519, "Ed25519"),
        ];
        Signed {
            id: sealed.id,
            evidence: evidence.encode(),
            signer: EnvelopeSigner {
                envelope: sealed.id,
                node: name(from),
                node_id: iss,
                signatures: pair.map(signature).to_vec(),
            },
        }
    }
}
