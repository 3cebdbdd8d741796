//! When this node signs a timestamp, if it is a timestamper: often enough that no lease runs out
//! while one of several is down, and shortly after anything changes.

use std::time::Duration;

use hedgerow_crypto::SigningKeys;
use protocol::crypto::{Crypto, CryptoError, Signer as _};
use protocol::time::UnixSeconds;
use protocol::trust::{Document, TrustState};
use tokio::time::Instant;

/// Longest pause between two timestamps.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Timestamps in one lease: with so many, several may be lost in a row.
const PER_LEASE: u32 = 8;

/// The pause after a change, so that several at once are one timestamp.
const AFTER_CHANGE: Duration = Duration::from_secs(1);

/// The timestamper of this node.
pub(super) struct Stamp {
    keys: Option<SigningKeys>,
    due: Option<Instant>,
}

impl Stamp {
    pub(super) const fn new(keys: Option<SigningKeys>) -> Self {
        Self { keys, due: None }
    }

    /// With this key from now on.
    pub(super) fn sign_with(&mut self, keys: SigningKeys) {
        self.keys = Some(keys);
        self.soon();
    }

    /// When the next is due; never on a host that is no timestamper.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.filter(|_| self.keys.is_some())
    }

    pub(super) fn is_due(&self) -> bool {
        self.due().is_some_and(|due| due <= Instant::now())
    }

    pub(super) fn due_now(&mut self) {
        self.due = Some(Instant::now());
    }

    /// It cannot be signed now; it is tried again.
    pub(super) fn soon_again(&mut self) {
        self.due = Some(Instant::now() + AFTER_CHANGE);
    }

    /// Something changed.
    pub(super) fn soon(&mut self) {
        let soon = Instant::now() + AFTER_CHANGE;
        self.due = Some(self.due.map_or(soon, |due| due.min(soon)));
    }

    /// Signs a timestamp of `state`, unless the root in force names another timestamper, and sets
    /// when the next is due.
    pub(super) fn sign(
        &mut self,
        crypto: &dyn Crypto,
        state: &TrustState,
        now: UnixSeconds,
        nodes: u64,
    ) -> Result<Option<Document>, CryptoError> {
        let root = state.root();
        let lease = Duration::from_secs(root.root().lease_s);
        self.due = Some(Instant::now() + LONGEST_PAUSE.min(lease / PER_LEASE));
        let Some(keys) = &self.keys else {
            return Ok(None);
        };
        if !root.root().timestampers.contains(keys.public()) {
            return Ok(None);
        }
        let timestamp = state.draft_timestamp(keys.public().id(crypto), now, nodes);
        let signed = timestamp.sign(crypto, keys)?;
        Ok(Some(Document::Timestamp(signed.into())))
    }
}
