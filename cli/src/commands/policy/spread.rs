//! How far a bundle has come, as the peers of this host's node say.

use std::time::Duration;

use protocol::control::{Peer, PeerState, Status, route};
use protocol::name::Name;
use serde::Serialize;

use crate::client::Client;
use crate::exit::Failed;
use crate::output::Text;

/// Pause between two questions.
const PAUSE: Duration = Duration::from_millis(200);

/// Who has a bundle.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Spread {
    /// The bundle's version.
    pub(super) version: u64,
    /// Nodes that have it or a newer one, this one included.
    pub(super) have: usize,
    /// Nodes this one has a link to, and itself.
    pub(super) linked: usize,
    /// Linked nodes that have not said they have it.
    pub(super) missing: Vec<String>,
    /// Nodes without a link: they take it when they next have one, before their first call.
    pub(super) unlinked: Vec<String>,
}

/// Waits until every linked peer has it, at most `wait`.
pub(super) async fn follow(
    client: &Client,
    version: u64,
    wait: Duration,
) -> Result<Spread, Failed> {
    let until = tokio::time::Instant::now() + wait;
    loop {
        let spread = look(client, version).await?;
        if spread.missing.is_empty() || tokio::time::Instant::now() >= until {
            return Ok(spread);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn look(client: &Client, version: u64) -> Result<Spread, Failed> {
    let status: Status = client.read(route::STATUS).await?;
    let peers: Vec<Peer> = client.read(route::PEERS).await?;
    let mut spread = Spread {
        version,
        have: 0,
        linked: 0,
        missing: Vec::new(),
        unlinked: Vec::new(),
    };
    let own = status
        .trust
        .as_ref()
        .and_then(|trust| trust.versions.bundle);
    let mut count = |name: String, held: Option<u64>| {
        spread.linked += 1;
        if held.is_some_and(|held| held >= version) {
            spread.have += 1;
        } else {
            spread.missing.push(name);
        }
    };
    count("this node".to_owned(), own);
    for peer in &peers {
        let name = peer
            .name
            .as_ref()
            .map_or_else(|| peer.id.short(), Name::to_string);
        match peer.state {
            PeerState::Connected => count(name, peer.versions.as_ref().and_then(|v| v.bundle)),
            PeerState::Connecting | PeerState::Disconnected => spread.unlinked.push(name),
            PeerState::Revoked => {}
        }
    }
    Ok(spread)
}

/// For people.
pub(super) fn show(spread: &Spread, text: &mut Text) {
    let Spread {
        version,
        have,
        linked,
        ..
    } = spread;
    text.check(
        spread.missing.is_empty(),
        format!("bundle {version} is in force on {have} of {linked} nodes this one has a link to"),
    );
    for name in &spread.missing {
        text.line(format!("  not yet heard from {name}"));
    }
    if !spread.unlinked.is_empty() {
        text.line(format!(
            "  without a link now: {}; they take it before their next call",
            spread.unlinked.join(", ")
        ));
    }
}
