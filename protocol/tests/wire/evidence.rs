//! Evidence files with each part changed.

use protocol::codec;
use protocol::envelope::{Header, Payload};
use protocol::evidence::Evidence;
use protocol::id::Salt;

use crate::case::{ACCEPTED, Case, case, run};
use crate::raw::{altered, flipped};
use crate::sealing::sealed_request;
use crate::world::{CALL, CRYPTO, SALT, foreign, world};

/// The outcome.
pub(crate) fn judge(bytes: &[u8]) -> &'static str {
    Evidence::verify(&CRYPTO, bytes).map_or_else(|e| e.reason(), |_| ACCEPTED)
}

fn content() -> Evidence {
    let w = world();
    Evidence {
        root: w.root.bytes().to_vec(),
        membership: w.caller.membership.bytes().to_vec(),
        envelope: w.request().bytes,
        roots: None,
        opened: None,
    }
}

/// One whole file, and what became of it; all of the same signatures.
pub(crate) fn cases() -> Vec<Case> {
    let valid = content();
    let with = |name: &str, expected, alter: &dyn Fn(&mut Evidence)| {
        let mut evidence = valid.clone();
        alter(&mut evidence);
        case(name, evidence.encode(), expected)
    };
    let raw = |bytes: &mut Vec<u8>, alter: fn(&mut crate::raw::Raw)| *bytes = altered(bytes, alter);
    let w = world();
    let other_member = w.host.membership.bytes().to_vec();
    let whole = valid.encode();
    vec![
        case("valid", whole.clone(), ACCEPTED),
        with("envelope-body-changed", "bad_signature", &|e| {
            raw(&mut e.envelope, |r| *r.payload.last_mut().unwrap() ^= 1)
        }),
        with("envelope-header-changed", "bad_signature", &|e| {
            raw(&mut e.envelope, |r| {
                r.protected = crate::raw::replaced(&r.protected, b"assistant", b"resistant");
            })
        }),
        with("envelope-ml-dsa-changed", "bad_signature", &|e| {
            raw(&mut e.envelope, |r| r.signatures[0].bytes[7] ^= 1)
        }),
        with("envelope-ed25519-changed", "bad_signature", &|e| {
            raw(&mut e.envelope, |r| r.signatures[1].bytes[7] ^= 1)
        }),
        with("envelope-half-signed", "half_signed", &|e| {
            raw(&mut e.envelope, |r| r.signatures.truncate(1))
        }),
        with("membership-name-changed", "bad_signature", &|e| {
            raw(&mut e.membership, |r| {
                r.payload = crate::raw::replaced(&r.payload, b"caller", b"dealer");
            })
        }),
        with("membership-ml-dsa-changed", "bad_signature", &|e| {
            raw(&mut e.membership, |r| r.signatures[0].bytes[7] ^= 1)
        }),
        with("membership-ed25519-changed", "bad_signature", &|e| {
            raw(&mut e.membership, |r| r.signatures[1].bytes[7] ^= 1)
        }),
        with("membership-of-another", "unknown_issuer", &|e| {
            e.membership.clone_from(&other_member)
        }),
        with("root-changed", "bad_signature", &|e| {
            raw(&mut e.root, |r| *r.payload.last_mut().unwrap() ^= 1)
        }),
        with("root-ml-dsa-changed", "bad_signature", &|e| {
            raw(&mut e.root, |r| r.signatures[0].bytes[7] ^= 1)
        }),
        with("root-under-threshold", "under_threshold", &|e| {
            raw(&mut e.root, |r| r.signatures.truncate(2))
        }),
        case(
            "trailing-byte",
            [&whole[..], &[0]].concat(),
            "non_canonical",
        ),
        case("truncated", &whole[..whole.len() - 1], "truncated"),
    ]
}

#[test]
fn each_part_changed_is_refused_by_name() {
    run(&cases(), judge);
}

#[test]
fn parts_of_two_meshes_do_not_go_together() {
    let (w, f) = (world(), foreign());
    let other_root = Evidence {
        root: f.root.bytes().to_vec(),
        ..content()
    };
    assert_eq!(judge(&other_root.encode()), "foreign_mesh");
    let membership = f.caller.membership.bytes().to_vec();
    let other_member = Evidence {
        root: f.root.bytes().to_vec(),
        membership,
        ..content()
    };
    assert_eq!(judge(&other_member.encode()), "foreign_mesh");
    assert_eq!(judge(&content().encode()), ACCEPTED);
    assert_eq!(judge(w.root.bytes()), "malformed");
}

#[test]
fn expiry_is_judged_when_the_envelope_was_signed() {
    let w = world();
    let issued = |at| {
        let mut header: Header = w.request_header();
        header.cwt.iat = at;
        header.cwt.exp = at.plus(30);
        let evidence = Evidence {
            envelope: w.seal(header, CALL).bytes,
            ..content()
        };
        judge(&evidence.encode())
    };
    let content = w.membership_content();
    assert_eq!(issued(content.not_after.minus(1)), ACCEPTED);
    assert_eq!(issued(content.not_after), "membership_expired");
    assert_eq!(
        issued(content.not_before.minus(60)),
        "membership_not_yet_valid"
    );
}

/// Nobody but the far end can open what relays carried; who did shows salt and body beside it.
#[test]
fn a_sealed_envelope_is_shown_with_what_it_held_and_not_without() {
    let opened = |salt, body: &[u8]| {
        let body = body.to_vec();
        Some(codec::encode(&Payload { salt, body }).into())
    };
    let sealed = |opened| Evidence {
        envelope: sealed_request(),
        opened,
        ..content()
    };
    let whole = sealed(opened(SALT, CALL)).encode();
    let verified = Evidence::verify(&CRYPTO, &whole).unwrap();
    assert_eq!(verified.envelope.body(), CALL);
    assert_eq!(verified.envelope.salt(), &SALT);
    let other_salt = Salt::from_bytes([9; 32]);
    for (evidence, reason) in [
        (sealed(None), "opened_payload_mismatch"),
        (sealed(opened(SALT, b"{}")), "body_digest_mismatch"),
        (sealed(opened(other_salt, CALL)), "body_digest_mismatch"),
        (sealed(Some(vec![0].into())), "malformed"),
    ] {
        assert_eq!(judge(&evidence.encode()), reason);
    }
    let beside = Evidence {
        opened: opened(SALT, CALL),
        ..content()
    };
    assert_eq!(judge(&beside.encode()), "opened_payload_mismatch");
}

#[test]
fn changed_bytes_are_refused() {
    let valid = content().encode();
    for at in (0..valid.len()).step_by(101) {
        assert_ne!(judge(&flipped(&valid, at)), ACCEPTED, "byte {at}");
    }
}
