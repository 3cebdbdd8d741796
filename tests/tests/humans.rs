//! Humans that agents act for: bound by an operator, asserted by the caller's node, and worth what
//! the policies in force say.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use node::app::Composition;
use node::control::{ApprovalOperations as _, Operations as _};
use node::state_dir::StateDir;
use node::transport::StreamKind;
use protocol::approval::Choice;
use protocol::control::{
    AddAgent, AnswerApproval, ApprovalQuery, CallRequest, Decision, DecisionQuery,
};
use serde_json::value::RawValue;
use tests::admin::{Admin, body_of, in_force};
use tests::client::McpClient;
use tests::lawless::{honest, lawless};
use tests::line::{Line, LineOptions};
use tests::mesh::{INITIALIZE, LOCAL, TestMesh, TestNode, last, name, tool_call};
use tests::stage::Stage;
use tests::wait::{soon, until};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

const ADA: &str = "ada@example.org";
const EVE: &str = "eve@example.org";

/// Everybody may look at the server's state, and only Ada may have something echoed.
const STATE: &str =
    r#"{"policy_name": "state", "tools": ["*/state"], "allowed_tools": ["*/state"]}"#;
const ONLY_ADA: &str = r#"{"policy_name": "only_ada", "subjects": {"humans": ["ada@*"]},
    "tools": ["*/echo"], "allowed_tools": ["*/echo"]}"#;
/// Eve may not even look.
const NOT_EVE: &str = r#"{"policy_name": "not_eve", "subjects": {"humans": ["eve@*"]},
    "restricted_intents": ["state"]}"#;

/// A document by which the node of this name vouches.
fn vouches(node: &str) -> String {
    format!(
        r#"{{"policy_name": "vouches", "subjects": {{"nodes": ["{node}"]}},
            "vouches_for_humans": true}}"#
    )
}

async fn has_bundle(at: &TestNode) {
    let has = || async { in_force(at).await.bundle.is_some() };
    until("the node has the bundle", has).await;
}

/// What a node decided of calls of a tool, newest first.
async fn decided(at: &TestNode, tool: &str) -> Vec<Decision> {
    at.node.store().flush().await.unwrap();
    let recorded = at.node.decisions(DecisionQuery::default()).await.unwrap();
    let of_call = |d: &Decision| d.name.as_deref() == Some(tool) && d.basis.is_some();
    recorded.into_iter().filter(of_call).collect()
}

/// The human of a decision and whether somebody vouches for it.
fn human(decision: &Decision) -> (Option<&str>, Option<bool>) {
    let basis = decision.basis.as_deref().unwrap();
    (basis.human.as_deref(), basis.human_vouched)
}

/// A server's node and a caller's, composed so, under these documents.
async fn pair(documents: &[&str], composed: Composition) -> (TestMesh, TestNode, TestNode) {
    let (mesh, host) = TestMesh::found("host").await;
    host.attach_fixture("bench", &[]).await;
    let user = mesh.join_composed(&host, "user", composed).await;
    user.sees("host", "bench").await;
    Admin::of(&host.state).put(&host, &body_of(documents)).await;
    has_bundle(&user).await;
    (mesh, host, user)
}

/// Calls a tool for a human; the reason of the refusal, if it is one.
async fn call(at: &TestNode, for_whom: Option<&str>, host: &str, tool: &str) -> Option<String> {
    let server = if host == "c" { "fix" } else { "bench" };
    let session = at.open_for("agent", for_whom, host, server).await.unwrap();
    let said = session.call(1, tool, "{}").await;
    said.err().map(|error| error.reason)
}

/// Ada is asked before anything is echoed.
const ASK_ADA: &str = r#"{"policy_name": "ask_ada", "tools": ["*/echo"],
    "allowed_tools": ["*/echo"], "approval": {"required": true, "by": {"humans": ["ada@*"]}}}"#;

/// Approves the one call that `host` holds, as this human of `at`.
async fn approves(at: &TestNode, host: &TestNode, as_whom: Option<&str>) -> Result<(), String> {
    let held = host.node.held(ApprovalQuery::default()).await.unwrap();
    let answer = AnswerApproval {
        approval: held[0].id.to_string(),
        node: (at.id() != host.id()).then(|| name("host")),
        words: None,
        human: as_whom.map(|human| human.parse().unwrap()),
    };
    let answered = at.node.answer_held(LOCAL, answer, Choice::Approve).await;
    answered.map(drop).map_err(|failure| failure.reason)
}

#[tokio::test]
async fn a_human_approves_only_where_somebody_vouches() {
    let (_mesh, host, user) = pair(&[STATE, ASK_ADA], honest()).await;
    let session = user.open("agent", "host", "bench").await.unwrap();
    let mut call = session.begin(1, "echo", "{}").await.unwrap();
    let held = || async {
        !host
            .node
            .held(ApprovalQuery::default())
            .await
            .unwrap()
            .is_empty()
    };
    until("the call is held", held).await;
    let (unknown, refused) = ("unknown_approval".to_owned(), "not_an_approver".to_owned());
    // Neither where it is held, nor from elsewhere, where it is not even seen.
    assert_eq!(
        approves(&host, &host, Some(ADA)).await,
        Err(refused.clone())
    );
    assert_eq!(
        approves(&user, &host, Some(ADA)).await,
        Err(unknown.clone())
    );
    let vouching = vouches("user");
    put(&host, &user, &body_of(&[STATE, ASK_ADA, &vouching])).await;
    assert_eq!(
        approves(&host, &host, Some(ADA)).await,
        Err(refused.clone())
    );
    for nobody in [None, Some(EVE)] {
        assert_eq!(approves(&user, &host, nobody).await, Err(refused.clone()));
    }
    assert_eq!(approves(&user, &host, Some(ADA)).await, Ok(()));
    last(&mut call).await.unwrap();
    host.node.store().flush().await.unwrap();
    let recorded = host.node.decisions(DecisionQuery::default()).await.unwrap();
    let noted = recorded.iter().filter_map(|d| d.approval.as_ref());
    let mut humans = noted.filter_map(|note| Some((note.by.as_deref()?, note.human.as_deref()?)));
    assert_eq!(humans.next(), Some(("user", ADA)));
    // Who vouched when it was answered must do so when it is used.
    let _call = session.begin(2, "echo", "{}").await.unwrap();
    until("the next is held", held).await;
    put(&host, &user, &body_of(&[STATE, ASK_ADA])).await;
    assert_eq!(approves(&user, &host, Some(ADA)).await, Err(unknown));
}

#[tokio::test]
async fn a_human_is_permitted_something_only_where_somebody_vouches() {
    let documents = [STATE, ONLY_ADA, NOT_EVE];
    let (mesh, host, user) = pair(&documents, honest()).await;
    let denied = Some("not_permitted".to_owned());
    assert_eq!(call(&user, Some(ADA), "host", "echo").await, denied);
    let recorded = decided(&user, "echo").await;
    assert_eq!(human(&recorded[0]), (Some(ADA), Some(false)));
    // What restricts a human needs nobody's word.
    let restricted = call(&user, Some(EVE), "host", "state").await;
    assert_eq!(restricted.as_deref(), Some("intent_restricted"));
    assert_eq!(call(&user, Some(ADA), "host", "state").await, None);
    assert_eq!(call(&user, None, "host", "state").await, None);

    // A document that only observes vouches for nobody, nor does one for another node.
    let observing = vouches("user").replace("true}", "true, \"mode\": \"observe\"}");
    for vouching in [observing, vouches("host")] {
        let body = body_of(&[&documents[..], &[&vouching]].concat());
        put(&host, &user, &body).await;
        assert_eq!(call(&user, Some(ADA), "host", "echo").await, denied);
    }

    let body = body_of(&[&documents[..], &[&vouches("us*")]].concat());
    put(&host, &user, &body).await;
    assert_eq!(call(&user, Some(ADA), "host", "echo").await, None);
    assert_eq!(
        call(&user, Some("bob@example.org"), "host", "echo").await,
        denied
    );
    assert_eq!(call(&user, None, "host", "echo").await, denied);
    let restricted = call(&user, Some(EVE), "host", "state").await;
    assert_eq!(restricted.as_deref(), Some("intent_restricted"));
    for node in [&user, &host] {
        let recorded = decided(node, "echo").await;
        let allowed = recorded.iter().find(|d| d.verdict == "allow").unwrap();
        assert_eq!(human(allowed), (Some(ADA), Some(true)), "{allowed:?}");
    }
    drop(mesh);
}

/// Puts one more bundle in force on both.
async fn put(host: &TestNode, user: &TestNode, body: &protocol::trust::bundle::BundleBody) {
    Admin::of(&host.state).put(host, body).await;
    let there = in_force(host).await.bundle.unwrap().version;
    let has = || async {
        in_force(user)
            .await
            .bundle
            .is_some_and(|b| b.version == there)
    };
    until("the node has the bundle", has).await;
}

#[tokio::test]
async fn a_node_that_may_not_vouch_gains_nothing_by_what_it_asserts() {
    let vouching = vouches("host");
    let documents = [STATE, ONLY_ADA, &vouching];
    // Its own check is not what stops it.
    let (mesh, host, user) = pair(&documents, lawless()).await;
    let denied = Some("not_permitted".to_owned());
    assert_eq!(call(&user, Some(ADA), "host", "echo").await, denied);
    let recorded = decided(&host, "echo").await;
    assert_eq!(recorded[0].role, "egress");
    assert_eq!(human(&recorded[0]), (Some(ADA), Some(false)));
    assert_eq!(call(&user, Some(ADA), "host", "state").await, None);
    drop(mesh);
}

/// Nor is anybody asked to approve what only a human nobody vouches for would be permitted then.
#[tokio::test]
async fn nobody_is_asked_to_approve_for_a_human_nobody_vouches_for() {
    let asks = r#"{"policy_name": "asks", "subjects": {"humans": ["ada@*"]},
        "restricted_intents": ["echo"], "action_on_violation": "require_approval"}"#;
    let (mesh, host, user) = pair(&[STATE, asks], lawless()).await;
    let refused = call(&user, Some(ADA), "host", "echo").await;
    assert_eq!(refused.as_deref(), Some("not_permitted"));
    let all = ApprovalQuery {
        all: true,
        ..ApprovalQuery::default()
    };
    let held = host.node.held(all).await.unwrap();
    assert!(held.is_empty(), "{held:?}");
    drop(mesh);
}

/// The ends reach each other through a relay only.
async fn line(documents: &[&str], composed: fn(&str) -> Composition) -> Line {
    let options = LineOptions {
        composed,
        ..LineOptions::default()
    };
    let line = Line::build(options).await;
    line.a.sees("c", "fix").await;
    let body = body_of(documents);
    Admin::of(&line.b.state).put(&line.b, &body).await;
    for node in [&line.a, &line.b, &line.c] {
        has_bundle(node).await;
    }
    line
}

#[tokio::test]
async fn every_hop_goes_by_the_human_in_the_signed_header() {
    let vouching = vouches("a");
    let line = line(&[STATE, ONLY_ADA, NOT_EVE, &vouching], |_| honest()).await;
    assert_eq!(call(&line.a, Some(ADA), "c", "echo").await, None);
    let denied = Some("not_permitted".to_owned());
    assert_eq!(call(&line.a, None, "c", "echo").await, denied);
    for node in [&line.a, &line.b, &line.c] {
        let recorded = decided(node, "echo").await;
        let allowed = recorded.iter().find(|d| d.verdict == "allow").unwrap();
        assert_eq!(human(allowed), (Some(ADA), Some(true)), "{allowed:?}");
    }
    line.stop().await;
}

#[tokio::test]
async fn a_relay_stops_what_only_an_unvouched_human_is_permitted() {
    let ends = |host: &str| if host == "b" { honest() } else { lawless() };
    let line = line(&[STATE, ONLY_ADA, NOT_EVE], ends).await;
    let refused = call(&line.a, Some(ADA), "c", "echo").await;
    assert_eq!(refused.as_deref(), Some("not_permitted"));
    let recorded = decided(&line.b, "echo").await;
    assert_eq!(recorded[0].role, "relay");
    assert_eq!(human(&recorded[0]), (Some(ADA), Some(false)));
    let restricted = call(&line.a, Some(EVE), "c", "state").await;
    assert_eq!(restricted.as_deref(), Some("intent_restricted"));
    line.stop().await;
}

#[tokio::test]
async fn an_egress_stops_what_ingress_and_relay_let_pass_for_a_human() {
    let others = |host: &str| if host == "c" { honest() } else { lawless() };
    let line = line(&[STATE, ONLY_ADA, NOT_EVE], others).await;
    let refused = call(&line.a, Some(ADA), "c", "echo").await;
    assert_eq!(refused.as_deref(), Some("not_permitted"));
    assert_eq!(decided(&line.c, "echo").await[0].role, "egress");
    let restricted = call(&line.a, Some(EVE), "c", "state").await;
    assert_eq!(restricted.as_deref(), Some("intent_restricted"));
    line.stop().await;
}

/// What goes with the results of a human's calls goes with them at both ends, whoever answers.
#[tokio::test]
async fn results_are_a_human_s_as_their_calls_are() {
    let hidden = r#"{"policy_name": "hidden", "subjects": {"humans": ["eve@*"]},
        "on_result": {"deny": ["hush"]}}"#;
    let all = r#"{"policy_name": "all", "allowed_tools": ["*/*"]}"#;
    let server_is_lawless = async {
        let mesh = TestMesh::empty();
        mesh.found_at("host");
        let host = TestNode::compose(&mesh.state("host"), lawless()).await;
        host.attach_fixture("bench", &[]).await;
        let user = mesh.join(&host, "user").await;
        user.sees("host", "bench").await;
        let body = body_of(&[all, hidden]);
        Admin::of(&host.state).put(&host, &body).await;
        has_bundle(&user).await;
        (mesh, host, user)
    };
    for (mesh, host, user) in [
        pair(&[all, hidden], lawless()).await,
        server_is_lawless.await,
    ] {
        for (whom, expected) in [(ADA, None), (EVE, Some("result_denied"))] {
            let session = user.open_for("agent", Some(whom), "host", "bench").await;
            let said = session.unwrap().call(1, "echo", r#"{"x": "hush"}"#).await;
            assert_eq!(said.err().map(|e| e.reason).as_deref(), expected, "{whom}");
        }
        drop((mesh, host, user));
    }
}

/// Sessions and calls stay those of the human they were begun for.
#[tokio::test]
async fn a_session_is_not_continued_for_another_human() {
    let stage = Stage::set().await;
    let (session, _wire) = stage.session().await;
    let mut draft = stage.calling(session);
    draft.header.claims.human = Some(ADA.to_owned());
    let envelope = stage.mallory.forge.seal(&draft).bytes;
    let refused = stage
        .mallory
        .refused(stage.target(), StreamKind::Call, &envelope);
    assert_eq!(refused.await, "unknown_session");
    stage.undisturbed().await;
}

/// Who answers repeats for whom it was asked, and cannot drop it.
#[tokio::test]
async fn an_answer_that_drops_the_human_is_refused() {
    let stage = Stage::set().await;
    stage.mallory.announce(&stage.agent, "shop").await;
    let opening = stage.agent.open_for("victim", Some(ADA), "mallory", "shop");
    let answering = async {
        let mut conversation = stage.mallory.accept(StreamKind::Session).await;
        let result = r#"{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"x","version":"1"}}"#;
        let body = format!(r#"{{"jsonrpc":"2.0","id":0,"result":{result}}}"#);
        let mut draft = conversation.draft(&body);
        assert_eq!(draft.header.claims.human.as_deref(), Some(ADA));
        draft.header.claims.human = None;
        conversation.say(&draft).await;
        conversation
    };
    let (opened, _conversation) = soon(async { tokio::join!(opening, answering) }).await;
    assert_eq!(opened.err().unwrap().reason, "other_call");
    stage.undisturbed().await;
}

/// Bound to the token of an agent by the operator, and still bound after a restart; a client can
/// neither choose nor drop it.
#[tokio::test]
async fn the_operator_binds_a_token_to_a_human() {
    let vouching = vouches("host");
    let (mesh, host) = TestMesh::found("host").await;
    host.attach_fixture("bench", &[]).await;
    let body = body_of(&[STATE, ONLY_ADA, NOT_EVE, &vouching]);
    Admin::of(&host.state).put(&host, &body).await;
    has_bundle(&host).await;
    let add = |agent: &str, human: Option<&str>| AddAgent {
        name: name(agent),
        human: human.map(|human| human.parse().unwrap()),
    };
    let mut tokens = Vec::new();
    for (agent, human) in [("bound", Some(ADA)), ("barred", Some(EVE)), ("free", None)] {
        let added = host.node.add_agent(LOCAL, add(agent, human)).await.unwrap();
        assert_eq!(added.human.as_ref().map(|h| h.as_str()), human);
        tokens.push(added.token.expose().to_owned());
    }
    let agents = host.node.agents().await.unwrap();
    let listed: Vec<_> = agents
        .iter()
        .map(|a| (a.name.as_str(), a.human.as_ref().map(|h| h.as_str())))
        .collect();
    assert_eq!(
        listed,
        [("barred", Some(EVE)), ("bound", Some(ADA)), ("free", None)]
    );

    let state = host.stop().await;
    let host = TestNode::start(&state).await;
    host.sees("host", "bench").await;
    for (token, tool, expected) in [
        (&tokens[0], "echo", None),
        (&tokens[1], "echo", Some("not_permitted")),
        (&tokens[1], "state", Some("intent_restricted")),
        (&tokens[2], "echo", Some("not_permitted")),
        (&tokens[2], "state", None),
    ] {
        let client = McpClient::open(&host, "/mcp/host/bench", token).await;
        // Whatever it says of itself in its message.
        let call = tool_call(1, tool, "{}").replace(
            "\"arguments\"",
            "\"human\":\"ada@example.org\",\"arguments\"",
        );
        let answer = client.post(call).await;
        match expected {
            None => assert!(answer.response()["result"].is_object(), "{answer:?}"),
            Some(reason) => assert_eq!(answer.reason(), reason, "{tool}"),
        }
    }
    let recorded = decided(&host, "echo").await;
    let of_bound = |d: &&Decision| d.agent.as_ref().is_some_and(|a| a.as_str() == "bound");
    let bound = recorded.iter().find(of_bound).unwrap();
    assert_eq!(human(bound), (Some(ADA), Some(true)));

    // `hedgerow call --agent` calls as the agent is bound.
    for (agent, expected) in [("bound", true), ("free", false)] {
        let call = CallRequest {
            node: name("host"),
            server: name("bench"),
            tool: "echo".to_owned(),
            arguments: RawValue::from_string("{}".to_owned()).unwrap(),
            agent: Some(name(agent)),
            capture: false,
            timeout_ms: 10_000,
        };
        let (events, _none) = tokio::sync::mpsc::channel(8);
        let said = host.node.call(LOCAL, call, events).await;
        assert_eq!(said.is_ok_and(|reply| reply.ok), expected, "{agent}");
    }
    drop(mesh);
}

/// The local user names the human for `hedgerow mcp` on its command line.
#[tokio::test]
async fn the_stdio_edge_takes_the_human_from_its_command_line() {
    let vouching = vouches("host");
    let (mesh, host) = TestMesh::found("host").await;
    host.attach_fixture("bench", &[]).await;
    let body = body_of(&[ONLY_ADA, &vouching]);
    Admin::of(&host.state).put(&host, &body).await;
    has_bundle(&host).await;
    let socket = StateDir::open(&host.state).unwrap().mcp_socket();
    for (given, expected) in [
        (r#","human":"ada@example.org""#, true),
        (r#","human":"eve@example.org""#, false),
        ("", false),
    ] {
        let mut stream = BufReader::new(UnixStream::connect(&socket).await.unwrap());
        let preamble = format!("{{\"hedgerow\":1,\"server\":\"host/bench\"{given}}}\n");
        stream.write_all(preamble.as_bytes()).await.unwrap();
        let mut answered = async |message: &str| {
            stream.write_all(message.as_bytes()).await.unwrap();
            stream.write_all(b"\n").await.unwrap();
            let mut line = String::new();
            soon(stream.read_line(&mut line)).await.unwrap();
            serde_json::from_str::<serde_json::Value>(&line).unwrap()
        };
        answered(INITIALIZE).await;
        let answer = answered(&tool_call(1, "echo", "{}")).await;
        assert_eq!(answer["result"].is_object(), expected, "{given}: {answer}");
    }
    // A name that none can have ends the line.
    let mut stream = BufReader::new(UnixStream::connect(&socket).await.unwrap());
    let preamble = "{\"hedgerow\":1,\"server\":null,\"human\":\"*\"}\n";
    stream.write_all(preamble.as_bytes()).await.unwrap();
    let mut line = String::new();
    assert_eq!(soon(stream.read_line(&mut line)).await.unwrap_or(0), 0);
    drop(mesh);
}
