//! What a receiver asks of a well-formed, well-signed envelope.

use protocol::cose;
use protocol::envelope::{
    Direction, Expectation, Header, Payload, Refusal, UnverifiedEnvelope, VerifiedEnvelope,
    body_digest,
};
use protocol::limits::{MAX_CLOCK_AHEAD_S, MAX_ENVELOPE_LIFE_S};
use protocol::time::{UnixMillis, UnixSeconds};

use crate::case::{ACCEPTED, Case, case, run};
use crate::raw::{Raw, altered, flipped};
use crate::world::{CALL, CRYPTO, NOW, SALT, foreign, public, world};

/// What the host does with bytes that the caller sent to begin a call, at `now`.
pub(crate) fn receive(bytes: &[u8], now: UnixMillis) -> Result<VerifiedEnvelope, Refusal> {
    let w = world();
    let unverified = UnverifiedEnvelope::parse(bytes)?;
    let id = unverified.id(&CRYPTO);
    unverified.check(&Expectation {
        mesh: w.mesh(),
        audience: w.host.id,
        issuer: w.caller.id,
        direction: Direction::ToServer,
        now,
    })?;
    let verified = unverified.verify(&CRYPTO, &public(&w.caller.signing))?;
    assert_eq!(
        verified.id(),
        id,
        "verifying does not change the identifier"
    );
    Ok(verified)
}

/// The outcome at [`NOW`].
pub(crate) fn judge(bytes: &[u8]) -> &'static str {
    receive(bytes, UnixMillis(NOW.0 * 1000)).map_or_else(|e| e.reason(), |_| ACCEPTED)
}

/// Envelopes that hold.
pub(crate) fn accepted() -> Vec<Case> {
    vec![case("request", world().request().bytes, ACCEPTED)]
}

/// Properly signed by the caller, but not to be accepted here or now; or with another body.
pub(crate) fn cases() -> Vec<Case> {
    let w = world();
    let sealed = |alter: &dyn Fn(&mut Header)| {
        let mut header = w.request_header();
        alter(&mut header);
        w.seal(header, CALL).bytes
    };
    let at = |iat: UnixSeconds, life: u64| {
        sealed(&|h| {
            h.cwt.iat = iat;
            h.cwt.exp = iat.plus(life);
        })
    };
    let ahead = MAX_CLOCK_AHEAD_S;
    vec![
        case(
            "issued-within-clock-difference",
            at(NOW.plus(ahead), 30),
            ACCEPTED,
        ),
        case("expires-next-second", at(NOW.minus(29), 30), ACCEPTED),
        case("longest-life", at(NOW, MAX_ENVELOPE_LIFE_S), ACCEPTED),
        case("expired", at(NOW.minus(30), 30), "expired"),
        case("future", at(NOW.plus(ahead + 1), 30), "issued_in_future"),
        case(
            "foreign-mesh",
            sealed(&|h| h.claims.mesh = foreign().mesh()),
            "foreign_mesh",
        ),
        case(
            "misaddressed",
            sealed(&|h| {
                h.cwt.aud = w.relays[0].id;
                h.claims.route = vec![w.caller.id, w.relays[0].id];
            }),
            "wrong_audience",
        ),
        case(
            "wrong-issuer",
            sealed(&|h| {
                h.cwt.iss = w.relays[0].id;
                h.claims.route = vec![w.relays[0].id, w.host.id];
            }),
            "wrong_issuer",
        ),
        case(
            "wrong-direction",
            sealed(&|h| h.claims.direction = Direction::ToClient),
            "wrong_direction",
        ),
        case(
            "body-of-another-digest",
            other_body(),
            "body_digest_mismatch",
        ),
        case(
            "salt-of-another-digest",
            other_salt(),
            "body_digest_mismatch",
        ),
    ]
}

/// The caller's signature over a header that states the digest of [`CALL`] and this payload.
fn signed_with(payload: &Payload) -> Vec<u8> {
    let w = world();
    let mut header = w.request_header();
    header.claims.body_digest = body_digest(&CRYPTO, &SALT, CALL);
    let protected = protocol::codec::encode(&header);
    let payload = protocol::codec::encode(payload);
    let aad = *w.mesh().as_bytes();
    cose::sign(&CRYPTO, &[&w.caller.signing], &protected, &payload, &aad).unwrap()
}

fn other_body() -> Vec<u8> {
    let body = CALL.to_ascii_uppercase();
    signed_with(&Payload { salt: SALT, body })
}

fn other_salt() -> Vec<u8> {
    signed_with(&Payload {
        salt: protocol::id::Salt::from_bytes([0; 32]),
        body: CALL.to_vec(),
    })
}

#[test]
fn what_holds_is_accepted_with_its_header_and_body() {
    let w = world();
    let sealed = w.request();
    let verified = receive(&sealed.bytes, UnixMillis(NOW.0 * 1000)).unwrap();
    assert_eq!(verified.id(), sealed.id);
    assert_eq!(verified.body(), CALL);
    let mut header = w.request_header();
    header.claims.body_digest = body_digest(&CRYPTO, &SALT, CALL);
    assert_eq!(verified.header(), &header);
}

#[test]
fn what_is_not_for_here_or_now_is_refused_by_name() {
    run(&accepted(), judge);
    run(&cases(), judge);
}

#[test]
fn the_order_of_the_checks_is_that_of_the_specification() {
    type Wrong = (&'static str, fn(&mut Header));
    // Each envelope is wrong in this way and in every later one.
    let w = world();
    let wrongs: [Wrong; 6] = [
        ("foreign_mesh", |h| h.claims.mesh = foreign().mesh()),
        ("wrong_audience", |h| h.cwt.aud = world().relays[0].id),
        ("wrong_issuer", |h| h.cwt.iss = world().relays[1].id),
        ("wrong_direction", |h| {
            h.claims.direction = Direction::ToClient
        }),
        ("issued_in_future", |h| h.cwt.iat = NOW.plus(100)),
        ("expired", |h| h.cwt.iat = NOW.minus(100)),
    ];
    for first in 0..wrongs.len() {
        let mut header = w.request_header();
        for (_, wrong) in wrongs[first..].iter().rev() {
            wrong(&mut header);
        }
        header.cwt.exp = header.cwt.iat.plus(30);
        header.claims.route = vec![header.cwt.iss, header.cwt.aud];
        let bytes = altered(&w.seal(header, CALL).bytes, |raw| {
            raw.signatures[1].bytes[9] ^= 1
        });
        assert_eq!(judge(&bytes), wrongs[first].0);
    }
}

#[test]
fn every_changed_byte_is_refused() {
    let bytes = world().request().bytes;
    let raw = Raw::of(&bytes);
    let long = raw.signatures[0].bytes.len();
    let start = crate::raw::find(&bytes, &raw.signatures[0].bytes);
    for at in 0..bytes.len() {
        // The long signature is sampled: each of its bytes costs a whole verification.
        let within = (start + 8..start + long - 80).contains(&at);
        if !within || at % 37 == 0 {
            assert_ne!(judge(&flipped(&bytes, at)), ACCEPTED, "byte {at}");
        }
    }
}

#[test]
fn no_signature_is_part_of_the_identifier() {
    let w = world();
    let (one, two) = (w.request(), w.seal(w.request_header(), CALL));
    assert_ne!(one.bytes, two.bytes, "ML-DSA-65 signs hedged");
    assert_eq!(one.id, two.id);
}
