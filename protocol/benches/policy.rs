//! What a decision costs, and what loading policies costs: `cargo bench -p protocol --bench policy`.
//!
//! A call meets up to 20 documents out of 2,000 and out of 20,000, in the mix of a mesh: most calls
//! meet a few. Once the documents state much alike, as those of one author do, and once each has
//! words of its own. Beside it, in the same run: bare Cedar over 20 policies, with the request at
//! hand; Cedar over all 2,000 at once, which is what slicing saves; and what is only paid once, a
//! slice's first call. Prints microseconds; only ratios within one run mean something on a busy
//! machine. Of each call the least of five times counts, so that what is left is of the code and not
//! of the neighbours; between two of them all the other calls are made.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a benchmark that prints what it measured"
)]

use core::ops::Range;
use std::hint::black_box;
use std::time::{Duration, Instant};

use cedar_policy::{
    Authorizer, Context, Entities, EntityUid, PolicySet, Request, RestrictedExpression,
};
use protocol::envelope::{Direction, Kind};
use protocol::id::NodeId;
use protocol::name::Name;
use protocol::policy::compile::CompiledPolicy;
use protocol::policy::{CompiledBundle, Facts, JSON_MEDIA_TYPE, Party, Policy as _};
use protocol::record::Point;
use protocol::time::UnixMillis;
use protocol::trust::bundle::{BundleBody, Policy};

/// Decisions measured of each kind.
const CALLS: usize = 4_000;

/// How often each is measured.
const ROUNDS: usize = 5;

/// How many documents a call meets, by turns.
const MET: [usize; 8] = [2, 3, 5, 5, 8, 10, 15, 20];

fn document(name: String, members: &str) -> Policy {
    let text = format!(r#"{{"policy_name": "{name}", {members}}}"#);
    Policy {
        name: name.parse().unwrap(),
        media_type: JSON_MEDIA_TYPE.to_owned(),
        bytes: text.into_bytes(),
    }
}

/// How much documents have in common.
#[derive(Clone, Copy, PartialEq)]
enum Words {
    Shared,
    Own,
}

/// `count` documents: for each group the seed's form with one of the further keys.
fn body(count: usize, words: Words) -> BundleBody {
    let mut policies = Vec::new();
    let mut group = 0;
    while policies.len() < count {
        for number in 0..MET[group % MET.len()] {
            let own = match words {
                Words::Shared => String::new(),
                Words::Own => format!("_{group}_{number}"),
            };
            let minute = match words {
                Words::Shared => "00:00".to_owned(),
                Words::Own => format!("{:02}:{:02}", number % 12, group % 60),
            };
            let further = match number % 4 {
                0 => format!(
                    r#""allowed_tools": ["tools/get_product_info{own}", "tools/check_inventory"]"#
                ),
                1 => format!(r#""labels": {{"restricted": ["phi{own}", "pci"]}}"#),
                2 => format!(
                    r#""time": {{"days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], "from": "{minute}", "to": "23:59"}}"#
                ),
                _ => format!(r#""location": {{"sites": ["berlin", "oslo{own}"]}}"#),
            };
            let members = format!(
                r#""subjects": {{"groups": ["group-{group}"]}}, "servers": ["tools"], {further},
                "restricted_intents": ["update_price{own}", "delete_record"], "action_on_violation": "block_and_alert""#
            );
            policies.push(document(format!("policy-{group}-{number}"), &members));
        }
        group += 1;
    }
    policies.truncate(count);
    policies.sort_by(|a, b| a.name.cmp(&b.name));
    BundleBody {
        policies,
        ..BundleBody::default()
    }
}

/// Times decisions of callers of these groups: the first of each, and `calls` more.
fn decide(
    groups: Range<usize>,
    calls: usize,
    kind: Kind,
    ask: impl Fn(&Facts<'_>),
) -> (Vec<Duration>, Vec<Duration>) {
    let name = |text: &str| text.parse::<Name>().unwrap();
    let (desk, store, agent, server) = (name("desk"), name("store"), name("robot"), name("tools"));
    let site = name("berlin");
    let intents = ["check_inventory".to_owned(), "read".to_owned()];
    let all: Vec<Vec<Name>> = groups.map(|g| vec![name(&format!("group-{g}"))]).collect();
    let (body, direction) = match kind {
        Kind::Response => (&br#"{"jsonrpc":"2.0","id":1,"result":{"stock":7}}"#[..], Direction::ToClient),
        _ => (&br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"check_inventory","arguments":{}}}"#[..], Direction::ToServer),
    };
    let (mut first, mut times) = (Vec::new(), vec![Duration::MAX; calls]);
    // The first round makes the sets ready.
    for round in 0..=ROUNDS {
        let calls = if round == 0 { all.len() } else { calls };
        for call in 0..calls {
            let groups = &all[call % all.len()];
            let party = |name, groups, site| Party {
                node: NodeId::from_bytes([7; 32]),
                name,
                groups,
                site,
            };
            let (caller, host) = (party(&desk, groups, Some(&site)), party(&store, &[], None));
            let (issuer, audience) = match direction {
                Direction::ToServer => (caller, host),
                Direction::ToClient => (host, caller),
            };
            let facts = Facts {
                point: Point::Egress,
                now: UnixMillis(1_795_348_800_000),
                issuer,
                audience,
                agent: &agent,
                human: None,
                human_vouched: false,
                observed_address: Some("10.1.2.3:4444"),
                posture: None,
                kind,
                direction,
                server: &server,
                method: "tools/call",
                target: Some("check_inventory"),
                tool_digest: None,
                intents: &intents,
                labels: &[],
                route: &[],
                approved: false,
                body: Some(body),
            };
            let start = Instant::now();
            ask(black_box(&facts));
            let took = start.elapsed();
            if round == 0 {
                first.push(took);
            } else {
                times[call] = times[call].min(took);
            }
        }
    }
    first.sort_unstable();
    times.sort_unstable();
    (first, times)
}

fn micros(times: &[Duration], percent: usize) -> f64 {
    times[(times.len() - 1) * percent / 100].as_nanos() as f64 / 1000.0
}

fn report(what: &str, times: &[Duration]) -> f64 {
    let (p50, p99) = (micros(times, 50), micros(times, 99));
    println!("{what:<40} p50 {p50:>9.1} µs   p99 {p99:>9.1} µs");
    p50
}

/// Memory of the process in MiB, as Linux says.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|p| p.parse::<usize>().ok());
    pages.unwrap_or(0) * 4096 / (1 << 20)
}

fn load(count: usize, words: Words) -> CompiledBundle {
    let body = body(count, words);
    let start = Instant::now();
    let bundle = CompiledBundle::compile(1, &body).unwrap();
    let took = start.elapsed().as_secs_f64() * 1000.0;
    println!(
        "load {count} documents: {took:.0} ms, then {} MiB resident",
        resident()
    );
    bundle
}

/// The first twenty rules that the documents of the group that meets 20 print, asked bare: what
/// Cedar takes for 20 policies whose conditions the call meets, with the request at hand.
fn bare_cedar(bundle: &CompiledBundle) -> Vec<Duration> {
    let mine = |policy: &&CompiledPolicy| policy.name().as_str().starts_with("policy-7-");
    let rules = bundle
        .policies()
        .iter()
        .filter(mine)
        .flat_map(CompiledPolicy::rules);
    let texts: Vec<&str> = rules.take(20).map(|rule| rule.cedar.as_str()).collect();
    let set: PolicySet = texts.join("\n").parse().unwrap();
    assert_eq!(set.policies().count(), 20);
    let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
    let all = |words: &[&str]| RestrictedExpression::new_set(words.iter().map(|w| text(w)));
    let context = [
        ("kind", text("tool")),
        ("groups", all(&["group-7"])),
        ("host", text("store")),
        ("server", text("tools")),
        ("target", text("check_inventory")),
        ("intents", all(&["check_inventory", "read"])),
        ("labels", all(&[])),
        ("site", text("berlin")),
        ("week_minute", RestrictedExpression::new_long(9_360)),
    ];
    let context = context.map(|(name, value)| (name.to_owned(), value));
    let uid = |text: &str| text.parse::<EntityUid>().unwrap();
    let request = Request::new(
        uid("Agent::\"\""),
        uid("Action::\"call\""),
        uid("Target::\"\""),
        Context::from_pairs(context).unwrap(),
        None,
    );
    let (request, entities) = (request.unwrap(), Entities::empty());
    let authorizer = Authorizer::new();
    let ask = |_| {
        let start = Instant::now();
        drop(black_box(
            authorizer.is_authorized(&request, &set, &entities),
        ));
        start.elapsed()
    };
    let mut times: Vec<Duration> = (0..CALLS).map(ask).collect();
    times.sort_unstable();
    times
}

fn main() {
    // `cargo test` runs benchmarks too, without this.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let of = |bundle: &CompiledBundle, groups: Range<usize>, kind| {
        let ask = |facts: &Facts<'_>| drop(black_box(bundle.evaluate(facts)));
        decide(groups, CALLS, kind, ask)
    };
    let few = load(2_000, Words::Shared);
    let cedar = report("bare Cedar, 20 policies", &bare_cedar(&few));
    let mut lines = Vec::new();
    for (what, count, words) in [
        ("2,000 loaded", 2_000, Words::Shared),
        ("20,000 loaded", 20_000, Words::Shared),
        ("2,000 with own words", 2_000, Words::Own),
        ("20,000 with own words", 20_000, Words::Own),
    ] {
        let bundle = load(count, words);
        // Each group that any call comes from has all its documents among the first 2,000.
        let (first, times) = of(&bundle, 0..200, Kind::Request);
        report(&format!("{what}, a slice's first call"), &first);
        let all = report(&format!("{what}, 2 to 20 met"), &times);
        let twenty = of(&bundle, 7..8, Kind::Request).1;
        let twenty = report(&format!("{what}, 20 met"), &twenty);
        let answers = of(&bundle, 0..200, Kind::Response).1;
        report(&format!("{what}, 2 to 20 met, a result"), &answers);
        lines.push((what, all, twenty));
    }
    let ask = |facts: &Facts<'_>| drop(black_box(few.evaluate_unsliced(facts)));
    let unsliced = decide(0..8, 8, Kind::Request, ask).1;
    let unsliced = report("2,000 loaded, unsliced", &unsliced);
    let again = report("bare Cedar, 20 policies, again", &bare_cedar(&few));
    let cedar = f64::midpoint(cedar, again);
    for (what, all, twenty) in &lines {
        let (all, twenty) = (all / cedar, twenty / cedar);
        println!("{what}, to bare Cedar: {all:.2}, 20 met: {twenty:.2}");
    }
    if let [few, many, own, own_many] = lines.as_slice() {
        let (shared, own) = (many.1 / few.1, own_many.1 / own.1);
        println!("20,000 to 2,000 loaded: {shared:.2}, with own words {own:.2}");
        println!("unsliced to sliced: {:.0}", unsliced / few.1);
    }
}
