//! Honest machines: what one has, all get, once, in order, and no more is said than needed.

use super::net::{Net, Weather, node};
use super::world::World;
use crate::distribution::message::{Head, Message};
use crate::distribution::{Change, Document, Effect, Event, TrustState};
use crate::trust::state::Kept;

#[test]
fn a_revocation_reaches_everybody_without_a_request() {
    let mut world = World::new(1, 1);
    let mut net = Net::new(&world, 30, 1);
    net.ring(30);
    net.settle();
    for host in &mut net.hosts {
        host.told.sent = 0;
    }
    let log = world.revoke(0, 1);
    net.publish(4, log);
    net.settle();
    assert!(net.agree());
    assert_eq!(net.heads(29).log_length(&world.admin(0)), 1);
    net.nobody_misbehaved();
    for host in &net.hosts {
        assert_eq!(host.told.changed.len(), 1, "taken once");
    }
    // At most once each way over each of 60 links, and mostly not back.
    let sent: u64 = net.hosts.iter().map(|host| host.told.sent).sum();
    assert!(sent <= 90, "{sent} messages");
}

#[test]
fn nothing_goes_back_to_who_sent_it() {
    let mut world = World::new(1, 1);
    let mut net = Net::new(&world, 2, 2);
    net.link(0, 1);
    net.settle();
    let before = net.hosts[1].told.sent;
    let log = world.revoke(0, 3);
    net.publish(0, log);
    net.settle();
    assert!(net.agree());
    assert_eq!(net.hosts[1].told.sent, before);
}

#[test]
fn what_was_lost_comes_again_to_who_asks() {
    let mut world = World::new(1, 1);
    let mut net = Net::new(&world, 2, 3);
    net.link(0, 1);
    net.settle();
    let mut lost = Vec::new();
    for document in world.revoke(0, 1) {
        net.raw(0, Event::Publish(document), &mut lost);
    }
    let mut asked = Vec::new();
    // Once, however often it is told to, and nobody who is no peer.
    for peer in [0, 0, 9] {
        net.raw(1, Event::Ask(node(peer)), &mut asked);
    }
    let [Effect::Send(to, heads)] = &asked[..] else {
        panic!("{asked:?}");
    };
    assert_eq!(*to, node(0));
    let mut shown = Vec::new();
    net.raw(0, Event::Message(node(1), heads), &mut shown);
    assert_eq!(net.heads(1).log_length(&world.admin(0)), 0);
    for effect in shown {
        if let Effect::Send(_, message) = effect {
            net.raw(1, Event::Message(node(0), &message), &mut Vec::new());
        }
    }
    assert_eq!(net.heads(1).log_length(&world.admin(0)), 1);
}

#[test]
fn in_force_then_sent_on_then_written() {
    let mut world = World::new(1, 1);
    let mut net = Net::new(&world, 3, 3);
    net.link(0, 1);
    net.link(1, 2);
    net.settle();
    let log = world.revoke(0, 1);
    let message = {
        let mut out = Vec::new();
        for document in log {
            net.raw(0, Event::Publish(document), &mut out);
        }
        let sent = |effect: &Effect| match effect {
            Effect::Send(_, message) => Some(message.clone()),
            _ => None,
        };
        out.iter().find_map(sent).unwrap()
    };
    let mut out = Vec::new();
    net.raw(1, Event::Message(node(0), &message), &mut out);
    let order: Vec<&str> = out
        .iter()
        .map(|effect| match effect {
            Effect::Changed(_) => "changed",
            Effect::Send(to, _) if *to == node(2) => "sent on",
            Effect::Persist { .. } => "written",
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(order, ["changed", "sent on", "written"]);
}

#[test]
fn small_bodies_travel_along_and_large_ones_are_fetched() {
    for (size, fetched) in [(1_000, false), (3 << 20, true)] {
        let mut world = World::new(1, 1);
        let mut net = Net::new(&world, 6, 4);
        net.ring(2);
        net.settle();
        let bundle = world.bundle(size);
        let mut out = Vec::new();
        for document in bundle {
            net.raw(0, Event::Publish(document), &mut out);
        }
        let body = out.iter().find_map(|effect| match effect {
            Effect::Send(_, message) => match &**message {
                Message::Head(Head::Bundle(push)) => Some(push.body.is_some()),
                _ => None,
            },
            _ => None,
        });
        assert_eq!(body, Some(!fetched));
        net.perform(0, out);
        net.pass(20_000);
        assert!(net.agree(), "{size}");
        assert_eq!(net.heads(5).bundle.map(|b| b.version), Some(1));
        net.nobody_misbehaved();
        for at in 0..6 {
            assert_eq!(net.hosts[at].machine.buffered(), 0, "no buffer is left");
        }
    }
}

#[test]
fn a_long_log_is_fetched_in_parts() {
    let mut world = World::new(1, 1);
    let mut net = Net::new(&world, 1, 5);
    for _ in 0..4 {
        let log = world.revoke(0, 5_000);
        net.publish(0, log);
    }
    let late = net.join(world.state());
    net.link(0, late);
    net.pass(10_000);
    assert!(net.agree());
    assert_eq!(net.heads(late).log_length(&world.admin(0)), 20_000);
    assert!(net.hosts[late].told.synced.contains(&node(0)));
    net.nobody_misbehaved();
}

#[test]
fn two_sides_with_different_logs_unite() {
    let mut world = World::new(3, 2);
    let mut net = Net::new(&world, 10, 6);
    for at in 0..4 {
        net.link(at, at + 1);
        net.link(at + 5, (at + 6) % 10);
    }
    net.settle();
    let (left, right) = (world.revoke(0, 7), world.revoke(1, 9));
    net.publish(0, left);
    net.publish(9, right);
    net.settle();
    assert!(!net.agree());
    net.link(4, 5);
    net.settle();
    assert!(net.agree());
    assert_eq!(net.heads(0).log_length(&world.admin(1)), 9);
    assert_eq!(net.heads(9).log_length(&world.admin(0)), 7);
    net.nobody_misbehaved();
}

#[test]
fn a_latecomer_is_synced_only_with_everything_in_force() {
    let mut world = World::new(2, 1);
    let mut net = Net::new(&world, 1, 7);
    let mut documents = world.bundle(2 << 20);
    documents.extend(world.revoke(0, 10));
    documents.extend(world.revoke(1, 3_000));
    documents.push(world.timestamp());
    net.publish(0, documents);
    let late = net.join(world.state());
    net.link(0, late);
    let mut steps = 0;
    while net.step() {
        steps += 1;
        let synced = net.hosts[late].told.synced.contains(&node(0));
        assert_eq!(synced, net.agree() && synced, "synced behind at {steps}");
    }
    assert!(net.agree());
    assert!(net.hosts[late].told.synced.contains(&node(0)));
    assert!(net.hosts[0].told.synced.contains(&node(late)));
    assert!(net.hosts[late].machine.is_synced(&node(0)));
}

#[test]
fn a_node_many_roots_behind_catches_up() {
    let mut world = World::new(3, 2);
    let genesis = world.state();
    let mut net = Net::new(&world, 1, 8);
    for _ in 0..60 {
        let root = world.rotate();
        net.publish(0, vec![root]);
    }
    let mut documents = world.bundle(500);
    documents.push(world.timestamp());
    documents.extend(world.revoke(2, 2));
    net.publish(0, documents);
    let late = net.join(genesis);
    net.link(0, late);
    net.pass(5_000);
    assert!(net.agree());
    assert_eq!(net.heads(late).root.version, 61);
    assert!(net.hosts[late].told.synced.contains(&node(0)));
    net.nobody_misbehaved();
}

#[test]
fn revocations_of_an_admin_who_has_left_are_there_before_a_latecomer_is_synced() {
    let mut world = World::new(3, 2);
    let genesis = world.state();
    let mut net = Net::new(&world, 1, 14);
    let left = world.admin(2);
    let log = world.revoke(2, 2_000);
    net.publish(0, log);
    let root = world.replace_admin(2);
    net.publish(0, vec![root]);
    let late = net.join(genesis);
    net.link(0, late);
    while net.step() {
        let synced = net.hosts[late].told.synced.contains(&node(0));
        assert!(!synced || net.heads(late).log_length(&left) == 2_000);
    }
    net.pass(1_000);
    assert!(net.agree());
    assert!(net.hosts[late].told.synced.contains(&node(0)));
    assert!(net.hosts[0].told.synced.contains(&node(late)));
    net.nobody_misbehaved();
}

#[test]
fn a_newcomer_with_the_roots_alone_gets_the_revocations_of_an_admin_who_has_left() {
    for entries in [1, 20_000] {
        let mut world = World::new(3, 2);
        let mut net = Net::new(&world, 2, 21);
        net.link(0, 1);
        let left = world.admin(2);
        let log = world.revoke(2, entries);
        net.publish(0, log);
        let mut documents = vec![world.replace_admin(2)];
        documents.push(world.timestamp());
        net.publish(0, documents);
        net.settle();
        // As it enrols: it was given the chain of roots, and nothing else.
        let kept = Kept {
            roots: net.hosts[0].machine.state().kept().roots,
            ..Kept::default()
        };
        let state = TrustState::restore(&net.fake, kept).unwrap();
        let late = net.join(state);
        net.link(1, late);
        net.pass(3_000);
        assert_eq!(net.heads(late).log_length(&left), entries);
        assert!(net.agree());
        assert!(net.hosts[late].told.synced.contains(&node(1)));
        let state = net.hosts[late].machine.state().clone();
        assert!(state.complete_timestamp().is_some());
        // Who it has them from has nothing to do with it: it gives them on, and keeps them.
        net.unlink(1, late);
        let restored = TrustState::restore(&net.fake, state.kept()).unwrap();
        assert_eq!(restored.heads(), *net.heads(late));
        let later = net.join(world.state());
        net.link(late, later);
        net.pass(5_000);
        assert_eq!(net.heads(later).log_length(&left), entries);
        net.nobody_misbehaved();
    }
}

#[test]
fn what_a_root_binds_of_a_log_comes_though_it_was_not_there_at_the_restart() {
    let mut world = World::new(3, 2);
    let mut net = Net::new(&world, 1, 22);
    let left = world.admin(2);
    let log = world.revoke(2, 2);
    net.publish(0, log);
    let root = world.replace_admin(2);
    net.publish(0, vec![root.clone()]);
    // It took the root and stopped before it had the log.
    let state = super::world::replayed(&net.fake, world.state(), &[root]);
    let state = TrustState::restore(&net.fake, state.kept()).unwrap();
    let late = net.join(state);
    // A peer that has no more is no help, and does no harm.
    let poor = net.join(world.state());
    net.link(late, poor);
    net.pass(20_000);
    assert_eq!(net.heads(late).log_length(&left), 0);
    net.link(0, late);
    net.pass(5_000);
    assert_eq!(net.heads(late).log_length(&left), 2);
    assert!(net.agree());
    net.nobody_misbehaved();
}

#[test]
fn who_has_more_of_a_retired_log_than_counts_holds_nobody_up() {
    let mut world = World::new(3, 2);
    let mut net = Net::new(&world, 2, 15);
    let short = world.revoke(2, 2);
    net.publish(0, short.clone());
    net.publish(1, short);
    // Admin 2 is retired at two entries while it signs a third, which only node 1 sees.
    let mut rogue = world.clone();
    let third = rogue.revoke(2, 1);
    net.publish(1, third);
    let root = world.replace_admin(2);
    net.publish(0, vec![root]);
    net.link(0, 1);
    net.settle();
    assert!(net.agree());
    assert!(net.hosts[0].told.synced.contains(&node(1)));
    assert!(net.hosts[1].told.synced.contains(&node(0)));
    net.nobody_misbehaved();
}

#[test]
fn a_log_that_grows_while_it_is_fetched_is_fetched_in_steps() {
    let mut world = World::new(1, 1);
    let mut net = Net::new(&world, 1, 16);
    let log = world.revoke(0, 30_000);
    net.publish(0, log);
    let late = net.join(world.state());
    net.link(0, late);
    let mut growths = 0;
    while net.step() {
        if growths < 40 && net.hosts[late].machine.buffered() > 0 {
            growths += 1;
            let more = world.revoke(0, 1);
            net.publish(0, more);
        }
    }
    assert!(growths > 0);
    assert!(net.agree());
    // About the size of the log, not a multiple of it.
    let size = net.hosts[0].told.weight;
    assert!(size < 6_000_000, "{size} bytes sent");
    net.nobody_misbehaved();
}

#[test]
fn documents_under_a_root_not_known_yet_wait_for_it() {
    let mut world = World::new(3, 2);
    let mut net = Net::new(&world, 3, 9);
    net.link(0, 1);
    net.link(1, 2);
    net.settle();
    // Node 1 hears of a log of a new admin, of a bundle and of a time before the root.
    let root = world.replace_admin(2);
    net.publish(0, vec![root]);
    let mut documents = world.revoke(2, 2);
    documents.extend(world.bundle(100));
    documents.push(world.timestamp());
    net.publish(0, documents);
    net.weather.reorder = 100;
    net.pass(20_000);
    assert!(net.agree());
    assert_eq!(net.heads(2).log_length(&world.admin(2)), 2);
    net.nobody_misbehaved();
}

#[test]
fn a_new_epoch_begins_bundles_and_timestamps_anew() {
    let mut world = World::new(1, 1);
    let mut net = Net::new(&world, 5, 10);
    net.ring(0);
    net.settle();
    for _ in 0..3 {
        let mut documents = world.bundle(100);
        documents.push(world.timestamp());
        net.publish(0, documents);
    }
    net.settle();
    assert_eq!(net.heads(3).bundle.map(|b| b.version), Some(3));
    let root = world.new_epoch();
    net.publish(1, vec![root]);
    let mut documents = world.bundle(100);
    documents.push(world.timestamp());
    net.publish(1, documents);
    net.pass(5_000);
    assert!(net.agree());
    assert_eq!(net.heads(3).bundle.map(|b| b.version), Some(1));
    assert_eq!(net.heads(3).epoch, 2);
    net.nobody_misbehaved();
}

#[test]
fn every_document_arrives_through_loss_repetition_and_disorder() {
    for seed in 1..6 {
        let mut world = World::new(3, 2);
        let mut net = Net::new(&world, 12, seed);
        net.weather = Weather {
            loss: 30,
            repeat: 20,
            reorder: 40,
        };
        net.ring(6);
        net.settle();
        for round in 0..4 {
            let mut documents = world.bundle(if round == 2 { 1 << 20 } else { 200 });
            documents.extend(world.revoke(round % 3, 2));
            documents.push(world.timestamp());
            if round == 1 {
                documents.push(world.rotate());
            }
            net.publish(0, documents);
            net.pass(500);
        }
        net.pass(240_000);
        assert!(net.agree(), "seed {seed}");
        net.nobody_misbehaved();
        for host in &net.hosts {
            assert_eq!(host.told.alarms, []);
        }
    }
}

#[test]
fn the_same_events_give_the_same_effects() {
    let run = || {
        let mut world = World::new(2, 1);
        let mut net = Net::new(&world, 8, 77);
        net.weather.loss = 20;
        net.ring(4);
        let log = world.revoke(0, 5);
        net.publish(3, log);
        net.pass(90_000);
        let sent: Vec<(u64, u64)> = net
            .hosts
            .iter()
            .map(|host| (host.told.sent, host.told.weight))
            .collect();
        (sent, net.now)
    };
    assert_eq!(run(), run());
}

#[test]
fn a_quiet_mesh_only_compares_heads() {
    let world = World::new(1, 1);
    let mut net = Net::new(&world, 4, 11);
    net.ring(0);
    net.pass(1_000);
    for host in &mut net.hosts {
        host.told.sent = 0;
    }
    net.pass(600_000);
    for host in &net.hosts {
        // One comparison in 30 s of its own, and as many answers to others, give or take.
        assert!(host.told.sent <= 70, "{}", host.told.sent);
        assert!(host.told.sent >= 15, "{}", host.told.sent);
    }
}

#[test]
fn a_clock_set_back_stops_nothing() {
    let mut world = World::new(1, 1);
    let mut net = Net::new(&world, 2, 12);
    net.link(0, 1);
    net.settle();
    net.weather.loss = 100;
    let log = world.revoke(0, 1);
    net.publish(0, log);
    net.settle();
    net.weather.loss = 0;
    assert!(!net.agree());
    net.now -= 10 * 365 * 86_400 * 1000;
    net.event(0, Event::Tick);
    net.event(1, Event::Tick);
    net.pass(90_000);
    assert!(net.agree());
}

#[test]
fn what_is_written_restores_what_was_in_force() {
    let mut world = World::new(3, 2);
    let genesis = world.state();
    let mut net = Net::new(&world, 2, 13);
    net.link(0, 1);
    for round in 0..3 {
        let mut documents = vec![world.rotate()];
        documents.extend(world.bundle(100_000));
        documents.extend(world.revoke(round, 3));
        documents.push(world.timestamp());
        net.publish(0, documents);
        net.pass(1_000);
    }
    let writes = &net.hosts[1].told.writes;
    let numbers: Vec<u64> = writes.iter().map(|(id, _)| *id).collect();
    assert!(numbers.windows(2).all(|w| w[0] + 1 == w[1]), "{numbers:?}");
    // Replayed in order into a new trust state, they give the same again.
    let documents: Vec<Document> = writes.iter().flat_map(|(_, d)| d.clone()).collect();
    let restored = super::world::replayed(&net.fake, genesis, &documents);
    assert_eq!(restored.heads(), *net.heads(1));
    assert_eq!(
        net.hosts[1].told.changed.len(),
        net.hosts[0].told.changed.len()
    );
    let _: &[Change] = &net.hosts[1].told.changed;
}
