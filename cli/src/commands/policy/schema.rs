//! `hedgerow policy schema`: what documents may say, for editors and validators.

use crate::exit::Failed;
use crate::output::print;

/// Print the JSON Schema of policy documents, or the Cedar schema of raw ones; needs no node.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  hedgerow policy schema > hedgerow-policy.schema.json   # then in a document: \"$schema\"")]
pub(super) struct Schema {
    /// The Cedar schema
    #[arg(long)]
    cedar: bool,
}

impl Schema {
    pub(super) fn run(self) -> Result<(), Failed> {
        print(if self.cedar {
            protocol::policy::schema::CEDAR_SCHEMA
        } else {
            protocol::policy::schema::JSON_SCHEMA
        })
    }
}
