//! `hedgerow server`: the MCP servers attached to this node.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use protocol::control::{AddServer, Secret, Server, ServerInfo, ServerSpec, ServerState, route};
use protocol::name::Name;

use super::Context;
use crate::exit::Failed;
use crate::output::{Text, or_dash};
use crate::typed::setting;

/// Attach MCP servers to this node, list and remove them.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct ServerCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Attach a server: a command to run, or a URL
    Add(Add),
    /// List the attached servers
    List,
    /// Detach a server; its sessions end
    Remove {
        /// Its name on this node
        name: Name,
    },
}

/// Attach an MCP server to this node, now and after every restart.
///
/// A command is run once per client session, without a shell, and speaks MCP on its standard
/// input and output. Every node of the mesh can then call the server's tools as
/// THIS-NODE/NAME/TOOL.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hedgerow server add files -- npx -y @modelcontextprotocol/server-filesystem /srv/files
  hedgerow server add git --env GIT_PAGER=cat -- mcp-server-git --repository /srv/repo
  hedgerow server add shop --url http://127.0.0.1:3001/mcp --header authorization='Bearer …'

Values of --env and --header are not shown again. They are visible to other users of this host in
the list of processes while this command runs.")]
struct Add {
    /// The name it gets: a-z, 0-9 and single dashes
    name: Name,
    /// The server's streamable HTTP endpoint, instead of a command
    #[arg(long, conflicts_with_all = ["command", "env", "cwd"], required_unless_present = "command")]
    url: Option<String>,
    /// A header to send with every request to the URL (repeatable)
    #[arg(long, value_name = "NAME=VALUE", value_parser = setting,
          conflicts_with_all = ["command", "env", "cwd"])]
    header: Vec<(String, String)>,
    /// A variable for the command's environment (repeatable)
    #[arg(long, value_name = "NAME=VALUE", value_parser = setting)]
    env: Vec<(String, String)>,
    /// The command's working directory
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,
    /// The command and its arguments, after `--`
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl ServerCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failed> {
        let client = context.client()?;
        match self.action {
            Action::Add(add) => {
                let request = add.request()?;
                let server: Server = client.submit(route::SERVERS, &request).await?;
                context.output.data(&server, |text| {
                    text.line(format!("attached `{}`", server.name));
                    text.line("see its tools: hedgerow tools");
                })
            }
            Action::List => {
                let servers: Vec<Server> = client.read(route::SERVERS).await?;
                context.output.data(&servers, |text| show(&servers, text))
            }
            Action::Remove { name } => {
                client.remove(route::SERVERS, &name).await?;
                let removed = serde_json::json!({ "removed": name });
                context
                    .output
                    .data(&removed, |text| text.line(format!("detached `{name}`")))
            }
        }
    }
}

impl Add {
    fn request(self) -> Result<AddServer, Failed> {
        let spec = match self.url {
            Some(url) => ServerSpec::Http {
                url,
                headers: secrets("header", self.header)?,
            },
            None => ServerSpec::Stdio {
                command: resolved(self.command)?,
                env: secrets("variable", self.env)?,
                cwd: self.cwd.map(|path| absolute(&path)).transpose()?,
            },
        };
        spec.check()
            .map_err(|error| Failed::input(error.to_string()))?;
        Ok(AddServer {
            name: self.name,
            spec,
        })
    }
}

fn secrets(
    what: &str,
    settings: Vec<(String, String)>,
) -> Result<BTreeMap<String, Secret>, Failed> {
    let mut map = BTreeMap::new();
    for (name, value) in settings {
        if map.insert(name.clone(), Secret::new(value)).is_some() {
            return Err(Failed::input(format!("the {what} `{name}` is given twice")));
        }
    }
    Ok(map)
}

/// The command with a relative path to its program made absolute: the node runs elsewhere.
fn resolved(mut command: Vec<String>) -> Result<Vec<String>, Failed> {
    if let Some(program) = command.first_mut().filter(|program| program.contains('/')) {
        *program = absolute(Path::new(program.as_str()))?;
    }
    Ok(command)
}

fn absolute(path: &Path) -> Result<String, Failed> {
    let shown = path.display();
    let absolute =
        std::path::absolute(path).map_err(|error| Failed::input(format!("`{shown}`: {error}")))?;
    absolute
        .into_os_string()
        .into_string()
        .map_err(|_| Failed::input(format!("`{shown}` is not UTF-8")))
}

fn show(servers: &[Server], text: &mut Text) {
    if servers.is_empty() {
        text.line("no servers attached; attach one with `hedgerow server add NAME -- COMMAND`");
        return;
    }
    let rows: Vec<Vec<String>> = servers.iter().map(row).collect();
    let headers = [
        "NAME",
        "STATE",
        "TOOLS",
        "RESTARTS",
        "REACHED BY",
        "LAST ERROR",
    ];
    text.table(&headers, &rows);
    for server in servers.iter().filter(|s| !s.last_words.is_empty()) {
        text.heading(format!("The last words of {}", server.name));
        for line in &server.last_words {
            text.line(format!("  {line}"));
        }
    }
}

fn row(server: &Server) -> Vec<String> {
    let state = match server.state {
        ServerState::Starting => "starting",
        ServerState::Ready => "ready",
        ServerState::BackingOff => "backing off",
    };
    let reached_by = match &server.spec {
        ServerInfo::Stdio { command, .. } => command.join(" "),
        ServerInfo::Http { url, .. } => url.clone(),
    };
    vec![
        server.name.to_string(),
        state.to_owned(),
        match server.tools_left_out {
            0 => server.tools.to_string(),
            more => format!("{} and {more} not usable", server.tools),
        },
        server.restarts.to_string(),
        reached_by,
        or_dash(server.last_error.as_ref()),
    ]
}
