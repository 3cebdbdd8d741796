//! Runs the tests that documents carry, on the whole bundle: what counts is what all say together.

use super::CompiledBundle;
use super::document::{Trial, TrialCall, Via};
use super::facts::{Facts, Party};
use super::verdict::{Decision, Policy as _, Verdict};
use crate::envelope::{Direction, Kind};
use crate::id::NodeId;
use crate::mcp::{Target, TargetKind, derive_intents, quote};
use crate::name::Name;
use crate::policy::facts::CallKind;
use crate::record::Point;

/// What came of one test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The document it stands in.
    pub policy: String,
    /// Its name.
    pub name: String,
    /// The verdict expected, by its name.
    pub expected: &'static str,
    /// The document expected to decide, where one is.
    pub by: Option<String>,
    /// What was decided.
    pub decision: Decision,
    /// Whether that is what was expected.
    pub passed: bool,
}

/// Runs every test of every document, in their order.
#[must_use]
pub fn run(bundle: &CompiledBundle) -> Vec<Outcome> {
    let documents = bundle.policies().iter().filter_map(|p| p.document());
    let tests = documents.flat_map(|d| d.tests.iter().map(move |test| (d, test)));
    tests
        .map(|(document, test)| {
            let decision = decide(bundle, &test.call);
            Outcome {
                policy: document.name.to_string(),
                name: test.name.clone(),
                expected: test.expect,
                by: test.by.clone(),
                passed: passed(test, &decision),
                decision,
            }
        })
        .collect()
}

fn passed(test: &Trial, decision: &Decision) -> bool {
    let decided = |by: &String| match &decision.verdict {
        Verdict::Allow(_) => decision.granted_by.contains(by),
        other => other.denial().and_then(|d| d.policy.as_ref()) == Some(by),
    };
    decision.verdict.name() == test.expect && test.by.as_ref().is_none_or(decided)
}

/// Decides on the call of a test.
#[must_use]
pub fn decide(bundle: &CompiledBundle, call: &TrialCall) -> Decision {
    let vouches = |node: Party<'_>| bundle.vouches_for_humans(node);
    with_facts(call, vouches, |facts| {
        bundle.evaluate_pinned(facts, call.pinned)
    })
}

/// Whether the human of a test's call is vouched for: as the test says, else as the documents do.
#[must_use]
pub fn is_vouched(bundle: &CompiledBundle, call: &TrialCall) -> bool {
    let vouches = |node: Party<'_>| bundle.vouches_for_humans(node);
    with_facts(call, vouches, |facts| facts.human_vouched)
}

/// Decides on the result of the call of a test, one with this text; without it on the header alone:
/// what is then said is what must be done with any.
#[must_use]
pub fn decide_result(bundle: &CompiledBundle, call: &TrialCall, text: Option<&str>) -> Decision {
    let body = text.map(|text| {
        let text = quote(text);
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"result":{{"content":[{{"type":"text","text":{text}}}]}}}}"#
        )
    });
    let vouches = |node: Party<'_>| bundle.vouches_for_humans(node);
    with_facts(call, vouches, |facts| {
        let result = Facts {
            issuer: facts.audience,
            audience: facts.issuer,
            kind: Kind::Response,
            direction: Direction::ToClient,
            body: body.as_deref().map(str::as_bytes),
            ..*facts
        };
        bundle.evaluate_pinned(&result, call.pinned)
    })
}

/// The facts of the call of a test. Its tool digest is absent: whether the tool is pinned is the
/// test's to say. Whether its node may vouch for humans is `vouches`' to say, unless the test does.
pub fn with_facts<T>(
    call: &TrialCall,
    vouches: impl FnOnce(Party<'_>) -> bool,
    then: impl FnOnce(&Facts<'_>) -> T,
) -> T {
    let caller = Party {
        node: node_id(&call.node),
        name: &call.node,
        groups: &call.groups,
        site: call.site.as_ref(),
    };
    let host = Party {
        node: node_id(&call.host),
        name: &call.host,
        groups: &call.host_groups,
        site: None,
    };
    let intents = intents(call);
    let body = body(call);
    let waypoint_groups = match &call.via {
        Some(Via::Group(name)) => vec![name.clone()],
        Some(Via::Node(_)) | None => Vec::new(),
    };
    let nameless = Name::operator();
    let waypoint = call.via.as_ref().map(|via| {
        let name = match via {
            Via::Node(name) => name,
            Via::Group(_) => &nameless,
        };
        Party {
            node: node_id(name),
            name,
            groups: &waypoint_groups,
            site: None,
        }
    });
    let route: Vec<Party<'_>> = core::iter::once(caller)
        .chain(waypoint)
        .chain([host])
        .collect();
    then(&Facts {
        point: call.point,
        now: call.time,
        issuer: caller,
        audience: host,
        agent: &call.agent,
        human: call.human.as_deref(),
        human_vouched: call.human.is_some()
            && call.human_vouched.unwrap_or_else(|| vouches(caller)),
        observed_address: call.address.as_deref(),
        posture: call.posture.as_ref(),
        kind: Kind::Request,
        direction: Direction::ToServer,
        server: &call.server,
        method: &call.method,
        target: call.target.as_deref(),
        tool_digest: None,
        intents: &intents,
        labels: &call.labels,
        route: &route,
        approved: call.approved,
        body: body.as_deref().filter(|_| call.point != Point::Relay),
    })
}

/// Stands for a node of this name; no key has it.
fn node_id(name: &Name) -> NodeId {
    let mut bytes = [0; 32];
    let text = name.as_str().bytes();
    bytes.iter_mut().zip(text).for_each(|(to, from)| *to = from);
    NodeId::from_bytes(bytes)
}

fn intents(call: &TrialCall) -> Vec<String> {
    let target = call.target.as_deref().map(|name| Target {
        what: match call.kind {
            CallKind::Tool => TargetKind::Tool,
            CallKind::Prompt => TargetKind::Prompt,
            CallKind::Resource | CallKind::Method => TargetKind::Resource,
        },
        name: name.into(),
    });
    let mut intents = derive_intents(&call.method, target.as_ref(), None);
    intents.extend(call.intents.iter().cloned());
    intents.sort_unstable();
    intents.dedup();
    intents
}

fn body(call: &TrialCall) -> Option<Vec<u8>> {
    let arguments = call.arguments.as_deref().unwrap_or("{}");
    let method = quote(&call.method);
    let target = call.target.as_deref().map(quote);
    let params = match call.kind {
        CallKind::Tool | CallKind::Prompt => {
            format!(r#"{{"name":{},"arguments":{arguments}}}"#, target?)
        }
        CallKind::Resource => format!(r#"{{"uri":{}}}"#, target?),
        CallKind::Method => "{}".to_owned(),
    };
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":{method},"params":{params}}}"#);
    Some(body.into_bytes())
}
