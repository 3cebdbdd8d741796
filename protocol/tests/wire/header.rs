//! Headers that contradict themselves or exceed a bound.

use protocol::crypto::sealing::SEALING_ENC_LEN;
use protocol::envelope::header::Bridged;
use protocol::envelope::{Direction, Header, Kind, Sealed};
use protocol::id::{Digest, EnvelopeId};
use protocol::limits::{
    MAX_ENVELOPE_LIFE_S, MAX_INTENTS, MAX_METHOD_BYTES, MAX_STREAM_MESSAGES, MAX_TARGET_BYTES,
    MAX_WORD_BYTES,
};
use protocol::time::UnixSeconds;

use crate::case::{ACCEPTED, Case, case, run};
use crate::envelope::judge;
use crate::raw::altered;
use crate::world::{CALL, NOW, foreign, world};

type Alter = fn(&mut Header);

fn words(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("w{i:03}")).collect()
}

fn bridged(from_era: String) -> Option<Bridged> {
    Some(Bridged {
        by: world().caller.id,
        from_era,
        original: Digest::from_bytes([9; 32]),
    })
}

const ALTERATIONS: &[(&str, &str, Alter)] = &[
    ("content-type-of-a-hop-record", "wrong_content_type", |h| {
        h.content_type = "application/vnd.hedgerow.hop-record+cbor".to_owned();
    }),
    ("suite-unknown", "unknown_suite", |h| h.claims.suite = 2),
    ("life-zero", "bad_lifetime", |h| h.cwt.exp = h.cwt.iat),
    ("life-negative", "bad_lifetime", |h| {
        h.cwt.exp = h.cwt.iat.minus(1)
    }),
    ("life-too-long", "bad_lifetime", |h| {
        h.cwt.exp = h.cwt.iat.plus(MAX_ENVELOPE_LIFE_S + 1)
    }),
    ("life-to-the-end-of-time", "bad_lifetime", |h| {
        h.cwt.exp = UnixSeconds(u64::MAX)
    }),
    ("route-empty", "bad_route", |h| h.claims.route.clear()),
    ("route-of-one", "bad_route", |h| h.claims.route.truncate(1)),
    ("route-from-another", "bad_route", |h| {
        h.claims.route[0] = world().relays[0].id
    }),
    ("route-to-another", "bad_route", |h| {
        h.claims.route[1] = world().relays[0].id
    }),
    ("route-backwards", "bad_route", |h| h.claims.route.reverse()),
    ("route-repeats", "bad_route", |h| {
        let relay = world().relays[0].id;
        h.claims.route.splice(1..1, [relay, relay]);
    }),
    ("route-too-long", "bad_route", |h| {
        let [a, b] = &world().relays;
        let far = foreign().host.id;
        h.claims.route.splice(1..1, [a.id, b.id, far]);
    }),
    ("relayed-in-the-clear", "payload_not_sealed", |h| {
        h.claims.route.insert(1, world().relays[0].id)
    }),
    (
        "sealed-without-relay",
        "payload_sealed_without_relay",
        |h| {
            h.content_type = "application/vnd.hedgerow.sealed-envelope+cbor".to_owned();
        },
    ),
    ("direct-with-sealed", "bad_header_field", |h| {
        h.claims.sealed = Some(Sealed {
            key: Digest::from_bytes([1; 32]),
            enc: vec![1; SEALING_ENC_LEN],
        });
    }),
    ("request-with-last-sequence", "bad_stream_end", |h| {
        h.claims.last_sequence = Some(0)
    }),
    ("request-with-stream-hash", "bad_stream_end", |h| {
        h.claims.stream_hash = Some(Digest::from_bytes([1; 32]));
    }),
    ("final-response-without-end", "bad_stream_end", |h| {
        (h.claims.kind, h.claims.direction) = (Kind::Response, Direction::ToClient);
    }),
    ("final-response-without-hash", "bad_stream_end", |h| {
        (h.claims.kind, h.claims.direction) = (Kind::Response, Direction::ToClient);
        h.claims.last_sequence = Some(0);
    }),
    ("response-to-server-with-end", "bad_stream_end", |h| {
        h.claims.kind = Kind::Response;
        h.claims.last_sequence = Some(0);
        h.claims.stream_hash = Some(Digest::from_bytes([1; 32]));
    }),
    ("method-empty", "bad_header_field", |h| {
        h.claims.method.clear()
    }),
    ("method-too-long", "bad_header_field", |h| {
        h.claims.method = "m".repeat(MAX_METHOD_BYTES + 1)
    }),
    ("name-empty", "bad_header_field", |h| {
        h.claims.name = Some(String::new())
    }),
    ("name-too-long", "bad_header_field", |h| {
        h.claims.name = Some("n".repeat(MAX_TARGET_BYTES + 1));
    }),
    ("human-empty", "bad_header_field", |h| {
        h.claims.human = Some(String::new())
    }),
    ("human-too-long", "bad_header_field", |h| {
        h.claims.human = Some("h".repeat(MAX_WORD_BYTES + 1));
    }),
    ("bridged-era-empty", "bad_header_field", |h| {
        h.claims.bridged = bridged(String::new())
    }),
    ("bridged-era-too-long", "bad_header_field", |h| {
        h.claims.bridged = bridged("e".repeat(MAX_WORD_BYTES + 1));
    }),
    ("sequence-too-great", "bad_header_field", |h| {
        h.claims.sequence = MAX_STREAM_MESSAGES + 1
    }),
    ("intents-unsorted", "bad_header_field", |h| {
        h.claims.intents.reverse()
    }),
    ("intents-repeated", "bad_header_field", |h| {
        h.claims.intents = vec!["read".to_owned(), "read".to_owned()];
    }),
    ("intents-too-many", "bad_header_field", |h| {
        h.claims.intents = words(MAX_INTENTS + 1)
    }),
    ("intent-empty", "bad_header_field", |h| {
        h.claims.intents = vec![String::new()]
    }),
    ("intent-too-long", "bad_header_field", |h| {
        h.claims.intents = vec!["i".repeat(MAX_WORD_BYTES + 1)];
    }),
    ("labels-unsorted", "bad_header_field", |h| {
        h.claims.labels = vec!["b".to_owned(), "a".to_owned()];
    }),
    ("labels-too-many", "bad_header_field", |h| {
        h.claims.labels = words(MAX_INTENTS + 1)
    }),
    ("first-with-first-issued", "bad_header_field", |h| {
        h.claims.first_issued = Some(NOW)
    }),
    ("copy-without-first-issued", "bad_header_field", |h| {
        h.claims.parent = Some(EnvelopeId::from_bytes([6; 32]));
    }),
    ("copy-first-issued-later", "bad_header_field", |h| {
        h.claims.parent = Some(EnvelopeId::from_bytes([6; 32]));
        h.claims.first_issued = Some(NOW.plus(1));
    }),
    ("continuing-with-first-issued", "bad_header_field", |h| {
        h.claims.sequence = 1;
        h.claims.parent = Some(EnvelopeId::from_bytes([6; 32]));
        h.claims.first_issued = Some(NOW);
    }),
    ("copy", ACCEPTED, |h| {
        h.claims.parent = Some(EnvelopeId::from_bytes([6; 32]));
        h.claims.first_issued = Some(NOW.minus(20));
    }),
    ("everything-at-its-bound", ACCEPTED, |h| {
        h.claims.method = "m".repeat(MAX_METHOD_BYTES);
        h.claims.name = Some("n".repeat(MAX_TARGET_BYTES));
        h.claims.human = Some("h".repeat(MAX_WORD_BYTES));
        h.claims.bridged = bridged("e".repeat(MAX_WORD_BYTES));
        h.claims.intents = words(MAX_INTENTS);
        h.claims.labels = words(MAX_INTENTS);
        h.claims.posture = Some(Digest::from_bytes([8; 32]));
        h.cwt.exp = NOW.plus(MAX_ENVELOPE_LIFE_S);
    }),
    ("continues-a-call", ACCEPTED, |h| {
        h.claims.kind = Kind::Notification;
        h.claims.sequence = MAX_STREAM_MESSAGES;
        h.claims.parent = Some(EnvelopeId::from_bytes([6; 32]));
    }),
];

/// All of them, properly signed.
pub(crate) fn signed_cases() -> Vec<Case> {
    let w = world();
    ALTERATIONS
        .iter()
        .map(|&(name, expected, alter)| {
            let mut header = w.request_header();
            alter(&mut header);
            case(name, w.seal(header, CALL).bytes, expected)
        })
        .collect()
}

/// The refused ones under the signatures of the request that was altered: small vectors. A header
/// is judged before any signature, so the names are the same.
pub(crate) fn cases() -> Vec<Case> {
    let request = world().request().bytes;
    let altered = ALTERATIONS
        .iter()
        .filter(|(_, expected, _)| *expected != ACCEPTED);
    altered
        .map(|&(name, expected, alter)| {
            let bytes = altered_header(&request, alter);
            case(name, bytes, expected)
        })
        .collect()
}

fn altered_header(request: &[u8], alter: Alter) -> Vec<u8> {
    altered(request, |raw| {
        let mut header: Header = protocol::codec::decode(&raw.protected, 1 << 16).unwrap();
        alter(&mut header);
        raw.protected = protocol::codec::encode(&header);
    })
}

#[test]
fn contradictory_headers_are_refused_by_name_even_when_signed() {
    run(&signed_cases(), judge);
    run(&cases(), judge);
}
