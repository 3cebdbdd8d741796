//! X-Wing (draft-connolly-cfrg-xwing-kem): ML-KEM-768 and X25519, combined by SHA3-256.
//!
//! A secret key is a 32-byte seed, expanded by SHAKE256; it is expanded once and kept so for its
//! one day.

use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::digest::{Context, SHA3_256};
use aws_lc_rs::kem::{DecapsulationKey, EncapsulationKey, ML_KEM_768};
use protocol::crypto::sealing::{SEALING_ENC_LEN, SEALING_PUBLIC_LEN};
use protocol::crypto::{Crypto, CryptoError};
use zeroize::Zeroizing;

use super::ffi;

/// Bytes of a seed, of an X25519 key and of a shared secret.
pub(super) const SECRET_LEN: usize = 32;

/// Where the X25519 half of a public key begins.
const ML_KEM_PUBLIC_LEN: usize = SEALING_PUBLIC_LEN - SECRET_LEN;

/// Where the X25519 half of a ciphertext begins.
const ML_KEM_CIPHERTEXT_LEN: usize = SEALING_ENC_LEN - SECRET_LEN;

/// `XWingLabel` of the draft.
const LABEL: &[u8; 6] = br"\.//^\";

/// An expanded secret key.
pub(super) struct Secret {
    ml_kem: DecapsulationKey,
    x25519: PrivateKey,
    public: Vec<u8>,
}

impl Secret {
    pub(super) fn generate(crypto: &dyn Crypto) -> Result<Self, CryptoError> {
        let mut seed = Zeroizing::new([0; SECRET_LEN]);
        crypto.fill_random(seed.as_mut_slice())?;
        Self::from_seed(&seed)
    }

    /// `expandDecapsulationKey`: d and z of ML-KEM-768, then the X25519 scalar.
    pub(super) fn from_seed(seed: &[u8; SECRET_LEN]) -> Result<Self, CryptoError> {
        let expanded = ffi::shake256::<96>(seed).ok_or(CryptoError::BadKey)?;
        let (kem_seed, scalar) = expanded.split_at(2 * SECRET_LEN);
        let pair = kem_seed.first_chunk().and_then(ffi::ml_kem_768_pair);
        let (secret, public) = pair.ok_or(CryptoError::BadKey)?;
        let ml_kem =
            DecapsulationKey::new(&ML_KEM_768, &secret).map_err(|_| CryptoError::BadKey)?;
        let (x25519, own) = x25519(scalar)?;
        let public = [public.as_slice(), &own].concat();
        Ok(Self {
            ml_kem,
            x25519,
            public,
        })
    }

    pub(super) fn public(&self) -> &[u8] {
        &self.public
    }

    pub(super) fn decapsulate(
        &self,
        enc: &[u8],
    ) -> Result<Zeroizing<[u8; SECRET_LEN]>, CryptoError> {
        if enc.len() != SEALING_ENC_LEN {
            return Err(CryptoError::BadSealed);
        }
        let (ml_kem, x25519) = enc.split_at(ML_KEM_CIPHERTEXT_LEN);
        let first = self.ml_kem.decapsulate(ml_kem.into());
        let first = first.map_err(|_| CryptoError::BadSealed)?;
        let second = exchange(&self.x25519, x25519, CryptoError::BadSealed)?;
        let own = self.public.get(ML_KEM_PUBLIC_LEN..).unwrap_or_default();
        Ok(combine(first.as_ref(), &second, x25519, own))
    }
}

/// A fresh shared secret for the owner of `public`, and its encapsulation.
pub(super) fn encapsulate(
    crypto: &dyn Crypto,
    public: &[u8],
) -> Result<(Vec<u8>, Zeroizing<[u8; SECRET_LEN]>), CryptoError> {
    let (ml_kem, _) = halves(public)?;
    let key = EncapsulationKey::new(&ML_KEM_768, ml_kem).map_err(|_| CryptoError::BadKey)?;
    let (ciphertext, first) = key.encapsulate().map_err(|_| CryptoError::BadKey)?;
    let mut scalar = Zeroizing::new([0; SECRET_LEN]);
    crypto.fill_random(scalar.as_mut_slice())?;
    finish(public, ciphertext.as_ref(), first.as_ref(), &scalar)
}

/// The classical half, and the combination of both.
pub(super) fn finish(
    public: &[u8],
    ciphertext: &[u8],
    first: &[u8],
    scalar: &[u8; SECRET_LEN],
) -> Result<(Vec<u8>, Zeroizing<[u8; SECRET_LEN]>), CryptoError> {
    let (_, theirs) = halves(public)?;
    let (ephemeral, own) = x25519(scalar)?;
    let second = exchange(&ephemeral, theirs, CryptoError::BadKey)?;
    let shared = combine(first, &second, &own, theirs);
    Ok(([ciphertext, &own].concat(), shared))
}

fn halves(public: &[u8]) -> Result<(&[u8], &[u8]), CryptoError> {
    if public.len() != SEALING_PUBLIC_LEN {
        return Err(CryptoError::BadKey);
    }
    Ok(public.split_at(ML_KEM_PUBLIC_LEN))
}

fn x25519(scalar: &[u8]) -> Result<(PrivateKey, Vec<u8>), CryptoError> {
    let key = PrivateKey::from_private_key(&X25519, scalar).map_err(|_| CryptoError::BadKey)?;
    let public = key.compute_public_key().map_err(|_| CryptoError::BadKey)?;
    Ok((key, public.as_ref().to_vec()))
}

/// The X25519 secret; a public key of small order, which gives zero, is refused (RFC 7748 §6.1).
fn exchange(
    key: &PrivateKey,
    theirs: &[u8],
    refused: CryptoError,
) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    let theirs = UnparsedPublicKey::new(&X25519, theirs);
    agree(key, theirs, refused, |secret| {
        Ok(Zeroizing::new(secret.to_vec()))
    })
}

/// `Combiner(ss_M, ss_X, ct_X, pk_X)`.
fn combine(
    ml_kem: &[u8],
    x25519: &[u8],
    ciphertext: &[u8],
    public: &[u8],
) -> Zeroizing<[u8; SECRET_LEN]> {
    let mut context = Context::new(&SHA3_256);
    for part in [ml_kem, x25519, ciphertext, public, LABEL] {
        context.update(part);
    }
    let mut shared = Zeroizing::new([0; SECRET_LEN]);
    shared.copy_from_slice(context.finish().as_ref());
    shared
}
