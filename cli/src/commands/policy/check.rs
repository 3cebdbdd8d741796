//! `hedgerow policy check`: whether documents hold. Needs no node.

use std::path::PathBuf;

use protocol::policy::Action;
use protocol::policy::compile::{Decidable, Effect, Rule};
use protocol::policy::document::{Document, Mode};
use serde::Serialize;

use super::{files, sets};
use crate::commands::Context;
use crate::exit::Failed;

/// Read documents and say whether they hold; needs no node.
///
/// Every rule is shown with where it can be decided: on the signed header, at every hop, or only
/// at the two ends, where the arguments are.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow policy check readonly.json
  hedgerow policy check policies/*.json policies/*.cedar --format json")]
pub(super) struct Check {
    /// The documents; `-` is stdin; a file ending in `.cedar` is raw Cedar, named by its file; a
    /// directory means all of its documents
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

#[derive(Serialize)]
struct Checked {
    file: PathBuf,
    policy: String,
    /// Whether its word counts, or it only observes; each policy of raw Cedar says that itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<&'static str>,
    grants: bool,
    /// Whether it permits what was approved under it.
    permits_approved: bool,
    effect: &'static str,
    rules: Vec<CheckedRule>,
}

#[derive(Serialize)]
struct CheckedRule {
    place: String,
    effect: &'static str,
    /// Whether it only reports.
    observes: bool,
    /// What a violation leads to; what permits has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'static str>,
    /// Whether it permits only what was approved.
    once_approved: bool,
    decidable: &'static str,
}

impl Check {
    pub(super) fn run(self, context: &Context) -> Result<(), Failed> {
        let loaded = files::load(&sets::documents(&self.files)?)?;
        let checked: Vec<Checked> = loaded.iter().map(checked).collect();
        context.output.data(&checked, |text| {
            for document in &checked {
                text.check(
                    true,
                    format!("{}: {}", document.file.display(), document.policy),
                );
                if document.mode == Some(Mode::Observe.name()) {
                    text.line(
                        "      only observes: it reports, and neither permits nor stops anything",
                    );
                }
                if document.permits_approved && !document.grants {
                    text.line(format!("      {}", document.effect));
                }
                for rule in &document.rules {
                    // Of a document it is said above.
                    let observes = rule.observes && document.mode.is_none();
                    text.line(format!(
                        "      {:<7} {:<16} {:<11} {}{}",
                        rule.effect,
                        rule.then(),
                        rule.decidable,
                        rule.place,
                        if observes { " (only observes)" } else { "" }
                    ));
                }
            }
        })
    }
}

fn checked(loaded: &files::Loaded) -> Checked {
    let document = loaded.compiled.document();
    let rules = loaded
        .compiled
        .modes()
        .flat_map(|(rule, mode)| match rule.effect {
            Effect::Forbid(_) => vec![one(rule, mode, "forbids")],
            Effect::Permit => vec![one(rule, mode, "permits")],
            Effect::Apply => document.map(at_the_ends).unwrap_or_default(),
        });
    Checked {
        file: loaded.path.clone(),
        policy: loaded.carried.name.to_string(),
        mode: document.map(|d| d.mode.name()),
        grants: loaded.compiled.grants(),
        permits_approved: loaded.compiled.permits_approved(),
        effect: loaded.compiled.effect(),
        rules: rules.collect(),
    }
}

impl CheckedRule {
    /// What comes of it, or when it counts.
    fn then(&self) -> &'static str {
        match self.action {
            _ if self.once_approved => "once approved",
            Some(action) => action,
            None => "-",
        }
    }
}

fn one(rule: &Rule, mode: Mode, effect: &'static str) -> CheckedRule {
    CheckedRule {
        place: rule.place.clone(),
        effect,
        observes: mode == Mode::Observe,
        action: (rule.effect != Effect::Permit).then(|| rule.action.name()),
        once_approved: rule.once_approved,
        decidable: rule.decidable.name(),
    }
}

/// What goes with calls is found by the header, and carried out at the two ends only.
fn at_the_ends(document: &Document) -> Vec<CheckedRule> {
    let places = [
        (document.limits.is_some(), "/limits"),
        (document.on_result.is_some(), "/on_result"),
    ];
    let there = places.into_iter().filter(|(there, _)| *there);
    there
        .map(|(_, place)| CheckedRule {
            place: place.to_owned(),
            effect: "applies",
            observes: document.mode == Mode::Observe,
            // Neither a call over a limit nor a result is ever held.
            action: Some(match document.action {
                Action::RequireApproval => Action::Block.name(),
                action => action.name(),
            }),
            once_approved: false,
            decidable: Decidable::Edge.name(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_results_are_of_the_two_ends() {
        let json = br#"{"policy_name": "p", "limits": {"calls": 1}, "on_result": {"tag": ["x"]}}"#;
        let document = Document::parse("p", json).unwrap();
        let told: Vec<_> = at_the_ends(&document)
            .into_iter()
            .map(|rule| (rule.place, rule.decidable))
            .collect();
        let ends = |place: &str| (place.to_owned(), "edges only");
        assert_eq!(told, [ends("/limits"), ends("/on_result")]);
        let held = br#"{"policy_name": "p", "limits": {"calls": 1},
            "action_on_violation": "require_approval"}"#;
        let held = Document::parse("p", held).unwrap();
        assert_eq!(at_the_ends(&held)[0].action, Some("block"));
    }
}
