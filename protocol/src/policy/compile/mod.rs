//! Documents become Cedar rules, and a bundle of documents one thing to decide with.
//!
//! A bundle is compiled whole or not at all: one bad document refuses it, with everything wrong in
//! any of them listed.

mod cedar;
mod raw;
mod resources;
mod rules;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{OnceLock, RwLock};

pub use rules::{Decidable, Effect, Requirement, Rule};

use cedar::Clause;
use rules::Made;

pub(super) use cedar::kernel_number;
pub(super) use rules::argument_token;

use super::document::{Document, Mode, Subjects};
use super::error::{MAX_POLICY_ERRORS, PolicyError, Problem, shown};
use super::sets::{Conditions, Ready};
use super::slice::Index;
use super::uri::Reserved;
use super::verdict::Action;
use super::{CEDAR_MEDIA_TYPE, JSON_MEDIA_TYPE};
use crate::id::Digest;
use crate::name::PolicyName;
use crate::trust::bundle::{BundleBody, Label, Pin, Policy as Carried};

/// What a compiled policy was made from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// A JSON document.
    Document(Box<Document>),
    /// Raw Cedar.
    Cedar,
}

/// A document and the rules it became.
#[derive(Debug, Clone)]
pub struct CompiledPolicy {
    name: PolicyName,
    source: Source,
    rules: Vec<CompiledRule>,
}

#[derive(Debug, Clone)]
pub(super) struct CompiledRule {
    pub(super) rule: Rule,
    pub(super) mode: Mode,
    /// What Cedar made of the text, once a call needed it: of 20,000 documents a node needs few, and
    /// Cedar's form of one takes twenty times the room of its text.
    policy: OnceLock<Option<cedar_policy::Policy>>,
    /// What of it is to be decided of calls in the document's scope; `None` of raw Cedar, whose
    /// scope nobody knows.
    left: Option<Box<[Clause]>>,
}

impl CompiledRule {
    pub(super) fn parsed(rule: Rule, mode: Mode, policy: cedar_policy::Policy) -> Self {
        Self {
            rule,
            mode,
            policy: OnceLock::from(Some(policy)),
            left: None,
        }
    }

    fn of_document((rule, left): Made, mode: Mode) -> Self {
        Self {
            rule,
            mode,
            policy: OnceLock::new(),
            left: Some(left.into()),
        }
    }

    /// What of it is to be decided of calls in the document's scope, in order: conditions, and what
    /// each must be. `None` of raw Cedar.
    pub(super) fn left(&self) -> Option<impl Iterator<Item = (&str, bool)>> {
        let text = |clause: &Clause| {
            let text = self.rule.cedar.get(clause.condition.clone());
            (text.unwrap_or_default(), clause.wanted)
        };
        Some(self.left.as_ref()?.iter().map(text))
    }

    /// What Cedar made of its text; `None` if Cedar did not take it, which no document is known to
    /// bring about.
    pub(super) fn policy(&self) -> Option<&cedar_policy::Policy> {
        let read = || cedar_policy::Policy::parse(None, &self.rule.cedar).ok();
        self.policy.get_or_init(read).as_ref()
    }
}

impl CompiledPolicy {
    /// Compiles one document of a bundle.
    ///
    /// # Errors
    /// Everything wrong with it.
    pub fn compile(carried: &Carried) -> Result<Self, Vec<PolicyError>> {
        let name = carried.name.as_str();
        let refuse = |problem| {
            let path = String::new();
            let document = shown(name);
            vec![PolicyError {
                document,
                path,
                problem,
            }]
        };
        match carried.media_type.as_str() {
            JSON_MEDIA_TYPE => {
                let document = Document::parse(name, &carried.bytes)?;
                if document.name != carried.name {
                    let own = shown(document.name.as_str());
                    return Err(refuse(Problem::NameDiffers(own)));
                }
                Ok(Self::of_document(document))
            }
            CEDAR_MEDIA_TYPE => raw::compile(&carried.name, &carried.bytes),
            other => Err(refuse(Problem::MediaType(shown(other)))),
        }
    }

    /// Compiles a document that was read. Whatever was read can be.
    #[must_use]
    pub fn of_document(document: Document) -> Self {
        let rules = rules::rules(&document).into_iter();
        Self {
            name: document.name.clone(),
            rules: rules
                .map(|made| CompiledRule::of_document(made, document.mode))
                .collect(),
            source: Source::Document(Box::new(document)),
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &PolicyName {
        &self.name
    }

    /// What it was made from.
    #[must_use]
    pub const fn source(&self) -> &Source {
        &self.source
    }

    /// The document, if it was one.
    #[must_use]
    pub fn document(&self) -> Option<&Document> {
        match &self.source {
            Source::Document(document) => Some(document),
            Source::Cedar => None,
        }
    }

    /// Whether it permits anything, approved or not.
    #[must_use]
    pub fn grants(&self) -> bool {
        let enforces = |rule: &Rule| rule.effect == Effect::Permit && !rule.once_approved;
        self.document()
            .map_or_else(|| self.enforces(enforces), Document::grants)
    }

    /// Whether it permits what was approved under it, so lets calls on that nothing else permits.
    #[must_use]
    pub fn permits_approved(&self) -> bool {
        let approved = || self.enforces(|rule| rule.once_approved);
        self.document()
            .map_or_else(approved, Document::permits_approved)
    }

    /// What it does to calls, for people.
    #[must_use]
    pub fn effect(&self) -> &'static str {
        if let Some(document) = self.document() {
            return document.effect();
        }
        let forbids = self.enforces(|rule| matches!(rule.effect, Effect::Forbid(_)));
        match (self.grants(), forbids, self.permits_approved()) {
            (true, false, _) => "permits",
            (true, true, false) => "permits and restricts",
            (true, true, true) => "permits and restricts; permits what is approved under it",
            (false, true, false) => "restricts",
            (false, true, true) => "restricts; permits what is approved under it",
            (false, false, _) => "only observes",
        }
    }

    /// What a violation of it leads to, where that is the same of all its rules; of raw Cedar these
    /// are the `forbid` that do not only observe. One that only vouches stops nothing, so nothing
    /// becomes of a violation.
    #[must_use]
    pub fn action(&self) -> Option<Action> {
        if let Some(document) = self.document() {
            return Some(document.action).filter(|_| !document.vouches);
        }
        let forbids = |made: &&CompiledRule| {
            made.mode == Mode::Enforce && matches!(made.rule.effect, Effect::Forbid(_))
        };
        let mut actions = self.rules.iter().filter(forbids).map(|m| m.rule.action);
        let first = actions.next()?;
        actions.all(|action| action == first).then_some(first)
    }

    fn enforces(&self, is: impl Fn(&Rule) -> bool) -> bool {
        let mut rules = self.rules.iter().filter(|m| m.mode == Mode::Enforce);
        rules.any(|made| is(&made.rule))
    }

    /// Its rules, in the order of the document's keys.
    pub fn rules(&self) -> impl ExactSizeIterator<Item = &Rule> {
        self.rules.iter().map(|r| &r.rule)
    }

    /// Its rules, each with whether its word counts: in raw Cedar every policy says that itself.
    pub fn modes(&self) -> impl ExactSizeIterator<Item = (&Rule, Mode)> {
        self.rules.iter().map(|r| (&r.rule, r.mode))
    }

    pub(super) fn compiled_rules(&self) -> &[CompiledRule] {
        &self.rules
    }

    /// Gives the first rule other conditions, such as no document brings about.
    #[cfg(test)]
    pub(super) fn restate(&mut self, when: Option<&str>, unless: Option<&str>) {
        let Source::Document(document) = &self.source else {
            panic!("a document")
        };
        let made = rules::restated(document, when, unless);
        self.rules[0] = CompiledRule::of_document(made, document.mode);
    }

    /// All of it in Cedar. A document that vouches for humans has no rule: it is a fact that rules
    /// ask for, and a comment here.
    #[must_use]
    pub fn cedar(&self) -> String {
        const VOUCHES: &str =
            "// No rule: where its subjects hold the caller's node, context.human_vouched is true.";
        let vouches = self.document().is_some_and(|d| d.vouches);
        let texts = self.rules().map(|r| r.cedar.as_str());
        let texts: Vec<&str> = vouches
            .then_some(VOUCHES)
            .into_iter()
            .chain(texts)
            .collect();
        texts.join("\n\n")
    }
}

/// The policies of a bundle, ready to decide. Made from bytes alone: the same bytes always decide
/// the same.
#[derive(Debug)]
pub struct CompiledBundle {
    version: u64,
    policies: Vec<CompiledPolicy>,
    pub(super) index: Index,
    pins: HashMap<String, HashMap<String, BTreeSet<Digest>>>,
    labels: BTreeMap<String, Vec<String>>,
    /// Whether any document has a `via`.
    pub(super) wants_waypoints: bool,
    /// Whether any document that enforces, or a label, goes by the URIs of resources, and the
    /// characters they name that a URI may have encoded or not.
    pub(super) resources: Option<Reserved>,
    /// The nodes that may vouch for humans, as each document that says so and counts names them.
    pub(super) vouchers: Vec<Subjects>,
    /// Sets of rules by the documents they are of, made when a call first meets just these.
    pub(super) sets: RwLock<Ready>,
    /// Conditions of rules that calls have met.
    pub(super) conditions: Conditions,
}

impl CompiledBundle {
    /// A bundle without policies, which permits nothing.
    #[must_use]
    pub fn empty(version: u64) -> Self {
        Self::of(version, Vec::new(), &[], &[])
    }

    /// Compiles the policies of a bundle's body.
    ///
    /// # Errors
    /// Everything wrong with any of them, at most [`MAX_POLICY_ERRORS`]; then nothing of the bundle
    /// is used.
    pub fn compile(version: u64, body: &BundleBody) -> Result<Self, Vec<PolicyError>> {
        let mut errors = Vec::new();
        let mut policies = Vec::with_capacity(body.policies.len());
        let mut names = BTreeSet::new();
        for carried in &body.policies {
            if !names.insert(&carried.name) {
                let document = shown(carried.name.as_str());
                errors.push(PolicyError {
                    path: String::new(),
                    problem: Problem::DuplicateName(document.clone()),
                    document,
                });
            }
            match CompiledPolicy::compile(carried) {
                Ok(policy) => policies.push(policy),
                Err(found) => errors.extend(found),
            }
            if errors.len() >= MAX_POLICY_ERRORS {
                break;
            }
        }
        errors.truncate(MAX_POLICY_ERRORS);
        if errors.is_empty() {
            Ok(Self::of(version, policies, &body.pins, &body.labels))
        } else {
            Err(errors)
        }
    }

    /// A bundle of policies that were compiled one by one, under names of their own.
    #[must_use]
    pub fn of(
        version: u64,
        mut policies: Vec<CompiledPolicy>,
        pins: &[Pin],
        labels: &[Label],
    ) -> Self {
        policies.sort_by(|a, b| a.name.cmp(&b.name));
        let mut pinned: HashMap<String, HashMap<String, BTreeSet<Digest>>> = HashMap::new();
        for pin in pins {
            let server = pinned.entry(pin.server.as_str().to_owned()).or_default();
            let digests = server.entry(pin.tool.clone()).or_default();
            digests.insert(pin.digest);
        }
        let labels = labels.iter().map(|l| (l.target.clone(), l.labels.clone()));
        let labels: BTreeMap<String, Vec<String>> = labels.collect();
        let mut documents = policies.iter().filter_map(CompiledPolicy::document);
        let wants_waypoints = documents.any(|d| d.requirements.via.is_some());
        let documents = policies.iter().filter_map(CompiledPolicy::document);
        let vouching = documents.filter(|d| d.vouches && d.mode == Mode::Enforce);
        let vouchers = vouching.filter_map(|d| d.scope.subjects.clone());
        Self {
            version,
            wants_waypoints,
            resources: resources::named(&policies, labels.keys()),
            vouchers: vouchers.collect(),
            index: Index::over(&policies),
            policies,
            pins: pinned,
            labels,
            sets: RwLock::default(),
            conditions: Conditions::default(),
        }
    }

    /// The version of the bundle.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Its policies, sorted by name.
    #[must_use]
    pub fn policies(&self) -> &[CompiledPolicy] {
        &self.policies
    }

    /// The policy of this name.
    #[must_use]
    pub fn policy(&self, name: &str) -> Option<&CompiledPolicy> {
        let found = self
            .policies
            .binary_search_by(|p| p.name.as_str().cmp(name));
        found.ok().and_then(|at| self.policies.get(at))
    }

    /// Whether it approves this definition of a tool of a server of this name.
    #[must_use]
    pub fn is_pinned(&self, server: &str, tool: &str, definition: &Digest) -> bool {
        let digests = self.pins.get(server).and_then(|tools| tools.get(tool));
        digests.is_some_and(|d| d.contains(definition))
    }

    /// One of the definitions it approves of a tool of a server of this name.
    pub(super) fn approved_definition(&self, server: &str, tool: &str) -> Option<Digest> {
        let digests = self.pins.get(server).and_then(|tools| tools.get(tool))?;
        digests.iter().next().copied()
    }

    /// The labels it gives what lies on a server: under `server/target`, `node/server/target`, or
    /// the target alone, and under `server/*` and `node/server/*`, which are all on the server.
    pub fn labels<'a>(&'a self, node: &str, server: &str, target: &str) -> Vec<&'a str> {
        if self.labels.is_empty() {
            return Vec::new();
        }
        let on_server = format!("{server}/{target}");
        let on_node = format!("{node}/{on_server}");
        let all_on_server = format!("{server}/*");
        let all_on_node = format!("{node}/{all_on_server}");
        [target, &on_server, &on_node, &all_on_server, &all_on_node]
            .iter()
            .filter_map(|key| self.labels.get(*key))
            .flatten()
            .map(String::as_str)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use core::str::FromStr as _;

    use cedar_policy::{PolicySet, ValidationMode, Validator};

    use super::*;
    use crate::policy::schema;

    /// With every key but `tests`.
    const WHOLE: &str = r#"{"policy_name": "p", "description": "all of it",
        "subjects": {"nodes": ["a*"], "groups": ["g", "h-*"], "agents": ["n/x", "y*"], "humans": ["ada@*"]},
        "servers": ["s", "n/t*"], "tools": ["a", "s/b*", "n/s/c"], "resources": ["file:*"], "prompts": ["p"],
        "allowed_tools": ["a", "s/b"], "allowed_resources": ["file:///\"\\*"], "allowed_prompts": ["p*"],
        "restricted_intents": ["delete"], "intents": {"allowed": ["read"], "restricted": ["write"], "pinned": true},
        "device": {"os": ["debian"], "min_kernel": "6.1", "secure_boot": true, "disk_encryption": true,
            "max_uptime_s": 5, "hardening": ["x"], "attested": true, "max_age_s": 6,
            "binaries": ["abababababababababababababababababababababababababababababababab"]},
        "location": {"sites": ["b*"], "networks": ["10.0.0.0/8", "::1"]},
        "time": {"days": ["mon", "wed"], "from": "22:00", "to": "06:00", "utc_offset": "-03:30"},
        "arguments": {"/a~1b": {"max": 5}, "schema": {"type": "object"}},
        "labels": {"allowed": ["pci"], "restricted": ["phi"]}, "limits": {"calls": 5},
        "approval": {"required": true}, "via": "node:gate", "on_result": {"tag": ["pci"]},
        "action_on_violation": "require_approval", "mode": "observe"}"#;

    /// What documents become is Cedar, and strictly valid under the published schema.
    #[test]
    fn what_documents_become_fits_the_schema() {
        for text in [
            WHOLE.to_owned(),
            WHOLE.replace("\"require_approval\"", "\"sever\""),
        ] {
            let document = Document::parse("p", text.as_bytes()).unwrap();
            let policy = CompiledPolicy::of_document(document);
            assert!(policy.rules.iter().all(|rule| rule.policy().is_some()));
            let set = PolicySet::from_str(&policy.cedar()).unwrap();
            assert_eq!(set.policies().count(), policy.rules().len());
            let validator = Validator::new(schema::cedar().unwrap());
            let result = validator.validate(&set, ValidationMode::Strict);
            assert!(result.validation_passed(), "{result}");
        }
    }

    /// Every key is there, so the list of keys is that of keys the reader reads.
    #[test]
    fn the_example_has_every_key() {
        for key in crate::policy::document::DOCUMENT.keys {
            let quoted = format!("\"{key}\"");
            let apart = ["$schema", "tests", "vouches_for_humans"].contains(key);
            assert!(apart || WHOLE.contains(&quoted), "{key}");
        }
    }
}
