//! Every bound on the egress side, named, with its reason. [`Limits`] carries those a test or an
//! operator may want otherwise; the constants are its defaults.

use core::time::Duration;

/// Sessions open at once with one server: each is a process or a connection of its own.
pub const MAX_SESSIONS_PER_SERVER: usize = 64;

/// Calls in flight at once in one session.
pub const MAX_CALLS_PER_SESSION: usize = 64;

/// Requests of the server that wait for the client's answer, per session. One more is answered
/// with an error towards the server.
pub const MAX_SERVER_REQUESTS: usize = 64;

/// Longest silence of a call: without its response, a notification for it or a message of the
/// client within it, it fails. Builds and large queries take minutes; whoever takes longer
/// reports progress.
pub const CALL_SILENCE: Duration = Duration::from_secs(300);

/// How long a server may take to answer `initialize`. Package runners download on first start.
pub const INITIALIZE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long one reader may keep the messages of a whole session waiting before it is given up:
/// the call fails, an event is dropped and counted.
pub const STALL: Duration = Duration::from_secs(30);

/// How long a call the client has cancelled may still wait for a response of the server.
pub const CANCEL_GRACE: Duration = Duration::from_secs(10);

/// After a session's end: from closing standard input to SIGTERM.
pub const EXIT_GRACE: Duration = Duration::from_secs(2);

/// From SIGTERM to SIGKILL.
pub const TERMINATE_GRACE: Duration = Duration::from_secs(3);

/// How long what an exited process left in its pipe is still read. A child that holds the pipe
/// open would otherwise keep the session waiting for ever.
pub const DRAIN_GRACE: Duration = Duration::from_millis(500);

/// First delay after a failed start or a crash; it doubles each time.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(250);

/// Longest such delay.
pub const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// A server that lived this long after its start begins anew at [`BACKOFF_FIRST`].
pub const BACKOFF_RESET: Duration = Duration::from_secs(60);

/// Starts of one server in any minute, over all its sessions, so that no set of clients can
/// turn a crashing server into a fork bomb.
pub const MAX_STARTS_PER_MINUTE: u32 = 240;

/// Bytes of one line without a newline that are skipped before the process is stopped.
pub const MAX_SKIPPED_LINE_BYTES: usize = 16 * protocol::limits::MAX_MESSAGE_BYTES;

/// Lines of standard error kept per server, for `status`.
pub const STDERR_LINES: usize = 32;

/// Bytes kept of each.
pub const STDERR_LINE_BYTES: usize = 512;

/// Quiet time after `list_changed` before the inventory is read again.
pub const INVENTORY_DEBOUNCE: Duration = Duration::from_millis(500);

/// Shortest time between two readings of one inventory. Some servers say `list_changed` at the
/// start of every session.
pub const INVENTORY_INTERVAL: Duration = Duration::from_secs(5);

/// How often one reading begins anew because the server changed its lists meanwhile.
pub const INVENTORY_ROUNDS: usize = 4;

/// Longest time one reading of the inventory may take as a whole, the start included.
pub const INVENTORY_TIMEOUT: Duration = Duration::from_secs(120);

/// First and longest pause between readings while they fail.
pub const INVENTORY_RETRY_MAX: Duration = Duration::from_secs(300);

/// Pages of one list that are followed.
pub const MAX_INVENTORY_PAGES: usize = 64;

/// Prompts or resources that are counted before the count stops.
pub const MAX_COUNTED: usize = 100_000;

/// How long the connection to a server by URL may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the DELETE that ends a remote session may take.
pub const DELETE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a remote server may take to accept a notification or a response.
pub const POST_TIMEOUT: Duration = Duration::from_secs(30);

/// Attempts in a row to resume one event stream without a single event in between.
pub const MAX_RESUMPTIONS: u32 = 5;

/// Pause before an event stream is resumed when the server named none.
pub const RESUME_DELAY: Duration = Duration::from_secs(1);

/// Longest pause a server may ask for with `retry:`.
pub const RESUME_DELAY_MAX: Duration = Duration::from_secs(60);

/// Longest `Mcp-Session-Id` or event id accepted.
pub const MAX_TOKEN_BYTES: usize = 1024;

/// The bounds that can be set. [`Default`] is what a node runs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// See [`MAX_SESSIONS_PER_SERVER`].
    pub sessions_per_server: usize,
    /// See [`MAX_CALLS_PER_SESSION`].
    pub calls_per_session: usize,
    /// See [`CALL_SILENCE`].
    pub call_silence: Duration,
    /// See [`INITIALIZE_TIMEOUT`].
    pub initialize_timeout: Duration,
    /// See [`STALL`].
    pub stall: Duration,
    /// See [`CANCEL_GRACE`].
    pub cancel_grace: Duration,
    /// See [`EXIT_GRACE`].
    pub exit_grace: Duration,
    /// See [`TERMINATE_GRACE`].
    pub terminate_grace: Duration,
    /// See [`BACKOFF_FIRST`].
    pub backoff_first: Duration,
    /// See [`BACKOFF_MAX`].
    pub backoff_max: Duration,
    /// See [`BACKOFF_RESET`].
    pub backoff_reset: Duration,
    /// See [`MAX_STARTS_PER_MINUTE`].
    pub starts_per_minute: u32,
    /// See [`INVENTORY_DEBOUNCE`].
    pub inventory_debounce: Duration,
    /// See [`INVENTORY_INTERVAL`].
    pub inventory_interval: Duration,
    /// See [`INVENTORY_TIMEOUT`].
    pub inventory_timeout: Duration,
    /// See [`RESUME_DELAY`].
    pub resume_delay: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions_per_server: MAX_SESSIONS_PER_SERVER,
            calls_per_session: MAX_CALLS_PER_SESSION,
            call_silence: CALL_SILENCE,
            initialize_timeout: INITIALIZE_TIMEOUT,
            stall: STALL,
            cancel_grace: CANCEL_GRACE,
            exit_grace: EXIT_GRACE,
            terminate_grace: TERMINATE_GRACE,
            backoff_first: BACKOFF_FIRST,
            backoff_max: BACKOFF_MAX,
            backoff_reset: BACKOFF_RESET,
            starts_per_minute: MAX_STARTS_PER_MINUTE,
            inventory_debounce: INVENTORY_DEBOUNCE,
            inventory_interval: INVENTORY_INTERVAL,
            inventory_timeout: INVENTORY_TIMEOUT,
            resume_delay: RESUME_DELAY,
        }
    }
}
