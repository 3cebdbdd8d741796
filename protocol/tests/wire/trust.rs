//! Roots after the genesis, bundles, revocation logs and timestamps.

use protocol::codec;
use protocol::crypto::Signer;
use protocol::id::{Digest, EntryId, TicketId};
use protocol::trust::bundle::{Label, Pin, Policy, VerifiedBundleHead};
use protocol::trust::dating::Mark;
use protocol::trust::revocation::{Log, VerifiedLogHead};
use protocol::trust::timestamp::{LogState, VerifiedTimestamp, VersionHash};
use protocol::trust::{
    Act, BundleBody, BundleHead, Document, Entry, LogHead, Retired, Root, Timestamp,
};

use crate::case::{ACCEPTED, Alterations, Case, case, run};
use crate::raw::{Raw, altered, flipped, replaced};
use crate::world::{CRYPTO, NOW, foreign, name, names, public, signing, world};

/// The outcome as the root after that of the world.
pub(crate) fn judge_root(bytes: &[u8]) -> &'static str {
    let judged = world().root.successor(&CRYPTO, &bytes.into());
    judged.map_or_else(|e| e.reason(), |_| ACCEPTED)
}

/// The outcome under the root of the world.
pub(crate) fn judge_bundle(bytes: &[u8]) -> &'static str {
    let judged = VerifiedBundleHead::verify(&CRYPTO, &[&world().root], &bytes.into());
    judged.map_or_else(|e| e.reason(), |_| ACCEPTED)
}

/// The outcome under the root of the world.
pub(crate) fn judge_log(bytes: &[u8]) -> &'static str {
    let judged = VerifiedLogHead::verify(&CRYPTO, &world().root, &bytes.into());
    judged.map_or_else(|e| e.reason(), |_| ACCEPTED)
}

/// The outcome under the root of the world, time and versions apart.
pub(crate) fn judge_timestamp(bytes: &[u8]) -> &'static str {
    let judged = VerifiedTimestamp::verify(&CRYPTO, &world().root, &bytes.into());
    judged.map_or_else(|e| e.reason(), |_| ACCEPTED)
}

/// The outcome of an entry by itself.
pub(crate) fn judge_entry(bytes: &[u8]) -> &'static str {
    Entry::decode(bytes).map_or_else(|e| e.reason(), |_| ACCEPTED)
}

/// The root that retires the third admin.
pub(crate) fn next_root() -> Root {
    let w = world();
    let mut root = w.root.root().clone();
    root.version = 2;
    root.mesh = Some(w.mesh());
    root.previous = Some(w.root.hash());
    let gone = root.admins.pop().unwrap();
    root.retired = Some(vec![Retired {
        admin: gone,
        length: log().length(),
        link: log().link(),
    }]);
    root
}

/// A body with one of everything.
pub(crate) fn body() -> BundleBody {
    BundleBody {
        policies: vec![Policy {
            name: "read-only".parse().unwrap(),
            media_type: "application/json".to_owned(),
            bytes: b"{}".to_vec(),
        }],
        pins: vec![Pin {
            server: name("shop"),
            tool: "get_product_info".to_owned(),
            digest: Digest::from_bytes([0x33; 32]),
        }],
        labels: vec![Label {
            target: "shop/get_product_info".to_owned(),
            labels: vec!["public".to_owned()],
        }],
        sites: names(&["berlin"]),
    }
}

/// The head of that body.
pub(crate) fn bundle() -> BundleHead {
    BundleHead::over(&CRYPTO, &world().root, 1, NOW.minus(60), &body().encode())
}

/// A log with every kind of entry.
pub(crate) fn log() -> Log {
    let w = world();
    let mut log = Log::new(w.mesh(), w.root.admin_ids()[2]);
    let acts = [
        Act::Node(w.host.id),
        Act::Agent {
            node: Some(w.caller.id),
            name: name("assistant"),
        },
        Act::Agent {
            node: None,
            name: name("assistant"),
        },
        Act::Ticket(TicketId::from_bytes([0x55; 32])),
        Act::Tool(Digest::from_bytes([0x33; 32])),
        Act::Issuer {
            issuer: w.root.issuer_ids()[0],
            since: NOW.minus(7200),
            since_sequence: Some(40),
        },
        Act::Lift(EntryId::from_bytes([0x66; 32])),
    ];
    for (i, act) in (0_u64..).zip(acts) {
        log.write(&CRYPTO, NOW.minus(100).plus(i), act, "stolen")
            .unwrap();
    }
    log
}

/// A timestamp in which everything optional is present.
pub(crate) fn timestamp() -> Timestamp {
    let w = world();
    Timestamp {
        mesh: w.mesh(),
        epoch: 1,
        root_version: 1,
        root: w.root.hash(),
        timestamper: w.root.timestamper_ids()[0],
        version: 1,
        time: NOW,
        bundle: Some(VersionHash {
            version: 1,
            hash: Digest::from_bytes([0x77; 32]),
        }),
        logs: vec![LogState {
            admin: log().admin(),
            length: log().length(),
            link: log().link(),
            marks: Some(vec![Mark {
                length: 2,
                time: NOW.minus(50),
                nodes: 12,
            }]),
        }],
        nodes: 12,
    }
}

fn two_admins() -> [&'static dyn Signer; 2] {
    let [first, second, _] = &world().admins;
    [first, second]
}

fn root_otherwise(alter: impl FnOnce(&mut Root)) -> Vec<u8> {
    let mut root = next_root();
    alter(&mut root);
    root.sign(&CRYPTO, &two_admins()).unwrap()
}

fn bundle_otherwise(alter: impl FnOnce(&mut BundleHead)) -> Vec<u8> {
    let mut head = bundle();
    alter(&mut head);
    head.sign(&CRYPTO, &two_admins()).unwrap()
}

fn log_otherwise(alter: impl FnOnce(&mut LogHead)) -> Vec<u8> {
    let mut head = log().head(NOW);
    alter(&mut head);
    head.sign(&CRYPTO, &world().admins[2]).unwrap()
}

fn timestamp_otherwise(alter: impl FnOnce(&mut Timestamp)) -> Vec<u8> {
    let mut content = timestamp();
    alter(&mut content);
    content.sign(&CRYPTO, &signing("test/timestamper")).unwrap()
}

/// What goes wrong with every signed document, without any new signature.
fn common(valid: &[u8]) -> Vec<Case> {
    let stripped = |count| altered(valid, |r| r.signatures.truncate(count));
    vec![
        case("valid", valid, ACCEPTED),
        case("unsigned", stripped(0), "unsigned"),
        case("half-signed", stripped(1), "half_signed"),
        case(
            "changed-content",
            altered(valid, |r| {
                let last = r.payload.last_mut().unwrap();
                *last ^= 1;
            }),
            "bad_signature",
        ),
        case("trailing-byte", [valid, &[0]].concat(), "non_canonical"),
        case("truncated", &valid[..valid.len() - 1], "truncated"),
    ]
}

/// A document of two signers with one of them twice, and alone.
fn of_two(valid: &[u8]) -> Vec<Case> {
    let twice = altered(valid, |r| {
        let pair = r.signatures[..2].to_vec();
        r.signatures.splice(2.., pair);
    });
    let one = altered(valid, |r| r.signatures.truncate(2));
    vec![
        case("under-threshold", one, "under_threshold"),
        case("one-admin-twice", twice, "duplicate_signature"),
    ]
}

/// Roots after the genesis that are kept as vectors.
pub(crate) fn root_cases() -> Vec<Case> {
    let valid = root_otherwise(|_| ());
    let mut cases = common(&valid);
    cases.extend(of_two(&valid));
    let genesis = world().root.bytes().to_vec();
    cases.push(case("a-genesis", genesis, "foreign_mesh"));
    cases.push(case(
        "not-the-next",
        altered(&valid, |r| {
            r.payload = replaced(&r.payload, &[1, 2, 2], &[1, 3, 2])
        }),
        "not_next_root",
    ));
    let previous = *world().root.hash().as_bytes();
    cases.push(case(
        "of-another-root",
        altered(&valid, |r| {
            r.payload = replaced(&r.payload, &previous, &[9; 32]);
        }),
        "root_unchained",
    ));
    cases
}

/// Bundles' heads that are kept as vectors.
pub(crate) fn bundle_cases() -> Vec<Case> {
    let valid = bundle_otherwise(|_| ());
    let mut cases = common(&valid);
    cases.extend(of_two(&valid));
    cases
}

/// Log heads that are kept as vectors.
pub(crate) fn log_cases() -> Vec<Case> {
    let valid = log_otherwise(|_| ());
    let mut cases = common(&valid);
    let other = *log().admin().as_bytes();
    let first = *world().root.admin_ids()[0].as_bytes();
    let by_another = altered(&valid, |r| r.payload = replaced(&r.payload, &other, &first));
    cases.push(case("log-of-another-admin", by_another, "unknown_key"));
    cases
}

/// Timestamps that are kept as vectors.
pub(crate) fn timestamp_cases() -> Vec<Case> {
    common(&timestamp_otherwise(|_| ()))
}

/// Entries that are kept as vectors.
pub(crate) fn entry_cases() -> Vec<Case> {
    let kinds = [
        "node",
        "agent",
        "agent-anywhere",
        "ticket",
        "tool",
        "issuer",
        "lift",
    ];
    let log = log();
    let valid = log.encoded(0, kinds.len());
    let mut cases: Vec<Case> = kinds
        .iter()
        .zip(&valid)
        .map(|(kind, bytes)| case(*kind, bytes.to_vec(), ACCEPTED))
        .collect();
    let node = valid[0].to_vec();
    let unknown = replaced(&node, &[0xa2, 1, 1], &[0xa2, 1, 7]);
    let mixed = replaced(&valid[3], &[0xa2, 1, 3], &[0xa2, 1, 1]);
    let controls = replaced(&node, b"stolen", b"stol\nn");
    cases.extend([
        case("unknown-kind", unknown, "malformed"),
        case("target-of-another-kind", mixed, "malformed"),
        case("control-character", controls, "bad_document_field"),
        case("trailing-byte", [&node[..], &[0]].concat(), "non_canonical"),
    ]);
    cases
}

#[test]
fn documents_are_judged_by_name() {
    run(&root_cases(), judge_root);
    run(&bundle_cases(), judge_bundle);
    run(&log_cases(), judge_log);
    run(&timestamp_cases(), judge_timestamp);
    run(&entry_cases(), judge_entry);
}

#[test]
fn changed_bytes_are_refused() {
    let sweep = |valid: &[u8], judge: fn(&[u8]) -> &'static str| {
        assert_eq!(judge(valid), ACCEPTED);
        for at in (0..valid.len()).step_by(97) {
            assert_ne!(judge(&flipped(valid, at)), ACCEPTED, "byte {at}");
        }
    };
    sweep(&root_otherwise(|_| ()), judge_root);
    sweep(&bundle_otherwise(|_| ()), judge_bundle);
    sweep(&log_otherwise(|_| ()), judge_log);
    sweep(&timestamp_otherwise(|_| ()), judge_timestamp);
}

const FIELD: &str = "bad_document_field";

#[test]
fn heads_and_timestamps_are_checked_even_when_signed() {
    let heads: &Alterations<BundleHead> = &[
        ("no version", FIELD, |h| h.version = 0),
        ("no root", FIELD, |h| h.root_version = 0),
        ("no body", FIELD, |h| h.body_length = 0),
        ("a body too large", FIELD, |h| {
            h.body_length = 8 * 1024 * 1024 + 1
        }),
        ("the largest body", ACCEPTED, |h| {
            h.body_length = 8 * 1024 * 1024
        }),
        ("another mesh", "foreign_mesh", |h| {
            h.mesh = foreign().mesh()
        }),
    ];
    let of = |&(name, expected, alter): &(&str, _, fn(&mut BundleHead))| {
        case(name, bundle_otherwise(alter), expected)
    };
    run(&heads.iter().map(of).collect::<Vec<_>>(), judge_bundle);

    let stamps: &Alterations<Timestamp> = &[
        ("no version", FIELD, |t| t.version = 0),
        ("no root", FIELD, |t| t.root_version = 0),
        ("a log twice", FIELD, |t| t.logs.push(t.logs[0].clone())),
        ("an empty log", FIELD, |t| t.logs[0].length = 0),
        ("no marks", ACCEPTED, |t| t.logs[0].marks = None),
        ("marks of none", FIELD, |t| {
            t.logs[0].marks = Some(Vec::new())
        }),
        ("a mark beyond the log", FIELD, |t| mark(t).length = 8),
        ("a mark of later", FIELD, |t| mark(t).time = NOW.plus(1)),
        ("a mark twice", FIELD, |t| {
            let twice = *mark(t);
            t.logs[0].marks.as_mut().unwrap().push(twice);
        }),
        ("another mesh", "foreign_mesh", |t| {
            t.mesh = foreign().mesh()
        }),
        ("a stranger", "unknown_key", |t| {
            t.timestamper = log().admin()
        }),
        ("no bundle", ACCEPTED, |t| t.bundle = None),
    ];
    let of = |&(name, expected, alter): &(&str, _, fn(&mut Timestamp))| {
        case(name, timestamp_otherwise(alter), expected)
    };
    run(&stamps.iter().map(of).collect::<Vec<_>>(), judge_timestamp);
}

fn mark(timestamp: &mut Timestamp) -> &mut Mark {
    &mut timestamp.logs[0].marks.as_mut().unwrap()[0]
}

#[test]
fn bodies_are_sorted_and_bounded() {
    let judge = |bytes: &[u8]| BundleBody::decode(bytes).map_or_else(|e| e.reason(), |_| ACCEPTED);
    let cases: &Alterations<BundleBody> = &[
        ("valid", ACCEPTED, |_| ()),
        ("empty", ACCEPTED, |b| *b = BundleBody::default()),
        ("a policy twice", FIELD, |b| {
            b.policies.push(b.policies[0].clone())
        }),
        ("no media type", FIELD, |b| b.policies[0].media_type.clear()),
        ("a pin twice", FIELD, |b| b.pins.push(b.pins[0].clone())),
        ("no tool", FIELD, |b| b.pins[0].tool.clear()),
        ("a label's target twice", FIELD, |b| {
            b.labels.push(b.labels[0].clone())
        }),
        ("a label twice", FIELD, |b| {
            b.labels[0].labels.push("public".to_owned())
        }),
        ("a long label", FIELD, |b| {
            b.labels[0].labels[0] = "x".repeat(65)
        }),
        ("sites out of order", FIELD, |b| {
            b.sites = names(&["b", "a"])
        }),
    ];
    let of = |&(name, expected, alter): &(&str, _, fn(&mut BundleBody))| {
        let mut body = body();
        alter(&mut body);
        case(name, body.encode(), expected)
    };
    run(&cases.iter().map(of).collect::<Vec<_>>(), judge);
    // The largest: 20,000 policies of 400 bytes.
    let policy = |i: usize| Policy {
        name: format!("p{i}").parse().unwrap(),
        media_type: "application/json".to_owned(),
        bytes: vec![7; 360],
    };
    let mut large = BundleBody {
        policies: (10_000..30_000).map(policy).collect(),
        ..BundleBody::default()
    };
    assert_eq!(judge(&large.encode()), ACCEPTED);
    large.policies.push(policy(30_001));
    assert_eq!(judge(&large.encode()), FIELD);
    large.policies.truncate(9_000);
    for policy in &mut large.policies {
        policy.bytes = vec![7; 1100];
    }
    assert_eq!(judge(&large.encode()), "oversized");
}

#[test]
fn documents_read_back_as_they_travel() {
    let log = log();
    let documents = [
        Document::Root(root_otherwise(|_| ()).into()),
        Document::BundleHead(bundle_otherwise(|_| ()).into()),
        Document::BundleBody(body().encode().into()),
        Document::LogHead(log_otherwise(|_| ()).into()),
        Document::LogEntries {
            admin: log.admin(),
            from: 2,
            entries: log.encoded(2, 3),
        },
        Document::Timestamp(timestamp_otherwise(|_| ()).into()),
    ];
    for document in documents {
        let bytes = document.encode();
        assert!(bytes.len() <= document.size() + 64);
        assert_eq!(Document::decode(&bytes), Ok(document));
    }
    let refused = |bytes: &[u8]| Document::decode(bytes).unwrap_err().reason();
    assert_eq!(refused(&[0xa2, 1, 1, 2, 0x60]), "malformed");
    assert_eq!(refused(&[0xa2, 1, 7, 2, 0x40]), "malformed");
    assert_eq!(refused(&[0xa1, 1, 1]), "malformed");
    assert_eq!(refused(&[0xa3, 1, 1, 2, 0x40, 4, 0]), "non_canonical");
    let none = Document::LogEntries {
        admin: log.admin(),
        from: 0,
        entries: Vec::new(),
    };
    assert_eq!(refused(&none.encode()), "malformed");
}

#[test]
fn hashes_cover_no_signature() {
    let w = world();
    let [first, second, third] = &w.admins;
    let by = |signers: [&dyn Signer; 2]| {
        let bytes = bundle().sign(&CRYPTO, &signers).unwrap();
        VerifiedBundleHead::verify(&CRYPTO, &[&w.root], &bytes.into()).unwrap()
    };
    let (a, b) = (by([first, second]), by([third, second]));
    assert_eq!(a.hash(), b.hash());
    assert_ne!(a.shared(), b.shared());
    let payload = Raw::of(&a.shared()).payload;
    let parts: [&[u8]; 2] = [b"application/vnd.hedgerow.bundle+cbor", &payload];
    let expected = Digest::over(&CRYPTO, protocol::crypto::domain::DOCUMENT, &parts);
    assert_eq!(a.hash(), expected);
    assert_eq!(codec::encode(&bundle()), payload);
    assert_eq!(public(first).id(&CRYPTO), w.root.admin_ids()[0]);
}
