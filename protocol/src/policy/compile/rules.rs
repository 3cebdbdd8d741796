//! The rules of a document: each requirement one `forbid`, what it grants `permit`s, what goes with
//! its calls one `permit` of the action `apply`.

use super::cedar::{self, Clause, Text};
use crate::policy::document::Document;
use crate::policy::facts::CallKind;
use crate::policy::verdict::Action;

/// On what a rule can be decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Decidable {
    /// On the signed header alone, so at every hop.
    Header,
    /// With the body only, so at the edges.
    Edge,
}

impl Decidable {
    /// Its name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Header => "every hop",
            Self::Edge => "edges only",
        }
    }
}

/// What a call must meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Requirement {
    /// `allowed_tools`.
    Tools,
    /// `allowed_resources`.
    Resources,
    /// `allowed_prompts`.
    Prompts,
    /// `intents.allowed`.
    IntentsAllowed,
    /// `intents.restricted` and `restricted_intents`.
    IntentsRestricted,
    /// `intents.pinned`.
    Pinned,
    /// `device`.
    Device,
    /// `location.sites`.
    Sites,
    /// `location.networks`.
    Networks,
    /// `time`.
    Hours,
    /// A member of `arguments`.
    Arguments,
    /// `labels`.
    Labels,
    /// `via`.
    Via,
    /// `approval.required`.
    Approval,
    /// A `forbid` of raw Cedar.
    Cedar,
}

impl Requirement {
    /// The stable name of the reason for which a call that fails it is stopped.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Tools => "tool_not_allowed",
            Self::Resources => "resource_not_allowed",
            Self::Prompts => "prompt_not_allowed",
            Self::IntentsAllowed => "intent_not_allowed",
            Self::IntentsRestricted => "intent_restricted",
            Self::Pinned => "tool_not_pinned",
            Self::Device => "device_not_fit",
            Self::Sites => "site_not_allowed",
            Self::Networks => "network_not_allowed",
            Self::Hours => "time_not_allowed",
            Self::Arguments => "argument_not_allowed",
            Self::Labels => "label_not_allowed",
            Self::Via => "waypoint_missing",
            Self::Approval => "approval_required",
            Self::Cedar => "forbidden",
        }
    }
}

/// What a rule is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// A call that fails this requirement violates the document.
    Forbid(Requirement),
    /// It permits calls.
    Permit,
    /// Limits and what happens to results apply to the call.
    Apply,
}

/// One Cedar policy that came of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Where in the document it stands: a JSON pointer, or the number of a Cedar policy from 0.
    pub place: String,
    /// What it is for.
    pub effect: Effect,
    /// What a violation leads to.
    pub action: Action,
    /// Whether it permits only what was approved.
    pub once_approved: bool,
    /// Where it can be decided.
    pub decidable: Decidable,
    /// Its text.
    pub cedar: String,
}

/// A requirement in Cedar.
struct Needed {
    place: String,
    requirement: Requirement,
    decidable: Decidable,
    /// What a call must meet.
    meets: String,
}

fn header(place: &str, requirement: Requirement, meets: String) -> Needed {
    Needed {
        place: place.to_owned(),
        requirement,
        decidable: Decidable::Header,
        meets,
    }
}

fn requirements(document: &Document) -> Vec<Needed> {
    use Requirement as R;
    let r = &document.requirements;
    let mut out = Vec::new();
    if let Some(tools) = &r.tools {
        let meets = cedar::if_kind(CallKind::Tool, cedar::granted_tools(tools));
        out.push(header("/allowed_tools", R::Tools, meets));
    }
    if let Some(list) = &r.resources {
        let meets = cedar::if_kind(CallKind::Resource, cedar::resources(list));
        out.push(header("/allowed_resources", R::Resources, meets));
    }
    if let Some(prompts) = &r.prompts {
        let meets = cedar::if_kind(CallKind::Prompt, cedar::items(prompts));
        out.push(header("/allowed_prompts", R::Prompts, meets));
    }
    if let Some(words) = &r.intents.allowed {
        let meets = cedar::intents_allowed(words);
        out.push(header("/intents/allowed", R::IntentsAllowed, meets));
    }
    if r.intents.pinned {
        let meets = cedar::if_kind(CallKind::Tool, "context.pinned".to_owned());
        out.push(header("/intents/pinned", R::Pinned, meets));
    }
    for (place, words) in [
        ("/intents/restricted", &r.intents.restricted),
        ("/restricted_intents", &r.intents.restricted_seed),
    ] {
        if !words.is_empty() {
            let meets = cedar::none_of("context.intents", words);
            out.push(header(place, R::IntentsRestricted, meets));
        }
    }
    if let Some(device) = &r.device {
        out.push(header("/device", R::Device, cedar::device(device)));
    }
    if let Some(location) = &r.location {
        let sites = cedar::sites(location);
        out.extend(sites.map(|meets| header("/location/sites", R::Sites, meets)));
        let networks = cedar::networks(location);
        out.extend(networks.map(|meets| header("/location/networks", R::Networks, meets)));
    }
    if let Some(hours) = &r.time {
        out.push(header("/time", R::Hours, cedar::hours(hours)));
    }
    for check in &r.arguments {
        let token = argument_token(document, &check.place);
        out.push(Needed {
            place: check.place.clone(),
            requirement: R::Arguments,
            decidable: Decidable::Edge,
            meets: format!("!context.unmet.contains({})", cedar::quoted(&token)),
        });
    }
    if let Some(labels) = &r.labels {
        out.push(header("/labels", R::Labels, cedar::labels(labels)));
    }
    if let Some(via) = &r.via {
        out.push(header("/via", R::Via, cedar::via(via)));
    }
    out
}

/// How the context names a check of arguments that failed.
pub(in crate::policy) fn argument_token(document: &Document, place: &str) -> String {
    format!("{}{place}", document.name)
}

/// A rule, and what of it a slice leaves to be decided.
pub(super) type Made = (Rule, Vec<Clause>);

/// The rules of a document.
pub(super) fn rules(document: &Document) -> Vec<Made> {
    let needed = requirements(document);
    let scope = cedar::scope(&document.scope, false);
    let mut out: Vec<Made> = needed
        .iter()
        .map(|needed| forbid(document, &scope, needed))
        .collect();
    let required = document.approval.as_ref().is_some_and(|a| a.required);
    if required {
        let needed = header(
            "/approval/required",
            Requirement::Approval,
            "context.approved".to_owned(),
        );
        out.push(forbid(document, &scope, &needed));
    }
    out.extend(permits(document, &needed, required));
    if document.limits.is_some() || document.on_result.is_some() {
        let text = Text::new(document, "", "permit", "apply").within(&scope, true);
        let (cedar, left) = text.finish(None);
        let rule = Rule {
            place: String::new(),
            effect: Effect::Apply,
            action: document.action,
            once_approved: false,
            decidable: Decidable::Header,
            cedar,
        };
        out.push((rule, left));
    }
    out
}

fn forbid(document: &Document, scope: &str, needed: &Needed) -> Made {
    let action = match needed.requirement {
        Requirement::Approval => Action::RequireApproval,
        _ => document.action,
    };
    let text = Text::new(document, &needed.place, "forbid", "call")
        .within(scope, true)
        .unless(needed.meets.clone());
    let text = match action {
        Action::RequireApproval if needed.requirement != Requirement::Approval => {
            text.unless("context.approved".to_owned())
        }
        _ => text,
    };
    let (cedar, left) = text.finish(Some(action.name()));
    let rule = Rule {
        place: needed.place.clone(),
        effect: Effect::Forbid(needed.requirement),
        action,
        once_approved: false,
        decidable: needed.decidable,
        cedar,
    };
    (rule, left)
}

/// The first rule, with other conditions.
#[cfg(test)]
pub(super) fn restated(document: &Document, when: Option<&str>, unless: Option<&str>) -> Made {
    let scope = cedar::scope(&document.scope, false);
    let first = rules(document).swap_remove(0).0;
    let mut text = Text::new(document, &first.place, "forbid", "call").within(&scope, true);
    if let Some(condition) = when {
        text = text.when(condition.to_owned());
    }
    if let Some(condition) = unless {
        text = text.unless(condition.to_owned());
    }
    let (cedar, left) = text.finish(Some(first.action.name()));
    (Rule { cedar, ..first }, left)
}

fn permits(document: &Document, needed: &[Needed], required: bool) -> Vec<Made> {
    let scope = cedar::scope(&document.scope, true);
    // A grant may ask more of a human than a slice does.
    let matched = scope == cedar::scope(&document.scope, false);
    let edge = needed.iter().any(|n| n.decidable == Decidable::Edge);
    let meets: Vec<String> = needed.iter().map(|n| n.meets.clone()).collect();
    let rule = |place: &str, once_approved, text: Text<'_>| {
        let (cedar, left) = text.finish(None);
        let rule = Rule {
            place: place.to_owned(),
            effect: Effect::Permit,
            action: document.action,
            once_approved,
            decidable: if edge {
                Decidable::Edge
            } else {
                Decidable::Header
            },
            cedar,
        };
        (rule, left)
    };
    let mut out = Vec::new();
    if let Some((place, kinds)) = granted_kinds(document) {
        let mut text = Text::new(document, place, "permit", "call")
            .within(&scope, matched)
            .when(kinds);
        for condition in &meets {
            text = text.when(condition.clone());
        }
        if required {
            text = text.when("context.approved".to_owned());
        }
        out.push(rule(place, required, text));
    }
    // Once approved, a document grants what it held.
    let holds = document.action == Action::RequireApproval;
    if required || holds {
        let mut text = Text::new(document, "/approval", "permit", "call")
            .within(&scope, matched)
            .when("context.approved".to_owned());
        if !holds {
            for condition in meets {
                text = text.when(condition);
            }
        } else if !required {
            // Without the body it is not known whether the edge held it.
            let mut all = meets;
            if edge {
                all.insert(0, "context.full".to_owned());
            }
            text = text.unless(cedar::all(&all));
        }
        out.push(rule("/approval", true, text));
    }
    out
}

/// Which kinds of calls a document permits, and the key that says so.
fn granted_kinds(document: &Document) -> Option<(&'static str, String)> {
    let r = &document.requirements;
    let lists = [
        (r.tools.is_some(), "/allowed_tools", CallKind::Tool),
        (
            r.resources.is_some(),
            "/allowed_resources",
            CallKind::Resource,
        ),
        (r.prompts.is_some(), "/allowed_prompts", CallKind::Prompt),
    ];
    if r.intents.allowed.is_some() {
        return Some(("/intents/allowed", cedar::all(&[])));
    }
    let listed: Vec<_> = lists.iter().filter(|(there, ..)| *there).collect();
    let (_, place, _) = listed.first()?;
    let kinds: Vec<String> = listed
        .iter()
        .map(|(_, _, kind)| cedar::of_kind(*kind, cedar::all(&[])))
        .collect();
    Some((place, cedar::any(&kinds)))
}
