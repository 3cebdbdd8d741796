//! Which way a call takes.
//!
//! Over the link with the target where there is one, or where its addresses answer; otherwise over
//! the relays its signed record names, and over theirs, as far as [`MAX_ROUTE_HOPS`] nodes in all.
//! Waypoints that policy demands stand strictly between the ends, and where they cannot, nothing is
//! sent. Who is on the way is signed in the header, so a relay cannot choose another. Nothing is
//! dialed here.

use std::sync::Arc;

use protocol::id::NodeId;
use protocol::limits::MAX_ROUTE_HOPS;
use protocol::policy::document::Via;
use protocol::policy::{Action, Denial, Verdict, Waypoint};
use protocol::time::UnixSeconds;

use super::outgoing::Dialer;
use crate::enforcement::{Enforcer, RouteQuestion, Stopped};
use crate::members::Member;

/// Most routes tried for one call.
pub const MAX_ROUTES: usize = 4;

/// Most nodes that are considered as the first waypoint of a route, those with a link first. Only a
/// few are tried, and a group may have thousands.
const MAX_FIRST_WAYPOINTS: usize = 64;

/// The refusal of a call for which no route passes whom policy demands.
pub const NO_WAYPOINT: &str = "no_waypoint";

/// Most waypoints that a refusal names.
const MAX_NAMED_WAYPOINTS: usize = 4;

/// A node that is some waypoint demanded, and the others, which it is not.
struct Passing<'a> {
    node: NodeId,
    linked: bool,
    without: Vec<&'a Via>,
}

/// Plans routes from what the directory knows and which links there are.
pub struct Router {
    enforcer: Arc<Enforcer>,
    dialer: Arc<dyn Dialer>,
}

impl Router {
    /// A router that asks `enforcer` for the waypoints policy demands, and `dialer` who can be
    /// reached.
    #[must_use]
    pub const fn new(enforcer: Arc<Enforcer>, dialer: Arc<dyn Dialer>) -> Self {
        Self { enforcer, dialer }
    }

    /// The routes to try, the best first; each begins with this node and ends with the target.
    ///
    /// A document that would only raise an alert, or ask for an approval, is heeded where it can be;
    /// otherwise its action is taken where the call is decided. The same holds for a session that
    /// opens.
    ///
    /// # Errors
    /// The waypoints that policy demands, if no route passes all of them ([`no_waypoint`]).
    pub fn routes(&self, question: &RouteQuestion<'_>) -> Result<Vec<Vec<NodeId>>, Vec<Waypoint>> {
        let target = question.server.node_id;
        let wanted = self.enforcer.waypoints(question);
        if wanted.is_empty() {
            return Ok(self.free(target));
        }
        let outside = self.outside(&wanted, target);
        if outside.is_empty() {
            return Ok(self.free(target));
        }
        let demanded: Vec<&Waypoint> = outside
            .iter()
            .copied()
            .filter(|w| w.action >= Action::Block && !question.opens())
            .collect();
        let mut routes = self.over(&outside, target);
        if routes.is_empty() && demanded.is_empty() {
            return Ok(self.free(target));
        }
        if routes.is_empty() && demanded.len() < outside.len() {
            routes = self.over(&demanded, target);
        }
        if routes.is_empty() {
            return Err(demanded.into_iter().cloned().collect());
        }
        Ok(routes)
    }

    /// The relays over which a call to `target` would go now, where there is no link with it.
    #[must_use]
    pub fn relays_to(&self, target: &NodeId) -> Option<Vec<NodeId>> {
        if self.dialer.reachable(target) {
            return None;
        }
        let route = self.relayed_routes(*target).into_iter().next()?;
        let between = route.get(1..route.len().saturating_sub(1))?;
        Some(between.to_vec())
    }

    /// The routes over relays to `target`, the best first; each begins with this node and ends with
    /// the target.
    #[must_use]
    pub fn relayed_routes(&self, target: NodeId) -> Vec<Vec<NodeId>> {
        let mut routes = Vec::new();
        self.relayed(target, self.now(), &mut routes);
        routes.truncate(MAX_ROUTES);
        routes
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

    /// The routes of a call that may take any, the best first.
    fn free(&self, target: NodeId) -> Vec<Vec<NodeId>> {
        let me = self.me();
        if target == me {
            return vec![vec![me]];
        }
        let mut routes = Vec::new();
        if self.dialer.reachable(&target) {
            routes.push(vec![me, target]);
        }
        self.relayed(target, self.now(), &mut routes);
        // Where nothing else is known the link is waited for, and its absence told.
        if routes.is_empty() {
            routes.push(vec![me, target]);
        }
        routes.truncate(MAX_ROUTES);
        routes
    }

    /// The waypoints that neither end is.
    fn outside<'w>(&self, wanted: &'w [Waypoint], target: NodeId) -> Vec<&'w Waypoint> {
        let ends = [self.me(), target].map(|end| self.enforcer.members().member(&end));
        let is_end = |w: &Waypoint| ends.iter().flatten().any(|end| is(end, &w.via));
        wanted.iter().filter(|w| !is_end(w)).collect()
    }

    /// The routes over every waypoint demanded, with a relay that this node, a waypoint or the
    /// target names where there is room for one; those with a link to their first node come first.
    fn over(&self, demanded: &[&Waypoint], target: NodeId) -> Vec<Vec<NodeId>> {
        let (me, now) = (self.me(), self.now());
        let passing = self.passing(demanded, target, now);
        let reached = |node: &NodeId| self.dialer.reachable(node);
        let mut routes: Vec<Vec<NodeId>> = Vec::new();
        let (alone, partly): (Vec<_>, Vec<_>) = passing.iter().partition(|p| p.without.is_empty());
        let named = self.relays_of(target, now);
        let own = self.relays_of(me, now);
        for waypoint in alone.iter().take(MAX_FIRST_WAYPOINTS) {
            let node = waypoint.node;
            if reached(&node) {
                routes.push(vec![me, node, target]);
                routes.extend(named.iter().map(|relay| vec![me, node, *relay, target]));
            }
            let theirs = self.relays_of(node, now);
            let first = own.iter().chain(&theirs).filter(|relay| reached(relay));
            routes.extend(first.map(|relay| vec![me, *relay, node, target]));
        }
        let firsts = partly.iter().take(MAX_FIRST_WAYPOINTS);
        for first in firsts.filter(|p| reached(&p.node)) {
            let completes = |second: &&&Passing<'_>| {
                let mut rest = first.without.iter();
                !rest.any(|via| second.without.contains(via))
            };
            let seconds = partly.iter().filter(completes).take(MAX_ROUTES);
            routes.extend(seconds.map(|second| vec![me, first.node, second.node, target]));
        }
        routes.retain(|route| route.len() <= MAX_ROUTE_HOPS && !repeats(route));
        routes.truncate(MAX_ROUTES);
        routes
    }

    /// The nodes that are one of the waypoints demanded, those with a link first.
    fn passing<'w>(
        &self,
        demanded: &[&'w Waypoint],
        target: NodeId,
        now: UnixSeconds,
    ) -> Vec<Passing<'w>> {
        let ends = [self.me(), target];
        let all = self.enforcer.members().all().into_iter();
        let mut passing: Vec<Passing<'w>> = all
            .filter_map(|member| {
                let node = member.membership.node();
                let without = demanded.iter().map(|w| &w.via);
                let without: Vec<&Via> = without.filter(|via| !is(&member, via)).collect();
                let helps = without.len() < demanded.len() && !ends.contains(&node);
                (helps && self.may_carry(&member, now)).then(|| Passing {
                    linked: self.dialer.linked(&node),
                    node,
                    without,
                })
            })
            .collect();
        // The directory is in the order of ids, and so is the rest of this.
        passing.sort_by_key(|p| !p.linked);
        passing
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

/// Whether a member is this waypoint.
fn is(member: &Member, via: &Via) -> bool {
    match via {
        Via::Group(group) => member.membership.groups.contains(group),
        Via::Node(name) => member.membership.name == *name,
    }
}

/// Why a call without these waypoints is not sent; the first policy answers for it.
#[must_use]
pub fn no_waypoint(demanded: &[Waypoint]) -> Stopped {
    let wants = demanded.iter().take(MAX_NAMED_WAYPOINTS).map(|waypoint| {
        let (policy, via) = (&waypoint.policy, &waypoint.via);
        format!("policy `{policy}` wants calls to pass `{via}`")
    });
    let wants = wants.collect::<Vec<_>>().join(" and ");
    let (message, hint) = if demanded.len() > 1 {
        (
            format!(
                "{wants}: no route of at most {MAX_ROUTE_HOPS} nodes, the two ends among them, \
                 passes them all"
            ),
            "at most two nodes stand between the ends: let one node be several of these waypoints, \
             or want fewer; each must relay (`[relay] accept`) and be linked: see `hedgerow peers`",
        )
    } else {
        (
            format!("{wants}, and no such node can be reached"),
            "a node of these must relay (`[relay] accept`) and be linked: see `hedgerow peers`",
        )
    };
    Stopped {
        verdict: Verdict::Deny(Denial {
            reason: NO_WAYPOINT.to_owned(),
            message,
            policy: demanded.first().map(|waypoint| waypoint.policy.to_string()),
            hint: Some(hint.to_owned()),
        }),
        by_policy: true,
    }
}

fn repeats(route: &[NodeId]) -> bool {
    let mut nodes = route.iter();
    core::iter::from_fn(|| nodes.next().map(|n| nodes.as_slice().contains(n))).any(|again| again)
}
