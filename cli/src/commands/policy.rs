//! `hedgerow policy`: documents that say what may be called, read, tried, and put in force.
//!
//! Everything that only reads documents needs no node. What is in force is a bundle: a change is
//! the next bundle, signed by this host's admin key, and in force once enough admins have signed.

use clap::{Args, Subcommand};

mod apply;
mod assumed;
mod check;
mod definitions;
mod diff;
mod draft;
mod explain;
mod files;
mod history;
mod label;
mod lint;
mod own_tests;
mod pin;
mod schema;
mod sets;
mod show;
mod spread;
mod test;

use protocol::policy::PolicyError;
use protocol::trust::bundle::BundleBody;

use super::Context;
use crate::exit::Failed;

/// Say what may be called: show, check and change the mesh's policies.
///
/// A policy is a JSON document or Cedar. What no policy permits is denied once there is one; until
/// then members may call everything.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Policy {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Show(show::Show),
    Check(check::Check),
    Test(test::Test),
    Lint(lint::Lint),
    Diff(diff::Diff),
    Explain(Box<explain::Explain>),
    Apply(apply::Apply),
    Remove(apply::Remove),
    History(history::History),
    Rollback(history::Rollback),
    Pin(pin::Pin),
    Unpin(pin::Unpin),
    Label(label::Labels),
    Schema(schema::Schema),
}

/// The body of a bundle of these files.
///
/// # Errors
/// Everything that is wrong with them.
pub(crate) fn bundle_of(files: &[std::path::PathBuf]) -> Result<BundleBody, Failed> {
    let loaded = files::load(files)?;
    let mut policies: Vec<_> = loaded.into_iter().map(|one| one.carried).collect();
    policies.sort_by(|a, b| a.name.cmp(&b.name));
    let body = BundleBody {
        policies,
        ..BundleBody::default()
    };
    body.validate().map_err(|error| {
        Failed::input(format!("the bundle cannot be made: {error}")).with_reason(error.reason())
    })?;
    Ok(body)
}

/// What keeps the documents of a bundle from being used together.
pub(crate) fn refused(version: u64, errors: Vec<PolicyError>) -> Failed {
    let named = |error| (std::path::PathBuf::from(format!("bundle {version}")), error);
    let errors: Vec<_> = errors.into_iter().map(named).collect();
    files::refused(&errors)
}

impl Policy {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failed> {
        match self.action {
            Action::Show(show) => show.run(context).await,
            Action::Check(check) => check.run(context),
            Action::Test(test) => test.run(context),
            Action::Lint(lint) => lint.run(context).await,
            Action::Diff(diff) => diff.run(context).await,
            Action::Explain(explain) => explain.run(context).await,
            Action::History(history) => history.run(context).await,
            Action::Rollback(rollback) => rollback.run(context).await,
            Action::Apply(apply) => apply.run(context).await,
            Action::Remove(remove) => remove.run(context).await,
            Action::Pin(pin) => pin.run(context).await,
            Action::Unpin(unpin) => unpin.run(context).await,
            Action::Label(label) => label.run(context).await,
            Action::Schema(schema) => schema.run(context),
        }
    }
}
