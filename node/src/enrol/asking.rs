//! The asking side of a join stream.

use protocol::crypto::Crypto;
use protocol::id::{MeshId, NodeId};
use protocol::trust::joining::{
    Ask, Challenged, Enrol, Granted, JoinMessage, JoinRefusal, MAX_ROOTS, RootsFrom,
};
use protocol::trust::{TrustError, VerifiedRoot};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::limits::{ANSWER, MAX_MESSAGES};
use super::roots;
use super::wire::{self, WireError};

/// Why asking came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No answer in time.
    #[error("no answer within {} s", ANSWER.as_secs())]
    Silent,
    /// The stream ended or failed.
    #[error("the conversation broke off: {0}")]
    Broken(String),
    /// An answer to another question.
    #[error("an answer that does not fit the question")]
    Unexpected,
    /// What was handed over does not hold.
    #[error("what was answered does not hold: {0}")]
    Forged(TrustError),
    /// A membership for somebody else, or by another issuer.
    #[error("the membership answered is {0}")]
    NotOurs(&'static str),
    /// No.
    #[error("{}", .0.message)]
    Refused(JoinRefusal),
}

impl From<WireError> for AskError {
    fn from(error: WireError) -> Self {
        Self::Broken(error.to_string())
    }
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A membership.
    Granted(Granted),
    /// A person must decide.
    Waiting,
}

/// A join stream, from the asking side.
pub struct Asking<S, R> {
    send: S,
    recv: R,
}

impl<S: AsyncWrite + Unpin, R: AsyncRead + Unpin> Asking<S, R> {
    /// Over this stream.
    pub const fn new(send: S, recv: R) -> Self {
        Self { send, recv }
    }

    async fn say(&mut self, message: &JoinMessage) -> Result<JoinMessage, AskError> {
        let turn = async {
            let written = wire::write(&mut self.send, message).await;
            // A refusal may have come before all of it was written.
            let read = wire::read(&mut self.recv).await;
            match (written, read) {
                (_, Ok(answer)) => Ok(answer),
                (_, Err(error)) => Err(AskError::from(error)),
            }
        };
        match timeout(ANSWER, turn).await {
            Ok(Ok(JoinMessage::Refused(refusal))) => Err(AskError::Refused(printable(refusal))),
            Ok(answer) => answer,
            Err(_) => Err(AskError::Silent),
        }
    }

    /// The newest root of `mesh`, verified from its genesis, with the chain as signed.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn roots(
        &mut self,
        crypto: &dyn Crypto,
        mesh: MeshId,
    ) -> Result<(VerifiedRoot, Vec<Vec<u8>>), AskError> {
        let mut chain: Vec<Vec<u8>> = Vec::new();
        for _ in 0..MAX_MESSAGES {
            let version = u64::try_from(chain.len()).unwrap_or(u64::MAX) + 1;
            let question = JoinMessage::RootsFrom(RootsFrom { version });
            let JoinMessage::Roots(found) = self.say(&question).await? else {
                return Err(AskError::Unexpected);
            };
            if found.roots.is_empty() || found.roots.len() > MAX_ROOTS {
                return Err(AskError::Unexpected);
            }
            chain.extend(found.roots.into_iter().map(Vec::from));
            if u64::try_from(chain.len()).unwrap_or(u64::MAX) >= found.newest {
                let root = roots::verify(crypto, mesh, &chain).map_err(AskError::Forged)?;
                return Ok((root, chain));
            }
        }
        Err(AskError::Unexpected)
    }

    /// A challenge of the issuer on that node, or of any.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn challenge(
        &mut self,
        mesh: MeshId,
        issuer_node: Option<NodeId>,
    ) -> Result<Challenged, AskError> {
        let ask = JoinMessage::Ask(Ask { mesh, issuer_node });
        match self.say(&ask).await? {
            JoinMessage::Challenged(challenged) => Ok(challenged),
            _ => Err(AskError::Unexpected),
        }
    }

    /// Sends a signed request, with the membership it renews or replaces.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn enrol(
        &mut self,
        request: Vec<u8>,
        membership: Option<Vec<u8>>,
    ) -> Result<Answer, AskError> {
        let membership = membership.map(Into::into);
        let enrol = JoinMessage::Enrol(Enrol {
            request,
            membership,
        });
        match self.say(&enrol).await? {
            JoinMessage::Granted(granted) => Ok(Answer::Granted(granted)),
            JoinMessage::Waiting(_) => Ok(Answer::Waiting),
            _ => Err(AskError::Unexpected),
        }
    }
}

/// A peer's texts end in terminals and logs.
fn printable(refusal: JoinRefusal) -> JoinRefusal {
    let clean = |text: String| text.chars().filter(|c| !c.is_control()).collect();
    JoinRefusal {
        reason: clean(refusal.reason),
        message: clean(refusal.message),
        hint: refusal.hint.map(clean),
    }
}
