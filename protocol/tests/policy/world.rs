//! A call to decide on, and bundles to decide with.

use protocol::envelope::{Direction, Kind};
use protocol::id::{Digest, NodeId};
use protocol::mcp::{Annotations, Target, TargetKind, derive_intents};
use protocol::name::Name;
use protocol::policy::{
    CEDAR_MEDIA_TYPE, CompiledBundle, Decision, Facts, JSON_MEDIA_TYPE, Party, Policy as _,
    PolicyError, Posture, Verdict,
};
use protocol::record::Point;
use protocol::time::UnixMillis;
use protocol::trust::bundle::{BundleBody, Label, Pin, Policy};

/// The digest of every approved definition.
pub(crate) const PINNED: Digest = Digest::from_bytes([0x33; 32]);

/// Sunday, 22 November 2026, 12:00 UTC.
pub(crate) const NOON: UnixMillis = UnixMillis(1_795_348_800_000);

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A node.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) name: Name,
    pub(crate) groups: Vec<Name>,
    pub(crate) site: Option<Name>,
}

pub(crate) fn node(text: &str, groups: &[&str]) -> Node {
    let mut id = [0; 32];
    id.iter_mut().zip(text.bytes()).for_each(|(to, b)| *to = b);
    Node {
        id: NodeId::from_bytes(id),
        name: name(text),
        groups: groups.iter().map(|g| name(g)).collect(),
        site: None,
    }
}

impl Node {
    pub(crate) fn party(&self) -> Party<'_> {
        Party {
            node: self.id,
            name: &self.name,
            groups: &self.groups,
            site: self.site.as_ref(),
        }
    }
}

/// A call, by default of the pinned tool `get_product_info` of `shop` on `store` by `assistant`
/// on `desk`, at egress.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) point: Point,
    pub(crate) now: UnixMillis,
    pub(crate) caller: Node,
    pub(crate) host: Node,
    pub(crate) agent: Name,
    pub(crate) human: Option<String>,
    pub(crate) human_vouched: bool,
    pub(crate) address: Option<String>,
    pub(crate) posture: Option<Posture>,
    pub(crate) kind: Kind,
    pub(crate) direction: Direction,
    pub(crate) server: Name,
    pub(crate) method: String,
    pub(crate) target: Option<String>,
    pub(crate) digest: Option<Digest>,
    pub(crate) intents: Vec<String>,
    pub(crate) labels: Vec<String>,
    pub(crate) route: Vec<Node>,
    pub(crate) approved: bool,
    pub(crate) body: Option<Vec<u8>>,
}

impl Call {
    /// A request of `method` for `target`, with the intents derived from it.
    pub(crate) fn of(method: &str, target: Option<&str>) -> Self {
        let what = match method {
            "tools/call" => TargetKind::Tool,
            "prompts/get" => TargetKind::Prompt,
            _ => TargetKind::Resource,
        };
        let named = target.map(|t| Target {
            what,
            name: t.into(),
        });
        let hints = Annotations::default();
        Self {
            point: Point::Egress,
            now: NOON,
            caller: node("desk", &["staff"]),
            host: node("store", &["servers"]),
            agent: name("assistant"),
            human: None,
            human_vouched: false,
            address: Some("10.1.2.3:4444".to_owned()),
            posture: None,
            kind: Kind::Request,
            direction: Direction::ToServer,
            server: name("shop"),
            method: method.to_owned(),
            target: target.map(str::to_owned),
            digest: (what == TargetKind::Tool).then_some(PINNED),
            intents: derive_intents(method, named.as_ref(), Some(&hints)),
            labels: Vec::new(),
            route: Vec::new(),
            approved: false,
            body: Some(b"{}".to_vec()),
        }
    }

    pub(crate) fn tool(tool: &str) -> Self {
        let mut call = Self::of("tools/call", Some(tool));
        call.arguments("{}");
        call
    }

    pub(crate) fn resource(uri: &str) -> Self {
        Self::of("resources/read", Some(uri))
    }

    pub(crate) fn prompt(prompt: &str) -> Self {
        Self::of("prompts/get", Some(prompt))
    }

    pub(crate) fn arguments(&mut self, json: &str) -> &mut Self {
        let tool = self.target.as_deref().unwrap_or_default();
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{json}}}}}"#
        );
        self.body = Some(body.into_bytes());
        self
    }

    /// As a relay sees it: without its body.
    pub(crate) fn relayed(&mut self) -> &mut Self {
        self.point = Point::Relay;
        self.body = None;
        self
    }

    /// Decides on it.
    pub(crate) fn facts<T>(&self, decide: impl FnOnce(&Facts<'_>) -> T) -> T {
        let (issuer, audience) = match self.direction {
            Direction::ToServer => (&self.caller, &self.host),
            Direction::ToClient => (&self.host, &self.caller),
        };
        let route: Vec<Party<'_>> = self.route.iter().map(Node::party).collect();
        decide(&Facts {
            point: self.point,
            now: self.now,
            issuer: issuer.party(),
            audience: audience.party(),
            agent: &self.agent,
            human: self.human.as_deref(),
            human_vouched: self.human_vouched,
            observed_address: self.address.as_deref(),
            posture: self.posture.as_ref(),
            kind: self.kind,
            direction: self.direction,
            server: &self.server,
            method: &self.method,
            target: self.target.as_deref(),
            tool_digest: self.digest,
            intents: &self.intents,
            labels: &self.labels,
            route: &route,
            approved: self.approved,
            body: self.body.as_deref(),
        })
    }

    pub(crate) fn decide(&self, bundle: &CompiledBundle) -> Decision {
        self.facts(|facts| bundle.evaluate(facts))
    }

    /// The verdict's name and, unless allowed, its reason.
    pub(crate) fn says(&self, bundle: &CompiledBundle) -> String {
        said(&self.decide(bundle))
    }
}

pub(crate) fn said(decision: &Decision) -> String {
    match &decision.verdict {
        Verdict::Allow(_) => "allow".to_owned(),
        other => format!("{} {}", other.name(), other.denial().unwrap().reason),
    }
}

/// Pins of these tools of `shop`.
pub(crate) fn pins(tools: &[&str]) -> Vec<Pin> {
    let mut pins: Vec<Pin> = tools
        .iter()
        .map(|tool| Pin {
            server: name("shop"),
            tool: (*tool).to_owned(),
            digest: PINNED,
        })
        .collect();
    pins.sort();
    pins
}

/// A body of documents as their authors wrote them; those that do not start with `{` are Cedar.
pub(crate) fn body(documents: &[(&str, &str)], pinned: &[&str]) -> BundleBody {
    let mut policies: Vec<Policy> = documents
        .iter()
        .map(|(name, text)| Policy {
            name: name.parse().unwrap(),
            media_type: if text.trim_start().starts_with('{') {
                JSON_MEDIA_TYPE.to_owned()
            } else {
                CEDAR_MEDIA_TYPE.to_owned()
            },
            bytes: text.as_bytes().to_vec(),
        })
        .collect();
    policies.sort_by(|a, b| a.name.cmp(&b.name));
    BundleBody {
        policies,
        pins: pins(pinned),
        labels: vec![Label {
            target: "shop/get_patient".to_owned(),
            labels: vec!["phi".to_owned()],
        }],
        sites: Vec::new(),
    }
}

/// The bundle of documents that are all good.
pub(crate) fn bundle(documents: &[(&str, &str)], pinned: &[&str]) -> CompiledBundle {
    match CompiledBundle::compile(3, &body(documents, pinned)) {
        Ok(bundle) => bundle,
        Err(errors) => panic!("{}", listed(&errors)),
    }
}

pub(crate) fn listed(errors: &[PolicyError]) -> String {
    let lines: Vec<String> = errors
        .iter()
        .map(|e| format!("{} {e}\nhint: {}", e.reason(), e.hint()))
        .collect();
    lines.join("\n")
}

/// A document named `p`, of these further members.
pub(crate) fn p(members: &str) -> String {
    format!(r#"{{"policy_name": "p", {members}}}"#)
}

/// The bundle of the one document [`p`] gives, with these tools pinned.
pub(crate) fn one(members: &str, pinned: &[&str]) -> CompiledBundle {
    bundle(&[("p", &p(members))], pinned)
}
