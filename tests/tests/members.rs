//! Who is a member, on whole nodes: a compromised issuer's key signs whatever its thief likes, and
//! nodes admit no more of it than the root allows; a revoked member is known by its name for good.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on should say where"
)]

use std::path::PathBuf;

use hedgerow_crypto::{Primitives, SigningKeys};
use node::control::Operations as _;
use node::setup;
use node::state_dir::StateDir;
use node::transport::LinkError;
use protocol::control::{
    FileBytes, Level, PeerState, Publish, PublishedDocument, RevocationQuery, Target,
};
use protocol::trust::revocation::Act;
use protocol::trust::{Membership, MembershipRequest};
use tests::admin::{Admin, hand, in_force};
use tests::forge::now;
use tests::hostile::Hostile;
use tests::mesh::{TestMesh, TestNode, name};
use tests::wait::until;

/// Memberships an hour, once the founders have lowered it.
const RATE: u64 = 3;

/// Somebody with the issuer's key, far from its books.
struct Thief<'a> {
    mesh: &'a TestMesh,
    hub: PathBuf,
    issuer: SigningKeys,
    hosts: usize,
}

impl Thief<'_> {
    /// A host with new keys and a membership that was never in the books.
    fn host(&mut self, sequence: u64) -> Hostile {
        self.hosts += 1;
        let host = format!("thief-{}", self.hosts);
        let state = self.mesh.state(&host);
        let request = setup::identity(&state, None).unwrap().request;
        let keys = MembershipRequest::peek(&request).unwrap();
        let hub = StateDir::open(&self.hub).unwrap();
        let own = setup::load(&hub).unwrap().membership().content().clone();
        let begins = now();
        let membership = Membership {
            tls_key: keys.tls_key,
            signing: keys.signing,
            name: name(&host),
            not_before: begins,
            not_after: begins.plus(3600),
            issuer_sequence: sequence,
            ..own
        };
        let signed = membership.sign(&Primitives, &self.issuer).unwrap();
        let dir = StateDir::open(&state).unwrap();
        for (from, to) in [
            (hub.root(), dir.root()),
            (hub.membership(), dir.membership()),
        ] {
            std::fs::copy(from, to).unwrap();
        }
        std::fs::write(dir.membership(), signed).unwrap();
        Hostile::enter(&state)
    }
}

async fn refusal(node: &TestNode, host: &Hostile) -> String {
    match host.dial(node).await.unwrap_err() {
        LinkError::NotAdmittedByPeer(refusal) => refusal.reason,
        other => panic!("{other:?}"),
    }
}

/// What the operator of a node sees.
async fn alarms(node: &TestNode) -> Vec<String> {
    let trust = node.status().await.trust.unwrap();
    let alarms = trust.issuer_alarms.into_iter();
    alarms.map(|alarm| alarm.reason).collect()
}

#[tokio::test]
async fn an_issuer_beyond_its_rate_gets_nobody_in_and_nobody_out() {
    let (mesh, hub) = TestMesh::found("hub").await;
    let admin = Admin::of(&hub.state);
    hub.attach_fixture("bench", &[]).await;
    let c = mesh.join(&hub, "c").await;
    c.linked(hub.id()).await;
    let slower = admin
        .root(&hub, &[], |root| root.issuers[0].max_per_hour = RATE)
        .await;
    let publish = Publish {
        documents: vec![PublishedDocument::Root(FileBytes(slower))],
    };
    hand(&hub, publish).await.unwrap();
    let lowered = || async { in_force(&c).await.root.version == 2 };
    until("the rate is lower everywhere", lowered).await;

    let issuer = setup::issuer(&StateDir::open(&hub.state).unwrap());
    let mut thief = Thief {
        mesh: &mesh,
        hub: hub.state.clone(),
        issuer: issuer.unwrap().unwrap(),
        hosts: 0,
    };
    // Of three an hour the hub and c are two: one more gets in, far ahead as it is.
    let third = thief.host(1 << 40);
    third.link(&hub).await;
    third.link(&c).await;
    // The next do not, whether they go on, skip or fill a gap.
    for sequence in [(1 << 40) + 1, 1 << 50, 3] {
        let host = thief.host(sequence);
        assert_eq!(refusal(&hub, &host).await, "issuer_too_fast");
        assert_eq!(refusal(&c, &host).await, "issuer_too_fast");
    }
    // Nor does one that takes a sequence again.
    let again = thief.host(1 << 40);
    assert_eq!(refusal(&hub, &again).await, "issuer_equivocates");
    assert_eq!(refusal(&c, &again).await, "issuer_equivocates");

    for node in [&hub, &c] {
        assert_eq!(
            alarms(node).await,
            ["issuer_equivocates", "issuer_too_fast"]
        );
        let checks = node.node.doctor().await.unwrap();
        let check = checks.iter().find(|check| check.name == "issuer_limits");
        assert_eq!(check.unwrap().level, Level::Fail);
    }
    // The honest mesh works, and what was stolen can be cut off from a sequence on.
    let session = c.open("agent", "hub", "bench").await.unwrap();
    session.call(1, "echo", "{}").await.unwrap();
    let act = Act::Issuer {
        issuer: in_force(&hub).await.issuers[0].id,
        since: now().plus(3600),
        since_sequence: Some(3),
    };
    admin.revoke(&hub, act, "its key was stolen").await;
    for node in [&hub, &c] {
        let gone = || async { node.node.links().get(third.id()).is_none() };
        until("the stolen membership is void", gone).await;
    }
    session.call(2, "echo", "{}").await.unwrap();
    // Restarted, a node lets in who was in.
    let c = TestNode::start(&c.stop().await).await;
    c.linked(hub.id()).await;
}

#[tokio::test]
async fn a_revoked_node_is_known_by_its_name_after_a_restart() {
    let (mesh, hub) = TestMesh::found("hub").await;
    let admin = Admin::of(&hub.state);
    let b = mesh.join(&hub, "b").await;
    let id = b.id();
    let entry = admin.revoke(&hub, Act::Node(id), "disk stolen").await;
    drop(b.stop().await);
    let kept = || async {
        let names = hub.node.store().snapshot().unwrap().revoked_names();
        names.unwrap() == [(id, name("b"))]
    };
    until("the name is on disk", kept).await;
    let hub = TestNode::start(&hub.stop().await).await;
    let query = RevocationQuery {
        limit: None,
        entry: Some(entry.to_string()),
    };
    let listed = hub.node.trust().unwrap().revocations(query).await.unwrap();
    let target = Target::Node {
        id,
        name: Some(name("b")),
    };
    assert_eq!(listed.entries[0].target, target);
    let peers = hub.node.peers().await.unwrap();
    let peer = peers.iter().find(|peer| peer.id == id).unwrap();
    assert_eq!(peer.name, Some(name("b")));
    assert_eq!(peer.state, PeerState::Revoked);
}
