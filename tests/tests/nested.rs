//! What a server asks its client within a call, and what the client answers, where policy denies
//! that and not the call: only the question fails, wherever an end of the call refuses it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use std::sync::Arc;

use node::app::Composition;
use node::control::Operations as _;
use node::enforcement::{APPROVAL_REQUIRED, SEVERED};
use protocol::control::{Decision, DecisionQuery};
use protocol::envelope::Kind;
use protocol::policy::{Decision as Decided, Denial, Facts, Policy, Severs, Verdict};
use protocol::trust::bundle::{BundleBody, Policy as Document};
use serde_json::{Value, json};
use tests::admin::{body_of, put_everywhere};
use tests::lawless::{honest, lawless};
use tests::line::{Line, LineOptions};
use tests::mesh::{Session, TestMesh, TestNode, last, next};
use tests::wait::{soon, until};

const ALL: &str = r#"{"policy_name": "all", "allowed_tools": ["*/*"]}"#;

/// What the fixture asks.
const SAMPLING: &str = "sampling/createMessage";

/// Nobody's model is asked; what becomes of it instead stands in for `ACTION`.
const QUIET: &str = r#"{"policy_name": "quiet", "restricted_intents": ["sample"],
    "action_on_violation": "ACTION"}"#;

/// Some words leave no node in an answer.
const WORDS: &str = r#"{"policy_name": "words", "on_result": {"deny": ["hush"]},
    "action_on_violation": "block_and_alert"}"#;

/// With these documents everything is permitted that they do not object to.
fn permitting(documents: &[&str]) -> BundleBody {
    let mut body = body_of(documents);
    body.policies.push(Document {
        name: "methods".parse().unwrap(),
        media_type: "application/vnd.cedar".to_owned(),
        bytes: b"@policy_name(\"methods\")\npermit (principal, action, resource);".to_vec(),
    });
    body.policies.sort_by(|a, b| a.name.cmp(&b.name));
    body
}

fn quiet(action: &str) -> BundleBody {
    permitting(&[ALL, &QUIET.replace("ACTION", action)])
}

struct Pair {
    _mesh: TestMesh,
    host: TestNode,
    user: TestNode,
    session: Session,
}

async fn pair(host: Composition, user: Composition, body: &BundleBody) -> Pair {
    let (mesh, host, user) = TestMesh::pair(host, user).await;
    put_everywhere(1, body, &[&host, &user]).await;
    let session = user.open("agent", "host", "bench").await.unwrap();
    Pair {
        _mesh: mesh,
        host,
        user,
        session,
    }
}

/// Calls a tool that asks, and returns what its server was told. The client saw no question.
async fn told(session: &Session, id: u64, tool: &str) -> Value {
    let mut call = session.begin(id, tool, "{}").await.unwrap();
    let mut answer = next(&mut call).await.unwrap();
    assert_eq!(answer["id"], id, "{answer}");
    answer["result"]["client_said"].take()
}

/// Calls the tool that asks, answers so, and returns what its server was told.
async fn answered(session: &Session, id: u64, said: &str) -> Value {
    let mut call = session.begin(id, "ask", "{}").await.unwrap();
    let asked = next(&mut call).await.unwrap();
    assert_eq!(asked["method"], SAMPLING);
    let reply = json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"said": said}});
    call.outbound.send(reply.to_string().into()).await.unwrap();
    let mut answer = last(&mut call).await.unwrap();
    answer["result"]["client_said"].take()
}

/// The refusal has the form of those that clients get.
fn refused(told: &Value, reason: &str, node: &str, server: &str) {
    let error = &told["error"];
    assert_eq!(error["code"], -32050, "{told}");
    assert_eq!(error["data"]["reason"], reason, "{told}");
    assert_eq!(error["data"]["node"], node, "{told}");
    assert_eq!(error["data"]["server"], server, "{told}");
    assert!(error["data"].get("hint").is_some(), "{told}");
    assert_eq!(told["result"], Value::Null, "{told}");
}

/// The decisions of a node on messages of this method and kind.
async fn decided(at: &TestNode, method: &str, kind: &str) -> Vec<Decision> {
    let recorded = at.node.decisions(DecisionQuery::default()).await.unwrap();
    let of = |d: &Decision| d.method.as_deref() == Some(method) && d.kind.as_deref() == Some(kind);
    recorded.into_iter().filter(of).collect()
}

/// The decisions on three answers; of what passed records are written a moment later.
async fn all_answers(at: &TestNode) -> Vec<Decision> {
    until("three answers are recorded", || async {
        decided(at, SAMPLING, "response").await.len() == 3
    })
    .await;
    decided(at, SAMPLING, "response").await
}

#[tokio::test]
async fn the_servers_own_node_answers_what_it_does_not_send() {
    for (action, reason, alerts) in [
        ("block_and_alert", "intent_restricted", true),
        ("block", "intent_restricted", false),
        ("require_approval", APPROVAL_REQUIRED, false),
    ] {
        let pair = pair(honest(), honest(), &quiet(action)).await;
        for id in 1..=3 {
            let told = told(&pair.session, id, "ask").await;
            refused(&told, reason, "host", "bench");
            assert_eq!(told["id"], "ask-1", "the server's own id");
            let message = told["error"]["message"].to_string();
            assert!(message.contains("`quiet`"), "{message}");
        }
        let recorded = decided(&pair.host, SAMPLING, "request").await;
        assert_eq!(recorded.len(), 3);
        for decision in &recorded {
            assert_eq!(decision.verdict, "deny");
            assert_eq!(decision.reason.as_deref(), Some(reason));
            assert_eq!(decision.policy.as_deref(), Some("quiet"));
            assert_eq!(!decision.alerts.is_empty(), alerts, "{decision:?}");
        }
        assert_eq!(decided(&pair.user, SAMPLING, "request").await.len(), 0);
        assert_eq!(pair.host.refusals().await[reason], 3);
    }
}

/// Of the three only what is the session's own is asked outside the call.
#[tokio::test]
async fn what_is_asked_within_a_session_is_answered_too() {
    for (host, by) in [(honest(), "host"), (lawless(), "user")] {
        let pair = pair(host, honest(), &body_of(&[ALL])).await;
        for id in 1..=3 {
            let told = told(&pair.session, id, "roots").await;
            refused(&told, "not_permitted", by, "bench");
            assert_eq!(told["id"], "roots-1");
        }
        pair.session.call(9, "echo", "{}").await.unwrap();
    }
}

#[tokio::test]
async fn the_callers_node_answers_what_its_client_is_not_to_see() {
    for (action, reason) in [
        ("block_and_alert", "intent_restricted"),
        ("require_approval", APPROVAL_REQUIRED),
    ] {
        let pair = pair(lawless(), honest(), &quiet(action)).await;
        for id in 1..=3 {
            let told = told(&pair.session, id, "ask").await;
            refused(&told, reason, "user", "bench");
        }
        let recorded = decided(&pair.user, SAMPLING, "request").await;
        assert_eq!(recorded.len(), 3);
        for decision in &recorded {
            assert_eq!(decision.reason.as_deref(), Some(reason));
            let alerts = action == "block_and_alert";
            assert_eq!(!decision.alerts.is_empty(), alerts, "{decision:?}");
        }
        // The node's own answer is signed and recorded like any other message.
        let answers = all_answers(&pair.user).await;
        assert!(answers.iter().all(|d| d.verdict == "allow"), "{answers:?}");
    }
}

#[tokio::test]
async fn a_refusal_of_the_callers_node_passes_the_relay() {
    let composed = |host: &str| if host == "a" { honest() } else { lawless() };
    let options = LineOptions {
        composed,
        ..LineOptions::default()
    };
    let line = Line::build(options).await;
    put_everywhere(1, &quiet("block_and_alert"), &[&line.b, &line.a, &line.c]).await;
    let session = line.a.open("agent", "c", "fix").await.unwrap();
    for id in 1..=3 {
        let told = told(&session, id, "ask").await;
        refused(&told, "intent_restricted", "a", "fix");
    }
    all_answers(&line.b).await;
    line.stop().await;
}

/// A relay cannot leave out what others number, so there the call ends.
#[tokio::test]
async fn at_a_relay_the_call_ends() {
    let composed = |host: &str| if host == "c" { lawless() } else { honest() };
    let options = LineOptions {
        composed,
        ..LineOptions::default()
    };
    let line = Line::build(options).await;
    put_everywhere(1, &quiet("block_and_alert"), &[&line.b, &line.a, &line.c]).await;
    let session = line.a.open("agent", "c", "fix").await.unwrap();
    let mut call = session.begin(1, "ask", "{}").await.unwrap();
    let ended = next(&mut call).await.unwrap_err();
    assert_eq!(ended.reason, "intent_restricted", "{ended:?}");
    assert!(ended.message.starts_with("relay `b`:"), "{ended:?}");
    let recorded = decided(&line.b, SAMPLING, "request").await;
    assert_eq!(recorded[0].alerts, ["quiet"]);
    session.call(2, "echo", "{}").await.unwrap();
    line.stop().await;
}

#[tokio::test]
async fn severing_ends_the_call_as_before() {
    for host in [honest(), lawless()] {
        let pair = pair(host, honest(), &quiet("sever")).await;
        let mut call = pair.session.begin(1, "ask", "{}").await.unwrap();
        let ended = next(&mut call).await.unwrap_err();
        let reasons = ["intent_restricted", SEVERED];
        assert!(reasons.contains(&ended.reason.as_str()), "{ended:?}");
        assert!(ended.message.contains("`quiet`"), "{ended:?}");
    }
}

#[tokio::test]
async fn an_answer_that_policy_denies_is_replaced_by_the_refusal() {
    let body = permitting(&[ALL, WORDS]);
    for (user, by) in [(honest(), "user"), (lawless(), "host")] {
        let pair = pair(honest(), user, &body).await;
        for id in 1..=3 {
            let told = answered(&pair.session, id, "hush now").await;
            refused(&told, "result_denied", by, "bench");
            assert!(!told.to_string().contains("hush now"));
        }
        let at = if by == "user" { &pair.user } else { &pair.host };
        let recorded = decided(at, SAMPLING, "response").await;
        let denied = recorded.iter().filter(|d| d.verdict == "deny");
        let alerts = denied.map(|d| d.alerts.join(" "));
        assert_eq!(alerts.collect::<Vec<_>>(), ["words"; 3]);
        let told = answered(&pair.session, 9, "yes").await;
        assert_eq!(told["result"]["said"], "yes");
    }
}

/// Whoever is to be told nothing. No document can say so.
#[derive(Debug, Clone, Copy)]
struct Untold;

impl Severs for Untold {}

impl Policy for Untold {
    fn bundle_version(&self) -> u64 {
        0
    }

    fn evaluate(&self, facts: &Facts<'_>) -> Decided {
        if facts.kind != Kind::Notification || facts.method != "notifications/progress" {
            return Decided::allow();
        }
        Decided::of(Verdict::Deny(Denial {
            reason: "untold".to_owned(),
            message: "nothing is told".to_owned(),
            policy: None,
            hint: None,
        }))
    }
}

fn untold() -> Composition {
    Composition {
        danger_policy: Some(Arc::new(Untold)),
        ..honest()
    }
}

#[tokio::test]
async fn a_notification_that_policy_denies_is_left_out() {
    for (host, user) in [(untold(), honest()), (honest(), untold())] {
        let by_host = host.danger_policy.is_some();
        let (_mesh, host, user) = TestMesh::pair(host, user).await;
        let session = user.open("agent", "host", "bench").await.unwrap();
        let call = session.begin(1, "progress", r#"{"count": 3}"#);
        let answer = next(&mut soon(call).await.unwrap()).await.unwrap();
        assert_eq!(answer["id"], 1, "{answer}");
        let at = if by_host { &host } else { &user };
        let recorded = decided(at, "notifications/progress", "notification").await;
        let reasons = recorded.iter().map(|d| d.reason.as_deref().unwrap());
        assert_eq!(reasons.collect::<Vec<_>>(), ["untold"; 3]);
    }
}
