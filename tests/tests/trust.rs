//! Freshness, clocks and documents that must not come into force, on whole nodes where the clock of
//! this host can show it, and on what a node decides by where it cannot.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use std::sync::Arc;

use hedgerow_crypto::{Primitives, SigningKeys};
use node::control::Operations as _;
use node::setup;
use node::standing::{Barred, Standing};
use node::state_dir::StateDir;
use protocol::control::{
    Failure, FileBytes, FreshnessState, Publish, PublishedDocument, RevocationQuery,
    RevocationState,
};
use protocol::crypto::Signer as _;
use protocol::id::Digest;
use protocol::time::UnixSeconds;
use protocol::trust::revocation::Act;
use protocol::trust::{Document, Offer, TrustError, TrustState};
use tests::admin::{Admin, Place, hand, holds, in_force};
use tests::forge::{now, random};
use tests::hostile::Hostile;
use tests::mesh::{TestMesh, TestNode};
use tests::wait::until;

/// Short enough to be over within a test, long enough to be renewed on a slow machine.
const LEASE_S: u64 = 4;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
const TEN_YEARS: u64 = 3653 * DAY;

const LIST: &str = r#"{"jsonrpc":"2.0","id":77,"method":"tools/list"}"#;

fn root(bytes: Vec<u8>) -> Publish {
    Publish {
        documents: vec![PublishedDocument::Root(FileBytes(bytes))],
    }
}

async fn refused(at: &TestNode, publish: Publish) -> Failure {
    hand(at, publish).await.unwrap_err()
}

async fn version(at: &TestNode) -> u64 {
    in_force(at).await.root.version
}

#[tokio::test]
async fn without_a_timestamper_writes_stop_and_lists_do_not() {
    let (mesh, hub) = TestMesh::found("hub").await;
    let admin = Admin::of(&hub.state);
    let b = mesh.join(&hub, "b").await;
    b.attach_fixture("bench", &[]).await;
    let c = mesh.join(&hub, "c").await;
    c.linked(b.id()).await;
    let session = c.open("agent", "b", "bench").await.unwrap();
    session.call(1, "echo", "{}").await.unwrap();
    let shorter = admin.root(&hub, &[], |root| root.lease_s = LEASE_S).await;
    hand(&hub, root(shorter)).await.unwrap();
    for at in [&hub, &b, &c] {
        until("the lease is short", || async { version(at).await == 2 }).await;
    }
    // Renewed again and again: for longer than one lease it holds.
    let before = in_force(&c).await.timestampers[0].version.unwrap();
    let renewed = || async {
        session.call(2, "echo", "{}").await.unwrap();
        in_force(&c).await.timestampers[0].version.unwrap() >= before + 10
    };
    until("timestamps come", renewed).await;

    let hub = hub.stop().await;
    let over = || async {
        match session.call(3, "echo", "{}").await {
            Ok(_) => false,
            Err(error) => {
                assert_eq!(error.reason, "lease_expired", "{error:?}");
                true
            }
        }
    };
    until("the lease is over", over).await;
    assert_eq!(in_force(&c).await.freshness.state, FreshnessState::Stale);
    let listed = session.ask(LIST).await.unwrap();
    assert!(listed["result"]["tools"].is_array(), "{listed}");
    // No other session gets around it.
    let other = c.open("other", "b", "bench").await.unwrap();
    let error = other.call(1, "echo", "{}").await.unwrap_err();
    assert_eq!(error.reason, "lease_expired");

    let hub = TestNode::start(&hub).await;
    hub.linked(c.id()).await;
    let heals = || async { session.call(4, "echo", "{}").await.is_ok() };
    until("it heals", heals).await;
}

/// What a node of a new mesh decides by, its timestamper's keys, and the time it holds verified.
fn standing_at(time: UnixSeconds) -> (Standing, SigningKeys, TestMesh) {
    let mesh = TestMesh::empty();
    mesh.found_at("hub");
    let dir = StateDir::open(&mesh.state("hub")).unwrap();
    let identity = setup::load(&dir).unwrap();
    let timestamper = setup::timestamper(&dir).unwrap().unwrap();
    let mut state = TrustState::genesis(&Primitives, identity.genesis()).unwrap();
    let bytes = timestamp(&state, &timestamper, time);
    let offer = state.offer(&Primitives, time, &bytes).unwrap();
    assert!(matches!(offer, Offer::New(_)), "{offer:?}");
    (Standing::new(Arc::new(state)), timestamper, mesh)
}

fn timestamp(state: &TrustState, timestamper: &SigningKeys, time: UnixSeconds) -> Document {
    let id = timestamper.public().id(&Primitives);
    let draft = state.draft_timestamp(id, time, 1);
    Document::Timestamp(draft.sign(&Primitives, timestamper).unwrap().into())
}

#[test]
fn a_clock_that_is_behind_stops_everything_until_it_is_right() {
    let time = now();
    let (standing, ..) = standing_at(time);
    standing.fresh(time).unwrap();
    for behind in [HOUR, DAY, TEN_YEARS] {
        let at = time.minus(behind);
        let stopped = Barred::ClockBehind { by_s: behind };
        // What only reads is stopped too: whose clock is wrong cannot tell what has expired.
        assert_eq!(standing.clock(at), Err(stopped.clone()));
        assert_eq!(standing.fresh(at), Err(stopped));
        standing.fresh(time).unwrap();
    }
    // Clocks differ by a little.
    standing.fresh(time.minus(60)).unwrap();
}

#[test]
fn a_clock_that_is_ahead_stops_writes_when_the_lease_looks_over() {
    let time = now();
    let (standing, ..) = standing_at(time);
    // Within the lease of a day nothing is known to be wrong.
    standing.fresh(time.plus(HOUR)).unwrap();
    for ahead in [DAY + 1, TEN_YEARS] {
        let at = time.plus(ahead);
        let stopped = standing.fresh(at).unwrap_err();
        assert_eq!(stopped.reason(), "lease_expired");
        standing.clock(at).unwrap();
        // And nothing is left of it once the clock is right.
        standing.fresh(time).unwrap();
    }
}

#[test]
fn a_timestamp_from_the_future_is_not_believed() {
    let time = now();
    let (standing, timestamper, _mesh) = standing_at(time);
    let mut state = TrustState::clone(&standing.now());
    for ahead in [HOUR, DAY, TEN_YEARS] {
        let bytes = timestamp(&state, &timestamper, time.plus(ahead));
        let refused = state.offer(&Primitives, time, &bytes).unwrap_err();
        assert_eq!(refused.reason(), "timestamp_ahead", "{refused}");
        assert_eq!(state.greatest_time(), time);
    }
    // One from the past is taken and moves nothing back.
    let bytes = timestamp(&state, &timestamper, time.minus(DAY));
    let taken: Result<Offer, TrustError> = state.offer(&Primitives, time, &bytes);
    drop(taken);
    assert_eq!(state.greatest_time(), time);
}

#[tokio::test]
async fn who_holds_no_admin_key_signs_nothing() {
    let (mesh, hub) = TestMesh::found("hub").await;
    let b = mesh.join(&hub, "b").await;
    let id = in_force(&hub).await.mesh;
    let start = Place {
        length: 0,
        link: Digest::from_bytes([0; 32]),
    };
    // An admin of another mesh, and a node with its own keys.
    let elsewhere = TestMesh::empty();
    elsewhere.found_at("hub");
    let stranger = Admin::of(&elsewhere.state("hub"));
    let (_, publish) = stranger.signed(id, start, Act::Node(b.id()), "mine now");
    assert_eq!(refused(&hub, publish).await.reason, "unknown_key");
    // The right admin, of the other mesh.
    let admin = Admin::of(&hub.state);
    let other = protocol::id::MeshId::from_bytes(random());
    let (_, publish) = admin.signed(other, start, Act::Node(b.id()), "elsewhere");
    assert_eq!(refused(&hub, publish).await.reason, "foreign_mesh");
    // The right one with a bit changed on the way.
    let (_, mut publish) = admin.signed(id, start, Act::Node(b.id()), "changed");
    if let PublishedDocument::LogHead(file) = &mut publish.documents[0] {
        *file.0.last_mut().unwrap() ^= 1;
    }
    refused(&hub, publish).await;
    let trust = in_force(&hub).await;
    assert_eq!(trust.admins[0].entries, 0);
    assert!(b.node.links().get(hub.id()).is_some());
}

#[tokio::test]
async fn a_log_signed_twice_is_frozen_and_what_it_said_stays() {
    let (mesh, hub) = TestMesh::found("hub").await;
    let admin = Admin::of(&hub.state);
    let b = mesh.join(&hub, "b").await;
    let c = mesh.join(&hub, "c").await;
    let id = in_force(&hub).await.mesh;
    let before = admin.place(&hub).await;
    admin.revoke(&hub, Act::Node(b.id()), "stolen").await;
    let (_, other) = admin.signed(id, before, Act::Node(c.id()), "two-faced");
    let [head, entries] = other.documents.try_into().unwrap();
    let only = |document| Publish {
        documents: vec![document],
    };
    assert_eq!(refused(&hub, only(head)).await.reason, "document_fork");
    // The proof is whole with the other history; what both say is in force.
    assert_eq!(refused(&hub, only(entries)).await.reason, "document_fork");
    let listed = hub.node.trust().unwrap();
    let listed = listed.revocations(RevocationQuery::default());
    let listed = listed.await.unwrap().entries;
    assert!(listed.iter().all(|e| e.state == RevocationState::Effective));
    assert_eq!(listed.len(), 2);
    // Nothing more of this admin is taken, and all of it stays, also at the next start.
    let place = admin.place(&hub).await;
    let (_, more) = admin.signed(id, place, Act::Node(hub.id()), "more");
    assert_eq!(refused(&hub, more.clone()).await.reason, "document_fork");
    let hub = TestNode::start(&hub.stop().await).await;
    assert!(in_force(&hub).await.admins[0].forked);
    assert_eq!(refused(&hub, more).await.reason, "document_fork");
    for revoked in [b, c] {
        let thief = Hostile::enter(&revoked.stop().await);
        thief.dial(&hub).await.unwrap_err();
        assert!(hub.node.links().get(thief.id()).is_none());
    }
}

#[tokio::test]
async fn a_root_goes_on_by_the_thresholds_and_never_back() {
    let (mesh, hub) = TestMesh::found("hub").await;
    let c = mesh.join(&hub, "c").await;
    let first = Admin::of(&hub.state);
    let second = SigningKeys::generate(&Primitives).unwrap();
    // Two of two from now on: both have to sign, the new one as well as the old.
    let two = |root: &mut protocol::trust::Root| {
        root.admins.push(second.public().clone());
        root.threshold = 2;
    };
    let half = first.root(&hub, &[], two).await;
    assert_eq!(refused(&hub, root(half)).await.reason, "under_threshold");
    let whole = first.root(&hub, &[&second], two).await;
    hand(&hub, root(whole.clone())).await.unwrap();
    until("it has come", || async { version(&c).await == 2 }).await;
    // The one who could do it alone yesterday cannot today.
    let alone = first.root(&hub, &[], |root| root.threshold = 1).await;
    assert_eq!(refused(&hub, root(alone)).await.reason, "under_threshold");
    // A version is not skipped, and one that was is not taken again.
    let skips = |root: &mut protocol::trust::Root| root.version += 1;
    let skips = first.root(&hub, &[&second], skips).await;
    assert_eq!(
        refused(&hub, root(skips)).await.reason,
        "root_version_skipped"
    );
    assert_eq!(version(&hub).await, 2);
    let longer = |root: &mut protocol::trust::Root| root.lease_s *= 2;
    let third = first.root(&hub, &[&second], longer).await;
    hand(&hub, root(third)).await.unwrap();
    assert_eq!(refused(&hub, root(whole)).await.reason, "document_stale");
    until("it has come", || async { version(&c).await == 3 }).await;
    let c = TestNode::start(&c.stop().await).await;
    assert_eq!(version(&c).await, 3);
    // One of the two alone revokes no issuer.
    let issuer = in_force(&hub).await.issuers[0].id;
    let act = Act::Issuer {
        issuer,
        since: UnixSeconds(0),
        since_sequence: None,
    };
    first.revoke(&hub, act, "alone").await;
    holds(&c, 1).await;
    assert!(hub.node.links().get(c.id()).is_some());
}
