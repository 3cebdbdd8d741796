//! Proposals this node keeps while they gather signatures.
//!
//! One file each in a private directory, so that a restart loses none. Only proposals for the
//! root in force are kept: any other can never become one. Whoever is local may put one here, so
//! their number is bounded; nobody else can.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::control::MAX_PROPOSALS;
use protocol::crypto::Crypto;
use protocol::id::Digest;
use protocol::trust::proposal::MAX_PROPOSAL_BYTES;
use protocol::trust::{Proposal, ProposalError, VerifiedRoot};

use crate::state_dir::private;

/// Most bytes of proposals kept: three of the largest bundles. They are held in memory too.
const MAX_KEPT_BYTES: usize = 3 * MAX_PROPOSAL_BYTES;

/// The end of a kept proposal's file name.
const EXTENSION: &str = "proposal";

/// Why a proposal is not kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// It is none, or its signatures do not hold.
    #[error(transparent)]
    Proposal(#[from] ProposalError),
    /// It follows a root that is not in force here.
    #[error("the proposal follows another root than version {0}, which is in force here")]
    OtherRoot(u64),
    /// There are as many as are kept.
    #[error("{MAX_PROPOSALS} proposals wait here already")]
    Full,
    /// They take as much room as they may.
    #[error("the proposals that wait here have {MAX_KEPT_BYTES} bytes already")]
    NoRoom,
    /// The disk.
    #[error("cannot keep the proposal in `{}`: {source}", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The proposals kept here.
pub struct Proposals {
    directory: PathBuf,
    crypto: Arc<dyn Crypto>,
    kept: Mutex<BTreeMap<Digest, Proposal>>,
}

impl Proposals {
    /// Opens the directory, made where there is none, and reads what holds and still follows
    /// `root`. What does not is removed.
    ///
    /// # Errors
    /// [`KeepError::Write`] if the directory cannot be used.
    pub fn open(
        directory: PathBuf,
        crypto: Arc<dyn Crypto>,
        root: &VerifiedRoot,
    ) -> Result<Self, KeepError> {
        let failed = |source| KeepError::Write {
            path: directory.clone(),
            source,
        };
        match DirBuilder::new().mode(0o700).create(&directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed(error));
            }
            _ => {}
        }
        let mut kept = BTreeMap::new();
        for entry in std::fs::read_dir(&directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let read = private::read_file(&path, MAX_PROPOSAL_BYTES)
                .ok()
                .and_then(|bytes| Proposal::read(&*crypto, &bytes).ok())
                .filter(|proposal| proposal.follows() == root.hash());
            match read {
                Some(proposal) if kept.len() < MAX_PROPOSALS => {
                    kept.insert(proposal.id(), proposal);
                }
                // Half a write, or overtaken by another root.
                _ => std::fs::remove_file(&path).map_err(failed)?,
            }
        }
        Ok(Self {
            directory,
            crypto,
            kept: Mutex::new(kept),
        })
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<Digest, Proposal>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins a proposal file's signatures to those there are and keeps the result, on disk when
    /// this returns. Blocks on the disk.
    ///
    /// # Errors
    /// [`KeepError`].
    pub fn join(&self, root: &VerifiedRoot, file: &[u8]) -> Result<Proposal, KeepError> {
        let proposal = Proposal::read(&*self.crypto, file)?;
        if proposal.follows() != root.hash() {
            return Err(KeepError::OtherRoot(root.root().version));
        }
        let mut kept = self.kept();
        let joined = match kept.get(&proposal.id()) {
            Some(known) => known.clone().merged(&*self.crypto, &proposal)?,
            None if kept.len() >= MAX_PROPOSALS => return Err(KeepError::Full),
            None if size_of(&kept) + proposal.size() > MAX_KEPT_BYTES => {
                return Err(KeepError::NoRoom);
            }
            None => proposal,
        };
        if kept.get(&joined.id()) != Some(&joined) {
            self.write(&joined)?;
            kept.insert(joined.id(), joined.clone());
        }
        Ok(joined)
    }

    /// Forgets one; whether it was there. Blocks on the disk.
    ///
    /// # Errors
    /// [`KeepError::Write`].
    pub fn forget(&self, id: &Digest) -> Result<bool, KeepError> {
        let mut kept = self.kept();
        if !kept.contains_key(id) {
            return Ok(false);
        }
        self.remove(id)?;
        kept.remove(id);
        Ok(true)
    }

    /// Forgets what follows another root than `root`. Blocks on the disk.
    ///
    /// # Errors
    /// [`KeepError::Write`].
    pub fn prune(&self, root: &VerifiedRoot) -> Result<(), KeepError> {
        let mut kept = self.kept();
        let overtaken: Vec<Digest> = kept
            .values()
            .filter(|proposal| proposal.follows() != root.hash())
            .map(Proposal::id)
            .collect();
        for id in overtaken {
            self.remove(&id)?;
            kept.remove(&id);
        }
        Ok(())
    }

    /// What follows `root`, oldest first.
    #[must_use]
    pub fn list(&self, root: &VerifiedRoot) -> Vec<Proposal> {
        let kept = self.kept();
        let mut list: Vec<Proposal> = kept
            .values()
            .filter(|proposal| proposal.follows() == root.hash())
            .cloned()
            .collect();
        list.sort_by_key(|proposal| (proposal.created(), proposal.id()));
        list
    }

    fn path(&self, id: &Digest) -> PathBuf {
        self.directory.join(format!("{id}.{EXTENSION}"))
    }

    fn write(&self, proposal: &Proposal) -> Result<(), KeepError> {
        let path = self.path(&proposal.id());
        let part = path.with_extension("part");
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&part)?;
            file.write_all(&proposal.file())?;
            file.sync_all()?;
            std::fs::rename(&part, &path)?;
            sync(&self.directory)
        };
        write().map_err(|source| KeepError::Write {
            path: path.clone(),
            source,
        })
    }

    fn remove(&self, id: &Digest) -> Result<(), KeepError> {
        let path = self.path(id);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(KeepError::Write { path, source })
            }
            _ => Ok(()),
        }
    }
}

fn size_of(kept: &BTreeMap<Digest, Proposal>) -> usize {
    kept.values().map(Proposal::size).sum()
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
