//! Documents that still gather signatures.
//!
//! A pending file is the document itself with the signatures it has so far, perhaps none. It needs
//! no format of its own: whoever takes a document counts its signers, so a partly signed one is
//! refused as `under_threshold` or `unsigned` wherever it turns up. Signing works offline, on a
//! machine that knows nothing of the mesh.

use super::bundle::BundleHead;
use super::root::Root;
use super::{Bytes, TrustError, VerifiedRoot, document_hash, document_header, parse_document};
use crate::codec;
use crate::cose::{self, CoseError, CoseSign, Quorum};
use crate::crypto::{Crypto, CryptoError, Signer, SigningSet, domain::content_type};
use crate::id::{Digest, MeshId, SignerId};
use crate::limits::MAX_DOCUMENT_BYTES;

/// What a pending document says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PendingContent {
    /// A root.
    Root(Box<Root>),
    /// The head of a bundle.
    Bundle(BundleHead),
}

impl PendingContent {
    fn aad(&self) -> Vec<u8> {
        let mesh = match self {
            Self::Root(root) => root.mesh,
            Self::Bundle(head) => Some(head.mesh),
        };
        mesh.map_or_else(Vec::new, |mesh: MeshId| mesh.as_bytes().to_vec())
    }

    const fn content_type(&self) -> &'static str {
        match self {
            Self::Root(_) => content_type::ROOT,
            Self::Bundle(_) => content_type::BUNDLE,
        }
    }

    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Root(root) => codec::encode(root.as_ref()),
            Self::Bundle(head) => codec::encode(head),
        }
    }
}

/// Why a signature could not be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The document does not allow it.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The signature could not be made.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

/// A document and the signatures it has so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    content: PendingContent,
    bytes: Vec<u8>,
}

impl Pending {
    /// A document that nobody has signed yet.
    #[must_use]
    pub fn new(content: PendingContent) -> Self {
        let header = document_header(content.content_type());
        let bytes = cose::unsigned(&header, &content.encode());
        Self { content, bytes }
    }

    /// Reads a root or a bundle's head with any number of signatures; verifies none.
    ///
    /// # Errors
    /// [`TrustError`] if it is neither, or out of bounds.
    pub fn parse(bytes: &[u8]) -> Result<Self, TrustError> {
        let content = match parse_document::<Root>(bytes, content_type::ROOT) {
            Ok((_, root)) => {
                root.validate()?;
                PendingContent::Root(Box::new(root))
            }
            Err(TrustError::ContentType) => {
                let (_, head) = parse_document::<BundleHead>(bytes, content_type::BUNDLE)?;
                head.validate()?;
                PendingContent::Bundle(head)
            }
            Err(error) => return Err(error),
        };
        let bytes = bytes.to_vec();
        Ok(Self { content, bytes })
    }

    /// What it says.
    #[must_use]
    pub const fn content(&self) -> &PendingContent {
        &self.content
    }

    /// The document with the signatures it has so far.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The hash of the content: the same however many have signed.
    #[must_use]
    pub fn hash(&self, crypto: &dyn Crypto) -> Digest {
        let content = self.content.encode();
        document_hash(crypto, self.content.content_type(), &content)
    }

    fn cose(&self) -> Result<CoseSign<'_>, TrustError> {
        Ok(CoseSign::parse(&self.bytes, MAX_DOCUMENT_BYTES)?)
    }

    /// Which of `admins` have signed; every signature there is verifies.
    ///
    /// # Errors
    /// [`TrustError`] if one does not, or is by somebody else.
    pub fn signers(
        &self,
        crypto: &dyn Crypto,
        admins: &[SigningSet],
    ) -> Result<Vec<SignerId>, TrustError> {
        let aad = self.content.aad();
        let signers = self.cose()?.verified_signers(crypto, admins, &aad)?;
        Ok(signers.iter().map(|set| set.id(crypto)).collect())
    }

    /// How many signatures of each quorum are missing still, in the order of the quorums. `before`
    /// is the root in force; none for a genesis.
    ///
    /// # Errors
    /// [`TrustError`] as [`Pending::signers`].
    pub fn missing(
        &self,
        crypto: &dyn Crypto,
        before: Option<&VerifiedRoot>,
    ) -> Result<Vec<usize>, TrustError> {
        let quorums = self.quorums(before);
        let all: Vec<SigningSet> = quorums.iter().flat_map(|q| q.sets).cloned().collect();
        let aad = self.content.aad();
        let cose = self.cose()?;
        let signers = cose.verified_signers(crypto, &all, &aad)?;
        let missing = |quorum: &Quorum<'_>| {
            let found = quorum.sets.iter().filter(|set| signers.contains(set));
            quorum.needed.saturating_sub(found.count())
        };
        Ok(quorums.iter().map(missing).collect())
    }

    /// Who must sign: the admins of the root in force, and of a root its own.
    fn quorums<'a>(&'a self, before: Option<&'a VerifiedRoot>) -> Vec<Quorum<'a>> {
        let own = match &self.content {
            PendingContent::Root(root) => Some(root.quorum()),
            PendingContent::Bundle(_) => None,
        };
        let before = before.map(|root| root.root().quorum());
        before.into_iter().chain(own).collect()
    }

    /// Adds the signature of `signer`. Whether it is one of those who count is found when the
    /// signatures are.
    ///
    /// # Errors
    /// [`SignError`]: [`TrustError::AlreadySigned`], or the signature could not be made.
    pub fn add_signature(
        &mut self,
        crypto: &dyn Crypto,
        signer: &dyn Signer,
    ) -> Result<(), SignError> {
        let header = document_header(self.content.content_type());
        let content = self.content.encode();
        let signed = cose::sign(crypto, &[signer], &header, &content, &self.content.aad())?;
        let other = Self {
            content: self.content.clone(),
            bytes: signed,
        };
        if self.merge(&other)? == 0 {
            return Err(TrustError::AlreadySigned.into());
        }
        Ok(())
    }

    /// Adds the signatures of another pending file of the same content; says how many signers that
    /// added.
    ///
    /// # Errors
    /// [`CoseError::OtherContent`] if it is of other content; too many signatures.
    pub fn merge(&mut self, other: &Self) -> Result<usize, TrustError> {
        let (own, others) = (self.cose()?, other.cose()?);
        let merged = own.with_signatures_of(&others).map_err(TrustError::from)?;
        let before = own.signatures.len();
        let after = CoseSign::parse(&merged, MAX_DOCUMENT_BYTES).map_err(TrustError::from)?;
        let added = after.signatures.len() - before;
        self.bytes = merged;
        Ok(added.div_ceil(2))
    }

    /// The finished document, verified as it will be wherever it arrives. `before` is the root in
    /// force; none for a genesis.
    ///
    /// # Errors
    /// [`TrustError`]: [`CoseError::UnderThreshold`] while signatures are missing.
    pub fn complete(
        &self,
        crypto: &dyn Crypto,
        before: Option<&VerifiedRoot>,
    ) -> Result<Bytes, TrustError> {
        let bytes = Bytes::from(self.bytes.as_slice());
        match (&self.content, before) {
            (PendingContent::Root(_), None) => VerifiedRoot::genesis(crypto, &bytes).map(|_| ())?,
            (PendingContent::Root(_), Some(root)) => root.successor(crypto, &bytes).map(|_| ())?,
            (PendingContent::Bundle(_), Some(root)) => {
                super::bundle::VerifiedBundleHead::verify(crypto, &[root], &bytes).map(|_| ())?;
            }
            (PendingContent::Bundle(_), None) => return Err(CoseError::UnknownKey.into()),
        }
        Ok(bytes)
    }
}
