//! Trust streams: one each way for as long as a link is up.
//!
//! `length (u32, big-endian) ‖ message`, again and again. A length beyond
//! [`MAX_SYNC_FRAME`], a message that is not the one encoding of one, and the end of the stream
//! while the link is up are the sender's fault.

use std::sync::Arc;

use protocol::distribution::{MAX_SYNC_FRAME, Message};
use protocol::id::NodeId;
use protocol::trust::TrustError;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::transport::{Links, StreamKind};

/// Messages waiting for one peer. A peer that falls so far behind is cut off; when it comes back
/// it compares heads and is sent what it lacks, which is less.
pub(super) const OUTBOX: usize = 1024;

/// Why a trust stream was not read on.
#[derive(Debug, thiserror::Error)]
pub enum TrustStreamError {
    /// A message longer than any may be.
    #[error("a trust message of {0} bytes, allowed are {MAX_SYNC_FRAME}")]
    TooLarge(usize),
    /// Not a message.
    #[error("not a trust message: {0}")]
    Malformed(#[from] TrustError),
    /// The stream or the link ended.
    #[error("the trust stream ended: {0}")]
    Ended(#[from] std::io::Error),
}

impl TrustStreamError {
    /// The stable name of what the peer did wrong; absent where it did nothing wrong.
    #[must_use]
    pub const fn fault(&self) -> Option<&'static str> {
        match self {
            Self::TooLarge(_) => Some("trust_message_too_large"),
            Self::Malformed(_) => Some("trust_message_malformed"),
            Self::Ended(_) => None,
        }
    }
}

/// Reads the next message.
///
/// # Errors
/// [`TrustStreamError`].
pub async fn receive(stream: &mut (impl AsyncRead + Unpin)) -> Result<Message, TrustStreamError> {
    let length = stream.read_u32().await? as usize;
    if length > MAX_SYNC_FRAME {
        return Err(TrustStreamError::TooLarge(length));
    }
    // Not allocated on the peer's word alone: what arrives is what is held.
    let mut message = Vec::new();
    let read = stream.take(length as u64).read_to_end(&mut message).await?;
    if read < length {
        return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
    }
    Ok(Message::decode(&message)?)
}

/// Opens this side's trust stream to a peer and writes what `messages` brings until that or the
/// link ends.
pub(super) async fn send(
    links: Links,
    peer: NodeId,
    mut messages: mpsc::Receiver<Arc<Message>>,
) -> std::io::Result<()> {
    let opened = links.open(peer, StreamKind::Trust).await;
    // The other half is not used; nothing ever comes on it.
    let (mut stream, _unused) = opened.map_err(std::io::Error::other)?;
    while let Some(message) = messages.recv().await {
        let bytes = message.encode();
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        stream.write_all(&length.to_be_bytes()).await?;
        stream.write_all(&bytes).await?;
        stream.flush().await?;
    }
    stream.finish();
    Ok(())
}
