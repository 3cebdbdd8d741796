//! The roles the root in force gives this node, by the keys it holds: issuer and timestamper.
//!
//! A role is taken up when a root that names the key arrives, and laid down when one comes that no
//! longer does, without a restart. The key files are read again each time: a key may have been made
//! while the node ran. Where an issuer runs, as far as the root says so, is learned here too.
//!
//! What it does not do: sign. The issuer and the trust task do, and each asks the root again.

use std::sync::Arc;

use hedgerow_crypto::SigningKeys;
use protocol::crypto::Signer as _;
use protocol::id::{NodeId, SignerId};
use tokio_util::sync::CancellationToken;

use super::AppError;
use crate::clock::Clock;
use crate::enrol::{Barred, Issuer, IssuerNodes, Office};
use crate::identity::Identity;
use crate::members::Members;
use crate::overlay::trust::Trust;
use crate::setup;
use crate::standing::Standing;
use crate::state_dir::StateDir;
use crate::store::Store;

/// Gives this node's roles to its keys.
pub(super) struct Roles {
    pub(super) dir: StateDir,
    pub(super) identity: Arc<Identity>,
    pub(super) members: Arc<Members>,
    pub(super) standing: Arc<Standing>,
    pub(super) store: Store,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) trust: Trust,
    pub(super) office: Arc<Office>,
    pub(super) issuers: Arc<IssuerNodes>,
}

impl Roles {
    /// Takes up and lays down the office of issuer as the root in force says.
    ///
    /// # Errors
    /// The key file is not usable, or the issuer's books are not.
    pub(super) async fn fill_office(&self) -> Result<(), AppError> {
        let state = self.standing.now();
        let root = state.root();
        let named = |signer: &SignerId| root.issuer_ids().contains(signer);
        let hosts = root.root().hosts().iter();
        let hosts: Vec<(SignerId, NodeId)> = hosts
            .filter(|host| named(&host.signer))
            .map(|host| (host.signer, host.node))
            .collect();
        for (issuer, node) in hosts {
            self.issuers.learn(issuer, node).await;
        }
        let id = |keys: &SigningKeys| keys.public().id(&*self.identity.crypto);
        let keys = setup::issuer(&self.dir)?.filter(|keys| named(&id(keys)));
        let holder = self.office.holder();
        match (keys, holder) {
            (None, None) => {}
            (None, Some(holder)) => {
                self.office.give_to(None);
                tracing::info!(issuer = %holder.id().short(), "the root no longer names this issuer");
            }
            (Some(keys), Some(holder)) if holder.id() == id(&keys) => {}
            (Some(keys), _) => {
                let opened = Issuer::open(
                    Arc::clone(&self.identity),
                    Arc::clone(&self.members),
                    self.store.clone(),
                    Arc::clone(&self.clock),
                    Arc::clone(&self.standing) as Arc<dyn Barred>,
                    keys,
                );
                let issuer = Box::pin(opened).await?;
                self.issuers.learn(issuer.id(), issuer.node()).await;
                tracing::info!(issuer = %issuer.id().short(), "issues memberships");
                self.office.give_to(Some(issuer));
            }
        }
        Ok(())
    }

    /// Follows the roots that come, until `stop`.
    pub(super) async fn follow(self, stop: CancellationToken) {
        let mut changes = self.standing.changes();
        let mut followed: Option<u64> = None;
        loop {
            let version = self.standing.now().root().root().version;
            if followed != Some(version) {
                match self.take_up().await {
                    Ok(()) => followed = Some(version),
                    // Looked at again with the next document that comes.
                    Err(error) => {
                        tracing::error!(%error, "a role the root gives was not taken up");
                    }
                }
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                changed = changes.changed() => if changed.is_err() {
                    stop.cancelled().await;
                    return;
                },
            }
        }
    }

    async fn take_up(&self) -> Result<(), AppError> {
        self.fill_office().await?;
        if let Some(keys) = setup::timestamper(&self.dir)? {
            self.trust.stamp_with(keys).await;
        }
        Ok(())
    }
}
