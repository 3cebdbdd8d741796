//! Timestamps: which versions of everything were in force at a time, by one of the timestampers.
//!
//! They bound for how long somebody can withhold newer documents (the freshness lease), carry the
//! only time that a node believes, and date revocations. Versions are each timestamper's own.

use super::dating::Mark;
use super::{Bytes, TrustError, VerifiedRoot, document_hash, parse_document, sign_document};
use crate::cose::CoseError;
use crate::crypto::{Crypto, CryptoError, Signer, domain::content_type};
use crate::id::{Digest, MeshId, SignerId};
use crate::limits::{MAX_LOG_ENTRIES, MAX_LOGS, MAX_MARKS};
use crate::time::UnixSeconds;

/// A version and the hash of what has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct VersionHash {
    /// The version.
    #[n(1)]
    pub version: u64,
    /// The hash of the content.
    #[n(2)]
    pub hash: Digest,
}

/// The state of one admin's log.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct LogState {
    /// Whose log.
    #[n(1)]
    pub admin: SignerId,
    /// How many entries it has.
    #[n(2)]
    pub length: u64,
    /// The link over them.
    #[n(3)]
    pub link: Digest,
    /// Earlier states by which its entries are dated, in order of time; absent if none is needed.
    #[n(4)]
    pub marks: Option<Vec<Mark>>,
}

/// The content of a timestamp.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Timestamp {
    /// The mesh.
    #[n(1)]
    pub mesh: MeshId,
    /// The epoch of the root.
    #[n(2)]
    pub epoch: u64,
    /// The version of the root.
    #[n(3)]
    pub root_version: u64,
    /// The hash of that root.
    #[n(4)]
    pub root: Digest,
    /// Who signs.
    #[n(5)]
    pub timestamper: SignerId,
    /// Rises with every timestamp of this timestamper; the first of an epoch has 1.
    #[n(6)]
    pub version: u64,
    /// The time.
    #[n(7)]
    pub time: UnixSeconds,
    /// The bundle in force, if there is one.
    #[n(8)]
    pub bundle: Option<VersionHash>,
    /// The logs that are not empty, sorted by admin.
    #[n(9)]
    pub logs: Vec<LogState>,
    /// How many nodes the mesh has.
    #[n(10)]
    pub nodes: u64,
}

impl Timestamp {
    /// Signs this timestamp by its timestamper.
    ///
    /// # Errors
    /// [`CryptoError`] if a signature could not be made.
    pub fn sign(&self, crypto: &dyn Crypto, signer: &dyn Signer) -> Result<Vec<u8>, CryptoError> {
        let aad = self.mesh.as_bytes();
        sign_document(crypto, &[signer], content_type::TIMESTAMP, self, aad)
    }

    /// The state it gives of an admin's log.
    #[must_use]
    pub fn log(&self, admin: &SignerId) -> Option<&LogState> {
        let at = self.logs.binary_search_by(|l| l.admin.cmp(admin)).ok()?;
        self.logs.get(at)
    }

    fn validate(&self) -> Result<(), TrustError> {
        if self.version == 0 || self.root_version == 0 {
            return Err(TrustError::Field("version"));
        }
        let sorted = self
            .logs
            .windows(2)
            .all(|w| matches!(w, [a, b] if a.admin < b.admin));
        if self.logs.len() > MAX_LOGS || !sorted {
            return Err(TrustError::Field("logs"));
        }
        if !self.logs.iter().all(|log| self.holds(log)) {
            return Err(TrustError::Field("log state"));
        }
        Ok(())
    }

    /// Marks come in order, none of them beyond the state itself.
    fn holds(&self, log: &LogState) -> bool {
        let within = |m: &Mark| m.length <= log.length && m.time <= self.time;
        let marks = log.marks.as_ref().is_none_or(|marks| {
            !marks.is_empty()
                && marks.len() <= MAX_MARKS
                && marks.windows(2).all(|w| matches!(w, [a, b] if a < b))
                && marks.iter().all(within)
        });
        (1..=MAX_LOG_ENTRIES).contains(&log.length) && marks
    }
}

/// A timestamp signed by a timestamper of the root. Only [`VerifiedTimestamp::verify`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedTimestamp {
    content: Timestamp,
    hash: Digest,
    bytes: Bytes,
}

impl VerifiedTimestamp {
    /// Reads the content of a timestamp; verifies nothing.
    ///
    /// # Errors
    /// [`TrustError`] if it is none.
    pub fn peek(bytes: &[u8]) -> Result<Timestamp, TrustError> {
        let (_, content) = parse_document::<Timestamp>(bytes, content_type::TIMESTAMP)?;
        content.validate()?;
        Ok(content)
    }

    /// Verifies `bytes` as a timestamp by a timestamper of `root`. Which root it names and whether
    /// its time is believable is judged by [`super::TrustState::offer`].
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn verify(
        crypto: &dyn Crypto,
        root: &VerifiedRoot,
        bytes: &Bytes,
    ) -> Result<Self, TrustError> {
        let (cose, content) = parse_document::<Timestamp>(bytes, content_type::TIMESTAMP)?;
        content.validate()?;
        if content.mesh != root.mesh() {
            return Err(TrustError::ForeignMesh);
        }
        let signer = root
            .timestamper(&content.timestamper)
            .ok_or(CoseError::UnknownKey)?;
        cose.verify_one(crypto, signer, root.mesh().as_bytes())?;
        Ok(Self {
            hash: document_hash(crypto, content_type::TIMESTAMP, cose.payload),
            content,
            bytes: Bytes::clone(bytes),
        })
    }

    /// The content.
    #[must_use]
    pub const fn content(&self) -> &Timestamp {
        &self.content
    }

    /// The time it states.
    #[must_use]
    pub const fn time(&self) -> UnixSeconds {
        self.content.time
    }

    /// The hash of the content.
    #[must_use]
    pub const fn hash(&self) -> Digest {
        self.hash
    }

    /// The exact bytes.
    #[must_use]
    pub fn shared(&self) -> Bytes {
        Bytes::clone(&self.bytes)
    }
}
