//! Admins who are none any more.

use protocol::trust::state::{Change, ForkOf, Missing};
use protocol::trust::{Act, Offer, Retired, Root};

use crate::world::{NOW, Node, World, Writer, node, refusal};

/// A root in which the first admin is retired like this.
fn retiring(world: &World, before: &Node, retired: Retired) -> protocol::trust::Bytes {
    let by = &world.admins[1..];
    world.root_after(before.state.root(), by, |root: &mut Root| {
        root.admins.remove(0);
        root.retired = Some(vec![retired]);
    })
}

fn revoking(world: &World, numbers: &[u32]) -> Writer {
    let mut writer = world.log(0);
    for number in numbers {
        writer.revoke(*number);
    }
    writer
}

#[test]
fn later_entries_of_a_retired_admin_count_for_nothing() {
    let world = World::new(2);
    let mut own = world.node();
    let admin = revoking(&world, &[1, 2]);
    let mut rogue = admin.clone();
    rogue.revoke(3);
    own.log(&rogue);
    assert!(own.state.revoked().node(&node(3)).is_some());
    let root = retiring(&world, &own, world.retire(&admin));
    own.root(&root).unwrap();
    assert!(own.state.revoked().node(&node(2)).is_some());
    assert!(own.state.revoked().node(&node(3)).is_none());
    assert_eq!(own.state.heads().logs[0].length, 2);
    // New heads, on the same chain or another, come too late.
    rogue.revoke(4);
    assert_eq!(own.log_head(&rogue.head()), Ok(Offer::Stale));
    let other = revoking(&world, &[7]);
    assert_eq!(own.log_head(&other.head()), Ok(Offer::Stale));
    assert_eq!(own.log_head(&admin.head()), Ok(Offer::Known));
    assert!(own.state.missing().is_empty());
}

#[test]
fn a_latecomer_gets_what_the_root_binds_without_a_head() {
    let world = World::new(2);
    let admin = revoking(&world, &[1, 2]);
    let mut own = world.node();
    let root = retiring(&world, &own, world.retire(&admin));
    own.root(&root).unwrap();
    let wanted = Missing::Entries {
        admin: admin.log.admin(),
        from: 0,
        to: 2,
        link: admin.log.link(),
    };
    assert_eq!(own.state.missing(), [wanted]);
    let change = Change::Log {
        admin: admin.log.admin(),
        from: 0,
        length: 2,
    };
    assert_eq!(own.entries(&admin.log, 0), Ok(Offer::New(change)));
    assert!(own.state.revoked().node(&node(2)).is_some());
}

#[test]
fn the_root_decides_between_two_histories() {
    let world = World::new(2);
    let good = revoking(&world, &[1, 2, 3]);
    let mut evil = revoking(&world, &[1]);
    evil.revoke(8);
    let fork = Offer::Fork(ForkOf::Log(good.log.admin()));
    // Both known; the evil one first.
    let mut own = world.node();
    own.log(&evil);
    own.log_head(&good.head()).unwrap();
    let _ = own.entries(&good.log, 2);
    assert_eq!(own.entries(&good.log, 0), Ok(fork));
    let root = retiring(&world, &own, world.retire(&good));
    own.root(&root).unwrap();
    assert!(own.state.revoked().node(&node(3)).is_some());
    assert!(own.state.revoked().node(&node(8)).is_none());
    assert!(own.state.missing().is_empty());
    // Only the evil one known: it counts until the entries that do are here.
    let mut own = world.node();
    own.log(&evil);
    own.root(&root).unwrap();
    assert!(own.state.revoked().node(&node(8)).is_some());
    let again = own.entries(&good.log, 2).unwrap();
    assert!(matches!(
        again,
        Offer::Wanted(Missing::Entries { from: 0, .. })
    ));
    assert!(matches!(own.entries(&good.log, 0), Ok(Offer::New(_))));
    assert!(own.state.revoked().node(&node(3)).is_some());
    assert!(own.state.revoked().node(&node(8)).is_none());
    assert!(!own.state.log(&good.log.admin()).unwrap().is_forked());
}

#[test]
fn a_new_admin_begins_a_log() {
    let world = World::new(2);
    let mut own = world.node();
    let fresh = crate::fake::Keys::of("fresh");
    let by = [world.admins[0].clone(), world.admins[1].clone()];
    let mut writer = Writer {
        log: protocol::trust::revocation::Log::new(own.state.mesh(), crate::world::id(&fresh)),
        keys: fresh.clone(),
    };
    writer.write(NOW, Act::Node(node(1)));
    assert_eq!(refusal(own.log_head(&writer.head())), "unknown_key");
    let root = world.root_after(own.state.root(), &by, |root| {
        root.admins.push(crate::world::publics(&[fresh]).remove(0));
    });
    own.root(&root).unwrap();
    assert!(matches!(own.log(&writer), Offer::New(_)));
    assert!(own.state.revoked().node(&node(1)).is_some());
}
