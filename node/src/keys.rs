//! Key files: one per key set, each two independent 32-byte seeds.
//!
//! The node's own sets (`tls signing issuer timestamper`) are in the clear, because the daemon
//! starts without anybody at hand. An admin's set is sealed under a passphrase ([`sealed`]); the
//! daemon never loads it.
//!
//! # Format
//! One line of ASCII, at most [`MAX_KEY_FILE_BYTES`], ended by a line feed:
//!
//! ```text
//! hedgerow-key-v1 KIND FIRST SECOND CHECK
//! ```
//!
//! `KIND` is one of `tls signing admin issuer timestamper`; `FIRST` (ML-DSA-65, FIPS 204 ξ) and
//! `SECOND` (Ed25519, RFC 8032) are seeds of 64 lowercase hex digits; `CHECK` is the first 16
//! hex digits of SHA-256 over everything before it, the space included. The check is against
//! damage and mistaken edits, not against whoever can write the file.
//!
//! # Invariants
//! - A file is made with mode 0600 and complete, or not at all; an existing one is never replaced.
//! - A file that others can read, that another user owns, or that is a link is refused: a key
//!   that may have been copied is no identity.
//! - Seeds live in memory that is wiped; neither `Debug` nor an error shows any of them.
//!
//! Turning seeds into keys is `hedgerow-crypto`'s business.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use protocol::crypto::{Crypto, CryptoError};
use zeroize::{Zeroize, Zeroizing};

use crate::state_dir::private::{self, PrivateError, io_hint};

pub mod admin;
pub mod passphrase;
pub mod sealed;

/// Bytes of one seed.
pub const SEED_BYTES: usize = 32;

/// Largest key file read. The longest line there is, a sealed one, has 307 bytes.
pub const MAX_KEY_FILE_BYTES: usize = 384;

/// The first word of every key file.
const MAGIC: &str = "hedgerow-key-v1";

/// Hex digits of the check.
const CHECK_DIGITS: usize = 16;

/// What a key set is for. Sets are never shared between uses, so a file of one kind is refused
/// where another is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// The composite TLS identity, whose hash is the node's id.
    Tls,
    /// The node's COSE signing set.
    Signing,
    /// An admin of the mesh: signs roots and policy.
    Admin,
    /// An issuer of memberships.
    Issuer,
    /// A timestamper.
    Timestamper,
}

impl KeyKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [
        Self::Tls,
        Self::Signing,
        Self::Admin,
        Self::Issuer,
        Self::Timestamper,
    ];

    /// The word in the file.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Signing => "signing",
            Self::Admin => "admin",
            Self::Issuer => "issuer",
            Self::Timestamper => "timestamper",
        }
    }

    /// The file's name in the `keys` directory.
    #[must_use]
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Tls => "tls.key",
            Self::Signing => "signing.key",
            Self::Admin => "admin.key",
            Self::Issuer => "issuer.key",
            Self::Timestamper => "timestamper.key",
        }
    }
}

impl core::fmt::Display for KeyKind {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.word())
    }
}

/// Why a key file was not made or not loaded.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// There is no such file.
    #[error("the {kind} key file `{}` is missing", path.display())]
    Missing {
        /// The kind wanted.
        kind: KeyKind,
        /// The path.
        path: PathBuf,
    },
    /// A key file is never replaced: that would be another identity.
    #[error("the {kind} key file `{}` exists already", path.display())]
    Exists {
        /// The kind.
        kind: KeyKind,
        /// The path.
        path: PathBuf,
    },
    /// Others can read it, it is a link, another user's, too large or unreadable.
    #[error("{kind} key file: {source}")]
    Private {
        /// The kind wanted.
        kind: KeyKind,
        /// What is wrong.
        source: PrivateError,
    },
    /// It is a key file of another kind.
    #[error("`{}` is a {found} key, a {kind} key is wanted", path.display())]
    WrongKind {
        /// The kind wanted.
        kind: KeyKind,
        /// The kind found.
        found: KeyKind,
        /// The path.
        path: PathBuf,
    },
    /// Its version is one this program does not know.
    #[error("`{}` is a key file of an unknown version", path.display())]
    UnknownVersion {
        /// The path.
        path: PathBuf,
    },
    /// It is no key file, or a damaged one.
    #[error("the {kind} key file `{}` is malformed: {what}", path.display())]
    Malformed {
        /// The kind wanted.
        kind: KeyKind,
        /// The path.
        path: PathBuf,
        /// What is wrong with its form.
        what: &'static str,
    },
    /// The check does not match: the file was damaged or edited.
    #[error("the {kind} key file `{}` is damaged: its check does not match", path.display())]
    Checksum {
        /// The kind wanted.
        kind: KeyKind,
        /// The path.
        path: PathBuf,
    },
    /// It is sealed, and was to be read without a passphrase.
    #[error("the {kind} key file `{}` is sealed with a passphrase", path.display())]
    Sealed {
        /// The kind wanted.
        kind: KeyKind,
        /// The path.
        path: PathBuf,
    },
    /// It is in the clear, where only a sealed one is used.
    #[error("the {kind} key file `{}` is not encrypted", path.display())]
    InTheClear {
        /// The kind wanted.
        kind: KeyKind,
        /// The path.
        path: PathBuf,
    },
    /// The passphrase is another one, or the file was changed by somebody who mended its check.
    #[error("the passphrase does not open the {kind} key file `{}`", path.display())]
    WrongPassphrase {
        /// The kind wanted.
        kind: KeyKind,
        /// The path.
        path: PathBuf,
    },
    /// What the file asks for to turn a passphrase into a key is less than protects it, or more
    /// than this program spends on a file.
    #[error("the {kind} key file `{}` asks for a key derivation out of bounds: {what}", path.display())]
    Derivation {
        /// The kind wanted.
        kind: KeyKind,
        /// The path.
        path: PathBuf,
        /// The parameter and its bounds.
        what: &'static str,
    },
    /// There is not the memory to turn the passphrase into a key.
    #[error("not enough memory for the key derivation: {needed_kib} KiB are needed")]
    Memory {
        /// KiB needed.
        needed_kib: u32,
    },
    /// Sealing itself failed, which only a broken library does.
    #[error("the {0} key could not be sealed")]
    Sealing(KeyKind),
    /// The seeds are such as no generator makes.
    #[error("the {kind} key's seeds are unusable: {what}")]
    Weak {
        /// The kind.
        kind: KeyKind,
        /// All zero, or the same twice.
        what: &'static str,
    },
    /// The system gave no randomness.
    #[error("cannot make a key: {0}")]
    Random(#[from] CryptoError),
    /// It could not be written.
    #[error("cannot write the {kind} key file `{}`: {source}", path.display())]
    Write {
        /// The kind.
        kind: KeyKind,
        /// The path.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl KeyFileError {
    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let restore = |path: &Path| format!("restore `{}` from a backup", path.display());
        match self {
            Self::Missing { path, kind } => match kind {
                KeyKind::Tls | KeyKind::Signing => Some(format!(
                    "restore `{}` from a backup, or join as another node: `hedgerow --state-dir OTHER join TICKET`",
                    path.display()
                )),
                _ => Some("run this on the host that has the key".to_owned()),
            },
            Self::Exists { path, .. } => Some(format!(
                "move `{}` away if you really want another key",
                path.display()
            )),
            Self::Private { kind, source } => Some(exposed_hint(*kind, source)?),
            Self::WrongKind { path, .. }
            | Self::Malformed { path, .. }
            | Self::Checksum { path, .. } => Some(restore(path)),
            Self::UnknownVersion { .. } => {
                Some("use the version of hedgerow that made it, or a newer one".to_owned())
            }
            Self::Weak { .. } => Some("make a new key".to_owned()),
            Self::Sealed { .. } => None,
            Self::InTheClear { .. } => Some(
                "encrypt it with `hedgerow admin passphrase`; if others may have read it, replace it \
                 in the root instead"
                    .to_owned(),
            ),
            Self::WrongPassphrase { .. } => Some(
                "try again; a forgotten passphrase cannot be recovered, the other admins can \
                 remove the key"
                    .to_owned(),
            ),
            Self::Derivation { path, .. } => Some(restore(path)),
            Self::Memory { .. } => Some("free some memory".to_owned()),
            Self::Random(_) | Self::Sealing(_) => None,
            Self::Write { path, source, .. } => io_hint(path, source),
        }
    }
}

fn exposed_hint(kind: KeyKind, source: &PrivateError) -> Option<String> {
    let hint = source.hint()?;
    if matches!(source, PrivateError::Exposed { .. }) {
        return Some(format!(
            "{hint}; if anyone else may have read it, make a new {kind} key"
        ));
    }
    Some(hint)
}

/// The two seeds of one key set. Wiped when dropped; `Debug` shows nothing of them.
#[derive(Clone)]
pub struct Seeds {
    first: Zeroizing<[u8; SEED_BYTES]>,
    second: Zeroizing<[u8; SEED_BYTES]>,
}

impl Seeds {
    /// Two fresh seeds from the operating system's generator.
    ///
    /// # Errors
    /// [`KeyFileError::Random`]; [`KeyFileError::Weak`] when the generator is broken.
    pub fn generate(kind: KeyKind, crypto: &dyn Crypto) -> Result<Self, KeyFileError> {
        let mut seeds = Self::zero();
        crypto.fill_random(seeds.first.as_mut_slice())?;
        crypto.fill_random(seeds.second.as_mut_slice())?;
        seeds.refuse_weak(kind)?;
        Ok(seeds)
    }

    /// The seed of the ML-DSA-65 key.
    #[must_use]
    pub fn first(&self) -> &[u8; SEED_BYTES] {
        &self.first
    }

    /// The seed of the Ed25519 key.
    #[must_use]
    pub fn second(&self) -> &[u8; SEED_BYTES] {
        &self.second
    }

    fn zero() -> Self {
        Self {
            first: Zeroizing::new([0; SEED_BYTES]),
            second: Zeroizing::new([0; SEED_BYTES]),
        }
    }

    fn refuse_weak(&self, kind: KeyKind) -> Result<(), KeyFileError> {
        let zero = |seed: &[u8; SEED_BYTES]| seed.iter().all(|&b| b == 0);
        if zero(&self.first) || zero(&self.second) {
            let what = "a seed is all zero";
            return Err(KeyFileError::Weak { kind, what });
        }
        if *self.first == *self.second {
            let what = "the two seeds are the same";
            return Err(KeyFileError::Weak { kind, what });
        }
        Ok(())
    }
}

impl core::fmt::Debug for Seeds {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Seeds(…)")
    }
}

/// Writes a new key file. The directory must exist and be private (see `state_dir`). When this
/// returns, file and directory entry are on disk.
///
/// # Errors
/// [`KeyFileError::Exists`], [`KeyFileError::Weak`], [`KeyFileError::Write`].
pub fn create(
    path: &Path,
    kind: KeyKind,
    seeds: &Seeds,
    crypto: &dyn Crypto,
) -> Result<(), KeyFileError> {
    seeds.refuse_weak(kind)?;
    store(path, kind, &encode(kind, seeds, crypto), crypto)
}

/// Writes a new file of one line, durably, complete or not at all.
fn store(path: &Path, kind: KeyKind, line: &str, crypto: &dyn Crypto) -> Result<(), KeyFileError> {
    let write = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => KeyFileError::Exists {
            kind,
            path: path.to_owned(),
        },
        _ => KeyFileError::Write {
            kind,
            path: path.to_owned(),
            source,
        },
    };
    let mut random = [0_u8; 8];
    crypto.fill_random(&mut random)?;
    let name = format!(".{}.{}", kind.file_name(), hex::encode(random));
    let temporary = path.with_file_name(name);
    let written = write_new(&temporary, line.as_bytes())
        // A hard link is the portable rename that never replaces.
        .and_then(|()| std::fs::hard_link(&temporary, path));
    let removed = match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    written.and(removed).map_err(write)?;
    sync_directory(path).map_err(write)
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Loads a key file of the wanted kind.
///
/// # Errors
/// Every variant of [`KeyFileError`] but `Exists`, `Random` and `Write`.
pub fn load(path: &Path, kind: KeyKind, crypto: &dyn Crypto) -> Result<Seeds, KeyFileError> {
    let bytes = read(path, kind)?;
    let seeds = decode(path, kind, &bytes, crypto)?;
    seeds.refuse_weak(kind)?;
    Ok(seeds)
}

/// The bytes of a private key file of either form.
fn read(path: &Path, kind: KeyKind) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    match private::read_file(path, MAX_KEY_FILE_BYTES) {
        Ok(bytes) => Ok(bytes),
        Err(PrivateError::Missing { path }) => Err(KeyFileError::Missing { kind, path }),
        Err(source) => Err(KeyFileError::Private { kind, source }),
    }
}

fn encode(kind: KeyKind, seeds: &Seeds, crypto: &dyn Crypto) -> Zeroizing<String> {
    // One buffer of the final size: growing would leave copies of the seeds behind.
    let mut line = Zeroizing::new(String::with_capacity(MAX_KEY_FILE_BYTES));
    let mut digits = Zeroizing::new([0_u8; 2 * SEED_BYTES]);
    line.push_str(MAGIC);
    line.push(' ');
    line.push_str(kind.word());
    for seed in [&seeds.first, &seeds.second] {
        line.push(' ');
        // Cannot fail: the buffer has twice the seed's size.
        let _ = hex::encode_to_slice(seed.as_slice(), digits.as_mut_slice());
        line.extend(digits.iter().copied().map(char::from));
    }
    digits.zeroize();
    line.push(' ');
    let check = checksum(line.as_bytes(), crypto);
    line.push_str(&check);
    line.push('\n');
    line
}

fn checksum(text: &[u8], crypto: &dyn Crypto) -> String {
    let digest = hex::encode(crypto.sha256(&[text]));
    digest.chars().take(CHECK_DIGITS).collect()
}

/// Refuses a file whose kind is another than wanted.
fn expect_kind(path: &Path, kind: KeyKind, word: &str) -> Result<(), KeyFileError> {
    match KeyKind::ALL.into_iter().find(|k| k.word() == word) {
        Some(found) if found == kind => Ok(()),
        Some(found) => Err(KeyFileError::WrongKind {
            kind,
            found,
            path: path.to_owned(),
        }),
        None => Err(KeyFileError::Malformed {
            kind,
            path: path.to_owned(),
            what: "its kind is unknown",
        }),
    }
}

fn decode(
    path: &Path,
    kind: KeyKind,
    bytes: &[u8],
    crypto: &dyn Crypto,
) -> Result<Seeds, KeyFileError> {
    let malformed = |what| KeyFileError::Malformed {
        kind,
        path: path.to_owned(),
        what,
    };
    let text = core::str::from_utf8(bytes).map_err(|_| malformed("it is not text"))?;
    let line = text
        .strip_suffix('\n')
        .ok_or_else(|| malformed("it does not end with a line feed"))?;
    let words: Vec<&str> = line.split(' ').collect();
    if words.first() == Some(&sealed::MAGIC) {
        return Err(KeyFileError::Sealed {
            kind,
            path: path.to_owned(),
        });
    }
    if words
        .first()
        .is_some_and(|w| *w != MAGIC && w.starts_with("hedgerow-key-v"))
    {
        return Err(KeyFileError::UnknownVersion {
            path: path.to_owned(),
        });
    }
    let &[MAGIC, word, first, second, check] = words.as_slice() else {
        return Err(malformed("it does not have five words"));
    };
    let covered = line.len().saturating_sub(check.len());
    if checksum(line.as_bytes().get(..covered).unwrap_or_default(), crypto) != check {
        return Err(KeyFileError::Checksum {
            kind,
            path: path.to_owned(),
        });
    }
    expect_kind(path, kind, word)?;
    let mut seeds = Seeds::zero();
    let not_hex = |_| malformed("a seed is not 64 hex digits");
    hex::decode_to_slice(first, seeds.first.as_mut_slice()).map_err(not_hex)?;
    hex::decode_to_slice(second, seeds.second.as_mut_slice()).map_err(not_hex)?;
    Ok(seeds)
}

#[cfg(test)]
mod tests;
