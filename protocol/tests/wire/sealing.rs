//! Envelopes that relays carry: sealed whole, opened by the far end alone.

use std::sync::LazyLock;

use hedgerow_crypto::{Primitives, SealingKey};
use protocol::crypto::CryptoError;
use protocol::crypto::domain::content_type;
use protocol::crypto::sealing::{Opener as _, SEALING_ENC_LEN, SEALING_TAG_LEN};
use protocol::envelope::sealing::{associated_data, info, key_digest};
use protocol::envelope::{
    CallSeal, Crossing, Direction, Expectation, Header, Kind, Payload, Refusal, SealedEnvelope,
    UnverifiedEnvelope, VerifiedEnvelope, seal_relayed,
};
use protocol::id::Digest;
use protocol::time::UnixMillis;
use protocol::{codec, cose};

use crate::case::{ACCEPTED, Case, case, run};
use crate::raw::Raw;
use crate::world::{CALL, CRYPTO, NOW, SALT, public, world};

/// The host's sealing key.
static KEY: LazyLock<SealingKey> = LazyLock::new(|| SealingKey::from_seed(&[0x5e; 32]).unwrap());

/// The request over the first relay, and the caller's end of the call.
fn begin(key: &SealingKey, alter: &dyn Fn(&mut Header)) -> (SealedEnvelope, CallSeal) {
    let w = world();
    let (call, sealed) = CallSeal::begin(&Primitives, &CRYPTO, &w.mesh(), key.public()).unwrap();
    let mut header = relayed();
    header.claims.sealed = Some(sealed);
    alter(&mut header);
    let signing = &w.caller.signing;
    let envelope = seal_relayed(&CRYPTO, signing, header, SALT, CALL, &call).unwrap();
    (envelope, call)
}

/// The request as relays carry it.
pub(crate) fn sealed_request() -> Vec<u8> {
    begin(&KEY, &|_| {}).0.bytes
}

fn relayed() -> Header {
    let w = world();
    let mut header = w.request_header();
    header.claims.route.insert(1, w.relays[0].id);
    header.content_type = content_type::SEALED_ENVELOPE.to_owned();
    header
}

/// What the host does with the first message of a call.
fn receive(bytes: &[u8]) -> Result<(VerifiedEnvelope, CallSeal), Refusal> {
    let w = world();
    let unverified = UnverifiedEnvelope::parse(bytes)?;
    unverified.check(&Expectation {
        mesh: w.mesh(),
        audience: w.host.id,
        issuer: w.caller.id,
        direction: Direction::ToServer,
        now: UnixMillis(NOW.0 * 1000),
    })?;
    let signed = unverified.verify_signatures(&CRYPTO, &public(&w.caller.signing))?;
    let sealed = signed.header().claims.sealed.clone();
    let sealed = sealed.ok_or(Refusal::SealingKeyUnknown)?;
    if sealed.key != key_digest(&CRYPTO, KEY.public()) {
        return Err(Refusal::SealingKeyUnknown);
    }
    let call = CallSeal::take_up(&*KEY, &w.mesh(), &sealed).map_err(|_| Refusal::SealedPayload)?;
    Ok((signed.open(&CRYPTO, Some(&call))?, call))
}

pub(crate) fn judge(bytes: &[u8]) -> &'static str {
    receive(bytes).map_or_else(|e| e.reason(), |_| ACCEPTED)
}

/// Signed by the caller over whatever payload and header.
fn signed(header: &Header, payload: &[u8]) -> Vec<u8> {
    let w = world();
    let protected = codec::encode(header);
    let aad = *w.mesh().as_bytes();
    cose::sign(&CRYPTO, &[&w.caller.signing], &protected, payload, &aad).unwrap()
}

pub(crate) fn cases() -> Vec<Case> {
    let plain = |h: &mut Header| h.claims.labels = vec!["pci".to_owned()];
    let other = SealingKey::from_seed(&[0x5f; 32]).unwrap();
    let (honest, _) = begin(&KEY, &|_| ());
    let unverified = UnverifiedEnvelope::parse(&honest.bytes).unwrap();
    let header = unverified.header().clone();
    let payload = Raw::of(&honest.bytes).payload;
    let mut relabelled = header.clone();
    plain(&mut relabelled);
    let mut other_enc = header.clone();
    let sealed = other_enc.claims.sealed.as_mut().unwrap();
    sealed.enc[0] ^= 1;
    let mut cut = payload.clone();
    cut.pop();
    vec![
        case("request", honest.bytes, ACCEPTED),
        case(
            "to-another-key",
            begin(&other, &|_| ()).0.bytes,
            "sealing_key_unknown",
        ),
        case(
            "under-another-header",
            signed(&relabelled, &payload),
            "sealed_payload_invalid",
        ),
        case(
            "another-encapsulation",
            signed(&other_enc, &payload),
            "sealed_payload_invalid",
        ),
        case("cut", signed(&header, &cut), "sealed_payload_invalid"),
        case("empty", signed(&header, &[]), "sealed_payload_invalid"),
    ]
}

#[test]
fn sealed_envelopes_are_judged_by_name() {
    run(&cases(), judge);
}

#[test]
fn a_sealed_envelope_is_opened_by_the_far_end_only() {
    let w = world();
    let (envelope, _) = begin(&KEY, &|_| ());
    let (opened, _) = receive(&envelope.bytes).unwrap();
    assert_eq!(opened.body(), CALL);
    let holds = |text: &[u8]| envelope.bytes.windows(text.len()).any(|w| w == text);
    assert!(!holds(CALL) && holds(b"tools/call"));
    let parse = || UnverifiedEnvelope::parse(&envelope.bytes).unwrap();
    let relay = parse().verify_signatures(&CRYPTO, &public(&w.caller.signing));
    assert_eq!(relay.unwrap().id(), envelope.id);
    let without = parse().verify(&CRYPTO, &public(&w.caller.signing));
    assert_eq!(without.unwrap_err().reason(), "sealing_key_unknown");
}

#[test]
fn what_comes_back_has_a_key_of_its_own_and_every_sequence_is_used_once() {
    let w = world();
    let (envelope, caller) = begin(&KEY, &|_| ());
    let (_, host) = receive(&envelope.bytes).unwrap();
    let mut answer = relayed();
    answer.claims.kind = Kind::Notification;
    answer.claims.direction = Direction::ToClient;
    answer.claims.parent = Some(envelope.id);
    answer.claims.route.reverse();
    answer.cwt.iss = w.host.id;
    answer.cwt.aud = w.caller.id;
    for sequence in 0..3 {
        answer.claims.sequence = sequence;
        let sealed = host.seal(&answer, b"payload").unwrap();
        assert_eq!(caller.open(&answer, &sealed).unwrap(), b"payload");
        // Not even the end that sealed it opens it, nor does another sequence.
        assert!(host.open(&answer, &sealed).is_err());
        answer.claims.sequence += 1;
        assert!(caller.open(&answer, &sealed).is_err());
        answer.claims.sequence -= 1;
        let again = host.seal(&answer, b"another");
        assert_eq!(again, Err(CryptoError::BadSealed));
    }
    answer.claims.sequence = 1;
    assert_eq!(host.seal(&answer, b"old"), Err(CryptoError::BadSealed));
    assert!(caller.seal(&relayed(), b"first again").is_err());
}

#[test]
fn the_names_and_inputs_are_as_specified() {
    let w = world();
    let mut expected = vec![0, 0, 0, 23];
    expected.extend(b"hedgerow/v1/sealed-call");
    expected.extend([0, 0, 0, 32]);
    expected.extend(w.mesh().as_bytes());
    assert_eq!(info(&w.mesh()), expected);
    let (envelope, _) = begin(&KEY, &|_| ());
    let unverified = UnverifiedEnvelope::parse(&envelope.bytes).unwrap();
    let header = unverified.header();
    let sealed = header.claims.sealed.as_ref().unwrap();
    assert_eq!(sealed.enc.len(), SEALING_ENC_LEN);
    let mut rest = header.clone();
    rest.claims.sealed = None;
    assert_eq!(associated_data(header), codec::encode(&rest));
    let payload = Raw::of(&envelope.bytes).payload;
    let clear = codec::encode(&Payload {
        salt: SALT,
        body: CALL.to_vec(),
    });
    assert_eq!(payload.len(), clear.len() + SEALING_TAG_LEN);
}

/// What begins a call over relays says to which key, and nothing else does.
#[test]
fn the_sealed_claim_stands_where_a_call_begins() {
    let judge = |alter: &dyn Fn(&mut Header)| {
        let (_, sealed) =
            CallSeal::begin(&Primitives, &CRYPTO, &world().mesh(), KEY.public()).unwrap();
        let mut header = relayed();
        header.claims.sealed = Some(sealed);
        alter(&mut header);
        header.validate().map_err(|e| e.reason())
    };
    assert_eq!(judge(&|_| ()), Ok(()));
    let field = Err("bad_header_field");
    assert_eq!(judge(&|h| h.claims.sealed = None), field);
    assert_eq!(judge(&|h| h.claims.sequence = 1), field);
    assert_eq!(judge(&|h| h.claims.kind = Kind::Notification), field);
    let short = |h: &mut Header| {
        h.claims.sealed.as_mut().unwrap().enc.pop();
    };
    assert_eq!(judge(&short), field);
    let clear = |h: &mut Header| h.content_type = content_type::ENVELOPE.to_owned();
    assert_eq!(judge(&clear), Err("payload_not_sealed"));
    let other = Digest::from_bytes([0; 32]);
    let rekeyed = |h: &mut Header| h.claims.sealed.as_mut().unwrap().key = other;
    assert_eq!(judge(&rekeyed), Ok(()), "whose key it is, its owner judges");
}

#[test]
fn only_those_between_the_ends_of_a_route_carry() {
    let bytes = sealed_request();
    let route = UnverifiedEnvelope::parse(&bytes).unwrap();
    let route = route.header().claims.route.clone();
    let crossing = |relay, peer| {
        let unverified = UnverifiedEnvelope::parse(&bytes).unwrap();
        unverified.check_crossing(&Crossing {
            mesh: world().mesh(),
            relay,
            peer,
            direction: Direction::ToServer,
            now: UnixMillis(NOW.0 * 1000),
        })
    };
    let [issuer, relay, host] = route[..] else {
        panic!("not over one relay");
    };
    assert_eq!(crossing(relay, issuer), Ok(1));
    assert_eq!(crossing(relay, host), Err(Refusal::WrongPreviousHop(host)));
    assert_eq!(crossing(host, relay), Err(Refusal::NotOnRoute));
    // Its issuer, as if it had delivered to itself.
    assert_eq!(crossing(issuer, issuer), Err(Refusal::NotOnRoute));
    assert_eq!(
        crossing(world().relays[1].id, issuer),
        Err(Refusal::NotOnRoute)
    );
}
