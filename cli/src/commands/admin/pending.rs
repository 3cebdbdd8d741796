//! Proposals that gather signatures, and who is in which role.

use std::path::PathBuf;

use clap::Args;
use hedgerow_crypto::Primitives;
use protocol::control::{Proposal as Shown, Trust, route};
use protocol::trust::Proposal;
use protocol::trust::proposal::MAX_PROPOSAL_BYTES;

use super::change::{effects, hand_in, refused, sign, tell_effects, trust};
use crate::commands::{Context, read_file, write_new};
use crate::confirm::Confirmation;
use crate::exit::Failed;
use crate::output::{Text, instant};
use crate::passphrase::PassphraseOption;
use crate::typed::one_of;

/// List what waits for signatures of admins, or write one to a file.
#[derive(Debug, Args)]
pub(super) struct Pending {
    /// Only this one: its id or its beginning
    id: Option<String>,
    /// Write it to this new file, to be signed with `hedgerow sign` on another machine
    #[arg(long, value_name = "FILE", requires = "id")]
    out: Option<PathBuf>,
}

/// Sign a proposal this node keeps with this host's admin key.
#[derive(Debug, Args)]
pub(super) struct Approve {
    /// Its id or its beginning
    id: String,
    #[command(flatten)]
    confirmation: Confirmation,
    #[command(flatten)]
    passphrase: PassphraseOption,
}

/// Forget a proposal; signatures gathered elsewhere still count if it is imported again.
#[derive(Debug, Args)]
pub(super) struct Discard {
    /// Its id or its beginning
    id: String,
}

/// Hand the node a proposal somebody signed; it is in force once enough have.
#[derive(Debug, Args)]
pub(super) struct Import {
    /// The file
    file: PathBuf,
}

impl Pending {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failed> {
        let trust = trust(context).await?;
        let Some(id) = &self.id else {
            return context
                .output
                .data(&trust.proposals, |text| list(&trust.proposals, text));
        };
        let proposal = find(&trust, id)?;
        if let Some(path) = &self.out {
            write_new(path, &proposal.file.0)?;
        }
        context.output.data(proposal, |text| {
            show(proposal, text);
            if let Some(path) = &self.out {
                let path = path.display();
                text.line(format!("wrote {path}; on the machine of another admin:"));
                text.line(format!("  hedgerow sign {path}"));
                text.line(format!("then here: hedgerow admin import {path}"));
            }
        })
    }
}

impl Approve {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failed> {
        let trust = trust(context).await?;
        let file = &find(&trust, &self.id)?.file;
        let proposal = Proposal::read(&Primitives, &file.0).map_err(refused)?;
        let effects = effects(context, &proposal).await?;
        let (confirmation, passphrase) = (self.confirmation, &self.passphrase);
        let signed = sign(context, proposal, &effects, confirmation, passphrase)?;
        hand_in(context, &context.client()?, signed.file()).await
    }
}

impl Discard {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failed> {
        let trust = trust(context).await?;
        let id = find(&trust, &self.id)?.id;
        context.client()?.forget(route::PROPOSALS, &id).await?;
        let discarded = serde_json::json!({ "discarded": id });
        context
            .output
            .data(&discarded, |text| text.line(format!("discarded {id}")))
    }
}

impl Import {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failed> {
        let bytes = read_file(&self.file, MAX_PROPOSAL_BYTES)?;
        // Read here first: a file that is none is said without a node.
        let proposal = Proposal::read(&Primitives, &bytes).map_err(refused)?;
        // A node that cannot say will not take it either.
        tell_effects(&effects(context, &proposal).await.unwrap_or_default());
        hand_in(context, &context.client()?, proposal.file()).await
    }
}

fn find<'a>(trust: &'a Trust, id: &str) -> Result<&'a Shown, Failed> {
    one_of("proposal", id, &trust.proposals, |p| p.id.to_string())
}

fn list(proposals: &[Shown], text: &mut Text) {
    if proposals.is_empty() {
        text.line("nothing waits for signatures");
    }
    for proposal in proposals {
        show(proposal, text);
    }
}

fn show(proposal: &Shown, text: &mut Text) {
    text.heading(format!(
        "{} {} ({}), made {}",
        proposal.kind.word(),
        proposal.version,
        proposal.id.short(),
        instant(proposal.created.0)
    ));
    for change in &proposal.changes {
        text.line(format!("  - {change}"));
    }
    for effect in &proposal.effects {
        text.line(format!("  ! {effect}"));
    }
    for admin in &proposal.signed {
        text.check(true, format!("signed by {admin}"));
    }
    for admin in &proposal.unsigned {
        text.check(false, format!("not signed by {admin}"));
    }
    text.line(format!("  needs {} more", proposal.missing));
}
