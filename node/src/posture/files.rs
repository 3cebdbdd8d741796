//! Bounded reads of a host's files, under a root that a test can choose.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Largest file read whole. The list of mounts of a host full of containers is the longest.
pub(super) const MAX_FILE_BYTES: usize = 1024 * 1024;

/// Most names of one directory.
pub(super) const MAX_NAMES: usize = 64;

/// Files under a root.
#[derive(Debug, Clone)]
pub(super) struct Files {
    root: PathBuf,
}

impl Files {
    pub(super) fn under(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// Whether they are those of this host.
    pub(super) fn are_of_this_host(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Opens a file for reading; `path` is relative to the root.
    pub(super) fn open(&self, path: &str) -> Option<File> {
        File::open(self.root.join(path)).ok()
    }

    /// What a file holds; `None` where there is none, or it is too large to be what it should be.
    pub(super) fn bytes(&self, path: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let bounded = self.open(path)?.take(MAX_FILE_BYTES as u64 + 1);
        { bounded }.read_to_end(&mut bytes).ok()?;
        (bytes.len() <= MAX_FILE_BYTES).then_some(bytes)
    }

    /// The same as text.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        String::from_utf8(self.bytes(path)?).ok()
    }

    /// A file that holds one number.
    pub(super) fn number(&self, path: &str) -> Option<u64> {
        self.text(path)?.trim().parse().ok()
    }

    /// The names in a directory; `None` where there is none, or more than [`MAX_NAMES`].
    pub(super) fn names(&self, path: &str) -> Option<Vec<String>> {
        let entries = fs::read_dir(self.root.join(path)).ok()?;
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.ok()?.file_name().into_string().ok()?;
            if names.len() >= MAX_NAMES {
                return None;
            }
            names.push(name);
        }
        Some(names)
    }
}
