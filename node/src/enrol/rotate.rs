//! `id rotate`: new keys for a node under its old name, while the node does not run.
//!
//! The new keys are made beside the old ones and the request is signed by both signing sets. Once
//! the membership is there it is written first, and from then on the keys change places, now or at
//! the next start; before that nothing has changed and the rotation can be tried again with the same
//! new keys. Where this host is an issuer it judges by the trust documents it kept, as it would
//! while it runs: who is revoked rotates into no new identity. The issuer and everyone who learns of the new membership refuse the old keys.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use hedgerow_crypto::{Primitives, SigningKeys};
use protocol::crypto::Signer as _;
use protocol::id::{Challenge, NodeId};
use protocol::name::Name;
use protocol::trust::{NodeRecord, PeerAddress, VerifiedMembership};
use tokio_util::sync::CancellationToken;

use super::asking::{Answer, AskError, Asking};
use super::issuer::Issuer;
use super::join::{Tried, dialer, list};
use super::redeem::Decided;
use super::refused::Refused;
use super::request::{self, RequestError};
use crate::backup::{BackupError, Restored};
use crate::clock::{Clock as _, SystemClock};
use crate::identity::Identity;
use crate::members::Members;
use crate::overlay;
use crate::overlay::trust::RestoreError;
use crate::setup::{self, Keys, SetupError};
use crate::standing::Standing;
use crate::state_dir::{StateDir, StateDirError};
use crate::store::{self, OpenError, Store, StoreError};
use crate::transport::BindError;

/// What came of a rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// The node's name, which stays.
    pub name: Name,
    /// Its id before.
    pub old: NodeId,
    /// Its id now.
    pub new: NodeId,
}

/// Why keys were not rotated.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// The state directory, or a node that runs on it.
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    /// Keys, root or membership.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The store.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store, once open.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No UDP port to dial from.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The request was not made.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The trust documents it kept.
    #[error(transparent)]
    Trust(#[from] RestoreError),
    /// The mark of a restore.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// What this host's issuer knows may be of long ago.
    #[error("this node was restored from a backup and has not synced since")]
    NotSynced,
    /// This host's own issuer refuses.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// No issuer was reached, or none agreed.
    #[error("no issuer rotated this node's keys: {}", list(.0))]
    Unreachable(Vec<Tried>),
}

impl RotateError {
    /// What can be done about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::StateDir(error) => error.hint(),
            Self::Setup(error) => error.hint(),
            Self::Open(error) => error.hint(),
            Self::Backup(error) => error.hint(),
            Self::NotSynced => {
                Some("start it first, so that its peers tell it who is revoked".to_owned())
            }
            Self::Refused(refused) => refused.hint().map(str::to_owned),
            Self::Unreachable(_) => {
                Some("see that an issuer's node runs and is reached from here".to_owned())
            }
            _ => None,
        }
    }
}

/// Rotates the keys of the node at `state`, which must not run.
///
/// # Errors
/// [`RotateError`]; the old keys are in force still.
pub async fn rotate(state: &Path) -> Result<Rotated, RotateError> {
    let dir = StateDir::open(state)?;
    let _lock = dir.lock()?;
    let identity = Arc::new(setup::load(&dir)?);
    let next = setup::next_keys(&dir)?;
    let options = store::Options::new(crate::app::read_link(Arc::clone(&identity.crypto)));
    let store = Store::open(&dir.store(), &options)?;
    let rotation = Rotation {
        identity: Arc::clone(&identity),
        new: next.tls.node_id(&Primitives),
        next,
    };
    let granted = match setup::issuer(&dir)? {
        Some(keys) => rotation.by_own(&dir, &store, keys).await,
        None => rotation.by_others(peers(&dir, &store, &identity)?).await,
    };
    store.close().await?;
    setup::commit_rotation(&dir, &granted?)?;
    Ok(Rotated {
        name: identity.name().clone(),
        old: identity.node(),
        new: rotation.new,
    })
}

/// Whom to ask: those the admission named, and every node whose record is kept.
fn peers(
    dir: &StateDir,
    store: &Store,
    identity: &Identity,
) -> Result<Vec<PeerAddress>, RotateError> {
    let admission = setup::admission(dir)?;
    let mut peers = admission.map(|a| a.peers).unwrap_or_default();
    let now = SystemClock.now().seconds();
    store.snapshot()?.each_node_record(|node, bytes| {
        // An old address is a place to try as well, but a record that holds is as easily read.
        let record = NodeRecord::verify(&*identity.crypto, &identity.root(), bytes, now);
        if let Ok(record) = record
            && node != identity.node()
        {
            let addresses = record.content.addresses;
            peers.push(PeerAddress { node, addresses });
        }
    })?;
    Ok(peers)
}

struct Rotation {
    identity: Arc<Identity>,
    next: Keys,
    new: NodeId,
}

impl Rotation {
    /// The request, signed by the new signing set and the old.
    fn request(&self, challenge: Challenge) -> Result<Vec<u8>, RequestError> {
        let now = SystemClock.now().seconds();
        let (tls, signing) = (&self.next.tls, &self.next.signing);
        let mut request = request::plain(&Primitives, tls, signing, None, now)?;
        request.mesh = Some(self.identity.mesh());
        request.challenge = Some(challenge);
        request.replaces = Some(self.identity.node());
        let old = &*self.identity.signing;
        Ok(request.sign_rotation(&Primitives, signing, old)?)
    }

    async fn by_own(
        &self,
        dir: &StateDir,
        store: &Store,
        keys: SigningKeys,
    ) -> Result<Vec<u8>, RotateError> {
        if Restored::pending(dir)?.is_some() {
            return Err(RotateError::NotSynced);
        }
        let identity = &self.identity;
        let state = overlay::trust::restore(dir, store, &*identity.crypto)?;
        let members = Members::new(Arc::clone(&identity.crypto), identity.root());
        let issuer = Issuer::open(
            Arc::clone(identity),
            Arc::new(members),
            store.clone(),
            Arc::new(SystemClock),
            Arc::new(Standing::new(Arc::new(state))),
            keys,
        );
        let issuer = issuer.await?;
        // Nobody could replay it: it does not leave the process.
        let challenge = Challenge::from_bytes([0; 32]);
        let request = self.request(challenge)?;
        match issuer.judge(request, None, challenge).await? {
            Decided::Granted(membership) => Ok(membership),
            Decided::Waits(_) => Err(Refused::Denied.into()),
        }
    }

    async fn by_others(&self, peers: Vec<PeerAddress>) -> Result<Vec<u8>, RotateError> {
        let stop = CancellationToken::new();
        let _stopped = stop.clone().drop_guard();
        let mut tried = Vec::new();
        let v4 = dialer(&self.next, std::net::Ipv4Addr::UNSPECIFIED.into(), &stop);
        let v6 = dialer(&self.next, std::net::Ipv6Addr::UNSPECIFIED.into(), &stop);
        for peer in peers {
            for address in peer.addresses {
                let failed = |reason: &str, why: String| Tried {
                    node: peer.node,
                    address: address.clone(),
                    why,
                    reason: reason.to_owned(),
                };
                let found: Vec<SocketAddr> = match tokio::net::lookup_host(&address).await {
                    Ok(found) => found.collect(),
                    Err(e) => {
                        tried.push(failed("unresolved", format!("cannot resolve: {e}")));
                        continue;
                    }
                };
                for remote in found {
                    let dialer = if remote.is_ipv4() { &v4 } else { &v6 };
                    let Ok(links) = dialer else { continue };
                    let mut approach = match links.approach(remote, Some(peer.node)).await {
                        Ok(approach) => approach,
                        Err(e) => {
                            tried.push(failed(e.name(), super::join::one_line(&e)));
                            continue;
                        }
                    };
                    let asking = Asking::new(&mut approach.send, &mut approach.recv);
                    match self.ask(asking).await {
                        Ok(membership) => return Ok(membership),
                        Err(e) => tried.push(failed("rotation_refused", e)),
                    }
                }
            }
        }
        Err(RotateError::Unreachable(tried))
    }

    async fn ask<S, R>(&self, mut asking: Asking<S, R>) -> Result<Vec<u8>, String>
    where
        S: tokio::io::AsyncWrite + Unpin,
        R: tokio::io::AsyncRead + Unpin,
    {
        let text = |e: AskError| e.to_string();
        let mesh = self.identity.mesh();
        let challenged = asking.challenge(mesh, None).await.map_err(text)?;
        let (root, _) = asking.roots(&Primitives, mesh).await.map_err(text)?;
        let request = self.request(challenged.challenge);
        let request = request.map_err(|e| e.to_string())?;
        let held = self.identity.membership().bytes().to_vec();
        let granted = match asking.enrol(request, Some(held)).await.map_err(text)? {
            Answer::Granted(granted) => granted,
            Answer::Waiting => return Err(text(AskError::Unexpected)),
        };
        let verified = VerifiedMembership::verify(&Primitives, &root, &granted.membership);
        let verified = verified.map_err(|e| e.to_string())?;
        let content = verified.content();
        let ours = verified.node() == self.new
            && content.signing == *self.next.signing.public()
            && content.name == *self.identity.name();
        if ours {
            Ok(granted.membership)
        } else {
            Err(text(AskError::NotOurs("for another node")))
        }
    }
}

#[cfg(test)]
mod tests;
