//! A node's posture: what it says of its own state, for policies that ask for a fit device.
//!
//! It travels in the node record and is signed with it, so it is the word of that node's keys and of
//! nobody else: self-asserted. A node that is not what it says can say anything; posture keeps out
//! hosts that were forgotten or set up wrongly, not a compromised one. What a node cannot find out
//! it does not claim: absent and false are the same.

use super::TrustError;
use crate::codec;
use crate::crypto::{Crypto, domain};
use crate::id::Digest;
use crate::limits::{MAX_POSTURE_BYTES, MAX_WORD_BYTES};
use crate::policy;
use crate::time::UnixSeconds;

/// The version of this form.
pub const POSTURE_VERSION: u8 = 1;

/// Whose word a posture is: nobody but the node vouches for it.
pub const SELF_ASSERTED: &str = "self-asserted";

/// Whose word it is where somebody does.
pub const ATTESTED: &str = "attested";

/// Most words for hardening in force.
pub const MAX_HARDENING: usize = 32;

/// What a node says of its state.
#[derive(Debug, Clone, PartialEq, Eq, Hash, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Posture {
    /// [`POSTURE_VERSION`].
    #[n(1)]
    pub version: u8,
    /// When it was measured, by the node's clock; not after the record that carries it was issued.
    #[n(2)]
    pub measured: UnixSeconds,
    /// The operating system, as `ID` of os-release names it; empty if unknown.
    #[n(3)]
    pub os: String,
    /// The kernel's major, minor and patch number; zeros if unknown.
    #[n(4)]
    pub kernel: [u16; 3],
    /// Whether it booted with secure boot.
    #[n(5)]
    pub secure_boot: bool,
    /// Whether its state directory lies on an encrypted disk.
    #[n(6)]
    pub disk_encryption: bool,
    /// Seconds since it booted, when measured.
    #[n(7)]
    pub uptime_s: u64,
    /// SHA-256 of the binary it runs.
    #[n(8)]
    pub binary: Option<Digest>,
    /// Hardening in force, each a word; sorted, without repeats, at most [`MAX_HARDENING`].
    #[n(9)]
    pub hardening: Vec<String>,
}

impl Posture {
    /// The one encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads a posture.
    ///
    /// # Errors
    /// [`TrustError::Codec`] for anything but the one encoding of at most [`MAX_POSTURE_BYTES`];
    /// [`TrustError::Field`] for another version, or a text out of bounds, unsorted or repeated.
    pub fn decode(bytes: &[u8]) -> Result<Self, TrustError> {
        let posture: Self = codec::decode(bytes, MAX_POSTURE_BYTES)?;
        let words = &posture.hardening;
        let sorted = words.windows(2).all(|w| matches!(w, [a, b] if a < b));
        let fits = posture.version == POSTURE_VERSION
            && (posture.os.is_empty() || is_word(&posture.os))
            && words.len() <= MAX_HARDENING
            && sorted
            && words.iter().all(|word| is_word(word));
        if fits {
            Ok(posture)
        } else {
            Err(TrustError::Field("posture"))
        }
    }

    /// What headers and records name an encoded posture by.
    #[must_use]
    pub fn digest(crypto: &dyn Crypto, bytes: &[u8]) -> Digest {
        Digest::over(crypto, domain::POSTURE, &[bytes])
    }

    /// Whether it claims the same, whenever either was measured.
    #[must_use]
    pub fn claims_the_same(&self, other: &Self) -> bool {
        let timeless = |posture: &Self| Self {
            measured: UnixSeconds(0),
            uptime_s: 0,
            ..posture.clone()
        };
        // A host that booted since says so by the time it booted.
        let booted = |posture: &Self| posture.measured.0.saturating_sub(posture.uptime_s);
        timeless(self) == timeless(other) && booted(self).abs_diff(booted(other)) < BOOT_SLACK_S
    }

    /// As policies look at it at `now`.
    #[must_use]
    pub fn facts(&self, now: UnixSeconds) -> policy::Posture {
        let [major, minor, patch] = self.kernel;
        let age_s = now.0.saturating_sub(self.measured.0);
        policy::Posture {
            os: self.os.clone(),
            kernel: (major, minor, patch),
            secure_boot: self.secure_boot,
            disk_encryption: self.disk_encryption,
            uptime_s: self.uptime_s.saturating_add(age_s),
            binary: self.binary,
            hardening: self.hardening.clone(),
            attested: false,
            age_s,
        }
    }
}

/// Two measurements that differ by less in when the host booted mean the same boot: clocks are set.
const BOOT_SLACK_S: u64 = 60;

/// Whether `text` is one of the words policies name: 1 to 64 of `a-z`, `0-9`, `_`, `-`, `.`.
#[must_use]
pub fn is_word(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-.".contains(&b);
    !text.is_empty() && text.len() <= MAX_WORD_BYTES && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn posture() -> Posture {
        Posture {
            version: POSTURE_VERSION,
            measured: UnixSeconds(1_000),
            os: "debian".to_owned(),
            kernel: [6, 1, 38],
            secure_boot: true,
            disk_encryption: false,
            uptime_s: 100,
            binary: Some(Digest::from_bytes([7; 32])),
            hardening: vec!["aslr".to_owned(), "seccomp".to_owned()],
        }
    }

    #[test]
    fn what_is_encoded_is_read_again_and_ages() {
        let posture = posture();
        assert_eq!(Posture::decode(&posture.encode()), Ok(posture.clone()));
        let facts = posture.facts(UnixSeconds(1_060));
        assert_eq!((facts.age_s, facts.uptime_s), (60, 160));
        assert!(!facts.attested, "nobody but the node vouches for it");
        // A clock that went back makes nothing younger than new.
        assert_eq!(posture.facts(UnixSeconds(10)).age_s, 0);
    }

    #[test]
    fn postures_out_of_bounds_are_refused() {
        type Alter = fn(&mut Posture);
        let cases: &[(&str, Alter)] = &[
            ("another version", |p| p.version = 2),
            ("an operating system of no word", |p| {
                p.os = "Debian!".to_owned()
            }),
            ("a long word", |p| p.os = "d".repeat(MAX_WORD_BYTES + 1)),
            ("an empty word", |p| p.hardening = vec![String::new()]),
            ("unsorted words", |p| p.hardening.reverse()),
            ("a word twice", |p| p.hardening = vec!["a".to_owned(); 2]),
            ("too many words", |p| {
                p.hardening = (0..=MAX_HARDENING).map(|n| format!("w{n:02}")).collect();
            }),
        ];
        for (what, alter) in cases {
            let mut posture = posture();
            alter(&mut posture);
            let refused = Posture::decode(&posture.encode()).unwrap_err();
            assert_eq!(refused, TrustError::Field("posture"), "{what}");
        }
        let long = vec![0; MAX_POSTURE_BYTES + 1];
        assert_eq!(Posture::decode(&long).unwrap_err().reason(), "oversized");
    }

    #[test]
    fn only_claims_make_a_difference() {
        let before = posture();
        let later = Posture {
            measured: UnixSeconds(1_900),
            uptime_s: 1_000,
            ..before.clone()
        };
        assert!(before.claims_the_same(&later));
        let rebooted = Posture {
            uptime_s: 10,
            ..later.clone()
        };
        assert!(!before.claims_the_same(&rebooted));
        let unlocked = Posture {
            secure_boot: false,
            ..later
        };
        assert!(!before.claims_the_same(&unlocked));
    }
}
