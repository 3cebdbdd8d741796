//! What is found of documents, and what is not.

use protocol::policy::lint::{Code, Finding, lint};

use crate::world::{bundle, p};

/// Everything found of these documents, as `document path code`.
fn found(documents: &[(&str, &str)]) -> Vec<String> {
    let linted = lint(&bundle(documents, &[]));
    assert!(linted.whole);
    let told = |f: &Finding| {
        assert!(!f.why.is_empty() && !f.mend.is_empty());
        format!("{} {} {}", f.document, f.path, f.code.name())
    };
    linted.findings.iter().map(told).collect()
}

/// Of the document `p` of these members.
fn of(members: &str) -> Vec<String> {
    found(&[("p", &p(members))])
}

#[track_caller]
fn is(members: &str, expected: &[&str]) {
    assert_eq!(of(members), expected, "{members}");
}

#[test]
fn shadowed() {
    let seller = r#"{"policy_name": "seller", "subjects": {"groups": ["sales"]}, "servers": ["shop"],
        "allowed_tools": ["shop/update_price", "shop/get_price"]}"#;
    let never = r#"{"policy_name": "never", "restricted_intents": ["update_price"]}"#;
    let few = r#"{"policy_name": "few", "servers": ["shop"], "allowed_tools": ["shop/list_*"]}"#;
    assert_eq!(
        found(&[("seller", seller), ("never", never)]),
        ["seller /allowed_tools/0 shadowed"]
    );
    // Each names tools the other does not.
    assert_eq!(
        found(&[("seller", seller), ("few", few)]),
        [
            "seller /allowed_tools/0 shadowed",
            "seller /allowed_tools/1 shadowed"
        ]
    );
    // One that holds others' calls only, or only tells, takes nothing away.
    for other in [
        never.replace(
            "\"restricted",
            "\"subjects\": {\"groups\": [\"guests\"]}, \"restricted",
        ),
        never.replace("\"restricted", "\"servers\": [\"mall\"], \"restricted"),
        never.replace("]}", "], \"action_on_violation\": \"alert\"}"),
        never.replace("]}", "], \"mode\": \"observe\"}"),
    ] {
        assert_eq!(
            found(&[("seller", seller), ("never", &other)]),
            [""; 0],
            "{other}"
        );
    }
}

#[test]
fn redundant() {
    is(
        r#""servers": ["shop"], "allowed_tools": ["shop/*", "shop/get_price", "get_price"]"#,
        &["p /allowed_tools/1 redundant"],
    );
    // A bare name means less than a located one.
    is(
        r#""servers": ["shop"], "allowed_tools": ["get_*", "shop/get_price"]"#,
        &[],
    );
    is(
        r#""servers": ["a*", "ab"], "restricted_intents": ["x"]"#,
        &["p /servers/1 redundant"],
    );
    is(
        r#""restricted_intents": ["x", "y"], "intents": {"restricted": ["y"]}"#,
        &["p /restricted_intents/1 redundant"],
    );
    is(
        r#""labels": {"allowed": ["a"], "restricted": ["b"]}"#,
        &["p /labels/restricted/0 redundant"],
    );
    is(
        r#""location": {"networks": ["10.0.0.0/8", "10.1.0.0/16", "192.0.2.0/24", "2001:db8::/32", "2001:db8:1::1"]}"#,
        &[
            "p /location/networks/1 redundant",
            "p /location/networks/4 redundant",
        ],
    );
    let twin = |name: &str| {
        format!(
            r#"{{"policy_name": "{name}", "description": "{name}", "restricted_intents": ["x"]}}"#
        )
    };
    assert_eq!(
        found(&[("a", &twin("a")), ("b", &twin("b"))]),
        ["b  redundant"]
    );
}

#[test]
fn vacuous() {
    is(r#""description": "nothing""#, &["p  vacuous"]);
    is(
        r#""tools": ["shop/*"], "allowed_prompts": ["x"]"#,
        &["p /allowed_prompts vacuous"],
    );
    is(
        r#""resources": ["file:*"], "intents": {"pinned": true}, "arguments": {"/a": {"max": 1}}"#,
        &["p /arguments vacuous", "p /intents/pinned vacuous"],
    );
    is(
        r#""approval": {"within_s": 5}, "restricted_intents": ["x"]"#,
        &["p /approval vacuous"],
    );
    is(
        r#""approval": {"within_s": 5}, "restricted_intents": ["x"], "action_on_violation": "require_approval""#,
        &["p /action_on_violation only_approved"],
    );
    is(r#""time": {"utc_offset": "Z"}"#, &["p /time vacuous"]);
    is(
        r#""allowed_tools": ["shop/x"], "limits": {"calls": 1}, "action_on_violation": "require_approval""#,
        &["p /limits vacuous"],
    );
    is(
        r#""mode": "observe", "limits": {"calls": 1}, "on_result": {"tag": ["x"]}, "restricted_intents": ["x"]"#,
        &["p /limits vacuous", "p /on_result vacuous"],
    );
    is(
        r#""servers": ["shop"], "allowed_tools": ["crm/get_it", "shop/get_it"]"#,
        &["p /allowed_tools/0 vacuous"],
    );
    is(
        r#""resources": ["file:///a/*"], "allowed_resources": ["file:///a/../b", "http://X.org/*", "*.md"]"#,
        &[
            "p /allowed_resources/0 vacuous",
            "p /allowed_resources/1 vacuous",
        ],
    );
    is(
        r#""tools": ["refund_*"], "allowed_tools": ["shop/get_it", "shop/refund_*"]"#,
        &["p /allowed_tools/0 vacuous"],
    );
}

#[test]
fn contradictory() {
    is(
        r#""servers": ["shop"], "allowed_tools": ["shop/update_price"], "restricted_intents": ["update_price"]"#,
        &["p /allowed_tools/0 contradictory"],
    );
    is(
        r#""servers": ["shop"], "allowed_tools": ["shop/update_price"], "intents": {"allowed": ["read"]}"#,
        &["p /allowed_tools/0 contradictory"],
    );
    // What must be approved is permitted once it is.
    is(
        r#""servers": ["shop"], "allowed_tools": ["shop/update_price"], "restricted_intents": ["update_price"],
            "action_on_violation": "require_approval""#,
        &[],
    );
    is(
        r#""intents": {"allowed": ["read", "write"], "restricted": ["write"]}, "servers": ["shop"]"#,
        &["p /intents/allowed/1 contradictory"],
    );
    is(
        r#""labels": {"allowed": ["a"], "restricted": ["a"]}"#,
        &["p /labels/restricted/0 contradictory"],
    );
    for predicate in [
        r#"{"min": 5, "max": 4}"#,
        r#"{"equals": 5, "max": 4}"#,
        r#"{"one_of": ["a", "b"], "glob": "c*"}"#,
        r#"{"min": 1, "glob": "c*"}"#,
        r#"{"glob": "abc", "regex": "[a-z]{2}"}"#,
        r#"{"glob": "abc*d", "max_length": 3}"#,
        r#"{"regex": "[0-9é]{10}x?", "max_length": 9}"#,
    ] {
        is(
            &format!(r#""arguments": {{"/a": {predicate}}}"#),
            &["p /arguments/~1a contradictory"],
        );
    }
    is(
        r#""arguments": {"/a": {"min": 4, "max": 4, "one_of": [4, "x"]}}"#,
        &[],
    );
    for predicate in [
        r#"{"glob": "abc", "regex": "[a-z]{3}", "max_length": 3}"#,
        r#"{"glob": "ab*c", "max_length": 3}"#,
        r#"{"regex": "(a|[é-ö]{3,}b)", "max_length": 1}"#,
    ] {
        is(&format!(r#""arguments": {{"/a": {predicate}}}"#), &[]);
    }
}

/// Lists of what is restricted that name nothing.
#[test]
fn restricts_nothing() {
    let more = r#""servers": ["shop"], "allowed_tools": ["shop/get_it"]"#;
    for (members, at) in [
        (r#""restricted_intents": []"#, "/restricted_intents"),
        (r#""intents": {"restricted": []}"#, "/intents/restricted"),
        (r#""labels": {"restricted": []}"#, "/labels/restricted"),
    ] {
        is(&format!("{more}, {members}"), &[&format!("p {at} vacuous")]);
    }
    is(
        &format!(
            r#"{more}, "labels": {{"allowed": []}}, "restricted_intents": ["write"],
                "intents": {{"restricted": ["delete"], "pinned": true}}"#
        ),
        &[],
    );
}

/// Arguments asked for in two places, of which no value meets both.
#[test]
fn arguments_that_never_meet() {
    let apart = [
        (r#"{"equals": "A"}"#, r#"{"equals": "B"}"#),
        (r#"{"equals": "A"}"#, r#"{"equals": "B", "optional": true}"#),
        (r#"{"one_of": [1, 2]}"#, r#"{"one_of": [3, "1"]}"#),
        (
            r#"{"equals": 9007199254740993}"#,
            r#"{"equals": 9007199254740992}"#,
        ),
        (r#"{"min": 5}"#, r#"{"max": 4.9}"#),
        (r#"{"min": 5}"#, r#"{"glob": "5*"}"#),
        (r#"{"one_of": ["a", "b"]}"#, r#"{"regex": "[c-z]"}"#),
        (r#"{"glob": "a"}"#, r#"{"glob": "b*"}"#),
    ];
    let meet = [
        (r#"{"equals": 1}"#, r#"{"equals": 1.0}"#),
        (r#"{"one_of": [1, 2]}"#, r#"{"one_of": [2, 3]}"#),
        (r#"{"min": 5}"#, r#"{"max": 5}"#),
        (
            r#"{"equals": "A", "optional": true}"#,
            r#"{"equals": "B", "optional": true}"#,
        ),
        (r#"{"equals": [1]}"#, r#"{"max_length": 1}"#),
        (r#"{"glob": "a*"}"#, r#"{"glob": "*b"}"#),
    ];
    let on = |name: &str, at: &str, asks: &str, rest: &str| {
        format!(
            r#"{{"policy_name": "{name}", "servers": ["shop"], "arguments": {{"{at}": {asks}}}{rest}}}"#
        )
    };
    let grant = r#", "allowed_tools": ["shop/*"]"#;
    let both = [
        "a /arguments/~1x contradictory",
        "b /arguments/~1x contradictory",
    ];
    for (one, two) in apart {
        let (a, b) = (on("a", "/x", one, grant), on("b", "/x", two, ""));
        assert_eq!(found(&[("a", &a), ("b", &b)]), both, "{one} {two}");
        // Anywhere else, or where it does not deny, it takes nothing away.
        for other in [
            on("b", "/y", two, ""),
            b.replace("shop", "mall"),
            on("b", "/x", two, r#", "action_on_violation": "alert""#),
            on("b", "/x", two, r#", "mode": "observe""#),
            on("b", "/x", two, r#", "tools": ["shop/pay"]"#),
        ] {
            let none = found(&[("a", &a), ("b", &other)]);
            assert!(
                !none.iter().any(|f| f.starts_with("a ")),
                "{other}: {none:?}"
            );
        }
    }
    for (one, two) in meet {
        let (a, b) = (on("a", "/x", one, grant), on("b", "/x", two, ""));
        assert_eq!(found(&[("a", &a), ("b", &b)]), [""; 0], "{one} {two}");
    }
    // Within one document, beside its schema.
    let beside = |at: &str, asks: &str, schema: &str| {
        of(&format!(
            r#""arguments": {{"{at}": {asks}, "schema": {schema}}}"#
        ))
    };
    let schema = r#"{"properties": {"x": {"enum": ["B", "C"]}, "l": {"properties": {"0": false}}},
        "additionalProperties": {"type": "number"}}"#;
    for (at, asks) in [
        ("/x", r#"{"equals": "A"}"#),
        ("/x", r#"{"one_of": ["A", "D"]}"#),
        ("/y", r#"{"equals": "A"}"#),
    ] {
        let found = beside(at, asks, schema);
        assert_eq!(found, ["p /arguments/schema contradictory"], "{at} {asks}");
    }
    for (at, asks) in [
        ("/x", r#"{"one_of": ["A", "B"]}"#),
        ("/x", r#"{"equals": "A", "optional": true}"#),
        ("/x", r#"{"glob": "A*"}"#),
        ("/y", r#"{"equals": 1}"#),
        ("/l/0", r#"{"equals": 1}"#),
    ] {
        assert_eq!(beside(at, asks, schema), [""; 0], "{at} {asks}");
    }
}

/// A schema that nothing satisfies, by its simple bounds.
#[test]
fn schemas_nothing_satisfies() {
    for (schema, at) in [
        ("false", ""),
        (r#"{"type": "array"}"#, "/type"),
        (r#"{"enum": []}"#, "/enum"),
        (r#"{"enum": [1, "a"], "type": "object"}"#, "/enum"),
        (
            r#"{"required": ["a"], "additionalProperties": false}"#,
            "/required/0",
        ),
        (
            r#"{"required": ["b", "a"], "properties": {"a": false, "b": true}}"#,
            "/required/1",
        ),
        (
            r#"{"properties": {"a": {"minimum": 2, "maximum": 1}}}"#,
            "/properties/a/minimum",
        ),
        (
            r#"{"properties": {"a/b": {"minLength": 5, "maxLength": 2}}}"#,
            "/properties/a~1b/minLength",
        ),
        (
            r#"{"properties": {"a": {"items": {"minItems": 1, "maxItems": 0}}}}"#,
            "/properties/a/items/minItems",
        ),
        (
            r#"{"additionalProperties": {"type": "string", "const": 5}}"#,
            "/additionalProperties/const",
        ),
        (
            r#"{"properties": {"a": {"enum": ["abc"], "maxLength": 2}}}"#,
            "/properties/a/enum",
        ),
        (
            r#"{"properties": {"a": {"pattern": "^[0-9]{4,6}$", "minLength": 7}}}"#,
            "/properties/a/minLength",
        ),
        (
            r#"{"properties": {"a": {"pattern": "sk-[a-z]{20}", "maxLength": 22}}}"#,
            "/properties/a/maxLength",
        ),
    ] {
        is(
            &format!(r#""arguments": {{"schema": {schema}}}"#),
            &[&format!("p /arguments/schema{at} contradictory")],
        );
    }
    for schema in [
        "true",
        r#"{"additionalProperties": false}"#,
        r#"{"properties": {"a": false}}"#,
        r#"{"properties": {"a": true}, "required": ["a"], "additionalProperties": false}"#,
        r#"{"properties": {"a": {"minimum": 1, "maximum": 1, "enum": [1, "x"]}}}"#,
        r#"{"properties": {"a": {"pattern": "^[0-9]{4,6}$", "minLength": 6, "maxLength": 6}}}"#,
        r#"{"properties": {"a": {"pattern": "[0-9]{4}", "minLength": 7, "maxLength": 7}}}"#,
        r#"{"properties": {"a": {"pattern": "^é{3}|x$", "minLength": 7, "maxLength": 7}}}"#,
    ] {
        is(&format!(r#""arguments": {{"schema": {schema}}}"#), &[]);
    }
}

/// Documents about the same calls that hold at other times.
#[test]
fn times_that_never_meet() {
    let on = |name: &str, days: &str, rest: &str| {
        format!(
            r#"{{"policy_name": "{name}", "servers": ["shop"], "time": {{"days": [{days}]}}{rest}}}"#
        )
    };
    let times = |documents: &[(&str, &str)]| {
        let mut found = found(documents);
        found.retain(|f| f.contains("/time"));
        found
    };
    let grant = r#", "allowed_tools": ["shop/*"]"#;
    let (a, b) = (on("a", r#""mon""#, grant), on("b", r#""tue""#, ""));
    assert_eq!(
        times(&[("a", &a), ("b", &b)]),
        ["a /time contradictory", "b /time contradictory"]
    );
    // Only what lies within the scope of the other is surely lost.
    let wide = b.replace(r#""servers": ["shop"], "#, "");
    assert_eq!(times(&[("a", &a), ("b", &wide)]), ["a /time contradictory"]);
    // Three of which any two meet.
    let of = |name: &str, days: &str| on(name, days, "");
    let (c, d, e) = (
        of("c", r#""mon", "tue""#),
        of("d", r#""tue", "wed""#),
        of("e", r#""wed", "mon""#),
    );
    assert_eq!(times(&[("c", &c), ("d", &d)]), [""; 0]);
    assert_eq!(times(&[("c", &c), ("d", &d), ("e", &e)]).len(), 3);
    // Elsewhere, meeting, or not refused: nothing is lost.
    for other in [
        b.replace("shop", "mall"),
        b.replace("tue", "mon"),
        b.replace("]}", r#"]}, "action_on_violation": "alert""#),
        b.replace("]}", r#"]}, "action_on_violation": "require_approval""#),
        b.replace("]}", r#"]}, "mode": "observe""#),
    ] {
        assert_eq!(times(&[("a", &a), ("b", &other)]), [""; 0], "{other}");
    }
}

#[test]
fn over_broad() {
    is(
        r#""allowed_tools": ["*/*"]"#,
        &["p /allowed_tools/0 over_broad"],
    );
    is(
        r#""allowed_tools": ["*/*/*"]"#,
        &["p /allowed_tools/0 over_broad"],
    );
    is(
        r#""allowed_resources": ["*"]"#,
        &["p /allowed_resources/0 over_broad"],
    );
    is(
        r#""intents": {"allowed": ["read", "write"]}"#,
        &["p /intents/allowed/1 over_broad"],
    );
    is(
        r#""subjects": {"groups": ["a"], "agents": ["*/*"]}, "allowed_tools": ["*/*"]"#,
        &["p /subjects/agents/0 over_broad"],
    );
    // Everything approved, everything that reads, everything of one server.
    is(r#""allowed_tools": ["*"]"#, &[]);
    is(r#""intents": {"allowed": ["read"]}"#, &[]);
    is(r#""servers": ["shop"], "allowed_tools": ["*/*"]"#, &[]);
    assert_eq!(
        found(&[("c", "permit(principal, action, resource);")]),
        ["c /policy0 over_broad"]
    );
    let some = "permit(principal, action, resource) when { context.agent == \"a\" };";
    assert_eq!(found(&[("c", some)]), [""; 0]);
}

/// A pattern that every text has denies every result, however it is written.
#[test]
fn patterns_that_every_text_has() {
    is(
        r#""on_result": {"deny": ["", "sk-[a-z]+", ".*", "x?", "^", "^$"]}"#,
        &[
            "p /on_result/deny/0 over_broad",
            "p /on_result/deny/2 over_broad",
            "p /on_result/deny/3 over_broad",
            "p /on_result/deny/4 over_broad",
        ],
    );
}

#[test]
fn networks_that_hold_every_address() {
    is(
        r#""location": {"networks": ["0.0.0.0/0", "::/0"]}"#,
        &[
            "p /location/networks/0 over_broad",
            "p /location/networks/1 over_broad",
        ],
    );
    is(
        r#""location": {"networks": ["10.0.0.0/8", "::/0"]}"#,
        &["p /location/networks/1 over_broad"],
    );
    is(r#""location": {"networks": ["0.0.0.0/1", "::/1"]}"#, &[]);
}

/// Globs have `*` and nothing else; names have few characters.
#[test]
fn globs_that_no_name_is_like() {
    is(
        r#""subjects": {"nodes": ["web-?"], "groups": ["{a,b}"], "agents": ["desk/a[12]", "D*/x"]},
            "servers": ["s[ab]", "n?/s", "shop"], "restricted_intents": ["write"]"#,
        &[
            "p /servers/0 vacuous",
            "p /servers/1 vacuous",
            "p /subjects/agents/0 vacuous",
            "p /subjects/agents/1 vacuous",
            "p /subjects/groups/0 vacuous",
            "p /subjects/nodes/0 vacuous",
        ],
    );
    is(
        r#""tools": ["s?/x", "get_{a,b}"], "location": {"sites": ["berlin-[12]"]},
            "approval": {"by": {"groups": ["ops?"]}, "required": true}"#,
        &[
            "p /approval/by/groups/0 vacuous",
            "p /approval/required only_approved",
            "p /location/sites/0 vacuous",
            "p /tools/0 vacuous",
        ],
    );
    is(
        r#""subjects": {"humans": ["ada?@example.org"], "agents": ["*/a-1*"]}, "resources": ["https://x.org/x?y=*"], "restricted_intents": ["write"]"#,
        &[],
    );
}

#[test]
fn cedar_that_forbids_everything() {
    let forbid = "forbid(principal, action, resource);";
    let some = "permit(principal, action, resource) when { context.agent == \"a\" };";
    let both = format!("{some}\n{forbid}");
    assert_eq!(found(&[("c", &both)]), ["c /policy1 over_broad"]);
    for other in [
        "@action(\"alert\") forbid(principal, action, resource);",
        "@action(\"require_approval\") forbid(principal, action, resource);",
        "@mode(\"observe\") forbid(principal, action, resource);",
        "forbid(principal == Agent::\"desk/robot\", action, resource);",
    ] {
        assert_eq!(
            found(&[("c", &format!("{some}\n{other}"))]),
            [""; 0],
            "{other}"
        );
    }
}

/// Where the same is asked, the stricter document decides alone.
#[test]
fn a_milder_action_never_decides() {
    let with = |name: &str, rest: &str| {
        format!(r#"{{"policy_name": "{name}", "restricted_intents": ["delete"]{rest}}}"#)
    };
    let action = |action: &str| format!(r#", "action_on_violation": "{action}""#);
    let both = |milder: &str, stricter: &str| {
        let found = found(&[("a", &with("a", milder)), ("b", &with("b", stricter))]);
        found
            .into_iter()
            .filter(|f| f.ends_with("shadowed"))
            .collect::<Vec<_>>()
    };
    let shadowed = ["a /action_on_violation shadowed"];
    assert_eq!(both("", &action("sever")), shadowed);
    assert_eq!(both(&action("require_approval"), ""), shadowed);
    let servers = r#", "servers": ["shop"]"#;
    assert_eq!(both(servers, &action("sever")), shadowed);
    // It tells, where the stricter one does not; it is about more; it counts calls too.
    assert_eq!(both(&action("alert"), ""), [""; 0]);
    assert_eq!(both("", &(action("sever") + servers)), [""; 0]);
    assert_eq!(
        both(r#", "limits": {"calls": 1}"#, &action("sever")),
        [""; 0]
    );
    assert_eq!(
        both("", &(action("sever") + r#", "mode": "observe""#)),
        [""; 0]
    );
}

#[test]
fn only_what_is_approved() {
    let wipes = r#"{"policy_name": "wipes", "servers": ["odd"], "restricted_intents": ["delete"],
        "action_on_violation": "require_approval"}"#;
    assert_eq!(
        found(&[("wipes", wipes)]),
        ["wipes /action_on_violation only_approved"]
    );
    let all = r#"{"policy_name": "all", "allowed_tools": ["odd/*"]}"#;
    assert_eq!(found(&[("wipes", wipes), ("all", all)]), [""; 0]);
    let elsewhere = r#"{"policy_name": "all", "servers": ["shop"], "allowed_tools": ["shop/*"]}"#;
    assert_eq!(
        found(&[("wipes", wipes), ("all", elsewhere)]),
        ["wipes /action_on_violation only_approved"]
    );
    is(
        r#""servers": ["odd"], "approval": {"required": true}"#,
        &["p /approval/required only_approved"],
    );
}

#[test]
fn underivable() {
    is(
        r#""intents": {"allowed": ["raed"]}"#,
        &["p /intents/allowed/0 underivable"],
    );
    is(
        r#""restricted_intents": ["wipe-all", "wipe_all", "destructive"]"#,
        &["p /restricted_intents/0 underivable"],
    );
}

/// A test for each kind there is.
#[test]
fn every_kind_has_its_name() {
    let names: Vec<&str> = Code::ALL.iter().map(|code| code.name()).collect();
    let tested = [
        "shadowed",
        "redundant",
        "vacuous",
        "contradictory",
        "over_broad",
        "only_approved",
        "underivable",
    ];
    assert_eq!(names, tested);
}

/// Too many to compare each with each is said.
#[test]
fn work_is_bounded() {
    let documents: Vec<(String, String)> = (0..1100)
        .map(|n| {
            let text = format!(r#"{{"policy_name": "p{n}", "restricted_intents": ["w{n}"]}}"#);
            (format!("p{n}"), text)
        })
        .collect();
    let documents: Vec<(&str, &str)> = documents.iter().map(|(n, t)| (&**n, &**t)).collect();
    let linted = lint(&bundle(&documents, &[]));
    assert!(!linted.whole && linted.findings.is_empty());
}

/// Nobody is permitted anything for being who they are where nobody says who they are.
#[test]
fn humans_nobody_vouches_for() {
    let permits = r#"{"policy_name": "permits", "subjects": {"humans": ["ada@*"]}, "servers": ["shop"],
        "allowed_tools": ["shop/get_price"]}"#;
    let vouches = r#"{"policy_name": "vouches", "subjects": {"groups": ["desk"]},
        "vouches_for_humans": true}"#;
    let observing = vouches.replace("true}", "true, \"mode\": \"observe\"}");
    let vacuous = "permits /subjects/humans vacuous";
    assert_eq!(found(&[("permits", permits)]), [vacuous]);
    assert_eq!(
        found(&[("permits", permits), ("vouches", vouches)]),
        [""; 0]
    );
    assert_eq!(
        found(&[("permits", permits), ("vouches", &observing)]),
        [vacuous, "vouches /vouches_for_humans vacuous"]
    );
    // What only restricts needs nobody.
    is(
        r#""subjects": {"humans": ["eve@*"]}, "restricted_intents": ["write"]"#,
        &[],
    );
}

/// Nor can humans approve where nobody says who they are.
#[test]
fn approvers_nobody_vouches_for() {
    let held = |by: &str| {
        p(&format!(
            r#""servers": ["shop"], "allowed_tools": ["shop/*"], "approval": {{"required": true, "by": {by}}}"#
        ))
    };
    let vouches = r#"{"policy_name": "vouches", "subjects": {"groups": ["desk"]},
        "vouches_for_humans": true}"#;
    let ada = held(r#"{"humans": ["ada@*"]}"#);
    let vacuous = ["p /approval/by/humans vacuous"];
    assert_eq!(found(&[("p", &ada)]), vacuous);
    assert_eq!(found(&[("p", &ada), ("vouches", vouches)]), [""; 0]);
    let either = held(r#"{"humans": ["ada@*"], "groups": ["security"]}"#);
    assert_eq!(found(&[("p", &either)]), vacuous);
    assert_eq!(
        found(&[("p", &held(r#"{"groups": ["security"]}"#))]),
        [""; 0]
    );
}
