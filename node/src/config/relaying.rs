//! Whose calls a node carries, and who carries those to it, as people write them.

use std::fmt;
use std::str::FromStr;

use protocol::id::NodeId;
use protocol::name::Name;
use protocol::trust::MemberFacts;
use serde::{Deserialize, Serialize};

/// Why a text names nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RelayingError {
    /// Neither `members` nor a group or node.
    #[error("`{0}` is not `members`, `group:NAME` or `node:NAME`")]
    Accepts(String),
    /// Neither a node's name nor its id.
    #[error("`{0}` is neither a node's name nor its id (`Qm…`)")]
    NodeRef(String),
}

/// At most 64 printable characters of what was given, for a message.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}

/// Whose calls are carried on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Accepts {
    /// Every member's.
    Members,
    /// Those of the nodes in this group.
    Group(Name),
    /// Those of this node.
    Node(Name),
}

impl Accepts {
    /// Whether the calls of this member are meant.
    #[must_use]
    pub fn is(&self, member: &MemberFacts) -> bool {
        match self {
            Self::Members => true,
            Self::Group(group) => member.groups.contains(group),
            Self::Node(name) => member.name == *name,
        }
    }
}

impl FromStr for Accepts {
    type Err = RelayingError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || RelayingError::Accepts(shown(text));
        let name = |name: &str| name.parse().map_err(|_| bad());
        match text.split_once(':') {
            None if text == "members" => Ok(Self::Members),
            Some(("group", group)) => name(group).map(Self::Group),
            Some(("node", node)) => name(node).map(Self::Node),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for Accepts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Members => f.write_str("members"),
            Self::Group(group) => write!(f, "group:{group}"),
            Self::Node(node) => write!(f, "node:{node}"),
        }
    }
}

impl TryFrom<String> for Accepts {
    type Error = RelayingError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Accepts> for String {
    fn from(accepts: Accepts) -> Self {
        accepts.to_string()
    }
}

/// A node, by name or by id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum NodeRef {
    /// By its id.
    Id(NodeId),
    /// By its name.
    Name(Name),
}

impl FromStr for NodeRef {
    type Err = RelayingError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(id));
        }
        let named = text.parse().map(Self::Name);
        named.map_err(|_| RelayingError::NodeRef(shown(text)))
    }
}

impl fmt::Display for NodeRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

impl TryFrom<String> for NodeRef {
    type Error = RelayingError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<NodeRef> for String {
    fn from(node: NodeRef) -> Self {
        node.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        for text in ["members", "group:gateways", "node:hub"] {
            assert_eq!(text.parse::<Accepts>().unwrap().to_string(), text);
        }
        for text in ["", "everyone", "group:", "group:a b", "node", "Group:x"] {
            assert!(text.parse::<Accepts>().is_err(), "{text}");
        }
        let id = NodeId::from_bytes([7; 32]);
        assert_eq!(id.to_string().parse(), Ok(NodeRef::Id(id)));
        assert_eq!("hub".parse(), Ok(NodeRef::Name("hub".parse().unwrap())));
        assert!("no such name".parse::<NodeRef>().is_err());
    }
}
