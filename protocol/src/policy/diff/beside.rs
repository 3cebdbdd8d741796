//! What goes with a decision beside its verdict: who is told, who may approve, and what documents
//! that only observe report.

use std::collections::BTreeSet;

use super::{About, Key, severity};
use crate::approval::Approvers;
use crate::policy::document::Subjects;
use crate::policy::verdict::{ApprovalPart, ApprovalTerms, Decision, Violation};

/// The rule under which what it takes to approve is told.
const APPROVAL: &str = "/approval";

/// What operators are told otherwise, of a call that is decided alike.
pub(super) fn alerts(old: &Decision, new: &Decision) -> Vec<(Key, String)> {
    let severity = severity(&new.verdict);
    let (was, is): (Vec<_>, Vec<_>) = (old.alerts().collect(), new.alerts().collect());
    let told = violated(&was, &is).map(|(violation, after)| {
        let key = key(About::Alert, severity, violation, after);
        let message = &violation.message;
        let why = if after {
            format!("operators are told: {message}")
        } else {
            format!("operators are told no more: {message}")
        };
        (key, why)
    });
    told.collect()
}

/// What documents that only observe report otherwise.
pub(super) fn observed(old: &Decision, new: &Decision) -> Vec<(Key, String)> {
    let (was, is): (Vec<_>, Vec<_>) =
        (old.observed.iter().collect(), new.observed.iter().collect());
    let told = violated(&was, &is).map(|(violation, after)| {
        // Nothing is decided by it.
        let key = key(About::Observed, 0, violation, after);
        let (message, action) = (&violation.message, violation.action.name());
        let why = if after {
            format!("observed, it would be `{action}`: {message}")
        } else {
            format!("observed no more: {message}")
        };
        (key, why)
    });
    told.collect()
}

/// What is violated on one side only, and whether that is the one after. By rule and action: which
/// words say so is no difference.
fn violated<'a>(
    was: &'a [&'a Violation],
    is: &'a [&'a Violation],
) -> impl Iterator<Item = (&'a Violation, bool)> {
    let same = |a: &Violation, b: &Violation| {
        (&a.policy, &a.rule, a.action) == (&b.policy, &b.rule, b.action)
    };
    let lacks = move |side: &[&Violation], of: &Violation| !side.iter().any(|v| same(v, of));
    let added = is.iter().filter(move |v| lacks(was, v)).map(|v| (*v, true));
    let gone = was
        .iter()
        .filter(move |v| lacks(is, v))
        .map(|v| (*v, false));
    added.chain(gone)
}

fn key(about: About, severity: u8, of: &Violation, after: bool) -> Key {
    Key {
        about,
        was: severity,
        is: severity,
        policy: Some(of.policy.clone()),
        rule: Some(of.rule.clone()),
        after,
    }
}

/// What it takes otherwise to approve a call that is held on both sides.
pub(super) fn approvals(old: &Decision, new: &Decision) -> Vec<(Key, String)> {
    let (Some(was), Some(is)) = (&old.approval, &new.approval) else {
        return Vec::new();
    };
    let names = |terms: &'_ ApprovalTerms| -> Vec<String> {
        terms.parts.iter().map(|part| part.policy.clone()).collect()
    };
    let key = |policy: String, after: bool| Key {
        about: About::Approval,
        was: severity(&old.verdict),
        is: severity(&new.verdict),
        policy: Some(policy),
        rule: Some(APPROVAL.to_owned()),
        after,
    };
    let both: BTreeSet<String> = names(was).into_iter().chain(names(is)).collect();
    let mut out: Vec<(Key, String)> = Vec::new();
    for policy in &both {
        let of = |terms: &ApprovalTerms| terms.parts.iter().find(|p| p.policy == *policy).cloned();
        let (before, after) = (of(was), of(is));
        if before != after {
            let why = format!(
                "{}; before: {}",
                whom(after.as_ref()),
                whom(before.as_ref())
            );
            out.push((key(policy.clone(), after.is_some()), why));
        }
    }
    if was.within_s != is.within_s {
        let why = format!("within {} s; before: {} s", is.within_s, was.within_s);
        match out.first_mut() {
            Some((_, said)) => *said = format!("{said}; {why}"),
            None => out.extend(
                both.into_iter()
                    .next()
                    .map(|policy| (key(policy, true), why)),
            ),
        }
    }
    out
}

/// Who may approve, for people.
fn whom(part: Option<&ApprovalPart>) -> String {
    match part.map(|part| &part.by) {
        None => "it does not hold the call".to_owned(),
        Some(None) => "the operator of the server's node may approve".to_owned(),
        Some(Some(by)) => format!("{} may approve", listed(by)),
    }
}

fn listed(by: &Subjects) -> String {
    Approvers::from(by).listed().join(" or ")
}
