//! Every scenario through the command line, as the README says to run them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on should say where"
)]

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

/// Nodes of a mesh here.
const NODES: &str = "100";

fn run(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_simulations");
    Command::new(program).args(arguments).output().unwrap()
}

fn scenarios() -> Vec<PathBuf> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
    let files = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_scenario_runs_and_says_what_it_is_asked_for() {
    for file in scenarios() {
        let shown = file.to_str().unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        let mesh = text.starts_with("simulation = \"distribution\"");
        let mut arguments = vec!["run", shown, "--seed", "1", "--format", "json"];
        if mesh {
            arguments.extend(["--nodes", NODES]);
        }
        let output = run(&arguments);
        let line = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{shown}: {line}");
        let report: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(report["ok"], true, "{shown}");
        if mesh {
            assert_eq!(report["invariant_violations"], 0, "{shown}");
            for key in ["nodes", "messages_per_node", "bytes_per_node"] {
                assert!(report[key].is_u64(), "{shown}: {key}");
            }
            for key in ["p50", "p99", "max"] {
                let found = report["effective_ms"].get(key);
                assert!(found.is_some(), "{shown}: {key}");
            }
        }
    }
}

#[test]
fn every_scenario_is_listed() {
    let output = run(&["list", concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios")]);
    let listed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(listed.lines().count(), scenarios().len());
    for file in scenarios() {
        let name = file.file_stem().unwrap().to_str().unwrap();
        let mut lines = listed.lines();
        assert!(lines.any(|line| line.starts_with(&format!("{name} "))));
    }
}

#[test]
fn what_cannot_be_run_is_refused() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
    let replays = format!("{folder}/replays.toml");
    let revoke = format!("{folder}/revoke-100.toml");
    for (arguments, why) in [
        (vec!["run", &replays, "--nodes", "10"], "`--nodes`"),
        (vec!["run", &revoke, "--nodes", "3"], "`mesh.nodes`"),
        (vec!["run", folder], "cannot read"),
        (
            vec!["run", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")],
            "not a scenario",
        ),
    ] {
        let output = run(&arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains(why), "{said}");
    }
}
