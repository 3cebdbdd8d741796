//! Bundles: rollback, freeze, forks, jumps, and bundles of older roots.

use protocol::limits::MAX_BUNDLE_JUMP;
use protocol::trust::state::{Change, ForkOf, Missing};
use protocol::trust::{Document, Offer, Root};

use crate::fake::Keys;
use crate::world::{NOW, Node, World, publics, refusal};

fn at_version(world: &World, version: u64) -> Node {
    let mut node = world.node();
    let (head, body) = world.bundle(&node.state, version, &["a"], &world.admins);
    node.head(&head).unwrap();
    let change = Change::Bundle { version };
    assert_eq!(node.body(&body), Ok(Offer::New(change)));
    node
}

#[test]
fn a_bundle_is_in_force_once_its_body_is_here() {
    let world = World::new(2);
    let mut node = world.node();
    let (head, body) = world.bundle(&node.state, 1, &["a"], &world.admins[..2]);
    assert_eq!(node.body(&body), Ok(Offer::Stale), "nobody asked for it");
    let Ok(Offer::Wanted(Missing::BundleBody {
        version: 1, length, ..
    })) = node.head(&head)
    else {
        panic!("the body is missing");
    };
    assert_eq!(length, body.len() as u64);
    assert_eq!(node.state.missing().len(), 1);
    assert!(node.state.bundle().is_none());
    assert!(matches!(node.head(&head), Ok(Offer::Wanted(_))), "still");
    let other = [&body[..], b"x"].concat().into();
    assert_eq!(refusal(node.body(&other)), "bundle_body_mismatch");
    node.body(&body).unwrap();
    assert_eq!(node.state.bundle().unwrap().body().policies.len(), 1);
    assert_eq!(node.state.heads().bundle.unwrap().version, 1);
    assert_eq!(node.head(&head), Ok(Offer::Known));
    assert_eq!(node.body(&body), Ok(Offer::Known));
    assert!(node.state.missing().is_empty());
}

#[test]
fn older_bundles_change_nothing_and_other_ones_of_the_version_are_forks() {
    let world = World::new(2);
    let mut node = at_version(&world, 5);
    let before = node.state.heads();
    let (older, _) = world.bundle(&node.state, 4, &["b"], &world.admins);
    assert_eq!(node.head(&older), Ok(Offer::Stale));
    let (other, body) = world.bundle(&node.state, 5, &["b"], &world.admins);
    assert_eq!(node.head(&other), Ok(Offer::Fork(ForkOf::Bundle(5))));
    assert_eq!(node.body(&body), Ok(Offer::Stale));
    assert_eq!(node.state.heads(), before);
    // Signed by others it is the same document.
    let (same, _) = world.bundle(&node.state, 5, &["a"], &world.admins[1..]);
    assert_eq!(node.head(&same), Ok(Offer::Known));
}

#[test]
fn a_pending_head_is_not_forked_or_set_back_either() {
    let world = World::new(2);
    let mut node = world.node();
    let (head, body) = world.bundle(&node.state, 5, &["a"], &world.admins);
    node.head(&head).unwrap();
    let (older, _) = world.bundle(&node.state, 4, &["b"], &world.admins);
    assert_eq!(node.head(&older), Ok(Offer::Stale));
    let (other, _) = world.bundle(&node.state, 5, &["b"], &world.admins);
    assert_eq!(node.head(&other), Ok(Offer::Fork(ForkOf::Bundle(5))));
    let (newer, newer_body) = world.bundle(&node.state, 6, &["c"], &world.admins);
    assert!(matches!(node.head(&newer), Ok(Offer::Wanted(_))));
    assert_eq!(refusal(node.body(&body)), "bundle_body_mismatch");
    node.body(&newer_body).unwrap();
}

#[test]
fn nobody_uses_up_the_versions() {
    let world = World::new(2);
    let mut node = at_version(&world, 5);
    for version in [5 + MAX_BUNDLE_JUMP + 1, u64::MAX] {
        let (head, _) = world.bundle(&node.state, version, &["b"], &world.admins);
        assert_eq!(refusal(node.head(&head)), "version_jump");
    }
    let (head, body) = world.bundle(&node.state, 5 + MAX_BUNDLE_JUMP, &["b"], &world.admins);
    node.head(&head).unwrap();
    node.body(&body).unwrap();
}

#[test]
fn forged_heads_are_refused_by_name() {
    let world = World::new(2);
    let mut node = world.node();
    let mut refused = |by: &[Keys]| {
        let (head, _) = world.bundle(&node.state, 1, &["a"], by);
        refusal(node.head(&head))
    };
    assert_eq!(refused(&[]), "unsigned");
    assert_eq!(refused(&world.admins[..1]), "under_threshold");
    let twice = [world.admins[0].clone(), world.admins[0].clone()];
    assert_eq!(refused(&twice), "duplicate_signature");
    assert_eq!(refused(&[Keys::of("x"), Keys::of("y")]), "unknown_key");
    assert_eq!(refused(&world.timestampers), "unknown_key");
}

#[test]
fn a_timestamp_says_which_of_two_bundles_is_meant() {
    let world = World::new(2);
    let source = at_version(&world, 5);
    let mut node = world.node();
    node.timestamp(&world.stamp(&source.state, 0, NOW)).unwrap();
    let (version, hash) = (5, source.state.bundle().unwrap().hash());
    let wanted = vec![Missing::Bundle { version, hash }];
    assert_eq!(node.state.missing(), wanted);
    let (other, _) = world.bundle(&node.state, 5, &["b"], &world.admins);
    assert_eq!(node.head(&other), Ok(Offer::Fork(ForkOf::Bundle(5))));
    // The other way round the timestamp is the one that contradicts.
    let mut node = world.node();
    let (other, body) = world.bundle(&node.state, 5, &["b"], &world.admins);
    node.head(&other).unwrap();
    node.body(&body).unwrap();
    let stamp = world.stamp(&source.state, 0, NOW);
    assert_eq!(node.timestamp(&stamp), Ok(Offer::Fork(ForkOf::Bundle(5))));
    assert!(node.state.newest_timestamp().is_none());
}

/// Retires the first admin.
fn without_first(world: &World) -> impl Fn(&mut Root) {
    let retired = world.retire(&world.log(0));
    move |root: &mut Root| {
        root.admins.remove(0);
        root.retired = Some(vec![retired.clone()]);
    }
}

#[test]
fn a_bundle_of_an_older_root_takes_the_admins_of_now_or_a_timestamp() {
    let world = World::new(2);
    let old = at_version(&world, 1);
    let (head, body) = world.bundle(&old.state, 2, &["b"], &world.admins[..2]);
    let root = world.root_after(old.state.root(), &world.admins, without_first(&world));
    let mut source = old.clone();
    source.head(&head).unwrap();
    source.body(&body).unwrap();
    source.root(&root).unwrap();
    assert_eq!(source.state.bundle().unwrap().version(), 2, "it stays");

    let mut late = world.node();
    late.root(&root).unwrap();
    let missing = Offer::Wanted(Missing::Timestamp);
    assert_eq!(late.head(&head), Ok(missing));
    // The old threshold, rotated out, signs something else: nobody names it.
    let (stolen, _) = world.bundle(&old.state, 3, &["evil"], &world.admins[..2]);
    assert_eq!(late.head(&stolen), Ok(missing));
    late.timestamp(&world.stamp(&source.state, 0, NOW)).unwrap();
    assert_eq!(late.head(&stolen), Ok(missing));
    assert!(matches!(
        late.head(&head),
        Ok(Offer::Wanted(Missing::BundleBody { .. }))
    ));
    late.body(&body).unwrap();

    // Signed by enough of both, no timestamp is needed.
    let (both, _) = world.bundle(&old.state, 2, &["b"], &world.admins);
    let mut late = world.node();
    late.root(&root).unwrap();
    assert!(matches!(
        late.head(&both),
        Ok(Offer::Wanted(Missing::BundleBody { .. }))
    ));
}

#[test]
fn a_new_epoch_begins_versions_anew_and_refuses_the_old() {
    let world = World::new(2);
    let mut node = at_version(&world, 60_000);
    let (old, _) = world.bundle(&node.state, 60_001, &["b"], &world.admins);
    let root = world.root_after(node.state.root(), &world.admins, |r| r.epoch = 2);
    node.root(&root).unwrap();
    assert!(node.state.bundle().is_none());
    assert_eq!(refusal(node.head(&old)), "wrong_epoch");
    let (first, body) = world.bundle(&node.state, 1, &["c"], &world.admins);
    node.head(&first).unwrap();
    node.body(&body).unwrap();
    assert_eq!(node.state.bundle().unwrap().version(), 1);
}

#[test]
fn a_bundle_of_a_newer_root_waits_for_it() {
    let world = World::new(2);
    let mut ahead = world.node();
    let root = world.root_after(ahead.state.root(), &world.admins, |r| r.lease_s = 9);
    ahead.root(&root).unwrap();
    let (head, _) = world.bundle(&ahead.state, 1, &["a"], &world.admins);
    let mut node = world.node();
    let wanted = Offer::Wanted(Missing::Roots { from: 2 });
    assert_eq!(node.head(&head), Ok(wanted));
    node.root(&root).unwrap();
    assert!(matches!(
        node.head(&head),
        Ok(Offer::Wanted(Missing::BundleBody { .. }))
    ));
}

#[test]
fn documents_of_another_mesh_or_kind_are_refused() {
    let world = World::new(2);
    let mut node = world.node();
    let foreign = World::new(1).node();
    let (head, _) = world.bundle(&foreign.state, 1, &["a"], &world.admins);
    assert_eq!(refusal(node.head(&head)), "foreign_mesh");
    let (head, _) = world.bundle(&node.state, 1, &["a"], &world.admins);
    for document in [
        Document::Root(head.clone()),
        Document::LogHead(head.clone()),
        Document::Timestamp(head.clone()),
    ] {
        assert_eq!(refusal(node.offer(&document)), "wrong_content_type");
    }
    assert_eq!(publics(&world.admins).len(), 3);
}
