//! The published schemas: what documents may hold, for editors, and what Cedar may look at.

use std::sync::OnceLock;

/// The Cedar schema that raw Cedar is validated against.
pub const CEDAR_SCHEMA: &str = include_str!("schema.cedarschema");

/// The Cedar schema, read.
///
/// # Errors
/// Why Cedar does not read it; a test shows that it does.
pub(super) fn cedar() -> Result<cedar_policy::Schema, String> {
    static SCHEMA: OnceLock<Result<cedar_policy::Schema, String>> = OnceLock::new();
    let read = || match cedar_policy::Schema::from_cedarschema_str(CEDAR_SCHEMA) {
        Ok((schema, _)) => Ok(schema),
        Err(error) => Err(error.to_string()),
    };
    SCHEMA.get_or_init(read).clone()
}

/// The JSON Schema (2020-12) of JSON documents, for editors. The reader is stricter than it.
pub const JSON_SCHEMA: &str = include_str!("policy.schema.json");

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::policy::context::ATTRIBUTES;
    use crate::policy::document::SHAPES;

    fn follow<'s>(whole: &'s Value, mut at: &'s Value) -> &'s Value {
        while let Some(reference) = at.get("$ref").and_then(Value::as_str) {
            at = whole.pointer(reference.strip_prefix('#').unwrap()).unwrap();
        }
        at
    }

    /// Every key the reader knows is in the schema, and every key in the schema is known.
    #[test]
    fn reader_and_json_schema_know_the_same_keys() {
        let whole: Value = serde_json::from_str(JSON_SCHEMA).unwrap();
        let mut objects = 0;
        for shape in SHAPES {
            let mut at = &whole;
            for step in shape.place.split('/').skip(1) {
                at = match (step, at.get("items")) {
                    ("*", Some(items)) => items,
                    ("*", None) => &at["additionalProperties"],
                    (key, _) => &at["properties"][key],
                };
                at = follow(&whole, at);
            }
            let published: BTreeSet<&str> = at["properties"]
                .as_object()
                .unwrap_or_else(|| panic!("no object at {}", shape.place))
                .keys()
                .map(String::as_str)
                .collect();
            let known: BTreeSet<&str> = shape.keys.iter().copied().collect();
            assert_eq!(published, known, "{}", shape.place);
            objects += 1;
        }
        // No object with keys of its own is left out: `arguments` and `properties` have none, and
        // `subjects` is published once for its two places.
        let closed = JSON_SCHEMA
            .matches("\"additionalProperties\": false")
            .count();
        assert_eq!(closed + 1, objects);
    }

    /// The context that is made and the Cedar schema have the same attributes.
    #[test]
    fn context_and_cedar_schema_agree() {
        assert!(cedar().is_ok(), "{:?}", cedar().err());
        let facts = CEDAR_SCHEMA.split("type Facts = {").nth(1).unwrap();
        let facts = facts.split("};").next().unwrap();
        let published: BTreeSet<&str> = facts
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, _)| name.trim().trim_end_matches('?'))
            .filter(|name| !name.starts_with("//"))
            .collect();
        let made: BTreeSet<&str> = ATTRIBUTES.iter().map(|(name, _)| *name).collect();
        assert_eq!(published, made);
        assert!(ATTRIBUTES.len() < 63);
    }
}
