//! What works without a node: exit code, stdout, stderr.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

use std::process::{Command, Stdio};

fn run(words: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .args(words)
        .env("HEDGEROW_STATE_DIR", "/nonexistent/hedgerow")
        .env_remove("XDG_STATE_HOME")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

/// What a command prints as JSON.
fn as_json(words: &[&str]) -> serde_json::Value {
    let (code, stdout, stderr) = run(&[words, &["--format", "json"]].concat());
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{words:?}");
    serde_json::from_str(&stdout).unwrap()
}

#[test]
fn help_goes_to_stdout_and_names_every_command() {
    let (code, stdout, stderr) = run(&["--help"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    for command in [
        "up",
        "run",
        "demo",
        "status",
        "peers",
        "server",
        "approvals",
        "agent",
        "tools",
        "call",
        "mcp",
        "envelope",
        "id",
        "membership",
        "admin",
        "revoke",
        "revocations",
        "sign",
        "trust",
        "config",
        "completions",
    ] {
        assert!(stdout.contains(&format!("\n  {command} ")), "{command}");
        let (code, help, _) = run(&[command, "--help"]);
        assert_eq!(code, Some(0), "{command}");
        assert!(help.contains("Usage: hedgerow"), "{command}");
    }
    assert!(!stdout.contains("sample-server"));
    assert!(stdout.contains("Exit codes: 0 ok, 1 failure, 2 denied"));
}

#[test]
fn what_cannot_be_used_exits_with_three() {
    for words in [
        &["frobnicate"][..],
        &[],
        &["call", "x"],
        &["call", "n/s/t", "--timeout", "0"],
        &["call", "n/s/t", "a=1", "a=2"],
        &["call", "n/s/t", "--json", "[]"],
        &["server", "add", "x"],
        &["server", "add", "X", "--", "y"],
        &["server", "add", "x", "--url", "http://h", "--", "y"],
        &["server", "add", "x", "--url", "ftp://h"],
        &["server", "add", "x", "--header", "a=b", "--", "y"],
        &[
            "server", "add", "x", "--env", "a=1", "--env", "a=2", "--", "y",
        ],
        &["up", "--name", "a", "--admission", "f"],
        &["up", "--name", "No Name"],
        &["up", "--admission", "/nonexistent/file"],
        // Before anything is founded.
        &["up", "--gateway", "0.0.0.0:9"],
        &["up", "--listen", "203.0.113.77:7443"],
        &["revoke", "node", "b", "--reason", " "],
        &["membership", "issue", "/nonexistent/file", "--out", "x"],
        &["membership", "issue", "f", "--days", "0", "--out", "x"],
        &["envelope", "verify", "/nonexistent/file"],
        &["envelope", "verify", "f", "--mesh", "zz"],
        &["run"],
        &["admin"],
        &["admin", "add", "/nonexistent/file"],
        &["admin", "threshold", "0"],
        &["admin", "threshold", "33"],
        &["admin", "import", "/nonexistent/file"],
        &["admin", "issuer", "add", "f", "--max-days", "401"],
        &["admin", "issuer", "add", "f", "--groups", "Not A Name"],
        &["sign", "/nonexistent/file"],
        &["revoke", "node", "x"],
        &["revoke", "planet", "x", "--reason", "y"],
        &["revocations", "list", "--limit", "0"],
        &["revocations", "status", "--wait", "61"],
        &["status", "--format", "xml"],
    ] {
        let (code, stdout, stderr) = run(words);
        assert_eq!(
            (code, stdout.as_str()),
            (Some(3), ""),
            "{words:?}: {stderr}"
        );
        assert!(!stderr.is_empty(), "{words:?}");
    }
}

#[test]
fn without_a_node_clients_say_how_to_start_one() {
    for words in [
        &["status"][..],
        &["peers"],
        &["server", "list"],
        &["agent", "add", "x"],
        &["tools"],
        &["call", "n/s/t"],
        &["trust"],
        &["admin", "list"],
        &["admin", "pending"],
        &["revoke", "ticket", "x", "--reason", "y"],
        &["revocations", "list"],
    ] {
        let (code, stdout, stderr) = run(words);
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{words:?}");
        assert_eq!(
            stderr,
            "error: no node is running here: nothing answers on \
             `/nonexistent/hedgerow/control.sock` [no_node]\n\
             hint: start one with `hedgerow up`, or name its state directory with `--state-dir`\n"
        );
    }
    let (code, stdout, stderr) = run(&["mcp"]);
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(
        stderr.contains("/nonexistent/hedgerow/mcp.sock"),
        "{stderr}"
    );
}

#[test]
fn for_scripts_what_fails_ends_with_one_json_object_on_stderr() {
    for (words, code, reason) in [
        (&["status"][..], 1, "no_node"),
        (&["call", "n/s/t", "a=1", "a=2"], 3, "invalid_input"),
        (
            &["admin", "import", "/nonexistent/file"],
            3,
            "invalid_input",
        ),
        (
            &["policy", "check", "/nonexistent/file"],
            3,
            "invalid_input",
        ),
        (&["mcp"], 1, "no_node"),
    ] {
        let words = [words, &["--format", "json"]].concat();
        let (exit, stdout, stderr) = run(&words);
        assert_eq!((exit, stdout.as_str()), (Some(code), ""), "{words:?}");
        let last = stderr.lines().last().unwrap();
        let told: serde_json::Value = serde_json::from_str(last).unwrap();
        let error = &told["error"];
        assert_eq!(error["reason"], reason, "{stderr}");
        assert_eq!(error["exit_code"], code, "{stderr}");
        assert!(error["message"].is_string(), "{stderr}");
    }
}

#[test]
fn run_needs_a_node_to_run() {
    let (_, _, stderr) = run(&["run"]);
    assert_eq!(
        stderr,
        "error: `/nonexistent/hedgerow` holds no node\n\
         hint: found a mesh or join one with `hedgerow up`\n"
    );
}

#[test]
fn no_evidence_is_a_refusal_with_a_name() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.envelope");
    std::fs::write(&file, b"\xa0 not one").unwrap();
    let (code, stdout, stderr) = run(&["envelope", "verify", file.to_str().unwrap()]);
    assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
    assert!(stderr.starts_with("error: file: "), "{stderr}");
    assert!(stderr.trim_end().ends_with(']'), "{stderr}");
}

#[test]
fn the_example_configuration_is_toml_with_every_section() {
    let (code, stdout, _) = run(&["config", "example"]);
    assert_eq!(code, Some(0));
    for section in ["[node]", "[gateway]", "[store]", "[log]", "[limits]"] {
        assert!(stdout.contains(section), "{section}");
    }
    assert_eq!(as_json(&["config", "example"])["config"], stdout);
}

#[test]
fn every_shell_has_completions() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let (code, stdout, stderr) = run(&["completions", shell]);
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{shell}");
        assert!(stdout.contains("hedgerow"), "{shell}");
        assert_eq!(as_json(&["completions", shell])["completions"], stdout);
    }
}
