//! The two directions of one call or session stream, the same on both ends.
//!
//! [`Speaker`] signs and sends, [`Listener`] receives and verifies; each advances its own
//! [`StreamState`]. They share the [`Exchange`]: the requests each side still waits on, which is
//! what a response's header and body are checked against.
//!
//! What policy denies within a call costs that message and not the call: whoever asked is answered
//! by this node, in the form of every other refusal; a notification is left out.

use core::fmt::Display;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use protocol::envelope::stream::{StreamError, StreamState};
use protocol::envelope::{Direction, Kind, Payload};
use protocol::id::{Digest, EnvelopeId, NodeId, RequestId, SessionId};
use protocol::mcp::McpError;
use protocol::name::Name;
use protocol::record::Point;
use tokio::sync::{Notify, watch};

use super::refusing::{LINGER, refuse, tell, told};
use super::trace::{Trace, Traced};
use super::wire::{EnvelopeFrame, RefusalFrame};
use super::{BoxRead, BoxWrite};
use crate::enforcement::{
    Answered, Described, Draft, Dropped, Enforcer, Incoming, Message, Occasion, Open, Origin,
    Passed, Path, Stopped, Subject,
};
use crate::members::Member;
use crate::transport::frame::{FrameError, FrameReader, FrameType, FrameWriter, Unexpected};

/// Requests of one side that may wait for their responses on one stream at once. A server that
/// samples asks one or two at a time.
const MAX_AWAITED: usize = 64;

/// What all messages of one stream share.
#[derive(Debug, Clone)]
pub(super) struct Topic {
    pub(super) agent: Name,
    /// The human it acts for, as the caller's node says.
    pub(super) human: Option<String>,
    /// The other end of the link.
    pub(super) peer: Origin,
    /// The way to the other end of the call.
    pub(super) path: Path,
    pub(super) session: SessionId,
    pub(super) request_id: RequestId,
    pub(super) server: Name,
    /// The request it began with.
    pub(super) call: Arc<Answered>,
    /// Where this node stands: ingress or egress.
    pub(super) point: Point,
    /// At the server's node: the address of the caller's, as the next hop saw it.
    pub(super) address: Option<String>,
    /// What the call counts as open against, while anything of it lives.
    pub(super) _open: Option<Arc<Open>>,
}

impl Topic {
    const fn outbound(&self) -> Direction {
        match self.point {
            Point::Egress => Direction::ToClient,
            Point::Ingress | Point::Relay | Point::Link => Direction::ToServer,
        }
    }

    const fn inbound(&self) -> Direction {
        match self.outbound() {
            Direction::ToServer => Direction::ToClient,
            Direction::ToClient => Direction::ToServer,
        }
    }

    /// What whoever asked is answered in place of what policy denied.
    fn refusal(&self, enforcer: &Enforcer, id: Option<&str>, stopped: Stopped) -> Vec<u8> {
        let node = enforcer.identity().name().to_string();
        let error = stopped.into_error().at(node, self.server.to_string());
        error.to_json_rpc(id)
    }

    /// The refusal of a message after the first: the caller of a tool must not take it for one of its call.
    fn stops(&self, stopped: Stopped) -> Broken {
        Broken::Stopped(if self.call.method == "tools/call" {
            stopped.under_way()
        } else {
            stopped
        })
    }

    /// What a refusal on this stream is recorded with.
    pub(super) fn occasion(&self) -> Occasion {
        Occasion {
            point: self.point,
            peer: self.peer.peer,
            agent: Some(self.agent.clone()),
            server: Some(self.server.clone()),
            request: Some(self.request_id),
        }
    }
}

/// The requests without a response yet, by the raw JSON of their id.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    /// This node's answers to requests of the other side that it let nobody see, to be said: one
    /// for each at most, so never more than [`MAX_AWAITED`].
    refusals: Mutex<VecDeque<Vec<u8>>>,
    refused: Notify,
    /// Requests of this side.
    ours: Mutex<HashMap<String, Answered>>,
    /// Requests of the other side.
    theirs: Mutex<HashMap<String, Answered>>,
}

impl Exchange {
    pub(super) fn await_ours(&self, id: &str, request: Answered) -> Result<(), Stopped> {
        note(&self.ours, id, request)
    }

    pub(super) fn await_theirs(&self, id: &str, request: Answered) -> Result<(), Stopped> {
        note(&self.theirs, id, request)
    }

    /// The next answer of this node itself that is to be said. Cancel safe.
    pub(super) async fn refusal(&self) -> Vec<u8> {
        loop {
            if let Some(refusal) = self.take_refusal() {
                return refusal;
            }
            self.refused.notified().await;
        }
    }

    fn take_refusal(&self) -> Option<Vec<u8>> {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        refusals.pop_front()
    }

    fn refuse(&self, answer: Vec<u8>) {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        refusals.push_back(answer);
        drop(refusals);
        self.refused.notify_one();
    }

    /// The definitions of the tools whose calls wait for their responses.
    fn tools(&self) -> Vec<Digest> {
        let of = |side: &Mutex<HashMap<String, Answered>>| {
            let side = side.lock().unwrap_or_else(PoisonError::into_inner);
            let tools = side.values().filter_map(|request| request.tool_digest);
            tools.collect::<Vec<_>>()
        };
        [of(&self.ours), of(&self.theirs)].concat()
    }
}

/// Forgets a request, and returns what it was.
fn forget(map: &Mutex<HashMap<String, Answered>>, id: &str) -> Option<Answered> {
    let mut map = map.lock().unwrap_or_else(PoisonError::into_inner);
    map.remove(&key(id))
}

fn note(
    map: &Mutex<HashMap<String, Answered>>,
    id: &str,
    request: Answered,
) -> Result<(), Stopped> {
    let mut map = map.lock().unwrap_or_else(PoisonError::into_inner);
    if map.len() >= MAX_AWAITED {
        let message = format!("more than {MAX_AWAITED} requests wait for a response on one stream");
        return Err(Stopped::refuse("too_many_awaited", message));
    }
    if map.insert(key(id), request).is_some() {
        let message = "a request with the id of one that still waits for its response";
        return Err(Stopped::refuse("duplicate_request_id", message));
    }
    Ok(())
}

/// Ids are the same however they are escaped.
fn key(id: &str) -> String {
    let canonical = protocol::mcp::canonical(id).ok();
    let canonical = canonical.and_then(|bytes| String::from_utf8(bytes).ok());
    canonical.unwrap_or_else(|| id.to_owned())
}

/// Why a stream did not go on.
#[derive(Debug)]
pub(super) enum Broken {
    /// The other node refused or this one did.
    Stopped(Stopped),
    /// The stream ended without a final response.
    Stream(StreamError),
    /// There was no path to open a stream on.
    Unreachable(crate::session::SessionError),
    /// The stream failed below: reset, link lost, oversized frame.
    Transport(String),
}

impl Broken {
    /// A refusal made here, outside `enforce`: counted by its name and recorded.
    pub(super) async fn refused(enforcer: &Enforcer, on: Occasion, stopped: Stopped) -> Self {
        Self::Stopped(enforcer.refused(on, stopped).await)
    }

    /// The refusal of a body that is no message.
    pub(super) async fn unusable(enforcer: &Enforcer, on: Occasion, error: &McpError) -> Self {
        let message = format!("not a usable message: {error}");
        Self::refused(enforcer, on, Stopped::refuse(error.reason(), message)).await
    }
}

/// What became of a message that was to be said.
#[derive(Debug)]
pub(super) enum Said {
    /// It was sent, or of a response to the other side, this node's refusal in its place.
    Sent,
    /// It was sent, and is the final response.
    Last,
    /// Policy denies it, and the call goes on without it. Of a request: what whoever made it is
    /// answered.
    Withheld(Option<Vec<u8>>),
}

/// A message that was signed and sent, or not.
enum Uttered {
    Sent {
        ends: bool,
    },
    Withheld {
        kind: Kind,
        id: Option<String>,
        stopped: Stopped,
    },
}

/// The sending direction.
pub(super) struct Speaker {
    enforcer: Arc<Enforcer>,
    topic: Topic,
    exchange: Arc<Exchange>,
    state: StreamState,
    writer: FrameWriter<BoxWrite>,
}

impl Speaker {
    pub(super) const fn new(
        enforcer: Arc<Enforcer>,
        topic: Topic,
        exchange: Arc<Exchange>,
        state: StreamState,
        writer: FrameWriter<BoxWrite>,
    ) -> Self {
        Self {
            enforcer,
            topic,
            exchange,
            state,
            writer,
        }
    }

    /// Signs and sends one message.
    pub(super) async fn say(&mut self, body: &[u8], trace: Option<&Trace>) -> Result<Said, Broken> {
        let (kind, id, stopped) = match self.utter(body, trace, false).await? {
            Uttered::Sent { ends: true } => return Ok(Said::Last),
            Uttered::Sent { ends: false } => return Ok(Said::Sent),
            Uttered::Withheld { kind, id, stopped } => (kind, id, stopped),
        };
        tracing::debug!(reason = stopped.reason(), "withheld within a call");
        let answer = || self.topic.refusal(&self.enforcer, id.as_deref(), stopped);
        match kind {
            Kind::Notification => Ok(Said::Withheld(None)),
            Kind::Request => Ok(Said::Withheld(Some(answer()))),
            Kind::Response => {
                let answer = answer();
                self.answer(&answer).await?;
                Ok(Said::Sent)
            }
        }
    }

    /// Says this node's own refusal of what the other side asked, or of what it would have been
    /// answered.
    pub(super) async fn answer(&mut self, refusal: &[u8]) -> Result<(), Broken> {
        // Refusals are few: what they take is not in the future of every call.
        match Box::pin(self.utter(refusal, None, true)).await? {
            Uttered::Sent { .. } => Ok(()),
            Uttered::Withheld { stopped, .. } => Err(Broken::Stopped(stopped)),
        }
    }

    async fn utter(
        &mut self,
        body: &[u8],
        trace: Option<&Trace>,
        refuses: bool,
    ) -> Result<Uttered, Broken> {
        let message = match Message::read(body) {
            Ok(message) => message,
            Err(e) => return Err(Broken::unusable(&self.enforcer, self.own(), &e).await),
        };
        let described = message.described();
        let id = described.id.as_deref().unwrap_or("null");
        let answers = match described.kind {
            Kind::Response => forget(&self.exchange.theirs, id),
            Kind::Request => {
                let method = described.method.clone().unwrap_or_default();
                let target = described.target.clone();
                let request = Answered {
                    method,
                    target,
                    tool_digest: None,
                };
                if let Err(s) = self.exchange.await_ours(id, request) {
                    return Err(Broken::refused(&self.enforcer, self.own(), s).await);
                }
                None
            }
            Kind::Notification => None,
        };
        let call = self.state.call();
        let draft = Draft {
            agent: &self.topic.agent,
            human: self.topic.human.as_deref(),
            path: &self.topic.path,
            copies: None,
            direction: self.topic.outbound(),
            request_id: self.topic.request_id,
            session: self.topic.session,
            parent: Some(call.first),
            sequence: self.state.next_sequence(),
            stream_hash: Some(self.state.running_hash()),
            server: &self.topic.server,
            within: Some(&self.topic.call),
            answers: answers.as_ref(),
            tool_digest: None,
            address: self.topic.address.as_deref(),
            refuses,
            message: &message,
        };
        let passed = self
            .enforcer
            .enforce(self.topic.point, Subject::Outgoing(draft))
            .await;
        let sealed = match passed {
            Ok(Passed::Sealed(sealed, _)) => sealed,
            Ok(Passed::Withheld(stopped)) => {
                self.unsaid(described, answers);
                return Ok(Uttered::Withheld {
                    kind: described.kind,
                    id: described.id.clone(),
                    stopped,
                });
            }
            Err(stopped) => {
                self.unsaid(described, None);
                return Err(self.topic.stops(stopped));
            }
            Ok(_) => {
                let text = "an outgoing message was not sealed";
                return Err(Broken::Transport(text.to_owned()));
            }
        };
        let crypto = &*self.enforcer.identity().crypto;
        self.state.push(crypto, sealed.id, described.kind);
        let ends = self.state.ended();
        if ends && let Some(trace) = trace {
            trace.response(Traced {
                id: sealed.id,
                issuer: self.enforcer.identity().node(),
                bytes: &sealed.bytes,
                sealed: None,
            });
        }
        self.send(sealed.bytes).await?;
        Ok(Uttered::Sent { ends })
    }

    /// Takes back what was noted of a message that is not sent: nobody will answer it, and what it
    /// answers still waits.
    fn unsaid(&self, described: &Described, answers: Option<Answered>) {
        let id = described.id.as_deref().unwrap_or("null");
        if described.kind == Kind::Request {
            drop(forget(&self.exchange.ours, id));
        }
        if let Some(answered) = answers {
            // There is room: it was there a moment ago, and only this side's answers make any.
            drop(self.exchange.await_theirs(id, answered));
        }
    }

    /// What the refusal of a message of this side is recorded with.
    fn own(&self) -> Occasion {
        Occasion {
            peer: self.enforcer.identity().node(),
            ..self.topic.occasion()
        }
    }

    /// As [`Speaker::say`], for what nobody waits on: a message that may not be sent, such as an
    /// answer that comes too late, costs itself and not the session. It was counted. Returns what
    /// whoever made a request is answered that policy denies.
    pub(super) async fn pass_on(&mut self, body: &[u8]) -> Result<Option<Vec<u8>>, Broken> {
        match self.say(body, None).await {
            Ok(Said::Withheld(answer)) => Ok(answer),
            Ok(Said::Sent | Said::Last) => Ok(None),
            Err(Broken::Stopped(stopped)) => {
                tracing::debug!(reason = stopped.reason(), "a message was not sent");
                Ok(None)
            }
            Err(broken) => Err(broken),
        }
    }

    /// What both directions share.
    pub(super) fn exchange(&self) -> Arc<Exchange> {
        Arc::clone(&self.exchange)
    }

    /// Sends a signed message.
    pub(super) async fn send(&mut self, envelope: Vec<u8>) -> Result<(), Broken> {
        let frame = EnvelopeFrame::direct(envelope).encode();
        self.writer
            .write(FrameType::Envelope, &frame)
            .await
            .map_err(|e| Broken::Transport(e.to_string()))
    }

    /// Keeps the direction open after the response to `initialize`.
    pub(super) const fn keep_open(&mut self) {
        self.state.keep_open();
    }

    /// Tells the other side why this one stops, and ends the stream.
    pub(super) async fn refuse(&mut self, stopped: &Stopped) {
        refuse(&mut self.writer, stopped).await;
    }

    /// As [`Self::refuse`], and waits until that was heard.
    pub(super) async fn tell(&mut self, stopped: &Stopped) {
        tell(&mut self.writer, stopped).await;
    }

    /// Waits until the other side has what was said last.
    pub(super) async fn told(&mut self) {
        told(&mut self.writer).await;
    }

    /// Ends the direction in good order.
    pub(super) async fn finish(&mut self) {
        // The peer may be gone already; there is nobody left to tell.
        drop(self.writer.finish().await);
    }
}

/// Resolves when what is in force cuts a stream off: one of its nodes, the issuer of its
/// membership, the agent, or the definition of the tool that it calls is revoked, or a policy
/// severed the agent here.
async fn cut(
    enforcer: &Enforcer,
    topic: &Topic,
    exchange: &Exchange,
    member: &mut Option<Arc<Member>>,
    in_force: &mut watch::Receiver<u64>,
) -> Stopped {
    let (me, peer) = (enforcer.identity().node(), topic.path.far());
    let ingress = match topic.point {
        Point::Ingress => me,
        Point::Relay | Point::Egress | Point::Link => peer,
    };
    loop {
        in_force.mark_unchanged();
        let standing = enforcer.standing();
        // The directory forgets whoever is revoked, maybe before this looks: the last membership
        // known is the one to judge.
        if let Some(known) = enforcer.members().member(&peer) {
            *member = Some(known);
        }
        let barred = standing
            .node(&peer)
            .and_then(|()| {
                member
                    .as_ref()
                    .map_or(Ok(()), |m| standing.member(&m.membership))
            })
            .and_then(|()| standing.member(enforcer.identity().membership().facts()))
            .and_then(|()| standing.agent(&ingress, &topic.agent))
            .and_then(|()| exchange.tools().iter().try_for_each(|t| standing.tool(t)))
            .and_then(|()| topic.path.route().iter().try_for_each(|n| standing.node(n)));
        if let Err(barred) = barred {
            return Stopped::interrupting(&barred);
        }
        if let Some(stopped) = enforcer.cut_off(ingress, &topic.agent) {
            return stopped;
        }
        // What is in force lives as long as the enforcer.
        if in_force.changed().await.is_err() {
            return core::future::pending().await;
        }
    }
}

/// A message that was received, verified and may be acted on.
pub(super) struct Heard {
    pub(super) id: EnvelopeId,
    pub(super) issuer: NodeId,
    pub(super) body: Vec<u8>,
    /// The COSE_Sign it came in.
    pub(super) envelope: Vec<u8>,
    /// The hop records that came with it.
    pub(super) records: Vec<Vec<u8>>,
    /// What it holds, of the final response, where it was sealed and that is to be kept.
    pub(super) sealed: Option<Payload>,
    /// Whether it is the final response.
    pub(super) ends: bool,
}

/// The receiving direction.
pub(super) struct Listener {
    enforcer: Arc<Enforcer>,
    topic: Topic,
    exchange: Arc<Exchange>,
    state: StreamState,
    reader: FrameReader<BoxRead>,
    member: Option<Arc<Member>>,
    in_force: watch::Receiver<u64>,
    keeps_payloads: bool,
}

impl Listener {
    pub(super) fn new(
        enforcer: Arc<Enforcer>,
        topic: Topic,
        exchange: Arc<Exchange>,
        state: StreamState,
        reader: FrameReader<BoxRead>,
    ) -> Self {
        let in_force = enforcer.standing().changes();
        let member = enforcer.members().member(&topic.path.far());
        Self {
            enforcer,
            topic,
            exchange,
            state,
            reader,
            member,
            in_force,
            keeps_payloads: false,
        }
    }

    /// Keeps the direction open after the response to `initialize`.
    pub(super) const fn keep_open(&mut self) {
        self.state.keep_open();
    }

    /// Keeps, from now on, what sealed final responses hold.
    pub(super) const fn keep_payloads(&mut self) {
        self.keeps_payloads = true;
    }

    /// The failure of a direction that ended before its final response.
    pub(super) async fn ended_early(&mut self) -> Broken {
        let error = StreamError::EndedEarly;
        self.refused(error.reason(), "").await;
        Broken::Stream(error)
    }

    /// The refusal of what was heard, made outside `enforce`.
    pub(super) async fn refused(&mut self, reason: &str, message: &str) -> Broken {
        let stopped = Stopped::refuse(reason, message);
        Broken::refused(&self.enforcer, self.topic.occasion(), stopped).await
    }

    /// Whether anything came yet on a direction that began with nothing.
    pub(super) const fn has_heard(&self) -> bool {
        self.state.next_sequence() > 0
    }

    /// The next message, or `None` when the other side ended the direction in good order. Not
    /// cancel safe.
    pub(super) async fn hear(&mut self) -> Result<Option<Heard>, Broken> {
        loop {
            let Some(frame) = self.next_frame().await? else {
                return Ok(None);
            };
            if let Some(heard) = self.take(frame).await? {
                return Ok(Some(heard));
            }
        }
    }

    /// Judges what came; `None` of what nobody is to see.
    async fn take(&mut self, frame: EnvelopeFrame) -> Result<Option<Heard>, Broken> {
        let records: Vec<&[u8]> = frame.records.iter().map(|r| r.as_slice()).collect();
        let exchange = Arc::clone(&self.exchange);
        let awaited = move |id: &str| {
            exchange
                .ours
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get(&key(id))
                .cloned()
        };
        let incoming = Incoming {
            bytes: &frame.envelope,
            records: &records,
            origin: &self.topic.peer,
            direction: self.topic.inbound(),
            path: Some(&self.topic.path),
            stream: Some(&self.state),
            within: Some(&self.topic.call),
            awaited: &awaited,
        };
        let passed = self
            .enforcer
            .enforce(self.topic.point, Subject::Incoming(incoming))
            .await;
        let (verified, described) = match passed.map_err(|stopped| self.topic.stops(stopped))? {
            Passed::Verified(verified, described, _) => (verified, described),
            Passed::Dropped(dropped) => return Box::pin(self.leave_out(*dropped, frame)).await,
            _ => {
                let text = "an incoming message was not verified";
                return Err(Broken::Transport(text.to_owned()));
            }
        };
        let (id, kind) = (verified.id(), verified.header().claims.kind);
        let issuer = verified.header().cwt.iss;
        self.state.push(&*self.enforcer.identity().crypto, id, kind);
        let ends = self.state.ended();
        let mut described = *described;
        let instead = described.instead.take();
        let keeps = ends && self.keeps_payloads && verified.header().is_sealed();
        let sealed = keeps.then(|| Payload {
            salt: *verified.salt(),
            body: verified.body().to_vec(),
        });
        self.settle(kind, described).await?;
        let body = instead.map_or_else(|| verified.into_body(), Into::into);
        Ok(Some(Heard {
            id,
            issuer,
            body,
            envelope: frame.envelope.into(),
            records: frame.records.into_iter().map(Into::into).collect(),
            sealed,
            ends,
        }))
    }

    /// Counts a message that policy denies and nobody sees: a request is answered by this node, an
    /// answer is replaced by the refusal of it.
    async fn leave_out(
        &mut self,
        dropped: Dropped,
        frame: EnvelopeFrame,
    ) -> Result<Option<Heard>, Broken> {
        let Dropped {
            id,
            described,
            stopped,
        } = dropped;
        let kind = described.kind;
        tracing::debug!(reason = stopped.reason(), "left out within a call");
        self.state.push(&*self.enforcer.identity().crypto, id, kind);
        let refusal = self
            .topic
            .refusal(&self.enforcer, described.id.as_deref(), stopped);
        self.settle(kind, described).await?;
        match kind {
            Kind::Notification => Ok(None),
            Kind::Request => {
                self.exchange.refuse(refusal);
                Ok(None)
            }
            Kind::Response => Ok(Some(Heard {
                id,
                issuer: self.topic.path.far(),
                body: refusal,
                envelope: frame.envelope.into(),
                records: frame.records.into_iter().map(Into::into).collect(),
                sealed: None,
                ends: false,
            })),
        }
    }

    /// Watches for the other side to leave, or to say more than is kept, while it has nothing to
    /// say. Cancel safe.
    pub(super) async fn unexpected(&mut self) -> Unexpected {
        self.reader.unexpected().await
    }

    /// Waits until the other side, which has everything it waited for, ends its direction too:
    /// a node that closes its links before has told nobody the answer. Nothing more is heard.
    pub(super) async fn linger(&mut self) {
        let ended = async { while let Ok(Some(_)) = self.next_frame().await {} };
        // One that never does holds up nothing but this stream, and that not for long.
        let _ = tokio::time::timeout(LINGER, ended).await;
    }

    async fn next_frame(&mut self) -> Result<Option<EnvelopeFrame>, Broken> {
        let (topic, enforcer) = (&self.topic, &self.enforcer);
        let (member, in_force) = (&mut self.member, &mut self.in_force);
        let cut = cut(enforcer, topic, &self.exchange, member, in_force);
        let frame = next_frame(enforcer, &mut self.reader, || topic.occasion());
        // A stream waits for messages most of its life, so this is where it is cut off.
        tokio::select! {
            biased;
            stopped = cut => Err(Broken::refused(enforcer, topic.occasion(), stopped).await),
            frame = frame => frame,
        }
    }

    /// Notes a request of the other side, forgets one of ours that was answered.
    async fn settle(&mut self, kind: Kind, described: Described) -> Result<(), Broken> {
        let id = described.id.as_deref().unwrap_or("null");
        match kind {
            Kind::Request => {
                let method = described.method.unwrap_or_default();
                let request = Answered {
                    method,
                    target: described.target,
                    tool_digest: None,
                };
                match self.exchange.await_theirs(id, request) {
                    Ok(()) => Ok(()),
                    Err(s) => Err(Broken::refused(&self.enforcer, self.topic.occasion(), s).await),
                }
            }
            Kind::Response => {
                drop(forget(&self.exchange.ours, id));
                Ok(())
            }
            Kind::Notification => Ok(()),
        }
    }
}

/// The next envelope frame; a refusal frame or a failure below ends the stream. A refusal made here
/// is recorded with the occasion.
pub(super) async fn next_frame(
    enforcer: &Enforcer,
    reader: &mut FrameReader<BoxRead>,
    occasion: impl FnOnce() -> Occasion,
) -> Result<Option<EnvelopeFrame>, Broken> {
    let refused = |reason: &str, error: &dyn Display| {
        Stopped::refuse(reason, format!("the frame was refused: {error}"))
    };
    let stopped = match reader.next().await {
        Ok(None) => return Ok(None),
        // Not the peer's fault as far as this end can tell, and nobody is left to be told.
        Err(e @ FrameError::Io(_)) => return Err(Broken::Transport(e.to_string())),
        Err(e) => refused(e.name(), &e),
        Ok(Some(frame)) => match frame.kind {
            FrameType::Envelope => match EnvelopeFrame::decode(&frame.payload) {
                Ok(frame) => return Ok(Some(frame)),
                Err(e) => refused(e.reason(), &e),
            },
            FrameType::Refusal => match RefusalFrame::decode(&frame.payload) {
                // The other side's refusal is its own to count and to record.
                Ok(refusal) => {
                    enforcer.told(&refusal.reason);
                    return Err(Broken::Stopped(refusal.into_stopped()));
                }
                Err(e) => refused(e.reason(), &e),
            },
            FrameType::BatchedEnvelope | FrameType::BatchHead => {
                let message = "batched envelopes are not spoken in this version";
                refused("unknown_frame", &message)
            }
        },
    };
    Err(Broken::refused(enforcer, occasion(), stopped).await)
}
