//! The replay window: each (issuer, envelope) is accepted once, also across a restart.
//!
//! Sans-IO: the caller brings the time and persists what [`ReplayWindow::accept`] asks for.
//! Memory alone cannot tell what was accepted before a crash, so acceptance runs inside a
//! *reservation*: before an envelope with `iat` beyond an issuer's reserved second is accepted,
//! the reservation is extended and made durable. After a restart everything at or before it is
//! refused ([`ReplayError::BeforeRestart`]), whether or not it had really been accepted. One
//! durable write buys [`RESERVE_AHEAD_S`] seconds of acceptance, and a crash costs at most that
//! many seconds of refusals for that issuer. A clean stop leaves the exact value.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::id::{EnvelopeId, NodeId, RequestId};
use crate::limits::{
    MAX_CLOCK_AHEAD_S, MAX_ENVELOPE_LIFE_S, MAX_REPLAY_ENTRIES, MAX_REPLAY_PER_ISSUER,
};
use crate::time::UnixSeconds;

/// How far ahead of an accepted `iat` a reservation reaches, in seconds: few enough that a crash
/// costs little, enough that a busy issuer waits for one disk write in a few hundred calls.
pub const RESERVE_AHEAD_S: u64 = 2;

/// How long a started (issuer, request id) is remembered, in seconds: longer than any copy of a
/// request can still be on its way.
pub const STARTED_MEMORY_S: u64 = 600;

/// How far the local clock may stand behind the greatest time accepted before everything is
/// refused, in seconds: what an honest issuer may be ahead.
pub const MAX_CLOCK_BEHIND_S: u64 = MAX_CLOCK_AHEAD_S;

/// Why an envelope is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// This envelope was accepted before.
    #[error("it was accepted before")]
    Replayed,
    /// Issued before this process started.
    #[error("it was issued before this node started")]
    BeforeStart,
    /// Issued at or before what this node had reserved for its issuer before it restarted.
    #[error("it was issued before this node restarted and may have been accepted then")]
    BeforeRestart,
    /// This request was started before, by another envelope.
    #[error("this request was started before")]
    RequestStarted,
    /// This issuer has as many unexpired envelopes here as one may have.
    #[error("its issuer has too many envelopes in flight here")]
    IssuerQuota,
    /// The window is full.
    #[error("the replay window is full")]
    Full,
    /// The local clock stands behind verified time.
    #[error("the local clock is behind the greatest verified time by {0} s")]
    ClockBehind(u64),
}

impl ReplayError {
    /// The stable name of the refusal.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Replayed => "replayed",
            Self::BeforeStart => "issued_before_start",
            Self::BeforeRestart => "issued_before_restart",
            Self::RequestStarted => "request_started",
            Self::IssuerQuota => "issuer_quota",
            Self::Full => "replay_window_full",
            Self::ClockBehind(_) => "clock_behind",
        }
    }
}

/// What of an envelope the window keys on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its issuer.
    pub issuer: NodeId,
    /// Its identifier.
    pub envelope: EnvelopeId,
    /// When it was issued.
    pub iat: UnixSeconds,
    /// When it expires.
    pub exp: UnixSeconds,
    /// The request it begins, if it begins one.
    pub begins: Option<RequestId>,
}

/// What the caller must do after [`ReplayWindow::accept`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a reservation that is not made durable protects nothing"]
pub enum Accepted {
    /// Nothing: act on it.
    Covered,
    /// Make this reservation durable, *then* act.
    Reserve {
        /// Whose.
        issuer: NodeId,
        /// Up to and including this second.
        until: UnixSeconds,
    },
}

#[derive(Debug, Default)]
struct IssuerWindow {
    seen: HashSet<EnvelopeId>,
    /// In order of arrival, for forgetting; lifetimes are bounded, so arrival order is nearly
    /// expiry order and nothing stays longer than twice a lifetime.
    queue: VecDeque<(UnixSeconds, EnvelopeId)>,
    /// The greatest `iat` accepted.
    latest: UnixSeconds,
    /// The second up to which acceptance is durable.
    reserved: UnixSeconds,
}

impl IssuerWindow {
    /// Forgets what has expired by `now` and says how many entries that were. The longest an
    /// entry can outlive its expiry is one lifetime, behind a longer-lived one.
    fn forget(&mut self, now: UnixSeconds) -> usize {
        let before = self.queue.len();
        while let Some((until, envelope)) = self.queue.front() {
            if *until > now {
                break;
            }
            self.seen.remove(envelope);
            self.queue.pop_front();
        }
        before - self.queue.len()
    }
}

/// The window of one node.
#[derive(Debug)]
pub struct ReplayWindow {
    started: UnixSeconds,
    greatest: UnixSeconds,
    floors: HashMap<NodeId, UnixSeconds>,
    issuers: HashMap<NodeId, IssuerWindow>,
    entries: usize,
    requests: HashMap<(NodeId, RequestId), UnixSeconds>,
    request_queue: VecDeque<(UnixSeconds, (NodeId, RequestId))>,
    swept: UnixSeconds,
}

impl ReplayWindow {
    /// A window that starts at `started`, knowing the `floors` reserved and the `greatest` time
    /// persisted by earlier processes, and the requests they started.
    #[must_use]
    pub fn new(
        started: UnixSeconds,
        greatest: UnixSeconds,
        floors: HashMap<NodeId, UnixSeconds>,
        requests: impl IntoIterator<Item = (NodeId, RequestId, UnixSeconds)>,
    ) -> Self {
        let mut window = Self {
            started,
            greatest,
            floors,
            issuers: HashMap::new(),
            entries: 0,
            requests: HashMap::new(),
            request_queue: VecDeque::new(),
            swept: UnixSeconds(0),
        };
        for (issuer, request, until) in requests {
            window.requests.insert((issuer, request), until);
            window.request_queue.push_back((until, (issuer, request)));
        }
        window
    }

    /// The cheap look before a signature is checked: everything [`ReplayWindow::accept`] would
    /// refuse now, without recording anything.
    ///
    /// # Errors
    /// As [`ReplayWindow::accept`].
    pub fn look(&self, entry: &Entry, now: UnixSeconds) -> Result<(), ReplayError> {
        let behind = self.greatest.0.saturating_sub(now.0);
        if behind > MAX_CLOCK_BEHIND_S {
            return Err(ReplayError::ClockBehind(behind));
        }
        if let Some(floor) = self.floors.get(&entry.issuer)
            && entry.iat <= *floor
        {
            return Err(ReplayError::BeforeRestart);
        }
        if entry.iat < self.started {
            return Err(ReplayError::BeforeStart);
        }
        if let Some(window) = self.issuers.get(&entry.issuer) {
            if window.seen.contains(&entry.envelope) {
                return Err(ReplayError::Replayed);
            }
            if window.seen.len() >= MAX_REPLAY_PER_ISSUER {
                return Err(ReplayError::IssuerQuota);
            }
        }
        if let Some(request) = entry.begins
            && self.requests.contains_key(&(entry.issuer, request))
        {
            return Err(ReplayError::RequestStarted);
        }
        if self.entries >= MAX_REPLAY_ENTRIES || self.requests.len() >= MAX_REPLAY_ENTRIES {
            return Err(ReplayError::Full);
        }
        Ok(())
    }

    /// Records a *verified* envelope, atomically with the check that it was not there: of any
    /// number of copies exactly one is accepted.
    ///
    /// # Errors
    /// [`ReplayError`]; nothing was recorded.
    pub fn accept(&mut self, entry: &Entry, now: UnixSeconds) -> Result<Accepted, ReplayError> {
        self.forget(&entry.issuer, now);
        self.look(entry, now)?;
        if let Some(request) = entry.begins {
            let until = now.plus(STARTED_MEMORY_S);
            self.requests.insert((entry.issuer, request), until);
            self.request_queue
                .push_back((until, (entry.issuer, request)));
        }
        let window = self.issuers.entry(entry.issuer).or_default();
        window.seen.insert(entry.envelope);
        // Kept one lifetime past its own expiry, so that a clock stepped back within the
        // tolerated bound does not reopen it.
        let until = entry.exp.plus(MAX_CLOCK_BEHIND_S);
        window.queue.push_back((until, entry.envelope));
        self.entries += 1;
        window.latest = window.latest.max(entry.iat);
        self.greatest = self.greatest.max(entry.iat);
        // Only what begins a call can be replayed across a restart: everything else continues one
        // whose random request id was drawn or accepted by this process.
        if entry.begins.is_some() && entry.iat > window.reserved {
            window.reserved = entry.iat.plus(RESERVE_AHEAD_S);
            return Ok(Accepted::Reserve {
                issuer: entry.issuer,
                until: window.reserved,
            });
        }
        Ok(Accepted::Covered)
    }

    /// Takes back a reservation that could not be made durable, so that the next envelope asks
    /// for it again. The envelope that asked must be refused.
    pub fn reservation_failed(&mut self, issuer: NodeId) {
        if let Some(window) = self.issuers.get_mut(&issuer) {
            window.reserved = UnixSeconds(0);
        }
    }

    /// The greatest `iat` accepted, for persisting.
    #[must_use]
    pub const fn greatest(&self) -> UnixSeconds {
        self.greatest
    }

    /// Envelopes remembered now.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries
    }

    /// Whether nothing is remembered.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// The floors a clean stop leaves behind: for each issuer the greatest second accepted,
    /// without the reservation beyond it, so that a planned restart refuses nothing new.
    #[must_use]
    pub fn floors_at_stop(&self) -> Vec<(NodeId, UnixSeconds)> {
        self.issuers
            .iter()
            .map(|(issuer, window)| (*issuer, window.latest))
            .collect()
    }

    fn forget(&mut self, issuer: &NodeId, now: UnixSeconds) {
        // A clock stepped back must not bring anything to life, one stepped forward must not
        // forget what it would accept again after stepping back: the later of the two decides
        // nothing that verified time has not.
        while let Some((until, key)) = self.request_queue.front() {
            if *until > now {
                break;
            }
            self.requests.remove(key);
            self.request_queue.pop_front();
        }
        if let Some(window) = self.issuers.get_mut(issuer) {
            self.entries -= window.forget(now);
        }
        // All the others once a second: members are few, but not per call.
        if self.swept < now {
            self.swept = now;
            let mut freed = 0;
            self.issuers.retain(|_, window| {
                freed += window.forget(now);
                !window.queue.is_empty() || window.reserved.plus(MAX_ENVELOPE_LIFE_S) >= now
            });
            self.entries -= freed;
        }
    }
}
