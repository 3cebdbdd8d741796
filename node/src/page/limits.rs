//! Every bound of the status page, named, with its reason.

use std::time::Duration;

/// TCP connections at once; one more is closed unanswered. A browser opens up to six.
pub const MAX_CONNECTIONS: usize = 64;

/// Longest request target, header names and values together.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Time for a request's head to arrive, also on an idle kept-alive connection.
pub const HEAD_WAIT: Duration = Duration::from_secs(10);

/// Time one page has to be made.
pub const RENDER_WAIT: Duration = Duration::from_secs(10);

/// Time that connections have to end once the node stops.
pub const DRAIN: Duration = Duration::from_secs(1);

/// One-time codes that wait to be used or are remembered as used; the oldest makes room.
pub const MAX_CODES: usize = 64;

/// Browser sessions at once; the oldest makes room.
pub const MAX_SESSIONS: usize = 16;

/// Cookies of the session's name that are looked at in one request. Browsers send those of the
/// longest path first, and no other service knows the session's path, so ours is among the first.
pub const MAX_COOKIES: usize = 16;

/// Event streams at once; one more is refused.
pub const MAX_STREAMS: usize = 16;

/// Events that wait for one browser. A browser behind by more is cut off, and starts again with
/// the present when it connects again.
pub const STREAM_QUEUE: usize = 16;

/// Events on their way from the one task that makes them to all streams.
pub const EVENTS: usize = 32;

/// Decisions that wait for the one task that shows them: some 250 ms of 8,000 a second. What is
/// more is not lost, but read from the store.
pub const RING: usize = 2048;

/// Silence on an event stream before a comment is sent.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How often what is no decision is looked at while somebody watches.
pub const REFRESH: Duration = Duration::from_secs(2);

/// How long decisions gather before they are shown together.
pub const GATHER: Duration = Duration::from_millis(250);

/// Decisions on one page.
pub const ROWS: usize = 50;

/// Decisions looked at for one page when a filter is set; a link leads on from there.
pub const MAX_SCANNED: usize = 5_000;

/// Decisions read from the store at once.
pub const READ_AT_ONCE: u32 = 500;

/// Longest text to look for, in bytes.
pub const MAX_FIND_BYTES: usize = 128;

/// Alerts kept; the oldest makes room.
pub const MAX_ALERTS: usize = 50;

/// Alerts on the page.
pub const SHOWN_ALERTS: usize = 20;

/// Decision records looked at when the node starts, so that alerts outlive a restart.
pub const ALERT_HISTORY: u32 = 1000;

/// Peers, servers and policies on the page; of more, their number is told.
pub const MAX_LISTED: usize = 200;

/// Characters of a name that are shown, as in the tables of the command line; more are in its title.
pub const MAX_NAME_SHOWN: usize = 72;

/// Tools of one server on the page; of more, their number is told.
pub const MAX_TOOLS_LISTED: usize = 100;

/// Bytes of a policy document that are shown.
pub const MAX_POLICY_SHOWN: usize = 256 * 1024;
