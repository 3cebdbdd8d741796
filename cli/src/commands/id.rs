//! `hedgerow id`: this host's identity. It needs no node and never opens the store; what the host
//! says of its state is the running node's to tell.

mod posture;

use std::path::{Path, PathBuf};

use hedgerow_crypto::Primitives;
use protocol::id::{NodeId, SignerId};
use protocol::name::Name;
use protocol::trust::SignerCard;

use super::run::seam::{self, NodeRole};
use super::{Context, write_new};
use crate::exit::{Exit, Failed};
use crate::state::State;

/// Show this host's node id, making its keys if there are none.
///
/// With --request, also write a membership request: public keys and a proof that this host has
/// the secret halves. It holds no secret. A host that reaches no issuer joins a mesh with it: take
/// the file to the founding host, and the admission file made there back here.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow id
  b$ hedgerow id --request b.request
  a$ hedgerow membership issue b.request --name b --out b.admission
  b$ hedgerow up --admission b.admission

New keys under the same name, for a node that is stopped:
  b$ hedgerow id rotate

What this host and the others say of their state:
  hedgerow id posture

A node as second issuer or timestamper:
  b$ hedgerow id --timestamper-card b.card
  a$ hedgerow admin timestamper add b.card
b takes the role up when the root that names its key reaches it, without a restart.")]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Id {
    #[command(subcommand)]
    action: Option<Action>,
    /// Write a membership request to this new file
    #[arg(long, value_name = "FILE")]
    request: Option<PathBuf>,
    /// The name to ask for in the request
    #[arg(long, requires = "request")]
    name: Option<Name>,
    /// Write the public card of this host's issuer key, made if there is none, to this new file
    #[arg(long, value_name = "FILE")]
    issuer_card: Option<PathBuf>,
    /// Write the public card of this host's timestamper key, made if there is none
    #[arg(long, value_name = "FILE")]
    timestamper_card: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Make new keys for this node under its name; the old ones are refused from then on
    ///
    /// The node must be stopped and an issuer's node must run, unless this host is one. Where it is
    /// interrupted, run it again: until the new membership is there, the old keys stay in force.
    Rotate,
    Posture(posture::PostureCommand),
}

/// What is printed of a rotation.
#[derive(Debug, serde::Serialize)]
struct Rotation {
    name: Name,
    old: NodeId,
    new: NodeId,
}

fn rotate(context: &Context, state: &State) -> Result<(), Failed> {
    let rotated = super::wait_for(&super::runtime()?, seam::rotate(state.path()))?;
    let shown = Rotation {
        name: rotated.name,
        old: rotated.old,
        new: rotated.new,
    };
    context.output.data(&shown, |text| {
        text.line(format!("`{}` has new keys", shown.name));
        text.field("now", shown.new.to_string());
        text.field("before", shown.old.to_string());
        text.line("start the node again; tickets that name the old id as bootstrap are dead");
    })
}

/// What is printed.
#[derive(Debug, serde::Serialize)]
struct Identity {
    id: NodeId,
    request: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<SignerId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamper: Option<SignerId>,
}

impl Id {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failed> {
        let state = context.state()?;
        match self.action {
            Some(Action::Rotate) => return rotate(context, &state),
            Some(Action::Posture(posture)) => return posture.run(context),
            None => {}
        }
        let identity = seam::identity(state.path(), self.name)?;
        if let Some(path) = &self.request {
            write_new(path, &identity.request)?;
        }
        let shown = Identity {
            id: identity.node,
            request: self.request,
            issuer: card(&state, NodeRole::Issuer, self.issuer_card.as_deref())?,
            timestamper: card(
                &state,
                NodeRole::Timestamper,
                self.timestamper_card.as_deref(),
            )?,
        };
        context.output.data(&shown, |text| {
            text.line(shown.id.to_string());
            if let Some(path) = &shown.request {
                let path = path.display();
                text.line(format!("wrote {path}; on the founding host:"));
                text.line(format!(
                    "  hedgerow membership issue {path} --name NAME --out NAME.admission"
                ));
            }
            for (role, id) in [("issuer", shown.issuer), ("timestamper", shown.timestamper)] {
                if let Some(id) = id {
                    text.field(role, id.to_string());
                }
            }
        })
    }
}

/// Writes the card of this host's key for `role`, if it is asked for.
fn card(state: &State, role: NodeRole, out: Option<&Path>) -> Result<Option<SignerId>, Failed> {
    let Some(path) = out else {
        return Ok(None);
    };
    let bytes = seam::role_card(state.path(), role)?;
    let card = SignerCard::verify(&Primitives, &bytes)
        .map_err(|error| Failed::new(Exit::Failure, error.to_string()))?;
    write_new(path, &bytes)?;
    Ok(Some(card.keys.id(&Primitives)))
}
