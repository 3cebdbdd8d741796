//! Meshes of nodes in this process.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use node::app::{AppError, Composition, Node, Options};
use node::clock::{Clock, SystemClock};
use node::config::Config;
use node::control::{Caller, Operations as _};
use node::keys::passphrase::Passphrase;
use node::lane::Lane;
use node::session::{Fabric as _, McpCall, McpSession, Principal, ServerRef, SessionError};
use node::setup::{self, Founding};
use node::state_dir::StateDir;
use node::supervisor::{Signals, Stopped, Supervisor, Tasks};
use protocol::control::{AddAgent, AddServer, FileBytes, IssueMembership, ServerSpec, Status};
use protocol::id::NodeId;
use protocol::name::Name;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::fixture;
use crate::wait::{soon, until};

/// The request that opens a session.
pub const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}"#;

/// What opens the founding admin's key.
pub const ADMIN_PASSPHRASE: &str = "the admin of a test mesh";

/// How long a node of a test may take to end what is in flight.
const DRAIN: Duration = Duration::from_secs(5);

/// How long what a stopped node had begun besides may take to end.
const LET_GO: Duration = Duration::from_secs(5);

/// The local user, as the control API would name it.
pub const LOCAL: Caller = Caller { uid: 0, pid: None };

/// A name that is known to be one.
#[must_use]
pub fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A mesh whose state lives in a temporary directory.
pub struct TestMesh {
    home: TempDir,
}

/// A node that runs in this process.
pub struct TestNode {
    /// The node itself.
    pub node: Arc<Node>,
    /// Its state directory.
    pub state: PathBuf,
    /// Whether something else than the bundle in force decides here.
    pub lawless: bool,
    tasks: Tasks,
    running: JoinHandle<Stopped>,
}

/// Copies a state directory, with its modes, as a thief or a restored backup would.
pub fn copy_state(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    let permissions = std::fs::metadata(from).unwrap().permissions();
    std::fs::set_permissions(to, permissions).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy_state(&entry.path(), &target);
        } else if kind.is_file() {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A session with a server, as the gateway would hold it.
pub struct Session {
    session: Arc<dyn McpSession>,
    /// What belongs to no call.
    pub events: mpsc::Receiver<Bytes>,
    /// The response to `initialize`.
    pub response: Bytes,
}

impl TestMesh {
    /// Founds a mesh and runs its first node.
    pub async fn found(first: &str) -> (Self, TestNode) {
        let mesh = Self::empty();
        let state = mesh.state(first);
        mesh.found_at(first);
        let node = TestNode::start(&state).await;
        (mesh, node)
    }

    /// A home for states, without any.
    #[must_use]
    pub fn empty() -> Self {
        let home = TempDir::new().unwrap();
        Self { home }
    }

    /// Founds a mesh without running its node.
    pub fn found_at(&self, first: &str) {
        let founding = Founding {
            mesh: name("test"),
            node: name(first),
            groups: Vec::new(),
            site: None,
        };
        let admin = Passphrase::new(ADMIN_PASSPHRASE.to_owned().into()).unwrap();
        setup::found(&self.state(first), &founding, &admin).unwrap();
    }

    /// `host` with the fixture as `bench`, and `user`, which sees it, composed so.
    pub async fn pair(host: Composition, user: Composition) -> (Self, TestNode, TestNode) {
        let mesh = Self::empty();
        mesh.found_at("host");
        let host = TestNode::compose(&mesh.state("host"), host).await;
        host.attach_fixture("bench", &[]).await;
        let user = mesh.join_composed(&host, "user", user).await;
        user.sees("host", "bench").await;
        (mesh, host, user)
    }

    /// Where a host of this mesh keeps its state.
    #[must_use]
    pub fn state(&self, host: &str) -> PathBuf {
        self.home.path().join(host)
    }

    /// A file of this mesh's temporary directory.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// As [`TestMesh::join`], with a node that is composed otherwise.
    pub async fn join_composed(
        &self,
        founder: &TestNode,
        host: &str,
        composition: Composition,
    ) -> TestNode {
        let state = self.admit(founder, host).await;
        let node = TestNode::compose(&state, composition).await;
        node.linked(founder.id()).await;
        founder.linked(node.id()).await;
        node
    }

    /// Makes a host a member, with the files an operator would carry. Its node does not run yet.
    pub async fn admit(&self, founder: &TestNode, host: &str) -> PathBuf {
        self.admit_to(founder, host, &[]).await
    }

    /// The same, as a member of groups.
    pub async fn admit_to(&self, founder: &TestNode, host: &str, groups: &[&str]) -> PathBuf {
        let state = self.state(host);
        let identity = setup::identity(&state, Some(name(host))).unwrap();
        let issue = IssueMembership {
            request: FileBytes(identity.request),
            name: name(host),
            groups: groups.iter().map(|group| name(group)).collect(),
            site: None,
            days: 30,
        };
        let admission = founder.node.issue_membership(LOCAL, issue).await.unwrap();
        setup::join(&state, &admission.file.0).unwrap();
        state
    }

    /// Admits a host and runs its node until it has a link with the founder.
    pub async fn join(&self, founder: &TestNode, host: &str) -> TestNode {
        let state = self.admit(founder, host).await;
        let node = TestNode::start(&state).await;
        node.linked(founder.id()).await;
        founder.linked(node.id()).await;
        node
    }
}

impl TestNode {
    /// Runs the node of a state directory on free ports.
    pub async fn start(state: &Path) -> Self {
        Self::start_by(state, Arc::new(SystemClock)).await
    }

    /// The same by another clock than this host's.
    pub async fn start_by(state: &Path, clock: Arc<dyn Clock>) -> Self {
        let built = Self::try_start(state, clock).await;
        built.unwrap_or_else(|error| panic!("the node does not start: {error}"))
    }

    /// The same, where it may refuse to start.
    pub async fn try_start(state: &Path, clock: Arc<dyn Clock>) -> Result<Self, AppError> {
        Self::try_compose(state, Composition::by(clock)).await
    }

    /// Runs a node that is composed otherwise.
    pub async fn compose(state: &Path, composition: Composition) -> Self {
        let built = Self::try_compose(state, composition).await;
        built.unwrap_or_else(|error| panic!("the node does not start: {error}"))
    }

    async fn try_compose(state: &Path, composition: Composition) -> Result<Self, AppError> {
        let lawless = composition.danger_policy.is_some();
        let any = "127.0.0.1:0".parse().unwrap();
        let dir = StateDir::open(state).unwrap();
        let config = Config::load(&dir.config(), &|_| None).unwrap();
        let options = Options {
            state: state.to_owned(),
            listen: Some(any),
            gateway: Some(any),
            dial: Vec::new(),
        };
        let supervisor = Supervisor::new();
        let (tasks, readiness) = (supervisor.tasks(), supervisor.readiness());
        let mut composition = composition;
        if composition.lane.is_none() {
            // As the daemon runs.
            composition.lane = Lane::start().unwrap();
        }
        let node = Node::compose(&dir, &config, &options, composition, &tasks, &readiness).await?;
        let closing = Arc::clone(&node);
        let running = tokio::spawn(async move {
            let (_none, signals) = Signals::by_hand();
            let stopped = supervisor.run(signals, DRAIN).await;
            closing.close().await;
            stopped
        });
        let state = state.to_owned();
        Ok(Self {
            node,
            state,
            lawless,
            tasks,
            running,
        })
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.node.links().node()
    }

    /// Stops it in good order and returns its state directory.
    pub async fn stop(self) -> PathBuf {
        self.tasks.stop("the test says so");
        let stopped = soon(self.running).await.unwrap();
        assert!(stopped.reason.is_orderly(), "{stopped:?}");
        // What it had begun besides ends by itself and holds the lock of its directory until then; a
        // test that keeps a part of it is not waited for.
        let left = Arc::downgrade(&self.node);
        drop(self.node);
        let gone = async {
            while left.strong_count() > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        drop(tokio::time::timeout(LET_GO, gone).await);
        self.state
    }

    /// Waits until it has stopped because a part of it failed, and returns what it says.
    pub async fn failed(self) -> String {
        let stopped = soon(self.running).await.unwrap();
        assert!(!stopped.reason.is_orderly(), "{stopped:?}");
        stopped.reason.to_string()
    }

    /// What `hedgerow status` says.
    pub async fn status(&self) -> Status {
        self.node.status().await.unwrap()
    }

    /// How often each refusal was counted.
    pub async fn refusals(&self) -> BTreeMap<String, u64> {
        self.status().await.counters.refusals
    }

    /// Waits until status counts the refusal exactly `times`.
    pub async fn counted(&self, reason: &str, times: u64) {
        let what = format!("`{reason}` is counted {times} times");
        let mut last = BTreeMap::new();
        let looked = tokio::time::timeout(crate::wait::PATIENCE, async {
            loop {
                last = self.refusals().await;
                if last.get(reason).copied().unwrap_or_default() == times {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        assert!(looked.await.is_ok(), "{what}, but counted are {last:?}");
    }

    /// Waits for a link.
    pub async fn linked(&self, peer: NodeId) {
        let has = || async { self.node.links().get(peer).is_some() };
        until("the nodes are linked", has).await;
    }

    /// Waits until it knows so many relays of a node.
    pub async fn knows_relays(&self, of: NodeId, relays: usize) {
        let known = || async {
            let member = self.node.enforcer().members().member(&of);
            let record = member.and_then(|member| member.record.clone());
            record.is_some_and(|record| record.relays.len() == relays)
        };
        until("the relays are known", known).await;
    }

    /// Attaches the fixture and waits until its tools are known here.
    pub async fn attach_fixture(&self, server: &str, arguments: &[&str]) {
        self.attach(server, fixture::command(arguments)).await;
    }

    /// Attaches a command and waits until its tools are known here.
    pub async fn attach(&self, server: &str, command: Vec<String>) {
        let spec = ServerSpec::Stdio {
            command,
            env: BTreeMap::new(),
            cwd: None,
        };
        let add = AddServer {
            name: name(server),
            spec,
        };
        self.node.add_server(LOCAL, add).await.unwrap();
        let me = self.status().await.node.name;
        self.sees(me.as_str(), server).await;
    }

    /// Waits until a server with tools is known here and reachable, and returns where it is.
    pub async fn sees(&self, node: &str, server: &str) -> ServerRef {
        let known = || async { self.find(node, server).is_some() };
        until(&format!("`{node}/{server}` is known"), known).await;
        self.find(node, server).unwrap()
    }

    fn find(&self, node: &str, server: &str) -> Option<ServerRef> {
        let servers = self.node.fabric().servers();
        let found = servers.into_iter().find(|known| {
            let place = &known.server;
            let named = place.node.as_str() == node && place.server.as_str() == server;
            named && known.reachable && known.tools > 0
        });
        found.map(|known| known.server)
    }

    /// Opens a session on behalf of an agent.
    pub async fn open(
        &self,
        agent: &str,
        node: &str,
        server: &str,
    ) -> Result<Session, SessionError> {
        self.open_for(agent, None, node, server).await
    }

    /// The same of an agent that acts for a human.
    pub async fn open_for(
        &self,
        agent: &str,
        human: Option<&str>,
        node: &str,
        server: &str,
    ) -> Result<Session, SessionError> {
        let server = self.sees(node, server).await;
        self.open_at(agent, human, &server).await
    }

    /// Opens a session with a server whose tools need not be known here.
    pub async fn open_at(
        &self,
        agent: &str,
        human: Option<&str>,
        server: &ServerRef,
    ) -> Result<Session, SessionError> {
        let principal = Principal {
            agent: name(agent),
            human: human.map(|human| human.parse().unwrap()),
        };
        let fabric = self.node.fabric();
        let open = fabric.open(
            &principal,
            server,
            Bytes::from_static(INITIALIZE.as_bytes()),
        );
        let opened = soon(open).await?;
        Ok(Session {
            session: opened.session,
            events: opened.events,
            response: opened.response,
        })
    }

    /// Adds an agent and returns its token.
    pub async fn token(&self, agent: &str) -> String {
        let add = AddAgent {
            name: name(agent),
            human: None,
        };
        let added = self.node.add_agent(LOCAL, add).await.unwrap();
        added.token.expose().to_owned()
    }
}

impl Session {
    /// Starts a call of a tool.
    pub async fn begin(
        &self,
        id: u64,
        tool: &str,
        arguments: &str,
    ) -> Result<McpCall, SessionError> {
        let message = tool_call(id, tool, arguments);
        soon(self.session.request(message.into())).await
    }

    /// Sends a message that belongs to no call.
    pub async fn send(&self, message: &str) -> Result<(), SessionError> {
        soon(self.session.send(message.to_owned().into())).await
    }

    /// Calls a tool and returns its answer.
    pub async fn call(&self, id: u64, tool: &str, arguments: &str) -> Result<Value, SessionError> {
        last(&mut self.begin(id, tool, arguments).await?).await
    }

    /// Sends any request and returns its answer.
    pub async fn ask(&self, message: &str) -> Result<Value, SessionError> {
        let request = self.session.request(message.to_owned().into());
        last(&mut soon(request).await?).await
    }

    /// Ends it.
    pub async fn close(&self) {
        self.session.close().await;
    }
}

/// A `tools/call` request whose progress token is its id.
#[must_use]
pub fn tool_call(id: u64, tool: &str, arguments: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments},"_meta":{{"progressToken":{id}}}}}}}"#
    )
}

/// The next message of a call.
pub async fn next(call: &mut McpCall) -> Result<Value, SessionError> {
    let message = soon(call.inbound.recv()).await;
    let message = message.expect("a call ends with a response or an error")?;
    Ok(serde_json::from_slice(&message).unwrap())
}

/// The last message of a call.
pub async fn last(call: &mut McpCall) -> Result<Value, SessionError> {
    loop {
        let message = next(call).await?;
        if message.get("method").is_none() {
            return Ok(message);
        }
    }
}
