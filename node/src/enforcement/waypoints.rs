//! Whom the way of a call must pass, by the policies in force, asked before a route is planned.
//!
//! This decides nothing: whether the route that was taken holds them is one of the things every
//! point decides by the signed header.

use protocol::envelope::{Direction, Kind};
use protocol::name::Name;
use protocol::policy::{Facts, Waypoint};
use protocol::record::Point;

use super::Enforcer;
use super::policies::party;
use crate::session::ServerRef;

/// The request of a server that stands for all it may ask of its client outside of calls.
const ASKED_OF_CLIENTS: &str = "sampling/createMessage";

/// What policy is asked about the way of a call.
#[derive(Debug, Clone, Copy)]
pub struct RouteQuestion<'a> {
    /// On whose behalf.
    pub agent: &'a Name,
    /// For which human.
    pub human: Option<&'a str>,
    /// With which server, on which node.
    pub server: &'a ServerRef,
    /// The method.
    pub method: &'a str,
    /// Tool, prompt or resource.
    pub target: Option<&'a str>,
}

impl RouteQuestion<'_> {
    /// Whether it opens a session. No policy is about that, but requests of the server come back
    /// over the same stream.
    #[must_use]
    pub fn opens(&self) -> bool {
        self.method == "initialize"
    }
}

impl Enforcer {
    /// The waypoints that policy wants on the way of a call; none where an end is no member.
    #[must_use]
    pub fn waypoints(&self, question: &RouteQuestion<'_>) -> Vec<Waypoint> {
        let now = self.clock.now();
        let host = self.members.valid(&question.server.node_id, now.seconds());
        let Some(host) = host else {
            return Vec::new();
        };
        let own = self.identity.membership();
        let (caller, host) = (party(own.facts()), party(&host.membership));
        let (issuer, audience, direction, method) = if question.opens() {
            (host, caller, Direction::ToClient, ASKED_OF_CLIENTS)
        } else {
            (caller, host, Direction::ToServer, question.method)
        };
        self.policy().waypoints(&Facts {
            point: Point::Ingress,
            now,
            issuer,
            audience,
            agent: question.agent,
            human: question.human,
            human_vouched: false,
            observed_address: None,
            posture: None,
            kind: Kind::Request,
            direction,
            server: &question.server.server,
            method,
            target: question.target,
            tool_digest: None,
            intents: &[],
            labels: &[],
            route: &[],
            approved: false,
            body: None,
        })
    }
}
