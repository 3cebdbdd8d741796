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
use super::{Enforcer, Stopped, UNDER_WAY, by_policy};

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
    /// This node's name.
    here: String,
    agents: Cuts<(NodeId, Name)>,
    nodes: Cuts<NodeId>,
}

#[derive(Debug)]
struct Cuts<K>(Mutex<HashMap<K, Cut>>);

#[derive(Debug, Clone)]
struct Cut {
    until: UnixMillis,
    /// For people.
    whom: String,
    why: Denial,
}

/// Who is cut off here now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutOff {
    /// The node.
    pub node: NodeId,
    /// The one agent of it; all of them if absent.
    pub agent: Option<Name>,
    /// The policy that says so.
    pub policy: Option<String>,
    /// For how long still, in seconds.
    pub left_s: u64,
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

    fn all(&self, now: UnixMillis) -> Vec<(K, Cut)> {
        let cuts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lasting = cuts.iter().filter(|(_, cut)| cut.until > now);
        lasting.map(|(k, cut)| (k.clone(), cut.clone())).collect()
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
    pub(super) fn for_ms(cool_down_ms: u64, here: &str) -> Self {
        Self {
            cool_down_ms,
            here: here.to_owned(),
            agents: Cuts(Mutex::default()),
            nodes: Cuts(Mutex::default()),
        }
    }

    fn cut(&self, whom: String, why: &Denial, now: UnixMillis) -> Cut {
        Cut {
            until: UnixMillis(now.0.saturating_add(self.cool_down_ms)),
            whom,
            why: why.clone(),
        }
    }

    /// Cuts an agent off from now on.
    fn cut_agent(&self, node: NodeId, agent: &Name, why: &Denial, now: UnixMillis) {
        let cut = self.cut(format!("agent `{agent}`"), why, now);
        self.agents.add((node, agent.clone()), cut, now);
    }

    /// Cuts every agent of a node off from now on.
    fn cut_node(&self, node: (NodeId, &Name), why: &Denial, now: UnixMillis) {
        let (node, name) = node;
        let cut = self.cut(format!("the agents of node `{name}`"), why, now);
        self.nodes.add(node, cut, now);
    }

    /// What whoever is cut off now is told beside why.
    fn announced(&self, whom: &str, why: Denial) -> Denial {
        let (here, s) = (&self.here, self.cool_down_ms.div_ceil(1000));
        let message = format!("{}; node `{here}` cuts {whom} off for {s} s", why.message);
        Denial { message, ..why }
    }

    /// Everybody who is cut off, nodes first.
    fn everybody(&self, now: UnixMillis) -> Vec<CutOff> {
        let cut_off = |node, agent, cut: Cut| CutOff {
            node,
            agent,
            policy: cut.why.policy,
            left_s: cut.until.0.saturating_sub(now.0).div_ceil(1000),
        };
        let nodes = self.nodes.all(now).into_iter();
        let nodes = nodes.map(|(node, cut)| cut_off(node, None, cut));
        let agents = self.agents.all(now).into_iter();
        let agents = agents.map(|((node, agent), cut)| cut_off(node, Some(agent), cut));
        let mut everybody: Vec<CutOff> = nodes.chain(agents).collect();
        everybody.sort_by(|a, b| (&a.agent, a.node).cmp(&(&b.agent, b.node)));
        everybody
    }

    /// Why nothing of this agent passes now, if it or its node is cut off.
    pub(super) fn barred(&self, node: NodeId, agent: &Name, now: UnixMillis) -> Option<Denial> {
        let of_node = self.nodes.find(|| node, now);
        let were = if of_node.is_some() { "were" } else { "was" };
        let cut = match of_node {
            Some(cut) => cut,
            None => self.agents.find(|| (node, agent.clone()), now)?,
        };
        let (whom, here) = (&cut.whom, &self.here);
        let left = cut.until.0.saturating_sub(now.0).div_ceil(1000);
        Some(Denial {
            reason: SEVERED.to_owned(),
            message: format!("{whom} {were} cut off: {}", cut.why.message),
            policy: cut.why.policy.clone(),
            hint: Some(format!("node `{here}` takes calls again in {left} s")),
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
        let (caller, agent) = (asked.caller(), &asked.header.cwt.sub);
        let node = caller.node();
        let called = match whom {
            Whom::Agent => {
                self.severed.cut_agent(node, agent, why, asked.now);
                format!("agent `{agent}`")
            }
            Whom::Node => {
                let called = (node, &caller.name);
                self.severed.cut_node(called, why, asked.now);
                format!("all agents of node `{}`", caller.name)
            }
        };
        let announced = self.severed.announced(&called, why.clone());
        // What is under way of it ends at once.
        self.standing.look_again();
        let own = node == self.identity.node();
        if let Some(sever) = self.sever.get() {
            // Its other calls and sessions have not done what this one did.
            let told = self.cut_off(node, agent);
            let told = told.as_ref().unwrap_or(&stopped);
            match whom {
                Whom::Agent if own => sever.sever_agent(agent, told),
                Whom::Agent => {}
                Whom::Node if own || asked.is_of_neighbour() => sever.sever_node(node, told),
                // Whoever brought it has done nothing.
                Whom::Node => {}
            }
        }
        by_policy(Verdict::Sever(announced))
    }

    /// Who is cut off here now, nodes first.
    #[must_use]
    pub fn everybody_cut_off(&self) -> Vec<CutOff> {
        self.severed.everybody(self.clock.now())
    }

    /// Why nothing of an agent of `node` passes here now, if a policy cut it off a moment ago: what
    /// those of its calls and sessions are told that end with it.
    #[must_use]
    pub fn cut_off(&self, node: NodeId, agent: &Name) -> Option<Stopped> {
        let mut denial = self.severed.barred(node, agent, self.clock.now())?;
        let again = denial.hint.unwrap_or_default();
        denial.hint = Some(format!("{again}; {UNDER_WAY}"));
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
        let severed = Severed::for_ms(SEVER_COOL_DOWN_MS, "here");
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
            "node `here` takes calls again in 60 s"
        );
        assert_eq!(severed.barred(node(1), &b, now), None);
        assert_eq!(severed.barred(node(2), &a, now), None);
        let over = UnixMillis(now.0 + SEVER_COOL_DOWN_MS);
        assert_eq!(severed.barred(node(1), &a, over), None);
    }

    #[test]
    fn the_call_itself_is_told_for_how_long() {
        let severed = Severed::for_ms(SEVER_COOL_DOWN_MS, "here");
        let told = severed.announced("agent `a`", why());
        assert_eq!(told.reason, "intent_restricted");
        let message = "policy `p` restricts it; node `here` cuts agent `a` off for 60 s";
        assert_eq!(told.message, message);
    }

    #[test]
    fn the_table_is_bounded() {
        let severed = Severed::for_ms(SEVER_COOL_DOWN_MS, "here");
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
        let severed = Severed::for_ms(SEVER_COOL_DOWN_MS, "here");
        let (a, b): (Name, Name) = ("a".parse().unwrap(), "b".parse().unwrap());
        let now = UnixMillis(5_000);
        let name: Name = "desk".parse().unwrap();
        severed.cut_node((node(1), &name), &why(), now);
        for agent in [&a, &b] {
            let denial = severed.barred(node(1), agent, now).unwrap();
            assert_eq!(denial.reason, "severed");
            let whom = "the agents of node `desk` were cut off";
            assert!(denial.message.starts_with(whom), "{}", denial.message);
            assert_eq!(denial.policy.as_deref(), Some("p"));
        }
        assert_eq!(severed.barred(node(2), &a, now), None);
        severed.cut_agent(node(2), &b, &why(), UnixMillis(now.0 + 500));
        let listed = severed.everybody(UnixMillis(now.0 + 1_000));
        let listed = listed.into_iter().map(|c| (c.node, c.agent, c.left_s));
        let expected = [(node(1), None, 59), (node(2), Some(b), 60)];
        assert!(listed.eq(expected));
        let over = UnixMillis(now.0 + SEVER_COOL_DOWN_MS);
        assert_eq!(severed.barred(node(1), &a, over), None);
        assert_eq!(severed.everybody(over).len(), 1);
    }

    /// A node that makes up agents does not make its own cut forgotten.
    #[test]
    fn agents_do_not_push_nodes_out() {
        let severed = Severed::for_ms(SEVER_COOL_DOWN_MS, "here");
        let name: Name = "desk".parse().unwrap();
        severed.cut_node((node(1), &name), &why(), UnixMillis(0));
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
