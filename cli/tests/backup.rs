//! `backup` beside a running node and without one, and `restore`, as an operator uses them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

const PASSPHRASE: &str = "correct horse battery staple";

struct Host {
    tmp: tempfile::TempDir,
}

impl Host {
    fn state(&self, name: &str) -> PathBuf {
        self.tmp.path().join(name)
    }

    fn command(&self, state: &str, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hedgerow"));
        command
            .args(words)
            .env("HEDGEROW_STATE_DIR", self.state(state))
            .env("HEDGEROW_PASSPHRASE", PASSPHRASE)
            .env("HEDGEROW_LISTEN", "127.0.0.1:0")
            .env("HEDGEROW_GATEWAY_LISTEN", "127.0.0.1:0")
            .current_dir(self.tmp.path())
            .stdin(Stdio::null());
        command
    }

    fn run(&self, state: &str, words: &[&str]) -> Output {
        self.command(state, words).output().unwrap()
    }

    fn json(&self, state: &str, words: &[&str]) -> serde_json::Value {
        let mut all = vec!["--format", "json"];
        all.extend(words);
        let output = self.run(state, &all);
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", err(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A node that runs, until dropped: its stdin ends with it.
struct Running(Child);

impl Running {
    fn start(host: &Host, state: &str) -> Self {
        let words = [
            "--format",
            "json",
            "up",
            "--name",
            "a",
            "--until-stdin-closes",
        ];
        let mut child = host
            .command(state, &words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        // The node's first line says that it is ready.
        stdout.read_line(&mut line).unwrap();
        assert!(line.contains("\"ready\":true"), "{line}");
        Self(child)
    }

    fn stop(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
    }
}

#[test]
fn a_running_node_is_backed_up_and_comes_back_elsewhere() {
    let host = Host {
        tmp: tempfile::tempdir().unwrap(),
    };
    let node = Running::start(&host, "s");
    let id = host.json("s", &["status"])["node"]["id"].clone();
    host.json("s", &["agent", "add", "claude"]);
    let made = host.json("s", &["backup", "b.hedgerow"]);
    assert_eq!((&made["node"], &made["sealed"]), (&id, &true.into()));
    assert!(left_behind(&host.state("s")).is_empty());
    let again = host.run("s", &["backup", "b.hedgerow"]);
    assert_eq!(again.status.code(), Some(3), "{}", err(&again));

    let busy = host.run("s", &["restore", "b.hedgerow", "--replace"]);
    assert_eq!(busy.status.code(), Some(1), "{}", err(&busy));
    node.stop();
    let occupied = host.run("s", &["restore", "b.hedgerow"]);
    assert_eq!(occupied.status.code(), Some(3));
    assert!(err(&occupied).contains("[occupied]"), "{}", err(&occupied));

    let restored = host.json("t", &["restore", "b.hedgerow"]);
    assert_eq!(restored["node"], id);
    let node = Running::start(&host, "t");
    assert_eq!(host.json("t", &["agent", "list"])[0]["name"], "claude");
    node.stop();
    host.json("t", &["backup", "c.hedgerow"]);
    let replaced = host.json("t", &["restore", "b.hedgerow", "--replace"]);
    let previous = replaced["previous"].as_str().unwrap();
    assert!(Path::new(previous).join("keys/tls.key").exists());
}

/// What a restore killed after it moved away what was there leaves (each step is killed where the
/// restore is).
#[test]
fn nothing_is_founded_where_a_restore_was_interrupted() {
    let host = Host {
        tmp: tempfile::tempdir().unwrap(),
    };
    let state = host.state("s");
    Running::start(&host, "s").stop();
    let aside = state.join("before-restore-1");
    std::fs::create_dir(&aside).unwrap();
    std::fs::rename(state.join("membership.cose"), aside.join("membership.cose")).unwrap();
    let ran = host.run("s", &["up", "--name", "a"]);
    assert_eq!(ran.status.code(), Some(1), "{}", err(&ran));
    let expected = format!(
        "error: a restore into `{}` was interrupted [restore_unfinished]\n\
         hint: run `hedgerow restore` again with the same backup: it finishes what was begun; \
         what was there before is in `before-restore-…`\n",
        state.display()
    );
    assert!(err(&ran).ends_with(&expected), "{}", err(&ran));
    assert!(!state.join("membership.cose").exists());
}

fn left_behind(state: &Path) -> Vec<String> {
    let names = std::fs::read_dir(state).unwrap();
    let names = names.map(|e| e.unwrap().file_name().to_string_lossy().into_owned());
    names
        .filter(|name| name.starts_with("store-copy-"))
        .collect()
}

#[test]
fn what_cannot_be_used_is_refused_by_name() {
    let host = Host {
        tmp: tempfile::tempdir().unwrap(),
    };
    let nothing = host.run("s", &["backup", "b"]);
    assert_eq!(nothing.status.code(), Some(1), "{}", err(&nothing));
    assert!(!host.state("b").exists());

    Running::start(&host, "s").stop();
    host.json("s", &["backup", "b"]);
    let wrong = host
        .command("t", &["restore", "b"])
        .env("HEDGEROW_PASSPHRASE", "another four words here")
        .output()
        .unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(
        err(&wrong).contains("[wrong_passphrase]"),
        "{}",
        err(&wrong)
    );
    std::fs::write(host.state("not"), b"not a backup, really not").unwrap();
    let other = host.run("t", &["restore", "not"]);
    assert_eq!(other.status.code(), Some(3));
    assert!(err(&other).contains("[not_a_backup]"), "{}", err(&other));

    let clear = host.run("s", &["backup", "clear", "--unencrypted"]);
    let said = String::from_utf8_lossy(&clear.stdout).into_owned();
    assert!(said.contains("it is not sealed"), "{said}");
    let mode = std::fs::metadata(host.state("clear")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&mode.permissions());
    assert_eq!(mode & 0o777, 0o600);
}
