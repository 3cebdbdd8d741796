//! Messages of distribution: the decoder, and a machine that is fed whatever decodes.

use protocol::codec;
use protocol::cose::CoseSign;
use protocol::crypto::{Signer, SigningSet};
use protocol::distribution::ack::MAX_ACK_BYTES;
use protocol::distribution::message::{
    Acks, BundlePush, Bytes, Head, Heads, LogPush, Part, PullAcks, TimestampPush, Want,
};
use protocol::distribution::{
    Ack, Config, Context, Effect, Event, HeadSet, LogRow, MAX_SYNC_FRAME, Machine, Members,
    Message, PullId, TimestampRow, TrustState, VersionRow,
};
use protocol::id::{Digest, NodeId, SignerId};
use protocol::time::UnixMillis;
use protocol::trust::revocation::{Act, EMPTY, Entry, LogHead, next_link};

use crate::fake::{Fake, FakeSigner};
use crate::seeds;

/// One message: what decodes has one encoding, and weighs less than it.
pub fn message(data: &[u8]) {
    if let Ok(message) = Message::decode(data) {
        assert_eq!(message.encode(), data, "one message, one encoding");
        assert!(message.weight() <= data.len());
    }
}

/// An acknowledgement, judged under the mesh that it names, so that what comes after that check is
/// reached.
pub fn ack(data: &[u8]) {
    let Ok(cose) = CoseSign::parse(data, MAX_ACK_BYTES) else {
        return;
    };
    let Ok(ack) = codec::decode::<Ack>(cose.payload, MAX_ACK_BYTES) else {
        return;
    };
    assert_eq!(codec::encode(&ack), cose.payload, "one value, one encoding");
    if let Ok(parsed) = Ack::parse(ack.mesh, data) {
        assert_eq!(parsed, ack);
    }
    let _ = Ack::verify(&Fake, ack.mesh, &seeds::signer(1), data);
}

/// A machine with two peers, fed messages one after the other, each preceded by its peer, the time
/// that has passed and its length: nothing goes back a version, nothing is held without bound.
pub fn machine(data: &[u8]) {
    let state = TrustState::genesis(&Fake, &seeds::signed_root()).expect("the seed root holds");
    let mut now = UnixMillis(seeds::NOW.0 * 1000);
    let mut machine = Machine::new(seeds::node(0), Config::default(), state, now);
    let (signer, peers) = (FakeSigner::new(1), [seeds::node(1), seeds::node(2)]);
    let mut handle = |event: Event<'_>, now: UnixMillis| {
        let cx = Context {
            crypto: &Fake,
            signer: &signer,
            members: &Everybody,
            now,
        };
        let before = machine.heads().clone();
        let mut out = Vec::new();
        machine.handle(&cx, event, &mut out);
        for effect in out {
            match effect {
                Effect::Send(_, message) => {
                    assert!(message.encode().len() <= MAX_SYNC_FRAME);
                }
                Effect::Persist { id, .. } => {
                    machine.handle(&cx, Event::Persisted(id), &mut Vec::new());
                }
                _ => {}
            }
        }
        let after = machine.heads();
        assert!(before.root.version <= after.root.version && before.epoch <= after.epoch);
        assert!(
            machine.buffered() <= data.len(),
            "no more is held than came"
        );
    };
    for peer in peers {
        handle(Event::PeerUp(peer), now);
    }
    let mut rest = data;
    while let Some(([control, high, low], after)) = rest.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(after.len());
        let (message, after) = after.split_at(length);
        rest = after;
        now.0 += u64::from(control >> 1) * 100;
        let peer = peers[usize::from(control & 1)];
        match Message::decode(message) {
            Ok(message) => handle(Event::Message(peer, &message), now),
            Err(_) => handle(Event::Tick, now),
        }
    }
}

struct Everybody;

impl Members for Everybody {
    fn signing_set(&self, _: &NodeId) -> Option<SigningSet> {
        Some(seeds::signer(1))
    }
}

/// All messages one after the other, and a log with its entries.
pub fn sequences() -> Vec<Vec<u8>> {
    let framed = |messages: &[Vec<u8>]| {
        let frame = |message: &Vec<u8>| {
            let length = u16::try_from(message.len()).expect("a short message");
            [&[3], &length.to_be_bytes()[..], message].concat()
        };
        messages.iter().flat_map(frame).collect::<Vec<u8>>()
    };
    vec![framed(&messages()), framed(&[log()])]
}

/// A pushed log of one entry.
fn log() -> Vec<u8> {
    let admin = FakeSigner::new(10);
    let entry = Entry {
        index: 0,
        at: seeds::NOW,
        act: Act::Node(seeds::node(9)),
        reason: "stolen".to_owned(),
    };
    let entry = entry.encode();
    let id = admin.public().id(&Fake);
    let head = LogHead {
        mesh: seeds::mesh(),
        admin: id,
        length: 1,
        link: next_link(&Fake, &EMPTY, &entry),
        issued: seeds::NOW,
    };
    let head = head.sign(&Fake, &admin).expect("the fake signs");
    let push = LogPush {
        admin: id,
        head: head.into(),
        from: 0,
        entries: vec![entry.into()],
    };
    Message::Head(Head::Log(push)).encode()
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
            log: row,
            hops: 32,
            life_ms: 10_000,
        }),
        Message::Acks(Acks { id, acks: list() }),
        Message::NodeRecord(bytes("record")),
        Message::EndPull(id),
        Message::PullRefused(id),
    ];
    all.iter().map(Message::encode).collect()
}
