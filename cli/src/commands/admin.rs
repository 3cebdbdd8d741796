//! `hedgerow admin`: the keys that rule a mesh, and the documents they sign together.
//!
//! The node never sees an admin key: commands here open it, sign, and hand the node what they
//! signed. A change to the root is a *proposal* until as many admins as the root asks for have
//! signed it; the node keeps proposals and puts one in force when the last signature comes.

use clap::{Args, Subcommand};

use super::Context;
use crate::exit::Failed;

mod change;
mod key;
mod pending;

use change::trust;
pub(super) use change::{effects, now, outcome, refused, sign, sign_with};

/// Who rules the mesh: admin keys, their threshold, issuers and timestampers.
///
/// Every change makes a new root, signed by this host's admin key. Where the threshold is one, it
/// is in force at once; else it waits for other admins: `hedgerow admin pending` lists it, `--out`
/// writes it to a file, `hedgerow sign FILE` signs that file on any machine, and `hedgerow admin
/// import FILE` brings the signatures back.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
From one admin to two of three (b and c are other hosts):
  b$ hedgerow admin init --out b.card         and so on c; compare the ids it prints
  a$ hedgerow admin add b.card
  a$ hedgerow admin add c.card
  a$ hedgerow admin threshold 2

A lost admin key is removed by the others:
  b$ hedgerow admin remove 3fa81c02 --out remove.proposal
  c$ hedgerow sign remove.proposal
  b$ hedgerow admin import remove.proposal"
)]
pub(crate) struct AdminCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Init(key::Init),
    /// Write this host's admin card again, which the other admins need to add it
    Card(key::Card),
    Passphrase(key::Passphrase),
    /// List admins, issuers and timestampers
    List,
    /// Add an admin
    Add(change::Add),
    Remove(change::Remove),
    /// Change how many admins must sign
    Threshold(change::Threshold),
    /// Add, limit or remove who admits nodes
    Issuer(change::IssuerCommand),
    /// Add or remove who states what is newest
    Timestamper(change::TimestamperCommand),
    /// List what waits for signatures, or write one to a file
    Pending(pending::Pending),
    /// Sign what waits with this host's admin key
    Approve(pending::Approve),
    /// Hand the node a signed proposal
    Import(pending::Import),
    /// Forget a proposal, or all that can no longer take effect
    #[command(visible_alias = "forget")]
    Discard(pending::Discard),
}

impl AdminCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failed> {
        match self.action {
            Action::Init(init) => init.run(context),
            Action::Card(card) => card.run(context),
            Action::Passphrase(passphrase) => passphrase.run(context),
            Action::List => {
                let trust = trust(context).await?;
                context
                    .output
                    .data(&trust, |text| super::trust::roles(&trust, text))
            }
            Action::Add(add) => add.run(context).await,
            Action::Remove(remove) => remove.run(context).await,
            Action::Threshold(threshold) => threshold.run(context).await,
            Action::Issuer(issuer) => issuer.run(context).await,
            Action::Timestamper(timestamper) => timestamper.run(context).await,
            Action::Pending(pending) => pending.run(context).await,
            Action::Approve(approve) => approve.run(context).await,
            Action::Import(import) => import.run(context).await,
            Action::Discard(discard) => discard.run(context).await,
        }
    }
}
