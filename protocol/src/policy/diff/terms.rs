//! What goes with calls that pass on both sides: the limits they count against, and what happens to
//! their results.
//!
//! Limits are compared as they stand, not counted. Results are tried with texts that a pattern in the
//! documents matches, where one was found; what is hidden and labelled is compared as it stands.

use std::collections::BTreeSet;

use super::{About, Differs, Key, severity};
use crate::policy::CompiledBundle;
use crate::policy::document::{OnResult, TrialCall};
use crate::policy::error::shown;
use crate::policy::examples::of_pattern;
use crate::policy::testing;
use crate::policy::verdict::{Decision, LimitUse, Obligation, Per};
use crate::record::Point;

/// Most calls whose results are tried.
pub(super) const MAX_RESULTS: usize = 2_000;

/// Most texts tried in one result.
const MAX_TEXTS: usize = 24;

/// Most texts made of one pattern for results.
const MAX_OF_PATTERN: usize = 8;

/// The limits that a call counts against otherwise.
pub(super) fn limits(old: &Decision, new: &Decision) -> Vec<(Key, String)> {
    let both = old.limits.iter().chain(&new.limits);
    let names: BTreeSet<&str> = both.map(|limit| limit.policy.as_str()).collect();
    let changed = names.into_iter().filter_map(|name| {
        let of = |side: &'_ [LimitUse]| side.iter().find(|l| l.policy == name).cloned();
        let (was, is) = (of(&old.limits), of(&new.limits));
        if was == is {
            return None;
        }
        let key = Key::passing(About::Limits, name, "/limits", is.is_some());
        let why = format!("{}; before: {}", limit(is.as_ref()), limit(was.as_ref()));
        Some((key, why))
    });
    changed.collect()
}

/// A limit for people.
fn limit(limit: Option<&LimitUse>) -> String {
    let Some(limit) = limit else {
        return "no limit".to_owned();
    };
    let window = limit.window_s;
    let calls = limit.calls.map(|n| format!("{n} calls in {window} s"));
    let bytes = limit.bytes.map(|n| format!("{n} bytes in {window} s"));
    let open = limit.concurrent.map(|n| format!("{n} calls at once"));
    let parts: Vec<String> = [calls, bytes, open].into_iter().flatten().collect();
    let whom = match limit.per {
        Per::Agent => "each agent",
        Per::Node => "each node",
        Per::Mesh => "all together",
    };
    let (most, beyond) = (parts.join(", "), limit.action.name());
    format!("at most {most} for {whom}, else `{beyond}`")
}

/// What the documents that differ say of results.
#[derive(Default)]
pub(super) struct Results {
    /// By policy, and whether it stands so after.
    said: Vec<(String, bool, OnResult)>,
    texts: Vec<String>,
    /// Patterns for which no text was found.
    pub(super) unmet: Vec<String>,
}

impl Results {
    pub(super) fn of(before: &CompiledBundle, after: &CompiledBundle, differ: &[Differs]) -> Self {
        let mut results = Self::default();
        for Differs { policy, .. } in differ {
            let of = |side: &CompiledBundle| side.policy(policy)?.document()?.on_result.clone();
            let (was, is) = (of(before), of(after));
            // Its scope may have changed all the same.
            let sides = [(false, was.clone(), &is), (true, is.clone(), &was)];
            for (after, said, other) in sides {
                if let Some(said) = said {
                    results.find_texts(policy, &said, other.as_ref());
                    results.said.push((policy.clone(), after, said));
                }
            }
        }
        results.unmet.sort();
        results.unmet.dedup();
        results.texts.sort();
        results.texts.dedup();
        results.texts.truncate(MAX_TEXTS);
        results
    }

    /// Texts that its patterns match: one of each that the other side has too, some of the others.
    fn find_texts(&mut self, policy: &str, said: &OnResult, other: Option<&OnResult>) {
        for pattern in &said.deny {
            let kept = other.is_some_and(|other| other.deny.contains(pattern));
            let texts = of_pattern(pattern.as_str()).into_iter();
            let mut found = texts.filter(|text| pattern.matches(text)).peekable();
            if found.peek().is_none() {
                let text = shown(pattern.as_str());
                let why = format!("results that the pattern {text} of `{policy}` denies");
                self.unmet.push(why);
            }
            let most = if kept { 1 } else { MAX_OF_PATTERN };
            self.texts.extend(found.take(most));
        }
    }

    pub(super) const fn are_said(&self) -> bool {
        !self.said.is_empty()
    }

    /// What happens otherwise to the results of a call.
    pub(super) fn changes(
        &self,
        before: &CompiledBundle,
        after: &CompiledBundle,
        call: &TrialCall,
    ) -> Vec<(Key, String)> {
        if !self.are_said() || call.point == Point::Relay {
            return Vec::new();
        }
        let duties = |side| duties(&testing::decide_result(side, call, None));
        let (was, is) = (duties(before), duties(after));
        let mut out = Vec::new();
        for (duty, added) in is
            .iter()
            .filter(|d| !was.contains(d))
            .map(|d| (d, true))
            .chain(was.iter().filter(|d| !is.contains(d)).map(|d| (d, false)))
        {
            let (rule, what) = match duty {
                Obligation::Redact(pointer) => {
                    ("/on_result/redact", format!("`{pointer}` is hidden"))
                }
                Obligation::Tag(label) => ("/on_result/tag", format!("labelled `{label}`")),
                Obligation::Alert(_) => continue,
            };
            let policy = self.responsible(duty, added);
            let why = if added {
                what
            } else {
                format!("no more: {what}")
            };
            out.push((Key::passing(About::Result, policy, rule, added), why));
        }
        for text in &self.texts {
            out.extend(denied(before, after, call, text));
        }
        out
    }

    /// The policy that says so on the side where it is said.
    fn responsible(&self, duty: &Obligation, after: bool) -> &str {
        let says = |said: &OnResult| match duty {
            Obligation::Redact(pointer) => said.redact.contains(pointer),
            Obligation::Tag(label) => said.tag.contains(label),
            Obligation::Alert(_) => false,
        };
        let found = self
            .said
            .iter()
            .find(|(_, side, said)| *side == after && says(said));
        found.map_or("", |(policy, ..)| policy)
    }
}

/// What must be done with a result.
fn duties(decision: &Decision) -> Vec<Obligation> {
    match &decision.verdict {
        crate::policy::Verdict::Allow(duties) => duties.clone(),
        _ => Vec::new(),
    }
}

/// Whether a result with this text passes on one side only.
fn denied(
    before: &CompiledBundle,
    after: &CompiledBundle,
    call: &TrialCall,
    text: &str,
) -> Option<(Key, String)> {
    let decide = |side| testing::decide_result(side, call, Some(text));
    let (old, new) = (decide(before), decide(after));
    let (was, is) = (severity(&old.verdict), severity(&new.verdict));
    if was == is {
        return None;
    }
    let strict = if is > was { new } else { old };
    let denial = strict.verdict.denial()?;
    let rule = strict.violations.first().map(|v| v.rule.clone());
    let key = Key {
        about: About::Result,
        was,
        is,
        policy: denial.policy.clone(),
        rule,
        after: is > was,
    };
    Some((key, format!("{}: it says {}", denial.message, shown(text))))
}
