//! `hedgerow peers`: the other nodes, and what was negotiated with each.

use protocol::control::{Dial, LinkPath, Peer, PeerState, route};

use super::Context;
use crate::exit::Failed;
use crate::output::{Text, instant, millis, or_dash};

/// List the other nodes and what was negotiated with each.
///
/// For every link: key exchange group, signature scheme of both identities, how packets travel,
/// how long the handshake took and in how many round trips.
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
        context.output.data(&peers, |text| show(&peers, text))
    }
}

fn show(peers: &[Peer], text: &mut Text) {
    if peers.is_empty() {
        text.line("no other nodes known");
        return;
    }
    let rows: Vec<Vec<String>> = peers.iter().map(row).collect();
    let headers = [
        "NODE",
        "ID",
        "STATE",
        "ADDRESS",
        "GROUP",
        "SIGNATURES",
        "PATH",
        "HANDSHAKE",
        "RTT",
        "LAST SEEN",
        "SERVERS",
    ];
    text.table(&headers, &rows);
    for peer in peers {
        if let Some(error) = &peer.last_error {
            let who = or_dash(peer.name.as_ref());
            text.line(format!("{who} ({}): {error}", peer.id.short()));
        }
    }
}

fn row(peer: &Peer) -> Vec<String> {
    let state = match peer.state {
        PeerState::Connected => "connected",
        PeerState::Connecting => "connecting",
        PeerState::Disconnected => "disconnected",
    };
    let path = match peer.path {
        Some(LinkPath::Direct) => "direct",
        Some(LinkPath::Circuit) => "circuit",
        None => "-",
    };
    let handshake = match (peer.handshake_ms, peer.rtts) {
        (Some(ms), Some(rtts)) => format!("{ms:.1} ms, {rtts} RTT"),
        (ms, _) => millis(ms),
    };
    let servers: Vec<&str> = peer.servers.iter().map(|name| name.as_str()).collect();
    vec![
        or_dash(peer.name.as_ref()),
        peer.id.short(),
        state.to_owned(),
        or_dash(peer.address.as_ref()),
        or_dash(peer.group.as_ref()),
        or_dash(peer.signature_scheme.as_ref()),
        path.to_owned(),
        handshake,
        millis(peer.rtt_ms),
        or_dash(peer.last_seen.map(|seen| instant(seen.0))),
        if servers.is_empty() {
            "-".to_owned()
        } else {
            servers.join(" ")
        },
    ]
}
