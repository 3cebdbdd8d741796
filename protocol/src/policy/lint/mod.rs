//! What a document says that its author can hardly mean: rules that never decide, say nothing, say
//! the same twice, contradict each other, or permit more than anybody looked at.
//!
//! A finding is no error: such a document is read, and does what it says. Everything found is
//! certain, by the texts of the globs and words alone; what would need to know the calls that are
//! made is not looked for. Work is bounded by [`MAX_COMPARED`]; a bundle too large to compare every
//! document with every other is said to be ([`Linted::whole`]).

mod across;
mod alone;
mod overlap;

use super::CompiledBundle;
use super::compile::{CompiledPolicy, CompiledRule, Effect, Rule};
use super::document::{Document, Mode};
use super::verdict::Action;

/// Most pairs of documents compared with each other.
pub const MAX_COMPARED: usize = 1_000_000;

/// Most findings reported; more are not read.
pub const MAX_FINDINGS: usize = 1000;

/// What is the matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// Another document decides before it always.
    Shadowed,
    /// It says what is said already.
    Redundant,
    /// It never makes a difference.
    Vacuous,
    /// It cannot be met, or takes back what the same document permits.
    Contradictory,
    /// It permits, or means, everybody or everything.
    OverBroad,
    /// It permits calls, once approved, that nothing else permits.
    OnlyApproved,
    /// No rule derives it.
    Underivable,
}

impl Code {
    /// All.
    pub const ALL: [Self; 7] = [
        Self::Shadowed,
        Self::Redundant,
        Self::Vacuous,
        Self::Contradictory,
        Self::OverBroad,
        Self::OnlyApproved,
        Self::Underivable,
    ];

    /// Its stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shadowed => "shadowed",
            Self::Redundant => "redundant",
            Self::Vacuous => "vacuous",
            Self::Contradictory => "contradictory",
            Self::OverBroad => "over_broad",
            Self::OnlyApproved => "only_approved",
            Self::Underivable => "underivable",
        }
    }
}

/// One thing that was found. Its texts quote documents: make them inert before they are shown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The document.
    pub document: String,
    /// Where in it, as a JSON pointer; empty for the whole.
    pub path: String,
    /// What is the matter.
    pub code: Code,
    /// Why, one line for people.
    pub why: String,
    /// What its author can do.
    pub mend: &'static str,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Linted {
    /// By document, place and code.
    pub findings: Vec<Finding>,
    /// Whether everything was compared and everything found is listed.
    pub whole: bool,
}

/// Where findings are collected.
struct Notes {
    document: String,
    findings: Vec<Finding>,
}

impl Notes {
    fn note(&mut self, path: impl Into<String>, code: Code, why: String, mend: &'static str) {
        self.findings.push(Finding {
            document: self.document.clone(),
            path: path.into(),
            code,
            why,
            mend,
        });
    }
}

/// Looks at every document of a bundle, alone and beside the others.
#[must_use]
pub fn lint(bundle: &CompiledBundle) -> Linted {
    let mut findings = Vec::new();
    for policy in bundle.policies() {
        let mut notes = Notes {
            document: policy.name().to_string(),
            findings: Vec::new(),
        };
        match policy.document() {
            Some(document) => {
                alone::look(document, &mut notes);
                unvouched(bundle, document, &mut notes);
                unvouched_approvers(bundle, document, &mut notes);
                only_approved(bundle, document, &mut notes);
            }
            None => cedar(policy, &mut notes),
        }
        findings.append(&mut notes.findings);
    }
    let (mut between, compared) = across::look(bundle.policies());
    findings.append(&mut between);
    findings.sort();
    findings.dedup();
    let whole = compared && findings.len() <= MAX_FINDINGS;
    findings.truncate(MAX_FINDINGS);
    Linted { findings, whole }
}

/// Whom a document permits something for being who they are, where nobody may say who they are.
fn unvouched(bundle: &CompiledBundle, document: &Document, notes: &mut Notes) {
    let permits =
        document.mode == Mode::Enforce && (document.grants() || document.permits_approved());
    let subjects = document.scope.subjects.as_ref();
    let humans = subjects.is_some_and(|s| !s.humans.is_empty());
    if permits && humans && bundle.vouchers.is_empty() {
        let why = "no document vouches for humans, so nothing is permitted to any of these";
        let mend = "apply a document with `vouches_for_humans` beside it, or name nodes, groups or \
                    agents";
        notes.note("/subjects/humans", Code::Vacuous, why.to_owned(), mend);
    }
}

/// Who is to approve what a document holds, where nobody may say that they are who they are.
fn unvouched_approvers(bundle: &CompiledBundle, document: &Document, notes: &mut Notes) {
    let Some(approval) = &document.approval else {
        return;
    };
    let holds = approval.required || document.action == Action::RequireApproval;
    let by = approval.by.as_ref().filter(|by| !by.humans.is_empty());
    let Some(by) = by.filter(|_| holds && bundle.vouchers.is_empty()) else {
        return;
    };
    let others = !(by.nodes.is_empty() && by.groups.is_empty() && by.agents.is_empty());
    let why = if others {
        "no document vouches for humans, so none of these can approve"
    } else {
        "no document vouches for humans, so nobody can approve, and what is held waits in vain"
    };
    let mend = "apply a document with `vouches_for_humans` beside it, or name nodes, groups or \
                agents";
    notes.note("/approval/by/humans", Code::Vacuous, why.to_owned(), mend);
}

/// A document that restricts, and yet is the only one by which calls on its servers could pass: what
/// is approved under it does.
fn only_approved(bundle: &CompiledBundle, document: &Document, notes: &mut Notes) {
    if document.grants() || !document.permits_approved() {
        return;
    }
    let could = |policy: &CompiledPolicy| match policy.document() {
        Some(other) => {
            other.mode == Mode::Enforce
                && other.grants()
                && overlap::servers_meet(&document.scope, &other.scope)
        }
        None => policy.grants(),
    };
    if !bundle.policies().iter().any(could) {
        let required = document.approval.as_ref().is_some_and(|a| a.required);
        let path = if required && document.action != Action::RequireApproval {
            "/approval/required"
        } else {
            "/action_on_violation"
        };
        let why = "nothing else permits calls on these servers: what is approved under this passes, \
                   and nothing else does";
        let mend = "permit beside it what may pass without approval, or `block` what never may";
        notes.note(path, Code::OnlyApproved, why.to_owned(), mend);
    }
}

/// A `permit` without a condition is for everybody and everything, and so is a `forbid`.
fn cedar(policy: &CompiledPolicy, notes: &mut Notes) {
    let conditional = |rule: &Rule| {
        let words = ["when", "unless", "==", " in ", " is "];
        words.iter().any(|word| rule.cedar.contains(word))
    };
    for CompiledRule { rule, mode, .. } in policy.compiled_rules() {
        let (why, mend) = match rule.effect {
            _ if conditional(rule) => continue,
            Effect::Permit => (
                "this `permit` has no condition: every call of everybody",
                "say in a `when` clause who may call what",
            ),
            Effect::Forbid(_) if *mode == Mode::Enforce && rule.action >= Action::Block => (
                "this `forbid` has no condition: whatever others permit, no call passes",
                "say in a `when` clause which calls it is about",
            ),
            Effect::Forbid(_) | Effect::Apply => continue,
        };
        notes.note(&rule.place, Code::OverBroad, why.to_owned(), mend);
    }
}
