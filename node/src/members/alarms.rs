//! What this node's operator must know of issuers: that one signed more than it may, or two
//! memberships with one sequence. Either means that its key is in other hands, or that its host
//! runs twice.
//!
//! Kept for as long as the process lives; who is refused raises it again. Bounded by the issuers of
//! a root, so that nothing a peer sends makes it grow.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use protocol::id::{NodeId, SignerId};
use protocol::limits::MAX_ROLE_KEYS;
use protocol::trust::{TrustError, VerifiedMembership};

/// Kinds of alarms there are of one issuer.
const KINDS: usize = 2;

/// What an issuer did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerAlarm {
    /// Who.
    pub issuer: SignerId,
    /// The stable name of the refusal.
    pub reason: &'static str,
    /// The same, for people.
    pub text: String,
    /// How many memberships were refused for it since the start; one that is shown again counts
    /// again.
    pub refused: u64,
    /// The node of the last of them.
    pub node: NodeId,
}

/// Every alarm.
#[derive(Debug, Default)]
pub(super) struct Alarms {
    raised: Mutex<BTreeMap<(SignerId, &'static str), IssuerAlarm>>,
}

impl Alarms {
    /// Takes note of a membership refused for what its issuer did.
    pub(super) fn raise(&self, membership: &VerifiedMembership, error: &TrustError) {
        let ours = matches!(
            error,
            TrustError::IssuerTooFast(_) | TrustError::IssuerEquivocates(_)
        );
        let (issuer, node, reason) = (membership.issuer(), membership.node(), error.reason());
        let mut raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        if !ours
            || (raised.len() >= KINDS * MAX_ROLE_KEYS && !raised.contains_key(&(issuer, reason)))
        {
            return;
        }
        let alarm = raised.entry((issuer, reason)).or_insert_with(|| {
            tracing::error!(
                issuer = %issuer.short(),
                node = %node.short(),
                %error,
                "a membership is refused for what its issuer did: is the issuer's key in other hands?"
            );
            IssuerAlarm {
                issuer,
                reason,
                text: String::new(),
                refused: 0,
                node,
            }
        });
        alarm.refused = alarm.refused.saturating_add(1);
        alarm.node = node;
        alarm.text = error.to_string();
    }

    /// All of them.
    pub(super) fn list(&self) -> Vec<IssuerAlarm> {
        let raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        raised.values().cloned().collect()
    }
}
