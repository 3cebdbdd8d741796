//! How many envelopes a peer may make this node look at.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use protocol::id::NodeId;
use protocol::time::UnixMillis;

/// Envelopes one peer may send in a second, sustained. Checking one costs about 0.2 ms of CPU, so
/// a peer at its limit can take most of one core and no more.
pub const PEER_ENVELOPES_PER_S: u64 = 4_000;

/// How many it may send at once after being quiet.
pub const PEER_ENVELOPES_AT_ONCE: u64 = 8_000;

/// How many envelopes one peer may make this node look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerRate {
    /// In a second, sustained.
    pub per_second: u64,
    /// At once after being quiet.
    pub at_once: u64,
}

impl Default for PeerRate {
    fn default() -> Self {
        Self {
            per_second: PEER_ENVELOPES_PER_S,
            at_once: PEER_ENVELOPES_AT_ONCE,
        }
    }
}

/// Peers remembered; a peer is a member with a link, so there are never more.
const MAX_PEERS: usize = crate::members::MAX_MEMBERS;

/// Token buckets, one a peer, in thousandths of a token.
#[derive(Default)]
pub(super) struct PeerLimits(Mutex<Limited>);

#[derive(Default)]
struct Limited {
    rate: PeerRate,
    buckets: HashMap<NodeId, (UnixMillis, u64)>,
}

impl PeerLimits {
    /// Whether `peer` may send one more envelope at `now`.
    pub(super) fn admit(&self, peer: NodeId, now: UnixMillis) -> bool {
        let mut limited = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Limited { rate, buckets } = &mut *limited;
        let full = rate.at_once.saturating_mul(1000);
        if buckets.len() >= MAX_PEERS && !buckets.contains_key(&peer) {
            buckets.retain(|_, (last, _)| now.since(*last) < 10_000);
        }
        let (last, tokens) = buckets.entry(peer).or_insert((now, full));
        *tokens = now
            .since(*last)
            .saturating_mul(rate.per_second)
            .saturating_add(*tokens)
            .min(full);
        *last = now.max(*last);
        match tokens.checked_sub(1000) {
            Some(rest) => {
                *tokens = rest;
                true
            }
            None => false,
        }
    }

    /// Puts another rate in force.
    pub(super) fn replace(&self, rate: PeerRate) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).rate = rate;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_the_rate_holds() {
        let limits = PeerLimits::default();
        let (a, b) = (NodeId::from_bytes([1; 32]), NodeId::from_bytes([2; 32]));
        let at = |ms: u64| UnixMillis(1_000_000 + ms);
        let passed =
            |peer, ms, n: u64| (0..n).filter(|_| limits.admit(peer, at(ms))).count() as u64;
        assert_eq!(
            passed(a, 0, 2 * PEER_ENVELOPES_AT_ONCE),
            PEER_ENVELOPES_AT_ONCE
        );
        assert_eq!(passed(b, 0, 1), 1, "one peer's flood is not another's");
        assert_eq!(
            passed(a, 500, PEER_ENVELOPES_AT_ONCE),
            PEER_ENVELOPES_PER_S / 2
        );
        assert_eq!(passed(a, 100, 1), 0, "a clock stepped back gives nothing");
    }
}
