//! `hedgerow restore`: a backup into a state directory, without rolling trust back.

use std::path::PathBuf;

use protocol::id::{MeshId, NodeId};
use protocol::time::UnixSeconds;

use super::Context;
use super::run::seam;
use crate::exit::Failed;
use crate::output::{instant, or_dash};
use crate::passphrase::{PASSPHRASE, given, open_with};

/// Restore a backup into an empty state directory.
///
/// Tickets not used up at the time of the backup are void, sequences go on ahead of whatever was
/// used since, and a mark in the state directory tells the node that it comes from a backup. With
/// --replace it takes the place of the same node, which must not be running: the longer record of
/// decisions and the later of all times are kept, and what was there is moved aside, not removed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow restore /mnt/backup/a-2026-11-22.hedgerow
  sudo -u hedgerow hedgerow --state-dir /var/lib/hedgerow restore --replace a.hedgerow")]
pub(crate) struct Restore {
    /// The file that `hedgerow backup` wrote
    file: PathBuf,
    /// Take the place of the node that is there
    #[arg(long)]
    replace: bool,
    /// Read the backup's passphrase from this file; else HEDGEROW_PASSPHRASE, else the terminal
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

/// What is printed.
#[derive(Debug, serde::Serialize)]
struct Restored {
    state_dir: PathBuf,
    node: NodeId,
    mesh: MeshId,
    made: UnixSeconds,
    entries: Vec<&'static str>,
    tickets_voided: usize,
    store_kept: bool,
    previous: Option<PathBuf>,
}

impl Restore {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failed> {
        let state = context.state()?;
        let runtime = super::runtime()?;
        let attempt = |passphrase: Option<&seam::Passphrase>| {
            let restored = seam::restore(&self.file, state.path(), passphrase, self.replace);
            super::wait_for(&runtime, restored)
        };
        let given = given(self.passphrase_file.as_deref(), PASSPHRASE)?;
        let report = match attempt(given.as_ref()) {
            // Only a sealed one asks.
            Err(failed) if failed.reason.as_deref() == Some(seam::PASSPHRASE_MISSING) => {
                open_with(None, "passphrase of the backup: ", |typed| {
                    attempt(Some(typed))
                })?
            }
            outcome => outcome?,
        };
        let restored = Restored {
            state_dir: state.path().to_owned(),
            node: report.node,
            mesh: report.mesh,
            made: report.made,
            entries: report.entries,
            tickets_voided: report.tickets_voided,
            store_kept: report.store_kept,
            previous: report.previous,
        };
        context.output.data(&restored, |text| {
            text.line(format!("restored `{}`", restored.state_dir.display()));
            text.field("node", restored.node.to_string());
            text.field("backup of", instant(restored.made.0));
            text.field("tickets", format!("{} void now", restored.tickets_voided));
            if restored.store_kept {
                text.field("store", "kept: its record of decisions is the longer one");
            }
            if restored.previous.is_some() {
                let previous = restored.previous.as_ref().map(|p| p.display());
                text.field("before", or_dash(previous));
            }
            text.line("start it with `hedgerow run`; its peers tell it what has come since");
        })
    }
}
