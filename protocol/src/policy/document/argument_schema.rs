//! A strict subset of JSON Schema (2020-12) for arguments.
//!
//! A keyword beyond it is refused by name, never ignored: a constraint an author wrote and nobody
//! checks would be worse than none. References are not followed at all.

use super::Json;
use super::arguments::{Found, MAX_WITNESS};
use super::read::step;
use super::{At, Shape, Sink};
use crate::mcp::Number;
use crate::policy::error::{Checked, Problem, shown};
use crate::policy::examples::of_pattern;
use crate::policy::pattern::Pattern;

/// The keywords understood; the first four say nothing of values.
pub(super) const KEYWORDS: Shape = Shape {
    place: "/arguments/schema",
    keys: &[
        "$schema",
        "$comment",
        "title",
        "description",
        "type",
        "enum",
        "const",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "minimum",
        "maximum",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "pattern",
    ],
};

const REFERENCES: &[&str] = &["$ref", "$dynamicRef", "$recursiveRef"];

/// The types of JSON Schema.
const TYPES: &[&str] = &[
    "null", "boolean", "integer", "number", "string", "array", "object",
];

/// A schema: what a value must be.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Schema {
    /// `false` as a schema: nothing is.
    never: bool,
    types: Option<Vec<&'static str>>,
    one_of: Option<Vec<Json>>,
    constant: Option<Json>,
    properties: Vec<(String, Self)>,
    required: Vec<String>,
    additional: Option<Box<Self>>,
    items: Option<Box<Self>>,
    minimum: Option<Number>,
    maximum: Option<Number>,
    lengths: (Option<u64>, Option<u64>),
    counts: (Option<u64>, Option<u64>),
    pattern: Option<Pattern>,
}

/// A number that is not whole.
fn fraction(value: f64) -> Json {
    Number::of_f64(value).map_or(Json::Null, Json::Number)
}

/// Deepest schema for which values are looked for.
const MAX_DEPTH: usize = 6;

/// Most values tried of each kind, those a schema allows and those it does not.
const MAX_TRIED: usize = 48;

/// Most properties of an object that are given values.
const MAX_PROPERTIES: usize = 32;

/// Most items of a list.
const MAX_ITEMS: u64 = 64;

/// Largest value tried, about as many bytes as its text: a schema that asks for more has none.
const MAX_BYTES: usize = 8 * 1024;

/// Values that a schema allows, and values that it does not.
type Tried = (Vec<Json>, Vec<Json>);

impl Schema {
    /// Values at and around the bounds it names: those it allows, and those it does not. Not every
    /// schema has values that are found.
    pub(super) fn witnesses(&self) -> Tried {
        self.witnesses_at(0)
    }

    fn witnesses_at(&self, depth: usize) -> Tried {
        let mut tried: Vec<Json> = self.constant.iter().cloned().collect();
        tried.extend(self.one_of.iter().flatten().take(MAX_TRIED).cloned());
        tried.extend(self.objects(depth));
        tried.extend(self.lists(depth));
        tried.extend(self.texts());
        for bound in self.minimum.iter().chain(&self.maximum) {
            tried.push(Json::Number(bound.clone()));
            if let Some(whole) = bound.as_i128() {
                tried.push(Json::Number(whole.saturating_sub(1).into()));
                tried.push(Json::Number(whole.saturating_add(1).into()));
            }
            tried.extend(bound.near_f64().map(|bound| fraction(bound - 0.5)));
        }
        tried.extend([
            Json::Text("x".to_owned()),
            Json::Number(7.into()),
            fraction(7.5),
            Json::Bool(true),
            Json::Null,
        ]);
        tried.retain(|value| size(value) <= MAX_BYTES);
        let (mut good, mut bad): Tried = tried.into_iter().partition(|value| self.holds(value));
        good.truncate(MAX_TRIED);
        bad.truncate(MAX_TRIED);
        (good, bad)
    }

    fn texts(&self) -> Vec<Json> {
        let (least, most) = self.lengths;
        let around = [
            least,
            least.and_then(|l| l.checked_sub(1)),
            most,
            most.map(|m| m + 1),
        ];
        let lengths = around.into_iter().flatten().filter(|l| *l <= MAX_WITNESS);
        let text = |length| "x".repeat(usize::try_from(length).unwrap_or(0));
        let made = self.pattern.iter().flat_map(|p| of_pattern(p.as_str()));
        let texts = lengths.map(text).chain(made);
        texts.map(Json::Text).collect()
    }

    fn lists(&self, depth: usize) -> Vec<Json> {
        if depth >= MAX_DEPTH || (self.items.is_none() && self.counts == (None, None)) {
            return vec![Json::List(Vec::new())];
        }
        let (good, bad) = match &self.items {
            Some(items) => items.witnesses_at(depth + 1),
            None => (vec![Json::Text("x".to_owned())], Vec::new()),
        };
        let (least, most) = self.counts;
        let around = [
            least,
            least.and_then(|l| l.checked_sub(1)),
            most,
            most.map(|m| m + 1),
            Some(1),
        ];
        let counts = around.into_iter().flatten().filter(|n| *n <= MAX_ITEMS);
        let filled = |count: u64| {
            let one = good.first().cloned();
            let count = usize::try_from(count).unwrap_or(0);
            Json::List(one.into_iter().cycle().take(count).collect())
        };
        let of_bad = bad.iter().take(1).map(|bad| Json::List(vec![bad.clone()]));
        counts.map(filled).chain(of_bad).collect()
    }

    /// Objects with a good value of everything that is named, and each with one thing otherwise.
    fn objects(&self, depth: usize) -> Vec<Json> {
        let empty = || vec![Json::Object(Vec::new())];
        if depth >= MAX_DEPTH {
            return empty();
        }
        let named = self.properties.iter().take(MAX_PROPERTIES);
        let mut parts: Vec<(&str, Tried)> = named
            .map(|(name, schema)| (name.as_str(), schema.witnesses_at(depth + 1)))
            .collect();
        // Once: each level would multiply the work of those below.
        let other = match &self.additional {
            Some(schema) => schema.witnesses_at(depth + 1),
            None => (vec![Json::Text("x".to_owned())], Vec::new()),
        };
        let known = |name: &str| self.properties.iter().any(|(n, _)| n == name);
        let required = self.required.iter().take(MAX_PROPERTIES);
        for name in required.filter(|name| !known(name)) {
            parts.push((name, other.clone()));
        }
        let first =
            |(name, (good, _)): &(&str, Tried)| Some(((*name).to_owned(), good.first()?.clone()));
        let base: Vec<(String, Json)> = parts.iter().filter_map(first).collect();
        let with = |name: &str, value: Option<&Json>| {
            let mut members = base.clone();
            members.retain(|(known, _)| known != name);
            members.extend(value.map(|value| (name.to_owned(), value.clone())));
            Json::Object(members)
        };
        let mut out = vec![Json::Object(base.clone())];
        out.extend(parts.iter().map(|(name, _)| with(name, None)));
        let (good, bad) = &other;
        let values = good.iter().take(1).chain(bad.iter().take(1));
        out.extend(values.map(|value| with("other", Some(value))));
        out.extend(empty());
        // One of each, then another of each: a property with many values leaves room for the others.
        let rounds = (0..MAX_TRIED).flat_map(|n| {
            let each = parts.iter();
            each.flat_map(move |(name, (good, bad))| {
                let values = [good.get(n + 1), bad.get(n)].into_iter().flatten();
                values.map(move |value| (*name, value))
            })
        });
        let room = (MAX_TRIED * 2).saturating_sub(out.len());
        let rounds: Vec<Json> = rounds
            .take(room)
            .map(|(name, value)| with(name, Some(value)))
            .collect();
        out.extend(rounds);
        out.truncate(MAX_TRIED * 2);
        out
    }

    /// Where it asks for what no value can be, and why: by simple bounds alone. `place` is where it
    /// stands in the document, a JSON pointer.
    pub(super) fn contradictions(&self, place: &str) -> Vec<(String, &'static str)> {
        let mut out = Vec::new();
        let an_object = self.types.as_ref().is_none_or(|t| t.contains(&"object"));
        if self.never {
            out.push((place.to_owned(), "`false` allows nothing"));
        } else if !an_object {
            let why = "arguments are an object, which `type` does not allow";
            out.push((format!("{place}/type"), why));
        }
        self.contradict(place, &mut out);
        out
    }

    fn contradict(&self, place: &str, out: &mut Vec<(String, &'static str)>) {
        let mut note = |key: &str, why| out.push((format!("{place}/{key}"), why));
        let ends = self.minimum.as_ref().zip(self.maximum.as_ref());
        if ends.is_some_and(|(least, most)| least.compare(most).is_some_and(|o| o.is_gt())) {
            note("minimum", "`minimum` is greater than `maximum`");
        }
        let apart = |(least, most): (Option<u64>, Option<u64>)| {
            least.zip(most).is_some_and(|(least, most)| least > most)
        };
        if apart(self.lengths) {
            note("minLength", "`minLength` is greater than `maxLength`");
        }
        if let Some(pattern) = &self.pattern {
            let (shortest, longest) = pattern.lengths();
            let (least, most) = self.lengths;
            if apart((least, longest)) {
                let why = "no text that `pattern` is found in has `minLength` characters";
                note("minLength", why);
            }
            if apart((Some(shortest), most)) {
                let why =
                    "every text that `pattern` is found in has more than `maxLength` characters";
                note("maxLength", why);
            }
        }
        if apart(self.counts) {
            note("minItems", "`minItems` is greater than `maxItems`");
        }
        match self.one_of.as_deref() {
            Some([]) => note("enum", "`enum` lists nothing"),
            Some(listed) if !listed.iter().any(|value| self.holds(value)) => {
                note("enum", "no value of `enum` is as the rest asks");
            }
            _ => {}
        }
        if self
            .constant
            .as_ref()
            .is_some_and(|value| !self.holds(value))
        {
            note("const", "the value of `const` is not as the rest asks");
        }
        for (at, name) in self.required.iter().enumerate() {
            let known = self.properties.iter().find(|(known, _)| known == name);
            let schema = known
                .map(|(_, schema)| schema)
                .or(self.additional.as_deref());
            if schema.is_some_and(|schema| schema.never) {
                note(
                    &format!("required/{at}"),
                    "a property is required that is not allowed",
                );
            }
        }
        for (name, schema) in &self.properties {
            schema.contradict(&format!("{place}/properties/{}", step(name)), out);
        }
        for (key, schema) in [
            ("items", &self.items),
            ("additionalProperties", &self.additional),
        ] {
            if let Some(schema) = schema {
                schema.contradict(&format!("{place}/{key}"), out);
            }
        }
    }

    /// The schema of what stands at a JSON pointer, where that is sure: an entry of a list could
    /// stand at a number, and any at `*`.
    pub(super) fn at(&self, pointer: &str) -> Option<&Self> {
        let mut schema = self;
        for step in pointer.split('/').skip(1) {
            if step == "*" || step.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            let name = step.replace("~1", "/").replace("~0", "~");
            let known = schema.properties.iter().find(|(known, _)| *known == name);
            let below = known.map(|(_, below)| below);
            schema = below.or(schema.additional.as_deref())?;
        }
        Some(schema)
    }

    pub(super) fn read(sink: &mut Sink, at: &At<'_>) -> Option<Self> {
        if let Json::Bool(anything) = at.json {
            return Some(Self {
                never: !anything,
                ..Self::default()
            });
        }
        let members = at.members(sink)?;
        let mut schema = Self::default();
        for (key, value) in &members {
            schema.keyword(sink, key, value);
        }
        Some(schema)
    }

    fn keyword(&mut self, sink: &mut Sink, key: &str, at: &At<'_>) {
        let count = |sink: &mut Sink| at.number(sink, 0, u64::from(u32::MAX));
        match key {
            "$schema" | "$comment" | "title" | "description" => drop(at.text(sink)),
            "type" => self.types = types(sink, at),
            "enum" => {
                let items = at.list(sink);
                self.one_of = items.map(|list| list.iter().filter_map(|a| a.value(sink)).collect());
            }
            "const" => self.constant = at.value(sink),
            "properties" => {
                for (name, below) in at.members(sink).unwrap_or_default() {
                    let schema = Self::read(sink, &below);
                    let property = schema.map(|schema| (name.to_owned(), schema));
                    self.properties.extend(property);
                }
            }
            "required" => {
                let names = at.texts(sink, |text| Ok(text.to_owned()));
                self.required = names.unwrap_or_default();
            }
            "additionalProperties" => self.additional = Self::read(sink, at).map(Box::new),
            "items" => self.items = Self::read(sink, at).map(Box::new),
            "minimum" => self.minimum = at.any_number(sink),
            "maximum" => self.maximum = at.any_number(sink),
            "minLength" => self.lengths.0 = count(sink),
            "maxLength" => self.lengths.1 = count(sink),
            "minItems" => self.counts.0 = count(sink),
            "maxItems" => self.counts.1 = count(sink),
            "pattern" => {
                let pattern = at.text(sink).map(Pattern::new);
                self.pattern = pattern.and_then(|read| sink.note(&at.path, read));
            }
            reference if REFERENCES.contains(&reference) => {
                let target = match at.json {
                    Json::Text(text) => shown(text),
                    other => other.kind().to_owned(),
                };
                sink.refuse(&at.path, Problem::SchemaReference(target));
            }
            other => sink.refuse(&at.path, Problem::SchemaKeyword(shown(other))),
        }
    }

    /// Whether `value` is as it must be.
    pub(crate) fn holds(&self, value: &Json) -> bool {
        let within = |(least, most): (Option<u64>, Option<u64>), count: usize| {
            let count = u64::try_from(count).unwrap_or(u64::MAX);
            least.is_none_or(|l| count >= l) && most.is_none_or(|m| count <= m)
        };
        let of_kind = match value {
            Json::Number(number) => {
                let order = |bound| number.compare(bound);
                self.minimum
                    .as_ref()
                    .is_none_or(|m| order(m).is_some_and(|o| o.is_ge()))
                    && self
                        .maximum
                        .as_ref()
                        .is_none_or(|m| order(m).is_some_and(|o| o.is_le()))
            }
            Json::Text(text) => {
                within(self.lengths, text.chars().count())
                    && self.pattern.as_ref().is_none_or(|p| p.matches(text))
            }
            Json::List(items) => {
                within(self.counts, items.len())
                    && self
                        .items
                        .as_ref()
                        .is_none_or(|schema| items.iter().all(|item| schema.holds(item)))
            }
            Json::Object(members) => self.holds_members(value, members),
            Json::Null | Json::Bool(_) => true,
        };
        !self.never
            && of_kind
            && self
                .types
                .as_ref()
                .is_none_or(|types| types.iter().any(|t| is(t, value)))
            && self
                .one_of
                .as_ref()
                .is_none_or(|list| list.iter().any(|e| e.same(value)))
            && self.constant.as_ref().is_none_or(|c| c.same(value))
    }

    fn holds_members(&self, object: &Json, members: &[(String, Json)]) -> bool {
        let there = |name: &String| matches!(object.member(name), Found::One(_));
        self.required.iter().all(there)
            && members.iter().all(|(name, value)| {
                // A key that is there twice means something else to somebody.
                let known = self.properties.iter().find(|(n, _)| n == name);
                matches!(object.member(name), Found::One(_))
                    && match (known, &self.additional) {
                        (Some((_, schema)), _) => schema.holds(value),
                        (None, Some(schema)) => schema.holds(value),
                        (None, None) => true,
                    }
            })
    }
}

/// About the length of its text.
fn size(value: &Json) -> usize {
    match value {
        Json::Null | Json::Bool(_) => 8,
        Json::Number(number) => number.as_str().len() + 1,
        Json::Text(text) => text.len() + 3,
        Json::List(items) => items.iter().map(size).sum::<usize>() + 3,
        Json::Object(members) => {
            let members = members
                .iter()
                .map(|(key, value)| key.len() + 4 + size(value));
            members.sum::<usize>() + 3
        }
    }
}

fn types(sink: &mut Sink, at: &At<'_>) -> Option<Vec<&'static str>> {
    let one = |text: &str| -> Checked<&'static str> {
        let found = TYPES.iter().find(|t| **t == text);
        found.copied().ok_or_else(|| Problem::NotOneOf {
            given: shown(text),
            known: TYPES,
        })
    };
    if matches!(at.json, Json::Text(_)) {
        let text = at.text(sink)?;
        return Some(vec![sink.note(&at.path, one(text))?]);
    }
    at.some_texts(sink, one)
}

fn is(kind: &str, value: &Json) -> bool {
    match (kind, value) {
        ("null", Json::Null)
        | ("boolean", Json::Bool(_))
        | ("string", Json::Text(_))
        | ("array", Json::List(_))
        | ("object", Json::Object(_)) => true,
        // What cannot be compared is of no type.
        ("number", Json::Number(number)) => number.has_value(),
        ("integer", Json::Number(number)) => number.is_whole(),
        _ => false,
    }
}
