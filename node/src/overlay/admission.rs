//! Who may stay: members of this mesh with a membership that is valid now.

use std::sync::{Arc, PoisonError, RwLock};

use protocol::hello::{Heads, Hello, VERSIONS};
use protocol::limits::MAX_ADDRESSES;

use crate::clock::Clock;
use crate::identity::Identity;
use crate::members::Members;
use crate::transport::{Admission, PeerIdentity, Refusal};

/// Says and judges hello.
pub struct MeshAdmission {
    identity: Arc<Identity>,
    members: Arc<Members>,
    clock: Arc<dyn Clock>,
    addresses: RwLock<Vec<String>>,
}

impl MeshAdmission {
    /// Admits members of `identity`'s mesh and notes them in `members`.
    #[must_use]
    pub fn new(identity: Arc<Identity>, members: Arc<Members>, clock: Arc<dyn Clock>) -> Self {
        Self {
            identity,
            members,
            clock,
            addresses: RwLock::default(),
        }
    }

    /// Sets where this node says it can be reached.
    pub fn advertise(&self, mut addresses: Vec<String>) {
        addresses.truncate(MAX_ADDRESSES);
        *self
            .addresses
            .write()
            .unwrap_or_else(PoisonError::into_inner) = addresses;
    }

    /// Where this node says it can be reached.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.addresses
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Admission for MeshAdmission {
    fn hello(&self) -> Vec<u8> {
        let root = self.identity.root();
        let root = root.root();
        Hello {
            lowest: VERSIONS.0,
            highest: VERSIONS.1,
            suite: root.suite,
            mesh: self.identity.mesh(),
            membership: self.identity.membership().bytes().to_vec(),
            addresses: self.addresses(),
            heads: Heads {
                root: root.version,
                bundle: 0,
                revocations: 0,
            },
        }
        .encode()
    }

    fn admit(&self, peer: &PeerIdentity, hello: &[u8]) -> Result<(), Refusal> {
        let refuse = |reason: &str, text: String| Refusal::new(reason, text);
        let crypto = &*self.identity.crypto;
        let (hello, membership) = Hello::verify(crypto, &self.identity.root(), peer.node, hello)
            .map_err(|e| refuse(e.reason(), e.to_string()))?;
        let now = self.clock.now().seconds();
        membership
            .valid_at(now)
            .map_err(|e| refuse(e.reason(), format!("the peer's membership: {e}")))?;
        self.members
            .learn_membership(&hello.membership, now)
            .map(drop)
            .map_err(|e| refuse("directory_refused", e.to_string()))
    }
}
