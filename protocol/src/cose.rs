//! COSE_Sign (RFC 9052 §4.1) as Hedgerow uses it, and nothing more of COSE.
//!
//! ```text
//! 98([ body_protected: bstr, {}, payload: bstr,
//!      [ [ {1: alg, 4: kid}: bstr, {}, signature: bstr ], … ] ])
//! ```
//! Unprotected maps are empty, the payload is attached, each signature's protected header is
//! exactly `{alg, kid}`. A signer signs once with every algorithm of the suite, in the suite's
//! order (−49 ML-DSA-65, −19 Ed25519); the pairs of several signers follow one another. **There
//! is no way to verify one signature of a pair.** Verification is over the exact bytes received.

use minicbor::{Decoder, Encoder};

use crate::codec::{self, CodecError};
use crate::crypto::{Algorithm, Crypto, CryptoError, Signer, SigningSet, Suite};
use crate::id::Kid;

/// CBOR tag of a COSE_Sign.
const TAG_COSE_SIGN: u64 = 98;

/// Most signatures in one message: 32 signers of two.
const MAX_SIGNATURES: u64 = 64;

/// Why a COSE_Sign is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CoseError {
    /// The bytes are not the one encoding of a COSE_Sign of this profile.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// An unprotected header map is not empty.
    #[error("an unprotected header is not empty")]
    UnprotectedHeader,
    /// A signature's protected header is not exactly {alg, kid} with an algorithm of the suite.
    #[error("a signature header is not exactly algorithm and key id of the suite")]
    SignatureHeader,
    /// No signature at all.
    #[error("no signatures")]
    Unsigned,
    /// A signer's pair is incomplete.
    #[error("only one of the two signatures is there")]
    HalfSigned,
    /// More signatures than the document may have.
    #[error("more signatures than allowed")]
    TooManySignatures,
    /// The signatures of a pair stand in the wrong order.
    #[error("the two signatures are in the wrong order")]
    SwappedSignatures,
    /// The same signature algorithm twice where a pair should be, or one signer twice.
    #[error("a signer or an algorithm stands twice")]
    DuplicateSignature,
    /// A key id belongs to no signing set that may sign here.
    #[error("a key id is not one of the signer's")]
    UnknownKey,
    /// A signature does not verify.
    #[error("the {0} signature does not verify")]
    BadSignature(&'static str),
    /// Signatures are to be put together that are not over the same bytes.
    #[error("the signatures are over other content")]
    OtherContent,
    /// Fewer distinct signers than the threshold.
    #[error("{found} of {needed} required signers")]
    UnderThreshold {
        /// Signers required.
        needed: usize,
        /// Valid distinct signers found.
        found: usize,
    },
}

impl CoseError {
    /// The stable name of the refusal.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Codec(e) => e.reason(),
            Self::UnprotectedHeader => "unprotected_header",
            Self::SignatureHeader => "signature_header",
            Self::Unsigned => "unsigned",
            Self::HalfSigned => "half_signed",
            Self::TooManySignatures => "too_many_signatures",
            Self::SwappedSignatures => "swapped_signatures",
            Self::DuplicateSignature => "duplicate_signature",
            Self::UnknownKey => "unknown_key",
            Self::BadSignature(_) => "bad_signature",
            Self::OtherContent => "other_content",
            Self::UnderThreshold { .. } => "under_threshold",
        }
    }
}

/// One signature as it stands in the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature<'a> {
    /// Its algorithm.
    pub algorithm: Algorithm,
    /// The key it names.
    pub kid: Kid,
    protected: &'a [u8],
    bytes: &'a [u8],
}

/// Those of whom a number must sign.
#[derive(Debug, Clone, Copy)]
pub struct Quorum<'a> {
    /// Who may sign.
    pub sets: &'a [SigningSet],
    /// How many distinct ones must.
    pub needed: usize,
}

/// A parsed, *unverified* COSE_Sign, borrowing from the received bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoseSign<'a> {
    /// The body's protected header, encoded.
    pub protected: &'a [u8],
    /// The payload.
    pub payload: &'a [u8],
    /// The signatures in order.
    pub signatures: Vec<Signature<'a>>,
}

impl<'a> CoseSign<'a> {
    /// Parses `bytes` (at most `max` of them) without verifying anything.
    ///
    /// # Errors
    /// Everything that is not exactly this profile.
    pub fn parse(bytes: &'a [u8], max: usize) -> Result<Self, CoseError> {
        codec::scan(bytes, max)?;
        let mut d = Decoder::new(bytes);
        if d.tag().map_err(malformed)?.as_u64() != TAG_COSE_SIGN {
            return Err(malformed_text("not a COSE_Sign").into());
        }
        array(&mut d, 4)?;
        let protected = d.bytes().map_err(malformed)?;
        empty_map(&mut d)?;
        let payload = d.bytes().map_err(malformed)?;
        let count = d.array().map_err(malformed)?.unwrap_or(0);
        if count > MAX_SIGNATURES {
            return Err(CoseError::TooManySignatures);
        }
        let mut signatures = Vec::new();
        for _ in 0..count {
            array(&mut d, 3)?;
            let sign_protected = d.bytes().map_err(malformed)?;
            empty_map(&mut d)?;
            let bytes = d.bytes().map_err(malformed)?;
            let (algorithm, kid) =
                read_sign_protected(sign_protected).ok_or(CoseError::SignatureHeader)?;
            signatures.push(Signature {
                algorithm,
                kid,
                protected: sign_protected,
                bytes,
            });
        }
        // The scan has already refused every non-shortest head and trailing bytes, and all the
        // heads of this fixed shape were just read: the encoding is the only one.
        Ok(Self {
            protected,
            payload,
            signatures,
        })
    }

    /// Verifies that exactly one signer signed, and that it is `set`.
    ///
    /// # Errors
    /// Any other number, order or kind of signatures, foreign keys, and signatures that do not
    /// verify over these bytes and `external_aad`.
    pub fn verify_one(
        &self,
        crypto: &dyn Crypto,
        set: &SigningSet,
        external_aad: &[u8],
    ) -> Result<(), CoseError> {
        let pairs = self.pairs()?;
        match pairs.as_slice() {
            [pair] => {
                self.belongs(crypto, pair, set)?;
                self.verify_pair(crypto, pair, set, external_aad)
            }
            _ => Err(CoseError::TooManySignatures),
        }
    }

    /// The kids of the single signer's pair, in suite order, after the structural checks and
    /// before any signature was looked at.
    ///
    /// # Errors
    /// Any other number, order or kind of signatures.
    pub fn single_signer(&self) -> Result<Vec<Kid>, CoseError> {
        match self.pairs()?.as_slice() {
            [pair] => Ok(pair.iter().map(|s| s.kid).collect()),
            _ => Err(CoseError::TooManySignatures),
        }
    }

    /// Verifies that at least `needed` *distinct* members of `sets` signed. Every signature
    /// present must verify: a document that carries a bad one is not accepted for its good ones.
    ///
    /// # Errors
    /// As [`CoseSign::verify_one`], and [`CoseError::UnderThreshold`].
    pub fn verify_threshold(
        &self,
        crypto: &dyn Crypto,
        sets: &[SigningSet],
        needed: usize,
        external_aad: &[u8],
    ) -> Result<(), CoseError> {
        self.verify_quorums(crypto, &[Quorum { sets, needed }], external_aad)
    }

    /// Verifies that every one of `quorums` is met: old *and* new admins of a root that changes
    /// them. A signer who is in several counts in each, and stands once; a signer in none is
    /// refused, and so is any signature that does not verify.
    ///
    /// # Errors
    /// As [`CoseSign::verify_threshold`].
    pub fn verify_quorums(
        &self,
        crypto: &dyn Crypto,
        quorums: &[Quorum<'_>],
        external_aad: &[u8],
    ) -> Result<(), CoseError> {
        let pairs = self.pairs()?;
        let mut signers: Vec<&SigningSet> = Vec::new();
        for pair in &pairs {
            let signer = quorums
                .iter()
                .flat_map(|quorum| quorum.sets)
                .find(|set| self.belongs(crypto, pair, set).is_ok())
                .ok_or(CoseError::UnknownKey)?;
            if signers.contains(&signer) {
                return Err(CoseError::DuplicateSignature);
            }
            signers.push(signer);
        }
        for quorum in quorums {
            let found = signers.iter().filter(|s| quorum.sets.contains(s)).count();
            if found < quorum.needed {
                let needed = quorum.needed;
                return Err(CoseError::UnderThreshold { needed, found });
            }
        }
        for (pair, signer) in pairs.iter().zip(signers) {
            self.verify_pair(crypto, pair, signer, external_aad)?;
        }
        Ok(())
    }

    /// Verifies every pair there is, none included, and says whose they are, in the order in which
    /// they stand. For a document that still gathers signatures; never a reason to accept it.
    ///
    /// # Errors
    /// As [`CoseSign::verify_threshold`], the threshold excepted.
    pub fn verified_signers<'s>(
        &self,
        crypto: &dyn Crypto,
        sets: &'s [SigningSet],
        external_aad: &[u8],
    ) -> Result<Vec<&'s SigningSet>, CoseError> {
        if self.signatures.is_empty() {
            return Ok(Vec::new());
        }
        self.verify_threshold(crypto, sets, 0, external_aad)?;
        let owner = |pair: &&[Signature<'a>]| {
            sets.iter()
                .find(|set| self.belongs(crypto, pair, set).is_ok())
        };
        Ok(self.pairs()?.iter().filter_map(owner).collect())
    }

    /// This message with the signatures of `others` behind its own, as far as they are by other
    /// keys; nothing is verified. `others` must be over the same header and payload.
    ///
    /// # Errors
    /// [`CoseError::OtherContent`] if it is not; [`CoseError::TooManySignatures`].
    pub fn with_signatures_of(&self, others: &CoseSign<'_>) -> Result<Vec<u8>, CoseError> {
        if self.protected != others.protected || self.payload != others.payload {
            return Err(CoseError::OtherContent);
        }
        let foreign = |s: &&Signature<'_>| self.signatures.iter().all(|own| own.kid != s.kid);
        let all: Vec<(&[u8], &[u8])> = self
            .signatures
            .iter()
            .chain(others.signatures.iter().filter(foreign))
            .map(|s| (s.protected, s.bytes))
            .collect();
        if all.len() as u64 > MAX_SIGNATURES {
            return Err(CoseError::TooManySignatures);
        }
        Ok(assemble(self.protected, self.payload, &all))
    }

    /// The signatures grouped by signer, each group complete and in suite order.
    fn pairs(&self) -> Result<Vec<&[Signature<'a>]>, CoseError> {
        let wanted = Suite::Hybrid.algorithms();
        if self.signatures.is_empty() {
            return Err(CoseError::Unsigned);
        }
        let mut pairs = Vec::new();
        for group in self.signatures.chunks(wanted.len()) {
            if group.len() < wanted.len() {
                // Two and one more: somebody appended; one alone: somebody stripped.
                let appended = !pairs.is_empty();
                return Err(if appended {
                    CoseError::TooManySignatures
                } else {
                    CoseError::HalfSigned
                });
            }
            let found: Vec<Algorithm> = group.iter().map(|s| s.algorithm).collect();
            if found != wanted {
                let twice = found
                    .iter()
                    .any(|a| found.iter().filter(|b| *b == a).count() > 1);
                return Err(if twice {
                    CoseError::DuplicateSignature
                } else {
                    CoseError::SwappedSignatures
                });
            }
            pairs.push(group);
        }
        Ok(pairs)
    }

    fn belongs(
        &self,
        crypto: &dyn Crypto,
        pair: &[Signature<'a>],
        set: &SigningSet,
    ) -> Result<(), CoseError> {
        let own = pair.iter().all(|s| s.kid == set.kid(crypto, s.algorithm));
        if own {
            Ok(())
        } else {
            Err(CoseError::UnknownKey)
        }
    }

    fn verify_pair(
        &self,
        crypto: &dyn Crypto,
        pair: &[Signature<'a>],
        set: &SigningSet,
        external_aad: &[u8],
    ) -> Result<(), CoseError> {
        // Ed25519 first: it is the cheaper one, so a forger buys as little work as possible.
        for signature in pair.iter().rev() {
            let message = sig_structure(
                self.protected,
                signature.protected,
                external_aad,
                self.payload,
            );
            let algorithm = signature.algorithm;
            crypto
                .verify(algorithm, set.key(algorithm), &message, signature.bytes)
                .map_err(|_| CoseError::BadSignature(name(algorithm)))?;
        }
        Ok(())
    }
}

/// Signs `payload` under `protected` with every signer's full suite and encodes the message.
///
/// # Errors
/// [`CryptoError`] of the first signature that could not be made.
pub fn sign(
    crypto: &dyn Crypto,
    signers: &[&dyn Signer],
    protected: &[u8],
    payload: &[u8],
    external_aad: &[u8],
) -> Result<Vec<u8>, CryptoError> {
    let mut signatures = Vec::new();
    for signer in signers {
        for &algorithm in Suite::Hybrid.algorithms() {
            let kid = signer.public().kid(crypto, algorithm);
            let head = sign_protected(algorithm, &kid);
            let message = sig_structure(protected, &head, external_aad, payload);
            signatures.push((head, signer.sign(algorithm, &message)?));
        }
    }
    Ok(assemble(protected, payload, &signatures))
}

/// `payload` under `protected` without any signature: what a document that gathers signatures
/// begins as. No verifier takes it.
#[must_use]
pub fn unsigned(protected: &[u8], payload: &[u8]) -> Vec<u8> {
    assemble::<&[u8]>(protected, payload, &[])
}

fn assemble<B: AsRef<[u8]>>(protected: &[u8], payload: &[u8], signatures: &[(B, B)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(protected.len() + payload.len() + 4096);
    let mut e = Encoder::new(&mut out);
    let written: Result<(), minicbor::encode::Error<core::convert::Infallible>> = (|| {
        e.tag(minicbor::data::Tag::new(TAG_COSE_SIGN))?.array(4)?;
        e.bytes(protected)?.map(0)?.bytes(payload)?;
        e.array(signatures.len() as u64)?;
        for (head, signature) in signatures {
            e.array(3)?.bytes(head.as_ref())?.map(0)?;
            e.bytes(signature.as_ref())?;
        }
        Ok(())
    })();
    // Infallible: the writer is a Vec.
    if written.is_err() {
        out.clear();
    }
    out
}

/// `["Signature", body_protected, sign_protected, external_aad, payload]` (RFC 9052 §4.4).
fn sig_structure(
    protected: &[u8],
    sign_protected: &[u8],
    external_aad: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let size = protected.len() + sign_protected.len() + external_aad.len() + payload.len();
    let mut out = Vec::with_capacity(size + 40);
    let mut e = Encoder::new(&mut out);
    let written: Result<(), minicbor::encode::Error<core::convert::Infallible>> = (|| {
        e.array(5)?.str("Signature")?;
        e.bytes(protected)?
            .bytes(sign_protected)?
            .bytes(external_aad)?
            .bytes(payload)?;
        Ok(())
    })();
    if written.is_err() {
        out.clear();
    }
    out
}

/// `{1: alg, 4: kid}` in deterministic encoding.
fn sign_protected(algorithm: Algorithm, kid: &Kid) -> Vec<u8> {
    let mut out = sign_protected_prefix(algorithm).to_vec();
    out.extend_from_slice(kid.as_bytes());
    out
}

/// Everything of a signature's protected header before the kid's bytes.
const fn sign_protected_prefix(algorithm: Algorithm) -> &'static [u8] {
    match algorithm {
        Algorithm::MlDsa65 => &[0xa2, 0x01, 0x38, 0x30, 0x04, 0x58, 0x20],
        Algorithm::Ed25519 => &[0xa2, 0x01, 0x32, 0x04, 0x58, 0x20],
    }
}

fn read_sign_protected(bytes: &[u8]) -> Option<(Algorithm, Kid)> {
    Suite::Hybrid.algorithms().iter().find_map(|&algorithm| {
        let kid = bytes.strip_prefix(sign_protected_prefix(algorithm))?;
        Some((algorithm, Kid::try_from(kid).ok()?))
    })
}

const fn name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::MlDsa65 => "ML-DSA-65",
        Algorithm::Ed25519 => "Ed25519",
    }
}

fn array(d: &mut Decoder<'_>, length: u64) -> Result<(), CoseError> {
    match d.array().map_err(malformed)? {
        Some(found) if found == length => Ok(()),
        _ => Err(malformed_text("an array of another length").into()),
    }
}

fn empty_map(d: &mut Decoder<'_>) -> Result<(), CoseError> {
    match d.map().map_err(malformed)? {
        Some(0) => Ok(()),
        _ => Err(CoseError::UnprotectedHeader),
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "used as a function in map_err"
)]
fn malformed(error: minicbor::decode::Error) -> CodecError {
    CodecError::Malformed(error.to_string().chars().take(120).collect())
}

fn malformed_text(text: &str) -> CodecError {
    CodecError::Malformed(text.to_owned())
}
