//! A tool's definition changes while clients are connected: a call signed with the old one waits
//! for the record that announces the new one, is signed once more, and succeeds; without that
//! record it is refused by name.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use std::path::PathBuf;

use node::call::wire::RefusalFrame;
use node::session::McpCall;
use node::transport::StreamKind;
use protocol::id::Digest;
use protocol::trust::bundle::{BundleBody, Pin};
use tests::admin::{Admin, in_force, policy};
use tests::hostile::{Conversation, ECHO, INITIALIZED};
use tests::mesh::{Session, TestMesh, TestNode, last, name};
use tests::stage::Stage;
use tests::wait::{soon, until};

const RESULT: &str = r#"{"content":[]}"#;

/// Another definition of the tool `echo`.
const CHANGED: &str = r#"{"name":"echo","description":"new","inputSchema":{"type":"object"}}"#;

/// The refusal of a call whose tool is another at its own node.
const OTHER_TOOL: &str = "header_body_mismatch";

/// Of a frame with a refusal.
const REFUSAL: u8 = 4;

/// A session with `mallory/shop`, whose tool `echo` the agent's node knows as [`ECHO`].
async fn opened(stage: &Stage) -> (Session, Conversation) {
    stage.mallory.announce(&stage.agent, "shop").await;
    let opening = stage.agent.open("someone", "mallory", "shop");
    let answering = async {
        let mut conversation = stage.mallory.accept(StreamKind::Session).await;
        conversation.answer(INITIALIZED).await;
        conversation
    };
    let (session, conversation) = soon(async { tokio::join!(opening, answering) }).await;
    (session.unwrap(), conversation)
}

/// A call under way that was refused because the tool has changed, and the stream of that refusal,
/// which dropping would reset.
async fn refused(stage: &Stage, session: &Session) -> (McpCall, Conversation) {
    let call = session.begin(1, "echo", "{}").await.unwrap();
    let mut first = stage.mallory.accept(StreamKind::Call).await;
    let old = stage.mallory.digest(ECHO);
    assert_eq!(first.first.claims.tool_digest, Some(old));
    refuse(&mut first).await;
    (call, first)
}

async fn refuse(conversation: &mut Conversation) {
    let frame = RefusalFrame::named(OTHER_TOOL, "the tool has changed").encode();
    conversation.wire.frame(REFUSAL, &frame).await;
    conversation.wire.finish();
}

#[tokio::test]
async fn a_call_waits_for_the_record_and_is_signed_again() {
    let stage = Stage::set().await;
    let (session, _open) = opened(&stage).await;
    let (mut call, _first) = refused(&stage, &session).await;
    stage
        .mallory
        .announce_as(&stage.agent, "shop", 2, CHANGED)
        .await;
    let mut second = stage.mallory.accept(StreamKind::Call).await;
    let new = stage.mallory.digest(CHANGED);
    assert_eq!(second.first.claims.tool_digest, Some(new));
    assert_eq!(second.first.claims.parent, None, "another request");
    second.answer(RESULT).await;
    let answer = last(&mut call).await.unwrap();
    assert_eq!(answer["id"], 1, "the client's own id");
    stage.undisturbed().await;
}

#[tokio::test]
async fn a_record_that_never_comes_leaves_the_refusal() {
    let stage = Stage::set().await;
    let (session, _open) = opened(&stage).await;
    let (mut call, _first) = refused(&stage, &session).await;
    // A newer record that says the same explains nothing.
    stage
        .mallory
        .announce_as(&stage.agent, "shop", 2, ECHO)
        .await;
    let error = last(&mut call).await.unwrap_err();
    assert_eq!(error.reason, OTHER_TOOL, "{error:?}");
    assert_eq!(error.node.as_deref(), Some("mallory"));
    assert_eq!(error.server.as_deref(), Some("shop"));
    // It was signed once: the next stream is the next call's, and the session goes on.
    let mut again = session.begin(2, "echo", "{}").await.unwrap();
    let mut stream = stage.mallory.accept(StreamKind::Call).await;
    assert!(String::from_utf8_lossy(&stream.body).contains(r#""id":2"#));
    stream.answer(RESULT).await;
    assert_eq!(last(&mut again).await.unwrap()["id"], 2);
    stage.undisturbed().await;
}

/// A node that refuses the new one too is not asked a third time.
#[tokio::test]
async fn a_call_is_signed_again_once() {
    let stage = Stage::set().await;
    let (session, _open) = opened(&stage).await;
    let (mut call, _first) = refused(&stage, &session).await;
    stage
        .mallory
        .announce_as(&stage.agent, "shop", 2, CHANGED)
        .await;
    let mut second = stage.mallory.accept(StreamKind::Call).await;
    refuse(&mut second).await;
    stage
        .mallory
        .announce_as(&stage.agent, "shop", 3, ECHO)
        .await;
    let error = last(&mut call).await.unwrap_err();
    assert_eq!(error.reason, OTHER_TOOL, "{error:?}");
    stage.undisturbed().await;
}

fn known(agent: &TestNode, tools: &TestNode) -> Option<Digest> {
    let member = agent.node.enforcer().members().member(&tools.id())?;
    member.tool_digest(&name("bench"), "echo")
}

/// Two honest nodes; the server of the first describes its tools by the file.
async fn described() -> (TestMesh, TestNode, TestNode, PathBuf) {
    let (mesh, tools) = TestMesh::found("tools").await;
    let about = mesh.file("about");
    std::fs::write(&about, "old").unwrap();
    let arguments = ["--about", about.to_str().unwrap()];
    tools.attach_fixture("bench", &arguments).await;
    let agent = mesh.join(&tools, "agent").await;
    (mesh, tools, agent, about)
}

/// Two honest nodes and a server that really changes: every call of a connected client succeeds,
/// before, while and after the new definition gets about.
#[tokio::test]
async fn a_server_that_changes_under_its_clients() {
    let (_mesh, tools, agent, about) = described().await;
    let session = agent.open("someone", "tools", "bench").await.unwrap();
    let old = known(&agent, &tools).unwrap();
    session.call(1, "echo", "{}").await.unwrap();
    std::fs::write(&about, "new").unwrap();
    session.call(2, "changed", "{}").await.unwrap();
    let changing = async {
        for id in 3.. {
            let answer = session.call(id, "echo", "{}").await.unwrap();
            assert_eq!(answer["id"], id);
            if known(&agent, &tools) != Some(old) {
                return id;
            }
        }
        unreachable!("ids do not run out")
    };
    let id = soon(changing).await;
    let answer = session.call(id + 1, "echo", "{}").await.unwrap();
    assert_eq!(answer["id"], id + 1);
    let own = tools
        .node
        .enforcer()
        .own_tool_digest(&name("bench"), "echo");
    assert_eq!(known(&agent, &tools), own);
}

/// Servers are started for every session: what is approved is what the one of this session says, not
/// what was read once.
#[tokio::test]
async fn a_server_that_is_another_version_in_the_next_session() {
    let (_mesh, tools, agent, about) = described().await;
    agent.sees("tools", "bench").await;
    let old = known(&agent, &tools).unwrap();
    let pin = Pin {
        server: name("bench"),
        tool: "echo".to_owned(),
        digest: old,
    };
    let document = r#"{"policy_name": "pinned", "servers": ["bench"], "allowed_tools": ["echo"]}"#;
    let body = BundleBody {
        policies: vec![policy(document)],
        pins: vec![pin],
        ..BundleBody::default()
    };
    Admin::of(&tools.state).put(&tools, &body).await;
    for node in [&tools, &agent] {
        until("the policy is in force", || async {
            in_force(node).await.bundle.is_some()
        })
        .await;
    }
    let before = agent.open("someone", "tools", "bench").await.unwrap();
    before.call(1, "echo", "{}").await.unwrap();
    // No word of it.
    std::fs::write(&about, "new").unwrap();
    let after = agent.open("someone", "tools", "bench").await.unwrap();
    let refused = after.call(1, "echo", "{}").await.unwrap_err();
    let reasons = [OTHER_TOOL, "tool_not_allowed", "tool_definition_changed"];
    assert!(reasons.contains(&refused.reason.as_str()), "{refused:?}");
    // Whoever looks next sees the other definition.
    until("it was read again", || async {
        known(&agent, &tools) != Some(old)
    })
    .await;
    let refused = after.call(2, "echo", "{}").await.unwrap_err();
    assert_ne!(refused.reason, OTHER_TOOL, "{refused:?}");
}
