//! The replay window: each (issuer, envelope) is accepted once and each (issuer, request) started
//! once, also across a restart.
//!
//! Sans-IO: the caller brings the time and persists what [`ReplayWindow::accept`] asks for.
//!
//! **Restarts.** Memory alone cannot tell what was accepted before a crash, so whatever begins a
//! call is accepted inside a *reservation*: before one issued beyond an issuer's reserved second
//! is acted on, the reservation is extended and made durable ([`ReplayWindow::reserved`] says so
//! to the window; until then every such envelope waits for a write of its own). After a restart
//! everything issued at or before it is refused ([`ReplayError::BeforeRestart`]), whether or not
//! it had really been accepted. One durable write buys [`RESERVE_AHEAD_S`] seconds of acceptance,
//! and a restart costs at most that many seconds of refusals for that issuer. While envelopes keep
//! coming none waits: once half of a reservation or less is left, the next envelope is acted on
//! and has it renewed meanwhile ([`Accepted::Renew`]). A copy of a request
//! counts as issued when the first one was, so no request starts on both sides of a restart.
//! Messages that continue a call need no reservation: their call's random request id was drawn or
//! accepted by this process.
//!
//! **Clocks.** What is forgotten must stay refused. Forgetting goes by the latest local time this
//! process has seen, and a clock that stands behind that, or behind the greatest time accepted
//! from a peer, refuses everything ([`ReplayError::ClockBehind`]) until it has caught up.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::id::{EnvelopeId, NodeId, RequestId};
use crate::limits::{
    COPY_WINDOW_S, MAX_CLOCK_AHEAD_S, MAX_ENVELOPE_LIFE_S, MAX_REPLAY_ENTRIES,
    MAX_REPLAY_PER_ISSUER,
};
use crate::time::UnixSeconds;

/// How far ahead of an accepted `iat` a reservation reaches, in seconds: few enough that a
/// restart costs little, enough that a busy issuer waits for one disk write in hundreds of calls.
pub const RESERVE_AHEAD_S: u64 = 2;

/// With this many seconds of a reservation left, or fewer, it is renewed: half of what it reaches
/// ahead, so that an issuer that pauses for less than that waits for no write, and one that never
/// pauses costs one a second.
pub const RENEW_LEFT_S: u64 = RESERVE_AHEAD_S / 2;

/// How far the local clock may stand behind before everything is refused, in seconds: what an
/// honest issuer may be ahead.
pub const MAX_CLOCK_BEHIND_S: u64 = MAX_CLOCK_AHEAD_S;

/// How long a started request is remembered, in seconds: until no copy of it can be accepted.
const STARTED_MEMORY_S: u64 = COPY_WINDOW_S + MAX_ENVELOPE_LIFE_S + MAX_CLOCK_BEHIND_S;

/// Why an envelope is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// This envelope was accepted before.
    #[error("it was accepted before")]
    Replayed,
    /// It, or the request it copies, was issued before this process started.
    #[error("it was issued before this node started")]
    BeforeStart,
    /// It, or the request it copies, was issued at or before what this node had reserved for its
    /// issuer before it restarted.
    #[error("it was issued before this node restarted and may have been accepted then")]
    BeforeRestart,
    /// This request was started before, by another envelope.
    #[error("this request was started before")]
    RequestStarted,
    /// A copy of a request that was first issued too long ago to know whether it was started.
    #[error("it copies a request first issued more than {COPY_WINDOW_S} s earlier")]
    CopyTooOld,
    /// This issuer has as many unexpired envelopes here as one may have.
    #[error("its issuer has too many envelopes in flight here")]
    IssuerQuota,
    /// The window is full.
    #[error("the replay window is full")]
    Full,
    /// The local clock stands behind a time this node has seen or verified.
    #[error("the local clock is {0} s behind the greatest time seen")]
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
            Self::CopyTooOld => "copy_too_old",
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
    pub begins: Option<Begins>,
}

/// A request that an envelope begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begins {
    /// Which.
    pub request: RequestId,
    /// When the first envelope of the request was issued; of a first one its own `iat`.
    pub first_issued: UnixSeconds,
}

/// What the caller must do after [`ReplayWindow::accept`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a reservation that is not made durable protects nothing"]
pub enum Accepted {
    /// Nothing: act on it.
    Covered,
    /// Act on it, and meanwhile make this next reservation durable and say so with
    /// [`ReplayWindow::reserved`], so that later envelopes need not wait. Asked for once; if it
    /// is not made, a later envelope waits for a write of its own.
    Renew(Reservation),
    /// Make this reservation durable, say so with [`ReplayWindow::reserved`], *then* act.
    Reserve(Reservation),
}

/// Acceptance that must be durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reservation {
    /// Whose envelopes.
    pub issuer: NodeId,
    /// Issued up to and including this second.
    pub until: UnixSeconds,
}

/// A set that forgets: members with the time until which each is kept.
#[derive(Debug)]
struct Remembered<T> {
    set: HashSet<T>,
    /// In order of arrival. Lifetimes are bounded, so arrival order is nearly expiry order and
    /// nothing stays longer than one lifetime past its own.
    queue: VecDeque<(UnixSeconds, T)>,
}

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self {
            set: HashSet::new(),
            queue: VecDeque::new(),
        }
    }
}

impl<T: Copy + Eq + std::hash::Hash> Remembered<T> {
    fn remember(&mut self, item: T, until: UnixSeconds) {
        self.set.insert(item);
        self.queue.push_back((until, item));
    }

    /// Forgets what is over by `now` and says how many that were.
    fn forget(&mut self, now: UnixSeconds) -> usize {
        let before = self.queue.len();
        while let Some((until, item)) = self.queue.front() {
            if *until > now {
                break;
            }
            self.set.remove(item);
            self.queue.pop_front();
        }
        before - self.queue.len()
    }
}

#[derive(Debug, Default)]
struct IssuerWindow {
    envelopes: Remembered<EnvelopeId>,
    requests: Remembered<RequestId>,
    /// The second up to which acceptance is durable.
    reserved: UnixSeconds,
    /// The second up to which a renewal was last asked for.
    renewing: UnixSeconds,
}

impl IssuerWindow {
    fn forget(&mut self, now: UnixSeconds) -> usize {
        self.envelopes.forget(now) + self.requests.forget(now)
    }

    fn is_idle(&self, now: UnixSeconds) -> bool {
        let quiet = self.envelopes.queue.is_empty() && self.requests.queue.is_empty();
        quiet && self.reserved.plus(MAX_ENVELOPE_LIFE_S) < now
    }
}

/// The window of one node.
#[derive(Debug)]
pub struct ReplayWindow {
    started: UnixSeconds,
    /// The greatest `iat` accepted, by this process or, as persisted, an earlier one.
    greatest: UnixSeconds,
    /// The latest local time this process has seen.
    latest: UnixSeconds,
    floors: HashMap<NodeId, UnixSeconds>,
    issuers: HashMap<NodeId, IssuerWindow>,
    /// Envelopes and requests remembered in all.
    entries: usize,
    swept: UnixSeconds,
}

impl ReplayWindow {
    /// A window of a process that starts at `started`, knowing the `floors` that earlier processes
    /// reserved and the `greatest` time they accepted.
    #[must_use]
    pub fn new(
        started: UnixSeconds,
        greatest: UnixSeconds,
        floors: HashMap<NodeId, UnixSeconds>,
    ) -> Self {
        Self {
            started,
            greatest,
            latest: started,
            floors,
            issuers: HashMap::new(),
            entries: 0,
            swept: UnixSeconds(0),
        }
    }

    /// The cheap look before a signature is checked: everything [`ReplayWindow::accept`] would
    /// refuse now. Records nothing.
    ///
    /// # Errors
    /// As [`ReplayWindow::accept`].
    pub fn look(&mut self, entry: &Entry, now: UnixSeconds) -> Result<(), ReplayError> {
        self.latest = self.latest.max(now);
        let behind = self.latest.max(self.greatest).0.saturating_sub(now.0);
        if behind > MAX_CLOCK_BEHIND_S {
            return Err(ReplayError::ClockBehind(behind));
        }
        // Before anything is counted, so that a quota reached is not a quota for ever.
        self.forget(&entry.issuer);
        let issued = entry
            .begins
            .map_or(entry.iat, |b| b.first_issued.min(entry.iat));
        if let Some(floor) = self.floors.get(&entry.issuer)
            && issued <= *floor
        {
            return Err(ReplayError::BeforeRestart);
        }
        if issued < self.started {
            return Err(ReplayError::BeforeStart);
        }
        if entry.iat.0 - issued.0 > COPY_WINDOW_S {
            return Err(ReplayError::CopyTooOld);
        }
        if let Some(window) = self.issuers.get(&entry.issuer) {
            window.admit(entry)?;
        }
        if self.entries + 2 > MAX_REPLAY_ENTRIES {
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
        self.look(entry, now)?;
        let window = self.issuers.entry(entry.issuer).or_default();
        // Kept past its expiry by what the clock may step back without being refused.
        let until = entry.exp.plus(MAX_CLOCK_BEHIND_S);
        window.envelopes.remember(entry.envelope, until);
        self.entries += 1;
        self.greatest = self.greatest.max(entry.iat);
        let Some(begins) = entry.begins else {
            return Ok(Accepted::Covered);
        };
        let until = begins.first_issued.plus(STARTED_MEMORY_S);
        window.requests.remember(begins.request, until);
        self.entries += 1;
        let next = Reservation {
            issuer: entry.issuer,
            until: entry.iat.plus(RESERVE_AHEAD_S),
        };
        let left = window.reserved.0.checked_sub(entry.iat.0);
        Ok(match left {
            None => Accepted::Reserve(next),
            Some(left) if left <= RENEW_LEFT_S && next.until > window.renewing => {
                window.renewing = next.until;
                Accepted::Renew(next)
            }
            Some(_) => Accepted::Covered,
        })
    }

    /// Notes that a reservation is durable. Not before: an envelope accepted meanwhile must wait
    /// for a write too.
    pub fn reserved(&mut self, reservation: &Reservation) {
        let window = self.issuers.entry(reservation.issuer).or_default();
        window.reserved = window.reserved.max(reservation.until);
    }

    /// The greatest `iat` accepted, for persisting.
    #[must_use]
    pub const fn greatest(&self) -> UnixSeconds {
        self.greatest
    }

    /// Envelopes and requests remembered now.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries
    }

    /// Whether nothing is remembered.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries == 0
    }

    fn forget(&mut self, issuer: &NodeId) {
        let now = self.latest;
        if let Some(window) = self.issuers.get_mut(issuer) {
            self.entries -= window.forget(now);
        }
        // All the others once a second: members are few, but not per call.
        if self.swept < now {
            self.swept = now;
            let mut freed = 0;
            self.issuers.retain(|_, window| {
                freed += window.forget(now);
                !window.is_idle(now)
            });
            self.entries -= freed;
        }
    }
}

impl IssuerWindow {
    fn admit(&self, entry: &Entry) -> Result<(), ReplayError> {
        if self.envelopes.set.contains(&entry.envelope) {
            return Err(ReplayError::Replayed);
        }
        if entry
            .begins
            .is_some_and(|b| self.requests.set.contains(&b.request))
        {
            return Err(ReplayError::RequestStarted);
        }
        let full = self.envelopes.set.len() >= MAX_REPLAY_PER_ISSUER
            || self.requests.set.len() >= MAX_REPLAY_PER_ISSUER;
        if full {
            Err(ReplayError::IssuerQuota)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_000;

    fn window() -> ReplayWindow {
        ReplayWindow::new(UnixSeconds(START), UnixSeconds(0), HashMap::new())
    }

    fn entry(n: u64, iat: u64) -> Entry {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&n.to_be_bytes());
        let mut request = [0; 16];
        request[..8].copy_from_slice(&n.to_be_bytes());
        Entry {
            issuer: NodeId::from_bytes([1; 32]),
            envelope: EnvelopeId::from_bytes(id),
            iat: UnixSeconds(iat),
            exp: UnixSeconds(iat + 60),
            begins: Some(Begins {
                request: RequestId::from_bytes(request),
                first_issued: UnixSeconds(iat),
            }),
        }
    }

    fn accept(w: &mut ReplayWindow, e: &Entry, now: u64) -> Result<Accepted, &'static str> {
        w.accept(e, UnixSeconds(now)).map_err(|e| e.reason())
    }

    #[test]
    fn accepted_once_and_reserved_only_when_durable() {
        let mut w = window();
        let Ok(Accepted::Reserve(first)) = accept(&mut w, &entry(1, START), START) else {
            panic!("the first needs a reservation")
        };
        assert_eq!(first.until, UnixSeconds(START + RESERVE_AHEAD_S));
        assert_eq!(accept(&mut w, &entry(1, START), START), Err("replayed"));
        // The write is still under way: the next waits for one too.
        assert!(matches!(
            accept(&mut w, &entry(2, START), START),
            Ok(Accepted::Reserve(_))
        ));
        w.reserved(&first);
        assert_eq!(
            accept(&mut w, &entry(3, START), START),
            Ok(Accepted::Covered)
        );
        assert!(matches!(
            accept(&mut w, &entry(4, START + 3), START),
            Ok(Accepted::Reserve(_))
        ));
    }

    #[test]
    fn a_reservation_is_renewed_before_it_is_over_and_asked_for_once() {
        let mut w = window();
        let reserve = |w: &mut ReplayWindow, n, iat| match accept(w, &entry(n, iat), iat) {
            Ok(Accepted::Reserve(asked)) => asked,
            other => panic!("no write to wait for but {other:?}"),
        };
        let renew = |w: &mut ReplayWindow, n, iat| match accept(w, &entry(n, iat), iat) {
            Ok(Accepted::Renew(asked)) => asked,
            other => panic!("no renewal but {other:?}"),
        };
        let first = reserve(&mut w, 1, START);
        w.reserved(&first);
        // Half is left: the next is acted on at once and has it renewed, the one after has not.
        let half = START + RESERVE_AHEAD_S - RENEW_LEFT_S;
        let second = renew(&mut w, 2, half);
        assert_eq!(second.until, UnixSeconds(half + RESERVE_AHEAD_S));
        assert_eq!(accept(&mut w, &entry(3, half), half), Ok(Accepted::Covered));
        // It is not durable: it covers nothing, and the next second asks for the next one.
        let third = renew(&mut w, 4, START + RESERVE_AHEAD_S);
        let over = first.until.0 + 1;
        assert_eq!(reserve(&mut w, 5, over).until.0, over + RESERVE_AHEAD_S);
        w.reserved(&third);
        w.reserved(&second);
        assert_eq!(
            accept(&mut w, &entry(6, half + 1), over),
            Ok(Accepted::Covered),
            "the later one stands"
        );
        assert!(matches!(
            accept(&mut w, &entry(7, third.until.0), over),
            Ok(Accepted::Renew(_))
        ));
        // What continues a call neither needs a reservation nor renews one.
        let mut further = entry(8, third.until.0 + 1);
        further.begins = None;
        assert_eq!(accept(&mut w, &further, over), Ok(Accepted::Covered));
    }

    #[test]
    fn nothing_from_before_a_restart_is_accepted_nor_copied() {
        let floor = (NodeId::from_bytes([1; 32]), UnixSeconds(START + 1));
        let floors = HashMap::from([floor]);
        let mut w = ReplayWindow::new(UnixSeconds(START), UnixSeconds(START), floors);
        assert_eq!(
            accept(&mut w, &entry(1, START + 1), START + 1),
            Err("issued_before_restart")
        );
        assert!(accept(&mut w, &entry(1, START + 2), START + 2).is_ok());
        let mut copy = entry(2, START + 9);
        copy.begins = copy.begins.map(|b| Begins {
            first_issued: UnixSeconds(START),
            ..b
        });
        assert_eq!(
            accept(&mut w, &copy, START + 9),
            Err("issued_before_restart")
        );
        assert_eq!(
            accept(&mut window(), &entry(1, START - 1), START),
            Err("issued_before_start")
        );
    }

    #[test]
    fn a_request_starts_once_and_old_copies_are_refused() {
        let mut w = window();
        assert!(accept(&mut w, &entry(1, START), START).is_ok());
        let mut copy = entry(2, START + 5);
        copy.begins = entry(1, START).begins;
        assert_eq!(accept(&mut w, &copy, START + 5), Err("request_started"));
        let mut old = entry(3, START + COPY_WINDOW_S + 1);
        old.begins = entry(3, START).begins;
        assert_eq!(
            accept(&mut w, &old, START + COPY_WINDOW_S + 1),
            Err("copy_too_old")
        );
    }

    #[test]
    fn a_clock_that_jumps_and_steps_back_reopens_nothing() {
        let mut w = window();
        assert!(accept(&mut w, &entry(1, START), START).is_ok());
        assert!(accept(&mut w, &entry(2, START + 70), START + 70).is_ok());
        assert_eq!(
            accept(&mut w, &entry(1, START), START + 30),
            Err("clock_behind")
        );
        // Within what is tolerated the envelope has expired, which is judged before.
        const { assert!(70 - MAX_CLOCK_BEHIND_S >= 60) };
    }

    #[test]
    fn a_quota_reached_is_not_a_quota_for_ever() {
        let mut w = window();
        for n in 0..MAX_REPLAY_PER_ISSUER as u64 {
            assert!(accept(&mut w, &entry(n, START), START).is_ok());
        }
        let next = entry(u64::MAX, START + 1);
        assert_eq!(accept(&mut w, &next, START + 1), Err("issuer_quota"));
        let mut other = entry(u64::MAX, START + 1);
        other.issuer = NodeId::from_bytes([2; 32]);
        assert!(
            accept(&mut w, &other, START + 1).is_ok(),
            "one issuer's quota is its own"
        );
        let later = START + STARTED_MEMORY_S + 1;
        assert_eq!(w.look(&entry(7, later), UnixSeconds(later)), Ok(()));
        assert!(w.len() <= 2, "what is over is forgotten: {}", w.len());
    }
}
