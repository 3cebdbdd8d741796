//! Admin keys without a node: exit code, stdout, stderr, and what stands on disk.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use std::path::Path;
use std::process::{Command, Stdio};

const PHRASE: &str = "correct horse battery staple";
const OTHER: &str = "an entirely different phrase";

struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs `hedgerow` on `dir`, without a terminal.
fn run(dir: &Path, variables: &[(&str, &str)], words: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .args(words)
        .env("HEDGEROW_STATE_DIR", dir.join("state"))
        .env_remove("HEDGEROW_PASSPHRASE")
        .env_remove("HEDGEROW_NEW_PASSPHRASE")
        .envs(variables.iter().copied())
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn init(dir: &Path) -> serde_json::Value {
    let words = ["--format", "json", "admin", "init", "--out", "me.card"];
    let ran = run(dir, &[("HEDGEROW_PASSPHRASE", PHRASE)], &words);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    serde_json::from_str(&ran.stdout).unwrap()
}

#[test]
fn a_key_is_made_on_a_host_that_is_no_node() {
    let dir = tempfile::tempdir().unwrap();
    let made = init(dir.path());
    let id = made["id"].as_str().unwrap().to_owned();
    assert_eq!((id.len(), &made["card"]), (64, &"me.card".into()));
    let key = std::fs::read_to_string(dir.path().join("state/keys/admin.key")).unwrap();
    assert!(key.starts_with("hedgerow-key-v2 admin argon2id 65536 3 4 "));

    // The card can be had again without the passphrase.
    let ran = run(dir.path(), &[], &["admin", "card", "--out", "again.card"]);
    assert_eq!(ran.stderr, "");
    assert_eq!(
        ran.stdout,
        format!(
            "admin key {id}\nwrote again.card; on a host of an admin:\n  hedgerow admin add again.card\n"
        )
    );
    let card = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
    assert_eq!(card("me.card"), card("again.card"));

    let ran = run(
        dir.path(),
        &[("HEDGEROW_PASSPHRASE", OTHER)],
        &["admin", "init"],
    );
    assert_eq!(ran.code, Some(3), "{}", ran.stdout);
    assert!(ran.stderr.contains("[admin_key_exists]"), "{}", ran.stderr);
}

#[test]
fn without_passphrase_and_terminal_nothing_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("setsid");
    command.arg("-w").arg(env!("CARGO_BIN_EXE_hedgerow"));
    let output = command
        .args(["admin", "init"])
        .env("HEDGEROW_STATE_DIR", dir.path().join("state"))
        .env_remove("HEDGEROW_PASSPHRASE")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        stderr,
        "error: a passphrase is needed, and there is no terminal to ask for it [passphrase_missing]\n\
         hint: set `HEDGEROW_PASSPHRASE` or give `--passphrase-file`\n"
    );
    assert_eq!(output.status.code(), Some(3));
    assert!(!dir.path().join("state/keys/admin.key").exists());
}

#[test]
fn a_short_passphrase_makes_no_key() {
    let dir = tempfile::tempdir().unwrap();
    let ran = run(
        dir.path(),
        &[("HEDGEROW_PASSPHRASE", "elevenchars")],
        &["admin", "init"],
    );
    assert_eq!(ran.code, Some(3));
    assert_eq!(
        ran.stderr,
        "error: a passphrase has at least 12 characters\nhint: take four or more words\n"
    );
}

#[test]
fn the_passphrase_changes_and_the_old_one_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let made = init(dir.path());
    let change = |old: &str, new: &str| {
        let variables = [
            ("HEDGEROW_PASSPHRASE", old),
            ("HEDGEROW_NEW_PASSPHRASE", new),
        ];
        run(dir.path(), &variables, &["admin", "passphrase"])
    };
    let ran = change(OTHER, OTHER);
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("[wrong_passphrase]"), "{}", ran.stderr);
    assert!(!ran.stderr.contains(OTHER), "{}", ran.stderr);
    let ran = change(PHRASE, OTHER);
    let id = made["id"].as_str().unwrap();
    assert_eq!(
        (ran.code, ran.stdout),
        (
            Some(0),
            format!("changed the passphrase of admin key {id}\n")
        )
    );
    assert_eq!(change(PHRASE, OTHER).code, Some(2));
    assert_eq!(change(OTHER, PHRASE).code, Some(0));
}

#[test]
fn a_key_from_before_is_refused_and_can_be_encrypted() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path());
    let path = dir.path().join("state/keys/admin.key");
    let signing = ["id", "--issuer-card", "i.card"];
    assert_eq!(run(dir.path(), &[], &signing).code, Some(0));
    // An issuer's key in the clear, called an admin's: the form before admin keys were encrypted.
    let issuer = dir.path().join("state/keys/issuer.key");
    let line = std::fs::read_to_string(issuer).unwrap();
    let mut words: Vec<&str> = line.trim_end().split(' ').collect();
    words[1] = "admin";
    words.pop();
    let covered = format!("{} ", words.join(" "));
    use protocol::crypto::Crypto as _;
    let check = hedgerow_crypto::Primitives.sha256(&[covered.as_bytes()]);
    let check: String = check[..8].iter().map(|b| format!("{b:02x}")).collect();
    std::fs::write(&path, format!("{covered}{check}\n")).unwrap();

    let new = [("HEDGEROW_NEW_PASSPHRASE", OTHER)];
    let ran = run(dir.path(), &new, &["admin", "passphrase"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    assert!(
        std::fs::read_to_string(&path)
            .unwrap()
            .starts_with("hedgerow-key-v2 ")
    );
}

#[test]
fn a_passphrase_stands_in_no_output() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path());
    for words in [
        &["admin", "card"][..],
        &["admin", "passphrase"],
        &["admin", "init"],
    ] {
        let variables = [
            ("HEDGEROW_PASSPHRASE", PHRASE),
            ("HEDGEROW_NEW_PASSPHRASE", PHRASE),
            ("HEDGEROW_LOG", "trace"),
        ];
        let ran = run(dir.path(), &variables, words);
        assert!(!format!("{}{}", ran.stdout, ran.stderr).contains(PHRASE));
    }
}
