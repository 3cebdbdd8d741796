//! The control API against a fake [`Operations`], over a real Unix socket.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use protocol::control::{
    CallEvent, FailureKind, MAX_REQUEST_BYTES, PostureQuery, PostureReport, ServerState,
    TimeHealth, route,
};
use protocol::control::{Counters, MeshInfo, NodeInfo, StoreInfo};
use protocol::control::{
    DecidedPeer, Invite, NewTicket, PeerChoice, PendingPeer, Secret, TicketChoice, TicketInfo,
    TicketState,
};
use protocol::id::{MeshId, NodeId, TicketId};
use protocol::time::UnixSeconds;
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::*;

/// Keeps servers in memory; a call emits one notification and then does as its tool's name says.
#[derive(Default)]
struct Fake {
    servers: Mutex<BTreeMap<Name, Server>>,
    refusals: Mutex<Vec<&'static str>>,
    callers: Mutex<Vec<Caller>>,
    abandoned: std::sync::Arc<Notify>,
    calls: AtomicU64,
}

struct OnDrop(std::sync::Arc<Notify>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

fn unsupported<T>() -> Result<T, Failure> {
    Err(Failure::new(
        FailureKind::Unavailable,
        "fake",
        "the fake cannot",
    ))
}

const TICKET: TicketId = TicketId::from_bytes([3; 32]);

fn ticket(state: TicketState) -> TicketInfo {
    TicketInfo {
        id: TICKET,
        state,
        groups: vec![name("tools")],
        site: None,
        name: None,
        pending: false,
        created: UnixSeconds(1),
        expires: UnixSeconds(2),
        uses: 3,
        used: 0,
        redeemed: vec![],
    }
}

impl Fake {
    /// Decides on the one newcomer there is, whose name is `b`.
    fn decided(&self, caller: Caller, choice: &PeerChoice) -> Result<DecidedPeer, Failure> {
        self.callers.lock().unwrap().push(caller);
        if choice.peer != "b" {
            let message = "nobody of that id waits";
            return Err(Failure::new(FailureKind::NotFound, "unknown_id", message));
        }
        Ok(DecidedPeer {
            id: NodeId::from_bytes([2; 32]),
            name: name("b"),
        })
    }
}

#[async_trait]
impl Enrolling for Fake {
    async fn invite(&self, caller: Caller, invite: Invite) -> Result<NewTicket, Failure> {
        self.callers.lock().unwrap().push(caller);
        if invite.uses == 0 {
            return unsupported();
        }
        Ok(NewTicket {
            id: TICKET,
            ticket: Secret::new("hedgerow1x".to_owned()),
            expires: UnixSeconds(invite.ttl_s),
            uses: invite.uses,
            pending: invite.pending,
            bootstraps: vec![],
        })
    }

    async fn tickets(&self) -> Result<Vec<TicketInfo>, Failure> {
        Ok(vec![ticket(TicketState::Open)])
    }

    async fn revoke_ticket(
        &self,
        caller: Caller,
        choice: TicketChoice,
    ) -> Result<TicketInfo, Failure> {
        self.callers.lock().unwrap().push(caller);
        if choice.ticket != TICKET.short() {
            return unsupported();
        }
        Ok(ticket(TicketState::Revoked))
    }

    async fn pending(&self) -> Result<Vec<PendingPeer>, Failure> {
        Ok(vec![])
    }

    async fn approve(&self, caller: Caller, choice: PeerChoice) -> Result<DecidedPeer, Failure> {
        self.decided(caller, &choice)
    }

    async fn deny(&self, caller: Caller, choice: PeerChoice) -> Result<DecidedPeer, Failure> {
        self.decided(caller, &choice)
    }
}

#[async_trait]
impl Operations for Fake {
    async fn status(&self) -> Result<Status, Failure> {
        Ok(Status {
            version: "0".into(),
            pid: 1,
            mesh: MeshInfo {
                id: MeshId::from_bytes([1; 32]),
                name: name("m"),
            },
            node: NodeInfo {
                id: NodeId::from_bytes([2; 32]),
                name: name("n"),
                groups: vec![],
                site: None,
                membership_expires: UnixSeconds(9),
            },
            listen: "127.0.0.1:1".into(),
            addresses: vec![],
            gateway_url: None,
            ready: true,
            conditions: vec![],
            uptime_s: 0,
            links: 0,
            servers: 0,
            sessions: 0,
            counters: Counters::default(),
            store: StoreInfo {
                decisions: 0,
                bytes: 0,
            },
            time: TimeHealth {
                healthy: true,
                now_ms: 1,
                greatest_ms: 1,
                message: None,
            },
            posture: None,
            trust: None,
        })
    }

    async fn copy_store(&self, _: Caller) -> Result<StoreCopy, Failure> {
        Err(Failure::new(
            FailureKind::Unavailable,
            "fake",
            "the fake has no store",
        ))
    }

    async fn doctor(&self) -> Result<Vec<Check>, Failure> {
        Ok(vec![Check::ok("clock", "the clock is right")])
    }

    async fn peers(&self) -> Result<Vec<Peer>, Failure> {
        Ok(vec![])
    }

    async fn postures(&self, _: PostureQuery) -> Result<PostureReport, Failure> {
        Err(Failure::new(
            FailureKind::NotFound,
            "unknown_node",
            "the fake knows nobody",
        ))
    }

    async fn dial(&self, _: Caller, _: Dial) -> Result<Peer, Failure> {
        Err(Failure::new(
            FailureKind::Denied,
            "foreign_mesh",
            "the peer is of another mesh",
        )
        .with_hint("issue it a membership"))
    }

    async fn servers(&self) -> Result<Vec<Server>, Failure> {
        Ok(self.servers.lock().unwrap().values().cloned().collect())
    }

    async fn add_server(&self, caller: Caller, add: AddServer) -> Result<Server, Failure> {
        self.callers.lock().unwrap().push(caller);
        let server = Server {
            name: add.name.clone(),
            spec: add.spec.info(),
            state: ServerState::Starting,
            tools: 0,
            last_words: Vec::new(),
            tools_left_out: 0,
            restarts: 0,
            last_error: None,
        };
        let mut servers = self.servers.lock().unwrap();
        if servers.contains_key(&add.name) {
            return Err(Failure::new(
                FailureKind::Conflict,
                "server_exists",
                "taken",
            ));
        }
        servers.insert(add.name, server.clone());
        Ok(server)
    }

    async fn remove_server(&self, _: Caller, name: Name) -> Result<(), Failure> {
        match self.servers.lock().unwrap().remove(&name) {
            Some(_) => Ok(()),
            None => Err(Failure::new(
                FailureKind::NotFound,
                "unknown_server",
                "none",
            )),
        }
    }

    async fn agents(&self) -> Result<Vec<Agent>, Failure> {
        unsupported()
    }

    async fn add_agent(&self, _: Caller, _: AddAgent) -> Result<AgentToken, Failure> {
        unsupported()
    }

    async fn remove_agent(&self, _: Caller, _: Name) -> Result<(), Failure> {
        unsupported()
    }

    async fn tools(&self, _: Caller, filter: ServerFilter) -> Result<Vec<Tool>, Failure> {
        let Some(node) = filter.node else {
            return Ok(vec![]);
        };
        Ok(vec![Tool {
            node,
            server: name("s"),
            name: "t".into(),
            title: None,
            description: None,
            digest: String::new(),
            annotations: None,
            added_intents: Vec::new(),
            input_schema: None,
            unlisted: false,
        }])
    }

    async fn call(
        &self,
        _: Caller,
        call: CallRequest,
        notifications: mpsc::Sender<Box<RawValue>>,
    ) -> Result<CallReply, Failure> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let progress = raw("{\"method\":\n\"notifications/progress\"}");
        notifications.send(progress).await.unwrap();
        match call.tool.as_str() {
            "hang" => {
                let _abandoned = OnDrop(self.abandoned.clone());
                std::future::pending().await
            }
            "fail" => Err(Failure::new(FailureKind::Denied, "not_a_member", "no")),
            _ => Ok(CallReply {
                ok: true,
                result: Some(call.arguments),
                error: None,
                ms: 1.0,
                request_envelope_id: None,
                response_envelope_id: None,
                signers: vec![],
                hops: vec![],
                request_envelope: None,
                response_envelope: None,
            }),
        }
    }

    async fn inspect_request(&self, _: FileBytes) -> Result<MembershipRequestInfo, Failure> {
        unsupported()
    }

    async fn issue_membership(&self, _: Caller, _: IssueMembership) -> Result<Admission, Failure> {
        unsupported()
    }

    async fn decisions(&self, _: DecisionQuery) -> Result<Vec<Decision>, Failure> {
        Ok(vec![])
    }

    async fn find_decisions(&self, _: DecisionSearch) -> Result<DecisionPage, Failure> {
        Ok(DecisionPage::default())
    }

    fn refused(&self, reason: &'static str) {
        self.refusals.lock().unwrap().push(reason);
    }
}

struct Served {
    fake: std::sync::Arc<Fake>,
    dir: tempfile::TempDir,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

async fn served(admit: Admit) -> Served {
    let dir = tempfile::tempdir().unwrap();
    let listener = bind(&dir.path().join("control.sock")).await.unwrap();
    let fake = std::sync::Arc::new(Fake::default());
    let stop = CancellationToken::new();
    let task = tokio::spawn(serve(listener, admit, fake.clone(), stop.clone()));
    Served {
        fake,
        dir,
        stop,
        task,
    }
}

impl Served {
    async fn connect(&self) -> hyper::client::conn::http1::SendRequest<Full<bytes::Bytes>> {
        let stream = UnixStream::connect(self.dir.path().join("control.sock"))
            .await
            .unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        sender
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let request = hyper::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "hedgerow")
            .body(Full::from(body.to_owned()))
            .unwrap();
        let answer = self.connect().await.send_request(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn reason(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let (status, body) = self.ask(method, path, body).await;
        let failure: Failure = serde_json::from_str(&body).unwrap();
        (status, failure.reason)
    }
}

fn call_body(tool: &str, timeout_ms: u64) -> String {
    format!(
        r#"{{"node":"n","server":"s","tool":"{tool}","arguments":{{"price": 1.0}},"timeout_ms":{timeout_ms}}}"#
    )
}

#[tokio::test]
async fn servers_come_and_go() {
    let node = served(Admit::own_user_and_root()).await;
    let add = r#"{"name":"a","spec":{"stdio":{"command":["x"],"env":{"KEY":"secret"}}}}"#;
    let (status, body) = node.ask("POST", route::SERVERS, add).await;
    assert_eq!(status, 200, "{body}");
    assert!(!body.contains("secret"), "{body}");
    assert_eq!(
        node.reason("POST", route::SERVERS, add).await,
        (409, "server_exists".into())
    );
    let (_, listed) = node.ask("GET", route::SERVERS, "").await;
    assert_eq!(
        serde_json::from_str::<Vec<Server>>(&listed).unwrap().len(),
        1
    );
    assert_eq!(
        node.ask("DELETE", "/v1/servers/a", "").await,
        (204, String::new())
    );
    assert_eq!(
        node.reason("DELETE", "/v1/servers/a", "").await,
        (404, "unknown_server".into())
    );
    let caller = node.fake.callers.lock().unwrap()[0];
    assert_eq!(caller.uid, rustix::process::geteuid().as_raw());
    assert_eq!(caller.pid, i32::try_from(std::process::id()).ok());
}

#[tokio::test]
async fn tickets_are_made_listed_and_revoked() {
    let node = served(Admit::own_user_and_root()).await;
    let invite = |uses: u64| {
        format!(
            r#"{{"groups":["tools"],"site":null,"name":null,"ttl_s":60,"uses":{uses},"pending":true,"life_s":null}}"#
        )
    };
    let (status, body) = node.ask("POST", route::TICKETS, &invite(3)).await;
    assert_eq!(status, 200, "{body}");
    let made: NewTicket = serde_json::from_str(&body).unwrap();
    assert_eq!((made.id, made.uses, made.pending), (TICKET, 3, true));
    assert_eq!(made.ticket.expose(), "hedgerow1x");
    let (status, body) = node.ask("GET", route::TICKETS, "").await;
    assert_eq!(status, 200, "{body}");
    assert!(!body.contains("hedgerow1x"), "{body}");
    let listed: Vec<TicketInfo> = serde_json::from_str(&body).unwrap();
    assert_eq!(listed, [ticket(TicketState::Open)]);
    let choice = format!(r#"{{"ticket":"{}"}}"#, TICKET.short());
    let (status, body) = node.ask("POST", route::REVOKE_TICKET, &choice).await;
    assert_eq!(status, 200, "{body}");
    let revoked: TicketInfo = serde_json::from_str(&body).unwrap();
    assert_eq!(revoked, ticket(TicketState::Revoked));

    // What the issuer refuses, and what it never hears of.
    let refused = node.reason("POST", route::TICKETS, &invite(0)).await;
    assert_eq!(refused, (503, "fake".into()));
    for body in [
        "",
        "{}",
        r#"{"groups":["A b"]}"#,
        &invite(3).replace("\"pending\"", "\"more\":1,\"pending\""),
        &invite(3).replace("3,", "-3,"),
    ] {
        let refused = node.reason("POST", route::TICKETS, body).await;
        assert_eq!(refused, (400, "malformed_request".into()), "{body}");
    }
    let refused = node
        .reason("POST", route::REVOKE_TICKET, r#"{"id":"x"}"#)
        .await;
    assert_eq!(refused, (400, "malformed_request".into()));
    assert_eq!(node.ask("GET", route::REVOKE_TICKET, "").await.0, 404);
    let callers = node.fake.callers.lock().unwrap();
    assert_eq!(callers.len(), 3);
    let own = rustix::process::geteuid().as_raw();
    assert!(callers.iter().all(|caller| caller.uid == own));
}

#[tokio::test]
async fn newcomers_are_let_in_or_refused() {
    let node = served(Admit::own_user_and_root()).await;
    let (status, body) = node.ask("GET", route::PENDING, "").await;
    assert_eq!((status, body.as_str()), (200, "[]"));
    for path in [route::APPROVE, route::DENY] {
        let (status, body) = node.ask("POST", path, r#"{"peer":"b"}"#).await;
        assert_eq!(status, 200, "{body}");
        let decided: DecidedPeer = serde_json::from_str(&body).unwrap();
        assert_eq!(decided.name, name("b"));
        let unknown = node.reason("POST", path, r#"{"peer":"c"}"#).await;
        assert_eq!(unknown, (404, "unknown_id".into()));
        let malformed = node.reason("POST", path, r#"{"peer":"b","more":1}"#).await;
        assert_eq!(malformed, (400, "malformed_request".into()));
        assert_eq!(node.ask("GET", path, "").await.0, 404);
    }
}

#[tokio::test]
async fn unusable_requests_are_refused_by_name() {
    let node = served(Admit::own_user_and_root()).await;
    let empty = r#"{"name":"a","spec":{"stdio":{"command":[]}}}"#;
    let twice = r#"{"name":"a","name":"b"}"#;
    let days = r#"{"request":"00","name":"a","days":0}"#;
    let array = call_body("echo", 5).replace(r#"{"price": 1.0}"#, "[]");
    for (method, path, body, status, reason) in [
        ("POST", route::SERVERS, empty, 400, "unusable_server"),
        ("POST", route::AGENTS, twice, 400, "malformed_request"),
        (
            "POST",
            route::AGENTS,
            r#"{"name":"A"}"#,
            400,
            "malformed_request",
        ),
        ("POST", route::AGENTS, "{}x", 400, "malformed_request"),
        (
            "POST",
            route::MEMBERSHIPS,
            days,
            400,
            "membership_days_out_of_range",
        ),
        ("POST", route::CALL, &array, 400, "arguments_not_an_object"),
        (
            "POST",
            route::CALL,
            &call_body("t", 0),
            400,
            "call_timeout_out_of_range",
        ),
        (
            "POST",
            route::DIAL,
            r#"{"address":"h:1"}"#,
            403,
            "foreign_mesh",
        ),
        ("DELETE", "/v1/servers/A", "", 400, "invalid_name"),
        ("GET", "/v1/tools?colour=red", "", 400, "malformed_query"),
        ("GET", route::TRUST, "", 503, "trust_unavailable"),
        (
            "POST",
            route::PUBLISH,
            r#"{"documents":[]}"#,
            400,
            "published_documents_out_of_range",
        ),
        ("DELETE", "/v1/trust/proposals/x", "", 400, "invalid_id"),
        (
            "GET",
            "/v1/revocations?limit=1001",
            "",
            400,
            "too_many_revocations",
        ),
        (
            "POST",
            route::SPREAD,
            r#"{"entry":"0000000000000000000000000000000000000000000000000000000000000000","wait_ms":60001}"#,
            400,
            "spread_wait_out_of_range",
        ),
        (
            "GET",
            "/v1/decisions?limit=1001",
            "",
            400,
            "too_many_decisions",
        ),
        ("GET", "/v1/decisions?limit=-1", "", 400, "malformed_query"),
        ("GET", "/v2/status", "", 404, "unknown_route"),
        ("PUT", route::STATUS, "", 404, "unknown_route"),
    ] {
        let answer = node.reason(method, path, body).await;
        assert_eq!(
            answer,
            (status, reason.to_owned()),
            "{method} {path} {body}"
        );
    }
    assert_eq!(node.fake.calls.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_body_over_the_bound_is_refused() {
    let node = served(Admit::own_user_and_root()).await;
    let body = "x".repeat(MAX_REQUEST_BYTES + 1);
    assert_eq!(
        node.reason("POST", route::AGENTS, &body).await,
        (413, "request_too_large".into())
    );
}

#[tokio::test]
async fn queries_select() {
    let node = served(Admit::own_user_and_root()).await;
    let (status, body) = node.ask("GET", "/v1/tools?node=far", "").await;
    assert_eq!(status, 200);
    assert_eq!(
        serde_json::from_str::<Vec<Tool>>(&body).unwrap()[0].node,
        name("far")
    );
    assert_eq!(
        node.ask("GET", route::DECISIONS, "").await,
        (200, "[]".into())
    );
}

#[tokio::test]
async fn a_call_streams_notifications_and_then_its_reply() {
    let node = served(Admit::own_user_and_root()).await;
    let (status, body) = node
        .ask("POST", route::CALL, &call_body("echo", 60_000))
        .await;
    assert_eq!(status, 200);
    let events: Vec<CallEvent> = body
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let [CallEvent::Notification(_), CallEvent::Reply(reply)] = events.as_slice() else {
        panic!("{body}")
    };
    assert_eq!(reply.result.as_ref().unwrap().get(), r#"{"price": 1.0}"#);
}

#[tokio::test]
async fn a_call_that_cannot_be_made_ends_with_its_failure() {
    let node = served(Admit::own_user_and_root()).await;
    let (_, body) = node
        .ask("POST", route::CALL, &call_body("fail", 60_000))
        .await;
    let last: CallEvent = serde_json::from_str(body.lines().last().unwrap()).unwrap();
    let CallEvent::Failure(failure) = last else {
        panic!("{body}")
    };
    assert_eq!(failure.reason, "not_a_member");
}

#[tokio::test]
async fn a_call_past_its_deadline_is_abandoned() {
    let node = served(Admit::own_user_and_root()).await;
    let (_, body) = node.ask("POST", route::CALL, &call_body("hang", 1)).await;
    let last: CallEvent = serde_json::from_str(body.lines().last().unwrap()).unwrap();
    assert!(matches!(last, CallEvent::Failure(f) if f.reason == "call_timeout"));
    node.fake.abandoned.notified().await;
}

#[tokio::test]
async fn a_client_that_goes_away_abandons_its_call() {
    let node = served(Admit::own_user_and_root()).await;
    let mut stream = UnixStream::connect(node.dir.path().join("control.sock"))
        .await
        .unwrap();
    let body = call_body("hang", 600_000);
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: h\r\ncontent-length: {}\r\n\r\n{body}",
        route::CALL,
        body.len()
    );
    tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes())
        .await
        .unwrap();
    // The notification on the wire proves that the call runs.
    let mut seen = Vec::new();
    while !seen.windows(8).any(|w| w == b"progress") {
        assert!(
            tokio::io::AsyncReadExt::read_buf(&mut stream, &mut seen)
                .await
                .unwrap()
                > 0
        );
    }
    drop(stream);
    node.fake.abandoned.notified().await;
}

#[tokio::test]
async fn another_user_is_refused_and_counted() {
    let other = rustix::process::geteuid().as_raw().wrapping_add(1);
    let node = served(Admit::only(other)).await;
    assert_eq!(
        node.reason("GET", route::STATUS, "").await,
        (403, "control_peer_not_allowed".into())
    );
    assert_eq!(
        *node.fake.refusals.lock().unwrap(),
        ["control_peer_not_allowed"]
    );
}

#[tokio::test]
async fn the_socket_is_private_and_a_dead_one_is_replaced() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    let listener = bind(&path).await.unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(matches!(bind(&path).await, Err(BindError::InUse(_))));
    drop(listener);
    bind(&path).await.unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(matches!(bind(&file).await, Err(BindError::NotASocket(_))));
    assert!(matches!(
        bind(&dir.path().join("no/such")).await,
        Err(BindError::Io { .. })
    ));
}

#[tokio::test]
async fn stopping_ends_idle_connections_and_the_server() {
    let node = served(Admit::own_user_and_root()).await;
    let mut idle = node.connect().await;
    idle.ready().await.unwrap();
    assert_eq!(node.ask("GET", route::STATUS, "").await.0, 200);
    node.stop.cancel();
    node.task.await.unwrap();
    assert!(
        UnixStream::connect(node.dir.path().join("control.sock"))
            .await
            .is_err()
    );
}
