//! What stands in the frames of a call stream (SPEC, "Call streams").
//!
//! - *envelope*: CBOR `[envelope: bstr, [record: bstr, …]]`.
//! - *refusal*: CBOR `{1: reason, 2: message, 3: by policy, 4: policy name, 5: hint}`; ends the
//!   stream. It is proven by the link only, not signed, and so carries no result.

use minicbor::bytes::ByteVec;
use protocol::codec::{self, CodecError};
use protocol::limits::{MAX_ENVELOPE_FRAME_BYTES, MAX_ROUTE_HOPS};
use protocol::policy::{Denial, Verdict};

use crate::enforcement::Stopped;

/// Largest payload of a refusal frame.
pub const MAX_REFUSAL_FRAME: usize = 2048;

/// Longest text taken from or put into a refusal.
const MAX_REFUSAL_TEXT: usize = 400;

/// An envelope and the hop records beside it.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct EnvelopeFrame {
    /// The COSE_Sign.
    #[n(0)]
    pub envelope: ByteVec,
    /// The records, in the order of the route.
    #[n(1)]
    pub records: Vec<ByteVec>,
}

impl EnvelopeFrame {
    /// The frame of a direct link: no records.
    #[must_use]
    pub fn direct(envelope: Vec<u8>) -> Self {
        Self {
            envelope: envelope.into(),
            records: Vec::new(),
        }
    }

    /// Its one encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads the payload of an envelope frame.
    ///
    /// # Errors
    /// Anything but its one encoding, or more records than any route has relays.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let frame: Self = codec::decode(bytes, MAX_ENVELOPE_FRAME_BYTES)?;
        if frame.records.len() > MAX_ROUTE_HOPS {
            return Err(CodecError::Malformed("more records than hops".to_owned()));
        }
        Ok(frame)
    }
}

/// Why the other node did not take a message.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct RefusalFrame {
    /// The stable name.
    #[n(1)]
    pub reason: String,
    /// One line for people.
    #[n(2)]
    pub message: String,
    /// Whether policy said so.
    #[n(3)]
    pub by_policy: bool,
    /// The policy that decided.
    #[n(4)]
    pub policy: Option<String>,
    /// What can be done.
    #[n(5)]
    pub hint: Option<String>,
}

impl RefusalFrame {
    /// The frame that tells the peer of `stopped`.
    #[must_use]
    pub fn of(stopped: &Stopped) -> Self {
        let denial = stopped.verdict.denial();
        Self {
            reason: printable(stopped.reason()),
            message: denial.map(|d| printable(&d.message)).unwrap_or_default(),
            by_policy: stopped.by_policy,
            policy: denial.and_then(|d| d.policy.as_deref()).map(printable),
            hint: denial.and_then(|d| d.hint.as_deref()).map(printable),
        }
    }

    /// A refusal by name that is nobody's policy.
    #[must_use]
    pub fn named(reason: &str, message: &str) -> Self {
        Self::of(&Stopped::refuse(reason, message))
    }

    /// Its one encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads the payload of a refusal frame; what the peer wrote is made printable and short.
    ///
    /// # Errors
    /// Anything but its one encoding.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let frame: Self = codec::decode(bytes, MAX_REFUSAL_FRAME)?;
        Ok(Self {
            reason: printable(&frame.reason),
            message: printable(&frame.message),
            by_policy: frame.by_policy,
            policy: frame.policy.as_deref().map(printable),
            hint: frame.hint.as_deref().map(printable),
        })
    }

    /// As what stopped the message here.
    #[must_use]
    pub fn into_stopped(self) -> Stopped {
        let denial = Denial {
            reason: self.reason,
            message: self.message,
            policy: self.policy,
            hint: self.hint,
        };
        Stopped {
            verdict: Verdict::Deny(denial),
            by_policy: self.by_policy,
        }
    }
}

fn printable(text: &str) -> String {
    let mut out: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_REFUSAL_TEXT / 2)
        .collect();
    while out.len() > MAX_REFUSAL_TEXT {
        out.pop();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_read_back_inert_and_short() {
        let long = "x\u{1b}[31m".repeat(300);
        let frame = RefusalFrame::named("replayed", &long);
        let read = RefusalFrame::decode(&frame.encode()).unwrap();
        assert_eq!(read.reason, "replayed");
        assert!(read.message.len() <= MAX_REFUSAL_TEXT);
        assert!(!read.message.contains('\u{1b}'));
    }

    #[test]
    fn frames_have_one_encoding() {
        let frame = EnvelopeFrame::direct(vec![1, 2, 3]);
        let bytes = frame.encode();
        assert_eq!(EnvelopeFrame::decode(&bytes).unwrap(), frame);
        let trailing = [&bytes[..], &[0]].concat();
        assert_eq!(
            EnvelopeFrame::decode(&trailing).unwrap_err().reason(),
            "non_canonical"
        );
    }
}
