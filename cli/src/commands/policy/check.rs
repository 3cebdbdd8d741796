//! `hedgerow policy check`: whether documents hold. Needs no node.

use std::path::PathBuf;

use protocol::policy::compile::Effect;
use serde::Serialize;

use super::files;
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
    /// The documents; `-` is stdin; a file ending in `.cedar` is raw Cedar, named by its file
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

#[derive(Serialize)]
struct Checked {
    file: PathBuf,
    policy: String,
    grants: bool,
    rules: Vec<CheckedRule>,
}

#[derive(Serialize)]
struct CheckedRule {
    place: String,
    effect: &'static str,
    action: &'static str,
    decidable: &'static str,
}

impl Check {
    pub(super) fn run(self, context: &Context) -> Result<(), Failed> {
        let loaded = files::load(&self.files)?;
        let checked: Vec<Checked> = loaded.iter().map(checked).collect();
        context.output.data(&checked, |text| {
            for document in &checked {
                text.check(
                    true,
                    format!("{}: {}", document.file.display(), document.policy),
                );
                for rule in &document.rules {
                    text.line(format!(
                        "      {:<7} {:<16} {:<11} {}",
                        rule.effect, rule.action, rule.decidable, rule.place
                    ));
                }
            }
        })
    }
}

fn checked(loaded: &files::Loaded) -> Checked {
    let rules = loaded.compiled.rules().map(|rule| CheckedRule {
        place: rule.place.clone(),
        effect: match rule.effect {
            Effect::Forbid(_) => "forbids",
            Effect::Permit => "permits",
            Effect::Apply => "applies",
        },
        action: rule.action.name(),
        decidable: rule.decidable.name(),
    });
    Checked {
        file: loaded.path.clone(),
        policy: loaded.carried.name.to_string(),
        grants: loaded
            .compiled
            .document()
            .is_none_or(protocol::policy::document::Document::grants),
        rules: rules.collect(),
    }
}
