//! How fast a revocation cuts off, on a full mesh of 20 nodes on loopback.
//!
//! Every node is a process of the release binary. In each trial an agent that exists for this
//! trial only, on one of the other 19 nodes in turns, has a call in flight to a server of the
//! founder; the founder's admin revokes it there, signed before the clock starts. Measured from
//! the moment the founder is handed the signed documents:
//!
//! - *in force*: until each node had it in force, the slowest counted;
//! - *effective*: until each node had it in force and on disk, the connections it bars closed, the
//!   slowest counted. Both by the nodes' own signed acknowledgements, whose times are of the one
//!   clock of this machine, which also says when the documents were handed over;
//! - *acknowledged*: until the founder held the acknowledgements of all 20, by wall time. It
//!   contains handing over, writing there, the pull, 19 signatures and as many verifications;
//! - *cut*: until the client of the call in flight has read that its agent is revoked and why.
//!
//! Beside them stands what else this machine did just before, in the same trial: an ordinary call
//! of the same client to the same server, and [`WRITTEN`] bytes written to each of 20 files at
//! once and synced, until the last was on disk.
//!
//! `cargo bench -p tests --bench revocation [-- --format json] [--quick]`; ends with 1 when the bar
//! is missed. `HEDGEROW_BINARY` names another binary to measure.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark prints and has nobody to return errors to"
)]

use std::fs::File;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use node::clock::{Clock as _, SystemClock};
use protocol::control::{
    AddAgent, AgentToken, Publication, SpreadEvent, SpreadQuery, Status, Took, Trust, route,
};
use protocol::trust::Act;
use serde_json::{Value, json};
use tests::admin::{Admin, Place};

use support::client::Client;
use support::control::Control;
use support::nodes::{Host, Site};
use support::{Request, Samples};

mod support;

/// Nodes of the mesh.
const NODES: usize = 20;
/// Revocations measured.
const TRIALS: usize = 100;
/// What 99 of 100 may take, in milliseconds: to be effective on all, and to cut a live call.
const MAX_MS: f64 = 300.0;
/// Ordinary calls in each trial.
const CALLS: usize = 3;
/// Bytes of the bare write beside which the nodes' are seen: about what a node's store writes for
/// a revocation, its pages and their parents.
const WRITTEN: usize = 16 * 1024;
/// How long acknowledgements are waited for: as the command does unless told otherwise.
const WAIT_MS: u64 = 5_000;
/// How long the mesh has to link up.
const SETTLE: Duration = Duration::from_secs(60);
/// Pause between two looks at it.
const LOOK: Duration = Duration::from_millis(200);
/// Founds the mesh, has the server and the admin's key.
const FOUNDER: &str = "node-0";
const WHY: &str = "revoked by the benchmark";

#[derive(Default)]
struct Measured {
    in_force: Samples,
    effective: Samples,
    acknowledged: Samples,
    cut: Samples,
    ordinary: Samples,
    written: Samples,
}

fn main() -> ExitCode {
    let request = Request::from_arguments();
    let trials = if request.quick { 5 } else { TRIALS };
    let site = Site::new();
    let hosts = start(&site);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let admin = Admin::of(&site.file(FOUNDER));
    let before = load();
    let measured = runtime.block_on(async {
        full_mesh(&site).await;
        let mut measured = Measured::default();
        for number in 0..trials {
            trial(&site, &hosts, &admin, number, &mut measured).await;
        }
        measured
    });
    let worst = measured.effective.quantile(0.99);
    let held = worst <= MAX_MS && measured.cut.quantile(0.99) <= MAX_MS;
    report(request, &measured, &[before, load()], held);
    ExitCode::from(u8::from(!held))
}

fn node(number: usize) -> String {
    format!("node-{number}")
}

fn start(site: &Site) -> Vec<Host> {
    let founder = site.found(FOUNDER);
    let fixture = env!("CARGO_BIN_EXE_mcp_fixture");
    site.json(FOUNDER, &["server", "add", "bench", "--", fixture]);
    let mut hosts = vec![founder];
    for number in 1..NODES {
        let name = node(number);
        let admission = site.admission(FOUNDER, &name);
        hosts.push(site.up(&name, &["--admission", &admission.to_string_lossy()]));
    }
    for number in 1..NODES {
        site.await_tools(&node(number), &format!("{FOUNDER}/bench"));
    }
    hosts
}

/// Waits until every node has a link with every other.
async fn full_mesh(site: &Site) {
    let until = Instant::now() + SETTLE;
    let mut links = Vec::new();
    while Instant::now() < until {
        links.clear();
        for number in 0..NODES {
            let control = Control::of(&site.file(&node(number)));
            links.push(control.read::<Status>(route::STATUS).await.links);
        }
        if links.iter().all(|links| *links == NODES as u64 - 1) {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
    panic!("no full mesh after {SETTLE:?}: {links:?}");
}

async fn trial(site: &Site, hosts: &[Host], admin: &Admin, number: usize, out: &mut Measured) {
    let place = 1 + number % (NODES - 1);
    let (host, caller) = (&hosts[place], Control::of(&site.file(&node(place))));
    let founder = Control::of(&site.file(FOUNDER));
    let name: protocol::name::Name = format!("agent-{number}").parse().expect("a name");
    let add = AddAgent {
        name: name.clone(),
        human: None,
    };
    let added: AgentToken = caller.submit(route::AGENTS, &add).await;
    let url = format!("{}/{FOUNDER}/bench", host.text("/gateway_url"));
    let mut client = Client::open(&url, Some(added.token.expose())).await;
    for _ in 0..CALLS {
        let begun = Instant::now();
        client.call("echo", "{}", "echo").await;
        out.ordinary.push(begun.elapsed());
    }
    let held = client.hold("hold").await;
    let trust: Trust = founder.read(route::TRUST).await;
    let log = &trust.admins[0];
    let at = Place {
        length: log.entries,
        link: log.link,
    };
    let act = Act::Agent {
        node: Some(host.text("/node/id").parse().expect("an id")),
        name,
    };
    let (entry, publish) = admin.signed(trust.mesh, at, act, WHY);

    out.written.push(bare_write(site));

    let (begun, published) = (Instant::now(), SystemClock.now());
    let cut = async {
        let said = held.await;
        assert!(
            said.contains("agent_revoked") && said.contains(WHY),
            "{said}"
        );
        begun.elapsed()
    };
    let acknowledged = async {
        let taken: Publication = founder.submit(route::PUBLISH, &publish).await;
        assert!(taken.new);
        let query = SpreadQuery {
            entry,
            wait_ms: WAIT_MS,
        };
        let spread: SpreadEvent = founder.last(route::SPREAD, &query).await;
        let took = begun.elapsed();
        let SpreadEvent::Done(spread) = spread else {
            panic!("{spread:?}");
        };
        assert_eq!(spread.have, NODES as u64, "{spread:?}");
        let until = |last: Option<Took>| {
            let since = spread.since.since(published);
            Duration::from_millis(since + last.expect("times").max_ms)
        };
        (took, until(spread.in_force), until(spread.effective))
    };
    let (cut, (acknowledged, in_force, effective)) = tokio::join!(cut, acknowledged);
    out.in_force.push(in_force);
    out.cut.push(cut);
    out.acknowledged.push(acknowledged);
    out.effective.push(effective);
}

/// How long it takes until as many files as there are nodes, written to at once, are on the disk
/// on which the nodes' stores are.
fn bare_write(site: &Site) -> Duration {
    let files: Vec<File> = (0..NODES)
        .map(|number| File::create(site.file(&format!("bare-{number}"))).expect("a file"))
        .collect();
    let together = Barrier::new(NODES + 1);
    std::thread::scope(|scope| {
        for mut file in files {
            let together = &together;
            scope.spawn(move || {
                together.wait();
                file.write_all(&[0x5a; WRITTEN]).expect("written");
                file.sync_data().expect("synced");
                together.wait();
            });
        }
        together.wait();
        let begun = Instant::now();
        together.wait();
        begun.elapsed()
    })
}

/// Processes that ran or waited to within the last minute, on average.
fn load() -> f64 {
    let load = std::fs::read_to_string("/proc/loadavg").expect("Linux");
    let first = load.split_whitespace().next().expect("a figure");
    first.parse().expect("a figure")
}

fn figures(samples: &Samples) -> [f64; 3] {
    [0.5, 0.99, 1.0].map(|q| samples.quantile(q))
}

fn report(request: Request, measured: &Measured, load: &[f64; 2], held: bool) {
    let rows = [
        ("ordinary call", "ordinary_ms", &measured.ordinary),
        ("20 bare writes", "written_ms", &measured.written),
        ("in force on all", "in_force_ms", &measured.in_force),
        ("effective on all", "effective_ms", &measured.effective),
        (
            "acknowledged by all",
            "acknowledged_ms",
            &measured.acknowledged,
        ),
        ("live call cut", "cut_ms", &measured.cut),
    ];
    if request.json {
        let mut report = json!({
            "bench": "revocation",
            "nodes": NODES,
            "trials": measured.cut.len(),
            "bar_ms": MAX_MS,
            "load": load,
            "held": held,
        });
        for (_, key, samples) in rows {
            let [p50, p99, max] = figures(samples);
            report[key] = Value::from(serde_json::Map::from_iter([
                ("p50".to_owned(), p50.into()),
                ("p99".to_owned(), p99.into()),
                ("max".to_owned(), max.into()),
            ]));
        }
        println!("{report}");
        return;
    }
    println!(
        "{NODES} nodes, {} revocations, milliseconds",
        measured.cut.len()
    );
    println!("{:<20} {:>9} {:>9} {:>9}", "", "p50", "p99", "max");
    for (what, _, samples) in rows {
        let [p50, p99, max] = figures(samples);
        println!("{what:<20} {p50:>9.1} {p99:>9.1} {max:>9.1}");
    }
    let verdict = if held { "held" } else { "MISSED" };
    println!("load of the last minute before and after: {load:.1?}");
    println!("bar: effective on all and cut within {MAX_MS} ms at p99: {verdict}");
}
