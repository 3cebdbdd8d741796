//! Wrongly, half, doubly and otherwise not quite signed messages.

use protocol::cose::{self, CoseError, CoseSign};
use protocol::crypto::{Algorithm, CryptoError, Signer, SigningSet};
use protocol::limits::MAX_DOCUMENT_BYTES;

use crate::case::{ACCEPTED, Case, case, run};
use crate::envelope::judge;
use crate::raw::{Raw, RawSignature, altered};
use crate::world::{CALL, CRYPTO, foreign, public, world};

/// Signs with its own keys under the key ids of another set.
struct Impostor {
    claims_to_be: SigningSet,
    keys: &'static dyn Signer,
}

impl Signer for Impostor {
    fn public(&self) -> &SigningSet {
        &self.claims_to_be
    }

    fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.keys.sign(algorithm, message)
    }
}

/// Changes to the signatures of a message.
fn counts(request: &[u8], relay: &[RawSignature]) -> Vec<Case> {
    let with =
        |alter: &dyn Fn(&mut Vec<RawSignature>)| altered(request, |r| alter(&mut r.signatures));
    vec![
        case("no-signature", with(&|s| s.clear()), "unsigned"),
        case("ed25519-missing", with(&|s| s.truncate(1)), "half_signed"),
        case(
            "ml-dsa-missing",
            with(&|s| drop(s.remove(0))),
            "half_signed",
        ),
        case("swapped", with(&|s| s.swap(0, 1)), "swapped_signatures"),
        case(
            "ml-dsa-twice",
            with(&|s| s[1] = s[0].clone()),
            "duplicate_signature",
        ),
        case(
            "ed25519-twice",
            with(&|s| s[0] = s[1].clone()),
            "duplicate_signature",
        ),
        case(
            "a-third",
            with(&|s| s.push(s[1].clone())),
            "too_many_signatures",
        ),
        case(
            "the-pair-twice",
            with(&|s| s.extend(s.clone())),
            "too_many_signatures",
        ),
        case(
            "two-signers",
            with(&|s| s.extend(relay.to_vec())),
            "too_many_signatures",
        ),
        case(
            "swapped-bytes",
            with(&|s| {
                let bytes = core::mem::take(&mut s[0].bytes);
                s[0].bytes = core::mem::replace(&mut s[1].bytes, bytes);
            }),
            "bad_signature",
        ),
        case(
            "ml-dsa-wrong",
            with(&|s| s[0].bytes[1000] ^= 1),
            "bad_signature",
        ),
        case(
            "ed25519-wrong",
            with(&|s| s[1].bytes[10] ^= 1),
            "bad_signature",
        ),
        case(
            "ml-dsa-empty",
            with(&|s| s[0].bytes.clear()),
            "bad_signature",
        ),
        case(
            "ed25519-empty",
            with(&|s| s[1].bytes.clear()),
            "bad_signature",
        ),
        case(
            "ed25519-long",
            with(&|s| s[1].bytes.push(0)),
            "bad_signature",
        ),
    ]
}

fn heads(request: &[u8]) -> Vec<Case> {
    let with =
        |alter: &dyn Fn(&mut RawSignature)| altered(request, |r| alter(&mut r.signatures[1]));
    let kid = Raw::of(request).signatures[1].protected[6..].to_vec();
    assert_eq!(kid.len(), 32);
    let set = |head: &[u8], tail: &[u8]| {
        let bytes = [head, &kid, tail].concat();
        with(&|s| s.protected.clone_from(&bytes))
    };
    vec![
        case(
            "algorithm-eddsa",
            set(&[0xa2, 0x01, 0x27, 0x04, 0x58, 0x20], &[]),
            "signature_header",
        ),
        case(
            "algorithm-es256",
            set(&[0xa2, 0x01, 0x26, 0x04, 0x58, 0x20], &[]),
            "signature_header",
        ),
        case(
            "algorithm-ml-dsa-44",
            set(&[0xa2, 0x01, 0x38, 0x2f, 0x04, 0x58, 0x20], &[]),
            "signature_header",
        ),
        case(
            "algorithm-as-text",
            set(&[0xa2, 0x01, 0x63, 0x2d, 0x31, 0x39, 0x04, 0x58, 0x20], &[]),
            "signature_header",
        ),
        case(
            "algorithm-not-shortest",
            set(&[0xa2, 0x01, 0x38, 0x12, 0x04, 0x58, 0x20], &[]),
            "signature_header",
        ),
        case(
            "no-algorithm",
            set(&[0xa1, 0x04, 0x58, 0x20], &[]),
            "signature_header",
        ),
        case(
            "no-key-id",
            with(&|s| s.protected = vec![0xa1, 0x01, 0x32]),
            "signature_header",
        ),
        case(
            "signature-header-empty",
            with(&|s| s.protected.clear()),
            "signature_header",
        ),
        case(
            "signature-header-more",
            set(&[0xa3, 0x01, 0x32, 0x04, 0x58, 0x20], &[0x05, 0x00]),
            "signature_header",
        ),
        case(
            "signature-header-trailing",
            set(&[0xa2, 0x01, 0x32, 0x04, 0x58, 0x20], &[0]),
            "signature_header",
        ),
        case(
            "key-id-short",
            with(&|s| {
                s.protected.pop();
            }),
            "signature_header",
        ),
        case(
            "unprotected-in-signature",
            with(&|s| s.unprotected = vec![0xa1, 0x04, 0x41, 0x31]),
            "unprotected_header",
        ),
        case(
            "unprotected-in-body",
            altered(request, |r| r.unprotected = vec![0xa1, 0x01, 0x32]),
            "unprotected_header",
        ),
        case(
            "unprotected-not-a-map",
            altered(request, |r| r.unprotected = vec![0x80]),
            "malformed",
        ),
    ]
}

fn keys() -> Vec<Case> {
    let w = world();
    let relay = &w.relays[0];
    let raw = Raw::of(&w.request().bytes);
    let sign = |signer: &dyn Signer, aad: &[u8]| {
        cose::sign(&CRYPTO, &[signer], &raw.protected, &raw.payload, aad).unwrap()
    };
    let aad = *w.mesh().as_bytes();
    let by_relay = sign(&relay.signing, &aad);
    let relay_signatures = Raw::of(&by_relay).signatures;
    let by_caller = sign(&w.caller.signing, &aad);
    let mixed = |half: usize| {
        altered(&by_caller, |r| {
            r.signatures[half] = relay_signatures[half].clone()
        })
    };
    let impostor = Impostor {
        claims_to_be: public(&w.caller.signing),
        keys: &relay.signing,
    };
    let mut all = vec![
        case("keys-of-another-member", by_relay, "unknown_key"),
        case("keys-of-the-issuer", sign(&w.issuer, &aad), "unknown_key"),
        case("ml-dsa-key-of-another-set", mixed(0), "unknown_key"),
        case("ed25519-key-of-another-set", mixed(1), "unknown_key"),
        case(
            "signed-by-other-keys-than-named",
            sign(&impostor, &aad),
            "bad_signature",
        ),
        case(
            "aad-of-another-mesh",
            sign(&w.caller.signing, foreign().mesh().as_bytes()),
            "bad_signature",
        ),
        case("aad-empty", sign(&w.caller.signing, &[]), "bad_signature"),
    ];
    let mut other = w.request_header();
    other.claims.sequence = 1;
    let other = Raw::of(&w.seal(other, CALL).bytes).signatures;
    for (half, name) in [
        (0, "ml-dsa-of-another-message"),
        (1, "ed25519-of-another-message"),
    ] {
        let bytes = altered(&by_caller, |r| r.signatures[half] = other[half].clone());
        all.push(case(name, bytes, "bad_signature"));
    }
    all
}

/// All of them, as envelopes.
pub(crate) fn cases() -> Vec<Case> {
    let w = world();
    let request = w.request().bytes;
    let raw = Raw::of(&request);
    let aad = *w.mesh().as_bytes();
    let signer = &w.relays[0].signing;
    let relay = cose::sign(&CRYPTO, &[signer], &raw.protected, &raw.payload, &aad).unwrap();
    let mut all = counts(&request, &Raw::of(&relay).signatures);
    all.extend(heads(&request));
    all.extend(keys());
    all
}

#[test]
fn what_is_not_exactly_signed_is_refused_by_name() {
    run(&cases(), judge);
}

#[test]
fn more_signatures_than_any_document_has_are_not_read() {
    let request = world().request().bytes;
    let many = altered(&request, |r| {
        let short = r.signatures[1].clone();
        r.signatures = vec![short; 65];
    });
    assert_eq!(judge(&many), "too_many_signatures");
}

/// A message signed by some of the three admins, judged against a threshold of two.
fn by_admins(indices: &[usize], alter: impl FnOnce(&mut Raw)) -> &'static str {
    let w = world();
    let signers: Vec<&dyn Signer> = indices
        .iter()
        .map(|&i| &w.admins[i] as &dyn Signer)
        .collect();
    let bytes = cose::sign(&CRYPTO, &signers, &[0xa0], b"payload", b"aad").unwrap();
    let bytes = altered(&bytes, alter);
    let cose = match CoseSign::parse(&bytes, MAX_DOCUMENT_BYTES) {
        Ok(cose) => cose,
        Err(e) => return e.reason(),
    };
    let sets: Vec<SigningSet> = w.admins.iter().map(public).collect();
    cose.verify_threshold(&CRYPTO, &sets, 2, b"aad")
        .map_or_else(|e: CoseError| e.reason(), |()| ACCEPTED)
}

#[test]
fn thresholds_count_whole_suites_of_distinct_signers() {
    let as_is = |_: &mut Raw| {};
    assert_eq!(by_admins(&[0, 1], as_is), ACCEPTED);
    assert_eq!(by_admins(&[2, 0], as_is), ACCEPTED, "in any order");
    assert_eq!(by_admins(&[0, 1, 2], as_is), ACCEPTED);
    assert_eq!(by_admins(&[], as_is), "unsigned");
    assert_eq!(by_admins(&[1], as_is), "under_threshold");
    assert_eq!(by_admins(&[1, 1], as_is), "duplicate_signature");
    assert_eq!(
        by_admins(&[0, 1], |r| {
            let _ = r.signatures.pop();
        }),
        "too_many_signatures"
    );
    assert_eq!(
        by_admins(&[0, 1], |r| r.signatures.swap(1, 2)),
        "duplicate_signature"
    );
    assert_eq!(
        by_admins(&[0, 1], |r| r.signatures.swap(1, 3)),
        "unknown_key"
    );
    // A bad signature is not made up for by enough good ones.
    assert_eq!(
        by_admins(&[0, 1, 2], |r| r.signatures[4].bytes[5] ^= 1),
        "bad_signature"
    );
    assert_eq!(
        by_admins(&[0, 1, 2], |r| r.signatures[5].bytes[5] ^= 1),
        "bad_signature"
    );
    assert_eq!(by_admins(&[0, 1], |r| r.payload.push(0)), "bad_signature");
    assert_eq!(
        by_admins(&[0, 1], |r| r.protected = vec![0xa1, 1, 1]),
        "bad_signature"
    );
}
