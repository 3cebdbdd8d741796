//! Memberships that follow one another: renewed, of another issuer, under rotated keys.

use super::*;

#[tokio::test]
async fn memberships_are_renewed_before_and_after_their_end() {
    let world = world().await;
    let ticket = world.ticket(|_| ()).await;
    let host = Host::new();
    let first = world.granted(host.joining("b", &ticket, &world)).await;
    // Too early: what there is.
    world.pass(DAY_S);
    let early = world.granted(host.renewing(&world)).await;
    assert_eq!(early.bytes(), first.bytes());
    world.pass(3 * DAY_S);
    let second = world.granted(host.renewing(&world)).await;
    let (was, is) = (first.content(), second.content());
    assert_eq!(
        (&was.name, &was.groups, &was.site),
        (&is.name, &is.groups, &is.site)
    );
    assert_eq!(is.not_before, UnixSeconds(NOW + 4 * DAY_S));
    assert_eq!(is.not_after, UnixSeconds(NOW + 11 * DAY_S));
    assert!(is.issuer_sequence > was.issuer_sequence);
    // Asleep for a hundred days.
    world.pass(100 * DAY_S);
    assert!(second.valid_at(world.issuer.now()).is_err());
    let third = world.granted(host.renewing(&world)).await;
    assert!(third.valid_at(world.issuer.now()).is_ok());
    // Nobody else renews it, and a revoked node renews nothing.
    let stranger = outcome(&world.judge(Host::new().renewing(&world)).await);
    assert_eq!(stranger, "unknown_member");
    let thief = Host {
        tls: host.tls,
        signing: SigningKeys::generate(&Primitives).unwrap(),
    };
    assert_eq!(
        outcome(&world.judge(thief.renewing(&world)).await),
        "node_bound"
    );
    let host = Host {
        tls: thief.tls,
        signing: host.signing,
    };
    world.bars.nodes.lock().unwrap().insert(host.node());
    assert_eq!(
        outcome(&world.judge(host.renewing(&world)).await),
        "node_revoked"
    );
}

#[tokio::test]
async fn an_issuer_renews_what_another_issued_and_binds_it() {
    let (here, elsewhere) = (world().await, Host::new());
    // As another issuer of the same root would have signed it: here it is only shown.
    let content = Membership {
        mesh: here.identity.mesh(),
        tls_key: elsewhere.tls.public_key().to_vec(),
        signing: elsewhere.signing.public().clone(),
        name: name("elsewhere"),
        groups: vec![name("agents")],
        site: None,
        not_before: UnixSeconds(NOW - 9 * DAY_S),
        not_after: UnixSeconds(NOW - 2 * DAY_S),
        issuer_sequence: 77,
        replaces: None,
    };
    let shown = content.sign(&Primitives, &here.keys).unwrap();
    let request = elsewhere.renewing(&here);
    let unshown = here.judge(request.clone()).await;
    assert_eq!(outcome(&unshown), "unknown_member");
    let renewed = here
        .issuer
        .judge(request.clone(), Some(&shown), CHALLENGE)
        .await;
    let renewed = here.verified(&renewed.unwrap());
    assert_eq!(renewed.content().groups, vec![name("agents")]);
    let ticket = here.ticket(|_| ()).await;
    assert_eq!(
        here.join(&Host::new(), "elsewhere", &ticket).await,
        "name_taken"
    );
    // What an issuer signed twice with one sequence, or beyond its rate, nobody renews either.
    let twice = Host::new();
    let mut lie = content.clone();
    lie.tls_key = twice.tls.public_key().to_vec();
    lie.signing = twice.signing.public().clone();
    let lie = lie.sign(&Primitives, &here.keys).unwrap();
    let request = twice.renewing(&here);
    let refused = here.issuer.judge(request, Some(&lie), CHALLENGE).await;
    assert_eq!(outcome(&refused), "issuer_equivocates");
    // What somebody signed who is no issuer renews nothing.
    let stranger = Host::new();
    let forged = content.sign(&Primitives, &stranger.signing).unwrap();
    let request = stranger.renewing(&here);
    let refused = here.issuer.judge(request, Some(&forged), CHALLENGE).await;
    assert_eq!(outcome(&refused), "unknown_member");
}

#[tokio::test]
async fn rotated_keys_take_the_name_and_the_old_ones_are_refused() {
    let world = world().await;
    let ticket = world.ticket(|i| i.uses = 9).await;
    let (old, new) = (Host::new(), Host::new());
    let first = world.granted(old.joining("b", &ticket, &world)).await;
    world
        .members
        .learn_membership(first.bytes(), world.issuer.now())
        .unwrap();
    let rotation = |by: &Host, from: &Host| {
        let mut request = by.content("ignored", &world);
        request.replaces = Some(old.node());
        request
            .sign_rotation(&Primitives, &by.signing, &from.signing)
            .unwrap()
    };
    // Without the old signing set nobody takes its place.
    let thief = Host::new();
    let forged = outcome(&world.judge(rotation(&thief, &thief)).await);
    assert!(
        ["duplicate_signature", "unknown_key"].contains(&forged),
        "{forged}"
    );
    assert_eq!(
        outcome(&world.judge(rotation(&thief, &new)).await),
        "unknown_key"
    );
    let second = world.granted(rotation(&new, &old)).await;
    assert_eq!(second.node(), new.node());
    assert_eq!(second.content().name, name("b"));
    assert_eq!(second.content().replaces, Some(vec![old.node()]));
    // The same again, as when the answer was lost; nobody else's.
    let again = world.granted(rotation(&new, &old)).await;
    assert_eq!(again.bytes(), second.bytes());
    assert_eq!(
        outcome(&world.judge(rotation(&thief, &old)).await),
        "superseded"
    );
    // The old keys renew nothing, join nothing and are nobody's any more.
    assert_eq!(
        outcome(&world.judge(old.renewing(&world)).await),
        "superseded"
    );
    assert_eq!(world.join(&old, "c", &ticket).await, "superseded");
    assert!(world.members.member(&old.node()).is_none());
    let refused = world
        .members
        .learn_membership(first.bytes(), world.issuer.now());
    assert_eq!(
        refused.unwrap_err(),
        crate::members::DirectoryError::Superseded(new.node())
    );
    // Renewed, it still says whom it replaces, as long as that one could still show itself.
    world.pass(4 * DAY_S);
    let third = world.granted(new.renewing(&world)).await;
    assert_eq!(third.content().replaces, Some(vec![old.node()]));
    world.pass(4 * DAY_S);
    let fourth = world.granted(new.renewing(&world)).await;
    assert_eq!(fourth.content().replaces, None);
}

#[tokio::test]
async fn a_membership_ends_nobody_of_another_name() {
    let world = world().await;
    let ticket = world.ticket(|i| i.uses = 9).await;
    let (victim, other) = (Host::new(), Host::new());
    let held = world
        .granted(victim.joining("victim", &ticket, &world))
        .await;
    let now = world.issuer.now();
    world.members.learn_membership(held.bytes(), now).unwrap();
    let mut claims = world
        .granted(other.joining("other", &ticket, &world))
        .await
        .content()
        .clone();
    claims.replaces = Some(vec![victim.node()]);
    let claims = claims.sign(&Primitives, &world.keys).unwrap();
    world.members.learn_membership(&claims, now).unwrap();
    assert!(world.members.valid(&victim.node(), now).is_some());
    assert_eq!(world.members.replaced_by(&victim.node()), None);
}
