//! Calls that policy wants approved before they go on.
//!
//! Only the node of the server holds: it alone knows the whole call, and what it lets go on happens
//! there. The caller's node and relays pass on what they would have held, unmarked; what they would
//! deny even if it were approved they deny. Only a request that begins a call can wait. Whatever
//! else policy wants approved is refused as [`APPROVAL_REQUIRED`].
//!
//! A held call is verified and its request id is used up, so no copy of it starts. Before it goes
//! on it is judged anew, by what is in force then: see [`Enforcer::resume`].

use std::sync::Arc;

use protocol::envelope::hop::HopRecord;
use protocol::envelope::{CallSeal, Claims, Direction, Refusal, VerifiedEnvelope};
use protocol::id::NodeId;
use protocol::name::Name;
use protocol::policy::{ApprovalPart, ApprovalTerms, Denial, Verdict};
use protocol::record::{ApprovalNote, DecisionRecord, Point};
use protocol::time::UnixMillis;

use super::decide::{mismatch, note, refused};
use super::policies::Asked;
use super::subject::Described;
use super::{Enforcer, Open, Stopped, by_policy};

/// The reason for what policy wants approved and cannot wait, and of the record of what waits.
pub const APPROVAL_REQUIRED: &str = "approval_required";

/// The reason for an approved call that policy wants approved by others since.
pub const APPROVAL_OUTDATED: &str = "approval_outdated";

/// A call that waits for approval: verified, and nothing has acted on it.
#[derive(Debug)]
pub struct Held {
    /// Its first message.
    pub envelope: Box<VerifiedEnvelope>,
    /// What that says of itself.
    pub described: Described,
    /// What seals the call, where relays carry it.
    pub seal: Option<Arc<CallSeal>>,
    /// What it waits for.
    pub hold: Hold,
}

/// What policy wants before a call goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Why it is held.
    pub why: Denial,
    /// Who must approve, and within what time.
    pub terms: ApprovalTerms,
    /// The record of the decision, to be written when it is known whether the call can wait.
    pub(super) record: Box<DecisionRecord>,
    /// The relays it came over, verified.
    hops: Vec<HopRecord>,
    /// The address of the caller's node as the next hop saw it.
    address: Option<String>,
}

impl Hold {
    /// The address of the caller's node, as the next hop saw it.
    #[must_use]
    pub fn address(&self) -> Option<&str> {
        self.address.as_deref()
    }
}

/// As [`Hold`], before there is a record.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) why: Denial,
    pub(super) terms: ApprovalTerms,
    pub(super) hops: Vec<HopRecord>,
    pub(super) address: Option<String>,
}

impl Wanted {
    pub(super) fn noted(self, mut record: DecisionRecord) -> Hold {
        let Self {
            why,
            terms,
            hops,
            address,
        } = self;
        "hold".clone_into(&mut record.verdict);
        record.reason = Some(APPROVAL_REQUIRED.to_owned());
        record.policy.clone_from(&why.policy);
        Hold {
            why,
            terms,
            record: Box::new(record),
            hops,
            address,
        }
    }
}

/// Whether what one policy asks for was given.
pub type Covers<'a> = dyn Fn(&ApprovalPart) -> bool + Send + Sync + 'a;

/// A held call as records name it.
#[derive(Debug, Clone)]
pub struct HeldCall {
    /// The node of the caller.
    pub caller: NodeId,
    /// On whose behalf.
    pub agent: Name,
    /// The server.
    pub server: Name,
    /// The method.
    pub method: String,
    /// What it acts on.
    pub target: Option<String>,
    /// The policy that holds it; of several the first.
    pub policy: Option<String>,
}

/// What a node does with a message that policy wants approved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnHold {
    /// It waits here.
    Wait,
    /// It is for the node of the server to hold.
    PassOn,
    /// It cannot wait.
    Refuse,
}

impl Asked<'_> {
    pub(super) fn on_hold(&self) -> OnHold {
        let begins = self.header.begins_call() && self.header.claims.method != "initialize";
        let to_server = self.header.claims.direction == Direction::ToServer;
        match self.point {
            Point::Relay => OnHold::PassOn,
            Point::Ingress if begins && to_server => OnHold::PassOn,
            Point::Egress if begins && to_server => OnHold::Wait,
            Point::Ingress | Point::Egress | Point::Link => OnHold::Refuse,
        }
    }
}

/// The refusal of a call of a tool that is, at its own node, defined otherwise than its header says.
pub(crate) fn other_definition() -> Stopped {
    mismatch("tool digest")
}

/// The refusal of what would have to wait and cannot.
pub(super) fn cannot_wait(why: Denial) -> Stopped {
    by_policy(Verdict::Deny(Denial {
        reason: APPROVAL_REQUIRED.to_owned(),
        message: format!("{}, and this cannot wait for approval", why.message),
        ..why
    }))
}

/// The refusal of what was approved by others than policy now wants.
pub(super) fn outdated(why: Denial) -> Stopped {
    by_policy(Verdict::Deny(Denial {
        reason: APPROVAL_OUTDATED.to_owned(),
        message: format!(
            "{}, and what was approved is not what policy asks now",
            why.message
        ),
        hint: Some("make the call again to have it approved again".to_owned()),
        ..why
    }))
}

impl Enforcer {
    /// Judges an approved call anew, by the memberships, revocations, inventory and policy in force
    /// now, and records that it goes on, with `approval`: on disk, unlike other calls that pass,
    /// because whoever approved it answers for it. What it counts as open against is
    /// returned, to be dropped with the call.
    ///
    /// # Errors
    /// [`Stopped`], counted and recorded: it must not go on after all.
    pub async fn resume(
        &self,
        envelope: &VerifiedEnvelope,
        hold: &Hold,
        approval: ApprovalNote,
        covers: &Covers<'_>,
    ) -> Result<Option<Open>, Stopped> {
        let now = self.clock.now();
        let header = envelope.header();
        let mut record = self.blank_record(Point::Egress, now);
        note(&mut record, header);
        record.envelope = Some(envelope.id());
        record.approval = Some(approval);
        match self.reconsider(now, (envelope, hold), covers, &mut record) {
            Ok(open) => {
                self.write(record, true).await?;
                Ok(open)
            }
            Err(stopped) => {
                self.counters.count(stopped.reason().to_owned());
                Err(self.stop(record, header.cwt.iss, stopped).await)
            }
        }
    }

    /// Whether the tool that a request for a server here calls is defined as its header says; of
    /// other methods that there is no definition.
    #[must_use]
    pub fn is_as_defined(&self, claims: &Claims) -> bool {
        let tool = claims.name.as_deref().unwrap_or_default();
        let own = match claims.method.as_str() {
            "tools/call" => self.inventory.tool_digest(&claims.server, tool),
            _ => None,
        };
        own == claims.tool_digest
    }

    fn reconsider(
        &self,
        now: UnixMillis,
        (envelope, hold): (&VerifiedEnvelope, &Hold),
        covers: &Covers<'_>,
        record: &mut DecisionRecord,
    ) -> Result<Option<Open>, Stopped> {
        let header = envelope.header();
        let (issuer, claims) = (header.cwt.iss, &header.claims);
        let member = self.members.valid(&issuer, now.seconds());
        let member = member.ok_or_else(|| refused(Refusal::UnknownIssuer(issuer)))?;
        let own = self.identity.membership();
        self.in_force(now, header, &member.membership, own.facts())?;
        if !self.is_as_defined(claims) {
            return Err(other_definition());
        }
        let intents = self.check_intents(header)?;
        let asked = Asked {
            point: Point::Egress,
            now,
            header,
            issuer: &member.membership,
            audience: own.facts(),
            address: hold.address(),
            hops: &hold.hops,
            intents: &intents,
            within: None,
            body: Some(envelope.body()),
        };
        let duties = self.evaluate_by(&asked, Some(covers), record)?;
        Ok(duties.open)
    }

    /// Records that a call is held.
    ///
    /// # Errors
    /// The store does not take it; the call must not wait.
    pub async fn note_hold(&self, hold: &Hold, approval: ApprovalNote) -> Result<(), Stopped> {
        let mut record = DecisionRecord::clone(&hold.record);
        record.approval = Some(approval);
        self.write(record, true).await
    }

    /// Counts and records that a call which policy wants approved was refused instead.
    pub async fn refuse_hold(&self, hold: &Hold, stopped: Stopped) -> Stopped {
        self.counters.count(stopped.reason().to_owned());
        let (record, peer) = (DecisionRecord::clone(&hold.record), hold.record.issuer);
        self.stop(record, peer, stopped).await
    }

    /// Records what became of a held call: an answer, the end of its time. It is on disk when this
    /// returns.
    ///
    /// # Errors
    /// The store does not take it; nothing may be let on for it.
    pub async fn note_approval(
        &self,
        call: HeldCall,
        stopped: Option<&Stopped>,
        note: ApprovalNote,
    ) -> Result<(), Stopped> {
        let mut record = self.blank_record(Point::Egress, self.clock.now());
        record.issuer = call.caller;
        record.agent = Some(call.agent);
        record.audience = Some(self.identity.node());
        record.server = Some(call.server);
        record.method = Some(call.method);
        record.target = call.target;
        record.policy = call.policy;
        record.approval = Some(note);
        record.bundle_version = self.policy().bundle_version();
        match stopped {
            None => record.reason = Some("approval_given".to_owned()),
            Some(stopped) => {
                self.counters.count(stopped.reason().to_owned());
                record.verdict = stopped.verdict.name().to_owned();
                record.reason = Some(stopped.reason().to_owned());
                let denial = stopped.verdict.denial();
                let named = denial.and_then(|d| d.policy.clone());
                record.policy = named.or(record.policy);
            }
        }
        self.write(record, true).await
    }
}
