//! Key files sealed under a passphrase: argon2id (RFC 9106) and AES-256-GCM over the two seeds.
//!
//! # Format
//! One line of ASCII, at most [`super::MAX_KEY_FILE_BYTES`], ended by a line feed:
//!
//! ```text
//! hedgerow-key-v2 KIND argon2id MEMORY PASSES LANES SALT NONCE SEALED CHECK
//! ```
//!
//! `KIND` and `CHECK` are as in the first version. `MEMORY` (KiB), `PASSES` and `LANES` are
//! decimal, `SALT` (16 bytes), `NONCE` (12 bytes) and `SEALED` (the two seeds encrypted, 64 bytes,
//! and the 16-byte tag) lowercase hex. The key is argon2id, version 0x13, of the passphrase's UTF-8
//! bytes as given. Everything before `SEALED`, the space included, is authenticated with it, so
//! a file with other parameters or another kind does not open.
//!
//! # Invariants
//! - Parameters are checked against bounds before any memory is taken: a file cannot make its
//!   reader work for hours, and none is made that a laptop breaks in an afternoon.
//! - Passphrase, derived key, argon2's memory and seeds are wiped; nothing here shows any of them.

use std::path::Path;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use protocol::crypto::Crypto;
use zeroize::Zeroizing;

use super::{KeyFileError, KeyKind, SEED_BYTES, Seeds, checksum, passphrase::Passphrase};

/// The first word of a sealed key file.
pub(super) const MAGIC: &str = "hedgerow-key-v2";

/// The key derivation's word.
const DERIVATION: &str = "argon2id";

/// Bytes of the salt: RFC 9106 §3.1 recommends 16 for passwords.
pub(crate) const SALT_BYTES: usize = 16;

/// Bytes of the AES-256 key.
const KEY_BYTES: usize = 32;

/// Bytes of GCM's tag.
pub(crate) const TAG_BYTES: usize = 16;

/// Bytes of what is sealed.
const CLEAR_BYTES: usize = 2 * SEED_BYTES;

/// What turning a passphrase into a key costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Cost {
    /// The second recommended option of RFC 9106 §4 ("much less memory is available"): 64 MiB,
    /// three passes, four lanes. The first one takes 2 GiB, which small hosts do not have. It
    /// takes about a quarter of a second, and a generated passphrase needs no stretching at all.
    pub const RECOMMENDED: Self = Self {
        memory_kib: 64 * 1024,
        passes: 3,
        lanes: 4,
    };

    /// The least a file may ask for: what OWASP's password storage guidance gives as minimum.
    pub const LEAST: Self = Self {
        memory_kib: 19 * 1024,
        passes: 2,
        lanes: 1,
    };

    /// The most a file may ask for: about ten seconds on a small host.
    pub const MOST: Self = Self {
        memory_kib: 1024 * 1024,
        passes: 16,
        lanes: 16,
    };

    /// Refuses what would take forever, or next to nothing.
    pub(crate) fn refuse_absurd(self) -> Result<(), &'static str> {
        let within = |value: u32, least: u32, most: u32| (least..=most).contains(&value);
        if !within(
            self.memory_kib,
            Self::LEAST.memory_kib,
            Self::MOST.memory_kib,
        ) {
            return Err("memory is 19456 to 1048576 KiB");
        }
        if !within(self.passes, Self::LEAST.passes, Self::MOST.passes) {
            return Err("passes are 2 to 16");
        }
        if !within(self.lanes, Self::LEAST.lanes, Self::MOST.lanes) {
            return Err("lanes are 1 to 16");
        }
        Ok(())
    }
}

/// Which of the two forms a key file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Seeds in the clear.
    Clear,
    /// Seeds sealed under a passphrase.
    Sealed,
}

/// Tells a key file's form by its first word, without checking anything else of it.
///
/// # Errors
/// [`KeyFileError::Missing`] and [`KeyFileError::Private`].
pub fn form(path: &Path, kind: KeyKind) -> Result<Form, KeyFileError> {
    let bytes = super::read(path, kind)?;
    Ok(if bytes.starts_with(MAGIC.as_bytes()) {
        Form::Sealed
    } else {
        Form::Clear
    })
}

/// Writes a new sealed key file at [`Cost::RECOMMENDED`]. As durable and careful as
/// [`super::create`].
///
/// # Errors
/// [`KeyFileError::Exists`], [`KeyFileError::Weak`], [`KeyFileError::Write`],
/// [`KeyFileError::Random`], [`KeyFileError::Memory`].
pub fn create(
    path: &Path,
    kind: KeyKind,
    seeds: &Seeds,
    passphrase: &Passphrase,
    crypto: &dyn Crypto,
) -> Result<(), KeyFileError> {
    seeds.refuse_weak(kind)?;
    let line = seal(kind, seeds, passphrase, Cost::RECOMMENDED, crypto)?;
    super::store(path, kind, &line, crypto)
}

/// Opens a sealed key file.
///
/// # Errors
/// Every variant of [`KeyFileError`] but `Exists`, `Sealed`, `Random` and `Write`.
pub fn open(
    path: &Path,
    kind: KeyKind,
    passphrase: &Passphrase,
    crypto: &dyn Crypto,
) -> Result<Seeds, KeyFileError> {
    let bytes = super::read(path, kind)?;
    let sealed = Sealed::parse(path, kind, &bytes, crypto)?;
    let seeds = sealed.open(path, kind, passphrase)?;
    seeds.refuse_weak(kind)?;
    Ok(seeds)
}

fn seal(
    kind: KeyKind,
    seeds: &Seeds,
    passphrase: &Passphrase,
    cost: Cost,
    crypto: &dyn Crypto,
) -> Result<String, KeyFileError> {
    let mut salt = [0; SALT_BYTES];
    let mut nonce = [0; NONCE_LEN];
    crypto.fill_random(&mut salt)?;
    crypto.fill_random(&mut nonce)?;
    let mut line = format!(
        "{MAGIC} {kind} {DERIVATION} {} {} {} {} {} ",
        cost.memory_kib,
        cost.passes,
        cost.lanes,
        hex::encode(salt),
        hex::encode(nonce),
    );
    let key = derive(kind, passphrase, &salt, cost)?;
    // Room for the tag: growing would leave a copy of the seeds behind.
    let mut body = Zeroizing::new(Vec::with_capacity(CLEAR_BYTES + TAG_BYTES));
    body.extend_from_slice(seeds.first());
    body.extend_from_slice(seeds.second());
    key.seal_in_place_append_tag(
        Nonce::assume_unique_for_key(nonce),
        Aad::from(line.as_bytes()),
        &mut *body,
    )
    .map_err(|_| KeyFileError::Sealing(kind))?;
    line.push_str(&hex::encode(&*body));
    line.push(' ');
    let check = checksum(line.as_bytes(), crypto);
    line.push_str(&check);
    line.push('\n');
    Ok(line)
}

/// A sealed key file that was parsed and whose parameters are within bounds.
struct Sealed<'a> {
    cost: Cost,
    salt: [u8; SALT_BYTES],
    nonce: [u8; NONCE_LEN],
    body: [u8; CLEAR_BYTES + TAG_BYTES],
    authenticated: &'a str,
}

impl<'a> Sealed<'a> {
    fn parse(
        path: &Path,
        kind: KeyKind,
        bytes: &'a [u8],
        crypto: &dyn Crypto,
    ) -> Result<Self, KeyFileError> {
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
        let &[
            MAGIC,
            word,
            derivation,
            memory,
            passes,
            lanes,
            salt,
            nonce,
            body,
            check,
        ] = words.as_slice()
        else {
            return Err(other_form(path, kind, bytes, crypto));
        };
        let covered = line.len().saturating_sub(check.len());
        let covered = line.get(..covered).unwrap_or_default();
        if checksum(covered.as_bytes(), crypto) != check {
            return Err(KeyFileError::Checksum {
                kind,
                path: path.to_owned(),
            });
        }
        super::expect_kind(path, kind, word)?;
        if derivation != DERIVATION {
            return Err(malformed("its key derivation is unknown"));
        }
        let number =
            |word| decimal(word).ok_or_else(|| malformed("a parameter is no plain number"));
        let cost = Cost {
            memory_kib: number(memory)?,
            passes: number(passes)?,
            lanes: number(lanes)?,
        };
        cost.refuse_absurd()
            .map_err(|what| KeyFileError::Derivation {
                kind,
                path: path.to_owned(),
                what,
            })?;
        let mut sealed = Self {
            cost,
            salt: [0; SALT_BYTES],
            nonce: [0; NONCE_LEN],
            body: [0; CLEAR_BYTES + TAG_BYTES],
            authenticated: covered
                .len()
                .checked_sub(body.len() + 1)
                .and_then(|end| line.get(..end))
                .unwrap_or_default(),
        };
        let not_hex = |_| malformed("salt, nonce or sealed seeds have the wrong size or digits");
        hex::decode_to_slice(salt, &mut sealed.salt).map_err(not_hex)?;
        hex::decode_to_slice(nonce, &mut sealed.nonce).map_err(not_hex)?;
        hex::decode_to_slice(body, &mut sealed.body).map_err(not_hex)?;
        Ok(sealed)
    }

    fn open(
        mut self,
        path: &Path,
        kind: KeyKind,
        passphrase: &Passphrase,
    ) -> Result<Seeds, KeyFileError> {
        let key = derive(kind, passphrase, &self.salt, self.cost)?;
        let clear = key
            .open_in_place(
                Nonce::assume_unique_for_key(self.nonce),
                Aad::from(self.authenticated.as_bytes()),
                &mut self.body,
            )
            .map_err(|_| KeyFileError::WrongPassphrase {
                kind,
                path: path.to_owned(),
            })?;
        let mut seeds = Seeds::zero();
        let (first, second) = clear.split_at(SEED_BYTES.min(clear.len()));
        for (to, from) in [(&mut seeds.first, first), (&mut seeds.second, second)] {
            if from.len() == to.len() {
                to.copy_from_slice(from);
            }
        }
        Ok(seeds)
    }
}

impl Drop for Sealed<'_> {
    fn drop(&mut self) {
        // After opening, the seeds stand in it.
        zeroize::Zeroize::zeroize(&mut self.body);
    }
}

/// What a file is that is no sealed one: in the clear, of a later version, or nothing.
fn other_form(path: &Path, kind: KeyKind, bytes: &[u8], crypto: &dyn Crypto) -> KeyFileError {
    match super::decode(path, kind, bytes, crypto) {
        Ok(_) => KeyFileError::InTheClear {
            kind,
            path: path.to_owned(),
        },
        Err(KeyFileError::Sealed { .. }) => KeyFileError::Malformed {
            kind,
            path: path.to_owned(),
            what: "it does not have ten words",
        },
        Err(error) => error,
    }
}

/// A number in its one decimal form.
fn decimal(word: &str) -> Option<u32> {
    let number: u32 = word.parse().ok()?;
    (number.to_string() == word).then_some(number)
}

/// The AES-256-GCM key of a passphrase; `kind` is for errors only.
pub(crate) fn derive(
    kind: KeyKind,
    passphrase: &Passphrase,
    salt: &[u8; SALT_BYTES],
    cost: Cost,
) -> Result<LessSafeKey, KeyFileError> {
    let failed = |_| KeyFileError::Sealing(kind);
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(KEY_BYTES))
        .map_err(|_| KeyFileError::Sealing(kind))?;
    let blocks = params.block_count();
    let mut memory = Zeroizing::new(Vec::new());
    memory
        .try_reserve_exact(blocks)
        .map_err(|_| KeyFileError::Memory {
            needed_kib: cost.memory_kib,
        })?;
    memory.resize(blocks, Block::default());
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(
            passphrase.as_bytes(),
            salt,
            key.as_mut_slice(),
            memory.as_mut_slice(),
        )
        .map_err(|_| KeyFileError::Sealing(kind))?;
    UnboundKey::new(&AES_256_GCM, key.as_slice())
        .map(LessSafeKey::new)
        .map_err(failed)
}

#[cfg(test)]
mod tests;
