//! One admin of three: what it may do alone, and what it may not.

use protocol::id::SignerId;
use protocol::limits::LONE_ADMIN_WINDOW_S;
use protocol::time::UnixSeconds;
use protocol::trust::revoked::Standing::{
    self, Confirmed, Effective, Excess, Held, Lift, Lifted, Unconfirmed,
};
use protocol::trust::{Act, Offer, RoleHost};

use crate::world::{NOW, Node, World, Writer, id, node};

fn effective(standings: &[Standing]) -> usize {
    standings.iter().filter(|s| s.is_effective()).count()
}

/// A node with a timestamp that states 100 nodes.
fn stamped(world: &World) -> Node {
    let mut own = world.node();
    let stamp = world.stamp(&own.state, 0, NOW.minus(60));
    own.timestamp(&stamp).unwrap();
    own
}

fn revoking(world: &World, admin: usize, numbers: core::ops::Range<u32>) -> Writer {
    let mut writer = world.log(admin);
    for number in numbers {
        writer.revoke(number);
    }
    writer
}

#[test]
fn one_admin_revokes_a_tenth_of_the_nodes_within_an_hour() {
    let world = World::new(2);
    let mut own = stamped(&world);
    let rogue = revoking(&world, 0, 0..100);
    own.log(&rogue);
    let standings = own.standings(&rogue);
    assert!(
        standings[..10].iter().all(|s| *s == Effective),
        "{standings:?}"
    );
    assert!(standings[10..].iter().all(|s| *s == Excess));
    let revoked = own.state.revoked();
    assert_eq!((revoked.effective(), revoked.ineffective()), (10, 90));
    assert!(revoked.node(&node(9)).is_some() && revoked.node(&node(10)).is_none());
}

#[test]
fn without_timestamps_it_is_five() {
    let world = World::new(2);
    let mut own = world.node();
    let rogue = revoking(&world, 0, 0..100);
    own.log(&rogue);
    assert_eq!(effective(&own.standings(&rogue)), 5);
}

#[test]
fn with_a_threshold_of_one_there_is_no_bound() {
    let world = World::new(1);
    let mut own = world.node();
    let mut only = revoking(&world, 0, 0..100);
    let issuer = id(&world.issuer);
    let (since, since_sequence) = (NOW, None);
    only.write(
        NOW,
        Act::Issuer {
            issuer,
            since,
            since_sequence,
        },
    );
    own.log(&only);
    assert_eq!(effective(&own.standings(&only)), 101);
}

#[test]
fn an_hour_later_it_may_go_on() {
    let world = World::new(2);
    let mut own = stamped(&world);
    let mut admin = revoking(&world, 0, 0..12);
    own.log(&admin);
    let later = NOW.plus(LONE_ADMIN_WINDOW_S);
    own.now = later;
    own.timestamp(&world.stamp(&own.state, 0, later.minus(60)))
        .unwrap();
    for number in 20..32 {
        admin.write(later, Act::Node(node(number)));
    }
    own.log(&admin);
    let standings = own.standings(&admin);
    assert_eq!(effective(&standings[..12]), 10);
    assert_eq!(effective(&standings[12..]), 10);
}

#[test]
fn dating_ahead_or_back_buys_one_more_quota_at_most() {
    let world = World::new(2);
    for step in [LONE_ADMIN_WINDOW_S, 86_400] {
        let mut ahead = world.log(0);
        let mut back = world.log(1);
        for number in 0..100 {
            let far = u64::from(number) * step;
            ahead.write(NOW.plus(far), Act::Node(node(number)));
            back.write(
                NOW.minus(100 * step).plus(far),
                Act::Node(node(number + 200)),
            );
        }
        let mut own = stamped(&world);
        own.log(&ahead);
        own.log(&back);
        assert!(effective(&own.standings(&ahead)) <= 20, "not yet stamped");
        assert_eq!(effective(&own.standings(&back)), 10, "after the last stamp");
        // Those who come later see the same entries within what timestamps say.
        let stamp = world.stamp(&own.state, 0, NOW);
        let mut late = world.node();
        late.timestamp(&stamp).unwrap();
        late.log(&ahead);
        late.log(&back);
        assert!(effective(&late.standings(&ahead)) <= 20);
        assert_eq!(effective(&late.standings(&back)), 10);
    }
}

#[test]
fn a_latecomer_judges_as_everybody_did() {
    let world = World::new(2);
    let mut own = stamped(&world);
    let (mut admin, mut now) = (world.log(0), NOW);
    // Each hour one more than allowed, by a clock that stands still.
    for hour in 0..5 {
        for number in 0..11 {
            admin.revoke(hour * 100 + number);
        }
        own.log(&admin);
        now = now.plus(LONE_ADMIN_WINDOW_S);
        own.now = now;
        own.timestamp(&world.stamp(&own.state, (hour % 2) as usize, now))
            .unwrap();
    }
    let standings = own.standings(&admin);
    assert_eq!(effective(&standings), 50);
    let mut late = world.node();
    late.now = now;
    late.timestamp(&world.stamp(&own.state, 1, now)).unwrap();
    late.log(&admin);
    assert_eq!(late.standings(&admin), standings);
}

#[test]
fn an_honest_log_needs_no_marks() {
    let world = World::new(2);
    let mut own = stamped(&world);
    let (mut admin, mut now) = (world.log(0), NOW);
    for number in 0..200 {
        now = now.plus(600);
        own.now = now;
        if number % 3 == 0 {
            admin.write(now, Act::Node(node(number)));
            own.log(&admin);
        }
        own.timestamp(&world.stamp(&own.state, 0, now.plus(1)))
            .unwrap();
    }
    let draft = own
        .state
        .draft_timestamp(id(&world.timestampers[0]), now.plus(2), 100);
    assert_eq!(draft.logs[0].marks, None);
    assert_eq!(effective(&own.standings(&admin)), 67);
}

#[test]
fn a_second_admin_confirms_what_exceeds() {
    let world = World::new(2);
    let mut own = stamped(&world);
    let rogue = revoking(&world, 0, 0..50);
    own.log(&rogue);
    let second = revoking(&world, 1, 40..45);
    own.log(&second);
    let standings = own.standings(&rogue);
    assert_eq!(&standings[40..45], &[Confirmed; 5]);
    assert_eq!(own.standings(&second), [Confirmed; 5]);
    assert_eq!(effective(&standings), 15);
    assert!(own.state.revoked().node(&node(44)).is_some());
    assert!(own.state.revoked().node(&node(45)).is_none());
}

#[test]
fn one_admin_alone_voids_no_issuer() {
    let world = World::new(2);
    let mut own = stamped(&world);
    let act = Act::Issuer {
        issuer: id(&world.issuer),
        since: NOW,
        since_sequence: None,
    };
    let (mut first, mut second) = (world.log(0), world.log(1));
    first.write(NOW, act.clone());
    own.log(&first);
    assert_eq!(own.standings(&first), [Unconfirmed]);
    assert!(
        own.state
            .revoked()
            .issued(id(&world.issuer), NOW, 1)
            .is_none()
    );
    second.write(NOW.plus(5), act);
    own.log(&second);
    assert_eq!(own.standings(&first), [Confirmed]);
    assert!(
        own.state
            .revoked()
            .issued(id(&world.issuer), NOW, 1)
            .is_some()
    );
}

#[test]
fn one_admin_alone_takes_no_role_its_host() {
    let world = World::new(2);
    let mut own = stamped(&world);
    let hosts = |signers: &[(SignerId, u32)]| {
        let host = |&(signer, number): &(SignerId, u32)| RoleHost {
            signer,
            node: node(number),
        };
        signers.iter().map(host).collect::<Vec<_>>()
    };
    let (issuer, timestamper) = (id(&world.issuer), id(&world.timestampers[0]));
    let elsewhere = id(&world.admins[2]);
    // The third is said to host a key that holds no role, which protects nothing.
    let named = hosts(&[(issuer, 1), (timestamper, 2), (elsewhere, 3)]);
    let next = world.root_after(own.state.root(), &world.admins[..2], |root| {
        root.name_hosts(named);
    });
    own.root(&next).unwrap();
    assert!(own.state.root().role_hosts().contains(&node(1)));
    let first = revoking(&world, 0, 1..5);
    own.log(&first);
    assert_eq!(
        own.standings(&first),
        [Unconfirmed, Unconfirmed, Effective, Effective]
    );
    assert!(own.state.revoked().node(&node(1)).is_none());
    let second = revoking(&world, 1, 1..2);
    own.log(&second);
    assert_eq!(own.standings(&first)[..2], [Confirmed, Unconfirmed]);
    assert!(own.state.revoked().node(&node(1)).is_some());
    // The timestamper leaves its role, and its node is like any other.
    let next = world.root_after(own.state.root(), &world.admins[..2], |root| {
        root.timestampers.remove(0);
    });
    own.root(&next).unwrap();
    assert_eq!(own.standings(&first)[1], Effective);
}

#[test]
fn a_node_that_was_cut_off_stays_so_when_it_is_named_as_a_host() {
    let world = World::new(2);
    let mut own = stamped(&world);
    let first = revoking(&world, 0, 1..2);
    own.log(&first);
    let (signer, node) = (id(&world.issuer), node(1));
    let next = world.root_after(own.state.root(), &world.admins[..2], |root| {
        root.name_hosts(vec![RoleHost { signer, node }]);
    });
    own.root(&next).unwrap();
    assert_eq!(own.standings(&first), [Held]);
    assert!(own.state.revoked().node(&node).is_some());
}

#[test]
fn lifting_takes_the_threshold() {
    let world = World::new(2);
    let mut own = stamped(&world);
    let mut first = world.log(0);
    let entry = first.revoke(1);
    own.log(&first);
    // The admin itself, twice, is one.
    first.write(NOW, Act::Lift(entry));
    first.write(NOW.plus(1), Act::Lift(entry));
    own.log(&first);
    assert_eq!(own.standings(&first), [Effective, Lift, Lift]);
    let mut second = world.log(1);
    second.write(NOW, Act::Lift(entry));
    own.log(&second);
    assert_eq!(own.standings(&first), [Lifted, Lift, Lift]);
    assert!(own.state.revoked().node(&node(1)).is_none());
    // Revoked again it is another entry.
    first.revoke(1);
    own.log(&first);
    assert!(own.state.revoked().node(&node(1)).is_some());
}

#[test]
fn lifting_one_of_two_entries_leaves_the_other() {
    let world = World::new(2);
    let mut own = stamped(&world);
    let (mut first, mut second) = (world.log(0), world.log(1));
    let entry = first.revoke(1);
    second.revoke(1);
    first.write(NOW, Act::Lift(entry));
    second.write(NOW, Act::Lift(entry));
    own.log(&first);
    own.log(&second);
    assert_eq!(own.standings(&first)[0], Lifted);
    assert_eq!(own.standings(&second)[0], Effective, "no longer confirmed");
    assert!(own.state.revoked().node(&node(1)).is_some());
}

#[test]
fn a_fork_confirms_nothing_for_its_own_admin() {
    let world = World::new(2);
    let mut own = stamped(&world);
    let act = Act::Issuer {
        issuer: id(&world.issuer),
        since: NOW,
        since_sequence: None,
    };
    let (mut left, mut right) = (world.log(0), world.log(0));
    left.write(NOW, act.clone());
    right.revoke(1);
    right.write(NOW, act);
    own.log(&left);
    own.log_head(&right.head()).unwrap();
    // Behind what is held first, then from the start.
    let again = own.entries(&right.log, 1).unwrap();
    assert!(matches!(again, Offer::Wanted(_)));
    own.entries(&right.log, 0).unwrap();
    let log = own.state.log(&left.log.admin()).unwrap();
    assert!(log.is_forked());
    let all: Vec<Standing> = log.standings().flatten().copied().collect();
    assert_eq!(all, [Unconfirmed, Effective, Unconfirmed]);
}

#[test]
fn no_second_history_undoes_what_the_first_has_revoked() {
    let world = World::new(2);
    let first = revoking(&world, 0, 0..10);
    // By who has stolen the key: as many as may be, dated before, and then all others.
    let mut second = world.log(0);
    for number in 100..200 {
        second.write(NOW.minus(30), Act::Node(node(number)));
    }
    let third = revoking(&world, 0, 200..300);
    for order in [[&first, &second, &third], [&second, &first, &third]] {
        let mut own = stamped(&world);
        own.log(order[0]);
        for later in &order[1..] {
            // Shorter than what is held, or longer: only the entries from the start tell.
            own.log_head(&later.head()).unwrap();
            for from in [order[0].log.length(), 0] {
                own.entries(&later.log, from).unwrap();
            }
        }
        let log = own.state.log(&first.log.admin()).unwrap();
        assert!(log.is_forked());
        let all: Vec<Standing> = log.standings().flatten().copied().collect();
        assert_eq!((all.len(), effective(&all)), (110, 20), "a quota for each");
        let revoked = own.state.revoked();
        assert!((0..10).all(|n| revoked.node(&node(n)).is_some()));
        assert!(
            (200..300).all(|n| revoked.node(&node(n)).is_none()),
            "no third"
        );
    }
}

#[test]
fn what_was_effective_stays_so() {
    let world = World::new(2);
    // Ten entries by a node that heard of 100 nodes.
    let mut own = stamped(&world);
    let admin = revoking(&world, 0, 0..10);
    own.log(&admin);
    assert_eq!(effective(&own.standings(&admin)), 10);
    // A timestamp of the very second states three nodes.
    let stamp = world.stamp_otherwise(&own.state, 1, NOW, |t| {
        t.nodes = 3;
        t.logs.iter_mut().for_each(|l| l.marks = None);
    });
    assert!(matches!(own.timestamp(&stamp), Ok(Offer::New(_))));
    let standings = own.standings(&admin);
    assert_eq!(effective(&standings), 10);
    assert_eq!(standings.iter().filter(|s| **s == Held).count(), 5);
    assert_eq!(own.state.memory().held.len(), 5);
    // Held ones are lifted like others.
    let (mut first, mut second) = (admin.clone(), world.log(1));
    for kept in admin.log.entries() {
        first.write(NOW, Act::Lift(kept.cause.entry));
        second.write(NOW, Act::Lift(kept.cause.entry));
    }
    own.log(&first);
    own.log(&second);
    assert_eq!(own.state.revoked().effective(), 0);
    assert!(own.state.memory().held.is_empty());
    assert_eq!(own.state.greatest_time(), UnixSeconds(NOW.0));
}
