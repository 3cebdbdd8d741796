//! The roots of the mesh for whoever asks on a join stream.

use std::sync::Arc;

use protocol::crypto::Crypto;
use protocol::id::MeshId;
use protocol::trust::{TrustError, VerifiedRoot};

use crate::identity::Identity;

/// The chain of roots this node holds.
pub trait RootChain: Send + Sync {
    /// The newest version.
    fn newest(&self) -> u64;

    /// The roots from `version` on, as signed, in order; none when there is no such version.
    fn from(&self, version: u64) -> Vec<Vec<u8>>;
}

/// The chain of a mesh whose root is its genesis.
pub struct GenesisOnly(pub Arc<Identity>);

impl RootChain for GenesisOnly {
    fn newest(&self) -> u64 {
        self.0.root().root().version
    }

    fn from(&self, version: u64) -> Vec<Vec<u8>> {
        let root = self.0.root();
        if version == root.root().version {
            vec![root.bytes().to_vec()]
        } else {
            Vec::new()
        }
    }
}

/// Verifies a chain from its genesis and returns its end, which must be of `mesh`.
pub(super) fn verify(
    crypto: &dyn Crypto,
    mesh: MeshId,
    roots: &[Vec<u8>],
) -> Result<VerifiedRoot, TrustError> {
    let (genesis, later) = roots.split_first().ok_or(TrustError::ForeignMesh)?;
    let root = VerifiedRoot::genesis(crypto, genesis)?;
    if root.mesh() != mesh {
        return Err(TrustError::ForeignMesh);
    }
    // Nothing signs a successor yet that could be verified here.
    if later.is_empty() {
        Ok(root)
    } else {
        Err(TrustError::Field("version"))
    }
}
