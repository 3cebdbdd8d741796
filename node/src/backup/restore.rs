//! Restoring a backup so that nothing in force goes back.
//!
//! Everything is unpacked and checked beside what is there, changed so that it fits the present,
//! and put in place ([`super::place`]): whatever interrupts that, the directory is what it was, or
//! the restore is finished by the next one and no node starts there before. What was there is
//! moved aside, never removed.
//!
//! What is changed in the store, whichever side it is taken from:
//! - tickets not used up are void and nobody waits to be approved: what happened to them since the
//!   backup is not known;
//! - the issuer's sequence is ahead of every sequence that may have been used since;
//! - greatest verified time and replay floors are the greater of both sides;
//! - a decision record says that the chain goes on from a backup.
//!
//! Where a node is replaced, the store is that of the longer chain of decisions, so that no record
//! is lost, the membership the one that begins later, and of trust documents the newer of both
//! sides are in force ([`super::merge`]).

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hedgerow_crypto::{Primitives, SigningKeys, TlsIdentity};
use protocol::crypto::Signer as _;
use protocol::id::{MeshId, NodeId};
use protocol::limits::MAX_DOCUMENT_BYTES;
use protocol::record::{DecisionRecord, Point, chain_hash};
use protocol::time::{UnixMillis, UnixSeconds};
use protocol::trust::{TrustState, VerifiedRoot};

use super::format::Source;
use super::make::{Head, read_entries, read_head, stated};
use super::marker::Restored;
use super::place::{self, Commit};
use super::{BackupError, PASSING, STORE, merge, read_link};
use crate::clock::{Clock as _, SystemClock};
use crate::keys::passphrase::Passphrase;
use crate::keys::{self, KeyKind};
use crate::overlay;
use crate::roots;
use crate::setup::SetupError;
use crate::state_dir::private;
use crate::state_dir::{RESTORE_UNDER_WAY, StateDir};
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
    let mut occupied = !is_empty(state)?;
    let interrupted = state.join(RESTORE_UNDER_WAY).exists();
    if occupied && !replace && !interrupted {
        return Err(BackupError::Occupied(state.to_owned()));
    }
    // The file before the directory: what is no backup makes no directory.
    let input = File::open(file).map_err(|source| BackupError::NotOpened {
        path: file.to_owned(),
        source,
    })?;
    let mut source = Source::begin(BufReader::new(input), passphrase)?;
    let head = read_head(&mut source)?;
    let dir = StateDir::create(state)?;
    let _lock = dir.lock()?;
    if let Some(commit) = Commit::pending(&dir)? {
        let same = commit.is_of(head);
        let report = place::finish(&dir, commit)?;
        if same {
            return Ok(report);
        }
        occupied = true;
        if !replace {
            return Err(BackupError::Occupied(state.to_owned()));
        }
    }
    let staging = state.join(STAGING);
    let done = restore_locked(&dir, &staging, source, head, occupied).await;
    if Commit::pending(&dir).is_ok_and(|pending| pending.is_none()) {
        // After a failure nothing of the backup's keys should stay.
        let _ = std::fs::remove_dir_all(&staging);
    }
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
    let (mut store_kept, mut trust) = (false, None);
    if occupied {
        check_same(dir, head)?;
        past = Past::read(dir).await?;
        let there = Past::of(&StateDir::open(staging)?).await?;
        trust = Some(newest(&past, &there, now)?);
        store_kept = past.decisions > there.decisions;
        if store_kept {
            take_store(dir, staging)?;
        }
        past.merge(there);
        keep_later_membership(dir, staging)?;
        merge::keep_longer_journal(dir, staging)?;
        merge::keep_rotation(dir, staging)?;
    }
    if let Some(trust) = &trust {
        let later = trust.roots().iter().skip(1);
        roots::write(&StateDir::open(staging)?, later.map(|root| root.bytes()))?;
    }
    let amended = amend(&staging.join(STORE), head, past, trust, now).await?;
    let (restored, tickets_voided) = amended;
    restored.leave(staging)?;
    let report = Report {
        node: head.node,
        mesh: head.mesh,
        made: head.made,
        entries,
        tickets_voided,
        previous: occupied.then(|| place::aside(dir, now.0)),
        store_kept,
    };
    place::put(dir, Commit::of(head, &report))
}

/// What both sides know of the mesh, as one.
fn newest(here: &Past, there: &Past, now: UnixMillis) -> Result<TrustState, BackupError> {
    let known = |past: &Past| past.trust.clone().ok_or(BackupError::Missing(STORE));
    let (here, there) = (known(here)?, known(there)?);
    merge::newest(&Primitives, &here, &there, now.seconds())
        .map_err(|error| BackupError::Trust(error.to_string()))
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
        let passing = name
            .to_str()
            .is_some_and(|name| PASSING.contains(&name) || name.starts_with(place::ASIDE));
        let no_keys = name == "keys"
            && std::fs::read_dir(entry.path()).is_ok_and(|mut keys| keys.next().is_none());
        if !passing && !no_keys {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a restore began here that made no node of it: of a node that is one, what a restore
/// left is of no interest.
#[must_use]
pub fn is_half_restored(state: &Path) -> bool {
    let entries = std::fs::read_dir(state).into_iter().flatten().flatten();
    let mut names = entries.map(|entry| entry.file_name());
    names.any(|name| {
        let name = name.to_string_lossy();
        name == STAGING || name == super::MARKER || name.starts_with(place::ASIDE)
    })
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
    for below in ["keys", "rotation/keys"] {
        let made = builder.create(staging.join(below));
        made.map_err(BackupError::Write)?;
    }
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
    /// Who took whose place.
    replaced: Vec<(NodeId, Vec<u8>)>,
    /// The trust documents.
    trust: Option<Arc<TrustState>>,
}

impl Past {
    /// Of the store in a state directory; one that cannot be read keeps it from being replaced.
    async fn read(dir: &StateDir) -> Result<Self, BackupError> {
        Self::of(dir)
            .await
            .map_err(|error| BackupError::Unreadable {
                path: dir.path().to_owned(),
                why: error.to_string(),
            })
    }

    async fn of(dir: &StateDir) -> Result<Self, BackupError> {
        let store = Store::open(&dir.store(), &Options::new(read_link()))?;
        let past = Self::in_store(dir, &store).await;
        let closed = store.close().await;
        let past = past?;
        closed?;
        Ok(past)
    }

    async fn in_store(dir: &StateDir, store: &Store) -> Result<Self, BackupError> {
        let trust = overlay::trust::restore(dir, store, &Primitives);
        let trust = trust.map_err(|error| BackupError::Trust(error.to_string()))?;
        let issuer_sequence = store.books(|books| books.next_sequence()).await?;
        let snapshot = store.snapshot()?;
        Ok(Self {
            greatest: snapshot.greatest_time()?.unwrap_or_default(),
            floors: snapshot.replay_floors()?,
            issuer_sequence,
            decisions: snapshot.last_decision()?.map_or(0, |d| d.sequence + 1),
            replaced: snapshot.replaced()?,
            trust: Some(Arc::new(trust)),
        })
    }

    fn merge(&mut self, other: Self) {
        self.greatest = self.greatest.max(other.greatest);
        self.issuer_sequence = self.issuer_sequence.max(other.issuer_sequence);
        // The store keeps the greater of each.
        self.floors.extend(other.floors);
        self.replaced.extend(other.replaced);
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

/// Makes a store fit for the present; what the marker says, and how many tickets became void.
async fn amend(
    file: &Path,
    head: Head,
    past: Past,
    trust: Option<TrustState>,
    now: UnixMillis,
) -> Result<(Restored, usize), BackupError> {
    let store = Store::open(file, &Options::new(read_link()))?;
    let amended = amend_open(&store, head, past, trust, now).await;
    let closed = store.close().await;
    let amended = amended?;
    closed?;
    Ok(amended)
}

async fn amend_open(
    store: &Store,
    head: Head,
    past: Past,
    trust: Option<TrustState>,
    now: UnixMillis,
) -> Result<(Restored, usize), BackupError> {
    let at = now.seconds();
    if let Some(trust) = &trust {
        merge::put_trust(store, trust).await?;
    }
    merge::put_replaced(store, past.replaced).await?;
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
