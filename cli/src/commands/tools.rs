//! `hedgerow tools`: what can be called, here and on other nodes.

use protocol::control::{Tool, route};
use protocol::name::Name;

use super::Context;
use crate::exit::Failed;
use crate::output::Text;

/// List the tools that can be called, here and on other nodes.
///
/// Names, titles and descriptions are chosen by the servers. `--format json` has the whole of
/// each definition with its digest.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow tools
  hedgerow tools tool-host/shop
  hedgerow tools --format json | jq -r '.[] | .node + \"/\" + .server + \"/\" + .name'")]
pub(crate) struct Tools {
    /// Only this node's, or only this server's
    #[arg(value_name = "NODE[/SERVER]")]
    of: Option<String>,
}

impl Tools {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failed> {
        let path = match self.of {
            Some(of) => path_of(&of)?,
            None => route::TOOLS.to_owned(),
        };
        let tools: Vec<Tool> = context.client()?.read(&path).await?;
        context.output.data(&tools, |text| show(&tools, text))
    }
}

/// The request for one node's or one server's tools. Names are inert in a query.
fn path_of(of: &str) -> Result<String, Failed> {
    let name = |text: &str| -> Result<Name, Failed> {
        text.parse()
            .map_err(|error: protocol::name::NameError| Failed::input(error.to_string()))
    };
    Ok(match of.split_once('/') {
        None => format!("{}?node={}", route::TOOLS, name(of)?),
        Some((node, server)) => {
            format!(
                "{}?node={}&server={}",
                route::TOOLS,
                name(node)?,
                name(server)?
            )
        }
    })
}

fn show(tools: &[Tool], text: &mut Text) {
    if tools.is_empty() {
        text.line("no tools; attach a server with `hedgerow server add`");
        return;
    }
    let rows: Vec<Vec<String>> = tools
        .iter()
        .map(|tool| {
            let said = tool.description.as_deref().or(tool.title.as_deref());
            let said = if tool.unlisted {
                UNLISTED.to_owned()
            } else {
                first_line(said.unwrap_or_default())
            };
            vec![format!("{}/{}/{}", tool.node, tool.server, tool.name), said]
        })
        .collect();
    text.table(&["TOOL", "DESCRIPTION (the server's own words)"], &rows);
}

/// What stands in place of the words of a tool that is not listed.
const UNLISTED: &str = "(announced, and not listed to this node)";

/// The first line, marked where there are more. The table cuts one that is too long.
fn first_line(text: &str) -> String {
    let mut lines = text.lines();
    let mut shown = lines.next().unwrap_or_default().to_owned();
    if lines.next().is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::MAX_LAST_CELL;

    #[test]
    fn a_description_has_the_room_of_a_last_column() {
        let told = |description: &str| {
            let tool = Tool {
                node: "hub".parse().unwrap(),
                server: "shop".parse().unwrap(),
                name: "look".to_owned(),
                title: None,
                description: Some(description.to_owned()),
                digest: String::new(),
                annotations: None,
                added_intents: Vec::new(),
                input_schema: None,
                unlisted: false,
            };
            let mut text = Text::plain();
            show(&[tool], &mut text);
            text.shown().trim_end().to_owned()
        };
        let fits = "é".repeat(MAX_LAST_CELL);
        assert!(told(&fits).ends_with(&format!("  {fits}")));
        let cut = "é".repeat(MAX_LAST_CELL - 1) + "…";
        assert!(told(&format!("{fits}é")).ends_with(&format!("  {cut}")));
        assert!(told("one\ntwo").ends_with("  one…"));
    }
}
