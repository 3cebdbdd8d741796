//! What one peer may have of a node: it is told by name that it has it, `status` counts it, and
//! nobody else notices.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use node::call::incoming::MAX_SESSIONS_PER_PEER;
use node::enforcement::PeerRate;
use node::transport::StreamKind;
use protocol::id::SessionId;
use tests::forge::{Draft, random};
use tests::hostile::{Heard, Hostile};
use tests::mesh::INITIALIZE;
use tests::stage::Stage;
use tests::wait::until;

/// Servers that the sessions are spread over: each takes 64 itself.
const SERVERS: [&str; 3] = ["bench-a", "bench-b", "bench-c"];

fn opening(stage: &Stage, peer: &Hostile, server: &str) -> Draft {
    let session = SessionId::from_bytes(random());
    peer.forge
        .first(stage.target(), server, session, INITIALIZE)
}

#[tokio::test]
async fn too_many_sessions_of_one_peer() {
    let stage = Stage::set().await;
    for server in SERVERS {
        stage.tools.attach_fixture(server, &[]).await;
    }
    let mallory = &stage.mallory;
    let mut open = Vec::new();
    for n in 0..MAX_SESSIONS_PER_PEER {
        let draft = opening(&stage, mallory, SERVERS[n % SERVERS.len()]);
        open.push(mallory.session(stage.target(), &draft).await);
    }
    let kind = StreamKind::Session;
    for times in 1..=3 {
        let draft = opening(&stage, mallory, SERVERS[0]);
        let envelope = mallory.forge.seal(&draft).bytes;
        let told = mallory.refused(stage.target(), kind, &envelope).await;
        assert_eq!(told, "too_many_sessions");
        stage.tools.counted("too_many_sessions", times).await;
    }
    // Another peer has room, and those that are open go on.
    let eve = Hostile::enter(&stage.mesh.admit(&stage.tools, "eve").await);
    eve.link(&stage.tools).await;
    let mut other = eve
        .session(stage.target(), &opening(&stage, &eve, SERVERS[1]))
        .await;
    assert!(other.is_silent().await);
    assert!(open[0].is_silent().await);
    // One that ends makes room for one.
    drop(open.pop());
    let opens = || async {
        let draft = opening(&stage, mallory, SERVERS[2]);
        let mut wire = mallory.stream(stage.target(), kind).await;
        wire.envelope(&mallory.forge.seal(&draft).bytes).await;
        match wire.heard().await {
            Heard::Envelope(_) => true,
            Heard::Refusal(refusal) => {
                assert_eq!(refusal.reason, "too_many_sessions");
                false
            }
            other => panic!("{other:?}"),
        }
    };
    until("an ended session makes room", opens).await;
    stage.undisturbed().await;
}

/// The default rate is more than a test can send: one that a test exceeds is put in its place,
/// so low that what comes back within the test does not matter.
#[tokio::test]
async fn more_envelopes_than_one_peer_may_send() {
    const AT_ONCE: u64 = 40;
    /// However slow: within a test fewer come back than this is more.
    const SENT: u64 = 1_000;
    let stage = Stage::set().await;
    stage.tools.node.enforcer().replace_peer_rate(PeerRate {
        per_second: 1,
        at_once: AT_ONCE,
    });
    let kind = StreamKind::Call;
    let (mut looked_at, mut limited) = (0_u64, 0_u64);
    while limited < 5 {
        let told = stage
            .mallory
            .refused(stage.target(), kind, b"no envelope")
            .await;
        match told.as_str() {
            "peer_rate_limited" => limited += 1,
            "not_an_envelope" | "malformed" | "truncated" => looked_at += 1,
            other => panic!("{other}"),
        }
        assert!(looked_at + limited < SENT, "no bound: {looked_at}");
    }
    assert!(looked_at >= AT_ONCE, "{looked_at}");
    stage.tools.counted("peer_rate_limited", limited).await;
    // The honest peer has its own allowance: its call that was under way is answered, and more.
    stage.undisturbed().await;
}
