//! Passphrases typed at a terminal: asked for in order, never shown, tried again, and given up.
//!
//! `script` gives the command a terminal of its own. What is typed is only written once the prompt
//! was read, so nothing depends on who is faster.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

const PHRASE: &str = "correct horse battery staple";
const NEW: &str = "an entirely different phrase";

/// A command at a terminal.
struct Session {
    child: Child,
    keyboard: ChildStdin,
    screen: ChildStdout,
    shown: String,
    /// Where what was shown since the last answer begins.
    since: usize,
}

impl Session {
    fn start(state: &Path, words: &str) -> Self {
        let command = format!("{} {words}", env!("CARGO_BIN_EXE_hedgerow"));
        let mut child = Command::new("script")
            .args(["--quiet", "--return", "--command", &command, "/dev/null"])
            .env("HEDGEROW_STATE_DIR", state)
            .env("SHELL", "/bin/sh")
            .env_remove("HEDGEROW_PASSPHRASE")
            .env_remove("HEDGEROW_NEW_PASSPHRASE")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            keyboard: child.stdin.take().unwrap(),
            screen: child.stdout.take().unwrap(),
            child,
            shown: String::new(),
            since: 0,
        }
    }

    /// Reads until what is shown since the last answer ends with `prompt`, then types a line.
    fn answer(&mut self, prompt: &str, line: &str) {
        let mut byte = [0];
        while !self.shown[self.since..].ends_with(prompt) {
            let read = self.screen.read(&mut byte).unwrap();
            assert_eq!(read, 1, "no `{prompt}` in:\n{}", self.shown);
            self.shown.push(char::from(byte[0]));
        }
        self.since = self.shown.len();
        self.keyboard.write_all(line.as_bytes()).unwrap();
        self.keyboard.flush().unwrap();
    }

    /// The exit code, and everything that was to be seen.
    fn end(mut self) -> (Option<i32>, String) {
        let mut rest = Vec::new();
        self.screen.read_to_end(&mut rest).unwrap();
        drop(self.keyboard);
        let code = self.child.wait().unwrap().code();
        self.shown.push_str(&String::from_utf8_lossy(&rest));
        (code, self.shown)
    }
}

fn made(state: &Path) -> bool {
    state.join("keys/admin.key").exists()
}

/// A directory in which the state directory is made, private as it has to be.
fn state() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    (dir, state)
}

/// A key made by typing its passphrase twice.
fn init(state: &Path) {
    let mut session = Session::start(state, "admin init");
    session.answer("new passphrase: ", &format!("{PHRASE}\n"));
    session.answer("the same again: ", &format!("{PHRASE}\n"));
    let (code, shown) = session.end();
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("made an admin key"), "{shown}");
    assert!(!shown.contains(PHRASE), "what was typed is shown:\n{shown}");
    assert!(made(state));
}

#[test]
fn a_new_passphrase_is_typed_twice_and_not_shown() {
    let (_dir, state) = state();
    init(&state);
}

#[test]
fn two_different_ones_make_no_key() {
    let (_dir, state) = state();
    let mut session = Session::start(&state, "admin init");
    session.answer("new passphrase: ", &format!("{PHRASE}\n"));
    session.answer("the same again: ", &format!("{NEW}\n"));
    let (code, shown) = session.end();
    assert_eq!(code, Some(3), "{shown}");
    assert!(shown.contains("the two passphrases differ"), "{shown}");
    assert!(!made(&state));
}

#[test]
fn a_mistyped_one_is_asked_for_again_and_then_no_more() {
    let (_dir, state) = state();
    init(&state);
    let prompt = "passphrase of the admin key: ";
    let mut session = Session::start(&state, "admin passphrase");
    session.answer(prompt, "not this one\n");
    session.answer(prompt, &format!("{PHRASE}\n"));
    session.answer("new passphrase: ", &format!("{NEW}\n"));
    session.answer("the same again: ", &format!("{NEW}\n"));
    let (code, shown) = session.end();
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("that is not it"), "{shown}");
    for secret in ["not this one", PHRASE, NEW] {
        assert!(!shown.contains(secret), "{secret} is shown:\n{shown}");
    }
    // The old one is the wrong one now; three times and it ends.
    let mut session = Session::start(&state, "admin passphrase");
    for _ in 0..3 {
        session.answer(prompt, &format!("{PHRASE}\n"));
    }
    let (code, shown) = session.end();
    assert_ne!(code, Some(0), "{shown}");
    assert!(shown.contains("[wrong_passphrase]"), "{shown}");
}

#[test]
fn ctrl_c_gives_up_and_leaves_nothing() {
    let (_dir, state) = state();
    let mut session = Session::start(&state, "admin init");
    session.answer("new passphrase: ", "half\u{3}");
    let (code, shown) = session.end();
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains("given up at the terminal"), "{shown}");
    assert!(!made(&state));
}
