//! Streams of a link: which kind each is, and the halves our own are read and written by.
//!
//! A stream says its kind with the first bytes written to it, in one piece, so that a small
//! message is one packet and not two. Until then its peer knows nothing of it.
//!
//! The first byte [`StreamKind::OURS`] says that a stream is ours, the second which kind;
//! anything else in the first place is libp2p's (multistream-select never starts with zero).

use core::pin::Pin;
use core::task::{Context, Poll, Waker, ready};
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use protocol::id::NodeId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::admission::PeerIdentity;
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
    /// A question about calls that wait for approval, or an answer to one.
    Approval,
    /// A question for one node's record.
    Record,
    /// A question about calls that wait for approval, on its way over relays.
    RelayedApproval,
}

impl StreamKind {
    /// First byte of every stream of ours.
    pub const OURS: u8 = 0;
    /// Second byte of the hello stream, which is never handed out.
    pub const HELLO: u8 = 0;

    /// Whether somebody waits for a tool at its end.
    #[must_use]
    pub const fn is_of_a_call(self) -> bool {
        matches!(self, Self::Call | Self::Session)
    }

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
            Self::Approval => 7,
            Self::Record => 8,
            Self::RelayedApproval => 9,
        }
    }

    /// What stands before everything else on a stream of this kind.
    pub(super) const fn opening(self) -> &'static [u8] {
        match self {
            Self::Call => const { &[Self::OURS, Self::Call.byte()] },
            Self::Session => const { &[Self::OURS, Self::Session.byte()] },
            Self::Sync => const { &[Self::OURS, Self::Sync.byte()] },
            Self::Join => const { &[Self::OURS, Self::Join.byte()] },
            Self::Witness => const { &[Self::OURS, Self::Witness.byte()] },
            Self::Trust => const { &[Self::OURS, Self::Trust.byte()] },
            Self::Approval => const { &[Self::OURS, Self::Approval.byte()] },
            Self::Record => const { &[Self::OURS, Self::Record.byte()] },
            Self::RelayedApproval => const { &[Self::OURS, Self::RelayedApproval.byte()] },
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
            7 => Some(Self::Approval),
            8 => Some(Self::Record),
            9 => Some(Self::RelayedApproval),
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

/// A join stream of a peer that is not admitted; see [`StreamHandler::newcomer`].
#[derive(Debug)]
pub struct Newcomer {
    /// Who opened it, as TLS proved.
    pub peer: PeerIdentity,
    /// Towards the peer.
    pub send: SendStream,
    /// From the peer, after the two kind bytes.
    pub recv: RecvStream,
}

/// Takes the streams that admitted peers open.
#[async_trait::async_trait]
pub trait StreamHandler: Send + Sync + 'static {
    /// Serves one stream to its end. Each runs in a task of its own; a peer has at most
    /// [`limits::OUR_STREAMS`](super::limits::OUR_STREAMS) of them under way and the next waits,
    /// so neither a slow handler nor one peer holds up another. When the link closes (so also when
    /// the node stops) reads and writes fail and [`IncomingStream::down`] is cancelled.
    async fn handle(&self, stream: IncomingStream);

    /// Serves the join stream of a peer that TLS proved and nobody admitted; the connection is
    /// closed when it returns. The handler bounds how many it serves at once and for how long; this
    /// one serves none.
    async fn newcomer(&self, newcomer: Newcomer) {
        drop(newcomer);
    }
}

/// Bytes of a first write that are copied behind the kind; of a longer one the rest follows as
/// any write does.
const JOINED: usize = 16 * 1024;

/// The writing half. Dropped before [`finish`](Self::finish), the stream is reset, so that work
/// cut short never looks like a complete message.
///
/// The peer sees a stream this node opened with the first bytes written to it, or once it is
/// flushed or finished: whoever opens one to listen first must flush it. It is seen early, and
/// held to the peer's sniff timeout, when a stream opened later is written to before it.
#[derive(Debug)]
pub struct SendStream {
    inner: quinn::SendStream,
    /// What of the kind is still to be written, before anything else.
    unsaid: &'static [u8],
    finished: bool,
    _budget: Option<Arc<OwnedSemaphorePermit>>,
}

impl SendStream {
    /// Of a stream that this node opened.
    pub(super) const fn opened(
        inner: quinn::SendStream,
        kind: StreamKind,
        budget: Arc<OwnedSemaphorePermit>,
    ) -> Self {
        Self {
            inner,
            unsaid: kind.opening(),
            finished: false,
            _budget: Some(budget),
        }
    }

    /// Of a stream that the peer opened.
    pub(super) const fn accepted(inner: quinn::SendStream) -> Self {
        Self {
            inner,
            unsaid: &[],
            finished: false,
            _budget: None,
        }
    }

    /// Ends the stream after what was written. Idempotent. One that nothing was written to ends
    /// after its kind; if the connection takes not even that now, it is withdrawn.
    pub fn finish(&mut self) {
        if !self.unsaid.is_empty() {
            let mut now = Context::from_waker(Waker::noop());
            if !self.poll_kind(&mut now, &[]).is_ready() {
                return self.reset(Reason::Closed);
            }
        }
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

    /// Writes what is unsaid of the kind, and as much of `buf` as goes with it. Ready with the
    /// bytes of `buf` written, which may be none, once nothing is unsaid.
    fn poll_kind(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let first = buf.get(..JOINED).unwrap_or(buf);
        while !self.unsaid.is_empty() {
            let joined = [self.unsaid, first].concat();
            let written = AsyncWrite::poll_write(Pin::new(&mut self.inner), cx, &joined);
            let written = ready!(written)?;
            match written.checked_sub(self.unsaid.len()) {
                Some(of_buf) => {
                    self.unsaid = &[];
                    return Poll::Ready(Ok(of_buf));
                }
                None => self.unsaid = self.unsaid.get(written..).unwrap_or_default(),
            }
        }
        Poll::Ready(Ok(0))
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
        if !self.unsaid.is_empty() {
            let written = ready!(self.poll_kind(cx, buf))?;
            if written > 0 {
                return Poll::Ready(Ok(written));
            }
        }
        AsyncWrite::poll_write(Pin::new(&mut self.inner), cx, buf)
    }

    /// Has the peer see the stream, if it does not yet; what was written is on its way anyway.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_kind(cx, &[]))?;
        AsyncWrite::poll_flush(Pin::new(&mut self.inner), cx)
    }

    /// As [`SendStream::finish`], waiting while the kind cannot be written.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_kind(cx, &[]))?;
        self.finish();
        Poll::Ready(Ok(()))
    }
}

/// The reading half. Dropped before its end, the peer is told to stop sending.
#[derive(Debug)]
pub struct RecvStream {
    inner: quinn::RecvStream,
    /// What was read along with the kind.
    ahead: Bytes,
    _budget: Option<Arc<OwnedSemaphorePermit>>,
}

impl RecvStream {
    /// Of a stream that this node opened.
    pub(super) const fn opened(
        inner: quinn::RecvStream,
        budget: Arc<OwnedSemaphorePermit>,
    ) -> Self {
        Self {
            inner,
            ahead: Bytes::new(),
            _budget: Some(budget),
        }
    }

    /// Of a stream that the peer opened, of which `ahead` was read behind the kind.
    pub(super) const fn accepted(inner: quinn::RecvStream, ahead: Bytes) -> Self {
        Self {
            inner,
            ahead,
            _budget: None,
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
        if !self.ahead.is_empty() {
            let length = self.ahead.len().min(buf.remaining());
            buf.put_slice(&take(&mut self.ahead, length));
            return Poll::Ready(Ok(()));
        }
        AsyncRead::poll_read(Pin::new(&mut self.inner), cx, buf)
    }
}

/// The first `length` bytes of what was read ahead, or all of it, whose memory is then let go.
pub(super) fn take(ahead: &mut Bytes, length: usize) -> Bytes {
    if length >= ahead.len() {
        std::mem::take(ahead)
    } else {
        ahead.split_to(length)
    }
}
