//! `hedgerow status`: the state of the node.

use protocol::control::{Status, route};

use super::Context;
use crate::exit::Failed;
use crate::output::{Text, instant};

/// Show the state of the node.
///
/// Says who this node is, whether it is ready and what is missing, and counts calls and
/// refusals by reason since the daemon started.
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
    text.check(
        status.ready,
        if status.ready { "ready" } else { "not ready" },
    );
    for condition in status.conditions.iter().filter(|c| !c.met) {
        let why = condition.message.as_deref().unwrap_or("not met");
        text.check(false, format!("{}: {why}", condition.name));
    }
    if !status.time.healthy {
        let why = status.time.message.as_deref().unwrap_or("unusable");
        text.check(false, format!("clock: {why}"));
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
            "{} links, {} servers, {} MCP sessions",
            status.links, status.servers, status.sessions
        ),
    );
    text.field(
        "calls",
        format!(
            "{} out, {} in",
            status.counters.calls_out, status.counters.calls_in
        ),
    );
    text.field(
        "store",
        format!(
            "{} decisions, {} bytes",
            status.store.decisions, status.store.bytes
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

fn joined(words: &[impl ToString]) -> String {
    if words.is_empty() {
        return "-".to_owned();
    }
    let words: Vec<String> = words.iter().map(ToString::to_string).collect();
    words.join(", ")
}
