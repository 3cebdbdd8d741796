//! A JSON value as it stands: repeated keys are kept, so that they can be refused by name, and
//! numbers keep their text, so that they are compared by the value that was written.
//!
//! Views of messages never build values; this is for the few who look into one: what policies ask
//! of arguments and results, and policy documents themselves.

use super::error::McpError;
use super::lexer::Lexer;
use super::number::Number;
use crate::limits::MAX_JSON_DEPTH;

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
}

impl Json {
    /// Reads one value of strict JSON (RFC 8259), white space around it allowed.
    ///
    /// # Errors
    /// [`McpError::Syntax`], [`McpError::LoneSurrogate`], [`McpError::Trailing`], and
    /// [`McpError::TooDeep`] beyond [`MAX_JSON_DEPTH`].
    pub(crate) fn read(text: &str) -> Result<Self, McpError> {
        let mut lexer = Lexer::new(text);
        lexer.skip_space();
        let value = value(&mut lexer, 0)?;
        lexer.finish()?;
        Ok(value)
    }

    /// The name of its type, for messages.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }

    /// How deep it nests; a plain value 1. The reader's own bound keeps the recursion short.
    pub(crate) fn depth(&self) -> usize {
        1 + match self {
            Self::List(items) => items.iter().map(Self::depth).max().unwrap_or(0),
            Self::Object(members) => members.iter().map(|(_, v)| v.depth()).max().unwrap_or(0),
            _ => 0,
        }
    }
}

/// The value that begins here; `depth` containers are open around it.
fn value(lexer: &mut Lexer<'_>, depth: usize) -> Result<Json, McpError> {
    let opens = matches!(lexer.peek(), Some(b'{' | b'['));
    if opens && depth >= MAX_JSON_DEPTH {
        let max = MAX_JSON_DEPTH;
        return Err(McpError::TooDeep { max });
    }
    if lexer.take(b'{') {
        let mut members = Vec::new();
        lexer.skip_space();
        let mut more = !lexer.take(b'}');
        while more {
            let key = lexer.key()?.into_owned();
            members.push((key, value(lexer, depth + 1)?));
            more = lexer.more(b'}')?;
        }
        return Ok(Json::Object(members));
    }
    if lexer.take(b'[') {
        let mut items = Vec::new();
        lexer.skip_space();
        let mut more = !lexer.take(b']');
        while more {
            items.push(value(lexer, depth + 1)?);
            more = lexer.more(b']')?;
        }
        return Ok(Json::List(items));
    }
    let slot = lexer.scalar()?;
    let literal = slot.of(lexer.text());
    Ok(match slot.string(lexer.text()) {
        Some(text) => Json::Text(text.into_owned()),
        None => match literal {
            "null" => Json::Null,
            "true" => Json::Bool(true),
            "false" => Json::Bool(false),
            number => Json::Number(Number::written(number)),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_they_stand() {
        let read =
            Json::read(" {\"a\\u0062\": [1.50, -0, true, null, \"\\n\"], \"a\": {}, \"a\": []}\n");
        let number = |text| Json::Number(Number::written(text));
        let list = vec![
            number("1.50"),
            number("-0"),
            Json::Bool(true),
            Json::Null,
            Json::Text("\n".to_owned()),
        ];
        let members = [
            ("ab", Json::List(list)),
            ("a", Json::Object(Vec::new())),
            ("a", Json::List(Vec::new())),
        ];
        let members = members.map(|(key, value)| (key.to_owned(), value));
        assert_eq!(read, Ok(Json::Object(members.to_vec())));
    }

    #[test]
    fn what_is_no_strict_json_is_refused() {
        for bad in [
            "",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "01",
            "1.",
            "+1",
            "nul",
            "\"\\ud800\"",
            "1 2",
            "\u{feff}1",
            "{\"a\" 1}",
            "\"\n\"",
            "NaN",
        ] {
            assert!(Json::read(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        let deepest = Json::read(&nested(MAX_JSON_DEPTH)).unwrap();
        assert_eq!(deepest.depth(), MAX_JSON_DEPTH);
        let max = MAX_JSON_DEPTH;
        let refused = Json::read(&nested(MAX_JSON_DEPTH + 1));
        assert_eq!(refused, Err(McpError::TooDeep { max }));
    }
}
