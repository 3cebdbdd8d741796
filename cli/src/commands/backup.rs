//! `hedgerow backup`: the state of a node in one sealed file, whether it runs or not.

use std::io;
use std::path::PathBuf;

use protocol::control::{COPY_PREFIX, StoreCopy, route};
use protocol::id::{MeshId, NodeId};
use protocol::time::UnixSeconds;
use tokio::net::UnixStream;

use super::Context;
use super::run::seam;
use crate::exit::{Exit, Failed};
use crate::output::instant;
use crate::passphrase::{PASSPHRASE, fresh, given};
use crate::state::State;

/// Write the state of this node, keys included, to one sealed file.
///
/// The file is sealed under a passphrase: --passphrase-file, else HEDGEROW_PASSPHRASE, else typed
/// twice. Works while the node runs, which then copies its store, and while it does not. An
/// existing file is never replaced, and what was written is read back before the command says so.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow backup /mnt/backup/a-2026-11-22.hedgerow
  sudo hedgerow --state-dir /var/lib/hedgerow backup /root/a.hedgerow
  hedgerow restore /mnt/backup/a-2026-11-22.hedgerow     on an empty host, or with --replace")]
pub(crate) struct Backup {
    /// The file to write; it must not exist
    file: PathBuf,
    /// Read the backup's passphrase from this file; else HEDGEROW_PASSPHRASE, else the terminal
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Do not seal it: whoever reads the file has this node's keys
    #[arg(long, conflicts_with = "passphrase_file")]
    unencrypted: bool,
}

/// What is printed.
#[derive(Debug, serde::Serialize)]
struct Written {
    file: PathBuf,
    node: NodeId,
    mesh: MeshId,
    made: UnixSeconds,
    bytes: u64,
    sealed: bool,
    entries: Vec<&'static str>,
    left_out: Vec<String>,
}

impl Backup {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failed> {
        let state = context.state()?;
        if self.file.symlink_metadata().is_ok() {
            let message = format!("`{}` exists already", self.file.display());
            return Err(Failed::input(message).with_hint("choose another name"));
        }
        let passphrase = match self.unencrypted {
            true => None,
            false => Some(fresh(given(self.passphrase_file.as_deref(), PASSPHRASE)?)?),
        };
        let copy = super::wait_for(&super::runtime()?, copy_of_running(context, &state))?;
        let made = seam::backup(
            state.path(),
            copy.as_deref(),
            passphrase.as_ref(),
            &self.file,
        )?;
        let written = Written {
            file: self.file,
            node: made.node,
            mesh: made.mesh,
            made: made.made,
            bytes: made.bytes,
            sealed: passphrase.is_some(),
            entries: made.entries,
            left_out: made.left_out,
        };
        context.output.data(&written, |text| {
            text.line(format!(
                "wrote `{}`, {} bytes, and read it back",
                written.file.display(),
                written.bytes
            ));
            text.field("node", written.node.to_string());
            text.field("made", instant(written.made.0));
            text.field("holds", written.entries.join(", "));
            if !written.left_out.is_empty() {
                text.field("left out", written.left_out.join(", "));
            }
            if !written.sealed {
                text.warning("it is not sealed: whoever reads it has this node's keys");
            }
        })
    }
}

/// Has the node copy its store, if it runs; the copy's name.
async fn copy_of_running(context: &Context, state: &State) -> Result<Option<String>, Failed> {
    if let Err(error) = UnixStream::connect(state.control_socket()).await {
        return match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Ok(None),
            _ => Err(Failed::io("cannot connect to the node", &error)),
        };
    }
    let copy: StoreCopy = context.client()?.submit(route::STORE_COPY, &()).await?;
    // It becomes part of a path.
    let rest = copy.file.strip_prefix(COPY_PREFIX).unwrap_or_default();
    if rest.is_empty() || !rest.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Err(Failed::new(
            Exit::Failure,
            format!(
                "the node names its copy `{}`, which is no name of one",
                copy.file
            ),
        ));
    }
    Ok(Some(copy.file))
}
