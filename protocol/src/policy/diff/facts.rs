//! How plain a call is, and how to make it plainer.

use crate::policy::document::{TRIAL_TIME, TrialCall};
use crate::record::Point;

/// Ways to make a call plainer: each takes one fact away.
pub(super) const SIMPLER: &[fn(&mut TrialCall)] = &[
    |c| c.posture = None,
    |c| c.address = None,
    |c| c.site = None,
    |c| c.via = None,
    |c| c.time = TRIAL_TIME,
    |c| c.arguments = None,
    |c| c.labels.clear(),
    |c| c.intents.clear(),
    |c| c.human = None,
    |c| c.groups.clear(),
    |c| c.approved = false,
    |c| c.pinned = true,
    |c| c.point = Point::Egress,
];

/// Facts that a reader has to take in.
fn weight(call: &TrialCall) -> usize {
    let there = [
        call.posture.is_some(),
        call.address.is_some(),
        call.site.is_some(),
        call.via.is_some(),
        call.time != TRIAL_TIME,
        call.arguments.is_some(),
        !call.labels.is_empty(),
        !call.intents.is_empty(),
        call.human.is_some(),
        !call.groups.is_empty(),
        call.approved,
        !call.pinned,
        call.point != Point::Egress,
    ];
    there.iter().filter(|there| **there).count()
}

/// Whether the first call is the plainer one.
pub(super) fn plainer(a: &TrialCall, b: &TrialCall) -> bool {
    weight(a) < weight(b)
}
