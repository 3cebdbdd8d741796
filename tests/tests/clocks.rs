//! Clocks that are wrong, on whole nodes: by an hour, a day, ten years, forwards and back. A node
//! whose clock is behind verified time decides nothing and says so; one whose clock is ahead
//! decides wrongly for itself alone, and nothing of it is left once the clock is right.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use hedgerow_crypto::Primitives;
use node::clock::{Clock, SystemClock};
use node::control::Operations as _;
use node::setup;
use node::state_dir::StateDir;
use node::transport::StreamKind;
use protocol::control::{FreshnessState, Level};
use protocol::crypto::Signer as _;
use protocol::distribution::Message;
use protocol::distribution::message::{Head, TimestampPush};
use protocol::time::UnixMillis;
use protocol::trust::TrustState;
use tests::admin::in_force;
use tests::forge::now;
use tests::hostile::Hostile;
use tests::mesh::{TestMesh, TestNode};
use tests::wait::until;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
const TEN_YEARS: i64 = 3653 * DAY;

/// This host's clock, set forwards or back.
#[derive(Default)]
struct Skewed(AtomicI64);

impl Skewed {
    fn by(seconds: i64) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(seconds)))
    }

    fn set(&self, seconds: i64) {
        self.0.store(seconds, Ordering::SeqCst);
    }
}

impl Clock for Skewed {
    fn now(&self) -> UnixMillis {
        let by = self.0.load(Ordering::SeqCst).saturating_mul(1000);
        UnixMillis(SystemClock.now().0.saturating_add_signed(by))
    }
}

/// A mesh of a hub with a server, and a node whose clock can be set; both know a timestamp.
async fn two() -> (TestMesh, TestNode, TestNode, Arc<Skewed>) {
    let (mesh, hub) = TestMesh::found("hub").await;
    hub.attach_fixture("bench", &[]).await;
    let state = mesh.admit(&hub, "c").await;
    let clock = Skewed::by(0);
    let c = TestNode::start_by(&state, Arc::clone(&clock) as Arc<dyn Clock>).await;
    c.linked(hub.id()).await;
    hub.linked(c.id()).await;
    fresh(&c).await;
    (mesh, hub, c, clock)
}

async fn fresh(node: &TestNode) {
    let fresh = || async { in_force(node).await.freshness.state == FreshnessState::Fresh };
    until("a timestamp is there", fresh).await;
}

/// Whether `doctor` finds that the clock is wrong.
async fn doctor_blames_the_clock(node: &TestNode) -> bool {
    let checks = node.node.doctor().await.unwrap();
    let clock = checks.iter().find(|check| check.name == "clock").unwrap();
    clock.level == Level::Fail
}

fn greatest(node: &TestNode) -> u64 {
    node.node.enforcer().standing().now().greatest_time().0
}

#[tokio::test]
async fn a_clock_set_back_stops_every_call_and_says_so_until_it_is_right() {
    let (_mesh, hub, c, clock) = two().await;
    let session = c.open("agent", "hub", "bench").await.unwrap();
    session.call(1, "echo", "{}").await.unwrap();
    for (n, back) in (2..).zip([HOUR, DAY, TEN_YEARS]) {
        assert!(!doctor_blames_the_clock(&c).await);
        let before = greatest(&c);
        clock.set(-back);
        let error = session.call(n, "echo", "{}").await.unwrap_err();
        assert_eq!(error.reason, "clock_behind", "{back} s: {error:?}");
        let state = in_force(&c).await.freshness.state;
        assert_eq!(state, FreshnessState::ClockBehind);
        assert!(!c.status().await.time.healthy);
        assert!(doctor_blames_the_clock(&c).await);
        assert!(greatest(&c) >= before, "it went back");
        clock.set(0);
        session.call(10 + n, "echo", "{}").await.unwrap();
        assert!(c.status().await.time.healthy);
    }
    // Its neighbour noticed nothing but what it was sent.
    assert!(!doctor_blames_the_clock(&hub).await);
}

#[tokio::test]
async fn a_node_started_with_its_clock_back_lets_nothing_pass() {
    let (_mesh, hub, c, clock) = two().await;
    let state = c.stop().await;
    for back in [HOUR, DAY, TEN_YEARS] {
        clock.set(-back);
        match TestNode::try_start(&state, Arc::clone(&clock) as Arc<dyn Clock>).await {
            // Its own membership has not begun by this clock: it does not even start.
            Err(error) => assert!(error.to_string().contains("member"), "{error}"),
            Ok(c) => {
                assert!(!c.status().await.time.healthy);
                assert!(doctor_blames_the_clock(&c).await);
                drop(c.stop().await);
            }
        }
    }
    clock.set(0);
    let c = TestNode::start_by(&state, clock).await;
    c.linked(hub.id()).await;
    let session = c.open("agent", "hub", "bench").await.unwrap();
    session.call(1, "echo", "{}").await.unwrap();
}

#[tokio::test]
async fn a_clock_ahead_moves_verified_time_by_nothing() {
    let (_mesh, hub, c, clock) = two().await;
    let session = c.open("agent", "hub", "bench").await.unwrap();
    session.call(1, "echo", "{}").await.unwrap();
    for (n, ahead) in (2..).zip([HOUR, DAY + HOUR, TEN_YEARS]) {
        clock.set(ahead);
        // Refused here because the lease looks over, or there because it comes from the future.
        let error = session.call(n, "echo", "{}").await.unwrap_err();
        assert_ne!(error.reason, "clock_behind", "{ahead} s: {error:?}");
        assert!(greatest(&c) <= now().0, "{ahead} s: {}", greatest(&c));
        // What only others can see, they have said.
        let told = error.reason == "issued_in_future";
        assert_eq!(
            doctor_blames_the_clock(&c).await,
            told,
            "{ahead} s: {error:?}"
        );
        assert!(told || ahead > HOUR, "{error:?}");
        clock.set(0);
        // The next session, should the last one have ended over it.
        let heals = || async {
            match c.open("agent", "hub", "bench").await {
                Ok(session) => session.call(1, "echo", "{}").await.is_ok(),
                Err(_) => false,
            }
        };
        until("it heals", heals).await;
        assert!(c.status().await.time.healthy);
        assert!(!doctor_blames_the_clock(&c).await);
    }
    assert!(greatest(&hub) <= now().0);
}

#[tokio::test]
async fn a_timestamp_ahead_of_the_clock_is_not_taken_and_nobodys_fault() {
    let (mesh, hub, c, _clock) = two().await;
    let timestamper = setup::timestamper(&StateDir::open(&hub.state).unwrap());
    let timestamper = timestamper.unwrap().unwrap();
    let id = timestamper.public().id(&Primitives);
    let b = mesh.admit(&hub, "b").await;
    let hostile = Hostile::enter(&b);
    hostile.link(&c).await;
    let held = in_force(&c).await.timestampers[0].version.unwrap();
    let mut wire = hostile.stream(c.id(), StreamKind::Trust).await;
    for (n, ahead) in (60..).zip([HOUR, DAY, TEN_YEARS]) {
        let state = TrustState::clone(&c.node.enforcer().standing().now());
        let at = now().plus(ahead.unsigned_abs());
        let mut draft = state.draft_timestamp(id, at, 3);
        draft.version = held + n;
        let document = draft.sign(&Primitives, &timestamper).unwrap().into();
        let push = TimestampPush {
            timestamper: id,
            document,
        };
        let message = Message::Head(Head::Timestamp(push)).encode();
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        wire.raw(&[&length, message.as_slice()].concat()).await;
    }
    // Behind it one that holds, so that it is known when all were looked at.
    let state = TrustState::clone(&c.node.enforcer().standing().now());
    let mut draft = state.draft_timestamp(id, now(), 3);
    draft.version = held + 50;
    let document = draft.sign(&Primitives, &timestamper).unwrap().into();
    let push = TimestampPush {
        timestamper: id,
        document,
    };
    let message = Message::Head(Head::Timestamp(push)).encode();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    wire.raw(&[&length, message.as_slice()].concat()).await;
    let taken = || async { in_force(&c).await.timestampers[0].version.unwrap() >= held + 50 };
    until("the one that holds is taken", taken).await;
    assert!(greatest(&c) <= now().0 && greatest(&hub) <= now().0);
    assert!(in_force(&c).await.timestampers[0].version.unwrap() < held + 60);
    // Its sender may have a clock that is right where this one is wrong: it keeps its link.
    assert!(c.node.links().get(hostile.id()).is_some());
}
