//! What policy commands make of files and of calls as they are given: read, or refused with all that
//! is wrong. Needs no node.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

mod support;

use serde_json::Value;
use support::bench::{run, seen, stdout};

const SEED: &str = r#"{"policy_name": "mcp_read_only_enforcement",
 "allowed_tools": ["get_product_info", "check_inventory"],
 "restricted_intents": ["update_price", "delete_record"],
 "action_on_violation": "block_and_alert"}
"#;

/// A directory with these files.
fn files(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    dir
}

/// For scripts, all that is wrong with documents is one object, and so is the schema of Cedar.
#[test]
fn bad_documents_for_scripts() {
    let bad = r#"{"policy_name": "p", "allowed_tool": [], "mode": 7}"#;
    let dir = files(&[("bad.json", bad), ("worse.json", "["), ("good.json", SEED)]);
    let state = dir.path().to_str().unwrap();
    for words in [
        &["check", "good.json", "bad.json", "worse.json"][..],
        &["lint", "good.json", "bad.json", "worse.json"],
        &["test", "good.json", "bad.json", "worse.json"],
        &["apply", "good.json", "bad.json", "worse.json"],
        &["diff", state, "good.json"],
    ] {
        let words = [&["--format", "json", "policy"], words].concat();
        let ran = run(dir.path(), &words, "");
        let stderr = ran.split("--- stderr\n").nth(1).unwrap();
        let told: Value = serde_json::from_str(stderr).unwrap_or_else(|_| panic!("{ran}"));
        let error = &told["error"];
        assert_eq!(error["exit_code"], 3, "{told}");
        assert_eq!(error["reason"], "policy_unknown_key", "{told}");
        let problems = error["problems"].as_array().unwrap();
        let of = |reason: &str| problems.iter().find(|p| p["reason"] == reason).unwrap();
        let unknown = of("policy_unknown_key");
        assert!(unknown["file"].as_str().unwrap().ends_with("bad.json"));
        assert_eq!(unknown["path"], "/allowed_tool");
        let mend = unknown["mend"].as_str().unwrap();
        assert!(mend.contains("did you mean `allowed_tools`?"), "{told}");
        assert!(unknown["message"].as_str().unwrap().contains("unknown key"));
        assert_eq!(of("policy_wrong_type")["path"], "/mode");
        let worse = of("policy_not_json");
        assert!(worse["file"].as_str().unwrap().ends_with("worse.json"));
        assert_eq!(worse["path"], "");
    }
    let schema = run(
        dir.path(),
        &["--format", "json", "policy", "schema", "--cedar"],
        "",
    );
    let schema: Value = serde_json::from_str(&stdout(&schema)).unwrap();
    assert!(schema["cedar_schema"].as_str().unwrap().contains("entity"));
}

/// A key named twice is refused as in tests of documents: the mesh refuses such a call.
#[test]
fn explain_takes_no_key_twice() {
    let dir = files(&[("a/p.json", SEED)]);
    let explain = |words: &[&str]| {
        let words = [&["policy", "explain", "--policies", "a"], words].concat();
        run(dir.path(), &words, "")
    };
    for (words, place) in [
        (
            [
                "--tool",
                "x",
                "--arguments",
                r#"{"price": 1000, "price": 1}"#,
            ],
            "/arguments/price",
        ),
        (
            ["--tool", "x", "--arguments", r#"{"a": [{"b": 1, "b": 2}]}"#],
            "/arguments/a/0/b",
        ),
        (
            [
                "--tool",
                "x",
                "--call",
                r#"{"labels": ["phi"], "labels": []}"#,
            ],
            "/labels",
        ),
        (
            [
                "--tool",
                "x",
                "--call",
                r#"{"arguments": {"b": 1, "b": 2}}"#,
            ],
            "/arguments/b",
        ),
    ] {
        let refused = explain(&words);
        assert!(refused.starts_with("exit: 3\n"), "{refused}");
        assert!(refused.contains("[policy_duplicate_key]"), "{refused}");
        let at = format!("command line: policy `the call` at `{place}`: ");
        assert!(refused.contains(&at), "{place}: {refused}");
    }
    let once = explain(&[
        "--tool",
        "x",
        "--arguments",
        r#"{"price": 1000, "sku": "}"}"#,
    ]);
    assert!(once.starts_with("exit: 0\n"), "{once}");
}

/// Numbers of arguments are the value that was written, as where calls are decided.
#[test]
fn explain_compares_numbers_as_they_are_written() {
    let exact = r#"{"policy_name": "exact", "allowed_tools": ["pay"],
        "arguments": {"/account": {"equals": 9007199254740993, "optional": true},
            "/amount": {"max": 100, "optional": true}}}"#;
    let dir = files(&[("exact.json", exact)]);
    for (arguments, verdict) in [
        (r#"{"account": 9007199254740993}"#, "allow"),
        (r#"{"account": 9007199254740992}"#, "deny"),
        (r#"{"account": 9007199254740993.0e0}"#, "allow"),
        (r#"{"amount": 100.0000000000000000000000001}"#, "deny"),
        (r#"{"amount": 1e400}"#, "deny"),
        (r#"{"amount": -1e400}"#, "allow"),
        (r#"{"amount": 100.0}"#, "allow"),
    ] {
        let call = format!(r#"{{"tool": "pay", "arguments": {arguments}}}"#);
        for words in [
            &["--call", &call][..],
            &["--tool", "pay", "--arguments", arguments],
        ] {
            let explain = ["policy", "explain", "--policies", "exact.json"];
            let words = [&["--format", "json"], &explain[..], words].concat();
            let told = run(dir.path(), &words, "");
            let json: Value = serde_json::from_str(&stdout(&told)).expect(&told);
            assert_eq!(json["verdict"], verdict, "{words:?}: {told}");
        }
    }
}

/// What raw Cedar permits is told apart by whether it has to be approved.
#[test]
fn check_says_what_raw_cedar_does() {
    let held = r#"@action("require_approval") forbid (principal, action, resource)
        when { context.server == "bank" };"#;
    let permit = r#"permit (principal, action, resource) when { context.server == "shop" };"#;
    let mixed = format!("{permit} {held}");
    let dir = files(&[("held.cedar", held), ("mixed.cedar", &mixed)]);
    let told = run(
        dir.path(),
        &["policy", "check", "held.cedar", "mixed.cedar"],
        "",
    );
    assert_eq!(
        stdout(&told),
        "  ✓ held.cedar: held
      restricts; permits what is approved under it
      forbids require_approval every hop   /policy0
      permits once approved    every hop   /policy0
  ✓ mixed.cedar: mixed
      permits -                every hop   /policy0
      forbids require_approval every hop   /policy1
      permits once approved    every hop   /policy1
"
    );
    let words = ["--format", "json", "policy", "check", "held.cedar"];
    let told: Value = serde_json::from_str(&stdout(&run(dir.path(), &words, ""))).unwrap();
    assert_eq!(told[0]["grants"], false, "{told}");
    assert_eq!(told[0]["permits_approved"], true, "{told}");
    assert_eq!(told[0]["rules"][1]["once_approved"], true, "{told}");
    assert_eq!(told[0]["rules"][1]["action"], Value::Null, "{told}");
}

/// What only observes is told, or its author takes it for in force.
#[test]
fn check_says_what_only_observes() {
    let trial = r#"{"policy_name": "trial", "mode": "observe", "restricted_intents": ["delete"]}"#;
    let raw = r#"@mode("observe") forbid (principal, action, resource);
        forbid (principal, action, resource) when { context.server == "bank" };"#;
    let dir = files(&[("trial.json", trial), ("raw.cedar", raw)]);
    let words = ["policy", "check", "trial.json", "raw.cedar"];
    assert_eq!(
        stdout(&run(dir.path(), &words, "")),
        "  ✓ trial.json: trial
      only observes: it reports, and neither permits nor stops anything
      forbids block            every hop   /restricted_intents
  ✓ raw.cedar: raw
      forbids block            every hop   /policy0 (only observes)
      forbids block            every hop   /policy1
"
    );
    let words = [&["--format", "json"], &words[..]].concat();
    let told: Value = serde_json::from_str(&stdout(&run(dir.path(), &words, ""))).unwrap();
    assert_eq!(told[0]["mode"], "observe", "{told}");
    assert_eq!(told[0]["rules"][0]["observes"], true, "{told}");
    assert_eq!(told[1]["mode"], Value::Null, "{told}");
    assert_eq!(told[1]["rules"][1]["observes"], false, "{told}");
}

#[test]
fn lint() {
    let odd = r#"{"policy_name": "odd", "servers": ["shop", "*"],
        "allowed_tools": ["shop/update_price", "shop/*"], "intents": {"restricted": ["update_price"]}}"#;
    let dir = files(&[("odd.json", odd), ("seed/seed.json", SEED)]);
    seen(
        &run(dir.path(), &["policy", "lint", "odd.json"], ""),
        "exit: 1
--- stdout
  ! odd.json `odd` at `/allowed_tools/0`: `shop/*` matches all that `shop/update_price` does [redundant]
      mend: remove it
  ! odd.json `odd` at `/allowed_tools/0`: `shop/update_price` intends `update_price`, which `/intents/restricted` forbids [contradictory]
      mend: remove the tool, or allow what it does
  ! odd.json `odd` at `/servers/0`: `*` matches all that `shop` does [redundant]
      mend: remove it
--- stderr
",
    );
    seen(
        &run(dir.path(), &["policy", "lint", "seed"], ""),
        "exit: 0\n--- stdout\n  ✓ nothing found\n--- stderr\n",
    );
    let json = run(
        dir.path(),
        &["--format", "json", "policy", "lint", "odd.json"],
        "",
    );
    let json: Value = serde_json::from_str(&stdout(&json)).unwrap();
    assert_eq!(json["whole"], true);
    assert_eq!(
        json["findings"][1],
        serde_json::json!({
            "code": "contradictory",
            "document": "odd",
            "file": "odd.json",
            "path": "/allowed_tools/0",
            "why": "`shop/update_price` intends `update_price`, which `/intents/restricted` forbids",
            "mend": "remove the tool, or allow what it does",
        })
    );
}

/// A directory means its documents; what cannot be read is told with a mend.
#[test]
fn directories_are_read_as_their_documents() {
    let tested = SEED.replace(
        r#""action_on_violation""#,
        r#""tests": [{"name": "no", "call": {"tool": "update_price"}, "expect": "deny"}],
        "action_on_violation""#,
    );
    let dir = files(&[
        ("p/seed.json", &tested),
        ("p/raw.cedar", "permit(principal, action, resource);"),
        ("p/README.md", "no document"),
        ("none/README.md", "no document"),
    ]);
    let checked = run(dir.path(), &["policy", "check", "p"], "");
    assert!(checked.starts_with("exit: 0\n"), "{checked}");
    for file in ["p/raw.cedar: raw", "p/seed.json: mcp_read_only_enforcement"] {
        assert!(checked.contains(file), "{checked}");
    }
    let ran = run(dir.path(), &["--format", "json", "policy", "test", "p"], "");
    let ran: Value = serde_json::from_str(&stdout(&ran)).unwrap();
    assert_eq!((&ran["tests"], &ran["failed"]), (&1.into(), &0.into()));
    for verb in ["check", "test"] {
        let none = run(dir.path(), &["policy", verb, "none"], "");
        assert!(none.contains("[no_policies]\nhint: "), "{none}");
        let missing = run(dir.path(), &["policy", verb, "gone.json"], "");
        assert!(missing.contains("cannot read `gone.json`: "), "{missing}");
        assert!(missing.contains("\nhint: give the path of"), "{missing}");
    }
    let applied = run(dir.path(), &["policy", "apply", "p"], "");
    assert!(applied.starts_with("exit: 3\n"), "{applied}");
    assert!(
        applied.contains("hint: give the documents in it: p/*.json"),
        "{applied}"
    );
}
