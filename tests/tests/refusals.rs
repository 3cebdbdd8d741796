//! What is refused before it is a message, or beside one, is a decision too: it leaves a record, on
//! disk before the answer, and a flood of it leaves no more than its bound and a sum.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use node::control::Operations as _;
use node::enforcement::{FURTHER_REFUSALS, RECORDED_REFUSALS, REFUSAL_WINDOW_MS};
use node::transport::{LinkError, StreamKind};
use protocol::id::{NodeId, SessionId};
use protocol::record::{DecisionRecord, Point};
use tests::forge::random;
use tests::hostile::{Hostile, Wire};
use tests::mesh::{TestMesh, TestNode};
use tests::stage::Stage;
use tests::stranger::{HYBRID, connect, hello};
use tests::wait::{soon, until};

/// Every refusal a node has recorded, in order, as it is on disk now.
fn refused(node: &TestNode) -> Vec<DecisionRecord> {
    let snapshot = node.node.store().snapshot().unwrap();
    let mut records = Vec::new();
    let mut from = 0;
    loop {
        let page = snapshot.decisions(from..).unwrap();
        let Some(last) = page.last() else {
            return records;
        };
        from = last.sequence + 1;
        let decoded = page
            .iter()
            .map(|kept| DecisionRecord::decode(&kept.bytes).unwrap());
        records.extend(decoded.filter(|r| r.verdict == "deny"));
    }
}

/// The one refusal of this name, which is of this peer, made there, and of no envelope.
fn only(node: &TestNode, reason: &str, point: Point, peer: NodeId) -> DecisionRecord {
    let named = |r: &DecisionRecord| r.reason.as_deref() == Some(reason);
    let found: Vec<_> = refused(node).into_iter().filter(named).collect();
    assert_eq!(found.len(), 1, "{reason}: {found:?}");
    let record = found.into_iter().next().unwrap();
    assert_eq!((record.point, record.issuer), (point, peer), "{reason}");
    assert_eq!(record.envelope, None, "{reason}");
    assert_eq!(record.stands_for, None, "{reason}");
    record
}

/// Each is looked for as soon as its answer is here: it is on disk by then.
#[tokio::test]
async fn what_is_no_message_is_recorded_before_it_is_answered() {
    let stage = Stage::set().await;
    let (session, _open) = stage.session().await;
    let mallory = stage.mallory.id();
    let kind = StreamKind::Call;

    let mut wire = stage.mallory.stream(stage.target(), kind).await;
    wire.raw(&[1, 0xff, 0xff, 0xff, 0xff]).await;
    assert_eq!(wire.refusal().await, "frame_too_large");
    only(&stage.tools, "frame_too_large", Point::Egress, mallory);

    let mut wire = stage.mallory.stream(stage.target(), kind).await;
    wire.frame(1, b"\xff").await;
    let reason = wire.refusal().await;
    only(&stage.tools, &reason, Point::Egress, mallory);

    let mut wire = stage.mallory.stream(stage.target(), kind).await;
    wire.finish();
    assert_eq!(wire.refusal().await, "no_message");
    only(&stage.tools, "no_message", Point::Egress, mallory);

    let draft = stage.calling(SessionId::from_bytes(random()));
    let request = draft.header.claims.request_id;
    let envelope = stage.mallory.forge.seal(&draft).bytes;
    let told = stage.mallory.refused(stage.target(), kind, &envelope).await;
    assert_eq!(told, "unknown_session");
    let record = only(&stage.tools, "unknown_session", Point::Egress, mallory);
    assert_eq!(record.request, Some(request));
    assert_eq!(record.agent.unwrap().as_str(), "puppet");
    assert_eq!(record.server.unwrap().as_str(), "bench");

    let again = stage.mallory.forge.seal(&stage.opening_as(session)).bytes;
    let kind = StreamKind::Session;
    let told = stage.mallory.refused(stage.target(), kind, &again).await;
    assert_eq!(told, "duplicate_session");
    only(&stage.tools, "duplicate_session", Point::Egress, mallory);

    let calling = stage.mallory.forge.seal(&stage.calling(session)).bytes;
    let told = stage.mallory.refused(stage.target(), kind, &calling).await;
    assert_eq!(told, "wrong_stream_kind");
    only(&stage.tools, "wrong_stream_kind", Point::Egress, mallory);
    stage.undisturbed().await;
}

/// The caller's node records what it refuses of an answer.
#[tokio::test]
async fn a_caller_records_what_it_refuses() {
    let stage = Stage::set().await;
    stage.mallory.announce(&stage.agent, "shop").await;
    let opening = stage.agent.open("victim", "mallory", "shop");
    let answering = async {
        let mut conversation = stage.mallory.accept(StreamKind::Session).await;
        conversation.wire.finish();
        conversation
    };
    let (session, _kept) = soon(async { tokio::join!(opening, answering) }).await;
    assert_eq!(session.err().unwrap().reason, "ended_early");
    let mallory = stage.mallory.id();
    let record = only(&stage.agent, "ended_early", Point::Ingress, mallory);
    assert_eq!(record.agent.unwrap().as_str(), "victim");
    stage.undisturbed().await;
}

#[tokio::test]
async fn refusals_on_a_link_are_recorded() {
    let stage = Stage::set().await;
    // A member of another mesh, whose key TLS proves.
    let (other_mesh, other) = TestMesh::found("tools").await;
    let eve = Hostile::enter(&other_mesh.admit(&other, "eve").await);
    let told = eve.dial(&stage.tools).await.unwrap_err();
    assert!(matches!(told, LinkError::NotAdmittedByPeer(_)), "{told:?}");
    only(&stage.tools, "foreign_mesh", Point::Link, eve.id());

    // A stream of a kind nobody knows, from a member.
    let mallory = &stage.mallory;
    let identity = &mallory.forge.identity;
    let connection = connect(&stage.agent, HYBRID, Some(identity.tls.clone())).await;
    let (mut send, _recv) = soon(connection.as_ref().unwrap().open_bi()).await.unwrap();
    // A hello after the stream kind of a call: refused before it is read.
    let mut bytes = hello(identity);
    bytes[1] = 1;
    let _ = send.write_all(&bytes).await;
    soon(connection.unwrap().closed()).await;
    only(
        &stage.agent,
        "stream_before_hello",
        Point::Link,
        mallory.id(),
    );

    // A node record that does not hold.
    let mut wire = mallory.stream(stage.target(), StreamKind::Sync).await;
    wire.raw(&[0, 0, 0, 3, 0x83, 1, 2]).await;
    let recorded = || async {
        let found = refused(&stage.tools);
        found
            .iter()
            .any(|r| r.reason.as_deref() == Some("sync_refused"))
    };
    until("the refused node record is recorded", recorded).await;
    only(&stage.tools, "sync_refused", Point::Link, mallory.id());
    stage.undisturbed().await;
}

/// A refused stream of a member: told by its refusal, many times.
async fn flood(peer: &Hostile, to: NodeId, times: u32) {
    for _ in 0..times {
        let mut wire: Wire = peer.stream(to, StreamKind::Call).await;
        wire.frame(1, b"\xff").await;
        wire.refusal().await;
    }
}

/// However long it goes on, a flood leaves its bound of records, and a sum; another member's
/// refusals are recorded as ever.
#[tokio::test]
async fn a_flood_of_refusals_is_summed_up() {
    let stage = Stage::set().await;
    let state = stage.mesh.admit(&stage.tools, "eve").await;
    let eve = Hostile::enter(&state);
    eve.link(&stage.tools).await;
    let times = 4 * RECORDED_REFUSALS;
    let started = std::time::Instant::now();
    flood(&stage.mallory, stage.target(), times).await;
    let of = |peer: NodeId, records: &[DecisionRecord]| {
        let single = |r: &&DecisionRecord| r.issuer == peer && r.stands_for.is_none();
        u32::try_from(records.iter().filter(single).count()).unwrap()
    };
    let mallory = stage.mallory.id();
    let recorded = of(mallory, &refused(&stage.tools));
    // However slow the machine is: as many windows as began in that time, and no more.
    let windows = started.elapsed().as_millis() / u128::from(REFUSAL_WINDOW_MS) + 1;
    let most = u128::from(RECORDED_REFUSALS) * windows;
    assert!(recorded >= RECORDED_REFUSALS, "{recorded}");
    assert!(u128::from(recorded) <= most, "{recorded} of {most}");
    flood(&eve, stage.target(), 3).await;
    assert_eq!(of(eve.id(), &refused(&stage.tools)), 3);
    stage.tools.node.enforcer().sum_up(true).await;
    let records = refused(&stage.tools);
    let sums: Vec<_> = records.iter().filter(|r| r.stands_for.is_some()).collect();
    assert!(
        sums.iter()
            .all(|r| r.issuer == mallory && r.reason.as_deref() == Some(FURTHER_REFUSALS)),
        "{sums:?}"
    );
    let stands_for: u64 = sums.iter().filter_map(|r| r.stands_for).sum();
    assert_eq!(stands_for, u64::from(times - recorded), "none is forgotten");
    // `status` counts every one, and a policy's refusals would still be recorded.
    let counted = stage.tools.refusals().await;
    let all: u64 = counted.values().sum();
    assert!(all >= u64::from(times + 3), "{counted:?}");
    stage.undisturbed().await;
}

/// The same, seen by an operator: the sum says for how many it stands.
#[tokio::test]
async fn a_node_that_stops_sums_up() {
    let (mesh, tools) = TestMesh::found("tools").await;
    tools.attach_fixture("bench", &[]).await;
    let eve = Hostile::enter(&mesh.admit(&tools, "eve").await);
    eve.link(&tools).await;
    flood(&eve, tools.id(), RECORDED_REFUSALS + 5).await;
    let state = tools.stop().await;
    let tools = TestNode::start(&state).await;
    let query = protocol::control::DecisionQuery {
        limit: None,
        before: None,
    };
    let decisions = tools.node.decisions(query).await.unwrap();
    // A member that has announced no record is known by its id until it is here again.
    let id = eve.id().to_string();
    let of_eve = |d: &&protocol::control::Decision| d.issuer.as_deref() == Some(&*id);
    let single = decisions
        .iter()
        .filter(of_eve)
        .filter(|d| d.stands_for.is_none())
        .count() as u64;
    let sum: u64 = decisions.iter().filter_map(|d| d.stands_for).sum();
    assert_eq!(single + sum, u64::from(RECORDED_REFUSALS) + 5);
    let session = tools.open("someone", "tools", "bench").await.unwrap();
    assert_eq!(session.call(1, "echo", "{}").await.unwrap()["id"], 1);
}
