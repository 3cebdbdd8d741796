//! Seeds: valid inputs made by the code under test, so that the fuzzer starts behind the first
//! check. Deterministic.

use protocol::codec::encode;
use protocol::crypto::sealing::{SEALING_ENC_LEN, SEALING_PUBLIC_LEN};
use protocol::crypto::{Algorithm, Signer, SigningSet, Suite, TLS_PUBLIC_LEN, domain};
use protocol::envelope::hop::{HopRecord, Scope, chain_hash};
use protocol::envelope::{
    CallSeal, Claims, CwtClaims, Direction, DocumentType, Header, Kind, Payload, Sealed,
    SealedEnvelope, seal, seal_relayed,
};
use protocol::evidence::Evidence;
use protocol::hello::{Heads, Hello, VERSIONS};
use protocol::id::{Cti, Digest, EnvelopeId, MeshId, NodeId, RequestId, Salt, SessionId};
use protocol::name::Name;
use protocol::record::{DecisionRecord, GENESIS, Point};
use protocol::time::{UnixMillis, UnixSeconds};
use protocol::trust::{
    Admission, Issuer, Membership, MembershipRequest, NodeRecord, PeerAddress, Posture, Root,
    ServerRecord, ToolRecord, VerifiedRoot,
};

use crate::fake::{Fake, FakeSigner};

/// The time of every seed.
pub const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

pub fn signer(byte: u8) -> SigningSet {
    FakeSigner::new(byte).public().clone()
}

pub fn mesh() -> MeshId {
    verified_root().mesh()
}

/// The node whose TLS key consists of `byte`.
pub fn node(byte: u8) -> NodeId {
    NodeId::of_tls_key(&Fake, &[byte; TLS_PUBLIC_LEN])
}

/// The envelope that the hop records are about.
pub fn envelope_id() -> EnvelopeId {
    EnvelopeId::from_bytes([9; 32])
}

fn name(text: &str) -> Name {
    text.parse().expect("a valid name")
}

fn digest(byte: u8) -> Digest {
    Digest::from_bytes([byte; 32])
}

fn texts(all: &[&str]) -> Vec<Vec<u8>> {
    all.iter().map(|t| t.as_bytes().to_vec()).collect()
}

pub fn none() -> Vec<Vec<u8>> {
    Vec::new()
}

const CALL: &str = r#"{"jsonrpc":"2.0","id":17,"method":"tools/call","params":{"name":"get_product_info","arguments":{"sku":"HR-1001"},"_meta":{"progressToken":"p1","io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;

pub fn messages() -> Vec<Vec<u8>> {
    texts(&[
        CALL,
        r#"{"jsonrpc":"2.0","id":"a\u0062\ud83d\ude00","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"roots":{"listChanged":true}},"clientInfo":{"name":"c","version":"1"}}}"#,
        r#"{"jsonrpc":"2.0","id":3,"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"p"},"argument":{"name":"a","value":"b"}}}"#,
        r#"{"jsonrpc":"2.0","id":3,"method":"completion/complete","params":{"ref":{"type":"ref/resource","uri":"x:{y}"}}}"#,
        r#"{"jsonrpc":"2.0","id":3,"method":"resources/read","params":{"uri":"file:///a"}}"#,
        r#"{"jsonrpc":"2.0","id":3,"method":"resources/subscribe","params":{"uri":"file:///a"}}"#,
        r#"{"jsonrpc":"2.0","id":3,"method":"prompts/get","params":{"name":"p"}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":0.5e-1,"total":1}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"17","reason":"user"}}"#,
        " {\r\n\t\"result\" : { \"content\" : [ { \"type\" : \"text\" , \"text\" : \"\\n\\u0000\" } ] } , \"id\" : -0 , \"jsonrpc\" : \"2.0\" } \n",
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"unknown tool","data":[true,false,null]}}"#,
        r#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"x"}}"#,
    ])
}

pub fn values() -> Vec<Vec<u8>> {
    let mut all = messages();
    all.extend(texts(&[
        r#"{"b":{"z":1.0,"y":-0e1},"a":[true,null,"\u0061\/\u001F\t"],"":{}}"#,
    ]));
    all
}

pub fn lists() -> Vec<Vec<u8>> {
    texts(&[
        r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a","inputSchema":{"type":"object"}},{"x":1.0,"name":"b\u0021"} ],"nextCursor":"c"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"prompts":[{"name":"a","arguments":[{"name":"x"}]}],"nextCursor":null}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"resources":[{"uri":"file:///a","name":"a"}],"ttlMs":5}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"resourceTemplates":[ {"uriTemplate":"x:{y}","name":"a"} , {"uriTemplate":""}]}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[]}}"#,
    ])
}

pub fn parts() -> Vec<Vec<u8>> {
    texts(&[
        "1\u{1}tools/list\u{1}{\"cursor\":\"c\"}",
        "\"a\"\u{1}ping\u{1}{}",
        "null\u{1}say \"no\"\n\u{1}[1,[2]]",
    ])
}

pub fn tools() -> Vec<Vec<u8>> {
    texts(&[
        r#"{"name":"a","annotations":{"readOnlyHint":false,"destructiveHint":true,"openWorldHint":true}}"#,
        "get_product_info",
        "deleteRecordsHTTP",
        "https://a/b",
        "notifications/x",
    ])
}

/// The root under which all other seeds hold.
fn content_root() -> Root {
    Root {
        version: 1,
        epoch: 1,
        mesh: None,
        name: name("fuzz"),
        suite: Suite::Hybrid.byte(),
        created: NOW,
        admins: vec![signer(10)],
        threshold: 1,
        issuers: vec![Issuer {
            keys: signer(11),
            groups: Some(vec![name("agents"), name("tools")]),
            sites: None,
            max_life_s: 86_400,
            max_per_hour: 100,
        }],
        timestampers: vec![signer(12)],
        lease_s: 86_400,
        read_grace_s: 3600,
        nonce: vec![3; 16],
        previous: None,
        retired: None,
        hosts: None,
    }
}

pub fn signed_root() -> Vec<u8> {
    content_root()
        .sign(&Fake, &[&FakeSigner::new(10)])
        .expect("the fake signs")
}

pub fn verified_root() -> VerifiedRoot {
    VerifiedRoot::genesis(&Fake, &signed_root()).expect("the seed root holds")
}

pub fn roots() -> Vec<Vec<u8>> {
    vec![signed_root()]
}

fn content_membership() -> Membership {
    Membership {
        mesh: mesh(),
        tls_key: vec![0; TLS_PUBLIC_LEN],
        signing: signer(1),
        name: name("tool-host"),
        groups: vec![name("agents"), name("tools")],
        site: Some(name("berlin")),
        not_before: NOW.minus(60),
        not_after: NOW.plus(3600),
        issuer_sequence: 1,
        replaces: None,
    }
}

fn signed_membership() -> Vec<u8> {
    content_membership()
        .sign(&Fake, &FakeSigner::new(11))
        .expect("the fake signs")
}

pub fn memberships() -> Vec<Vec<u8>> {
    vec![signed_membership()]
}

fn content_request() -> MembershipRequest {
    MembershipRequest {
        tls_key: vec![0; TLS_PUBLIC_LEN],
        signing: signer(1),
        name: Some(name("tool-host")),
        created: NOW,
        tls_proof: vec![4; Algorithm::MlDsa65.signature_len() + 64],
        mesh: None,
        ticket: None,
        challenge: None,
        mac: None,
        replaces: None,
    }
}

pub fn requests() -> Vec<Vec<u8>> {
    vec![
        content_request()
            .sign(&Fake, &FakeSigner::new(1))
            .expect("the fake signs"),
    ]
}

fn posture() -> Posture {
    Posture {
        version: 1,
        measured: NOW,
        os: "debian".to_owned(),
        kernel: [6, 1, 38],
        secure_boot: true,
        disk_encryption: false,
        uptime_s: 3600,
        binary: Some(digest(6)),
        hardening: vec!["aslr".to_owned()],
    }
}

fn content_record() -> NodeRecord {
    let tool = ToolRecord {
        name: "echo".to_owned(),
        digest: digest(5),
        hints: Some(protocol::mcp::Hints::ALL),
    };
    NodeRecord {
        mesh: mesh(),
        membership: signed_membership(),
        addresses: vec!["127.0.0.1:7400".to_owned(), "[::1]:7400".to_owned()],
        relays: vec![node(2)],
        sealing_key: None,
        servers: vec![ServerRecord {
            name: name("shop"),
            tools: vec![tool],
        }],
        posture: Some(posture().encode().into()),
        sequence: 3,
        issued: NOW,
        expires: NOW.plus(600),
    }
}

pub fn node_records() -> Vec<Vec<u8>> {
    vec![
        content_record()
            .sign(&Fake, &FakeSigner::new(1))
            .expect("the fake signs"),
    ]
}

pub fn hellos() -> Vec<Vec<u8>> {
    let hello = Hello {
        lowest: VERSIONS.0,
        highest: VERSIONS.1,
        suite: Suite::Hybrid.byte(),
        mesh: mesh(),
        membership: signed_membership(),
        addresses: vec!["127.0.0.1:7400".to_owned()],
        heads: Heads {
            root: 1,
            bundle: 0,
            revocations: 0,
        },
    };
    vec![hello.encode()]
}

pub fn admissions() -> Vec<Vec<u8>> {
    let peers = vec![PeerAddress {
        node: node(1),
        addresses: vec!["localhost:7400".to_owned()],
    }];
    let (root, membership) = (signed_root(), signed_membership());
    vec![
        Admission {
            root,
            membership,
            peers,
            issuers: None,
            roots: None,
        }
        .encode(),
    ]
}

fn header(kind: Kind, direction: Direction) -> Header {
    let ends = kind == Kind::Response && direction == Direction::ToClient;
    let claims = Claims {
        suite: Suite::Hybrid.byte(),
        document: DocumentType::Envelope,
        mesh: mesh(),
        kind,
        direction,
        request_id: RequestId::from_bytes([1; 16]),
        session: SessionId::from_bytes([2; 16]),
        sequence: 0,
        parent: ends.then(envelope_id),
        server: name("shop"),
        method: "tools/call".to_owned(),
        name: Some("get_product_info".to_owned()),
        tool_digest: Some(digest(5)),
        body_digest: digest(0),
        intents: vec!["get_product_info".to_owned(), "read".to_owned()],
        labels: Vec::new(),
        posture: None,
        site: Some(name("berlin")),
        bundle_version: 0,
        route: vec![node(0), node(1)],
        last_sequence: ends.then_some(0),
        stream_hash: ends.then(|| digest(8)),
        human: None,
        bridged: None,
        first_issued: None,
        sealed: None,
        intent_rules: None,
    };
    let cwt = CwtClaims {
        iss: node(0),
        sub: name("agent"),
        aud: node(1),
        exp: NOW.plus(30),
        iat: NOW,
        cti: Cti::from_bytes([3; 16]),
    };
    Header {
        content_type: domain::content_type::ENVELOPE.to_owned(),
        cwt,
        claims,
    }
}

fn sealed(kind: Kind, direction: Direction) -> SealedEnvelope {
    let salt = Salt::from_bytes([4; 32]);
    seal(
        &Fake,
        &FakeSigner::new(1),
        header(kind, direction),
        salt,
        CALL.as_bytes(),
    )
    .expect("the fake signs")
}

/// The same request over one relay, sealed.
fn relayed() -> SealedEnvelope {
    let (call, claim) =
        CallSeal::begin(&Fake, &Fake, &mesh(), &[8; SEALING_PUBLIC_LEN]).expect("the fake seals");
    let mut header = header(Kind::Request, Direction::ToServer);
    header.claims.route = vec![node(0), node(2), node(1)];
    header.claims.sealed = Some(claim);
    let (signer, salt) = (FakeSigner::new(1), Salt::from_bytes([4; 32]));
    seal_relayed(&Fake, &signer, header, salt, CALL.as_bytes(), &call).expect("the fake signs")
}

pub fn envelopes() -> Vec<Vec<u8>> {
    vec![
        relayed().bytes,
        sealed(Kind::Request, Direction::ToServer).bytes,
        sealed(Kind::Response, Direction::ToClient).bytes,
    ]
}

pub fn cose() -> Vec<Vec<u8>> {
    let signers = [FakeSigner::new(1), FakeSigner::new(2)];
    let [one, two] = &signers;
    let sign = |signers: &[&dyn Signer]| {
        protocol::cose::sign(&Fake, signers, &[0xa0], b"payload", b"aad").expect("the fake signs")
    };
    vec![sign(&[one]), sign(&[one, two])]
}

pub fn evidence() -> Vec<Vec<u8>> {
    let envelope = sealed(Kind::Request, Direction::ToServer).bytes;
    vec![
        Evidence {
            root: signed_root(),
            membership: signed_membership(),
            envelope,
            roots: None,
            opened: None,
        }
        .encode(),
    ]
}

fn hop_record(place: u8, previous: Option<Digest>) -> HopRecord {
    HopRecord {
        envelope: envelope_id(),
        index: u64::from(place),
        previous,
        node: node(place),
        bundle_version: 0,
        verdict: "allow".to_owned(),
        scope: Scope::HeaderOnly,
        observed_peer: node(place - 1),
        observed_address: "192.0.2.1:7400".to_owned(),
        received: UnixMillis(1),
        sent: UnixMillis(2),
    }
}

pub fn hop_chains() -> Vec<Vec<u8>> {
    let mut chains = vec![Vec::new()];
    let (mut chain, mut previous) = (Vec::new(), None);
    for place in 1..=2 {
        let record = hop_record(place, previous);
        let bytes = record
            .sign(&Fake, &FakeSigner::new(1), &mesh())
            .expect("the fake signs");
        previous = chain_hash(&Fake, &bytes).ok();
        let length = u16::try_from(bytes.len()).expect("a record is short");
        chain.extend_from_slice(&length.to_be_bytes());
        chain.extend_from_slice(&bytes);
        chains.push(chain.clone());
    }
    chains
}

fn decision() -> DecisionRecord {
    DecisionRecord {
        sequence: 1,
        previous: GENESIS,
        time: UnixMillis(1),
        node: node(1),
        point: Point::Egress,
        envelope: Some(envelope_id()),
        request: Some(RequestId::from_bytes([1; 16])),
        issuer: node(0),
        agent: Some(name("agent")),
        audience: Some(node(1)),
        server: Some(name("shop")),
        kind: Some(Kind::Request),
        direction: Some(Direction::ToServer),
        method: Some("tools/call".to_owned()),
        target: Some("echo".to_owned()),
        verdict: "deny".to_owned(),
        reason: Some("expired".to_owned()),
        policy: None,
        bundle_version: 0,
        body_digest: Some(digest(1)),
        stands_for: None,
        alerts: None,
        observed: None,
        approval: None,
        basis: None,
    }
}

/// In the order of [`crate::signed::types`].
pub fn types() -> Vec<Vec<u8>> {
    let payload = Payload {
        salt: Salt::from_bytes([4; 32]),
        body: CALL.as_bytes().to_vec(),
    };
    let evidence = Evidence {
        root: vec![1; 8],
        membership: vec![2; 8],
        envelope: vec![3; 8],
        roots: None,
        opened: None,
    };
    let all = [
        encode(&header(Kind::Response, Direction::ToClient)),
        encode(&payload),
        encode(&content_membership()),
        encode(&content_root()),
        encode(&hop_record(1, None)),
        encode(&decision()),
        encode(&content_record()),
        encode(&signer(1)),
        encode(&content_request()),
        encode(&evidence),
        encode(&Sealed {
            key: digest(5),
            enc: vec![9; SEALING_ENC_LEN],
        }),
    ];
    (0_u8..)
        .zip(all)
        .map(|(choice, bytes)| [&[choice], &*bytes].concat())
        .collect()
}

pub fn ids() -> Vec<Vec<u8>> {
    texts(&[
        &node(0).to_string(),
        &mesh().to_string(),
        &RequestId::from_bytes([1; 16]).to_string(),
        "Qm1111111111111111111111111111111111111111111",
    ])
}

pub fn names() -> Vec<Vec<u8>> {
    texts(&["tool-host", "a", "a--b", "-", "\u{1b}[31m"])
}

pub fn control() -> Vec<Vec<u8>> {
    texts(&[
        r#"{"name":"a"}"#,
        r#"{"node":"a","server":"b"}"#,
        r#"{"node":"a","server":"b","tool":"t","arguments":{"x":1},"timeout_ms":9,"capture":true}"#,
        r#"{"stdio":{"command":["a","b"],"env":{"A":"b"},"cwd":"/"}}"#,
        r#"{"name":"a","spec":{"http":{"url":"http://127.0.0.1:1/mcp","headers":{"a":"b"}}}}"#,
        r#"{"request":"AAAA","name":"a","groups":["b"],"site":"c","days":3}"#,
        r#"{"limit":10,"before":5}"#,
    ])
}
