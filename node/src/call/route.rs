//! Which way a call takes.
//!
//! Over the link with the target where there is one, or where its addresses answer; otherwise over
//! the relays its signed record names, and over theirs, as far as [`MAX_ROUTE_HOPS`] nodes in all.
//! Waypoints that policy demands stand strictly between the ends. Who is on the way is signed in
//! the header, so a relay cannot choose another. Nothing is dialed here.

use std::sync::Arc;

use protocol::id::NodeId;
use protocol::limits::MAX_ROUTE_HOPS;
use protocol::name::Name;
use protocol::time::UnixSeconds;

use super::outgoing::Dialer;
use crate::enforcement::Enforcer;
use crate::members::Member;
use crate::session::{ErrorKind, ServerRef, SessionError};

/// Most routes tried for one call.
pub const MAX_ROUTES: usize = 4;

/// Somebody a call must pass on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waypoint {
    /// Any node of this group.
    Group(Name),
    /// This node.
    Node(Name),
}

impl Waypoint {
    fn is(&self, member: &Member) -> bool {
        match self {
            Self::Group(group) => member.membership.groups.contains(group),
            Self::Node(name) => member.membership.name == *name,
        }
    }
}

/// What policy is asked about the way of a call.
#[derive(Debug, Clone, Copy)]
pub struct RouteQuestion<'a> {
    /// On whose behalf.
    pub agent: &'a Name,
    /// With which server, on which node.
    pub server: &'a ServerRef,
    /// The method.
    pub method: &'a str,
    /// Tool, prompt or resource.
    pub target: Option<&'a str>,
}

/// Says whom calls must pass.
pub trait RoutePolicy: Send + Sync {
    /// The waypoints of this call, in the order in which they are passed; an end that is one counts
    /// as passed.
    fn waypoints(&self, question: &RouteQuestion<'_>) -> Vec<Waypoint>;
}

/// No policy demands any.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoWaypoints;

impl RoutePolicy for NoWaypoints {
    fn waypoints(&self, _: &RouteQuestion<'_>) -> Vec<Waypoint> {
        Vec::new()
    }
}

/// Plans routes from what the directory knows and which links there are.
pub struct Router {
    enforcer: Arc<Enforcer>,
    dialer: Arc<dyn Dialer>,
    policy: Arc<dyn RoutePolicy>,
}

impl Router {
    /// A router that heeds `policy`.
    #[must_use]
    pub fn new(
        enforcer: Arc<Enforcer>,
        dialer: Arc<dyn Dialer>,
        policy: Arc<dyn RoutePolicy>,
    ) -> Self {
        Self {
            enforcer,
            dialer,
            policy,
        }
    }

    /// The routes to try, the best first; each begins with this node and ends with the target.
    ///
    /// # Errors
    /// `no_waypoint` if nobody on hand is what policy demands.
    pub fn routes(&self, question: &RouteQuestion<'_>) -> Result<Vec<Vec<NodeId>>, SessionError> {
        let (me, target) = (self.me(), question.server.node_id);
        let mut demanded = self.policy.waypoints(question);
        let now = self.now();
        for end in [me, target] {
            if let Some(member) = self.enforcer.members().member(&end) {
                demanded.retain(|waypoint| !waypoint.is(&member));
            }
        }
        let mut routes = Vec::new();
        if demanded.is_empty() {
            if target == me {
                return Ok(vec![vec![me]]);
            }
            if self.dialer.reachable(&target) {
                routes.push(vec![me, target]);
            }
            self.relayed(target, now, &mut routes);
            // Where nothing else is known the link is waited for, and its absence told.
            if routes.is_empty() {
                routes.push(vec![me, target]);
            }
        } else {
            self.over(&demanded, target, now, &mut routes);
            if routes.is_empty() {
                let text = "policy demands a waypoint, and no such node has a link with this one";
                return Err(
                    SessionError::new(ErrorKind::Unreachable, "no_waypoint", text)
                        .with_hint("see `hedgerow peers`"),
                );
            }
        }
        routes.truncate(MAX_ROUTES);
        Ok(routes)
    }

    /// The relays over which a call to `target` would go now, where there is no link with it.
    #[must_use]
    pub fn relays_to(&self, target: &NodeId) -> Option<Vec<NodeId>> {
        if self.dialer.reachable(target) {
            return None;
        }
        let mut routes = Vec::new();
        self.relayed(*target, self.now(), &mut routes);
        let route = routes.into_iter().next()?;
        let between = route.get(1..route.len().saturating_sub(1))?;
        Some(between.to_vec())
    }

    fn me(&self) -> NodeId {
        self.enforcer.identity().node()
    }

    fn now(&self) -> UnixSeconds {
        self.enforcer.clock().now().seconds()
    }

    /// Over the relays that the target names, and those that they name.
    fn relayed(&self, target: NodeId, now: UnixSeconds, routes: &mut Vec<Vec<NodeId>>) {
        let me = self.me();
        let named = self.relays_of(target, now);
        for relay in &named {
            if self.dialer.linked(relay) {
                routes.push(vec![me, *relay, target]);
            }
        }
        let own = self.relays_of(me, now);
        for last in &named {
            let before = self.relays_of(*last, now);
            for first in before.iter().chain(&own) {
                let route = vec![me, *first, *last, target];
                if first != last && self.dialer.linked(first) && !routes.contains(&route) {
                    routes.push(route);
                }
            }
        }
        routes.retain(|route| !repeats(route));
    }

    /// Over every waypoint demanded, and a relay the target names if there is room for one.
    fn over(
        &self,
        demanded: &[Waypoint],
        target: NodeId,
        now: UnixSeconds,
        routes: &mut Vec<Vec<NodeId>>,
    ) {
        let me = self.me();
        let mut ways = vec![vec![me]];
        for waypoint in demanded {
            let passing = self.passing(waypoint, now);
            ways = ways
                .iter()
                .flat_map(|way| {
                    passing
                        .iter()
                        .map(move |node| [way.as_slice(), &[*node]].concat())
                })
                .filter(|way| way.get(1).is_some_and(|first| self.dialer.linked(first)))
                .take(MAX_ROUTES)
                .collect();
        }
        let tails = core::iter::once(vec![target]).chain(
            self.relays_of(target, now)
                .into_iter()
                .map(|relay| vec![relay, target]),
        );
        for tail in tails {
            routes.extend(ways.iter().map(|way| [way.as_slice(), &tail].concat()));
        }
        routes.retain(|route| route.len() <= MAX_ROUTE_HOPS && !repeats(route));
    }

    fn passing(&self, waypoint: &Waypoint, now: UnixSeconds) -> Vec<NodeId> {
        let all = self.enforcer.members().all().into_iter();
        let fit = all.filter(|m| waypoint.is(m) && self.may_carry(m, now));
        fit.map(|m| m.membership.node()).collect()
    }

    fn relays_of(&self, node: NodeId, now: UnixSeconds) -> Vec<NodeId> {
        let member = self.enforcer.members().member(&node);
        let record = member.and_then(|m| m.record.clone());
        let named = record.map(|r| r.relays.clone()).unwrap_or_default();
        let known = |relay: &NodeId| {
            let member = self.enforcer.members().member(relay);
            member.is_some_and(|m| self.may_carry(&m, now))
        };
        named.into_iter().filter(known).collect()
    }

    fn may_carry(&self, member: &Member, now: UnixSeconds) -> bool {
        member.membership.valid_at(now).is_ok()
            && self.enforcer.standing().member(&member.membership).is_ok()
    }
}

fn repeats(route: &[NodeId]) -> bool {
    let mut nodes = route.iter();
    core::iter::from_fn(|| nodes.next().map(|n| nodes.as_slice().contains(n))).any(|again| again)
}
