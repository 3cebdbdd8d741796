//! The admin key of this host: made, shown, its passphrase changed. Needs no node.

use std::path::PathBuf;

use clap::Args;
use hedgerow_crypto::{Primitives, SigningKeys};
use protocol::crypto::Signer as _;
use protocol::id::SignerId;
use protocol::trust::SignerCard;

use crate::commands::run::seam::{self, Form};
use crate::commands::{Context, write_new};
use crate::exit::{Exit, Failed};
use crate::passphrase::{PassphraseOption, replacement};

/// Make an admin key on this host, which need not be a node, and its public card.
///
/// The key stands encrypted in the state directory (`keys/admin.key`); the card holds no secret.
/// Hand the card to the other admins, and tell them the id over another way: only who compares
/// it knows whose key they add.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hedgerow admin init --out carol.card
  hedgerow --state-dir /media/stick/hedgerow admin init --out carol.card")]
pub(super) struct Init {
    /// Write the card to this new file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseOption,
}

/// Write this host's admin card again.
#[derive(Debug, Args)]
pub(super) struct Card {
    /// Write the card to this new file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Change the passphrase of this host's admin key, or encrypt one from before.
///
/// The new one comes from --new-passphrase-file, else HEDGEROW_NEW_PASSPHRASE, else the terminal.
/// Copies of the key file (backups) keep the old passphrase.
#[derive(Debug, Args)]
pub(super) struct Passphrase {
    #[command(flatten)]
    passphrase: PassphraseOption,
    /// Read the new passphrase from this file
    #[arg(long, value_name = "FILE")]
    new_passphrase_file: Option<PathBuf>,
}

/// What is printed of a key.
#[derive(Debug, serde::Serialize)]
struct Key {
    id: SignerId,
    #[serde(skip_serializing_if = "Option::is_none")]
    card: Option<PathBuf>,
}

impl Init {
    pub(super) fn run(self, context: &Context) -> Result<(), Failed> {
        let state = context.state()?;
        if seam::admin_form(state.path())?.is_some() {
            let message = format!("`{}` holds an admin key already", state.path().display());
            return Err(Failed::input(message)
                .with_reason("admin_key_exists")
                .with_hint("show its card with `hedgerow admin card`"));
        }
        let passphrase = self.passphrase.fresh()?;
        let keys = seam::make_admin(state.path(), &passphrase)?;
        if let (Some(path), Some(card)) = (&self.out, seam::admin_card(state.path())?) {
            write_new(path, &card)?;
        }
        show(context, id(&keys), self.out, "made an admin key")
    }
}

impl Card {
    pub(super) fn run(self, context: &Context) -> Result<(), Failed> {
        let state = context.state()?;
        let bytes = seam::admin_card(state.path())?.ok_or_else(|| {
            Failed::new(Exit::Failure, "there is no admin card on this host")
                .with_hint("make a key with `hedgerow admin init`, or use the one there is once")
        })?;
        let card = SignerCard::verify(&Primitives, &bytes)
            .map_err(|error| Failed::new(Exit::Denied, error.to_string()))?;
        if let Some(path) = &self.out {
            write_new(path, &bytes)?;
        }
        show(context, card.keys.id(&Primitives), self.out, "admin key")
    }
}

impl Passphrase {
    pub(super) fn run(self, context: &Context) -> Result<(), Failed> {
        let state = context.state()?;
        let path = state.path();
        let keys = match seam::admin_form(path)? {
            None => {
                let message = format!("`{}` holds no admin key", path.display());
                return Err(Failed::input(message)
                    .with_reason("no_admin_key")
                    .with_hint("make one with `hedgerow admin init`"));
            }
            Some(Form::Clear) => {
                let new = replacement(self.new_passphrase_file.as_deref())?;
                seam::reseal_admin(path, None, &new)?
            }
            Some(Form::Sealed) => self.passphrase.open(|old| {
                // Opened first, so that a wrong old one is said before a new one is asked for.
                seam::open_admin(path, old)?;
                let new = replacement(self.new_passphrase_file.as_deref())?;
                seam::reseal_admin(path, Some(old), &new)
            })?,
        };
        show(
            context,
            id(&keys),
            None,
            "changed the passphrase of admin key",
        )
    }
}

fn id(keys: &SigningKeys) -> SignerId {
    keys.public().id(&Primitives)
}

fn show(
    context: &Context,
    id: SignerId,
    card: Option<PathBuf>,
    what: &'static str,
) -> Result<(), Failed> {
    let key = Key { id, card };
    context.output.data(&key, |text| {
        text.line(format!("{what} {}", key.id));
        if let Some(card) = &key.card {
            text.line(format!("wrote {}; on a host of an admin:", card.display()));
            text.line(format!("  hedgerow admin add {}", card.display()));
        }
    })
}
