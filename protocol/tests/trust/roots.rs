//! Roots that follow roots.

use protocol::trust::state::{Change, ForkOf, Missing};
use protocol::trust::{Offer, Root, VerifiedRoot};

use crate::fake::{Fake, Keys};
use crate::world::{World, publics, refusal};

fn next(world: &World, before: &VerifiedRoot) -> protocol::trust::Bytes {
    world.root_after(before, &world.admins, |_| ())
}

#[test]
fn roots_follow_one_another() {
    let world = World::new(2);
    let mut node = world.node();
    for version in 2..=4 {
        let root = next(&world, node.state.root());
        let change = Change::Root { version };
        assert_eq!(node.root(&root), Ok(Offer::New(change)));
        assert_eq!(node.root(&root), Ok(Offer::Known));
        assert_eq!(node.state.heads().root.version, version);
        assert_eq!(node.state.heads().root.hash, node.state.root().hash());
    }
    let mesh = world.node().state.mesh();
    assert_eq!(node.state.mesh(), mesh, "the genesis's, for ever");
}

#[test]
fn older_roots_change_nothing() {
    let world = World::new(2);
    let mut node = world.node();
    let second = next(&world, node.state.root());
    node.root(&second).unwrap();
    let third = next(&world, node.state.root());
    node.root(&third).unwrap();
    let before = node.state.heads();
    assert_eq!(node.root(&second), Ok(Offer::Stale));
    assert_eq!(node.root(&world.genesis), Ok(Offer::Stale));
    assert_eq!(node.state.heads(), before);
}

#[test]
fn a_later_root_asks_for_those_between() {
    let world = World::new(2);
    let mut ahead = world.node();
    let second = next(&world, ahead.state.root());
    ahead.root(&second).unwrap();
    let third = next(&world, ahead.state.root());
    let mut node = world.node();
    let wanted = Offer::Wanted(Missing::Roots { from: 2 });
    assert_eq!(node.root(&third), Ok(wanted));
    assert_eq!(node.state.root().root().version, 1);
}

#[test]
fn another_root_of_one_version_is_a_fork() {
    let world = World::new(2);
    let mut node = world.node();
    let genesis = node.state.root().clone();
    node.root(&next(&world, &genesis)).unwrap();
    let other = world.root_after(&genesis, &world.admins, |r| r.lease_s = 1);
    let before = node.state.heads();
    assert_eq!(node.root(&other), Ok(Offer::Fork(ForkOf::Root(2))));
    assert_eq!(node.state.heads(), before);
    // One that would never have held is no alarm.
    let forged = world.root_after(&genesis, &world.admins[..1], |r| r.lease_s = 1);
    assert_eq!(refusal(node.root(&forged)), "under_threshold");
}

/// A root after the genesis, altered, by these admins.
fn judged(by: &[Keys], alter: impl FnOnce(&mut Root)) -> &'static str {
    let world = World::new(2);
    let node = world.node();
    let root = world.root_after(node.state.root(), by, alter);
    let judged = node.state.root().successor(&Fake, &root);
    judged.map_or_else(|e| e.reason(), |_| "accepted")
}

#[test]
fn roots_are_judged_by_name() {
    let admins = &World::new(2).admins;
    let outsider = Keys::of("outsider");
    assert_eq!(judged(admins, |_| ()), "accepted");
    assert_eq!(judged(&admins[..2], |_| ()), "accepted");
    assert_eq!(judged(&admins[1..], |_| ()), "accepted");
    assert_eq!(judged(&admins[..1], |_| ()), "under_threshold");
    let twice = [admins[0].clone(), admins[0].clone()];
    assert_eq!(judged(&twice, |_| ()), "duplicate_signature");
    let foreign = [admins[0].clone(), admins[1].clone(), outsider];
    assert_eq!(judged(&foreign, |_| ()), "unknown_key");
    assert_eq!(judged(admins, |r| r.version = 3), "not_next_root");
    assert_eq!(judged(admins, |r| r.version = u64::MAX), "not_next_root");
    assert_eq!(judged(admins, |r| r.epoch = 2), "accepted");
    assert_eq!(judged(admins, |r| r.epoch = 3), "wrong_epoch");
    assert_eq!(judged(admins, |r| r.epoch = u64::MAX), "wrong_epoch");
    assert_eq!(judged(admins, |r| r.epoch = 0), "bad_document_field");
    assert_eq!(judged(admins, |r| r.previous = None), "root_unchained");
    let other = Some(crate::world::digest(1));
    assert_eq!(judged(admins, |r| r.previous = other), "root_unchained");
    assert_eq!(judged(admins, |r| r.mesh = None), "foreign_mesh");
    assert_eq!(judged(admins, |r| r.suite = 2), "unknown_suite");
    assert_eq!(
        judged(admins, |r| r.retired = Some(vec![])),
        "bad_document_field"
    );
}

#[test]
fn rotation_takes_the_old_and_the_new_threshold() {
    let world = World::new(2);
    let old = &world.admins;
    let new: Vec<Keys> = (3..6).map(|i| Keys::of(&format!("admin-{i}"))).collect();
    let retired: Vec<_> = (0..3).map(|i| world.retire(&world.log(i))).collect();
    let replace = |root: &mut Root| {
        root.admins = publics(&new);
        root.retired = Some(retired.clone());
    };
    let by = |a: &[Keys], b: &[Keys]| [a, b].concat();
    assert_eq!(judged(&by(&old[..2], &new[..2]), replace), "accepted");
    assert_eq!(
        judged(&by(&old[..1], &new[..2]), replace),
        "under_threshold"
    );
    assert_eq!(
        judged(&by(&old[..2], &new[..1]), replace),
        "under_threshold"
    );
    assert_eq!(judged(&by(&[], &new), replace), "under_threshold");
    assert_eq!(judged(&by(old, &[]), replace), "under_threshold");
    // Raising the threshold needs the new one too.
    assert_eq!(judged(&old[..2], |r| r.threshold = 3), "under_threshold");
    assert_eq!(judged(old, |r| r.threshold = 3), "accepted");
    // Lowering it needs the old one.
    assert_eq!(judged(&old[..1], |r| r.threshold = 1), "under_threshold");
}

#[test]
fn whoever_leaves_is_listed_and_never_comes_back() {
    let world = World::new(2);
    let gone = world.retire(&world.log(2));
    let by = &world.admins[..2];
    let leave = |root: &mut Root| drop(root.admins.pop());
    assert_eq!(judged(by, leave), "bad_document_field");
    let listed = |root: &mut Root| {
        leave(root);
        root.retired = Some(vec![gone.clone()]);
    };
    assert_eq!(judged(by, listed), "accepted");
    // Listed, and still an admin: one key in two roles.
    let both = |root: &mut Root| root.retired = Some(vec![gone.clone()]);
    assert_eq!(judged(by, both), "bad_document_field");
    // Somebody who was none.
    let mut stranger = gone.clone();
    stranger.admin = publics(&[Keys::of("outsider")]).remove(0);
    let invented = |root: &mut Root| root.retired = Some(vec![stranger.clone()]);
    assert_eq!(judged(by, invented), "bad_document_field");

    let mut node = world.node();
    let second = world.root_after(node.state.root(), by, listed);
    node.root(&second).unwrap();
    let root = node.state.root().clone();
    let after = |alter: &dyn Fn(&mut Root)| {
        let third = world.root_after(&root, by, alter);
        let judged = root.successor(&Fake, &third);
        judged.map_or_else(|e| e.reason(), |_| "accepted")
    };
    assert_eq!(after(&|_| ()), "accepted");
    assert_eq!(after(&|r| r.retired = None), "bad_document_field");
    let longer = |r: &mut Root| r.retired.as_mut().unwrap()[0].length += 1;
    assert_eq!(after(&longer), "bad_document_field");
    let back = |r: &mut Root| r.admins.push(gone.admin.clone());
    assert_eq!(after(&back), "bad_document_field");
}
