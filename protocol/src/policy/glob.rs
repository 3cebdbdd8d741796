//! Globs: `*` stands for any run of characters, everything else for itself.
//!
//! Bounded in length and in stars when read, and matched in one pass with one place to go back to,
//! so the work is at most text × pattern. [`ItemGlob`] is the form for what lies on a server.

use super::error::{Checked, Problem};
use super::facts::Party;

/// Longest glob, in bytes.
pub const MAX_GLOB_BYTES: usize = 512;

/// Most stars in a glob.
pub const MAX_GLOB_STARS: usize = 8;

/// A glob.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Glob(String);

impl Glob {
    /// Reads a glob.
    ///
    /// # Errors
    /// [`Problem::Glob`] if it is empty, too long, or has too many stars.
    pub fn new(text: &str) -> Checked<Self> {
        let stars = text.bytes().filter(|b| *b == b'*').count();
        if text.is_empty() || text.len() > MAX_GLOB_BYTES || stars > MAX_GLOB_STARS {
            return Err(Problem::Glob);
        }
        Ok(Self(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it has no star, and so matches one text only.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        !self.0.contains('*')
    }

    /// Whether it matches everything.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.0.bytes().all(|b| b == b'*')
    }

    /// Whether it matches the whole of `text`.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        matches(self.0.as_bytes(), text.as_bytes())
    }
}

impl core::fmt::Display for Glob {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.0)
    }
}

fn matches(mut pattern: &[u8], mut text: &[u8]) -> bool {
    // After the last star: the pattern behind it, and the text it has not swallowed yet.
    let mut back: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern.split_first(), text.split_first()) {
            (Some((b'*', rest)), _) => {
                back = Some((rest, text));
                pattern = rest;
            }
            (Some((p, rest)), Some((t, after))) if p == t => (pattern, text) = (rest, after),
            (None, None) => return true,
            _ => {
                let Some((behind, swallowed)) = back else {
                    return false;
                };
                let Some((_, after)) = swallowed.split_first() else {
                    return false;
                };
                back = Some((behind, after));
                (pattern, text) = (behind, after);
            }
        }
    }
}

/// A glob for a tool or prompt, or for a server: `item`, `server/item` or `node/server/item`. Only
/// the last part may have further slashes, so that no server can name itself like a node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ItemGlob {
    /// The node it lies on; any if absent.
    pub node: Option<Glob>,
    /// The server it lies on; any if absent.
    pub server: Option<Glob>,
    /// Its own name.
    pub item: Glob,
}

impl ItemGlob {
    /// Reads `item`, `server/item` or `node/server/item`.
    ///
    /// # Errors
    /// [`Problem::Glob`].
    pub fn new(text: &str) -> Checked<Self> {
        Glob::new(text)?;
        let mut parts = text.splitn(3, '/');
        let (first, second, third) = (parts.next(), parts.next(), parts.next());
        let glob = |part: Option<&str>| part.map(Glob::new).transpose();
        let (node, server, item) = match (second, third) {
            (None, _) => (None, None, first),
            (Some(_), None) => (None, first, second),
            (Some(_), Some(_)) => (first, second, third),
        };
        Ok(Self {
            node: glob(node)?,
            server: glob(server)?,
            item: glob(item)?.ok_or(Problem::Glob)?,
        })
    }

    /// Whether it names the item alone, not where it lies.
    #[must_use]
    pub const fn is_bare(&self) -> bool {
        self.server.is_none()
    }

    /// Whether it matches this item of this server.
    #[must_use]
    pub fn matches(&self, host: Party<'_>, server: &str, item: &str) -> bool {
        self.matches_on(host.name.as_str(), server, item)
    }

    /// Whether it matches this item of this server on the node of this name.
    #[must_use]
    pub fn matches_on(&self, host: &str, server: &str, item: &str) -> bool {
        let node = self.node.as_ref();
        let on = self.server.as_ref();
        node.is_none_or(|g| g.matches(host))
            && on.is_none_or(|g| g.matches(server))
            && self.item.matches(item)
    }
}

impl core::fmt::Display for ItemGlob {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for part in [&self.node, &self.server].into_iter().flatten() {
            write!(f, "{part}/")?;
        }
        write!(f, "{}", self.item)
    }
}

/// A glob of the form `name` or `node/name`: for servers and agents.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeGlob {
    /// The node; any if absent.
    pub node: Option<Glob>,
    /// The name on it.
    pub name: Glob,
}

impl NodeGlob {
    /// Reads `name` or `node/name`.
    ///
    /// # Errors
    /// [`Problem::Glob`].
    pub fn new(text: &str) -> Checked<Self> {
        Glob::new(text)?;
        Ok(match text.split_once('/') {
            None => Self {
                node: None,
                name: Glob::new(text)?,
            },
            Some((node, name)) => Self {
                node: Some(Glob::new(node)?),
                name: Glob::new(name)?,
            },
        })
    }

    /// Whether it matches this name on this node.
    #[must_use]
    pub fn matches(&self, node: Party<'_>, name: &str) -> bool {
        self.matches_on(node.name.as_str(), name)
    }

    /// Whether it matches this name on the node of this name.
    #[must_use]
    pub fn matches_on(&self, node: &str, name: &str) -> bool {
        let on = self.node.as_ref();
        on.is_none_or(|g| g.matches(node)) && self.name.matches(name)
    }
}

impl core::fmt::Display for NodeGlob {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        if let Some(node) = &self.node {
            write!(f, "{node}/")?;
        }
        write!(f, "{}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_runs() {
        for (glob, text, expected) in [
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("a*c", "ac", true),
            ("a*c", "abbbc", true),
            ("a*c", "abbbcd", false),
            ("*", "", true),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b*", "xxbxxaxx", false),
            ("a*", "a/b/c", true),
            ("*aab", "aaaab", true),
        ] {
            assert_eq!(
                Glob::new(glob).unwrap().matches(text),
                expected,
                "{glob} {text}"
            );
        }
    }

    #[test]
    fn bombs_are_refused_and_the_worst_allowed_is_quick() {
        assert_eq!(Glob::new(&"a*".repeat(9)), Err(Problem::Glob));
        assert_eq!(Glob::new(&"a".repeat(513)), Err(Problem::Glob));
        assert_eq!(Glob::new(""), Err(Problem::Glob));
        let worst = Glob::new(&format!("{}b", "*aaaaaaaaaaaaaaaa".repeat(8))).unwrap();
        assert!(!worst.matches(&"a".repeat(crate::limits::MAX_TARGET_BYTES)));
    }

    #[test]
    fn an_item_lies_on_a_server_on_a_node() {
        let item = ItemGlob::new("host/shop/get/it").unwrap();
        let text = |g: &Option<Glob>| g.as_ref().map(|g| g.as_str().to_owned());
        assert_eq!(text(&item.node).as_deref(), Some("host"));
        assert_eq!(text(&item.server).as_deref(), Some("shop"));
        assert_eq!(item.item.as_str(), "get/it");
        assert_eq!(item.to_string(), "host/shop/get/it");
        assert!(ItemGlob::new("get").unwrap().is_bare());
        assert!(!ItemGlob::new("*/get").unwrap().is_bare());
        assert_eq!(ItemGlob::new("/get"), Err(Problem::Glob));
        assert_eq!(NodeGlob::new("a/"), Err(Problem::Glob));
    }
}
