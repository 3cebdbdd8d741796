//! kill -9: a child process writes and acknowledges, and is killed after a varying number of
//! acknowledgements; what it acknowledged is there, round after round on the same file.

use std::io::{BufRead, BufReader, Write as _};
use std::process::{Command, Stdio};

use super::*;

/// Set in the child only: the store's path.
const CHILD: &str = "HEDGEROW_TEST_STORE_CHILD";

/// Kills of one test run.
const KILLS: u64 = 24;

/// The child: not a test of its own, it returns at once unless the parent below started it.
#[tokio::test]
async fn child_that_is_killed() {
    let Some(path) = std::env::var_os(CHILD) else {
        return;
    };
    let store = open(Path::new(&path));
    let writers = (0..4_u8).map(|issuer| acknowledge(store.clone(), issuer));
    futures::future::join_all(writers).await;
}

/// Writes for ever, and says what is on disk.
async fn acknowledge(store: Store, issuer: u8) {
    let mut number = floor(&store.snapshot().unwrap(), issuer);
    loop {
        number += 1;
        store.lazy(decision("lazy")).await.unwrap();
        let floor = Write::ReplayFloor {
            issuer: node(issuer),
            until: UnixSeconds(number),
        };
        let outcomes = store
            .durable(vec![floor, decision("durable")])
            .await
            .unwrap();
        let [Outcome::Stored, Outcome::Decided { sequence, hash }] = outcomes[..] else {
            panic!("{outcomes:?}");
        };
        let line = format!("ack {issuer} {number} {sequence} {hash}\n");
        std::io::stdout().write_all(line.as_bytes()).unwrap();
    }
}

/// The replay floor of an issuer; 0 if it has none yet.
fn floor(snapshot: &Snapshot, issuer: u8) -> u64 {
    let floors = snapshot.replay_floors().unwrap();
    let found = floors.iter().find(|(id, _)| *id == node(issuer));
    found.map_or(0, |(_, until)| until.0)
}

struct Ack {
    issuer: u8,
    number: u64,
    sequence: u64,
    hash: Digest,
}

fn parse(line: &str) -> Option<Ack> {
    // The first one can follow text of the test harness on the same line.
    let (_, rest) = line.split_once("ack ")?;
    let words: Vec<&str> = rest.split(' ').collect();
    let &[issuer, number, sequence, hash] = words.as_slice() else {
        return None;
    };
    Some(Ack {
        issuer: issuer.parse().ok()?,
        number: number.parse().ok()?,
        sequence: sequence.parse().ok()?,
        // A line cut by the kill has no whole hash.
        hash: hash.parse().ok()?,
    })
}

/// Starts a child, kills it after `count` acknowledgements, and returns all it made.
fn run_and_kill(path: &Path, count: u64) -> Vec<Ack> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::tests::crash::child_that_is_killed"])
        .arg("--nocapture")
        .env(CHILD, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut acks = Vec::new();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while let Some(Ok(line)) = lines.next() {
        acks.extend(parse(&line));
        if acks.len() as u64 == count {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(acks.len() as u64 >= count, "the child failed by itself");
    acks
}

#[tokio::test]
async fn what_was_acknowledged_survives_every_kill() {
    let place = place();
    let mut acks: Vec<Ack> = Vec::new();
    for kill in 0..KILLS {
        acks.extend(run_and_kill(&place.path, 1 + kill * 7 % 23));
        let store = open(&place.path);
        let snapshot = store.snapshot().unwrap();
        let mut records = Vec::new();
        loop {
            let more = snapshot.decisions(records.len() as u64..).unwrap();
            if more.is_empty() {
                break;
            }
            records.extend(more);
        }
        let mut previous = Digest::from_bytes([0; 32]);
        for (sequence, record) in (0_u64..).zip(&records) {
            let link = read_link(&record.bytes).unwrap();
            assert_eq!((link.sequence, link.previous), (sequence, previous));
            previous = record.hash;
        }
        for ack in &acks {
            let record = &records[usize::try_from(ack.sequence).unwrap()];
            assert_eq!(record.hash, ack.hash, "after kill {kill}");
            assert!(
                floor(&snapshot, ack.issuer) >= ack.number,
                "after kill {kill}"
            );
        }
        drop(snapshot);
        store.close().await.unwrap();
    }
}
