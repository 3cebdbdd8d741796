//! The roots of the mesh for whoever asks on a join stream.

use protocol::crypto::Crypto;
use protocol::id::MeshId;
use protocol::trust::{TrustError, VerifiedRoot};

/// The chain of roots this node holds.
pub trait RootChain: Send + Sync {
    /// The newest version.
    fn newest(&self) -> u64;

    /// The roots from `version` on, as signed, in order; none when there is no such version.
    fn from(&self, version: u64) -> Vec<Vec<u8>>;
}

/// Verifies a chain from its genesis and returns its end, which must be of `mesh`.
pub(super) fn verify(
    crypto: &dyn Crypto,
    mesh: MeshId,
    roots: &[Vec<u8>],
) -> Result<VerifiedRoot, TrustError> {
    let (genesis, later) = roots.split_first().ok_or(TrustError::ForeignMesh)?;
    let first = VerifiedRoot::genesis(crypto, genesis)?;
    if first.mesh() != mesh {
        return Err(TrustError::ForeignMesh);
    }
    later.iter().try_fold(first, |root, next| {
        root.successor(crypto, &next.as_slice().into())
    })
}
