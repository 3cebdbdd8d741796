//! What a record tells of the facts policy decided on.
//!
//! Noted of calls, of whatever policy stops, of results that have labels, and of what came over
//! relays: another message that passes was asked about with the facts of its call.

use protocol::envelope::Kind;
use protocol::envelope::hop::HopRecord;
use protocol::limits::{MAX_INTENTS, MAX_LABELS};
use protocol::policy::{Decision, Facts, Obligation, Posture, Verdict};
use protocol::record::{
    self, Basis, HopNote, MAX_BASIS_CLAIM, MAX_BASIS_CLAIMS, MAX_BASIS_TEXT, MAX_RECORDED_POLICIES,
};
use protocol::trust::posture::{ATTESTED, SELF_ASSERTED};

/// Whether the basis of a decision is noted.
pub(super) fn is_noted(facts: &Facts<'_>, hops: &[HopRecord], decision: &Decision) -> bool {
    let passes = matches!(decision.verdict, Verdict::Allow(_));
    let is_call = facts.kind == Kind::Request && facts.call().is_some();
    let is_labelled = facts.kind == Kind::Response && !labels(facts, decision).is_empty();
    !passes || is_call || is_labelled || !hops.is_empty()
}

/// The basis of a decision.
pub(super) fn of(facts: &Facts<'_>, hops: &[HopRecord], decision: &Decision) -> Basis {
    let caller = facts.caller();
    let cut = |text: &str| record::cut(text, MAX_BASIS_TEXT);
    let granted = decision.granted_by.iter().take(MAX_RECORDED_POLICIES);
    Basis {
        rule: rule(decision).map(cut),
        granted_by: granted.cloned().collect(),
        full: facts.body.is_some(),
        groups: caller.groups.to_vec(),
        site: caller.site.cloned(),
        address: facts.observed_address.map(cut),
        posture: facts.posture.map(claims),
        human: facts.human.map(cut),
        intents: facts.intents.iter().take(MAX_INTENTS).cloned().collect(),
        labels: labels(facts, decision),
        tool_digest: facts.tool_digest,
        hops: hops.iter().map(note).collect(),
        human_vouched: facts.human.map(|_| facts.human_vouched),
        intent_rules: None,
        claimed_rules: None,
    }
}

/// The labels of a message, and those its result is given.
fn labels(facts: &Facts<'_>, decision: &Decision) -> Vec<String> {
    let mut labels = facts.labels.to_vec();
    if let Verdict::Allow(obligations) = &decision.verdict {
        labels.extend(obligations.iter().filter_map(|o| match o {
            Obligation::Tag(label) => Some(label.clone()),
            Obligation::Alert(_) | Obligation::Redact(_) => None,
        }));
    }
    labels.sort_unstable();
    labels.dedup();
    labels.truncate(MAX_LABELS);
    labels
}

/// The rule that stops a message: the strictest of those violated.
fn rule(decision: &Decision) -> Option<&str> {
    let policy = decision.verdict.denial()?.policy.as_ref()?;
    let violated = decision.violations.iter().find(|v| v.policy == *policy);
    violated.map(|v| v.rule.as_str())
}

fn note(hop: &HopRecord) -> HopNote {
    HopNote {
        place: hop.index,
        node: hop.node,
        from: hop.observed_peer,
        bundle_version: hop.bundle_version,
        verdict: hop.verdict.clone(),
        received: hop.received,
        sent: hop.sent,
    }
}

/// Whose word a posture is and what it claims, `key=value` each, with the keys of policy documents.
fn claims(posture: &Posture) -> Vec<String> {
    let (major, minor, patch) = posture.kernel;
    let word = if posture.attested {
        ATTESTED
    } else {
        SELF_ASSERTED
    };
    let mut claims = vec![
        format!("posture={word}"),
        format!("os={}", posture.os),
        format!("kernel={major}.{minor}.{patch}"),
        format!("secure_boot={}", posture.secure_boot),
        format!("disk_encryption={}", posture.disk_encryption),
        format!("uptime_s={}", posture.uptime_s),
        format!("age_s={}", posture.age_s),
    ];
    claims.extend(posture.binary.map(|binary| format!("binary={binary}")));
    let hardening = posture.hardening.iter();
    claims.extend(hardening.map(|word| format!("hardening={word}")));
    claims.truncate(MAX_BASIS_CLAIMS);
    let cut = claims
        .iter()
        .map(|claim| record::cut(claim, MAX_BASIS_CLAIM));
    cut.collect()
}
