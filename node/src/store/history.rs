//! Bundles that were in force here, so that one can be looked at and its content signed again.
//!
//! Bounded in number and in bytes: the oldest go. They decide nothing; the bundle in force is kept
//! with the trust documents.

use redb::{ReadableTable as _, TableDefinition, WriteTransaction};

use super::snapshot::Snapshot;
use super::{StorageFault, StoreError};

/// Most bundles kept, the one in force included.
pub const MAX_PAST_BUNDLES: usize = 32;

/// Most bytes of bundles kept. The one in force stays, however large it is.
pub const MAX_PAST_BYTES: usize = 64 * 1024 * 1024;

/// Version → the bundle, as whoever keeps it encodes it.
const PAST_BUNDLES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("past_bundles");

/// Keeps a bundle, and forgets what is too old or too much.
pub(super) fn put(
    transaction: &WriteTransaction,
    version: u64,
    bytes: &[u8],
) -> Result<(), StorageFault> {
    let mut table = transaction.open_table(PAST_BUNDLES)?;
    table.insert(version, bytes)?;
    let (mut count, mut held) = (0_usize, 0_usize);
    let mut gone = Vec::new();
    for entry in table.iter()?.rev() {
        let (kept, bytes) = entry?;
        count += 1;
        held = held.saturating_add(bytes.value().len());
        let over = count > MAX_PAST_BUNDLES || held > MAX_PAST_BYTES;
        // After a new epoch of the root versions begin again: the one in force may be the least.
        if over && kept.value() != version {
            gone.push(kept.value());
        }
    }
    for version in gone {
        table.remove(version)?;
    }
    Ok(())
}

impl Snapshot {
    /// The bundles kept that were in force here, the oldest first.
    ///
    /// # Errors
    /// [`StoreError::Read`].
    pub fn past_bundles(&self) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        self.every("past bundle", PAST_BUNDLES, |version, bytes| {
            Some((version, bytes.to_vec()))
        })
    }

    /// One of them.
    ///
    /// # Errors
    /// [`StoreError::Read`].
    pub fn past_bundle(&self, version: u64) -> Result<Option<Vec<u8>>, StoreError> {
        self.one("past bundle", PAST_BUNDLES, version, |bytes| {
            Some(bytes.to_vec())
        })
    }
}
