//! The roots after the genesis, in a file of the state directory: a CBOR array of the documents as
//! signed, in order.
//!
//! A file and not a table, because the identity is loaded before the store, and commands that run
//! without the node need the root in force. It is replaced whole and is on disk before a root is
//! acknowledged; a crash leaves the old one or the new one.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use protocol::codec::{self, CodecError};
use protocol::crypto::Crypto;
use protocol::limits::MAX_DOCUMENT_BYTES;
use protocol::trust::{TrustError, VerifiedRoot};

use crate::state_dir::StateDir;

/// Most roots after the genesis: one a week for 20 years.
pub const MAX_ROOTS: usize = 1024;

/// Largest file of them. An ordinary root has 20 kB.
pub(crate) const MAX_ROOTS_BYTES: usize = 64 * MAX_DOCUMENT_BYTES;

/// Why the roots of a state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// The file cannot be read or written.
    #[error("cannot use `{path}`: {source}")]
    File {
        /// Which.
        path: std::path::PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not what this module writes.
    #[error("`{path}` is damaged: {source}")]
    Malformed {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        source: CodecError,
    },
    /// More roots than any mesh has.
    #[error("more than {MAX_ROOTS} roots")]
    TooMany,
    /// A root does not follow from the one before.
    #[error("root {version}: {source}")]
    Trust {
        /// Which.
        version: u64,
        /// Why.
        source: TrustError,
    },
}

#[derive(minicbor::Encode, minicbor::Decode)]
#[cbor(transparent)]
struct Chain(#[n(0)] Vec<minicbor::bytes::ByteVec>);

/// The roots after the genesis kept in a state directory; none if there is no file.
///
/// # Errors
/// [`RootsError`].
pub fn read(dir: &StateDir) -> Result<Vec<Vec<u8>>, RootsError> {
    let path = dir.roots();
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(RootsError::File { path, source }),
    };
    let chain: Chain = codec::decode(&bytes, MAX_ROOTS_BYTES)
        .map_err(|source| RootsError::Malformed { path, source })?;
    if chain.0.len() > MAX_ROOTS {
        return Err(RootsError::TooMany);
    }
    Ok(chain.0.into_iter().map(Into::into).collect())
}

/// Keeps these as the roots after the genesis; they are on disk when it returns.
///
/// # Errors
/// [`RootsError`].
pub fn write<'a>(
    dir: &StateDir,
    roots: impl IntoIterator<Item = &'a [u8]>,
) -> Result<(), RootsError> {
    let roots: Vec<minicbor::bytes::ByteVec> =
        roots.into_iter().map(|root| root.to_vec().into()).collect();
    if roots.len() > MAX_ROOTS {
        return Err(RootsError::TooMany);
    }
    let path = dir.roots();
    replace(&path, &codec::encode(&Chain(roots)))
        .map_err(|source| RootsError::File { path, source })
}

/// The root in force: the last of the chain that begins with `genesis`.
///
/// # Errors
/// [`RootsError::Trust`] for the first that does not follow.
pub fn in_force(
    crypto: &dyn Crypto,
    genesis: &[u8],
    roots: &[Vec<u8>],
) -> Result<VerifiedRoot, RootsError> {
    let first = VerifiedRoot::genesis(crypto, genesis)
        .map_err(|source| RootsError::Trust { version: 1, source })?;
    roots.iter().try_fold(first, |root, bytes| {
        let version = root.root().version + 1;
        root.successor(crypto, &bytes.as_slice().into())
            .map_err(|source| RootsError::Trust { version, source })
    })
}

/// Replaces a file of the state directory, 0600, by a rename: a crash leaves the old or the new.
///
/// # Errors
/// What the system says.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    match std::fs::remove_file(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}
