//! Scenario files: what happens to whom, without the seed.

use anyhow::ensure;
use protocol::limits::MAX_ENVELOPE_LIFE_S;
use serde::Deserialize;

use crate::scenario::{Kind, Simulation};

/// Most senders, so that a typing error does not eat the machine.
const MAX_SENDERS: usize = 1_000;

/// Most calls of one run.
const MAX_CALLS: u64 = 5_000_000;

/// A whole scenario.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// Virtual seconds in which new calls begin.
    pub(crate) seconds: u64,
    /// Who calls, and how.
    pub(crate) load: Load,
    /// What the network does.
    #[serde(default)]
    pub(crate) network: Network,
    /// What the receiver's store does.
    #[serde(default)]
    pub(crate) store: Store,
    /// When the receiver stops.
    #[serde(default)]
    pub(crate) restarts: Restarts,
    /// When the receiver's clock steps.
    #[serde(default)]
    pub(crate) clock_steps: Vec<ClockStep>,
    /// What must hold at the end, beyond the invariants.
    #[serde(default)]
    pub(crate) expect: Expect,
    /// A deliberate fault in the receiver or sender, to show that the checker can fail.
    #[serde(default)]
    pub(crate) sabotage: Sabotage,
}

/// Who calls, and how.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Load {
    /// How many nodes call the one receiver.
    pub(crate) senders: usize,
    /// Milliseconds between calls of one sender, on average.
    pub(crate) every_ms: u64,
    /// Seconds from `iat` to `exp`.
    pub(crate) life_s: u64,
    /// Messages after the request, in each direction.
    #[serde(default)]
    pub(crate) messages: u64,
    /// How far a sender's clock is off, at most, either way.
    #[serde(default)]
    pub(crate) clock_off_ms: u64,
    /// After how long without a first answer a sender sends a copy; absent: never.
    pub(crate) retry_ms: Option<u64>,
    /// How many copies of one request it sends at most, each after as long.
    #[serde(default = "one")]
    pub(crate) retries: u64,
}

/// What the network does to each message.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Network {
    /// Shortest way.
    pub(crate) latency_min_ms: u64,
    /// Longest way; with `ordered` false, messages overtake each other within this span.
    pub(crate) latency_max_ms: u64,
    /// Whether messages between two nodes keep their order, as on one QUIC stream.
    pub(crate) ordered: bool,
    /// Lost, of a thousand.
    pub(crate) loss: u64,
    /// Delivered twice, of a thousand.
    pub(crate) duplicate: u64,
    /// Captured and played again later, of a thousand.
    pub(crate) replay: u64,
    /// How much later, at most.
    pub(crate) replay_within_ms: u64,
    /// How many of the last captured envelopes are played at once when the receiver comes back.
    pub(crate) replay_after_restart: usize,
}

const fn one() -> u64 {
    1
}

/// What the receiver's store does.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Store {
    /// How long a durable write takes, on average; half of that either way.
    pub(crate) write_ms: u64,
    /// Failing writes, of a thousand. Half of these reached the disk all the same.
    pub(crate) fail: u64,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            write_ms: 1,
            fail: 0,
        }
    }
}

/// When the receiver stops.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Restarts {
    /// Milliseconds between stops, on average; 0: never.
    pub(crate) every_ms: u64,
    /// Longest time down.
    pub(crate) down_max_ms: u64,
    /// Crashes among them, of a thousand; the others are clean.
    pub(crate) crash: u64,
}

/// One step of the receiver's clock.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClockStep {
    /// When, since the beginning.
    pub(crate) at_ms: u64,
    /// By how much, later or earlier.
    pub(crate) by_ms: i64,
}

/// What must hold at the end.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Expect {
    /// Whether every call must have been answered.
    pub(crate) all_complete: bool,
    /// Refusals (by name) that must have occurred, so that the scenario shows what it says.
    pub(crate) refusals: Vec<String>,
}

/// A deliberate fault.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Sabotage {
    /// None.
    #[default]
    Off,
    /// What the window refuses as seen before is acted on.
    AcceptReplays,
    /// Reservations are said to be durable and are not.
    LoseReservations,
    /// A reservation counts when it is asked for, before its write is done.
    ReserveAtOnce,
    /// A copy is judged by when it was issued itself, not by when its request was.
    IgnoreFirstIssued,
    /// The window refuses every twentieth envelope that it should accept.
    RefuseFresh,
    /// Senders take every answer, in whatever order.
    IgnoreOrder,
}

impl Kind for Scenario {
    const SIMULATION: Simulation = Simulation::Replay;

    fn validate(&self) -> anyhow::Result<()> {
        let load = &self.load;
        ensure!(
            (1..=MAX_SENDERS).contains(&load.senders),
            "`load.senders` must be 1 to {MAX_SENDERS}"
        );
        ensure!(load.every_ms > 0, "`load.every_ms` must not be 0");
        ensure!(
            (1..=MAX_ENVELOPE_LIFE_S).contains(&load.life_s),
            "`load.life_s` must be 1 to {MAX_ENVELOPE_LIFE_S}"
        );
        let calls = self.seconds.saturating_mul(1000) / load.every_ms;
        ensure!(
            calls.saturating_mul(load.senders as u64) <= MAX_CALLS,
            "more than {MAX_CALLS} calls"
        );
        Ok(())
    }
}
