//! What X-Wing needs of aws-lc and aws-lc-rs does not offer: SHAKE256 and ML-KEM-768 keys from a
//! seed; for tests also derandomised encapsulation.
//!
//! Invariants: every object made here is freed here; no pointer leaves this file.
#![expect(
    unsafe_code,
    reason = "aws-lc-rs offers no seeded ML-KEM keys; every call below states why it is sound"
)]

use core::ptr::{self, NonNull};

use aws_lc_sys::{
    ERR_clear_error, EVP_DigestFinalXOF, EVP_DigestInit_ex, EVP_DigestUpdate, EVP_MD_CTX,
    EVP_MD_CTX_free, EVP_MD_CTX_new, EVP_PKEY, EVP_PKEY_CTX, EVP_PKEY_CTX_free,
    EVP_PKEY_CTX_kem_set_params, EVP_PKEY_CTX_new_id, EVP_PKEY_KEM, EVP_PKEY_free,
    EVP_PKEY_get_raw_private_key, EVP_PKEY_get_raw_public_key, EVP_PKEY_keygen_deterministic,
    EVP_PKEY_keygen_init, EVP_shake256, NID_MLKEM768,
};
use zeroize::Zeroizing;

/// What aws-lc returns for success.
const OK: i32 = 1;

/// Bytes of an ML-KEM-768 seed (FIPS 203: d then z).
const SEED_LEN: usize = 64;

/// Bytes of an expanded ML-KEM-768 secret key (FIPS 203 table 3).
const EXPANDED_LEN: usize = 2400;

/// Bytes of an ML-KEM-768 public key.
const PUBLIC_LEN: usize = 1184;

/// Frees what it holds when dropped.
struct Owned<T>(NonNull<T>, unsafe extern "C" fn(*mut T));

impl<T> Owned<T> {
    fn new(object: *mut T, free: unsafe extern "C" fn(*mut T)) -> Option<Self> {
        NonNull::new(object).map(|object| Self(object, free))
    }

    const fn as_ptr(&self) -> *mut T {
        self.0.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: we own the object, it was made by the library this function belongs to, and it
        // is never used again.
        unsafe { self.1(self.0.as_ptr()) }
    }
}

/// SHAKE256 (FIPS 202) of `input`, `N` bytes; `None` if the library refuses.
pub(super) fn shake256<const N: usize>(input: &[u8]) -> Option<Zeroizing<[u8; N]>> {
    let mut out = Zeroizing::new([0; N]);
    // SAFETY: allocates, or returns null; freed by its own function.
    let context: Owned<EVP_MD_CTX> = Owned::new(unsafe { EVP_MD_CTX_new() }, EVP_MD_CTX_free)?;
    // SAFETY: the context is live; `input` is read only and `out` written only within their
    // lengths; no engine is what the library asks for.
    let done = unsafe {
        EVP_DigestInit_ex(context.as_ptr(), EVP_shake256(), ptr::null_mut()) == OK
            && EVP_DigestUpdate(context.as_ptr(), input.as_ptr().cast(), input.len()) == OK
            && EVP_DigestFinalXOF(context.as_ptr(), out.as_mut_ptr(), N) == OK
    };
    succeeded(done).then_some(out)
}

/// The expanded secret key and the public key of this ML-KEM-768 seed (FIPS 203 algorithm 16);
/// `None` if the library refuses.
pub(super) fn ml_kem_768_pair(seed: &[u8; SEED_LEN]) -> Option<(Zeroizing<Vec<u8>>, Vec<u8>)> {
    // SAFETY: allocates, or returns null; freed by its own function.
    let context = unsafe { EVP_PKEY_CTX_new_id(EVP_PKEY_KEM, ptr::null_mut()) };
    let context: Owned<EVP_PKEY_CTX> = Owned::new(context, EVP_PKEY_CTX_free)?;
    let mut key: *mut EVP_PKEY = ptr::null_mut();
    let mut length = seed.len();
    // SAFETY: the context is live; the seed is read within its length; `key` receives null or a
    // reference that we own from here on.
    let done = unsafe {
        EVP_PKEY_CTX_kem_set_params(context.as_ptr(), NID_MLKEM768) == OK
            && EVP_PKEY_keygen_init(context.as_ptr()) == OK
            && EVP_PKEY_keygen_deterministic(
                context.as_ptr(),
                &raw mut key,
                seed.as_ptr(),
                &raw mut length,
            ) == OK
    };
    let key = Owned::new(key, EVP_PKEY_free);
    let key = succeeded(done && length == SEED_LEN)
        .then_some(key)
        .flatten()?;
    let mut secret = Zeroizing::new(vec![0; EXPANDED_LEN]);
    let mut public = vec![0; PUBLIC_LEN];
    let (mut secret_len, mut public_len) = (secret.len(), public.len());
    // SAFETY: the key is live; both buffers have the lengths the library may write at most.
    let done = unsafe {
        EVP_PKEY_get_raw_private_key(key.as_ptr(), secret.as_mut_ptr(), &raw mut secret_len) == OK
            && EVP_PKEY_get_raw_public_key(key.as_ptr(), public.as_mut_ptr(), &raw mut public_len)
                == OK
    };
    let whole = secret_len == EXPANDED_LEN && public_len == PUBLIC_LEN;
    succeeded(done && whole).then_some((secret, public))
}

/// Ciphertext and shared secret of ML-KEM-768 encapsulation with this randomness (FIPS 203
/// algorithm 17). Only for vectors: real randomness is the library's own.
#[cfg(test)]
pub(super) fn ml_kem_768_encapsulate(
    public: &[u8],
    randomness: &[u8; 32],
) -> Option<(Vec<u8>, Vec<u8>)> {
    use aws_lc_sys::{
        EVP_PKEY_CTX_new, EVP_PKEY_encapsulate_deterministic, EVP_PKEY_kem_new_raw_public_key,
    };
    // SAFETY: pointer and length describe `public`; the result is null or ours.
    let key =
        unsafe { EVP_PKEY_kem_new_raw_public_key(NID_MLKEM768, public.as_ptr(), public.len()) };
    let key = Owned::new(key, EVP_PKEY_free)?;
    // SAFETY: the key is live; the context takes a reference of its own.
    let context = unsafe { EVP_PKEY_CTX_new(key.as_ptr(), ptr::null_mut()) };
    let context: Owned<EVP_PKEY_CTX> = Owned::new(context, EVP_PKEY_CTX_free)?;
    let (mut ciphertext, mut shared) = (vec![0; 1088], vec![0; 32]);
    let (mut c, mut s, mut r) = (ciphertext.len(), shared.len(), randomness.len());
    // SAFETY: all buffers have the lengths given beside them.
    let done = unsafe {
        EVP_PKEY_encapsulate_deterministic(
            context.as_ptr(),
            ciphertext.as_mut_ptr(),
            &raw mut c,
            shared.as_mut_ptr(),
            &raw mut s,
            randomness.as_ptr(),
            &raw mut r,
        )
    };
    succeeded(done == OK).then_some((ciphertext, shared))
}

/// Passes `done` on; after a failure it empties this thread's error queue, so that a later user of
/// the library does not find ours.
fn succeeded(done: bool) -> bool {
    if !done {
        // SAFETY: touches thread-local state of the library only.
        unsafe { ERR_clear_error() }
    }
    done
}
