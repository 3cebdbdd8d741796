//! What calls in a document's scope must meet.

use core::net::IpAddr;

use super::arguments::{self, Check};
use super::scope::word;
use super::{At, Fields, Shape, Sink};
use crate::id::Digest;
use crate::name::Name;
use crate::policy::error::{Checked, Problem, shown};
use crate::policy::glob::{Glob, ItemGlob};

/// The keys of intents.
pub(super) const INTENTS: Shape = Shape {
    place: "/intents",
    keys: &["allowed", "restricted", "pinned"],
};

/// The keys of device.
pub(super) const DEVICE: Shape = Shape {
    place: "/device",
    keys: &[
        "os",
        "min_kernel",
        "secure_boot",
        "disk_encryption",
        "max_uptime_s",
        "binaries",
        "hardening",
        "attested",
        "max_age_s",
    ],
};

/// The keys of location.
pub(super) const LOCATION: Shape = Shape {
    place: "/location",
    keys: &["sites", "networks"],
};

/// The keys of time.
pub(super) const TIME: Shape = Shape {
    place: "/time",
    keys: &["days", "from", "to", "utc_offset"],
};

/// The keys of labels.
pub(super) const LABELS: Shape = Shape {
    place: "/labels",
    keys: &["allowed", "restricted"],
};

/// Everything calls in scope must meet.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Requirements {
    /// The tools permitted; all others are forbidden. A bare name means an approved pin.
    pub tools: Option<Vec<ItemGlob>>,
    /// The resources permitted, by URI.
    pub resources: Option<Vec<Glob>>,
    /// The prompts permitted.
    pub prompts: Option<Vec<ItemGlob>>,
    /// What calls may set out to do.
    pub intents: Intents,
    /// What the caller's node must be like.
    pub device: Option<Device>,
    /// Where the caller's node must be.
    pub location: Option<Location>,
    /// When.
    pub time: Option<Hours>,
    /// What arguments must be.
    pub arguments: Vec<Check>,
    /// What data may be touched.
    pub labels: Option<Labels>,
    /// Through which waypoint the call must go.
    pub via: Option<Via>,
}

impl Requirements {
    pub(super) fn read(sink: &mut Sink, fields: &Fields<'_>) -> Self {
        let mut items = |key| {
            let found = fields.at(key);
            found.and_then(|at| at.texts(sink, ItemGlob::new))
        };
        let (tools, prompts) = (items("allowed_tools"), items("allowed_prompts"));
        let resources = fields.at("allowed_resources");
        let resources = resources.and_then(|at| at.texts(sink, Glob::new));
        let intents = fields.at("intents");
        let mut intents = intents
            .and_then(|at| Intents::read(sink, at))
            .unwrap_or_default();
        let seed = fields.at("restricted_intents");
        let seed = seed.and_then(|at| at.texts(sink, word));
        if seed.as_ref().is_some_and(Vec::is_empty) {
            intents.idle.push("/restricted_intents");
        }
        intents.restricted_seed = seed.unwrap_or_default();
        Self {
            tools,
            resources,
            prompts,
            intents,
            device: fields.at("device").and_then(|at| Device::read(sink, at)),
            location: fields
                .at("location")
                .and_then(|at| Location::read(sink, at)),
            time: fields.at("time").and_then(|at| Hours::read(sink, at)),
            arguments: fields
                .at("arguments")
                .and_then(|at| arguments::read(sink, at))
                .unwrap_or_default(),
            labels: fields.at("labels").and_then(|at| Labels::read(sink, at)),
            via: fields.at("via").and_then(|at| Via::read(sink, at)),
        }
    }
}

/// What calls may set out to do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Intents {
    /// Every derived intent must be among these; the tool's own name does not count.
    pub allowed: Option<Vec<String>>,
    /// None of these may be among them; the tool's own name counts.
    pub restricted: Vec<String>,
    /// The same, from the document's `restricted_intents`.
    pub restricted_seed: Vec<String>,
    /// Whether a tool must be an approved pin.
    pub pinned: bool,
    /// The places of lists of what is restricted that are there and empty.
    pub idle: Vec<&'static str>,
}

impl Intents {
    fn read(sink: &mut Sink, at: &At<'_>) -> Option<Self> {
        let fields = at.fields(sink, &INTENTS)?;
        fields.some(sink);
        let allowed = fields.at("allowed").and_then(|at| at.texts(sink, word));
        let restricted = fields.at("restricted");
        let restricted = restricted.and_then(|at| at.texts(sink, word));
        let pinned = fields.at("pinned").and_then(|at| at.flag(sink));
        let empty = restricted.as_ref().is_some_and(Vec::is_empty);
        let idle = empty.then_some("/intents/restricted");
        Some(Self {
            idle: idle.into_iter().collect(),
            allowed,
            restricted: restricted.unwrap_or_default(),
            restricted_seed: Vec::new(),
            pinned: pinned.unwrap_or(false),
        })
    }
}

/// A kernel's major, minor and patch number.
pub type Kernel = (u16, u16, u16);

/// The least a posture must claim.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Device {
    /// One of these operating systems.
    pub os: Option<Vec<Glob>>,
    /// This kernel or a later one.
    pub min_kernel: Option<Kernel>,
    /// Booted with secure boot.
    pub secure_boot: bool,
    /// State on an encrypted disk.
    pub disk_encryption: bool,
    /// Booted no longer ago.
    pub max_uptime_s: Option<u64>,
    /// Runs one of these binaries, by SHA-256.
    pub binaries: Option<Vec<Digest>>,
    /// All of these in force.
    pub hardening: Vec<String>,
    /// Vouched for by somebody else.
    pub attested: bool,
    /// Measured no longer ago.
    pub max_age_s: Option<u64>,
}

/// Longest uptime or age a document may name: ten years.
const MAX_SPAN_S: u64 = 10 * 366 * 86_400;

impl Device {
    fn read(sink: &mut Sink, at: &At<'_>) -> Option<Self> {
        let fields = at.fields(sink, &DEVICE)?;
        fields.some(sink);
        let os = fields
            .at("os")
            .and_then(|at| at.some_texts(sink, Glob::new));
        let min_kernel = fields.at("min_kernel").and_then(|at| {
            let text = at.text(sink)?;
            sink.note(&at.path, kernel(text))
        });
        let mut flag = |key| fields.at(key).and_then(|at| must(sink, at)).is_some();
        let (secure_boot, disk_encryption, attested) = (
            flag("secure_boot"),
            flag("disk_encryption"),
            flag("attested"),
        );
        let mut span = |key, min| {
            let found = fields.at(key);
            found.and_then(|at| at.number(sink, min, MAX_SPAN_S))
        };
        let (max_uptime_s, max_age_s) = (span("max_uptime_s", 1), span("max_age_s", 1));
        let binaries = fields.at("binaries");
        let binaries = binaries.and_then(|at| at.some_texts(sink, digest));
        let hardening = fields.at("hardening");
        let hardening = hardening.and_then(|at| at.some_texts(sink, word));
        Some(Self {
            os,
            min_kernel,
            secure_boot,
            disk_encryption,
            max_uptime_s,
            binaries,
            hardening: hardening.unwrap_or_default(),
            attested,
            max_age_s,
        })
    }
}

/// A flag that can only ask for something: `false` would read as if it forbade it.
fn must(sink: &mut Sink, at: &At<'_>) -> Option<()> {
    if at.flag(sink)? {
        return Some(());
    }
    sink.refuse(&at.path, Problem::AsksNothing);
    None
}

pub(super) fn kernel(text: &str) -> Checked<Kernel> {
    let mut numbers = text.split('.').map(str::parse::<u16>);
    let read = (
        numbers.next(),
        numbers.next(),
        numbers.next(),
        numbers.next(),
    );
    match read {
        (Some(Ok(major)), Some(Ok(minor)), None, None) => Ok((major, minor, 0)),
        (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch)), None) => Ok((major, minor, patch)),
        _ => Err(Problem::Form {
            given: shown(text),
            expected: "a kernel version such as `5.15` or `6.1.38`",
        }),
    }
}

pub(super) fn digest(text: &str) -> Checked<Digest> {
    let mut bytes = [0; 32];
    match hex::decode_to_slice(text, &mut bytes) {
        Ok(()) => Ok(Digest::from_bytes(bytes)),
        Err(_) => Err(Problem::Form {
            given: shown(text),
            expected: "a SHA-256 digest of 64 hexadecimal digits",
        }),
    }
}

/// Where the caller's node must be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Location {
    /// One of these sites, from its membership.
    pub sites: Option<Vec<Glob>>,
    /// An address in one of these, as the next hop saw it.
    pub networks: Option<Vec<Network>>,
}

impl Location {
    fn read(sink: &mut Sink, at: &At<'_>) -> Option<Self> {
        let fields = at.fields(sink, &LOCATION)?;
        fields.some(sink);
        let sites = fields.at("sites");
        let sites = sites.and_then(|at| at.some_texts(sink, Glob::new));
        let networks = fields.at("networks");
        let networks = networks.and_then(|at| at.some_texts(sink, Network::new));
        Some(Self { sites, networks })
    }
}

/// A range of addresses, as in `10.0.0.0/8` or `2001:db8::/32`; an address alone is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// Its first address.
    pub base: IpAddr,
    /// How many leading bits all share.
    pub bits: u8,
}

impl Network {
    /// Reads an address or a range in CIDR form.
    ///
    /// # Errors
    /// [`Problem::Form`], also if bits beyond the prefix are set, and if it is IPv4 mapped into IPv6
    /// (`::ffff:10.0.0.0`): addresses are compared as what they are, and Cedar reads none like that.
    pub fn new(text: &str) -> Checked<Self> {
        let wrong = || Problem::Form {
            given: shown(text),
            expected: "an address or a range as `10.0.0.0/8`, without bits beyond its prefix",
        };
        let (base, bits) = text.split_once('/').unwrap_or((text, ""));
        let base: IpAddr = base.parse().map_err(|_| wrong())?;
        let (width, value) = match base {
            IpAddr::V4(ip) => (32, u128::from(ip.to_bits()) << 96),
            IpAddr::V6(ip) => (128, ip.to_bits()),
        };
        let plain = bits.bytes().all(|b| b.is_ascii_digit());
        let bits: u8 = match bits {
            "" if !text.contains('/') => width,
            _ if plain => bits.parse().map_err(|_| wrong())?,
            _ => return Err(wrong()),
        };
        let beyond = value.checked_shl(u32::from(bits)).unwrap_or(0);
        if bits > width || beyond != 0 {
            return Err(wrong());
        }
        if base.to_canonical() != base {
            return Err(Problem::Form {
                given: shown(text),
                expected: "a network as calls come from it: of IPv4 write `10.0.0.0/8`, not mapped into IPv6",
            });
        }
        Ok(Self { base, bits })
    }
}

impl core::fmt::Display for Network {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}/{}", self.base, self.bits)
    }
}

/// Minutes of a week.
pub(crate) const WEEK: u16 = 7 * DAY;
const DAY: u16 = 24 * 60;

/// When calls may be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours {
    /// Days, Monday 0, sorted; a stretch over midnight belongs to the day it begins on.
    pub days: Vec<u8>,
    /// First minute of the day.
    pub from: u16,
    /// Minute of the day at which it ends; before `from` means the next day, and it is never the same.
    pub to: u16,
    /// Minutes the author's clock is ahead of UTC.
    pub utc_offset: i16,
}

/// The names of the days, Monday first.
const DAYS: &[&str] = &["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl Hours {
    fn read(sink: &mut Sink, at: &At<'_>) -> Option<Self> {
        let fields = at.fields(sink, &TIME)?;
        fields.some(sink);
        let days = fields.at("days").map_or(Some((0..7).collect()), |at| {
            let mut days = at.some_texts(sink, |text| {
                let found = DAYS.iter().position(|d| *d == text);
                found
                    .and_then(|day| u8::try_from(day).ok())
                    .ok_or_else(|| Problem::NotOneOf {
                        given: shown(text),
                        known: DAYS,
                    })
            })?;
            days.sort_unstable();
            Some(days)
        });
        let mut minute = |key, otherwise| {
            let Some(at) = fields.at(key) else {
                return Some(otherwise);
            };
            let text = at.text(sink)?;
            sink.note(&at.path, minute_of_day(text, key == "to"))
        };
        let (from, to) = (minute("from", 0), minute("to", DAY));
        let utc_offset = fields.at("utc_offset").map_or(Some(0), |at| {
            let text = at.text(sink)?;
            sink.note(&at.path, offset(text))
        });
        if from.is_some() && from == to {
            sink.refuse(&at.path, Problem::SameMinute);
        }
        Some(Self {
            days: days?,
            from: from?,
            to: to?,
            utc_offset: utc_offset?,
        })
    }

    /// The stretches of the week, in minutes after Monday 00:00 UTC: from the first to before the
    /// second, none running over the week's end.
    #[must_use]
    pub fn stretches(&self) -> Vec<(u16, u16)> {
        let length = if self.to > self.from {
            self.to - self.from
        } else {
            DAY - self.from + self.to
        };
        let week = i32::from(WEEK);
        let mut out: Vec<(u16, u16)> = Vec::new();
        for day in &self.days {
            let begin = i32::from(*day) * i32::from(DAY) + i32::from(self.from)
                - i32::from(self.utc_offset);
            let begin = u16::try_from(begin.rem_euclid(week)).unwrap_or(0);
            let end = begin + length;
            if end <= WEEK {
                out.push((begin, end));
            } else {
                out.push((begin, WEEK));
                out.push((0, end - WEEK));
            }
        }
        out.sort_unstable();
        // Days that follow each other are one stretch.
        let mut merged: Vec<(u16, u16)> = Vec::new();
        for (begin, end) in out {
            match merged.last_mut() {
                Some((_, last)) if *last >= begin => *last = end.max(*last),
                _ => merged.push((begin, end)),
            }
        }
        merged
    }
}

fn minute_of_day(text: &str, end: bool) -> Checked<u16> {
    let wrong = || Problem::Form {
        given: shown(text),
        expected: "a time of day as `09:30`",
    };
    let (hours, minutes) = text.split_once(':').ok_or_else(wrong)?;
    let two = |part: &str| {
        let plain = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
        part.parse::<u16>().ok().filter(|_| plain).ok_or_else(wrong)
    };
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    let at = hours * 60 + minutes;
    let valid = minutes < 60 && (at < DAY || (end && at == DAY));
    if valid { Ok(at) } else { Err(wrong()) }
}

fn offset(text: &str) -> Checked<i16> {
    let wrong = || Problem::Form {
        given: shown(text),
        expected: "an offset from UTC as `+02:00`, `-05:30` or `Z`",
    };
    if text == "Z" {
        return Ok(0);
    }
    let (sign, rest) = match (text.strip_prefix('+'), text.strip_prefix('-')) {
        (Some(rest), _) => (1, rest),
        (_, Some(rest)) => (-1, rest),
        _ => return Err(wrong()),
    };
    let minutes = minute_of_day(rest, false).map_err(|_| wrong())?;
    let minutes = i16::try_from(minutes).map_err(|_| wrong())?;
    if minutes > 14 * 60 {
        return Err(wrong());
    }
    Ok(sign * minutes)
}

/// What data may be touched.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Labels {
    /// Every label must be among these.
    pub allowed: Option<Vec<String>>,
    /// None of these may be among them.
    pub restricted: Vec<String>,
}

impl Labels {
    /// Whether data with this label may be touched.
    pub(crate) fn admits(&self, label: &str) -> bool {
        let among = |labels: &[String]| labels.iter().any(|l| l == label);
        self.allowed.as_deref().is_none_or(among) && !among(&self.restricted)
    }

    fn read(sink: &mut Sink, at: &At<'_>) -> Option<Self> {
        let fields = at.fields(sink, &LABELS)?;
        fields.some(sink);
        let allowed = fields.at("allowed").and_then(|at| at.texts(sink, word));
        let restricted = fields.at("restricted");
        let restricted = restricted.and_then(|at| at.texts(sink, word));
        Some(Self {
            allowed,
            restricted: restricted.unwrap_or_default(),
        })
    }
}

/// A waypoint: some node of the route must be it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Via {
    /// A node of this group.
    Group(Name),
    /// The node of this name.
    Node(Name),
}

impl Via {
    pub(super) fn read(sink: &mut Sink, at: &At<'_>) -> Option<Self> {
        let text = at.text(sink)?;
        let wrong = || Problem::Form {
            given: shown(text),
            expected: "a waypoint as `group:gateways` or `node:gate`",
        };
        let read = match text.split_once(':') {
            Some(("group", name)) => name.parse().map(Self::Group).map_err(|_| wrong()),
            Some(("node", name)) => name.parse().map(Self::Node).map_err(|_| wrong()),
            _ => Err(wrong()),
        };
        sink.note(&at.path, read)
    }
}

impl core::fmt::Display for Via {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Group(name) => write!(f, "group:{name}"),
            Self::Node(name) => write!(f, "node:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use core::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn cedar_reads(network: Network) -> bool {
        let text = format!("ip(\"{network}\").isInRange(ip(\"{network}\"))");
        let uid = |text: &str| text.parse::<cedar_policy::EntityUid>().unwrap();
        let (who, does, what) = (uid("A::\"\""), uid("Action::\"a\""), uid("B::\"\""));
        let context = cedar_policy::Context::empty();
        let request = cedar_policy::Request::new(who, does, what, context, None).unwrap();
        let read = text.parse::<cedar_policy::Expression>().unwrap();
        let entities = cedar_policy::Entities::empty();
        let said = cedar_policy::eval_expression(&request, &entities, &read);
        matches!(said, Ok(cedar_policy::EvalResult::Bool(true)))
    }

    #[test]
    fn networks_are_what_cedar_reads() {
        for text in [
            "10.0.0.0/8",
            "10.0.0.0/08",
            "0.0.0.0/0",
            "10.1.2.3",
            "::/0",
            "::1",
            "::",
            "::/96",
            "::102:304",
            "::1.2.3.4",
            "2001:db8::/32",
            "fe80::/10",
            "::fffe:0:0/95",
            "64:ff9b::1.2.3.4",
            "2001:0DB8::/32",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
        ] {
            assert!(cedar_reads(Network::new(text).unwrap()), "{text}");
        }
        for text in [
            "::ffff:10.0.0.0/104",
            "::ffff:10.0.0.1",
            "::ffff:0:0/96",
            "::ffff:a00:0/104",
            "10.0.0.0/33",
            "10.0.0.1/8",
            "10.0.0/8",
            "010.0.0.0/8",
            "fe80::1%eth0",
            "::/129",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "",
        ] {
            assert!(Network::new(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_taken_is_read(v4 in any::<u32>(), v6 in any::<u128>(), bits in 0_u8..=128, low in any::<bool>()) {
            // Where `::` and IPv4 within IPv6 are.
            let v6 = if low { v6 >> 80 } else { v6 };
            let bases = [
                (IpAddr::V4(Ipv4Addr::from_bits(v4)), 32),
                (IpAddr::V6(Ipv6Addr::from_bits(v6)), 128),
            ];
            for (base, width) in bases {
                for text in [format!("{base}/{}", bits.min(width)), base.to_string()] {
                    if let Ok(network) = Network::new(&text) {
                        prop_assert!(cedar_reads(network), "{}", text);
                    }
                }
            }
        }
    }
}
