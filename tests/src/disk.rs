//! File systems of a test's own, full or read-only, in a mount namespace that ends with it.
//!
//! A test that mounts runs its body in a copy of itself inside `unshare --mount`: whatever becomes
//! of it, nothing stays mounted. It takes root; [`in_namespace`] says where it was skipped.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test that was skipped says so"
)]

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Says to a test binary that it is the copy inside the namespace.
const INSIDE: &str = "HEDGEROW_TEST_IN_MOUNT_NAMESPACE";

/// Whether this process is the one inside, which does the test; otherwise runs `test`, the full
/// name of the caller, inside and passes on how it ended. Prints that it was skipped where nothing
/// may be mounted.
#[must_use]
pub fn in_namespace(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    if !can_mount() {
        println!("skipped: {test}: mounting takes root and `unshare`");
        return false;
    }
    let inside = unshare()
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said = [inside.stdout, inside.stderr].map(|s| String::from_utf8_lossy(&s).into_owned());
    let [out, err] = said;
    // Indented, so that its lines are not taken for those of the tests outside.
    for line in out.lines().chain(err.lines()) {
        println!("  | {line}");
    }
    assert!(inside.status.success(), "`{test}` failed in its namespace");
    assert!(out.contains("1 passed"), "`{test}` is not what ran");
    false
}

fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--"]);
    command.stdin(Stdio::null());
    command
}

fn can_mount() -> bool {
    let home = tempfile::tempdir().unwrap();
    let mounted = unshare()
        .args(["mount", "-t", "tmpfs", "none"])
        .arg(home.path())
        .output();
    mounted.is_ok_and(|done| done.status.success())
}

/// What kind of file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// In memory: there wherever one may mount.
    Memory,
    /// ext4 in a file, by a loop device: what most disks have.
    Ext4,
}

/// A mounted file system of 16 MiB.
pub struct Disk {
    at: PathBuf,
    _home: tempfile::TempDir,
}

impl Disk {
    /// Mounts one; `None` where this kind cannot be had.
    #[must_use]
    pub fn mount(kind: Kind) -> Option<Self> {
        let home = tempfile::tempdir().unwrap();
        let at = home.path().join("disk");
        fs::create_dir(&at).unwrap();
        match kind {
            Kind::Memory => {
                let options = ["-t", "tmpfs", "-o", "size=16m,mode=0700", "none"];
                assert!(run("mount", &options, &[at.as_path()]), "tmpfs mounts");
            }
            Kind::Ext4 => {
                let image = home.path().join("image");
                fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
                // Nothing reserved for root, who runs this: full is full.
                let made = run("mkfs.ext4", &["-q", "-F", "-m", "0"], &[image.as_path()]);
                if !made || !run("mount", &["-o", "loop"], &[image.as_path(), at.as_path()]) {
                    return None;
                }
            }
        }
        Some(Self { at, _home: home })
    }

    /// A path on it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.at.join(name)
    }

    /// Fills it to the last block.
    pub fn fill(&self) {
        let mut options = OpenOptions::new();
        let mut file = options
            .create(true)
            .append(true)
            .open(self.filler())
            .unwrap();
        // Ever smaller pieces: what is left when the last does not fit is nothing.
        for size in [1 << 20, 4096, 512, 1] {
            while file.write_all(&vec![0x5a; size]).is_ok() && file.sync_data().is_ok() {}
        }
    }

    /// Frees what [`Disk::fill`] took.
    pub fn free(&self) {
        fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.path("filler")
    }

    /// Makes it read-only; nothing may have a file of it open for writing.
    pub fn read_only(&self) {
        assert!(run("mount", &["-o", "remount,ro"], &[self.at.as_path()]));
    }

    /// Makes it writable again.
    pub fn writable(&self) {
        assert!(run("mount", &["-o", "remount,rw"], &[self.at.as_path()]));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a test that failed may have left a node running on it.
        run("umount", &["-l"], &[self.at.as_path()]);
    }
}

fn run(program: &str, options: &[&str], paths: &[&Path]) -> bool {
    let done = Command::new(program)
        .args(options)
        .args(paths)
        .stdin(Stdio::null())
        .output();
    match done {
        Ok(done) if done.status.success() => true,
        Ok(done) => {
            eprintln!("{program}: {}", String::from_utf8_lossy(&done.stderr));
            false
        }
        Err(error) => {
            eprintln!("{program}: {error}");
            false
        }
    }
}
