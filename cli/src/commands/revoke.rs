//! `hedgerow revoke`: cuts somebody off, everywhere at once.
//!
//! The command opens this host's admin key, appends to that admin's revocation log and signs its
//! new head; the node only carries what was signed. See [`log`] for why two heads of one length
//! must never be signed.

use clap::{Args, Subcommand};
use protocol::control::{RevocationState, Revocations, Trust, route};
use protocol::id::EntryId;
use protocol::name::Name;
use protocol::trust::Act;

use super::Context;
use crate::confirm::Confirmation;
use crate::exit::{Exit, Failed, say};
use crate::inert::inert;
use crate::output::Text;
use crate::passphrase::PassphraseOption;

pub(super) mod log;
mod target;

use target::Aim;

/// Cut off a node, agent, ticket, tool or issuer, everywhere at once.
///
/// Signed by this host's admin key and pushed to every node: links close, calls in flight end
/// with the reason, nothing of it is admitted again. Where more than one admin must sign, one
/// alone can cut off a few nodes an hour and no issuer; what is more waits until another admin
/// revokes the same. Only `hedgerow revocations lift` takes a revocation back.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  hedgerow revoke node build-7 --reason 'disk stolen'
  hedgerow revoke agent build-7/claude --reason 'prompt injection'
  hedgerow revoke tool hub/shop/update_price --reason 'changed behind our back'
  hedgerow revoke issuer 5f0c12ab --since '2026-11-22 08:00:00Z' --reason 'key leaked'"
)]
pub(crate) struct Revoke {
    #[command(subcommand)]
    target: Target,
}

#[derive(Debug, Subcommand)]
enum Target {
    /// Cut off a node: its name, its id, or the short form of its id
    Node(Plain),
    /// Cut off an agent: NODE/NAME, or NAME for whichever node has one of that name
    Agent(Plain),
    /// Make a ticket useless: its id, or the ticket itself
    Ticket(Plain),
    /// Forbid a tool definition: NODE/SERVER/TOOL, or the digest of the definition
    Tool(Plain),
    /// Void what an issuer issued from a time on
    Issuer(Issuer),
}

#[derive(Debug, Args)]
struct Plain {
    /// What to cut off
    id: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Issuer {
    /// The issuer's id or its beginning, as `hedgerow trust` shows it
    id: String,
    /// Memberships that begin then or later are void [default: now]
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// So are those from this number in the issuer's sequence on
    #[arg(long, value_name = "NUMBER")]
    since_sequence: Option<u64>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Common {
    /// Why, for whoever is cut off and for the record: at most 256 bytes
    #[arg(long, value_parser = clap::builder::ValueParser::new(reason))]
    reason: String,
    #[command(flatten)]
    confirmation: Confirmation,
    #[command(flatten)]
    passphrase: PassphraseOption,
}

impl Revoke {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failed> {
        let client = context.client()?;
        let trust: Trust = client.read(route::TRUST).await?;
        let (aim, common) = match self.target {
            Target::Node(plain) => (target::node(&client, &plain.id).await?, plain.common),
            Target::Agent(plain) => (target::agent(&client, &plain.id).await?, plain.common),
            Target::Ticket(plain) => (target::ticket(&client, &plain.id).await?, plain.common),
            Target::Tool(plain) => (target::tool(&client, &plain.id).await?, plain.common),
            Target::Issuer(issuer) => (
                target::issuer(
                    &trust,
                    &issuer.id,
                    issuer.since.as_deref(),
                    issuer.since_sequence,
                )?,
                issuer.common,
            ),
        };
        common.carry_out(context, &trust, aim).await
    }
}

impl Common {
    async fn carry_out(self, context: &Context, trust: &Trust, aim: Aim) -> Result<(), Failed> {
        for line in &aim.shown {
            say(&inert(line));
        }
        if trust.threshold > 1 {
            say(&inert(&alone(trust, &aim.act)));
        }
        self.confirmation.ask("revoke this?")?;
        let id = log::append(context, trust, &self.passphrase, aim.act, self.reason).await?;
        report(context, id).await
    }
}

/// What one of several admins can do alone.
fn alone(trust: &Trust, act: &Act) -> String {
    let needed = trust.threshold;
    match act {
        Act::Issuer { .. } => {
            format!("nothing happens until {needed} admins have revoked the same")
        }
        _ => format!(
            "at once, unless you cut off many, or a node that admits others or signs timestamps: \
             then it waits until {needed} admins have revoked the same"
        ),
    }
}

/// Says what a new entry does.
pub(super) async fn report(context: &Context, id: EntryId) -> Result<(), Failed> {
    let path = format!("{}?entry={id}", route::REVOCATIONS);
    let found: Revocations = context.client()?.read(&path).await?;
    let Some(entry) = found.entries.first() else {
        return Err(Failed::new(
            Exit::Failure,
            format!("the node did not take the signed entry {}", id.short()),
        )
        .with_reason("entry_not_taken")
        .with_hint("run the command again: what was signed is handed in first"));
    };
    context.output.data(entry, |text| {
        said(entry.state, &entry.id.short(), text);
    })
}

fn said(state: RevocationState, id: &str, text: &mut Text) {
    text.line(match state {
        RevocationState::Effective => format!("revocation {id} is in force"),
        RevocationState::Held => {
            format!(
                "revocation {id} is in force here; nodes that join later wait for another admin"
            )
        }
        RevocationState::Excess | RevocationState::Unconfirmed => {
            format!("revocation {id} waits until another admin revokes the same")
        }
        RevocationState::Lifted => format!("revocation {id} was lifted before"),
        RevocationState::Lift => format!("lift {id} is signed"),
    });
    text.line(format!(
        "  hedgerow revocations status {id}    how far it has spread"
    ));
}

/// A reason that says something: it is all that whoever is cut off is told.
fn reason(text: &str) -> Result<String, &'static str> {
    match text.trim() {
        "" => Err("say why in a few words"),
        _ => Ok(text.to_owned()),
    }
}

/// A name as people type it, or none.
fn as_name(text: &str) -> Option<Name> {
    text.parse().ok()
}
