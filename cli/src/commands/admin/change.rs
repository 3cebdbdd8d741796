//! Changes to the root: each makes the next root, shows in words what differs, has this host's
//! admin key sign it, and hands it to the node.

use std::path::PathBuf;
use std::time::SystemTime;

use clap::{Args, Subcommand};
use hedgerow_crypto::{Primitives, SigningKeys};
use protocol::control::{
    AdminInfo, FileBytes, Preview, Propose, Proposed, Revocations, Trust, route,
};
use protocol::crypto::{Crypto as _, SigningSet};
use protocol::id::{Digest, SignerId};
use protocol::limits::MAX_DOCUMENT_BYTES;
use protocol::name::Name;
use protocol::time::UnixSeconds;
use protocol::trust::root::Retired;
use protocol::trust::{Issuer, Proposal, ProposalError, Role, RoleHost, Root, SignerCard};

use crate::client::Client;
use crate::commands::revocations::unconfirmed_soon;
use crate::commands::run::seam;
use crate::commands::{Context, read_file, write_new};
use crate::confirm::Confirmation;
use crate::exit::{Exit, Failed, say};
use crate::inert::inert;
use crate::output::{Text, counted};
use crate::passphrase::PassphraseOption;
use crate::typed::one_of;

/// What every change has.
#[derive(Debug, Args)]
pub(super) struct Signing {
    #[command(flatten)]
    confirmation: Confirmation,
    #[command(flatten)]
    passphrase: PassphraseOption,
    /// Also write the proposal to this new file, for other admins to sign
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Add an admin.
#[derive(Debug, Args)]
pub(super) struct Add {
    /// The card its host wrote with `hedgerow admin init --out`
    card: PathBuf,
    #[command(flatten)]
    signing: Signing,
}

/// Remove an admin, a lost or stolen key among them.
///
/// Its revocations so far go on counting, what it signs from now on does not. If the key was
/// stolen and used, --keep says how many of its entries are still its owner's.
#[derive(Debug, Args)]
pub(super) struct Remove {
    /// The admin's id or its beginning, as `hedgerow admin list` shows it
    id: String,
    /// Let only the first N of its revocations go on counting
    #[arg(long, value_name = "N")]
    keep: Option<u64>,
    #[command(flatten)]
    signing: Signing,
}

/// Change how many admins must sign a root or a bundle.
///
/// What one admin alone has revoked stays in force where it is. Of what one alone may not do once
/// more must sign (issuers, and many nodes within an hour), nodes that join later wait until another
/// admin confirms it; the command lists the issuers, `hedgerow revocations list` all. A lower number
/// puts revocations in force that waited for another admin; the command lists them.
#[derive(Debug, Args)]
pub(super) struct Threshold {
    /// How many
    #[arg(value_parser = clap::value_parser!(u64).range(1..=32))]
    count: u64,
    #[command(flatten)]
    signing: Signing,
}

/// Who admits nodes.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(super) struct IssuerCommand {
    #[command(subcommand)]
    action: IssuerAction,
}

#[derive(Debug, Subcommand)]
enum IssuerAction {
    /// Add an issuer, or change the limits of one
    Add(IssuerAdd),
    /// Remove an issuer; memberships it issued end
    Remove(RoleRemove),
}

/// Add an issuer, or change the limits of one.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  b$ hedgerow id --issuer-card b.card
  a$ hedgerow admin issuer add b.card --groups tool-hosts,agents --sites berlin --max-days 30 --per-hour 20")]
struct IssuerAdd {
    /// The card its host wrote with `hedgerow id --issuer-card`
    card: PathBuf,
    /// The groups it may grant, separated by commas [default: any]
    #[arg(long, value_name = "GROUPS", value_delimiter = ',')]
    groups: Option<Vec<Name>>,
    /// The sites it may grant, separated by commas [default: any]
    #[arg(long, value_name = "SITES", value_delimiter = ',')]
    sites: Option<Vec<Name>>,
    /// Longest membership it may issue, in days
    #[arg(long, value_name = "DAYS", default_value_t = 30,
          value_parser = clap::value_parser!(u64).range(1..=400))]
    max_days: u64,
    /// Most memberships it may issue in an hour
    #[arg(long, value_name = "COUNT", default_value_t = 100,
          value_parser = clap::value_parser!(u64).range(1..))]
    per_hour: u64,
    #[command(flatten)]
    signing: Signing,
}

/// Who states what is newest.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(super) struct TimestamperCommand {
    #[command(subcommand)]
    action: TimestamperAction,
}

#[derive(Debug, Subcommand)]
enum TimestamperAction {
    /// Add a timestamper
    Add(TimestamperAdd),
    /// Remove a timestamper
    Remove(RoleRemove),
}

#[derive(Debug, Args)]
struct TimestamperAdd {
    /// The card its host wrote with `hedgerow id --timestamper-card`
    card: PathBuf,
    #[command(flatten)]
    signing: Signing,
}

#[derive(Debug, Args)]
struct RoleRemove {
    /// Its id or its beginning, as `hedgerow admin list` shows it
    id: String,
    #[command(flatten)]
    signing: Signing,
}

impl Add {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failed> {
        let keys = card(&self.card, Role::Admin)?.keys;
        let trust = trust(context).await?;
        let id = keys.id(&Primitives);
        let mut known = trust.admins.iter().filter(|admin| admin.id == id);
        match known.next().map(|admin| admin.retired_at.is_some()) {
            None => {}
            Some(false) => {
                let message = format!("{} is an admin already", id.short());
                return Err(Failed::input(message)
                    .with_reason("known_admin")
                    .with_hint("see `hedgerow admin list`; nothing is to be signed"));
            }
            Some(true) => {
                let message = format!("{} was removed as an admin", id.short());
                return Err(Failed::input(message)
                    .with_reason("retired_admin")
                    .with_hint(
                        "a removed key does not come back: make another, `hedgerow admin init`",
                    ));
            }
        }
        let edit = |root: &mut Root| root.admins.push(keys);
        propose(context, &trust, self.signing, edit).await
    }
}

impl Remove {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failed> {
        let trust = trust(context).await?;
        let present = trust.admins.iter().filter(|a| a.retired_at.is_none());
        let info = one_of("admin", &self.id, present, |admin| admin.id.to_string())?;
        let (length, link) = match self.keep {
            None => (info.entries, info.link),
            Some(kept) => (kept, link_at(context, info, kept).await?),
        };
        let left = (trust
            .admins
            .iter()
            .filter(|a| a.retired_at.is_none())
            .count() as u64)
            .saturating_sub(1);
        if left < trust.threshold {
            let message = format!(
                "{} would be left, and {} must sign",
                counted(left, "admin", "admins"),
                trust.threshold
            );
            return Err(Failed::input(message)
                .with_reason("threshold_above_admins")
                .with_hint("lower it first (`hedgerow admin threshold`), or add another admin"));
        }
        let id = info.id;
        let edit = |root: &mut Root| retire(root, id, length, link);
        propose(context, &trust, self.signing, edit).await
    }
}

/// Takes an admin out of office and lists it as retired.
fn retire(root: &mut Root, id: SignerId, length: u64, link: Digest) {
    let gone = |set: &SigningSet| set.id(&Primitives) == id;
    let leaving: Vec<SigningSet> = root
        .admins
        .iter()
        .filter(|set| gone(set))
        .cloned()
        .collect();
    root.admins.retain(|set| !gone(set));
    let retired = leaving.into_iter().map(|admin| Retired {
        admin,
        length,
        link,
    });
    root.retired.get_or_insert_default().extend(retired);
}

/// The link of an admin's log over its first `length` entries, as this node knows it.
async fn link_at(context: &Context, admin: &AdminInfo, length: u64) -> Result<Digest, Failed> {
    let Some(last) = length.checked_sub(1) else {
        return Ok(protocol::trust::revocation::EMPTY);
    };
    if length == admin.entries {
        return Ok(admin.link);
    }
    let path = format!("{}?entry={}/{last}", route::REVOCATIONS, admin.id);
    let found: Revocations = context.client()?.read(&path).await?;
    let entry = found.entries.first().ok_or_else(|| {
        Failed::input(format!(
            "that admin has {}",
            counted(admin.entries, "revocation", "revocations")
        ))
        .with_hint("see `hedgerow revocations list`")
    })?;
    Ok(entry.link)
}

impl Threshold {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failed> {
        let trust = trust(context).await?;
        let present = trust.admins.iter().filter(|a| a.retired_at.is_none());
        let admins = present.count() as u64;
        if self.count > admins {
            let message = format!(
                "of {} {} cannot sign",
                counted(admins, "admin", "admins"),
                self.count
            );
            return Err(Failed::input(message)
                .with_reason("threshold_above_admins")
                .with_hint("add admins first: `hedgerow admin add`"));
        }
        if trust.threshold == 1 && self.count > 1 {
            for line in unconfirmed_soon(context).await? {
                say(&inert(&line));
            }
        }
        let edit = |root: &mut Root| root.threshold = self.count;
        propose(context, &trust, self.signing, edit).await
    }
}

impl IssuerCommand {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failed> {
        let trust = trust(context).await?;
        match self.action {
            IssuerAction::Add(add) => {
                let card = card(&add.card, Role::Issuer)?;
                let issuer = Issuer {
                    keys: card.keys.clone(),
                    groups: add.groups.map(protocol::trust::membership::sorted_names),
                    sites: add.sites.map(protocol::trust::membership::sorted_names),
                    max_life_s: add.max_days.saturating_mul(24 * 3600),
                    max_per_hour: add.per_hour,
                };
                let edit = |root: &mut Root| {
                    let known = root.issuers.iter_mut().find(|i| i.keys == issuer.keys);
                    match known {
                        Some(known) => *known = issuer,
                        None => root.issuers.push(issuer),
                    }
                    name_host(root, &card);
                };
                propose(context, &trust, add.signing, edit).await
            }
            IssuerAction::Remove(remove) => {
                let info = one_of("issuer", &remove.id, &trust.issuers, |i| i.id.to_string())?;
                let edit = |root: &mut Root| {
                    root.issuers.retain(|i| i.keys.id(&Primitives) != info.id);
                    forget_host(root, &info.id);
                };
                propose(context, &trust, remove.signing, edit).await
            }
        }
    }
}

impl TimestamperCommand {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failed> {
        let trust = trust(context).await?;
        match self.action {
            TimestamperAction::Add(add) => {
                let card = card(&add.card, Role::Timestamper)?;
                let edit = |root: &mut Root| {
                    root.timestampers.push(card.keys.clone());
                    name_host(root, &card);
                };
                propose(context, &trust, add.signing, edit).await
            }
            TimestamperAction::Remove(remove) => {
                let known = &trust.timestampers;
                let info = one_of("timestamper", &remove.id, known, |t| t.id.to_string())?;
                let edit = |root: &mut Root| {
                    root.timestampers.retain(|t| t.id(&Primitives) != info.id);
                    forget_host(root, &info.id);
                };
                propose(context, &trust, remove.signing, edit).await
            }
        }
    }
}

/// Names the node that a card's key runs on, in place of one named before.
fn name_host(root: &mut Root, card: &SignerCard) {
    let signer = card.keys.id(&Primitives);
    let mut hosts = root.hosts().to_vec();
    hosts.retain(|host| host.signer != signer);
    hosts.extend(card.node.map(|node| RoleHost { signer, node }));
    root.name_hosts(hosts);
}

/// Names no host any more for a key that leaves its role.
fn forget_host(root: &mut Root, signer: &SignerId) {
    let mut hosts = root.hosts().to_vec();
    hosts.retain(|host| host.signer != *signer);
    root.name_hosts(hosts);
}

/// What is in force, as this host's node knows it.
pub(super) async fn trust(context: &Context) -> Result<Trust, Failed> {
    context.client()?.read(route::TRUST).await
}

/// A role with its article.
const fn named(role: Role) -> &'static str {
    match role {
        Role::Admin => "an admin",
        Role::Issuer => "an issuer",
        Role::Timestamper => "a timestamper",
    }
}

fn card(path: &std::path::Path, role: Role) -> Result<SignerCard, Failed> {
    let bytes = read_file(path, MAX_DOCUMENT_BYTES)?;
    let shown = path.display();
    let card = SignerCard::verify(&Primitives, &bytes).map_err(|error| {
        Failed::new(Exit::Denied, format!("`{shown}` is no card: {error}"))
            .with_reason(error.reason())
    })?;
    if card.role != role {
        let message = format!(
            "`{shown}` is the card of {}, that of {} is wanted",
            named(card.role),
            named(role)
        );
        return Err(Failed::input(message).with_reason("card_of_another_role"));
    }
    Ok(card)
}

/// Makes the next root, shows what it changes, has it signed, and hands it to the node.
async fn propose(
    context: &Context,
    trust: &Trust,
    signing: Signing,
    edit: impl FnOnce(&mut Root),
) -> Result<(), Failed> {
    let mut nonce = [0; 16];
    Primitives
        .fill_random(&mut nonce)
        .map_err(|error| Failed::new(Exit::Failure, error.to_string()))?;
    let proposal =
        Proposal::revise(&Primitives, &trust.root.file.0, now(), nonce, edit).map_err(refused)?;
    let effects = effects(context, &proposal).await?;
    let (confirmation, passphrase) = (signing.confirmation, &signing.passphrase);
    let proposal = sign(context, proposal, &effects, confirmation, passphrase)?;
    if let Some(path) = &signing.out {
        write_new(path, &proposal.file())?;
    }
    hand_in(context, &context.client()?, proposal.file()).await
}

/// What a proposal would do to the revocations and the bundle that this host's node holds.
pub(crate) async fn effects(context: &Context, proposal: &Proposal) -> Result<Vec<String>, Failed> {
    let propose = Propose {
        file: FileBytes(proposal.file()),
    };
    let preview: Preview = context.client()?.submit(route::PREVIEW, &propose).await?;
    Ok(preview.effects)
}

/// Says what a proposal would do to revocations, or to the bundle in force. Goes to stderr, as [`explain`] does.
pub(crate) fn tell_effects(effects: &[String]) {
    if !effects.is_empty() {
        say("  against what this node holds, that at once");
    }
    for effect in effects {
        say(&inert(&format!("  ! {effect}")));
    }
}

/// Shows a proposal and its effects, asks, and has this host's admin key sign it.
pub(crate) fn sign(
    context: &Context,
    proposal: Proposal,
    effects: &[String],
    confirmation: Confirmation,
    passphrase: &PassphraseOption,
) -> Result<Proposal, Failed> {
    explain(&proposal, &mut |line| say(&inert(line)));
    tell_effects(effects);
    confirmation.ask("sign this with the admin key of this host?")?;
    sign_with(context, proposal, passphrase)
}

/// Has this host's admin key sign a proposal that was shown and agreed to.
pub(crate) fn sign_with(
    context: &Context,
    proposal: Proposal,
    passphrase: &PassphraseOption,
) -> Result<Proposal, Failed> {
    let keys: SigningKeys = {
        let state = context.state()?;
        passphrase.open(|phrase| seam::open_admin(state.path(), phrase))?
    };
    proposal.signed_by(&Primitives, &keys).map_err(refused)
}

/// Says in words what a proposal is. Goes to stderr: stdout carries what came of it.
pub(crate) fn explain(proposal: &Proposal, say: &mut dyn FnMut(&str)) {
    let base = proposal.base();
    let (word, relation) = match proposal.proposed() {
        protocol::trust::Proposed::Root(_) => ("root", "after"),
        protocol::trust::Proposed::Bundle { .. } => ("bundle", "under"),
    };
    let version = proposal.version();
    say(&format!("{word} {version} of mesh `{}`", base.name));
    say(&format!("  mesh   {}", proposal.mesh()));
    let follows = proposal.follows();
    say(&format!("  {relation}  root {} ({follows})", base.version));
    for change in proposal.changes(&Primitives) {
        say(&format!("  - {change}"));
    }
    for signer in proposal.signatures(&Primitives).signed {
        say(&format!("  signed by {signer}"));
    }
}

/// Hands a proposal to the node and prints what came of it.
pub(super) async fn hand_in(
    context: &Context,
    client: &Client,
    file: Vec<u8>,
) -> Result<(), Failed> {
    let propose = Propose {
        file: FileBytes(file),
    };
    let proposed: Proposed = client.submit(route::PROPOSALS, &propose).await?;
    context
        .output
        .data(&proposed, |text| outcome(&proposed, text))
}

/// What came of a proposal, for people.
pub(crate) fn outcome(proposed: &Proposed, text: &mut Text) {
    let proposal = &proposed.proposal;
    if proposed.in_force {
        let word = proposal.kind.word();
        text.line(format!("{word} {} is in force", proposal.version));
        return;
    }
    let (have, id) = (proposal.signed.len(), proposal.id.short());
    text.line(format!(
        "{} {} has {} and needs {} more",
        proposal.kind.word(),
        proposal.version,
        counted(have, "signature", "signatures"),
        proposal.missing
    ));
    for admin in &proposal.unsigned {
        text.line(format!("  not signed by {admin}"));
    }
    text.line(format!(
        "to carry it to them: hedgerow admin pending {id} --out FILE"
    ));
}

/// A refused proposal as a failure of the command.
pub(crate) fn refused(error: ProposalError) -> Failed {
    let failed = Failed::new(Exit::Denied, error.to_string()).with_reason(error.reason());
    match error {
        ProposalError::NotAnAdmin(_) => {
            failed.with_hint("see `hedgerow admin list`, and `hedgerow admin card` for this host")
        }
        _ => failed,
    }
}

/// The wall clock of this host.
pub(crate) fn now() -> UnixSeconds {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    UnixSeconds(since.map_or(0, |since| since.as_secs()))
}
