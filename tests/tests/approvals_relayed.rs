//! Held calls whose approvers are beyond relays, on whole nodes: listed and answered over them, and
//! what relays, and members who play one, can and cannot do about it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use hedgerow_crypto::{Primitives, SealingKey};
use node::approvals::APPROVAL_DENIED;
use node::control::ApprovalOperations as _;
use node::session::McpCall;
use node::transport::{IncomingStream, StreamKind};
use protocol::approval::Choice;
use protocol::approval::relayed::{Asking, MAX_QUESTION_LIFE_S};
use protocol::control::{AnswerApproval, Approval, ApprovalQuery, ApprovalState, Failure};
use protocol::crypto::sealing::Opener as _;
use protocol::id::NodeId;
use protocol::time::UnixMillis;
use protocol::trust::Act;
use tests::admin::{Admin, body_of, has_bundle, holds};
use tests::hostile::Hostile;
use tests::line::{Line, LineOptions};
use tests::mesh::{LOCAL, Session, TestNode, last, next};
use tests::wait::{soon, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// What is not allowed outright waits for the operator of `a`.
const ASK_A: &str = r#"{"policy_name": "ask", "allowed_tools": ["*/state"],
    "action_on_violation": "require_approval", "approval": {"by": {"nodes": ["a"]}}}"#;

async fn at_c(at: &TestNode) -> Result<Vec<Approval>, Failure> {
    let node = Some("c".parse().unwrap());
    at.node.held(ApprovalQuery { node, all: true }).await
}

async fn answer(at: &TestNode, held: &Approval, choice: Choice) -> Result<Approval, Failure> {
    let answer = AnswerApproval {
        approval: held.id.short(),
        node: Some("c".parse().unwrap()),
        words: Some("checked".to_owned()),
        human: None,
    };
    at.node.answer_held(LOCAL, answer, choice).await
}

/// Begins a call that `c` holds.
async fn held_call(line: &Line, id: u64) -> (Session, McpCall) {
    let session = line.a.open("agent", "c", "fix").await.unwrap();
    let arguments = format!(r#"{{"sum":{id}}}"#);
    let mut call = session.begin(id, "echo", &arguments).await.unwrap();
    let told = next(&mut call).await.unwrap();
    let told = told["params"]["message"].as_str().unwrap_or_default();
    assert!(told.contains("waits for approval"), "{told}");
    (session, call)
}

async fn asking_a(line: &Line) {
    Admin::of(&line.b.state)
        .put(&line.b, &body_of(&[ASK_A]))
        .await;
    for node in [&line.a, &line.b, &line.c] {
        has_bundle(node, 1).await;
    }
}

#[tokio::test]
async fn whoever_may_approve_does_so_over_the_relay() {
    let line = Line::build(LineOptions::default()).await;
    asking_a(&line).await;
    assert_eq!(at_c(&line.a).await.unwrap(), []);
    let (_session, mut call) = held_call(&line, 1).await;
    let held = at_c(&line.a).await.unwrap();
    assert_eq!((held.len(), held[0].state), (1, ApprovalState::Pending));
    // The relay's operator is not named, and is shown nothing over its own link.
    assert_eq!(at_c(&line.b).await.unwrap(), []);
    let approved = answer(&line.a, &held[0], Choice::Approve).await.unwrap();
    assert_eq!(approved.answers[0].words.as_deref(), Some("checked"));
    let response = last(&mut call).await.unwrap();
    assert_eq!(response["result"]["echo"]["sum"], 1);

    let (_session, mut call) = held_call(&line, 2).await;
    let held = at_c(&line.a).await.unwrap();
    let held = held.iter().find(|h| h.state == ApprovalState::Pending);
    answer(&line.a, held.unwrap(), Choice::Deny).await.unwrap();
    let denied = last(&mut call).await.unwrap_err();
    assert_eq!(denied.reason, APPROVAL_DENIED);
    // What the holder refuses is its own refusal, and no other route is tried.
    let again = answer(&line.a, held.unwrap(), Choice::Approve).await;
    assert_eq!(again.unwrap_err().reason, "approval_answered");
    assert!(line.a.node.links().get(line.c.id()).is_none());
    line.stop().await;
}

#[tokio::test]
async fn two_relays_carry_questions_too() {
    let (line, d) = Line::of_four().await;
    asking_a(&line).await;
    has_bundle(&d, 1).await;
    let (_session, mut call) = held_call(&line, 1).await;
    let held = at_c(&line.a).await.unwrap();
    answer(&line.a, &held[0], Choice::Approve).await.unwrap();
    last(&mut call).await.unwrap();
    d.stop().await;
    line.stop().await;
}

#[tokio::test]
async fn a_relay_carries_questions_for_whom_it_carries_calls() {
    let options = LineOptions {
        accept: r#"["node:someone"]"#,
        ..LineOptions::default()
    };
    let line = Line::build(options).await;
    let refused = at_c(&line.a).await.unwrap_err();
    assert_eq!(refused.reason, "holder_unreachable");
    let why = "node `c`, which holds the call, did not reply over `b`";
    assert!(refused.message.starts_with(why), "{refused:?}");
    assert!(
        refused.message.contains("[relaying_not_offered]"),
        "{refused:?}"
    );
    assert!(refused.hint.unwrap().contains("peers --dial"));
    line.stop().await;
}

#[tokio::test]
async fn a_holder_that_is_gone_and_one_without_a_relay_are_said() {
    let Line {
        mesh: _mesh,
        a,
        b,
        c,
    } = Line::build(LineOptions::default()).await;
    c.stop().await;
    until("the relay has lost the holder", || async {
        b.node.links().all().len() == 1
    })
    .await;
    let refused = at_c(&a).await.unwrap_err();
    assert_eq!(refused.reason, "holder_unreachable");
    assert!(
        refused.message.contains("[next_hop_unreachable]"),
        "{refused:?}"
    );
    b.stop().await;
    until("the relay is gone", || async {
        a.node.links().all().is_empty()
    })
    .await;
    let refused = at_c(&a).await.unwrap_err();
    assert_eq!(refused.reason, "holder_unreachable");
    let why = "no link with node `c`, which holds the call";
    assert!(refused.message.starts_with(why), "{refused:?}");
    a.stop().await;
}

/// A reply on the wire.
#[derive(minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
struct Reply {
    #[n(1)]
    sealed: Option<minicbor::bytes::ByteVec>,
    #[n(2)]
    refused: Option<Refused>,
}

#[derive(minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
struct Refused {
    #[n(1)]
    reason: String,
    #[n(2)]
    message: String,
}

/// A question that a member signs, of any route and time, sealed to a key that nobody has.
fn signed(by: &Hostile, route: Vec<NodeId>, at: u64) -> Vec<u8> {
    let identity = &by.forge.identity;
    let about = (identity.mesh(), route, UnixMillis(at));
    let key = SealingKey::from_seed(&[7; 32]).unwrap();
    let signing = &*identity.signing;
    let (_, signed) = Asking::begin(
        (&Primitives, &*identity.crypto),
        signing,
        about,
        key.public(),
        b"",
    )
    .unwrap();
    signed
}

/// Sends a question as it is, and returns what comes back.
async fn send(from: &Hostile, to: NodeId, question: &[u8]) -> Reply {
    let opened = from.links.open(to, StreamKind::RelayedApproval);
    let (mut send, mut recv) = soon(opened).await.unwrap();
    let length = u32::try_from(question.len()).unwrap().to_be_bytes();
    send.write_all(&[&length, question].concat()).await.unwrap();
    send.flush().await.unwrap();
    let length = soon(recv.read_u32()).await.unwrap();
    let mut reply = vec![0; length as usize];
    soon(recv.read_exact(&mut reply)).await.unwrap();
    minicbor::decode(&reply).unwrap()
}

/// The question that a node sends over this one.
async fn question(caught: &mut IncomingStream) -> Vec<u8> {
    let length = soon(caught.recv.read_u32()).await.unwrap();
    let mut question = vec![0; length as usize];
    soon(caught.recv.read_exact(&mut question)).await.unwrap();
    question
}

async fn reply(caught: &mut IncomingStream, reply: &Reply) {
    let reply = minicbor::to_vec(reply).unwrap();
    let length = u32::try_from(reply.len()).unwrap().to_be_bytes();
    let framed = [&length[..], &reply].concat();
    caught.send.write_all(&framed).await.unwrap();
    caught.send.flush().await.unwrap();
    caught.send.finish();
}

/// The line with a member `m` beside `b` that both ends have a link with and `c` names as its relay.
async fn over_m() -> (Line, Hostile) {
    let options = LineOptions {
        through: r#"["m"]"#,
        ..LineOptions::default()
    };
    let line = Line::build(options).await;
    let m = Hostile::enter(&line.mesh.admit(&line.b, "m").await);
    m.link(&line.a).await;
    m.link(&line.c).await;
    line.a.knows_relays(line.c.id(), 1).await;
    (line, m)
}

#[tokio::test]
async fn a_relay_reads_nothing_and_changes_nothing_unseen() {
    let (line, m) = over_m().await;
    asking_a(&line).await;
    let holder = line.c.id();
    let lone = async |alter: fn(&mut Reply)| {
        let relayed = async {
            let mut caught = soon(m.caught()).await.unwrap();
            while caught.kind != StreamKind::RelayedApproval {
                caught = soon(m.caught()).await.unwrap();
            }
            let question = question(&mut caught).await;
            let mut replied = send(&m, holder, &question).await;
            alter(&mut replied);
            reply(&mut caught, &replied).await;
            question
        };
        tokio::join!(at_c(&line.a), relayed)
    };
    let (honest, asked) = lone(|_| ()).await;
    assert_eq!(honest.unwrap(), []);
    let changed: [fn(&mut Reply); 3] = [
        |reply| reply.sealed.as_mut().unwrap()[0] ^= 1,
        |reply| reply.sealed = Some(vec![0; 64].into()),
        |reply| reply.sealed = None,
    ];
    for alter in changed {
        let (refused, _) = lone(alter).await;
        assert_eq!(refused.unwrap_err().reason, "holder_unreachable");
    }
    // A copy brings what only the asker opens, and in another's name nobody asks.
    let copied = send(&m, holder, &asked).await;
    assert!(copied.refused.is_none() && copied.sealed.is_some());
    let now = line.a.node.enforcer().clock().now().0;
    let forged = signed(&m, vec![line.a.id(), m.id(), holder], now);
    let refused = send(&m, holder, &forged).await.refused.unwrap();
    assert_eq!(refused.reason, "unknown_key");
    line.stop().await;
}

#[tokio::test]
async fn questions_off_their_way_or_time_are_refused_by_name() {
    let (line, m) = over_m().await;
    let (b, c) = (line.b.id(), line.c.id());
    m.link(&line.b).await;
    let now = line.b.node.enforcer().clock().now().0;
    let refused = async |to: NodeId, route: Vec<NodeId>, at: u64| {
        let refused = send(&m, to, &signed(&m, route, at)).await.refused.unwrap();
        assert!(!refused.message.is_empty());
        refused.reason
    };
    let over_b = vec![m.id(), b, c];
    let old = now - (MAX_QUESTION_LIFE_S + 10) * 1000;
    assert_eq!(refused(b, over_b.clone(), old).await, "expired");
    assert_eq!(
        refused(b, over_b.clone(), now + 60_000).await,
        "issued_in_future"
    );
    // Past the relay that it names, to one it does not name, and with too few nodes.
    assert_eq!(refused(c, over_b.clone(), now).await, "wrong_previous_hop");
    let elsewhere = vec![m.id(), line.a.id(), c];
    assert_eq!(refused(b, elsewhere, now).await, "not_on_route");
    assert_eq!(refused(c, vec![m.id(), c], now).await, "bad_route");
    // To the end of its way, where nobody has that key.
    assert_eq!(refused(b, over_b.clone(), now).await, "sealing_key_unknown");
    let nowhere = vec![m.id(), b, NodeId::from_bytes([9; 32])];
    assert_eq!(refused(b, nowhere, now).await, "next_hop_unreachable");
    let garbage = send(&m, c, &[0xa0; 100]).await.refused.unwrap();
    assert!(!garbage.reason.is_empty());
    line.b.counted("approval_question_refused", 4).await;
    line.stop().await;
}

/// The relay has the question in hand when its asker is revoked, and carries it on all the same.
#[tokio::test]
async fn whoever_is_revoked_while_it_asks_gets_no_answer() {
    let (line, m) = over_m().await;
    let (asker, holder) = (line.a.id(), line.c.id());
    let relayed = async {
        let mut caught = soon(m.caught()).await.unwrap();
        let asked = question(&mut caught).await;
        let act = Act::Node(asker);
        Admin::of(&line.b.state)
            .revoke(&line.b, act, "the test says so")
            .await;
        holds(&line.c, 1).await;
        let refused = send(&m, holder, &asked).await.refused.unwrap();
        drop(caught);
        refused.reason
    };
    let (asked, reason) = tokio::join!(at_c(&line.a), relayed);
    assert_eq!(reason, "node_revoked");
    assert!(asked.is_err(), "{asked:?}");
    line.b.stop().await;
    line.c.stop().await;
}

#[tokio::test]
async fn a_relay_that_says_nothing_is_given_up_on() {
    let (line, m) = over_m().await;
    let refused = at_c(&line.a).await.unwrap_err();
    assert_eq!(refused.reason, "holder_unreachable");
    assert!(
        refused.message.contains("did not reply within"),
        "{refused:?}"
    );
    // It took the question, and had it all the while.
    assert_eq!(
        soon(m.caught()).await.unwrap().kind,
        StreamKind::RelayedApproval
    );
    line.stop().await;
}
