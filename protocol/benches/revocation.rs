//! What a revocation check costs at 10,000 entries, and what taking entries costs:
//! `cargo bench -p protocol --bench revocation`.
//!
//! Only ratios within one run mean something: the baseline of a check is `bare`, a look-up in a
//! `HashMap` of the same keys, and the ratios to it are printed first. The bound is 1 µs a check.
//!
//! Checks are measured warm, as a node makes them with every message: everything a look-up touches
//! was touched before, which divan's own samples of the first run were not.
#![expect(
    clippy::unwrap_used,
    reason = "a benchmark of something that fails measures nothing"
)]
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark reads the clock and its arguments, and says what it measured"
)]

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use divan::{Bencher, black_box};
use hedgerow_crypto::Primitives;
use protocol::id::{MeshId, NodeId, SignerId};
use protocol::name::Name;
use protocol::time::UnixSeconds;
use protocol::trust::Act;
use protocol::trust::revocation::Log;
use protocol::trust::revoked::{Revoked, Ruled, judge};

const ENTRIES: u32 = 10_000;
const MANY: u32 = 100_000;

/// Look-ups that touch tables and caches before anything is measured.
const WARM_UP: u32 = 200_000;

/// Look-ups of one round of the comparison.
const ROUND: u32 = 100_000;

/// Rounds of the comparison; the median counts.
const ROUNDS: usize = 21;

fn main() {
    // Not when only the names are asked for, or the benches run once as tests.
    if !std::env::args().any(|given| given == "--list" || given == "--test") {
        compare();
    }
    divan::main();
}

/// A name and one look-up.
type Check<'a> = (&'a str, &'a dyn Fn() -> bool);

/// Prints what each check takes and how many times as long as a bare look-up, warm, in turns.
fn compare() {
    let (honest, revoked) = (honest(), node(ENTRIES / 2));
    let agent: Name = "assistant".parse().unwrap();
    let checks: [Check<'_>; 4] = [
        ("bare", &|| BARE.get(black_box(&honest)).is_some()),
        ("check_node", &|| REVOKED.node(black_box(&honest)).is_some()),
        ("check_revoked_node", &|| {
            REVOKED.node(black_box(&revoked)).is_some()
        }),
        ("check_node_and_agent", &|| both(&honest, &agent)),
    ];
    for (_, check) in &checks {
        warm(check);
    }
    let mut taken = checks.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for ((_, check), taken) in checks.iter().zip(&mut taken) {
            let start = Instant::now();
            look_up(ROUND, check);
            taken.push(start.elapsed());
        }
    }
    let medians = taken.map(|mut rounds| {
        rounds.sort_unstable();
        let median = rounds.get(ROUNDS / 2).copied();
        median.map_or(0.0, |round: Duration| {
            round.as_secs_f64() * 1e9 / f64::from(ROUND)
        })
    });
    let [bare, ..] = medians;
    for ((name, _), ns) in checks.iter().zip(medians) {
        println!("{name:<22} {ns:8.1} ns  {:5.2} times bare", ns / bare);
    }
}

/// What every call asks: its node and its agent.
fn both(node: &NodeId, agent: &Name) -> bool {
    let node = black_box(node);
    REVOKED.node(node).is_some() || REVOKED.agent(node, black_box(agent)).is_some()
}

fn node(number: u32) -> NodeId {
    let mut bytes = [7; 32];
    bytes
        .iter_mut()
        .zip(number.to_be_bytes())
        .for_each(|(to, from)| *to = from);
    NodeId::from_bytes(bytes)
}

fn log(entries: u32) -> Log {
    let mut log = Log::new(MeshId::from_bytes([1; 32]), SignerId::from_bytes([2; 32]));
    for number in 0..entries {
        let at = UnixSeconds(1_800_000_000 + u64::from(number));
        let act = Act::Node(node(number));
        log.write(&Primitives, at, act, "left the company").unwrap();
    }
    log
}

fn revoked(log: &Log, needed: usize) -> Revoked {
    let ruled = Ruled { log, marks: &[] };
    let judged = judge(needed, &HashSet::new(), &[ruled], &HashSet::new());
    Revoked::of(&[ruled], &judged)
}

static REVOKED: LazyLock<Revoked> = LazyLock::new(|| revoked(&log(ENTRIES), 1));
static BARE: LazyLock<HashMap<NodeId, u64>> =
    LazyLock::new(|| (0..ENTRIES).map(|n| (node(n), u64::from(n))).collect());
static MANY_ENTRIES: LazyLock<Log> = LazyLock::new(|| log(MANY));

fn look_up(times: u32, look: impl Fn() -> bool) {
    for _ in 0..times {
        black_box(look());
    }
}

/// Does it often enough that nothing is cold.
fn warm(look: impl Fn() -> bool) {
    look_up(WARM_UP, look);
}

/// One that is in no list, which is the common case.
fn honest() -> NodeId {
    node(u32::MAX)
}

#[divan::bench]
fn bare(bencher: Bencher) {
    let node = honest();
    let look = || BARE.get(black_box(&node)).is_some();
    warm(look);
    bencher.bench(look);
}

#[divan::bench]
fn check_node(bencher: Bencher) {
    let node = honest();
    let look = || REVOKED.node(black_box(&node)).is_some();
    warm(look);
    bencher.bench(look);
}

#[divan::bench]
fn check_revoked_node(bencher: Bencher) {
    let node = node(ENTRIES / 2);
    let look = || REVOKED.node(black_box(&node)).is_some();
    warm(look);
    bencher.bench(look);
}

#[divan::bench]
fn check_node_and_agent(bencher: Bencher) {
    let (node, agent): (_, Name) = (honest(), "assistant".parse().unwrap());
    warm(|| both(&node, &agent));
    bencher.bench(|| both(&node, &agent));
}

/// Judging 100,000 entries anew, as every new entry makes it necessary.
#[divan::bench(sample_count = 10)]
fn judge_100_000(bencher: Bencher) {
    let ruled = Ruled {
        log: &MANY_ENTRIES,
        marks: &[],
    };
    let judged = || judge(2, &HashSet::new(), black_box(&[ruled]), &HashSet::new());
    bencher.bench(judged);
}

/// Building what look-ups use from 100,000 entries: after a restart, or when something was lifted.
#[divan::bench(sample_count = 10)]
fn build_100_000(bencher: Bencher) {
    bencher.bench(|| revoked(black_box(&MANY_ENTRIES), 1));
}

/// Copying them for a reader who still holds the last state, as every new entry may.
#[divan::bench(sample_count = 10)]
fn copy_100_000(bencher: Bencher) {
    let all = revoked(&MANY_ENTRIES, 1);
    bencher.bench(|| black_box(&all).clone());
}

/// Reading, chaining and identifying 100,000 entries.
#[divan::bench(sample_count = 3)]
fn read_100_000(bencher: Bencher) {
    let encoded = MANY_ENTRIES.encoded(0, usize::MAX);
    let empty = Log::new(MeshId::from_bytes([1; 32]), SignerId::from_bytes([2; 32]));
    bencher.bench(|| {
        let mut log = empty.clone();
        for entry in &encoded {
            log.append(&Primitives, entry).unwrap();
        }
        log
    });
}
