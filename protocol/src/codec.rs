//! The strict codec: RFC 8949 §4.2.1 deterministic CBOR, or nothing.
//!
//! Strictness is one function, [`decode`]: bound the size, scan the shape (depth, definite
//! lengths, shortest integers, no floats, nothing behind the item), decode, encode again, and
//! demand equal bytes. The scan refuses what would cost memory or stack before anything is
//! built; the comparison refuses what the scan does not look for: unknown keys, duplicate keys,
//! keys out of order, absent fields written as null. A type that goes through here therefore
//! has exactly one encoding.
//!
//! Types derive minicbor's `Encode` and `Decode` with integer keys *declared in bytewise key
//! order*; each has a test that says so by round-tripping through [`decode`].

use minicbor::{Decode, Encode};

use crate::limits::MAX_CBOR_DEPTH;

/// Why bytes are not the one encoding of a value of the wanted type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Larger than the bound for its kind; nothing was read.
    #[error("{found} bytes where at most {max} are allowed")]
    Oversized {
        /// The bound in bytes.
        max: usize,
        /// The size found.
        found: usize,
    },
    /// Nested deeper than [`MAX_CBOR_DEPTH`].
    #[error("nested deeper than {MAX_CBOR_DEPTH} levels")]
    TooDeep,
    /// The bytes end before the item does, or declare a length they do not have.
    #[error("the bytes end before the item does")]
    Truncated,
    /// Well-formed CBOR, but not in the one deterministic form: an indefinite length, a longer
    /// integer than needed, bytes behind the item, an unknown, duplicate or misplaced key.
    #[error("not deterministic CBOR: {0}")]
    NonCanonical(&'static str),
    /// Not CBOR of this type: a wrong major type, a float, a missing field, a value out of range.
    #[error("malformed: {0}")]
    Malformed(String),
}

impl CodecError {
    /// The stable name of the refusal.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Oversized { .. } => "oversized",
            Self::TooDeep => "too_deep",
            Self::Truncated => "truncated",
            Self::NonCanonical(_) => "non_canonical",
            Self::Malformed(_) => "malformed",
        }
    }
}

/// Decodes `bytes` as the one deterministic encoding of a `T`, at most `max` bytes long.
///
/// # Errors
/// Every way in which they are not, by name.
pub fn decode<'b, T>(bytes: &'b [u8], max: usize) -> Result<T, CodecError>
where
    T: Decode<'b, ()> + Encode<()>,
{
    scan(bytes, max)?;
    let value: T = minicbor::decode(bytes).map_err(|e| CodecError::Malformed(bounded_text(&e)))?;
    // Encoded again against the bytes themselves: nothing is kept, and the first difference ends it.
    let mut against = Against(bytes);
    match minicbor::encode(&value, &mut against) {
        Ok(()) if against.0.is_empty() => Ok(value),
        _ => Err(CodecError::NonCanonical(
            "an unknown, duplicate or misplaced key",
        )),
    }
}

/// A writer that takes only what stands in these bytes, and has what is left of them.
struct Against<'b>(&'b [u8]);

/// What was written differs.
#[derive(Debug)]
struct Differs;

impl minicbor::encode::Write for Against<'_> {
    type Error = Differs;

    fn write_all(&mut self, written: &[u8]) -> Result<(), Differs> {
        self.0 = self.0.strip_prefix(written).ok_or(Differs)?;
        Ok(())
    }
}

/// The deterministic encoding of `value`.
#[must_use]
pub fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    match minicbor::encode(value, &mut out) {
        Ok(()) => out,
        // Writing to a Vec cannot fail and no Encode of ours reports an error; an empty result
        // would fail every comparison and signature anyway.
        Err(_) => Vec::new(),
    }
}

fn bounded_text(error: &minicbor::decode::Error) -> String {
    error.to_string().chars().take(120).collect()
}

/// Checks the shape of exactly one CBOR item without building anything: at most `max` bytes,
/// at most [`MAX_CBOR_DEPTH`] levels, definite lengths that the bytes can hold, shortest
/// argument encodings, no floats, no trailing bytes.
///
/// # Errors
/// The first violation, by name.
pub fn scan(bytes: &[u8], max: usize) -> Result<(), CodecError> {
    if bytes.len() > max {
        return Err(CodecError::Oversized {
            max,
            found: bytes.len(),
        });
    }
    // How many items each open container still waits for.
    let mut open: Vec<u64> = Vec::with_capacity(MAX_CBOR_DEPTH);
    let mut rest = bytes;
    loop {
        let (major, argument, after) = head(rest)?;
        rest = after;
        let children = match major {
            2 | 3 => {
                let length = usize::try_from(argument).map_err(|_| CodecError::Truncated)?;
                rest = rest.get(length..).ok_or(CodecError::Truncated)?;
                0
            }
            4 => argument,
            5 => argument.checked_mul(2).ok_or(CodecError::Truncated)?,
            6 => 1,
            _ => 0,
        };
        if children > 0 {
            // Every child is at least one byte: a declared length of 2^63 dies here.
            if children > rest.len() as u64 {
                return Err(CodecError::Truncated);
            }
            if open.len() == MAX_CBOR_DEPTH {
                return Err(CodecError::TooDeep);
            }
            open.push(children);
            continue;
        }
        // This item is complete; so may be the containers around it.
        loop {
            match open.last_mut() {
                None if rest.is_empty() => return Ok(()),
                None => return Err(CodecError::NonCanonical("bytes behind the item")),
                Some(waiting) => {
                    *waiting -= 1;
                    if *waiting > 0 {
                        break;
                    }
                    open.pop();
                }
            }
        }
    }
}

/// One item head: major type, argument and what follows.
fn head(bytes: &[u8]) -> Result<(u8, u64, &[u8]), CodecError> {
    let (&first, rest) = bytes.split_first().ok_or(CodecError::Truncated)?;
    let (major, info) = (first >> 5, first & 0x1f);
    if major == 7 {
        return match info {
            20..=22 => Ok((7, u64::from(info), rest)),
            25..=27 => Err(CodecError::Malformed("floats are not used".to_owned())),
            _ => Err(CodecError::Malformed(
                "an unassigned simple value".to_owned(),
            )),
        };
    }
    let (argument, rest) = match info {
        0..=23 => return Ok((major, u64::from(info), rest)),
        24..=27 => {
            let width = 1_usize << (info - 24);
            let (raw, rest) = rest.split_at_checked(width).ok_or(CodecError::Truncated)?;
            (
                raw.iter().fold(0_u64, |n, &b| (n << 8) | u64::from(b)),
                rest,
            )
        }
        31 => return Err(CodecError::NonCanonical("an indefinite length")),
        _ => return Err(CodecError::Malformed("a reserved length".to_owned())),
    };
    let shortest = match info {
        24 => argument >= 24,
        25 => argument > 0xff,
        26 => argument > 0xffff,
        _ => argument > 0xffff_ffff,
    };
    if !shortest {
        return Err(CodecError::NonCanonical("an integer longer than needed"));
    }
    Ok((major, argument, rest))
}

/// `NodeId` as CBOR text (`Qm…`), for the CWT claims `iss` and `aud`, which RFC 8392 makes text.
/// Used through minicbor's `with` attribute.
pub mod node_text {
    use crate::id::NodeId;

    /// Writes the text form.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn encode<C, W: minicbor::encode::Write>(
        id: &NodeId,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.str(&id.to_string())?.ok()
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// Anything but the text of a node id.
    pub fn decode<C>(
        d: &mut minicbor::Decoder<'_>,
        _: &mut C,
    ) -> Result<NodeId, minicbor::decode::Error> {
        let at = d.position();
        d.str()?
            .parse()
            .map_err(|_| minicbor::decode::Error::message("not a node id").at(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Encode, Decode)]
    #[cbor(map)]
    struct Sample {
        #[n(1)]
        a: u64,
        #[n(2)]
        b: Option<String>,
        #[n(-1)]
        c: bool,
    }

    fn sample() -> Vec<u8> {
        encode(&Sample {
            a: 500,
            b: None,
            c: true,
        })
    }

    fn refused(bytes: &[u8]) -> &'static str {
        decode::<Sample>(bytes, 100).unwrap_err().reason()
    }

    #[test]
    fn one_value_one_encoding() {
        assert_eq!(sample(), [0xa2, 0x01, 0x19, 0x01, 0xf4, 0x20, 0xf5]);
        assert_eq!(
            decode::<Sample>(&sample(), 100).unwrap(),
            Sample {
                a: 500,
                b: None,
                c: true
            }
        );
    }

    #[test]
    fn every_other_encoding_is_refused_by_name() {
        assert_eq!(refused(&[&sample()[..], &[0]].concat()), "non_canonical"); // trailing
        assert_eq!(refused(&[0xa2, 0x20, 0xf5, 0x01, 0x01]), "non_canonical"); // order
        assert_eq!(
            refused(&[0xa3, 0x01, 0x01, 0x01, 0x01, 0x20, 0xf5]),
            "non_canonical"
        ); // dup
        assert_eq!(
            refused(&[0xa3, 0x01, 0x01, 0x05, 0x01, 0x20, 0xf5]),
            "non_canonical"
        ); // unknown
        assert_eq!(
            refused(&[0xa3, 0x01, 0x01, 0x02, 0xf6, 0x20, 0xf5]),
            "non_canonical"
        ); // null
        assert_eq!(
            refused(&[0xa2, 0x01, 0x18, 0x01, 0x20, 0xf5]),
            "non_canonical"
        ); // long int
        assert_eq!(
            refused(&[0xbf, 0x01, 0x01, 0x20, 0xf5, 0xff]),
            "non_canonical"
        ); // indefinite
        assert_eq!(
            refused(&[0xa2, 0x01, 0xf9, 0x3c, 0x00, 0x20, 0xf5]),
            "malformed"
        ); // float
        assert_eq!(refused(&[0xa1, 0x01, 0x01]), "malformed"); // missing field
        assert_eq!(refused(&[0x9b, 0x80, 0, 0, 0, 0, 0, 0, 0]), "truncated"); // 2^63 items
        assert_eq!(refused(&[0x5b, 0x80, 0, 0, 0, 0, 0, 0, 0]), "truncated"); // 2^63 bytes
        assert_eq!(refused(&[0x81; 50]), "too_deep");
        assert_eq!(refused(&[0; 101]), "oversized");
        for cut in 0..sample().len() {
            assert_eq!(refused(&sample()[..cut]), "truncated", "cut at {cut}");
        }
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_only_canonical_ones_pass(bytes: Vec<u8>) {
            if let Ok(value) = decode::<Sample>(&bytes, 4096) {
                assert_eq!(encode(&value), bytes);
            }
        }
    }
}
