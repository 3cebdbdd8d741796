//! Who was cut off by policy, and for how long.
//!
//! A call that a policy says to sever ends, at the node that decides so, every stream of its agent
//! at once: the sessions of its clients where it is the agent's own node, those it hosts or carries
//! where it is another. Until the cool-down is over nothing of that agent passes there. A document
//! that judges nodes ([`protocol::policy::Severed::Node`]) cuts off every agent of the node, and the
//! link with it where that is how the call came.
//!
//! A node is cut off for what it has signed itself, and for facts that it or this node vouches for:
//! what another answers it, what a relay says of it, and what others have used of a common limit
//! count against the agent alone, or any of them could have it cut off.
//!
//! It is this node's own memory: it is lost with the process, and other nodes decide for themselves.
//! An admin who wants somebody out of the mesh revokes them.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use protocol::envelope::Direction;
use protocol::id::NodeId;
use protocol::name::Name;
use protocol::policy::{
    Action, Denial, LimitUse, Per, Policy, Severed as Whom, Verdict, Violation,
};
use protocol::time::UnixMillis;

use super::policies::Asked;
use super::{Enforcer, Stopped, by_policy};

/// How long who is severed stays cut off: long enough that an automatic retry loop is noticed and
/// stopped, short enough that a corrected agent need not call an operator.
pub const SEVER_COOL_DOWN_MS: u64 = 60_000;

/// Most agents, and most nodes, remembered as cut off. When it is full, the one whose time is over
/// first makes room. Nodes have a table of their own, so that none can push itself out of it with
/// names of agents.
const MAX_SEVERED: usize = 4096;

/// The reason for what is refused during the cool-down.
pub const SEVERED: &str = "severed";

/// The rule that is about the caller's address, which behind relays the first of them states.
const ADDRESS: &str = "/location/networks";

/// The agents and the nodes cut off.
#[derive(Debug)]
pub(super) struct Severed {
    cool_down_ms: u64,
    agents: Cuts<(NodeId, Name)>,
    nodes: Cuts<NodeId>,
}

#[derive(Debug)]
struct Cuts<K>(Mutex<HashMap<K, Cut>>);

#[derive(Debug, Clone)]
struct Cut {
    until: UnixMillis,
    why: Denial,
}

impl<K: Clone + Eq + Hash> Cuts<K> {
    fn add(&self, key: K, cut: Cut, now: UnixMillis) {
        let mut cuts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cuts.retain(|_, cut| cut.until > now);
        if cuts.len() >= MAX_SEVERED {
            let first = cuts.iter().min_by_key(|(_, cut)| cut.until);
            if let Some(key) = first.map(|(key, _)| key.clone()) {
                cuts.remove(&key);
            }
        }
        cuts.insert(key, cut);
    }

    fn find(&self, key: impl FnOnce() -> K, now: UnixMillis) -> Option<Cut> {
        let cuts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cuts.is_empty() {
            return None;
        }
        cuts.get(&key()).filter(|cut| cut.until > now).cloned()
    }
}

impl Severed {
    /// Nobody is cut off; who will be, for so long.
    pub(super) fn for_ms(cool_down_ms: u64) -> Self {
        Self {
            cool_down_ms,
            agents: Cuts(Mutex::default()),
            nodes: Cuts(Mutex::default()),
        }
    }

    fn cut(&self, why: &Denial, now: UnixMillis) -> Cut {
        Cut {
            until: UnixMillis(now.0.saturating_add(self.cool_down_ms)),
            why: why.clone(),
        }
    }

    /// Cuts an agent off from now on.
    fn cut_agent(&self, node: NodeId, agent: &Name, why: &Denial, now: UnixMillis) {
        let cut = self.cut(why, now);
        self.agents.add((node, agent.clone()), cut, now);
    }

    /// Cuts every agent of a node off from now on.
    fn cut_node(&self, node: NodeId, why: &Denial, now: UnixMillis) {
        self.nodes.add(node, self.cut(why, now), now);
    }

    /// Why nothing of this agent passes now, if it or its node is cut off.
    pub(super) fn barred(&self, node: NodeId, agent: &Name, now: UnixMillis) -> Option<Denial> {
        let (whom, cut) = match self.nodes.find(|| node, now) {
            Some(cut) => (format!("the agents of node {}", node.short()), cut),
            None => {
                let cut = self.agents.find(|| (node, agent.clone()), now)?;
                (format!("agent `{agent}`"), cut)
            }
        };
        let were = if whom.starts_with("agent") {
            "was"
        } else {
            "were"
        };
        let left = cut.until.0.saturating_sub(now.0).div_ceil(1000);
        Some(Denial {
            reason: SEVERED.to_owned(),
            message: format!("{whom} {were} cut off: {}", cut.why.message),
            policy: cut.why.policy.clone(),
            hint: Some(format!("this node takes its calls again in {left} s")),
        })
    }
}

/// Whom the strictest of these violations cut off.
pub(super) fn whom(policy: &dyn Policy, asked: &Asked<'_>, violations: &[Violation]) -> Whom {
    let severing = violations.iter().filter(|v| v.action == Action::Sever);
    let mut severing = severing.filter(|v| v.rule != ADDRESS || asked.is_of_neighbour());
    if asked.is_of_caller() && severing.any(|v| policy.severs(&v.policy) == Whom::Node) {
        Whom::Node
    } else {
        Whom::Agent
    }
}

/// Whom a limit cuts off that a call exceeds.
pub(super) fn whom_by_limit(policy: &dyn Policy, limit: &LimitUse) -> Whom {
    match limit.per {
        Per::Mesh => Whom::Agent,
        Per::Agent | Per::Node => policy.severs(&limit.policy),
    }
}

impl Asked<'_> {
    /// Whether the caller's own node has signed it.
    fn is_of_caller(&self) -> bool {
        self.header.claims.direction == Direction::ToServer
    }

    /// Whether it came from the node that signed it, with none between.
    fn is_of_neighbour(&self) -> bool {
        self.is_of_caller() && self.hops.is_empty()
    }
}

impl Enforcer {
    /// Cuts off whom a policy severs; passes the verdict on.
    pub(super) fn severing(&self, asked: &Asked<'_>, stopped: Stopped, whom: Whom) -> Stopped {
        let Verdict::Sever(why) = &stopped.verdict else {
            return stopped;
        };
        let (node, agent) = (asked.caller().node(), &asked.header.cwt.sub);
        match whom {
            Whom::Agent => self.severed.cut_agent(node, agent, why, asked.now),
            Whom::Node => self.severed.cut_node(node, why, asked.now),
        }
        // What is under way of it ends at once.
        self.standing.look_again();
        let own = node == self.identity.node();
        if let Some(sever) = self.sever.get() {
            match whom {
                Whom::Agent if own => sever.sever_agent(agent, &stopped),
                Whom::Agent => {}
                Whom::Node if own || asked.is_of_neighbour() => sever.sever_node(node, &stopped),
                // Whoever brought it has done nothing.
                Whom::Node => {}
            }
        }
        stopped
    }

    /// Why nothing of an agent of `node` passes here now, if a policy cut it off a moment ago.
    #[must_use]
    pub fn cut_off(&self, node: NodeId, agent: &Name) -> Option<Stopped> {
        let denial = self.severed.barred(node, agent, self.clock.now())?;
        Some(by_policy(Verdict::Deny(denial)))
    }
}

#[cfg(test)]
mod tests {
    use protocol::policy::CompiledBundle;
    use protocol::policy::compile::CompiledPolicy;
    use protocol::policy::document::Document;

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
        let severed = Severed::for_ms(SEVER_COOL_DOWN_MS);
        let (a, b): (Name, Name) = ("a".parse().unwrap(), "b".parse().unwrap());
        let now = UnixMillis(5_000);
        severed.cut_agent(node(1), &a, &why(), now);
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
        let severed = Severed::for_ms(SEVER_COOL_DOWN_MS);
        for number in 0..MAX_SEVERED + 10 {
            let agent = format!("a{number}").parse().unwrap();
            severed.cut_agent(node(1), &agent, &why(), UnixMillis(number as u64));
        }
        assert_eq!(severed.agents.0.lock().unwrap().len(), MAX_SEVERED);
        let last = format!("a{}", MAX_SEVERED + 9).parse().unwrap();
        assert!(severed.barred(node(1), &last, UnixMillis(5_000)).is_some());
    }
    #[test]
    fn a_node_is_cut_off_with_all_its_agents() {
        let severed = Severed::for_ms(SEVER_COOL_DOWN_MS);
        let (a, b): (Name, Name) = ("a".parse().unwrap(), "b".parse().unwrap());
        let now = UnixMillis(5_000);
        severed.cut_node(node(1), &why(), now);
        for agent in [&a, &b] {
            let denial = severed.barred(node(1), agent, now).unwrap();
            assert_eq!(denial.reason, "severed");
            let whom = format!("the agents of node {} were cut off", node(1).short());
            assert!(denial.message.starts_with(&whom), "{}", denial.message);
            assert_eq!(denial.policy.as_deref(), Some("p"));
        }
        assert_eq!(severed.barred(node(2), &a, now), None);
        let over = UnixMillis(now.0 + SEVER_COOL_DOWN_MS);
        assert_eq!(severed.barred(node(1), &a, over), None);
    }

    /// A node that makes up agents does not make its own cut forgotten.
    #[test]
    fn agents_do_not_push_nodes_out() {
        let severed = Severed::for_ms(SEVER_COOL_DOWN_MS);
        severed.cut_node(node(1), &why(), UnixMillis(0));
        for number in 0..MAX_SEVERED + 10 {
            let agent = format!("a{number}").parse().unwrap();
            severed.cut_agent(node(1), &agent, &why(), UnixMillis(number as u64));
        }
        let any = "any".parse().unwrap();
        assert!(severed.barred(node(1), &any, UnixMillis(5_000)).is_some());
    }

    /// What others have used up is not a node's own doing.
    #[test]
    fn a_limit_common_to_all_cuts_off_no_node() {
        let text = r#"{"policy_name": "p", "subjects": {"nodes": ["a"]},
            "limits": {"calls": 1}, "action_on_violation": "sever"}"#;
        let document = Document::parse("p", text.as_bytes()).unwrap();
        let policies = vec![CompiledPolicy::of_document(document)];
        let bundle = CompiledBundle::of(1, policies, &[], &[]);
        let limit = |per| LimitUse {
            policy: "p".to_owned(),
            per,
            calls: Some(1),
            bytes: None,
            window_s: 60,
            concurrent: None,
            action: Action::Sever,
        };
        let whom = |per| whom_by_limit(&bundle, &limit(per));
        assert_eq!(whom(Per::Agent), Whom::Node);
        assert_eq!(whom(Per::Node), Whom::Node);
        assert_eq!(whom(Per::Mesh), Whom::Agent);
    }
}
