//! Identifiers: fixed-size newtypes, so that no two kinds of 32 bytes can be confused.
//!
//! Every identifier is derived from content or drawn at random, never from bytes that
//! contain a signature: a signature can be re-encoded, what it covers cannot. `Debug` and
//! `Display` show the long form, `short()` the form for humans and logs. CBOR encodes each
//! as a byte string of exactly its size.

use crate::crypto::Crypto;
use crate::crypto::domain;

/// What is wrong with the text or bytes of an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is longer than any identifier; it was not decoded.
    #[error("an identifier has at most {max} characters, this one has {found}")]
    TooLong {
        /// The bound.
        max: usize,
        /// What was found.
        found: usize,
    },
    /// The text uses characters outside its alphabet.
    #[error("not a valid identifier: expected {expected}")]
    Alphabet {
        /// What kind of text was expected.
        expected: &'static str,
    },
    /// The text decodes, but to another number of bytes.
    #[error("an identifier of this kind has {expected} bytes, this one has {found}")]
    Length {
        /// Bytes expected.
        expected: usize,
        /// Bytes found.
        found: usize,
    },
}

/// Longest text accepted for any identifier: twice the hex form of 32 bytes.
const MAX_TEXT: usize = 128;

macro_rules! bytes_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Size in bytes.
            pub const LEN: usize = $len;

            /// The identifier with exactly these bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = IdError;

            fn try_from(bytes: &[u8]) -> Result<Self, IdError> {
                bytes.try_into().map(Self).map_err(|_| IdError::Length {
                    expected: $len,
                    found: bytes.len(),
                })
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        impl<C> minicbor::Encode<C> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                e.bytes(&self.0)?.ok()
            }
        }

        impl<'b, C> minicbor::Decode<'b, C> for $name {
            fn decode(
                d: &mut minicbor::Decoder<'b>,
                _: &mut C,
            ) -> Result<Self, minicbor::decode::Error> {
                let at = d.position();
                Self::try_from(d.bytes()?).map_err(|_| {
                    minicbor::decode::Error::message(concat!(
                        stringify!($name),
                        ": wrong number of bytes"
                    ))
                    .at(at)
                })
            }
        }

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl core::str::FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let bytes = Self::decode_text(text)?;
                Self::try_from(bytes.as_slice())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

macro_rules! hex_text {
    ($name:ident) => {
        impl $name {
            /// The first eight hex digits, for humans; never for comparison.
            #[must_use]
            pub fn short(&self) -> String {
                self.to_string().chars().take(8).collect()
            }

            fn decode_text(text: &str) -> Result<Vec<u8>, IdError> {
                bounded(text)?;
                if text.bytes().any(|b| b.is_ascii_uppercase()) {
                    return Err(IdError::Alphabet {
                        expected: "lowercase hexadecimal digits",
                    });
                }
                hex::decode(text).map_err(|_| IdError::Alphabet {
                    expected: "lowercase hexadecimal digits",
                })
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }
    };
}

bytes_id!(
    /// A node: SHA-256 of its 1984-byte composite TLS identity key. As text the base58btc of
    /// the multihash `12 20 ‖ hash`, which is also a libp2p PeerId (`Qm…`).
    NodeId, 32
);
bytes_id!(
    /// A mesh: SHA-256 over the *content* of its genesis root, never over signatures, so that
    /// different subsets of signing admins found the same mesh. Lowercase hex as text.
    MeshId, 32
);
bytes_id!(
    /// An envelope: SHA-256 over label, mesh, protected header and payload. Replay, parent
    /// links and records refer to it. Lowercase hex as text.
    EnvelopeId, 32
);
bytes_id!(
    /// A signing key: SHA-256 of its public COSE_Key in deterministic encoding. Lowercase hex
    /// as text.
    Kid, 32
);
bytes_id!(
    /// A signing set in a role (admin, issuer, timestamper): the labelled hash of its encoding.
    /// Lowercase hex as text.
    SignerId, 32
);
bytes_id!(
    /// A ticket: the labelled hash of its secret, which it does not give away. Lowercase hex as
    /// text.
    TicketId, 32
);
bytes_id!(
    /// Thirty-two random bytes that an issuer draws for one join stream; what answers them was made
    /// for that stream.
    Challenge, 32
);
bytes_id!(
    /// A SHA-256 digest of something else: a body, a tool definition, a posture, a record.
    /// Lowercase hex as text.
    Digest, 32
);
bytes_id!(
    /// Sixteen random bytes that ingress draws for one request; copies of the request keep it.
    RequestId, 16
);
bytes_id!(
    /// Sixteen random bytes that ingress draws for one MCP session with one server.
    SessionId, 16
);
bytes_id!(
    /// Sixteen random bytes that a node draws for one call it holds until somebody approves it.
    /// Lowercase hex as text.
    ApprovalId, 16
);
bytes_id!(
    /// Sixteen random bytes that make every envelope unique (CWT `cti`).
    Cti, 16
);
bytes_id!(
    /// Thirty-two random bytes that blind the body digest; they stand in no header.
    Salt, 32
);
bytes_id!(
    /// One entry of a revocation log: the labelled hash of mesh, admin and encoded entry, so that
    /// nobody can lift an entry that was not there. Lowercase hex as text.
    EntryId, 32
);

hex_text!(EntryId);
hex_text!(MeshId);
hex_text!(EnvelopeId);
hex_text!(Kid);
hex_text!(SignerId);
hex_text!(TicketId);
hex_text!(Challenge);
hex_text!(Digest);
hex_text!(RequestId);
hex_text!(SessionId);
hex_text!(ApprovalId);
hex_text!(Cti);
hex_text!(Salt);

/// Multihash prefix of a NodeId: code 0x12 (sha2-256), length 0x20.
const MULTIHASH_SHA256: [u8; 2] = [0x12, 0x20];

impl NodeId {
    /// The NodeId of a composite TLS identity public key (the raw 1984 bytes, without SPKI).
    #[must_use]
    pub fn of_tls_key(crypto: &dyn Crypto, public_key: &[u8]) -> Self {
        Self(crypto.sha256(&[public_key]))
    }

    /// `Qm` and the last six characters, which differ between nodes: `Qm…x7Tq3K`.
    #[must_use]
    pub fn short(&self) -> String {
        let long = self.to_string();
        let tail: String = long
            .chars()
            .skip(long.chars().count().saturating_sub(6))
            .collect();
        format!("Qm\u{2026}{tail}")
    }

    fn decode_text(text: &str) -> Result<Vec<u8>, IdError> {
        bounded(text)?;
        let expected = "a node id (`Qm…`)";
        let bytes = bs58::decode(text)
            .into_vec()
            .map_err(|_| IdError::Alphabet { expected })?;
        match bytes.strip_prefix(&MULTIHASH_SHA256) {
            Some(hash) => Ok(hash.to_vec()),
            None => Err(IdError::Alphabet { expected }),
        }
    }
}

impl core::fmt::Display for NodeId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let mut bytes = [0_u8; 34];
        let (prefix, hash) = bytes.split_at_mut(MULTIHASH_SHA256.len());
        prefix.copy_from_slice(&MULTIHASH_SHA256);
        hash.copy_from_slice(&self.0);
        f.write_str(&bs58::encode(bytes).into_string())
    }
}

impl Digest {
    /// SHA-256 over `label` and the length-prefixed `parts` ([`crate::crypto::join_digest`]).
    #[must_use]
    pub fn over(crypto: &dyn Crypto, label: domain::Label, parts: &[&[u8]]) -> Self {
        Self(crate::crypto::join_digest(crypto, label, parts))
    }
}

fn bounded(text: &str) -> Result<(), IdError> {
    if text.len() > MAX_TEXT {
        return Err(IdError::TooLong {
            max: MAX_TEXT,
            found: text.len(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_id_reads_back_and_starts_with_qm() {
        let id = NodeId::from_bytes([7; 32]);
        let text = id.to_string();
        assert!(text.starts_with("Qm"), "{text}");
        assert_eq!(text.parse::<NodeId>(), Ok(id));
        assert!(id.short().starts_with("Qm\u{2026}"));
    }

    #[test]
    fn wrong_text_is_refused() {
        assert!(matches!(
            "Qm0".parse::<NodeId>(),
            Err(IdError::Alphabet { .. })
        ));
        assert!(matches!("AA".parse::<Kid>(), Err(IdError::Alphabet { .. })));
        assert!(matches!("aa".parse::<Kid>(), Err(IdError::Length { .. })));
        assert!(matches!(
            "a".repeat(200).parse::<Kid>(),
            Err(IdError::TooLong { .. })
        ));
    }
}
