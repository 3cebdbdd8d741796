//! Policy documents in JSON, read strictly: what is not understood is refused, never ignored.
//!
//! A document says what calls *in its scope* must meet. A call in scope that fails a requirement
//! violates the document, and the document's action says what happens then. A document with an
//! `allowed_*` key also permits the calls in scope that meet everything.

mod argument_schema;
mod arguments;
mod conditions;
mod read;
mod scope;
mod terms;
mod trials;
mod vouching;

pub use arguments::{Check, MAX_CHECKS};
pub use conditions::{
    Device, Hours, Intents, Kernel, Labels, Location, Network, Requirements, Via,
};
pub use read::Shape;
pub use scope::{Scope, Subjects};
pub use terms::{APPROVAL_S, Approval, Limits, MAX_APPROVAL_S, MAX_WINDOW_S, OnResult};

pub use trials::{MAX_TRIALS, TRIAL_TIME, Trial, TrialCall};

pub(crate) use crate::mcp::Json;
pub(crate) use arguments::{Found, Witnesses};
pub(crate) use conditions::WEEK;
pub(crate) use read::{At, Fields, Sink};

use super::error::{PolicyError, Problem};
use super::verdict::Action;
use crate::mcp::McpError;
use crate::name::PolicyName;

/// Largest document. The seed's has 200 bytes; one listing 1,024 tools of 100 bytes has 100 KiB.
pub const MAX_POLICY_BYTES: usize = 256 * 1024;

/// Deepest nesting. The deepest honest document, a JSON Schema of arguments, has a dozen levels.
pub const MAX_POLICY_DEPTH: usize = 32;

/// Most entries of one list or object.
pub const MAX_POLICY_LIST: usize = 1024;

/// Longest text, in bytes: a description, a pattern.
pub const MAX_POLICY_TEXT: usize = 4096;

/// The keys of a document.
pub const DOCUMENT: Shape = Shape {
    place: "",
    keys: &[
        "$schema",
        "policy_name",
        "description",
        "subjects",
        "servers",
        "tools",
        "resources",
        "prompts",
        "allowed_tools",
        "allowed_resources",
        "allowed_prompts",
        "restricted_intents",
        "intents",
        "device",
        "location",
        "time",
        "arguments",
        "labels",
        "limits",
        "approval",
        "via",
        "on_result",
        "vouches_for_humans",
        "action_on_violation",
        "mode",
        "tests",
    ],
};

/// Every object with keys of its own.
pub const SHAPES: &[&Shape] = &[
    &DOCUMENT,
    &scope::SUBJECTS,
    &conditions::INTENTS,
    &conditions::DEVICE,
    &conditions::LOCATION,
    &conditions::TIME,
    &conditions::LABELS,
    &terms::LIMITS,
    &terms::APPROVAL,
    &terms::APPROVAL_BY,
    &terms::ON_RESULT,
    &arguments::PREDICATE,
    &argument_schema::KEYWORDS,
    &trials::TRIAL,
    &trials::CALL,
    &trials::POSTURE,
];

/// Whether a document's word counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// It does.
    Enforce,
    /// It is evaluated apart, and only reports.
    Observe,
}

impl Mode {
    /// Its names in documents.
    pub const NAMES: &'static [&'static str] = &["enforce", "observe"];

    /// All, in the order of [`Self::NAMES`].
    pub const ALL: [Self; 2] = [Self::Enforce, Self::Observe];

    /// Its name in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Observe => "observe",
        }
    }
}

/// The names of the actions, in the order of [`Action::ALL`].
pub const ACTIONS: &[&str] = &[
    "alert",
    "require_approval",
    "block",
    "block_and_alert",
    "sever",
];

/// A document that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Its name.
    pub name: PolicyName,
    /// What its author says of it.
    pub description: Option<String>,
    /// Whether its word counts.
    pub mode: Mode,
    /// What a violation leads to.
    pub action: Action,
    /// The calls it is about.
    pub scope: Scope,
    /// What they must meet.
    pub requirements: Requirements,
    /// What is charged for them.
    pub limits: Option<Limits>,
    /// Who approves what it holds.
    pub approval: Option<Approval>,
    /// What happens to results.
    pub on_result: Option<OnResult>,
    /// Whether the nodes it names vouch for the humans they assert. Such a document says nothing
    /// else.
    pub vouches: bool,
    /// What its author expects of it.
    pub tests: Vec<Trial>,
}

impl Document {
    /// Reads a document; `source` names it in errors where it does not say its name itself.
    ///
    /// # Errors
    /// Everything wrong with it, at most [`super::error::MAX_POLICY_ERRORS`].
    pub fn parse(source: &str, bytes: &[u8]) -> Result<Self, Vec<PolicyError>> {
        let mut sink = Sink::new(source);
        let read = parse_json(bytes).map_err(|problem| {
            let mut sink = Sink::new(source);
            sink.refuse("", problem);
            sink.into_errors()
        })?;
        let document = Self::read(&mut sink, &At::root(&read));
        match document {
            Some(document) if sink.is_clean() => Ok(document),
            _ => Err(sink.into_errors()),
        }
    }

    fn read(sink: &mut Sink, at: &At<'_>) -> Option<Self> {
        let fields = at.fields(sink, &DOCUMENT)?;
        let name = fields
            .need(sink, "policy_name")
            .and_then(|at| name(sink, at));
        if let Some(name) = &name {
            sink.named(name.as_str());
        }
        if let Some(schema) = fields.at("$schema") {
            schema.text(sink);
        }
        let description = fields.at("description").and_then(|at| at.text(sink));
        let action = fields.at("action_on_violation");
        let action = action.map_or(Some(Action::Block), |at| {
            at.one_of(sink, ACTIONS, &Action::ALL)
        });
        let mode = fields.at("mode").map_or(Some(Mode::Enforce), |at| {
            at.one_of(sink, Mode::NAMES, &Mode::ALL)
        });
        let scope = Scope::read(sink, &fields);
        let approval = fields
            .at("approval")
            .and_then(|at| Approval::read(sink, at));
        let requirements = Requirements::read(sink, &fields);
        let limits = fields.at("limits").and_then(|at| Limits::read(sink, at));
        let on_result = fields.at("on_result");
        let on_result = on_result.and_then(|at| OnResult::read(sink, at));
        let vouches = vouching::read(sink, &fields, &scope);
        let tests = fields.at("tests").and_then(|at| trials::read(sink, at));
        Some(Self {
            name: name?,
            description: description.map(str::to_owned),
            mode: mode?,
            action: action?,
            scope,
            requirements,
            limits,
            approval,
            on_result,
            vouches,
            tests: tests.unwrap_or_default(),
        })
    }

    /// Whether it permits what was approved under it, so lets calls on that nothing else permits.
    #[must_use]
    pub fn permits_approved(&self) -> bool {
        let required = self.approval.as_ref().is_some_and(|a| a.required);
        self.mode == Mode::Enforce && (required || self.action == Action::RequireApproval)
    }

    /// What it does to calls in its scope, for people.
    #[must_use]
    pub fn effect(&self) -> &'static str {
        match (self.vouches, self.grants(), self.permits_approved()) {
            (true, ..) => "vouches for humans",
            (false, true, _) => "permits",
            (false, false, true) => "restricts; permits what is approved under it",
            (false, false, false) => "restricts",
        }
    }

    /// Whether it permits anything: it has an `allowed_*` key.
    #[must_use]
    pub const fn grants(&self) -> bool {
        let r = &self.requirements;
        r.tools.is_some()
            || r.resources.is_some()
            || r.prompts.is_some()
            || r.intents.allowed.is_some()
    }
}

fn name(sink: &mut Sink, at: &At<'_>) -> Option<PolicyName> {
    let text = at.text(sink)?;
    let read = text.parse().map_err(|_| Problem::Form {
        given: super::error::shown(text),
        expected: "1 to 64 of A-Z, a-z, 0-9, `.`, `_` and `-` after a letter or digit",
    });
    sink.note(&at.path, read)
}

/// What is wrong with a text that is not one JSON value, by line and column.
fn not_json(text: &str, error: &McpError) -> Problem {
    let (at, why) = match error {
        McpError::TooDeep { .. } => return Problem::TooDeep(MAX_POLICY_DEPTH),
        McpError::Syntax { at, expected } => (*at, format!("expected {expected}")),
        McpError::Trailing { at } => (*at, "something follows the document".to_owned()),
        McpError::LoneSurrogate { at } => (*at, "half a surrogate pair".to_owned()),
        other => (0, other.to_string()),
    };
    let before = text.get(..at).unwrap_or_default();
    let last = before.rsplit('\n').next().unwrap_or_default();
    Problem::NotJson {
        line: before.matches('\n').count() + 1,
        column: last.chars().count() + 1,
        why,
    }
}

/// Reads one JSON value within the bounds of a document.
pub(crate) fn parse_json(bytes: &[u8]) -> Result<Json, Problem> {
    if bytes.len() > MAX_POLICY_BYTES {
        let (bytes, max) = (bytes.len(), MAX_POLICY_BYTES);
        return Err(Problem::TooLarge { bytes, max });
    }
    let text = super::error::text_of(bytes)?;
    let json = Json::read(text).map_err(|error| not_json(text, &error))?;
    if json.depth() > MAX_POLICY_DEPTH {
        return Err(Problem::TooDeep(MAX_POLICY_DEPTH));
    }
    Ok(json)
}
