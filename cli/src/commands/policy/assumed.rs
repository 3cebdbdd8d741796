//! What the explanation of a call that was not made takes for granted, and where it has it from.
//!
//! What the call does not say is taken from the mesh as it is now, as far as this node knows it. The
//! rest is as in the tests of documents. All of it is told.

use core::net::{IpAddr, SocketAddr};

use protocol::control::{
    Agent, MAX_LISTED_REVOCATIONS, Peer, PeerState, PostureInfo, PostureReport, Revocation,
    RevocationState, Revocations, Status, Target, Tool, route,
};
use protocol::id::NodeId;
use protocol::name::Name;
use protocol::policy::document::{TRIAL_TIME, TrialCall, Via};
use protocol::policy::{CompiledBundle, Policy as _, testing};
use protocol::trust::posture::SELF_ASSERTED;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::client::Client;
use crate::exit::Failed;
use crate::output::now;

/// One fact nobody gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Assumed {
    pub(super) fact: &'static str,
    pub(super) value: String,
    pub(super) from: String,
}

fn assumed(fact: &'static str, value: impl Into<String>, from: impl Into<String>) -> Assumed {
    Assumed {
        fact,
        value: value.into(),
        from: from.into(),
    }
}

/// What is said of intents that nothing adds to.
const AS_NAMED: &str = "what its name says";

/// Where the groups and the site of a node are from.
const MEMBERSHIP: &str = "its membership, as this node knows it";

/// Where no node is asked.
pub(super) fn without_node(json: &Map<String, Value>) -> Vec<Assumed> {
    let time = TRIAL_TIME.seconds().rfc3339();
    let facts = [
        ("groups", "none"),
        ("site", "none"),
        ("posture", "unknown"),
        ("address", "unknown"),
        ("human", "none"),
        ("host_groups", "none"),
        ("intents", AS_NAMED),
        ("time", time.as_str()),
        ("via", "direct"),
        ("revoked", "no"),
        ("severed", "no"),
    ];
    let left = facts
        .into_iter()
        .filter(|(fact, _)| !json.contains_key(*fact));
    left.map(|(fact, value)| assumed(fact, value, "as in the tests of documents"))
        .collect()
}

/// What a node knows of who calls and of what is called.
pub(super) struct Known {
    status: Status,
    peers: Vec<Peer>,
    postures: PostureReport,
    tools: Vec<Tool>,
    agents: Vec<Agent>,
    revocations: Revocations,
}

impl Known {
    pub(super) async fn ask(client: &Client) -> Result<Self, Failed> {
        let revocations = format!("{}?limit={MAX_LISTED_REVOCATIONS}", route::REVOCATIONS);
        Ok(Self {
            revocations: client.read(&revocations).await?,
            status: client.read(route::STATUS).await?,
            peers: client.read(route::PEERS).await?,
            postures: client.read(route::POSTURES).await?,
            tools: client.read(route::TOOLS).await?,
            agents: client.read(route::AGENTS).await?,
        })
    }

    /// Adds to a call what it does not say.
    pub(super) fn complete(&self, json: &mut Map<String, Value>) -> Vec<Assumed> {
        let mut told = Vec::new();
        let own = self.status.node.name.as_str();
        let text = |json: &Map<String, Value>, key: &str| {
            json.get(key).and_then(Value::as_str).map(str::to_owned)
        };
        let node = text(json, "node").unwrap_or_else(|| {
            json.insert("node".to_owned(), own.into());
            told.push(assumed("node", own, "this node"));
            own.to_owned()
        });
        if !json.contains_key("host")
            && let Some(host) = self.host(json)
        {
            told.push(assumed("host", &host, "the one node that announces it"));
            json.insert("host".to_owned(), host.into());
        }
        let peer = self.peer(&node);
        if node == own {
            let of = &self.status.node;
            let site = of.site.as_ref().map(ToString::to_string);
            let groups = of.groups.iter().map(ToString::to_string).collect();
            membership(json, groups, site, &mut told);
            let from = "announced by this node; what the next hop sees may differ";
            address(json, self.status.addresses.first(), from, &mut told);
            posture(json, self.postures.announced.as_ref(), &mut told);
        } else if let Some(peer) = peer {
            let site = peer.site.as_ref().map(ToString::to_string);
            let groups = peer.groups.iter().map(ToString::to_string).collect();
            membership(json, groups, site, &mut told);
            let from = "this node's link with it";
            address(json, peer.address.as_ref(), from, &mut told);
            let of = self.postures.others.iter().find(|p| p.id == peer.id);
            posture(json, of.and_then(|p| p.posture.as_ref()), &mut told);
        } else {
            let from = format!("node `{node}` is not known to this one");
            for (fact, value) in [
                ("groups", "none"),
                ("site", "none"),
                ("posture", "unknown"),
                ("address", "unknown"),
            ] {
                if !json.contains_key(fact) {
                    told.push(assumed(fact, value, &from));
                }
            }
        }
        if !json.contains_key("human") {
            told.push(human(json, &node, own, &self.agents));
        }
        if !json.contains_key("host_groups") {
            told.push(self.host_groups(json));
        }
        if !json.contains_key("intents") {
            told.extend(self.intents(json));
        }
        if !json.contains_key("labels") {
            let from = "the bundle's are added; what results tagged the agent with in the last \
                        hour was not asked";
            told.push(assumed("labels", "none carried", from));
        }
        if !json.contains_key("time") {
            let time = now().rfc3339();
            told.push(assumed("time", &time, "now, by the clock of this host"));
            json.insert("time".to_owned(), time.into());
        }
        told
    }

    /// The node that carries the call where none needs to be passed, and how that is known.
    pub(super) fn between(&self, call: &TrialCall) -> (Option<Name>, String) {
        let host = &call.host;
        if call.node == *host {
            return (None, "both ends are one node".to_owned());
        }
        if call.node != self.status.node.name {
            let from = format!("what links node `{}` has was not asked", call.node);
            return (None, from);
        }
        match self.peer(host.as_str()) {
            Some(peer) => carrier(host, peer),
            None => (None, "this node does not know the server's node".to_owned()),
        }
    }

    /// Why the call is refused whatever policies say: who makes or takes it is revoked, as far as
    /// this node knows. Else what is taken for granted of that.
    pub(super) fn revoked(&self, call: &TrialCall) -> Result<Assumed, Revoked> {
        let own = &self.status.node;
        for name in [&call.node, &call.host] {
            let revoked = if own.name == *name {
                let trust = self.status.trust.as_ref();
                trust.is_some_and(|trust| trust.revoked.is_some())
            } else {
                let peer = self.peer(name.as_str());
                peer.is_some_and(|peer| peer.state == PeerState::Revoked)
            };
            if revoked {
                let reason = "node_revoked";
                let message = format!("node `{name}`, or who admitted it, is revoked");
                return Err(Revoked { reason, message });
            }
        }
        let id = if own.name == call.node {
            Some(own.id)
        } else {
            self.peer(call.node.as_str()).map(|peer| peer.id)
        };
        if is_revoked(&self.revocations.entries, &call.agent, id.as_ref()) {
            let reason = "agent_revoked";
            let message = format!("agent `{}` of node `{}` is revoked", call.agent, call.node);
            return Err(Revoked { reason, message });
        }
        let listed = self.revocations.entries.len();
        let from = if usize::try_from(self.revocations.total).is_ok_and(|total| total > listed) {
            format!("the newest {listed} revocations this node knows have neither end")
        } else {
            "no revocation this node knows is of the agent or of either node".to_owned()
        };
        Ok(assumed("revoked", "no", from))
    }

    /// The names of the nodes that are this waypoint, as far as this node knows.
    pub(super) fn waypoints(&self, via: &Via) -> Vec<String> {
        let own = &self.status.node;
        let own = (own.name.as_str(), own.groups.as_slice());
        let others = self.peers.iter().filter_map(|peer| {
            let name = peer.name.as_ref()?;
            Some((name.as_str(), peer.groups.as_slice()))
        });
        let is = |(name, groups): &(&str, &[Name])| match via {
            Via::Node(node) => node.as_str() == *name,
            Via::Group(group) => groups.contains(group),
        };
        let found = core::iter::once(own).chain(others).filter(is);
        found.map(|(name, _)| name.to_owned()).collect()
    }

    /// Adds the groups of the server's node, which as an end of the route may be a waypoint.
    fn host_groups(&self, json: &mut Map<String, Value>) -> Assumed {
        let fact = "host_groups";
        let Some(host) = json.get("host").and_then(Value::as_str) else {
            return assumed(fact, "none", "the server's node is not known");
        };
        let own = &self.status.node;
        let peer = || self.peer(host).map(|peer| &peer.groups);
        let known = (own.name.as_str() == host).then_some(&own.groups);
        let Some(groups) = known.or_else(peer) else {
            let from = format!("node `{host}` is not known to this one");
            return assumed(fact, "none", from);
        };
        let groups: Vec<String> = groups.iter().map(ToString::to_string).collect();
        let told = assumed(fact, listed(&groups), MEMBERSHIP);
        json.insert(fact.to_owned(), groups.into());
        told
    }

    fn peer(&self, name: &str) -> Option<&Peer> {
        let is = |peer: &&Peer| peer.name.as_ref().is_some_and(|n| n.as_str() == name);
        self.peers.iter().find(is)
    }

    /// Adds what the annotations of the tool called add to its intents.
    fn intents(&self, json: &mut Map<String, Value>) -> Option<Assumed> {
        let text = |key: &str| json.get(key).and_then(Value::as_str);
        let (server, host, name) = (text("server")?, text("host"), text("tool")?);
        let offers = |t: &&Tool| {
            let there = host.is_none_or(|host| t.node.as_str() == host);
            t.server.as_str() == server && there && t.name == name
        };
        let mut offered = self.tools.iter().filter(offers).peekable();
        if offered.peek().is_none() {
            let from = "no node that this one knows announces the tool";
            return Some(assumed("intents", AS_NAMED, from));
        }
        let mut added: Vec<String> = offered.flat_map(|t| t.added_intents.clone()).collect();
        added.sort_unstable();
        added.dedup();
        let from = "the tool's annotations, as its node announces them";
        if added.is_empty() {
            return Some(assumed("intents", AS_NAMED, from));
        }
        let value = format!("{AS_NAMED}, and {}", added.join(", "));
        json.insert("intents".to_owned(), added.into());
        Some(assumed("intents", value, from))
    }

    /// The node whose server offers what is called, if it is one.
    fn host(&self, json: &Map<String, Value>) -> Option<String> {
        let text = |key: &str| json.get(key).and_then(Value::as_str);
        let (server, name) = (text("server")?, text("tool")?);
        let offers = |t: &&Tool| t.server.as_str() == server && t.name == name;
        let mut nodes: Vec<&str> = self
            .tools
            .iter()
            .filter(offers)
            .map(|t| t.node.as_str())
            .collect();
        nodes.dedup();
        match nodes.as_slice() {
            [one] => Some((*one).to_owned()),
            _ => None,
        }
    }
}

fn listed(groups: &[String]) -> String {
    if groups.is_empty() {
        return "none".to_owned();
    }
    groups.join(", ")
}

fn membership(
    json: &mut Map<String, Value>,
    groups: Vec<String>,
    site: Option<String>,
    told: &mut Vec<Assumed>,
) {
    let from = MEMBERSHIP;
    if !json.contains_key("groups") {
        told.push(assumed("groups", listed(&groups), from));
        json.insert("groups".to_owned(), groups.into());
    }
    if !json.contains_key("site") {
        told.push(assumed("site", site.as_deref().unwrap_or("none"), from));
        json.extend(site.map(|site| ("site".to_owned(), site.into())));
    }
}

fn address(
    json: &mut Map<String, Value>,
    known: Option<&String>,
    from: &str,
    told: &mut Vec<Assumed>,
) {
    if json.contains_key("address") {
        return;
    }
    match known {
        Some(address) if is_address(address) => {
            told.push(assumed("address", address, from));
            json.insert("address".to_owned(), address.clone().into());
        }
        // What is dialled or announced may be the name of a host, which is no fact of a call.
        Some(name) => {
            let from = format!("`{name}` is known, which is no IP address");
            told.push(assumed("address", "unknown", from));
        }
        None => told.push(assumed(
            "address",
            "unknown",
            "this node has no link with it",
        )),
    }
}

/// Whom the caller's node names in the call: the human bound to the agent's token, which only that
/// node knows.
fn human(json: &mut Map<String, Value>, node: &str, own: &str, agents: &[Agent]) -> Assumed {
    if node != own {
        let from = format!("for whom agents of node `{node}` act is known there alone");
        return assumed("human", "none", from);
    }
    let Some(agent) = json.get("agent").and_then(Value::as_str) else {
        return assumed("human", "none", "no agent was given");
    };
    let Some(known) = agents.iter().find(|a| a.name.as_str() == agent) else {
        let from = format!("this node has no agent `{agent}`");
        return assumed("human", "none", from);
    };
    let Some(bound) = &known.human else {
        let from = format!("agent `{agent}` of this node acts for nobody");
        return assumed("human", "none", from);
    };
    let told = assumed(
        "human",
        bound.to_string(),
        format!("agent `{agent}` of this node acts for it"),
    );
    json.insert("human".to_owned(), bound.to_string().into());
    told
}

fn is_address(text: &str) -> bool {
    text.parse::<SocketAddr>().is_ok() || text.parse::<IpAddr>().is_ok()
}

fn posture(json: &mut Map<String, Value>, known: Option<&PostureInfo>, told: &mut Vec<Assumed>) {
    if json.contains_key("posture") {
        return;
    }
    let Some(known) = known else {
        told.push(assumed("posture", "unknown", "it has told this node none"));
        return;
    };
    let value = format!(
        "{} {}, secure_boot {}, disk_encryption {}",
        known.os, known.kernel, known.secure_boot, known.disk_encryption
    );
    let from = format!("{} {} s ago", known.word, known.age_s);
    told.push(assumed("posture", value, from));
    let mut claims = json!({
        "os": known.os,
        "secure_boot": known.secure_boot,
        "disk_encryption": known.disk_encryption,
        "uptime_s": known.uptime_s.saturating_add(known.age_s),
        "hardening": known.hardening,
        "attested": known.word != SELF_ASSERTED,
        "age_s": known.age_s,
    });
    if let Some(claims) = claims.as_object_mut() {
        let kernel = Some(&known.kernel).filter(|k| !k.is_empty());
        claims.extend(kernel.map(|k| ("kernel".to_owned(), k.clone().into())));
        let binary = known.binary.map(|b| b.to_string());
        claims.extend(binary.map(|b| ("binary".to_owned(), b.into())));
    }
    json.insert("posture".to_owned(), claims);
}

/// Why a call is refused before policies are asked.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Revoked {
    /// The stable name.
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// Whether an agent of this node is cut off.
fn is_revoked(entries: &[Revocation], agent: &Name, node: Option<&NodeId>) -> bool {
    entries.iter().any(|entry| {
        let counts = matches!(
            entry.state,
            RevocationState::Effective | RevocationState::Held
        );
        let of = |on: Option<&NodeId>| on.is_none_or(|on| Some(on) == node);
        let is = matches!(&entry.target, Target::Agent { node, name }
            if name == agent && of(node.as_ref()));
        counts && is
    })
}

/// What was not asked of any node: who is cut off for the moment, and what limits have counted.
pub(super) fn uncounted(limited: bool) -> Vec<Assumed> {
    let severed = "who is cut off for the moment was not asked: `hedgerow doctor` at either node";
    let limits = "what the nodes have counted was not asked";
    let mut told = vec![assumed("severed", "no", severed)];
    told.extend(limited.then(|| assumed("limits", "not used up", limits)));
    told
}

/// Who carries calls from this node to another.
fn carrier(host: &Name, peer: &Peer) -> (Option<Name>, String) {
    let linked = peer.state == PeerState::Connected;
    match peer.relayed_by.first().filter(|_| !linked) {
        Some(relay) => {
            let from =
                format!("this node has no link with `{host}`; `{relay}` carries calls to it");
            (Some(relay.clone()), from)
        }
        None if linked => (None, format!("this node has a link with `{host}`")),
        None => {
            let from = format!("this node has no link with `{host}`, and no relay to it");
            (None, from)
        }
    }
}

/// The way a call goes: one that names none is planned by the caller's node through whom policies
/// want and neither end is, else through who carries calls to the other end (`between`); a node that one names stands for its groups too, of which only `members` knows.
pub(super) fn way(
    bundle: &CompiledBundle,
    call: &mut TrialCall,
    members: impl Fn(&Via) -> Vec<String>,
    between: impl Fn(&TrialCall) -> (Option<Name>, String),
) -> Option<Assumed> {
    let wanted = testing::with_facts(call, |_| false, |facts| bundle.waypoints(facts));
    if let Some(given) = &call.via
        && wanted.iter().any(|w| w.via == *given)
    {
        return None;
    }
    let (met, wanted): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|w| is_end(call, &w.via));
    if let Some(given) = call.via.clone() {
        let through = members(&given);
        let holds = |via: &Via| members(via).iter().any(|node| through.contains(node));
        let group = wanted.into_iter().map(|w| w.via).find(holds)?;
        let from = format!("`{given}` is it, as this node knows it");
        let told = assumed("via", group.to_string(), from);
        call.via = Some(group);
        return Some(told);
    }
    let Some(waypoint) = wanted.first() else {
        let from = met.first().map_or_else(
            || "no policy wants a waypoint".to_owned(),
            |w| {
                let (policy, via) = (&w.policy, &w.via);
                format!("an end of the route is what policy `{policy}` wants, `{via}`")
            },
        );
        let (relay, how) = between(call);
        call.via = relay.map(Via::Node);
        let via = call.via.as_ref();
        let value = via.map_or_else(|| "direct".to_owned(), ToString::to_string);
        return Some(assumed("via", value, format!("{from}; {how}")));
    };
    call.via = Some(waypoint.via.clone());
    let more = if wanted.len() > 1 {
        ", the first of several"
    } else {
        ""
    };
    let known = if members(&waypoint.via).is_empty() {
        "this node knows no such node, and while there is none the call is refused as `no_waypoint`"
    } else {
        "whether it can be reached was not asked"
    };
    let from = format!("wanted by policy `{}`{more}; {known}", waypoint.policy);
    Some(assumed("via", waypoint.via.to_string(), from))
}

/// Whether the node of the caller or that of the server is this waypoint.
fn is_end(call: &TrialCall, via: &Via) -> bool {
    match via {
        Via::Node(node) => [&call.node, &call.host].contains(&node),
        Via::Group(group) => call.groups.contains(group) || call.host_groups.contains(group),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_is_not_assumed() {
        let given = json!({"groups": ["desk"], "time": "2026-01-05T06:44:00Z"});
        let told = without_node(given.as_object().unwrap());
        let facts: Vec<&str> = told.iter().map(|a| a.fact).collect();
        assert_eq!(
            facts,
            [
                "site",
                "posture",
                "address",
                "human",
                "host_groups",
                "intents",
                "via",
                "revoked",
                "severed"
            ]
        );
        let mut json = given.as_object().unwrap().clone();
        let mut told = Vec::new();
        membership(
            &mut json,
            vec!["hub".to_owned()],
            Some("ber".to_owned()),
            &mut told,
        );
        assert_eq!(json["groups"], json!(["desk"]));
        assert_eq!(json["site"], "ber");
        assert_eq!(told.len(), 1);
    }

    #[test]
    fn the_human_of_an_agent_of_this_node_is_known() {
        let agent = |name: &str, human: Option<&str>| Agent {
            name: name.parse().unwrap(),
            created: protocol::time::UnixSeconds(0),
            last_used: None,
            has_token: true,
            human: human.map(|human| human.parse().unwrap()),
        };
        let agents = [agent("ci", Some("ada@x.org")), agent("bot", None)];
        let of = |call: Value, node: &str| {
            let mut json = call.as_object().unwrap().clone();
            let told = human(&mut json, node, "hub", &agents);
            let named = json
                .get("human")
                .map(|human| human.as_str().unwrap().to_owned());
            (named, told)
        };
        let (named, told) = of(json!({"agent": "ci"}), "hub");
        assert_eq!(named.as_deref(), Some("ada@x.org"));
        assert_eq!((told.fact, told.value.as_str()), ("human", "ada@x.org"));
        for (call, node, says) in [
            (json!({"agent": "ci"}), "desk", "node `desk`"),
            (json!({"agent": "bot"}), "hub", "acts for nobody"),
            (json!({"agent": "other"}), "hub", "no agent `other`"),
            (json!({}), "hub", "no agent was given"),
        ] {
            let (named, told) = of(call, node);
            assert_eq!((named, told.value.as_str()), (None, "none"));
            assert!(told.from.contains(says), "{}", told.from);
        }
    }

    #[test]
    fn the_name_of_a_host_is_no_address() {
        let known = |text: &str| {
            let (mut json, mut told) = (Map::new(), Vec::new());
            address(&mut json, Some(&text.to_owned()), "here", &mut told);
            (json.contains_key("address"), told.remove(0).value)
        };
        assert_eq!(known("192.0.2.7:7443"), (true, "192.0.2.7:7443".to_owned()));
        assert_eq!(known("hub.example.org:7443"), (false, "unknown".to_owned()));
    }

    #[test]
    fn now_is_a_time_that_calls_take() {
        let call = json!({"tool": "get", "time": now().rfc3339()}).to_string();
        TrialCall::parse("call", call.as_bytes()).unwrap();
    }

    #[test]
    fn the_way_is_planned_through_what_policies_want() {
        let bundle = CompiledBundle::of(1, vec![document("node:alpha")], &[], &[]);
        let mut call = TrialCall::parse("call", br#"{"tool": "get"}"#).unwrap();
        let told = way(&bundle, &mut call, |_| vec!["alpha".to_owned()], linked).unwrap();
        assert_eq!(told.value, "node:alpha");
        assert!(!told.from.contains("no_waypoint"));
        assert!(call.via.is_some());
        assert_eq!(
            way(&bundle, &mut call, |_| Vec::new(), linked),
            None,
            "as given"
        );
    }

    #[test]
    fn an_end_of_the_route_is_a_waypoint() {
        for (via, facts) in [
            ("group:tools", r#""host_groups": ["tools"]"#),
            ("group:tools", r#""groups": ["tools"]"#),
            ("node:shop", r#""host": "shop""#),
            ("node:desk", r#""node": "desk""#),
        ] {
            let bundle = CompiledBundle::of(1, vec![document(via)], &[], &[]);
            let call = format!(r#"{{"tool": "get", {facts}}}"#);
            let mut call = TrialCall::parse("call", call.as_bytes()).unwrap();
            let told = way(&bundle, &mut call, |_| Vec::new(), linked).unwrap();
            assert_eq!((told.value.as_str(), &call.via), ("direct", &None));
            assert!(told.from.contains("policy `gate`"), "{}", told.from);
            let decision = testing::decide(&bundle, &call);
            assert!(decision.violations.is_empty(), "{via}: {decision:?}");
        }
    }

    #[test]
    fn a_relay_carries_calls_where_there_is_no_link() {
        let host: Name = "far".parse().unwrap();
        let peer = |state: &str, relays: &[&str]| -> Peer {
            let id = NodeId::from_bytes([1; 32]);
            serde_json::from_value(json!({"id": id, "state": state, "relayed_by": relays})).unwrap()
        };
        let bundle = CompiledBundle::of(1, vec![document("group:tools")], &[], &[]);
        for (peer, expected) in [
            (peer("disconnected", &["r1", "r2"]), "node:r1"),
            (peer("disconnected", &[]), "direct"),
            (peer("connected", &[]), "direct"),
        ] {
            let call = br#"{"tool": "get", "host": "far", "host_groups": ["tools"]}"#;
            let mut call = TrialCall::parse("call", call).unwrap();
            let told = way(
                &bundle,
                &mut call,
                |_| Vec::new(),
                |_| carrier(&host, &peer),
            )
            .unwrap();
            assert_eq!(told.value, expected, "{}", told.from);
            let steps = protocol::policy::explain::explain(&bundle, &call)
                .steps
                .len();
            assert_eq!(steps, if expected == "direct" { 2 } else { 3 });
        }
    }

    #[test]
    fn an_agent_is_revoked_on_its_node_or_on_all() {
        let node = NodeId::from_bytes([1; 32]);
        let entry = |of: Option<u8>, state: &str| -> Revocation {
            let node = of.map(|byte| NodeId::from_bytes([byte; 32]));
            serde_json::from_value(json!({
                "id": "00".repeat(32),
                "admin": "00".repeat(32),
                "index": 0,
                "at": 0,
                "reason": "lost",
                "target": {"agent": {"node": node, "name": "bot"}},
                "state": state,
                "link": "00".repeat(32),
            }))
            .unwrap()
        };
        let is = |agent: &str, entry| is_revoked(&[entry], &agent.parse().unwrap(), Some(&node));
        assert!(is("bot", entry(Some(1), "effective")));
        assert!(is("bot", entry(None, "held")));
        assert!(!is("bot", entry(Some(2), "effective")));
        assert!(!is("bot", entry(None, "lifted")));
        assert!(!is("other", entry(None, "effective")));
    }

    #[test]
    fn a_waypoint_that_nobody_is_is_told() {
        let bundle = CompiledBundle::of(1, vec![document("group:gateways")], &[], &[]);
        let mut call = TrialCall::parse("call", br#"{"tool": "get"}"#).unwrap();
        let told = way(&bundle, &mut call, |_| Vec::new(), linked).unwrap();
        assert!(told.from.contains("no_waypoint"), "{}", told.from);
    }

    #[test]
    fn a_node_on_the_way_stands_for_its_groups() {
        let bundle = CompiledBundle::of(1, vec![document("group:gateways")], &[], &[]);
        let call = br#"{"tool": "get", "via": "node:gate"}"#;
        let mut call = TrialCall::parse("call", call).unwrap();
        let members = |via: &Via| match via.to_string().as_str() {
            "node:gate" => vec!["gate".to_owned()],
            "group:gateways" => vec!["alpha".to_owned(), "gate".to_owned()],
            _ => Vec::new(),
        };
        let mut other = call.clone();
        let told = way(&bundle, &mut call, members, linked).unwrap();
        assert_eq!(told.value, "group:gateways");
        assert_eq!(call.via.unwrap().to_string(), "group:gateways");
        let nobody = |via: &Via| match via {
            Via::Node(node) => vec![node.to_string()],
            Via::Group(_) => vec!["alpha".to_owned()],
        };
        assert_eq!(way(&bundle, &mut other, nobody, linked), None);
        assert_eq!(other.via.unwrap().to_string(), "node:gate");
    }

    fn linked(_: &TrialCall) -> (Option<Name>, String) {
        (None, "linked".to_owned())
    }

    fn document(via: &str) -> protocol::policy::compile::CompiledPolicy {
        let json = format!(r#"{{"policy_name": "gate", "via": "{via}"}}"#);
        protocol::policy::compile::CompiledPolicy::compile(&protocol::trust::bundle::Policy {
            name: "gate".parse().unwrap(),
            media_type: protocol::policy::JSON_MEDIA_TYPE.to_owned(),
            bytes: json.into_bytes(),
        })
        .unwrap()
    }
}
