//! `hedgerow agent`: who may use this node's gateway.

use clap::{Args, Subcommand};
use protocol::control::{AddAgent, Agent, AgentToken, route};
use protocol::human::Human;
use protocol::name::Name;

use super::Context;
use crate::exit::Failed;
use crate::output::{Text, instant};

/// Give MCP clients of this host tokens, list and remove them.
///
/// An agent is one MCP client as this node knows it: each has a name, which stands in every
/// envelope it causes, and a token of its own.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct AgentCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Add an agent and show its token, this once
    Add {
        /// The agent's name: a-z, 0-9 and single dashes
        name: Name,
        /// The human it acts for, whom this node then names in every call of it; what that counts
        /// for is said by policies (`subjects.humans`, `vouches_for_humans`)
        #[arg(long, value_name = "HUMAN")]
        human: Option<Human>,
    },
    /// List the agents
    List,
    /// Remove an agent; its sessions end and its token is dead
    Remove {
        /// The agent's name
        name: Name,
    },
}

impl AgentCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failed> {
        let client = context.client()?;
        match self.action {
            Action::Add { name, human } => {
                let add = AddAgent { name, human };
                let token: AgentToken = client.submit(route::AGENTS, &add).await?;
                context.output.data(&token, |text| show_token(&token, text))
            }
            Action::List => {
                let agents: Vec<Agent> = client.read(route::AGENTS).await?;
                context.output.data(&agents, |text| show(&agents, text))
            }
            Action::Remove { name } => {
                client.remove(route::AGENTS, &name).await?;
                let removed = serde_json::json!({ "removed": name });
                context
                    .output
                    .data(&removed, |text| text.line(format!("removed `{name}`")))
            }
        }
    }
}

fn show_token(token: &AgentToken, text: &mut Text) {
    let human = token.human.as_ref();
    let human = human.map_or_else(String::new, |human| format!(", acting for {human}"));
    text.line(format!(
        "added `{}`{human}; its token is shown this once:",
        token.name
    ));
    text.line("");
    text.line(format!("  {}", token.token.expose()));
    let Some(url) = &token.gateway_url else {
        return;
    };
    text.heading("In an MCP client's configuration");
    text.block(&client_config(url, token.token.expose()));
}

/// The entry of a client's `mcpServers`, in the form most clients read.
pub(super) fn client_config(url: &str, token: &str) -> String {
    let config = serde_json::json!({
        "mcpServers": {
            "hedgerow": {
                "type": "http",
                "url": url,
                "headers": { "Authorization": format!("Bearer {token}") },
            }
        }
    });
    format!("{config:#}")
}

fn show(agents: &[Agent], text: &mut Text) {
    if agents.is_empty() {
        text.line("no agents; add one with `hedgerow agent add NAME`");
        return;
    }
    let rows: Vec<Vec<String>> = agents
        .iter()
        .map(|agent| {
            let used = agent
                .last_used
                .map_or_else(|| "never".to_owned(), |used| instant(used.0));
            let token = if agent.has_token { "yes" } else { "no" };
            vec![
                agent.name.to_string(),
                agent
                    .human
                    .as_ref()
                    .map_or_else(|| "-".to_owned(), ToString::to_string),
                instant(agent.created.0),
                used,
                token.to_owned(),
            ]
        })
        .collect();
    text.table(&["NAME", "HUMAN", "CREATED", "LAST USED", "TOKEN"], &rows);
}
