//! The facts of a decision.

use crate::envelope::{Direction, Kind};
use crate::id::{Digest, NodeId};
use crate::name::Name;
use crate::record::Point;
use crate::time::UnixMillis;

/// Everything a rule may look at, honestly obtained: nothing here is what the asked-for party
/// says of itself unless its signed header says so.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Where the decision is made.
    pub point: Point,
    /// When, by the deciding node's clock.
    pub now: UnixMillis,
    /// The node that issued the message.
    pub issuer: Party<'a>,
    /// The node it is for.
    pub audience: Party<'a>,
    /// The agent on whose behalf.
    pub agent: &'a Name,
    /// The human for whom the caller's node says the agent acts; can only tighten.
    pub human: Option<&'a str>,
    /// Whether the caller's node is one that may vouch for humans
    /// ([`Policy::vouches_for_humans`](super::Policy::vouches_for_humans)); only then may a
    /// document grant something because of who the human is.
    pub human_vouched: bool,
    /// The address of the caller's node as the next hop saw it (`ip:port` or `ip`): by own sight at
    /// that hop, from its hop record later; absent at ingress.
    pub observed_address: Option<&'a str>,
    /// The posture of the caller's node, if it is known.
    pub posture: Option<&'a Posture>,
    /// Request, notification or response.
    pub kind: Kind,
    /// Which way.
    pub direction: Direction,
    /// The server on its node.
    pub server: &'a Name,
    /// The JSON-RPC method.
    pub method: &'a str,
    /// Tool, prompt or resource.
    pub target: Option<&'a str>,
    /// The digest of the tool's definition.
    pub tool_digest: Option<Digest>,
    /// Derived intents.
    pub intents: &'a [String],
    /// Labels of the data touched. Those the bundle gives the target are added to them.
    pub labels: &'a [String],
    /// The nodes of the planned route, both ends included; empty means a direct one.
    pub route: &'a [Party<'a>],
    /// Whether this very call has been approved by those whom the policy asks.
    pub approved: bool,
    /// The message itself; absent where only the header may be seen.
    pub body: Option<&'a [u8]>,
}

/// A node as its membership describes it.
#[derive(Debug, Clone, Copy)]
pub struct Party<'a> {
    /// Its identity.
    pub node: NodeId,
    /// Its name.
    pub name: &'a Name,
    /// Its groups.
    pub groups: &'a [Name],
    /// Its site.
    pub site: Option<&'a Name>,
}

/// What a node claims of its state. Self-asserted unless attested.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Posture {
    /// The operating system, as `ID` of os-release names it.
    pub os: String,
    /// The kernel's major, minor and patch number.
    pub kernel: (u16, u16, u16),
    /// Whether it booted with secure boot.
    pub secure_boot: bool,
    /// Whether its state lies on an encrypted disk.
    pub disk_encryption: bool,
    /// Seconds since it booted.
    pub uptime_s: u64,
    /// SHA-256 of the binary it runs.
    pub binary: Option<Digest>,
    /// Hardening in force, each a word; sorted.
    pub hardening: Vec<String>,
    /// Whether somebody else than the node vouches for this.
    pub attested: bool,
    /// Seconds since it was measured.
    pub age_s: u64,
}

/// What a call acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CallKind {
    /// A tool.
    Tool,
    /// A resource: read, subscribed to, or completed.
    Resource,
    /// A prompt: fetched or completed.
    Prompt,
    /// Nothing named: the method itself is what is asked for.
    Method,
}

impl CallKind {
    /// Its name in documents and in Cedar.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Resource => "resource",
            Self::Prompt => "prompt",
            Self::Method => "method",
        }
    }
}

impl<'a> Facts<'a> {
    /// The node of the client.
    #[must_use]
    pub const fn caller(&self) -> Party<'a> {
        match self.direction {
            Direction::ToServer => self.issuer,
            Direction::ToClient => self.audience,
        }
    }

    /// The node of the server.
    #[must_use]
    pub const fn host(&self) -> Party<'a> {
        match self.direction {
            Direction::ToServer => self.audience,
            Direction::ToClient => self.issuer,
        }
    }

    /// What the message, or the request it answers, acts on; `None` for what the protocol itself
    /// needs and no document is about: opening and closing, lists, log levels, notifications.
    #[must_use]
    pub fn call(&self) -> Option<CallKind> {
        if self.kind == Kind::Notification {
            return None;
        }
        // The request went the other way than its response.
        let to_server = (self.direction == Direction::ToServer) == (self.kind == Kind::Request);
        let kind = match self.method {
            "ping" => return None,
            "tools/call" => CallKind::Tool,
            "resources/read" | "resources/subscribe" => CallKind::Resource,
            "prompts/get" => CallKind::Prompt,
            // A prompt's name has no colon in it; a URI always has.
            "completion/complete" if self.target.is_some_and(|t| t.contains(':')) => {
                CallKind::Resource
            }
            "completion/complete" => CallKind::Prompt,
            "initialize"
            | "server/discover"
            | "logging/setLevel"
            | "tools/list"
            | "prompts/list"
            | "resources/list"
            | "resources/templates/list"
            | "resources/unsubscribe"
            | "subscriptions/listen"
                if to_server =>
            {
                return None;
            }
            _ => CallKind::Method,
        };
        Some(kind)
    }
}
