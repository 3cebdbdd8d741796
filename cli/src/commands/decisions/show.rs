//! `hedgerow decisions show`: one decision in full, and the others of its call.

use super::{find, view};
use crate::commands::Context;
use crate::exit::Failed;

/// Show one decision in full: the rule, the facts, the hops, the approval, and what else this node
/// decided of the same call, among it how the approval of a held call went on.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  hedgerow decisions show 4711")]
pub(super) struct Show {
    /// Its number, as `decisions list` shows it
    number: u64,
}

impl Show {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failed> {
        let shown = find::find(&context.client()?, self.number).await?;
        context.output.data(&shown, |text| {
            view::whole(&shown.decision, shown.definition, text);
            if !shown.call.is_empty() {
                text.heading("The rest of this call, as this node decided it");
                let rows: Vec<Vec<String>> = shown.call.iter().map(view::row).collect();
                text.table(view::HEADERS, &rows);
            }
        })
    }
}
