//! Nodes as child processes of the test, for what only a real process shows.

use std::path::Path;
use std::process::{Output, Stdio};

use protocol::control::Status;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::fixture::binary;
use crate::wait::soon;

/// `hedgerow run` on a state directory.
pub struct Process {
    child: Child,
    /// What it said of itself when it was ready.
    pub status: Status,
    _out: Lines<BufReader<ChildStdout>>,
}

/// The command `hedgerow` with this state directory, in an empty environment.
#[must_use]
pub fn hedgerow(state: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(binary("hedgerow"));
    command.env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("NO_COLOR", "1");
    command.arg("--state-dir").arg(state).args(words);
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Runs a command to its end.
pub async fn ran(state: &Path, words: &[&str]) -> Output {
    soon(hedgerow(state, words).output()).await.unwrap()
}

impl Process {
    /// Runs a node on free ports until it says that it is ready.
    pub async fn start(state: &Path) -> Self {
        let any = ["--listen", "127.0.0.1:0", "--gateway", "127.0.0.1:0"];
        let words = [&["--format", "json", "run"], any.as_slice()].concat();
        let mut command = hedgerow(state, &words);
        command.stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = soon(out.next_line()).await.unwrap();
        let line = line.expect("the node says that it is ready");
        let status = serde_json::from_str(&line).unwrap();
        Self {
            child,
            status,
            _out: out,
        }
    }

    /// Ends it as a power cut would: SIGKILL.
    pub async fn kill(mut self) {
        soon(self.child.kill()).await.unwrap();
    }
}
