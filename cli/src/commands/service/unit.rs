//! The text of the systemd unit, and telling one we wrote from any other.
//!
//! The first line names the form, the second what it was made for, the third a digest of what
//! follows. A unit whose digest does not match was edited: it is somebody's work and is neither
//! replaced nor removed. Changes belong in drop-ins (`systemctl edit hedgerow`).

use std::path::{Path, PathBuf};

use hedgerow_crypto::Primitives;
use protocol::crypto::Crypto;

/// The unit's name.
pub(super) const NAME: &str = "hedgerow.service";

/// Where operators' units stand.
pub(super) const DEFAULT_DIR: &str = "/etc/systemd/system";

/// The state directory of a service.
pub(super) const DEFAULT_STATE: &str = "/var/lib/hedgerow";

/// The first line of every unit we write.
const MAGIC: &str =
    "# Written by `hedgerow service install`, form 1. Changes: `systemctl edit hedgerow`.";

/// Where systemd makes state directories by itself.
const STATE_BASE: &str = "/var/lib/";

/// Longest unit read: ten times what we write.
pub(super) const MAX_BYTES: usize = 64 * 1024;

/// Places the unit hides from the node, so that neither its program nor its state can be there.
const HIDDEN: [&str; 5] = ["/home", "/root", "/run/user", "/tmp", "/var/tmp"];

/// What a unit is made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unit {
    /// The user it runs as.
    pub(super) user: String,
    /// Whether `service install` made that user.
    pub(super) made_user: bool,
    /// The state directory.
    pub(super) state: PathBuf,
    /// The program.
    pub(super) program: PathBuf,
}

/// What stands where the unit belongs.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing.
    Nothing,
    /// A unit as we wrote it, and what for.
    Ours(Unit),
    /// A unit we wrote and somebody changed.
    Edited,
    /// Something else.
    Foreign,
}

impl Unit {
    /// The whole file.
    pub(super) fn text(&self) -> String {
        let body = self.body();
        let made = if self.made_user { "yes" } else { "no" };
        format!(
            "{MAGIC}\n# user={} made-user={made} state={} program={}\n# sha256={}\n{body}",
            self.user,
            self.state.display(),
            self.program.display(),
            digest(&body),
        )
    }

    fn body(&self) -> String {
        let state = self.state.display();
        let below = self.state.strip_prefix(STATE_BASE).ok();
        // systemd makes what is below /var/lib itself, also when it was lost.
        let place = match below.filter(|p| p.components().count() == 1) {
            Some(name) => format!("StateDirectory={}\nStateDirectoryMode=0700", name.display()),
            None => format!("ReadWritePaths={state}"),
        };
        BODY.replace("@USER@", &self.user)
            .replace("@STATE@", &state.to_string())
            .replace("@PLACE@", &place)
            .replace("@PROGRAM@", &self.program.display().to_string())
    }
}

const BODY: &str = "
[Unit]
Description=Hedgerow node
Wants=network-online.target
After=network-online.target
# Nothing to run before a mesh was founded or joined.
ConditionPathExists=@STATE@/membership.cose

[Service]
Type=notify
NotifyAccess=main
# The node says every half of this that it lives; one that is stuck is ended and started again.
WatchdogSec=60
WatchdogSignal=SIGKILL
User=@USER@
ExecStart=@PROGRAM@ run
Environment=HEDGEROW_STATE_DIR=@STATE@
# The journal has the log, with its levels and its own timestamps; stdout has only a greeting.
StandardOutput=null
StandardError=journal
SyslogIdentifier=hedgerow
Restart=on-failure
RestartSec=2
# A configuration that cannot be used is no better the next time.
RestartPreventExitStatus=3
# Longer than the longest drain (`limits.drain_s`) and closing after it.
TimeoutStopSec=330
# The node alone is asked to stop: the MCP servers below it answer the calls in flight first.
KillMode=mixed
LimitNOFILE=65536
# The memory of a node holds its keys.
LimitCORE=0

# What the node may write: its state, and a cache that MCP servers find as HOME.
@PLACE@
CacheDirectory=hedgerow
CacheDirectoryMode=0700
Environment=HOME=/var/cache/hedgerow
UMask=0077

# MCP servers started by the node live under the same rules, as the same user: they could read the
# node's keys. One that is not trusted as much runs elsewhere and is attached with `--url`.
# What a server cannot do here, and the drop-in that lets it:
#   read or write home directories           ProtectHome=no, or BindPaths=/home/me/project
#   write anywhere else                      ReadWritePaths=/srv/files
#   use sudo, or any setuid program          (no drop-in: run it elsewhere)
#   make namespaces: bubblewrap, containers  RestrictNamespaces=no
#   list network interfaces (node.js)        RestrictAddressFamilies=AF_NETLINK
#   use devices: a GPU, a camera             PrivateDevices=no and DeviceAllow=
# MemoryDenyWriteExecute is not set: it would break every runtime that compiles as it goes
# (node.js, Java, .NET). `service install --no-jit` sets it where no such server is attached.
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateMounts=yes
PrivateDevices=yes
DevicePolicy=closed
PrivateUsers=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RemoveIPC=yes
KeyringMode=private
LockPersonality=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
";

/// The drop-in of `--no-jit`.
pub(super) const NO_JIT_NAME: &str = "10-no-jit.conf";

/// Its text.
pub(super) const NO_JIT: &str = "# Written by `hedgerow service install --no-jit`.
[Service]
MemoryDenyWriteExecute=yes
";

/// Tells what a file in the unit's place is; `None` stands for no file.
pub(super) fn recognise(text: Option<&str>) -> Found {
    let Some(text) = text else {
        return Found::Nothing;
    };
    let Some(rest) = text.strip_prefix(MAGIC).and_then(|t| t.strip_prefix('\n')) else {
        return Found::Foreign;
    };
    parse(rest).map_or(Found::Edited, Found::Ours)
}

fn parse(rest: &str) -> Option<Unit> {
    let (what, rest) = rest.strip_prefix("# ")?.split_once('\n')?;
    let (sum, body) = rest.strip_prefix("# sha256=")?.split_once('\n')?;
    if digest(body) != sum {
        return None;
    }
    let mut words = what.split(' ');
    let mut word = |key: &str| words.next()?.strip_prefix(key)?.strip_prefix('=');
    let user = word("user")?.to_owned();
    let made_user = match word("made-user")? {
        "yes" => true,
        "no" => false,
        _ => return None,
    };
    let state = PathBuf::from(word("state")?);
    let program = PathBuf::from(word("program")?);
    Some(Unit {
        user,
        made_user,
        state,
        program,
    })
}

fn digest(body: &str) -> String {
    let digest = Primitives.sha256(&[body.as_bytes()]);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Why a path cannot stand in the unit, if so. systemd gives spaces, quotes, `%` and `$` a
/// meaning; nobody needs them in these two paths.
pub(super) fn unusable(path: &Path) -> Option<String> {
    let Some(text) = path.to_str() else {
        return Some("it is not UTF-8 text".to_owned());
    };
    if !path.is_absolute() {
        return Some("it is not absolute".to_owned());
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if let Some(c) = text.chars().find(|&c| !plain(c)) {
        return Some(format!("`{}` has a meaning in units", c.escape_default()));
    }
    if path
        .components()
        .any(|c| c == std::path::Component::ParentDir)
    {
        return Some("it holds `..`".to_owned());
    }
    let hidden = HIDDEN.iter().find(|base| path.starts_with(base))?;
    Some(format!("the unit hides `{hidden}` from the node"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit() -> Unit {
        Unit {
            user: "hedgerow".to_owned(),
            made_user: true,
            state: DEFAULT_STATE.into(),
            program: "/usr/local/bin/hedgerow".into(),
        }
    }

    #[test]
    fn what_was_written_is_recognised_and_what_was_changed_is_not_ours() {
        let text = unit().text();
        assert_eq!(recognise(Some(&text)), Found::Ours(unit()));
        assert_eq!(recognise(None), Found::Nothing);
        let edited = text.replace("ProtectHome=yes", "ProtectHome=no");
        assert_eq!(recognise(Some(&edited)), Found::Edited);
        let cut = text.get(..text.len() / 2).unwrap();
        assert_eq!(recognise(Some(cut)), Found::Edited);
        assert_eq!(recognise(Some("[Unit]\n")), Found::Foreign);
        assert_eq!(recognise(Some("")), Found::Foreign);
    }

    #[test]
    fn nothing_is_left_to_fill_in() {
        let text = unit().text();
        assert!(
            !text
                .replace("@system-service", "")
                .replace("~@privileged @resources", "")
                .contains('@'),
            "{text}"
        );
        assert!(text.contains("StateDirectory=hedgerow\n"));
        let elsewhere = Unit {
            state: "/srv/mesh/a".into(),
            ..unit()
        };
        assert!(elsewhere.text().contains("ReadWritePaths=/srv/mesh/a\n"));
        assert!(!elsewhere.text().contains("StateDirectory="));
    }

    #[test]
    fn paths_that_units_misread_or_hide_are_refused() {
        for bad in [
            "relative",
            "/a b",
            "/a%h",
            "/a\nb",
            "/a\"b",
            "/a$b",
            "/home/x",
            "/root",
            "/tmp/x",
            "/srv/../home/x",
            "/größe",
        ] {
            assert!(unusable(Path::new(bad)).is_some(), "{bad}");
        }
        for good in [
            "/usr/local/bin/hedgerow",
            "/var/lib/hedgerow",
            "/srv/a-b_c.d",
            "/homes",
        ] {
            assert_eq!(unusable(Path::new(good)), None, "{good}");
        }
    }
}
