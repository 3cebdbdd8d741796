//! The page over real sockets, with everything behind it made up.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use protocol::control::{
    Counters, DecisionBasis, DocumentVersions, Hop, LinkPath, MeshInfo, NodeInfo, PeerState,
    StoreInfo, TimeHealth, TrustStatus,
};
use protocol::id::{Digest, MeshId};
use protocol::time::UnixSeconds;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::tail::tests::record;
use super::*;
use crate::gateway::fake::FakeCrypto;

/// What is HTML, what would turn text around, and what a terminal would run.
const HOSTILE: &str =
    "\"'><script src=x onerror=alert(1)>&lt;\u{202e}\u{1b}[2J\u{200b}\n\r\ndata: x";

const DEADLINE: Duration = Duration::from_secs(20);

const LOCAL: Caller = Caller { uid: 0, pid: None };

struct Fake {
    tail: Arc<Tail>,
    /// Oldest first.
    decisions: Mutex<Vec<Decision>>,
    refusals: Mutex<BTreeMap<&'static str, u64>>,
    text: String,
}

impl Fake {
    fn decide(&self, verdict: &str) {
        let mut decisions = self.decisions.lock().unwrap();
        let record = record(decisions.len() as u64, verdict);
        decisions.push(self.listed(&record));
        self.tail.saw(&record);
    }

    /// Facts as others chose them.
    fn basis(&self) -> DecisionBasis {
        let text = protocol::record::cut(&self.text, protocol::record::MAX_BASIS_TEXT);
        DecisionBasis {
            rule: Some(text.clone()),
            granted_by: vec![text.clone()],
            groups: vec![text.clone()],
            address: Some(text.clone()),
            posture: Some(vec![text.clone()]),
            human: Some(text.clone()),
            intents: vec![text.clone()],
            hops: vec![Hop {
                place: 1,
                node: text.clone(),
                verdict: text.clone(),
                bundle_version: 1,
                from: text,
                received_ms: 1,
                sent_ms: 2,
            }],
            ..DecisionBasis::default()
        }
    }

    fn refused_as(&self, reason: &str) -> u64 {
        let refusals = self.refusals.lock().unwrap();
        refusals.get(reason).copied().unwrap_or_default()
    }
}

#[async_trait]
impl Source for Fake {
    async fn status(&self) -> Result<Status, Failure> {
        Ok(Status {
            version: "0.0.0".into(),
            pid: 1,
            mesh: MeshInfo {
                id: MeshId::from_bytes([3; 32]),
                name: "acme".parse().unwrap(),
            },
            node: NodeInfo {
                id: NodeId::from_bytes([1; 32]),
                name: "agents".parse().unwrap(),
                groups: vec![],
                site: None,
                membership_expires: UnixSeconds(1_795_351_203),
            },
            listen: "127.0.0.1:7443".into(),
            addresses: vec![self.text.clone()],
            gateway_url: None,
            ready: false,
            conditions: vec![],
            uptime_s: 12,
            links: 1,
            servers: 0,
            sessions: 0,
            counters: Counters::default(),
            store: StoreInfo {
                decisions: 3,
                bytes: 4096,
            },
            time: TimeHealth {
                healthy: false,
                now_ms: 1_795_351_203_000,
                greatest_ms: 1,
                message: Some(self.text.clone()),
            },
            posture: None,
            trust: Some(TrustStatus {
                revoked: Some(self.text.clone()),
                ..TrustStatus::default()
            }),
        })
    }

    async fn peers(&self) -> Result<Vec<Peer>, Failure> {
        Ok(vec![Peer {
            id: NodeId::from_bytes([2; 32]),
            name: Some("tool-host".parse().unwrap()),
            state: PeerState::Connected,
            address: Some(self.text.clone()),
            group: Some("X25519MLKEM768".into()),
            signature_scheme: Some(self.text.clone()),
            path: Some(LinkPath::Direct),
            handshake_ms: None,
            hello_ms: None,
            rtts: None,
            rtt_ms: Some(0.5),
            dialed: None,
            since: None,
            last_seen: None,
            membership_expires: None,
            groups: Vec::new(),
            site: None,
            versions: Some(DocumentVersions::default()),
            servers: vec!["shop".parse().unwrap()],
            relayed_by: Vec::new(),
            heard_over_relays: None,
            last_error: Some(self.text.clone()),
            last_reason: None,
        }])
    }

    async fn decisions(&self, query: DecisionQuery) -> Result<Vec<Decision>, Failure> {
        let decisions = self.decisions.lock().unwrap();
        let before = query.before.unwrap_or(u64::MAX);
        let found = decisions.iter().rev().filter(|d| d.seq < before).cloned();
        Ok(found.take(query.limit.unwrap() as usize).collect())
    }

    fn servers(&self) -> Vec<ToolServer> {
        vec![ToolServer {
            node: "tool-host".parse().unwrap(),
            server: "shop".parse().unwrap(),
            here: false,
            reachable: true,
            tools: vec!["get_product_info".into(), self.text.clone()],
            total: 3,
        }]
    }

    fn bundle(&self) -> Option<BundleView> {
        Some(BundleView {
            version: 7,
            hash: Digest::from_bytes([9; 32]),
            policies: vec![PolicyView {
                name: "read_only".to_owned(),
                length: 2,
            }],
            pins: 0,
        })
    }

    fn policy_text(&self, name: &str) -> Option<PolicyText> {
        (name == "read_only").then(|| PolicyText {
            name: name.to_owned(),
            media_type: self.text.clone(),
            length: 2,
            text: self.text.clone(),
        })
    }

    fn listed(&self, record: &DecisionRecord) -> Decision {
        Decision {
            seq: record.sequence,
            time_ms: record.time.0,
            verdict: record.verdict.clone(),
            reason: record.reason.clone(),
            role: "ingress".into(),
            envelope: None,
            issuer: Some(self.text.clone()),
            agent: record.agent.as_ref().map(ToString::to_string),
            server: Some("shop".into()),
            method: record.method.clone(),
            name: Some(self.text.clone()),
            policy: (record.verdict != "allow").then(|| self.text.clone()),
            basis: Some(Box::new(self.basis())),
            ..Decision::default()
        }
    }

    fn name_of(&self, _: &NodeId) -> String {
        self.text.clone()
    }

    fn refused(&self, reason: &'static str) {
        *self.refusals.lock().unwrap().entry(reason).or_default() += 1;
    }
}

/// A page that is served until it is dropped.
struct Bench {
    page: Arc<Page>,
    fake: Arc<Fake>,
    stop: CancellationToken,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Bench {
    async fn new(text: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tail = Arc::new(Tail::default());
        let fake = Arc::new(Fake {
            tail: Arc::clone(&tail),
            decisions: Mutex::default(),
            refusals: Mutex::default(),
            text: text.to_owned(),
        });
        let page = Arc::new(Page::new(address, Arc::new(FakeCrypto::default()), tail));
        let stop = CancellationToken::new();
        let source = Arc::clone(&fake) as Arc<dyn Source>;
        tokio::spawn(serve(listener, Arc::clone(&page), source, stop.clone()));
        Self { page, fake, stop }
    }

    /// Sends the lines of a request's head and reads the whole answer.
    async fn raw(&self, head: &str) -> Answer {
        let mut stream = TcpStream::connect(self.page.address()).await.unwrap();
        let head = format!("{head}\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        tokio::time::timeout(DEADLINE, stream.read_to_end(&mut bytes))
            .await
            .unwrap()
            .unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        let headers = lines.filter_map(|line| line.split_once(": "));
        Answer {
            status: status.parse().unwrap(),
            headers: headers
                .map(|(n, v)| (n.to_lowercase(), v.to_owned()))
                .collect(),
            body: body.to_owned(),
        }
    }

    async fn ask(&self, line: &str, more: &str) -> Answer {
        let host = self.page.address();
        self.raw(&format!("{line} HTTP/1.1\r\nHost: {host}{more}"))
            .await
    }

    async fn code(&self) -> String {
        let login = self.page.login(LOCAL).await.unwrap();
        let url = login.url.expose().to_owned();
        let (before, path) = url.split_at(url.find("/login").unwrap());
        assert_eq!(before, format!("http://{}", self.page.address()));
        path.to_owned()
    }

    /// Signs a browser in: its door, and the header with its cookie.
    async fn sign_in(&self) -> (String, String) {
        let answer = self.ask(&format!("GET {}", self.code().await), "").await;
        assert_eq!(answer.status, 200);
        let cookie = &answer.headers["set-cookie"];
        assert!(
            cookie.ends_with("; Max-Age=43200; HttpOnly; SameSite=Strict"),
            "{cookie}"
        );
        let (pair, rest) = cookie.split_once("; Path=").unwrap();
        let door = rest.split(';').next().unwrap().to_owned();
        assert!(answer.body.contains(&format!("href=\"{door}\"")));
        (door, format!("\r\nCookie: {pair}"))
    }

    async fn front(&self, query: &str) -> Answer {
        let (door, cookie) = self.sign_in().await;
        self.ask(&format!("GET {door}{query}"), &cookie).await
    }

    /// Opens an event stream.
    async fn watch(&self, door: &str, cookie: &str) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(self.page.address()).await.unwrap();
        let host = self.page.address();
        let head = format!("GET {door}events HTTP/1.1\r\nHost: {host}{cookie}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        BufReader::new(stream)
    }
}

/// The next event of a name whose data satisfies `wanted`.
async fn event(
    stream: &mut BufReader<TcpStream>,
    name: &str,
    wanted: impl Fn(&str) -> bool,
) -> String {
    let reading = async {
        let mut named = false;
        let mut line = String::new();
        loop {
            line.clear();
            assert_ne!(
                stream.read_line(&mut line).await.unwrap(),
                0,
                "the stream ended"
            );
            let text = line.trim_end();
            if let Some(event) = text.strip_prefix("event: ") {
                named = event == name;
            }
            if let Some(data) = text.strip_prefix("data: ").filter(|_| named)
                && wanted(data)
            {
                return data.to_owned();
            }
        }
    };
    tokio::time::timeout(DEADLINE, reading).await.unwrap()
}

/// Nothing of what others chose is markup, an event, or invisible.
fn is_inert(document: &str) {
    assert!(!document.contains("<script src=x"), "{document}");
    assert!(!document.contains("onerror=alert(1)>&lt;"), "{document}");
    assert_eq!(
        document,
        protocol::inert::inert(document),
        "a control character got through"
    );
}

#[tokio::test]
async fn every_answer_carries_the_strict_headers() {
    let bench = Bench::new("x").await;
    let (door, cookie) = bench.sign_in().await;
    for (line, status) in [
        (format!("GET {door}"), 200),
        ("GET /assets/page.css".to_owned(), 200),
        ("GET /".to_owned(), 401),
        ("GET /login?code=00".to_owned(), 403),
        (format!("GET {door}nowhere"), 404),
        ("POST /".to_owned(), 405),
    ] {
        let answer = bench.ask(&line, &cookie).await;
        assert_eq!(answer.status, status, "{line}");
        let csp = &answer.headers["content-security-policy"];
        assert!(
            csp.starts_with("default-src 'none'; script-src 'self'"),
            "{csp}"
        );
        assert!(!csp.contains("unsafe"), "{csp}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers["referrer-policy"], "no-referrer");
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
    }
}

/// What hyper itself refuses has no body that a header could protect.
#[tokio::test]
async fn a_head_that_is_too_large_is_refused_without_a_word() {
    let bench = Bench::new("x").await;
    let large = format!("\r\nX-Large: {}", "x".repeat(limits::MAX_HEAD_BYTES));
    let answer = bench.ask("GET /", &large).await;
    assert_eq!((answer.status, answer.body.as_str()), (431, ""));
}

#[tokio::test]
async fn documents_have_nothing_inline() {
    let bench = Bench::new("x").await;
    bench.fake.decide("deny");
    let document = bench.front("").await.body;
    for inline in [" style=", " onclick=", " onload=", "javascript:", "<style"] {
        assert!(!document.contains(inline), "{inline}");
    }
    let scripts = document.matches("<script").count();
    assert_eq!(scripts, document.matches("<script src=\"/assets/").count());
    assert!(
        document.contains("&quot;allowEval&quot;:false"),
        "{document}"
    );
    assert!(document.contains("&quot;includeIndicatorStyles&quot;:false"));
}

#[tokio::test]
async fn a_code_signs_in_once() {
    let bench = Bench::new("x").await;
    let code = bench.code().await;
    // A link that is only looked at is not used up.
    let looked = bench.ask(&format!("HEAD {code}"), "").await;
    assert_eq!(
        (looked.status, looked.headers["allow"].as_str()),
        (405, "GET")
    );
    assert_eq!(bench.ask(&format!("GET {code}"), "").await.status, 200);
    let again = bench.ask(&format!("GET {code}"), "").await;
    assert_eq!(again.status, 403);
    assert!(again.body.contains("page_code_used") && again.body.contains("--revoke"));
    assert!(!again.headers.contains_key("set-cookie"));
    let invented = bench.ask("GET /login?code=abc", "").await;
    assert!(invented.body.contains("page_code_unknown"));
    assert_eq!(bench.ask("GET /login", "").await.status, 403);
    assert_eq!(bench.fake.refused_as("page_code_used"), 1);
    assert_eq!(bench.fake.refused_as("page_code_unknown"), 2);
}

#[tokio::test]
async fn a_code_is_over_after_a_minute() {
    let bench = Bench::new("x").await;
    let long_ago = Instant::now().checked_sub(CODE_LIFE).unwrap();
    let code = bench.page.access.issue(long_ago).unwrap();
    let late = bench
        .ask(&format!("GET /login?code={}", code.as_str()), "")
        .await;
    assert_eq!(late.status, 403);
    assert!(late.body.contains("page_code_expired"), "{}", late.body);
}

#[tokio::test]
async fn nobody_sees_anything_without_a_session() {
    let bench = Bench::new("x").await;
    let (door, cookie) = bench.sign_in().await;
    let (other_door, _) = bench.sign_in().await;
    for (door, cookie) in [
        (&door, ""),
        (&door, "\r\nCookie: hedgerow_page=00"),
        (&other_door, &cookie),
    ] {
        for part in ["", "events", "decisions/0", "policies/read_only"] {
            let answer = bench.ask(&format!("GET {door}{part}"), cookie).await;
            assert_eq!(answer.status, 401, "{part} {cookie}");
            assert!(answer.body.contains("page_no_session"));
            assert!(!answer.body.contains("agents"), "{}", answer.body);
        }
    }
    assert_eq!(bench.ask(&format!("GET {door}"), &cookie).await.status, 200);
}

/// What else listens on this host can give the browser cookies of our name: cookies know no ports.
#[tokio::test]
async fn cookies_of_others_lock_nobody_out() {
    let bench = Bench::new("x").await;
    let (door, cookie) = bench.sign_in().await;
    let (_, pair) = cookie.split_once(": ").unwrap();
    let planted = "hedgerow_page=00; ".repeat(limits::MAX_COOKIES - 1);
    for cookies in [
        format!("{pair}; hedgerow_page=00"),
        format!("hedgerow_page=00; {pair}"),
        format!("hedgerow_page=\u{e9}; {pair}"),
        format!("hedgerow_page=00\r\nCookie: {pair}"),
        format!("{planted}{pair}"),
    ] {
        let line = format!("\r\nCookie: {cookies}");
        let answer = bench.ask(&format!("GET {door}"), &line).await;
        assert_eq!(answer.status, 200, "{cookies}");
    }
    let line = format!("\r\nCookie: hedgerow_page=00; {planted}{pair}");
    let answer = bench.ask(&format!("GET {door}"), &line).await;
    assert_eq!(answer.status, 401, "how many are looked at is bounded");
}

#[tokio::test]
async fn requests_from_elsewhere_are_refused() {
    let bench = Bench::new("x").await;
    let (door, cookie) = bench.sign_in().await;
    let port = bench.page.address().port();
    let head = |host: &str| format!("GET {door} HTTP/1.1\r\nHost: {host}{cookie}");
    for host in [
        "evil.example",
        &format!("evil.example:{port}"),
        "127.0.0.1:1",
    ] {
        let answer = bench.raw(&head(host)).await;
        assert_eq!(answer.status, 403, "{host}");
        assert!(answer.body.contains("page_host"));
    }
    let ours = bench.raw(&head(&format!("localhost:{port}"))).await;
    assert_eq!(ours.status, 200);
    for origin in ["http://evil.example", "null", "http://127.0.0.1:1"] {
        let answer = bench
            .ask(
                &format!("GET {door}"),
                &format!("{cookie}\r\nOrigin: {origin}"),
            )
            .await;
        assert_eq!(answer.status, 403, "{origin}");
        assert!(answer.body.contains("page_origin"));
    }
}

#[tokio::test]
async fn nothing_can_be_changed() {
    let bench = Bench::new("x").await;
    let (door, cookie) = bench.sign_in().await;
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"] {
        for path in [door.as_str(), "/login?code=00", "/assets/page.js"] {
            let answer = bench.ask(&format!("{method} {path}"), &cookie).await;
            assert_eq!(answer.status, 405, "{method} {path}");
            assert_eq!(answer.headers["allow"], "GET, HEAD");
        }
    }
}

#[tokio::test]
async fn hostile_text_is_inert_everywhere() {
    let bench = Bench::new(HOSTILE).await;
    for verdict in ["deny", "sever", "allow", HOSTILE] {
        bench.fake.decide(verdict);
    }
    let (door, cookie) = bench.sign_in().await;
    for path in [
        "",
        "decisions/0",
        "policies/read_only",
        "?find=%3Cscript%20src%3Dx%20onerror",
    ] {
        let answer = bench.ask(&format!("GET {door}{path}"), &cookie).await;
        assert_eq!(answer.status, 200, "{path}");
        is_inert(&answer.body);
        assert!(
            answer.body.contains("&lt;script src=x onerror"),
            "{path} shows it"
        );
    }
    let mut stream = bench.watch(&door, &cookie).await;
    for part in ["glance", "state", "peers", "tools", "decisions"] {
        is_inert(&event(&mut stream, part, |_| true).await);
    }
}

#[tokio::test]
async fn the_rule_is_in_the_row_and_the_facts_are_a_click_away() {
    let bench = Bench::new("read_only").await;
    bench.fake.decide("deny");
    let (door, cookie) = bench.sign_in().await;
    let front = bench.ask(&format!("GET {door}"), &cookie).await.body;
    let (_, details) = front
        .split_once("<details class=\"basis\" id=\"f0\">")
        .unwrap();
    let (summary, rest) = details.split_once("</summary>").unwrap();
    assert!(summary.contains("<code>read_only</code>"), "{summary}");
    let (facts, _) = rest.split_once("</details>").unwrap();
    for fact in [
        "rule",
        "judged on",
        "address",
        "posture",
        "human",
        "intents",
        "relay",
    ] {
        assert!(
            facts.contains(&format!("<dt>{fact}</dt>")),
            "{fact}: {facts}"
        );
    }
    assert!(facts.contains("href=\"policies/read_only\""), "{facts}");
    let page = bench
        .ask(&format!("GET {door}decisions/0"), &cookie)
        .await
        .body;
    assert!(page.contains("Decided on"), "{page}");
    assert!(page.contains("href=\"../policies/read_only\""), "{page}");
}

#[tokio::test]
async fn decisions_arrive_while_one_watches() {
    let bench = Bench::new("x").await;
    bench.fake.decide("allow");
    let (door, cookie) = bench.sign_in().await;
    let mut stream = bench.watch(&door, &cookie).await;
    event(&mut stream, "decisions", |rows| {
        rows.contains("decisions/0")
    })
    .await;
    bench.fake.decide("deny");
    event(&mut stream, "decisions", |rows| {
        rows.contains("decisions/1")
    })
    .await;
    let alerts = event(&mut stream, "alerts", |rows| rows.contains("replayed")).await;
    assert!(alerts.contains("refused"), "{alerts}");
    // Whoever comes later starts with the present.
    let mut late = bench.watch(&door, &cookie).await;
    event(&mut late, "decisions", |rows| rows.contains("decisions/1")).await;
}

#[tokio::test]
async fn more_decisions_than_the_ring_holds_are_read_from_the_store() {
    let bench = Bench::new("x").await;
    let (door, cookie) = bench.sign_in().await;
    let mut stream = bench.watch(&door, &cookie).await;
    event(&mut stream, "decisions", |_| true).await;
    let many = limits::RING + 100;
    for _ in 0..many {
        bench.fake.decide("allow");
    }
    let newest = format!("decisions/{}\"", many - 1);
    let rows = event(&mut stream, "decisions", |rows| rows.contains(&newest)).await;
    assert_eq!(rows.matches("<tr class=\"allow\"").count(), limits::ROWS);
}

#[tokio::test]
async fn a_revoked_session_ends_with_its_stream() {
    let bench = Bench::new("x").await;
    let (door, cookie) = bench.sign_in().await;
    let mut stream = bench.watch(&door, &cookie).await;
    event(&mut stream, "state", |_| true).await;
    assert_eq!(bench.page.end_sessions(LOCAL).await.unwrap().ended, 1);
    let mut rest = Vec::new();
    let ended = async {
        // The last chunk of the body: the connection itself may be used again.
        while !rest.ends_with(b"0\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut rest).await.unwrap(), 0);
        }
    };
    tokio::time::timeout(DEADLINE, ended).await.unwrap();
    assert_eq!(bench.ask(&format!("GET {door}"), &cookie).await.status, 401);
}

#[tokio::test]
async fn streams_are_bounded() {
    let bench = Bench::new("x").await;
    let (door, cookie) = bench.sign_in().await;
    let mut open = Vec::new();
    // Whether there is room can be asked, which takes none.
    let head = format!("HEAD {door}events");
    for _ in 0..limits::MAX_STREAMS {
        assert_eq!(bench.ask(&head, &cookie).await.status, 200);
        let mut stream = bench.watch(&door, &cookie).await;
        event(&mut stream, "state", |_| true).await;
        open.push(stream);
    }
    assert_eq!(bench.ask(&head, &cookie).await.status, 503);
    let refused = bench.ask(&format!("GET {door}events"), &cookie).await;
    assert_eq!(refused.status, 503);
    assert!(refused.body.contains("page_too_many_streams"));
    drop(open);
}

#[tokio::test]
async fn a_reader_that_does_not_read_is_cut_off() {
    // So much text that what the system buffers for a connection is full soon.
    let bench = Bench::new(&"long ".repeat(8_000)).await;
    let (door, cookie) = bench.sign_in().await;
    let stream = bench.watch(&door, &cookie).await;
    let cut = async {
        while bench.fake.refused_as("page_reader_slow") == 0 {
            bench.fake.decide("allow");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), cut)
        .await
        .unwrap();
    drop(stream);
}

#[tokio::test]
async fn decisions_are_found_page_by_page() {
    let bench = Bench::new("x").await;
    for n in 0..120 {
        bench
            .fake
            .decide(if n % 10 == 0 { "deny" } else { "allow" });
    }
    let (door, cookie) = bench.sign_in().await;
    let page = |query: &str| {
        let line = format!("GET {door}{query}");
        let (bench, cookie) = (&bench, &cookie);
        async move { bench.ask(&line, cookie).await }
    };
    let first = page("").await.body;
    assert!(first.contains("id=\"d119\"") && first.contains("id=\"d70\""));
    assert!(!first.contains("id=\"d69\""));
    assert!(first.contains("href=\"./?before=70#decisions\""), "{first}");
    assert!(first.contains("sse-swap=\"decisions\""));
    let second = page("?before=70").await.body;
    assert!(second.contains("id=\"d69\"") && second.contains("id=\"d20\""));
    assert!(
        !second.contains("sse-swap=\"decisions\""),
        "what is looked for stands still"
    );
    assert!(second.contains("stands still") && !first.contains("stands still"));
    let denied = page("?verdict=deny&find=").await.body;
    assert_eq!(denied.matches("<tr class=\"deny\"").count(), 12);
    assert!(!denied.contains("<tr class=\"allow\""));
    assert!(!denied.contains("rel=\"next\""));
    let nobody = page("?find=nobody").await.body;
    assert!(nobody.contains("No decisions."));
    let found = page("?find=CLAUDE").await.body;
    assert_eq!(
        found.matches("id=\"d").count() - found.matches("id=\"decisions").count(),
        50
    );
    let long = format!("?find={}", "a".repeat(limits::MAX_FIND_BYTES + 1));
    for wrong in ["?verdict=maybe", "?before=x", "?unknown=1", &long] {
        let answer = page(wrong).await;
        assert_eq!(answer.status, 400, "{wrong}");
        assert!(answer.body.contains("page_filter"));
    }
}

#[tokio::test]
async fn one_decision_and_one_policy_have_pages_of_their_own() {
    let bench = Bench::new("x").await;
    bench.fake.decide("deny");
    let (door, cookie) = bench.sign_in().await;
    let decision = bench.ask(&format!("GET {door}decisions/0"), &cookie).await;
    assert!(decision.body.contains("Decision 0") && decision.body.contains("replayed"));
    let policy = bench
        .ask(&format!("GET {door}policies/read_only"), &cookie)
        .await;
    assert!(policy.body.contains("Policy read_only"));
    for nothing in [
        "decisions/1",
        "decisions/x",
        "policies/none",
        "policies/",
        "decisions/0/",
    ] {
        let answer = bench.ask(&format!("GET {door}{nothing}"), &cookie).await;
        assert_eq!(answer.status, 404, "{nothing}");
    }
}
