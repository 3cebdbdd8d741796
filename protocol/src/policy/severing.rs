//! Whom a document that severs cuts off: the agent that called, or the whole node.
//!
//! A document judges whom its `subjects` name. Where they name nodes and groups only, what is judged
//! is the node, whichever of its agents called; otherwise it is the agent.

use super::compile::{CompiledBundle, CompiledPolicy};
use super::document::Subjects;
use super::verdict::AllowMembers;

/// Whom a document cuts off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Severed {
    /// The agent whose call violates it.
    #[default]
    Agent,
    /// The node that signed that call, with all its agents.
    Node,
}

/// Knows whom documents cut off.
pub trait Severs {
    /// Whom the document of this name cuts off; the agent where nothing is known of it.
    fn severs(&self, _policy: &str) -> Severed {
        Severed::Agent
    }
}

impl Severs for AllowMembers {}

impl Severs for CompiledBundle {
    fn severs(&self, policy: &str) -> Severed {
        let document = self.policy(policy).and_then(CompiledPolicy::document);
        let subjects = document.and_then(|d| d.scope.subjects.as_ref());
        subjects.map_or(Severed::Agent, Severed::of)
    }
}

impl Severed {
    fn of(subjects: &Subjects) -> Self {
        let nodes = !subjects.nodes.is_empty() || !subjects.groups.is_empty();
        let within = !subjects.agents.is_empty() || !subjects.humans.is_empty();
        if nodes && !within {
            Self::Node
        } else {
            Self::Agent
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::document::Document;

    fn severed(name: &str, subjects: &str) -> Severed {
        let text = format!(
            r#"{{"policy_name": "{name}", {subjects} "restricted_intents": ["delete"],
                "action_on_violation": "sever"}}"#
        );
        let document = Document::parse(name, text.as_bytes()).unwrap();
        let policies = vec![CompiledPolicy::of_document(document)];
        CompiledBundle::of(1, policies, &[], &[]).severs(name)
    }

    #[test]
    fn subjects_that_are_nodes_are_cut_off_whole() {
        assert_eq!(severed("p", ""), Severed::Agent);
        for (subjects, whom) in [
            (r#"{"nodes": ["a*"]}"#, Severed::Node),
            (r#"{"groups": ["guests"]}"#, Severed::Node),
            (r#"{"nodes": ["a"], "groups": ["g"]}"#, Severed::Node),
            (r#"{"agents": ["a/x"]}"#, Severed::Agent),
            (r#"{"humans": ["ada@*"]}"#, Severed::Agent),
            (r#"{"nodes": ["a"], "agents": ["x"]}"#, Severed::Agent),
            (r#"{"groups": ["g"], "humans": ["ada@*"]}"#, Severed::Agent),
        ] {
            let text = format!(r#""subjects": {subjects},"#);
            assert_eq!(severed("p", &text), whom, "{subjects}");
        }
    }

    #[test]
    fn nobody_knows_of_a_document_that_is_not_there() {
        assert_eq!(CompiledBundle::empty(1).severs("p"), Severed::Agent);
        assert_eq!(AllowMembers.severs("p"), Severed::Agent);
    }
}
