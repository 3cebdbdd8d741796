//! This host's posture: what the node finds out about its own state and tells the others.
//!
//! Everything is read from files the kernel and the distribution keep (`/proc`, `/sys`, `/etc`), and
//! nothing is written or run. What cannot be read is not claimed. It is the node's own word
//! ([`protocol::trust::posture`] says what that is worth).
//!
//! It does not know the network: the record that carries it is `overlay::records`'.

use std::path::{Path, PathBuf};

use protocol::id::Digest;
use protocol::time::UnixSeconds;
use protocol::trust::Posture;
use protocol::trust::posture::{POSTURE_VERSION, is_word};

mod binary;
mod disk;
mod files;
mod hardening;
mod keeper;

pub use binary::MAX_BINARY_BYTES;
pub use keeper::{ANNOUNCE_EVERY, MEASURE_EVERY, PostureKeeper, PostureNews};

use files::Files;

/// The EFI variable that says whether the firmware checked what it booted.
const SECURE_BOOT: &str =
    "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// The one that says that it would have taken any key.
const SETUP_MODE: &str = "sys/firmware/efi/efivars/SetupMode-8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// Measures a host.
#[derive(Debug, Clone)]
pub struct Probe {
    files: Files,
    state: PathBuf,
}

impl Probe {
    /// Of this host, whose node keeps its state in `state`.
    #[must_use]
    pub fn of_host(state: &Path) -> Self {
        Self::under(Path::new("/"), state)
    }

    /// Of a host whose files lie under `root`; `state` is a path within it, as its mounts name it.
    #[must_use]
    pub fn under(root: &Path, state: &Path) -> Self {
        Self {
            files: Files::under(root),
            state: std::path::absolute(state).unwrap_or_else(|_| state.to_owned()),
        }
    }

    /// The digest of the binary that runs. Slow; it stays the same while the process lives.
    fn binary(&self) -> Option<Digest> {
        binary::digest(&self.files)
    }

    /// The posture at `now`.
    #[must_use]
    pub fn measure(&self, now: UnixSeconds, binary: Option<Digest>) -> Posture {
        Posture {
            version: POSTURE_VERSION,
            measured: now,
            os: self.os().unwrap_or_default(),
            kernel: self.kernel().unwrap_or_default(),
            secure_boot: self.secure_boot(),
            disk_encryption: disk::is_encrypted(&self.files, &self.state),
            uptime_s: self.uptime_s().unwrap_or_default(),
            binary,
            hardening: hardening::in_force(&self.files),
        }
    }

    /// `ID` of os-release(5).
    fn os(&self) -> Option<String> {
        let text = self.files.text("etc/os-release");
        let text = text.or_else(|| self.files.text("usr/lib/os-release"))?;
        let id = text.lines().find_map(|line| line.strip_prefix("ID="))?;
        let id = id.trim().trim_matches(['"', '\'']);
        is_word(id).then(|| id.to_owned())
    }

    /// `6.1.0-18-amd64` is 6.1.0.
    fn kernel(&self) -> Option<[u16; 3]> {
        let text = self.files.text("proc/sys/kernel/osrelease")?;
        let mut numbers = text.trim().split('.').map(|part| {
            let digits = part.find(|c: char| !c.is_ascii_digit());
            part.get(..digits.unwrap_or(part.len()))?.parse().ok()
        });
        let mut next = || numbers.next().flatten();
        let (major, minor) = (next()?, next()?);
        Some([major, minor, next().unwrap_or(0)])
    }

    fn uptime_s(&self) -> Option<u64> {
        let text = self.files.text("proc/uptime")?;
        text.split(['.', ' ']).next()?.parse().ok()
    }

    /// A variable is four bytes of attributes and its value.
    fn secure_boot(&self) -> bool {
        let is_set = |path| matches!(self.files.bytes(path).as_deref(), Some([_, _, _, _, 1]));
        is_set(SECURE_BOOT) && !is_set(SETUP_MODE)
    }
}

#[cfg(test)]
mod tests;
