//! The state directory: everything a node keeps, in one place only its user can enter.
//!
//! ```text
//! config.toml  root.cose  membership.cose  store.redb  control.sock  mcp.sock  lock
//! keys/{tls,signing,admin,issuer,timestamper}.key  keys/admin.{card,lock,log-MESH}  proposals/
//! ```
//!
//! Directories are 0700, files 0600; anything looser, owned by another user or reached through a
//! symbolic link is refused. [`StateDir::lock`] is held by the one process that runs the node;
//! commands that need no daemon use the paths without it. This module knows names, not contents.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use protocol::limits::MAX_DOCUMENT_BYTES;

pub mod private;

use private::PrivateError;

use crate::config::environment;

/// The configuration, in the state directory.
pub const CONFIG_FILE: &str = "config.toml";

/// Longest process id text read from the lock file.
const MAX_PID_BYTES: u64 = 20;

/// The name of [`StateDir::restore_under_way`].
pub(crate) const RESTORE_UNDER_WAY: &str = "restore-under-way";

/// Longest path of a state directory. A Unix socket path holds 107 bytes; `/control.sock` takes
/// 13 of them.
pub const MAX_STATE_DIR_BYTES: usize = 94;

/// Why the state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// No directory was named and none can be derived.
    #[error(
        "no state directory: neither `{}` nor `HOME` is set",
        environment::STATE_DIR
    )]
    Unnamed,
    /// A relative path would mean another directory after the next `cd`.
    #[error("the state directory `{}` is not an absolute path", path.display())]
    Relative {
        /// The path.
        path: PathBuf,
    },
    /// The sockets in it could not be bound.
    #[error("the state directory path has {found} bytes, sockets in it allow {max}")]
    TooLong {
        /// Bytes found.
        found: usize,
        /// [`MAX_STATE_DIR_BYTES`].
        max: usize,
    },
    /// It does not exist.
    #[error("there is no state directory `{}`", path.display())]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// It could not be created.
    #[error("cannot create `{}`: {source}", path.display())]
    Create {
        /// The path.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// It, or something in it, is not private.
    #[error(transparent)]
    Private(#[from] PrivateError),
    /// A node already runs on it.
    #[error("another node{} already runs on `{}`", process(*pid), path.display())]
    Locked {
        /// The state directory.
        path: PathBuf,
        /// Its process id, if it could be read.
        pid: Option<u32>,
    },
}

impl StateDirError {
    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unnamed => Some(format!("set `{}`", environment::STATE_DIR)),
            Self::Relative { .. } => Some("name it from the root: `/…`".to_owned()),
            Self::TooLong { .. } => Some("choose a shorter path".to_owned()),
            Self::Missing { .. } => Some("run `hedgerow up` first".to_owned()),
            Self::Create { path, source } => private::io_hint(path, source),
            Self::Private(inner) => inner.hint(),
            Self::Locked { .. } => Some(format!(
                "stop it, or set `{}` to another directory",
                environment::STATE_DIR
            )),
        }
    }
}

fn process(pid: Option<u32>) -> String {
    pid.map(|p| format!(" (process {p})")).unwrap_or_default()
}

/// A state directory that has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDir {
    path: PathBuf,
}

/// Held as long as this process runs the node; released by the kernel however it ends.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
}

impl StateDir {
    /// `HEDGEROW_STATE_DIR`, else `$XDG_STATE_HOME/hedgerow`, else `~/.local/state/hedgerow`.
    /// `variable` reads the environment.
    ///
    /// # Errors
    /// [`StateDirError::Unnamed`].
    pub fn default_path(
        variable: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<PathBuf, StateDirError> {
        let set = |name: &str| variable(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        if let Some(path) = set(environment::STATE_DIR) {
            return Ok(path);
        }
        // The XDG specification says that relative values are to be ignored.
        if let Some(base) = set("XDG_STATE_HOME").filter(|p| p.is_absolute()) {
            return Ok(base.join("hedgerow"));
        }
        let home = set("HOME").ok_or(StateDirError::Unnamed)?;
        Ok(home.join(".local/state/hedgerow"))
    }

    /// Opens an existing state directory.
    ///
    /// # Errors
    /// Everything but [`StateDirError::Create`] and [`StateDirError::Locked`].
    pub fn open(path: &Path) -> Result<Self, StateDirError> {
        check_path(path)?;
        match private::open_dir(path) {
            Ok(_) => Ok(Self {
                path: path.to_owned(),
            }),
            Err(PrivateError::Missing { path }) => Err(StateDirError::Missing { path }),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a state directory and creates what is missing of it, `keys` included.
    ///
    /// # Errors
    /// Everything but [`StateDirError::Missing`] and [`StateDirError::Locked`].
    pub fn create(path: &Path) -> Result<Self, StateDirError> {
        check_path(path)?;
        create_private(path, true)?;
        let dir = Self::open(path)?;
        create_private(&dir.keys(), false)?;
        private::open_dir(&dir.keys())?;
        Ok(dir)
    }

    /// Refuses a directory of keys that others may enter, and a root or membership open to others.
    /// What is not there is missed by whoever needs it.
    ///
    /// # Errors
    /// [`StateDirError::Private`].
    pub fn is_private(&self) -> Result<(), StateDirError> {
        let document = |path: PathBuf| private::read_file(&path, MAX_DOCUMENT_BYTES).map(drop);
        for looked in [
            private::open_dir(&self.keys()).map(drop),
            document(self.root()),
            document(self.membership()),
        ] {
            match looked {
                Ok(()) | Err(PrivateError::Missing { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Takes the lock that one running node holds.
    ///
    /// # Errors
    /// [`StateDirError::Locked`], or why the lock file cannot be used.
    pub fn lock(&self) -> Result<StateLock, StateDirError> {
        let path = self.path.join("lock");
        let io = |source| PrivateError::Io {
            path: path.clone(),
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(private::open_flags())
            .open(&path)
            .map_err(|e| PrivateError::from_open(&path, e))?;
        let meta = private::metadata(&path, &file)?;
        private::check(&path, &meta, private::Expect::File)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StateDirError::Locked {
                    path: self.path.clone(),
                    pid: read_pid(&mut file),
                });
            }
            Err(TryLockError::Error(source)) => return Err(io(source).into()),
        }
        // The process id is for the message above only; the lock is the kernel's.
        file.set_len(0).map_err(io)?;
        file.rewind().map_err(io)?;
        write!(file, "{}", std::process::id()).map_err(io)?;
        Ok(StateLock { _file: file })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.path.join(CONFIG_FILE)
    }

    /// The directory of key files.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.path.join("keys")
    }

    /// The key file of one kind.
    #[must_use]
    pub fn key(&self, kind: crate::keys::KeyKind) -> PathBuf {
        self.keys().join(kind.file_name())
    }

    /// The mesh's root document.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.path.join("root.cose")
    }

    /// The roots after the genesis ([`crate::roots`]).
    #[must_use]
    pub fn roots(&self) -> PathBuf {
        self.path.join("roots.cbor")
    }

    /// Says that a restore will be finished here ([`crate::backup`]) and no node may start before.
    #[must_use]
    pub fn restore_under_way(&self) -> PathBuf {
        self.path.join(RESTORE_UNDER_WAY)
    }

    /// The directory of documents that gather signatures.
    #[must_use]
    pub fn proposals(&self) -> PathBuf {
        self.path.join("proposals")
    }

    /// The bundle a mesh is founded with, until its first node has put it in force.
    #[must_use]
    pub fn founding_bundle(&self) -> PathBuf {
        self.path.join("founding.bundle")
    }

    /// This node's membership.
    #[must_use]
    pub fn membership(&self) -> PathBuf {
        self.path.join("membership.cose")
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.path.join("store.redb")
    }

    /// The control API's socket.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.path.join("control.sock")
    }

    /// The socket of the stdio edge.
    #[must_use]
    pub fn mcp_socket(&self) -> PathBuf {
        self.path.join("mcp.sock")
    }
}

fn check_path(path: &Path) -> Result<(), StateDirError> {
    if !path.is_absolute() {
        return Err(StateDirError::Relative {
            path: path.to_owned(),
        });
    }
    let found = path.as_os_str().len();
    if found > MAX_STATE_DIR_BYTES {
        return Err(StateDirError::TooLong {
            found,
            max: MAX_STATE_DIR_BYTES,
        });
    }
    Ok(())
}

/// Creates a directory 0700; one that exists is left as it is (and checked by the caller).
fn create_private(path: &Path, parents: bool) -> Result<(), StateDirError> {
    let made = DirBuilder::new()
        .recursive(parents)
        .mode(0o700)
        .create(path);
    match made {
        Ok(()) => Ok(()),
        // Whatever stands there is checked next, and named for what it is.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(StateDirError::Create {
            path: path.to_owned(),
            source,
        }),
    }
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(MAX_PID_BYTES).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn it_is_created_private_and_opens_again() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("a/b");
        let missing = StateDir::open(&path).unwrap_err();
        assert!(matches!(missing, StateDirError::Missing { .. }));
        assert!(missing.hint().unwrap().contains("hedgerow up"));

        let dir = StateDir::create(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&dir.keys()), 0o700);
        assert_eq!(StateDir::open(&path).unwrap(), dir);
        assert_eq!(StateDir::create(&path).unwrap(), dir);
    }

    #[test]
    fn an_exposed_or_linked_directory_is_refused() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("s");
        let dir = StateDir::create(&path).unwrap();
        std::fs::set_permissions(dir.keys(), std::fs::Permissions::from_mode(0o750)).unwrap();
        assert!(matches!(
            StateDir::create(&path),
            Err(StateDirError::Private(PrivateError::Exposed { .. }))
        ));
        assert!(dir.is_private().is_err());
        std::fs::set_permissions(dir.keys(), std::fs::Permissions::from_mode(0o700)).unwrap();
        dir.is_private().unwrap();
        std::fs::write(dir.membership(), b"").unwrap();
        std::fs::set_permissions(dir.membership(), std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(dir.is_private().is_err());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let error = StateDir::open(&path).unwrap_err();
        assert!(error.hint().unwrap().contains("chmod 700"), "{error}");

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        let link = tmp.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        for error in [StateDir::open(&link), StateDir::create(&link)] {
            assert!(matches!(
                error,
                Err(StateDirError::Private(PrivateError::Symlink { .. }))
            ));
        }
    }

    #[test]
    fn a_file_in_its_place_a_relative_and_a_long_path_are_refused() {
        let tmp = tempfile::tempdir().unwrap();
        let file = tmp.path().join("f");
        std::fs::write(&file, b"").unwrap();
        assert!(matches!(
            StateDir::create(&file),
            Err(StateDirError::Private(PrivateError::WrongType { .. }))
        ));
        assert!(matches!(
            StateDir::create(Path::new("here")),
            Err(StateDirError::Relative { .. })
        ));
        let long = PathBuf::from(format!("/{}", "x".repeat(MAX_STATE_DIR_BYTES)));
        assert!(matches!(
            StateDir::create(&long),
            Err(StateDirError::TooLong { .. })
        ));
    }

    #[test]
    fn one_node_at_a_time() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = StateDir::create(&tmp.path().join("s")).unwrap();
        let held = dir.lock().unwrap();
        let error = dir.lock().unwrap_err();
        assert!(
            matches!(error, StateDirError::Locked { pid: Some(p), .. } if p == std::process::id()),
            "{error}"
        );
        drop(held);
        dir.lock().unwrap();
    }

    #[test]
    fn the_default_path_follows_the_environment() {
        let lookup = |pairs: &'static [(&'static str, &'static str)]| {
            move |name: &str| {
                let found = pairs.iter().find(|(n, _)| *n == name);
                found.map(|(_, v)| OsString::from(v))
            }
        };
        let path = |pairs| StateDir::default_path(&lookup(pairs));
        let all = &[
            ("HEDGEROW_STATE_DIR", "/s"),
            ("XDG_STATE_HOME", "/x"),
            ("HOME", "/h"),
        ];
        assert_eq!(path(all).unwrap(), Path::new("/s"));
        let xdg = &[("XDG_STATE_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(path(xdg).unwrap(), Path::new("/x/hedgerow"));
        let relative = &[("XDG_STATE_HOME", "x"), ("HOME", "/h")];
        let home = Path::new("/h/.local/state/hedgerow");
        assert_eq!(path(relative).unwrap(), home);
        assert_eq!(path(&[("HOME", "/h")]).unwrap(), home);
        assert!(matches!(path(&[]), Err(StateDirError::Unnamed)));
    }
}
