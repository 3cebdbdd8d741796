//! `hedgerow peers`: the other nodes, and what was negotiated with each.

use clap::Subcommand;
use protocol::control::{DecidedPeer, Dial, Peer, PeerChoice, PendingPeer, route};

use super::Context;
use crate::exit::Failed;
use crate::output::{Text, instant, now, or_dash};

mod list;

/// List the other nodes and what was negotiated with each; approve newcomers.
///
/// For every link: how packets travel and for how long, when the node was last heard of, how long
/// its membership lasts and which trust documents it holds; then the key exchange group, the
/// signature scheme of both identities, and how long the handshake took.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow peers
  hedgerow peers --dial 192.0.2.7:7443
  hedgerow peers pending
  hedgerow peers approve ID")]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Peers {
    /// Open a link to this address first
    #[arg(long, value_name = "HOST:PORT")]
    dial: Option<String>,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the newcomers that wait for approval at this node's issuer
    Pending,
    /// Let a newcomer in that waits
    Approve {
        /// Its node id, short id or name
        #[arg(value_name = "ID")]
        peer: String,
    },
    /// Refuse a newcomer that waits; its use of the ticket is not given back
    Deny {
        /// Its node id, short id or name
        #[arg(value_name = "ID")]
        peer: String,
    },
}

impl Peers {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failed> {
        let client = context.client()?;
        match self.action {
            None => {}
            Some(Action::Pending) => {
                let pending: Vec<PendingPeer> = client.read(route::PENDING).await?;
                return context
                    .output
                    .data(&pending, |text| waiting(&pending, text));
            }
            Some(Action::Approve { peer }) => {
                let choice = PeerChoice { peer };
                let decided: DecidedPeer = client.submit(route::APPROVE, &choice).await?;
                return context.output.data(&decided, |text| {
                    text.line(format!("`{}` ({}) may join", decided.name, decided.id));
                });
            }
            Some(Action::Deny { peer }) => {
                let choice = PeerChoice { peer };
                let decided: DecidedPeer = client.submit(route::DENY, &choice).await?;
                return context.output.data(&decided, |text| {
                    text.line(format!("`{}` ({}) may not join", decided.name, decided.id));
                });
            }
        }
        if let Some(address) = self.dial {
            let _: Peer = client.submit(route::DIAL, &Dial { address }).await?;
        }
        let peers: Vec<Peer> = client.read(route::PEERS).await?;
        context
            .output
            .data(&peers, |text| list::show(&peers, now(), text))
    }
}

fn waiting(pending: &[PendingPeer], text: &mut Text) {
    if pending.is_empty() {
        text.line("nobody waits for approval");
        return;
    }
    let row = |peer: &PendingPeer| {
        let groups: Vec<&str> = peer.groups.iter().map(|g| g.as_str()).collect();
        vec![
            peer.name.to_string(),
            peer.id.to_string(),
            if groups.is_empty() {
                "-".to_owned()
            } else {
                groups.join(" ")
            },
            or_dash(peer.site.as_ref()),
            peer.ticket.short(),
            instant(peer.since.0),
            peer.denied
                .map_or_else(|| "waits".to_owned(), |_| "denied".to_owned()),
        ]
    };
    let rows: Vec<Vec<String>> = pending.iter().map(row).collect();
    let headers = ["NAME", "ID", "GROUPS", "SITE", "TICKET", "SINCE", "STATE"];
    text.table(&headers, &rows);
    text.line("compare the id with `hedgerow id` on that host, then:");
    text.line("  hedgerow peers approve ID");
}
