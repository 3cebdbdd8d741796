//! `hedgerow mcp`: the stdio edge, for MCP clients that start a command.
//!
//! It holds no MCP logic: one line says which server is meant, then bytes are copied both ways
//! between the standard streams and the node's socket, where the local user is known by peer
//! credentials. Nothing else is ever written to stdout.

use protocol::human::Human;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::{Context, runtime, wait_for};
use crate::client::connect;
use crate::exit::{Exit, Failed};
use crate::typed::ServerAddress;

/// The version of the header line.
const HEADER_VERSION: u8 = 1;
/// Bytes copied at once.
const CHUNK: usize = 64 * 1024;

/// Speak MCP on stdin and stdout, for clients that start a command.
///
/// Without --server all servers of the mesh are offered together, their tools named
/// NODE__SERVER__TOOL. The node of this host must be running.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
In an MCP client's configuration:
  {\"mcpServers\": {\"hedgerow\": {\"command\": \"hedgerow\", \"args\": [\"mcp\"]}}}

One server only, with its own names:
  hedgerow mcp --server tool-host/shop")]
pub(crate) struct Mcp {
    /// Only this server, its names untouched
    #[arg(long, value_name = "NODE/SERVER")]
    server: Option<ServerAddress>,
    /// The human this client acts for, whom the node then names in every call of it
    #[arg(long, value_name = "HUMAN")]
    human: Option<Human>,
}

/// The line that precedes the messages.
#[derive(serde::Serialize)]
struct Header {
    hedgerow: u8,
    server: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    human: Option<Human>,
}

impl Mcp {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failed> {
        let socket = context.state()?.mcp_socket();
        let header = Header {
            hedgerow: HEADER_VERSION,
            server: self.server.map(|server| server.to_string()),
            human: self.human,
        };
        let mut header = serde_json::to_vec(&header)
            .map_err(|error| Failed::input(format!("the header line: {error}")))?;
        header.push(b'\n');
        let runtime = runtime()?;
        let outcome = wait_for(&runtime, async {
            let mut stream = connect(&socket).await?;
            stream
                .write_all(&header)
                .await
                .map_err(|error| Failed::io("the connection to the node broke", &error))?;
            copy(stream).await
        });
        // A read of stdin may still be blocked in its thread; nobody waits for it.
        runtime.shutdown_background();
        outcome
    }
}

/// Copies both ways until the node closes its side. The end of stdin is passed on, and answers
/// still under way are waited for.
async fn copy(stream: UnixStream) -> Result<(), Failed> {
    let (mut from_node, mut to_node) = stream.into_split();
    let inward = tokio::spawn(async move {
        let mut stdin = tokio::io::stdin();
        let mut buffer = vec![0; CHUNK];
        loop {
            let read = stdin.read(&mut buffer).await?;
            let Some(data) = buffer.get(..read).filter(|data| !data.is_empty()) else {
                return to_node.shutdown().await;
            };
            to_node.write_all(data).await?;
        }
    });
    let mut stdout = tokio::io::stdout();
    let mut buffer = vec![0; CHUNK];
    let mut silent = true;
    let outcome = loop {
        match from_node.read(&mut buffer).await {
            Ok(0) => break Ok(()),
            Ok(read) => {
                silent = false;
                let data = buffer.get(..read).unwrap_or_default();
                let written = async {
                    stdout.write_all(data).await?;
                    stdout.flush().await
                };
                if let Err(error) = written.await {
                    break Err(Failed::io("cannot write to stdout", &error));
                }
            }
            Err(error) => break Err(Failed::io("the connection to the node broke", &error)),
        }
    };
    let client_ended = inward.is_finished();
    inward.abort();
    match outcome {
        // The client still talks, and the node hung up on it.
        Ok(()) if !client_ended => Err(Failed::new(
            Exit::Failure,
            if silent {
                "the node closed the connection without a word"
            } else {
                "the node closed the connection"
            },
        )
        .with_hint("see whether it still runs: `hedgerow status`")),
        outcome => outcome,
    }
}
