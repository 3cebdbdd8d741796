//! Whatever the order in which documents come.

use proptest::prelude::*;
use proptest::sample::Index;
use protocol::time::UnixSeconds;
use protocol::trust::document::HeadSet;
use protocol::trust::state::Change;
use protocol::trust::{Act, Document, Offer};

use crate::world::{Node, World, Writer, node};

/// Everything a mesh has ever signed: two bundles of a version included, and a root after both.
struct History {
    world: World,
    documents: Vec<Document>,
    source: Node,
    end: UnixSeconds,
}

/// What happens in one step of a history.
#[derive(Debug, Clone)]
enum Step {
    Revoke {
        admin: usize,
        number: u32,
        stated: i64,
    },
    Lift {
        admin: usize,
        of: usize,
        entry: Index,
    },
    Stamp {
        by: usize,
        nodes: u64,
    },
    Bundle,
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let admin = 0_usize..3;
    let step = prop_oneof![
        8 => (prop_oneof![3 => Just(0_usize), 1 => admin.clone()], 0_u32..40, -20_000_i64..20_000)
            .prop_map(|(admin, number, stated)| Step::Revoke { admin, number, stated }),
        1 => (admin.clone(), admin, any::<Index>())
            .prop_map(|(admin, of, entry)| Step::Lift { admin, of, entry }),
        3 => (0_usize..2, 0_u64..200).prop_map(|(by, nodes)| Step::Stamp { by, nodes }),
        1 => Just(Step::Bundle),
        2 => (1_u64..3000).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 1..150)
}

/// Plays a history on a node that sees everything, and notes every document.
fn play(steps: &[Step]) -> History {
    let world = World::new(2);
    let mut source = world.node();
    let mut logs: Vec<Writer> = (0..3).map(|i| world.log(i)).collect();
    let mut documents = Vec::new();
    for step in steps {
        let now = source.now;
        match step {
            Step::Revoke {
                admin,
                number,
                stated,
            } => {
                let at = UnixSeconds(now.0.saturating_add_signed(*stated));
                logs[*admin].write(at, Act::Node(node(*number)));
                push_log(&mut documents, &mut source, &logs[*admin]);
            }
            Step::Lift { admin, of, entry } => {
                let entries = logs[*of].log.entries();
                if !entries.is_empty() {
                    let id = entries[entry.index(entries.len())].cause.entry;
                    logs[*admin].write(now, Act::Lift(id));
                    push_log(&mut documents, &mut source, &logs[*admin]);
                }
            }
            Step::Stamp { by, nodes } => {
                source.now = now.plus(1);
                let stamp = world.stamp_with(&source.state, *by, source.now, *nodes);
                source.timestamp(&stamp).unwrap();
                documents.push(Document::Timestamp(stamp));
            }
            Step::Bundle => {
                let version = source.state.bundle().map_or(1, |b| b.version() + 1);
                let (head, body) = world.bundle(&source.state, version, &["a"], &world.admins);
                let (other, _) = world.bundle(&source.state, version, &["b"], &world.admins);
                source.head(&head).unwrap();
                source.body(&body).unwrap();
                documents.extend([
                    Document::BundleHead(head),
                    Document::BundleBody(body),
                    Document::BundleHead(other),
                ]);
            }
            Step::Wait(seconds) => source.now = now.plus(*seconds),
        }
    }
    History {
        world,
        documents,
        end: source.now,
        source,
    }
}

fn push_log(documents: &mut Vec<Document>, source: &mut Node, writer: &Writer) {
    assert!(matches!(source.log(writer), Offer::New(_)));
    let from = writer.log.length() - 1;
    documents.push(Document::LogHead(writer.head()));
    documents.push(Document::LogEntries {
        admin: writer.log.admin(),
        from,
        entries: writer.log.encoded(from, 1),
    });
}

/// Whether `later` holds at least what `earlier` did.
fn at_least(later: &HeadSet, earlier: &HeadSet) -> bool {
    let bundle = later.bundle.map(|b| b.version) >= earlier.bundle.map(|b| b.version);
    let logs = earlier.logs.iter().all(|row| {
        let held = later.logs.iter().filter(|r| r.admin == row.admin);
        held.map(|r| r.length).max() >= Some(row.length)
    });
    let timestamps = earlier.timestamps.iter().all(|row| {
        let mut held = later.timestamps.iter();
        held.any(|r| r.timestamper == row.timestamper && r.version >= row.version)
    });
    later.root.version >= earlier.root.version && bundle && logs && timestamps
}

/// A new node that gets everything once, in this order, and then what it still lacks of logs.
fn taking(history: &History, order: &[Index]) -> Node {
    let mut own = history.world.node();
    own.now = history.end;
    let mut left: Vec<&Document> = history.documents.iter().collect();
    let mut order = order.iter().cycle();
    while !left.is_empty() {
        let at = order.next().unwrap().index(left.len());
        offer(&mut own, left.swap_remove(at));
    }
    // Entries come again until nothing is missing; their order within a log is their own.
    for document in &history.documents {
        if matches!(document, Document::LogHead(_) | Document::LogEntries { .. }) {
            offer(&mut own, document);
        }
    }
    own
}

/// Offers, checking that nothing falls.
fn offer(own: &mut Node, document: &Document) {
    let (before, time) = (own.state.heads(), own.state.greatest_time());
    let outcome = own.offer(document);
    let after = own.state.heads();
    assert!(at_least(&after, &before), "{outcome:?}");
    assert!(own.state.greatest_time() >= time);
    let changed = matches!(outcome, Ok(Offer::New(_)));
    let forked = matches!(outcome, Ok(Offer::Fork(_)));
    assert!(changed || forked || after == before, "{outcome:?}");
    if let Ok(Offer::New(Change::Bundle { version })) = outcome {
        assert!(before.bundle.is_none_or(|b| b.version < version));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_revoked_depends_on_no_order(
        steps in steps(),
        orders in proptest::collection::vec(proptest::collection::vec(any::<Index>(), 64), 2),
    ) {
        let history = play(&steps);
        let states: Vec<Node> = orders.iter().map(|order| taking(&history, order)).collect();
        // Who saw everything in its order, who saw it in another, and who came late.
        let expected = history.source.without_held();
        for own in states {
            prop_assert_eq!(own.state.heads().logs, expected.heads().logs);
            let (all, late) = (own.without_held(), own.by_rules_alone());
            prop_assert_eq!(all.revoked(), expected.revoked());
            prop_assert_eq!(late.revoked(), expected.revoked());
        }
    }

    #[test]
    fn nothing_falls_over_restarts_and_repetitions(
        steps in steps(),
        order in proptest::collection::vec(any::<Index>(), 1..80),
    ) {
        let history = play(&steps);
        let mut own = history.world.node();
        own.now = history.end;
        for (i, index) in order.iter().enumerate() {
            if !history.documents.is_empty() {
                offer(&mut own, &history.documents[index.index(history.documents.len())]);
            }
            if i % 16 == 15 {
                let (before, revoked) = (own.state.heads(), own.state.revoked().clone());
                own = own.restarted();
                prop_assert_eq!(own.state.heads(), before);
                prop_assert_eq!(own.state.revoked(), &revoked, "added to, as built anew");
            }
        }
    }
}
