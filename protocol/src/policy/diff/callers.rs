//! Who calls: whom documents name, and whoever is almost called so.

use std::collections::BTreeSet;

use crate::name::Name;
use crate::policy::CompiledBundle;
use crate::policy::compile::CompiledPolicy;
use crate::policy::document::{Document, Subjects};
use crate::policy::examples::of_glob;
use crate::policy::glob::{Glob, NodeGlob};

/// Most callers tried for one document, one of each glob.
pub(super) const MAX_CALLERS: usize = 12;

/// Most callers tried beside them, of globs that another version of the document does not have.
const MAX_NEAR: usize = 48;

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) node: String,
    pub(super) agent: String,
    pub(super) group: Option<String>,
    pub(super) human: Option<String>,
}

impl Caller {
    pub(super) fn plain() -> Self {
        Self {
            node: "caller".into(),
            agent: "agent".into(),
            group: None,
            human: None,
        }
    }

    fn with(change: impl FnOnce(&mut Self)) -> Self {
        let mut caller = Self::plain();
        change(&mut caller);
        caller
    }
}

/// The callers tried for a document.
#[derive(Debug, Clone, Default)]
pub(super) struct Callers {
    /// Somebody whom nothing names, then one of each glob.
    pub(super) main: Vec<Caller>,
    /// Others at the edge of what globs match.
    pub(super) near: Vec<Caller>,
    /// Whether some were left out.
    pub(super) cut: bool,
}

/// Texts that a glob matches, as names.
pub(super) fn names_of(glob: &Glob) -> impl Iterator<Item = String> + use<> {
    let texts = of_glob(glob.as_str()).into_iter();
    texts.filter(|text| text.parse::<Name>().is_ok())
}

/// The plainest name that a glob matches.
pub(super) fn name_of(glob: &Glob) -> Option<String> {
    names_of(glob).find(|text| glob.matches(text))
}

/// A text that a glob matches; of words, where it begins or ends so, such as derive an intent.
pub(super) fn text_of(glob: &Glob) -> String {
    match glob.as_str() {
        "*" => "get_it".to_owned(),
        text => text.replace('*', "x"),
    }
}

/// The entries of a list with whether some other version of the document lacks them, those first. An
/// entry of a document of which there is no other version counts as such.
pub(super) fn changed_first<'a, T: PartialEq>(
    own: &'a [T],
    others: &[&'a [T]],
) -> Vec<(&'a T, bool)> {
    let lacked = |entry: &T| others.is_empty() || others.iter().any(|list| !list.contains(entry));
    let (changed, kept): (Vec<&T>, Vec<&T>) = own.iter().partition(|entry| lacked(entry));
    let changed = changed.into_iter().map(|entry| (entry, true));
    changed
        .chain(kept.into_iter().map(|entry| (entry, false)))
        .collect()
}

/// Whom a document names; `others` are other versions of it.
pub(super) fn callers(document: &Document, others: &[&Document]) -> Callers {
    let mut out = Callers {
        main: vec![Caller::plain()],
        ..Callers::default()
    };
    let Some(subjects) = &document.scope.subjects else {
        return out;
    };
    let none = Subjects::default();
    let others: Vec<&Subjects> = others
        .iter()
        .map(|d| d.scope.subjects.as_ref().unwrap_or(&none))
        .collect();
    let globs = |list: for<'a> fn(&'a Subjects) -> &'a Vec<Glob>| {
        let others: Vec<&[Glob]> = others.iter().map(|s| list(s).as_slice()).collect();
        changed_first(list(subjects), &others)
    };
    // Of each glob the callers it makes, the plainest first, and whether it changed.
    let mut made: Vec<(Vec<Caller>, bool)> = Vec::new();
    for (glob, changed) in globs(|s| &s.groups) {
        let callers = names_of(glob).map(|name| Caller::with(|c| c.group = Some(name)));
        made.push((callers.collect(), changed));
    }
    for (glob, changed) in globs(|s| &s.nodes) {
        let callers = names_of(glob).map(|name| Caller::with(|c| c.node = name));
        made.push((callers.collect(), changed));
    }
    let agents: Vec<&[NodeGlob]> = others.iter().map(|s| s.agents.as_slice()).collect();
    for (glob, changed) in changed_first(&subjects.agents, &agents) {
        made.push((agents_of(glob), changed));
    }
    for (glob, changed) in globs(|s| &s.humans) {
        let texts = core::iter::once(text_of(glob)).chain(of_glob(glob.as_str()));
        let texts = texts.filter(|text| !text.is_empty());
        let callers = texts.map(|text| Caller::with(|c| c.human = Some(text)));
        made.push((callers.collect(), changed));
    }
    made.sort_by_key(|(_, changed)| !changed);
    out.main.extend(
        made.iter()
            .filter_map(|(callers, _)| callers.first().cloned()),
    );
    let near: Vec<&[Caller]> = made
        .iter()
        .filter(|(_, changed)| *changed)
        .filter_map(|(callers, _)| callers.get(1..))
        .collect();
    out.near = by_rounds(&near);
    out.cut = out.main.len() > MAX_CALLERS || out.near.len() > MAX_NEAR;
    out.main.truncate(MAX_CALLERS);
    out.near.truncate(MAX_NEAR);
    out
}

/// The agents that a glob makes: other agents on the one node, and the agent on other nodes.
fn agents_of(glob: &NodeGlob) -> Vec<Caller> {
    let Some(agent) = name_of(&glob.name) else {
        return Vec::new();
    };
    let node = glob.node.as_ref().map(name_of);
    // A node that no name matches has no agents.
    let Some(node) = node.unwrap_or_else(|| Some(Caller::plain().node)) else {
        return Vec::new();
    };
    let on = |node: &str, agent: &str| {
        Caller::with(|c| (c.node, c.agent) = (node.to_owned(), agent.to_owned()))
    };
    let mut out = vec![on(&node, &agent)];
    out.extend(names_of(&glob.name).map(|agent| on(&node, &agent)));
    out.extend(
        glob.node
            .iter()
            .flat_map(names_of)
            .map(|node| on(&node, &agent)),
    );
    let mut seen: Vec<Caller> = Vec::new();
    out.retain(|caller| {
        let new = !seen.contains(caller);
        seen.extend(new.then(|| caller.clone()));
        new
    });
    out
}

/// The first of each list, the second of each, and so on.
pub(super) fn by_rounds<T: Clone>(lists: &[&[T]]) -> Vec<T> {
    let longest = lists.iter().map(|list| list.len()).max().unwrap_or(0);
    let rounds = (0..longest).flat_map(|n| lists.iter().filter_map(move |list| list.get(n)));
    rounds.cloned().collect()
}

/// The humans that documents of either side name, each on a node that one of them lets vouch. Where
/// that document is one of those that differ, also on nodes that are almost called so.
pub(super) fn vouched(sides: &[&CompiledBundle; 2], changed: &[&CompiledPolicy]) -> Callers {
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
    let mut out = Callers::default();
    for vouching in documents().filter(|d| d.vouches) {
        let versions: Vec<&Document> = changed.iter().filter_map(|p| p.document()).collect();
        let differs = versions.contains(&vouching);
        let others: Vec<&Document> = versions
            .into_iter()
            .filter(|d| d.name == vouching.name && *d != vouching)
            .collect();
        let callers = callers(vouching, &others);
        for caller in callers.main.into_iter().skip(1) {
            out.main.extend(humans.iter().map(|human| Caller {
                human: Some(human.clone()),
                ..caller.clone()
            }));
        }
        if differs {
            out.near.extend(callers.near.into_iter().flat_map(|caller| {
                let few = humans.iter().take(2);
                few.map(move |human| Caller {
                    human: Some(human.clone()),
                    ..caller.clone()
                })
            }));
        }
        if out.main.len() > MAX_CALLERS {
            break;
        }
    }
    out.main.truncate(MAX_CALLERS);
    out.near.truncate(MAX_NEAR);
    out
}
