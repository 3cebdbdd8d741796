//! A root or a bundle on its way: what admins hand around until enough of them have signed it.
//!
//! A proposal file holds the root in force beside what it proposes, and of a bundle the body, so
//! that a machine that knows nothing else can show what is to be signed. The base is believed in no
//! other way: a proposed root names it by its hash, a bundle's head by mesh, epoch and version, and
//! a mesh whose root is another one refuses the proposal. Every signature in a proposal has been
//! verified; whether they are *enough* is decided by [`super::VerifiedRoot::successor`] and
//! [`super::bundle::VerifiedBundleHead::verify`] alone. What policies in a bundle mean is not looked at here.

use super::bundle::{BundleBody, BundleHead};
use super::threshold::{Pending, PendingContent, SignError};
use super::{Document, Root, TrustError, changes, document_hash, parse_document};
use crate::codec;
use crate::crypto::{Crypto, CryptoError, Signer, SigningSet, domain, domain::content_type};
use crate::id::{Digest, MeshId, SignerId};
use crate::limits::{MAX_BUNDLE_BYTES, MAX_DOCUMENT_BYTES};
use crate::time::UnixSeconds;

/// Largest proposal file: two documents, a bundle's body, and their frame.
pub const MAX_PROPOSAL_BYTES: usize = 2 * MAX_DOCUMENT_BYTES + MAX_BUNDLE_BYTES + 64;

/// Why something is no proposal, or was not signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposalError {
    /// The file, or a document in it, does not hold.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// It proposes something for another base than the root beside it.
    #[error("what is proposed does not follow the root beside it")]
    OtherBase,
    /// A bundle without its body, a body its head does not name, or a body beside a root.
    #[error("the body beside the proposed bundle is not the one its head names")]
    OtherBody,
    /// Two files are not of the same proposal.
    #[error("these are two different proposals")]
    OtherProposal,
    /// Who would sign is an admin neither now nor then.
    #[error("{0} is no admin of this mesh, before or after")]
    NotAnAdmin(SignerId),
    /// A signature could not be made.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

impl From<SignError> for ProposalError {
    fn from(error: SignError) -> Self {
        match error {
            SignError::Trust(error) => Self::Trust(error),
            SignError::Crypto(error) => Self::Crypto(error),
        }
    }
}

impl ProposalError {
    /// The stable name of the refusal.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Trust(error) => error.reason(),
            Self::OtherBase => "proposal_of_another_root",
            Self::OtherBody => "proposal_of_another_body",
            Self::OtherProposal => "another_proposal",
            Self::NotAnAdmin(_) => "not_an_admin",
            Self::Crypto(_) => "signing_failed",
        }
    }
}

/// The file.
#[derive(minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
struct File {
    #[cbor(n(1), with = "minicbor::bytes")]
    base: Vec<u8>,
    #[cbor(n(2), with = "minicbor::bytes")]
    document: Vec<u8>,
    #[n(3)]
    body: Option<minicbor::bytes::ByteVec>,
}

/// What is proposed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proposed {
    /// The next root.
    Root(Box<Root>),
    /// A bundle.
    Bundle {
        /// Its head.
        head: BundleHead,
        /// The body the head names.
        body: Box<BundleBody>,
        /// The body as encoded.
        bytes: Vec<u8>,
    },
}

impl Proposed {
    fn into_body(self) -> Option<Vec<u8>> {
        match self {
            Self::Root(_) => None,
            Self::Bundle { bytes, .. } => Some(bytes),
        }
    }
}

/// A proposed root or bundle and the signatures it has so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    base: Root,
    base_bytes: Vec<u8>,
    base_hash: Digest,
    mesh: MeshId,
    proposed: Proposed,
    id: Digest,
    pending: Pending,
    signed: Vec<SignerId>,
}

/// Whose signatures a proposal has and needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signatures {
    /// Who signed, in the order of signing.
    pub signed: Vec<SignerId>,
    /// Who may sign and has not: the admins there are, then those who would come.
    pub unsigned: Vec<SignerId>,
    /// The fewest signatures that would complete it.
    pub missing: u64,
}

impl Proposal {
    /// An unsigned proposal of `root` after `base` (a root as signed).
    ///
    /// # Errors
    /// [`ProposalError`] if `base` is no root or `root` does not follow it.
    pub fn new(crypto: &dyn Crypto, base: &[u8], root: &Root) -> Result<Self, ProposalError> {
        let pending = Pending::new(PendingContent::Root(Box::new(root.clone())));
        Self::assemble(crypto, base.to_vec(), pending, None)
    }

    /// An unsigned proposal of the root that `edit` makes of `base` (a root as signed). Version,
    /// chain and time are seen to here; `nonce` is sixteen random bytes.
    ///
    /// # Errors
    /// [`ProposalError`] if `base` is no root, or what was made of it does not hold.
    pub fn revise(
        crypto: &dyn Crypto,
        base: &[u8],
        now: UnixSeconds,
        nonce: [u8; 16],
        edit: impl FnOnce(&mut Root),
    ) -> Result<Self, ProposalError> {
        let (cose, mut root) = parse_document::<Root>(base, content_type::ROOT)?;
        let mesh = mesh_of(crypto, &root, cose.payload);
        root.version = root
            .version
            .checked_add(1)
            .ok_or(TrustError::Field("version"))?;
        root.mesh = Some(mesh);
        root.previous = Some(document_hash(crypto, content_type::ROOT, cose.payload));
        root.created = now;
        root.nonce = nonce.to_vec();
        edit(&mut root);
        Self::new(crypto, base, &root)
    }

    /// An unsigned proposal of a bundle of this version under `base` (the root in force, as
    /// signed).
    ///
    /// # Errors
    /// [`ProposalError`] if `base` is no root or the body is out of bounds.
    pub fn bundle(
        crypto: &dyn Crypto,
        base: &[u8],
        now: UnixSeconds,
        version: u64,
        body: &BundleBody,
    ) -> Result<Self, ProposalError> {
        let (cose, root) = parse_document::<Root>(base, content_type::ROOT)?;
        let bytes = body.encode();
        let head = BundleHead {
            mesh: mesh_of(crypto, &root, cose.payload),
            epoch: root.epoch,
            root_version: root.version,
            version,
            created: now,
            body: BundleBody::digest(crypto, &bytes),
            body_length: bytes.len() as u64,
        };
        let pending = Pending::new(PendingContent::Bundle(head));
        Self::assemble(crypto, base.to_vec(), pending, Some(bytes))
    }

    /// Reads a proposal file and verifies every signature in it.
    ///
    /// # Errors
    /// [`ProposalError`].
    pub fn read(crypto: &dyn Crypto, bytes: &[u8]) -> Result<Self, ProposalError> {
        let file: File = codec::decode(bytes, MAX_PROPOSAL_BYTES).map_err(TrustError::from)?;
        let body = file.body.map(Vec::from);
        Self::assemble(crypto, file.base, Pending::parse(&file.document)?, body)
    }

    /// The file, with every signature gathered so far.
    #[must_use]
    pub fn file(&self) -> Vec<u8> {
        codec::encode(&File {
            base: self.base_bytes.clone(),
            document: self.pending.bytes().to_vec(),
            body: self.body().map(|body| body.to_vec().into()),
        })
    }

    fn assemble(
        crypto: &dyn Crypto,
        base_bytes: Vec<u8>,
        pending: Pending,
        body: Option<Vec<u8>>,
    ) -> Result<Self, ProposalError> {
        let (cose, base) = parse_document::<Root>(&base_bytes, content_type::ROOT)?;
        // Its bounds are checked, its signatures are not: see above.
        base.validate()?;
        let mesh = mesh_of(crypto, &base, cose.payload);
        let base_hash = document_hash(crypto, content_type::ROOT, cose.payload);
        let proposed = match (pending.content().clone(), body) {
            (PendingContent::Root(root), None) => {
                root.validate()?;
                let follows = root.previous == Some(base_hash)
                    && root.mesh == Some(mesh)
                    && Some(root.version) == base.version.checked_add(1);
                if !follows {
                    return Err(ProposalError::OtherBase);
                }
                Proposed::Root(root)
            }
            (PendingContent::Bundle(head), Some(bytes)) => {
                head.validate()?;
                let under = (head.mesh, head.epoch, head.root_version);
                if under != (mesh, base.epoch, base.version) {
                    return Err(ProposalError::OtherBase);
                }
                let named = head.body_length == bytes.len() as u64
                    && head.body == BundleBody::digest(crypto, &bytes);
                if !named {
                    return Err(ProposalError::OtherBody);
                }
                let body = Box::new(BundleBody::decode(&bytes)?);
                Proposed::Bundle { head, body, bytes }
            }
            _ => return Err(ProposalError::OtherBody),
        };
        let signed = pending.signers(crypto, &may_sign(&base, &proposed))?;
        Ok(Self {
            base,
            base_bytes,
            base_hash,
            mesh,
            proposed,
            id: pending.hash(crypto),
            pending,
            signed,
        })
    }

    /// Bytes of its file, but for a few of framing.
    #[must_use]
    pub fn size(&self) -> usize {
        self.base_bytes.len() + self.document().len() + self.body().map_or(0, <[u8]>::len)
    }

    /// The mesh it is for.
    #[must_use]
    pub const fn mesh(&self) -> MeshId {
        self.mesh
    }

    /// The hash of the proposed document's content (of a bundle: its head's); no signature changes
    /// it.
    #[must_use]
    pub const fn id(&self) -> Digest {
        self.id
    }

    /// What is proposed.
    #[must_use]
    pub const fn proposed(&self) -> &Proposed {
        &self.proposed
    }

    /// The proposed root, if it is one.
    #[must_use]
    pub fn root(&self) -> Option<&Root> {
        match &self.proposed {
            Proposed::Root(root) => Some(root),
            Proposed::Bundle { .. } => None,
        }
    }

    /// The encoded body of a proposed bundle.
    #[must_use]
    pub fn body(&self) -> Option<&[u8]> {
        match &self.proposed {
            Proposed::Root(_) => None,
            Proposed::Bundle { bytes, .. } => Some(bytes),
        }
    }

    /// The version the document would have.
    #[must_use]
    pub fn version(&self) -> u64 {
        match &self.proposed {
            Proposed::Root(root) => root.version,
            Proposed::Bundle { head, .. } => head.version,
        }
    }

    /// When it was made, by its author's clock.
    #[must_use]
    pub fn created(&self) -> UnixSeconds {
        match &self.proposed {
            Proposed::Root(root) => root.created,
            Proposed::Bundle { head, .. } => head.created,
        }
    }

    /// The root under which it was made, as the file shows it.
    #[must_use]
    pub const fn base(&self) -> &Root {
        &self.base
    }

    /// The hash of that root: only while that one is in force can the proposal become anything.
    #[must_use]
    pub const fn follows(&self) -> Digest {
        self.base_hash
    }

    /// The document with the signatures gathered so far.
    #[must_use]
    pub fn document(&self) -> &[u8] {
        self.pending.bytes()
    }

    /// What to publish once the signatures are enough, in this order.
    #[must_use]
    pub fn documents(&self) -> Vec<Document> {
        match &self.proposed {
            Proposed::Root(_) => vec![Document::Root(self.document().into())],
            Proposed::Bundle { bytes, .. } => vec![
                Document::BundleHead(self.document().into()),
                Document::BundleBody(bytes.as_slice().into()),
            ],
        }
    }

    /// What it would change, a sentence each; of a bundle, what is in it: the bundle it would
    /// replace is not in the file.
    #[must_use]
    pub fn changes(&self, crypto: &dyn Crypto) -> Vec<String> {
        match &self.proposed {
            Proposed::Root(root) => changes::changes(crypto, &self.base, root),
            Proposed::Bundle { body, .. } => changes::contents(crypto, body),
        }
    }

    /// This proposal with `signer`'s signature; unchanged if it is there already.
    ///
    /// # Errors
    /// [`ProposalError::NotAnAdmin`], [`ProposalError::Crypto`].
    pub fn signed_by(
        self,
        crypto: &dyn Crypto,
        signer: &dyn Signer,
    ) -> Result<Self, ProposalError> {
        let id = signer.public().id(crypto);
        if self.signed.contains(&id) {
            return Ok(self);
        }
        if !may_sign(&self.base, &self.proposed).contains(signer.public()) {
            return Err(ProposalError::NotAnAdmin(id));
        }
        let mut pending = self.pending;
        pending.add_signature(crypto, signer)?;
        let body = self.proposed.into_body();
        Self::assemble(crypto, self.base_bytes, pending, body)
    }

    /// This proposal with the signatures of another copy of it, too.
    ///
    /// # Errors
    /// [`ProposalError::OtherProposal`] if it is another one.
    pub fn merged(self, crypto: &dyn Crypto, other: &Self) -> Result<Self, ProposalError> {
        if self.id != other.id {
            return Err(ProposalError::OtherProposal);
        }
        let mut pending = self.pending;
        pending.merge(&other.pending)?;
        let body = self.proposed.into_body();
        Self::assemble(crypto, self.base_bytes, pending, body)
    }

    /// Whose signatures it has, and how many it needs.
    #[must_use]
    pub fn signatures(&self, crypto: &dyn Crypto) -> Signatures {
        let signed = |set: &SigningSet| self.signed.contains(&set.id(crypto));
        let short = |root: &Root| {
            let have = root.admins.iter().filter(|set| signed(set)).count() as u64;
            root.threshold.saturating_sub(have)
        };
        let unsigned: Vec<SigningSet> = may_sign(&self.base, &self.proposed)
            .into_iter()
            .filter(|set| !signed(set))
            .collect();
        let missing = match &self.proposed {
            Proposed::Bundle { .. } => short(&self.base),
            Proposed::Root(root) => {
                let (before, after) = (short(&self.base), short(root));
                // One signature by an admin of both roots counts twice.
                let in_both =
                    |set: &&SigningSet| self.base.admins.contains(set) && root.admins.contains(set);
                let both = unsigned.iter().filter(in_both).count() as u64;
                before + after - both.min(before).min(after)
            }
        };
        Signatures {
            signed: self.signed.clone(),
            unsigned: unsigned.iter().map(|set| set.id(crypto)).collect(),
            missing,
        }
    }
}

/// The mesh a root is of: the hash of its content if it is the genesis.
fn mesh_of(crypto: &dyn Crypto, root: &Root, content: &[u8]) -> MeshId {
    root.mesh.unwrap_or_else(|| {
        MeshId::from_bytes(crate::crypto::join_digest(
            crypto,
            domain::MESH_ID,
            &[content],
        ))
    })
}

/// Whose signatures count: the admins of either root, each once; for a bundle those there are.
fn may_sign(base: &Root, proposed: &Proposed) -> Vec<SigningSet> {
    let after: &[SigningSet] = match proposed {
        Proposed::Root(root) => &root.admins,
        Proposed::Bundle { .. } => &[],
    };
    let new = after.iter().filter(|admin| !base.admins.contains(admin));
    base.admins.iter().chain(new).cloned().collect()
}
