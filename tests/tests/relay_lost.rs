//! Relays that go away, and relays that do not know what is in force: what is under way ends by
//! name, what comes goes another way, and no call is made twice.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use std::sync::Arc;

use node::enforcement::NO_BUNDLE;
use node::session::ErrorKind;
use protocol::policy::{Decision, Facts, Policy, Severs};
use protocol::trust::TrustState;
use tests::admin::{Admin, body_of, has_bundle};
use tests::client::McpClient;
use tests::line::{Line, LineOptions, configure};
use tests::mesh::{TestNode, last, tool_call};
use tests::stage::holds;
use tests::wait::{soon, until};

const ALL: &str = r#"{"policy_name": "all", "allowed_tools": ["*/*"]}"#;

/// A line whose server's node names a second relay, `d`, after `b`.
async fn with_two_relays() -> (Line, TestNode) {
    let options = LineOptions {
        through: r#"["b", "d"]"#,
        ..LineOptions::default()
    };
    let line = Line::build(options).await;
    let state = line.mesh.admit(&line.b, "d").await;
    configure(&state, "[relay]\naccept = [\"members\"]\n");
    let d = TestNode::start(&state).await;
    for end in [&line.a, &line.c] {
        end.linked(d.id()).await;
        d.linked(end.id()).await;
    }
    line.a.knows_relays(line.c.id(), 2).await;
    (line, d)
}

#[tokio::test]
async fn a_session_whose_relay_goes_away_ends_by_name_and_its_call_is_not_made_twice() {
    let (line, d) = with_two_relays().await;
    let session = line.a.open("agent", "c", "fix").await.unwrap();
    assert_eq!(line.b.node.enforcer().calls().relayed(), 1);
    let mut held = session.begin(1, "hold", "{}").await.unwrap();
    holds(&session, 1).await;
    let Line {
        mesh: _mesh,
        a,
        b,
        c,
    } = line;
    b.stop().await;
    let cut = last(&mut held).await.unwrap_err();
    assert_eq!(cut.kind, ErrorKind::BrokenStream, "{cut:?}");
    assert!(cut.hint.unwrap().contains("not known"));
    let over = || async {
        let later = session.call(2, "echo", "{}").await;
        later.is_err_and(|error| error.reason == "session_closed")
    };
    until("the session is over and says so", over).await;
    // Its copy came over the other relay and was not started again.
    assert!(c.refusals().await.get("request_started").copied() <= Some(1));

    let again = a.open("agent", "c", "fix").await.unwrap();
    again.call(3, "echo", "{}").await.unwrap();
    assert!(d.node.enforcer().calls().relayed() >= 2);
    for node in [a, c, d] {
        node.stop().await;
    }
}

#[tokio::test]
async fn a_client_whose_relay_goes_away_is_told_and_starts_again() {
    let (line, d) = with_two_relays().await;
    let token = line.a.token("client").await;
    let client = McpClient::open(&line.a, "/mcp/c/fix", &token).await;
    assert_eq!(client.post(tool_call(1, "echo", "{}")).await.status, 200);
    let Line {
        mesh: _mesh,
        a,
        b,
        c,
    } = line;
    b.stop().await;
    // As MCP says: an unknown session is answered with 404, and its client initializes again.
    let gone = || async { client.post(tool_call(2, "echo", "{}")).await.status == 404 };
    until("the session is over", gone).await;
    let client = McpClient::open(&a, "/mcp/c/fix", &token).await;
    let answer = client.post(tool_call(3, "echo", r#"{"n":3}"#)).await;
    assert_eq!(answer.response()["result"]["echo"]["n"], 3);
    assert!(d.node.enforcer().calls().relayed() >= 2);
    for node in [a, c, d] {
        node.stop().await;
    }
}

#[tokio::test]
async fn a_relay_without_a_link_says_so_once_and_what_to_do() {
    let line = Line::build(LineOptions::default()).await;
    line.a.knows_relays(line.c.id(), 1).await;
    // With its tools: once it has stopped nobody says what it has.
    line.a.sees("c", "fix").await;
    let Line {
        mesh: _mesh,
        a,
        b,
        c,
    } = line;
    let gone = c.id();
    c.stop().await;
    let parted = || async { b.node.links().get(gone).is_none() };
    until("the relay has lost the server's node", parted).await;
    let refused = a.open("agent", "c", "fix").await.err().unwrap();
    assert_eq!(refused.reason, "next_hop_unreachable", "{refused:?}");
    let gone = gone.short();
    let message = format!("relay `b`: it cannot reach the next node: no link to node {gone}");
    assert_eq!(refused.message, message);
    let hint = refused.hint.unwrap();
    assert!(
        hint.contains("`hedgerow peers` on the host of `b`"),
        "{hint}"
    );
    for node in [a, b] {
        node.stop().await;
    }
}

/// Whoever retries what it is told did not happen has it happen twice.
#[tokio::test]
async fn a_call_under_way_when_its_relay_goes_away_is_not_called_unreachable() {
    let (line, d) = with_two_relays().await;
    let token = line.a.token("client").await;
    let mut clients = Vec::new();
    for _ in 0..6 {
        clients.push(McpClient::open(&line.a, "/mcp/c/fix", &token).await);
    }
    let carried = |node: &TestNode| node.node.enforcer().calls().relayed();
    let opened = carried(&line.b) + carried(&d);
    let calls = clients.iter().map(|c| c.post(tool_call(1, "hold", "{}")));
    let calls = futures::future::join_all(calls);
    let stopping = async {
        let all_carried = || async { carried(&line.b) + carried(&d) >= opened + 6 };
        until("all calls are carried", all_carried).await;
        let Line { mesh, a, b, c } = line;
        b.stop().await;
        d.stop().await;
        (mesh, a, c)
    };
    let (answers, (_mesh, a, c)) = soon(async { tokio::join!(calls, stopping) }).await;
    for answer in answers {
        let error = &answer.response()["error"];
        assert_eq!(error["code"], -32054, "{error}");
        let hint = error["data"]["hint"].as_str().unwrap();
        assert!(hint.contains("not known"), "{error}");
    }
    for node in [a, c] {
        node.stop().await;
    }
}

/// A refusal is told as one where it is certain that nothing was begun, whatever was tried.
#[tokio::test]
async fn a_node_that_stops_refuses_over_every_route() {
    let (line, d) = with_two_relays().await;
    let session = line.a.open("agent", "c", "fix").await.unwrap();
    let held = session.begin(1, "hold", "{}").await.unwrap();
    holds(&session, 1).await;
    let Line {
        mesh: _mesh,
        a,
        b,
        c,
    } = line;
    let stopping = tokio::spawn(c.stop());
    let refused = soon(async {
        for id in 2.. {
            if let Err(error) = session.call(id, "echo", "{}").await {
                return error;
            }
        }
        panic!("out of numbers")
    });
    let refused = refused.await;
    assert_eq!(refused.reason, "node_stopping", "{refused:?}");
    assert_eq!(refused.kind, ErrorKind::Refuse, "{refused:?}");
    // Lets the node stop at once.
    drop(held);
    for node in [a, b, d] {
        node.stop().await;
    }
    soon(stopping).await.unwrap();
}

/// Allows everything and says that it is of a bundle nobody else has.
struct OfLater;

impl Severs for OfLater {}

impl Policy for OfLater {
    fn bundle_version(&self) -> u64 {
        9
    }

    fn evaluate(&self, _: &Facts<'_>) -> Decision {
        Decision::allow()
    }
}

#[tokio::test]
async fn a_relay_without_a_bundle_carries_nothing_that_was_decided_by_one() {
    let line = Line::build(LineOptions::default()).await;
    line.a.node.enforcer().replace_policy(Arc::new(OfLater));
    let refused = line.a.open("agent", "c", "fix").await.err().unwrap();
    assert_eq!(refused.reason, NO_BUNDLE, "{refused:?}");
    assert!(refused.message.contains("relay `b`"), "{refused:?}");
    assert!(refused.hint.unwrap().contains("hedgerow doctor"));
    line.b.counted(NO_BUNDLE, 1).await;
    line.stop().await;
}

#[tokio::test]
async fn a_relay_and_a_target_that_stay_behind_decide_by_their_own_bundle() {
    let line = Line::build(LineOptions::default()).await;
    let session = line.a.open("agent", "c", "fix").await.unwrap();
    let tripwire = r#"{"policy_name": "tripwire", "restricted_intents": ["crash"]}"#;
    let body = body_of(&[ALL, tripwire]);
    Admin::of(&line.b.state).put(&line.b, &body).await;
    for node in [&line.a, &line.b, &line.c] {
        has_bundle(node, 1).await;
    }
    line.a.node.enforcer().replace_policy(Arc::new(OfLater));
    session.call(1, "echo", "{}").await.unwrap();
    for behind in [&line.b, &line.c] {
        let waited = behind.refusals().await.get("bundle_behind").copied();
        assert!(waited >= Some(1), "{waited:?}");
    }
    let refused = session.call(2, "crash", "{}").await.unwrap_err();
    assert_eq!(refused.reason, "intent_restricted", "{refused:?}");
    assert!(refused.message.contains("relay `b`"), "{refused:?}");
    line.stop().await;
}

/// The newest bundle of all comes while the relay waits for it.
#[tokio::test]
async fn a_relay_that_is_behind_is_no_longer_once_the_bundle_is_there() {
    let line = Line::build(LineOptions::default()).await;
    let session = line.a.open("agent", "c", "fix").await.unwrap();
    Admin::of(&line.b.state)
        .put(&line.b, &body_of(&[ALL]))
        .await;
    for node in [&line.a, &line.b, &line.c] {
        has_bundle(node, 1).await;
    }
    session.call(1, "echo", "{}").await.unwrap();
    for node in [&line.b, &line.c] {
        assert_eq!(node.refusals().await.get("bundle_behind"), None);
    }
    line.stop().await;
}

/// Restored from a backup, or never told the time of the mesh: the relay says so, and its calls go
/// over another one.
#[tokio::test]
async fn a_relay_that_does_not_know_the_present_is_passed_over() {
    let (line, d) = with_two_relays().await;
    let session = line.a.open("agent", "c", "fix").await.unwrap();
    let standing = line.b.node.enforcer().standing();
    standing.hold();
    session.call(1, "echo", "{}").await.unwrap();
    line.b.counted("restored_not_synced", 1).await;
    assert_eq!(d.node.enforcer().calls().relayed(), 1);
    assert!(standing.release());

    let identity = line.b.node.enforcer().identity();
    let before = standing.now();
    let genesis = TrustState::genesis(&*identity.crypto, identity.genesis()).unwrap();
    standing.replace(Arc::new(genesis));
    session.call(2, "echo", "{}").await.unwrap();
    line.b.counted("no_timestamp", 1).await;
    assert_eq!(d.node.enforcer().calls().relayed(), 2);
    standing.replace(before);

    // Where there is no other, the caller is told whose knowledge is old.
    drop(soon(d.stop()).await);
    standing.hold();
    let refused = session.call(3, "echo", "{}").await.unwrap_err();
    assert_eq!(refused.reason, "restored_not_synced", "{refused:?}");
    assert!(refused.message.contains("relay `b`"), "{refused:?}");
    line.stop().await;
}
