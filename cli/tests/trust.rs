//! Administration and revocation against a node whose trust is in memory: admins on hosts of
//! their own, files carried between them, exit code, stdout, stderr.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::expect_used,
    reason = "a test that cannot go on should say where"
)]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use hedgerow_crypto::{Primitives, SigningKeys};
use node::app::trusting::Listed;
use node::keys::passphrase::Passphrase;
use protocol::crypto::Signer as _;
use protocol::id::NodeId;
use support::mesh::{AGENT_HOST, TOOL_HOST};
use support::trust::{Memory, genesis, trusting};
use support::{Fake, name};
use tokio_util::sync::CancellationToken;

const PHRASE: &str = "correct horse battery staple";

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

    /// Refused with this reason.
    fn refused(&self, code: i32, reason: &str) {
        assert_eq!(self.code, Some(code), "{}{}", self.stdout, self.stderr);
        assert!(
            self.stderr.contains(&format!("[{reason}]")),
            "{}",
            self.stderr
        );
    }
}

/// Hosts with an admin key each; a node runs on the first.
struct World {
    home: tempfile::TempDir,
    hosts: Vec<PathBuf>,
    admins: Vec<String>,
    memory: Arc<Memory>,
    fake: Arc<Fake>,
    stranger: NodeId,
    _runtime: tokio::runtime::Runtime,
}

/// `count` admins, of whom `threshold` must sign.
fn world(count: usize, threshold: u64) -> World {
    let home = tempfile::tempdir().unwrap();
    let phrase = Passphrase::new(PHRASE.to_owned().into()).unwrap();
    let hosts: Vec<PathBuf> = (0..count)
        .map(|number| home.path().join(format!("host-{number}")))
        .collect();
    let keys: Vec<SigningKeys> = hosts
        .iter()
        .map(|host| node::keys::admin::make(host, &phrase).unwrap())
        .collect();
    let admins = keys
        .iter()
        .map(|keys| keys.public().id(&Primitives).to_string())
        .collect();
    let mut fake = Fake::new(AGENT_HOST);
    let own = fake.mesh.node(AGENT_HOST);
    let listed = |id, text: &str, linked| Listed {
        id,
        name: name(text),
        linked,
    };
    let nodes = [
        listed(own, AGENT_HOST, true),
        listed(fake.mesh.node(TOOL_HOST), TOOL_HOST, true),
        listed(NodeId::from_bytes([4; 32]), "asleep", false),
    ];
    let (operations, memory) = trusting(home.path(), &genesis(&keys, threshold), own, &nodes);
    fake.trusting = Some(operations);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let socket = hosts[0].join("control.sock");
    let listener = runtime.block_on(async { node::control::bind(&socket).await.unwrap() });
    let stranger = NodeId::from_bytes([9; 32]);
    let fake = Arc::new(fake);
    runtime.spawn(node::control::serve(
        listener,
        node::control::Admit::own_user_and_root(),
        Arc::clone(&fake) as _,
        CancellationToken::new(),
    ));
    World {
        fake,
        home,
        hosts,
        admins,
        memory,
        stranger,
        _runtime: runtime,
    }
}

impl World {
    fn run_on(&self, state: &Path, words: &[&str]) -> Ran {
        self.finish(Command::new(env!("CARGO_BIN_EXE_hedgerow")), state, words)
    }

    /// On the host with the node, even when the tests are run at a terminal.
    fn run_without_terminal(&self, words: &[&str]) -> Ran {
        let mut command = Command::new("setsid");
        command.arg("-w").arg(env!("CARGO_BIN_EXE_hedgerow"));
        self.finish(command, &self.hosts[0], words)
    }

    fn finish(&self, mut command: Command, state: &Path, words: &[&str]) -> Ran {
        let output = command
            .args(words)
            .env("HEDGEROW_STATE_DIR", state)
            .env("HEDGEROW_PASSPHRASE", PHRASE)
            .current_dir(self.home.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Ran {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// On the host with the node and the first admin's key.
    fn run(&self, words: &[&str]) -> Ran {
        self.run_on(&self.hosts[0], words)
    }

    fn json(&self, words: &[&str]) -> serde_json::Value {
        let mut all = vec!["--format", "json"];
        all.extend(words);
        self.run(&all).json()
    }

    /// The same node, used by another admin: its key is put where the node's user would have it.
    fn as_admin(&self, number: usize) {
        for file in ["admin.key", "admin.card"] {
            let from = self.hosts[number].join("keys").join(file);
            std::fs::copy(from, self.hosts[0].join("keys").join(file)).unwrap();
        }
    }

    fn root_version(&self) -> u64 {
        self.memory.state.lock().unwrap().root().root().version
    }

    fn revoked(&self, node: &NodeId) -> bool {
        let state = self.memory.state.lock().unwrap();
        state.revoked().node(node).is_some()
    }
}

#[test]
fn trust_for_people_and_as_json() {
    let world = world(1, 1);
    let ran = world.run(&["trust"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    let json = world.json(&["trust"]);
    let field = |pointer: &str| json.pointer(pointer).unwrap().as_str().unwrap().to_owned();
    let made = ran
        .stdout
        .lines()
        .find(|l| l.starts_with("  root "))
        .unwrap();
    let expected = format!(
        "Mesh hedge
  ✗ no timestamp yet: write and egress tools are refused
  mesh         {mesh}
{made}
               {hash}
  bundle       -
  lease        86400 s

Admins (1 of 1 must sign)
  {admin}  0 revocations

Issuers
  {issuer}  groups any, sites any, at most 366 days, 1000 an hour

Timestampers
  {timestamper}  nothing from it yet
",
        mesh = field("/mesh"),
        hash = field("/root/hash"),
        admin = world.admins[0],
        issuer = field("/issuers/0/id"),
        timestamper = field("/timestampers/0/id"),
    );
    assert_eq!(ran.stdout, expected);
    assert_eq!(json["freshness"]["state"], "never");
}

#[test]
fn a_second_admin_and_then_both_must_sign() {
    let world = world(1, 1);
    let carol = world.home.path().join("carol");
    let card = ["--format", "json", "admin", "init", "--out", "carol.card"];
    let made = world.run_on(&carol, &card).json();
    let id = made["id"].as_str().unwrap();

    let unconfirmed = world.run_without_terminal(&["admin", "add", "carol.card"]);
    unconfirmed.refused(3, "not_confirmed");
    assert!(
        unconfirmed
            .stderr
            .contains(&format!("  - adds admin {id}\n")),
        "{}",
        unconfirmed.stderr
    );
    assert_eq!(world.root_version(), 1);

    let ran = world.run(&["admin", "add", "carol.card", "--yes"]);
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (Some(0), "root 2 is in force\n"),
        "{}",
        ran.stderr
    );
    world
        .run(&["admin", "threshold", "3", "--yes"])
        .refused(3, "threshold_above_admins");
    // Two must sign from then on, and so must the root that says so.
    let words = ["admin", "threshold", "2", "--yes", "--out", "t.proposal"];
    let ran = world.run(&words);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(
        ran.stdout
            .starts_with("root 3 has 1 signature and needs 1 more\n"),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.contains(&format!("  not signed by {id}\n")));
    let pending = world.json(&["admin", "pending"]);
    assert_eq!(pending[0]["missing"], 1);

    let ran = world.run_on(&carol, &["sign", "t.proposal", "--yes"]);
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (
            Some(0),
            "signed t.proposal\nit is complete; where a node runs: hedgerow admin import t.proposal\n"
        ),
        "{}",
        ran.stderr
    );
    for said in [
        "root 3 of mesh `hedge`\n",
        "  - admins who must sign: 1 becomes 2\n",
        &format!("  signed by {}\n", world.admins[0]),
    ] {
        assert!(ran.stderr.contains(said), "{said}: {}", ran.stderr);
    }
    let ran = world.run(&["admin", "import", "t.proposal"]);
    assert_eq!(ran.stdout, "root 3 is in force\n", "{}", ran.stderr);
    assert_eq!(world.json(&["admin", "pending"]), serde_json::json!([]));
}

#[test]
fn a_lost_admin_is_removed_by_the_remaining_two() {
    let world = world(3, 2);
    let lost = &world.admins[2][..8];
    let words = ["admin", "remove", lost, "--yes", "--out", "r.proposal"];
    assert_eq!(world.run(&words).code, Some(0));
    let waiting = world.json(&["admin", "pending"]);
    let id = waiting[0]["id"].as_str().unwrap()[..8].to_owned();
    // The node hands the proposal out again, and the second admin signs on a machine of its own.
    let ran = world.run(&["admin", "pending", &id, "--out", "again.proposal"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let second = &world.hosts[1];
    let words = [
        "sign",
        "again.proposal",
        "--yes",
        "--out",
        "signed.proposal",
    ];
    let ran = world.run_on(second, &words);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(
        ran.stderr
            .contains(&format!("  - removes admin {}\n", world.admins[2])),
        "{}",
        ran.stderr
    );
    let ran = world.run(&["admin", "import", "signed.proposal"]);
    assert_eq!(ran.stdout, "root 2 is in force\n", "{}", ran.stderr);
    let roles = world.run(&["admin", "list"]).stdout;
    assert!(
        roles.contains(&format!(
            "  {}  0 revocations, retired: the first 0 count\n",
            world.admins[2]
        )),
        "{roles}"
    );

    // Whoever finds the key revokes and signs nothing with it.
    world.as_admin(2);
    let target = world.stranger.to_string();
    let words = ["revoke", "node", &target, "--reason", "x", "--yes"];
    world.run(&words).refused(2, "not_an_admin");
    let words = ["admin", "threshold", "1", "--yes"];
    world.run(&words).refused(2, "not_an_admin");
}

#[test]
fn the_second_admin_approves_on_a_node_of_its_own() {
    let world = world(2, 2);
    assert_eq!(
        world.run(&["admin", "threshold", "1", "--yes"]).code,
        Some(0)
    );
    let waiting = world.json(&["admin", "pending"]);
    let id = waiting[0]["id"].as_str().unwrap().to_owned();
    // It can still take effect, so it is not forgotten unasked.
    let words = ["admin", "discard", &id[..6]];
    world.run(&words).refused(3, "not_confirmed");
    let ran = world.run(&["admin", "discard", &id[..6], "--format", "json"]);
    let told: serde_json::Value = serde_json::from_str(ran.stderr.lines().last().unwrap()).unwrap();
    assert_eq!(told["error"]["reason"], "not_confirmed", "{}", ran.stderr);
    assert_eq!(told["error"]["exit_code"], 3, "{}", ran.stderr);
    let none = world.json(&["admin", "forget", "--overtaken"]);
    assert_eq!(none["discarded"], serde_json::json!([]));
    world.as_admin(1);
    let ran = world.run(&["admin", "approve", &id[..6], "--yes"]);
    assert_eq!(ran.stdout, "root 2 is in force\n", "{}", ran.stderr);
    world
        .run(&["admin", "discard", &id[..6]])
        .refused(3, "unknown_id");
}

#[test]
fn issuers_and_timestampers_come_with_limits_and_go() {
    let world = world(1, 1);
    let b = world.home.path().join("b");
    let words = [
        "id",
        "--issuer-card",
        "i.card",
        "--timestamper-card",
        "t.card",
    ];
    assert_eq!(world.run_on(&b, &words).code, Some(0));
    let words = [
        "admin",
        "issuer",
        "add",
        "i.card",
        "--groups",
        "tools,agents",
        "--sites",
        "berlin",
        "--max-days",
        "7",
        "--per-hour",
        "5",
        "--yes",
    ];
    let ran = world.run(&words);
    assert_eq!(ran.stdout, "root 2 is in force\n", "{}", ran.stderr);
    assert!(
        ran.stderr
            .contains("groups agents tools, sites berlin, at most 7 days, 5 an hour"),
        "{}",
        ran.stderr
    );
    let ran = world.run(&["admin", "timestamper", "add", "t.card", "--yes"]);
    assert_eq!(ran.stdout, "root 3 is in force\n", "{}", ran.stderr);
    let trust = world.json(&["trust"]);
    assert_eq!(trust["timestampers"].as_array().unwrap().len(), 2);
    let issuer = trust["issuers"][1]["id"].as_str().unwrap().to_owned();
    assert_eq!(trust["issuers"][1]["max_per_hour"], 5);

    // A card is good for its role only.
    let words = ["admin", "add", "i.card", "--yes"];
    world.run(&words).refused(3, "card_of_another_role");
    let words = ["admin", "issuer", "remove", &issuer[..10], "--yes"];
    assert_eq!(world.run(&words).stdout, "root 4 is in force\n");
    // The last one cannot go: nobody could be admitted.
    let last = trust["issuers"][0]["id"].as_str().unwrap();
    let words = ["admin", "issuer", "remove", last, "--yes"];
    world.run(&words).refused(2, "bad_document_field");
}

#[test]
fn a_node_is_revoked_listed_followed_and_lifted() {
    let world = world(1, 1);
    let words = [
        "revoke",
        "node",
        TOOL_HOST,
        "--reason",
        "disk stolen",
        "--yes",
    ];
    let ran = world.run(&words);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(
        ran.stderr.starts_with("node `tool-host`\n"),
        "{}",
        ran.stderr
    );
    assert!(ran.stdout.contains(" is in force\n"), "{}", ran.stdout);

    let list = world.json(&["revocations", "list"]);
    let entry = &list["entries"][0];
    assert_eq!(entry["reason"], "disk stolen");
    assert_eq!(entry["state"], "effective");
    assert_eq!(entry["target"]["node"]["name"], TOOL_HOST);

    // Not everybody has it: that is the exit code, too.
    let ran = world.run(&["revocations", "status", "0", "--wait", "1"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    for line in [
        ": 2 of 3 nodes, p99 255 ms\n",
        "  in force     p50 0 ms, p99 250 ms, slowest 250 ms\n",
        "  effective    p50 5 ms, p99 255 ms, slowest 255 ms\n",
        "  asleep  ",
    ] {
        assert!(ran.stdout.contains(line), "{line}: {}", ran.stdout);
    }

    let words = ["revocations", "lift", "0", "--reason", "found it", "--yes"];
    let ran = world.run(&words);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let list = world.json(&["revocations", "list"]);
    let states: Vec<&str> = list["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["lift", "lifted"]);
    world.run(&words).refused(1, "already_lifted");
    world
        .run(&["revocations", "lift", "7", "--reason", "x", "--yes"])
        .refused(3, "unknown_revocation");
}

#[test]
fn what_to_revoke_must_be_one_thing() {
    let world = world(1, 1);
    let revoke = |kind: &str, id: &str| world.run(&["revoke", kind, id, "--reason", "x", "--yes"]);
    revoke("node", "nobody").refused(3, "unknown_node");
    revoke("node", "Qm").refused(3, "unknown_node");
    revoke("issuer", "ffff").refused(3, "unknown_id");
    revoke("tool", "tool-host/shop/nothing").refused(3, "unknown_tool");
    revoke("ticket", "ffffffff").refused(3, "unknown_id");
    let long = "x".repeat(257);
    let target = world.stranger.to_string();
    let words = ["revoke", "node", &target, "--reason", &long, "--yes"];
    world.run(&words).refused(3, "bad_document_field");
    assert_eq!(world.json(&["revocations", "list"])["total"], 0);
    let none = world.run(&["revocations", "status"]);
    assert_eq!(
        (none.code, none.stdout.as_str()),
        (Some(0), "nothing is revoked\n")
    );
    assert!(world.json(&["revocations", "status"]).is_null());

    // Whole ids need not be known; agents, tickets and tools are revoked alike.
    assert_eq!(revoke("node", &target).code, Some(0));
    assert!(world.revoked(&world.stranger));
    assert_eq!(revoke("agent", "claude").code, Some(0));
    assert_eq!(revoke("agent", "tool-host/claude").code, Some(0));
    assert_eq!(revoke("ticket", &"ab".repeat(32)).code, Some(0));
    assert_eq!(revoke("tool", &"cd".repeat(32)).code, Some(0));
    let list = world.run(&["revocations", "list"]).stdout;
    for target in [
        "agent claude on every node",
        "ticket abababab",
        "tool cdcdcdcd",
    ] {
        assert!(list.contains(target), "{target}: {list}");
    }
    let listed = world.json(&["trust"]);
    assert_eq!(listed["admins"][0]["entries"], 5);
}

#[test]
fn one_admin_of_three_revokes_no_issuer_alone() {
    let world = world(3, 2);
    let issuer = world.json(&["trust"])["issuers"][0]["id"].as_str().unwrap()[..8].to_owned();
    let words = [
        "revoke", "issuer", &issuer, "--since", "2h", "--reason", "leaked", "--yes",
    ];
    let ran = world.run(&words);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(
        ran.stderr
            .contains("nothing happens until 2 admins have revoked the same"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stdout.contains("waits until another admin"),
        "{}",
        ran.stdout
    );
    let list = world.json(&["revocations", "list"]);
    assert_eq!(list["entries"][0]["state"], "unconfirmed");
}

#[test]
fn whoever_lowers_the_threshold_sees_what_that_puts_in_force() {
    let world = world(3, 2);
    let issuer = world.json(&["trust"])["issuers"][0]["id"].as_str().unwrap()[..8].to_owned();
    let words = [
        "revoke", "issuer", &issuer, "--since", "2h", "--reason", "a grudge", "--yes",
    ];
    assert_eq!(world.run(&words).code, Some(0));
    let rogue = world.admins[0][..8].to_owned();
    world.as_admin(1);
    let words = [
        "admin",
        "threshold",
        "1",
        "--yes",
        "--out",
        "lower.proposal",
    ];
    let ran = world.run(&words);
    let effect = format!("revokes memberships of issuer {issuer}, as admin {rogue} did (");
    let says = |said: &str| {
        assert!(said.contains(&format!("! {effect}")), "{said}");
        assert!(said.contains("because: a grudge\n"), "{said}");
        assert!(
            said.contains("wait for another admin come into force at once"),
            "{said}"
        );
    };
    says(&ran.stderr);
    let pending = world.json(&["admin", "pending"]);
    let id = pending[0]["id"].as_str().unwrap()[..8].to_owned();
    assert!(
        pending[0]["effects"][0]
            .as_str()
            .unwrap()
            .starts_with(&effect)
    );
    says(&world.run(&["admin", "pending", &id]).stdout);
    // Where no node runs it says at least that there may be some.
    let words = [
        "sign",
        "lower.proposal",
        "--yes",
        "--out",
        "signed.proposal",
    ];
    let ran = world.run_on(&world.hosts[2], &words);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("come into force at once"),
        "{}",
        ran.stderr
    );
    assert!(!ran.stderr.contains(&effect), "{}", ran.stderr);
    // Beside a node it knows which.
    world.as_admin(2);
    let words = ["sign", "lower.proposal", "--yes"];
    says(&world.run(&words).stderr);
    let ran = world.run(&["admin", "import", "signed.proposal"]);
    assert!(ran.stderr.contains(&effect), "{}", ran.stderr);
    assert_eq!(ran.stdout, "root 2 is in force\n", "{}", ran.stderr);
    let listed = world.json(&["revocations", "list"]);
    assert_eq!(listed["entries"][0]["state"], "effective");
}

#[test]
fn what_one_admin_could_do_is_listed_before_and_confirmed_after_more_must_sign() {
    let world = world(2, 1);
    let issuer = world.json(&["trust"])["issuers"][0]["id"].as_str().unwrap()[..8].to_owned();
    let revoke = |words: &[&str]| {
        let all = [&["revoke"], words, &["--reason", "leaked", "--yes"]].concat();
        let ran = world.run(&all);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    };
    revoke(&["issuer", &issuer, "--since", "2h"]);
    let other = NodeId::from_bytes([1; 32]).to_string();
    revoke(&["node", &other]);
    let listed = world.json(&["revocations", "list"]);
    let of_issuer = &listed["entries"][1];
    let id = of_issuer["id"].as_str().unwrap().to_owned();
    assert_eq!(of_issuer["state"], "effective");
    let confirm = || world.run(&["revocations", "confirm", &id, "--reason", "agreed", "--yes"]);
    confirm().refused(1, "nothing_to_confirm");

    let ran = world.run(&["admin", "threshold", "2", "--yes"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    for said in [
        "these revocations of issuers will wait for another admin at nodes that join later:",
        &format!("  {}  issuer {issuer}", &id[..8]),
        "`hedgerow revocations confirm ID --reason …`",
    ] {
        assert!(ran.stderr.contains(said), "{said}: {}", ran.stderr);
    }
    assert!(!ran.stderr.contains(&other), "{}", ran.stderr);
    world.as_admin(1);
    let proposal = world.json(&["admin", "pending"])[0]["id"].as_str().unwrap()[..8].to_owned();
    let ran = world.run(&["admin", "approve", &proposal, "--yes"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(world.root_version(), 2);

    // Here it stays in force, and the list says how to have it so everywhere.
    let listed = world.json(&["revocations", "list"]);
    assert_eq!(listed["entries"][1]["state"], "held");
    assert_eq!(listed["entries"][0]["state"], "effective");
    let text = world.run(&["revocations", "list"]).stdout;
    assert!(
        text.contains("effective here, waits for another admin elsewhere"),
        "{text}"
    );
    assert!(
        text.contains("1 wait for another admin to revoke the same"),
        "{text}"
    );
    let ran = confirm();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stdout.contains("is in force\n"), "{}", ran.stdout);
    let listed = world.json(&["revocations", "list"]);
    let states = listed["entries"].as_array().unwrap().iter();
    assert!(
        states
            .map(|e| &e["state"])
            .all(|state| state == "effective")
    );
}

#[test]
fn nothing_is_signed_beside_a_restored_node_that_has_not_synced() {
    let world = world(1, 1);
    let why = "this node was restored from a backup and has not synced with a peer since";
    *world.fake.waiting.lock().unwrap() = Some(why.to_owned());
    let id = NodeId::from_bytes([1; 32]).to_string();
    let revoke = || world.run(&["revoke", "node", &id, "--reason", "x", "--yes"]);
    revoke().refused(2, "restored_not_synced");
    *world.fake.waiting.lock().unwrap() = None;
    assert_eq!(revoke().code, Some(0));
}

#[test]
fn a_log_is_never_forked_by_its_own_admin() {
    let world = world(1, 1);
    let revoke = |byte: u8| {
        let id = NodeId::from_bytes([byte; 32]).to_string();
        world.run(&["revoke", "node", &id, "--reason", "x", "--yes"])
    };
    let before = world.memory.state.lock().unwrap().clone();
    assert_eq!(revoke(1).code, Some(0));
    let one = world.memory.state.lock().unwrap().clone();

    // The node lost the last one (a restore, a crash before it was kept): handed in again.
    *world.memory.state.lock().unwrap() = before.clone();
    let ran = revoke(2);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stderr.contains("handing it in again"), "{}", ran.stderr);
    assert!(world.revoked(&NodeId::from_bytes([1; 32])));
    assert!(world.revoked(&NodeId::from_bytes([2; 32])));

    // The node lost more than can be handed in: nothing is signed.
    *world.memory.state.lock().unwrap() = before;
    revoke(3).refused(1, "log_behind");

    // The key signs elsewhere, too: said, and nothing is signed.
    *world.memory.state.lock().unwrap() = one;
    let journal = std::fs::read_dir(world.hosts[0].join("keys"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_string_lossy().contains("admin.log-"))
        .unwrap();
    std::fs::remove_file(&journal).unwrap();
    assert_eq!(revoke(4).code, Some(0));
    let text = std::fs::read_to_string(&journal).unwrap();
    let mut kept: serde_json::Value = serde_json::from_str(&text).unwrap();
    kept["link"] = "00".repeat(32).into();
    std::fs::write(&journal, kept.to_string()).unwrap();
    revoke(5).refused(2, "log_signed_elsewhere");
    std::fs::write(&journal, "{").unwrap();
    revoke(5).refused(1, "log_journal_damaged");
    assert!(
        !world
            .memory
            .state
            .lock()
            .unwrap()
            .logs()
            .any(|log| log.is_forked())
    );
}

#[test]
fn files_that_are_no_proposal_are_refused_by_name() {
    let world = world(1, 1);
    let path = world.home.path().join("bad.proposal");
    std::fs::write(&path, b"nothing of the kind").unwrap();
    for words in [
        &["sign", "bad.proposal", "--yes"][..],
        &["admin", "import", "bad.proposal"],
        &["admin", "add", "bad.proposal", "--yes"],
    ] {
        let ran = world.run(words);
        assert_eq!(ran.code, Some(2), "{words:?} {}", ran.stderr);
        assert!(ran.stderr.trim_end().ends_with(']'), "{}", ran.stderr);
    }
    assert_eq!(std::fs::read(&path).unwrap(), b"nothing of the kind");
}
