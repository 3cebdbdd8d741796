//! The store as `enforce` and the composition root use it.

use std::sync::Arc;

use async_trait::async_trait;
use protocol::crypto::Crypto;
use protocol::envelope::replay::Reservation;
use protocol::record::{DecisionRecord, chain_hash};
use protocol::time::{UnixMillis, UnixSeconds};

use crate::enforcement::{Ledger, LedgerError};
use crate::store::{Link, ReadLink, Store, StoreError, Write};

/// Decisions and reservations in the store.
pub(super) struct StoreLedger {
    store: Store,
    crypto: Arc<dyn Crypto>,
}

impl StoreLedger {
    pub(super) const fn new(store: Store, crypto: Arc<dyn Crypto>) -> Self {
        Self { store, crypto }
    }

    fn decision(&self, mut record: DecisionRecord) -> Write {
        let crypto = Arc::clone(&self.crypto);
        Write::Decision(Box::new(move |sequence, previous| {
            record.sequence = sequence;
            record.previous = previous;
            let bytes = record.encode();
            let hash = chain_hash(&*crypto, &bytes);
            (bytes, hash)
        }))
    }
}

/// How decision records hang together, for the check when the store is opened.
pub(super) fn read_link(crypto: Arc<dyn Crypto>) -> ReadLink {
    Box::new(move |bytes| {
        let record = DecisionRecord::decode(bytes).ok()?;
        let hash = chain_hash(&*crypto, bytes);
        Some(Link {
            sequence: record.sequence,
            previous: record.previous,
            hash,
        })
    })
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "used as a function in map_err"
)]
fn failed(error: StoreError) -> LedgerError {
    LedgerError(error.to_string())
}

#[async_trait]
impl Ledger for StoreLedger {
    async fn reserve(
        &self,
        reservation: &Reservation,
        greatest: UnixSeconds,
    ) -> Result<(), LedgerError> {
        let Reservation { issuer, until } = *reservation;
        let writes = vec![
            Write::ReplayFloor { issuer, until },
            Write::GreatestTime(UnixMillis(greatest.0.saturating_mul(1000))),
        ];
        self.store.durable(writes).await.map(drop).map_err(failed)
    }

    async fn record(&self, record: DecisionRecord, durable: bool) -> Result<(), LedgerError> {
        let write = self.decision(record);
        if durable {
            self.store
                .durable(vec![write])
                .await
                .map(drop)
                .map_err(failed)
        } else {
            self.store.lazy(write).await.map_err(failed)
        }
    }
}
