//! What each primitive costs, on one core: `cargo bench -p hedgerow-crypto`.
//!
//! Only ratios within one run mean something. The baseline of a signed call is `ed25519`, that
//! of a handshake's key exchange and signature `classical`.
#![expect(
    clippy::unwrap_used,
    reason = "a benchmark of something that fails measures nothing"
)]

use std::sync::LazyLock;

use aws_lc_rs::agreement::{self, X25519};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::kem::{Ciphertext, DecapsulationKey, ML_KEM_768};
use divan::{Bencher, black_box};
use hedgerow_crypto::{Primitives, SigningKeys, TlsIdentity, verify_composite};
use protocol::crypto::{Algorithm, Crypto, Signer};

/// About a small tool call's Sig_structure.
const MESSAGE: [u8; 512] = [0x5a; 512];

static KEYS: LazyLock<SigningKeys> =
    LazyLock::new(|| SigningKeys::from_seeds(&[1; 32], &[2; 32]).unwrap());
static IDENTITY: LazyLock<TlsIdentity> =
    LazyLock::new(|| TlsIdentity::from_seeds(&[3; 32], &[4; 32]).unwrap());

fn main() {
    divan::main();
}

fn signed(algorithm: Algorithm) -> Vec<u8> {
    KEYS.sign(algorithm, black_box(&MESSAGE)).unwrap()
}

fn check(algorithm: Algorithm, signature: &[u8]) {
    let key = KEYS.public().key(algorithm);
    Primitives
        .verify(algorithm, key, black_box(&MESSAGE), signature)
        .unwrap();
}

mod ed25519 {
    use super::*;

    #[divan::bench]
    fn sign(bencher: Bencher) {
        bencher.bench(|| signed(Algorithm::Ed25519));
    }

    #[divan::bench]
    fn verify_strict(bencher: Bencher) {
        let signature = signed(Algorithm::Ed25519);
        bencher.bench(|| check(Algorithm::Ed25519, &signature));
    }
}

mod ml_dsa_65 {
    use super::*;

    #[divan::bench]
    fn sign(bencher: Bencher) {
        bencher.bench(|| signed(Algorithm::MlDsa65));
    }

    #[divan::bench]
    fn verify(bencher: Bencher) {
        let signature = signed(Algorithm::MlDsa65);
        bencher.bench(|| check(Algorithm::MlDsa65, &signature));
    }
}

/// Both signatures, as on every envelope.
mod suite {
    use super::*;

    #[divan::bench]
    fn expand_keys(bencher: Bencher) {
        bencher.bench(|| SigningKeys::from_seeds(black_box(&[1; 32]), &[2; 32]).unwrap());
    }

    #[divan::bench]
    fn sign(bencher: Bencher) {
        bencher.bench(|| (signed(Algorithm::MlDsa65), signed(Algorithm::Ed25519)));
    }

    #[divan::bench]
    fn verify(bencher: Bencher) {
        let signatures = (signed(Algorithm::MlDsa65), signed(Algorithm::Ed25519));
        bencher.bench(|| {
            check(Algorithm::MlDsa65, &signatures.0);
            check(Algorithm::Ed25519, &signatures.1);
        });
    }
}

mod composite {
    use super::*;

    #[divan::bench]
    fn sign(bencher: Bencher) {
        bencher.bench(|| IDENTITY.sign(black_box(&MESSAGE)).unwrap());
    }

    #[divan::bench]
    fn verify(bencher: Bencher) {
        let signature = IDENTITY.sign(&MESSAGE).unwrap();
        let key = IDENTITY.public_key();
        bencher.bench(|| verify_composite(key, black_box(&MESSAGE), b"", &signature).unwrap());
    }
}

fn x25519() {
    let private = agreement::PrivateKey::generate(&X25519).unwrap();
    let public = private.compute_public_key().unwrap();
    let peer = agreement::UnparsedPublicKey::new(&X25519, public.as_ref());
    agreement::agree(&private, peer, Unspecified, |secret| {
        black_box(secret);
        Ok(())
    })
    .unwrap();
}

fn ml_kem_768() {
    let key = DecapsulationKey::generate(&ML_KEM_768).unwrap();
    let (sent, secret) = key.encapsulation_key().unwrap().encapsulate().unwrap();
    let received = key.decapsulate(Ciphertext::from(sent.as_ref())).unwrap();
    assert_eq!(secret.as_ref(), received.as_ref());
}

/// One side's public-key work for a handshake: key exchange, one signature made, one checked.
mod handshake {
    use super::*;

    #[divan::bench]
    fn classical(bencher: Bencher) {
        let signature = signed(Algorithm::Ed25519);
        bencher.bench(|| {
            x25519();
            signed(Algorithm::Ed25519);
            check(Algorithm::Ed25519, &signature);
        });
    }

    #[divan::bench]
    fn hybrid(bencher: Bencher) {
        let signature = IDENTITY.sign(&MESSAGE).unwrap();
        let key = IDENTITY.public_key();
        bencher.bench(|| {
            x25519();
            ml_kem_768();
            black_box(IDENTITY.sign(&MESSAGE).unwrap());
            verify_composite(key, &MESSAGE, b"", &signature).unwrap();
        });
    }
}

mod exchange {
    #[divan::bench]
    fn x25519() {
        super::x25519();
    }

    #[divan::bench]
    fn ml_kem_768() {
        super::ml_kem_768();
    }
}
