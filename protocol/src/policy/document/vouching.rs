//! `vouches_for_humans`: whose word on humans counts.
//!
//! A node asserts for which human an agent of it acts. Anybody can only be restricted by that; it
//! permits something only where a document says that the node's word is good. What such a document
//! names are nodes, by name or group, because it is a node that asserts. It says nothing beside:
//! read with conditions, servers or tools it would seem to hold for these alone.

use super::{DOCUMENT, Fields, Scope, Sink};
use crate::policy::error::Problem;

/// The key.
const KEY: &str = "vouches_for_humans";

/// What may stand beside it.
const BESIDE: &[&str] = &[
    "$schema",
    "policy_name",
    "description",
    "subjects",
    KEY,
    "mode",
    "tests",
];

/// Whether the document vouches; refuses what does not go with that.
pub(super) fn read(sink: &mut Sink, fields: &Fields<'_>, scope: &Scope) -> bool {
    let Some(at) = fields.at(KEY) else {
        return false;
    };
    if at.flag(sink) != Some(true) {
        return false;
    }
    for key in DOCUMENT.keys {
        if let Some(other) = fields.at(key).filter(|_| !BESIDE.contains(key)) {
            sink.refuse(&other.path, Problem::VouchesBeside(key));
        }
    }
    if fields.at("subjects").is_none() {
        sink.refuse(&at.path, Problem::VouchesForNobody);
    }
    let Some(subjects) = &scope.subjects else {
        return true;
    };
    for (key, there) in [
        ("agents", !subjects.agents.is_empty()),
        ("humans", !subjects.humans.is_empty()),
    ] {
        if there {
            sink.refuse(&format!("/subjects/{key}"), Problem::VouchesBeside(key));
        }
    }
    true
}
