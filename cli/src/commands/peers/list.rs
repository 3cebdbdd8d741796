//! The table of peers: two lines of at most 100 columns for each, one of the link as it is now,
//! one of what was negotiated on it.

use protocol::control::{DocumentVersions, LinkPath, Peer, PeerState};
use protocol::time::UnixSeconds;

use crate::output::{Text, ago, cut, lasting, millis, or_dash};

/// Columns of a name, an address: longer ones are cut, and stand in full in the JSON.
const NAME_COLUMNS: usize = 15;
const ADDRESS_COLUMNS: usize = 21;

/// Lays the peers out as they are at `now`.
pub(super) fn show(peers: &[Peer], now: UnixSeconds, text: &mut Text) {
    if peers.is_empty() {
        text.line("no other nodes known");
        return;
    }
    let rows: Vec<Vec<String>> = peers.iter().map(|peer| link(peer, now)).collect();
    let headers = [
        "NODE",
        "ID",
        "STATE",
        "PATH",
        "RTT",
        "SEEN",
        "MEMBER",
        "DOCUMENTS",
    ];
    text.table(&headers, &rows);
    let rows: Vec<Vec<String>> = peers.iter().map(negotiated).collect();
    text.line("");
    let headers = ["NODE", "ADDRESS", "GROUP", "SIGNATURES", "HANDSHAKE"];
    text.table(&headers, &rows);
    for peer in peers.iter().filter(|peer| is_relayed(peer)) {
        let relays: Vec<&str> = peer.relayed_by.iter().map(|relay| relay.as_str()).collect();
        let relays = relays.join(", ");
        text.line(format!("{} is reached over {relays}", name(peer)));
    }
    for peer in peers {
        // That there is no link with who is reached over relays is no trouble.
        let error = peer.last_error.as_ref().filter(|_| !is_relayed(peer));
        if let Some(error) = error {
            // Errors of the node carry their hint as a second line.
            let (error, hint) = match error.split_once("\nhint: ") {
                Some((error, hint)) => (error, Some(hint)),
                None => (error.as_str(), None),
            };
            text.line(format!("{} ({}): {error}", name(peer), peer.id.short()));
            if let Some(hint) = hint {
                text.line(format!("  hint: {hint}"));
            }
        }
    }
    if peers.iter().any(|p| p.versions.is_some()) {
        text.line("documents: r root, b bundle, v revocations, as heard from the node");
    }
}

fn name(peer: &Peer) -> String {
    cut(&or_dash(peer.name.as_ref()), NAME_COLUMNS)
}

/// Whether calls reach it without a link.
fn is_relayed(peer: &Peer) -> bool {
    let down = !matches!(peer.state, PeerState::Connected | PeerState::Revoked);
    down && !peer.relayed_by.is_empty()
}

fn link(peer: &Peer, now: UnixSeconds) -> Vec<String> {
    let state = match peer.state {
        _ if is_relayed(peer) => "reached",
        PeerState::Connected => "connected",
        PeerState::Connecting => "connecting",
        PeerState::Disconnected => "down",
        PeerState::Revoked => "revoked",
    };
    let path = match peer.path {
        Some(LinkPath::Direct) => "direct",
        Some(LinkPath::Circuit) => "circuit",
        None if peer.relayed_by.is_empty() => "-",
        None => "relayed",
    };
    let member = peer.membership_expires.map(|end| {
        let left = end.0.saturating_sub(now.0);
        if left == 0 {
            "ended".to_owned()
        } else {
            lasting(left)
        }
    });
    vec![
        name(peer),
        peer.id.short(),
        state.to_owned(),
        path.to_owned(),
        millis(peer.rtt_ms),
        or_dash(peer.last_seen.map(|seen| ago(seen.0, now.0))),
        or_dash(member),
        or_dash(peer.versions.map(versions)),
    ]
}

fn versions(held: DocumentVersions) -> String {
    let mut text = format!("r{}", held.root);
    if let Some(bundle) = held.bundle {
        text.push_str(&format!(" b{bundle}"));
    }
    if let Some(revocations) = held.revocations {
        text.push_str(&format!(" v{revocations}"));
    }
    text
}

fn negotiated(peer: &Peer) -> Vec<String> {
    let handshake = match (peer.handshake_ms, peer.rtts) {
        (Some(ms), Some(rtts)) => format!("{ms:.1} ms, {rtts} RTT"),
        (ms, _) => millis(ms),
    };
    vec![
        name(peer),
        cut(&or_dash(peer.address.as_ref()), ADDRESS_COLUMNS),
        or_dash(peer.group.as_ref()),
        or_dash(peer.signature_scheme.as_ref()),
        handshake,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_widest_peer_fits_a_hundred_columns() {
        let peer = Peer {
            id: protocol::id::NodeId::from_bytes([7; 32]),
            name: Some("a-very-long-host-name-for-a-test".parse().unwrap()),
            state: PeerState::Connecting,
            address: Some("[2001:db8:1234:5678:9abc:def0:1234:5678]:65535".into()),
            group: Some("X25519MLKEM768".into()),
            signature_scheme: Some("id-MLDSA65-Ed25519-SHA512".into()),
            path: Some(LinkPath::Circuit),
            relayed_by: vec![],
            heard_over_relays: None,
            handshake_ms: Some(1234.5),
            hello_ms: Some(1.0),
            rtts: Some(12),
            rtt_ms: Some(1234.5),
            dialed: Some(true),
            since: Some(UnixSeconds(1)),
            last_seen: Some(UnixSeconds(900_000)),
            membership_expires: Some(UnixSeconds(100_000_000)),
            groups: Vec::new(),
            site: None,
            versions: Some(DocumentVersions {
                root: 123,
                bundle: Some(12_345),
                revocations: Some(10_000),
            }),
            servers: vec![],
            last_error: None,
            last_reason: None,
        };
        let silent = Peer {
            last_error: Some("does not answer\nhint: check it".into()),
            ..peer.clone()
        };
        let mut told = Text::plain();
        show(&[silent], UnixSeconds(1_000_000), &mut told);
        let told = told.shown();
        assert!(
            told.contains("does not answer\n  hint: check it\n"),
            "{told}"
        );
        // Who is reached over relays is in no trouble.
        let relayed = Peer {
            state: PeerState::Disconnected,
            path: None,
            relayed_by: vec!["r1".parse().unwrap(), "r2".parse().unwrap()],
            last_error: Some("does not answer".into()),
            ..peer.clone()
        };
        let mut told = Text::plain();
        show(&[relayed], UnixSeconds(1_000_000), &mut told);
        let told = told.shown();
        assert!(told.contains("is reached over r1, r2\n"), "{told}");
        assert!(
            told.contains("reached  ") && !told.contains("does not answer"),
            "{told}"
        );
        let mut text = Text::plain();
        show(&[peer], UnixSeconds(1_000_000), &mut text);
        let shown = text.shown();
        assert!(shown.contains("a-very-long-ho…"), "{shown}");
        for line in shown.lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
    }
}
