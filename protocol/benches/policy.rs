//! What a decision costs, and what loading policies costs: `cargo bench -p protocol --bench policy`.
//!
//! A call meets up to 20 documents out of 2,000 and out of 20,000, in the mix of a mesh: most calls
//! meet a few. Beside it, in the same run, Cedar is asked over all 2,000 at once, which is what
//! slicing saves. Prints microseconds; only ratios within one run mean something on a busy machine.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a benchmark that prints what it measured"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use protocol::envelope::{Direction, Kind};
use protocol::id::NodeId;
use protocol::name::Name;
use protocol::policy::{CompiledBundle, Facts, JSON_MEDIA_TYPE, Party, Policy as _};
use protocol::record::Point;
use protocol::time::UnixMillis;
use protocol::trust::bundle::{BundleBody, Policy};

/// Decisions measured of each kind.
const CALLS: usize = 20_000;

/// How many documents a call meets, by turns.
const MET: [usize; 8] = [2, 3, 5, 5, 8, 10, 15, 20];

fn document(name: String, members: &str) -> Policy {
    let text = format!(r#"{{"policy_name": "{name}", {members}}}"#);
    Policy {
        name: name.parse().unwrap(),
        media_type: JSON_MEDIA_TYPE.to_owned(),
        bytes: text.into_bytes(),
    }
}

/// `count` documents: for each group the seed's form with one of the further keys.
fn body(count: usize) -> BundleBody {
    let mut policies = Vec::new();
    let mut group = 0;
    while policies.len() < count {
        for number in 0..MET[group % MET.len()] {
            let further = match number % 4 {
                0 => r#""allowed_tools": ["tools/get_product_info", "tools/check_inventory"]"#,
                1 => r#""labels": {"restricted": ["phi", "pci"]}"#,
                2 => r#""time": {"days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]}"#,
                _ => r#""location": {"sites": ["berlin", "oslo"]}"#,
            };
            let members = format!(
                r#""subjects": {{"groups": ["group-{group}"]}}, "servers": ["tools"], {further},
                "restricted_intents": ["update_price", "delete_record"], "action_on_violation": "block_and_alert""#
            );
            policies.push(document(format!("policy-{group}-{number}"), &members));
        }
        group += 1;
    }
    policies.truncate(count);
    policies.sort_by(|a, b| a.name.cmp(&b.name));
    BundleBody {
        policies,
        ..BundleBody::default()
    }
}

/// Times `CALLS` decisions of callers of these groups.
fn decide(groups: usize, calls: usize, ask: impl Fn(&Facts<'_>)) -> (Vec<Duration>, Vec<Duration>) {
    let name = |text: &str| text.parse::<Name>().unwrap();
    let (desk, store, agent, server) = (name("desk"), name("store"), name("robot"), name("tools"));
    let site = name("berlin");
    let intents = ["check_inventory".to_owned(), "read".to_owned()];
    let all: Vec<Vec<Name>> = (0..groups)
        .map(|g| vec![name(&format!("group-{g}"))])
        .collect();
    let body = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"check_inventory","arguments":{}}}"#;
    let (mut first, mut times) = (Vec::new(), Vec::with_capacity(calls));
    // The first round makes the sets ready.
    for round in 0..2 {
        let calls = if round == 0 { groups } else { calls };
        for call in 0..calls {
            let groups = &all[call % all.len()];
            let party = |name, groups, site| Party {
                node: NodeId::from_bytes([7; 32]),
                name,
                groups,
                site,
            };
            let facts = Facts {
                point: Point::Egress,
                now: UnixMillis(1_795_348_800_000),
                issuer: party(&desk, groups, Some(&site)),
                audience: party(&store, &[], None),
                agent: &agent,
                human: None,
                human_vouched: false,
                observed_address: Some("10.1.2.3:4444"),
                posture: None,
                kind: Kind::Request,
                direction: Direction::ToServer,
                server: &server,
                method: "tools/call",
                target: Some("check_inventory"),
                tool_digest: None,
                intents: &intents,
                labels: &[],
                route: &[],
                approved: false,
                body: Some(body),
            };
            let start = Instant::now();
            ask(black_box(&facts));
            let took = start.elapsed();
            if round == 1 {
                times.push(took);
            } else {
                first.push(took);
            }
        }
    }
    first.sort_unstable();
    times.sort_unstable();
    (first, times)
}

fn micros(times: &[Duration], percent: usize) -> f64 {
    times[(times.len() - 1) * percent / 100].as_nanos() as f64 / 1000.0
}

fn report(what: &str, times: &[Duration]) -> f64 {
    let (p50, p99) = (micros(times, 50), micros(times, 99));
    println!("{what:<40} p50 {p50:>9.1} µs   p99 {p99:>9.1} µs");
    p50
}

/// Memory of the process in MiB, as Linux says.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|p| p.parse::<usize>().ok());
    pages.unwrap_or(0) * 4096 / (1 << 20)
}

fn load(count: usize) -> CompiledBundle {
    let body = body(count);
    let start = Instant::now();
    let bundle = CompiledBundle::compile(1, &body).unwrap();
    let took = start.elapsed().as_secs_f64() * 1000.0;
    println!(
        "load {count} documents: {took:.0} ms, then {} MiB resident",
        resident()
    );
    bundle
}

fn main() {
    // `cargo test` runs benchmarks too, without this.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let (few, many) = (load(2_000), load(20_000));
    let evaluate = |bundle: &CompiledBundle, groups| {
        let ask = |facts: &Facts<'_>| drop(black_box(bundle.evaluate(facts)));
        decide(groups, CALLS, ask)
    };
    // Each group that any call comes from has all its documents among the first 2,000.
    let (first, times) = evaluate(&few, 200);
    report("2,000 loaded, a slice's first call", &first);
    let sliced = report("2,000 loaded, 2 to 20 met", &times);
    let among = report("20,000 loaded, 2 to 20 met", &evaluate(&many, 200).1);
    // Of eight groups that take turns the last meets 20, and takes longest.
    let mut twenty = evaluate(&few, 8).1;
    report("2,000 loaded, 20 met", &twenty.split_off(CALLS * 7 / 8));
    let ask = |facts: &Facts<'_>| drop(black_box(few.evaluate_unsliced(facts)));
    let unsliced = report("2,000 loaded, unsliced", &decide(8, 40, ask).1);
    println!("20,000 to 2,000 loaded: {:.2}", among / sliced);
    println!("unsliced to sliced: {:.0}", unsliced / sliced);
}
