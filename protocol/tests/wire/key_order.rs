//! Every derived type declares its fields in bytewise key order: minicbor writes them as declared,
//! so a type out of order would refuse its own encoding everywhere but here.

use minicbor::Decoder;
use minicbor::data::Type;
use protocol::codec;
use protocol::crypto::Signer;
use protocol::envelope::header::Bridged;
use protocol::envelope::{Header, Payload, Sealed};
use protocol::evidence::Evidence;
use protocol::id::{Digest, EntryId, EnvelopeId, SignerId};
use protocol::record::GENESIS;
use protocol::trust::document::{LogRow, TimestampRow, VersionRow};
use protocol::trust::state::{LogMarks, Memory};
use protocol::trust::{
    Admission, Document, HeadSet, IssuerNode, PeerAddress, Role, RoleHost, SignerCard,
};

use crate::raw::Raw;
use crate::world::{NOW, SALT, public, root_content, world};

/// A header in which every optional claim is present, though no valid one has them all.
pub(crate) fn full_header() -> Header {
    let mut header = world().request_header();
    let digest = Digest::from_bytes([9; 32]);
    let claims = &mut header.claims;
    claims.parent = Some(EnvelopeId::from_bytes([6; 32]));
    claims.labels = vec!["label".to_owned()];
    claims.posture = Some(digest);
    claims.last_sequence = Some(3);
    claims.stream_hash = Some(digest);
    claims.human = Some("human@example".to_owned());
    claims.first_issued = Some(NOW);
    claims.intent_rules = Some(1);
    claims.sealed = Some(Sealed {
        key: digest,
        enc: vec![1; 8],
    });
    claims.bridged = Some(Bridged {
        by: world().caller.id,
        from_era: "2025-11-25".to_owned(),
        original: digest,
    });
    header
}

/// Every type that is encoded as a map, every optional field present.
fn everything() -> Vec<(&'static str, Vec<u8>)> {
    let w = world();
    let mut root = root_content("test", &w.admins, &w.issuer, &w.other_issuer);
    root.mesh = Some(w.mesh());
    root.previous = Some(w.root.hash());
    root.retired = crate::trust::next_root().retired;
    root.name_hosts(vec![RoleHost {
        signer: SignerId::from_bytes([1; 32]),
        node: w.host.id,
    }]);
    let mut record = crate::node_record::content();
    record.sealing_key = Some(vec![1; 8].into());
    let posture = crate::node_record::posture(NOW);
    record.posture = Some(posture.clone().into());
    record.servers[1].tools[0].hints = Some(protocol::mcp::Hints::ALL);
    let admission = Admission {
        root: vec![1],
        membership: vec![2],
        peers: vec![PeerAddress {
            node: w.host.id,
            addresses: vec!["a:1".to_owned()],
        }],
        issuers: Some(vec![IssuerNode {
            issuer: SignerId::from_bytes([1; 32]),
            node: w.host.id,
        }]),
        roots: None,
    };
    let evidence = Evidence {
        root: vec![1],
        membership: vec![2],
        envelope: vec![3],
        roots: None,
        opened: None,
    };
    let card = SignerCard {
        role: Role::Admin,
        keys: public(&w.issuer),
        created: NOW,
        node: Some(w.host.id),
    };
    let payload = Payload {
        salt: SALT,
        body: vec![1],
    };
    let requests = crate::membership::request_cases();
    let mut membership = w.membership_content();
    membership.replaces = Some(vec![w.host.id]);
    let [_, hop] = crate::hop::chain();
    vec![
        ("header", codec::encode(&full_header())),
        ("payload", codec::encode(&payload)),
        ("signing set", codec::encode(w.issuer.public())),
        ("root", codec::encode(&root)),
        ("next root", codec::encode(&crate::trust::next_root())),
        ("bundle head", codec::encode(&crate::trust::bundle())),
        ("bundle body", crate::trust::body().encode()),
        ("log head", codec::encode(&crate::trust::log().head(NOW))),
        ("entries", entries()),
        ("timestamp", codec::encode(&crate::trust::timestamp())),
        ("heads", codec::encode(&heads())),
        ("memory", memory().encode()),
        ("membership", codec::encode(&membership)),
        ("membership request", Raw::of(&requests[0].bytes).payload),
        (
            "rotating request",
            Raw::of(&crate::membership::rotation()).payload,
        ),
        ("node record", codec::encode(&record)),
        ("posture", posture),
        ("admission", codec::encode(&admission)),
        ("evidence", codec::encode(&evidence)),
        ("signer card", codec::encode(&card)),
        ("hello", codec::encode(&crate::record::hello())),
        (
            "decision record",
            crate::record::record(0, GENESIS).encode(),
        ),
        ("hop record", Raw::of(&hop).payload),
        ("hop header", Raw::of(&hop).protected),
        ("answer", codec::encode(&crate::approval::answer())),
        (
            "relayed question",
            Raw::of(&crate::relayed_question::question()).payload,
        ),
        ("document header", Raw::of(w.root.bytes()).protected),
    ]
}

/// Entries of every kind, in one array as documents carry them.
fn entries() -> Vec<u8> {
    let log = crate::trust::log();
    Document::LogEntries {
        admin: log.admin(),
        from: 0,
        entries: log.encoded(0, 16),
    }
    .encode()
}

fn heads() -> HeadSet {
    let (w, log) = (world(), crate::trust::log());
    let row = VersionRow {
        version: 1,
        hash: w.root.hash(),
    };
    HeadSet {
        epoch: 1,
        root: row,
        bundle: Some(row),
        logs: vec![LogRow {
            admin: log.admin(),
            length: log.length(),
            link: log.link(),
        }],
        timestamps: vec![TimestampRow {
            timestamper: w.root.timestamper_ids()[0],
            version: 1,
        }],
    }
}

fn memory() -> Memory {
    let marks = crate::trust::timestamp().logs[0].marks.clone();
    Memory {
        epoch: 1,
        greatest: NOW,
        marks: vec![LogMarks {
            admin: crate::trust::log().admin(),
            marks: marks.unwrap(),
        }],
        held: vec![EntryId::from_bytes([1; 32])],
    }
}

#[test]
fn keys_stand_in_bytewise_order() {
    let join = crate::ticket::messages();
    let join = join.iter().map(|m| ("join message", m.encode()));
    for (name, bytes) in everything().into_iter().chain(join) {
        let mut d = Decoder::new(&bytes);
        ordered(name, &bytes, &mut d);
        assert_eq!(d.position(), bytes.len(), "{name}");
        assert_eq!(codec::scan(&bytes, bytes.len()), Ok(()), "{name}");
    }
}

/// Walks one item and checks every map in it.
fn ordered(name: &str, bytes: &[u8], d: &mut Decoder<'_>) {
    match d.datatype().unwrap() {
        Type::Array => {
            for _ in 0..d.array().unwrap().unwrap() {
                ordered(name, bytes, d);
            }
        }
        Type::Map => {
            let mut last: &[u8] = &[];
            for _ in 0..d.map().unwrap().unwrap() {
                let start = d.position();
                d.skip().unwrap();
                let key = &bytes[start..d.position()];
                assert!(last < key, "{name}: key {key:02x?} after {last:02x?}");
                last = key;
                ordered(name, bytes, d);
            }
        }
        _ => d.skip().unwrap(),
    }
}

#[test]
fn numbered_claims_are_all_there() {
    // Whoever adds a claim adds it to `full_header`, or the two tests above do not see it.
    let header = codec::encode(&full_header());
    let own = [0x3a, 0, 1, 0, 0];
    let at = crate::raw::find(&header, &own) + own.len();
    let mut d = Decoder::new(&header[at..]);
    let count = d.map().unwrap().unwrap();
    let keys: Vec<i64> = (0..count)
        .map(|_| {
            let key = d.i64().unwrap();
            d.skip().unwrap();
            key
        })
        .collect();
    let expected: Vec<i64> = (1..=CLAIMS).collect();
    assert_eq!(keys, expected);
    let spec = include_str!("../../SPEC.md");
    assert!(
        spec.contains(&format!("| {CLAIMS} |")),
        "SPEC.md describes claim {CLAIMS}"
    );
}

/// The greatest key among the claims.
const CLAIMS: i64 = 27;
