//! Hello: the first stream of every connection, on which each side decides whether it admits
//! the other.
//!
//! TLS has proven the keys by then; who may stay is [`Admission`]'s decision, from the contents
//! of the hello, which are opaque here. On the dialer's first bidirectional stream:
//!
//! ```text
//! dialer   → 00 00 ‖ instance (8) ‖ length (u32) ‖ hello
//! acceptor → instance (8) ‖ length (u32) ‖ hello          it admits the dialer
//! dialer   → 01, end of stream                            it admits the acceptor
//! acceptor → end of stream
//! ```
//!
//! A refusal is the connection's close: code [`Reason::NotAdmitted`] and the bounded refusal as
//! its reason, which QUIC repeats until the peer has it. Until then the peer may open no other
//! stream at all (its stream limit is one, or none on the dialer's side), and what it may send is
//! bounded to [`PROOF_WINDOW`]. A dialer that wants to become a member opens a join stream instead
//! ([`Greeted::Joins`]), which the connection ends with. The *instance* is drawn at process start, so that a peer that
//! restarted is told from one that dialed twice.

use std::net::SocketAddr;

use async_trait::async_trait;
use protocol::crypto::TLS_PUBLIC_LEN;
use protocol::id::NodeId;
use protocol::limits::MAX_HELLO_BYTES;
use quinn::{Connection, ConnectionError, ReadExactError, RecvStream, SendStream};

use super::refusal::{Reason, Refusal};
use super::stream::StreamKind;

/// What a peer may send before it is admitted: the largest hello and its frame.
pub(super) const PROOF_WINDOW: u32 = 128 * 1024;

const ADMITTED: u8 = 1;

/// Who is at the other end of a connection, as TLS proved it.
#[derive(Debug, Clone)]
pub struct PeerIdentity {
    /// SHA-256 of the key.
    pub node: NodeId,
    /// The composite TLS identity public key.
    pub tls_key: Box<[u8; TLS_PUBLIC_LEN]>,
    /// Where its packets come from.
    pub remote: SocketAddr,
}

/// Decides which peers may stay. Runs on every connection, before anything else is read from it.
#[async_trait]
pub trait Admission: Send + Sync {
    /// What this node says of itself: at most [`MAX_HELLO_BYTES`] bytes.
    fn hello(&self) -> Vec<u8>;

    /// Decides on a peer from its hello.
    ///
    /// # Errors
    /// Why it may not stay; the peer is told.
    fn admit(&self, peer: &PeerIdentity, hello: &[u8]) -> Result<(), Refusal>;

    /// Notes that a peer, whose key TLS has proven, or a stream of it is refused for this reason,
    /// before the peer is told. The name is [`Reason::name`] or that of the refusal.
    async fn refused(&self, _peer: NodeId, _reason: &str) {}
}

/// One process of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instance(pub(super) [u8; 8]);

/// Why hello did not end in a link.
#[derive(Debug)]
pub(super) enum HelloError {
    /// This node refused.
    Refused(Reason),
    /// [`Admission`] here refused.
    NotAdmitted(Refusal),
    /// The connection ended, perhaps by the peer's refusal.
    Connection(ConnectionError),
}

impl From<ConnectionError> for HelloError {
    fn from(error: ConnectionError) -> Self {
        Self::Connection(error)
    }
}

/// Both halves of the hello stream. The caller keeps them until it has closed the connection:
/// dropping them resets the stream, which the peer would meet before the reason.
pub(super) type HelloStream = Option<(SendStream, RecvStream)>;

/// The dialer's side. `keep` says, once both admit, whether this connection is wanted (it may
/// be the second of a pair).
pub(super) async fn greet(
    connection: &Connection,
    admission: &dyn Admission,
    own: Instance,
    peer: &PeerIdentity,
    keep: impl FnOnce(Instance) -> bool,
    held: &mut HelloStream,
) -> Result<Instance, HelloError> {
    let (send, recv) = held.insert(connection.open_bi().await?);
    let prefix = [StreamKind::OURS, StreamKind::HELLO];
    let hello = frame(&prefix, own, admission)?;
    write(connection, send, &hello).await?;
    let instance = judge(connection, recv, admission, peer).await?;
    if !keep(instance) {
        return Err(HelloError::Refused(Reason::Superseded));
    }
    write(connection, send, &[ADMITTED]).await?;
    // An error means that the connection is gone, which the caller meets next.
    let _ = send.finish();
    Ok(instance)
}

/// What a dialer's first stream turned out to be.
pub(super) enum Greeted {
    /// Hello: both sides admit each other.
    Admitted(Instance),
    /// A join stream: the dialer is not admitted and wants to be enrolled.
    Joins(SendStream, RecvStream),
}

/// The acceptor's side; `admitted` is called when the dialer is admitted, before it is told.
pub(super) async fn answer(
    connection: &Connection,
    admission: &dyn Admission,
    own: Instance,
    peer: &PeerIdentity,
    admitted: impl FnOnce(),
    held: &mut HelloStream,
) -> Result<Greeted, HelloError> {
    let (send, recv) = held.insert(connection.accept_bi().await?);
    // One byte at a time: a peer that sends a single wrong one is refused for it.
    let [ours] = read::<1>(connection, recv).await?;
    if ours != StreamKind::OURS {
        return Err(HelloError::Refused(Reason::StreamBeforeHello));
    }
    let [kind] = read::<1>(connection, recv).await?;
    if kind == StreamKind::Join.byte() {
        let stream = held.take();
        return stream
            .map(|(send, recv)| Greeted::Joins(send, recv))
            .ok_or(HelloError::Refused(Reason::StreamBeforeHello));
    }
    if kind != StreamKind::HELLO {
        return Err(HelloError::Refused(Reason::StreamBeforeHello));
    }
    let instance = judge(connection, recv, admission, peer).await?;
    admitted();
    let hello = frame(&[], own, admission)?;
    write(connection, send, &hello).await?;
    let [status] = read::<1>(connection, recv).await?;
    if status != ADMITTED {
        return Err(HelloError::Refused(Reason::MalformedHello));
    }
    let _ = send.finish();
    Ok(Greeted::Admitted(instance))
}

fn frame(prefix: &[u8], own: Instance, admission: &dyn Admission) -> Result<Vec<u8>, HelloError> {
    let hello = admission.hello();
    let length = u32::try_from(hello.len())
        .ok()
        .filter(|_| hello.len() <= MAX_HELLO_BYTES)
        .ok_or(HelloError::Refused(Reason::HelloTooLarge))?;
    Ok([prefix, &own.0, &length.to_be_bytes(), &hello].concat())
}

/// Reads the peer's hello and asks admission.
async fn judge(
    connection: &Connection,
    recv: &mut RecvStream,
    admission: &dyn Admission,
    peer: &PeerIdentity,
) -> Result<Instance, HelloError> {
    let instance = Instance(read::<8>(connection, recv).await?);
    let length = u32::from_be_bytes(read::<4>(connection, recv).await?);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > MAX_HELLO_BYTES {
        return Err(HelloError::Refused(Reason::HelloTooLarge));
    }
    let mut hello = vec![0; length];
    let result = recv.read_exact(&mut hello).await;
    result.map_err(|error| unreadable(connection, &error))?;
    admission
        .admit(peer, &hello)
        .map_err(HelloError::NotAdmitted)?;
    Ok(instance)
}

async fn read<const LENGTH: usize>(
    connection: &Connection,
    recv: &mut RecvStream,
) -> Result<[u8; LENGTH], HelloError> {
    let mut bytes = [0; LENGTH];
    let result = recv.read_exact(&mut bytes).await;
    result.map_err(|error| unreadable(connection, &error))?;
    Ok(bytes)
}

async fn write(
    connection: &Connection,
    send: &mut SendStream,
    bytes: &[u8],
) -> Result<(), HelloError> {
    send.write_all(bytes).await.map_err(|_| closed(connection))
}

fn unreadable(connection: &Connection, error: &ReadExactError) -> HelloError {
    match error {
        ReadExactError::FinishedEarly(_) => HelloError::Refused(Reason::MalformedHello),
        ReadExactError::ReadError(_) => closed(connection),
    }
}

/// The stream failed: because of the connection, or because the peer reset it.
fn closed(connection: &Connection) -> HelloError {
    connection.close_reason().map_or(
        HelloError::Refused(Reason::MalformedHello),
        HelloError::Connection,
    )
}
