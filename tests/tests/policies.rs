//! Policies in a bundle, on whole nodes: what they allow, what they stop and why, and what a node
//! does with a bundle it cannot use.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use node::control::Operations as _;
use node::enforcement::{LIMIT_EXCEEDED, SEVERED};
use protocol::control::{DecisionQuery, DecisionSearch, PolicyStatus, ServerFilter};
use protocol::trust::bundle::{BundleBody, Pin, Policy};
use tests::admin::{Admin, in_force, policy};
use tests::client::McpClient;
use tests::mesh::{LOCAL, Session, TestMesh, TestNode, last, tool_call};
use tests::stage::holds;
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
    // With the rule that decided and the facts it was asked with.
    let basis = recorded.basis.as_deref().unwrap();
    assert_eq!(basis.rule.as_deref(), Some("/restricted_intents"));
    assert!(basis.full && basis.intents.contains(&"progress".to_owned()));
    let search = DecisionSearch {
        policy: Some("mcp_read_only_enforcement".to_owned()),
        verdict: Some("deny".to_owned()),
        node: Some("host".to_owned()),
        ..DecisionSearch::default()
    };
    let found = user.node.find_decisions(search.clone()).await.unwrap();
    let reasons: Vec<_> = found.decisions.iter().map(|d| d.reason.clone()).collect();
    let expected = ["intent_restricted", "tool_not_allowed"].map(|r| Some(r.to_owned()));
    assert_eq!(reasons, expected);
    // Page by page the same, and then no more.
    let one = DecisionSearch {
        limit: Some(1),
        ..search
    };
    let first = user.node.find_decisions(one.clone()).await.unwrap();
    assert_eq!(first.decisions, found.decisions[..1]);
    let next = DecisionSearch {
        before: first.older,
        ..one
    };
    let second = user.node.find_decisions(next.clone()).await.unwrap();
    assert_eq!(second.decisions, found.decisions[1..]);
    let next = DecisionSearch {
        before: second.older,
        ..next
    };
    let none = user.node.find_decisions(next).await.unwrap();
    assert_eq!((none.decisions.len(), none.older), (0, None));

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

/// A mesh of two with these documents in force, and the session of an agent of the second with the
/// server of the first.
async fn under(documents: &[&str]) -> (TestMesh, TestNode, TestNode, Session) {
    let (mesh, hub) = TestMesh::found("hub").await;
    hub.attach_fixture("bench", &[]).await;
    let user = mesh.join(&hub, "user").await;
    user.linked(hub.id()).await;
    user.sees("hub", "bench").await;
    let mut policies: Vec<Policy> = documents.iter().map(|text| policy(text)).collect();
    policies.sort_by(|a, b| a.name.cmp(&b.name));
    let body = BundleBody {
        policies,
        ..BundleBody::default()
    };
    Admin::of(&hub.state).put(&hub, &body).await;
    has_bundle(&user, 1).await;
    let session = user.open("agent", "hub", "bench").await.unwrap();
    (mesh, hub, user, session)
}

const ALL: &str = r#"{"policy_name": "all", "allowed_tools": ["*/*"]}"#;

#[tokio::test]
async fn an_alert_lets_pass_what_another_document_permits_and_is_raised() {
    let watch = r#"{"policy_name": "watch", "tools": ["*/state"], "restricted_intents": ["state"],
        "action_on_violation": "alert"}"#;
    let trial = r#"{"policy_name": "trial", "allowed_tools": ["*/echo"], "mode": "observe"}"#;
    let (_mesh, hub, user, session) = under(&[ALL, watch, trial]).await;
    session.call(1, "echo", "{}").await.unwrap();
    session.call(2, "state", "{}").await.unwrap();
    for at in [&hub, &user] {
        let request = async |tool: &str| {
            let recorded = at.node.decisions(DecisionQuery::default()).await.unwrap();
            // The newest comes first, so the request comes last.
            let mut of = recorded.into_iter().rev();
            of.find(|d| d.name.as_deref() == Some(tool))
        };
        // What passes is recorded a moment later.
        until("both are recorded", async || {
            request("state").await.is_some() && request("echo").await.is_some()
        })
        .await;
        let (state, echo) = (
            request("state").await.unwrap(),
            request("echo").await.unwrap(),
        );
        assert_eq!(
            (state.verdict.as_str(), &state.alerts[..]),
            ("allow", &["watch".to_owned()][..])
        );
        // It allows `echo` alone, and nobody minds.
        assert_eq!(state.observed, ["trial"]);
        assert!(
            echo.alerts.is_empty() && echo.observed.is_empty(),
            "{echo:?}"
        );
    }
}

#[tokio::test]
async fn what_a_result_must_not_show_is_hidden_before_it_is_signed() {
    let hide = r#"{"policy_name": "hide", "allowed_tools": ["*/*"],
        "on_result": {"redact": ["/echo/ssn", "/echo/rows"], "tag": ["phi"]}}"#;
    let (_mesh, hub, _user, session) = under(&[hide]).await;
    let arguments = r#"{"name": "A", "ssn": "078-05-1120", "rows": [1, 2]}"#;
    let answer = session.call(1, "echo", arguments).await.unwrap();
    let shown = serde_json::json!({"name": "A", "ssn": "[redacted]", "rows": "[redacted]"});
    assert_eq!(answer["result"]["echo"], shown);
    // What the server did not say stays as it is.
    session.call(2, "state", "{}").await.unwrap();
    drop(hub);
}

#[tokio::test]
async fn a_result_that_shows_what_none_may_is_stopped_and_nothing_of_it_is_sent() {
    let keys = r#"{"policy_name": "keys", "allowed_tools": ["*/*"],
        "on_result": {"deny": ["-----BEGIN [A-Z ]*PRIVATE KEY-----"]}}"#;
    let (_mesh, hub, _user, session) = under(&[keys]).await;
    let stopped = session
        .call(1, "echo", r#"{"note": "-----BEGIN EC PRIVATE KEY-----"}"#)
        .await
        .unwrap_err();
    assert_eq!(stopped.reason, "result_denied");
    assert_eq!(stopped.message, "policy `keys` does not allow this result");
    assert!(!stopped.message.contains("BEGIN"));
    // The tool has run.
    let hint = stopped.hint.as_deref().unwrap();
    assert!(hint.contains("may have taken effect"), "{hint}");
    // The session goes on, and the server's node has it on record.
    session
        .call(2, "echo", r#"{"note": "fine"}"#)
        .await
        .unwrap();
    hub.node.store().flush().await.unwrap();
    let records = hub.node.decisions(DecisionQuery::default()).await.unwrap();
    let denied = records
        .iter()
        .find(|d| d.reason.as_deref() == Some("result_denied"));
    assert_eq!(denied.unwrap().policy.as_deref(), Some("keys"));
}

#[tokio::test]
async fn calls_beyond_a_limit_wait_for_its_window() {
    let few = r#"{"policy_name": "few", "allowed_tools": ["*/*"],
        "limits": {"calls": 3, "window_s": 600, "per": "agent"}}"#;
    let (_mesh, _hub, user, session) = under(&[few]).await;
    for id in 1..=3 {
        session.call(id, "echo", "{}").await.unwrap();
    }
    let fourth = session.call(4, "echo", "{}").await.unwrap_err();
    assert_eq!(fourth.reason, LIMIT_EXCEEDED);
    assert_eq!(fourth.message, "policy `few` allows 3 calls in 600 s");
    // Lists are no calls, and another agent has its own count.
    session
        .ask(r#"{"jsonrpc":"2.0","id":5,"method":"tools/list"}"#)
        .await
        .unwrap();
    let other = user.open("other", "hub", "bench").await.unwrap();
    other.call(1, "echo", "{}").await.unwrap();
}

#[tokio::test]
async fn calls_count_as_open_until_they_end() {
    let one = r#"{"policy_name": "one", "tools": ["*/hold", "*/echo"],
        "limits": {"concurrent": 1}}"#;
    let (_mesh, _hub, _user, session) = under(&[ALL, one]).await;
    let mut held = session.begin(1, "hold", "{}").await.unwrap();
    // What lets it go must not overtake it.
    holds(&session, 1).await;
    let second = session.call(2, "echo", "{}").await.unwrap_err();
    assert_eq!(second.message, "policy `one` allows 1 calls at once");
    session.call(3, "release", "{}").await.unwrap();
    last(&mut held).await.unwrap();
    drop(held);
    let free = || async { session.call(4, "echo", "{}").await.is_ok() };
    until("the call that ended counts no more", free).await;
}

#[tokio::test]
async fn who_is_severed_is_cut_off_for_a_while() {
    let tripwire = r#"{"policy_name": "tripwire", "tools": ["*/crash"],
        "restricted_intents": ["crash"], "action_on_violation": "sever"}"#;
    let (_mesh, hub, user, session) = under(&[ALL, tripwire]).await;
    let token = user.token("client").await;
    let path = "/mcp/hub/bench";
    let client = McpClient::open(&user, path, &token).await;
    session.call(1, "echo", "{}").await.unwrap();
    let severed = session.call(2, "crash", "{}").await.unwrap_err();
    assert_eq!(severed.reason, "intent_restricted");
    let after = session.call(3, "echo", "{}").await.unwrap_err();
    assert_eq!(after.reason, SEVERED);
    assert!(
        after.message.contains("`agent` was cut off"),
        "{}",
        after.message
    );
    // Nobody else is.
    let other = user.open("other", "hub", "bench").await.unwrap();
    other.call(1, "echo", "{}").await.unwrap();

    // The session of a client is over at once.
    let answer = client.post(tool_call(7, "crash", "{}")).await;
    assert_eq!(answer.reason(), "intent_restricted");
    let gone = || async {
        let answer = client.post(tool_call(8, "echo", "{}")).await;
        answer.status == 404
    };
    until("the session is over", gone).await;
    drop(hub);
}
