//! Calls that policy wants approved, on whole nodes: who may approve them, what an approval lets
//! pass and how often, and what becomes of those nobody answers.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use std::collections::BTreeMap;

use node::approvals::{
    APPROVAL_DENIED, APPROVAL_TAKEN_OVER, APPROVAL_TIMED_OUT, APPROVALS_FULL, ApprovalError,
    MAX_PENDING_PER_AGENT,
};
use node::clock::SystemClock;
use node::control::{ApprovalOperations as _, Operations as _};
use node::enforcement::{APPROVAL_OUTDATED, APPROVAL_REQUIRED};
use node::keys::passphrase::Passphrase;
use node::session::{McpCall, ServerRef, SessionError};
use node::setup::{self, Founding};
use protocol::approval::Choice;
use protocol::control::{
    AddServer, AnswerApproval, Approval, ApprovalQuery, ApprovalState, Decision, DecisionQuery,
    Failure, ServerSpec,
};
use protocol::crypto::Crypto as _;
use protocol::id::ApprovalId;
use protocol::policy::starter_bundle;
use protocol::trust::bundle::{BundleBody, Policy};
use protocol::trust::revocation::Act;
use tests::admin::{Admin, in_force, policy};
use tests::fixture;
use tests::line::{Line, LineOptions};
use tests::mesh::{ADMIN_PASSPHRASE, LOCAL, Session, TestMesh, TestNode, last, name, next};
use tests::wait::until;

/// `state` may be called, anything else is held.
const ASK: &str = r#"{"policy_name": "ask", "allowed_tools": ["*/state"],
    "action_on_violation": "require_approval"}"#;

async fn put(admin: &Admin, at: &[&TestNode], documents: &[&str], version: u64) {
    let mut policies: Vec<Policy> = documents.iter().map(|text| policy(text)).collect();
    policies.sort_by(|a, b| a.name.cmp(&b.name));
    let body = BundleBody {
        policies,
        ..BundleBody::default()
    };
    admin.put(at[0], &body).await;
    for node in at {
        let has = || async {
            let bundle = in_force(node).await.bundle;
            bundle.is_some_and(|bundle| bundle.version == version)
        };
        until("the node has the bundle", has).await;
    }
}

/// A mesh of two with these documents in force, and the session of an agent of the second with the
/// server of the first.
async fn under(documents: &[&str]) -> (TestMesh, TestNode, TestNode, Session) {
    let (mesh, hub) = TestMesh::found("hub").await;
    hub.attach_fixture("bench", &[]).await;
    let user = mesh.join(&hub, "user").await;
    user.linked(hub.id()).await;
    user.sees("hub", "bench").await;
    let admin = Admin::of(&hub.state);
    put(&admin, &[&hub, &user], documents, 1).await;
    let session = user.open("agent", "hub", "bench").await.unwrap();
    (mesh, hub, user, session)
}

async fn held(at: &TestNode, all: bool) -> Vec<Approval> {
    let query = ApprovalQuery { node: None, all };
    at.node.held(query).await.unwrap()
}

/// Waits until exactly so many calls are held, and returns them.
async fn holds(at: &TestNode, count: usize) -> Vec<Approval> {
    until(&format!("{count} calls are held"), || async {
        held(at, false).await.len() == count
    })
    .await;
    held(at, false).await
}

async fn answer(
    at: &TestNode,
    held: &Approval,
    choice: Choice,
    words: Option<&str>,
) -> Result<Approval, Failure> {
    let answer = AnswerApproval {
        approval: held.id.short(),
        node: None,
        words: words.map(str::to_owned),
        human: None,
    };
    at.node.answer_held(LOCAL, answer, choice).await
}

async fn approve(at: &TestNode, held: &Approval) {
    answer(at, held, Choice::Approve, None).await.unwrap();
}

/// Begins a call that is held, and leaves it.
async fn call_and_leave(at: &TestNode, session: &Session, id: u64, arguments: &str) -> Approval {
    let before: Vec<ApprovalId> = held(at, false).await.iter().map(|a| a.id).collect();
    let call = session.begin(id, "echo", arguments).await.unwrap();
    let all = holds(at, before.len() + 1).await;
    drop(call);
    let new = all.into_iter().find(|a| !before.contains(&a.id)).unwrap();
    until("the caller has left", || async {
        let held = held(at, true).await;
        held.iter().any(|a| a.id == new.id && !a.waiting)
    })
    .await;
    new
}

/// Whether a call is held rather than let through, as its caller's progress tells.
async fn is_held(call: &mut McpCall) -> Result<bool, SessionError> {
    let message = next(call).await?;
    let text = message["params"]["message"].as_str().unwrap_or_default();
    Ok(text.contains("waits for approval"))
}

async fn recorded(at: &TestNode) -> Vec<Decision> {
    at.node.decisions(DecisionQuery::default()).await.unwrap()
}

#[tokio::test]
async fn a_held_call_goes_on_once_its_operator_approves_it() {
    let (_mesh, hub, user, session) = under(&[ASK]).await;
    // What a document allows outright is not held.
    session.call(1, "state", "{}").await.unwrap();
    let mut call = session
        .begin(2, "echo", r#"{"text": "monthly"}"#)
        .await
        .unwrap();
    let progress = next(&mut call).await.unwrap();
    assert_eq!(progress["method"], "notifications/progress");
    assert_eq!(progress["params"]["progressToken"], 2);
    // The server's own progress may follow, and usually begins at 0.
    assert!(progress["params"]["progress"].as_f64().unwrap() < 0.0);
    let one = &holds(&hub, 1).await[0];
    assert!(one.waiting, "{one:?}");
    assert_eq!(
        (one.node.as_str(), one.agent.as_str(), one.server.as_str()),
        ("user", "agent", "bench")
    );
    assert!(one.params.contains("monthly"), "{}", one.params);
    assert_eq!(one.policies[0].policy, "ask");
    assert_eq!(one.policies[0].by, None);
    let status = hub.status().await.trust.unwrap().policies.unwrap();
    assert_eq!(status.held, 1);

    let words = Some("the monthly run");
    let answered = answer(&hub, one, Choice::Approve, words).await.unwrap();
    assert_eq!(answered.answers[0].words.as_deref(), words);
    let response = last(&mut call).await.unwrap();
    assert_eq!(response["result"]["echo"]["text"], "monthly");
    assert_eq!(held(&hub, true).await[0].state, ApprovalState::Used);
    assert!(held(&hub, false).await.is_empty());

    // Hold, answer and what followed, all of one approval; what passes is recorded a moment later.
    let of_this = async || {
        let mut of = recorded(&hub).await;
        of.retain(|d| d.approval.as_ref().is_some_and(|a| a.id == one.id));
        of.reverse();
        of
    };
    until("all is recorded", async || of_this().await.len() == 3).await;
    let all = of_this().await;
    let of: Vec<_> = all
        .iter()
        .map(|d| (d.verdict.as_str(), d.reason.as_deref().unwrap_or_default()))
        .collect();
    assert_eq!(
        of,
        [
            ("hold", APPROVAL_REQUIRED),
            ("allow", "approval_given"),
            ("allow", "")
        ]
    );
    let given = all
        .iter()
        .find(|d| d.reason.as_deref() == Some("approval_given"));
    // It is found by the policy that held the call.
    let held = all.iter().find(|d| d.verdict == "hold").unwrap();
    assert!(held.policy.is_some());
    assert_eq!(given.unwrap().policy, held.policy);
    let given = given.unwrap().approval.as_ref().unwrap();
    assert_eq!(given.by.as_deref(), Some("hub"));
    assert_eq!(given.words.as_deref(), words);
    // The caller's node let it pass: holding is the server's node's.
    let ingress = recorded(&user).await;
    assert!(ingress.iter().all(|d| d.verdict == "allow"), "{ingress:?}");
}

#[tokio::test]
async fn a_denied_call_ends_with_the_operators_words() {
    let (_mesh, hub, _user, session) = under(&[ASK]).await;
    let mut call = session.begin(1, "echo", "{}").await.unwrap();
    let one = &holds(&hub, 1).await[0];
    let unfit = answer(&hub, one, Choice::Deny, Some("a\nb"))
        .await
        .unwrap_err();
    assert_eq!(unfit.reason, "approval_words");
    let words = Some("not on a Friday");
    answer(&hub, one, Choice::Deny, words).await.unwrap();
    let error = last(&mut call).await.unwrap_err();
    assert_eq!(error.reason, APPROVAL_DENIED);
    assert!(
        error
            .message
            .contains("`hub` denied the call: not on a Friday")
    );
    // What was denied is not approved after all.
    let late = answer(&hub, one, Choice::Approve, None).await.unwrap_err();
    assert_eq!(late.reason, "approval_answered");
}

#[tokio::test]
async fn what_nobody_approves_in_time_is_denied() {
    let brief = r#"{"policy_name": "brief", "allowed_tools": ["*/state"],
        "action_on_violation": "require_approval", "approval": {"within_s": 1}}"#;
    let (_mesh, hub, _user, session) = under(&[brief]).await;
    let error = session.call(1, "echo", "{}").await.unwrap_err();
    assert_eq!(error.reason, APPROVAL_TIMED_OUT);
    let one = &held(&hub, true).await[0];
    assert_eq!(one.state, ApprovalState::TimedOut);
    let late = answer(&hub, one, Choice::Approve, None).await.unwrap_err();
    assert_eq!(late.reason, APPROVAL_TIMED_OUT);
    hub.counted(APPROVAL_TIMED_OUT, 2).await;
}

#[tokio::test]
async fn only_those_whom_the_policy_names_approve_and_from_their_own_node() {
    let named = r#"{"policy_name": "named", "allowed_tools": ["*/state"],
        "action_on_violation": "require_approval", "approval": {"by": {"nodes": ["user"]}}}"#;
    let (mesh, hub, user, session) = under(&[named]).await;
    let other = mesh.join(&hub, "other").await;
    other.linked(hub.id()).await;
    let mut call = session.begin(1, "echo", "{}").await.unwrap();
    let one = &holds(&hub, 1).await[0];
    let own = answer(&hub, one, Choice::Approve, None).await.unwrap_err();
    assert_eq!(own.reason, "not_an_approver");
    hub.counted("not_an_approver", 1).await;
    // Who may not answer is not shown what is asked for either.
    let at_hub = || ApprovalQuery {
        node: Some(name("hub")),
        all: false,
    };
    assert!(other.node.held(at_hub()).await.unwrap().is_empty());
    let seen = user.node.held(at_hub()).await.unwrap();
    assert_eq!(seen[0].id, one.id);
    assert_eq!(seen[0].holder, "hub");

    // An answer that somebody else signs in the right name.
    let forged = protocol::approval::Answer {
        mesh: hub.status().await.mesh.id,
        approval: one.id,
        holder: hub.id(),
        arguments: one.arguments,
        by: user.id(),
        agent: protocol::name::Name::operator(),
        at: one.asked,
        choice: Choice::Approve,
        words: None,
        human: None,
    };
    let stranger = hedgerow_crypto::SigningKeys::generate(&hedgerow_crypto::Primitives).unwrap();
    let forged = forged
        .sign(&hedgerow_crypto::Primitives, &stranger)
        .unwrap();
    let refused = hub.node.held_calls().answer(&forged).await.unwrap_err();
    assert_eq!(refused.reason(), "unknown_key");

    let yes = AnswerApproval {
        approval: one.id.to_string(),
        node: Some(name("hub")),
        words: Some("yes".to_owned()),
        human: None,
    };
    let answered = user.node.answer_held(LOCAL, yes, Choice::Approve).await;
    assert_eq!(answered.unwrap().answers[0].node, "user");
    last(&mut call).await.unwrap();
}

#[tokio::test]
async fn every_policy_that_holds_a_call_wants_its_own_approval() {
    let second = r#"{"policy_name": "second", "tools": ["*/echo"],
        "approval": {"required": true, "by": {"nodes": ["user"]}}}"#;
    let (_mesh, hub, user, session) = under(&[ASK, second]).await;
    let mut call = session.begin(1, "echo", "{}").await.unwrap();
    let one = &holds(&hub, 1).await[0];
    assert_eq!(one.policies.len(), 2);
    let half = answer(&hub, one, Choice::Approve, None).await.unwrap();
    assert_eq!(half.state, ApprovalState::Pending);
    assert!(half.waiting, "{half:?}");
    let twice = answer(&hub, one, Choice::Approve, None).await.unwrap_err();
    assert_eq!(twice.reason, "approval_answered");
    let yes = AnswerApproval {
        approval: one.id.to_string(),
        node: Some(name("hub")),
        words: None,
        human: None,
    };
    let whole = user.node.answer_held(LOCAL, yes, Choice::Approve).await;
    assert_ne!(whole.unwrap().state, ApprovalState::Pending);
    last(&mut call).await.unwrap();
}

#[tokio::test]
async fn an_approval_lets_the_same_call_pass_once_and_no_other() {
    let (_mesh, hub, _user, session) = under(&[ASK]).await;
    let one = call_and_leave(&hub, &session, 1, r#"{"sum": 1}"#).await;
    approve(&hub, &one).await;
    assert_eq!(held(&hub, false).await[0].state, ApprovalState::Approved);
    // Other arguments, another agent.
    let mut other = session.begin(2, "echo", r#"{"sum": 2}"#).await.unwrap();
    assert!(is_held(&mut other).await.unwrap());
    drop(other);
    let another = _user.open("another", "hub", "bench").await.unwrap();
    let mut another = another.begin(1, "echo", r#"{"sum": 1}"#).await.unwrap();
    assert!(is_held(&mut another).await.unwrap());
    drop(another);
    // The same, written otherwise and with another progress token.
    let same = session.call(3, "echo", r#"{ "sum":1 }"#).await.unwrap();
    assert_eq!(same["result"]["echo"]["sum"], 1);
    let mut again = session.begin(4, "echo", r#"{"sum": 1}"#).await.unwrap();
    assert!(is_held(&mut again).await.unwrap());
}

#[tokio::test]
async fn a_repetition_takes_the_place_of_a_caller_that_left() {
    let (_mesh, hub, _user, session) = under(&[ASK]).await;
    let one = call_and_leave(&hub, &session, 1, "{}").await;
    let mut again = session.begin(2, "echo", "{}").await.unwrap();
    assert!(is_held(&mut again).await.unwrap());
    let all = held(&hub, false).await;
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!((all[0].id, all[0].waiting), (one.id, true));
    // A third at the same time is a call of its own.
    let mut third = session.begin(3, "echo", "{}").await.unwrap();
    assert!(is_held(&mut third).await.unwrap());
    assert_eq!(holds(&hub, 2).await.len(), 2);
    approve(&hub, &one).await;
    last(&mut again).await.unwrap();
    assert_eq!(held(&hub, false).await.len(), 1);
}

/// A client that lost its connection still waits at its node when it calls again.
#[tokio::test]
async fn the_same_call_in_another_session_takes_the_place_of_one_that_waits() {
    let (_mesh, hub, user, session) = under(&[ASK]).await;
    let mut lost = session.begin(1, "echo", "{}").await.unwrap();
    let one = holds(&hub, 1).await.remove(0);
    let anew = user.open("agent", "hub", "bench").await.unwrap();
    let mut again = anew.begin(1, "echo", "{}").await.unwrap();
    let told = last(&mut lost).await.unwrap_err();
    assert_eq!(told.reason, APPROVAL_TAKEN_OVER);
    hub.counted(APPROVAL_TAKEN_OVER, 1).await;
    drop(lost);
    let all = held(&hub, false).await;
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!((all[0].id, all[0].waiting), (one.id, true));
    // Another agent's is another call.
    let other = user.open("another", "hub", "bench").await.unwrap();
    let mut other = other.begin(1, "echo", "{}").await.unwrap();
    assert!(is_held(&mut other).await.unwrap());
    approve(&hub, &one).await;
    last(&mut again).await.unwrap();
    assert_eq!(holds(&hub, 1).await[0].agent, name("another"));
    let records = recorded(&hub).await;
    let taken = |d: &&Decision| d.reason.as_deref() == Some(APPROVAL_TAKEN_OVER);
    let taken = records.iter().find(taken).unwrap();
    assert_eq!(taken.approval.as_ref().map(|a| a.id), Some(one.id));
}

#[tokio::test]
async fn a_client_that_cancels_is_not_run_and_may_ask_again() {
    let (_mesh, hub, _user, session) = under(&[ASK]).await;
    let mut call = session.begin(1, "echo", "{}").await.unwrap();
    assert!(is_held(&mut call).await.unwrap());
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    call.outbound.send(cancel.into()).await.unwrap();
    until("nobody waits any more", || async {
        held(&hub, false).await.iter().all(|a| !a.waiting)
    })
    .await;
    let one = &held(&hub, false).await[0];
    approve(&hub, one).await;
    assert_eq!(held(&hub, false).await[0].state, ApprovalState::Approved);
    session.call(2, "echo", "{}").await.unwrap();
}

#[tokio::test]
async fn an_answer_counts_for_one_call_once() {
    let (_mesh, hub, _user, session) = under(&[ASK]).await;
    let one = call_and_leave(&hub, &session, 1, r#"{"sum": 1}"#).await;
    let two = call_and_leave(&hub, &session, 2, r#"{"sum": 2}"#).await;
    let calls = hub.node.held_calls();
    let sign = |id, holder, arguments| {
        calls
            .sign(id, holder, arguments, Choice::Approve, (None, None))
            .unwrap()
    };
    let crossed = sign(two.id, hub.id(), one.arguments);
    assert_eq!(
        calls.answer(&crossed).await,
        Err(ApprovalError::OtherArguments)
    );
    let elsewhere = sign(one.id, _user.id(), one.arguments);
    assert_eq!(
        calls.answer(&elsewhere).await,
        Err(ApprovalError::OtherHolder(_user.id()))
    );
    let mut id = [0; 16];
    hedgerow_crypto::Primitives.fill_random(&mut id).unwrap();
    let unknown = ApprovalId::from_bytes(id);
    let unknown = sign(unknown, hub.id(), one.arguments);
    let unknown = calls.answer(&unknown).await.unwrap_err();
    assert_eq!(unknown.reason(), "unknown_approval");

    let good = sign(one.id, hub.id(), one.arguments);
    calls.answer(&good).await.unwrap();
    session.call(3, "echo", r#"{"sum": 1}"#).await.unwrap();
    let replayed = calls.answer(&good).await.unwrap_err();
    assert_eq!(replayed, ApprovalError::Answered(ApprovalState::Used));
    hub.counted("approval_answered", 1).await;
    hub.counted("approval_mismatch", 1).await;
}

/// Who approves is to know what is called.
#[tokio::test]
async fn a_call_before_its_server_has_listed_its_tools_is_held_with_their_definition() {
    let (mesh, hub, user, bench) = starting().await;
    let session = user.open_at("agent", None, &bench).await.unwrap();
    let mut call = session.begin(1, "echo", "{}").await.unwrap();
    std::fs::write(mesh.file("listed"), "").unwrap();
    let held = holds(&hub, 1).await;
    approve(&hub, &held[0]).await;
    last(&mut call).await.unwrap();
}

/// An approval is not spent on a call that cannot pass.
#[tokio::test]
async fn a_call_of_a_tool_that_was_listed_while_it_was_held_leaves_its_approval() {
    let (mesh, hub, user, bench) = starting().await;
    let session = user.open_at("agent", None, &bench).await.unwrap();
    let mut call = session.begin(1, "echo", "{}").await.unwrap();
    let waits = holds(&hub, 1).await;
    std::fs::write(mesh.file("listed"), "").unwrap();
    hub.sees("hub", "bench").await;
    approve(&hub, &waits[0]).await;
    let refused = last(&mut call).await;
    let all = held(&hub, true).await;
    let entry = all.iter().find(|a| a.id == waits[0].id).unwrap();
    assert_ne!(entry.state, ApprovalState::Used, "{refused:?}");
}

/// A mesh of two whose server, at the first, says what it offers only once the file `listed` is there;
/// what is called is held.
async fn starting() -> (TestMesh, TestNode, TestNode, ServerRef) {
    let (mesh, hub) = TestMesh::found("hub").await;
    let user = mesh.join(&hub, "user").await;
    user.linked(hub.id()).await;
    put(&Admin::of(&hub.state), &[&hub, &user], &[ASK], 1).await;
    let listed = mesh.file("listed");
    let add = AddServer {
        name: name("bench"),
        spec: ServerSpec::Stdio {
            command: fixture::command(&["--listed", listed.to_str().unwrap()]),
            env: BTreeMap::new(),
            cwd: None,
        },
    };
    hub.node.add_server(LOCAL, add).await.unwrap();
    let bench = ServerRef {
        node_id: hub.id(),
        node: hub.status().await.node.name,
        server: name("bench"),
    };
    (mesh, hub, user, bench)
}

#[tokio::test]
async fn a_held_call_is_over_once_who_makes_it_is_revoked() {
    let (mesh, hub, user, session) = under(&[ASK]).await;
    let admin = Admin::of(&hub.state);
    // Nothing bars the others: an agent of that name on another node is another one.
    let other = mesh.join(&hub, "other").await;
    other.sees("hub", "bench").await;
    let theirs = other.open("agent", "hub", "bench").await.unwrap();
    let left = call_and_leave(&hub, &session, 1, r#"{"text": "left"}"#).await;
    let waiting = session.begin(2, "echo", r#"{"text": "waits"}"#);
    let mut waiting = waiting.await.unwrap();
    let of_other = theirs.begin(1, "echo", r#"{"text": "waits"}"#);
    let mut of_other = of_other.await.unwrap();
    holds(&hub, 3).await;

    let agent = Act::Agent {
        node: Some(user.id()),
        name: name("agent"),
    };
    admin.revoke(&hub, agent, "the test says so").await;
    let told = last(&mut waiting).await.unwrap_err();
    assert_eq!(told.reason, "agent_revoked", "{told:?}");
    let open = holds(&hub, 1).await;
    assert_eq!(open[0].node_id, other.id());
    let all = held(&hub, true).await;
    let over = |a: &&Approval| a.state == ApprovalState::Revoked && !a.waiting;
    assert_eq!(all.iter().filter(over).count(), 2, "{all:?}");
    for choice in [Choice::Approve, Choice::Deny] {
        let refused = answer(&hub, &left, choice, None).await.unwrap_err();
        assert_eq!(refused.reason, "approval_revoked");
        assert!(refused.hint.is_some(), "{refused:?}");
    }
    let ends = recorded(&hub).await;
    let ended = |d: &&Decision| {
        let of = d.approval.as_ref().is_some_and(|a| a.id == left.id);
        of && d.reason.as_deref() == Some("agent_revoked")
    };
    assert_eq!(ends.iter().filter(ended).count(), 1, "{ends:?}");

    // So of a call whose node is revoked between its being held and its being answered.
    admin
        .revoke(&hub, Act::Node(other.id()), "the test says so")
        .await;
    let refused = answer(&hub, &open[0], Choice::Approve, None).await;
    assert_eq!(refused.unwrap_err().reason, "approval_revoked");
    last(&mut of_other).await.unwrap_err();
}

#[tokio::test]
async fn callers_elsewhere_are_told_that_the_node_stops_which_holds_their_calls() {
    let (_mesh, hub, user, session) = under(&[ASK]).await;
    let mut waiting = session.begin(1, "echo", "{}").await.unwrap();
    holds(&hub, 1).await;
    hub.stop().await;
    let told = last(&mut waiting).await.unwrap_err();
    assert_eq!(told.reason, "node_stopping", "{told:?}");
    assert!(told.message.contains("made again"), "{told:?}");
    user.stop().await;
}

#[tokio::test]
async fn what_is_held_and_what_was_used_survive_a_restart() {
    let (mesh, hub) = TestMesh::found("hub").await;
    hub.attach_fixture("bench", &[]).await;
    put(&Admin::of(&hub.state), &[&hub], &[ASK], 1).await;
    let session = hub.open("agent", "hub", "bench").await.unwrap();
    let used = call_and_leave(&hub, &session, 1, r#"{"sum": 1}"#).await;
    approve(&hub, &used).await;
    session.call(2, "echo", r#"{"sum": 1}"#).await.unwrap();
    let mut waiting = session.begin(3, "echo", r#"{"sum": 2}"#).await.unwrap();
    assert!(is_held(&mut waiting).await.unwrap());
    let pending = holds(&hub, 1).await[0].clone();
    // A node that stops does not wait for those who wait.
    let state = hub.stop().await;
    let cut = last(&mut waiting).await.unwrap_err();
    assert_eq!(cut.reason, "node_stopping");

    let hub = TestNode::start(&state).await;
    hub.sees("hub", "bench").await;
    let all = held(&hub, true).await;
    assert_eq!(all.len(), 2, "{all:?}");
    let again = all.iter().find(|a| a.id == pending.id).unwrap();
    assert_eq!(
        (again.state, again.waiting),
        (ApprovalState::Pending, false)
    );
    approve(&hub, &pending).await;
    let session = hub.open("agent", "hub", "bench").await.unwrap();
    session.call(1, "echo", r#"{"sum": 2}"#).await.unwrap();
    for sum in [1, 2] {
        let arguments = format!(r#"{{"sum": {sum}}}"#);
        let mut call = session.begin(2 + sum, "echo", &arguments).await.unwrap();
        assert!(is_held(&mut call).await.unwrap(), "{sum}");
    }
    drop(mesh);
}

#[tokio::test]
async fn one_agent_holds_only_so_many_calls() {
    let (_mesh, hub, user, session) = under(&[ASK]).await;
    let mut calls = Vec::new();
    for id in 0..MAX_PENDING_PER_AGENT as u64 {
        let arguments = format!(r#"{{"n": {id}}}"#);
        let mut call = session.begin(id, "echo", &arguments).await.unwrap();
        assert!(is_held(&mut call).await.unwrap());
        calls.push(call);
    }
    let more = session.call(99, "echo", "{}").await.unwrap_err();
    assert_eq!(more.reason, APPROVALS_FULL);
    hub.counted(APPROVALS_FULL, 1).await;
    // Another agent has its own room, and so has this one once something was settled.
    let other = user.open("other", "hub", "bench").await.unwrap();
    let mut other = other.begin(1, "echo", "{}").await.unwrap();
    assert!(is_held(&mut other).await.unwrap());
    // Calls held in the same millisecond come in any order.
    let all = held(&hub, false).await;
    let one = all.iter().find(|one| one.agent.as_str() == "agent");
    answer(&hub, one.unwrap(), Choice::Deny, None)
        .await
        .unwrap();
    let mut room = session.begin(100, "echo", "{}").await.unwrap();
    assert!(is_held(&mut room).await.unwrap());
}

#[tokio::test]
async fn an_approved_call_is_judged_by_what_is_in_force_when_it_goes_on() {
    let (_mesh, hub, user, session) = under(&[ASK]).await;
    let admin = Admin::of(&hub.state);
    let one = call_and_leave(&hub, &session, 1, r#"{"sum": 1}"#).await;
    let two = call_and_leave(&hub, &session, 2, r#"{"sum": 2}"#).await;
    for held in [&one, &two] {
        approve(&hub, held).await;
    }
    // Others must approve now.
    let others = r#"{"policy_name": "ask", "allowed_tools": ["*/state"],
        "action_on_violation": "require_approval", "approval": {"by": {"nodes": ["user"]}}}"#;
    put(&admin, &[&hub, &user], &[others], 2).await;
    let outdated = session.call(3, "echo", r#"{"sum": 1}"#).await.unwrap_err();
    assert_eq!(outdated.reason, APPROVAL_OUTDATED);
    // And what is forbidden stays so.
    let forbid = r#"{"policy_name": "forbid", "restricted_intents": ["echo"]}"#;
    put(&admin, &[&hub, &user], &[ASK, forbid], 3).await;
    let denied = session.call(4, "echo", r#"{"sum": 2}"#).await.unwrap_err();
    assert_eq!(denied.reason, "intent_restricted");
}

#[tokio::test]
async fn a_relay_passes_on_what_the_far_end_holds() {
    let line = Line::build(LineOptions::default()).await;
    let (a, b, c) = (&line.a, &line.b, &line.c);
    let session = a.open("agent", "c", "fix").await.unwrap();
    put(&Admin::of(&b.state), &[b, a, c], &[ASK], 1).await;
    let mut call = session.begin(1, "echo", r#"{"sum": 1}"#).await.unwrap();
    assert!(is_held(&mut call).await.unwrap());
    let one = &holds(c, 1).await[0];
    for at in [a, b] {
        assert!(held(at, true).await.is_empty());
    }
    approve(c, one).await;
    let answer = last(&mut call).await.unwrap();
    assert_eq!(answer["result"]["echo"]["sum"], 1);
    for at in [a, b, c] {
        assert_eq!(at.refusals().await, BTreeMap::new());
    }
    line.stop().await;
}

/// A limit is over by itself: nobody need approve what exceeds it.
#[tokio::test]
async fn what_exceeds_a_limit_is_not_held() {
    let few = r#"{"policy_name": "few", "allowed_tools": ["*/*"],
        "limits": {"calls": 1, "window_s": 600}, "action_on_violation": "require_approval"}"#;
    let (_mesh, hub, _user, session) = under(&[few]).await;
    session.call(1, "echo", "{}").await.unwrap();
    let more = session.call(2, "echo", "{}").await.unwrap_err();
    assert_eq!(more.reason, node::enforcement::LIMIT_EXCEEDED);
    assert!(held(&hub, true).await.is_empty());
}

/// A mesh founded with the starter policy, whose node has not run yet.
fn founded() -> TestMesh {
    let mesh = TestMesh::empty();
    let founding = Founding {
        mesh: name("test"),
        node: name("hub"),
        groups: Vec::new(),
        site: None,
    };
    let admin = Passphrase::new(ADMIN_PASSPHRASE.to_owned().into()).unwrap();
    let policies = starter_bundle(&[]);
    setup::found_under(&mesh.state("hub"), &founding, &admin, Some(&policies)).unwrap();
    mesh
}

#[tokio::test]
async fn a_mesh_begins_with_the_policies_it_was_founded_with() {
    let mesh = founded();
    let hub = TestNode::start(&mesh.state("hub")).await;
    let version = |at: &Option<protocol::control::BundleInfo>| at.as_ref().map(|b| b.version);
    assert_eq!(version(&in_force(&hub).await.bundle), Some(1));
    assert!(!hub.state.join("founding.bundle").exists());
    hub.attach_fixture("bench", &[]).await;
    let user = mesh.join(&hub, "user").await;
    until("who joins has them", async || {
        version(&in_force(&user).await.bundle) == Some(1)
    })
    .await;
    let session = user.open("agent", "hub", "bench").await.unwrap();
    let mut call = session.begin(1, "echo", "{}").await.unwrap();
    assert!(is_held(&mut call).await.unwrap());
    drop(call);
    let hub = TestNode::start(&hub.stop().await).await;
    assert_eq!(version(&in_force(&hub).await.bundle), Some(1));
}

#[tokio::test]
async fn a_mesh_that_is_to_have_policies_does_not_run_without() {
    let mesh = founded();
    let file = mesh.state("hub").join("founding.bundle");
    let mut bytes = std::fs::read(&file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let clock = std::sync::Arc::new(SystemClock);
    let started = TestNode::try_start(&mesh.state("hub"), clock).await;
    let error = started.map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("was founded with"), "{error}");
}

#[tokio::test]
async fn what_a_founding_left_that_did_not_finish_is_not_in_the_way() {
    let mesh = TestMesh::empty();
    let state = mesh.state("hub");
    node::state_dir::StateDir::create(&state).unwrap();
    std::fs::write(state.join("founding.bundle"), "of another root").unwrap();
    mesh.found_at("hub");
    let hub = TestNode::start(&state).await;
    assert!(in_force(&hub).await.bundle.is_none());
}
