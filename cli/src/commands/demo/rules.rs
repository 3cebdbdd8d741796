//! The demo's calls, under two policies one after the other: one call allowed, one blocked with its
//! reason, one held until a person approves it, and a live one that a revocation cuts.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::report::{AppliedReport, BlockedReport, CallReport, CutReport, HeldReport};
use super::{
    AGENT, AGENT_HOST, NEW_PRICE, PASSPHRASE, PRODUCT, RELAY_HOST, SERVER, SETTLE_PAUSE, Stage,
    TOOL_HOST, settled,
};
use crate::exit::{Exit, Failed};

/// The first policy: nothing but looking, and who tries more raises an alert.
const READ_ONLY: &str = r#"{
  "policy_name": "mcp_read_only_enforcement",
  "allowed_tools": ["get_product_info", "check_inventory"],
  "restricted_intents": ["update_price", "delete_record"],
  "action_on_violation": "block_and_alert"
}
"#;
/// The second: anything but looking waits for whoever is responsible for the tool host.
const WITH_APPROVAL: &str = r#"{
  "policy_name": "changes_need_approval",
  "allowed_tools": ["get_product_info", "check_inventory"],
  "approval": {"by": {"nodes": ["tool-host"]}, "within_s": 120},
  "action_on_violation": "require_approval"
}
"#;
/// Another agent, which is revoked while it calls: the first one's token goes on for an MCP client.
const REVOKED_AGENT: &str = "intern";
/// Why it is revoked.
const WHY: &str = "the demo cuts it off";

/// What came of the calls.
#[derive(Debug)]
pub(super) struct Ruled {
    /// The policies, in order.
    pub(super) applied: Vec<AppliedReport>,
    /// The calls that went through.
    pub(super) calls: Vec<CallReport>,
    /// A file with an envelope of the first of them.
    pub(super) saved: PathBuf,
    /// The one that was blocked.
    pub(super) blocked: BlockedReport,
    /// The one that was held.
    pub(super) held: HeldReport,
    /// The one that was cut.
    pub(super) cut: CutReport,
}

/// A held call as `approvals list` prints it.
#[derive(serde::Deserialize)]
struct Waiting {
    id: String,
}

impl Stage<'_> {
    /// Puts both policies in force and calls under each.
    pub(super) async fn rule(&self) -> Result<Ruled, Failed> {
        self.heading("A policy: look, and do not touch")?;
        let envelopes = self.workspace.dir("envelopes")?;
        let mut applied = vec![self.apply("read-only.json", READ_ONLY).await?];
        let info = ["get_product_info", PRODUCT];
        let before = self.call(&info, Some(&envelopes)).await?;
        let saved = before.saved.first().cloned().ok_or_else(|| {
            Failed::new(Exit::Failure, "the first call left no envelope to verify")
        })?;
        let mut calls = vec![before];
        calls.push(self.call(&["check_inventory", PRODUCT], None).await?);
        let update = ["update_price", PRODUCT, NEW_PRICE];
        let blocked = BlockedReport::of(&update, &self.attempt(&update, AGENT).await?);
        self.check(blocked.holds(), blocked.line())?;

        self.heading("Another policy: changes wait for a person")?;
        applied.push(self.apply("with-approval.json", WITH_APPROVAL).await?);
        let (held, call) = self.held(&update).await?;
        calls.push(call);
        calls.push(self.call(&info, None).await?);

        self.heading("A revocation cuts a call that is under way")?;
        let cut = self.cut(&update).await?;
        self.check(cut.holds(), cut.line())?;
        Ok(Ruled {
            applied,
            calls,
            saved,
            blocked,
            held,
            cut,
        })
    }

    /// Has the relay's host sign a policy in place of all others, and waits until all have it.
    async fn apply(&self, name: &str, text: &str) -> Result<AppliedReport, Failed> {
        let file = self.workspace.secret(name, text)?;
        let passphrase = self.workspace.file(PASSPHRASE);
        let words = ["policy", "apply", &file, "--replace", "--yes"];
        let words = [&words[..], &["--passphrase-file", &passphrase]].concat();
        let state = self.workspace.state(RELAY_HOST);
        let applied: AppliedReport = self.commands.json(&state, &words).await?;
        let applied = applied.of_text(text);
        self.check(applied.holds(), applied.line())?;
        Ok(applied)
    }

    fn words<'w>(address: &'w str, arguments: &[&'w str], agent: &'w str) -> Vec<&'w str> {
        let mut words = vec!["call", address];
        words.extend(arguments);
        words.extend(["--agent", agent]);
        words
    }

    /// A call that must succeed: its tool, then its arguments.
    async fn call(&self, call: &[&str], save: Option<&str>) -> Result<CallReport, Failed> {
        let (tool, arguments) = call.split_first().unwrap_or((&"", &[]));
        let address = format!("{TOOL_HOST}/{SERVER}/{tool}");
        let mut words = Self::words(&address, arguments, AGENT);
        words.extend(save.iter().flat_map(|dir| ["--save", dir]));
        let state = self.workspace.state(AGENT_HOST);
        let report: CallReport = self.commands.json(&state, &words).await?;
        self.show(report, tool, arguments)
    }

    fn show(
        &self,
        report: CallReport,
        tool: &str,
        arguments: &[&str],
    ) -> Result<CallReport, Failed> {
        for (holds, line) in report.lines(arguments) {
            self.check(holds, line)?;
        }
        Ok(report.named(tool))
    }

    /// A call whose end is for the caller to judge.
    async fn attempt(&self, call: &[&str], agent: &str) -> Result<super::host::Ended, Failed> {
        let (tool, arguments) = call.split_first().unwrap_or((&"", &[]));
        let address = format!("{TOOL_HOST}/{SERVER}/{tool}");
        let words = Self::words(&address, arguments, agent);
        let state = self.workspace.state(AGENT_HOST);
        self.commands.once(&state, &words).await
    }

    /// A call that waits, and somebody at the tool host who approves it.
    async fn held(&self, call: &[&str]) -> Result<(HeldReport, CallReport), Failed> {
        let (tool, arguments) = call.split_first().unwrap_or((&"", &[]));
        let approval = async {
            let id = self.waiting().await?;
            self.check(true, format!("{tool} waits for approval {id}"))?;
            let state = self.workspace.state(TOOL_HOST);
            let words = ["approvals", "approve", &id];
            self.commands
                .json::<serde_json::Value>(&state, &words)
                .await?;
            self.check(true, format!("approved at {TOOL_HOST}"))?;
            Ok::<String, Failed>(id)
        };
        let (ended, id) = tokio::join!(self.attempt(call, AGENT), approval);
        let (ended, id) = (ended?, id?);
        let report: CallReport = serde_json::from_slice(&ended.stdout).map_err(|_| {
            let message = format!("the approved call failed: {}", ended.error());
            Failed::new(Exit::Failure, message)
        })?;
        let report = self.show(report, tool, arguments)?;
        Ok((HeldReport::of(tool, id), report))
    }

    /// A call that waits, and the agent revoked meanwhile.
    async fn cut(&self, call: &[&str]) -> Result<CutReport, Failed> {
        let state = self.workspace.state(AGENT_HOST);
        let add = ["agent", "add", REVOKED_AGENT];
        self.commands
            .json::<serde_json::Value>(&state, &add)
            .await?;
        let revocation = async {
            self.waiting().await?;
            let start = Instant::now();
            let passphrase = self.workspace.file(PASSPHRASE);
            let words = ["revoke", "agent", REVOKED_AGENT, "--reason", WHY, "--yes"];
            let words = [&words[..], &["--passphrase-file", &passphrase]].concat();
            let state = self.workspace.state(RELAY_HOST);
            self.commands
                .json::<serde_json::Value>(&state, &words)
                .await?;
            Ok::<Instant, Failed>(start)
        };
        let call = async {
            let ended = self.attempt(call, REVOKED_AGENT).await?;
            Ok::<_, Failed>((ended, Instant::now()))
        };
        let (call, start) = tokio::join!(call, revocation);
        let ((ended, end), start) = (call?, start?);
        let took: Duration = end.saturating_duration_since(start);
        Ok(CutReport::of(&ended, took))
    }

    /// The call that waits for approval at the tool host, as soon as there is one.
    async fn waiting(&self) -> Result<String, Failed> {
        let state = self.workspace.state(TOOL_HOST);
        let listed = async {
            loop {
                let words = ["approvals", "list"];
                let waiting: Vec<Waiting> = self.commands.json(&state, &words).await?;
                match waiting.into_iter().next() {
                    Some(waiting) => return Ok(waiting.id),
                    None => tokio::time::sleep(SETTLE_PAUSE).await,
                }
            }
        };
        settled(listed, "no call came to wait for approval").await?
    }
}
