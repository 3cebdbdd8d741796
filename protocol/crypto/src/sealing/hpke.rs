//! The key schedule of HPKE (RFC 9180 §5.1) in base mode, over HKDF-SHA256 (RFC 5869).
//!
//! The suite's identifiers are arguments, so that the schedule is checked against the RFC's own
//! vectors, which have another KEM than ours.

use aws_lc_rs::hmac;
use protocol::crypto::CryptoError;
use zeroize::Zeroizing;

/// `mode_base` (RFC 9180 §5, table 1).
const MODE_BASE: u8 = 0;

/// Bytes of SHA-256.
const HASH_LEN: usize = 32;

/// Bytes of a GCM nonce.
pub(super) const NONCE_LEN: usize = 12;

/// KEM, KDF and AEAD by their registered numbers, and what the AEAD needs.
pub(super) struct HpkeSuite {
    pub(super) kem: u16,
    pub(super) kdf: u16,
    pub(super) aead: u16,
    pub(super) key_len: usize,
}

/// X-Wing (0x647a), HKDF-SHA256 (1), AES-256-GCM (2).
pub(super) const SUITE: HpkeSuite = HpkeSuite {
    kem: 0x647a,
    kdf: 1,
    aead: 2,
    key_len: 32,
};

/// What the schedule gives.
pub(super) struct Schedule<'s> {
    suite: &'s HpkeSuite,
    pub(super) key: Zeroizing<Vec<u8>>,
    pub(super) base_nonce: [u8; NONCE_LEN],
    pub(super) exporter_secret: Zeroizing<Vec<u8>>,
}

impl<'s> Schedule<'s> {
    /// `KeySchedule(mode_base, shared_secret, info, "", "")`.
    pub(super) fn base(
        suite: &'s HpkeSuite,
        shared_secret: &[u8],
        info: &[u8],
    ) -> Result<Self, CryptoError> {
        let psk_id_hash = suite.extract(&[], b"psk_id_hash", &[]);
        let info_hash = suite.extract(&[], b"info_hash", info);
        let context = [&[MODE_BASE], psk_id_hash.as_slice(), info_hash.as_slice()].concat();
        let secret = suite.extract(shared_secret, b"secret", &[]);
        let nonce = suite.expand(&secret, b"base_nonce", &context, NONCE_LEN)?;
        Ok(Self {
            suite,
            key: suite.expand(&secret, b"key", &context, suite.key_len)?,
            base_nonce: nonce
                .as_slice()
                .try_into()
                .map_err(|_| CryptoError::BadKey)?,
            exporter_secret: suite.expand(&secret, b"exp", &context, HASH_LEN)?,
        })
    }

    /// `Context.Export(exporter_context, length)` (§5.3).
    pub(super) fn export(
        &self,
        context: &[u8],
        length: usize,
    ) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        self.suite
            .expand(&self.exporter_secret, b"sec", context, length)
    }
}

impl HpkeSuite {
    fn id(&self) -> [u8; 10] {
        let [a, b] = self.kem.to_be_bytes();
        let [c, d] = self.kdf.to_be_bytes();
        let [e, f] = self.aead.to_be_bytes();
        [b'H', b'P', b'K', b'E', a, b, c, d, e, f]
    }

    /// `LabeledExtract` (§4).
    fn extract(&self, salt: &[u8], label: &[u8], ikm: &[u8]) -> Zeroizing<Vec<u8>> {
        let id = self.id();
        mac(salt, &[b"HPKE-v1", &id, label, ikm])
    }

    /// `LabeledExpand` (§4).
    fn expand(
        &self,
        prk: &[u8],
        label: &[u8],
        info: &[u8],
        length: usize,
    ) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let id = self.id();
        let wanted = u16::try_from(length).map_err(|_| CryptoError::BadKey)?;
        let wanted = wanted.to_be_bytes();
        let labeled = [&wanted[..], b"HPKE-v1", &id, label, info].concat();
        let mut out = Zeroizing::new(Vec::with_capacity(length + HASH_LEN));
        let mut block = Zeroizing::new(Vec::new());
        for counter in 1..=u8::MAX {
            if out.len() >= length {
                break;
            }
            block = mac(prk, &[block.as_slice(), &labeled, &[counter]]);
            out.extend_from_slice(&block);
        }
        if out.len() < length {
            return Err(CryptoError::BadKey);
        }
        out.truncate(length);
        Ok(out)
    }
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let mut context = hmac::Context::with_key(&key);
    for part in parts {
        context.update(part);
    }
    Zeroizing::new(context.sign().as_ref().to_vec())
}
