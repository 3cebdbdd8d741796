//! The human an agent acts for, as an operator writes it down.
//!
//! Whoever reads one in a signed header has only the signer's word for it; what it is worth is said
//! by the policies in force (`vouches_for_humans`). This type bounds what a node asserts itself.

use crate::limits::MAX_WORD_BYTES;

/// Why a text names no human.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` cannot name a human: use 1 to {max} visible ASCII characters without blanks, quotes, `\\`, `*`, `<` and `>`, such as ada@example.org",
    max = Human::MAX
)]
pub struct HumanError {
    /// What was given, cut to a printable prefix.
    pub text: String,
}

/// A human: 1 to [`Human::MAX`] visible ASCII characters, as in mail addresses and the subjects of
/// identity providers (`ada@example.org`, `auth0|5f7c`). Neither a glob nor anything that has a
/// meaning in terminals, pages or logs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct Human(String);

impl Human {
    /// Longest, in bytes: as the header's claim.
    pub const MAX: usize = MAX_WORD_BYTES;

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl core::str::FromStr for Human {
    type Err = HumanError;

    fn from_str(text: &str) -> Result<Self, HumanError> {
        let inner = |b: u8| b.is_ascii_graphic() && !b"\"'`\\*<>".contains(&b);
        if !text.is_empty() && text.len() <= Self::MAX && text.bytes().all(inner) {
            return Ok(Self(text.to_owned()));
        }
        let shown = text.chars().filter(char::is_ascii_graphic).take(Self::MAX);
        Err(HumanError {
            text: shown.collect(),
        })
    }
}

impl core::fmt::Display for Human {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Human {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn humans_are_inert() {
        for good in ["ada@example.org", "a", "auth0|5f7c", "cn=Ada,dc=example"] {
            assert_eq!(good.parse::<Human>().unwrap().as_str(), good);
        }
        let long = "h".repeat(Human::MAX + 1);
        for bad in [
            "",
            "*",
            "ada@*",
            "ada lovelace",
            "ada\u{1b}[31m",
            "ada\u{202e}",
            "\u{e4}da",
            "<b>",
            "\"ada\"",
            "a\\b",
            &long,
        ] {
            let refused = bad.parse::<Human>().unwrap_err().to_string();
            assert!(
                !refused.contains('\u{1b}') && refused.len() < 300,
                "{refused}"
            );
        }
        assert!("h".repeat(Human::MAX).parse::<Human>().is_ok());
    }
}
