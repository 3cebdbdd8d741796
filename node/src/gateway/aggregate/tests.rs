//! The aggregate endpoint against scripted servers.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::gateway::Limits;
use crate::gateway::fake::{FakeFabric, FakeServer, ServerCall};
use crate::gateway::http_tests::{Bench, Events, INITIALIZE};
use crate::session::{ErrorKind, SessionError};

const ALL: &str = "/mcp";

/// A server with a tool, a prompt, a resource and a template, which echoes calls as it got them.
fn server(tag: &'static str) -> FakeServer {
    FakeServer::new(move |call| async move {
        let view = call.view();
        let page = view["params"]["cursor"].is_null();
        let result = match (view["method"].as_str().unwrap(), page) {
            ("tools/list", true) => {
                format!(r#"{{"tools":[ {{"x-{tag}":1.0,"name":"go"}}],"nextCursor":"\u0032"}}"#)
            }
            ("tools/list", false) => r#"{"tools":[{"name":"a__b"}]}"#.to_owned(),
            ("prompts/list", _) => r#"{"prompts":[{"name":"p"}]}"#.to_owned(),
            ("resources/list", _) => {
                r#"{"resources":[{"uri":"file:\/\/\/a b","name":"n"}]}"#.to_owned()
            }
            ("resources/templates/list", _) => {
                r#"{"resourceTemplates":[{"uriTemplate":"file:///{p}"}]}"#.to_owned()
            }
            _ => json!({ "at": tag, "raw": String::from_utf8_lossy(&call.request) }).to_string(),
        };
        call.result(&result).await;
    })
}

async fn ask(bench: &Bench, session: &str, method: &str, params: &str) -> Value {
    let body = format!(r#"{{"jsonrpc":"2.0","id":9,"method":"{method}","params":{params}}}"#);
    let response = bench.send(ALL, session, &body).await;
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

#[tokio::test]
async fn initialize_is_answered_without_a_server_and_in_the_clients_version() {
    let bench = Bench::with(&[], Limits::default()).await;
    for (asked, given) in [
        ("2025-03-26", "2025-03-26"),
        ("2025-11-25", "2025-11-25"),
        ("1999-01-01", "2025-11-25"),
    ] {
        let body = INITIALIZE.replace("2025-11-25", asked);
        let response = bench.post(ALL, body).send().await.unwrap();
        let answer: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        assert_eq!(answer["result"]["protocolVersion"], given);
        assert_eq!(
            answer["result"]["capabilities"]["resources"]["subscribe"],
            true
        );
    }
    let session = bench.open(ALL).await;
    assert_eq!(
        ask(&bench, &session, "ping", "{}").await["result"],
        json!({})
    );
    assert_eq!(
        ask(&bench, &session, "tools/list", "{}").await["result"],
        json!({"tools": []})
    );
}

#[tokio::test]
async fn lists_are_merged_with_qualified_names_and_all_pages() {
    let servers = [("one", "x", server("x")), ("two", "y", server("y"))];
    let bench = Bench::with(&servers, Limits::default()).await;
    let session = bench.open(ALL).await;
    let names = |list: &Value, field: &str, name: &str| -> Vec<String> {
        let items = list["result"][field].as_array().unwrap();
        items
            .iter()
            .map(|i| i[name].as_str().unwrap().to_owned())
            .collect()
    };
    let body = r#"{"jsonrpc":"2.0","id":"t","method":"tools/list"}"#;
    let text = bench.send(ALL, &session, body).await.text().await.unwrap();
    assert!(
        text.contains(r#"{"x-x":1.0,"name":"one__x__go"}"#),
        "{text}"
    );
    let tools: Value = serde_json::from_str(&text).unwrap();
    let expected = ["one__x__go", "one__x__a__b", "two__y__go", "two__y__a__b"];
    assert_eq!(names(&tools, "tools", "name"), expected);
    assert_eq!(tools["id"], "t");
    let prompts = ask(&bench, &session, "prompts/list", "{}").await;
    assert_eq!(
        names(&prompts, "prompts", "name"),
        ["one__x__p", "two__y__p"]
    );
    let resources = ask(&bench, &session, "resources/list", "{}").await;
    let expected = [
        "hedgerow://one/x/file:///a b",
        "hedgerow://two/y/file:///a b",
    ];
    assert_eq!(names(&resources, "resources", "uri"), expected);
    let templates = ask(&bench, &session, "resources/templates/list", "{}").await;
    let expected = [
        "hedgerow://one/x/file:///{p}",
        "hedgerow://two/y/file:///{p}",
    ];
    assert_eq!(
        names(&templates, "resourceTemplates", "uriTemplate"),
        expected
    );
    let cursor = ask(&bench, &session, "tools/list", r#"{"cursor":"x"}"#).await;
    assert_eq!(cursor["error"]["code"], -32602);
    let (_, _, fake) = &servers[0];
    let received = fake.received();
    assert_eq!(received[0], INITIALIZE, "the client's own initialize");
    assert!(received[1].windows(11).any(|w| w == b"initialized"));
    assert_eq!(received.len(), 2, "one session for all requests");
}

#[tokio::test]
async fn requests_go_to_the_named_server_in_its_own_terms() {
    let servers = [("one", "x", server("x")), ("two", "y", server("y"))];
    let bench = Bench::with(&servers, Limits::default()).await;
    let session = bench.open(ALL).await;
    for (method, qualified, own) in [
        (
            "tools/call",
            r#"{"n":1.0,"name":"two__y__a__b"}"#,
            r#"{"n":1.0,"name":"a__b"}"#,
        ),
        ("prompts/get", r#"{"name":"two__y__p"}"#, r#"{"name":"p"}"#),
        (
            "resources/read",
            r#"{"uri":"hedgerow://two/y/file:///a b"}"#,
            r#"{"uri":"file:///a b"}"#,
        ),
        (
            "resources/subscribe",
            r#"{"uri":"hedgerow://two/y/u"}"#,
            r#"{"uri":"u"}"#,
        ),
        (
            "resources/unsubscribe",
            r#"{"uri":"hedgerow://two/y/u"}"#,
            r#"{"uri":"u"}"#,
        ),
        (
            "completion/complete",
            r#"{"ref":{"type":"ref/prompt","name":"two__y__p"},"argument":{"name":"a","value":"v"}}"#,
            r#"{"ref":{"type":"ref/prompt","name":"p"},"argument":{"name":"a","value":"v"}}"#,
        ),
        (
            "completion/complete",
            r#"{"ref":{"type":"ref/resource","uri":"hedgerow://two/y/f/{p}"},"argument":{"name":"a","value":"v"}}"#,
            r#"{"ref":{"type":"ref/resource","uri":"f/{p}"},"argument":{"name":"a","value":"v"}}"#,
        ),
    ] {
        let answer = ask(&bench, &session, method, qualified).await;
        assert_eq!(answer["result"]["at"], "y", "{method}");
        let expected = format!(r#"{{"jsonrpc":"2.0","id":9,"method":"{method}","params":{own}}}"#);
        assert_eq!(answer["result"]["raw"], expected);
    }
    let (_, _, untouched) = &servers[0];
    assert!(
        untouched.received().is_empty(),
        "a server is opened when it is needed"
    );
}

#[tokio::test]
async fn what_names_nothing_is_refused_with_near_matches() {
    let bench = Bench::with(&[("one", "x", server("x"))], Limits::default()).await;
    let session = bench.open(ALL).await;
    ask(&bench, &session, "tools/list", "{}").await;
    for (method, params, code, reason, hint) in [
        (
            "tools/call",
            r#"{"name":"go"}"#,
            -32602,
            "unqualified_name",
            Some("did you mean `one__x__go`?"),
        ),
        (
            "tools/call",
            r#"{"name":"one__z__go"}"#,
            -32602,
            "unknown_server",
            Some("did you mean `one__x__go`?"),
        ),
        (
            "resources/read",
            r#"{"uri":"file:///a"}"#,
            -32602,
            "unqualified_name",
            Some("use `hedgerow://NODE/SERVER/URI` as listed"),
        ),
        (
            "tasks/get",
            r#"{"taskId":"1"}"#,
            -32601,
            "unknown_method",
            None,
        ),
    ] {
        let error = &ask(&bench, &session, method, params).await["error"];
        assert_eq!(
            (&error["code"], &error["data"]["reason"]),
            (&json!(code), &json!(reason))
        );
        if let Some(hint) = hint {
            assert_eq!(error["data"]["hint"], hint, "{method}");
        }
    }
}

#[tokio::test]
async fn servers_that_fail_are_left_out_and_named() {
    let mut denied = server("denied");
    denied.initialize = Err(SessionError::new(
        ErrorKind::Deny,
        "policy",
        "denied by `p`",
    ));
    let silent = FakeServer::new(|call| async move {
        call.to_client.closed().await;
    });
    let mut toolless = server("t");
    toolless.initialize =
        Ok(r#"{"jsonrpc":"2.0","id":ID,"result":{"capabilities":{}}}"#.to_owned());
    let servers = [
        ("one", "ok", server("x")),
        ("one", "denied", denied),
        ("one", "silent", silent),
        ("one", "toolless", toolless),
    ];
    let limits = Limits {
        list_wait: Duration::from_secs(2),
        ..Limits::default()
    };
    let fabric = FakeFabric::with(&servers);
    fabric.add("twin", 1, "a", server("a"));
    fabric.add("twin", 2, "b", server("b"));
    let bench = Bench::over(Arc::clone(&fabric), limits).await;
    let session = bench.open(ALL).await;
    let list = ask(&bench, &session, "tools/list", "{}").await;
    assert_eq!(list["result"]["tools"].as_array().unwrap().len(), 2);
    let omitted = list["result"]["_meta"][super::lists::OMITTED]
        .as_array()
        .unwrap();
    let reasons: Vec<_> = omitted
        .iter()
        .map(|o| (&o["server"], &o["reason"]))
        .collect();
    let expected = [
        ("denied", "policy"),
        ("silent", "list_timed_out"),
        ("a", "ambiguous_node"),
        ("b", "ambiguous_node"),
    ];
    let expected: Vec<_> = expected.iter().map(|(s, r)| (json!(s), json!(r))).collect();
    assert_eq!(
        reasons,
        expected.iter().map(|(s, r)| (s, r)).collect::<Vec<_>>()
    );
    let error = &ask(&bench, &session, "tools/call", r#"{"name":"twin__a__go"}"#).await["error"];
    assert_eq!(
        (&error["code"], &error["data"]["reason"]),
        (&json!(-32602), &json!("ambiguous_node"))
    );
    let error = &ask(
        &bench,
        &session,
        "tools/call",
        r#"{"name":"one__denied__go"}"#,
    )
    .await["error"];
    assert_eq!(
        (&error["code"], &error["data"]["reason"]),
        (&json!(-32050), &json!("policy"))
    );
}

#[tokio::test]
async fn requests_of_two_servers_with_one_id_do_not_collide() {
    let asking = |tag: &'static str| {
        FakeServer::new(move |mut call: ServerCall| async move {
            let ask = r#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{"_meta":{"progressToken":1}}}"#;
            call.say(ask).await;
            let progress = call.heard().await;
            let answer = call.heard().await;
            let result = json!({ "tag": tag, "token": progress["params"]["progressToken"],
                "id": answer["id"], "got": answer["result"] });
            call.result(&result.to_string()).await;
        })
    };
    let servers = [("one", "x", asking("x")), ("two", "y", asking("y"))];
    let bench = Bench::with(&servers, Limits::default()).await;
    let session = bench.open(ALL).await;
    let mut calls = Vec::new();
    for (id, name) in [(1, "one__x__go"), (2, "two__y__go")] {
        let call = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{name}"}}}}"#
        );
        let mut events = Events::of(bench.send(ALL, &session, &call).await);
        let asked = events.value().await;
        assert_eq!(asked["params"]["_meta"]["progressToken"], asked["id"]);
        calls.push((asked["id"].clone(), events));
    }
    assert_ne!(calls[0].0, calls[1].0);
    for (id, mut events) in calls.into_iter().rev() {
        let progress = format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{id},"progress":1}}}}"#
        );
        bench.send(ALL, &session, &progress).await;
        let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"for":{id}}}}}"#);
        bench.send(ALL, &session, &answer).await;
        let result = events.value().await["result"].clone();
        assert_eq!((&result["token"], &result["id"]), (&json!(1), &json!(1)));
        assert_eq!(result["got"]["for"], id);
    }
}

#[tokio::test]
async fn events_of_servers_reach_the_client_requalified_and_answers_return() {
    let servers = [("one", "x", server("x")), ("two", "y", server("y"))];
    let bench = Bench::with(&servers, Limits::default()).await;
    let session = bench.open(ALL).await;
    ask(&bench, &session, "tools/list", "{}").await;
    let mut events = bench.listen(ALL, &session, None).await;
    let (_, _, x) = &servers[0];
    let (_, _, y) = &servers[1];
    y.event(r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"u"}}"#)
        .await;
    assert_eq!(events.value().await["params"]["uri"], "hedgerow://two/y/u");
    let mut ids = Vec::new();
    for fake in [x, y] {
        fake.event(r#"{"jsonrpc":"2.0","id":"r","method":"roots/list"}"#)
            .await;
        ids.push(events.value().await["id"].clone());
    }
    assert_ne!(ids[0], ids[1]);
    for id in &ids {
        let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"roots":[{id}]}}}}"#);
        bench.send(ALL, &session, &answer).await;
    }
    for (fake, id) in [(x, &ids[0]), (y, &ids[1])] {
        let last: Value = serde_json::from_slice(fake.received().last().unwrap()).unwrap();
        assert_eq!(
            last,
            json!({"jsonrpc": "2.0", "id": "r", "result": {"roots": [id]}})
        );
    }
    let changed = r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#;
    bench.send(ALL, &session, changed).await;
    assert_eq!(x.received().last().unwrap(), changed);
    assert_eq!(y.received().last().unwrap(), changed);
}

#[tokio::test]
async fn a_server_whose_session_ended_is_opened_anew_with_the_level_set() {
    let fake = server("x");
    let bench = Bench::with(&[("one", "x", fake.clone())], Limits::default()).await;
    let session = bench.open(ALL).await;
    let level = ask(&bench, &session, "logging/setLevel", r#"{"level":"debug"}"#).await;
    assert_eq!(level["result"], json!({}));
    ask(&bench, &session, "tools/call", r#"{"name":"one__x__go"}"#).await;
    *fake.sessions.lock().unwrap().last_mut().unwrap() = None;
    // The end is noticed by a task of its own.
    while fake.closed.load(std::sync::atomic::Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let again = ask(&bench, &session, "tools/call", r#"{"name":"one__x__go"}"#).await;
    assert_eq!(again["result"]["at"], "x");
    assert_eq!(fake.sessions.lock().unwrap().len(), 2);
}

/// Answers with links, always the same.
const LINKED: &str = concat!(
    r#"{"contents":[{"uri":"memo:\/\/a","text":"memo://a"}], "#,
    r#""content":[ {"type":"resource_link","uri":"memo:\/\/a"},{"type":"text","text":"memo://a"}], "#,
    r#""messages":[{"content":{"type":"resource","resource":{"uri":"memo://a"}}}], "#,
    r#""structuredContent":{"uri":"memo://a"}, "asked": ASKED}"#
);

fn linking() -> FakeServer {
    FakeServer::new(move |call| async move {
        let asked = call.view()["params"].to_string();
        call.result(&LINKED.replace("ASKED", &asked)).await;
    })
}

#[tokio::test]
async fn links_in_answers_can_be_followed() {
    let bench = Bench::with(&[("one", "x", linking())], Limits::default()).await;
    let session = bench.open(ALL).await;
    for (method, params, at) in [
        (
            "resources/read",
            json!({"uri": "hedgerow://one/x/memo://a"}),
            "/contents/0/uri",
        ),
        (
            "tools/call",
            json!({"name": "one__x__go"}),
            "/content/0/uri",
        ),
        (
            "prompts/get",
            json!({"name": "one__x__p"}),
            "/messages/0/content/resource/uri",
        ),
    ] {
        let answer = ask(&bench, &session, method, &params.to_string()).await;
        let result = &answer["result"];
        assert_eq!(result.pointer(at).unwrap(), "hedgerow://one/x/memo://a");
        // Nothing else is another.
        let asked = result["asked"].to_string();
        let mut expected: Value = serde_json::from_str(&LINKED.replace("ASKED", &asked)).unwrap();
        *expected.pointer_mut(at).unwrap() = json!("hedgerow://one/x/memo://a");
        assert_eq!(*result, expected, "{method}");
        let uri = result.pointer(at).unwrap();
        let followed = json!({ "uri": uri }).to_string();
        let read = ask(&bench, &session, "resources/read", &followed).await;
        assert_eq!(read["result"]["asked"]["uri"], "memo://a");
        assert_eq!(read["result"]["contents"][0]["uri"], *uri);
    }
}

#[tokio::test]
async fn one_server_alone_answers_in_its_own_terms() {
    let bench = Bench::with(&[("one", "x", linking())], Limits::default()).await;
    let at = "/mcp/one/x";
    let session = bench.open(at).await;
    let params = r#"{"uri":"memo://a"}"#;
    let body = format!(r#"{{"jsonrpc":"2.0","id":9,"method":"resources/read","params":{params}}}"#);
    let text = bench.send(at, &session, &body).await.text().await.unwrap();
    assert!(text.contains(&LINKED.replace("ASKED", params)), "{text}");
}
