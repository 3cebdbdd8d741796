//! Looking at a state directory from outside.
//!
//! Root may look at the directory of the user a service runs as, so what is judged is whether
//! everything belongs to *one* user and is private, not whether it is ours. Key files are never
//! opened. Without a running node its ports are tried and its store is opened, which only the
//! directory's own user does: as root, redb's repair could leave files that user cannot write.

use std::ffi::OsString;
use std::fs::Metadata;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use hedgerow_crypto::Primitives;
use protocol::control::Check;
use protocol::limits::MAX_DOCUMENT_BYTES;
use protocol::time::UnixSeconds;
use protocol::trust::{TrustError, VerifiedMembership, VerifiedRoot};

use super::{EXPIRES_SOON_S, LOW_DISK_BYTES, NO_DISK_BYTES, lasting};
use crate::backup::read_link;
use crate::clock::{BEHIND_TOLERANCE_MS, Clock as _, SystemClock};
use crate::config::{Config, ConfigError, MAX_CONFIG_BYTES};
use crate::keys::KeyKind;
use crate::roots::{self, RootsError};
use crate::state_dir::private::{self, PrivateError};
use crate::state_dir::{StateDir, StateDirError};
use crate::store::{Options, Store};

/// Bits that must be clear on everything in the directory.
const FOREIGN_BITS: u32 = 0o077;

/// The bits shown.
const MODE_BITS: u32 = 0o7777;

/// What the state directory at `path` says. `running` is whether a node answers on its control
/// socket: without one its ports, its clock, its store and its membership are looked at too.
#[must_use]
pub fn local(
    path: &Path,
    running: bool,
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Vec<Check> {
    let meta = match std::fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) => return vec![no_directory(path, &error)],
    };
    let config = configuration(&path.join("config.toml"), meta.uid(), variable);
    let mut checks = vec![
        directory(path, &meta),
        keys(path, meta.uid()),
        config_check(&config),
        disk(path),
    ];
    if running {
        return checks;
    }
    checks.extend(documents(path));
    match config {
        Ok(config) => checks.extend(ports(&config)),
        Err(_) => checks.push(Check::warn("port", "not looked at: see `config`")),
    }
    checks.push(store(path, meta.uid()));
    checks
}

fn no_directory(path: &Path, error: &io::Error) -> Check {
    let check = Check::fail(
        "state_directory",
        format!("`{}` cannot be looked at: {error}", path.display()),
    );
    match error.kind() {
        io::ErrorKind::NotFound => check
            .because("no node was set up here, or the state directory is another")
            .mend(
                "found or join a mesh with `hedgerow up`, or name the directory with --state-dir",
            ),
        _ => check
            .because("this user may not enter it")
            .mend("run the command as the node's user, or as root"),
    }
}

/// The directory and everything directly in it: private, of one user, no links.
fn directory(path: &Path, meta: &Metadata) -> Check {
    const NAME: &str = "state_directory";
    if !meta.is_dir() {
        return Check::fail(NAME, format!("`{}` is no directory", path.display()))
            .because("it is a symbolic link or a file")
            .mend("name the directory itself with --state-dir");
    }
    if meta.mode() & FOREIGN_BITS != 0 {
        return exposed(NAME, path, meta, "700");
    }
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) => {
            return Check::fail(NAME, format!("`{}`: {error}", path.display()))
                .mend("run the command as the node's user, or as root");
        }
    };
    for entry in entries.flatten() {
        // What vanished meanwhile is no finding.
        let Ok(found) = entry.metadata() else {
            continue;
        };
        let is_config = entry.file_name() == "config.toml";
        if let Some(check) = not_private(NAME, &entry.path(), &found, meta.uid(), is_config) {
            return check;
        }
    }
    Check::ok(
        NAME,
        format!("`{}` is private to user {}", path.display(), meta.uid()),
    )
}

/// Why an entry is not private to `owner`, if so.
fn not_private(
    name: &str,
    path: &Path,
    meta: &Metadata,
    owner: u32,
    readable: bool,
) -> Option<Check> {
    if meta.is_symlink() {
        return Some(
            Check::fail(name, format!("`{}` is a symbolic link", path.display()))
                .mend("put the file itself there: the node follows no links"),
        );
    }
    if meta.uid() != owner {
        return Some(
            Check::fail(
                name,
                format!(
                    "`{}` belongs to user {}, its directory to user {owner}",
                    path.display(),
                    meta.uid()
                ),
            )
            .because("a command was run as another user, most likely as root")
            .mend(format!("chown {owner} {}", path.display())),
        );
    }
    let refused = if readable { 0o022 } else { FOREIGN_BITS };
    let wanted = if meta.is_dir() { "700" } else { "600" };
    (meta.mode() & refused != 0).then(|| exposed(name, path, meta, wanted))
}

fn exposed(name: &str, path: &Path, meta: &Metadata, wanted: &str) -> Check {
    Check::fail(
        name,
        format!(
            "`{}` is open to other users (mode {:04o})",
            path.display(),
            meta.mode() & MODE_BITS
        ),
    )
    .because("it was copied or changed by hand")
    .mend(format!("chmod {wanted} {}", path.display()))
}

fn keys(path: &Path, owner: u32) -> Check {
    const NAME: &str = "keys";
    let keys = path.join("keys");
    let mut held = Vec::new();
    for (kind, needed) in KeyKind::ALL.map(|k| (k, matches!(k, KeyKind::Tls | KeyKind::Signing))) {
        let file = keys.join(kind.file_name());
        match std::fs::symlink_metadata(&file) {
            Ok(meta) => {
                if let Some(check) = not_private(NAME, &file, &meta, owner, false) {
                    return check;
                }
                held.push(kind.word());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && !needed => {}
            Err(error) => {
                return Check::fail(NAME, format!("`{}`: {error}", file.display()))
                    .because("it was removed, or no node was set up here")
                    .mend("restore the state directory from a backup, or join again");
            }
        }
    }
    Check::ok(NAME, format!("private: {}", held.join(", ")))
}

/// The configuration as the node would take it. Its own user's environment counts; root's does not.
fn configuration(
    file: &Path,
    owner: u32,
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Config, ConfigError> {
    if rustix::process::geteuid().as_raw() == owner {
        return Config::load(file, variable);
    }
    match read(file, MAX_CONFIG_BYTES) {
        Ok(bytes) => Config::parse(file, &String::from_utf8_lossy(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Config::default()),
        Err(source) => Err(ConfigError::Unreadable {
            path: file.to_owned(),
            source,
        }),
    }
}

fn config_check(config: &Result<Config, ConfigError>) -> Check {
    const NAME: &str = "config";
    match config {
        Ok(_) => Check::ok(NAME, "the configuration can be used"),
        Err(error) => {
            let check = Check::fail(NAME, error.to_string());
            match error.hint() {
                Some(hint) => check.mend(hint),
                None => check.mend("see `hedgerow config example`"),
            }
        }
    }
}

fn disk(path: &Path) -> Check {
    const NAME: &str = "disk";
    let free = match rustix::fs::statvfs(path) {
        Ok(found) => found.f_bavail.saturating_mul(found.f_frsize),
        Err(error) => return Check::warn(NAME, format!("free space is not known: {error}")),
    };
    let text = format!("{} MiB free for the store", free / (1024 * 1024));
    let mend = "free space on its file system: a node that cannot record stops";
    if free < NO_DISK_BYTES {
        Check::fail(NAME, text)
            .because("the file system is full")
            .mend(mend)
    } else if free < LOW_DISK_BYTES {
        Check::warn(NAME, text)
            .because("the file system is nearly full")
            .mend(mend)
    } else {
        Check::ok(NAME, text)
    }
}

/// Roots and membership.
fn documents(path: &Path) -> Vec<Check> {
    const NAME: &str = "membership";
    let again = "join again with a new ticket, or restore the state directory from a backup";
    let root = match read(&path.join("root.cose"), MAX_DOCUMENT_BYTES) {
        Ok(bytes) => VerifiedRoot::genesis(&Primitives, &bytes),
        Err(error) => {
            return vec![
                Check::fail("mesh", format!("there is no usable root: {error}"))
                    .because("this host belongs to no mesh yet")
                    .mend("found or join one with `hedgerow up`"),
            ];
        }
    };
    // Only the directory's own user reads the later ones; for others the first has to do.
    let later = StateDir::open(path).map_or(Ok(Vec::new()), |dir| roots::read(&dir));
    let root = match (root, later) {
        (Ok(root), Ok(later)) => roots::in_force(&Primitives, root.bytes(), &later),
        (Ok(_), Err(error)) => Err(error),
        (Err(source), _) => Err(RootsError::Trust { version: 1, source }),
    };
    let root = match root {
        Ok(root) => root,
        Err(error) => {
            return vec![
                Check::fail("mesh", format!("the root does not hold: {error}"))
                    .because("the file was damaged or changed")
                    .mend(again),
            ];
        }
    };
    let mut checks = vec![Check::ok(
        "mesh",
        format!("mesh `{}`, {}", root.root().name, root.mesh().short()),
    )];
    let bytes = match read(&path.join("membership.cose"), MAX_DOCUMENT_BYTES) {
        Ok(bytes) => bytes,
        Err(error) => {
            checks.push(
                Check::fail(NAME, format!("there is no usable membership: {error}"))
                    .because("joining was not finished")
                    .mend(again),
            );
            return checks;
        }
    };
    checks.push(membership(&root, &bytes, SystemClock.now().seconds()));
    checks
}

pub(super) fn membership(root: &VerifiedRoot, bytes: &[u8], now: UnixSeconds) -> Check {
    const NAME: &str = "membership";
    let membership = match VerifiedMembership::verify(&Primitives, root, bytes) {
        Ok(membership) => membership,
        Err(TrustError::UnknownIssuer) => {
            return Check::warn(
                NAME,
                "it was issued under a newer root than can be read here",
            )
            .because("the root was rotated, and this user cannot read the newer ones")
            .mend("start the node, which can judge it");
        }
        Err(error) => {
            return Check::fail(
                NAME,
                format!("this node's membership does not hold: {error}"),
            )
            .because("the file was damaged or is of another mesh")
            .mend("join again with a new ticket, or restore a backup");
        }
    };
    let ends = membership.content().not_after;
    match membership.valid_at(now) {
        Err(TrustError::NotYetValid(_)) => {
            Check::fail(NAME, "this node's membership begins in the future")
                .because("this host's clock is behind")
                .mend("set the clock (`timedatectl set-ntp true`)")
        }
        Err(_) => Check::fail(
            NAME,
            format!(
                "this node's membership ended {} ago",
                lasting(now.0.saturating_sub(ends.0))
            ),
        )
        .because("the host was off for longer than it lasts, or the clock is ahead")
        .mend("start the node and let it reach an issuer, or join again with a new ticket"),
        Ok(()) => {
            let left = ends.0.saturating_sub(now.0);
            let text = format!("the membership lasts {} more", lasting(left));
            if left < EXPIRES_SOON_S {
                return Check::warn(NAME, text)
                    .because("the node does not run, and only a running one renews it")
                    .mend("start the node");
            }
            Check::ok(NAME, text)
        }
    }
}

/// Whether the ports of a node that does not run are free for it.
fn ports(config: &Config) -> [Check; 2] {
    let udp = config.node().listen;
    let tcp = config.gateway().listen;
    [
        port("port", "UDP", udp, std::net::UdpSocket::bind(udp).err()),
        port(
            "gateway",
            "TCP",
            tcp,
            std::net::TcpListener::bind(tcp).err(),
        ),
    ]
}

fn port(name: &str, kind: &str, address: std::net::SocketAddr, error: Option<io::Error>) -> Check {
    let Some(error) = error else {
        return Check::ok(name, format!("{kind} {address} is free"));
    };
    let check = Check::fail(name, format!("{kind} {address} cannot be bound: {error}"));
    match error.kind() {
        io::ErrorKind::AddrInUse => check
            .because("another process, perhaps another node, has it")
            .mend(format!(
                "find it with `ss -lnp`, or set another address in config.toml ({kind})"
            )),
        _ => check
            .because("the address is not this host's, or the port is reserved for root")
            .mend("set an address of this host and a port above 1023 in config.toml"),
    }
}

fn store(path: &Path, owner: u32) -> Check {
    const NAME: &str = "store";
    if rustix::process::geteuid().as_raw() != owner {
        return Check::ok(NAME, "not opened: only the node's own user opens it");
    }
    let file = path.join("store.redb");
    if file.symlink_metadata().is_err() {
        return Check::ok(NAME, "there is none yet");
    }
    let (dir, _lock) = match StateDir::open(path).and_then(|d| d.lock().map(|l| (d, l))) {
        Ok(held) => held,
        Err(StateDirError::Locked { pid, .. }) => {
            return Check::fail(NAME, "a node holds the state directory and does not answer")
                .because(match pid {
                    Some(pid) => format!("process {pid} is starting, stopping or stuck"),
                    None => "a process is starting, stopping or stuck".to_owned(),
                })
                .mend("wait a moment, or end that process");
        }
        Err(error) => {
            let check = Check::fail(NAME, error.to_string());
            return match error.hint() {
                Some(hint) => check.mend(hint),
                None => check,
            };
        }
    };
    match greatest_time(&dir.store()) {
        Ok(greatest) => clocked(greatest, SystemClock.now().0),
        Err(error) => Check::fail(NAME, error.0)
            .because("the disk is broken or full, or the file was changed from outside")
            .mend(
                error
                    .1
                    .unwrap_or_else(|| "restore it from a backup".to_owned()),
            ),
    }
}

/// The store opens; what it says of the clock.
pub(super) fn clocked(greatest_ms: u64, now_ms: u64) -> Check {
    let behind = greatest_ms.saturating_sub(now_ms);
    if behind > BEHIND_TOLERANCE_MS {
        return Check::fail(
            "clock",
            format!(
                "the clock is {} behind verified time",
                lasting(behind / 1000)
            ),
        )
        .because("this host's clock was set back, its battery is flat, or it was ahead before")
        .mend(
            "set the clock (`timedatectl set-ntp true`); everything is refused until it is right. If \
             it is right, it was ahead: calls pass again once that time is reached",
        );
    }
    Check::ok("store", "the store opens and its chain holds")
}

/// The greatest verified time kept, in milliseconds; why the store does not open, and a hint.
fn greatest_time(file: &Path) -> Result<u64, (String, Option<String>)> {
    let store =
        Store::open(file, &Options::new(read_link())).map_err(|e| (e.to_string(), e.hint()))?;
    store
        .snapshot()
        .and_then(|s| s.greatest_time())
        .map(|t| t.unwrap_or_default().0)
        .map_err(|e| (e.to_string(), None))
}

/// A file of at most `max` bytes.
fn read(path: &Path, max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let bound = u64::try_from(max).unwrap_or(u64::MAX);
    let file = private::open_unchecked(path).map_err(|e| match e {
        PrivateError::Missing { .. } => io::ErrorKind::NotFound.into(),
        PrivateError::Io { source, .. } => source,
        other => io::Error::other(other.to_string()),
    })?;
    file.take(bound.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() > max {
        return Err(io::Error::other("it is larger than any such file"));
    }
    Ok(bytes)
}
