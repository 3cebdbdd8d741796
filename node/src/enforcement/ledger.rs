//! Where decisions and reservations are kept: the store, behind what `enforce` needs of it.

use async_trait::async_trait;
use protocol::envelope::replay::Reservation;
use protocol::record::DecisionRecord;
use protocol::time::UnixSeconds;

/// The store did not take a write; what depended on it is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LedgerError(pub String);

/// What `enforce` writes.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Makes a replay reservation, and the greatest time accepted so far, durable.
    ///
    /// # Errors
    /// [`LedgerError`]; the envelope that needed it is refused.
    async fn reserve(
        &self,
        reservation: &Reservation,
        greatest: UnixSeconds,
    ) -> Result<(), LedgerError>;

    /// Appends a decision record; its sequence and previous hash are set by the writer. With
    /// `durable` it returns after the record is on disk, otherwise the record follows with the
    /// next group commit.
    ///
    /// # Errors
    /// [`LedgerError`]; what was decided must not take effect.
    async fn record(&self, record: DecisionRecord, durable: bool) -> Result<(), LedgerError>;
}
