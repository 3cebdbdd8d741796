//! Messages of distribution: the decoder, and a machine that is fed whatever decodes.

use protocol::distribution::message::{
    Acks, BundlePush, Bytes, Head, Heads, LogPush, Part, PullAcks, TimestampPush, Want,
};
use protocol::distribution::{
    HeadSet, LogRow, Message, PullId, TimestampRow, VersionRow,
};
use protocol::id::{Digest, SignerId};

/// One message: what decodes has one encoding, and weighs less than it.
pub fn message(data: &[u8]) {
    if let Ok(message) = Message::decode(data) {
        assert_eq!(message.encode(), data, "one message, one encoding");
        assert!(message.weight() <= data.len());
    }
}

fn bytes(text: &str) -> Bytes {
    Bytes::from(text.as_bytes())
}

/// One message of each kind.
pub fn messages() -> Vec<Vec<u8>> {
    let (digest, signer) = (Digest::from_bytes([3; 32]), SignerId::from_bytes([1; 32]));
    let versioned = |version| VersionRow {
        version,
        hash: digest,
    };
    let row = LogRow {
        admin: signer,
        length: 41,
        link: digest,
    };
    let heads = HeadSet {
        epoch: 1,
        root: versioned(3),
        bundle: Some(versioned(9)),
        logs: vec![row],
        timestamps: vec![TimestampRow {
            timestamper: signer,
            version: 5,
        }],
    };
    let list = || vec![bytes("a"), bytes("bc")];
    let id = PullId([5; 16]);
    let all = [
        Message::Heads(Heads {
            heads,
            answer: true,
        }),
        Message::Head(Head::Root(bytes("root"))),
        Message::Head(Head::Bundle(BundlePush {
            head: bytes("head"),
            body: Some(bytes("body")),
        })),
        Message::Head(Head::Log(LogPush {
            admin: signer,
            head: bytes("head"),
            from: 40,
            entries: list(),
        })),
        Message::Head(Head::Timestamp(TimestampPush {
            timestamper: signer,
            document: bytes("time"),
        })),
        Message::Fetch(Want::Roots { from: 2 }),
        Message::Fetch(Want::Body { digest, offset: 9 }),
        Message::Fetch(Want::Entries { row, from: 7 }),
        Message::Body(Part::Roots {
            from: 2,
            roots: list(),
        }),
        Message::Body(Part::Body {
            digest,
            offset: 0,
            bytes: bytes("piece"),
        }),
        Message::Body(Part::Entries {
            row,
            from: 7,
            entries: list(),
        }),
        Message::PullAcks(PullAcks {
            id,
            admin: signer,
            length: 41,
            hops: 32,
            life_ms: 10_000,
        }),
        Message::Acks(Acks { id, acks: list() }),
        Message::NodeRecord(bytes("record")),
    ];
    all.iter().map(Message::encode).collect()
}
