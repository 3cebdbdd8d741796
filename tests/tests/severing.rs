//! Whom a policy severs, where the caller's own node did not: the sessions of that agent end at
//! once, whoever waits is told why, and nothing of it passes for a while.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use std::sync::Arc;

use node::control::Operations as _;
use node::enforcement::SEVERED;
use protocol::control::{DecisionQuery, Level};
use protocol::policy::AllowMembers;
use tests::admin::{Admin, body_of, has_bundle, put_everywhere};
use tests::client::McpClient;
use tests::line::{Line, LineOptions};
use tests::mesh::{TestMesh, TestNode, last, tool_call};
use tests::stage::holds;
use tests::wait::until;

const ALL: &str = r#"{"policy_name": "all", "allowed_tools": ["*/*"]}"#;

/// Only the node of the server sees the address, so that the caller's lets it pass.
const LAN: &str = r#"{"policy_name": "lan", "tools": ["*/crash"],
    "location": {"networks": ["10.0.0.0/8"]}, "action_on_violation": "sever"}"#;

const TRIPWIRE: &str = r#"{"policy_name": "tripwire", "tools": ["*/crash"],
    "restricted_intents": ["crash"], "action_on_violation": "sever"}"#;

async fn sessions(at: &TestNode, left: usize) {
    let ended = || async { at.node.acceptor().sessions() == left };
    until("the sessions of the agent are over", ended).await;
}

#[tokio::test]
async fn the_servers_node_ends_the_sessions_of_an_agent_it_severs() {
    let (mesh, hub) = TestMesh::found("hub").await;
    hub.attach_fixture("bench", &[]).await;
    let user = mesh.join(&hub, "user").await;
    user.sees("hub", "bench").await;
    let body = body_of(&[ALL, LAN]);
    Admin::of(&hub.state).put(&hub, &body).await;
    for node in [&hub, &user] {
        has_bundle(node, 1).await;
    }
    let token = user.token("client").await;
    let path = "/mcp/hub/bench";
    let client = McpClient::open(&user, path, &token).await;
    let second = McpClient::open(&user, path, &token).await;
    let other = user.open("other", "hub", "bench").await.unwrap();
    other.call(1, "echo", "{}").await.unwrap();
    let mut held = other.begin(2, "hold", "{}").await.unwrap();
    holds(&other, 1).await;

    let begun = hub.node.enforcer().calls().incoming();
    let (severed, waiting) = tokio::join!(
        async {
            let waits = || async { hub.node.enforcer().calls().incoming() > begun };
            until("the second session waits for an answer", waits).await;
            client.post(tool_call(7, "crash", "{}")).await
        },
        second.post(tool_call(8, "hold", "{}")),
    );
    let told = ["network_not_allowed", SEVERED];
    for answer in [&severed, &waiting] {
        assert!(told.contains(&answer.reason().as_str()), "{answer:?}");
        let message = answer.response()["error"]["message"].to_string();
        assert!(message.contains("`lan`"), "{message}");
    }
    // The other call has broken nothing, and may have taken effect.
    assert_eq!(waiting.reason(), SEVERED, "{waiting:?}");
    let hint = waiting.response()["error"]["data"]["hint"].to_string();
    assert!(hint.contains("takes calls again in"), "{hint}");
    assert!(hint.contains("may have taken effect"), "{hint}");
    for client in [&client, &second] {
        let gone = || async { client.post(tool_call(9, "echo", "{}")).await.status == 404 };
        until("the session is over", gone).await;
        let told = client.post(tool_call(10, "echo", "{}")).await;
        assert_eq!(told.reason(), SEVERED, "{told:?}");
        assert!(told.response().to_string().contains("`lan`"), "{told:?}");
    }
    sessions(&hub, 1).await;
    let checks = hub.node.doctor().await.unwrap();
    let check = checks.iter().find(|c| c.name == "severed").unwrap();
    assert_eq!(check.level, Level::Warn);
    let whom = "cut off at this node: agent `client` of node `user` by policy `lan` for ";
    assert!(check.message.starts_with(whom), "{check:?}");
    // Nor does it come back before its time.
    let again = user.open("client", "hub", "bench").await.err().unwrap();
    assert_eq!(again.reason, SEVERED, "{again:?}");
    // Another agent of the same node is not concerned.
    other.call(3, "release", "{}").await.unwrap();
    last(&mut held).await.unwrap();

    let recorded = hub.node.decisions(DecisionQuery::default()).await.unwrap();
    let decided = recorded.iter().find(|d| d.verdict == "sever").unwrap();
    assert_eq!(decided.policy.as_deref(), Some("lan"));
    assert_eq!(decided.alerts, ["lan"]);
    assert_eq!(decided.agent.as_deref(), Some("client"));
}

/// What the caller's own node decides, it says of each call and session by itself.
#[tokio::test]
async fn the_callers_node_tells_each_what_became_of_it() {
    let (mesh, hub) = TestMesh::found("hub").await;
    hub.attach_fixture("bench", &[]).await;
    let user = mesh.join(&hub, "user").await;
    user.sees("hub", "bench").await;
    put_everywhere(1, &body_of(&[ALL, TRIPWIRE]), &[&hub, &user]).await;
    let token = user.token("client").await;
    let path = "/mcp/hub/bench";
    let client = McpClient::open(&user, path, &token).await;
    let second = McpClient::open(&user, path, &token).await;
    let idle = McpClient::open(&user, path, &token).await;
    let begun = hub.node.enforcer().calls().incoming();
    let (severed, waiting) = tokio::join!(
        async {
            let waits = || async { hub.node.enforcer().calls().incoming() > begun };
            until("the second session waits for an answer", waits).await;
            client.post(tool_call(7, "crash", "{}")).await
        },
        second.post(tool_call(8, "hold", "{}")),
    );
    assert_eq!(severed.reason(), "intent_restricted", "{severed:?}");
    let message = severed.response()["error"]["message"].to_string();
    let for_how_long = "node `user` cuts agent `client` off for 60 s";
    assert!(message.contains(for_how_long), "{message}");
    assert_eq!(waiting.reason(), SEVERED, "{waiting:?}");
    let hint = waiting.response()["error"]["data"]["hint"].to_string();
    assert!(hint.contains("may have taken effect"), "{hint}");
    for client in [&client, &second, &idle] {
        let gone = || async { client.post(tool_call(9, "echo", "{}")).await.status == 404 };
        until("the session is over", gone).await;
        let told = client.post(tool_call(10, "echo", "{}")).await;
        assert_eq!(told.reason(), SEVERED, "{told:?}");
        let hint = told.response()["error"]["data"]["hint"].to_string();
        assert!(hint.contains("takes calls again in"), "{hint}");
    }
}

#[tokio::test]
async fn a_relay_ends_what_it_carries_for_an_agent_it_severs() {
    let line = Line::build(LineOptions::default()).await;
    let body = body_of(&[ALL, TRIPWIRE]);
    Admin::of(&line.b.state).put(&line.b, &body).await;
    for node in [&line.a, &line.b, &line.c] {
        has_bundle(node, 1).await;
    }
    // The ends look away.
    for end in [&line.a, &line.c] {
        end.node.enforcer().replace_policy(Arc::new(AllowMembers));
    }
    let session = line.a.open("agent", "c", "fix").await.unwrap();
    let other = line.a.open("other", "c", "fix").await.unwrap();
    let mut held = session.begin(1, "hold", "{}").await.unwrap();
    holds(&session, 1).await;
    let refused = session.call(2, "crash", "{}").await.unwrap_err();
    assert_eq!(refused.reason, "intent_restricted", "{refused:?}");
    assert!(refused.message.contains("`tripwire`"), "{refused:?}");
    let cut = last(&mut held).await.unwrap_err();
    assert_eq!(cut.reason, SEVERED, "{cut:?}");
    sessions(&line.c, 1).await;
    other.call(3, "echo", "{}").await.unwrap();
    let carried = || async { line.b.node.relay().streams() == 1 };
    until("the relay carries the other's session alone", carried).await;
    line.stop().await;
}
