//! Length-prefixed frames on our streams, and on the in-memory streams of local calls:
//! `type (u8) ‖ length (u32, big-endian) ‖ payload`.
//!
//! A type has a largest length; a frame beyond it, of unknown or of reserved type is refused by
//! name when its header is read, before anything is allocated for it. What frames mean is the
//! callers' matter.

use bytes::{Buf, Bytes, BytesMut};
use protocol::limits::MAX_ENVELOPE_FRAME_BYTES;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::limits::FRAME_CHUNK;

/// Bytes before the payload.
const HEADER: usize = 5;

/// Payloads up to this size are copied behind their header and written at once.
const JOINED: usize = 16 * 1024;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameType {
    /// One signed envelope.
    Envelope,
    /// An envelope signed through a batch; reserved, refused until batches exist.
    BatchedEnvelope,
    /// The signed head of a batch; reserved likewise.
    BatchHead,
    /// Why the stream ends without what was asked for.
    Refusal,
}

impl FrameType {
    /// The byte on the wire.
    #[must_use]
    pub const fn byte(self) -> u8 {
        match self {
            Self::Envelope => 1,
            Self::BatchedEnvelope => 2,
            Self::BatchHead => 3,
            Self::Refusal => 4,
        }
    }

    /// Largest payload, in bytes.
    #[must_use]
    pub const fn max_len(self) -> usize {
        match self {
            Self::Envelope | Self::BatchedEnvelope => MAX_ENVELOPE_FRAME_BYTES,
            Self::BatchHead => 16 * 1024,
            Self::Refusal => 4 * 1024,
        }
    }

    const fn is_reserved(self) -> bool {
        matches!(self, Self::BatchedEnvelope | Self::BatchHead)
    }

    fn from_byte(byte: u8) -> Option<Self> {
        [
            Self::Envelope,
            Self::BatchedEnvelope,
            Self::BatchHead,
            Self::Refusal,
        ]
        .into_iter()
        .find(|kind| kind.byte() == byte)
    }
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it holds.
    pub kind: FrameType,
    /// At most [`FrameType::max_len`] bytes.
    pub payload: Bytes,
}

/// Why a frame was not read or not written.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The first byte names no type.
    #[error("unknown frame type {found}")]
    UnknownType {
        /// The byte.
        found: u8,
    },
    /// A type that has no meaning yet.
    #[error("frame type {found} is reserved")]
    Reserved {
        /// The byte.
        found: u8,
    },
    /// The declared or given length is beyond what the type allows.
    #[error("a frame of type {kind} has at most {max} bytes, this one has {found}")]
    TooLarge {
        /// The type's byte.
        kind: u8,
        /// The bound.
        max: usize,
        /// What was declared or given.
        found: usize,
    },
    /// The stream ended within a frame.
    #[error("the stream ended within a frame")]
    Truncated,
    /// The stream failed.
    #[error("the stream failed: {}", said(.0))]
    Io(#[from] std::io::Error),
}

/// A reset by its reason, which QUIC knows by number only.
fn said(error: &std::io::Error) -> String {
    let reset = super::stream::RecvStream::reset_reason(error);
    reset.map_or_else(
        || error.to_string(),
        |reason| format!("the other node ended it: {reason}"),
    )
}

impl FrameError {
    /// The stable name, snake_case.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::UnknownType { .. } => "unknown_frame_type",
            Self::Reserved { .. } => "reserved_frame_type",
            Self::TooLarge { .. } => "frame_too_large",
            Self::Truncated => "frame_truncated",
            Self::Io(_) => "stream_failed",
        }
    }
}

/// What [`FrameReader::unexpected`] saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unexpected {
    /// The stream ended, in good order or not.
    Gone,
    /// More came than is kept.
    Full,
}

/// Reads frames.
#[derive(Debug)]
pub struct FrameReader<R> {
    inner: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads from `inner`.
    pub fn new(inner: R) -> Self {
        Self {
            inner,
            buffer: BytesMut::new(),
        }
    }

    /// The next frame; `None` when the stream ends between frames.
    ///
    /// Cancel safe: what was read stays in the reader's buffer. After an error the position in
    /// the stream is lost; the stream is of no more use.
    ///
    /// # Errors
    /// See [`FrameError`].
    pub async fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        loop {
            let wanted = match self.header()? {
                Some((kind, length)) if self.buffer.len() >= HEADER + length => {
                    self.buffer.advance(HEADER);
                    let payload = self.buffer.split_to(length).freeze();
                    return Ok(Some(Frame { kind, payload }));
                }
                Some((_, length)) => HEADER + length - self.buffer.len(),
                None => HEADER,
            };
            // No more than one chunk at a time, so that memory follows what really came.
            self.buffer.reserve(wanted.min(FRAME_CHUNK));
            if self.inner.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(FrameError::Truncated)
                };
            }
        }
    }

    /// Watches the stream while nothing is expected on it: resolves when it has ended or failed,
    /// or when a whole chunk came all the same. What comes is kept for [`FrameReader::next`].
    ///
    /// Cancel safe.
    pub async fn unexpected(&mut self) -> Unexpected {
        while self.buffer.len() < FRAME_CHUNK {
            self.buffer.reserve(HEADER);
            if !matches!(self.inner.read_buf(&mut self.buffer).await, Ok(1..)) {
                return Unexpected::Gone;
            }
        }
        Unexpected::Full
    }

    /// The stream itself; bytes already read ahead are lost.
    pub fn into_inner(self) -> R {
        self.inner
    }

    /// The stream itself.
    pub fn inner_mut(&mut self) -> &mut R {
        &mut self.inner
    }

    fn header(&self) -> Result<Option<(FrameType, usize)>, FrameError> {
        let Some(&first) = self.buffer.first() else {
            return Ok(None);
        };
        // The type is judged as soon as it is there: a peer that sends one wrong byte and
        // waits learns so at once.
        let kind = FrameType::from_byte(first).ok_or(FrameError::UnknownType { found: first })?;
        if kind.is_reserved() {
            return Err(FrameError::Reserved { found: first });
        }
        let Some((_, length)) = self
            .buffer
            .get(1..HEADER)
            .and_then(|length| length.first_chunk::<4>())
            .map(|length| ((), u32::from_be_bytes(*length)))
        else {
            return Ok(None);
        };
        let found = usize::try_from(length).unwrap_or(usize::MAX);
        bounded(kind, found)?;
        Ok(Some((kind, found)))
    }
}

/// Writes frames.
#[derive(Debug)]
pub struct FrameWriter<W> {
    inner: W,
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    /// Writes to `inner`.
    pub const fn new(inner: W) -> Self {
        Self { inner }
    }

    /// Writes one frame, waiting while the peer reads slowly.
    ///
    /// Not cancel safe: a frame cut short ends the stream's use; reset it then.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`] before anything is written, or [`FrameError::Io`].
    pub async fn write(&mut self, kind: FrameType, payload: &[u8]) -> Result<(), FrameError> {
        bounded(kind, payload.len())?;
        let length = u32::try_from(payload.len())
            .unwrap_or(u32::MAX)
            .to_be_bytes();
        let [a, b, c, d] = length;
        let header: [u8; HEADER] = [kind.byte(), a, b, c, d];
        if payload.len() <= JOINED {
            let frame = [header.as_slice(), payload].concat();
            self.inner.write_all(&frame).await?;
        } else {
            self.inner.write_all(&header).await?;
            self.inner.write_all(payload).await?;
        }
        Ok(())
    }

    /// Ends the stream after what was written.
    ///
    /// # Errors
    /// [`FrameError::Io`].
    pub async fn finish(&mut self) -> Result<(), FrameError> {
        Ok(self.inner.shutdown().await?)
    }

    /// The stream itself.
    pub fn into_inner(self) -> W {
        self.inner
    }

    /// The stream itself.
    pub fn inner_mut(&mut self) -> &mut W {
        &mut self.inner
    }
}

fn bounded(kind: FrameType, found: usize) -> Result<(), FrameError> {
    let max = kind.max_len();
    if found > max {
        return Err(FrameError::TooLarge {
            kind: kind.byte(),
            max,
            found,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::io::duplex;

    use super::*;

    async fn read_all(bytes: &[u8]) -> Result<Vec<Frame>, FrameError> {
        let mut reader = FrameReader::new(bytes);
        let mut frames = Vec::new();
        while let Some(frame) = reader.next().await? {
            frames.push(frame);
        }
        Ok(frames)
    }

    fn header(kind: u8, length: u32) -> Vec<u8> {
        [&[kind][..], &length.to_be_bytes()].concat()
    }

    #[test]
    fn a_reset_is_told_by_its_reason() {
        let reason = crate::transport::Reason::Closed;
        let reset = FrameError::Io(quinn::ReadError::Reset(reason.code()).into());
        let told = format!("the stream failed: the other node ended it: {reason}");
        assert_eq!(reset.to_string(), told);
        let unknown = FrameError::Io(quinn::ReadError::Reset(9_999_u32.into()).into());
        assert!(unknown.to_string().contains("9999"), "{unknown}");
    }

    #[tokio::test]
    async fn frames_pass_a_narrow_pipe_in_order() {
        let (ours, theirs) = duplex(7);
        let payloads: Vec<Vec<u8>> = [0, 1, 5, JOINED, JOINED + 1, FRAME_CHUNK * 2]
            .map(|length| vec![0xa5; length])
            .to_vec();
        let writer = async {
            let mut writer = FrameWriter::new(ours);
            for payload in &payloads {
                writer.write(FrameType::Envelope, payload).await.unwrap();
            }
            writer.write(FrameType::Refusal, b"why").await.unwrap();
            writer.finish().await.unwrap();
        };
        let reader = async {
            let mut reader = FrameReader::new(theirs);
            for payload in &payloads {
                let frame = reader.next().await.unwrap().unwrap();
                assert_eq!(frame.kind, FrameType::Envelope);
                assert_eq!(frame.payload, payload);
            }
            let last = reader.next().await.unwrap().unwrap();
            assert_eq!(
                (last.kind, &last.payload[..]),
                (FrameType::Refusal, &b"why"[..])
            );
            assert!(reader.next().await.unwrap().is_none());
        };
        tokio::join!(writer, reader);
    }

    #[tokio::test]
    async fn hostile_headers_are_refused_before_their_payload() {
        let cases = [
            (header(0, 0), "unknown_frame_type"),
            (header(5, 1), "unknown_frame_type"),
            (vec![0xff], "unknown_frame_type"),
            (header(2, 1), "reserved_frame_type"),
            (header(3, 1), "reserved_frame_type"),
            (header(1, u32::MAX), "frame_too_large"),
            (
                header(1, u32::try_from(MAX_ENVELOPE_FRAME_BYTES + 1).unwrap()),
                "frame_too_large",
            ),
            (header(4, 4097), "frame_too_large"),
            (header(1, 1), "frame_truncated"),
        ];
        for (bytes, name) in cases {
            assert_eq!(
                read_all(&bytes).await.unwrap_err().name(),
                name,
                "{bytes:?}"
            );
        }
    }

    #[tokio::test]
    async fn every_truncation_is_named() {
        let whole = [header(1, 3), b"abc".to_vec()].concat();
        assert!(read_all(&[]).await.unwrap().is_empty());
        for length in 1..whole.len() {
            let error = read_all(&whole[..length]).await.unwrap_err();
            assert_eq!(error.name(), "frame_truncated", "{length}");
        }
        assert_eq!(read_all(&whole).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn reading_is_cancel_safe() {
        let (mut ours, theirs) = duplex(64);
        let mut reader = FrameReader::new(theirs);
        for byte in [header(1, 3), b"abc".to_vec()].concat() {
            assert!(reader.next().now_or_never().is_none());
            ours.write_all(&[byte]).await.unwrap();
        }
        let frame = reader.next().await.unwrap().unwrap();
        assert_eq!(&frame.payload[..], b"abc");
    }

    #[tokio::test]
    async fn what_comes_while_nothing_is_expected_is_kept_and_bounded() {
        let (mut ours, theirs) = duplex(4 * FRAME_CHUNK);
        let mut reader = FrameReader::new(theirs);
        assert!(reader.unexpected().now_or_never().is_none());
        ours.write_all(&[header(1, 3), b"abc".to_vec()].concat())
            .await
            .unwrap();
        assert!(reader.unexpected().now_or_never().is_none());
        let frame = reader.next().await.unwrap().unwrap();
        assert_eq!(&frame.payload[..], b"abc");
        ours.write_all(&vec![1; 2 * FRAME_CHUNK]).await.unwrap();
        assert_eq!(reader.unexpected().await, Unexpected::Full);
        assert!(reader.buffer.capacity() <= 2 * FRAME_CHUNK);
        let (ours, theirs) = duplex(64);
        let mut reader = FrameReader::new(theirs);
        drop(ours);
        assert_eq!(reader.unexpected().await, Unexpected::Gone);
    }

    #[tokio::test]
    async fn a_declared_length_is_not_allocated() {
        let declared = u32::try_from(MAX_ENVELOPE_FRAME_BYTES).unwrap();
        let (mut ours, theirs) = duplex(64);
        let mut reader = FrameReader::new(theirs);
        ours.write_all(&header(1, declared)).await.unwrap();
        assert!(reader.next().now_or_never().is_none());
        assert!(reader.buffer.capacity() <= 2 * FRAME_CHUNK);
    }

    #[tokio::test]
    async fn oversize_is_not_written() {
        let mut writer = FrameWriter::new(Vec::new());
        let error = writer
            .write(FrameType::Refusal, &[0; 4097])
            .await
            .unwrap_err();
        assert_eq!(error.name(), "frame_too_large");
        assert!(writer.into_inner().is_empty());
    }
}
