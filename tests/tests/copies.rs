//! Two copies of one node at once, on whole nodes over real QUIC: everybody who meets them says so, and
//! a node that was only restarted is not taken for two.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on should say where"
)]

use node::control::Operations as _;
use protocol::control::{Check, Level};
use tests::mesh::{TestMesh, TestNode, copy_state};
use tests::wait::until;

async fn copies(node: &TestNode) -> Check {
    let checks = node.node.doctor().await.unwrap();
    let mut found = checks.into_iter().filter(|check| check.name == "copies");
    found.next().unwrap()
}

async fn alarmed(node: &TestNode) {
    let alarmed = || async { copies(node).await.level == Level::Fail };
    until("doctor names the copy", alarmed).await;
}

#[tokio::test]
async fn two_copies_of_a_node_are_named_by_its_peer_and_by_both() {
    let (mesh, hub) = TestMesh::found("hub").await;
    let mut e = mesh.join(&hub, "e").await;
    // Started again and again it is one node.
    for _ in 0..4 {
        e = TestNode::start(&e.stop().await).await;
        e.linked(hub.id()).await;
    }
    assert_eq!(copies(&hub).await.level, Level::Ok);
    let state = e.stop().await;
    let copied = mesh.state("copy");
    copy_state(&state, &copied);
    let (one, two) = (
        TestNode::start(&state).await,
        TestNode::start(&copied).await,
    );
    alarmed(&hub).await;
    let named = copies(&hub).await.message;
    assert!(named.ends_with(": e"), "{named}");
    alarmed(&one).await;
    alarmed(&two).await;
    // The peer itself is no copy, and says so.
    assert!(!hub.node.links().is_copied());
}
