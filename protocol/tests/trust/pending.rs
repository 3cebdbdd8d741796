//! Documents that gather signatures.

use protocol::trust::threshold::{Pending, PendingContent, SignError};
use protocol::trust::{BundleHead, Offer, TrustError};

use crate::fake::{Fake, Keys};
use crate::world::{NOW, World, id, publics, refusal};

fn bundle(world: &World) -> Pending {
    let own = world.node();
    let head = BundleHead::over(&Fake, own.state.root(), 1, NOW, b"body");
    Pending::new(PendingContent::Bundle(head))
}

#[test]
fn signatures_gather_offline_and_in_any_order() {
    let world = World::new(2);
    let own = world.node();
    let root = Some(own.state.root().as_ref());
    let admins = publics(&world.admins);
    let blank = bundle(&world);
    assert_eq!(blank.signers(&Fake, &admins), Ok(vec![]));
    assert_eq!(blank.missing(&Fake, root), Ok(vec![2]));
    let sign = |keys: &Keys| {
        // On another machine, which knows the file only.
        let mut pending = Pending::parse(blank.bytes()).unwrap();
        pending.add_signature(&Fake, keys).unwrap();
        pending
    };
    let (mut a, b) = (sign(&world.admins[0]), sign(&world.admins[2]));
    assert_eq!(a.signers(&Fake, &admins), Ok(vec![id(&world.admins[0])]));
    assert_eq!(a.hash(&Fake), b.hash(&Fake));
    let under = a.complete(&Fake, root).unwrap_err();
    assert_eq!(under.reason(), "under_threshold");
    assert_eq!(a.merge(&b), Ok(1));
    assert_eq!(a.merge(&b), Ok(0), "once is enough");
    assert_eq!(a.missing(&Fake, root), Ok(vec![0]));
    let done = a.complete(&Fake, root).unwrap();
    let mut own = own.clone();
    assert!(matches!(own.head(&done), Ok(Offer::Wanted(_))));
    assert!(Pending::parse(&done).is_ok(), "more may still sign");
}

#[test]
fn a_pending_file_is_never_a_document() {
    let world = World::new(2);
    let mut own = world.node();
    let mut pending = bundle(&world);
    assert_eq!(refusal(own.head(&pending.bytes().into())), "unsigned");
    pending.add_signature(&Fake, &world.admins[0]).unwrap();
    assert_eq!(
        refusal(own.head(&pending.bytes().into())),
        "under_threshold"
    );
}

#[test]
fn who_signs_twice_or_signs_something_else_is_told() {
    let world = World::new(2);
    let mut pending = bundle(&world);
    pending.add_signature(&Fake, &world.admins[0]).unwrap();
    let again = pending.add_signature(&Fake, &world.admins[0]);
    assert_eq!(again, Err(SignError::Trust(TrustError::AlreadySigned)));
    let own = world.node();
    let other = BundleHead::over(&Fake, own.state.root(), 2, NOW, b"body");
    let other = Pending::new(PendingContent::Bundle(other));
    assert_eq!(pending.merge(&other).unwrap_err().reason(), "other_content");
    // A stranger may sign, and spoils it: that is said before it is sent.
    pending.add_signature(&Fake, &Keys::of("x")).unwrap();
    let root = Some(own.state.root().as_ref());
    let spoilt = pending.complete(&Fake, root).unwrap_err();
    assert_eq!(spoilt.reason(), "unknown_key");
    let signers = pending.signers(&Fake, &publics(&world.admins));
    assert_eq!(signers.unwrap_err().reason(), "unknown_key");
}

#[test]
fn a_root_gathers_old_and_new_admins() {
    let world = World::new(2);
    let mut own = world.node();
    let before = own.state.root().clone();
    let fresh = Keys::of("fresh");
    let mut root = before.root().clone();
    root.version = 2;
    root.mesh = Some(before.mesh());
    root.previous = Some(before.hash());
    root.admins = publics(&[world.admins[0].clone(), fresh.clone()]);
    root.retired = Some(vec![
        world.retire(&world.log(1)),
        world.retire(&world.log(2)),
    ]);
    let mut pending = Pending::new(PendingContent::Root(Box::new(root)));
    let missing = |p: &Pending| p.missing(&Fake, Some(&before)).unwrap();
    assert_eq!(missing(&pending), [2, 2]);
    pending.add_signature(&Fake, &world.admins[0]).unwrap();
    assert_eq!(missing(&pending), [1, 1], "it counts for both");
    pending.add_signature(&Fake, &world.admins[1]).unwrap();
    assert_eq!(missing(&pending), [0, 1]);
    pending.add_signature(&Fake, &fresh).unwrap();
    assert_eq!(missing(&pending), [0, 0]);
    let done = pending.complete(&Fake, Some(&before)).unwrap();
    assert!(matches!(own.root(&done), Ok(Offer::New(_))));
}

#[test]
fn nothing_else_is_taken_for_pending() {
    let world = World::new(2);
    let own = world.node();
    let stamp = world.stamp(&own.state, 0, NOW);
    assert_eq!(
        Pending::parse(&stamp).unwrap_err().reason(),
        "wrong_content_type"
    );
    assert_eq!(Pending::parse(&[]).unwrap_err().reason(), "truncated");
    let genesis = Pending::parse(&world.genesis).unwrap();
    assert_eq!(
        genesis.complete(&Fake, None).as_deref(),
        Ok(&*world.genesis)
    );
}
