use protocol::crypto::Signer;

use super::*;
use crate::SigningKeys;

fn keys() -> SigningKeys {
    SigningKeys::from_seeds(&[1; 32], &[2; 32]).unwrap()
}

const BOTH: [Algorithm; 2] = [Algorithm::MlDsa65, Algorithm::Ed25519];

#[test]
fn sha256_is_over_the_concatenation() {
    // FIPS 180-4 example: "abc"
    let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    for parts in [&[b"abc".as_slice()][..], &[b"a", b"", b"bc"]] {
        assert_eq!(hex::encode(Primitives.sha256(parts)), expected);
    }
}

#[test]
fn randomness_is_not_constant() {
    let (mut one, mut two) = ([0; 32], [0; 32]);
    Primitives.fill_random(&mut one).unwrap();
    Primitives.fill_random(&mut two).unwrap();
    assert_ne!(one, two);
    assert_ne!(one, [0; 32]);
    assert_eq!(Primitives.fill_random(&mut []), Ok(()));
}

#[test]
fn every_tampered_position_is_refused() {
    let keys = keys();
    for algorithm in BOTH {
        let signature = keys.sign(algorithm, b"message").unwrap();
        let key = keys.public().key(algorithm);
        let verify =
            |key: &[u8], message: &[u8], s: &[u8]| Primitives.verify(algorithm, key, message, s);
        assert_eq!(verify(key, b"message", &signature), Ok(()));
        assert_eq!(
            verify(key, b"Message", &signature),
            Err(CryptoError::BadSignature)
        );
        assert_eq!(verify(key, b"", &signature), Err(CryptoError::BadSignature));
        // Ed25519 is short enough for every bit; ML-DSA for one bit of every byte.
        for at in 0..signature.len() {
            let bits = if algorithm == Algorithm::Ed25519 {
                0..8
            } else {
                at % 8..at % 8 + 1
            };
            for bit in bits {
                let mut bad = signature.clone();
                bad[at] ^= 1 << bit;
                assert_eq!(
                    verify(key, b"message", &bad),
                    Err(CryptoError::BadSignature),
                    "{algorithm:?}: byte {at} bit {bit}"
                );
            }
        }
        for at in (0..key.len()).step_by(if algorithm == Algorithm::Ed25519 {
            1
        } else {
            37
        }) {
            let mut bad = key.to_vec();
            bad[at] ^= 1;
            assert!(
                verify(&bad, b"message", &signature).is_err(),
                "{algorithm:?}: key byte {at}"
            );
        }
    }
}

#[test]
fn wrong_sizes_are_refused_by_name() {
    let keys = keys();
    for algorithm in BOTH {
        let signature = keys.sign(algorithm, b"m").unwrap();
        let key = keys.public().key(algorithm).to_vec();
        let longer = |bytes: &[u8]| [bytes, &[0]].concat();
        for bad in [&key[1..], &key[..key.len() - 1], &longer(&key), &[]] {
            assert_eq!(
                Primitives.verify(algorithm, bad, b"m", &signature),
                Err(CryptoError::BadKey)
            );
        }
        for bad in [
            &signature[1..],
            &signature[..signature.len() - 1],
            &longer(&signature),
            &[],
        ] {
            assert_eq!(
                Primitives.verify(algorithm, &key, b"m", bad),
                Err(CryptoError::BadSignature)
            );
        }
    }
}

/// aws-lc-rs alone would take it: a second encoding of a key would have a second kid.
#[test]
fn an_ml_dsa_key_as_der_is_refused() {
    use aws_lc_rs::encoding::AsDer;
    use aws_lc_rs::signature::{KeyPair, ML_DSA_65_SIGNING, PqdsaKeyPair};

    let pair = PqdsaKeyPair::from_seed(&ML_DSA_65_SIGNING, &[1; 32]).unwrap();
    let der = pair.public_key().as_der().unwrap();
    let signature = keys().sign(Algorithm::MlDsa65, b"m").unwrap();
    assert_eq!(verify_ml_dsa_65(der.as_ref(), b"m", &signature), Ok(()));
    assert_eq!(
        Primitives.verify(Algorithm::MlDsa65, der.as_ref(), b"m", &signature),
        Err(CryptoError::BadKey)
    );
}

#[test]
fn signatures_do_not_cross_algorithms_or_keys() {
    let (one, two) = (keys(), SigningKeys::from_seeds(&[2; 32], &[1; 32]).unwrap());
    for algorithm in BOTH {
        let signature = one.sign(algorithm, b"m").unwrap();
        assert_eq!(
            Primitives.verify(algorithm, two.public().key(algorithm), b"m", &signature),
            Err(CryptoError::BadSignature)
        );
        for other in BOTH.into_iter().filter(|&o| o != algorithm) {
            assert_eq!(
                Primitives.verify(other, one.public().key(other), b"m", &signature),
                Err(CryptoError::BadSignature)
            );
        }
    }
}

/// With a key of small order, R = identity and S = 0 verify for *every* message unless strict.
#[test]
fn ed25519_keys_of_small_order_sign_nothing() {
    let identity = {
        let mut point = [0; 32];
        point[0] = 1;
        point
    };
    let order_two = {
        let mut point = [0xff; 32];
        point[0] = 0xec;
        point[31] = 0x7f;
        point
    };
    let signature = [identity, [0; 32]].concat();
    for key in [identity, order_two, [0; 32]] {
        for message in [b"one".as_slice(), b"two"] {
            assert!(
                Primitives
                    .verify(Algorithm::Ed25519, &key, message, &signature)
                    .is_err()
            );
        }
    }
    // The lenient equation does hold, so the test above can fail.
    let lenient = VerifyingKey::from_bytes(&identity).unwrap();
    let signature = ed25519_dalek::Signature::from_slice(&signature).unwrap();
    use ed25519_dalek::Verifier;
    assert!(lenient.verify(b"one", &signature).is_ok());
}

/// S + L in place of S is the classic malleability.
#[test]
fn ed25519_signatures_have_one_form() {
    const L: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let keys = keys();
    let mut signature = keys.sign(Algorithm::Ed25519, b"m").unwrap();
    let mut carry = 0;
    for (byte, l) in signature[32..].iter_mut().zip(L) {
        let sum = u16::from(*byte) + u16::from(l) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    assert_eq!(
        Primitives.verify(Algorithm::Ed25519, &keys.public().ed25519, b"m", &signature),
        Err(CryptoError::BadSignature)
    );
}
