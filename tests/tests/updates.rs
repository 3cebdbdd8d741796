//! What a server tells of a resource, once another bundle is in force than when the agent subscribed:
//! it is told only of what it could subscribe to now, whichever end of the session goes by that.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use node::app::Composition;
use node::control::Operations as _;
use node::enforcement::{RECORDED_REFUSALS, UPDATE_UNNAMED};
use protocol::control::{Decision, DecisionQuery};
use serde_json::{Value, json};
use tests::admin::{body_of, put_everywhere};
use tests::lawless::{honest, lawless};
use tests::mesh::{Session, TestMesh, TestNode};
use tests::wait::soon;

const UPDATED: &str = "notifications/resources/updated";

const ALL: &str = r#"{"policy_name": "res", "allowed_resources": ["test://*"]}"#;

const PUBLIC: &str = r#"{"policy_name": "res", "allowed_resources": ["test://public/*"]}"#;

/// What may only be read once somebody says so.
const ASKS: &str = r#"{"policy_name": "asks", "resources": ["test://public/*"],
    "restricted_intents": ["read"], "action_on_violation": "require_approval"}"#;

/// Cuts off who reads it.
const SEVERS: &str = r#"{"policy_name": "severs", "resources": ["test://secret/*"],
    "restricted_intents": ["read"], "action_on_violation": "sever"}"#;

async fn subscribe(session: &Session, id: u64, uri: &Value) {
    let params = json!({ "uri": uri });
    let request =
        json!({"jsonrpc": "2.0", "id": id, "method": "resources/subscribe", "params": params});
    let answer = session.ask(&request.to_string()).await.unwrap();
    assert_eq!(answer["result"], json!({}), "{answer}");
}

/// Has everything change that was subscribed to.
async fn change(session: &Session, id: u64) {
    let request = json!({"jsonrpc": "2.0", "id": id, "method": "logging/setLevel",
        "params": {"level": "info"}});
    let answer = session.ask(&request.to_string()).await.unwrap();
    assert_eq!(answer["result"], json!({}), "{answer}");
}

/// The resource that the client is told of next.
async fn told(session: &mut Session) -> Value {
    let event = soon(session.events.recv()).await.unwrap();
    let mut event: Value = serde_json::from_slice(&event).unwrap();
    assert_eq!(event["method"], UPDATED, "{event}");
    event["params"]["uri"].take()
}

async fn denied(at: &TestNode) -> Vec<Decision> {
    let recorded = at.node.decisions(DecisionQuery::default()).await.unwrap();
    let of = |d: &Decision| d.method.as_deref() == Some(UPDATED) && d.verdict == "deny";
    recorded.into_iter().filter(of).collect()
}

async fn pair(host: Composition, user: Composition) -> (TestMesh, TestNode, TestNode, Session) {
    let (mesh, host, user) = TestMesh::pair(host, user).await;
    put_everywhere(1, &body_of(&[ALL]), &[&host, &user]).await;
    let session = user.open("agent", "host", "bench").await.unwrap();
    (mesh, host, user, session)
}

#[tokio::test]
async fn a_subscription_does_not_outlive_what_permitted_it() {
    for (host, user, by_host) in [
        (honest(), honest(), true),
        (honest(), lawless(), true),
        (lawless(), honest(), false),
    ] {
        let (_mesh, host, user, mut session) = pair(host, user).await;
        subscribe(&session, 1, &json!("test://secret/a")).await;
        subscribe(&session, 2, &json!("test://public/b")).await;
        change(&session, 3).await;
        assert_eq!(told(&mut session).await, "test://secret/a");
        assert_eq!(told(&mut session).await, "test://public/b");

        // Whom a read would cut off is not cut off by what its server tells, and what may be read
        // with approval is told.
        let body = body_of(&[ASKS, PUBLIC, SEVERS]);
        put_everywhere(2, &body, &[&host, &user]).await;
        for id in 4..6 {
            change(&session, id).await;
            assert_eq!(told(&mut session).await, "test://public/b");
        }
        let (at, other) = if by_host {
            (&host, &user)
        } else {
            (&user, &host)
        };
        let decisions = denied(at).await;
        assert_eq!(decisions.len(), 2, "{decisions:?}");
        for decision in &decisions {
            assert_eq!(decision.name.as_deref(), Some("test://secret/a"));
            assert!(decision.policy.is_some(), "{decision:?}");
            assert!(decision.alerts.is_empty(), "{decision:?}");
        }
        assert_eq!(denied(other).await.len(), 0);
    }
}

#[tokio::test]
async fn what_is_left_out_does_not_flood_the_records() {
    let (_mesh, host, user, mut session) = pair(honest(), honest()).await;
    let many = u64::from(RECORDED_REFUSALS) + 20;
    for id in 1..=many {
        subscribe(&session, id, &json!("test://secret/a")).await;
    }
    subscribe(&session, many + 1, &json!("test://public/b")).await;
    put_everywhere(2, &body_of(&[PUBLIC]), &[&host, &user]).await;
    change(&session, many + 2).await;
    assert_eq!(told(&mut session).await, "test://public/b");
    let decisions = denied(&host).await;
    let reason = decisions[0].reason.clone().unwrap();
    assert_eq!(host.refusals().await[&reason], many);
    // A window that ends meanwhile begins another.
    assert!(decisions.len() < usize::try_from(many).unwrap());
}

#[tokio::test]
async fn what_names_no_resource_is_not_told() {
    let (_mesh, host, _user, mut session) = pair(honest(), honest()).await;
    subscribe(&session, 1, &json!("test://public/unnamed")).await;
    subscribe(&session, 2, &json!("test://public/b")).await;
    change(&session, 3).await;
    assert_eq!(told(&mut session).await, "test://public/b");
    let decisions = denied(&host).await;
    assert_eq!(decisions.len(), 1, "{decisions:?}");
    assert_eq!(decisions[0].reason.as_deref(), Some(UPDATE_UNNAMED));
    assert_eq!(decisions[0].policy, None);
}
