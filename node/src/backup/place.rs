//! Putting what was restored in the place of what was there, finished whatever interrupts it.
//!
//! Everything is unpacked, checked and amended in the staging directory; of the state directory
//! nothing is touched until a [`Commit`] is on disk in it. From then on the restore will be
//! finished, by this process or by the next `restore`, and nothing else may begin there:
//! [`crate::setup`] refuses a directory with a commit. Every step can be done again:
//!
//! 1. what was there is moved aside, never removed; nothing of the backup is in place yet;
//! 2. the commit says so;
//! 3. what was restored is moved to where it belongs, the membership last;
//! 4. the staging directory goes, then the commit.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use protocol::codec;
use protocol::id::{MeshId, NodeId};
use protocol::time::UnixSeconds;

use super::make::Head;
use super::marker::sync;
use super::restore::{Report, STAGING};
use super::{BackupError, ENTRIES, MARKER};
use crate::crash;
use crate::state_dir::StateDir;
use crate::state_dir::private::{self, PrivateError};

/// The admin's journal, as a backup and the staging directory name it. In a state directory its
/// name ends with the mesh's.
pub(super) const JOURNAL: &str = "keys/admin.log";

/// What of a rotation of keys there may be.
pub(super) const ROTATION: [&str; 3] = [
    "rotation/keys/tls.key",
    "rotation/keys/signing.key",
    "rotation/membership.cose",
];

/// What makes a directory a node.
const MEMBERSHIP: &str = "membership.cose";

/// How the directories begin into which is moved what was there.
pub(super) const ASIDE: &str = "before-restore-";

/// Directories below the state directory that hold entries.
const DIRECTORIES: [&str; 3] = ["keys", "rotation", "rotation/keys"];

/// Largest commit read.
const MAX_COMMIT_BYTES: usize = 4096;

/// A restore that will be finished.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub(super) struct Commit {
    /// When the backup was made.
    #[n(1)]
    made: UnixSeconds,
    /// Its mesh.
    #[n(2)]
    mesh: MeshId,
    /// Its node.
    #[n(3)]
    node: NodeId,
    /// The kinds of the entries it had.
    #[n(4)]
    entries: Vec<u64>,
    /// Tickets that are void.
    #[n(5)]
    tickets_voided: u64,
    /// Whether the store is the one that was there.
    #[n(6)]
    store_kept: bool,
    /// Where what was there is moved, if there was something.
    #[n(7)]
    aside: Option<String>,
    /// Whether all of it is there.
    #[n(8)]
    moved: bool,
}

impl Commit {
    /// What is going to be put in place; the report of it is that of the whole restore.
    pub(super) fn of(head: Head, report: &Report) -> Self {
        let kinds = ENTRIES
            .iter()
            .filter(|e| report.entries.contains(&e.path))
            .map(|e| e.kind.into());
        let aside = report.previous.as_deref().and_then(Path::file_name);
        Self {
            made: head.made,
            mesh: head.mesh,
            node: head.node,
            entries: kinds.collect(),
            tickets_voided: report.tickets_voided as u64,
            store_kept: report.store_kept,
            aside: aside.map(|name| name.to_string_lossy().into_owned()),
            moved: false,
        }
    }

    /// The one in a state directory, if a restore was interrupted there.
    ///
    /// # Errors
    /// [`BackupError::Marker`] for one that cannot be read.
    pub(super) fn pending(dir: &StateDir) -> Result<Option<Self>, BackupError> {
        let path = dir.restore_under_way();
        match private::read_file(&path, MAX_COMMIT_BYTES) {
            Ok(bytes) => codec::decode(&bytes, MAX_COMMIT_BYTES)
                .map(Some)
                .map_err(|_| BackupError::Marker(path)),
            Err(PrivateError::Missing { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether it is of this backup.
    pub(super) fn is_of(&self, head: Head) -> bool {
        (self.made, self.mesh, self.node) == (head.made, head.mesh, head.node)
    }

    fn keep(&self, dir: &StateDir) -> Result<(), BackupError> {
        crash::point();
        crate::roots::replace(&dir.restore_under_way(), &codec::encode(self))
            .map_err(BackupError::Write)?;
        crash::point();
        Ok(())
    }

    fn report(&self, dir: &StateDir) -> Report {
        let listed = |kind: u8| self.entries.contains(&kind.into());
        let entries = ENTRIES.iter().filter(|e| listed(e.kind));
        Report {
            node: self.node,
            mesh: self.mesh,
            made: self.made,
            entries: entries.map(|e| e.path).collect(),
            tickets_voided: usize::try_from(self.tickets_voided).unwrap_or(usize::MAX),
            previous: self.aside.as_ref().map(|name| dir.path().join(name)),
            store_kept: self.store_kept,
        }
    }
}

/// Decides that what is in the staging directory will be in place, and puts it there.
///
/// # Errors
/// [`BackupError::Write`]; once the commit is on disk, it is finished by the next `restore`.
pub(super) fn put(dir: &StateDir, commit: Commit) -> Result<Report, BackupError> {
    let staging = dir.path().join(STAGING);
    for below in DIRECTORIES {
        if staging.join(below).exists() {
            sync(&staging.join(below))?;
        }
    }
    sync(&staging)?;
    commit.keep(dir)?;
    finish(dir, commit)
}

/// Finishes a restore that was decided.
///
/// # Errors
/// [`BackupError::Write`]; then it can be tried again.
pub(super) fn finish(dir: &StateDir, mut commit: Commit) -> Result<Report, BackupError> {
    let staging = dir.path().join(STAGING);
    if !commit.moved {
        if let Some(aside) = &commit.aside {
            move_entries(dir.path(), &dir.path().join(aside), |path| {
                let held = place(path, &commit.mesh);
                (held.clone(), held)
            })?;
        }
        commit.moved = true;
        commit.keep(dir)?;
    }
    // Gone once everything was moved out of it.
    if staging.exists() {
        rename(&staging.join(MARKER), &dir.path().join(MARKER))?;
        move_entries(&staging, dir.path(), |path| {
            (path.to_owned(), place(path, &commit.mesh))
        })?;
        std::fs::remove_dir_all(&staging).map_err(BackupError::Write)?;
        crash::point();
    }
    std::fs::remove_file(dir.restore_under_way()).map_err(BackupError::Write)?;
    crash::point();
    sync(dir.path())?;
    Ok(commit.report(dir))
}

/// Where an entry stands in a state directory.
pub(super) fn place(entry: &str, mesh: &MeshId) -> String {
    if entry == JOURNAL {
        format!("{JOURNAL}-{}", mesh.short())
    } else {
        entry.to_owned()
    }
}

/// Moves every entry there is, the membership last, each on disk before the next kind of step.
fn move_entries(
    from: &Path,
    to: &Path,
    names: impl Fn(&str) -> (String, String),
) -> Result<(), BackupError> {
    let mut builder = DirBuilder::new();
    builder.mode(0o700).recursive(true);
    builder
        .create(to.join("keys"))
        .map_err(BackupError::Write)?;
    if ROTATION.iter().any(|file| from.join(file).exists()) {
        let below = to.join("rotation/keys");
        builder.create(below).map_err(BackupError::Write)?;
    }
    let others = ENTRIES.iter().filter(|e| e.path != MEMBERSHIP);
    for entry in others {
        let (source, target) = names(entry.path);
        rename(&from.join(source), &to.join(target))?;
    }
    for below in DIRECTORIES {
        if to.join(below).exists() {
            sync(&to.join(below))?;
        }
    }
    let (source, target) = names(MEMBERSHIP);
    rename(&from.join(source), &to.join(target))?;
    sync(to)?;
    sync(from)
}

/// Moves an entry that may not be there.
fn rename(from: &Path, to: &Path) -> Result<(), BackupError> {
    crash::point();
    match std::fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(BackupError::Write(error)),
        _ => Ok(()),
    }
}

/// Where what was there at this time is moved.
pub(super) fn aside(dir: &StateDir, milliseconds: u64) -> PathBuf {
    dir.path().join(format!("{ASIDE}{milliseconds}"))
}
