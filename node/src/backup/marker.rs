//! The mark a restored state directory bears until its node has heard of the present.
//!
//! A backup knows nothing of what came after it: who was revoked, which bundle is in force. Before
//! the node has synced with a peer it should therefore refuse calls; whoever composes it asks
//! [`Restored::pending`] at start and says [`Restored::done`] after the first sync, or at once
//! where its mesh has no other node, which it then says in its log.

use std::fs::File;
use std::path::{Path, PathBuf};

use protocol::codec;
use protocol::time::{UnixMillis, UnixSeconds};

use super::BackupError;
use super::make::write_private;
use crate::state_dir::StateDir;
use crate::state_dir::private::{self, PrivateError};

/// The marker's name in the state directory.
pub const MARKER: &str = "restored";

/// Largest marker read.
const MAX_MARKER_BYTES: usize = 1024;

/// What a restore leaves for the node to know.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Restored {
    /// When it was restored.
    #[n(1)]
    pub at: UnixSeconds,
    /// When the backup was made.
    #[n(2)]
    pub made: UnixSeconds,
    /// The greatest verified time of the backup and of what was there before it.
    #[n(3)]
    pub greatest_time: UnixMillis,
    /// The least sequence of the next membership issued here.
    #[n(4)]
    pub issuer_sequence: u64,
    /// The decision record that notes the restore.
    #[n(5)]
    pub decision: u64,
}

impl Restored {
    /// The marker, if the directory was restored and its node has not synced since.
    ///
    /// # Errors
    /// [`BackupError`] for a marker that cannot be read: the node must not start as if there were
    /// none.
    pub fn pending(dir: &StateDir) -> Result<Option<Self>, BackupError> {
        let path = path(dir.path());
        let bytes = match private::read_file(&path, MAX_MARKER_BYTES) {
            Ok(bytes) => bytes,
            Err(PrivateError::Missing { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        codec::decode(&bytes, MAX_MARKER_BYTES)
            .map(Some)
            .map_err(|_| BackupError::Marker(path))
    }

    /// Removes the marker: the node has synced, or nobody is there to sync with.
    ///
    /// # Errors
    /// [`BackupError::Write`].
    pub fn done(dir: &StateDir) -> Result<(), BackupError> {
        match std::fs::remove_file(path(dir.path())) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(BackupError::Write(error))
            }
            _ => sync(dir.path()),
        }
    }

    pub(super) fn leave(&self, state: &Path) -> Result<(), BackupError> {
        let path = path(state);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(BackupError::Write(error));
            }
            _ => {}
        }
        write_private(&path, &codec::encode(self))?;
        sync(state)
    }
}

fn path(state: &Path) -> PathBuf {
    state.join(MARKER)
}

/// Makes the names in a directory as durable as what they name.
pub(super) fn sync(dir: &Path) -> Result<(), BackupError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(BackupError::Write)
}
