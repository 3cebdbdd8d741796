//! Catching up with the policies that a message was signed under.
//!
//! A header says by which bundle its issuer decided. Where that is newer than what this node has
//! judged, the peer that delivered the message is asked for it, and the decision waits, at most
//! [`BUNDLE_WAIT`]; then this node decides by what it has. A node that has no bundle at all, while
//! others do, decides nothing. An issuer that named a version which did not come is not waited for
//! again for [`IN_VAIN`]: it may have made it up.
//!
//! Only for messages whose signatures hold: what it costs, it costs whoever signed it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use protocol::envelope::{Direction, Header};
use protocol::id::NodeId;
use protocol::policy::{Denial, Verdict};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Enforcer, Stopped};

/// Longest wait for a newer bundle before this node decides by its own (DESIGN §7).
pub const BUNDLE_WAIT: Duration = Duration::from_millis(500);

/// For how long an issuer is not waited for again whose bundle did not come.
pub const IN_VAIN: Duration = Duration::from_secs(10);

/// The refusal of a node that has no bundle, where the issuer of a message has one.
pub const NO_BUNDLE: &str = "no_bundle";

/// Most issuers remembered that were waited for in vain. All are members; beyond it more are waited
/// for again.
const MAX_IN_VAIN: usize = 1024;

/// Asks a peer for newer trust documents than this node has; returns at once.
pub trait Ask: Send + Sync {
    /// Asks it.
    fn ask(&self, peer: NodeId);
}

/// How far this node is with the mesh's bundles.
#[derive(Debug)]
pub(super) struct Judged {
    /// The newest version this node has judged, be it in use or refused.
    version: watch::Sender<u64>,
    in_vain: Mutex<HashMap<NodeId, Instant>>,
}

impl Judged {
    pub(super) fn new(version: u64) -> Self {
        Self {
            version: watch::Sender::new(version),
            in_vain: Mutex::default(),
        }
    }

    /// A bundle of this version is in use, or was refused, from now on.
    pub(super) fn reached(&self, version: u64) {
        self.version.send_if_modified(|known| {
            let newer = version > *known;
            *known = version.max(*known);
            newer
        });
    }

    fn has(&self, version: u64) -> bool {
        *self.version.borrow() >= version
    }

    /// Whether `issuer` may be waited for.
    fn may_wait(&self, issuer: &NodeId, now: Instant) -> bool {
        let in_vain = self.in_vain.lock().unwrap_or_else(PoisonError::into_inner);
        in_vain.get(issuer).is_none_or(|until| *until <= now)
    }

    /// Waits for `version`, at most `limit`; false if it did not come in time.
    async fn wait(&self, issuer: NodeId, version: u64, limit: Duration) -> bool {
        let mut changes = self.version.subscribe();
        let reached = changes.wait_for(|known| *known >= version);
        if tokio::time::timeout(limit, reached).await.is_ok() {
            return true;
        }
        let mut in_vain = self.in_vain.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if in_vain.len() >= MAX_IN_VAIN {
            in_vain.retain(|_, until| *until > now);
        }
        if in_vain.len() < MAX_IN_VAIN {
            in_vain.insert(issuer, now + IN_VAIN);
        }
        false
    }
}

impl Enforcer {
    /// A bundle of this version was judged: it is in use, or cannot be used and what ran before
    /// goes on.
    pub fn judged(&self, version: u64) {
        self.judged.reached(version);
    }

    /// Gives it who asks peers for newer documents; called once, by whoever builds the node.
    pub fn ask_through(&self, ask: Arc<dyn Ask>) {
        drop(self.ask.set(ask));
    }

    /// Whether a message was decided on by a newer bundle than this node's. What comes back to a
    /// client belongs to a call that was decided on.
    pub(super) fn is_behind(&self, header: &Header) -> bool {
        let claims = &header.claims;
        let version = claims.bundle_version;
        let newer = || !self.judged.has(version) || self.policy().bundle_version() == 0;
        claims.direction == Direction::ToServer && version > 0 && newer()
    }

    /// Waits for the bundle that the issuer of a message decided under, where this node
    /// [is behind](Self::is_behind); `peer` delivered it. Cancel safe.
    ///
    /// # Errors
    /// [`NO_BUNDLE`] if this node has none even then.
    pub(super) async fn catch_up(&self, header: &Header, peer: NodeId) -> Result<(), Stopped> {
        let (issuer, version) = (header.cwt.iss, header.claims.bundle_version);
        if !self.judged.has(version) && self.judged.may_wait(&issuer, Instant::now()) {
            if let Some(ask) = self.ask.get() {
                ask.ask(peer);
            }
            if !self.judged.wait(issuer, version, BUNDLE_WAIT).await {
                self.counters.count("bundle_behind");
            }
        }
        // One that was refused here leaves a node that had none before as it was.
        if self.policy().bundle_version() > 0 {
            return Ok(());
        }
        let message =
            format!("this node has no policies yet, its caller decided by bundle {version}");
        Err(Stopped {
            verdict: Verdict::Deny(Denial {
                reason: NO_BUNDLE.to_owned(),
                message,
                policy: None,
                hint: Some(
                    "the node must reach a peer that has them: see `hedgerow doctor` there"
                        .to_owned(),
                ),
            }),
            by_policy: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: NodeId = NodeId::from_bytes([1; 32]);
    const OTHER: NodeId = NodeId::from_bytes([2; 32]);

    #[tokio::test]
    async fn whoever_names_a_bundle_that_does_not_come_is_not_waited_for_again() {
        let judged = Judged::new(3);
        assert!(judged.has(3) && !judged.has(4));
        assert!(!judged.wait(ISSUER, 4, Duration::ZERO).await);
        let now = Instant::now();
        assert!(!judged.may_wait(&ISSUER, now) && judged.may_wait(&OTHER, now));
        assert!(judged.may_wait(&ISSUER, now + IN_VAIN));
    }

    #[tokio::test]
    async fn a_bundle_that_comes_ends_the_wait_and_no_older_one_does() {
        const LONG: Duration = Duration::from_secs(60);
        let judged = Arc::new(Judged::new(3));
        let waits = Arc::clone(&judged);
        let waiting = tokio::spawn(async move { waits.wait(ISSUER, 5, LONG).await });
        tokio::task::yield_now().await;
        judged.reached(4);
        judged.reached(2);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        judged.reached(5);
        assert!(waiting.await.unwrap());
        assert!(judged.has(5) && judged.may_wait(&ISSUER, Instant::now()));
    }

    #[tokio::test]
    async fn those_waited_for_in_vain_are_bounded() {
        let judged = Judged::new(0);
        for number in 0..=MAX_IN_VAIN as u64 {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&number.to_be_bytes());
            judged.wait(NodeId::from_bytes(id), 1, Duration::ZERO).await;
        }
        assert_eq!(judged.in_vain.lock().unwrap().len(), MAX_IN_VAIN);
    }
}
