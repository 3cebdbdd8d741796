//! The store as `enforce` and the composition root use it, and what the transport refuses as
//! `enforce` records it.

use std::sync::Arc;

use async_trait::async_trait;
use protocol::crypto::Crypto;
use protocol::envelope::replay::Reservation;
use protocol::id::NodeId;
use protocol::record::{DecisionRecord, chain_hash};
use protocol::time::{UnixMillis, UnixSeconds};

use crate::enforcement::{Enforcer, Ledger, LedgerError};
use crate::overlay::MeshAdmission;
use crate::store::{Link, ReadLink, Store, StoreError, Write};
use crate::transport::{Admission, PeerIdentity, Refusal};

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

/// Admission whose refusals are recorded.
pub(super) struct RecordedAdmission {
    pub(super) admission: Arc<MeshAdmission>,
    pub(super) enforcer: Arc<Enforcer>,
}

#[async_trait]
impl Admission for RecordedAdmission {
    fn hello(&self) -> Vec<u8> {
        self.admission.hello()
    }

    fn admit(&self, peer: &PeerIdentity, hello: &[u8]) -> Result<(), Refusal> {
        self.admission.admit(peer, hello)
    }

    async fn refused(&self, peer: NodeId, reason: &str) {
        self.enforcer.refused_on_link(peer, reason).await;
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
