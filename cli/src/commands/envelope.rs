//! `hedgerow envelope`: saved envelopes, judged without a node and without the store.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use protocol::evidence::MAX_EVIDENCE_BYTES;
use protocol::id::MeshId;

use super::{Context, read_file};
use crate::evidence::{self, EnvelopeReport};
use crate::exit::{Exit, Failed};
use crate::output::{Text, instant, or_dash};

/// Verify or show a saved envelope; needs no node.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct EnvelopeCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Verify(Verify),
    /// Show what an envelope's file says, its signatures unchecked
    Show {
        /// A file that `hedgerow call --save` wrote
        file: PathBuf,
        /// Print the body, one JSON-RPC message, and nothing else
        #[arg(long)]
        body: bool,
    },
}

/// Check every signature from the mesh's root to the body, and say who signed what.
///
/// The file carries the root, the signer's membership and the envelope. It proves the mesh only
/// to someone who has the mesh id from elsewhere: give it with --mesh. The exit code is 2 when
/// anything does not hold.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  hedgerow call tool-host/shop/get_product_info sku=HR-1001 --save .
  hedgerow envelope verify 3f2a….request.envelope --mesh 8c14…")]
struct Verify {
    /// A file that `hedgerow call --save` wrote
    file: PathBuf,
    /// The mesh it must belong to
    #[arg(long, value_name = "ID")]
    mesh: Option<MeshId>,
}

impl EnvelopeCommand {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failed> {
        match self.action {
            Action::Verify(verify) => {
                let bytes = read_file(&verify.file, MAX_EVIDENCE_BYTES)?;
                let report = evidence::verify(&bytes, verify.mesh.as_ref())
                    .map_err(|refusal| refused(&refusal))?;
                context.output.data(&report, |text| {
                    text.check(true, "every signature holds");
                    show(&report, text);
                    if verify.mesh.is_none() {
                        text.line("  compare the mesh id with one you have from elsewhere");
                    }
                })
            }
            Action::Show { file, body } => {
                let bytes = read_file(&file, MAX_EVIDENCE_BYTES)?;
                let report = evidence::read(&bytes).map_err(|refusal| refused(&refusal))?;
                if body {
                    return context
                        .output
                        .data(&report.body, |text| text.line(&report.body));
                }
                context.output.data(&report, |text| {
                    text.line("not verified: this is what the file claims");
                    show(&report, text);
                })
            }
        }
    }
}

fn refused(refusal: &evidence::Refused) -> Failed {
    Failed::new(Exit::Denied, refusal.message.clone()).with_reason(refusal.reason.clone())
}

fn show(report: &EnvelopeReport, text: &mut Text) {
    text.field("envelope", report.id.to_string());
    text.field("mesh", report.mesh.to_string());
    text.field("signed by", format!("{} ({})", report.node, report.issuer));
    for signer in &report.signers {
        text.field("", format!("{} with key {}", signer.algorithm, signer.kid));
    }
    text.field("for agent", report.agent.as_str());
    if let Some(human) = &report.human {
        text.field("for human", human);
    }
    text.field("to", report.audience.to_string());
    text.field(
        "signed",
        format!(
            "{}, good until {}",
            instant(report.issued.0),
            instant(report.expires.0)
        ),
    );
    text.field(
        "message",
        format!("{} {}", report.kind_word(), report.method),
    );
    text.field("server", report.server.as_str());
    text.field("name", or_dash(report.name.as_ref()));
    text.field("request", report.request_id.to_string());
    text.field("parent", or_dash(report.parent.as_ref()));
    text.field("body", &report.body);
}
