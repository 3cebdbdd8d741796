//! The sample server through its stdio, as a client sees it.

use serde_json::{Value, json};

use super::*;

/// What the server answers to `lines`, one value per line of its output.
fn converse(table: &mut Table, lines: &[&str]) -> Vec<Value> {
    let input = lines.iter().map(|l| format!("{l}\n")).collect::<String>();
    let mut output = Vec::new();
    serve(input.as_bytes(), &mut output, table).unwrap();
    let output = String::from_utf8(output).unwrap();
    assert!(output.is_empty() || output.ends_with('\n'));
    output
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect()
}

fn call(table: &mut Table, tool: &str, arguments: Value) -> Value {
    let request = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": tool, "arguments": arguments},
    });
    converse(table, &[&request.to_string()]).remove(0)
}

#[test]
fn it_speaks_every_session_version() {
    let ask = |version: &str| {
        let request = json!({
            "jsonrpc": "2.0", "id": "i", "method": "initialize",
            "params": {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}},
        });
        let answers = converse(
            &mut Table::in_memory(),
            &[
                &request.to_string(),
                r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            ],
        );
        assert_eq!(answers.len(), 1);
        assert_eq!(answers[0]["id"], "i");
        assert!(answers[0]["result"]["capabilities"]["tools"].is_object());
        answers[0]["result"]["protocolVersion"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        assert_eq!(ask(version), version);
    }
    assert_eq!(ask("1999-01-01"), "2025-11-25");
}

#[test]
fn its_tools_have_schemas_and_hints() {
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let answer = converse(&mut Table::in_memory(), &[list]).remove(0);
    let tools = answer["result"]["tools"].as_array().unwrap();
    let read_only: Vec<(&str, bool)> = tools
        .iter()
        .map(|t| {
            assert_eq!(t["inputSchema"]["type"], "object");
            assert_eq!(t["outputSchema"]["type"], "object");
            (
                t["name"].as_str().unwrap(),
                t["annotations"]["readOnlyHint"].as_bool().unwrap(),
            )
        })
        .collect();
    let expected = [
        ("get_product_info", true),
        ("check_inventory", true),
        ("update_price", false),
        ("delete_record", false),
    ];
    assert_eq!(read_only, expected);
}

#[test]
fn the_table_really_changes() {
    let mut table = Table::in_memory();
    let info = call(&mut table, "get_product_info", json!({"sku": "HR-1001"}));
    let content = &info["result"]["structuredContent"];
    assert_eq!(
        (&content["name"], &content["price"]),
        (&json!("Hedge shears"), &json!("34.90"))
    );
    let text = info["result"]["content"][0]["text"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), *content);

    let stock = call(&mut table, "check_inventory", json!({"sku": "HR-1001"}));
    assert_eq!(stock["result"]["structuredContent"]["total"], 52);
    let arguments = json!({"sku": "HR-1001", "location": "shop"});
    let stock = call(&mut table, "check_inventory", arguments);
    assert_eq!(
        stock["result"]["structuredContent"]["stock"],
        json!({"shop": 12})
    );

    let changed = call(
        &mut table,
        "update_price",
        json!({"sku": "HR-1001", "price": "29.95"}),
    );
    assert_eq!(
        changed["result"]["structuredContent"],
        json!({"sku": "HR-1001", "old_price": "34.90", "new_price": "29.95"})
    );
    let info = call(&mut table, "get_product_info", json!({"sku": "HR-1001"}));
    assert_eq!(info["result"]["structuredContent"]["price"], "29.95");

    let gone = call(&mut table, "delete_record", json!({"sku": "HR-1001"}));
    assert_eq!(gone["result"]["structuredContent"]["deleted"], true);
    for tool in ["get_product_info", "check_inventory", "delete_record"] {
        let answer = call(&mut table, tool, json!({"sku": "HR-1001"}));
        assert_eq!(answer["result"]["isError"], true, "{tool}");
        assert!(answer["result"]["structuredContent"].is_null());
    }
}

#[test]
fn what_is_wrong_about_products_is_a_result() {
    let mut table = Table::in_memory();
    for (tool, arguments) in [
        ("get_product_info", json!({"sku": "none"})),
        ("check_inventory", json!({"sku": "none"})),
        (
            "check_inventory",
            json!({"sku": "HR-1001", "location": "moon"}),
        ),
        ("update_price", json!({"sku": "none", "price": 1})),
        ("delete_record", json!({"sku": "none"})),
    ] {
        let answer = call(&mut table, tool, arguments);
        assert_eq!(answer["result"]["isError"], true, "{tool}");
    }
}

#[test]
fn what_is_wrong_about_the_call_is_an_error() {
    let mut table = Table::in_memory();
    for (tool, arguments) in [
        ("no_such_tool", json!({})),
        ("get_product_info", json!({})),
        ("get_product_info", json!({"sku": 7})),
        ("get_product_info", json!({"sku": ""})),
        ("get_product_info", json!({"sku": "x".repeat(65)})),
        ("get_product_info", json!({"sku": "HR-1001", "more": 1})),
        ("get_product_info", json!([])),
        ("update_price", json!({"sku": "HR-1001"})),
        ("update_price", json!({"sku": "HR-1001", "price": "much"})),
    ] {
        let answer = call(&mut table, tool, arguments);
        assert_eq!(answer["error"]["code"], -32602, "{tool}");
        assert_eq!(answer["id"], 1);
    }
    let answers = converse(
        &mut table,
        &[
            "nonsense",
            "",
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":5,"method":"resources/list"}"#,
            r#"{"jsonrpc":"2.0","id":9,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#,
        ],
    );
    let codes: Vec<&Value> = answers.iter().map(|a| &a["error"]["code"]).collect();
    assert_eq!(
        codes,
        [&json!(-32700), &json!(-32600), &json!(-32601), &Value::Null]
    );
    assert_eq!(
        (&answers[3]["id"], &answers[3]["result"]),
        (&json!("p"), &json!({}))
    );
}

#[test]
fn a_line_without_end_is_refused() {
    let long = vec![b' '; MAX_MESSAGE_BYTES + 1];
    let served = serve(long.as_slice(), Vec::new(), &mut Table::in_memory());
    assert!(matches!(served, Err(SampleError::LineTooLong)));
}

#[test]
fn a_table_file_keeps_changes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("table.json");
    let mut table = Table::open(&path).unwrap();
    call(
        &mut table,
        "update_price",
        json!({"sku": "HR-1004", "price": "5"}),
    );
    call(&mut table, "delete_record", json!({"sku": "HR-1003"}));
    let table = Table::open(&path).unwrap();
    assert_eq!(table.product("HR-1004").unwrap().price_cents, 500);
    assert!(table.product("HR-1003").is_none());
    assert_eq!(table.skus().count(), 3);
    let files = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(files, 1, "nothing is left beside the table");
}

#[test]
fn a_table_that_cannot_be_saved_does_not_change() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("table.json");
    let mut table = Table::open(&path).unwrap();
    // A directory in the place of the new file: writing fails, whoever runs the test.
    std::fs::create_dir(dir.path().join("table.json.new")).unwrap();
    let answer = call(&mut table, "delete_record", json!({"sku": "HR-1001"}));
    assert_eq!(answer["result"]["isError"], true);
    assert!(table.product("HR-1001").is_some());
}

#[test]
fn a_file_that_is_no_table_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("table.json");
    std::fs::write(&path, "[]").unwrap();
    assert!(matches!(
        Table::open(&path),
        Err(TableError::Malformed { .. })
    ));
    std::fs::write(&path, vec![b' '; 4 * 1024 * 1024 + 1]).unwrap();
    assert!(matches!(
        Table::open(&path),
        Err(TableError::TooLarge { .. })
    ));
    assert!(matches!(
        Table::open(dir.path()),
        Err(TableError::File { .. })
    ));
}

/// The golden digest of a tool definition: SHA-256 made by another implementation over label and
/// canonical form, each with its length before it.
#[test]
fn tool_digests_are_those_of_the_specification() {
    let digest = |raw: &str| protocol::mcp::tool_digest(&hedgerow_crypto::Primitives, raw).unwrap();
    let raw = r#" {"name":"add", "inputSchema":{"type":"object","properties":{"a":{"type":"number","minimum":1.0}}},"description":"Adds a\/b \u00e9"}"#;
    let golden = "6fd781e42a4d58fc924ac2a1afa0c4ab1f6a110dee0c8338e83d2120e0a9abd3";
    assert_eq!(digest(raw).to_string(), golden);
    for changed in [
        raw.replace("1.0", "1"),
        raw.replace("Adds", "adds"),
        raw.replace(":1.0", ":1.0,\"x\":null"),
    ] {
        assert_ne!(digest(&changed).to_string(), golden);
    }
}
