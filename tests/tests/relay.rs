//! Calls over relays: three nodes in a line, of which the ends reach each other through the middle
//! only. The middle is honest, restarted, revoked, or composed to misbehave.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use node::control::Operations as _;
use node::session::ErrorKind;
use protocol::control::{CallRequest, DecisionQuery};
use protocol::envelope::Direction;
use protocol::limits::MAX_MESSAGE_BYTES;
use protocol::trust::Act;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tests::admin::Admin;
use tests::line::{Line, LineOptions};
use tests::mesh::{LOCAL, TestNode, last, next, tool_call};
use tests::rogue::{Misdeed, Rogue};
use tests::stage::holds;
use tests::wait::until;

#[tokio::test]
async fn a_call_goes_over_the_relay_its_target_names() {
    let line = Line::build(LineOptions::default()).await;
    let session = line.a.open("agent", "c", "fix").await.unwrap();
    let answer = session.call(1, "echo", r#"{"text":"over b"}"#).await;
    let answer = answer.unwrap();
    assert_eq!(answer["result"]["echo"]["text"], "over b");
    assert!(line.a.node.links().get(line.c.id()).is_none());
    assert_eq!(line.b.node.enforcer().calls().relayed(), 2);
    for node in [&line.a, &line.b, &line.c] {
        assert_eq!(node.refusals().await, std::collections::BTreeMap::new());
    }
    line.stop().await;
}

#[tokio::test]
async fn everything_a_call_can_hold_goes_over_a_relay() {
    let line = Line::build(LineOptions::default()).await;
    let session = line.a.open("agent", "c", "fix").await.unwrap();
    let list = r#"{"jsonrpc":"2.0","id":9,"method":"tools/list"}"#;
    let tools = session.ask(list).await.unwrap();
    assert!(tools["result"]["tools"].as_array().unwrap().len() > 3);

    let mut call = session
        .begin(1, "progress", r#"{"count":20}"#)
        .await
        .unwrap();
    for n in 1..=20 {
        let message = next(&mut call).await.unwrap();
        assert_eq!(message["params"]["progress"], n, "{message}");
    }
    assert_eq!(last(&mut call).await.unwrap()["id"], 1);

    let mut call = session.begin(2, "ask", "{}").await.unwrap();
    let asked = next(&mut call).await.unwrap();
    assert_eq!(asked["method"], "sampling/createMessage");
    let reply = json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"said": "yes"}});
    call.outbound.send(reply.to_string().into()).await.unwrap();
    let answer = last(&mut call).await.unwrap();
    assert_eq!(answer["result"]["client_said"]["result"]["said"], "yes");

    let empty = tool_call(3, "echo", r#"{"x":""}"#).len();
    let filler = "x".repeat(MAX_MESSAGE_BYTES - empty);
    let answer = session
        .call(3, "echo", &format!(r#"{{"x":"{filler}"}}"#))
        .await;
    let answer = answer.unwrap();
    assert_eq!(
        answer["result"]["echo"]["x"].as_str().unwrap().len(),
        filler.len()
    );

    let calls = (10..42).map(|n| session.call(n, "echo", "{}"));
    for answer in futures::future::join_all(calls).await {
        answer.unwrap();
    }
    line.stop().await;
}

#[tokio::test]
async fn a_call_that_is_dropped_is_cancelled_beyond_the_relay() {
    let line = Line::build(LineOptions::default()).await;
    let session = line.a.open("agent", "c", "fix").await.unwrap();
    let call = session.begin(1, "hold", "{}").await.unwrap();
    holds(&session, 1).await;
    drop(call);
    let id = std::sync::atomic::AtomicU64::new(2000);
    let told = || async {
        let id = id.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let state = session.call(id, "state", "{}").await.unwrap();
        state["result"]["cancelled"].as_array().map(Vec::len) == Some(1)
    };
    until("the server is told", told).await;
    line.stop().await;
}

#[tokio::test]
async fn every_hop_records_its_decision() {
    let line = Line::build(LineOptions::default()).await;
    let session = line.a.open("agent", "c", "fix").await.unwrap();
    session.call(1, "echo", "{}").await.unwrap();
    // Newest first.
    let decided = |node: &TestNode| {
        let node = std::sync::Arc::clone(&node.node);
        async move {
            node.store().flush().await.unwrap();
            let asked = DecisionQuery::default();
            let records = node.decisions(asked).await.unwrap().into_iter();
            let called = records.filter(|r| r.method.as_deref() == Some("tools/call"));
            called.map(|r| (r.role, r.envelope)).collect::<Vec<_>>()
        }
    };
    let (a, b, c) = (
        decided(&line.a).await,
        decided(&line.b).await,
        decided(&line.c).await,
    );
    let envelopes = |of: &[(String, _)]| of.iter().map(|(_, e)| *e).collect::<Vec<_>>();
    assert_eq!(envelopes(&a), envelopes(&b));
    assert_eq!(envelopes(&b), envelopes(&c));
    assert!(b.iter().all(|(role, _)| role == "relay"), "{b:?}");
    assert_eq!(b.len(), 2);
    line.stop().await;
}

#[tokio::test]
async fn a_route_of_four_nodes_has_two_records_each_way() {
    let (line, second) = Line::of_four().await;
    let server = line.a.sees("c", "fix").await;
    let call = CallRequest {
        node: server.node,
        server: server.server,
        tool: "echo".to_owned(),
        arguments: RawValue::from_string(r#"{"n":4}"#.to_owned()).unwrap(),
        agent: None,
        capture: false,
        timeout_ms: 60_000,
    };
    let (notifications, _none) = tokio::sync::mpsc::channel(1);
    let reply = line.a.node.call(LOCAL, call, notifications).await.unwrap();
    assert!(reply.result.unwrap().get().contains(r#""n":4"#));
    let hops: Vec<_> = reply
        .hops
        .iter()
        .map(|hop| (hop.place, hop.node.as_str(), hop.from.as_str()))
        .collect();
    assert_eq!(hops, [(1, "d", "c"), (2, "b", "d")]);
    assert!(second.node.enforcer().calls().relayed() > 0);
    second.stop().await;
    line.stop().await;
}

#[tokio::test]
async fn a_node_that_does_not_offer_to_relay_does_not() {
    let options = LineOptions {
        accept: r#"["node:someone"]"#,
        ..LineOptions::default()
    };
    let line = Line::build(options).await;
    let refused = line.a.open("agent", "c", "fix").await.err().unwrap();
    assert_eq!(refused.reason, "relaying_not_offered", "{refused:?}");
    assert!(refused.message.contains("`b`"), "{refused:?}");
    line.b.counted("relaying_not_offered", 1).await;
    line.stop().await;
}

#[tokio::test]
async fn revoking_an_end_or_the_relay_cuts_a_call_under_way() {
    for revoked in ["a", "b", "c"] {
        let line = Line::build(LineOptions::default()).await;
        let session = line.a.open("agent", "c", "fix").await.unwrap();
        let mut call = session.begin(1, "hold", "{}").await.unwrap();
        holds(&session, 1).await;
        let admin = Admin::of(&line.b.state);
        let id = match revoked {
            "a" => line.a.id(),
            "b" => line.b.id(),
            _ => line.c.id(),
        };
        let act = Act::Node(id);
        admin.revoke(&line.b, act, "the test says so").await;
        let cut = last(&mut call).await.unwrap_err();
        if revoked == "c" {
            assert_eq!(cut.reason, "node_revoked", "{revoked}: {cut:?}");
        }
        drop(call);
        let carried = || async { line.b.node.relay().streams() == 0 };
        until("the relay carries nothing any more", carried).await;
    }
}

#[tokio::test]
async fn a_relay_that_restarts_breaks_the_call_and_serves_the_next() {
    let line = Line::build(LineOptions::default()).await;
    let session = line.a.open("agent", "c", "fix").await.unwrap();
    let mut call = session.begin(1, "hold", "{}").await.unwrap();
    holds(&session, 1).await;
    let line = line.restart_b().await;
    let cut = last(&mut call).await.unwrap_err();
    assert_eq!(cut.kind, ErrorKind::BrokenStream, "{cut:?}");
    let again = || async {
        match line.a.open("agent", "c", "fix").await {
            Ok(session) => session.call(2, "echo", "{}").await.is_ok(),
            Err(_) => false,
        }
    };
    until("calls go over the relay again", again).await;
    line.stop().await;
}

#[tokio::test]
async fn a_target_that_restarts_has_another_key_and_is_reached_again() {
    let line = Line::build(LineOptions::default()).await;
    line.a.open("agent", "c", "fix").await.unwrap();
    let line = line.restart_c().await;
    let again = || async {
        match line.a.open("agent", "c", "fix").await {
            Ok(session) => session.call(2, "echo", "{}").await.is_ok(),
            Err(_) => false,
        }
    };
    until("the target is reached again", again).await;
    line.stop().await;
}

/// `a` and `c` with the hub `b`, and a rogue relay that `c` names, alone or before `b`.
async fn with_rogue(through: &'static str) -> (Line, Rogue) {
    let options = LineOptions {
        through,
        ..LineOptions::default()
    };
    let (line, rogue) = Line::with_rogue(options).await;
    (line, rogue)
}

/// What a relay handles says nothing of arguments or results, and everything of who calls what.
#[tokio::test]
async fn what_a_relay_handles_holds_no_plaintext() {
    const SECRET: &str = "xyzzy-plaintext-of-the-call";
    let (line, rogue) = with_rogue(r#"["m"]"#).await;
    let session = line.a.open("agent", "c", "fix").await.unwrap();
    let arguments = format!(r#"{{"text":"{SECRET}"}}"#);
    let answer = session.call(1, "echo", &arguments).await.unwrap();
    assert!(answer.to_string().contains(SECRET));
    let handled = rogue.handled();
    let holds = |text: &str| handled.windows(text.len()).any(|w| w == text.as_bytes());
    assert!(
        holds("tools/call") && holds("echo"),
        "the header is for relays"
    );
    assert!(!holds(SECRET) && !holds("jsonrpc"), "the body is not");
    line.stop().await;
}

/// Every misdeed with a record or an envelope, and the name of what it leaves behind.
const MISDEEDS: [(Misdeed, &str); 8] = [
    (Misdeed::Skip, "hop_record_missing"),
    (Misdeed::Strip, "hop_record_missing"),
    (Misdeed::Extra, "hop_record_extra"),
    (Misdeed::OtherEnvelope, "hop_record_other_envelope"),
    (Misdeed::OtherPeer, "hop_record_reordered"),
    (Misdeed::Stranger, "hop_record_invalid"),
    (Misdeed::AlterPayload, "bad_signature"),
    (Misdeed::AlterSignature, "bad_signature"),
];

/// One misdeed: named where it is found, and the link that brought it cut and kept cut.
async fn is_severed(misdeed: Misdeed, reason: &str, direction: Direction) {
    let (line, rogue) = with_rogue(r#"["m"]"#).await;
    let what = format!("{misdeed:?} {direction:?}");
    let session = line.a.open("agent", "c", "fix").await.unwrap();
    rogue.misbehave(misdeed, direction);
    let refused = session.call(1, "echo", "{}").await.unwrap_err();
    let finder = match direction {
        Direction::ToServer => &line.c,
        Direction::ToClient => {
            assert_eq!(refused.reason, reason, "{what}: {refused:?}");
            &line.a
        }
    };
    finder.counted(reason, 1).await;
    let cut = || async { finder.node.links().get(rogue.id()).is_none() };
    until(&format!("the link is severed after {what}"), cut).await;
    let kept_off = || async { rogue.dial(finder).await.is_err() };
    until(&format!("it is kept off after {what}"), kept_off).await;
    line.stop().await;
}

#[tokio::test]
async fn what_no_honest_relay_would_bring_a_server_is_named_and_severed() {
    for (misdeed, reason) in MISDEEDS {
        is_severed(misdeed, reason, Direction::ToServer).await;
    }
}

#[tokio::test]
async fn what_no_honest_relay_would_bring_a_caller_is_named_and_severed() {
    for (misdeed, reason) in MISDEEDS {
        is_severed(misdeed, reason, Direction::ToClient).await;
    }
}

#[tokio::test]
async fn a_message_delivered_twice_is_named() {
    let (line, rogue) = with_rogue(r#"["m"]"#).await;
    let session = line.a.open("agent", "c", "fix").await.unwrap();
    rogue.misbehave(Misdeed::Replay, Direction::ToServer);
    // The call itself may have been answered before its copy was seen.
    drop(session.call(1, "hold", "{}").await);
    line.c.counted("other_request", 1).await;
    let cut = || async { line.c.node.links().get(rogue.id()).is_none() };
    until("the link is severed", cut).await;
    line.stop().await;
}

/// The rogue is tried first and drops the call; the hub carries the copy. It is started once.
#[tokio::test]
async fn a_call_that_a_relay_drops_goes_another_way() {
    let (line, rogue) = with_rogue(r#"["m", "b"]"#).await;
    let session = line.a.open("agent", "c", "fix").await.unwrap();
    rogue.misbehave(Misdeed::Drop, Direction::ToServer);
    let answer = session.call(1, "echo", r#"{"n":1}"#).await.unwrap();
    assert_eq!(answer["result"]["echo"]["n"], 1);
    assert!(line.b.node.enforcer().calls().relayed() >= 1);
    line.stop().await;
}

/// Dropped on the way back the call has been made: it is not made again.
#[tokio::test]
async fn a_call_whose_answer_a_relay_drops_is_not_made_twice() {
    let (line, rogue) = with_rogue(r#"["m", "b"]"#).await;
    let session = line.a.open("agent", "c", "fix").await.unwrap();
    rogue.misbehave(Misdeed::Drop, Direction::ToClient);
    let lost = session.call(1, "echo", "{}").await.unwrap_err();
    assert_eq!(lost.kind, ErrorKind::BrokenStream, "{lost:?}");
    assert!(lost.hint.unwrap().contains("not known"));
    line.c.counted("request_started", 1).await;
    line.stop().await;
}

#[tokio::test]
async fn peers_and_status_show_the_way() {
    let line = Line::build(LineOptions::default()).await;
    line.a.open("agent", "c", "fix").await.unwrap();
    let peers = line.a.node.peers().await.unwrap();
    let c = peers.iter().find(|p| p.id == line.c.id()).unwrap();
    assert_eq!(c.relayed_by, vec!["b".parse().unwrap()], "{c:?}");
    let status = line.b.status().await;
    let relayed: Value = serde_json::to_value(&status.counters).unwrap();
    assert_eq!(relayed["calls_relayed"], 1, "{relayed}");
    line.stop().await;
}
