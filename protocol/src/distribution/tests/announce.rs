//! Announcements: the same on every machine that holds the same, small, and enough for one that
//! lacks a little.

use super::net::{Net, node};
use super::world::World;
use crate::distribution::message::{BundlePush, Head, LogPush, Message};
use crate::distribution::{ANNOUNCED_ENTRIES, ANNOUNCED_TAIL_BYTES, Change, Event, Machine};

fn last(machine: &Machine, change: &Change) -> Message {
    let mut announced = machine.announcements(change);
    let last = announced.pop().unwrap();
    assert!(announced.is_empty());
    last
}

fn log(world: &World) -> Change {
    let admin = world.admin(0);
    let (from, length) = (0, 0);
    Change::Log {
        admin,
        from,
        length,
    }
}

#[test]
fn who_holds_the_same_says_the_same_however_it_came() {
    let mut world = World::new(1, 1);
    let mut net = Net::new(&world, 2, 1);
    net.link(0, 1);
    net.settle();
    // One has them one by one, the other all at once.
    for _ in 0..3 {
        let documents = world.revoke(0, 1);
        net.publish(0, documents);
    }
    net.settle();
    let bundle = world.bundle(1_000);
    net.publish(0, bundle);
    let timestamp = world.timestamp();
    net.publish(0, vec![timestamp]);
    net.settle();
    assert!(net.agree());
    let timestamper = world.timestamper();
    for change in [
        log(&world),
        Change::Root { version: 1 },
        Change::Bundle { version: 1 },
        Change::Timestamp {
            timestamper,
            version: 1,
        },
    ] {
        let said = |host: usize| last(&net.hosts[host].machine, &change);
        assert_eq!(said(0), said(1));
        assert!(matches!(said(0), Message::Head(_)));
    }
}

#[test]
fn one_who_lacks_a_little_takes_it_from_an_announcement() {
    let mut world = World::new(1, 1);
    let mut net = Net::new(&world, 2, 2);
    for count in [1, 5] {
        let documents = world.revoke(0, count);
        net.publish(0, documents);
    }
    // Linked in the eyes of the second alone: nothing was pushed to it.
    net.event(1, Event::PeerUp(node(0)));
    let announced = last(&net.hosts[0].machine, &log(&world));
    net.event(1, Event::Message(node(0), &announced));
    assert!(net.agree());
    // And goes on with the same words.
    assert_eq!(last(&net.hosts[1].machine, &log(&world)), announced);
    net.nobody_misbehaved();
}

#[test]
fn only_the_newest_entries_and_small_bodies_go_along() {
    let mut world = World::new(1, 1);
    let mut net = Net::new(&world, 1, 3);
    let many = ANNOUNCED_ENTRIES as u64 + 10;
    let documents = world.revoke(0, many);
    net.publish(0, documents);
    let large = world.bundle(ANNOUNCED_TAIL_BYTES + 1);
    net.publish(0, large);
    let machine = &net.hosts[0].machine;
    let Message::Head(Head::Log(LogPush { from, entries, .. })) = last(machine, &log(&world))
    else {
        panic!("not a log");
    };
    assert_eq!((from, entries.len()), (10, ANNOUNCED_ENTRIES));
    let bundle = last(machine, &Change::Bundle { version: 1 });
    let Message::Head(Head::Bundle(BundlePush { body, .. })) = bundle else {
        panic!("not a bundle");
    };
    assert_eq!(body, None);
}

#[test]
fn both_histories_of_a_forked_log_are_announced() {
    let mut world = World::new(1, 1);
    let mut net = Net::new(&world, 1, 4);
    let mut other = world.clone();
    other.use_other_reason();
    let first = world.revoke(0, 1);
    net.publish(0, first);
    for document in other.revoke(0, 1) {
        net.event(0, Event::Publish(document));
    }
    let announced = net.hosts[0].machine.announcements(&log(&world));
    assert_eq!(announced.len(), 2);
    let carries = |message: &Message| match message {
        Message::Head(Head::Log(push)) => push.entries.len(),
        other => panic!("{other:?}"),
    };
    assert!(announced.iter().all(|message| carries(message) == 0));
    // Each names its own head.
    assert_ne!(announced[0], announced[1]);
}

#[test]
fn who_took_a_document_from_here_says_so_when_compared() {
    let mut world = World::new(1, 1);
    let mut net = Net::new(&world, 3, 5);
    net.link(0, 1);
    net.link(0, 2);
    net.settle();
    let bundle = world.bundle(1_000);
    net.publish(0, bundle);
    net.settle();
    assert!(net.agree());
    let heard = |net: &Net, of: usize| {
        let heads = net.hosts[0].machine.peer_heads(&node(of)).unwrap();
        heads.bundle.as_ref().map(|bundle| bundle.version)
    };
    net.event(0, Event::Compare);
    net.settle();
    assert_eq!([heard(&net, 1), heard(&net, 2)], [Some(1); 2]);
}
