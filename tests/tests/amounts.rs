//! What limits count: the results of calls as well as their requests, at either end, and what a new
//! bundle leaves of the counts.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use node::app::Composition;
use node::control::Operations as _;
use node::enforcement::{LIMIT_EXCEEDED, SEVERED};
use protocol::control::DecisionQuery;
use tests::admin::{body_of, put_everywhere};
use tests::lawless::{honest, lawless};
use tests::mesh::{Session, TestMesh, TestNode};

async fn put(version: u64, documents: &[&str], nodes: &[&TestNode]) {
    put_everywhere(version, &body_of(documents), nodes).await;
}

async fn pair(host: Composition, user: Composition) -> (TestMesh, TestNode, TestNode) {
    TestMesh::pair(host, user).await
}

const ALL: &str = r#"{"policy_name": "all", "allowed_tools": ["*/*"]}"#;

async fn sized(session: &Session, id: u64, bytes: u64) -> Result<(), node::session::SessionError> {
    let arguments = format!(r#"{{"bytes": {bytes}}}"#);
    session.call(id, "size", &arguments).await.map(drop)
}

/// A thousand bytes are used up by results, and what goes beyond is not handed on.
async fn bytes_hold(session: &Session, decides: &TestNode) {
    let beyond = sized(session, 1, 200_000).await.unwrap_err();
    assert_eq!(beyond.reason, LIMIT_EXCEEDED, "{beyond:?}");
    assert_eq!(
        beyond.message,
        "policy `bytes` allows 2000 bytes in 600 s, and the result has 200000"
    );
    // What did not pass is not counted; what did is.
    sized(session, 2, 1200).await.unwrap();
    let together = sized(session, 3, 1200).await.unwrap_err();
    assert_eq!(together.reason, LIMIT_EXCEEDED, "{together:?}");
    let mut id = 4;
    let used_up = loop {
        match sized(session, id, 100).await {
            Ok(()) => id += 1,
            Err(error) => break error,
        }
    };
    assert!(id < 8, "{id} small calls fit");
    assert_eq!(used_up.reason, LIMIT_EXCEEDED);
    decides.node.store().flush().await.unwrap();
    let query = DecisionQuery::default();
    let recorded = decides.node.decisions(query).await.unwrap();
    let mut results = recorded.iter().filter(|d| {
        d.reason.as_deref() == Some(LIMIT_EXCEEDED) && d.kind.as_deref() == Some("response")
    });
    let result = results.next().unwrap();
    assert_eq!(result.policy.as_deref(), Some("bytes"));
    let basis = result.basis.as_deref().unwrap();
    assert_eq!(basis.rule.as_deref(), Some("/limits"));
}

#[tokio::test]
async fn results_use_up_the_bytes_of_a_limit_for_whomever_it_counts() {
    let (_mesh, host, user) = pair(honest(), honest()).await;
    let mut version = 0;
    for per in ["agent", "node", "mesh"] {
        let bytes = format!(
            r#"{{"policy_name": "bytes", "limits": {{"bytes": 2000, "window_s": 600, "per": "{per}"}}}}"#
        );
        version += 1;
        put(version, &[ALL, &bytes], &[&host, &user]).await;
        let session = user.open(per, "host", "bench").await.unwrap();
        bytes_hold(&session, &host).await;
        let other = user.open("other", "host", "bench").await.unwrap();
        assert_eq!(sized(&other, 1, 1200).await.is_ok(), per == "agent");
        // Another kind of account, another count: the next begins with none.
        version += 1;
        put(version, &[ALL], &[&host, &user]).await;
    }
}

const BYTES: &str = r#"{"policy_name": "bytes", "limits": {"bytes": 2000, "window_s": 600}}"#;

#[tokio::test]
async fn either_end_alone_counts_results() {
    let (_mesh, host, user) = pair(honest(), lawless()).await;
    put(1, &[ALL, BYTES], &[&host, &user]).await;
    let session = user.open("agent", "host", "bench").await.unwrap();
    bytes_hold(&session, &host).await;

    let (_mesh, host, user) = pair(lawless(), honest()).await;
    put(1, &[ALL, BYTES], &[&host, &user]).await;
    let session = user.open("agent", "host", "bench").await.unwrap();
    bytes_hold(&session, &user).await;
}

#[tokio::test]
async fn what_stays_on_one_node_counts_once() {
    let (_mesh, host, user) = pair(honest(), honest()).await;
    let two = r#"{"policy_name": "two", "limits": {"calls": 2, "window_s": 600}}"#;
    put(1, &[ALL, two], &[&host, &user]).await;
    let session = host.open("agent", "host", "bench").await.unwrap();
    sized(&session, 1, 100).await.unwrap();
    sized(&session, 2, 100).await.unwrap();
    let third = sized(&session, 3, 100).await.unwrap_err();
    assert_eq!(third.message, "policy `two` allows 2 calls in 600 s");

    let alone = r#"{"policy_name": "alone", "limits": {"concurrent": 1}}"#;
    put(2, &[ALL, alone], &[&host, &user]).await;
    sized(&session, 4, 100).await.unwrap();

    put(3, &[ALL, BYTES], &[&host, &user]).await;
    bytes_hold(&session, &host).await;
}

#[tokio::test]
async fn a_limit_that_only_alerts_lets_results_pass_and_tells() {
    let (_mesh, host, user) = pair(honest(), honest()).await;
    let tells = BYTES.replace("}}", r#"}, "action_on_violation": "alert"}"#);
    put(1, &[ALL, &tells], &[&host, &user]).await;
    let session = user.open("agent", "host", "bench").await.unwrap();
    sized(&session, 1, 200_000).await.unwrap();
    sized(&session, 2, 100).await.unwrap();
    host.node.store().flush().await.unwrap();
    let query = DecisionQuery::default();
    let recorded = host.node.decisions(query).await.unwrap();
    let told = recorded.iter().filter(|d| d.alerts == ["bytes"]);
    // The great result, and then the small call and its result.
    assert_eq!(told.count(), 3, "{recorded:?}");
}

#[tokio::test]
async fn a_result_that_severs_cuts_off_the_agent_and_not_its_node() {
    let (_mesh, host, user) = pair(honest(), honest()).await;
    let severs = r#"{"policy_name": "bytes", "subjects": {"nodes": ["user"]},
        "limits": {"bytes": 2000, "window_s": 600, "per": "node"}, "action_on_violation": "sever"}"#;
    put(1, &[ALL, severs], &[&host, &user]).await;
    let session = user.open("agent", "host", "bench").await.unwrap();
    let other = user.open("other", "host", "bench").await.unwrap();
    // How much it answers is the server's choice.
    let beyond = sized(&session, 1, 200_000).await.unwrap_err();
    let told = [LIMIT_EXCEEDED, SEVERED];
    assert!(told.contains(&beyond.reason.as_str()), "{beyond:?}");
    let again = user.open("agent", "host", "bench").await.err().unwrap();
    assert_eq!(again.reason, SEVERED, "{again:?}");
    sized(&other, 1, 100).await.unwrap();
}

#[tokio::test]
async fn a_new_bundle_leaves_a_count_unless_it_changes_the_limit() {
    let (_mesh, host, user) = pair(honest(), honest()).await;
    let both = [&host, &user];
    let limit = |calls: u64, window: u64| {
        format!(
            r#"{{"policy_name": "few", "limits": {{"calls": {calls}, "window_s": {window}, "per": "node"}}}}"#
        )
    };
    put(1, &[ALL, &limit(1, 3600)], &both).await;
    let session = user.open("agent", "host", "bench").await.unwrap();
    sized(&session, 1, 100).await.unwrap();
    sized(&session, 2, 100).await.unwrap_err();
    // Of another document nothing changes here.
    put(2, &[ALL, &limit(1, 3600), BYTES], &both).await;
    let refused = sized(&session, 3, 100).await.unwrap_err();
    assert_eq!(refused.message, "policy `few` allows 1 calls in 3600 s");
    // Another window is another count.
    put(3, &[ALL, &limit(1, 600), BYTES], &both).await;
    sized(&session, 4, 100).await.unwrap();
    let refused = sized(&session, 5, 100).await.unwrap_err();
    assert_eq!(refused.message, "policy `few` allows 1 calls in 600 s");
    // And so is another number: not one more, but two.
    put(4, &[ALL, &limit(2, 600), BYTES], &both).await;
    sized(&session, 6, 100).await.unwrap();
    sized(&session, 7, 100).await.unwrap();
    sized(&session, 8, 100).await.unwrap_err();
}
