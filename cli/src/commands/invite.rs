//! `hedgerow invite`: a ticket with which another host joins the mesh.

use std::net::SocketAddr;

use protocol::control::{Invite as Request, NewTicket, route};
use protocol::name::Name;

use super::Context;
use crate::exit::{Failed, say};
use crate::output::{Text, instant};
use crate::typed::seconds;

/// Make a ticket with which another host joins the mesh.
///
/// Whoever has the line may join, so hand it over as you would a password; nothing on this host
/// keeps it. The groups, the site and the end are kept here and cannot be altered in the ticket.
/// Needs an issuer's node to be running here: the one that founded the mesh is one.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  a$ hedgerow invite --group tool-hosts --ttl 1h
  b$ hedgerow join hedgerow1…

  a$ hedgerow invite --group agents --site berlin --uses 20 --pending
  a$ hedgerow peers pending
  a$ hedgerow peers approve ID")]
pub(crate) struct Invite {
    /// A group to put the newcomer in (repeatable)
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<Name>,
    /// The site it stands at
    #[arg(long)]
    site: Option<Name>,
    /// How long the ticket may be used (90s, 15m, 1h, 7d)
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = seconds)]
    ttl: u64,
    /// How many hosts may use it
    #[arg(long, default_value_t = 1)]
    uses: u64,
    /// Let nobody in before `hedgerow peers approve`
    #[arg(long)]
    pending: bool,
    /// The name the newcomer gets, whatever it asks for
    #[arg(long)]
    name: Option<Name>,
    /// How long a membership lasts; it is renewed at half of it [default: 7d]
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    membership: Option<u64>,
}

impl Invite {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failed> {
        let request = Request {
            groups: self.groups,
            site: self.site,
            name: self.name,
            ttl_s: self.ttl,
            uses: self.uses,
            pending: self.pending,
            life_s: self.membership,
        };
        let ticket: NewTicket = context.client()?.submit(route::TICKETS, &request).await?;
        if ticket.bootstraps.iter().all(|address| is_loopback(address)) {
            say(
                "warning: the ticket names loopback addresses only, so no other host can join with it; start the node with `--listen 0.0.0.0:7443`, or set `advertise` under `[node]`, and invite again",
            );
        }
        context.output.data(&ticket, |text| show(&ticket, text))
    }
}

/// Whether only this host itself can dial it.
fn is_loopback(address: &str) -> bool {
    let parsed = address.parse::<SocketAddr>();
    parsed.is_ok_and(|address| address.ip().is_loopback())
}

fn show(ticket: &NewTicket, text: &mut Text) {
    let hosts = match ticket.uses {
        1 => "one host".to_owned(),
        uses => format!("{uses} hosts"),
    };
    text.line(format!(
        "ticket for {hosts}, good until {}:",
        instant(ticket.expires.0)
    ));
    text.line("");
    text.line(ticket.ticket.expose());
    text.heading("On the other host:");
    text.line("  hedgerow join TICKET");
    if ticket.pending {
        text.heading("Then here:");
        text.line("  hedgerow peers pending");
        text.line("  hedgerow peers approve ID");
    }
    text.heading("Whoever has the line may join: hand it over in private.");
    text.field("id", ticket.id.short());
    text.field("reached at", ticket.bootstraps.join(" "));
}
