//! A disk that is really full and a file system that is really read-only: nothing is acknowledged
//! that is not kept, nothing acknowledged is lost, the operator is told what to do, and it helps.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a test that cannot go on should say where"
)]

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use node::enforcement::{Incoming, Origin, Subject};
use node::session::ErrorKind;
use node::setup::{self, Founding};
use protocol::envelope::Direction;
use protocol::id::SessionId;
use protocol::record::Point;
use serde_json::Value;
use tests::client::McpClient;
use tests::disk::{Disk, Kind, in_namespace};
use tests::fixture;
use tests::forge::random;
use tests::hostile::Hostile;
use tests::mesh::{INITIALIZE, TestMesh, TestNode, name, tool_call};
use tests::process::{Process, complained, ran};
use tests::wait::until;

const RUN: [&str; 5] = ["run", "--listen", "127.0.0.1:0", "--gateway", "127.0.0.1:0"];

/// Agents to add until the disk is found full; far fewer do.
const MANY: usize = 500;

/// Calls to make until it is.
const CALLS: u64 = 5_000;

/// A mesh whose first node's state is on this disk.
fn founded(disk: &Disk) -> PathBuf {
    let state = disk.path("host");
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(&state)
        .unwrap();
    let founding = Founding {
        mesh: name("test"),
        node: name("tools"),
        groups: Vec::new(),
        site: None,
    };
    let admin =
        node::keys::passphrase::Passphrase::new(tests::mesh::ADMIN_PASSPHRASE.to_owned().into());
    setup::found(&state, &founding, &admin.unwrap()).unwrap();
    state
}

async fn json(state: &Path, words: &[&str]) -> Value {
    let output = ran(state, &[&["--format", "json"], words].concat()).await;
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {complaint}");
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn agents(state: &Path) -> Vec<String> {
    let listed = json(state, &["agent", "list"]).await;
    let listed = listed.as_array().or(listed["agents"].as_array()).cloned();
    let names = listed.unwrap().into_iter();
    names
        .map(|agent| agent["name"].as_str().unwrap().to_owned())
        .collect()
}

/// A call through a process's gateway is answered.
async fn serves(process: &Process, state: &Path, token: &str) {
    let ready = || async {
        let servers = json(state, &["server", "list"]).await;
        let servers = servers
            .as_array()
            .or(servers["servers"].as_array())
            .cloned();
        servers.unwrap()[0]["tools"].as_u64() > Some(0)
    };
    until("the server's tools are known", ready).await;
    let url = process.status.gateway_url.clone().unwrap();
    let client = McpClient::open_at(&format!("{url}/tools/bench"), token).await;
    let answer = client.post(tool_call(1, "echo", "{}")).await.response();
    assert_eq!(answer["id"], 1, "{answer}");
}

/// The node does not start, and says why and what to do.
async fn does_not_start(state: &Path, why: &[&str], how: &[&str]) {
    let output = ran(state, &RUN).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    complained(&said, why, how);
}

/// A node whose disk fills while it runs, until it is free again.
async fn fills(disk: &Disk) {
    let state = founded(disk);
    let process = Process::start(&state).await;
    let token = json(&state, &["agent", "add", "someone"]).await;
    let token = token["token"].as_str().unwrap().to_owned();
    let command = fixture::command(&[]);
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let words = [&["server", "add", "bench", "--"], command.as_slice()].concat();
    json(&state, &words).await;
    serves(&process, &state, &token).await;

    disk.fill();
    let mut acknowledged = vec!["someone".to_owned()];
    let refused = loop {
        let agent = format!("agent-{}", acknowledged.len());
        let added = ran(&state, &["agent", "add", &agent]).await;
        if !added.status.success() {
            break String::from_utf8(added.stderr).unwrap();
        }
        acknowledged.push(agent);
        assert!(acknowledged.len() < MANY, "the disk is not full");
    };
    complained(
        &refused,
        &["[store_failed]", "no space is left"],
        &["free space", "start the node again"],
    );
    // A node that cannot record does not serve: it ends by itself, as failed.
    let (code, said) = process.ended().await;
    assert_eq!(code, Some(1), "{said}");
    complained(&said, &["the store failed", "no space"], &["free space"]);

    disk.free();
    let process = Process::start(&state).await;
    let kept = agents(&state).await;
    for agent in &acknowledged {
        assert!(kept.contains(agent), "`{agent}` was acknowledged: {kept:?}");
    }
    // The one refused may have been written all the same; nobody was given its token.
    assert!(kept.len() <= acknowledged.len() + 1, "{kept:?}");
    serves(&process, &state, &token).await;
    process.kill().await;
}

#[tokio::test]
async fn a_disk_that_fills() {
    if !in_namespace("a_disk_that_fills") {
        return;
    }
    let mut filled = 0;
    for kind in [Kind::Memory, Kind::Ext4] {
        match Disk::mount(kind) {
            Some(disk) => {
                fills(&disk).await;
                filled += 1;
            }
            None => println!("not on {kind:?}: it cannot be mounted here"),
        }
    }
    assert!(filled >= 1);
}

/// Why an envelope that could begin a call is refused by the node now.
async fn late(tools: &TestNode, peer: &Hostile) -> String {
    let session = SessionId::from_bytes(random());
    let draft = peer.forge.first(tools.id(), "bench", session, INITIALIZE);
    let origin = Origin {
        peer: peer.id(),
        address: None,
    };
    let subject = Subject::Incoming(Incoming {
        bytes: &peer.forge.seal(&draft).bytes,
        records: &[],
        origin: &origin,
        direction: Direction::ToServer,
        path: None,
        stream: None,
        within: None,
        awaited: &|_| None,
    });
    let refused = tools.node.enforcer().enforce(Point::Egress, subject).await;
    refused.unwrap_err().reason().to_owned()
}

/// The callers on another node are told by name, and served again once there is space.
#[tokio::test]
async fn a_full_disk_as_peers_meet_it() {
    if !in_namespace("a_full_disk_as_peers_meet_it") {
        return;
    }
    let disk = Disk::mount(Kind::Memory).unwrap();
    let state = founded(&disk);
    let tools = TestNode::start(&state).await;
    tools.attach_fixture("bench", &[]).await;
    let mesh = TestMesh::empty();
    let agent = mesh.join(&tools, "agent").await;
    let mallory = Hostile::enter(&mesh.admit(&tools, "mallory").await);
    mallory.link(&tools).await;
    let session = agent.open("someone", "tools", "bench").await.unwrap();
    session.call(1, "echo", "{}").await.unwrap();
    disk.fill();
    let mut refused = None;
    for id in 2..CALLS {
        match session.call(id, "echo", "{}").await {
            Ok(answer) => assert_eq!(answer["id"], id),
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    let refused = refused.expect("the disk is full");
    // The first that could not be recorded, one that came while the node stopped over it, or one
    // whose session had ended for it: then nobody claims to know whether it took effect.
    let reasons = ["store_unavailable", "node_stopping"];
    let unknown = refused
        .hint
        .as_deref()
        .is_some_and(|h| h.contains("not known"));
    let broken = refused.kind == ErrorKind::BrokenStream && unknown;
    assert!(broken || reasons.contains(&&*refused.reason), "{refused:?}");
    assert_eq!(refused.node.as_deref(), Some("tools"));
    assert_eq!(late(&tools, &mallory).await, "store_unavailable");
    let stopped = tools.failed().await;
    assert!(stopped.contains("no space is left"), "{stopped}");

    disk.free();
    let tools = TestNode::start(&state).await;
    agent.linked(tools.id()).await;
    let again = || async {
        let session = agent.open("someone", "tools", "bench").await;
        let Ok(session) = session else { return false };
        session.call(1, "echo", "{}").await.is_ok()
    };
    until("the node serves again", again).await;
}

#[tokio::test]
async fn a_read_only_file_system() {
    if !in_namespace("a_read_only_file_system") {
        return;
    }
    let disk = Disk::mount(Kind::Memory).unwrap();
    let state = founded(&disk);
    disk.read_only();
    let why = [state.to_str().unwrap(), "ead-only file system"];
    does_not_start(&state, &why, &["mount it writable"]).await;
    disk.writable();
    Process::start(&state).await.kill().await;
    // With a store that is there already.
    disk.read_only();
    does_not_start(&state, &why, &["mount it writable"]).await;
    disk.writable();
    Process::start(&state).await.kill().await;
}
