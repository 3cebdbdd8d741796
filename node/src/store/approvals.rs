//! Calls that are held until somebody approves them, as the node keeps them across a restart.
//!
//! What a row means is `crate::approvals`'; the store bounds how many there are and how large one is.
//! The table is opened only when something is written to it: most commits have nothing here.

use protocol::id::ApprovalId;
use redb::{ReadableTableMetadata as _, TableDefinition, WriteTransaction};

use super::snapshot::Snapshot;
use super::tables::Outcome;
use super::{StorageFault, StoreError};

/// Most held calls kept, settled ones included.
pub const MAX_APPROVALS: u64 = 768;

/// Largest one: what is shown of its parameters, its names, and the globs of those who may answer.
pub const MAX_APPROVAL_BYTES: usize = 128 * 1024;

/// Approval → what is kept of it, canonical CBOR.
const APPROVALS: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("approvals");

/// How many of `ids` are not there yet, and how many are.
pub(super) fn growth(
    transaction: &WriteTransaction,
    ids: &[ApprovalId],
) -> Result<(u64, u64), StorageFault> {
    if ids.is_empty() {
        return Ok((0, 0));
    }
    let table = transaction.open_table(APPROVALS)?;
    let mut new = 0;
    for id in ids {
        new += u64::from(redb::ReadableTable::get(&table, id.as_bytes())?.is_none());
    }
    Ok((new, table.len()?))
}

pub(super) fn put(
    transaction: &WriteTransaction,
    id: &ApprovalId,
    bytes: &[u8],
) -> Result<Outcome, StorageFault> {
    let mut table = transaction.open_table(APPROVALS)?;
    table.insert(id.as_bytes(), bytes)?;
    Ok(Outcome::Stored)
}

pub(super) fn remove(
    transaction: &WriteTransaction,
    id: &ApprovalId,
) -> Result<Outcome, StorageFault> {
    let mut table = transaction.open_table(APPROVALS)?;
    let gone = table.remove(id.as_bytes())?.is_some();
    Ok(Outcome::Removed(gone))
}

impl Snapshot {
    /// Every held call kept, by id; at most [`MAX_APPROVALS`].
    ///
    /// # Errors
    /// [`StoreError::Read`].
    pub fn approvals(&self) -> Result<Vec<(ApprovalId, Vec<u8>)>, StoreError> {
        self.every("approval", APPROVALS, |id, bytes| {
            Some((ApprovalId::from_bytes(*id), bytes.to_vec()))
        })
    }
}
