//! Which rule decides a call, at which hop.

use protocol::policy::document::TrialCall;
use protocol::policy::explain::{explain, rule_cedar};
use protocol::policy::testing::is_vouched;
use protocol::record::Point;

use crate::world::one;

fn call(json: &str) -> TrialCall {
    TrialCall::parse("the call", json.as_bytes()).unwrap()
}

/// Arguments are seen at the ends only: a relay lets pass what they stop.
#[test]
fn each_hop_sees_what_it_can() {
    let members = r#""servers": ["shop"], "allowed_tools": ["shop/order"],
        "arguments": {"/amount": {"max": 5}}, "location": {"networks": ["10.0.0.0/8"]}"#;
    let bundle = one(members, &[]);
    let json = r#"{"server": "shop", "tool": "order", "arguments": {"amount": 5},
        "address": "10.1.1.1", "via": "node:gate"}"#;
    let told = |json: &str| -> Vec<(Point, &str)> {
        let explained = explain(&bundle, &call(json));
        let steps = explained.steps.iter();
        steps
            .map(|s| (s.point, s.decision.verdict.name()))
            .collect()
    };
    let points = [Point::Ingress, Point::Relay, Point::Egress];
    assert_eq!(told(json), points.map(|point| (point, "allow")));
    let much = json.replace("{\"amount\": 5}", "{\"amount\": 6}");
    let said = told(&much);
    assert_eq!(
        said.iter().map(|s| s.1).collect::<Vec<_>>(),
        ["deny", "allow", "deny"]
    );
    // Where the call begins nobody has seen the address.
    let away = json.replace("10.1.1.1", "192.0.2.1");
    let explained = explain(&bundle, &call(&away));
    let deciding = explained.deciding().unwrap();
    assert_eq!(deciding.point, Point::Relay);
    assert_eq!(deciding.decision.violations[0].rule, "/location/networks");
    // Without a relay there are two hops.
    let direct = away.replace(", \"via\": \"node:gate\"", "");
    assert_eq!(
        told(&direct),
        [(Point::Ingress, "allow"), (Point::Egress, "deny")]
    );
}

#[test]
fn a_rule_has_its_cedar() {
    let bundle = one(r#""restricted_intents": ["x"]"#, &[]);
    let policy = bundle.policy("p").unwrap();
    let text = rule_cedar(policy, "/restricted_intents").unwrap();
    assert!(text.contains("forbid"), "{text}");
    assert_eq!(rule_cedar(policy, "/other"), None);
}

#[test]
fn a_call_that_is_none_is_refused() {
    let errors = TrialCall::parse("the call", br#"{"tol": "x"}"#).unwrap_err();
    assert_eq!(errors[0].reason(), "policy_unknown_key");
    assert!(TrialCall::parse("the call", b"[]").is_err());
    assert!(TrialCall::parse("the call", b"{").is_err());
}

/// As the documents say, unless the call does.
#[test]
fn whether_a_human_is_vouched_for() {
    let vouches = r#""subjects": {"groups": ["desk"]}, "vouches_for_humans": true"#;
    let bundle = one(vouches, &[]);
    for (facts, expected) in [
        (r#""human": "ada", "groups": ["desk"]"#, true),
        (r#""human": "ada""#, false),
        (r#""human": "ada", "human_vouched": true"#, true),
        (
            r#""human": "ada", "human_vouched": false, "groups": ["desk"]"#,
            false,
        ),
        (r#""groups": ["desk"]"#, false),
    ] {
        let call = call(&format!(r#"{{"tool": "x", {facts}}}"#));
        assert_eq!(is_vouched(&bundle, &call), expected, "{facts}");
    }
}

/// Calls are held by the server's node alone; the caller's lets them on, and says why.
#[test]
fn a_call_is_held_at_the_server() {
    let asks = r#""allowed_tools": ["*/*"], "approval": {"required": true}"#;
    let explained = explain(&one(asks, &[]), &call(r#"{"tool": "get_it"}"#));
    let said = explained.steps.iter();
    let said: Vec<_> = said
        .map(|step| (step.point, step.decision.verdict.name(), step.passes_on))
        .collect();
    assert_eq!(
        said,
        [
            (Point::Ingress, "allow", true),
            (Point::Egress, "hold", false)
        ]
    );
    assert_eq!(explained.deciding().unwrap().point, Point::Egress);
}
