//! 100,000 revocations: loaded, looked up, kept.

use protocol::limits::MAX_LOG_ENTRIES;
use protocol::trust::document::MAX_ENTRIES_AT_ONCE;
use protocol::trust::revocation::Log;
use protocol::trust::{Act, Offer, TrustState};

use crate::fake::Fake;
use crate::world::{NOW, World, Writer, node};

const MANY: u32 = 100_000;

fn many(world: &World, admin: usize) -> Writer {
    let mut writer = world.log(admin);
    for number in 0..MANY {
        writer.revoke(number);
    }
    writer
}

#[test]
fn a_hundred_thousand_revocations_are_taken_in_pieces_and_come_back() {
    let world = World::new(1);
    let mut own = world.node();
    let admin = many(&world, 0);
    own.log_head(&admin.head()).unwrap();
    let mut last = Offer::Stale;
    for from in (0..admin.log.length()).step_by(MAX_ENTRIES_AT_ONCE) {
        let piece = protocol::trust::Document::LogEntries {
            admin: admin.log.admin(),
            from,
            entries: admin.log.encoded(from, MAX_ENTRIES_AT_ONCE),
        };
        last = own.offer(&piece).unwrap();
    }
    assert!(matches!(last, Offer::New(_)));
    assert_eq!(own.state.revoked().effective(), MANY as usize);
    assert!(own.state.revoked().node(&node(MANY - 1)).is_some());
    let back = TrustState::restore(&Fake, own.state.kept()).unwrap();
    assert_eq!(back.revoked().effective(), MANY as usize);
}

#[test]
fn a_log_has_an_end() {
    let world = World::new(1);
    let mut admin = world.log(0);
    admin.revoke(0);
    let mut entry = admin.log.entries()[0].entry();
    entry.index = MAX_LOG_ENTRIES;
    assert_eq!(entry.validate().unwrap_err().reason(), "bad_document_field");
    entry.index = MAX_LOG_ENTRIES - 1;
    assert!(entry.validate().is_ok());
    let mut head = admin.log.head(NOW);
    head.length = MAX_LOG_ENTRIES + 1;
    let head = head.sign(&Fake, &admin.keys).unwrap();
    let refused = world.node().log_head(&head.into());
    assert_eq!(crate::world::refusal(refused), "bad_document_field");
}

#[test]
fn a_rogue_who_revokes_everything_gains_its_quota() {
    let world = World::new(2);
    let mut own = world.node();
    let rogue = many(&world, 0);
    own.log(&rogue);
    assert_eq!(own.state.revoked().effective(), 5);
    assert_eq!(own.state.revoked().ineffective(), MANY as usize - 5);
    let mut honest = world.log(1);
    honest.write(NOW, Act::Node(node(70_000)));
    own.log(&honest);
    assert_eq!(
        own.state.revoked().effective(),
        7,
        "confirmed, in both logs"
    );
    assert_eq!(Log::new(own.state.mesh(), honest.log.admin()).length(), 0);
}
