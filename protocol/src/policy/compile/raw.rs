//! Raw Cedar: parsed, validated strictly against the published schema, and otherwise left alone.
//!
//! But for a `forbid` that wants approval: as with a JSON document, what it holds passes once that
//! was approved. So it does not count then, and a `permit` of the same conditions stands beside it.

use core::str::FromStr as _;

use cedar_policy::{PolicySet, ValidationMode, Validator};
use serde_json::{Value, json};

use super::rules::{Decidable, Effect, Requirement, Rule};
use super::{CompiledPolicy, CompiledRule, Source};
use crate::name::PolicyName;
use crate::policy::document::{ACTIONS, MAX_POLICY_BYTES, Mode, Sink};
use crate::policy::error::{PolicyError, Problem, shown, text_of, told};
use crate::policy::schema;
use crate::policy::verdict::Action;

/// Most Cedar policies in one document.
pub(super) const MAX_CEDAR_POLICIES: usize = 256;

/// Deepest brackets of one Cedar policy. Cedar reads them by recursion.
pub(super) const MAX_CEDAR_DEPTH: usize = 16;

/// Most operators of one Cedar policy, which nest as deep in what Cedar makes of them.
pub(super) const MAX_CEDAR_OPERATORS: usize = 128;

/// The annotations that are read.
const ANNOTATIONS: &[&str] = &["policy_name", "action", "mode", "id", "description"];

pub(super) fn compile(name: &PolicyName, bytes: &[u8]) -> Result<CompiledPolicy, Vec<PolicyError>> {
    let mut sink = Sink::new(name.as_str());
    let parsed = parse(bytes);
    let rules = sink.note("", parsed).map(|set| {
        let mut policies: Vec<_> = set.policies().cloned().collect();
        // Cedar names them `policy0`, `policy1` … in the order of the text.
        policies.sort_by_key(|p| {
            let id = p.id().to_string();
            id.trim_start_matches("policy")
                .parse::<usize>()
                .unwrap_or(0)
        });
        validate(&mut sink, &set);
        let rules = |(number, policy)| read(&mut sink, name, number, policy);
        policies.into_iter().enumerate().flat_map(rules).collect()
    });
    match rules {
        Some(rules) if sink.is_clean() => Ok(CompiledPolicy {
            name: name.clone(),
            source: Source::Cedar,
            rules,
        }),
        _ => Err(sink.into_errors()),
    }
}

fn parse(bytes: &[u8]) -> Result<PolicySet, Problem> {
    if bytes.len() > MAX_POLICY_BYTES {
        let (bytes, max) = (bytes.len(), MAX_POLICY_BYTES);
        return Err(Problem::TooLarge { bytes, max });
    }
    let text = text_of(bytes)?;
    let visible = |c: &char| crate::policy::error::invisible(*c) && !"\n\r\t".contains(*c);
    if let Some(c) = text.chars().find(visible) {
        let code = format!("U+{:04X}", u32::from(c));
        return Err(Problem::Characters(code));
    }
    shallow(text)?;
    let set = PolicySet::from_str(text).map_err(|e| Problem::Cedar(told(&e.to_string())))?;
    if set.templates().next().is_some() {
        return Err(Problem::CedarTemplate);
    }
    match set.policies().count() {
        0 => Err(Problem::Empty),
        count if count > MAX_CEDAR_POLICIES => {
            let max = MAX_CEDAR_POLICIES;
            Err(Problem::TooMany { count, max })
        }
        _ => Ok(set),
    }
}

/// Refuses text that Cedar, which recurses, could run out of stack on.
fn shallow(text: &str) -> Result<(), Problem> {
    let (mut depth, mut operators) = (0_usize, 0_usize);
    let mut rest = text.chars().peekable();
    let mut word = String::new();
    while let Some(c) = rest.next() {
        if c.is_ascii_alphanumeric() || c == '_' {
            word.push(c);
            continue;
        }
        if ["if", "has", "like", "in", "is"].contains(&word.as_str()) {
            operators += 1;
        }
        word.clear();
        match c {
            '"' => {
                while let Some(c) = rest.next() {
                    match c {
                        '\\' => drop(rest.next()),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            '/' if rest.peek() == Some(&'/') => {
                while rest.next().is_some_and(|c| c != '\n' && c != '\r') {}
            }
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            ';' => operators = 0,
            '|' | '&' | '=' | '<' | '>' => {
                // `||`, `&&`, `==` and `<=` are one each.
                rest.next_if(|next| "|&=".contains(*next));
                operators += 1;
            }
            '!' | '-' | '+' | '*' | '.' => operators += 1,
            _ => {}
        }
        if depth > MAX_CEDAR_DEPTH {
            return Err(Problem::TooDeep(MAX_CEDAR_DEPTH));
        }
        if operators > MAX_CEDAR_OPERATORS {
            let (count, max) = (operators, MAX_CEDAR_OPERATORS);
            return Err(Problem::TooMany { count, max });
        }
    }
    Ok(())
}

fn validate(sink: &mut Sink, set: &PolicySet) {
    let schema = match schema::cedar() {
        Ok(schema) => schema,
        Err(error) => return sink.refuse("", Problem::CedarSchema(told(&error))),
    };
    let result = Validator::new(schema).validate(set, ValidationMode::Strict);
    for error in result.validation_errors() {
        let place = format!("/{}", error.policy_id());
        let why = told(&error.to_string());
        sink.refuse(&place, Problem::CedarSchema(why));
    }
    // Cedar only warns of what can never apply; here somebody relies on it.
    let idle = result.validation_warnings().filter(|warning| {
        use cedar_policy::ValidationWarning::{ImpossiblePolicy, InvalidActionApplication};
        matches!(warning, ImpossiblePolicy(_) | InvalidActionApplication(_))
    });
    for warning in idle {
        let place = format!("/{}", warning.policy_id());
        sink.refuse(&place, Problem::CedarNeverApplies);
    }
}

fn read(
    sink: &mut Sink,
    name: &PolicyName,
    number: usize,
    policy: cedar_policy::Policy,
) -> Vec<CompiledRule> {
    let place = format!("/policy{number}");
    for (key, _) in policy.annotations() {
        if !ANNOTATIONS.contains(&key) {
            sink.refuse(&place, Problem::CedarAnnotation(shown(key)));
        }
    }
    if let Some(own) = policy.annotation("policy_name")
        && own != name.as_str()
    {
        sink.refuse(&place, Problem::NameDiffers(shown(own)));
    }
    let mut word = |key, known: &'static [&'static str]| {
        let given = policy.annotation(key)?;
        let found = known.iter().position(|k| *k == given);
        if found.is_none() {
            let given = shown(given);
            sink.refuse(&place, Problem::NotOneOf { given, known });
        }
        found
    };
    let action = word("action", ACTIONS).and_then(|at| Action::ALL.get(at).copied());
    let mode = word("mode", Mode::NAMES).and_then(|at| Mode::ALL.get(at).copied());
    let effect = match policy.effect() {
        cedar_policy::Effect::Permit => Effect::Permit,
        cedar_policy::Effect::Forbid => Effect::Forbid(Requirement::Cedar),
    };
    let (action, mode) = (
        action.unwrap_or(Action::Block),
        mode.unwrap_or(Mode::Enforce),
    );
    let holds = effect != Effect::Permit && action == Action::RequireApproval;
    let rule = |effect, policy: cedar_policy::Policy| {
        let rule = Rule {
            place: place.clone(),
            effect,
            action,
            once_approved: holds && effect == Effect::Permit,
            decidable: Decidable::Header,
            cedar: policy.to_string(),
        };
        CompiledRule::parsed(rule, mode, policy)
    };
    if !holds {
        return vec![rule(effect, policy)];
    }
    match sink.note(&place, held(&policy)) {
        Some((forbid, permit)) => vec![rule(effect, forbid), rule(Effect::Permit, permit)],
        None => Vec::new(),
    }
}

/// What becomes of a `forbid` that wants approval: itself unless that was given, and a `permit` of
/// what it would forbid had that not been given, where it was.
fn held(
    policy: &cedar_policy::Policy,
) -> Result<(cedar_policy::Policy, cedar_policy::Policy), Problem> {
    let broken = |error: &dyn core::fmt::Display| Problem::Cedar(told(&error.to_string()));
    let read = |json| cedar_policy::Policy::from_json(None, json).map_err(|e| broken(&e));
    let also = |json: &mut Value, kind: &str| {
        let clause = json!({"kind": kind, "body": approved()});
        if let Some(Value::Array(conditions)) = json.get_mut("conditions") {
            conditions.push(clause);
        }
    };
    let mut forbid = policy.to_json().map_err(|e| broken(&e))?;
    let mut permit = forbid.clone();
    also(&mut forbid, "unless");
    if let Some(conditions) = permit.get_mut("conditions") {
        unapproved(conditions);
    }
    also(&mut permit, "when");
    if let Some(effect) = permit.get_mut("effect") {
        *effect = json!("permit");
    }
    if let Some(Value::Object(annotations)) = permit.get_mut("annotations") {
        annotations.remove("action");
    }
    Ok((read(forbid)?, read(permit)?))
}

/// `context.approved` in Cedar's JSON.
fn approved() -> Value {
    json!({".": {"left": {"Var": "context"}, "attr": "approved"}})
}

/// Makes conditions say what they say of a call that nobody approved. The bounds on the text keep
/// the recursion short.
fn unapproved(condition: &mut Value) {
    if *condition == approved() {
        *condition = json!({"Value": false});
        return;
    }
    match condition {
        Value::Array(items) => items.iter_mut().for_each(unapproved),
        Value::Object(members) => members.values_mut().for_each(unapproved),
        _ => {}
    }
}
