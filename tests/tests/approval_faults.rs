//! Approvals on nodes that are killed and on a disk that is really full: a held call runs at most once,
//! and an answer that was acknowledged is not lost.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use node::control::ApprovalOperations as _;
use node::setup::{self, Founding};
use protocol::approval::Choice;
use protocol::control::{AnswerApproval, Approval, ApprovalQuery, ApprovalState};
use serde_json::Value;
use tests::admin::{Admin, body_of, has_bundle};
use tests::client::McpClient;
use tests::disk::{Disk, Kind, in_namespace};
use tests::fixture;
use tests::mesh::{ADMIN_PASSPHRASE, LOCAL, Session, TestMesh, TestNode, name, tool_call};
use tests::process::{Process, ran};
use tests::wait::until;

/// `check_inventory` may be called, anything else is held.
const ASK: &str = r#"{"policy_name": "ask", "allowed_tools": ["*/check_inventory"],
    "action_on_violation": "require_approval"}"#;

/// Approvals given before the disk is full, of so many agents: some of what they need may still fit.
const AGENTS: usize = 12;

/// Of each agent; as many as one may have pending.
const OF_EACH: usize = node::approvals::MAX_PENDING_PER_AGENT;

async fn json(state: &Path, words: &[&str]) -> Value {
    let output = ran(state, &[&["--format", "json"], words].concat()).await;
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {complaint}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The calls that the server ran.
fn ran_calls(log: &Path) -> usize {
    std::fs::read_to_string(log).map_or(0, |text| text.lines().count())
}

/// The held calls by id, with their states.
async fn listed(state: &Path) -> BTreeMap<String, String> {
    let listed = json(state, &["approvals", "list", "--all"]).await;
    let of = |a: &Value, key: &str| a[key].as_str().unwrap().to_owned();
    let all = listed.as_array().unwrap().iter();
    all.map(|a| (of(a, "id"), of(a, "state"))).collect()
}

/// Waits until a process knows the tools of its server.
async fn serves(state: &Path) {
    until("the server's tools are known", || async {
        let servers = json(state, &["server", "list"]).await;
        servers[0]["tools"].as_u64() > Some(0)
    })
    .await;
}

async fn client(process: &Process, token: &str) -> McpClient {
    let url = process.status.gateway_url.clone().unwrap();
    McpClient::open_at(&format!("{url}/tools/bench"), token).await
}

/// A node `tools` with the shop as `bench`, whose calls are held, and a token of an agent; stopped.
async fn prepared(mesh: &TestMesh, tools: TestNode, log: &Path) -> (PathBuf, String) {
    tools.attach("bench", fixture::shop(log)).await;
    let admin = Admin::of(&mesh.state("tools"));
    admin.put(&tools, &body_of(&[ASK])).await;
    has_bundle(&tools, 1).await;
    let token = tools.token("someone").await;
    (tools.stop().await, token)
}

/// Killed after each thing that was told: that a call is held, that it is approved, its answer.
#[tokio::test]
async fn killed_after_every_word() {
    let (mesh, tools) = TestMesh::found("tools").await;
    let log = mesh.file("log");
    let (state, token) = prepared(&mesh, tools, &log).await;
    let call = || tool_call(1, "update_price", r#"{"sku": "HR-1001"}"#);

    let process = Process::start(&state).await;
    serves(&state).await;
    let waiting = client(&process, &token).await;
    // Its head comes with the first progress: the call is held and its client told so.
    let held = waiting.send(call()).await;
    until("the call is held", || async {
        listed(&state).await.len() == 1
    })
    .await;
    process.kill().await;
    drop(held);

    let process = Process::start(&state).await;
    let all = listed(&state).await;
    let (id, pending) = all.first_key_value().unwrap();
    assert_eq!((all.len(), pending.as_str()), (1, "pending"));
    json(&state, &["approvals", "approve", id]).await;
    process.kill().await;

    let process = Process::start(&state).await;
    assert_eq!(listed(&state).await[id], "approved", "it was acknowledged");
    assert_eq!(ran_calls(&log), 0);
    serves(&state).await;
    let again = client(&process, &token).await;
    let answer = again.post(call()).await.response();
    assert_eq!(answer["result"]["called"], "update_price", "{answer}");
    process.kill().await;

    let process = Process::start(&state).await;
    assert_eq!(listed(&state).await[id], "used");
    serves(&state).await;
    let third = client(&process, &token).await;
    let held = third.send(call()).await;
    until("the call is held", || async {
        listed(&state).await.len() == 2
    })
    .await;
    assert_eq!(ran_calls(&log), 1, "one approval, one call");
    process.kill().await;
    drop(held);
}

/// A mesh whose first node's state is on this disk.
fn founded(disk: &Disk) -> PathBuf {
    let state = disk.path("host");
    let mut builder = std::fs::DirBuilder::new();
    builder.mode(0o700).create(&state).unwrap();
    let founding = Founding {
        mesh: name("test"),
        node: name("tools"),
        groups: Vec::new(),
        site: None,
    };
    let phrase = ADMIN_PASSPHRASE.to_owned().into();
    let phrase = node::keys::passphrase::Passphrase::new(phrase).unwrap();
    setup::found(&state, &founding, &phrase).unwrap();
    state
}

async fn held(at: &TestNode) -> Vec<Approval> {
    let query = ApprovalQuery {
        node: None,
        all: true,
    };
    at.node.held(query).await.unwrap()
}

/// The arguments of an agent's call of this number.
fn arguments(number: usize) -> String {
    format!(r#"{{"n": {number}}}"#)
}

/// Has every call held and approved, nobody waiting for it.
async fn approve_all(tools: &TestNode, sessions: &[Session]) {
    for session in sessions {
        for number in 0..OF_EACH {
            let call = session
                .begin(number as u64, "update_price", &arguments(number))
                .await;
            let mut pending = Vec::new();
            until("the call is held", || async {
                let all = held(tools).await;
                all.iter().any(|a| a.state == ApprovalState::Pending)
            })
            .await;
            drop(call);
            until("the caller has left", || async {
                held(tools).await.iter().all(|a| !a.waiting)
            })
            .await;
            pending.extend(held(tools).await);
            pending.retain(|a| a.state == ApprovalState::Pending);
            let answer = AnswerApproval {
                approval: pending[0].id.to_string(),
                node: None,
                words: None,
                human: None,
            };
            let answered = tools.node.answer_held(LOCAL, answer, Choice::Approve);
            assert_eq!(answered.await.unwrap().state, ApprovalState::Approved);
        }
    }
}

#[tokio::test]
async fn an_approval_that_the_disk_does_not_take_lets_nothing_run() {
    if !in_namespace("an_approval_that_the_disk_does_not_take_lets_nothing_run") {
        return;
    }
    let disk = Disk::mount(Kind::Memory).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let log = elsewhere.path().join("log");
    let state = founded(&disk);
    let tools = TestNode::start(&state).await;
    tools.attach("bench", fixture::shop(&log)).await;
    let admin = Admin::of(&state);
    admin.put(&tools, &body_of(&[ASK])).await;
    has_bundle(&tools, 1).await;
    let mut sessions = Vec::new();
    for number in 0..AGENTS {
        let agent = format!("agent-{number}");
        sessions.push(tools.open(&agent, "tools", "bench").await.unwrap());
    }
    approve_all(&tools, &sessions).await;

    disk.fill();
    let all = (0..AGENTS).flat_map(|agent| (0..OF_EACH).map(move |number| (agent, number)));
    let mut passed = Vec::new();
    let mut refused = None;
    for (agent, number) in all {
        let session = &sessions[agent];
        let called = session
            .call(100 + number as u64, "update_price", &arguments(number))
            .await;
        match called {
            Ok(_) => passed.push((agent, number)),
            Err(error) => {
                refused = Some(((agent, number), error));
                break;
            }
        }
    }
    let (stopped_at, refused) = refused.expect("the disk is full");
    assert_eq!(refused.reason, "store_unavailable", "{refused:?}");
    assert_eq!(
        ran_calls(&log),
        passed.len(),
        "what was refused did not run"
    );
    drop(sessions);
    let failed = tools.failed().await;
    assert!(failed.contains("no space is left"), "{failed}");

    disk.free();
    let tools = TestNode::start(&state).await;
    let states = held(&tools).await;
    let used = states.iter().filter(|a| a.state == ApprovalState::Used);
    // The one refused may have been used up all the same; then it did not run and will not.
    assert!([passed.len(), passed.len() + 1].contains(&used.count()));
    let open = states.iter().filter(|a| a.state == ApprovalState::Approved);
    let left = AGENTS * OF_EACH - passed.len();
    assert!(
        [left, left - 1].contains(&open.count()),
        "no answer is lost"
    );
    let (agent, number) = passed.first().copied().unwrap_or(stopped_at);
    let session = tools
        .open(&format!("agent-{agent}"), "tools", "bench")
        .await;
    let call = session.unwrap();
    let again = call.begin(1, "update_price", &arguments(number)).await;
    if !passed.is_empty() {
        until("it is held again", || async {
            let all = held(&tools).await;
            all.iter().any(|a| a.state == ApprovalState::Pending)
        })
        .await;
        assert_eq!(ran_calls(&log), passed.len(), "one approval, one call");
    }
    drop(again);
    tools.stop().await;
}
