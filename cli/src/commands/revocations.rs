//! `hedgerow revocations`: what is revoked, confirming and taking back, and how far one has spread.

use std::io::{IsTerminal as _, Write as _};

use clap::{Args, Subcommand};
use protocol::control::{
    MAX_LISTED_REVOCATIONS, MAX_SPREAD_WAIT_MS, Revocation, RevocationState, Revocations, Spread,
    SpreadQuery, Target, Took, Trust, route,
};
use protocol::trust::Act;

use super::Context;
use super::revoke::{log, report};
use crate::confirm::Confirmation;
use crate::exit::{Exit, Failed, say};
use crate::inert::inert;
use crate::output::{Text, instant, or_dash};
use crate::passphrase::PassphraseOption;

/// List, confirm, lift and follow revocations.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct RevocationsCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List revocations, newest first, and whether each is in force
    List(List),
    /// Revoke what another admin has revoked, where one alone may not do so much
    Confirm(Confirm),
    /// Take a revocation back; in force once as many admins did as sign a root
    Lift(Lift),
    Status(Status),
}

#[derive(Debug, Args)]
struct List {
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = 100,
          value_parser = clap::value_parser!(u64).range(1..=MAX_LISTED_REVOCATIONS))]
    limit: u64,
}

#[derive(Debug, Args)]
struct Lift {
    /// The revocation: its number, ADMIN/NUMBER, or the beginning of its id
    entry: String,
    /// Why, for the record: at most 256 bytes
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    confirmation: Confirmation,
    #[command(flatten)]
    passphrase: PassphraseOption,
}

/// Revoke what another admin has revoked, where one alone may not do so much.
///
/// Adds the very same act to the log of this host's admin. `revocations list` shows which wait.
#[derive(Debug, Args)]
struct Confirm {
    /// The revocation: its number, ADMIN/NUMBER, or the beginning of its id
    entry: String,
    /// Why, for the record: at most 256 bytes
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    confirmation: Confirmation,
    #[command(flatten)]
    passphrase: PassphraseOption,
}

/// Show how many nodes have a revocation, how long it took, and who is missing.
///
/// Every node that answers signs what it has. Times are from when this node took the revocation
/// until each had it in force and on disk, by their clocks. Exit code 1 while somebody is missing; 0,
/// and `null` as JSON, where nothing is revoked.
#[derive(Debug, Args)]
struct Status {
    /// The revocation [default: the newest]
    entry: Option<String>,
    /// For how long to wait for answers, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 5,
          value_parser = clap::value_parser!(u64).range(1..=MAX_SPREAD_WAIT_MS / 1000))]
    wait: u64,
}

impl RevocationsCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failed> {
        match self.action {
            Action::List(list) => {
                let path = format!("{}?limit={}", route::REVOCATIONS, list.limit);
                let found: Revocations = context.client()?.read(&path).await?;
                context.output.data(&found, |text| table(&found, text))
            }
            Action::Confirm(confirm) => confirm.run(context).await,
            Action::Lift(lift) => lift.run(context).await,
            Action::Status(status) => status.run(context).await,
        }
    }
}

/// Fewest characters that the node takes for the beginning of an id.
const LEAST_BEGINNING: usize = 6;

/// The newest revocation, if there is any.
async fn newest(context: &Context) -> Result<Option<Revocation>, Failed> {
    let path = format!("{}?limit=1", route::REVOCATIONS);
    let found: Revocations = context.client()?.read(&path).await?;
    Ok(found.entries.into_iter().next())
}

/// The one revocation that `typed` names.
async fn find(context: &Context, typed: &str) -> Result<Revocation, Failed> {
    let inert = |b: u8| b.is_ascii_alphanumeric() || b == b'/';
    if !typed.bytes().all(inert) {
        return Err(Failed::input(format!("`{typed}` is no revocation")));
    }
    let path = format!("{}?entry={typed}", route::REVOCATIONS);
    let mut found: Revocations = context.client()?.read(&path).await?;
    match found.entries.len() {
        1 => Ok(found.entries.swap_remove(0)),
        0 if typed.len() < LEAST_BEGINNING && !typed.contains('/') => {
            let message = format!("`{typed}` is too short for the id of a revocation");
            Err(Failed::input(message)
                .with_reason("unknown_revocation")
                .with_hint(format!("give at least {LEAST_BEGINNING} characters of it")))
        }
        0 => Err(Failed::input(format!("there is no revocation `{typed}`"))
            .with_reason("unknown_revocation")
            .with_hint("see `hedgerow revocations list`")),
        _ => {
            let ids: Vec<String> = found.entries.iter().map(|e| e.id.to_string()).collect();
            let message = format!("`{typed}` may be any of {}", ids.join(", "));
            Err(Failed::input(message)
                .with_reason("ambiguous_revocation")
                .with_hint("give ADMIN/NUMBER or more of the id"))
        }
    }
}

impl Lift {
    async fn run(self, context: &Context) -> Result<(), Failed> {
        let entry = find(context, &self.entry).await?;
        if let Target::Lift { .. } = entry.target {
            return Err(
                Failed::input("that is a lift; revoke anew instead").with_reason("lift_of_a_lift")
            );
        }
        if entry.state == RevocationState::Lifted {
            return Err(
                Failed::new(Exit::Failure, "it is lifted already").with_reason("already_lifted")
            );
        }
        let trust: Trust = context.client()?.read(route::TRUST).await?;
        let shown = format!(
            "lifts the revocation of {} ({}), made {} because: {}",
            target(&entry.target),
            entry.id,
            instant(entry.at.0),
            entry.reason
        );
        say(&inert(&shown));
        if trust.threshold > 1 {
            say(&format!(
                "in force once {} admins have lifted it",
                trust.threshold
            ));
        }
        self.confirmation.ask("lift it?")?;
        let act = Act::Lift(entry.id);
        let id = log::append(context, &trust, &self.passphrase, act, self.reason).await?;
        report(context, id).await
    }
}

impl Confirm {
    async fn run(self, context: &Context) -> Result<(), Failed> {
        let entry = find(context, &self.entry).await?;
        if !waits(entry.state) {
            let message = format!("it waits for nobody: {}", state(entry.state));
            return Err(Failed::new(Exit::Failure, message).with_reason("nothing_to_confirm"));
        }
        let Some(act) = act(&entry.target) else {
            return Err(Failed::input("that is a lift").with_reason("nothing_to_confirm"));
        };
        let trust: Trust = context.client()?.read(route::TRUST).await?;
        let shown = format!(
            "revokes {} as admin {} did ({}), {} because: {}",
            target(&entry.target),
            entry.admin.short(),
            entry.id,
            instant(entry.at.0),
            entry.reason
        );
        say(&inert(&shown));
        self.confirmation.ask("revoke this too?")?;
        log::append(context, &trust, &self.passphrase, act, self.reason).await?;
        report(context, entry.id).await
    }
}

/// Whether an entry waits for another admin, here or at nodes that join later.
const fn waits(state: RevocationState) -> bool {
    matches!(
        state,
        RevocationState::Held | RevocationState::Excess | RevocationState::Unconfirmed
    )
}

/// The act that an entry of this target holds; none for a lift.
fn act(target: &Target) -> Option<Act> {
    Some(match target {
        Target::Node { id, .. } => Act::Node(*id),
        Target::Agent { node, name } => Act::Agent {
            node: *node,
            name: name.clone(),
        },
        Target::Ticket { id } => Act::Ticket(*id),
        Target::Tool { digest } => Act::Tool(*digest),
        Target::Issuer {
            id,
            since,
            since_sequence,
        } => Act::Issuer {
            issuer: *id,
            since: *since,
            since_sequence: *since_sequence,
        },
        Target::Lift { .. } => return None,
    })
}

/// What an admin should know before more than one must sign: what one alone revoked and, once that
/// is so, could not have. Nodes that have it in force keep it; nodes that join later do not have it
/// until another admin confirms it.
pub(super) async fn unconfirmed_soon(context: &Context) -> Result<Vec<String>, Failed> {
    let path = format!("{}?limit={MAX_LISTED_REVOCATIONS}", route::REVOCATIONS);
    let found: Revocations = context.client()?.read(&path).await?;
    let issuers = found.entries.iter().filter(|entry| {
        entry.state == RevocationState::Effective && matches!(entry.target, Target::Issuer { .. })
    });
    let mut lines: Vec<String> = issuers
        .map(|entry| format!("  {}  {}", entry.id.short(), target(&entry.target)))
        .collect();
    if !lines.is_empty() {
        let head =
            "these revocations of issuers will wait for another admin at nodes that join later:";
        lines.insert(0, head.to_owned());
        lines.push(CONFIRM.to_owned());
    }
    Ok(lines)
}

/// How to confirm.
const CONFIRM: &str = "on another admin's host: `hedgerow revocations confirm ID --reason …`; \
                       `hedgerow revocations list` shows what waits";

impl Status {
    async fn run(self, context: &Context) -> Result<(), Failed> {
        let entry = match &self.entry {
            Some(typed) => find(context, typed).await?,
            None => match newest(context).await? {
                Some(newest) => newest,
                None => {
                    let none: Option<Spread> = None;
                    let say = |text: &mut Text| text.line("nothing is revoked");
                    return context.output.data(&none, say);
                }
            },
        };
        let query = SpreadQuery {
            entry: entry.id,
            wait_ms: self.wait.saturating_mul(1000),
        };
        let live = std::io::stderr().is_terminal();
        let progress = |spread: &Spread| {
            if live {
                // Progress that cannot be shown is no failure.
                let _ = write!(
                    std::io::stderr(),
                    "\r{} of {} nodes",
                    spread.have,
                    spread.nodes
                );
            }
        };
        let spread = context.client()?.spread(&query, progress).await?;
        if live {
            say("");
        }
        context
            .output
            .data(&spread, |text| show(&entry, &spread, text))?;
        if spread.have < spread.nodes {
            return Err(Failed::silent(Exit::Failure));
        }
        Ok(())
    }
}

fn show(entry: &Revocation, spread: &Spread, text: &mut Text) {
    text.heading(format!(
        "revocation {} of {}: {} of {} nodes{}",
        entry.id.short(),
        target(&entry.target),
        spread.have,
        spread.nodes,
        spread.effective.map_or_else(String::new, |took| format!(
            ", p99 {}",
            seconds(took.p99_ms)
        ))
    ));
    text.field("made", instant(entry.at.0));
    text.field("state", state(entry.state));
    if matches!(
        entry.state,
        RevocationState::Excess | RevocationState::Unconfirmed
    ) {
        text.field("known", or_dash(spread.in_force.map(took)));
        text.line("it waits for another admin: nothing is cut off by it yet");
    } else {
        text.field("in force", or_dash(spread.in_force.map(took)));
        // In force and on disk, connections closed.
        text.field("effective", or_dash(spread.effective.map(took)));
    }
    if spread.missing.is_empty() {
        return;
    }
    text.heading("Missing");
    for node in &spread.missing {
        let why = if node.linked {
            "linked, does not have it yet"
        } else {
            "not linked here, no answer"
        };
        text.line(format!("  {}  {}  {why}", node.name, node.id));
    }
    let named = spread.missing.len() as u64;
    let more = spread
        .nodes
        .saturating_sub(spread.have)
        .saturating_sub(named);
    if more > 0 {
        text.line(format!("  and {more} more"));
    }
    if spread.partly_asked {
        text.line(
            "a node on the way has too many such questions open, so some of these may not have \
             been asked: ask again in ten seconds",
        );
    }
}

fn took(times: Took) -> String {
    let [p50, p99, max] = [times.p50_ms, times.p99_ms, times.max_ms].map(seconds);
    format!("p50 {p50}, p99 {p99}, slowest {max}")
}

fn seconds(ms: u64) -> String {
    if ms < 1000 {
        format!("{ms} ms")
    } else {
        format!("{}.{} s", ms / 1000, ms % 1000 / 100)
    }
}

fn table(found: &Revocations, text: &mut Text) {
    if found.entries.is_empty() {
        text.line("nothing is revoked");
        return;
    }
    let rows: Vec<Vec<String>> = found
        .entries
        .iter()
        .map(|entry| {
            vec![
                entry.index.to_string(),
                entry.admin.short(),
                entry.id.short(),
                instant(entry.at.0),
                state(entry.state).to_owned(),
                target(&entry.target),
                entry.reason.clone(),
            ]
        })
        .collect();
    let headers = ["N", "ADMIN", "ID", "AT", "STATE", "TARGET", "REASON"];
    text.table(&headers, &rows);
    let shown = found.entries.len() as u64;
    if shown < found.total {
        text.line(format!("{} more; see --limit", found.total - shown));
    }
    let waiting = found.entries.iter().filter(|e| waits(e.state)).count();
    if waiting > 0 {
        text.line(format!(
            "{waiting} wait for another admin to revoke the same"
        ));
        text.line(CONFIRM);
    }
}

/// The states, as people read them.
fn state(state: RevocationState) -> &'static str {
    match state {
        RevocationState::Effective => "effective",
        RevocationState::Held => "effective here, waits for another admin elsewhere",
        RevocationState::Excess => "excess, waits for another admin",
        RevocationState::Unconfirmed => "waits for another admin",
        RevocationState::Lifted => "lifted",
        RevocationState::Lift => "lift",
    }
}

fn target(target: &Target) -> String {
    match target {
        Target::Node { id, name } => match name {
            Some(name) => format!("node {name} ({})", id.short()),
            None => format!("node {id}"),
        },
        Target::Agent { node: None, name } => format!("agent {name} on every node"),
        Target::Agent {
            node: Some(node),
            name,
        } => format!("agent {name} of {}", node.short()),
        Target::Ticket { id } => format!("ticket {}", id.short()),
        Target::Tool { digest } => format!("tool {}", digest.short()),
        Target::Issuer {
            id,
            since,
            since_sequence,
        } => {
            let from = since_sequence.map_or_else(String::new, |n| format!(" or number {n}"));
            format!("issuer {} since {}{from}", id.short(), instant(since.0))
        }
        Target::Lift { entry } => format!("lift of {}", entry.short()),
    }
}
