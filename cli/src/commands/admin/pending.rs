//! Proposals that gather signatures, and who is in which role.

use std::path::PathBuf;

use clap::Args;
use hedgerow_crypto::Primitives;
use protocol::control::{Proposal as Shown, Trust, route};
use protocol::id::Digest;
use protocol::trust::Proposal;
use protocol::trust::proposal::MAX_PROPOSAL_BYTES;

use super::change::{effects, hand_in, refused, sign, tell_effects, trust};
use crate::commands::{Context, read_file, write_new};
use crate::confirm::Confirmation;
use crate::exit::{Exit, Failed, say};
use crate::output::{Text, counted, instant};
use crate::passphrase::PassphraseOption;
use crate::typed::one_of;

/// List what waits for signatures of admins, or write one to a file.
///
/// What can no longer take effect, whoever signs it, stands at the end; `hedgerow admin discard
/// --overtaken` forgets it.
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

/// Forget a proposal, or all that can no longer take effect.
///
/// One that can still take effect is forgotten with the signatures gathered here, so this asks
/// first; signatures gathered elsewhere still count if it is imported again.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("which").required(true))]
pub(super) struct Discard {
    /// Its id or its beginning
    #[arg(group = "which")]
    id: Option<String>,
    /// All that can no longer take effect
    #[arg(long, group = "which")]
    overtaken: bool,
    #[command(flatten)]
    confirmation: Confirmation,
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
        let found = find(&trust, &self.id)?;
        if let Some(why) = &found.overtaken {
            return Err(overtaken(why));
        }
        let file = &found.file;
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
        let ids: Vec<Digest> = match &self.id {
            Some(id) => {
                let found = find(&trust, id)?;
                if found.overtaken.is_none() {
                    say(&format!(
                        "{} can still take effect; {} gathered here would be lost",
                        title(found),
                        counted(found.signed.len(), "signature", "signatures")
                    ));
                    self.confirmation.ask("discard it?")?;
                }
                vec![found.id]
            }
            None => {
                let vain = trust.proposals.iter().filter(|p| p.overtaken.is_some());
                vain.map(|p| p.id).collect()
            }
        };
        let client = context.client()?;
        for id in &ids {
            client.forget(route::PROPOSALS, id).await?;
        }
        let discarded = serde_json::json!({ "discarded": ids });
        context.output.data(&discarded, |text| {
            for id in &ids {
                text.line(format!("discarded {id}"));
            }
            if ids.is_empty() {
                text.line("everything that waits can still take effect");
            }
        })
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
    let (vain, waiting): (Vec<&Shown>, Vec<&Shown>) =
        proposals.iter().partition(|p| p.overtaken.is_some());
    if waiting.is_empty() {
        text.line("nothing waits for signatures");
    }
    for proposal in waiting {
        show(proposal, text);
    }
    if vain.is_empty() {
        return;
    }
    text.heading("can no longer take effect:");
    for proposal in vain {
        let why = proposal.overtaken.as_deref().unwrap_or_default();
        text.line(format!("  {}: {why}", title(proposal)));
    }
    text.line("forget them: hedgerow admin discard --overtaken");
}

fn overtaken(why: &str) -> Failed {
    Failed::new(Exit::Failure, why)
        .with_reason("overtaken")
        .with_hint("forget it: `hedgerow admin discard --overtaken`")
}

fn title(proposal: &Shown) -> String {
    format!(
        "{} {} ({}), made {}",
        proposal.kind.word(),
        proposal.version,
        proposal.id.short(),
        instant(proposal.created.0)
    )
}

fn show(proposal: &Shown, text: &mut Text) {
    text.heading(title(proposal));
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
    if proposal.overtaken.is_none() {
        text.line(format!("  needs {} more", proposal.missing));
    }
}

#[cfg(test)]
mod tests {
    use protocol::control::{FileBytes, ProposalKind};
    use protocol::time::UnixSeconds;

    use super::*;

    fn proposal(version: u64, overtaken: Option<&str>) -> Shown {
        Shown {
            id: Digest::from_bytes([u8::try_from(version).unwrap(); 32]),
            kind: ProposalKind::Bundle,
            version,
            created: UnixSeconds(0),
            signed: Vec::new(),
            unsigned: Vec::new(),
            missing: 1,
            changes: Vec::new(),
            effects: Vec::new(),
            overtaken: overtaken.map(str::to_owned),
            file: FileBytes(Vec::new()),
        }
    }

    #[test]
    fn what_waits_in_vain_is_listed_apart_at_the_end() {
        let (late, live) = (proposal(1, Some("bundle 1 is in force")), proposal(2, None));
        let mut text = Text::plain();
        list(&[late.clone(), live], &mut text);
        let shown = text.shown().to_owned();
        let at = |what: &str| {
            shown
                .find(what)
                .unwrap_or_else(|| panic!("{what}: {shown}"))
        };
        assert!(at("bundle 2") < at("can no longer take effect"), "{shown}");
        assert!(
            at("can no longer take effect") < at("bundle 1 (0101"),
            "{shown}"
        );
        assert_eq!(shown.matches("needs 1 more").count(), 1, "{shown}");

        let mut text = Text::plain();
        list(&[late], &mut text);
        let shown = text.shown().to_owned();
        assert!(
            shown.starts_with("nothing waits for signatures\n"),
            "{shown}"
        );
        assert!(shown.contains("discard --overtaken"), "{shown}");
    }
}
