//! Every bound of the gateway, named, with its reason. Tests lower them; configuration may.

use std::time::Duration;

/// Longest request target, header names and values together. Honest requests stay under 2 kB.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Messages of one stream that a client has not read yet before the sender waits.
pub const MAX_UNREAD: usize = 64;

/// Bytes of one stream that a client has not read yet before the sender waits. One message is
/// always let through, so a stream holds at most this and one message.
pub const MAX_UNREAD_BYTES: usize = 2 * 1024 * 1024;

/// Messages of one stream kept after they were read, for a client that lost its connection.
pub const MAX_REPLAY: usize = 64;

/// Bytes of one stream kept after they were read.
pub const MAX_REPLAY_BYTES: usize = 512 * 1024;

/// Ended streams one session keeps for replay.
pub const MAX_ENDED_STREAMS: usize = 8;

/// Requests of servers that one session may leave unanswered. More are refused towards the
/// server.
pub const MAX_PENDING_REQUESTS: usize = 256;

/// Silence on an event stream before a comment is sent.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How long a call outlives `notifications/cancelled`, in case its answer was on the way.
pub const CANCEL_GRACE: Duration = Duration::from_secs(5);

/// How long what a client sends within a call may wait for the call to take it.
pub const DELIVERY_WAIT: Duration = Duration::from_secs(10);

/// What one gateway holds at most, and how long it waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// TCP connections at once. One more is closed unanswered.
    pub connections: usize,
    /// Sessions at once, over all agents.
    pub sessions: usize,
    /// Sessions of one agent. At this bound its longest idle session makes room; when none is
    /// idle, opening another is refused.
    pub sessions_per_agent: usize,
    /// Calls in flight, over all agents.
    pub calls: usize,
    /// Calls in flight of one agent.
    pub calls_per_agent: usize,
    /// Time for a request's head to arrive (slow-loris), also for an idle kept-alive connection.
    pub head_wait: Duration,
    /// Time for a request's body to arrive once its head has.
    pub body_wait: Duration,
    /// How long a request may stay without a first message before its answer becomes an event
    /// stream (so that the connection shows life) instead of plain JSON.
    pub plain_answer_wait: Duration,
    /// Time for a server to answer `initialize`.
    pub open_wait: Duration,
    /// Time for one server to answer its part of a merged list. It covers the server's start,
    /// since each client session has processes of its own: one behind a package runner was seen
    /// to take over ten seconds on two busy cores, and was then missing from the list. A server
    /// that has started answers at once, so nobody waits this long for a healthy one; it stays
    /// under [`Limits::open_wait`] and well under the minute that clients commonly wait.
    pub list_wait: Duration,
    /// How long a session without calls and streams lives.
    pub session_idle: Duration,
    /// How long a call goes on after its client's connection went away, for the client to
    /// resume. Disconnecting is not cancelling (MCP 2025-11-25, transports), but nothing is
    /// kept for ever.
    pub detached: Duration,
    /// Time for connections to end once the node shuts down.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            sessions: 1024,
            sessions_per_agent: 128,
            calls: 1024,
            calls_per_agent: 256,
            head_wait: Duration::from_secs(30),
            body_wait: Duration::from_secs(30),
            plain_answer_wait: Duration::from_secs(1),
            open_wait: Duration::from_secs(30),
            list_wait: Duration::from_secs(25),
            session_idle: Duration::from_secs(30 * 60),
            detached: Duration::from_secs(60),
            drain: Duration::from_secs(5),
        }
    }
}
