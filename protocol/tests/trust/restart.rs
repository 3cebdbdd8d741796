//! What is kept, and taken up again.

use protocol::trust::state::{ForkOf, Memory};
use protocol::trust::{Document, Freshness, Kept, Offer, TrustState};

use crate::fake::Fake;
use crate::world::{NOW, Node, World, id, node, refusal};

/// A node that holds something of everything.
fn full(world: &World) -> Node {
    let mut own = world.node();
    let root = world.root_after(own.state.root(), &world.admins, |r| r.lease_s = 7200);
    own.root(&root).unwrap();
    own.timestamp(&world.stamp(&own.state, 0, NOW.minus(600)))
        .unwrap();
    let mut admin = world.log(0);
    for number in 0..12 {
        admin.revoke(number);
    }
    own.log(&admin);
    let (head, body) = world.bundle(&own.state, 5, &["a"], &world.admins);
    own.head(&head).unwrap();
    own.body(&body).unwrap();
    own.timestamp(&world.stamp(&own.state, 0, NOW)).unwrap();
    own.timestamp(&world.stamp(&own.state, 1, NOW)).unwrap();
    own
}

fn restarted(own: &Node) -> Node {
    Node {
        state: TrustState::restore(&Fake, own.state.kept()).unwrap(),
        now: own.now,
    }
}

#[test]
fn everything_comes_back_as_it_was() {
    let world = World::new(2);
    let own = full(&world);
    let back = restarted(&own);
    assert_eq!(back.state.heads(), own.state.heads());
    assert_eq!(back.state.memory(), own.state.memory());
    assert_eq!(back.state.revoked(), own.state.revoked());
    assert_eq!(back.state.bundle(), own.state.bundle());
    assert_eq!(back.state.greatest_time(), NOW);
    assert_eq!(back.state.freshness(NOW), own.state.freshness(NOW));
    let memory = own.state.memory();
    assert_eq!(Memory::decode(&memory.encode()), Ok(memory));
}

#[test]
fn nothing_goes_back_over_a_restart() {
    let world = World::new(2);
    let own = full(&world);
    let mut back = restarted(&own);
    let before = back.state.heads();
    let (older, _) = world.bundle(&back.state, 4, &["b"], &world.admins);
    assert_eq!(back.head(&older), Ok(Offer::Stale));
    let (other, _) = world.bundle(&back.state, 5, &["b"], &world.admins);
    assert_eq!(back.head(&other), Ok(Offer::Fork(ForkOf::Bundle(5))));
    let (jump, _) = world.bundle(&back.state, u64::MAX, &["b"], &world.admins);
    assert_eq!(refusal(back.head(&jump)), "version_jump");
    assert_eq!(back.root(&world.genesis), Ok(Offer::Stale));
    let old = world.stamp_otherwise(&back.state, 0, NOW.minus(60), |t| t.version = 1);
    assert_eq!(back.timestamp(&old), Ok(Offer::Stale));
    let jump = world.stamp_otherwise(&back.state, 0, NOW, |t| t.version = u64::MAX);
    assert_eq!(refusal(back.timestamp(&jump)), "version_jump");
    let mut short = world.log(0);
    short.revoke(0);
    assert_eq!(back.log_head(&short.head()), Ok(Offer::Stale));
    assert_eq!(back.state.heads(), before);
    let behind = Freshness::ClockBehind { by_s: 3600 };
    assert_eq!(back.state.freshness(NOW.minus(3600)), behind);
}

#[test]
fn a_complete_timestamp_survives_an_incomplete_newer_one() {
    let world = World::new(2);
    let mut source = full(&world);
    let mut own = source.clone();
    let mut admin = world.log(1);
    admin.revoke(50);
    source.log(&admin);
    own.now = NOW.plus(60);
    own.timestamp(&world.stamp(&source.state, 0, NOW.plus(60)))
        .unwrap();
    own.timestamp(&world.stamp(&source.state, 1, NOW.plus(60)))
        .unwrap();
    let fresh = Freshness::Fresh { age_s: 60 };
    assert_eq!(own.state.freshness(own.now), fresh);
    let back = restarted(&own);
    assert_eq!(back.state.freshness(own.now), fresh);
    assert_eq!(back.state.missing(), own.state.missing());
    assert_eq!(back.state.greatest_time(), NOW.plus(60));
}

#[test]
fn a_forked_log_stays_forked_and_held_entries_held() {
    let world = World::new(2);
    let mut own = world.node();
    own.timestamp(&world.stamp(&own.state, 0, NOW.minus(600)))
        .unwrap();
    let mut admin = world.log(0);
    for number in 0..12 {
        admin.revoke(number);
    }
    own.log(&admin);
    let (mut left, mut right) = (world.log(1), world.log(1));
    left.revoke(101);
    right.revoke(102);
    own.log(&left);
    own.log_head(&right.head()).unwrap();
    own.entries(&right.log, 0).unwrap();
    let stamp = world.stamp_otherwise(&own.state, 1, NOW, |t| t.nodes = 1);
    own.timestamp(&stamp).unwrap();
    assert!(!own.state.memory().held.is_empty());
    let mut back = restarted(&own);
    assert_eq!(back.state.heads(), own.state.heads());
    assert_eq!(back.state.revoked(), own.state.revoked());
    assert_eq!(back.state.memory(), own.state.memory());
    for number in [101, 102] {
        assert!(back.state.revoked().node(&node(number)).is_some());
    }
    left.revoke(103);
    // A branch goes on, and a third history does not count.
    let wanted = back.log_head(&left.head()).unwrap();
    assert!(matches!(wanted, Offer::Wanted(_)), "{wanted:?}");
    let taken = back.entries(&left.log, 1).unwrap();
    assert!(matches!(taken, Offer::New(_)), "{taken:?}");
    let mut third = world.log(1);
    third.revoke(104);
    back.log_head(&third.head()).unwrap();
    let fork = Offer::Fork(ForkOf::Log(id(&world.admins[1])));
    assert_eq!(back.entries(&third.log, 0), Ok(fork));
    let back = restarted(&back);
    assert!(back.state.revoked().node(&node(103)).is_some());
    assert!(back.state.revoked().node(&node(104)).is_none());
}

#[test]
fn what_was_altered_on_disk_is_refused() {
    let world = World::new(2);
    let own = full(&world);
    let refused = |alter: &dyn Fn(&mut Kept)| {
        let mut kept = own.state.kept();
        alter(&mut kept);
        TrustState::restore(&Fake, kept).map_or_else(|e| e.reason(), |_| "restored")
    };
    assert_eq!(refused(&|_| ()), "restored");
    assert_eq!(refused(&|k| k.roots.clear()), "root_unchained");
    assert_eq!(refused(&|k| drop(k.roots.remove(0))), "bad_document_field");
    assert_eq!(
        refused(&|k| k.bundle.as_mut().unwrap().1 = [1].as_slice().into()),
        "bundle_body_mismatch"
    );
    assert_eq!(
        refused(&|k| drop(k.logs[0].entries.pop())),
        "revocation_chain_broken"
    );
    assert_eq!(
        refused(&|k| k.logs[0].entries.swap(0, 1)),
        "revocation_chain_broken"
    );
    assert_eq!(
        refused(&|k| k.logs[0].head = None),
        "revocation_chain_broken"
    );
    let flipped = |bytes: &protocol::trust::Bytes| {
        let mut bytes = bytes.to_vec();
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        protocol::trust::Bytes::from(bytes)
    };
    assert_ne!(
        refused(&|k| k.timestamps[0] = flipped(&k.timestamps[0])),
        "restored"
    );
    assert_ne!(
        refused(&|k| k.logs[0].head = k.logs[0].head.as_ref().map(flipped)),
        "restored"
    );
    // An older state is one that was: restored from a backup, it catches up and believes less.
    let older = world.node();
    let mut back = restarted(&older);
    assert_eq!(back.state.freshness(NOW), Freshness::None);
    for document in documents(&own) {
        back.offer(&document).unwrap();
    }
    assert_eq!(back.state.heads(), own.state.heads());
}

/// Everything a node holds, as it would be fetched.
fn documents(own: &Node) -> Vec<Document> {
    let kept = own.state.kept();
    let roots = kept.roots.into_iter().skip(1).map(Document::Root);
    let mut all: Vec<Document> = roots.collect();
    for log in kept.logs {
        all.extend(log.head.map(Document::LogHead));
        let (admin, from, entries) = (log.admin, 0, log.entries);
        all.push(Document::LogEntries {
            admin,
            from,
            entries,
        });
    }
    let (head, body) = kept.bundle.unwrap();
    all.extend([Document::BundleHead(head), Document::BundleBody(body)]);
    all.extend(kept.timestamps.into_iter().map(Document::Timestamp));
    all
}

#[test]
fn a_retired_log_survives_without_a_head() {
    let world = World::new(2);
    let mut own = world.node();
    let mut admin = world.log(0);
    admin.revoke(1);
    own.log(&admin);
    let root = world.root_after(own.state.root(), &world.admins, |root| {
        root.admins.remove(0);
        root.retired = Some(vec![world.retire(&admin)]);
    });
    own.root(&root).unwrap();
    let back = restarted(&own);
    assert_eq!(back.state.heads(), own.state.heads());
    assert!(back.state.revoked().node(&node(1)).is_some());
    assert!(back.state.missing().is_empty());
}

#[test]
fn what_an_interrupted_rotation_left_behind_is_no_obstacle() {
    let world = World::new(2);
    let mut own = full(&world);
    let before = own.state.kept();
    let mut admin = world.log(1);
    admin.revoke(9);
    let root = world.root_after(own.state.root(), &world.admins, |root| {
        root.timestampers.remove(0);
        root.admins.remove(1);
        root.retired = Some(vec![world.retire(&admin)]);
    });
    own.root(&root).unwrap();
    // The root was kept, and nothing else yet.
    let mut kept = before;
    kept.roots.push(root);
    let back = TrustState::restore(&Fake, kept).unwrap();
    assert_eq!(back.heads(), own.state.heads());
    assert_eq!(back.missing(), own.state.missing());
}

#[test]
fn entries_for_which_nothing_signed_vouches_are_not_taken_up() {
    let world = World::new(2);
    let (mut good, mut evil) = (world.log(0), world.log(0));
    good.revoke(1);
    evil.revoke(2);
    evil.revoke(3);
    let mut own = world.node();
    own.log(&evil);
    let root = world.root_after(own.state.root(), &world.admins, |root| {
        root.admins.remove(0);
        root.retired = Some(vec![world.retire(&good)]);
    });
    own.root(&root).unwrap();
    assert!(
        own.state.revoked().node(&node(2)).is_some(),
        "until better known"
    );
    let mut back = restarted(&own);
    assert!(back.state.revoked().node(&node(2)).is_none());
    assert_eq!(back.state.missing(), own.state.missing());
    assert!(matches!(back.entries(&good.log, 0), Ok(Offer::New(_))));
    assert!(back.state.revoked().node(&node(1)).is_some());
}
