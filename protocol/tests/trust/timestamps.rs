//! Timestamps: rollback, jumps, mix-and-match, and freshness that nobody feigns.

use protocol::limits::{MAX_TIME_AHEAD_S, MAX_TIMESTAMP_JUMP};
use protocol::time::UnixSeconds;
use protocol::trust::state::{Change, ForkOf, Missing};
use protocol::trust::{Freshness, Offer, Timestamp};

use crate::fake::Keys;
use crate::world::{NOW, World, digest, id, refusal};

#[test]
fn versions_rise_for_each_timestamper() {
    let world = World::new(2);
    let mut node = world.node();
    let first = world.stamp_otherwise(&node.state, 0, NOW, |t| t.version = 7);
    let change = Change::Timestamp {
        timestamper: id(&world.timestampers[0]),
        version: 7,
    };
    assert_eq!(node.timestamp(&first), Ok(Offer::New(change)));
    assert_eq!(node.timestamp(&first), Ok(Offer::Known));
    let older = world.stamp_otherwise(&node.state, 0, NOW.plus(60), |t| t.version = 6);
    assert_eq!(node.timestamp(&older), Ok(Offer::Stale));
    let other = world.stamp_otherwise(&node.state, 0, NOW.plus(60), |t| t.version = 7);
    let fork = Offer::Fork(ForkOf::Timestamp(id(&world.timestampers[0])));
    assert_eq!(node.timestamp(&other), Ok(fork));
    assert_eq!(node.state.greatest_time(), NOW);
    for version in [7 + MAX_TIMESTAMP_JUMP + 1, u64::MAX] {
        let jump = world.stamp_otherwise(&node.state, 0, NOW, |t| t.version = version);
        assert_eq!(refusal(node.timestamp(&jump)), "version_jump");
    }
    // The other one's versions are its own.
    let first = world.stamp_otherwise(&node.state, 1, NOW, |t| t.version = 1);
    assert!(matches!(node.timestamp(&first), Ok(Offer::New(_))));
    assert_eq!(node.state.heads().timestamps.len(), 2);
}

#[test]
fn forged_timestamps_are_refused_by_name() {
    let world = World::new(2);
    let mut node = world.node();
    let draft = node
        .state
        .draft_timestamp(id(&world.timestampers[0]), NOW, 1);
    let mut refused = |by: &[Keys], alter: fn(&mut Timestamp)| {
        let mut draft = draft.clone();
        alter(&mut draft);
        let signed = match by {
            [one] => draft.sign(&crate::fake::Fake, one).unwrap(),
            _ => panic!("one signer"),
        };
        refusal(node.timestamp(&signed.into()))
    };
    let own = [world.timestampers[0].clone()];
    assert_eq!(
        refused(&[world.timestampers[1].clone()], |_| ()),
        "unknown_key"
    );
    assert_eq!(refused(&[world.admins[0].clone()], |_| ()), "unknown_key");
    let stranger = [Keys::of("x")];
    let as_stranger = |t: &mut Timestamp| t.timestamper = id(&Keys::of("x"));
    assert_eq!(refused(&stranger, as_stranger), "unknown_key");
    assert_eq!(refused(&own, |t| t.version = 0), "bad_document_field");
    assert_eq!(refused(&own, |t| t.epoch = 2), "wrong_epoch");
}

#[test]
fn a_timestamp_that_names_another_root_of_the_version_is_an_alarm() {
    let world = World::new(2);
    let mut node = world.node();
    let stamp = world.stamp_otherwise(&node.state, 0, NOW, |t| t.root = digest(1));
    assert_eq!(node.timestamp(&stamp), Ok(Offer::Fork(ForkOf::Root(1))));
    assert!(node.state.newest_timestamp().is_none());
}

#[test]
fn a_timestamp_of_a_newer_root_waits_for_it() {
    let world = World::new(2);
    let mut ahead = world.node();
    let root = world.root_after(ahead.state.root(), &world.admins, |r| r.lease_s = 9);
    ahead.root(&root).unwrap();
    let stamp = world.stamp(&ahead.state, 0, NOW);
    let mut node = world.node();
    let wanted = Offer::Wanted(Missing::Roots { from: 2 });
    assert_eq!(
        node.timestamp(&stamp),
        Ok(wanted),
        "no freezing of the root"
    );
    assert_eq!(node.state.freshness(NOW), Freshness::None);
    node.root(&root).unwrap();
    assert!(matches!(node.timestamp(&stamp), Ok(Offer::New(_))));
}

#[test]
fn freshness_counts_only_with_everything_the_timestamp_names() {
    let world = World::new(2);
    let mut source = world.node();
    let early = world.stamp(&source.state, 0, NOW.minus(1000));
    source.timestamp(&early).unwrap();
    let mut admin = world.log(0);
    admin.revoke(1);
    source.log(&admin);
    let (head, body) = world.bundle(&source.state, 1, &["a"], &world.admins);
    source.head(&head).unwrap();
    source.body(&body).unwrap();
    let stamp = world.stamp(&source.state, 0, NOW);
    // Somebody passes on timestamps and withholds the rest.
    let mut node = world.node();
    node.timestamp(&early).unwrap();
    assert_eq!(node.state.freshness(NOW), Freshness::Fresh { age_s: 1000 });
    node.timestamp(&stamp).unwrap();
    assert_eq!(node.state.freshness(NOW), Freshness::Fresh { age_s: 1000 });
    assert_eq!(node.state.greatest_time(), NOW);
    assert_eq!(node.state.missing().len(), 2);
    node.log(&admin);
    assert_eq!(node.state.freshness(NOW), Freshness::Fresh { age_s: 1000 });
    node.head(&head).unwrap();
    assert_eq!(node.state.freshness(NOW), Freshness::Fresh { age_s: 1000 });
    node.body(&body).unwrap();
    assert_eq!(node.state.freshness(NOW), Freshness::Fresh { age_s: 0 });
    assert!(node.state.missing().is_empty());
    // The lease.
    let fresh = Freshness::Fresh { age_s: 86_400 };
    assert_eq!(node.state.freshness(NOW.plus(86_400)), fresh);
    let stale = Freshness::Stale { age_s: 86_401 };
    assert_eq!(node.state.freshness(NOW.plus(86_401)), stale);
}

#[test]
fn a_timestamper_who_is_none_any_more_keeps_nothing_fresh() {
    let world = World::new(2);
    let mut node = world.node();
    node.timestamp(&world.stamp(&node.state, 0, NOW)).unwrap();
    let late = world.stamp(&node.state, 0, NOW.plus(60));
    let root = world.root_after(node.state.root(), &world.admins, |r| {
        r.timestampers.remove(0);
    });
    node.root(&root).unwrap();
    assert_eq!(node.state.freshness(NOW), Freshness::None);
    assert_eq!(node.state.greatest_time(), NOW, "time does not go back");
    assert_eq!(refusal(node.timestamp(&late)), "unknown_key");
    // One made before the rotation by another holds on.
    node.timestamp(&world.stamp(&world.node().state, 1, NOW))
        .unwrap();
    assert_eq!(node.state.freshness(NOW), Freshness::Fresh { age_s: 0 });
}

#[test]
fn a_timestamp_ahead_of_the_clock_is_not_believed() {
    let world = World::new(2);
    let mut node = world.node();
    let edge = NOW.plus(MAX_TIME_AHEAD_S);
    let ahead = world.stamp(&node.state, 0, edge.plus(1));
    assert_eq!(refusal(node.timestamp(&ahead)), "timestamp_ahead");
    let never = world.stamp(&node.state, 0, UnixSeconds(u64::MAX));
    assert_eq!(refusal(node.timestamp(&never)), "timestamp_ahead");
    assert_eq!(node.state.greatest_time(), UnixSeconds(0));
    node.timestamp(&world.stamp(&node.state, 0, edge)).unwrap();
    assert_eq!(node.state.greatest_time(), edge);
}
