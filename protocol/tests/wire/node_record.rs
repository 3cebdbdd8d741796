//! Node records and admission files.

use std::collections::HashSet;
use std::sync::Arc;

use protocol::codec;
use protocol::id::Digest;
use protocol::limits::{MAX_ADDRESSES, MAX_CLOCK_AHEAD_S, MAX_SERVERS, MAX_TOOLS};
use protocol::mcp::Hints;
use protocol::time::UnixSeconds;
use protocol::trust::admission::MAX_ADDRESS_BYTES;
use protocol::trust::facts::MAX_SHARED_POSTURES;
use protocol::trust::node_record::MAX_RECORD_LIFE_S;
use protocol::trust::posture::POSTURE_VERSION;
use protocol::trust::{Admission, NodeRecord, PeerAddress, Posture, ServerRecord, ToolRecord};

use crate::case::{ACCEPTED, Alterations, Case, case, run};
use crate::raw::{altered, flipped};
use crate::world::{CRYPTO, NOW, foreign, name, world};

/// The outcome at [`NOW`].
pub(crate) fn judge(bytes: &[u8]) -> &'static str {
    NodeRecord::verify(&CRYPTO, &world().root, bytes, NOW).map_or_else(|e| e.reason(), |_| ACCEPTED)
}

fn tool(name: &str) -> ToolRecord {
    ToolRecord {
        name: name.to_owned(),
        digest: Digest::from_bytes([0x33; 32]),
        hints: None,
    }
}

fn server(text: &str, tools: Vec<ToolRecord>) -> ServerRecord {
    ServerRecord {
        name: name(text),
        tools,
    }
}

/// Hints of any bits.
fn hints(bits: u8) -> Hints {
    codec::decode(&[bits], 1).unwrap()
}

/// A posture measured then.
pub(crate) fn posture(measured: UnixSeconds) -> Vec<u8> {
    Posture {
        version: POSTURE_VERSION,
        measured,
        os: "debian".to_owned(),
        kernel: [6, 1, 38],
        secure_boot: true,
        disk_encryption: true,
        uptime_s: 3600,
        binary: Some(Digest::from_bytes([0x44; 32])),
        hardening: vec!["aslr".to_owned()],
    }
    .encode()
}

/// The content of a record that holds.
pub(crate) fn content() -> NodeRecord {
    let w = world();
    NodeRecord {
        mesh: w.mesh(),
        membership: w.host.membership.bytes().to_vec(),
        addresses: vec!["192.0.2.7:7400".to_owned(), "host.example:7400".to_owned()],
        relays: vec![w.relays[0].id],
        sealing_key: None,
        servers: vec![
            server("files", Vec::new()),
            server("shop", vec![tool("get_product_info")]),
        ],
        posture: None,
        sequence: NOW.0 * 1000,
        issued: NOW.minus(60),
        expires: NOW.plus(3600),
    }
}

fn otherwise(alter: impl FnOnce(&mut NodeRecord)) -> Vec<u8> {
    let mut record = content();
    alter(&mut record);
    record.sign(&CRYPTO, &world().host.signing).unwrap()
}

/// Those that are kept as vectors.
pub(crate) fn cases() -> Vec<Case> {
    let w = world();
    let valid = otherwise(|_| ());
    let by_caller = content().sign(&CRYPTO, &w.caller.signing).unwrap();
    let other = w.caller.membership.bytes().to_vec();
    vec![
        case("valid", valid.clone(), ACCEPTED),
        case("signed-by-another-member", by_caller, "unknown_key"),
        case(
            "membership-of-another",
            otherwise(|r| r.membership = other),
            "unknown_key",
        ),
        case("expired", otherwise(|r| r.expires = NOW), "record_expired"),
        case(
            "future",
            otherwise(|r| r.issued = NOW.plus(MAX_CLOCK_AHEAD_S + 1)),
            "record_issued_in_future",
        ),
        case(
            "half-signed",
            altered(&valid, |r| r.signatures.truncate(1)),
            "half_signed",
        ),
        case(
            "changed-address",
            altered(&valid, |r| {
                r.payload = crate::raw::replaced(&r.payload, b"192.0.2.7", b"192.0.2.8");
            }),
            "bad_signature",
        ),
        case("truncated", &valid[..valid.len() - 1], "truncated"),
    ]
}

#[test]
fn records_are_judged_by_name() {
    run(&cases(), judge);
}

#[test]
fn fields_are_checked_even_when_signed() {
    const FIELD: &str = "bad_document_field";
    let cases: &Alterations<NodeRecord> = &[
        ("another mesh", "foreign_mesh", |r| {
            r.mesh = foreign().mesh()
        }),
        ("a membership of another mesh", "foreign_mesh", |r| {
            r.membership = foreign().host.membership.bytes().to_vec();
        }),
        ("no membership", "truncated", |r| r.membership.clear()),
        ("an empty address", FIELD, |r| {
            r.addresses = vec![String::new()]
        }),
        ("a long address", FIELD, |r| {
            r.addresses = vec!["a".repeat(MAX_ADDRESS_BYTES + 1)]
        }),
        ("too many addresses", FIELD, |r| {
            r.addresses = vec!["a:1".to_owned(); MAX_ADDRESSES + 1]
        }),
        ("a relay twice", FIELD, |r| r.relays.push(r.relays[0])),
        ("servers out of order", FIELD, |r| r.servers.reverse()),
        ("a server twice", FIELD, |r| {
            r.servers[1].name = r.servers[0].name.clone()
        }),
        ("too many servers", FIELD, |r| {
            r.servers = (0..=MAX_SERVERS)
                .map(|i| server(&format!("s{i:03}"), Vec::new()))
                .collect();
        }),
        ("too many tools", FIELD, |r| {
            r.servers[0].tools = (0..=MAX_TOOLS).map(|i| tool(&i.to_string())).collect();
        }),
        ("a tool without name", FIELD, |r| {
            r.servers[0].tools = vec![tool("")]
        }),
        ("a tool with a hint of no meaning", FIELD, |r| {
            r.servers[1].tools[0].hints = Some(hints(8));
        }),
        ("a tool with empty hints", FIELD, |r| {
            r.servers[1].tools[0].hints = Some(Hints::NONE);
        }),
        ("a tool with hints", ACCEPTED, |r| {
            r.servers[1].tools[0].hints = Some(Hints::ALL);
        }),
        ("a posture", ACCEPTED, |r| {
            r.posture = Some(posture(r.issued).into())
        }),
        ("a posture of later", FIELD, |r| {
            r.posture = Some(posture(r.issued.plus(1)).into());
        }),
        ("no posture after all", "truncated", |r| {
            r.posture = Some(Vec::new().into())
        }),
        ("no life", FIELD, |r| r.expires = r.issued),
        ("too long a life", FIELD, |r| {
            r.expires = r.issued.plus(MAX_RECORD_LIFE_S + 1)
        }),
        ("issued within the clock difference", ACCEPTED, |r| {
            r.issued = NOW.plus(MAX_CLOCK_AHEAD_S)
        }),
    ];
    let cases: Vec<Case> = cases
        .iter()
        .map(|&(name, expected, alter)| case(name, otherwise(alter), expected))
        .collect();
    run(&cases, judge);
}

#[test]
fn changed_bytes_are_refused() {
    let valid = otherwise(|_| ());
    for at in (0..valid.len()).step_by(31) {
        assert_ne!(judge(&flipped(&valid, at)), ACCEPTED, "byte {at}");
    }
}

#[test]
fn admission_files_are_bounded() {
    let w = world();
    let with = |peers: Vec<PeerAddress>| {
        let bytes = Admission {
            root: w.root.bytes().to_vec(),
            membership: w.caller.membership.bytes().to_vec(),
            peers,
            issuers: None,
            roots: None,
        }
        .encode();
        Admission::decode(&bytes).map_or_else(|e| e.reason(), |_| ACCEPTED)
    };
    let peer = |address: &str| PeerAddress {
        node: w.host.id,
        addresses: vec![address.to_owned()],
    };
    assert_eq!(with(vec![peer("192.0.2.7:7400")]), ACCEPTED);
    assert_eq!(with(vec![peer("")]), "bad_document_field");
    assert_eq!(with(vec![peer("a:1"); 17]), "bad_document_field");
    assert_eq!(
        Admission::decode(&[0xa0]).unwrap_err().reason(),
        "malformed"
    );
}

#[test]
fn what_postures_have_in_common_is_held_once_and_they_read_back() {
    let facts = |measured: UnixSeconds| {
        let bytes = otherwise(|r| r.posture = Some(posture(measured).into()));
        let record = NodeRecord::verify(&CRYPTO, &world().root, &bytes, NOW).unwrap();
        record.facts(&CRYPTO)
    };
    let mut shared = HashSet::new();
    for earlier in [60, 61, 62] {
        let measured = NOW.minus(earlier);
        let mut facts = facts(measured);
        facts.share_posture(&mut shared);
        let held = facts.posture.unwrap();
        let bytes = posture(measured);
        let announced = Posture::decode(&bytes).unwrap();
        assert_eq!(held.posture(), announced);
        assert_eq!(held.facts(NOW), announced.facts(NOW));
        assert_eq!(held.digest(&CRYPTO), Posture::digest(&CRYPTO, &bytes));
    }
    assert_eq!(shared.len(), 1);
    // A full table forgets what no record has any more.
    let decoded = Posture::decode(&posture(NOW)).unwrap();
    let others = (0..MAX_SHARED_POSTURES).map(|i| {
        let os = format!("os-{i}");
        Arc::new(Posture {
            os,
            ..decoded.clone()
        })
    });
    shared.clear();
    shared.extend(others);
    let mut kept = facts(NOW.minus(60));
    kept.share_posture(&mut shared);
    assert_eq!(shared.len(), 1);
}
