//! Why a peer or one of its streams is refused: a stable name, one plain sentence, a counter.
//!
//! The names are part of the operator's interface (metrics, `status`), the codes are on the
//! wire: neither changes once released. Nothing here is ever secret.

use core::fmt;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use quinn::{ConnectionError, VarInt};

use super::limits;

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $name:literal, $sentence:literal;)*) => {
        /// Why the transport refused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Reason {
            $($(#[$doc])* $variant = $code,)*
        }

        impl Reason {
            /// Every reason, in the order of their codes.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The stable name, snake_case.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }

        impl fmt::Display for Reason {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $sentence,)* })
            }
        }
    };
}

reasons! {
    /// The node is stopping or closed the link itself.
    Stopping = 0, "stopping", "the node is stopping";
    /// No X25519MLKEM768.
    ClassicalPeer = 1, "classical_peer", "the peer offers no X25519MLKEM768 key exchange; this mesh has no classical fallback";
    /// No composite key among its signature schemes or certificate types.
    NoCompositeKey = 2, "no_composite_key", "the peer has no id-MLDSA65-Ed25519-SHA512 raw public key; this mesh takes no other kind";
    /// A raw public key of another kind, under a composite scheme.
    NotComposite = 3, "not_composite", "the peer's raw public key is not an id-MLDSA65-Ed25519-SHA512 key";
    /// No client key at all.
    AnonymousPeer = 4, "anonymous_peer", "the peer presented no key; both sides must prove who they are";
    /// Another protocol.
    WrongAlpn = 5, "wrong_alpn", "the peer speaks another protocol than `hedgerow/1`";
    /// Another node than expected answered.
    WrongNode = 6, "wrong_node", "another node than the expected one answered at this address";
    /// The handshake signature does not hold.
    BadSignature = 7, "bad_signature", "the peer's handshake signature does not verify under its key";
    /// Our own key at the other end.
    OwnKey = 8, "own_key", "the peer uses this node's own key; two nodes must never share one";
    /// A handshake that failed in a way no other reason names.
    HandshakeFailed = 9, "handshake_failed", "the TLS handshake with the peer failed";
    /// Not done in time.
    HandshakeTimeout = 10, "handshake_timeout", "the peer did not finish the handshake in time";
    /// The source starts too many handshakes.
    SourceThrottled = 11, "source_throttled", "the source starts more handshakes than one address may";
    /// Too many handshakes under way here.
    TooManyHandshakes = 12, "too_many_handshakes", "too many handshakes are under way at this node";
    /// The bound on links is reached.
    TooManyLinks = 13, "too_many_links", "this node has as many links as it may";
    /// TLS done, no hello.
    HelloTimeout = 14, "hello_timeout", "the peer did not say hello in time";
    /// Something else than hello on the first stream.
    StreamBeforeHello = 15, "stream_before_hello", "the peer opened another stream before hello";
    /// More than [`protocol::limits::MAX_HELLO_BYTES`].
    HelloTooLarge = 16, "hello_too_large", "the peer's hello is larger than a hello may be";
    /// The hello stream ended early or has an unknown status.
    MalformedHello = 17, "malformed_hello", "the peer's hello is not readable";
    /// [`super::Admission`] said no; its own reason goes with it.
    NotAdmitted = 18, "not_admitted", "the peer is not admitted";
    /// A second link of the pair; the other one stays.
    Superseded = 19, "superseded", "another link of the same two nodes stays";
    /// No first byte in time.
    SilentStream = 20, "silent_stream", "the peer opened a stream and said nothing on it";
    /// The second byte is no known kind.
    UnknownStreamKind = 21, "unknown_stream_kind", "the peer opened a stream of unknown kind";
    /// A hello stream after admission.
    SecondHello = 22, "second_hello", "the peer said hello again";
    /// More of our streams than its budget.
    StreamBudget = 23, "stream_budget", "the peer has more streams open than it may";
    /// More libp2p streams than its budget or queue.
    Libp2pBudget = 24, "libp2p_budget", "the peer has more libp2p streams open than it may";
    /// Too many of the above.
    StreamFlood = 25, "stream_flood", "the peer kept opening streams it may not open";
    /// Closed by an operator's or a policy's decision here.
    Closed = 26, "closed", "the link was closed";
    /// No packet for [`limits::IDLE_TIMEOUT`].
    TimedOut = 27, "timed_out", "the peer has not been heard from";
    /// The connection broke.
    Lost = 28, "lost", "the link was lost";
    /// The peer is revoked, or its membership's issuer is.
    Revoked = 29, "revoked", "the node is revoked in this mesh";
    /// It delivered an envelope with a chain that no honest relay would have delivered.
    Severed = 30, "severed", "the node delivered a broken chain and is kept off for a while";
    /// A policy that judges nodes cuts it off for what it called.
    NodeSevered = 31, "node_severed", "a policy cut the node off and it is kept off for a while";
}

impl Reason {
    /// The QUIC application error code that carries it.
    #[must_use]
    pub const fn code(self) -> VarInt {
        VarInt::from_u32(self as u32)
    }

    /// The reason with this application error code.
    #[must_use]
    pub fn from_code(code: VarInt) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|reason| reason.code() == code)
    }

    /// Whether who closes a link for this keeps the other one off for a while.
    #[must_use]
    pub const fn keeps_off(self) -> bool {
        matches!(self, Self::Severed | Self::NodeSevered)
    }

    /// What a connection that ended says about why, and whether it was the peer who ended it.
    #[must_use]
    pub fn of(error: &ConnectionError) -> (Self, Side) {
        match error {
            ConnectionError::ApplicationClosed(close) => (
                Self::from_code(close.error_code).unwrap_or(Self::Lost),
                Side::Peer,
            ),
            ConnectionError::ConnectionClosed(close) => (
                Self::of_alert(
                    u64::from(close.error_code),
                    &String::from_utf8_lossy(&close.reason),
                ),
                Side::Peer,
            ),
            ConnectionError::TransportError(error) => (
                Self::of_alert(u64::from(error.code), &error.reason),
                Side::Here,
            ),
            ConnectionError::TimedOut => (Self::TimedOut, Side::Here),
            ConnectionError::LocallyClosed => (Self::Closed, Side::Here),
            _ => (Self::Lost, Side::Here),
        }
    }

    /// The reason behind a TLS alert. Our own verifier's sentences are recognised in the text
    /// that travels with it; what rustls itself refuses is told by alert and its error's name.
    fn of_alert(code: u64, text: &str) -> Self {
        /// QUIC's CRYPTO_ERROR range (RFC 9001 §4.8).
        const CRYPTO: core::ops::Range<u64> = 0x100..0x200;
        const HANDSHAKE_FAILURE: u64 = 0x100 + 40;
        const CERTIFICATE_REQUIRED: u64 = 0x100 + 116;
        const NO_APPLICATION_PROTOCOL: u64 = 0x100 + 120;
        let of_verifier = [
            Self::WrongNode,
            Self::NotComposite,
            Self::NoCompositeKey,
            Self::BadSignature,
            Self::OwnKey,
        ];
        if !CRYPTO.contains(&code) {
            return Self::Lost;
        }
        if let Some(reason) = of_verifier
            .into_iter()
            .find(|reason| text.contains(reason.name()))
        {
            return reason;
        }
        let names = |words: &[&str]| words.iter().any(|word| text.contains(word));
        match code {
            NO_APPLICATION_PROTOCOL => Self::WrongAlpn,
            CERTIFICATE_REQUIRED => Self::AnonymousPeer,
            _ if names(&["NoKxGroupsInCommon", "KxGroup"]) => Self::ClassicalPeer,
            _ if names(&["NoCertificatesPresented", "sent no certificates"]) => Self::AnonymousPeer,
            _ if names(&[
                "NoSignatureSchemesInCommon",
                "CertificateType",
                "no certificate",
            ]) =>
            {
                Self::NoCompositeKey
            }
            // An alert without a telling text, from a peer that is not ours: what this node
            // cannot go without is the hybrid group.
            HANDSHAKE_FAILURE => Self::ClassicalPeer,
            _ => Self::HandshakeFailed,
        }
    }
}

/// Which end ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// This node.
    Here,
    /// The other one.
    Peer,
}

/// Why [`super::Admission`] refuses a peer. Told to the peer, so it holds nothing secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The stable name, snake_case (`foreign_mesh`, `revoked`, …).
    pub reason: String,
    /// One plain sentence: lowercase, no final period.
    pub message: String,
}

impl Refusal {
    /// A refusal with this name and sentence.
    #[must_use]
    pub fn new(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            message: message.into(),
        }
    }

    /// On the wire: length of the reason (u16, big-endian), the reason, the message; cut to
    /// [`limits::REFUSAL_BYTES`].
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let half = limits::REFUSAL_BYTES / 2;
        let reason = cut(&self.reason, half);
        let message = cut(&self.message, half);
        let length = u16::try_from(reason.len()).unwrap_or_default();
        [
            length.to_be_bytes().as_slice(),
            reason.as_bytes(),
            message.as_bytes(),
        ]
        .concat()
    }

    /// A peer's refusal: control characters are dropped, since it ends in terminals and logs.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk::<2>()?;
        let (reason, message) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        let printable = |bytes: &[u8]| -> String {
            String::from_utf8_lossy(bytes)
                .chars()
                .filter(|c| !c.is_control())
                .collect()
        };
        Some(Self::new(printable(reason), printable(message)))
    }
}

/// The longest prefix of `text` of at most `max` bytes.
fn cut(text: &str, max: usize) -> &str {
    let end = (0..=max.min(text.len()))
        .rev()
        .find(|&at| text.is_char_boundary(at))
        .unwrap_or_default();
    text.get(..end).unwrap_or_default()
}

/// How often each reason was given since start.
#[derive(Debug)]
pub struct Counters {
    refused: Vec<AtomicU64>,
    admission: Mutex<BTreeMap<String, u64>>,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            refused: Reason::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
            admission: Mutex::default(),
        }
    }
}

impl Counters {
    pub(super) fn count(&self, reason: Reason) {
        if let Some(counter) = self.refused.get(reason as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn count_refusal(&self, refusal: &Refusal) {
        self.count(Reason::NotAdmitted);
        let mut by_name = self
            .admission
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let full = by_name.len() >= limits::COUNTED_REFUSALS;
        let name = if full && !by_name.contains_key(&refusal.reason) {
            "other"
        } else {
            &refusal.reason
        };
        *by_name.entry(name.to_owned()).or_default() += 1;
    }

    /// How often this reason was given.
    #[must_use]
    pub fn of(&self, reason: Reason) -> u64 {
        self.refused
            .get(reason as usize)
            .map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    /// Every reason that was given, by name; admission's own reasons as
    /// `not_admitted/<reason>`.
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<String, u64> {
        let by_reason = Reason::ALL
            .iter()
            .map(|&reason| (reason.name().to_owned(), self.of(reason)));
        let by_name = self
            .admission
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let by_name = by_name
            .iter()
            .map(|(name, count)| (format!("{}/{name}", Reason::NotAdmitted.name()), *count));
        by_reason
            .chain(by_name)
            .filter(|(_, count)| *count > 0)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_positions_and_names_are_unique() {
        for (position, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, position, "{}", reason.name());
            assert_eq!(Reason::from_code(reason.code()), Some(*reason));
            assert_eq!(
                Reason::ALL
                    .iter()
                    .filter(|r| r.name() == reason.name())
                    .count(),
                1
            );
        }
        assert_eq!(Reason::from_code(VarInt::from_u32(9999)), None);
    }

    #[test]
    fn refusals_are_bounded_and_printable() {
        let refusal = Refusal::new("r\u{1b}[31m".repeat(200), "ä".repeat(1000));
        let bytes = refusal.to_bytes();
        assert!(bytes.len() <= limits::REFUSAL_BYTES + 2);
        let read = Refusal::from_bytes(&bytes).unwrap();
        assert!(!read.reason.contains('\u{1b}'));
        assert!(Refusal::from_bytes(&[0]).is_none());
        assert!(Refusal::from_bytes(&[0xff, 0xff, 1]).is_none());
    }

    #[test]
    fn counters_are_bounded_by_name() {
        let counters = Counters::default();
        for number in 0..1000 {
            counters.count_refusal(&Refusal::new(format!("r{number}"), ""));
        }
        let snapshot = counters.snapshot();
        assert_eq!(counters.of(Reason::NotAdmitted), 1000);
        assert!(snapshot.len() <= limits::COUNTED_REFUSALS + 2);
        assert!(snapshot["not_admitted/other"] > 900);
    }
}
