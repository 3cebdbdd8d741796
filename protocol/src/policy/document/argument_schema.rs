//! A strict subset of JSON Schema (2020-12) for arguments.
//!
//! A keyword beyond it is refused by name, never ignored: a constraint an author wrote and nobody
//! checks would be worse than none. References are not followed at all.

use super::arguments::{Found, compare};
use super::json::Json;
use super::{At, Shape, Sink};
use crate::policy::error::{Checked, Problem, shown};
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
    minimum: Option<serde_json::Number>,
    maximum: Option<serde_json::Number>,
    lengths: (Option<u64>, Option<u64>),
    counts: (Option<u64>, Option<u64>),
    pattern: Option<Pattern>,
}

impl Schema {
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
                self.one_of = items.map(|list| list.iter().map(|a| a.json.clone()).collect());
            }
            "const" => self.constant = Some(at.json.clone()),
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
                let order = |bound| compare(number, bound);
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
        | ("number", Json::Number(_))
        | ("string", Json::Text(_))
        | ("array", Json::List(_))
        | ("object", Json::Object(_)) => true,
        ("integer", Json::Number(number)) => {
            let fraction = number.as_f64().map(f64::fract);
            !number.is_f64() || fraction == Some(0.0)
        }
        _ => false,
    }
}
