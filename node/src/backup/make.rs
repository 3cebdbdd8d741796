//! Making a backup: the fixed list of files and the store, into one new file that is read back.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

use hedgerow_crypto::Primitives;
use protocol::codec;
use protocol::control::COPY_PREFIX;
use protocol::cose::CoseSign;
use protocol::crypto::Crypto as _;
use protocol::id::{MeshId, NodeId};
use protocol::limits::MAX_DOCUMENT_BYTES;
use protocol::time::UnixSeconds;
use protocol::trust::{Membership, TrustError, VerifiedRoot};
use zeroize::Zeroizing;

use super::format::{CHUNK, Sink, Source};
use super::place::place;
use super::{BackupError, ENTRIES, Entry, PASSING, STORE};
use crate::clock::{Clock as _, SystemClock};
use crate::keys::passphrase::Passphrase;
use crate::state_dir::private::{self, PrivateError};
use crate::state_dir::{StateDir, StateLock};
use crate::store::{Store, StoreError};

/// What follows the last entry.
pub(super) const END: u8 = 0xff;

/// A store copy this old was left behind by a backup that was ended.
const STALE_COPY: Duration = Duration::from_secs(3600);

/// Where the store is read from.
#[derive(Debug, Clone, Copy)]
pub enum StoreFrom<'a> {
    /// The node does not run: the store itself, under the node's lock.
    Stopped,
    /// The node runs: the copy of that name it made ([`copy_store`]), which is removed afterwards.
    Copy(&'a str),
}

/// A backup that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Of which node.
    pub node: NodeId,
    /// Of which mesh.
    pub mesh: MeshId,
    /// When.
    pub made: UnixSeconds,
    /// What is in it.
    pub entries: Vec<&'static str>,
    /// What is in the state directory and not in the backup.
    pub left_out: Vec<String>,
    /// Its size in bytes.
    pub bytes: u64,
}

/// What a backup says of itself before its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) made: UnixSeconds,
    pub(super) mesh: MeshId,
    pub(super) node: NodeId,
}

/// Has a running node copy its store beside it; the name and the size. Blocks while it copies.
///
/// # Errors
/// [`StoreError`].
pub fn copy_store(store: &Store, file: &Path) -> Result<(String, u64), StoreError> {
    remove_stale(file);
    let mut random = [0; 8];
    // A name that is taken is refused, so that it only has to be unlikely.
    Primitives
        .fill_random(&mut random)
        .map_err(|_| StoreError::Closed)?;
    let name = format!("{COPY_PREFIX}{}", hex::encode(random));
    let bytes = store.copy(file, &file.with_file_name(&name))?;
    Ok((name, bytes))
}

/// Removes copies that an ended backup left behind.
fn remove_stale(store: &Path) {
    let Some(entries) = store.parent().and_then(|dir| std::fs::read_dir(dir).ok()) else {
        return;
    };
    for entry in entries.flatten() {
        let copy = entry.file_name().to_string_lossy().starts_with(COPY_PREFIX);
        let modified = entry.metadata().and_then(|m| m.modified());
        let age = modified.map(|at| SystemTime::now().duration_since(at).unwrap_or_default());
        if copy && age.is_ok_and(|age| age > STALE_COPY) {
            // What cannot be removed is found by `doctor` through the disk it takes.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Writes a backup of the state directory to the new file `to`, and reads it back.
///
/// # Errors
/// [`BackupError`]; no file stays.
pub fn make(
    state: &Path,
    from: StoreFrom<'_>,
    passphrase: Option<&Passphrase>,
    to: &Path,
) -> Result<Made, BackupError> {
    let (_lock, store) = match from {
        StoreFrom::Stopped => (Some(lock(state)?), STORE),
        StoreFrom::Copy(name) => (None, name),
    };
    let done = write(state, store, passphrase, to).map_err(|error| match error {
        BackupError::Write(source) => BackupError::Unfinished {
            path: to.to_owned(),
            source,
        },
        error => error,
    });
    if let StoreFrom::Copy(name) = from {
        // A copy that stays takes space, and is removed by the next backup.
        let _ = std::fs::remove_file(state.join(name));
    }
    match done {
        // Whatever is there is not of this attempt.
        Ok(_) | Err(BackupError::NotMade { .. }) => {}
        Err(_) => drop(std::fs::remove_file(to)),
    }
    done
}

fn lock(state: &Path) -> Result<StateLock, BackupError> {
    Ok(StateDir::open(state)?.lock()?)
}

fn write(
    state: &Path,
    store: &str,
    passphrase: Option<&Passphrase>,
    to: &Path,
) -> Result<Made, BackupError> {
    let owner = std::fs::metadata(state).map_err(BackupError::Read)?.uid();
    let head = head(state, owner)?;
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)
        .map_err(|source| BackupError::NotMade {
            path: to.to_owned(),
            source,
        })?;
    let mut sink = Sink::begin(BufWriter::new(file), passphrase)?;
    sink.put(&head.made.0.to_be_bytes())?;
    sink.put(head.mesh.as_bytes())?;
    sink.put(head.node.as_bytes())?;
    let mut entries = Vec::new();
    for entry in &ENTRIES {
        let name = if entry.path == STORE {
            store.to_owned()
        } else {
            place(entry.path, &head.mesh)
        };
        match open(&state.join(name), owner, entry.path == "config.toml") {
            Ok(file) => {
                put(&mut sink, entry, file)?;
                entries.push(entry.path);
            }
            Err(PrivateError::Missing { .. }) if !entry.needed => {}
            // A node that never ran has no store: its backup has an empty one.
            Err(PrivateError::Missing { .. }) if entry.path == STORE => {}
            Err(error) => return Err(error.into()),
        }
    }
    sink.put(&[END])?;
    let file = sink.finish()?;
    let file = file
        .into_inner()
        .map_err(|e| BackupError::Write(e.into_error()))?;
    file.sync_all().map_err(BackupError::Write)?;
    verify(to, passphrase, head)?;
    Ok(Made {
        node: head.node,
        mesh: head.mesh,
        made: head.made,
        entries,
        left_out: left_out(state, &head.mesh)?,
        bytes: file.metadata().map_err(BackupError::Read)?.len(),
    })
}

/// Whose state it is, by its root and membership. Root backs up the directory of another user, so
/// ownership is judged by the directory's, and keys are copied, never loaded.
fn head(state: &Path, owner: u32) -> Result<Head, BackupError> {
    let document = |name: &'static str| -> Result<Zeroizing<Vec<u8>>, BackupError> {
        let file = open(&state.join(name), owner, false).map_err(|error| match error {
            PrivateError::Missing { .. } => BackupError::Missing(name),
            other => other.into(),
        })?;
        let mut bytes = Zeroizing::new(Vec::new());
        let max = MAX_DOCUMENT_BYTES as u64;
        file.take(max)
            .read_to_end(&mut bytes)
            .map_err(BackupError::Read)?;
        Ok(bytes)
    };
    let root = document("root.cose")?;
    let root =
        VerifiedRoot::genesis(&Primitives, &root).map_err(|e| BackupError::Setup(e.into()))?;
    let membership = document("membership.cose")?;
    let membership = stated(&membership)?;
    Ok(Head {
        made: SystemClock.now().seconds(),
        mesh: root.mesh(),
        node: NodeId::of_tls_key(&Primitives, &membership.tls_key),
    })
}

/// What a membership states. Whether it holds depends on the root in force, which stands in the
/// store and which the node judges it by.
pub(super) fn stated(bytes: &[u8]) -> Result<Membership, BackupError> {
    let trust = |e: TrustError| BackupError::Setup(e.into());
    let cose = CoseSign::parse(bytes, MAX_DOCUMENT_BYTES).map_err(|e| trust(e.into()))?;
    codec::decode(cose.payload, MAX_DOCUMENT_BYTES).map_err(|e| trust(e.into()))
}

/// Opens a private file of `owner`, of whatever user we are.
fn open(path: &Path, owner: u32, readable: bool) -> Result<File, PrivateError> {
    let file = private::open_unchecked(path)?;
    let meta = private::metadata(path, &file)?;
    let foreign = if readable { 0o022 } else { 0o077 };
    if !meta.is_file() {
        return Err(PrivateError::WrongType {
            path: path.to_owned(),
            expected: "regular file",
        });
    }
    if meta.uid() != owner {
        return Err(PrivateError::ForeignOwner {
            path: path.to_owned(),
            owner: meta.uid(),
            user: owner,
        });
    }
    if meta.mode() & foreign != 0 {
        return Err(PrivateError::Exposed {
            path: path.to_owned(),
            mode: meta.mode() & 0o7777,
            wanted: 0o600,
        });
    }
    Ok(file)
}

fn put(sink: &mut Sink<BufWriter<File>>, entry: &Entry, mut file: File) -> Result<(), BackupError> {
    let length = file.metadata().map_err(BackupError::Read)?.len();
    if length > entry.max {
        return Err(BackupError::TooLarge {
            entry: entry.path,
            max: entry.max,
        });
    }
    sink.put(&[entry.kind])?;
    sink.put(&length.to_be_bytes())?;
    let mut chunk = Zeroizing::new(vec![0; CHUNK]);
    let mut left = length;
    while left > 0 {
        let read = file.read(&mut chunk).map_err(BackupError::Read)?;
        let bytes = chunk.get(..read).unwrap_or_default();
        left = match u64::try_from(read)
            .ok()
            .and_then(|read| left.checked_sub(read))
        {
            Some(left) if read > 0 => left,
            _ => return Err(BackupError::Changed(entry.path)),
        };
        sink.put(bytes)?;
    }
    Ok(())
}

/// Reads a backup from its first byte to its last, keeping nothing.
fn verify(file: &Path, passphrase: Option<&Passphrase>, wanted: Head) -> Result<(), BackupError> {
    let file = File::open(file).map_err(BackupError::Read)?;
    let mut source = Source::begin(BufReader::new(file), passphrase)?;
    if read_head(&mut source)? != wanted {
        return Err(BackupError::Damaged(
            "it does not read back as it was written",
        ));
    }
    read_entries(&mut source, |_, _, _| Ok(()))?;
    source.finish()
}

pub(super) fn read_head<R: io::Read>(source: &mut Source<R>) -> Result<Head, BackupError> {
    Ok(Head {
        made: UnixSeconds(u64::from_be_bytes(source.array()?)),
        mesh: MeshId::from_bytes(source.array()?),
        node: NodeId::from_bytes(source.array()?),
    })
}

/// Reads every entry; `keep` is given each entry's path, whether a chunk is its first, and the
/// chunk. An empty entry is one empty chunk. Returns the paths of all.
pub(super) fn read_entries<R: io::Read>(
    source: &mut Source<R>,
    mut keep: impl FnMut(&'static str, bool, &[u8]) -> Result<(), BackupError>,
) -> Result<Vec<&'static str>, BackupError> {
    let mut found: Vec<&'static str> = Vec::new();
    let mut after = 0;
    let mut chunk = Zeroizing::new(vec![0; CHUNK]);
    loop {
        let [kind] = source.array()?;
        if kind == END {
            break;
        }
        // Ascending: each once, and the file of one node has one form.
        let entry = ENTRIES
            .iter()
            .find(|e| e.kind == kind && kind > after)
            .ok_or(BackupError::Damaged("an entry is unknown or out of order"))?;
        after = kind;
        let mut left = u64::from_be_bytes(source.array()?);
        if left > entry.max {
            return Err(BackupError::TooLarge {
                entry: entry.path,
                max: entry.max,
            });
        }
        let mut first = true;
        while first || left > 0 {
            let count = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let now = chunk.get_mut(..count).unwrap_or_default();
            source.take(now)?;
            keep(entry.path, first, now)?;
            left = left.saturating_sub(count as u64);
            first = false;
        }
        found.push(entry.path);
    }
    let missing = |e: &&Entry| e.needed && e.path != STORE && !found.contains(&e.path);
    match ENTRIES.iter().find(missing) {
        Some(entry) => Err(BackupError::Missing(entry.path)),
        None => Ok(found),
    }
}

/// What in the state directory no backup takes.
fn left_out(state: &Path, mesh: &MeshId) -> Result<Vec<String>, BackupError> {
    let mut left = Vec::new();
    for (dir, prefix) in [(state.to_owned(), ""), (state.join("keys"), "keys/")] {
        for entry in std::fs::read_dir(dir).map_err(BackupError::Read)? {
            let entry = entry.map_err(BackupError::Read)?;
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            let taken = name == "keys"
                || name == "rotation"
                || ENTRIES.iter().any(|e| place(e.path, mesh) == name)
                || PASSING.contains(&name.as_str())
                || name.starts_with(COPY_PREFIX);
            if !taken {
                left.push(name);
            }
        }
    }
    left.sort();
    Ok(left)
}

/// Writes a new private file, durably but for its name.
pub(super) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), BackupError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(BackupError::Write)?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(BackupError::Write)
}
