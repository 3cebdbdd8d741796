//! `service install` and `uninstall`, on real files: what is written, what systemd thinks of it,
//! and that nothing of others is touched. Needs neither a running systemd nor a node.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on should say where, and one that did not run that it did not"
)]

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What `systemd-analyze security` may give at most.
const MAX_EXPOSURE: f64 = 1.5;

/// A user every Linux has, and which is not root.
const USER: &str = "nobody";

fn hedgerow(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .args(words)
        .env_remove("HEDGEROW_STATE_DIR")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

/// A unit directory, and a state directory where a service may have one, removed at the end.
struct Host {
    units: tempfile::TempDir,
    state: PathBuf,
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.state);
    }
}

impl Host {
    fn new(name: &str) -> Self {
        let state = format!("/var/lib/hedgerow-test-{}-{name}", std::process::id());
        Self {
            units: tempfile::tempdir().unwrap(),
            state: state.into(),
        }
    }

    fn unit(&self) -> PathBuf {
        self.units.path().join("hedgerow.service")
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut all = vec!["--state-dir", self.state.to_str().unwrap(), "service"];
        all.extend(words);
        all.extend(["--unit-dir", self.units.path().to_str().unwrap()]);
        hedgerow(&all)
    }

    fn install(&self, more: &[&str]) -> Output {
        let mut words = vec!["install", "--user", USER, "--program", "/usr/bin/true"];
        words.extend(more);
        self.run(&words)
    }
}

fn printed() -> String {
    let words = [
        "service",
        "install",
        "--print",
        "--program",
        "/usr/bin/true",
    ];
    let output = hedgerow(&words);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    out(&output)
}

fn digest(text: &str) -> String {
    use protocol::crypto::Crypto as _;
    let digest = hedgerow_crypto::Primitives.sha256(&[text.as_bytes()]);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_unit_is_as_closed_as_a_node_can_be() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hedgerow.service");
    std::fs::write(&path, printed()).unwrap();
    let Ok(output) = Command::new("systemd-analyze")
        .args(["security", "--offline=true"])
        .arg(&path)
        .env("SYSTEMD_COLORS", "0")
        .output()
    else {
        println!("skipped: the_unit_is_as_closed_as_a_node_can_be: no systemd-analyze here");
        return;
    };
    let text = out(&output);
    let said = text
        .lines()
        .find_map(|line| line.split_once("Overall exposure level for hedgerow.service: "))
        .unwrap_or_else(|| panic!("no verdict: {text}{}", err(&output)));
    let exposure: f64 = said.1.split(' ').next().unwrap().parse().unwrap();
    assert!(exposure <= MAX_EXPOSURE, "{text}");

    // Every directive is one that systemd knows.
    let verified = Command::new("systemd-analyze")
        .arg("verify")
        .arg(&path)
        .output()
        .unwrap();
    let said = err(&verified);
    let ours: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("hedgerow.service:"))
        .collect();
    assert_eq!(ours, [""; 0], "{said}");
}

#[test]
fn printing_needs_no_root_and_changes_nothing() {
    let text = printed();
    for line in [
        "Type=notify",
        "User=hedgerow",
        "ExecStart=/usr/bin/true run",
        "Environment=HEDGEROW_STATE_DIR=/var/lib/hedgerow",
        "ProtectSystem=strict",
        "StandardError=journal",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}: {text}");
    }
    let words = [
        "--state-dir",
        "/home/x",
        "service",
        "install",
        "--print",
        "--program",
        "/usr/bin/true",
    ];
    let refused = hedgerow(&words);
    assert_eq!(refused.status.code(), Some(3));
    assert!(err(&refused).contains("hides `/home`"), "{}", err(&refused));
    let root = hedgerow(&["service", "install", "--print", "--user", "root"]);
    assert_eq!(root.status.code(), Some(3));
}

#[test]
fn it_is_installed_once_and_removed_whole() {
    if !is_root() {
        println!("skipped: it_is_installed_once_and_removed_whole: needs root");
        return;
    }
    let host = Host::new("whole");
    let first = host.install(&["--no-jit"]);
    assert_eq!(first.status.code(), Some(0), "{}", err(&first));
    let meta = std::fs::metadata(&host.state).unwrap();
    assert_eq!(meta.permissions().mode() & 0o7777, 0o700);
    assert_ne!(meta.uid(), 0);
    let written = std::fs::read(host.unit()).unwrap();
    let second = host.install(&["--no-jit"]);
    assert!(
        out(&second).contains("is as it should be"),
        "{}",
        out(&second)
    );
    assert_eq!(std::fs::read(host.unit()).unwrap(), written);

    // What an older version wrote is brought up to date.
    let older = String::from_utf8(written.clone()).unwrap();
    let (head, body) = older.split_once("# sha256=").unwrap();
    let (_, body) = body.split_once('\n').unwrap();
    let body = body.replace("KillMode=mixed\n", "");
    let older = format!("{head}# sha256={}\n{body}", digest(&body));
    std::fs::write(host.unit(), older).unwrap();
    let third = host.install(&["--no-jit"]);
    assert!(out(&third).contains("wrote "), "{}", out(&third));
    assert_eq!(std::fs::read(host.unit()).unwrap(), written);

    let asked = host.run(&["uninstall"]);
    assert_eq!(asked.status.code(), Some(3));
    assert!(host.unit().exists(), "removed without asking");
    let removed = host.run(&["uninstall", "--yes"]);
    assert_eq!(removed.status.code(), Some(0), "{}", err(&removed));
    assert_eq!(std::fs::read_dir(host.units.path()).unwrap().count(), 0);
    assert!(
        host.state.exists(),
        "the state went without being asked for"
    );

    host.install(&[]);
    std::fs::create_dir(host.state.join("other")).unwrap();
    let strange = host.run(&["uninstall", "--yes", "--purge"]);
    assert!(
        err(&strange).contains("[not_a_state_directory]"),
        "{}",
        err(&strange)
    );
    assert!(host.unit().exists(), "half removed");
    std::fs::create_dir(host.state.join("keys")).unwrap();
    let purged = host.run(&["uninstall", "--yes", "--purge"]);
    assert_eq!(purged.status.code(), Some(0), "{}", err(&purged));
    assert!(!host.state.exists());
    // A user that was there before is nobody's to remove.
    let found = Command::new("getent").args(["passwd", USER]).status();
    assert!(found.unwrap().success());
    assert_eq!(host.run(&["uninstall", "--yes"]).status.code(), Some(0));
}

#[test]
fn what_root_founded_is_handed_to_the_services_user() {
    if !is_root() {
        println!("skipped: what_root_founded_is_handed_to_the_services_user: needs root");
        return;
    }
    let host = Host::new("handed");
    let id = hedgerow(&["--state-dir", host.state.to_str().unwrap(), "id"]);
    assert_eq!(id.status.code(), Some(0), "{}", err(&id));
    let elsewhere = tempfile::tempdir().unwrap();
    let precious = elsewhere.path().join("precious");
    std::fs::write(&precious, b"").unwrap();
    std::os::unix::fs::symlink(&precious, host.state.join("link")).unwrap();
    let output = host.install(&[]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let owner = |path: &Path| path.symlink_metadata().unwrap().uid();
    for entry in ["", "keys", "keys/tls.key"] {
        assert_ne!(owner(&host.state.join(entry)), 0, "{entry}");
    }
    assert_eq!(owner(&precious), 0, "a link was followed");
}

#[test]
fn units_of_others_and_edited_ones_are_left_alone() {
    let host = Host::new("others");
    for (text, says) in [
        (
            "[Unit]\nDescription=mine\n".to_owned(),
            "was not written by",
        ),
        (
            printed().replace("Restart=on-failure", "Restart=no"),
            "was changed after",
        ),
    ] {
        std::fs::write(host.unit(), &text).unwrap();
        for output in [host.install(&[]), host.run(&["uninstall", "--yes"])] {
            assert_eq!(output.status.code(), Some(2));
            let said = err(&output);
            assert!(
                said.contains(says) && said.contains("[not_our_unit]"),
                "{said}"
            );
        }
        assert_eq!(std::fs::read_to_string(host.unit()).unwrap(), text);
    }
    assert!(!host.state.exists(), "made before the unit was looked at");
}

#[test]
fn a_state_directory_of_someone_else_is_not_taken() {
    if !is_root() {
        println!("skipped: a_state_directory_of_someone_else_is_not_taken: needs root");
        return;
    }
    let host = Host::new("someone");
    std::fs::create_dir(&host.state).unwrap();
    std::os::unix::fs::chown(&host.state, Some(12_345), None).unwrap();
    let output = host.install(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        err(&output).contains("[foreign_state_directory]"),
        "{}",
        err(&output)
    );
    assert!(!host.unit().exists());
}
