//! Patterns in RE2 syntax, run by an engine whose work is linear in the text: no look-around, no
//! back-references, so no input makes one slow.

use regex::{Regex, RegexBuilder};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Look, LookSet};

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
        let mut parser = ParserBuilder::new().nest_limit(MAX_NESTING).build();
        let Ok(parsed) = parser.parse(&self.text) else {
            return false;
        };
        let properties = parsed.properties();
        let looks = properties.look_set();
        let plain = looks.is_empty()
            || looks == LookSet::singleton(Look::Start)
            || looks == LookSet::singleton(Look::End);
        plain && properties.minimum_len() == Some(0)
    }

    /// Whether it matches.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.compiled.is_match(text)
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
