//! Policy bundles: a small signed head, and the body it binds by digest.
//!
//! The head alone is pushed and verified at once; the body is fetched from anybody. Policies are
//! kept as the bytes they are, and nothing here looks into them.

use super::{Bytes, TrustError, VerifiedRoot, document_hash, parse_document, sign_document};
use crate::codec;
use crate::cose::Quorum;
use crate::crypto::{Crypto, CryptoError, Signer, domain, domain::content_type};
use crate::id::{Digest, MeshId};
use crate::limits::{
    MAX_BUNDLE_BYTES, MAX_BUNDLE_NAMES, MAX_LABELS, MAX_PINS, MAX_POLICIES, MAX_TARGET_BYTES,
    MAX_WORD_BYTES,
};
use crate::name::{Name, PolicyName};
use crate::time::UnixSeconds;

/// A policy document, opaque.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Policy {
    /// Its name, unique in the bundle.
    #[n(1)]
    pub name: PolicyName,
    /// What the bytes are, at most [`MAX_WORD_BYTES`].
    #[n(2)]
    pub media_type: String,
    /// The document as its author wrote it.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub bytes: Vec<u8>,
}

/// An approved tool definition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Pin {
    /// The server.
    #[n(1)]
    pub server: Name,
    /// The tool.
    #[n(2)]
    pub tool: String,
    /// The digest of the approved definition.
    #[n(3)]
    pub digest: Digest,
}

/// Labels of a target.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Label {
    /// What is labelled.
    #[n(1)]
    pub target: String,
    /// Its labels, sorted, without repeats.
    #[n(2)]
    pub labels: Vec<String>,
}

/// The body of a bundle. Every list is sorted and without repeats: policies by name, pins by all
/// three, labels by target.
#[derive(Debug, Clone, PartialEq, Eq, Default, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct BundleBody {
    /// The policies.
    #[n(1)]
    pub policies: Vec<Policy>,
    /// Approved tool definitions.
    #[n(2)]
    pub pins: Vec<Pin>,
    /// Labels.
    #[n(3)]
    pub labels: Vec<Label>,
    /// The sites of the mesh.
    #[n(4)]
    pub sites: Vec<Name>,
}

impl BundleBody {
    /// Its one encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads a body; whether it is the one a head names is another question.
    ///
    /// # Errors
    /// [`TrustError`] for anything but the one encoding of a body within bounds.
    pub fn decode(bytes: &[u8]) -> Result<Self, TrustError> {
        let body: Self = codec::decode(bytes, MAX_BUNDLE_BYTES)?;
        body.validate()?;
        Ok(body)
    }

    /// The digest by which a head binds an encoded body.
    #[must_use]
    pub fn digest(crypto: &dyn Crypto, bytes: &[u8]) -> Digest {
        Digest::over(crypto, domain::BUNDLE_BODY, &[bytes])
    }

    /// Checks the bounds and the order of a body that is about to be signed.
    ///
    /// # Errors
    /// [`TrustError::Field`].
    pub fn validate(&self) -> Result<(), TrustError> {
        let media = |p: &Policy| bounded(&p.media_type, MAX_WORD_BYTES);
        let policies = self.policies.len() <= MAX_POLICIES
            && ascending(&self.policies, |a, b| a.name < b.name)
            && self.policies.iter().all(media);
        if !policies {
            return Err(TrustError::Field("policies"));
        }
        let pins = self.pins.len() <= MAX_PINS
            && ascending(&self.pins, |a, b| a < b)
            && self.pins.iter().all(|p| bounded(&p.tool, MAX_TARGET_BYTES));
        if !pins {
            return Err(TrustError::Field("pins"));
        }
        let label = |l: &Label| {
            bounded(&l.target, MAX_TARGET_BYTES)
                && l.labels.len() <= MAX_LABELS
                && ascending(&l.labels, |a, b| a < b)
                && l.labels.iter().all(|w| bounded(w, MAX_WORD_BYTES))
        };
        let labels = self.labels.len() <= MAX_BUNDLE_NAMES
            && ascending(&self.labels, |a, b| a.target < b.target)
            && self.labels.iter().all(label);
        if !labels {
            return Err(TrustError::Field("labels"));
        }
        if self.sites.len() > MAX_BUNDLE_NAMES || !ascending(&self.sites, |a, b| a < b) {
            return Err(TrustError::Field("sites"));
        }
        Ok(())
    }
}

fn bounded(text: &str, max: usize) -> bool {
    !text.is_empty() && text.len() <= max
}

fn ascending<T>(items: &[T], less: impl Fn(&T, &T) -> bool) -> bool {
    items.windows(2).all(|w| matches!(w, [a, b] if less(a, b)))
}

/// The content of a bundle's head.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct BundleHead {
    /// The mesh.
    #[n(1)]
    pub mesh: MeshId,
    /// The epoch of the root it was made under.
    #[n(2)]
    pub epoch: u64,
    /// The version of that root.
    #[n(3)]
    pub root_version: u64,
    /// Rises with every bundle; the first of an epoch has 1.
    #[n(4)]
    pub version: u64,
    /// When it was made.
    #[n(5)]
    pub created: UnixSeconds,
    /// The digest of its body ([`BundleBody::digest`]).
    #[n(6)]
    pub body: Digest,
    /// Bytes of its body.
    #[n(7)]
    pub body_length: u64,
}

impl BundleHead {
    /// The head for an encoded body under `root`.
    #[must_use]
    pub fn over(
        crypto: &dyn Crypto,
        root: &VerifiedRoot,
        version: u64,
        created: UnixSeconds,
        body: &[u8],
    ) -> Self {
        Self {
            mesh: root.mesh(),
            epoch: root.root().epoch,
            root_version: root.root().version,
            version,
            created,
            body: BundleBody::digest(crypto, body),
            body_length: body.len() as u64,
        }
    }

    /// Signs this head by `admins`.
    ///
    /// # Errors
    /// [`CryptoError`] if a signature could not be made.
    pub fn sign(
        &self,
        crypto: &dyn Crypto,
        admins: &[&dyn Signer],
    ) -> Result<Vec<u8>, CryptoError> {
        let aad = self.mesh.as_bytes();
        sign_document(crypto, admins, content_type::BUNDLE, self, aad)
    }

    pub(super) fn validate(&self) -> Result<(), TrustError> {
        if self.version == 0 || self.root_version == 0 {
            return Err(TrustError::Field("version"));
        }
        if self.body_length == 0 || self.body_length > MAX_BUNDLE_BYTES as u64 {
            return Err(TrustError::Field("body_length"));
        }
        Ok(())
    }
}

/// A bundle's head that the admins' threshold of a root has signed. Only
/// [`VerifiedBundleHead::verify`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedBundleHead {
    content: BundleHead,
    hash: Digest,
    bytes: Bytes,
}

impl VerifiedBundleHead {
    /// Reads the content of a head; verifies nothing.
    ///
    /// # Errors
    /// [`TrustError`] if it is none.
    pub fn peek(bytes: &[u8]) -> Result<BundleHead, TrustError> {
        let (_, content) = parse_document::<BundleHead>(bytes, content_type::BUNDLE)?;
        content.validate()?;
        Ok(content)
    }

    /// Verifies `bytes` under every one of `roots`, all of one mesh: the threshold of each must be
    /// met by its own admins.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn verify(
        crypto: &dyn Crypto,
        roots: &[&VerifiedRoot],
        bytes: &Bytes,
    ) -> Result<Self, TrustError> {
        let (cose, content) = parse_document::<BundleHead>(bytes, content_type::BUNDLE)?;
        content.validate()?;
        if roots.is_empty() || roots.iter().any(|root| root.mesh() != content.mesh) {
            return Err(TrustError::ForeignMesh);
        }
        let quorums: Vec<Quorum<'_>> = roots.iter().map(|r| r.root().quorum()).collect();
        cose.verify_quorums(crypto, &quorums, content.mesh.as_bytes())?;
        Ok(Self {
            hash: document_hash(crypto, content_type::BUNDLE, cose.payload),
            content,
            bytes: Bytes::clone(bytes),
        })
    }

    /// The content.
    #[must_use]
    pub const fn content(&self) -> &BundleHead {
        &self.content
    }

    /// The hash of the content, which timestamps name.
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

/// A bundle: a verified head and the body it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    head: VerifiedBundleHead,
    body: BundleBody,
    body_bytes: Bytes,
}

impl Bundle {
    /// Joins a verified head and its body.
    ///
    /// # Errors
    /// [`TrustError::WrongBody`] if the head names another; [`TrustError`] if it is no body.
    pub fn join(
        crypto: &dyn Crypto,
        head: VerifiedBundleHead,
        body: Bytes,
    ) -> Result<Self, TrustError> {
        let named = body.len() as u64 == head.content.body_length
            && BundleBody::digest(crypto, &body) == head.content.body;
        if !named {
            return Err(TrustError::WrongBody);
        }
        Ok(Self {
            body: BundleBody::decode(&body)?,
            head,
            body_bytes: body,
        })
    }

    /// The head.
    #[must_use]
    pub const fn head(&self) -> &VerifiedBundleHead {
        &self.head
    }

    /// Its version.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.head.content.version
    }

    /// The hash of its head's content.
    #[must_use]
    pub const fn hash(&self) -> Digest {
        self.head.hash
    }

    /// The body.
    #[must_use]
    pub const fn body(&self) -> &BundleBody {
        &self.body
    }

    /// The exact bytes of the body.
    #[must_use]
    pub fn body_bytes(&self) -> Bytes {
        Bytes::clone(&self.body_bytes)
    }
}
