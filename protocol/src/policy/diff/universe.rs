//! The calls that are tried: made from what documents name, in an order that is always the same.

use std::collections::BTreeSet;

use super::callers::{Caller, Callers, MAX_CALLERS, callers, vouched};
use super::targets::{Called, MAX_SERVERS, MAX_TARGETS, TOOLS, servers, targets};
use super::vary::{Version, meeting, vary, versions};
use super::{Differs, MAX_TRIED};
use crate::name::Name;
use crate::policy::CompiledBundle;
use crate::policy::compile::CompiledPolicy;
use crate::policy::document::{Document, TRIAL_TIME, TrialCall};
use crate::policy::examples::MAX_EXAMPLES;
use crate::policy::facts::CallKind;
use crate::policy::glob::ItemGlob;
use crate::record::Point;

/// Most documents that do not differ whose servers, tools and callers are tried too.
const MAX_AROUND: usize = 64;

/// Most variations of one call.
const MAX_VARIED: usize = 256;

/// Most of what is named that is tried by callers who are almost named.
const MAX_FEW: usize = 24;

/// The calls, and what they leave out.
pub(super) struct Universe {
    pub(super) calls: Vec<TrialCall>,
    pub(super) not_covered: Vec<String>,
}

/// What was left out on the way.
#[derive(Default)]
struct Left {
    /// Some of what documents name.
    named: bool,
    /// Some of what can be otherwise of a call.
    varied: bool,
}

/// Makes the universe for two sets and the documents that differ.
pub(super) fn of(before: &CompiledBundle, after: &CompiledBundle, differ: &[Differs]) -> Universe {
    let sides = [before, after];
    let changed: Vec<&CompiledPolicy> = differ
        .iter()
        .flat_map(|d| sides.iter().filter_map(|side| side.policy(&d.policy)))
        .collect();
    let mut universe = Universe {
        calls: Vec::new(),
        not_covered: left_out(&changed),
    };
    let around = Around::of(&sides, &changed);
    universe.not_covered.extend(around.left_out.clone());
    let mut truncated = false;
    let mut left = Left::default();
    // Each document has its share, so that a large first one leaves room for the others.
    let share = MAX_TRIED / changed.len().max(1);
    for policy in &changed {
        let calls = match policy.document() {
            Some(document) => of_document(document, &changed, &around, &mut left),
            None => of_cedar(policy),
        };
        truncated |= calls.len() > share;
        universe.calls.extend(calls.into_iter().take(share));
    }
    if left.named {
        let why = "all of what documents name: of long lists the first, and first what changed";
        universe.not_covered.push(why.to_owned());
    }
    if left.varied {
        let why = format!("all but the first {MAX_VARIED} variations of each call");
        universe.not_covered.push(why);
    }
    if truncated {
        let why = format!("only the first {MAX_TRIED} calls were tried; compare fewer documents");
        universe.not_covered.push(why);
    }
    universe
}

fn left_out(changed: &[&CompiledPolicy]) -> Vec<String> {
    let mut out = vec![
        "what calls add up to: limits are compared, not counted".to_owned(),
        "which definitions of tools are approved: each tool is tried as approved and as not"
            .to_owned(),
    ];
    for policy in changed {
        let name = policy.name();
        match policy.document() {
            None => out.push(format!(
                "`{name}` is Cedar: its conditions were tried with the texts in it only"
            )),
            Some(document) => {
                for check in &document.requirements.arguments {
                    let witnesses = check.witnesses();
                    if witnesses.good.is_empty() {
                        let place = &check.place;
                        out.push(format!(
                            "arguments that `{place}` of `{name}` allows: none were found"
                        ));
                    } else if witnesses.at.is_empty() {
                        out.push(format!(
                            "arguments that the JSON Schema of `{name}` is about, but for values \
                             at and around bounds it names, as far as such are found: of each \
                             pattern up to {MAX_EXAMPLES} texts, and some one character away"
                        ));
                    } else if check.has_pattern() {
                        out.push(format!(
                            "arguments that the pattern at `{}` of `{name}` is about, but for up \
                             to {MAX_EXAMPLES} texts made from it, and some one character away",
                            check.place
                        ));
                    }
                }
            }
        }
    }
    out.dedup();
    out
}

/// What the documents that do not differ name: whom they permit what, others may take it from.
pub(super) struct Around {
    pub(super) servers: Vec<(String, String)>,
    pub(super) tools: Vec<ItemGlob>,
    callers: Vec<Caller>,
    /// Every human that any document names, on nodes that vouch for humans.
    vouched: Callers,
    left_out: Option<String>,
}

impl Around {
    fn of(sides: &[&CompiledBundle; 2], changed: &[&CompiledPolicy]) -> Self {
        let mut around = Self {
            servers: Vec::new(),
            tools: Vec::new(),
            callers: Vec::new(),
            vouched: vouched(sides, changed),
            left_out: None,
        };
        let differs = |p: &&CompiledPolicy| changed.iter().any(|c| c.name() == p.name());
        let kept = sides.iter().flat_map(|side| side.policies());
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        for policy in kept.filter(|p| !differs(p)) {
            let Some(document) = policy.document() else {
                continue;
            };
            if !seen.insert(policy.name().as_str()) {
                continue;
            }
            if seen.len() > MAX_AROUND {
                let why = "servers, tools and callers that only the other documents name, beyond \
                           the first 64 of these documents";
                around.left_out = Some(why.to_owned());
                break;
            }
            if let Some(globs) = &document.scope.servers {
                around.servers.extend(servers(Some(globs)));
            }
            let r = &document.requirements;
            let items = [&document.scope.tools, &r.tools].into_iter().flatten();
            around.tools.extend(items.flatten().cloned());
            around
                .callers
                .extend(callers(document, &[]).main.into_iter().skip(1));
        }
        around.servers.sort();
        around.servers.dedup();
        around.servers.truncate(MAX_SERVERS);
        around.tools.sort();
        around.tools.dedup();
        around.tools.truncate(MAX_TARGETS / 2);
        around.callers.truncate(MAX_CALLERS / 2);
        around
    }
}

fn of_document(
    document: &Document,
    changed: &[&CompiledPolicy],
    around: &Around,
    left: &mut Left,
) -> Vec<TrialCall> {
    let others: Vec<&Document> = changed
        .iter()
        .filter_map(|p| p.document())
        .filter(|d| d.name == document.name && *d != document)
        .collect();
    let mut callers = callers(document, &others);
    left.named |= callers.cut;
    let subjects = document.scope.subjects.as_ref();
    if subjects.is_none() {
        callers.main.extend(around.callers.iter().cloned());
    }
    if document.vouches || subjects.is_some_and(|s| !s.humans.is_empty()) {
        callers.main.extend(around.vouched.main.iter().cloned());
        callers.near.extend(around.vouched.near.iter().cloned());
    }
    let targets = targets(document, &others, around);
    left.named |= targets.cut;
    let versions = versions(document, changed);
    let own = Version::of(document);
    let mut calls = Vec::new();
    let plain = |calls: &mut Vec<TrialCall>, caller: &Caller, called: &Called| {
        if let Some(plain) = call(caller, called) {
            let meets = meeting(&own, &plain);
            calls.extend([plain, meets]);
        }
    };
    // Everything that is named, then what is almost named so, then all that can be otherwise of the
    // calls that are named.
    for called in &targets.main {
        for caller in &callers.main {
            plain(&mut calls, caller, called);
        }
    }
    let named = calls.clone();
    for called in few(&targets.main) {
        for caller in &callers.near {
            plain(&mut calls, caller, called);
        }
    }
    for called in &targets.near {
        for caller in &callers.main {
            plain(&mut calls, caller, called);
        }
    }
    for meets in named.iter().skip(1).step_by(2) {
        let mut seen = 0;
        vary(&versions, meets, &mut |varied| {
            if seen < MAX_VARIED {
                calls.push(varied);
            }
            seen += 1;
        });
        left.varied |= seen > MAX_VARIED;
    }
    calls
}

/// The first and the last of them: of what is named, and of every kind.
fn few(all: &[Called]) -> impl Iterator<Item = &Called> {
    let last = all.len().saturating_sub(MAX_FEW / 2).max(MAX_FEW / 2);
    let (first, rest) = all.split_at(all.len().min(MAX_FEW / 2));
    let skipped = last.saturating_sub(MAX_FEW / 2);
    first.iter().chain(rest.iter().skip(skipped))
}

/// Every text in Cedar stands for whatever it may be: a node, a group, an agent, a tool, an intent.
fn of_cedar(policy: &CompiledPolicy) -> Vec<TrialCall> {
    let text = policy.cedar();
    let mut words: Vec<&str> = text.split('"').skip(1).step_by(2).collect();
    words.sort_unstable();
    words.dedup();
    words.truncate(MAX_TARGETS);
    let mut calls = Vec::new();
    let nobody = Caller::plain();
    let tools = words.iter().copied().chain(TOOLS.iter().copied());
    for tool in tools {
        let called = Called {
            host: "host".into(),
            server: "server".into(),
            kind: CallKind::Tool,
            target: tool.replace('*', "x"),
        };
        let Some(plain) = call(&nobody, &called) else {
            continue;
        };
        for word in &words {
            let word = word.replace('*', "x");
            let word = word.rsplit('/').next().unwrap_or_default();
            if let Ok(name) = word.parse::<Name>() {
                for set in [
                    (|c: &mut TrialCall, n| c.node = n) as fn(&mut TrialCall, Name),
                    |c, n| c.agent = n,
                    |c, n| c.host = n,
                    |c, n| c.server = n,
                    |c, n| c.groups = vec![n],
                    |c, n| c.site = Some(n),
                ] {
                    let mut varied = plain.clone();
                    set(&mut varied, name.clone());
                    calls.push(varied);
                }
            }
            for set in [
                (|c: &mut TrialCall, w| c.intents = vec![w]) as fn(&mut TrialCall, String),
                |c, w| c.labels = vec![w],
                |c, w| c.human = Some(w),
                |c, w| c.address = Some(w),
            ] {
                let mut varied = plain.clone();
                set(&mut varied, word.to_owned());
                calls.push(varied);
            }
        }
        for set in [
            (|c: &mut TrialCall| c.pinned = false) as fn(&mut TrialCall),
            |c| c.approved = true,
        ] {
            let mut varied = plain.clone();
            set(&mut varied);
            calls.push(varied);
        }
        calls.push(plain);
    }
    calls
}

fn call(caller: &Caller, called: &Called) -> Option<TrialCall> {
    let method = match called.kind {
        CallKind::Tool => "tools/call",
        CallKind::Resource => "resources/read",
        CallKind::Prompt => "prompts/get",
        CallKind::Method => called.target.as_str(),
    };
    Some(TrialCall {
        agent: caller.agent.parse().ok()?,
        node: caller.node.parse().ok()?,
        groups: caller.group.iter().filter_map(|g| g.parse().ok()).collect(),
        site: None,
        human: caller.human.clone(),
        human_vouched: None,
        host: called.host.parse().ok()?,
        host_groups: Vec::new(),
        server: called.server.parse().ok()?,
        kind: called.kind,
        method: method.to_owned(),
        target: (called.kind != CallKind::Method).then(|| called.target.clone()),
        arguments: None,
        intents: Vec::new(),
        labels: Vec::new(),
        address: None,
        posture: None,
        time: TRIAL_TIME,
        via: None,
        pinned: true,
        approved: false,
        point: Point::Egress,
    })
}
