//! One link: an admitted connection with one peer, its facts, and the streams opened on it.
//!
//! Streams a peer opens are told apart by their first byte ([`Link::dispatch`]), which is read in
//! one piece with what came along with it, and budgeted apart, ours and libp2p's; each is looked at in a task of its own, so a silent one delays
//! none. A stream that breaks a rule is reset and counted; a peer that keeps at it loses the
//! link ([`Reason::StreamFlood`]).

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use protocol::id::NodeId;
use protocol::time::UnixMillis;
use quinn::Connection;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::LinkError;
use super::admission::{Admission, Instance};
use super::limits;
use super::refusal::{Counters, Reason};
use super::stream::{IncomingStream, RecvStream, SendStream, StreamHandler, StreamKind, take};
use crate::lane::Lane;

/// How packets reach the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Path {
    /// Our own UDP, end to end.
    Direct,
}

/// What an operator sees of a link.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct LinkInfo {
    /// The other node.
    pub peer: NodeId,
    /// Where its packets come from now.
    pub remote: SocketAddr,
    /// Whether this node dialed.
    pub dialed: bool,
    /// The key exchange group as ServerHello named it.
    pub group: String,
    /// The scheme of the peer's handshake signature as its CertificateVerify named it.
    pub signature_scheme: String,
    /// From the first packet to TLS done, in milliseconds, as this end saw it.
    pub handshake_ms: f64,
    /// From TLS done to admitted by both, in milliseconds.
    pub hello_ms: f64,
    /// Round trips of the TLS handshake, counted from its datagrams; absent when they were not
    /// counted.
    pub rtts: Option<u8>,
    /// QUIC's current estimate of the round trip, in milliseconds.
    pub rtt_ms: f64,
    /// When it was admitted.
    pub since: UnixMillis,
    /// How packets reach the peer.
    pub path: Path,
}

/// What is fixed once a link is admitted.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) peer: NodeId,
    pub(super) instance: Instance,
    pub(super) dialed: bool,
    pub(super) group: String,
    pub(super) signature_scheme: String,
    pub(super) handshake: Duration,
    pub(super) hello: Duration,
    pub(super) rtts: Option<u8>,
    pub(super) since: UnixMillis,
}

/// A libp2p stream a peer opened, with what was read to tell it apart.
#[derive(Debug)]
pub(super) struct Libp2pStream {
    pub(super) ahead: Bytes,
    pub(super) send: quinn::SendStream,
    pub(super) recv: quinn::RecvStream,
    pub(super) budget: OwnedSemaphorePermit,
}

/// What [`Link::dispatch`] needs from the node.
pub(super) struct Dispatch {
    pub(super) handler: Arc<dyn StreamHandler>,
    /// To the muxer of this link, if the swarm runs.
    pub(super) libp2p: Option<mpsc::Sender<Libp2pStream>>,
    pub(super) counters: Arc<Counters>,
    pub(super) admission: Arc<dyn Admission>,
    pub(super) tasks: TaskTracker,
    pub(super) lane: Lane,
    pub(super) sniff_timeout: Duration,
}

/// One admitted connection.
pub(super) struct Link {
    pub(super) facts: Facts,
    connection: Connection,
    /// Streams of ours that we may open.
    outgoing: Arc<Semaphore>,
    /// libp2p streams that we may open.
    outgoing_libp2p: Arc<Semaphore>,
    incoming: Arc<Semaphore>,
    incoming_libp2p: Arc<Semaphore>,
    faults: Mutex<Faults>,
    closed_for: OnceLock<Reason>,
    down: CancellationToken,
}

/// Rule breaks on streams: a bucket that empties at one per [`limits::FAULT_FORGIVEN`].
#[derive(Debug)]
struct Faults {
    count: u32,
    forgiven_at: Instant,
}

impl Link {
    pub(super) fn new(facts: Facts, connection: Connection) -> Self {
        Self {
            facts,
            connection,
            outgoing: Arc::new(Semaphore::new(limits::OUR_STREAMS)),
            outgoing_libp2p: Arc::new(Semaphore::new(limits::LIBP2P_STREAMS)),
            incoming: Arc::new(Semaphore::new(limits::OUR_STREAMS)),
            incoming_libp2p: Arc::new(Semaphore::new(limits::LIBP2P_STREAMS)),
            faults: Mutex::new(Faults {
                count: 0,
                forgiven_at: Instant::now(),
            }),
            closed_for: OnceLock::new(),
            down: CancellationToken::new(),
        }
    }

    pub(super) fn info(&self) -> LinkInfo {
        let facts = &self.facts;
        let remote = self.connection.remote_address();
        LinkInfo {
            peer: facts.peer,
            remote: SocketAddr::new(remote.ip().to_canonical(), remote.port()),
            dialed: facts.dialed,
            group: facts.group.clone(),
            signature_scheme: facts.signature_scheme.clone(),
            handshake_ms: milliseconds(facts.handshake),
            hello_ms: milliseconds(facts.hello),
            rtts: facts.rtts,
            rtt_ms: milliseconds(self.connection.rtt()),
            since: facts.since,
            path: Path::Direct,
        }
    }

    /// Closes the connection and with it every stream, at once. The first reason stays.
    pub(super) fn close(&self, reason: Reason) {
        let reason = *self.closed_for.get_or_init(|| reason);
        self.connection
            .close(reason.code(), reason.name().as_bytes());
        self.down.cancel();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.connection.close_reason().is_some()
    }

    pub(super) async fn closed(&self) {
        self.connection.closed().await;
    }

    /// Why the link is down, once it is.
    pub(super) fn ended(&self) -> Reason {
        self.closed_for.get().copied().unwrap_or_else(|| {
            self.connection
                .close_reason()
                .map_or(Reason::Lost, |error| Reason::of(&error).0)
        })
    }

    pub(super) fn lost(&self) -> LinkError {
        LinkError::Down {
            peer: self.facts.peer,
            reason: self.ended(),
        }
    }

    /// Opens a stream of ours, waiting while the budget is used up. Nothing is sent yet.
    pub(super) async fn open(
        &self,
        kind: StreamKind,
    ) -> Result<(SendStream, RecvStream), LinkError> {
        let budget = Arc::clone(&self.outgoing).acquire_owned().await;
        let budget = Arc::new(budget.map_err(|_| self.lost())?);
        let opened = self.connection.open_bi().await;
        let (send, recv) = opened.map_err(|_| self.lost())?;
        Ok((
            SendStream::opened(send, kind, Arc::clone(&budget)),
            RecvStream::opened(recv, budget),
        ))
    }

    /// Opens a libp2p stream, waiting while the budget is used up.
    pub(super) async fn open_libp2p(
        &self,
    ) -> Result<(quinn::SendStream, quinn::RecvStream, OwnedSemaphorePermit), LinkError> {
        let budget = Arc::clone(&self.outgoing_libp2p).acquire_owned().await;
        let budget = budget.map_err(|_| self.lost())?;
        let opened = self.connection.open_bi().await;
        let (send, recv) = opened.map_err(|_| self.lost())?;
        Ok((send, recv, budget))
    }

    /// Takes the peer's streams until the connection ends.
    pub(super) async fn dispatch(self: Arc<Self>, dispatch: Dispatch) {
        let dispatch = Arc::new(dispatch);
        while let Ok((send, recv)) = self.connection.accept_bi().await {
            let link = Arc::clone(&self);
            let for_stream = Arc::clone(&dispatch);
            // Bounded by the stream limit of the connection.
            let taken = async move { link.take(send, recv, &for_stream).await };
            dispatch.lane.spawn_call(&dispatch.tasks, taken);
        }
        self.down.cancel();
    }

    async fn take(
        &self,
        mut send: quinn::SendStream,
        mut recv: quinn::RecvStream,
        dispatch: &Dispatch,
    ) {
        let placed = timeout(dispatch.sniff_timeout, self.place(&mut recv)).await;
        let refused = match placed {
            Ok(Ok(Place::Ours(kind, ahead, budget))) => {
                let stream = IncomingStream {
                    peer: self.facts.peer,
                    kind,
                    send: SendStream::accepted(send),
                    recv: RecvStream::accepted(recv, ahead),
                    down: self.down.clone(),
                };
                let handler = Arc::clone(&dispatch.handler);
                if kind.is_of_a_call() {
                    handler.handle(stream).await;
                } else {
                    let handled = async move { handler.handle(stream).await };
                    dispatch.lane.beside(&dispatch.tasks, handled).await;
                }
                drop(budget);
                return;
            }
            Ok(Ok(Place::Libp2p(ahead, budget))) => {
                let Some(swarm) = &dispatch.libp2p else {
                    // A node without a swarm has no use for it; not the peer's fault.
                    refuse(&mut send, &mut recv, Reason::Libp2pBudget);
                    return;
                };
                let stream = Libp2pStream {
                    ahead,
                    send,
                    recv,
                    budget,
                };
                match swarm.try_send(stream) {
                    Ok(()) => return,
                    // The swarm has given the link up; not the peer's fault.
                    Err(TrySendError::Closed(mut stream)) => {
                        refuse(&mut stream.send, &mut stream.recv, Reason::Libp2pBudget);
                        return;
                    }
                    Err(TrySendError::Full(stream)) => {
                        (send, recv) = (stream.send, stream.recv);
                        Reason::Libp2pBudget
                    }
                }
            }
            // Given up before it said what it is: an honest peer may do that.
            Ok(Err(None)) => return,
            Ok(Err(Some(reason))) => reason,
            Err(_) if self.incoming.available_permits() == 0 => Reason::StreamBudget,
            Err(_) => Reason::SilentStream,
        };
        let (peer, admission) = (self.facts.peer, &dispatch.admission);
        let at_fault = !self.is_closed();
        if at_fault {
            admission.refused(peer, refused.name()).await;
        }
        refuse(&mut send, &mut recv, refused);
        if at_fault && self.fault(refused, &dispatch.counters) {
            admission.refused(peer, Reason::StreamFlood.name()).await;
            self.close(Reason::StreamFlood);
        }
    }

    /// Reads what kind of stream it is and waits for a place in its budget; `None` when the peer
    /// took it back.
    async fn place(&self, recv: &mut quinn::RecvStream) -> Result<Place, Option<Reason>> {
        let mut ahead = some_bytes(recv).await?;
        if ahead.first() != Some(&StreamKind::OURS) {
            let budget = Arc::clone(&self.incoming_libp2p).try_acquire_owned();
            let budget = budget.map_err(|_| Some(Reason::Libp2pBudget))?;
            return Ok(Place::Libp2p(ahead, budget));
        }
        take(&mut ahead, 1);
        if ahead.is_empty() {
            ahead = some_bytes(recv).await?;
        }
        let second = take(&mut ahead, 1).first().copied();
        let second = second.ok_or(Some(Reason::SilentStream))?;
        if second == StreamKind::HELLO {
            return Err(Some(Reason::SecondHello));
        }
        let kind = StreamKind::from_byte(second).ok_or(Some(Reason::UnknownStreamKind))?;
        let budget = Arc::clone(&self.incoming).acquire_owned().await;
        let budget = budget.map_err(|_| Some(Reason::StreamBudget))?;
        Ok(Place::Ours(kind, ahead, budget))
    }

    /// Counts a rule break; true when it is the one too many, after which the link is closed.
    fn fault(&self, reason: Reason, counters: &Counters) -> bool {
        counters.count(reason);
        let now = Instant::now();
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        while faults.count > 0 && now.duration_since(faults.forgiven_at) >= limits::FAULT_FORGIVEN {
            faults.count -= 1;
            faults.forgiven_at += limits::FAULT_FORGIVEN;
        }
        if faults.count == 0 {
            faults.forgiven_at = now;
        }
        faults.count += 1;
        let flood = faults.count == limits::STREAM_FAULTS && self.closed_for.get().is_none();
        if flood {
            counters.count(Reason::StreamFlood);
            tracing::warn!(peer = %self.facts.peer.short(), last = reason.name(), "{}", Reason::StreamFlood);
        }
        flood
    }
}

/// Where a stream belongs, and what of it was read so far: of ours, behind the kind.
enum Place {
    Ours(StreamKind, Bytes, OwnedSemaphorePermit),
    Libp2p(Bytes, OwnedSemaphorePermit),
}

/// At least one byte of a stream, and what came along with it; the refusal if there is none, or
/// `None` when the peer took the stream back. Cancel safe.
async fn some_bytes(recv: &mut quinn::RecvStream) -> Result<Bytes, Option<Reason>> {
    loop {
        let chunk = recv.read_chunk(limits::SNIFFED, true).await;
        let chunk = chunk.map_err(|_| None)?.ok_or(Some(Reason::SilentStream))?;
        if !chunk.bytes.is_empty() {
            return Ok(chunk.bytes);
        }
    }
}

fn refuse(send: &mut quinn::SendStream, recv: &mut quinn::RecvStream, reason: Reason) {
    // Both fail only when the half has ended already.
    let _ = send.reset(reason.code());
    let _ = recv.stop(reason.code());
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
