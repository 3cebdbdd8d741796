//! Node records: signing this node's own, and exchanging everyone's.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use protocol::codec;
use protocol::limits::{MAX_DOCUMENT_BYTES, MAX_SERVERS, MAX_TOOLS};
use protocol::trust::node_record::MAX_RECORD_LIFE_S;
use protocol::trust::{NodeRecord, ServerRecord, ToolRecord};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::MeshAdmission;
use crate::clock::Clock;
use crate::identity::Identity;
use crate::members::{DirectoryError, Members};
use crate::upstream::Upstreams;

/// The gossip topic of node records.
pub const TOPIC: &str = "hedgerow/1/records";

/// Most records sent on one sync stream. Larger directories reach a newcomer by gossip as records
/// are renewed.
const MAX_RECORDS_PER_SYNC: usize = 1024;

/// How long a peer may take to send its records.
const SYNC_TIMEOUT: Duration = Duration::from_secs(30);

/// A record is renewed after a quarter of its life, so that three losses in a row harm nothing.
pub const RENEW_AFTER: Duration = Duration::from_secs(MAX_RECORD_LIFE_S / 4);

/// Signs and exchanges records.
pub struct Records {
    identity: Arc<Identity>,
    members: Arc<Members>,
    admission: Arc<MeshAdmission>,
    upstreams: Arc<Upstreams>,
    clock: Arc<dyn Clock>,
    sequence: AtomicU64,
    own: Mutex<Vec<u8>>,
}

impl Records {
    /// Records of this node and all it knows.
    #[must_use]
    pub fn new(
        identity: Arc<Identity>,
        members: Arc<Members>,
        admission: Arc<MeshAdmission>,
        upstreams: Arc<Upstreams>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (sequence, own) = (AtomicU64::new(0), Mutex::default());
        Self {
            identity,
            members,
            admission,
            upstreams,
            clock,
            sequence,
            own,
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
        let record = NodeRecord {
            mesh: self.identity.mesh(),
            membership: self.identity.membership().bytes().to_vec(),
            addresses: self.admission.addresses(),
            relays: Vec::new(),
            sealing_key: None,
            servers: self.servers(),
            posture: None,
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
                    })
                    .collect();
                ServerRecord {
                    name: status.name,
                    tools,
                }
            })
            .collect();
        servers.sort_by(|a, b| a.name.cmp(&b.name));
        servers
    }

    /// This node's record as last signed.
    #[must_use]
    pub fn own(&self) -> Vec<u8> {
        self.own
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Takes in a record that came by gossip or sync.
    ///
    /// # Errors
    /// [`DirectoryError`]: `Stale` is no fault of the sender.
    pub fn learn(&self, bytes: &[u8]) -> Result<(), DirectoryError> {
        self.members
            .learn_record(bytes, self.clock.now().seconds())
            .map(drop)
    }

    /// Sends every record known, this node's own first.
    ///
    /// # Errors
    /// If the stream fails.
    pub async fn send_all(&self, stream: impl AsyncWrite + Unpin) -> std::io::Result<()> {
        let own = self.own();
        let (me, now) = (self.identity.node(), self.clock.now().seconds());
        let others = self.members.all();
        let others = others
            .iter()
            .filter(|m| m.membership.node() != me)
            .filter_map(|m| m.record.as_ref())
            .filter(|r| now < r.content.expires)
            .map(|r| r.bytes.as_slice());
        let records = core::iter::once(own.as_slice()).chain(others);
        send(stream, records.take(MAX_RECORDS_PER_SYNC)).await
    }

    /// Sends this node's own record.
    ///
    /// # Errors
    /// If the stream fails.
    pub async fn send_own(&self, stream: impl AsyncWrite + Unpin) -> std::io::Result<()> {
        send(stream, core::iter::once(self.own().as_slice())).await
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
                Ok(()) => news.push(record),
                // Old news is nobody's fault, and what has run out on the way is no forgery.
                Err(e) if e.is_stale() => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(news)
    }
}

async fn send<'a>(
    mut stream: impl AsyncWrite + Unpin,
    records: impl Iterator<Item = &'a [u8]>,
) -> std::io::Result<()> {
    // This node's own record is empty until it is first signed.
    for record in records.filter(|record| !record.is_empty()) {
        let length = u32::try_from(record.len()).unwrap_or(u32::MAX);
        stream.write_all(&length.to_be_bytes()).await?;
        stream.write_all(record).await?;
    }
    stream.shutdown().await
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
