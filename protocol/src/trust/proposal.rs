//! A root on its way: what admins hand around until enough of them have signed it.
//!
//! A proposal file holds the root it would replace beside the root it proposes, so that a machine
//! that knows nothing else can show the difference. The base is believed in no other way: the
//! proposed root names it by its hash, and a mesh whose root is another one refuses the proposal.
//! Every signature in a proposal has been verified; whether they are *enough* is decided by
//! [`super::VerifiedRoot::successor`] alone.

use super::threshold::{Pending, PendingContent, SignError};
use super::{Root, TrustError, changes, document_hash, parse_document};
use crate::codec;
use crate::crypto::{Crypto, CryptoError, Signer, SigningSet, domain, domain::content_type};
use crate::id::{Digest, MeshId, SignerId};
use crate::limits::MAX_DOCUMENT_BYTES;
use crate::time::UnixSeconds;

/// Largest proposal file: two roots and their frame.
pub const MAX_PROPOSAL_BYTES: usize = 2 * MAX_DOCUMENT_BYTES + 64;

/// Why something is no proposal, or was not signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposalError {
    /// The file, or a document in it, does not hold.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// It proposes a root for another base than the one beside it.
    #[error("the proposed root does not follow the root beside it")]
    OtherBase,
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
}

/// A proposed root and the signatures it has so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    base: Root,
    base_bytes: Vec<u8>,
    mesh: MeshId,
    root: Root,
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
        Self::assemble(crypto, base.to_vec(), pending)
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

    /// Reads a proposal file and verifies every signature in it.
    ///
    /// # Errors
    /// [`ProposalError`].
    pub fn read(crypto: &dyn Crypto, bytes: &[u8]) -> Result<Self, ProposalError> {
        let file: File = codec::decode(bytes, MAX_PROPOSAL_BYTES).map_err(TrustError::from)?;
        Self::assemble(crypto, file.base, Pending::parse(&file.document)?)
    }

    /// The file, with every signature gathered so far.
    #[must_use]
    pub fn file(&self) -> Vec<u8> {
        codec::encode(&File {
            base: self.base_bytes.clone(),
            document: self.pending.bytes().to_vec(),
        })
    }

    fn assemble(
        crypto: &dyn Crypto,
        base_bytes: Vec<u8>,
        pending: Pending,
    ) -> Result<Self, ProposalError> {
        let (cose, base) = parse_document::<Root>(&base_bytes, content_type::ROOT)?;
        // Its bounds are checked, its signatures are not: see above.
        base.validate()?;
        let PendingContent::Root(root) = pending.content().clone() else {
            return Err(TrustError::ContentType.into());
        };
        root.validate()?;
        let mesh = mesh_of(crypto, &base, cose.payload);
        let base_hash = document_hash(crypto, content_type::ROOT, cose.payload);
        let follows = root.previous == Some(base_hash)
            && root.mesh == Some(mesh)
            && Some(root.version) == base.version.checked_add(1);
        if !follows {
            return Err(ProposalError::OtherBase);
        }
        let signed = pending.signers(crypto, &everybody(&base, &root))?;
        Ok(Self {
            base,
            base_bytes,
            mesh,
            root: *root,
            id: pending.hash(crypto),
            pending,
            signed,
        })
    }

    /// The mesh it is for.
    #[must_use]
    pub const fn mesh(&self) -> MeshId {
        self.mesh
    }

    /// The hash of the proposed root's content; no signature changes it.
    #[must_use]
    pub const fn id(&self) -> Digest {
        self.id
    }

    /// The proposed root.
    #[must_use]
    pub const fn root(&self) -> &Root {
        &self.root
    }

    /// The root it would replace, as the file shows it.
    #[must_use]
    pub const fn base(&self) -> &Root {
        &self.base
    }

    /// The hash the proposed root gives as that of its predecessor.
    #[must_use]
    pub const fn previous(&self) -> Option<Digest> {
        self.root.previous
    }

    /// The proposed root with the signatures gathered so far: a document once they are enough.
    #[must_use]
    pub fn document(&self) -> &[u8] {
        self.pending.bytes()
    }

    /// What it would change, a sentence each.
    #[must_use]
    pub fn changes(&self, crypto: &dyn Crypto) -> Vec<String> {
        changes::changes(crypto, &self.base, &self.root)
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
        if !everybody(&self.base, &self.root).contains(signer.public()) {
            return Err(ProposalError::NotAnAdmin(id));
        }
        let mut pending = self.pending;
        pending.add_signature(crypto, signer)?;
        Self::assemble(crypto, self.base_bytes, pending)
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
        Self::assemble(crypto, self.base_bytes, pending)
    }

    /// Whose signatures it has, and how many it needs.
    #[must_use]
    pub fn signatures(&self, crypto: &dyn Crypto) -> Signatures {
        let signed = |set: &SigningSet| self.signed.contains(&set.id(crypto));
        let short = |root: &Root| {
            let have = root.admins.iter().filter(|set| signed(set)).count() as u64;
            root.threshold.saturating_sub(have)
        };
        let (before, after) = (short(&self.base), short(&self.root));
        let unsigned: Vec<SigningSet> = everybody(&self.base, &self.root)
            .into_iter()
            .filter(|set| !signed(set))
            .collect();
        // One signature by an admin of both roots counts twice.
        let in_both =
            |set: &&SigningSet| self.base.admins.contains(set) && self.root.admins.contains(set);
        let both = unsigned.iter().filter(in_both).count() as u64;
        Signatures {
            signed: self.signed.clone(),
            unsigned: unsigned.iter().map(|set| set.id(crypto)).collect(),
            missing: before + after - both.min(before).min(after),
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

/// The admins of either root, each once.
fn everybody(base: &Root, root: &Root) -> Vec<SigningSet> {
    let new = root
        .admins
        .iter()
        .filter(|admin| !base.admins.contains(admin));
    base.admins.iter().chain(new).cloned().collect()
}
