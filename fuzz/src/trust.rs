//! Roots, bundles, revocations and timestamps, one by one and as a node takes them.

use std::sync::OnceLock;

use minicbor::{Decode, Encode};
use protocol::codec;
use protocol::crypto::Signer;
use protocol::id::Digest;
use protocol::limits::MAX_DOCUMENT_BYTES;
use protocol::time::UnixSeconds;
use protocol::trust::bundle::{Policy, VerifiedBundleHead};
use protocol::trust::document::{Document, HeadSet};
use protocol::trust::revocation::{Log, VerifiedLogHead};
use protocol::trust::state::{Memory, Offer};
use protocol::trust::{
    Act, BundleBody, BundleHead, Bytes, Entry, LogHead, Pending, Timestamp, TrustState,
    VerifiedRoot, VerifiedTimestamp,
};

use crate::fake::{Fake, FakeSigner};
use crate::seeds::{self, NOW};

/// A node that knows the genesis only.
fn genesis() -> TrustState {
    static STATE: OnceLock<TrustState> = OnceLock::new();
    let new = || TrustState::genesis(&Fake, &seeds::roots()[0]).expect("the seed root holds");
    STATE.get_or_init(new).clone()
}

fn root() -> VerifiedRoot {
    genesis().root().as_ref().clone()
}

pub fn next_root(data: &[u8]) {
    if let Ok(next) = root().successor(&Fake, &data.into()) {
        assert_eq!(next.bytes(), data);
        assert_eq!(next.mesh(), root().mesh());
        assert_eq!(next.root().version, 2);
    }
}

pub fn bundle(data: &[u8]) {
    if let Ok(head) = VerifiedBundleHead::verify(&Fake, &[&root()], &data.into()) {
        assert_eq!(&*head.shared(), data);
    }
}

pub fn log_head(data: &[u8]) {
    if let Ok(head) = VerifiedLogHead::verify(&Fake, &root(), &data.into()) {
        assert_eq!(&*head.shared(), data);
    }
}

pub fn log_entry(data: &[u8]) {
    if let Ok(entry) = Entry::decode(data) {
        assert_eq!(entry.encode(), data, "one entry, one encoding");
    }
}

pub fn timestamp(data: &[u8]) {
    if let Ok(stamp) = VerifiedTimestamp::verify(&Fake, &root(), &data.into()) {
        assert_eq!(&*stamp.shared(), data);
    }
}

pub fn pending(data: &[u8]) {
    let Ok(mut pending) = Pending::parse(data) else {
        return;
    };
    assert_eq!(pending.bytes(), data);
    let hash = pending.hash(&Fake);
    let before = pending.missing(&Fake, Some(&root()));
    if pending.add_signature(&Fake, &FakeSigner::new(10)).is_ok() {
        assert_eq!(pending.hash(&Fake), hash, "signing changes no content");
        let again = Pending::parse(pending.bytes()).expect("what was signed reads back");
        assert_eq!(again, pending);
    }
    let _ = (before, pending.complete(&Fake, Some(&root())));
}

/// Every type that is decoded strictly, chosen by the first byte.
pub fn types(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else {
        return;
    };
    match choice {
        0 => strict::<BundleHead>(rest),
        1 => strict::<BundleBody>(rest),
        2 => strict::<LogHead>(rest),
        3 => strict::<Entry>(rest),
        4 => strict::<Timestamp>(rest),
        5 => strict::<HeadSet>(rest),
        6 => strict::<Document>(rest),
        7 => strict::<Memory>(rest),
        _ => {}
    }
}

fn strict<T: for<'b> Decode<'b, ()> + Encode<()>>(bytes: &[u8]) {
    if let Ok(value) = codec::decode::<T>(bytes, MAX_DOCUMENT_BYTES) {
        assert_eq!(codec::encode(&value), bytes, "one value, one encoding");
    }
}

/// Documents one after the other, each preceded by its length in two bytes: nothing ever falls, and
/// what is kept comes back.
pub fn state(data: &[u8]) {
    let mut state = genesis();
    let mut rest = data;
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length)).min(after.len());
        let (document, after) = after.split_at(length);
        rest = after;
        let Ok(document) = Document::decode(document) else {
            continue;
        };
        let (before, time) = (state.heads(), state.greatest_time());
        let outcome = state.offer(&Fake, NOW, &document);
        let heads = state.heads();
        assert!(heads.root.version >= before.root.version);
        if heads.epoch == before.epoch {
            assert!(heads.bundle.map(|b| b.version) >= before.bundle.map(|b| b.version));
            assert!(state.greatest_time() >= time);
        }
        if !matches!(outcome, Ok(Offer::New(_) | Offer::Fork(_))) {
            assert_eq!(heads, before, "only what is new or a fork changes anything");
        }
        let _ = (state.missing(), state.freshness(NOW));
    }
    let back = TrustState::restore(&Fake, state.kept()).expect("what was taken holds");
    assert_eq!(back.heads(), state.heads());
    assert_eq!(back.revoked(), state.revoked());
}

fn body() -> BundleBody {
    BundleBody {
        policies: vec![Policy {
            name: "read-only".parse().expect("a valid name"),
            media_type: "application/json".to_owned(),
            bytes: b"{}".to_vec(),
        }],
        ..BundleBody::default()
    }
}

fn log() -> Log {
    let mut log = Log::new(seeds::mesh(), FakeSigner::new(10).public().id(&Fake));
    let name = || "robot".parse().expect("a valid name");
    for act in [
        Act::Node(seeds::node(1)),
        Act::Agent {
            node: None,
            name: name(),
        },
        Act::Tool(Digest::from_bytes([1; 32])),
        Act::Issuer {
            issuer: FakeSigner::new(11).public().id(&Fake),
            since: NOW,
            since_sequence: Some(4),
        },
    ] {
        log.write(&Fake, NOW, act, "why").expect("within bounds");
    }
    let first = log.entries().first().expect("an entry").cause.entry;
    log.write(&Fake, NOW, Act::Lift(first), "")
        .expect("within bounds");
    log
}

/// A document of each kind, in an order in which all are taken.
fn documents() -> Vec<Document> {
    let (state, admin) = (genesis(), FakeSigner::new(10));
    let mut next = state.root().root().clone();
    next.version = 2;
    next.mesh = Some(state.mesh());
    next.previous = Some(state.root().hash());
    let body = body().encode();
    let head = BundleHead::over(&Fake, state.root(), 1, NOW, &body);
    let log = log();
    let stamper = FakeSigner::new(12);
    let draft = state.draft_timestamp(stamper.public().id(&Fake), NOW, 3);
    let signed = |bytes: Result<Vec<u8>, _>| Bytes::from(bytes.expect("the fake signs"));
    vec![
        Document::Timestamp(signed(draft.sign(&Fake, &stamper))),
        Document::BundleHead(signed(head.sign(&Fake, &[&admin]))),
        Document::BundleBody(body.into()),
        Document::LogHead(signed(log.head(NOW).sign(&Fake, &admin))),
        Document::LogEntries {
            admin: log.admin(),
            from: 0,
            entries: log.encoded(0, 16),
        },
        Document::Root(signed(next.sign(&Fake, &[&admin]))),
    ]
}

fn of_kind(kind: u8) -> Vec<Vec<u8>> {
    let bytes = |document: Document| match document {
        Document::Root(b)
        | Document::BundleHead(b)
        | Document::BundleBody(b)
        | Document::LogHead(b)
        | Document::Timestamp(b) => vec![b.to_vec()],
        Document::LogEntries { entries, .. } => entries.iter().map(|e| e.to_vec()).collect(),
    };
    let mut all = documents().into_iter().filter(|d| d.kind() == kind);
    all.next().map(bytes).unwrap_or_default()
}

pub fn next_roots() -> Vec<Vec<u8>> {
    of_kind(1)
}

pub fn bundles() -> Vec<Vec<u8>> {
    of_kind(2)
}

pub fn log_heads() -> Vec<Vec<u8>> {
    of_kind(4)
}

pub fn log_entries() -> Vec<Vec<u8>> {
    of_kind(5)
}

pub fn timestamps() -> Vec<Vec<u8>> {
    of_kind(6)
}

pub fn pendings() -> Vec<Vec<u8>> {
    [of_kind(1), of_kind(2)].concat()
}

/// In the order of [`types`].
pub fn all_types() -> Vec<Vec<u8>> {
    let (state, log) = (genesis(), log());
    let stamper = FakeSigner::new(12).public().id(&Fake);
    let body_bytes = body().encode();
    let memory = Memory {
        epoch: 1,
        greatest: UnixSeconds(1),
        marks: Vec::new(),
        held: vec![log.entries()[0].cause.entry],
    };
    let all = [
        codec::encode(&BundleHead::over(&Fake, state.root(), 1, NOW, &body_bytes)),
        body_bytes,
        codec::encode(&log.head(NOW)),
        log.encoded(1, 1).concat(),
        codec::encode(&state.draft_timestamp(stamper, NOW, 3)),
        codec::encode(&state.heads()),
        documents()[4].encode(),
        memory.encode(),
    ];
    (0_u8..)
        .zip(all)
        .map(|(choice, bytes)| [&[choice], &*bytes].concat())
        .collect()
}

pub fn histories() -> Vec<Vec<u8>> {
    let framed = |document: &Document| {
        let bytes = document.encode();
        let length = u16::try_from(bytes.len()).expect("a seed is short");
        [&length.to_be_bytes(), &*bytes].concat()
    };
    let all: Vec<Vec<u8>> = documents().iter().map(framed).collect();
    let reversed = all.iter().rev().cloned().collect::<Vec<_>>().concat();
    vec![all[..5].concat(), all.concat(), reversed]
}
