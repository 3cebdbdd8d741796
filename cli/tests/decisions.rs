//! Decisions as people see them: exit code, stdout, stderr, whole.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

mod support;

use std::io::{BufRead as _, BufReader};

use protocol::control::Decision;
use support::bench::{Bench, command, seen, stdout};
use support::decided::{self, HOSTILE};

#[test]
fn list() {
    let bench = Bench::start();
    seen(
        &bench.run(&["decisions", "list"]),
        "exit: 0
--- stdout
NUMBER  TIME                  VERDICT  REASON                WHERE   AGENT   FROM        WHAT                                         POLICY
5       2026-11-22 12:00:05Z  deny     further_refusals ×40  link    -       agent-host  -                                            -
4       2026-11-22 12:00:04Z  deny     not_permitted         egress  other   agent-host  shop/get\\u{1b}[2J\\u{202e}it\\nverdict: allow  -
3       2026-11-22 12:00:03Z  deny     intent_restricted     egress  claude  agent-host  shop/update_price                            read_only
2       2026-11-22 12:00:02Z  allow    -                     egress  claude  tool-host   response shop/get_product_info               -
1       2026-11-22 12:00:01Z  allow    -                     egress  claude  agent-host  shop/get_product_info                        -
--- stderr
",
    );
    seen(
        &bench.run(&["decisions", "list", "--limit", "1", "--before", "3"]),
        "exit: 0
--- stdout
NUMBER  TIME                  VERDICT  REASON  WHERE   AGENT   FROM       WHAT                            POLICY
2       2026-11-22 12:00:02Z  allow    -       egress  claude  tool-host  response shop/get_product_info  -
there may be older ones: --before 2
--- stderr
",
    );
    seen(
        &bench.run(&["decisions", "list", "--agent", "nobody"]),
        "exit: 0\n--- stdout\nno such decision\n--- stderr\n",
    );
    seen(
        &bench.run(&["decisions", "list", "--since", "soon"]),
        "exit: 3
--- stdout
--- stderr
error: `soon` is no instant
hint: write `2026-11-22 12:40:03Z`, `2026-11-22`, seconds since 1970, or `30m`, `2h`, `3d` ago
",
    );
    let unknown = bench.run(&["decisions", "list", "--verdict", "maybe"]);
    assert!(
        unknown.starts_with("exit: 3\n--- stdout\n--- stderr\n"),
        "{unknown}"
    );
}

/// Each filter goes to the node, and what is found is whole in JSON, hostile texts included.
#[test]
fn filters() {
    let bench = Bench::start();
    for (filter, found) in [
        (&["--agent", "claude"][..], &[3, 2, 1][..]),
        (&["--node", "tool-host"], &[4, 3, 2, 1]),
        (&["--server", "shop", "--verdict", "deny"], &[4, 3]),
        (&["--tool", "update_price"], &[3]),
        (&["--tool", HOSTILE], &[4]),
        (&["--reason", "not_permitted"], &[4]),
        (&["--policy", "read_only"], &[3]),
        (&["--since", "2026-11-22 12:00:04Z"], &[5, 4]),
    ] {
        let listed = bench.json(&[&["decisions", "list"], filter].concat());
        let listed: Vec<Decision> = serde_json::from_value(listed).unwrap();
        let numbers: Vec<u64> = listed.iter().map(|d| d.seq).collect();
        assert_eq!(numbers, found, "{filter:?}");
        let kept = bench.fake.decided.lock().unwrap();
        assert!(listed.iter().all(|d| kept.contains(d)));
    }
    let raw = bench.run(&["--format", "json", "decisions", "list"]);
    assert!(
        !raw.contains('\u{1b}') && !raw.contains('\u{202e}'),
        "{raw}"
    );
}

#[test]
fn show() {
    let bench = Bench::start();
    seen(
        &bench.run(&["decisions", "show", "3"]),
        "exit: 0
--- stdout
Decision 3
  time         2026-11-22 12:00:03Z +7 ms
  verdict      deny
  reason       intent_restricted
  where        egress
  agent        claude
  signed by    agent-host
  for          tool-host
  server       shop
  message      request
  method       tools/call
  name         update_price
  policy       read_only
  rule         /restricted_intents
  bundle       3
  alerts       read_only
  call         04040404040404040404040404040404
  envelope     0202020202020202020202020202020202020202020202020202020202020202
  record       abababababababababababababababababababababababababababababababab

On which facts
  decided on   the header and the body
  groups       agents
  site         berlin
  address      192.0.2.7:7443
  posture      os=debian, age_s=60
  human        ada@example.org (not vouched for: can only restrict)
  intents      update_price, write
  by rules of  version 2; who signed goes by 1
  labels       none
  definition   0303030303030303030303030303030303030303030303030303030303030303 (not known whether approved: its bundle is not kept any more)

Over which hops
PLACE  NODE  FROM        VERDICT  BUNDLE  KEPT
1      gate  agent-host  allow    3       4 ms
--- stderr
",
    );
    let whole = bench.run(&["decisions", "show", "1"]);
    assert!(
        whole.ends_with(
            "The rest of this call, as this node decided it
NUMBER  TIME                  VERDICT  REASON  WHERE   AGENT   FROM       WHAT                            POLICY
2       2026-11-22 12:00:02Z  allow    -       egress  claude  tool-host  response shop/get_product_info  -
--- stderr
"
        ),
        "{whole}"
    );
    let json = bench.json(&["decisions", "show", "1"]);
    assert_eq!(json["decision"]["basis"]["granted_by"][0], "read_only");
    assert_eq!(json["call"][0]["seq"], 2);
    seen(
        &bench.run(&["decisions", "show", "99"]),
        "exit: 3
--- stdout
--- stderr
error: there is no decision 99, or none any more [unknown_decision]
hint: see `hedgerow decisions list`; `[decisions]` says how long they are kept
",
    );
}

/// A held call, what became of it and what was then called are one story, told from any of them.
#[test]
fn a_held_call_shows_its_approval() {
    let bench = Bench::start();
    bench.fake.decided.lock().unwrap().extend(decided::held());
    let given = bench.run(&["decisions", "show", "12"]);
    let told = format!(
        "Of which approval
  id           {}
  arguments    {}
  answered by  gate
  human        ada@example.org (as that node says)
  words        the monthly run",
        "05".repeat(16),
        "06".repeat(32)
    );
    assert!(given.contains(&told), "{given}");
    assert!(!given.contains('\u{1b}'), "{given}");
    for (number, rest) in [
        ("11", [12, 13, 14].as_slice()),
        ("12", &[11, 13, 14]),
        ("13", &[11, 12, 14]),
        ("14", &[11, 12, 13]),
    ] {
        let shown = bench.json(&["decisions", "show", number]);
        let call = shown["call"].as_array().unwrap();
        let found: Vec<u64> = call.iter().map(|d| d["seq"].as_u64().unwrap()).collect();
        assert_eq!(found, rest, "of {number}");
    }
}

#[test]
fn tail() {
    let bench = Bench::start();
    seen(
        &bench.run(&["decisions", "tail", "--no-follow", "-n", "2"]),
        "exit: 0
--- stdout
4  2026-11-22 12:00:04Z  deny  not_permitted  egress  other  agent-host  shop/get\\u{1b}[2J\\u{202e}it\\nverdict: allow
5  2026-11-22 12:00:05Z  deny  further_refusals ×40  link  -  agent-host
--- stderr
",
    );
    let lines = bench.run(&["--format", "json", "decisions", "tail", "--no-follow"]);
    let lines = stdout(&lines);
    let decided: Vec<Decision> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(decided, *bench.fake.decided.lock().unwrap());
}

/// What is decided while one looks is shown, and once.
#[test]
fn tail_follows() {
    let bench = Bench::start();
    let words = [
        "--format",
        "json",
        "decisions",
        "tail",
        "-n",
        "1",
        "--agent",
        "claude",
    ];
    let mut child = command(bench.dir.path(), &words).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next =
        || -> Decision { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert_eq!(next().seq, 3);
    for seq in [6, 7] {
        let mut decided = bench.fake.decided.lock().unwrap();
        // One that is not looked for comes between.
        let mut other = decided[3].clone();
        other.seq = 2 * seq - 6;
        let mut new = decided[0].clone();
        new.seq = 2 * seq - 5;
        decided.extend([other, new]);
        drop(decided);
        assert_eq!(next().seq, 2 * seq - 5);
    }
    child.kill().unwrap();
    child.wait().unwrap();
}
