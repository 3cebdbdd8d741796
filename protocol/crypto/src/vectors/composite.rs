//! id-MLDSA65-Ed25519-SHA512 of lamps-wg/draft-composite-sigs, `src/testvectors.json`.

use serde_json::Value;

use super::{base64, file};
use crate::composite::SIGNATURE_LEN;
use crate::{CompositeError, TlsIdentity, parse_spki, verify_composite};

const NAME: &str = "composite-mldsa65-ed25519-sha512.json";

fn bytes(value: &Value, field: &str) -> Vec<u8> {
    base64(value[field].as_str().unwrap())
}

#[test]
fn keys_and_signatures_of_the_draft_hold() {
    let Some(vectors) = file(NAME) else { return };
    let (message, context) = (bytes(&vectors, "m"), bytes(&vectors, "ctx"));
    let test = &vectors["tests"][0];
    assert_eq!(test["tcId"], "id-MLDSA65-Ed25519-SHA512");

    let seeds = bytes(test, "sk");
    let (one, two) = seeds.split_at(32);
    let identity =
        TlsIdentity::from_seeds(one.try_into().unwrap(), two.try_into().unwrap()).unwrap();
    let public: [u8; 1984] = bytes(test, "pk").try_into().unwrap();
    assert_eq!(identity.public_key(), &public);

    let (plain, with_context) = (bytes(test, "s"), bytes(test, "sWithContext"));
    for (signature, own, other) in [
        (plain, b"".as_slice(), context.as_slice()),
        (with_context, &context, b""),
    ] {
        assert_eq!(signature.len(), SIGNATURE_LEN);
        assert_eq!(verify_composite(&public, &message, own, &signature), Ok(()));
        assert_eq!(
            verify_composite(&public, &message, other, &signature),
            Err(CompositeError::BadSignature)
        );
        // The Ed25519 half is deterministic, so ours must be theirs to the byte.
        let ours = identity.sign_with_context(&message, own).unwrap();
        assert_eq!(ours[3309..], signature[3309..]);
        assert_eq!(verify_composite(&public, &message, own, &ours), Ok(()));
    }
}

/// The draft's certificate holds the key as SPKI and is signed by it, context empty, by software
/// that is not ours.
#[test]
fn the_certificate_of_the_draft_holds_our_spki() {
    let Some(vectors) = file(NAME) else { return };
    let test = &vectors["tests"][0];
    let certificate = bytes(test, "x5c");
    let public: [u8; 1984] = bytes(test, "pk").try_into().unwrap();
    let spki = crate::spki(&public);
    let at = certificate
        .windows(spki.len())
        .position(|window| window == spki)
        .expect("the certificate contains our encoding of its key");
    assert_eq!(parse_spki(&certificate[at..at + spki.len()]), Ok(public));

    // Certificate ::= SEQUENCE { tbs SEQUENCE, algorithm (12 bytes), BIT STRING }
    let tbs_len = 4 + usize::from(u16::from_be_bytes([certificate[6], certificate[7]]));
    let (tbs, rest) = certificate[4..].split_at(tbs_len);
    assert_eq!(rest[..12], spki[4..16]);
    let signature = &rest[12 + 5..];
    assert_eq!(verify_composite(&public, tbs, b"", signature), Ok(()));
}
