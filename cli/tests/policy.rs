//! Policies as people write, try, compare and apply them: exit code, stdout, stderr, whole; first
//! without a node, then with a real one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

mod support;

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::Child;

use serde_json::Value;
use support::bench::{command, run, seen, stdout};

/// What opens the admin's key.
const PHRASE: &str = "correct horse battery staple";

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

#[test]
fn diff() {
    let more = SEED.replace("\"delete_record\"", "\"delete_record\", \"get_secret\"");
    let dir = files(&[("a/p.json", SEED), ("b/p.json", &more)]);
    let text = run(dir.path(), &["policy", "diff", "a", "b"], "");
    let changed = "exit: 0
--- stdout
changed  mcp_read_only_enforcement

allow → deny: `/restricted_intents` of `mcp_read_only_enforcement`
  policy `mcp_read_only_enforcement` restricts what tool `check_inventory` intends: `check_inventory`, `get_secret`, `read`
  example: {\"tool\": \"check_inventory\", \"intents\": [\"get_secret\"]}
";
    assert!(text.starts_with(changed), "{text}");
    assert!(
        text.contains("Not tried:\n  what calls add up to"),
        "{text}"
    );
    seen(
        &run(dir.path(), &["policy", "diff", "a", "a/p.json"], ""),
        "exit: 0\n--- stdout\nno document differs\n--- stderr\n",
    );
    let json = run(
        dir.path(),
        &["--format", "json", "policy", "diff", "a", "b"],
        "",
    );
    let json: Value = serde_json::from_str(&stdout(&json)).unwrap();
    let change = &json["changes"][0];
    assert_eq!(
        (&change["from"], &change["to"]),
        (&"allow".into(), &"deny".into())
    );
    assert_eq!(change["example"]["intents"][0], "get_secret");
    let none = run(dir.path(), &["policy", "diff", "a", "none"], "");
    assert!(
        none.starts_with("exit: 3\n--- stdout\n--- stderr\nerror: cannot read `none`"),
        "{none}"
    );
}

#[test]
fn explain() {
    let dir = files(&[("a/p.json", SEED)]);
    seen(
        &run(
            dir.path(),
            &[
                "policy",
                "explain",
                "--tool",
                "update_price",
                "--policies",
                "a",
            ],
            "",
        ),
        "exit: 0
--- stdout
deny, decided at the caller's node

At the caller's node: deny
  because      policy `mcp_read_only_enforcement` does not allow tool `update_price`
  reason       tool_not_allowed
  violates     `/allowed_tools` of `mcp_read_only_enforcement` (block_and_alert)
  violates     `/restricted_intents` of `mcp_read_only_enforcement` (block_and_alert)

At the server's node: deny
  because      policy `mcp_read_only_enforcement` does not allow tool `update_price`
  reason       tool_not_allowed
  violates     `/allowed_tools` of `mcp_read_only_enforcement` (block_and_alert)
  violates     `/restricted_intents` of `mcp_read_only_enforcement` (block_and_alert)

the tool's definition counts as an approved one

Assumed, for it was not given
  groups       none (as in the tests of documents)
  site         none (as in the tests of documents)
  posture      unknown (as in the tests of documents)
  address      unknown (as in the tests of documents)
  human        none (as in the tests of documents)
  host_groups  none (as in the tests of documents)
  intents      what its name says (as in the tests of documents)
  time         2026-01-05T12:00:00Z (as in the tests of documents)
  via          direct (as in the tests of documents)
  revoked      no (as in the tests of documents)
  severed      no (as in the tests of documents)
--- stderr
",
    );
    let call = r#"{"tool": "get_product_info", "via": "node:gate"}"#;
    seen(
        &run(
            dir.path(),
            &["policy", "explain", "--call", call, "--policies", "a"],
            "",
        ),
        "exit: 0
--- stdout
allow, decided at the server's node

At the caller's node: allow
  permitted by mcp_read_only_enforcement

At a relay: allow
  sees the signed header alone, no arguments
  permitted by mcp_read_only_enforcement

At the server's node: allow
  permitted by mcp_read_only_enforcement

the tool's definition counts as an approved one

Assumed, for it was not given
  groups       none (as in the tests of documents)
  site         none (as in the tests of documents)
  posture      unknown (as in the tests of documents)
  address      unknown (as in the tests of documents)
  human        none (as in the tests of documents)
  host_groups  none (as in the tests of documents)
  intents      what its name says (as in the tests of documents)
  time         2026-01-05T12:00:00Z (as in the tests of documents)
  revoked      no (as in the tests of documents)
  severed      no (as in the tests of documents)
--- stderr
",
    );
    seen(
        &run(dir.path(), &["policy", "explain"], ""),
        "exit: 3
--- stdout
--- stderr
error: nothing to explain [no_call]
hint: give the number of a decision, or a call: `--server`, `--tool`
",
    );
    let unknown = run(
        dir.path(),
        &[
            "policy",
            "explain",
            "--call",
            r#"{"tol": "x"}"#,
            "--policies",
            "a",
        ],
        "",
    );
    assert!(unknown.starts_with("exit: 3\n"), "{unknown}");
    assert!(
        unknown.contains("at `/tol`: unknown key `tol`"),
        "{unknown}"
    );
    assert!(unknown.contains("did you mean `tool`?"), "{unknown}");
}

/// What is bad in documents is named with its file, its place and a mend.
#[test]
fn bad_documents() {
    let large = format!(
        r#"{{"policy_name": "p", "description": "{}"}}"#,
        "x".repeat(10 << 20)
    );
    let rules: Vec<String> = (0..100_000).map(|n| format!("\"t{n}\"")).collect();
    let rules = format!(
        r#"{{"policy_name": "p", "allowed_tools": [{}]}}"#,
        rules.join(",")
    );
    let bomb = format!(
        r#"{{"policy_name": "p", "tools": ["{}"]}}"#,
        "*a".repeat(200)
    );
    let p = |members: &str| format!(r#"{{"policy_name": "p", {members}}}"#);
    for (text, reason, place) in [
        ("{\"policy_name\": ".to_owned(), "policy_not_json", ""),
        (
            p(r#""allowed_tool": []"#),
            "policy_unknown_key",
            "/allowed_tool",
        ),
        (
            p(r#""allowed_tools": 7"#),
            "policy_wrong_type",
            "/allowed_tools",
        ),
        (
            p(r#""mode": "enforce", "mode": "observe""#),
            "policy_duplicate_key",
            "/mode",
        ),
        (large, "policy_too_large", ""),
        (rules, "policy_too_large", ""),
        (bomb, "policy_bad_glob", "/tools/0"),
        (
            p(r#""arguments": {"schema": {"$ref": "https://evil.example/s"}}"#),
            "policy_schema_reference",
            "/arguments/schema/$ref",
        ),
        (
            p(r#""arguments": {"/a": {"regex": "(a+)\\1"}}"#),
            "policy_bad_pattern",
            "/arguments/~1a/regex",
        ),
    ] {
        let dir = files(&[("bad.json", &text), ("good.json", SEED)]);
        for verb in ["check", "lint", "test"] {
            let ran = run(dir.path(), &["policy", verb, "good.json", "bad.json"], "");
            assert!(
                ran.starts_with("exit: 3\n--- stdout\n--- stderr\nbad.json: "),
                "{ran}"
            );
            assert!(
                ran.contains(&format!("[{reason}]\n  mend: ")),
                "{reason}: {ran}"
            );
            let at = format!(" at `{place}`: ");
            assert!(place.is_empty() || ran.contains(&at), "{place}: {ran}");
        }
    }
    // What is too large is told its size, and not where reading stopped.
    let large = " ".repeat(1_500_000);
    let dir = files(&[("large.json", &large), ("large.cedar", &large)]);
    for file in ["large.json", "large.cedar"] {
        let ran = run(dir.path(), &["policy", "check", file], "");
        assert!(ran.contains("has 1500000 bytes, over"), "{ran}");
        assert!(ran.contains("[policy_too_large]"), "{ran}");
    }
    // Where the size is not known, no more is read than tells that it is too large.
    for endless in ["-", "/dev/zero"] {
        let ran = run(dir.path(), &["policy", "check", endless], &large);
        assert!(ran.contains("more than the 262144 bytes allowed"), "{ran}");
        assert!(ran.contains("[policy_too_large]\n  mend: "), "{ran}");
    }
    let dir = files(&[("no.cedar", "permit(principal, action;")]);
    let ran = run(dir.path(), &["policy", "check", "no.cedar"], "");
    assert!(ran.contains("not Cedar: ") && ran.contains("`;`"), "{ran}");

    let dir = files(&[("a.json", SEED), ("b.json", SEED)]);
    seen(
        &run(dir.path(), &["policy", "check", "a.json", "b.json"], ""),
        "exit: 3
--- stdout
--- stderr
error: `a.json` and `b.json` both hold policy `mcp_read_only_enforcement` [policy_duplicate_name]
hint: give each document its own `policy_name`
",
    );
}

/// A node that runs until it is dropped.
struct Node {
    state: PathBuf,
    home: tempfile::TempDir,
    child: Child,
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Node {
    /// Founds a mesh of one and attaches the sample server.
    fn up() -> Self {
        let home = tempfile::tempdir().unwrap();
        let state = home.path().join("state");
        std::fs::write(home.path().join("phrase"), PHRASE).unwrap();
        let words = [
            "--format",
            "json",
            "up",
            "--name",
            "hub",
            "--policy",
            "open",
            "--listen",
            "127.0.0.1:0",
            "--gateway",
            "127.0.0.1:0",
            "--until-stdin-closes",
        ];
        let mut child = command(home.path(), &words)
            .env("HEDGEROW_STATE_DIR", &state)
            .env("HEDGEROW_PASSPHRASE", PHRASE)
            .stderr(std::fs::File::create(home.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        lines.read_line(&mut ready).unwrap();
        assert!(ready.contains("\"ready\""), "{ready}");
        // Whoever writes into a closed pipe would end.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        let node = Self { state, home, child };
        let sample = env!("CARGO_BIN_EXE_hedgerow");
        node.ok(&["server", "add", "shop", "--", sample, "sample-server"]);
        node.ok(&["agent", "add", "claude"]);
        node
    }

    fn run(&self, words: &[&str]) -> String {
        let output = command(self.home.path(), words)
            .env("HEDGEROW_STATE_DIR", &self.state)
            .env("HEDGEROW_PASSPHRASE", PHRASE)
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        format!(
            "exit: {}\n--- stdout\n{}--- stderr\n{}",
            output.status.code().unwrap(),
            text(output.stdout),
            text(output.stderr)
        )
    }

    fn ok(&self, words: &[&str]) -> String {
        let ran = self.run(words);
        assert!(ran.starts_with("exit: 0\n"), "{words:?}: {ran}");
        ran
    }

    fn json(&self, words: &[&str]) -> Value {
        let ran = self.ok(&[&["--format", "json"], words].concat());
        serde_json::from_str(&stdout(&ran)).unwrap()
    }

    fn file(&self, name: &str, text: &str) -> String {
        std::fs::write(self.home.path().join(name), text).unwrap();
        name.to_owned()
    }

    /// Waits until the sample server's tools are known.
    fn tools(&self) {
        for _ in 0..1000 {
            if self.json(&["tools"]).as_array().unwrap().len() >= 4 {
                return;
            }
        }
        panic!("the sample server's tools did not show up");
    }

    fn call(&self, tool: &str, arguments: &[&str]) -> String {
        let tool = format!("hub/shop/{tool}");
        self.run(&[&["call", &tool], arguments].concat())
    }
}

/// The whole of it on a node: in force, denied, explained, taken back, allowed; and what is bad
/// changes nothing.
#[test]
fn from_apply_to_rollback() {
    let node = Node::up();
    node.tools();
    let update = |price: &str| node.call("update_price", &["sku=HR-1001", price]);
    assert!(update("price=12").starts_with("exit: 0"));
    let all = r#"{"policy_name": "all", "servers": ["shop"], "allowed_tools": ["shop/*"]}"#;
    let all = node.file("all.json", all);
    // Until there is a bundle, everything may be called.
    let first = node.json(&["policy", "diff", &all]);
    assert_eq!(first["documents"][0]["change"], "added");
    assert_eq!(
        (&first["changes"][0]["from"], &first["changes"][0]["to"]),
        (&"allow".into(), &"deny".into())
    );
    seen(
        &node.run(&["policy", "apply", &all, "--yes"]),
        "exit: 0
--- stdout
  ✓ bundle 1 is in force on 1 of 1 nodes this one has a link to
--- stderr
bundle 1 of mesh `mesh`
  - adds policy `all`
",
    );
    assert!(update("price=13").starts_with("exit: 0"));

    let seed = node.file("seed.json", SEED);
    let diff = node.ok(&["policy", "diff", &seed]);
    assert!(
        diff.contains("added    mcp_read_only_enforcement"),
        "{diff}"
    );
    let denied = diff.find("allow → deny: `/restricted_intents` of `mcp_read_only_enforcement`");
    let denied =
        denied.or(diff.find("allow → deny: `/allowed_tools` of `mcp_read_only_enforcement`"));
    assert!(
        denied.is_some() && diff.contains("\"server\": \"shop\""),
        "{diff}"
    );

    let applied = node.json(&["policy", "apply", &seed, "--replace", "--yes"]);
    assert_eq!(
        (&applied["version"], &applied["in_force"]),
        (&2.into(), &true.into())
    );
    assert_eq!(applied["spread"]["have"], 1);
    assert!(
        node.call("get_product_info", &["sku=HR-1001"])
            .starts_with("exit: 0")
    );
    seen(
        &update("price=14"),
        "exit: 2
--- stdout
--- stderr
error: hub/shop: policy `mcp_read_only_enforcement` does not allow tool `update_price` [tool_not_allowed]
hint: see `/allowed_tools` of policy `mcp_read_only_enforcement`
",
    );

    let listed = node.json(&[
        "decisions",
        "list",
        "--verdict",
        "deny",
        "--tool",
        "update_price",
    ]);
    assert_eq!(listed.as_array().unwrap().len(), 1);
    let number = listed[0]["seq"].to_string();
    let told = node.ok(&["policy", "explain", &number]);
    for said in [
        "policy       mcp_read_only_enforcement\n  rule         /allowed_tools\n  bundle       2\n",
        "intents      destructive, update_price, write\n",
        "The rule, as it stood in bundle 2\n  [\"get_product_info\",\"check_inventory\"]\n",
    ] {
        assert!(told.contains(said), "{told}");
    }
    let call = [
        "policy",
        "explain",
        "--server",
        "shop",
        "--tool",
        "get_product_info",
    ];
    assert_eq!(node.json(&call)["verdict"], "allow");
    assert_eq!(node.json(&call)["pinned"], true);

    // What is bad is refused whole, and what is in force stays.
    let bad = node.file("bad.json", r#"{"policy_name": "bad", "allowed_tool": []}"#);
    let refused = node.run(&["policy", "apply", &all, &bad, "--yes"]);
    assert!(refused.starts_with("exit: 3\n"), "{refused}");
    assert!(
        refused.contains("bad.json: policy `bad` at `/allowed_tool`"),
        "{refused}"
    );
    assert!(
        refused.contains("did you mean `allowed_tools`?"),
        "{refused}"
    );
    assert_eq!(node.json(&["policy", "show"])["version"], 2);
    assert!(node.ok(&["policy", "lint"]).contains("nothing found"));

    seen(
        &hidden(&node.run(&["policy", "rollback", "--yes"])),
        "exit: 0
--- stdout
  ✓ bundle 3 is in force on 1 of 1 nodes this one has a link to
--- stderr
as in bundle 1:
bundle 3 of mesh `mesh`
  - adds policy `all`
  - removes policy `mcp_read_only_enforcement`
  - approves no longer `shop/check_inventory` as …
  - approves no longer `shop/get_product_info` as …
",
    );
    assert!(update("price=15").starts_with("exit: 0"));
    let kept = node.json(&["policy", "history"]);
    let told: Vec<_> = kept.as_array().unwrap().iter().collect();
    let versions: Vec<_> = told
        .iter()
        .map(|b| b["version"].as_u64().unwrap())
        .collect();
    let running: Vec<_> = told
        .iter()
        .map(|b| b["in_force"].as_bool().unwrap())
        .collect();
    assert_eq!(
        (versions, running),
        (vec![1, 2, 3], vec![false, false, true])
    );
    assert_ne!(
        told[0]["hash"], told[2]["hash"],
        "another version is another bundle"
    );
    seen(
        &node.run(&["policy", "rollback", "9", "--yes"]),
        "exit: 3
--- stdout
--- stderr
error: no bundle 9 is kept here [unknown_bundle]
hint: see `hedgerow policy history`
",
    );
}

/// What the tests of documents expect must hold of these; what does not hold beside others is told.
#[test]
fn tests_that_fail_keep_documents_out_of_force() {
    let node = Node::up();
    let document = |name: &str, says: &str, expect: &str| {
        let test = format!(
            r#"{{"name": "t", "call": {{"server": "shop", "tool": "sell"}}, "expect": "{expect}"}}"#
        );
        let text = format!(r#"{{"policy_name": "{name}", {says}, "tests": [{test}]}}"#);
        node.file(&format!("{name}.json"), &text)
    };
    let all = document("all", r#""allowed_tools": ["shop/*"]"#, "allow");
    node.ok(&["policy", "apply", &all, "--yes"]);
    let none = document("none", r#""restricted_intents": ["sell"]"#, "allow");
    seen(
        &node.run(&["policy", "apply", &none, "--yes"]),
        "exit: 1
--- stdout
--- stderr
none.json: none: t: expected allow, got deny by `none` [policy_test_failed]
  mend: change what the documents say of this call, or what the test expects
error: 1 of 1 test of these documents fails; nothing was changed [policy_test_failed]
hint: mend the documents or their tests (`hedgerow policy test` runs them without a node), or put them in force as they are with `--no-tests`
",
    );
    assert_eq!(node.json(&["policy", "show"])["version"], 1);
    let none = document("none", r#""restricted_intents": ["sell"]"#, "deny");
    let told = node.ok(&["policy", "apply", &none, "--yes"]);
    let warned = "warning: beside all that will be in force a test does not hold: \
                  all: t: expected allow, got deny by `none`";
    assert!(told.contains(warned), "{told}");
    let late = document("late", r#""allowed_tools": ["shop/sell"]"#, "allow");
    let told = node.ok(&["policy", "apply", &late, "--yes"]);
    let warned = "late: t: expected allow, got deny by `none`";
    assert!(told.contains(warned), "{told}");
    let wrong = document("late", r#""allowed_tools": ["shop/sell"]"#, "deny");
    node.ok(&["policy", "apply", &wrong, "--yes", "--no-tests"]);
}

/// An agent of the asked node is taken to act for the human its token is bound to, as in a call.
#[test]
fn explain_knows_for_whom_an_agent_acts() {
    let node = Node::up();
    node.tools();
    node.ok(&["agent", "add", "ci", "--human", "ada@example.org"]);
    let all = r#"{"policy_name": "all", "allowed_tools": ["shop/*"]}"#;
    let ada = r#"{"policy_name": "ada", "subjects": {"humans": ["ada@example.org"]},
        "restricted_intents": ["read"]}"#;
    let [all, ada] =
        [("all.json", all), ("ada.json", ada)].map(|(name, text)| node.file(name, text));
    node.ok(&["policy", "apply", &all, &ada, "--yes"]);
    let call = [
        "policy",
        "explain",
        "--server",
        "shop",
        "--tool",
        "get_product_info",
    ];
    let of = |more: &[&str]| node.json(&[&call[..], more].concat());
    let human = |told: &Value| {
        let assumed = told["assumed"].as_array().unwrap();
        let found = assumed.iter().find(|a| a["fact"] == "human");
        found.map(|human| human["value"].as_str().unwrap().to_owned())
    };
    let told = of(&["--agent", "ci"]);
    assert_eq!(human(&told).as_deref(), Some("ada@example.org"), "{told}");
    assert_eq!(told["verdict"], "deny", "{told}");
    let told = of(&["--agent", "claude"]);
    assert_eq!(human(&told).as_deref(), Some("none"), "{told}");
    assert_eq!(told["verdict"], "allow", "{told}");
    let told = of(&["--agent", "ci", "--human", "bob@example.org"]);
    assert_eq!(human(&told), None, "given, not assumed: {told}");
    assert_eq!(told["verdict"], "allow", "{told}");
}

/// What is not policy's is looked up where the node knows it, else told as taken for granted.
#[test]
fn explain_says_what_it_takes_of_revocations_and_limits() {
    let node = Node::up();
    node.tools();
    let all = r#"{"policy_name": "all", "allowed_tools": ["shop/*"], "limits": {"calls": 1}}"#;
    node.ok(&["policy", "apply", &node.file("all.json", all), "--yes"]);
    let call = "policy explain --agent bot --server shop --tool get_product_info";
    let call: Vec<&str> = call.split(' ').collect();
    let told = node.json(&call);
    let assumed = |told: &Value, fact: &str| {
        let all = told["assumed"].as_array().unwrap();
        let found = all.iter().find(|a| a["fact"] == fact);
        found.map(|a| a["value"].as_str().unwrap().to_owned())
    };
    assert_eq!(told["verdict"], "allow", "{told}");
    for (fact, value) in [
        ("revoked", "no"),
        ("severed", "no"),
        ("limits", "not used up"),
    ] {
        assert_eq!(assumed(&told, fact).as_deref(), Some(value), "{told}");
    }
    node.ok(&["agent", "add", "bot"]);
    node.ok(&["revoke", "agent", "hub/bot", "--reason", "lost", "--yes"]);
    let told = node.json(&call);
    assert_eq!(told["verdict"], "deny", "{told}");
    assert_eq!(told["revoked"]["reason"], "agent_revoked", "{told}");
    assert_eq!(assumed(&told, "revoked"), None, "{told}");
}

/// What the annotations of a tool add to its intents is part of every call of it.
#[test]
fn explain_knows_what_annotations_add() {
    let node = Node::up();
    node.tools();
    let all = r#"{"policy_name": "all", "allowed_tools": ["shop/*"]}"#;
    let harmless = r#"{"policy_name": "harmless", "restricted_intents": ["destructive"]}"#;
    let [all, harmless] =
        [("all.json", all), ("harmless.json", harmless)].map(|(name, text)| node.file(name, text));
    node.ok(&["policy", "apply", &all, &harmless, "--yes"]);
    let call = ["policy", "explain", "--agent", "claude", "--server", "shop"];
    let of = |more: &[&str]| node.json(&[&call[..], more].concat());
    let intents = |told: &Value| {
        let assumed = told["assumed"].as_array().unwrap();
        let found = assumed.iter().find(|a| a["fact"] == "intents");
        found.map(|intents| intents["value"].as_str().unwrap().to_owned())
    };
    // What is denied is not listed: it is known once the node has announced it.
    let mut told = Value::Null;
    for _ in 0..1000 {
        told = of(&["--tool", "update_price"]);
        if intents(&told).unwrap().contains("destructive") {
            break;
        }
    }
    assert_eq!(told["verdict"], "deny", "{told}");
    let told = of(&["--tool", "get_product_info"]);
    assert_eq!(told["verdict"], "allow", "{told}");
    assert_eq!(intents(&told).unwrap(), "what its name says", "{told}");
    let told = of(&["--tool", "nobody_knows_it"]);
    assert_eq!(intents(&told).unwrap(), "what its name says", "{told}");
}

/// A server says its structured content as text too, as it should.
#[test]
fn what_is_hidden_is_so_in_the_text_that_repeats_it() {
    let node = Node::up();
    node.tools();
    let hide = r#"{"policy_name": "hide", "allowed_tools": ["shop/*"],
        "on_result": {"redact": ["/structuredContent/price"]}}"#;
    let hide = node.file("hide.json", hide);
    let read = || {
        let called = node.json(&["call", "hub/shop/get_product_info", "sku=HR-1001"]);
        called["result"].clone()
    };
    let before = read();
    let price = before["structuredContent"]["price"].as_str().unwrap();
    let text = |result: &Value| result["content"][0]["text"].as_str().unwrap().to_owned();
    assert!(text(&before).contains(price), "{before}");
    node.ok(&["policy", "apply", &hide, "--yes"]);
    let after = read();
    assert_eq!(after["structuredContent"]["price"], "[redacted]");
    let said: Value = serde_json::from_str(&text(&after)).unwrap();
    assert_eq!(said, after["structuredContent"]);
    assert!(!after.to_string().contains(price), "{after}");
}

/// What lies where, and what a result was tagged with: put, shown, decided on, told, taken back.
#[test]
fn labels() {
    let node = Node::up();
    node.tools();
    let all = r#"{"policy_name": "all", "allowed_tools": ["shop/*"]}"#;
    let tag = r#"{"policy_name": "tag", "tools": ["get_product_info"], "on_result": {"tag": ["priced"]}}"#;
    let keep = r#"{"policy_name": "keep", "tools": ["update_price"], "labels": {"restricted": ["priced", "stock"]}}"#;
    let documents = [("all.json", all), ("tag.json", tag), ("keep.json", keep)];
    let [all, tag, keep] = documents.map(|(name, text)| node.file(name, text));
    node.ok(&["policy", "apply", &all, &keep, "--yes"]);
    let update = || node.call("update_price", &["sku=HR-1001", "price=12"]);
    assert!(update().starts_with("exit: 0"));

    seen(
        &node.run(&["policy", "label", "shop/*", "stock", "--yes"]),
        "exit: 0
--- stdout
  ✓ bundle 2 is in force on 1 of 1 nodes this one has a link to
--- stderr
bundle 2 of mesh `mesh`
  - labels `shop/*` as `stock`
",
    );
    let shown = node.json(&["policy", "show"]);
    let labels = serde_json::json!([{"target": "shop/*", "labels": ["stock"]}]);
    assert_eq!(shown["labels"], labels);
    let shown = node.ok(&["policy", "show"]);
    assert!(shown.contains("LABELLED"), "{shown}");
    assert!(shown.contains("shop/*"), "{shown}");
    let denied = update();
    assert!(
        denied.contains("labelled `stock` [label_not_allowed]"),
        "{denied}"
    );
    seen(
        &node.run(&["policy", "label", "--remove", "shop/*", "--yes"]),
        "exit: 0
--- stdout
  ✓ bundle 3 is in force on 1 of 1 nodes this one has a link to
--- stderr
bundle 3 of mesh `mesh`
  - labels `shop/*` no longer as `stock`
",
    );
    assert!(update().starts_with("exit: 0"));

    node.ok(&["policy", "apply", &tag, "--yes"]);
    let read = node.call("get_product_info", &["sku=HR-1001"]);
    assert!(read.starts_with("exit: 0"), "{read}");
    let denied = update();
    assert!(
        denied.contains("labelled `priced` [label_not_allowed]"),
        "{denied}"
    );
    let listed = node.json(&["decisions", "list", "--verdict", "deny"]);
    let number = listed[0]["seq"].to_string();
    for words in [["policy", "explain"], ["decisions", "show"]] {
        let told = node.ok(&[words[0], words[1], &number]);
        assert!(told.contains("labels       priced\n"), "{told}");
    }

    for (target, label, reason) in [
        ("shop", "stock", "bad_target"),
        ("shop/update_*", "stock", "bad_target"),
        ("shop/update_price", "STOCK", "bad_label"),
    ] {
        let refused = node.run(&["policy", "label", target, label, "--yes"]);
        assert!(refused.starts_with("exit: 3\n"), "{refused}");
        assert!(refused.contains(&format!("[{reason}]")), "{refused}");
    }
    let none = node.run(&["policy", "label", "--remove", "shop/*", "stock", "--yes"]);
    assert!(none.contains("[unknown_label]"), "{none}");
}

/// Without digests, which are of the sample server's texts.
fn hidden(text: &str) -> String {
    let lines = text.lines().map(|line| match line.split_once("` as ") {
        Some((before, _)) => format!("{before}` as …\n"),
        None => format!("{line}\n"),
    });
    lines.collect()
}
