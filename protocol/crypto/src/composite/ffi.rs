//! ML-DSA-65 with a context string, straight from aws-lc: with `sealing/ffi.rs` the only unsafe
//! code of the project.
//!
//! aws-lc-rs has ML-DSA but no way to set its context (FIPS 204 §5.2), which composite signatures
//! need. aws-lc-sys is pinned to the version aws-lc-rs links, so both speak to one library.
//!
//! Invariants: [`MlDsa65`] owns exactly one reference to a fully initialised `EVP_PKEY` of type
//! ML-DSA-65 that nothing changes after construction; no pointer leaves this file. aws-lc wipes
//! key memory when it frees it.
#![expect(
    unsafe_code,
    reason = "aws-lc-rs offers no ML-DSA context; every call below states why it is sound"
)]

use core::ptr::{self, NonNull};

use aws_lc_sys::{
    ERR_clear_error, EVP_DigestSign, EVP_DigestSignInit, EVP_DigestVerify, EVP_DigestVerifyInit,
    EVP_MD_CTX, EVP_MD_CTX_free, EVP_MD_CTX_new, EVP_PKEY, EVP_PKEY_CTX,
    EVP_PKEY_CTX_set1_signature_context_string, EVP_PKEY_free, EVP_PKEY_get_raw_public_key,
    EVP_PKEY_pqdsa_new_raw_private_key, EVP_PKEY_pqdsa_new_raw_public_key, NID_MLDSA65,
};
use protocol::crypto::Algorithm;

use crate::SEED_LEN;

/// What aws-lc returns for success.
const OK: i32 = 1;

/// An ML-DSA-65 key: a pair when made from a seed, else a public key.
pub(crate) struct MlDsa65(NonNull<EVP_PKEY>);

// SAFETY: an EVP_PKEY is not tied to a thread, and its reference count is atomic.
unsafe impl Send for MlDsa65 {}
// SAFETY: after construction the key is only read; every operation has a context of its own.
unsafe impl Sync for MlDsa65 {}

impl Drop for MlDsa65 {
    fn drop(&mut self) {
        // SAFETY: we own this one reference and never use it again.
        unsafe { EVP_PKEY_free(self.0.as_ptr()) }
    }
}

impl MlDsa65 {
    /// The key pair of this seed (FIPS 204 algorithm 6); `None` if the library refuses.
    pub(crate) fn from_seed(seed: &[u8; SEED_LEN]) -> Option<Self> {
        // SAFETY: pointer and length describe `seed`, which the function copies from. It returns
        // null or a reference that we own from here on.
        let key =
            unsafe { EVP_PKEY_pqdsa_new_raw_private_key(NID_MLDSA65, seed.as_ptr(), seed.len()) };
        Self::owned(key)
    }

    /// The public key with these bytes; `None` unless they are exactly one.
    pub(crate) fn from_public(bytes: &[u8]) -> Option<Self> {
        // SAFETY: as in `from_seed`; any other length than 1952 makes it return null.
        let key =
            unsafe { EVP_PKEY_pqdsa_new_raw_public_key(NID_MLDSA65, bytes.as_ptr(), bytes.len()) };
        Self::owned(key)
    }

    fn owned(key: *mut EVP_PKEY) -> Option<Self> {
        let key = NonNull::new(key).map(Self);
        if key.is_none() {
            forget_errors();
        }
        key
    }

    /// The public key, 1952 bytes.
    pub(crate) fn public(&self) -> Option<Vec<u8>> {
        let mut out = vec![0; Algorithm::MlDsa65.public_len()];
        let mut written = out.len();
        // SAFETY: the key is live; `out` has the `written` bytes the function may write at most.
        let result = unsafe {
            EVP_PKEY_get_raw_public_key(self.0.as_ptr(), out.as_mut_ptr(), &raw mut written)
        };
        full(result, written, out)
    }

    /// A hedged signature over `message` with `context` of at most 255 bytes (FIPS 204
    /// algorithm 2); `None` if the library refuses, for instance because this is a public key.
    pub(crate) fn sign(&self, context: &[u8], message: &[u8]) -> Option<Vec<u8>> {
        let operation = Operation::start(self, context, EVP_DigestSignInit)?;
        let mut out = vec![0; Algorithm::MlDsa65.signature_len()];
        let mut written = out.len();
        // SAFETY: the operation was initialised for signing with a live key; `out` has the
        // `written` bytes the function may write at most; `message` is read only.
        let result = unsafe {
            EVP_DigestSign(
                operation.digest.as_ptr(),
                out.as_mut_ptr(),
                &raw mut written,
                message.as_ptr(),
                message.len(),
            )
        };
        full(result, written, out)
    }

    /// Whether `signature` over `message` with `context` holds (FIPS 204 algorithm 3). Every
    /// failure is `false`.
    pub(crate) fn verify(&self, context: &[u8], message: &[u8], signature: &[u8]) -> bool {
        let Some(operation) = Operation::start(self, context, EVP_DigestVerifyInit) else {
            return false;
        };
        // SAFETY: the operation was initialised for verifying with a live key; both slices are
        // read only and described by their own lengths.
        let result = unsafe {
            EVP_DigestVerify(
                operation.digest.as_ptr(),
                signature.as_ptr(),
                signature.len(),
                message.as_ptr(),
                message.len(),
            )
        };
        if result != OK {
            forget_errors();
        }
        result == OK
    }
}

/// `EVP_DigestSignInit` or `EVP_DigestVerifyInit`, which have one signature.
type Init = unsafe extern "C" fn(
    *mut EVP_MD_CTX,
    *mut *mut EVP_PKEY_CTX,
    *const aws_lc_sys::EVP_MD,
    *mut aws_lc_sys::ENGINE,
    *mut EVP_PKEY,
) -> i32;

/// One signing or verifying operation; it takes a reference of its own to the key.
struct Operation {
    digest: NonNull<EVP_MD_CTX>,
}

impl Operation {
    fn start(key: &MlDsa65, context: &[u8], init: Init) -> Option<Self> {
        // SAFETY: allocates, or returns null.
        let digest = NonNull::new(unsafe { EVP_MD_CTX_new() })?;
        let operation = Self { digest };
        let mut options: *mut EVP_PKEY_CTX = ptr::null_mut();
        // SAFETY: the digest context is new and live, the key is live. No digest and no engine
        // are what ML-DSA requires. `options` then points into the digest context, which owns it.
        let result = unsafe {
            init(
                digest.as_ptr(),
                &raw mut options,
                ptr::null(),
                ptr::null_mut(),
                key.0.as_ptr(),
            )
        };
        if result != OK || options.is_null() {
            forget_errors();
            return None;
        }
        // SAFETY: `options` is live as long as `operation`; `context` is copied, and refused if
        // it is longer than 255 bytes.
        let result = unsafe {
            EVP_PKEY_CTX_set1_signature_context_string(options, context.as_ptr(), context.len())
        };
        if result != OK {
            forget_errors();
            return None;
        }
        Some(operation)
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        // SAFETY: we own the context and never use it again; freeing it frees its options too.
        unsafe { EVP_MD_CTX_free(self.digest.as_ptr()) }
    }
}

/// `out` if the call succeeded and filled it entirely.
fn full(result: i32, written: usize, out: Vec<u8>) -> Option<Vec<u8>> {
    if result == OK && written == out.len() {
        return Some(out);
    }
    forget_errors();
    None
}

/// Empties this thread's error queue, so that a later user of the library does not find ours.
fn forget_errors() {
    // SAFETY: touches thread-local state of the library only.
    unsafe { ERR_clear_error() }
}
