//! Decision records and their chain, and hello.

use protocol::codec;
use protocol::envelope::{Direction, Kind};
use protocol::hello::{Heads, Hello};
use protocol::id::{ApprovalId, Digest, NodeId};
use protocol::limits::{
    MAX_GROUPS, MAX_INTENTS, MAX_LABELS, MAX_METHOD_BYTES, MAX_ROUTE_HOPS, MAX_TARGET_BYTES,
};
use protocol::record::{
    ApprovalNote, Basis, DecisionRecord, GENESIS, HopNote, MAX_BASIS_CLAIM, MAX_BASIS_CLAIMS,
    MAX_BASIS_TEXT, MAX_RECORDED_POLICIES, Point, chain_hash,
};
use protocol::time::UnixMillis;

use crate::case::{ACCEPTED, Case, case, run};
use crate::world::{CRYPTO, NOW, foreign, name, world};

/// A record with every field.
pub(crate) fn record(sequence: u64, previous: Digest) -> DecisionRecord {
    let w = world();
    let header = w.request_header();
    DecisionRecord {
        sequence,
        previous,
        time: UnixMillis(NOW.0 * 1000),
        node: w.host.id,
        point: Point::Egress,
        envelope: Some(w.request().id),
        request: Some(header.claims.request_id),
        issuer: w.caller.id,
        agent: Some(header.cwt.sub),
        audience: Some(w.host.id),
        server: Some(name("shop")),
        kind: Some(Kind::Request),
        direction: Some(Direction::ToServer),
        method: Some("tools/call".to_owned()),
        target: Some("get_product_info".to_owned()),
        verdict: "deny".to_owned(),
        reason: Some("replayed".to_owned()),
        policy: Some("p".to_owned()),
        bundle_version: 0,
        body_digest: Some(Digest::from_bytes([1; 32])),
        stands_for: Some(7),
        alerts: None,
        observed: None,
        approval: Some(ApprovalNote {
            id: ApprovalId::from_bytes([3; 16]),
            arguments: Digest::from_bytes([4; 32]),
            by: Some(w.caller.id),
            words: Some("go ahead".to_owned()),
            human: Some("ada@example.org".to_owned()),
        }),
        basis: None,
    }
}

/// The largest basis there can be.
fn basis() -> Basis {
    let words = |count: usize| vec!["w".repeat(64); count];
    let w = world();
    let hop = HopNote {
        place: u64::MAX,
        node: w.host.id,
        from: w.caller.id,
        bundle_version: u64::MAX,
        verdict: "w".repeat(64),
        received: UnixMillis(u64::MAX),
        sent: UnixMillis(u64::MAX),
    };
    let text = Some("t".repeat(MAX_BASIS_TEXT));
    Basis {
        rule: text.clone(),
        granted_by: words(MAX_RECORDED_POLICIES),
        full: true,
        groups: vec![name(&"g".repeat(32)); MAX_GROUPS],
        site: Some(name("berlin")),
        address: text.clone(),
        posture: Some(vec!["c".repeat(MAX_BASIS_CLAIM); MAX_BASIS_CLAIMS]),
        human: text,
        intents: words(MAX_INTENTS),
        labels: words(MAX_LABELS),
        tool_digest: Some(Digest::from_bytes([2; 32])),
        hops: vec![hop; MAX_ROUTE_HOPS],
        human_vouched: Some(true),
        intent_rules: Some(u32::MAX),
        claimed_rules: Some(u32::MAX),
    }
}

#[test]
fn the_fullest_record_is_within_its_bound() {
    let mut full = record(u64::MAX, GENESIS);
    let policies = vec!["p".repeat(64); MAX_RECORDED_POLICIES];
    full.alerts = Some(policies.clone());
    full.observed = Some(policies);
    full.target = Some("t".repeat(MAX_TARGET_BYTES));
    full.method = Some("m".repeat(MAX_METHOD_BYTES));
    full.basis = Some(Box::new(basis()));
    assert_eq!(DecisionRecord::decode(&full.encode()), Ok(full));
}

#[test]
fn records_chain_by_the_hash_of_their_encoding() {
    let first = record(0, GENESIS);
    let hash = chain_hash(&CRYPTO, &first.encode());
    let second = record(1, hash);
    assert_eq!(DecisionRecord::decode(&second.encode()), Ok(second));
    let mut changed = first;
    changed.verdict = "allow".to_owned();
    assert_ne!(chain_hash(&CRYPTO, &changed.encode()), hash);
}

/// A hello with every field.
pub(crate) fn hello() -> Hello {
    let w = world();
    Hello {
        lowest: 1,
        highest: 1,
        suite: 1,
        mesh: w.mesh(),
        membership: w.caller.membership.bytes().to_vec(),
        addresses: vec!["192.0.2.7:7400".to_owned()],
        heads: Heads {
            root: 1,
            bundle: 0,
            revocations: 0,
        },
    }
}

fn judge_from(peer: NodeId, bytes: &[u8]) -> &'static str {
    Hello::verify(&CRYPTO, &world().root, peer, bytes).map_or_else(|e| e.reason(), |_| ACCEPTED)
}

/// The outcome of a hello over a link whose peer TLS proved to be the caller.
pub(crate) fn judge(bytes: &[u8]) -> &'static str {
    judge_from(world().caller.id, bytes)
}

/// All of them.
pub(crate) fn cases() -> Vec<Case> {
    let with = |name: &str, expected, alter: &dyn Fn(&mut Hello)| {
        let mut hello = hello();
        alter(&mut hello);
        case(name, hello.encode(), expected)
    };
    let valid = hello().encode();
    let host = world().host.membership.bytes().to_vec();
    let foreigner = foreign().caller.membership.bytes().to_vec();
    vec![
        case("valid", valid.clone(), ACCEPTED),
        with("speaks-more", ACCEPTED, &|h| h.highest = 7),
        with("only-newer-versions", "no_common_version", &|h| {
            (h.lowest, h.highest) = (2, 3)
        }),
        with("only-older-versions", "no_common_version", &|h| {
            (h.lowest, h.highest) = (0, 0)
        }),
        with("versions-backwards", "no_common_version", &|h| {
            (h.lowest, h.highest) = (1, 0)
        }),
        with("another-suite", "other_suite", &|h| h.suite = 2),
        with("foreign-mesh", "foreign_mesh", &|h| {
            h.mesh = foreign().mesh()
        }),
        with("membership-of-foreign-mesh", "foreign_mesh", &|h| {
            h.membership.clone_from(&foreigner)
        }),
        with("membership-of-another", "not_its_membership", &|h| {
            h.membership.clone_from(&host)
        }),
        with("membership-changed", "bad_signature", &|h| {
            *h.membership.last_mut().unwrap() ^= 1
        }),
        with("membership-empty", "truncated", &|h| h.membership.clear()),
        with("address-empty", "malformed_hello", &|h| {
            h.addresses = vec![String::new()]
        }),
        with("too-many-addresses", "malformed_hello", &|h| {
            h.addresses = vec!["a:1".to_owned(); 17]
        }),
        case("truncated", &valid[..valid.len() - 1], "malformed_hello"),
        case(
            "trailing-byte",
            [&valid[..], &[0]].concat(),
            "malformed_hello",
        ),
        case("not-cbor", *b"\xffhello", "malformed_hello"),
    ]
}

#[test]
fn hellos_are_judged_by_name() {
    run(&cases(), judge);
    assert_eq!(
        judge_from(world().host.id, &hello().encode()),
        "not_its_membership"
    );
}

#[test]
fn heads_have_one_encoding() {
    let bytes = codec::encode(&hello().heads);
    assert_eq!(bytes, [0xa3, 1, 1, 2, 0, 3, 0]);
}
