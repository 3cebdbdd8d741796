//! Policy documents: read, compiled to Cedar, and asked about calls of every kind.
//!
//! Beyond not panicking and not taking long: what was read can be compiled and evaluated, the rules
//! that a slice leaves out would have said nothing, what only the body shows denies nothing where
//! the body is not seen, and what is refused is told in words that a terminal can show.

use protocol::envelope::hop::Scope;
use protocol::envelope::{Direction, Kind};
use protocol::id::Digest;
use protocol::name::{Name, PolicyName};
use protocol::policy::compile::CompiledPolicy;
use protocol::policy::document::Document;
use protocol::policy::{
    CEDAR_MEDIA_TYPE, CompiledBundle, Facts, MAX_POLICY_ERRORS, POLICY_ERROR, Party, Policy as _,
    PolicyError, Posture, Verdict, testing,
};
use protocol::record::Point;
use protocol::time::UnixMillis;
use protocol::trust::bundle::{Label, Pin, Policy};

use crate::seeds::{self, NOW};

/// The name of every document in the fuzzer; those of another are refused in a bundle.
const NAME: &str = "fuzz";

/// The definition that is approved.
const APPROVED: Digest = Digest::from_bytes([7; 32]);

const CALL: &[u8] = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_product_info","arguments":{"sku":"HR-1001","price":-0.5e1,"list":[1,"a",null]}}}"#;
const READ: &[u8] =
    br#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///a"}}"#;
const RESULT: &[u8] =
    br#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"DE89 3704 0044"}]}}"#;

/// A JSON document.
pub fn document(data: &[u8]) {
    let document = match Document::parse(NAME, data) {
        Ok(document) => document,
        Err(errors) => return told(&errors),
    };
    let policy = CompiledPolicy::of_document(document);
    // It can be printed, and what was compiled from it is whole.
    assert!(policy.rules().len() == 0 || !policy.cedar().is_empty());
    let bundle = decided(policy);
    for facts in calls() {
        asked(&facts, |facts| {
            let decision = bundle.evaluate(facts);
            let reason = decision.verdict.denial().map(|d| d.reason.as_str());
            assert_ne!(reason, Some(POLICY_ERROR), "Cedar takes what was read");
        });
    }
    drop(testing::run(&bundle));
}

/// Raw Cedar.
pub fn cedar(data: &[u8]) {
    let carried = Policy {
        name: NAME.parse::<PolicyName>().expect("a valid name"),
        media_type: CEDAR_MEDIA_TYPE.to_owned(),
        bytes: data.to_vec(),
    };
    match CompiledPolicy::compile(&carried) {
        Ok(policy) => drop(decided(policy)),
        Err(errors) => told(&errors),
    }
}

/// A refused document says what and where, in one line each.
fn told(errors: &[PolicyError]) {
    assert!(!errors.is_empty() && errors.len() <= MAX_POLICY_ERRORS);
    for error in errors {
        let line = format!("{error} {}", error.hint());
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
}

/// Asks a bundle of this policy about every call.
fn decided(policy: CompiledPolicy) -> CompiledBundle {
    let server: Name = "shop".parse().expect("a valid name");
    let pin = |tool: &str| Pin {
        server: server.clone(),
        tool: tool.to_owned(),
        digest: APPROVED,
    };
    let label = Label {
        target: "shop/get_product_info".to_owned(),
        labels: vec!["phi".to_owned()],
    };
    let bundle = CompiledBundle::of(1, vec![policy], &[pin("get_product_info")], &[label]);
    for call in calls() {
        asked(&call, |facts| {
            let decision = bundle.evaluate(facts);
            assert_eq!(
                decision,
                bundle.evaluate_unsliced(facts),
                "slices lose nothing"
            );
            assert_eq!(decision, bundle.evaluate(facts), "the same again");
            let full = decision.scope == Scope::Full;
            assert_eq!(full, facts.body.is_some());
            if let Verdict::Hold(_) = decision.verdict {
                assert!(decision.approval.is_some(), "who may approve is said");
                let approved = Facts {
                    approved: true,
                    ..*facts
                };
                let approved = bundle.evaluate(&approved).verdict;
                assert!(
                    !matches!(approved, Verdict::Hold(_)),
                    "once approved it goes on"
                );
            }
            bundle.waypoints(facts);
        });
    }
    bundle
}

/// What differs from call to call.
#[derive(Clone, Copy)]
struct Call {
    point: Point,
    kind: Kind,
    direction: Direction,
    method: &'static str,
    target: Option<&'static str>,
    body: Option<&'static [u8]>,
}

fn calls() -> [Call; 6] {
    let tool = Call {
        point: Point::Egress,
        kind: Kind::Request,
        direction: Direction::ToServer,
        method: "tools/call",
        target: Some("get_product_info"),
        body: Some(CALL),
    };
    [
        tool,
        Call {
            point: Point::Relay,
            body: None,
            ..tool
        },
        Call {
            point: Point::Ingress,
            method: "resources/read",
            target: Some("file:///a"),
            body: Some(READ),
            ..tool
        },
        Call {
            method: "prompts/get",
            target: Some("weekly"),
            body: Some(b"not even JSON"),
            ..tool
        },
        Call {
            kind: Kind::Response,
            direction: Direction::ToClient,
            body: Some(RESULT),
            ..tool
        },
        Call {
            direction: Direction::ToClient,
            method: "sampling/createMessage",
            target: None,
            body: Some(b"{}"),
            ..tool
        },
    ]
}

/// The facts of one of them.
fn asked(call: &Call, then: impl FnOnce(&Facts<'_>)) {
    let name = |text: &str| text.parse::<Name>().expect("a valid name");
    let (desk, store, gate) = (name("desk"), name("store"), name("gate"));
    let (groups, gates) = ([name("agents"), name("finance")], [name("gateways")]);
    let (site, agent, server) = (name("berlin"), name("bot"), name("shop"));
    let party = |byte, name, groups, site| Party {
        node: seeds::node(byte),
        name,
        groups,
        site,
    };
    let client = party(1, &desk, &groups[..], Some(&site));
    let host = party(2, &store, &[], None);
    let to_server = call.direction == Direction::ToServer;
    let (issuer, audience) = if to_server {
        (client, host)
    } else {
        (host, client)
    };
    let posture = Posture {
        os: "debian".to_owned(),
        kernel: (6, 12, 0),
        secure_boot: true,
        binary: Some(APPROVED),
        hardening: vec!["aslr".to_owned(), "seccomp".to_owned()],
        uptime_s: 86_400,
        age_s: 60,
        ..Posture::default()
    };
    let intents = ["get_product_info", "read"].map(str::to_owned);
    let labels = ["pii".to_owned()];
    then(&Facts {
        point: call.point,
        now: UnixMillis(NOW.0 * 1000),
        issuer,
        audience,
        agent: &agent,
        human: Some("ada@example.org"),
        human_vouched: to_server,
        observed_address: Some("192.0.2.7:7443"),
        posture: Some(&posture),
        kind: call.kind,
        direction: call.direction,
        server: &server,
        method: call.method,
        target: call.target,
        tool_digest: Some(APPROVED),
        intents: &intents,
        labels: &labels,
        route: &[client, party(3, &gate, &gates[..], None), host],
        approved: false,
        body: call.body,
    });
}

/// The documents of the manual, each with everything about one key.
pub fn documents() -> Vec<Vec<u8>> {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/policies");
    let files = std::fs::read_dir(dir).expect("the manual's documents are there");
    let mut files: Vec<_> = files.map(|f| f.expect("a file").path()).collect();
    files.sort();
    let read = files
        .iter()
        .map(|file| std::fs::read(file).expect("a document"));
    read.chain([protocol::policy::STARTER.as_bytes().to_vec()])
        .collect()
}

/// A rule that a document became, without the annotations that only those have.
fn raw(rule: &str) -> Vec<u8> {
    let only = |line: &&str| !line.starts_with("@policy_name") && !line.starts_with("@rule");
    let lines: Vec<&str> = rule.lines().filter(only).collect();
    lines.join("\n").into_bytes()
}

/// What they become in Cedar, and Cedar as people write it.
pub fn cedars() -> Vec<Vec<u8>> {
    let documents = documents().into_iter();
    let read = documents.filter_map(|bytes| Document::parse(NAME, &bytes).ok());
    let rules = read.flat_map(|document| {
        let policy = CompiledPolicy::of_document(document);
        let rules: Vec<Vec<u8>> = policy.rules().map(|rule| raw(&rule.cedar)).collect();
        rules
    });
    let written: [&[u8]; 3] = [
        b"permit(principal, action, resource);",
        b"@policy_name(\"fuzz\")\n@action(\"sever\")\n@mode(\"observe\")\nforbid(principal, action, resource)\nwhen { context has posture && context.posture has binary && context.labels.contains(\"pii\") }\nunless { context has address && context.address.isInRange(ip(\"192.0.2.0/24\")) };",
        b"permit(principal == Agent::\"desk/bot\", action, resource) when { context.week_minute * 9223372036854775807 > 1 || context.now > datetime(\"2026-01-01\") };",
    ];
    rules
        .chain(written.map(<[u8]>::to_vec))
        .filter(|text| text.len() <= 2048)
        .collect()
}
