//! Tools that are approved by their definition, called before the caller's node has heard how they are
//! defined: it asks, waits, and otherwise refuses by a name that says so.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use std::collections::BTreeMap;

use node::control::Operations as _;
use node::enforcement::TOOL_UNKNOWN_HERE;
use node::session::ServerRef;
use node::transport::StreamKind;
use protocol::control::{AddServer, DecisionQuery, ServerSpec};
use protocol::id::Digest;
use protocol::trust::bundle::{BundleBody, Pin};
use tests::admin::{Admin, has_bundle, policy};
use tests::fixture;
use tests::hostile::{ECHO, INITIALIZED};
use tests::mesh::{LOCAL, Session, TestMesh, TestNode, last, name};
use tests::stage::Stage;
use tests::wait::{soon, until};

/// Only what is approved may be called; who tries more is cut off.
const APPROVED_ONLY: &str = r#"{"policy_name": "approved_only",
 "allowed_tools": ["echo", "verbatim"], "action_on_violation": "sever"}"#;

/// Tells of a definition of `verbatim`.
const VERBATIM: &str = r#"{"name":"verbatim","inputSchema":{"type":"object"}}"#;

const RESULT: &str = r#"{"content":[]}"#;

/// How the fixture defines its tool `echo`.
const FIXTURE_ECHO: &str = r#"{"name":"echo","description":"","inputSchema":{"type":"object"}}"#;

fn body(server: &str, pins: &[(&str, Digest)]) -> BundleBody {
    let pins = pins.iter().map(|(tool, digest)| Pin {
        server: name(server),
        tool: (*tool).to_owned(),
        digest: *digest,
    });
    BundleBody {
        policies: vec![policy(APPROVED_ONLY)],
        pins: pins.collect(),
        ..BundleBody::default()
    }
}

/// A session with `mallory/shop`, of which the agent's node knows `echo` only; both its tools are
/// approved.
async fn opened(stage: &Stage) -> (Session, tests::hostile::Conversation) {
    let mallory = &stage.mallory;
    mallory.announce(&stage.agent, "shop").await;
    let pins = [
        ("echo", mallory.digest(ECHO)),
        ("verbatim", mallory.digest(VERBATIM)),
    ];
    let admin = Admin::of(&stage.tools.state);
    admin.put(&stage.tools, &body("shop", &pins)).await;
    has_bundle(&stage.agent, 1).await;
    let opening = stage.agent.open("someone", "mallory", "shop");
    let answering = async {
        let mut conversation = mallory.accept(StreamKind::Session).await;
        conversation.answer(INITIALIZED).await;
        conversation
    };
    let (session, conversation) = soon(async { tokio::join!(opening, answering) }).await;
    (session.unwrap(), conversation)
}

#[tokio::test]
async fn the_node_of_the_server_is_asked_and_the_call_goes_on() {
    let stage = Stage::set().await;
    let (session, _open) = opened(&stage).await;
    let mallory = &stage.mallory;
    let tools = [("echo", ECHO), ("verbatim", VERBATIM)];
    let record = mallory.record("shop", 2, &tools);
    let (call, ()) = tokio::join!(session.begin(1, "verbatim", "{}"), mallory.give(&record));
    let mut call = call.unwrap();
    let mut stream = mallory.accept(StreamKind::Call).await;
    let approved = mallory.digest(VERBATIM);
    assert_eq!(stream.first.claims.tool_digest, Some(approved));
    stream.answer(RESULT).await;
    assert_eq!(last(&mut call).await.unwrap()["id"], 1);
}

#[tokio::test]
async fn a_definition_nobody_tells_is_refused_by_name_and_cuts_nobody_off() {
    let stage = Stage::set().await;
    let (session, _open) = opened(&stage).await;
    let mallory = &stage.mallory;
    // It is asked, and has nothing new to say.
    let record = mallory.record("shop", 2, &[("echo", ECHO)]);
    let (call, ()) = tokio::join!(session.begin(1, "verbatim", "{}"), mallory.give(&record));
    let refused = call.err().unwrap();
    assert_eq!(refused.reason, TOOL_UNKNOWN_HERE, "{refused:?}");
    assert!(refused.message.contains("`shop/verbatim`"), "{refused:?}");
    assert!(refused.hint.unwrap().contains("call again"));
    let recorded = stage.agent.node.decisions(DecisionQuery::default());
    let recorded = recorded.await.unwrap();
    let of_it = |d: &&protocol::control::Decision| d.reason.as_deref() == Some(TOOL_UNKNOWN_HERE);
    let recorded = recorded.iter().find(of_it).unwrap();
    assert_eq!(recorded.policy.as_deref(), Some("approved_only"));
    assert_eq!((recorded.verdict.as_str(), recorded.bundle), ("deny", 1));
    assert!(recorded.alerts.is_empty(), "nothing was violated");
    // The document would have cut the agent off. It has done nothing wrong.
    let mut call = session.begin(2, "echo", "{}").await.unwrap();
    let mut stream = mallory.accept(StreamKind::Call).await;
    stream.answer(RESULT).await;
    assert_eq!(last(&mut call).await.unwrap()["id"], 2);
    // What no definition would have let through is refused as ever.
    let other = session.begin(3, "state", "{}").await.err().unwrap();
    assert_eq!(other.reason, "tool_not_allowed", "{other:?}");
}

/// Where a server is whose tools are not known.
async fn unknown(of: &TestNode, server: &str) -> ServerRef {
    ServerRef {
        node_id: of.id(),
        node: of.status().await.node.name,
        server: name(server),
    }
}

/// A server that takes its time to say what it offers, called from its own node and from another.
#[tokio::test]
async fn a_call_right_after_the_start_of_its_server() {
    let (mesh, hub) = TestMesh::found("hub").await;
    let user = mesh.join(&hub, "user").await;
    user.linked(hub.id()).await;
    let listed = mesh.file("listed");
    let add = AddServer {
        name: name("bench"),
        spec: ServerSpec::Stdio {
            command: fixture::command(&["--listed", listed.to_str().unwrap()]),
            env: BTreeMap::new(),
            cwd: None,
        },
    };
    hub.node.add_server(LOCAL, add).await.unwrap();
    let bench = unknown(&hub, "bench").await;
    let crypto = &*hub.node.enforcer().identity().crypto;
    let approved = protocol::mcp::tool_digest(crypto, FIXTURE_ECHO).unwrap();
    let admin = Admin::of(&hub.state);
    admin.put(&hub, &body("bench", &[("echo", approved)])).await;
    for at in [&hub, &user] {
        has_bundle(at, 1).await;
        let session = at.open_at("agent", None, &bench).await.unwrap();
        let refused = session.call(1, "echo", "{}").await.unwrap_err();
        assert_eq!(refused.reason, TOOL_UNKNOWN_HERE, "{refused:?}");
        session.close().await;
    }
    std::fs::write(&listed, "").unwrap();
    for at in [&hub, &user] {
        let session = at.open_at("agent", None, &bench).await.unwrap();
        let passes = || async { session.call(2, "echo", "{}").await.is_ok() };
        until("the call passes", passes).await;
    }
}
