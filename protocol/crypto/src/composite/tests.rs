use super::identity::TlsIdentity;
use super::*;

fn identity() -> TlsIdentity {
    TlsIdentity::from_seeds(&[1; 32], &[2; 32]).unwrap()
}

const HALF: usize = 3309;

#[test]
fn signatures_hold_with_their_own_context_only() {
    let id = identity();
    for (signed, checked, holds) in [
        (b"".as_slice(), b"".as_slice(), true),
        (b"context", b"context", true),
        (b"context", b"", false),
        (b"", b"context", false),
        (b"context", b"contexT", false),
        (&[7; 255], &[7; 255], true),
    ] {
        let signature = id.sign_with_context(b"m", signed).unwrap();
        assert_eq!(signature.len(), SIGNATURE_LEN);
        let verdict = verify_composite(id.public_key(), b"m", checked, &signature);
        assert_eq!(verdict.is_ok(), holds, "{signed:?} {checked:?}");
    }
}

#[test]
fn long_contexts_are_refused_by_name() {
    let refused = Err(CompositeError::ContextTooLong { found: 256 });
    let id = identity();
    let signature = id.sign(b"m").unwrap();
    assert_eq!(id.sign_with_context(b"m", &[0; 256]).map(|_| ()), refused);
    assert_eq!(
        verify_composite(id.public_key(), b"m", &[0; 256], &signature),
        refused
    );
}

#[test]
fn every_tampered_byte_is_refused() {
    let id = identity();
    let signature = id.sign(b"m").unwrap();
    for at in 0..SIGNATURE_LEN {
        let mut bad = signature.clone();
        bad[at] ^= 1 << (at % 8);
        assert_eq!(
            verify_composite(id.public_key(), b"m", b"", &bad),
            Err(CompositeError::BadSignature),
            "byte {at}"
        );
    }
    for at in (0..TLS_PUBLIC_LEN).step_by(31).chain(1950..1984) {
        let mut bad = *id.public_key();
        bad[at] ^= 1;
        assert!(
            verify_composite(&bad, b"m", b"", &signature).is_err(),
            "key byte {at}"
        );
    }
    assert_eq!(
        verify_composite(id.public_key(), b"n", b"", &signature),
        Err(CompositeError::BadSignature)
    );
}

#[test]
fn one_good_half_is_not_enough() {
    let (mine, other) = (
        identity(),
        TlsIdentity::from_seeds(&[3; 32], &[4; 32]).unwrap(),
    );
    let good = mine.sign(b"m").unwrap();
    let foreign = other.sign(b"m").unwrap();
    for mixed in [
        [&good[..HALF], &foreign[HALF..]].concat(),
        [&foreign[..HALF], &good[HALF..]].concat(),
        [&good[..HALF], &[0; 64]].concat(),
        [&[0; HALF][..], &good[HALF..]].concat(),
    ] {
        assert_eq!(
            verify_composite(mine.public_key(), b"m", b"", &mixed),
            Err(CompositeError::BadSignature)
        );
    }
    // Keys mixed from two identities do not hold either signature.
    let mut key = *mine.public_key();
    key[1952..].copy_from_slice(&other.public_key()[1952..]);
    for signature in [&good, &foreign] {
        assert!(verify_composite(&key, b"m", b"", signature).is_err());
    }
}

#[test]
fn swapped_halves_and_wrong_sizes_are_refused() {
    let id = identity();
    let good = id.sign(b"m").unwrap();
    let swapped = [&good[HALF..], &good[..HALF]].concat();
    let longer = [good.as_slice(), &[0]].concat();
    for bad in [
        &swapped[..],
        &good[1..],
        &good[..HALF],
        &good[HALF..],
        &longer,
        &[],
    ] {
        assert_eq!(
            verify_composite(id.public_key(), b"m", b"", bad),
            Err(CompositeError::BadSignature)
        );
    }
    let mut key = [0; TLS_PUBLIC_LEN];
    key[..32].copy_from_slice(&id.public_key()[1952..]);
    key[32..].copy_from_slice(&id.public_key()[..1952]);
    assert!(verify_composite(&key, b"m", b"", &good).is_err());
}

/// The halves cannot be lifted out: they verify neither as plain ML-DSA-65 nor as plain Ed25519
/// signatures of the message.
#[test]
fn halves_do_not_stand_alone() {
    use protocol::crypto::{Crypto, CryptoError};

    let id = identity();
    let good = id.sign(b"m").unwrap();
    let representative = representative(b"m", b"").unwrap();
    let (ml_dsa_key, ed25519_key) = id.public_key().split_at(1952);
    for message in [b"m".as_slice(), &representative] {
        assert_eq!(
            crate::Primitives.verify(Algorithm::MlDsa65, ml_dsa_key, message, &good[..HALF]),
            Err(CryptoError::BadSignature)
        );
    }
    assert_eq!(
        crate::Primitives.verify(Algorithm::Ed25519, ed25519_key, b"m", &good[HALF..]),
        Err(CryptoError::BadSignature)
    );
}

#[test]
fn a_public_key_cannot_sign() {
    let id = identity();
    let public = ffi::MlDsa65::from_public(&id.public_key()[..1952]).unwrap();
    assert!(public.sign(b"", b"m").is_none());
    assert_eq!(public.public().unwrap(), id.public_key()[..1952]);
    for wrong in [0, 31, 32, 1951, 1953, 4032] {
        assert!(
            ffi::MlDsa65::from_public(&vec![1; wrong]).is_none(),
            "{wrong}"
        );
    }
}

#[test]
fn signing_and_verifying_run_on_many_threads_at_once() {
    let id = identity();
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let id = &id;
            scope.spawn(move || {
                for round in 0..8 {
                    let message = [thread, round];
                    let signature = id.sign(&message).unwrap();
                    verify_composite(id.public_key(), &message, b"", &signature).unwrap();
                }
            });
        }
    });
}

#[test]
fn seeds_read_back_and_debug_shows_no_secret() {
    let id = TlsIdentity::generate(&crate::Primitives).unwrap();
    let seeds = id.seeds();
    let (one, two) = seeds.split_at(32);
    let again = TlsIdentity::from_seeds(one.try_into().unwrap(), two.try_into().unwrap()).unwrap();
    assert_eq!(again.public_key(), id.public_key());
    assert_eq!(
        again.node_id(&crate::Primitives),
        id.node_id(&crate::Primitives)
    );
    let shown = format!("{id:?}");
    assert!(shown.contains("redacted"), "{shown}");
    assert!(!shown.contains(&hex::encode(one)) && !shown.contains(&hex::encode(two)));
}
