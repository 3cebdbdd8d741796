//! Policy's part of a decision: what the policies are asked, and what goes with their answer.
//!
//! The same at every point: a call and its result are charged where it begins and where it ends, once
//! where both are one node; results are redacted and tagged by both, whom a policy cuts off is cut off
//! by whoever notices.

use std::sync::{Arc, PoisonError};

use protocol::envelope::hop::HopRecord;
use protocol::envelope::{Direction, Header, Kind};
use protocol::id::{Digest, NodeId};
use protocol::mcp::{McpError, redact};
use protocol::policy::{
    Action, ApprovalTerms, Decision, Denial, Facts, LimitUse, Obligation, Party, Policy, Posture,
    Severed, Verdict,
};
use protocol::record::{Basis, DecisionRecord, Point};
use protocol::time::{UnixMillis, UnixSeconds};
use protocol::trust::MemberFacts;

use super::basis;
use super::charges::{Cost, Open};
use super::held::{Covers, OnHold, Wanted, cannot_wait, outdated};
use super::subject::Answered;
use super::unknown::unknown_here;
use super::{Enforcer, Stopped, by_policy, labels, severed};
use crate::members::Member;

/// The reason for a call beyond a limit that a policy sets.
pub const LIMIT_EXCEEDED: &str = "limit_exceeded";

/// Where in a document limits stand.
const LIMITS: &str = "/limits";

/// A message that is decided on.
pub(super) struct Asked<'a> {
    pub(super) point: Point,
    pub(super) now: UnixMillis,
    pub(super) header: &'a Header,
    pub(super) issuer: &'a MemberFacts,
    pub(super) audience: &'a MemberFacts,
    /// The address of the caller's node as the next hop saw it, where that is known.
    pub(super) address: Option<&'a str>,
    /// The relays it came over so far, verified.
    pub(super) hops: &'a [HopRecord],
    /// What it sets out to do, as far as this node goes by that.
    pub(super) intents: &'a [String],
    /// The request that the stream it is in began with; absent for that request itself.
    pub(super) within: Option<&'a Answered>,
    pub(super) body: Option<&'a [u8]>,
}

/// What is to be done with a message that may pass.
#[derive(Debug, Default)]
pub(super) struct Duties {
    /// What to hand on in its place: without values that are to be hidden, or without the items of
    /// a list that its client may not call.
    pub(super) instead: Option<Vec<u8>>,
    /// Labels its header gets.
    pub(super) tags: Vec<String>,
    /// What a call that begins counts as open against.
    pub(super) open: Option<Open>,
    /// What it must wait for, where this node holds it; then it has no other duties yet.
    pub(super) hold: Option<Wanted>,
}

impl Asked<'_> {
    /// The node of the client, with whose agent the call began.
    pub(super) const fn caller(&self) -> &MemberFacts {
        match self.header.claims.direction {
            Direction::ToServer => self.issuer,
            Direction::ToClient => self.audience,
        }
    }

    /// What of it counts against limits here. Where both ends are one node, that is charged once.
    fn cost(&self, handed_on: usize) -> Option<Cost> {
        let (issues, claims) = (self.issues(), &self.header.claims);
        let counted = match self.point {
            Point::Ingress | Point::Egress => issues || self.issuer.node() != self.audience.node(),
            Point::Relay | Point::Link => false,
        };
        let cost = if self.header.begins_call() {
            Cost::Call(handed_on)
        } else if claims.kind == Kind::Response {
            Cost::Result(handed_on)
        } else {
            return None;
        };
        Some(cost).filter(|_| counted)
    }

    /// Whether this is asked where the message is signed.
    fn issues(&self) -> bool {
        let signed_at = match self.header.claims.direction {
            Direction::ToServer => Point::Ingress,
            Direction::ToClient => Point::Egress,
        };
        self.point == signed_at
    }
}

impl Enforcer {
    /// Asks the policies in force.
    ///
    /// # Errors
    /// [`Stopped`] with what they say, or because something they ask for cannot be done here.
    pub(super) fn evaluate(
        &self,
        asked: &Asked<'_>,
        record: &mut DecisionRecord,
    ) -> Result<Duties, Stopped> {
        self.evaluate_by(asked, None, record)
    }

    /// As [`Enforcer::evaluate`], of a call that was approved as far as `covers` says.
    pub(super) fn evaluate_by(
        &self,
        asked: &Asked<'_>,
        covers: Option<&Covers<'_>>,
        record: &mut DecisionRecord,
    ) -> Result<Duties, Stopped> {
        let policy = self.policy();
        record.bundle_version = policy.bundle_version();
        let (node, agent) = (asked.caller().node(), &asked.header.cwt.sub);
        if let Some(denial) = self.severed.barred(node, agent, asked.now) {
            return Err(by_policy(Verdict::Deny(denial)));
        }
        let members = self.on_the_way(asked);
        let route: Vec<Party<'_>> = members.iter().map(|m| party(&m.membership)).collect();
        let posture = self.posture_of(&node, asked.now.seconds());
        let at = (asked.point, asked.now);
        let ends = (asked.issuer, asked.audience);
        let touched = self.labels(at, asked.header, ends, &*policy);
        let mut unapproved = facts(asked, &touched, &route, posture.as_ref());
        unapproved.human_vouched =
            unapproved.human.is_some() && policy.vouches_for_humans(unapproved.caller());
        self.check_update(&*policy, &unapproved, record)?;
        let mut decision = policy.evaluate(&unapproved);
        let mut hold = None;
        if let Verdict::Hold(why) = &decision.verdict {
            let why = why.clone();
            let terms = decision.approval.clone().unwrap_or_default();
            let approved = Facts {
                approved: true,
                ..unapproved
            };
            match (covers, asked.on_hold()) {
                (Some(covers), _) if is_covered(&terms, covers) => {
                    decision = policy.evaluate(&approved);
                }
                (Some(_), _) => {
                    record.basis = self.basis(asked, &unapproved, &decision).map(Box::new);
                    return Err(outdated(why));
                }
                (None, OnHold::PassOn) => decision = policy.evaluate(&approved),
                // Nobody is asked to approve what would be denied all the same, as what only a
                // human nobody vouches for is permitted.
                (None, OnHold::Wait) if is_denied(&policy.evaluate(&approved)) => {
                    decision = policy.evaluate(&approved);
                }
                (None, OnHold::Wait) => {
                    let hops = asked.hops.to_vec();
                    let address = asked.address.map(str::to_owned);
                    hold = Some(Wanted {
                        why,
                        terms,
                        hops,
                        address,
                    });
                }
                (None, OnHold::Refuse) => {
                    let alerts = decision.alerts().map(|v| v.policy.clone());
                    note(&mut record.alerts, alerts);
                    record.basis = self.basis(asked, &unapproved, &decision).map(Box::new);
                    return Err(cannot_wait(why));
                }
            }
        }
        // On the facts that decided: with what was approved, if that is what it goes by.
        record.basis = self.basis(asked, &unapproved, &decision).map(Box::new);
        if let Some(unknown) = unknown_here(&*policy, &unapproved, &decision.verdict) {
            return Err(unknown);
        }
        let alerts = decision.alerts().map(|violation| violation.policy.clone());
        note(&mut record.alerts, alerts);
        note(
            &mut record.observed,
            decision.observed.iter().map(|v| v.policy.clone()),
        );
        if hold.is_some() {
            return Ok(Duties {
                hold,
                ..Duties::default()
            });
        }
        let Verdict::Allow(obligations) = &decision.verdict else {
            let whom = severed::whom(&*policy, asked, &decision.violations);
            let verdict = labels::explained(decision.verdict, &unapproved, &*policy);
            return Err(self.severing(asked, by_policy(verdict), whom));
        };
        self.may_tell(asked, &*policy, &unapproved, record)?;
        let (mut duties, hidden) = duties(obligations);
        // Lists are no calls: nothing is both.
        duties.instead = match self.shown(&*policy, &unapproved)? {
            Some(shown) => Some(shown),
            None => without(asked.body, &hidden)?,
        };
        let handed_on = duties.instead.as_deref().or(asked.body);
        if let Some(cost) = asked.cost(handed_on.map_or(0, <[u8]>::len))
            && !decision.limits.is_empty()
        {
            let charged = self.charge(asked, &*policy, &decision.limits, cost, record);
            if charged.is_err() {
                let basis = self.basis_of(asked, &unapproved, &decision);
                let basis = record.basis.get_or_insert_with(|| Box::new(basis));
                basis.rule = Some(LIMITS.to_owned());
            }
            duties.open = charged?;
        }
        self.hand_over(at, asked.header, &duties.tags)?;
        Ok(duties)
    }

    /// What the record tells of the facts; `None` where they are not noted.
    pub(super) fn basis(
        &self,
        asked: &Asked<'_>,
        facts: &Facts<'_>,
        decision: &Decision,
    ) -> Option<Basis> {
        let noted = basis::is_noted(facts, asked.hops, decision);
        noted.then(|| self.basis_of(asked, facts, decision))
    }

    fn basis_of(&self, asked: &Asked<'_>, facts: &Facts<'_>, decision: &Decision) -> Basis {
        let (own, claimed) = (self.intents.version(), asked.header.claims.intent_rules);
        Basis {
            intent_rules: Some(own),
            claimed_rules: claimed.filter(|claimed| *claimed != own),
            ..basis::of(facts, asked.hops, decision)
        }
    }

    /// What a node says of its state, by its record, unless that has run out.
    fn posture_of(&self, node: &NodeId, now: UnixSeconds) -> Option<Posture> {
        let member = self.members.member(node)?;
        let record = member.record.as_ref().filter(|r| now < r.expires)?;
        Some(record.posture.as_ref()?.facts(now))
    }

    /// The digest of what this node announces of its own state.
    pub(super) fn own_posture(&self) -> Option<Digest> {
        let member = self.members.member(&self.identity.node())?;
        let posture = member.record.as_ref()?.posture.as_ref()?;
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, digest)) = &*named
            && known == posture
        {
            return Some(*digest);
        }
        let digest = posture.digest(&*self.identity.crypto);
        *named = Some((posture.clone(), digest));
        Some(digest)
    }

    /// The members on a route over relays, as far as they are known here; none of a direct one.
    fn on_the_way(&self, asked: &Asked<'_>) -> Vec<Arc<Member>> {
        let route = &asked.header.claims.route;
        if route.len() <= 2 {
            return Vec::new();
        }
        let now = asked.now.seconds();
        route
            .iter()
            .filter_map(|node| self.members.valid(node, now))
            .collect()
    }

    /// Charges a call or its result against the limits of the policies that let it pass. Of a call
    /// it returns what that counts as open against.
    fn charge(
        &self,
        asked: &Asked<'_>,
        policy: &dyn Policy,
        limits: &[LimitUse],
        cost: Cost,
        record: &mut DecisionRecord,
    ) -> Result<Option<Open>, Stopped> {
        let node = asked.caller().node();
        let charged = self
            .charges
            .charge(limits, node, &asked.header.cwt.sub, cost, asked.now);
        let exceeded = match charged {
            Ok(charged) => {
                note(&mut record.alerts, charged.alerts);
                return Ok(charged.open);
            }
            Err(exceeded) => exceeded,
        };
        let limit = exceeded.limit;
        if limit.action.alerts() {
            note(&mut record.alerts, [limit.policy.clone()]);
        }
        let retry = exceeded.retry_ms.map(|ms| ms.div_ceil(1000));
        let whom = match cost {
            Cost::Call(_) => severed::whom_by_limit(policy, &limit),
            // How long it is the other end has chosen.
            Cost::Result(_) => Severed::Agent,
        };
        let denial = Denial {
            reason: LIMIT_EXCEEDED.to_owned(),
            message: exceeded.message,
            policy: Some(limit.policy),
            hint: retry.map(|s| format!("the window ends in {s} s")),
        };
        match limit.action {
            Action::Sever => {
                let severs = by_policy(Verdict::Sever(denial));
                Err(self.severing(asked, severs, whom))
            }
            // Nobody need approve what will pass by itself when the window ends.
            Action::Alert | Action::RequireApproval | Action::Block | Action::BlockAndAlert => {
                Err(by_policy(Verdict::Deny(denial)))
            }
        }
    }
}

const fn is_denied(decision: &Decision) -> bool {
    matches!(decision.verdict, Verdict::Deny(_) | Verdict::Sever(_))
}

/// Whether every policy that holds a call has what it asks for; of no policy nothing does.
fn is_covered(terms: &ApprovalTerms, covers: &Covers<'_>) -> bool {
    !terms.parts.is_empty() && terms.parts.iter().all(covers)
}

fn facts<'a>(
    asked: &'a Asked<'_>,
    labels: &'a [String],
    route: &'a [Party<'a>],
    posture: Option<&'a Posture>,
) -> Facts<'a> {
    let claims = &asked.header.claims;
    Facts {
        point: asked.point,
        now: asked.now,
        issuer: party(asked.issuer),
        audience: party(asked.audience),
        agent: &asked.header.cwt.sub,
        human: claims.human.as_deref(),
        // The policies' to say.
        human_vouched: false,
        observed_address: asked.address,
        posture,
        kind: claims.kind,
        direction: claims.direction,
        server: &claims.server,
        method: &claims.method,
        target: claims.name.as_deref(),
        tool_digest: claims.tool_digest,
        intents: asked.intents,
        labels,
        route,
        approved: false,
        body: asked.body,
    }
}

pub(super) fn party(membership: &MemberFacts) -> Party<'_> {
    Party {
        node: membership.node(),
        name: &membership.name,
        groups: &membership.groups,
        site: membership.site.as_ref(),
    }
}

/// What is to be done, and where in the result values are to be hidden.
fn duties(obligations: &[Obligation]) -> (Duties, Vec<&str>) {
    let (mut duties, mut hidden) = (Duties::default(), Vec::new());
    for obligation in obligations {
        match obligation {
            // Whom to alert stands in the record; the page and the log are told of it.
            Obligation::Alert(_) => {}
            Obligation::Redact(pointer) => hidden.push(pointer.as_str()),
            Obligation::Tag(label) => duties.tags.push(label.clone()),
        }
    }
    (duties, hidden)
}

/// The message without what is to be hidden; `None` if nothing of it is.
fn without(body: Option<&[u8]>, hidden: &[&str]) -> Result<Option<Vec<u8>>, Stopped> {
    let Some(body) = body.filter(|_| !hidden.is_empty()) else {
        return Ok(None);
    };
    redact(body, hidden.iter().copied()).map_err(|error: McpError| {
        Stopped::refuse(
            error.reason(),
            format!("the result cannot be redacted: {error}"),
        )
    })
}

/// Adds names that are not there yet.
pub(super) fn note(noted: &mut Option<Vec<String>>, names: impl IntoIterator<Item = String>) {
    for name in names {
        let noted = noted.get_or_insert_default();
        if !noted.contains(&name) && noted.len() < protocol::record::MAX_RECORDED_POLICIES {
            noted.push(name);
        }
    }
}
