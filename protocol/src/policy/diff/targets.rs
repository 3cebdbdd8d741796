//! What is called: the servers and targets that documents name, and what is almost called so.

use std::collections::BTreeSet;

use super::callers::{changed_first, name_of, names_of, text_of};
use super::universe::Around;
use crate::policy::document::Document;
use crate::policy::examples::of_glob;
use crate::policy::facts::CallKind;
use crate::policy::glob::{ItemGlob, NodeGlob};

/// Most servers and targets tried for one document.
pub(super) const MAX_TARGETS: usize = 96;

/// Most targets tried beside them, of globs that another version of the document does not have.
const MAX_NEAR: usize = 192;

/// Most servers tried for one document.
pub(super) const MAX_SERVERS: usize = 6;

/// Most servers tried beside them.
const MAX_NEAR_SERVERS: usize = 24;

/// Most targets tried on each server that is almost called as a document says.
const MAX_ON_NEAR: usize = 8;

/// A URI with several readings, for documents that are about resources.
const AMBIGUOUS: &str = "file:///x/../x";

/// Names of tools that intend one thing each, for documents that are about intents.
pub(super) const TOOLS: &[&str] = &[
    "get_it",
    "update_it",
    "delete_it",
    "run_it",
    "send_it",
    "frobnicate",
];

/// What is called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Called {
    pub(super) host: String,
    pub(super) server: String,
    pub(super) kind: CallKind,
    pub(super) target: String,
}

/// The targets tried for a document.
pub(super) struct Targets {
    /// What it names, on its servers, and something of every kind.
    pub(super) main: Vec<Called>,
    /// Others at the edge of what its globs match.
    pub(super) near: Vec<Called>,
    /// Whether some were left out.
    pub(super) cut: bool,
}

/// What a document is about, and what its other versions permit or forbid there.
pub(super) fn targets(document: &Document, others: &[&Document], around: &Around) -> Targets {
    let own = document.scope.servers.as_deref();
    let mut servers: Vec<(String, String)> = servers(own);
    let mut cut = own.is_some_and(|globs| globs.len() > MAX_SERVERS);
    let mut out: BTreeSet<Called> = BTreeSet::new();
    if own.is_none() {
        servers.extend(around.servers.iter().cloned());
    }
    for item in &around.tools {
        let target = text_of(&item.item);
        place(&mut out, &servers, CallKind::Tool, Some(item), &target);
    }
    for one in core::iter::once(&document).chain(others) {
        named(one, &servers, &mut out);
    }
    out.extend(usual(&servers));
    // What the document names comes before what it does not.
    let usual = |called: &Called| TOOLS.contains(&called.target.as_str());
    let mut main: Vec<Called> = out.into_iter().collect();
    main.sort_by_key(|called| (usual(called), called.clone()));
    cut |= main.len() > MAX_TARGETS;
    main.truncate(MAX_TARGETS);
    let mut near = Vec::new();
    beside(document, others, &servers, &mut near);
    on_near_servers(document, others, &main, &mut near);
    let known: BTreeSet<&Called> = main.iter().collect();
    let mut seen: BTreeSet<Called> = BTreeSet::new();
    near.retain(|called| !known.contains(called) && seen.insert(called.clone()));
    cut |= near.len() > MAX_NEAR;
    near.truncate(MAX_NEAR);
    Targets { main, near, cut }
}

/// What a version of a document names, a text of each glob.
fn named(one: &Document, servers: &[(String, String)], out: &mut BTreeSet<Called>) {
    for (kind, list) in items(one) {
        for item in list.into_iter().flatten() {
            place(out, servers, kind, Some(item), &text_of(&item.item));
        }
    }
    let r = &one.requirements;
    let resources = [&one.scope.resources, &r.resources];
    for glob in resources.into_iter().flatten().flatten() {
        let text = glob.as_str().replace('*', "x");
        place(out, servers, CallKind::Resource, None, &text);
        place(out, servers, CallKind::Resource, None, AMBIGUOUS);
        // A URI that documents are asked about begins with its scheme.
        if let Some(behind) = glob.as_str().strip_prefix('*') {
            let text = format!("file:///x{}", behind.replace('*', "x"));
            place(out, servers, CallKind::Resource, None, &text);
        }
    }
    let intents = &r.intents;
    let words = intents.restricted.iter().chain(&intents.restricted_seed);
    for word in words.chain(intents.allowed.iter().flatten()) {
        place(out, servers, CallKind::Tool, None, word);
    }
}

/// The lists of tools and prompts of a document.
fn items(one: &Document) -> [(CallKind, Option<&[ItemGlob]>); 4] {
    let (scope, r) = (&one.scope, &one.requirements);
    [
        (CallKind::Tool, scope.tools.as_deref()),
        (CallKind::Tool, r.tools.as_deref()),
        (CallKind::Prompt, scope.prompts.as_deref()),
        (CallKind::Prompt, r.prompts.as_deref()),
    ]
}

/// Of each glob that another version lacks, texts at the edge of what it matches: of its own name, and
/// of where it lies.
fn beside(
    document: &Document,
    others: &[&Document],
    servers: &[(String, String)],
    out: &mut Vec<Called>,
) {
    let mut add = |kind, item: Option<&ItemGlob>, text: &str| {
        let mut placed = BTreeSet::new();
        place(&mut placed, servers, kind, item, text);
        out.extend(placed);
    };
    let mut lying: Vec<(CallKind, &ItemGlob)> = Vec::new();
    for (place, (kind, list)) in items(document).into_iter().enumerate() {
        // An absent list means all: every entry is new.
        let lists: Vec<&[ItemGlob]> = others
            .iter()
            .filter_map(|o| items(o).into_iter().nth(place))
            .map(|(_, list)| list.unwrap_or_default())
            .collect();
        let changed = changed_first(list.unwrap_or_default(), &lists);
        for (item, _) in changed.into_iter().filter(|(_, changed)| *changed) {
            let texts = of_glob(item.item.as_str());
            for text in texts.iter().filter(|text| !text.is_empty()) {
                add(kind, Some(item), text);
            }
            lying.push((kind, item));
        }
    }
    let resources = |d: &'_ Document| [d.scope.resources.clone(), d.requirements.resources.clone()];
    for (place, list) in resources(document).into_iter().enumerate() {
        let of = |other: &&Document| resources(other).into_iter().nth(place).flatten();
        let lists: Vec<_> = others.iter().map(|o| of(o).unwrap_or_default()).collect();
        let lists: Vec<_> = lists.iter().map(Vec::as_slice).collect();
        let own = list.unwrap_or_default();
        for (glob, _) in changed_first(&own, &lists).iter().filter(|(_, c)| *c) {
            let texts = of_glob(glob.as_str());
            for text in texts.iter().filter(|text| !text.is_empty()) {
                add(CallKind::Resource, None, text);
            }
        }
    }
    for (kind, item) in lying {
        out.extend(elsewhere(kind, item, servers));
    }
}

/// An item on servers and nodes at the edge of what its glob says of them.
fn elsewhere(kind: CallKind, item: &ItemGlob, servers: &[(String, String)]) -> Vec<Called> {
    let mut placed = BTreeSet::new();
    place(&mut placed, servers, kind, Some(item), &text_of(&item.item));
    let Some(at) = placed.into_iter().next() else {
        return Vec::new();
    };
    let on = item.server.iter().flat_map(names_of).map(|server| Called {
        server,
        ..at.clone()
    });
    let hosts = item
        .node
        .iter()
        .flat_map(names_of)
        .map(|host| Called { host, ..at.clone() });
    on.chain(hosts).collect()
}

/// Some of what is called, on servers at the edge of what the document's scope says of them.
fn on_near_servers(
    document: &Document,
    others: &[&Document],
    main: &[Called],
    out: &mut Vec<Called>,
) {
    let lists: Vec<&[NodeGlob]> = others
        .iter()
        .map(|o| o.scope.servers.as_deref().unwrap_or_default())
        .collect();
    let own = document.scope.servers.as_deref().unwrap_or_default();
    let changed = changed_first(own, &lists);
    let mut near: Vec<(String, String)> = Vec::new();
    for (glob, _) in changed.into_iter().filter(|(_, changed)| *changed) {
        let Some((host, _)) = plain(glob) else {
            continue;
        };
        near.extend(names_of(&glob.name).map(|server| (host.clone(), server)));
        if let Some(server) = name_of(&glob.name) {
            let hosts = glob.node.iter().flat_map(names_of);
            near.extend(hosts.map(|host| (host, server.clone())));
        }
    }
    near.truncate(MAX_NEAR_SERVERS);
    // What the document names, and tools that intend one thing each.
    let mut some: Vec<(CallKind, &str)> = Vec::new();
    let usual = main.iter().filter(|c| c.kind == CallKind::Tool).rev();
    for called in main.iter().take(MAX_ON_NEAR / 2).chain(usual) {
        let one = (called.kind, called.target.as_str());
        if some.len() < MAX_ON_NEAR && !some.contains(&one) {
            some.push(one);
        }
    }
    // One on each server before another on any.
    for (kind, target) in some {
        out.extend(near.iter().map(|(host, server)| Called {
            host: host.clone(),
            server: server.clone(),
            kind,
            target: target.to_owned(),
        }));
    }
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

/// One server of each glob; some server where there is no list.
pub(super) fn servers(globs: Option<&[NodeGlob]>) -> Vec<(String, String)> {
    let Some(globs) = globs else {
        return vec![("host".to_owned(), "server".to_owned())];
    };
    globs.iter().filter_map(plain).take(MAX_SERVERS).collect()
}

/// The plainest node and server that a glob matches.
fn plain(glob: &NodeGlob) -> Option<(String, String)> {
    let node = glob.node.as_ref();
    let host = node.map_or(Some("host".to_owned()), name_of)?;
    Some((host, name_of(&glob.name)?))
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
