//! Opening the store: the file's privacy and lock, its integrity, its format, its chain.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, RwLock};

use protocol::id::Digest;
use redb::backends::FileBackend;
use redb::{Database, ReadableTable, ReadableTableMetadata, Table, TableHandle, WriteTransaction};
use tokio::sync::{Notify, Semaphore, mpsc, watch};

use super::apply::{Batch, Head, byte_count};
use super::error::{OpenError, StorageFault, panic_text};
use super::snapshot::{PrunePoint, split_decision};
use super::tables::{self, FORMAT, meta};
use super::writer::{NO_RECORD, Writer};
use super::{DEFAULT_CACHE_BYTES, Progress, QUEUE_BYTES, QUEUE_REQUESTS, Shared, Store};
use crate::state_dir::private::{self, PrivateError};

/// How many of the last decision records are verified when the store is opened.
pub const CHAIN_CHECK: usize = 1024;

/// Files up to this size have every page's checksum verified when they are opened, which takes
/// about 0.2 s for the largest (measured, optimised). Larger ones after a crash only, by redb.
pub const CHECK_ON_OPEN_BYTES: u64 = 64 * 1024 * 1024;

/// How a record hangs in the chain, read from its canonical bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The sequence it states.
    pub sequence: u64,
    /// The hash it names as the one before.
    pub previous: Digest,
    /// Its own hash.
    pub hash: Digest,
}

/// Reads a record's link; `None` when the bytes are no canonical record.
pub type ReadLink = Box<dyn Fn(&[u8]) -> Option<Link> + Send>;

/// How to open the store.
pub struct Options {
    /// Bytes of redb's cache.
    pub cache_bytes: usize,
    /// How records are linked.
    pub read_link: ReadLink,
}

impl Options {
    /// The default cache.
    #[must_use]
    pub fn new(read_link: ReadLink) -> Self {
        Self {
            cache_bytes: DEFAULT_CACHE_BYTES,
            read_link,
        }
    }
}

impl core::fmt::Debug for Options {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Options")
            .field("cache_bytes", &self.cache_bytes)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store at `path`, creating it with mode 0600 if it is not there, and starts its
    /// writer. Blocks for as long as a repair takes: 10 ms when small, seconds per gigabyte.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(path: &Path, options: &Options) -> Result<Self, OpenError> {
        if is_missing(path) {
            create(path, options)?;
        }
        let database = open_file(path, options, false)?;
        Self::start(path, database, options)
    }

    /// The store on another backend than a file.
    #[cfg(test)]
    pub(crate) fn open_backend(
        backend: impl redb::StorageBackend,
        options: &Options,
    ) -> Result<Self, OpenError> {
        let path = Path::new("backend");
        let builder = Database::builder();
        let database = guarded(path, || {
            let database = builder.create_with_backend(backend);
            database.map_err(|e| OpenError::of_database(path, e))
        })?;
        Self::start(path, database, options)
    }

    fn start(path: &Path, database: Database, options: &Options) -> Result<Self, OpenError> {
        let head = guarded(path, || prepare(path, &database, options))?;
        let (requests, queue) = mpsc::channel(QUEUE_REQUESTS);
        let (report, progress) = watch::channel(Progress::default());
        let shared = Arc::new(Shared {
            database: RwLock::new(Some(database)),
            closed: AtomicBool::new(false),
            call: Notify::new(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(OpenError::Thread)?;
        let writer = Writer::new(queue, Arc::clone(&shared), report, head);
        std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || runtime.block_on(writer.run()))
            .map_err(OpenError::Thread)?;
        Ok(Self {
            requests,
            bytes: Arc::new(Semaphore::new(QUEUE_BYTES)),
            shared,
            progress,
        })
    }
}

/// Runs what redb does with bytes it has not verified: it checks much by assertion.
fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T, OpenError>) -> Result<T, OpenError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let fault = StorageFault::Corrupt(panic_text(&*panic));
        Err(OpenError::fault(path, fault))
    })
}

/// Whether nothing has this path; whatever else is wrong with it is found on opening it.
fn is_missing(path: &Path) -> bool {
    let found = std::fs::symlink_metadata(path);
    found.is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
}

/// Makes a new store under another name and gives it its own when it is complete: redb takes
/// several writes to make a file, and a crash between them would leave one it calls corrupt.
fn create(path: &Path, options: &Options) -> Result<(), OpenError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let temporary = path.with_file_name(name);
    // Of a process that had this id and crashed here.
    let _ = std::fs::remove_file(&temporary);
    let made = open_file(&temporary, options, true).and_then(|database| {
        guarded(&temporary, || prepare(&temporary, &database, options))?;
        guarded(&temporary, || {
            drop(database);
            Ok(())
        })?;
        // Unlike a rename, a link never replaces what another process made meanwhile.
        match std::fs::hard_link(&temporary, path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(OpenError::fault(path, StorageFault::of_io(&error)))
            }
            _ => Ok(()),
        }
    });
    let removed = std::fs::remove_file(&temporary);
    made?;
    removed.map_err(|e| OpenError::fault(path, StorageFault::of_io(&e)))?;
    sync_directory(path)
}

fn open_file(path: &Path, options: &Options, new: bool) -> Result<Database, OpenError> {
    let file = open_private(path, new)?;
    let length = private::metadata(path, &file)?.len();
    let mut builder = Database::builder();
    builder
        .set_cache_size(options.cache_bytes)
        .set_check_integrity_on_open(length <= CHECK_ON_OPEN_BYTES);
    guarded(path, || {
        let database = FileBackend::new(file).and_then(|b| builder.create_with_backend(b));
        database.map_err(|e| OpenError::of_database(path, e))
    })
}

fn open_private(path: &Path, new: bool) -> Result<File, OpenError> {
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(new)
        .mode(0o600)
        .custom_flags(private::open_flags())
        .open(path);
    let file = opened.map_err(|e| match PrivateError::from_open(path, e) {
        PrivateError::Io { path, source } => OpenError::Create { path, source },
        // Of the new one it is the directory that does not exist.
        PrivateError::Missing { path } => OpenError::Create {
            path,
            source: io::ErrorKind::NotFound.into(),
        },
        other => OpenError::Private(other),
    })?;
    private::check(
        path,
        &private::metadata(path, &file)?,
        private::Expect::File,
    )?;
    Ok(file)
}

/// Makes the file's name as durable as its contents.
fn sync_directory(path: &Path) -> Result<(), OpenError> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))
        .and_then(|dir| dir.sync_all())
        .map_err(|e| OpenError::fault(path, StorageFault::of_io(&e)))
}

/// Checks format and chain, creates what a new file lacks, and returns the chain's end.
fn prepare(path: &Path, database: &Database, options: &Options) -> Result<Head, OpenError> {
    let fault = |e: StorageFault| OpenError::fault(path, e);
    let transaction = database.begin_write().map_err(|e| fault(e.into()))?;
    let fresh = check_format(path, &transaction)?;
    let older = lacks_a_table(&transaction).map_err(fault)?;
    let head = check_chain(path, &transaction, &options.read_link)?;
    if fresh || older {
        // Makes the tables there are not; an older store has counted no bytes.
        let batch = Batch::new(&transaction, Head { bytes: 0, ..head }).map_err(fault)?;
        batch.adopt(head).finish().map_err(fault)?;
        transaction.commit().map_err(|e| fault(e.into()))?;
    } else {
        transaction.abort().map_err(|e| fault(e.into()))?;
    }
    Ok(head)
}

/// Whether the file is new. Writes the format into a new one.
fn check_format(path: &Path, transaction: &WriteTransaction) -> Result<bool, OpenError> {
    let fault = |e: StorageFault| OpenError::fault(path, e);
    let mut names = transaction.list_tables().map_err(|e| fault(e.into()))?;
    let known = names.any(|t| t.name() == tables::META.name());
    drop(names);
    let any = transaction
        .list_tables()
        .map_err(|e| fault(e.into()))?
        .count()
        > 0;
    if any && !known {
        let what = "it has tables, but not ours".to_owned();
        return Err(fault(StorageFault::Corrupt(what)));
    }
    let mut table = transaction
        .open_table(tables::META)
        .map_err(|e| fault(e.into()))?;
    let found = table
        .get(meta::FORMAT)
        .map_err(|e| fault(e.into()))?
        .map(|v| v.value());
    match found {
        Some(FORMAT) => Ok(false),
        Some(found) if found > FORMAT => Err(OpenError::NewerFormat {
            path: path.to_owned(),
            found,
            known: FORMAT,
        }),
        Some(found) => {
            let what = format!("its format is {found}, which never was");
            Err(fault(StorageFault::Corrupt(what)))
        }
        None if any => Err(fault(StorageFault::Corrupt(
            "it states no format".to_owned(),
        ))),
        None => {
            table
                .insert(meta::FORMAT, FORMAT)
                .map_err(|e| fault(e.into()))?;
            Ok(true)
        }
    }
}

/// Whether a version before decision records were ever forgotten wrote it.
fn lacks_a_table(transaction: &WriteTransaction) -> Result<bool, StorageFault> {
    let mut names = transaction.list_tables()?;
    Ok(!names.any(|table| table.name() == tables::PRUNED.name()))
}

/// Verifies the first and the last records kept and that none is missing, and returns the chain's
/// end.
fn check_chain(
    path: &Path,
    transaction: &WriteTransaction,
    read_link: &ReadLink,
) -> Result<Head, OpenError> {
    let fault = |e: StorageFault| OpenError::fault(path, e);
    let broken = |sequence, what| OpenError::BrokenChain {
        path: path.to_owned(),
        sequence,
        what,
    };
    let table = transaction
        .open_table(tables::DECISIONS)
        .map_err(|e| fault(e.into()))?;
    let count = table.len().map_err(|e| fault(e.into()))?;
    // Going backwards: what the record after this one says of it, and the chain's end.
    let mut after: Option<Link> = None;
    let pruned = read_prune_point(transaction).map_err(fault)?;
    let mut head = Head {
        next: pruned.map_or(0, |p| p.sequence.saturating_add(1)),
        hash: pruned.map_or(NO_RECORD, |p| p.hash),
        bytes: decision_bytes(transaction, &table).map_err(fault)?,
    };
    let begin = head;
    let entries = table.range::<u64>(..).map_err(|e| fault(e.into()))?;
    for entry in entries.rev().take(CHAIN_CHECK) {
        let (key, value) = entry.map_err(|e| fault(e.into()))?;
        let sequence = key.value();
        let link = check_record(sequence, value.value(), read_link)
            .map_err(|what| broken(sequence, what))?;
        match after {
            None => {
                head.next = sequence.saturating_add(1);
                head.hash = link.hash;
            }
            Some(next) if next.sequence != sequence.saturating_add(1) => {
                return Err(broken(next.sequence, "the record before it is missing"));
            }
            Some(next) if next.previous != link.hash => {
                return Err(broken(
                    next.sequence,
                    "it does not name the record before it",
                ));
            }
            Some(_) => {}
        }
        after = Some(link);
    }
    if let Some((sequence, value)) = table.first().map_err(|e| fault(e.into()))? {
        let sequence = sequence.value();
        let link = check_record(sequence, value.value(), read_link)
            .map_err(|what| broken(sequence, what))?;
        if sequence != begin.next {
            return Err(broken(sequence, "the record before it is missing"));
        }
        if link.previous != begin.hash {
            return Err(broken(sequence, "the first record names another before it"));
        }
    } else if pruned.is_some() {
        return Err(broken(begin.next, "the records kept are missing"));
    }
    if count != head.next.saturating_sub(begin.next) {
        let expected = begin.next.saturating_add(count);
        return Err(broken(expected, "records are missing"));
    }
    Ok(head)
}

fn read_prune_point(transaction: &WriteTransaction) -> Result<Option<PrunePoint>, StorageFault> {
    let table = transaction.open_table(tables::PRUNED)?;
    let found = table.last()?;
    Ok(found.map(|(sequence, hash)| PrunePoint {
        sequence: sequence.value(),
        hash: Digest::from_bytes(*hash.value()),
    }))
}

/// The bytes of all records: as counted, or for a store of before they were, as they are.
fn decision_bytes(
    transaction: &WriteTransaction,
    table: &Table<'_, u64, &'static [u8]>,
) -> Result<u64, StorageFault> {
    let counted = transaction
        .open_table(tables::META)?
        .get(meta::DECISION_BYTES)?
        .map(|bytes| bytes.value());
    if let Some(bytes) = counted {
        return Ok(bytes);
    }
    let mut bytes = 0_u64;
    for entry in table.iter()? {
        let (_, value) = entry?;
        bytes = bytes.saturating_add(byte_count(value.value()));
    }
    Ok(bytes)
}

fn check_record(sequence: u64, value: &[u8], read_link: &ReadLink) -> Result<Link, &'static str> {
    let decision = split_decision(sequence, value).ok_or("it is too short")?;
    let link = read_link(&decision.bytes).ok_or("it is not a canonical record")?;
    if link.sequence != sequence {
        return Err("it states another sequence");
    }
    if link.hash != decision.hash {
        return Err("it does not have the hash it was stored with");
    }
    Ok(link)
}
