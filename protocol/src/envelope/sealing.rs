//! Sealed calls: what a relay carries and only the far end opens.
//!
//! The message that begins a call encapsulates to its audience's sealing key; `enc` and the digest
//! of the key stand in the header ([`Sealed`]). From then on both ends have one [`CallSeal`]:
//! messages towards the server are sealed by the HPKE context, those back by a key from its
//! exporter, each under the sequence in its header. The rest of the header is what is
//! authenticated beside the payload.
//!
//! Invariant: a `CallSeal` seals under each sequence at most once, whatever its caller does.

use core::sync::atomic::{AtomicU64, Ordering};

use super::{Header, body_digest};
use crate::codec;
use crate::crypto::sealing::{Opener, SEALING_ENC_LEN, SealedChannel, Sealer, Way};
use crate::crypto::{Crypto, CryptoError, domain};
use crate::id::{Digest, MeshId};

/// To which key a call is sealed, and how that key's owner gets the secret.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Sealed {
    /// The digest of the audience's sealing key ([`key_digest`]).
    #[n(1)]
    pub key: Digest,
    /// HPKE's `enc`, [`SEALING_ENC_LEN`] bytes.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub enc: Vec<u8>,
}

impl Sealed {
    /// Whether `enc` has its length.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        self.enc.len() == SEALING_ENC_LEN
    }
}

/// What names a sealing key in a header.
#[must_use]
pub fn key_digest(crypto: &dyn Crypto, public: &[u8]) -> Digest {
    Digest::over(crypto, domain::SEALING_KEY, &[public])
}

/// HPKE's `info`: label and mesh, each preceded by its length as a 32-bit big-endian integer.
#[must_use]
pub fn info(mesh: &MeshId) -> Vec<u8> {
    labelled(domain::SEALED_CALL, mesh)
}

/// As [`info`], for what another label names.
pub(crate) fn labelled(label: domain::Label, mesh: &MeshId) -> Vec<u8> {
    let mut info = Vec::new();
    for part in [label.as_bytes(), mesh.as_bytes()] {
        let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
        info.extend_from_slice(&length.to_be_bytes());
        info.extend_from_slice(part);
    }
    info
}

/// What is authenticated beside a sealed payload: the encoded protected header without [`Sealed`].
#[must_use]
pub fn associated_data(header: &Header) -> Vec<u8> {
    if header.claims.sealed.is_none() {
        return codec::encode(header);
    }
    let mut rest = header.clone();
    rest.claims.sealed = None;
    codec::encode(&rest)
}

/// The secret two ends of a call share.
pub struct CallSeal {
    channel: Box<dyn SealedChannel>,
    /// The way in which this end seals.
    way: Way,
    /// The first sequence not used yet.
    unused: AtomicU64,
}

impl CallSeal {
    /// Begins a call to the owner of `public`.
    ///
    /// # Errors
    /// [`CryptoError`] for a malformed key or without randomness.
    pub fn begin(
        sealer: &dyn Sealer,
        crypto: &dyn Crypto,
        mesh: &MeshId,
        public: &[u8],
    ) -> Result<(Self, Sealed), CryptoError> {
        let (enc, channel) = sealer.seal_to(public, &info(mesh))?;
        let key = key_digest(crypto, public);
        Ok((Self::new(channel, Way::Forward), Sealed { key, enc }))
    }

    /// Takes up a call that was begun towards the owner of `key`.
    ///
    /// # Errors
    /// [`CryptoError::BadSealed`] if `sealed` has no encapsulation.
    pub fn take_up(key: &dyn Opener, mesh: &MeshId, sealed: &Sealed) -> Result<Self, CryptoError> {
        let channel = key.open_from(&sealed.enc, &info(mesh))?;
        Ok(Self::new(channel, Way::Back))
    }

    const fn new(channel: Box<dyn SealedChannel>, way: Way) -> Self {
        Self {
            channel,
            way,
            unused: AtomicU64::new(0),
        }
    }

    /// Seals an encoded payload under `header`.
    ///
    /// # Errors
    /// [`CryptoError::BadSealed`] if this end has sealed under the header's sequence or a later one.
    pub fn seal(&self, header: &Header, payload: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let sequence = header.claims.sequence;
        let next = |unused: u64| (sequence >= unused).then(|| sequence.saturating_add(1));
        self.unused
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, next)
            .map_err(|_| CryptoError::BadSealed)?;
        let aad = associated_data(header);
        self.channel.seal(self.way, sequence, &aad, payload)
    }

    /// Opens a payload of the other end.
    ///
    /// # Errors
    /// [`CryptoError::BadSealed`] for everything that was not sealed so.
    pub fn open(&self, header: &Header, payload: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let way = match self.way {
            Way::Forward => Way::Back,
            Way::Back => Way::Forward,
        };
        let aad = associated_data(header);
        self.channel
            .open(way, header.claims.sequence, &aad, payload)
    }
}

impl core::fmt::Debug for CallSeal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "CallSeal({:?}, secrets redacted)", self.way)
    }
}

/// Sets what a sealed header says of itself and its body.
pub(super) fn prepare(
    crypto: &dyn Crypto,
    header: &mut Header,
    salt: &crate::id::Salt,
    body: &[u8],
) {
    header.claims.body_digest = body_digest(crypto, salt, body);
    header.content_type = domain::content_type::SEALED_ENVELOPE.to_owned();
}
