//! Backups of the state directory that cannot roll trust back.
//!
//! A backup holds keys, so it is one file, sealed under a passphrase unless that is refused
//! explicitly, with the few files of a fixed list and the store: no path stands in it, so none can
//! lead elsewhere. [`make()`] works beside a running node (from a copy of the store that the node
//! made) and without one. [`restore()`] makes what was in a backup fit for the present: tickets are
//! void, sequences are ahead of whatever was used since, of trust documents the newer of both sides
//! are in force, and [`Restored`] marks the directory for a node that must hear of the present
//! before it takes calls. Neither needs the network.

use std::io;
use std::path::PathBuf;

use hedgerow_crypto::Primitives;
use protocol::crypto::CryptoError;
use protocol::id::{MeshId, NodeId};
use protocol::limits::MAX_DOCUMENT_BYTES;
use protocol::record::{DecisionRecord, chain_hash};
use protocol::trust::admission::MAX_ADMISSION_BYTES;

use crate::config::MAX_CONFIG_BYTES;
use crate::keys::MAX_KEY_FILE_BYTES;
use crate::roots::{MAX_ROOTS_BYTES, RootsError};
use crate::setup::SetupError;
use crate::state_dir::private::PrivateError;
use crate::state_dir::{RESTORE_UNDER_WAY, StateDirError};
use crate::store::{Link, OpenError, ReadLink, StoreError};

mod format;
mod make;
mod marker;
mod merge;
mod place;
mod restore;
#[cfg(test)]
mod tests;

pub use make::{Made, StoreFrom, copy_store, make};
pub use marker::{MARKER, Restored};
pub use restore::{Report, SEQUENCE_GAP, is_half_restored, restore};

/// Largest store in a backup: years of records of a busy node.
pub const MAX_STORE_BYTES: u64 = 64 * 1024 * 1024 * 1024;

/// The name of the store, the one entry that is not read into memory.
const STORE: &str = "store.redb";

/// The roots after the genesis.
const ROOTS: &str = "roots.cbor";

/// One entry there may be.
struct Entry {
    /// Its number in the file.
    kind: u8,
    /// Its path in the state directory.
    path: &'static str,
    /// Its bound in bytes.
    max: u64,
    /// Whether a backup without it is none.
    needed: bool,
}

/// Largest journal of an admin: a head with its signatures and one entry, in hexadecimal.
const MAX_JOURNAL_BYTES: usize = 64 * 1024;

/// Every entry, in the order of the file. Numbers are never used again.
const ENTRIES: [Entry; 18] = [
    entry(1, "config.toml", MAX_CONFIG_BYTES, false),
    entry(2, "keys/tls.key", MAX_KEY_FILE_BYTES, true),
    entry(3, "keys/signing.key", MAX_KEY_FILE_BYTES, true),
    entry(4, "keys/admin.key", MAX_KEY_FILE_BYTES, false),
    entry(5, "keys/admin.card", MAX_DOCUMENT_BYTES, false),
    entry(6, "keys/issuer.key", MAX_KEY_FILE_BYTES, false),
    entry(7, "keys/issuer.card", MAX_DOCUMENT_BYTES, false),
    entry(8, "keys/timestamper.key", MAX_KEY_FILE_BYTES, false),
    entry(9, "keys/timestamper.card", MAX_DOCUMENT_BYTES, false),
    Entry {
        kind: 10,
        path: STORE,
        max: MAX_STORE_BYTES,
        needed: true,
    },
    entry(11, "admission.cbor", MAX_ADMISSION_BYTES, false),
    entry(12, "root.cose", MAX_DOCUMENT_BYTES, true),
    entry(13, ROOTS, MAX_ROOTS_BYTES, false),
    entry(14, "membership.cose", MAX_DOCUMENT_BYTES, true),
    entry(15, place::JOURNAL, MAX_JOURNAL_BYTES, false),
    entry(16, "rotation/keys/tls.key", MAX_KEY_FILE_BYTES, false),
    entry(17, "rotation/keys/signing.key", MAX_KEY_FILE_BYTES, false),
    entry(18, "rotation/membership.cose", MAX_DOCUMENT_BYTES, false),
];

/// Names that belong to a process or to this module, of which nobody expects a backup.
const PASSING: [&str; 7] = [
    "lock",
    "control.sock",
    "mcp.sock",
    MARKER,
    restore::STAGING,
    RESTORE_UNDER_WAY,
    "restore-under-way.new",
];

const fn entry(kind: u8, path: &'static str, max: usize, needed: bool) -> Entry {
    Entry {
        kind,
        path,
        max: max as u64,
        needed,
    }
}

/// Why there is no backup, or why it was not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The state directory cannot be used.
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    /// A file in it is not private.
    #[error(transparent)]
    Private(#[from] PrivateError),
    /// Keys and documents do not make a node.
    #[error("what is in it makes no node: {0}")]
    Setup(#[from] SetupError),
    /// The roots do not follow one another.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// The store does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store, once open.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The backup cannot be opened.
    #[error("cannot read `{}`: {source}", path.display())]
    NotOpened {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file to write the backup to cannot be made.
    #[error("cannot write `{}`: {source}", path.display())]
    NotMade {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Reading failed.
    #[error("cannot read: {0}")]
    Read(io::Error),
    /// Writing failed.
    #[error("cannot write: {0}")]
    Write(io::Error),
    /// The backup could not be written to its end, as on a full disk.
    #[error("cannot write `{}`: {source}", path.display())]
    Unfinished {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No randomness.
    #[error(transparent)]
    Random(#[from] CryptoError),
    /// The library refused to seal or to make a key.
    #[error("sealing failed")]
    Sealing,
    /// Not enough memory for the passphrase's key.
    #[error("the passphrase's key needs {needed_kib} KiB of memory")]
    Memory {
        /// How much.
        needed_kib: u32,
    },
    /// The file is something else.
    #[error("this is no backup")]
    NotABackup,
    /// A later version made it.
    #[error("a version of hedgerow that is not this one made the backup")]
    UnknownVersion,
    /// It asks for an absurd key derivation.
    #[error("the backup's key derivation is refused: {0}")]
    Cost(&'static str),
    /// It is sealed and no passphrase was given.
    #[error("the backup is sealed")]
    NeedsPassphrase,
    /// The first frame does not open.
    #[error("the passphrase is not the backup's, or its first bytes were changed")]
    WrongPassphrase,
    /// Something in it was changed, lost or added.
    #[error("the backup is damaged: {0}")]
    Damaged(&'static str),
    /// An entry is larger than anything of its kind.
    #[error("`{entry}` has more than {max} bytes")]
    TooLarge {
        /// The entry.
        entry: &'static str,
        /// Its bound.
        max: u64,
    },
    /// An entry without which there is no node is not there.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// A file changed its size while it was read.
    #[error("`{0}` changed while it was read")]
    Changed(&'static str),
    /// The backup is of another node than it says.
    #[error("the backup says it is of node {stated}, its keys are of node {found}")]
    Misnamed {
        /// What it says.
        stated: NodeId,
        /// Whose keys are in it.
        found: NodeId,
    },
    /// There is something where it would go.
    #[error("`{}` is not empty", .0.display())]
    Occupied(PathBuf),
    /// What would be replaced is another node.
    #[error("`{}` holds node {found}, the backup is of node {stated}", path.display())]
    OtherNode {
        /// The state directory.
        path: PathBuf,
        /// Who is there.
        found: NodeId,
        /// Whose backup it is.
        stated: NodeId,
    },
    /// What would be replaced is in another mesh.
    #[error("`{}` is in mesh {found}, the backup is of mesh {stated}", path.display())]
    OtherMesh {
        /// The state directory.
        path: PathBuf,
        /// Its mesh.
        found: MeshId,
        /// The backup's.
        stated: MeshId,
    },
    /// What is there cannot be read, so that nothing can be kept of it.
    #[error("what is in `{}` cannot be read: {why}", path.display())]
    Unreadable {
        /// The state directory.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The trust documents kept in the backup.
    #[error("the trust documents in the backup cannot be used: {0}")]
    Trust(String),
    /// The marker of a restored directory cannot be read.
    #[error("`{}` is no marker of a restore", .0.display())]
    Marker(PathBuf),
}

impl BackupError {
    /// The stable name.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::StateDir(_) | Self::Private(_) => "state_directory",
            Self::Setup(_) | Self::Roots(_) => "no_node",
            Self::Open(_) | Self::Store(_) => "store",
            Self::Read(_) | Self::NotOpened { .. } => "unreadable",
            Self::Write(_) | Self::NotMade { .. } | Self::Unfinished { .. } => "unwritable",
            Self::Random(_) => "no_randomness",
            Self::Sealing => "sealing_failed",
            Self::Memory { .. } => "no_memory",
            Self::NotABackup => "not_a_backup",
            Self::UnknownVersion => "unknown_version",
            Self::Cost(_) => "absurd_derivation",
            Self::NeedsPassphrase => "passphrase_missing",
            Self::WrongPassphrase => "wrong_passphrase",
            Self::Damaged(_) => "damaged",
            Self::TooLarge { .. } => "too_large",
            Self::Missing(_) => "incomplete",
            Self::Changed(_) => "changed",
            Self::Misnamed { .. } => "misnamed",
            Self::Occupied(_) => "occupied",
            Self::OtherNode { .. } => "other_node",
            Self::OtherMesh { .. } => "other_mesh",
            Self::Unreadable { .. } => "old_state_unreadable",
            Self::Trust(_) => "trust_unreadable",
            Self::Marker(_) => "bad_marker",
        }
    }

    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::StateDir(e) => return e.hint(),
            Self::Private(e) => return e.hint(),
            Self::Setup(e) => return e.hint(),
            Self::Open(e) => return e.hint(),
            Self::Store(e) => return e.hint().map(str::to_owned),
            Self::UnknownVersion => "use the version that made it, or a newer one",
            Self::NeedsPassphrase => "set `HEDGEROW_PASSPHRASE` or give `--passphrase-file`",
            Self::WrongPassphrase => "try the passphrase once more, then another backup",
            // What came before it opened, so the passphrase is right.
            Self::Damaged(_) | Self::Missing(_) | Self::Trust(_) => {
                "use another backup, or another copy of this one"
            }
            Self::NotMade { source, .. } if source.kind() == io::ErrorKind::AlreadyExists => {
                "nothing is overwritten: name another file"
            }
            Self::Occupied(_) => {
                "restore into an empty directory, or replace the node there with `--replace`"
            }
            Self::OtherNode { .. } | Self::OtherMesh { .. } => {
                "restore it into a state directory of its own with `--state-dir`"
            }
            Self::Unreadable { .. } => {
                "move the directory away and restore into an empty one; the node then hears from its peers what came since"
            }
            Self::Changed(_) => "make the backup again",
            Self::Marker(_) => "restore the directory again",
            _ => return None,
        };
        Some(text.to_owned())
    }
}

/// How decision records hang together.
pub(crate) fn read_link() -> ReadLink {
    Box::new(|bytes| {
        let record = DecisionRecord::decode(bytes).ok()?;
        Some(Link {
            sequence: record.sequence,
            previous: record.previous,
            hash: chain_hash(&Primitives, bytes),
        })
    })
}
