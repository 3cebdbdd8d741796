//! Every fact but who calls what: calls that meet a document, and those with one fact otherwise.

use super::callers::{changed_first, name_of, names_of};
use crate::mcp::word;
use crate::policy::compile::CompiledPolicy;
use crate::policy::document::{
    Check, Device, Document, Hours, Json, Network, TRIAL_TIME, TrialCall, Witnesses,
};
use crate::policy::examples::of_glob;
use crate::policy::facts::Posture;
use crate::policy::glob::Glob;
use crate::record::Point;
use crate::time::UnixMillis;

/// Most of the systems, programs and measures that a document names of devices that are tried.
const MAX_OF_DEVICE: usize = 8;

/// Most sites tried that are almost called as one version of a document says.
const MAX_NEAR_SITES: usize = 24;

/// A version of a document, with values for the checks of its arguments.
pub(super) struct Version<'a> {
    document: &'a Document,
    arguments: Vec<Witnesses>,
}

impl<'a> Version<'a> {
    pub(super) fn of(document: &'a Document) -> Self {
        let checks = document.requirements.arguments.iter();
        Self {
            document,
            arguments: checks.map(Check::witnesses).collect(),
        }
    }

    /// Values for its checks, with the place of the check: one of each, then another of each, so
    /// that many of one leave room for the others. The first good one stands in the call that meets
    /// all.
    fn values(&self) -> impl Iterator<Item = (usize, &Json)> {
        let longest = self.arguments.iter().map(|w| w.good.len().max(w.bad.len()));
        (0..longest.max().unwrap_or(0)).flat_map(|n| {
            let places = self.arguments.iter().enumerate();
            places.flat_map(move |(place, witnesses)| {
                let values = [witnesses.good.get(n + 1), witnesses.bad.get(n)];
                values
                    .into_iter()
                    .flatten()
                    .map(move |value| (place, value))
            })
        })
    }
}

/// The versions of a document there are, among those that differ.
pub(super) fn versions<'a>(
    document: &Document,
    changed: &[&'a CompiledPolicy],
) -> Vec<Version<'a>> {
    let versions = changed.iter().filter_map(|p| p.document());
    let versions = versions.filter(|d| d.name == document.name);
    versions.map(Version::of).collect()
}

/// `plain` with everything that the document asks of a call.
pub(super) fn meeting(version: &Version<'_>, plain: &TrialCall) -> TrialCall {
    let r = &version.document.requirements;
    let mut call = plain.clone();
    call.posture = r.device.as_ref().map(fit);
    if let Some(location) = &r.location {
        let site = location.sites.iter().flatten().find_map(name_of);
        call.site = site.and_then(|site| site.parse().ok());
        let network = location.networks.iter().flatten().next();
        call.address = network.map(|network| network.base.to_string());
    }
    if let Some(minute) = r.time.as_ref().and_then(|t| t.stretches().first().copied()) {
        call.time = at_minute(minute.0);
    }
    call.via.clone_from(&r.via);
    call.arguments = arguments(version, None);
    call
}

/// From a call that meets a document, every other with one fact at a bound or beyond it: those of
/// each version of the document.
pub(super) fn vary(versions: &[Version<'_>], meets: &TrialCall, then: &mut dyn FnMut(TrialCall)) {
    let mut with = |change: &dyn Fn(&mut TrialCall)| {
        let mut call = meets.clone();
        change(&mut call);
        if call != *meets {
            then(call);
        }
    };
    with(&|c| c.pinned = false);
    with(&|c| c.approved = true);
    // Where only the signed header decides, and where addresses are not known.
    with(&|c| c.point = Point::Relay);
    with(&|c| c.point = Point::Ingress);
    for one in versions {
        let r = &one.document.requirements;
        let intents = &r.intents;
        let words = intents.restricted.iter().chain(&intents.restricted_seed);
        for word in words.chain(intents.allowed.iter().flatten()) {
            with(&|c| c.intents = vec![word.clone()]);
        }
        with(&|c| c.intents = vec![word::UNCLASSIFIED.to_owned()]);
        if let Some(labels) = &r.labels {
            for label in labels
                .restricted
                .iter()
                .chain(labels.allowed.iter().flatten())
            {
                with(&|c| c.labels = vec![label.clone()]);
            }
            with(&|c| c.labels = vec!["other".to_owned()]);
        }
        if let Some(device) = &r.device {
            with(&|c| c.posture = None);
            for posture in postures(device) {
                with(&|c| c.posture = Some(posture.clone()));
            }
        }
        if let Some(location) = &r.location {
            with(&|c| c.site = None);
            for site in location.sites.iter().flatten().filter_map(name_of) {
                with(&|c| c.site = site.parse().ok());
            }
            for site in near_sites(versions, one) {
                with(&|c| c.site = site.parse().ok());
            }
            for network in location.networks.iter().flatten() {
                with(&|c| c.address = Some(network.base.to_string()));
                with(&|c| c.address = beyond(network));
            }
        }
        for minute in r.time.iter().flat_map(minutes) {
            with(&|c| c.time = at_minute(minute));
        }
        with(&|c| c.via.clone_from(&r.via));
        with(&|c| c.via = None);
        with(&|c| c.arguments = arguments(one, None));
        for (place, value) in one.values() {
            with(&|c| c.arguments = arguments(one, Some((place, value))));
        }
    }
}

/// Sites at the edge of what the globs of one version match that another version lacks.
fn near_sites(versions: &[Version<'_>], one: &Version<'_>) -> Vec<String> {
    fn sites<'a>(version: &Version<'a>) -> &'a [Glob] {
        let location = version.document.requirements.location.as_ref();
        location
            .and_then(|l| l.sites.as_deref())
            .unwrap_or_default()
    }
    let others = versions.iter().filter(|v| *v.document != *one.document);
    let others: Vec<&[Glob]> = others.map(sites).collect();
    let changed = changed_first(sites(one), &others);
    let changed = changed.into_iter().filter(|(_, changed)| *changed);
    let names = changed.flat_map(|(glob, _)| names_of(glob));
    names.take(MAX_NEAR_SITES).collect()
}

/// A posture that a document finds good.
fn fit(device: &Device) -> Posture {
    let os = device.os.iter().flatten().next();
    Posture {
        os: os.map_or_else(|| "linux".to_owned(), |os| os.as_str().replace('*', "x")),
        kernel: device.min_kernel.unwrap_or((6, 1, 0)),
        secure_boot: device.secure_boot,
        disk_encryption: device.disk_encryption,
        uptime_s: device.max_uptime_s.unwrap_or(0),
        binary: device.binaries.iter().flatten().next().copied(),
        hardening: device.hardening.clone(),
        attested: device.attested,
        age_s: device.max_age_s.unwrap_or(0),
    }
}

/// The good posture, and it with one claim just beyond what is asked.
fn postures(device: &Device) -> Vec<Posture> {
    let good = fit(device);
    let worse: [fn(&mut Posture); 9] = [
        |p| "other".clone_into(&mut p.os),
        |p| {
            let (major, minor, patch) = p.kernel;
            p.kernel = match (minor, patch) {
                (0, 0) => (major.saturating_sub(1), u16::MAX, 0),
                (_, 0) => (major, minor - 1, u16::MAX),
                _ => (major, minor, patch - 1),
            };
        },
        |p| p.secure_boot = false,
        |p| p.disk_encryption = false,
        |p| p.uptime_s = p.uptime_s.saturating_add(1),
        |p| p.age_s = p.age_s.saturating_add(1),
        |p| p.binary = None,
        |p| p.hardening.clear(),
        |p| p.attested = false,
    ];
    let with = |change: &dyn Fn(&mut Posture)| {
        let mut posture = good.clone();
        change(&mut posture);
        posture
    };
    let mut out = vec![good.clone()];
    out.extend(worse.iter().map(|change| with(change)));
    // Each of what may be, and all but each of what must be.
    let systems = device.os.iter().flatten().take(MAX_OF_DEVICE);
    for name in systems.flat_map(|glob| of_glob(glob.as_str())) {
        out.push(with(&|p| p.os.clone_from(&name)));
    }
    for binary in device.binaries.iter().flatten().take(MAX_OF_DEVICE) {
        out.push(with(&|p| p.binary = Some(*binary)));
    }
    for word in device.hardening.iter().take(MAX_OF_DEVICE) {
        out.push(with(&|p| p.hardening.retain(|w| w != word)));
    }
    out
}

/// An address of the same kind that is just outside of a network.
fn beyond(network: &Network) -> Option<String> {
    use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    Some(match network.base {
        IpAddr::V4(ip) => {
            let size = 1_u32.checked_shl(32 - u32::from(network.bits))?;
            Ipv4Addr::from_bits(ip.to_bits().wrapping_add(size)).to_string()
        }
        IpAddr::V6(ip) => {
            let size = 1_u128.checked_shl(128 - u32::from(network.bits))?;
            Ipv6Addr::from_bits(ip.to_bits().wrapping_add(size)).to_string()
        }
    })
}

/// The first and last minute of every stretch, and those just outside.
fn minutes(hours: &Hours) -> Vec<u16> {
    let week = crate::policy::document::WEEK;
    let around = |(begin, end): (u16, u16)| {
        [
            begin,
            (begin + week - 1) % week,
            (end + week - 1) % week,
            end % week,
        ]
    };
    hours.stretches().into_iter().flat_map(around).collect()
}

/// A moment of the week of [`TRIAL_TIME`], which begins on that Monday.
fn at_minute(minute: u16) -> UnixMillis {
    const HALF_A_DAY_MS: u64 = 12 * 3_600_000;
    UnixMillis(TRIAL_TIME.0 - HALF_A_DAY_MS + u64::from(minute) * 60_000)
}

/// Arguments that meet every check, as far as values were found, but for the one at a place: there
/// this value. `None` where nothing is asked of them.
fn arguments(version: &Version<'_>, varied: Option<(usize, &Json)>) -> Option<String> {
    let mut root = Json::Object(Vec::new());
    let mut places: Vec<(usize, &Witnesses)> = version.arguments.iter().enumerate().collect();
    // What a schema allows is all of them; single values go into it.
    places.sort_by_key(|(_, witnesses)| !witnesses.at.is_empty());
    for (place, witnesses) in places {
        let value = match varied {
            Some((at, value)) if at == place => Some(value),
            _ => witnesses.good.first(),
        };
        if let Some(value) = value {
            put(&mut root, &witnesses.at, value.clone());
        }
    }
    match &root {
        Json::Object(members) if members.is_empty() => None,
        root => Some(root.to_text()),
    }
}

/// Puts a value at a pointer, making objects on the way.
fn put(root: &mut Json, pointer: &str, value: Json) {
    let mut at = root;
    for (depth, step) in pointer.split('/').skip(1).enumerate() {
        let step = step.replace("~1", "/").replace("~0", "~");
        // One entry stands for all; arguments themselves are an object.
        if step == "*" && depth > 0 {
            if !matches!(at, Json::List(items) if !items.is_empty()) {
                *at = Json::List(vec![Json::Null]);
            }
            let Json::List(items) = at else { return };
            let Some(first) = items.first_mut() else {
                return;
            };
            at = first;
            continue;
        }
        if !matches!(at, Json::Object(_)) {
            *at = Json::Object(Vec::new());
        }
        let Json::Object(members) = at else { return };
        if !members.iter().any(|(key, _)| *key == step) {
            members.push((step.clone(), Json::Null));
        }
        let Some((_, below)) = members.iter_mut().find(|(key, _)| *key == step) else {
            return;
        };
        at = below;
    }
    *at = value;
}
