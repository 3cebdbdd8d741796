//! Sessions with real processes (`fixture`): what must hold whatever a server does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustix::process::Pid;
use serde_json::{Value, json};
use tokio::io::unix::AsyncFd;
use tokio_util::sync::CancellationToken;

use super::{
    INHERITED, Limits, Secret, ServerSpec, ServerState, SpecError, UpstreamError, Upstreams,
    fixture,
};
use crate::lane::Lane;
use crate::session::{ErrorKind, McpCall, McpSession, OpenSession, SessionError};
use protocol::name::Name;

/// No test waits longer than this for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// Delays that nobody waits for: a restart may happen at once.
pub(super) fn quick() -> Limits {
    Limits {
        backoff_first: Duration::ZERO,
        exit_grace: Duration::from_secs(10),
        inventory_debounce: Duration::from_millis(1),
        inventory_interval: Duration::ZERO,
        ..Limits::default()
    }
}

pub(super) fn name() -> Name {
    "fixture".parse().unwrap()
}

pub(super) fn upstreams(limits: Limits, spec: ServerSpec) -> Arc<Upstreams> {
    let crypto = Arc::new(hedgerow_crypto::Primitives);
    let upstreams = Upstreams::new(crypto, &CancellationToken::new(), limits, Lane::none());
    upstreams.add(name(), spec).unwrap();
    upstreams
}

pub(super) fn initialize() -> Bytes {
    Bytes::from_static(
        br#"{"jsonrpc":"2.0","id":"init","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#,
    )
}

pub(super) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("stuck")
}

pub(super) async fn open(upstreams: &Upstreams) -> OpenSession {
    let open = within(upstreams.open(&name(), initialize())).await.unwrap();
    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    open.session.send(bytes(&initialized)).await.unwrap();
    open
}

pub(super) fn bytes(value: &Value) -> Bytes {
    Bytes::from(value.to_string())
}

pub(super) fn tool(id: &Value, name: &str) -> Bytes {
    bytes(&json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
        "params": {"name": name, "arguments": {}, "_meta": {"progressToken": id}}}))
}

/// The last item of a call, after skipping the others.
pub(super) async fn finish(mut call: McpCall) -> Result<Value, SessionError> {
    let mut last = None;
    while let Some(item) = within(call.inbound.recv()).await {
        last = Some(item);
    }
    let bytes = last.expect("a call ends with a response or an error")?;
    Ok(serde_json::from_slice(&bytes).unwrap())
}

pub(super) async fn ask(
    session: &dyn McpSession,
    id: &Value,
    name: &str,
) -> Result<Value, SessionError> {
    finish(session.request(tool(id, name)).await?).await
}

pub(super) fn reason<T>(result: Result<T, SessionError>) -> String {
    result.err().expect("an error").reason
}

#[tokio::test]
async fn ids_are_restored_byte_for_byte_and_line_ends_cross_stdio() {
    let upstreams = upstreams(quick(), fixture::spec("serve"));
    let open = open(&upstreams).await;
    let response: Value = serde_json::from_slice(&open.response).unwrap();
    assert_eq!(response["id"], "init");
    let raw = "{\r\n \"jsonrpc\":\"2.0\",\n \"id\" : \"a\\u0062\",\n \"method\":\"tools/call\",\n \"params\":{\"name\":\"echo\",\"arguments\":{\"n\":1.0}}}\n";
    let mut call = open.session.request(Bytes::from(raw)).await.unwrap();
    let response = within(call.inbound.recv()).await.unwrap().unwrap();
    let text = std::str::from_utf8(&response).unwrap();
    assert!(text.contains(r#""id":"a\u0062""#), "{text}");
    assert!(text.contains(r#""n":1.0"#), "{text}");
    upstreams.shutdown().await;
}

#[tokio::test]
async fn responses_out_of_order_reach_their_callers() {
    let upstreams = upstreams(quick(), fixture::spec("serve"));
    let open = open(&upstreams).await;
    let first = open.session.request(tool(&json!(1), "hold")).await.unwrap();
    let second = open
        .session
        .request(tool(&json!("1"), "hold"))
        .await
        .unwrap();
    ask(&*open.session, &json!(2), "release").await.unwrap();
    assert_eq!(finish(second).await.unwrap()["id"], json!("1"));
    assert_eq!(finish(first).await.unwrap()["id"], json!(1));
    upstreams.shutdown().await;
}

#[tokio::test]
async fn an_id_or_token_in_flight_is_refused() {
    let upstreams = upstreams(quick(), fixture::spec("serve"));
    let open = open(&upstreams).await;
    let _held = open.session.request(tool(&json!(1), "hold")).await.unwrap();
    let again = open.session.request(tool(&json!(1), "echo")).await;
    assert_eq!(reason(again), "duplicate_request_id");
    let token = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call",
        "params": {"name": "echo", "_meta": {"progressToken": 1}}});
    let again = open.session.request(bytes(&token)).await;
    assert_eq!(reason(again), "duplicate_progress_token");
    upstreams.shutdown().await;
}

#[tokio::test]
async fn a_crash_fails_the_call_and_the_next_request_finds_the_server_restarted() {
    let upstreams = upstreams(quick(), fixture::spec("serve"));
    let open = open(&upstreams).await;
    let before = ask(&*open.session, &json!(1), "echo").await.unwrap();
    let error = ask(&*open.session, &json!(2), "crash").await.unwrap_err();
    assert_eq!(error.reason, "upstream_exited");
    assert_eq!(error.kind, ErrorKind::Upstream);
    assert_eq!(error.server.as_deref(), Some("fixture"));
    assert!(error.message.contains("exit code 3"), "{}", error.message);
    let after = ask(&*open.session, &json!(3), "echo").await.unwrap();
    assert_ne!(before["result"]["pid"], after["result"]["pid"]);
    let state = ask(&*open.session, &json!(4), "state").await.unwrap();
    assert_eq!(
        state["result"]["said"],
        json!(["notifications/initialized"])
    );
    assert_eq!(upstreams.list()[0].restarts, 1);
    upstreams.shutdown().await;
}

#[tokio::test]
async fn calls_fail_fast_while_a_crashed_server_is_not_tried_again() {
    let limits = Limits {
        backoff_first: Duration::from_secs(3600),
        backoff_max: Duration::from_secs(3600),
        ..quick()
    };
    let upstreams = upstreams(limits, fixture::spec("serve"));
    let open = open(&upstreams).await;
    ask(&*open.session, &json!(1), "crash").await.unwrap_err();
    let error = ask(&*open.session, &json!(2), "echo").await.unwrap_err();
    assert_eq!(error.reason, "upstream_backing_off");
    let hint = error.hint.unwrap();
    assert!(
        hint.starts_with("try again in ") && hint.ends_with(" s"),
        "{hint}"
    );
    // One session's crash keeps no other from the server.
    let other = super::tests::open(&upstreams).await;
    ask(&*other.session, &json!(1), "echo").await.unwrap();
    upstreams.shutdown().await;
}

#[tokio::test]
async fn a_line_over_the_bound_fails_what_may_wait_for_it_and_no_more() {
    let upstreams = upstreams(quick(), fixture::spec("serve"));
    let open = open(&upstreams).await;
    let error = ask(&*open.session, &json!(1), "long").await.unwrap_err();
    assert_eq!(error.reason, "upstream_message_too_large");
    ask(&*open.session, &json!(2), "echo").await.unwrap();
    assert_eq!(upstreams.list()[0].restarts, 0);
    upstreams.shutdown().await;
}

#[tokio::test]
async fn an_answer_that_is_no_usable_message_fails_its_call_at_once() {
    let upstreams = upstreams(quick(), fixture::spec("serve"));
    let open = open(&upstreams).await;
    let error = ask(&*open.session, &json!(1), "unreadable")
        .await
        .unwrap_err();
    assert_eq!(error.reason, "upstream_unreadable");
    assert!(error.message.contains("stands twice"), "{error:?}");
    assert!(error.hint.unwrap().contains("may have taken effect"));
    ask(&*open.session, &json!(2), "echo").await.unwrap();
    upstreams.shutdown().await;
}

#[tokio::test]
async fn an_endless_line_ends_the_process() {
    let upstreams = upstreams(quick(), fixture::spec("serve"));
    let open = open(&upstreams).await;
    let before = ask(&*open.session, &json!(1), "echo").await.unwrap();
    let watched = watch(&before["result"]["pid"]);
    let error = ask(&*open.session, &json!(2), "endless").await.unwrap_err();
    assert_eq!(error.reason, "upstream_message_too_large");
    within(watched.readable()).await.unwrap().retain_ready();
    let after = ask(&*open.session, &json!(3), "echo").await.unwrap();
    assert_ne!(before["result"]["pid"], after["result"]["pid"]);
    upstreams.shutdown().await;
}

#[tokio::test]
async fn lines_that_are_no_messages_are_skipped_and_counted() {
    let upstreams = upstreams(quick(), fixture::spec("serve"));
    let open = open(&upstreams).await;
    let before = upstreams.list()[0].skipped_lines;
    ask(&*open.session, &json!(1), "garbage").await.unwrap();
    let status = &upstreams.list()[0];
    assert!(status.skipped_lines >= before + 4, "{status:?}");
    assert_eq!(status.stray_responses, 1);
    upstreams.shutdown().await;
}

#[tokio::test]
async fn a_request_of_the_server_goes_to_the_only_call_and_its_answer_back() {
    let upstreams = upstreams(quick(), fixture::spec("serve"));
    let open = open(&upstreams).await;
    let mut call = open
        .session
        .request(tool(&json!(1), "sample"))
        .await
        .unwrap();
    let request = within(call.inbound.recv()).await.unwrap().unwrap();
    let request: Value = serde_json::from_slice(&request).unwrap();
    assert_eq!(request["id"], "s-1");
    let stranger = json!({"jsonrpc": "2.0", "id": "s-2", "result": {}});
    assert_eq!(
        reason(open.session.send(bytes(&stranger)).await),
        "unknown_server_request"
    );
    let answer = json!({"jsonrpc": "2.0", "id": "s-1", "result": {"text": "hello"}});
    call.outbound.send(bytes(&answer)).await.unwrap();
    let response = finish(call).await.unwrap();
    assert_eq!(response["result"]["client_said"], answer);
    assert_eq!(
        reason(open.session.send(bytes(&answer)).await),
        "unknown_server_request"
    );
    upstreams.shutdown().await;
}

#[tokio::test]
async fn what_a_server_asks_of_the_client_as_such_outlives_the_call_beside_it() {
    let upstreams = upstreams(quick(), fixture::spec("serve"));
    let mut open = open(&upstreams).await;
    let call = open.session.request(tool(&json!(1), "roots")).await;
    assert_eq!(finish(call.unwrap()).await.unwrap()["result"], json!({}));
    let request = within(open.events.recv()).await.unwrap();
    let request: Value = serde_json::from_slice(&request).unwrap();
    assert_eq!(request["method"], "roots/list");
    let answer = json!({"jsonrpc": "2.0", "id": "r-1", "result": {"roots": []}});
    open.session.send(bytes(&answer)).await.unwrap();
    assert_eq!(
        reason(open.session.send(bytes(&answer)).await),
        "unknown_server_request"
    );
    upstreams.shutdown().await;
}

#[tokio::test]
async fn a_server_that_asks_too_much_or_the_same_again_is_refused() {
    let upstreams = upstreams(quick(), fixture::spec("serve"));
    let open = open(&upstreams).await;
    let mut call = open.session.request(tool(&json!(1), "nag")).await.unwrap();
    let mut requests = 0;
    while let Some(message) = within(call.inbound.recv()).await {
        let message: Value = serde_json::from_slice(&message.unwrap()).unwrap();
        requests += u32::from(message.get("method").is_some());
    }
    assert_eq!(requests, 64);
    let state = ask(&*open.session, &json!(2), "state").await.unwrap();
    assert_eq!(state["result"]["refused"], 7);
    upstreams.shutdown().await;
}

#[tokio::test]
async fn one_client_whose_start_fails_keeps_no_other_out() {
    let limits = Limits {
        backoff_first: Duration::from_secs(3600),
        backoff_max: Duration::from_secs(3600),
        ..quick()
    };
    let upstreams = upstreams(limits, fixture::spec("serve"));
    let mut changes = upstreams.changes();
    let read = |_: &u64| upstreams.inventory(&name()).is_some();
    within(changes.wait_for(read)).await.unwrap();
    let poison = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {"crash": true}});
    let error = within(upstreams.open(&name(), bytes(&poison))).await;
    assert_eq!(reason(error), "upstream_start_failed");
    open(&upstreams).await;
    upstreams.shutdown().await;
}

#[tokio::test]
async fn with_two_calls_in_flight_a_request_of_the_server_is_an_event() {
    let upstreams = upstreams(quick(), fixture::spec("serve"));
    let mut open = open(&upstreams).await;
    let _held = open.session.request(tool(&json!(1), "hold")).await.unwrap();
    let call = open
        .session
        .request(tool(&json!(2), "sample"))
        .await
        .unwrap();
    let request = within(open.events.recv()).await.unwrap();
    let request: Value = serde_json::from_slice(&request).unwrap();
    let answer = json!({"jsonrpc": "2.0", "id": request["id"], "result": {}});
    open.session.send(bytes(&answer)).await.unwrap();
    assert_eq!(finish(call).await.unwrap()["result"]["client_said"], answer);
    upstreams.shutdown().await;
}

#[tokio::test]
async fn progress_goes_to_its_call_in_order_and_the_rest_to_events() {
    let upstreams = upstreams(quick(), fixture::spec("serve"));
    let mut open = open(&upstreams).await;
    let _held = open.session.request(tool(&json!(1), "hold")).await.unwrap();
    let mut call = open
        .session
        .request(tool(&json!("p"), "progress"))
        .await
        .unwrap();
    for n in 1..=3 {
        let progress = within(call.inbound.recv()).await.unwrap().unwrap();
        let progress: Value = serde_json::from_slice(&progress).unwrap();
        assert_eq!(progress["params"]["progress"], n);
    }
    finish(call).await.unwrap();
    ask(&*open.session, &json!(3), "event").await.unwrap();
    let event: Value = serde_json::from_slice(&within(open.events.recv()).await.unwrap()).unwrap();
    assert_eq!(event["method"], "notifications/resources/updated");
    upstreams.shutdown().await;
}

/// Asks until the server has seen a cancellation; each question is a round trip.
async fn cancellation(session: &dyn McpSession) -> Value {
    let mut n = 1000;
    loop {
        n += 1;
        let state = ask(session, &json!(n), "state").await.unwrap();
        if state["result"]["cancelled"] != json!([]) {
            return state["result"].clone();
        }
    }
}

#[tokio::test]
async fn dropping_a_call_cancels_it_at_the_server() {
    let upstreams = upstreams(quick(), fixture::spec("serve"));
    let open = open(&upstreams).await;
    drop(open.session.request(tool(&json!(1), "hold")).await.unwrap());
    let state = within(cancellation(&*open.session)).await;
    assert_eq!(state["cancelled"], state["held"]);
    // The late response is nobody's.
    ask(&*open.session, &json!(2), "release").await.unwrap();
    assert_eq!(upstreams.list()[0].stray_responses, 1);
    upstreams.shutdown().await;
}

#[tokio::test]
async fn a_cancellation_names_the_call_by_the_id_the_server_knows() {
    let upstreams = upstreams(quick(), fixture::spec("serve"));
    let open = open(&upstreams).await;
    let held = open
        .session
        .request(tool(&json!("mine"), "hold"))
        .await
        .unwrap();
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
        "params": {"requestId": "mine"}});
    open.session.send(bytes(&cancel)).await.unwrap();
    let state = within(cancellation(&*open.session)).await;
    assert_eq!(state["cancelled"], state["held"]);
    drop(held);
    upstreams.shutdown().await;
}

#[tokio::test]
async fn a_silent_call_ends_and_the_server_is_told() {
    let limits = Limits {
        call_silence: Duration::from_millis(20),
        ..quick()
    };
    let upstreams = upstreams(limits, fixture::spec("serve"));
    let open = open(&upstreams).await;
    let error = ask(&*open.session, &json!(1), "hold").await.unwrap_err();
    assert_eq!(error.reason, "upstream_timeout");
    upstreams.shutdown().await;
}

#[tokio::test]
async fn the_environment_is_withheld() {
    let upstreams = upstreams(quick(), fixture::spec("serve"));
    let open = open(&upstreams).await;
    let names = ask(&*open.session, &json!(1), "environment").await.unwrap();
    for name in names["result"]["names"].as_array().unwrap() {
        let name = name.as_str().unwrap();
        assert!(
            INHERITED.contains(&name) || name == "HEDGEROW_TEST_FIXTURE",
            "{name}"
        );
    }
    upstreams.shutdown().await;
}

/// Readable once the process has ended.
fn watch(pid: &Value) -> AsyncFd<std::os::fd::OwnedFd> {
    let pid = i32::try_from(pid.as_i64().unwrap()).unwrap();
    super::stdio::watched(Pid::from_raw(pid).unwrap()).unwrap()
}

#[tokio::test]
async fn closing_a_session_leaves_no_process() {
    let upstreams = upstreams(quick(), fixture::spec("serve"));
    let open = open(&upstreams).await;
    let server = ask(&*open.session, &json!(1), "echo").await.unwrap();
    let child = ask(&*open.session, &json!(2), "child").await.unwrap();
    let held = open.session.request(tool(&json!(3), "hold")).await.unwrap();
    let (server, child) = (
        watch(&server["result"]["pid"]),
        watch(&child["result"]["pid"]),
    );
    within(open.session.close()).await;
    within(server.readable()).await.unwrap().retain_ready();
    within(child.readable()).await.unwrap().retain_ready();
    assert_eq!(reason(finish(held).await), "session_closed");
    assert_eq!(
        reason(open.session.request(tool(&json!(4), "echo")).await),
        "session_closed"
    );
    within(open.session.close()).await;
    upstreams.shutdown().await;
}

#[tokio::test]
async fn dropping_a_session_or_removing_a_server_leaves_no_process() {
    let upstreams = upstreams(quick(), fixture::spec("serve"));
    let first = open(&upstreams).await;
    let pid = ask(&*first.session, &json!(1), "echo").await.unwrap();
    let watched = watch(&pid["result"]["pid"]);
    drop(first);
    within(watched.readable()).await.unwrap().retain_ready();
    let mut second = open(&upstreams).await;
    let pid = ask(&*second.session, &json!(1), "echo").await.unwrap();
    let watched = watch(&pid["result"]["pid"]);
    assert!(upstreams.remove(&name()));
    assert_eq!(within(second.events.recv()).await, None);
    within(watched.readable()).await.unwrap().retain_ready();
    let error = upstreams.open(&name(), initialize()).await;
    assert_eq!(reason(error), "upstream_unknown");
    upstreams.shutdown().await;
}

#[tokio::test]
async fn a_server_deaf_to_sigterm_is_killed() {
    let limits = Limits {
        initialize_timeout: Duration::from_millis(20),
        exit_grace: Duration::from_millis(20),
        terminate_grace: Duration::from_millis(20),
        ..quick()
    };
    let argv = ["sh", "-c", "trap '' TERM; while :; do sleep 1000; done"];
    let spec = ServerSpec::Command {
        argv: argv.map(str::to_owned).to_vec(),
        env: BTreeMap::new(),
        cwd: None,
    };
    let upstreams = upstreams(limits, spec);
    let error = within(upstreams.open(&name(), initialize())).await;
    assert_eq!(reason(error), "upstream_initialize_timeout");
    // Waits for every process to be gone.
    within(upstreams.shutdown()).await;
}

#[tokio::test]
async fn bounds_on_calls_and_sessions_have_their_names() {
    let limits = Limits {
        calls_per_session: 1,
        sessions_per_server: 1,
        ..quick()
    };
    let upstreams = upstreams(limits, fixture::spec("serve"));
    let open = open(&upstreams).await;
    let _held = open.session.request(tool(&json!(1), "hold")).await.unwrap();
    let error = open.session.request(tool(&json!(2), "hold")).await;
    assert_eq!(reason(error), "too_many_calls");
    let error = upstreams.open(&name(), initialize()).await;
    assert_eq!(reason(error), "too_many_sessions");
    assert_eq!(upstreams.list()[0].sessions, 1);
    within(open.session.close()).await;
    assert_eq!(upstreams.list()[0].sessions, 0);
    super::tests::open(&upstreams).await;
    upstreams.shutdown().await;
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why_and_is_not_hammered() {
    let limits = Limits {
        backoff_first: Duration::from_secs(3600),
        backoff_max: Duration::from_secs(3600),
        ..quick()
    };
    let spec = ServerSpec::Command {
        argv: vec!["/nonexistent/server".into()],
        env: BTreeMap::from([("TOKEN".into(), Secret::from("hunter2"))]),
        cwd: None,
    };
    let upstreams = upstreams(limits, spec);
    // The inventory's reader or this call meets the failure first; the other backs off.
    let mut reasons = Vec::new();
    for _ in 0..2 {
        reasons.push(reason(upstreams.open(&name(), initialize()).await));
    }
    assert_eq!(reasons[1], "upstream_backing_off");
    let status = &upstreams.list()[0];
    assert!(
        matches!(&status.state, ServerState::BackingOff { .. }),
        "{status:?}"
    );
    assert!(!serde_json::to_string(status).unwrap().contains("hunter2"));
    upstreams.shutdown().await;
}

#[tokio::test]
async fn a_server_that_ends_at_once_fails_to_start() {
    let upstreams = upstreams(quick(), fixture::spec("quit"));
    let error = within(upstreams.open(&name(), initialize()))
        .await
        .err()
        .unwrap();
    assert_eq!(error.reason, "upstream_start_failed");
    assert!(error.message.contains("exit code 0"), "{}", error.message);
    upstreams.shutdown().await;
}

#[tokio::test]
async fn starts_per_minute_are_bounded() {
    let limits = Limits {
        starts_per_minute: 0,
        ..quick()
    };
    let upstreams = upstreams(limits, fixture::spec("serve"));
    let error = upstreams.open(&name(), initialize()).await;
    assert_eq!(reason(error), "too_many_starts");
    upstreams.shutdown().await;
}

#[tokio::test]
async fn the_inventory_is_read_and_read_again_when_it_changes() {
    let directory = tempfile::tempdir().unwrap();
    let extra = directory.path().join("extra");
    let ServerSpec::Command { argv, mut env, cwd } = fixture::spec("serve") else {
        unreachable!()
    };
    env.insert("EXTRA_TOOL".into(), Secret::from(extra.to_str().unwrap()));
    let upstreams = upstreams(quick(), ServerSpec::Command { argv, env, cwd });
    let mut changes = upstreams.changes();
    let tools = || upstreams.inventory(&name()).map(|i| i.tools.len());
    within(changes.wait_for(|_| tools() == Some(1)))
        .await
        .unwrap();
    assert_eq!(upstreams.list()[0].state, ServerState::Ready);
    let open = open(&upstreams).await;
    std::fs::write(&extra, "").unwrap();
    ask(&*open.session, &json!(1), "change").await.unwrap();
    within(changes.wait_for(|_| tools() == Some(2)))
        .await
        .unwrap();
    let inventory = upstreams.inventory(&name()).unwrap();
    assert!(inventory.tools.contains_key("extra"));
    assert_eq!(inventory.protocol_version, "2025-11-25");
    upstreams.shutdown().await;
}

/// One tool that cannot be announced costs a server that tool, and no more.
#[tokio::test]
async fn tools_that_nobody_can_call_are_left_out_and_counted() {
    let ServerSpec::Command { argv, mut env, cwd } = fixture::spec("serve") else {
        unreachable!()
    };
    env.insert("ODD_TOOLS".into(), Secret::from("1"));
    let upstreams = upstreams(quick(), ServerSpec::Command { argv, env, cwd });
    let mut changes = upstreams.changes();
    let read = |_: &u64| upstreams.inventory(&name()).is_some();
    within(changes.wait_for(read)).await.unwrap();
    let inventory = upstreams.inventory(&name()).unwrap();
    let names: Vec<&String> = inventory.tools.keys().collect();
    assert_eq!(names, ["after", "echo"]);
    let status = &upstreams.list()[0];
    assert_eq!(status.state, ServerState::Ready);
    assert_eq!((status.tools, status.tools_left_out), (Some(2), 2));
    upstreams.shutdown().await;
}

/// A list with a name that no request could carry is read by nobody; the operator is told why.
#[tokio::test]
async fn why_a_list_cannot_be_read_is_shown() {
    let ServerSpec::Command { argv, mut env, cwd } = fixture::spec("serve") else {
        unreachable!()
    };
    env.insert("LONG_TOOL".into(), Secret::from("1"));
    let upstreams = upstreams(quick(), ServerSpec::Command { argv, env, cwd });
    let unread = async {
        loop {
            if let Some(reason) = upstreams.list().remove(0).unread {
                return reason;
            }
            tokio::task::yield_now().await;
        }
    };
    let reason = within(unread).await;
    assert!(reason.contains("2049"), "{reason}");
    assert_eq!(upstreams.list()[0].tools, None);
    upstreams.shutdown().await;
}

#[tokio::test]
async fn a_server_that_changes_its_lists_at_every_start_is_read_as_it_is_then() {
    let ServerSpec::Command { argv, mut env, cwd } = fixture::spec("serve") else {
        unreachable!()
    };
    env.insert("RESTLESS".into(), Secret::from("1"));
    let limits = Limits {
        inventory_debounce: Duration::from_secs(1),
        ..quick()
    };
    let upstreams = upstreams(limits, ServerSpec::Command { argv, env, cwd });
    let mut changes = upstreams.changes();
    let read = |_: &u64| upstreams.inventory(&name()).is_some();
    within(changes.wait_for(read)).await.unwrap();
    let inventory = upstreams.inventory(&name()).unwrap();
    assert!(inventory.tools.contains_key("extra"), "{inventory:?}");
    upstreams.shutdown().await;
}

#[tokio::test]
async fn events_nobody_reads_are_dropped_and_counted_and_calls_go_on() {
    let limits = Limits {
        stall: Duration::from_millis(10),
        ..quick()
    };
    let upstreams = upstreams(limits, fixture::spec("serve"));
    let mut open = open(&upstreams).await;
    ask(&*open.session, &json!(1), "flood").await.unwrap();
    let dropped = upstreams.list()[0].dropped_events;
    assert!(dropped >= 100, "{dropped}");
    // What was kept is read in order, and then events pass again.
    while open.events.try_recv().is_ok() {}
    ask(&*open.session, &json!(2), "event").await.unwrap();
    assert!(within(open.events.recv()).await.is_some());
    assert_eq!(upstreams.list()[0].dropped_events, dropped);
    upstreams.shutdown().await;
}

#[tokio::test]
async fn events_that_are_read_late_but_read_are_not_lost() {
    let upstreams = upstreams(quick(), fixture::spec("serve"));
    let mut open = open(&upstreams).await;
    let call = open
        .session
        .request(tool(&json!(1), "flood"))
        .await
        .unwrap();
    for _ in 0..200 {
        within(open.events.recv()).await.unwrap();
    }
    finish(call).await.unwrap();
    assert_eq!(upstreams.list()[0].dropped_events, 0);
    upstreams.shutdown().await;
}

#[tokio::test]
async fn a_caller_that_takes_nothing_loses_its_call_and_no_other() {
    let limits = Limits {
        stall: Duration::from_millis(10),
        ..quick()
    };
    let upstreams = upstreams(limits, fixture::spec("serve"));
    let open = open(&upstreams).await;
    let stalled = open
        .session
        .request(tool(&json!(1), "storm"))
        .await
        .unwrap();
    ask(&*open.session, &json!(2), "echo").await.unwrap();
    assert_eq!(reason(finish(stalled).await), "caller_stalled");
    upstreams.shutdown().await;
}

#[tokio::test]
async fn standard_error_is_kept_for_status() {
    let upstreams = upstreams(quick(), fixture::spec("serve"));
    let _open = open(&upstreams).await;
    within(async {
        while !upstreams.list()[0]
            .stderr
            .iter()
            .any(|l| l == "fixture in mode serve")
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
    upstreams.shutdown().await;
}

#[tokio::test]
async fn a_name_is_attached_once_and_only_with_a_usable_spec() {
    let upstreams = upstreams(quick(), fixture::spec("quit"));
    assert_eq!(
        upstreams.add(name(), fixture::spec("quit")),
        Err(UpstreamError::NameTaken(name()))
    );
    let empty = ServerSpec::Command {
        argv: vec![],
        env: BTreeMap::new(),
        cwd: None,
    };
    assert_eq!(
        upstreams.add("other".parse().unwrap(), empty),
        Err(UpstreamError::Spec(SpecError::EmptyCommand))
    );
    upstreams.shutdown().await;
    assert_eq!(
        upstreams.add("other".parse().unwrap(), fixture::spec("quit")),
        Err(UpstreamError::ShuttingDown)
    );
}

#[tokio::test]
async fn what_is_no_request_or_no_message_is_refused_by_name() {
    let upstreams = upstreams(quick(), fixture::spec("serve"));
    let open = open(&upstreams).await;
    let notification = json!({"jsonrpc": "2.0", "method": "notifications/x"});
    assert_eq!(
        reason(open.session.request(bytes(&notification)).await),
        "wrong_message_kind"
    );
    assert_eq!(
        reason(open.session.send(tool(&json!(1), "echo")).await),
        "wrong_message_kind"
    );
    let twice = Bytes::from_static(br#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#);
    assert_eq!(reason(open.session.request(twice).await), "duplicate_key");
    assert_eq!(
        reason(upstreams.open(&name(), tool(&json!(1), "echo")).await),
        "wrong_message_kind"
    );
    upstreams.shutdown().await;
}
