//! The seed's document, verbatim.

use protocol::envelope::hop::Scope;
use protocol::policy::{CompiledBundle, Policy as _, Verdict};

use crate::world::{Call, bundle, said};

pub(crate) const NAME: &str = "mcp_read_only_enforcement";

pub(crate) const SEED: &str = r#"{"policy_name": "mcp_read_only_enforcement",
 "allowed_tools": ["get_product_info", "check_inventory"],
 "restricted_intents": ["update_price", "delete_record"],
 "action_on_violation": "block_and_alert"}
"#;

const PINS: &[&str] = &["check_inventory", "get_product_info", "update_price"];

#[test]
fn what_it_allows_is_allowed() {
    let bundle = bundle(&[(NAME, SEED)], PINS);
    assert_eq!(bundle.bundle_version(), 3);
    for tool in ["get_product_info", "check_inventory"] {
        let decision = Call::tool(tool).decide(&bundle);
        assert_eq!(decision.verdict, Verdict::Allow(Vec::new()));
        assert_eq!(decision.granted_by, [NAME]);
        assert_eq!(decision.scope, Scope::Full);
    }
}

#[test]
fn what_it_does_not_allow_is_blocked_with_an_alert() {
    let bundle = bundle(&[(NAME, SEED)], PINS);
    let decision = Call::tool("update_price").decide(&bundle);
    assert_eq!(said(&decision), "deny tool_not_allowed");
    let violated: Vec<&str> = decision
        .violations
        .iter()
        .map(|v| v.rule.as_str())
        .collect();
    assert_eq!(violated, ["/allowed_tools", "/restricted_intents"]);
    assert_eq!(decision.alerts().count(), 2);
    let denial = decision.verdict.denial().unwrap();
    assert_eq!(denial.policy.as_deref(), Some(NAME));
    let message = "policy `mcp_read_only_enforcement` does not allow tool `update_price`";
    assert_eq!(denial.message, message);
    // In whatever form a server names it.
    assert_eq!(
        Call::tool("updatePrice").says(&bundle),
        "deny tool_not_allowed"
    );
}

#[test]
fn when_told_to_it_severs() {
    let told = SEED.replace("block_and_alert", "sever");
    let bundle = bundle(&[(NAME, &told)], PINS);
    assert_eq!(
        Call::tool("delete_record").says(&bundle),
        "sever tool_not_allowed"
    );
    assert_eq!(Call::tool("check_inventory").says(&bundle), "allow");
}

/// Header rules alone say the same.
#[test]
fn a_relay_says_the_same() {
    let bundle = bundle(&[(NAME, SEED)], PINS);
    for (tool, expected) in [
        ("get_product_info", "allow"),
        ("update_price", "deny tool_not_allowed"),
    ] {
        let decision = Call::tool(tool).relayed().decide(&bundle);
        assert_eq!(said(&decision), expected);
        assert_eq!(decision.scope, Scope::HeaderOnly);
    }
}

/// A bare name is an approved definition, not any tool that calls itself so.
#[test]
fn a_bare_name_is_a_pin() {
    let bundle = bundle(&[(NAME, SEED)], PINS);
    let mut changed = Call::tool("get_product_info");
    changed.digest = Some(protocol::id::Digest::from_bytes([9; 32]));
    assert_eq!(changed.says(&bundle), "deny tool_not_allowed");
    changed.digest = None;
    assert_eq!(changed.says(&bundle), "deny tool_not_allowed");
    let mut elsewhere = Call::tool("get_product_info");
    elsewhere.server = "mall".parse().unwrap();
    assert_eq!(elsewhere.says(&bundle), "deny tool_not_allowed");
}

/// Whoever meets an unapproved definition is told that it is one, and how it is approved.
#[test]
fn an_unapproved_definition_is_named_as_one() {
    let bundle = bundle(&[(NAME, SEED)], PINS);
    let denial = |call: &Call| {
        let decision = call.decide(&bundle);
        let denial = decision.verdict.denial().unwrap().clone();
        assert_eq!(decision.violations[0].message, denial.message);
        (denial.message, denial.hint.unwrap())
    };
    let mut changed = Call::tool("get_product_info");
    changed.digest = Some(protocol::id::Digest::from_bytes([9; 32]));
    let (message, hint) = denial(&changed);
    assert!(
        message.contains("another than the approved one"),
        "{message}"
    );
    assert!(
        hint.contains("hedgerow policy pin store/shop/get_product_info"),
        "{hint}"
    );
    let mut elsewhere = changed.clone();
    elsewhere.server = "mall".parse().unwrap();
    let (message, hint) = denial(&elsewhere);
    assert!(
        message.contains("no definition of tool `get_product_info` is approved"),
        "{message}"
    );
    assert!(hint.contains("/mall/get_product_info"), "{hint}");
    // What is not in the list at all would not be allowed by any definition.
    let mut other = Call::tool("drop_all");
    other.digest = Some(protocol::id::Digest::from_bytes([9; 32]));
    let (message, hint) = denial(&other);
    assert!(
        message.contains("does not allow tool `drop_all`"),
        "{message}"
    );
    assert!(!hint.contains("policy pin"), "{hint}");
}

/// It says nothing of resources, and what nothing permits is denied; what the protocol itself
/// needs is implied.
#[test]
fn what_it_does_not_speak_of() {
    let bundle = bundle(&[(NAME, SEED)], PINS);
    assert_eq!(
        Call::resource("file:///etc/passwd").says(&bundle),
        "deny not_permitted"
    );
    assert_eq!(
        Call::of("sampling/createMessage", None).says(&bundle),
        "deny not_permitted"
    );
    for method in ["initialize", "ping", "tools/list", "logging/setLevel"] {
        assert_eq!(Call::of(method, None).says(&bundle), "allow", "{method}");
    }
    assert_eq!(
        Call::tool("check_inventory").says(&CompiledBundle::empty(1)),
        "deny not_permitted"
    );
}
