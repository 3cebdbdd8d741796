//! What the documentation shows: every policy in it holds and passes its own tests, and its table
//! names every key there is, with an example that has it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use protocol::policy::compile::CompiledPolicy;
use protocol::policy::document::{Document, SHAPES};
use protocol::policy::{CompiledBundle, Policy as _, lint::lint, testing};
use serde_json::Value;

use crate::world::{Call, bundle, listed, name, node};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

#[expect(clippy::disallowed_methods, reason = "the documentation is in files")]
fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The examples by their names.
fn examples() -> BTreeMap<String, String> {
    let listed = fs::read_dir(workspace().join("docs/policies")).unwrap();
    let files = listed.map(|entry| entry.unwrap().path());
    files
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, read(&path))
        })
        .collect()
}

/// Every policy that stands in a page, in a block of JSON.
fn shown() -> Vec<(String, String)> {
    let mut pages = vec![
        workspace().join("README.md"),
        workspace().join("SECURITY.md"),
    ];
    let docs = fs::read_dir(workspace().join("docs")).unwrap();
    pages.extend(docs.map(|entry| entry.unwrap().path()));
    pages.retain(|page| page.extension().is_some_and(|e| e == "md"));
    let mut out = Vec::new();
    for page in pages {
        let text = read(&page);
        let blocks = text.split("```json\n").skip(1);
        let blocks = blocks.filter_map(|rest| rest.split("```").next());
        let policies = blocks.filter(|block| block.contains("\"policy_name\""));
        out.extend(policies.map(|block| (page.display().to_string(), block.to_owned())));
    }
    out
}

fn compiled(source: &str, text: &str) -> CompiledBundle {
    let document = match Document::parse(source, text.as_bytes()) {
        Ok(document) => document,
        Err(errors) => panic!("{source}: {}", listed(&errors)),
    };
    CompiledBundle::of(1, vec![CompiledPolicy::of_document(document)], &[], &[])
}

/// An example beside the one that vouches for humans, which changes nothing for others.
fn compiled_beside(vouching: &str, source: &str, text: &str) -> CompiledBundle {
    let policies = compiled(source, text).policies().to_vec();
    let vouching = compiled("vouching", vouching).policies().to_vec();
    let beside = vouching
        .into_iter()
        .filter(|v| v.name() != policies[0].name());
    let all = policies.iter().cloned().chain(beside).collect();
    CompiledBundle::of(1, all, &[], &[])
}

#[test]
fn every_policy_in_the_docs_holds_and_passes_its_tests() {
    let shown = shown();
    assert!(!shown.is_empty());
    let examples = examples();
    let all = shown.iter().map(|(page, text)| (page, text));
    for (source, text) in all.chain(&examples) {
        let bundle = compiled(source, text);
        for outcome in testing::run(&bundle) {
            let (name, decision) = (&outcome.name, &outcome.decision);
            assert!(outcome.passed, "{source}: {name}: {decision:#?}");
        }
        let linted = lint(&compiled_beside(&examples["vouching"], source, text));
        assert!(
            linted.findings.is_empty(),
            "{source}: {:#?}",
            linted.findings
        );
    }
    for (name, text) in &examples {
        let bundle = compiled(name, text);
        assert!(
            bundle.policy(name).is_some(),
            "{name} names itself otherwise"
        );
        let document = bundle.policies()[0].document().unwrap();
        // The form documents are known by stands there as it is.
        let seed = name == "mcp_read_only_enforcement";
        assert_ne!(
            document.tests.is_empty(),
            !seed,
            "{name} has no tests of its own"
        );
    }
}

/// The two examples on humans, applied together: what the one vouches for the other permits.
#[test]
fn humans_are_permitted_where_the_examples_vouch_for_them() {
    let examples = examples();
    let (vouching, subjects) = (&examples["vouching"], &examples["subjects"]);
    let bundle = compiled_beside(vouching, "subjects", subjects);
    for outcome in testing::run(&bundle) {
        assert!(outcome.passed, "{outcome:#?}");
    }
    let mut call = Call::tool("get_ticket");
    call.server = name("tickets");
    call.human = Some("ada@example.org".to_owned());
    for (groups, vouched) in [(&["staff"][..], false), (&["front-desk"], true)] {
        call.caller = node("desk", groups);
        call.human_vouched = bundle.vouches_for_humans(call.caller.party());
        assert_eq!(call.human_vouched, vouched);
        let expected = if vouched {
            "allow"
        } else {
            "deny not_permitted"
        };
        assert_eq!(call.says(&bundle), expected);
    }
}

#[test]
fn the_seed_stands_verbatim_and_does_what_it_says() {
    let seed = "{\"policy_name\": \"mcp_read_only_enforcement\",
 \"allowed_tools\": [\"get_product_info\", \"check_inventory\"],
 \"restricted_intents\": [\"update_price\", \"delete_record\"],
 \"action_on_violation\": \"block_and_alert\"}\n";
    let examples = examples();
    assert_eq!(examples["mcp_read_only_enforcement"], seed);
    assert!(
        shown()
            .iter()
            .any(|(page, text)| page.ends_with("policy.md") && text == seed)
    );
    let bundle = bundle(
        &[("mcp_read_only_enforcement", seed)],
        &["get_product_info", "check_inventory"],
    );
    assert_eq!(Call::tool("get_product_info").says(&bundle), "allow");
    let denied = Call::tool("update_price").decide(&bundle);
    assert_eq!(denied.verdict.name(), "deny");
    assert!(denied.alerts().next().is_some());
}

/// The rows of the table: the key, and the example it names.
fn table() -> BTreeMap<String, String> {
    let page = read(&workspace().join("docs/policy.md"));
    let rows = page.lines().filter_map(|line| {
        let cells: Vec<&str> = line
            .strip_prefix("| `")?
            .strip_suffix(" |")?
            .split(" | ")
            .collect();
        let key = cells.first()?.strip_suffix('`')?;
        let example = cells
            .last()?
            .split("](policies/")
            .nth(1)?
            .strip_suffix(".json)")?;
        Some((key.to_owned(), example.to_owned()))
    });
    rows.collect()
}

/// Whether a value has the key at this place, `*` being any member or entry.
fn has(value: &Value, steps: &[&str]) -> bool {
    let Some((step, rest)) = steps.split_first() else {
        return true;
    };
    match value {
        Value::Object(members) if *step == "*" => members.values().any(|below| has(below, rest)),
        Value::Object(members) => members.get(*step).is_some_and(|below| has(below, rest)),
        Value::Array(items) => items.iter().any(|item| has(item, rest)),
        _ => false,
    }
}

/// Whether a schema has the keyword, at whatever depth.
fn has_keyword(value: &Value, keyword: &str) -> bool {
    match value {
        Value::Object(members) => members
            .iter()
            .any(|(key, below)| key == keyword || has_keyword(below, keyword)),
        Value::Array(items) => items.iter().any(|item| has_keyword(item, keyword)),
        _ => false,
    }
}

#[test]
fn the_table_has_every_key_with_an_example_that_uses_it() {
    let table = table();
    let examples = examples();
    let mut known = BTreeSet::new();
    for shape in SHAPES {
        for key in shape.keys {
            let path = format!("{}/{key}", shape.place).replace('/', ".");
            known.insert(path.trim_start_matches('.').to_owned());
        }
    }
    let listed: BTreeSet<String> = table.keys().cloned().collect();
    let missing: Vec<_> = known.difference(&listed).collect();
    let unknown: Vec<_> = listed.difference(&known).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "missing {missing:?}, unknown {unknown:?}"
    );
    for (key, example) in &table {
        let text = examples
            .get(example)
            .unwrap_or_else(|| panic!("no example {example}"));
        let json: Value = serde_json::from_str(text).unwrap();
        let there = match key.strip_prefix("arguments.schema.") {
            Some(keyword) => has_keyword(&json["arguments"]["schema"], keyword),
            None => has(&json, &key.split('.').collect::<Vec<_>>()),
        };
        assert!(there, "{example} has no {key}");
    }
    // No example stands there that nobody is told of.
    let told: BTreeSet<&String> = table.values().collect();
    for name in examples.keys() {
        assert!(told.contains(name), "no row names the example {name}");
    }
}
