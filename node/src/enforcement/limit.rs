//! How many envelopes a peer may make this node look at.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use protocol::id::NodeId;
use protocol::time::UnixMillis;

/// Envelopes one peer may send in a second, sustained. Checking one costs about 0.2 ms of CPU, so
/// a peer at its limit can take most of one core and no more.
pub const PEER_ENVELOPES_PER_S: u64 = 4_000;

/// How many it may send at once after being quiet.
const BURST: u64 = 8_000;

/// Peers remembered; a peer is a member with a link, so there are never more.
const MAX_PEERS: usize = crate::members::MAX_MEMBERS;

/// Token buckets, one a peer, in thousandths of a token.
#[derive(Default)]
pub(super) struct PeerLimits {
    buckets: Mutex<HashMap<NodeId, (UnixMillis, u64)>>,
}

impl PeerLimits {
    /// Whether `peer` may send one more envelope at `now`.
    pub(super) fn admit(&self, peer: NodeId, now: UnixMillis) -> bool {
        const FULL: u64 = BURST * 1000;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MAX_PEERS && !buckets.contains_key(&peer) {
            buckets.retain(|_, (last, _)| now.since(*last) < 10_000);
        }
        let (last, tokens) = buckets.entry(peer).or_insert((now, FULL));
        *tokens = now
            .since(*last)
            .saturating_mul(PEER_ENVELOPES_PER_S)
            .saturating_add(*tokens)
            .min(FULL);
        *last = now.max(*last);
        match tokens.checked_sub(1000) {
            Some(rest) => {
                *tokens = rest;
                true
            }
            None => false,
        }
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
        assert_eq!(passed(a, 0, 2 * BURST), BURST);
        assert_eq!(passed(b, 0, 1), 1, "one peer's flood is not another's");
        assert_eq!(passed(a, 500, BURST), PEER_ENVELOPES_PER_S / 2);
        assert_eq!(passed(a, 100, 1), 0, "a clock stepped back gives nothing");
    }
}
