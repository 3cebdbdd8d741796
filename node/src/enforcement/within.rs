//! What policy denies within a call that goes on without it.
//!
//! While a call runs its server may ask the client something, and either side may notify the other.
//! Such a message is decided on like any other, but the call it belongs to was let pass: what policy
//! says against the one is no reason to end the other, whose tool has begun. So at the ends of a call
//! only that message fails. It is not signed, or, where it came from another node, it counts in its
//! stream, which stays whole for everybody who numbers it, and nothing acts on it. A relay cannot do
//! that: it would leave a gap in the stream of another, so there the call ends.
//!
//! What a server sends its client within a call could as well stand in the result, so the patterns
//! that a document denies in the results of that call hold for it too. In a session and outside of
//! its calls, those of documents that are about no certain tools, resources or prompts.
//!
//! What ends a call as before: its response, whatever is wrong with a message itself, what is
//! revoked, and whoever is cut off.

use protocol::envelope::{Direction, Header, Kind};
use protocol::id::EnvelopeId;
use protocol::policy::{Facts, Policy, Verdict};
use protocol::record::DecisionRecord;

use super::policies::{Asked, Duties, note};
use super::subject::Described;
use super::{Enforcer, SEVERED, Stopped, by_policy, severed};

/// The method of what a server says outside of calls, where policies ask for one.
const OUTSIDE: &str = "notifications/message";

/// A message of another node within a call, verified, that policy denies: recorded, counted in its
/// stream, and not to be acted on.
#[derive(Debug)]
pub struct Dropped {
    /// Its envelope.
    pub id: EnvelopeId,
    /// What it says of itself.
    pub described: Described,
    /// Why.
    pub stopped: Stopped,
}

/// Whether a refusal is of this message alone, and the call it belongs to goes on.
pub(super) fn is_alone(stopped: &Stopped, header: &Header) -> bool {
    let claims = &header.claims;
    let nested = match claims.kind {
        Kind::Request => claims.direction == Direction::ToClient,
        Kind::Response => claims.direction == Direction::ToServer,
        Kind::Notification => true,
    };
    let denied = matches!(stopped.verdict, Verdict::Deny(_)) && stopped.by_policy;
    nested && claims.parent.is_some() && denied && stopped.reason() != SEVERED
}

impl Enforcer {
    /// Whether a server may send its client this: what no result of the call may hold, nothing
    /// before the result may either.
    ///
    /// # Errors
    /// [`Stopped`], as for the result.
    pub(super) fn may_tell(
        &self,
        asked: &Asked<'_>,
        policy: &dyn Policy,
        facts: &Facts<'_>,
        record: &mut DecisionRecord,
    ) -> Result<(), Stopped> {
        let tells = asked.header.claims.direction == Direction::ToClient
            && asked.header.claims.kind != Kind::Response;
        let Some(call) = asked.within.filter(|_| tells) else {
            return Ok(());
        };
        let mut result = Facts {
            kind: Kind::Response,
            method: &call.method,
            target: call.target.as_deref(),
            tool_digest: call.tool_digest,
            intents: &[],
            ..*facts
        };
        if result.call().is_none() {
            (result.method, result.target, result.tool_digest) = (OUTSIDE, None, None);
        }
        let decision = policy.evaluate(&result);
        if decision.violations.is_empty() && matches!(decision.verdict, Verdict::Allow(_)) {
            return Ok(());
        }
        record.basis = self.basis(asked, &result, &decision).map(Box::new);
        let alerts = decision.alerts().map(|violation| violation.policy.clone());
        note(&mut record.alerts, alerts);
        if matches!(decision.verdict, Verdict::Allow(_)) {
            return Ok(());
        }
        let whom = severed::whom(policy, asked, &decision.violations);
        Err(self.severing(asked, by_policy(decision.verdict), whom))
    }

    /// As [`Enforcer::evaluate`], of what this node itself says in place of a message that policies
    /// denied. They were asked about that, and this has nothing of it: only who is cut off is not
    /// answered for.
    pub(super) fn evaluate_refusal(
        &self,
        asked: &Asked<'_>,
        record: &mut DecisionRecord,
    ) -> Result<Duties, Stopped> {
        record.bundle_version = self.policy().bundle_version();
        let (node, agent) = (asked.caller().node(), &asked.header.cwt.sub);
        match self.severed.barred(node, agent, asked.now) {
            Some(denial) => Err(by_policy(Verdict::Deny(denial))),
            None => Ok(Duties::default()),
        }
    }
}
