//! A member with valid keys that lies about what it asks for, takes what is not its own, or does
//! not keep to the order of a stream: as the node of the server meets it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use node::transport::StreamKind;
use protocol::envelope::Kind;
use protocol::id::{Digest, EnvelopeId, SessionId};
use tests::forge::{Draft, random};
use tests::hostile::{Heard, Hostile, Wire};
use tests::mesh::tool_call;
use tests::stage::Stage;

/// A draft that begins a call is refused with `reason`, and the session goes on.
async fn refused_call(reason: &str, change: impl FnOnce(&Stage, &mut Draft)) {
    let stage = Stage::set().await;
    let (session, mut open) = stage.session().await;
    let mut draft = stage.calling(session);
    change(&stage, &mut draft);
    let envelope = stage.mallory.forge.seal(&draft).bytes;
    let kind = StreamKind::Call;
    let told = stage.mallory.refused(stage.target(), kind, &envelope).await;
    assert_eq!(told, reason);
    stage.tools.counted(reason, 1).await;
    served(&stage, session).await;
    assert!(open.is_silent().await, "the session goes on");
    stage.undisturbed().await;
}

/// An honest call in this session is answered.
async fn served(stage: &Stage, session: SessionId) {
    let (mut wire, _) = begun(stage, &stage.calling(session)).await;
    let heard = wire.heard().await;
    assert!(matches!(heard, Heard::Envelope(_)), "{heard:?}");
}

/// A call stream with its first message sent.
async fn begun(stage: &Stage, draft: &Draft) -> (Wire, EnvelopeId) {
    let sealed = stage.mallory.forge.seal(draft);
    let mut wire = stage.mallory.stream(stage.target(), StreamKind::Call).await;
    wire.envelope(&sealed.bytes).await;
    (wire, sealed.id)
}

/// A further message of a call towards the server.
fn further(stage: &Stage, first: &Draft, id: EnvelopeId, sequence: u64) -> Draft {
    let body = r#"{"jsonrpc":"2.0","method":"notifications/said"}"#;
    let session = first.header.claims.session;
    let forge = &stage.mallory.forge;
    let mut draft = forge.first(stage.target(), "bench", session, body);
    draft.header.claims.request_id = first.header.claims.request_id;
    draft.header.claims.parent = Some(id);
    draft.header.claims.sequence = sequence;
    draft
}

#[tokio::test]
async fn a_header_of_one_tool_and_a_body_of_another() {
    refused_call("header_body_mismatch", |_, draft| {
        draft.body = tool_call(1, "crash", "{}").into_bytes();
    })
    .await;
}

#[tokio::test]
async fn a_header_of_another_method() {
    refused_call("header_body_mismatch", |_, draft| {
        draft.header.claims.method = "tools/list".to_owned();
        draft.header.claims.name = None;
        draft.header.claims.tool_digest = None;
    })
    .await;
}

#[tokio::test]
async fn another_definition_of_the_tool() {
    refused_call("header_body_mismatch", |_, draft| {
        draft.header.claims.tool_digest = Some(Digest::from_bytes(random()));
    })
    .await;
}

#[tokio::test]
async fn no_definition_of_the_tool() {
    refused_call("header_body_mismatch", |_, draft| {
        draft.header.claims.tool_digest = None;
    })
    .await;
}

#[tokio::test]
async fn a_header_of_no_kind_of_the_body() {
    refused_call("header_body_mismatch", |_, draft| {
        draft.body = br#"{"jsonrpc":"2.0","method":"notifications/x"}"#.to_vec();
    })
    .await;
}

#[tokio::test]
async fn the_session_of_another_agent() {
    refused_call("unknown_session", |_, draft| {
        draft.header.cwt.sub = "someone-else".parse().unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_session_that_was_never_opened() {
    refused_call("unknown_session", |_, draft| {
        draft.header.claims.session = SessionId::from_bytes(random());
    })
    .await;
}

#[tokio::test]
async fn a_session_with_another_server() {
    let stage = Stage::set().await;
    stage.tools.attach_fixture("other", &[]).await;
    let (session, _open) = stage.session().await;
    let mut draft = stage.calling(session);
    draft.header.claims.server = "other".parse().unwrap();
    let envelope = stage.mallory.forge.seal(&draft).bytes;
    let kind = StreamKind::Call;
    let told = stage.mallory.refused(stage.target(), kind, &envelope).await;
    assert_eq!(told, "unknown_session");
    stage.tools.counted("unknown_session", 1).await;
    served(&stage, session).await;
    stage.undisturbed().await;
}

#[tokio::test]
async fn the_session_of_another_peer() {
    let stage = Stage::set().await;
    let (session, _open) = stage.session().await;
    let eve = Hostile::enter(&stage.mesh.admit(&stage.tools, "eve").await);
    eve.link(&stage.tools).await;
    let mut draft = stage.calling(session);
    draft.header.cwt.iss = eve.id();
    draft.header.claims.route[0] = eve.id();
    let envelope = eve.forge.seal(&draft).bytes;
    let told = eve
        .refused(stage.target(), StreamKind::Call, &envelope)
        .await;
    assert_eq!(told, "unknown_session");
    stage.tools.counted("unknown_session", 1).await;
    served(&stage, session).await;
    stage.undisturbed().await;
}

#[tokio::test]
async fn a_session_id_twice() {
    let stage = Stage::set().await;
    let (session, mut open) = stage.session().await;
    let again = stage.mallory.forge.seal(&stage.opening_as(session)).bytes;
    let kind = StreamKind::Session;
    let told = stage.mallory.refused(stage.target(), kind, &again).await;
    assert_eq!(told, "duplicate_session");
    stage.tools.counted("duplicate_session", 1).await;
    served(&stage, session).await;
    assert!(open.is_silent().await, "the first session goes on");
    stage.undisturbed().await;
}

/// Of openings with one id sent at once exactly one gets the session, and it works.
#[tokio::test]
async fn a_session_id_many_times_at_once() {
    const TIMES: usize = 8;
    let stage = Stage::set().await;
    let session = SessionId::from_bytes(random());
    let openings = (0..TIMES).map(|_| async {
        let opening = stage.mallory.forge.seal(&stage.opening_as(session)).bytes;
        let kind = StreamKind::Session;
        let mut wire = stage.mallory.stream(stage.target(), kind).await;
        wire.envelope(&opening).await;
        let heard = wire.heard().await;
        (matches!(heard, Heard::Envelope(_)), wire)
    });
    let opened = futures::future::join_all(openings).await;
    assert_eq!(opened.iter().filter(|(opened, _)| *opened).count(), 1);
    stage
        .tools
        .counted("duplicate_session", TIMES as u64 - 1)
        .await;
    served(&stage, session).await;
    stage.undisturbed().await;
}

#[tokio::test]
async fn streams_of_the_wrong_kind() {
    let stage = Stage::set().await;
    let (session, _open) = stage.session().await;
    let opening = stage.mallory.forge.seal(&stage.opening()).bytes;
    let calling = stage.mallory.forge.seal(&stage.calling(session)).bytes;
    for (kind, envelope) in [(StreamKind::Call, opening), (StreamKind::Session, calling)] {
        let told = stage.mallory.refused(stage.target(), kind, &envelope).await;
        assert_eq!(told, "wrong_stream_kind");
    }
    stage.tools.counted("wrong_stream_kind", 2).await;
    served(&stage, session).await;
    stage.undisturbed().await;
}

#[tokio::test]
async fn a_stream_that_ends_without_a_message() {
    let stage = Stage::set().await;
    for kind in [StreamKind::Call, StreamKind::Session] {
        let mut wire = stage.mallory.stream(stage.target(), kind).await;
        wire.finish();
        assert_eq!(wire.refusal().await, "no_message");
    }
    stage.tools.counted("no_message", 2).await;
    stage.undisturbed().await;
}

#[tokio::test]
async fn a_stream_that_never_says_anything() {
    let stage = Stage::set().await;
    let mut wire = stage.mallory.stream(stage.target(), StreamKind::Call).await;
    wire.raw(&[1]).await;
    assert_eq!(wire.refusal().await, "first_message_timeout");
    stage.tools.counted("first_message_timeout", 1).await;
    stage.undisturbed().await;
}

/// Messages within a call, each wrong in its own way; each ends its own call only.
#[tokio::test]
async fn out_of_order_within_a_call() {
    let stage = Stage::set().await;
    let (session, _open) = stage.session().await;
    type Change = fn(&mut Draft);
    let cases: [(&str, u64, Change); 6] = [
        ("stream_gap", 2, |_| {}),
        ("out_of_order", 0, |d| {
            d.header.claims.kind = Kind::Notification
        }),
        ("other_request", 1, |d| {
            d.header.claims.parent = Some(EnvelopeId::from_bytes(random()));
        }),
        ("other_call", 1, |d| {
            d.header.claims.session = SessionId::from_bytes(random());
        }),
        (
            "too_many_messages",
            protocol::limits::MAX_STREAM_MESSAGES,
            |_| {},
        ),
        ("unawaited_response", 1, |d| {
            d.header.claims.kind = Kind::Response;
            d.header.claims.method = "sampling/createMessage".to_owned();
            d.body = br#"{"jsonrpc":"2.0","id":"never-asked","result":{}}"#.to_vec();
        }),
    ];
    for (n, (reason, sequence, change)) in cases.into_iter().enumerate() {
        let mut first = stage.calling_tool(session, "hold");
        let id = u64::try_from(n).unwrap() + 10;
        first.body = tool_call(id, "hold", "{}").into_bytes();
        let (mut wire, begun) = begun(&stage, &first).await;
        let mut draft = further(&stage, &first, begun, sequence);
        change(&mut draft);
        wire.envelope(&stage.mallory.forge.seal(&draft).bytes).await;
        assert_eq!(wire.refusal().await, reason);
        stage.tools.counted(reason, 1).await;
    }
    served(&stage, session).await;
    stage.undisturbed().await;
}

/// The message that would be next, sent twice: the second is one the stream has passed.
#[tokio::test]
async fn a_message_of_a_call_twice() {
    let stage = Stage::set().await;
    let (session, _open) = stage.session().await;
    let first = stage.calling_tool(session, "hold");
    let (mut wire, id) = begun(&stage, &first).await;
    let said = stage
        .mallory
        .forge
        .seal(&further(&stage, &first, id, 1))
        .bytes;
    wire.envelope(&said).await;
    wire.envelope(&said).await;
    assert_eq!(wire.refusal().await, "out_of_order");
    stage.tools.counted("out_of_order", 1).await;
    served(&stage, session).await;
    stage.undisturbed().await;
}
