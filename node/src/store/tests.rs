//! The store in good order: round trips, groups, bounds, reopening, and every refusal to open.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc as blocking;

use futures::FutureExt;
use protocol::id::{Digest, NodeId};
use protocol::name::Name;
use protocol::time::{UnixMillis, UnixSeconds};

use super::*;

pub(crate) mod backend;
mod copying;
mod crash;
mod history;
mod opening;
mod pruning;

/// Eight bytes of sequence, the previous hash, then a text; its hash mixes all of them.
fn record(sequence: u64, previous: Digest, text: &[u8]) -> (Vec<u8>, Digest) {
    let mut bytes = sequence.to_be_bytes().to_vec();
    bytes.extend_from_slice(previous.as_bytes());
    bytes.extend_from_slice(text);
    let hash = mix(&bytes);
    (bytes, hash)
}

/// Not SHA-256, but every byte changes all of it.
fn mix(bytes: &[u8]) -> Digest {
    let mut state = 0xcbf2_9ce4_8422_2325_u64;
    for byte in bytes {
        state = (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let mut out = [0; 32];
    for chunk in out.chunks_mut(8) {
        state = (state ^ (state >> 29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        chunk.copy_from_slice(&state.to_be_bytes());
    }
    Digest::from_bytes(out)
}

fn read_link(bytes: &[u8]) -> Option<Link> {
    let (sequence, rest) = bytes.split_first_chunk::<8>()?;
    let previous = Digest::try_from(rest.get(..32)?).ok()?;
    Some(Link {
        sequence: u64::from_be_bytes(*sequence),
        previous,
        hash: mix(bytes),
    })
}

fn options() -> Options {
    Options::new(Box::new(read_link))
}

fn decision(text: &'static str) -> Write {
    Write::Decision(Box::new(move |sequence, previous| {
        record(sequence, previous, text.as_bytes())
    }))
}

/// A decision that keeps the writer busy until the sender is used or dropped.
fn gate() -> (blocking::Sender<()>, Write) {
    let (open, wait) = blocking::channel::<()>();
    let write = Write::Decision(Box::new(move |sequence, previous| {
        let _ = wait.recv();
        record(sequence, previous, b"gate")
    }));
    (open, write)
}

fn node(byte: u8) -> NodeId {
    NodeId::from_bytes([byte; 32])
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

struct Place {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    Place { _dir: dir, path }
}

fn open(path: &Path) -> Store {
    Store::open(path, &options()).unwrap()
}

#[tokio::test]
async fn everything_reads_back_also_after_reopening() {
    let place = place();
    let store = open(&place.path);
    let agent = Agent {
        token_hash: Digest::from_bytes([9; 32]),
        created: UnixMillis(77),
        human: Some("ada@example.org".to_owned()),
    };
    let outcomes = store
        .durable(vec![
            Write::GreatestTime(UnixMillis(10)),
            Write::GreatestTime(UnixMillis(9)),
            Write::ProcessStart(UnixMillis(5)),
            Write::ReplayFloor {
                issuer: node(1),
                until: UnixSeconds(100),
            },
            Write::ReplayFloor {
                issuer: node(1),
                until: UnixSeconds(99),
            },
            decision("a"),
            decision("b"),
            Write::PutAgent(name("one"), agent.clone()),
            Write::PutServer(name("files"), b"{}".to_vec()),
            Write::PutNodeRecord(node(2), b"record".to_vec()),
            Write::PutMembership(node(2), b"membership".to_vec()),
        ])
        .await
        .unwrap();
    assert_eq!(outcomes.len(), 11);
    assert!(matches!(
        (outcomes[5], outcomes[6]),
        (
            Outcome::Decided { sequence: 0, .. },
            Outcome::Decided { sequence: 1, .. }
        )
    ));
    for store in [store.clone(), {
        store.close().await.unwrap();
        open(&place.path)
    }] {
        let Ok(snapshot) = store.snapshot() else {
            continue; // the closed one
        };
        assert_eq!(snapshot.greatest_time().unwrap(), Some(UnixMillis(10)));
        assert_eq!(snapshot.process_start().unwrap(), Some(UnixMillis(5)));
        assert_eq!(
            snapshot.replay_floors().unwrap(),
            [(node(1), UnixSeconds(100))]
        );
        assert_eq!(snapshot.agents().unwrap(), [(name("one"), agent.clone())]);
        assert_eq!(snapshot.agent(&name("one")).unwrap(), Some(agent.clone()));
        assert_eq!(
            snapshot.servers().unwrap(),
            [(name("files"), b"{}".to_vec())]
        );
        assert_eq!(
            snapshot.node_record(&node(2)).unwrap(),
            Some(b"record".to_vec())
        );
        assert_eq!(snapshot.recorded_nodes().unwrap().len(), 1);
        assert_eq!(
            snapshot.membership(&node(2)).unwrap(),
            Some(b"membership".to_vec())
        );
        assert_eq!(snapshot.memberships().unwrap().len(), 1);
        let records = snapshot.decisions(..).unwrap();
        assert_eq!(records.len(), 2);
        let link = read_link(&records[1].bytes).unwrap();
        assert_eq!(link.previous, records[0].hash);
        assert_eq!(snapshot.decisions(1..).unwrap(), records[1..]);
        assert_eq!(snapshot.last_decision().unwrap(), records.last().cloned());
    }
}

#[tokio::test]
async fn removals_say_whether_there_was_something() {
    let place = place();
    let store = open(&place.path);
    let put = vec![
        Write::PutServer(name("a"), b"{}".to_vec()),
        Write::PutMembership(node(1), b"m".to_vec()),
    ];
    store.durable(put).await.unwrap();
    let outcomes = store
        .durable(vec![
            Write::RemoveServer(name("a")),
            Write::RemoveServer(name("a")),
            Write::RemoveMembership(node(1)),
            Write::RemoveNodeRecord(node(1)),
            Write::RemoveAgent(name("x")),
        ])
        .await
        .unwrap();
    let removed = [true, false, true, false, false].map(Outcome::Removed);
    assert_eq!(outcomes, removed);
    assert!(store.snapshot().unwrap().servers().unwrap().is_empty());
}

#[tokio::test]
async fn floors_are_forgotten_once_they_are_old() {
    let place = place();
    let store = open(&place.path);
    let floor = |byte, until| Write::ReplayFloor {
        issuer: node(byte),
        until: UnixSeconds(until),
    };
    let outcomes = store
        .durable(vec![
            floor(1, 10),
            floor(2, 20),
            floor(3, 30),
            Write::PruneFloors(UnixSeconds(20)),
        ])
        .await
        .unwrap();
    assert_eq!(outcomes[3], Outcome::Pruned(1));
    let left = store.snapshot().unwrap().replay_floors().unwrap();
    assert_eq!(
        left,
        [(node(2), UnixSeconds(20)), (node(3), UnixSeconds(30))]
    );
}

#[tokio::test]
async fn what_waits_together_is_committed_together() {
    let place = place();
    let store = open(&place.path);
    let (go, held) = gate();
    let blocked = store.durable(vec![held]);
    let others = async {
        for _ in 0..100 {
            store.lazy(decision("x")).await.unwrap();
        }
        drop(go);
        store.flush().await.unwrap();
    };
    let (first, ()) = tokio::join!(blocked, others);
    first.unwrap();
    let progress = store.progress();
    assert_eq!(progress.writes, 101);
    // The gate's group closed before the others came, or had not begun: never one commit each.
    assert!((1..=2).contains(&progress.commits), "{progress:?}");
}

#[tokio::test]
async fn a_lazy_write_is_committed_without_anyone_waiting() {
    let place = place();
    let store = open(&place.path);
    let mut progress = store.watch();
    store.lazy(decision("x")).await.unwrap();
    progress.wait_for(|p| p.writes == 1).await.unwrap();
    assert_eq!(store.snapshot().unwrap().decisions(..).unwrap().len(), 1);
}

#[tokio::test]
async fn a_full_queue_makes_the_caller_wait() {
    let place = place();
    let store = open(&place.path);
    let (go, held) = gate();
    store.lazy(held).await.unwrap();
    let value = vec![0; protocol::limits::MAX_DOCUMENT_BYTES];
    let mut queued = 0_u8;
    let put = |n| Write::PutMembership(node(n), value.clone());
    while store.lazy(put(queued)).now_or_never().is_some() {
        queued += 1;
    }
    assert!(usize::from(queued) * value.len() < QUEUE_BYTES);
    assert!(usize::from(queued) * value.len() > QUEUE_BYTES / 2);
    let waiting = store.lazy(put(200));
    drop(go);
    waiting.await.unwrap();
    store.flush().await.unwrap();
    let members = store.snapshot().unwrap().memberships().unwrap();
    assert_eq!(members.len(), usize::from(queued) + 1);
}

#[tokio::test]
async fn a_request_over_a_bound_is_refused_whole_and_alone() {
    let place = place();
    let store = open(&place.path);
    let spec = |n: u64| Write::PutServer(name(&format!("s{n}")), b"{}".to_vec());
    store
        .durable((0..MAX_SERVERS).map(spec).collect())
        .await
        .unwrap();
    store.durable(vec![spec(0)]).await.unwrap();
    let refused = store.durable(vec![decision("no"), spec(MAX_SERVERS)]);
    let good = store.durable(vec![decision("yes")]);
    let (refused, good) = tokio::join!(refused, good);
    assert_eq!(
        refused,
        Err(StoreError::TableFull {
            table: "server",
            max: MAX_SERVERS
        })
    );
    good.unwrap();

    let large = Write::PutServer(name("s0"), vec![0; MAX_SERVER_BYTES + 1]);
    assert!(matches!(
        store.durable(vec![large]).await,
        Err(StoreError::TooLarge {
            table: "server",
            ..
        })
    ));
    let large = Write::Decision(Box::new(|_, hash| (vec![0; MAX_DECISION_BYTES + 1], hash)));
    assert!(matches!(
        store.durable(vec![decision("no"), large]).await,
        Err(StoreError::TooLarge {
            table: "decision",
            ..
        })
    ));
    let many = (0..=MAX_WRITES_AT_ONCE).map(|_| decision("no")).collect();
    assert!(matches!(
        store.durable(many).await,
        Err(StoreError::TooMany { .. })
    ));

    store.lazy(spec(MAX_SERVERS)).await.unwrap();
    store.flush().await.unwrap();
    assert_eq!(store.progress().dropped, 1);
    store.durable(vec![decision("end")]).await.unwrap();
    let records = store.snapshot().unwrap().decisions(..).unwrap();
    let texts: Vec<_> = records.iter().map(|r| r.bytes[40..].to_vec()).collect();
    assert_eq!(texts, [b"yes".to_vec(), b"end".to_vec()]);
}

#[tokio::test]
async fn a_closed_store_says_so_and_can_be_opened_again() {
    let place = place();
    let store = open(&place.path);
    store.lazy(decision("a")).await.unwrap();
    store.close().await.unwrap();
    assert_eq!(store.close().await, Err(StoreError::Closed));
    assert_eq!(store.flush().await, Err(StoreError::Closed));
    assert_eq!(store.lazy(decision("b")).await, Err(StoreError::Closed));
    assert!(matches!(store.snapshot(), Err(StoreError::Closed)));
    let again = open(&place.path);
    assert_eq!(again.snapshot().unwrap().decisions(..).unwrap().len(), 1);
}

#[tokio::test]
async fn a_record_that_panics_is_refused_alone() {
    let place = place();
    let store = open(&place.path);
    let (go, held) = gate();
    store.lazy(held).await.unwrap();
    let bad = Write::Decision(Box::new(|_, _| panic!("no such record")));
    let bad = store.durable(vec![decision("no"), bad]);
    let good = store.durable(vec![decision("a")]);
    drop(go);
    let (bad, good) = tokio::join!(bad, good);
    let error = bad.unwrap_err();
    assert!(matches!(error, StoreError::RecordFailed { .. }), "{error}");
    assert!(error.to_string().contains("no such record"), "{error}");
    assert!(matches!(
        good.unwrap()[..],
        [Outcome::Decided { sequence: 1, .. }]
    ));
    store.close().await.unwrap();
    let again = open(&place.path);
    assert_eq!(again.snapshot().unwrap().decisions(..).unwrap().len(), 2);
}

#[tokio::test]
async fn a_snapshot_does_not_change_and_keeps_the_file_until_it_is_dropped() {
    let place = place();
    let store = open(&place.path);
    store.durable(vec![decision("a")]).await.unwrap();
    let snapshot = store.snapshot().unwrap();
    store.durable(vec![decision("b")]).await.unwrap();
    assert_eq!(snapshot.decisions(..).unwrap().len(), 1);
    store.close().await.unwrap();
    drop(snapshot);
    let again = open(&place.path);
    assert_eq!(again.snapshot().unwrap().decisions(..).unwrap().len(), 2);
}

#[tokio::test]
async fn an_entry_this_program_does_not_write_is_named() {
    let place = place();
    let database = {
        let store = open(&place.path);
        store.close().await.unwrap();
        Database::create(&place.path).unwrap()
    };
    let transaction = database.begin_write().unwrap();
    let mut agents = transaction.open_table(tables::AGENTS).unwrap();
    agents.insert("one", b"\xa0\x00".as_slice()).unwrap();
    drop(agents);
    let mut servers = transaction.open_table(tables::SERVERS).unwrap();
    servers.insert("NO NAME", b"{}".as_slice()).unwrap();
    drop(servers);
    transaction.commit().unwrap();
    drop(database);
    let store = open(&place.path);
    let snapshot = store.snapshot().unwrap();
    let error = |table| Err(StoreError::Malformed { table });
    assert_eq!(snapshot.agents().map(|_| ()), error("agent"));
    assert_eq!(snapshot.agent(&name("one")).map(|_| ()), error("agent"));
    assert_eq!(snapshot.servers().map(|_| ()), error("server"));
}
