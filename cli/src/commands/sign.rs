//! `hedgerow sign`: an admin's signature under a proposal. Needs no node and no network; works on
//! a machine that has an admin key and nothing else.

use std::path::{Path, PathBuf};

use hedgerow_crypto::Primitives;
use protocol::trust::Proposal;
use protocol::trust::proposal::MAX_PROPOSAL_BYTES;

use super::admin::{effects, refused, sign};
use super::{Context, read_file, write_new};
use crate::confirm::Confirmation;
use crate::exit::Failed;
use crate::output::counted;
use crate::passphrase::PassphraseOption;

/// Sign a proposal with this host's admin key; needs no node.
///
/// Shows in words what the proposed root changes against the root beside it in the file, or every
/// policy of the proposed bundle with its text; where a node runs here also which revocations that
/// puts in force, or what it adds, changes and removes of the bundle in force. Then asks. A mesh whose root is another one than that refuses the proposal, whoever signed it. The
/// signature is added to the file, or to a copy with --out; take it back to a host with a node
/// and `hedgerow admin import` it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  b$ hedgerow admin pending 5f0c --out change.proposal
  c$ hedgerow --state-dir /media/stick/hedgerow sign change.proposal
  b$ hedgerow admin import change.proposal")]
pub(crate) struct Sign {
    /// The proposal
    file: PathBuf,
    /// Write the signed copy to this new file, and leave the other as it is
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    confirmation: Confirmation,
    #[command(flatten)]
    passphrase: PassphraseOption,
}

impl Sign {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failed> {
        let bytes = read_file(&self.file, MAX_PROPOSAL_BYTES)?;
        let proposal = Proposal::read(&Primitives, &bytes).map_err(refused)?;
        // Where a node runs here it knows which revocations this changes; elsewhere nobody does.
        let effects = effects(context, &proposal).await.unwrap_or_default();
        let (confirmation, passphrase) = (self.confirmation, &self.passphrase);
        let signed = sign(context, proposal, &effects, confirmation, passphrase)?;
        match &self.out {
            Some(path) => write_new(path, &signed.file())?,
            None => rewrite(&self.file, &signed.file())?,
        }
        let standing = signed.signatures(&Primitives);
        let shown = serde_json::json!({
            "id": signed.id(),
            "file": self.out.as_ref().unwrap_or(&self.file),
            "signed": standing.signed,
            "missing": standing.missing,
        });
        context.output.data(&shown, |text| {
            let file = self.out.as_ref().unwrap_or(&self.file).display();
            text.line(format!("signed {file}"));
            text.line(match standing.missing {
                0 => format!("it is complete; where a node runs: hedgerow admin import {file}"),
                missing => format!(
                    "it needs {}",
                    counted(missing, "more signature", "more signatures")
                ),
            });
        })
    }
}

/// Replaces a file in one step: a crash leaves the old one or the new one.
fn rewrite(path: &Path, bytes: &[u8]) -> Result<(), Failed> {
    let failed =
        |error: std::io::Error| Failed::io(&format!("cannot write `{}`", path.display()), &error);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = path.with_file_name(name);
    write_new(&part, bytes)?;
    std::fs::rename(&part, path).map_err(failed)?;
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    let directory = std::fs::File::open(parent.unwrap_or(Path::new(".")));
    directory.and_then(|d| d.sync_all()).map_err(failed)
}
