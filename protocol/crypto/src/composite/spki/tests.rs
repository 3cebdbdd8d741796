use super::*;

fn key() -> [u8; TLS_PUBLIC_LEN] {
    core::array::from_fn(|i| i.to_le_bytes()[0])
}

#[test]
fn reads_back() {
    let der = spki(&key());
    assert_eq!(der.len(), SPKI_LEN);
    assert_eq!(parse_spki(&der), Ok(key()));
}

#[test]
fn other_algorithms_are_named() {
    // Ed25519 and X25519 (RFC 8410), P-256 (RFC 5480), ML-DSA-65 (RFC 9881)
    let classical = |head: &[u8], key: usize| [head, &vec![9; key]].concat();
    let ed25519 = hex::decode("302a300506032b6570032100").unwrap();
    let x25519 = hex::decode("302a300506032b656e032100").unwrap();
    let p256 = hex::decode("3059301306072a8648ce3d020106082a8648ce3d03010703420004").unwrap();
    let ml_dsa = hex::decode("308207b2300b0609608648016503040312038207a100").unwrap();
    for der in [
        classical(&ed25519, 32),
        classical(&x25519, 32),
        classical(&p256, 64),
        classical(&ml_dsa, 1952),
    ] {
        assert_eq!(parse_spki(&der), Err(SpkiError::WrongAlgorithm));
    }
    // the neighbouring composite, id-MLDSA65-Ed448… (…6.51), in our very shape
    let mut der = spki(&key());
    der[15] = 51;
    assert_eq!(parse_spki(&der), Err(SpkiError::WrongAlgorithm));
    // parameters present, even NULL, make it another AlgorithmIdentifier
    let mut der = spki(&key());
    der[5] = 0x0c;
    der.splice(16..16, [0x05, 0x00]);
    der[3] += 2;
    assert_eq!(parse_spki(&der), Err(SpkiError::WrongAlgorithm));
}

#[test]
fn trailing_bytes_are_named() {
    let der = spki(&key());
    for extra in [1, 5, 4096] {
        let longer = [der.as_slice(), &vec![0; extra]].concat();
        assert_eq!(
            parse_spki(&longer),
            Err(SpkiError::TrailingBytes { found: extra })
        );
    }
}

#[test]
fn every_truncation_is_refused() {
    let der = spki(&key());
    for len in 0..der.len() {
        assert!(parse_spki(&der[..len]).is_err(), "{len}");
    }
    assert_eq!(parse_spki(&der[..2004]), Err(SpkiError::NotExact));
}

#[test]
fn every_changed_header_byte_is_refused() {
    let der = spki(&key());
    for at in 0..HEADER.len() {
        for bit in 0..8 {
            let mut bad = der.clone();
            bad[at] ^= 1 << bit;
            assert!(parse_spki(&bad).is_err(), "byte {at} bit {bit}");
        }
    }
}

#[test]
fn other_encodings_of_the_same_key_are_refused() {
    let key = key();
    let inner = spki(&key)[4..].to_vec();
    let wrapped = |outer: &[u8], inner: &[u8]| [outer, inner].concat();
    let mut unused_bits = spki(&key);
    unused_bits[20] = 1;
    let mut constructed = spki(&key);
    constructed[16] = 0x23;
    for (what, der) in [
        (
            "non-minimal length",
            wrapped(&[0x30, 0x83, 0x00, 0x07, 0xd1], &inner),
        ),
        (
            "indefinite length",
            wrapped(&[0x30, 0x80], &[inner.as_slice(), &[0, 0]].concat()),
        ),
        ("unused bits", unused_bits),
        ("constructed bit string", constructed),
        ("the raw key alone", key.to_vec()),
        ("nothing", Vec::new()),
    ] {
        assert_eq!(parse_spki(&der), Err(SpkiError::NotExact), "{what}");
    }
}
