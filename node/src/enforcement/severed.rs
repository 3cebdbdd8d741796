//! Who was cut off by policy, and for how long.
//!
//! A call that a policy says to sever ends, at the node that decides so, every stream of its agent
//! at once: the sessions of its clients where it is the agent's own node, those it hosts or carries
//! where it is another. Until the cool-down is over nothing of that agent passes there. It is this
//! node's own memory: it is lost with the process, and other nodes decide for themselves. An admin
//! who wants somebody out of the mesh revokes them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use protocol::id::NodeId;
use protocol::name::Name;
use protocol::policy::{Denial, Verdict};
use protocol::time::UnixMillis;

use super::{Enforcer, Stopped, by_policy};

/// How long an agent stays cut off: long enough that an automatic retry loop is noticed and
/// stopped, short enough that a corrected agent need not call an operator.
pub const SEVER_COOL_DOWN_MS: u64 = 60_000;

/// Most agents remembered as cut off. When it is full, the one whose time is over first makes
/// room.
const MAX_SEVERED: usize = 4096;

/// The reason for what is refused during the cool-down.
pub const SEVERED: &str = "severed";

/// The agents cut off.
#[derive(Debug, Default)]
pub(super) struct Severed(Mutex<HashMap<(NodeId, Name), Cut>>);

#[derive(Debug, Clone)]
struct Cut {
    until: UnixMillis,
    why: Denial,
}

impl Severed {
    /// Cuts an agent off from now on.
    pub(super) fn cut(&self, node: NodeId, agent: &Name, why: &Denial, now: UnixMillis) {
        let mut cuts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cuts.retain(|_, cut| cut.until > now);
        if cuts.len() >= MAX_SEVERED {
            let first = cuts.iter().min_by_key(|(_, cut)| cut.until);
            if let Some(key) = first.map(|(key, _)| key.clone()) {
                cuts.remove(&key);
            }
        }
        let until = UnixMillis(now.0.saturating_add(SEVER_COOL_DOWN_MS));
        let why = why.clone();
        cuts.insert((node, agent.clone()), Cut { until, why });
    }

    /// Why nothing of this agent passes now, if it is cut off.
    pub(super) fn barred(&self, node: NodeId, agent: &Name, now: UnixMillis) -> Option<Denial> {
        let cuts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cuts.is_empty() {
            return None;
        }
        let cut = cuts
            .get(&(node, agent.clone()))
            .filter(|cut| cut.until > now)?;
        let left = cut.until.0.saturating_sub(now.0).div_ceil(1000);
        Some(Denial {
            reason: SEVERED.to_owned(),
            message: format!("agent `{agent}` was cut off: {}", cut.why.message),
            policy: cut.why.policy.clone(),
            hint: Some(format!("this node takes its calls again in {left} s")),
        })
    }
}

impl Enforcer {
    /// Why nothing of an agent of `node` passes here now, if a policy cut it off a moment ago.
    #[must_use]
    pub fn cut_off(&self, node: NodeId, agent: &Name) -> Option<Stopped> {
        let denial = self.severed.barred(node, agent, self.clock.now())?;
        Some(by_policy(Verdict::Deny(denial)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why() -> Denial {
        Denial {
            reason: "intent_restricted".to_owned(),
            message: "policy `p` restricts it".to_owned(),
            policy: Some("p".to_owned()),
            hint: None,
        }
    }

    fn node(byte: u8) -> NodeId {
        NodeId::from_bytes([byte; 32])
    }

    #[test]
    fn one_agent_of_one_node_is_cut_off_for_a_while() {
        let severed = Severed::default();
        let (a, b): (Name, Name) = ("a".parse().unwrap(), "b".parse().unwrap());
        let now = UnixMillis(5_000);
        severed.cut(node(1), &a, &why(), now);
        let denial = severed.barred(node(1), &a, UnixMillis(5_500)).unwrap();
        assert_eq!(denial.reason, "severed");
        assert_eq!(
            denial.message,
            "agent `a` was cut off: policy `p` restricts it"
        );
        assert_eq!(
            denial.hint.unwrap(),
            "this node takes its calls again in 60 s"
        );
        assert_eq!(severed.barred(node(1), &b, now), None);
        assert_eq!(severed.barred(node(2), &a, now), None);
        let over = UnixMillis(now.0 + SEVER_COOL_DOWN_MS);
        assert_eq!(severed.barred(node(1), &a, over), None);
    }

    #[test]
    fn the_table_is_bounded() {
        let severed = Severed::default();
        for number in 0..MAX_SEVERED + 10 {
            let agent = format!("a{number}").parse().unwrap();
            severed.cut(node(1), &agent, &why(), UnixMillis(number as u64));
        }
        assert_eq!(severed.0.lock().unwrap().len(), MAX_SEVERED);
        let last = format!("a{}", MAX_SEVERED + 9).parse().unwrap();
        assert!(severed.barred(node(1), &last, UnixMillis(5_000)).is_some());
    }
}
