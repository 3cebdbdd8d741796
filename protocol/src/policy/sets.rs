//! The rules of a slice, ready to be asked.
//!
//! A slice holds only documents whose scope the call is in, so of their rules what is left to be
//! decided are the further conditions. Cedar evaluates each of these by itself, once however many
//! rules state it alike, in the order it would take them; what the rules say follows from that by
//! nothing but *and* and *not*. Raw Cedar is asked whole, for its scope is not known.
//!
//! Where Cedar cannot evaluate a condition, or somebody wants the slow way, whole rules are asked:
//! that both say the same is a property test.

use core::str::FromStr as _;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};

use cedar_policy::{
    Authorizer, Entities, EvalResult, Expression, PolicyId, PolicySet, Request, Response,
    eval_expression,
};

use super::case::Case;
use super::compile::{
    CompiledBundle, CompiledPolicy, CompiledRule, Effect, Source, argument_token,
};
use super::context::{Asked, Names, Needs};
use super::document::{Check, Mode};
use super::glob::Glob;

/// Most documents in all sets that are kept ready together, each counted in every set it is in. A
/// set shares its conditions with all others, and takes about 1 kB of its own for each document;
/// when there are more, all are made anew as calls need them.
const MAX_READY: usize = 65_536;

/// Sets that are ready, by the documents they are of.
#[derive(Debug, Default)]
pub(super) struct Ready {
    sets: HashMap<Box<[u32]>, Arc<Sets>>,
    documents: usize,
}

impl Ready {
    pub(super) fn of(&self, slice: &[u32]) -> Option<Arc<Sets>> {
        self.sets.get(slice).map(Arc::clone)
    }

    pub(super) fn keep(&mut self, slice: &[u32], sets: &Arc<Sets>) {
        // The empty one takes room too.
        let documents = slice.len() + 1;
        if self.documents + documents > MAX_READY {
            *self = Self::default();
        }
        if self.sets.insert(slice.into(), Arc::clone(sets)).is_none() {
            self.documents += documents;
        }
    }
}

static NAMES: LazyLock<Option<Names>> = LazyLock::new(Names::new);
static NO_ENTITIES: LazyLock<Entities> = LazyLock::new(Entities::empty);

/// A condition as Cedar has read it.
#[derive(Debug)]
struct Condition {
    expression: Expression,
    needs: Needs,
}

/// Conditions that were read, by their text; `None` where Cedar does not take it. No more than the
/// documents of the bundle state.
#[derive(Debug, Default)]
pub(super) struct Conditions(Mutex<HashMap<Box<str>, Option<Arc<Condition>>>>);

impl Conditions {
    fn read(&self, text: &str) -> Option<Arc<Condition>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(condition) = known.get(text) {
            return condition.clone();
        }
        drop(known);
        let condition = Expression::from_str(text).ok().map(|expression| {
            let needs = Needs::of(text);
            Arc::new(Condition { expression, needs })
        });
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = known.entry(text.into()).or_insert(condition);
        kept.clone()
    }
}

/// The rules of some documents, ready for Cedar.
#[derive(Debug)]
pub(super) struct Sets {
    slice: Box<[u32]>,
    /// `None` if Cedar does not take some condition, which no document is known to bring about.
    matched: Option<Matched>,
    /// Made when somebody wants it.
    whole: OnceLock<Whole>,
    /// Globs of groups that rules ask for.
    pub(super) group_globs: Vec<Glob>,
    /// Checks of arguments that rules ask for, with the names of their failures.
    pub(super) checks: Vec<(String, Check)>,
}

impl Sets {
    pub(super) fn of(bundle: &CompiledBundle, slice: &[u32]) -> Self {
        let mut group_globs = Vec::new();
        let mut checks = Vec::new();
        let policies = slice.iter().filter_map(|n| policy(bundle, *n));
        for document in policies.filter_map(CompiledPolicy::document) {
            let named = |c: &Check| (argument_token(document, &c.place), c.clone());
            checks.extend(document.requirements.arguments.iter().map(named));
            let groups = document.scope.subjects.iter().flat_map(|s| &s.groups);
            group_globs.extend(groups.filter(|g| !g.is_literal()).cloned());
        }
        group_globs.sort_unstable();
        group_globs.dedup();
        Self {
            slice: slice.into(),
            matched: Matched::of(bundle, slice),
            whole: OnceLock::new(),
            group_globs,
            checks,
        }
    }
}

/// What is asked of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    /// Which forbid the call.
    Forbid,
    /// Which permit it.
    Permit,
    /// Which have something that goes with it.
    Apply,
}

/// To which question a rule is an answer, if it is to any.
fn answers(rule: &CompiledRule) -> Option<Question> {
    match rule.rule.effect {
        Effect::Forbid(_) => Some(Question::Forbid),
        // What only observes grants nothing.
        Effect::Permit | Effect::Apply if rule.mode == Mode::Observe => None,
        Effect::Permit => Some(Question::Permit),
        Effect::Apply => Some(Question::Apply),
    }
}

/// Where a rule stands: the number of its document, and its own in there.
type Place = (u32, usize);

/// A rule of a document whose scope the call is in.
#[derive(Debug)]
struct Matching {
    place: Place,
    question: Question,
    /// Conditions, by their place among those of the set, and what each must be.
    asks: Box<[(usize, bool)]>,
}

/// The rules of a slice, without the scope that it has matched.
#[derive(Debug, Default)]
struct Matched {
    rules: Vec<Matching>,
    conditions: Vec<Arc<Condition>>,
    needs: Needs,
    raw_forbid: PolicySet,
    raw_permit: PolicySet,
}

impl Matched {
    fn of(bundle: &CompiledBundle, slice: &[u32]) -> Option<Self> {
        let mut matched = Self::default();
        let mut places = HashMap::new();
        for (place, rule) in rules(bundle, slice) {
            let Some(question) = answers(rule) else {
                continue;
            };
            let Some(left) = rule.left() else {
                matched.needs = matched.needs.and(Needs::of_raw(&rule.rule.cedar));
                let set = match question {
                    Question::Forbid => &mut matched.raw_forbid,
                    Question::Permit | Question::Apply => &mut matched.raw_permit,
                };
                set.add(rule.policy()?.new_id(id(place))).ok()?;
                continue;
            };
            let mut asks = Vec::new();
            for (text, wanted) in left {
                let at = match places.get(text) {
                    Some(at) => *at,
                    None => {
                        let condition = bundle.conditions.read(text)?;
                        matched.needs = matched.needs.and(condition.needs);
                        matched.conditions.push(condition);
                        places.insert(text, matched.conditions.len() - 1);
                        matched.conditions.len() - 1
                    }
                };
                asks.push((at, wanted));
            }
            matched.rules.push(Matching {
                place,
                question,
                asks: asks.into(),
            });
        }
        Some(matched)
    }
}

/// The rules of a slice as their documents print them.
#[derive(Debug, Default)]
struct Whole {
    forbid: PolicySet,
    permit: PolicySet,
    apply: PolicySet,
    needs: Needs,
    /// Rules that Cedar would not put into a set; there are none.
    broken: bool,
}

impl Whole {
    fn of(bundle: &CompiledBundle, slice: &[u32]) -> Self {
        let mut whole = Self::default();
        for (place, rule) in rules(bundle, slice) {
            let set = match answers(rule) {
                None => continue,
                Some(Question::Forbid) => &mut whole.forbid,
                Some(Question::Permit) => &mut whole.permit,
                Some(Question::Apply) => &mut whole.apply,
            };
            let source = policy(bundle, place.0).map(CompiledPolicy::source);
            let needs = match source {
                Some(Source::Document(_)) => Needs::of(&rule.rule.cedar),
                Some(Source::Cedar) | None => Needs::ALL,
            };
            whole.needs = whole.needs.and(needs);
            // A rule that is not in its set must not vanish: nothing is decided without it.
            whole.broken |= match rule.policy() {
                Some(policy) => set.add(policy.new_id(id(place))).is_err(),
                None => true,
            };
        }
        whole
    }
}

fn policy(bundle: &CompiledBundle, number: u32) -> Option<&CompiledPolicy> {
    let policies = bundle.policies();
    usize::try_from(number).ok().and_then(|n| policies.get(n))
}

fn rules<'b>(
    bundle: &'b CompiledBundle,
    slice: &[u32],
) -> impl Iterator<Item = (Place, &'b CompiledRule)> {
    let known = slice
        .iter()
        .filter_map(|number| Some((*number, policy(bundle, *number)?)));
    known.flat_map(|(number, policy)| {
        let rules = policy.compiled_rules().iter().enumerate();
        rules.map(move |(place, rule)| ((number, place), rule))
    })
}

fn id((number, place): Place) -> PolicyId {
    PolicyId::new(format!("{number}.{place}"))
}

/// The place that an identifier made by [`id`] names.
fn place(id: &PolicyId) -> Option<Place> {
    let id: &str = id.as_ref();
    let (number, place) = id.split_once('.')?;
    Some((number.parse().ok()?, place.parse().ok()?))
}

/// What was said to a question.
#[derive(Debug, Default)]
pub(super) struct Said<'b> {
    pub(super) rules: Vec<(&'b CompiledPolicy, &'b CompiledRule)>,
    /// A document whose rule could not be evaluated.
    pub(super) failed: Option<&'b CompiledPolicy>,
}

impl<'b> Said<'b> {
    fn add(&mut self, bundle: &'b CompiledBundle, (number, place): Place) {
        let found = policy(bundle, number);
        let rule = found.and_then(|p| Some((p, p.compiled_rules().get(place)?)));
        self.rules.extend(rule);
    }

    fn hear(&mut self, bundle: &'b CompiledBundle, response: &Response) {
        let diagnostics = response.diagnostics();
        for id in diagnostics.reason() {
            if let Some(place) = place(id) {
                self.add(bundle, place);
            }
        }
        let failed = diagnostics.errors().filter_map(|error| match error {
            cedar_policy::AuthorizationError::PolicyEvaluationError(error) => {
                let (number, place) = place(error.policy_id())?;
                let policy = policy(bundle, number)?;
                let rule = policy.compiled_rules().get(place)?;
                (rule.mode == Mode::Enforce).then_some(policy)
            }
        });
        let failed = failed.chain(self.failed);
        self.failed = failed.min_by(|a, b| a.name().cmp(b.name()));
    }
}

/// One call, and what is known of it so far.
#[derive(Debug)]
pub(super) struct Asking<'a> {
    bundle: &'a CompiledBundle,
    case: &'a Case<'a>,
    sets: &'a Sets,
    /// `None` asks whole rules.
    matched: Option<&'a Matched>,
    known: Vec<Option<bool>>,
    request: Option<Request>,
}

impl<'a> Asking<'a> {
    /// Asks the rules of these sets; `whole` as their documents print them, scope and all.
    pub(super) fn new(
        bundle: &'a CompiledBundle,
        case: &'a Case<'a>,
        sets: &'a Sets,
        whole: bool,
    ) -> Self {
        let matched = sets.matched.as_ref().filter(|_| !whole);
        Self {
            bundle,
            case,
            sets,
            matched,
            known: vec![None; matched.map_or(0, |m| m.conditions.len())],
            request: None,
        }
    }

    /// Asks; `None` if there is no answer, and nothing may be decided.
    pub(super) fn ask(&mut self, question: Question) -> Option<Said<'a>> {
        self.by_conditions(question)
            .or_else(|| self.by_rules(question))
    }

    /// `None` where something could not be evaluated.
    fn by_conditions(&mut self, question: Question) -> Option<Said<'a>> {
        let matched = self.matched?;
        let mut said = Said::default();
        for rule in matched.rules.iter().filter(|r| r.question == question) {
            if self.meets(matched, rule)? {
                said.add(self.bundle, rule.place);
            }
        }
        let raw = match question {
            Question::Forbid => &matched.raw_forbid,
            Question::Permit => &matched.raw_permit,
            Question::Apply => return Some(said),
        };
        if !raw.is_empty() {
            let request = self.request(matched)?;
            let response = Authorizer::new().is_authorized(request, raw, &NO_ENTITIES);
            said.hear(self.bundle, &response);
        }
        Some(said)
    }

    fn meets(&mut self, matched: &Matched, rule: &Matching) -> Option<bool> {
        for (at, wanted) in &rule.asks {
            let is = match self.known.get(*at)? {
                Some(is) => *is,
                None => {
                    let is = self.evaluate(matched.conditions.get(*at)?, matched)?;
                    *self.known.get_mut(*at)? = Some(is);
                    is
                }
            };
            if is != *wanted {
                return Some(false);
            }
        }
        Some(true)
    }

    fn evaluate(&mut self, condition: &Condition, matched: &Matched) -> Option<bool> {
        let request = self.request(matched)?;
        match eval_expression(request, &NO_ENTITIES, &condition.expression) {
            Ok(EvalResult::Bool(is)) => Some(is),
            _ => None,
        }
    }

    fn request(&mut self, matched: &Matched) -> Option<&Request> {
        if self.request.is_none() {
            let names = NAMES.as_ref()?;
            self.request = names.request(self.case, matched.needs, Asked::Call);
        }
        self.request.as_ref()
    }

    fn by_rules(&self, question: Question) -> Option<Said<'a>> {
        let make = || Whole::of(self.bundle, &self.sets.slice);
        let whole = self.sets.whole.get_or_init(make);
        if whole.broken {
            return None;
        }
        let (set, asked) = match question {
            Question::Forbid => (&whole.forbid, Asked::Call),
            Question::Permit => (&whole.permit, Asked::Call),
            Question::Apply => (&whole.apply, Asked::Apply),
        };
        let request = NAMES.as_ref()?.request(self.case, whole.needs, asked)?;
        let mut said = Said::default();
        if !set.is_empty() {
            let response = Authorizer::new().is_authorized(&request, set, &NO_ENTITIES);
            said.hear(self.bundle, &response);
        }
        Some(said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::document::Document;
    use crate::policy::testing::with_facts;
    use crate::policy::verdict::{Decision, Policy as _, Verdict};

    /// What Cedar cannot evaluate: the sum is out of range.
    const OVERFLOWS: &str = "context.week_minute + 9223372036854775807 > 0";

    fn document(name: &str, members: &str) -> CompiledPolicy {
        let text = format!(
            r#"{{"policy_name": "{name}", {members}, "tests": [{{"name": "t", "expect": "allow",
            "call": {{"node": "desk", "agent": "robot", "server": "shop", "tool": "get_it",
            "time": "2026-11-22T12:00:00Z"}}}}]}}"#
        );
        let document = Document::parse(name, text.as_bytes());
        CompiledPolicy::of_document(document.unwrap())
    }

    /// As slices decide and as whole rules do, which must be the same.
    fn decide(policies: Vec<CompiledPolicy>) -> (CompiledBundle, Decision) {
        let bundle = CompiledBundle::of(1, policies, &[], &[]);
        let call = &bundle.policies()[0].document().unwrap().tests[0].call;
        let decision = with_facts(
            call,
            |_| false,
            |facts| {
                let decision = bundle.evaluate(facts);
                assert_eq!(decision, bundle.evaluate_unsliced(facts));
                decision
            },
        );
        (bundle, decision)
    }

    #[test]
    fn what_cannot_be_evaluated_denies_and_vanishes_nowhere() {
        let grant = || document("grant", r#""allowed_tools": ["*/*"]"#);
        for (mode, when, unless, expected) in [
            ("enforce", None, Some(OVERFLOWS), "deny policy_error"),
            // Only observes.
            ("observe", None, Some(OVERFLOWS), "allow"),
            // Cedar does not come so far.
            ("enforce", Some("false"), Some(OVERFLOWS), "allow"),
            (
                "enforce",
                Some("true"),
                Some(OVERFLOWS),
                "deny policy_error",
            ),
            (
                "enforce",
                Some(OVERFLOWS),
                Some("true"),
                "deny policy_error",
            ),
            // Neither true nor false.
            ("enforce", Some("context.kind"), None, "deny policy_error"),
            (
                "enforce",
                Some("context.kind == \"tool\""),
                None,
                "deny intent_restricted",
            ),
            ("enforce", None, Some("context.kind == \"tool\""), "allow"),
        ] {
            let members = format!(r#""restricted_intents": ["none"], "mode": "{mode}""#);
            let mut odd = document("odd", &members);
            odd.restate(when, unless);
            let (_, decision) = decide(vec![grant(), odd]);
            let said = match &decision.verdict {
                Verdict::Allow(_) => "allow".to_owned(),
                other => format!("{} {}", other.name(), other.denial().unwrap().reason),
            };
            assert_eq!(said, expected, "{mode} {when:?} {unless:?}");
        }
    }

    #[test]
    fn what_cedar_does_not_read_denies() {
        let mut odd = document("odd", r#""allowed_tools": ["*/*"]"#);
        odd.restate(Some("context."), None);
        let (bundle, decision) = decide(vec![odd]);
        assert_eq!(decision.verdict.denial().unwrap().reason, "policy_error");
        assert!(Sets::of(&bundle, &[0]).matched.is_none());
    }

    /// Rules share the conditions that they state alike, and none is asked about the scope.
    #[test]
    fn a_condition_is_there_once() {
        let members = |group| {
            format!(
                r#""subjects": {{"groups": ["{group}"]}}, "servers": ["shop"], "allowed_tools": ["*/*"],
                "restricted_intents": ["delete"]"#
            )
        };
        let policies = vec![document("a", &members("x")), document("b", &members("y"))];
        let bundle = CompiledBundle::of(1, policies, &[], &[]);
        let sets = Sets::of(&bundle, &[0, 1]);
        let matched = sets.matched.as_ref().unwrap();
        // The kind, and the intents: that all tools are allowed is no condition.
        assert_eq!(matched.conditions.len(), 3, "{:?}", matched.conditions);
        assert_eq!(matched.rules.len(), 6);
        let needed = Needs::of("context.kind context.intents");
        assert_eq!(matched.needs, needed);
        assert!(sets.whole.get().is_none());
    }

    /// Who a human is counts for a grant only where somebody vouches, which no slice looks at.
    #[test]
    fn a_human_is_asked_for() {
        let members = r#""subjects": {"humans": ["ada"]}, "restricted_intents": ["delete"],
            "allowed_tools": ["*/*"]"#;
        let bundle = CompiledBundle::of(1, vec![document("a", members)], &[], &[]);
        let matched = Sets::of(&bundle, &[0]).matched.unwrap();
        let asks = |question| {
            let of = matched.rules.iter().filter(|r| r.question == question);
            of.map(|r| r.asks.len()).collect::<Vec<_>>()
        };
        assert_eq!(asks(Question::Forbid), [1, 1]);
        assert_eq!(asks(Question::Permit), [3]);
    }

    #[test]
    fn no_more_sets_are_ready_than_may_be() {
        let bundle = CompiledBundle::empty(1);
        let sets = Arc::new(Sets::of(&bundle, &[]));
        let mut ready = Ready::default();
        let size = 1024_u32;
        for first in 0..200 {
            let slice: Vec<u32> = (first..first + size).collect();
            ready.keep(&slice, &sets);
            assert!(ready.documents <= MAX_READY);
            assert!(ready.of(&slice).is_some());
        }
        assert!(ready.of(&(0..size).collect::<Vec<_>>()).is_none());
    }
}
