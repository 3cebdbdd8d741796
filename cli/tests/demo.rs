//! The demo from start to end, on real nodes.
//!
//! This program plays `hedgerow` for the demo: a node that it starts inherits a lock from it, held as
//! long as the node lives, or does not start at all; everything else it passes on to the real binary.
//! Run without such arguments it is the test. What is tested is the demo's own part: its steps, its
//! report, that it leaves no process and no file, and that it notices what does not hold.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on should say where"
)]

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The demo's nodes.
const HOSTS: [&str; 3] = ["relay-host", "agent-host", "tool-host"];
const REAL: &str = env!("CARGO_BIN_EXE_hedgerow");
/// Where each node holds a lock while it lives.
const LOCKS: &str = "HEDGEROW_TEST_LOCKS";
/// The node that does not start.
const FAULT: &str = "HEDGEROW_TEST_FAULT";

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let first = words.first().map(String::as_str);
    if matches!(first, Some("--state-dir" | "sample-server")) {
        return play(&words);
    }
    all_checks_hold_and_nothing_is_left();
    ctrl_c_ends_it_in_good_order();
    a_killed_demo_leaves_no_node_and_the_next_one_sweeps();
    a_node_that_does_not_start_is_a_failure();
    println!("test result: ok. 4 passed");
}

// --- as `hedgerow` ---

fn play(words: &[String]) {
    if words.get(4).is_some_and(|word| word == "up") {
        hold_lock(Path::new(&words[1]));
    }
    panic!("{}", Command::new(REAL).args(words).exec());
}

/// Takes the node's lock in a file that the program this one becomes inherits.
fn hold_lock(state: &Path) {
    let name = state.file_name().unwrap().to_str().unwrap();
    if std::env::var(FAULT).is_ok_and(|fault| fault == name) {
        eprintln!("error: the address is in use");
        std::process::exit(1);
    }
    let lock = File::create(Path::new(&std::env::var(LOCKS).unwrap()).join(name)).unwrap();
    lock.lock().unwrap();
    rustix::io::fcntl_setfd(&lock, rustix::io::FdFlags::empty()).unwrap();
    std::mem::forget(lock);
}

// --- as the test ---

struct Stage {
    temporary: tempfile::TempDir,
    locks: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        Self {
            temporary: tempfile::tempdir().unwrap(),
            locks: tempfile::tempdir().unwrap(),
        }
    }

    fn demo(&self, words: &[&str]) -> Command {
        let mut command = Command::new(REAL);
        command
            .args(["demo", "--format", "json", "--binary"])
            .arg(std::env::current_exe().unwrap())
            .args(words)
            .env("TMPDIR", self.temporary.path())
            .env(LOCKS, self.locks.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Waits until all nodes are gone: each holds its lock as long as it lives.
    fn nodes_are_gone(&self) {
        for name in HOSTS {
            File::open(self.locks.path().join(name))
                .unwrap()
                .lock()
                .unwrap();
        }
    }

    fn leftovers(&self) -> usize {
        std::fs::read_dir(self.temporary.path()).unwrap().count()
    }
}

fn first_line(child: &mut Child) -> serde_json::Value {
    let mut line = String::new();
    let stdout = child.stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: `{line}`"))
}

fn all_checks_hold_and_nothing_is_left() {
    let stage = Stage::new();
    let output = stage.demo(&["--exit"]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["ok"], true);
    assert_eq!(report["nodes"].as_array().unwrap().len(), 3);
    assert_eq!(report["links"].as_array().unwrap().len(), 2);
    for link in report["links"].as_array().unwrap() {
        assert_eq!(link["group"], "X25519MLKEM768");
        assert_eq!(link["to"], "relay-host");
    }
    let calls = report["calls"].as_array().unwrap();
    let tools: Vec<&str> = calls.iter().map(|c| c["tool"].as_str().unwrap()).collect();
    assert_eq!(
        tools,
        [
            "get_product_info",
            "check_inventory",
            "update_price",
            "get_product_info"
        ]
    );
    for call in calls {
        assert_eq!(call["ok"], true);
        assert_eq!(call["signers"].as_array().unwrap().len(), 4);
        assert_eq!(call["hops"][0]["node"], "relay-host");
        assert_ne!(call["request_envelope_id"], call["response_envelope_id"]);
    }
    assert_eq!(report["policies"][1]["spread"]["have"], 3);
    assert_eq!(report["blocked"]["tool"], "update_price");
    assert_eq!(report["held"]["approved_at"], "tool-host");
    assert_eq!(report["cut"]["reason"], "agent_revoked");
    assert_eq!(report["tamper_refused"], true);
    assert!(report["elapsed_s"].as_f64().unwrap() > 0.0);
    assert_eq!(report.get("mcp"), None);
    stage.nodes_are_gone();
    assert_eq!(stage.leftovers(), 0);
}

fn ctrl_c_ends_it_in_good_order() {
    let stage = Stage::new();
    let mut child = stage.demo(&[]).spawn().unwrap();
    let report = first_line(&mut child);
    assert!(!report["mcp"]["token"].as_str().unwrap().is_empty());
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    stage.nodes_are_gone();
    assert_eq!(stage.leftovers(), 0);
}

fn a_killed_demo_leaves_no_node_and_the_next_one_sweeps() {
    let stage = Stage::new();
    let mut child = stage.demo(&[]).spawn().unwrap();
    first_line(&mut child);
    child.kill().unwrap();
    child.wait().unwrap();
    stage.nodes_are_gone();
    assert_eq!(stage.leftovers(), 1);
    let next = stage.demo(&["--exit"]).output().unwrap();
    assert_eq!(next.status.code(), Some(0));
    assert_eq!(stage.leftovers(), 0);
}

fn a_node_that_does_not_start_is_a_failure() {
    let stage = Stage::new();
    let output = stage
        .demo(&["--exit"])
        .env(FAULT, "tool-host")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains("tool-host: error: the address is in use"),
        "{stderr}"
    );
    assert!(
        stderr.contains(r#""message":"the node `tool-host` ended before it was ready""#),
        "{stderr}"
    );
    assert_eq!(stage.leftovers(), 0);
}
