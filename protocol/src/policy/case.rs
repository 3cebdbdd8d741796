//! The facts of one call, as rules look at them.

use core::net::{IpAddr, SocketAddr};

use super::document::{Check, Found, Json};
use super::facts::{CallKind, Facts, Party};
use super::glob::Glob;
use crate::envelope::{Direction, Kind};
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
    /// Checks of arguments that rules at hand ask for, with the names of their failures.
    pub(super) checks: &'a [(String, Check)],
    /// Globs of groups that rules at hand ask for.
    pub(super) group_globs: &'a [Glob],
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
            checks: &[],
            group_globs: &[],
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

    /// Globs of groups, among those that rules at hand ask for, that match a group of the caller.
    pub(super) fn met_group_globs(&self) -> impl Iterator<Item = &'a str> {
        let groups = self.caller.groups;
        let met = move |glob: &&Glob| groups.iter().any(|name| glob.matches(name.as_str()));
        self.group_globs.iter().filter(met).map(Glob::as_str)
    }

    /// The checks that the arguments of a call fail, among those that rules at hand ask for; none
    /// where its body may not be seen.
    pub(super) fn unmet(&self) -> Vec<&'a str> {
        let takes_arguments = matches!(self.kind, CallKind::Tool | CallKind::Prompt);
        let asked = !self.checks.is_empty() && self.facts.kind == Kind::Request && takes_arguments;
        let Some(body) = self.facts.body.filter(|_| asked) else {
            return Vec::new();
        };
        let text = core::str::from_utf8(body).ok();
        let message = text.and_then(|text| Json::read(text).ok());
        let params = match message.as_ref().map(|m| m.member("params")) {
            Some(Found::One(params)) => Some(params.member("arguments")),
            _ => None,
        };
        let fails = |check: &Check| match params {
            Some(Found::One(arguments)) => !check.holds(Some(arguments)),
            Some(Found::None) => !check.holds(None),
            // What cannot be read meets nothing.
            Some(Found::Ambiguous) | None => true,
        };
        let failed = self.checks.iter().filter(|(_, check)| fails(check));
        failed.map(|(token, _)| token.as_str()).collect()
    }
}
