//! `hedgerow status`: the state of the node.

use protocol::control::{FreshnessState, PostureInfo, Status, TrustStatus, route};

use super::Context;
use crate::exit::Failed;
use crate::output::{Text, counted, instant, lasting};

/// Show the state of the node.
///
/// Says who this node is, whether it is ready and what is missing, which trust documents are in
/// force and how fresh they are, and counts calls and refusals by reason since the daemon started.
/// `hedgerow doctor` says what to do about what is wrong.
#[derive(Debug, clap::Args)]
pub(crate) struct StatusCommand {}

impl StatusCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failed> {
        let status: Status = context.client()?.read(route::STATUS).await?;
        context.output.data(&status, |text| show(&status, text))
    }
}

fn show(status: &Status, text: &mut Text) {
    text.heading(format!("{} in mesh {}", status.node.name, status.mesh.name));
    let (well, standing) = standing(status);
    text.check(well, standing);
    for condition in status.conditions.iter().filter(|c| !c.met) {
        let why = condition.message.as_deref().unwrap_or("not met");
        text.check(false, format!("{}: {why}", condition.name));
    }
    if !status.time.healthy {
        let why = status.time.message.as_deref().unwrap_or("unusable");
        text.check(false, format!("clock: {why}"));
    }
    if let Some(trust) = &status.trust {
        alarms(trust, text);
    }
    text.field("mesh", status.mesh.id.to_string());
    text.field("node", status.node.id.to_string());
    text.field("groups", joined(&status.node.groups));
    if let Some(site) = &status.node.site {
        text.field("site", site.as_str());
    }
    text.field(
        "membership",
        format!("until {}", instant(status.node.membership_expires.0)),
    );
    if let Some(trust) = &status.trust {
        documents(trust, text);
    }
    if let Some(posture) = &status.posture {
        text.field("posture", said_of(posture));
    }
    text.field("listens", &status.listen);
    text.field("announces", joined(&status.addresses));
    text.field("gateway", status.gateway_url.as_deref().unwrap_or("down"));
    text.field(
        "running",
        format!(
            "{} s, process {}, version {}",
            status.uptime_s, status.pid, status.version
        ),
    );
    text.field(
        "now",
        format!(
            "{}, {}, {}",
            counted(status.links, "link", "links"),
            counted(status.servers, "server", "servers"),
            counted(status.sessions, "MCP session", "MCP sessions")
        ),
    );
    text.field(
        "calls",
        format!(
            "{} out, {} in, {} carried for others",
            status.counters.calls_out, status.counters.calls_in, status.counters.calls_relayed
        ),
    );
    let policies = status.trust.as_ref().and_then(|t| t.policies.as_ref());
    if let Some(held) = policies.map(|p| p.held).filter(|held| *held > 0) {
        text.warning(format!(
            "{} for approval: `hedgerow approvals`",
            counted(held, "call waits", "calls wait")
        ));
    }
    text.field(
        "store",
        format!(
            "{}, {} bytes",
            counted(status.store.decisions, "decision", "decisions"),
            status.store.bytes
        ),
    );
    if !status.counters.refusals.is_empty() {
        text.heading("Refused since the start");
        let rows: Vec<Vec<String>> = status
            .counters
            .refusals
            .iter()
            .map(|(reason, count)| vec![reason.clone(), count.to_string()])
            .collect();
        text.table(&["REASON", "TIMES"], &rows);
    }
}

/// Whether the node can take part, in a few words; what is behind it stands below.
fn standing(status: &Status) -> (bool, &'static str) {
    let trust = status.trust.as_ref();
    let lease = trust.and_then(|t| t.freshness.as_ref()).map(|l| l.state);
    if !status.ready {
        (false, "not ready")
    } else if trust.is_some_and(|t| t.revoked.is_some()) {
        (false, "running, and cut off: this node is revoked")
    } else if !status.time.healthy || lease == Some(FreshnessState::ClockBehind) {
        (false, "running, and refuses everything: the clock is wrong")
    } else if trust.is_some_and(|t| t.waiting.is_some()) {
        (false, "running, and not synced: what it knows may be old")
    } else if matches!(lease, Some(FreshnessState::Stale | FreshnessState::Never)) {
        (
            false,
            "running, and refuses what writes: the freshness lease is over",
        )
    } else {
        (true, "ready")
    }
}

/// A posture in one line.
fn said_of(posture: &PostureInfo) -> String {
    let os = if posture.os.is_empty() {
        "unknown system"
    } else {
        &posture.os
    };
    let has = |claim: bool, what: &str| {
        let no = if claim { "" } else { "no " };
        format!("{no}{what}")
    };
    let hardening = match posture.hardening.len() {
        0 => "no hardening".to_owned(),
        _ => posture.hardening.join(" "),
    };
    format!(
        "{os}, kernel {}, {}, {}, {hardening}; {}, {} old",
        posture.kernel,
        has(posture.secure_boot, "secure boot"),
        has(posture.disk_encryption, "disk encryption"),
        posture.word,
        lasting(posture.age_s)
    )
}

/// What keeps calls from being made although the node runs.
fn alarms(trust: &TrustStatus, text: &mut Text) {
    if let Some(why) = &trust.revoked {
        text.check(false, format!("revoked: {why}"));
    }
    if let Some(why) = &trust.waiting {
        text.warning(why);
    }
    if let Some(lease) = &trust.freshness {
        match lease.state {
            FreshnessState::Fresh => {}
            FreshnessState::Stale | FreshnessState::Never => {
                text.check(false, "the freshness lease is over: tool calls are refused")
            }
            FreshnessState::ClockBehind => {
                text.check(false, "the clock is behind verified time: all is refused");
            }
        }
    }
    for alarm in &trust.issuer_alarms {
        let (issuer, times) = (&alarm.issuer, alarm.refused);
        text.check(
            false,
            format!("issuer {issuer}: {}; {times} refused", alarm.message),
        );
    }
    if let Some(renewal) = trust.renewal.as_ref().filter(|r| r.failures > 0) {
        let why = renewal.last_error.as_deref().unwrap_or("no issuer answers");
        let times = counted(renewal.failures, "time", "times");
        text.warning(format!("renewing the membership failed {times}: {why}"));
    }
}

fn documents(trust: &TrustStatus, text: &mut Text) {
    let held = &trust.versions;
    let bundle = held.bundle.map(|v| format!(", bundle {v}"));
    let entries = held
        .revocations
        .map(|v| format!(", {}", counted(v, "revocation", "revocations")));
    text.field(
        "documents",
        format!(
            "root {}{}{}",
            held.root,
            bundle.unwrap_or_default(),
            entries.unwrap_or_default()
        ),
    );
    text.field(
        "roles",
        format!(
            "{} of {} sign; {}, {}",
            trust.threshold,
            counted(trust.admins, "admin", "admins"),
            counted(trust.issuers, "issuer", "issuers"),
            counted(trust.timestampers, "timestamper", "timestampers")
        ),
    );
    if let Some(lease) = &trust.freshness {
        let age = lease.age_s.map(lasting);
        text.field(
            "lease",
            format!(
                "newest timestamp {}, at most {}",
                age.map_or_else(|| "none".to_owned(), |age| format!("{age} old")),
                lasting(lease.lease_s)
            ),
        );
    }
}

fn joined(words: &[impl ToString]) -> String {
    if words.is_empty() {
        return "-".to_owned();
    }
    let words: Vec<String> = words.iter().map(ToString::to_string).collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::id::Digest;
    use protocol::time::UnixSeconds;

    fn status() -> Status {
        let json = serde_json::json!({
            "version": "0", "pid": 1,
            "mesh": { "id": protocol::id::MeshId::from_bytes([1; 32]), "name": "m" },
            "node": {
                "id": protocol::id::NodeId::from_bytes([2; 32]), "name": "a", "groups": [],
                "membership_expires": 1,
            },
            "listen": "", "addresses": [], "ready": true, "conditions": [], "uptime_s": 1,
            "links": 0, "servers": 0, "sessions": 0,
            "counters": { "calls_out": 0, "calls_in": 0, "calls_relayed": 0, "refusals": {} },
            "store": { "decisions": 0, "bytes": 0 },
            "time": { "healthy": true, "now_ms": 1, "greatest_ms": 1 },
        });
        let status: Status = serde_json::from_value(json).unwrap();
        Status {
            trust: Some(TrustStatus::default()),
            ..status
        }
    }

    #[test]
    fn only_a_node_that_can_take_part_is_ready() {
        assert_eq!(standing(&status()), (true, "ready"));
        type Change = fn(&mut Status, &mut TrustStatus);
        let lease = |state| {
            let (age_s, lease_s) = (None, 1);
            Some(protocol::control::Freshness {
                state,
                age_s,
                lease_s,
            })
        };
        let changes: [(Change, &str); 4] = [
            (|status, _| status.ready = false, "not ready"),
            (|_, trust| trust.revoked = Some("stolen".into()), "revoked"),
            (
                |_, trust| trust.waiting = Some("restored".into()),
                "not synced",
            ),
            (|status, _| status.time.healthy = false, "clock"),
        ];
        for (change, says) in changes {
            let (mut status, mut trust) = (status(), TrustStatus::default());
            trust.freshness = lease(FreshnessState::Fresh);
            change(&mut status, &mut trust);
            status.trust = Some(trust);
            let (well, told) = standing(&status);
            assert!(!well && told.contains(says), "{told}");
        }
        for state in [FreshnessState::Stale, FreshnessState::Never] {
            let mut status = status();
            let freshness = lease(state);
            status.trust = Some(TrustStatus {
                freshness,
                ..TrustStatus::default()
            });
            let (well, told) = standing(&status);
            assert!(!well && told.contains("lease"), "{told}");
        }
    }

    #[test]
    fn a_posture_is_one_line_that_says_whose_word_it_is() {
        let mut posture = PostureInfo {
            word: "self-asserted".to_owned(),
            measured: UnixSeconds(1_000),
            age_s: 61,
            os: "debian".to_owned(),
            kernel: "6.1.38".to_owned(),
            secure_boot: true,
            disk_encryption: false,
            uptime_s: 10,
            binary: None,
            hardening: vec!["aslr".to_owned(), "seccomp".to_owned()],
            digest: Digest::from_bytes([1; 32]),
        };
        let line = said_of(&posture);
        let says =
            "debian, kernel 6.1.38, secure boot, no disk encryption, aslr seccomp; self-asserted, ";
        assert!(line.starts_with(says), "{line}");
        posture.os.clear();
        posture.hardening.clear();
        let line = said_of(&posture);
        assert!(line.starts_with("unknown system, "), "{line}");
        assert!(line.contains(", no hardening; "), "{line}");
    }
}
