//! A consistent copy of the file while the node runs, for backups.
//!
//! The copy is made of bytes, not of tables, so that no table can be forgotten. While a write
//! transaction is held nothing is written: what is then on disk is the last commit, in the state a
//! process killed at that moment would leave, which opening repairs. Writers wait meanwhile; the
//! kernel copies, and shares the blocks where the file system can.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::PoisonError;

use super::{StorageFault, Store, StoreError};

impl Store {
    /// Copies the store, whose file is `from`, to a new file `to`, 0600, and returns its size.
    /// Blocks, and with it every write, for as long as the copying takes.
    ///
    /// # Errors
    /// [`StoreError::Closed`]; [`StoreError::Read`] for whatever keeps the copy from being made,
    /// of which nothing then stays.
    pub fn copy(&self, from: &Path, to: &Path) -> Result<u64, StoreError> {
        let guard = self
            .shared
            .database
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let database = guard.as_ref().ok_or(StoreError::Closed)?;
        let still = database
            .begin_write()
            .map_err(|e| StoreError::Read(e.into()))?;
        let copied = copy_file(from, to);
        let copied = copied.map_err(|error| StoreError::Read(StorageFault::of_io(&error)));
        // Nothing was changed in it.
        let ended = still.abort().map_err(|e| StoreError::Read(e.into()));
        let bytes = copied?;
        ended.map(|()| bytes)
    }
}

fn copy_file(from: &Path, to: &Path) -> io::Result<u64> {
    let mut source = File::open(from)?;
    let mut target = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)?;
    let copied = io::copy(&mut source, &mut target).and_then(|bytes| {
        target.sync_all()?;
        Ok(bytes)
    });
    if copied.is_err() {
        // The error to tell is the first one.
        let _ = std::fs::remove_file(to);
    }
    copied
}
