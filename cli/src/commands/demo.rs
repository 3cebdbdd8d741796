//! `hedgerow demo`: two real nodes on this host, real calls between them, and a forgery refused.
//!
//! It does nothing a user could not do: every step is the same command a user would type, run by
//! this very binary against state directories of its own. It looks into no file of a node and
//! links no part of the daemon. The nodes end with it, however it ends ([`host`]), and their
//! state is removed ([`workspace`]).

use std::path::PathBuf;
use std::time::{Duration, Instant};

use protocol::control::{Peer, PeerState, Tool};
use tokio::signal::unix::{SignalKind, signal};

use self::host::{Commands, Host};
use self::report::{CallReport, LinkReport, NodeReport, Report, TamperReport};
use self::workspace::Workspace;
use super::{Context, runtime};
use crate::exit::{Exit, Failed};

mod host;
mod report;
mod workspace;

/// The agent's host, which founds the mesh.
const AGENT_HOST: &str = "agent-host";
/// The tool host, which is admitted to it.
const TOOL_HOST: &str = "tool-host";
/// The sample server's name on the tool host.
const SERVER: &str = "shop";
/// The agent on whose behalf calls are made.
const AGENT: &str = "demo";
/// The product the calls are about.
const PRODUCT: &str = "sku=HR-1001";
/// The price the demo sets.
const NEW_PRICE: &str = "price=36.50";
/// The calls, in order; the first and last show that the table changed in between.
const CALLS: [(&str, &[&str]); 4] = [
    ("get_product_info", &[PRODUCT]),
    ("check_inventory", &[PRODUCT]),
    ("update_price", &[PRODUCT, NEW_PRICE]),
    ("get_product_info", &[PRODUCT]),
];
/// How long the nodes have to find each other and the sample server to list its tools.
const SETTLE_DEADLINE: Duration = Duration::from_secs(20);
/// Pause between looks.
const SETTLE_PAUSE: Duration = Duration::from_millis(20);
/// Places in the envelope's file where one bit is changed, in quarters of its length.
const TAMPER_QUARTERS: [usize; 5] = [0, 1, 2, 3, 4];

/// Show it work: two real nodes on this host, signed calls, a forgery refused.
///
/// Starts an agent's host and a tool host as processes of their own on loopback, attaches a
/// small sample MCP server to the tool host and calls its tools from the agent's host. Then it
/// stays up, so that an MCP client can be connected, until ctrl-c. Nothing is left behind.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow demo
  hedgerow demo --exit                  end after the checks, with 0 if all held
  hedgerow demo --exit --format json    one object: nodes, links, calls, what was refused")]
pub(crate) struct Demo {
    /// End after the checks, with exit code 0 or 1
    #[arg(long)]
    exit: bool,
    /// The `hedgerow` to run the nodes with [default: this one]
    #[arg(long, hide = true, value_name = "FILE")]
    binary: Option<PathBuf>,
}

impl Demo {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failed> {
        let runtime = runtime()?;
        runtime.block_on(async {
            let workspace = Workspace::create()?;
            let mut hosts = Vec::new();
            let outcome = tokio::select! {
                stopped = stop_signal() => stopped,
                outcome = self.play(context, &workspace, &mut hosts) => outcome,
            };
            let outcome = outcome.map_err(|failed| with_logs(failed, &hosts));
            for host in hosts {
                host.stop().await;
            }
            drop(workspace);
            outcome
        })
    }

    async fn play(
        &self,
        context: &Context,
        workspace: &Workspace,
        hosts: &mut Vec<Host>,
    ) -> Result<(), Failed> {
        let start = Instant::now();
        let binary = match &self.binary {
            Some(binary) => binary.clone(),
            None => std::env::current_exe()
                .map_err(|error| Failed::io("cannot find this program's own file", &error))?,
        };
        let stage = Stage {
            commands: Commands::new(binary),
            context,
            workspace,
        };
        let nodes = stage.start_nodes(hosts).await?;
        let token = stage.prepare().await?;
        let links = stage.links().await?;
        let (calls, saved) = stage.calls().await?;
        let mesh = nodes
            .first()
            .map(|node| node.mesh.clone())
            .unwrap_or_default();
        stage.verify(&saved, &mesh).await?;
        let tampered = stage.tamper(&saved, &mesh).await?;
        let gateway = nodes.first().and_then(|node| node.gateway_url.clone());
        let report = Report::new(nodes, links, calls, tampered, start.elapsed());
        let failures = report.failures();
        report.conclude(
            context.output,
            &failures,
            gateway.as_deref(),
            &token,
            self.exit,
        )?;
        if !failures.is_empty() {
            return Err(Failed::new(Exit::Failure, failures.join("; ")));
        }
        if self.exit {
            return Ok(());
        }
        Err(host::first_to_end(hosts).await)
    }
}

/// Ctrl-c and SIGTERM end the demo in good order: that is how it is meant to end.
async fn stop_signal() -> Result<(), Failed> {
    let listen = |kind| {
        signal(kind).map_err(|error| {
            Failed::new(Exit::Failure, format!("cannot listen for signals: {error}"))
        })
    };
    let (mut interrupt, mut terminate) = (
        listen(SignalKind::interrupt())?,
        listen(SignalKind::terminate())?,
    );
    tokio::select! {
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}

/// A failure with the last words of the nodes, which are about to be removed.
fn with_logs(failed: Failed, hosts: &[Host]) -> Failed {
    if failed.exit != Exit::Ok {
        for host in hosts {
            host.show_log_tail();
        }
    }
    failed
}

/// What every step needs.
struct Stage<'a> {
    commands: Commands,
    context: &'a Context,
    workspace: &'a Workspace,
}

impl Stage<'_> {
    fn heading(&self, line: &str) -> Result<(), Failed> {
        self.context.output.show(|text| {
            text.line("");
            text.heading(line);
        })
    }

    fn check(&self, holds: bool, line: impl AsRef<str>) -> Result<(), Failed> {
        self.context.output.show(|text| text.check(holds, line))
    }

    /// Founds a mesh on the agent's host and admits the tool host, with the files a user would
    /// carry from one to the other.
    async fn start_nodes(&self, hosts: &mut Vec<Host>) -> Result<Vec<NodeReport>, Failed> {
        self.heading("Two nodes, two processes, one mesh")?;
        let agent_host = self.workspace.state(AGENT_HOST);
        let tool_host = self.workspace.state(TOOL_HOST);
        let founding = [
            "--name", AGENT_HOST, "--mesh", "demo", "--group", "agents", "--policy", "open",
        ];
        let (host, founder) = self.commands.up(&agent_host, AGENT_HOST, &founding).await?;
        hosts.push(host);
        let founder = NodeReport::of(founder);
        self.check(
            true,
            format!("{AGENT_HOST} founded the mesh: {}", founder.id),
        )?;

        let request = self.workspace.file("tool-host.request");
        let admission = self.workspace.file("tool-host.admission");
        self.commands
            .json::<serde_json::Value>(&tool_host, &["id", "--request", &request])
            .await?;
        let issue = [
            "membership",
            "issue",
            &request,
            "--name",
            TOOL_HOST,
            "--group",
            "tools",
            "--days",
            "1",
            "--out",
            &admission,
        ];
        self.commands
            .json::<serde_json::Value>(&agent_host, &issue)
            .await?;
        let joining = ["--admission", admission.as_str()];
        let (host, member) = self.commands.up(&tool_host, TOOL_HOST, &joining).await?;
        hosts.push(host);
        let member = NodeReport::of(member);
        self.check(
            true,
            format!("{TOOL_HOST} was admitted to it: {}", member.id),
        )?;
        Ok(vec![founder, member])
    }

    /// Adds the agent and attaches the sample server; waits until the agent's host can call it.
    async fn prepare(&self) -> Result<String, Failed> {
        let agent_host = self.workspace.state(AGENT_HOST);
        let tool_host = self.workspace.state(TOOL_HOST);
        let agent: serde_json::Value = self
            .commands
            .json(&agent_host, &["agent", "add", AGENT])
            .await?;
        let binary = self.commands.binary();
        let table = self.workspace.file("products.json");
        let attach = [
            "server",
            "add",
            SERVER,
            "--",
            &binary,
            "sample-server",
            "--table",
            &table,
        ];
        self.commands
            .json::<serde_json::Value>(&tool_host, &attach)
            .await?;
        let place = format!("{TOOL_HOST}/{SERVER}");
        let listed = async {
            loop {
                let listing = ["tools", place.as_str()];
                match self.commands.json::<Vec<Tool>>(&agent_host, &listing).await {
                    Ok(tools) if CALLS.iter().all(|(name, _)| has(&tools, name)) => return tools,
                    // Not linked, not announced or not started yet.
                    _ => tokio::time::sleep(SETTLE_PAUSE).await,
                }
            }
        };
        let tools = settled(listed, "the sample server's tools did not show up").await?;
        let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
        self.check(
            true,
            format!(
                "MCP server `{place}` attached, seen from {AGENT_HOST}: {}",
                names.join(", ")
            ),
        )?;
        let token = agent.get("token").and_then(|token| token.as_str());
        Ok(token.unwrap_or_default().to_owned())
    }

    /// What was negotiated between the nodes, as the one that dialed saw it.
    async fn links(&self) -> Result<Vec<LinkReport>, Failed> {
        self.heading("The link between them")?;
        let mut links = Vec::new();
        for (from, to) in [(AGENT_HOST, TOOL_HOST), (TOOL_HOST, AGENT_HOST)] {
            let state = self.workspace.state(from);
            let peers: Vec<Peer> = self.commands.json(&state, &["peers"]).await?;
            let linked = |peer: &&Peer| peer.state == PeerState::Connected;
            let dialed = peers
                .iter()
                .filter(linked)
                .filter(|p| p.dialed == Some(true));
            links.extend(dialed.map(|peer| LinkReport::of(from, to, peer)));
        }
        for link in &links {
            for (holds, line) in link.lines() {
                self.check(holds, line)?;
            }
        }
        Ok(links)
    }

    /// Calls the tools, each with its envelopes saved. Returns the files of the first call's.
    async fn calls(&self) -> Result<(Vec<CallReport>, PathBuf), Failed> {
        self.heading("Calls from an agent on one host to a tool on the other")?;
        let state = self.workspace.state(AGENT_HOST);
        let envelopes = self.workspace.dir("envelopes")?;
        let mut reports = Vec::new();
        let mut saved = None;
        for (tool, arguments) in CALLS {
            let address = format!("{TOOL_HOST}/{SERVER}/{tool}");
            let mut words = vec!["call", address.as_str()];
            words.extend(arguments);
            words.extend(["--agent", AGENT, "--save", envelopes.as_str()]);
            let call: CallReport = self.commands.json(&state, &words).await?;
            for (holds, line) in call.lines(arguments) {
                self.check(holds, line)?;
            }
            if saved.is_none() {
                saved = call.saved.first().cloned();
            }
            reports.push(call.named(tool));
        }
        let saved = saved.ok_or_else(|| {
            Failed::new(Exit::Failure, "the first call left no envelope to verify")
        })?;
        Ok((reports, saved))
    }

    /// Verifies a saved envelope without any node.
    async fn verify(&self, saved: &std::path::Path, mesh: &str) -> Result<(), Failed> {
        self.heading("The first call's envelope, verified from its file without any node")?;
        let file = saved.display().to_string();
        let verify = ["envelope", "verify", &file, "--mesh", mesh];
        self.commands
            .json::<serde_json::Value>(self.workspace.path(), &verify)
            .await?;
        self.check(true, "both signatures hold, back to the mesh's root")
    }

    /// Changes one bit at several places and expects every copy to be refused.
    async fn tamper(
        &self,
        saved: &std::path::Path,
        mesh: &str,
    ) -> Result<Vec<TamperReport>, Failed> {
        let read = |error: std::io::Error| Failed::io("cannot read the saved envelope", &error);
        let original = std::fs::read(saved).map_err(read)?;
        let last = original.len().saturating_sub(1);
        let mut reports = Vec::new();
        for quarter in TAMPER_QUARTERS {
            let offset = last * quarter / 4;
            let mut forged = original.clone();
            if let Some(byte) = forged.get_mut(offset) {
                *byte ^= 1;
            }
            let file = self.workspace.file(&format!("forged-{offset}.envelope"));
            std::fs::write(&file, &forged)
                .map_err(|error| Failed::io("cannot write the forged envelope", &error))?;
            let verify = ["envelope", "verify", &file, "--mesh", mesh];
            let ended = self.commands.once(self.workspace.path(), &verify).await?;
            let report = TamperReport::of(offset, &ended);
            self.check(report.refused, report.line())?;
            reports.push(report);
        }
        Ok(reports)
    }
}

fn has(tools: &[Tool], name: &str) -> bool {
    tools.iter().any(|tool| tool.name == name)
}

async fn settled<T>(wait: impl Future<Output = T>, otherwise: &str) -> Result<T, Failed> {
    tokio::time::timeout(SETTLE_DEADLINE, wait)
        .await
        .map_err(|_| {
            let seconds = SETTLE_DEADLINE.as_secs();
            Failed::new(Exit::Failure, format!("{otherwise} within {seconds} s"))
        })
}
