//! What a revocation check costs at 10,000 entries, and what taking entries costs:
//! `cargo bench -p protocol --bench revocation`.
//!
//! Only ratios within one run mean something: the baseline of a check is `bare`, a look-up in a
//! `HashMap` of the same keys. The bound is 1 µs a check.
#![expect(
    clippy::unwrap_used,
    reason = "a benchmark of something that fails measures nothing"
)]

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

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

fn main() {
    divan::main();
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
    let judged = judge(needed, &[ruled], &HashSet::new());
    Revoked::of(&[ruled], &judged)
}

static REVOKED: LazyLock<Revoked> = LazyLock::new(|| revoked(&log(ENTRIES), 1));
static BARE: LazyLock<HashMap<NodeId, u64>> =
    LazyLock::new(|| (0..ENTRIES).map(|n| (node(n), u64::from(n))).collect());
static MANY_ENTRIES: LazyLock<Log> = LazyLock::new(|| log(MANY));

/// One that is in no list, which is the common case.
fn honest() -> NodeId {
    node(u32::MAX)
}

#[divan::bench]
fn bare(bencher: Bencher) {
    let node = honest();
    bencher.bench(|| BARE.get(black_box(&node)));
}

#[divan::bench]
fn check_node(bencher: Bencher) {
    let node = honest();
    bencher.bench(|| REVOKED.node(black_box(&node)).is_some());
}

#[divan::bench]
fn check_revoked_node(bencher: Bencher) {
    let node = node(ENTRIES / 2);
    bencher.bench(|| REVOKED.node(black_box(&node)).is_some());
}

/// What every call asks: its node and its agent.
#[divan::bench]
fn check_node_and_agent(bencher: Bencher) {
    let (node, agent): (_, Name) = (honest(), "assistant".parse().unwrap());
    bencher.bench(|| {
        let node = black_box(&node);
        REVOKED.node(node).is_some() || REVOKED.agent(node, black_box(&agent)).is_some()
    });
}

/// Judging 100,000 entries anew, as every new entry makes it necessary.
#[divan::bench(sample_count = 10)]
fn judge_100_000(bencher: Bencher) {
    let ruled = Ruled {
        log: &MANY_ENTRIES,
        marks: &[],
    };
    let judged = || judge(2, black_box(&[ruled]), &HashSet::new());
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
