//! The store as `enforce` and the composition root use it, and what the transport refuses as
//! `enforce` records it.

use std::sync::Arc;

use async_trait::async_trait;
use protocol::crypto::Crypto;
use protocol::envelope::replay::Reservation;
use protocol::id::NodeId;
use protocol::record::{DecisionRecord, chain_hash};
use protocol::time::{UnixMillis, UnixSeconds};

use crate::config::DecisionsSection;
use crate::enforcement::{Enforcer, Ledger, LedgerError};
use crate::overlay::MeshAdmission;
use crate::page::Tail;
use crate::store::{Link, Outcome, PRUNE_AT_ONCE, Prune, ReadLink, Store, StoreError, Write};
use crate::transport::{Admission, PeerIdentity, Refusal};

/// Decisions and reservations in the store.
pub(crate) struct StoreLedger {
    store: Store,
    crypto: Arc<dyn Crypto>,
    /// Told every record as it is written.
    tail: Arc<Tail>,
}

impl StoreLedger {
    pub(crate) const fn new(store: Store, crypto: Arc<dyn Crypto>, tail: Arc<Tail>) -> Self {
        Self {
            store,
            crypto,
            tail,
        }
    }

    fn decision(&self, mut record: DecisionRecord) -> Write {
        let (crypto, tail) = (Arc::clone(&self.crypto), Arc::clone(&self.tail));
        Write::Decision(Box::new(move |sequence, previous| {
            record.sequence = sequence;
            record.previous = previous;
            let bytes = record.encode();
            let hash = chain_hash(&*crypto, &bytes);
            tail.saw(&record);
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

/// Which decision records are forgotten, and when.
pub(super) struct Retention {
    /// Milliseconds a record is kept.
    pub(super) keep_ms: u64,
    /// Most bytes of records.
    pub(super) keep_bytes: u64,
}

impl Retention {
    /// What the configuration says.
    pub(super) fn of(config: &DecisionsSection) -> Self {
        Self {
            keep_ms: config.keep_ms(),
            keep_bytes: config.max_bytes(),
        }
    }

    /// Forgets what need not be kept at `now`, in bounded steps between which the writer serves
    /// others. Returns how many records went.
    pub(super) async fn apply(&self, store: &Store, now: UnixMillis) -> Result<u64, StoreError> {
        let before = UnixMillis(now.0.saturating_sub(self.keep_ms));
        let mut pruned = 0_u64;
        loop {
            let prune = Prune {
                keep_bytes: self.keep_bytes,
                expired: Box::new(move |bytes| {
                    DecisionRecord::decode(bytes).is_ok_and(|record| record.time < before)
                }),
            };
            let outcomes = store.durable(vec![Write::PruneDecisions(prune)]).await?;
            let Some(Outcome::Pruned(count)) = outcomes.first() else {
                return Ok(pruned);
            };
            pruned = pruned.saturating_add(u64::try_from(*count).unwrap_or(u64::MAX));
            if *count < PRUNE_AT_ONCE {
                return Ok(pruned);
            }
        }
    }
}

/// How decision records hang together, for the check when the store is opened.
pub fn read_link(crypto: Arc<dyn Crypto>) -> ReadLink {
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
