//! Which documents a call can be in the scope of, found without looking at the others.
//!
//! Documents are filed by what their scope names literally: subject × server × target, each or any.
//! A call looks up its own few combinations; what it finds is then matched exactly. What this
//! leaves out could not have decided anything: a rule of a document whose scope does not hold the
//! call neither forbids nor permits it, and raw Cedar, whose scope is not known, is never left out.
//! Nor is the scope of what it finds asked of Cedar again, so both must agree: a property test.

use std::collections::HashMap;

use super::case::Case;
use super::compile::CompiledPolicy;
use super::document::{Document, Scope};
use super::glob::Glob;

/// Most places one document is filed under; beyond it, under fewer words.
const MAX_PLACES: usize = 64;

/// A literal, by its number; 0 stands for any.
type Word = u32;

const ANY: Word = 0;

/// The file.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Literals by kind and text.
    words: HashMap<Sort, HashMap<String, Word>>,
    /// How many literals there are.
    count: Word,
    places: HashMap<(Word, Word, Word), Vec<u32>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Sort {
    Node,
    Group,
    Agent,
    Human,
    Server,
    Target,
}

impl Index {
    pub(super) fn over(policies: &[CompiledPolicy]) -> Self {
        let mut index = Self::default();
        for (number, policy) in policies.iter().enumerate() {
            // A bundle has at most 20,000.
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            let scope = policy.document().map(|d| &d.scope);
            index.file(number, scope);
        }
        index
    }

    fn file(&mut self, number: u32, scope: Option<&Scope>) {
        let mut subjects = scope.and_then(literal_subjects).unwrap_or_default();
        let mut servers = scope.and_then(literal_servers).unwrap_or_default();
        let mut targets = scope.and_then(literal_targets).unwrap_or_default();
        let count = |of: &Vec<_>| of.len().max(1);
        for list in [&mut targets, &mut subjects, &mut servers] {
            if list.len() > MAX_PLACES {
                list.clear();
            }
        }
        if count(&subjects) * count(&servers) * count(&targets) > MAX_PLACES {
            targets.clear();
        }
        if count(&subjects) * count(&servers) > MAX_PLACES {
            servers.clear();
        }
        let subjects = self.numbers(&subjects);
        let servers = self.numbers(&servers);
        let targets = self.numbers(&targets);
        for subject in &subjects {
            for server in &servers {
                for target in &targets {
                    let place = self.places.entry((*subject, *server, *target));
                    place.or_default().push(number);
                }
            }
        }
    }

    fn numbers(&mut self, literals: &[(Sort, &str)]) -> Vec<Word> {
        if literals.is_empty() {
            return vec![ANY];
        }
        let mut number = |(sort, text): &(Sort, &str)| {
            let words = self.words.entry(*sort).or_default();
            if let Some(number) = words.get(*text) {
                return *number;
            }
            self.count = self.count.saturating_add(1);
            words.insert((*text).to_owned(), self.count);
            self.count
        };
        literals.iter().map(&mut number).collect()
    }

    fn word(&self, sort: Sort, text: &str) -> Option<Word> {
        self.words.get(&sort)?.get(text).copied()
    }

    /// The documents whose scope holds the call, sorted.
    pub(super) fn slice(&self, case: &Case<'_>, policies: &[CompiledPolicy]) -> Vec<u32> {
        let word = |sort, text: &str| self.word(sort, text);
        let mut subjects = vec![ANY];
        subjects.extend(word(Sort::Node, case.caller.name.as_str()));
        subjects.extend(word(Sort::Agent, case.facts.agent.as_str()));
        subjects.extend(case.facts.human.and_then(|human| word(Sort::Human, human)));
        let groups = case.caller.groups.iter();
        subjects.extend(groups.filter_map(|g| word(Sort::Group, g.as_str())));
        let mut servers = vec![ANY];
        servers.extend(word(Sort::Server, case.server));
        let mut targets = vec![ANY];
        targets.extend(word(Sort::Target, case.target));
        let mut out = Vec::new();
        for subject in &subjects {
            for server in &servers {
                for target in &targets {
                    let found = self.places.get(&(*subject, *server, *target));
                    out.extend(found.into_iter().flatten().copied());
                }
            }
        }
        out.sort_unstable();
        out.dedup();
        out.retain(|number| {
            let policy = usize::try_from(*number).ok().and_then(|n| policies.get(n));
            policy.is_some_and(|p| p.document().is_none_or(|d| holds(d, case)))
        });
        out
    }
}

/// Whether a document's scope holds a call: just what its Cedar says, for that is then not asked again.
fn holds(document: &Document, case: &Case<'_>) -> bool {
    let scope = &document.scope;
    scope.holds_server(case.host, case.server)
        && scope.holds_target(case.host, case.server, case.kind, case.target)
        && scope.subjects.as_ref().is_none_or(|subjects| {
            subjects.hold(case.caller, case.facts.agent.as_str(), case.facts.human)
        })
}

/// `None` where some subject is no literal, or anybody is.
fn literal_subjects(scope: &Scope) -> Option<Vec<(Sort, &str)>> {
    let subjects = scope.subjects.as_ref()?;
    let mut out = Vec::new();
    for (sort, list) in [
        (Sort::Node, &subjects.nodes),
        (Sort::Group, &subjects.groups),
        (Sort::Human, &subjects.humans),
    ] {
        for glob in list {
            out.push((sort, literal(glob)?));
        }
    }
    for glob in &subjects.agents {
        out.push((Sort::Agent, literal(&glob.name)?));
    }
    Some(out)
}

fn literal_servers(scope: &Scope) -> Option<Vec<(Sort, &str)>> {
    let servers = scope.servers.as_ref()?.iter();
    servers
        .map(|glob| Some((Sort::Server, literal(&glob.name)?)))
        .collect()
}

fn literal_targets(scope: &Scope) -> Option<Vec<(Sort, &str)>> {
    if !scope.is_selective() {
        return None;
    }
    let items = scope.tools.iter().chain(&scope.prompts).flatten();
    let globs = items.map(|item| &item.item);
    let globs = globs.chain(scope.resources.iter().flatten());
    globs
        .map(|glob| Some((Sort::Target, literal(glob)?)))
        .collect()
}

fn literal(glob: &Glob) -> Option<&str> {
    glob.is_literal().then(|| glob.as_str())
}
