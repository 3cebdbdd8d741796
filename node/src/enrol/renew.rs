//! Keeping this node's membership: renewed at half of its life, from any issuer that is reached.
//!
//! Linked nodes are asked over their link, others over a connection that admits nobody, so a node
//! whose membership ended while it slept renews first and is admitted then. An issuer's own node
//! renews its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use protocol::id::NodeId;
use protocol::trust::VerifiedMembership;
use protocol::trust::joining::Granted;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::asking::{Answer, AskError, Asking};
use super::issuer::Issuer;
use super::issuers::IssuerNodes;
use super::limits::{
    DIAL, RENEW_ASKED, RENEW_LONGEST_PAUSE, RENEW_LOOK, RENEW_PAUSE, RENEW_URGENT_PAUSE,
};
use super::office::Office;
use super::redeem::Decided;
use super::request;
use crate::clock::Clock;
use crate::identity::Identity;
use crate::members::Members;
use crate::overlay::Dialing;
use crate::setup;
use crate::transport::{Links, StreamKind};
use tokio::io::{AsyncRead, AsyncWrite};

/// What renewing works with.
pub struct Renewal {
    /// This node.
    pub identity: Arc<Identity>,
    /// The directory.
    pub members: Arc<Members>,
    /// To ask over links, and beside them.
    pub links: Links,
    /// Whose pauses end when the membership is valid again.
    pub dialing: Arc<Dialing>,
    /// This node's own issuer, while it is one.
    pub office: Arc<Office>,
    /// Where the others are.
    pub issuers: Arc<IssuerNodes>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where the membership is kept.
    pub file: PathBuf,
    /// Ticks whenever the membership was renewed.
    pub renewed: watch::Sender<u64>,
}

/// Why one node did not renew the membership.
#[derive(Debug, thiserror::Error)]
enum Setback {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error(transparent)]
    Request(#[from] request::RequestError),
    #[error("{0}")]
    Unreachable(String),
    #[error("no time")]
    Timeout,
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Kept(#[from] setup::SetupError),
}

/// Renews this node's membership whenever it is due, until `stop`.
pub async fn keep_renewed(renewal: Arc<Renewal>, stop: CancellationToken) {
    let mut failures = 0_u32;
    loop {
        let mut pause = RENEW_LOOK;
        if renewal.is_due() {
            let renewed = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                renewed = Box::pin(renewal.renew()) => renewed,
            };
            if renewed {
                failures = 0;
            } else {
                pause = renewal.pause(failures);
                failures = failures.saturating_add(1);
            }
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

impl Renewal {
    fn is_due(&self) -> bool {
        self.clock.now().seconds() >= self.identity.membership().half_life()
    }

    fn pause(&self, failures: u32) -> Duration {
        let now = self.clock.now().seconds();
        let longest = if self.identity.membership().valid_at(now).is_ok() {
            RENEW_LONGEST_PAUSE
        } else {
            RENEW_URGENT_PAUSE
        };
        let pause = RENEW_PAUSE.saturating_mul(2_u32.saturating_pow(failures.min(10)));
        pause.min(longest)
    }

    /// One attempt: asks the nodes most likely to help, one after the other.
    pub async fn renew(&self) -> bool {
        if let Some(issuer) = self.office.holder()
            && self.renew_by_own(&issuer).await
        {
            return true;
        }
        for node in self.candidates() {
            match self.renew_from(node).await {
                Ok(()) => return true,
                Err(error) => {
                    tracing::debug!(node = %node.short(), %error, "the membership was not renewed there");
                }
            }
        }
        let expires = self.identity.membership().content().not_after.0;
        tracing::warn!(expires, "no issuer renewed this node's membership");
        false
    }

    async fn renew_by_own(&self, issuer: &Arc<Issuer>) -> bool {
        let renewed = async {
            let me = self.identity.membership();
            let signing = &self.identity.signing;
            let now = self.clock.now().seconds();
            let crypto = &*self.identity.crypto;
            let request = request::plain(crypto, &self.identity.tls, signing, None, now)?;
            let verified = protocol::trust::VerifiedRequest {
                node: me.node(),
                content: request,
            };
            let decided = issuer.renew(verified, None).await;
            match decided.map_err(|e| Setback::Refused(e.to_string()))? {
                Decided::Granted(membership) => self.take(&membership),
                Decided::Waits(_) => Err(Setback::Refused("it waits".to_owned())),
            }
        };
        match renewed.await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, "this node's issuer did not renew its membership");
                false
            }
        }
    }

    /// Issuers' nodes first, then linked ones, then whoever has an address.
    fn candidates(&self) -> Vec<NodeId> {
        let me = self.identity.node();
        let linked: Vec<NodeId> = self.links.all().iter().map(|link| link.peer).collect();
        let known = self.members.all();
        let known = known.iter().map(|m| m.membership.node());
        let seeds = self.dialing.seeded().into_iter().filter_map(|s| s.node);
        let mut candidates: Vec<NodeId> = Vec::new();
        for node in self
            .issuers
            .nodes()
            .into_iter()
            .chain(linked)
            .chain(seeds)
            .chain(known)
        {
            if node != me && !candidates.contains(&node) && candidates.len() < RENEW_ASKED {
                candidates.push(node);
            }
        }
        candidates
    }

    async fn renew_from(&self, node: NodeId) -> Result<(), Setback> {
        if self.links.get(node).is_some() {
            let opened = self.links.open(node, StreamKind::Join).await;
            let (send, recv) = opened.map_err(|e| Setback::Unreachable(e.to_string()))?;
            return self.ask(send, recv).await;
        }
        let mut last = Setback::Unreachable("no address is known".to_owned());
        for address in self.addresses(node) {
            for remote in resolve(&address).await {
                let approach = timeout(DIAL, self.links.approach(remote, Some(node))).await;
                match approach {
                    Ok(Ok(mut approach)) => {
                        match self.ask(&mut approach.send, &mut approach.recv).await {
                            Ok(()) => return Ok(()),
                            Err(error) => last = error,
                        }
                    }
                    Ok(Err(error)) => last = Setback::Unreachable(error.to_string()),
                    Err(_) => last = Setback::Timeout,
                }
            }
        }
        Err(last)
    }

    fn addresses(&self, node: NodeId) -> Vec<String> {
        let record = self.members.member(&node).and_then(|m| m.record.clone());
        let mut addresses = record.map(|r| r.addresses.clone()).unwrap_or_default();
        let seeds = self.dialing.seeded().into_iter();
        addresses.extend(
            seeds
                .filter(|seed| seed.node == Some(node))
                .map(|seed| seed.address),
        );
        addresses
    }

    async fn ask<S, R>(&self, send: S, recv: R) -> Result<(), Setback>
    where
        S: AsyncWrite + Unpin,
        R: AsyncRead + Unpin,
    {
        let mut asking = Asking::new(send, recv);
        let mesh = self.identity.mesh();
        let challenged = asking.challenge(mesh, None).await?;
        let crypto = &*self.identity.crypto;
        let signing = &self.identity.signing;
        let now = self.clock.now().seconds();
        let mut request = request::plain(crypto, &self.identity.tls, signing, None, now)?;
        request.mesh = Some(mesh);
        request.challenge = Some(challenged.challenge);
        let signed = request.sign(crypto, &**signing);
        let signed = signed.map_err(request::RequestError::from)?;
        let held = self.identity.membership().bytes().to_vec();
        let Granted {
            membership,
            issuers,
            ..
        } = match asking.enrol(signed, Some(held)).await? {
            Answer::Granted(granted) => granted,
            Answer::Waiting => return Err(AskError::Unexpected.into()),
        };
        self.take(&membership)?;
        self.issuers.learn(challenged.issuer, challenged.node).await;
        for told in issuers {
            self.issuers.learn(told.issuer, told.node).await;
        }
        Ok(())
    }

    /// Verifies a membership, keeps it and shows it from now on.
    fn take(&self, bytes: &[u8]) -> Result<(), Setback> {
        let crypto = &*self.identity.crypto;
        let verified = VerifiedMembership::verify(crypto, &self.identity.root(), bytes);
        let verified = verified.map_err(AskError::Forged)?;
        let now = self.clock.now().seconds();
        verified.valid_at(now).map_err(AskError::Forged)?;
        let expires = verified.content().not_after.0;
        let ours = verified.node() == self.identity.node()
            && verified.content().signing == self.identity.membership().content().signing
            && verified.content().name == *self.identity.name();
        if !ours {
            return Err(AskError::NotOurs("for another node").into());
        }
        // On disk before it is shown: a restart must not bring back the one before.
        setup::keep_membership(&self.file, bytes)?;
        if !self.identity.replace_membership(verified) {
            return Err(AskError::NotOurs("no newer than the one there is").into());
        }
        if let Err(error) = self.members.learn_membership(bytes, now) {
            tracing::warn!(%error, "the renewed membership was not taken in");
        }
        self.dialing.again();
        self.renewed.send_modify(|n| *n = n.wrapping_add(1));
        tracing::info!(expires, "membership renewed");
        Ok(())
    }
}

async fn resolve(address: &str) -> Vec<SocketAddr> {
    match tokio::net::lookup_host(address).await {
        Ok(found) => found.collect(),
        Err(_) => Vec::new(),
    }
}
