use std::path::{Path, PathBuf};

use protocol::id::TicketId;
use zeroize::Zeroizing;

use super::*;
use crate::keys::passphrase::Passphrase;
use crate::state_dir::StateDir;
use crate::store::{Grant, KeptTicket, Options, PendingJoin, Store, Write};
use protocol::time::{UnixMillis, UnixSeconds};

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(Zeroizing::new(text.to_owned())).unwrap()
}

struct Host {
    tmp: tempfile::TempDir,
    state: PathBuf,
}

impl Host {
    /// A founded node whose store holds a little of everything that must not go back.
    async fn new() -> Self {
        let tmp = tempfile::tempdir().unwrap();
        let state = tmp.path().join("s");
        found(&state);
        std::fs::write(state.join("config.toml"), "[store]\ncache_mib = 8\n").unwrap();
        let host = Self { tmp, state };
        host.change(|store| async move {
            let ticket = KeptTicket {
                mac_key: [7; 32],
                grant: grant(),
                name: None,
                created: UnixSeconds(1),
                expires: UnixSeconds(u64::MAX / 2),
                uses: 5,
                left: 3,
                pending: false,
                revoked: None,
            };
            let join = PendingJoin {
                request: vec![1],
                ticket: TicketId::from_bytes([1; 32]),
                grant: grant(),
                name: "waiting".parse().unwrap(),
                since: UnixSeconds(1),
                denied: None,
            };
            store
                .books(move |books| {
                    books.put_ticket(&TicketId::from_bytes([1; 32]), &ticket)?;
                    books.put_pending(&node_id(5), &join)?;
                    books.note_issued(40, UnixSeconds(1))
                })
                .await
                .unwrap();
            let writes = vec![
                Write::GreatestTime(UnixMillis(1_000_000)),
                Write::ReplayFloor {
                    issuer: node_id(9),
                    until: UnixSeconds(50),
                },
                Write::PutServer("files".parse().unwrap(), b"{}".to_vec()),
            ];
            store.durable(writes).await.unwrap();
            store
        })
        .await;
        host
    }

    async fn change<F: Future<Output = Store>>(&self, work: impl FnOnce(Store) -> F) {
        let store = Store::open(&self.state.join(STORE), &Options::new(read_link())).unwrap();
        work(store).await.close().await.unwrap();
    }

    /// One more decision, and times and sequences after those of the backup.
    async fn live_on(&self, decisions: u64) {
        self.change(|store| async move {
            for _ in 0..decisions {
                store.durable(vec![decision()]).await.unwrap();
            }
            store
                .books(|books| books.note_issued(900, UnixSeconds(2)))
                .await
                .unwrap();
            let writes = vec![
                Write::GreatestTime(UnixMillis(9_000_000)),
                Write::ReplayFloor {
                    issuer: node_id(9),
                    until: UnixSeconds(90),
                },
            ];
            store.durable(writes).await.unwrap();
            store
        })
        .await;
    }

    fn file(&self) -> PathBuf {
        self.tmp.path().join("backup")
    }

    fn backup(&self) -> Made {
        make(&self.state, StoreFrom::Stopped, None, &self.file()).unwrap()
    }

    async fn restore(&self, state: &Path, replace: bool) -> Result<Report, BackupError> {
        restore(&self.file(), state, None, replace).await
    }
}

mod interrupted;
mod merging;

fn found(state: &Path) {
    let founding = crate::setup::Founding {
        mesh: "m".parse().unwrap(),
        node: "a".parse().unwrap(),
        groups: vec![],
        site: None,
    };
    crate::setup::found(state, &founding, &passphrase("four words are enough")).unwrap();
}

fn grant() -> Grant {
    Grant {
        groups: vec![],
        site: None,
        life_s: 9,
    }
}

fn node_id(byte: u8) -> NodeId {
    NodeId::from_bytes([byte; 32])
}

fn decision() -> Write {
    Write::Decision(Box::new(|sequence, previous| {
        let record = DecisionRecord {
            sequence,
            previous,
            time: UnixMillis(1),
            node: node_id(1),
            point: protocol::record::Point::Link,
            envelope: None,
            request: None,
            issuer: node_id(1),
            agent: None,
            audience: None,
            server: None,
            kind: None,
            direction: None,
            method: None,
            target: None,
            verdict: "deny".into(),
            reason: None,
            policy: None,
            bundle_version: 0,
            body_digest: None,
            stands_for: None,
            alerts: None,
            observed: None,
            approval: None,
            basis: None,
        };
        let bytes = record.encode();
        let hash = chain_hash(&Primitives, &bytes);
        (bytes, hash)
    }))
}

async fn opened<T>(state: &Path, look: impl FnOnce(&crate::store::Snapshot) -> T) -> T {
    let store = Store::open(&state.join(STORE), &Options::new(read_link())).unwrap();
    let found = look(&store.snapshot().unwrap());
    store.close().await.unwrap();
    found
}

fn reason<T: core::fmt::Debug>(result: Result<T, BackupError>) -> &'static str {
    result.unwrap_err().reason()
}

#[tokio::test]
async fn a_restored_node_is_the_same_and_fit_for_the_present() {
    let host = Host::new().await;
    std::fs::write(host.state.join("notes.txt"), b"mine").unwrap();
    let made = host.backup();
    assert_eq!(made.left_out, ["notes.txt"]);
    let state = host.tmp.path().join("other/place");
    let report = host.restore(&state, false).await.unwrap();
    assert_eq!((report.node, report.mesh), (made.node, made.mesh));
    assert_eq!(report.tickets_voided, 1);
    assert_eq!(report.entries, made.entries);
    for file in [
        "config.toml",
        "root.cose",
        "membership.cose",
        "keys/tls.key",
        "keys/admin.key",
    ] {
        let same = std::fs::read(host.state.join(file)).unwrap();
        assert_eq!(std::fs::read(state.join(file)).unwrap(), same, "{file}");
    }
    let dir = StateDir::open(&state).unwrap();
    assert_eq!(crate::setup::load(&dir).unwrap().node(), made.node);
    let marker = Restored::pending(&dir).unwrap().unwrap();
    assert_eq!(marker.made, made.made);
    assert!(marker.issuer_sequence > 40 + SEQUENCE_GAP);
    opened(&state, |s| {
        let (_, ticket) = s.tickets().unwrap().remove(0);
        assert!(ticket.left == 0 && ticket.revoked.is_some());
        assert!(s.pending_joins().unwrap().is_empty());
        assert_eq!(s.servers().unwrap().len(), 1);
        let last = s.last_decision().unwrap().unwrap();
        let note = DecisionRecord::decode(&last.bytes).unwrap();
        assert_eq!(note.reason.as_deref(), Some("restored_from_backup"));
        assert_eq!(note.sequence, marker.decision);
    })
    .await;
    Restored::done(&dir).unwrap();
    assert_eq!(Restored::pending(&dir).unwrap(), None);
    assert!(!state.join(restore::STAGING).exists());
}

#[tokio::test]
async fn a_sealed_backup_shows_nothing_and_opens_with_its_passphrase_only() {
    let host = Host::new().await;
    let right = passphrase("correct horse battery staple");
    make(&host.state, StoreFrom::Stopped, Some(&right), &host.file()).unwrap();
    let bytes = std::fs::read(host.file()).unwrap();
    let secret = std::fs::read(host.state.join("keys/tls.key")).unwrap();
    let part = secret.get(20..60).unwrap();
    assert!(!bytes.windows(part.len()).any(|w| w == part), "a key shows");
    let state = host.tmp.path().join("t");
    let wrong = passphrase("correct horse battery stable");
    let file = host.file();
    let none = restore(&file, &state, None, false).await;
    assert_eq!(reason(none), "passphrase_missing");
    let other = restore(&file, &state, Some(&wrong), false).await;
    assert_eq!(reason(other), "wrong_passphrase");
    assert!(
        !state.exists(),
        "made before the passphrase was known to be right"
    );
    restore(&file, &state, Some(&right), false).await.unwrap();
}

#[tokio::test]
async fn every_changed_byte_and_every_cut_is_found_and_leaves_no_node() {
    let host = Host::new().await;
    host.backup();
    let good = std::fs::read(host.file()).unwrap();
    let state = host.tmp.path().join("t");
    let step = good.len() / 97;
    for at in (0..good.len()).step_by(step) {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        std::fs::write(host.file(), &bad).unwrap();
        let result = host.restore(&state, false).await;
        assert!(result.is_err(), "byte {at} can be changed");
        std::fs::write(host.file(), &good[..at]).unwrap();
        assert!(
            host.restore(&state, false).await.is_err(),
            "can be cut at {at}"
        );
        assert!(!state.join("membership.cose").exists());
    }
    let mut longer = good.clone();
    longer.push(0);
    std::fs::write(host.file(), &longer).unwrap();
    assert_eq!(reason(host.restore(&state, false).await), "damaged");
    std::fs::write(host.file(), &good).unwrap();
    host.restore(&state, false).await.unwrap();
}

#[tokio::test]
async fn sealed_frames_cannot_be_changed_moved_or_dropped() {
    let host = Host::new().await;
    let right = passphrase("correct horse battery staple");
    make(&host.state, StoreFrom::Stopped, Some(&right), &host.file()).unwrap();
    let good = std::fs::read(host.file()).unwrap();
    let header = 19 + 1 + 12 + 16;
    let frame = 4 + format::CHUNK + 16;
    assert!(
        good.len() > header + 2 * frame,
        "the test needs three frames"
    );
    let mut swapped = good.clone();
    swapped[header..header + 2 * frame].rotate_left(frame);
    let mut dropped = good.clone();
    dropped.drain(header + frame..header + 2 * frame);
    // The first frame said to be the last, and nothing after it.
    let mut ended = good[..header + frame].to_vec();
    ended[header] |= 0x80;
    let mut absurd = good.clone();
    absurd[20..24].copy_from_slice(&u32::MAX.to_be_bytes());
    let state = host.tmp.path().join("t");
    for (bytes, why) in [
        (swapped, "wrong_passphrase"),
        (dropped, "damaged"),
        (ended, "wrong_passphrase"),
        (absurd, "absurd_derivation"),
    ] {
        std::fs::write(host.file(), bytes).unwrap();
        let result = restore(&host.file(), &state, Some(&right), false).await;
        assert_eq!(reason(result), why);
    }
}

/// A backup in the clear with this content after its head.
fn forged(host: &Host, head: &Made, content: &[u8]) {
    let file = std::fs::File::create(host.file()).unwrap();
    let mut sink = format::Sink::begin(file, None).unwrap();
    sink.put(&head.made.0.to_be_bytes()).unwrap();
    sink.put(head.mesh.as_bytes()).unwrap();
    sink.put(head.node.as_bytes()).unwrap();
    sink.put(content).unwrap();
    sink.finish().unwrap();
}

#[tokio::test]
async fn entries_are_of_the_list_in_order_bounded_and_complete() {
    let host = Host::new().await;
    let made = host.backup();
    let state = host.tmp.path().join("t");
    let entry = |kind: u8, length: u64| {
        let mut bytes = vec![kind];
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes
    };
    let small = [entry(1, 1), vec![b'\n']].concat();
    for (content, why) in [
        (entry(0, 0), "damaged"),
        (entry(99, 0), "damaged"),
        ([small.clone(), small.clone()].concat(), "damaged"),
        (entry(1, u64::MAX), "too_large"),
        (entry(2, 385), "too_large"),
        ([small, vec![0xff]].concat(), "incomplete"),
    ] {
        forged(&host, &made, &content);
        assert_eq!(
            reason(host.restore(&state, false).await),
            why,
            "{content:?}"
        );
    }
    // Without an end the digest is read as an entry: as what depends on its bytes.
    forged(&host, &made, &[]);
    assert!(host.restore(&state, false).await.is_err());
    for (bytes, why) in [
        (&b"PK\x03\x04"[..], "not_a_backup"),
        (b"hedgerow-backup-v9\n\0", "unknown_version"),
        (b"hedgerow-backup-v1\n\x07", "unknown_version"),
    ] {
        std::fs::write(host.file(), bytes).unwrap();
        assert_eq!(reason(host.restore(&state, false).await), why);
    }
    assert!(!state.join("membership.cose").exists());
}

#[tokio::test]
async fn what_is_there_is_not_overwritten_and_other_nodes_never_are() {
    let host = Host::new().await;
    host.backup();
    assert_eq!(
        reason(host.restore(&host.state.clone(), false).await),
        "occupied"
    );
    let other = host.tmp.path().join("o");
    found(&other);
    let before = std::fs::read(other.join("membership.cose")).unwrap();
    assert_eq!(reason(host.restore(&other, true).await), "other_mesh");
    let after = std::fs::read(other.join("membership.cose")).unwrap();
    assert_eq!(after, before);
    // Again beside the first backup: a file is never replaced.
    let again = make(&host.state, StoreFrom::Stopped, None, &host.file());
    assert_eq!(reason(again), "unwritable");
    assert!(host.file().exists());
    let held = StateDir::open(&host.state).unwrap().lock().unwrap();
    let busy = make(
        &host.state,
        StoreFrom::Stopped,
        None,
        &host.tmp.path().join("b"),
    );
    assert_eq!(reason(busy), "state_directory");
    assert_eq!(
        reason(host.restore(&host.state.clone(), true).await),
        "state_directory"
    );
    drop(held);
}

#[tokio::test]
async fn replacing_keeps_the_greater_of_everything_and_the_longer_chain() {
    let host = Host::new().await;
    host.backup();
    host.live_on(3).await;
    let report = host.restore(&host.state.clone(), true).await.unwrap();
    assert!(report.store_kept);
    let previous = report.previous.unwrap();
    assert!(previous.join("keys/tls.key").exists());
    let marker = Restored::pending(&StateDir::open(&host.state).unwrap());
    let marker = marker.unwrap().unwrap();
    assert!(marker.issuer_sequence > 900 + SEQUENCE_GAP);
    assert_eq!(marker.greatest_time, UnixMillis(9_000_000));
    assert_eq!(marker.decision, 3);
    opened(&host.state, |s| {
        assert_eq!(s.greatest_time().unwrap(), Some(UnixMillis(9_000_000)));
        let floors = s.replay_floors().unwrap();
        assert_eq!(floors, [(node_id(9), UnixSeconds(90))]);
        assert_eq!(s.tickets().unwrap().first().unwrap().1.left, 0);
    })
    .await;
}

#[tokio::test]
async fn replacing_by_a_longer_chain_still_keeps_times_floors_and_sequences() {
    let host = Host::new().await;
    // The backup has more decisions than what it replaces, which was restored from an older one.
    let older = host.tmp.path().join("older");
    make(&host.state, StoreFrom::Stopped, None, &older).unwrap();
    host.change(|store| async move {
        for _ in 0..9 {
            store.durable(vec![decision()]).await.unwrap();
        }
        store
    })
    .await;
    host.backup();
    let state = host.tmp.path().join("t");
    restore(&older, &state, None, false).await.unwrap();
    let there = Host {
        tmp: tempfile::tempdir().unwrap(),
        state: state.clone(),
    };
    there.live_on(1).await;
    let report = host.restore(&state, true).await.unwrap();
    assert!(!report.store_kept);
    opened(&state, |s| {
        assert_eq!(s.greatest_time().unwrap(), Some(UnixMillis(9_000_000)));
        assert_eq!(s.replay_floors().unwrap(), [(node_id(9), UnixSeconds(90))]);
        assert_eq!(s.last_decision().unwrap().unwrap().sequence, 9);
    })
    .await;
}

#[tokio::test]
async fn replacing_never_goes_back_to_an_earlier_root() {
    let host = Host::new().await;
    host.backup();
    let phrase = passphrase("four words are enough");
    let admin = crate::keys::admin::open(&host.state, &phrase).unwrap();
    let genesis = std::fs::read(host.state.join("root.cose")).unwrap();
    let root = protocol::trust::VerifiedRoot::genesis(&Primitives, &genesis).unwrap();
    let mut next = root.root().clone();
    next.version = 2;
    next.mesh = Some(root.mesh());
    next.previous = Some(root.hash());
    let next = next.sign(&Primitives, &[&admin]).unwrap();
    let dir = StateDir::open(&host.state).unwrap();
    crate::roots::write(&dir, [next.as_slice()]).unwrap();
    host.restore(&host.state.clone(), true).await.unwrap();
    assert_eq!(crate::roots::read(&dir).unwrap(), [next]);

    // A chain that does not hold is no reason to go back either.
    std::fs::write(dir.roots(), b"damaged").unwrap();
    let result = host.restore(&host.state.clone(), true).await;
    assert_eq!(reason(result), "old_state_unreadable");
}

#[tokio::test]
async fn an_unreadable_store_is_not_silently_forgotten() {
    let host = Host::new().await;
    host.backup();
    std::fs::write(host.state.join(STORE), b"damaged").unwrap();
    let result = host.restore(&host.state.clone(), true).await;
    assert_eq!(reason(result), "old_state_unreadable");
    assert!(host.state.join("membership.cose").exists());
}

#[tokio::test]
async fn a_marker_that_cannot_be_read_is_no_missing_marker() {
    let host = Host::new().await;
    let dir = StateDir::open(&host.state).unwrap();
    assert_eq!(Restored::pending(&dir).unwrap(), None);
    make::write_private(&host.state.join(MARKER), b"?").unwrap();
    assert_eq!(reason(Restored::pending(&dir)), "bad_marker");
}

#[tokio::test]
async fn a_backup_beside_a_running_node_takes_the_copy_and_removes_it() {
    let host = Host::new().await;
    let held = StateDir::open(&host.state).unwrap().lock().unwrap();
    let file = host.state.join(STORE);
    let store = Store::open(&file, &Options::new(read_link())).unwrap();
    store.durable(vec![decision()]).await.unwrap();
    let (name, bytes) = copy_store(&store, &file).unwrap();
    assert!(bytes > 0);
    make(&host.state, StoreFrom::Copy(&name), None, &host.file()).unwrap();
    assert!(!host.state.join(&name).exists());
    // The store it was copied from goes on.
    store.durable(vec![decision()]).await.unwrap();
    store.close().await.unwrap();
    drop(held);
    let state = host.tmp.path().join("t");
    host.restore(&state, false).await.unwrap();
    let last = opened(&state, |s| s.last_decision().unwrap().unwrap().sequence).await;
    assert_eq!(last, 1);
}
