//! The decision: which documents' scope holds the call, what they forbid, what they permit.
//!
//! Forbid wins, every violation counts, and the strictest action applies. What no document permits
//! is denied, and so is what Cedar cannot evaluate.

use std::sync::{Arc, PoisonError};

use super::case::Case;
use super::compile::{CompiledBundle, CompiledPolicy, CompiledRule, Effect, Requirement};
use super::document::{Document, Found, Json, Mode};
use super::error::shown;
use super::facts::{CallKind, Facts, Party};
use super::sets::{Asking, Question, Said, Sets};
use super::uri;
use super::verdict::{
    Action, ApprovalPart, ApprovalTerms, Decision, Denial, LimitUse, Obligation, Policy, Verdict,
    Violation, Waypoint,
};
use crate::envelope::Kind;
use crate::envelope::hop::Scope;
use crate::id::Digest;

/// The reason for what no document permits.
pub const NOT_PERMITTED: &str = "not_permitted";

/// The reason for a request by a URI that can be read in several ways, where documents go by URIs.
pub const AMBIGUOUS_URI: &str = "ambiguous_uri";

/// The reason for a result that holds what a document denies.
pub const RESULT_DENIED: &str = "result_denied";

/// The reason for what Cedar could not evaluate.
pub const POLICY_ERROR: &str = "policy_error";

fn at(policies: &[CompiledPolicy], number: u32) -> Option<&CompiledPolicy> {
    usize::try_from(number).ok().and_then(|n| policies.get(n))
}

const fn scope_of(facts: &Facts<'_>) -> Scope {
    match facts.body {
        Some(_) => Scope::Full,
        None => Scope::HeaderOnly,
    }
}

impl Policy for CompiledBundle {
    fn bundle_version(&self) -> u64 {
        self.version()
    }

    fn evaluate(&self, facts: &Facts<'_>) -> Decision {
        self.evaluate_pinned(facts, self.presents_pin(facts))
    }

    fn evaluate_template(&self, facts: &Facts<'_>) -> Decision {
        self.evaluate_named(facts, self.presents_pin(facts), true)
    }

    fn vouches_for_humans(&self, node: Party<'_>) -> bool {
        self.vouchers.iter().any(|who| who.hold_node(node))
    }

    fn approved(&self, server: &str, tool: &str) -> Option<Digest> {
        self.approved_definition(server, tool)
    }

    fn labelled(&self, node: &str, server: &str, target: &str) -> Vec<String> {
        let labels = self.labels(node, server, target).into_iter();
        labels.map(str::to_owned).collect()
    }

    fn waypoints(&self, facts: &Facts<'_>) -> Vec<Waypoint> {
        let Some(kind) = facts.call().filter(|_| self.wants_waypoints) else {
            return Vec::new();
        };
        let case = Case::new(facts, kind, false, Vec::new());
        let slice = self.index.slice(&case, self.policies());
        let documents = slice.into_iter().filter_map(|number| {
            let policy = at(self.policies(), number)?;
            policy.document().filter(|d| d.mode == Mode::Enforce)
        });
        documents
            .filter_map(|document| {
                Some(Waypoint {
                    policy: document.name.clone(),
                    via: document.requirements.via.clone()?,
                    action: document.action,
                })
            })
            .collect()
    }
}

impl CompiledBundle {
    /// Decides as [`Policy::evaluate`] does, over all documents, each rule as a whole. Slow; what it
    /// says is what slices must say too.
    #[must_use]
    pub fn evaluate_unsliced(&self, facts: &Facts<'_>) -> Decision {
        match self.ambiguous(facts) {
            Some(denied) => denied,
            None => self.evaluate_named(facts, self.presents_pin(facts), false),
        }
    }

    /// Decides, taking it as given whether the tool is an approved one.
    pub(super) fn evaluate_pinned(&self, facts: &Facts<'_>, pinned: bool) -> Decision {
        match self.ambiguous(facts) {
            Some(denied) => denied,
            None => self.evaluate_named(facts, pinned, true),
        }
    }

    /// The decision on a request by a URI that can be read in several ways, where documents go by
    /// URIs: they are not asked what they say of it, for the server may read it in another.
    fn ambiguous(&self, facts: &Facts<'_>) -> Option<Decision> {
        let named = self.resources.filter(|_| facts.kind == Kind::Request)?;
        let uri = facts.target.unwrap_or_default();
        let why = match facts.method {
            "resources/read" | "resources/subscribe" | "resources/unsubscribe" => {
                uri::ambiguity(uri, named)
            }
            "completion/complete" if facts.call() == Some(CallKind::Resource) => {
                uri::template_ambiguity(uri, named)
            }
            _ => None,
        }?;
        let denial = Denial {
            reason: AMBIGUOUS_URI.to_owned(),
            message: why.message(uri),
            policy: None,
            hint: Some(why.hint().to_owned()),
        };
        Some(Decision {
            scope: scope_of(facts),
            ..Decision::of(Verdict::Deny(denial))
        })
    }

    fn presents_pin(&self, facts: &Facts<'_>) -> bool {
        facts.tool_digest.is_some_and(|definition| {
            let tool = facts.target.unwrap_or_default();
            self.is_pinned(facts.server.as_str(), tool, &definition)
        })
    }

    /// Decides by what the documents say of the name, whatever else can be read in it.
    fn evaluate_named(&self, facts: &Facts<'_>, pinned: bool, sliced: bool) -> Decision {
        let scope = scope_of(facts);
        let mut decision = Decision {
            scope,
            ..Decision::allow()
        };
        let Some(kind) = facts.call() else {
            return decision;
        };
        let host = facts.host();
        let target = facts.target.unwrap_or_default();
        let labels = self.labels(host.name.as_str(), facts.server.as_str(), target);
        let mut case = Case::new(facts, kind, pinned, labels);
        let slice = if sliced {
            self.index.slice(&case, self.policies())
        } else {
            (0..).take(self.policies().len()).collect()
        };
        let sets = self.sets_for(&slice);
        case.group_globs = &sets.group_globs;
        case.checks = &sets.checks;
        let mut asking = Asking::new(self, &case, &sets, !sliced);
        if self.decide(&case, &mut asking, &mut decision).is_none() {
            decision = Decision {
                scope,
                ..Decision::of(Verdict::Deny(failed(None)))
            };
        }
        decision
    }

    fn sets_for(&self, slice: &[u32]) -> Arc<Sets> {
        let ready = self.sets.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(sets) = ready.of(slice) {
            return sets;
        }
        drop(ready);
        let sets = Arc::new(Sets::of(self, slice));
        let mut ready = self.sets.write().unwrap_or_else(PoisonError::into_inner);
        ready.keep(slice, &sets);
        sets
    }

    /// `None` if nothing can be decided.
    fn decide(
        &self,
        case: &Case<'_>,
        asking: &mut Asking<'_>,
        decision: &mut Decision,
    ) -> Option<()> {
        if case.facts.kind == Kind::Response {
            return apply(case, asking, decision);
        }
        let forbidden = asking.ask(Question::Forbid)?;
        for (policy, rule) in &forbidden.rules {
            let violation = violation(case, policy, rule);
            match rule.mode {
                Mode::Enforce => decision.violations.push(violation),
                Mode::Observe => decision.observed.push(violation),
            }
        }
        for list in [&mut decision.violations, &mut decision.observed] {
            list.sort_by(|a, b| {
                let strictest = b.action.cmp(&a.action);
                strictest.then_with(|| (&a.policy, &a.rule).cmp(&(&b.policy, &b.rule)))
            });
        }
        let permitted = asking.ask(Question::Permit)?;
        let granted = permitted.rules.iter().map(|(p, _)| p.name().to_string());
        decision.granted_by = granted.collect();
        decision.granted_by.sort_unstable();
        decision.granted_by.dedup();
        let broken = forbidden.failed.or(permitted.failed);
        self.say_unapproved(case, decision);
        decision.verdict = verdict(case, decision, broken);
        self.hint_at_approving(case, &mut decision.verdict);
        match decision.verdict {
            Verdict::Hold(_) => decision.approval = Some(self.approval_terms(decision)),
            Verdict::Allow(_) => apply(case, asking, decision)?,
            Verdict::Deny(_) | Verdict::Sever(_) => {}
        }
        Some(())
    }

    fn approval_terms(&self, decision: &Decision) -> ApprovalTerms {
        let held = decision.violations.iter();
        let held = held.filter(|v| v.action == Action::RequireApproval);
        let mut names: Vec<&str> = held.map(|v| v.policy.as_str()).collect();
        names.dedup();
        let mut within_s = super::document::APPROVAL_S;
        let mut parts = Vec::new();
        for (place, name) in names.into_iter().enumerate() {
            let document = self.policy(name).and_then(CompiledPolicy::document);
            let approval = document.and_then(|d| d.approval.as_ref());
            let within = approval.map_or(super::document::APPROVAL_S, |a| a.within_s);
            within_s = if place == 0 {
                within
            } else {
                within_s.min(within)
            };
            parts.push(ApprovalPart {
                policy: name.to_owned(),
                by: approval.and_then(|a| a.by.clone()),
            });
        }
        ApprovalTerms { parts, within_s }
    }
}

/// What goes with a call; `None` if that cannot be known.
fn apply(case: &Case<'_>, asking: &mut Asking<'_>, decision: &mut Decision) -> Option<()> {
    let said = asking.ask(Question::Apply)?;
    apply_terms(case, &said, decision);
    if let Some(policy) = said.failed {
        decision.verdict = Verdict::Deny(failed(Some(policy)));
    }
    Some(())
}

/// An object of JSON-RPC: members whose values it needs itself, and members whose values are what it
/// says. The names of both are its own.
struct Frame {
    own: &'static [&'static str],
    said: &'static [&'static str],
}

const MESSAGE: Frame = Frame {
    own: &["jsonrpc", "id", "method"],
    said: &["result", "params", "error"],
};

const ERROR: Frame = Frame {
    own: &["code"],
    said: &["message", "data"],
};

/// What MCP needs itself of the `params` of a message of this method: the name of the request a
/// notification is about. No other member is one, whatever it is called.
fn own_param(method: &str) -> Option<&'static str> {
    match method {
        "notifications/progress" => Some("progressToken"),
        "notifications/cancelled" => Some("requestId"),
        _ => None,
    }
}

/// Whether `test` holds for any text of the `params` of a message of this method, but for the ids by
/// which MCP relates messages.
fn params_say(method: &str, params: &Json, test: &dyn Fn(&str) -> bool) -> bool {
    let is_id = |value: &Json| matches!(value, Json::Number(_) | Json::Text(_));
    let but = |object: &Json, own: Option<&str>, more: &dyn Fn(&str, &Json) -> bool| match object {
        Json::Object(members) => members.iter().any(|(key, value)| {
            let own = own == Some(key.as_str()) && is_id(value);
            !own && more(key, value)
        }),
        _ => object.any_text(test),
    };
    let any = |key: &str, value: &Json| test(key) || value.any_text(test);
    but(params, own_param(method), &|key, value| match key {
        "_meta" => test(key) || but(value, Some("progressToken"), &any),
        _ => any(key, value),
    })
}

impl Frame {
    /// Whether `test` holds for any text of what `object` says. A member that JSON-RPC does not know
    /// counts, with its name.
    fn any_said(&self, object: &Json, test: &dyn Fn(&str) -> bool) -> bool {
        let Json::Object(members) = object else {
            return object.any_text(test);
        };
        let method = match object.member("method") {
            Found::One(Json::Text(method)) => Some(method.as_str()),
            _ => None,
        };
        members.iter().any(|(key, value)| {
            let key = key.as_str();
            match (key, method) {
                _ if self.own.contains(&key) => false,
                ("error", _) if self.said.contains(&key) => ERROR.any_said(value, test),
                ("params", Some(method)) if self.said.contains(&key) => {
                    params_say(method, value, test)
                }
                _ => (!self.said.contains(&key) && test(key)) || value.any_text(test),
            }
        })
    }
}

/// Whether a message says what a document denies. One that cannot be read does.
fn denies(document: &Document, message: Option<&Json>) -> bool {
    let patterns = document.on_result.iter().flat_map(|r| &r.deny);
    let mut patterns = patterns.peekable();
    if patterns.peek().is_none() {
        return false;
    }
    message
        .is_none_or(|message| patterns.any(|p| MESSAGE.any_said(message, &|text| p.matches(text))))
}

/// What a denied pattern leads to; a result cannot be held.
fn denied_result(document: &Document) -> Violation {
    Violation {
        policy: document.name.to_string(),
        rule: "/on_result/deny".to_owned(),
        action: match document.action {
            Action::RequireApproval => Action::Block,
            action => action,
        },
        reason: RESULT_DENIED,
        message: format!("policy `{}` does not allow this result", document.name),
    }
}

fn verdict(case: &Case<'_>, decision: &Decision, broken: Option<&CompiledPolicy>) -> Verdict {
    let strictest = decision.violations.first();
    let severe = strictest.filter(|v| v.action >= Action::Block);
    if let Some(violation) = severe {
        let denial = denied(violation);
        return match violation.action {
            Action::Sever => Verdict::Sever(denial),
            _ => Verdict::Deny(denial),
        };
    }
    if let Some(policy) = broken {
        return Verdict::Deny(failed(Some(policy)));
    }
    if let Some(held) = strictest.filter(|v| v.action == Action::RequireApproval) {
        return Verdict::Hold(denied(held));
    }
    if decision.granted_by.is_empty() {
        return Verdict::Deny(not_permitted(case));
    }
    let alerts = decision.alerts().map(|v| v.message.clone());
    Verdict::Allow(alerts.map(Obligation::Alert).collect())
}

/// What a call acts on, for people.
fn what(case: &Case<'_>) -> String {
    let target = shown(case.target);
    match case.kind {
        CallKind::Tool => format!("tool `{target}`"),
        CallKind::Resource => format!("resource `{target}`"),
        CallKind::Prompt => format!("prompt `{target}`"),
        CallKind::Method => format!("method `{}`", shown(case.facts.method)),
    }
}

fn violation(case: &Case<'_>, policy: &CompiledPolicy, rule: &CompiledRule) -> Violation {
    let requirement = match rule.rule.effect {
        Effect::Forbid(requirement) => requirement,
        Effect::Permit | Effect::Apply => Requirement::Cedar,
    };
    let what = what(case);
    let name = policy.name();
    let message = match requirement {
        Requirement::Tools | Requirement::Resources | Requirement::Prompts => {
            format!("policy `{name}` does not allow {what}")
        }
        Requirement::Pinned => format!("policy `{name}` wants an approved definition of {what}"),
        Requirement::IntentsAllowed => {
            let intents = listed(case.facts.intents.iter().map(String::as_str));
            format!("policy `{name}` does not allow all of what {what} intends: {intents}")
        }
        Requirement::IntentsRestricted => {
            let intents = listed(case.facts.intents.iter().map(String::as_str));
            format!("policy `{name}` restricts what {what} intends: {intents}")
        }
        Requirement::Device => format!("policy `{name}` asks more of the caller's device"),
        Requirement::Sites => format!("policy `{name}` does not allow calls from this site"),
        Requirement::Networks => format!("policy `{name}` does not allow calls from this network"),
        Requirement::Hours => format!("policy `{name}` does not allow {what} at this time"),
        Requirement::Arguments => {
            format!("policy `{name}` does not allow these arguments of {what}")
        }
        Requirement::Labels => {
            let wanted = policy
                .document()
                .and_then(|d| d.requirements.labels.as_ref());
            let refused = |label: &&str| wanted.is_none_or(|wanted| !wanted.admits(label));
            let labels = listed(case.labels.iter().copied().filter(refused));
            format!("policy `{name}` does not allow data labelled {labels}")
        }
        Requirement::Via => format!("policy `{name}` wants the call to pass a waypoint"),
        Requirement::Approval => format!("policy `{name}` wants {what} approved"),
        Requirement::Cedar => format!("policy `{name}` forbids {what}"),
    };
    Violation {
        policy: name.to_string(),
        rule: rule.rule.place.clone(),
        action: rule.rule.action,
        reason: requirement.reason(),
        message,
    }
}

fn listed<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let words: Vec<String> = words.map(|w| format!("`{}`", shown(w))).collect();
    if words.is_empty() {
        return "nothing".to_owned();
    }
    words.join(", ")
}

fn denied(violation: &Violation) -> Denial {
    let (policy, rule) = (&violation.policy, &violation.rule);
    Denial {
        reason: violation.reason.to_owned(),
        message: violation.message.clone(),
        policy: Some(policy.clone()),
        hint: Some(format!("see `{rule}` of policy `{policy}`")),
    }
}

fn not_permitted(case: &Case<'_>) -> Denial {
    Denial {
        reason: NOT_PERMITTED.to_owned(),
        message: format!("no policy permits {}", what(case)),
        policy: None,
        hint: Some("an administrator can permit it with a policy".to_owned()),
    }
}

fn failed(policy: Option<&CompiledPolicy>) -> Denial {
    let name = policy.map(|p| p.name().to_string());
    let of = name.as_ref().map(|n| format!(" `{n}`")).unwrap_or_default();
    Denial {
        reason: POLICY_ERROR.to_owned(),
        message: format!("policy{of} could not be evaluated, so the call is denied"),
        policy: name,
        hint: Some("an administrator must correct the policy".to_owned()),
    }
}

fn limit_use(document: &Document) -> Option<LimitUse> {
    let limits = document.limits.as_ref()?;
    Some(LimitUse {
        policy: document.name.to_string(),
        per: limits.per,
        calls: limits.calls,
        bytes: limits.bytes,
        window_s: limits.window_s,
        concurrent: limits.concurrent,
        action: document.action,
    })
}

/// Limits, of a request and of a result, and what happens to a result.
fn apply_terms(case: &Case<'_>, said: &Said<'_>, decision: &mut Decision) {
    let mut documents: Vec<_> = said
        .rules
        .iter()
        .filter_map(|(p, _)| p.document())
        .collect();
    documents.sort_by(|a, b| a.name.cmp(&b.name));
    let limits = documents.iter().filter_map(|d| limit_use(d));
    decision.limits = limits.collect();
    if case.facts.kind == Kind::Request {
        return;
    }
    let results = documents.iter().filter_map(|d| d.on_result.as_ref());
    let mut obligations = Vec::new();
    for result in results {
        obligations.extend(result.redact.iter().cloned().map(Obligation::Redact));
        obligations.extend(result.tag.iter().cloned().map(Obligation::Tag));
    }
    obligations.dedup();
    let Some(body) = case.facts.body else {
        decision.verdict = Verdict::Allow(obligations);
        return;
    };
    let asked = documents
        .iter()
        .any(|d| d.on_result.as_ref().is_some_and(|r| !r.deny.is_empty()));
    let message = asked
        .then(|| Json::read(core::str::from_utf8(body).ok()?).ok())
        .flatten();
    let denying = documents.iter().filter(|d| denies(d, message.as_ref()));
    decision.violations = denying.map(|d| denied_result(d)).collect();
    decision.violations.sort_by(|a, b| {
        b.action
            .cmp(&a.action)
            .then_with(|| a.policy.cmp(&b.policy))
    });
    let alerts = decision.alerts().map(|v| v.message.clone());
    obligations.extend(alerts.map(Obligation::Alert));
    decision.verdict = match decision.violations.first() {
        Some(violation) if violation.action == Action::Sever => Verdict::Sever(denied(violation)),
        Some(violation) if violation.action >= Action::Block => Verdict::Deny(denied(violation)),
        _ => Verdict::Allow(obligations),
    };
}
