//! What a revoked node's disk, one admin of three and an admin who signs twice can do on whole
//! nodes: nothing that lasts.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use std::sync::Arc;

use hedgerow_crypto::{Primitives, SigningKeys};
use node::control::{Enrolling as _, Operations as _};
use node::enrol;
use node::setup;
use node::state_dir::StateDir;
use node::transport::StreamKind;
use protocol::control::{
    Invite, Level, Publish, PublishedDocument, RevocationQuery, RevocationState,
};
use protocol::crypto::Signer as _;
use protocol::distribution::message::Heads;
use protocol::distribution::{HeadSet, Message, VersionRow};
use protocol::id::{Digest, NodeId};
use protocol::trust::revocation::Act;
use protocol::trust::{PeerAddress, Ticket};
use tests::admin::{Admin, hand, holds, in_force};
use tests::forge::random;
use tests::hostile::Hostile;
use tests::mesh::{LOCAL, TestMesh, TestNode, name};
use tests::stranger::{HYBRID, admitted, connect_as, hello, refusal};
use tests::wait::{soon, until};

const WHY: &str = "disk stolen on the train";

async fn apart(a: &TestNode, b: NodeId) {
    let gone = || async { a.node.links().get(b).is_none() };
    until("the link is closed", gone).await;
}

/// Other encodings of one and the same key, as lenient parsers take them.
fn encodings(spki: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    // SEQUENCE (two bytes of length) of an algorithm (one byte of length) and a bit string.
    assert_eq!((spki[0], spki[1], spki[4]), (0x30, 0x82, 0x30));
    let algorithm = usize::from(spki[5]);
    let rest = &spki[6 + algorithm..];
    let length = spki.len() - 4;
    let long = [&[0x30, 0x83, 0], &spki[2..]].concat();
    let outer = u16::try_from(length + 2).unwrap().to_be_bytes();
    let null = [
        &[0x30, 0x82][..],
        &outer,
        &[0x30, spki[5] + 2],
        &spki[6..6 + algorithm],
        &[0x05, 0x00],
        rest,
    ];
    vec![
        ("a longer length", long),
        ("parameters", null.concat()),
        ("a byte more", [spki, &[0]].concat()),
        ("one less", spki[..spki.len() - 1].to_vec()),
    ]
}

#[tokio::test]
async fn keys_encoded_another_way_are_nobodys() {
    let (mesh, hub) = TestMesh::found("hub").await;
    let admin = Admin::of(&hub.state);
    let b = mesh.join(&hub, "b").await;
    let id = b.id();
    let identity = Arc::new(setup::load(&StateDir::open(&b.stop().await).unwrap()).unwrap());
    // As it is, it passes: what is tried below is refused for the encoding, or for what follows.
    apart(&hub, id).await;
    let link = admitted(&hub, &identity).await;
    link.close(0_u8.into(), b"");
    admin.revoke(&hub, Act::Node(id), WHY).await;
    apart(&hub, id).await;
    let spki = identity.tls.spki().to_vec();
    for (what, spki) in encodings(&spki) {
        let key = (Arc::clone(&identity.tls), spki);
        let connection = connect_as(&hub, HYBRID, Some(key)).await;
        // Whatever it says, it never gets as far as to be judged as another node.
        if let Ok(connection) = &connection
            && let Ok((mut send, _recv)) = connection.open_bi().await
        {
            let _ = send.write_all(&hello(&identity)).await;
        }
        drop(refusal(connection).await);
        assert!(hub.node.links().all().is_empty(), "{what}");
    }
    // The same for the signature over its membership: S and S + L are one to a lenient verifier.
    let membership = identity.membership().bytes().to_vec();
    let mut other = membership.clone();
    let at = other.len() - 32;
    let mut carry = 0_u16;
    for (byte, order) in other[at..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        *byte = u8::try_from(sum & 0xff).unwrap();
        carry = sum >> 8;
    }
    assert_eq!(carry, 0);
    let mut said = hello(&identity);
    let place = said.windows(membership.len()).position(|w| w == membership);
    let place = place.unwrap();
    said[place..place + other.len()].copy_from_slice(&other);
    let key = (Arc::clone(&identity.tls), spki);
    let connection = connect_as(&hub, HYBRID, Some(key)).await.unwrap();
    let (mut send, _recv) = soon(connection.open_bi()).await.unwrap();
    send.write_all(&said).await.unwrap();
    drop(refusal(Ok(connection)).await);
    assert!(hub.node.links().all().is_empty());
}

/// The order of the group of Ed25519, little-endian (RFC 8032, section 5.1).
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

#[tokio::test]
async fn a_revoked_node_does_not_come_back_through_another_peer() {
    let (mesh, hub) = TestMesh::found("hub").await;
    let admin = Admin::of(&hub.state);
    let c = mesh.join(&hub, "c").await;
    let b = mesh.join(&hub, "b").await;
    let id = b.id();
    admin.revoke(&hub, Act::Node(id), WHY).await;
    apart(&hub, id).await;
    holds(&c, 1).await;
    let state = b.stop().await;
    let invite = Invite {
        groups: Vec::new(),
        site: None,
        name: None,
        ttl_s: 3600,
        uses: 9,
        pending: false,
        life_s: None,
    };
    let ticket = hub.node.invite(LOCAL, invite).await.unwrap();
    let mut ticket = Ticket::parse(&Primitives, ticket.ticket.expose()).unwrap();
    // The other peer would carry it to the issuer, as it does for whoever is new.
    ticket.bootstraps = vec![PeerAddress {
        node: c.id(),
        addresses: vec![c.node.links().local_addr().unwrap().to_string()],
    }];
    let joined = soon(enrol::join(
        &mesh.state("d"),
        &ticket,
        Some(name("d")),
        &mut |_| (),
    ))
    .await;
    joined.unwrap();
    for file in ["membership.cose", "root.cose"] {
        std::fs::remove_file(state.join(file)).unwrap();
    }
    let refused = soon(enrol::join(&state, &ticket, Some(name("e")), &mut |_| ())).await;
    let refused = refused.unwrap_err();
    // That peer does not even ask the issuer.
    let said = refused.to_string();
    assert!(said.contains("is revoked") && said.contains(WHY), "{said}");
}

/// What has become of each entry, as a node lists them, by index.
async fn states(at: &TestNode) -> Vec<RevocationState> {
    let trust = at.node.trust().unwrap();
    let listed = trust.revocations(RevocationQuery::default()).await.unwrap();
    let mut entries = listed.entries;
    entries.sort_by_key(|entry| (entry.admin, entry.index));
    entries.into_iter().map(|entry| entry.state).collect()
}

#[tokio::test]
async fn one_admin_of_three_who_revokes_everyone_does_not_until_another_agrees() {
    let (mesh, hub) = TestMesh::found("hub").await;
    hub.attach_fixture("bench", &[]).await;
    let rogue = Admin::of(&hub.state);
    let b = mesh.join(&hub, "b").await;
    let c = mesh.join(&hub, "c").await;
    c.linked(b.id()).await;
    let others = [(); 2].map(|()| SigningKeys::generate(&Primitives).unwrap());
    let three = |root: &mut protocol::trust::Root| {
        root.admins
            .extend(others.iter().map(|keys| keys.public().clone()));
        root.threshold = 2;
    };
    let root = rogue.root(&hub, &[&others[0]], three).await;
    let document = PublishedDocument::Root(protocol::control::FileBytes(root));
    let documents = vec![document];
    hand(&hub, Publish { documents }).await.unwrap();
    for node in [&hub, &b, &c] {
        let three = || async { in_force(node).await.admins.len() == 3 };
        until("three admins are in force", three).await;
    }
    // The few that one may revoke in an hour, then everyone there is.
    for _ in 0..5 {
        let nobody = NodeId::from_bytes(random());
        rogue.revoke(&hub, Act::Node(nobody), "mine").await;
    }
    for node in [b.id(), c.id(), hub.id()] {
        rogue.revoke(&hub, Act::Node(node), "all mine").await;
    }
    let wanted: Vec<_> = [RevocationState::Effective; 5]
        .into_iter()
        .chain([RevocationState::Excess; 2])
        // The only issuer and timestamper run there: one alone may not at all.
        .chain([RevocationState::Unconfirmed])
        .collect();
    for node in [&hub, &b, &c] {
        holds(node, 8).await;
        assert_eq!(states(node).await, wanted);
        assert_eq!(node.node.links().all().len(), 2, "nobody was cut off");
    }
    let session = c.open("agent", "hub", "bench").await.unwrap();
    session.call(1, "echo", "{}").await.unwrap();
    // The same after a restart: what was kept is judged again.
    let b = TestNode::start(&b.stop().await).await;
    assert_eq!(states(&b).await, wanted);
    b.linked(c.id()).await;
    // One of the others agrees about one of them.
    let [second, _] = others;
    let second = Admin { keys: second };
    second.revoke(&hub, Act::Node(b.id()), WHY).await;
    apart(&hub, b.id()).await;
    apart(&c, b.id()).await;
    assert!(hub.node.links().get(c.id()).is_some());
    session.call(2, "echo", "{}").await.unwrap();
}

async fn forked(at: &TestNode) -> bool {
    in_force(at).await.admins[0].forked
}

#[tokio::test]
async fn a_fork_seen_as_a_second_head_alone_is_known_after_a_restart() {
    let (mesh, hub) = TestMesh::found("hub").await;
    let admin = Admin::of(&hub.state);
    let b = mesh.join(&hub, "b").await;
    let c = mesh.join(&hub, "c").await;
    let id = in_force(&hub).await.mesh;
    let before = admin.place(&hub).await;
    admin.revoke(&hub, Act::Node(b.id()), "stolen").await;
    holds(&c, 1).await;
    let (_, other) = admin.signed(id, before, Act::Node(c.id()), "two-faced");
    let [head, entries] = other.documents.try_into().unwrap();
    let only = |document: &PublishedDocument| Publish {
        documents: vec![document.clone()],
    };
    let reason = |refused: protocol::control::Failure| refused.reason;
    assert!(!forked(&hub).await);
    let refused = hand(&hub, only(&head)).await.unwrap_err();
    assert_eq!(reason(refused), "document_fork");
    assert!(forked(&hub).await);
    // What stands under that head is not here, and yet it is not forgotten.
    let hub = TestNode::start(&hub.stop().await).await;
    assert!(forked(&hub).await);
    let place = admin.place(&hub).await;
    let (_, more) = admin.signed(id, place, Act::Node(hub.id()), "more");
    let refused = hand(&hub, more).await.unwrap_err();
    assert_eq!(reason(refused), "document_fork");
    assert!(hub.node.links().get(b.id()).is_none());
    // Now it comes: both histories are in force, here and wherever this node is heard.
    c.linked(hub.id()).await;
    let refused = hand(&hub, only(&entries)).await.unwrap_err();
    assert_eq!(reason(refused), "document_fork");
    apart(&hub, c.id()).await;
    let hub = TestNode::start(&hub.stop().await).await;
    assert!(forked(&hub).await);
    for revoked in [b, c] {
        let thief = Hostile::enter(&revoked.stop().await);
        thief.dial(&hub).await.unwrap_err();
        assert!(hub.node.links().get(thief.id()).is_none());
    }
}

#[tokio::test]
async fn a_node_whose_only_peer_claims_more_than_it_sends_says_so() {
    let (mesh, hub) = TestMesh::found("hub").await;
    let c = mesh.join(&hub, "c").await;
    let state = mesh.admit(&hub, "b").await;
    assert_eq!(waiting(&c).await, None, "it has synced with the hub");
    drop(hub.stop().await);
    let liar = Hostile::enter(&state);
    liar.link(&c).await;
    let own = c.node.enforcer().standing().now().heads();
    let bundle = Some(VersionRow {
        version: 41,
        hash: Digest::from_bytes(random()),
    });
    let mut wire = liar.stream(c.id(), StreamKind::Trust).await;
    let claim = HeadSet {
        bundle,
        ..own.clone()
    };
    wire.raw(&framed(claim)).await;
    let says = || async {
        let why = waiting(&c).await;
        why.is_some_and(|why| why.contains("none of the 1 linked peers"))
    };
    until("it says that it has synced with nobody", says).await;
    let checks = c.node.doctor().await.unwrap();
    let ready = checks.iter().find(|check| check.name == "ready").unwrap();
    assert_eq!(ready.level, Level::Warn, "{ready:?}");
    // It claims no more than it sends: then all it holds is here.
    wire.raw(&framed(own)).await;
    let synced = || async { waiting(&c).await.is_none() };
    until("it has synced", synced).await;
}

async fn waiting(node: &TestNode) -> Option<String> {
    node.status().await.trust.unwrap().waiting
}

/// Heads as they stand on a trust stream.
fn framed(heads: HeadSet) -> Vec<u8> {
    let answer = false;
    let message = Message::Heads(Heads { heads, answer }).encode();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&length, message.as_slice()].concat()
}
