//! COSE_Key and COSE_Sign1 with −49 of cose-wg/draft-ietf-cose-dilithium, `examples/cose`.

use protocol::crypto::{Algorithm, Crypto, CryptoError, Signer, cose_key};
use serde_json::Value;

use super::{file, say};
use crate::{Primitives, SigningKeys};

const NAME: &str = "cose-ml-dsa-65.json";

fn bytes(value: &Value, field: &str) -> Vec<u8> {
    hex::decode(value[field].as_str().unwrap()).unwrap()
}

#[test]
fn the_cose_key_and_its_kid_are_ours() {
    let Some(vector) = file(NAME) else { return };
    say("not run: COSE vectors with -19 (Ed25519); the example set has none");
    let seed: [u8; 32] = bytes(&vector, "priv").try_into().unwrap();
    let keys = SigningKeys::from_seeds(&seed, &[1; 32]).unwrap();
    assert_eq!(keys.public().ml_dsa_65, bytes(&vector, "raw_public_key"));

    // theirs: {2: kid, 1: 7, 3: -49, -1: pub, -2: seed}; the public key without its kid is ours
    let ours = cose_key(Algorithm::MlDsa65, &keys.public().ml_dsa_65);
    let theirs = bytes(&vector, "key");
    let (map, kid, public) = (
        &theirs[..1],
        &theirs[1..36],
        &theirs[36..36 + ours.len() - 1],
    );
    assert_eq!(map, [0xa5]);
    assert_eq!(public, &ours[1..]);
    let expected = keys.public().kid(&Primitives, Algorithm::MlDsa65);
    assert_eq!(kid[..3], [0x02, 0x58, 0x20]);
    assert_eq!(&kid[3..], expected.as_bytes());
}

#[test]
fn the_sign1_holds_over_its_sig_structure() {
    let Some(vector) = file(NAME) else { return };
    let key = bytes(&vector, "raw_public_key");
    let signed = bytes(&vector, "raw_to_be_signed");
    let signature = bytes(&vector, "raw_signature");
    let verify = |m: &[u8], s: &[u8]| Primitives.verify(Algorithm::MlDsa65, &key, m, s);
    assert_eq!(verify(&signed, &signature), Ok(()));

    // The signature and the protected header are those of the COSE_Sign1 itself.
    let sign1 = bytes(&vector, "sign1");
    assert!(sign1.ends_with(&signature));
    let protected = &sign1[2..2 + 41];
    assert_eq!(protected, &signed[12..12 + 41]);

    for at in 0..signed.len() {
        let mut bad = signed.clone();
        bad[at] ^= 0x80;
        assert_eq!(verify(&bad, &signature), Err(CryptoError::BadSignature));
    }
}
