//! The facts of one call, as rules look at them.

use core::net::{IpAddr, SocketAddr};

use super::facts::{CallKind, Facts, Party};
use crate::envelope::Direction;
use crate::record::Point;

/// One call, with what follows from the facts and the bundle together.
#[derive(Debug)]
pub(super) struct Case<'a> {
    pub(super) facts: &'a Facts<'a>,
    pub(super) kind: CallKind,
    pub(super) caller: Party<'a>,
    pub(super) host: Party<'a>,
    pub(super) server: &'a str,
    /// Empty where there is none.
    pub(super) target: &'a str,
    /// Whether the tool's definition is one the bundle pins.
    pub(super) pinned: bool,
    /// Labels of the header and of the bundle; sorted.
    pub(super) labels: Vec<&'a str>,
    /// Checks of arguments, among those that rules at hand ask for, that the arguments fail.
    pub(super) unmet: Vec<&'a str>,
    /// Globs of groups, among those that rules at hand ask for, that match a group of the caller.
    pub(super) group_globs: Vec<&'a str>,
}

impl<'a> Case<'a> {
    pub(super) fn new(
        facts: &'a Facts<'a>,
        kind: CallKind,
        pinned: bool,
        mut labels: Vec<&'a str>,
    ) -> Self {
        labels.extend(facts.labels.iter().map(String::as_str));
        labels.sort_unstable();
        labels.dedup();
        Self {
            facts,
            kind,
            caller: facts.caller(),
            host: facts.host(),
            server: facts.server.as_str(),
            target: facts.target.unwrap_or_default(),
            pinned,
            labels,
            unmet: Vec::new(),
            group_globs: Vec::new(),
        }
    }

    /// The caller's address, without its port; `None` if it is unknown.
    pub(super) fn address(&self) -> Option<IpAddr> {
        if self.facts.direction == Direction::ToClient {
            return None;
        }
        let text = self.facts.observed_address?;
        let socket = text.parse::<SocketAddr>().map(|socket| socket.ip());
        let address = socket.or_else(|_| text.parse()).ok();
        // `::ffff:10.0.0.1` is how a dual-stack socket shows 10.0.0.1.
        address.map(|a| a.to_canonical())
    }

    /// Whether the caller's address must be known here: not where the call starts, and not on a
    /// way on which the caller is the far end.
    pub(super) fn address_due(&self) -> bool {
        self.facts.point != Point::Ingress && self.facts.direction == Direction::ToServer
    }

    /// The nodes of the planned route.
    pub(super) fn route(&self) -> impl Iterator<Item = Party<'a>> + use<'a> {
        let ends = [self.caller, self.host];
        let planned = self.facts.route;
        let ends = ends.into_iter().filter(move |_| planned.is_empty());
        planned.iter().copied().chain(ends)
    }
}
