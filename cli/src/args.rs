//! The command line: global options and the list of commands. Each command's own arguments stand
//! in its file.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::commands;
use crate::output::Format;
use crate::state::STATE_DIR;

/// Hedgerow connects MCP clients and MCP servers on different hosts: every tool call crosses a
/// post-quantum encrypted mesh, signed by the node it left and by the node that answered.
#[derive(Debug, Parser)]
#[command(
    name = "hedgerow",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    after_help = "\
First steps:
  hedgerow demo                              see it work: three nodes, policy, a call cut off, a forgery
  hedgerow up                                found a mesh here and run its first node
  hedgerow server add shop -- my-mcp-server  attach an MCP server
  hedgerow agent add claude                  a token for an MCP client on this host
  hedgerow tools                             what can be called, on every node
  hedgerow dashboard                         see it all in a browser

A second host:
  a$ hedgerow invite --group tool-hosts      a ticket
  b$ hedgerow join TICKET                    join with it and run the node

Exit codes: 0 ok, 1 failure, 2 denied or refused by a check, 3 invalid input."
)]
pub(crate) struct Cli {
    /// Options that every command has.
    #[command(flatten)]
    pub(crate) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that every command has.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Global {
    /// The node's state directory [default: $XDG_STATE_HOME/hedgerow or ~/.local/state/hedgerow]
    #[arg(long, global = true, value_name = "DIR", env = STATE_DIR, hide_env_values = true)]
    pub(crate) state_dir: Option<PathBuf>,
    /// How to print what was asked for; with `json` what fails ends with one JSON object on stderr
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "human",
        value_name = "FORMAT"
    )]
    pub(crate) format: Format,
}

/// The commands. One without a doc here has its own, of which the list shows the first line.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a node here: found a mesh, or run the node that is here
    Up(commands::up::Up),
    /// Make a ticket with which another host joins the mesh
    Invite(commands::invite::Invite),
    Join(commands::join::Join),
    /// List the tickets made on this node, who used them, and revoke them
    Tickets(commands::tickets::Tickets),
    Run(commands::run::Run),
    Demo(commands::demo::Demo),
    Status(commands::status::StatusCommand),
    /// Open the node's status page in a browser
    Dashboard(commands::dashboard::Dashboard),
    Doctor(commands::doctor::Doctor),
    Peers(commands::peers::Peers),
    /// Attach MCP servers to this node, list and remove them
    Server(commands::server::ServerCommand),
    Backup(commands::backup::Backup),
    Restore(commands::restore::Restore),
    Service(commands::service::ServiceCommand),
    Approvals(commands::approvals::Approvals),
    Agent(commands::agent::AgentCommand),
    Tools(commands::tools::Tools),
    /// Call a tool
    Call(commands::call::Call),
    /// Speak MCP on stdin and stdout, for clients that start a command
    Mcp(commands::mcp::Mcp),
    /// Verify or show a saved envelope; needs no node
    Envelope(commands::envelope::EnvelopeCommand),
    /// Show this host's node id, making its keys if there are none; needs no node
    Id(commands::id::Id),
    Membership(commands::membership::MembershipCommand),
    /// Who rules the mesh: admin keys, their threshold, issuers and timestampers
    Admin(commands::admin::AdminCommand),
    Revoke(commands::revoke::Revoke),
    /// List, lift and follow revocations
    Revocations(commands::revocations::RevocationsCommand),
    Sign(commands::sign::Sign),
    Trust(commands::trust::TrustCommand),
    Policy(commands::policy::Policy),
    Decisions(commands::decisions::DecisionsCommand),
    /// Show an example configuration file
    Config(commands::config::ConfigCommand),
    /// Print completions for a shell
    Completions(commands::completions::Completions),
    /// The demo's MCP server, on stdin and stdout
    #[command(hide = true)]
    SampleServer(commands::run::SampleServer),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// A variant's own doc would hide all but the first line of its command's.
    #[test]
    fn help_says_all_that_is_to_be_said_of_a_command() {
        let all = Cli::command();
        for (name, says) in [
            ("doctor", "exit code"),
            ("restore", "--replace"),
            ("revoke", "revocations lift"),
            ("run", "SIGTERM"),
            ("service", "drop-in"),
        ] {
            let command = all.find_subcommand(name).unwrap();
            let long = command.get_long_about().unwrap().to_string();
            assert!(long.contains(says), "{name}: {long}");
        }
    }
}
