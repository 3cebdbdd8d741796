//! Node records: signing this node's own, and exchanging everyone's.
//!
//! The directory keeps what records say; their bytes are in the store, from where a peer whose link
//! comes up gets them. A record that came a moment ago may still be queued for the disk: sending
//! waits for it once. One that still cannot be read then is left out, and reaches the peer by
//! gossip, or when its node renews it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use protocol::codec;
use protocol::id::NodeId;
use protocol::limits::{MAX_DOCUMENT_BYTES, MAX_SERVERS, MAX_TOOLS};
use protocol::name::Name;
use protocol::time::UnixSeconds;
use protocol::trust::node_record::MAX_RECORD_LIFE_S;
use protocol::trust::{NodeRecord, ServerRecord, ToolRecord};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::MeshAdmission;
use crate::clock::Clock;
use crate::config::NodeRef;
use crate::identity::Identity;
use crate::members::{DirectoryError, Member, Members, Resolved};
use crate::posture::PostureKeeper;
use crate::store::{Store, StoreError, Write};
use crate::upstream::Upstreams;

/// The gossip topic of node records.
pub const TOPIC: &str = "hedgerow/1/records";

/// Most records sent on one sync stream. Larger directories reach a newcomer by gossip as records
/// are renewed.
const MAX_RECORDS_PER_SYNC: usize = 1024;

/// Most records read from the store at once.
const RECORDS_AT_ONCE: usize = 32;

/// How long a peer may take to send its records.
const SYNC_TIMEOUT: Duration = Duration::from_secs(30);

/// A record is renewed after a quarter of its life, so that three losses in a row harm nothing.
pub const RENEW_AFTER: Duration = Duration::from_secs(MAX_RECORD_LIFE_S / 4);

/// Most bytes of tools in this node's record: what a document may hold, less 64 KiB for all else
/// that may stand in it (the membership, addresses, relays, the posture, names of servers and the
/// signatures), each at its largest.
const MAX_TOOLS_BYTES: usize = MAX_DOCUMENT_BYTES - 64 * 1024;

/// Bytes of a tool in a record beside its name: its digest, its hints and the frames of all three.
const TOOL_BYTES: usize = 64;

/// Signs and exchanges records.
pub struct Records {
    identity: Arc<Identity>,
    members: Arc<Members>,
    admission: Arc<MeshAdmission>,
    upstreams: Arc<Upstreams>,
    store: Store,
    clock: Arc<dyn Clock>,
    sequence: AtomicU64,
    own: Mutex<Vec<u8>>,
    through: OnceLock<Vec<NodeRef>>,
    posture: OnceLock<Arc<PostureKeeper>>,
    /// Tools for which the record has no room, by server.
    unannounced: Mutex<BTreeMap<Name, usize>>,
}

impl Records {
    /// Records of this node and all it knows, the bytes of the latter in `store`.
    #[must_use]
    pub fn new(
        identity: Arc<Identity>,
        members: Arc<Members>,
        admission: Arc<MeshAdmission>,
        upstreams: Arc<Upstreams>,
        store: Store,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (sequence, own) = (AtomicU64::new(0), Mutex::default());
        Self {
            identity,
            members,
            admission,
            upstreams,
            store,
            clock,
            sequence,
            own,
            through: OnceLock::new(),
            posture: OnceLock::new(),
            unannounced: Mutex::default(),
        }
    }

    /// Signs this node's record as things stand now, and returns it for publishing.
    ///
    /// # Errors
    /// If a signature cannot be made, or the directory refuses the record.
    pub fn renew(&self) -> Result<Vec<u8>, RecordError> {
        let now = self.clock.now();
        // Milliseconds rise across restarts; two in one millisecond still differ.
        let next = |last: u64| Some(now.0.max(last + 1));
        let last = self
            .sequence
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
        let sequence = now.0.max(last.unwrap_or_default() + 1);
        let sealing_key = self
            .identity
            .sealing
            .announce(&*self.identity.crypto, now.seconds())
            .map_err(|e| RecordError::Sign(e.to_string()))?;
        let record = NodeRecord {
            mesh: self.identity.mesh(),
            membership: self.identity.membership().bytes().to_vec(),
            addresses: self.admission.addresses(),
            relays: self.relays(now.seconds()),
            sealing_key: Some(sealing_key.into()),
            servers: self.servers(),
            posture: self.posture(now.seconds()),
            sequence,
            issued: now.seconds(),
            expires: now.seconds().plus(MAX_RECORD_LIFE_S),
        };
        let signed = record
            .sign(&*self.identity.crypto, &*self.identity.signing)
            .map_err(|e| RecordError::Sign(e.to_string()))?;
        self.members.learn_record(&signed, now.seconds())?;
        self.own
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone_from(&signed);
        Ok(signed)
    }

    /// Gives it what knows this host's posture; called once, by whoever builds it.
    pub fn measured_by(&self, posture: Arc<PostureKeeper>) {
        drop(self.posture.set(posture));
    }

    /// The posture to announce. One measured by a clock that has been set back since is not: no
    /// peer would take the record.
    fn posture(&self, now: UnixSeconds) -> Option<minicbor::bytes::ByteVec> {
        let posture = self.posture.get()?.current();
        let announced = posture.measured <= now;
        announced.then(|| posture.encode().into())
    }

    /// Names the relays of this node; called once, by whoever builds it.
    pub fn relay_through(&self, through: Vec<NodeRef>) {
        drop(self.through.set(through));
    }

    /// Whether the relays announced are not those that can be named now.
    #[must_use]
    pub fn relays_changed(&self) -> bool {
        let member = self.members.member(&self.identity.node());
        let announced = member.and_then(|m| m.record.clone());
        announced.is_some_and(|r| r.relays != self.relays(self.clock.now().seconds()))
    }

    /// The relays of this node that are known by now.
    fn relays(&self, now: UnixSeconds) -> Vec<NodeId> {
        let me = self.identity.node();
        let mut relays = Vec::new();
        for named in self.through.get().into_iter().flatten() {
            let relay = match named {
                NodeRef::Id(id) => Some(*id),
                NodeRef::Name(name) => match self.members.resolve(name, now) {
                    Resolved::One(member) => Some(member.membership.node()),
                    Resolved::Nobody | Resolved::Several(_) => None,
                },
            };
            relays.extend(relay.filter(|relay| *relay != me && !relays.contains(relay)));
        }
        relays
    }

    /// Servers with their tools, as far as the record has room for them: a node with more still
    /// has a record.
    fn servers(&self) -> Vec<ServerRecord> {
        let mut servers: Vec<ServerRecord> = self
            .upstreams
            .list()
            .into_iter()
            .take(MAX_SERVERS)
            .map(|status| {
                let inventory = self.upstreams.inventory(&status.name);
                let tools = inventory.iter().flat_map(|i| &i.tools);
                let tools = tools
                    .take(MAX_TOOLS)
                    .map(|(name, digest)| ToolRecord {
                        name: name.clone(),
                        digest: *digest,
                        hints: inventory.as_ref().and_then(|i| i.hints.get(name).copied()),
                    })
                    .collect();
                ServerRecord {
                    name: status.name,
                    tools,
                }
            })
            .collect();
        servers.sort_by(|a, b| a.name.cmp(&b.name));
        let unannounced = fit(&mut servers);
        let mut known = self
            .unannounced
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *known != unannounced {
            for (server, tools) in &unannounced {
                tracing::warn!(%server, tools, "this node's record has no room for some tools");
            }
            *known = unannounced;
        }
        drop(known);
        servers
    }

    /// How many tools of a server this node's record has no room for.
    #[must_use]
    pub fn unannounced(&self, server: &Name) -> usize {
        let known = self
            .unannounced
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        known.get(server).copied().unwrap_or_default()
    }

    /// This node's record as last signed.
    #[must_use]
    pub fn own(&self) -> Vec<u8> {
        self.own
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Takes in a record that came by gossip or sync, and returns whose it is; what is news is then
    /// to be kept ([`Records::keep`]).
    ///
    /// # Errors
    /// [`DirectoryError`]: `Stale` is no fault of the sender.
    pub fn learn(&self, bytes: &[u8]) -> Result<NodeId, DirectoryError> {
        self.members
            .learn_record(bytes, self.clock.now().seconds())
            .map(|member| member.membership.node())
    }

    /// Queues a node's record, as just learnt, for the disk.
    pub async fn keep(&self, node: NodeId, record: Vec<u8>) {
        let write = Write::PutNodeRecord(node, record);
        if let Err(error) = self.store.lazy(write).await {
            tracing::warn!(%error, "a node record was not kept");
        }
    }

    /// Sends every record known, this node's own first.
    ///
    /// # Errors
    /// If the stream or the store fails.
    pub async fn send_all(&self, mut stream: impl AsyncWrite + Unpin) -> std::io::Result<()> {
        write_record(&mut stream, &self.own()).await?;
        self.send_known(&mut stream, &self.others()).await?;
        stream.shutdown().await
    }

    /// Sends the records of these nodes, waiting for the disk once where one has just come.
    async fn send_known(
        &self,
        stream: &mut (impl AsyncWrite + Unpin),
        nodes: &[NodeId],
    ) -> std::io::Result<()> {
        let late = self.send_kept(stream, nodes).await?;
        if !late.is_empty() {
            self.store.flush().await.map_err(std::io::Error::other)?;
            let missing = self.send_kept(stream, &late).await?.len();
            tracing::debug!(missing, "records came later than they were wanted");
        }
        Ok(())
    }

    /// Answers a peer that asks for one node's record: with it, or with nothing.
    ///
    /// # Errors
    /// If the stream or the store fails, or no node is named in time.
    pub async fn answer(
        &self,
        mut asked: impl AsyncRead + Unpin,
        mut stream: impl AsyncWrite + Unpin,
    ) -> std::io::Result<()> {
        let mut of = [0; 32];
        tokio::time::timeout(SYNC_TIMEOUT, asked.read_exact(&mut of)).await??;
        let of = NodeId::from_bytes(of);
        if of == self.identity.node() {
            write_record(&mut stream, &self.own()).await?;
        } else if self.members.member(&of).is_some_and(|m| self.holds(&m)) {
            self.send_known(&mut stream, &[of]).await?;
        }
        stream.shutdown().await
    }

    /// Asks over a stream for one node's record, and takes in what comes back.
    ///
    /// # Errors
    /// If the stream fails, or what comes is no record that holds.
    pub async fn ask(
        &self,
        of: &NodeId,
        mut stream: impl AsyncWrite + Unpin,
        answer: impl AsyncRead + Unpin,
    ) -> Result<(), RecordError> {
        let asked = async {
            stream.write_all(of.as_bytes()).await?;
            stream.shutdown().await
        };
        asked
            .await
            .map_err(|e| RecordError::Stream(e.to_string()))?;
        self.receive_all(answer).await.map(drop)
    }

    /// The other members whose record holds still and who are not revoked, as many as one stream
    /// carries: what is refused everywhere takes nobody's room.
    fn others(&self) -> Vec<NodeId> {
        let me = self.identity.node();
        let others = self.members.all().into_iter().filter(|m| self.holds(m));
        let others = others.map(|m| m.membership.node());
        let room = MAX_RECORDS_PER_SYNC - 1;
        others.filter(|node| *node != me).take(room).collect()
    }

    /// Whether a member's record holds still, and it is not revoked.
    fn holds(&self, member: &Member) -> bool {
        let now = self.clock.now().seconds();
        let holds = member.record.as_ref().is_some_and(|r| now < r.expires);
        holds && !self.members.is_barred(member)
    }

    /// Sends the records of these nodes that are in the store as the directory knows them, and
    /// returns whose are not.
    async fn send_kept(
        &self,
        stream: &mut (impl AsyncWrite + Unpin),
        nodes: &[NodeId],
    ) -> std::io::Result<Vec<NodeId>> {
        let mut absent = Vec::new();
        for page in nodes.chunks(RECORDS_AT_ONCE) {
            for (node, record) in self.read_kept(page).await? {
                let known = self.members.member(&node).and_then(|m| m.record.clone());
                let crypto = &*self.identity.crypto;
                match (known, record) {
                    (Some(known), Some(record)) if known.are_of(crypto, &record) => {
                        write_record(stream, &record).await?;
                    }
                    // Forgotten meanwhile.
                    (None, _) => {}
                    _ => absent.push(node),
                }
            }
        }
        Ok(absent)
    }

    async fn read_kept(&self, nodes: &[NodeId]) -> std::io::Result<Vec<(NodeId, Option<Vec<u8>>)>> {
        let (store, nodes) = (self.store.clone(), nodes.to_vec());
        let read = move || -> Result<Vec<_>, StoreError> {
            let snapshot = store.snapshot()?;
            let records = nodes.into_iter();
            records
                .map(|node| Ok((node, snapshot.node_record(&node)?)))
                .collect()
        };
        let read = tokio::task::spawn_blocking(read).await?;
        read.map_err(std::io::Error::other)
    }

    /// Sends this node's own record.
    ///
    /// # Errors
    /// If the stream fails.
    pub async fn send_own(&self, mut stream: impl AsyncWrite + Unpin) -> std::io::Result<()> {
        write_record(&mut stream, &self.own()).await?;
        stream.shutdown().await
    }

    /// Sends these records.
    ///
    /// # Errors
    /// If the stream fails.
    pub async fn send_some(
        &self,
        mut stream: impl AsyncWrite + Unpin,
        records: &[Vec<u8>],
    ) -> std::io::Result<()> {
        for record in records.iter().take(MAX_RECORDS_PER_SYNC) {
            write_record(&mut stream, record).await?;
        }
        stream.shutdown().await
    }

    /// Reads the records a peer sends and returns those that were news.
    ///
    /// # Errors
    /// A record that is too large, does not hold, or did not come in time.
    pub async fn receive_all(
        &self,
        stream: impl AsyncRead + Unpin,
    ) -> Result<Vec<Vec<u8>>, RecordError> {
        tokio::time::timeout(SYNC_TIMEOUT, self.read_all(stream))
            .await
            .map_err(|_| RecordError::Timeout)?
    }

    async fn read_all(
        &self,
        mut stream: impl AsyncRead + Unpin,
    ) -> Result<Vec<Vec<u8>>, RecordError> {
        let mut news = Vec::new();
        for _ in 0..MAX_RECORDS_PER_SYNC {
            let mut length = [0; 4];
            match stream.read_exact(&mut length).await {
                Ok(_) => {}
                Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(news),
                Err(e) => return Err(RecordError::Stream(e.to_string())),
            }
            let length = u32::from_be_bytes(length) as usize;
            if length > MAX_DOCUMENT_BYTES {
                return Err(RecordError::Oversized(length));
            }
            let mut record = vec![0; length];
            let read = stream.read_exact(&mut record).await;
            read.map_err(|e| RecordError::Stream(e.to_string()))?;
            codec::scan(&record, MAX_DOCUMENT_BYTES)
                .map_err(|e| RecordError::Sign(e.to_string()))?;
            match self.learn(&record) {
                Ok(node) => {
                    self.keep(node, record.clone()).await;
                    news.push(record);
                }
                // Old news is nobody's fault, and what has run out on the way is no forgery.
                Err(e) if e.is_stale() => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(news)
    }
}

async fn write_record(
    stream: &mut (impl AsyncWrite + Unpin),
    record: &[u8],
) -> std::io::Result<()> {
    // This node's own record is empty until it is first signed.
    if record.is_empty() {
        return Ok(());
    }
    let length = u32::try_from(record.len()).unwrap_or(u32::MAX);
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(record).await
}

/// Why records were not exchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// This node's record could not be signed, or a peer's is no CBOR.
    #[error("{0}")]
    Sign(String),
    /// A record does not hold.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A record is larger than any may be.
    #[error("a node record of {0} bytes, allowed are {MAX_DOCUMENT_BYTES}")]
    Oversized(usize),
    /// The stream failed.
    #[error("the sync stream failed: {0}")]
    Stream(String),
    /// The peer took too long.
    #[error("the peer did not send its node records in time")]
    Timeout,
}

/// Leaves out the tools beyond [`MAX_TOOLS_BYTES`], by the order of servers and tools, and says how
/// many of which server.
fn fit(servers: &mut [ServerRecord]) -> BTreeMap<Name, usize> {
    let mut room = MAX_TOOLS_BYTES;
    let mut out = BTreeMap::new();
    for server in servers {
        let all = server.tools.len();
        server.tools.retain(|tool| {
            let bytes = tool.name.len().saturating_add(TOOL_BYTES);
            let fits = bytes <= room;
            room = if fits { room - bytes } else { 0 };
            fits
        });
        if server.tools.len() < all {
            out.insert(server.name.clone(), all - server.tools.len());
        }
    }
    out
}

#[cfg(test)]
mod tests;
