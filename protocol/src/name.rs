//! Names people choose: nodes, servers, agents, groups, sites; and those of policy documents.

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a valid name: use 1 to {max} of a-z, 0-9 and single `-`, starting and ending with a letter or digit", max = Name::MAX)]
pub struct NameError {
    /// What was given, cut to a printable prefix.
    pub text: String,
}

/// A name: 1 to [`Name::MAX`] of `a-z`, `0-9` and `-`, with letters or digits at both ends and
/// no two dashes in a row. It is inert in terminals, pages, paths, URLs and logs, and can
/// stand in a qualified tool name (`node__server__tool`) without ambiguity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct Name(String);

impl Name {
    /// Longest name, in bytes: two of them and a tool name still fit the 128 characters MCP
    /// recommends for a tool name.
    pub const MAX: usize = 32;

    /// The agent that stands for whoever operates a node from its own host.
    #[must_use]
    pub fn operator() -> Self {
        Self("operator".to_owned())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl core::str::FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let valid = !text.is_empty()
            && text.len() <= Self::MAX
            && text.bytes().all(inner)
            && !text.starts_with('-')
            && !text.ends_with('-')
            && !text.contains("--");
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            let text = text
                .chars()
                .take(Self::MAX)
                .filter(|c| !c.is_control())
                .collect();
            Err(NameError { text })
        }
    }
}

impl core::fmt::Display for Name {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Name {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl<C> minicbor::Encode<C> for Name {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.str(&self.0)?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for Name {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let at = d.position();
        d.str()?
            .parse()
            .map_err(|_| minicbor::decode::Error::message("not a valid name").at(at))
    }
}

/// Why a text is no name of a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a valid policy name: use 1 to {max} of A-Z, a-z, 0-9, `.`, `_` and `-`, starting with a letter or digit", max = PolicyName::MAX)]
pub struct PolicyNameError {
    /// What was given, cut to a printable prefix.
    pub text: String,
}

/// The name of a policy document: 1 to [`PolicyName::MAX`] of letters, digits, `.`, `_` and `-`,
/// starting with a letter or digit. Inert in terminals, pages, URLs and logs, and no path and no
/// option when it stands on a command line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct PolicyName(String);

impl PolicyName {
    /// Longest name, in bytes.
    pub const MAX: usize = 64;

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl core::str::FromStr for PolicyName {
    type Err = PolicyNameError;

    fn from_str(text: &str) -> Result<Self, PolicyNameError> {
        let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let valid = text.len() <= Self::MAX
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.bytes().all(inner);
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            let shown = text.chars().take(Self::MAX).filter(|c| !c.is_control());
            Err(PolicyNameError {
                text: shown.collect(),
            })
        }
    }
}

impl core::fmt::Display for PolicyName {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.0)
    }
}

impl<C> minicbor::Encode<C> for PolicyName {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.str(&self.0)?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for PolicyName {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let at = d.position();
        d.str()?
            .parse()
            .map_err(|_| minicbor::decode::Error::message("not a valid policy name").at(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_inert() {
        assert_eq!("operator".parse(), Ok(Name::operator()));
        for good in ["a", "tool-host", "x2", "9"] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            "a-",
            "a--b",
            "A",
            "a_b",
            "a/b",
            "ä",
            "a\u{1b}[31m",
            &"a".repeat(33),
        ] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn policy_names_are_inert() {
        for good in ["mcp_read_only_enforcement", "a", "v1.2-final", "9_A"] {
            assert!(good.parse::<PolicyName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            "..",
            ".a",
            "_a",
            "a b",
            "a/b",
            "ä",
            "a\u{1b}[31m",
            &"a".repeat(65),
        ] {
            assert!(bad.parse::<PolicyName>().is_err(), "{bad:?}");
        }
    }
}
