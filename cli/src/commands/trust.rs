//! `hedgerow trust`: what is in force in the mesh, as this host's node knows it.

use protocol::control::{FreshnessState, IssuerInfo, TimestamperInfo, Trust, route};
use protocol::name::Name;

use super::Context;
use crate::exit::Failed;
use crate::output::{Text, counted, instant};

/// Show what is in force in the mesh: root, roles, freshness.
///
/// Ids of admins, issuers and timestampers are hashes of their keys: the same on every node.
#[derive(Debug, clap::Args)]
pub(crate) struct TrustCommand {}

impl TrustCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failed> {
        let trust: Trust = context.client()?.read(route::TRUST).await?;
        context.output.data(&trust, |text| show(&trust, text))
    }
}

fn show(trust: &Trust, text: &mut Text) {
    let root = &trust.root;
    text.heading(format!("Mesh {}", root.name));
    let (fresh, why) = freshness(trust);
    text.check(fresh, why);
    text.field("mesh", trust.mesh.to_string());
    text.field(
        "root",
        format!(
            "version {}, epoch {}, made {}",
            root.version,
            trust.epoch,
            instant(root.created.0)
        ),
    );
    text.field("", root.hash.to_string());
    match &trust.bundle {
        Some(bundle) => text.field(
            "bundle",
            format!(
                "version {}, {}",
                bundle.version,
                counted(bundle.policies, "policy", "policies")
            ),
        ),
        None => text.field("bundle", "-"),
    }
    text.field("lease", format!("{} s", trust.freshness.lease_s));
    roles(trust, text);
    if !trust.proposals.is_empty() {
        text.heading("Waiting for signatures");
        text.line(format!(
            "  {}, see `hedgerow admin pending`",
            trust.proposals.len()
        ));
    }
}

fn freshness(trust: &Trust) -> (bool, String) {
    let age = trust.freshness.age_s.unwrap_or_default();
    match trust.freshness.state {
        FreshnessState::Fresh => (true, format!("confirmed by a timestamper {age} s ago")),
        FreshnessState::Stale => (
            false,
            format!("stale: confirmed {age} s ago, write and egress tools are refused"),
        ),
        FreshnessState::Never => (
            false,
            "no timestamp yet: write and egress tools are refused".to_owned(),
        ),
        FreshnessState::ClockBehind => (
            false,
            format!("the clock of this host is {age} s behind verified time: all is refused"),
        ),
    }
}

/// The roles, for this command and `hedgerow admin list`.
pub(super) fn roles(trust: &Trust, text: &mut Text) {
    let present = trust.admins.iter().filter(|a| a.retired_at.is_none());
    text.heading(format!(
        "Admins ({} of {} must sign)",
        trust.threshold,
        present.count()
    ));
    for admin in &trust.admins {
        let mut line = format!(
            "  {}  {}",
            admin.id,
            counted(admin.entries, "revocation", "revocations")
        );
        if let Some(length) = admin.retired_at {
            line.push_str(&format!(", retired: the first {length} count"));
        }
        if admin.forked {
            line.push_str(", FROZEN: signed twice with different content");
        }
        text.line(line);
    }
    text.heading("Issuers");
    for issuer in &trust.issuers {
        text.line(format!("  {}  {}", issuer.id, limits(issuer)));
    }
    text.heading("Timestampers");
    for timestamper in &trust.timestampers {
        text.line(format!("  {}  {}", timestamper.id, last(timestamper)));
    }
}

fn limits(issuer: &IssuerInfo) -> String {
    let names = |names: &Option<Vec<Name>>| match names {
        None => "any".to_owned(),
        Some(names) => names.iter().map(Name::as_str).collect::<Vec<_>>().join(" "),
    };
    format!(
        "groups {}, sites {}, at most {}, {} an hour",
        names(&issuer.groups),
        names(&issuer.sites),
        counted(issuer.max_life_s / (24 * 3600), "day", "days"),
        issuer.max_per_hour
    )
}

fn last(timestamper: &TimestamperInfo) -> String {
    match (timestamper.version, timestamper.time) {
        (Some(version), Some(time)) => format!("version {version}, {}", instant(time.0)),
        _ => "nothing from it yet".to_owned(),
    }
}
