//! `hedgerow policy explain`: which rule decides, at which hop, on which facts.

use std::collections::BTreeMap;
use std::path::PathBuf;

use protocol::control::{Tool, route};
use protocol::policy::document::{TrialCall, Via};
use protocol::policy::explain::{Explained, Step, explain, rule_cedar};
use protocol::policy::testing::is_vouched;
use protocol::policy::{CallKind, CompiledBundle, PolicyError, Problem, Verdict};
use protocol::record::Point;
use protocol::trust::bundle::BundleBody;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::assumed::{Assumed, Known, Revoked};
use super::{assumed, files, history, sets};
use crate::client::Client;
use crate::commands::Context;
use crate::commands::decisions::{find, view};
use crate::exit::Failed;
use crate::output::Text;

/// Say which rule decides a call, at which hop, on which facts.
///
/// With a number: a decision that was taken, with what is recorded of it. Otherwise a call, given
/// by options or as JSON in the form of the tests of documents: what each hop would say of it under
/// the policies in force, or under those of `--policies` alone, which needs no node. What is not
/// given is taken from the mesh as this node knows it now (the groups, site, posture and address of
/// the agent's node, the human that an agent of this node acts for, the groups of the server's
/// node, the time, the waypoints policies want), and told below. Who is cut off for the moment, and
/// what limits have counted, is not asked.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow policy explain 4711
  hedgerow policy explain --agent claude --node desk --server shop --tool update_price
  hedgerow policy explain --server shop --tool order --arguments '{\"amount\": 600}' --policies new.json
  hedgerow policy explain --call '{\"server\": \"shop\", \"tool\": \"get_it\", \"labels\": [\"phi\"]}'")]
pub(super) struct Explain {
    /// The number of a decision, as `decisions list` shows it
    #[arg(conflicts_with_all = ["call", "tool", "resource", "prompt", "policies"])]
    number: Option<u64>,
    /// The call as JSON, in the form of the tests of documents; options add to it
    #[arg(long, value_name = "JSON")]
    call: Option<String>,
    /// The tool
    #[arg(long)]
    tool: Option<String>,
    /// The resource
    #[arg(long)]
    resource: Option<String>,
    /// The prompt
    #[arg(long)]
    prompt: Option<String>,
    /// The server
    #[arg(long)]
    server: Option<String>,
    /// The server's node
    #[arg(long)]
    host: Option<String>,
    /// A group of the server's node; may be given several times
    #[arg(long = "host-group", value_name = "GROUP")]
    host_groups: Vec<String>,
    /// The agent
    #[arg(long)]
    agent: Option<String>,
    /// The human the agent's node asserts; if not given, the one that the agent of this node acts
    /// for
    #[arg(long)]
    human: Option<String>,
    /// The agent's node
    #[arg(long)]
    node: Option<String>,
    /// A group of the agent's node; may be given several times
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// The site of the agent's node
    #[arg(long)]
    site: Option<String>,
    /// The address of the agent's node as the next hop sees it
    #[arg(long)]
    address: Option<String>,
    /// When, in UTC, as `2026-11-22T19:30:00Z`
    #[arg(long)]
    time: Option<String>,
    /// A waypoint on its route, as `group:NAME` or `node:NAME`
    #[arg(long)]
    via: Option<String>,
    /// The arguments, a JSON object
    #[arg(long, value_name = "JSON")]
    arguments: Option<String>,
    /// Only the policies of these files and directories
    #[arg(long, value_name = "FILE", num_args = 1..)]
    policies: Vec<PathBuf>,
}

/// A call in the form of a test's.
#[derive(Serialize)]
struct Given {
    #[serde(flatten)]
    facts: Map<String, Value>,
    /// As they were written: their numbers are compared by the value that stands there, which a
    /// double may not hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments: Option<Box<RawValue>>,
}

/// What every hop says.
#[derive(Serialize)]
struct Told {
    bundle: u64,
    pinned: bool,
    /// Whether it calls a tool.
    #[serde(skip)]
    tool: bool,
    /// Where a human is asserted: whether a document lets the caller's node vouch for humans.
    #[serde(skip_serializing_if = "Option::is_none")]
    human_vouched: Option<bool>,
    verdict: &'static str,
    /// Why it is refused whatever the policies say.
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked: Option<Revoked>,
    /// What was not given, and from where it was taken.
    assumed: Vec<Assumed>,
    /// At which hop.
    at: &'static str,
    hops: Vec<Hop>,
}

#[derive(Serialize)]
struct Hop {
    at: &'static str,
    /// Whether it sees the arguments.
    full: bool,
    verdict: &'static str,
    /// Whether it lets the call on only because the server's node will hold it.
    passes_on: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    message: Option<String>,
    permitted_by: Vec<String>,
    violations: Vec<Violated>,
    observed: Vec<Violated>,
    limits: Vec<String>,
}

#[derive(Serialize)]
struct Violated {
    policy: String,
    rule: String,
    action: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cedar: Option<String>,
}

impl Explain {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failed> {
        if let Some(number) = self.number {
            return recorded(context, number).await;
        }
        let Given {
            facts: mut json,
            arguments,
        } = self.given()?;
        let (mut assumed, mut known) = (Vec::new(), None);
        let bundle = if self.policies.is_empty() {
            let client = context.client()?;
            let running = sets::running(&client).await?;
            if running.version == 0 {
                return Err(
                    Failed::input("there is no bundle: members may call everything")
                        .with_reason("no_bundle")
                        .with_hint("name documents with `--policies`, or apply some"),
                );
            }
            let compiled = running.compiled()?;
            let asked = Known::ask(&client).await?;
            assumed.extend(asked.complete(&mut json));
            known = Some(asked);
            if !json.contains_key("pinned") {
                let pinned = pinned(&client, &compiled, &json).await?;
                json.insert("pinned".to_owned(), pinned.into());
            }
            compiled
        } else {
            assumed.extend(assumed::without_node(&json));
            let loaded = files::load(&sets::documents(&self.policies)?)?;
            let compiled = loaded.into_iter().map(|l| l.compiled).collect();
            CompiledBundle::of(0, compiled, &[], &[])
        };
        let given = Given {
            facts: json,
            arguments,
        };
        let text = serde_json::to_vec(&given).map_err(|error| not_json("the call", &error))?;
        let mut call = TrialCall::parse("the call", &text).map_err(refused)?;
        let mut revoked = None;
        if let Some(known) = &known {
            let members = |via: &Via| known.waypoints(via);
            assumed.extend(assumed::way(&bundle, &mut call, members, |call| {
                known.between(call)
            }));
            match known.revoked(&call) {
                Ok(not) => assumed.push(not),
                Err(why) => revoked = Some(why),
            }
        }
        let explained = explain(&bundle, &call);
        if known.is_some() {
            let limited = |step: &Step| !step.decision.limits.is_empty();
            assumed.extend(assumed::uncounted(explained.steps.iter().any(limited)));
        }
        let mut told = told(&bundle, &call, &explained, assumed);
        if revoked.is_some() {
            // Every node asks that first, so the caller's refuses.
            (told.verdict, told.at) = ("deny", at(Point::Ingress));
            told.revoked = revoked;
        }
        context.output.data(&told, |text| show(&told, text))
    }

    fn given(&self) -> Result<Given, Failed> {
        let (mut json, mut arguments) = (Map::new(), None);
        if let Some(text) = &self.call {
            let what = "the call";
            for (key, value) in members(what, object(what, "", text)?)? {
                if key == ARGUMENTS {
                    arguments = Some(value.to_owned());
                    continue;
                }
                let value = serde_json::from_str(value.get());
                json.insert(key, value.map_err(|error| not_json(what, &error))?);
            }
        }
        let given = [
            ("tool", &self.tool),
            ("resource", &self.resource),
            ("prompt", &self.prompt),
            ("server", &self.server),
            ("host", &self.host),
            ("agent", &self.agent),
            ("human", &self.human),
            ("node", &self.node),
            ("site", &self.site),
            ("address", &self.address),
            ("time", &self.time),
            ("via", &self.via),
        ];
        for (key, value) in given {
            if let Some(value) = value {
                json.insert(key.to_owned(), value.clone().into());
            }
        }
        for (key, groups) in [("groups", &self.groups), ("host_groups", &self.host_groups)] {
            if !groups.is_empty() {
                json.insert(key.to_owned(), groups.clone().into());
            }
        }
        if let Some(text) = &self.arguments {
            let place = format!("/{ARGUMENTS}");
            let given = object("what `--arguments` gives", &place, text)?;
            arguments = Some(given.to_owned());
        }
        if json.is_empty() && arguments.is_none() {
            return Err(Failed::input("nothing to explain")
                .with_reason("no_call")
                .with_hint("give the number of a decision, or a call: `--server`, `--tool`"));
        }
        Ok(Given {
            facts: json,
            arguments,
        })
    }
}

/// The key of the arguments of a call.
const ARGUMENTS: &str = "arguments";

fn not_json(what: &str, error: &serde_json::Error) -> Failed {
    Failed::input(format!("{what} is not JSON: {error}"))
}

/// The members of an object, each as it was written.
fn members<'a>(what: &str, object: &'a RawValue) -> Result<BTreeMap<String, &'a RawValue>, Failed> {
    serde_json::from_str(object.get()).map_err(|error| not_json(what, &error))
}

/// Reads an object that stands at `place` of a call. Keys named twice are refused, as they are in
/// tests of documents and by the mesh.
fn object<'a>(what: &str, place: &str, text: &'a str) -> Result<&'a RawValue, Failed> {
    let given: &RawValue = serde_json::from_str(text).map_err(|error| not_json(what, &error))?;
    if !given.get().starts_with('{') {
        return Err(Failed::input(format!("{what} is not a JSON object")));
    }
    // It is one JSON value: as the arguments of a call it is read strictly, whatever it holds.
    let probe = format!(r#"{{"tool": "probe", "arguments": {text}}}"#);
    let Err(mut errors) = TrialCall::parse("the call", probe.as_bytes()) else {
        return Ok(given);
    };
    errors.retain(|error| matches!(error.problem, Problem::DuplicateKey(_)));
    for error in &mut errors {
        if let Some(below) = error.path.strip_prefix("/arguments") {
            error.path = format!("{place}{below}");
        }
    }
    if errors.is_empty() {
        // What else is wrong with it is said of the whole call.
        return Ok(given);
    }
    Err(refused(errors))
}

/// What is wrong with a call that was given.
fn refused(errors: Vec<PolicyError>) -> Failed {
    let from = |error| (PathBuf::from("command line"), error);
    files::refused(&errors.into_iter().map(from).collect::<Vec<_>>())
}

/// Whether the tool is approved as it is announced now.
async fn pinned(
    client: &Client,
    bundle: &CompiledBundle,
    json: &Map<String, Value>,
) -> Result<bool, Failed> {
    let text = |key: &str| json.get(key).and_then(Value::as_str);
    let (Some(server), Some(name)) = (text("server"), text("tool")) else {
        return Ok(false);
    };
    let tools: Vec<Tool> = client.read(route::TOOLS).await?;
    let mut found = tools.iter().filter(|tool| {
        let host = text("host").is_none_or(|host| tool.node.as_str() == host);
        host && tool.server.as_str() == server && tool.name == name
    });
    Ok(found.any(|tool| {
        let digest = tool.digest.parse();
        digest.is_ok_and(|digest| bundle.is_pinned(server, name, &digest))
    }))
}

fn told(
    bundle: &CompiledBundle,
    call: &TrialCall,
    explained: &Explained,
    assumed: Vec<Assumed>,
) -> Told {
    let hops = explained.steps.iter();
    let hops: Vec<Hop> = hops.map(|step| hop(bundle, step)).collect();
    let deciding = explained.deciding();
    Told {
        bundle: bundle.version(),
        pinned: call.pinned,
        human_vouched: call.human.as_ref().map(|_| is_vouched(bundle, call)),
        verdict: deciding.map_or("", |s| s.decision.verdict.name()),
        revoked: None,
        tool: call.kind == CallKind::Tool,
        assumed,
        at: deciding.map_or("", |s| at(s.point)),
        hops,
    }
}

const fn at(point: Point) -> &'static str {
    match point {
        Point::Ingress => "the caller's node",
        Point::Relay => "a relay",
        Point::Egress | Point::Link => "the server's node",
    }
}

fn hop(bundle: &CompiledBundle, step: &Step) -> Hop {
    let (point, decision) = (step.point, &step.decision);
    let violated = |v: &protocol::policy::Violation| Violated {
        policy: v.policy.clone(),
        rule: v.rule.clone(),
        action: v.action.name(),
        message: v.message.clone(),
        cedar: bundle
            .policy(&v.policy)
            .and_then(|policy| rule_cedar(policy, &v.rule)),
    };
    let denial = decision.verdict.denial();
    let limits = decision.limits.iter();
    Hop {
        at: at(point),
        full: point != Point::Relay,
        verdict: decision.verdict.name(),
        passes_on: step.passes_on,
        reason: denial.map(|d| d.reason.clone()),
        message: denial.map(|d| d.message.clone()),
        permitted_by: decision.granted_by.clone(),
        violations: decision.violations.iter().map(violated).collect(),
        observed: decision.observed.iter().map(violated).collect(),
        limits: limits
            .filter(|_| matches!(decision.verdict, Verdict::Allow(_)))
            .map(|l| format!("`{}`, per {}", l.policy, l.per.name()))
            .collect(),
    }
}

fn show(told: &Told, text: &mut Text) {
    text.line(format!("{}, decided at {}", told.verdict, told.at));
    if let Some(revoked) = &told.revoked {
        text.field("because", &revoked.message);
        text.field("reason", revoked.reason);
        text.line("");
        text.line("What policies alone say:");
    }
    for hop in &told.hops {
        text.heading(format!("At {}: {}", hop.at, hop.verdict));
        if !hop.full {
            text.line("  sees the signed header alone, no arguments");
        }
        if hop.passes_on {
            text.line("  passes it on: the server's node holds it until it is approved");
        }
        if let Some(message) = &hop.message {
            text.field("because", message);
        }
        if let Some(reason) = &hop.reason {
            text.field("reason", reason);
        }
        for violated in &hop.violations {
            text.field(
                "violates",
                format!(
                    "`{}` of `{}` ({})",
                    violated.rule, violated.policy, violated.action
                ),
            );
        }
        if !hop.permitted_by.is_empty() {
            text.field("permitted by", hop.permitted_by.join(", "));
        }
        for limit in &hop.limits {
            text.field("counts for", limit);
        }
        for observed in &hop.observed {
            text.field(
                "observed",
                format!("`{}` of `{}` would object", observed.rule, observed.policy),
            );
        }
    }
    let tool = if told.pinned {
        "an approved"
    } else {
        "no approved"
    };
    text.line("");
    if told.tool {
        text.line(format!("the tool's definition counts as {tool} one"));
    }
    match told.human_vouched {
        Some(true) => text.line("the caller's node vouches for the human"),
        Some(false) => text.line(
            "nobody vouches for the human: documents can restrict the call by it, not permit it",
        ),
        None => {}
    }
    if !told.assumed.is_empty() {
        text.heading("Assumed, for it was not given");
        for assumed in &told.assumed {
            text.field(
                assumed.fact,
                format!("{} ({})", assumed.value, assumed.from),
            );
        }
    }
}

/// A decision that was taken, and the rule as it stood in the bundle of that version.
#[derive(Serialize)]
struct Recorded {
    #[serde(flatten)]
    shown: find::Shown,
    /// The rule, from the bundle it was decided under, where that is still kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cedar: Option<String>,
}

async fn recorded(context: &Context, number: u64) -> Result<(), Failed> {
    let client = context.client()?;
    let shown = find::find(&client, number).await?;
    let decision = &shown.decision;
    let rule = decision.basis.as_ref().and_then(|b| b.rule.clone());
    let mut told = Recorded {
        rule: None,
        cedar: None,
        shown: shown.clone(),
    };
    if let (Some(policy), Some(rule)) = (&decision.policy, &rule)
        && let Ok(bundle) = history::past(&client, decision.bundle).await
    {
        let body = sets::body(&bundle)?;
        (told.rule, told.cedar) = rule_of(&body, policy, rule);
    }
    context.output.data(&told, |text| {
        let shown = &told.shown;
        view::whole(&shown.decision, shown.definition, text);
        if shown.decision.basis.is_none() {
            text.line("");
            text.line(unasked(&shown.decision));
        }
        if let Some(rule) = &told.rule {
            let bundle = shown.decision.bundle;
            text.heading(format!("The rule, as it stood in bundle {bundle}"));
            text.line(format!("  {rule}"));
        }
        if !shown.call.is_empty() {
            text.heading("The rest of this call, as this node decided it");
            let rows: Vec<Vec<String>> = shown.call.iter().map(view::row).collect();
            text.table(view::HEADERS, &rows);
        }
    })
}

/// Whether a reason is one of what becomes of a held call.
fn is_of_approval(reason: &str) -> bool {
    reason.starts_with("approval_")
}

/// Why no rule can be shown.
fn unasked(decision: &protocol::control::Decision) -> &'static str {
    match (decision.verdict.as_str(), decision.policy.is_some()) {
        ("allow", _) if decision.reason.is_none() => {
            "it passed with the facts of the request it belongs to"
        }
        _ if decision.reason.as_deref().is_some_and(is_of_approval) => {
            "the policy held the call before: this is how that went on"
        }
        (_, true) if decision.reason.as_deref() == Some("no_waypoint") => {
            "no route was found that passes what the policy wants calls to pass"
        }
        (_, true) => "a policy had stopped this caller before",
        (_, false) => "a check before policy stopped it: the reason names the check",
    }
}

/// The value at a rule's place, and the Cedar it became.
fn rule_of(body: &BundleBody, policy: &str, rule: &str) -> (Option<Value>, Option<String>) {
    let Some(carried) = body.policies.iter().find(|p| p.name.as_str() == policy) else {
        return (None, None);
    };
    let json: Option<Value> = serde_json::from_slice(&carried.bytes).ok();
    let value = json.as_ref().and_then(|json| json.pointer(rule)).cloned();
    let compiled = protocol::policy::compile::CompiledPolicy::compile(carried).ok();
    let cedar = compiled.and_then(|policy| rule_cedar(&policy, rule));
    (value, cedar)
}
