//! The order and completeness of streams, over envelopes that are really signed.

use protocol::envelope::stream::{CallIdentity, StreamState};
use protocol::envelope::{Direction, Header, Kind, SealedEnvelope, UnverifiedEnvelope, seal};
use protocol::id::{Digest, EnvelopeId, RequestId, SessionId};
use protocol::limits::MAX_STREAM_MESSAGES;

use crate::case::ACCEPTED;
use crate::world::{ANSWER, CALL, CRYPTO, SALT, name, public, world};

fn call(first: &SealedEnvelope) -> CallIdentity {
    let claims = world().request_header().claims;
    CallIdentity {
        request_id: claims.request_id,
        session: claims.session,
        server: claims.server,
        human: claims.human,
        first: first.id,
    }
}

fn towards_client(first: &SealedEnvelope) -> StreamState {
    StreamState::new(&CRYPTO, call(first), Direction::ToClient)
}

/// What the host says next, given what it said so far.
fn next(state: &StreamState, kind: Kind) -> Header {
    let w = world();
    let mut header = w.request_header();
    (header.cwt.iss, header.cwt.aud) = (w.host.id, w.caller.id);
    let claims = &mut header.claims;
    claims.route.reverse();
    (claims.kind, claims.direction) = (kind, Direction::ToClient);
    claims.parent = Some(state.call().first);
    claims.sequence = state.next_sequence();
    if kind == Kind::Response {
        claims.last_sequence = Some(state.next_sequence());
        claims.stream_hash = Some(state.running_hash());
    }
    header
}

/// Signs, then receives as the caller does; the state advances if all holds.
fn hear(state: &mut StreamState, header: Header) -> &'static str {
    let w = world();
    let kind = header.claims.kind;
    let sealed = seal(&CRYPTO, &w.host.signing, header, SALT, ANSWER).unwrap();
    let unverified = UnverifiedEnvelope::parse(&sealed.bytes).unwrap();
    if let Err(e) = state.check(unverified.header()) {
        return e.reason();
    }
    let verified = unverified
        .verify(&CRYPTO, &public(&w.host.signing))
        .unwrap();
    state.push(&CRYPTO, verified.id(), kind);
    ACCEPTED
}

/// A stream on which two notifications came.
fn under_way() -> StreamState {
    let mut state = towards_client(&world().request());
    for _ in 0..2 {
        let header = next(&state, Kind::Notification);
        assert_eq!(hear(&mut state, header), ACCEPTED);
    }
    state
}

/// The outcome of the next message, altered.
fn altered(kind: Kind, alter: impl FnOnce(&mut Header)) -> &'static str {
    let mut state = under_way();
    let mut header = next(&state, kind);
    alter(&mut header);
    hear(&mut state, header)
}

#[test]
fn a_whole_stream_passes_and_nothing_after_it() {
    let mut state = under_way();
    let end = next(&state, Kind::Response);
    assert_eq!(hear(&mut state, end), ACCEPTED);
    assert!(state.ended());
    let after = next(&state, Kind::Notification);
    assert_eq!(hear(&mut state, after), "after_end");
    state.keep_open();
    let after = next(&state, Kind::Notification);
    assert_eq!(
        hear(&mut state, after),
        ACCEPTED,
        "a session goes on with the same numbering"
    );
}

#[test]
fn a_message_of_another_call_is_named() {
    let other: [fn(&mut Header); 5] = [
        |h| h.claims.human = Some("ada@example.org".to_owned()),
        |h| h.claims.request_id = RequestId::from_bytes([9; 16]),
        |h| h.claims.session = SessionId::from_bytes([9; 16]),
        |h| h.claims.server = name("other"),
        |h| {
            h.claims.direction = Direction::ToServer;
            h.claims.kind = Kind::Notification;
        },
    ];
    for alter in other {
        assert_eq!(altered(Kind::Notification, alter), "other_call");
    }
}

#[test]
fn a_response_to_another_request_is_named() {
    let parents = [None, Some(EnvelopeId::from_bytes([9; 32]))];
    for parent in parents {
        let found = altered(Kind::Response, |h| h.claims.parent = parent);
        assert_eq!(found, "other_request");
    }
}

#[test]
fn what_is_missing_or_out_of_order_is_named() {
    let at = |sequence| altered(Kind::Notification, |h| h.claims.sequence = sequence);
    assert_eq!(at(0), "out_of_order");
    assert_eq!(at(1), "out_of_order");
    assert_eq!(at(2), ACCEPTED);
    assert_eq!(at(3), "stream_gap");
    assert_eq!(at(MAX_STREAM_MESSAGES), "too_many_messages");
}

#[test]
fn a_response_over_other_messages_is_named() {
    let less = altered(Kind::Response, |h| h.claims.last_sequence = Some(1));
    let more = altered(Kind::Response, |h| h.claims.last_sequence = Some(3));
    let other = altered(Kind::Response, |h| {
        h.claims.stream_hash = Some(Digest::from_bytes([0; 32]));
    });
    assert_eq!([less, more, other], ["stream_hash_mismatch"; 3]);
}

#[test]
fn a_replaced_notification_shows_in_the_hash() {
    // Two streams that differ in the second of two notifications only.
    let mut one = under_way();
    let mut two = towards_client(&world().request());
    let first = next(&two, Kind::Notification);
    assert_eq!(hear(&mut two, first), ACCEPTED);
    let mut second = next(&two, Kind::Notification);
    second.claims.labels = vec!["changed".to_owned()];
    assert_eq!(hear(&mut two, second), ACCEPTED);
    let end = next(&two, Kind::Response);
    assert_eq!(hear(&mut one, end), "stream_hash_mismatch");
}

#[test]
fn the_first_message_counts_towards_the_server() {
    let first = world().request();
    let mut state = StreamState::new(&CRYPTO, call(&first), Direction::ToServer);
    assert_eq!(state.next_sequence(), 1);
    let mut header = world().request_header();
    header.claims.kind = Kind::Notification;
    header.claims.parent = Some(first.id);
    header.claims.sequence = 1;
    let sealed = world().seal(header.clone(), CALL);
    assert_eq!(state.check(&header), Ok(()));
    state.push(&CRYPTO, sealed.id, Kind::Notification);
    assert_eq!(state.next_sequence(), 2);
}
