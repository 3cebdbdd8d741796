//! Joining, renewing and rotating on whole nodes over real QUIC: honest hosts get in whatever is in
//! the way, others do not, and nobody who is in notices.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hedgerow_crypto::{Primitives, TlsIdentity};
use node::control::Enrolling as _;
use node::enrol::{self, JoinError, Joined, Progress};
use node::setup;
use node::state_dir::StateDir;
use node::transport::{
    self, Admission, IncomingStream, LinkError, Links, Newcomer, PeerIdentity, Refusal,
    StreamHandler,
};
use protocol::control::{Invite, PeerChoice, TicketChoice, TicketState};
use protocol::id::NodeId;
use protocol::trust::{Act, PeerAddress, Ticket};
use serde_json::json;
use tests::admin::Admin;
use tests::forge::now;
use tests::hostile::Hostile;
use tests::mesh::{LOCAL, TestMesh, TestNode, copy_state, name};
use tests::process::{hedgerow, ran};
use tests::wait::{soon, until};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

fn invite() -> Invite {
    Invite {
        groups: vec![name("tools")],
        site: None,
        name: None,
        ttl_s: 3600,
        uses: 1,
        pending: false,
        life_s: None,
    }
}

async fn ticket(node: &TestNode, invite: Invite) -> Ticket {
    let made = node.node.invite(LOCAL, invite).await.unwrap();
    Ticket::parse(&Primitives, made.ticket.expose()).unwrap()
}

/// Joins and returns what was said meanwhile.
async fn join(
    state: &Path,
    host: &str,
    ticket: &Ticket,
) -> (Result<Joined, JoinError>, Vec<Progress>) {
    let mut told = Vec::new();
    let mut tell = |progress| told.push(progress);
    let joined = soon(enrol::join(state, ticket, Some(name(host)), &mut tell)).await;
    (joined, told)
}

async fn joined(mesh: &TestMesh, host: &str, ticket: &Ticket) -> PathBuf {
    let state = mesh.state(host);
    let (joined, told) = join(&state, host, ticket).await;
    assert_eq!(
        joined.unwrap_or_else(|e| panic!("{e}: {told:?}")).name,
        name(host)
    );
    state
}

fn address(node: &TestNode) -> PeerAddress {
    let address = node.node.links().local_addr().unwrap();
    PeerAddress {
        node: node.id(),
        addresses: vec![address.to_string()],
    }
}

/// A UDP port that takes packets and never answers.
fn silent(node: NodeId) -> (UdpSocket, PeerAddress) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addresses = vec![socket.local_addr().unwrap().to_string()];
    (socket, PeerAddress { node, addresses })
}

async fn used(node: &TestNode) -> u64 {
    node.node
        .tickets()
        .await
        .unwrap()
        .iter()
        .map(|t| t.used)
        .sum()
}

#[tokio::test]
async fn a_host_joins_with_a_ticket_and_calls() {
    let (mesh, hub) = TestMesh::found("hub").await;
    hub.attach_fixture("bench", &[]).await;
    let ticket = ticket(&hub, invite()).await;
    let b = TestNode::start(&joined(&mesh, "b", &ticket).await).await;
    let session = b.open("agent", "hub", "bench").await.unwrap();
    let echoed = session.call(1, "echo", r#"{"a":1}"#).await.unwrap();
    assert_eq!(echoed["result"]["echo"], json!({"a": 1}));
    let listed = hub.node.tickets().await.unwrap();
    assert_eq!(listed[0].redeemed[0].node, b.id());
    assert_eq!(b.status().await.node.groups, vec![name("tools")]);
    // The same host again changes nothing; another one is too late.
    let (again, _) = join(&b.state, "b", &ticket).await;
    assert!(matches!(again, Err(JoinError::Setup(_))), "{again:?}");
    let (late, _) = join(&mesh.state("c"), "c", &ticket).await;
    assert_eq!(late.unwrap_err().reason(), Some("ticket_used_up"));
}

#[tokio::test]
async fn a_dead_bootstrap_is_passed_over_and_another_carries_the_request() {
    let (mesh, hub) = TestMesh::found("hub").await;
    let b = mesh.join(&hub, "b").await;
    let (_socket, dead) = silent(hub.id());
    let mut ticket = ticket(&hub, invite()).await;
    ticket.bootstraps = vec![dead.clone(), address(&b)];
    let (joined, told) = join(&mesh.state("c"), "c", &ticket).await;
    joined.unwrap();
    let failed = told.iter().find_map(|p| match p {
        Progress::Failed(tried) => Some(tried),
        _ => None,
    });
    let failed = failed.expect("the dead one is named");
    assert_eq!(
        (&failed.address, failed.node),
        (&dead.addresses[0], hub.id())
    );
    // Without the issuer's node the one in between says whom it misses.
    let hub_id = hub.id();
    hub.stop().await;
    let gone = || async { b.node.links().get(hub_id).is_none() };
    until("the hub is gone", gone).await;
    ticket.bootstraps = vec![address(&b)];
    let (refused, told) = join(&mesh.state("d"), "d", &ticket).await;
    let refused = refused.unwrap_err().to_string();
    assert!(
        refused.contains("`b` has no link to the issuer's node `hub`"),
        "{refused} {told:?}"
    );
}

#[tokio::test]
async fn of_many_that_race_on_the_wire_one_is_let_in() {
    const JOINERS: usize = 12;
    let (mesh, hub) = TestMesh::found("hub").await;
    let ticket = Arc::new(ticket(&hub, invite()).await);
    let joiners = (0..JOINERS).map(|n| {
        let (state, ticket) = (mesh.state(&format!("j{n}")), Arc::clone(&ticket));
        tokio::spawn(async move { join(&state, &format!("j{n}"), &ticket).await.0 })
    });
    let mut granted = 0;
    for joiner in joiners.collect::<Vec<_>>() {
        match joiner.await.unwrap() {
            Ok(_) => granted += 1,
            Err(error) => {
                let reason = error.reason().unwrap().to_owned();
                assert!(
                    ["ticket_used_up", "join_throttled"].contains(&reason.as_str()),
                    "{error}"
                );
            }
        }
    }
    assert_eq!((granted, used(&hub).await), (1, 1));
}

#[tokio::test]
async fn who_waits_is_let_in_by_a_person() {
    let (mesh, hub) = TestMesh::found("hub").await;
    let ticket = Arc::new(
        ticket(
            &hub,
            Invite {
                pending: true,
                ..invite()
            },
        )
        .await,
    );
    let state = mesh.state("b");
    let joining = tokio::spawn({
        let (state, ticket) = (state.clone(), Arc::clone(&ticket));
        async move { join(&state, "b", &ticket).await }
    });
    let waits = || async { hub.node.pending().await.unwrap().len() == 1 };
    until("it waits", waits).await;
    let peer = hub.node.pending().await.unwrap()[0].id.to_string();
    hub.node.approve(LOCAL, PeerChoice { peer }).await.unwrap();
    let (joined, told) = joining.await.unwrap();
    joined.unwrap();
    assert!(
        told.iter().any(|p| matches!(p, Progress::Waiting { .. })),
        "{told:?}"
    );
    let b = TestNode::start(&state).await;
    b.linked(hub.id()).await;
}

#[tokio::test]
async fn a_revoked_ticket_lets_nobody_in() {
    let (mesh, hub) = TestMesh::found("hub").await;
    let ticket = ticket(&hub, invite()).await;
    let choice = TicketChoice {
        ticket: ticket.id(&Primitives).short(),
    };
    hub.node.revoke_ticket(LOCAL, choice).await.unwrap();
    let (refused, _) = join(&mesh.state("b"), "b", &ticket).await;
    assert_eq!(refused.unwrap_err().reason(), Some("ticket_revoked"));
    // Through another node where the issuer's is not reached: the same refusal.
    let c = mesh.join(&hub, "c").await;
    let (_socket, dead) = silent(hub.id());
    let carried = Ticket {
        bootstraps: vec![address(&c), dead],
        ..ticket
    };
    let (refused, told) = join(&mesh.state("d"), "d", &carried).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.reason(), Some("ticket_revoked"), "{told:?}");
    assert!(matches!(refused, JoinError::Refused(_)), "{refused}");
}

#[tokio::test]
async fn a_ticket_the_admins_revoked_is_listed_as_that() {
    let (_mesh, hub) = TestMesh::found("hub").await;
    let ticket = ticket(&hub, invite()).await;
    let listed = || async { hub.node.tickets().await.unwrap()[0].state };
    assert_eq!(listed().await, TicketState::Open);
    let act = Act::Ticket(ticket.id(&Primitives));
    Admin::of(&hub.state).revoke(&hub, act, "lost").await;
    assert_eq!(listed().await, TicketState::Revoked);
}

#[tokio::test]
async fn a_host_whose_node_is_revoked_is_told_so_before_it_uses_a_ticket() {
    let (_mesh, hub) = TestMesh::found("hub").await;
    let act = Act::Node(hub.id());
    let state = hub.stop().await;
    assert_eq!(node::app::revoked(&state).await.unwrap(), None);
    let hub = TestNode::start(&state).await;
    Admin::of(&state).revoke(&hub, act, "disk stolen").await;
    let state = hub.stop().await;
    let why = node::app::revoked(&state).await.unwrap();
    assert_eq!(why.as_deref(), Some("disk stolen"));
}

/// What a bootstrap does that means ill.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Malice {
    /// Changes what it carries to the issuer.
    AlterAsked,
    /// Changes what it carries back.
    AlterAnswered,
    /// Carries nothing.
    Withhold,
    /// Gives everybody the answers it carried for the first.
    Replay,
}

/// A bootstrap that carries newcomers' streams to the issuer in its own way.
struct Evil {
    links: Links,
    issuer: std::net::SocketAddr,
    malice: Malice,
    heard: Mutex<Vec<Vec<u8>>>,
}

struct Nobody;

impl Admission for Nobody {
    fn hello(&self) -> Vec<u8> {
        Vec::new()
    }

    fn admit(&self, _: &PeerIdentity, _: &[u8]) -> Result<(), Refusal> {
        Err(Refusal::new("nobody", "nobody"))
    }
}

fn outsider() -> (Links, CancellationToken) {
    let stop = CancellationToken::new();
    let identity = TlsIdentity::generate(&Primitives).unwrap();
    let links = Links::bind(
        transport::Config::new("127.0.0.1:0".parse().unwrap()),
        Arc::new(identity),
        Arc::new(Primitives),
        Arc::new(Nobody),
        TaskTracker::new(),
        stop.clone(),
    );
    (links.unwrap(), stop)
}

async fn message<R: tokio::io::AsyncRead + Unpin>(recv: &mut R) -> Option<Vec<u8>> {
    let mut head = [0; 5];
    recv.read_exact(&mut head).await.ok()?;
    let length = u32::from_be_bytes(head[1..].try_into().unwrap());
    let mut body = vec![0; length as usize];
    recv.read_exact(&mut body).await.ok()?;
    Some([&head[..], &body].concat())
}

fn altered(mut bytes: Vec<u8>) -> Vec<u8> {
    // Within a signature or a hash, whatever the message.
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    bytes
}

#[async_trait::async_trait]
impl StreamHandler for Evil {
    async fn handle(&self, _: IncomingStream) {}

    async fn newcomer(&self, mut newcomer: Newcomer) {
        if self.malice == Malice::Withhold {
            let mut swallowed = Vec::new();
            let _ = newcomer.recv.read_to_end(&mut swallowed).await;
            return;
        }
        let first = self.heard.lock().await.is_empty();
        if self.malice == Malice::Replay && !first {
            let answers = self.heard.lock().await.clone();
            for answer in answers {
                let _ = message(&mut newcomer.recv).await;
                let _ = newcomer.send.write_all(&answer).await;
            }
            newcomer.send.finish();
            return;
        }
        let mut on = self.links.approach(self.issuer, None).await.unwrap();
        while let Some(mut asked) = message(&mut newcomer.recv).await {
            // The request itself; the question before it has nothing to alter.
            if self.malice == Malice::AlterAsked && asked[0] == 2 {
                asked = altered(asked);
            }
            on.send.write_all(&asked).await.unwrap();
            let Some(mut answer) = message(&mut on.recv).await else {
                return;
            };
            self.heard.lock().await.push(answer.clone());
            if self.malice == Malice::AlterAnswered && answer[0] != 17 {
                let at = answer.len() / 2;
                answer[at] ^= 1;
            }
            if newcomer.send.write_all(&answer).await.is_err() {
                return;
            }
        }
        newcomer.send.finish();
    }
}

#[tokio::test]
async fn a_bootstrap_that_means_ill_can_only_waste_time() {
    for malice in [
        Malice::AlterAsked,
        Malice::AlterAnswered,
        Malice::Withhold,
        Malice::Replay,
    ] {
        let (mesh, hub) = TestMesh::found("hub").await;
        let (links, stop) = outsider();
        let evil = PeerAddress {
            node: links.node(),
            addresses: vec![links.local_addr().unwrap().to_string()],
        };
        let issuer = hub.node.links().local_addr().unwrap();
        links.serve(Arc::new(Evil {
            links: links.clone(),
            issuer,
            malice,
            heard: Mutex::default(),
        }));
        let mut ticket = ticket(
            &hub,
            Invite {
                uses: 2,
                ..invite()
            },
        )
        .await;
        if malice == Malice::Replay {
            // The first host's whole conversation, which it then plays to the second.
            ticket.bootstraps = vec![evil.clone()];
            joined(&mesh, "a", &ticket).await;
        }
        ticket.bootstraps = vec![evil, address(&hub)];
        // What it altered may cost its source a penalty, and all are on one address here.
        let state = mesh.state("b");
        let mut attempts = 0;
        let got_in = || {
            attempts += 1;
            let (state, ticket) = (state.clone(), ticket.clone());
            async move { join(&state, "b", &ticket).await.0.is_ok() }
        };
        until(
            &format!("{malice:?}: the honest bootstrap lets it in"),
            got_in,
        )
        .await;
        let uses = if malice == Malice::Replay { 2 } else { 1 };
        assert_eq!(used(&hub).await, uses, "{malice:?}");
        let b = TestNode::start(&state).await;
        b.linked(hub.id()).await;
        stop.cancel();
    }
}

#[tokio::test]
async fn a_flood_of_newcomers_is_bounded_and_disturbs_nobody() {
    const IDENTITIES: usize = 200;
    let (mesh, hub) = TestMesh::found("hub").await;
    hub.attach_fixture("bench", &[]).await;
    let b = mesh.join(&hub, "b").await;
    let session = b.open("agent", "hub", "bench").await.unwrap();
    let remote = hub.node.links().local_addr().unwrap();
    let flood: Vec<_> = (0..IDENTITIES)
        .map(|_| {
            tokio::spawn(async move {
                let (links, _stop) = outsider();
                let approach = links.approach(remote, None);
                let approach = tokio::time::timeout(Duration::from_secs(5), approach).await;
                if let Ok(Ok(mut approach)) = approach {
                    // Says nothing and holds on.
                    let mut answer = Vec::new();
                    let read = approach.recv.read_to_end(&mut answer);
                    let _ = tokio::time::timeout(Duration::from_secs(5), read).await;
                }
            })
        })
        .collect();
    for call in 0..20 {
        let echoed = session.call(call, "echo", r#"{"n":1}"#).await.unwrap();
        assert_eq!(echoed["result"]["echo"], json!({"n": 1}));
    }
    for one in flood {
        one.await.unwrap();
    }
    assert!(
        hub.refusals()
            .await
            .get("join_throttled")
            .copied()
            .unwrap_or_default()
            > 0
    );
    let ticket = ticket(&hub, invite()).await;
    let state = mesh.state("c");
    let got_in = || async { join(&state, "c", &ticket).await.0.is_ok() };
    until("an honest host joins after the flood", got_in).await;
    assert!(hub.node.links().get(b.id()).is_some());
}

#[tokio::test]
async fn a_host_that_slept_past_its_end_renews_and_comes_back() {
    let (mesh, hub) = TestMesh::found("hub").await;
    let ticket = ticket(&hub, invite()).await;
    let state = joined(&mesh, "b", &ticket).await;
    let dir = StateDir::open(&state).unwrap();
    let issuer = setup::issuer(&StateDir::open(&hub.state).unwrap())
        .unwrap()
        .unwrap();
    let mut content = setup::load(&dir).unwrap().membership().content().clone();
    content.not_before = now().minus(9 * 24 * 3600);
    content.not_after = now().minus(2 * 24 * 3600);
    // An issuer never signs one sequence twice.
    content.issuer_sequence += 1000;
    let ended = content.sign(&Primitives, &issuer).unwrap();
    std::fs::write(dir.membership(), ended).unwrap();
    let b = TestNode::start(&state).await;
    b.linked(hub.id()).await;
    hub.linked(b.id()).await;
    let status = b.status().await;
    assert!(status.node.membership_expires > now());
    // And it is kept: the next start needs no issuer.
    let state = b.stop().await;
    let kept = setup::load(&StateDir::open(&state).unwrap()).unwrap();
    assert!(kept.membership().valid_at(now()).is_ok());
}

#[tokio::test]
async fn an_issuer_that_slept_past_its_end_renews_its_own() {
    let mesh = TestMesh::empty();
    mesh.found_at("hub");
    let dir = StateDir::open(&mesh.state("hub")).unwrap();
    let issuer = setup::issuer(&dir).unwrap().unwrap();
    let mut content = setup::load(&dir).unwrap().membership().content().clone();
    content.not_before = now().minus(9 * 24 * 3600);
    content.not_after = now().minus(2 * 24 * 3600);
    let ended = content.sign(&Primitives, &issuer).unwrap();
    std::fs::write(dir.membership(), ended).unwrap();
    let hub = TestNode::start(&mesh.state("hub")).await;
    let renewed = || async { hub.status().await.node.membership_expires > now() };
    until("the hub is a member again", renewed).await;
    let ticket = ticket(&hub, invite()).await;
    let b = TestNode::start(&joined(&mesh, "b", &ticket).await).await;
    b.linked(hub.id()).await;
}

#[tokio::test]
async fn rotated_keys_are_let_in_and_the_old_ones_are_not() {
    let (mesh, hub) = TestMesh::found("hub").await;
    let c = mesh.join(&hub, "c").await;
    let b = mesh.join(&hub, "b").await;
    c.linked(b.id()).await;
    let old = b.id();
    let state = b.stop().await;
    // The disk as it was, in other hands.
    let stolen = mesh.state("stolen");
    copy_state(&state, &stolen);
    let rotated = soon(enrol::rotate(&state)).await.unwrap();
    assert_eq!((rotated.old, rotated.name), (old, name("b")));
    let b = TestNode::start(&state).await;
    assert_eq!(b.id(), rotated.new);
    b.linked(hub.id()).await;
    c.linked(b.id()).await;
    let thief = Hostile::enter(&stolen);
    superseded(&thief, &hub).await;
    // c learns of it with b's new record; b is linked, so it has.
    superseded(&thief, &c).await;
    // Also after a restart.
    let state = c.stop().await;
    let c = TestNode::start(&state).await;
    superseded(&thief, &c).await;
}

async fn superseded(thief: &Hostile, node: &TestNode) {
    let told = thief.dial(node).await.unwrap_err();
    let LinkError::NotAdmittedByPeer(refusal) = told else {
        panic!("{told:?}");
    };
    assert_eq!(refusal.reason, "superseded");
}

/// A hub as a process of its own, on this port; its ticket may name it across restarts.
async fn hub_process(state: &Path, listen: &str) -> (tokio::process::Child, String) {
    let words = [
        "--format",
        "json",
        "run",
        "--listen",
        listen,
        "--gateway",
        "127.0.0.1:0",
    ];
    let mut command = hedgerow(state, &words);
    command.stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = soon(out.next_line()).await.unwrap().unwrap();
    let status: serde_json::Value = serde_json::from_str(&line).unwrap();
    (child, status["listen"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_ticket_redeemed_before_kill_9_stays_redeemed() {
    let mesh = TestMesh::empty();
    mesh.found_at("hub");
    let hub = mesh.state("hub");
    let (mut child, listen) = hub_process(&hub, "127.0.0.1:0").await;
    let made = ran(&hub, &["--format", "json", "invite", "--group", "tools"]).await;
    let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    let ticket = made["ticket"].as_str().unwrap();
    let first = ran(
        &mesh.state("b"),
        &["join", "--no-run", "--name", "b", ticket],
    )
    .await;
    assert!(first.status.success(), "{first:?}");
    soon(child.kill()).await.unwrap();
    let (_child, _) = hub_process(&hub, &listen).await;
    let second = ran(
        &mesh.state("c"),
        &["join", "--no-run", "--name", "c", ticket],
    )
    .await;
    let said = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(2), "{said}");
    assert!(said.contains("[ticket_used_up]"), "{said}");
    // The first host, its files lost but for the keys, gets the same answer again.
    std::fs::remove_file(mesh.state("b").join("membership.cose")).unwrap();
    let again = ran(
        &mesh.state("b"),
        &["join", "--no-run", "--name", "b", ticket],
    )
    .await;
    assert!(again.status.success(), "{again:?}");
    let listed = ran(&hub, &["--format", "json", "tickets"]).await;
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(
        (&listed[0]["used"], &listed[0]["state"]),
        (&json!(1), &json!("used_up"))
    );
}
