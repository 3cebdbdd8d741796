//! Peers that must not become peers, against a whole node: each is told why, counted in status,
//! and noticed by nobody who is one already.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use std::sync::Arc;

use hedgerow_crypto::{Primitives, TlsIdentity};
use node::setup;
use node::state_dir::StateDir;
use node::transport::{LinkError, Reason, StreamKind};
use protocol::id::SessionId;
use protocol::trust::Membership;
use quinn::{Connection, ConnectionError, VarInt};
use tests::forge::{now, random};
use tests::hostile::{Hostile, Wire};
use tests::mesh::{INITIALIZE, TestMesh};
use tests::stage::Stage;
use tests::stranger::{CLASSICAL, HYBRID, admitted, connect, refusal};
use tests::wait::{soon, until};

fn stranger() -> Arc<TlsIdentity> {
    Arc::new(TlsIdentity::generate(&Primitives).unwrap())
}

fn closed_with(error: &ConnectionError, reason: Reason) -> bool {
    matches!(error, ConnectionError::ApplicationClosed(close)
        if close.error_code == VarInt::from_u32(reason as u32))
}

/// The node has only the links of the stage still, and they work.
async fn only_members(stage: Stage) {
    assert_eq!(stage.tools.status().await.links, 2);
    stage.undisturbed().await;
}

/// Ends a member's connection and waits until the node has seen it.
async fn gone(stage: &Stage, member: &Hostile, connection: &Connection) {
    connection.close(VarInt::from_u32(0), b"");
    let gone = || async { stage.tools.node.links().get(member.id()).is_none() };
    until("the member is gone", gone).await;
}

#[tokio::test]
async fn a_classical_peer() {
    let stage = Stage::set().await;
    let told = refusal(connect(&stage.tools, CLASSICAL, Some(stranger())).await).await;
    // A TLS alert: there is no connection yet to close with a code of ours.
    assert!(
        matches!(told, ConnectionError::ConnectionClosed(_)),
        "{told:?}"
    );
    stage.tools.counted("classical_peer", 1).await;
    only_members(stage).await;
}

#[tokio::test]
async fn an_anonymous_peer() {
    let stage = Stage::set().await;
    let told = refusal(connect(&stage.tools, HYBRID, None).await).await;
    assert!(
        matches!(told, ConnectionError::ConnectionClosed(_)),
        "{told:?}"
    );
    stage.tools.counted("anonymous_peer", 1).await;
    only_members(stage).await;
}

#[tokio::test]
async fn a_peer_of_another_mesh() {
    let stage = Stage::set().await;
    let elsewhere = TestMesh::empty();
    elsewhere.found_at("elsewhere");
    let foreigner = Hostile::enter(&elsewhere.state("elsewhere"));
    let told = foreigner.dial(&stage.tools).await.unwrap_err();
    let LinkError::NotAdmittedByPeer(refusal) = told else {
        panic!("{told:?}");
    };
    assert_eq!(refusal.reason, "foreign_mesh");
    stage.tools.counted("not_admitted", 1).await;
    stage.tools.counted("not_admitted/foreign_mesh", 1).await;
    only_members(stage).await;
}

/// A member whose membership says otherwise than the founder issued it.
async fn issued_otherwise(
    stage: &Stage,
    host: &str,
    change: impl FnOnce(&mut Membership),
) -> Hostile {
    let state = stage.mesh.admit(&stage.tools, host).await;
    let dir = StateDir::open(&state).unwrap();
    let mut membership = setup::load(&dir).unwrap().membership().content().clone();
    change(&mut membership);
    let founder = StateDir::open(&stage.tools.state).unwrap();
    let issuer = setup::issuer(&founder).unwrap().unwrap();
    let signed = membership.sign(&Primitives, &issuer).unwrap();
    std::fs::write(dir.membership(), &signed).unwrap();
    Hostile::enter(&state)
}

async fn not_admitted(stage: &Stage, peer: &Hostile, reason: &str) {
    let told = peer.dial(&stage.tools).await.unwrap_err();
    let LinkError::NotAdmittedByPeer(refusal) = told else {
        panic!("{told:?}");
    };
    assert_eq!(refusal.reason, reason);
    let counter = format!("not_admitted/{reason}");
    stage.tools.counted(&counter, 1).await;
}

#[tokio::test]
async fn a_membership_that_is_over() {
    let stage = Stage::set().await;
    let over = |m: &mut Membership| {
        m.not_before = now().minus(3600);
        m.not_after = now().minus(1);
    };
    let eve = issued_otherwise(&stage, "eve", over).await;
    not_admitted(&stage, &eve, "membership_expired").await;
    only_members(stage).await;
}

#[tokio::test]
async fn a_membership_that_is_yet_to_come() {
    let stage = Stage::set().await;
    let early = |m: &mut Membership| {
        m.not_before = now().plus(3600);
        m.not_after = now().plus(7200);
    };
    let eve = issued_otherwise(&stage, "eve", early).await;
    not_admitted(&stage, &eve, "membership_not_yet_valid").await;
    only_members(stage).await;
}

/// A link outlives the membership it was admitted with; nothing said on it does.
#[tokio::test]
async fn a_membership_that_ends_while_the_link_is_up() {
    let stage = Stage::set().await;
    let short = |m: &mut Membership| m.not_after = now().plus(3);
    let eve = issued_otherwise(&stage, "eve", short).await;
    eve.link(&stage.tools).await;
    let over = || async {
        let session = SessionId::from_bytes(random());
        let draft = eve
            .forge
            .first(stage.target(), "bench", session, INITIALIZE);
        let envelope = eve.forge.seal(&draft).bytes;
        let Ok((send, recv)) = eve.links.open(stage.target(), StreamKind::Session).await else {
            // That the link itself is closed is as good.
            return true;
        };
        let mut wire = Wire::of(send, recv);
        wire.envelope(&envelope).await;
        wire.refusal().await == "unknown_issuer"
    };
    until("the member is one no more", over).await;
    stage.undisturbed().await;
}

/// A key of nobody, with the hello of a member.
#[tokio::test]
async fn a_stolen_hello() {
    let stage = Stage::set().await;
    let identity = &stage.mallory.forge.identity;
    let connection = connect(&stage.tools, HYBRID, Some(stranger()))
        .await
        .unwrap();
    let hello = tests::stranger::hello(identity);
    let (mut send, _recv) = soon(connection.open_bi()).await.unwrap();
    send.write_all(&hello).await.unwrap();
    let told = soon(connection.closed()).await;
    assert!(closed_with(&told, Reason::NotAdmitted), "{told:?}");
    stage.tools.counted("not_admitted", 1).await;
    only_members(stage).await;
}

#[tokio::test]
async fn libp2p_streams_before_hello() {
    let stage = Stage::set().await;
    let connection = connect(&stage.tools, HYBRID, Some(stranger()))
        .await
        .unwrap();
    let (mut send, _recv) = soon(connection.open_bi()).await.unwrap();
    send.write_all(b"\x13/multistream/1.0.0\n").await.unwrap();
    let told = soon(connection.closed()).await;
    assert!(closed_with(&told, Reason::StreamBeforeHello), "{told:?}");
    stage.tools.counted("stream_before_hello", 1).await;
    only_members(stage).await;
}

#[tokio::test]
async fn calls_before_hello() {
    let stage = Stage::set().await;
    let connection = connect(&stage.tools, HYBRID, Some(stranger()))
        .await
        .unwrap();
    let (mut send, _recv) = soon(connection.open_bi()).await.unwrap();
    send.write_all(&[0, 1]).await.unwrap();
    let told = soon(connection.closed()).await;
    assert!(closed_with(&told, Reason::StreamBeforeHello), "{told:?}");
    stage.tools.counted("stream_before_hello", 1).await;
    only_members(stage).await;
}

#[tokio::test]
async fn never_hello() {
    let stage = Stage::set().await;
    let connection = connect(&stage.tools, HYBRID, Some(stranger()))
        .await
        .unwrap();
    let told = soon(connection.closed()).await;
    assert!(closed_with(&told, Reason::HelloTimeout), "{told:?}");
    stage.tools.counted("hello_timeout", 1).await;
    only_members(stage).await;
}

#[tokio::test]
async fn a_hello_without_end() {
    let stage = Stage::set().await;
    let connection = connect(&stage.tools, HYBRID, Some(stranger()))
        .await
        .unwrap();
    let (mut send, _recv) = soon(connection.open_bi()).await.unwrap();
    let head = [&[0, 0], [7; 8].as_slice(), &[0xff; 4]].concat();
    send.write_all(&head).await.unwrap();
    let told = soon(connection.closed()).await;
    assert!(closed_with(&told, Reason::HelloTooLarge), "{told:?}");
    stage.tools.counted("hello_too_large", 1).await;
    only_members(stage).await;
}

/// A member that opens streams of no known kind without end loses its link, and only it.
#[tokio::test]
async fn streams_without_end() {
    let stage = Stage::set().await;
    let state = stage.mesh.admit(&stage.tools, "eve").await;
    let eve = Hostile::enter(&state);
    let connection = admitted(&stage.tools, &eve.forge.identity).await;
    stage.tools.linked(eve.id()).await;
    let opening = async {
        loop {
            let Ok((mut send, recv)) = connection.open_bi().await else {
                return;
            };
            if send.write_all(&[0, 99]).await.is_err() {
                return;
            }
            drop((send, recv));
        }
    };
    soon(opening).await;
    let told = soon(connection.closed()).await;
    assert!(closed_with(&told, Reason::StreamFlood), "{told:?}");
    stage.tools.counted("stream_flood", 1).await;
    let counted = stage.tools.refusals().await;
    assert!(counted["unknown_stream_kind"] >= 1, "{counted:?}");
    only_members(stage).await;
}

/// Streams opened and left silent are cut, one by one.
#[tokio::test]
async fn silent_streams() {
    let stage = Stage::set().await;
    let state = stage.mesh.admit(&stage.tools, "eve").await;
    let eve = Hostile::enter(&state);
    let connection = admitted(&stage.tools, &eve.forge.identity).await;
    stage.tools.linked(eve.id()).await;
    let (mut send, _recv) = soon(connection.open_bi()).await.unwrap();
    // A stream exists for the other side once something is on it.
    send.write_all(&[0]).await.unwrap();
    let stopped = soon(send.stopped()).await.unwrap();
    assert_eq!(stopped, Some(Reason::SilentStream.code()));
    stage.tools.counted("silent_stream", 1).await;
    gone(&stage, &eve, &connection).await;
    only_members(stage).await;
}

#[tokio::test]
async fn hello_again() {
    let stage = Stage::set().await;
    let state = stage.mesh.admit(&stage.tools, "eve").await;
    let eve = Hostile::enter(&state);
    let connection = admitted(&stage.tools, &eve.forge.identity).await;
    stage.tools.linked(eve.id()).await;
    let (mut send, _recv) = soon(connection.open_bi()).await.unwrap();
    send.write_all(&[0, 0]).await.unwrap();
    let stopped = soon(send.stopped()).await.unwrap();
    assert_eq!(stopped, Some(Reason::SecondHello.code()));
    stage.tools.counted("second_hello", 1).await;
    gone(&stage, &eve, &connection).await;
    only_members(stage).await;
}

/// Records that do not hold are refused and counted; the link of who sent them stays.
#[tokio::test]
async fn forged_node_records() {
    use tokio::io::AsyncWriteExt as _;
    let stage = Stage::set().await;
    let links = &stage.mallory.links;
    let kind = StreamKind::Sync;
    let (mut send, _recv) = soon(links.open(stage.target(), kind)).await.unwrap();
    send.write_all(&[0, 0, 0, 3, 0x83, 1, 2]).await.unwrap();
    stage.tools.counted("sync_refused", 1).await;
    let (mut send, _recv) = soon(links.open(stage.target(), kind)).await.unwrap();
    send.write_all(&[0xff; 4]).await.unwrap();
    stage.tools.counted("sync_refused", 2).await;
    only_members(stage).await;
}
