//! What is kept of each peer: what it is known to hold, and how much of us it has used.

use super::head::{HeadSet, VersionRow};
use crate::id::Digest;

/// Messages a peer may send at once, and refilled per second. An honest peer sends one for each
/// new document, one for each chunk asked of it, and a few to compare heads; one that relays the
/// acknowledgements of 10,000 nodes sends a few hundred.
pub(super) const INBOUND_BURST: u64 = 4096;
/// See [`INBOUND_BURST`].
const INBOUND_PER_S: u64 = 256;

/// Bytes a peer may fetch or be sent on comparison at once: the largest log there is, 64 MiB.
pub(super) const SERVING_BURST: u64 = 64 << 20;
/// Bytes refilled per second; more than a link to a faulty peer deserves, enough for an honest one
/// that starts anew every minute.
const SERVING_PER_S: u64 = 1 << 20;

/// A budget that refills with time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    left: u64,
    at: u64,
}

impl Bucket {
    /// A full one.
    pub(super) const fn full(burst: u64, now: u64) -> Self {
        Self {
            left: burst,
            at: now,
        }
    }

    /// Refills by `per_s` a second up to `burst`; whether anything is left then.
    pub(super) fn refill(&mut self, now: u64, per_s: u64, burst: u64) -> bool {
        let gained = now.saturating_sub(self.at).saturating_mul(per_s) / 1000;
        if gained > 0 {
            self.left = self.left.saturating_add(gained).min(burst);
            self.at = now;
        }
        self.left > 0
    }

    /// Takes `cost`, or what is left.
    pub(super) const fn spend(&mut self, cost: u64) {
        self.left = self.left.saturating_sub(cost);
    }
}

/// One peer with a live link.
#[derive(Debug)]
pub(super) struct Peer {
    /// What it holds, as it last said or showed, or as it was sent. Nothing while unknown.
    pub(super) known: HeadSet,
    /// Whether it has said what it holds since the link came up.
    pub(super) compared: bool,
    /// Whether [`super::Effect::Synced`] was given.
    pub(super) synced: bool,
    /// Whether something of it could not be judged under the root in force: heads are compared
    /// again once that has changed.
    pub(super) recheck: bool,
    /// How often it was asked for what it says it holds beyond this node, in vain.
    pub(super) asks: u8,
    /// What it said it holds and, asked for it often enough, did not send. Until that is here, by
    /// whomever, or it says otherwise, the peer is not synced with.
    pub(super) owed: Option<HeadSet>,
    /// When to ask again.
    pub(super) ask_at: Option<u64>,
    /// Until when [`super::Event::Ask`] does nothing.
    pub(super) not_asked_before: u64,
    /// Until when an answer about roots is awaited from it, and the version asked from.
    pub(super) roots: Option<(u64, u64)>,
    /// Messages it may send.
    pub(super) inbound: Bucket,
    /// Bytes it may fetch.
    pub(super) serving: Bucket,
}

/// The heads of a peer that has said nothing.
pub(super) const NOTHING: HeadSet = HeadSet {
    epoch: 0,
    root: VersionRow {
        version: 0,
        hash: Digest::from_bytes([0; 32]),
    },
    bundle: None,
    logs: Vec::new(),
    timestamps: Vec::new(),
};

impl Peer {
    /// A peer whose link has just come up.
    pub(super) const fn new(now: u64, ask_at: u64) -> Self {
        Self {
            known: NOTHING,
            compared: false,
            synced: false,
            recheck: false,
            asks: 0,
            owed: None,
            ask_at: Some(ask_at),
            not_asked_before: 0,
            roots: None,
            inbound: Bucket::full(INBOUND_BURST, now),
            serving: Bucket::full(SERVING_BURST, now),
        }
    }

    /// Whether it may send one more message now.
    pub(super) fn may_send(&mut self, now: u64) -> bool {
        let may = self.inbound.refill(now, INBOUND_PER_S, INBOUND_BURST);
        self.inbound.spend(1);
        may
    }

    /// Whether it may be given anything more now; asked before any work is done for it.
    pub(super) fn may_have_more(&mut self, now: u64) -> bool {
        self.serving.refill(now, SERVING_PER_S, SERVING_BURST)
    }

    /// It is given these many bytes.
    pub(super) const fn given(&mut self, bytes: usize) {
        self.serving.spend(bytes as u64);
    }

    /// Asks it no more for what it said it holds beyond `ours`, and does not forget that it has
    /// not sent it.
    pub(super) fn give_up(&mut self, ours: &HeadSet) {
        self.owed = Some(self.known.clone());
        for item in self.known.beyond(ours) {
            self.known.adopt(ours, item);
        }
        self.recheck = false;
        self.asks = 0;
    }
}
