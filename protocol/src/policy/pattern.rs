//! Patterns in RE2 syntax, run by an engine whose work is linear in the text: no look-around, no
//! back-references, so no input makes one slow.

use regex::{Regex, RegexBuilder};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Hir, HirKind, Look, LookSet};

use super::error::{Checked, Problem, told};

/// Longest pattern, in bytes.
pub const MAX_PATTERN_BYTES: usize = 1024;

/// Largest compiled pattern, in bytes; repetitions multiply.
const MAX_COMPILED: usize = 128 * 1024;

/// Deepest nesting of a pattern.
pub(crate) const MAX_NESTING: u32 = 32;

/// A pattern.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    compiled: Regex,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        // Both are anchored or both are not where they can meet at all.
        self.compiled.as_str() == other.compiled.as_str()
    }
}

impl Pattern {
    /// A pattern that matches anywhere in a text.
    ///
    /// # Errors
    /// [`Problem::Regex`] if it is none, or too large.
    pub fn new(text: &str) -> Checked<Self> {
        if text.len() > MAX_PATTERN_BYTES {
            let why = format!("over {MAX_PATTERN_BYTES} bytes");
            return Err(Problem::Regex(why));
        }
        Ok(Self {
            compiled: compile(text)?,
            text: text.to_owned(),
        })
    }

    /// A pattern that matches a text as a whole.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn whole(text: &str) -> Checked<Self> {
        // By itself first: `a)|(b` is a pattern only between our parentheses.
        let pattern = Self::new(text)?;
        Ok(Self {
            compiled: compile(&format!(r"\A(?:{text})\z"))?,
            ..pattern
        })
    }

    /// The text as its author wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is found in every text, whatever that holds: it matches nothing at all, there.
    /// What only ever matches at one end of a text does so in each, too.
    #[must_use]
    pub fn is_all(&self) -> bool {
        let Some(parsed) = self.parsed() else {
            return false;
        };
        let properties = parsed.properties();
        let looks = properties.look_set();
        let plain = looks.is_empty()
            || looks == LookSet::singleton(Look::Start)
            || looks == LookSet::singleton(Look::End);
        plain && properties.minimum_len() == Some(0)
    }

    /// How many characters a text has in which it is found: at least, and at most where it says so
    /// of the whole text.
    pub(crate) fn lengths(&self) -> (u64, Option<u64>) {
        let Some(parsed) = self.parsed() else {
            return (0, None);
        };
        let properties = parsed.properties();
        let ends = properties.look_set_prefix().contains(Look::Start)
            && properties.look_set_suffix().contains(Look::End);
        let whole = ends || self.compiled.as_str() != self.text;
        let (least, most) = characters(&parsed);
        (least, most.filter(|_| whole))
    }

    fn parsed(&self) -> Option<Hir> {
        let mut parser = ParserBuilder::new().nest_limit(MAX_NESTING).build();
        parser.parse(&self.text).ok()
    }

    /// Whether it matches.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.compiled.is_match(text)
    }
}

/// How many characters what a pattern matches has, at least and at most; its nesting is bounded by
/// [`MAX_NESTING`].
fn characters(pattern: &Hir) -> (u64, Option<u64>) {
    match pattern.kind() {
        HirKind::Empty | HirKind::Look(_) => (0, Some(0)),
        HirKind::Class(_) => (1, Some(1)),
        HirKind::Literal(literal) => {
            let text = core::str::from_utf8(&literal.0).ok();
            let count = text.and_then(|text| u64::try_from(text.chars().count()).ok());
            (count.unwrap_or(0), count)
        }
        HirKind::Capture(capture) => characters(&capture.sub),
        HirKind::Repetition(repeated) => {
            let (least, most) = characters(&repeated.sub);
            let times = |length: u64, n: u32| length.saturating_mul(n.into());
            let most = most.zip(repeated.max).map(|(most, n)| times(most, n));
            (times(least, repeated.min), most)
        }
        HirKind::Concat(parts) => parts.iter().map(characters).fold(
            (0, Some(0)),
            |(least, most): (u64, Option<u64>), (more, at_most)| {
                let most = most.zip(at_most).map(|(a, b)| a.saturating_add(b));
                (least.saturating_add(more), most)
            },
        ),
        HirKind::Alternation(parts) => {
            let lengths = || parts.iter().map(characters);
            let least = lengths().map(|(least, _)| least).min();
            let most: Option<Vec<u64>> = lengths().map(|(_, most)| most).collect();
            (
                least.unwrap_or(0),
                most.and_then(|most| most.into_iter().max()),
            )
        }
    }
}

fn compile(text: &str) -> Checked<Regex> {
    let built = RegexBuilder::new(text)
        .size_limit(MAX_COMPILED)
        .dfa_size_limit(MAX_COMPILED)
        .nest_limit(MAX_NESTING)
        .build();
    built.map_err(|error| {
        let error = error.to_string();
        // Of the several lines of a syntax error the last says what it is.
        let why = error.lines().last().unwrap_or_default();
        Problem::Regex(told(why.trim_start_matches("error: ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_found_in_every_text_is_known() {
        let texts = ["", "a", "secret", "two\nlines", "é"];
        for all in [
            "",
            ".*",
            "a?",
            "(x|)",
            "^",
            "$",
            "^.*",
            "(?s).*",
            "a*b*",
            "(?i)x{0,3}",
            "^a*|b*",
        ] {
            let pattern = Pattern::new(all).unwrap();
            assert!(pattern.is_all(), "{all}");
            assert!(texts.iter().all(|text| pattern.matches(text)), "{all}");
        }
        for some in [
            ".",
            "^$",
            ".+",
            "a",
            "\\b",
            "^a?$",
            "sk-[a-z]*",
            "(?m)^x?$",
            "[^\\s\\S]",
            "[^\\s\\S]x*",
        ] {
            assert!(!Pattern::new(some).unwrap().is_all(), "{some}");
        }
    }

    #[test]
    fn lengths_of_texts_are_known() {
        for (text, least, most) in [
            ("abc", 3, None),
            ("^abc$", 3, Some(3)),
            ("^é[0-9ä-ü]{2,4}$", 3, Some(5)),
            ("^(a|bcd)?$", 0, Some(3)),
            ("^a+$", 1, None),
            ("^a|b$", 1, None),
            ("^ab$|^c$", 1, Some(2)),
            ("(?m)^ab$", 2, None),
            ("^(?i)straße$", 6, Some(6)),
            (r"\A\d{3}\z", 3, Some(3)),
            ("(^a)(b$)", 2, Some(2)),
            (".{3}", 3, None),
            ("^(é|è)x$", 2, Some(2)),
        ] {
            let pattern = Pattern::new(text).unwrap();
            assert_eq!(pattern.lengths(), (least, most), "{text}");
        }
        let whole = Pattern::whole("a|[b-d]{2}").unwrap();
        assert_eq!(whole.lengths(), (1, Some(2)));
    }

    #[test]
    fn whole_means_whole() {
        let pattern = Pattern::whole("a|b").unwrap();
        assert!(pattern.matches("a") && pattern.matches("b"));
        assert!(!pattern.matches("ab") && !pattern.matches("a\n"));
        assert!(Pattern::new("a|b").unwrap().matches("xbx"));
        let lines = Pattern::whole("(?m)^a$").unwrap();
        assert!(!lines.matches("a\nb"));
        assert!(Pattern::whole("a)|(b").is_err());
    }

    #[test]
    fn what_backtracks_or_explodes_is_refused() {
        for bad in [
            r"(a+)\1",
            "(?=a)b",
            "(?<!a)b",
            "(",
            &"a{1000}".repeat(10).repeat(10),
            "((a{100}){100}){100}",
            &"(".repeat(40),
            &"a".repeat(MAX_PATTERN_BYTES + 1),
        ] {
            let refused = Pattern::new(bad).unwrap_err();
            assert_eq!(refused.reason(), "policy_bad_pattern", "{bad}");
        }
        // Deadly where engines backtrack; linear here.
        let pattern = Pattern::new("(a+)+$").unwrap();
        assert!(!pattern.matches(&format!("{}b", "a".repeat(100_000))));
    }
}
