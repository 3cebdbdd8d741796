//! The calls that are tried: made from what documents name, in an order that is always the same.

use std::collections::BTreeSet;

use super::{Differs, MAX_TRIED};
use crate::mcp::word;
use crate::name::Name;
use crate::policy::CompiledBundle;
use crate::policy::compile::CompiledPolicy;
use crate::policy::document::{
    Check, Device, Document, Hours, Json, Network, TRIAL_TIME, TrialCall, Witnesses,
};
use crate::policy::facts::{CallKind, Posture};
use crate::policy::glob::{Glob, ItemGlob, NodeGlob};
use crate::record::Point;
use crate::time::UnixMillis;

/// Most callers tried for one document.
const MAX_CALLERS: usize = 12;

/// Most servers and targets tried for one document.
const MAX_TARGETS: usize = 96;

/// Most servers tried for one document.
const MAX_SERVERS: usize = 6;

/// Most documents that do not differ whose servers, tools and callers are tried too.
const MAX_AROUND: usize = 64;

/// Most variations of one call.
const MAX_VARIED: usize = 160;

/// Names of tools that intend one thing each, for documents that are about intents.
const TOOLS: &[&str] = &[
    "get_it",
    "update_it",
    "delete_it",
    "run_it",
    "send_it",
    "frobnicate",
];

/// The calls, and what they leave out.
pub(super) struct Universe {
    pub(super) calls: Vec<TrialCall>,
    pub(super) not_covered: Vec<String>,
}

/// Who calls.
#[derive(Clone)]
struct Caller {
    node: String,
    agent: String,
    group: Option<String>,
    human: Option<String>,
}

/// What is called.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Called {
    host: String,
    server: String,
    kind: CallKind,
    target: String,
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
    let mut cut = false;
    // Each document has its share, so that a large first one leaves room for the others.
    let share = MAX_TRIED / changed.len().max(1);
    for policy in &changed {
        let calls = match policy.document() {
            Some(document) => of_document(document, &changed, &around, &mut cut),
            None => of_cedar(policy),
        };
        truncated |= calls.len() > share;
        universe.calls.extend(calls.into_iter().take(share));
    }
    if cut {
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
                             at and around bounds it names, as far as such are found: of patterns those without \
                             groups, classes and escapes"
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
struct Around {
    servers: Vec<(String, String)>,
    tools: Vec<ItemGlob>,
    callers: Vec<Caller>,
    /// Every human that any document names, on nodes that vouch for humans.
    vouched: Vec<Caller>,
    left_out: Option<String>,
}

impl Around {
    fn of(sides: &[&CompiledBundle; 2], changed: &[&CompiledPolicy]) -> Self {
        let mut around = Self {
            servers: Vec::new(),
            tools: Vec::new(),
            callers: Vec::new(),
            vouched: vouched(sides),
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
            around.callers.extend(callers(document).into_iter().skip(1));
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
    cut: &mut bool,
) -> Vec<TrialCall> {
    let mut calls = Vec::new();
    let mut callers = callers(document);
    let subjects = document.scope.subjects.as_ref();
    if subjects.is_none() {
        callers.extend(around.callers.iter().cloned());
    }
    if document.vouches || subjects.is_some_and(|s| !s.humans.is_empty()) {
        callers.extend(around.vouched.iter().cloned());
    }
    let targets = targets(document, changed, around);
    let versions = versions(document, changed);
    let own = Version::of(document);
    for called in &targets {
        for caller in &callers {
            let Some(plain) = call(caller, called) else {
                continue;
            };
            let meets = meeting(&own, &plain);
            calls.push(plain);
            let mut seen = 0;
            vary(&versions, &meets, &mut |varied| {
                if seen < MAX_VARIED {
                    calls.push(varied);
                }
                seen += 1;
            });
            *cut |= seen > MAX_VARIED;
            calls.push(meets);
        }
    }
    calls
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

impl Caller {
    fn plain() -> Self {
        Self {
            node: "caller".into(),
            agent: "agent".into(),
            group: None,
            human: None,
        }
    }
}

/// Texts that a glob matches, as names.
fn name_of(glob: &Glob) -> Option<String> {
    ["", "x", "1"].iter().find_map(|fill| {
        let text = glob.as_str().replace('*', fill);
        text.parse::<Name>().ok().map(|_| text)
    })
}

/// A text that a glob matches; of words, where it begins or ends so, such as derive an intent.
fn text_of(glob: &Glob) -> String {
    match glob.as_str() {
        "*" => "get_it".to_owned(),
        text => text.replace('*', "x"),
    }
}

fn callers(document: &Document) -> Vec<Caller> {
    let plain = Caller::plain();
    let mut out = vec![plain.clone()];
    let Some(subjects) = &document.scope.subjects else {
        return out;
    };
    let with = |change: &dyn Fn(&mut Caller)| {
        let mut caller = plain.clone();
        change(&mut caller);
        caller
    };
    for name in subjects.groups.iter().filter_map(name_of) {
        out.push(with(&|c| c.group = Some(name.clone())));
    }
    for name in subjects.nodes.iter().filter_map(name_of) {
        out.push(with(&|c| c.node.clone_from(&name)));
    }
    for agent in &subjects.agents {
        let (Some(name), node) = (name_of(&agent.name), agent.node.as_ref().and_then(name_of))
        else {
            continue;
        };
        out.push(with(&|c| {
            c.agent.clone_from(&name);
            if let Some(node) = &node {
                c.node.clone_from(node);
            }
        }));
    }
    for human in &subjects.humans {
        out.push(with(&|c| c.human = Some(text_of(human))));
    }
    out.truncate(MAX_CALLERS);
    out
}

/// The humans that documents of either side name, each on a node that one of them lets vouch.
fn vouched(sides: &[&CompiledBundle; 2]) -> Vec<Caller> {
    let documents = || {
        let policies = sides.iter().flat_map(|side| side.policies());
        policies.filter_map(CompiledPolicy::document)
    };
    let named = documents().filter_map(|d| d.scope.subjects.as_ref());
    let humans: BTreeSet<String> = named
        .flat_map(|s| &s.humans)
        .map(text_of)
        .take(MAX_CALLERS)
        .collect();
    let mut out = Vec::new();
    for vouching in documents().filter(|d| d.vouches) {
        for caller in callers(vouching).into_iter().skip(1) {
            out.extend(humans.iter().map(|human| Caller {
                human: Some(human.clone()),
                ..caller.clone()
            }));
        }
        if out.len() > MAX_CALLERS {
            break;
        }
    }
    out.truncate(MAX_CALLERS);
    out
}

/// What a document is about, and what the other documents that differ permit or forbid there.
fn targets(document: &Document, changed: &[&CompiledPolicy], around: &Around) -> Vec<Called> {
    let mut servers: Vec<(String, String)> = servers(document.scope.servers.as_deref());
    let mut out: BTreeSet<Called> = BTreeSet::new();
    if document.scope.servers.is_none() {
        servers.extend(around.servers.iter().cloned());
    }
    for item in &around.tools {
        place(
            &mut out,
            &servers,
            CallKind::Tool,
            Some(item),
            &text_of(&item.item),
        );
    }
    let others = changed.iter().filter_map(|p| p.document());
    let others = others.filter(|d| d.name == document.name);
    for one in others {
        let r = &one.requirements;
        let items = [&one.scope.tools, &r.tools].into_iter().flatten().flatten();
        for item in items {
            place(
                &mut out,
                &servers,
                CallKind::Tool,
                Some(item),
                &text_of(&item.item),
            );
        }
        let items = [&one.scope.prompts, &r.prompts]
            .into_iter()
            .flatten()
            .flatten();
        for item in items {
            place(
                &mut out,
                &servers,
                CallKind::Prompt,
                Some(item),
                &text_of(&item.item),
            );
        }
        for glob in [&one.scope.resources, &r.resources]
            .into_iter()
            .flatten()
            .flatten()
        {
            let text = glob.as_str().replace('*', "x");
            place(&mut out, &servers, CallKind::Resource, None, &text);
        }
        let intents = &r.intents;
        let words = intents.restricted.iter().chain(&intents.restricted_seed);
        for word in words.chain(intents.allowed.iter().flatten()) {
            place(&mut out, &servers, CallKind::Tool, None, word);
        }
    }
    out.extend(usual(&servers));
    // What the document names comes before what it does not.
    let named = |called: &Called| TOOLS.contains(&called.target.as_str());
    let mut out: Vec<Called> = out.into_iter().collect();
    out.sort_by_key(|called| (named(called), called.clone()));
    out.truncate(MAX_TARGETS);
    out
}

/// Something of every kind, and a tool for each intent.
fn usual(servers: &[(String, String)]) -> BTreeSet<Called> {
    let mut out = BTreeSet::new();
    for tool in TOOLS {
        place(&mut out, servers, CallKind::Tool, None, tool);
    }
    place(&mut out, servers, CallKind::Resource, None, "file:///x");
    place(&mut out, servers, CallKind::Prompt, None, "x");
    place(&mut out, servers, CallKind::Method, None, "tasks/get");
    out
}

fn servers(globs: Option<&[NodeGlob]>) -> Vec<(String, String)> {
    let Some(globs) = globs else {
        return vec![("host".to_owned(), "server".to_owned())];
    };
    let named = globs.iter().filter_map(|glob| {
        let host = glob
            .node
            .as_ref()
            .map_or(Some("host".to_owned()), name_of)?;
        Some((host, name_of(&glob.name)?))
    });
    named.take(MAX_SERVERS).collect()
}

fn place(
    out: &mut BTreeSet<Called>,
    servers: &[(String, String)],
    kind: CallKind,
    item: Option<&ItemGlob>,
    target: &str,
) {
    let located = item.and_then(|item| item.server.as_ref().map(|server| (item, server)));
    for (host, server) in servers {
        let (mut host, mut server) = (host.clone(), server.clone());
        if let Some((item, on)) = located {
            // Where the scope's own server is meant too, it stays.
            if !on.matches(&server) {
                let Some(name) = name_of(on) else { continue };
                server = name;
            }
            if let Some(node) = item.node.as_ref().filter(|node| !node.matches(&host)) {
                let Some(name) = name_of(node) else { continue };
                host = name;
            }
        }
        out.insert(Called {
            host,
            server,
            kind,
            target: target.to_owned(),
        });
    }
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

/// A version of a document, with values for the checks of its arguments.
struct Version<'a> {
    document: &'a Document,
    arguments: Vec<Witnesses>,
}

impl<'a> Version<'a> {
    fn of(document: &'a Document) -> Self {
        let checks = document.requirements.arguments.iter();
        Self {
            document,
            arguments: checks.map(Check::witnesses).collect(),
        }
    }
}

/// The versions of a document there are, among those that differ.
fn versions<'a>(document: &Document, changed: &[&'a CompiledPolicy]) -> Vec<Version<'a>> {
    let versions = changed.iter().filter_map(|p| p.document());
    let versions = versions.filter(|d| d.name == document.name);
    versions.map(Version::of).collect()
}

/// `plain` with everything that the document asks of a call.
fn meeting(version: &Version<'_>, plain: &TrialCall) -> TrialCall {
    let r = &version.document.requirements;
    let mut call = plain.clone();
    call.posture = r.device.as_ref().map(fit);
    if let Some(location) = &r.location {
        let site = location.sites.iter().flatten().find_map(name_of);
        call.site = site.and_then(|site| site.parse().ok());
        let network = location.networks.iter().flatten().next();
        call.address = network.map(|network| network.base.to_string());
    }
    if let Some(minute) = r.time.as_ref().and_then(|t| t.stretches().first().copied()) {
        call.time = at_minute(minute.0);
    }
    call.via.clone_from(&r.via);
    call.arguments = arguments(version, None);
    call
}

/// From a call that meets a document, every other with one fact at a bound or beyond it: those of
/// each version of the document.
fn vary(versions: &[Version<'_>], meets: &TrialCall, then: &mut dyn FnMut(TrialCall)) {
    let mut with = |change: &dyn Fn(&mut TrialCall)| {
        let mut call = meets.clone();
        change(&mut call);
        if call != *meets {
            then(call);
        }
    };
    with(&|c| c.pinned = false);
    with(&|c| c.approved = true);
    // Where only the signed header decides, and where addresses are not known.
    with(&|c| c.point = Point::Relay);
    with(&|c| c.point = Point::Ingress);
    for one in versions {
        let r = &one.document.requirements;
        let intents = &r.intents;
        let words = intents.restricted.iter().chain(&intents.restricted_seed);
        for word in words.chain(intents.allowed.iter().flatten()) {
            with(&|c| c.intents = vec![word.clone()]);
        }
        with(&|c| c.intents = vec![word::UNCLASSIFIED.to_owned()]);
        if let Some(labels) = &r.labels {
            for label in labels
                .restricted
                .iter()
                .chain(labels.allowed.iter().flatten())
            {
                with(&|c| c.labels = vec![label.clone()]);
            }
            with(&|c| c.labels = vec!["other".to_owned()]);
        }
        if let Some(device) = &r.device {
            with(&|c| c.posture = None);
            for posture in postures(device) {
                with(&|c| c.posture = Some(posture.clone()));
            }
        }
        if let Some(location) = &r.location {
            with(&|c| c.site = None);
            for site in location.sites.iter().flatten().filter_map(name_of) {
                with(&|c| c.site = site.parse().ok());
            }
            for network in location.networks.iter().flatten() {
                with(&|c| c.address = Some(network.base.to_string()));
                with(&|c| c.address = beyond(network));
            }
        }
        for minute in r.time.iter().flat_map(minutes) {
            with(&|c| c.time = at_minute(minute));
        }
        with(&|c| c.via.clone_from(&r.via));
        with(&|c| c.via = None);
        with(&|c| c.arguments = arguments(one, None));
        for (place, witnesses) in one.arguments.iter().enumerate() {
            // The first good one stands in the call that meets all.
            for value in witnesses.good.iter().skip(1).chain(&witnesses.bad) {
                with(&|c| c.arguments = arguments(one, Some((place, value))));
            }
        }
    }
}

/// A posture that a document finds good.
fn fit(device: &Device) -> Posture {
    let os = device.os.iter().flatten().next();
    Posture {
        os: os.map_or_else(|| "linux".to_owned(), |os| os.as_str().replace('*', "x")),
        kernel: device.min_kernel.unwrap_or((6, 1, 0)),
        secure_boot: device.secure_boot,
        disk_encryption: device.disk_encryption,
        uptime_s: device.max_uptime_s.unwrap_or(0),
        binary: device.binaries.iter().flatten().next().copied(),
        hardening: device.hardening.clone(),
        attested: device.attested,
        age_s: device.max_age_s.unwrap_or(0),
    }
}

/// The good posture, and it with one claim just beyond what is asked.
fn postures(device: &Device) -> Vec<Posture> {
    let good = fit(device);
    let worse: [fn(&mut Posture); 9] = [
        |p| "other".clone_into(&mut p.os),
        |p| {
            let (major, minor, patch) = p.kernel;
            p.kernel = match (minor, patch) {
                (0, 0) => (major.saturating_sub(1), u16::MAX, 0),
                (_, 0) => (major, minor - 1, u16::MAX),
                _ => (major, minor, patch - 1),
            };
        },
        |p| p.secure_boot = false,
        |p| p.disk_encryption = false,
        |p| p.uptime_s = p.uptime_s.saturating_add(1),
        |p| p.age_s = p.age_s.saturating_add(1),
        |p| p.binary = None,
        |p| p.hardening.clear(),
        |p| p.attested = false,
    ];
    let changed = worse.iter().map(|change| {
        let mut posture = good.clone();
        change(&mut posture);
        posture
    });
    core::iter::once(good.clone()).chain(changed).collect()
}

/// An address of the same kind that is just outside of a network.
fn beyond(network: &Network) -> Option<String> {
    use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    Some(match network.base {
        IpAddr::V4(ip) => {
            let size = 1_u32.checked_shl(32 - u32::from(network.bits))?;
            Ipv4Addr::from_bits(ip.to_bits().wrapping_add(size)).to_string()
        }
        IpAddr::V6(ip) => {
            let size = 1_u128.checked_shl(128 - u32::from(network.bits))?;
            Ipv6Addr::from_bits(ip.to_bits().wrapping_add(size)).to_string()
        }
    })
}

/// The first and last minute of every stretch, and those just outside.
fn minutes(hours: &Hours) -> Vec<u16> {
    let week = crate::policy::document::WEEK;
    let around = |(begin, end): (u16, u16)| {
        [
            begin,
            (begin + week - 1) % week,
            (end + week - 1) % week,
            end % week,
        ]
    };
    hours.stretches().into_iter().flat_map(around).collect()
}

/// A moment of the week of [`TRIAL_TIME`], which begins on that Monday.
fn at_minute(minute: u16) -> UnixMillis {
    const HALF_A_DAY_MS: u64 = 12 * 3_600_000;
    UnixMillis(TRIAL_TIME.0 - HALF_A_DAY_MS + u64::from(minute) * 60_000)
}

/// Arguments that meet every check, as far as values were found, but for the one at a place: there
/// this value. `None` where nothing is asked of them.
fn arguments(version: &Version<'_>, varied: Option<(usize, &Json)>) -> Option<String> {
    let mut root = Json::Object(Vec::new());
    let mut places: Vec<(usize, &Witnesses)> = version.arguments.iter().enumerate().collect();
    // What a schema allows is all of them; single values go into it.
    places.sort_by_key(|(_, witnesses)| !witnesses.at.is_empty());
    for (place, witnesses) in places {
        let value = match varied {
            Some((at, value)) if at == place => Some(value),
            _ => witnesses.good.first(),
        };
        if let Some(value) = value {
            put(&mut root, &witnesses.at, value.clone());
        }
    }
    match &root {
        Json::Object(members) if members.is_empty() => None,
        root => Some(root.to_text()),
    }
}

/// Puts a value at a pointer, making objects on the way.
fn put(root: &mut Json, pointer: &str, value: Json) {
    let mut at = root;
    for step in pointer.split('/').skip(1) {
        let step = step.replace("~1", "/").replace("~0", "~");
        if !matches!(at, Json::Object(_)) {
            *at = Json::Object(Vec::new());
        }
        let Json::Object(members) = at else { return };
        if !members.iter().any(|(key, _)| *key == step) {
            members.push((step.clone(), Json::Null));
        }
        let Some((_, below)) = members.iter_mut().find(|(key, _)| *key == step) else {
            return;
        };
        at = below;
    }
    *at = value;
}
