//! Messages of distribution and acknowledgements of revocations.

use protocol::distribution::message::{
    BundlePush, Bytes, Head, Heads, LogPush, MAX_LIST, MAX_SYNC_FRAME, Part, PullAcks,
    TimestampPush, Want,
};
use protocol::distribution::{
    Ack, HeadSet, LogRow, Message, PullId, Since, TimestampRow, VersionRow,
};
use protocol::id::{Digest, SignerId};
use protocol::time::UnixMillis;

use crate::case::{ACCEPTED, Case, case, run};
use crate::raw::{Raw, altered, flipped, replaced};
use crate::world::{CRYPTO, NOW, foreign, world};

fn bytes(text: &str) -> Bytes {
    Bytes::from(text.as_bytes())
}

fn digest(byte: u8) -> Digest {
    Digest::from_bytes([byte; 32])
}

fn signer(byte: u8) -> SignerId {
    SignerId::from_bytes([byte; 32])
}

/// Heads with everything in them.
pub(crate) fn heads() -> HeadSet {
    let versioned = |version| VersionRow {
        version,
        hash: digest(7),
    };
    let log = |byte| LogRow {
        admin: signer(byte),
        length: 41,
        link: digest(8),
    };
    let timestamp = |byte| TimestampRow {
        timestamper: signer(byte),
        version: 5,
    };
    HeadSet {
        epoch: 1,
        root: versioned(3),
        bundle: Some(versioned(9)),
        logs: vec![log(1), log(2)],
        timestamps: vec![timestamp(1), timestamp(2)],
    }
}

fn message_of(heads: HeadSet) -> Vec<u8> {
    let answer = true;
    Message::Heads(Heads { heads, answer }).encode()
}

/// One message of each kind, with its name.
pub(crate) fn messages() -> Vec<(&'static str, Message)> {
    let list = || vec![bytes("a"), bytes("bc")];
    let bundle = |body| {
        let head = bytes("head");
        Message::Head(Head::Bundle(BundlePush { head, body }))
    };
    let log = LogPush {
        admin: signer(1),
        head: bytes("head"),
        from: 40,
        entries: list(),
    };
    let timestamp = TimestampPush {
        timestamper: signer(2),
        document: bytes("time"),
    };
    let pull = PullAcks {
        id: PullId([5; 16]),
        log: heads().logs[0],
        hops: 32,
        life_ms: 10_000,
    };
    let acks = protocol::distribution::message::Acks {
        id: PullId([5; 16]),
        acks: list(),
    };
    let digest = digest(3);
    let row = heads().logs[0];
    let (from, roots, entries) = (2, list(), list());
    let piece = Part::Body {
        digest,
        offset: 0,
        bytes: bytes("piece"),
    };
    vec![
        ("pushes-root", Message::Head(Head::Root(bytes("root")))),
        ("pushes-bundle-head", bundle(None)),
        ("pushes-bundle", bundle(Some(bytes("body")))),
        ("pushes-log", Message::Head(Head::Log(log))),
        (
            "pushes-timestamp",
            Message::Head(Head::Timestamp(timestamp)),
        ),
        ("wants-roots", Message::Fetch(Want::Roots { from })),
        (
            "wants-body",
            Message::Fetch(Want::Body { digest, offset: 9 }),
        ),
        ("wants-entries", Message::Fetch(Want::Entries { row, from })),
        ("part-of-roots", Message::Body(Part::Roots { from, roots })),
        ("part-of-body", Message::Body(piece)),
        (
            "part-of-entries",
            Message::Body(Part::Entries { row, from, entries }),
        ),
        ("pulls", Message::PullAcks(pull)),
        ("acks", Message::Acks(acks)),
        ("node-record", Message::NodeRecord(bytes("record"))),
        ("ends-pull", Message::EndPull(PullId([5; 16]))),
        ("refuses-pull", Message::PullRefused(PullId([5; 16]))),
    ]
}

/// Messages, well-formed and not.
pub(crate) fn message_cases() -> Vec<Case> {
    let mut all: Vec<Case> = messages()
        .into_iter()
        .map(|(name, message)| case(name, message.encode(), ACCEPTED))
        .collect();
    let whole = message_of(heads());
    let without_bundle = HeadSet {
        bundle: None,
        ..heads()
    };
    let nothing = HeadSet {
        logs: Vec::new(),
        timestamps: Vec::new(),
        ..without_bundle.clone()
    };
    let swapped = |alter: fn(&mut HeadSet)| {
        let mut heads = heads();
        alter(&mut heads);
        message_of(heads)
    };
    let bundle = [0x82, 2, 0x82, 2, 0xa1, 1, 0x41, b'h'];
    all.extend([
        case("heads", whole.clone(), ACCEPTED),
        case("heads-without-bundle", message_of(without_bundle), ACCEPTED),
        case("heads-of-a-new-mesh", message_of(nothing), ACCEPTED),
        case(
            "logs-unsorted",
            swapped(|heads| heads.logs.reverse()),
            "bad_document_field",
        ),
        case(
            "log-twice",
            swapped(|heads| heads.logs[1].admin = heads.logs[0].admin),
            "bad_document_field",
        ),
        case(
            "forked-log",
            swapped(|heads| {
                heads.logs[1].admin = heads.logs[0].admin;
                heads.logs[1].link = digest(9);
            }),
            ACCEPTED,
        ),
        case(
            "log-of-three-branches",
            swapped(|heads| {
                let branch = |length| LogRow {
                    length,
                    ..heads.logs[0]
                };
                heads.logs = [41, 42, 43].map(branch).to_vec();
            }),
            "bad_document_field",
        ),
        case(
            "timestamps-unsorted",
            swapped(|heads| heads.timestamps.reverse()),
            "bad_document_field",
        ),
        case("empty", [], "truncated"),
        case("kind-0", [0x82, 0, 0], "malformed"),
        case("kind-10", [0x82, 10, 0], "malformed"),
        case("without-content", [0x81, 7], "malformed"),
        case("third-item", [0x83, 7, 0x41, 0, 0], "non_canonical"),
        case(
            "trailing-byte",
            [&whole[..], &[0]].concat(),
            "non_canonical",
        ),
        case("cut", &whole[..whole.len() - 1], "truncated"),
        case("pushes-kind-5", [0x82, 2, 0x82, 5, 0x41, 0], "malformed"),
        case("wants-kind-4", [0x82, 3, 0x82, 4, 2], "malformed"),
        case(
            "body-null-for-absent",
            replaced(
                &bundle,
                &[0xa1, 1, 0x41, b'h'],
                &[0xa2, 1, 0x41, b'h', 2, 0xf6],
            ),
            "malformed",
        ),
        case(
            "unknown-key",
            replaced(
                &bundle,
                &[0xa1, 1, 0x41, b'h'],
                &[0xa2, 1, 0x41, b'h', 3, 0x40],
            ),
            "non_canonical",
        ),
        case(
            "declares-2-to-the-63-roots",
            [0x82, 4, 0x83, 1, 2, 0x9b, 0x80, 0, 0, 0, 0, 0, 0, 0],
            "truncated",
        ),
    ]);
    all
}

/// The name of what becomes of a message.
pub(crate) fn judge_message(bytes: &[u8]) -> &'static str {
    match Message::decode(bytes) {
        Ok(message) => {
            assert_eq!(message.encode(), bytes);
            ACCEPTED
        }
        Err(error) => error.reason(),
    }
}

/// An acknowledgement of the caller.
pub(crate) fn ack() -> Ack {
    Ack {
        mesh: world().mesh(),
        node: world().caller.id,
        log: LogRow {
            admin: signer(1),
            length: 41,
            link: Digest::from_bytes([41; 32]),
        },
        since: Some(Since {
            in_force: UnixMillis(NOW.0 * 1000),
            on_disk: UnixMillis(NOW.0 * 1000 + 4),
        }),
    }
}

/// Acknowledgements, of which some hold.
pub(crate) fn ack_cases() -> Vec<Case> {
    let w = world();
    let signed = |ack: Ack| ack.sign(&CRYPTO, &w.caller.signing).unwrap();
    let valid = signed(ack());
    let other = &w.host.signing;
    let record = Raw::of(&crate::node_record::cases()[0].bytes).protected;
    let since_unknown = Ack {
        since: None,
        ..ack()
    };
    let elsewhere = Ack {
        mesh: foreign().mesh(),
        ..ack()
    };
    vec![
        case("valid", valid.clone(), ACCEPTED),
        case("since-unknown", signed(since_unknown), ACCEPTED),
        case("foreign-mesh", signed(elsewhere), "foreign_mesh"),
        case(
            "signed-by-another",
            ack().sign(&CRYPTO, other).unwrap(),
            "unknown_key",
        ),
        case(
            "a-node-record",
            altered(&valid, |raw| raw.protected = record),
            "wrong_content_type",
        ),
        case(
            "half-signed",
            altered(&valid, |raw| raw.signatures.truncate(1)),
            "half_signed",
        ),
        case(
            "longer-than-signed",
            altered(&valid, |raw| {
                raw.payload = replaced(&raw.payload, &[0x18, 41, 0x58], &[0x18, 42, 0x58]);
            }),
            "bad_signature",
        ),
        case(
            "unknown-key",
            altered(&valid, |raw| {
                raw.payload[0] += 1;
                raw.payload.extend_from_slice(&[0x05, 0x00]);
            }),
            "non_canonical",
        ),
        case(
            "signature-flipped",
            flipped(&valid, valid.len() - 1),
            "bad_signature",
        ),
        case("over-8-kib", vec![0; 8193], "oversized"),
    ]
}

/// The name of what becomes of an acknowledgement by the caller.
pub(crate) fn judge_ack(bytes: &[u8]) -> &'static str {
    let set = &world().caller.membership.content().signing;
    match Ack::verify(&CRYPTO, world().mesh(), set, bytes) {
        Ok(ack) => {
            assert_eq!(ack.node, world().caller.id);
            ACCEPTED
        }
        Err(error) => error.reason(),
    }
}

#[test]
fn messages_come_out_as_named() {
    run(&message_cases(), judge_message);
}

#[test]
fn messages_that_are_too_large_are_refused_unread() {
    assert_eq!(judge_message(&vec![0; MAX_SYNC_FRAME + 1]), "oversized");
    let list = |count: usize| {
        let roots = vec![bytes(""); count];
        Message::Body(Part::Roots { from: 1, roots }).encode()
    };
    assert_eq!(judge_message(&list(MAX_LIST)), ACCEPTED);
    assert_eq!(judge_message(&list(MAX_LIST + 1)), "malformed");
}

#[test]
fn every_truncation_of_a_message_is_named() {
    for (name, message) in messages() {
        let bytes = message.encode();
        for cut in 0..bytes.len() {
            assert_eq!(judge_message(&bytes[..cut]), "truncated", "{name} at {cut}");
        }
    }
}

#[test]
fn acknowledgements_come_out_as_named() {
    run(&ack_cases(), judge_ack);
}

#[test]
fn an_acknowledgement_says_what_was_signed() {
    let bytes = ack().sign(&CRYPTO, &world().caller.signing).unwrap();
    let set = &world().caller.membership.content().signing;
    let read = Ack::verify(&CRYPTO, world().mesh(), set, &bytes);
    assert_eq!(read, Ok(ack()));
    assert_eq!(Ack::parse(world().mesh(), &bytes), Ok(ack()));
    let raw = Raw::of(&bytes);
    assert_eq!(raw.payload[0], 0xa4, "a map of four");
}

proptest::proptest! {
    #[test]
    fn whatever_decodes_has_one_encoding(bytes: Vec<u8>) {
        judge_message(&bytes);
    }

    #[test]
    fn any_changed_byte_of_an_acknowledgement_is_refused(at: proptest::sample::Index) {
        let bytes = ack().sign(&CRYPTO, &world().caller.signing).unwrap();
        let at = at.index(bytes.len());
        assert_ne!(judge_ack(&flipped(&bytes, at)), ACCEPTED);
    }
}
