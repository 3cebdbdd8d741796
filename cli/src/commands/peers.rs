//! `hedgerow peers`: the other nodes, and what was negotiated with each.

use protocol::control::{Dial, Peer, route};

use super::Context;
use crate::exit::Failed;
use crate::output::now;

mod list;

/// List the other nodes and what was negotiated with each.
///
/// For every link: how packets travel and for how long, when the node was last heard of, how long
/// its membership lasts and which trust documents it holds; then the key exchange group, the
/// signature scheme of both identities, and how long the handshake took.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow peers
  hedgerow peers --dial 192.0.2.7:7443")]
pub(crate) struct Peers {
    /// Open a link to this address first
    #[arg(long, value_name = "HOST:PORT")]
    dial: Option<String>,
}

impl Peers {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failed> {
        let client = context.client()?;
        if let Some(address) = self.dial {
            let _: Peer = client.submit(route::DIAL, &Dial { address }).await?;
        }
        let peers: Vec<Peer> = client.read(route::PEERS).await?;
        context
            .output
            .data(&peers, |text| list::show(&peers, now(), text))
    }
}
