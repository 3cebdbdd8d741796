//! Keeps the posture measured, and tells when it claims something else.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use protocol::id::Digest;
use protocol::trust::Posture;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Probe;
use crate::clock::Clock;

/// How often it is measured. What changed is announced at once; what stays the same ages until the
/// node record is renewed.
pub const MEASURE_EVERY: Duration = Duration::from_secs(60);

/// Least time between two node records that a change of posture alone brings about: a host that
/// goes back and forth must not have the whole mesh take its records.
pub const ANNOUNCE_EVERY: Duration = Duration::from_secs(60);

/// The posture as last measured.
pub struct PostureKeeper {
    probe: Probe,
    clock: Arc<dyn Clock>,
    binary: Option<Digest>,
    current: RwLock<Arc<Posture>>,
    changes: watch::Sender<u64>,
}

impl PostureKeeper {
    /// Measures for the first time, the binary included.
    pub async fn start(probe: Probe, clock: Arc<dyn Clock>) -> Self {
        let first = {
            let (probe, now) = (probe.clone(), clock.now().seconds());
            tokio::task::spawn_blocking(move || {
                let binary = probe.binary();
                (binary, probe.measure(now, binary))
            })
        };
        // Aborted only with the runtime; then nothing is claimed.
        let (binary, posture) = match first.await {
            Ok(measured) => measured,
            Err(_) => (None, probe.measure(clock.now().seconds(), None)),
        };
        Self {
            probe,
            clock,
            binary,
            current: RwLock::new(Arc::new(posture)),
            changes: watch::Sender::new(0),
        }
    }

    /// As last measured.
    #[must_use]
    pub fn current(&self) -> Arc<Posture> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells whoever signs records when it claims something else than before.
    #[must_use]
    pub fn news(&self) -> PostureNews {
        PostureNews {
            changes: self.changes.subscribe(),
            due: false,
            told: None,
        }
    }

    /// Measures again.
    pub async fn measure(&self) {
        let (probe, binary) = (self.probe.clone(), self.binary);
        let now = self.clock.now().seconds();
        let measured = tokio::task::spawn_blocking(move || probe.measure(now, binary));
        let Ok(measured) = measured.await else {
            return;
        };
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let same = current.claims_the_same(&measured);
        *current = Arc::new(measured);
        drop(current);
        if !same {
            tracing::info!("this host's posture has changed");
            self.changes.send_modify(|n| *n = n.wrapping_add(1));
        }
    }

    /// Measures again and again, until `stop`.
    pub async fn keep_measured(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(MEASURE_EVERY) => self.measure().await,
            }
        }
    }
}

/// Changes of the posture that others should hear of early, at most one every [`ANNOUNCE_EVERY`].
pub struct PostureNews {
    changes: watch::Receiver<u64>,
    /// Whether there is one that was not told yet.
    due: bool,
    /// When one was told last.
    told: Option<Instant>,
}

impl PostureNews {
    /// Whatever has changed by now is about to be told with something else.
    pub fn taken(&mut self) {
        self.changes.mark_unchanged();
        self.due = false;
    }

    /// Waits until there is something to tell, and it may be told. Cancel safe: what was not told
    /// is told the next time.
    pub async fn next(&mut self) {
        if !self.due && self.changes.changed().await.is_err() {
            // The keeper ends with the node.
            return core::future::pending().await;
        }
        self.due = true;
        if let Some(told) = self.told {
            tokio::time::sleep_until(told + ANNOUNCE_EVERY).await;
        }
        self.due = false;
        self.told = Some(Instant::now());
    }
}
