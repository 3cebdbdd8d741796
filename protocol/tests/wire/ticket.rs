//! Tickets as text, their MAC against an independent computation, the messages of a join stream,
//! and requests that rotate keys.

use protocol::crypto::SigningSet;
use protocol::id::{Challenge, Digest, MeshId, NodeId, SignerId, TicketId};
use protocol::trust::joining::{
    Ask, Challenged, Enrol, Granted, JoinMessage, JoinRefusal, MAX_ROOTS, Roots, RootsFrom, Waiting,
};
use protocol::trust::ticket::{MAX_BOOTSTRAPS, MAX_TICKET_CHARS};
use protocol::trust::{IssuerNode, PeerAddress, Ticket, TicketError, TicketSecret};

use crate::case::ACCEPTED;
use crate::world::{CRYPTO, Fixed};

fn peer(last: u8, addresses: &[&str]) -> PeerAddress {
    PeerAddress {
        node: NodeId::from_bytes([last; 32]),
        addresses: addresses.iter().map(|&a| a.to_owned()).collect(),
    }
}

/// A ticket whose secret is 32 bytes `11`.
fn ticket() -> Ticket {
    Ticket {
        mesh: MeshId::from_bytes([3; 32]),
        issuer: SignerId::from_bytes([4; 32]),
        issuer_node: NodeId::from_bytes([5; 32]),
        secret: TicketSecret::draw(&Fixed(0x11)).unwrap(),
        bootstraps: vec![peer(5, &["192.0.2.7:7443"]), peer(6, &["hub.example:7443"])],
    }
}

fn judge(text: &str) -> &'static str {
    Ticket::parse(&CRYPTO, text).map_or_else(|e| e.reason(), |_| ACCEPTED)
}

#[test]
fn a_ticket_reads_back_whatever_surrounds_it() {
    let ticket = ticket();
    let text = ticket.to_text(&CRYPTO);
    assert!(text.starts_with("hedgerow1"), "{}", *text);
    assert!(text.len() < MAX_TICKET_CHARS / 8, "{}", text.len());
    assert_eq!(Ticket::parse(&CRYPTO, &text), Ok(ticket.clone()));
    let surrounded = format!(" \t{}\r\n", *text);
    assert_eq!(Ticket::parse(&CRYPTO, &surrounded), Ok(ticket));
}

#[test]
fn a_damaged_ticket_is_refused_wherever_it_is_damaged() {
    let text = ticket().to_text(&CRYPTO);
    for at in 9..text.len() {
        let mut damaged = text.to_string();
        let other = if damaged.as_bytes()[at] == b'a' {
            "b"
        } else {
            "a"
        };
        damaged.replace_range(at..=at, other);
        assert_eq!(judge(&damaged), "ticket_checksum", "character {at}");
        assert_eq!(judge(&text[..at]), "ticket_checksum", "cut at {at}");
    }
    assert_eq!(judge(""), "not_a_ticket");
    assert_eq!(judge("hedgerow2abc"), "not_a_ticket");
    assert_eq!(judge("hedgerow1"), "ticket_checksum");
    assert_eq!(judge(&format!("{}a", *text)), "ticket_checksum");
    let long = format!("hedgerow1{}", "a".repeat(MAX_TICKET_CHARS));
    assert_eq!(judge(&long), "ticket_too_long");
}

#[test]
fn what_a_ticket_says_is_bounded() {
    let with = |alter: fn(&mut Ticket)| {
        let mut ticket = ticket();
        alter(&mut ticket);
        judge(&ticket.to_text(&CRYPTO))
    };
    assert_eq!(with(|t| t.bootstraps.clear()), "ticket_field");
    assert_eq!(with(|t| t.bootstraps[0].addresses.clear()), "ticket_field");
    let many = |t: &mut Ticket| t.bootstraps = vec![peer(1, &["a:1"]); MAX_BOOTSTRAPS + 1];
    assert_eq!(with(many), "ticket_field");
    let most = |t: &mut Ticket| t.bootstraps = vec![peer(1, &["a:1"]); MAX_BOOTSTRAPS];
    assert_eq!(with(most), ACCEPTED);
}

/// Computed with Python's `hashlib` and `hmac`.
#[test]
fn the_mac_is_what_another_implementation_computes() {
    let secret = ticket().secret;
    let id = "23f87ec66e1d44aaa49fedcdade7a67df6764452a4c90f5d4becce6444785880";
    assert_eq!(secret.id(&CRYPTO), id.parse::<TicketId>().unwrap());
    let key = secret.mac_key(&CRYPTO);
    let expected = "fe1606273886b0a3acea456a119936849ac5f85165c6a45359c0931f3b7a0288";
    assert_eq!(hex::encode(key.expose()), expected);
    let signing = SigningSet {
        ml_dsa_65: vec![5; 1952],
        ed25519: vec![6; 32],
    };
    let (node, mesh) = (NodeId::from_bytes([2; 32]), MeshId::from_bytes([3; 32]));
    let challenge = Challenge::from_bytes([4; 32]);
    let mac = key.mac(&CRYPTO, &node, &signing, &mesh, &challenge);
    let expected = "03b08bc3f526fc42609ff518a4cb00fda747bf1b23943364b92a23d0c64a3ff7";
    assert_eq!(mac.to_string(), expected);
    let holds = |node: NodeId, mesh: MeshId, challenge: Challenge, mac: Digest| {
        key.verifies(&CRYPTO, &node, &signing, &mesh, &challenge, &mac)
    };
    assert!(holds(node, mesh, challenge, mac));
    // Stolen on its way, it is of no use for other keys, another mesh or another stream.
    assert!(!holds(NodeId::from_bytes([9; 32]), mesh, challenge, mac));
    assert!(!holds(node, MeshId::from_bytes([9; 32]), challenge, mac));
    assert!(!holds(node, mesh, Challenge::from_bytes([9; 32]), mac));
    let mut other = signing.clone();
    other.ed25519[0] ^= 1;
    assert!(!key.verifies(&CRYPTO, &node, &other, &mesh, &challenge, &mac));
}

/// One message of each kind, every optional field present.
pub(crate) fn messages() -> Vec<JoinMessage> {
    let (node, issuer) = (NodeId::from_bytes([1; 32]), SignerId::from_bytes([2; 32]));
    vec![
        JoinMessage::Ask(Ask {
            mesh: MeshId::from_bytes([3; 32]),
            issuer_node: Some(node),
        }),
        JoinMessage::Enrol(Enrol {
            request: vec![1; 40],
            membership: Some(vec![2; 30].into()),
        }),
        JoinMessage::RootsFrom(RootsFrom { version: 1 }),
        JoinMessage::Challenged(Challenged {
            challenge: Challenge::from_bytes([4; 32]),
            issuer,
            node,
        }),
        JoinMessage::Granted(Granted {
            membership: vec![1; 40],
            peers: vec![peer(1, &["a:1"])],
            issuers: vec![IssuerNode { issuer, node }],
        }),
        JoinMessage::Waiting(Waiting { node }),
        JoinMessage::Refused(JoinRefusal {
            reason: "bad_mac".to_owned(),
            message: "no".to_owned(),
            hint: Some("ask again".to_owned()),
        }),
        JoinMessage::Roots(Roots {
            roots: vec![vec![1; 9].into()],
            newest: 1,
        }),
    ]
}

#[test]
fn join_messages_read_back_and_nothing_else_does() {
    for message in messages() {
        let (kind, bytes) = (message.kind(), message.encode());
        assert_eq!(JoinMessage::decode(kind, &bytes), Ok(message));
        for end in 0..bytes.len() {
            assert!(
                JoinMessage::decode(kind, &bytes[..end]).is_err(),
                "{kind} {end}"
            );
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(JoinMessage::decode(kind, &longer).is_err());
        for other in [0, 4, 16, 22, 255] {
            assert!(JoinMessage::decode(other, &bytes).is_err());
        }
    }
    let refusal = JoinMessage::Refused(JoinRefusal {
        reason: "x".repeat(513),
        message: String::new(),
        hint: None,
    });
    assert!(JoinMessage::decode(20, &refusal.encode()).is_err());
    let roots = JoinMessage::Roots(Roots {
        roots: vec![Vec::new().into(); MAX_ROOTS + 1],
        newest: 1,
    });
    assert!(JoinMessage::decode(21, &roots.encode()).is_err());
}

#[test]
fn tickets_say_what_is_wrong_with_them() {
    let error = TicketError::Damaged.to_string();
    assert_eq!(error, "the ticket is damaged: its checksum does not fit");
}
