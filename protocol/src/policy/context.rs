//! The facts as Cedar sees them: one request whose context holds everything, and no entities.
//!
//! Only the attributes that the rules at hand name are made; making all would cost more than
//! deciding.

use cedar_policy::{Context, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression};

use super::case::Case;
use super::compile::kernel_number;
use super::facts::{CallKind, Posture};
use crate::envelope::Direction;
use crate::mcp;
use crate::name::Name;
use crate::record::Point;

type Expression = RestrictedExpression;

/// An attribute of the context, and how it is made; `None` leaves it out.
type Attribute = (&'static str, fn(&Case<'_>) -> Option<Expression>);

/// Every attribute of the context. The Cedar schema names the same.
pub(super) const ATTRIBUTES: &[Attribute] = &[
    ("point", |c| Some(text(point(c.facts.point)))),
    ("direction", |c| {
        Some(text(match c.facts.direction {
            Direction::ToServer => "to_server",
            Direction::ToClient => "to_client",
        }))
    }),
    ("kind", |c| Some(text(c.kind.name()))),
    ("method", |c| Some(text(c.facts.method))),
    ("node", |c| Some(text(c.caller.name.as_str()))),
    ("node_id", |c| Some(text(&c.caller.node.to_string()))),
    ("groups", |c| Some(names(c.caller.groups))),
    ("group_globs", |c| Some(set(c.met_group_globs()))),
    ("site", |c| c.caller.site.map(|s| text(s.as_str()))),
    ("agent", |c| Some(text(c.facts.agent.as_str()))),
    ("human", |c| c.facts.human.map(text)),
    ("human_vouched", |c| Some(flag(c.facts.human_vouched))),
    ("address_due", |c| Some(flag(c.address_due()))),
    ("address", |c| {
        let address = c.address()?;
        Some(Expression::new_ip(address.to_string()))
    }),
    ("host", |c| Some(text(c.host.name.as_str()))),
    ("host_id", |c| Some(text(&c.host.node.to_string()))),
    ("host_groups", |c| Some(names(c.host.groups))),
    ("host_site", |c| c.host.site.map(|s| text(s.as_str()))),
    ("server", |c| Some(text(c.server))),
    ("target", |c| Some(text(c.target))),
    ("pinned", |c| Some(flag(c.pinned))),
    ("intents", |c| Some(strings(c.facts.intents.iter()))),
    ("derived", |c| Some(derived(c))),
    ("labels", |c| Some(words(&c.labels))),
    ("posture", |c| c.facts.posture.map(posture)),
    ("week_minute", |c| Some(number(week_minute(c)))),
    ("now", |c| Some(Expression::new_datetime(date_time(c)))),
    ("route_nodes", |c| {
        Some(set(c.route().map(|p| p.name.as_str())))
    }),
    ("route_groups", |c| {
        let groups = c.route().flat_map(|p| p.groups.iter());
        Some(set(groups.map(Name::as_str)))
    }),
    ("approved", |c| Some(flag(c.facts.approved))),
    ("full", |c| Some(flag(c.facts.body.is_some()))),
    ("unmet", |c| Some(words(&c.unmet()))),
];

/// Which attributes rules name: bit n for the nth of [`ATTRIBUTES`], the last bit for who calls and
/// what is called as entities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Needs(u64);

impl Needs {
    /// Everything.
    pub(super) const ALL: Self = Self(u64::MAX);

    const ENTITIES: Self = Self(1 << 63);

    /// What a rule that others wrote may look at; everything, unless all it does with the context is
    /// to name attributes plainly. Text that only looks like it asks for more than is needed.
    pub(super) fn of_raw(cedar: &str) -> Self {
        let all = cedar.split("context").skip(1).map(named);
        all.fold(Self::ENTITIES, |needs, at| {
            needs.and(at.map_or(Self::ALL, |at| Self(1 << at)))
        })
    }

    /// What a rule we wrote names: always as `context.name` or `context has name`.
    pub(super) fn of(cedar: &str) -> Self {
        let all = cedar.split("context").skip(1).filter_map(named);
        all.fold(Self::default(), |needs, at| needs.and(Self(1 << at)))
    }

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether it is among them.
    pub(super) fn names(self, attribute: &str) -> bool {
        let at = ATTRIBUTES.iter().position(|(name, _)| *name == attribute);
        at.is_some_and(|at| self.has(at))
    }

    const fn has(self, at: usize) -> bool {
        self.0 >> at & 1 == 1
    }
}

/// The place of the attribute that is named right after the word `context`.
fn named(rest: &str) -> Option<usize> {
    let rest = rest
        .strip_prefix('.')
        .or_else(|| rest.strip_prefix(" has "))?;
    let ends = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    let name = rest.split(ends).next()?;
    ATTRIBUTES.iter().position(|(n, _)| *n == name)
}

/// The action of a request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asked {
    /// The call itself.
    Call,
    /// What goes with it.
    Apply,
}

/// What never changes between requests.
#[derive(Debug)]
pub(super) struct Names {
    agent: EntityTypeName,
    target: EntityTypeName,
    call: EntityUid,
    apply: EntityUid,
    nobody: EntityUid,
    nothing: EntityUid,
}

impl Names {
    /// `None` only if Cedar refused these very names.
    pub(super) fn new() -> Option<Self> {
        let name = |text: &str| text.parse::<EntityTypeName>().ok();
        let (agent, target, action) = (name("Agent")?, name("Target")?, name("Action")?);
        let uid = |of: &EntityTypeName, id: &str| {
            EntityUid::from_type_name_and_id(of.clone(), EntityId::new(id))
        };
        Some(Self {
            call: uid(&action, "call"),
            apply: uid(&action, "apply"),
            nobody: uid(&agent, ""),
            nothing: uid(&target, ""),
            agent,
            target,
        })
    }

    /// A request with what is needed of the facts.
    pub(super) fn request(&self, case: &Case<'_>, needs: Needs, asked: Asked) -> Option<Request> {
        let pairs = ATTRIBUTES
            .iter()
            .enumerate()
            .filter(|(at, _)| needs.has(*at))
            .filter_map(|(_, (name, make))| Some(((*name).to_owned(), make(case)?)));
        let context = Context::from_pairs(pairs).ok()?;
        let (principal, resource) = if needs.and(Needs::ENTITIES) == needs {
            self.entities(case)
        } else {
            (self.nobody.clone(), self.nothing.clone())
        };
        let action = match asked {
            Asked::Call => self.call.clone(),
            Asked::Apply => self.apply.clone(),
        };
        Request::new(principal, action, resource, context, None).ok()
    }

    /// `Agent::"node/agent"` and `Target::"node/server/target"`, which only raw Cedar looks at.
    fn entities(&self, case: &Case<'_>) -> (EntityUid, EntityUid) {
        let agent = format!("{}/{}", case.caller.name, case.facts.agent);
        let target = format!("{}/{}/{}", case.host.name, case.server, case.target);
        let uid = |of: &EntityTypeName, id: &str| {
            EntityUid::from_type_name_and_id(of.clone(), EntityId::new(id))
        };
        (uid(&self.agent, &agent), uid(&self.target, &target))
    }
}

fn text(value: &str) -> Expression {
    Expression::new_string(value.to_owned())
}

fn flag(value: bool) -> Expression {
    Expression::new_bool(value)
}

fn number(value: impl TryInto<i64>) -> Expression {
    Expression::new_long(value.try_into().unwrap_or(i64::MAX))
}

fn set<'a>(values: impl Iterator<Item = &'a str>) -> Expression {
    Expression::new_set(values.map(text))
}

fn strings<'a>(values: impl Iterator<Item = &'a String>) -> Expression {
    set(values.map(String::as_str))
}

fn words(values: &[&str]) -> Expression {
    set(values.iter().copied())
}

fn names(values: &[Name]) -> Expression {
    set(values.iter().map(Name::as_str))
}

pub(super) const fn point(point: Point) -> &'static str {
    match point {
        Point::Ingress => "ingress",
        Point::Relay => "relay",
        Point::Egress => "egress",
        Point::Link => "link",
    }
}

/// The intents without the tool's own name, unless that is a word with a meaning of its own: a
/// tool named `delete` deletes.
fn derived(case: &Case<'_>) -> Expression {
    let own = match case.kind {
        CallKind::Tool => mcp::own_intent(case.target),
        _ => None,
    };
    let counts = |i: &&String| own.as_ref() != Some(*i) || mcp::word::ALL.contains(&i.as_str());
    strings(case.facts.intents.iter().filter(counts))
}

fn posture(posture: &Posture) -> Expression {
    let mut claims = vec![
        ("os", text(&posture.os)),
        ("kernel", number(kernel_number(posture.kernel))),
        ("secure_boot", flag(posture.secure_boot)),
        ("disk_encryption", flag(posture.disk_encryption)),
        ("uptime_s", number(posture.uptime_s)),
        ("hardening", strings(posture.hardening.iter())),
        ("attested", flag(posture.attested)),
        ("age_s", number(posture.age_s)),
    ];
    if let Some(binary) = &posture.binary {
        claims.push(("binary", text(&hex::encode(binary.as_bytes()))));
    }
    let claims = claims
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value));
    // Cannot fail: no key is there twice.
    Expression::new_record(claims).unwrap_or_else(|_| flag(false))
}

const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 86_400_000;

/// Minutes since Monday 00:00 UTC.
fn week_minute(case: &Case<'_>) -> u64 {
    // 1 January 1970 was a Thursday.
    let minutes = case.facts.now.0 / MINUTE_MS + 3 * 24 * 60;
    minutes % u64::from(super::document::WEEK)
}

/// The time as Cedar reads it, `2026-11-22T19:30:00.000Z`.
fn date_time(case: &Case<'_>) -> String {
    // Cedar knows the years to 9999; later is as good as then.
    let now = case.facts.now.0.min(253_402_300_799_999);
    let (days, ms) = (now / DAY_MS, now % DAY_MS);
    // Days to a date in the Gregorian calendar, by eras of 400 years that begin on 1 March.
    let z = days + 719_468;
    let (era, of_era) = (z / 146_097, z % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year + era * 400 + u64::from(month <= 2);
    let (seconds, ms) = (ms / 1000, ms % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(needs: Needs) -> Vec<&'static str> {
        let named = ATTRIBUTES.iter().enumerate();
        let named = named.filter(|(at, _)| needs.has(*at));
        named.map(|(_, (name, _))| *name).collect()
    }

    #[test]
    fn what_raw_cedar_names_is_made_and_all_where_that_is_not_plain() {
        for (cedar, expected) in [
            ("permit (principal, action, resource);", &[][..]),
            ("when { context.groups.contains(\"staff\") }", &["groups"]),
            (
                "when { context has posture.binary && context.posture.binary == context.node }",
                &["node", "posture"],
            ),
            // More than needed does no harm.
            (
                "when { context.node == \"context.site\" }",
                &["node", "site"],
            ),
        ] {
            let needs = Needs::of_raw(cedar);
            assert_eq!(attributes(needs), expected, "{cedar}");
            assert_eq!(needs.and(Needs::ENTITIES), needs);
        }
        for cedar in [
            "when { context[\"site\"] == \"x\" }",
            "when { context has \"site\" && context.node == \"x\" }",
            "when { context\n.node == \"x\" }",
            "when { context /* */ . node == \"x\" }",
            "when { [context].contains(context) }",
            "when { (context).node == \"x\" }",
            "when { context  has site }",
            "when { context",
        ] {
            assert_eq!(Needs::of_raw(cedar), Needs::ALL, "{cedar}");
        }
    }
}
