//! This node's own identity: its keys, its mesh, its membership.
//!
//! The keys stay for the life of the process. The root in force and the membership are replaced
//! when a successor was verified; whoever decides takes one snapshot and decides by that.

use std::sync::{Arc, PoisonError, RwLock};

use hedgerow_crypto::{Primitives, SigningKeys, TlsIdentity};
use protocol::crypto::{Crypto, CryptoError};
use protocol::id::{MeshId, NodeId};
use protocol::name::Name;
use protocol::trust::{TrustError, VerifiedMembership, VerifiedRoot};

use crate::roots::{self, RootsError};
use crate::sealing::SealingKeys;

/// Why key files, root and membership do not make one identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The root, or one after it, does not hold.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// The membership does not hold under the root.
    #[error("membership: {0}")]
    Membership(TrustError),
    /// The membership is of other keys than those in the state directory.
    #[error("the membership is of node {membership}, the keys here are of node {keys}")]
    OtherKeys {
        /// The node the membership names.
        membership: NodeId,
        /// The node the keys make.
        keys: NodeId,
    },
    /// No sealing key could be drawn.
    #[error("no sealing key: {0}")]
    Sealing(#[from] CryptoError),
    /// The TLS identity is the membership's, the signing set is not.
    #[error("the signing set here is not the one in the membership of node {0}")]
    OtherSigningSet(NodeId),
}

/// What a node is.
pub struct Identity {
    /// The primitives.
    pub crypto: Arc<dyn Crypto>,
    /// The TLS identity.
    pub tls: Arc<TlsIdentity>,
    /// The signing set, for COSE only.
    pub signing: Arc<SigningKeys>,
    /// The sealing keys of this process.
    pub sealing: SealingKeys,
    genesis: Vec<u8>,
    node: NodeId,
    name: Name,
    mesh: MeshId,
    root: RwLock<Arc<VerifiedRoot>>,
    membership: RwLock<Arc<VerifiedMembership>>,
}

impl Identity {
    /// Puts an identity together and checks that its parts belong together: the genesis root, those
    /// after it, and a membership that holds under the last. That the membership
    /// is valid *now* is checked at every use, because it expires.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn new(
        tls: Arc<TlsIdentity>,
        signing: SigningKeys,
        genesis: &[u8],
        roots: &[Vec<u8>],
        membership: &[u8],
    ) -> Result<Self, IdentityError> {
        use protocol::crypto::Signer as _;
        let crypto: Arc<dyn Crypto> = Arc::new(Primitives);
        let root = roots::in_force(&*crypto, genesis, roots)?;
        let membership = VerifiedMembership::verify(&*crypto, &root, membership)
            .map_err(IdentityError::Membership)?;
        let keys = NodeId::of_tls_key(&*crypto, tls.public_key());
        if membership.node() != keys {
            return Err(IdentityError::OtherKeys {
                membership: membership.node(),
                keys,
            });
        }
        if membership.content().signing != *signing.public() {
            return Err(IdentityError::OtherSigningSet(keys));
        }
        Ok(Self {
            crypto,
            tls,
            signing: Arc::new(signing),
            sealing: SealingKeys::generate(&Primitives)?,
            genesis: genesis.to_vec(),
            node: keys,
            name: membership.content().name.clone(),
            mesh: root.mesh(),
            root: RwLock::new(Arc::new(root)),
            membership: RwLock::new(Arc::new(membership)),
        })
    }

    /// The node's id.
    #[must_use]
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// The node's name; it stays when the membership is renewed.
    #[must_use]
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// The mesh.
    #[must_use]
    pub const fn mesh(&self) -> MeshId {
        self.mesh
    }

    /// The genesis root, as signed.
    #[must_use]
    pub fn genesis(&self) -> &[u8] {
        &self.genesis
    }

    /// The root in force.
    #[must_use]
    pub fn root(&self) -> Arc<VerifiedRoot> {
        Arc::clone(&self.root.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// This node's membership, the one it shows to others.
    #[must_use]
    pub fn membership(&self) -> Arc<VerifiedMembership> {
        Arc::clone(
            &self
                .membership
                .read()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Puts a successor of the root in force. One of another mesh or no newer changes nothing.
    pub fn replace_root(&self, root: Arc<VerifiedRoot>) {
        let mut current = self.root.write().unwrap_or_else(PoisonError::into_inner);
        if root.mesh() == self.mesh && root.root().version > current.root().version {
            *current = root;
        }
    }

    /// Shows another membership from now on. One of another node, name or signing set, or that ends
    /// no later than the one there is, changes nothing and is `false`.
    pub fn replace_membership(&self, membership: VerifiedMembership) -> bool {
        use protocol::crypto::Signer as _;
        let content = membership.content();
        let mut current = self
            .membership
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let ours = membership.node() == self.node
            && content.name == self.name
            && content.signing == *self.signing.public()
            && content.not_after > current.content().not_after;
        if ours {
            *current = Arc::new(membership);
        }
        ours
    }
}
