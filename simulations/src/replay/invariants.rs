//! What must hold after every step, judged from outside: from what was sent and acted on, never
//! from what the machines under test say of themselves.

use std::collections::{BTreeMap, HashSet, VecDeque};

use protocol::envelope::Header;
use protocol::envelope::replay::RESERVE_AHEAD_S;
use protocol::id::{EnvelopeId, NodeId, RequestId};
use protocol::limits::{
    COPY_WINDOW_S, MAX_CLOCK_AHEAD_S, MAX_ENVELOPE_LIFE_S, MAX_REPLAY_ENTRIES,
    MAX_REPLAY_PER_ISSUER,
};
use protocol::time::{UnixMillis, UnixSeconds};

use crate::violations::Violations;

/// How long an accepted envelope may stay in memory, in seconds: its life, and the clock skew
/// either way.
const ENVELOPE_MEMORY_S: u64 = MAX_ENVELOPE_LIFE_S + 2 * MAX_CLOCK_AHEAD_S;

/// How long a started request may: until the last copy of it expires, and the same skew.
const REQUEST_MEMORY_S: u64 = COPY_WINDOW_S + ENVELOPE_MEMORY_S;

/// Whether an honest envelope had to be accepted when it arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MustAccept(bool);

/// The observer.
#[derive(Debug, Default)]
pub(crate) struct Invariants {
    acted: HashSet<EnvelopeId>,
    begun: HashSet<(NodeId, RequestId)>,
    /// What passed the window in this process, acted on or still waiting for a write.
    passed: HashSet<EnvelopeId>,
    passed_requests: HashSet<(NodeId, RequestId)>,
    /// Greatest `iat` that asked for or needed a reservation, by issuer, in this process.
    latest: BTreeMap<NodeId, UnixSeconds>,
    /// The most that a floor can be after the last restart, by issuer.
    floors: BTreeMap<NodeId, UnixSeconds>,
    greatest: UnixSeconds,
    /// The latest that the receiver's clock showed in this process.
    clock: UnixSeconds,
    /// When, by that clock, envelopes were accepted in this process.
    envelopes: VecDeque<UnixSeconds>,
    /// And when requests were.
    requests: VecDeque<UnixSeconds>,
    pub(crate) violations: Violations,
}

impl Invariants {
    pub(crate) fn violate(&mut self, at_ms: u64, invariant: &'static str, what: String) {
        self.violations.add(at_ms, invariant, what);
    }

    /// Whether `header`, fresh from an honest sender, must be accepted by a receiver at `now` that
    /// started at `started`. Only envelopes that begin a call are judged here.
    pub(crate) fn must_accept(
        &mut self,
        header: &Header,
        id: &EnvelopeId,
        now: UnixMillis,
        started: UnixSeconds,
    ) -> MustAccept {
        let (cwt, now) = (&header.cwt, now.seconds());
        self.clock = self.clock.max(now);
        let issued = header.claims.first_issued.unwrap_or(cwt.iat);
        let in_time = cwt.iat <= now.plus(MAX_CLOCK_AHEAD_S) && now < cwt.exp;
        let copy_in_time = cwt.iat <= issued.plus(COPY_WINDOW_S);
        let after_restart = self.floors.get(&cwt.iss).is_none_or(|f| issued > *f);
        let clock_good = now.plus(MAX_CLOCK_AHEAD_S) >= self.greatest.max(self.clock);
        let request = (cwt.iss, header.claims.request_id);
        let waits = self.passed.contains(id) || self.passed_requests.contains(&request);
        let new = !waits && !self.acted.contains(id) && !self.begun.contains(&request);
        let room = self.envelopes.len() < MAX_REPLAY_PER_ISSUER;
        let fresh = issued >= started;
        let admissible = in_time && copy_in_time && after_restart && clock_good;
        MustAccept(admissible && new && room && fresh)
    }

    /// `header` was refused as `reason`.
    pub(crate) fn refused(&mut self, at_ms: u64, must: MustAccept, reason: &str) {
        if must.0 {
            let what = format!("an honest envelope in its window was refused as `{reason}`");
            self.violate(at_ms, "fresh_accepted", what);
        }
    }

    /// `header` passed the window; it may still wait for a write.
    pub(crate) fn passed(&mut self, id: EnvelopeId, header: &Header) {
        self.passed.insert(id);
        self.greatest = self.greatest.max(header.cwt.iat);
        self.envelopes.push_back(self.clock);
        if header.begins_call() {
            let request = (header.cwt.iss, header.claims.request_id);
            self.passed_requests.insert(request);
            let latest = self.latest.entry(header.cwt.iss).or_default();
            *latest = header.cwt.iat.max(*latest);
            self.requests.push_back(self.clock);
        }
    }

    /// `header` is acted on.
    pub(crate) fn acted(&mut self, at_ms: u64, id: EnvelopeId, header: &Header) {
        if !self.acted.insert(id) {
            let what = format!("envelope {} was acted on twice", id.short());
            self.violate(at_ms, "accepted_once", what);
        }
        let request = header.claims.request_id;
        if header.begins_call() && !self.begun.insert((header.cwt.iss, request)) {
            let what = format!("request {} was started twice", request.short());
            self.violate(at_ms, "started_once", what);
        }
    }

    /// The receiver restarted, after a crash or a clean stop, when its clock showed `now`.
    pub(crate) fn restarted(&mut self, now: UnixSeconds) {
        for (issuer, latest) in core::mem::take(&mut self.latest) {
            let floor = self.floors.entry(issuer).or_default();
            *floor = latest.plus(RESERVE_AHEAD_S).max(*floor);
        }
        self.clock = now;
        self.envelopes.clear();
        self.requests.clear();
        self.passed.clear();
        self.passed_requests.clear();
    }

    /// The receiver remembers `remembered` envelopes and requests, having just accepted one.
    pub(crate) fn memory(&mut self, at_ms: u64, remembered: usize) {
        let mut bound = 0;
        for (kept, life) in [
            (&mut self.envelopes, ENVELOPE_MEMORY_S),
            (&mut self.requests, REQUEST_MEMORY_S),
        ] {
            while kept.front().is_some_and(|t| t.plus(life) <= self.clock) {
                kept.pop_front();
            }
            bound += kept.len();
        }
        let bound = bound.min(MAX_REPLAY_ENTRIES);
        if remembered > bound {
            let what = format!("{remembered} entries are remembered, at most {bound} may be");
            self.violate(at_ms, "memory_bound", what);
        }
    }

    /// A sender took a final answer to `request` after `taken`, the receiver had sent `sent`.
    pub(crate) fn answered(
        &mut self,
        at_ms: u64,
        request: RequestId,
        taken: &[EnvelopeId],
        sent: &[EnvelopeId],
    ) {
        if taken != sent {
            let what = format!(
                "request {}: an answer was taken as whole with {} of {} messages in order",
                request.short(),
                taken.iter().zip(sent).take_while(|(a, b)| a == b).count(),
                sent.len()
            );
            self.violate(at_ms, "answers_whole", what);
        }
    }
}
