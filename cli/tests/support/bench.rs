//! A control API that answers, and `hedgerow` run against it as people run it.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::Fake;
use super::mesh::AGENT_HOST;

/// A fake node on a socket of its own.
pub(crate) struct Bench {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) fake: Arc<Fake>,
    _runtime: tokio::runtime::Runtime,
}

impl Bench {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let fake = Arc::new(Fake::new(AGENT_HOST));
        let path = dir.path().join("control.sock");
        let listener = runtime.block_on(async { node::control::bind(&path).await.unwrap() });
        runtime.spawn(node::control::serve(
            listener,
            node::control::Admit::own_user_and_root(),
            Arc::clone(&fake) as _,
            CancellationToken::new(),
        ));
        Self {
            dir,
            fake,
            _runtime: runtime,
        }
    }

    pub(crate) fn run(&self, words: &[&str]) -> String {
        run(self.dir.path(), words, "")
    }

    pub(crate) fn json(&self, words: &[&str]) -> serde_json::Value {
        let all = [&["--format", "json"], words].concat();
        serde_json::from_str(&stdout(&self.run(&all))).unwrap()
    }
}

/// `hedgerow` on a state directory, not run yet.
pub(crate) fn command(state: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hedgerow"));
    command
        .args(words)
        .env("HEDGEROW_STATE_DIR", state)
        .env_remove("HEDGEROW_PASSPHRASE")
        .current_dir(state)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs `hedgerow` on a state directory: everything that can be seen of it, as one text.
pub(crate) fn run(state: &Path, words: &[&str], stdin: &str) -> String {
    let mut child = command(state, words).spawn().unwrap();
    // One that does not read its input may be gone by now.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    format!(
        "exit: {}\n--- stdout\n{}--- stderr\n{}",
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr)
    )
}

/// What a run printed on stdout.
pub(crate) fn stdout(ran: &str) -> String {
    let stdout = ran.split("--- stdout\n").nth(1).unwrap();
    stdout.split("--- stderr\n").next().unwrap().to_owned()
}

#[track_caller]
pub(crate) fn seen(ran: &str, expected: &str) {
    assert_eq!(ran, expected, "this was seen:\n{ran}");
}
