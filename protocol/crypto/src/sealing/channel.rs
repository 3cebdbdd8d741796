//! Both ways of a sealed call: the HPKE context forward, a key from its exporter back.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use protocol::crypto::sealing::{SEALING_TAG_LEN, SealedChannel, Way};
use protocol::crypto::{CryptoError, domain};

use super::hpke::{HpkeSuite, NONCE_LEN, Schedule};

/// One way: an AES-256-GCM key and the nonce that sequences are mixed into (RFC 9180 §5.2).
struct OneWay {
    key: LessSafeKey,
    base_nonce: [u8; NONCE_LEN],
}

/// Both.
pub(super) struct Channel {
    forward: OneWay,
    back: OneWay,
}

impl Channel {
    pub(super) fn new(
        suite: &HpkeSuite,
        shared_secret: &[u8],
        info: &[u8],
    ) -> Result<Self, CryptoError> {
        let schedule = Schedule::base(suite, shared_secret, info)?;
        let reply = schedule.export(domain::SEALED_REPLY_KEY.as_bytes(), suite.key_len)?;
        let nonce = schedule.export(domain::SEALED_REPLY_NONCE.as_bytes(), NONCE_LEN)?;
        let nonce = nonce.as_slice();
        Ok(Self {
            forward: OneWay::new(&schedule.key, schedule.base_nonce)?,
            back: OneWay::new(&reply, nonce.try_into().map_err(|_| CryptoError::BadKey)?)?,
        })
    }

    const fn way(&self, way: Way) -> &OneWay {
        match way {
            Way::Forward => &self.forward,
            Way::Back => &self.back,
        }
    }
}

impl OneWay {
    fn new(key: &[u8], base_nonce: [u8; NONCE_LEN]) -> Result<Self, CryptoError> {
        let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| CryptoError::BadKey)?;
        let key = LessSafeKey::new(key);
        Ok(Self { key, base_nonce })
    }

    /// `ComputeNonce`: the base nonce XOR the sequence, big-endian.
    fn nonce(&self, sequence: u64) -> Nonce {
        let mut nonce = self.base_nonce;
        let low = nonce.iter_mut().rev();
        for (byte, mixed) in low.zip(sequence.to_be_bytes().into_iter().rev()) {
            *byte ^= mixed;
        }
        Nonce::assume_unique_for_key(nonce)
    }
}

impl SealedChannel for Channel {
    fn seal(
        &self,
        way: Way,
        sequence: u64,
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        let way = self.way(way);
        let mut sealed = Vec::with_capacity(plaintext.len() + SEALING_TAG_LEN);
        sealed.extend_from_slice(plaintext);
        let nonce = way.nonce(sequence);
        way.key
            .seal_in_place_append_tag(nonce, Aad::from(aad), &mut sealed)
            .map_err(|_| CryptoError::BadSealed)?;
        Ok(sealed)
    }

    fn open(
        &self,
        way: Way,
        sequence: u64,
        aad: &[u8],
        ciphertext: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        let way = self.way(way);
        let mut opened = ciphertext.to_vec();
        let nonce = way.nonce(sequence);
        let length = way
            .key
            .open_in_place(nonce, Aad::from(aad), &mut opened)
            .map_err(|_| CryptoError::BadSealed)?
            .len();
        opened.truncate(length);
        Ok(opened)
    }
}
