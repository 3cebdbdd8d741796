//! What a relay on the way costs a call.
//!
//! Four processes of the release binary: `agents`, whose gateway the client calls; `near`, with
//! which it has a link; `hub`, which relays; `far`, which is reached over `hub` alone. The same
//! echo server stands behind `near` and `far`, and the client calls it directly too. In turns, so
//! that all three see the same machine:
//!
//! - *direct*: client → server;
//! - *one link*: client → agents → near → server;
//! - *relayed*: client → agents → hub → far → server, sealed.
//!
//! Bars: a relay adds at most 1.2 ms of CPU time to a lone call, all nodes together and sealing
//! included; two hops add at most 4 ms to the median of the same client calling directly. Beside the
//! first stands what of it the relay's own process spends.
//!
//! The machine's speed decides much of the first, so beside it stands its baseline: in each turn the
//! same process does what cryptography a relay adds, and nothing else (`cryptography`): both hop
//! records signed and checked, both messages checked at the relay, one call sealed and opened.
//!
//! At the end come many clients at once, whose calls a second are told and not judged: a lone call
//! runs on one thread of a node, and a busy node must use all of its cores. Then small calls beside
//! large ones, which must not wait for them.
//!
//! `cargo bench -p tests --bench relay [-- --format json] [--quick]`; ends with 1 when a bar is
//! missed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark prints and has nobody to return errors to"
)]

use std::hint::black_box;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use hedgerow_crypto::{Primitives, SealingKey, SigningKeys};
use protocol::crypto::sealing::{Opener as _, Sealer as _, Way};
use protocol::crypto::{Algorithm, Crypto as _, Signer as _};
use serde_json::json;

use support::client::Client;
use support::nodes::{Host, Site};
use support::{Request, Samples, milliseconds};

mod support;

/// CPU time a relay may add to a lone call, in milliseconds.
const MAX_CPU_MS: f64 = 1.2;
/// What two hops may add to the median of a direct call, in milliseconds.
const MAX_ADDED_MS: f64 = 4.0;
/// Turns of the three.
const ROUNDS: usize = 40;
/// Calls of one in one turn.
const TURN: usize = 50;
/// Clients at once at the end, and how many calls each makes.
const AT_ONCE: (usize, usize) = (32, 40);
/// Bytes of an argument that is large, though not near the largest that passes.
const LARGE: usize = 2 * 1024 * 1024;
/// How many calls with it are made, and the pause before each, which leaves a node idle again.
const LARGE_CALLS: (u32, Duration) = (20, Duration::from_millis(200));
/// An address at which nobody answers.
const NOWHERE: &str = "[node]\nadvertise = [\"127.0.0.1:9\"]\n";

/// The nodes, in the order of their figures.
const NODES: [&str; 4] = ["hub", "agents", "near", "far"];

/// One kind of call.
#[derive(Default)]
struct Kind {
    samples: Samples,
    /// What each node used, as [`NODES`].
    cpu: [Duration; NODES.len()],
    /// Calls a second of many clients at once.
    at_once: f64,
    /// Calls of one client while another makes large ones.
    beside_large: Samples,
}

impl Kind {
    fn cpu_ms(&self) -> f64 {
        self.each(self.cpu.iter().sum())
    }

    /// A call's share of what all of them took.
    fn each(&self, all: Duration) -> f64 {
        milliseconds(all) / f64::from(u32::try_from(self.samples.len()).expect("few"))
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "p50_ms": self.samples.quantile(0.5),
            "p99_ms": self.samples.quantile(0.99),
            "nodes_cpu_ms_per_call": self.cpu_ms(),
            "cpu_ms_per_call": self.by_node(),
            "calls": self.samples.len(),
            "calls_per_second_at_once": self.at_once,
            "beside_large_p50_ms": self.beside_large.quantile(0.5),
            "beside_large_p99_ms": self.beside_large.quantile(0.99),
            "beside_large_max_ms": self.beside_large.quantile(1.0),
        })
    }

    fn by_node(&self) -> serde_json::Map<String, serde_json::Value> {
        let nodes = NODES.iter().zip(self.cpu);
        nodes
            .map(|(node, cpu)| ((*node).to_owned(), self.each(cpu).into()))
            .collect()
    }
}

fn main() -> ExitCode {
    let request = Request::from_arguments();
    let rounds = if request.quick { 4 } else { ROUNDS };
    let site = Site::new();
    let echo = format!("http://{}/mcp", support::echo::serve());
    configure(&site, "hub", "[relay]\naccept = [\"members\"]\n");
    let hub = site.found("hub");
    let join = |node: &str, configuration: &str| {
        configure(&site, node, configuration);
        let admission = site.admission("hub", node);
        site.up(node, &["--admission", &admission.to_string_lossy()])
    };
    let agents = join("agents", NOWHERE);
    let near = join("near", "");
    let far = join("far", &format!("{NOWHERE}[relay]\nthrough = [\"hub\"]\n"));
    let token = site.json("agents", &["agent", "add", "bench"]);
    let token = token["token"].as_str().expect("a token");
    for node in ["near", "far"] {
        site.json(node, &["server", "add", "echo", "--url", &echo]);
        site.await_tools("agents", &format!("{node}/echo"));
    }
    let gateway = agents.text("/gateway_url").to_owned();
    let nodes = [hub, agents, near, far];
    let cryptography = Cryptography::new();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let targets = [
        (echo.clone(), None),
        (format!("{gateway}/near/echo"), Some(token)),
        (format!("{gateway}/far/echo"), Some(token)),
    ];
    let (kinds, baseline) = runtime.block_on(async {
        let [direct, linked, relayed] = &targets;
        let mut clients = [
            Client::open(&direct.0, direct.1).await,
            Client::open(&linked.0, linked.1).await,
            Client::open(&relayed.0, relayed.1).await,
        ];
        let mut kinds = [Kind::default(), Kind::default(), Kind::default()];
        let mut baseline = Samples::default();
        // The first turn warms up and does not count.
        for round in 0..=rounds {
            for (client, kind) in clients.iter_mut().zip(&mut kinds) {
                let before = cpu(&nodes);
                let samples = turn(client).await;
                if round > 0 {
                    kind.samples.extend(&samples);
                    for ((sum, after), before) in kind.cpu.iter_mut().zip(cpu(&nodes)).zip(before) {
                        *sum += after.saturating_sub(before);
                    }
                }
            }
            if round > 0 {
                for _ in 0..TURN {
                    let started = Instant::now();
                    cryptography.of_a_relay();
                    baseline.push(started.elapsed());
                }
            }
        }
        for ((url, token), kind) in targets.iter().zip(&mut kinds) {
            kind.at_once = at_once(url, *token).await;
            kind.beside_large = beside_large(url, *token).await;
        }
        (kinds, baseline)
    });
    report(request, &kinds, &baseline)
}

/// Writes a host's configuration before it first runs.
fn configure(site: &Site, node: &str, text: &str) {
    use std::io::Write as _;
    let state = site.file(node);
    let mut dir = std::fs::DirBuilder::new();
    dir.mode(0o700).create(&state).expect("a state directory");
    let mut file = std::fs::OpenOptions::new();
    file.write(true).create_new(true).mode(0o600);
    let file = file.open(state.join("config.toml"));
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.expect("a configuration");
}

fn cpu(nodes: &[Host; NODES.len()]) -> [Duration; NODES.len()] {
    nodes.each_ref().map(Host::cpu)
}

/// Calls a second of many clients at once.
async fn at_once(url: &str, token: Option<&str>) -> f64 {
    let (clients, calls) = AT_ONCE;
    let mut open = Vec::new();
    for _ in 0..clients {
        open.push(Client::open(url, token).await);
    }
    let started = Instant::now();
    let calling = open.iter_mut().map(|client| async move {
        for _ in 0..calls {
            client.call("echo", r#"{"text":"hello"}"#, "hello").await;
        }
    });
    futures::future::join_all(calling).await;
    let made = u32::try_from(clients * calls).expect("few");
    f64::from(made) / started.elapsed().as_secs_f64()
}

/// Calls of one client while another, on a thread of its own, makes large ones with pauses between.
async fn beside_large(url: &str, token: Option<&str>) -> Samples {
    let mut client = Client::open(url, token).await;
    let (count, pause) = LARGE_CALLS;
    let (url, token) = (url.to_owned(), token.map(str::to_owned));
    let large = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let mut client = Client::open(&url, token.as_deref()).await;
            let arguments = format!(r#"{{"text":"{}"}}"#, "x".repeat(LARGE));
            for _ in 0..count {
                tokio::time::sleep(pause).await;
                client.call("echo", &arguments, "xxx").await;
            }
        });
    });
    let mut samples = Samples::default();
    while !large.is_finished() {
        let started = Instant::now();
        client.call("echo", r#"{"text":"hello"}"#, "hello").await;
        samples.push(started.elapsed());
    }
    large.join().expect("it called");
    samples
}

async fn turn(client: &mut Client) -> Samples {
    let mut samples = Samples::default();
    for _ in 0..TURN {
        let started = Instant::now();
        client.call("echo", r#"{"text":"hello"}"#, "hello").await;
        samples.push(started.elapsed());
    }
    samples
}

/// What a relay adds to the cryptography of a call, with keys and sizes as in the calls above.
struct Cryptography {
    signing: SigningKeys,
    sealing: SealingKey,
    message: [u8; MESSAGE],
}

/// Bytes that a small call's signatures cover, and about as many as are sealed.
const MESSAGE: usize = 512;
/// Both signatures of everything signed.
const SUITE: [Algorithm; 2] = [Algorithm::MlDsa65, Algorithm::Ed25519];

impl Cryptography {
    fn new() -> Self {
        Self {
            signing: SigningKeys::generate(&Primitives).expect("keys"),
            sealing: SealingKey::generate(&Primitives).expect("a key"),
            message: [0x5a; MESSAGE],
        }
    }

    fn of_a_relay(&self) {
        let message = black_box(&self.message[..]);
        let public = self.signing.public();
        for _hop_record in 0..2 {
            for algorithm in SUITE {
                let signature = self.signing.sign(algorithm, message).expect("a signature");
                // At the relay one like it under the message, where the record ends the record's.
                for _place in 0..2 {
                    Primitives
                        .verify(algorithm, public.key(algorithm), message, &signature)
                        .expect("it verifies");
                }
            }
        }
        let (enc, sealer) = Primitives
            .seal_to(self.sealing.public(), message)
            .expect("sealed to");
        let opener = self.sealing.open_from(&enc, message).expect("opened from");
        for (way, from, to) in [
            (Way::Forward, &sealer, &opener),
            (Way::Back, &opener, &sealer),
        ] {
            let sealed = from.seal(way, 0, &[], message).expect("sealed");
            black_box(to.open(way, 0, &[], &sealed).expect("opened"));
        }
    }
}

fn report(request: Request, [direct, linked, relayed]: &[Kind; 3], baseline: &Samples) -> ExitCode {
    let (hub, all) = (
        relayed.each(relayed.cpu[0]),
        relayed.cpu_ms() - linked.cpu_ms(),
    );
    let added = relayed.samples.quantile(0.5) - direct.samples.quantile(0.5);
    let missed = all > MAX_CPU_MS || added > MAX_ADDED_MS;
    if request.json {
        let figures = json!({
            "direct": direct.json(),
            "one_link": linked.json(),
            "relayed": relayed.json(),
            "relay_cpu_ms": all,
            "relay_itself_cpu_ms": hub,
            "cryptography_ms": baseline.mean(),
            "relay_cpu_to_cryptography": all / baseline.mean(),
            "max_cpu_ms": MAX_CPU_MS,
            "two_hops_added_ms_p50": added,
            "max_added_ms": MAX_ADDED_MS,
            "met": !missed,
        });
        println!("{figures:#}");
    } else {
        for (name, kind) in [
            ("direct", direct),
            ("one link", linked),
            ("relayed", relayed),
        ] {
            println!(
                "{name:9} p50 {:.2} ms, p99 {:.2} ms, nodes' CPU {:.2} ms a call:{}",
                kind.samples.quantile(0.5),
                kind.samples.quantile(0.99),
                kind.cpu_ms(),
                NODES
                    .iter()
                    .zip(kind.cpu)
                    .fold(String::new(), |all, (node, cpu)| {
                        format!("{all} {node} {:.2}", kind.each(cpu))
                    })
            );
        }
        let baseline = baseline.mean();
        let ratio = all / baseline;
        println!("a relay adds {all:.2} ms of CPU time (at most {MAX_CPU_MS}), {hub:.2} at itself");
        println!("the cryptography in it takes {baseline:.2} ms: it adds {ratio:.2} times that");
        println!("two hops add {added:.2} ms to the median (at most {MAX_ADDED_MS})");
        println!(
            "{} clients at once make {:.0} calls a second directly, {:.0} over one link, {:.0} relayed",
            AT_ONCE.0, direct.at_once, linked.at_once, relayed.at_once
        );
        for (name, kind) in [
            ("directly", direct),
            ("over one link", linked),
            ("relayed", relayed),
        ] {
            let beside = &kind.beside_large;
            println!(
                "beside calls with {} MiB a small one takes p50 {:.2}, p99 {:.2}, at most {:.2} ms {name}",
                LARGE / 1024 / 1024,
                beside.quantile(0.5),
                beside.quantile(0.99),
                beside.quantile(1.0),
            );
        }
    }
    ExitCode::from(u8::from(missed))
}
