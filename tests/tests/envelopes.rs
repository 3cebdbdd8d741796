//! Envelopes that are not what they should be, sent by a member over a real link: each is refused
//! by its own name, told to the sender, counted, recorded, and noticed by nobody else.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use node::call::wire::EnvelopeFrame;
use node::control::Operations as _;
use node::transport::StreamKind;
use node::transport::frame::FrameType;
use protocol::codec;
use protocol::control::DecisionQuery;
use protocol::crypto::domain::content_type;
use protocol::crypto::sealing::SEALING_ENC_LEN;
use protocol::envelope::{Direction, Payload, Sealed};
use protocol::id::{Digest, MeshId, NodeId, Salt};
use protocol::limits::{MAX_CBOR_DEPTH, MAX_ENVELOPE_FRAME_BYTES, MAX_MESSAGE_BYTES};
use tests::forge::{Draft, Parts, now, random, strange_keys};
use tests::mesh::{TestMesh, TestNode};
use tests::stage::Stage;

/// Each of these bytes, sent as the first envelope of a session, is refused with `reason`.
async fn refused(reason: &str, make: impl FnOnce(&Stage) -> Vec<Vec<u8>>) {
    let stage = Stage::set().await;
    let envelopes = make(&stage);
    assert!(!envelopes.is_empty());
    let before = denials(&stage.tools, reason).await;
    for (n, envelope) in envelopes.iter().enumerate() {
        let kind = StreamKind::Session;
        let told = stage.mallory.refused(stage.target(), kind, envelope).await;
        assert_eq!(told, reason, "number {n}");
    }
    let times = envelopes.len();
    stage.tools.counted(reason, times as u64).await;
    assert_eq!(denials(&stage.tools, reason).await, before + times);
    // The link stays: the same member, keeping to the rules, is served.
    stage.session().await;
    stage.undisturbed().await;
}

/// One draft, changed, signed as it should be.
async fn refused_draft(reason: &str, change: impl FnOnce(&Stage, &mut Draft)) {
    let make = |stage: &Stage| {
        let mut draft = stage.opening();
        change(stage, &mut draft);
        vec![stage.mallory.forge.seal(&draft).bytes]
    };
    refused(reason, make).await;
}

/// One well-formed envelope, taken apart and put together again in each of these ways.
async fn refused_parts(reason: &str, ways: &[fn(&mut Parts)]) {
    let make = |stage: &Stage| {
        let whole = stage.mallory.forge.seal(&stage.opening()).bytes;
        let way = |way: &fn(&mut Parts)| {
            let mut parts = Parts::of(&whole);
            way(&mut parts);
            parts.join()
        };
        ways.iter().map(way).collect()
    };
    refused(reason, make).await;
}

/// Durable records of refusals with this reason.
async fn denials(node: &TestNode, reason: &str) -> usize {
    let query = DecisionQuery {
        limit: None,
        before: None,
    };
    let decisions = node.node.decisions(query).await.unwrap();
    let of_reason = |d: &&protocol::control::Decision| {
        d.verdict == "deny" && d.reason.as_deref() == Some(reason)
    };
    decisions.iter().filter(of_reason).count()
}

fn flip(bytes: &mut [u8]) {
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
}

#[tokio::test]
async fn malformed() {
    let make = |stage: &Stage| {
        let whole = stage.mallory.forge.seal(&stage.opening()).bytes;
        let mut other_tag = whole.clone();
        other_tag[1] = 97;
        let text = codec::encode(&"an envelope");
        // An array, text, another tag, a float, and an envelope inside an array.
        let wrapped = [&[0x81], whole.as_slice()].concat();
        vec![vec![0x80], text, other_tag, vec![0xf9, 0, 0], wrapped]
    };
    refused("malformed", make).await;
}

#[tokio::test]
async fn truncated() {
    let make = |stage: &Stage| {
        let whole = stage.mallory.forge.seal(&stage.opening()).bytes;
        let lengths = [0, 1, 2, 10, whole.len() / 2, whole.len() - 1];
        lengths.iter().map(|&n| whole[..n].to_vec()).collect()
    };
    refused("truncated", make).await;
}

#[tokio::test]
async fn oversized_body() {
    refused_draft("oversized", |_, draft| {
        let body = String::from_utf8(draft.body.clone()).unwrap();
        let spaces = " ".repeat(MAX_MESSAGE_BYTES + 1 - body.len());
        draft.body = [body.as_bytes(), spaces.as_bytes()].concat();
    })
    .await;
}

#[tokio::test]
async fn oversized_header() {
    let make = |stage: &Stage| {
        let mut draft = stage.opening();
        draft.header.claims.human = Some("x".repeat(protocol::limits::MAX_HEADER_BYTES));
        vec![stage.mallory.forge.seal(&draft).bytes]
    };
    refused("oversized", make).await;
}

#[tokio::test]
async fn oversized_frame() {
    let stage = Stage::set().await;
    let mut wire = stage
        .mallory
        .stream(stage.target(), StreamKind::Session)
        .await;
    // The length is judged before anything is read or allocated for it.
    let length = u32::try_from(MAX_ENVELOPE_FRAME_BYTES + 1).unwrap();
    wire.raw(&[&[1], length.to_be_bytes().as_slice()].concat())
        .await;
    assert_eq!(wire.refusal().await, "frame_too_large");
    stage.tools.counted("frame_too_large", 1).await;
    stage.undisturbed().await;
}

#[tokio::test]
async fn frames_of_no_meaning() {
    let stage = Stage::set().await;
    for (kind, reason) in [
        (0, "unknown_frame_type"),
        (9, "unknown_frame_type"),
        (2, "reserved_frame_type"),
    ] {
        let mut wire = stage.mallory.stream(stage.target(), StreamKind::Call).await;
        wire.frame(kind, b"whatever").await;
        assert_eq!(wire.refusal().await, reason);
    }
    stage.tools.counted("unknown_frame_type", 2).await;
    stage.tools.counted("reserved_frame_type", 1).await;
    stage.undisturbed().await;
}

#[tokio::test]
async fn a_stream_that_ends_inside_a_frame() {
    let stage = Stage::set().await;
    let mut wire = stage
        .mallory
        .stream(stage.target(), StreamKind::Session)
        .await;
    wire.raw(&[1, 0, 0, 1, 0, 42]).await;
    wire.finish();
    assert_eq!(wire.refusal().await, "frame_truncated");
    stage.tools.counted("frame_truncated", 1).await;
    stage.undisturbed().await;
}

#[tokio::test]
async fn deeply_nested() {
    let make = |_: &Stage| {
        let nested = |levels: usize| [vec![0x81; levels], vec![0x80]].concat();
        vec![nested(MAX_CBOR_DEPTH + 1), nested(100_000)]
    };
    refused("too_deep", make).await;
}

#[tokio::test]
async fn deeply_nested_message() {
    refused_draft("nested_too_deep", |_, draft| {
        let levels = protocol::limits::MAX_JSON_DEPTH + 1;
        let nest = [vec![b'['; levels], vec![b']'; levels]].concat();
        let nest = String::from_utf8(nest).unwrap();
        let body = String::from_utf8(draft.body.clone()).unwrap();
        draft.body = body.replacen("{}", &nest, 1).into_bytes();
    })
    .await;
}

#[tokio::test]
async fn duplicate_keys_in_the_message() {
    refused_draft("duplicate_key", |_, draft| {
        let body = String::from_utf8(draft.body.clone()).unwrap();
        let twice = r#""name":"test","\u006eame":"other""#;
        draft.body = body.replacen(r#""name":"test""#, twice, 1).into_bytes();
    })
    .await;
}

#[tokio::test]
async fn non_canonical() {
    let make = |stage: &Stage| {
        let forge = &stage.mallory.forge;
        let draft = stage.opening();
        let whole = forge.seal(&draft).bytes;
        // A tag longer than needed, a byte behind, an indefinite array.
        let long_tag = [&[0xd9, 0, 98], &whole[2..]].concat();
        let trailing = [whole.as_slice(), &[0]].concat();
        let indefinite = [&[0xd8, 98, 0x9f], &whole[3..], &[0xff]].concat();
        // A header with a key of nobody's, signed; one with its keys out of order.
        let header = codec::encode(&draft.header);
        let payload = codec::encode(&Payload {
            salt: Salt::from_bytes(random()),
            body: draft.body.clone(),
        });
        let mut extra = header.clone();
        assert_eq!(extra[0], 0xa3);
        extra[0] = 0xa4;
        extra.extend_from_slice(&[0x3a, 0, 1, 0, 1, 0]);
        let signer = &*forge.identity.signing;
        let extra = forge.sign(&draft.header, &extra, &payload, &[signer]);
        vec![long_tag, trailing, indefinite, extra.bytes]
    };
    refused("non_canonical", make).await;
}

#[tokio::test]
async fn unprotected_header() {
    let make = |stage: &Stage| {
        let whole = stage.mallory.forge.seal(&stage.opening()).bytes;
        let protected = codec::encode(&minicbor::bytes::ByteVec::from(Parts::of(&whole).protected));
        // Tag, array, protected header; then the map.
        let at = 3 + protected.len();
        assert_eq!(whole[at], 0xa0);
        vec![[&whole[..at], &[0xa1, 1, 1], &whole[at + 1..]].concat()]
    };
    refused("unprotected_header", make).await;
}

#[tokio::test]
async fn signed_by_nobody_known() {
    let make = |stage: &Stage| {
        let draft = stage.opening();
        let forge = &stage.mallory.forge;
        let strange = forge.seal_with(&draft, &[&strange_keys()]).bytes;
        // One key of the set, one of a stranger's: both ways round.
        let own = Parts::of(&forge.seal(&draft).bytes);
        let mixed = |which: usize| {
            let mut parts = own.clone();
            parts.signatures[which] = Parts::of(&strange).signatures[which].clone();
            parts.join()
        };
        vec![strange.clone(), mixed(0), mixed(1)]
    };
    refused("unknown_key", make).await;
}

#[tokio::test]
async fn wrongly_signed() {
    let make = |stage: &Stage| {
        let forge = &stage.mallory.forge;
        let own = Parts::of(&forge.seal(&stage.opening()).bytes);
        let other = Parts::of(&forge.seal(&stage.opening()).bytes);
        let changed = |change: &dyn Fn(&mut Parts)| {
            let mut parts = own.clone();
            change(&mut parts);
            parts.join()
        };
        vec![
            // Either signature alone wrong, both wrong, cut, or of another envelope.
            changed(&|p| flip(&mut p.signatures[0].1)),
            changed(&|p| flip(&mut p.signatures[1].1)),
            changed(&|p| p.signatures.iter_mut().for_each(|s| flip(&mut s.1))),
            changed(&|p| p.signatures[0].1.truncate(64)),
            changed(&|p| p.signatures[1].1.clear()),
            changed(&|p| p.signatures[0] = other.signatures[0].clone()),
            changed(&|p| p.signatures[1] = other.signatures[1].clone()),
            // Signed rightly, then changed.
            changed(&|p| flip(&mut p.payload)),
        ]
    };
    refused("bad_signature", make).await;
}

#[tokio::test]
async fn half_signed() {
    let ways: [fn(&mut Parts); 2] = [
        |p| drop(p.signatures.remove(0)),
        |p| drop(p.signatures.remove(1)),
    ];
    refused_parts("half_signed", &ways).await;
}

#[tokio::test]
async fn swapped_signatures() {
    refused_parts("swapped_signatures", &[|p| p.signatures.swap(0, 1)]).await;
}

#[tokio::test]
async fn duplicated_signature() {
    let ways: [fn(&mut Parts); 2] = [
        |p| p.signatures[1] = p.signatures[0].clone(),
        |p| p.signatures[0] = p.signatures[1].clone(),
    ];
    refused_parts("duplicate_signature", &ways).await;
}

#[tokio::test]
async fn zero_signers() {
    refused_parts("unsigned", &[|p| p.signatures.clear()]).await;
}

#[tokio::test]
async fn more_than_one_signer() {
    let make = |stage: &Stage| {
        let (draft, forge) = (stage.opening(), &stage.mallory.forge);
        let own = &*forge.identity.signing;
        let (second, third) = (strange_keys(), strange_keys());
        let mut one_more = Parts::of(&forge.seal(&draft).bytes);
        one_more.signatures.push(one_more.signatures[0].clone());
        vec![
            forge.seal_with(&draft, &[own, &second, &third]).bytes,
            forge.seal_with(&draft, &[own, &second]).bytes,
            forge.seal_with(&draft, &[own, own]).bytes,
            one_more.join(),
        ]
    };
    refused("too_many_signatures", make).await;
}

#[tokio::test]
async fn expired() {
    refused_draft("expired", |_, draft| {
        draft.header.cwt.iat = now().minus(31);
        draft.header.cwt.exp = now().minus(1);
    })
    .await;
}

#[tokio::test]
async fn issued_in_the_future() {
    refused_draft("issued_in_future", |_, draft| {
        draft.header.cwt.iat = now().plus(600);
        draft.header.cwt.exp = now().plus(620);
    })
    .await;
}

#[tokio::test]
async fn lives_too_long() {
    refused_draft("bad_lifetime", |_, draft| {
        draft.header.cwt.exp = draft.header.cwt.iat.plus(61);
    })
    .await;
}

#[tokio::test]
async fn misaddressed() {
    refused_draft("wrong_audience", |stage, draft| {
        draft.header.cwt.aud = stage.agent.id();
        draft.header.claims.route[1] = stage.agent.id();
    })
    .await;
}

#[tokio::test]
async fn a_route_to_somewhere_else() {
    refused_draft("bad_route", |_, draft| {
        draft.header.claims.route[1] = NodeId::from_bytes(random());
    })
    .await;
}

#[tokio::test]
async fn in_the_name_of_another_member() {
    refused_draft("wrong_issuer", |stage, draft| {
        draft.header.cwt.iss = stage.agent.id();
        draft.header.claims.route[0] = stage.agent.id();
    })
    .await;
}

#[tokio::test]
async fn in_the_wrong_direction() {
    refused_draft("wrong_direction", |_, draft| {
        draft.header.claims.direction = Direction::ToClient;
    })
    .await;
}

#[tokio::test]
async fn of_a_foreign_mesh() {
    refused_draft("foreign_mesh", |_, draft| {
        draft.header.claims.mesh = MeshId::from_bytes(random());
    })
    .await;
}

#[tokio::test]
async fn of_another_suite() {
    refused_draft("unknown_suite", |_, draft| draft.header.claims.suite = 2).await;
}

#[tokio::test]
async fn of_another_document() {
    refused_draft("wrong_content_type", |_, draft| {
        draft.header.content_type = "application/x".to_owned();
    })
    .await;
}

#[tokio::test]
async fn a_body_other_than_the_digest_says() {
    refused_draft("body_digest_mismatch", |_, draft| draft.digest = false).await;
}

#[tokio::test]
async fn not_the_first_message_of_anything() {
    refused_draft("other_call", |_, draft| draft.header.claims.sequence = 1).await;
}

#[tokio::test]
async fn replayed() {
    let stage = Stage::set().await;
    let envelope = stage.mallory.forge.seal(&stage.opening()).bytes;
    let kind = StreamKind::Session;
    let mut first = stage.mallory.stream(stage.target(), kind).await;
    first.envelope(&envelope).await;
    let opened = first.heard().await;
    assert!(matches!(opened, tests::hostile::Heard::Envelope(_)));
    for times in 1..=3 {
        let told = stage.mallory.refused(stage.target(), kind, &envelope).await;
        assert_eq!(told, "replayed");
        stage.tools.counted("replayed", times).await;
    }
    assert!(first.is_silent().await, "what was accepted goes on");
    stage.undisturbed().await;
}

/// Of copies sent at once on many streams exactly one is accepted.
#[tokio::test]
async fn replayed_at_once() {
    const COPIES: usize = 16;
    let stage = Stage::set().await;
    let envelope = stage.mallory.forge.seal(&stage.opening()).bytes;
    let copies = (0..COPIES).map(|_| async {
        let mut wire = stage
            .mallory
            .stream(stage.target(), StreamKind::Session)
            .await;
        wire.envelope(&envelope).await;
        let heard = wire.heard().await;
        (heard, wire)
    });
    let heard = futures::future::join_all(copies).await;
    let accepted =
        |(h, _): &&(tests::hostile::Heard, _)| matches!(h, tests::hostile::Heard::Envelope(_));
    assert_eq!(heard.iter().filter(accepted).count(), 1);
    stage.tools.counted("replayed", COPIES as u64 - 1).await;
    stage.undisturbed().await;
}

/// A second envelope, properly signed, that begins the request of the first once more.
#[tokio::test]
async fn a_request_started_twice() {
    let stage = Stage::set().await;
    let (session, _open) = stage.session().await;
    let draft = stage.calling(session);
    let kind = StreamKind::Call;
    let mut wire = stage.mallory.stream(stage.target(), kind).await;
    wire.envelope(&stage.mallory.forge.seal(&draft).bytes).await;
    assert!(matches!(
        wire.heard().await,
        tests::hostile::Heard::Envelope(_)
    ));
    let mut again = draft;
    again.header.cwt.cti = protocol::id::Cti::from_bytes(random());
    let again = stage.mallory.forge.seal(&again).bytes;
    let told = stage.mallory.refused(stage.target(), kind, &again).await;
    assert_eq!(told, "request_started");
    stage.tools.counted("request_started", 1).await;
    stage.undisturbed().await;
}

#[tokio::test]
async fn replayed_after_a_restart() {
    let (mesh, tools) = TestMesh::found("tools").await;
    tools.attach_fixture("bench", &[]).await;
    let mallory = tests::hostile::Hostile::enter(&mesh.admit(&tools, "mallory").await);
    mallory.link(&tools).await;
    let forge = &mallory.forge;
    let session = protocol::id::SessionId::from_bytes(random());
    let mut draft = forge.first(tools.id(), "bench", session, tests::mesh::INITIALIZE);
    draft.header.cwt.exp = draft.header.cwt.iat.plus(60);
    let envelope = forge.seal(&draft).bytes;
    let kind = StreamKind::Session;
    let mut first = mallory.stream(tools.id(), kind).await;
    first.envelope(&envelope).await;
    assert!(matches!(
        first.heard().await,
        tests::hostile::Heard::Envelope(_)
    ));
    let state = tools.stop().await;
    let tools = TestNode::start(&state).await;
    tools.sees("tools", "bench").await;
    mallory.link(&tools).await;
    let told = mallory.refused(tools.id(), kind, &envelope).await;
    assert_eq!(told, "issued_before_restart");
    tools.counted("issued_before_restart", 1).await;
}

/// Hop records beside a direct envelope, relays on the route of one in the clear, and a sealed one
/// that its issuer brings itself past the relay it names. (`relay` has what relays can do wrong.)
#[tokio::test]
async fn relays_and_records_other_than_planned() {
    let stage = Stage::set().await;
    let direct = |_: &mut Draft| {};
    let relayed = |draft: &mut Draft| draft.header.claims.route.insert(1, stage.agent.id());
    let sealed = |draft: &mut Draft| {
        relayed(draft);
        draft.header.content_type = content_type::SEALED_ENVELOPE.to_owned();
        draft.header.claims.sealed = Some(Sealed {
            key: Digest::from_bytes(random()),
            enc: vec![0; SEALING_ENC_LEN],
        });
    };
    type Route<'a> = &'a dyn Fn(&mut Draft);
    let cases: [(&str, Route<'_>, usize); 4] = [
        ("hop_record_extra", &direct, 1),
        ("payload_not_sealed", &relayed, 0),
        ("wrong_previous_hop", &sealed, 0),
        ("wrong_previous_hop", &sealed, 1),
    ];
    for (reason, route, records) in cases {
        let mut draft = stage.opening();
        route(&mut draft);
        let frame = EnvelopeFrame {
            envelope: stage.mallory.forge.seal(&draft).bytes.into(),
            records: vec![vec![0x80].into(); records],
        };
        let kind = StreamKind::Session;
        let mut wire = stage.mallory.stream(stage.target(), kind).await;
        wire.frame(FrameType::Envelope.byte(), &frame.encode())
            .await;
        assert_eq!(wire.refusal().await, reason);
    }
    stage.tools.counted("hop_record_extra", 1).await;
    stage.tools.counted("payload_not_sealed", 1).await;
    stage.tools.counted("wrong_previous_hop", 2).await;
    stage.undisturbed().await;
}

/// An envelope frame that is not the one encoding of itself.
#[tokio::test]
async fn a_frame_with_something_behind() {
    let stage = Stage::set().await;
    let envelope = stage.mallory.forge.seal(&stage.opening()).bytes;
    let frame = EnvelopeFrame::direct(envelope).encode();
    let kind = StreamKind::Session;
    for (reason, payload) in [
        ("non_canonical", [frame.as_slice(), &[0]].concat()),
        ("truncated", frame[..frame.len() - 1].to_vec()),
        ("malformed", vec![0x82, 0x40, 0x40]),
    ] {
        let mut wire = stage.mallory.stream(stage.target(), kind).await;
        wire.frame(FrameType::Envelope.byte(), &payload).await;
        assert_eq!(wire.refusal().await, reason);
        stage.tools.counted(reason, 1).await;
    }
    stage.undisturbed().await;
}
