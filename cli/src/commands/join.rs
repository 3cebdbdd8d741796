//! `hedgerow join`: become a member of a mesh with a ticket, then run the node.

use std::io::Read as _;

use protocol::name::Name;

use super::run::{Overrides, seam};
use super::up::{Origin, host_name, serve};
use super::{Context, runtime, wait_for};
use crate::exit::{Failed, say};
use crate::state::{Standing, State};

/// Most bytes of a ticket read from stdin.
const MAX_TICKET_BYTES: u64 = 16 * 1024;

/// Join a mesh with a ticket from `hedgerow invite`, then run the node here.
///
/// Makes this host's keys, asks the nodes that the ticket names one after the other, and runs the
/// node in the foreground like `up`. Where the ticket wants approval it waits; interrupted, run it
/// again with the same ticket. A host that joined already just runs.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow join hedgerow1…
  hedgerow join --name b --listen 0.0.0.0:7443 hedgerow1…
  hedgerow join - < ticket            keeps the ticket off the command line")]
pub(crate) struct Join {
    /// The ticket, or - to read it from stdin
    ticket: String,
    /// The name to ask for [default: the host's name]
    #[arg(long, value_name = "NODE")]
    name: Option<Name>,
    /// Only join; run the node later with `hedgerow up`
    #[arg(long)]
    no_run: bool,
    #[command(flatten)]
    overrides: Overrides,
}

/// What is printed with `--no-run`.
#[derive(Debug, serde::Serialize)]
struct Joined {
    node: protocol::id::NodeId,
    name: Name,
    expires: protocol::time::UnixSeconds,
}

impl Join {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failed> {
        let state = context.state()?;
        let ticket = seam::ticket(&self.text()?)?;
        let origin = if state.standing() == Standing::Member {
            seam::same_mesh(state.path(), &ticket)?;
            wait_for(&runtime()?, seam::not_revoked(state.path()))?;
            say("note: this host is a member of the ticket's mesh already; the ticket is not used");
            Origin::Existing
        } else {
            if !self.no_run {
                seam::check(state.path(), &self.overrides)?;
            }
            let joined = self.join(&state, &ticket)?;
            if self.no_run {
                return context.output.data(&joined, |text| {
                    text.line(format!("joined as `{}` ({})", joined.name, joined.node));
                    text.line("run the node with `hedgerow up`");
                });
            }
            Origin::Joined
        };
        if self.no_run {
            return Ok(());
        }
        serve(context, &state, &self.overrides, origin, None)
    }

    fn text(&self) -> Result<String, Failed> {
        if self.ticket != "-" {
            return Ok(self.ticket.clone());
        }
        let mut text = String::new();
        let stdin = std::io::stdin().lock();
        stdin
            .take(MAX_TICKET_BYTES)
            .read_to_string(&mut text)
            .map_err(|error| Failed::io("cannot read the ticket from stdin", &error))?;
        Ok(text)
    }

    fn join(&self, state: &State, ticket: &seam::Ticket) -> Result<Joined, Failed> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => host_name()
                .parse()
                .map_err(|error: protocol::name::NameError| Failed::input(error.to_string()))?,
        };
        let mut tell = |progress: seam::Progress| say(&told(&progress));
        let joined = wait_for(
            &runtime()?,
            seam::enrol(state.path(), ticket, name, &mut tell),
        )?;
        Ok(Joined {
            node: joined.node,
            name: joined.name,
            expires: joined.expires,
        })
    }
}

fn told(progress: &seam::Progress) -> String {
    match progress {
        seam::Progress::Asking { node, address } => {
            format!("asking {} at {address}", node.short())
        }
        seam::Progress::Failed(tried) => {
            let (node, address) = (tried.node.short(), &tried.address);
            crate::inert::inert(&format!("{node} at {address}: {}", tried.why))
        }
        seam::Progress::Throttled => "the issuer is busy; asking again in a moment".to_owned(),
        seam::Progress::Waiting { node } => {
            format!("waiting for approval; on the issuer's host: hedgerow peers approve {node}")
        }
    }
}
