//! Decisions that were never taken, and the search among them.

use protocol::control::{
    Decision, DecisionApproval, DecisionBasis, DecisionPage, DecisionSearch, Hop,
};
use protocol::id::{ApprovalId, Digest, EnvelopeId, RequestId};

/// 22 November 2026, 12:00:00 UTC, in milliseconds.
const NOON_MS: u64 = 1_795_348_800_000;

/// What a hostile client may have called its tool.
pub(crate) const HOSTILE: &str = "get\u{1b}[2J\u{202e}it\nverdict: allow";

fn blank(seq: u64, verdict: &str) -> Decision {
    Decision {
        seq,
        time_ms: NOON_MS + seq * 1000 + 7,
        verdict: verdict.to_owned(),
        role: "egress".to_owned(),
        issuer: Some("agent-host".to_owned()),
        agent: Some("claude".to_owned()),
        audience: Some("tool-host".to_owned()),
        server: Some("shop".to_owned()),
        kind: Some("request".to_owned()),
        method: Some("tools/call".to_owned()),
        request: Some(RequestId::from_bytes([1; 16])),
        envelope: Some(EnvelopeId::from_bytes([2; 32])),
        hash: Some("ab".repeat(32)),
        bundle: 3,
        ..Decision::default()
    }
}

/// An allowed call and its answer, a denied one over a relay, one with a hostile name, and a sum.
pub(crate) fn some() -> Vec<Decision> {
    let basis = DecisionBasis {
        full: true,
        groups: vec!["agents".to_owned()],
        site: Some("berlin".to_owned()),
        address: Some("192.0.2.7:7443".to_owned()),
        intents: vec!["read".to_owned()],
        granted_by: vec!["read_only".to_owned()],
        ..DecisionBasis::default()
    };
    let denied = DecisionBasis {
        rule: Some("/restricted_intents".to_owned()),
        granted_by: Vec::new(),
        posture: Some(vec!["os=debian".to_owned(), "age_s=60".to_owned()]),
        intents: vec!["update_price".to_owned(), "write".to_owned()],
        human: Some("ada@example.org".to_owned()),
        human_vouched: Some(false),
        intent_rules: Some(2),
        claimed_rules: Some(1),
        tool_digest: Some(Digest::from_bytes([3; 32])),
        hops: vec![Hop {
            place: 1,
            node: "gate".to_owned(),
            verdict: "allow".to_owned(),
            bundle_version: 3,
            from: "agent-host".to_owned(),
            received_ms: NOON_MS,
            sent_ms: NOON_MS + 4,
        }],
        ..basis.clone()
    };
    vec![
        Decision {
            name: Some("get_product_info".to_owned()),
            basis: Some(Box::new(basis)),
            ..blank(1, "allow")
        },
        Decision {
            name: Some("get_product_info".to_owned()),
            kind: Some("response".to_owned()),
            issuer: Some("tool-host".to_owned()),
            ..blank(2, "allow")
        },
        Decision {
            name: Some("update_price".to_owned()),
            reason: Some("intent_restricted".to_owned()),
            policy: Some("read_only".to_owned()),
            alerts: vec!["read_only".to_owned()],
            request: Some(RequestId::from_bytes([4; 16])),
            basis: Some(Box::new(denied)),
            ..blank(3, "deny")
        },
        Decision {
            name: Some(HOSTILE.to_owned()),
            reason: Some("not_permitted".to_owned()),
            agent: Some("other".to_owned()),
            request: None,
            ..blank(4, "deny")
        },
        Decision {
            agent: None,
            server: None,
            method: None,
            kind: None,
            request: None,
            envelope: None,
            audience: None,
            role: "link".to_owned(),
            reason: Some("further_refusals".to_owned()),
            stands_for: Some(40),
            ..blank(5, "deny")
        },
    ]
}

/// A call that was held, how its approval went on, and the call that it let pass.
pub(crate) fn held() -> Vec<Decision> {
    let approval = DecisionApproval {
        id: ApprovalId::from_bytes([5; 16]),
        arguments: Digest::from_bytes([6; 32]),
        by: None,
        words: None,
        human: None,
    };
    let call = |seq, verdict, request: u8| Decision {
        name: Some("pay".to_owned()),
        request: Some(RequestId::from_bytes([request; 16])),
        approval: Some(approval.clone()),
        ..blank(seq, verdict)
    };
    let mut given = Decision {
        reason: Some("approval_given".to_owned()),
        request: None,
        envelope: None,
        ..call(12, "allow", 0)
    };
    given.approval = Some(DecisionApproval {
        by: Some("gate".to_owned()),
        words: Some("the monthly run\u{1b}[2J".to_owned()),
        human: Some("ada@example.org".to_owned()),
        ..approval.clone()
    });
    vec![
        call(11, "hold", 7),
        given,
        call(13, "allow", 8),
        Decision {
            kind: Some("response".to_owned()),
            approval: None,
            ..call(14, "allow", 8)
        },
    ]
}

/// As a node finds them.
pub(crate) fn find(decided: &[Decision], search: &DecisionSearch) -> DecisionPage {
    let is = |asked: Option<String>, there: &Option<String>| {
        asked.is_none() || asked.as_ref() == there.as_ref()
    };
    let named = |name: &Option<protocol::name::Name>| name.as_ref().map(ToString::to_string);
    let meets = |d: &&Decision| {
        search.before.is_none_or(|before| d.seq < before)
            && search.after.is_none_or(|after| d.seq > after)
            && search.since_ms.is_none_or(|since| d.time_ms >= since)
            && is(named(&search.agent), &d.agent)
            && is(named(&search.server), &d.server)
            && is(search.tool.clone(), &d.name)
            && is(search.verdict.clone(), &Some(d.verdict.clone()))
            && is(search.reason.clone(), &d.reason)
            && is(search.policy.clone(), &d.policy)
            && search.request.is_none_or(|r| d.request == Some(r))
            && search
                .approval
                .is_none_or(|id| d.approval.as_ref().is_some_and(|a| a.id == id))
            && (is(search.node.clone(), &d.issuer) || is(search.node.clone(), &d.audience))
    };
    let most = search.limit.unwrap_or(100) as usize;
    let found: Vec<Decision> = decided.iter().rev().filter(meets).cloned().collect();
    let older = found.len() > most;
    let decisions: Vec<Decision> = found.into_iter().take(most).collect();
    DecisionPage {
        older: decisions.last().map(|d| d.seq).filter(|_| older),
        decisions,
        newest: decided.last().map(|d| d.seq),
    }
}
