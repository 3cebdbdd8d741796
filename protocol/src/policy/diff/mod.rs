//! What changes between two sets of policies: which calls are decided otherwise, each with a call
//! that shows it.
//!
//! Both sets are asked about the same universe of calls, made from what the documents that differ
//! name: subjects, servers, tools and other targets, intents, labels, sites and addresses, postures,
//! times and arguments at and around their bounds. Of globs and patterns that changed, texts at the
//! edge of what they match are tried too. For every document there is a call that meets all of it,
//! and from that one fact after another is varied. Nothing is drawn at random: the same
//! documents give the same answer. Of calls that are decided alike it is compared what goes with the
//! decision ([`About`]): limits and results of those that pass, who may approve those that are held,
//! who is told, and what is only observed. What is not tried is said ([`Compared::not_covered`]); a
//! difference that is shown is real, one that is not shown may still be there.

mod beside;
mod callers;
mod example;
mod facts;
mod targets;
mod terms;
mod universe;
mod vary;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::CompiledBundle;
use super::document::TrialCall;
use super::testing;
use super::verdict::{Decision, Verdict};

pub use example::to_json;

use terms::{MAX_RESULTS, Results};

/// Most calls tried.
pub const MAX_TRIED: usize = 20_000;

/// Most groups of changes reported.
pub const MAX_CHANGES: usize = 500;

/// What of a call is otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// Whether it passes.
    Call,
    /// The limits it counts against; it passes either way.
    Limits,
    /// What happens to its result; the call passes either way.
    Result,
    /// What it takes to approve it; it is held either way.
    Approval,
    /// Whether operators are told; it is decided alike.
    Alert,
    /// What documents that only observe report of it; nothing is decided by it.
    Observed,
}

impl About {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Limits => "limits",
            Self::Result => "result",
            Self::Approval => "approval",
            Self::Alert => "alert",
            Self::Observed => "observed",
        }
    }
}

/// Calls that are decided otherwise, for one reason.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// What of them is otherwise.
    pub about: About,
    /// The verdict before, by its name: on the call, or on its result.
    pub from: &'static str,
    /// The verdict after.
    pub to: &'static str,
    /// The policy that is responsible; absent where nothing permits them any more and nothing did
    /// by name.
    pub policy: Option<String>,
    /// Its rule, where one forbids.
    pub rule: Option<String>,
    /// One line for people: what the stricter side says.
    pub why: String,
    /// Whether the responsible policy is of the set after, not of the one before.
    pub after: bool,
    /// The plainest call that shows it.
    pub example: TrialCall,
    /// How many of the calls tried it holds for.
    pub calls: usize,
}

/// What came of comparing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Compared {
    /// The documents that differ: added, changed or removed.
    pub documents: Vec<Differs>,
    /// The changes; those that permit more first.
    pub changes: Vec<Change>,
    /// Calls tried.
    pub tried: usize,
    /// What was not tried, a sentence each.
    pub not_covered: Vec<String>,
}

/// A document that is not the same in both.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Differs {
    /// Its name.
    pub policy: String,
    /// Whether it is there before.
    pub before: bool,
    /// Whether it is there after.
    pub after: bool,
}

/// How strict a verdict is.
fn severity(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Allow(_) => 0,
        Verdict::Hold(_) => 1,
        Verdict::Deny(_) => 2,
        Verdict::Sever(_) => 3,
    }
}

/// The name of a verdict so strict.
const fn name(severity: u8) -> &'static str {
    match severity {
        0 => "allow",
        1 => "hold",
        2 => Verdict::DENY,
        _ => "sever",
    }
}

/// What a change is told by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    about: About,
    was: u8,
    is: u8,
    policy: Option<String>,
    rule: Option<String>,
    after: bool,
}

impl Key {
    /// Of what passes either way.
    fn passing(about: About, policy: &str, rule: &str, after: bool) -> Self {
        Self {
            about,
            was: 0,
            is: 0,
            policy: (!policy.is_empty()).then(|| policy.to_owned()),
            rule: Some(rule.to_owned()),
            after,
        }
    }
}

/// What is compared.
struct Sides<'a> {
    before: &'a CompiledBundle,
    after: &'a CompiledBundle,
    results: Results,
}

impl Sides<'_> {
    /// What of a call is otherwise, and why; of its result only where that is asked.
    fn changes(&self, call: &TrialCall, results: bool) -> Vec<(Key, String)> {
        let old = testing::decide(self.before, call);
        let new = testing::decide(self.after, call);
        let mut found = beside::observed(&old, &new);
        if let Some(change) = changed(&old, &new) {
            found.push(change);
            return found;
        }
        found.extend(beside::alerts(&old, &new));
        found.extend(beside::approvals(&old, &new));
        if severity(&old.verdict) == 0 {
            found.extend(terms::limits(&old, &new));
            if results {
                found.extend(self.results.changes(self.before, self.after, call));
            }
        }
        found
    }
}

/// Compares two sets of policies.
#[must_use]
pub fn compare(before: &CompiledBundle, after: &CompiledBundle) -> Compared {
    let documents = differing(before, after);
    let universe = universe::of(before, after, &documents);
    let sides = Sides {
        before,
        after,
        results: Results::of(before, after, &documents),
    };
    let mut found: BTreeMap<Key, Change> = BTreeMap::new();
    for (place, call) in universe.calls.iter().enumerate() {
        for (key, why) in sides.changes(call, place < MAX_RESULTS) {
            note(&mut found, key, why, call);
        }
    }
    let mut not_covered = universe.not_covered;
    not_covered.extend(sides.results.unmet.iter().cloned());
    if sides.results.are_said() && universe.calls.len() > MAX_RESULTS {
        not_covered.push(format!("results of all but the first {MAX_RESULTS} calls"));
    }
    if found.len() > MAX_CHANGES {
        not_covered.push(format!(
            "only {MAX_CHANGES} of {} changes are listed",
            found.len()
        ));
    }
    let changes = found.into_iter().take(MAX_CHANGES);
    let changes = changes.map(|(key, change)| shrunk(&sides, &key, change));
    Compared {
        documents,
        changes: changes.collect(),
        tried: universe.calls.len(),
        not_covered,
    }
}

/// Notes a change with the call that shows it.
fn note(found: &mut BTreeMap<Key, Change>, key: Key, why: String, call: &TrialCall) {
    match found.entry(key) {
        Entry::Occupied(mut known) => {
            let known = known.get_mut();
            known.calls += 1;
            if facts::plainer(call, &known.example) {
                known.example = call.clone();
                known.why = why;
            }
        }
        Entry::Vacant(place) => {
            let key = place.key();
            let change = Change {
                about: key.about,
                from: name(key.was),
                to: name(key.is),
                policy: key.policy.clone(),
                rule: key.rule.clone(),
                why,
                after: key.after,
                example: call.clone(),
                calls: 1,
            };
            place.insert(change);
        }
    }
}

/// How a call is decided otherwise, and what the responsible side says; `None` if it is not.
fn changed(old: &Decision, new: &Decision) -> Option<(Key, String)> {
    let (was, is) = (severity(&old.verdict), severity(&new.verdict));
    if was == is {
        return None;
    }
    let after = is > was;
    let (strict, mild) = if after { (new, old) } else { (old, new) };
    let denial = strict.verdict.denial()?;
    let (policy, rule, of_after) = match &denial.policy {
        Some(policy) => {
            let violated = strict.violations.iter().find(|v| v.policy == *policy);
            (
                Some(policy.clone()),
                violated.map(|v| v.rule.clone()),
                after,
            )
        }
        // Nothing permits it: whoever permits it on the other side, or holds it, is responsible.
        None => {
            let held = || mild.verdict.denial().and_then(|d| d.policy.clone());
            let policy = mild.granted_by.first().cloned().or_else(held);
            (policy, None, !after)
        }
    };
    let key = Key {
        about: About::Call,
        was,
        is,
        policy,
        rule,
        after: of_after,
    };
    Some((key, denial.message.clone()))
}

/// With an example from which nothing can be left out.
fn shrunk(sides: &Sides<'_>, key: &Key, mut change: Change) -> Change {
    let results = key.about == About::Result;
    let same = |call: &TrialCall| {
        let found = sides.changes(call, results);
        found.into_iter().find(|(found, _)| found == key)
    };
    for simpler in facts::SIMPLER {
        let mut call = change.example.clone();
        simpler(&mut call);
        if call == change.example {
            continue;
        }
        if same(&call).is_some() {
            change.example = call;
        }
    }
    if let Some((_, why)) = same(&change.example) {
        change.why = why;
    }
    change
}

/// The documents that are not the same in both: by what they became, so that another layout of the
/// same text is no difference.
fn differing(before: &CompiledBundle, after: &CompiledBundle) -> Vec<Differs> {
    let mut out = Vec::new();
    for policy in before.policies() {
        let name = policy.name().as_str();
        let other = after.policy(name);
        let same = other.is_some_and(|other| {
            policy.rules().eq(other.rules()) && policy.document() == other.document()
        });
        if !same {
            out.push(Differs {
                policy: name.to_owned(),
                before: true,
                after: other.is_some(),
            });
        }
    }
    for policy in after.policies() {
        if before.policy(policy.name().as_str()).is_none() {
            out.push(Differs {
                policy: policy.name().to_string(),
                before: false,
                after: true,
            });
        }
    }
    out.sort();
    out
}
