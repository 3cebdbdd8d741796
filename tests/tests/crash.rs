//! `kill -9`: what was acknowledged is there afterwards, the chain of decisions holds, and nothing
//! accepted before is accepted again.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use std::path::{Path, PathBuf};

use node::control::Operations as _;
use node::transport::StreamKind;
use protocol::id::SessionId;
use protocol::record::{DecisionRecord, GENESIS, chain_hash};
use serde_json::Value;
use tests::client::McpClient;
use tests::forge::{Parts, random};
use tests::hostile::{Heard, Hostile};
use tests::mesh::{INITIALIZE, TestMesh, TestNode, tool_call};
use tests::process::{Process, ran};
use tests::wait::until;

/// A node `tools` with the fixture as `bench` and an agent, stopped; and a member `mallory`.
async fn prepared() -> (TestMesh, PathBuf, String, Hostile) {
    let (mesh, tools) = TestMesh::found("tools").await;
    tools.attach_fixture("bench", &[]).await;
    let token = tools.token("someone").await;
    let mallory = Hostile::enter(&mesh.admit(&tools, "mallory").await);
    let state = tools.stop().await;
    (mesh, state, token, mallory)
}

async fn json(state: &Path, words: &[&str]) -> Value {
    let output = ran(state, &[&["--format", "json"], words].concat()).await;
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {complaint}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A client of a process's gateway with a session of its own.
async fn client(process: &Process, token: &str) -> McpClient {
    let url = process.status.gateway_url.clone().unwrap();
    McpClient::open_at(&format!("{url}/tools/bench"), token).await
}

/// Waits until a process that has just started knows the tools of its server.
async fn serves(state: &Path) {
    let ready = || async {
        let servers = json(state, &["server", "list"]).await;
        let servers = servers
            .as_array()
            .or(servers["servers"].as_array())
            .cloned();
        servers.unwrap()[0]["tools"].as_u64() > Some(0)
    };
    until("the server's tools are known", ready).await;
}

/// Every decision record of a node, in order, after checking that they form one chain.
fn chain(node: &TestNode) -> Vec<DecisionRecord> {
    let crypto = hedgerow_crypto::Primitives;
    let snapshot = node.node.store().snapshot().unwrap();
    let mut records = Vec::new();
    let mut previous = GENESIS;
    loop {
        let from = records.len() as u64;
        let page = snapshot.decisions(from..).unwrap();
        if page.is_empty() {
            return records;
        }
        for kept in page {
            let record = DecisionRecord::decode(&kept.bytes).unwrap();
            assert_eq!(record.sequence, records.len() as u64, "no gaps");
            assert_eq!(record.previous, previous, "record {}", record.sequence);
            previous = chain_hash(&crypto, &kept.bytes);
            assert_eq!(kept.hash, previous);
            records.push(record);
        }
    }
}

#[tokio::test]
async fn nothing_acknowledged_is_lost() {
    const ROUNDS: usize = 4;
    let (_mesh, state, token, _) = prepared().await;
    let mut agents = vec!["someone".to_owned()];
    let mut servers = vec!["bench".to_owned()];
    for round in 0..ROUNDS {
        let process = Process::start(&state).await;
        let agent = format!("agent-{round}");
        json(&state, &["agent", "add", &agent]).await;
        agents.push(agent);
        let server = format!("server-{round}");
        let sample = tests::fixture::binary("hedgerow");
        let sample = sample.to_str().unwrap();
        json(
            &state,
            &["server", "add", &server, "--", sample, "sample-server"],
        )
        .await;
        servers.push(server);
        // The last thing acknowledged before the end, with calls still coming in.
        serves(&state).await;
        let client = client(&process, &token).await;
        let calls = (1..=8).map(|n| client.post(tool_call(n, "echo", "{}")));
        let calls = futures::future::join_all(calls);
        let (answers, ()) = tokio::join!(calls, async {
            let agent = format!("late-{round}");
            json(&state, &["agent", "add", &agent]).await;
            agents.push(agent);
        });
        assert_eq!(answers.len(), 8);
        process.kill().await;
    }
    let node = TestNode::start(&state).await;
    agents.sort();
    servers.sort();
    let kept = node.node.agents().await.unwrap();
    let kept: Vec<String> = kept.into_iter().map(|a| a.name.to_string()).collect();
    assert_eq!(kept, agents);
    let kept = node.node.servers().await.unwrap();
    let kept: Vec<String> = kept.into_iter().map(|s| s.name.to_string()).collect();
    assert_eq!(kept, servers);
    // The token works still.
    node.sees("tools", "bench").await;
    let client = McpClient::open(&node, "/mcp/tools/bench", &token).await;
    assert_eq!(
        client.post(tool_call(1, "echo", "{}")).await.response()["id"],
        1
    );
    chain(&node);
}

/// Refusals are on disk before they are told. What was allowed is so with the next durable write
/// at the latest.
#[tokio::test]
async fn decisions_told_are_decisions_kept() {
    let (_mesh, state, token, mallory) = prepared().await;
    let process = Process::start(&state).await;
    serves(&state).await;
    let client = client(&process, &token).await;
    for n in 1..=5 {
        let answer = client.post(tool_call(n, "echo", "{}")).await;
        assert_eq!(answer.response()["id"], n);
    }
    json(&state, &["agent", "add", "barrier"]).await;
    let remote = process.status.listen.parse().unwrap();
    let target = process.status.node.id;
    mallory.links.dial(remote, Some(target)).await.unwrap();
    const DENIED: usize = 10;
    for _ in 0..DENIED {
        let session = SessionId::from_bytes(random());
        let draft = mallory.forge.first(target, "bench", session, INITIALIZE);
        let mut parts = Parts::of(&mallory.forge.seal(&draft).bytes);
        parts.signatures.truncate(1);
        let kind = StreamKind::Session;
        let told = mallory.refused(target, kind, &parts.join()).await;
        assert_eq!(told, "half_signed");
    }
    process.kill().await;
    let node = TestNode::start(&state).await;
    let records = chain(&node);
    let denied =
        |r: &&DecisionRecord| r.verdict == "deny" && r.reason.as_deref() == Some("half_signed");
    assert_eq!(records.iter().filter(denied).count(), DENIED);
    // Each call is decided on twice on its way out and in: sent and received.
    let called = |r: &&DecisionRecord| {
        let request = r.kind == Some(protocol::envelope::Kind::Request);
        r.verdict == "allow" && request && r.target.as_deref() == Some("echo")
    };
    assert_eq!(records.iter().filter(called).count(), 10);
}

#[tokio::test]
async fn replayed_after_kill() {
    let (_mesh, state, _, mallory) = prepared().await;
    let process = Process::start(&state).await;
    let remote = process.status.listen.parse().unwrap();
    let target = process.status.node.id;
    mallory.links.dial(remote, Some(target)).await.unwrap();
    let session = SessionId::from_bytes(random());
    let mut draft = mallory.forge.first(target, "bench", session, INITIALIZE);
    draft.header.cwt.exp = draft.header.cwt.iat.plus(60);
    let envelope = mallory.forge.seal(&draft).bytes;
    let kind = StreamKind::Session;
    let mut wire = mallory.stream(target, kind).await;
    wire.envelope(&envelope).await;
    assert!(matches!(wire.heard().await, Heard::Envelope(_)));
    process.kill().await;
    let node = TestNode::start(&state).await;
    // The dead link is noticed by its silence; a new one takes its place at once.
    let again = Hostile::enter(&_mesh.state("mallory"));
    drop(mallory);
    again.link(&node).await;
    let told = again.refused(target, kind, &envelope).await;
    assert_eq!(told, "issued_before_restart");
    node.counted("issued_before_restart", 1).await;
    // A new one passes as soon as the second that might have been reserved is over.
    let passes = || async {
        let session = SessionId::from_bytes(random());
        let draft = again.forge.first(target, "bench", session, INITIALIZE);
        let mut wire = again.stream(target, kind).await;
        wire.envelope(&again.forge.seal(&draft).bytes).await;
        matches!(wire.heard().await, Heard::Envelope(_))
    };
    until("the member is served again", passes).await;
}
