//! Restoring a backup so that nothing in force goes back.
//!
//! Everything is unpacked and checked beside what is there, changed so that it fits the present,
//! and put in place entry by entry, marker first and membership last: a crash in between leaves a
//! directory that is no node. What was there is moved aside, never removed.
//!
//! What is changed in the store, whichever side it is taken from:
//! - tickets not used up are void and nobody waits to be approved: what happened to them since the
//!   backup is not known;
//! - the issuer's sequence is ahead of every sequence that may have been used since;
//! - greatest verified time and replay floors are the greater of both sides;
//! - a decision record says that the chain goes on from a backup.
//!
//! Where a node is replaced, the store is that of the longer chain of decisions, so that no record
//! is lost, the membership the one that begins later, and the roots those of the longer chain.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use hedgerow_crypto::{Primitives, SigningKeys, TlsIdentity};
use protocol::crypto::Signer as _;
use protocol::id::{MeshId, NodeId};
use protocol::limits::MAX_DOCUMENT_BYTES;
use protocol::record::{DecisionRecord, Point, chain_hash};
use protocol::time::{UnixMillis, UnixSeconds};
use protocol::trust::VerifiedRoot;

use super::format::Source;
use super::make::{Head, read_entries, read_head, stated};
use super::marker::{Restored, sync};
use super::{BackupError, ENTRIES, PASSING, STORE, read_link};
use crate::clock::{Clock as _, SystemClock};
use crate::keys::passphrase::Passphrase;
use crate::keys::{self, KeyKind};
use crate::roots::{self, RootsError};
use crate::setup::SetupError;
use crate::state_dir::StateDir;
use crate::state_dir::private;
use crate::store::{Options, Outcome, Store, Write};

/// The directory, inside the state directory, in which a backup is unpacked.
pub(super) const STAGING: &str = ".restoring";

/// Membership sequences skipped at least; more than an issuer of a thousand an hour uses in a month.
pub const SEQUENCE_GAP: u64 = 1 << 20;

/// Sequences skipped for each second since the backup: ten times the rate of such an issuer.
const SEQUENCES_PER_S: u64 = 3;

/// Writes in one request of the store.
const AT_ONCE: usize = 512;

/// What came of a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Which node it is.
    pub node: NodeId,
    /// Of which mesh.
    pub mesh: MeshId,
    /// When the backup was made.
    pub made: UnixSeconds,
    /// What was in it.
    pub entries: Vec<&'static str>,
    /// Tickets that were void from then on.
    pub tickets_voided: usize,
    /// Where what was there before was moved, if there was something.
    pub previous: Option<PathBuf>,
    /// Whether the store that was there stays, because its chain of decisions is longer.
    pub store_kept: bool,
}

/// Restores `file` into the state directory at `state`: one that does not exist or is empty, or
/// with `replace` the one of the same node. Nobody must run on it.
///
/// # Errors
/// [`BackupError`]. Until everything was checked nothing is changed.
pub async fn restore(
    file: &Path,
    state: &Path,
    passphrase: Option<&Passphrase>,
    replace: bool,
) -> Result<Report, BackupError> {
    let occupied = !is_empty(state)?;
    if occupied && !replace {
        return Err(BackupError::Occupied(state.to_owned()));
    }
    // The file before the directory: what is no backup makes no directory.
    let input = File::open(file).map_err(BackupError::Read)?;
    let mut source = Source::begin(BufReader::new(input), passphrase)?;
    let head = read_head(&mut source)?;
    let dir = StateDir::create(state)?;
    let _lock = dir.lock()?;
    let staging = state.join(STAGING);
    let done = restore_locked(&dir, &staging, source, head, occupied).await;
    // Empty after success; after a failure nothing of the backup's keys should stay.
    let _ = std::fs::remove_dir_all(&staging);
    done
}

async fn restore_locked(
    dir: &StateDir,
    staging: &Path,
    source: Source<BufReader<File>>,
    head: Head,
    occupied: bool,
) -> Result<Report, BackupError> {
    let entries = unpack(source, staging)?;
    check_node(staging, head)?;
    let now = SystemClock.now();
    let mut past = Past::default();
    let mut store_kept = false;
    if occupied {
        check_same(dir, head)?;
        past = Past::read(dir).await?;
        let there = Past::of(&staging.join(STORE)).await?;
        if past.decisions > there.decisions {
            take_store(dir, staging)?;
            past.merge(there);
            store_kept = true;
        }
        keep_later_membership(dir, staging)?;
        keep_later_roots(dir, staging)?;
    }
    let (restored, tickets_voided) = amend(&staging.join(STORE), head, past, now).await?;
    restored.leave(dir.path())?;
    let previous = match occupied {
        true => Some(move_aside(dir, now)?),
        false => None,
    };
    put_in_place(dir, staging)?;
    Ok(Report {
        node: head.node,
        mesh: head.mesh,
        made: head.made,
        entries,
        tickets_voided,
        previous,
        store_kept,
    })
}

/// Whether there is nothing but what a process leaves.
fn is_empty(state: &Path) -> Result<bool, BackupError> {
    let entries = match std::fs::read_dir(state) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(BackupError::Read(error)),
    };
    for entry in entries {
        let entry = entry.map_err(BackupError::Read)?;
        let name = entry.file_name();
        let passing = name.to_str().is_some_and(|name| PASSING.contains(&name));
        let no_keys = name == "keys"
            && std::fs::read_dir(entry.path()).is_ok_and(|mut keys| keys.next().is_none());
        if !passing && !no_keys {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Unpacks everything below `staging`, each file 0600 and on disk.
fn unpack(
    mut source: Source<BufReader<File>>,
    staging: &Path,
) -> Result<Vec<&'static str>, BackupError> {
    match std::fs::remove_dir_all(staging) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(BackupError::Write(error));
        }
        _ => {}
    }
    let mut builder = DirBuilder::new();
    builder.mode(0o700).recursive(true);
    builder
        .create(staging.join("keys"))
        .map_err(BackupError::Write)?;
    let mut file: Option<File> = None;
    let entries = read_entries(&mut source, |path, first, chunk| {
        if first {
            finish(file.take())?;
            let new = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(staging.join(path));
            file = Some(new.map_err(BackupError::Write)?);
        }
        match &mut file {
            Some(file) => file.write_all(chunk).map_err(BackupError::Write),
            None => Ok(()),
        }
    })?;
    finish(file)?;
    source.finish()?;
    Ok(entries)
}

fn finish(file: Option<File>) -> Result<(), BackupError> {
    match file {
        Some(file) => file.sync_all().map_err(BackupError::Write),
        None => Ok(()),
    }
}

/// Keys, root and membership belong together and are of whom the backup says.
fn check_node(staging: &Path, head: Head) -> Result<(), BackupError> {
    let file = |name: &str| private::read_file(&staging.join(name), MAX_DOCUMENT_BYTES);
    let trust = |e: protocol::trust::TrustError| BackupError::Setup(e.into());
    let key = |e: keys::KeyFileError| BackupError::Setup(e.into());
    let genesis = file("root.cose")?;
    let root = VerifiedRoot::genesis(&Primitives, &genesis).map_err(trust)?;
    let later = roots::read(&StateDir::open(staging)?)?;
    roots::in_force(&Primitives, &genesis, &later)?;
    let membership = stated(&file("membership.cose")?)?;
    let load = |kind: KeyKind| {
        let path = staging.join("keys").join(kind.file_name());
        keys::load(&path, kind, &Primitives)
    };
    let tls = load(KeyKind::Tls).map_err(key)?;
    let tls = TlsIdentity::from_seeds(tls.first(), tls.second())
        .map_err(|e| BackupError::Setup(SetupError::Tls(e.to_string())))?;
    let signing = load(KeyKind::Signing).map_err(key)?;
    let signing = SigningKeys::from_seeds(signing.first(), signing.second())?;
    let found = tls.node_id(&Primitives);
    let member = NodeId::of_tls_key(&Primitives, &membership.tls_key);
    let whole = member == found
        && membership.signing == *signing.public()
        && membership.mesh == head.mesh
        && root.mesh() == head.mesh;
    if found != head.node || !whole {
        return Err(BackupError::Misnamed {
            stated: head.node,
            found,
        });
    }
    Ok(())
}

/// What is there is the same node of the same mesh.
fn check_same(dir: &StateDir, head: Head) -> Result<(), BackupError> {
    let unreadable = |why: String| BackupError::Unreadable {
        path: dir.path().to_owned(),
        why,
    };
    let file = |path: PathBuf| {
        private::read_file(&path, MAX_DOCUMENT_BYTES).map_err(|e| unreadable(e.to_string()))
    };
    let root = VerifiedRoot::genesis(&Primitives, &file(dir.root())?)
        .map_err(|e| unreadable(e.to_string()))?;
    let membership = stated(&file(dir.membership())?).map_err(|e| unreadable(e.to_string()))?;
    let found = NodeId::of_tls_key(&Primitives, &membership.tls_key);
    if root.mesh() != head.mesh {
        return Err(BackupError::OtherMesh {
            path: dir.path().to_owned(),
            found: root.mesh(),
            stated: head.mesh,
        });
    }
    if found != head.node {
        return Err(BackupError::OtherNode {
            path: dir.path().to_owned(),
            found,
            stated: head.node,
        });
    }
    Ok(())
}

/// What of a store must not go back.
#[derive(Debug, Default)]
struct Past {
    greatest: UnixMillis,
    floors: Vec<(NodeId, UnixSeconds)>,
    issuer_sequence: u64,
    /// Sequence of the next decision record.
    decisions: u64,
}

impl Past {
    /// Of the store in a state directory; one that cannot be read keeps it from being replaced.
    async fn read(dir: &StateDir) -> Result<Self, BackupError> {
        Self::of(&dir.store())
            .await
            .map_err(|error| BackupError::Unreadable {
                path: dir.path().to_owned(),
                why: error.to_string(),
            })
    }

    async fn of(file: &Path) -> Result<Self, BackupError> {
        let store = Store::open(file, &Options::new(read_link()))?;
        let past = Self::in_store(&store).await;
        let closed = store.close().await;
        let past = past?;
        closed?;
        Ok(past)
    }

    async fn in_store(store: &Store) -> Result<Self, BackupError> {
        let issuer_sequence = store.books(|books| books.next_sequence()).await?;
        let snapshot = store.snapshot()?;
        Ok(Self {
            greatest: snapshot.greatest_time()?.unwrap_or_default(),
            floors: snapshot.replay_floors()?,
            issuer_sequence,
            decisions: snapshot.last_decision()?.map_or(0, |d| d.sequence + 1),
        })
    }

    fn merge(&mut self, other: Self) {
        self.greatest = self.greatest.max(other.greatest);
        self.issuer_sequence = self.issuer_sequence.max(other.issuer_sequence);
        // The store keeps the greater of each.
        self.floors.extend(other.floors);
    }
}

/// Puts the store that is there in the place of the backup's.
fn take_store(dir: &StateDir, staging: &Path) -> Result<(), BackupError> {
    let to = staging.join(STORE);
    match std::fs::remove_file(&to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(BackupError::Write(error));
        }
        _ => {}
    }
    let mut from = File::open(dir.store()).map_err(BackupError::Read)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&to)
        .map_err(BackupError::Write)?;
    io::copy(&mut from, &mut file).map_err(BackupError::Write)?;
    file.sync_all().map_err(BackupError::Write)
}

/// Keeps the membership that is there if it begins later than the backup's.
fn keep_later_membership(dir: &StateDir, staging: &Path) -> Result<(), BackupError> {
    let held = private::read_file(&dir.membership(), MAX_DOCUMENT_BYTES)?;
    let staged = staging.join("membership.cose");
    let other = private::read_file(&staged, MAX_DOCUMENT_BYTES)?;
    if stated(&held)?.not_before <= stated(&other)?.not_before {
        return Ok(());
    }
    std::fs::remove_file(&staged).map_err(BackupError::Write)?;
    super::make::write_private(&staged, &held)
}

/// Keeps the roots that are there if they are more than the backup's: the chain only grows.
fn keep_later_roots(dir: &StateDir, staging: &Path) -> Result<(), BackupError> {
    let unreadable = |error: RootsError| BackupError::Unreadable {
        path: dir.path().to_owned(),
        why: error.to_string(),
    };
    let held = roots::read(dir).map_err(unreadable)?;
    let staged = StateDir::open(staging)?;
    if held.len() <= roots::read(&staged)?.len() {
        return Ok(());
    }
    let genesis = private::read_file(&dir.root(), MAX_DOCUMENT_BYTES)?;
    roots::in_force(&Primitives, &genesis, &held).map_err(unreadable)?;
    Ok(roots::write(&staged, held.iter().map(Vec::as_slice))?)
}

/// Makes a store fit for the present; what the marker says, and how many tickets became void.
async fn amend(
    file: &Path,
    head: Head,
    past: Past,
    now: UnixMillis,
) -> Result<(Restored, usize), BackupError> {
    let store = Store::open(file, &Options::new(read_link()))?;
    let amended = amend_open(&store, head, past, now).await;
    let closed = store.close().await;
    let amended = amended?;
    closed?;
    Ok(amended)
}

async fn amend_open(
    store: &Store,
    head: Head,
    past: Past,
    now: UnixMillis,
) -> Result<(Restored, usize), BackupError> {
    let at = now.seconds();
    let voided = void_tickets(store, at).await?;
    let elapsed = at.0.saturating_sub(head.made.0);
    let gap = SEQUENCE_GAP.saturating_add(elapsed.saturating_mul(SEQUENCES_PER_S));
    let least = past.issuer_sequence;
    let issuer_sequence = store
        .books(move |books| {
            let last = books.next_sequence()?.max(least).saturating_add(gap);
            books.note_issued(last, at)?;
            books.next_sequence()
        })
        .await?;
    let floors = past.floors.iter().map(|&(issuer, until)| {
        // A floor that is there and greater stays.
        Write::ReplayFloor { issuer, until }
    });
    let mut writes: Vec<Write> = floors.collect();
    writes.push(Write::GreatestTime(past.greatest));
    while !writes.is_empty() {
        let later = writes.split_off(writes.len().min(AT_ONCE));
        store.durable(writes).await?;
        writes = later;
    }
    let outcomes = store.durable(vec![note(head, now)]).await?;
    let decision = match outcomes.first() {
        Some(Outcome::Decided { sequence, .. }) => *sequence,
        _ => 0,
    };
    let greatest = store.snapshot()?.greatest_time()?.unwrap_or_default();
    let restored = Restored {
        at,
        made: head.made,
        greatest_time: greatest,
        issuer_sequence,
        decision,
    };
    Ok((restored, voided))
}

/// Voids what may have been used, revoked or refused since the backup.
async fn void_tickets(store: &Store, at: UnixSeconds) -> Result<usize, BackupError> {
    let snapshot = store.snapshot()?;
    let tickets: Vec<_> = snapshot
        .tickets()?
        .into_iter()
        .filter(|(_, ticket)| ticket.left > 0 && ticket.revoked.is_none())
        .collect();
    let waiting = snapshot.pending_joins()?;
    drop(snapshot);
    let count = tickets.len();
    store
        .books(move |books| {
            for (id, mut ticket) in tickets {
                ticket.left = 0;
                ticket.revoked = Some(at);
                books.put_ticket(&id, &ticket)?;
            }
            for (node, join) in waiting {
                books.remove_pending(&node)?;
                books.unbind_name(&node, &join.name)?;
            }
            Ok(())
        })
        .await?;
    Ok(count)
}

/// The record that says that the chain goes on from a backup. Records made after the backup may
/// exist elsewhere under the same numbers; whoever meets both knows from this one why.
fn note(head: Head, now: UnixMillis) -> Write {
    Write::Decision(Box::new(move |sequence, previous| {
        let record = DecisionRecord {
            sequence,
            previous,
            time: now,
            node: head.node,
            point: Point::Link,
            envelope: None,
            request: None,
            issuer: head.node,
            agent: None,
            audience: None,
            server: None,
            kind: None,
            direction: None,
            method: None,
            target: Some(format!("backup of {}", head.made.0)),
            verdict: "note".to_owned(),
            reason: Some("restored_from_backup".to_owned()),
            policy: None,
            bundle_version: 0,
            body_digest: None,
            stands_for: None,
        };
        let bytes = record.encode();
        let hash = chain_hash(&Primitives, &bytes);
        (bytes, hash)
    }))
}

/// Moves what was there into a directory beside it, membership first: from then on it is no node.
fn move_aside(dir: &StateDir, now: UnixMillis) -> Result<PathBuf, BackupError> {
    let aside = dir.path().join(format!("before-restore-{}", now.0));
    let mut builder = DirBuilder::new();
    builder.mode(0o700).recursive(true);
    builder
        .create(aside.join("keys"))
        .map_err(BackupError::Write)?;
    for entry in ENTRIES.iter().rev() {
        rename(&dir.path().join(entry.path), &aside.join(entry.path))?;
    }
    sync(&aside.join("keys"))?;
    sync(&aside)?;
    sync(dir.path())?;
    Ok(aside)
}

/// Moves what was unpacked to where it belongs, membership last.
fn put_in_place(dir: &StateDir, staging: &Path) -> Result<(), BackupError> {
    for entry in &ENTRIES {
        if entry.path == "membership.cose" {
            // Everything else is on disk before the directory becomes a node.
            sync(&dir.keys())?;
            sync(dir.path())?;
        }
        rename(&staging.join(entry.path), &dir.path().join(entry.path))?;
    }
    sync(dir.path())
}

/// Moves an entry that may not be there.
fn rename(from: &Path, to: &Path) -> Result<(), BackupError> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(BackupError::Write(error)),
        _ => Ok(()),
    }
}
