//! Which decisions are meant.

use protocol::control::{DecisionSearch, MAX_DECISIONS};
use protocol::name::Name;

use crate::exit::Failed;
use crate::output::now;
use crate::typed;

/// Which decisions; everything that is given must hold.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Filter {
    /// Only those on behalf of this agent
    #[arg(long)]
    agent: Option<Name>,
    /// Only those about messages from or for this node, by name or id
    #[arg(long)]
    node: Option<String>,
    /// Only those about this server
    #[arg(long)]
    server: Option<Name>,
    /// Only those about this tool, prompt or resource
    #[arg(long)]
    tool: Option<String>,
    /// Only those with this verdict
    #[arg(long, value_parser = ["allow", "hold", "deny", "sever"])]
    verdict: Option<String>,
    /// Only those for this reason, as `not_permitted`
    #[arg(long)]
    reason: Option<String>,
    /// Only those that this policy decided, asks an alert for, or would have objected to
    #[arg(long)]
    policy: Option<String>,
    /// Only those since: `30m`, `2h`, `3d` ago, a date, or `2026-11-22 12:40:03Z`
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
}

impl Filter {
    /// The search for them.
    pub(super) fn search(self) -> Result<DecisionSearch, Failed> {
        let since = self.since.as_deref();
        let since = since.map(|text| typed::since(text, now().0)).transpose()?;
        Ok(DecisionSearch {
            since_ms: since.map(|seconds| seconds.saturating_mul(1000)),
            agent: self.agent,
            node: self.node,
            server: self.server,
            tool: self.tool,
            verdict: self.verdict,
            reason: self.reason,
            policy: self.policy,
            limit: Some(MAX_DECISIONS),
            ..DecisionSearch::default()
        })
    }
}
