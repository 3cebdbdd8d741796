//! The demo's child processes: commands that run to their end, and nodes that stay.
//!
//! A node is started with its stdin as a pipe that this process holds and never writes to. When
//! this process is gone, by whatever end, the kernel closes the pipe and the node stops by
//! itself; dropping a [`Host`] kills it.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use protocol::control::Status;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::exit::{Exit, Failed, say};
use crate::inert::inert;

/// How long a node has to become ready.
const READY_DEADLINE: Duration = Duration::from_secs(20);
/// How long a command has to end.
const COMMAND_DEADLINE: Duration = Duration::from_secs(60);
/// How long a node has to stop once asked.
const STOP_DEADLINE: Duration = Duration::from_secs(5);
/// Lines of a node's log shown when the demo fails.
const LOG_TAIL: usize = 12;

/// This binary, as commands to run.
#[derive(Debug)]
pub(super) struct Commands {
    binary: PathBuf,
}

/// How a command ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Its exit code; absent when a signal ended it.
    pub(super) code: Option<i32>,
    /// Its data.
    pub(super) stdout: Vec<u8>,
    /// What it said.
    pub(super) stderr: String,
}

impl Ended {
    /// The name of the reason why it failed, which the last line of stderr has, and the words.
    pub(super) fn failure(&self) -> (Option<String>, String) {
        let last = self.stderr.lines().last().unwrap_or("it said nothing");
        match serde_json::from_str::<Told>(last) {
            Ok(Told { error }) => (Some(error.reason), error.message),
            Err(_) => (None, last.to_owned()),
        }
    }

    /// Why it failed, in one line.
    pub(super) fn error(&self) -> String {
        match self.failure() {
            (Some(reason), message) => format!("{message} [{reason}]"),
            (None, message) => message,
        }
    }
}

/// What a command that failed says in JSON.
#[derive(Deserialize)]
struct Told {
    error: Reasoned,
}

#[derive(Deserialize)]
struct Reasoned {
    reason: String,
    message: String,
}

impl Commands {
    /// Runs this file.
    pub(super) fn new(binary: PathBuf) -> Self {
        Self { binary }
    }

    /// The file, as a word of a command.
    pub(super) fn binary(&self) -> String {
        self.binary.display().to_string()
    }

    fn command<W: AsRef<OsStr>>(&self, state: &Path, words: &[W]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .arg("--state-dir")
            .arg(state)
            .args(["--format", "json"])
            .args(words)
            .env("NO_COLOR", "1")
            .kill_on_drop(true);
        command
    }

    /// Runs a command to its end.
    pub(super) async fn once(&self, state: &Path, words: &[&str]) -> Result<Ended, Failed> {
        let output = self.command(state, words).stdin(Stdio::null()).output();
        let output = match tokio::time::timeout(COMMAND_DEADLINE, output).await {
            Ok(Ok(output)) => output,
            Ok(Err(error)) => {
                return Err(Failed::io(
                    &format!("cannot run `{}`", self.binary()),
                    &error,
                ));
            }
            Err(_) => {
                let seconds = COMMAND_DEADLINE.as_secs();
                let message = format!("`{}` did not end within {seconds} s", shown(words));
                return Err(Failed::new(Exit::Failure, message));
            }
        };
        Ok(Ended {
            code: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs a command that must succeed, and reads its JSON.
    pub(super) async fn json<T: DeserializeOwned>(
        &self,
        state: &Path,
        words: &[&str],
    ) -> Result<T, Failed> {
        let ended = self.once(state, words).await?;
        if ended.code != Some(0) {
            let message = format!("`{}` failed: {}", shown(words), ended.error());
            return Err(Failed::new(Exit::Failure, message));
        }
        serde_json::from_slice(&ended.stdout).map_err(|error| {
            let message = format!("`{}` printed what is not understood: {error}", shown(words));
            Failed::new(Exit::Failure, message)
        })
    }

    /// Starts a node with `hedgerow up` on loopback and any free ports, and waits until it says
    /// that it is ready.
    pub(super) async fn up(
        &self,
        state: &Path,
        name: &'static str,
        words: &[&str],
    ) -> Result<(Host, Status), Failed> {
        let log = state.with_extension("log");
        let log_file = File::create_new(&log)
            .map_err(|error| Failed::io(&format!("cannot write `{}`", log.display()), &error))?;
        let mut all = vec!["up", "--listen", "127.0.0.1:0", "--gateway", "127.0.0.1:0"];
        all.push("--until-stdin-closes");
        all.extend(words);
        let mut child = self
            .command(state, &all)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log_file)
            .spawn()
            .map_err(|error| Failed::io(&format!("cannot run `{}`", self.binary()), &error))?;
        let stdout = child.stdout.take();
        let host = Host { child, name, log };
        let Some(stdout) = stdout else {
            return Err(host.failed("has no stdout"));
        };
        let mut lines = BufReader::new(stdout).lines();
        let line = match tokio::time::timeout(READY_DEADLINE, lines.next_line()).await {
            Ok(Ok(Some(line))) => line,
            Ok(_) => return Err(host.failed("ended before it was ready")),
            Err(_) => return Err(host.failed("was not ready in time")),
        };
        match serde_json::from_str(&line) {
            Ok(status) => Ok((host, status)),
            Err(_) => Err(host.failed("said something not understood")),
        }
    }
}

fn shown(words: &[&str]) -> String {
    format!("hedgerow {}", words.join(" "))
}

/// A running node.
#[derive(Debug)]
pub(super) struct Host {
    child: Child,
    name: &'static str,
    log: PathBuf,
}

impl Host {
    fn failed(&self, what: &str) -> Failed {
        self.show_log_tail();
        Failed::new(Exit::Failure, format!("the node `{}` {what}", self.name))
    }

    /// Shows the end of the node's log on stderr.
    pub(super) fn show_log_tail(&self) {
        let Ok(log) = std::fs::read(&self.log) else {
            return;
        };
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        for line in lines.iter().skip(lines.len().saturating_sub(LOG_TAIL)) {
            say(&format!("{}: {}", self.name, inert(line)));
        }
    }

    /// Asks the node to stop by closing its stdin, and kills it when it does not.
    pub(super) async fn stop(mut self) {
        drop(self.child.stdin.take());
        let ended = tokio::time::timeout(STOP_DEADLINE, self.child.wait()).await;
        if ended.is_err() {
            say(&format!("note: the node `{}` had to be killed", self.name));
            // Kills and reaps; nothing more can be done about a failure.
            let _ = self.child.kill().await;
        }
    }
}

/// Waits until one of the nodes ends by itself, which none should.
pub(super) async fn first_to_end(hosts: &mut [Host]) -> Failed {
    let waits = hosts.iter_mut().map(|host| {
        Box::pin(async move {
            let Host { child, name, .. } = host;
            // `Child::wait` would close stdin, and with it the node; the pipe is held aside.
            let stdin = child.stdin.take();
            let ended = child.wait().await;
            drop(stdin);
            let how = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
            Failed::new(
                Exit::Failure,
                format!("the node `{name}` ended by itself: {how}"),
            )
        })
    });
    let mut waits: Vec<_> = waits.collect();
    std::future::poll_fn(|cx| {
        for wait in &mut waits {
            if let std::task::Poll::Ready(failed) = wait.as_mut().poll(cx) {
                return std::task::Poll::Ready(failed);
            }
        }
        std::task::Poll::Pending
    })
    .await
}
