//! Every bound of enrolment, with its reason.

use std::time::Duration;

/// Life of a membership unless an invitation says otherwise: seven days, renewed after three and
/// a half. A host may be off that long and come back without renewing first; a stolen one that
/// nobody noticed is out after it.
pub const MEMBERSHIP_LIFE_S: u64 = 7 * 24 * 3600;

/// Shortest life of a membership, seconds: renewal at half of it must be able to fail a few times.
pub const MIN_MEMBERSHIP_LIFE_S: u64 = 60;

/// Longest life of a ticket, seconds: 30 days.
pub const MAX_TICKET_TTL_S: u64 = 30 * 24 * 3600;

/// Most uses of one ticket.
pub const MAX_TICKET_USES: u64 = 10_000;

/// How long a ticket that has ended is still listed, seconds: 30 days.
pub const TICKET_REMEMBERED_S: u64 = 30 * 24 * 3600;

/// How long a node may wait for a person, and how long a refusal is remembered: 7 days.
pub const PENDING_S: u64 = 7 * 24 * 3600;

/// How long the name of a node whose membership has ended stays its own: 30 days. A host that
/// slept finds its name; one that is gone frees it, at once if it is revoked.
pub const NAME_HELD_S: u64 = 30 * 24 * 3600;

/// What of an issuer's hourly rate newcomers may not use, as a fraction: one in ten is kept for
/// renewals, so that a run on a ticket does not let memberships end.
pub const KEPT_FOR_RENEWAL: u64 = 10;

/// Messages of the asking side on one join stream: a chain of some hundred roots, a challenge and a
/// request.
pub const MAX_MESSAGES: usize = 16;

/// Longest life of a join stream at the node that serves or carries it.
pub const STREAM_DEADLINE: Duration = Duration::from_secs(20);

/// Join streams under way at which some, drawn at random, are refused: OpenSSH's `MaxStartups`
/// 10:30:100.
pub const STREAMS_FREE: usize = 10;

/// Percent refused from there on, rising to all at [`STREAMS_FULL`].
pub const REFUSED_PERCENT: usize = 30;

/// Join streams of newcomers at once.
pub const STREAMS_FULL: usize = 100;

/// Join streams of admitted members at once; a flood of newcomers takes none of these.
pub const MEMBER_STREAMS: usize = 64;

/// Of these, the most of one member: one that carries newcomers' streams does not keep others from
/// renewing.
pub const MEMBER_SHARE: usize = 16;

/// Join streams one source may open per second, sustained: WireGuard's figure.
pub const SOURCE_RATE: u32 = 20;

/// Join streams one source may open at once: WireGuard's figure.
pub const SOURCE_BURST: u32 = 5;

/// What a wrong MAC or signature costs its source: OpenSSH's `authfail:5s`.
pub const PENALTY: Duration = Duration::from_secs(5);

/// Longest penalty of a source: OpenSSH's `max:10m`.
pub const MAX_PENALTY: Duration = Duration::from_secs(600);

/// Sources remembered: OpenSSH's figure. Beyond it all new ones share one place.
pub const SOURCES: usize = 65_536;

/// How long one answer on a join stream may take.
pub const ANSWER: Duration = Duration::from_secs(10);

/// How long a bootstrap may take to finish the handshake before the next is tried.
pub const DIAL: Duration = Duration::from_secs(3);

/// Pause between questions whether a person has decided.
pub const POLL: Duration = Duration::from_secs(2);

/// First pause after being throttled; it doubles.
pub const THROTTLED_PAUSE: Duration = Duration::from_millis(500);

/// Times a joiner that is throttled tries again before it gives up.
pub const THROTTLED_TRIES: u32 = 7;

/// How often a node looks whether its membership is due.
pub const RENEW_LOOK: Duration = Duration::from_secs(5);

/// First pause after a renewal that failed; it doubles.
pub const RENEW_PAUSE: Duration = Duration::from_secs(5);

/// Longest pause while the membership is valid still.
pub const RENEW_LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// Longest pause once it is over: nothing works until it is renewed.
pub const RENEW_URGENT_PAUSE: Duration = Duration::from_secs(15);

/// Nodes asked in one attempt to renew.
pub const RENEW_ASKED: usize = 16;

/// How long before half of its life a membership is renewed all the same: clocks differ.
pub const RENEW_EARLY_S: u64 = 60;
