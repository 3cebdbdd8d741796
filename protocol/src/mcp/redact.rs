//! Taking values out of results: what a policy hides, replaced where it stands.
//!
//! Bytes outside the replaced values stay as they were. What a pointer does not find is not there
//! to hide. Servers say their structured content once more as text (MCP asks them to): a block of
//! text that is the same JSON is replaced by what is left of it. Where else a server repeats a
//! value, as in a sentence, it stays: whoever writes the pointers must know the result's shape.

use std::collections::{HashMap, HashSet};

use super::error::McpError;
use super::json::Json;
use super::lexer::{Kind, Lexer, Slot, push_quoted};
use super::splice::replace;
use super::view::View;

/// What stands in place of a hidden value, a JSON string.
pub const REDACTED: &str = "\"[redacted]\"";

/// The response `bytes` with every value of its `result` that one of `pointers` (RFC 6901, from the
/// result on; `*` stands for every element of an array) leads to replaced by [`REDACTED`]; `None`
/// if none leads anywhere. The last reference token must lead to a member or element: the result
/// itself cannot be hidden. A block of text in the result's `content` that parses as the same JSON
/// as its `structuredContent` becomes, where something of that is hidden, what is left of that.
///
/// # Errors
/// As [`View::parse`].
pub fn redact<'p>(
    bytes: &[u8],
    pointers: impl IntoIterator<Item = &'p str>,
) -> Result<Option<Vec<u8>>, McpError> {
    let view = View::parse(bytes)?;
    let text = view.text();
    let Some(result) = view.slots.result else {
        return Ok(None);
    };
    let mut found = Vec::new();
    for pointer in pointers {
        let tokens: Vec<String> = pointer.split('/').skip(1).map(unescaped).collect();
        if !tokens.is_empty() {
            follow(text, result, &tokens, &mut found)?;
        }
    }
    if found.is_empty() {
        return Ok(None);
    }
    // A value within a hidden one is hidden with it.
    found.sort_unstable_by_key(|slot| (slot.start, usize::MAX - slot.end));
    let mut end = 0;
    found.retain(|slot| {
        let apart = slot.start >= end;
        if apart {
            end = slot.end;
        }
        apart
    });
    let repeated = repeated(text, result, &found)?;
    let mut changes: Vec<(Slot, &str)> = found.iter().map(|slot| (*slot, REDACTED)).collect();
    if let Some((blocks, said)) = &repeated {
        changes.extend(blocks.iter().map(|slot| (*slot, said.as_str())));
        changes.sort_unstable_by_key(|(slot, _)| slot.start);
    }
    Ok(Some(replace(text, changes.iter().copied()).into_bytes()))
}

/// The texts of the result that repeat its structured content, and what is to stand in their place;
/// `None` if nothing of that content is hidden.
fn repeated(
    text: &str,
    result: Slot,
    hidden: &[Slot],
) -> Result<Option<(Vec<Slot>, String)>, McpError> {
    let Some(content) = member(text, result, "structuredContent")? else {
        return Ok(None);
    };
    let within = |slot: &&Slot| slot.start >= content.start && slot.end <= content.end;
    let within: Vec<Slot> = hidden.iter().filter(within).copied().collect();
    if within.is_empty() {
        return Ok(None);
    }
    // The view took the message, so this is JSON; were it not, nothing could be said to be hidden.
    let whole = Json::read(content.of(text))?;
    let apart = |slot: &Slot| {
        hidden
            .iter()
            .all(|h| h.end <= slot.start || slot.end <= h.start)
    };
    let mut blocks = Vec::new();
    if let Some(list) = member(text, result, "content")?.filter(|s| s.kind == Kind::Array) {
        for block in Lexer::at(text, list.start).elements()? {
            if let Some(slot) = member(text, block, "text")?
                && let Some(said) = slot.string(text)
                && let Ok(said) = Json::read(&said)
                && repeats(&said, &whole)
                && apart(&slot)
            {
                blocks.push(slot);
            }
        }
    }
    let moved = |at: usize| at.saturating_sub(content.start);
    let left = within.iter().map(|slot| {
        let slot = Slot {
            start: moved(slot.start),
            end: moved(slot.end),
            kind: slot.kind,
        };
        (slot, REDACTED)
    });
    let mut said = String::new();
    push_quoted(&mut said, &replace(content.of(text), left));
    Ok(Some((blocks, said)))
}

/// A member of an object.
fn member(text: &str, of: Slot, name: &str) -> Result<Option<Slot>, McpError> {
    let mut found = None;
    if of.kind == Kind::Object {
        Lexer::at(text, of.start).members(|key, slot| {
            if key == name {
                found = Some(slot);
            }
        })?;
    }
    Ok(found)
}

/// Whether `said` is `whole` to some reader: in doubt it is. Numbers are the same that are one double,
/// which those of equal value always are, and a key that is named twice has any of its values.
fn repeats(said: &Json, whole: &Json) -> bool {
    match (said, whole) {
        (Json::Number(a), Json::Number(b)) => a.near_f64() == b.near_f64(),
        (Json::List(a), Json::List(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| repeats(a, b))
        }
        (Json::Object(a), Json::Object(b)) => {
            let named: HashMap<&str, &Json> = b.iter().map(|(k, v)| (k.as_str(), v)).collect();
            let mut repeated = HashSet::new();
            for (key, value) in a {
                let Some(there) = named.get(key.as_str()) else {
                    return false;
                };
                if repeats(value, there) {
                    repeated.insert(key.as_str());
                }
            }
            repeated.len() == named.len()
        }
        (a, b) => a == b,
    }
}

/// `~1` is `/`, `~0` is `~`, in this order.
fn unescaped(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

fn follow(
    text: &str,
    from: Slot,
    tokens: &[String],
    found: &mut Vec<Slot>,
) -> Result<(), McpError> {
    let Some((token, rest)) = tokens.split_first() else {
        found.push(from);
        return Ok(());
    };
    match from.kind {
        Kind::Object => {
            let next = member(text, from, token)?;
            next.map_or(Ok(()), |slot| follow(text, slot, rest, found))
        }
        Kind::Array => {
            let elements = Lexer::at(text, from.start).elements()?;
            let index = token.parse::<usize>().ok();
            for (at, slot) in elements.into_iter().enumerate() {
                if token == "*" || index == Some(at) {
                    follow(text, slot, rest, found)?;
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const RESULT: &str = r#"{"jsonrpc":"2.0","id":1, "result":{"structuredContent":{"name":"A","ssn":"123","a/b":1,
        "rows":[{"ssn":1,"x":2},{"ssn":{"deep":[1]}}]},"content":[]}}"#;

    fn redacted(pointers: &[&str]) -> Option<String> {
        let bytes = redact(RESULT.as_bytes(), pointers.iter().copied()).unwrap();
        bytes.map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn only_the_values_named_are_replaced() {
        let got = redacted(&["/structuredContent/ssn", "/structuredContent/a~1b"]).unwrap();
        let want = RESULT
            .replace("\"123\"", "\"[redacted]\"")
            .replace("\"a/b\":1", "\"a/b\":\"[redacted]\"");
        assert_eq!(got, want);
    }

    #[test]
    fn a_star_is_every_element() {
        let got = redacted(&["/structuredContent/rows/*/ssn"]).unwrap();
        let want = RESULT
            .replace("\"ssn\":1,", "\"ssn\":\"[redacted]\",")
            .replace("{\"deep\":[1]}", "\"[redacted]\"");
        assert_eq!(got, want);
        let one = redacted(&["/structuredContent/rows/0/ssn"]).unwrap();
        assert!(one.contains("{\"deep\":[1]}"));
    }

    #[test]
    fn what_lies_within_a_hidden_value_is_hidden_with_it() {
        let got = redacted(&[
            "/structuredContent/rows/1/ssn/deep/0",
            "/structuredContent/rows",
        ]);
        assert!(got.unwrap().contains("\"rows\":\"[redacted]\"}"));
    }

    /// A result whose text is this, with and without what the pointers lead to.
    fn beside(said: &str, pointers: &[&str]) -> String {
        let mut quoted = String::new();
        push_quoted(&mut quoted, said);
        let message = format!(
            r#"{{"jsonrpc":"2.0","id":1,"result":{{"content":[{{"type":"text","text":"Found."}},{{"type":"text","text":{quoted}}}],"structuredContent": {{"card":"4111","n":1.0,"of":{{"x":[1,2]}}}}}}}}"#
        );
        let got = redact(message.as_bytes(), pointers.iter().copied()).unwrap();
        let got: Value = serde_json::from_slice(&got.unwrap()).unwrap();
        let result = &got["result"];
        assert_eq!(result["content"][0]["text"], "Found.");
        result["content"][1]["text"].as_str().unwrap().to_owned()
    }

    #[test]
    fn a_text_that_repeats_the_structured_content_is_what_is_left_of_it() {
        let hidden = r#"{"card":"[redacted]","n":1.0,"of":{"x":[1,2]}}"#;
        for said in [
            r#"{"card":"4111","n":1.0,"of":{"x":[1,2]}}"#,
            "{\n  \"of\": {\"x\": [1, 2]},\n  \"n\": 1,\n  \"card\": \"\\u0034111\"\n}\n",
        ] {
            let got = beside(said, &["/structuredContent/card"]);
            assert_eq!(got, hidden, "{said}");
            let got = beside(said, &["/structuredContent"]);
            assert_eq!(got, REDACTED, "{said}");
            // Hidden with all of its text, whatever that says.
            let got = beside(said, &["/structuredContent/card", "/content/1/text"]);
            assert_eq!(got, "[redacted]", "{said}");
        }
    }

    /// Numbers no double holds, and keys that are named twice, hide nothing.
    #[test]
    fn a_text_that_some_reader_takes_for_the_same_is_what_is_left_of_it() {
        for (content, said) in [
            (r#"{"ssn":"123","n":1e400}"#, r#"{"ssn":"123","n":1e400}"#),
            (
                r#"{"ssn":"123","n":1e400}"#,
                r#"{"n": 10e399, "ssn": "123"}"#,
            ),
            (
                r#"{"ssn":"123","n":-1e99999}"#,
                r#"{"ssn":"123","n":-1e99999}"#,
            ),
            (
                r#"{"ssn":"123","n":9007199254740993}"#,
                r#"{"ssn":"123","n":9007199254740992.0}"#,
            ),
            (
                r#"{"ssn":"123","n":0.1}"#,
                r#"{"ssn":"123","n":0.10000000000000000555}"#,
            ),
            (r#"{"ssn":"123","n":1}"#, r#"{"ssn":"123","n":1,"ssn":"9"}"#),
            (r#"{"ssn":"123","n":1}"#, r#"{"ssn":"9","n":1,"ssn":"123"}"#),
        ] {
            let mut quoted = String::new();
            push_quoted(&mut quoted, said);
            let message = format!(
                r#"{{"jsonrpc":"2.0","id":1,"result":{{"structuredContent":{content},"content":[{{"type":"text","text":{quoted}}}]}}}}"#
            );
            let got = redact(message.as_bytes(), ["/structuredContent/ssn"]).unwrap();
            let got = String::from_utf8(got.unwrap()).unwrap();
            assert!(!got.contains("123"), "{got}");
            assert_eq!(got.matches("[redacted]").count(), 2, "{got}");
        }
    }

    #[test]
    fn a_text_that_says_something_else_stays() {
        for said in [
            r#"{"card":"4111","n":2,"of":{"x":[1,2]}}"#,
            r#"{"card":"4111","n":1,"of":{"x":[1,2]},"more":1}"#,
            r#"{"card":"4111","n":1,"of":{"x":[2,1]}}"#,
            "the card is 4111",
            "",
        ] {
            assert_eq!(beside(said, &["/structuredContent/card"]), said);
        }
        // Of what is hidden elsewhere nothing is repeated.
        let said = r#"{"card":"4111","n":1,"of":{"x":[1,2]}}"#;
        assert_eq!(beside(said, &["/content/0/type"]), said);
    }

    #[test]
    fn what_is_not_there_changes_nothing() {
        for pointer in [
            "/nothing",
            "/content/0/text",
            "/structuredContent/ssn/x",
            "",
        ] {
            assert_eq!(redacted(&[pointer]), None, "{pointer}");
        }
        let error = br#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"m"}}"#;
        assert_eq!(redact(error, ["/message"]), Ok(None));
        assert!(redact(b"{", ["/a"]).is_err());
    }
}
