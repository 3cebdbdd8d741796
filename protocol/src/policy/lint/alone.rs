//! One document by itself.

use super::overlap::{covers, covers_item, covers_name, lies_on, meet_item};
use super::{Code, MAX_COMPARED, Notes};
use crate::mcp::{Target, TargetKind, derive_intents, word};
use crate::policy::document::{Document, Mode, Network, WEEK};
use crate::policy::glob::{Glob, ItemGlob};
use crate::policy::uri::glob_ambiguity;
use crate::policy::verdict::Action;

/// The intents that only look.
const HARMLESS: &[&str] = &[word::READ, word::PROTOCOL];

pub(super) fn look(document: &Document, notes: &mut Notes) {
    vacuous(document, notes);
    underivable(document, notes);
    lists(document, notes);
    words(document, notes);
    unreachable(document, notes);
    ambiguous(document, notes);
    taken_back(document, notes);
    arguments(document, notes);
    nobody(document, notes);
    everything(document, notes);
    broad(document, notes);
}

/// Rules that never make a difference.
fn vacuous(document: &Document, notes: &mut Notes) {
    let (r, scope) = (&document.requirements, &document.scope);
    let mut note = |path: &str, why: &str, mend| {
        notes.note(path, Code::Vacuous, why.to_owned(), mend);
    };
    let requires = document.grants()
        || r.intents.pinned
        || !r.intents.restricted.is_empty()
        || !r.intents.restricted_seed.is_empty()
        || r.device.is_some()
        || r.location.is_some()
        || r.time.is_some()
        || !r.arguments.is_empty()
        || r.labels.is_some()
        || r.via.is_some();
    let extra = document.limits.is_some()
        || document.on_result.is_some()
        || document.approval.as_ref().is_some_and(|a| a.required);
    if document.vouches && document.mode == Mode::Observe {
        let why = "a document that only observes vouches for nobody";
        note("/vouches_for_humans", why, "let it enforce, or remove it");
    }
    if !requires && !extra && !document.vouches {
        note(
            "",
            "it asks for nothing and permits nothing",
            "add what calls must meet, or remove it",
        );
    }
    let nothing = "name what is restricted, or leave the key out";
    for place in &r.intents.idle {
        note(
            place,
            "it names no intent, so it restricts nothing",
            nothing,
        );
    }
    let labels = r.labels.as_ref();
    if labels.is_some_and(|l| l.allowed.is_none() && l.restricted.is_empty()) {
        let why = "it names no label, so it restricts nothing";
        note("/labels/restricted", why, nothing);
    }
    if scope.is_selective() {
        let kinds = [
            (
                "/allowed_tools",
                r.tools.is_some(),
                scope.tools.is_some(),
                "tools",
            ),
            (
                "/allowed_resources",
                r.resources.is_some(),
                scope.resources.is_some(),
                "resources",
            ),
            (
                "/allowed_prompts",
                r.prompts.is_some(),
                scope.prompts.is_some(),
                "prompts",
            ),
            (
                "/intents/pinned",
                r.intents.pinned,
                scope.tools.is_some(),
                "tools",
            ),
        ];
        for (path, there, in_scope, what) in kinds {
            if there && !in_scope {
                let why = format!("the document's scope holds no {what}");
                note(
                    path,
                    &why,
                    "name them in the scope too, or leave the key out",
                );
            }
        }
        if !r.arguments.is_empty() && scope.tools.is_none() && scope.prompts.is_none() {
            let why = "the document's scope holds nothing that has arguments";
            note(
                "/arguments",
                why,
                "name tools or prompts in the scope, or leave the key out",
            );
        }
    }
    let holds = document.action == Action::RequireApproval;
    if holds && document.limits.is_some() {
        note(
            "/limits",
            "a call over a limit is denied, and waits for nobody's approval",
            "move it to a document that blocks",
        );
    }
    if let Some(approval) = document.approval.as_ref().filter(|a| !a.required && !holds) {
        let path = if approval.by.is_some() {
            "/approval/by"
        } else {
            "/approval"
        };
        let why = "nothing here asks for approval";
        note(
            path,
            why,
            "set `required`, or `action_on_violation` to `require_approval`",
        );
    }
    if r.time
        .as_ref()
        .is_some_and(|t| t.stretches() == [(0, WEEK)])
    {
        note(
            "/time",
            "it holds at every minute of the week",
            "leave the key out",
        );
    }
    if document.mode == Mode::Observe {
        let apply = [
            ("/limits", document.limits.is_some()),
            ("/on_result", document.on_result.is_some()),
        ];
        for (path, _) in apply.iter().filter(|(_, there)| *there) {
            let why = "a document that only observes counts nothing and changes nothing";
            note(path, why, "move it to a document that enforces");
        }
    }
}

/// Entries that another entry of the same list covers.
fn lists(document: &Document, notes: &mut Notes) {
    fn covered<T>(
        notes: &mut Notes,
        path: &str,
        list: &[T],
        covers: impl Fn(&T, &T) -> bool,
        text: impl Fn(&T) -> String,
    ) {
        for (at, entry) in list.iter().enumerate() {
            // Of two that cover each other the later goes.
            let wider = list.iter().enumerate().find(|(other, wide)| {
                *other != at && covers(wide, entry) && (*other < at || !covers(entry, wide))
            });
            if let Some((_, wide)) = wider {
                let why = format!("`{}` matches all that `{}` does", text(wide), text(entry));
                notes.note(format!("{path}/{at}"), Code::Redundant, why, "remove it");
            }
        }
    }
    let (r, scope) = (&document.requirements, &document.scope);
    let globs = |notes: &mut Notes, path: &str, list: &[Glob]| {
        covered(notes, path, list, covers, ToString::to_string);
    };
    // A bare name counts for approved definitions, so it covers no located one.
    let granted = |wide: &ItemGlob, narrow: &ItemGlob| {
        (!wide.is_bare() || narrow.is_bare()) && covers_item(wide, narrow)
    };
    if let Some(tools) = &r.tools {
        covered(notes, "/allowed_tools", tools, granted, ToString::to_string);
    }
    if let Some(prompts) = &r.prompts {
        covered(
            notes,
            "/allowed_prompts",
            prompts,
            covers_item,
            ToString::to_string,
        );
    }
    if let Some(resources) = &r.resources {
        globs(notes, "/allowed_resources", resources);
    }
    for (path, items) in [("/tools", &scope.tools), ("/prompts", &scope.prompts)] {
        if let Some(items) = items {
            covered(notes, path, items, covers_item, ToString::to_string);
        }
    }
    if let Some(resources) = &scope.resources {
        globs(notes, "/resources", resources);
    }
    if let Some(servers) = &scope.servers {
        covered(notes, "/servers", servers, covers_name, ToString::to_string);
    }
    if let Some(subjects) = &scope.subjects {
        globs(notes, "/subjects/nodes", &subjects.nodes);
        globs(notes, "/subjects/groups", &subjects.groups);
        globs(notes, "/subjects/humans", &subjects.humans);
        covered(
            notes,
            "/subjects/agents",
            &subjects.agents,
            covers_name,
            ToString::to_string,
        );
    }
    if let Some(location) = &r.location {
        globs(
            notes,
            "/location/sites",
            location.sites.as_deref().unwrap_or_default(),
        );
        let networks = location.networks.as_deref().unwrap_or_default();
        covered(
            notes,
            "/location/networks",
            networks,
            within,
            ToString::to_string,
        );
    }
}

/// Whether every address of `narrow` is in `wide`.
fn within(wide: &Network, narrow: &Network) -> bool {
    use core::net::IpAddr;
    let bits = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => u128::from(ip.to_bits()) << 96,
        IpAddr::V6(ip) => ip.to_bits(),
    };
    let same = wide.base.is_ipv4() == narrow.base.is_ipv4();
    let differ = bits(&wide.base) ^ bits(&narrow.base);
    let shared = differ.checked_shr(128 - u32::from(wide.bits)).unwrap_or(0);
    same && wide.bits <= narrow.bits && shared == 0
}

/// Words that are listed where they contradict or repeat each other.
fn words(document: &Document, notes: &mut Notes) {
    let r = &document.requirements;
    let intents = &r.intents;
    for (at, word) in intents.restricted_seed.iter().enumerate() {
        if intents.restricted.contains(word) {
            let why = format!("`{word}` stands in `intents.restricted` too");
            let path = format!("/restricted_intents/{at}");
            notes.note(path, Code::Redundant, why, "keep one of them");
        }
    }
    let restricted = || intents.restricted.iter().chain(&intents.restricted_seed);
    for (at, word) in intents.allowed.iter().flatten().enumerate() {
        if restricted().any(|other| other == word) {
            let why = format!("`{word}` is allowed and restricted; it is forbidden");
            let path = format!("/intents/allowed/{at}");
            notes.note(path, Code::Contradictory, why, "keep one of them");
        }
    }
    let Some(labels) = &r.labels else { return };
    for (at, word) in labels.restricted.iter().enumerate() {
        let path = format!("/labels/restricted/{at}");
        match &labels.allowed {
            Some(allowed) if allowed.contains(word) => {
                let why = format!("`{word}` is allowed and restricted; it is forbidden");
                notes.note(path, Code::Contradictory, why, "keep one of them");
            }
            Some(_) => {
                let why =
                    format!("`{word}` is not among the labels allowed, so it is forbidden already");
                notes.note(path, Code::Redundant, why, "remove it");
            }
            None => {}
        }
    }
}

/// Intents that no rule derives: to allow one says nothing, and to restrict one forbids nothing. What
/// is restricted may be the name of a tool, what is allowed may not.
fn underivable(document: &Document, notes: &mut Notes) {
    let known = || word::ALL.join("`, `");
    let mend = "see the derived intents in docs/policy.md";
    let intents = &document.requirements.intents;
    for (at, word) in intents.allowed.iter().flatten().enumerate() {
        if !word::ALL.contains(&word.as_str()) {
            let why = format!(
                "no call intends `{word}`: derived are `{}`, and a tool's own name does not count",
                known()
            );
            let path = format!("/intents/allowed/{at}");
            notes.note(path, Code::Underivable, why, mend);
        }
    }
    for (place, list) in [
        ("/intents/restricted", &intents.restricted),
        ("/restricted_intents", &intents.restricted_seed),
    ] {
        for (at, word) in list.iter().enumerate() {
            let own = || crate::mcp::own_intent(word).as_ref() == Some(word);
            if !word::ALL.contains(&word.as_str()) && !own() {
                let why = format!(
                    "no call intends `{word}`: derived are `{}`, and names of tools as \
                     `words_with_underscores`",
                    known()
                );
                notes.note(format!("{place}/{at}"), Code::Underivable, why, mend);
            }
        }
    }
}

/// What is permitted and can never be in the document's scope.
fn unreachable(document: &Document, notes: &mut Notes) {
    let (r, scope) = (&document.requirements, &document.scope);
    let lists = [
        ("/allowed_tools", &r.tools, &scope.tools),
        ("/allowed_prompts", &r.prompts, &scope.prompts),
    ];
    for (path, allowed, meant) in lists {
        for (at, item) in allowed.iter().flatten().enumerate() {
            let apart = |list: &Vec<ItemGlob>| !list.iter().any(|glob| meet_item(item, glob));
            let elsewhere = scope.servers.as_ref().is_some_and(|s| !lies_on(item, s));
            if elsewhere || meant.as_ref().is_some_and(apart) {
                let why = format!("`{item}` is never in the document's scope");
                let mend = "name it in the scope too, or remove it";
                notes.note(format!("{path}/{at}"), Code::Vacuous, why, mend);
            }
        }
    }
}

/// Globs that match only URIs which are denied for having several readings.
fn ambiguous(document: &Document, notes: &mut Notes) {
    let lists = [
        ("/resources", &document.scope.resources),
        ("/allowed_resources", &document.requirements.resources),
    ];
    for (path, globs) in lists {
        for (at, glob) in globs.iter().flatten().enumerate() {
            if let Some(found) = glob_ambiguity(glob) {
                let why = format!("no URI with one reading is like `{glob}`: {found}");
                notes.note(format!("{path}/{at}"), Code::Vacuous, why, found.hint());
            }
        }
    }
}

/// Tools that are permitted by name and forbidden by what they intend.
fn taken_back(document: &Document, notes: &mut Notes) {
    if document.action < Action::Block {
        return;
    }
    let r = &document.requirements;
    for (at, item) in r.tools.iter().flatten().enumerate() {
        if !item.item.is_literal() {
            continue;
        }
        if let Some((rule, word)) = forbidden_intent(document, item.item.as_str()) {
            let why = format!("`{item}` intends `{word}`, which `{rule}` forbids");
            let mend = "remove the tool, or allow what it does";
            notes.note(
                format!("/allowed_tools/{at}"),
                Code::Contradictory,
                why,
                mend,
            );
        }
    }
}

/// The rule of a document that forbids a tool because of its name, and the intent it forbids.
pub(super) fn forbidden_intent(document: &Document, tool: &str) -> Option<(&'static str, String)> {
    let named = Target {
        what: TargetKind::Tool,
        name: tool.into(),
    };
    let derived = derive_intents("tools/call", Some(&named), None);
    let intents = &document.requirements.intents;
    let lists = [
        ("/intents/restricted", &intents.restricted),
        ("/restricted_intents", &intents.restricted_seed),
    ];
    for (rule, list) in lists {
        if let Some(word) = derived.iter().find(|word| list.contains(word)) {
            return Some((rule, word.clone()));
        }
    }
    let allowed = intents.allowed.as_ref()?;
    let own = crate::mcp::own_intent(tool);
    let counts = |w: &&String| own.as_ref() != Some(*w) || word::ALL.contains(&w.as_str());
    let mut counted = derived.iter().filter(counts);
    let outside = counted.find(|word| !allowed.contains(word))?;
    Some(("/intents/allowed", outside.clone()))
}

/// Predicates that no value can meet.
fn arguments(document: &Document, notes: &mut Notes) {
    let checks = &document.requirements.arguments;
    let mend = "no value can be like that: correct it";
    // Of a document with so many listed values that they are not compared, nothing is said.
    let mut left = MAX_COMPARED;
    for (at, check) in checks.iter().enumerate() {
        let alone = check.contradictions();
        let mut others = checks.iter().take(at);
        let apart = others.find_map(|other| Some((other, check.apart(other, &mut left)?)));
        if let Some((other, why)) = apart.filter(|_| alone.is_empty()) {
            let why = format!("beside `{}`: {why}", other.place);
            notes.note(check.place.clone(), Code::Contradictory, why, mend);
        }
        for (path, why) in alone {
            notes.note(path, Code::Contradictory, why.to_owned(), mend);
        }
    }
}

/// Globs of names that no name is like: they are of `a-z`, `0-9` and `-`. Whoever knows other globs
/// writes `[ab]`, `{a,b}` or `?` in them, which stand for themselves here.
fn nobody(document: &Document, notes: &mut Notes) {
    let strange = |glob: &Glob| {
        let plain = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-*".contains(*c);
        glob.as_str().chars().find(|c| !plain(c))
    };
    let mut look = |path: String, globs: &[Option<&Glob>]| {
        let found = globs.iter().flatten().find_map(|g| Some((g, strange(g)?)));
        if let Some((glob, c)) = found {
            let why =
                format!("no name is like `{glob}`: `{c}` stands for itself, and no name has it");
            let mend = "write several globs, with `*` for any run of characters";
            notes.note(path, Code::Vacuous, why, mend);
        }
    };
    let (r, scope) = (&document.requirements, &document.scope);
    let approvers = document.approval.as_ref().and_then(|a| a.by.as_ref());
    for (place, subjects) in [
        ("/subjects", scope.subjects.as_ref()),
        ("/approval/by", approvers),
    ] {
        let Some(subjects) = subjects else { continue };
        for (key, list) in [("nodes", &subjects.nodes), ("groups", &subjects.groups)] {
            for (at, glob) in list.iter().enumerate() {
                look(format!("{place}/{key}/{at}"), &[Some(glob)]);
            }
        }
        for (at, glob) in subjects.agents.iter().enumerate() {
            let parts = [glob.node.as_ref(), Some(&glob.name)];
            look(format!("{place}/agents/{at}"), &parts);
        }
    }
    for (at, glob) in scope.servers.iter().flatten().enumerate() {
        look(
            format!("/servers/{at}"),
            &[glob.node.as_ref(), Some(&glob.name)],
        );
    }
    for (path, items) in [
        ("/tools", &scope.tools),
        ("/prompts", &scope.prompts),
        ("/allowed_tools", &r.tools),
        ("/allowed_prompts", &r.prompts),
    ] {
        // The name of a tool or prompt itself may have any character.
        for (at, glob) in items.iter().flatten().enumerate() {
            look(
                format!("{path}/{at}"),
                &[glob.node.as_ref(), glob.server.as_ref()],
            );
        }
    }
    let sites = r.location.iter().flat_map(|l| l.sites.iter().flatten());
    for (at, glob) in sites.enumerate() {
        look(format!("/location/sites/{at}"), &[Some(glob)]);
    }
}

/// Patterns that every text has, and networks that hold every address.
fn everything(document: &Document, notes: &mut Notes) {
    for (at, pattern) in document.on_result.iter().flat_map(|r| &r.deny).enumerate() {
        if pattern.is_all() {
            let why = "every text has this, so every result with a text in it".to_owned();
            let mend = "say what the texts look like that must not pass";
            notes.note(format!("/on_result/deny/{at}"), Code::OverBroad, why, mend);
        }
    }
    let location = document.requirements.location.iter();
    let networks = location.flat_map(|l| l.networks.iter().flatten());
    for (at, network) in networks.enumerate().filter(|(_, n)| n.bits == 0) {
        let kind = if network.base.is_ipv4() {
            "IPv4"
        } else {
            "IPv6"
        };
        let why = format!("it holds every {kind} address, so it asks nothing of where they are");
        let mend = "name the networks that calls may come from";
        notes.note(
            format!("/location/networks/{at}"),
            Code::OverBroad,
            why,
            mend,
        );
    }
}

/// Permitting, or meaning, everybody or everything.
fn broad(document: &Document, notes: &mut Notes) {
    let (r, scope) = (&document.requirements, &document.scope);
    let everyone = "leave the key out if everyone is meant";
    if let Some(subjects) = &scope.subjects {
        let lists = [
            ("nodes", subjects.nodes.iter().position(Glob::is_all)),
            ("humans", subjects.humans.iter().position(Glob::is_all)),
            (
                "agents",
                subjects
                    .agents
                    .iter()
                    .position(|a| a.name.is_all() && a.node.as_ref().is_none_or(Glob::is_all)),
            ),
        ];
        for (list, at) in lists.iter().filter_map(|(list, at)| Some((list, (*at)?))) {
            let path = format!("/subjects/{list}/{at}");
            let why = "it matches everyone, so that no other subject matters".to_owned();
            notes.note(path, Code::OverBroad, why, everyone);
        }
    }
    let narrowed = scope.subjects.is_some()
        || scope.servers.is_some()
        || scope.is_selective()
        || r.device.is_some()
        || r.location.is_some()
        || r.time.is_some()
        || r.labels.is_some()
        || r.via.is_some()
        || r.intents.pinned
        || document.approval.as_ref().is_some_and(|a| a.required)
        || document.mode == Mode::Observe;
    if narrowed {
        return;
    }
    let mend = "name subjects, servers, intents or approval beside it";
    if r.intents.allowed.is_none() {
        let all = |item: &ItemGlob| {
            item.item.is_all()
                && item.node.as_ref().is_none_or(Glob::is_all)
                && item.server.as_ref().is_some_and(Glob::is_all)
        };
        if let Some(at) = r.tools.iter().flatten().position(all) {
            let why = "every tool of every server, for everybody, approved or not".to_owned();
            notes.note(format!("/allowed_tools/{at}"), Code::OverBroad, why, mend);
        }
        if let Some(at) = r.resources.iter().flatten().position(Glob::is_all) {
            let why = "every resource of every server, for everybody".to_owned();
            notes.note(
                format!("/allowed_resources/{at}"),
                Code::OverBroad,
                why,
                mend,
            );
        }
        return;
    }
    let open = r.tools.is_none() && r.resources.is_none() && r.prompts.is_none();
    let beyond = |word: &String| {
        let word = word.as_str();
        word::ALL.contains(&word) && !HARMLESS.contains(&word)
    };
    let found = r.intents.allowed.iter().flatten().position(beyond);
    if let Some(at) = found.filter(|_| open) {
        let why =
            "whatever intends this, of every server, for everybody, approved or not".to_owned();
        notes.note(format!("/intents/allowed/{at}"), Code::OverBroad, why, mend);
    }
}
