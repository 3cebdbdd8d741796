//! A mesh with fixed keys: two of three admins, one issuer, a caller, two relays and a host.
//!
//! Every seed is SHA-256 of an ASCII string ([`seed`]), so that others can make the same keys.

use std::sync::{LazyLock, OnceLock};

use hedgerow_crypto::{Primitives, SigningKeys, TlsIdentity};
use protocol::crypto::{Algorithm, Crypto, CryptoError, Signer, SigningSet, Suite, domain};
use protocol::envelope::{
    Claims, CwtClaims, Direction, DocumentType, Header, Kind, SealedEnvelope, seal,
};
use protocol::id::{Cti, Digest, MeshId, NodeId, RequestId, Salt, SessionId};
use protocol::name::Name;
use protocol::time::UnixSeconds;
use protocol::trust::{Issuer, Membership, Root, VerifiedMembership, VerifiedRoot};

/// The primitives.
pub(crate) const CRYPTO: Primitives = Primitives;

/// The time at which everything is judged.
pub(crate) const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

/// The body of the request.
pub(crate) const CALL: &[u8] = br#"{"jsonrpc":"2.0","id":17,"method":"tools/call","params":{"name":"get_product_info","arguments":{"sku":"HR-1001"}}}"#;

/// The body of the response.
pub(crate) const ANSWER: &[u8] =
    br#"{"jsonrpc":"2.0","id":17,"result":{"content":[{"type":"text","text":"in stock"}]}}"#;

/// The salt of every envelope here.
pub(crate) const SALT: Salt = Salt::from_bytes([0x5a; 32]);

static WORLD: LazyLock<World> = LazyLock::new(|| World::new("test"));

/// The mesh.
pub(crate) fn world() -> &'static World {
    &WORLD
}

/// Another mesh, with other keys of every kind.
pub(crate) fn foreign() -> &'static World {
    static FOREIGN: LazyLock<World> = LazyLock::new(|| World::new("foreign"));
    &FOREIGN
}

/// A mesh and its members.
pub(crate) struct World {
    /// Three, of whom two must sign.
    pub(crate) admins: [SigningKeys; 3],
    /// May grant `agents` and `tools` at `berlin` for 30 days.
    pub(crate) issuer: SigningKeys,
    /// May grant anything; not otherwise used.
    pub(crate) other_issuer: SigningKeys,
    /// The root, signed by the first two admins.
    pub(crate) root: VerifiedRoot,
    /// Where calls come from.
    pub(crate) caller: Node,
    /// Between them on longer routes.
    pub(crate) relays: [Node; 2],
    /// Where the server is.
    pub(crate) host: Node,
    request: OnceLock<SealedEnvelope>,
}

/// A member.
pub(crate) struct Node {
    /// Its TLS identity.
    pub(crate) tls: TlsIdentity,
    /// Its signing set.
    pub(crate) signing: SigningKeys,
    /// Its identifier.
    pub(crate) id: NodeId,
    /// Its membership.
    pub(crate) membership: VerifiedMembership,
}

/// SHA-256 of `hedgerow/test-seed/` and `label`.
pub(crate) fn seed(label: &str) -> [u8; 32] {
    CRYPTO.sha256(&[b"hedgerow/test-seed/", label.as_bytes()])
}

/// The signing set named `label`.
pub(crate) fn signing(label: &str) -> SigningKeys {
    let [ml_dsa, ed25519] =
        ["ml-dsa-65", "ed25519"].map(|half| seed(&format!("{label}/signing/{half}")));
    SigningKeys::from_seeds(&ml_dsa, &ed25519).unwrap()
}

/// The TLS identity named `label`.
pub(crate) fn tls(label: &str) -> TlsIdentity {
    let [ml_dsa, ed25519] =
        ["ml-dsa-65", "ed25519"].map(|half| seed(&format!("{label}/tls/{half}")));
    TlsIdentity::from_seeds(&ml_dsa, &ed25519).unwrap()
}

/// A name.
pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// Names.
pub(crate) fn names(texts: &[&str]) -> Vec<Name> {
    texts.iter().map(|text| name(text)).collect()
}

/// The public half.
pub(crate) fn public(keys: &SigningKeys) -> SigningSet {
    keys.public().clone()
}

impl World {
    fn new(label: &str) -> Self {
        let admins = [0, 1, 2].map(|i| signing(&format!("{label}/admin-{i}")));
        let issuer = signing(&format!("{label}/issuer"));
        let other_issuer = signing(&format!("{label}/other-issuer"));
        let content = root_content(label, &admins, &issuer, &other_issuer);
        let [first, second, _] = &admins;
        let bytes = content.sign(&CRYPTO, &[first, second]).unwrap();
        let root = VerifiedRoot::genesis(&CRYPTO, &bytes).unwrap();
        let member = |member: &str, groups: &[&str]| {
            Node::new(&root, &issuer, &format!("{label}/{member}"), member, groups)
        };
        Self {
            caller: member("caller", &["agents"]),
            relays: [member("relay-0", &[]), member("relay-1", &[])],
            host: member("tool-host", &["agents", "tools"]),
            request: OnceLock::new(),
            root,
            admins,
            issuer,
            other_issuer,
        }
    }

    /// The mesh.
    pub(crate) fn mesh(&self) -> MeshId {
        self.root.mesh()
    }

    /// Seals `body` by the caller.
    pub(crate) fn seal(&self, header: Header, body: &[u8]) -> SealedEnvelope {
        seal(&CRYPTO, &self.caller.signing, header, SALT, body).unwrap()
    }

    /// The header of the request that begins the call.
    pub(crate) fn request_header(&self) -> Header {
        let claims = Claims {
            suite: Suite::Hybrid.byte(),
            document: DocumentType::Envelope,
            mesh: self.mesh(),
            kind: Kind::Request,
            direction: Direction::ToServer,
            request_id: RequestId::from_bytes([0x11; 16]),
            session: SessionId::from_bytes([0x22; 16]),
            sequence: 0,
            parent: None,
            server: name("shop"),
            method: "tools/call".to_owned(),
            name: Some("get_product_info".to_owned()),
            tool_digest: Some(Digest::from_bytes([0x33; 32])),
            body_digest: Digest::from_bytes([0; 32]),
            intents: vec!["get_product_info".to_owned(), "read".to_owned()],
            labels: Vec::new(),
            posture: None,
            site: Some(name("berlin")),
            bundle_version: 0,
            route: vec![self.caller.id, self.host.id],
            last_sequence: None,
            stream_hash: None,
            human: None,
            bridged: None,
            first_issued: None,
            sealed: None,
            intent_rules: None,
        };
        let cwt = CwtClaims {
            iss: self.caller.id,
            sub: name("assistant"),
            aud: self.host.id,
            exp: NOW.plus(30),
            iat: NOW,
            cti: Cti::from_bytes([0x44; 16]),
        };
        Header {
            content_type: domain::content_type::ENVELOPE.to_owned(),
            cwt,
            claims,
        }
    }

    /// The request that begins the call, signed once.
    pub(crate) fn request(&self) -> SealedEnvelope {
        let sealed = || self.seal(self.request_header(), CALL);
        self.request.get_or_init(sealed).clone()
    }

    /// A membership of the caller that its issuer may grant.
    pub(crate) fn membership_content(&self) -> Membership {
        self.caller.membership.content().clone()
    }
}

/// The content of a root that holds.
pub(crate) fn root_content(
    label: &str,
    admins: &[SigningKeys; 3],
    issuer: &SigningKeys,
    other_issuer: &SigningKeys,
) -> Root {
    Root {
        version: 1,
        epoch: 1,
        mesh: None,
        name: name(label),
        suite: Suite::Hybrid.byte(),
        created: NOW.minus(86_400),
        admins: admins.iter().map(public).collect(),
        threshold: 2,
        issuers: vec![
            Issuer {
                keys: public(issuer),
                groups: Some(names(&["agents", "tools"])),
                sites: Some(names(&["berlin"])),
                max_life_s: 30 * 86_400,
                max_per_hour: 100,
            },
            Issuer {
                keys: public(other_issuer),
                groups: None,
                sites: None,
                max_life_s: 30 * 86_400,
                max_per_hour: 100,
            },
        ],
        timestampers: vec![public(&signing(&format!("{label}/timestamper")))],
        lease_s: 86_400,
        read_grace_s: 3600,
        nonce: vec![7; 16],
        previous: None,
        retired: None,
        hosts: None,
    }
}

impl Node {
    fn new(
        root: &VerifiedRoot,
        issuer: &SigningKeys,
        label: &str,
        member: &str,
        groups: &[&str],
    ) -> Self {
        let (tls, signing) = (tls(label), signing(label));
        let content = Membership {
            mesh: root.mesh(),
            tls_key: tls.public_key().to_vec(),
            signing: public(&signing),
            name: name(member),
            groups: names(groups),
            site: Some(name("berlin")),
            not_before: NOW.minus(3600),
            not_after: NOW.plus(86_400),
            issuer_sequence: 1,
            replaces: None,
        };
        let bytes = content.sign(&CRYPTO, issuer).unwrap();
        let membership = VerifiedMembership::verify(&CRYPTO, root, &bytes).unwrap();
        Self {
            id: tls.node_id(&CRYPTO),
            tls,
            signing,
            membership,
        }
    }
}

/// Everything as [`CRYPTO`] does it, but that every random byte is this one.
pub(crate) struct Fixed(pub(crate) u8);

impl Crypto for Fixed {
    fn sha256(&self, parts: &[&[u8]]) -> [u8; 32] {
        CRYPTO.sha256(parts)
    }

    fn verify(
        &self,
        algorithm: Algorithm,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        CRYPTO.verify(algorithm, public_key, message, signature)
    }

    fn fill_random(&self, out: &mut [u8]) -> Result<(), CryptoError> {
        out.fill(self.0);
        Ok(())
    }
}
