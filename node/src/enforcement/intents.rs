//! What a message sets out to do: claimed by whoever signs it, derived again at every hop.
//!
//! Everything it is derived from stands in the signed header and in what the server's node knows and
//! announces of its tools, so that a relay can do it as well as the ends. A claim may say more than
//! a hop derives, which only tightens; one that says less by the same rules is refused. Nodes of
//! different versions may derive differently, and neither lies: what either derives then counts.

use std::borrow::Cow;

use protocol::envelope::{Direction, Header, Kind};
use protocol::id::{Digest, NodeId};
use protocol::mcp::Hints;
use protocol::name::Name;
use protocol::policy::{Denial, Verdict};

use super::{Enforcer, Stopped};

/// The refusal of a message that claims to set out to do less than it does.
pub const INTENT_UNDERSTATED: &str = "intent_understated";

/// Who is asked for what, as far as intents follow from it.
pub(super) struct Meant<'a> {
    /// The node of the server.
    pub(super) host: NodeId,
    pub(super) server: &'a Name,
    pub(super) method: &'a str,
    pub(super) name: Option<&'a str>,
    pub(super) tool_digest: Option<Digest>,
}

impl<'a> Meant<'a> {
    fn by(header: &'a Header) -> Self {
        let claims = &header.claims;
        Self {
            host: match claims.direction {
                Direction::ToServer => header.cwt.aud,
                Direction::ToClient => header.cwt.iss,
            },
            server: &claims.server,
            method: &claims.method,
            name: claims.name.as_deref(),
            tool_digest: claims.tool_digest,
        }
    }
}

impl Enforcer {
    /// The intents of a request or notification, as this node derives them.
    pub(super) fn intents(&self, meant: &Meant<'_>) -> Vec<String> {
        let tool = meant.name.filter(|_| meant.method == "tools/call");
        let hints = tool.map_or(Hints::NONE, |tool| {
            // What is said of one definition says nothing of another.
            let known = self.known_tool(&meant.host, meant.server, tool);
            let known = known.filter(|(digest, _)| meant.tool_digest == Some(*digest));
            known.map_or(Hints::NONE, |(_, hints)| hints)
        });
        self.intents.derive(meant.method, meant.name, hints)
    }

    /// The digest of a tool's definition and what its annotations add, as read here from this
    /// node's own server, or as another node announces it.
    pub(super) fn known_tool(
        &self,
        host: &NodeId,
        server: &Name,
        tool: &str,
    ) -> Option<(Digest, Hints)> {
        if *host == self.identity.node() {
            let digest = self.inventory.tool_digest(server, tool)?;
            return Some((digest, self.inventory.tool_hints(server, tool)));
        }
        self.members.member(host)?.tool(server, tool)
    }

    /// What a message sets out to do: what it claims, which must hold every intent that this node
    /// derives from it where both go by the same rules, and else has them added. A response has
    /// none of its own.
    ///
    /// # Errors
    /// [`INTENT_UNDERSTATED`], naming what is missing.
    pub(super) fn check_intents<'h>(
        &self,
        header: &'h Header,
    ) -> Result<Cow<'h, [String]>, Stopped> {
        let claims = &header.claims;
        if claims.kind == Kind::Response {
            return Ok(Cow::Borrowed(&claims.intents));
        }
        let mut derived = self.intents(&Meant::by(header));
        derived.retain(|intent| !claims.intents.contains(intent));
        if derived.is_empty() {
            return Ok(Cow::Borrowed(&claims.intents));
        }
        if claims.intent_rules != Some(self.intents.version()) {
            // Nobody's lie, and nobody's gain: whoever claims other rules to say less is judged by
            // what this node derives all the same.
            derived.extend_from_slice(&claims.intents);
            derived.sort_unstable();
            return Ok(Cow::Owned(derived));
        }
        let denial = Denial {
            reason: INTENT_UNDERSTATED.to_owned(),
            message: format!(
                "the signed header does not say all that the message sets out to do: `{}`",
                derived.join("`, `")
            ),
            policy: None,
            hint: Some("its node says it derives intents by the same rules: look at it".to_owned()),
        };
        Err(Stopped {
            verdict: Verdict::Deny(denial),
            by_policy: false,
        })
    }
}
