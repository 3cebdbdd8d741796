//! The server's side: streams that peers open towards MCP servers of this node.
//!
//! Every message goes through `enforce` before an upstream sees it and before a peer does. What
//! an upstream fails with is told to the caller as a signed JSON-RPC error; what is wrong with an
//! envelope is told in a refusal frame and disturbs no other stream.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use protocol::envelope::stream::{CallIdentity, StreamState};
use protocol::envelope::{Direction, UnverifiedEnvelope, VerifiedEnvelope};
use protocol::id::{NodeId, SessionId};
use protocol::name::Name;
use protocol::record::Point;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::conversation::{Broken, Exchange, Listener, Said, Speaker, Topic, next_frame};
use super::drain::{InFlight, Place};
use super::refusing::tell;
use super::relay::Relay;
use super::serving::Serving;
use super::wire::EnvelopeFrame;
use super::{BoxRead, BoxWrite};
use crate::approvals::Approvals;
use crate::enforcement::{
    Answered, Enforcer, Hold, Incoming, Message, Occasion, Opening, Origin, Passed, Path, Stopped,
    Subject, other_definition,
};
use crate::session::{ErrorKind, MESSAGE_QUEUE, McpCall, McpSession, OpenSession, SessionError};
use crate::transport::frame::{FrameReader, FrameWriter, Unexpected};
use crate::transport::{IncomingStream, StreamHandler, StreamKind};

mod held;

/// How long a peer may take to send the first message of a stream it opened.
const FIRST_MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);

/// What a client says when it has the response to `initialize`.
const INITIALIZED: &str = "notifications/initialized";

/// How long the first call of a session waits for [`INITIALIZED`] to be told to the server. Both
/// left one after the other, so that this is a loss on the way and its repair.
const INITIALIZED_WAIT: Duration = Duration::from_secs(1);

/// Sessions one peer may have open here. One agent uses a handful; a host of many agents still
/// fits, and one peer cannot start processes without end. Half of the streams a peer may have
/// open ([`OUR_STREAMS`](crate::transport::limits::OUR_STREAMS)), so that sessions, which last,
/// always leave room for calls.
pub const MAX_SESSIONS_PER_PEER: usize = 128;

/// Sessions open here in all.
pub const MAX_SESSIONS: usize = 1024;

/// What a node's own MCP servers offer to this side.
#[async_trait]
pub trait Servers: Send + Sync {
    /// Opens a session with one of them.
    ///
    /// # Errors
    /// Why it could not be opened.
    async fn open(&self, server: &Name, initialize: Bytes) -> Result<OpenSession, SessionError>;
}

/// A session hosted here for an agent of a peer.
struct Hosted {
    agent: Name,
    human: Option<String>,
    server: Name,
    session: Arc<dyn McpSession>,
    /// Cancelled once the server was told that the client is initialized.
    initialized: CancellationToken,
}

impl Hosted {
    /// Waits until the server was told that the client is initialized. The first call has a
    /// stream of its own and can be here before that notification, which a client sends first;
    /// servers offer more after it. A client that never says it has waited once.
    async fn await_initialized(&self) {
        let told = self.initialized.cancelled();
        if tokio::time::timeout(INITIALIZED_WAIT, told).await.is_err() {
            self.initialized.cancel();
        }
    }
}

/// Every session by peer and id; empty while its server is still being opened.
type Sessions = HashMap<(NodeId, SessionId), Option<Arc<Hosted>>>;

/// The address of a linked peer as this node sees it.
pub type Observed = dyn Fn(NodeId) -> Option<String> + Send + Sync;

/// Serves the call and session streams of all peers.
pub struct Acceptor {
    enforcer: Arc<Enforcer>,
    servers: Arc<dyn Servers>,
    observed: Box<Observed>,
    in_flight: InFlight,
    sessions: Mutex<Sessions>,
    serving: Serving,
    relay: OnceLock<Arc<Relay>>,
    approvals: OnceLock<Arc<Approvals>>,
}

/// Takes its session out of the table when the stream that carries it ends, however it ends.
struct Registered<'a> {
    acceptor: &'a Acceptor,
    key: (NodeId, SessionId),
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.acceptor.table().remove(&self.key);
    }
}

/// The message that began a stream.
struct First {
    envelope: Box<VerifiedEnvelope>,
    /// The raw JSON of its id.
    id: Option<String>,
    /// What it must wait for, if policy wants it approved.
    hold: Option<Box<Hold>>,
}

/// What a call is carried with.
struct Carrying<'a> {
    topic: &'a Topic,
    hosted: &'a Hosted,
    speaker: &'a mut Speaker,
    /// What the client says within the call.
    said: &'a mut mpsc::Receiver<Vec<u8>>,
    /// Held while its server is told of it.
    beginning: &'a tokio::sync::Mutex<()>,
    /// Its place among the calls in flight, from when it begins until its response is out; before,
    /// among those that wait.
    place: &'a mut Option<Place>,
}

/// A stream whose first message was accepted.
struct Begun {
    topic: Topic,
    first: First,
    speaker: Speaker,
    listener: Listener,
}

#[async_trait]
impl StreamHandler for Acceptor {
    async fn handle(&self, stream: IncomingStream) {
        let origin = Origin {
            peer: stream.peer,
            address: (self.observed)(stream.peer),
        };
        let (recv, send) = (Box::new(stream.recv), Box::new(stream.send));
        Box::pin(self.serve(origin, stream.kind, recv, send)).await;
    }
}

impl Acceptor {
    /// An acceptor that offers `servers`.
    #[must_use]
    pub fn new(
        enforcer: Arc<Enforcer>,
        servers: Arc<dyn Servers>,
        observed: Box<Observed>,
        in_flight: InFlight,
    ) -> Self {
        Self {
            enforcer,
            servers,
            observed,
            in_flight,
            sessions: Mutex::default(),
            serving: Serving::default(),
            relay: OnceLock::new(),
            approvals: OnceLock::new(),
        }
    }

    /// Gives it where calls wait for approval; called once. Without it they are refused.
    pub fn hold_in(&self, approvals: Arc<Approvals>) {
        drop(self.approvals.set(approvals));
    }

    /// Gives it what carries streams that are for other nodes; called once. Without it they are
    /// refused as for another audience.
    pub fn relay_through(&self, relay: Arc<Relay>) {
        drop(self.relay.set(relay));
    }

    /// What carries this stream, if its first message is for another node of its route.
    fn onward(&self, frame: &EnvelopeFrame) -> Option<&Arc<Relay>> {
        let relay = self.relay.get()?;
        let me = self.enforcer.identity().node();
        let unverified = UnverifiedEnvelope::parse(&frame.envelope).ok()?;
        let header = unverified.header();
        (header.is_relayed() && header.cwt.aud != me).then_some(relay)
    }

    /// Sessions open here now.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.table().len()
    }

    /// Resolves once no stream of this peer is served or carried. Cancel safe.
    pub async fn serves_nothing_of(&self, peer: NodeId) {
        self.serving.nothing_of(peer).await;
    }

    /// Serves one stream to its end.
    pub async fn serve(&self, origin: Origin, kind: StreamKind, read: BoxRead, write: BoxWrite) {
        let peer = origin.peer;
        let _served = self.serving.begin(peer);
        let mut writer = FrameWriter::new(write);
        let mut reader = FrameReader::new(read);
        let begun = match self.first_frame(&origin, &mut reader).await {
            Ok(frame) => match self.onward(&frame) {
                Some(relay) => return relay.carry(origin, kind, frame, reader, writer).await,
                None => self.begin(origin, kind, frame, reader).await,
            },
            Err(broken) => Err(broken),
        };
        let begun = match begun {
            Ok((topic, first, make)) => {
                let (speaker, listener) = make(writer);
                Begun {
                    topic,
                    first,
                    speaker,
                    listener,
                }
            }
            Err(Broken::Stopped(stopped)) => {
                tracing::debug!(peer = %peer.short(), reason = stopped.reason(), "refused");
                // The node that stops waits until it is told.
                let _told = self.in_flight.wait();
                tell(&mut writer, &stopped).await;
                return;
            }
            Err(broken) => {
                tracing::debug!(peer = %peer.short(), ?broken, "stream ended before its first message");
                return;
            }
        };
        if kind == StreamKind::Session {
            // Apart: calls need not have its size.
            Box::pin(self.serve_session(begun)).await;
        } else {
            self.serve_call(begun).await;
        }
    }

    /// Reads the first message of a stream.
    async fn first_frame(
        &self,
        origin: &Origin,
        reader: &mut FrameReader<BoxRead>,
    ) -> Result<EnvelopeFrame, Broken> {
        let on = || Occasion::of_peer(Point::Egress, origin.peer);
        let first = next_frame(&self.enforcer, reader, on);
        match tokio::time::timeout(FIRST_MESSAGE_TIMEOUT, first).await {
            Ok(Ok(Some(frame))) => Ok(frame),
            Ok(Ok(None)) => {
                let message = "the stream ended without one";
                Err(self.stop(on(), "no_message", message).await)
            }
            Ok(Err(broken)) => Err(broken),
            Err(_) => {
                let message = "no message came in time";
                Err(self.stop(on(), "first_message_timeout", message).await)
            }
        }
    }

    /// Enforces the first message of a stream.
    async fn begin(
        &self,
        origin: Origin,
        kind: StreamKind,
        frame: EnvelopeFrame,
        reader: FrameReader<BoxRead>,
    ) -> Result<
        (
            Topic,
            First,
            impl FnOnce(FrameWriter<BoxWrite>) -> (Speaker, Listener),
        ),
        Broken,
    > {
        // Before its request counts as started, so that a copy over another route is told the same.
        if let Err(stopped) = self.in_flight.enter() {
            let on = Occasion::of_peer(Point::Egress, origin.peer);
            return Err(Broken::refused(&self.enforcer, on, stopped).await);
        }
        let records: Vec<&[u8]> = frame.records.iter().map(|r| r.as_slice()).collect();
        let incoming = Incoming {
            bytes: &frame.envelope,
            records: &records,
            origin: &origin,
            direction: Direction::ToServer,
            path: None,
            stream: None,
            within: None,
            awaited: &|_| None,
        };
        let passed = self
            .enforcer
            .enforce(Point::Egress, Subject::Incoming(incoming))
            .await;
        let (first, described, seal, open, address, hold) = match passed.map_err(Broken::Stopped)? {
            Passed::Verified(first, described, opening) => {
                let Opening {
                    seal,
                    open,
                    address,
                    ..
                } = opening;
                (first, *described, seal, open, address, None)
            }
            Passed::Held(held) => {
                let held = *held;
                let address = held.hold.address().map(str::to_owned);
                (
                    held.envelope,
                    held.described,
                    held.seal,
                    None,
                    address,
                    Some(Box::new(held.hold)),
                )
            }
            Passed::Sealed(..) | Passed::Crossed(_) | Passed::Withheld(_) | Passed::Dropped(_) => {
                return Err(Broken::Transport(
                    "an incoming message was not verified".to_owned(),
                ));
            }
        };
        let claims = &first.header().claims;
        let answered = Answered {
            method: claims.method.clone(),
            target: claims.name.clone(),
            tool_digest: claims.tool_digest,
        };
        let topic = Topic {
            agent: first.header().cwt.sub.clone(),
            human: claims.human.clone(),
            peer: origin,
            path: Path::back(first.header().cwt.iss, &claims.route, seal),
            session: claims.session,
            request_id: claims.request_id,
            server: claims.server.clone(),
            call: Arc::new(answered.clone()),
            point: Point::Egress,
            address,
            _open: open.map(Arc::new),
        };
        if (claims.method == "initialize") != (kind == StreamKind::Session) {
            let message = "`initialize`, and only it, opens a session stream";
            let on = topic.occasion();
            return Err(self.stop(on, "wrong_stream_kind", message).await);
        }
        let exchange = Arc::new(Exchange::default());
        let id = described.id.as_deref().unwrap_or("null");
        if let Err(s) = exchange.await_theirs(id, answered) {
            return Err(Broken::refused(&self.enforcer, topic.occasion(), s).await);
        }
        let call = CallIdentity {
            request_id: topic.request_id,
            session: topic.session,
            server: topic.server.clone(),
            human: topic.human.clone(),
            first: first.id(),
        };
        let enforcer = Arc::clone(&self.enforcer);
        let shared = topic.clone();
        let make = move |writer| {
            let crypto = &*enforcer.identity().crypto;
            let out = StreamState::new(crypto, call.clone(), Direction::ToClient);
            let back = StreamState::new(crypto, call, Direction::ToServer);
            let speaker = Speaker::new(
                Arc::clone(&enforcer),
                shared.clone(),
                Arc::clone(&exchange),
                out,
                writer,
            );
            (
                speaker,
                Listener::new(enforcer, shared, exchange, back, reader),
            )
        };
        let first = First {
            envelope: first,
            id: described.id,
            hold,
        };
        Ok((topic, first, make))
    }

    async fn serve_session(&self, begun: Begun) {
        let Begun {
            topic,
            first,
            mut speaker,
            mut listener,
        } = begun;
        // Before a process is started for it: neither copies nor a crowd cost more than a look.
        let registered = match self.register((topic.path.far(), topic.session)) {
            Ok(registered) => registered,
            Err(stopped) => return self.refuse(&mut speaker, &topic, stopped).await,
        };
        let First { envelope, id, .. } = first;
        let body = envelope.into_body();
        let place = match self.in_flight.enter() {
            Ok(place) => place,
            Err(stopped) => return self.refuse(&mut speaker, &topic, stopped).await,
        };
        // A server may take a minute to start; a caller that has left by then must not keep its
        // place until it has. Dropping the opening ends what was started.
        let opened = tokio::select! {
            biased;
            opened = self.servers.open(&topic.server, body.into()) => opened,
            seen = listener.unexpected() => {
                return self.refuse(&mut speaker, &topic, abandoned(seen)).await;
            }
        };
        let opened = match opened {
            Ok(opened) => opened,
            Err(error) => {
                return self
                    .answer_error(&mut speaker, &topic, id.as_deref(), error)
                    .await;
            }
        };
        let OpenSession {
            response,
            session,
            mut events,
        } = opened;
        let hosted = Arc::new(Hosted {
            agent: topic.agent.clone(),
            human: topic.human.clone(),
            server: topic.server.clone(),
            session: Arc::clone(&session),
            initialized: CancellationToken::new(),
        });
        self.table()
            .insert(registered.key, Some(Arc::clone(&hosted)));
        let said = speaker.say(&response, None).await;
        if let Err(Broken::Stopped(stopped)) = &said {
            speaker.refuse(stopped).await;
        }
        drop(place);
        let mut refused = false;
        if said.is_ok() {
            speaker.keep_open();
            let ended = {
                let speaking = async {
                    while let Some(event) = events.recv().await {
                        let refusal = speaker.pass_on(&event).await?;
                        if let Some(refusal) = refusal
                            && let Err(error) = session.send(refusal.into()).await
                        {
                            tracing::debug!(%error, "the server was not told of a refusal");
                        }
                    }
                    Ok::<(), Broken>(())
                };
                let listening = async {
                    while let Some(heard) = listener.hear().await? {
                        let initialized = Message::read(&heard.body)
                            .is_ok_and(|m| m.described().method.as_deref() == Some(INITIALIZED));
                        match session.send(heard.body.into()).await {
                            Ok(()) => {}
                            // Out of place, such as an answer that comes too late: it costs
                            // itself, not the session.
                            Err(e) if e.kind == ErrorKind::InvalidMessage => {
                                self.stop(topic.occasion(), &e.reason, &e.message).await;
                            }
                            Err(e) => {
                                let on = topic.occasion();
                                return Err(self.stop(on, &e.reason, &e.message).await);
                            }
                        }
                        if initialized {
                            hosted.initialized.cancel();
                        }
                    }
                    Ok::<(), Broken>(())
                };
                tokio::select! { biased; ended = listening => ended, ended = speaking => ended }
            };
            match ended {
                Ok(()) => speaker.finish().await,
                Err(Broken::Stopped(stopped)) => {
                    speaker.refuse(&stopped).await;
                    refused = true;
                }
                Err(broken) => tracing::debug!(?broken, "session stream ended"),
            }
        }
        drop(registered);
        session.close().await;
        if refused {
            speaker.told().await;
        }
    }

    async fn serve_call(&self, begun: Begun) {
        let Begun {
            topic,
            first,
            mut speaker,
            mut listener,
        } = begun;
        let key = (topic.path.far(), topic.session);
        let hosted = self.table().get(&key).cloned().flatten();
        let belongs = |h: &Arc<Hosted>| {
            h.agent == topic.agent && h.human == topic.human && h.server == topic.server
        };
        let Some(hosted) = hosted.filter(belongs) else {
            let message = "no such session of this agent with this server is open here";
            let stopped = Stopped::refuse("unknown_session", message);
            return self.refuse(&mut speaker, &topic, stopped).await;
        };
        let id = first.id.clone();
        let mut place = None;
        let ended = {
            let (to_call, mut said) = mpsc::channel(MESSAGE_QUEUE);
            let beginning = tokio::sync::Mutex::new(());
            let listening = async {
                let heard = hand_over(&mut listener, &to_call).await;
                // A call that is just being begun is begun before it is dropped.
                drop(beginning.lock().await);
                heard
            };
            let carrying = self.carry(
                first,
                Carrying {
                    topic: &topic,
                    hosted: &hosted,
                    speaker: &mut speaker,
                    said: &mut said,
                    beginning: &beginning,
                    place: &mut place,
                },
            );
            tokio::select! { biased; ended = carrying => ended, ended = listening => ended }
        };
        match ended {
            Ok(None) => {
                speaker.finish().await;
                listener.linger().await;
            }
            Ok(Some(error)) => {
                self.answer_error(&mut speaker, &topic, id.as_deref(), error)
                    .await;
                listener.linger().await;
            }
            Err(Broken::Stopped(stopped)) => {
                // Few calls are refused now, so that what that takes is not in the future of all.
                Box::pin(speaker.tell(&stopped)).await;
            }
            Err(broken) => tracing::debug!(?broken, "call stream ended"),
        }
    }

    /// Carries a call to its end: waits until it may begin where it is held, has it begun, and hands
    /// messages on both ways. The final response was said, or the error is to be told.
    async fn carry(
        &self,
        first: First,
        carrying: Carrying<'_>,
    ) -> Result<Option<SessionError>, Broken> {
        let First { envelope, hold, .. } = first;
        let Carrying {
            topic,
            hosted,
            speaker,
            said,
            beginning,
            place,
        } = carrying;
        // Whatever it waits for: a node that stops tells its caller first.
        *place = Some(self.in_flight.wait());
        if envelope.header().claims.method != "ping" {
            hosted.await_initialized().await;
        }
        // What nobody approved may be defined as its server likes.
        let claims = &envelope.header().claims;
        let tool = claims.name.as_deref().unwrap_or_default();
        if (hold.is_some() || self.enforcer.has_approved(&topic.server, tool))
            && let Some(error) = self.as_defined(topic, hosted, &envelope).await?
        {
            return Ok(Some(error));
        }
        let _open = match &hold {
            Some(hold) => {
                // Few calls are held, so that what that takes is not in the future of all.
                let held = (&*envelope, &**hold);
                Box::pin(self.approval(topic, hosted, held, speaker, said)).await?
            }
            None => None,
        };
        match self.in_flight.enter() {
            Ok(entered) => *place = Some(entered),
            Err(stopped) => {
                let on = topic.occasion();
                return Err(Broken::refused(&self.enforcer, on, stopped).await);
            }
        }
        let body = envelope.into_body();
        let begun = {
            let _beginning = beginning.lock().await;
            hosted.session.request(body.into()).await
        };
        let McpCall {
            mut inbound,
            outbound,
        } = match begun {
            Ok(call) => call,
            Err(error) => return Ok(Some(error)),
        };
        let speaking = async {
            loop {
                match inbound.recv().await {
                    Some(Ok(message)) => {
                        match speaker.say(&message, None).await? {
                            Said::Last => return Ok(None),
                            Said::Sent | Said::Withheld(None) => {}
                            // A server that takes no more is about to end the call itself.
                            Said::Withheld(Some(refusal)) => {
                                drop(outbound.send(refusal.into()).await);
                            }
                        }
                    }
                    Some(Err(error)) => return Ok(Some(error)),
                    None => {
                        let message = "the server's answer was lost";
                        let on = topic.occasion();
                        return Err(self.stop(on, "upstream_silent", message).await);
                    }
                }
            }
        };
        let handing_on = async {
            while let Some(message) = said.recv().await {
                // A server that takes no more is about to end the call itself.
                if outbound.send(message.into()).await.is_err() {
                    break;
                }
            }
            std::future::pending().await
        };
        tokio::select! { biased; ended = speaking => ended, ended = handing_on => ended }
    }

    /// Whether the server of the session has the tool that is called as the call says, by the list it
    /// gives in that session. The error is why that is not known.
    async fn as_defined(
        &self,
        topic: &Topic,
        hosted: &Hosted,
        envelope: &VerifiedEnvelope,
    ) -> Result<Option<SessionError>, Broken> {
        let claims = &envelope.header().claims;
        let (Some(tool), Some(digest)) = (&claims.name, &claims.tool_digest) else {
            return Ok(None);
        };
        match hosted.session.defines_as(tool, digest).await {
            Ok(true) => Ok(None),
            Ok(false) => {
                let stopped = other_definition();
                Err(Broken::refused(&self.enforcer, topic.occasion(), stopped).await)
            }
            Err(error) => Ok(Some(error)),
        }
    }

    /// Tells the caller, signed, that the server failed.
    async fn answer_error(
        &self,
        speaker: &mut Speaker,
        topic: &Topic,
        id: Option<&str>,
        error: SessionError,
    ) {
        let node = self.enforcer.identity().name().to_string();
        let body = error.at(node, topic.server.to_string()).to_json_rpc(id);
        match speaker.say(&body, None).await {
            Ok(_) => speaker.finish().await,
            Err(Broken::Stopped(stopped)) => speaker.refuse(&stopped).await,
            Err(_) => {}
        }
    }

    /// A refusal made here, outside `enforce`: counted by its name and recorded.
    async fn stop(&self, on: Occasion, reason: &str, message: &str) -> Broken {
        Broken::refused(&self.enforcer, on, Stopped::refuse(reason, message)).await
    }

    /// Counts, records and then tells a refusal of a stream whose first message was accepted.
    async fn refuse(&self, speaker: &mut Speaker, topic: &Topic, stopped: Stopped) {
        let stopped = self.enforcer.refused(topic.occasion(), stopped).await;
        let _told = self.in_flight.wait();
        Box::pin(speaker.tell(&stopped)).await;
    }

    /// Takes a place for a session that is being opened.
    fn register(&self, key: (NodeId, SessionId)) -> Result<Registered<'_>, Stopped> {
        let mut table = self.table();
        let of_peer = table.keys().filter(|(node, _)| *node == key.0).count();
        let (reason, message) = if table.contains_key(&key) {
            ("duplicate_session", "a session of this id is open")
        } else if of_peer >= MAX_SESSIONS_PER_PEER || table.len() >= MAX_SESSIONS {
            let message = "too many sessions are open here; close some or try later";
            ("too_many_sessions", message)
        } else {
            table.insert(key, None);
            return Ok(Registered {
                acceptor: self,
                key,
            });
        };
        drop(table);
        Err(Stopped::refuse(reason, message))
    }

    fn table(&self) -> std::sync::MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hands what a client says within a call to whoever carries it, until the client is gone.
async fn hand_over(
    listener: &mut Listener,
    to_call: &mpsc::Sender<Vec<u8>>,
) -> Result<Option<SessionError>, Broken> {
    while let Some(heard) = listener.hear().await? {
        // A call that takes no more is about to end itself.
        if to_call.send(heard.body).await.is_err() {
            return std::future::pending().await;
        }
    }
    // Callers end their direction after the response: before it, they have gone.
    Err(Broken::Transport("the caller left".to_owned()))
}

/// Why a session is not opened after all.
fn abandoned(seen: Unexpected) -> Stopped {
    match seen {
        Unexpected::Gone => Stopped::refuse(
            "session_abandoned",
            "the caller ended the stream before its session was open",
        ),
        Unexpected::Full => Stopped::refuse(
            "message_before_response",
            "messages came before the response to `initialize`",
        ),
    }
}
