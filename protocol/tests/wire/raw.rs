//! COSE_Sign messages taken apart and put together again, without any of the rules.

use minicbor::{Decoder, Encoder};

/// One entry of the signatures array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawSignature {
    /// The encoded protected header.
    pub(crate) protected: Vec<u8>,
    /// The unprotected header, encoded.
    pub(crate) unprotected: Vec<u8>,
    /// The signature.
    pub(crate) bytes: Vec<u8>,
}

/// A COSE_Sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Raw {
    /// The CBOR tag.
    pub(crate) tag: u64,
    /// The encoded protected header.
    pub(crate) protected: Vec<u8>,
    /// The unprotected header, encoded.
    pub(crate) unprotected: Vec<u8>,
    /// The payload.
    pub(crate) payload: Vec<u8>,
    /// The signatures.
    pub(crate) signatures: Vec<RawSignature>,
}

impl Raw {
    /// The parts of a well-formed message.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut d = Decoder::new(bytes);
        let tag = d.tag().unwrap().as_u64();
        assert_eq!(d.array().unwrap(), Some(4));
        let protected = d.bytes().unwrap().to_vec();
        assert_eq!(d.map().unwrap(), Some(0));
        let payload = d.bytes().unwrap().to_vec();
        let signatures = (0..d.array().unwrap().unwrap())
            .map(|_| {
                assert_eq!(d.array().unwrap(), Some(3));
                let protected = d.bytes().unwrap().to_vec();
                assert_eq!(d.map().unwrap(), Some(0));
                let bytes = d.bytes().unwrap().to_vec();
                RawSignature {
                    protected,
                    unprotected: vec![0xa0],
                    bytes,
                }
            })
            .collect();
        assert_eq!(d.position(), bytes.len());
        Self {
            tag,
            protected,
            unprotected: vec![0xa0],
            payload,
            signatures,
        }
    }

    /// The message with these parts, whatever they are.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        head(&mut out, 6, self.tag);
        head(&mut out, 4, 4);
        byte_string(&mut out, &self.protected);
        out.extend_from_slice(&self.unprotected);
        byte_string(&mut out, &self.payload);
        head(&mut out, 4, self.signatures.len() as u64);
        for signature in &self.signatures {
            head(&mut out, 4, 3);
            byte_string(&mut out, &signature.protected);
            out.extend_from_slice(&signature.unprotected);
            byte_string(&mut out, &signature.bytes);
        }
        out
    }
}

/// `bytes` with one part changed.
pub(crate) fn altered(bytes: &[u8], alter: impl FnOnce(&mut Raw)) -> Vec<u8> {
    let mut raw = Raw::of(bytes);
    alter(&mut raw);
    raw.encode()
}

/// `bytes` with the byte at `at` changed.
pub(crate) fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut out = bytes.to_vec();
    out[at] ^= 0x01;
    out
}

/// Where `part` stands in `whole`.
pub(crate) fn find(whole: &[u8], part: &[u8]) -> usize {
    whole
        .windows(part.len())
        .position(|window| window == part)
        .expect("the part stands in the whole")
}

/// `whole` with the first `old` replaced by `new`.
pub(crate) fn replaced(whole: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let at = find(whole, old);
    [&whole[..at], new, &whole[at + old.len()..]].concat()
}

/// A CBOR byte string.
pub(crate) fn byte_string(out: &mut Vec<u8>, bytes: &[u8]) {
    head(out, 2, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn head(out: &mut Vec<u8>, major: u8, argument: u64) {
    let mut encoded = Vec::new();
    Encoder::new(&mut encoded).u64(argument).unwrap();
    encoded[0] |= major << 5;
    out.extend_from_slice(&encoded);
}
