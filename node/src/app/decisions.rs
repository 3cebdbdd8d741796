//! Decision records as operators read them: listed, and searched within bounds.
//!
//! A search reads from the newest on and looks at no more than [`MAX_SEARCHED`] records; what it
//! has not seen then is for the next one, which is told where to go on.

use protocol::control::{
    Decision, DecisionApproval, DecisionBasis, DecisionPage, DecisionQuery, DecisionSearch,
    Failure, Hop, MAX_DECISIONS, MAX_SEARCHED,
};
use protocol::envelope::Kind;
use protocol::id::NodeId;
use protocol::record::{Basis, DecisionRecord, HopNote, Point};

use super::node::Node;
use super::operations::stored;

/// Decisions in one answer where nothing is asked.
const DEFAULT_LIMIT: u32 = 100;

/// Records read from the store at once while searching.
const READ: u64 = 500;

impl Node {
    /// The newest decisions.
    pub(super) fn listed_decisions(&self, query: &DecisionQuery) -> Result<Vec<Decision>, Failure> {
        let snapshot = self.store.snapshot().map_err(stored)?;
        let Some(last) = snapshot.last_decision().map_err(stored)? else {
            return Ok(Vec::new());
        };
        let limit = u64::from(query.limit.unwrap_or(MAX_DECISIONS).min(MAX_DECISIONS));
        let end = query.before.unwrap_or(u64::MAX).min(last.sequence + 1);
        let from = end.saturating_sub(limit);
        let mut decisions = snapshot.decisions(from..end).map_err(stored)?;
        decisions.reverse();
        Ok(decisions
            .into_iter()
            .filter_map(|kept| {
                let record = DecisionRecord::decode(&kept.bytes).ok()?;
                Some(self.decision(record, kept.hash.to_string()))
            })
            .collect())
    }

    /// The newest decisions that meet a search.
    pub(super) fn found_decisions(&self, search: &DecisionSearch) -> Result<DecisionPage, Failure> {
        let snapshot = self.store.snapshot().map_err(stored)?;
        let Some(last) = snapshot.last_decision().map_err(stored)? else {
            return Ok(DecisionPage::default());
        };
        let mut page = DecisionPage {
            newest: Some(last.sequence),
            ..DecisionPage::default()
        };
        let most = usize::try_from(search.limit.unwrap_or(DEFAULT_LIMIT)).unwrap_or(usize::MAX);
        let least = search.after.map_or(0, |after| after.saturating_add(1));
        let end = last.sequence.saturating_add(1);
        let mut end = search.before.unwrap_or(u64::MAX).min(end);
        let mut seen = 0;
        while end > least && seen < MAX_SEARCHED {
            let from = end.saturating_sub(READ).max(least);
            let kept = snapshot.decisions(from..end).map_err(stored)?;
            if kept.is_empty() {
                // What came before was forgotten.
                return Ok(page);
            }
            for kept in kept.into_iter().rev() {
                let Ok(record) = DecisionRecord::decode(&kept.bytes) else {
                    continue;
                };
                if search.since_ms.is_some_and(|since| record.time.0 < since) {
                    return Ok(page);
                }
                let sequence = record.sequence;
                let node = search.node.as_ref();
                if !meets(search, &record) || node.is_some_and(|n| !self.concerns(&record, n)) {
                    continue;
                }
                let decision = self.decision(record, kept.hash.to_string());
                page.decisions.push(decision);
                if page.decisions.len() >= most {
                    page.older = (sequence > least).then_some(sequence);
                    return Ok(page);
                }
            }
            seen += end - from;
            end = from;
        }
        page.older = (end > least).then_some(end);
        Ok(page)
    }

    /// Whether a record is about a message from or for the node of this name or id.
    fn concerns(&self, record: &DecisionRecord, node: &str) -> bool {
        let mut ends = [Some(&record.issuer), record.audience.as_ref()]
            .into_iter()
            .flatten();
        ends.any(|end| end.to_string() == node || self.named(end) == node)
    }

    fn named(&self, id: &NodeId) -> String {
        let member = self.members.member(id);
        member.map_or_else(|| id.to_string(), |m| m.membership.name.to_string())
    }

    /// A record as operators read it.
    pub(super) fn decision(&self, record: DecisionRecord, hash: String) -> Decision {
        let role = match record.point {
            Point::Ingress => "ingress",
            Point::Relay => "relay",
            Point::Egress => "egress",
            Point::Link => "link",
        };
        let kind = record.kind.map(|kind| match kind {
            Kind::Request => "request",
            Kind::Notification => "notification",
            Kind::Response => "response",
        });
        Decision {
            seq: record.sequence,
            time_ms: record.time.0,
            verdict: record.verdict,
            reason: record.reason,
            role: role.to_owned(),
            envelope: record.envelope,
            request: record.request,
            issuer: Some(self.named(&record.issuer)),
            agent: record.agent.map(|a| a.to_string()),
            audience: record.audience.as_ref().map(|node| self.named(node)),
            server: record.server.map(|s| s.to_string()),
            kind: kind.map(str::to_owned),
            method: record.method,
            name: record.target,
            hash: Some(hash),
            body_digest: record.body_digest,
            policy: record.policy,
            bundle: record.bundle_version,
            alerts: record.alerts.unwrap_or_default(),
            observed: record.observed.unwrap_or_default(),
            stands_for: record.stands_for,
            approval: record.approval.map(|note| DecisionApproval {
                id: note.id,
                arguments: note.arguments,
                by: note.by.as_ref().map(|node| self.named(node)),
                words: note.words,
                human: note.human,
            }),
            basis: record.basis.map(|basis| Box::new(self.basis(*basis))),
        }
    }

    fn basis(&self, basis: Basis) -> DecisionBasis {
        let hop = |hop: &HopNote| Hop {
            place: hop.place,
            node: self.named(&hop.node),
            verdict: hop.verdict.clone(),
            bundle_version: hop.bundle_version,
            from: self.named(&hop.from),
            received_ms: hop.received.0,
            sent_ms: hop.sent.0,
        };
        DecisionBasis {
            rule: basis.rule,
            granted_by: basis.granted_by,
            full: basis.full,
            groups: basis.groups.iter().map(ToString::to_string).collect(),
            site: basis.site.map(|site| site.to_string()),
            address: basis.address,
            posture: basis.posture,
            human: basis.human,
            human_vouched: basis.human_vouched,
            intent_rules: basis.intent_rules,
            claimed_rules: basis.claimed_rules,
            intents: basis.intents,
            labels: basis.labels,
            tool_digest: basis.tool_digest,
            hops: basis.hops.iter().map(hop).collect(),
        }
    }
}

/// Whether a record is what is looked for, the nodes it concerns left aside.
fn meets(search: &DecisionSearch, record: &DecisionRecord) -> bool {
    fn is<T: PartialEq>(asked: &Option<T>, there: Option<&T>) -> bool {
        asked.as_ref().is_none_or(|asked| Some(asked) == there)
    }
    let noted = |list: &Option<Vec<String>>, name: &String| {
        let mut list = list.iter().flatten();
        list.any(|noted| noted == name)
    };
    is(&search.verdict, Some(&record.verdict))
        && is(&search.reason, record.reason.as_ref())
        && is(&search.agent, record.agent.as_ref())
        && is(&search.server, record.server.as_ref())
        && is(&search.tool, record.target.as_ref())
        && is(&search.request, record.request.as_ref())
        && is(
            &search.approval,
            record.approval.as_ref().map(|note| &note.id),
        )
        && search.policy.as_ref().is_none_or(|policy| {
            record.policy.as_ref() == Some(policy)
                || noted(&record.alerts, policy)
                || noted(&record.observed, policy)
        })
}
