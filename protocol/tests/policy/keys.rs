//! What each key of a document means.

use protocol::envelope::{Direction, Kind};
use protocol::policy::{
    Action, CompiledBundle, Obligation, Per, Policy as _, Posture, Verdict, testing,
};
use protocol::record::Point;
use protocol::time::UnixMillis;

use crate::world::{Call, body, bundle, name, node, one, p, said};

#[test]
fn prompts_and_resources_are_of_their_own_kind() {
    let bundle = one(
        r#""allowed_prompts": ["review*"], "allowed_resources": ["file:///srv/*"]"#,
        &[],
    );
    assert_eq!(Call::prompt("review_code").says(&bundle), "allow");
    assert_eq!(
        Call::prompt("other").says(&bundle),
        "deny prompt_not_allowed"
    );
    assert_eq!(Call::resource("file:///srv/a/b").says(&bundle), "allow");
    assert_eq!(
        Call::resource("file:///etc").says(&bundle),
        "deny resource_not_allowed"
    );
    assert_eq!(Call::tool("get_it").says(&bundle), "deny not_permitted");
}

#[test]
fn a_located_tool_needs_no_pin() {
    let bundle = one(r#""allowed_tools": ["shop/get_*", "store/*/list"]"#, &[]);
    let mut call = Call::tool("get_it");
    call.digest = None;
    assert_eq!(call.says(&bundle), "allow");
    assert_eq!(Call::tool("list").says(&bundle), "allow");
    call.server = name("mall");
    assert_eq!(call.says(&bundle), "deny tool_not_allowed");
}

#[test]
fn subjects_are_whoever_any_list_matches() {
    let members = r#""allowed_tools": ["shop/*"],
        "subjects": {"nodes": ["lap*"], "groups": ["staff", "prod-*"], "agents": ["desk/robot"]}"#;
    let bundle = one(members, &[]);
    let says = |caller: crate::world::Node, agent: &str| {
        let mut call = Call::tool("get_it");
        call.caller = caller;
        call.agent = name(agent);
        call.says(&bundle)
    };
    assert_eq!(says(node("desk", &["staff"]), "assistant"), "allow");
    assert_eq!(says(node("laptop", &[]), "assistant"), "allow");
    assert_eq!(says(node("desk", &["prod-eu"]), "assistant"), "allow");
    assert_eq!(says(node("desk", &[]), "robot"), "allow");
    assert_eq!(says(node("other", &[]), "robot"), "deny not_permitted");
    assert_eq!(
        says(node("desk", &["guests"]), "assistant"),
        "deny not_permitted"
    );
}

/// A human is asserted: it can only tighten, unless somebody may vouch.
#[test]
fn a_human_grants_only_if_vouched_for() {
    let members = r#""allowed_tools": ["shop/get_it"], "subjects": {"humans": ["ada@*"]}"#;
    let bundle = one(members, &[]);
    let mut call = Call::tool("get_it");
    assert_eq!(call.says(&bundle), "deny not_permitted");
    call.human = Some("ada@example".to_owned());
    assert_eq!(call.says(&bundle), "deny not_permitted");
    call.human_vouched = true;
    assert_eq!(call.says(&bundle), "allow");
    let mut other = Call::tool("set_it");
    other.human = Some("ada@example".to_owned());
    assert_eq!(other.says(&bundle), "deny tool_not_allowed");
}

/// Who vouches is said by documents that name nodes, and count.
#[test]
fn nodes_vouch_where_a_document_that_counts_says_so() {
    let vouching = |members: &str| bundle(&[("p", &p(members))], &[]);
    let vouches =
        r#""vouches_for_humans": true, "subjects": {"nodes": ["desk"], "groups": ["front-*"]}"#;
    let (desk, front) = (node("desk", &[]), node("other", &["front-eu"]));
    let other = node("other", &["staff"]);
    let says = |members: &str| {
        let bundle = vouching(members);
        [&desk, &front, &other].map(|node| bundle.vouches_for_humans(node.party()))
    };
    assert_eq!(says(vouches), [true, true, false]);
    let observing = format!("{vouches}, \"mode\": \"observe\"");
    assert_eq!(says(&observing), [false; 3]);
    assert_eq!(says(&vouches.replace("true", "false")), [false; 3]);
    assert_eq!(says(r#""subjects": {"nodes": ["desk"]}"#), [false; 3]);
    // It permits nothing, and forbids nothing that others permit.
    let all = r#"{"policy_name": "all", "allowed_tools": ["*/*"]}"#;
    let mut call = Call::tool("get_it");
    call.caller = node("desk", &[]);
    assert_eq!(call.says(&vouching(vouches)), "deny not_permitted");
    let both = bundle(&[("p", &p(vouches)), ("all", all)], &[]);
    assert_eq!(call.says(&both), "allow");
    let cedar = vouching(vouches).policy("p").unwrap().cedar();
    assert!(cedar.starts_with("// ") && !cedar.contains('\n'), "{cedar}");
}

#[test]
fn scope_narrows_what_a_document_is_about() {
    let grant = (
        "all",
        r#"{"policy_name": "all", "allowed_tools": ["*/*"], "allowed_resources": ["*"]}"#,
    );
    let members = r#""servers": ["store/shop"], "tools": ["set_*"], "labels": {"restricted": ["phi"]}, "device": {"secure_boot": true}"#;
    let bundle = bundle(&[grant, ("p", &p(members))], &[]);
    assert_eq!(Call::tool("get_it").says(&bundle), "allow");
    assert_eq!(Call::tool("set_it").says(&bundle), "deny device_not_fit");
    assert_eq!(Call::resource("set_it:x").says(&bundle), "allow");
    let mut elsewhere = Call::tool("set_it");
    elsewhere.host = node("barn", &[]);
    assert_eq!(elsewhere.says(&bundle), "allow");
}

#[test]
fn intents_allowed_and_pinned_make_a_starter() {
    let members = r#""intents": {"allowed": ["read"], "pinned": true}, "action_on_violation": "require_approval""#;
    let bundle = one(members, &["get_it", "set_it", "delete"]);
    assert_eq!(Call::tool("get_it").says(&bundle), "allow");
    assert_eq!(Call::resource("file:///a").says(&bundle), "allow");
    assert_eq!(
        Call::tool("set_it").says(&bundle),
        "hold intent_not_allowed"
    );
    assert_eq!(
        Call::tool("get_other").says(&bundle),
        "hold tool_not_pinned"
    );
    // Its own name is no word that means nothing.
    assert_eq!(
        Call::tool("delete").says(&bundle),
        "hold intent_not_allowed"
    );
    assert_eq!(
        Call::tool("frobnicate").says(&bundle),
        "hold intent_not_allowed"
    );
    let mut nothing = Call::tool("get_it");
    nothing.intents.clear();
    assert_eq!(nothing.says(&bundle), "hold intent_not_allowed");
    // Everything held passes once approved.
    let mut approved = Call::tool("set_it");
    approved.approved = true;
    assert_eq!(approved.says(&bundle), "allow");
    let held = Call::tool("set_it").decide(&bundle);
    let terms = held.approval.unwrap();
    assert_eq!((terms.within_s, terms.parts.len()), (300, 1));
}

#[test]
fn approval_required_holds_what_is_otherwise_met() {
    let members = r#""allowed_tools": ["shop/pay"], "approval": {"required": true, "within_s": 60, "by": {"groups": ["chiefs"]}}"#;
    let bundle = one(members, &[]);
    let mut call = Call::tool("pay");
    let decision = call.decide(&bundle);
    assert_eq!(said(&decision), "hold approval_required");
    let terms = decision.approval.unwrap();
    assert_eq!(terms.within_s, 60);
    let by = terms.parts[0].by.as_ref().unwrap();
    assert!(by.hold(node("x", &["chiefs"]).party(), "a", None));
    assert!(!by.hold(node("x", &[]).party(), "a", None));
    call.approved = true;
    assert_eq!(call.says(&bundle), "allow");
    // Approval is no way around the rest of the document.
    let mut other = Call::tool("steal");
    other.approved = true;
    assert_eq!(other.says(&bundle), "deny tool_not_allowed");
}

fn fit() -> Posture {
    Posture {
        os: "debian".to_owned(),
        kernel: (6, 1, 38),
        secure_boot: true,
        disk_encryption: true,
        uptime_s: 1000,
        binary: Some(protocol::id::Digest::from_bytes([0xab; 32])),
        hardening: vec!["apparmor".to_owned(), "lockdown".to_owned()],
        attested: false,
        age_s: 60,
    }
}

#[test]
fn device_is_a_minimum() {
    let binary = "ab".repeat(32);
    let asks = format!(
        r#""allowed_tools": ["shop/*"], "device": {{"os": ["debian*"], "min_kernel": "6.1.38", "secure_boot": true,
        "disk_encryption": true, "max_uptime_s": 1000, "binaries": ["{binary}"], "hardening": ["lockdown"], "max_age_s": 60}}"#
    );
    let bundle = one(&asks, &[]);
    let says = |alter: &dyn Fn(&mut Posture)| {
        let mut posture = fit();
        alter(&mut posture);
        let mut call = Call::tool("get_it");
        call.posture = Some(posture);
        call.says(&bundle)
    };
    assert_eq!(says(&|_| ()), "allow");
    let alterations: [&dyn Fn(&mut Posture); 9] = [
        &|p| p.os = "arch".to_owned(),
        &|p| p.kernel = (6, 1, 37),
        &|p| p.kernel = (5, 99, 99),
        &|p| p.secure_boot = false,
        &|p| p.disk_encryption = false,
        &|p| p.uptime_s = 1001,
        &|p| p.binary = None,
        &|p| p.hardening.clear(),
        &|p| p.age_s = 61,
    ];
    for alter in alterations {
        assert_eq!(says(alter), "deny device_not_fit");
    }
    assert_eq!(Call::tool("get_it").says(&bundle), "deny device_not_fit");
    let attested = one(
        r#""allowed_tools": ["shop/*"], "device": {"attested": true}"#,
        &[],
    );
    let mut call = Call::tool("get_it");
    call.posture = Some(fit());
    assert_eq!(call.says(&attested), "deny device_not_fit");
}

#[test]
fn location_is_site_and_address() {
    let members =
        r#""allowed_tools": ["shop/*"], "location": {"networks": ["10.0.0.0/8", "2001:db8::/32"]}"#;
    let bundle = one(members, &[]);
    let says = |address: Option<&str>| {
        let mut call = Call::tool("get_it");
        call.address = address.map(str::to_owned);
        call.says(&bundle)
    };
    for inside in [
        "10.1.2.3:80",
        "10.1.2.3",
        "[2001:db8::1]:80",
        "[::ffff:10.0.0.1]:80",
    ] {
        assert_eq!(says(Some(inside)), "allow", "{inside}");
    }
    for outside in [
        Some("11.0.0.1:80"),
        Some("[2001:db9::1]:80"),
        Some("10.x"),
        None,
    ] {
        assert_eq!(says(outside), "deny network_not_allowed", "{outside:?}");
    }
    // Where it starts nobody has seen its address yet.
    let mut ingress = Call::tool("get_it");
    ingress.point = Point::Ingress;
    ingress.address = None;
    assert_eq!(ingress.says(&bundle), "allow");
    let bundle = one(
        r#""allowed_tools": ["shop/*"], "location": {"sites": ["ber*"]}"#,
        &[],
    );
    let mut call = Call::tool("get_it");
    assert_eq!(call.says(&bundle), "deny site_not_allowed");
    call.caller.site = Some(name("berlin"));
    assert_eq!(call.says(&bundle), "allow");
}

#[test]
fn time_is_of_the_authors_clock() {
    let at = |day: u64, hour: u64, minute: u64| {
        // Monday, 5 January 2026, 00:00 UTC.
        UnixMillis(1_767_571_200_000 + ((day * 24 + hour) * 60 + minute) * 60_000)
    };
    let says = |time: &str, now: UnixMillis| {
        let bundle = one(
            &format!(r#""allowed_tools": ["shop/*"], "time": {time}"#),
            &[],
        );
        let mut call = Call::tool("get_it");
        call.now = now;
        call.says(&bundle) == "allow"
    };
    let office = r#"{"days": ["mon", "tue", "wed", "thu", "fri"], "from": "09:00", "to": "17:30", "utc_offset": "+02:00"}"#;
    assert!(!says(office, at(0, 6, 59)));
    assert!(says(office, at(0, 7, 0)));
    assert!(says(office, at(4, 15, 29)));
    assert!(!says(office, at(4, 15, 30)));
    assert!(!says(office, at(5, 10, 0)));
    // Over midnight, and over the end of the week.
    let night = r#"{"days": ["sun"], "from": "22:00", "to": "06:00"}"#;
    assert!(says(night, at(6, 23, 0)));
    assert!(says(night, at(0, 5, 59)));
    assert!(!says(night, at(0, 6, 0)));
    assert!(!says(night, at(6, 5, 0)));
    let early = r#"{"days": ["mon"], "from": "00:00", "to": "02:00", "utc_offset": "+05:30"}"#;
    assert!(says(early, at(6, 18, 30)));
    assert!(!says(early, at(6, 20, 30)));
}

#[test]
fn arguments_are_for_the_edges() {
    let members = r#""allowed_tools": ["shop/order"], "arguments": {
        "/amount": {"min": 1, "max": 100},
        "/where": {"one_of": ["berlin", "oslo"]},
        "/note": {"max_length": 5, "optional": true},
        "/path": {"glob": "/srv/*", "optional": true},
        "/ref/0": {"regex": "[a-z]+", "optional": true}}"#;
    let bundle = one(members, &[]);
    let says = |json: &str| Call::tool("order").arguments(json).says(&bundle);
    assert_eq!(says(r#"{"amount": 100, "where": "oslo"}"#), "allow");
    assert_eq!(
        says(
            r#"{"amount": 1.0, "where": "berlin", "note": "abcde", "path": "/srv/x", "ref": ["abc"]}"#
        ),
        "allow"
    );
    for bad in [
        r#"{"amount": 101, "where": "oslo"}"#,
        r#"{"amount": "5", "where": "oslo"}"#,
        r#"{"amount": 5}"#,
        r#"{"amount": 5, "where": "rome"}"#,
        r#"{"amount": 5, "where": "oslo", "note": "abcdef"}"#,
        r#"{"amount": 5, "where": "oslo", "path": "/etc"}"#,
        r#"{"amount": 5, "where": "oslo", "ref": ["a1"]}"#,
        r#"{"amount": 5, "where": "oslo", "amount": 500}"#,
        "[]",
        "{",
    ] {
        assert_eq!(says(bad), "deny argument_not_allowed", "{bad}");
        let relayed = Call::tool("order").arguments(bad).relayed().says(&bundle);
        assert_eq!(relayed, "allow", "{bad}");
    }
}

#[test]
fn arguments_by_schema() {
    let members = r#""allowed_tools": ["shop/order"], "arguments": {"schema": {
        "type": "object", "required": ["id"], "additionalProperties": false,
        "properties": {"id": {"type": "integer", "minimum": 1},
            "tags": {"type": "array", "maxItems": 2, "items": {"enum": ["a", "b"]}},
            "code": {"type": ["string", "null"], "pattern": "^x", "minLength": 2}}}}"#;
    let bundle = one(members, &[]);
    let says = |json: &str| Call::tool("order").arguments(json).says(&bundle);
    for good in [
        r#"{"id": 1}"#,
        r#"{"id": 2.0, "tags": ["a", "b"], "code": "xy"}"#,
        r#"{"id": 3, "code": null}"#,
    ] {
        assert_eq!(says(good), "allow", "{good}");
    }
    for bad in [
        "{}",
        r#"{"id": 0}"#,
        r#"{"id": 1.5}"#,
        r#"{"id": 1, "more": 1}"#,
        r#"{"id": 1, "tags": ["c"]}"#,
        r#"{"id": 1, "tags": ["a", "a", "a"]}"#,
        r#"{"id": 1, "code": "x"}"#,
        r#"{"id": 1, "code": "yy"}"#,
    ] {
        assert_eq!(says(bad), "deny argument_not_allowed", "{bad}");
    }
}

#[test]
fn labels_of_header_and_bundle() {
    let grant = ("all", r#"{"policy_name": "all", "allowed_tools": ["*/*"]}"#);
    let none = bundle(
        &[grant, ("p", &p(r#""labels": {"restricted": ["phi"]}"#))],
        &[],
    );
    assert_eq!(Call::tool("get_it").says(&none), "allow");
    assert_eq!(
        Call::tool("get_patient").says(&none),
        "deny label_not_allowed"
    );
    let mut call = Call::tool("get_it");
    call.labels = vec!["phi".to_owned()];
    assert_eq!(call.says(&none), "deny label_not_allowed");
    let some = bundle(
        &[grant, ("p", &p(r#""labels": {"allowed": ["pci"]}"#))],
        &[],
    );
    assert_eq!(call.says(&some), "deny label_not_allowed");
    call.labels = vec!["pci".to_owned()];
    assert_eq!(call.says(&some), "allow");
}

#[test]
fn a_refusal_names_the_labels_that_are_not_allowed_alone() {
    for (labels, named) in [
        (r#"{"restricted": ["phi"]}"#, "`phi`"),
        (r#"{"allowed": ["audit", "b2"]}"#, "`phi`"),
        (
            r#"{"allowed": ["b2", "phi"], "restricted": ["phi"]}"#,
            "`audit`, `phi`",
        ),
    ] {
        let bundle = one(&format!(r#""labels": {labels}"#), &[]);
        let mut call = Call::tool("get_it");
        call.labels = ["audit", "b2", "phi"].map(str::to_owned).to_vec();
        let said = &call.decide(&bundle).violations[0].message;
        let expected = format!("policy `p` does not allow data labelled {named}");
        assert_eq!(*said, expected);
    }
}

#[test]
fn a_waypoint_must_be_on_the_route() {
    let bundle = one(
        r#""allowed_tools": ["shop/*"], "via": "group:gateways""#,
        &[],
    );
    let mut call = Call::tool("get_it");
    assert_eq!(call.says(&bundle), "deny waypoint_missing");
    call.route = vec![
        call.caller.clone(),
        node("gate", &["gateways"]),
        call.host.clone(),
    ];
    assert_eq!(call.says(&bundle), "allow");
    let wanted: Vec<String> = call.facts(|f| {
        bundle
            .waypoints(f)
            .iter()
            .map(|w| format!("{} {} {}", w.policy, w.via, w.action.name()))
            .collect()
    });
    assert_eq!(wanted, ["p group:gateways block"]);
    let by_name = one(r#""allowed_tools": ["shop/*"], "via": "node:gate""#, &[]);
    assert_eq!(call.says(&by_name), "allow");
    call.route.remove(1);
    assert_eq!(call.says(&by_name), "deny waypoint_missing");
    let mut end = Call::tool("get_it");
    end.host = node("store", &["gateways"]);
    assert_eq!(end.says(&bundle), "allow");
}

#[test]
fn limits_are_for_the_enforcer() {
    let members = r#""allowed_tools": ["shop/*"], "limits": {"calls": 5, "bytes": 1000, "per": "node", "concurrent": 2}, "action_on_violation": "sever""#;
    let bundle = one(members, &[]);
    let limits = Call::tool("get_it").decide(&bundle).limits;
    assert_eq!(limits.len(), 1);
    assert_eq!(
        (limits[0].calls, limits[0].bytes, limits[0].concurrent),
        (Some(5), Some(1000), Some(2))
    );
    assert_eq!(
        (limits[0].window_s, limits[0].per, limits[0].action),
        (60, Per::Node, Action::Sever)
    );
}

#[test]
fn results_are_redacted_tagged_and_denied() {
    let members = r#""allowed_tools": ["shop/get_*"], "tools": ["get_*"], "on_result": {"redact": ["/content/0/text"], "deny": ["sk-[a-z0-9]{4}"], "tag": ["pci"]}"#;
    let bundle = one(members, &[]);
    let mut answer = Call::tool("get_it");
    answer.kind = Kind::Response;
    answer.direction = Direction::ToClient;
    answer.intents.clear();
    answer.body = Some(br#"{"jsonrpc":"2.0","id":1,"result":{"a":"fine"}}"#.to_vec());
    let obligations = vec![
        Obligation::Redact("/content/0/text".to_owned()),
        Obligation::Tag("pci".to_owned()),
    ];
    assert_eq!(answer.decide(&bundle).verdict, Verdict::Allow(obligations));
    // However it is spelled.
    answer.body = Some(br#"{"jsonrpc":"2.0","id":1,"result":{"a":["s\u006b-abc1"]}}"#.to_vec());
    assert_eq!(answer.says(&bundle), "deny result_denied");
    answer.body = Some(b"{".to_vec());
    assert_eq!(answer.says(&bundle), "deny result_denied");
    answer.target = Some("other".to_owned());
    assert_eq!(answer.says(&bundle), "allow");
}

#[test]
fn the_strictest_action_applies() {
    let grant = ("all", r#"{"policy_name": "all", "allowed_tools": ["*/*"]}"#);
    let with = |actions: &[&str]| {
        let documents: Vec<(String, String)> = actions
            .iter()
            .map(|action| {
                let text = format!(
                    r#"{{"policy_name": "{action}", "restricted_intents": ["set_it"], "action_on_violation": "{action}"}}"#
                );
                ((*action).to_owned(), text)
            })
            .collect();
        let mut all: Vec<(&str, &str)> = documents
            .iter()
            .map(|(n, t)| (n.as_str(), t.as_str()))
            .collect();
        all.push(grant);
        Call::tool("set_it").decide(&bundle(&all, &[]))
    };
    let order = [
        "alert",
        "require_approval",
        "block",
        "block_and_alert",
        "sever",
    ];
    for (at, verdict) in ["allow", "hold", "deny", "deny", "sever"]
        .iter()
        .enumerate()
    {
        let decision = with(&order[..=at]);
        assert_eq!(decision.verdict.name(), *verdict);
        assert_eq!(decision.violations.len(), at + 1);
        assert_eq!(decision.violations[0].action.name(), order[at]);
    }
    let alerted = with(&["alert"]);
    assert!(
        matches!(&alerted.verdict, Verdict::Allow(o) if matches!(o[..], [Obligation::Alert(_)]))
    );
}

#[test]
fn alert_alone_permits_nothing() {
    let bundle = one(
        r#""restricted_intents": ["set_it"], "action_on_violation": "alert""#,
        &[],
    );
    assert_eq!(Call::tool("set_it").says(&bundle), "deny not_permitted");
}

#[test]
fn observing_only_reports() {
    let grant = ("all", r#"{"policy_name": "all", "allowed_tools": ["*/*"]}"#);
    let watch =
        p(r#""allowed_tools": ["shop/get_it"], "mode": "observe", "action_on_violation": "sever""#);
    let bundle = bundle(&[grant, ("p", &watch)], &[]);
    let decision = Call::tool("set_it").decide(&bundle);
    assert_eq!(said(&decision), "allow");
    assert_eq!(decision.observed[0].reason, "tool_not_allowed");
    assert!(decision.violations.is_empty());
    let alone = crate::world::bundle(&[("p", &watch)], &[]);
    assert_eq!(Call::tool("get_it").says(&alone), "deny not_permitted");
}

#[test]
fn raw_cedar_means_what_cedar_says() {
    let text = r#"
        @policy_name("p")
        permit (principal, action == Action::"call", resource)
        when { context.server == "shop" && context.now < datetime("2030-01-01") };
        @action("sever") @id("no desk")
        forbid (principal == Agent::"desk/robot", action, resource == Target::"store/shop/set_it");
        @mode("observe")
        forbid (principal, action, resource) when { context.groups.contains("staff") };
    "#;
    let bundle = bundle(&[("p", text)], &[]);
    let mut call = Call::tool("set_it");
    let decision = call.decide(&bundle);
    assert_eq!(said(&decision), "allow");
    assert_eq!(decision.granted_by, ["p"]);
    assert_eq!(decision.observed.len(), 1);
    call.agent = name("robot");
    assert_eq!(call.says(&bundle), "sever forbidden");
    assert_eq!(call.decide(&bundle).violations[0].rule, "/policy1");
    call.server = name("mall");
    assert_eq!(call.says(&bundle), "deny not_permitted");
}

/// A forbid that cannot be evaluated must not vanish.
#[test]
fn a_cedar_error_denies() {
    let overflow = "forbid (principal, action, resource) when { context.week_minute + 9223372036854775807 > 0 };";
    let grant = ("all", r#"{"policy_name": "all", "allowed_tools": ["*/*"]}"#);
    let failing = bundle(&[grant, ("p", overflow)], &[]);
    let decision = Call::tool("get_it").decide(&failing);
    assert_eq!(said(&decision), "deny policy_error");
    assert_eq!(
        decision.verdict.denial().unwrap().policy.as_deref(),
        Some("p")
    );
    let observed = format!("@mode(\"observe\") {overflow}");
    let watching = bundle(&[grant, ("p", &observed)], &[]);
    assert_eq!(Call::tool("get_it").says(&watching), "allow");
}

#[test]
fn a_sampling_request_is_a_call_of_its_method() {
    let bundle = one(r#""intents": {"allowed": ["read", "sample"]}"#, &[]);
    let mut asks = Call::of("sampling/createMessage", None);
    asks.direction = Direction::ToClient;
    assert_eq!(asks.says(&bundle), "allow");
    let mut asks = Call::of("elicitation/create", None);
    asks.direction = Direction::ToClient;
    assert_eq!(asks.says(&bundle), "deny intent_not_allowed");
    asks.kind = Kind::Notification;
    assert_eq!(asks.says(&bundle), "allow");
}

#[test]
fn documents_test_themselves() {
    let text = r#"{"policy_name": "mcp_read_only_enforcement",
        "allowed_tools": ["get_product_info"], "action_on_violation": "sever",
        "tests": [
            {"name": "reads", "call": {"tool": "get_product_info"}, "expect": "allow", "by": "mcp_read_only_enforcement"},
            {"name": "unapproved", "call": {"tool": "get_product_info", "pinned": false}, "expect": "sever"},
            {"name": "wrong", "call": {"tool": "update_price"}, "expect": "allow"},
            {"name": "by another", "call": {"tool": "update_price"}, "expect": "sever", "by": "other"}]}"#;
    let bundle = bundle(&[("mcp_read_only_enforcement", text)], &[]);
    let outcomes = testing::run(&bundle);
    let passed: Vec<bool> = outcomes.iter().map(|o| o.passed).collect();
    assert_eq!(passed, [true, true, false, false]);
}

/// Where documents go by URIs, one with several readings is refused before they are asked, by the
/// header alone, and for every request that names one.
#[test]
fn a_uri_with_several_readings_is_denied_where_documents_name_uris() {
    let public = r#""allowed_resources": ["file:///public/*"]"#;
    let secret = r#""resources": ["file:///records/secret/*"], "approval": {"required": true}"#;
    let cedar = |text: &str| bundle(&[("all", ALL), ("p", text)], &[]);
    let naming = [
        one(public, &[]),
        bundle(&[("all", ALL), ("p", &p(secret))], &[]),
        cedar(r#"forbid (principal, action, resource) when { context.target like "file:///s*" };"#),
        cedar(r#"forbid (principal, action, resource == Target::"store/shop/file:///s");"#),
        cedar(r#"forbid (principal, action, resource) when { context["target"] == "file:///s" };"#),
    ];
    for bundle in &naming {
        for uri in [
            "file:///public/../records/secret/b",
            "file:///public/%2e%2e/records/secret/b",
            "file:///records/%73ecret/b",
        ] {
            let mut call = Call::resource(uri);
            for method in ["read", "subscribe", "unsubscribe"] {
                call.method = format!("resources/{method}");
                assert_eq!(call.says(bundle), "deny ambiguous_uri", "{uri}");
            }
            call.method = "completion/complete".to_owned();
            assert_eq!(call.says(bundle), "deny ambiguous_uri", "{uri}");
            assert_eq!(call.relayed().says(bundle), "deny ambiguous_uri", "{uri}");
            let denied = call.decide(bundle);
            let denial = denied.verdict.denial().unwrap();
            assert!(
                denial.message.contains("several ways: it has"),
                "{denial:?}"
            );
            assert!(
                denial.hint.as_ref().unwrap().starts_with("write"),
                "{denial:?}"
            );
        }
        let mut template = Call::of("completion/complete", Some("file:///public/{+path}"));
        assert_ne!(template.says(bundle), "deny ambiguous_uri");
        template.target = Some("file:///public/../{+path}".to_owned());
        assert_eq!(template.says(bundle), "deny ambiguous_uri");
        assert_ne!(
            Call::resource("file:///public/a").says(bundle),
            "deny ambiguous_uri"
        );
        // No URI, whatever it looks like.
        assert_ne!(
            Call::tool("file:///public/../a").says(bundle),
            "deny ambiguous_uri"
        );
    }
    assert_eq!(Call::resource("file:///public/a").says(&naming[0]), "allow");
}

/// Nothing else changes what URIs may look like.
#[test]
fn a_uri_may_look_like_anything_where_no_document_names_uris() {
    let observes = p(r#""mode": "observe", "resources": ["file:///s/*"], "via": "node:gate""#);
    let aside = r#"permit (principal, action, resource) when { context.agent == "a" };"#;
    let seen =
        r#"@mode("observe") forbid (principal, action, resource) when { context.target == "s" };"#;
    for other in [&observes, aside, seen] {
        let bundle = bundle(&[("all", ALL), ("p", other)], &[]);
        let call = Call::resource("file:///public/../records/%73ecret");
        assert_eq!(call.says(&bundle), "allow", "{other}");
    }
    // A label of a resource goes by its URI.
    let mut labelled = body(&[("all", ALL)], &[]);
    labelled.labels[0].target = "shop/file:///s/a".to_owned();
    let labelled = CompiledBundle::compile(1, &labelled).unwrap();
    assert_eq!(
        Call::resource("file:///%73/a").says(&labelled),
        "deny ambiguous_uri"
    );
}

/// Permits every resource, whatever its URI.
const ALL: &str = r#"{"policy_name": "all", "allowed_resources": ["*"]}"#;

/// `*` in a pointer into arguments stands for all that is there.
#[test]
fn every_entry_must_be_as_a_pointer_with_a_star_asks() {
    let says = |members: &str, arguments: &str| {
        let document = format!(r#""allowed_tools": ["*/*"], "arguments": {{{members}}}"#);
        let mut call = Call::tool("get_it");
        call.arguments(arguments);
        call.says(&one(&document, &[])) == "allow"
    };
    let (must, may) = (
        r#""/items/*/price": {"max": 100}"#,
        r#""/items/*/price": {"max": 100, "optional": true}"#,
    );
    for (arguments, by_must, by_may) in [
        (r#"{"items": [{"price": 100}]}"#, true, true),
        (r#"{"items": [{"price": 5000}]}"#, false, false),
        (
            r#"{"items": [{"price": 1}, {"price": 5000}]}"#,
            false,
            false,
        ),
        (r#"{"items": [{"price": 1}, {"price": 2}]}"#, true, true),
        (r#"{"items": [{"price": 1}, {}]}"#, false, true),
        (r#"{"items": [{"price": 1}, 7]}"#, false, true),
        (r#"{"items": [{"price": 1, "price": 2}]}"#, false, false),
        (r#"{"items": []}"#, false, true),
        (r#"{"items": 5000}"#, false, true),
        ("{}", false, true),
        // Whatever its entries are called.
        (r#"{"items": {"a": {"price": 5000}}}"#, false, false),
        (
            r#"{"items": {"a": {"price": 1}, "*": {"price": 2}}}"#,
            true,
            true,
        ),
        (
            r#"{"items": {"a": {"price": 1}, "*": {"price": 5000}}}"#,
            false,
            false,
        ),
        (r#"{"items": [{"price": 1}], "items": []}"#, false, false),
    ] {
        assert_eq!(says(must, arguments), by_must, "{arguments}");
        assert_eq!(says(may, arguments), by_may, "{arguments}");
    }
    let every = r#""/*": {"max": 1}"#;
    assert!(says(every, r#"{"a": 1, "b": 0}"#));
    assert!(!says(every, r#"{"a": 1, "b": 2}"#));
    let deep = r#""/a/*/*/b*/*": {"max": 1}"#;
    assert!(says(deep, r#"{"a": [[{"b*": [1]}], [{"b*": [0, 1]}]]}"#));
    assert!(!says(deep, r#"{"a": [[{"b*": [1]}], [{"b*": [0, 2]}]]}"#));
    // A star among other characters is one.
    let named = r#""/a*": {"max": 1}"#;
    assert!(says(named, r#"{"a*": 1, "ab": 2}"#));
}
