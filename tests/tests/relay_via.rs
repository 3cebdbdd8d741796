//! Waypoints that policies demand, on whole nodes: calls take them, no call goes without, and what
//! is sent around them is stopped at the other end.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use std::sync::Arc;

use node::control::Operations as _;
use node::transport::StreamKind;
use protocol::control::{CallReply, CallRequest, Decision, DecisionQuery};
use protocol::id::SessionId;
use protocol::policy::AllowMembers;
use protocol::trust::bundle::{BundleBody, Policy};
use serde_json::json;
use serde_json::value::RawValue;
use tests::admin::{Admin, body_of, has_bundle};
use tests::forge::random;
use tests::hostile::Hostile;
use tests::line::{Line, LineOptions, configure};
use tests::mesh::{INITIALIZE, LOCAL, TestMesh, TestNode, last, next, tool_call};
use tests::wait::until;

const ALL: &str = r#"{"policy_name": "all", "allowed_tools": ["*/*"]}"#;
const ECHO_BY_GATE: &str =
    r#"{"policy_name": "gate", "tools": ["*/echo"], "via": "group:gateways"}"#;
const RELAYING: &str = "[relay]\naccept = [\"members\"]\n";
const NOT_RELAYING: &str = "";

/// A caller and a host that have a link with each other, and the founder, which does not relay.
struct Scene {
    mesh: TestMesh,
    hub: TestNode,
    caller: TestNode,
    host: TestNode,
    gates: Vec<TestNode>,
}

impl Scene {
    async fn set(documents: &[&str]) -> Self {
        Self::under(&body_of(documents)).await
    }

    async fn under(body: &BundleBody) -> Self {
        let (mesh, hub) = TestMesh::found("hub").await;
        let host = mesh.join(&hub, "host").await;
        host.attach_fixture("fix", &[]).await;
        let caller = mesh.join(&hub, "caller").await;
        caller.linked(host.id()).await;
        let scene = Self {
            mesh,
            hub,
            caller,
            host,
            gates: Vec::new(),
        };
        Admin::of(&scene.hub.state).put(&scene.hub, body).await;
        for node in [&scene.caller, &scene.host] {
            has_bundle(node, 1).await;
        }
        scene
    }

    /// Adds a node that both ends have a link with.
    async fn gate(&mut self, name: &str, groups: &[&str], configuration: &str) {
        let state = self.mesh.admit_to(&self.hub, name, groups).await;
        configure(&state, configuration);
        let gate = TestNode::start(&state).await;
        for end in [&self.caller, &self.host, &self.hub] {
            gate.linked(end.id()).await;
            end.linked(gate.id()).await;
        }
        for other in &self.gates {
            gate.linked(other.id()).await;
            other.linked(gate.id()).await;
        }
        has_bundle(&gate, 1).await;
        // Known by name and groups at the caller, which plans the route.
        let id = gate.id();
        let members = self.caller.node.enforcer().members();
        let known = || async { members.member(&id).is_some() };
        until("the caller knows the gate", known).await;
        self.gates.push(gate);
    }

    async fn call(&self, tool: &str) -> CallReply {
        let server = self.caller.sees("host", "fix").await;
        let call = CallRequest {
            node: server.node,
            server: server.server,
            tool: tool.to_owned(),
            arguments: RawValue::from_string("{}".to_owned()).unwrap(),
            agent: None,
            capture: false,
            timeout_ms: 60_000,
        };
        let (notifications, _none) = tokio::sync::mpsc::channel(1);
        self.caller
            .node
            .call(LOCAL, call, notifications)
            .await
            .unwrap()
    }
}

fn hops(reply: &CallReply) -> Vec<&str> {
    reply.hops.iter().map(|hop| hop.node.as_str()).collect()
}

/// The newest decision on a call of this tool.
async fn decided(at: &TestNode, tool: &str) -> Option<Decision> {
    let recorded = at.node.decisions(DecisionQuery::default()).await.unwrap();
    recorded
        .into_iter()
        .find(|d| d.name.as_deref() == Some(tool))
}

#[tokio::test]
async fn a_call_passes_whom_policy_demands_though_there_is_a_link() {
    let mut scene = Scene::set(&[ALL, ECHO_BY_GATE]).await;
    scene.gate("gate", &["gateways"], RELAYING).await;
    let reply = scene.call("echo").await;
    assert!(reply.ok, "{reply:?}");
    assert_eq!(hops(&reply), ["gate"]);
    // Of other tools nobody demands it.
    let reply = scene.call("state").await;
    assert!(reply.ok && reply.hops.is_empty(), "{reply:?}");
}

#[tokio::test]
async fn without_a_waypoint_nothing_is_sent_and_the_policy_is_named() {
    let by_gate = r#"{"policy_name": "gate", "tools": ["*/echo"], "via": "group:gateways",
        "action_on_violation": "block_and_alert"}"#;
    let mut scene = Scene::set(&[ALL, by_gate]).await;
    // A relay of another group is none.
    scene.gate("side", &["others"], RELAYING).await;
    let session = scene.caller.open("agent", "host", "fix").await.unwrap();
    let before = scene.host.node.enforcer().calls().incoming();
    let refused = session.call(1, "echo", "{}").await.unwrap_err();
    assert_eq!(refused.reason, "no_waypoint", "{refused:?}");
    assert!(refused.message.contains("`gate`"), "{refused:?}");
    assert!(refused.message.contains("`group:gateways`"), "{refused:?}");
    assert!(refused.hint.unwrap().contains("[relay] accept"));
    assert_eq!(scene.host.node.enforcer().calls().incoming(), before);
    let query = DecisionQuery::default();
    let recorded = scene.caller.node.decisions(query).await.unwrap();
    let refusal = recorded
        .iter()
        .find(|d| d.reason.as_deref() == Some("no_waypoint"));
    assert_eq!(refusal.unwrap().policy.as_deref(), Some("gate"));
    assert_eq!(refusal.unwrap().alerts, ["gate"]);
    session.call(2, "state", "{}").await.unwrap();

    // Once there is one, the same session goes on over it.
    scene.gate("gate", &["gateways"], RELAYING).await;
    session.call(3, "echo", "{}").await.unwrap();
    assert_eq!(scene.gates[1].node.enforcer().calls().relayed(), 1);
}

/// What a server asks of its client is a call too, and comes back over the session's own stream or
/// the call's.
#[tokio::test]
async fn a_session_takes_the_waypoint_that_its_server_must_pass() {
    let by_gate = r#"{"policy_name": "gate", "servers": ["*/fix"], "via": "group:gateways"}"#;
    let sampling = r#"{"policy_name": "asks", "allowed_tools": ["*/*"]}"#;
    let cedar = "permit (principal, action, resource);";
    let mut body = body_of(&[by_gate, sampling]);
    body.policies.push(Policy {
        name: "methods".parse().unwrap(),
        media_type: "application/vnd.cedar".to_owned(),
        bytes: format!("@policy_name(\"methods\")\n{cedar}").into_bytes(),
    });
    let mut scene = Scene::under(&body).await;
    scene.gate("gate", &["gateways"], RELAYING).await;
    let session = scene.caller.open("agent", "host", "fix").await.unwrap();
    let relayed = || scene.gates[0].node.enforcer().calls().relayed();
    assert_eq!(relayed(), 1);
    let mut call = session.begin(1, "ask", "{}").await.unwrap();
    let asked = next(&mut call).await.unwrap();
    assert_eq!(asked["method"], "sampling/createMessage");
    let reply = json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"said": "yes"}});
    call.outbound.send(reply.to_string().into()).await.unwrap();
    let answer = last(&mut call).await.unwrap();
    assert_eq!(answer["result"]["client_said"]["result"]["said"], "yes");
    assert_eq!(relayed(), 2);
}

#[tokio::test]
async fn a_gateway_that_does_not_relay_is_passed_over_for_one_that_does() {
    let mut scene = Scene::set(&[ALL, ECHO_BY_GATE]).await;
    scene.gate("shut", &["gateways"], NOT_RELAYING).await;
    let session = scene.caller.open("agent", "host", "fix").await.unwrap();
    let refused = session.call(1, "echo", "{}").await.unwrap_err();
    assert_eq!(refused.reason, "relaying_not_offered", "{refused:?}");
    assert!(refused.message.contains("`shut`"), "{refused:?}");
    scene.gate("open", &["gateways"], RELAYING).await;
    let reply = scene.call("echo").await;
    assert_eq!(hops(&reply), ["open"]);
}

#[tokio::test]
async fn an_end_that_is_the_waypoint_counts() {
    let by_host = r#"{"policy_name": "gate", "tools": ["*/echo"], "via": "node:host"}"#;
    let by_caller = r#"{"policy_name": "own", "tools": ["*/echo"], "via": "node:caller"}"#;
    let scene = Scene::set(&[ALL, by_host, by_caller]).await;
    let reply = scene.call("echo").await;
    assert!(reply.ok && reply.hops.is_empty(), "{reply:?}");
}

#[tokio::test]
async fn two_waypoints_are_passed_on_one_route_and_three_are_too_many() {
    let second = r#"{"policy_name": "second", "tools": ["*/echo"], "via": "node:second"}"#;
    let more = r#"{"policy_name": "more", "tools": ["*/state"], "via": "node:second"}"#;
    let third = r#"{"policy_name": "third", "tools": ["*/state"], "via": "node:third"}"#;
    let by_gate = r#"{"policy_name": "by", "tools": ["*/state"], "via": "group:gateways"}"#;
    let documents = [ALL, ECHO_BY_GATE, second, more, third, by_gate];
    let mut scene = Scene::set(&documents).await;
    scene.gate("gate", &["gateways"], RELAYING).await;
    scene.gate("second", &[], RELAYING).await;
    scene.gate("third", &[], RELAYING).await;
    let reply = scene.call("echo").await;
    let mut passed = hops(&reply);
    passed.sort_unstable();
    assert_eq!(passed, ["gate", "second"]);
    // Five nodes are more than a route may have.
    let session = scene.caller.open("agent", "host", "fix").await.unwrap();
    let refused = session.call(1, "state", "{}").await.unwrap_err();
    assert_eq!(refused.reason, "no_waypoint", "{refused:?}");
    assert!(refused.message.contains("at most 4 nodes"), "{refused:?}");
    for via in ["group:gateways", "node:second", "node:third"] {
        assert!(refused.message.contains(via), "{refused:?}");
    }
}

#[tokio::test]
async fn a_document_that_only_alerts_stops_nothing_where_there_is_no_waypoint() {
    let watch = r#"{"policy_name": "watch", "tools": ["*/echo"], "via": "group:gateways",
        "action_on_violation": "alert"}"#;
    let mut scene = Scene::set(&[ALL, watch]).await;
    let reply = scene.call("echo").await;
    assert!(reply.ok && reply.hops.is_empty(), "{reply:?}");
    let alerted = || async {
        let decided = decided(&scene.caller, "echo").await;
        decided.is_some()
    };
    until("the call is recorded", alerted).await;
    let query = DecisionQuery::default();
    let recorded = scene.caller.node.decisions(query).await.unwrap();
    let alerts = recorded.iter().any(|d| d.alerts == ["watch"]);
    assert!(alerts, "{recorded:?}");
    // Where there is one it is passed.
    scene.gate("gate", &["gateways"], RELAYING).await;
    let reply = scene.call("echo").await;
    assert_eq!(hops(&reply), ["gate"]);
}

/// A member with keys of its own that sends as it likes.
#[tokio::test]
async fn what_is_sent_around_a_waypoint_is_refused_at_the_other_end() {
    let scene = Scene::set(&[ALL, ECHO_BY_GATE]).await;
    let mallory = Hostile::enter(&scene.mesh.admit(&scene.hub, "mallory").await);
    mallory.link(&scene.host).await;
    let session = SessionId::from_bytes(random());
    let host = scene.host.id();
    let opening = mallory.forge.first(host, "fix", session, INITIALIZE);
    let _open = mallory.session(host, &opening).await;
    let call = |tool: &str| {
        let body = tool_call(1, tool, "{}");
        let mut draft = mallory.forge.first(host, "fix", session, &body);
        let server = "fix".parse().unwrap();
        draft.header.claims.tool_digest = scene.host.node.enforcer().own_tool_digest(&server, tool);
        mallory.forge.seal(&draft).bytes
    };
    let refused = mallory.refused(host, StreamKind::Call, &call("echo")).await;
    assert_eq!(refused, "waypoint_missing");
    scene.host.counted("waypoint_missing", 1).await;
}

/// A caller that has no policies, behind a relay that has: the relay refuses by the header alone.
#[tokio::test]
async fn a_relay_refuses_what_misses_a_waypoint() {
    let line = Line::build(LineOptions::default()).await;
    let body = body_of(&[ALL, ECHO_BY_GATE]);
    Admin::of(&line.b.state).put(&line.b, &body).await;
    for node in [&line.a, &line.b, &line.c] {
        has_bundle(node, 1).await;
    }
    line.a
        .node
        .enforcer()
        .replace_policy(Arc::new(AllowMembers));
    let session = line.a.open("agent", "c", "fix").await.unwrap();
    let refused = session.call(1, "echo", "{}").await.unwrap_err();
    assert_eq!(refused.reason, "waypoint_missing", "{refused:?}");
    assert!(refused.message.contains("relay `b`"), "{refused:?}");
    line.b.counted("waypoint_missing", 1).await;
    assert_eq!(line.c.refusals().await.get("waypoint_missing"), None);
    line.stop().await;
}
