//! What goes with calls in a document's scope beside requirements: limits, approvals, results.

use super::scope::{Subjects, word};
use super::{At, Shape, Sink};
use crate::policy::error::{Checked, Problem, shown};
use crate::policy::pattern::Pattern;
use crate::policy::verdict::Per;

/// The keys of limits.
pub(super) const LIMITS: Shape = Shape {
    place: "/limits",
    keys: &["calls", "bytes", "window_s", "concurrent", "per"],
};

/// The keys of approval.
pub(super) const APPROVAL: Shape = Shape {
    place: "/approval",
    keys: &["by", "within_s", "required"],
};

/// The keys of approvers.
pub(super) const APPROVAL_BY: Shape = Shape {
    place: "/approval/by",
    keys: &["nodes", "groups", "agents", "humans"],
};

/// The keys of what happens to results.
pub(super) const ON_RESULT: Shape = Shape {
    place: "/on_result",
    keys: &["redact", "deny", "tag"],
};

/// Longest window of a limit: 31 days.
pub const MAX_WINDOW_S: u64 = 31 * 86_400;

/// Longest a call may wait for approval: a day.
pub const MAX_APPROVAL_S: u64 = 86_400;

/// How long a call waits for approval unless its document says: five minutes.
pub const APPROVAL_S: u64 = 300;

/// Greatest count a limit may name.
const MAX_COUNT: u64 = 1 << 40;

/// Longest JSON pointer.
const MAX_POINTER_BYTES: usize = 512;

const PER: &[&str] = &["agent", "node", "mesh"];

/// What calls are counted against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Most calls in the window.
    pub calls: Option<u64>,
    /// Most bytes in the window.
    pub bytes: Option<u64>,
    /// The window; 60 s unless said.
    pub window_s: u64,
    /// Most calls at once.
    pub concurrent: Option<u64>,
    /// For whom it counts; each agent unless said.
    pub per: Per,
}

impl Limits {
    pub(super) fn read(sink: &mut Sink, at: &At<'_>) -> Option<Self> {
        let fields = at.fields(sink, &LIMITS)?;
        let mut count = |key, max| fields.at(key).and_then(|at| at.number(sink, 1, max));
        let (calls, bytes) = (count("calls", MAX_COUNT), count("bytes", MAX_COUNT));
        let (concurrent, window) = (
            count("concurrent", MAX_COUNT),
            count("window_s", MAX_WINDOW_S),
        );
        let per = fields.at("per").map_or(Some(Per::Agent), |at| {
            at.one_of(sink, PER, &[Per::Agent, Per::Node, Per::Mesh])
        });
        let any = ["calls", "bytes", "concurrent"];
        if any.iter().all(|key| fields.at(key).is_none()) {
            sink.refuse(&fields.path, Problem::Missing("calls"));
        }
        Some(Self {
            calls,
            bytes,
            window_s: window.unwrap_or(60),
            concurrent,
            per: per?,
        })
    }
}

/// Who approves what a document holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// Who; `None` leaves it to the operator of the holding node.
    pub by: Option<Subjects>,
    /// Within how many seconds.
    pub within_s: u64,
    /// Whether every call in scope needs it, not only what violates the document.
    pub required: bool,
}

impl Approval {
    pub(super) fn read(sink: &mut Sink, at: &At<'_>) -> Option<Self> {
        let fields = at.fields(sink, &APPROVAL)?;
        fields.some(sink);
        let by = fields.at("by");
        let by = by.and_then(|at| Subjects::read(sink, at, &APPROVAL_BY));
        let within = fields.at("within_s");
        let within = within.and_then(|at| at.number(sink, 1, MAX_APPROVAL_S));
        let required = fields.at("required").and_then(|at| at.flag(sink));
        Some(Self {
            by,
            within_s: within.unwrap_or(APPROVAL_S),
            required: required.unwrap_or(false),
        })
    }
}

/// What happens to results.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OnResult {
    /// JSON pointers into the result whose values are replaced.
    pub redact: Vec<String>,
    /// Patterns that must be found in no text of the result.
    pub deny: Vec<Pattern>,
    /// Labels added to what is returned.
    pub tag: Vec<String>,
}

impl OnResult {
    pub(super) fn read(sink: &mut Sink, at: &At<'_>) -> Option<Self> {
        let fields = at.fields(sink, &ON_RESULT)?;
        fields.some(sink);
        let redact = fields.at("redact");
        let redact = redact.and_then(|at| at.some_texts(sink, pointer));
        let deny = fields.at("deny");
        let deny = deny.and_then(|at| at.some_texts(sink, Pattern::new));
        let tag = fields.at("tag").and_then(|at| at.some_texts(sink, word));
        Some(Self {
            redact: redact.unwrap_or_default(),
            deny: deny.unwrap_or_default(),
            tag: tag.unwrap_or_default(),
        })
    }
}

/// A JSON pointer (RFC 6901) to something within a value.
pub(super) fn pointer(text: &str) -> Checked<String> {
    let escapes = text.split('~').skip(1).all(|t| t.starts_with(['0', '1']));
    if !text.starts_with('/') || text.len() > MAX_POINTER_BYTES || !escapes {
        return Err(Problem::Form {
            given: shown(text),
            expected: "a JSON pointer as `/address/city`",
        });
    }
    Ok(text.to_owned())
}
