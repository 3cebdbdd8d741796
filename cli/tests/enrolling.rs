//! Inviting, joining and letting in, as people see them: exit code, stdout, stderr, whole.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

mod support;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use support::Fake;
use support::enrolling::TICKET;
use support::mesh::{AGENT_HOST, TOOL_HOST};
use tokio_util::sync::CancellationToken;

struct Node {
    dir: tempfile::TempDir,
    fake: Arc<Fake>,
    _runtime: tokio::runtime::Runtime,
}

fn node() -> Node {
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
    Node {
        dir,
        fake,
        _runtime: runtime,
    }
}

/// Runs `hedgerow` on a state directory: everything that can be seen of it, as one text.
fn run(state: &Path, words: &[&str], stdin: &str) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .args(words)
        .env("HEDGEROW_STATE_DIR", state)
        .env_remove("HEDGEROW_PASSPHRASE")
        .current_dir(state)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
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

impl Node {
    fn run(&self, words: &[&str]) -> String {
        run(self.dir.path(), words, "")
    }

    fn json(&self, words: &[&str]) -> serde_json::Value {
        let all = [&["--format", "json"], words].concat();
        let ran = self.run(&all);
        let stdout = ran.split("--- stdout\n").nth(1).unwrap();
        serde_json::from_str(stdout.split("--- stderr\n").next().unwrap()).unwrap()
    }

    fn other(&self) -> String {
        self.fake.mesh.node(TOOL_HOST).to_string()
    }
}

#[track_caller]
fn seen(ran: &str, expected: &str) {
    assert_eq!(ran, expected, "this was seen:\n{ran}");
}

#[test]
fn invite() {
    let node = node();
    seen(
        &node.run(&["invite", "--group", "tool-hosts", "--ttl", "90s"]),
        "exit: 0
--- stdout
ticket for one host, good until 1970-01-01 00:01:30Z:

hedgerow1abc

On the other host:
  hedgerow join TICKET

Whoever has the line may join: hand it over in private.
  id           abababab
  reached at   192.0.2.7:7443
--- stderr
",
    );
    seen(
        &node.run(&["invite", "--uses", "20", "--pending", "--site", "berlin"]),
        "exit: 0
--- stdout
ticket for 20 hosts, good until 1970-01-01 01:00:00Z:

hedgerow1abc

On the other host:
  hedgerow join TICKET

Then here:
  hedgerow peers pending
  hedgerow peers approve ID

Whoever has the line may join: hand it over in private.
  id           abababab
  reached at   192.0.2.7:7443
--- stderr
",
    );
    assert_eq!(
        node.json(&["invite"]),
        serde_json::json!({
            "id": TICKET.to_string(),
            "ticket": "hedgerow1abc",
            "expires": 3600,
            "uses": 1,
            "pending": false,
            "bootstraps": ["192.0.2.7:7443"],
        })
    );
    seen(
        &node.run(&["invite", "--group", "admins"]),
        "exit: 2
--- stdout
--- stderr
error: the root does not let this issuer grant the group `admins` [beyond_issuer_groups]
hint: ask for less
",
    );
    let odd = node.run(&["invite", "--ttl", "soon"]);
    assert!(
        odd.starts_with("exit: 3\n--- stdout\n--- stderr\n"),
        "{odd}"
    );
}

#[test]
fn tickets() {
    let node = node();
    let listed = "exit: 0
--- stdout
ID        STATE  USED    EXPIRES               GROUPS      SITE    APPROVAL     USED BY
abababab  open   1 of 2  1970-01-01 01:00:00Z  tool-hosts  berlin  by a person  tool-host
--- stderr
";
    seen(&node.run(&["tickets"]), listed);
    seen(&node.run(&["tickets", "list"]), listed);
    let json = node.json(&["tickets"]);
    assert_eq!(json[0]["state"], "open");
    assert_eq!(json[0]["redeemed"][0]["name"], TOOL_HOST);
    seen(
        &node.run(&["tickets", "revoke", "abababab"]),
        "exit: 0
--- stdout
revoked ticket abababab
`tool-host` joined with it and stays a member
--- stderr
",
    );
    seen(
        &node.run(&["tickets", "revoke", "cdcdcdcd"]),
        "exit: 3
--- stdout
--- stderr
error: there is none of that name [unknown_id]
hint: list them first
",
    );
}

#[test]
fn peers_that_wait() {
    let node = node();
    let id = node.other();
    seen(
        &node.run(&["peers", "pending"]),
        &format!(
            "exit: 0
--- stdout
NAME       ID{pad}  GROUPS      SITE  TICKET    SINCE                 STATE
tool-host  {id}  tool-hosts  -     abababab  1970-01-01 00:01:00Z  waits
compare the id with `hedgerow id` on that host, then:
  hedgerow peers approve ID
--- stderr
",
            pad = " ".repeat(id.len() - 2)
        ),
    );
    seen(
        &node.run(&["peers", "approve", TOOL_HOST]),
        &format!("exit: 0\n--- stdout\n`tool-host` ({id}) may join\n--- stderr\n"),
    );
    seen(
        &node.run(&["peers", "deny", TOOL_HOST]),
        &format!("exit: 0\n--- stdout\n`tool-host` ({id}) may not join\n--- stderr\n"),
    );
    assert_eq!(
        node.json(&["peers", "approve", TOOL_HOST]),
        serde_json::json!({"id": id, "name": TOOL_HOST})
    );
    for verb in ["approve", "deny"] {
        seen(
            &node.run(&["peers", verb, "nobody"]),
            "exit: 3
--- stdout
--- stderr
error: there is none of that name [unknown_id]
hint: list them first
",
        );
    }
}

#[test]
fn join_with_what_is_no_ticket_or_reaches_nobody() {
    let tmp = tempfile::tempdir().unwrap();
    let state = tmp.path();
    let text = run(state, &["join", "hedgerow1abc"], "");
    assert!(
        text.starts_with("exit: 3\n--- stdout\n--- stderr\nerror: "),
        "{text}"
    );
    assert!(text.contains("[ticket_"), "{text}");
    // The same from stdin, where the command line does not show it.
    assert_eq!(run(state, &["join", "-"], "hedgerow1abc\n"), text);
    assert!(!state.join("membership.cose").exists());
}
