//! Counts of what each agent and all agents together hold, with permits that give back on drop.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::name::Name;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Session,
    Call,
}

#[derive(Debug, Default, Clone, Copy)]
struct Held {
    sessions: usize,
    calls: usize,
}

impl Held {
    fn of(&mut self, kind: Kind) -> &mut usize {
        match kind {
            Kind::Session => &mut self.sessions,
            Kind::Call => &mut self.calls,
        }
    }
}

#[derive(Default)]
struct Counts {
    total: Held,
    agents: HashMap<Name, Held>,
}

/// The counts.
#[derive(Default)]
pub(crate) struct Budget {
    counts: Mutex<Counts>,
}

impl Budget {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more of `kind` for `agent`, unless either bound is reached.
    pub(crate) fn take(
        self: &Arc<Self>,
        kind: Kind,
        agent: &Name,
        per_agent: usize,
        in_total: usize,
    ) -> Option<Permit> {
        let mut counts = self.counts();
        let own = counts
            .agents
            .get(agent)
            .copied()
            .unwrap_or_default()
            .of(kind)
            .to_owned();
        if own >= per_agent || *counts.total.of(kind) >= in_total {
            return None;
        }
        *counts.total.of(kind) += 1;
        *counts.agents.entry(agent.clone()).or_default().of(kind) += 1;
        Some(Permit {
            budget: Arc::clone(self),
            kind,
            agent: agent.clone(),
        })
    }

    /// How many of `kind` all agents hold.
    pub(crate) fn held(&self, kind: Kind) -> usize {
        *self.counts().total.of(kind)
    }
}

/// One counted thing; dropping it gives it back.
pub(crate) struct Permit {
    budget: Arc<Budget>,
    kind: Kind,
    agent: Name,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counts = self.budget.counts();
        let total = counts.total.of(self.kind);
        *total = total.saturating_sub(1);
        if let Some(held) = counts.agents.get_mut(&self.agent) {
            let own = held.of(self.kind);
            *own = own.saturating_sub(1);
            if held.sessions == 0 && held.calls == 0 {
                counts.agents.remove(&self.agent);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_agent_and_all_together_are_bounded_and_give_back() {
        let budget = Arc::new(Budget::default());
        let (a, b): (Name, Name) = ("a".parse().unwrap(), "b".parse().unwrap());
        let first = budget.take(Kind::Call, &a, 1, 2).unwrap();
        assert!(budget.take(Kind::Call, &a, 1, 2).is_none());
        assert!(budget.take(Kind::Session, &a, 1, 2).is_some());
        let _second = budget.take(Kind::Call, &b, 2, 2).unwrap();
        assert!(budget.take(Kind::Call, &b, 2, 2).is_none(), "total");
        drop(first);
        assert!(budget.take(Kind::Call, &a, 1, 2).is_some());
        assert_eq!(
            budget.counts().agents.len(),
            1,
            "nothing is kept for idle agents"
        );
    }
}
