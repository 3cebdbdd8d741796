//! Who may stay: members of this mesh with a membership that is valid now.

use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use protocol::hello::{Heads, Hello, VERSIONS};
use protocol::id::NodeId;
use protocol::limits::MAX_ADDRESSES;

use crate::clock::Clock;
use crate::identity::Identity;
use crate::members::{DirectoryError, Members};
use crate::standing::Standing;
use crate::transport::{Admission, PeerIdentity, Refusal};

/// Says and judges hello.
pub struct MeshAdmission {
    identity: Arc<Identity>,
    members: Arc<Members>,
    clock: Arc<dyn Clock>,
    standing: Arc<Standing>,
    addresses: RwLock<Vec<String>>,
    kept_off: OnceLock<Box<KeptOff>>,
}

/// Why a peer is kept off for what it did, if it is.
pub type KeptOff = dyn Fn(&NodeId) -> Option<Refusal> + Send + Sync;

impl MeshAdmission {
    /// Admits members of `identity`'s mesh whom `standing` does not bar, and notes them in
    /// `members`.
    #[must_use]
    pub fn new(
        identity: Arc<Identity>,
        members: Arc<Members>,
        clock: Arc<dyn Clock>,
        standing: Arc<Standing>,
    ) -> Self {
        Self {
            identity,
            members,
            clock,
            standing,
            addresses: RwLock::default(),
            kept_off: OnceLock::new(),
        }
    }

    /// Admits nobody of whom this says why not; called once, by whoever builds the node.
    pub fn keep_off(&self, kept_off: Box<KeptOff>) {
        drop(self.kept_off.set(kept_off));
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
        let state = self.standing.now();
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
                bundle: state.bundle().map_or(0, |b| b.version()),
                revocations: state.logs().map(|log| log.log().length()).sum(),
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
        self.standing
            .member(membership.facts())
            .map_err(|e| refuse(e.reason(), e.to_string()))?;
        if let Some(refusal) = self.kept_off.get().and_then(|why| why(&peer.node)) {
            return Err(refusal);
        }
        self.members
            .learn_membership(&hello.membership, now)
            .map(drop)
            .map_err(|e| match e {
                DirectoryError::Superseded(_) => refuse("superseded", e.to_string()),
                DirectoryError::Trust(ref why) => refuse(why.reason(), e.to_string()),
                _ => refuse("directory_refused", e.to_string()),
            })
    }
}
