//! The demo's directory: made private, removed at the end, and after a kill -9 by the next demo.
//!
//! Each has a lock file held as long as its demo lives, so that a directory whose lock is free is
//! known to be left over. Only directories of the same user are touched.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::exit::{Exit, Failed};

/// How the directories' names begin.
const PREFIX: &str = "hedgerow-demo-";
/// The lock in each.
const LOCK: &str = "lock";
/// Names tried before giving up.
const MAX_TRIES: u32 = 100;

/// The directory. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Workspace {
    path: PathBuf,
    _lock: File,
}

impl Workspace {
    /// Removes what killed demos left, and makes a new directory, 0700, in the temporary one.
    pub(super) fn create() -> Result<Self, Failed> {
        Self::create_in(&std::env::temp_dir())
    }

    fn create_in(base: &Path) -> Result<Self, Failed> {
        sweep(base);
        let pid = std::process::id();
        for attempt in 0..MAX_TRIES {
            let path = base.join(format!("{PREFIX}{pid}-{attempt}"));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(cannot(&path, &error)),
            }
            let lock = File::create_new(path.join(LOCK)).map_err(|error| cannot(&path, &error))?;
            // Another demo's sweep may take the lock first; the directory is then its to remove.
            if lock.try_lock().is_ok() {
                return Ok(Self { path, _lock: lock });
            }
        }
        Err(Failed::new(
            Exit::Failure,
            format!("no free name for a directory in `{}`", base.display()),
        ))
    }

    /// The directory itself.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A host's state directory.
    pub(super) fn state(&self, host: &str) -> PathBuf {
        self.path.join(host)
    }

    /// A file in it, as a word of a command.
    pub(super) fn file(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }

    /// A host's state directory, made private, with this configuration in it.
    pub(super) fn configure(&self, host: &str, text: &str) -> Result<PathBuf, Failed> {
        let state = self.state(host);
        if !state.is_dir() {
            DirBuilder::new()
                .mode(0o700)
                .create(&state)
                .map_err(|error| cannot(&state, &error))?;
        }
        let file = state.join("config.toml");
        std::fs::write(&file, text).map_err(|error| cannot(&file, &error))?;
        Ok(state)
    }

    /// A file in it that only this user can read, as a word of a command.
    pub(super) fn secret(&self, name: &str, text: &str) -> Result<String, Failed> {
        let path = self.path.join(name);
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|error| cannot(&path, &error))?;
        Ok(path.display().to_string())
    }

    /// A new directory in it, as a word of a command.
    pub(super) fn dir(&self, name: &str) -> Result<String, Failed> {
        let path = self.path.join(name);
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| cannot(&path, &error))?;
        Ok(path.display().to_string())
    }
}

fn cannot(path: &Path, error: &std::io::Error) -> Failed {
    Failed::new(
        Exit::Failure,
        format!("cannot make `{}`: {error}", path.display()),
    )
    .with_hint("set `TMPDIR` to a directory this user can write to")
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            crate::exit::say(&format!(
                "note: `{}` was not removed: {error}",
                self.path.display()
            ));
        }
    }
}

/// Removes directories whose demo is gone. What cannot be judged or removed is left.
fn sweep(base: &Path) {
    let own = rustix::process::geteuid().as_raw();
    let Ok(entries) = std::fs::read_dir(base) else {
        return;
    };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let path = entry.path();
        let ours = path
            .symlink_metadata()
            .is_ok_and(|meta| meta.is_dir() && meta.uid() == own);
        let Ok(lock) = File::open(path.join(LOCK)) else {
            continue;
        };
        if ours && lock.try_lock().is_ok() {
            let _ = std::fs::remove_dir_all(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workspace_is_private_and_goes_when_dropped() {
        let base = tempfile::tempdir().unwrap();
        let workspace = Workspace::create_in(base.path()).unwrap();
        let path = workspace.path().to_owned();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        workspace.dir("envelopes").unwrap();
        drop(workspace);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_killed_demo_left_is_swept_and_a_living_one_is_not() {
        let base = tempfile::tempdir().unwrap();
        let living = Workspace::create_in(base.path()).unwrap();
        let dead = base.path().join(format!("{PREFIX}1-0"));
        std::fs::create_dir(&dead).unwrap();
        std::fs::write(dead.join(LOCK), "").unwrap();
        let foreign = base.path().join("other");
        std::fs::create_dir(&foreign).unwrap();
        std::fs::write(foreign.join(LOCK), "").unwrap();
        let second = Workspace::create_in(base.path()).unwrap();
        assert!(!dead.exists());
        assert!(foreign.exists());
        assert!(living.path().exists());
        assert_ne!(living.path(), second.path());
    }
}
