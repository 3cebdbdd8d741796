//! Decision records are kept as long as configured; what is kept is one chain, before and after a
//! restart, and a call is recorded at its end as ever.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use node::control::Operations as _;
use node::store::Write;
use protocol::control::DecisionQuery;
use protocol::id::Digest;
use protocol::record::{DecisionRecord, GENESIS, Point, chain_hash};
use protocol::time::UnixMillis;
use tests::forge::now;
use tests::mesh::{TestMesh, TestNode};

const MIB: u64 = 1024 * 1024;

/// Bytes of text in one record made here, so that a mebibyte is few of them.
const FILLER: usize = 7 * 1024;

fn configure(state: &Path, text: &str) {
    let path = state.join("config.toml");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
}

/// Appends a decision of this age to what the node has.
async fn decided(node: &TestNode, age_days: u64) {
    let day_ms = 24 * 60 * 60 * 1000;
    let id = node.id();
    let time = UnixMillis(now().0 * 1000 - age_days * day_ms);
    let make = move |sequence, previous| {
        let record = DecisionRecord {
            sequence,
            previous,
            time,
            node: id,
            point: Point::Egress,
            envelope: None,
            request: None,
            issuer: id,
            agent: None,
            audience: None,
            server: None,
            kind: None,
            direction: None,
            method: None,
            target: Some("x".repeat(FILLER)),
            verdict: "allow".to_owned(),
            reason: None,
            policy: None,
            bundle_version: 0,
            body_digest: None,
            stands_for: None,
            alerts: None,
            observed: None,
            approval: None,
            basis: None,
        };
        let bytes = record.encode();
        let hash = chain_hash(&hedgerow_crypto::Primitives, &bytes);
        (bytes, hash)
    };
    let write = Write::Decision(Box::new(make));
    node.node.store().lazy(write).await.unwrap();
}

/// The records kept and their bytes, after checking that they are one chain from the prune point.
fn kept(node: &TestNode) -> (Vec<DecisionRecord>, u64) {
    let snapshot = node.node.store().snapshot().unwrap();
    let point = snapshot.prune_point().unwrap();
    let mut next = point.map_or(0, |p| p.sequence + 1);
    let mut previous = point.map_or(GENESIS, |p| p.hash);
    let (mut records, mut bytes) = (Vec::new(), 0);
    loop {
        let page = snapshot.decisions(next..).unwrap();
        if page.is_empty() {
            return (records, bytes);
        }
        for stored in page {
            let record = DecisionRecord::decode(&stored.bytes).unwrap();
            assert_eq!((record.sequence, record.previous), (next, previous));
            previous = chain_hash(&hedgerow_crypto::Primitives, &stored.bytes);
            next += 1;
            bytes += (stored.bytes.len() + Digest::LEN) as u64;
            records.push(record);
        }
    }
}

async fn serves(node: &TestNode) {
    let session = node.open("someone", "tools", "bench").await.unwrap();
    let answer = session.call(1, "echo", "{}").await.unwrap();
    assert_eq!(answer["id"], 1);
    session.close().await;
}

#[tokio::test]
async fn the_oldest_records_go_by_size_and_the_rest_is_one_chain() {
    let mesh = TestMesh::empty();
    mesh.found_at("tools");
    let state = mesh.state("tools");
    configure(&state, "[decisions]\nmax_mib = 1\n");
    let tools = TestNode::start(&state).await;
    tools.attach_fixture("bench", &[]).await;
    let records = 2 * MIB / FILLER as u64;
    for _ in 0..records {
        decided(&tools, 0).await;
    }
    tools.node.store().flush().await.unwrap();
    let (all, before) = kept(&tools);
    assert!(all.len() as u64 >= records && before > 2 * MIB);
    // The node does so by itself too, every minute.
    tools.node.prune_decisions().await.unwrap();
    let (rest, bytes) = kept(&tools);
    assert!(all.ends_with(&rest), "only the oldest went");
    assert!(bytes <= MIB, "{bytes}");
    assert!(
        bytes > MIB - 2 * FILLER as u64,
        "no more than it takes: {bytes}"
    );
    assert_eq!(tools.node.prune_decisions().await.unwrap(), 0);
    // What operators see goes on.
    let status = tools.status().await;
    assert_eq!(status.store.decisions, rest.len() as u64);
    let query = DecisionQuery {
        limit: None,
        before: Some(rest[0].sequence + 1),
    };
    let shown = tools.node.decisions(query).await.unwrap();
    assert_eq!(shown.len(), 1, "there is nothing before the first kept");
    serves(&tools).await;

    let state = tools.stop().await;
    let tools = TestNode::start(&state).await;
    let (again, _) = kept(&tools);
    assert!(again.last().unwrap().sequence > rest.last().unwrap().sequence);
    serves(&tools).await;
}

#[tokio::test]
async fn records_past_their_age_go() {
    let mesh = TestMesh::empty();
    mesh.found_at("tools");
    let state = mesh.state("tools");
    configure(&state, "[decisions]\nkeep_days = 7\n");
    let tools = TestNode::start(&state).await;
    for age in [30, 8, 6, 0] {
        decided(&tools, age).await;
    }
    // Until it has accepted anything the node has only the local clock, which might be ahead.
    assert_eq!(tools.node.prune_decisions().await.unwrap(), 0);
    tools.attach_fixture("bench", &[]).await;
    serves(&tools).await;
    tools.node.prune_decisions().await.unwrap();
    let (rest, _) = kept(&tools);
    assert_eq!(rest[0].sequence, 2);
    assert_eq!(tools.node.prune_decisions().await.unwrap(), 0);
}
