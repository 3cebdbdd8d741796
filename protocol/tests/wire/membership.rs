//! Memberships and the requests for them.

use std::sync::LazyLock;

use hedgerow_crypto::verify_composite;
use protocol::crypto::TLS_PUBLIC_LEN;
use protocol::id::{Challenge, Digest, NodeId, TicketId};
use protocol::limits::{MAX_CLOCK_AHEAD_S, MAX_GROUPS};
use protocol::time::UnixSeconds;
use protocol::trust::{Membership, MembershipRequest, VerifiedMembership};

use crate::case::{ACCEPTED, Alterations, Case, case, run};
use crate::raw::{altered, flipped};
use crate::world::{CRYPTO, NOW, foreign, name, names, public, world};

/// The outcome at `now`.
fn judge_at(bytes: &[u8], now: UnixSeconds) -> &'static str {
    VerifiedMembership::verify(&CRYPTO, &world().root, bytes)
        .and_then(|membership| membership.valid_at(now))
        .map_or_else(|e| e.reason(), |()| ACCEPTED)
}

/// The outcome at [`NOW`].
pub(crate) fn judge(bytes: &[u8]) -> &'static str {
    judge_at(bytes, NOW)
}

fn otherwise(alter: impl FnOnce(&mut Membership)) -> Vec<u8> {
    let w = world();
    let mut content = w.membership_content();
    alter(&mut content);
    content.sign(&CRYPTO, &w.issuer).unwrap()
}

/// Those that are kept as vectors.
pub(crate) fn cases() -> Vec<Case> {
    let w = world();
    let valid = w.caller.membership.bytes().to_vec();
    let by = |signer| w.membership_content().sign(&CRYPTO, signer).unwrap();
    let foreign_member = foreign().caller.membership.bytes().to_vec();
    vec![
        case("valid", valid.clone(), ACCEPTED),
        case("foreign-mesh", foreign_member, "foreign_mesh"),
        case(
            "signed-by-an-admin",
            by(&w.admins[0]),
            "unknown_membership_issuer",
        ),
        case(
            "signed-by-itself",
            by(&w.caller.signing),
            "unknown_membership_issuer",
        ),
        case(
            "group-beyond-issuer",
            otherwise(|m| m.groups = names(&["admins"])),
            "beyond_issuer_limits",
        ),
        case(
            "not-yet-valid",
            otherwise(|m| m.not_before = NOW.plus(MAX_CLOCK_AHEAD_S + 1)),
            "membership_not_yet_valid",
        ),
        case(
            "expired",
            otherwise(|m| m.not_after = NOW),
            "membership_expired",
        ),
        case(
            "changed-name",
            altered(&valid, |r| {
                r.payload = crate::raw::replaced(&r.payload, b"caller", b"dealer");
            }),
            "bad_signature",
        ),
        case(
            "half-signed",
            altered(&valid, |r| r.signatures.truncate(1)),
            "half_signed",
        ),
        case(
            "unsigned",
            altered(&valid, |r| r.signatures.clear()),
            "unsigned",
        ),
        case(
            "swapped",
            altered(&valid, |r| r.signatures.swap(0, 1)),
            "swapped_signatures",
        ),
        case(
            "another-content-type",
            altered(&valid, |r| {
                r.protected = crate::raw::replaced(&r.protected, b"membership", b"membershop");
            }),
            "wrong_content_type",
        ),
        case("truncated", &valid[..valid.len() - 1], "truncated"),
        case(
            "trailing-byte",
            [&valid[..], &[0]].concat(),
            "non_canonical",
        ),
    ]
}

#[test]
fn memberships_are_judged_by_name() {
    run(&cases(), judge);
}

#[test]
fn fields_and_limits_are_checked_even_when_signed() {
    const FIELD: &str = "bad_document_field";
    const BEYOND: &str = "beyond_issuer_limits";
    let cases: &Alterations<Membership> = &[
        (
            "another mesh under the issuer's own key",
            "foreign_mesh",
            |m| m.mesh = foreign().mesh(),
        ),
        ("a short TLS key", FIELD, |m| {
            let _ = m.tls_key.pop();
        }),
        ("a short ML-DSA key", FIELD, |m| {
            let _ = m.signing.ml_dsa_65.pop();
        }),
        ("a long Ed25519 key", FIELD, |m| m.signing.ed25519.push(0)),
        ("groups out of order", FIELD, |m| {
            m.groups = names(&["tools", "agents"])
        }),
        ("a group twice", FIELD, |m| {
            m.groups = names(&["tools", "tools"])
        }),
        ("too many groups", FIELD, |m| {
            m.groups = (0..=MAX_GROUPS)
                .map(|i| name(&format!("g{i:02}")))
                .collect();
        }),
        ("an end at its start", FIELD, |m| m.not_after = m.not_before),
        ("an end before its start", FIELD, |m| {
            m.not_after = m.not_before.minus(1)
        }),
        ("a site beyond the issuer", BEYOND, |m| {
            m.site = Some(name("paris"))
        }),
        ("a life beyond the issuer", BEYOND, |m| {
            m.not_after = m.not_before.plus(30 * 86_400 + 1)
        }),
        ("the longest life", ACCEPTED, |m| {
            m.not_after = m.not_before.plus(30 * 86_400)
        }),
        ("no site", ACCEPTED, |m| m.site = None),
        ("no groups", ACCEPTED, |m| m.groups.clear()),
        ("a start within the clock difference", ACCEPTED, |m| {
            m.not_before = NOW.plus(MAX_CLOCK_AHEAD_S);
        }),
    ];
    let cases: Vec<Case> = cases
        .iter()
        .map(|&(name, expected, alter)| case(name, otherwise(alter), expected))
        .collect();
    run(&cases, judge);
    // The limits are the issuer's own, not any issuer's.
    let mut content = world().membership_content();
    content.groups = names(&["admins"]);
    let by_other = content.sign(&CRYPTO, &world().other_issuer).unwrap();
    assert_eq!(judge(&by_other), ACCEPTED);
}

#[test]
fn validity_ends_and_begins_at_its_second() {
    let w = world();
    let (bytes, content) = (w.caller.membership.bytes(), w.membership_content());
    let first = content.not_before.minus(MAX_CLOCK_AHEAD_S);
    assert_eq!(judge_at(bytes, first.minus(1)), "membership_not_yet_valid");
    assert_eq!(judge_at(bytes, first), ACCEPTED);
    assert_eq!(judge_at(bytes, content.not_after.minus(1)), ACCEPTED);
    assert_eq!(judge_at(bytes, content.not_after), "membership_expired");
    assert_eq!(judge_at(bytes, UnixSeconds(u64::MAX)), "membership_expired");
}

#[test]
fn changed_bytes_are_refused() {
    let valid = world().caller.membership.bytes();
    for at in (0..valid.len()).step_by(17) {
        assert_ne!(judge(&flipped(valid, at)), ACCEPTED, "byte {at}");
    }
}

/// The request of the first relay, whose composite proof is made once.
fn request_content() -> MembershipRequest {
    static REQUEST: LazyLock<MembershipRequest> = LazyLock::new(new_request);
    REQUEST.clone()
}

fn new_request() -> MembershipRequest {
    let node = &world().relays[0];
    let signing = public(&node.signing);
    let message = MembershipRequest::proof_message(&CRYPTO, &signing);
    MembershipRequest {
        tls_key: node.tls.public_key().to_vec(),
        signing,
        name: Some(name("relay-0")),
        created: NOW,
        tls_proof: node.tls.sign(message.as_bytes()).unwrap(),
        mesh: None,
        ticket: None,
        challenge: None,
        mac: None,
        replaces: None,
    }
}

fn request_otherwise(alter: impl FnOnce(&mut MembershipRequest)) -> Vec<u8> {
    let mut content = request_content();
    alter(&mut content);
    content.sign(&CRYPTO, &world().relays[0].signing).unwrap()
}

fn verify_tls(key: &[u8], message: &[u8], proof: &[u8]) -> bool {
    let Ok(key) = <&[u8; TLS_PUBLIC_LEN]>::try_from(key) else {
        return false;
    };
    verify_composite(key, message, &[], proof).is_ok()
}

/// The first relay takes the place of the second, every field filled.
fn rotation_content() -> MembershipRequest {
    MembershipRequest {
        mesh: Some(world().mesh()),
        ticket: Some(TicketId::from_bytes([1; 32])),
        challenge: Some(Challenge::from_bytes([2; 32])),
        mac: Some(Digest::from_bytes([3; 32])),
        replaces: Some(world().relays[1].id),
        ..request_content()
    }
}

pub(crate) fn rotation() -> Vec<u8> {
    let [new, old] = [0, 1].map(|at| &world().relays[at].signing);
    rotation_content().sign_rotation(&CRYPTO, new, old).unwrap()
}

#[test]
fn a_rotation_is_signed_by_the_old_set_and_the_new() {
    let [new, old] = [0, 1].map(|at| &world().relays[at].signing);
    let judge = |bytes: &[u8]| {
        MembershipRequest::verify_rotation(&CRYPTO, bytes, &public(old), verify_tls)
            .map_or_else(|e| e.reason(), |_| ACCEPTED)
    };
    assert_eq!(judge(&rotation()), ACCEPTED);
    let content = rotation_content();
    assert_eq!(
        judge(&content.sign(&CRYPTO, new).unwrap()),
        "under_threshold"
    );
    assert_eq!(
        judge(&content.sign(&CRYPTO, old).unwrap()),
        "under_threshold"
    );
    let third = &world().caller.signing;
    let by_another = content.sign_rotation(&CRYPTO, new, third).unwrap();
    assert_eq!(judge(&by_another), "unknown_key");
    // One half of the old set kept: not independent keys.
    let mut halved = content.clone();
    halved.signing.ed25519 = public(old).ed25519;
    let halved = halved.sign_rotation(&CRYPTO, new, old).unwrap();
    assert_eq!(judge(&halved), "bad_document_field");
    // Neither kind of request passes for the other.
    assert_eq!(judge_request(&rotation()), "bad_document_field");
    let plain = request_content().sign_rotation(&CRYPTO, new, old).unwrap();
    assert_eq!(judge(&plain), "bad_document_field");
    assert_eq!(judge_request(&plain), "too_many_signatures");
}

#[test]
fn what_a_membership_replaces_is_bounded_and_never_itself() {
    let with = |nodes: Vec<NodeId>| judge(&otherwise(|m| m.replaces = Some(nodes)));
    let node = |n: u8| NodeId::from_bytes([n; 32]);
    assert_eq!(with(vec![node(1), node(2)]), ACCEPTED);
    assert_eq!(with(Vec::new()), "bad_document_field");
    assert_eq!(with(vec![node(1), node(1)]), "bad_document_field");
    assert_eq!(with(vec![world().caller.id]), "bad_document_field");
    assert_eq!(with((0..16).map(node).collect()), ACCEPTED);
    assert_eq!(with((0..17).map(node).collect()), "bad_document_field");
}

/// The outcome, the TLS proof really checked.
pub(crate) fn judge_request(bytes: &[u8]) -> &'static str {
    MembershipRequest::verify(&CRYPTO, bytes, verify_tls).map_or_else(|e| e.reason(), |_| ACCEPTED)
}

/// Those that are kept as vectors.
pub(crate) fn request_cases() -> Vec<Case> {
    let w = world();
    let valid = request_otherwise(|_| ());
    let other = public(&w.relays[1].signing);
    let enrols_another = request_otherwise(|r| r.signing = other.clone());
    vec![
        case("valid", valid.clone(), ACCEPTED),
        case(
            "enrols-a-set-that-did-not-sign",
            enrols_another,
            "unknown_key",
        ),
        case(
            "proof-wrong",
            request_otherwise(|r| r.tls_proof[100] ^= 1),
            "key_mismatch",
        ),
        case(
            "proof-empty",
            request_otherwise(|r| r.tls_proof.clear()),
            "key_mismatch",
        ),
        case(
            "half-signed",
            altered(&valid, |r| r.signatures.truncate(1)),
            "half_signed",
        ),
        case(
            "changed-name",
            altered(&valid, |r| {
                r.payload = crate::raw::replaced(&r.payload, b"relay-0", b"relay-9");
            }),
            "bad_signature",
        ),
        case("truncated", &valid[..valid.len() - 1], "truncated"),
    ]
}

#[test]
fn requests_are_judged_by_name() {
    run(&request_cases(), judge_request);
}

#[test]
fn nobody_enrols_keys_of_others() {
    let w = world();
    // The TLS key of another node, with a proof by one's own.
    let tls_of_other = request_otherwise(|r| r.tls_key = w.host.tls.public_key().to_vec());
    assert_eq!(judge_request(&tls_of_other), "key_mismatch");
    // One's own TLS key, agreeing to another signing set.
    let message = MembershipRequest::proof_message(&CRYPTO, &public(&w.host.signing));
    let for_other = request_otherwise(|r| {
        r.tls_proof = w.relays[0].tls.sign(message.as_bytes()).unwrap();
    });
    assert_eq!(judge_request(&for_other), "key_mismatch");
    assert_eq!(
        judge_request(&request_otherwise(|r| {
            let _ = r.tls_key.pop();
        })),
        "bad_document_field"
    );
    assert_eq!(
        judge_request(&request_otherwise(|r| {
            let _ = r.signing.ed25519.pop();
        })),
        "bad_document_field"
    );
    assert_eq!(
        judge_request(w.caller.membership.bytes()),
        "wrong_content_type"
    );
}
