//! Calls over relays: three nodes in a line, of which the ends reach each other through the middle
//! only. The middle is honest, restarted, revoked, or composed to misbehave.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hedgerow_crypto::Primitives;
use node::app::Composition;
use node::clock::{Clock, SystemClock};
use node::control::Operations as _;
use node::enforcement::ENVELOPE_LIFE_S;
use node::lane::Lane;
use node::session::ErrorKind;
use protocol::control::{CallRequest, DecisionQuery};
use protocol::envelope::Direction;
use protocol::evidence::Evidence;
use protocol::limits::MAX_MESSAGE_BYTES;
use protocol::time::UnixMillis;
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
    let heard = || line.a.node.enforcer().heard_over_others(&line.c.id());
    assert_eq!(heard(), None);
    let session = line.a.open("agent", "c", "fix").await.unwrap();
    let opened = heard().unwrap();
    let answer = session.call(1, "echo", r#"{"text":"over b"}"#).await;
    assert!(heard().unwrap() >= opened);
    let peers = line.a.node.peers().await.unwrap();
    let c = peers.iter().find(|peer| peer.id == line.c.id()).unwrap();
    assert!(c.last_seen.unwrap() >= heard().unwrap().seconds());
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
    everything(LineOptions::default()).await;
}

/// Nodes whose lanes have no time to spare run calls on other threads.
#[tokio::test(flavor = "multi_thread")]
async fn everything_goes_over_a_busy_relay_between_busy_nodes() {
    everything(LineOptions {
        composed: |_| Composition {
            lane: Lane::always_busy().unwrap(),
            ..Composition::by(Arc::new(SystemClock))
        },
        ..LineOptions::default()
    })
    .await;
}

async fn everything(options: LineOptions) {
    let line = Line::build(options).await;
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
    let id = AtomicU64::new(2000);
    let told = || async {
        let id = id.fetch_add(1, Ordering::Relaxed);
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
        let node = Arc::clone(&node.node);
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

/// What its ends saved of a call that was sealed for its way can be verified by a stranger.
#[tokio::test]
async fn saved_envelopes_of_a_relayed_call_verify_with_what_they_held() {
    let line = Line::build(LineOptions::default()).await;
    let server = line.a.sees("c", "fix").await;
    let call = CallRequest {
        node: server.node,
        server: server.server,
        tool: "echo".to_owned(),
        arguments: RawValue::from_string(r#"{"n":5}"#.to_owned()).unwrap(),
        agent: None,
        capture: true,
        timeout_ms: 60_000,
    };
    let (notifications, _none) = tokio::sync::mpsc::channel(1);
    let reply = line.a.node.call(LOCAL, call, notifications).await.unwrap();
    for (file, id) in [
        (reply.request_envelope, reply.request_envelope_id),
        (reply.response_envelope, reply.response_envelope_id),
    ] {
        let evidence = Evidence::verify(&Primitives, &file.unwrap().0).unwrap();
        assert_eq!(Some(evidence.envelope.id()), id);
        assert_eq!(evidence.envelope.header().claims.route.len(), 3);
        let body: Value = serde_json::from_slice(evidence.envelope.body()).unwrap();
        let n = body
            .pointer("/params/arguments/n")
            .or_else(|| body.pointer("/result/echo/n"));
        assert_eq!(n, Some(&json!(5)), "{body}");
    }
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
    let hint = refused.hint.as_deref().unwrap_or_default();
    assert!(
        hint.contains("accept") && hint.contains("through"),
        "{hint}"
    );
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

/// Behind an honest relay, so that there is a record to put its own before, or to take away.
#[tokio::test]
async fn records_out_of_their_order_are_named_and_severed() {
    for (misdeed, reason) in [
        (Misdeed::Reorder, "hop_record_reordered"),
        (Misdeed::Strip, "hop_record_missing"),
    ] {
        let options = LineOptions {
            through: r#"["m"]"#,
            caller: "[relay]\nthrough = [\"b\"]\n",
            ..LineOptions::default()
        };
        let (line, rogue) = Line::with_rogue_beyond_b(options).await;
        let session = line.a.open("agent", "c", "fix").await.unwrap();
        session.call(1, "echo", "{}").await.unwrap();
        rogue.misbehave(misdeed, Direction::ToServer);
        drop(session.call(2, "echo", "{}").await.unwrap_err());
        line.c.counted(reason, 1).await;
        let cut = || async { line.c.node.links().get(rogue.id()).is_none() };
        until("the link of the last relay is severed", cut).await;
        assert!(line.c.node.links().get(line.b.id()).is_some());
        line.stop().await;
    }
}

/// This host's clock, set forwards.
#[derive(Default)]
struct Ahead(AtomicU64);

impl Clock for Ahead {
    fn now(&self) -> UnixMillis {
        UnixMillis(SystemClock.now().0 + self.0.load(Ordering::SeqCst))
    }
}

/// Kept until it has expired, a call names who kept it; the copy of it over another relay arrives.
#[tokio::test]
async fn a_relay_that_keeps_a_call_too_long_is_named_by_its_own_times() {
    for (through, other_way) in [(r#"["m"]"#, false), (r#"["m", "b"]"#, true)] {
        let options = LineOptions {
            through,
            ..LineOptions::default()
        };
        let ahead = Arc::new(Ahead::default());
        let clock = Arc::clone(&ahead) as Arc<dyn Clock>;
        let (line, rogue) = Line::with_rogue_by(options, &clock).await;
        let session = line.a.open("agent", "c", "fix").await.unwrap();
        rogue.misbehave(Misdeed::Keep, Direction::ToServer);
        let call = session.call(1, "echo", r#"{"n":1}"#);
        let (answer, ()) = tokio::join!(call, async {
            rogue.keeps().await;
            ahead
                .0
                .store((ENVELOPE_LIFE_S + 1) * 1000, Ordering::SeqCst);
            rogue.let_go();
        });
        line.c.counted("relay_delayed", 1).await;
        if other_way {
            assert_eq!(answer.unwrap()["result"]["echo"]["n"], 1);
            assert!(line.b.node.enforcer().calls().relayed() >= 1);
        } else {
            let refused = answer.unwrap_err();
            assert_eq!(refused.reason, "relay_delayed", "{refused:?}");
            assert!(refused.message.contains("relay `m`"), "{refused:?}");
        }
        line.stop().await;
    }
}

#[tokio::test]
async fn a_message_delivered_twice_to_the_caller_is_named_and_severed() {
    let (line, rogue) = with_rogue(r#"["m"]"#).await;
    let session = line.a.open("agent", "c", "fix").await.unwrap();
    rogue.misbehave(Misdeed::Replay, Direction::ToClient);
    let mut call = session
        .begin(1, "progress", r#"{"count":3}"#)
        .await
        .unwrap();
    let refused = last(&mut call).await.unwrap_err();
    assert_eq!(refused.reason, "out_of_order", "{refused:?}");
    line.a.counted("out_of_order", 1).await;
    let cut = || async { line.a.node.links().get(rogue.id()).is_none() };
    until("the link is severed", cut).await;
    line.stop().await;
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
