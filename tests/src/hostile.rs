//! A member with valid keys and a valid membership that keeps to no rule beyond the handshake.
//!
//! As a client it opens streams and writes any bytes; as a server it takes the streams that a
//! node opens to it and answers by hand ([`Conversation`]).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use node::call::wire::{EnvelopeFrame, RefusalFrame};
use node::clock::SystemClock;
use node::enforcement::describe;
use node::members::Members;
use node::overlay::MeshAdmission;
use node::setup;
use node::standing::Standing;
use node::state_dir::StateDir;
use node::transport::frame::{Frame, FrameReader, FrameType};
use node::transport::{
    Admission, Config, Gossip, GossipMessage, IncomingStream, LinkError, LinkInfo, Links,
    PeerIdentity, RecvStream, Refusal, SendStream, StreamHandler, StreamKind,
};
use protocol::codec;
use protocol::envelope::stream::{CallIdentity, StreamState};
use protocol::envelope::{Direction, Header, Kind, Payload, UnverifiedEnvelope};
use protocol::id::{Digest, EnvelopeId, NodeId};
use protocol::mcp;
use protocol::trust::{NodeRecord, ServerRecord, ToolRecord};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::forge::{Draft, Forge, intents, now};
use crate::mesh::{TestNode, name};
use crate::wait::{soon, until};

/// What the tool `echo` of a hostile server is announced as.
pub const ECHO: &str = r#"{"name":"echo","inputSchema":{"type":"object"}}"#;

/// The member.
pub struct Hostile {
    /// Makes its envelopes.
    pub forge: Forge,
    /// Its links.
    pub links: Links,
    streams: Mutex<mpsc::UnboundedReceiver<IncomingStream>>,
    stop: CancellationToken,
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Says what a member says and lets everyone in.
struct Credulous(MeshAdmission);

impl Admission for Credulous {
    fn hello(&self) -> Vec<u8> {
        self.0.hello()
    }

    fn admit(&self, _: &PeerIdentity, _: &[u8]) -> Result<(), Refusal> {
        Ok(())
    }
}

/// Hands calls, sessions, questions for records and relayed questions to the test, swallows the rest.
struct Catch(mpsc::UnboundedSender<IncomingStream>);

#[async_trait::async_trait]
impl StreamHandler for Catch {
    async fn handle(&self, mut stream: IncomingStream) {
        let handed = [
            StreamKind::Call,
            StreamKind::Session,
            StreamKind::Record,
            StreamKind::RelayedApproval,
        ];
        if handed.contains(&stream.kind) {
            let _ = self.0.send(stream);
        } else {
            let mut ignored = Vec::new();
            let _ = stream.recv.read_to_end(&mut ignored).await;
        }
    }
}

impl Hostile {
    /// The host whose state this is, without a node.
    #[must_use]
    pub fn enter(state: &Path) -> Self {
        let (member, caught) = Self::bind(state);
        member.links.serve(Arc::new(Catch(caught)));
        member
    }

    /// One that gossips as well, on this topic; nothing it hears goes on unless its verdict is
    /// said here.
    #[must_use]
    pub fn gossiping(state: &Path, topic: &str) -> (Self, Gossip, mpsc::Receiver<GossipMessage>) {
        let (member, caught) = Self::bind(state);
        let crypto = Arc::clone(&member.forge.identity.crypto);
        let (gossip, heard) = Gossip::start(&member.links, &[topic], crypto).unwrap();
        member.links.serve(Arc::new(Catch(caught)));
        (member, gossip, heard)
    }

    fn bind(state: &Path) -> (Self, mpsc::UnboundedSender<IncomingStream>) {
        let identity = setup::load(&StateDir::open(state).unwrap()).unwrap();
        let identity = Arc::new(identity);
        let crypto = Arc::clone(&identity.crypto);
        let members = Members::new(Arc::clone(&crypto), identity.root());
        let admission = MeshAdmission::new(
            Arc::clone(&identity),
            Arc::new(members),
            Arc::new(SystemClock),
            Arc::new(Standing::genesis(&identity).unwrap()),
        );
        let stop = CancellationToken::new();
        let links = Links::bind(
            Config::new("127.0.0.1:0".parse().unwrap()),
            Arc::clone(&identity.tls),
            crypto,
            Arc::new(Credulous(admission)),
            TaskTracker::new(),
            stop.clone(),
        );
        let links = links.unwrap();
        let (caught, streams) = mpsc::unbounded_channel();
        let member = Self {
            forge: Forge { identity },
            links,
            streams: Mutex::new(streams),
            stop,
        };
        (member, caught)
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.links.node()
    }

    /// The next stream of those kinds that a node opens to it.
    pub async fn caught(&self) -> Option<IncomingStream> {
        self.streams.lock().await.recv().await
    }

    /// Tries for a link with a node.
    pub async fn dial(&self, node: &TestNode) -> Result<LinkInfo, LinkError> {
        let remote = node.node.links().local_addr().unwrap();
        soon(self.links.dial(remote, Some(node.id()))).await
    }

    /// Links with a node, which sees it.
    pub async fn link(&self, node: &TestNode) {
        // After a restart of the node its old link may still stand here for a moment.
        let linked = || async {
            drop(self.dial(node).await);
            node.node.links().get(self.id()).is_some()
        };
        until("the hostile member is linked", linked).await;
    }

    /// Opens a stream.
    pub async fn stream(&self, to: NodeId, kind: StreamKind) -> Wire {
        let (send, recv) = soon(self.links.open(to, kind)).await.unwrap();
        Wire::of(send, recv)
    }

    /// Sends one frame with these envelope bytes on a new stream and returns the refusal's name.
    pub async fn refused(&self, to: NodeId, kind: StreamKind, envelope: &[u8]) -> String {
        let mut wire = self.stream(to, kind).await;
        wire.envelope(envelope).await;
        wire.refusal().await
    }

    /// Opens a session on a node's server and returns the stream that carries it.
    pub async fn session(&self, to: NodeId, draft: &Draft) -> Wire {
        let mut wire = self.stream(to, StreamKind::Session).await;
        wire.envelope(&self.forge.seal(draft).bytes).await;
        match wire.heard().await {
            Heard::Envelope(_) => wire,
            other => panic!("no session but {other:?}"),
        }
    }

    /// Tells a node that this one has a server with the tool [`ECHO`], and waits until it knows.
    pub async fn announce(&self, node: &TestNode, server: &str) {
        self.announce_as(node, server, 1, ECHO).await;
        let identity = &self.forge.identity;
        node.sees(identity.name().as_str(), server).await;
    }

    /// The digest of a tool's definition.
    #[must_use]
    pub fn digest(&self, definition: &str) -> Digest {
        mcp::tool_digest(&*self.forge.identity.crypto, definition).unwrap()
    }

    /// Sends a node the record of this sequence, in which `echo` of this server is so defined.
    pub async fn announce_as(
        &self,
        node: &TestNode,
        server: &str,
        sequence: u64,
        definition: &str,
    ) {
        let signed = self.record(server, sequence, &[("echo", definition)]);
        let (mut send, _recv) = soon(self.links.open(node.id(), StreamKind::Sync))
            .await
            .unwrap();
        send.write_all(&framed(&signed)).await.unwrap();
        send.finish();
    }

    /// Waits until a node asks it for its record, and answers with this one.
    pub async fn give(&self, record: &[u8]) {
        let mut asked = loop {
            let stream = soon(self.caught()).await.unwrap();
            if stream.kind == StreamKind::Record {
                break stream;
            }
        };
        let mut of = Vec::new();
        soon(asked.recv.read_to_end(&mut of)).await.unwrap();
        assert_eq!(of, self.id().as_bytes(), "it is asked for its own record");
        asked.send.write_all(&framed(record)).await.unwrap();
        asked.send.finish();
    }

    /// Its record of this sequence, in which the tools of this server are so defined.
    #[must_use]
    pub fn record(&self, server: &str, sequence: u64, tools: &[(&str, &str)]) -> Vec<u8> {
        let identity = &self.forge.identity;
        let tools = tools.iter().map(|(tool, definition)| ToolRecord {
            name: (*tool).to_owned(),
            digest: self.digest(definition),
            hints: None,
        });
        let record = NodeRecord {
            mesh: identity.mesh(),
            membership: identity.membership().bytes().to_vec(),
            addresses: vec![self.links.local_addr().unwrap().to_string()],
            relays: Vec::new(),
            sealing_key: None,
            servers: vec![ServerRecord {
                name: name(server),
                tools: tools.collect(),
            }],
            posture: None,
            sequence,
            issued: now(),
            expires: now().plus(600),
        };
        record.sign(&*identity.crypto, &*identity.signing).unwrap()
    }

    /// The next stream of this kind that a node opens to this one, its first message read.
    pub async fn accept(&self, kind: StreamKind) -> Conversation {
        let mut streams = self.streams.lock().await;
        loop {
            let stream = soon(streams.recv()).await.unwrap();
            if stream.kind == kind {
                let wire = Wire::of(stream.send, stream.recv);
                return Conversation::read(self.forge.clone(), wire).await;
            }
        }
    }
}

/// A record as it stands on a stream.
fn framed(record: &[u8]) -> Vec<u8> {
    let length = u32::try_from(record.len()).unwrap().to_be_bytes();
    [&length, record].concat()
}

/// One stream, both halves.
pub struct Wire {
    send: SendStream,
    reader: FrameReader<RecvStream>,
}

/// What came on a stream.
#[derive(Debug)]
pub enum Heard {
    /// An envelope.
    Envelope(Bytes),
    /// A refusal frame.
    Refusal(RefusalFrame),
    /// The stream ended in good order.
    End,
    /// It was reset, or something else that is no frame.
    Broken(String),
}

impl Wire {
    /// Both halves of a stream.
    #[must_use]
    pub fn of(send: SendStream, recv: RecvStream) -> Self {
        let reader = FrameReader::new(recv);
        Self { send, reader }
    }

    /// Writes any bytes. The other side may have reset the stream already; what matters is what
    /// it says.
    pub async fn raw(&mut self, bytes: &[u8]) {
        let _ = soon(self.send.write_all(bytes)).await;
    }

    /// Writes a frame of any type and length.
    pub async fn frame(&mut self, kind: u8, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        self.raw(&[&[kind], length.as_slice(), payload].concat())
            .await;
    }

    /// Writes an envelope frame without hop records.
    pub async fn envelope(&mut self, envelope: &[u8]) {
        let frame = EnvelopeFrame::direct(envelope.to_vec()).encode();
        self.frame(FrameType::Envelope.byte(), &frame).await;
    }

    /// Ends the sending half in good order.
    pub fn finish(&mut self) {
        self.send.finish();
    }

    /// What comes next.
    pub async fn heard(&mut self) -> Heard {
        match soon(self.reader.next()).await {
            Ok(None) => Heard::End,
            Err(error) => Heard::Broken(error.to_string()),
            Ok(Some(Frame { kind, payload })) => match kind {
                FrameType::Envelope => {
                    let frame = EnvelopeFrame::decode(&payload).unwrap();
                    Heard::Envelope(frame.envelope.to_vec().into())
                }
                FrameType::Refusal => Heard::Refusal(RefusalFrame::decode(&payload).unwrap()),
                other => panic!("a frame of type {other:?}"),
            },
        }
    }

    /// The name of the refusal that must come next.
    pub async fn refusal(&mut self) -> String {
        match self.heard().await {
            Heard::Refusal(refusal) => {
                assert!(!refusal.message.is_empty(), "a refusal says why");
                refusal.reason
            }
            other => format!("no refusal but {other:?}"),
        }
    }

    /// Whether nothing comes for a moment. Only for showing that something stays open; a slow
    /// machine can make it true, never false.
    pub async fn is_silent(&mut self) -> bool {
        let next = self.reader.next();
        tokio::time::timeout(Duration::from_millis(50), next)
            .await
            .is_err()
    }
}

/// A stream that a node opened, as the server's side sees it.
pub struct Conversation {
    /// The stream.
    pub wire: Wire,
    /// The header of the first message.
    pub first: Header,
    /// The identifier of the first envelope.
    pub id: EnvelopeId,
    /// The first message itself.
    pub body: Vec<u8>,
    forge: Forge,
    state: StreamState,
}

impl Conversation {
    async fn read(forge: Forge, mut wire: Wire) -> Self {
        let Heard::Envelope(envelope) = wire.heard().await else {
            panic!("a stream begins with an envelope");
        };
        let crypto = &*forge.identity.crypto;
        let unverified = UnverifiedEnvelope::parse(&envelope).unwrap();
        let (first, id) = (unverified.header().clone(), unverified.id(crypto));
        let payload = crate::forge::Parts::of(&envelope).payload;
        let payload: Payload = codec::decode(&payload, payload.len()).unwrap();
        let call = CallIdentity {
            request_id: first.claims.request_id,
            session: first.claims.session,
            server: first.claims.server.clone(),
            human: first.claims.human.clone(),
            first: id,
        };
        let state = StreamState::new(crypto, call, Direction::ToClient);
        Self {
            wire,
            first,
            id,
            body: payload.body,
            forge,
            state,
        }
    }

    /// The next message towards the client as an honest node would sign it.
    #[must_use]
    pub fn draft(&self, body: &str) -> Draft {
        let described = describe(body.as_bytes()).unwrap();
        let asked = &self.first;
        let server = asked.claims.server.as_str();
        let ping = r#"{"jsonrpc":"2.0","method":"notifications/x"}"#;
        let mut draft = self
            .forge
            .first(asked.cwt.iss, server, asked.claims.session, ping);
        draft.body = body.as_bytes().to_vec();
        let header = &mut draft.header;
        header.cwt.sub = asked.cwt.sub.clone();
        let claims = &mut header.claims;
        claims.kind = described.kind;
        claims.direction = Direction::ToClient;
        claims.request_id = asked.claims.request_id;
        claims.human.clone_from(&asked.claims.human);
        claims.parent = Some(self.id);
        claims.sequence = self.state.next_sequence();
        claims.intents = intents(&described);
        if described.kind == Kind::Response {
            claims.method = asked.claims.method.clone();
            claims.name = asked.claims.name.clone();
            claims.tool_digest = asked.claims.tool_digest;
            claims.last_sequence = Some(self.state.next_sequence());
            claims.stream_hash = Some(self.state.running_hash());
        } else {
            claims.method = described.method.unwrap();
            claims.name = described.target;
        }
        draft
    }

    /// Signs and sends a draft, whatever it says.
    pub async fn say(&mut self, draft: &Draft) {
        let sealed = self.forge.seal(draft);
        let crypto = &*self.forge.identity.crypto;
        self.state.push(crypto, sealed.id, draft.header.claims.kind);
        self.wire.envelope(&sealed.bytes).await;
    }

    /// Sends a notification as it should be.
    pub async fn notify(&mut self, n: u64) {
        let draft = self.draft(&notification(n));
        self.say(&draft).await;
    }

    /// Answers the first message as it should be answered.
    pub async fn answer(&mut self, result: &str) {
        let draft = self.draft(&self.response(result));
        self.say(&draft).await;
    }

    /// The response to the first message.
    #[must_use]
    pub fn response(&self, result: &str) -> String {
        let asked = describe(&self.body).unwrap();
        let id = asked.id.unwrap();
        format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)
    }
}

/// A progress notification.
#[must_use]
pub fn notification(n: u64) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":1,"progress":{n}}}}}"#
    )
}

/// The result of `initialize`.
pub const INITIALIZED: &str = r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"hostile","version":"1"}}"#;
