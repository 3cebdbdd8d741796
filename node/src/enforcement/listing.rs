//! Lists without what the client may not call, at both ends.
//!
//! Every item is asked about through the function that gates calls ([`Listed`]). The server's node
//! leaves out what its policies would deny before it signs; the client's does it again with what it
//! knows, so that neither has to trust the other.

use protocol::envelope::{Direction, Kind};
use protocol::mcp::{
    Hints, Item, ItemChange, ListKind, McpError, MessageKind, View, list_items, rewrite_items,
    tool_digest,
};
use protocol::policy::listing::method;
use protocol::policy::{Facts, Listed, Policy};
use protocol::record::Point;

use super::intents::Meant;
use super::{Enforcer, Stopped};

/// Most items of one page of a list. Each is a decision; a server that has more gives several
/// pages.
pub const MAX_LISTED: usize = 4096;

/// The refusal of a page with more.
pub const LIST_TOO_LONG: &str = "list_too_long";

impl Enforcer {
    /// The response that `facts` are of, without the items that its client may not call; `None` if
    /// it may call all, or it is no list.
    ///
    /// # Errors
    /// [`Stopped`] if a list cannot be read, or is too long to be judged.
    pub(super) fn shown(
        &self,
        policy: &dyn Policy,
        facts: &Facts<'_>,
    ) -> Result<Option<Vec<u8>>, Stopped> {
        let to_client = facts.kind == Kind::Response && facts.direction == Direction::ToClient;
        let kind = ListKind::of_method(facts.method).filter(|_| to_client);
        let (Some(kind), Some(body)) = (kind, facts.body) else {
            return Ok(None);
        };
        let unreadable = |error: McpError| {
            let message = format!("the list cannot be read: {error}");
            Stopped::refuse(error.reason(), message)
        };
        let view = View::parse(body).map_err(unreadable)?;
        if view.kind() == MessageKind::ErrorResponse {
            return Ok(None);
        }
        let count = list_items(&view, kind).map_err(unreadable)?.items.len();
        if count > MAX_LISTED {
            let message =
                format!("a page of {count} items, allowed are {MAX_LISTED}: the server must page");
            return Err(Stopped::refuse(LIST_TOO_LONG, message));
        }
        let labels = self.labels_of_listed(facts);
        let mut hidden = 0_usize;
        let rewritten = rewrite_items(body, kind, |item| {
            if self.is_shown(policy, facts, kind, item, &labels) {
                ItemChange::Keep
            } else {
                hidden += 1;
                ItemChange::Remove
            }
        });
        let rewritten = rewritten.map_err(unreadable)?;
        if hidden > 0 {
            tracing::debug!(server = %facts.server, hidden, count, "items not listed");
        }
        Ok((hidden > 0).then_some(rewritten))
    }

    /// The labels that a call which is not made would carry, as far as this node knows.
    pub(super) fn labels_of_listed(&self, facts: &Facts<'_>) -> Vec<String> {
        // What an agent has been handed goes with its calls from the client's node alone.
        match facts.point {
            Point::Ingress => self.touched.of(facts.agent, facts.now),
            Point::Egress | Point::Relay | Point::Link => Vec::new(),
        }
    }

    fn is_shown(
        &self,
        policy: &dyn Policy,
        facts: &Facts<'_>,
        kind: ListKind,
        item: &Item<'_>,
        labels: &[String],
    ) -> bool {
        let (host, name) = (facts.host().node, item.name.as_ref());
        let known = match kind {
            ListKind::Tools => self.known_tool(&host, facts.server, name),
            _ => None,
        };
        // A call names the definition that is known. One that is shown and is another is not the
        // one that was approved, and adds what it says of itself.
        let same = |digest| tool_digest(&*self.identity.crypto, item.raw) == Ok(digest);
        let agreed = known.filter(|(digest, _)| same(*digest));
        // A call of what is revoked is refused before policy is asked.
        if known.is_some_and(|(digest, _)| self.standing.tool(&digest).is_err()) {
            return false;
        }
        let tool_digest = agreed.map(|(digest, _)| digest);
        let intents = match (kind, agreed) {
            (ListKind::Tools, None) => {
                let hints = known.map_or(Hints::NONE, |(_, hints)| hints);
                let hints = hints.and(Hints::of_tool(item.raw));
                self.intents.derive(method(kind), Some(name), hints)
            }
            _ => self.intents(&Meant {
                host,
                server: facts.server,
                method: method(kind),
                name: Some(name),
                tool_digest,
            }),
        };
        let listed = Listed {
            kind,
            name,
            tool_digest,
            intents: &intents,
            labels,
        };
        listed.is_shown(policy, facts)
    }
}
