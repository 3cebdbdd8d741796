//! Who should have every trust document: the members this node knows.

use std::sync::Arc;

use protocol::id::NodeId;
use protocol::name::Name;

use super::{Directory, Driver, Listed};
use crate::clock::Clock;
use crate::members::Members;
use crate::transport::Links;

/// The directory and the links of this node.
pub struct Neighbours {
    members: Arc<Members>,
    links: Links,
    driver: Arc<dyn Driver>,
    clock: Arc<dyn Clock>,
}

impl Neighbours {
    /// Over the parts of a node.
    #[must_use]
    pub fn new(
        members: Arc<Members>,
        links: Links,
        driver: Arc<dyn Driver>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            members,
            links,
            driver,
            clock,
        }
    }
}

impl Directory for Neighbours {
    fn nodes(&self) -> Vec<Listed> {
        let now = self.clock.now().seconds();
        let own = self.driver.node();
        let state = self.driver.in_force();
        let mut listed: Vec<Listed> = self
            .members
            .all()
            .iter()
            .map(|member| &member.membership)
            .filter(|membership| membership.valid_at(now).is_ok())
            .filter(|membership| state.revoked().node(&membership.node()).is_none())
            .map(|membership| Listed {
                id: membership.node(),
                name: membership.name.clone(),
                linked: membership.node() == own || self.links.get(membership.node()).is_some(),
            })
            .collect();
        listed.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        listed
    }

    fn name(&self, node: &NodeId) -> Option<Name> {
        self.members.name(node)
    }
}
