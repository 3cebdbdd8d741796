//! The public key as DER SubjectPublicKeyInfo (RFC 5280 §4.1.2.7), the form RFC 7250 puts on the
//! wire.
//!
//! There is exactly one encoding of a key, a constant header and the raw bytes, and only that one
//! is accepted: the parser compares instead of parsing. It looks further only to say *why*.

use protocol::crypto::TLS_PUBLIC_LEN;

/// `AlgorithmIdentifier { 1.3.6.1.5.5.7.6.48 }`, parameters absent.
const ALGORITHM: [u8; 12] = [
    0x30, 0x0a, 0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x06, 0x30,
];

/// Everything before the raw key: the outer SEQUENCE of 2001 bytes, the algorithm, and the header
/// of a BIT STRING of 1985 bytes without unused bits.
const HEADER: [u8; 21] = [
    0x30, 0x82, 0x07, 0xd1, // SEQUENCE
    0x30, 0x0a, 0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x06, 0x30, // ALGORITHM
    0x03, 0x82, 0x07, 0xc1, 0x00, // BIT STRING
];

/// Bytes of the whole structure.
pub const SPKI_LEN: usize = HEADER.len() + TLS_PUBLIC_LEN;

/// Why bytes are not the SubjectPublicKeyInfo of a TLS identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpkiError {
    /// A key of another algorithm, for instance of a classical peer.
    #[error("the key is not id-MLDSA65-Ed25519-SHA512")]
    WrongAlgorithm,
    /// The key is followed by something.
    #[error("{found} bytes follow the public key")]
    TrailingBytes {
        /// How many.
        found: usize,
    },
    /// Our algorithm, but truncated, or not the one DER encoding.
    #[error("the public key is not in its exact DER form")]
    NotExact,
}

/// The DER form of a raw composite public key.
#[must_use]
pub fn spki(public_key: &[u8; TLS_PUBLIC_LEN]) -> Vec<u8> {
    [HEADER.as_slice(), public_key.as_slice()].concat()
}

/// The raw composite public key in `der`, which must be its exact DER form. Whether the halves
/// are keys is for [`super::verify_composite`] to say.
///
/// # Errors
/// [`SpkiError`].
pub fn parse_spki(der: &[u8]) -> Result<[u8; TLS_PUBLIC_LEN], SpkiError> {
    let Some(rest) = der.strip_prefix(&HEADER) else {
        return Err(diagnose(der));
    };
    rest.try_into()
        .map_err(|_| match rest.len().checked_sub(TLS_PUBLIC_LEN) {
            Some(found) => SpkiError::TrailingBytes { found },
            None => SpkiError::NotExact,
        })
}

/// Tells a key of another algorithm from a bad encoding of ours. Only for the message: the
/// verdict stands already.
fn diagnose(der: &[u8]) -> SpkiError {
    // tag and length of the outer SEQUENCE: short, or long with one to four length bytes
    let skip = match der {
        [0x30, 0..=0x7f, ..] => 2,
        [0x30, long @ 0x81..=0x84, ..] => 2 + usize::from(long & 0x0f),
        _ => return SpkiError::NotExact,
    };
    match der.get(skip..) {
        Some(inner) if inner.first() == Some(&0x30) && !inner.starts_with(&ALGORITHM) => {
            SpkiError::WrongAlgorithm
        }
        _ => SpkiError::NotExact,
    }
}

#[cfg(test)]
mod tests;
