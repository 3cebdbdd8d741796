//! Revocation logs: chains, pieces, forks.

use protocol::codec;
use protocol::id::EntryId;
use protocol::trust::state::{Change, ForkOf, Missing};
use protocol::trust::{Act, Bytes, Document, Entry, LogHead, Offer};

use crate::fake::Fake;
use crate::world::{NOW, World, digest, id, name, node, refusal};

#[test]
fn entries_count_once_they_lead_to_the_signed_head() {
    let world = World::new(2);
    let mut own = world.node();
    let mut admin = world.log(0);
    for number in 0..3 {
        admin.revoke(number);
    }
    let target = (3, admin.log.link());
    let wanted = |from| Missing::Entries {
        admin: admin.log.admin(),
        from,
        to: target.0,
        link: target.1,
    };
    assert_eq!(own.entries(&admin.log, 0), Ok(Offer::Stale), "nobody asked");
    assert_eq!(own.log_head(&admin.head()), Ok(Offer::Wanted(wanted(0))));
    assert_eq!(own.log_head(&admin.head()), Ok(Offer::Wanted(wanted(0))));
    assert_eq!(
        own.entries(&admin.log, 1),
        Ok(Offer::Wanted(wanted(0))),
        "a gap"
    );
    let piece = admin.log.prefix(2);
    assert_eq!(own.entries(&piece, 0), Ok(Offer::Wanted(wanted(2))));
    assert!(own.state.revoked().node(&node(0)).is_none(), "not led yet");
    // Overlapping pieces are no fault.
    let change = Change::Log {
        admin: admin.log.admin(),
        from: 0,
        length: 3,
    };
    assert_eq!(own.entries(&admin.log, 1), Ok(Offer::New(change)));
    let cause = own.state.revoked().node(&node(2)).unwrap();
    assert_eq!((cause.at, cause.reason.as_str()), (NOW, "a reason"));
    assert_eq!(cause.admin, id(&world.admins[0]));
    assert!(own.state.revoked().node(&node(3)).is_none());
    assert_eq!(own.log_head(&admin.head()), Ok(Offer::Known));
    assert_eq!(own.state.heads().logs.len(), 1);
}

#[test]
fn older_heads_change_nothing() {
    let world = World::new(2);
    let mut own = world.node();
    let mut admin = world.log(0);
    admin.revoke(0);
    let old = admin.head();
    admin.revoke(1);
    own.log(&admin);
    let before = own.state.heads();
    assert_eq!(own.log_head(&old), Ok(Offer::Stale));
    assert_eq!(own.log_head(&world.log(0).head()), Ok(Offer::Stale));
    assert_eq!(own.state.heads(), before);
}

#[test]
fn forged_heads_are_refused_by_name() {
    let world = World::new(2);
    let mut own = world.node();
    let mut admin = world.log(0);
    admin.revoke(0);
    let mut refused = |by: usize, alter: fn(&mut LogHead)| {
        let mut head = admin.log.head(NOW);
        alter(&mut head);
        let signed = head.sign(&Fake, &world.admins[by]).unwrap();
        refusal(own.log_head(&signed.into()))
    };
    assert_eq!(refused(1, |_| ()), "unknown_key");
    let stranger = |h: &mut LogHead| h.admin = id(&crate::fake::Keys::of("x"));
    assert_eq!(refused(0, stranger), "unknown_key");
    assert_eq!(refused(0, |h| h.length = u64::MAX), "bad_document_field");
    assert_eq!(refused(0, |h| h.length = 0), "bad_document_field");
    let empty = |h: &mut LogHead| h.link = protocol::trust::revocation::EMPTY;
    assert_eq!(refused(0, empty), "bad_document_field");
    let foreign = |h: &mut LogHead| h.mesh = protocol::id::MeshId::from_bytes([1; 32]);
    assert_eq!(refused(0, foreign), "foreign_mesh");
}

#[test]
fn wrong_entries_are_refused_and_right_ones_taken_after_them() {
    let world = World::new(2);
    let mut own = world.node();
    let mut admin = world.log(0);
    admin.revoke(0);
    admin.revoke(1);
    own.log_head(&admin.head()).unwrap();
    let mut other = world.log(0);
    other.revoke(8);
    other.revoke(9);
    assert_eq!(
        refusal(own.entries(&other.log, 0)),
        "revocation_chain_broken"
    );
    let mut swapped = admin.log.encoded(0, 9);
    swapped.swap(0, 1);
    let document = Document::LogEntries {
        admin: admin.log.admin(),
        from: 0,
        entries: swapped,
    };
    assert_eq!(refusal(own.offer(&document)), "revocation_chain_broken");
    assert!(own.state.revoked().node(&node(0)).is_none());
    assert!(matches!(own.entries(&admin.log, 0), Ok(Offer::New(_))));
}

#[test]
fn one_entry_has_one_encoding() {
    let entry = Entry {
        index: 3,
        at: NOW,
        act: Act::Agent {
            node: None,
            name: name("robot"),
        },
        reason: "why".to_owned(),
    };
    let bytes = entry.encode();
    assert_eq!(Entry::decode(&bytes), Ok(entry.clone()));
    let refused = |bytes: &[u8]| Entry::decode(bytes).unwrap_err().reason();
    // {1: 1, 2: h'…', 3: "x"}: a node's act with an agent's name in it.
    let mut foreign_key = codec::encode(&Act::Node(node(1)));
    foreign_key[0] += 1;
    foreign_key.extend([0x03, 0x61, b'x']);
    let act = |act: &[u8]| [&[0xa4, 1, 0, 2, 0, 3], act, &[4, 0x60]].concat();
    assert!(Entry::decode(&act(&codec::encode(&Act::Node(node(1))))).is_ok());
    assert_eq!(refused(&act(&foreign_key)), "non_canonical");
    assert_eq!(refused(&act(&[0xa1, 1, 0])), "malformed");
    assert_eq!(refused(&act(&[0xa1, 1, 7])), "malformed");
    assert_eq!(refused(&act(&[0xa1, 1, 1])), "malformed");
    assert_eq!(refused(&[&bytes[..], &[0]].concat()), "non_canonical");
    for reason in ["a\nb".to_owned(), "\u{7f}".to_owned(), "x".repeat(257)] {
        let entry = Entry {
            reason,
            ..entry.clone()
        };
        assert_eq!(refused(&entry.encode()), "bad_document_field");
    }
    let long = Entry {
        reason: "x".repeat(600),
        ..entry
    };
    assert_eq!(refused(&long.encode()), "oversized");
}

#[test]
fn every_kind_of_target_is_found_and_nothing_else() {
    let world = World::new(1);
    let mut own = world.node();
    let mut admin = world.log(0);
    let issuer = id(&world.issuer);
    let ticket = protocol::id::TicketId::from_bytes([1; 32]);
    for act in [
        Act::Node(node(1)),
        Act::Agent {
            node: Some(node(2)),
            name: name("robot"),
        },
        Act::Agent {
            node: None,
            name: name("spider"),
        },
        Act::Ticket(ticket),
        Act::Tool(digest(5)),
        Act::Issuer {
            issuer,
            since: NOW,
            since_sequence: Some(100),
        },
    ] {
        admin.write(NOW, act);
    }
    own.log(&admin);
    let revoked = own.state.revoked();
    assert_eq!((revoked.effective(), revoked.ineffective()), (6, 0));
    assert!(revoked.node(&node(1)).is_some() && revoked.node(&node(2)).is_none());
    assert!(revoked.agent(&node(2), &name("robot")).is_some());
    assert!(revoked.agent(&node(1), &name("robot")).is_none());
    assert!(revoked.agent(&node(1), &name("spider")).is_some());
    assert!(revoked.agent(&node(2), &name("other")).is_none());
    assert!(revoked.ticket(&ticket).is_some() && revoked.tool(&digest(5)).is_some());
    assert!(revoked.tool(&digest(6)).is_none());
    assert!(revoked.issued(issuer, NOW, 1).is_some());
    assert!(revoked.issued(issuer, NOW.minus(1), 99).is_none());
    assert!(
        revoked.issued(issuer, NOW.minus(1), 100).is_some(),
        "backdated"
    );
    assert!(revoked.issued(id(&world.admins[0]), NOW, 100).is_none());
}

#[test]
fn two_histories_freeze_a_log_with_both_in_force() {
    let world = World::new(2);
    let mut common = world.log(0);
    common.revoke(0);
    let (mut left, mut right) = (common.clone(), common.clone());
    left.revoke(1);
    right.revoke(2);
    right.revoke(3);
    let fork = Offer::Fork(ForkOf::Log(common.log.admin()));
    for (first, second) in [(&left, &right), (&right, &left)] {
        let mut own = world.node();
        own.log(first);
        match own.log_head(&second.head()).unwrap() {
            // Longer than what is held: only the entries tell.
            Offer::Wanted(Missing::Entries { from: 2, .. }) => {
                let again = own.entries(&second.log, 2).unwrap();
                assert!(matches!(
                    again,
                    Offer::Wanted(Missing::Entries { from: 0, .. })
                ));
            }
            other => assert_eq!(other, fork),
        }
        assert_eq!(own.state.missing().len(), 1);
        assert_eq!(own.entries(&second.log, 0), Ok(fork));
        assert!(own.state.missing().is_empty());
        for number in 0..4 {
            assert!(
                own.state.revoked().node(&node(number)).is_some(),
                "{number}"
            );
        }
        assert_eq!(own.state.heads().logs.len(), 2, "both are passed on");
        for row in own.state.heads().logs {
            let entries = own.state.entries(&row, 0, 10).unwrap();
            assert_eq!(entries.len() as u64, row.length);
        }
        // A third history counts for nothing, and is found out once.
        let mut third = common.clone();
        for number in 8..12 {
            third.revoke(number);
        }
        let wanted = own.log_head(&third.head()).unwrap();
        assert!(matches!(
            wanted,
            Offer::Wanted(Missing::Entries { from: 0, .. })
        ));
        assert_eq!(own.entries(&third.log, 0), Ok(fork));
        assert_eq!(own.log_head(&third.head()), Ok(fork));
        assert!(own.state.revoked().node(&node(8)).is_none());
        assert!(own.state.missing().is_empty());
        // Either branch goes on as far as somebody shows that it was signed.
        let mut longer = first.clone();
        longer.revoke(7);
        let wanted = own.log_head(&longer.head()).unwrap();
        assert!(matches!(wanted, Offer::Wanted(_)), "{wanted:?}");
        let taken = own.entries(&longer.log, first.log.length()).unwrap();
        assert!(matches!(taken, Offer::New(_)), "{taken:?}");
        assert!(own.state.revoked().node(&node(7)).is_some());
        assert!(own.state.missing().is_empty());
        assert_eq!(own.state.heads().logs.len(), 2);
        assert_eq!(own.log_head(&longer.head()), Ok(Offer::Known));
        assert_eq!(own.log_head(&first.head()), Ok(Offer::Stale));
        assert_eq!(own.log_head(&second.head()), Ok(Offer::Known));
    }
}

#[test]
fn a_chain_fetched_from_its_start_may_be_the_same_history() {
    let world = World::new(2);
    let mut admin = world.log(0);
    admin.revoke(0);
    let mut own = world.node();
    own.log(&admin);
    admin.revoke(1);
    own.log_head(&admin.head()).unwrap();
    // A liar's entries first: then everything is fetched anew, and it is an extension after all.
    let mut liar = admin.clone();
    liar.log = admin.log.prefix(1);
    liar.revoke(9);
    let again = own.entries(&liar.log, 1).unwrap();
    assert!(matches!(
        again,
        Offer::Wanted(Missing::Entries { from: 0, .. })
    ));
    assert_eq!(
        refusal(own.entries(&liar.log, 0)),
        "revocation_chain_broken"
    );
    assert!(matches!(own.entries(&admin.log, 0), Ok(Offer::New(_))));
    assert!(!own.state.log(&admin.log.admin()).unwrap().is_forked());
    assert!(own.state.revoked().node(&node(9)).is_none());
}

#[test]
fn a_head_without_entries_blocks_no_shorter_one() {
    let world = World::new(2);
    let mut own = world.node();
    let mut admin = world.log(0);
    admin.revoke(0);
    let mut thief = admin.clone();
    for number in 10..20 {
        thief.revoke(number);
    }
    own.log_head(&thief.head()).unwrap();
    assert!(matches!(own.log(&admin), Offer::New(_)));
    assert!(own.state.revoked().node(&node(0)).is_some());
}

#[test]
fn a_timestamp_longer_than_the_log_asks_for_it_and_another_link_is_an_alarm() {
    let world = World::new(2);
    let mut admin = world.log(0);
    admin.revoke(0);
    let mut source = world.node();
    source.log(&admin);
    let mut own = world.node();
    own.timestamp(&world.stamp(&source.state, 0, NOW)).unwrap();
    let missing = Missing::Log {
        admin: admin.log.admin(),
        length: 1,
    };
    assert_eq!(own.state.missing(), [missing]);
    let mut other = world.log(0);
    other.revoke(5);
    let mut own = world.node();
    own.log(&other);
    let fork = Offer::Fork(ForkOf::Log(admin.log.admin()));
    assert_eq!(own.timestamp(&world.stamp(&source.state, 0, NOW)), Ok(fork));
}

#[test]
fn identifiers_of_entries_bind_mesh_admin_and_content() {
    let world = World::new(2);
    let (mut a, mut b) = (world.log(0), world.log(1));
    let mut ids: Vec<EntryId> = vec![a.revoke(1), a.revoke(1), b.revoke(1)];
    ids.push(World::new(1).log(0).revoke(1));
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 4);
    let bytes: Bytes = a.log.encoded(0, 1).remove(0);
    assert!(Entry::decode(&bytes).is_ok());
}
