//! A `forbid` of raw Cedar that wants approval: it holds, and once approved it permits what it held.

use protocol::policy::Action;
use protocol::policy::explain::rule_cedar;
use protocol::policy::lint::lint;

use crate::world::{Call, bundle};

/// Holds changes, and says nothing of anything else.
const HOLDS: &str = r#"@action("require_approval") @id("changes")
    forbid (principal, action, resource == Target::"store/shop/set_it")
    when { context.server == "shop" };"#;

/// What is said of a call before and after it was approved.
fn says(documents: &[(&str, &str)], tool: &str) -> [String; 2] {
    let bundle = bundle(documents, &[]);
    [false, true].map(|approved| {
        let mut call = Call::tool(tool);
        call.approved = approved;
        let said = call.says(&bundle);
        // Whole rules, as `policy show --cedar` prints them, say the same.
        let whole = call.facts(|facts| bundle.evaluate_unsliced(facts));
        assert_eq!(crate::world::said(&whole), said);
        said
    })
}

#[test]
fn what_it_holds_passes_once_it_is_approved() {
    assert_eq!(says(&[("p", HOLDS)], "set_it"), ["hold forbidden", "allow"]);
    let mut call = Call::tool("set_it");
    call.approved = true;
    let decision = call.decide(&bundle(&[("p", HOLDS)], &[]));
    assert_eq!(decision.granted_by, ["p"]);
    assert!(decision.violations.is_empty(), "{:?}", decision.violations);
}

/// What is said of a document is what it does.
#[test]
fn what_it_is_for_is_said() {
    let forbid = "forbid (principal, action, resource) when { context.server == \"shop\" };";
    let permit = "permit (principal, action, resource) when { context.server == \"bank\" };";
    let holds = format!("@action(\"require_approval\") {forbid}");
    let tells = format!("@action(\"alert\") {forbid}");
    let observes = format!("@mode(\"observe\") {holds} @mode(\"observe\") {permit}");
    let both = "permits and restricts; permits what is approved under it";
    let held = "restricts; permits what is approved under it";
    for (text, effect, permits, action) in [
        (permit.to_owned(), "permits", (true, false), None),
        (
            forbid.to_owned(),
            "restricts",
            (false, false),
            Some("block"),
        ),
        (holds.clone(), held, (false, true), Some("require_approval")),
        (
            format!("{holds} {permit}"),
            both,
            (true, true),
            Some("require_approval"),
        ),
        (format!("{holds} {tells}"), held, (false, true), None),
        (
            format!("{forbid} {permit}"),
            "permits and restricts",
            (true, false),
            Some("block"),
        ),
        (observes.clone(), "only observes", (false, false), None),
        (
            format!("{observes} {forbid}"),
            "restricts",
            (false, false),
            Some("block"),
        ),
    ] {
        let bundle = bundle(&[("p", &text)], &[]);
        let policy = bundle.policy("p").unwrap();
        assert_eq!(policy.effect(), effect, "{text}");
        let said = (policy.grants(), policy.permits_approved());
        assert_eq!(said, permits, "{text}");
        assert_eq!(policy.action().map(Action::name), action, "{text}");
    }
}

#[test]
fn approving_permits_nothing_that_it_does_not_hold() {
    let denied = ["deny not_permitted", "deny not_permitted"];
    assert_eq!(says(&[("p", HOLDS)], "get_it"), denied);
    let permits = ("q", r#"{"policy_name": "q", "allowed_tools": ["*/get_*"]}"#);
    let allowed = ["allow", "allow"];
    assert_eq!(says(&[("p", HOLDS), permits], "get_it"), allowed);
}

#[test]
fn its_author_may_ask_for_the_approval_too() {
    for condition in [
        "unless { context.approved }",
        "when { !context.approved }",
        "unless { context[\"approved\"] || context.agent == \"robot\" }",
        "when { if context.approved then false else context.server == \"shop\" }",
    ] {
        let text = format!(
            "@action(\"require_approval\") forbid (principal, action, resource) {condition};"
        );
        let held = ["hold forbidden", "allow"];
        assert_eq!(says(&[("p", &text)], "set_it"), held, "{condition}");
        let permits = ("q", r#"{"policy_name": "q", "allowed_tools": ["*/*"]}"#);
        assert_eq!(
            says(&[("p", &text), permits], "set_it"),
            held,
            "{condition}"
        );
    }
}

#[test]
fn a_forbid_of_another_action_stands_whatever_is_approved() {
    for (action, said) in [
        ("", "deny forbidden"),
        ("@action(\"block\")", "deny forbidden"),
        ("@action(\"sever\")", "sever forbidden"),
    ] {
        let text = HOLDS.replace("@action(\"require_approval\")", action);
        assert_eq!(says(&[("p", &text)], "set_it"), [said, said], "{action}");
        assert_eq!(bundle(&[("p", &text)], &[]).policies()[0].rules().len(), 1);
    }
}

#[test]
fn what_another_document_denies_stays_denied() {
    let denied = ["deny intent_restricted", "deny intent_restricted"];
    let json = r#"{"policy_name": "q", "restricted_intents": ["write"]}"#;
    assert_eq!(says(&[("p", HOLDS), ("q", json)], "set_it"), denied);
    let cedar = "forbid (principal, action, resource);";
    let denied = ["deny forbidden", "deny forbidden"];
    assert_eq!(says(&[("p", HOLDS), ("q", cedar)], "set_it"), denied);
    let both = format!("{HOLDS}\n{cedar}");
    assert_eq!(says(&[("p", &both)], "set_it"), denied);
    // Each that holds is to be approved; one approval of the call is all of theirs.
    let held = ["hold forbidden", "allow"];
    assert_eq!(says(&[("p", HOLDS), ("q", HOLDS)], "set_it"), held);
}

#[test]
fn one_that_only_observes_permits_nothing() {
    let text = format!("@mode(\"observe\") {HOLDS}");
    let denied = ["deny not_permitted", "deny not_permitted"];
    assert_eq!(says(&[("p", &text)], "set_it"), denied);
}

#[test]
fn what_it_becomes_is_cedar_that_says_the_same() {
    let documents = bundle(&[("p", HOLDS)], &[]);
    let policy = documents.policy("p").unwrap();
    let text = rule_cedar(policy, "/policy0").unwrap();
    assert!(text.contains("forbid") && text.contains("permit"), "{text}");
    assert_eq!(text.matches("context.approved").count(), 2, "{text}");
    assert_eq!(text.matches("@id(\"changes\")").count(), 2, "{text}");
    assert_eq!(says(&[("p", &text)], "set_it"), ["hold forbidden", "allow"]);
}

/// What it permits it first held, so it is no other way past a document that only restricts.
#[test]
fn lint_takes_it_for_no_permit() {
    let json = r#"{"policy_name": "q", "restricted_intents": ["write"], "action_on_violation": "require_approval"}"#;
    let codes = |cedar: &str| {
        let found = lint(&bundle(&[("p", cedar), ("q", json)], &[])).findings;
        let names: Vec<&str> = found.iter().map(|f| f.code.name()).collect();
        names.join(" ")
    };
    assert_eq!(codes(HOLDS), "only_approved");
    assert_eq!(
        codes(
            &HOLDS
                .replace("@action(\"require_approval\")", "")
                .replace("forbid", "permit")
        ),
        ""
    );
}
