//! What arguments of tools and prompts must be: predicates on single values, or a JSON Schema.
//!
//! Arguments are in the body, so all of this is for the edges. What cannot be read meets nothing.

use super::Json;
use super::argument_schema::Schema;
use super::terms::pointer;
use super::{At, Shape, Sink};
use crate::mcp::Number;
use crate::policy::error::Problem;
use crate::policy::examples::{of_glob, of_pattern};
use crate::policy::glob::Glob;
use crate::policy::pattern::Pattern;

/// The keys of a predicate.
pub(super) const PREDICATE: Shape = Shape {
    place: "/arguments/*",
    keys: &[
        "equals",
        "one_of",
        "min",
        "max",
        "max_length",
        "glob",
        "regex",
        "optional",
    ],
};

/// Most values and schemas one document looks at.
pub const MAX_CHECKS: usize = 64;

/// Longest text tried as a value of an argument.
pub(super) const MAX_WITNESS: u64 = 512;

/// The member that holds a schema; every other is a JSON pointer.
const SCHEMA: &str = "schema";

/// One check of arguments.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// Where in the document it stands, a JSON pointer.
    pub place: String,
    what: What,
}

#[derive(Debug, Clone, PartialEq)]
enum What {
    Value(String, Box<Predicate>),
    Whole(Box<Schema>),
}

/// What one value must be: all that is there.
#[derive(Debug, Clone, PartialEq, Default)]
struct Predicate {
    equals: Option<Json>,
    one_of: Option<Vec<Json>>,
    min: Option<Number>,
    max: Option<Number>,
    max_length: Option<u64>,
    glob: Option<Glob>,
    regex: Option<Pattern>,
    optional: bool,
}

/// Reads the checks of `arguments`.
pub(super) fn read(sink: &mut Sink, at: &At<'_>) -> Option<Vec<Check>> {
    let members = at.members(sink)?;
    if members.is_empty() {
        sink.refuse(&at.path, Problem::Empty);
    }
    if members.len() > MAX_CHECKS {
        let (count, max) = (members.len(), MAX_CHECKS);
        sink.refuse(&at.path, Problem::TooMany { count, max });
        return None;
    }
    let mut checks = Vec::with_capacity(members.len());
    for (key, value) in members {
        let what = if key == SCHEMA {
            Schema::read(sink, &value).map(|s| What::Whole(Box::new(s)))
        } else {
            let place = sink.note(&value.path, pointer(key));
            let predicate = Predicate::read(sink, &value);
            place
                .zip(predicate)
                .map(|(place, predicate)| What::Value(place, Box::new(predicate)))
        };
        checks.extend(what.map(|what| Check {
            place: value.path.clone(),
            what,
        }));
    }
    Some(checks)
}

impl Check {
    /// Whether `arguments`, the object of a call, are as they must be; `None` is a call without.
    pub(crate) fn holds(&self, arguments: Option<&Json>) -> bool {
        match &self.what {
            What::Value(pointer, predicate) => match arguments {
                Some(arguments) => predicate.holds_at(arguments, pointer),
                None => predicate.optional,
            },
            What::Whole(schema) => schema.holds(arguments.unwrap_or(&Json::Object(Vec::new()))),
        }
    }
}

impl Check {
    /// Where in the document it asks for what no value can be, as a JSON pointer, and why.
    pub(crate) fn contradictions(&self) -> Vec<(String, &'static str)> {
        match &self.what {
            What::Value(_, predicate) => {
                let why = predicate.contradiction();
                why.map(|why| (self.place.clone(), why))
                    .into_iter()
                    .collect()
            }
            What::Whole(schema) => schema.contradictions(&self.place),
        }
    }

    /// Why no arguments meet both checks, where that is sure by what is listed in them. Each of the
    /// values that are listed takes one off `left`, and nothing is compared beyond.
    pub(crate) fn apart(&self, other: &Self, left: &mut usize) -> Option<&'static str> {
        match (&self.what, &other.what) {
            // Where both may be absent they hold together.
            (What::Value(at, one), What::Value(there, two)) => {
                let meet = at == there && !(one.optional && two.optional);
                meet.then(|| one.apart(two, left)).flatten()
            }
            (What::Value(at, one), What::Whole(schema))
            | (What::Whole(schema), What::Value(at, one)) => {
                let schema = schema.at(at).filter(|_| !one.optional)?;
                let listed = one.listed()?;
                let none = none(&listed, left, |value| {
                    one.holds(value) && schema.holds(value)
                });
                none.then_some("no value that one of them lists is as the other asks")
            }
            (What::Whole(_), What::Whole(_)) => None,
        }
    }

    /// Whether a single value is to match a pattern.
    pub(crate) fn has_pattern(&self) -> bool {
        matches!(&self.what, What::Value(_, predicate) if predicate.regex.is_some())
    }

    /// Values to try it with.
    pub(crate) fn witnesses(&self) -> Witnesses {
        let (at, (good, bad)) = match &self.what {
            What::Value(pointer, predicate) => (pointer.clone(), predicate.witnesses()),
            What::Whole(schema) => {
                let objects = |values: Vec<Json>| {
                    let objects = values.into_iter().filter(|v| matches!(v, Json::Object(_)));
                    objects.collect()
                };
                let (good, bad) = schema.witnesses();
                (String::new(), (objects(good), objects(bad)))
            }
        };
        Witnesses { at, good, bad }
    }
}

/// Values at and around the bounds of a check.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Witnesses {
    /// Where in the arguments they stand, a JSON pointer; empty where they are all of them.
    pub(crate) at: String,
    /// Those that meet it.
    pub(crate) good: Vec<Json>,
    /// Those that do not.
    pub(crate) bad: Vec<Json>,
}

impl Predicate {
    fn contradiction(&self) -> Option<&'static str> {
        let ends = self.min.as_ref().zip(self.max.as_ref());
        if ends.is_some_and(|(min, max)| min.compare(max).is_some_and(|o| o.is_gt())) {
            return Some("`min` is greater than `max`");
        }
        if self.equals.as_ref().is_some_and(|value| !self.holds(value)) {
            return Some("the value of `equals` is not as the rest asks");
        }
        let mut listed = self.one_of.iter().flatten();
        if self.one_of.is_some() && !listed.any(|value| self.holds(value)) {
            return Some("no value of `one_of` is as the rest asks");
        }
        if self.is_number() && self.is_text() {
            return Some("a value cannot be a number and a text");
        }
        let literal = self.glob.as_ref().filter(|glob| glob.is_literal());
        if literal.is_some_and(|glob| !self.holds(&Json::Text(glob.as_str().to_owned()))) {
            return Some("the text of `glob` is not as the rest asks");
        }
        let longer = |least: u64| self.max_length.is_some_and(|most| least > most);
        let stars = |glob: &Glob| glob.as_str().chars().filter(|c| *c != '*').count();
        let least = self.glob.as_ref().map(stars);
        if least.is_some_and(|least| u64::try_from(least).is_ok_and(longer)) {
            return Some("every text like `glob` has more than `max_length` characters");
        }
        if self.regex.as_ref().is_some_and(|r| longer(r.lengths().0)) {
            return Some("every text like `regex` has more than `max_length` characters");
        }
        None
    }

    /// Whether only a number meets it.
    const fn is_number(&self) -> bool {
        self.min.is_some() || self.max.is_some()
    }

    /// Whether no number meets it.
    const fn is_text(&self) -> bool {
        self.glob.is_some() || self.regex.is_some() || self.max_length.is_some()
    }

    /// The values that alone can meet it, where it lists them.
    fn listed(&self) -> Option<Vec<Json>> {
        let literal = self.glob.as_ref().filter(|glob| glob.is_literal());
        let one = self.equals.clone();
        let one = one.or_else(|| literal.map(|glob| Json::Text(glob.as_str().to_owned())));
        one.map(|one| vec![one]).or_else(|| self.one_of.clone())
    }

    /// Why no value meets both.
    fn apart(&self, other: &Self, left: &mut usize) -> Option<&'static str> {
        let both = |value: &Json| self.holds(value) && other.holds(value);
        for listed in [self.listed(), other.listed()].into_iter().flatten() {
            if none(&listed, left, both) {
                return Some("no value that one of them lists is as the other asks");
            }
        }
        let above = |low: &Self, high: &Self| {
            let ends = low.min.as_ref().zip(high.max.as_ref());
            ends.is_some_and(|(min, max)| min.compare(max).is_some_and(|o| o.is_gt()))
        };
        if above(self, other) || above(other, self) {
            return Some("the `min` of one is greater than the `max` of the other");
        }
        let kinds = |one: &Self, two: &Self| one.is_number() && two.is_text();
        (kinds(self, other) || kinds(other, self))
            .then_some("one of them asks for a number, the other for none")
    }

    /// Values at the bounds of what it asks, those that meet it and those that do not.
    fn witnesses(&self) -> (Vec<Json>, Vec<Json>) {
        let mut tried: Vec<Json> = self.equals.iter().cloned().collect();
        tried.extend(self.one_of.iter().flatten().cloned());
        for bound in self.min.iter().chain(&self.max) {
            tried.push(Json::Number(bound.clone()));
            if let Some(whole) = bound.as_i128() {
                tried.push(Json::Number(whole.saturating_sub(1).into()));
                tried.push(Json::Number(whole.saturating_add(1).into()));
            }
        }
        if let Some(glob) = &self.glob {
            tried.extend(of_glob(glob.as_str()).into_iter().map(Json::Text));
        }
        if let Some(regex) = &self.regex {
            tried.extend(of_pattern(regex.as_str()).into_iter().map(Json::Text));
        }
        if let Some(max) = self.max_length.filter(|max| *max < MAX_WITNESS) {
            let text = |length: u64| Json::Text("x".repeat(usize::try_from(length).unwrap_or(0)));
            tried.extend([text(max), text(max + 1)]);
        }
        tried.extend([
            Json::Text("x".to_owned()),
            Json::Number(7.into()),
            Json::Null,
        ]);
        tried.into_iter().partition(|value| self.holds(value))
    }

    fn read(sink: &mut Sink, at: &At<'_>) -> Option<Self> {
        let fields = at.fields(sink, &PREDICATE)?;
        let mut number = |key| fields.at(key).and_then(|at| at.any_number(sink));
        let (min, max) = (number("min"), number("max"));
        let one_of = fields.at("one_of").and_then(|at| at.list(sink));
        let one_of = one_of.map(|list| {
            let values = list.iter().filter_map(|at| at.value(sink));
            values.collect::<Vec<_>>()
        });
        let max_length = fields.at("max_length");
        let max_length = max_length.and_then(|at| at.number(sink, 0, u64::from(u32::MAX)));
        let glob = fields.at("glob").and_then(|at| {
            let text = at.text(sink)?;
            sink.note(&at.path, Glob::new(text))
        });
        let regex = fields.at("regex").and_then(|at| {
            let text = at.text(sink)?;
            sink.note(&at.path, Pattern::whole(text))
        });
        let optional = fields.at("optional").and_then(|at| at.flag(sink));
        let says = PREDICATE
            .keys
            .iter()
            .any(|k| *k != "optional" && fields.at(k).is_some());
        if !says {
            sink.refuse(&at.path, Problem::Empty);
        }
        Some(Self {
            equals: fields.at("equals").and_then(|at| at.value(sink)),
            one_of,
            min,
            max,
            max_length,
            glob,
            regex,
            optional: optional.unwrap_or(false),
        })
    }

    /// Whether what stands at a pointer is as it must be. `*` stands for every entry of a list and
    /// every member of an object, each of which must hold; where there is none, nothing stands there.
    /// No value is looked at twice, so the work is at most that of reading the whole.
    fn holds_at(&self, value: &Json, pointer: &str) -> bool {
        let Some((before, behind)) = split_at_any(pointer) else {
            return self.holds_found(value.pointer(pointer));
        };
        let within: Vec<&Json> = match value.pointer(before) {
            Found::One(Json::List(items)) => items.iter().collect(),
            Found::One(Json::Object(members)) => members.iter().map(|(_, value)| value).collect(),
            Found::One(_) | Found::None => Vec::new(),
            Found::Ambiguous => return false,
        };
        if within.is_empty() {
            return self.optional;
        }
        within.into_iter().all(|value| self.holds_at(value, behind))
    }

    fn holds_found(&self, found: Found<'_>) -> bool {
        match found {
            Found::One(value) => self.holds(value),
            Found::None => self.optional,
            Found::Ambiguous => false,
        }
    }

    fn holds(&self, value: &Json) -> bool {
        let text = match value {
            Json::Text(text) => Some(text.as_str()),
            _ => None,
        };
        let number = match value {
            Json::Number(number) => Some(number),
            _ => None,
        };
        let order = |bound: &Number| number.and_then(|n| n.compare(bound));
        let length = match value {
            Json::Text(text) => Some(text.chars().count()),
            Json::List(items) => Some(items.len()),
            _ => None,
        };
        let short = |max: u64| length.is_some_and(|l| u64::try_from(l).is_ok_and(|l| l <= max));
        self.equals.as_ref().is_none_or(|e| e.same(value))
            && self
                .one_of
                .as_ref()
                .is_none_or(|list| list.iter().any(|e| e.same(value)))
            && self
                .min
                .as_ref()
                .is_none_or(|min| order(min).is_some_and(|o| o.is_ge()))
            && self
                .max
                .as_ref()
                .is_none_or(|max| order(max).is_some_and(|o| o.is_le()))
            && self.max_length.is_none_or(short)
            && self
                .glob
                .as_ref()
                .is_none_or(|g| text.is_some_and(|t| g.matches(t)))
            && self
                .regex
                .as_ref()
                .is_none_or(|r| text.is_some_and(|t| r.matches(t)))
    }
}

/// Whether surely none of these is as `meets` says; each that is tried takes one off `left`.
fn none(listed: &[Json], left: &mut usize, meets: impl Fn(&Json) -> bool) -> bool {
    match left.checked_sub(listed.len()) {
        Some(rest) => {
            *left = rest;
            !listed.iter().any(meets)
        }
        None => {
            *left = 0;
            false
        }
    }
}

/// What stands before and behind the first `*` of a pointer.
fn split_at_any(pointer: &str) -> Option<(&str, &str)> {
    let mut from = 0;
    loop {
        let at = from + pointer.get(from..)?.find("/*")?;
        let behind = pointer.get(at + "/*".len()..)?;
        if behind.is_empty() || behind.starts_with('/') {
            return Some((pointer.get(..at)?, behind));
        }
        from = at + 1;
    }
}

/// What stands at a pointer.
pub(crate) enum Found<'a> {
    One(&'a Json),
    None,
    /// A key on the way is there twice.
    Ambiguous,
}

impl Json {
    /// The member of an object.
    pub(crate) fn member(&self, key: &str) -> Found<'_> {
        let Self::Object(members) = self else {
            return Found::None;
        };
        let mut found = members.iter().filter(|(k, _)| k == key);
        match (found.next(), found.next()) {
            (Some((_, value)), None) => Found::One(value),
            (None, _) => Found::None,
            (Some(_), Some(_)) => Found::Ambiguous,
        }
    }

    /// What stands at a JSON pointer (RFC 6901).
    pub(crate) fn pointer(&self, pointer: &str) -> Found<'_> {
        let mut value = self;
        for step in pointer.split('/').skip(1) {
            let step = step.replace("~1", "/").replace("~0", "~");
            let below = match value {
                Self::List(items) => {
                    let plain = step == "0" || !step.starts_with(['0', '+']);
                    let index = step.parse::<usize>().ok().filter(|_| plain);
                    index
                        .and_then(|i| items.get(i))
                        .map_or(Found::None, Found::One)
                }
                _ => value.member(&step),
            };
            match below {
                Found::One(below) => value = below,
                other => return other,
            }
        }
        Found::One(value)
    }

    /// Whether `test` holds for any text in it, keys included; numbers as they are written.
    pub(crate) fn any_text(&self, test: &dyn Fn(&str) -> bool) -> bool {
        match self {
            Self::Null | Self::Bool(_) => false,
            Self::Number(number) => test(number.as_str()),
            Self::Text(text) => test(text),
            Self::List(items) => items.iter().any(|item| item.any_text(test)),
            Self::Object(members) => {
                let mut members = members.iter();
                members.any(|(key, value)| test(key) || value.any_text(test))
            }
        }
    }

    /// Whether it is the same value: numbers by value, objects in any order. An object that names a
    /// key twice is like nothing, and so is a number without a value.
    pub(crate) fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => a.compare(b).is_some_and(|o| o.is_eq()),
            (Self::List(a), Self::List(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b))
            }
            (Self::Object(a), Self::Object(b)) => {
                a.len() == b.len()
                    && a.iter().all(|(key, value)| match other.member(key) {
                        Found::One(there) => value.same(there),
                        Found::None | Found::Ambiguous => false,
                    })
            }
            (a, b) => a == b,
        }
    }
}
