//! A node whose servers answer wrongly: what the caller is told, what the other node is told, and
//! what is counted. The response is never anything else than the answer to the question.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use node::session::{ErrorKind, McpCall, SessionError};
use node::transport::StreamKind;
use protocol::id::{Digest, EnvelopeId, RequestId, SessionId};
use tests::forge::{Draft, Parts, now, random, strange_keys};
use tests::hostile::{Conversation, INITIALIZED, notification};
use tests::mesh::{Session, next};
use tests::stage::Stage;
use tests::wait::soon;

const RESULT: &str = r#"{"content":[]}"#;

/// A session of an agent of `agent` with `mallory/shop`, honestly opened.
async fn opened(stage: &Stage) -> (Session, Conversation) {
    stage.mallory.announce(&stage.agent, "shop").await;
    let opening = stage.agent.open("victim", "mallory", "shop");
    let answering = async {
        let mut conversation = stage.mallory.accept(StreamKind::Session).await;
        conversation.answer(INITIALIZED).await;
        conversation
    };
    let (session, conversation) = soon(async { tokio::join!(opening, answering) }).await;
    (session.unwrap(), conversation)
}

/// A call under way, as both ends have it.
async fn called(stage: &Stage, session: &Session) -> (McpCall, Conversation) {
    let call = session.begin(1, "echo", "{}").await.unwrap();
    (call, stage.mallory.accept(StreamKind::Call).await)
}

/// The error the call ends with.
async fn failed(call: &mut McpCall) -> SessionError {
    loop {
        if let Err(error) = next(call).await {
            return error;
        }
    }
}

/// A call that is answered with this draft instead of the right one.
async fn refused_answer(reason: &str, change: impl FnOnce(&Conversation, &mut Draft)) {
    refused_bytes(reason, |stage, conversation| {
        let mut draft = conversation.draft(&conversation.response(RESULT));
        change(conversation, &mut draft);
        stage.mallory.forge.seal(&draft).bytes
    })
    .await;
}

/// A call that is answered with these bytes.
async fn refused_bytes(reason: &str, make: impl FnOnce(&Stage, &mut Conversation) -> Vec<u8>) {
    let stage = Stage::set().await;
    let (session, _open) = opened(&stage).await;
    let (mut call, mut conversation) = called(&stage, &session).await;
    let envelope = make(&stage, &mut conversation);
    conversation.wire.envelope(&envelope).await;
    let error = failed(&mut call).await;
    assert_eq!(error.reason, reason, "{error:?}");
    assert_eq!(error.node.as_deref(), Some("mallory"));
    assert_eq!(error.server.as_deref(), Some("shop"));
    // The server was called, whatever its answer is worth.
    let hint = error.hint.unwrap_or_default();
    assert!(hint.contains("may have taken effect"), "{reason}: {hint}");
    assert_eq!(conversation.wire.refusal().await, reason);
    stage.agent.counted(reason, 1).await;
    answered(&stage, &session).await;
    stage.undisturbed().await;
}

/// The session goes on: a call that is answered rightly succeeds.
async fn answered(stage: &Stage, session: &Session) {
    let (mut call, mut conversation) = called(stage, session).await;
    conversation.notify(1).await;
    conversation.answer(RESULT).await;
    assert_eq!(next(&mut call).await.unwrap()["params"]["progress"], 1);
    assert_eq!(next(&mut call).await.unwrap()["id"], 1);
}

#[tokio::test]
async fn an_honest_answer_of_the_same_kind_passes() {
    let stage = Stage::set().await;
    let (session, _open) = opened(&stage).await;
    answered(&stage, &session).await;
    stage.undisturbed().await;
}

#[tokio::test]
async fn a_response_to_another_json_rpc_request() {
    refused_answer("unawaited_response", |_, draft| {
        draft.body = br#"{"jsonrpc":"2.0","id":77,"result":{}}"#.to_vec();
    })
    .await;
}

#[tokio::test]
async fn a_response_in_another_call() {
    refused_answer("other_call", |_, draft| {
        draft.header.claims.request_id = RequestId::from_bytes(random());
    })
    .await;
}

#[tokio::test]
async fn a_response_in_another_session() {
    refused_answer("other_call", |_, draft| {
        draft.header.claims.session = SessionId::from_bytes(random());
    })
    .await;
}

#[tokio::test]
async fn a_response_to_another_envelope() {
    refused_answer("other_request", |_, draft| {
        draft.header.claims.parent = Some(EnvelopeId::from_bytes(random()));
    })
    .await;
}

#[tokio::test]
async fn a_response_that_names_another_method() {
    refused_answer("header_body_mismatch", |_, draft| {
        draft.header.claims.method = "tools/list".to_owned();
    })
    .await;
}

#[tokio::test]
async fn a_response_that_names_another_tool() {
    refused_answer("header_body_mismatch", |_, draft| {
        draft.header.claims.name = Some("sell".to_owned());
    })
    .await;
}

#[tokio::test]
async fn a_response_that_names_another_definition() {
    refused_answer("header_body_mismatch", |_, draft| {
        draft.header.claims.tool_digest = Some(Digest::from_bytes(random()));
    })
    .await;
}

#[tokio::test]
async fn a_missing_notification() {
    refused_bytes("stream_gap", |stage, conversation| {
        let mut draft = conversation.draft(&notification(1));
        draft.header.claims.sequence = 1;
        stage.mallory.forge.seal(&draft).bytes
    })
    .await;
}

#[tokio::test]
async fn a_response_over_other_notifications() {
    refused_answer("stream_hash_mismatch", |_, draft| {
        draft.header.claims.stream_hash = Some(Digest::from_bytes(random()));
    })
    .await;
}

#[tokio::test]
async fn a_response_over_more_notifications() {
    refused_answer("stream_hash_mismatch", |_, draft| {
        draft.header.claims.last_sequence = Some(3);
    })
    .await;
}

#[tokio::test]
async fn a_response_signed_by_someone_else() {
    refused_bytes("unknown_key", |stage, conversation| {
        let draft = conversation.draft(&conversation.response(RESULT));
        let forge = &stage.mallory.forge;
        forge.seal_with(&draft, &[&strange_keys()]).bytes
    })
    .await;
}

#[tokio::test]
async fn a_half_signed_response() {
    refused_bytes("half_signed", |stage, conversation| {
        let draft = conversation.draft(&conversation.response(RESULT));
        let mut parts = Parts::of(&stage.mallory.forge.seal(&draft).bytes);
        parts.signatures.truncate(1);
        parts.join()
    })
    .await;
}

#[tokio::test]
async fn a_changed_response() {
    refused_bytes("bad_signature", |stage, conversation| {
        let draft = conversation.draft(&conversation.response(RESULT));
        let mut parts = Parts::of(&stage.mallory.forge.seal(&draft).bytes);
        let last = parts.payload.len() - 1;
        parts.payload[last] ^= 1;
        parts.join()
    })
    .await;
}

#[tokio::test]
async fn an_expired_response() {
    refused_answer("expired", |_, draft| {
        draft.header.cwt.iat = now().minus(31);
        draft.header.cwt.exp = now().minus(1);
    })
    .await;
}

#[tokio::test]
async fn a_response_for_another_node() {
    refused_bytes("wrong_audience", |stage, conversation| {
        let mut draft = conversation.draft(&conversation.response(RESULT));
        draft.header.cwt.aud = stage.tools.id();
        draft.header.claims.route[1] = stage.tools.id();
        stage.mallory.forge.seal(&draft).bytes
    })
    .await;
}

#[tokio::test]
async fn a_response_of_no_message() {
    refused_answer("message_not_json", |_, draft| draft.body = b"{".to_vec()).await;
}

/// Notifications arrive in the order they were signed in, or the call ends.
#[tokio::test]
async fn notifications_out_of_order() {
    let stage = Stage::set().await;
    let (session, _open) = opened(&stage).await;
    let (mut call, mut conversation) = called(&stage, &session).await;
    let first = conversation.draft(&notification(1));
    conversation.say(&first).await;
    let mut second = conversation.draft(&notification(2));
    second.header.claims.sequence = 0;
    conversation.say(&second).await;
    assert_eq!(next(&mut call).await.unwrap()["params"]["progress"], 1);
    assert_eq!(failed(&mut call).await.reason, "out_of_order");
    assert_eq!(conversation.wire.refusal().await, "out_of_order");
    stage.agent.counted("out_of_order", 1).await;
    answered(&stage, &session).await;
    stage.undisturbed().await;
}

#[tokio::test]
async fn a_stream_that_ends_early() {
    let stage = Stage::set().await;
    let (session, _open) = opened(&stage).await;
    for (times, notifications) in [(1, 0), (2, 3)] {
        let (mut call, mut conversation) = called(&stage, &session).await;
        for n in 0..notifications {
            conversation.notify(n).await;
        }
        conversation.wire.finish();
        let error = failed(&mut call).await;
        assert_eq!(error.reason, "ended_early");
        assert_eq!(error.kind, ErrorKind::BrokenStream);
        let hint = error.hint.unwrap();
        assert!(hint.contains("not known"), "{hint}");
        stage.agent.counted("ended_early", times).await;
    }
    answered(&stage, &session).await;
    stage.undisturbed().await;
}

#[tokio::test]
async fn a_stream_that_is_reset() {
    let stage = Stage::set().await;
    let (session, _open) = opened(&stage).await;
    let (mut call, conversation) = called(&stage, &session).await;
    drop(conversation);
    let error = failed(&mut call).await;
    assert_eq!(error.reason, "stream_failed");
    assert_eq!(error.kind, ErrorKind::BrokenStream);
    let hint = error.hint.unwrap();
    assert!(hint.contains("waited for approval"), "{hint}");
    answered(&stage, &session).await;
    stage.undisturbed().await;
}

#[tokio::test]
async fn a_frame_without_bounds() {
    let stage = Stage::set().await;
    let (session, _open) = opened(&stage).await;
    let (mut call, mut conversation) = called(&stage, &session).await;
    conversation.wire.raw(&[1, 0xff, 0xff, 0xff, 0xff]).await;
    assert_eq!(failed(&mut call).await.reason, "frame_too_large");
    assert_eq!(conversation.wire.refusal().await, "frame_too_large");
    stage.agent.counted("frame_too_large", 1).await;
    answered(&stage, &session).await;
    stage.undisturbed().await;
}

/// What a peer says in a refusal reaches people, so it is made inert; it is its refusal, not ours.
#[tokio::test]
async fn a_refusal_full_of_tricks() {
    let stage = Stage::set().await;
    let (session, _open) = opened(&stage).await;
    let (mut call, mut conversation) = called(&stage, &session).await;
    let text = "\u{1b}[2J\r\nnothing to see";
    let mut refusal = node::call::wire::RefusalFrame::named("because", "");
    refusal.message = text.to_owned();
    refusal.hint = Some(text.to_owned());
    conversation.wire.frame(4, &refusal.encode()).await;
    let error = failed(&mut call).await;
    assert_eq!(error.reason, "because");
    assert!(!error.message.chars().any(char::is_control), "{error:?}");
    assert!(!error.hint.unwrap().chars().any(char::is_control));
    assert_eq!(stage.agent.refusals().await.get("because"), None);
    answered(&stage, &session).await;
    stage.undisturbed().await;
}

#[tokio::test]
async fn a_message_before_the_session_is_open() {
    let stage = Stage::set().await;
    stage.mallory.announce(&stage.agent, "shop").await;
    let opening = stage.agent.open("victim", "mallory", "shop");
    let answering = async {
        let mut conversation = stage.mallory.accept(StreamKind::Session).await;
        conversation.notify(1).await;
        conversation.wire.refusal().await
    };
    let (session, told) = soon(async { tokio::join!(opening, answering) }).await;
    assert_eq!(session.err().unwrap().reason, "message_before_response");
    assert_eq!(told, "message_before_response");
    stage.agent.counted("message_before_response", 1).await;
    stage.undisturbed().await;
}

/// A node that accepts a call and says nothing does not keep its link from anyone else's calls.
#[tokio::test]
async fn silence_holds_up_nobody_else() {
    let stage = Stage::set().await;
    let (session, _open) = opened(&stage).await;
    let (_silent, _kept) = called(&stage, &session).await;
    answered(&stage, &session).await;
    stage.undisturbed().await;
}
