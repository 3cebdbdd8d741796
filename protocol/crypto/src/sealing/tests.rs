//! X-Wing against the draft's vectors, the key schedule against those of draft-ietf-hpke-pq, and
//! what must not open.

use std::array::from_fn;

use proptest::prelude::*;
use protocol::crypto::CryptoError;
use protocol::crypto::sealing::{
    Opener, SEALING_ENC_LEN, SEALING_PUBLIC_LEN, SEALING_TAG_LEN, Sealer, Way,
};

use super::channel::Channel;
use super::hpke::{HpkeSuite, SUITE, Schedule};
use super::{SealingKey, ffi, xwing};
use crate::Primitives;

fn array<const N: usize>(text: &str) -> [u8; N] {
    hex::decode(text).unwrap().try_into().unwrap()
}

/// draft-connolly-cfrg-xwing-kem, appendix "Test vectors": seed, eseed, shared secret, and how
/// public key and ciphertext of the first begin.
const DRAFT: [[&str; 3]; 3] = [
    [
        "7f9c2ba4e88f827d616045507605853ed73b8093f6efbc88eb1a6eacfa66ef26",
        "3cb1eea988004b93103cfb0aeefd2a686e01fa4a58e8a3639ca8a1e3f9ae57e235b8cc873c23dc62b8d260169afa2f75ab916a58d974918835d25e6a435085b2",
        "d2df0522128f09dd8e2c92b1e905c793d8f57a54c3da25861f10bf4ca613e384",
    ],
    [
        "badfd6dfaac359a5efbb7bcc4b59d538df9a04302e10c8bc1cbf1a0b3a5120ea",
        "17cda7cfad765f5623474d368ccca8af0007cd9f5e4c849f167a580b14aabdefaee7eef47cb0fca9767be1fda69419dfb927e9df07348b196691abaeb580b32d",
        "f2e86241c64d60f6649fbc6c5b7d17180b780a3f34355e64a85749949c45f150",
    ],
    [
        "ef58538b8d23f87732ea63b02b4fa0f4873360e2841928cd60dd4cee8cc0d4c9",
        "22a96188d032675c8ac850933c7aff1533b94c834adbb69c6115bad4692d8619f90b0cdf8a7b9c264029ac185b70b83f2801f2f4b3f70c593ea3aeeb613a7f1b",
        "953f7f4e8c5b5049bdc771d1dffada0dd961477d1a2ae0988baa7ea6898d893f",
    ],
];

#[test]
fn x_wing_is_the_drafts() {
    for [seed, eseed, shared] in DRAFT {
        let secret = xwing::Secret::from_seed(&array(seed)).unwrap();
        let eseed: [u8; 64] = array(eseed);
        let (randomness, scalar) = eseed.split_at(32);
        let public = secret.public();
        assert_eq!(public.len(), SEALING_PUBLIC_LEN);
        let (ciphertext, first) =
            ffi::ml_kem_768_encapsulate(&public[..1184], randomness.try_into().unwrap()).unwrap();
        let scalar = scalar.try_into().unwrap();
        let (enc, made) = xwing::finish(public, &ciphertext, &first, scalar).unwrap();
        assert_eq!(enc.len(), SEALING_ENC_LEN);
        assert_eq!(*made, array(shared));
        assert_eq!(*secret.decapsulate(&enc).unwrap(), array(shared));
        if shared == DRAFT[0][2] {
            assert_eq!(
                public[..16],
                array::<16>("e2236b35a8c24b39b10aa1323a96a919")
            );
            assert_eq!(enc[..16], array::<16>("b83aa828d4d62b9a83ceffe1d3d3bb1e"));
        }
    }
}

/// The vector of draft-ietf-hpke-pq for X-Wing with HKDF-SHA256. Its AEAD is ChaCha20-Poly1305,
/// which enters the schedule by its number only; its key is as long as ours.
#[test]
fn the_key_schedule_is_that_of_hpke_pq() {
    let vector: serde_json::Value = serde_json::from_str(include_str!("hpke-pq.json")).unwrap();
    let field = |name: &str| hex::decode(vector[name].as_str().unwrap()).unwrap();
    let secret = xwing::Secret::from_seed(&field("skRm").try_into().unwrap()).unwrap();
    assert_eq!(secret.public(), field("pkRm"));
    let shared = secret.decapsulate(&field("enc")).unwrap();
    assert_eq!(shared.as_slice(), field("shared_secret"));
    let suite = HpkeSuite { aead: 3, ..SUITE };
    let schedule = Schedule::base(&suite, shared.as_slice(), &field("info")).unwrap();
    assert_eq!(*schedule.key, field("key"));
    assert_eq!(schedule.base_nonce.as_slice(), field("base_nonce"));
    assert_eq!(*schedule.exporter_secret, field("exporter_secret"));
    for export in vector["exports"].as_array().unwrap() {
        let context = hex::decode(export["exporter_context"].as_str().unwrap()).unwrap();
        let length = usize::try_from(export["L"].as_u64().unwrap()).unwrap();
        let value = hex::decode(export["exported_value"].as_str().unwrap()).unwrap();
        assert_eq!(*schedule.export(&context, length).unwrap(), value);
    }
}

/// AES-256-GCM with the nonce of a sequence, by another path: one-shot through another library
/// call, with the nonce written out.
#[test]
fn sequences_are_mixed_into_the_nonce_as_the_rfc_says() {
    use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
    use protocol::crypto::sealing::SealedChannel as _;
    let channel = Channel::new(&SUITE, &[7; 32], b"info").unwrap();
    let schedule = Schedule::base(&SUITE, &[7; 32], b"info").unwrap();
    for sequence in [0_u64, 1, 255, 256, 1 << 26, u64::MAX] {
        let sealed = channel
            .seal(Way::Forward, sequence, b"aad", b"plaintext")
            .unwrap();
        let mut mixed = [0_u8; 12];
        mixed[4..].copy_from_slice(&sequence.to_be_bytes());
        let nonce: [u8; 12] = from_fn(|i| mixed[i] ^ schedule.base_nonce[i]);
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &schedule.key).unwrap());
        let mut opened = sealed.clone();
        let nonce = Nonce::assume_unique_for_key(nonce);
        let opened = key.open_in_place(nonce, Aad::from(b"aad"), &mut opened);
        assert_eq!(opened.unwrap(), b"plaintext");
        assert_eq!(sealed.len(), b"plaintext".len() + SEALING_TAG_LEN);
    }
}

#[test]
fn both_ways_open_at_the_other_end_and_only_as_sealed() {
    let key = SealingKey::generate(&Primitives).unwrap();
    let (enc, ours) = Primitives.seal_to(key.public(), b"info").unwrap();
    let theirs = key.open_from(&enc, b"info").unwrap();
    for (way, other) in [(Way::Forward, Way::Back), (Way::Back, Way::Forward)] {
        let sealed = ours.seal(way, 5, b"aad", b"body").unwrap();
        assert_eq!(theirs.open(way, 5, b"aad", &sealed).unwrap(), b"body");
        let refused = Err(CryptoError::BadSealed);
        assert_eq!(theirs.open(other, 5, b"aad", &sealed), refused);
        assert_eq!(theirs.open(way, 6, b"aad", &sealed), refused);
        assert_eq!(theirs.open(way, 5, b"aax", &sealed), refused);
        for cut in 0..sealed.len() {
            assert_eq!(theirs.open(way, 5, b"aad", &sealed[..cut]), refused);
        }
    }
    let sealed = ours.seal(Way::Forward, 0, b"", b"body").unwrap();
    let others = [
        key.open_from(&enc, b"other").unwrap(),
        SealingKey::generate(&Primitives)
            .unwrap()
            .open_from(&enc, b"info")
            .unwrap(),
    ];
    for other in others {
        assert!(other.open(Way::Forward, 0, b"", &sealed).is_err());
    }
}

#[test]
fn malformed_keys_and_encapsulations_are_refused() {
    let key = SealingKey::generate(&Primitives).unwrap();
    let bad_key = |public: &[u8]| Primitives.seal_to(public, b"").err();
    assert_eq!(bad_key(&[]), Some(CryptoError::BadKey));
    assert_eq!(bad_key(&key.public()[1..]), Some(CryptoError::BadKey));
    // A coefficient out of range (FIPS 203 §7.2), and an X25519 key of small order.
    let mut out_of_range = key.public().to_vec();
    out_of_range[..3].fill(0xff);
    assert_eq!(bad_key(&out_of_range), Some(CryptoError::BadKey));
    let mut small = key.public().to_vec();
    small[1184..].fill(0);
    assert_eq!(bad_key(&small), Some(CryptoError::BadKey));
    let bad_enc = |enc: &[u8]| key.open_from(enc, b"").err();
    assert_eq!(bad_enc(&[]), Some(CryptoError::BadSealed));
    assert_eq!(bad_enc(&[0; SEALING_ENC_LEN]), Some(CryptoError::BadSealed));
    assert_eq!(
        bad_enc(&[1; SEALING_ENC_LEN + 1]),
        Some(CryptoError::BadSealed)
    );
}

#[test]
fn secrets_do_not_show() {
    let key = SealingKey::generate(&Primitives).unwrap();
    assert_eq!(format!("{key:?}"), "SealingKey(secret redacted)");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn every_body_comes_back(body in proptest::collection::vec(any::<u8>(), 0..2048), n: u64) {
        let key = SealingKey::generate(&Primitives).unwrap();
        let (enc, ours) = Primitives.seal_to(key.public(), b"").unwrap();
        let theirs = key.open_from(&enc, b"").unwrap();
        let sealed = ours.seal(Way::Forward, n, b"", &body).unwrap();
        prop_assert_eq!(theirs.open(Way::Forward, n, b"", &sealed).unwrap(), body);
    }
}
