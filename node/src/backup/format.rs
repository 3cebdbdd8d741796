//! The bytes of a backup file.
//!
//! ```text
//! file    = magic ‖ form ‖ [cost ‖ salt] ‖ frame…
//! magic   = "hedgerow-backup-v1\n"
//! form    = 0 in the clear, 1 sealed
//! cost    = argon2id memory (KiB), passes, lanes: 32-bit big-endian each;  salt = 16 bytes
//! frame   = head ‖ chunk;  head = 32-bit big-endian: bit 31 says the last one, the rest is the
//!           chunk's length;  chunk = at most 64 KiB of content, sealed: and GCM's tag
//! content = created (64-bit seconds) ‖ mesh id ‖ node id ‖ entry… ‖ 0xff ‖ SHA-256 of all before
//! entry   = kind (8-bit, ascending) ‖ length (64-bit) ‖ bytes
//! ```
//!
//! Sealed chunks are AES-256-GCM under the passphrase's key, which the salt makes new for each
//! file; the nonce is the frame's number (96-bit), the authenticated data everything before the
//! first frame and the frame's head. So no frame can be changed, moved, dropped or added, and none
//! be taken for the last. The SHA-256 finds damage in either form.

use std::io::{self, Read, Write};

use aws_lc_rs::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce};
use aws_lc_rs::digest::{Context, SHA256};
use hedgerow_crypto::Primitives;
use protocol::crypto::Crypto as _;
use zeroize::Zeroizing;

use super::BackupError;
use crate::keys::passphrase::Passphrase;
use crate::keys::sealed::{Cost, SALT_BYTES, TAG_BYTES, derive};
use crate::keys::{KeyFileError, KeyKind};

/// The first bytes of every backup.
const MAGIC: &[u8; 19] = b"hedgerow-backup-v1\n";

/// What all versions begin with.
const FAMILY: &[u8; 17] = b"hedgerow-backup-v";

/// Content bytes of one frame.
pub(super) const CHUNK: usize = 64 * 1024;

/// The bit of a frame's head that says the last one.
const LAST: u32 = 1 << 31;

/// Bytes of the digest at the end.
const SUM: usize = 32;

const CLEAR: u8 = 0;
const SEALED: u8 = 1;

/// The key of a file, and what it authenticates beside each frame.
struct Seal {
    key: Option<LessSafeKey>,
    header: Vec<u8>,
    frames: u64,
}

impl Seal {
    /// Nonce and authenticated data of the next frame.
    fn next(&mut self, head: [u8; 4]) -> (Nonce, Aad<Vec<u8>>) {
        let mut nonce = [0; NONCE_LEN];
        let number = self.frames.to_be_bytes();
        for (to, from) in nonce.iter_mut().rev().zip(number.iter().rev()) {
            *to = *from;
        }
        self.frames = self.frames.saturating_add(1);
        let mut aad = self.header.clone();
        aad.extend_from_slice(&head);
        (Nonce::assume_unique_for_key(nonce), Aad::from(aad))
    }
}

fn key(
    passphrase: &Passphrase,
    salt: &[u8; SALT_BYTES],
    cost: Cost,
) -> Result<LessSafeKey, BackupError> {
    // The kind is for the messages of key files, which never get here.
    derive(KeyKind::Admin, passphrase, salt, cost).map_err(|error| match error {
        KeyFileError::Memory { needed_kib } => BackupError::Memory { needed_kib },
        _ => BackupError::Sealing,
    })
}

/// Writes a backup.
pub(super) struct Sink<W> {
    out: W,
    seal: Seal,
    chunk: Zeroizing<Vec<u8>>,
    sum: Context,
}

impl<W: Write> Sink<W> {
    /// Begins a file, sealed where there is a passphrase.
    pub(super) fn begin(mut out: W, passphrase: Option<&Passphrase>) -> Result<Self, BackupError> {
        let mut header = MAGIC.to_vec();
        let key = match passphrase {
            None => {
                header.push(CLEAR);
                None
            }
            Some(passphrase) => {
                let (cost, mut salt) = (Cost::RECOMMENDED, [0; SALT_BYTES]);
                Primitives.fill_random(&mut salt)?;
                header.push(SEALED);
                for number in [cost.memory_kib, cost.passes, cost.lanes] {
                    header.extend_from_slice(&number.to_be_bytes());
                }
                header.extend_from_slice(&salt);
                Some(key(passphrase, &salt, cost)?)
            }
        };
        out.write_all(&header).map_err(BackupError::Write)?;
        Ok(Self {
            out,
            seal: Seal {
                key,
                header,
                frames: 0,
            },
            // Room for the tag: growing would leave copies of keys behind.
            chunk: Zeroizing::new(Vec::with_capacity(CHUNK + TAG_BYTES)),
            sum: Context::new(&SHA256),
        })
    }

    /// Adds content.
    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        self.sum.update(bytes);
        self.append(bytes)
    }

    /// Adds the digest and the last frame.
    pub(super) fn finish(mut self) -> Result<W, BackupError> {
        let sum = self.sum.clone().finish();
        self.append(sum.as_ref())?;
        self.frame(LAST)?;
        self.out.flush().map_err(BackupError::Write)?;
        Ok(self.out)
    }

    fn append(&mut self, mut bytes: &[u8]) -> Result<(), BackupError> {
        while !bytes.is_empty() {
            if self.chunk.len() == CHUNK {
                self.frame(0)?;
            }
            let room = CHUNK.saturating_sub(self.chunk.len());
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.chunk.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    fn frame(&mut self, last: u32) -> Result<(), BackupError> {
        let tag = self.seal.key.as_ref().map_or(0, |_| TAG_BYTES);
        // At most `CHUNK` and the tag: it fits.
        let length = u32::try_from(self.chunk.len() + tag).map_err(|_| BackupError::Sealing)?;
        let head = (last | length).to_be_bytes();
        let (nonce, aad) = self.seal.next(head);
        if let Some(key) = &self.seal.key {
            key.seal_in_place_append_tag(nonce, aad, &mut *self.chunk)
                .map_err(|_| BackupError::Sealing)?;
        }
        self.out.write_all(&head).map_err(BackupError::Write)?;
        self.out
            .write_all(&self.chunk)
            .map_err(BackupError::Write)?;
        self.chunk.clear();
        Ok(())
    }
}

/// Reads a backup. Nothing it gives out was changed since it was sealed; that the file is whole is
/// known once [`Source::finish`] returns.
pub(super) struct Source<R> {
    input: R,
    seal: Seal,
    chunk: Zeroizing<Vec<u8>>,
    /// Bytes of `chunk` given out.
    used: usize,
    last: bool,
    sum: Context,
}

impl<R: Read> Source<R> {
    /// Reads the header and derives the key.
    pub(super) fn begin(
        mut input: R,
        passphrase: Option<&Passphrase>,
    ) -> Result<Self, BackupError> {
        let mut magic = [0; MAGIC.len()];
        input
            .read_exact(&mut magic)
            .map_err(|_| BackupError::NotABackup)?;
        if magic != *MAGIC {
            return Err(if magic.starts_with(FAMILY) {
                BackupError::UnknownVersion
            } else {
                BackupError::NotABackup
            });
        }
        let mut header = magic.to_vec();
        let form = read_array::<1>(&mut input, &mut header)?;
        let key = match form {
            [CLEAR] => None,
            [SEALED] => {
                let number = |bytes: [u8; 4]| u32::from_be_bytes(bytes);
                let cost = Cost {
                    memory_kib: number(read_array(&mut input, &mut header)?),
                    passes: number(read_array(&mut input, &mut header)?),
                    lanes: number(read_array(&mut input, &mut header)?),
                };
                let salt = read_array(&mut input, &mut header)?;
                cost.refuse_absurd().map_err(BackupError::Cost)?;
                let passphrase = passphrase.ok_or(BackupError::NeedsPassphrase)?;
                Some(key(passphrase, &salt, cost)?)
            }
            _ => return Err(BackupError::UnknownVersion),
        };
        Ok(Self {
            input,
            seal: Seal {
                key,
                header,
                frames: 0,
            },
            chunk: Zeroizing::new(Vec::with_capacity(CHUNK + TAG_BYTES)),
            used: 0,
            last: false,
            sum: Context::new(&SHA256),
        })
    }

    /// Fills `out` with content.
    pub(super) fn take(&mut self, out: &mut [u8]) -> Result<(), BackupError> {
        self.raw(out)?;
        self.sum.update(out);
        Ok(())
    }

    /// A fixed number of bytes of content.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], BackupError> {
        let mut bytes = [0; N];
        self.take(&mut bytes)?;
        Ok(bytes)
    }

    /// Checks the digest, and that nothing follows it.
    pub(super) fn finish(mut self) -> Result<(), BackupError> {
        let sum = self.sum.clone().finish();
        let mut stated = [0; SUM];
        self.raw(&mut stated)?;
        if sum.as_ref() != stated {
            return Err(BackupError::Damaged("its digest does not match"));
        }
        let mut more = [0; 1];
        let end = self.input.read(&mut more).map_err(BackupError::Read)? == 0;
        if !self.last || self.used != self.chunk.len() || !end {
            return Err(BackupError::Damaged("something follows its end"));
        }
        Ok(())
    }

    fn raw(&mut self, mut out: &mut [u8]) -> Result<(), BackupError> {
        while !out.is_empty() {
            if self.used == self.chunk.len() {
                self.frame()?;
                continue;
            }
            let held = self.chunk.get(self.used..).unwrap_or_default();
            let count = held.len().min(out.len());
            let (now, later) = out.split_at_mut(count);
            now.copy_from_slice(held.get(..count).unwrap_or_default());
            self.used += count;
            out = later;
        }
        Ok(())
    }

    fn frame(&mut self) -> Result<(), BackupError> {
        if self.last {
            return Err(BackupError::Damaged("it ends too early"));
        }
        let mut head = [0; 4];
        self.input.read_exact(&mut head).map_err(cut)?;
        let word = u32::from_be_bytes(head);
        self.last = word & LAST != 0;
        let length = usize::try_from(word & !LAST).unwrap_or(usize::MAX);
        let tag = self.seal.key.as_ref().map_or(0, |_| TAG_BYTES);
        // An empty frame is never written; without this a file of them would be read for ever.
        if length <= tag || length > CHUNK + tag {
            return Err(BackupError::Damaged("a frame has no possible length"));
        }
        self.chunk.resize(length, 0);
        self.input.read_exact(&mut self.chunk).map_err(cut)?;
        self.used = 0;
        let first = self.seal.frames == 0;
        let (nonce, aad) = self.seal.next(head);
        let Some(key) = &self.seal.key else {
            return Ok(());
        };
        let opened = key.open_in_place(nonce, aad, &mut self.chunk);
        let clear = opened.map(|clear| clear.len()).map_err(|_| match first {
            true => BackupError::WrongPassphrase,
            false => BackupError::Damaged("a frame does not open"),
        })?;
        self.chunk.truncate(clear);
        Ok(())
    }
}

fn read_array<const N: usize>(
    input: &mut impl Read,
    header: &mut Vec<u8>,
) -> Result<[u8; N], BackupError> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes).map_err(cut)?;
    header.extend_from_slice(&bytes);
    Ok(bytes)
}

fn cut(error: io::Error) -> BackupError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => BackupError::Damaged("it ends too early"),
        _ => BackupError::Read(error),
    }
}
