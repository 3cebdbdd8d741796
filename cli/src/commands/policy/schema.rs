//! `hedgerow policy schema`: what documents may say, for editors and validators.

use serde_json::json;

use crate::commands::Context;
use crate::exit::Failed;
use crate::output::{Format, print};

/// Print the JSON Schema of policy documents, or the Cedar schema of raw ones; needs no node.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  hedgerow policy schema > hedgerow-policy.schema.json   # then in a document: \"$schema\"")]
pub(super) struct Schema {
    /// The Cedar schema; with `--format json` as the text `cedar_schema` of an object
    #[arg(long)]
    cedar: bool,
}

impl Schema {
    pub(super) fn run(self, context: &Context) -> Result<(), Failed> {
        let cedar = protocol::policy::schema::CEDAR_SCHEMA;
        match (self.cedar, context.output.format) {
            (false, _) => print(protocol::policy::schema::JSON_SCHEMA),
            (true, Format::Human) => print(cedar),
            (true, Format::Json) => {
                let told = json!({ "cedar_schema": cedar });
                context.output.data(&told, |_| {})
            }
        }
    }
}
