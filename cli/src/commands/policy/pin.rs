//! `hedgerow policy pin` and `unpin`: which definitions of tools are approved.

use protocol::control::Tool;

use super::definitions;
use super::draft::{Draft, Signing};
use crate::commands::Context;
use crate::exit::{Failed, say};

/// Approve definitions of tools as they are announced now.
///
/// A definition that changes later is another one: it is denied where a policy wants an approved
/// one, until it is approved too.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow policy pin tool-host/shop/get_product_info
  hedgerow policy pin tool-host/shop      # every tool of the server")]
pub(super) struct Pin {
    /// Which
    #[arg(required = true, value_name = "NODE/SERVER[/TOOL]")]
    tools: Vec<String>,
    #[command(flatten)]
    signing: Signing,
}

/// Approve definitions of tools no longer.
#[derive(Debug, clap::Args)]
pub(super) struct Unpin {
    /// Which
    #[arg(required = true, value_name = "SERVER[/TOOL]")]
    tools: Vec<String>,
    #[command(flatten)]
    signing: Signing,
}

impl Pin {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failed> {
        let mut draft = Draft::begin(context).await?;
        for named in &self.tools {
            let found: Vec<Tool> = draft
                .tools
                .iter()
                .filter(|t| is(t, named))
                .cloned()
                .collect();
            if found.is_empty() {
                return Err(unknown(named));
            }
            for tool in &found {
                say(&crate::inert::inert(&definitions::described(tool)));
                draft.pin(tool)?;
            }
        }
        draft.publish(context, self.signing).await
    }
}

/// Whether `named`, a `NODE/SERVER` or `NODE/SERVER/TOOL`, is this tool. Names of tools may hold
/// slashes.
fn is(tool: &Tool, named: &str) -> bool {
    let mut parts = named.splitn(3, '/');
    let (node, server) = (parts.next(), parts.next());
    node == Some(tool.node.as_str())
        && server == Some(tool.server.as_str())
        && parts.next().is_none_or(|name| name == tool.name)
}

impl Unpin {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failed> {
        let mut draft = Draft::begin(context).await?;
        for named in &self.tools {
            let (server, tool) = match named.split_once('/') {
                Some((server, tool)) => (server, Some(tool)),
                None => (named.as_str(), None),
            };
            let before = draft.body.pins.len();
            draft.body.pins.retain(|pin| {
                pin.server.as_str() != server || tool.is_some_and(|tool| tool != pin.tool)
            });
            if draft.body.pins.len() == before {
                return Err(
                    Failed::input(format!("no definition of `{named}` is approved"))
                        .with_reason("unknown_pin")
                        .with_hint("see `hedgerow policy show --pins`"),
                );
            }
        }
        draft.publish(context, self.signing).await
    }
}

fn unknown(named: &str) -> Failed {
    Failed::input(format!("no node announces a tool `{named}` now"))
        .with_reason("unknown_tool")
        .with_hint("see `hedgerow tools`")
}
