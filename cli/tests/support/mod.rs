//! A node that is none: the control API over real sockets with everything behind it made up,
//! except signatures, which are real.

#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

pub(crate) mod bench;
pub(crate) mod decided;
pub(crate) mod enrolling;
pub(crate) mod mesh;
pub(crate) mod trust;

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use node::app::trusting::Trusting;
use node::control::{Caller, Operations, PageOperations, TrustOperations};
use protocol::control::*;
use protocol::name::Name;
use protocol::time::UnixSeconds;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use self::mesh::{AGENT_HOST, Mesh, TOOL_HOST};

/// What the fake knows. It plays the agent's host unless told otherwise.
pub(crate) struct Fake {
    pub(crate) mesh: Mesh,
    pub(crate) name: &'static str,
    servers: Mutex<BTreeMap<Name, Server>>,
    agents: Mutex<BTreeMap<Name, Agent>>,
    price: Mutex<String>,
    /// What `doctor` finds.
    pub(crate) checks: Mutex<Vec<Check>>,
    pub(crate) trusting: Option<Trusting>,
    /// Why calls wait.
    pub(crate) waiting: Mutex<Option<String>>,
    /// What it decided, the oldest first.
    pub(crate) decided: Mutex<Vec<Decision>>,
    /// Its status page, which nobody serves.
    pub(crate) page: Option<node::page::Page>,
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(crate) fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

fn not_found(reason: &str) -> Failure {
    Failure::new(FailureKind::NotFound, reason, "there is none of that name")
        .with_hint("list them first")
}

impl Fake {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            mesh: Mesh::new(),
            name,
            servers: Mutex::default(),
            agents: Mutex::default(),
            price: Mutex::new("34.90".to_owned()),
            checks: Mutex::new(vec![Check::ok("clock", "the clock agrees")]),
            waiting: Mutex::default(),
            trusting: None,
            decided: Mutex::new(decided::some()),
            page: None,
        }
    }

    pub(crate) fn status_now(&self) -> Status {
        Status {
            version: "0.0.0".into(),
            pid: std::process::id(),
            mesh: MeshInfo {
                id: self.mesh.id,
                name: name("demo"),
            },
            node: NodeInfo {
                id: self.mesh.node(self.name),
                name: name(self.name),
                groups: vec![name("agents")],
                site: None,
                membership_expires: UnixSeconds(1_795_351_203),
            },
            listen: "127.0.0.1:7443".into(),
            addresses: vec!["127.0.0.1:7443".into()],
            gateway_url: Some("http://127.0.0.1:7480/mcp".into()),
            ready: true,
            conditions: vec![],
            uptime_s: 12,
            links: 1,
            servers: 0,
            sessions: 0,
            counters: Counters {
                calls_out: 3,
                calls_in: 0,
                calls_relayed: 0,
                refusals: BTreeMap::from([("replayed".to_owned(), 2)]),
            },
            store: StoreInfo {
                decisions: 3,
                bytes: 4096,
            },
            time: TimeHealth {
                healthy: true,
                now_ms: 1,
                greatest_ms: 1,
                message: None,
            },
            posture: None,
            trust: Some(TrustStatus {
                versions: DocumentVersions {
                    root: 2,
                    bundle: Some(7),
                    revocations: Some(3),
                },
                admins: 3,
                threshold: 2,
                issuers: 1,
                timestampers: 2,
                freshness: Some(Freshness {
                    state: FreshnessState::Fresh,
                    age_s: Some(90),
                    lease_s: 86_400,
                }),
                renewal: None,
                revoked: None,
                waiting: self.waiting.lock().unwrap().clone(),
                issuer_alarms: Vec::new(),
                policies: None,
            }),
        }
    }

    fn result_of(&self, call: &CallRequest) -> String {
        let arguments: serde_json::Value = serde_json::from_str(call.arguments.get()).unwrap();
        if let Some(price) = arguments.get("price") {
            *self.price.lock().unwrap() = price.to_string();
        }
        let price = self.price.lock().unwrap().clone();
        let text = format!("{} at {price}", call.tool);
        serde_json::json!({"content": [{"type": "text", "text": text}]}).to_string()
    }
}

#[async_trait]
impl Operations for Fake {
    fn page(&self) -> Option<&dyn PageOperations> {
        self.page.as_ref().map(|page| page as &dyn PageOperations)
    }

    async fn status(&self) -> Result<Status, Failure> {
        Ok(self.status_now())
    }

    async fn copy_store(&self, _: Caller) -> Result<StoreCopy, Failure> {
        Err(Failure::new(
            FailureKind::Unavailable,
            "fake",
            "the fake has no store",
        ))
    }

    async fn doctor(&self) -> Result<Vec<Check>, Failure> {
        Ok(self.checks.lock().unwrap().clone())
    }

    async fn peers(&self) -> Result<Vec<Peer>, Failure> {
        let peer = if self.name == AGENT_HOST {
            TOOL_HOST
        } else {
            AGENT_HOST
        };
        Ok(vec![Peer {
            id: self.mesh.node(peer),
            name: Some(name(peer)),
            state: PeerState::Connected,
            address: Some("127.0.0.1:1".into()),
            group: Some("X25519MLKEM768".into()),
            signature_scheme: Some("MLDSA65-Ed25519".into()),
            relayed_by: Vec::new(),
            heard_over_relays: None,
            path: Some(LinkPath::Direct),
            handshake_ms: Some(4.25),
            hello_ms: Some(1.0),
            rtts: Some(1),
            rtt_ms: Some(0.5),
            dialed: Some(self.name == AGENT_HOST),
            since: Some(UnixSeconds(1)),
            last_seen: Some(UnixSeconds(1_795_351_203)),
            membership_expires: Some(UnixSeconds(1_795_351_203)),
            groups: Vec::new(),
            site: None,
            versions: Some(DocumentVersions {
                root: 2,
                bundle: Some(7),
                revocations: Some(3),
            }),
            servers: vec![name("shop")],
            last_error: None,
            last_reason: None,
        }])
    }

    async fn postures(&self, query: PostureQuery) -> Result<PostureReport, Failure> {
        let unknown = query.node.is_some_and(|node| node != TOOL_HOST);
        if unknown {
            let text = "no such node is known here";
            return Err(Failure::new(FailureKind::NotFound, "unknown_node", text));
        }
        let posture = PostureInfo {
            word: "self-asserted".to_owned(),
            measured: UnixSeconds(1_795_351_203),
            age_s: 12,
            os: "debian".to_owned(),
            kernel: "6.1.38".to_owned(),
            secure_boot: false,
            disk_encryption: true,
            uptime_s: 3600,
            binary: None,
            hardening: vec!["aslr".to_owned()],
            digest: protocol::id::Digest::from_bytes([7; 32]),
        };
        let told = PostureInfo {
            age_s: 1500,
            ..posture.clone()
        };
        Ok(PostureReport {
            measured: posture,
            announced: Some(told.clone()),
            told: true,
            others: vec![NodePosture {
                node: name(TOOL_HOST),
                id: self.mesh.node(TOOL_HOST),
                posture: Some(told),
            }],
            left_out: 0,
        })
    }

    async fn dial(&self, _: Caller, dial: Dial) -> Result<Peer, Failure> {
        let message = format!("the peer at `{}` is of another mesh", dial.address);
        Err(Failure::new(FailureKind::Denied, "foreign_mesh", message))
    }

    async fn servers(&self) -> Result<Vec<Server>, Failure> {
        Ok(self.servers.lock().unwrap().values().cloned().collect())
    }

    async fn add_server(&self, _: Caller, add: AddServer) -> Result<Server, Failure> {
        let server = Server {
            name: add.name.clone(),
            spec: add.spec.info(),
            state: ServerState::Ready,
            tools: 4,
            last_words: Vec::new(),
            tools_left_out: 0,
            restarts: 0,
            last_error: None,
        };
        self.servers
            .lock()
            .unwrap()
            .insert(add.name, server.clone());
        Ok(server)
    }

    async fn remove_server(&self, _: Caller, name: Name) -> Result<(), Failure> {
        let removed = self.servers.lock().unwrap().remove(&name);
        removed
            .map(|_| ())
            .ok_or_else(|| not_found("unknown_server"))
    }

    async fn agents(&self) -> Result<Vec<Agent>, Failure> {
        Ok(self.agents.lock().unwrap().values().cloned().collect())
    }

    async fn add_agent(&self, _: Caller, add: AddAgent) -> Result<AgentToken, Failure> {
        let agent = Agent {
            name: add.name.clone(),
            created: UnixSeconds(0),
            last_used: None,
            has_token: true,
            human: add.human.clone(),
        };
        self.agents.lock().unwrap().insert(add.name.clone(), agent);
        Ok(AgentToken {
            name: add.name,
            human: add.human,
            token: Secret::new("hr_token".to_owned()),
            gateway_url: self.status_now().gateway_url,
        })
    }

    async fn remove_agent(&self, _: Caller, name: Name) -> Result<(), Failure> {
        let removed = self.agents.lock().unwrap().remove(&name);
        removed
            .map(|_| ())
            .ok_or_else(|| not_found("unknown_agent"))
    }

    async fn tools(&self, _: Caller, filter: ServerFilter) -> Result<Vec<Tool>, Failure> {
        if filter.node.is_some_and(|node| node.as_str() != TOOL_HOST) {
            return Err(not_found("unknown_node"));
        }
        let tools = [
            "check_inventory",
            "delete_record",
            "get_product_info",
            "update_price",
        ];
        Ok(tools
            .into_iter()
            .map(|tool| Tool {
                node: name(TOOL_HOST),
                server: name("shop"),
                name: tool.to_owned(),
                title: None,
                description: Some("Harmless\u{1b}[2J\u{202e}\nsecond line".to_owned()),
                digest: "00".to_owned(),
                annotations: None,
                added_intents: Vec::new(),
                input_schema: Some(raw(r#"{"type":  "object"}"#)),
                unlisted: false,
            })
            .collect())
    }

    async fn call(
        &self,
        _: Caller,
        call: CallRequest,
        notifications: mpsc::Sender<Box<RawValue>>,
    ) -> Result<CallReply, Failure> {
        let progress = r#"{"method":"notifications/progress","params":{"progress":1,"total":2,"message":"half\u001b[31m"}}"#;
        notifications.send(raw(progress)).await.unwrap();
        let mut reply = CallReply {
            ok: true,
            result: None,
            error: None,
            ms: 2.5,
            request_envelope_id: None,
            response_envelope_id: None,
            signers: vec![],
            hops: vec![],
            request_envelope: None,
            response_envelope: None,
        };
        match call.tool.as_str() {
            "denied" => {
                reply.ok = false;
                reply.error = Some(raw(
                    r#"{"code":-32050,"message":"policy `x` forbids it","data":{"reason":"policy","hint":"ask"}}"#,
                ));
            }
            "held" => {
                let waits = r#"{"method":"notifications/progress","params":{"progress":-9,"message":"waits for approval 1a2b3c4d, 9 s left: ask"}}"#;
                notifications.send(raw(waits)).await.unwrap();
                std::future::pending::<()>().await;
            }
            "hangs" => std::future::pending::<()>().await,
            "broken" => {
                reply.ok = false;
                reply.result = Some(raw(
                    r#"{"content":[{"type":"text","text":"it broke"}],"isError":true}"#,
                ));
            }
            _ => {
                let result = self.result_of(&call);
                reply.result = Some(raw(&result));
                let request = self
                    .mesh
                    .envelope(AGENT_HOST, &call.tool, call.arguments.get());
                let response = self.mesh.envelope(TOOL_HOST, &call.tool, &result);
                reply.request_envelope_id = Some(request.id);
                reply.response_envelope_id = Some(response.id);
                reply.signers = vec![request.signer, response.signer];
                if call.capture {
                    reply.request_envelope = Some(FileBytes(request.evidence));
                    reply.response_envelope = Some(FileBytes(response.evidence));
                }
            }
        }
        Ok(reply)
    }

    async fn inspect_request(&self, request: FileBytes) -> Result<MembershipRequestInfo, Failure> {
        if request.0 == b"forged" {
            let message = "the request is not signed by the keys in it";
            return Err(Failure::new(FailureKind::Denied, "bad_signature", message));
        }
        Ok(MembershipRequestInfo {
            node: self.mesh.node(TOOL_HOST),
            name: Some(name(TOOL_HOST)),
            created: UnixSeconds(0),
        })
    }

    async fn issue_membership(
        &self,
        _: Caller,
        issue: IssueMembership,
    ) -> Result<Admission, Failure> {
        Ok(Admission {
            node: self.mesh.node(TOOL_HOST),
            name: issue.name,
            mesh: self.mesh.id,
            expires: UnixSeconds(u64::from(issue.days) * 24 * 3600),
            file: FileBytes(b"admission".to_vec()),
        })
    }

    async fn decisions(&self, _: DecisionQuery) -> Result<Vec<Decision>, Failure> {
        Ok(vec![])
    }

    async fn find_decisions(&self, search: DecisionSearch) -> Result<DecisionPage, Failure> {
        Ok(decided::find(&self.decided.lock().unwrap(), &search))
    }

    fn trust(&self) -> Option<&dyn TrustOperations> {
        let trusting = self.trusting.as_ref()?;
        Some(trusting)
    }

    fn refused(&self, _: &'static str) {}
}
