//! Tickets: one line of text that lets a host join a mesh.
//!
//! A ticket names its mesh, its issuer and some nodes to ask, and holds a secret of 256 bits that
//! is never sent: the joiner shows a MAC over its own keys and the issuer's fresh challenge. The
//! issuer keeps [`TicketSecret::id`] and [`TicketSecret::mac_key`], neither of which gives the
//! secret back. What a ticket grants (groups, site, uses, end) is kept by its issuer alone, so that
//! it can be revoked and nobody can alter it.
//!
//! Whoever has the text may join: it is a bearer token, wiped when dropped, absent from `Debug`.

use core::fmt;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::PeerAddress;
use super::admission::bounded_addresses;
use crate::codec::{self, CodecError};
use crate::crypto::{Crypto, CryptoError, SigningSet, domain, join_digest};
use crate::id::{Challenge, Digest, MeshId, NodeId, SignerId, TicketId};

/// What every ticket begins with; the digit is the version of the format.
pub const PREFIX: &str = "hedgerow1";

/// Longest text read as a ticket. The longest honest one (eight bootstraps) is a third of it.
pub const MAX_TICKET_CHARS: usize = 8 * 1024;

/// Most bootstraps of a ticket.
pub const MAX_BOOTSTRAPS: usize = 8;

/// Bytes of the checksum behind the content: one damaged ticket in 2^32 goes unnoticed, and then
/// fails later.
const CHECKSUM_LEN: usize = 4;

/// Bytes of the secret.
const SECRET_LEN: usize = 32;

/// RFC 4648 base32, in lower case.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Why a text is no ticket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// It does not begin as one.
    #[error("not a ticket: a ticket begins with `{PREFIX}`")]
    NotATicket,
    /// Longer than any ticket.
    #[error("not a ticket: longer than {MAX_TICKET_CHARS} characters")]
    TooLong,
    /// Part of it is missing or changed.
    #[error("the ticket is damaged: its checksum does not fit")]
    Damaged,
    /// The checksum fits, the content does not: made by another version, or by hand.
    #[error("the ticket cannot be read: {0}")]
    Content(#[from] CodecError),
    /// A field is out of bounds.
    #[error("the ticket cannot be used: its {0} are out of bounds")]
    Field(&'static str),
}

impl TicketError {
    /// The stable name of the refusal.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NotATicket => "not_a_ticket",
            Self::TooLong => "ticket_too_long",
            Self::Damaged => "ticket_checksum",
            Self::Content(_) => "ticket_malformed",
            Self::Field(_) => "ticket_field",
        }
    }
}

/// The secret of a ticket.
#[derive(Clone, PartialEq, Eq)]
pub struct TicketSecret(Zeroizing<[u8; SECRET_LEN]>);

impl TicketSecret {
    /// A new one.
    ///
    /// # Errors
    /// [`CryptoError::NoRandomness`].
    pub fn draw(crypto: &dyn Crypto) -> Result<Self, CryptoError> {
        let mut secret = Zeroizing::new([0; SECRET_LEN]);
        crypto.fill_random(secret.as_mut())?;
        Ok(Self(secret))
    }

    /// What names the ticket.
    #[must_use]
    pub fn id(&self, crypto: &dyn Crypto) -> TicketId {
        let parts = [self.0.as_slice()];
        TicketId::from_bytes(join_digest(crypto, domain::TICKET_ID, &parts))
    }

    /// The key of the MAC that shows knowledge of the secret.
    #[must_use]
    pub fn mac_key(&self, crypto: &dyn Crypto) -> MacKey {
        let parts = [self.0.as_slice()];
        MacKey(Zeroizing::new(join_digest(
            crypto,
            domain::TICKET_KEY,
            &parts,
        )))
    }
}

impl fmt::Debug for TicketSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketSecret(…)")
    }
}

/// The key of a ticket's MAC: as secret as the ticket.
#[derive(Clone, PartialEq, Eq)]
pub struct MacKey(Zeroizing<[u8; 32]>);

impl MacKey {
    /// The key with these bytes, as kept by an issuer.
    #[must_use]
    pub const fn from_bytes(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    /// Its bytes, for whoever keeps it.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// The MAC by which the holder of a ticket asks to enrol these keys on this stream.
    #[must_use]
    pub fn mac(
        &self,
        crypto: &dyn Crypto,
        node: &NodeId,
        signing: &SigningSet,
        mesh: &MeshId,
        challenge: &Challenge,
    ) -> Digest {
        let set = codec::encode(signing);
        let parts: [&[u8]; 4] = [node.as_bytes(), &set, mesh.as_bytes(), challenge.as_bytes()];
        let message = join_digest(crypto, domain::TICKET_MAC, &parts);
        Digest::from_bytes(hmac_sha256(crypto, &self.0, &message))
    }

    /// Whether `mac` is that MAC, in constant time.
    #[must_use]
    pub fn verifies(
        &self,
        crypto: &dyn Crypto,
        node: &NodeId,
        signing: &SigningSet,
        mesh: &MeshId,
        challenge: &Challenge,
        mac: &Digest,
    ) -> bool {
        let expected = self.mac(crypto, node, signing, mesh, challenge);
        expected.as_bytes().ct_eq(mac.as_bytes()).into()
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKey(…)")
    }
}

/// HMAC-SHA256 (RFC 2104) under a key of 32 bytes.
fn hmac_sha256(crypto: &dyn Crypto, key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    /// SHA-256's block.
    const BLOCK: usize = 64;
    let padded = |pad: u8| {
        let mut block = Zeroizing::new([pad; BLOCK]);
        for (byte, key) in block.iter_mut().zip(key) {
            *byte ^= key;
        }
        block
    };
    let inner = crypto.sha256(&[padded(0x36).as_slice(), message]);
    crypto.sha256(&[padded(0x5c).as_slice(), &inner])
}

/// A ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// The mesh it lets join; the joiner takes no other.
    pub mesh: MeshId,
    /// The issuer whose membership the joiner takes.
    pub issuer: SignerId,
    /// The node that issuer runs on.
    pub issuer_node: NodeId,
    /// What shows that the joiner has the ticket.
    pub secret: TicketSecret,
    /// Whom to ask, in order; each forwards to the issuer's node if it is another.
    pub bootstraps: Vec<PeerAddress>,
}

/// A ticket's content as encoded.
#[derive(minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
struct Content {
    #[n(1)]
    mesh: MeshId,
    #[n(2)]
    issuer: SignerId,
    #[n(3)]
    issuer_node: NodeId,
    #[cbor(n(4), with = "minicbor::bytes")]
    secret: SecretBytes,
    #[n(5)]
    bootstraps: Vec<PeerAddress>,
}

/// Bytes that are wiped, written as a byte string.
struct SecretBytes(Zeroizing<Vec<u8>>);

impl<C> minicbor::bytes::EncodeBytes<C> for SecretBytes {
    fn encode_bytes<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> minicbor::bytes::DecodeBytes<'b, C> for SecretBytes {
    fn decode_bytes(
        d: &mut minicbor::Decoder<'b>,
        _: &mut C,
    ) -> Result<Self, minicbor::decode::Error> {
        Ok(Self(Zeroizing::new(d.bytes()?.to_vec())))
    }
}

impl Ticket {
    /// What names it.
    #[must_use]
    pub fn id(&self, crypto: &dyn Crypto) -> TicketId {
        self.secret.id(crypto)
    }

    /// The one line of text.
    #[must_use]
    pub fn to_text(&self, crypto: &dyn Crypto) -> Zeroizing<String> {
        let content = Content {
            mesh: self.mesh,
            issuer: self.issuer,
            issuer_node: self.issuer_node,
            secret: SecretBytes(Zeroizing::new(self.secret.0.to_vec())),
            bootstraps: self.bootstraps.clone(),
        };
        let mut bytes = Zeroizing::new(codec::encode(&content));
        let sum = checksum(crypto, &bytes);
        bytes.extend_from_slice(&sum);
        let mut text = Zeroizing::new(PREFIX.to_owned());
        write_base32(&bytes, &mut text);
        text
    }

    /// Reads a ticket; white space around it does not matter.
    ///
    /// # Errors
    /// [`TicketError`].
    pub fn parse(crypto: &dyn Crypto, text: &str) -> Result<Self, TicketError> {
        let text = text.trim();
        if text.len() > MAX_TICKET_CHARS {
            return Err(TicketError::TooLong);
        }
        let encoded = text.strip_prefix(PREFIX).ok_or(TicketError::NotATicket)?;
        let bytes = read_base32(encoded).ok_or(TicketError::Damaged)?;
        let (content, sum) = bytes
            .split_last_chunk::<CHECKSUM_LEN>()
            .ok_or(TicketError::Damaged)?;
        if checksum(crypto, content) != *sum {
            return Err(TicketError::Damaged);
        }
        let content: Content = codec::decode(content, MAX_TICKET_CHARS)?;
        let secret = content.secret.0.first_chunk::<SECRET_LEN>();
        let secret = secret.filter(|_| content.secret.0.len() == SECRET_LEN);
        let secret = Zeroizing::new(*secret.ok_or(TicketError::Field("secret bytes"))?);
        let bounded = |p: &PeerAddress| !p.addresses.is_empty() && bounded_addresses(&p.addresses);
        let count = content.bootstraps.len();
        if count == 0 || count > MAX_BOOTSTRAPS || !content.bootstraps.iter().all(bounded) {
            return Err(TicketError::Field("bootstraps"));
        }
        Ok(Self {
            mesh: content.mesh,
            issuer: content.issuer,
            issuer_node: content.issuer_node,
            secret: TicketSecret(secret),
            bootstraps: content.bootstraps,
        })
    }
}

fn checksum(crypto: &dyn Crypto, content: &[u8]) -> [u8; CHECKSUM_LEN] {
    let whole = join_digest(crypto, domain::TICKET_CHECKSUM, &[content]);
    let mut sum = [0; CHECKSUM_LEN];
    for (to, from) in sum.iter_mut().zip(whole) {
        *to = from;
    }
    sum
}

fn write_base32(bytes: &[u8], text: &mut String) {
    let (mut bits, mut held) = (0_u32, 0_u32);
    let mut push = |value: u32| {
        let index = usize::try_from(value & 31).unwrap_or_default();
        text.extend(ALPHABET.get(index).map(|&letter| char::from(letter)));
    };
    for &byte in bytes {
        held = (held << 8 | u32::from(byte)) & 0xfff;
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            push(held >> bits);
        }
    }
    if bits > 0 {
        push(held << (5 - bits));
    }
}

/// The bytes, if the text is their one encoding: no other letters, no bits left over.
fn read_base32(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let (mut bits, mut held) = (0_u32, 0_u32);
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() * 5 / 8));
    for letter in text.bytes() {
        let value = ALPHABET.iter().position(|&known| known == letter)?;
        held = (held << 5 | u32::try_from(value).ok()?) & 0xfff;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits & 0xff).ok()?);
        }
    }
    let left_over = held & ((1 << bits) - 1);
    (bits < 5 && left_over == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base32_is_rfc_4648_in_lower_case() {
        for (bytes, text) in [
            ("", ""),
            ("f", "my"),
            ("fo", "mzxq"),
            ("foo", "mzxw6"),
            ("foob", "mzxw6yq"),
            ("fooba", "mzxw6ytb"),
            ("foobar", "mzxw6ytboi"),
        ] {
            let mut written = String::new();
            write_base32(bytes.as_bytes(), &mut written);
            assert_eq!(written, text);
            assert_eq!(read_base32(text).unwrap().as_slice(), bytes.as_bytes());
        }
        for bad in ["m", "mz", "MY", "m0", "my=", "mzx", "mzxw6y"] {
            assert!(read_base32(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn secrets_stay_out_of_debug() {
        let secret = TicketSecret(Zeroizing::new([7; 32]));
        assert_eq!(format!("{secret:?}"), "TicketSecret(…)");
        let key = MacKey::from_bytes(Zeroizing::new([7; 32]));
        assert_eq!(format!("{key:?}"), "MacKey(…)");
    }
}
