//! A peer that does all that it should not: it gains nothing, and nobody else notices.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::net::{Net, node};
use super::world::World;
use crate::distribution::fetch::CHUNK_BYTES;
use crate::distribution::head::{HeadSet, LogRow, VersionRow};
use crate::distribution::message::{
    BundlePush, Bytes, Head, Heads, LogPush, MAX_SYNC_FRAME, Message, Part, TimestampPush, Want,
};
use crate::distribution::peer::{INBOUND_BURST, SERVING_BURST};
use crate::distribution::{Document, Effect, Event, MAX_PEERS, Offer};
use crate::id::{Digest, NodeId, SignerId};

/// The peer that runs no machine.
const MALLORY: usize = 500;

fn mallory() -> NodeId {
    node(MALLORY)
}

/// Node 0 with two honest peers and Mallory.
fn net(world: &World) -> Net {
    let mut net = Net::new(world, 3, 1);
    net.link(0, 1);
    net.link(0, 2);
    net.event(0, Event::PeerUp(mallory()));
    net.settle();
    let heads = Message::Heads(Heads {
        heads: net.heads(0).clone(),
        answer: false,
    });
    say(&mut net, &heads);
    net.settle();
    net.hosts[0].told.outside.clear();
    net
}

/// Mallory says something to node 0.
fn say(net: &mut Net, message: &Message) {
    net.event(0, Event::Message(mallory(), message));
}

/// What node 0 has said to Mallory since.
fn heard(net: &mut Net) -> Vec<Arc<Message>> {
    let outside = core::mem::take(&mut net.hosts[0].told.outside);
    outside.into_iter().map(|(_, message)| message).collect()
}

fn log_push(world: &World, documents: &[Document]) -> Message {
    let mut push = LogPush {
        admin: world.admin(0),
        head: Bytes::from([]),
        from: 0,
        entries: Vec::new(),
    };
    for document in documents {
        match document {
            Document::LogHead(bytes) => push.head = bytes.clone(),
            Document::LogEntries { from, entries, .. } => {
                push.from = *from;
                push.entries.clone_from(entries);
            }
            _ => {}
        }
    }
    Message::Head(Head::Log(push))
}

fn bundle_push(documents: &[Document], with_body: bool) -> (Message, Bytes) {
    let (mut head, mut body) = (Bytes::from([]), Bytes::from([]));
    for document in documents {
        match document {
            Document::BundleHead(bytes) => head = bytes.clone(),
            Document::BundleBody(bytes) => body = bytes.clone(),
            _ => {}
        }
    }
    let along = with_body.then(|| body.clone());
    let push = BundlePush { head, body: along };
    (Message::Head(Head::Bundle(push)), body)
}

#[test]
fn replayed_documents_cost_nobody_anything() {
    let mut world = World::new(1, 1);
    let mut net = net(&world);
    let old = world.revoke(0, 1);
    let old_bundle = world.bundle(100);
    net.publish(1, old.clone());
    net.publish(1, old_bundle.clone());
    let newer = world.revoke(0, 1);
    net.publish(1, newer);
    let newer = world.bundle(100);
    net.publish(1, newer);
    net.settle();
    heard(&mut net);
    let sent = net.hosts[0].told.sent;
    let heads = net.heads(0).clone();
    for _ in 0..100 {
        say(&mut net, &log_push(&world, &old));
        say(&mut net, &bundle_push(&old_bundle, true).0);
    }
    net.settle();
    assert_eq!(net.hosts[0].told.misbehaved, [], "stale is no fault");
    assert_eq!(net.hosts[0].told.sent, sent, "and not sent on");
    assert_eq!(*net.heads(0), heads);
}

#[test]
fn forged_and_malformed_documents_are_the_senders_fault_and_go_nowhere() {
    let mut world = World::new(1, 1);
    let mut net = net(&world);
    let log = world.revoke(0, 1);
    let bundle = world.bundle(100);
    let Document::Timestamp(time) = world.timestamp() else {
        panic!("a timestamp");
    };
    let bad = |bytes: &Bytes, at: usize| {
        let mut bytes = bytes.to_vec();
        let at = bytes.len() - 1 - at;
        bytes[at] ^= 1;
        Bytes::from(bytes)
    };
    let Message::Head(Head::Log(log)) = log_push(&world, &log) else {
        panic!("a log");
    };
    let Message::Head(Head::Bundle(bundle)) = bundle_push(&bundle, true).0 else {
        panic!("a bundle");
    };
    let messages = [
        Head::Log(LogPush {
            head: bad(&log.head, 0),
            ..log.clone()
        }),
        Head::Log(LogPush {
            head: Bytes::from(&log.head[..40]),
            ..log.clone()
        }),
        Head::Log(LogPush {
            entries: log.entries.iter().map(|e| bad(e, 0)).collect(),
            ..log.clone()
        }),
        Head::Bundle(BundlePush {
            head: bad(&bundle.head, 0),
            ..bundle.clone()
        }),
        Head::Bundle(BundlePush {
            body: bundle.body.as_ref().map(|body| bad(body, 0)),
            ..bundle
        }),
        Head::Timestamp(TimestampPush {
            timestamper: world.timestamper(),
            document: bad(&time, 0),
        }),
        Head::Root(Bytes::from(&b"no root"[..])),
    ];
    let sent = net.hosts[0].told.sent;
    for (count, head) in messages.into_iter().enumerate() {
        say(&mut net, &Message::Head(head));
        let misbehaved = &net.hosts[0].told.misbehaved;
        assert_eq!(misbehaved.len(), count + 1, "{misbehaved:?}");
        assert!(misbehaved.iter().all(|(peer, _)| *peer == mallory()));
    }
    net.settle();
    let to_mallory = heard(&mut net).len() as u64;
    assert_eq!(net.hosts[0].told.sent - to_mallory, sent);
    assert!(net.hosts[0].told.changed.is_empty());
}

#[test]
fn what_it_says_it_holds_and_cannot_deliver_is_asked_for_a_few_times() {
    let world = World::new(1, 1);
    let mut net = net(&world);
    let far = |version| VersionRow {
        version,
        hash: Digest::from_bytes([9; 32]),
    };
    let own = net.heads(0).clone();
    let claim = |root: u64| {
        Message::Heads(Heads {
            heads: HeadSet {
                root: far(root),
                bundle: Some(far(1 << 60)),
                logs: vec![LogRow {
                    admin: SignerId::from_bytes([8; 32]),
                    length: u64::MAX,
                    link: Digest::from_bytes([9; 32]),
                }],
                ..own.clone()
            },
            answer: false,
        })
    };
    // Another than Mallory, of whom all is here.
    let liar = node(MALLORY + 1);
    net.event(0, Event::PeerUp(liar));
    let (root, rest) = (claim(u64::MAX), claim(1));
    for message in [root, rest] {
        net.event(0, Event::Message(liar, &message));
        net.pass(200_000);
        let asked = heard(&mut net).len();
        // Its part in the periodic comparisons is among them.
        assert!(asked <= 16, "{asked}");
        assert!(!net.hosts[0].machine.is_synced(&liar), "asked in vain");
    }
    assert_eq!(net.hosts[0].told.misbehaved, []);
    assert_eq!(net.hosts[0].machine.buffered(), 0);
}

#[test]
fn who_claims_more_than_it_sends_is_never_synced_with_until_that_is_here() {
    let mut world = World::new(1, 1);
    let mut net = net(&world);
    let documents = world.revoke(0, 2);
    let liar = node(MALLORY + 1);
    net.event(0, Event::PeerUp(liar));
    // It shows the signed head, and withholds what stands under it.
    let Message::Head(Head::Log(push)) = log_push(&world, &documents) else {
        panic!("a log");
    };
    let shown = Message::Head(Head::Log(LogPush {
        from: 2,
        entries: Vec::new(),
        ..push
    }));
    let same = Message::Heads(Heads {
        heads: net.heads(0).clone(),
        answer: false,
    });
    net.event(0, Event::Message(liar, &shown));
    net.event(0, Event::Message(liar, &same));
    // Heads that say less than what it has shown count for it; the others it held before.
    assert!(net.hosts[0].machine.is_synced(&mallory()));
    let claim = Message::Heads(Heads {
        heads: HeadSet {
            logs: vec![LogRow {
                admin: world.admin(0),
                length: 2,
                link: Digest::from_bytes([9; 32]),
            }],
            ..net.heads(0).clone()
        },
        answer: false,
    });
    let liars = [node(MALLORY + 2), node(MALLORY + 3)];
    for liar in liars {
        net.event(0, Event::PeerUp(liar));
        net.event(0, Event::Message(liar, &claim));
    }
    net.pass(300_000);
    for liar in liars {
        assert!(!net.hosts[0].machine.is_synced(&liar));
    }
    // What it claims never comes, whatever else does.
    net.publish(2, documents);
    net.pass(60_000);
    assert!(net.agree());
    for liar in liars {
        assert!(!net.hosts[0].machine.is_synced(&liar));
    }
    // It claims what is here, or no more than that.
    let honest = Message::Heads(Heads {
        heads: net.heads(0).clone(),
        answer: false,
    });
    net.event(0, Event::Message(liars[0], &honest));
    assert!(net.hosts[0].machine.is_synced(&liars[0]));
    assert!(!net.hosts[0].machine.is_synced(&liars[1]));
    assert_eq!(net.hosts[0].told.misbehaved, []);
}

#[test]
fn what_a_liar_withholds_and_another_brings_makes_up_for_it() {
    let mut world = World::new(1, 1);
    let mut net = net(&world);
    let documents = world.revoke(0, 2);
    let mut ahead = world.state();
    for document in &documents {
        let now = crate::time::UnixMillis(super::world::NOW_MS).seconds();
        ahead.offer(&net.fake, now, document).unwrap();
    }
    let liar = node(MALLORY + 1);
    net.event(0, Event::PeerUp(liar));
    let heads = ahead.heads();
    let claim = Message::Heads(Heads {
        heads,
        answer: false,
    });
    net.event(0, Event::Message(liar, &claim));
    net.pass(300_000);
    assert!(!net.hosts[0].machine.is_synced(&liar));
    net.publish(2, documents);
    net.settle();
    assert!(net.hosts[0].machine.is_synced(&liar));
}

#[test]
fn a_body_that_one_withholds_another_gives() {
    let mut world = World::new(1, 1);
    let mut net = net(&world);
    let documents = world.bundle(2 << 20);
    let (push, _) = bundle_push(&documents, false);
    say(&mut net, &push);
    let asked = heard(&mut net);
    assert!(matches!(*asked[0], Message::Fetch(Want::Body { .. })));
    // Mallory is silent; then node 2 has it too.
    net.publish(2, documents);
    net.pass(10_000);
    assert!(net.agree());
    assert_eq!(net.hosts[0].machine.buffered(), 0);
}

#[test]
fn wrong_short_and_foreign_chunks_are_thrown_away() {
    let mut world = World::new(1, 1);
    let mut net = net(&world);
    let documents = world.bundle(2 << 20);
    let (push, body) = bundle_push(&documents, false);
    say(&mut net, &push);
    let Message::Fetch(Want::Body { digest, offset: 0 }) = *heard(&mut net)[0] else {
        panic!("asks for the body");
    };
    let part = |digest, offset, bytes: &[u8]| {
        Message::Body(Part::Body {
            digest,
            offset,
            bytes: Bytes::from(bytes),
        })
    };
    // Of another body, of another place: not asked for, so dropped.
    let other = Digest::from_bytes([1; 32]);
    say(&mut net, &part(other, 0, &body[..CHUNK_BYTES]));
    say(&mut net, &part(digest, 7, &body[..CHUNK_BYTES]));
    assert_eq!(net.hosts[0].machine.buffered(), 0);
    // A drop at a time: it makes way at once.
    say(&mut net, &part(digest, 0, &body[..1]));
    assert_eq!(net.hosts[0].machine.buffered(), 0);
    assert_eq!(heard(&mut net).len(), 0);
    // Asked again after a rest, it gives another body of the same size.
    net.pass(3_000);
    let wrong = vec![7; body.len()];
    let mut offset = 0;
    while offset < wrong.len() {
        let end = wrong.len().min(offset + CHUNK_BYTES);
        say(&mut net, &part(digest, offset as u64, &wrong[offset..end]));
        assert!(net.hosts[0].machine.buffered() <= body.len());
        offset = end;
    }
    assert_eq!(net.hosts[0].told.misbehaved.len(), 1);
    assert_eq!(net.hosts[0].machine.buffered(), 0);
    net.publish(1, documents);
    net.pass(10_000);
    assert!(net.agree());
}

#[test]
fn more_bytes_than_the_head_says_are_not_kept() {
    let mut world = World::new(1, 1);
    let mut net = net(&world);
    let (push, body) = bundle_push(&world.bundle(100_000), false);
    say(&mut net, &push);
    let Message::Fetch(Want::Body { digest, .. }) = *heard(&mut net)[0] else {
        panic!("asks for the body");
    };
    let too_much = [&body[..], &[0]].concat();
    let part = Part::Body {
        digest,
        offset: 0,
        bytes: Bytes::from(too_much),
    };
    say(&mut net, &Message::Body(part));
    assert_eq!(net.hosts[0].machine.buffered(), 0);
    assert!(net.hosts[0].machine.heads().bundle.is_none());
}

#[test]
fn a_flood_is_dropped_before_it_costs_anything() {
    let mut world = World::new(1, 1);
    let mut net = net(&world);
    let log = world.revoke(0, 1);
    let Message::Head(Head::Log(push)) = log_push(&world, &log) else {
        panic!("a log");
    };
    let mut forged = push.head.to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let flood = Message::Head(Head::Log(LogPush {
        head: Bytes::from(forged),
        ..push
    }));
    let before = net.fake.verified.load(Ordering::Relaxed);
    for _ in 0..20_000 {
        say(&mut net, &flood);
    }
    let spent = net.fake.verified.load(Ordering::Relaxed) - before;
    assert!(spent <= 2 * INBOUND_BURST, "{spent} signatures looked at");
    assert!(net.hosts[0].told.misbehaved.len() as u64 <= INBOUND_BURST);
    // Meanwhile all goes on.
    net.publish(1, log);
    net.settle();
    assert!(net.agree());
}

#[test]
fn who_fetches_without_end_gets_empty_parts() {
    let mut world = World::new(1, 1);
    let mut net = net(&world);
    let documents = world.bundle(4 << 20);
    let (_, body) = bundle_push(&documents, false);
    net.publish(0, documents);
    net.pass(5_000);
    heard(&mut net);
    let digest = super::world::body_digest(&net.fake, &body);
    let want = Message::Fetch(Want::Body { digest, offset: 0 });
    let mut given = 0;
    for _ in 0..1_000 {
        say(&mut net, &want);
        given += heard(&mut net).iter().map(|m| m.weight()).sum::<usize>();
    }
    let most = usize::try_from(SERVING_BURST).unwrap() + MAX_SYNC_FRAME;
    assert!(given > CHUNK_BYTES, "it does get some");
    assert!(given <= most, "{given}");
    // So does who says again and again that it holds nothing.
    let nothing = Message::Heads(Heads {
        heads: HeadSet {
            bundle: None,
            ..net.heads(0).clone()
        },
        answer: true,
    });
    for _ in 0..1_000 {
        say(&mut net, &nothing);
    }
    let given: usize = heard(&mut net).iter().map(|m| m.weight()).sum();
    assert!(given <= MAX_SYNC_FRAME, "{given}");
    assert_eq!(net.hosts[0].told.misbehaved, []);
}

#[test]
fn a_document_of_ten_megabytes_is_refused_before_it_is_read() {
    let world = World::new(1, 1);
    let mut net = net(&world);
    let huge = Bytes::from(vec![0x5a; 10 << 20]);
    let framed = Message::Head(Head::Root(huge.clone())).encode();
    assert_eq!(Message::decode(&framed).unwrap_err().reason(), "oversized");
    // Nor does a driver that hands it over all the same make anything of it.
    let pushes = [
        Head::Root(huge.clone()),
        Head::Timestamp(TimestampPush {
            timestamper: world.timestamper(),
            document: huge.clone(),
        }),
        Head::Log(LogPush {
            admin: world.admin(0),
            head: huge,
            from: 0,
            entries: Vec::new(),
        }),
    ];
    for head in pushes {
        let mut out = Vec::new();
        let message = Message::Head(head);
        net.raw(0, Event::Message(mallory(), &message), &mut out);
        assert!(
            matches!(&out[..], [Effect::Misbehaved(_, error)] if error.reason() == "oversized"),
            "{out:?}"
        );
    }
}

#[test]
fn entries_beyond_their_size_or_of_another_log_are_not_kept() {
    let mut world = World::new(1, 1);
    let mut net = net(&world);
    let log = world.revoke(0, 3);
    let Message::Head(Head::Log(push)) = log_push(&world, &log) else {
        panic!("a log");
    };
    let alone = Message::Head(Head::Log(LogPush {
        from: 3,
        entries: Vec::new(),
        ..push.clone()
    }));
    say(&mut net, &alone);
    let Message::Fetch(Want::Entries { row, from: 0 }) = *heard(&mut net)[0] else {
        panic!("asks for the entries");
    };
    let answer = |entries: Vec<Bytes>| {
        Message::Body(Part::Entries {
            row,
            from: 0,
            entries,
        })
    };
    say(&mut net, &answer(vec![Bytes::from(vec![0; 5_000]); 3]));
    assert_eq!(net.hosts[0].machine.buffered(), 0);
    net.pass(3_000);
    assert!(!heard(&mut net).is_empty(), "asked again");
    // It showed this very head, so entries that do not lead to it are its fault.
    let mut swapped = push.entries.clone();
    swapped.swap(0, 2);
    say(&mut net, &answer(swapped));
    assert_eq!(net.hosts[0].told.misbehaved.len(), 1);
    assert_eq!(net.heads(0).log_length(&world.admin(0)), 0);
    // The same head and its entries from another are taken.
    net.publish(2, log);
    net.settle();
    assert!(net.agree());
}

#[test]
fn messages_of_strangers_are_dropped() {
    let mut world = World::new(1, 1);
    let mut net = net(&world);
    let log = world.revoke(0, 1);
    let stranger = node(900);
    let message = log_push(&world, &log);
    let mut out = Vec::new();
    net.raw(0, Event::Message(stranger, &message), &mut out);
    assert_eq!(out, []);
}

#[test]
fn peers_beyond_the_bound_are_not_served() {
    let world = World::new(1, 1);
    let mut net = Net::new(&world, 1, 1);
    for number in 0..MAX_PEERS + 10 {
        net.event(0, Event::PeerUp(node(1_000 + number)));
    }
    assert_eq!(net.hosts[0].told.outside.len(), MAX_PEERS);
    let heads = Message::Heads(Heads {
        heads: net.heads(0).clone(),
        answer: true,
    });
    let beyond = node(1_000 + MAX_PEERS + 1);
    net.event(0, Event::Message(beyond, &heads));
    assert!(!net.hosts[0].machine.is_synced(&beyond));
    assert_eq!(net.hosts[0].told.outside.len(), MAX_PEERS);
}

#[test]
fn a_forked_log_is_told_of_once_and_both_histories_are_in_force() {
    let mut world = World::new(2, 1);
    let mut twin = world.clone();
    let mut net = net(&world);
    let one = world.revoke(0, 2);
    twin.use_other_reason();
    let other = twin.revoke(0, 3);
    net.publish(0, one);
    net.settle();
    let kept = net.heads(0).rows(&world.admin(0))[0];
    let push = log_push(&world, &other);
    let Message::Head(Head::Log(history)) = &push else {
        panic!("a log");
    };
    for _ in 0..20 {
        say(&mut net, &push);
        // Mallory holds that history and gives what is asked of it.
        for message in heard(&mut net) {
            if let Message::Fetch(Want::Entries { row, from }) = *message {
                let first = usize::try_from(from).unwrap();
                let entries = history.entries[first..].to_vec();
                say(
                    &mut net,
                    &Message::Body(Part::Entries { row, from, entries }),
                );
            }
        }
    }
    net.settle();
    assert_eq!(net.hosts[0].told.misbehaved, [], "the admin's fault");
    for at in 0..3 {
        let rows = net.heads(at).rows(&world.admin(0));
        assert!(rows.contains(&kept));
        assert_eq!(rows.len(), 2, "what either says is in force");
        assert_eq!(net.hosts[at].told.alarms.len(), 1);
    }
    let agreed = net.agree();
    net.pass(120_000);
    assert!(agreed || net.agree());
    assert_eq!(net.hosts[1].told.alarms.len(), 1);
    // A third history counts for nothing, however long it is.
    let mut third = world.clone();
    third.begin_anew(0, "forgotten");
    let before = net.heads(0).clone();
    let push = log_push(&world, &third.revoke(0, 9));
    let Message::Head(Head::Log(history)) = &push else {
        panic!("a log");
    };
    for _ in 0..5 {
        say(&mut net, &push);
        give(&mut net, history);
        net.settle();
    }
    assert_eq!(*net.heads(0), before);
    assert_eq!(net.hosts[0].told.misbehaved, [], "the admin's fault");
}

/// Mallory gives what node 0 asks of a history.
fn give(net: &mut Net, history: &LogPush) {
    for message in heard(net) {
        if let Message::Fetch(Want::Entries { row, from }) = *message {
            let first = usize::try_from(from).unwrap();
            let entries = history.entries.get(first..).unwrap_or(&[]).to_vec();
            let part = Part::Entries { row, from, entries };
            say(net, &Message::Body(part));
        }
    }
}

#[test]
fn branches_frozen_at_different_lengths_are_all_in_force_everywhere() {
    for seed in 1..20 {
        let mut world = World::new(2, 1);
        let mut twin = world.clone();
        twin.use_other_reason();
        let mut net = Net::new(&world, 4, seed);
        net.link(0, 1);
        net.link(2, 3);
        // Two histories on two sides; the middle hears of both while either goes on at its end.
        let lengths = [net.random(4) + 1, net.random(4) + 1];
        let (one, other) = (world.revoke(0, lengths[0]), twin.revoke(0, lengths[1]));
        net.publish(0, one);
        net.publish(3, other);
        net.settle();
        net.unlink(0, 1);
        net.unlink(2, 3);
        net.link(1, 2);
        net.pass(60_000);
        for at in [1, 2] {
            let rows = net.heads(at).rows(&world.admin(0));
            assert_eq!(rows.len(), 2, "seed {seed}, {lengths:?}, node {at}");
        }
        let longer = [net.random(3) + 1, net.random(3) + 1];
        let (one, other) = (world.revoke(0, longer[0]), twin.revoke(0, longer[1]));
        net.publish(0, one.clone());
        net.publish(3, other);
        // Whoever knows of the fork publishes nothing more under it.
        net.event(1, Event::Publish(one[0].clone()));
        let refused = net.hosts[1].told.published.pop().unwrap();
        assert!(matches!(refused, Ok(Offer::Fork(_))), "{refused:?}");
        net.link(0, 1);
        net.link(2, 3);
        net.pass(120_000);
        let lengths = [lengths[0] + longer[0], lengths[1] + longer[1]];
        for at in 0..4 {
            let mut rows: Vec<u64> = net
                .heads(at)
                .rows(&world.admin(0))
                .iter()
                .map(|r| r.length)
                .collect();
            rows.sort_unstable();
            let mut wanted = lengths.to_vec();
            wanted.sort_unstable();
            assert_eq!(rows, wanted, "seed {seed}, node {at}");
            let state = net.hosts[at].machine.state();
            let revoked = |index| state.revoked().node(&World::target(0, index)).is_some();
            assert!((0..wanted[1]).all(revoked), "seed {seed}, node {at}");
        }
        for (a, b) in [(0, 1), (1, 2), (2, 3)] {
            assert!(
                net.hosts[a].machine.is_synced(&node(b)),
                "seed {seed}: {a} {b}"
            );
            assert!(
                net.hosts[b].machine.is_synced(&node(a)),
                "seed {seed}: {b} {a}"
            );
        }
        net.nobody_misbehaved();
    }
}

#[test]
fn a_log_contested_by_a_head_alone_is_so_after_a_restart() {
    let mut world = World::new(2, 1);
    let mut twin = world.clone();
    twin.use_other_reason();
    let mut net = net(&world);
    let first = world.revoke(0, 3);
    net.publish(0, first);
    net.settle();
    let Message::Head(Head::Log(history)) = log_push(&world, &twin.revoke(0, 2)) else {
        panic!("a log");
    };
    let shown = Message::Head(Head::Log(LogPush {
        from: 2,
        entries: Vec::new(),
        ..history.clone()
    }));
    say(&mut net, &shown);
    let admin = world.admin(0);
    let forked = |net: &Net, at: usize| {
        let log = net.hosts[at].machine.state().log(&admin).unwrap();
        log.is_forked()
    };
    assert!(forked(&net, 0));
    assert_eq!(net.hosts[0].told.alarms.len(), 1);
    // As it was kept, and from what it was told to write.
    let state = net.hosts[0].machine.state();
    let kept = crate::trust::state::TrustState::restore(&net.fake, state.kept()).unwrap();
    assert_eq!(kept.heads(), *net.heads(0));
    let written = net.hosts[0].told.writes.iter().flat_map(|(_, d)| d.clone());
    let written: Vec<Document> = written.collect();
    let replayed = super::world::replayed(&net.fake, world.state(), &written);
    let more = world.revoke(0, 1);
    net.publish(1, more);
    for state in [kept, replayed] {
        let at = net.join(state);
        assert!(forked(&net, at));
        // What continues the history held is taken all the same, and so is the other one whole.
        net.link(at, 1);
        net.settle();
        assert_eq!(net.heads(at).log_length(&world.admin(0)), 4);
        net.unlink(at, 1);
        let mallory = mallory();
        net.event(at, Event::PeerUp(mallory));
        net.event(at, Event::Message(mallory, &shown));
        for _ in 0..3 {
            let outside = core::mem::take(&mut net.hosts[at].told.outside);
            for (_, message) in outside {
                if let Message::Fetch(Want::Entries { row, from }) = *message {
                    let first = usize::try_from(from).unwrap();
                    let entries = history.entries.get(first..).unwrap_or(&[]).to_vec();
                    let part = Message::Body(Part::Entries { row, from, entries });
                    net.event(at, Event::Message(mallory, &part));
                }
            }
        }
        let mut lengths: Vec<u64> = net
            .heads(at)
            .rows(&world.admin(0))
            .iter()
            .map(|r| r.length)
            .collect();
        lengths.sort_unstable();
        assert_eq!(lengths, [2, 4]);
    }
    net.nobody_misbehaved();
}
