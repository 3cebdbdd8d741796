//! How much memory an idle node holds, alone and with 50 admitted peers.
//!
//! The node measured is a process of the release binary; `VmRSS` of that process counts, once it
//! has stopped changing. The peers all live in this process: for each its own keys, membership,
//! QUIC endpoint, swarm and signed record, so that the node has 50 real links, with gossip and
//! ping on each, and 50 members in its directory.
//!
//! `cargo bench -p tests --bench idle_memory [-- --format json]`; ends with 1 when the bar is
//! missed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark prints and has nobody to return errors to"
)]

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use node::clock::{Clock, SystemClock};
use node::lane::Lane;
use node::members::Members;
use node::overlay::{MeshAdmission, Records, TOPIC};
use node::state_dir::StateDir;
use node::store::{Options, Store};
use node::transport::{
    Admission, Config, Gossip, IncomingStream, Links, StreamHandler, StreamKind,
};
use node::upstream::{self, Upstreams};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use support::Request;
use support::nodes::{Host, Site};

mod support;

/// Peers of the measured node.
const PEERS: usize = 50;
/// What it may hold with them, in KiB.
const MAX_KIB: u64 = 40 * 1024;
/// The measured node.
const MEASURED: &str = "measured";
/// Memory has settled when it stays within this many KiB…
const STEADY_KIB: u64 = 64;
/// …for so many looks in a row.
const STEADY_LOOKS: usize = 5;
const LOOK: Duration = Duration::from_secs(1);
/// Longest wait for it.
const SETTLE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let request = Request::from_arguments();
    let site = Site::new();
    let host = site.found(MEASURED);
    let alone = settled(&host);
    let address: SocketAddr = host.text("/listen").parse().expect("an address");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let stop = CancellationToken::new();
    let mut peers = Vec::new();
    for number in 0..PEERS {
        let name = format!("peer-{number}");
        let admission = site.admission(MEASURED, &name);
        let admission = std::fs::read(admission).expect("an admission");
        node::setup::join(&site.file(&name), &admission).expect("it fits");
        peers.push(runtime.block_on(Peer::link(&site.file(&name), address, &stop)));
    }
    let with_peers = settled(&host);
    let listed = site.json(MEASURED, &["peers"]);
    let connected = |peer: &&Value| peer["state"] == "connected";
    let connected = listed
        .as_array()
        .map_or(0, |all| all.iter().filter(connected).count());
    assert_eq!(connected, PEERS, "a link went down");
    stop.cancel();

    let held = with_peers <= MAX_KIB;
    let per_peer = with_peers.saturating_sub(alone) / PEERS as u64;
    if request.json {
        let report = json!({
            "bench": "idle_memory",
            "peers": PEERS,
            "alone_kib": alone,
            "with_peers_kib": with_peers,
            "per_peer_kib": per_peer,
            "bar_kib": MAX_KIB,
            "held": held,
        });
        println!("{report}");
    } else {
        println!("idle node, resident: {}", mebibytes(alone));
        println!(
            "with {PEERS} peers: {}, {per_peer} KiB a peer",
            mebibytes(with_peers)
        );
        let verdict = if held { "held" } else { "MISSED" };
        println!("bar: at most {} with them: {verdict}", mebibytes(MAX_KIB));
    }
    ExitCode::from(u8::from(!held))
}

fn mebibytes(kib: u64) -> String {
    format!("{}.{} MiB", kib / 1024, kib % 1024 * 10 / 1024)
}

/// Resident memory once it has stopped changing, in KiB.
fn settled(host: &Host) -> u64 {
    let until = Instant::now() + SETTLE;
    let mut looks: Vec<u64> = Vec::new();
    while Instant::now() < until {
        std::thread::sleep(LOOK);
        looks.push(resident(host.pid()));
        let last = &looks[looks.len().saturating_sub(STEADY_LOOKS)..];
        let spread = last.iter().max().unwrap() - last.iter().min().unwrap();
        if last.len() == STEADY_LOOKS && spread <= STEADY_KIB {
            break;
        }
    }
    looks.pop().expect("at least one look")
}

fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    kib.and_then(|kib| kib.parse().ok()).expect("a VmRSS line")
}

/// The parts of a node that make a link and a member, and no more.
struct Peer {
    _links: Links,
    _gossip: Gossip,
}

struct Streams(Arc<Records>);

#[async_trait::async_trait]
impl StreamHandler for Streams {
    async fn handle(&self, mut stream: IncomingStream) {
        if stream.kind == StreamKind::Sync {
            drop(self.0.receive_all(stream.recv).await);
        } else {
            // A stream of trust documents is open as long as its link is: a node that ends it early
            // is cut off, and the links would not be idle.
            drop(tokio::io::copy(&mut stream.recv, &mut tokio::io::sink()).await);
        }
    }
}

impl Peer {
    async fn link(state: &Path, remote: SocketAddr, stop: &CancellationToken) -> Self {
        let dir = StateDir::open(state).expect("a state directory");
        let identity = Arc::new(node::setup::load(&dir).expect("a member"));
        let crypto = Arc::clone(&identity.crypto);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let members = Arc::new(Members::new(Arc::clone(&crypto), identity.root()));
        let own = identity.membership();
        members
            .learn_membership(own.bytes(), clock.now().seconds())
            .expect("its own membership");
        let admission = MeshAdmission::new(
            Arc::clone(&identity),
            Arc::clone(&members),
            Arc::clone(&clock),
            Arc::new(node::standing::Standing::genesis(&identity).expect("a genesis root")),
        );
        let admission = Arc::new(admission);
        let links = Links::bind(
            Config::new(SocketAddr::from(([127, 0, 0, 1], 0))),
            Arc::clone(&identity.tls),
            Arc::clone(&crypto),
            Arc::clone(&admission) as Arc<dyn Admission>,
            TaskTracker::new(),
            stop.clone(),
        )
        .expect("a free port");
        admission.advertise(vec![links.local_addr().expect("bound").to_string()]);
        let limits = upstream::Limits::default();
        let upstreams = Upstreams::new(Arc::clone(&crypto), stop, limits, Lane::none());
        // It makes no decisions: there are no records of them to check.
        let options = Options::new(Box::new(|_| None));
        let store = Store::open(&dir.store(), &options).expect("a store");
        let records = Records::new(identity, members, admission, upstreams, store, clock);
        let records = Arc::new(records);
        records.renew().expect("a record");
        let (gossip, mut heard) = Gossip::start(&links, &[TOPIC], crypto).expect("a swarm");
        tokio::spawn(async move {
            while let Some(message) = heard.recv().await {
                message.verdict.say(node::transport::Verdict::Accept);
            }
        });
        links.serve(Arc::new(Streams(Arc::clone(&records))));
        let link = links.dial(remote, None).await.expect("admitted");
        let (sync, _) = links.open(link.peer, StreamKind::Sync).await.expect("open");
        records.send_own(sync).await.expect("it reads");
        Self {
            _links: links,
            _gossip: gossip,
        }
    }
}
