//! The tests a document carries: a call, and what the whole bundle is expected to say of it.

use super::Json;
use core::net::{IpAddr, SocketAddr};

use super::conditions::{digest, kernel};
use super::scope::word;
use super::{At, Fields, Shape, Sink, Via};
use crate::name::Name;
use crate::policy::error::{Checked, PolicyError, Problem, shown};
use crate::policy::facts::{CallKind, Posture};
use crate::record::Point;
use crate::time::UnixMillis;

/// Most tests of one document.
pub const MAX_TRIALS: usize = 64;

/// When a test's call is made unless it says: Monday, 5 January 2026, 12:00 UTC.
pub const TRIAL_TIME: UnixMillis = UnixMillis(1_767_614_400_000);

/// The keys of a test.
pub(super) const TRIAL: Shape = Shape {
    place: "/tests/*",
    keys: &["name", "call", "expect", "by"],
};

/// The keys of a test's call.
pub(super) const CALL: Shape = Shape {
    place: "/tests/*/call",
    keys: &[
        "agent",
        "node",
        "groups",
        "site",
        "human",
        "human_vouched",
        "host",
        "host_groups",
        "server",
        "tool",
        "resource",
        "prompt",
        "method",
        "arguments",
        "intents",
        "labels",
        "address",
        "posture",
        "time",
        "via",
        "pinned",
        "approved",
        "at",
    ],
};

/// The keys of a test's posture.
pub(super) const POSTURE: Shape = Shape {
    place: "/tests/*/call/posture",
    keys: &[
        "os",
        "kernel",
        "secure_boot",
        "disk_encryption",
        "uptime_s",
        "binary",
        "hardening",
        "attested",
        "age_s",
    ],
};

const EXPECTED: &[&str] = &["allow", "hold", "deny", "sever"];

const POINTS: &[&str] = &["ingress", "relay", "egress"];

/// A test.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// Its name, unique in the document.
    pub name: String,
    /// The call.
    pub call: TrialCall,
    /// The name of the verdict.
    pub expect: &'static str,
    /// The document that must have decided.
    pub by: Option<String>,
}

/// The call of a test.
#[derive(Debug, Clone, PartialEq)]
pub struct TrialCall {
    /// The agent.
    pub agent: Name,
    /// Its node.
    pub node: Name,
    /// The node's groups.
    pub groups: Vec<Name>,
    /// The node's site.
    pub site: Option<Name>,
    /// The human it asserts.
    pub human: Option<String>,
    /// Whether the node may vouch for humans; what the documents say if absent.
    pub human_vouched: Option<bool>,
    /// The server's node.
    pub host: Name,
    /// That node's groups.
    pub host_groups: Vec<Name>,
    /// The server.
    pub server: Name,
    /// What it acts on.
    pub kind: CallKind,
    /// The method.
    pub method: String,
    /// Tool, resource or prompt.
    pub target: Option<String>,
    /// Arguments, as a JSON object.
    pub arguments: Option<String>,
    /// Intents beside those derived from the name.
    pub intents: Vec<String>,
    /// Labels of the data.
    pub labels: Vec<String>,
    /// The address of the node as the next hop sees it.
    pub address: Option<String>,
    /// The node's posture.
    pub posture: Option<Posture>,
    /// When.
    pub time: UnixMillis,
    /// A waypoint on its route.
    pub via: Option<Via>,
    /// Whether the tool's definition is an approved one.
    pub pinned: bool,
    /// Whether it has been approved.
    pub approved: bool,
    /// Where it is decided on.
    pub point: Point,
}

/// Reads the tests of a document.
pub(super) fn read(sink: &mut Sink, at: &At<'_>) -> Option<Vec<Trial>> {
    let items = at.list(sink)?;
    if items.len() > MAX_TRIALS {
        let (count, max) = (items.len(), MAX_TRIALS);
        sink.refuse(&at.path, Problem::TooMany { count, max });
        return None;
    }
    let mut trials: Vec<Trial> = Vec::with_capacity(items.len());
    for item in items {
        let Some(trial) = Trial::read(sink, &item) else {
            continue;
        };
        if trials.iter().any(|t| t.name == trial.name) {
            let name = shown(&trial.name);
            sink.refuse(&item.path, Problem::DuplicateEntry(name));
        }
        trials.push(trial);
    }
    Some(trials)
}

impl Trial {
    fn read(sink: &mut Sink, at: &At<'_>) -> Option<Self> {
        let fields = at.fields(sink, &TRIAL)?;
        let name = fields.need(sink, "name").and_then(|at| at.text(sink));
        let call = fields
            .need(sink, "call")
            .and_then(|at| TrialCall::read(sink, at));
        let expect = fields.need(sink, "expect");
        let expect = expect.and_then(|at| at.one_of(sink, EXPECTED, EXPECTED));
        let by = fields.at("by").and_then(|at| at.text(sink));
        Some(Self {
            name: name?.to_owned(),
            call: call?,
            expect: expect?,
            by: by.map(str::to_owned),
        })
    }
}

impl TrialCall {
    /// Reads a call in the form of a test's, given by itself; `source` names it in errors.
    ///
    /// # Errors
    /// Everything wrong with it.
    pub fn parse(source: &str, bytes: &[u8]) -> Result<Self, Vec<PolicyError>> {
        let mut sink = Sink::new(source);
        let parsed = super::parse_json(bytes);
        let call = match sink.note("", parsed) {
            Some(json) => Self::read(&mut sink, &At::root(&json)),
            None => None,
        };
        match call {
            Some(call) if sink.is_clean() => Ok(call),
            _ => Err(sink.into_errors()),
        }
    }

    fn read(sink: &mut Sink, at: &At<'_>) -> Option<Self> {
        let fields = at.fields(sink, &CALL)?;
        let (kind, method, target) = acts_on(sink, &fields)?;
        let mut named = |key, otherwise: &str| match fields.at(key) {
            Some(at) => {
                let text = at.text(sink)?;
                sink.note(&at.path, name(text))
            }
            None => otherwise.parse().ok(),
        };
        let (agent, node) = (named("agent", "agent"), named("node", "caller"));
        let (host, server) = (named("host", "host"), named("server", "server"));
        let site = fields.at("site").and_then(|_| named("site", ""));
        let mut groups = |key| fields.at(key).and_then(|at| at.texts(sink, name));
        let (groups, host_groups) = (groups("groups"), groups("host_groups"));
        let human = fields.at("human").and_then(|at| at.text(sink));
        let address = fields.at("address").and_then(|at| {
            let text = at.text(sink)?;
            sink.note(&at.path, address(text))
        });
        let mut list = |key| fields.at(key).and_then(|at| at.texts(sink, word));
        let (intents, labels) = (list("intents"), list("labels"));
        let mut flag = |key| fields.at(key).and_then(|at| at.flag(sink));
        let (pinned, approved) = (flag("pinned"), flag("approved"));
        let human_vouched = flag("human_vouched");
        let arguments = fields.at("arguments").and_then(|at| {
            // Keys named twice within are refused as the mesh refuses such a call.
            let members = at.members(sink)?;
            let unique = members.iter().map(|(_, value)| value.unique(sink));
            let unique: Vec<_> = unique.collect();
            unique
                .iter()
                .all(|unique| *unique)
                .then(|| at.json.to_text())
        });
        let time = fields.at("time").map_or(Some(TRIAL_TIME), |at| {
            let text = at.text(sink)?;
            sink.note(&at.path, date_time(text))
        });
        let point = fields.at("at").map_or(Some(Point::Egress), |at| {
            at.one_of(sink, POINTS, &[Point::Ingress, Point::Relay, Point::Egress])
        });
        let posture = fields.at("posture").and_then(|at| posture(sink, at));
        Some(Self {
            agent: agent?,
            node: node?,
            groups: groups.unwrap_or_default(),
            site,
            human: human.map(str::to_owned),
            human_vouched,
            host: host?,
            host_groups: host_groups.unwrap_or_default(),
            server: server?,
            kind,
            method,
            target,
            arguments,
            intents: intents.unwrap_or_default(),
            labels: labels.unwrap_or_default(),
            address,
            posture,
            time: time?,
            via: fields.at("via").and_then(|at| Via::read(sink, at)),
            pinned: pinned.unwrap_or(true),
            approved: approved.unwrap_or(false),
            point: point?,
        })
    }
}

fn acts_on(sink: &mut Sink, fields: &Fields<'_>) -> Option<(CallKind, String, Option<String>)> {
    let keys = [
        ("tool", CallKind::Tool, "tools/call"),
        ("resource", CallKind::Resource, "resources/read"),
        ("prompt", CallKind::Prompt, "prompts/get"),
        ("method", CallKind::Method, ""),
    ];
    let mut named = keys.iter().filter(|(key, ..)| fields.at(key).is_some());
    let (Some((key, kind, method)), None) = (named.next(), named.next()) else {
        let why = "a call has one of `tool`, `resource`, `prompt` and `method`";
        sink.refuse(&fields.path, Problem::Conflict(why));
        return None;
    };
    let text = fields.at(key)?.text(sink)?.to_owned();
    Some(match kind {
        CallKind::Method => (*kind, text, None),
        _ => (*kind, (*method).to_owned(), Some(text)),
    })
}

fn name(text: &str) -> Checked<Name> {
    text.parse().map_err(|_| Problem::Form {
        given: shown(text),
        expected: "a name of 1 to 32 of a-z, 0-9 and single `-`",
    })
}

fn posture(sink: &mut Sink, at: &At<'_>) -> Option<Posture> {
    let fields = at.fields(sink, &POSTURE)?;
    let os = fields.at("os").and_then(|at| at.text(sink));
    let kernel = fields.at("kernel").and_then(|at| {
        let text = at.text(sink)?;
        sink.note(&at.path, kernel(text))
    });
    let binary = fields.at("binary").and_then(|at| {
        let text = at.text(sink)?;
        sink.note(&at.path, digest(text))
    });
    let mut flag = |key| fields.at(key).and_then(|at| at.flag(sink)).unwrap_or(false);
    let (secure_boot, disk_encryption) = (flag("secure_boot"), flag("disk_encryption"));
    let attested = flag("attested");
    let mut seconds = |key| {
        let found = fields.at(key);
        found.and_then(|at| at.number(sink, 0, u64::from(u32::MAX)))
    };
    let (uptime_s, age_s) = (seconds("uptime_s"), seconds("age_s"));
    let hardening = fields.at("hardening").and_then(|at| at.texts(sink, word));
    Some(Posture {
        os: os.unwrap_or_default().to_owned(),
        kernel: kernel.unwrap_or_default(),
        secure_boot,
        disk_encryption,
        uptime_s: uptime_s.unwrap_or(0),
        binary,
        hardening: hardening.unwrap_or_default(),
        attested,
        age_s: age_s.unwrap_or(0),
    })
}

/// An address as facts have it: one that is none would count as unknown.
fn address(text: &str) -> Checked<String> {
    let is_one = text.parse::<IpAddr>().is_ok() || text.parse::<SocketAddr>().is_ok();
    is_one
        .then(|| text.to_owned())
        .ok_or_else(|| Problem::Form {
            given: shown(text),
            expected: "an IP address as `10.20.3.4`, with or without a port",
        })
}

/// Reads `2026-11-22T19:30:00Z`.
fn date_time(text: &str) -> Checked<UnixMillis> {
    read_date_time(text).ok_or_else(|| Problem::Form {
        given: shown(text),
        expected: "a time in UTC as `2026-11-22T19:30:00Z`",
    })
}

fn read_date_time(text: &str) -> Option<UnixMillis> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let numbers = |text: &str, by: char, widths: [usize; 3]| {
        let mut out = [0_u64; 3];
        let mut parts = text.split(by);
        for (to, width) in out.iter_mut().zip(widths) {
            let part = parts.next()?;
            let plain = part.len() == width && part.bytes().all(|b| b.is_ascii_digit());
            *to = part.parse().ok().filter(|_| plain)?;
        }
        parts.next().is_none().then_some(out)
    };
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let valid = year >= 1970 && (1..=12).contains(&month) && (1..=last).contains(&day);
    if !valid || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Years that begin on 1 March, so that the leap day is the last.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * year + year / 4 - year / 100 + year / 400;
    let days = days + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(UnixMillis(
        ((days * 24 + hour) * 60 + minute) * 60_000 + second * 1000,
    ))
}

impl Json {
    /// Its JSON text.
    pub(crate) fn to_text(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Number(number) => number.as_str().to_owned(),
            Self::Text(text) => crate::mcp::quote(text),
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(Self::to_text).collect();
                format!("[{}]", items.join(","))
            }
            Self::Object(members) => {
                let member = |(key, value): &(String, Self)| {
                    format!("{}:{}", crate::mcp::quote(key), value.to_text())
                };
                let members: Vec<String> = members.iter().map(member).collect();
                format!("{{{}}}", members.join(","))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_name_no_key_twice() {
        for (arguments, good) in [
            (r#"{"a": 1, "b": {"a": [{"a": 1}]}}"#, true),
            (r#"{"a": 1, "a": 2}"#, false),
            (r#"{"a": [{"b": 1, "\u0062": 2}]}"#, false),
            ("[]", false),
        ] {
            let call = format!(r#"{{"tool": "x", "arguments": {arguments}}}"#);
            let read = TrialCall::parse("call", call.as_bytes());
            assert_eq!(read.is_ok(), good, "{arguments}");
        }
    }

    #[test]
    fn an_address_is_one() {
        for (given, good) in [
            ("10.0.0.3", true),
            ("10.0.0.3:7443", true),
            ("2001:db8::1", true),
            ("[2001:db8::1]:7443", true),
            ("::ffff:10.0.0.3", true),
            ("10.0.0.300", false),
            ("10.0.0.0/8", false),
            ("10.0.0.3:70000", false),
            ("localhost", false),
            ("", false),
        ] {
            let call = format!(r#"{{"tool": "x", "address": "{given}"}}"#);
            let read = TrialCall::parse("call", call.as_bytes());
            assert_eq!(read.is_ok(), good, "{given}");
            for error in read.err().iter().flatten() {
                assert_eq!(error.path, "/address", "{given}");
                assert_eq!(error.reason(), "policy_bad_text", "{given}");
                assert!(error.to_string().contains("`10.20.3.4`"), "{error}");
            }
        }
    }

    #[test]
    fn times_are_read() {
        let read = |text| read_date_time(text).map(|t| t.0);
        assert_eq!(read("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(read("2026-01-05T12:00:00Z"), Some(TRIAL_TIME.0));
        assert_eq!(read("2024-02-29T23:59:59Z"), Some(1_709_251_199_000));
        for bad in [
            "2026-01-05",
            "2026-13-05T12:00:00Z",
            "2026-1-5T12:00:00Z",
            "1969-12-31T23:59:59Z",
            "2026-02-30T09:00:00Z",
            "2026-02-29T09:00:00Z",
            "2100-02-29T09:00:00Z",
            "2026-04-31T09:00:00Z",
            "2026-01-00T09:00:00Z",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
