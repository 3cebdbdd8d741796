//! Nodes as child processes of the test, for what only a real process shows.

use std::path::Path;
use std::process::{Output, Stdio};

use protocol::control::Status;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::task::JoinHandle;

use crate::fixture::binary;
use crate::wait::soon;

/// `hedgerow run` on a state directory.
pub struct Process {
    child: Child,
    /// What it said of itself when it was ready.
    pub status: Status,
    _out: Lines<BufReader<ChildStdout>>,
    said: JoinHandle<String>,
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

/// What a command with `--format json` failed of, as its last line has it, in the lines that people
/// are given instead.
fn in_words(said: &str) -> String {
    let (before, last) = said.trim_end().rsplit_once('\n').unwrap_or(("", said));
    let Ok(failed) = serde_json::from_str::<serde_json::Value>(last) else {
        return said.to_owned();
    };
    let text = |key: &str| failed["error"][key].as_str();
    let mut words = format!("{before}\nerror: {}", text("message").unwrap());
    words.extend(text("reason").map(|reason| format!(" [{reason}]")));
    words.extend(text("hint").map(|hint| format!("\nhint: {hint}")));
    words
}

/// Checks what a command that failed said at its end: one line why, at most one how to mend it,
/// nothing after either, and that they contain these words.
pub fn complained(said: &str, why: &[&str], how: &[&str]) {
    let said = in_words(said);
    let lines = |start: &str| -> Vec<String> {
        let lines = said.lines().filter(|line| line.starts_with(start));
        lines.map(str::to_owned).collect()
    };
    let (errors, hints) = (lines("error: "), lines("hint: "));
    assert_eq!(errors.len(), 1, "{said}");
    // How to mend it may stand in the line itself (`did you mean`).
    assert!(hints.len() <= 1, "{said}");
    let last = hints.first().unwrap_or(&errors[0]);
    assert!(said.trim_end().ends_with(last), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    for word in why {
        assert!(errors[0].contains(word), "no `{word}` in: {said}");
    }
    for word in how {
        assert!(last.contains(word), "no `{word}` in: {said}");
    }
}

/// Everything a child says, passed on as it comes.
#[expect(
    clippy::print_stderr,
    reason = "a failing test shows what its node said"
)]
async fn overheard(stderr: ChildStderr) -> String {
    let mut lines = BufReader::new(stderr).lines();
    let mut said = String::new();
    while let Ok(Some(line)) = lines.next_line().await {
        eprintln!("{line}");
        said.push_str(&line);
        said.push('\n');
    }
    said
}

impl Process {
    /// Runs a node on free ports until it says that it is ready.
    pub async fn start(state: &Path) -> Self {
        let any = ["--listen", "127.0.0.1:0", "--gateway", "127.0.0.1:0"];
        let words = [&["--format", "json", "run"], any.as_slice()].concat();
        let mut command = hedgerow(state, &words);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let said = tokio::spawn(overheard(child.stderr.take().unwrap()));
        let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = soon(out.next_line()).await.unwrap();
        let line = line.expect("the node says that it is ready");
        let status = serde_json::from_str(&line).unwrap();
        Self {
            child,
            status,
            _out: out,
            said,
        }
    }

    /// Waits until it has ended by itself, and returns its exit code and what it wrote to stderr.
    pub async fn ended(mut self) -> (Option<i32>, String) {
        let status = soon(self.child.wait()).await.unwrap();
        (status.code(), soon(self.said).await.unwrap())
    }

    /// Ends it as a power cut would: SIGKILL.
    pub async fn kill(mut self) {
        soon(self.child.kill()).await.unwrap();
    }
}
