//! Which calls a document is about.

use super::{At, Fields, Shape, Sink};
use crate::policy::error::Problem;
use crate::policy::facts::{CallKind, Party};
use crate::policy::glob::{Glob, ItemGlob, NodeGlob};

/// The keys of subjects.
pub(super) const SUBJECTS: Shape = Shape {
    place: "/subjects",
    keys: &["nodes", "groups", "agents", "humans"],
};

/// Who is meant: whoever any of the lists matches.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subjects {
    /// Names of nodes.
    pub nodes: Vec<Glob>,
    /// Groups of nodes.
    pub groups: Vec<Glob>,
    /// Agents: `agent` or `node/agent`.
    pub agents: Vec<NodeGlob>,
    /// Humans, as nodes assert them.
    pub humans: Vec<Glob>,
}

impl Subjects {
    pub(crate) fn read(sink: &mut Sink, at: &At<'_>, shape: &'static Shape) -> Option<Self> {
        let fields = at.fields(sink, shape)?;
        fields.some(sink);
        let mut globs = |key| {
            let found = fields.at(key);
            found.and_then(|at| at.some_texts(sink, Glob::new))
        };
        let (nodes, groups, humans) = (globs("nodes"), globs("groups"), globs("humans"));
        let agents = fields.at("agents");
        let agents = agents.and_then(|at| at.some_texts(sink, NodeGlob::new));
        Some(Self {
            nodes: nodes.unwrap_or_default(),
            groups: groups.unwrap_or_default(),
            agents: agents.unwrap_or_default(),
            humans: humans.unwrap_or_default(),
        })
    }

    /// Whether `node` is one of them, whoever calls from it.
    #[must_use]
    pub fn hold_node(&self, node: Party<'_>) -> bool {
        self.nodes.iter().any(|g| g.matches(node.name.as_str()))
            || self
                .groups
                .iter()
                .any(|glob| node.groups.iter().any(|name| glob.matches(name.as_str())))
    }

    /// Whether `agent` of `node`, acting for `human`, is one of them.
    #[must_use]
    pub fn hold(&self, node: Party<'_>, agent: &str, human: Option<&str>) -> bool {
        self.hold_node(node)
            || self.agents.iter().any(|g| g.matches(node, agent))
            || human.is_some_and(|human| self.humans.iter().any(|g| g.matches(human)))
    }
}

/// Which calls a document is about; an absent list means all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scope {
    /// Whose calls.
    pub subjects: Option<Subjects>,
    /// Of which servers: `server` or `node/server`.
    pub servers: Option<Vec<NodeGlob>>,
    /// Of which tools. If any of these three is there, of what they match only.
    pub tools: Option<Vec<ItemGlob>>,
    /// Of which resources, by URI.
    pub resources: Option<Vec<Glob>>,
    /// Of which prompts.
    pub prompts: Option<Vec<ItemGlob>>,
}

impl Scope {
    pub(super) fn read(sink: &mut Sink, fields: &Fields<'_>) -> Self {
        let subjects = fields.at("subjects");
        let servers = fields.at("servers");
        let mut items = |key| {
            let found = fields.at(key);
            found.and_then(|at| at.some_texts(sink, ItemGlob::new))
        };
        let (tools, prompts) = (items("tools"), items("prompts"));
        let resources = fields.at("resources");
        Self {
            subjects: subjects.and_then(|at| Subjects::read(sink, at, &SUBJECTS)),
            servers: servers.and_then(|at| at.some_texts(sink, NodeGlob::new)),
            tools,
            resources: resources.and_then(|at| at.some_texts(sink, Glob::new)),
            prompts,
        }
    }

    /// Whether it singles out tools, resources or prompts.
    #[must_use]
    pub const fn is_selective(&self) -> bool {
        self.tools.is_some() || self.resources.is_some() || self.prompts.is_some()
    }

    /// Whether it holds what a call acts on.
    #[must_use]
    pub fn holds_target(
        &self,
        host: Party<'_>,
        server: &str,
        kind: CallKind,
        target: &str,
    ) -> bool {
        if !self.is_selective() {
            return true;
        }
        let items = |list: &Option<Vec<ItemGlob>>| {
            list.iter()
                .flatten()
                .any(|g| g.matches(host, server, target))
        };
        match kind {
            CallKind::Tool => items(&self.tools),
            CallKind::Prompt => items(&self.prompts),
            CallKind::Resource => self.resources.iter().flatten().any(|g| g.matches(target)),
            CallKind::Method => false,
        }
    }

    /// Whether it holds this tool, whoever calls it: by the names of its node and server alone.
    #[must_use]
    pub fn holds_tool(&self, host: &str, server: &str, tool: &str) -> bool {
        let servers = self.servers.as_ref();
        let tools = self.tools.as_deref().unwrap_or_default();
        servers.is_none_or(|list| list.iter().any(|g| g.matches_on(host, server)))
            && (!self.is_selective() || tools.iter().any(|g| g.matches_on(host, server, tool)))
    }

    /// Whether it holds the server.
    #[must_use]
    pub fn holds_server(&self, host: Party<'_>, server: &str) -> bool {
        let servers = self.servers.as_ref();
        servers.is_none_or(|list| list.iter().any(|g| g.matches(host, server)))
    }
}

/// A word as intents and labels are: `a-z`, `0-9`, `_`, and `-` and `.` too, at most
/// [`crate::limits::MAX_WORD_BYTES`].
pub(super) fn word(text: &str) -> Result<String, Problem> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-.".contains(&b);
    if text.is_empty() || text.len() > crate::limits::MAX_WORD_BYTES || !text.bytes().all(inner) {
        return Err(Problem::Form {
            given: crate::policy::error::shown(text),
            expected: "a word of 1 to 64 of a-z, 0-9, `_`, `-` and `.`",
        });
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_is_in_scope_by_the_names_of_its_node_and_server() {
        let servers = |list: &[&str]| Scope {
            servers: Some(list.iter().map(|s| NodeGlob::new(s).unwrap()).collect()),
            ..Scope::default()
        };
        assert!(Scope::default().holds_tool("hub", "odd", "get"));
        assert!(servers(&["shop"]).holds_tool("hub", "shop", "get"));
        assert!(!servers(&["shop"]).holds_tool("hub", "odd", "get"));
        assert!(servers(&["hub/o*"]).holds_tool("hub", "odd", "get"));
        assert!(!servers(&["hub/o*"]).holds_tool("desk", "odd", "get"));
        let tools = Scope {
            tools: Some(vec![ItemGlob::new("shop/get*").unwrap()]),
            ..Scope::default()
        };
        assert!(tools.holds_tool("hub", "shop", "get_it"));
        assert!(!tools.holds_tool("hub", "odd", "get_it"));
        let prompts = Scope {
            prompts: Some(vec![ItemGlob::new("get").unwrap()]),
            ..Scope::default()
        };
        assert!(!prompts.holds_tool("hub", "shop", "get"));
    }
}
