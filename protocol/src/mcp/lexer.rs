//! Tokens of strict JSON (RFC 8259), by position.
//!
//! The lexer knows where every token begins and ends, which is all that splicing needs, and takes
//! nothing that another reader could take differently: no byte order mark, no raw control
//! characters, no half surrogate pairs. It does not build values; numbers keep their text.

use std::borrow::Cow;

use super::error::McpError;

/// Where a value stands and what it is. Offsets are bytes of the text, on character boundaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) kind: Kind,
}

/// The kinds of JSON value, numbers divided as JSON-RPC ids need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Boolean,
    /// No fraction, no exponent.
    Integer,
    Fraction,
    /// Without a backslash: the text between the quotes is the value.
    PlainString,
    /// With at least one escape.
    EscapedString,
    Array,
    Object,
}

impl Slot {
    /// The value's JSON text. Slots come from the same text, so the default is never taken.
    pub(super) fn of(self, text: &str) -> &str {
        text.get(self.start..self.end).unwrap_or_default()
    }

    /// The value of a string; `None` for any other kind.
    pub(super) fn string(self, text: &str) -> Option<Cow<'_, str>> {
        let inner = text.get(self.start + 1..self.end.saturating_sub(1));
        match self.kind {
            Kind::PlainString => inner.map(Cow::Borrowed),
            Kind::EscapedString => inner.map(|escaped| Cow::Owned(unescape(escaped))),
            _ => None,
        }
    }
}

pub(super) struct Lexer<'a> {
    text: &'a str,
    pos: usize,
}

impl<'a> Lexer<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self { text, pos: 0 }
    }

    /// A lexer of the same text from `pos` on, a character boundary.
    pub(super) const fn at(text: &'a str, pos: usize) -> Self {
        Self { text, pos }
    }

    pub(super) const fn text(&self) -> &'a str {
        self.text
    }

    pub(super) const fn position(&self) -> usize {
        self.pos
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.pos).copied()
    }

    pub(super) fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.pos += 1;
        }
    }

    /// Takes `byte` if it comes next.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let next = self.peek() == Some(byte);
        if next {
            self.pos += 1;
        }
        next
    }

    pub(super) fn wrong<T>(&self, expected: &'static str) -> Result<T, McpError> {
        Err(McpError::Syntax {
            at: self.pos,
            expected,
        })
    }

    /// Checks that only white space is left.
    pub(super) fn finish(&mut self) -> Result<(), McpError> {
        self.skip_space();
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(McpError::Trailing { at: self.pos }),
        }
    }

    /// A key and the colon after it, white space skipped around both.
    pub(super) fn key(&mut self) -> Result<Cow<'a, str>, McpError> {
        self.skip_space();
        if self.peek() != Some(b'"') {
            return self.wrong("a key in quotes");
        }
        let slot = self.string()?;
        self.skip_space();
        if !self.take(b':') {
            return self.wrong("`:`");
        }
        self.skip_space();
        Ok(slot.string(self.text).unwrap_or_default())
    }

    /// After a member or element: true if another follows, false if the container ends.
    pub(super) fn more(&mut self, close: u8) -> Result<bool, McpError> {
        self.skip_space();
        if self.take(b',') {
            self.skip_space();
            Ok(true)
        } else if self.take(close) {
            Ok(false)
        } else {
            self.wrong(if close == b'}' {
                "`,` or `}`"
            } else {
                "`,` or `]`"
            })
        }
    }

    /// A string, number or literal; the caller has taken care of `{` and `[`.
    pub(super) fn scalar(&mut self) -> Result<Slot, McpError> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal("true", Kind::Boolean),
            Some(b'f') => self.literal("false", Kind::Boolean),
            Some(b'n') => self.literal("null", Kind::Null),
            _ => self.wrong("a value"),
        }
    }

    fn literal(&mut self, word: &'static str, kind: Kind) -> Result<Slot, McpError> {
        let start = self.pos;
        let rest = self.text.as_bytes().get(start..).unwrap_or_default();
        if !rest.starts_with(word.as_bytes()) {
            return self.wrong(word);
        }
        self.pos += word.len();
        Ok(Slot {
            start,
            end: self.pos,
            kind,
        })
    }

    fn number(&mut self) -> Result<Slot, McpError> {
        let start = self.pos;
        let mut kind = Kind::Integer;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            kind = Kind::Fraction;
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            kind = Kind::Fraction;
            if !self.take(b'+') {
                self.take(b'-');
            }
            self.digits()?;
        }
        Ok(Slot {
            start,
            end: self.pos,
            kind,
        })
    }

    fn digits(&mut self) -> Result<(), McpError> {
        let start = self.pos;
        while let Some(b'0'..=b'9') = self.peek() {
            self.pos += 1;
        }
        if self.pos == start {
            self.wrong("a digit")
        } else {
            Ok(())
        }
    }

    fn string(&mut self) -> Result<Slot, McpError> {
        let start = self.pos;
        let mut kind = Kind::PlainString;
        self.pos += 1;
        loop {
            let rest = self.text.as_bytes().get(self.pos..).unwrap_or_default();
            self.pos += plain_prefix(rest);
            match self.peek() {
                Some(b'"') => {
                    self.pos += 1;
                    return Ok(Slot {
                        start,
                        end: self.pos,
                        kind,
                    });
                }
                Some(b'\\') => {
                    kind = Kind::EscapedString;
                    self.escape()?;
                }
                Some(_) => return self.wrong("an escape instead of a control character"),
                None => return self.wrong("the end of a string"),
            }
        }
    }

    fn escape(&mut self) -> Result<(), McpError> {
        let at = self.pos;
        self.pos += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.pos += 1;
                Ok(())
            }
            Some(b'u') => {
                self.pos += 1;
                match self.hex4()? {
                    0xD800..=0xDBFF => {
                        let low = self.take(b'\\') && self.take(b'u');
                        if low && (0xDC00..=0xDFFF).contains(&self.hex4()?) {
                            Ok(())
                        } else {
                            Err(McpError::LoneSurrogate { at })
                        }
                    }
                    0xDC00..=0xDFFF => Err(McpError::LoneSurrogate { at }),
                    _ => Ok(()),
                }
            }
            _ => self.wrong("an escape"),
        }
    }

    fn hex4(&mut self) -> Result<u32, McpError> {
        let mut value = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|b| char::from(b).to_digit(16));
            let Some(digit) = digit else {
                return self.wrong("four hexadecimal digits");
            };
            value = value * 16 + digit;
            self.pos += 1;
        }
        Ok(value)
    }

    /// Every member of the object that starts here, in text already known to be strict JSON.
    pub(super) fn members(
        mut self,
        mut each: impl FnMut(Cow<'a, str>, Slot),
    ) -> Result<(), McpError> {
        self.take(b'{');
        self.skip_space();
        let mut more = !self.take(b'}');
        while more {
            let key = self.key()?;
            each(key, self.skip_value()?);
            more = self.more(b'}')?;
        }
        Ok(())
    }

    /// Every element of the array that starts here, in text already known to be strict JSON.
    pub(super) fn elements(mut self) -> Result<Vec<Slot>, McpError> {
        let mut found = Vec::new();
        self.take(b'[');
        self.skip_space();
        let mut more = !self.take(b']');
        while more {
            found.push(self.skip_value()?);
            more = self.more(b']')?;
        }
        Ok(found)
    }

    /// Steps over one value of text that is already known to be strict JSON. On other text it
    /// still ends, somewhere.
    pub(super) fn skip_value(&mut self) -> Result<Slot, McpError> {
        let kind = match self.peek() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            _ => return self.scalar(),
        };
        let start = self.pos;
        let mut open = 0_usize;
        loop {
            match self.peek() {
                Some(b'{' | b'[') => open += 1,
                Some(b'}' | b']') => open = open.saturating_sub(1),
                Some(b'"') => {
                    self.string()?;
                    continue;
                }
                Some(_) => {}
                None => return self.wrong("the end of a value"),
            }
            self.pos += 1;
            if open == 0 {
                return Ok(Slot {
                    start,
                    end: self.pos,
                    kind,
                });
            }
        }
    }
}

/// How many leading bytes of a string's inside are neither quote, backslash nor control
/// character. Eight at a time: strings (file contents, base64) are most of a large message.
fn plain_prefix(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    // The classic test for a zero byte; exact in that its lowest set bit marks the first one.
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let mut done = 0;
    for chunk in bytes.chunks_exact(8) {
        let Ok(eight) = <[u8; 8]>::try_from(chunk) else {
            break;
        };
        let word = u64::from_le_bytes(eight);
        let quote = zero(word ^ (ONES * u64::from(b'"')));
        let backslash = zero(word ^ (ONES * u64::from(b'\\')));
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let hit = quote | backslash | control;
        if hit != 0 {
            return done + (hit.trailing_zeros() / 8) as usize;
        }
        done += 8;
    }
    let rest = bytes.get(done..).unwrap_or_default();
    let plain = |&b: &u8| b != b'"' && b != b'\\' && b >= 0x20;
    done + rest.iter().take_while(|b| plain(b)).count()
}

/// The value of the inside of a string that [`Lexer`] accepted.
fn unescape(escaped: &str) -> String {
    let mut out = String::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some((plain, after)) = rest.split_once('\\') {
        out.push_str(plain);
        let mut chars = after.chars();
        match chars.next() {
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('u') => {
                let (code, used) = code_point(after);
                out.push(code);
                rest = after.get(used..).unwrap_or_default();
                continue;
            }
            Some(itself) => out.push(itself),
            None => {}
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    out
}

/// The character of `uXXXX` or `uXXXX\uXXXX`, and how many bytes it took.
fn code_point(escape: &str) -> (char, usize) {
    let unit = |from: usize| {
        let digits = escape.get(from..from + 4).unwrap_or_default();
        u32::from_str_radix(digits, 16).unwrap_or_default()
    };
    match unit(1) {
        high @ 0xD800..=0xDBFF => {
            let low = unit(7).wrapping_sub(0xDC00) & 0x3FF;
            let code = 0x10000 + ((high - 0xD800) << 10) + low;
            (
                char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER),
                11,
            )
        }
        code => (
            char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER),
            5,
        ),
    }
}

/// Appends `value` as a JSON string in the one form `canonical` uses: the two-character
/// escapes where JSON has them, `\u00xx` in lowercase for other control characters, everything
/// else as it is.
pub(super) fn push_quoted(out: &mut String, value: &str) {
    const HEX: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    out.push('"');
    let mut rest = value;
    while let Some(plain) = rest.get(..plain_prefix(rest.as_bytes())) {
        out.push_str(plain);
        let mut chars = rest.get(plain.len()..).unwrap_or_default().chars();
        match chars.next() {
            None => break,
            Some('"') => out.push_str("\\\""),
            Some('\\') => out.push_str("\\\\"),
            Some('\u{8}') => out.push_str("\\b"),
            Some('\u{c}') => out.push_str("\\f"),
            Some('\n') => out.push_str("\\n"),
            Some('\r') => out.push_str("\\r"),
            Some('\t') => out.push_str("\\t"),
            Some(control) => {
                let code = control as usize;
                out.push_str("\\u00");
                out.extend([code >> 4, code & 15].iter().filter_map(|&d| HEX.get(d)));
            }
        }
        rest = chars.as_str();
    }
    out.push('"');
}
