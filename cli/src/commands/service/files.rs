//! What `service` writes and removes.
//!
//! Runs as root in directories others may own, so: nothing is followed through a symbolic link,
//! files appear whole or not at all, and ownership is handed on only inside a directory that was
//! root's own and private.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, OFlags, chownat};
use rustix::process::{Gid, Uid};

use super::account::Account;
use crate::exit::{Exit, Failed};

/// Permissions of a unit: it holds no secret, and everybody may look.
const UNIT_MODE: u32 = 0o644;

/// Deepest directory below a state directory whose ownership is handed on.
const MAX_DEPTH: usize = 8;

/// Reads a text file that may not be there, without following a link.
pub(super) fn read(path: &Path, max: usize) -> Result<Option<String>, Failed> {
    let failed =
        |error: io::Error| Failed::io(&format!("cannot read `{}`", path.display()), &error);
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        // A link to a unit, as `systemctl link` makes it, is somebody's: no text of ours.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            return Ok(Some(String::new()));
        }
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    let bound = u64::try_from(max).unwrap_or(u64::MAX);
    file.take(bound).read_to_end(&mut bytes).map_err(failed)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Writes a file whole, in place of one that may be there.
pub(super) fn replace(path: &Path, text: &str) -> Result<(), Failed> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.new", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(UNIT_MODE)
        .open(&temporary)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| std::fs::rename(&temporary, path));
    written.map_err(|error| {
        // Nothing of it should stay; that it does is worth no second error.
        let _ = std::fs::remove_file(&temporary);
        let failed = Failed::io(&format!("cannot write `{}`", path.display()), &error);
        failed.with_hint("run it as root, or with `--unit-dir` where you may write")
    })
}

/// Writes a drop-in of the unit at `path`; whether it had to.
pub(super) fn drop_in(path: &Path, name: &str, text: &str) -> Result<bool, Failed> {
    let dir = drop_ins(path);
    std::fs::create_dir_all(&dir)
        .map_err(|error| Failed::io(&format!("cannot make `{}`", dir.display()), &error))?;
    let file = dir.join(name);
    if read(&file, super::unit::MAX_BYTES)?.as_deref() == Some(text) {
        return Ok(false);
    }
    replace(&file, text)?;
    Ok(true)
}

/// Removes the unit and our drop-in; those of others stay, and with them their directory.
pub(super) fn remove_unit(path: &Path) -> Result<(), Failed> {
    let dir = drop_ins(path);
    let ours = dir.join(super::unit::NO_JIT_NAME);
    if read(&ours, super::unit::MAX_BYTES)?.as_deref() == Some(super::unit::NO_JIT) {
        remove(&ours)?;
    }
    // Not empty: somebody's drop-ins are in it.
    let _ = std::fs::remove_dir(&dir);
    remove(path)
}

fn remove(path: &Path) -> Result<(), Failed> {
    std::fs::remove_file(path)
        .map_err(|error| Failed::io(&format!("cannot remove `{}`", path.display()), &error))
}

/// Removes a directory and everything in it; one that is not there is removed already. Links in
/// it are removed, never followed.
pub(super) fn remove_tree(path: &Path) -> Result<(), Failed> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Failed::io(
            &format!("cannot remove `{}`", path.display()),
            &error,
        )),
        _ => Ok(()),
    }
}

fn drop_ins(path: &Path) -> std::path::PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".d");
    path.with_file_name(name)
}

/// Makes the state directory the account's own, 0700; whether anything had to be done.
pub(super) fn own_state(path: &Path, account: Account) -> Result<bool, Failed> {
    let failed = |error: io::Error| {
        Failed::io(&format!("cannot make `{}` ready", path.display()), &error)
            .with_hint("run it as root")
    };
    let meta = match path.symlink_metadata() {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut builder = DirBuilder::new();
            builder
                .recursive(true)
                .mode(0o700)
                .create(path)
                .map_err(failed)?;
            hand_over(path, account).map_err(failed)?;
            return Ok(true);
        }
        Err(error) => return Err(failed(error)),
    };
    if !meta.is_dir() {
        return Err(Failed::input(format!(
            "`{}` is no directory",
            path.display()
        )));
    }
    if meta.uid() == account.uid {
        return Ok(false);
    }
    if meta.uid() != 0 || meta.mode() & 0o077 != 0 {
        let message = format!(
            "`{}` belongs to user {} with mode {:04o}, not to the service's user {}",
            path.display(),
            meta.uid(),
            meta.mode() & 0o7777,
            account.uid
        );
        return Err(Failed::new(Exit::Denied, message)
            .with_reason("foreign_state_directory")
            .with_hint("stop its node, make the directory root's own (`chown -R root`, `chmod 700`), and install again"));
    }
    if std::os::unix::net::UnixStream::connect(path.join("control.sock")).is_ok() {
        let message = format!("a node runs on `{}` as root", path.display());
        return Err(Failed::new(Exit::Failure, message)
            .with_reason("node_running")
            .with_hint("stop it first; the service then takes its state over"));
    }
    hand_over_tree(path, account, MAX_DEPTH).map_err(failed)?;
    Ok(true)
}

/// Children first: while the top is root's own and private, nobody can put anything in the way.
fn hand_over_tree(path: &Path, account: Account, depth: usize) -> io::Result<()> {
    if path.symlink_metadata()?.is_dir() {
        let Some(below) = depth.checked_sub(1) else {
            return Err(io::Error::other(
                "it is nested deeper than any state directory",
            ));
        };
        for entry in std::fs::read_dir(path)? {
            hand_over_tree(&entry?.path(), account, below)?;
        }
        File::open(path)?.sync_all()?;
    }
    hand_over(path, account)
}

fn hand_over(path: &Path, account: Account) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    chownat(CWD, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_appear_whole_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hedgerow.service");
        assert_eq!(read(&path, 10).unwrap(), None);
        replace(&path, "one").unwrap();
        replace(&path, "two").unwrap();
        assert_eq!(read(&path, 10).unwrap().as_deref(), Some("two"));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(read(&link, 10).unwrap().as_deref(), Some(""));
    }

    #[test]
    fn only_our_drop_in_goes_with_the_unit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hedgerow.service");
        let name = super::super::unit::NO_JIT_NAME;
        let text = super::super::unit::NO_JIT;
        replace(&path, "unit").unwrap();
        assert!(drop_in(&path, name, text).unwrap());
        assert!(!drop_in(&path, name, text).unwrap());
        let theirs = drop_ins(&path).join("override.conf");
        std::fs::write(&theirs, "[Service]").unwrap();
        remove_unit(&path).unwrap();
        assert!(theirs.exists() && !path.exists() && !drop_ins(&path).join(name).exists());
    }
}
