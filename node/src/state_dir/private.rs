//! Files and directories that only the node's own user may touch.
//!
//! Checks are made on the open descriptor, never on a path that could be exchanged between the
//! check and the use; the last component of a path is never followed when it is a symbolic link.
//! Directories above are the operator's affair.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

/// Permission bits that must be clear: everything for group and others.
const FOREIGN_BITS: u32 = 0o077;

/// Of those, the ones that let them change it.
const FOREIGN_WRITE_BITS: u32 = 0o022;

/// Permission bits shown in messages.
const MODE_BITS: u32 = 0o7777;

/// Why a file or directory is not private, or could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum PrivateError {
    /// Nothing has this path.
    #[error("`{}` does not exist", path.display())]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// The path is a symbolic link; links are not followed.
    #[error("`{}` is a symbolic link", path.display())]
    Symlink {
        /// The path.
        path: PathBuf,
    },
    /// Another kind of thing than expected (a device, a pipe, a directory, a file).
    #[error("`{}` is not a {expected}", path.display())]
    WrongType {
        /// The path.
        path: PathBuf,
        /// What was expected: `regular file` or `directory`.
        expected: &'static str,
    },
    /// It belongs to another user.
    #[error("`{}` belongs to user {owner}, this process runs as user {user}", path.display())]
    ForeignOwner {
        /// The path.
        path: PathBuf,
        /// Its owner's uid.
        owner: u32,
        /// Our effective uid.
        user: u32,
    },
    /// Group or others have access.
    #[error("`{}` is open to other users (mode {mode:04o})", path.display())]
    Exposed {
        /// The path.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// The permission bits it should have.
        wanted: u32,
    },
    /// Larger than anything of its kind; it was not read.
    #[error("`{}` has more than {max} bytes", path.display())]
    TooLarge {
        /// The path.
        path: PathBuf,
        /// The bound in bytes.
        max: usize,
    },
    /// The operating system said no.
    #[error("cannot use `{}`: {source}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl PrivateError {
    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { .. } | Self::TooLarge { .. } => None,
            Self::Symlink { path } => Some(format!(
                "put the file itself at `{}`, or name the link's target",
                path.display()
            )),
            Self::WrongType { path, .. } => Some(format!("move `{}` away", path.display())),
            // What root wrote there its owner could not read afterwards.
            Self::ForeignOwner { owner, user: 0, .. } => {
                Some(format!("run it as its owner: `sudo -u '#{owner}' …`"))
            }
            Self::ForeignOwner { path, user, .. } => Some(format!(
                "run it as its owner, or `chown -R {user} {}`",
                path.display()
            )),
            Self::Exposed { path, wanted, .. } => {
                Some(format!("run `chmod {wanted:o} {}`", path.display()))
            }
            Self::Io { path, source } => io_hint(path, source),
        }
    }

    /// The variant for an error of opening `path`.
    pub(crate) fn from_open(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        if source.kind() == io::ErrorKind::NotFound {
            return Self::Missing { path };
        }
        if source.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) {
            return Self::Symlink { path };
        }
        Self::Io { path, source }
    }
}

/// What to do about an error of the operating system on `path`, where something can be done.
pub(crate) fn io_hint(path: &Path, source: &io::Error) -> Option<String> {
    let path = path.display();
    match source.kind() {
        io::ErrorKind::PermissionDenied => Some(format!(
            "let this user read and write `{path}`, or choose another state directory"
        )),
        io::ErrorKind::ReadOnlyFilesystem => Some(format!(
            "`{path}` is on a read-only file system: mount it writable, or choose another state directory"
        )),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some(format!("free space on the file system of `{path}`"))
        }
        _ => None,
    }
}

/// Opens a private regular file for reading and checks the open descriptor.
///
/// # Errors
/// Every variant of [`PrivateError`] but `TooLarge`.
fn open_file(path: &Path) -> Result<File, PrivateError> {
    let file = open_unchecked(path)?;
    check(path, &metadata(path, &file)?, Expect::File)?;
    Ok(file)
}

/// Reads a private file of at most `max` bytes into memory that is wiped.
///
/// # Errors
/// Every variant of [`PrivateError`].
pub(crate) fn read_file(path: &Path, max: usize) -> Result<Zeroizing<Vec<u8>>, PrivateError> {
    let file = open_file(path)?;
    read_bounded(path, file, max)
}

/// Reads a file of at most `max` bytes that others may read but not change: configuration.
///
/// # Errors
/// Every variant of [`PrivateError`].
pub(crate) fn read_owned_file(path: &Path, max: usize) -> Result<Zeroizing<Vec<u8>>, PrivateError> {
    let file = open_unchecked(path)?;
    check(path, &metadata(path, &file)?, Expect::OwnedFile)?;
    read_bounded(path, file, max)
}

/// Reads at most `max` bytes of an open file, and refuses a longer one.
fn read_bounded(path: &Path, file: File, max: usize) -> Result<Zeroizing<Vec<u8>>, PrivateError> {
    // Capacity up front: growing would leave copies of secrets behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(max.saturating_add(1)));
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit)
        .read_to_end(&mut bytes)
        .map_err(|source| PrivateError::Io {
            path: path.to_owned(),
            source,
        })?;
    if bytes.len() > max {
        return Err(PrivateError::TooLarge {
            path: path.to_owned(),
            max,
        });
    }
    Ok(bytes)
}

/// Opens a private directory and checks the open descriptor.
///
/// # Errors
/// Every variant of [`PrivateError`] but `TooLarge`.
pub(crate) fn open_dir(path: &Path) -> Result<File, PrivateError> {
    let dir = open_unchecked(path)?;
    check(path, &metadata(path, &dir)?, Expect::Directory)?;
    Ok(dir)
}

/// Flags for opening anything in the state directory. `O_NONBLOCK`: opening a pipe put in a
/// file's place must not hang the start.
pub(crate) fn open_flags() -> i32 {
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    flags.bits().cast_signed()
}

/// Opens without checking whose it is: for looking at another user's directory only.
pub(crate) fn open_unchecked(path: &Path) -> Result<File, PrivateError> {
    OpenOptions::new()
        .read(true)
        .custom_flags(open_flags())
        .open(path)
        .map_err(|e| PrivateError::from_open(path, e))
}

/// What kind of thing a path should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    /// A regular file, wanted mode 0600.
    File,
    /// A regular file that others may read but not write, wanted mode 0600 too.
    OwnedFile,
    /// A directory, wanted mode 0700.
    Directory,
}

pub(crate) fn metadata(path: &Path, file: &File) -> Result<Metadata, PrivateError> {
    file.metadata().map_err(|source| PrivateError::Io {
        path: path.to_owned(),
        source,
    })
}

/// Checks kind, owner and permission bits.
pub(crate) fn check(path: &Path, meta: &Metadata, expect: Expect) -> Result<(), PrivateError> {
    let (matches, expected, wanted, refused) = match expect {
        Expect::File => (meta.is_file(), "regular file", 0o600, FOREIGN_BITS),
        Expect::OwnedFile => (meta.is_file(), "regular file", 0o600, FOREIGN_WRITE_BITS),
        Expect::Directory => (meta.is_dir(), "directory", 0o700, FOREIGN_BITS),
    };
    if !matches {
        return Err(PrivateError::WrongType {
            path: path.to_owned(),
            expected,
        });
    }
    check_owner(path, meta.uid(), rustix::process::geteuid().as_raw())?;
    if meta.mode() & refused != 0 {
        return Err(PrivateError::Exposed {
            path: path.to_owned(),
            mode: meta.mode() & MODE_BITS,
            wanted,
        });
    }
    Ok(())
}

fn check_owner(path: &Path, owner: u32, user: u32) -> Result<(), PrivateError> {
    if owner == user {
        return Ok(());
    }
    Err(PrivateError::ForeignOwner {
        path: path.to_owned(),
        owner,
        user,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn chmod(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn each_refusal_has_its_name_and_a_way_out() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        assert!(matches!(
            open_file(&file),
            Err(PrivateError::Missing { .. })
        ));

        std::fs::write(&file, b"12345").unwrap();
        for mode in [0o640, 0o604, 0o610, 0o602] {
            chmod(&file, mode);
            let error = open_file(&file).unwrap_err();
            assert!(
                matches!(error, PrivateError::Exposed { mode: m, .. } if m == mode),
                "{error}"
            );
            assert!(error.hint().unwrap().contains("chmod 600"));
        }
        chmod(&file, 0o600);
        assert_eq!(read_file(&file, 5).unwrap().as_slice(), b"12345");
        assert!(matches!(
            read_file(&file, 4),
            Err(PrivateError::TooLarge { max: 4, .. })
        ));

        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(matches!(
            open_file(&link),
            Err(PrivateError::Symlink { .. })
        ));
        assert!(matches!(
            open_file(dir.path()),
            Err(PrivateError::WrongType { .. })
        ));
        assert!(matches!(
            open_dir(&file),
            Err(PrivateError::WrongType { .. })
        ));
    }

    #[test]
    fn a_pipe_in_the_place_of_a_file_does_not_hang() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo")
            .args(["-m", "600"])
            .arg(&pipe)
            .status();
        if made.is_ok_and(|s| s.success()) {
            assert!(matches!(
                open_file(&pipe),
                Err(PrivateError::WrongType { .. })
            ));
        }
    }

    #[test]
    fn another_users_file_is_refused() {
        let error = check_owner(Path::new("/x"), 1, 2).unwrap_err();
        assert!(matches!(
            error,
            PrivateError::ForeignOwner {
                owner: 1,
                user: 2,
                ..
            }
        ));
        assert!(error.hint().unwrap().contains("chown -R 2 /x"));
        let error = check_owner(Path::new("/x"), 1, 0).unwrap_err();
        assert!(error.hint().unwrap().contains("sudo -u '#1'"));
    }
}
