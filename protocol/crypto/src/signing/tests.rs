use super::*;
use crate::Primitives;

/// Randomness that always fails, as a machine without entropy.
struct NoEntropy;

impl Crypto for NoEntropy {
    fn sha256(&self, parts: &[&[u8]]) -> [u8; 32] {
        Primitives.sha256(parts)
    }
    fn verify(&self, a: Algorithm, k: &[u8], m: &[u8], s: &[u8]) -> Result<(), CryptoError> {
        Primitives.verify(a, k, m, s)
    }
    fn fill_random(&self, _: &mut [u8]) -> Result<(), CryptoError> {
        Err(CryptoError::NoRandomness)
    }
}

#[test]
fn seeds_read_back_to_the_same_set() {
    let keys = SigningKeys::generate(&Primitives).unwrap();
    let seeds = keys.seeds();
    let (ml_dsa, ed25519) = seeds.split_at(SEED_LEN);
    let again =
        SigningKeys::from_seeds(ml_dsa.try_into().unwrap(), ed25519.try_into().unwrap()).unwrap();
    assert_eq!(again.public(), keys.public());
    assert!(keys.public().is_well_formed());
    assert_ne!(ml_dsa, ed25519, "the seeds are independent");

    for algorithm in [Algorithm::MlDsa65, Algorithm::Ed25519] {
        let signature = again.sign(algorithm, b"m").unwrap();
        assert_eq!(signature.len(), algorithm.signature_len());
        let key = keys.public().key(algorithm);
        assert_eq!(Primitives.verify(algorithm, key, b"m", &signature), Ok(()));
    }
}

/// Ed25519 signatures are determined by key and message: both libraries must agree on them, so
/// that which of them signs is nobody's concern.
#[test]
fn ed25519_signs_as_another_library_does() {
    use ed25519_dalek::Signer as _;
    for (seed, length) in [(0, 0), (1, 1), (7, 31), (0x5a, 32), (0xff, 4096)] {
        let keys = SigningKeys::from_seeds(&[3; 32], &[seed; 32]).unwrap();
        let other = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
        assert_eq!(keys.public().ed25519, other.verifying_key().to_bytes());
        let message = vec![seed ^ 0x33; length];
        let signature = keys.sign(Algorithm::Ed25519, &message).unwrap();
        assert_eq!(signature, other.sign(&message).to_bytes());
    }
}

#[test]
fn two_generated_sets_differ() {
    let one = SigningKeys::generate(&Primitives).unwrap();
    let two = SigningKeys::generate(&Primitives).unwrap();
    assert_ne!(one.public().ml_dsa_65, two.public().ml_dsa_65);
    assert_ne!(one.public().ed25519, two.public().ed25519);
}

#[test]
fn without_randomness_there_is_no_key() {
    let refused = SigningKeys::generate(&NoEntropy).map(|_| ());
    assert_eq!(refused, Err(CryptoError::NoRandomness));
}

#[test]
fn debug_shows_no_secret() {
    let keys = SigningKeys::from_seeds(&[0xa5; 32], &[0x5a; 32]).unwrap();
    let shown = format!("{keys:?}");
    assert!(shown.contains("redacted"), "{shown}");
    for secret in ["a5a5", "5a5a", "165, 165", "90, 90"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn keys_cross_threads() {
    fn check<T: Send + Sync + 'static>() {}
    check::<SigningKeys>();
    check::<crate::TlsIdentity>();
}
