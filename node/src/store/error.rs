//! Why the store was not opened, and why a write or a read failed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::state_dir::private::{PrivateError, io_hint};

/// What went wrong underneath, by what the operator can do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StorageFault {
    /// No space, or a quota is exhausted.
    #[error("no space is left on the device")]
    Full,
    /// The file system does not take writes.
    #[error("the file system is read-only")]
    ReadOnly,
    /// No permission.
    #[error("permission denied")]
    Denied,
    /// What is in the file is not what was written.
    #[error("the file is corrupt: {0}")]
    Corrupt(String),
    /// Any other failure of the device or the operating system.
    #[error("input or output failed: {0}")]
    Io(String),
}

impl StorageFault {
    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Full => "free space on its file system, then start the node again",
            Self::ReadOnly => {
                "mount its file system writable, or choose another state directory, then start the node again"
            }
            Self::Denied => "let this user read and write the state directory",
            Self::Corrupt(_) => {
                "restore it from a backup, or move it away to begin anew: agents and servers must then be added again"
            }
            Self::Io(_) => "check the disk and the kernel's log, then start the node again",
        }
    }

    pub(super) fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            io::ErrorKind::PermissionDenied => Self::Denied,
            // redb reports a file shorter than its header says, or with another magic, so.
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                Self::Corrupt(error.to_string())
            }
            _ => Self::Io(error.to_string()),
        }
    }
}

/// Any of redb's errors, reduced to a fault.
impl From<redb::Error> for StorageFault {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::Io(io) => Self::of_io(&io),
            redb::Error::PreviousIo => Self::Io("an earlier write failed".to_owned()),
            redb::Error::Corrupted(what) => Self::Corrupt(one_line(&what)),
            other => Self::Corrupt(one_line(&other.to_string())),
        }
    }
}

macro_rules! through_redb_error {
    ($($error:ty),*) => {
        $(impl From<$error> for StorageFault {
            fn from(error: $error) -> Self {
                redb::Error::from(error).into()
            }
        })*
    };
}

through_redb_error!(
    redb::StorageError,
    redb::TableError,
    redb::TransactionError,
    redb::CommitError
);

/// A message of another library on one line of bounded length.
pub(super) fn one_line(text: &str) -> String {
    const MAX: usize = 200;
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX)
        .collect()
}

/// The text of a panic, on one line.
pub(super) fn panic_text(panic: &(dyn core::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    one_line(text.unwrap_or("an assertion failed"))
}

/// Why the store was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("the store `{}` is open in another process", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// It is readable by others, another user's, a link, or no regular file.
    #[error("the store cannot be used: {0}")]
    Private(#[from] PrivateError),
    /// Its directory does not exist or takes no new file.
    #[error("cannot create the store `{}`: {source}", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A newer version of the program wrote it.
    #[error("the store `{}` has format {found}, this program knows up to {known}", path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// The format found.
        found: u64,
        /// The newest format known.
        known: u64,
    },
    /// The file could not be read or repaired.
    #[error("cannot open the store `{}`: {fault}", path.display())]
    Fault {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        fault: StorageFault,
    },
    /// The chain of decision records does not hold.
    #[error("the decision records in `{}` are broken at sequence {sequence}: {what}", path.display())]
    BrokenChain {
        /// The file.
        path: PathBuf,
        /// The first record that does not fit.
        sequence: u64,
        /// What does not fit.
        what: &'static str,
    },
    /// The writer's thread could not be started.
    #[error("cannot start the store's writer: {0}")]
    Thread(io::Error),
}

impl OpenError {
    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::InUse { .. } => Some("stop the other node on this state directory".to_owned()),
            Self::Private(inner) => inner.hint(),
            Self::Create { path, source } => io_hint(path.parent().unwrap_or(path), source),
            Self::NewerFormat { .. } => {
                Some("use the version of hedgerow that wrote it, or a newer one".to_owned())
            }
            Self::Fault { fault, .. } => Some(fault.hint().to_owned()),
            Self::BrokenChain { path, .. } => Some(format!(
                "keep `{}` as evidence and restore it from a backup: records were removed or changed",
                path.display()
            )),
            Self::Thread(_) => None,
        }
    }

    pub(super) fn of_database(path: &Path, error: redb::DatabaseError) -> Self {
        let path = path.to_owned();
        match error {
            redb::DatabaseError::DatabaseAlreadyOpen
            | redb::DatabaseError::LockProtocolMismatch => Self::InUse { path },
            redb::DatabaseError::Storage(error) => Self::Fault {
                path,
                fault: error.into(),
            },
            other => Self::Fault {
                path,
                fault: StorageFault::Corrupt(one_line(&other.to_string())),
            },
        }
    }

    pub(super) fn fault(path: &Path, fault: impl Into<StorageFault>) -> Self {
        Self::Fault {
            path: path.to_owned(),
            fault: fault.into(),
        }
    }
}

/// Why a write was not made, or a read not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// An earlier commit failed. What is on disk is the last acknowledged state; until the store
    /// is opened again nothing more is written, because nothing more could be promised.
    #[error("the store takes no writes since a commit failed: {0}")]
    Failed(Arc<StorageFault>),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// One value is larger than its kind may be; nothing of the request was written.
    #[error("a {table} entry has at most {max} bytes, this one has {found}")]
    TooLarge {
        /// The table.
        table: &'static str,
        /// The bound in bytes.
        max: usize,
        /// Bytes found.
        found: usize,
    },
    /// One request has more writes than fit a transaction; nothing of it was written.
    #[error("at most {max} writes at once, these are {found}")]
    TooMany {
        /// The bound.
        max: usize,
        /// Writes found.
        found: usize,
    },
    /// A table is full; nothing of the request was written.
    #[error("the store holds at most {max} {table} entries")]
    TableFull {
        /// The table.
        table: &'static str,
        /// The bound.
        max: u64,
    },
    /// Making a decision record panicked, which is a bug; nothing of the request was written.
    #[error("a decision record could not be made: {what}")]
    RecordFailed {
        /// What the panic said.
        what: Arc<str>,
    },
    /// An entry is not what this program writes.
    #[error("a {table} entry of the store is malformed")]
    Malformed {
        /// The table.
        table: &'static str,
    },
    /// A read failed.
    #[error("cannot read the store: {0}")]
    Read(StorageFault),
}

impl StoreError {
    /// The stable name of the reason, for counters and error data.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Failed(_) => "store_failed",
            Self::Closed => "store_closed",
            Self::TooLarge { .. } => "store_entry_too_large",
            Self::TooMany { .. } => "store_too_many_writes",
            Self::TableFull { .. } => "store_table_full",
            Self::RecordFailed { .. } => "store_record_failed",
            Self::Malformed { .. } => "store_entry_malformed",
            Self::Read(_) => "store_read_failed",
        }
    }

    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Failed(fault) => Some(fault.hint()),
            Self::Read(fault) => Some(fault.hint()),
            Self::Malformed { .. } => Some("restore the store from a backup"),
            _ => None,
        }
    }
}
