//! Answering what another node holds: one question and one reply on a stream of its own.
//!
//! The holder shows a peer the calls that the peer's operator may answer, and takes the operator's
//! signed answer. The link proves who asks; the answer's signature proves who answers, and is
//! judged as if it had been given at the holder.
//!
//! `length (u32, big-endian) ‖ message`, each way, then the end of the stream.

use std::time::Duration;

use minicbor::bytes::ByteVec;
use protocol::approval::MAX_ANSWER_BYTES;
use protocol::codec::{self, CodecError};
use protocol::control::{Approval, Failure, FailureKind};
use protocol::id::NodeId;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::ApprovalError;
use super::book::Approvals;
use super::kept::Kept;
use super::view::printable;

/// Largest question: a signed answer and a few bytes.
const MAX_QUESTION_BYTES: usize = MAX_ANSWER_BYTES + 64;

/// Largest reply; of more held calls the first are shown.
pub(crate) const MAX_REPLY_BYTES: usize = 1024 * 1024;

/// Room in a reply for what is not held calls.
const REPLY_MARGIN: usize = 4096;

/// How long a question or a reply may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is asked of a holder.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
struct Question {
    /// To take this answer first.
    #[n(1)]
    answer: Option<ByteVec>,
    /// To show the settled ones too.
    #[n(2)]
    all: bool,
}

/// A held call in a reply.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
struct Shown {
    /// Whether its caller waits.
    #[n(1)]
    awaited: bool,
    /// The call as the holder keeps it.
    #[n(2)]
    kept: ByteVec,
}

/// What a holder replies.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
struct Reply {
    /// The calls that the asking node's operator may answer.
    #[n(1)]
    held: Vec<Shown>,
    /// Why the answer was refused: the reason by name, and for people.
    #[n(2)]
    refused: Option<Refused>,
}

/// A refusal as a reply has it.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub(crate) struct Refused {
    /// By name.
    #[n(1)]
    pub(crate) reason: String,
    /// For people.
    #[n(2)]
    pub(crate) message: String,
}

impl From<Refused> for RemoteError {
    fn from(refused: Refused) -> Self {
        Self::Refused {
            reason: printable(&refused.reason),
            message: printable(&refused.message),
        }
    }
}

/// Why asking another node came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The stream failed.
    #[error("the conversation with the node broke off: {0}")]
    Io(#[from] std::io::Error),
    /// Not in time.
    #[error("the node did not reply within {} s", PATIENCE.as_secs())]
    Silent,
    /// Longer than it may be.
    #[error("a message of {0} bytes")]
    TooLarge(usize),
    /// Not what was to come.
    #[error("what the node replied is not understood: {0}")]
    Malformed(#[from] CodecError),
    /// The holder's own refusal.
    #[error("{message}")]
    Refused {
        /// By name.
        reason: String,
        /// For people.
        message: String,
    },
    /// A refusal of this node.
    #[error(transparent)]
    Own(#[from] ApprovalError),
}

impl From<RemoteError> for Failure {
    fn from(error: RemoteError) -> Self {
        match error {
            RemoteError::Own(error) => error.into(),
            RemoteError::Refused { reason, message } => {
                Self::new(FailureKind::Denied, &reason, message)
            }
            other => Self::new(
                FailureKind::Unavailable,
                "holder_unreachable",
                other.to_string(),
            ),
        }
    }
}

impl Approvals {
    /// Serves one question of a peer.
    ///
    /// # Errors
    /// [`RemoteError`] of the stream; a refused answer is replied, not an error.
    pub async fn serve<R, W>(
        &self,
        peer: NodeId,
        recv: &mut R,
        send: &mut W,
    ) -> Result<(), RemoteError>
    where
        R: AsyncRead + Unpin + Send,
        W: AsyncWrite + Unpin + Send,
    {
        let question = read(recv, MAX_QUESTION_BYTES).await?;
        write(send, &self.reply_to(peer, &question).await?).await
    }

    /// What this holder replies to a question of `peer`.
    ///
    /// # Errors
    /// [`RemoteError`]; a refused answer is replied, not an error.
    pub(crate) async fn reply_to(
        &self,
        peer: NodeId,
        question: &[u8],
    ) -> Result<Vec<u8>, RemoteError> {
        let question: Question = codec::decode(question, MAX_QUESTION_BYTES)?;
        let refused = match &question.answer {
            None => None,
            Some(answer) => self.answer(answer).await.err().map(|error| Refused {
                reason: error.reason().to_owned(),
                message: error.to_string(),
            }),
        };
        let mut held = Vec::new();
        let mut room = MAX_REPLY_BYTES - REPLY_MARGIN;
        for (awaited, kept) in self.kept_for(&peer, question.all).await? {
            let kept = kept.encode();
            let Some(left) = room.checked_sub(kept.len() + 16) else {
                break;
            };
            room = left;
            held.push(Shown {
                awaited,
                kept: kept.into(),
            });
        }
        Ok(codec::encode(&Reply { held, refused }))
    }

    /// Asks `holder` over a fresh stream: to take an answer, where there is one, and for the calls
    /// that this node's operator may answer.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub async fn ask<R, W>(
        &self,
        holder: NodeId,
        answer: Option<Vec<u8>>,
        all: bool,
        recv: &mut R,
        send: &mut W,
    ) -> Result<Vec<Approval>, RemoteError>
    where
        R: AsyncRead + Unpin + Send,
        W: AsyncWrite + Unpin + Send,
    {
        write(send, &question(answer, all)).await?;
        self.replied(holder, &read(recv, MAX_REPLY_BYTES).await?)
    }

    /// What `holder` replied.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub(crate) fn replied(
        &self,
        holder: NodeId,
        reply: &[u8],
    ) -> Result<Vec<Approval>, RemoteError> {
        let reply: Reply = codec::decode(reply, MAX_REPLY_BYTES)?;
        if let Some(refused) = reply.refused {
            return Err(refused.into());
        }
        let mut held = Vec::new();
        for shown in reply.held {
            let kept = Kept::decode(&shown.kept)?;
            held.push(self.view_of(holder, &kept, shown.awaited));
        }
        held.sort_by_key(|a| (a.asked, a.id));
        Ok(held)
    }
}

/// The encoded question: to take an answer, where there is one, and for the calls that this node's
/// operator may answer.
pub(crate) fn question(answer: Option<Vec<u8>>, all: bool) -> Vec<u8> {
    codec::encode(&Question {
        answer: answer.map(Into::into),
        all,
    })
}

/// Reads what `write` wrote, of at most `max` bytes.
pub(crate) async fn read<R: AsyncRead + Unpin + Send>(
    recv: &mut R,
    max: usize,
) -> Result<Vec<u8>, RemoteError> {
    let reading = async {
        let length = usize::try_from(recv.read_u32().await?).unwrap_or(usize::MAX);
        if length > max {
            return Err(RemoteError::TooLarge(length));
        }
        // Grows as bytes come, not by what a length declares.
        let mut bytes = Vec::new();
        let limit = u64::try_from(length).unwrap_or(u64::MAX);
        (&mut *recv).take(limit).read_to_end(&mut bytes).await?;
        if bytes.len() < length {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        Ok(bytes)
    };
    timeout(PATIENCE, reading)
        .await
        .unwrap_or(Err(RemoteError::Silent))
}

/// Writes the length and the bytes.
pub(crate) async fn write<W: AsyncWrite + Unpin + Send>(
    send: &mut W,
    bytes: &[u8],
) -> Result<(), RemoteError> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let framed = [&length.to_be_bytes()[..], bytes].concat();
    let writing = async {
        send.write_all(&framed).await?;
        send.flush().await
    };
    match timeout(PATIENCE, writing).await {
        Ok(written) => Ok(written?),
        Err(_) => Err(RemoteError::Silent),
    }
}
