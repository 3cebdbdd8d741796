//! The passphrase of a sealed key file: where it may come from is the caller's business, that it
//! is neither shown nor left in memory is this type's.

use protocol::crypto::{Crypto, CryptoError};
use zeroize::Zeroizing;

/// Fewest characters of a passphrase somebody chose for a new file.
pub const MIN_PASSPHRASE_CHARS: usize = 12;

/// Most bytes of a passphrase.
pub const MAX_PASSPHRASE_BYTES: usize = 1024;

/// Bytes of randomness in a generated passphrase.
const GENERATED_BYTES: usize = 20;

/// Characters between the dashes of a generated passphrase.
const GROUP: usize = 4;

/// RFC 4648 base32, lower case: no `0` and `1` to be mistaken for letters.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Why a text is no passphrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PassphraseError {
    /// Nothing was given.
    #[error("the passphrase is empty")]
    Empty,
    /// Too short for a new key.
    #[error("a passphrase has at least {MIN_PASSPHRASE_CHARS} characters")]
    TooShort,
    /// Longer than anybody types.
    #[error("a passphrase has at most {MAX_PASSPHRASE_BYTES} bytes")]
    TooLong,
    /// A control character: a file was given that is no passphrase, or a terminal went wrong.
    #[error("the passphrase holds a control character")]
    Control,
}

/// A passphrase. Wiped when dropped; `Debug` shows nothing of it.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// One that opens a file. Its characters are taken as they are, without normalisation.
    ///
    /// # Errors
    /// [`PassphraseError`], `TooShort` excepted: a file may have been sealed elsewhere.
    pub fn new(text: Zeroizing<String>) -> Result<Self, PassphraseError> {
        if text.is_empty() {
            return Err(PassphraseError::Empty);
        }
        if text.len() > MAX_PASSPHRASE_BYTES {
            return Err(PassphraseError::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(PassphraseError::Control);
        }
        Ok(Self(text))
    }

    /// Whether it is long enough to seal a new key.
    ///
    /// # Errors
    /// [`PassphraseError::TooShort`].
    pub fn fit_for_new(self) -> Result<Self, PassphraseError> {
        if self.0.chars().count() < MIN_PASSPHRASE_CHARS {
            return Err(PassphraseError::TooShort);
        }
        Ok(self)
    }

    /// A fresh one of 160 random bits: 32 characters `a-z2-7` in groups of four, so that it can be
    /// written down.
    ///
    /// # Errors
    /// [`CryptoError::NoRandomness`].
    pub fn generate(crypto: &dyn Crypto) -> Result<Self, CryptoError> {
        let mut random = Zeroizing::new([0_u8; GENERATED_BYTES]);
        crypto.fill_random(random.as_mut_slice())?;
        let characters = GENERATED_BYTES * 8 / 5;
        let mut text = Zeroizing::new(String::with_capacity(characters + characters / GROUP));
        for position in 0..characters {
            if position > 0 && position % GROUP == 0 {
                text.push('-');
            }
            text.push(base32(&random[..], position));
        }
        Ok(Self(text))
    }

    /// The text itself: to derive a key from it, and to show a generated one once.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// The character for the five bits at `position`.
fn base32(bytes: &[u8], position: usize) -> char {
    let value = (0..5).fold(0_usize, |value, bit| {
        let at = position * 5 + bit;
        let byte = bytes.get(at / 8).copied().unwrap_or_default();
        value << 1 | usize::from(byte >> (7 - at % 8) & 1)
    });
    ALPHABET.get(value).copied().map_or('a', char::from)
}

impl core::fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counting;

    impl Crypto for Counting {
        fn sha256(&self, _: &[&[u8]]) -> [u8; 32] {
            [0; 32]
        }

        fn verify(
            &self,
            _: protocol::crypto::Algorithm,
            _: &[u8],
            _: &[u8],
            _: &[u8],
        ) -> Result<(), CryptoError> {
            Err(CryptoError::BadSignature)
        }

        fn fill_random(&self, out: &mut [u8]) -> Result<(), CryptoError> {
            for (byte, value) in out.iter_mut().zip(0_u8..) {
                *byte = value;
            }
            Ok(())
        }
    }

    fn text(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.to_owned())
    }

    #[test]
    fn a_generated_one_is_base32_of_all_its_bits() {
        let made = Passphrase::generate(&Counting).unwrap();
        // RFC 4648 of 00 01 … 13, lower case.
        assert_eq!(made.expose(), "aaaq-eaye-auda-ocaj-bifq-ydio-b4ib-ceqt");
        assert!(made.fit_for_new().is_ok());
    }

    #[test]
    fn each_refusal_has_its_name() {
        for (given, error) in [
            ("", PassphraseError::Empty),
            ("a\nb", PassphraseError::Control),
            (
                &"x".repeat(MAX_PASSPHRASE_BYTES + 1),
                PassphraseError::TooLong,
            ),
        ] {
            assert_eq!(Passphrase::new(text(given)).unwrap_err(), error);
        }
        let short = Passphrase::new(text("elevenchars")).unwrap();
        assert_eq!(short.fit_for_new().unwrap_err(), PassphraseError::TooShort);
        assert!(
            Passphrase::new(text("zwölf zeichen"))
                .unwrap()
                .fit_for_new()
                .is_ok()
        );
    }

    #[test]
    fn debug_shows_nothing() {
        let phrase = Passphrase::new(text("correct horse battery")).unwrap();
        assert_eq!(format!("{phrase:?}"), "Passphrase(…)");
    }
}
