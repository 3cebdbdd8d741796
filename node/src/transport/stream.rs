//! Streams of a link: which kind each is, and the halves our own are read and written by.
//!
//! The first byte [`StreamKind::OURS`] says that a stream is ours, the second which kind;
//! anything else in the first place is libp2p's (multistream-select never starts with zero).

use core::pin::Pin;
use core::task::{Context, Poll};
use std::io;
use std::sync::Arc;

use protocol::id::NodeId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::refusal::Reason;

/// What a stream of ours is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamKind {
    /// One call: a request envelope, its messages, a response.
    Call,
    /// One MCP session.
    Session,
    /// Node records.
    Sync,
    /// Enrolment.
    Join,
    /// Checkpoint witnessing.
    Witness,
    /// Trust documents: one stream each way for as long as the link is up.
    Trust,
}

impl StreamKind {
    /// First byte of every stream of ours.
    pub const OURS: u8 = 0;
    /// Second byte of the hello stream, which is never handed out.
    pub const HELLO: u8 = 0;

    /// The second byte on the wire.
    #[must_use]
    pub const fn byte(self) -> u8 {
        match self {
            Self::Call => 1,
            Self::Session => 2,
            Self::Sync => 3,
            Self::Join => 4,
            Self::Witness => 5,
            Self::Trust => 6,
        }
    }

    /// The kind with this second byte.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Call),
            2 => Some(Self::Session),
            3 => Some(Self::Sync),
            4 => Some(Self::Join),
            5 => Some(Self::Witness),
            6 => Some(Self::Trust),
            _ => None,
        }
    }
}

/// A stream a peer opened; see [`StreamHandler`].
#[derive(Debug)]
pub struct IncomingStream {
    /// Who opened it.
    pub peer: NodeId,
    /// What for.
    pub kind: StreamKind,
    /// Towards the peer.
    pub send: SendStream,
    /// From the peer, after the two kind bytes.
    pub recv: RecvStream,
    /// Cancelled when the link goes down, for handlers that wait for something else than the
    /// stream: work for a peer that was cut off ends with it.
    pub down: CancellationToken,
}

/// Takes the streams that admitted peers open.
#[async_trait::async_trait]
pub trait StreamHandler: Send + Sync + 'static {
    /// Serves one stream to its end. Each runs in a task of its own; a peer has at most
    /// [`limits::OUR_STREAMS`](super::limits::OUR_STREAMS) of them under way and the next waits,
    /// so neither a slow handler nor one peer holds up another. When the link closes (so also when
    /// the node stops) reads and writes fail and [`IncomingStream::down`] is cancelled.
    async fn handle(&self, stream: IncomingStream);
}

/// The writing half. Dropped before [`finish`](Self::finish), the stream is reset, so that work
/// cut short never looks like a complete message.
#[derive(Debug)]
pub struct SendStream {
    inner: quinn::SendStream,
    finished: bool,
    _budget: Option<Arc<OwnedSemaphorePermit>>,
}

impl SendStream {
    pub(super) const fn new(
        inner: quinn::SendStream,
        budget: Option<Arc<OwnedSemaphorePermit>>,
    ) -> Self {
        Self {
            inner,
            finished: false,
            _budget: budget,
        }
    }

    /// Ends the stream after what was written. Idempotent.
    pub fn finish(&mut self) {
        self.finished = true;
        // Fails only when the stream is reset or finished already.
        let _ = self.inner.finish();
    }

    /// Abandons the stream: what is not delivered yet is dropped and the peer's reads fail.
    pub fn reset(&mut self, reason: Reason) {
        self.finished = true;
        let _ = self.inner.reset(reason.code());
    }

    /// Resolves when the peer reads no more of this stream or has all of it, or the link is
    /// down.
    pub async fn stopped(&self) {
        let _ = self.inner.stopped().await;
    }
}

impl Drop for SendStream {
    fn drop(&mut self) {
        if !self.finished {
            self.reset(Reason::Closed);
        }
    }
}

impl AsyncWrite for SendStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.inner), cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.inner), cx)
    }

    /// As [`SendStream::finish`].
    fn poll_shutdown(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finish();
        Poll::Ready(Ok(()))
    }
}

/// The reading half. Dropped before its end, the peer is told to stop sending.
#[derive(Debug)]
pub struct RecvStream {
    inner: quinn::RecvStream,
    _budget: Option<Arc<OwnedSemaphorePermit>>,
}

impl RecvStream {
    pub(super) const fn new(
        inner: quinn::RecvStream,
        budget: Option<Arc<OwnedSemaphorePermit>>,
    ) -> Self {
        Self {
            inner,
            _budget: budget,
        }
    }

    /// Tells the peer to stop sending.
    pub fn stop(&mut self, reason: Reason) {
        let _ = self.inner.stop(reason.code());
    }

    /// The reason with which the peer reset the stream, if `error` came from such a reset.
    #[must_use]
    pub fn reset_reason(error: &io::Error) -> Option<Reason> {
        match error.get_ref()?.downcast_ref::<quinn::ReadError>()? {
            quinn::ReadError::Reset(code) => Reason::from_code(*code),
            _ => None,
        }
    }
}

impl AsyncRead for RecvStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        AsyncRead::poll_read(Pin::new(&mut self.inner), cx, buf)
    }
}
