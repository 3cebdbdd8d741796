//! Nodes as users run them: processes of the release binary, set up with its own commands.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde_json::Value;
use tempfile::TempDir;
use tests::mesh::ADMIN_PASSPHRASE;

/// How long the mesh has to find itself.
const SETTLE: Duration = Duration::from_secs(30);

/// The release binary: `HEDGEROW_BINARY`, or built now, so that it is never an old one.
pub(crate) fn binary() -> PathBuf {
    if let Some(given) = std::env::var_os("HEDGEROW_BINARY") {
        return given.into();
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--release", "--locked", "--package", "hedgerow"])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs");
    assert!(built.status.success(), "the binary does not build");
    let messages = String::from_utf8_lossy(&built.stdout);
    let executable = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find_map(|message| Some(PathBuf::from(message.get("executable")?.as_str()?)));
    executable.expect("cargo names the binary")
}

/// A place for state directories, removed at the end.
pub(crate) struct Site {
    binary: PathBuf,
    dir: TempDir,
}

/// A node that runs; ends when dropped.
pub(crate) struct Host {
    child: Child,
    pub(crate) status: Value,
}

impl Drop for Host {
    fn drop(&mut self) {
        // Its stdin closes first, which ends it in good order; nothing is left to kill then.
        drop(self.child.stdin.take());
        let until = Instant::now() + Duration::from_secs(10);
        while Instant::now() < until {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Host {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn text(&self, pointer: &str) -> &str {
        let found = self.status.pointer(pointer).and_then(Value::as_str);
        found.unwrap_or_else(|| panic!("no {pointer} in {}", self.status))
    }

    /// CPU time it has used so far, all threads.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("alive");
        let fields = stat.rsplit_once(')').expect("a stat line").1;
        let ticks: u64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|t| t.parse::<u64>().expect("ticks"))
            .sum();
        // USER_HZ is 100 on every Linux this runs on.
        Duration::from_millis(ticks * 10)
    }
}

impl Site {
    pub(crate) fn new() -> Self {
        Self {
            binary: binary(),
            dir: TempDir::new().expect("a temporary directory"),
        }
    }

    pub(crate) fn binary(&self) -> &Path {
        &self.binary
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, node: &str, words: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .arg("--state-dir")
            .arg(self.file(node))
            .args(["--format", "json"])
            .args(words)
            .env("HEDGEROW_LOG", "warn")
            .env("HEDGEROW_PASSPHRASE", ADMIN_PASSPHRASE);
        command
    }

    /// Runs a command to its end and reads what it printed; `None` if it failed.
    pub(crate) fn attempt<T: DeserializeOwned>(&self, node: &str, words: &[&str]) -> Option<T> {
        let ended = self.command(node, words).stdin(Stdio::null()).output();
        let ended = ended.expect("the binary runs");
        serde_json::from_slice(&ended.stdout).ok()
    }

    /// Runs a command that must succeed.
    pub(crate) fn json(&self, node: &str, words: &[&str]) -> Value {
        let found = self.attempt(node, words);
        found.unwrap_or_else(|| panic!("`hedgerow {}` failed", words.join(" ")))
    }

    /// Starts a node on loopback and any free ports.
    pub(crate) fn up(&self, node: &str, words: &[&str]) -> Host {
        let mut all = vec!["up", "--listen", "127.0.0.1:0", "--gateway", "127.0.0.1:0"];
        all.push("--until-stdin-closes");
        all.extend(words);
        let mut child = self
            .command(node, &all)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let status = serde_json::from_str(&line).expect("a status");
        Host { child, status }
    }

    /// The founder of a mesh.
    pub(crate) fn found(&self, node: &str) -> Host {
        self.up(
            node,
            &["--name", node, "--mesh", "bench", "--policy", "open"],
        )
    }

    /// The admission of a host to the mesh that `founder` founded.
    pub(crate) fn admission(&self, founder: &str, node: &str) -> PathBuf {
        let request = self.file(&format!("{node}.request"));
        let admission = self.file(&format!("{node}.admission"));
        let (from, to) = (request.to_string_lossy(), admission.to_string_lossy());
        self.json(node, &["id", "--request", &from]);
        let issue = [
            "membership",
            "issue",
            &from,
            "--name",
            node,
            "--days",
            "1",
            "--out",
            &to,
        ];
        self.json(founder, &issue);
        admission
    }

    /// Waits until `node` sees a tool of that server.
    pub(crate) fn await_tools(&self, node: &str, place: &str) {
        let until = Instant::now() + SETTLE;
        while Instant::now() < until {
            let tools: Option<Vec<Value>> = self.attempt(node, &["tools", place]);
            if tools.is_some_and(|tools| !tools.is_empty()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the tools of `{place}` did not show up on `{node}`");
    }
}
