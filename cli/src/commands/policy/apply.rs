//! `hedgerow policy apply` and `remove`: other documents in force.

use std::path::PathBuf;

use protocol::name::PolicyName;

use super::draft::{Draft, Signing};
use super::{definitions, files, own_tests, sets};
use crate::commands::Context;
use crate::exit::{Failed, say};

/// Put documents in force, each in place of the one of its name.
///
/// A tool that a document names without its server means the definitions of that name that admins
/// approved. Those announced now by servers in the document's scope are shown and approved with the
/// documents, for every document; one that changes later is denied until it is approved again
/// (`hedgerow policy pin`).
///
/// The tests that the documents carry are run first, as `hedgerow policy test` runs them; if one fails,
/// nothing is changed. Which of them, or of other documents', do not hold beside all that will be in
/// force is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow policy check readonly.json && hedgerow policy apply readonly.json
  hedgerow policy apply policies/*.json --replace --yes --passphrase-file admin.pass")]
pub(super) struct Apply {
    /// The documents; `-` is stdin; a file ending in `.cedar` is raw Cedar, named by its file
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Remove every other document
    #[arg(long)]
    replace: bool,
    /// Put them in force without running their tests
    #[arg(long)]
    no_tests: bool,
    #[command(flatten)]
    signing: Signing,
}

/// Take documents out of force.
#[derive(Debug, clap::Args)]
pub(super) struct Remove {
    /// Their names
    #[arg(required = true)]
    names: Vec<PolicyName>,
    #[command(flatten)]
    signing: Signing,
}

impl Apply {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failed> {
        let loaded = files::load(&self.files)?;
        let mut draft = Draft::begin(context).await?;
        if self.replace {
            draft.body.policies.clear();
        }
        for document in &loaded {
            approve_bare(&mut draft, document)?;
            sets::put(&mut draft.body, document.carried.clone());
        }
        if !self.no_tests {
            own_tests::run(draft.version, &draft.before, &draft.body, &loaded)?;
        }
        draft.publish(context, self.signing).await
    }
}

/// Approves what the tools a document names without a server are now, at the servers in its scope.
fn approve_bare(draft: &mut Draft, loaded: &files::Loaded) -> Result<(), Failed> {
    let tools = draft.tools.clone();
    let policy = &loaded.carried.name;
    for meant in definitions::meant(&loaded.compiled, &tools, &draft.body.pins.clone()) {
        let name = meant.name.as_str();
        if meant.tools.is_empty() && !meant.approved {
            say(&crate::inert::inert(&format!(
                "warning: policy `{policy}` allows `{name}`, but no server in its scope announces \
                 such a tool now; approve it later with `hedgerow policy pin`"
            )));
        }
        for tool in meant.tools {
            say(&crate::inert::inert(&format!(
                "`{name}` is {}",
                definitions::described(tool)
            )));
            draft.pin(tool)?;
        }
    }
    Ok(())
}

impl Remove {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failed> {
        let mut draft = Draft::begin(context).await?;
        for name in &self.names {
            let before = draft.body.policies.len();
            draft.body.policies.retain(|policy| policy.name != *name);
            if draft.body.policies.len() == before {
                return Err(Failed::input(format!("no policy `{name}` is in force"))
                    .with_reason("unknown_policy")
                    .with_hint("see `hedgerow policy show`"));
            }
        }
        draft.publish(context, self.signing).await
    }
}
