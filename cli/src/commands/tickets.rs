//! `hedgerow tickets`: what became of the tickets made here.

use clap::{Args, Subcommand};
use protocol::control::{Redeemer, TicketChoice, TicketInfo, TicketState, route};

use super::Context;
use crate::exit::Failed;
use crate::output::{Text, instant, or_dash};

/// List the tickets made on this node, who used them, and revoke them.
#[derive(Debug, Args)]
pub(crate) struct Tickets {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List them, the newest first (the default)
    List,
    /// Have a ticket used no more; who joined with it stays a member
    Revoke {
        /// Its id, or the first eight digits of it
        #[arg(value_name = "ID")]
        ticket: String,
    },
}

impl Tickets {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failed> {
        let client = context.client()?;
        match self.action.unwrap_or(Action::List) {
            Action::List => {
                let tickets: Vec<TicketInfo> = client.read(route::TICKETS).await?;
                context.output.data(&tickets, |text| show(&tickets, text))
            }
            Action::Revoke { ticket } => {
                let choice = TicketChoice { ticket };
                let revoked: TicketInfo = client.submit(route::REVOKE_TICKET, &choice).await?;
                context.output.data(&revoked, |text| {
                    text.line(format!("revoked ticket {}", revoked.id.short()));
                    for member in revoked.redeemed.iter().filter(|r| !r.denied) {
                        text.line(format!(
                            "`{}` joined with it and stays a member",
                            member.name
                        ));
                    }
                })
            }
        }
    }
}

fn show(tickets: &[TicketInfo], text: &mut Text) {
    if tickets.is_empty() {
        text.line("no tickets; make one with `hedgerow invite`");
        return;
    }
    let rows: Vec<Vec<String>> = tickets.iter().map(row).collect();
    let headers = [
        "ID", "STATE", "USED", "EXPIRES", "GROUPS", "SITE", "APPROVAL", "USED BY",
    ];
    text.table(&headers, &rows);
}

fn user(redeemer: &Redeemer) -> String {
    match redeemer.denied {
        true => format!("{} (denied)", redeemer.name),
        false => redeemer.name.to_string(),
    }
}

fn row(ticket: &TicketInfo) -> Vec<String> {
    let state = match ticket.state {
        TicketState::Open => "open",
        TicketState::UsedUp => "used up",
        TicketState::Expired => "expired",
        TicketState::Revoked => "revoked",
    };
    let groups: Vec<&str> = ticket.groups.iter().map(|g| g.as_str()).collect();
    let by: Vec<String> = ticket.redeemed.iter().map(user).collect();
    let by: Vec<&str> = by.iter().map(String::as_str).collect();
    let dash = |words: Vec<&str>| match words.is_empty() {
        true => "-".to_owned(),
        false => words.join(" "),
    };
    vec![
        ticket.id.short(),
        state.to_owned(),
        format!("{} of {}", ticket.used, ticket.uses),
        instant(ticket.expires.0),
        dash(groups),
        or_dash(ticket.site.as_ref()),
        if ticket.pending { "by a person" } else { "-" }.to_owned(),
        dash(by),
    ]
}
