//! Policies in a bundle, on whole nodes: what they allow, what they stop and why, and what a node
//! does with a bundle it cannot use.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use node::control::Operations as _;
use protocol::control::{DecisionQuery, PolicyStatus, ServerFilter};
use protocol::trust::bundle::{BundleBody, Pin, Policy};
use tests::admin::{Admin, in_force, policy};
use tests::mesh::{LOCAL, TestMesh, TestNode};
use tests::wait::until;

/// The form documents are known by, for the tools of the test server.
const SEED: &str = r#"{"policy_name": "mcp_read_only_enforcement",
 "allowed_tools": ["echo", "progress"],
 "restricted_intents": ["progress", "delete_record"],
 "action_on_violation": "block_and_alert"}"#;

async fn pins(at: &TestNode, names: &[&str]) -> Vec<Pin> {
    let tools = at.node.tools(LOCAL, ServerFilter::default()).await.unwrap();
    let mut pins: Vec<Pin> = tools
        .into_iter()
        .filter(|tool| names.contains(&tool.name.as_str()))
        .map(|tool| Pin {
            server: tool.server,
            tool: tool.name,
            digest: tool.digest.parse().unwrap(),
        })
        .collect();
    pins.sort();
    pins
}

async fn has_bundle(at: &TestNode, version: u64) {
    let has = || async {
        in_force(at)
            .await
            .bundle
            .is_some_and(|bundle| bundle.version == version)
    };
    until("the node has the bundle", has).await;
}

async fn policies(at: &TestNode) -> PolicyStatus {
    at.status().await.trust.unwrap().policies.unwrap()
}

#[tokio::test]
async fn a_document_allows_what_it_names_and_stops_the_rest_with_its_reason() {
    let (mesh, hub) = TestMesh::found("hub").await;
    let admin = Admin::of(&hub.state);
    let host = mesh.join(&hub, "host").await;
    host.attach_fixture("bench", &[]).await;
    let user = mesh.join(&hub, "user").await;
    user.linked(host.id()).await;
    user.sees("host", "bench").await;
    let session = user.open("agent", "host", "bench").await.unwrap();
    // Before there is a bundle, members may call everything.
    session.call(1, "state", "{}").await.unwrap();
    assert_eq!(policies(&user).await, PolicyStatus::default());

    let mut body = BundleBody {
        policies: vec![policy(SEED)],
        pins: pins(&user, &["echo", "progress"]).await,
        ..BundleBody::default()
    };
    assert_eq!(body.pins.len(), 2);
    admin.put(&hub, &body).await;
    for at in [&host, &user] {
        has_bundle(at, 1).await;
    }
    session.call(2, "echo", r#"{"text": "a"}"#).await.unwrap();
    let other = session.call(3, "state", "{}").await.unwrap_err();
    assert_eq!(other.reason, "tool_not_allowed");
    // Forbidding wins over what the same document allows.
    let restricted = session.call(4, "progress", "{}").await.unwrap_err();
    assert_eq!(restricted.reason, "intent_restricted");
    assert!(restricted.message.contains("`mcp_read_only_enforcement`"));
    let running = policies(&user).await;
    assert_eq!(
        (running.version, running.policies, running.refused),
        (1, 1, None)
    );
    let recorded = user.node.decisions(DecisionQuery::default()).await.unwrap();
    let recorded = recorded
        .iter()
        .find(|d| d.reason.as_deref() == Some("intent_restricted"));
    let recorded = recorded.unwrap();
    assert_eq!(
        recorded.policy.as_deref(),
        Some("mcp_read_only_enforcement")
    );
    assert_eq!(recorded.bundle, 1);

    // A definition that is not the one approved is another tool.
    body.pins[0].digest = protocol::id::Digest::from_bytes([1; 32]);
    admin.put(&hub, &body).await;
    for at in [&host, &user] {
        has_bundle(at, 2).await;
    }
    let unpinned = session
        .call(5, "echo", r#"{"text": "a"}"#)
        .await
        .unwrap_err();
    assert_eq!(unpinned.reason, "tool_not_allowed");

    // A bundle without policies permits nothing, also after a restart.
    admin.put(&hub, &BundleBody::default()).await;
    has_bundle(&user, 3).await;
    let nothing = session
        .call(6, "echo", r#"{"text": "a"}"#)
        .await
        .unwrap_err();
    assert_eq!(nothing.reason, "not_permitted");
    session.close().await;
    let user = TestNode::start(&user.stop().await).await;
    user.linked(host.id()).await;
    let session = user.open("agent", "host", "bench").await.unwrap();
    let nothing = session
        .call(1, "echo", r#"{"text": "a"}"#)
        .await
        .unwrap_err();
    assert_eq!(nothing.reason, "not_permitted");
}

#[tokio::test]
async fn a_bundle_with_one_bad_document_changes_nothing_and_is_told() {
    let (mesh, hub) = TestMesh::found("hub").await;
    let admin = Admin::of(&hub.state);
    hub.attach_fixture("bench", &[]).await;
    let session = hub.open("agent", "hub", "bench").await.unwrap();
    let good = BundleBody {
        policies: vec![policy(
            r#"{"policy_name": "all", "allowed_tools": ["*/*"]}"#,
        )],
        ..BundleBody::default()
    };
    admin.put(&hub, &good).await;
    has_bundle(&hub, 1).await;
    session.call(1, "echo", r#"{"text": "a"}"#).await.unwrap();

    // Signed by enough admins, and not usable all the same.
    let mut bad = BundleBody {
        policies: vec![policy(r#"{"policy_name": "none", "allowed_tools": []}"#)],
        ..BundleBody::default()
    };
    bad.policies.push(Policy {
        name: "unread".parse().unwrap(),
        media_type: "text/plain".to_owned(),
        bytes: b"deny everything".to_vec(),
    });
    admin.put(&hub, &bad).await;
    has_bundle(&hub, 2).await;
    session.call(2, "echo", r#"{"text": "a"}"#).await.unwrap();
    let told = policies(&hub).await;
    assert_eq!((told.version, told.policies), (1, 1));
    let refused = told.refused.unwrap();
    assert_eq!(refused.version, 2);
    assert!(refused.why.contains("`unread`"), "{}", refused.why);
    let checks = hub.node.doctor().await.unwrap();
    let check = checks.iter().find(|c| c.name == "policies").unwrap();
    assert!(
        check.message.contains("bundle 2 cannot be used"),
        "{}",
        check.message
    );

    // What ran before is not there any more after a restart: nothing may pass.
    let hub = TestNode::start(&hub.stop().await).await;
    let session = hub.open("agent", "hub", "bench").await.unwrap();
    let denied = session
        .call(1, "echo", r#"{"text": "a"}"#)
        .await
        .unwrap_err();
    assert_eq!(denied.reason, "bundle_unusable");
    drop(mesh);
}
