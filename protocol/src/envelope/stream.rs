//! The order and completeness of the messages of one call in one direction.
//!
//! Every message carries the call's request id, its direction and its sequence from 0. The
//! running hash over n messages is `h(n) = SHA-256(label ‖ h(n−1) ‖ envelope id)` with
//! `h(0) = SHA-256(label ‖ request id)`; the final response carries n and h(n) over everything
//! before it. A stream that ends without a final response is an error of its own.

use super::{Direction, Header, Kind};
use crate::crypto::{Crypto, domain};
use crate::id::{Digest, EnvelopeId, RequestId, SessionId};
use crate::limits::MAX_STREAM_MESSAGES;
use crate::name::Name;

/// Why a message does not continue its stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// It belongs to another call or session.
    #[error("it belongs to another call")]
    OtherCall,
    /// It answers another envelope than the one that began this call.
    #[error("it answers another request")]
    OtherRequest,
    /// One or more messages before it are missing.
    #[error("message {found} where {expected} was next: messages are missing")]
    Gap {
        /// The sequence expected.
        expected: u64,
        /// The sequence found.
        found: u64,
    },
    /// It should have come earlier.
    #[error("message {found} where {expected} was next: out of order")]
    OutOfOrder {
        /// The sequence expected.
        expected: u64,
        /// The sequence found.
        found: u64,
    },
    /// More messages than one stream may have.
    #[error("more than {MAX_STREAM_MESSAGES} messages on one stream")]
    TooMany,
    /// A message after the final response.
    #[error("a message after the final response")]
    AfterEnd,
    /// The final response counts or hashes other messages than those that arrived.
    #[error("the final response was given over other messages than those received")]
    HashMismatch,
    /// The stream ended without a final response.
    #[error("the stream ended without a response")]
    EndedEarly,
}

impl StreamError {
    /// The stable name of the refusal.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::OtherCall => "other_call",
            Self::OtherRequest => "other_request",
            Self::Gap { .. } => "stream_gap",
            Self::OutOfOrder { .. } => "out_of_order",
            Self::TooMany => "too_many_messages",
            Self::AfterEnd => "after_end",
            Self::HashMismatch => "stream_hash_mismatch",
            Self::EndedEarly => "ended_early",
        }
    }
}

/// What all messages of one call share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallIdentity {
    /// The call's request id.
    pub request_id: RequestId,
    /// The session it belongs to.
    pub session: SessionId,
    /// The server.
    pub server: Name,
    /// The human for whom the caller's node began it. It is that node's to say: the server's node
    /// and relays repeat what it said, and can neither add nor drop one.
    pub human: Option<String>,
    /// The envelope that began the call.
    pub first: EnvelopeId,
}

/// Next sequence and running hash of one direction; the same on both ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamState {
    call: CallIdentity,
    direction: Direction,
    next: u64,
    hash: Digest,
    ended: bool,
}

impl StreamState {
    /// The state before the first message in `direction`. Towards the server that first message
    /// is the one that begins the call and is already counted.
    #[must_use]
    pub fn new(crypto: &dyn Crypto, call: CallIdentity, direction: Direction) -> Self {
        let request = call.request_id;
        let hash = Digest::over(crypto, domain::STREAM_HASH, &[request.as_bytes()]);
        let first = call.first;
        let mut state = Self {
            call,
            direction,
            next: 0,
            hash,
            ended: false,
        };
        if direction == Direction::ToServer {
            state.advance(crypto, first);
        }
        state
    }

    /// The sequence the next message must have.
    #[must_use]
    pub const fn next_sequence(&self) -> u64 {
        self.next
    }

    /// The running hash over the messages so far.
    #[must_use]
    pub const fn running_hash(&self) -> Digest {
        self.hash
    }

    /// Whether the final response went by.
    #[must_use]
    pub const fn ended(&self) -> bool {
        self.ended
    }

    /// What the messages of this call share.
    #[must_use]
    pub const fn call(&self) -> &CallIdentity {
        &self.call
    }

    /// Checks that `header` continues this stream, without advancing it; for use before the
    /// signature is verified.
    ///
    /// # Errors
    /// [`StreamError`].
    pub fn check(&self, header: &Header) -> Result<(), StreamError> {
        let claims = &header.claims;
        let same = claims.request_id == self.call.request_id
            && claims.session == self.call.session
            && claims.server == self.call.server
            && claims.human == self.call.human
            && claims.direction == self.direction;
        if !same {
            return Err(StreamError::OtherCall);
        }
        if claims.parent != Some(self.call.first) {
            return Err(StreamError::OtherRequest);
        }
        if self.ended {
            return Err(StreamError::AfterEnd);
        }
        let (expected, found) = (self.next, claims.sequence);
        if found >= MAX_STREAM_MESSAGES {
            return Err(StreamError::TooMany);
        }
        if found > expected {
            return Err(StreamError::Gap { expected, found });
        }
        if found < expected {
            return Err(StreamError::OutOfOrder { expected, found });
        }
        if header.is_final_response() {
            let whole =
                claims.last_sequence == Some(self.next) && claims.stream_hash == Some(self.hash);
            if !whole {
                return Err(StreamError::HashMismatch);
            }
        }
        Ok(())
    }

    /// Advances past a message that was checked and verified, or that this side has just signed.
    pub fn push(&mut self, crypto: &dyn Crypto, id: EnvelopeId, kind: Kind) {
        self.advance(crypto, id);
        if kind == Kind::Response && self.direction == Direction::ToClient {
            self.ended = true;
        }
    }

    /// Keeps the stream open past its final response: a session goes on after `initialize` was
    /// answered, with the same numbering.
    pub const fn keep_open(&mut self) {
        self.ended = false;
    }

    fn advance(&mut self, crypto: &dyn Crypto, id: EnvelopeId) {
        self.next += 1;
        self.hash = Digest::over(
            crypto,
            domain::STREAM_HASH,
            &[self.hash.as_bytes(), id.as_bytes()],
        );
    }
}
