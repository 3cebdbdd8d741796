//! Revocations on whole nodes over real QUIC: who is cut off is cut off at once, with the admin's
//! reason, and stays so; everybody else notices nothing.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use std::path::Path;

use hedgerow_crypto::{Primitives, SigningKeys};
use node::control::{Enrolling as _, Operations as _};
use node::enrol;
use node::session::SessionError;
use node::setup;
use node::state_dir::StateDir;
use node::transport::LinkError;
use protocol::control::{
    FileBytes, FreshnessState, Invite, IssueMembership, Level, MAX_SPREAD_WAIT_MS, RevocationQuery,
    RevocationState, SpreadQuery,
};
use protocol::crypto::Signer as _;
use protocol::distribution::pull::MAX_OWN_PULLS;
use protocol::id::NodeId;
use protocol::time::UnixSeconds;
use protocol::trust::revocation::Act;
use protocol::trust::root::Retired;
use protocol::trust::{Root, Ticket};
use reqwest::StatusCode;
use serde_json::Value;
use tests::admin::{Admin, holds, in_force, patience_ms, spread};
use tests::client::McpClient;
use tests::forge::now;
use tests::hostile::Hostile;
use tests::mesh::{ADMIN_PASSPHRASE, LOCAL, TestMesh, TestNode, copy_state, last, name, tool_call};
use tests::process::{Process, hedgerow, ran};
use tests::wait::{soon, until};

const WHY: &str = "disk stolen on the train";

/// As status counts a refused handshake of a revoked node.
const COUNTED: &str = "not_admitted/node_revoked";

fn node(node: &TestNode) -> Act {
    Act::Node(node.id())
}

/// What a caller is told, which must be this reason and the admin's own words.
fn told(error: &SessionError, reason: &str) {
    assert_eq!(error.reason, reason, "{error:?}");
    assert!(error.message.contains(WHY), "{error:?}");
}

async fn apart(a: &TestNode, b: NodeId) {
    let gone = || async { a.node.links().get(b).is_none() };
    until("the link is closed", gone).await;
}

/// A node refuses this member, and says that it is revoked.
async fn refuses(node: &TestNode, member: &Hostile, reason: &str) {
    let told = member.dial(node).await.unwrap_err();
    let LinkError::NotAdmittedByPeer(refusal) = told else {
        panic!("{told:?}");
    };
    assert_eq!(refusal.reason, reason);
    assert!(node.node.links().get(member.id()).is_none());
}

async fn join(
    state: &Path,
    host: &str,
    ticket: &Ticket,
) -> Result<enrol::Joined, enrol::JoinError> {
    soon(enrol::join(state, ticket, Some(name(host)), &mut |_| ())).await
}

#[tokio::test]
async fn a_revoked_node_is_cut_off_in_the_middle_of_a_call() {
    let (mesh, hub) = TestMesh::found("hub").await;
    let admin = Admin::of(&hub.state);
    hub.attach_fixture("bench", &[]).await;
    let b = mesh.join(&hub, "b").await;
    b.attach_fixture("bench", &[]).await;
    let c = mesh.join(&hub, "c").await;
    c.linked(b.id()).await;
    let cut = c.open("agent", "b", "bench").await.unwrap();
    let mut cut_call = cut.begin(1, "hold", "{}").await.unwrap();
    let kept = c.open("agent", "hub", "bench").await.unwrap();
    let mut kept_call = kept.begin(1, "hold", "{}").await.unwrap();
    let theirs = b.open("agent", "hub", "bench").await.unwrap();
    let mut their_call = theirs.begin(1, "hold", "{}").await.unwrap();

    admin.revoke(&hub, node(&b), WHY).await;
    told(&last(&mut cut_call).await.unwrap_err(), "node_revoked");
    // It is told no more than that the link is gone, which is all that it needs.
    last(&mut their_call).await.unwrap_err();
    apart(&hub, b.id()).await;
    apart(&c, b.id()).await;
    // The session is over, and no other is opened: nothing there is named any more.
    told(
        &cut.call(2, "echo", "{}").await.unwrap_err(),
        "node_revoked",
    );
    let servers = c.node.fabric();
    let servers = node::session::Fabric::servers(&**servers);
    assert!(
        servers
            .iter()
            .all(|known| known.server.node != name("b") || !known.reachable),
        "{servers:?}"
    );
    // Who has nothing to do with it notices nothing.
    kept.call(2, "release", "{}").await.unwrap();
    let held = last(&mut kept_call).await.unwrap();
    assert_eq!(held["result"]["held"], true);
}

#[tokio::test]
async fn a_revoked_agent_ends_and_its_neighbour_does_not() {
    let (mesh, hub) = TestMesh::found("hub").await;
    let admin = Admin::of(&hub.state);
    hub.attach_fixture("bench", &[]).await;
    let c = mesh.join(&hub, "c").await;
    c.sees("hub", "bench").await;
    let tokens = (c.token("alice").await, c.token("bob").await);
    let alice = McpClient::open(&c, "/mcp/hub/bench", &tokens.0).await;
    let bob = McpClient::open(&c, "/mcp/hub/bench", &tokens.1).await;
    let cut = alice.send(tool_call(7, "hold", "{}"));
    let kept = bob.send(tool_call(7, "hold", "{}"));
    let (cut, kept) = tokio::join!(cut, kept);

    let agent = Act::Agent {
        node: Some(c.id()),
        name: name("alice"),
    };
    admin.revoke(&hub, agent, WHY).await;
    let said = soon(cut.text()).await.unwrap();
    assert!(
        said.contains("agent_revoked") && said.contains(WHY),
        "{said}"
    );
    let ended = || async { alice.post(tool_call(8, "echo", "{}")).await.status != StatusCode::OK };
    until("the session of the agent has ended", ended).await;
    // Nor does it get another one.
    let anew = McpClient::new(&c, "/mcp/hub/bench", &tokens.0);
    let anew = anew.post(tests::mesh::INITIALIZE).await;
    assert_eq!(anew.reason(), "agent_revoked", "{anew:?}");

    let released = bob.post(tool_call(9, "release", "{}")).await;
    assert_eq!(released.response()["id"], 9);
    let said = soon(kept.text()).await.unwrap();
    assert!(said.contains(r#""held":true"#), "{said}");
    // An agent of that name elsewhere is another one.
    let elsewhere = hub.open("alice", "hub", "bench").await.unwrap();
    elsewhere.call(1, "echo", "{}").await.unwrap();
}

#[tokio::test]
async fn an_agent_revoked_anywhere_is_so_on_every_node() {
    let (mesh, hub) = TestMesh::found("hub").await;
    let admin = Admin::of(&hub.state);
    hub.attach_fixture("bench", &[]).await;
    let c = mesh.join(&hub, "c").await;
    let at_c = c.open("mallory", "hub", "bench").await.unwrap();
    let at_hub = hub.open("mallory", "hub", "bench").await.unwrap();
    let mut call_c = at_c.begin(1, "hold", "{}").await.unwrap();
    let mut call_hub = at_hub.begin(1, "hold", "{}").await.unwrap();
    let act = Act::Agent {
        node: None,
        name: name("mallory"),
    };
    admin.revoke(&hub, act, WHY).await;
    told(&last(&mut call_c).await.unwrap_err(), "agent_revoked");
    told(&last(&mut call_hub).await.unwrap_err(), "agent_revoked");
    c.open("other", "hub", "bench").await.unwrap();
}

#[tokio::test]
async fn a_revoked_node_does_not_come_back() {
    let (mesh, hub) = TestMesh::found("hub").await;
    let admin = Admin::of(&hub.state);
    let c = mesh.join(&hub, "c").await;
    let b = mesh.join(&hub, "b").await;
    c.linked(b.id()).await;
    admin.revoke(&hub, node(&b), WHY).await;
    apart(&hub, b.id()).await;
    apart(&c, b.id()).await;
    let (id, state) = (b.id(), b.stop().await);

    // At another address, towards either node.
    let thief = Hostile::enter(&state);
    assert_eq!(thief.id(), id);
    refuses(&hub, &thief, "node_revoked").await;
    refuses(&c, &thief, "node_revoked").await;
    drop(thief);
    let issuer = setup::issuer(&StateDir::open(&hub.state).unwrap());
    let issuer = issuer.unwrap().unwrap();
    let dir = StateDir::open(&state).unwrap();
    let content = setup::load(&dir).unwrap().membership().content().clone();
    // With an older membership, with a newer one, under another name.
    let mut older = content.clone();
    older.not_before = now().minus(3600);
    let mut newer = content.clone();
    newer.issuer_sequence += 1000;
    let mut other = newer.clone();
    other.name = name("somebody");
    for (n, forged) in [older, newer, other].into_iter().enumerate() {
        let stolen = mesh.state(&format!("stolen-{n}"));
        copy_state(&state, &stolen);
        let bytes = forged.sign(&Primitives, &issuer).unwrap();
        std::fs::write(StateDir::open(&stolen).unwrap().membership(), bytes).unwrap();
        let thief = Hostile::enter(&stolen);
        refuses(&hub, &thief, "node_revoked").await;
        refuses(&c, &thief, "node_revoked").await;
    }
    // As a node that dials by itself and is dialled by nobody.
    let before = hub.refusals().await.get(COUNTED).copied();
    let b = TestNode::start(&state).await;
    let refused = || async { hub.refusals().await.get(COUNTED).copied() > before };
    until("it tried", refused).await;
    assert!(b.node.links().all().is_empty());
    assert!(hub.node.links().get(id).is_none() && c.node.links().get(id).is_none());
    // It holds nothing that says so, and says so all the same: who refuses it told it.
    let told = || async { b.status().await.trust.unwrap().revoked.is_some() };
    until("it says that it is revoked", told).await;
    let checks = b.node.doctor().await.unwrap();
    let level = |name: &str| checks.iter().find(|c| c.name == name).unwrap().level;
    assert_eq!(level("revoked"), Level::Fail);
    let trust = hub.status().await.trust.unwrap();
    assert_eq!(trust.revoked, None, "who refuses it is not");
}

#[tokio::test]
async fn a_revoked_node_is_not_issued_a_membership_again() {
    let (mesh, hub) = TestMesh::found("hub").await;
    let admin = Admin::of(&hub.state);
    let b = mesh.join(&hub, "b").await;
    admin.revoke(&hub, node(&b), WHY).await;
    let (id, state) = (b.id(), b.stop().await);
    let dir = StateDir::open(&state).unwrap();
    // By a file.
    let request = setup::identity(&state, None).unwrap().request;
    let issue = IssueMembership {
        request: FileBytes(request),
        name: name("b"),
        groups: Vec::new(),
        site: None,
        days: 30,
    };
    let refused = hub.node.issue_membership(LOCAL, issue).await.unwrap_err();
    assert_eq!(refused.reason, "node_revoked");
    // By a ticket, its keys the same, its membership forgotten; under any name.
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
    let ticket = Ticket::parse(&Primitives, ticket.ticket.expose()).unwrap();
    let anew = mesh.state("anew");
    copy_state(&state, &anew);
    for file in ["membership.cose", "root.cose"] {
        std::fs::remove_file(anew.join(file)).unwrap();
    }
    let refused = join(&anew, "somebody", &ticket).await.unwrap_err();
    assert_eq!(refused.reason(), Some("node_revoked"), "{refused}");
    // By renewal: its membership has ended, so it asks before anything else.
    let issuer = setup::issuer(&StateDir::open(&hub.state).unwrap());
    let issuer = issuer.unwrap().unwrap();
    let mut content = setup::load(&dir).unwrap().membership().content().clone();
    content.not_before = now().minus(9 * 24 * 3600);
    content.not_after = now().minus(2 * 24 * 3600);
    let ended = content.sign(&Primitives, &issuer).unwrap();
    std::fs::write(dir.membership(), ended).unwrap();
    let before = hub.refusals().await.get("node_revoked").copied();
    let b = TestNode::start(&state).await;
    let asked = || async { hub.refusals().await.get("node_revoked").copied() > before };
    until("it asked", asked).await;
    assert!(b.status().await.node.membership_expires < now());
    assert!(hub.node.links().get(id).is_none());
}

#[tokio::test]
async fn a_revoked_ticket_admits_nobody() {
    let (mesh, hub) = TestMesh::found("hub").await;
    let admin = Admin::of(&hub.state);
    let invite = Invite {
        groups: Vec::new(),
        site: None,
        name: None,
        ttl_s: 3600,
        uses: 2,
        pending: false,
        life_s: None,
    };
    let ticket = hub.node.invite(LOCAL, invite).await.unwrap();
    let ticket = Ticket::parse(&Primitives, ticket.ticket.expose()).unwrap();
    join(&mesh.state("b"), "b", &ticket).await.unwrap();
    let act = Act::Ticket(ticket.id(&Primitives));
    admin.revoke(&hub, act, WHY).await;
    let refused = join(&mesh.state("c"), "c", &ticket).await.unwrap_err();
    assert_eq!(refused.reason(), Some("ticket_revoked"));
    // Who came before stays.
    let b = TestNode::start(&mesh.state("b")).await;
    b.linked(hub.id()).await;
}

#[tokio::test]
async fn what_a_revoked_issuer_issued_is_void() {
    let (mesh, hub) = TestMesh::found("hub").await;
    let admin = Admin::of(&hub.state);
    hub.attach_fixture("bench", &[]).await;
    let early = mesh.join(&hub, "early").await;
    let late = mesh.join(&hub, "late").await;
    late.attach_fixture("bench", &[]).await;
    let void = late.node.status().await.unwrap().node.id;
    let dir = StateDir::open(&late.state).unwrap();
    let from = setup::load(&dir)
        .unwrap()
        .membership()
        .content()
        .issuer_sequence;
    let session = early.open("agent", "late", "bench").await.unwrap();
    let mut call = session.begin(1, "hold", "{}").await.unwrap();
    let act = Act::Issuer {
        issuer: in_force(&hub).await.issuers[0].id,
        since: UnixSeconds(u64::MAX >> 1),
        since_sequence: Some(from),
    };
    admin.revoke(&hub, act, WHY).await;
    told(&last(&mut call).await.unwrap_err(), "issuer_revoked");
    apart(&hub, void).await;
    apart(&early, void).await;
    let thief = Hostile::enter(&late.stop().await);
    refuses(&hub, &thief, "issuer_revoked").await;
    // What it issued before is not.
    assert!(early.node.links().get(hub.id()).is_some());
    let session = early.open("agent", "hub", "bench").await.unwrap();
    session.call(1, "echo", "{}").await.unwrap();
}

#[tokio::test]
async fn a_revoked_tool_definition_is_called_by_nobody() {
    let (mesh, hub) = TestMesh::found("hub").await;
    let admin = Admin::of(&hub.state);
    let about = mesh.file("about");
    std::fs::write(&about, "poisoned").unwrap();
    hub.attach_fixture("bench", &["--about", about.to_str().unwrap()])
        .await;
    let c = mesh.join(&hub, "c").await;
    let session = c.open("agent", "hub", "bench").await.unwrap();
    session.call(1, "echo", "{}").await.unwrap();
    let digest = hub.node.enforcer().own_tool_digest(&name("bench"), "echo");
    let act = Act::Tool(digest.unwrap());
    admin.revoke(&hub, act, WHY).await;
    holds(&c, 1).await;
    told(
        &session.call(2, "echo", "{}").await.unwrap_err(),
        "tool_revoked",
    );
    session.call(3, "verbatim", "{}").await.unwrap();
    // Another definition under that name is another tool.
    std::fs::write(&about, "mended").unwrap();
    session.call(4, "changed", "{}").await.unwrap();
    let mended = || async { session.call(5, "echo", "{}").await.is_ok() };
    until("the mended tool can be called", mended).await;
}

/// A tool whose definition is revoked at one of the two nodes, while it is called from the other.
async fn a_call_of_a_revoked_tool_is_cut(at_the_caller: bool) {
    let (mesh, hub) = TestMesh::found("hub").await;
    let admin = Admin::of(&hub.state);
    hub.attach_fixture("bench", &[]).await;
    let about = mesh.file("about");
    std::fs::write(&about, "another definition").unwrap();
    hub.attach_fixture("other", &["--about", about.to_str().unwrap()])
        .await;
    let c = mesh.join(&hub, "c").await;
    let session = c.open("agent", "hub", "bench").await.unwrap();
    let mut cut = session.begin(1, "hold", "{}").await.unwrap();
    let other = c.open("agent", "hub", "other").await.unwrap();
    let mut kept = other.begin(1, "hold", "{}").await.unwrap();
    let digest = |server: &str| hub.node.enforcer().own_tool_digest(&name(server), "hold");
    assert_ne!(digest("bench"), digest("other"));

    let first = if at_the_caller { &c } else { &hub };
    let act = Act::Tool(digest("bench").unwrap());
    admin.revoke(first, act, WHY).await;
    told(&last(&mut cut).await.unwrap_err(), "tool_revoked");
    // The one that knew first cut by itself, and told the other at most.
    let counted = || async { first.refusals().await.contains_key("tool_revoked") };
    until("the node that knew first has cut the call", counted).await;
    // The session goes on, and so does the call of another definition under that name.
    session.call(2, "echo", "{}").await.unwrap();
    other.call(2, "release", "{}").await.unwrap();
    let held = last(&mut kept).await.unwrap();
    assert_eq!(held["result"]["held"], true);
}

#[tokio::test]
async fn a_call_of_a_revoked_tool_is_cut_where_it_is_answered() {
    a_call_of_a_revoked_tool_is_cut(false).await;
}

#[tokio::test]
async fn a_call_of_a_revoked_tool_is_cut_where_it_began() {
    a_call_of_a_revoked_tool_is_cut(true).await;
}

#[tokio::test]
async fn who_was_offline_knows_before_its_first_call() {
    let (mesh, hub) = TestMesh::found("hub").await;
    let admin = Admin::of(&hub.state);
    hub.attach_fixture("bench", &[]).await;
    let b = mesh.join(&hub, "b").await;
    let c = mesh.join(&hub, "c").await;
    c.sees("hub", "bench").await;
    let state = c.stop().await;
    admin.revoke(&hub, node(&b), WHY).await;
    let c = TestNode::start(&state).await;
    let session = c.open("agent", "hub", "bench").await.unwrap();
    // No waiting: it had to have it before the first message of that session left.
    let trust = in_force(&c).await;
    assert_eq!(trust.admins[0].entries, 1);
    session.call(1, "echo", "{}").await.unwrap();
    refuses(&c, &Hostile::enter(&b.stop().await), "node_revoked").await;
}

#[tokio::test]
async fn a_revocation_outlives_a_restart() {
    let (mesh, hub) = TestMesh::found("hub").await;
    let admin = Admin::of(&hub.state);
    let b = mesh.join(&hub, "b").await;
    let c = mesh.join(&hub, "c").await;
    let id = admin.revoke(&hub, node(&b), WHY).await;
    holds(&c, 1).await;
    let thief = Hostile::enter(&b.stop().await);
    // Alone: nobody is there from whom it could learn it again.
    let hub = hub.stop().await;
    let c = TestNode::start(&c.stop().await).await;
    refuses(&c, &thief, "node_revoked").await;
    let listed = c.node.trust().unwrap();
    let listed = listed
        .revocations(RevocationQuery::default())
        .await
        .unwrap();
    assert_eq!(
        (listed.entries[0].id, listed.entries[0].state),
        (id, RevocationState::Effective)
    );
    let hub = TestNode::start(&hub).await;
    refuses(&hub, &thief, "node_revoked").await;
}

#[tokio::test]
async fn what_a_removed_admin_has_revoked_holds_for_who_joins_later() {
    let (mesh, hub) = TestMesh::found("hub").await;
    let founder = Admin::of(&hub.state);
    let second = Admin {
        keys: SigningKeys::generate(&Primitives).unwrap(),
    };
    hub.attach_fixture("bench", &[]).await;
    let x = mesh.join(&hub, "x").await;
    let public = second.keys.public().clone();
    founder
        .put_root(&hub, |root| root.admins.push(public.clone()))
        .await;
    let entry = second.revoke(&hub, node(&x), WHY).await;
    let place = second.place(&hub).await;
    let retire = |root: &mut Root| {
        root.admins.retain(|admin| *admin != public);
        let (admin, length, link) = (public.clone(), place.length, place.link);
        root.retired = Some(vec![Retired {
            admin,
            length,
            link,
        }]);
    };
    founder.put_root(&hub, retire).await;

    let invite = Invite {
        groups: Vec::new(),
        site: None,
        name: None,
        ttl_s: 3600,
        uses: 1,
        pending: false,
        life_s: None,
    };
    let ticket = hub.node.invite(LOCAL, invite).await.unwrap();
    let ticket = Ticket::parse(&Primitives, ticket.ticket.expose()).unwrap();
    join(&mesh.state("n"), "n", &ticket).await.unwrap();
    let n = TestNode::start(&mesh.state("n")).await;
    n.linked(hub.id()).await;
    holds(&n, 1).await;
    let listed = n.node.trust().unwrap();
    let listed = listed
        .revocations(RevocationQuery::default())
        .await
        .unwrap();
    assert_eq!(
        (listed.entries[0].id, listed.entries[0].state),
        (entry, RevocationState::Effective)
    );
    // It is synced and fresh, so its calls pass; and who was revoked does not get in there.
    let fresh = || async {
        let trust = n.status().await.trust.unwrap();
        let state = trust.freshness.map(|lease| lease.state);
        state == Some(FreshnessState::Fresh) && trust.waiting.is_none()
    };
    until("the newcomer is synced", fresh).await;
    let session = n.open("agent", "hub", "bench").await.unwrap();
    session.call(1, "echo", "{}").await.unwrap();
    let thief = Hostile::enter(&x.stop().await);
    refuses(&n, &thief, "node_revoked").await;
    // Alone after a restart it still knows.
    hub.stop().await;
    let n = TestNode::start(&n.stop().await).await;
    refuses(&n, &thief, "node_revoked").await;
}

#[tokio::test]
async fn a_lifted_revocation_lets_back_in() {
    let (mesh, hub) = TestMesh::found("hub").await;
    let admin = Admin::of(&hub.state);
    let b = mesh.join(&hub, "b").await;
    let c = mesh.join(&hub, "c").await;
    let entry = admin.revoke(&hub, node(&b), WHY).await;
    apart(&hub, b.id()).await;
    apart(&c, b.id()).await;
    admin.revoke(&hub, Act::Lift(entry), "found again").await;
    b.linked(hub.id()).await;
    c.linked(b.id()).await;
}

#[tokio::test]
async fn a_spread_counts_every_node_and_names_who_is_missing() {
    let (mesh, hub) = TestMesh::found("hub").await;
    let admin = Admin::of(&hub.state);
    let mut others = Vec::new();
    for host in ["b", "c", "d"] {
        others.push(mesh.join(&hub, host).await);
    }
    let victim = mesh.join(&hub, "victim").await;
    let gone = others.pop().unwrap();
    let id = gone.id();
    gone.stop().await;
    apart(&hub, id).await;
    let entry = admin.revoke(&hub, node(&victim), WHY).await;
    // It is asked about where it has arrived.
    holds(&others[0], 1).await;
    let short = spread(&others[0], entry, 2000).await;
    // Neither the one who was revoked nor the one who is away has it; only the latter should.
    assert_eq!((short.nodes, short.have), (4, 3), "{short:?}");
    let missing: Vec<_> = short.missing.iter().map(|m| m.name.as_str()).collect();
    assert_eq!(missing, ["d"]);
    let d = TestNode::start(&mesh.state("d")).await;
    d.linked(hub.id()).await;
    let whole = spread(&hub, entry, patience_ms()).await;
    assert_eq!((whole.nodes, whole.have), (4, 4), "{whole:?}");
    assert!(whole.missing.is_empty());
    let [in_force, effective] = [whole.in_force, whole.effective].map(Option::unwrap);
    assert!(in_force.max_ms <= effective.max_ms, "{whole:?}");
}

#[tokio::test]
async fn the_spread_may_be_asked_as_often_as_one_likes() {
    let (mesh, hub) = TestMesh::found("hub").await;
    let admin = Admin::of(&hub.state);
    let b = mesh.join(&hub, "b").await;
    let gone = mesh.join(&hub, "gone").await;
    let id = gone.id();
    let state = gone.stop().await;
    apart(&hub, id).await;
    let mut entries = Vec::new();
    for number in 0..MAX_OWN_PULLS {
        let act = Act::Agent {
            node: Some(b.id()),
            name: name(&format!("a{number}")),
        };
        entries.push(admin.revoke(&hub, act, WHY).await);
    }
    holds(&b, entries.len() as u64).await;
    // At once, by several who ask the same, and all of them wait for one who does not answer.
    let asked = (0..3).flat_map(|_| &entries);
    let asked = asked.map(|entry| spread(&hub, *entry, 1000));
    for short in futures::future::join_all(asked).await {
        assert_eq!((short.nodes, short.have), (3, 2), "{short:?}");
        assert!(!short.partly_asked);
    }
    // One after the other, each as soon as the one before has its answer.
    let back = TestNode::start(&state).await;
    back.linked(hub.id()).await;
    for entry in entries.iter().cycle().take(3 * MAX_OWN_PULLS) {
        let whole = spread(&hub, *entry, patience_ms()).await;
        assert_eq!((whole.nodes, whole.have), (3, 3), "{whole:?}");
    }
}

#[tokio::test]
async fn too_many_questions_about_the_spread_are_refused_by_name_while_they_are_open() {
    let (mesh, hub) = TestMesh::found("hub").await;
    let admin = Admin::of(&hub.state);
    let gone = mesh.join(&hub, "gone").await;
    let id = gone.id();
    gone.stop().await;
    apart(&hub, id).await;
    let mut entries = Vec::new();
    for number in 0..=MAX_OWN_PULLS {
        let act = Act::Agent {
            node: None,
            name: name(&format!("a{number}")),
        };
        entries.push(admin.revoke(&hub, act, WHY).await);
    }
    let asked = |entry, wait_ms| {
        let trust = hub.node.trust().unwrap();
        let (progress, _) = tokio::sync::mpsc::channel(1);
        async move { trust.spread(SpreadQuery { entry, wait_ms }, progress).await }
    };
    let one_more = entries.pop().unwrap();
    let refused = || async {
        let refused = asked(one_more, 1).await.err();
        refused.is_some_and(|failure| failure.reason == "too_many_pulls")
    };
    {
        let open = entries
            .iter()
            .map(|entry| asked(*entry, MAX_SPREAD_WAIT_MS));
        let open = futures::future::join_all(open);
        tokio::pin!(open);
        tokio::select! {
            ended = &mut open => panic!("{ended:?}"),
            () = until("there is no room for one more", refused) => {}
        }
        // Who asks what is being asked joins.
        tokio::select! {
            ended = &mut open => panic!("{ended:?}"),
            joined = asked(entries[0], 1) => drop(joined.unwrap()),
        }
    }
    let room = || async { asked(one_more, 1).await.is_ok() };
    until("there is room again", room).await;
}

/// `hedgerow revoke` by the founding admin; what it says as JSON.
async fn revoke(state: &Path, words: &[&str]) -> Value {
    let words = [
        &["--format", "json", "revoke"],
        words,
        &["--yes", "--reason", WHY],
    ]
    .concat();
    let mut command = hedgerow(state, &words);
    command.env("HEDGEROW_PASSPHRASE", ADMIN_PASSPHRASE);
    let output = soon(command.output()).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn what_was_acknowledged_before_kill_9_stays_revoked() {
    let (mesh, hub) = TestMesh::found("hub").await;
    let b = mesh.join(&hub, "b").await;
    let id = b.id().to_string();
    let thief = b.stop().await;
    let state = hub.stop().await;
    for round in 0..3 {
        let hub = Process::start(&state).await;
        // The second and third are of agents, so that every round has something new.
        let made = match round {
            0 => revoke(&state, &["node", "b"]).await,
            n => revoke(&state, &["agent", &format!("{id}/a{n}")]).await,
        };
        hub.kill().await;
        assert_eq!(made["state"], "effective");
        let hub = Process::start(&state).await;
        let listed = ran(&state, &["--format", "json", "revocations", "list"]).await;
        let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
        assert_eq!(listed["total"], round + 1);
        let kept = listed["entries"].as_array().unwrap();
        assert!(kept.iter().any(|e| e["id"] == made["id"]), "{listed}");
        assert_eq!(kept.last().unwrap()["target"]["node"]["id"], id);
        hub.kill().await;
    }
    let hub = TestNode::start(&state).await;
    refuses(&hub, &Hostile::enter(&thief), "node_revoked").await;
}
