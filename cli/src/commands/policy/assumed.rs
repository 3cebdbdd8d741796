//! What the explanation of a call that was not made takes for granted, and where it has it from.
//!
//! What the call does not say is taken from the mesh as it is now, as far as this node knows it. The
//! rest is as in the tests of documents. All of it is told.

use protocol::control::{Peer, PostureInfo, PostureReport, Status, Tool, route};
use protocol::policy::document::{TrialCall, Via};
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

/// Where no node is asked.
pub(super) fn without_node(json: &Map<String, Value>) -> Vec<Assumed> {
    let facts = [
        ("groups", "none"),
        ("site", "none"),
        ("posture", "unknown"),
        ("address", "unknown"),
        ("time", "2026-01-05T12:00:00Z"),
        ("via", "direct"),
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
}

impl Known {
    pub(super) async fn ask(client: &Client) -> Result<Self, Failed> {
        Ok(Self {
            status: client.read(route::STATUS).await?,
            peers: client.read(route::PEERS).await?,
            postures: client.read(route::POSTURES).await?,
            tools: client.read(route::TOOLS).await?,
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
        let peer = self
            .peers
            .iter()
            .find(|p| p.name.as_ref().is_some_and(|name| name.as_str() == node));
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
        if !json.contains_key("time") {
            let time = instant();
            told.push(assumed("time", &time, "now, by the clock of this host"));
            json.insert("time".to_owned(), time.into());
        }
        told
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

fn membership(
    json: &mut Map<String, Value>,
    groups: Vec<String>,
    site: Option<String>,
    told: &mut Vec<Assumed>,
) {
    let from = "its membership, as this node knows it";
    if !json.contains_key("groups") {
        let value = if groups.is_empty() {
            "none".to_owned()
        } else {
            groups.join(", ")
        };
        told.push(assumed("groups", value, from));
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
        Some(address) => {
            told.push(assumed("address", address, from));
            json.insert("address".to_owned(), address.clone().into());
        }
        None => told.push(assumed(
            "address",
            "unknown",
            "this node has no link with it",
        )),
    }
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
        let binary = known.binary.map(|b| hex_of(b.as_bytes()));
        claims.extend(binary.map(|b| ("binary".to_owned(), b.into())));
    }
    json.insert("posture".to_owned(), claims);
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Now, as tests of documents write it.
fn instant() -> String {
    let text = now().calendar();
    let text = text.trim_end_matches(" UTC").trim_end_matches('Z');
    format!("{}Z", text.replacen(' ', "T", 1))
}

/// The way a call goes that names none: the caller's node plans it through whom policies want.
pub(super) fn way(bundle: &CompiledBundle, call: &mut TrialCall) -> Assumed {
    let wanted = testing::with_facts(call, |_| false, |facts| bundle.waypoints(facts));
    let Some(waypoint) = wanted.first() else {
        return assumed("via", "direct", "no policy wants a waypoint");
    };
    let text = match &waypoint.via {
        Via::Group(name) => format!("group:{name}"),
        Via::Node(name) => format!("node:{name}"),
    };
    call.via = Some(waypoint.via.clone());
    let more = if wanted.len() > 1 {
        ", the first of several"
    } else {
        ""
    };
    let from = format!(
        "wanted by policy `{}`{more}; whether it can be reached was not asked",
        waypoint.policy
    );
    assumed("via", text, from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_is_not_assumed() {
        let given = json!({"groups": ["desk"], "time": "2026-01-05T06:44:00Z"});
        let told = without_node(given.as_object().unwrap());
        let facts: Vec<&str> = told.iter().map(|a| a.fact).collect();
        assert_eq!(facts, ["site", "posture", "address", "via"]);
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
    fn now_is_a_time_that_calls_take() {
        let call = json!({"tool": "get", "time": instant()}).to_string();
        TrialCall::parse("call", call.as_bytes()).unwrap();
    }

    #[test]
    fn the_way_is_planned_through_what_policies_want() {
        let document = |json: &str| {
            let bytes = json.as_bytes().to_vec();
            protocol::policy::compile::CompiledPolicy::compile(&protocol::trust::bundle::Policy {
                name: "gate".parse().unwrap(),
                media_type: protocol::policy::JSON_MEDIA_TYPE.to_owned(),
                bytes,
            })
            .unwrap()
        };
        let gate = document(r#"{"policy_name": "gate", "via": "node:alpha"}"#);
        let bundle = CompiledBundle::of(1, vec![gate], &[], &[]);
        let mut call = TrialCall::parse("call", br#"{"tool": "get"}"#).unwrap();
        let told = way(&bundle, &mut call);
        assert_eq!(told.value, "node:alpha");
        assert!(call.via.is_some());
    }
}
