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
use super::compile::{CompiledPolicy, Effect};
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
}

impl Code {
    /// All.
    pub const ALL: [Self; 5] = [
        Self::Shadowed,
        Self::Redundant,
        Self::Vacuous,
        Self::Contradictory,
        Self::OverBroad,
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
    let approves = document.action == Action::RequireApproval
        || document.approval.as_ref().is_some_and(|a| a.required);
    let permits = document.mode == Mode::Enforce && (document.grants() || approves);
    let subjects = document.scope.subjects.as_ref();
    let humans = subjects.is_some_and(|s| !s.humans.is_empty());
    if permits && humans && bundle.vouchers.is_empty() {
        let why = "no document vouches for humans, so nothing is permitted to any of these";
        let mend = "apply a document with `vouches_for_humans` beside it, or name nodes, groups or \
                    agents";
        notes.note("/subjects/humans", Code::Vacuous, why.to_owned(), mend);
    }
}

/// A `permit` without a condition is for everybody and everything.
fn cedar(policy: &CompiledPolicy, notes: &mut Notes) {
    for rule in policy.rules().filter(|r| r.effect == Effect::Permit) {
        let conditional = ["when", "unless", "==", " in ", " is "];
        if !conditional.iter().any(|word| rule.cedar.contains(word)) {
            let why = "this `permit` has no condition: every call of everybody".to_owned();
            let mend = "say in a `when` clause who may call what";
            notes.note(&rule.place, Code::OverBroad, why, mend);
        }
    }
}
