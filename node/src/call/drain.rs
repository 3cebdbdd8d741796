//! Calls in flight, and how they end with the node: from the moment it stops no call begins, and
//! those under way have until the drain deadline.
//!
//! Invariant: a call holds its place from before it is signed or handed to an upstream until its
//! response is out. A session holds one only while it is opened: it would never end by itself.

use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::enforcement::Stopped;

/// How long the callers of calls that only wait may be told that the node stops: that is recorded
/// first, on a disk that may be slow, and takes a round trip.
const FAREWELL: Duration = Duration::from_secs(3);

/// The calls in flight of a node, both those of its clients and those of its peers.
#[derive(Clone, Debug)]
pub struct InFlight {
    stopping: CancellationToken,
    closing: CancellationToken,
    calls: TaskTracker,
    /// Those that only wait, which end when the node stops.
    waiting: TaskTracker,
}

/// The place of one call; given up by dropping it.
#[derive(Debug)]
pub struct Place(#[expect(dead_code, reason = "counts by existing")] TaskTrackerToken);

impl InFlight {
    /// None yet, of a node that stops accepting calls when `stopping` is cancelled.
    #[must_use]
    pub fn new(stopping: CancellationToken) -> Self {
        Self {
            stopping,
            closing: CancellationToken::new(),
            calls: TaskTracker::new(),
            waiting: TaskTracker::new(),
        }
    }

    /// A place for a call about to begin.
    ///
    /// # Errors
    /// `node_stopping`, once the node stops.
    pub fn enter(&self) -> Result<Place, Stopped> {
        // The place is taken before the look, so that `drain` cannot miss a call let in.
        let place = Place(self.calls.token());
        if self.stopping.is_cancelled() {
            let message = "the node is stopping and begins no more calls";
            return Err(Stopped::refuse("node_stopping", message));
        }
        Ok(place)
    }

    /// Cancelled when the node stops: what only waits ends then.
    #[must_use]
    pub fn stopping(&self) -> CancellationToken {
        self.stopping.clone()
    }

    /// A place for what only waits, until its caller was told that it ended.
    #[must_use]
    pub fn wait(&self) -> Place {
        Place(self.waiting.token())
    }

    /// Calls in flight now.
    #[must_use]
    pub fn count(&self) -> usize {
        self.calls.len()
    }

    /// Cancelled when calls need what carries them no longer: links, sessions and upstreams end.
    #[must_use]
    pub fn closing(&self) -> CancellationToken {
        self.closing.clone()
    }

    /// From the stop of the node, waits until no call is left, at most `deadline`, and then lets
    /// everything else end; also when it is dropped before.
    pub async fn drain(self, deadline: Duration) {
        let _closing = self.closing.clone().drop_guard();
        self.stopping.cancelled().await;
        self.calls.close();
        self.waiting.close();
        let (calls, waiting) = tokio::join!(
            timeout(deadline, self.calls.wait()),
            timeout(deadline.min(FAREWELL), self.waiting.wait())
        );
        if calls.is_err() {
            let calls = self.calls.len();
            tracing::warn!(calls, "cut at the end of the drain");
        }
        if waiting.is_err() {
            let calls = self.waiting.len();
            tracing::debug!(calls, "waiting calls were not told of the stop");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio_util::sync::CancellationToken;

    use super::InFlight;

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn calls_in_flight_end_before_what_carries_them() {
        let stopping = CancellationToken::new();
        let in_flight = InFlight::new(stopping.clone());
        let call = in_flight.enter().unwrap();
        let draining = tokio::spawn(in_flight.clone().drain(LONG));
        stopping.cancel();
        tokio::task::yield_now().await;
        assert_eq!(in_flight.enter().unwrap_err().reason(), "node_stopping");
        assert!(!in_flight.closing().is_cancelled());
        drop(call);
        draining.await.unwrap();
        assert!(in_flight.closing().is_cancelled());
    }

    #[tokio::test]
    async fn a_call_without_end_is_cut_at_the_deadline() {
        let stopping = CancellationToken::new();
        stopping.cancel();
        let in_flight = InFlight::new(CancellationToken::new());
        let _call = in_flight.enter().unwrap();
        let in_flight = InFlight {
            stopping,
            ..in_flight
        };
        in_flight.clone().drain(Duration::ZERO).await;
        assert_eq!(in_flight.count(), 1);
        assert!(in_flight.closing().is_cancelled());
    }

    #[tokio::test]
    async fn what_waits_is_told_of_the_stop_before_links_close() {
        let stopping = CancellationToken::new();
        let in_flight = InFlight::new(stopping.clone());
        let waits = in_flight.wait();
        stopping.cancel();
        let draining = tokio::spawn(in_flight.clone().drain(LONG));
        tokio::task::yield_now().await;
        assert_eq!(in_flight.count(), 0);
        assert!(!in_flight.closing().is_cancelled());
        drop(waits);
        draining.await.unwrap();
        // One that cannot be told does not hold up the stop.
        let in_flight = InFlight::new(stopping);
        let _waits = in_flight.wait();
        in_flight.clone().drain(Duration::ZERO).await;
        assert!(in_flight.closing().is_cancelled());
    }

    #[tokio::test]
    async fn a_drain_that_is_aborted_closes_at_once() {
        let in_flight = InFlight::new(CancellationToken::new());
        let draining = tokio::spawn(in_flight.clone().drain(LONG));
        tokio::task::yield_now().await;
        draining.abort();
        assert!(draining.await.unwrap_err().is_cancelled());
        assert!(in_flight.closing().is_cancelled());
    }
}
