//! `hedgerow policy diff`: which calls would be decided otherwise.

use std::path::PathBuf;

use protocol::control::{Tool, route};
use protocol::name::PolicyNameError;
use protocol::policy::diff::{Change, Compared, compare, to_json};
use protocol::policy::{CEDAR_MEDIA_TYPE, CompiledBundle};
use protocol::trust::bundle::{BundleBody, Policy as Carried};
use protocol::trust::changes::pins;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{definitions, files, sets};
use crate::commands::Context;
use crate::exit::{Exit, Failed};
use crate::output::{Text, counted};

/// Show which calls would be decided otherwise, each with an example.
///
/// With one file or directory: what putting these documents in force would change. With two: what
/// changes from the first set to the second, which needs no node. Calls are made from what the
/// documents that differ name, at and around every bound, and decided at both ends and at a relay.
/// Of calls that are decided alike it is compared what goes with the decision: limits, what happens
/// to results, who may approve and within what time, whether operators are told, and what documents
/// that only observe report. Definitions of tools that applying would approve are named; what calls
/// they would let pass is not tried. What is not tried is said. Before there is a bundle members may call
/// everything. Exit code 0, whether anything changes or not.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow policy diff new.json            # against what is in force
  hedgerow policy diff new/ --replace      # as if every other document were removed
  hedgerow policy diff old/ new/           # without a node")]
pub(super) struct Diff {
    /// A document, or a directory of them
    first: PathBuf,
    /// Another; the first is then what was before
    second: Option<PathBuf>,
    /// Compare with what is in force as if every document not given were removed
    #[arg(long, conflicts_with = "second")]
    replace: bool,
}

#[derive(Serialize)]
struct Told {
    documents: Vec<Document>,
    /// Definitions of tools that applying would approve, and those it would approve no longer.
    definitions: Vec<String>,
    changes: Vec<Changed>,
    tried: usize,
    not_covered: Vec<String>,
}

#[derive(Serialize)]
struct Document {
    policy: String,
    change: &'static str,
}

#[derive(Serialize)]
struct Changed {
    /// What of the call: `call`, `limits`, `result`, `approval`, `alert` or `observed`.
    about: &'static str,
    from: &'static str,
    to: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    why: String,
    /// A call as the tests of documents write it.
    example: Box<RawValue>,
    calls: usize,
}

impl Diff {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failed> {
        let sets = self.sets(context).await?;
        let told = told(compare(&sets.before, &sets.after), sets.definitions)?;
        context.output.data(&told, |text| show(&told, text))
    }

    async fn sets(&self, context: &Context) -> Result<Sets, Failed> {
        let load = |path: &PathBuf| files::load(&sets::documents(std::slice::from_ref(path))?);
        let alone = |loaded: Vec<files::Loaded>| {
            let compiled = loaded.into_iter().map(|l| l.compiled).collect();
            CompiledBundle::of(0, compiled, &[], &[])
        };
        let first = load(&self.first)?;
        if let Some(second) = &self.second {
            return Ok(Sets {
                before: alone(first),
                after: alone(load(second)?),
                definitions: Vec::new(),
            });
        }
        let client = context.client()?;
        let running = sets::running(&client).await?;
        let tools: Vec<Tool> = client.read(route::TOOLS).await?;
        let mut base: BundleBody = running.body.clone();
        if self.replace {
            base.policies.clear();
        }
        let mut approving = base.clone();
        for document in &first {
            let meant = definitions::meant(&document.compiled, &tools, &base.pins);
            for tool in meant.into_iter().flat_map(|m| m.tools) {
                definitions::approve(&mut approving, &tools, tool)?;
            }
        }
        let definitions = pins(&base, &approving);
        let next = sets::with(&approving, first.into_iter().map(|l| l.carried));
        let version = running.version;
        let before = if version == 0 {
            sets::compile(0, &everything()?)?
        } else {
            running.compiled()?
        };
        Ok(Sets {
            before,
            after: sets::compile(version.saturating_add(1), &next)?,
            definitions,
        })
    }
}

/// What is compared.
struct Sets {
    before: CompiledBundle,
    after: CompiledBundle,
    definitions: Vec<String>,
}

/// The name under which that members may call everything, before there is a bundle, is told.
const NO_BUNDLE: &str = "before_any_bundle";

/// What decides before there is a bundle, as a policy.
fn everything() -> Result<BundleBody, Failed> {
    let name = NO_BUNDLE.parse();
    let name = name.map_err(|error: PolicyNameError| Failed::input(error.to_string()))?;
    Ok(BundleBody {
        policies: vec![Carried {
            name,
            media_type: CEDAR_MEDIA_TYPE.to_owned(),
            bytes: b"permit(principal, action, resource);".to_vec(),
        }],
        ..BundleBody::default()
    })
}

fn told(compared: Compared, definitions: Vec<String>) -> Result<Told, Failed> {
    let documents = compared.documents.into_iter();
    let documents = documents.filter(|d| d.policy != NO_BUNDLE);
    let documents = documents.map(|d| Document {
        change: match (d.before, d.after) {
            (true, true) => "changed",
            (false, _) => "added",
            (true, false) => "removed",
        },
        policy: d.policy,
    });
    let changes: Result<Vec<Changed>, Failed> = compared.changes.into_iter().map(changed).collect();
    Ok(Told {
        documents: documents.collect(),
        definitions,
        changes: changes?,
        tried: compared.tried,
        not_covered: compared.not_covered,
    })
}

fn changed(change: Change) -> Result<Changed, Failed> {
    let example = RawValue::from_string(to_json(&change.example)).map_err(|error| {
        Failed::new(
            Exit::Failure,
            format!("an example cannot be written: {error}"),
        )
    })?;
    Ok(Changed {
        about: change.about.name(),
        from: change.from,
        to: change.to,
        policy: change.policy,
        rule: change.rule,
        why: change.why,
        example,
        calls: change.calls,
    })
}

fn show(told: &Told, text: &mut Text) {
    for definition in &told.definitions {
        text.line(format!("applying {definition}, for every document"));
    }
    if told.documents.is_empty() {
        text.line("no document differs");
        return;
    }
    for document in &told.documents {
        text.line(format!("{:<8} {}", document.change, document.policy));
    }
    if told.changes.is_empty() {
        text.line(format!(
            "of {} tried none is decided otherwise",
            counted(told.tried, "call", "calls")
        ));
    }
    for change in &told.changes {
        let by = match (&change.policy, &change.rule) {
            (Some(policy), Some(rule)) => format!("`{rule}` of `{policy}`"),
            (Some(policy), None) => format!("what `{policy}` permits or not"),
            (None, _) => "no policy permits it".to_owned(),
        };
        text.heading(match (change.about, change.from == change.to) {
            ("call", _) => format!("{} → {}: {by}", change.from, change.to),
            (about, true) => format!("{about}: {by}"),
            (about, false) => format!("{about}: {} → {}: {by}", change.from, change.to),
        });
        text.line(format!("  {}", change.why));
        text.line(format!("  example: {}", change.example.get()));
    }
    text.heading(format!(
        "{} tried. Not tried:",
        counted(told.tried, "call was", "calls were")
    ));
    for left_out in &told.not_covered {
        text.line(format!("  {left_out}"));
    }
}
