//! Documents beside each other: one that says what another does, or permits what another forbids.

use super::alone::forbidden_intent;
use super::overlap::{covers, covers_item, covers_name, meet_item};
use super::{Code, Finding, MAX_COMPARED};
use crate::policy::compile::CompiledPolicy;
use crate::policy::document::{Check, Document, Mode, Requirements, Scope, Subjects};
use crate::policy::glob::{Glob, ItemGlob};
use crate::policy::verdict::Action;

/// What is found, and whether all pairs were compared.
pub(super) fn look(policies: &[CompiledPolicy]) -> (Vec<Finding>, bool) {
    let documents: Vec<&Document> = policies
        .iter()
        .filter_map(CompiledPolicy::document)
        .collect();
    let mut findings = Vec::new();
    let mut left = MAX_COMPARED;
    for (place, document) in documents.iter().enumerate() {
        let mut hours = CommonHours::of(document);
        for (at, other) in documents.iter().enumerate() {
            if place == at {
                continue;
            }
            if left == 0 {
                return (findings, false);
            }
            left -= 1;
            if at < place && same(document, other) {
                findings.push(Finding {
                    document: document.name.to_string(),
                    path: String::new(),
                    code: Code::Redundant,
                    why: format!("policy `{}` says the same", other.name),
                    mend: "remove one of them",
                });
            }
            if let Some(hours) = &mut hours {
                hours.meet(document, other);
            }
            findings.extend(shadowed(document, other));
            findings.extend(milder(document, other));
            findings.extend(exclusive(document, other, &mut left));
        }
        findings.extend(hours.and_then(|hours| hours.finding(document)));
    }
    (findings, left > 0)
}

/// The minutes of the week at which a document and those that restrict the same calls let them
/// pass.
struct CommonHours<'a> {
    stretches: Vec<(u16, u16)>,
    /// The other documents that say when.
    with: Vec<&'a str>,
}

impl<'a> CommonHours<'a> {
    /// Of a document alone; `None` where it does not refuse calls at other times.
    fn of(document: &Document) -> Option<Self> {
        let hours = document.requirements.time.as_ref()?;
        let decides = document.mode == Mode::Enforce && document.action >= Action::Block;
        decides.then(|| Self {
            stretches: hours.stretches(),
            with: Vec::new(),
        })
    }

    /// Takes away when `other` refuses every call that `document` is about.
    fn meet(&mut self, document: &Document, other: &'a Document) {
        let Some(theirs) = Self::of(other) else {
            return;
        };
        let wide = reaches(&other.scope, &document.scope) && targets(&other.scope, &document.scope);
        if !wide || self.stretches.is_empty() {
            return;
        }
        let both = self.stretches.iter().flat_map(|(from, to)| {
            let common = theirs.stretches.iter();
            common.map(move |(begin, end)| (*from.max(begin), *to.min(end)))
        });
        self.stretches = both.filter(|(from, to)| from < to).collect();
        self.with.push(other.name.as_str());
    }

    fn finding(self, document: &Document) -> Option<Finding> {
        let (last, rest) = self.with.split_last()?;
        if !self.stretches.is_empty() {
            return None;
        }
        let more = match rest.len() {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        Some(Finding {
            document: document.name.to_string(),
            path: "/time".to_owned(),
            code: Code::Contradictory,
            why: format!(
                "policy `{last}`{more} holds these calls at other times only, so that none is ever \
                 permitted"
            ),
            mend: "let the times overlap, or narrow the scope of one",
        })
    }
}

/// The arguments that two documents ask for, of which no call meets both: `other` refuses every call
/// that `document` lets pass.
fn exclusive(document: &Document, other: &Document, left: &mut usize) -> Vec<Finding> {
    let decides = |d: &Document| d.mode == Mode::Enforce && d.action >= Action::Block;
    let theirs = &other.requirements.arguments;
    let wide = !theirs.is_empty()
        && decides(document)
        && decides(other)
        && reaches(&other.scope, &document.scope)
        && targets(&other.scope, &document.scope);
    let mut findings = Vec::new();
    // What is wrong with one by itself is said there.
    let sound = |check: &Check| check.contradictions().is_empty();
    for check in document.requirements.arguments.iter().filter(|_| wide) {
        let mut theirs = theirs.iter();
        let found = theirs.find_map(|other| Some((other, check.apart(other, left)?)));
        let found = found.filter(|(other, _)| sound(check) && sound(other));
        findings.extend(found.map(|(theirs, why)| Finding {
            document: document.name.to_string(),
            path: check.place.clone(),
            code: Code::Contradictory,
            why: format!(
                "beside `{}` of policy `{}`, which these calls must meet too: {why}",
                theirs.place, other.name
            ),
            mend: "let some arguments meet both, or narrow the scope of one",
        }));
    }
    findings
}

/// Whether two documents say the same under different names.
fn same(a: &Document, b: &Document) -> bool {
    let essence = |d: &Document| {
        let terms = (d.limits.clone(), d.approval.clone(), d.on_result.clone());
        (d.mode, d.action, d.vouches, d.scope.clone(), terms)
    };
    a.requirements == b.requirements && essence(a) == essence(b)
}

/// The tools that `document` permits and `other` always forbids, by their names alone.
fn shadowed(document: &Document, other: &Document) -> Vec<Finding> {
    let decides = other.mode == Mode::Enforce
        && document.mode == Mode::Enforce
        && other.action >= Action::Block
        && reaches(&other.scope, &document.scope);
    let tools = document.requirements.tools.iter().flatten().enumerate();
    tools
        .filter(|_| decides)
        .filter_map(|(at, tool)| {
            let rule = forbids(other, document, tool)?;
            Some(Finding {
                document: document.name.to_string(),
                path: format!("/allowed_tools/{at}"),
                code: Code::Shadowed,
                why: format!(
                    "`{rule}` of policy `{}` forbids `{tool}` always",
                    other.name
                ),
                mend: "remove it, or narrow the scope of the other policy",
            })
        })
        .collect()
}

/// Whether `document` is one whose action is never what happens: `other` asks at least the same of all
/// calls it is about, and is stricter.
fn milder(document: &Document, other: &Document) -> Option<Finding> {
    let only_restricts = document.limits.is_none()
        && document.on_result.is_none()
        && !document.vouches
        && !document.approval.as_ref().is_some_and(|a| a.required);
    // An alert is raised beside a stricter document that raises none.
    let told = !document.action.alerts() || other.action.alerts();
    let both = document.mode == Mode::Enforce && other.mode == Mode::Enforce;
    let decides = other.action > document.action && other.action >= Action::Block && told;
    if !both || !decides || !only_restricts || !asks_as_much(document, other) {
        return None;
    }
    if !reaches(&other.scope, &document.scope) || !targets(&other.scope, &document.scope) {
        return None;
    }
    let (milder, stricter) = (document.action.name(), other.action.name());
    Some(Finding {
        document: document.name.to_string(),
        path: "/action_on_violation".to_owned(),
        code: Code::Shadowed,
        why: format!(
            "policy `{}` asks the same of these calls, and its `{stricter}` always comes before \
             `{milder}`",
            other.name
        ),
        mend: "remove it, or narrow the scope of the stricter one",
    })
}

/// Whether whatever violates `document` surely violates `other`: both ask the same, or one restricts
/// intents only, each of which the other restricts too.
fn asks_as_much(document: &Document, other: &Document) -> bool {
    let (asked, by_other) = (&document.requirements, &other.requirements);
    if *asked == Requirements::default() {
        return false;
    }
    if asked == by_other {
        return true;
    }
    let mut rest = asked.clone();
    rest.intents.restricted.clear();
    rest.intents.restricted_seed.clear();
    let listed = |r: &Requirements, word: &String| {
        r.intents.restricted.contains(word) || r.intents.restricted_seed.contains(word)
    };
    let intents = &asked.intents;
    let mut words = intents.restricted.iter().chain(&intents.restricted_seed);
    rest == Requirements::default() && words.all(|word| listed(by_other, word))
}

/// Whether the scope `wide` surely holds every tool, resource and prompt of `narrow`.
fn targets(wide: &Scope, narrow: &Scope) -> bool {
    let singled = |scope: &Scope| {
        (
            scope.tools.clone(),
            scope.resources.clone(),
            scope.prompts.clone(),
        )
    };
    !wide.is_selective() || singled(wide) == singled(narrow)
}

/// The rule of `other` that forbids a tool which `document` permits, whatever server has it.
fn forbids(other: &Document, document: &Document, tool: &ItemGlob) -> Option<&'static str> {
    let meant = |scope: &Scope| match &scope.tools {
        Some(tools) => tools.iter().any(|wide| covers_item(wide, tool)),
        None => !scope.is_selective(),
    };
    if !meant(&other.scope) {
        return None;
    }
    if let Some(allowed) = &other.requirements.tools {
        // Apart only if no server and no definition makes them meet.
        if !allowed.iter().any(|a| meet_item(a, tool)) {
            return Some("/allowed_tools");
        }
    }
    let name = tool.item.is_literal().then(|| tool.item.as_str())?;
    // Where the same document forbids it too, that is said of it alone.
    if forbidden_intent(document, name).is_some() {
        return None;
    }
    forbidden_intent(other, name).map(|(rule, _)| rule)
}

/// Whether the scope `wide` surely holds every subject and server of `narrow`.
fn reaches(wide: &Scope, narrow: &Scope) -> bool {
    let servers = match (&wide.servers, &narrow.servers) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(wide), Some(narrow)) => narrow
            .iter()
            .all(|n| wide.iter().any(|w| covers_name(w, n))),
    };
    let subjects = match (&wide.subjects, &narrow.subjects) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(wide), Some(narrow)) => holds(wide, narrow),
    };
    servers && subjects
}

/// Whether everyone among `narrow` is among `wide`.
fn holds(wide: &Subjects, narrow: &Subjects) -> bool {
    let globs =
        |wide: &[Glob], narrow: &[Glob]| narrow.iter().all(|n| wide.iter().any(|w| covers(w, n)));
    globs(&wide.nodes, &narrow.nodes)
        && globs(&wide.groups, &narrow.groups)
        && globs(&wide.humans, &narrow.humans)
        && narrow
            .agents
            .iter()
            .all(|n| wide.agents.iter().any(|w| covers_name(w, n)))
}
