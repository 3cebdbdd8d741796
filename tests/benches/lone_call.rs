//! What a call costs through the mesh, against the same client calling the same server directly.
//!
//! Through: client → gateway of one node (HTTP) → QUIC on loopback → the other node → MCP server.
//! Both nodes are processes of the release binary; every request and every response is signed
//! once and checked once, both signatures of the suite each time. The direct baseline is the same
//! client over a connection (or pipe) of its own to the same server program.
//!
//! - *lone*: one call at a time, direct and through in turns; p50 and p99 of each and what the mesh
//!   adds, in milliseconds;
//! - *rested*: the same after three quiet seconds, when the answering node first makes a
//!   reservation against replays durable: one disk write that calls in a row do not wait for;
//! - *stdio*: the same with the sample server, a process that speaks over pipes;
//! - *crowd*: 64 clients at once, calls per second.
//!
//! Beside it stands what the signatures alone cost on this machine (two made, two checked), and
//! the CPU time both nodes used per call.
//!
//! `cargo bench -p tests --bench lone_call [-- --format json] [--quick]`; ends with 1 when the bar
//! is missed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark prints and has nobody to return errors to"
)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use hedgerow_crypto::{Primitives, SigningKeys};
use protocol::crypto::{Algorithm, Crypto as _, Signer as _};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use support::client::{Client, VERSION};
use support::nodes::{Host, Site};
use support::{Request, Samples, median, milliseconds};

mod support;

/// What the mesh may add to the median of a lone call, in milliseconds.
const MAX_ADDED_MS: f64 = 1.5;
/// Turns of the two sides.
const ROUNDS: usize = 60;
/// Calls of one side in one turn.
const TURN: usize = 25;
/// Calls after a pause, and the pause: longer than a reservation reaches.
const RESTED: usize = 8;
const PAUSE: Duration = Duration::from_secs(3);
/// Clients at once.
const CROWD: usize = 64;
/// Turns and length of a turn with the crowd.
const CROWD_ROUNDS: usize = 4;
const CROWD_TURN: Duration = Duration::from_secs(2);

/// The nodes: the agents' host and the tools' host.
const AGENTS: &str = "agents";
const TOOLS: &str = "tools";

fn main() -> ExitCode {
    let request = Request::from_arguments();
    let rounds = if request.quick { 4 } else { ROUNDS };
    let site = Site::new();
    let echo = format!("http://{}/mcp", support::echo::serve());
    let nodes = start(&site, &echo);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let (lone, rested, stdio, crowd) = runtime.block_on(async {
        let lone = lone(&nodes, &echo, rounds).await;
        let rested = rested(&nodes, if request.quick { 1 } else { RESTED }).await;
        let stdio = stdio(&site, &nodes, rounds).await;
        let crowd = crowd(&nodes, &echo, request.quick).await;
        (lone, rested, stdio, crowd)
    });
    let signatures = signatures(rounds);
    report(request, &lone, &rested, &stdio, &crowd, signatures);
    ExitCode::from(u8::from(lone.added(0.5) > MAX_ADDED_MS))
}

struct Nodes {
    agents: Host,
    tools: Host,
    token: String,
}

impl Nodes {
    fn url(&self, server: &str) -> String {
        format!("{}/{TOOLS}/{server}", self.agents.text("/gateway_url"))
    }

    async fn client(&self, server: &str) -> Client {
        Client::open(&self.url(server), Some(&self.token)).await
    }

    fn cpu(&self) -> Duration {
        self.agents.cpu() + self.tools.cpu()
    }
}

fn start(site: &Site, echo: &str) -> Nodes {
    let agents = site.found(AGENTS);
    let admission = site.admission(AGENTS, TOOLS);
    let tools = site.up(TOOLS, &["--admission", &admission.to_string_lossy()]);
    let agent = site.json(AGENTS, &["agent", "add", "bench"]);
    let binary = site.binary().to_string_lossy().into_owned();
    // A server takes a bounded number of sessions; the crowd has one of its own.
    site.json(TOOLS, &["server", "add", "echo", "--url", echo]);
    site.json(TOOLS, &["server", "add", "crowd", "--url", echo]);
    let sample = ["server", "add", "shop", "--", &binary, "sample-server"];
    site.json(TOOLS, &sample);
    for server in ["echo", "crowd", "shop"] {
        site.await_tools(AGENTS, &format!("{TOOLS}/{server}"));
    }
    Nodes {
        agents,
        tools,
        token: agent["token"].as_str().expect("a token").to_owned(),
    }
}

/// One call at a time, both ways, in turns.
#[derive(Default)]
struct Pair {
    direct: Samples,
    through: Samples,
    /// What the mesh added to the median in each turn.
    turns: Vec<f64>,
    /// CPU time of both nodes per call through them.
    cpu_ms: f64,
}

impl Pair {
    fn added(&self, q: f64) -> f64 {
        self.through.quantile(q) - self.direct.quantile(q)
    }

    fn turn(&mut self, direct: &Samples, through: &Samples) {
        self.turns
            .push(through.quantile(0.5) - direct.quantile(0.5));
        self.direct.extend(direct);
        self.through.extend(through);
    }

    fn per_call(&mut self, cpu: Duration) {
        self.cpu_ms = milliseconds(cpu) / count(self.through.len());
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "direct_ms": { "p50": self.direct.quantile(0.5), "p99": self.direct.quantile(0.99) },
            "through_ms": { "p50": self.through.quantile(0.5), "p99": self.through.quantile(0.99) },
            "added_ms": {
                "p50": self.added(0.5),
                "p99": self.added(0.99),
                "turns_median": median(&self.turns),
                "quietest_turn": self.turns.iter().copied().fold(f64::INFINITY, f64::min),
            },
            "ratio_p50": self.through.quantile(0.5) / self.direct.quantile(0.5),
            "per_second": { "direct": per_second(&self.direct), "through": per_second(&self.through) },
            "nodes_cpu_ms_per_call": self.cpu_ms,
            "calls": self.through.len(),
        })
    }
}

/// At the median.
fn per_second(samples: &Samples) -> f64 {
    1000.0 / samples.quantile(0.5)
}

async fn lone(nodes: &Nodes, echo: &str, rounds: usize) -> Pair {
    let mut direct = Client::open(echo, None).await;
    let mut through = nodes.client("echo").await;
    let mut pair = Pair::default();
    let mut cpu = Duration::ZERO;
    // The first turn warms up and does not count.
    for round in 0..=rounds {
        let (one, other) = (turn(&mut direct).await, turn(&mut through).await);
        if round > 0 {
            pair.turn(&one, &other);
        } else {
            cpu = nodes.cpu();
        }
    }
    pair.per_call(nodes.cpu().saturating_sub(cpu));
    pair
}

/// Calls through the mesh after a pause each.
async fn rested(nodes: &Nodes, calls: usize) -> Samples {
    let mut client = nodes.client("echo").await;
    let mut samples = Samples::default();
    for _ in 0..calls {
        tokio::time::sleep(PAUSE).await;
        let started = Instant::now();
        client.call("echo", r#"{"text":"hello"}"#, "hello").await;
        samples.push(started.elapsed());
    }
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

/// The sample server, spoken to over its own pipes.
struct Piped {
    _child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    last_id: u64,
}

impl Piped {
    async fn open(binary: &std::path::Path) -> Self {
        let mut child = Command::new(binary)
            .arg("sample-server")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the sample server runs");
        let stdin = child.stdin.take().expect("piped");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut piped = Self {
            _child: child,
            stdin,
            stdout,
            last_id: 0,
        };
        let parameters = format!(
            r#"{{"protocolVersion":"{VERSION}","capabilities":{{}},"clientInfo":{{"name":"bench","version":"1"}}}}"#
        );
        piped.request("initialize", &parameters).await;
        let line = b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n";
        piped.stdin.write_all(line).await.expect("it reads");
        piped
    }

    async fn request(&mut self, method: &str, parameters: &str) -> String {
        self.last_id += 1;
        let id = self.last_id;
        let line = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"{method}\",\"params\":{parameters}}}\n"
        );
        self.stdin
            .write_all(line.as_bytes())
            .await
            .expect("it reads");
        let mut answer = String::new();
        self.stdout
            .read_line(&mut answer)
            .await
            .expect("it answers");
        answer
    }
}

async fn stdio(site: &Site, nodes: &Nodes, rounds: usize) -> Pair {
    const TOOL: &str = "get_product_info";
    const ARGUMENTS: &str = r#"{"sku":"HR-1001"}"#;
    let mut direct = Piped::open(site.binary()).await;
    let mut through = nodes.client("shop").await;
    let parameters = format!(r#"{{"name":"{TOOL}","arguments":{ARGUMENTS}}}"#);
    let mut pair = Pair::default();
    let mut cpu = Duration::ZERO;
    for round in 0..=rounds {
        let (mut one, mut other) = (Samples::default(), Samples::default());
        for _ in 0..TURN {
            let started = Instant::now();
            let answer = direct.request("tools/call", &parameters).await;
            one.push(started.elapsed());
            assert!(answer.contains("HR-1001"), "{answer}");
        }
        for _ in 0..TURN {
            let started = Instant::now();
            through.call(TOOL, ARGUMENTS, "HR-1001").await;
            other.push(started.elapsed());
        }
        if round > 0 {
            pair.turn(&one, &other);
        } else {
            cpu = nodes.cpu();
        }
    }
    pair.per_call(nodes.cpu().saturating_sub(cpu));
    pair
}

/// Calls per second of a crowd, each side.
struct Crowd {
    direct: f64,
    through: f64,
    cpu_ms: f64,
}

async fn crowd(nodes: &Nodes, echo: &str, quick: bool) -> Crowd {
    let mut direct = Vec::new();
    let mut through = Vec::new();
    for _ in 0..CROWD {
        direct.push(Client::open(echo, None).await);
        through.push(nodes.client("crowd").await);
    }
    let length = if quick { CROWD_TURN / 10 } else { CROWD_TURN };
    let (mut one, mut other) = (Vec::new(), Vec::new());
    let (mut cpu, mut calls) = (Duration::ZERO, 0.0);
    for _ in 0..CROWD_ROUNDS {
        let (rate, clients) = rush(direct, length).await;
        direct = clients;
        one.push(rate);
        let before = nodes.cpu();
        let (rate, clients) = rush(through, length).await;
        through = clients;
        other.push(rate);
        cpu += nodes.cpu() - before;
        calls += rate * length.as_secs_f64();
    }
    Crowd {
        direct: median(&one),
        through: median(&other),
        cpu_ms: milliseconds(cpu) / calls,
    }
}

/// All clients call as fast as they are answered, for so long. Calls per second.
async fn rush(clients: Vec<Client>, length: Duration) -> (f64, Vec<Client>) {
    let started = Instant::now();
    let until = started + length;
    let calling = clients.into_iter().map(|mut client| {
        tokio::spawn(async move {
            let mut calls = 0_usize;
            while Instant::now() < until {
                client.call("echo", r#"{"text":"hello"}"#, "hello").await;
                calls += 1;
            }
            (calls, client)
        })
    });
    let calling: Vec<_> = calling.collect();
    let (mut calls, mut clients) = (0, Vec::new());
    for task in calling {
        let (of_one, client) = task.await.expect("every call is answered");
        calls += of_one;
        clients.push(client);
    }
    (count(calls) / started.elapsed().as_secs_f64(), clients)
}

/// What the signatures of one call cost: a request and a response, each signed with both
/// algorithms and checked with both, in milliseconds.
fn signatures(rounds: usize) -> f64 {
    let crypto = Primitives;
    let keys = SigningKeys::generate(&crypto).expect("randomness");
    let message = vec![7; 900];
    let mut samples = Samples::default();
    for _ in 0..rounds * TURN {
        let started = Instant::now();
        for _ in 0..2 {
            for algorithm in [Algorithm::MlDsa65, Algorithm::Ed25519] {
                let signature = keys.sign(algorithm, &message).expect("a signature");
                let key = keys.public().key(algorithm);
                let verified = crypto.verify(algorithm, key, &message, &signature);
                verified.expect("it verifies");
            }
        }
        samples.push(started.elapsed());
    }
    samples.quantile(0.5)
}

fn report(
    request: Request,
    lone: &Pair,
    rested: &Samples,
    stdio: &Pair,
    crowd: &Crowd,
    signatures: f64,
) {
    if request.json {
        let report = json!({
            "bench": "lone_call",
            "lone": lone.json(),
            "rested_ms": { "p50": rested.quantile(0.5), "worst": rested.quantile(1.0) },
            "stdio": stdio.json(),
            "crowd": {
                "clients": CROWD,
                "direct_per_second": crowd.direct,
                "through_per_second": crowd.through,
                "ratio": crowd.through / crowd.direct,
                "nodes_cpu_ms_per_call": crowd.cpu_ms,
            },
            "signatures_ms": signatures,
            "bar_added_p50_ms": MAX_ADDED_MS,
            "held": lone.added(0.5) <= MAX_ADDED_MS,
        });
        println!("{report}");
        return;
    }
    for (name, pair) in [("URL server", lone), ("stdio server", stdio)] {
        println!("lone call, {name} ({} calls each way)", pair.through.len());
        for (way, samples) in [("direct", &pair.direct), ("through", &pair.through)] {
            println!(
                "  {way:8} p50 {:.3} ms  p99 {:.3} ms  {:.0}/s",
                samples.quantile(0.5),
                samples.quantile(0.99),
                per_second(samples),
            );
        }
        println!(
            "  adds     p50 {:.3} ms  p99 {:.3} ms  quietest turn {:.3} ms  nodes' CPU {:.3} ms a call",
            pair.added(0.5),
            pair.added(0.99),
            pair.turns.iter().copied().fold(f64::INFINITY, f64::min),
            pair.cpu_ms,
        );
    }
    println!(
        "after {} s of quiet, through: p50 {:.3} ms, worst {:.3} ms",
        PAUSE.as_secs(),
        rested.quantile(0.5),
        rested.quantile(1.0),
    );
    println!(
        "{CROWD} clients at once: direct {:.0}/s, through {:.0}/s, nodes' CPU {:.3} ms a call",
        crowd.direct, crowd.through, crowd.cpu_ms
    );
    println!("two signatures made and two checked, alone: {signatures:.3} ms");
    let held = lone.added(0.5) <= MAX_ADDED_MS;
    let verdict = if held { "held" } else { "MISSED" };
    println!("bar: a lone call adds at most {MAX_ADDED_MS} ms at p50: {verdict}");
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn count(n: usize) -> f64 {
    n as f64
}
