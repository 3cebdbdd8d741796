//! Commands that ask a node, against a fake one: exit code, stdout, stderr.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::expect_used,
    reason = "a test that cannot go on should say where"
)]

mod support;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use support::Fake;
use support::mesh::AGENT_HOST;
use tokio_util::sync::CancellationToken;

struct Node {
    dir: tempfile::TempDir,
    fake: Arc<Fake>,
    _runtime: tokio::runtime::Runtime,
}

struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ran {
    fn json(&self) -> serde_json::Value {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        serde_json::from_str(&self.stdout).unwrap()
    }
}

fn node() -> Node {
    node_of(Fake::new(AGENT_HOST))
}

fn node_of(fake: Fake) -> Node {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let fake = Arc::new(fake);
    let listener = {
        let path = dir.path().join("control.sock");
        runtime.block_on(async { node::control::bind(&path).await.unwrap() })
    };
    runtime.spawn(node::control::serve(
        listener,
        node::control::Admit::own_user_and_root(),
        fake.clone(),
        CancellationToken::new(),
    ));
    Node {
        dir,
        fake,
        _runtime: runtime,
    }
}

impl Node {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hedgerow"));
        command
            .args(words)
            .env("HEDGEROW_STATE_DIR", self.dir.path())
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> Ran {
        let output = self.command(words).output().unwrap();
        Ran {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn json(&self, words: &[&str]) -> serde_json::Value {
        let mut all = vec!["--format", "json"];
        all.extend(words);
        self.run(&all).json()
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn status_for_people_and_as_json() {
    let node = node();
    let ran = node.run(&["status"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    let expected = format!(
        "agent-host in mesh demo
  ✓ ready
  mesh         {mesh}
  node         {id}
  groups       agents
  membership   until 2026-11-22 12:40:03Z
  documents    root 2, bundle 7, 3 revocations
  roles        2 of 3 admins sign; 1 issuer, 2 timestampers
  lease        newest timestamp 90 s old, at most 24 h
  listens      127.0.0.1:7443
  announces    127.0.0.1:7443
  gateway      http://127.0.0.1:7480/mcp
  running      12 s, process {pid}, version 0.0.0
  now          1 link, 0 servers, 0 MCP sessions
  calls        3 out, 0 in, 0 carried for others
  store        3 decisions, 4096 bytes

Refused since the start
REASON    TIMES
replayed  2
",
        mesh = node.fake.mesh.id,
        id = node.fake.mesh.node(AGENT_HOST),
        pid = std::process::id(),
    );
    assert_eq!(ran.stdout, expected);
    let json = node.json(&["status"]);
    assert_eq!(json["node"]["name"], "agent-host");
    assert_eq!(json["counters"]["refusals"]["replayed"], 2);
}

#[test]
fn the_dashboard_is_a_link_that_works_once() {
    let mut fake = Fake::new(AGENT_HOST);
    let address = "127.0.0.1:7481".parse().unwrap();
    let crypto = Arc::new(hedgerow_crypto::Primitives);
    fake.page = Some(node::page::Page::new(address, crypto, Arc::default()));
    let node = node_of(fake);
    let ran = node.run(&["dashboard", "--no-open"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    let (url, rest) = ran.stdout.split_once('\n').unwrap();
    let code = url
        .strip_prefix("http://127.0.0.1:7481/login?code=")
        .unwrap();
    assert_eq!(code.len(), 64, "256 bits");
    assert_eq!(rest, "works once, within 60 s\n");
    let json = node.json(&["dashboard", "--no-open"]);
    assert_ne!(json["url"], *url, "every code is another");
    assert_eq!(json["expires_s"], 60);
    assert_eq!(json["listen"], "127.0.0.1:7481");
    let ran = node.run(&["dashboard", "--revoke"]);
    assert_eq!(ran.stdout, "ended 0 sessions with the status page\n");
    assert_eq!(
        node.run(&["dashboard", "--revoke", "--no-open"]).code,
        Some(3)
    );
}

#[test]
fn a_node_without_a_page_says_why() {
    let ran = node().run(&["dashboard"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("[no_status_page]"), "{}", ran.stderr);
    assert!(ran.stderr.contains("page.listen"), "{}", ran.stderr);
}

#[test]
fn peers_show_what_was_negotiated() {
    let node = node();
    let ran = node.run(&["peers"]);
    assert!(ran.stdout.contains("X25519MLKEM768"), "{}", ran.stdout);
    assert!(ran.stdout.contains("4.2 ms, 1 RTT"), "{}", ran.stdout);
    let peers = node.json(&["peers"]);
    assert_eq!(peers[0]["signature_scheme"], "MLDSA65-Ed25519");
    assert_eq!(peers[0]["rtts"], 1);
    for line in ran.stdout.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
    assert!(ran.stdout.contains("r2 b7 v3"), "{}", ran.stdout);
    assert_eq!(peers[0]["versions"]["bundle"], 7);
    let ran = node.run(&["peers", "--dial", "127.0.0.1:9"]);
    assert_eq!(ran.code, Some(2));
    assert_eq!(
        ran.stderr,
        "error: the peer at `127.0.0.1:9` is of another mesh [foreign_mesh]\n"
    );
}

#[test]
fn servers_come_and_go_and_secrets_stay_out() {
    let node = node();
    let add = [
        "server",
        "add",
        "files",
        "--env",
        "KEY=hunter2",
        "--",
        "./bin/server",
        "--flag",
    ];
    let added = node.json(&add);
    let absolute = node.dir.path().canonicalize().unwrap().join("bin/server");
    let program = added["spec"]["stdio"]["command"][0].as_str().unwrap();
    assert_eq!(Path::new(program), absolute);
    assert_eq!(added["spec"]["stdio"]["env"][0], "KEY");
    assert!(!added.to_string().contains("hunter2"));
    let url = [
        "server",
        "add",
        "web",
        "--url",
        "https://u:p@host/mcp",
        "--header",
        "authorization=hunter2",
    ];
    let added = node.run(&url);
    assert_eq!(added.code, Some(0), "{}", added.stderr);
    let listed = node.run(&["server", "list"]);
    assert!(
        listed.stdout.contains("https://host/mcp"),
        "{}",
        listed.stdout
    );
    assert!(!listed.stdout.contains("hunter2"));
    assert_eq!(node.json(&["server", "remove", "web"])["removed"], "web");
    let gone = node.run(&["server", "remove", "web"]);
    assert_eq!(gone.code, Some(3));
    assert_eq!(
        gone.stderr,
        "error: there is none of that name [unknown_server]\nhint: list them first\n"
    );
}

#[test]
fn an_agents_token_is_shown_with_what_to_paste() {
    let node = node();
    let added = node.run(&["agent", "add", "claude"]);
    assert!(added.stdout.contains("\n  hr_token\n"), "{}", added.stdout);
    assert!(
        added
            .stdout
            .contains("\"Authorization\": \"Bearer hr_token\"")
    );
    let listed = node.run(&["agent", "list"]);
    assert!(!listed.stdout.contains("hr_token"));
    assert!(listed.stdout.contains("never"), "{}", listed.stdout);
}

#[test]
fn an_agent_is_bound_to_the_human_it_acts_for() {
    let node = node();
    let human = "ada@example.org";
    let added = node.run(&["agent", "add", "claude", "--human", human]);
    let said = "added `claude`, acting for ada@example.org;";
    assert!(added.stdout.contains(said), "{}", added.stdout);
    let listed = node.run(&["agent", "list"]);
    let row = listed.stdout.lines().find(|l| l.starts_with("claude"));
    assert!(row.unwrap().contains(human), "{}", listed.stdout);
    let json = node.run(&["agent", "list", "--format", "json"]).json();
    assert_eq!(json[0]["human"], human);
    // What names nobody is refused before anything is asked of the node.
    let long = "h".repeat(65);
    for bad in ["", "*", "ada lovelace", "ada\u{1b}[2J", &long] {
        let refused = node.run(&["agent", "add", "other", "--human", bad]);
        assert_eq!(refused.code, Some(3), "{bad:?}: {}", refused.stderr);
        assert!(!refused.stderr.contains('\u{1b}'), "{}", refused.stderr);
    }
}

#[test]
fn a_node_shows_what_it_says_of_its_host_and_what_others_say() {
    let node = node();
    let shown = node.run(&["id", "posture"]);
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    for said in [
        "this node, self-asserted",
        "(12 s ago)",
        "25 min",
        "tool-host",
    ] {
        assert!(shown.stdout.contains(said), "{said}: {}", shown.stdout);
    }
    let json = node.run(&["id", "posture", "tool-host", "--format", "json"]);
    let json = json.json();
    assert_eq!(json["measured"]["word"], "self-asserted");
    assert_eq!(json["announced"]["age_s"], 1500);
    assert_eq!(json["others"][0]["node"], "tool-host");
    let unknown = node.run(&["id", "posture", "nobody"]);
    assert_eq!(unknown.code, Some(3), "as `revoke node nobody` ends");
    assert!(
        unknown.stderr.contains("[unknown_node]"),
        "{}",
        unknown.stderr
    );
    assert_eq!(node.run(&["id", "posture", "no body"]).code, Some(3));
}

#[test]
fn hostile_descriptions_do_not_reach_the_terminal() {
    let node = node();
    let ran = node.run(&["tools", "tool-host/shop"]);
    assert!(
        ran.stdout
            .contains("tool-host/shop/check_inventory   Harmless\\u{1b}[2J\\u{202e}…\n"),
        "{}",
        ran.stdout
    );
    let json = node.run(&["tools", "--format", "json"]);
    assert!(!json.stdout.contains(['\u{1b}', '\u{202e}']));
    assert_eq!(
        json.json()[0]["description"],
        "Harmless\u{1b}[2J\u{202e}\nsecond line"
    );
    assert_eq!(node.run(&["tools", "nowhere"]).code, Some(3));
    assert_eq!(node.run(&["tools", "a/b/c"]).code, Some(3));
}

#[test]
fn a_call_prints_its_result_and_tells_progress_and_signers_on_stderr() {
    let node = node();
    let ran = node.run(&[
        "call",
        "tool-host/shop/update_price",
        "sku=HR-1001",
        "price=13.25",
    ]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(ran.stdout, "update_price at 13.25\n");
    assert_eq!(
        ran.stderr,
        "progress: 1/2 half\\u{1b}[31m\nsigned by agent-host (ML-DSA-65 + Ed25519), \
         tool-host (ML-DSA-65 + Ed25519) (2.5 ms)\n"
    );
}

#[test]
fn denied_and_failed_calls_have_their_own_exit_codes() {
    let node = node();
    let denied = node.run(&["call", "tool-host/shop/denied"]);
    assert_eq!((denied.code, denied.stdout.as_str()), (Some(2), ""));
    assert!(
        denied
            .stderr
            .ends_with("error: policy `x` forbids it [policy]\nhint: ask\n"),
        "{}",
        denied.stderr
    );
    let broken = node.run(&["call", "tool-host/shop/broken"]);
    assert_eq!(
        (broken.code, broken.stdout.as_str()),
        (Some(1), "it broke\n")
    );
    let json = node.run(&["call", "tool-host/shop/broken", "--format", "json"]);
    assert_eq!(json.code, Some(1));
    let outcome: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(outcome["ok"], false);
}

#[test]
fn a_call_given_up_while_it_waits_for_approval_says_where_to_answer() {
    let node = node();
    let held = node.run(&["call", "tool-host/shop/held", "--timeout", "1"]);
    assert_eq!(held.code, Some(1), "{}", held.stderr);
    assert!(
        held.stderr.ends_with(
            "error: no response within 1000 ms; the call was abandoned [call_timeout]\n\
             hint: it waits for approval at node `tool-host`: `hedgerow approvals` there; made \
             again within five minutes of its approval it passes\n"
        ),
        "{}",
        held.stderr
    );
    let hangs = node.run(&["call", "tool-host/shop/hangs", "--timeout", "1"]);
    let longer = "hint: give it longer with `--timeout`\n";
    assert!(hangs.stderr.ends_with(longer), "{}", hangs.stderr);
}

#[test]
fn saved_envelopes_verify_and_forged_ones_do_not() {
    let node = node();
    let call = [
        "call",
        "tool-host/shop/get_product_info",
        "sku=HR-1001",
        "--save",
        ".",
    ];
    let outcome = node.json(&call);
    assert_eq!(outcome["signers"].as_array().unwrap().len(), 4);
    assert_eq!(outcome["saved"].as_array().unwrap().len(), 2);
    assert_eq!(
        outcome["signers"][0]["envelope"],
        outcome["request_envelope_id"]
    );
    let mesh = node.fake.mesh.id.to_string();
    let file = outcome["saved"][0].as_str().unwrap();
    let verified = node.json(&["envelope", "verify", file, "--mesh", &mesh]);
    assert_eq!(verified["verified"], true);
    assert_eq!(verified["node"], "agent-host");
    assert_eq!(verified["id"], outcome["request_envelope_id"]);
    assert_eq!(verified["body"], r#"{"sku":"HR-1001"}"#);
    let shown = node.json(&["envelope", "show", file]);
    assert_eq!(shown["verified"], false);
    for field in ["id", "node", "signers", "body", "mesh"] {
        assert_eq!(shown[field], verified[field], "{field}");
    }
    let foreign = node.run(&["envelope", "verify", file, "--mesh", &"0".repeat(64)]);
    assert_eq!(foreign.code, Some(2));
    assert!(
        foreign.stderr.contains("[foreign_mesh]"),
        "{}",
        foreign.stderr
    );

    let original = std::fs::read(node.dir.path().join(file)).unwrap();
    for offset in (0..original.len()).step_by(original.len() / 40) {
        let mut forged = original.clone();
        forged[offset] ^= 1;
        let forged = node.file("forged", &forged);
        let ran = node.run(&["envelope", "verify", text(&forged), "--mesh", &mesh]);
        assert_eq!(ran.code, Some(2), "byte {offset}: {}", ran.stderr);
        assert_eq!(ran.stdout, "");
    }
}

#[test]
fn a_second_save_of_one_envelope_never_overwrites() {
    let node = node();
    let missing = node.run(&["call", "a/b/c", "--save", "no/such/dir"]);
    assert_eq!(missing.code, Some(3), "{}", missing.stderr);
}

#[test]
fn memberships_are_issued_by_file() {
    let node = node();
    let request = node.file("b.request", b"request");
    let out = node.dir.path().join("b.admission");
    let issue = [
        "membership",
        "issue",
        text(&request),
        "--group",
        "tools",
        "--days",
        "2",
        "--out",
        text(&out),
    ];
    let issued = node.json(&issue);
    assert_eq!(issued["name"], "tool-host", "the name the request asks for");
    assert_eq!(issued["expires"], 2 * 24 * 3600);
    assert_eq!(std::fs::read(&out).unwrap(), b"admission");
    let again = node.run(&issue);
    assert_eq!(again.code, Some(3));
    assert!(again.stderr.contains("exists already"), "{}", again.stderr);
    let forged = node.file("forged", b"forged");
    let ran = node.run(&["membership", "inspect", text(&forged)]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("[bad_signature]"), "{}", ran.stderr);
}

#[test]
fn mcp_sends_one_header_and_then_copies() {
    use std::io::{BufRead, BufReader, Read};
    let node = node();
    let socket = std::os::unix::net::UnixListener::bind(node.dir.path().join("mcp.sock")).unwrap();
    let mut child = node
        .command(&[
            "mcp",
            "--server",
            "tool-host/shop",
            "--human",
            "ada@example.org",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (stream, _) = socket.accept().unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert_eq!(
        line,
        "{\"hedgerow\":1,\"server\":\"tool-host/shop\",\"human\":\"ada@example.org\"}\n"
    );
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"{\"id\":1}\n").unwrap();
    drop(stdin);
    // The end of stdin reaches the node, and its answer still reaches the client.
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "{\"id\":1}\n");
    (&stream).write_all(b"{\"id\":1,\"result\":{}}\n").unwrap();
    drop((stream, lines));
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"{\"id\":1,\"result\":{}}\n");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_closed_stdout_is_success() {
    let node = node();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = node.command(&["tools"]).stdout(writer).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[test]
fn doctor_reports_every_check_and_fails_only_for_failures() {
    use protocol::control::Check;
    let node = node();
    std::fs::set_permissions(
        node.dir.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o700),
    )
    .unwrap();
    *node.fake.checks.lock().unwrap() = vec![
        Check::ok("clock", "the clock agrees"),
        Check::fail("revoked", "this node is revoked: lost\u{1b}[2J")
            .because("an admin revoked it")
            .mend("ask an admin"),
        Check::warn("admins", "there is one admin").mend("add one"),
    ];
    let ran = node.run(&["doctor"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""));
    for line in [
        "  ✓ clock           the clock agrees",
        "  ✗ revoked         this node is revoked: lost\\u{1b}[2J",
        "likely: an admin revoked it",
        "  ! admins          there is one admin",
    ] {
        assert!(ran.stdout.contains(line), "{line}: {}", ran.stdout);
    }
    let ran = node.run(&["--format", "json", "doctor"]);
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, &report["running"]), (Some(1), &true.into()));
    let checks = report["checks"].as_array().unwrap();
    assert!(checks.iter().any(|c| c["name"] == "disk"));
    assert!(checks.iter().any(|c| c["level"] == "warn"));
}

#[test]
fn doctor_works_where_no_node_runs() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .args(["--format", "json", "doctor"])
        .env("HEDGEROW_STATE_DIR", dir.path())
        .env("HEDGEROW_LISTEN", "127.0.0.1:0")
        .env("HEDGEROW_GATEWAY_LISTEN", "127.0.0.1:0")
        .output()
        .unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        (&report["running"], &report["healthy"]),
        (&false.into(), &false.into())
    );
    let failed = |name: &str| {
        let checks = report["checks"].as_array().unwrap();
        checks
            .iter()
            .any(|c| c["name"] == name && c["level"] == "fail")
    };
    assert!(
        failed("node") && failed("mesh") && failed("keys"),
        "{report}"
    );
}
