//! Ends and bounds of HTTP sessions, calls and connections.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use reqwest::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::fake::{FakeServer, ServerCall};
use super::http_tests::{Bench, Events, INITIALIZE, PATH, echo, is, refused};
use super::*;

#[tokio::test]
async fn sessions_end_by_delete_by_their_server_and_with_their_agent() {
    let server = echo();
    let seen = server.clone();
    let bench = Bench::with(&[("tools", "echo", server)], Limits::default()).await;
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let session = bench.open(PATH).await;
    let request = bench.http.delete(format!("http://{}{PATH}", bench.address));
    let request = request
        .header("authorization", format!("Bearer {}", bench.one))
        .header("mcp-session-id", &session);
    assert_eq!(
        request.send().await.unwrap().status(),
        StatusCode::NO_CONTENT
    );
    assert_eq!(seen.closed.load(Ordering::SeqCst).min(1), 1);
    let unknown = is(404, -32600, "unknown_session");
    assert_eq!(
        refused(bench.send(PATH, &session, ping).await).await,
        unknown
    );

    let session = bench.open(PATH).await;
    let mut events = bench.listen(PATH, &session, None).await;
    *seen.sessions.lock().unwrap().last_mut().unwrap() = None;
    assert!(
        events.next().await.is_none(),
        "the server ended the session"
    );
    assert_eq!(
        refused(bench.send(PATH, &session, ping).await).await,
        unknown
    );

    let session = bench.open(PATH).await;
    let mut events = bench.listen(PATH, &session, None).await;
    bench.gateway.close_agent(&"two".parse().unwrap()).await;
    assert_eq!(
        bench.send(PATH, &session, ping).await.status(),
        StatusCode::OK
    );
    bench.gateway.close_agent(&"one".parse().unwrap()).await;
    assert!(events.next().await.is_none());
    assert_eq!(
        refused(bench.send(PATH, &session, ping).await).await,
        unknown
    );
}

#[tokio::test]
async fn a_thousand_sessions_leave_nothing_behind_and_idle_ones_make_room() {
    let limits = Limits {
        sessions_per_agent: 4,
        ..Limits::default()
    };
    let bench = Bench::with(&[("tools", "echo", echo())], limits).await;
    let first = bench.open(PATH).await;
    for _ in 0..1000 {
        bench.open(PATH).await;
    }
    assert_eq!(bench.gateway.sessions().len(), 4);
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let response = bench.send(PATH, &first, ping).await;
    assert_eq!(refused(response).await, is(404, -32600, "unknown_session"));
    let later = Instant::now() + bench.gateway.limits.session_idle;
    bench.gateway.sweep(later).await;
    assert_eq!(bench.gateway.sessions().len(), 0);
}

#[tokio::test]
async fn busy_sessions_and_calls_are_bounded() {
    let server = FakeServer::new(|mut call: ServerCall| async move {
        call.say(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#)
            .await;
        call.from_client.recv().await;
    });
    let limits = Limits {
        sessions_per_agent: 1,
        calls_per_agent: 1,
        ..Limits::default()
    };
    let bench = Bench::with(&[("tools", "echo", server)], limits).await;
    let session = bench.open(PATH).await;
    let call = |id: u32| {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"t"}}}}"#)
    };
    let mut events = Events::of(bench.send(PATH, &session, &call(1)).await);
    events.next().await.unwrap();
    let response = bench.send(PATH, &session, &call(2)).await;
    assert_eq!(refused(response).await, is(429, -32055, "too_many_calls"));
    let response = bench.post(PATH, INITIALIZE).send().await.unwrap();
    assert_eq!(
        refused(response).await,
        is(429, -32055, "too_many_sessions")
    );
    let later = Instant::now() + bench.gateway.limits.session_idle;
    bench.gateway.sweep(later).await;
    assert_eq!(
        bench.gateway.sessions().len(),
        1,
        "a busy session does not expire"
    );
}

#[tokio::test]
async fn an_id_is_unique_among_calls_in_flight() {
    let server = FakeServer::new(|mut call: ServerCall| async move {
        call.say(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#)
            .await;
        call.from_client.recv().await;
    });
    let bench = Bench::with(&[("tools", "echo", server)], Limits::default()).await;
    let session = bench.open(PATH).await;
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t"}}"#;
    let mut events = Events::of(bench.send(PATH, &session, call).await);
    events.next().await.unwrap();
    let response = bench.send(PATH, &session, call).await;
    assert_eq!(refused(response).await, is(400, -32600, "duplicate_id"));
}

/// Sends raw bytes and reads until the gateway closes.
async fn raw(bench: &Bench, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(bench.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn slow_heads_and_bodies_are_cut_off() {
    let limits = Limits {
        head_wait: Duration::from_millis(500),
        body_wait: Duration::from_millis(500),
        ..Limits::default()
    };
    let bench = Bench::with(&[("tools", "echo", echo())], limits).await;
    raw(&bench, b"POST /mcp HTTP/1.1\r\nHost: ").await;
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{",
        bench.address, bench.one
    );
    let answer = raw(&bench, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("slow_body"), "{answer}");
    let doubled = format!(
        "GET /mcp HTTP/1.1\r\nHost: {0}\r\nHost: {0}\r\n\r\n",
        bench.address
    );
    assert!(
        raw(&bench, doubled.as_bytes())
            .await
            .starts_with("HTTP/1.1 403 ")
    );
    let absolute = format!(
        "GET http://evil.example/mcp HTTP/1.1\r\nHost: {}\r\n\r\n",
        bench.address
    );
    assert!(
        raw(&bench, absolute.as_bytes())
            .await
            .starts_with("HTTP/1.1 403 ")
    );
    let nameless = "GET /mcp HTTP/1.0\r\n\r\n";
    assert!(
        raw(&bench, nameless.as_bytes())
            .await
            .starts_with("HTTP/1.0 403 ")
    );
}

#[tokio::test]
async fn connections_are_bounded() {
    let limits = Limits {
        connections: 1,
        ..Limits::default()
    };
    let bench = Bench::with(&[("tools", "echo", echo())], limits).await;
    let mut held = TcpStream::connect(bench.address).await.unwrap();
    let request = format!("GET /x HTTP/1.1\r\nHost: {}\r\n\r\n", bench.address);
    held.write_all(request.as_bytes()).await.unwrap();
    // An answer shows that the connection was admitted; it is kept alive.
    held.read_u8().await.unwrap();
    assert_eq!(raw(&bench, b"GET /mcp HTTP/1.1\r\n\r\n").await, "");
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_its_own_call_only() {
    let (sent, progress) = watch::channel(0_usize);
    let sent = Arc::new(sent);
    let server = FakeServer::new(move |call| {
        let sent = Arc::clone(&sent);
        async move {
            if call.view()["method"] == "ping" {
                return call.result("{}").await;
            }
            let filler = "x".repeat(64 * 1024);
            let message = format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/message","params":"{filler}"}}"#
            );
            loop {
                call.say(message.clone()).await;
                sent.send_modify(|n| *n += 1);
                if call.to_client.is_closed() {
                    return;
                }
            }
        }
    });
    let bench = Bench::with(&[("tools", "echo", server)], Limits::default()).await;
    let session = bench.open(PATH).await;
    let flood = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t"}}"#;
    let _unread = bench.send(PATH, &session, flood).await;
    // Until the flood stands still, for as long as another whole call takes.
    let mut before = 0;
    loop {
        let ping = r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#;
        assert_eq!(
            bench.send(PATH, &session, ping).await.status(),
            StatusCode::OK
        );
        let now = *progress.borrow();
        if now == before && now > 0 {
            break;
        }
        before = now;
    }
    let held: usize = before * 64 * 1024;
    assert!(
        held < 64 * 1024 * 1024,
        "{held} bytes were taken from the server"
    );
}
