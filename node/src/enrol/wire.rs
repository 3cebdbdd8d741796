//! Messages of a join stream on the wire: `kind (u8) ‖ length (u32, big-endian) ‖ message`.

use protocol::trust::joining::{JoinMessage, JoinMessageError};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Why a message was not read.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The stream ended where a message could have begun.
    #[error("the stream ended")]
    Ended,
    /// The stream failed, or ended within a message.
    #[error("the stream failed: {0}")]
    Io(#[from] std::io::Error),
    /// Not a message.
    #[error(transparent)]
    Message(#[from] JoinMessageError),
    /// Longer than its kind may be.
    #[error("a message of kind {kind} has at most {max} bytes, this one has {found}")]
    TooLarge {
        /// The kind.
        kind: u8,
        /// The bound.
        max: usize,
        /// What it declares.
        found: usize,
    },
}

/// A message that is not decoded: what is carried on for others.
pub(super) struct Raw {
    pub(super) kind: u8,
    pub(super) bytes: Vec<u8>,
}

/// Reads one message without decoding it.
pub(super) async fn read_raw<R: AsyncRead + Unpin>(recv: &mut R) -> Result<Raw, WireError> {
    let kind = match recv.read_u8().await {
        Ok(kind) => kind,
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Err(WireError::Ended),
        Err(e) => return Err(e.into()),
    };
    let max = JoinMessage::max_len(kind)?;
    let found = usize::try_from(recv.read_u32().await?).unwrap_or(usize::MAX);
    if found > max {
        return Err(WireError::TooLarge { kind, max, found });
    }
    let mut bytes = Vec::new();
    // Grows as bytes come, not by what a length declares.
    let limit = u64::try_from(found).unwrap_or(u64::MAX);
    let read = (&mut *recv).take(limit).read_to_end(&mut bytes).await?;
    if read < found {
        return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
    }
    Ok(Raw { kind, bytes })
}

/// Reads one message.
pub(super) async fn read<R: AsyncRead + Unpin>(recv: &mut R) -> Result<JoinMessage, WireError> {
    let raw = read_raw(recv).await?;
    Ok(JoinMessage::decode(raw.kind, &raw.bytes)?)
}

/// Writes one message that is encoded already.
pub(super) async fn write_raw<W: AsyncWrite + Unpin>(
    send: &mut W,
    raw: &Raw,
) -> std::io::Result<()> {
    let length = u32::try_from(raw.bytes.len()).unwrap_or(u32::MAX);
    let framed = [&[raw.kind][..], &length.to_be_bytes(), &raw.bytes].concat();
    send.write_all(&framed).await
}

/// Writes one message.
pub(super) async fn write<W: AsyncWrite + Unpin>(
    send: &mut W,
    message: &JoinMessage,
) -> std::io::Result<()> {
    let raw = Raw {
        kind: message.kind(),
        bytes: message.encode(),
    };
    write_raw(send, &raw).await
}
