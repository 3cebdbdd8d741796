//! Cedar text for what documents say.
//!
//! Everything an author wrote goes through [`quoted`], so no text of a document can end a string.

use core::fmt::Write as _;
use core::ops::Range;

use crate::policy::document::{
    Device, Document, Hours, Kernel, Labels, Location, Network, Scope, Subjects, Via,
};
use crate::policy::facts::CallKind;
use crate::policy::glob::{Glob, ItemGlob, NodeGlob};

/// What everything meets.
const TRUE: &str = "true";

/// A string literal of Cedar; `*` stays as it is, which `like` takes for a wildcard.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            // Never fails: a String takes everything.
            _ => drop(write!(out, "\\u{{{:x}}}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

fn glob(attribute: &str, glob: &Glob) -> String {
    match () {
        () if glob.is_all() => TRUE.to_owned(),
        () if glob.is_literal() => format!("{attribute} == {}", quoted(glob.as_str())),
        () => format!("{attribute} like {}", quoted(glob.as_str())),
    }
}

/// One of `parts`; of none, false. A balanced tree, so that a long list does not nest deep.
pub(super) fn any(parts: &[String]) -> String {
    if parts.iter().any(|p| p == TRUE) {
        return TRUE.to_owned();
    }
    match parts {
        [] => "false".to_owned(),
        [one] => one.clone(),
        few if few.len() <= 8 => format!("({})", few.join(" || ")),
        many => {
            let (left, right) = many.split_at(many.len() / 2);
            format!("({} || {})", any(left), any(right))
        }
    }
}

/// All of `parts`; of none, true.
pub(super) fn all(parts: &[String]) -> String {
    let parts: Vec<&str> = parts
        .iter()
        .map(String::as_str)
        .filter(|p| *p != TRUE)
        .collect();
    match parts.as_slice() {
        [] => TRUE.to_owned(),
        [one] => (*one).to_owned(),
        _ => format!("({})", parts.join(" && ")),
    }
}

fn globs(attribute: &str, list: &[Glob]) -> String {
    any(&list.iter().map(|g| glob(attribute, g)).collect::<Vec<_>>())
}

fn on_node(node: &str, name: &str, list: &[NodeGlob]) -> String {
    let one = |g: &NodeGlob| {
        let on = g.node.as_ref().map_or(TRUE.to_owned(), |g| glob(node, g));
        all(&[on, glob(name, &g.name)])
    };
    any(&list.iter().map(one).collect::<Vec<_>>())
}

fn item(g: &ItemGlob) -> String {
    let part =
        |attribute, g: &Option<Glob>| g.as_ref().map_or(TRUE.to_owned(), |g| glob(attribute, g));
    all(&[
        part("context.host", &g.node),
        part("context.server", &g.server),
        glob("context.target", &g.item),
    ])
}

pub(super) fn items(list: &[ItemGlob]) -> String {
    any(&list.iter().map(item).collect::<Vec<_>>())
}

/// Tools a grant names: a bare name counts for an approved pin only.
pub(super) fn granted_tools(list: &[ItemGlob]) -> String {
    let (bare, located): (Vec<&ItemGlob>, _) = list.iter().partition(|g| g.is_bare());
    let mut parts = Vec::new();
    if !bare.is_empty() {
        let names: Vec<String> = bare.into_iter().map(item).collect();
        parts.push(all(&["context.pinned".to_owned(), any(&names)]));
    }
    parts.extend(located.into_iter().map(item));
    any(&parts)
}

pub(super) fn resources(list: &[Glob]) -> String {
    globs("context.target", list)
}

pub(super) fn of_kind(kind: CallKind, condition: String) -> String {
    let is = format!("context.kind == {}", quoted(kind.name()));
    all(&[is, condition])
}

/// What holds of calls of `kind`; calls of another kind meet it.
pub(super) fn if_kind(kind: CallKind, condition: String) -> String {
    if condition == TRUE {
        return condition;
    }
    format!("(context.kind != {} || {condition})", quoted(kind.name()))
}

fn subjects(subjects: &Subjects, grant: bool) -> String {
    let mut parts: Vec<String> = Vec::new();
    parts.extend(subjects.nodes.iter().map(|g| glob("context.node", g)));
    parts.extend(subjects.groups.iter().map(|g| {
        let set = if g.is_literal() {
            "groups"
        } else {
            "group_globs"
        };
        format!("context.{set}.contains({})", quoted(g.as_str()))
    }));
    if !subjects.agents.is_empty() {
        parts.push(on_node("context.node", "context.agent", &subjects.agents));
    }
    if !subjects.humans.is_empty() {
        let vouched = if grant { "context.human_vouched" } else { TRUE };
        parts.push(all(&[
            vouched.to_owned(),
            "context has human".to_owned(),
            globs("context.human", &subjects.humans),
        ]));
    }
    any(&parts)
}

/// That a call is in scope. A human counts for a grant only if somebody may vouch for humans.
pub(super) fn scope(scope: &Scope, grant: bool) -> String {
    let mut parts = Vec::new();
    if let Some(who) = &scope.subjects {
        parts.push(subjects(who, grant));
    }
    if let Some(servers) = &scope.servers {
        parts.push(on_node("context.host", "context.server", servers));
    }
    if scope.is_selective() {
        let mut targets = Vec::new();
        if let Some(tools) = &scope.tools {
            targets.push(of_kind(CallKind::Tool, items(tools)));
        }
        if let Some(list) = &scope.resources {
            targets.push(of_kind(CallKind::Resource, resources(list)));
        }
        if let Some(prompts) = &scope.prompts {
            targets.push(of_kind(CallKind::Prompt, items(prompts)));
        }
        parts.push(any(&targets));
    }
    all(&parts)
}

fn set(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|w| quoted(w)).collect();
    format!("[{}]", words.join(", "))
}

pub(super) fn intents_allowed(words: &[String]) -> String {
    // No intent at all is not the absence of any: nothing was derived.
    if words.is_empty() {
        return "false".to_owned();
    }
    format!(
        "(!context.derived.isEmpty() && {}.containsAll(context.derived))",
        set(words)
    )
}

pub(super) fn none_of(attribute: &str, words: &[String]) -> String {
    if words.is_empty() {
        return TRUE.to_owned();
    }
    let one = |w: &String| format!("{attribute}.contains({})", quoted(w));
    format!(
        "!{}",
        wrapped(any(&words.iter().map(one).collect::<Vec<_>>()))
    )
}

fn wrapped(condition: String) -> String {
    if condition.starts_with('(') {
        condition
    } else {
        format!("({condition})")
    }
}

pub(super) fn labels(labels: &Labels) -> String {
    let mut parts = Vec::new();
    if let Some(allowed) = &labels.allowed {
        parts.push(if allowed.is_empty() {
            "context.labels.isEmpty()".to_owned()
        } else {
            format!("{}.containsAll(context.labels)", set(allowed))
        });
    }
    parts.push(none_of("context.labels", &labels.restricted));
    all(&parts)
}

/// A kernel version as one number.
pub(in crate::policy) fn kernel_number((major, minor, patch): Kernel) -> i64 {
    (i64::from(major) << 32) | (i64::from(minor) << 16) | i64::from(patch)
}

pub(super) fn device(device: &Device) -> String {
    let posture = |rest: &str| format!("context.posture.{rest}");
    let mut parts = vec!["context has posture".to_owned()];
    if let Some(os) = &device.os {
        parts.push(globs("context.posture.os", os));
    }
    if let Some(kernel) = device.min_kernel {
        parts.push(posture(&format!("kernel >= {}", kernel_number(kernel))));
    }
    for (asked, claim) in [
        (device.secure_boot, "secure_boot"),
        (device.disk_encryption, "disk_encryption"),
        (device.attested, "attested"),
    ] {
        if asked {
            parts.push(posture(claim));
        }
    }
    if let Some(most) = device.max_uptime_s {
        parts.push(posture(&format!("uptime_s <= {most}")));
    }
    if let Some(most) = device.max_age_s {
        parts.push(posture(&format!("age_s <= {most}")));
    }
    if let Some(binaries) = &device.binaries {
        let one = |d: &crate::id::Digest| {
            posture(&format!("binary == {}", quoted(&hex::encode(d.as_bytes()))))
        };
        parts.push("context.posture has binary".to_owned());
        parts.push(any(&binaries.iter().map(one).collect::<Vec<_>>()));
    }
    if !device.hardening.is_empty() {
        let all = format!("hardening.containsAll({})", set(&device.hardening));
        parts.push(posture(&all));
    }
    all(&parts)
}

pub(super) fn sites(location: &Location) -> Option<String> {
    let sites = location.sites.as_ref()?;
    let one = globs("context.site", sites);
    Some(all(&["context has site".to_owned(), one]))
}

pub(super) fn networks(location: &Location) -> Option<String> {
    let networks = location.networks.as_ref()?;
    let one = |n: &Network| format!("context.address.isInRange(ip({}))", quoted(&n.to_string()));
    let within = any(&networks.iter().map(one).collect::<Vec<_>>());
    let known = all(&["context has address".to_owned(), within]);
    Some(format!("(!context.address_due || {known})"))
}

pub(super) fn hours(hours: &Hours) -> String {
    within(&hours.stretches())
}

/// That it is within one of these stretches, which come one after the other: a search by halves, for
/// most weeks have five or seven.
fn within(stretches: &[(u16, u16)]) -> String {
    let (left, right) = stretches.split_at(stretches.len() / 2);
    match (left, right) {
        (_, []) => any(&[]),
        ([], [(from, to), ..]) => {
            format!("(context.week_minute >= {from} && context.week_minute < {to})")
        }
        (_, [(from, _), ..]) => {
            let (before, after) = (within(left), within(right));
            format!("(if context.week_minute < {from} then {before} else {after})")
        }
    }
}

pub(super) fn via(via: &Via) -> String {
    match via {
        Via::Group(name) => format!("context.route_groups.contains({})", quoted(name.as_str())),
        Via::Node(name) => format!("context.route_nodes.contains({})", quoted(name.as_str())),
    }
}

/// One `when` or `unless` of a rule that a slice leaves to be decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::policy) struct Clause {
    /// Where in the rule's text the condition stands.
    pub(in crate::policy) condition: Range<usize>,
    /// What it must be for the rule to say anything: true for `when`.
    pub(in crate::policy) wanted: bool,
}

/// The text of one Cedar policy.
pub(super) struct Text<'d> {
    document: &'d Document,
    place: &'d str,
    effect: &'static str,
    action: &'static str,
    /// Keyword and condition, and whether a slice holds only calls that meet it.
    clauses: Vec<(&'static str, String, bool)>,
}

impl<'d> Text<'d> {
    pub(super) const fn new(
        document: &'d Document,
        place: &'d str,
        effect: &'static str,
        action: &'static str,
    ) -> Self {
        Self {
            document,
            place,
            effect,
            action,
            clauses: Vec::new(),
        }
    }

    /// Of calls in this scope; `matched` if it is just what slices match.
    pub(super) fn within(mut self, scope: &str, matched: bool) -> Self {
        if scope != TRUE {
            self.clauses.push(("when", scope.to_owned(), matched));
        }
        self
    }

    pub(super) fn when(mut self, condition: String) -> Self {
        if condition != TRUE {
            self.clauses.push(("when", condition, false));
        }
        self
    }

    pub(super) fn unless(mut self, condition: String) -> Self {
        self.clauses.push(("unless", condition, false));
        self
    }

    /// The text, and what of it a slice leaves to be decided.
    pub(super) fn finish(self, says: Option<&'static str>) -> (String, Vec<Clause>) {
        let name = quoted(self.document.name.as_str());
        let mut out = format!("@policy_name({name})\n@rule({})\n", quoted(self.place));
        if let Some(says) = says {
            out.push_str(&format!("@action({})\n", quoted(says)));
        }
        if self.document.mode == crate::policy::document::Mode::Observe {
            out.push_str("@mode(\"observe\")\n");
        }
        let head = format!(
            "{} (principal, action == Action::{}, resource)",
            self.effect,
            quoted(self.action)
        );
        out.push_str(&head);
        let mut left = Vec::new();
        for (keyword, condition, matched) in &self.clauses {
            out.push_str(&format!("\n{keyword} {{ "));
            let start = out.len();
            out.push_str(condition);
            if !matched {
                left.push(Clause {
                    condition: start..out.len(),
                    wanted: *keyword == "when",
                });
            }
            out.push_str(" }");
        }
        out.push(';');
        (out, left)
    }
}
