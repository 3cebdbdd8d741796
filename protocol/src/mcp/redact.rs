//! Taking values out of results: what a policy hides, replaced where it stands.
//!
//! Bytes outside the replaced values stay as they were. What a pointer does not find is not there
//! to hide. A server may say the same once more elsewhere in its result, as text: whoever writes
//! the pointers must know the result's shape.

use super::error::McpError;
use super::lexer::{Kind, Lexer, Slot};
use super::splice::replace;
use super::view::View;

/// What stands in place of a hidden value, a JSON string.
pub const REDACTED: &str = "\"[redacted]\"";

/// The response `bytes` with every value of its `result` that one of `pointers` (RFC 6901, from the
/// result on; `*` stands for every element of an array) leads to replaced by [`REDACTED`]; `None`
/// if none leads anywhere. The last reference token must lead to a member or element: the result
/// itself cannot be hidden.
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
    let changes = found.iter().map(|slot| (*slot, REDACTED));
    Ok(Some(replace(text, changes).into_bytes()))
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
            let mut next = None;
            Lexer::at(text, from.start).members(|key, slot| {
                if key == token.as_str() {
                    next = Some(slot);
                }
            })?;
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
