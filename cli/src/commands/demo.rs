//! `hedgerow demo`: three real nodes on this host, the one in the middle a relay, with real calls
//! that policy allows, blocks and holds, a live one that a revocation cuts, and forgeries refused.
//!
//! It does nothing a user could not do: every step is the same command a user would type, run by
//! this very binary against state directories of its own. It looks into no file of a node and
//! links no part of the daemon. The nodes end with it, however it ends ([`host`]), and their
//! state is removed ([`workspace`]).

use std::path::PathBuf;
use std::time::{Duration, Instant};

use hedgerow_crypto::Primitives;
use protocol::control::{Peer, PeerState, Tool};
use protocol::crypto::Crypto as _;
use protocol::name::Name;
use tokio::signal::unix::{SignalKind, signal};

use self::host::{Commands, Host};
use self::report::{LinkReport, NodeReport, Report, TamperReport};
use self::workspace::Workspace;
use super::{Context, runtime, wait_for};
use crate::exit::{Exit, Failed};

mod host;
mod report;
mod rules;
mod workspace;

/// The host in the middle: it founds the mesh, its admin signs, and it carries the calls.
const RELAY_HOST: &str = "relay-host";
/// The agent's host.
const AGENT_HOST: &str = "agent-host";
/// The tool host.
const TOOL_HOST: &str = "tool-host";
/// Whom the relay carries calls for.
const RELAYING: &str = "[relay]\naccept = [\"members\"]\n";
/// An end that no other end can dial, as behind a firewall (the discard port of RFC 863), and that
/// is reached over the relay.
const BEHIND: &str = "[node]\nadvertise = [\"127.0.0.1:9\"]\n[relay]\nthrough = [\"relay-host\"]\n";
/// The sample server's name on the tool host.
const SERVER: &str = "shop";
/// The agent on whose behalf calls are made.
const AGENT: &str = "demo";
/// The tools the sample server must have.
const TOOLS: [&str; 3] = ["get_product_info", "check_inventory", "update_price"];
/// The product the calls are about.
const PRODUCT: &str = "sku=HR-1001";
/// The price the demo sets.
const NEW_PRICE: &str = "price=36.50";
/// How long the nodes have to find each other and the sample server to list its tools.
const SETTLE_DEADLINE: Duration = Duration::from_secs(20);
/// Pause between looks.
const SETTLE_PAUSE: Duration = Duration::from_millis(20);
/// The file of the admin's passphrase.
const PASSPHRASE: &str = "admin.pass";
/// Places in the envelope's file where one bit is changed, in quarters of its length.
const TAMPER_QUARTERS: [usize; 5] = [0, 1, 2, 3, 4];

/// Show it work: three real nodes on this host, calls under policy, a live one cut off.
///
/// Starts an agent's host, a tool host and a relay between them as processes of their own on
/// loopback, and attaches a small sample MCP server to the tool host. Policy allows one call, blocks
/// another with its reason and holds a third until a person approves it; a revocation cuts a live
/// one. Then it stays up, so that an MCP client can be connected, until ctrl-c. Nothing is left
/// behind.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow demo
  hedgerow demo --exit                  end after the checks, with 0 if all held
  hedgerow demo --exit --format json    one object: nodes, links, calls, verdicts, refusals")]
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
        wait_for(&runtime, async {
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
        let ruled = stage.rule().await?;
        let mesh = nodes
            .first()
            .map(|node| node.mesh.clone())
            .unwrap_or_default();
        stage.verify(&ruled.saved, &mesh).await?;
        let tampered = stage.tamper(&ruled.saved, &mesh).await?;
        let of_agent = |node: &&NodeReport| node.name == AGENT_HOST;
        let gateway = nodes.iter().find(of_agent);
        let gateway = gateway.and_then(|node| node.gateway_url.clone());
        let report = Report::new(nodes, links, ruled, tampered, start.elapsed());
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

/// Ctrl-c, SIGTERM and a closed terminal end the demo in good order: that is how it is meant to end.
async fn stop_signal() -> Result<(), Failed> {
    let listen = |kind| {
        signal(kind).map_err(|error| {
            Failed::new(Exit::Failure, format!("cannot listen for signals: {error}"))
        })
    };
    let (mut interrupt, mut terminate, mut hangup) = (
        listen(SignalKind::interrupt())?,
        listen(SignalKind::terminate())?,
        listen(SignalKind::hangup())?,
    );
    tokio::select! {
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        _ = hangup.recv() => Ok(()),
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

/// What `invite` prints.
#[derive(serde::Deserialize)]
struct Invited {
    ticket: String,
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

    /// Founds a mesh on the relay's host; the two others join it with tickets.
    async fn start_nodes(&self, hosts: &mut Vec<Host>) -> Result<Vec<NodeReport>, Failed> {
        self.heading("Three nodes, three processes, one mesh")?;
        let relay_host = self.workspace.configure(RELAY_HOST, RELAYING)?;
        let passphrase = self.passphrase()?;
        let founding = ["--name", RELAY_HOST, "--mesh", "demo", "--passphrase-file"];
        let founding = [&founding[..], &[passphrase.as_str()]].concat();
        let (host, founder) = self.commands.up(&relay_host, RELAY_HOST, &founding).await?;
        hosts.push(host);
        let founder = NodeReport::of(founder);
        let line = format!("{RELAY_HOST} founded the mesh: {}", founder.id);
        self.check(true, line)?;
        let mut nodes = vec![founder];
        for (name, group) in [(AGENT_HOST, "agents"), (TOOL_HOST, "tools")] {
            let state = self.workspace.configure(name, BEHIND)?;
            let invite = ["invite", "--group", group];
            let invited: Invited = self.commands.json(&relay_host, &invite).await?;
            let join = ["join", "--no-run", "--name", name, &invited.ticket];
            self.commands
                .json::<serde_json::Value>(&state, &join)
                .await?;
            let (host, member) = self.commands.up(&state, name, &[]).await?;
            hosts.push(host);
            let member = NodeReport::of(member);
            let line = format!("{name} joined it with a ticket: {}", member.id);
            self.check(true, line)?;
            nodes.push(member);
        }
        Ok(nodes)
    }

    /// The file with the passphrase of the admin's key, random and gone with the demo.
    fn passphrase(&self) -> Result<String, Failed> {
        let mut random = [0; 16];
        Primitives
            .fill_random(&mut random)
            .map_err(|error| Failed::new(Exit::Failure, error.to_string()))?;
        self.workspace.secret(PASSPHRASE, &hex(&random))
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
        // The relay's host signs policies, and approves what it sees announced by then.
        self.announced(RELAY_HOST, &place).await?;
        let tools = self.announced(AGENT_HOST, &place).await?;
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

    /// The sample server's tools, as soon as this host sees them all.
    async fn announced(&self, host: &str, place: &str) -> Result<Vec<Tool>, Failed> {
        let state = self.workspace.state(host);
        let listed = async {
            loop {
                let listing = ["tools", place];
                match self.commands.json::<Vec<Tool>>(&state, &listing).await {
                    Ok(tools) if TOOLS.iter().all(|name| has(&tools, name)) => return tools,
                    // Not linked, not announced or not started yet.
                    _ => tokio::time::sleep(SETTLE_PAUSE).await,
                }
            }
        };
        settled(listed, "the sample server's tools did not show up").await
    }

    /// What was negotiated between the nodes, as the ones that dialed saw it. The ends have none with
    /// each other.
    async fn links(&self) -> Result<Vec<LinkReport>, Failed> {
        self.heading("The links between them, all over the relay")?;
        let mut links = Vec::new();
        for from in [AGENT_HOST, TOOL_HOST] {
            let state = self.workspace.state(from);
            let peers: Vec<Peer> = self.commands.json(&state, &["peers"]).await?;
            for peer in peers.iter().filter(|peer| peer.dialed.is_some()) {
                let to = peer.name.as_ref().map(Name::to_string).unwrap_or_default();
                let connected = peer.state == PeerState::Connected;
                self.check(
                    connected && to == RELAY_HOST,
                    format!("{from} has a link with {to}"),
                )?;
                links.push(LinkReport::of(from, &to, peer));
            }
        }
        for link in &links {
            for (holds, line) in link.lines() {
                self.check(holds, line)?;
            }
        }
        Ok(links)
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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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
