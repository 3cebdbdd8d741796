//! `hedgerow policy lint`: what documents say that their author can hardly mean. Needs no node.

use std::collections::BTreeMap;
use std::path::PathBuf;

use protocol::policy::CompiledBundle;
use protocol::policy::lint::{Linted, lint};
use serde::Serialize;

use super::{files, sets};
use crate::commands::Context;
use crate::exit::{Exit, Failed};
use crate::output::Text;

/// Find rules that never decide, say nothing, repeat or contradict others, or permit too much.
///
/// Without files: the policies in force. Nothing found is no proof that a policy is right; what is
/// found is certain. Exit code 1 if anything is.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow policy lint policies/*.json
  hedgerow policy lint                     # what is in force
  hedgerow policy lint new.json --format json")]
pub(super) struct Lint {
    /// The documents; a file ending in `.cedar` is raw Cedar, named by its file; a directory means
    /// all of its documents
    files: Vec<PathBuf>,
}

#[derive(Serialize)]
struct Told {
    findings: Vec<Finding>,
    /// Whether every document was compared with every other.
    whole: bool,
}

#[derive(Serialize)]
struct Finding {
    code: &'static str,
    document: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    path: String,
    why: String,
    mend: &'static str,
}

impl Lint {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failed> {
        let (linted, files) = if self.files.is_empty() {
            let running = sets::running(&context.client()?).await?;
            (lint(&running.compiled()?), BTreeMap::new())
        } else {
            let loaded = files::load(&sets::documents(&self.files)?)?;
            let named = loaded
                .iter()
                .map(|l| (l.carried.name.to_string(), l.path.clone()));
            let files: BTreeMap<String, PathBuf> = named.collect();
            let compiled = loaded.into_iter().map(|l| l.compiled).collect();
            (lint(&CompiledBundle::of(0, compiled, &[], &[])), files)
        };
        let told = told(linted, &files);
        context.output.data(&told, |text| show(&told, text))?;
        if told.findings.is_empty() {
            return Ok(());
        }
        Err(Failed::silent(Exit::Failure))
    }
}

fn told(linted: Linted, files: &BTreeMap<String, PathBuf>) -> Told {
    let findings = linted.findings.into_iter().map(|found| Finding {
        code: found.code.name(),
        file: files.get(&found.document).cloned(),
        document: found.document,
        path: found.path,
        why: found.why,
        mend: found.mend,
    });
    Told {
        findings: findings.collect(),
        whole: linted.whole,
    }
}

fn show(told: &Told, text: &mut Text) {
    for found in &told.findings {
        let place = match &found.file {
            Some(file) => format!("{} `{}`", file.display(), found.document),
            None => format!("`{}`", found.document),
        };
        let path = if found.path.is_empty() {
            String::new()
        } else {
            format!(" at `{}`", found.path)
        };
        text.warning(format!("{place}{path}: {} [{}]", found.why, found.code));
        text.line(format!("      mend: {}", found.mend));
    }
    if told.findings.is_empty() {
        text.check(true, "nothing found");
    }
    if !told.whole {
        text.line("not every document was compared with every other: there are too many");
    }
}
