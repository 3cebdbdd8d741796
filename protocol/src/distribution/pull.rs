//! Pulled acknowledgements: who asked, through whom the answers go back, which have gone.
//!
//! A request floods the mesh, each node passing it on once; an answer goes back along the way on
//! which the request first came. Who asked says when it needs no more answers, and whoever has no
//! room for a request says so. Every table is bounded, every request ends by itself, and only
//! acknowledgements whose signature holds are passed on, one for each node.
//!
//! A request that is over is remembered for a while: a copy of it that comes late by a longer way
//! does not begin it anew, and a peer that ends its requests at once gains no further ones.

use std::collections::{BTreeMap, BTreeSet};

use super::head::LogRow;
use super::message::{Bytes, PullAcks};
use crate::id::NodeId;

/// Most requests of others alive at once in one node.
pub const MAX_PULLS: usize = 32;

/// Most requests of this node's own operator alive at once.
pub const MAX_OWN_PULLS: usize = MAX_PULLS_PER_PEER;

/// Most requests alive at once that came from one peer. What is pulled costs the whole mesh an
/// answer from every node, so a peer gets few; it passes on those of others too.
pub const MAX_PULLS_PER_PEER: usize = 8;

/// For how long a request is remembered at least, in milliseconds: far longer than a copy of it
/// travels.
pub const PULL_MEMORY_MS: u64 = 10_000;

/// Most requests that one peer, or this node's operator, may begin within [`PULL_MEMORY_MS`],
/// however soon each ends.
pub const MAX_PULLS_REMEMBERED_PER_PEER: usize = 64;

/// Most requests of others that are remembered, alive or over.
pub const MAX_PULLS_REMEMBERED: usize = 256;

/// Longest life of a request, in milliseconds.
pub const MAX_PULL_MS: u64 = 60_000;

/// Most links a request travels. Twelve peers each reach 10,000 nodes in four or five; a chain
/// of hosts needs more.
pub const MAX_PULL_HOPS: u8 = 32;

/// Most nodes whose acknowledgements one request passes on.
pub const MAX_ACKS_PER_PULL: usize = 16_384;

/// Acknowledgements sent at once: 64 of 3.7 kB are under a quarter of a message.
pub const ACK_BATCH: usize = 64;

/// Longest that acknowledgements wait for others to travel with, in milliseconds.
pub const ACK_DELAY_MS: u64 = 100;

/// How long the second batch of a request waits, in milliseconds; the first waits for nothing, and
/// each further one twice as long as the one before, up to [`ACK_DELAY_MS`]. A small mesh has
/// answered within the first few; in a large one they are few beside those that follow.
pub const FIRST_ACK_DELAY_MS: u64 = 5;

/// Sixteen random bytes that name a request for acknowledgements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PullId(pub [u8; 16]);

impl<C> minicbor::Encode<C> for PullId {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for PullId {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let at = d.position();
        let bytes = d.bytes()?.try_into();
        bytes
            .map(Self)
            .map_err(|_| minicbor::decode::Error::message("not 16 bytes").at(at))
    }
}

/// One request.
#[derive(Debug)]
pub(super) struct Pull {
    /// The state asked about.
    pub(super) log: LogRow,
    /// Where answers go; none for this node's own requests.
    pub(super) towards: Option<NodeId>,
    /// When it ends, on the machine's clock.
    pub(super) ends: u64,
    /// How many links further it may travel.
    pub(super) hops: u8,
    /// Whether nobody waits for answers any more.
    over: bool,
    /// Until when it is remembered.
    remembered: u64,
    /// Whether this node has answered.
    pub(super) answered: bool,
    /// Whether somebody had no room for it.
    pub(super) refused: bool,
    /// Nodes whose acknowledgements have gone.
    pub(super) seen: BTreeSet<NodeId>,
    /// Acknowledgements about to go.
    pub(super) outbox: Vec<Bytes>,
    /// When they go, at the latest.
    pub(super) flush_at: Option<u64>,
    /// How long the next batch waits.
    pub(super) delay_ms: u64,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// It is alive here from now on.
    Admitted,
    /// It was seen before.
    Known,
    /// There are too many, and it is forgotten.
    Full,
}

/// The requests known to one node.
#[derive(Debug, Default)]
pub(super) struct Pulls {
    table: BTreeMap<PullId, Pull>,
}

impl Pulls {
    /// Adds a request unless it is known or there are too many.
    pub(super) fn admit(&mut self, id: PullId, pull: Pull) -> Admission {
        if self.table.contains_key(&id) {
            return Admission::Known;
        }
        let count = |of: &dyn Fn(&Pull) -> bool| self.table.values().filter(|p| of(p)).count();
        let same_way = |p: &Pull| p.towards == pull.towards;
        let mine = count(&|p| same_way(p) && !p.over) < MAX_PULLS_PER_PEER
            && count(&same_way) < MAX_PULLS_REMEMBERED_PER_PEER;
        // What others ask never keeps this node's operator from asking.
        let room = pull.towards.is_none()
            || count(&|p| p.towards.is_some() && !p.over) < MAX_PULLS
                && count(&|p| p.towards.is_some()) < MAX_PULLS_REMEMBERED;
        if !(mine && room) {
            return Admission::Full;
        }
        self.table.insert(id, pull);
        Admission::Admitted
    }

    /// A request for which somebody waits.
    pub(super) fn find(&mut self, id: &PullId) -> Option<&mut Pull> {
        self.table.get_mut(id).filter(|pull| !pull.over)
    }

    /// The requests for which somebody waits.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&PullId, &mut Pull)> {
        self.table.iter_mut().filter(|(_, pull)| !pull.over)
    }

    /// Ends a request that came from `by`, or of this node's own. False if there is none alive.
    pub(super) fn end(&mut self, id: &PullId, by: Option<NodeId>, now: u64) -> bool {
        let Some(pull) = self.find(id).filter(|pull| pull.towards == by) else {
            return false;
        };
        pull.end();
        pull.remembered = now.saturating_add(PULL_MEMORY_MS);
        true
    }

    /// Ends what has ended by `now`, and forgets what was remembered until then.
    pub(super) fn expire(&mut self, now: u64) {
        self.table.retain(|_, pull| pull.remembered > now);
        let ended = self.table.values_mut().filter(|pull| pull.ends <= now);
        ended.for_each(Pull::end);
    }

    /// Forgets the requests whose answers went to `peer`: if it comes again it asks again.
    pub(super) fn lose(&mut self, peer: &NodeId) {
        self.table.retain(|_, pull| pull.towards != Some(*peer));
    }

    /// The next time at which something is due.
    pub(super) fn next(&self) -> Option<u64> {
        let due = |pull: &Pull| match pull.over {
            true => pull.remembered,
            false => pull.flush_at.map_or(pull.ends, |at| at.min(pull.ends)),
        };
        self.table.values().map(due).min()
    }
}

impl Pull {
    /// A request that begins now and is alive for `life_ms`, at most [`MAX_PULL_MS`].
    pub(super) fn new(
        now: u64,
        log: LogRow,
        towards: Option<NodeId>,
        (life_ms, hops): (u64, u8),
    ) -> Self {
        let ends = now.saturating_add(life_ms.min(MAX_PULL_MS));
        Self {
            log,
            towards,
            ends,
            hops: hops.min(MAX_PULL_HOPS),
            over: false,
            remembered: ends.max(now.saturating_add(PULL_MEMORY_MS)),
            answered: false,
            refused: false,
            seen: BTreeSet::new(),
            outbox: Vec::new(),
            flush_at: None,
            delay_ms: 0,
        }
    }

    fn end(&mut self) {
        self.over = true;
        self.seen = BTreeSet::new();
        self.outbox = Vec::new();
        self.flush_at = None;
    }

    /// The request as it is passed on, while it may travel further.
    pub(super) fn onward(&self, id: PullId, now: u64) -> Option<PullAcks> {
        Some(PullAcks {
            id,
            log: self.log,
            hops: self.hops.checked_sub(1)?,
            life_ms: self.ends.saturating_sub(now),
        })
    }

    /// Puts an acknowledgement of `node` in the outbox, to go after the delay of this batch. False
    /// if one has gone or there were too many.
    pub(super) fn pass(&mut self, now: u64, node: NodeId, ack: Bytes) -> bool {
        if self.seen.len() >= MAX_ACKS_PER_PULL || !self.seen.insert(node) {
            return false;
        }
        self.outbox.push(ack);
        let by = now.saturating_add(self.delay_ms);
        self.flush_at = Some(self.flush_at.map_or(by, |at| at.min(by)));
        true
    }

    /// The acknowledgements that are to go now: a full batch, or whatever waited long enough.
    pub(super) fn flush(&mut self, now: u64) -> Option<Vec<Bytes>> {
        let due = self.flush_at.is_some_and(|at| at <= now);
        if self.outbox.is_empty() || !(due || self.outbox.len() >= ACK_BATCH) {
            return None;
        }
        self.flush_at = None;
        let longer = self.delay_ms.saturating_mul(2);
        self.delay_ms = longer.clamp(FIRST_ACK_DELAY_MS, ACK_DELAY_MS);
        Some(core::mem::take(&mut self.outbox))
    }
}
