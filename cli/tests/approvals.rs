//! A mesh as `up` founds it, with its starter policy: what waits, how it is answered from the command
//! line, and what a pin changes. Real nodes, real calls.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const PASSPHRASE: &str = "correct horse battery staple";

/// How long anything may take on a busy host.
const PATIENCE: Duration = Duration::from_secs(60);

struct Host {
    tmp: tempfile::TempDir,
    node: Option<Child>,
}

impl Host {
    /// A node that has just founded its mesh, until dropped: its stdin ends with it.
    fn up(words: &[&str]) -> Self {
        let mut host = Self {
            tmp: tempfile::tempdir().unwrap(),
            node: None,
        };
        host.start(words);
        let binary = env!("CARGO_BIN_EXE_hedgerow");
        host.json(&["server", "add", "shop", "--", binary, "sample-server"]);
        host.lists_tools();
        host
    }

    fn start(&mut self, words: &[&str]) {
        let mut all = vec![
            "--format",
            "json",
            "up",
            "--name",
            "a",
            "--until-stdin-closes",
        ];
        all.extend(words);
        let mut child = self
            .command(&all)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        assert!(line.contains("\"ready\":true"), "{line}");
        self.node = Some(child);
    }

    fn stop(&mut self) {
        if let Some(mut node) = self.node.take() {
            drop(node.stdin.take());
            assert!(node.wait().unwrap().success());
        }
    }

    /// Waits until the node knows the definitions of its tools: without them a call names another
    /// definition than with them, and is another call.
    fn lists_tools(&self) {
        self.soon("the tools are known", || {
            let servers = self.json(&["server", "list"]);
            (servers[0]["tools"].as_u64()? > 3).then_some(())
        });
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hedgerow"));
        command
            .args(words)
            .env("HEDGEROW_STATE_DIR", self.tmp.path().join("s"))
            .env("HEDGEROW_PASSPHRASE", PASSPHRASE)
            .env("HEDGEROW_LISTEN", "127.0.0.1:0")
            .env("HEDGEROW_GATEWAY_LISTEN", "127.0.0.1:0")
            .env("HEDGEROW_PAGE_LISTEN", "127.0.0.1:0")
            .current_dir(self.tmp.path())
            .stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    fn json(&self, words: &[&str]) -> Value {
        let all = [&["--format", "json"], words].concat();
        let output = self.run(&all);
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", err(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Begins a call that is expected to wait, and returns it with what is shown of it.
    fn held(&self, words: &[&str]) -> (Child, Value) {
        let call = self
            .command(words)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let held = self.soon("the call is held", || {
            let all = self.json(&["approvals", "list"]);
            let waiting = all
                .as_array()
                .unwrap()
                .iter()
                .find(|a| a["waiting"] == true);
            waiting.cloned()
        });
        (call, held)
    }

    fn soon<T>(&self, what: &str, found: impl Fn() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = found() {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "{what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(mut node) = self.node.take() {
            drop(node.stdin.take());
            let _ = node.wait();
        }
    }
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const INFO: &[&str] = &["call", "a/shop/get_product_info", "sku=HR-1001"];
const PRICE: &[&str] = &["call", "a/shop/update_price", "sku=HR-1001", "price=20.00"];

#[test]
fn a_new_mesh_asks_and_a_pin_lets_pass_what_only_reads() {
    let host = Host::up(&[]);
    let shown = host.json(&["policy", "show"]);
    assert_eq!(shown["version"], 1);
    assert_eq!(shown["policies"][0]["name"], "starter");
    let text = shown["policies"][0]["text"].as_str().unwrap();
    assert!(text.contains("Anything else waits"), "{text}");

    // Nobody pinned anything yet.
    let (call, held) = host.held(INFO);
    let id = &held["id"].as_str().unwrap()[..8];
    assert_eq!(held["name"], "get_product_info");
    let status = host.json(&["status"]);
    assert_eq!(status["trust"]["policies"]["held"], 1);
    let shown = String::from_utf8(host.run(&["approvals", "show", id]).stdout).unwrap();
    assert!(shown.contains("HR-1001"), "{shown}");
    assert!(
        shown.contains("the operator of node a may approve"),
        "{shown}"
    );
    let approved = host.run(&["approvals", "approve", id, "--reason", "once"]);
    let said = String::from_utf8(approved.stdout).unwrap();
    assert!(said.contains("approved a/shop/get_product_info"), "{said}");
    assert!(said.contains("once, if what is then in force"), "{said}");
    let ended = call.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", err(&ended));
    assert!(
        err(&ended).contains("waits for approval"),
        "{}",
        err(&ended)
    );
    let again = host.run(&["approvals", "approve", id]);
    assert_eq!(again.status.code(), Some(1));
    assert!(
        err(&again).contains("[approval_answered]"),
        "{}",
        err(&again)
    );

    // A pinned tool that reads passes; one that writes asks all the same.
    host.json(&["policy", "pin", "a/shop", "--yes"]);
    let passed = host.run(INFO);
    assert_eq!(passed.status.code(), Some(0), "{}", err(&passed));
    let (call, held) = host.held(PRICE);
    let id = held["id"].as_str().unwrap();
    host.json(&["approvals", "deny", id, "--reason", "not today"]);
    let ended = call.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(2), "{}", err(&ended));
    let told = err(&ended);
    assert!(
        told.contains("denied the call: not today [approval_denied]"),
        "{told}"
    );
    // The record of the hold tells how it went on, and the other way round.
    let recorded = |reason: &str| {
        let found = host.json(&["decisions", "list", "--reason", reason]);
        let number = found[0]["seq"].to_string();
        String::from_utf8(host.run(&["decisions", "show", &number]).stdout).unwrap()
    };
    let held = recorded("approval_required");
    assert!(
        held.contains(id) && held.contains("approval_denied"),
        "{held}"
    );
    let denied = recorded("approval_denied");
    assert!(denied.contains("words        not today"), "{denied}");
    assert!(denied.contains("approval_required"), "{denied}");
    let over = String::from_utf8(host.run(&["approvals", "show", &id[..8]]).stdout).unwrap();
    assert!(over.contains("state        denied\n"), "{over}");

    let all = host.json(&["approvals", "list", "--all"]);
    // Those asked for in one second have no order among them.
    let all = all.as_array().unwrap();
    let mut states: Vec<_> = all
        .iter()
        .filter_map(|a| Some((a["name"].as_str()?, a["state"].as_str()?)))
        .collect();
    states.sort_unstable();
    assert_eq!(
        states,
        [("get_product_info", "used"), ("update_price", "denied")]
    );
    let unknown = host.run(&["approvals", "deny", "00000000"]);
    assert!(
        err(&unknown).contains("[unknown_approval]"),
        "{}",
        err(&unknown)
    );
}

#[test]
fn a_mesh_may_be_founded_open_or_with_policies_of_ones_own() {
    let open = Host::up(&["--policy", "open"]);
    assert_eq!(open.json(&["policy", "show"])["version"], 0);
    assert_eq!(open.run(PRICE).status.code(), Some(0));
    drop(open);

    let own = tempfile::tempdir().unwrap();
    let (good, bad) = (own.path().join("good.json"), own.path().join("bad.json"));
    let text = r#"{"policy_name": "mine", "allowed_tools": ["shop/get_product_info"]}"#;
    std::fs::write(&good, text).unwrap();
    std::fs::write(&bad, r#"{"policy_name": "mine", "allow": []}"#).unwrap();
    let host = Host::up(&["--policy", good.to_str().unwrap()]);
    assert_eq!(host.run(INFO).status.code(), Some(0));
    let denied = host.run(PRICE);
    assert_eq!(denied.status.code(), Some(2));
    assert!(
        err(&denied).contains("[tool_not_allowed]"),
        "{}",
        err(&denied)
    );

    // Nothing is founded with a policy that no node could use.
    let elsewhere = own.path().join("t");
    let words = ["up", "--name", "a", "--policy", bad.to_str().unwrap()];
    let refused = host
        .command(&words)
        .env("HEDGEROW_STATE_DIR", &elsewhere)
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(3), "{}", err(&refused));
    assert!(
        err(&refused).contains("policy_unknown_key"),
        "{}",
        err(&refused)
    );
    assert!(!elsewhere.join("membership.cose").exists());
}

#[test]
fn a_restored_node_knows_no_approval_of_before() {
    let mut host = Host::up(&[]);
    let gave_up = [INFO, &["--timeout", "1"]].concat();
    assert_eq!(host.run(&gave_up).status.code(), Some(1));
    let held = host.soon("the caller has left", || {
        let all = host.json(&["approvals"]);
        let one = all.as_array().unwrap().first()?;
        (one["waiting"] == false).then(|| one["id"].as_str().unwrap().to_owned())
    });
    let approved = host.json(&["approvals", "approve", &held]);
    assert_eq!(approved["state"], "approved");
    host.json(&["backup", "b.hedgerow"]);
    // Used after the backup was made, which cannot know it.
    assert_eq!(host.run(INFO).status.code(), Some(0));
    host.stop();
    host.json(&["restore", "b.hedgerow", "--replace"]);
    host.start(&[]);
    let all = host.json(&["approvals", "list", "--all"]);
    assert_eq!(all.as_array().unwrap().len(), 0, "{all}");
    host.lists_tools();
    let (mut call, again) = host.held(INFO);
    assert_ne!(again["id"], held.as_str());
    call.kill().unwrap();
    call.wait().unwrap();
}
