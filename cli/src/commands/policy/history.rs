//! `hedgerow policy history` and `rollback`: bundles that were in force, and one of them again.

use protocol::control::{BundleFile, PastBundle, route};

use super::draft::{Draft, Signing};
use super::sets;
use crate::client::Client;
use crate::commands::Context;
use crate::exit::Failed;
use crate::output::instant;

/// List the bundles that were in force on this node, the oldest first.
///
/// The newest 32 are kept, in backups too.
#[derive(Debug, clap::Args)]
pub(super) struct History {}

/// Put the content of an earlier bundle in force again, as a new version.
///
/// Policies, approved definitions, labels and sites become what they were. Signed like every
/// change; nothing that was signed later is undone but this.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow policy history
  hedgerow policy rollback          # to the bundle before the one in force
  hedgerow policy rollback 3")]
pub(super) struct Rollback {
    /// The bundle to go back to [default: the one before]
    version: Option<u64>,
    #[command(flatten)]
    signing: Signing,
}

impl History {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failed> {
        let kept: Vec<PastBundle> = context.client()?.read(route::PAST_BUNDLES).await?;
        context.output.data(&kept, |text| {
            if kept.is_empty() {
                text.line("no bundle was in force here yet");
                return;
            }
            let rows: Vec<Vec<String>> = kept
                .iter()
                .map(|bundle| {
                    vec![
                        bundle.version.to_string(),
                        instant(bundle.created.0),
                        bundle.policies.to_string(),
                        bundle.pins.to_string(),
                        if bundle.in_force { "in force" } else { "-" }.to_owned(),
                    ]
                })
                .collect();
            text.table(
                &["BUNDLE", "MADE", "POLICIES", "APPROVED TOOLS", "STATE"],
                &rows,
            );
        })
    }
}

impl Rollback {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failed> {
        let client = context.client()?;
        let version = match self.version {
            Some(version) => version,
            None => before(&client).await?,
        };
        let bundle = past(&client, version).await?;
        let mut draft = Draft::begin(context).await?;
        draft.body = sets::body(&bundle)?;
        crate::exit::say(&format!("as in bundle {version}:"));
        draft.publish(context, self.signing).await
    }
}

/// The bundle that was in force before the one that is.
async fn before(client: &Client) -> Result<u64, Failed> {
    let kept: Vec<PastBundle> = client.read(route::PAST_BUNDLES).await?;
    let at = kept.iter().position(|bundle| bundle.in_force);
    let earlier = at.and_then(|at| kept.get(..at)).unwrap_or(&kept);
    earlier.last().map(|bundle| bundle.version).ok_or_else(|| {
        Failed::input("no earlier bundle is kept here")
            .with_reason("unknown_bundle")
            .with_hint("see `hedgerow policy history`")
    })
}

/// A bundle that was in force.
pub(super) async fn past(client: &Client, version: u64) -> Result<BundleFile, Failed> {
    let path = format!("{}?version={version}", route::PAST_BUNDLE);
    client.read(&path).await
}
