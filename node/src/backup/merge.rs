//! What two states of one node know, as one: the newer of everything, of either side.
//!
//! Trust documents are taken by [`TrustState::offer`], the only code that takes any, so what comes
//! out is what a node in the one state would hold had a peer in the other told it everything.
//! Nothing goes back, whichever side has the longer record of decisions. Beside the documents stand
//! the admin's journal, of which the longer counts, and a rotation of keys that was begun.

use std::path::Path;

use protocol::crypto::Crypto;
use protocol::id::NodeId;
use protocol::time::UnixSeconds;
use protocol::trust::document::{Document, MAX_ENTRIES_AT_ONCE};
use protocol::trust::state::{Kept, KeptLog, TrustState};
use protocol::trust::{Bytes, TrustError};

use super::place::{JOURNAL, ROTATION, place};
use super::{BackupError, MAX_JOURNAL_BYTES};
use crate::overlay::trust::everything;
use crate::state_dir::StateDir;
use crate::state_dir::private;
use crate::store::{Store, Write};

/// How often everything is offered: a timestamp may need a bundle and a bundle a timestamp.
const PASSES: usize = 2;

/// Writes in one request of the store.
const AT_ONCE: usize = 512;

/// The newer of everything that either side holds, `here` where they contradict each other.
///
/// # Errors
/// [`TrustError`] if the result does not hold, which two states that hold cannot bring about.
pub(super) fn newest(
    crypto: &dyn Crypto,
    here: &TrustState,
    there: &TrustState,
    now: UnixSeconds,
) -> Result<TrustState, TrustError> {
    // What was taken once was not ahead of the clock then.
    let now = now.max(here.greatest_time()).max(there.greatest_time());
    let mut state = here.clone();
    let kept = there.kept();
    for _ in 0..PASSES {
        for document in documents(&kept) {
            // Older, known, of another history: then what is here stays.
            drop(state.offer(crypto, now, &document));
        }
    }
    let mut merged = state.kept();
    for other in [here, there] {
        let memory = other.memory();
        merged.memory.held.extend(memory.held);
        if memory.epoch == merged.memory.epoch {
            merged.memory.greatest = merged.memory.greatest.max(memory.greatest);
            merged.memory.marks.extend(memory.marks);
        }
    }
    TrustState::restore(crypto, merged)
}

/// Everything kept, in an order in which it can be taken.
fn documents(kept: &Kept) -> Vec<Document> {
    let roots = kept.roots.iter().map(|root| Document::Root(root.clone()));
    let logs = kept.logs.iter().flat_map(log);
    let timestamps = kept.timestamps.iter();
    let timestamps = timestamps.map(|timestamp| Document::Timestamp(timestamp.clone()));
    let bundle = kept.bundle.iter().flat_map(|(head, body)| {
        [
            Document::BundleHead(head.clone()),
            Document::BundleBody(body.clone()),
        ]
    });
    roots.chain(logs).chain(timestamps).chain(bundle).collect()
}

/// A log: its head, and its entries twice, since those of a history that is not the one held are
/// asked for again from the first.
fn log(log: &KeptLog) -> Vec<Document> {
    let head = log.head.iter().map(|head| Document::LogHead(head.clone()));
    let pieces = || {
        let pieces = log.entries.chunks(MAX_ENTRIES_AT_ONCE);
        (0_u64..).step_by(MAX_ENTRIES_AT_ONCE).zip(pieces)
    };
    let entries = pieces().chain(pieces()).map(|(from, piece)| {
        let entries: Vec<Bytes> = piece.to_vec();
        Document::LogEntries {
            admin: log.admin,
            from,
            entries,
        }
    });
    head.chain(entries).collect()
}

/// Puts all of a state in the place of what a store holds of trust documents.
///
/// # Errors
/// [`BackupError::Store`].
pub(super) async fn put_trust(store: &Store, state: &TrustState) -> Result<(), BackupError> {
    let held = store.snapshot()?.trust()?;
    let gone = held.into_iter().map(|(row, _)| Write::RemoveTrust(row));
    let mut writes: Vec<Write> = gone.chain(everything(state)).collect();
    while !writes.is_empty() {
        let later = writes.split_off(writes.len().min(AT_ONCE));
        store.durable(writes).await?;
        writes = later;
    }
    Ok(())
}

/// Adds who took whose place, as the other side knew it.
///
/// # Errors
/// [`BackupError::Store`].
pub(super) async fn put_replaced(
    store: &Store,
    replaced: Vec<(NodeId, Vec<u8>)>,
) -> Result<(), BackupError> {
    let work = store.books(move |books| {
        for (node, membership) in &replaced {
            if books.replaced(node)?.is_none() {
                books.put_replaced(node, membership)?;
            }
        }
        Ok(())
    });
    Ok(work.await?)
}

/// The length that an admin's journal says its log has.
#[derive(serde::Deserialize)]
struct Length {
    length: u64,
}

/// Keeps the journal that is there unless the backup's is longer: an admin that forgot what it
/// signed last would sign another history. One that cannot be read stays too; whoever signs next is
/// told.
///
/// # Errors
/// [`BackupError`].
pub(super) fn keep_longer_journal(dir: &StateDir, staging: &Path) -> Result<(), BackupError> {
    let mesh = crate::setup::mesh(dir.path())?;
    let held = dir.path().join(place(JOURNAL, &mesh));
    let staged = staging.join(JOURNAL);
    if !held.exists() {
        return Ok(());
    }
    let bytes = private::read_file(&held, MAX_JOURNAL_BYTES)?;
    let length = |bytes: &[u8]| {
        let journal = serde_json::from_slice::<Length>(bytes);
        journal.map(|journal| journal.length)
    };
    if staged.exists()
        && let Ok(held) = length(&bytes)
        && let Ok(other) = length(&private::read_file(&staged, MAX_JOURNAL_BYTES)?)
        && other > held
    {
        return Ok(());
    }
    remove(&staged)?;
    super::make::write_private(&staged, &bytes)
}

/// Keeps a rotation that was begun here: the issuer may know its new keys already, and nobody else
/// has them.
///
/// # Errors
/// [`BackupError`].
pub(super) fn keep_rotation(dir: &StateDir, staging: &Path) -> Result<(), BackupError> {
    if !ROTATION.iter().any(|file| dir.path().join(file).exists()) {
        return Ok(());
    }
    for file in ROTATION {
        remove(&staging.join(file))?;
        let held = dir.path().join(file);
        if held.exists() {
            let max = protocol::limits::MAX_DOCUMENT_BYTES;
            let bytes = private::read_file(&held, max)?;
            super::make::write_private(&staging.join(file), &bytes)?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), BackupError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(BackupError::Write(error))
        }
        _ => Ok(()),
    }
}
