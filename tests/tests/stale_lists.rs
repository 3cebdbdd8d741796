//! Clients that were given a list are told when it may be another: another bundle is in force, or a
//! tool is revoked. The real client of these tests, over HTTP, towards all servers as one.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use protocol::trust::Act;
use tests::admin::{Admin, body_of, has_bundle, in_force};
use tests::client::McpClient;
use tests::mesh::{TestMesh, name, tool_call};

const ALL: &str = r#"{"policy_name": "all", "allowed_tools": ["*/*"]}"#;

const NO_HOLD: &str = r#"{"policy_name": "no_hold", "tools": ["*/hold"],
    "restricted_intents": ["hold"]}"#;

const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;

async fn listed(client: &McpClient) -> Vec<String> {
    let answer = client.post(LIST).await.response();
    let tools = answer["result"]["tools"].as_array().unwrap();
    let names = tools.iter().map(|t| t["name"].as_str().unwrap().to_owned());
    names.collect()
}

fn lists(names: &[String], tool: &str) -> bool {
    names.contains(&format!("hub__bench__{tool}"))
}

#[tokio::test]
async fn a_client_is_told_and_lists_anew() {
    let (mesh, hub) = TestMesh::found("hub").await;
    hub.attach_fixture("bench", &[]).await;
    let user = mesh.join(&hub, "user").await;
    user.sees("hub", "bench").await;
    let admin = Admin::of(&hub.state);
    admin.put(&hub, &body_of(&[ALL])).await;
    has_bundle(&user, 1).await;

    let client = McpClient::open(&user, "/mcp", &user.token("client").await).await;
    let before = listed(&client).await;
    assert!(
        lists(&before, "hold") && lists(&before, "echo"),
        "{before:?}"
    );
    let mut heard = client.listen().await;
    admin.put(&hub, &body_of(&[ALL, NO_HOLD])).await;
    let told = heard.next().await;
    assert_eq!(told["method"], "notifications/tools/list_changed");
    // By then this node decides by the new bundle, and whoever it asks does too.
    let after = listed(&client).await;
    assert!(!lists(&after, "hold") && lists(&after, "echo"), "{after:?}");

    let echo = hub.node.enforcer().own_tool_digest(&name("bench"), "echo");
    admin
        .revoke(&hub, Act::Tool(echo.unwrap()), "it lies")
        .await;
    let told = heard.next().await;
    assert_eq!(told["method"], "notifications/tools/list_changed");
    let last = listed(&client).await;
    assert!(!lists(&last, "echo") && lists(&last, "state"), "{last:?}");
}

/// What an agent carries is its own: nobody else is told.
#[tokio::test]
async fn an_agent_that_is_handed_labelled_data_is_told() {
    let tagger = r#"{"policy_name": "tagger", "tools": ["echo"], "on_result": {"tag": ["pci"]}}"#;
    let no_pci =
        r#"{"policy_name": "no_pci", "tools": ["state"], "labels": {"restricted": ["pci"]}}"#;
    let (mesh, hub) = TestMesh::found("hub").await;
    hub.attach_fixture("bench", &[]).await;
    let user = mesh.join(&hub, "user").await;
    user.sees("hub", "bench").await;
    let admin = Admin::of(&hub.state);
    admin.put(&hub, &body_of(&[ALL, tagger, no_pci])).await;
    has_bundle(&user, 1).await;
    let client = McpClient::open(&user, "/mcp", &user.token("client").await).await;
    let other = McpClient::open(&user, "/mcp", &user.token("other").await).await;
    assert!(lists(&listed(&client).await, "state"));
    assert!(lists(&listed(&other).await, "state"));
    let (mut heard, mut others) = (client.listen().await, other.listen().await);
    let answer = client.post(tool_call(2, "hub__bench__echo", "{}")).await;
    assert!(answer.response()["result"].is_object(), "{answer:?}");
    let told = heard.next().await;
    assert_eq!(told["method"], "notifications/tools/list_changed");
    assert!(!lists(&listed(&client).await, "state"));
    assert!(lists(&listed(&other).await, "state"));

    // The first the other hears of is the bundle.
    admin.put(&hub, &body_of(&[ALL, tagger])).await;
    let told = others.next().await;
    assert_eq!(told["method"], "notifications/tools/list_changed");
    assert_eq!(in_force(&user).await.bundle.unwrap().version, 2);
    assert!(lists(&listed(&client).await, "state"));
}

/// What was hidden is shown again: no node goes on with the older list.
#[tokio::test]
async fn what_is_permitted_anew_is_listed_at_once() {
    let (mesh, hub) = TestMesh::found("hub").await;
    hub.attach_fixture("bench", &[]).await;
    let user = mesh.join(&hub, "user").await;
    user.sees("hub", "bench").await;
    let admin = Admin::of(&hub.state);
    admin.put(&hub, &body_of(&[ALL, NO_HOLD])).await;
    has_bundle(&user, 1).await;
    let client = McpClient::open(&user, "/mcp", &user.token("client").await).await;
    assert!(!lists(&listed(&client).await, "hold"));
    let mut heard = client.listen().await;
    // Handed to the client's node first: the server's learns of it by the request, if not before.
    admin.put(&user, &body_of(&[ALL])).await;
    let told = heard.next().await;
    assert_eq!(told["method"], "notifications/tools/list_changed");
    let after = listed(&client).await;
    assert!(lists(&after, "hold"), "{after:?}");
}
