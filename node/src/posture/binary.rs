//! The digest of the binary that runs, by which a policy can ask for an approved build.

use std::io::Read as _;
use std::sync::OnceLock;

use aws_lc_rs::digest::{Context, SHA256};
use protocol::id::Digest;

use super::files::Files;

/// Largest binary hashed; a larger one is not claimed.
pub const MAX_BINARY_BYTES: u64 = 1 << 30;

/// The running image itself, also where the file was replaced since.
const SELF: &str = "proc/self/exe";

/// Of this process; it cannot change.
static OWN: OnceLock<Option<Digest>> = OnceLock::new();

/// SHA-256 of the running binary. Reads all of it, once in the life of this process.
pub(super) fn digest(files: &Files) -> Option<Digest> {
    if files.are_of_this_host() {
        *OWN.get_or_init(|| read(files))
    } else {
        read(files)
    }
}

fn read(files: &Files) -> Option<Digest> {
    let mut file = files.open(SELF)?.take(MAX_BINARY_BYTES + 1);
    let mut hash = Context::new(&SHA256);
    let mut piece = vec![0; 64 * 1024];
    let mut total = 0_u64;
    loop {
        let read = file.read(&mut piece).ok()?;
        if read == 0 {
            break;
        }
        hash.update(piece.get(..read)?);
        total = total.saturating_add(read as u64);
    }
    let bytes: [u8; 32] = hash.finish().as_ref().try_into().ok()?;
    (total <= MAX_BINARY_BYTES).then(|| Digest::from_bytes(bytes))
}
