//! Test doubles: a cheap `Crypto`, and a fabric of scripted servers.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use protocol::crypto::{Algorithm, Crypto, CryptoError};
use protocol::id::NodeId;
use tokio::sync::mpsc;

use crate::session::{
    ErrorKind, Fabric, KnownServer, McpCall, McpSession, OpenSession, Principal, ServerRef,
    SessionError,
};

/// Injective enough for tests; not a hash anyone should use.
#[derive(Default)]
pub(crate) struct FakeCrypto(AtomicU64);

impl Crypto for FakeCrypto {
    fn sha256(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut out = [0; 32];
        for (lane, chunk) in out.chunks_mut(8).enumerate() {
            let mut hasher = DefaultHasher::new();
            hasher.write_usize(lane);
            parts.iter().for_each(|part| hasher.write(part));
            chunk.copy_from_slice(&hasher.finish().to_be_bytes());
        }
        out
    }

    fn verify(&self, _: Algorithm, _: &[u8], _: &[u8], _: &[u8]) -> Result<(), CryptoError> {
        Err(CryptoError::BadSignature)
    }

    fn fill_random(&self, out: &mut [u8]) -> Result<(), CryptoError> {
        let draw = self.0.fetch_add(1, Ordering::Relaxed);
        let digest = self.sha256(&[&draw.to_be_bytes()]);
        for (to, from) in out.iter_mut().zip(digest.iter().cycle()) {
            *to = *from;
        }
        Ok(())
    }
}

/// The server's end of one call.
pub(crate) struct ServerCall {
    pub(crate) request: Bytes,
    pub(crate) to_client: mpsc::Sender<Result<Bytes, SessionError>>,
    pub(crate) from_client: mpsc::Receiver<Bytes>,
}

impl ServerCall {
    pub(crate) fn view(&self) -> serde_json::Value {
        serde_json::from_slice(&self.request).unwrap()
    }

    pub(crate) async fn say(&self, message: impl Into<Bytes>) {
        let _ = self.to_client.send(Ok(message.into())).await;
    }

    /// Answers with `result` as raw JSON.
    pub(crate) async fn result(&self, result: &str) {
        let id = &self.view()["id"];
        self.say(format!(
            r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#
        ))
        .await;
    }

    pub(crate) async fn heard(&mut self) -> serde_json::Value {
        serde_json::from_slice(&self.from_client.recv().await.unwrap()).unwrap()
    }
}

type Script = Arc<dyn Fn(ServerCall) -> BoxFuture<'static, ()> + Send + Sync>;

/// One scripted server.
#[derive(Clone)]
pub(crate) struct FakeServer {
    /// Answer to `initialize`, with `ID` in place of the id.
    pub(crate) initialize: Result<String, SessionError>,
    pub(crate) script: Script,
    /// What was sent outside of calls, `initialize` included.
    pub(crate) received: Arc<Mutex<Vec<Bytes>>>,
    /// The events end of each session opened.
    pub(crate) sessions: Arc<Mutex<Vec<Option<mpsc::Sender<Bytes>>>>>,
    pub(crate) closed: Arc<AtomicU64>,
}

impl FakeServer {
    pub(crate) fn new<F>(script: impl Fn(ServerCall) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self {
            initialize: Ok(INITIALIZED.to_owned()),
            script: Arc::new(move |call| Box::pin(script(call))),
            received: Arc::default(),
            sessions: Arc::default(),
            closed: Arc::default(),
        }
    }

    pub(crate) fn received(&self) -> Vec<Bytes> {
        self.received.lock().unwrap().clone()
    }

    pub(crate) async fn event(&self, message: impl Into<Bytes>) {
        let events = self
            .sessions
            .lock()
            .unwrap()
            .last()
            .unwrap()
            .clone()
            .unwrap();
        events.send(message.into()).await.unwrap();
    }
}

/// With odd whitespace, an unknown member and an odd number, to see that they survive.
pub(crate) const INITIALIZED: &str = "{ \"jsonrpc\":\"2.0\" ,\"id\":ID,\"result\":{\"protocolVersion\":\"2025-11-25\",\"capabilities\":{\"tools\":{\"listChanged\":true},\"prompts\":{},\"resources\":{\"subscribe\":true},\"logging\":{},\"completions\":{}},\"serverInfo\":{\"name\":\"fake\",\"version\":\"1\",\"x\":1.50e3}}}";

/// A fabric of scripted servers.
#[derive(Default)]
pub(crate) struct FakeFabric {
    pub(crate) servers: Mutex<HashMap<String, (ServerRef, FakeServer)>>,
}

impl FakeFabric {
    pub(crate) fn with(servers: &[(&str, &str, FakeServer)]) -> Arc<Self> {
        let fabric = Self::default();
        for (node, name, server) in servers {
            fabric.add(
                node,
                node.as_bytes().first().copied().unwrap_or(0),
                name,
                server.clone(),
            );
        }
        Arc::new(fabric)
    }

    pub(crate) fn add(&self, node: &str, id: u8, server: &str, fake: FakeServer) {
        let place = ServerRef {
            node_id: NodeId::from_bytes([id; 32]),
            node: node.parse().unwrap(),
            server: server.parse().unwrap(),
        };
        let key = format!("{place}#{id}");
        self.servers.lock().unwrap().insert(key, (place, fake));
    }
}

#[async_trait]
impl Fabric for FakeFabric {
    fn servers(&self) -> Vec<KnownServer> {
        let mut known: Vec<KnownServer> = self
            .servers
            .lock()
            .unwrap()
            .values()
            .map(|(server, _)| KnownServer {
                server: server.clone(),
                reachable: true,
                tools: 1,
            })
            .collect();
        known.sort_by_key(|k| k.server.to_string());
        known
    }

    async fn open(
        &self,
        _: &Principal,
        server: &ServerRef,
        initialize: Bytes,
    ) -> Result<OpenSession, SessionError> {
        let fake = self
            .servers
            .lock()
            .unwrap()
            .values()
            .find(|(place, _)| place == server)
            .map(|(_, fake)| fake.clone());
        let fake = fake.ok_or_else(|| {
            SessionError::new(ErrorKind::Unreachable, "unknown_server", "no such server")
        })?;
        let response = fake.initialize.clone()?;
        let request: serde_json::Value = serde_json::from_slice(&initialize).unwrap();
        fake.received.lock().unwrap().push(initialize);
        let (events, receiver) = mpsc::channel(crate::session::MESSAGE_QUEUE);
        let number = {
            let mut sessions = fake.sessions.lock().unwrap();
            sessions.push(Some(events));
            sessions.len() - 1
        };
        Ok(OpenSession {
            response: Bytes::from(response.replace("ID", &request["id"].to_string())),
            session: Arc::new(FakeSession(fake, number)),
            events: receiver,
        })
    }
}

struct FakeSession(FakeServer, usize);

#[async_trait]
impl McpSession for FakeSession {
    async fn request(&self, message: Bytes) -> Result<McpCall, SessionError> {
        let (to_client, inbound) = mpsc::channel(crate::session::MESSAGE_QUEUE);
        let (outbound, from_client) = mpsc::channel(crate::session::MESSAGE_QUEUE);
        let call = ServerCall {
            request: message,
            to_client,
            from_client,
        };
        tokio::spawn((self.0.script)(call));
        Ok(McpCall { inbound, outbound })
    }

    async fn send(&self, message: Bytes) -> Result<(), SessionError> {
        self.0.received.lock().unwrap().push(message);
        Ok(())
    }

    async fn close(&self) {
        self.0.closed.fetch_add(1, Ordering::SeqCst);
        self.0.sessions.lock().unwrap()[self.1] = None;
    }
}
