//! This node's sealing keys: what is sealed to it on its way over relays opens with these.
//!
//! A key serves [`KEY_LIFE_S`] and stays until nothing sealed to it can still come. Keys are drawn
//! at start and held in memory only: they have no stored form, so that what was sealed to one
//! cannot be opened once the key is gone. A caller that has only the record of before a restart is
//! refused by name (`sealing_key_unknown`) before anything acts on its message.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hedgerow_crypto::SealingKey;
use protocol::crypto::sealing::Opener as _;
use protocol::crypto::{Crypto, CryptoError};
use protocol::envelope::sealing::key_digest;
use protocol::id::Digest;
use protocol::limits::{MAX_CLOCK_AHEAD_S, MAX_ENVELOPE_LIFE_S};
use protocol::time::UnixSeconds;
use protocol::trust::node_record::MAX_RECORD_LIFE_S;

/// How long a key is announced, in seconds.
pub const KEY_LIFE_S: u64 = 24 * 3600;

/// How long after it was last announced a key is kept, in seconds: the record that names it holds
/// so long, the envelope sealed then so long, by clocks that differ so much.
pub const KEPT_S: u64 = MAX_RECORD_LIFE_S + MAX_ENVELOPE_LIFE_S + 2 * MAX_CLOCK_AHEAD_S;

struct Kept {
    key: Arc<SealingKey>,
    digest: Digest,
    /// When it was first announced; not yet at all.
    since: Option<UnixSeconds>,
    /// When it was last announced.
    last: UnixSeconds,
}

impl Kept {
    fn draw(crypto: &dyn Crypto) -> Result<Self, CryptoError> {
        let key = SealingKey::generate(crypto)?;
        Ok(Self {
            digest: key_digest(crypto, key.public()),
            key: Arc::new(key),
            since: None,
            last: UnixSeconds(0),
        })
    }
}

/// The keys, the newest last.
pub struct SealingKeys(Mutex<Vec<Kept>>);

impl SealingKeys {
    /// One new key.
    ///
    /// # Errors
    /// [`CryptoError`] without randomness.
    pub fn generate(crypto: &dyn Crypto) -> Result<Self, CryptoError> {
        Ok(Self(Mutex::new(vec![Kept::draw(crypto)?])))
    }

    /// The public key to announce at `now`. Rotates it when its time is over, and forgets those
    /// nothing can be sealed to any more.
    ///
    /// # Errors
    /// [`CryptoError`] without randomness.
    pub fn announce(&self, crypto: &dyn Crypto, now: UnixSeconds) -> Result<Vec<u8>, CryptoError> {
        let mut keys = self.keys();
        let over = |k: &Kept| k.since.is_some_and(|since| now >= since.plus(KEY_LIFE_S));
        if keys.last().is_none_or(over) {
            keys.push(Kept::draw(crypto)?);
        }
        let newest = keys.len().saturating_sub(1);
        let mut at = 0;
        keys.retain(|kept| {
            at += 1;
            at > newest || now < kept.last.plus(KEPT_S)
        });
        let kept = keys.last_mut().ok_or(CryptoError::BadKey)?;
        kept.since.get_or_insert(now);
        kept.last = kept.last.max(now);
        Ok(kept.key.public().to_vec())
    }

    /// The key of this digest, if it is kept still.
    #[must_use]
    pub fn find(&self, digest: &Digest) -> Option<Arc<SealingKey>> {
        let keys = self.keys();
        let found = keys.iter().find(|kept| kept.digest == *digest);
        found.map(|kept| Arc::clone(&kept.key))
    }

    fn keys(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use hedgerow_crypto::Primitives;

    use super::*;

    #[test]
    fn keys_rotate_daily_and_stay_until_nothing_is_sealed_to_them() {
        let keys = SealingKeys::generate(&Primitives).unwrap();
        let at = |s| keys.announce(&Primitives, UnixSeconds(s)).unwrap();
        let known = |public: &[u8]| keys.find(&key_digest(&Primitives, public)).is_some();
        let start = 1_000_000;
        let first = at(start);
        let last = start + KEY_LIFE_S - 1;
        assert_eq!(at(last), first);
        let second = at(start + KEY_LIFE_S);
        assert_ne!(second, first);
        assert!(known(&first) && known(&second));
        assert_eq!(at(last + KEPT_S - 1), second);
        assert!(known(&first));
        assert_eq!(at(last + KEPT_S), second);
        assert!(!known(&first) && known(&second));
    }
}
