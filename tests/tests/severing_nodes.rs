//! Policies that judge nodes and sever: every agent of the node is cut off at the node that decides
//! so, the link too where that is how the call came, for a while and no longer; and nobody can bring
//! it about for another.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use std::time::Duration;

use node::app::Composition;
use node::control::Operations as _;
use node::enforcement::SEVERED;
use node::transport::{LinkEvent, Reason, StreamKind};
use protocol::control::{DecisionQuery, Level, Peer, PeerState};
use protocol::envelope::Direction;
use protocol::id::NodeId;
use tests::admin::{Admin, body_of, has_bundle, in_force};
use tests::client::McpClient;
use tests::lawless::{honest, lawless};
use tests::line::{Line, LineOptions};
use tests::mesh::{INITIALIZE, Session, TestMesh, TestNode, last, tool_call};
use tests::rogue::Misdeed;
use tests::stage::{Stage, holds};
use tests::wait::{soon, until};

const ALL: &str = r#"{"policy_name": "all", "allowed_tools": ["*/*"]}"#;

/// Only the node of the server sees the address, so that the caller's lets it pass.
const LAN: &str = r#"{"policy_name": "lan", "subjects": {"nodes": ["user"]}, "tools": ["*/crash"],
    "location": {"networks": ["10.0.0.0/8"]}, "action_on_violation": "sever"}"#;

/// As every hop sees it.
fn tripwire(node: &str) -> String {
    format!(
        r#"{{"policy_name": "tripwire", "subjects": {{"nodes": ["{node}"]}}, "tools": ["*/crash"],
            "restricted_intents": ["crash"], "action_on_violation": "sever"}}"#
    )
}

/// Longer than any test.
const LONG: Duration = Duration::from_secs(3600);

fn cooling(cool_down: Duration) -> Composition {
    Composition {
        cool_down,
        ..honest()
    }
}

/// A hub with the fixture `bench`, and a node of agents linked with it.
async fn pair(documents: &[&str], cool_down: Duration) -> (TestMesh, TestNode, TestNode) {
    let mesh = TestMesh::empty();
    mesh.found_at("hub");
    let hub = TestNode::compose(&mesh.state("hub"), cooling(cool_down)).await;
    hub.attach_fixture("bench", &[]).await;
    let user = mesh.join_composed(&hub, "user", cooling(cool_down)).await;
    user.sees("hub", "bench").await;
    put(&hub, &[&hub, &user], documents).await;
    (mesh, hub, user)
}

async fn put(admin: &TestNode, nodes: &[&TestNode], documents: &[&str]) {
    Admin::of(&admin.state)
        .put(admin, &body_of(documents))
        .await;
    for node in nodes {
        let has = || async { in_force(node).await.bundle.is_some() };
        until("the node has the bundle", has).await;
    }
}

async fn peer(at: &TestNode, of: NodeId) -> Peer {
    let peers = at.node.peers().await.unwrap();
    peers.into_iter().find(|peer| peer.id == of).unwrap()
}

fn linked(at: &TestNode, peer: NodeId) -> bool {
    at.node.links().get(peer).is_some()
}

/// What any agent of a node is told at another node that it still reaches.
async fn is_cut_off(from: &TestNode, agent: &str, node: &str, server: &str) {
    let refused = from.open(agent, node, server).await.err().unwrap();
    assert_eq!(refused.reason, SEVERED, "{refused:?}");
    assert!(
        refused.message.contains("the agents of node"),
        "{refused:?}"
    );
}

async fn calls(session: &Session) {
    session.call(70, "echo", "{}").await.unwrap();
}

#[tokio::test]
async fn the_agents_of_a_node_are_told_why_and_its_link_is_cut() {
    let (mesh, hub, user) = pair(&[ALL, LAN], LONG).await;
    let third = mesh.join(&hub, "third").await;
    let bystander = third.open("agent", "hub", "bench").await.unwrap();
    let client = McpClient::open(&user, "/mcp/hub/bench", &user.token("client").await).await;
    let other = user.open("other", "hub", "bench").await.unwrap();
    let mut held = other.begin(2, "hold", "{}").await.unwrap();
    holds(&other, 1).await;

    let answer = client.post(tool_call(7, "crash", "{}")).await;
    let told = ["network_not_allowed", SEVERED];
    assert!(told.contains(&answer.reason().as_str()), "{answer:?}");
    assert!(
        answer.response().to_string().contains("`lan`"),
        "{answer:?}"
    );
    let cut = last(&mut held).await.unwrap_err();
    assert_eq!(cut.reason, SEVERED, "{cut:?}");
    let ended = || async { hub.node.acceptor().sessions() == 1 };
    until("the sessions of the node are over", ended).await;

    // Both sides say what became of the link.
    for (at, of, says) in [
        (&hub, &user, "this node keeps it off"),
        (&user, &hub, "it keeps this node off"),
    ] {
        let apart = || async { !linked(at, of.id()) };
        until("the link is cut", apart).await;
        let known = || async { peer(at, of.id()).await.last_reason.is_some() };
        until("the cut is known", known).await;
        let seen = peer(at, of.id()).await;
        assert_eq!(seen.last_reason.as_deref(), Some("node_severed"));
        assert_eq!(seen.state, PeerState::Disconnected);
        assert!(seen.last_error.unwrap().contains(says));
        let checks = at.node.doctor().await.unwrap();
        let check = checks.iter().find(|c| c.name == "severed").unwrap();
        assert_eq!(check.level, Level::Warn, "{check:?}");
    }
    // Nobody else is concerned, and the node is told of by name to those who call.
    calls(&bystander).await;
    let late = McpClient::new(&user, "/mcp/hub/bench", &user.token("late").await);
    let answer = late.post(INITIALIZE).await;
    assert_eq!(answer.reason(), "node_severed", "{answer:?}");

    // Dialed all the same, each refuses, by this name and counted once; by itself neither dials.
    let remote = hub.node.links().local_addr().unwrap();
    let refused = soon(user.node.links().dial(remote, Some(hub.id()))).await;
    assert_eq!(refused.unwrap_err().name(), "node_severed");
    let counted = || async {
        let counted = hub.node.links().counters().snapshot();
        counted.get("not_admitted/node_severed").copied() == Some(1)
    };
    until("the hello was refused once", counted).await;
    assert!(!linked(&hub, user.id()));

    let recorded = hub.node.decisions(DecisionQuery::default()).await.unwrap();
    let decided = recorded.iter().find(|d| d.verdict == "sever").unwrap();
    assert_eq!(decided.policy.as_deref(), Some("lan"));
    assert_eq!(decided.alerts, ["lan"]);
}

#[tokio::test]
async fn the_link_comes_back_by_itself_with_what_was_missed() {
    let (_mesh, hub, user) = pair(&[ALL, LAN], Duration::from_secs(1)).await;
    let mut events = user.node.links().events();
    let session = user.open("client", "hub", "bench").await.unwrap();
    session.call(1, "crash", "{}").await.unwrap_err();
    let peer = hub.id();
    let reason = Reason::NodeSevered;
    let seen = soon(async {
        loop {
            if let LinkEvent::Down { peer, reason } = events.recv().await.unwrap() {
                return LinkEvent::Down { peer, reason };
            }
        }
    });
    assert_eq!(seen.await, LinkEvent::Down { peer, reason });
    // Published while it is away: it has no other way to hear of it.
    Admin::of(&hub.state).put(&hub, &body_of(&[ALL])).await;
    has_bundle(&user, 2).await;
    assert!(linked(&user, hub.id()));
    let again = || async {
        let session = user.open("client", "hub", "bench").await;
        match session {
            Ok(session) => session.call(2, "echo", "{}").await.is_ok(),
            Err(_) => false,
        }
    };
    until("its agents may call again", again).await;
    let healthy = hub.node.doctor().await.unwrap();
    let check = healthy.iter().find(|c| c.name == "severed").unwrap();
    assert_eq!(check.level, Level::Ok, "{check:?}");
}

#[tokio::test]
async fn a_node_that_severs_itself_keeps_its_links() {
    let (_mesh, hub, user) = pair(&[ALL, &tripwire("user")], LONG).await;
    let client = McpClient::open(&user, "/mcp/hub/bench", &user.token("client").await).await;
    let session = user.open("agent", "hub", "bench").await.unwrap();
    let other = user.open("other", "hub", "bench").await.unwrap();
    let refused = session.call(1, "crash", "{}").await.unwrap_err();
    assert_eq!(refused.reason, "intent_restricted");
    let cut = other.call(2, "echo", "{}").await.unwrap_err();
    assert_eq!(cut.reason, SEVERED, "{cut:?}");
    is_cut_off(&user, "third", "hub", "bench").await;
    let gone = || async { client.post(tool_call(3, "echo", "{}")).await.status == 404 };
    until("the client's session is over", gone).await;
    assert!(linked(&user, hub.id()) && linked(&hub, user.id()));
}

/// A line under these documents, on which only some nodes look.
async fn line(documents: &[&str], composed: fn(&str) -> Composition) -> Line {
    let options = LineOptions {
        composed,
        ..LineOptions::default()
    };
    let line = Line::build(options).await;
    put(&line.b, &[&line.a, &line.b, &line.c], documents).await;
    line
}

fn only_c(host: &str) -> Composition {
    if host == "c" { honest() } else { lawless() }
}

#[tokio::test]
async fn a_relay_that_brings_the_call_of_another_keeps_its_link() {
    let line = line(&[ALL, &tripwire("a")], only_c).await;
    let session = line.a.open("agent", "c", "fix").await.unwrap();
    let relays = line.b.open("relays", "c", "fix").await.unwrap();
    let refused = session.call(1, "crash", "{}").await.unwrap_err();
    assert_eq!(refused.reason, "intent_restricted", "{refused:?}");
    // Of the judged node nothing passes any more, of the relay everything.
    is_cut_off(&line.a, "other", "c", "fix").await;
    calls(&relays).await;
    assert!(linked(&line.c, line.b.id()) && linked(&line.b, line.a.id()));
    line.stop().await;
}

#[tokio::test]
async fn a_relay_cuts_the_link_of_a_node_it_severs_and_of_no_other() {
    let relay = |host: &str| if host == "b" { honest() } else { lawless() };
    let line = line(&[ALL, &tripwire("a")], relay).await;
    let session = line.a.open("agent", "c", "fix").await.unwrap();
    let refused = session.call(1, "crash", "{}").await.unwrap_err();
    assert_eq!(refused.reason, "intent_restricted", "{refused:?}");
    let apart = || async { !linked(&line.b, line.a.id()) };
    until("the link with the judged node is cut", apart).await;
    assert!(linked(&line.b, line.c.id()));
    let why = || async { peer(&line.a, line.b.id()).await.last_reason.is_some() };
    until("the judged node knows why", why).await;
    let told = peer(&line.a, line.b.id()).await.last_reason;
    assert_eq!(told.as_deref(), Some("node_severed"));
    line.stop().await;
}

/// The address behind a relay is the relay's word, which must not cut off a node.
#[tokio::test]
async fn what_a_relay_says_of_a_node_cuts_off_no_node() {
    let lan = LAN.replace("user", "a");
    let line = line(&[ALL, &lan], only_c).await;
    let session = line.a.open("agent", "c", "fix").await.unwrap();
    let other = line.a.open("other", "c", "fix").await.unwrap();
    let refused = session.call(1, "crash", "{}").await.unwrap_err();
    assert_eq!(refused.reason, "network_not_allowed", "{refused:?}");
    calls(&other).await;
    let again = line.a.open("agent", "c", "fix").await.err().unwrap();
    assert_eq!(again.reason, SEVERED, "the agent is: {again:?}");
    line.stop().await;
}

/// Nor what a server answers.
#[tokio::test]
async fn what_another_node_answers_cuts_off_no_node() {
    let secrets = r#"{"policy_name": "secrets", "subjects": {"nodes": ["user"]},
        "on_result": {"deny": ["hunter2"]}, "action_on_violation": "sever"}"#;
    let (_mesh, hub, user) = pair(&[ALL, secrets], LONG).await;
    let session = user.open("agent", "hub", "bench").await.unwrap();
    let other = user.open("other", "hub", "bench").await.unwrap();
    let refused = session.call(1, "echo", r#"{"said": "hunter2"}"#).await;
    assert_eq!(refused.unwrap_err().reason, "result_denied");
    calls(&other).await;
    assert!(linked(&hub, user.id()));
}

/// Only what a node has signed counts against it.
#[tokio::test]
async fn what_is_forged_in_the_name_of_a_node_cuts_off_no_node() {
    let stage = Stage::set().await;
    put(
        &stage.tools,
        &[&stage.tools, &stage.agent],
        &[ALL, &tripwire("agent")],
    )
    .await;
    let (session, _wire) = stage.session().await;
    let mut draft = stage.calling_tool(session, "crash");
    draft.header.cwt.iss = stage.agent.id();
    draft.header.claims.route[0] = stage.agent.id();
    let forged = stage.mallory.forge.seal(&draft).bytes;
    let told = stage
        .mallory
        .refused(stage.target(), StreamKind::Call, &forged);
    assert_eq!(told.await, "wrong_issuer");
    assert!(linked(&stage.tools, stage.agent.id()));
    stage.undisturbed().await;
}

/// A member that signs what breaks the policy is cut off itself, and stays a stranger to the others'
/// calls.
#[tokio::test]
async fn a_hostile_member_is_cut_off_for_what_it_signs() {
    let stage = Stage::set().await;
    let documents = [ALL, &tripwire("mallory")];
    put(&stage.tools, &[&stage.tools, &stage.agent], &documents).await;
    let (session, _wire) = stage.session().await;
    let crash = stage.calling_tool(session, "crash");
    let sealed = stage.mallory.forge.seal(&crash).bytes;
    let told = stage
        .mallory
        .refused(stage.target(), StreamKind::Call, &sealed);
    assert_eq!(told.await, "intent_restricted");
    let apart = || async { !linked(&stage.tools, stage.mallory.id()) };
    until("its link is cut", apart).await;
    // Until it has heard so itself, it takes the link that it had for the one it asks for.
    let heard = || async { stage.mallory.dial(&stage.tools).await.is_err() };
    until("it knows, and gets no other", heard).await;
    let refused = stage.mallory.dial(&stage.tools).await.unwrap_err();
    assert_eq!(refused.name(), "node_severed");
    stage.undisturbed().await;
}

/// A relay that alters what it carries loses its own link, not its victim's.
#[tokio::test]
async fn a_relay_that_alters_a_call_cuts_off_nobody_but_itself() {
    let options = LineOptions {
        through: r#"["m", "b"]"#,
        ..LineOptions::default()
    };
    let (line, rogue) = Line::with_rogue(options).await;
    let nodes = [&line.a, &line.b, &line.c];
    put(&line.b, &nodes, &[ALL, &tripwire("a")]).await;
    let session = line.a.open("agent", "c", "fix").await.unwrap();
    rogue.misbehave(Misdeed::AlterSignature, Direction::ToServer);
    // Refused, or carried over the other relay, which its far end starts once.
    drop(session.call(1, "echo", "{}").await);
    let cut = || async { !linked(&line.c, rogue.id()) };
    until("the link that brought it is cut", cut).await;
    let other = line.a.open("other", "c", "fix").await.unwrap();
    calls(&other).await;
    line.stop().await;
}
