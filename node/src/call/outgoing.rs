//! The caller's side: sessions and calls with MCP servers anywhere in the mesh.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hedgerow_crypto::Primitives;
use protocol::envelope::stream::{CallIdentity, StreamState};
use protocol::envelope::{CallSeal, Direction, Payload};
use protocol::human::Human;
use protocol::id::{Digest, NodeId, RequestId, SessionId};
use protocol::name::Name;
use protocol::record::Point;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::conversation::{Broken, Exchange, Heard, Listener, Speaker, Topic};
use super::drain::{InFlight, Place};
use super::route::{Router, no_waypoint};
use super::trace::{Trace, Traced};
use super::{BoxRead, BoxWrite};
use crate::enforcement::{
    Answered, Copied, Draft, Enforcer, Message, NO_BUNDLE, Occasion, Origin, Passed, Path,
    RELAY_DELAYED, RouteQuestion, Stopped, Subject,
};
use crate::members::Resolved;
use crate::session::{
    ErrorKind, Fabric, KnownServer, MESSAGE_QUEUE, McpCall, McpSession, OpenSession, Principal,
    ServerRef, SessionError,
};
use crate::transport::StreamKind;
use crate::transport::frame::{FrameReader, FrameWriter};

mod announced;
mod end;
mod pump;
mod told;

pub use announced::RECORD_WAIT;
use end::End;
use pump::{again, elsewhere, other_key, pump_call, pump_session};
use told::{broken, place};

/// How often a message is signed anew and sent again when the other node says it has just
/// restarted and cannot know whether it saw it. It refused before acting, so this is safe.
const RESTART_RETRIES: u32 = 4;

/// Pause between those, longer together than any reservation reaches.
const RESTART_PAUSE: Duration = Duration::from_millis(1100);

/// The refusals after which a message may be sent again.
const RETRIED: [&str; 2] = ["issued_before_restart", "issued_before_start"];

/// The refusal of a call whose tool has, at its own node, another digest than this node signed.
const OTHER_TOOL: &str = "header_body_mismatch";

/// The refusal of a call that was sealed to a key its far end has no more, as after a restart.
const OTHER_KEY: &str = "sealing_key_unknown";

/// The refusals by which a relay, or whoever it delivered to, says that another way may do: it
/// cannot carry this, or does not know enough of what is in force. The far end starts a request at
/// most once, so trying it costs nothing but the try.
const OF_THE_WAY: [&str; 11] = [
    "next_hop_unreachable",
    "relaying_not_offered",
    "too_many_relayed",
    "node_stopping",
    "not_on_route",
    "clock_behind",
    "lease_expired",
    "no_timestamp",
    "restored_not_synced",
    NO_BUNDLE,
    RELAY_DELAYED,
];

/// The refusal of a copy of a request that was started already.
const STARTED: &str = "request_started";

/// Opens streams to nodes, this one included (in memory).
#[async_trait]
pub trait Dialer: Send + Sync {
    /// Opens a stream.
    ///
    /// # Errors
    /// Why there is no path to the node.
    async fn open(
        &self,
        node: NodeId,
        kind: StreamKind,
    ) -> Result<(Origin, BoxRead, BoxWrite), SessionError>;

    /// Whether a stream could be opened now, dialing if need be.
    fn reachable(&self, node: &NodeId) -> bool;

    /// Whether there is a link.
    fn linked(&self, node: &NodeId) -> bool;

    /// Asks whoever may know it for the newest record of a node; returns at once. What comes is in
    /// the directory then.
    fn ask_record(&self, of: NodeId);
}

/// What every session and call needs.
struct Core {
    enforcer: Arc<Enforcer>,
    dialer: Arc<dyn Dialer>,
    router: Router,
    tasks: TaskTracker,
    in_flight: InFlight,
}

/// Every server this node can name, over the mesh.
pub struct MeshFabric {
    core: Arc<Core>,
}

/// A session just opened, with its concrete type.
pub struct RemoteOpen {
    /// The response to `initialize`.
    pub response: Bytes,
    /// The session.
    pub session: Arc<RemoteSession>,
    /// What belongs to no call.
    pub events: mpsc::Receiver<Bytes>,
}

/// A session with one server.
pub struct RemoteSession {
    core: Arc<Core>,
    principal: Principal,
    server: ServerRef,
    id: SessionId,
    outbound: mpsc::Sender<Bytes>,
    end: Arc<End>,
}

/// Both directions of a stream that was opened for its first message.
struct Started {
    speaker: Speaker,
    listener: Listener,
    /// That message, signed, until it is sent.
    first: Vec<u8>,
    /// The digest of the tool called, as signed.
    tool_digest: Option<Digest>,
    /// The digest of the key it is sealed to.
    sealed_to: Option<Digest>,
    /// What a copy of that message must repeat.
    request: (RequestId, Copied),
    tried: Tried,
}

/// What begins a call or a session.
struct Ask<'a> {
    principal: &'a Principal,
    server: &'a ServerRef,
    session: SessionId,
    kind: StreamKind,
    body: &'a [u8],
    trace: Option<&'a Trace>,
}

/// The ways tried for one request, and its first message once one was sent.
#[derive(Default)]
struct Tried {
    routes: Vec<Vec<NodeId>>,
    first: Option<(RequestId, Copied)>,
    /// Whether one of them may have begun it.
    in_doubt: bool,
}

impl MeshFabric {
    /// A fabric that signs through `enforcer` and reaches nodes through `dialer`.
    #[must_use]
    pub fn new(
        enforcer: Arc<Enforcer>,
        dialer: Arc<dyn Dialer>,
        tasks: TaskTracker,
        in_flight: InFlight,
    ) -> Self {
        let router = Router::new(Arc::clone(&enforcer), Arc::clone(&dialer));
        Self {
            core: Arc::new(Core {
                enforcer,
                dialer,
                router,
                tasks,
                in_flight,
            }),
        }
    }

    /// What plans the ways of calls.
    #[must_use]
    pub fn router(&self) -> &Router {
        &self.core.router
    }

    /// As [`Fabric::open`], with the session's own type, which can trace.
    ///
    /// # Errors
    /// As [`Fabric::open`].
    pub async fn open_remote(
        &self,
        principal: &Principal,
        server: &ServerRef,
        initialize: Bytes,
    ) -> Result<RemoteOpen, SessionError> {
        let placed = |e: SessionError| place(e, server);
        let _place_in_flight = self.core.enter(&principal.agent, server).await?;
        let id = self
            .core
            .enforcer
            .new_session_id()
            .map_err(|s| placed(s.into_error()))?;
        let ask = Ask {
            principal,
            server,
            session: id,
            kind: StreamKind::Session,
            body: &initialize,
            trace: None,
        };
        let (started, heard) = self.core.open(&ask).await.map_err(|b| placed(broken(b)))?;
        let Started {
            mut speaker,
            mut listener,
            ..
        } = started;
        speaker.keep_open();
        listener.keep_open();
        let (outbound, to_send) = mpsc::channel(MESSAGE_QUEUE);
        let (to_events, events) = mpsc::channel(MESSAGE_QUEUE);
        let end = Arc::new(End::default());
        let pump = pump_session(speaker, listener, to_send, to_events, Arc::clone(&end));
        self.core.tasks.spawn(pump);
        let session = Arc::new(RemoteSession {
            core: Arc::clone(&self.core),
            principal: principal.clone(),
            server: server.clone(),
            id,
            outbound,
            end,
        });
        Ok(RemoteOpen {
            response: heard.body.into(),
            session,
            events,
        })
    }
}

#[async_trait]
impl Fabric for MeshFabric {
    fn servers(&self) -> Vec<KnownServer> {
        let enforcer = &self.core.enforcer;
        let now = enforcer.clock().now().seconds();
        let mut known: Vec<KnownServer> = Vec::new();
        for member in enforcer.members().all() {
            if member.membership.valid_at(now).is_err() {
                continue;
            }
            let node_id = member.membership.node();
            // Still known by name, so that whoever calls it hears that it is revoked.
            let barred = enforcer.standing().member(&member.membership).is_err();
            let node = &member.membership.name;
            // Unless another has taken its name.
            let heir = || matches!(enforcer.members().resolve(node, now), Resolved::One(m) if m.membership.node() != node_id);
            if barred && heir() {
                continue;
            }
            let servers = member.record.iter().flat_map(|r| &r.servers);
            known.extend(servers.map(|server| KnownServer {
                server: ServerRef {
                    node_id,
                    node: node.clone(),
                    server: server.name.clone(),
                },
                reachable: !barred && self.core.reachable(&node_id),
                tools: server.tools.len(),
            }));
        }
        known.sort_by(|a, b| {
            let key = |k: &KnownServer| (k.server.node.clone(), k.server.server.clone());
            key(a).cmp(&key(b))
        });
        known
    }

    async fn open(
        &self,
        principal: &Principal,
        server: &ServerRef,
        initialize: Bytes,
    ) -> Result<OpenSession, SessionError> {
        let opened = self.open_remote(principal, server, initialize).await?;
        Ok(OpenSession {
            response: opened.response,
            session: opened.session,
            events: opened.events,
        })
    }
}

impl RemoteSession {
    /// As [`McpSession::request`], noting the call's envelopes in `trace`.
    ///
    /// # Errors
    /// As [`McpSession::request`].
    pub async fn request_traced(
        &self,
        message: Bytes,
        trace: Arc<Trace>,
    ) -> Result<McpCall, SessionError> {
        self.start_call(message, Some(trace)).await
    }

    async fn start_call(
        &self,
        message: Bytes,
        trace: Option<Arc<Trace>>,
    ) -> Result<McpCall, SessionError> {
        if self.end.closed.is_cancelled() {
            return Err(self.has_ended());
        }
        let place_in_flight = self.core.enter(&self.principal.agent, &self.server).await?;
        let begin = Begin {
            core: Arc::clone(&self.core),
            principal: self.principal.clone(),
            server: self.server.clone(),
            session: self.id,
            message,
            trace,
        };
        let started = begin
            .start(Tried::default())
            .await
            .map_err(|b| place(broken(b), &self.server))?;
        let (to_caller, inbound) = mpsc::channel(MESSAGE_QUEUE);
        let (outbound, from_caller) = mpsc::channel(MESSAGE_QUEUE);
        let end = Arc::clone(&self.end);
        self.core.tasks.spawn(async move {
            pump_call(begin, started, to_caller, from_caller, &end).await;
            drop(place_in_flight);
        });
        Ok(McpCall { inbound, outbound })
    }

    /// What is told whoever uses it after its end.
    fn has_ended(&self) -> SessionError {
        if let Some(why) = self.ended_because() {
            return why;
        }
        let text = "the session with the server has ended";
        let error = SessionError::new(ErrorKind::BrokenStream, "session_closed", text);
        place(error, &self.server).with_hint("initialize again")
    }
}

#[async_trait]
impl McpSession for RemoteSession {
    async fn request(&self, message: Bytes) -> Result<McpCall, SessionError> {
        self.start_call(message, None).await
    }

    async fn send(&self, message: Bytes) -> Result<(), SessionError> {
        let sent = self.outbound.send(message).await;
        sent.map_err(|_| self.has_ended())
    }

    async fn close(&self) {
        self.end.closed.cancel();
    }

    fn ended_because(&self) -> Option<SessionError> {
        let stopped = self.end.why.get()?;
        Some(place(stopped.clone().into_error(), &self.server))
    }
}

/// A session that nobody holds any more is closed.
impl Drop for RemoteSession {
    fn drop(&mut self) {
        self.end.closed.cancel();
    }
}

/// What begins a call, kept to begin it again after the other node's restart.
struct Begin {
    core: Arc<Core>,
    principal: Principal,
    server: ServerRef,
    session: SessionId,
    message: Bytes,
    trace: Option<Arc<Trace>>,
}

impl Begin {
    async fn start(&self, tried: Tried) -> Result<Started, Broken> {
        let ask = Ask {
            principal: &self.principal,
            server: &self.server,
            session: self.session,
            kind: StreamKind::Call,
            body: &self.message,
            trace: self.trace.as_deref(),
        };
        self.core.start(&ask, tried).await
    }

    /// Waits for another digest of the tool called than the one signed, after a refusal that
    /// says there is one. False if none came in time.
    async fn tool_changed(&self, signed: Option<Digest>) -> bool {
        let Ok(message) = Message::read(&self.message) else {
            return false;
        };
        let described = message.described();
        let known = || self.core.known_digest(&self.server, described) != signed;
        self.core.announced(known).await
    }
}

impl Started {
    /// Sends the first message, once. Not cancel safe.
    async fn send(&mut self) -> Result<(), Broken> {
        self.speaker.send(std::mem::take(&mut self.first)).await
    }

    /// What was tried, for a copy over another route, and failed so.
    fn tried_once(&mut self, broken: &Broken) -> Tried {
        let mut tried = std::mem::take(&mut self.tried);
        tried.first.get_or_insert_with(|| self.request.clone());
        // A refusal by such a name says that nothing was begun; everything else leaves it open.
        let refused = matches!(broken, Broken::Stopped(s) if OF_THE_WAY.contains(&s.reason()));
        tried.in_doubt |= !refused;
        tried
    }

    /// What a caller is told.
    fn explain(&self, broken: Broken) -> Broken {
        let begun = self.tried.first.is_some()
            && matches!(&broken, Broken::Stopped(s) if s.reason() == STARTED);
        explain(broken, self.tried.in_doubt || begun)
    }
}

/// What a caller is told of a copy that was refused: if what it copies may have been begun, nothing of
/// its own.
fn explain(broken: Broken, in_doubt: bool) -> Broken {
    match broken {
        Broken::Stopped(_) if in_doubt => {
            let text = "the call was begun over another route, which failed before its answer";
            Broken::Transport(text.to_owned())
        }
        broken => broken,
    }
}

impl Core {
    /// A place for a call or a session that is being opened.
    async fn enter(&self, agent: &Name, server: &ServerRef) -> Result<Place, SessionError> {
        match self.in_flight.enter() {
            Ok(place) => Ok(place),
            Err(stopped) => {
                let on = self.occasion(agent, server);
                let stopped = self.enforcer.refused(on, stopped).await;
                Err(place(stopped.into_error(), server))
            }
        }
    }

    /// What the refusal of an agent's own message is recorded with.
    fn occasion(&self, agent: &Name, server: &ServerRef) -> Occasion {
        Occasion {
            agent: Some(agent.clone()),
            server: Some(server.server.clone()),
            ..Occasion::of_peer(Point::Ingress, self.enforcer.identity().node())
        }
    }

    /// Opens a session: sends `initialize` until it is answered, over another route where one
    /// fails, anew where the other node has just restarted.
    async fn open(&self, ask: &Ask<'_>) -> Result<(Started, Heard), Broken> {
        let (mut attempt, mut renewed) = (0, false);
        let mut started = self.start(ask, Tried::default()).await?;
        loop {
            let heard = match started.send().await {
                Ok(()) => expect_response(&mut started.listener).await,
                Err(broken) => Err(broken),
            };
            let failed = match heard {
                Ok(heard) => return Ok((started, heard)),
                Err(failed) => failed,
            };
            if let Broken::Stopped(stopped) = &failed {
                started.speaker.refuse(stopped).await;
            }
            let sealed_to = started.sealed_to;
            started = if other_key(&failed) && !renewed {
                renewed = true;
                if !self.key_changed(ask.server, sealed_to).await {
                    return Err(failed);
                }
                self.start(ask, Tried::default()).await?
            } else if again(&failed, &mut attempt) {
                tokio::time::sleep(RESTART_PAUSE).await;
                self.start(ask, Tried::default()).await?
            } else if elsewhere(&failed, &started) {
                let in_doubt = started.tried.in_doubt;
                match self.start(ask, started.tried_once(&failed)).await {
                    Ok(started) => started,
                    Err(_) => return Err(explain(failed, in_doubt)),
                }
            } else {
                return Err(started.explain(failed));
            };
        }
    }

    /// Whether a call could go to this node now, over relays if need be.
    fn reachable(&self, node: &NodeId) -> bool {
        let relayed = || self.router.relays_to(node).is_some() && self.sealing_key(node).is_some();
        self.dialer.reachable(node) || relayed()
    }

    /// Begins over the best route that was not tried; the message is still to be
    /// [sent](Started::send).
    async fn start(&self, ask: &Ask<'_>, mut tried: Tried) -> Result<Started, Broken> {
        let message = match Message::read(ask.body) {
            Ok(message) => message,
            Err(e) => {
                let on = self.occasion(&ask.principal.agent, ask.server);
                return Err(Broken::unusable(&self.enforcer, on, &e).await);
            }
        };
        let described = message.described();
        self.learn_definition(ask.server, described).await;
        let question = RouteQuestion {
            agent: &ask.principal.agent,
            human: ask.principal.human.as_ref().map(Human::as_str),
            server: ask.server,
            method: described.method.as_deref().unwrap_or_default(),
            target: described.target.as_deref(),
        };
        let routes = match self.router.routes(&question) {
            Ok(routes) => routes,
            Err(demanded) => {
                let on = self.occasion(&ask.principal.agent, ask.server);
                let alerts = demanded.iter().find(|w| w.action.alerts());
                let alert = alerts.map(|waypoint| &waypoint.policy);
                let stopped = no_waypoint(&demanded);
                let refused = self.enforcer.refused_with(on, stopped, alert);
                return Err(Broken::Stopped(refused.await));
            }
        };
        let mut failed = None;
        for route in routes {
            if tried.routes.contains(&route) {
                continue;
            }
            tried.routes.push(route.clone());
            match self.start_on(ask, &message, route, tried).await {
                Ok(started) => return Ok(started),
                Err((broken @ Broken::Unreachable(_), so_far)) => {
                    failed = Some(broken);
                    tried = so_far;
                }
                Err((broken, _)) => return Err(broken),
            }
        }
        Err(failed.unwrap_or_else(|| Broken::Transport("no other route is known".to_owned())))
    }

    /// The way along a route, sealed where others carry it.
    async fn path(&self, ask: &Ask<'_>, route: Vec<NodeId>) -> Result<Path, Broken> {
        let identity = self.enforcer.identity();
        let far = ask.server.node_id;
        if route.len() <= 2 {
            return Ok(Path::direct(identity.node(), far));
        }
        let refused = |reason: &str, message: String| {
            let on = self.occasion(&ask.principal.agent, ask.server);
            let stopped = Stopped::refuse(reason, message);
            async move { Broken::refused(&self.enforcer, on, stopped).await }
        };
        let Some(key) = self.sealing_key(&far) else {
            let node = &ask.server.node;
            let message =
                format!("node `{node}` announces no sealing key, so no relay may carry it");
            return Err(refused("no_sealing_key", message).await);
        };
        let crypto = &*identity.crypto;
        match CallSeal::begin(&Primitives, crypto, &identity.mesh(), &key) {
            Ok((seal, sealed)) => Ok(Path::relayed(far, route, seal, sealed)),
            Err(e) => {
                let message = format!("the call cannot be sealed: {e}");
                Err(refused("sealing_failed", message).await)
            }
        }
    }

    /// Decides on and signs the first message for this route and opens the stream.
    async fn start_on(
        &self,
        ask: &Ask<'_>,
        message: &Message<'_>,
        route: Vec<NodeId>,
        tried: Tried,
    ) -> Result<Started, (Broken, Tried)> {
        match self
            .try_route(ask, message, route, tried.first.as_ref())
            .await
        {
            Ok(started) => Ok(Started { tried, ..started }),
            Err(broken) => Err((broken, tried)),
        }
    }

    async fn try_route(
        &self,
        ask: &Ask<'_>,
        message: &Message<'_>,
        route: Vec<NodeId>,
        copies: Option<&(RequestId, Copied)>,
    ) -> Result<Started, Broken> {
        let (agent, server, session) = (&ask.principal.agent, ask.server, ask.session);
        let human = ask.principal.human.as_ref().map(Human::as_str);
        let request_id = match copies {
            Some((request, _)) => *request,
            None => self.enforcer.new_request_id().map_err(Broken::Stopped)?,
        };
        let next = route.get(1).or(route.first()).copied();
        let next = next.unwrap_or(server.node_id);
        let path = self.path(ask, route).await?;
        let described = message.described();
        let tool_digest = self.known_digest(server, described);
        let answered = Answered {
            method: described.method.clone().unwrap_or_default(),
            target: described.target.clone(),
            tool_digest,
        };
        let draft = Draft {
            agent,
            human,
            path: &path,
            copies: copies.map(|(_, copied)| copied),
            direction: Direction::ToServer,
            request_id,
            session,
            parent: None,
            sequence: 0,
            stream_hash: None,
            server: &server.server,
            within: None,
            answers: None,
            tool_digest,
            address: None,
            refuses: false,
            message,
        };
        let passed = self
            .enforcer
            .enforce(Point::Ingress, Subject::Outgoing(draft))
            .await;
        let Passed::Sealed(sealed, issued) = passed.map_err(Broken::Stopped)? else {
            return Err(Broken::Transport(
                "an outgoing message was not sealed".to_owned(),
            ));
        };
        if let Some(trace) = ask.trace {
            // Nothing of a request is changed by policy: what is signed is the body asked about.
            let payload = (path.is_relayed() && trace.keeps_bytes()).then(|| Payload {
                salt: issued.salt,
                body: ask.body.to_vec(),
            });
            trace.request(Traced {
                id: sealed.id,
                issuer: self.enforcer.identity().node(),
                bytes: &sealed.bytes,
                sealed: payload.as_ref(),
            });
        }
        let opened = self.dialer.open(next, ask.kind).await;
        let (origin, read, write) = opened.map_err(Broken::Unreachable)?;
        let writer = FrameWriter::new(write);
        let exchange = Arc::new(Exchange::default());
        let id = described.id.as_deref().unwrap_or("null");
        let call = Arc::new(answered.clone());
        if let Err(s) = exchange.await_ours(id, answered) {
            let on = self.occasion(agent, server);
            return Err(Broken::refused(&self.enforcer, on, s).await);
        }
        let sealed_to = path.sealed().map(|sealed| sealed.key);
        let topic = Topic {
            agent: agent.clone(),
            human: human.map(str::to_owned),
            peer: origin,
            path,
            session,
            request_id,
            server: server.server.clone(),
            call,
            point: Point::Ingress,
            address: None,
            _open: issued.open.clone(),
        };
        let call = CallIdentity {
            request_id,
            session,
            server: server.server.clone(),
            human: human.map(str::to_owned),
            first: sealed.id,
        };
        let crypto = &*self.enforcer.identity().crypto;
        let out = StreamState::new(crypto, call.clone(), Direction::ToServer);
        let back = StreamState::new(crypto, call, Direction::ToClient);
        let (ours, theirs) = (Arc::clone(&self.enforcer), Arc::clone(&self.enforcer));
        let speaker = Speaker::new(ours, topic.clone(), Arc::clone(&exchange), out, writer);
        let listener = Listener::new(theirs, topic, exchange, back, FrameReader::new(read));
        let copied = copies.cloned().unwrap_or_else(|| {
            let first = Copied {
                first: sealed.id,
                issued: issued.at,
                salt: issued.salt,
            };
            (request_id, first)
        });
        Ok(Started {
            speaker,
            listener,
            first: sealed.bytes,
            tool_digest,
            sealed_to,
            request: copied,
            tried: Tried::default(),
        })
    }
}

/// Hears messages until the final response; the only one there may be on a session stream yet.
async fn expect_response(listener: &mut Listener) -> Result<Heard, Broken> {
    match listener.hear().await? {
        Some(heard) if heard.ends => Ok(heard),
        Some(_) => {
            let message = "a message came before the response to `initialize`";
            Err(listener.refused("message_before_response", message).await)
        }
        None => Err(listener.ended_early().await),
    }
}
