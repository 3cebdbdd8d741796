//! Roles that the root gives to nodes while they run.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use hedgerow_crypto::Primitives;
use node::control::Enrolling as _;
use node::enrol;
use node::setup::{self, NodeRole};
use node::state_dir::StateDir;
use protocol::control::Invite;
use protocol::crypto::Signer as _;
use protocol::trust::{Issuer, Ticket};
use tests::admin::{Admin, in_force};
use tests::mesh::{LOCAL, TestMesh, TestNode, name};
use tests::wait::{soon, until};

fn invite() -> Invite {
    Invite {
        groups: Vec::new(),
        site: None,
        name: None,
        ttl_s: 3600,
        uses: 1,
        pending: false,
        life_s: None,
    }
}

#[tokio::test]
async fn a_node_takes_roles_up_and_lays_them_down_while_it_runs() {
    let (mesh, hub) = TestMesh::found("hub").await;
    let admin = Admin::of(&hub.state);
    let b = mesh.join(&hub, "b").await;
    let refused = b.node.invite(LOCAL, invite()).await.unwrap_err();
    assert_eq!(refused.reason, "not_an_issuer");
    assert_eq!(
        refused.message,
        "node `b` is no issuer of memberships and is linked with: `hub`"
    );
    // The keys are made while it runs, as the admins are given them.
    setup::role_card(&b.state, NodeRole::Issuer).unwrap();
    setup::role_card(&b.state, NodeRole::Timestamper).unwrap();
    let dir = StateDir::open(&b.state).unwrap();
    let issuer = setup::issuer(&dir).unwrap().unwrap();
    let timestamper = setup::timestamper(&dir).unwrap().unwrap();
    let named = Issuer {
        keys: issuer.public().clone(),
        groups: None,
        sites: None,
        max_life_s: setup::FOUNDER_LIFE_S,
        max_per_hour: 100,
    };
    admin
        .put_root(&hub, |root| {
            root.issuers.push(named);
            root.timestampers.push(timestamper.public().clone());
        })
        .await;
    let issues = || async { b.node.invite(LOCAL, invite()).await.is_ok() };
    until("it issues", issues).await;
    let own = timestamper.public().id(&Primitives);
    let stamps = || async {
        let known = in_force(&hub).await.timestampers;
        known.iter().any(|t| t.id == own && t.version.is_some())
    };
    until("its timestamps come", stamps).await;
    // What it issues is good everywhere.
    let ticket = b.node.invite(LOCAL, invite()).await.unwrap();
    let ticket = Ticket::parse(&Primitives, ticket.ticket.expose()).unwrap();
    let state = mesh.state("c");
    let mut tell = |_| ();
    let joined = enrol::join(&state, &ticket, Some(name("c")), &mut tell);
    soon(joined).await.unwrap();
    let c = TestNode::start(&state).await;
    c.linked(hub.id()).await;

    admin
        .put_root(&hub, |root| {
            root.issuers.retain(|i| i.keys != *issuer.public());
            root.timestampers.retain(|t| t != timestamper.public());
        })
        .await;
    let over = || async { b.node.invite(LOCAL, invite()).await.is_err() };
    until("it issues no more", over).await;
    let refused = b.node.invite(LOCAL, invite()).await.unwrap_err();
    assert_eq!(refused.reason, "not_an_issuer");
    // Taken up again without a key of its own being made again.
    let again = Issuer {
        keys: issuer.public().clone(),
        groups: None,
        sites: None,
        max_life_s: setup::FOUNDER_LIFE_S,
        max_per_hour: 100,
    };
    admin.put_root(&hub, |root| root.issuers.push(again)).await;
    until("it issues again", issues).await;
}
