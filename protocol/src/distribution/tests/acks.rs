//! Acknowledgements: given for what is on disk, passed on once, gathered by who asked.

use std::collections::BTreeSet;

use super::net::{Net, node};
use super::world::{NOW_MS, World};
use crate::distribution::ack::{Ack, Since};
use crate::distribution::head::LogRow;
use crate::distribution::message::{Acks, Bytes, Message, PullAcks};
use crate::distribution::pull::{
    MAX_OWN_PULLS, MAX_PULLS, MAX_PULLS_PER_PEER, MAX_PULLS_REMEMBERED_PER_PEER, PULL_MEMORY_MS,
    PullId,
};
use crate::distribution::{Effect, Event, Machine};
use crate::id::NodeId;
use crate::time::UnixMillis;

fn pull(net: &mut Net, at: usize, world: &World, length: u64) -> PullId {
    let id = PullId([u8::try_from(length).unwrap(); 16]);
    let log = state_at(net, world, length);
    let event = Event::Pull {
        id,
        log,
        life_ms: 10_000,
    };
    net.event(at, event);
    id
}

/// The first admin's log when it had so many entries, as any node knows it.
fn state_at(net: &Net, world: &World, length: u64) -> LogRow {
    let admin = world.admin(0);
    let mut logs = net
        .hosts
        .iter()
        .filter_map(|h| h.machine.state().log(&admin));
    let link = logs.find_map(|log| log.log().link_at(length)).unwrap();
    LogRow {
        admin,
        length,
        link,
    }
}

/// In force and on disk at these times.
fn since(in_force: u64, on_disk: u64) -> Option<Since> {
    let [in_force, on_disk] = [in_force, on_disk].map(UnixMillis);
    Some(Since { in_force, on_disk })
}

fn answered(net: &Net, at: usize) -> BTreeSet<NodeId> {
    let acks = &net.hosts[at].told.acks;
    let nodes: BTreeSet<NodeId> = acks.iter().map(|(_, ack)| ack.node).collect();
    assert_eq!(nodes.len(), acks.len(), "one of each");
    nodes
}

#[test]
fn everybody_answers_who_asks() {
    let mut world = World::new(1, 1);
    let mut net = Net::new(&world, 25, 1);
    net.ring(20);
    net.settle();
    let log = world.revoke(0, 2);
    net.publish(3, log);
    net.settle();
    let id = pull(&mut net, 7, &world, 2);
    net.pass(3_000);
    assert_eq!(answered(&net, 7).len(), 25);
    for (of, ack) in &net.hosts[7].told.acks {
        assert_eq!((*of, ack.log), (id, state_at(&net, &world, 2)));
        assert_eq!(ack.since, since(NOW_MS, NOW_MS));
    }
    for at in (0..25).filter(|&at| at != 7) {
        assert!(net.hosts[at].told.acks.is_empty());
    }
    net.nobody_misbehaved();
}

#[test]
fn what_is_not_on_disk_is_not_acknowledged() {
    let mut world = World::new(1, 1);
    let mut net = Net::new(&world, 3, 2);
    net.link(0, 1);
    net.link(1, 2);
    net.settle();
    net.hosts[2].disk = false;
    let log = world.revoke(0, 1);
    net.publish(0, log);
    net.settle();
    assert!(net.agree(), "in force everywhere");
    pull(&mut net, 0, &world, 1);
    net.pass(1_000);
    assert_eq!(answered(&net, 0), BTreeSet::from([node(0), node(1)]));
    // It is written while the request is alive: the answer follows.
    let (id, _) = net.hosts[2].told.writes[0];
    net.event(2, Event::Persisted(id));
    net.pass(1_000);
    assert_eq!(answered(&net, 0).len(), 3);
    let late = net.hosts[0].told.acks[2].1;
    assert_eq!(late.since, since(NOW_MS, NOW_MS + 1_000));
}

#[test]
fn a_crash_before_the_disk_loses_nothing_acknowledged() {
    let mut world = World::new(1, 1);
    let mut net = Net::new(&world, 2, 3);
    net.link(0, 1);
    net.settle();
    let first = world.revoke(0, 1);
    net.publish(0, first);
    net.settle();
    net.hosts[1].disk = false;
    let second = world.revoke(0, 1);
    net.publish(0, second);
    net.settle();
    assert!(net.agree());
    pull(&mut net, 0, &world, 2);
    net.pass(500);
    assert_eq!(answered(&net, 0), BTreeSet::from([node(0)]));
    // Node 1 dies and starts anew from what was confirmed.
    let written = net.hosts[1].told.writes[0].1.clone();
    let state = super::world::replayed(&net.fake, World::new(1, 1).state(), &written);
    assert_eq!(state.heads().log_length(&world.admin(0)), 1);
    net.unlink(0, 1);
    let now = UnixMillis(net.now);
    net.hosts[1].machine = Machine::new(node(1), Default::default(), state, now);
    net.hosts[1].disk = true;
    net.link(0, 1);
    net.pass(1_000);
    assert!(net.agree());
    assert_eq!(answered(&net, 0).len(), 2, "the request found it again");
}

#[test]
fn what_was_on_disk_before_a_restart_is_acknowledged_without_a_time() {
    let mut world = World::new(1, 1);
    let mut net = Net::new(&world, 1, 4);
    let log = world.revoke(0, 3);
    net.publish(0, log);
    let documents = net.hosts[0].told.writes[0].1.clone();
    let state = super::world::replayed(&net.fake, World::new(1, 1).state(), &documents);
    let restarted = net.join(state);
    net.link(0, restarted);
    pull(&mut net, 0, &world, 2);
    net.pass(500);
    let acks = &net.hosts[0].told.acks;
    assert_eq!(acks.len(), 2);
    assert_eq!((acks[1].1.log.length, acks[1].1.since), (2, None));
}

#[test]
fn requests_are_bounded_and_leave_room_for_the_operator() {
    let mut world = World::new(1, 1);
    let mut net = Net::new(&world, 2, 5);
    net.link(0, 1);
    let mut ahead = world.state();
    for document in &world.clone().revoke(0, 1) {
        let now = UnixMillis(NOW_MS).seconds();
        ahead.offer(&net.fake, now, document).unwrap();
    }
    let state = ahead.heads().rows(&world.admin(0))[0];
    let strangers: Vec<NodeId> = (100..130).map(node).collect();
    for &stranger in &strangers {
        net.event(0, Event::PeerUp(stranger));
    }
    net.settle();
    let before = net.hosts[1].told.sent;
    let mut number = 0_u64;
    for &stranger in &strangers {
        for _ in 0..50 {
            number += 1;
            let mut id = [0; 16];
            id[..8].copy_from_slice(&number.to_be_bytes());
            let pull = Message::PullAcks(PullAcks {
                id: PullId(id),
                log: state,
                hops: 255,
                life_ms: u64::MAX,
            });
            net.event(0, Event::Message(stranger, &pull));
            net.event(0, Event::Message(stranger, &pull));
        }
    }
    net.settle();
    // What it has no room for it refuses; it has nothing to acknowledge.
    let refused = (MAX_PULLS - MAX_PULLS_PER_PEER) as u64;
    assert_eq!(net.hosts[1].told.sent, before + refused);
    let passed = |net: &Net, to: NodeId| {
        let outside = &net.hosts[0].told.outside;
        let pulls = outside
            .iter()
            .filter(|(peer, m)| *peer == to && matches!(**m, Message::PullAcks(_)));
        pulls.count()
    };
    // The last stranger was passed every request that was let in, its own excepted.
    assert_eq!(passed(&net, strangers[29]), MAX_PULLS);
    assert_eq!(passed(&net, strangers[0]), MAX_PULLS - MAX_PULLS_PER_PEER);
    // The operator's own still go out, up to their bound.
    let log = world.revoke(0, 1);
    net.publish(0, log);
    for own in 1..=u8::try_from(MAX_OWN_PULLS).unwrap() + 3 {
        let event = Event::Pull {
            id: PullId([own; 16]),
            log: state,
            life_ms: 5_000,
        };
        net.event(0, event);
    }
    assert_eq!(net.hosts[0].told.acks.len(), MAX_OWN_PULLS);
    let refused = &net.hosts[0].told.refused;
    assert_eq!(refused.len(), 3, "and say so");
    assert!(refused.iter().all(|(_, by)| by.is_none()));
    // All of them end by themselves.
    net.pass(61_000);
    pull(&mut net, 0, &world, 1);
    assert_eq!(net.hosts[0].told.acks.len(), MAX_OWN_PULLS + 1);
}

#[test]
fn a_request_travels_no_further_than_it_may() {
    let mut world = World::new(1, 1);
    let mut net = Net::new(&world, 4, 6);
    for at in 0..3 {
        net.link(at, at + 1);
    }
    let log = world.revoke(0, 1);
    net.publish(0, log);
    net.settle();
    let request = Message::PullAcks(PullAcks {
        id: PullId([9; 16]),
        log: state_at(&net, &world, 1),
        hops: 1,
        life_ms: 5_000,
    });
    let asker = node(77);
    net.event(0, Event::PeerUp(asker));
    net.event(0, Event::Message(asker, &request));
    net.pass(2_000);
    let outside = &net.hosts[0].told.outside;
    let acks = outside.iter().filter_map(|(_, message)| match &**message {
        Message::Acks(acks) => Some(acks.acks.len()),
        _ => None,
    });
    assert_eq!(acks.sum::<usize>(), 2, "nodes 0 and 1");
}

#[test]
fn only_acknowledgements_that_hold_are_passed_on() {
    let mut world = World::new(1, 1);
    let mut net = Net::new(&world, 2, 7);
    net.link(0, 1);
    let log = world.revoke(0, 1);
    net.publish(0, log);
    net.settle();
    let id = pull(&mut net, 0, &world, 1);
    net.pass(1_000);
    assert_eq!(answered(&net, 0).len(), 2);
    let mallory = node(66);
    net.event(0, Event::PeerUp(mallory));
    let (mesh, log) = (world.state().mesh(), state_at(&net, &world, 1));
    let ack = |node| Ack {
        mesh,
        node,
        log,
        since: None,
    };
    let victim = node(50);
    let keys = super::fake::Keys::of("victim");
    net.directory
        .0
        .insert(victim, crate::crypto::Signer::public(&keys).clone());
    let signed = ack(victim).sign(&net.fake, &keys).unwrap();
    let stranger = ack(node(51)).sign(&net.fake, &keys).unwrap();
    let mut forged = signed.clone();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let say = |net: &mut Net, bytes: &[u8]| {
        let acks = vec![Bytes::from(bytes)];
        let message = Message::Acks(Acks { id, acks });
        net.event(0, Event::Message(mallory, &message));
    };
    say(&mut net, &stranger);
    assert_eq!(net.hosts[0].told.misbehaved, [], "of a node unknown here");
    say(&mut net, &forged);
    assert_eq!(net.hosts[0].told.misbehaved.len(), 1);
    assert_eq!(answered(&net, 0).len(), 2);
    say(&mut net, &signed);
    say(&mut net, &signed);
    assert_eq!(
        answered(&net, 0).len(),
        3,
        "counted once, whoever brought it"
    );
    // An answer to nobody's question is dropped unread.
    let verified = net.fake.verified.load(std::sync::atomic::Ordering::Relaxed);
    let message = Message::Acks(Acks {
        id: PullId([200; 16]),
        acks: vec![Bytes::from(&forged[..]); 50],
    });
    let mut out = Vec::new();
    net.raw(0, Event::Message(mallory, &message), &mut out);
    assert!(!out.iter().any(|e| matches!(e, Effect::Misbehaved(..))));
    let after = net.fake.verified.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(verified, after);
}

/// A request for the state of `net`'s first log with one entry, as a stranger sends it.
fn request(net: &Net, world: &World, number: u64) -> (PullId, Message) {
    let mut id = [7; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    let id = PullId(id);
    let pull = PullAcks {
        id,
        log: state_at(net, world, 1),
        hops: 32,
        life_ms: 60_000,
    };
    (id, Message::PullAcks(pull))
}

/// What node 0 has sent to a peer outside the net.
fn sent_to(net: &Net, peer: NodeId, of: impl Fn(&Message) -> bool) -> usize {
    let outside = net.hosts[0].told.outside.iter();
    outside.filter(|(to, m)| *to == peer && of(m)).count()
}

/// Nodes in a row that have one entry, and strangers linked to the first.
fn row(nodes: usize, strangers: usize, seed: u64) -> (Net, World, Vec<NodeId>) {
    let mut world = World::new(1, 1);
    let mut net = Net::new(&world, nodes, seed);
    for at in 1..nodes {
        net.link(at - 1, at);
    }
    let log = world.revoke(0, 1);
    net.publish(0, log);
    net.settle();
    let strangers: Vec<NodeId> = (100..100 + strangers).map(node).collect();
    for &stranger in &strangers {
        net.event(0, Event::PeerUp(stranger));
    }
    (net, world, strangers)
}

#[test]
fn requests_that_are_ended_make_room_for_others_everywhere() {
    let (mut net, world, _) = row(3, 0, 8);
    let log = state_at(&net, &world, 1);
    let ask = |net: &mut Net, number: u8| {
        let id = PullId([number; 16]);
        let life_ms = 60_000;
        net.event(0, Event::Pull { id, log, life_ms });
        net.pass(100);
        let acks = net.hosts[0].told.acks.iter();
        let nodes = acks.filter(|(of, _)| *of == id).count();
        net.event(0, Event::EndPull(id));
        net.settle();
        nodes
    };
    let most = u8::try_from(MAX_PULLS_REMEMBERED_PER_PEER).unwrap();
    for number in 1..=most {
        assert_eq!(ask(&mut net, number), 3, "request {number}");
    }
    assert_eq!(ask(&mut net, most + 1), 0);
    let refused = (PullId([most + 1; 16]), None);
    assert_eq!(net.hosts[0].told.refused, [refused]);
    net.pass(PULL_MEMORY_MS);
    assert_eq!(ask(&mut net, most + 2), 3);
}

#[test]
fn who_begins_and_ends_gains_no_further_requests() {
    let (mut net, world, strangers) = row(1, 2, 9);
    for number in 0..100 {
        let (id, request) = request(&net, &world, number);
        net.event(0, Event::Message(strangers[0], &request));
        net.event(0, Event::Message(strangers[0], &Message::EndPull(id)));
    }
    let passed = |m: &Message| matches!(m, Message::PullAcks(_));
    let refused = |m: &Message| matches!(m, Message::PullRefused(_));
    let most = MAX_PULLS_REMEMBERED_PER_PEER;
    assert_eq!(sent_to(&net, strangers[1], passed), most);
    assert_eq!(sent_to(&net, strangers[0], refused), 100 - most);
}

#[test]
fn a_copy_that_comes_late_begins_nothing_anew() {
    let (mut net, world, strangers) = row(1, 3, 10);
    let (id, request) = request(&net, &world, 1);
    net.event(0, Event::Message(strangers[0], &request));
    net.event(0, Event::Message(strangers[0], &Message::EndPull(id)));
    let before = net.hosts[0].told.outside.len();
    net.event(0, Event::Message(strangers[1], &request));
    net.event(0, Event::Message(strangers[0], &request));
    net.pass(PULL_MEMORY_MS / 2);
    let after = &net.hosts[0].told.outside[before..];
    let about = |m: &Message| matches!(m, Message::PullAcks(_) | Message::Acks(_));
    assert!(!after.iter().any(|(_, m)| about(m)));
}

#[test]
fn only_who_brought_a_request_ends_it() {
    let (mut net, world, strangers) = row(2, 3, 11);
    net.unlink(0, 1);
    let (id, request) = request(&net, &world, 1);
    net.event(0, Event::Message(strangers[0], &request));
    net.event(0, Event::Message(strangers[1], &Message::EndPull(id)));
    let ended = |m: &Message| matches!(m, Message::EndPull(_));
    let acked = |m: &Message| matches!(m, Message::Acks(_));
    assert_eq!(sent_to(&net, strangers[2], ended), 0);
    net.pass(200);
    let own = sent_to(&net, strangers[0], acked);
    // A node that comes meanwhile is asked and its answer goes on.
    net.link(0, 1);
    net.pass(1_000);
    assert_eq!(sent_to(&net, strangers[0], acked), own + 1);
    net.event(0, Event::Message(strangers[0], &Message::EndPull(id)));
    net.event(0, Event::Message(strangers[0], &Message::EndPull(id)));
    assert_eq!(sent_to(&net, strangers[2], ended), 1);
    assert_eq!(sent_to(&net, strangers[0], ended), 0);
}

#[test]
fn who_asks_is_told_once_that_somebody_has_no_room() {
    let (mut net, world, strangers) = row(3, 8, 12);
    // The first node of the row is full of what strangers ask.
    for number in 0..MAX_PULLS as u64 {
        let (_, request) = request(&net, &world, number);
        let from = strangers[usize::try_from(number).unwrap() / MAX_PULLS_PER_PEER];
        net.event(0, Event::Message(from, &request));
    }
    net.settle();
    let full = net.hosts[0].told.refused.len();
    let id = PullId([99; 16]);
    let log = state_at(&net, &world, 1);
    let life_ms = 5_000;
    net.event(2, Event::Pull { id, log, life_ms });
    net.pass(500);
    assert_eq!(net.hosts[2].told.refused, [(id, Some(node(1)))]);
    let nodes = |net: &Net| {
        let acks = net.hosts[2].told.acks.iter();
        let nodes = acks.filter(|(of, _)| *of == id).map(|(_, ack)| ack.node);
        nodes.collect::<BTreeSet<NodeId>>()
    };
    assert_eq!(nodes(&net), BTreeSet::from([node(1), node(2)]));
    // Whoever says so again, or of what it was never asked, is not heard.
    for from in [node(1), node(77)] {
        net.event(2, Event::PeerUp(from));
        net.event(2, Event::Message(from, &Message::PullRefused(id)));
        let unknown = Message::PullRefused(PullId([98; 16]));
        net.event(2, Event::Message(from, &unknown));
    }
    assert_eq!(net.hosts[2].told.refused.len(), 1);
    assert_eq!(net.hosts[0].told.refused.len(), full, "it asked nothing");
}
