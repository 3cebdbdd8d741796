//! This node's own identity: its keys, its mesh, its membership.

use std::sync::Arc;

use hedgerow_crypto::{Primitives, SigningKeys, TlsIdentity};
use protocol::crypto::Crypto;
use protocol::id::{MeshId, NodeId};
use protocol::name::Name;
use protocol::trust::{TrustError, VerifiedMembership, VerifiedRoot};

/// Why key files, root and membership do not make one identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The root does not hold.
    #[error("root: {0}")]
    Root(TrustError),
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
    /// The TLS identity is the membership's, the signing set is not.
    #[error("the signing set here is not the one in the membership of node {0}")]
    OtherSigningSet(NodeId),
}

/// What a node is: immutable for the life of the process.
pub struct Identity {
    /// The primitives.
    pub crypto: Arc<dyn Crypto>,
    /// The TLS identity.
    pub tls: Arc<TlsIdentity>,
    /// The signing set, for COSE only.
    pub signing: Arc<SigningKeys>,
    /// The root of the mesh.
    pub root: VerifiedRoot,
    /// This node's membership.
    pub membership: VerifiedMembership,
}

impl Identity {
    /// Puts an identity together and checks that its parts belong together. That the membership
    /// is valid *now* is checked at every use, because it expires.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn new(
        tls: TlsIdentity,
        signing: SigningKeys,
        root: &[u8],
        membership: &[u8],
    ) -> Result<Self, IdentityError> {
        use protocol::crypto::Signer as _;
        let crypto: Arc<dyn Crypto> = Arc::new(Primitives);
        let root = VerifiedRoot::genesis(&*crypto, root).map_err(IdentityError::Root)?;
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
            tls: Arc::new(tls),
            signing: Arc::new(signing),
            root,
            membership,
        })
    }

    /// The node's id.
    #[must_use]
    pub const fn node(&self) -> NodeId {
        self.membership.node()
    }

    /// The node's name.
    #[must_use]
    pub const fn name(&self) -> &Name {
        &self.membership.content().name
    }

    /// The mesh.
    #[must_use]
    pub const fn mesh(&self) -> MeshId {
        self.root.mesh()
    }
}
