//! Every kind of message reads back; nothing else is read.

use crate::distribution::ack::MAX_ACK_BYTES;
use crate::distribution::fetch::{CHUNK_BYTES, CHUNK_ENTRIES};
use crate::distribution::head::{HeadSet, LogRow, TimestampRow, VersionRow};
use crate::distribution::message::{
    Acks, BundlePush, Bytes, Head, Heads, LogPush, MAX_LIST, MAX_SYNC_FRAME, Message, Part,
    PullAcks, TimestampPush, Want,
};
use crate::distribution::pull::{ACK_BATCH, PullId};
use crate::id::{Digest, SignerId};
use crate::limits::MAX_DOCUMENT_BYTES;

fn bytes(text: &str) -> Bytes {
    Bytes::from(text.as_bytes())
}

fn digest(byte: u8) -> Digest {
    Digest::from_bytes([byte; 32])
}

fn signer(byte: u8) -> SignerId {
    SignerId::from_bytes([byte; 32])
}

fn heads() -> HeadSet {
    let versioned = |version| VersionRow {
        version,
        hash: digest(7),
    };
    HeadSet {
        epoch: 1,
        root: versioned(3),
        bundle: Some(versioned(9)),
        logs: vec![LogRow {
            admin: signer(1),
            length: 41,
            link: digest(8),
        }],
        timestamps: vec![TimestampRow {
            timestamper: signer(2),
            version: 5,
        }],
    }
}

/// One of each.
fn all() -> Vec<Message> {
    let list = || vec![bytes("a"), bytes("bc")];
    vec![
        Message::Heads(Heads {
            heads: heads(),
            answer: true,
        }),
        Message::Heads(Heads {
            heads: HeadSet {
                bundle: None,
                ..heads()
            },
            answer: false,
        }),
        Message::Head(Head::Root(bytes("root"))),
        Message::Head(Head::Bundle(BundlePush {
            head: bytes("head"),
            body: None,
        })),
        Message::Head(Head::Bundle(BundlePush {
            head: bytes("head"),
            body: Some(bytes("body")),
        })),
        Message::Head(Head::Log(LogPush {
            admin: signer(1),
            head: bytes("head"),
            from: 40,
            entries: list(),
        })),
        Message::Head(Head::Timestamp(TimestampPush {
            timestamper: signer(2),
            document: bytes("time"),
        })),
        Message::Fetch(Want::Roots { from: 2 }),
        Message::Fetch(Want::Body {
            digest: digest(3),
            offset: 1 << 20,
        }),
        Message::Fetch(Want::Entries {
            row: heads().logs[0],
            from: 7,
        }),
        Message::Body(Part::Roots {
            from: 2,
            roots: list(),
        }),
        Message::Body(Part::Body {
            digest: digest(3),
            offset: 0,
            bytes: bytes("piece"),
        }),
        Message::Body(Part::Entries {
            row: heads().logs[0],
            from: 7,
            entries: Vec::new(),
        }),
        Message::PullAcks(PullAcks {
            id: PullId([5; 16]),
            log: heads().logs[0],
            hops: 32,
            life_ms: 10_000,
        }),
        Message::Acks(Acks {
            id: PullId([5; 16]),
            acks: list(),
        }),
        Message::NodeRecord(bytes("record")),
        Message::EndPull(PullId([5; 16])),
        Message::PullRefused(PullId([5; 16])),
    ]
}

#[test]
fn every_message_reads_back() {
    for message in all() {
        let encoded = message.encode();
        assert_eq!(Message::decode(&encoded).as_ref(), Ok(&message));
        for cut in 0..encoded.len() {
            assert!(Message::decode(&encoded[..cut]).is_err());
        }
    }
}

#[test]
fn messages_are_what_the_specification_says() {
    let want = Message::Fetch(Want::Roots { from: 2 });
    assert_eq!(want.encode(), [0x82, 3, 0x82, 1, 2]);
    let record = Message::NodeRecord(bytes("r"));
    assert_eq!(record.encode(), [0x82, 7, 0x41, b'r']);
    let bundle = Message::Head(Head::Bundle(BundlePush {
        head: bytes("h"),
        body: None,
    }));
    assert_eq!(
        bundle.encode(),
        [0x82, 2, 0x82, 2, 0xa1, 1, 0x41, b'h'],
        "an absent body is left out"
    );
}

fn refused(bytes: &[u8]) -> &'static str {
    Message::decode(bytes).unwrap_err().reason()
}

#[test]
fn the_largest_of_each_kind_fits() {
    let row = heads().logs[0];
    let of = |size: usize, count: usize| vec![Bytes::from(vec![0x5a; size]); count];
    let digest = digest(3);
    let largest = [
        Message::Body(Part::Roots {
            from: 2,
            roots: of(MAX_DOCUMENT_BYTES, CHUNK_BYTES / MAX_DOCUMENT_BYTES),
        }),
        Message::Body(Part::Body {
            digest,
            offset: u64::MAX,
            bytes: Bytes::from(vec![0; CHUNK_BYTES]),
        }),
        Message::Body(Part::Entries {
            row,
            from: u64::MAX,
            entries: of(CHUNK_BYTES / CHUNK_ENTRIES, CHUNK_ENTRIES),
        }),
        Message::Acks(Acks {
            id: PullId([5; 16]),
            acks: of(MAX_ACK_BYTES, ACK_BATCH),
        }),
        Message::Head(Head::Bundle(BundlePush {
            head: Bytes::from(vec![0; MAX_DOCUMENT_BYTES]),
            body: Some(Bytes::from(vec![0; 64 * 1024])),
        })),
    ];
    for message in largest {
        let bytes = message.encode();
        assert_eq!(Message::decode(&bytes).as_ref(), Ok(&message));
    }
}

#[test]
fn everything_else_is_refused_by_name() {
    assert_eq!(refused(&[0x82, 8, 0]), "malformed");
    assert_eq!(refused(&[0x82, 0, 0]), "malformed");
    assert_eq!(refused(&[0x81, 7]), "malformed");
    assert_eq!(refused(&[0x83, 7, 0x41, 0, 0]), "non_canonical");
    assert_eq!(refused(&[0x82, 2, 0x82, 5, 0x41, 0]), "malformed");
    // A body of null for one that is absent.
    let null = [0x82, 2, 0x82, 2, 0xa2, 1, 0x41, b'h', 2, 0xf6];
    assert_eq!(refused(&null), "malformed");
    assert_eq!(refused(&vec![0; MAX_SYNC_FRAME + 1]), "oversized");
    let mut many = vec![0x82, 4, 0x83, 1, 0, 0x99];
    many.extend_from_slice(&u16::try_from(MAX_LIST + 1).unwrap().to_be_bytes());
    many.resize(many.len() + MAX_LIST + 1, 0x40);
    assert_eq!(refused(&many), "malformed");
}

#[test]
fn unsorted_and_repeated_heads_are_refused() {
    let with = |alter: &dyn Fn(&mut HeadSet)| {
        let mut heads = heads();
        alter(&mut heads);
        let answer = false;
        refused(&Message::Heads(Heads { heads, answer }).encode())
    };
    let twice = |heads: &mut HeadSet| heads.logs.push(heads.logs[0]);
    assert_eq!(with(&twice), "bad_document_field");
    let thrice = |heads: &mut HeadSet| {
        let branch = |length| LogRow {
            length,
            ..heads.logs[0]
        };
        heads.logs = [41, 42, 43].map(branch).to_vec();
    };
    assert_eq!(with(&thrice), "bad_document_field");
    let unsorted = |heads: &mut HeadSet| {
        let mut mark = heads.timestamps[0];
        mark.timestamper = signer(1);
        heads.timestamps.push(mark);
    };
    assert_eq!(with(&unsorted), "bad_document_field");
    let many = |heads: &mut HeadSet| {
        let mark = heads.logs[0];
        let logs = (0..=2 * crate::limits::MAX_LOGS).map(|i| LogRow {
            admin: signer(u8::try_from(i).unwrap()),
            ..mark
        });
        heads.logs = logs.collect();
    };
    assert_eq!(with(&many), "bad_document_field");
}
