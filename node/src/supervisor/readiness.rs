//! When the node is ready: named conditions, all of them met.

use std::collections::BTreeSet;

use tokio::sync::watch;

/// What has still to happen. Clones share one state.
#[derive(Clone, Debug)]
pub struct Readiness {
    state: watch::Sender<State>,
}

#[derive(Debug, Default)]
struct State {
    pending: BTreeSet<&'static str>,
    stopping: bool,
}

impl Readiness {
    pub(super) fn new() -> Self {
        Self {
            state: watch::Sender::new(State::default()),
        }
    }

    /// Adds a condition, before the node says that it is ready. A name stands for one condition.
    #[must_use = "a condition that is dropped without `met` is never met"]
    pub fn condition(&self, name: &'static str) -> Condition {
        self.state.send_modify(|s| {
            s.pending.insert(name);
        });
        Condition {
            name,
            state: self.state.clone(),
        }
    }

    /// Whether every condition is met and the node is not stopping.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.state.borrow().is_ready()
    }

    /// What is still to come, by name.
    #[must_use]
    pub fn pending(&self) -> Vec<&'static str> {
        self.state.borrow().pending.iter().copied().collect()
    }

    /// Returns when the node is ready; pending for ever if it stops before.
    pub async fn ready(&self) {
        let mut state = self.state.subscribe();
        if state.wait_for(State::is_ready).await.is_err() {
            core::future::pending::<()>().await;
        }
    }

    /// From here on the node is not ready.
    pub(super) fn stop(&self) {
        self.state.send_modify(|s| s.stopping = true);
    }
}

impl State {
    fn is_ready(&self) -> bool {
        self.pending.is_empty() && !self.stopping
    }
}

/// One thing that has to happen. Dropped without [`Condition::met`] it stays unmet, so that a
/// part that failed to start keeps the node from saying that it is ready.
#[derive(Debug)]
pub struct Condition {
    name: &'static str,
    state: watch::Sender<State>,
}

impl Condition {
    /// It has happened.
    pub fn met(self) {
        self.state.send_modify(|s| {
            s.pending.remove(self.name);
        });
    }
}
