//! The canonical form of a JSON value, for digests of tool definitions.
//!
//! Object keys sorted by the bytes of their UTF-8 value, no white space, strings escaped in one
//! way (RFC 8785's), numbers with the text they came with: `1`, `1.0` and `1e0` are three values
//! here, because a definition that changes from one to another has changed. So two definitions
//! have one digest exactly if they differ in white space, key order and escaping only.

use std::borrow::Cow;
use std::ops::Range;

use super::error::McpError;
use super::lexer::{Lexer, push_quoted};
use super::view::duplicate;
use crate::crypto::{Crypto, domain};
use crate::id::Digest;
use crate::limits;

/// Largest value that is brought into canonical form, in bytes. Published tool definitions are
/// under 64 kB with their schemas.
pub const MAX_CANONICAL_BYTES: usize = 1024 * 1024;

/// The canonical form of one JSON value; white space around it is dropped.
///
/// # Errors
/// What [`super::View::parse`] refuses of any JSON: size (here [`MAX_CANONICAL_BYTES`]), syntax,
/// depth, duplicate keys, lone surrogates, trailing bytes.
pub fn canonical(raw: &str) -> Result<Vec<u8>, McpError> {
    if raw.len() > MAX_CANONICAL_BYTES {
        return Err(McpError::TooLarge {
            max: MAX_CANONICAL_BYTES,
            found: raw.len(),
        });
    }
    let mut form = Form {
        lexer: Lexer::new(raw),
        out: String::with_capacity(raw.len()),
    };
    form.lexer.skip_space();
    form.value(0)?;
    form.lexer.finish()?;
    Ok(form.out.into_bytes())
}

/// The digest of a tool definition: [`domain::TOOL_DIGEST`] over its canonical form. All of the
/// definition counts, fields unknown to us included: a rug pull can hide in any of them.
///
/// # Errors
/// As [`canonical`].
pub fn tool_digest(crypto: &dyn Crypto, raw_tool: &str) -> Result<Digest, McpError> {
    let form = canonical(raw_tool)?;
    Ok(Digest::over(crypto, domain::TOOL_DIGEST, &[&form]))
}

struct Form<'a> {
    lexer: Lexer<'a>,
    out: String,
}

impl<'a> Form<'a> {
    fn value(&mut self, depth: usize) -> Result<(), McpError> {
        let next = self.lexer.peek();
        if !matches!(next, Some(b'{' | b'[')) {
            return self.scalar();
        }
        if depth >= limits::MAX_JSON_DEPTH {
            return Err(McpError::TooDeep {
                max: limits::MAX_JSON_DEPTH,
            });
        }
        if next == Some(b'{') {
            self.object(depth + 1)
        } else {
            self.array(depth + 1)
        }
    }

    fn scalar(&mut self) -> Result<(), McpError> {
        let slot = self.lexer.scalar()?;
        match slot.string(self.lexer.text()) {
            Some(value) => push_quoted(&mut self.out, &value),
            None => self.out.push_str(slot.of(self.lexer.text())),
        }
        Ok(())
    }

    fn array(&mut self, depth: usize) -> Result<(), McpError> {
        self.lexer.take(b'[');
        self.out.push('[');
        self.lexer.skip_space();
        let mut more = !self.lexer.take(b']');
        while more {
            self.value(depth)?;
            more = self.lexer.more(b']')?;
            if more {
                self.out.push(',');
            }
        }
        self.out.push(']');
        Ok(())
    }

    /// Writes the members in their own order, then moves them if that is not the sorted one.
    fn object(&mut self, depth: usize) -> Result<(), McpError> {
        self.lexer.take(b'{');
        self.out.push('{');
        let body = self.out.len();
        let mut members: Vec<(Cow<'a, str>, Range<usize>)> = Vec::new();
        self.lexer.skip_space();
        let mut more = !self.lexer.take(b'}');
        while more {
            let key = self.lexer.key()?;
            let start = self.out.len();
            push_quoted(&mut self.out, &key);
            self.out.push(':');
            self.value(depth)?;
            members.push((key, start..self.out.len()));
            self.out.push(',');
            more = self.lexer.more(b'}')?;
        }
        if !members.is_sorted_by(|(a, _), (b, _)| a < b) {
            self.reorder(body, &mut members)?;
        }
        if !members.is_empty() {
            self.out.pop();
        }
        self.out.push('}');
        Ok(())
    }

    fn reorder(
        &mut self,
        body: usize,
        members: &mut [(Cow<'a, str>, Range<usize>)],
    ) -> Result<(), McpError> {
        members.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        for pair in members.windows(2) {
            if let [(a, _), (b, _)] = pair
                && a == b
            {
                return Err(duplicate(a));
            }
        }
        let mut sorted = String::with_capacity(self.out.len() - body);
        for (_, range) in members.iter() {
            sorted.push_str(self.out.get(range.clone()).unwrap_or_default());
            sorted.push(',');
        }
        self.out.truncate(body);
        self.out.push_str(&sorted);
        Ok(())
    }
}
